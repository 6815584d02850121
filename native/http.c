/* http.c - an HTTP/1 reply, parsed in place as bytes come in.
 *
 * It resumes at any byte: a short read is "need more", and a byte that no reply may have is found when it comes,
 * not when the block is whole, because a peer that talks nonsense and then keeps quiet is L7RSP, not L7TOUT.
 * What is accepted follows HAProxy's own response parser (spec 3.9; run against 2.6 in tests/diff): bare LF ends a line,
 * empty lines may come first, versions are HTTP/d.d, header names are tokens, folded values are unfolded,
 * at most 100 headers.
 */
#include <string.h>

#include "internal.h"

enum {
    BEFORE,
    BEFORE_CR,
    VERSION,
    VERSION_SP,
    CODE,
    CODE_SP,
    REASON,
    LINE_LF,
    HEADER_FIRST,
    HEADER_NAME,
    VALUE_SP,
    VALUE_SP_LF,
    VALUE_SP_LWS,
    VALUE,
    VALUE_LF,
    VALUE_LWS,
    LAST_LF,
    HEAD_OVER
};
enum { CHUNK_SIZE, CHUNK_EXT, CHUNK_SIZE_LF, CHUNK_DATA, CHUNK_END, CHUNK_END_LF, TRAILER, TRAILER_LINE, TRAILER_LF, CHUNKS_OVER };
enum { VERSION_LEN = 8 };
/* HAProxy keeps a parsed reply in one buffer, with its own book-keeping beside the text: what does not fit there is a broken
 * head, or a body that ends early. Found by bisection on 2.6: a fixed part, and some bytes for each header and the body. */
static const uint32_t FIXED_COST = 93, BLOCK_COST = 8;

void http_reset(struct http_reply *reply, bool head_request, uint32_t room)
{
    memset(reply, 0, offsetof(struct http_reply, headers));
    reply->no_body = head_request;
    reply->room = room;
}

/* How much of the body HAProxy would look at. */
uint32_t http_body_max(const struct http_reply *reply)
{
    return reply->room - reply->cost > BLOCK_COST ? reply->room - reply->cost - BLOCK_COST : 0;
}

static bool is_token(uint8_t c)
{
    static const uint8_t TOKEN[16] = {0, 0, 0, 0, 0xfa, 0x6c, 0xff, 0x03, 0xfe, 0xff, 0xff, 0xc7, 0xff, 0xff, 0xff, 0x57};
    return c < 128 && (TOKEN[c >> 3] & (1u << (c & 7))) != 0;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_version(const uint8_t *buf, uint32_t at, uint32_t len)
{
    return len == VERSION_LEN && buf[at + 4] == '/' && is_digit(buf[at + 5]) && buf[at + 6] == '.' && is_digit(buf[at + 7]);
}

static bool name_is(const uint8_t *buf, const struct http_header *header, const char *name)
{
    if (header->name_len != strlen(name))
        return false;
    for (uint32_t i = 0; i < header->name_len; i++) {
        const uint8_t c = buf[header->name + i];
        if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != (uint8_t)name[i])
            return false;
    }
    return true;
}

/* Content-Length: one number; the same again, in a list or another line, is tolerated, another one is not. */
static bool take_length(struct http_reply *reply, const uint8_t *buf, const struct http_header *header)
{
    const uint8_t *at = buf + header->value;
    const uint8_t *end = at + header->value_len;
    do {
        uint64_t length = 0;
        bool any = false;
        while (at < end && is_blank(*at))
            at++;
        for (; at < end && is_digit(*at); at++, any = true) {
            if (length > (UINT64_MAX - 9) / 10)
                return false;
            length = length * 10 + (uint64_t)(*at - '0');
        }
        while (at < end && is_blank(*at))
            at++;
        if (!any || (at < end && *at != ',') || (reply->has_length && reply->length_left != length))
            return false;
        reply->has_length = true;
        reply->length_left = length;
    } while (at++ < end);
    return true;
}

/* Transfer-Encoding: "chunked", once and alone; HAProxy takes a reply with any other coding for broken. */
static bool take_coding(struct http_reply *reply, const uint8_t *buf, const struct http_header *header)
{
    static const char WORD[] = "chunked";
    if (header->value_len == 0)
        return true;
    if (reply->chunked || header->value_len != sizeof WORD - 1)
        return false;
    for (uint32_t i = 0; i < sizeof WORD - 1; i++) {
        const uint8_t c = buf[header->value + i];
        if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != (uint8_t)WORD[i])
            return false;
    }
    reply->chunked = true;
    return true;
}

static bool end_header(struct http_reply *reply, const uint8_t *buf)
{
    struct http_header *header = &reply->headers[reply->headers_len];
    while (header->value_len > 0 && is_blank(buf[header->value + header->value_len - 1]))
        header->value_len--;
    reply->headers_len++;
    reply->cost += BLOCK_COST + header->name_len + header->value_len;
    if (name_is(buf, header, "content-length"))
        return take_length(reply, buf, header);
    if (name_is(buf, header, "transfer-encoding"))
        return take_coding(reply, buf, header);
    return true;
}

