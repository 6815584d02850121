/* fuzz_http.c - any bytes, cut anywhere, parse to the same reply. The first byte says where to cut. */
#include <string.h>

#include "../internal.h"

enum { BUF = 4096 };

static int feed(struct http_reply *reply, uint8_t *buf, const uint8_t *data, size_t len, size_t piece, bool head)
{
    uint32_t have = 0;
    int state = HTTP_NEED_MORE;
    http_reset(reply, head, BUF);
    while (len > 0 && state != HTTP_BROKEN && have < BUF) {
        size_t take = len < piece ? len : piece;
        if (take > BUF - have)
            take = BUF - have;
        memcpy(buf + have, data, take);
        have += (uint32_t)take;
        data += take;
        len -= take;
        state = http_feed(reply, buf, &have, true);
        RF_ASSERT(have <= BUF && reply->body_at + reply->body_len <= BUF && reply->headers_len <= HTTP_HEADERS_MAX);
    }
    return state;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct http_reply whole, cut;
    static uint8_t one[BUF], other[BUF];
    if (len < 1 || len > BUF)
        return 0;
    const bool head = (data[0] & 0x80) != 0;
    const int a = feed(&whole, one, data + 1, len - 1, BUF, head);
    const int b = feed(&cut, other, data + 1, len - 1, (data[0] & 0x7f) + 1u, head);
    RF_ASSERT(a == b && whole.head_done == cut.head_done);
    if (a == HTTP_HEAD_DONE) {
        RF_ASSERT(whole.status == cut.status && whole.headers_len == cut.headers_len && whole.complete == cut.complete);
        RF_ASSERT(whole.body_len == cut.body_len && memcmp(one + whole.body_at, other + cut.body_at, whole.body_len) == 0);
    }
    return 0;
}
