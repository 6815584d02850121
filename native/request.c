/* request.c - what HAProxy makes of a request's Connection headers and of the authority in its URI (run on 2.6.12). */
#include <string.h>
#include <strings.h>

#include "sample.h"

static bool is_word(const uint8_t *text, uint32_t len, const char *word)
{
    return len == strlen(word) && strncasecmp((const char *)text, word, len) == 0;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

uint32_t rf_connection_value(uint8_t *value, uint32_t len, uint32_t *said)
{
    uint32_t kept = 0; /* what is left so far; it stands as it came until the first word is taken out */
    uint32_t done = 0;
    *said |= len > 0 ? RF_SAID_ANY : 0;
    for (uint32_t at = 0; at < len; at++) {
        if (is_blank(value[at]))
            continue;
        const uint32_t end = http_element_end(value, at, len);
        uint32_t word_len = end - at;
        while (word_len > 0 && is_blank(value[at + word_len - 1]))
            word_len--;
        const bool closes = is_word(value + at, word_len, "close");
        *said |= closes ? RF_SAID_CLOSE : is_word(value + at, word_len, "upgrade") ? RF_SAID_UPGRADE : 0;
        if (!closes && !is_word(value + at, word_len, "keep-alive")) {
            if (kept == done) {
                kept = end;
            } else {
                if (kept > 0)
                    value[kept++] = ',';
                memmove(value + kept, value + at, word_len);
                kept += word_len;
            }
        }
        at = done = end;
    }
    return kept;
}

const char *rf_connection_line(uint32_t said, int32_t modern)
{
    const bool any = (said & RF_SAID_ANY) != 0, closes = (said & RF_SAID_CLOSE) != 0;
    if ((said & RF_SAID_UPGRADE) || (any && closes != (modern != 0)))
        return "";
    return modern ? "connection: close\r\n" : any ? "connection: keep-alive\r\n" : "";
}

/* Where `scheme://` ends; 0: there is none. */
static uint32_t scheme_end(const uint8_t *uri, uint32_t len)
{
    uint32_t at = 0;
    while (at < len && (((uri[at] | 0x20) >= 'a' && (uri[at] | 0x20) <= 'z') ||
                        (at > 0 && ((uri[at] >= '0' && uri[at] <= '9') || memchr("+-.", uri[at], 3) != NULL))))
        at++;
    return at > 0 && len - at >= 3 && memcmp(uri + at, "://", 3) == 0 ? at + 3 : 0;
}

int32_t rf_uri_authority(const uint8_t *uri, uint32_t len, rf_span *out)
{
    if (len == 0 || uri[0] == '/' || uri[0] == '*')
        return 0;
    uint32_t from = scheme_end(uri, len), end = from;
    for (; end < len && uri[end] != '/'; end++) {
        if (uri[end] == '@')
            from = end + 1;
    }
    *out = (rf_span){from, end - from};
    return 1;
}
