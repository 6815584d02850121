/* encode.c - converters from one writing of bytes to another: hex, base64, URL, JSON, pieces, regsub.
 *
 * What does not fit the room is cut at a whole unit where HAProxy cuts, and undefined where HAProxy gives up.
 */
#include <string.h>

#include "sample.h"

struct out {
    uint8_t *at;
    uint32_t len, max;
};

static bool put(struct out *out, uint8_t byte)
{
    if (out->len == out->max)
        return false;
    out->at[out->len++] = byte;
    return true;
}

static bool put_all(struct out *out, const void *bytes, uint32_t len)
{
    if (len > out->max - out->len)
        return false;
    if (len > 0)
        memcpy(out->at + out->len, bytes, len);
    out->len += len;
    return true;
}

static void begin(struct sample_run *run, const struct value *value, struct out *out)
{
    out->len = 0;
    out->at = sample_room(run, value, &out->max);
}

static bool finish(struct value *value, int32_t kind, const struct out *out)
{
    *value = (struct value){.kind = kind, .bytes = out->at, .len = out->len};
    return true;
}

/* --- hex -------------------------------------------------------------------------------------------------------- */

static const char HEX[] = "0123456789ABCDEF";

static int digit_of(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool put_hex(struct out *out, uint8_t byte)
{
    const char pair[2] = {HEX[byte >> 4], HEX[byte & 15]};
    return put_all(out, pair, 2);
}

static bool hex(struct sample_run *run, struct value *value)
{
    struct out out;
    begin(run, value, &out);
    for (uint32_t i = 0; i < value->len && put_hex(&out, value->bytes[i]); i++)
        ;
    return finish(value, VALUE_TEXT, &out);
}

/* More than 16 digits: the last 16 count. */
static bool hex_number(struct value *value)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < value->len; i++) {
        const int digit = digit_of(value->bytes[i]);
        if (digit < 0)
            return false;
        n = n << 4 | (uint64_t)digit;
    }
    *value = (struct value){.kind = VALUE_INT, .number = (int64_t)n};
    return true;
}

static bool network_order(struct sample_run *run, struct value *value)
{
    struct out out;
    if (!cast_int(value))
        return false;
    begin(run, value, &out);
    for (int shift = 24; shift >= 0; shift -= 8)
        put(&out, (uint8_t)((uint64_t)value->number >> shift));
    return finish(value, VALUE_BIN, &out);
}

/* Pieces of some bytes each, as numbers or as hex, a text between them. */
static bool pieces(struct sample_run *run, const rf_op *op, struct value *value)
{
    struct out out;
    const uint8_t *between = program_at(run->program, op->text);
    const uint32_t size = (uint32_t)op->number;
    begin(run, value, &out);
    for (uint32_t at = 0; at < value->len; at += size) {
        const uint32_t left = value->len - at, n = left < size ? left : size;
        uint64_t sum = 0;
        const uint32_t before = out.len;
        if (left < size && op->number2)
            break;
        bool room = at == 0 || put_all(&out, between, op->text.len);
        for (uint32_t i = 0; i < n && room; i++) {
            sum = sum << 8 | value->bytes[at + i];
            if (op->code == RF_CONV_BE2HEX)
                room = put_hex(&out, value->bytes[at + i]);
        }
        char text[24];
        if (room && op->code == RF_CONV_BE2DEC)
            room = put_all(&out, text, (uint32_t)snprintf(text, sizeof text, "%llu", (unsigned long long)sum));
        if (!room) {
            out.len = before;
            break;
        }
        if (left <= size)
            break;
    }
    return finish(value, VALUE_TEXT, &out);
}

/* --- base64 ----------------------------------------------------------------------------------------------------- */

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char URL64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static bool base64(struct sample_run *run, struct value *value, const char *letters, bool pad)
{
    struct out out;
    begin(run, value, &out);
    for (uint32_t at = 0; at < value->len; at += 3) {
        const uint32_t n = value->len - at < 3 ? value->len - at : 3;
        uint32_t bits = 0;
        for (uint32_t i = 0; i < 3; i++)
            bits = bits << 8 | (i < n ? value->bytes[at + i] : 0);
        for (uint32_t i = 0; i <= n; i++) {
            if (!put(&out, (uint8_t)letters[bits >> (18 - 6 * i) & 63]))
                return false;
        }
        for (uint32_t i = n; i < 3 && pad; i++) {
            if (!put(&out, '='))
                return false;
        }
    }
    return finish(value, VALUE_TEXT, &out);
}

static int letter(const char *letters, uint8_t c)
{
    const char *at = memchr(letters, c, 64);
    return at != NULL ? (int)(at - letters) : -1;
}

/* Padded: whole groups of four, `=` only at the end. Unpadded: any length but one letter more than a group, and what HAProxy 2.6
 * makes of a `=` there: a letter worth 63. */