static bool end_head(struct http_reply *reply, uint32_t at)
{
    reply->cost += FIXED_COST + (uint32_t)VERSION_LEN + reply->code_len + reply->reason_len;
    if (reply->cost > reply->room)
        return false;
    reply->head_done = true;
    reply->body_at = reply->raw_at = at;
    if (reply->status < 200 || reply->status == 204 || reply->status == 304)
        reply->no_body = true;
    if (reply->chunked)
        reply->has_length = false;
    if (reply->no_body || (reply->has_length && reply->length_left == 0))
        reply->complete = true;
    return true;
}

/* One byte of the status line; false: no reply begins like this. */
static bool status_line(struct http_reply *reply, const uint8_t *buf, uint32_t at)
{
    const uint8_t c = buf[at];
    switch (reply->state) {
    case BEFORE:
        if (c == '\r')
            reply->state = BEFORE_CR;
        else if (is_token(c)) {
            reply->reason = (uint16_t)at; /* where the version began, until the reason is known */
            reply->state = VERSION;
        } else if (c != '\n')
            return false;
        return true;
    case BEFORE_CR:
        reply->state = BEFORE;
        return c == '\n';
    case VERSION:
        if (is_blank(c)) {
            reply->state = VERSION_SP;
            return is_version(buf, reply->reason, at - reply->reason);
        }
        return c == '/' || c == '.' || is_digit(c) || (c >= 'A' && c <= 'Z');
    case VERSION_SP:
        if (is_blank(c))
            return true;
        reply->code_at = (uint16_t)at;
        reply->state = CODE; /* fall through */
    case CODE:
        if (is_digit(c)) {
            reply->status = (uint16_t)(reply->status * 10 + (c - '0')); /* any number of digits, 16 bits of them kept */
            return true;
        }
        reply->code_len = (uint16_t)(at - reply->code_at);
        reply->reason = (uint16_t)at;
        reply->state = is_blank(c) ? CODE_SP : c == '\r' ? LINE_LF : HEADER_FIRST;
        return reply->code_len > 0 && (is_blank(c) || c == '\r' || c == '\n');
    case CODE_SP:
        reply->reason = (uint16_t)at;
        if (is_blank(c))
            return true;
        reply->state = REASON; /* fall through */
    case REASON:
        if (c == '\r' || c == '\n') {
            reply->reason_len = (uint16_t)(at - reply->reason);
            reply->state = c == '\r' ? LINE_LF : HEADER_FIRST;
        }
        return true;
    default: /* LINE_LF */
        reply->state = HEADER_FIRST;
        return c == '\n';
    }
}

static bool header_name(struct http_reply *reply, const uint8_t *buf, uint32_t at)
{
    const uint8_t c = buf[at];
    if (reply->state == HEADER_FIRST) {
        if (c == '\r') {
            reply->state = LAST_LF;
            return true;
        }
        if (c == '\n') {
            reply->state = HEAD_OVER;
            return true;
        }
        if (reply->headers_len == HTTP_HEADERS_MAX)
            return false;
        reply->headers[reply->headers_len] = (struct http_header){.name = (uint16_t)at};
        reply->state = HEADER_NAME;
    }
    struct http_header *header = &reply->headers[reply->headers_len];
    if (c == ':') {
        header->name_len = (uint16_t)(at - header->name);
        reply->state = VALUE_SP;
        return header->name_len > 0;
    }
    return is_token(c);
}

/* Values: blanks around them do not count, a line that begins with a blank goes on with the value before. */
static bool header_value(struct http_reply *reply, uint8_t *buf, uint32_t at)
{
    struct http_header *header = &reply->headers[reply->headers_len];
    const uint8_t c = buf[at];
    switch (reply->state) {
    case VALUE_SP:
        header->value = (uint16_t)at;
        header->value_len = 0;
        if (is_blank(c))
            return true;
        if (c == '\r' || c == '\n') {
            reply->state = c == '\r' ? VALUE_SP_LF : VALUE_SP_LWS;
            return true;
        }
        reply->state = VALUE; /* fall through */
    case VALUE:
        if (c == '\r' || c == '\n') {
            header->value_len = (uint16_t)(at - header->value);
            reply->state = c == '\r' ? VALUE_LF : VALUE_LWS;
        }
        return true;
    case VALUE_SP_LF:
    case VALUE_LF:
        reply->state = reply->state == VALUE_LF ? VALUE_LWS : VALUE_SP_LWS;
        return c == '\n';
    default: /* VALUE_SP_LWS, VALUE_LWS: the first byte of the next line */
        if (is_blank(c)) {
            if (reply->state == VALUE_SP_LWS) {
                reply->state = VALUE_SP;
                return true;
            }
            for (uint32_t i = (uint32_t)header->value + header->value_len; i < at; i++)
                buf[i] = ' ';
            reply->state = VALUE;
            return true;
        }
        reply->state = HEADER_FIRST;
        return end_header(reply, buf) && header_name(reply, buf, at);
    }
}

