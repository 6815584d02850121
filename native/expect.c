/* expect.c - whether what came in is what a rule expects (spec 3.5 to 3.7, 3.9, 4.2), and the words for it when not.
 *
 * Data may come in any number of pieces. A rule is conclusive when it matches, when min-recv is reached, or when no
 * more can come (end of stream, full buffer); until then it waits.
 */
#include <string.h>

#include "internal.h"

static const uint8_t *find(const uint8_t *text, size_t len, const uint8_t *part, size_t part_len)
{
    if (part_len == 0)
        return text;
    return len < part_len ? NULL : memmem(text, len, part, part_len);
}

static void append_comment(rf_probe *probe, const rf_rule *rule, bool quoted)
{
    if (rule->comment.len == 0)
        return;
    result_appendf(&probe->result, quoted ? " comment: '" : " comment: ");
    result_append(&probe->result, (const char *)program_at(probe->program, rule->comment), rule->comment.len);
    if (quoted)
        result_append(&probe->result, "'", 1);
}

static void append_pattern(rf_probe *probe, const rf_rule *rule)
{
    const uint8_t *bytes = program_at(probe->program, rule->pattern);
    if (rule->expect == RF_EXP_BINARY && (probe->program->flags & RF_PROG_HEX_PATTERN)) {
        for (uint32_t i = 0; i < rule->pattern.len && i < RF_TEXT_MAX; i++)
            result_appendf(&probe->result, "%02X", bytes[i]);
        return;
    }
    result_append(&probe->result, (const char *)bytes, rule->pattern.len);
}

/* " at step N of tcp-check (expect string 'X') comment: 'C'": where a tcp-check was when its connection failed. */
void expect_suffix(rf_probe *probe, const struct compiled *at)
{
    rf_result *result = &probe->result;
    const rf_rule *rule = &at->rule;
    if (!(probe->program->flags & RF_PROG_TCPCHECK))
        return;
    if (rule->step == 0) {
        result_appendf(result, " at initial connection step of tcp-check");
        return;
    }
    result_appendf(result, " at step %d of tcp-check", rule->step);
    if (rule->kind == RF_RULE_CONNECT && rule->port != 0)
        result_appendf(result, " (connect port %u)", rule->port);
    else if (rule->kind == RF_RULE_CONNECT)
        result_appendf(result, " (connect)");
    else if (rule->kind == RF_RULE_SEND)
        result_appendf(result, " (send)");
    else if (rule->expect == RF_EXP_REGEX)
        result_appendf(result, " (expect regex)");
    else if (rule->expect == RF_EXP_BINARY_REGEX)
        result_appendf(result, " (expect binary regex)");
    else {
        result_appendf(result, rule->expect == RF_EXP_BINARY ? " (expect binary '" : " (expect string '");
        append_pattern(probe, rule);
        result_appendf(result, "')");
    }
    append_comment(probe, rule, true);
}

static int fail(rf_probe *probe, const rf_rule *rule, int32_t default_status, const char *text, size_t len)
{
    const int32_t status = rule->error_status ? rule->error_status : default_status;
    const bool own = rule->on_error.len > 0;
    result_set(&probe->result, status, own ? (const char *)program_at(probe->program, rule->on_error) : text,
               own ? rule->on_error.len : len);
    append_comment(probe, rule, false);
    return EXPECT_STOP;
}

static int fail_text(rf_probe *probe, const rf_rule *rule, int32_t default_status, const char *text)
{
    return fail(probe, rule, default_status, text, strlen(text));
}

/* --- HTTP ------------------------------------------------------------------------------------------------ */

static bool status_in(const rf_probe *probe, const rf_rule *rule)
{
    for (uint32_t at = 0; at < rule->pattern.len; at += 2 * (uint32_t)sizeof(int32_t)) {
        int32_t range[2];
        memcpy(range, program_at(probe->program, rule->pattern) + at, sizeof range);
        if (probe->http.status >= range[0] && probe->http.status <= range[1])
            return true;
    }
    return false;
}

