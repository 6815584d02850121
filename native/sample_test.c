/* sample_test.c - one expression run by itself, for tests and fuzzing: no probe, no program. */
#include <string.h>

#include "sample.h"

enum { BUFSIZE = 16384, ROOM = 4096 };

static bool parse(const uint8_t *in, uint32_t in_len, uint8_t *copy, struct http_reply *http)
{
    uint32_t len = in_len < BUFSIZE ? in_len : BUFSIZE;
    if (len > 0)
        memcpy(copy, in, len);
    http_reset(http, false, BUFSIZE);
    return http_feed(http, copy, &len, true) == HTTP_HEAD_DONE;
}

static int64_t write_number(struct sample_run *run, uint32_t ops_len, uint8_t *out, uint32_t out_max)
{
    int64_t number;
    const struct value value = sample_value(run, run->program->ops, ops_len);
    return sample_number(&value, &number) ? snprintf((char *)out, out_max, "%lld", (long long)number) : 0;
}

int64_t rf_sample_test(const rf_sample_case *given, uint8_t *out, uint32_t out_max)
{
    static const uint64_t SEED = UINT64_C(88172645463325252);
    const uint8_t nothing = 0;
    struct http_reply http;
    uint8_t room[ROOM];
    uint64_t random = SEED, count = 0;
    rf_op *ops = calloc(given->ops_len + 1, sizeof *ops);
    uint8_t *memory = malloc(3 * (size_t)BUFSIZE); /* the scratch and a copy of the input, which the parser may change */
    struct facts *facts = calloc(1, sizeof *facts + given->site_len);
    rf_program program = {.bufsize = BUFSIZE, .ops = ops, .ops_len = given->ops_len, .blob_len = given->blob_len};
    program.blob = (uint8_t *)(uintptr_t)(given->blob != NULL ? given->blob : &nothing);
    int64_t written = RF_NOMEM;
    if (ops == NULL || memory == NULL || facts == NULL)
        goto out;
    if (given->ops_len > 0)
        memcpy(ops, given->ops, given->ops_len * sizeof *ops);
    facts->weight = given->weight;
    facts->site_len = given->site_len;
    if (given->site_len > 0)
        memcpy(facts->site, given->site, given->site_len);
    struct variables variables = {.room = room, .room_len = ROOM};
    struct sample_run run = {.program = &program, .in = given->in, .in_len = given->in_len, .facts = facts,
                             .variables = &variables, .scratch = memory, .scratch_len = 2 * BUFSIZE,
                             .now_ns = given->now_ns, .random = &random, .count = &count,
                             .total_weight = given->total_weight};
    written = samples_prepare(&program);
    if (written != RF_OK)
        goto out;
    if (given->http && parse(given->in, given->in_len, memory + 2 * BUFSIZE, &http)) {
        run.in = memory + 2 * BUFSIZE;
        run.http = &http;
    }
    written = given->as_number ? write_number(&run, given->ops_len, out, out_max)
                               : sample_write(&run, ops, given->ops_len, out, out_max);
out:
    samples_free(&program);
    free(facts);
    free(memory);
    free(ops);
    return written;
}