static int feed_head(struct http_reply *reply, uint8_t *buf, uint32_t len)
{
    if (len > UINT16_MAX)
        len = UINT16_MAX; /* offsets are 16 bits; a head this long has filled the buffer anyway */
    while (reply->scanned < len) {
        const uint32_t at = reply->scanned++;
        bool good = true;
        if (reply->state <= LINE_LF)
            good = status_line(reply, buf, at);
        else if (reply->state == HEADER_FIRST || reply->state == HEADER_NAME)
            good = header_name(reply, buf, at);
        else if (reply->state < LAST_LF)
            good = header_value(reply, buf, at);
        else {
            good = buf[at] == '\n';
            reply->state = HEAD_OVER;
        }
        if (good && reply->state == HEAD_OVER) {
            if (end_head(reply, at + 1))
                return HTTP_HEAD_DONE;
            good = false;
        }
        if (!good) {
            reply->broken = true;
            return HTTP_BROKEN;
        }
    }
    return HTTP_NEED_MORE;
}

static int hex_value(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static void chunk_size_over(struct http_reply *reply)
{
    reply->chunk_digits = 0;
    reply->chunk_state = reply->chunk_left > 0 ? CHUNK_DATA : TRAILER;
}

/* One byte of the frame around chunks. */
static bool chunk_frame(struct http_reply *reply, uint8_t c)
{
    switch (reply->chunk_state) {
    case CHUNK_SIZE: {
        const int digit = hex_value(c);
        if (digit >= 0) {
            const bool fits = reply->chunk_left >> 60 == 0;
            reply->chunk_left = reply->chunk_left * 16 + (uint64_t)digit;
            reply->chunk_digits = 1;
            return fits;
        }
        if (reply->chunk_digits == 0)
            return false;
        if (c == '\n') {
            chunk_size_over(reply);
            return true;
        }
        reply->chunk_state = c == '\r' ? CHUNK_SIZE_LF : CHUNK_EXT;
        return c == '\r' || c == ';' || is_blank(c);
    }
    case CHUNK_EXT:
        if (c == '\r')
            reply->chunk_state = CHUNK_SIZE_LF;
        else if (c == '\n')
            chunk_size_over(reply);
        return true;
    case CHUNK_SIZE_LF:
        chunk_size_over(reply);
        return c == '\n';
    case CHUNK_END:
        reply->chunk_state = c == '\r' ? CHUNK_END_LF : CHUNK_SIZE;
        return c == '\r' || c == '\n';
    case CHUNK_END_LF:
        reply->chunk_state = CHUNK_SIZE;
        return c == '\n';
    case TRAILER:
        reply->chunk_state = c == '\r' ? TRAILER_LF : c == '\n' ? CHUNKS_OVER : TRAILER_LINE;
        return true;
    case TRAILER_LINE:
        if (c == '\n')
            reply->chunk_state = TRAILER;
        return true;
    default: /* TRAILER_LF */
        reply->chunk_state = CHUNKS_OVER;
        return c == '\n';
    }
}

/* Moves the payload of chunks down to the end of the body and forgets the frames between them. */
static int feed_chunks(struct http_reply *reply, uint8_t *buf, uint32_t *len)
{
    uint32_t at = reply->raw_at;
    while (at < *len && reply->chunk_state != CHUNKS_OVER) {
        if (reply->chunk_state == CHUNK_DATA) {
            const uint64_t there = *len - at;
            const uint32_t take = (uint32_t)(there < reply->chunk_left ? there : reply->chunk_left);
            memmove(buf + reply->body_at + reply->body_len, buf + at, take);
            reply->body_len += take;
            reply->chunk_left -= take;
            at += take;
            if (reply->chunk_left == 0)
                reply->chunk_state = CHUNK_END;
        } else if (!chunk_frame(reply, buf[at++])) {
            reply->broken = true;
            return HTTP_BROKEN;
        }
    }
    reply->raw_at = *len = reply->body_at + reply->body_len;
    reply->complete = reply->chunk_state == CHUNKS_OVER;
    return HTTP_HEAD_DONE;
}

int http_feed(struct http_reply *reply, uint8_t *buf, uint32_t *len, bool want_body)
{
    if (reply->broken)
        return HTTP_BROKEN;
    if (!reply->head_done) {
        const int head = feed_head(reply, buf, *len);
        if (head != HTTP_HEAD_DONE)
            return head;
    }
    if (reply->complete || !want_body)
        return HTTP_HEAD_DONE;
    if (reply->chunked)
        return feed_chunks(reply, buf, len);
    reply->body_len = *len - reply->body_at;
    if (reply->has_length && reply->body_len >= reply->length_left) {
        reply->body_len = (uint32_t)reply->length_left;
        reply->complete = true;
    }
    return HTTP_HEAD_DONE;
}
