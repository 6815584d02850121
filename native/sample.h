/* sample.h - sample expressions and log-formats, as flat lists of operations (spec 3.2, 3.6 to 3.8).
 *
 * A format is a run of operations: TEXT appends bytes; a fetch gives a value, converters change it, EMIT appends it to
 * what is written (nothing where the value is undefined, as HAProxy does in checks). An expression alone (set-var,
 * status-code, port) is a fetch and its converters without EMIT. Nothing here allocates or reads a clock or a socket.
 */
#ifndef RF_SAMPLE_H
#define RF_SAMPLE_H

#include "internal.h"

struct rf_tls_ops;

enum { VALUE_NONE, VALUE_BOOL, VALUE_INT, VALUE_TEXT, VALUE_BIN, VALUE_IPV4, VALUE_IPV6 };
struct value {
    int32_t kind;
    int64_t number;       /* BOOL, INT, IPV4 */
    const uint8_t *bytes; /* TEXT, BIN, IPV6: in the input, the blob, the facts, the variables or the scratch */
    uint32_t len;
};
static inline bool has_bytes(const struct value *value)
{
    return value->kind == VALUE_TEXT || value->kind == VALUE_BIN || value->kind == VALUE_IPV6;
}

/* All that an expression may look at. */
struct sample_run {
    const rf_program *program;
    const uint8_t *in;            /* what came since the last send or connect */
    uint32_t in_len;
    const struct http_reply *http; /* of an HTTP program with a parsed head, else NULL */
    const struct layers *layers;   /* of the connection; NULL: there is none */
    const struct facts *facts;    /* NULL: none. Its site text holds the texts that FACT names, see rf_probe_new */
    struct variables *variables;
    uint8_t *scratch;             /* for converted values; two halves, at best of bufsize bytes each */
    uint32_t scratch_len;
    uint64_t now_ns;              /* of the step; with realtime_offset_ns the time of day */
    uint64_t realtime_offset_ns;
    uint64_t *random;             /* state of a generator, never 0 */
    uint64_t *count;              /* of RF_FETCH_COUNT */
    int32_t total_weight;
};

/* Evaluates ops[0 .. len) that hold no TEXT and no EMIT. */
struct value sample_value(struct sample_run *run, const rf_op *ops, uint32_t len);
/* Writes a format; more than out_max is cut. Returns how many bytes it would have taken: > out_max says that it was cut. */
uint32_t sample_write(struct sample_run *run, const rf_op *ops, uint32_t len, uint8_t *out, uint32_t out_max);
/* A value as a number, BIN as the text it is; false where it has none ("12ab" is 12 as HAProxy casts, a text without digits is
 * 0, an empty one has none). */
bool sample_number(const struct value *value, int64_t *out);
/* variables.c: what set-var keeps for one run. A value that does not fit is not set. */
void variables_clear(struct variables *variables);
void variables_set(struct variables *variables, uint32_t number, const struct value *value);
void variables_unset(struct variables *variables, uint32_t number);
/* Whether all RF_IF_ conditions hold for setting it to <value>. */
bool variables_may_set(const struct variables *variables, uint32_t number, uint32_t conditions, const struct value *value);
bool variables_get(const struct variables *variables, uint32_t number, struct value *out);
/* Checks one operation when a program is made: known code, spans inside the blob, sound arguments. NULL or why not. */
const char *sample_check(const rf_program *program, const rf_op *op);
/* The same of all operations of a program, and compiles the regexes of converters: RF_OK or what rf_refuse() told. */
int32_t samples_prepare(rf_program *program);
void samples_free(rf_program *program);
/* Whether it reads what commands set, or the site. */
bool sample_reads_facts(const rf_op *op);
bool sample_reads_body(const rf_op *op);

/* --- what sample.c and the converters share ------------------------------------------------------------------ */

