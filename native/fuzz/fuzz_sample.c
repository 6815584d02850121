/* fuzz_sample.c - any operations on anything heard: an end, inside the room, the same whether it is cut or not.
 * Byte 0: how many operations; each is 7 bytes; half of the rest is blob and site, the other half what was heard. */
#include <string.h>

#include "../internal.h"

enum { OPS_MAX = 24, OP_BYTES = 7, OUT_MAX = 2048, INPUT_MAX = 6000 };

static int64_t number_of(uint8_t byte)
{
    static const int64_t FAR[] = {INT64_MIN, INT64_MAX, INT32_MAX, UINT32_MAX, (int64_t)1 << 33 | 1, (int64_t)2 << 32 | 3};
    return byte >= 250 ? FAR[byte - 250] : (int64_t)(int8_t)byte;
}

static uint32_t code_of(uint8_t byte)
{
    if (byte < 8)
        return byte;
    return byte < 64 ? RF_FETCH_TEXT + (byte - 8u) % (RF_FETCH_LAST - RF_FETCH_TEXT + 1)
                     : RF_CONV_ADD + (byte - 64u) % (RF_CONV_LAST - RF_CONV_ADD + 1);
}

/* Spans lie in the blob but for one in 16, which sample_check has to find. */
static rf_span span_of(uint8_t at, uint8_t len, uint32_t blob_len)
{
    if (at % 16 == 15)
        return (rf_span){at, len};
    const uint32_t from = blob_len > 0 ? at % blob_len : 0;
    return (rf_span){from, len % (blob_len - from + 1)};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static rf_op ops[OPS_MAX];
    static uint8_t whole[OUT_MAX], cut[OUT_MAX];
    if (len < 3 || len > INPUT_MAX)
        return 0;
    const uint32_t ops_len = data[0] % (OPS_MAX + 1);
    const uint32_t room = data[1];
    const uint8_t kind = data[2];
    if (len < 3 + ops_len * OP_BYTES)
        return 0;
    const uint8_t *rest = data + 3 + ops_len * OP_BYTES;
    const uint32_t rest_len = (uint32_t)(len - 3 - ops_len * OP_BYTES), blob_len = rest_len / 2;
    for (uint32_t i = 0; i < ops_len; i++) {
        const uint8_t *at = data + 3 + i * OP_BYTES;
        ops[i] = (rf_op){.code = code_of(at[0]),
                         .number = number_of(at[1]),
                         .number2 = number_of(at[2]),
                         .text = span_of(at[3], at[4], blob_len),
                         .other = span_of(at[5], at[6], blob_len)};
    }
    const rf_sample_case given = {.ops = ops, .ops_len = ops_len, .blob = rest, .blob_len = blob_len, .in = rest + blob_len,
                                  .in_len = rest_len - blob_len, .http = kind & 1, .as_number = (kind & 6) == 6, .site = rest, .site_len = (uint16_t)blob_len,
                                  .weight = kind, .total_weight = 256, .now_ns = (uint64_t)kind << 52};
    const int64_t a = rf_sample_test(&given, whole, OUT_MAX);
    const int64_t b = rf_sample_test(&given, cut, room);
    RF_ASSERT(a == b);
    if (a > 0 && !given.as_number)
        RF_ASSERT(memcmp(whole, cut, a < room ? (size_t)a : room) == 0);
    return 0;
}
