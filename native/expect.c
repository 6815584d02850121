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

/* A comment whose \\1 stands for what the regular expression has found: 3's, of content that was not wanted. */
static bool append_captures(rf_probe *probe, const struct compiled *at)
{
    const rf_rule *rule = &at->rule;
    const uint8_t *comment = program_at(probe->program, rule->comment);
    const bool hex = rule->expect == RF_EXP_BINARY_REGEX;
    if (!(probe->program->flags & RF_PROG_CAPTURES) || (rule->expect != RF_EXP_REGEX && !hex) ||
        !(rule->flags & RF_RULE_NEGATE) || memchr(comment, '\\', rule->comment.len) == NULL)
        return false;
    const uint8_t *text = hex ? probe->room : probe->in; /* the dump that was searched still lies there */
    const uint32_t len = hex ? 2 * (probe->in_len < probe->in_max / 2 ? probe->in_len : probe->in_max / 2) : probe->in_len;
    struct regex_span groups[REGEX_GROUPS_MAX];
    const int found = regex_find(at->pattern_re, text, len, false, groups);
    result_appendf(&probe->result, " comment: ");
    for (uint32_t i = 0; i < rule->comment.len; i++) {
        const uint8_t next = i + 1 < rule->comment.len ? comment[i + 1] : 0;
        if (comment[i] != '\\' || next == 0) {
            result_append(&probe->result, (const char *)comment + i, 1);
        } else if (next < '0' || next > '9') {
            result_append(&probe->result, (const char *)comment + ++i, 1);
        } else {
            const int group = comment[++i] - '0';
            if (group < found && hex) /* digits were searched, bytes are told */
                result_append(&probe->result, (const char *)probe->in + groups[group].at / 2, groups[group].len / 2);
            else if (group < found)
                result_append(&probe->result, (const char *)text + groups[group].at, groups[group].len);
        }
    }
    return true;
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
    else if (rule->expect == RF_EXP_STRING_LF)
        result_appendf(result, " (expect log-format string)");
    else if (rule->expect == RF_EXP_BINARY_LF)
        result_appendf(result, " (expect log-format binary)");
    else {
        result_appendf(result, rule->expect == RF_EXP_BINARY ? " (expect binary '" : " (expect string '");
        append_pattern(probe, rule);
        result_appendf(result, "')");
    }
    append_comment(probe, rule, true);
}

/* What every failed expect ends with: its comment, and the code that its `status-code` finds. */
static int stop(rf_probe *probe, const rf_rule *rule)
{
    int64_t code;
    if (!append_captures(probe, (const struct compiled *)rule)) /* the rule stands first in what was compiled of it */
        append_comment(probe, rule, false);
    if (rule->status_code.len > 0 && format_number(probe, rule->status_code, &code))
        probe->result.code = (int16_t)code; /* as wide as in HAProxy */
    return EXPECT_STOP;
}

/* `on-error` instead of what the check would say by itself; false: the rule has none. */
static bool own_words(rf_probe *probe, const rf_rule *rule, int32_t status)
{
    if (rule->on_error.len == 0)
        return false;
    const uint32_t len = format_text(probe, rule->on_error, probe->room, RF_TEXT_MAX);
    result_set(&probe->result, status, (const char *)probe->room, len < RF_TEXT_MAX ? len : RF_TEXT_MAX);
    return true;
}

static int fail(rf_probe *probe, const rf_rule *rule, int32_t default_status, const char *text, size_t len)
{
    const int32_t status = rule->error_status ? rule->error_status : default_status;
    if (!own_words(probe, rule, status))
        result_set(&probe->result, status, text, len);
    return stop(probe, rule);
}