static bool text_matches(uint16_t match, const uint8_t *text, size_t len, const uint8_t *part, size_t part_len,
                         const struct regex *regex, bool caseless)
{
    int (*differ)(const char *, const char *, size_t) = caseless ? strncasecmp : (int (*)(const char *, const char *, size_t))strncmp;
    switch (match) {
    case RF_MATCH_STR:
        return len == part_len && differ((const char *)text, (const char *)part, len) == 0;
    case RF_MATCH_BEG:
        return len >= part_len && differ((const char *)text, (const char *)part, part_len) == 0;
    case RF_MATCH_END:
        return len >= part_len && differ((const char *)text + len - part_len, (const char *)part, part_len) == 0;
    case RF_MATCH_SUB:
        for (size_t i = 0; i + part_len <= len; i++) {
            if (differ((const char *)text + i, (const char *)part, part_len) == 0)
                return true;
        }
        return false;
    default:
        return regex_match(regex, text, len) > 0;
    }
}

/* End of the element of a comma-separated value that begins at <from>; quotes protect commas. */
static uint32_t element_end(const uint8_t *value, uint32_t from, uint32_t len)
{
    bool quoted = false;
    for (uint32_t i = from; i < len; i++) {
        if (quoted && value[i] == '\\')
            i++;
        else if (value[i] == '"')
            quoted = !quoted;
        else if (value[i] == ',' && !quoted)
            return i;
    }
    return len;
}

static bool value_matches(const rf_probe *probe, const struct compiled *at, const uint8_t *value, uint32_t len)
{
    while (len > 0 && (*value == ' ' || *value == '\t'))
        value++, len--;
    while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        len--;
    return text_matches(at->rule.value_match, value, len, program_at(probe->program, at->rule.value), at->rule.value.len,
                        at->value_re, false);
}

static bool header_matches(const rf_probe *probe, const struct compiled *at)
{
    const rf_rule *rule = &at->rule;
    for (uint32_t i = 0; i < probe->http.headers_len; i++) {
        const struct http_header *header = &probe->http.headers[i];
        if (!text_matches(rule->name_match, probe->in + header->name, header->name_len, program_at(probe->program, rule->name),
                          rule->name.len, at->name_re, true))
            continue;
        if (rule->value_match == RF_MATCH_NONE)
            return true;
        const uint8_t *value = probe->in + header->value;
        if (rule->expect == RF_EXP_HTTP_FHDR) {
            if (value_matches(probe, at, value, header->value_len))
                return true;
            continue;
        }
        for (uint32_t from = 0; from <= header->value_len;) {
            const uint32_t end = element_end(value, from, header->value_len);
            if (value_matches(probe, at, value + from, end - from))
                return true;
            from = end + 1;
        }
    }
    return false;
}

static int broken_reply(rf_probe *probe, const rf_rule *rule)
{
    result_set(&probe->result, RF_L7RSP, NULL, 0);
    append_comment(probe, rule, false);
    return EXPECT_STOP;
}

static bool reads_body(const rf_rule *rule)
{
    return rule->expect == RF_EXP_HTTP_STRING || rule->expect == RF_EXP_HTTP_RSTRING;
}