static bool base64_bytes(struct sample_run *run, struct value *value, const char *letters, bool padded)
{
    struct out out;
    uint32_t len = value->len;
    if (padded) {
        if (len % 4 != 0)
            return false;
        for (int i = 0; i < 2 && len > 0 && value->bytes[len - 1] == '='; i++)
            len--;
    }
    if (len % 4 == 1)
        return false;
    begin(run, value, &out);
    uint32_t bits = 0;
    for (uint32_t i = 0; i < len; i++) {
        const int n = !padded && value->bytes[i] == '=' ? 63 : letter(letters, value->bytes[i]);
        if (n < 0)
            return false;
        bits = bits << 6 | (uint32_t)n;
        if (i % 4 != 0 && !put(&out, (uint8_t)(bits >> (6 - 2 * (i % 4)))))
            return false;
    }
    return finish(value, VALUE_BIN, &out);
}

/* --- URLs ------------------------------------------------------------------------------------------------------- */

/* `+` is a blank behind a `?`, everywhere when asked for. */
static bool url_decode(struct sample_run *run, const rf_op *op, struct value *value)
{
    struct out out;
    bool form = op->number != 0;
    begin(run, value, &out);
    for (uint32_t i = 0; i < value->len; i++) {
        uint8_t c = value->bytes[i];
        if (c == '?')
            form = true;
        else if (c == '+' && form)
            c = ' ';
        else if (c == '%') {
            if (value->len - i < 3 || digit_of(value->bytes[i + 1]) < 0 || digit_of(value->bytes[i + 2]) < 0)
                return false;
            c = (uint8_t)(digit_of(value->bytes[i + 1]) << 4 | digit_of(value->bytes[i + 2]));
            i += 2;
        }
        if (!put(&out, c))
            return false;
    }
    return finish(value, VALUE_TEXT, &out);
}

static bool is_plain(uint8_t c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' || c == '.' || c == '_' || c == '~';
}

static bool url_encode(struct sample_run *run, struct value *value)
{
    struct out out;
    begin(run, value, &out);
    out.max -= out.max > 0; /* HAProxy keeps one for a NUL */
    for (uint32_t i = 0; i < value->len; i++) {
        const uint8_t c = value->bytes[i];
        if (out.max - out.len < (is_plain(c) ? 1 : 3))
            break;
        if (is_plain(c))
            put(&out, c);
        else if (put(&out, '%'))
            put_hex(&out, c);
    }
    return finish(value, VALUE_TEXT, &out);
}

/* --- JSON ------------------------------------------------------------------------------------------------------- */

static bool put_json(struct out *out, uint32_t c)
{
    static const char SHORT[] = "\b\f\n\r\t\"\\/", LETTER[] = "bfnrt\"\\/";
    const char *at = c != 0 && c < 128 ? strchr(SHORT, (int)c) : NULL;
    char text[16];
    if (at != NULL)
        return put(out, '\\') && put(out, (uint8_t)LETTER[at - SHORT]);
    if (c >= 0x20 && c < 0x7f)
        return put(out, (uint8_t)c);
    return put_all(out, text, (uint32_t)snprintf(text, sizeof text, "\\u%04x", (unsigned)c));
}

