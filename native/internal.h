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
enum { REGEX_GROUPS_MAX = 10 };
struct regex_span {
    uint32_t at, len;
};
/* Where it matches first, and the groups of it: how many, 0 none, -1 as above. <inside>: the text is no line's beginning. */
int regex_find(const struct regex *regex, const uint8_t *text, size_t len, bool inside, struct regex_span groups[REGEX_GROUPS_MAX]);

/* program.c */
struct compiled {
    rf_rule rule;
    struct regex *pattern_re, *name_re, *value_re;
};
struct rf_program {
    uint32_t flags, bufsize, rules_len, ops_len, regexes_len, blob_len;
    int32_t holders; /* atomic */
    bool tells_facts;   /* some operation reads what commands set, or the site */
    bool reads_body;    /* some operation reads the body of a reply */
    bool reads_ends;    /* some operation reads the addresses of the connection */
    bool needs_tls;     /* some connect asks for TLS by itself */
    uint32_t sends;     /* send rules: behind one alone nothing can wait for an ACK */
    struct compiled *rules;
    rf_op *ops;
    struct regex **regexes; /* of converters, named by rf_op.regex */
    uint8_t *blob;
};
void rf_program_hold(rf_program *program);
static inline const uint8_t *program_at(const rf_program *program, rf_span span)
{
    return program->blob + span.at;
}