static int eval_body(rf_probe *probe, const struct compiled *at, bool last_read)
{
    const rf_rule *rule = &at->rule;
    const uint8_t *body = probe->in + probe->http.body_at;
    const uint32_t max = http_body_max(&probe->http);
    const uint32_t len = probe->http.body_len < max ? probe->http.body_len : max;
    last_read = last_read || len == max;
    if (len == 0 && probe->http.broken)
        return broken_reply(probe, rule);
    if (len == 0)
        return last_read ? fail_text(probe, rule, RF_L7RSP, "HTTP content check could not find a response body") : EXPECT_WAIT;
    const bool too_short = (rule->expect == RF_EXP_HTTP_STRING && len < rule->pattern.len) ||
                           (rule->min_recv > 0 && len < (uint32_t)rule->min_recv);
    if (too_short && !last_read && !probe->http.broken)
        return EXPECT_WAIT;
    int match = rule->expect == RF_EXP_HTTP_STRING
                    ? find(body, len, program_at(probe->program, rule->pattern), rule->pattern.len) != NULL
                    : regex_match(at->pattern_re, body, len);
    if (match < 0)
        return fail_text(probe, rule, RF_L7RSP, "regex match limit exceeded");
    if (!match && probe->http.broken) /* what came before the fault may decide, what would have come after cannot */
        return broken_reply(probe, rule);
    if (!match && !last_read && rule->min_recv == -1)
        return EXPECT_WAIT;
    const bool negate = (rule->flags & RF_RULE_NEGATE) != 0;
    if ((match != 0) != negate)
        return EXPECT_GO_ON;
    return fail_text(probe, rule, RF_L7RSP, negate ? "HTTP check matched unwanted content" : "HTTP content check did not match");
}

static int eval_http(rf_probe *probe, const struct compiled *at, bool last_read)
{
    const rf_rule *rule = &at->rule;
    const int head = http_feed(&probe->http, probe->in, &probe->in_len, reads_body(rule));
    last_read = last_read || probe->http.complete || probe->in_len == probe->in_max;
    if ((head == HTTP_BROKEN && !probe->http.head_done) || (head == HTTP_NEED_MORE && last_read))
        return broken_reply(probe, rule);
    if (head == HTTP_NEED_MORE)
        return EXPECT_WAIT;
    probe->result.code = probe->http.status;
    if (probe->http.status == 404 && (probe->program->flags & RF_PROG_DISABLE404) && !probe->stopped)
        return EXPECT_GO_ON;
    bool match;
    switch (rule->expect) {
    case RF_EXP_HTTP_STATUS:
        match = status_in(probe, rule);
        break;
    case RF_EXP_HTTP_RSTATUS:
        match = regex_match(at->pattern_re, probe->in + probe->http.code_at, probe->http.code_len) > 0;
        break;
    case RF_EXP_HTTP_HDR:
    case RF_EXP_HTTP_FHDR:
        match = header_matches(probe, at);
        break;
    default:
        return eval_body(probe, at, last_read);
    }
    const bool negate = (rule->flags & RF_RULE_NEGATE) != 0;
    if (match != negate)
        return EXPECT_GO_ON;
    if (probe->http.reason_len == 0 && (probe->program->flags & RF_PROG_NO_REASON_TEXT)) {
        const int stop = fail_text(probe, rule, RF_L7STS, "");
        if (rule->on_error.len == 0) {
            result_set(&probe->result, probe->result.status, NULL, 0);
            result_appendf(&probe->result, "%s(%s) at step %d",
                           negate ? "TCPCHK matched unwanted content" : "TCPCHK did not match content",
                           rule->expect == RF_EXP_HTTP_STATUS    ? "status codes"
                           : rule->expect == RF_EXP_HTTP_RSTATUS ? "status regex"
                                                                 : "header pattern",
                           rule->step);
            append_comment(probe, rule, false);
        }
        return stop;
    }
    return fail(probe, rule, RF_L7STS, (const char *)probe->in + probe->http.reason, probe->http.reason_len);
}

/* --- bytes ------------------------------------------------------------------------------------------------ */

/* The upper-case hex dump goes where requests are put together: program.c has seen to the room. */
static int match_hex(const rf_probe *probe, const struct regex *regex)
{
    static const char DIGITS[] = "0123456789ABCDEF";
    for (uint32_t i = 0; i < probe->in_len; i++) {
        probe->room[2 * i] = (uint8_t)DIGITS[probe->in[i] >> 4];
        probe->room[2 * i + 1] = (uint8_t)DIGITS[probe->in[i] & 15];
    }
    return regex_match(regex, probe->room, 2 * (size_t)probe->in_len);
}

