/* no_malloc.c - counts calls of malloc and its like while checks run: there must be none.
 * Built by test_no_malloc.py with -Wl,--wrap; the peer is played on the same thread, from the stack. */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "risefall.h"

static unsigned long calls;
void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);
void *__wrap_malloc(size_t n) { calls++; return __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t m) { calls++; return __real_calloc(n, m); }
void *__wrap_realloc(void *p, size_t n) { calls++; return __real_realloc(p, n); }

static void answer(int listener)
{
    static const char REPLY[] = "HTTP/1.1 200 OK\r\nX: y\r\n\r\n";
    char buf[512];
    int peers[16], n = 0;
    while (n < 16 && (peers[n] = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (recv(peers[n], buf, sizeof buf, 0) > 0)
            (void)!write(peers[n], REPLY, sizeof REPLY - 1);
        n++;
    }
    struct pollfd wait = {.fd = listener, .events = POLLIN};
    (void)poll(&wait, 1, 1);
    static int open_peers[4096], open_len;
    for (int i = 0; i < n && open_len < 4096; i++)
        open_peers[open_len++] = peers[i];
    for (int i = 0; open_len > 64 && i < open_len; i++)
        close(open_peers[i]);
    if (open_len > 64)
        open_len = 0;
}

int main(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&addr, len) || listen(listener, 128) || getsockname(listener, (struct sockaddr *)&addr, &len))
        return 2;
    static const int32_t RANGE[] = {200, 399};
    uint8_t blob[64] = "GET / HTTP/1.0\r\n\r\n";
    memcpy(blob + 18, RANGE, sizeof RANGE);
    const rf_op send_all = {.code = RF_OP_TEXT, .text = {0, 18}};
    const rf_rule rules[] = {
        {.kind = RF_RULE_CONNECT, .flags = RF_RULE_IMPLICIT},
        {.kind = RF_RULE_SEND, .step = 1, .format = {0, 1}},
        {.kind = RF_RULE_EXPECT, .step = 2, .expect = RF_EXP_HTTP_STATUS, .min_recv = -1, .pattern = {18, sizeof RANGE}},
    };
    rf_program *program = rf_program_new(rules, 3, &send_all, 1, blob, sizeof blob, RF_PROG_HTTP, 16384);
    const rf_options options = {.slots = 16, .checks_max = 64, .ring_len = 64, .queue_len = 64, .bufsize = 16384};
    rf_engine *engine = rf_open(&options);
    rf_check check = {.to = {.family = RF_INET, .addr_len = 4, .port = ntohs(addr.sin_port), .addr = {127, 0, 0, 1}},
                      .inter_ms = 20, .rise = 2, .fall = 3, .health = 2, .enabled = 1};
    for (int i = 0; i < 10; i++) {
        uint64_t handle;
        check.first_ns = rf_now_ns();
        if (rf_add(engine, program, &check, "", 0, &handle) != RF_OK)
            return 3;
    }
    static rf_statistics stats;
    static rf_event events[64];
    unsigned long before = 0;
    for (unsigned long turn = 0; stats.finished < 3000 && turn < 2000000; turn++) {
        rf_step(engine, rf_now_ns());
        answer(listener);
        rf_drain(engine, events, 64);
        rf_statistics_read(engine, &stats);
        if (stats.finished < 200)
            before = calls; /* the first checks may touch what is touched once */
    }
    printf("%llu checks, %llu passed, %lu allocations\n", (unsigned long long)stats.finished, (unsigned long long)stats.passed,
           calls - before);
    rf_close(engine);
    rf_program_drop(program);
    return stats.passed > 1000 && calls == before ? 0 : 1;
}
