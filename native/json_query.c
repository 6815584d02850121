/* json_query.c - the converter json_query: what stands at a path such as `$.nodes[0].state` in a JSON text.
 *
 * As the reader in HAProxy 2.6 does it: one pass, nothing kept but brackets; the first match ends it, so that whatever is wrong
 * behind it does no harm. A key that matched is not tried again further on. Keys are compared as they are written, escapes and
 * all; a backslash in the path takes the next character as it is. Objects, arrays and null have no value.
 */
#include <stdlib.h>
#include <string.h>

#include "sample.h"

enum { DEPTH_MAX = 20, NUMBER_MAX = 64 };
enum { WANT_VALUE, WANT_KEY, WANT_COLON, WANT_NEXT };
enum { TOKEN_NONE, TOKEN_OPEN, TOKEN_CLOSE, TOKEN_COMMA, TOKEN_KEY, TOKEN_STRING, TOKEN_NUMBER, TOKEN_TRUE, TOKEN_FALSE, TOKEN_NULL };
static const int64_t INTEGER_MAX = (INT64_C(1) << 53) - 1; /* what every reader of JSON keeps exactly */

struct text {
    const uint8_t *at;
    uint32_t len;
};

struct search {
    struct text path;
    uint32_t pos;             /* in the path: all before it was found */
    int32_t depth, found;     /* brackets that are open, and those that the path has gone into */
    int32_t element, wanted;  /* of the array that the path is in */
};

static uint8_t path_at(const struct search *search, uint32_t pos)
{
    return pos < search->path.len ? search->path.at[pos] : 0;
}

/* How long a string is behind its first quote, with the last one; 0: it does not end. Escapes are judged when it is read. */
static uint32_t string_len(const uint8_t *at, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        if (at[i] == '"')
            return i + 1;
        if (at[i] == '\\' && i + 1 < len && memchr("\"\\bfnrt", at[i + 1], 7) != NULL)
            i++;
    }
    return 0;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static uint32_t digits(const struct text *json, uint32_t at)
{
    while (at < json->len && is_digit(json->at[at]))
        at++;
    return at;
}

/* Where a number ends that begins at <at>: a sign alone is one, 0. */
static uint32_t number_end(const struct text *json, uint32_t at)
{
    uint32_t end = digits(json, at + (json->at[at] == '-'));
    if (end < json->len && json->at[end] == '.')
        end = digits(json, end + 1);
    if (end < json->len && (json->at[end] | 0x20) == 'e') {
        end++;
        if (end < json->len && (json->at[end] == '-' || json->at[end] == '+'))
            end++;
        end = digits(json, end);
    }
    return end;
}

static bool is_word(const struct text *json, uint32_t at, const char *word, uint32_t len)
{
    return len <= json->len - at && memcmp(json->at + at, word, len) == 0;
}

/* The next key of the path is this one; then <after> is where the path goes on. */
static bool is_key(const struct search *search, const uint8_t *key, uint32_t len, uint32_t *after)
{
    uint32_t pos = search->pos + 1;
    for (uint32_t i = 0; i < len; i++) {
        const uint8_t c = path_at(search, pos);
        if (c == 0 || c == '.' || c == '[')
            return false;
        pos += c == '\\';
        if (path_at(search, pos) != key[i])
            return false;
        pos++;
    }
    const uint8_t c = path_at(search, pos);
    *after = pos;
    return c == 0 || c == '.' || c == '[';
}

static void enter_element(struct search *search)
{
    while (search->pos < search->path.len && search->path.at[search->pos] != ']')
        search->pos++;
    search->pos += search->pos < search->path.len;
    search->found++;
}

static int32_t index_of(const struct search *search)
{
    int32_t index = 0;
    for (uint32_t pos = search->pos + 1; is_digit(path_at(search, pos)) && index < 1000000; pos++)
        index = index * 10 + path_at(search, pos) - '0';
    return index;
}

/* One token of the text: 1: it is what the path says, -1: that is not there, 0: go on. */
static int follow(struct search *search, int token, uint8_t c, const uint8_t *at, uint32_t len)
{
    uint32_t after;
    switch (token) {
    case TOKEN_OPEN:
        if (c == '[' && search->depth == search->found && path_at(search, search->pos) == '[') {
            search->element = 0;
            search->wanted = index_of(search);
            if (search->wanted == 0) {
                enter_element(search);
                search->depth++;
                return 0;
            }
        }
        if (search->depth == search->found && search->pos == search->path.len)
            return -1; /* a whole object or array */
        search->depth++;
        return 0;
    case TOKEN_COMMA:
        if (search->depth == search->found + 1 && path_at(search, search->pos) == '[' && ++search->element == search->wanted)
            enter_element(search);
        return 0;
    case TOKEN_KEY:
        if (search->depth == search->found + 1 && path_at(search, search->pos) == '.' && is_key(search, at + 1, len - 2, &after)) {
            search->pos = after;
            search->found++;
            return 0;
        }
        return search->depth == search->found ? -1 : 0;
    case TOKEN_CLOSE:
        search->depth--;
        return 0;
    default:
        return search->depth == search->found && search->pos == search->path.len;
    }
}