/* One character of UTF-8 that \uXXXX can write; 0: none begins here. <loose>: also one written longer than it has to be. */
static uint32_t utf8(const uint8_t *at, uint32_t len, bool loose, uint32_t *out)
{
    static const uint32_t LEAST[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t n = at[0] < 0x80 ? 1 : at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : at[0] >= 0xc0 ? 2 : 0;
    if (n == 0 || at[0] >= 0xf8 || n > len)
        return 0;
    uint32_t c = n == 1 ? at[0] : at[0] & (0x7fu >> n);
    for (uint32_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (at[i] & 0x3fu);
    }
    const bool surrogate = c >= 0xd800 && c < 0xe000;
    if ((!loose && c < LEAST[n]) || surrogate || c > 0xfffd)
        return 0;
    *out = c;
    return n;
}

static bool json(struct sample_run *run, const rf_op *op, struct value *value)
{
    struct out out;
    const bool silent = op->number == RF_JSON_UTF8S || op->number == RF_JSON_UTF8PS;
    const bool loose = op->number == RF_JSON_UTF8P || op->number == RF_JSON_UTF8PS;
    begin(run, value, &out);
    for (uint32_t i = 0; i < value->len;) {
        uint32_t c = value->bytes[i];
        uint32_t n = op->number == RF_JSON_ASCII ? 1 : utf8(value->bytes + i, value->len - i, loose, &c);
        if (n == 0 && !silent)
            return false;
        if (n > 0 && !put_json(&out, c))
            return false;
        i += n > 0 ? n : 1;
    }
    return finish(value, VALUE_TEXT, &out);
}

/* --- host and port ---------------------------------------------------------------------------------------------- */

/* Where the colon before the port stands, or the end. */
static uint32_t port_colon(const struct value *value)
{
    uint32_t at = value->len;
    while (at > 0 && value->bytes[at - 1] != ':' && value->bytes[at - 1] != ']')
        at--;
    return at > 0 && value->bytes[at - 1] == ':' ? at - 1 : value->len;
}

static bool port_only(struct value *value)
{
    uint32_t port = 0;
    for (uint32_t i = port_colon(value) + 1; i < value->len; i++)
        port = port * 10 + (uint32_t)(value->bytes[i] - '0');
    *value = (struct value){.kind = VALUE_INT, .number = port};
    return true;
}

/* --- regsub ----------------------------------------------------------------------------------------------------- */

/* As much as there is room for. */
static void put_some(struct out *out, const uint8_t *bytes, uint32_t len)
{
    put_all(out, bytes, len < out->max - out->len ? len : out->max - out->len);
}

/* The replacement: \0 to \9 are groups, \x and two digits a byte, any other character behind a backslash is itself. */
static void put_replacement(struct out *out, const uint8_t *text, uint32_t len, const uint8_t *subject,
                            const struct regex_span *groups, int groups_len)
{
    for (uint32_t i = 0; i < len; i++) {
        uint8_t c = text[i];
        if (c == '\\' && i + 1 < len) {
            c = text[++i];
            if (c >= '0' && c <= '9') {
                if (c - '0' < groups_len)
                    put_some(out, subject + groups[c - '0'].at, groups[c - '0'].len);
                continue;
            }
            if (c == 'x' && len - i > 2 && digit_of(text[i + 1]) >= 0 && digit_of(text[i + 2]) >= 0) {
                c = (uint8_t)(digit_of(text[i + 1]) << 4 | digit_of(text[i + 2]));
                i += 2;
            }
        }
        put(out, c);
    }
}

/* Each turn goes on behind the last match. One that is empty and stands in front lets a byte through, so that there are at most
 * two turns a byte; at the end of the text there is one more. */
static bool substitute(struct sample_run *run, const rf_op *op, struct value *value)
{
    const struct regex *regex = run->program->regexes[op->regex - 1];
    struct regex_span groups[REGEX_GROUPS_MAX];
    struct out out;
    uint32_t at = 0;
    begin(run, value, &out);
    for (bool first = true; first || (op->number & RF_REGSUB_GLOBAL); first = false) {
        const uint8_t *rest = value->bytes + at;
        const int found = regex_find(regex, rest, value->len - at, !first, groups);
        if (found <= 0)
            break;
        put_some(&out, rest, groups[0].at);
        put_replacement(&out, program_at(run->program, op->other), op->other.len, rest, groups, found);
        if (at == value->len)
            break;
        const uint32_t end = groups[0].at + groups[0].len;
        if (end == 0)
            put(&out, *rest);
        at += end > 0 ? end : 1;
    }
    put_some(&out, value->bytes + at, value->len - at);
    return finish(value, VALUE_TEXT, &out);
}

bool fill_groups(struct sample_run *run, const struct regex *regex, const uint8_t *text, uint32_t len, struct value *value)
{
    struct regex_span groups[REGEX_GROUPS_MAX];
    struct out out;
    const int found = regex_find(regex, value->bytes, value->len, false, groups);
    if (found <= 0)
        return false;
    begin(run, value, &out);
    put_replacement(&out, text, len, value->bytes, groups, found);
    return finish(value, VALUE_TEXT, &out);
}

bool encode(struct sample_run *run, const rf_op *op, struct value *value)
{
    uint8_t number[8];
    switch (op->code) {
    case RF_CONV_HEX:
        return cast_bin(value, number) && hex(run, value);
    case RF_CONV_HEX2I:
        return cast_text(run, value) && hex_number(value);
    case RF_CONV_HTONL:
        return network_order(run, value);
    case RF_CONV_BE2DEC:
    case RF_CONV_BE2HEX:
        return cast_bin(value, number) && pieces(run, op, value);
    case RF_CONV_BASE64:
        return cast_bin(value, number) && base64(run, value, BASE64, true);
    case RF_CONV_UB64ENC:
        return cast_bin(value, number) && base64(run, value, URL64, false);
    case RF_CONV_B64DEC:
        return cast_text(run, value) && base64_bytes(run, value, BASE64, true);
    case RF_CONV_UB64DEC:
        return cast_text(run, value) && base64_bytes(run, value, URL64, false);
    case RF_CONV_URL_DEC:
        return cast_text(run, value) && url_decode(run, op, value);
    case RF_CONV_URL_ENC:
        return cast_text(run, value) && url_encode(run, value);
    case RF_CONV_JSON:
        return cast_text(run, value) && json(run, op, value);
    case RF_CONV_HOST_ONLY:
        if (!cast_text(run, value))
            return false;
        value->len = port_colon(value);
        return true;
    case RF_CONV_PORT_ONLY:
        return cast_text(run, value) && port_only(value);
    case RF_CONV_REGSUB:
        return cast_text(run, value) && substitute(run, op, value);
    default:
        return false;
    }
}