/* Casts, in place; false: there is none, the value is NONE then. */
bool cast_int(struct value *value);
bool cast_text(struct sample_run *run, struct value *value); /* BIN ends at its first NUL */
bool cast_bin(struct value *value, uint8_t number[8]);       /* numbers: eight bytes in network order, kept by the caller */
/* Room for a converted value: the half of the scratch that the value does not lie in. */
uint8_t *sample_room(struct sample_run *run, const struct value *value, uint32_t *max);
/* The text of the number-th fact of the site; NONE when there is none. */
struct value site_text(const struct sample_run *run, int64_t number);
void convert(struct sample_run *run, const rf_op *op, struct value *value);
bool is_in(uint8_t c, const uint8_t *set, uint32_t len);
/* addresses.c: casts as above; an address as text; where an IPv4 address ends that begins a text, 0: none does */
enum { ADDRESS_TEXT_MAX = 46 };
bool cast_ipv4(struct value *value);
bool cast_ipv6(struct sample_run *run, struct value *value);
bool cast_address(struct sample_run *run, struct value *value);
uint32_t address_text(const struct value *value, char text[ADDRESS_TEXT_MAX]);
uint32_t read_ipv4(const uint8_t *text, uint32_t len, uint32_t *out);
bool read_ipv6(const uint8_t *text, uint32_t len, uint8_t out[16]);
bool ipmask(struct sample_run *run, const rf_op *op, struct value *value);
/* A value that is no bytes as a text in <text>. */
void number_text(struct value *value, char text[ADDRESS_TEXT_MAX]);
/* cut.c, times.c: false: undefined */
bool cut_out(struct sample_run *run, const rf_op *op, struct value *value);
bool time_text(struct sample_run *run, const rf_op *op, struct value *value);
bool http_date(struct sample_run *run, const rf_op *op, struct value *value);
/* encode.c: BIN or TEXT to another writing; false: undefined */
bool encode(struct sample_run *run, const rf_op *op, struct value *value);
/* protobuf.c, language.c */
bool protobuf(struct sample_run *run, const rf_op *op, struct value *value);
bool language(struct sample_run *run, const rf_op *op, struct value *value);
/* json_query.c */
bool json_query(struct sample_run *run, const rf_op *op, struct value *value);
/* hashes.c */
uint32_t hash_of(uint32_t code, const uint8_t *bytes, uint32_t len, bool avalanche);
/* xxh.c */
uint32_t xxh32(const uint8_t *bytes, uint32_t len, uint32_t seed);
uint64_t xxh64(const uint8_t *bytes, uint32_t len, uint64_t seed);
uint64_t xxh3(const uint8_t *bytes, uint32_t len, uint64_t seed);
/* encode.c: the text of a replacement with the groups that a regular expression finds in the value; false: it finds none */
bool fill_groups(struct sample_run *run, const struct regex *regex, const uint8_t *text, uint32_t len, struct value *value);
/* maps.c: tables are checked, and their patterns told, when a program is made */
bool map(struct sample_run *run, const rf_op *op, struct value *value);
const char *map_check(const rf_program *program, const rf_op *op);
uint32_t map_regexes(const rf_program *program, const rf_op *op); /* how many; 0: its keys are no patterns */
rf_span map_pattern(const rf_program *program, const rf_op *op, uint32_t entry);
/* fix.c, mqtt.c: what bytes are of a message */
enum { MESSAGE_WRONG = -1, MESSAGE_CUT = 0, MESSAGE_WHOLE = 1 };
bool fix_valid(struct value *value);
bool fix_tag(const rf_op *op, struct value *value, uint8_t number[8]);
bool mqtt_valid(struct value *value);
bool mqtt_field(struct sample_run *run, const rf_op *op, struct value *value, uint8_t number[8]);
bool mqtt_knows(const rf_op *op);
/* jwt.c */
bool jwt_part(struct sample_run *run, const rf_op *op, struct value *value);
bool jwt_verify(struct sample_run *run, const rf_op *op, struct value *value);
bool aes_gcm(struct sample_run *run, const rf_op *op, struct value *value);
const struct rf_tls_ops *transport_tls(void); /* NULL: there is no module for TLS */
/* params.c */
bool parameter(struct sample_run *run, const rf_op *op, struct value *value);
bool forwarded(struct sample_run *run, const rf_op *op, struct value *value);
/* secrets.c: digests and comparisons; false: undefined */
bool secret(struct sample_run *run, const rf_op *op, struct value *value);
/* transport.c: fetches that look at the connection */
struct value connection_fetch(struct sample_run *run, const rf_op *op);
bool sample_reads_ends(const rf_op *op);
/* http_sample.c: fetches that look at a parsed reply */
struct value http_fetch(struct sample_run *run, const rf_op *op);

#endif