/* Reads up to what the path says: its token, and where it stands; TOKEN_NONE: it is not there. */
static int find(struct search *search, const struct text *json, struct text *out)
{
    uint8_t open[DEPTH_MAX];
    uint32_t depth = 0, end;
    int want = WANT_VALUE;
    for (uint32_t i = 0; i < json->len; i = end) {
        const uint8_t c = json->at[i];
        int token = TOKEN_NONE;
        end = i + 1;
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
            continue;
        if (want == WANT_COLON) {
            if (c != ':')
                return TOKEN_NONE;
            want = WANT_VALUE;
            continue;
        }
        const bool ends = c == ']' || c == '}';
        if (want == WANT_NEXT && c == ',') {
            token = TOKEN_COMMA;
            want = open[depth - 1] == '{' ? WANT_KEY : WANT_VALUE;
        } else if (ends && depth > 0 && open[depth - 1] + 2 == c && (want != WANT_VALUE || c == ']')) {
            token = TOKEN_CLOSE;
            depth--;
            want = WANT_NEXT;
        } else if (c == '"' && (want == WANT_KEY || want == WANT_VALUE)) {
            const uint32_t len = string_len(json->at + end, json->len - end);
            if (len == 0)
                return TOKEN_NONE;
            end += len;
            token = want == WANT_KEY ? TOKEN_KEY : TOKEN_STRING;
            want = want == WANT_KEY ? WANT_COLON : WANT_NEXT;
        } else if (want != WANT_VALUE)
            return TOKEN_NONE;
        else if (c == '{' || c == '[') {
            if (depth == DEPTH_MAX)
                return TOKEN_NONE;
            open[depth++] = c;
            token = TOKEN_OPEN;
            want = c == '{' ? WANT_KEY : WANT_VALUE;
        } else {
            want = WANT_NEXT;
            if (c == '-' || is_digit(c)) {
                token = TOKEN_NUMBER;
                end = number_end(json, i);
            } else if (is_word(json, i, "true", 4)) {
                token = TOKEN_TRUE;
                end = i + 4;
            } else if (is_word(json, i, "false", 5)) {
                token = TOKEN_FALSE;
                end = i + 5;
            } else if (is_word(json, i, "null", 4)) {
                token = TOKEN_NULL;
                end = i + 4;
            } else
                return TOKEN_NONE;
        }
        const int answer = follow(search, token, c, json->at + i, end - i);
        if (answer > 0) {
            *out = (struct text){json->at + i, end - i};
            return token;
        }
        if (answer < 0 || depth == 0)
            return TOKEN_NONE;
    }
    return TOKEN_NONE;
}

static int hex_digit(uint8_t c)
{
    if (is_digit(c))
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The string without its quotes and escapes; of `\u` those of one byte only. */
static bool plain_string(struct sample_run *run, const struct text *found, struct value *value)
{
    uint32_t max, len = 0;
    uint8_t *room = sample_room(run, value, &max);
    for (uint32_t i = 1; i + 1 < found->len; i++) {
        uint8_t c = found->at[i];
        if (c == '\\') {
            static const char NAMES[] = "\"\\bfnrt", BYTES[] = "\"\\\b\f\n\r\t";
            c = found->at[++i];
            if (c == 'u') {
                if (i + 5 >= found->len || found->at[i + 1] != '0' || found->at[i + 2] != '0')
                    return false;
                const int high = hex_digit(found->at[i + 3]), low = hex_digit(found->at[i + 4]);
                if (high < 0 || low < 0)
                    return false;
                c = (uint8_t)(high << 4 | low);
                i += 4;
            } else {
                const char *name = memchr(NAMES, c, sizeof NAMES - 1);
                if (name == NULL)
                    return false;
                c = (uint8_t)BYTES[name - NAMES];
            }
        }
        if (len == max)
            return false;
        room[len++] = c;
    }
    *value = (struct value){.kind = VALUE_TEXT, .bytes = room, .len = len};
    return true;
}

/* left: from the number to the end of the JSON text. An integer is read as C does, 0x10 and 010 too. */
static bool plain_number(struct sample_run *run, const rf_op *op, const struct text *found, uint32_t left, struct value *value)
{
    char text[NUMBER_MAX];
    const uint32_t taken = op->number == 0 ? found->len : left < sizeof text - 1 ? left : (uint32_t)sizeof text - 1;
    if (taken >= sizeof text)
        return false;
    memcpy(text, found->at, taken);
    text[taken] = 0;
    if (op->number != 0) {
        const int64_t number = strtoll(text, NULL, 0);
        *value = (struct value){.kind = VALUE_INT, .number = number};
        return number >= -INTEGER_MAX && number <= INTEGER_MAX;
    }
    uint32_t max;
    uint8_t *room = sample_room(run, value, &max);
    const int len = snprintf((char *)room, max, "%g", strtod(text, NULL));
    *value = (struct value){.kind = VALUE_TEXT, .bytes = room, .len = (uint32_t)len};
    return len > 0 && (uint32_t)len < max;
}

bool json_query(struct sample_run *run, const rf_op *op, struct value *value)
{
    if (!cast_text(run, value))
        return false;
    const struct text json = {value->bytes, value->len};
    struct search search = {.path = {program_at(run->program, op->text), op->text.len}, .pos = 1};
    struct text found;
    if (path_at(&search, 0) != '$')
        return false;
    switch (find(&search, &json, &found)) {
    case TOKEN_STRING: /* also where an integer is wanted */
        return plain_string(run, &found, value);
    case TOKEN_NUMBER:
        return plain_number(run, op, &found, json.len - (uint32_t)(found.at - json.at), value);
    case TOKEN_TRUE:
        *value = (struct value){.kind = VALUE_BOOL, .number = 1};
        return true;
    case TOKEN_FALSE:
        *value = (struct value){.kind = VALUE_BOOL, .number = 0};
        return true;
    default:
        return false;
    }
}