/* Room that a run of any program may need for what it says, and for what it does with what it hears. */
static inline uint32_t room_of(uint32_t bufsize)
{
    return 2 * bufsize;
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
/* http_sample.c: where the element that begins at <at> ends: a comma that stands in no quotes. */
uint32_t http_element_end(const uint8_t *text, uint32_t at, uint32_t len);

/* agent.c */
struct agent_facts {
    int32_t last_status, last_code;
    int32_t initial_weight;
    bool static_weights, weight_word;
};
enum { AGENT_NEED_MORE = 0, AGENT_DONE = 1 };
int agent_line(const uint8_t *buf, uint32_t len, bool last_read, const struct agent_facts *facts, rf_result *out);

/* presets.c: replies of protocols that no pattern can describe */
enum { PRESET_WAIT = 0, PRESET_OK = 1, PRESET_BAD = 2 };
struct preset_reply {
    int32_t status, code; /* of a bad one; status 0: the rule's default */
    const char *text;     /* may hold NULs */
    uint32_t len;
};
/* packet: 0 the first, 1 the one behind it */
int preset_mysql(const uint8_t *in, uint32_t len, bool last_read, uint32_t packet, bool last_rule, struct preset_reply *out);
int preset_ldap(const uint8_t *in, uint32_t len, bool last_read, struct preset_reply *out);
/* today: as 3 reads it; 2.6 is lenient with flags, names and capabilities, and stricter with types */
int preset_spop(const uint8_t *in, uint32_t len, bool last_read, uint32_t frame_max, bool today,
                struct preset_reply *out);

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
/* Variables of one run, in an arena of the slot (sample.h). */
struct variables {
    uint8_t *room;
    uint32_t room_len, used;
};

/* transport.c: what lies between the rules and the socket. A probe without layers never gets there. */
struct tls;
struct rf_transport {
    int32_t holders; /* atomic */
    rf_transport_spec spec;
    uint8_t *copies; /* of sni and alpn */
};
struct tls_session { /* of one server, serialised; owned by its check */
    uint32_t len;
    uint8_t bytes[];
};
enum { LAYERS_NONE, LAYERS_SOCKS_SAY, LAYERS_SOCKS_HEAR, LAYERS_PROXY, LAYERS_SHAKE, LAYERS_OPEN };
enum { LAYERS_WANT_RULES, LAYERS_WANT_SEND, LAYERS_WANT_RECV };
struct layers {
    uint8_t stage, todo, want; /* LAYERS_, RF_LAYER_ not done yet, LAYERS_WANT_ */
    bool tls_used, resumed, written, told_local;
    uint32_t in_len, out_len, out_done;
    const uint8_t *out;
    struct tls *tls;
    rf_address local, remote; /* ends of the connection, where the driver told them */
    rf_address target;        /* the check's own address, where a transport may need it */
    rf_address goal;          /* of the connection at hand, where it is not the target */
};
void rf_transport_hold(rf_transport *transport);
void layers_start(rf_probe *probe, uint32_t layers);  /* the socket is connected: PROBE_CONNECT goes on until layers_up */
void layers_want(const rf_probe *probe, rf_want *out);
void layers_sent(rf_probe *probe, uint32_t len, uint64_t now_ns);
void layers_received(rf_probe *probe, uint32_t len, uint64_t now_ns);
void layers_turn(rf_probe *probe, uint64_t now_ns);   /* the rules want something else now */
void layers_end(rf_probe *probe, bool farewell);      /* frees what they hold; what is to be said last is left in room */
uint32_t layers_of(const rf_probe *probe, const rf_rule *rule);
bool transport_has_tls(void);

/* process.c */
struct rf_process {
    int32_t holders; /* atomic */
    char *path, **argv, **envp;
};
void rf_process_hold(rf_process *process);

enum { SITE_MAX = 2047 };
enum { PROBE_IDLE, PROBE_CONNECT, PROBE_SEND, PROBE_RECV, PROBE_PROCESS, PROBE_DONE };
struct rf_probe {
    const rf_program *program;
    const struct aim *aim;
    const struct facts *facts; /* may be NULL */
    const rf_transport *transport; /* may be NULL */
    struct tls_session **session; /* where a session to resume is, and where a new one goes; NULL: none are kept */
    int32_t total_weight, last_status, last_code;
    uint8_t state, close, stopped, closed_by_peer;
    uint16_t connection;
    uint32_t rule, rules_left;
    uint32_t chain; /* where an EXPECT chain is evaluated again from, after a wait */
    uint32_t in_len, in_max, out_len, out_done;
    uint32_t farewell_len; /* last words, in room */
    uint8_t *in;
    uint8_t *room; /* room_of(bufsize) bytes: for requests that are put together, and for what layers send and get */
    const uint8_t *out;
    struct variables variables;
    uint8_t *scratch; /* for converters, 4 * bufsize bytes, of whoever runs probes one at a time */
    uint64_t *random, *count;
    uint64_t now_ns, realtime_offset_ns;
    uint64_t started_ns, deadline_ns, connect_deadline_ns;
    rf_result result;
    struct layers layers;
    struct http_reply http;
};
/* memory: probe_memory(bufsize) bytes, touched only as far as a run needs it. */
static inline size_t probe_memory(uint32_t bufsize)
{
    return (size_t)bufsize + room_of(bufsize) + bufsize;
}
void probe_init(rf_probe *probe, uint8_t *memory, uint32_t bufsize);
void probe_bind(rf_probe *probe, const rf_program *program, const struct aim *aim, const struct facts *facts);
void probe_up(rf_probe *probe, uint64_t now_ns);                       /* transport.c: every layer stands */
void probe_heard(rf_probe *probe, uint32_t len, uint64_t now_ns);      /* so many more bytes at in; 0: end of stream */
void probe_said(rf_probe *probe, uint64_t now_ns);                     /* all that the rule wanted to say is on its way */
void probe_broke(rf_probe *probe, int32_t status, const char *text, uint64_t now_ns);
void probe_abandon(rf_probe *probe);                                   /* a run is given up: frees what its layers hold */

/* send.c: puts together what a SEND says; false: the run is over, the result says why */
bool send_build(rf_probe *probe, const rf_rule *rule);
/* expressions and formats of a rule, evaluated on what a probe has heard */
uint32_t format_text(rf_probe *probe, rf_format format, uint8_t *out, uint32_t out_max);
bool format_number(rf_probe *probe, rf_format format, int64_t *out);
void rule_set_variable(rf_probe *probe, const rf_rule *rule);
/* Pairs of hexadecimal digits to bytes, in place; -1: something else stands there. */
int32_t unhex(uint8_t *text, uint32_t len);

/* expect.c */
enum { EXPECT_WAIT, EXPECT_STOP, EXPECT_GO_ON };
int expect_eval(rf_probe *probe, const struct compiled *rule, bool last_read);
void expect_suffix(rf_probe *probe, const struct compiled *rule);

/* wheel.c */
void wheel_push(rf_wheel *wheel, uint32_t timer, uint64_t due_ms);

/* histogram.c */
void histogram_add(rf_histogram *histogram, uint64_t us);

#endif
