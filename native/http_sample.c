/* http_sample.c - fetches that look at a parsed reply: status, headers, body (spec 3.9). */
#include <string.h>

#include "sample.h"

static struct value whole(int64_t number)
{
    return (struct value){.kind = VALUE_INT, .number = number};
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

/* An empty name is every header's. */
static bool is_named(const struct sample_run *run, const struct http_header *header, rf_span name)
{
    const uint8_t *text = program_at(run->program, name);
    if (name.len == 0)
        return true;
    if (header->name_len != name.len)
        return false;
    for (uint32_t i = 0; i < name.len; i++) {
        if (lower(run->in[header->name + i]) != lower(text[i]))
            return false;
    }
    return true;
}

uint32_t http_element_end(const uint8_t *text, uint32_t at, uint32_t len)
{
    bool quoted = false;
    for (; at < len; at++) {
        if (text[at] == '\\' && quoted && at + 1 < len)
            at++;
        else if (text[at] == '"')
            quoted = !quoted;
        else if (text[at] == ',' && !quoted)
            break;
    }
    return at;
}

/* Values of one header, one after the other. */
struct values {
    const uint8_t *text;
    uint32_t at, len;
    bool whole, over;
};

static bool next_value(struct values *values, struct value *out)
{
    if (values->over)
        return false;
    const uint32_t end = values->whole ? values->len : http_element_end(values->text, values->at, values->len);
    uint32_t from = values->at, to = end;
    while (from < to && is_blank(values->text[from]))
        from++;
    while (to > from && is_blank(values->text[to - 1]))
        to--;
    *out = (struct value){.kind = VALUE_TEXT, .bytes = values->text + from, .len = to - from};
    values->over = end >= values->len;
    values->at = end + 1;
    return true;
}

/* How many values there are; <out> is the number-th of them, from 1. */
static int64_t walk(const struct sample_run *run, rf_span name, bool lines, int64_t number, struct value *out)
{
    int64_t n = 0;
    *out = (struct value){.kind = VALUE_NONE};
    for (uint32_t i = 0; i < run->http->headers_len; i++) {
        const struct http_header *header = &run->http->headers[i];
        struct values values = {.text = run->in + header->value, .len = header->value_len, .whole = lines};
        struct value value;
        if (!is_named(run, header, name))
            continue;
        while (next_value(&values, &value)) {
            if (++n == number)
                *out = value;
        }
    }
    return n;
}

static struct value header_value(const struct sample_run *run, const rf_op *op)
{
    struct value value;
    const bool lines = op->code == RF_FETCH_FHDR;
    int64_t number = op->number;
    if (number <= 0) { /* from the last one back; 0 is the last one too */
        const int64_t n = walk(run, op->text, lines, 0, &value);
        number = number == 0 ? n : number < -n ? 0 : n + 1 + number;
    }
    if (number > 0)
        walk(run, op->text, lines, number, &value);
    return value;
}

static struct value header_count(const struct sample_run *run, const rf_op *op)
{
    struct value value;
    return whole(walk(run, op->text, op->code == RF_FETCH_FHDR_CNT, 0, &value));
}

/* "1.1" of the status line: what stands before the code, blanks apart. */
static struct value version(const struct sample_run *run)
{
    uint32_t end = run->http->code_at;
    while (end > 0 && is_blank(run->in[end - 1]))
        end--;
    uint32_t from = end;
    while (from > 0 && run->in[from - 1] != '/')
        from--;
    return (struct value){.kind = VALUE_TEXT, .bytes = run->in + from, .len = end - from};
}

/* res.len tells how full HAProxy's buffer of a parsed reply is: a record for the status line, texts, a byte for the end of the
 * head. */
static int64_t parsed_len(const struct http_reply *http)
{
    enum { STATUS_LINE_COST = 20, VERSION_LEN = 8, END_COST = 1 };
    int64_t len = (int64_t)http->body_len + STATUS_LINE_COST + VERSION_LEN + http->code_len + http->reason_len + END_COST;
    for (uint32_t i = 0; i < http->headers_len; i++)
        len += http->headers[i].name_len + http->headers[i].value_len;
    return len;
}

struct joint {
    uint8_t *at;
    uint32_t len, max;
};

static bool join(struct joint *to, const void *bytes, uint32_t len)
{
    if (len > to->max - to->len)
        return false;
    if (len > 0)
        memcpy(to->at + to->len, bytes, len);
    to->len += len;
    return true;
}

/* Names are told in lower case, as HAProxy keeps them. */
static bool join_name(struct joint *to, const struct sample_run *run, const struct http_header *header)
{
    if (!join(to, run->in + header->name, header->name_len))
        return false;
    for (uint32_t i = to->len - header->name_len; i < to->len; i++)
        to->at[i] = lower(to->at[i]);
    return true;
}

static bool join_headers(struct joint *to, const struct sample_run *run)
{
    for (uint32_t i = 0; i < run->http->headers_len; i++) {
        const struct http_header *header = &run->http->headers[i];
        if (!join_name(to, run, header) || !join(to, ": ", 2) || !join(to, run->in + header->value, header->value_len) ||
            !join(to, "\r\n", 2))
            return false;
    }
    return join(to, "\r\n", 2);
}

/* HAProxy's own variable-length number: up to 239 in one byte. */
static bool join_length(struct joint *to, uint32_t len)
{
    uint8_t bytes[6];
    uint32_t n = 0;
    if (len < 0xf0)
        bytes[n++] = (uint8_t)len;
    else {
        bytes[n++] = (uint8_t)(len | 0xf0);
        for (len = (len - 0xf0) >> 4; len >= 0x80; len = (len - 0x80) >> 7)
            bytes[n++] = (uint8_t)(len | 0x80);
        bytes[n++] = (uint8_t)len;
    }
    return join(to, bytes, n);
}

static bool join_binary(struct joint *to, const struct sample_run *run)
{
    for (uint32_t i = 0; i < run->http->headers_len; i++) {
        const struct http_header *header = &run->http->headers[i];
        if (!join_length(to, header->name_len) || !join_name(to, run, header) || !join_length(to, header->value_len) ||
            !join(to, run->in + header->value, header->value_len))
            return false;
    }
    return join_length(to, 0) && join_length(to, 0);
}

static bool join_names(struct joint *to, const struct sample_run *run, rf_span between)
{
    for (uint32_t i = 0; i < run->http->headers_len; i++) {
        if (i > 0 && !join(to, program_at(run->program, between), between.len))
            return false;
        if (!join_name(to, run, &run->http->headers[i]))
            return false;
    }
    return true;
}

static struct value joined(struct sample_run *run, const rf_op *op)
{
    struct value value = {.kind = VALUE_NONE};
    struct joint to = {0};
    to.at = sample_room(run, &value, &to.max);
    const bool names = op->code == RF_FETCH_HDR_NAMES;
    if (names                               ? join_names(&to, run, op->text)
        : op->code == RF_FETCH_HDRS_BIN ? join_binary(&to, run)
                                        : join_headers(&to, run))
        value = (struct value){.kind = names ? VALUE_TEXT : VALUE_BIN, .bytes = to.at, .len = to.len};
    return value;
}

/* --- addresses and cookies --------------------------------------------------------------------------------------- */

/* An IPv4 address may have a port behind it. */
static bool is_address(struct sample_run *run, struct value *value)
{
    uint32_t address;
    const uint32_t end = read_ipv4(value->bytes, value->len, &address);
    if (end > 0 && (end == value->len || value->bytes[end] == ':'))
        return cast_ipv4(value);
    value->kind = VALUE_TEXT;
    return end == 0 && cast_ipv6(run, value);
}

static uint32_t blanks(const uint8_t *text, uint32_t at, uint32_t len)
{
    while (at < len && is_blank(text[at]))
        at++;
    return at;
}

/* The value of the cookie that a Set-Cookie header sets, if it has this name; any without one. A semicolon in quotes ends nothing. */
static bool cookie_value(const uint8_t *text, uint32_t len, const uint8_t *name, uint32_t name_len, struct value *out)
{
    const uint32_t from = blanks(text, 0, len);
    uint32_t equal = from, end = from;
    while (equal < len && text[equal] != '=' && text[equal] != ';') {
        if (!is_blank(text[equal++]))
            end = equal;
    }
    if (equal >= len || text[equal] != '=' ||
        (name_len > 0 && (text[from] == '$' || end - from != name_len || memcmp(text + from, name, name_len) != 0)))
        return false;
    const uint32_t value = blanks(text, equal + 1, len);
    bool quoted = false;
    uint32_t to = value;
    for (; to < len && (quoted || text[to] != ';'); to++) {
        if (quoted && text[to] == '\\' && to + 1 < len)
            to++;
        else if (text[to] == '"')
            quoted = !quoted;
    }
    while (to > value && is_blank(text[to - 1]))
        to--;
    *out = (struct value){.kind = VALUE_TEXT, .bytes = text + value, .len = to - value};
    return true;
}

static struct value cookie(const struct sample_run *run, const rf_op *op)
{
    static const char SET_COOKIE[] = "set-cookie";
    struct value found = {.kind = VALUE_NONE};
    int64_t n = 0;
    for (uint32_t i = 0; i < run->http->headers_len; i++) {
        const struct http_header *header = &run->http->headers[i];
        bool named = header->name_len == sizeof SET_COOKIE - 1;
        for (uint32_t k = 0; named && k < header->name_len; k++)
            named = lower(run->in[header->name + k]) == (uint8_t)SET_COOKIE[k];
        struct values values = {.text = run->in + header->value, .len = header->value_len, .over = !named};
        struct value value;
        while (next_value(&values, &value))
            n += cookie_value(value.bytes, value.len, program_at(run->program, op->text), op->text.len, &found);
    }
    return op->code == RF_FETCH_COOKIE_CNT ? whole(n) : found;
}

static struct value header_address(struct sample_run *run, const rf_op *op)
{
    struct value value = header_value(run, op);
    return value.kind != VALUE_NONE && is_address(run, &value) ? value : (struct value){.kind = VALUE_NONE};
}

struct value http_fetch(struct sample_run *run, const rf_op *op)
{
    const struct http_reply *http = run->http;
    switch (op->code) {
    case RF_FETCH_STATUS:
        return whole(http->status);
    case RF_FETCH_HDR:
    case RF_FETCH_FHDR:
        return header_value(run, op);
    case RF_FETCH_HDR_CNT:
    case RF_FETCH_FHDR_CNT:
        return header_count(run, op);
    case RF_FETCH_VER:
        return version(run);
    case RF_FETCH_BODY:
        return (struct value){.kind = VALUE_BIN, .bytes = run->in + http->body_at, .len = http->body_len};
    case RF_FETCH_LEN:
        return whole(parsed_len(http));
    case RF_FETCH_BODY_LEN:
        return whole(http->body_len);
    case RF_FETCH_HDR_IP:
        return header_address(run, op);
    case RF_FETCH_COOKIE:
    case RF_FETCH_COOKIE_CNT:
        return cookie(run, op);
    case RF_FETCH_HDRS:
    case RF_FETCH_HDRS_BIN:
    case RF_FETCH_HDR_NAMES:
        return joined(run, op);
    default:
        return (struct value){.kind = VALUE_NONE};
    }
}