/* Words that no `on-error` replaces. */
static int fail_fixed(rf_probe *probe, const rf_rule *rule, const char *text)
{
    result_set(&probe->result, rule->error_status ? rule->error_status : RF_L7RSP, text, strlen(text));
    return stop(probe, rule);
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
        return regex != NULL && regex_match(regex, text, len) > 0;
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

/* What a header is compared with: a text of the program, or one that a format gives now. */
struct wanted {
    uint16_t match;
    const uint8_t *text;
    uint32_t len;
    const struct regex *regex;
};

static struct wanted wanted(rf_probe *probe, uint16_t match, rf_span text, rf_format format, const struct regex *regex,
                            uint8_t *room)
{
    if (format.len == 0)
        return (struct wanted){match, program_at(probe->program, text), text.len, regex};
    const uint32_t len = format_text(probe, format, room, probe->in_max);
    return (struct wanted){match, room, len < probe->in_max ? len : probe->in_max, NULL};
}

static bool value_matches(const struct wanted *want, const uint8_t *value, uint32_t len)
{
    while (len > 0 && (*value == ' ' || *value == '\t'))
        value++, len--;
    while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
        len--;
    return text_matches(want->match, value, len, want->text, want->len, want->regex, false);
}

static bool line_matches(const rf_rule *rule, const struct wanted *want, const uint8_t *value, uint32_t len)
{
    if (rule->expect == RF_EXP_HTTP_FHDR)
        return value_matches(want, value, len);
    for (uint32_t from = 0; from <= len;) {
        const uint32_t end = element_end(value, from, len);
        if (value_matches(want, value + from, end - from))
            return true;
        from = end + 1;
    }
    return false;
}

static bool header_matches(rf_probe *probe, const struct compiled *at)
{
    const rf_rule *rule = &at->rule;
    const struct wanted name =
        wanted(probe, rule->name_match, rule->name, rule->name_format, at->name_re, probe->room);
    const struct wanted value = wanted(probe, rule->value_match, rule->value, rule->value_format, at->value_re,
                                       probe->room + probe->in_max);
    for (uint32_t i = 0; i < probe->http.headers_len; i++) {
        const struct http_header *header = &probe->http.headers[i];
        if (!text_matches(name.match, probe->in + header->name, header->name_len, name.text, name.len, name.regex, true))
            continue;
        if (rule->value_match == RF_MATCH_NONE || line_matches(rule, &value, probe->in + header->value, header->value_len))
            return true;
    }
    return false;
}

static int broken_reply(rf_probe *probe, const rf_rule *rule)
{
    result_set(&probe->result, RF_L7RSP, NULL, 0);
    return stop(probe, rule);
}

static bool reads_body(const rf_rule *rule)
{
    return rule->expect == RF_EXP_HTTP_STRING || rule->expect == RF_EXP_HTTP_RSTRING || rule->expect == RF_EXP_STRING_LF;
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
    int match;
    if (rule->expect == RF_EXP_STRING_LF) {
        const uint32_t wants = format_text(probe, rule->format, probe->room, probe->in_max);
        if (wants == 0)
            return fail_fixed(probe, rule, "log-format string evaluated to an empty string");
        if (len < wants && !last_read && !probe->http.broken)
            return EXPECT_WAIT;
        match = wants <= probe->in_max && find(body, len, probe->room, wants) != NULL;
    } else if (rule->expect == RF_EXP_HTTP_STRING) {
        match = find(body, len, program_at(probe->program, rule->pattern), rule->pattern.len) != NULL;
    } else {
        match = regex_match(at->pattern_re, body, len);
    }
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
    if (probe->http.reason_len == 0 && rule->on_error.len == 0 && (probe->program->flags & RF_PROG_NO_REASON_TEXT)) {
        result_set(&probe->result, rule->error_status ? rule->error_status : RF_L7STS, NULL, 0);
        result_appendf(&probe->result, "%s(%s) at step %d",
                       negate ? "TCPCHK matched unwanted content" : "TCPCHK did not match content",
                       rule->expect == RF_EXP_HTTP_STATUS    ? "status codes"
                       : rule->expect == RF_EXP_HTTP_RSTATUS ? "status regex"
                                                             : "header pattern",
                       rule->step);
        return stop(probe, rule);
    }
    return fail(probe, rule, RF_L7STS, (const char *)probe->in + probe->http.reason, probe->http.reason_len);
}

/* --- bytes ------------------------------------------------------------------------------------------------ */

/* The upper-case hex dump goes where requests are put together, and no further than HAProxy's buffer for it. */
static int match_hex(const rf_probe *probe, const struct regex *regex)
{
    static const char DIGITS[] = "0123456789ABCDEF";
    const uint32_t len = probe->in_len < probe->in_max / 2 ? probe->in_len : probe->in_max / 2;
    for (uint32_t i = 0; i < len; i++) {
        probe->room[2 * i] = (uint8_t)DIGITS[probe->in[i] >> 4];
        probe->room[2 * i + 1] = (uint8_t)DIGITS[probe->in[i] & 15];
    }
    return regex_match(regex, probe->room, 2 * (size_t)len);
}

static int match_bytes(const rf_probe *probe, const struct compiled *at)
{
    const rf_rule *rule = &at->rule;
    switch (rule->expect) {
    case RF_EXP_REGEX:
        return regex_match(at->pattern_re, probe->in, probe->in_len);
    case RF_EXP_BINARY_REGEX:
        return match_hex(probe, at->pattern_re);
    default:
        return find(probe->in, probe->in_len, program_at(probe->program, rule->pattern), rule->pattern.len) != NULL;
    }
}

static const char *kind_of(uint16_t expect)
{
    switch (expect) {
    case RF_EXP_BINARY:
        return "binary";
    case RF_EXP_REGEX:
        return "regex";
    case RF_EXP_BINARY_REGEX:
        return "binary regex";
    case RF_EXP_STRING_LF:
        return "log-format string";
    default:
        return "log-format binary";
    }
}

static int mismatch(rf_probe *probe, const rf_rule *rule, bool negate)
{
    const int32_t status = rule->error_status ? rule->error_status : RF_L7RSP;
    if (own_words(probe, rule, status))
        return stop(probe, rule);
    result_set(&probe->result, status, NULL, 0);
    if (probe->program->flags & RF_PROG_TCPCHECK) {
        result_appendf(&probe->result, negate ? "TCPCHK matched unwanted content" : "TCPCHK did not match content");
        if (rule->expect == RF_EXP_STRING) {
            result_appendf(&probe->result, " '");
            append_pattern(probe, rule);
            result_appendf(&probe->result, "' at step %d", rule->step);
        } else {
            result_appendf(&probe->result, " (%s) at step %d", kind_of(rule->expect), rule->step);
        }
    }
    return stop(probe, rule);
}

static int empty_response(rf_probe *probe, const rf_rule *rule)
{
    const int32_t status = rule->error_status ? rule->error_status : RF_L7RSP;
    result_set(&probe->result, status, NULL, 0);
    result_appendf(&probe->result, "TCPCHK got an empty response at step %d", rule->step);
    append_comment(probe, rule, !(probe->program->flags & RF_PROG_BARE_COMMENT));
    return EXPECT_STOP;
}

/* A pattern that a format gives: its own length decides how long to wait. */
static int eval_format(rf_probe *probe, const rf_rule *rule, bool last_read)
{
    uint32_t len = format_text(probe, rule->format, probe->room, probe->in_max);
    if (len == 0)
        return fail_fixed(probe, rule, "log-format string evaluated to an empty string");
    if (len > probe->in_max)
        len = probe->in_max;
    if (rule->expect == RF_EXP_BINARY_LF) {
        const int32_t bytes = unhex(probe->room, len);
        if (bytes < 0)
            return fail_fixed(probe, rule, "Failed to parse hexastring resulting of eval of a log-format string");
        len = (uint32_t)bytes;
    }
    if (probe->in_len < len && !last_read)
        return EXPECT_WAIT;
    const bool match = find(probe->in, probe->in_len, probe->room, len) != NULL;
    if (!match && !last_read && rule->min_recv == -1)
        return EXPECT_WAIT;
    const bool negate = (rule->flags & RF_RULE_NEGATE) != 0;
    return match != negate ? EXPECT_GO_ON : mismatch(probe, rule, negate);
}

/* A reply of a protocol with a reader of its own. */
static int eval_preset(rf_probe *probe, const rf_rule *rule, bool last_read)
{
    struct preset_reply reply = {0};
    const bool last_rule = probe->rule + 1 == probe->program->rules_len;
    enum { FRAME_HEAD = 4 };
    int found;
    switch (rule->expect) {
    case RF_EXP_LDAP:
        found = preset_ldap(probe->in, probe->in_len, last_read, &reply);
        break;
    case RF_EXP_SPOP:
        found = preset_spop(probe->in, probe->in_len, last_read, probe->in_max - FRAME_HEAD,
                            (probe->program->flags & RF_PROG_SPOP_CAPABILITIES) != 0, &reply);
        break;
    default:
        found = preset_mysql(probe->in, probe->in_len, last_read, rule->expect == RF_EXP_MYSQL_OK, last_rule, &reply);
    }
    if (found == PRESET_WAIT)
        return EXPECT_WAIT;
    if (found == PRESET_BAD) {
        probe->result.code = reply.code;
        result_set(&probe->result, reply.status, reply.text, reply.len);
        return stop(probe, rule);
    }
    if (last_rule) {
        result_set(&probe->result, RF_L7OK, reply.text, reply.len);
        probe->result.fleeting = 1;
    }
    return EXPECT_GO_ON;
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
    if (rule->expect >= RF_EXP_MYSQL)
        return eval_preset(probe, rule, last_read);
    if (!last_read && rule->min_recv > 0 && probe->in_len < (uint32_t)rule->min_recv)
        return EXPECT_WAIT;
    const bool negate = (rule->flags & RF_RULE_NEGATE) != 0;
    const bool whole = rule->expect == RF_EXP_STRING || rule->expect == RF_EXP_BINARY;
    if (whole && probe->in_len < rule->pattern.len && !last_read)
        return EXPECT_WAIT;
    if (rule->expect >= RF_EXP_STRING_LF)
        return eval_format(probe, rule, last_read);
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
