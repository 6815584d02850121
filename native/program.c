/* program.c - a check program: rules checked once, so that no probe ever has to. */
#include <stdarg.h>
#include <string.h>

#include "sample.h"

enum { RULES_MAX = 4096, OPS_MAX = 65536, BLOB_MAX = 16 << 20, BUFSIZE_MIN = 1024, BUFSIZE_MAX = 1 << 20 };

static bool span_fits(const rf_program *program, rf_span span)
{
    return span.at <= program->blob_len && span.len <= program->blob_len - span.at;
}

static struct regex *compile(const rf_program *program, rf_span span, bool caseless)
{
    char why[200];
    struct regex *regex = regex_new(program_at(program, span), span.len, caseless, why, sizeof why);
    if (regex == NULL)
        rf_refuse(RF_BAD, 0, "%s", why);
    return regex;
}

static bool is_regex_pattern(uint16_t expect)
{
    return expect == RF_EXP_HTTP_RSTATUS || expect == RF_EXP_HTTP_RSTRING || expect == RF_EXP_REGEX ||
           expect == RF_EXP_BINARY_REGEX;
}

/* A run of operations: in bounds, each sound by itself. */
static bool check_format(rf_program *program, rf_format format)
{
    if (format.at > program->ops_len || format.len > program->ops_len - format.at) {
        rf_refuse(RF_BAD, 0, "a format names operations that are not there");
        return false;
    }
    return true;
}

/* Whether an operation may stand where it does. left: operations from it on. */
static bool fits_within(const rf_op *op, uint32_t left, uint32_t *within)
{
    const uint32_t now = *within;
    switch (op->code) {
    case RF_OP_HEADER:
    case RF_OP_URI:
        *within = op->code;
        return now == 0;
    case RF_OP_AUTHORITY:
        *within = op->code;
        return now == RF_OP_URI;
    case RF_OP_HEADER_END:
    case RF_OP_CONNECTION_END:
        *within = 0;
        return now == RF_OP_HEADER;
    case RF_OP_URI_END:
        *within = 0;
        return now == RF_OP_URI || now == RF_OP_AUTHORITY;
    case RF_OP_CONNECTION:
        return now == 0;
    case RF_OP_LENGTH:
    case RF_OP_NO_BODY:
        return now == 0 && op->number >= 0 && op->number < left;
    default:
        return true;
    }
}

/* Headers come in pairs, a length header counts operations that stand in the same format. */
static bool check_send(rf_program *program, const rf_rule *rule)
{
    const rf_op *ops = program->ops + rule->format.at;
    uint32_t within = 0; /* what has begun and not ended */
    for (uint32_t i = 0; i < rule->format.len; i++) {
        if (!fits_within(&ops[i], rule->format.len - i, &within)) {
            rf_refuse(RF_BAD, 0, "a send rule whose headers do not fit each other");
            return false;
        }
    }
    if (within != 0) {
        rf_refuse(RF_BAD, 0, "a send rule with a header that does not end");
        return false;
    }
    const uint64_t whole = rule->format.len == 1 && ops[0].code == RF_OP_TEXT ? ops[0].text.len : 0;
    if (whole > program->bufsize) {
        rf_refuse(RF_BAD, 0, "string too large (%llu) for buffer size (%u) at step %d", (unsigned long long)whole,
                  program->bufsize, rule->step);
        return false;
    }
    return true;
}

static bool check_connect(rf_program *program, const rf_rule *rule)
{
    enum { LAYERS = RF_LAYER_SOCKS4 | RF_LAYER_PROXY_V1 | RF_LAYER_PROXY_V2 | RF_LAYER_TLS };
    if ((rule->layers & ~LAYERS) != 0 || (rule->address.len != 0 && rule->address.len != sizeof(rf_address))) {
        rf_refuse(RF_BAD, 0, "a connect rule with unknown layers or half an address");
        return false;
    }
    program->needs_tls |= (rule->layers & RF_LAYER_TLS) != 0;
    return true;
}

static bool check_expect(rf_program *program, struct compiled *out)
{
    const rf_rule *rule = &out->rule;
    const bool http = (program->flags & RF_PROG_HTTP) != 0;
    const bool both = rule->expect == RF_EXP_STRING_LF;
    if (rule->expect < RF_EXP_HTTP_STATUS || rule->expect > RF_EXP_SPOP ||
        (!both && (rule->expect <= RF_EXP_HTTP_FHDR) != http) || rule->value_match > RF_MATCH_REG || rule->name_match > RF_MATCH_REG) {
        rf_refuse(RF_BAD, 0, "an expect rule of a kind that this program cannot have");
        return false;
    }
    if (rule->expect == RF_EXP_HTTP_STATUS && rule->pattern.len % (2 * sizeof(int32_t)) != 0) {
        rf_refuse(RF_BAD, 0, "status ranges are pairs of int32");
        return false;
    }
    if (is_regex_pattern(rule->expect) && (out->pattern_re = compile(program, rule->pattern, false)) == NULL)
        return false;
    /* Header names compare without case, so does a regex on them; values keep theirs (spec 3.9). */
    if (rule->name_match == RF_MATCH_REG && (out->name_re = compile(program, rule->name, true)) == NULL)
        return false;
    return rule->value_match != RF_MATCH_REG || (out->value_re = compile(program, rule->value, false)) != NULL;
}

