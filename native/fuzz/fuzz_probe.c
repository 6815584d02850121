/* fuzz_probe.c - whole check programs on any reply: the same verdict however it is cut, within the rules' own bounds.
 * Byte 0 chooses the program, byte 1 the size of the pieces, byte 2 how the connection ends. */
#include <errno.h>
#include <string.h>

#include "../internal.h"

enum { BUFSIZE = 2048, PROGRAMS = 12, TURNS_MAX = 10000 };

static const char BLOB[] = "GET / HTTP/1.0\r\n\r\n" /* 0, 18 */
                           "ok"                     /* 18, 2 */
                           "x-state"                /* 20, 7 */
                           "^[a-c]+$"               /* 27, 8 */
                           "why";                   /* 35, 3 */

static rf_program *make(uint32_t kind)
{
    static const int32_t RANGES[] = {200, 399};
    uint8_t blob[sizeof BLOB - 1 + sizeof RANGES];
    memcpy(blob, BLOB, sizeof BLOB - 1);
    memcpy(blob + sizeof BLOB - 1, RANGES, sizeof RANGES);
    const rf_op send = {.code = RF_OP_TEXT, .text = {0, 18}};
    rf_rule rules[3] = {{.kind = RF_RULE_CONNECT, .flags = RF_RULE_IMPLICIT},
                        {.kind = RF_RULE_SEND, .step = 1, .format = {0, 1}},
                        {.kind = RF_RULE_EXPECT, .step = 2, .min_recv = -1, .comment = {35, 3}}};
    uint32_t flags = RF_PROG_HTTP | RF_PROG_DISABLE404 | RF_PROG_NO_REASON_TEXT;
    rf_rule *expect = &rules[2];
    expect->flags = (uint16_t)(kind & 1 ? RF_RULE_NEGATE : 0);
    switch (kind) {
    case 0:
        expect->expect = RF_EXP_HTTP_STATUS;
        expect->pattern = (rf_span){sizeof BLOB - 1, sizeof RANGES};
        break;
    case 1:
    case 2:
        expect->expect = RF_EXP_HTTP_STRING;
        expect->pattern = (rf_span){18, 2};
        break;
    case 3:
    case 4:
        expect->expect = kind == 3 ? RF_EXP_HTTP_HDR : RF_EXP_HTTP_FHDR;
        expect->name = (rf_span){20, 7};
        expect->name_match = RF_MATCH_STR;
        expect->value = (rf_span){27, 8};
        expect->value_match = RF_MATCH_REG;
        break;
    case 5:
        expect->expect = RF_EXP_AGENT;
        flags = RF_PROG_AGENT;
        break;
    case 6:
    case 7:
        expect->expect = kind == 6 ? RF_EXP_STRING : RF_EXP_BINARY_LF;
        expect->pattern = (rf_span){18, 2};
        expect->format = (rf_format){4, 1};
        expect->on_error = (rf_format){1, 3};
        flags = RF_PROG_TCPCHECK;
        break;
    case 8: /* what the reply tells goes into words and code */
        expect->expect = RF_EXP_HTTP_STATUS;
        expect->pattern = (rf_span){sizeof BLOB - 1, sizeof RANGES};
        expect->on_success = expect->on_error = (rf_format){5, 4};
        expect->status_code = (rf_format){5, 1};
        break;
    default:
        expect->expect = kind == 9 ? RF_EXP_MYSQL : kind == 10 ? RF_EXP_LDAP : RF_EXP_SPOP;
        expect->flags = 0;
        flags = 0;
    }
    const rf_op ops[] = {send,
                         {.code = RF_FETCH_PAYLOAD, .number = 2},
                         {.code = RF_CONV_CUT_CRLF},
                         {.code = RF_OP_EMIT},
                         {.code = RF_OP_TEXT, .text = {27, 2}}, /* no hexadecimal digits */
                         {.code = RF_FETCH_HDR, .text = {20, 7}},
                         {.code = RF_OP_EMIT},
                         {.code = RF_FETCH_STATUS},
                         {.code = RF_OP_EMIT}};
    rf_program *program = rf_program_new(rules, 3, ops, sizeof ops / sizeof ops[0], blob, sizeof blob, flags, BUFSIZE);
    RF_ASSERT(program != NULL);
    return program;
}

static void run(rf_probe *probe, const uint8_t *data, size_t len, size_t piece, uint32_t ending, rf_result *out)
{
    rf_want want;
    rf_probe_start(probe, 1);
    for (uint32_t turns = 0; turns < TURNS_MAX; turns++) {
        rf_probe_want(probe, &want);
        if (want.kind == RF_WANT_DONE)
            break;
        if (want.kind == RF_WANT_CONNECT) {
            rf_probe_connected(probe, 2);
        } else if (want.kind == RF_WANT_SEND) {
            rf_probe_sent(probe, want.out_len, 3);
        } else if (len > 0) {
            size_t take = len < piece ? len : piece;
            take = take < want.in_max ? take : want.in_max;
            RF_ASSERT(take > 0);
            memcpy(want.in, data, take);
            data += take;
            len -= take;
            rf_probe_received(probe, (uint32_t)take, 4);
        } else if (ending == 0) {
            rf_probe_received(probe, 0, 5);
        } else if (ending == 1) {
            rf_probe_failed(probe, RF_AT_STREAM, ECONNRESET, 5);
        } else {
            rf_probe_time(probe, want.deadline_ns);
        }
    }
    RF_ASSERT(want.kind == RF_WANT_DONE);
    rf_probe_result(probe, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static rf_program *programs[PROGRAMS];
    static rf_probe *probes[PROGRAMS];
    if (len < 3 || len > BUFSIZE / 2)
        return 0;
    const uint32_t kind = data[0] % PROGRAMS;
    if (programs[kind] == NULL) {
        const rf_check check = {.to = {.family = RF_INET, .addr_len = 4, .port = 80}, .inter_ms = 1000, .rise = 2, .fall = 3};
        programs[kind] = make(kind);
        probes[kind] = rf_probe_new(programs[kind], &check, "", 0);
    }
    rf_result whole, cut;
    run(probes[kind], data + 3, len - 3, BUFSIZE, data[2] % 3u, &whole);
    run(probes[kind], data + 3, len - 3, data[1] % 64u + 1u, data[2] % 3u, &cut);
    RF_ASSERT(whole.status == cut.status && whole.verdict == cut.verdict && whole.code == cut.code);
    RF_ASSERT(whole.text_len == cut.text_len && memcmp(whole.text, cut.text, whole.text_len) == 0);
    return 0;
}
