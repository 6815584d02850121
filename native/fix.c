/* fix.c - the converters fix_is_valid and fix_tag_value: messages of FIX (HAProxy 2.6, fix.c; run against it).
 *
 * A message is `tag=value` after `tag=value`, each ended by SOH: BeginString, BodyLength and MsgType first, CheckSum last.
 */
#include <string.h>

#include "sample.h"

enum { SOH = 1, MESSAGE_MIN = 26, CHECKSUM_LEN = 3, TAG_DIGITS_MAX = 10 };
enum { TAG_BEGIN = 8, TAG_LENGTH = 9, TAG_CHECKSUM = 10, TAG_TYPE = 35 };
static const char *const VERSIONS[] = {"FIX.4.0", "FIX.4.1", "FIX.4.2", "FIX.4.3", "FIX.4.4", "FIXT.1.1"};

struct field {
    uint32_t tag, from, value, len, end; /* end: behind its SOH */
};

/* A number of 32 bits that wraps, as HAProxy reads it; false: something else than digits stands there. */
static bool read_number(const uint8_t *text, uint32_t len, uint32_t *out)
{
    uint32_t number = 0;
    for (uint32_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        number = number * 10 + (uint32_t)(text[i] - '0');
    }
    *out = number;
    return len > 0;
}

/* The field that begins at <from>. Cut: it does not end; wrong: its tag is no number. */
static int32_t next_field(const uint8_t *in, uint32_t len, uint32_t from, struct field *out)
{
    uint32_t tag;
    const uint8_t *sign = memchr(in + from, '=', len - from);
    if (sign == NULL)
        return MESSAGE_CUT;
    const uint32_t value = (uint32_t)(sign - in) + 1;
    if (value - 1 - from > TAG_DIGITS_MAX || !read_number(in + from, value - 1 - from, &tag) || tag == 0 || tag > INT32_MAX)
        return MESSAGE_WRONG;
    const uint8_t *end = memchr(in + value, SOH, len - value);
    if (end == NULL)
        return MESSAGE_CUT;
    const uint32_t stop = (uint32_t)(end - in);
    *out = (struct field){tag, from, value, stop - value, stop + 1};
    return MESSAGE_WHOLE;
}

static bool known_version(const uint8_t *text, uint32_t len)
{
    for (size_t i = 0; i < sizeof VERSIONS / sizeof *VERSIONS; i++) {
        if (len == strlen(VERSIONS[i]) && memcmp(text, VERSIONS[i], len) == 0)
            return true;
    }
    return false;
}

/* The checksum is the sum of all bytes ahead of its field. */
static bool sum_fits(const uint8_t *in, const struct field *field)
{
    uint32_t sum = 0, said;
    for (uint32_t i = 0; i < field->from; i++)
        sum += in[i];
    return field->len == CHECKSUM_LEN && read_number(in + field->value, field->len, &said) && said == sum % 256;
}

/* MESSAGE_WHOLE: a whole message, whatever follows it. MESSAGE_CUT: the begin of one. MESSAGE_WRONG. */
static int32_t judge(const uint8_t *in, uint32_t len)
{
    static const uint32_t FIRST[] = {TAG_BEGIN, TAG_LENGTH, TAG_TYPE};
    struct field field;
    uint32_t at = 0, body = 0, body_at = 0;
    if (len < MESSAGE_MIN)
        return MESSAGE_CUT;
    for (uint32_t number = 0; at < len; number++) {
        const int32_t found = next_field(in, len, at, &field);
        if (found != MESSAGE_WHOLE)
            return found;
        if (number < 3 && field.tag != FIRST[number])
            return MESSAGE_WRONG;
        if (number == 0 && !known_version(in + field.value, field.len))
            return MESSAGE_WRONG;
        if (number == 1) {
            body_at = field.end;
            if (!read_number(in + field.value, field.len, &body) || body == 0)
                return MESSAGE_WRONG;
        }
        if (field.tag == TAG_CHECKSUM)
            return field.from - body_at == body && sum_fits(in, &field) ? MESSAGE_WHOLE : MESSAGE_WRONG;
        at = field.end;
    }
    return MESSAGE_CUT;
}

bool fix_valid(struct value *value)
{
    uint8_t number[8];
    if (!cast_bin(value, number))
        return false;
    const int32_t found = judge(value->bytes, value->len);
    *value = (struct value){.kind = VALUE_BOOL, .number = found == MESSAGE_WHOLE};
    return found != MESSAGE_CUT;
}

/* The first field with that tag. */
bool fix_tag(const rf_op *op, struct value *value, uint8_t number[8])
{
    struct field field;
    if (!cast_bin(value, number))
        return false;
    for (uint32_t at = 0; at < value->len && next_field(value->bytes, value->len, at, &field) == MESSAGE_WHOLE; at = field.end) {
        if (field.tag == op->number) {
            *value = (struct value){.kind = VALUE_BIN, .bytes = value->bytes + field.value, .len = field.len};
            return true;
        }
    }
    return false;
}
