/* program.c - a check program: rules checked once, so that no probe ever has to. */
#include <stdarg.h>
#include <string.h>

#include "internal.h"

enum { RULES_MAX = 4096, SEGMENTS_MAX = 65536, BLOB_MAX = 16 << 20, BUFSIZE_MIN = 1024, BUFSIZE_MAX = 1 << 20 };
/* Room for what a fact of the check may add to a request: state word, site text, two numbers. */
enum { FACT_MAX = 1024 };

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

static bool check_send(rf_program *program, const rf_rule *rule)
{
    if (rule->segment > program->segments_len || rule->segments > program->segments_len - rule->segment) {
        rf_refuse(RF_BAD, 0, "a send rule names segments that are not there");
        return false;
    }
    uint64_t len = 0;
    for (uint32_t i = 0; i < rule->segments; i++) {
        const rf_segment *segment = &program->segments[rule->segment + i];
        if (segment->kind > RF_SEG_TOTAL || !span_fits(program, segment->text)) {
            rf_refuse(RF_BAD, 0, "a segment lies outside the blob");
            return false;
        }
        len += segment->kind == RF_SEG_LITERAL ? segment->text.len : FACT_MAX;
    }
    if (len > program->bufsize) {
        rf_refuse(RF_BAD, 0, "string too large (%llu) for buffer size (%u) at step %d", (unsigned long long)len,
                  program->bufsize, rule->step);
        return false;
    }
    const bool whole = rule->segments == 1 && program->segments[rule->segment].kind == RF_SEG_LITERAL;
    if (!whole && len > program->out_max)
        program->out_max = (uint32_t)len;
    return true;
}

static bool check_expect(rf_program *program, struct compiled *out)
{
    const rf_rule *rule = &out->rule;
    const bool http = (program->flags & RF_PROG_HTTP) != 0;
    if (rule->expect < RF_EXP_HTTP_STATUS || rule->expect > RF_EXP_BINARY_REGEX ||
        (rule->expect <= RF_EXP_HTTP_FHDR) != http || rule->value_match > RF_MATCH_REG || rule->name_match > RF_MATCH_REG) {
        rf_refuse(RF_BAD, 0, "an expect rule of a kind that this program cannot have");
        return false;
    }
    if (rule->expect == RF_EXP_HTTP_STATUS && rule->pattern.len % (2 * sizeof(int32_t)) != 0) {
        rf_refuse(RF_BAD, 0, "status ranges are pairs of int32");
        return false;
    }
    if (rule->expect == RF_EXP_BINARY_REGEX) /* it reads a hex dump, two digits a byte */
        program->out_max = 2 * program->bufsize;
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
    const rf_span spans[] = {rule->pattern, rule->name, rule->value, rule->comment, rule->on_success, rule->on_error};
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
        if (!span_fits(program, spans[i])) {
            rf_refuse(RF_BAD, 0, "a rule's text lies outside the blob");
            return false;
        }
    }
    switch (rule->kind) {
    case RF_RULE_CONNECT:
        return true;
    case RF_RULE_SEND:
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
    free(program->rules);
    free(program->segments);
    free(program->blob);
    free(program);
}

rf_program *rf_program_new(const rf_rule *rules, uint32_t rules_len, const rf_segment *segments, uint32_t segments_len,
                           const uint8_t *blob, uint32_t blob_len, uint32_t flags, uint32_t bufsize)
{
    if (rules_len == 0 || rules_len > RULES_MAX || segments_len > SEGMENTS_MAX || blob_len > BLOB_MAX ||
        bufsize < BUFSIZE_MIN || bufsize > BUFSIZE_MAX || rules[0].kind != RF_RULE_CONNECT) {
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
    program->segments = malloc((segments_len ? segments_len : 1) * sizeof *program->segments);
    program->blob = malloc(blob_len ? blob_len : 1);
    if (program->rules == NULL || program->segments == NULL || program->blob == NULL) {
        rf_refuse(RF_NOMEM, 0, "out of memory");
        program_free(program);
        return NULL;
    }
    program->rules_len = rules_len;
    program->segments_len = segments_len;
    program->blob_len = blob_len;
    if (segments_len)
        memcpy(program->segments, segments, segments_len * sizeof *segments);
    if (blob_len)
        memcpy(program->blob, blob, blob_len);
    for (uint32_t i = 0; i < rules_len; i++) {
        program->rules[i].rule = rules[i];
        if (!check_rule(program, &program->rules[i])) {
            program_free(program);
            return NULL;
        }
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