static bool check_rule(rf_program *program, struct compiled *out)
{
    const rf_rule *rule = &out->rule;
    const rf_span spans[] = {rule->pattern, rule->name, rule->value, rule->comment, rule->address, rule->sni, rule->alpn};
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
        if (!span_fits(program, spans[i])) {
            rf_refuse(RF_BAD, 0, "a rule's text lies outside the blob");
            return false;
        }
    }
    const rf_format formats[] = {rule->format, rule->name_format, rule->value_format, rule->on_success, rule->on_error,
                                 rule->status_code};
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (!check_format(program, formats[i]))
            return false;
    }
    switch (rule->kind) {
    case RF_RULE_CONNECT:
        return check_connect(program, rule);
    case RF_RULE_SET:
    case RF_RULE_UNSET:
    case RF_RULE_PROCESS:
        return true;
    case RF_RULE_SEND:
        program->sends++;
        return check_send(program, rule);
    case RF_RULE_EXPECT:
        return check_expect(program, out);
    default:
        rf_refuse(RF_BAD, 0, "unknown kind of rule %u", rule->kind);
        return false;
    }
}

static void program_free(rf_program *program)
{
    for (uint32_t i = 0; program->rules != NULL && i < program->rules_len; i++) {
        regex_free(program->rules[i].pattern_re);
        regex_free(program->rules[i].name_re);
        regex_free(program->rules[i].value_re);
    }
    samples_free(program);
    free(program->rules);
    free(program->ops);
    free(program->blob);
    free(program);
}

/* The first rule that does something outside: variables may be set before. */
static bool begins_well(const rf_rule *rules, uint32_t rules_len)
{
    uint32_t i = 0;
    while (i < rules_len && (rules[i].kind == RF_RULE_SET || rules[i].kind == RF_RULE_UNSET))
        i++;
    return i < rules_len && (rules[i].kind == RF_RULE_CONNECT || (rules[i].kind == RF_RULE_PROCESS && rules_len == 1));
}

static bool check_all(rf_program *program, const rf_rule *rules)
{
    if (samples_prepare(program) != RF_OK)
        return false;
    for (uint32_t i = 0; i < program->ops_len; i++) {
        program->tells_facts |= sample_reads_facts(&program->ops[i]);
        program->reads_body |= sample_reads_body(&program->ops[i]);
        program->reads_ends |= sample_reads_ends(&program->ops[i]);
    }
    for (uint32_t i = 0; i < program->rules_len; i++) {
        program->rules[i].rule = rules[i];
        if (!check_rule(program, &program->rules[i]))
            return false;
    }
    return true;
}

rf_program *rf_program_new(const rf_rule *rules, uint32_t rules_len, const rf_op *ops, uint32_t ops_len,
                           const uint8_t *blob, uint32_t blob_len, uint32_t flags, uint32_t bufsize)
{
    if (rules_len == 0 || rules_len > RULES_MAX || ops_len > OPS_MAX || blob_len > BLOB_MAX || bufsize < BUFSIZE_MIN ||
        bufsize > BUFSIZE_MAX || !begins_well(rules, rules_len)) {
        rf_refuse(RF_BAD, 0, "a program has 1..%d rules, begins with a connect, and a buffer of %d..%d bytes", RULES_MAX,
                  BUFSIZE_MIN, BUFSIZE_MAX);
        return NULL;
    }
    rf_program *program = calloc(1, sizeof *program);
    if (program == NULL) {
        rf_refuse(RF_NOMEM, 0, "out of memory");
        return NULL;
    }
    program->flags = flags;
    program->bufsize = bufsize;
    program->holders = 1;
    program->rules = calloc(rules_len, sizeof *program->rules);
    program->ops = calloc(ops_len ? ops_len : 1, sizeof *program->ops);
    program->blob = malloc(blob_len ? blob_len : 1);
    if (program->rules == NULL || program->ops == NULL || program->blob == NULL) {
        rf_refuse(RF_NOMEM, 0, "out of memory");
        program_free(program);
        return NULL;
    }
    program->rules_len = rules_len;
    program->ops_len = ops_len;
    program->blob_len = blob_len;
    if (ops_len)
        memcpy(program->ops, ops, ops_len * sizeof *ops);
    if (blob_len)
        memcpy(program->blob, blob, blob_len);
    if (!check_all(program, rules)) {
        program_free(program);
        return NULL;
    }
    return program;
}

void rf_program_hold(rf_program *program)
{
    __atomic_add_fetch(&program->holders, 1, __ATOMIC_RELAXED);
}

void rf_program_drop(rf_program *program)
{
    if (program != NULL && __atomic_sub_fetch(&program->holders, 1, __ATOMIC_ACQ_REL) == 0)
        program_free(program);
}
