/* internal.h - what the .c files share among themselves; nothing here is API. */
#ifndef RF_INTERNAL_H
#define RF_INTERNAL_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "risefall.h"

/* Guards against our own mistakes, in release too (Python builds with -DNDEBUG, which would drop assert()). */
#define RF_ASSERT(cond)                                                                                          \
    do {                                                                                                         \
        if (!(cond)) {                                                                                           \
            fprintf(stderr, "risefall: internal error at %s:%d: %s\n", __FILE__, __LINE__, #cond);               \
            abort();                                                                                             \
        }                                                                                                        \
    } while (0)

#define RF_NONE UINT32_MAX
#define RF_NEVER UINT64_MAX
#define RF_NS_PER_MS UINT64_C(1000000)

/* errors.c: why a call of this thread was refused */
int32_t rf_refuse(int32_t result, int32_t error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* errmap.c: all that is known of an errno */
enum { RF_BLAME_SERVER = 0, RF_BLAME_SELF = 1 };
struct errno_meaning {
    int32_t error;
    const char *name;  /* "ECONNREFUSED" where HAProxy 3 names it, else NULL */
    const char *layer; /* connection-layer text of a refused connect(), or NULL */
    uint8_t blame;
};
const struct errno_meaning *rf_errno_meaning(int32_t error);
const char *rf_errno_text(int32_t error, char *buf, size_t len);

/* regex.c */
struct regex;
struct regex *regex_new(const uint8_t *pattern, uint32_t len, bool caseless, char *why, size_t why_len);
void regex_free(struct regex *regex);
/* 1 match, 0 none, -1 the match limit or memory ended the search */
int regex_match(const struct regex *regex, const uint8_t *text, size_t len);

/* program.c */
struct compiled {
    rf_rule rule;
    struct regex *pattern_re, *name_re, *value_re;
};
struct rf_program {
    uint32_t flags, bufsize, rules_len, segments_len, blob_len, out_max;
    int32_t holders; /* atomic */
    struct compiled *rules;
    rf_segment *segments;
    uint8_t *blob;
};
void rf_program_hold(rf_program *program);
static inline const uint8_t *program_at(const rf_program *program, rf_span span)
{
    return program->blob + span.at;
}

/* http.c: a reply, parsed in place in the probe's input buffer */
enum { HTTP_HEADERS_MAX = 100 };
struct http_header {
    uint16_t name, name_len, value, value_len; /* offsets from the buffer's start */
};
enum { HTTP_NEED_MORE = 0, HTTP_HEAD_DONE = 1, HTTP_BROKEN = -1 };
struct http_reply {
    uint32_t scanned;           /* bytes of the header block looked at so far */
    uint32_t body_at, body_len; /* de-chunked body in the buffer */
    uint32_t raw_at;            /* body bytes not yet decoded */
    uint32_t room, cost;        /* of HAProxy's buffer for a parsed reply */
    uint64_t chunk_left, length_left;
    uint16_t status, reason, reason_len, code_at, code_len;
    uint16_t headers_len;
    uint8_t state, chunk_state, chunk_digits;
    bool head_done, complete, chunked, has_length, no_body, broken;
    struct http_header headers[HTTP_HEADERS_MAX];
};
void http_reset(struct http_reply *reply, bool head_request, uint32_t room);
uint32_t http_body_max(const struct http_reply *reply);
/* Looks at buf[0 .. *len); may shorten *len when it decodes chunks in place. A rule that needs no body must not see what
 * is wrong with one: it would depend on how the reply was cut. */
int http_feed(struct http_reply *reply, uint8_t *buf, uint32_t *len, bool want_body);

/* agent.c */
struct agent_facts {
    int32_t last_status, last_code;
    int32_t initial_weight;
    bool static_weights, weight_word;
};
enum { AGENT_NEED_MORE = 0, AGENT_DONE = 1 };
int agent_line(const uint8_t *buf, uint32_t len, bool last_read, const struct agent_facts *facts, rf_result *out);

/* result.c: filling in a result */
uint8_t rf_verdict_of(int32_t status);
void result_set(rf_result *result, int32_t status, const char *text, size_t len);
void result_append(rf_result *result, const char *text, size_t len);
void result_appendf(rf_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* probe.c: one run of a program. In an engine it lives in a slot and borrows all it points to. */
struct aim { /* the constant part of a check, as a probe needs it */
    int32_t inter_ms, connect_ms, check_ms;
    int32_t initial_weight;
    uint16_t port;
    uint8_t family, late_check_timeout, static_weights;
};
struct facts { /* the part that commands change */
    int32_t weight;
    uint8_t state_text_len;
    uint16_t site_len;
    char state_text[RF_STATE_TEXT_MAX + 1];
    char site[]; /* site_len bytes */
};
enum { PROBE_IDLE, PROBE_CONNECT, PROBE_SEND, PROBE_RECV, PROBE_DONE };
struct rf_probe {
    const rf_program *program;
    const struct aim *aim;
    const struct facts *facts; /* may be NULL */
    int32_t total_weight, last_status, last_code;
    uint8_t state, close, stopped, closed_by_peer;
    uint16_t connection;
    uint32_t rule, rules_left;
    uint32_t chain; /* where an EXPECT chain is evaluated again from, after a wait */
    uint32_t in_len, in_max, out_len, out_done;
    uint8_t *in;
    uint8_t *room; /* for requests that are put together, program->out_max bytes */
    const uint8_t *out;
    uint64_t started_ns, deadline_ns, connect_deadline_ns;
    rf_result result;
    struct http_reply http;
};
void probe_init(rf_probe *probe, uint8_t *in, uint32_t in_max, uint8_t *room);
void probe_bind(rf_probe *probe, const rf_program *program, const struct aim *aim, const struct facts *facts);

/* expect.c */
enum { EXPECT_WAIT, EXPECT_STOP, EXPECT_GO_ON };
int expect_eval(rf_probe *probe, const struct compiled *rule, bool last_read);
void expect_suffix(rf_probe *probe, const struct compiled *rule);

/* wheel.c */
void wheel_push(rf_wheel *wheel, uint32_t timer, uint64_t due_ms);
bool wheel_grow(rf_wheel *wheel, uint32_t timers_max);

/* histogram.c */
void histogram_add(rf_histogram *histogram, uint64_t us);

#endif