static int match_bytes(const rf_probe *probe, const struct compiled *at)
{
    const rf_rule *rule = &at->rule;
    switch (rule->expect) {
    case RF_EXP_REGEX: {
        const uint8_t *nul = memchr(probe->in, 0, probe->in_len);
        return regex_match(at->pattern_re, probe->in, nul ? (size_t)(nul - probe->in) : probe->in_len);
    }
    case RF_EXP_BINARY_REGEX:
        return match_hex(probe, at->pattern_re);
    default:
        return find(probe->in, probe->in_len, program_at(probe->program, rule->pattern), rule->pattern.len) != NULL;
    }
}

static int mismatch(rf_probe *probe, const rf_rule *rule, bool negate)
{
    const int32_t status = rule->error_status ? rule->error_status : RF_L7RSP;
    if (rule->on_error.len > 0)
        return fail(probe, rule, RF_L7RSP, NULL, 0);
    result_set(&probe->result, status, NULL, 0);
    if (probe->program->flags & RF_PROG_TCPCHECK) {
        result_appendf(&probe->result, negate ? "TCPCHK matched unwanted content" : "TCPCHK did not match content");
        if (rule->expect == RF_EXP_STRING) {
            result_appendf(&probe->result, " '");
            append_pattern(probe, rule);
            result_appendf(&probe->result, "' at step %d", rule->step);
        } else {
            result_appendf(&probe->result, " (%s) at step %d",
                           rule->expect == RF_EXP_BINARY  ? "binary"
                           : rule->expect == RF_EXP_REGEX ? "regex"
                                                          : "binary regex",
                           rule->step);
        }
    }
    append_comment(probe, rule, false);
    return EXPECT_STOP;
}

static int empty_response(rf_probe *probe, const rf_rule *rule)
{
    const int32_t status = rule->error_status ? rule->error_status : RF_L7RSP;
    result_set(&probe->result, status, NULL, 0);
    result_appendf(&probe->result, "TCPCHK got an empty response at step %d", rule->step);
    append_comment(probe, rule, !(probe->program->flags & RF_PROG_BARE_COMMENT));
    return EXPECT_STOP;
}

static int eval_agent(rf_probe *probe, bool last_read)
{
    const struct agent_facts facts = {
        .last_status = probe->last_status,
        .last_code = probe->last_code,
        .initial_weight = probe->aim->initial_weight,
        .static_weights = probe->aim->static_weights != 0,
        .weight_word = (probe->program->flags & RF_PROG_AGENT_WEIGHT) != 0,
    };
    if (agent_line(probe->in, probe->in_len, last_read, &facts, &probe->result) == AGENT_NEED_MORE)
        return EXPECT_WAIT;
    return EXPECT_STOP;
}

static int eval_bytes(rf_probe *probe, const struct compiled *at, bool last_read)
{
    const rf_rule *rule = &at->rule;
    last_read = last_read || probe->in_len == probe->in_max;
    if (probe->in_len == 0)
        return last_read ? empty_response(probe, rule) : EXPECT_WAIT;
    if (rule->expect == RF_EXP_AGENT)
        return eval_agent(probe, last_read);
    if (!last_read && rule->min_recv > 0 && probe->in_len < (uint32_t)rule->min_recv)
        return EXPECT_WAIT;
    const bool negate = (rule->flags & RF_RULE_NEGATE) != 0;
    const bool whole = rule->expect == RF_EXP_STRING || rule->expect == RF_EXP_BINARY;
    if (whole && probe->in_len < rule->pattern.len && !last_read)
        return EXPECT_WAIT;
    const int match = match_bytes(probe, at);
    if (match < 0)
        return fail_text(probe, rule, RF_L7RSP, "regex match limit exceeded");
    if (!match && !last_read && rule->min_recv == -1)
        return EXPECT_WAIT;
    return (match != 0) != negate ? EXPECT_GO_ON : mismatch(probe, rule, negate);
}

int expect_eval(rf_probe *probe, const struct compiled *at, bool last_read)
{
    RF_ASSERT(at->rule.kind == RF_RULE_EXPECT);
    return (probe->program->flags & RF_PROG_HTTP) ? eval_http(probe, at, last_read) : eval_bytes(probe, at, last_read);
}
