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

/* Where the element that begins at <at> ends: a comma that stands in no quotes. */
static uint32_t element_end(const uint8_t *text, uint32_t at, uint32_t len)
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
    const uint32_t end = values->whole ? values->len : element_end(values->text, values->at, values->len);
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
    if (names ? join_names(&to, run, op->text) : join_headers(&to, run))
        value = (struct value){.kind = names ? VALUE_TEXT : VALUE_BIN, .bytes = to.at, .len = to.len};
    return value;
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
    case RF_FETCH_HDRS:
    case RF_FETCH_HDR_NAMES:
        return joined(run, op);
    default:
        return (struct value){.kind = VALUE_NONE};
    }
}
