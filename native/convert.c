/* convert.c - the converters of sample expressions, as HAProxy 2.6 does them: run against it, see tests/native/test_sample.py.
 *
 * Each casts the value to what it takes first; where there is no such cast, or the argument has no value, the whole
 * expression is undefined. Other writings (hex, base64, JSON ...) stand in encode.c.
 */
#include <string.h>

#include "sample.h"

/* --- numbers ---------------------------------------------------------------------------------------------------- */

/* The argument of add, sub ... : a number, or what a variable holds. */
static bool operand(const struct sample_run *run, const rf_op *op, int64_t *out)
{
    struct value value;
    if (op->number2 != 1) {
        *out = op->number;
        return true;
    }
    if (!variables_get(run->variables, (uint32_t)op->number, &value) || !cast_int(&value))
        return false;
    *out = value.number;
    return true;
}

static int64_t end_of_range(bool minus)
{
    return minus ? INT64_MIN : INT64_MAX;
}

/* What does not fit becomes the end of the range. */
static int64_t calculate(uint32_t code, int64_t a, int64_t b)
{
    int64_t n = 0;
    switch (code) {
    case RF_CONV_ADD:
        return __builtin_add_overflow(a, b, &n) ? end_of_range(a < 0) : n;
    case RF_CONV_SUB:
        return __builtin_sub_overflow(a, b, &n) ? end_of_range(a < 0) : n;
    case RF_CONV_MUL:
        return __builtin_mul_overflow(a, b, &n) ? end_of_range((a < 0) != (b < 0)) : n;
    case RF_CONV_DIV: /* by zero: as much as there is */
        return b == 0 || (a == INT64_MIN && b == -1) ? (a < 0 && b == 0 ? INT64_MIN : INT64_MAX) : a / b;
    case RF_CONV_MOD:
        return b == 0 || b == -1 ? 0 : a % b;
    case RF_CONV_AND:
        return a & b;
    case RF_CONV_OR:
        return a | b;
    default: /* XOR */
        return a ^ b;
    }
}

static bool arithmetic(const struct sample_run *run, const rf_op *op, struct value *value)
{
    int64_t other;
    if (!cast_int(value) || !operand(run, op, &other))
        return false;
    *value = (struct value){.kind = VALUE_INT, .number = calculate(op->code, value->number, other)};
    return true;
}

/* What HAProxy makes of a header's or a cookie's number: 32 bits that wrap, and up to the first character behind `9` whatever
 * stands ahead of `0` counts, too. */
static int64_t loose_number(const uint8_t *at, uint32_t len)
{
    const bool minus = len > 0 && *at == '-';
    uint32_t number = 0;
    for (uint32_t i = minus; i < len; i++) {
        const int32_t digit = (int8_t)at[i] - '0';
        if (digit > 9)
            break;
        number = number * 10 + (uint32_t)(minus ? -digit : digit);
    }
    return (int32_t)number;
}

static bool unary(const rf_op *op, struct value *value)
{
    if (op->code == RF_CONV_INT && op->number == 1 && value->kind == VALUE_TEXT)
        *value = (struct value){.kind = VALUE_INT, .number = loose_number(value->bytes, value->len)};
    if (!cast_int(value))
        return false;
    const int64_t n = value->number;
    switch (op->code) {
    case RF_CONV_NEG:
        *value = (struct value){.kind = VALUE_INT, .number = n == INT64_MIN ? INT64_MAX : -n};
        return true;
    case RF_CONV_CPL:
        *value = (struct value){.kind = VALUE_INT, .number = ~n};
        return true;
    case RF_CONV_INT:
        value->kind = VALUE_INT;
        return true;
    case RF_CONV_NOT:
        *value = (struct value){.kind = VALUE_BOOL, .number = n == 0};
        return true;
    case RF_CONV_BOOL:
        *value = (struct value){.kind = VALUE_BOOL, .number = n != 0};
        return true;
    default: /* ODD, EVEN */
        *value = (struct value){.kind = VALUE_BOOL, .number = (n & 1) == (op->code == RF_CONV_ODD)};
        return true;
    }
}

static bool iif(const struct sample_run *run, const rf_op *op, struct value *value)
{
    if (!cast_int(value))
        return false;
    const rf_span span = value->number != 0 ? op->text : op->other;
    *value = (struct value){.kind = VALUE_TEXT, .bytes = program_at(run->program, span), .len = span.len};
    return true;
}

/* --- texts ------------------------------------------------------------------------------------------------------ */

bool is_in(uint8_t c, const uint8_t *set, uint32_t len)
{
    return len > 0 && memchr(set, c, len) != NULL;
}

static bool change_case(struct sample_run *run, const rf_op *op, struct value *value)
{
    if (!cast_text(run, value))
        return false;
    uint32_t max;
    uint8_t *room = sample_room(run, value, &max);
    const uint8_t from = op->code == RF_CONV_LOWER ? 'A' : 'a';
    const uint32_t len = value->len < max ? value->len : max;
    for (uint32_t i = 0; i < len; i++) {
        const uint8_t c = value->bytes[i];
        room[i] = c >= from && c < from + 26 ? c ^ 0x20 : c;
    }
    value->bytes = room;
    value->len = len;
    return true;
}

static bool trim(struct sample_run *run, const rf_op *op, struct value *value)
{
    if (!cast_text(run, value))
        return false;
    const uint8_t *set = program_at(run->program, op->text);
    if (op->code == RF_CONV_LTRIM) {
        while (value->len > 0 && is_in(value->bytes[0], set, op->text.len)) {
            value->bytes++;
            value->len--;
        }
        return true;
    }
    while (value->len > 0 && is_in(value->bytes[value->len - 1], set, op->text.len))
        value->len--;
    return true;
}

static bool cut_crlf(struct sample_run *run, struct value *value)
{
    if (!cast_text(run, value))
        return false;
    for (uint32_t i = 0; i < value->len; i++) {
        if (value->bytes[i] == '\r' || value->bytes[i] == '\n')
            value->len = i;
    }
    return true;
}

static bool some_bytes(struct value *value, const rf_op *op, uint8_t number[8])
{
    if (!cast_bin(value, number))
        return false;
    if (op->number < 0 || op->number >= value->len) {
        value->len = 0;
        return true;
    }
    value->bytes += op->number;
    value->len -= (uint32_t)op->number;
    if (op->number2 >= 0 && op->number2 < value->len)
        value->len = (uint32_t)op->number2;
    return true;
}

/* Texts from the front, with the joint written once. */
struct joint {
    uint8_t *at;
    uint32_t len, max;
};

static void join(struct joint *to, const uint8_t *bytes, uint32_t len)
{
    const uint32_t n = len < to->max - to->len ? len : to->max - to->len;
    if (n > 0)
        memcpy(to->at + to->len, bytes, n);
    to->len += n;
}

/* What a variable that is no text is written as; it needs room of its own, the halves of the scratch are taken. */
static void join_variable(struct joint *to, const struct value *value)
{
    char text[ADDRESS_TEXT_MAX];
    if (value->kind == VALUE_TEXT || value->kind == VALUE_BIN) {
        const uint8_t *end = value->kind == VALUE_BIN && value->len > 0 ? memchr(value->bytes, 0, value->len) : NULL;
        join(to, value->bytes, end != NULL ? (uint32_t)(end - value->bytes) : value->len);
        return;
    }
    struct value written = *value;
    number_text(&written, text);
    join(to, written.bytes, written.len);
}

static bool concat(struct sample_run *run, const rf_op *op, struct value *value)
{
    struct value variable;
    struct joint to = {0};
    if (!cast_text(run, value))
        return false;
    to.at = sample_room(run, value, &to.max);
    to.max -= to.max > 0; /* HAProxy keeps one for a NUL */
    join(&to, value->bytes, value->len);
    join(&to, program_at(run->program, op->text), op->text.len);
    if (op->number2 == 1 && variables_get(run->variables, (uint32_t)op->number, &variable))
        join_variable(&to, &variable);
    join(&to, program_at(run->program, op->other), op->other.len);
    *value = (struct value){.kind = VALUE_TEXT, .bytes = to.at, .len = to.len};
    return true;
}

/* The delimiter only between two that are something. */
static bool add_item(struct sample_run *run, const rf_op *op, struct value *value)
{
    struct value variable = {.kind = VALUE_NONE};
    struct joint to = {0};
    if (!cast_text(run, value))
        return false;
    const bool named = op->number2 == 1 && variables_get(run->variables, (uint32_t)op->number, &variable);
    const bool bytes = variable.kind == VALUE_TEXT || variable.kind == VALUE_BIN;
    const bool more = (named && (!bytes || variable.len > 0)) || op->other.len > 0;
    to.at = sample_room(run, value, &to.max);
    to.max -= to.max > 0; /* HAProxy keeps one for a NUL */
    join(&to, value->bytes, value->len);
    if (value->len > 0 && more)
        join(&to, program_at(run->program, op->text), op->text.len);
    if (named)
        join_variable(&to, &variable);
    join(&to, program_at(run->program, op->other), op->other.len);
    *value = (struct value){.kind = VALUE_TEXT, .bytes = to.at, .len = to.len};
    return true;
}

static bool compare(struct sample_run *run, const rf_op *op, struct value *value)
{
    struct value other;
    if (!cast_text(run, value) || !variables_get(run->variables, (uint32_t)op->number, &other))
        return false;
    char text[ADDRESS_TEXT_MAX];
    if (other.kind != VALUE_TEXT && other.kind != VALUE_BIN)
        number_text(&other, text);
    const uint32_t shared = value->len < other.len ? value->len : other.len;
    const int order = shared > 0 ? memcmp(value->bytes, other.bytes, shared) : 0;
    const int64_t sign = order != 0 ? (order > 0) - (order < 0) : (value->len > other.len) - (value->len < other.len);
    *value = (struct value){.kind = VALUE_INT, .number = sign};
    return true;
}

/* --- everything else -------------------------------------------------------------------------------------------- */

/* A value that lies among the variables is moved aside before they are. */
static void keep_aside(struct sample_run *run, struct value *value)
{
    const struct variables *variables = run->variables;
    uint32_t max;
    if (!has_bytes(value) || value->len == 0 || value->bytes < variables->room ||
        value->bytes >= variables->room + variables->room_len)
        return;
    uint8_t *room = sample_room(run, value, &max);
    value->len = value->len < max ? value->len : max;
    memcpy(room, value->bytes, value->len);
    value->bytes = room;
}

static bool text_length(struct sample_run *run, struct value *value)
{
    if (!cast_text(run, value))
        return false;
    *value = (struct value){.kind = VALUE_INT, .number = value->len};
    return true;
}

/* In lines of a number, a blank and a name. */
static bool look_up(struct sample_run *run, const rf_op *op, struct value *value)
{
    const struct value table = site_text(run, op->number);
    if (!cast_text(run, value) || table.kind == VALUE_NONE)
        return false;
    const uint8_t *at = table.bytes, *end = table.bytes + table.len;
    while (at < end) {
        const uint8_t *line = memchr(at, '\n', (size_t)(end - at));
        const uint8_t *blank = line != NULL ? memchr(at, ' ', (size_t)(line - at)) : NULL;
        if (blank == NULL)
            return false;
        if ((size_t)(line - blank) == (size_t)value->len + 1 && memcmp(blank + 1, value->bytes, value->len) == 0) {
            *value = (struct value){.kind = VALUE_TEXT, .bytes = at, .len = (uint32_t)(blank - at)};
            return cast_int(value);
        }
        at = line + 1;
    }
    return false;
}

static bool hash(struct value *value, const rf_op *op, uint8_t number[8])
{
    if (!cast_bin(value, number))
        return false;
    *value = (struct value){.kind = VALUE_INT, .number = hash_of(op->code, value->bytes, value->len, op->number != 0)};
    return true;
}

static bool seeded_hash(struct value *value, const rf_op *op, uint8_t number[8])
{
    if (!cast_bin(value, number))
        return false;
    const uint64_t seed = (uint64_t)op->number;
    int64_t sum;
    if (op->code == RF_CONV_XXH32)
        sum = xxh32(value->bytes, value->len, (uint32_t)seed);
    else
        sum = (int64_t)(op->code == RF_CONV_XXH64 ? xxh64(value->bytes, value->len, seed) : xxh3(value->bytes, value->len, seed));
    *value = (struct value){.kind = VALUE_INT, .number = sum};
    return true;
}

static bool apply(struct sample_run *run, const rf_op *op, struct value *value, uint8_t number[8])
{
    switch (op->code) {
    case RF_CONV_ADD:
    case RF_CONV_SUB:
    case RF_CONV_MUL:
    case RF_CONV_DIV:
    case RF_CONV_MOD:
    case RF_CONV_AND:
    case RF_CONV_OR:
    case RF_CONV_XOR:
        return arithmetic(run, op, value);
    case RF_CONV_NEG:
    case RF_CONV_CPL:
    case RF_CONV_NOT:
    case RF_CONV_BOOL:
    case RF_CONV_ODD:
    case RF_CONV_EVEN:
    case RF_CONV_INT:
        return unary(op, value);
    case RF_CONV_TEXT:
        return cast_text(run, value);
    case RF_CONV_BIN:
        return cast_bin(value, number);
    case RF_CONV_IPV4:
        return cast_ipv4(value);
    case RF_CONV_IPV6:
        return cast_ipv6(run, value);
    case RF_CONV_ADDR:
        return cast_address(run, value);
    case RF_CONV_IPMASK:
        return ipmask(run, op, value);
    case RF_CONV_INSTEAD:
        *value = (struct value){.kind = op->number2 == RF_INSTEAD_BOOL ? VALUE_BOOL : VALUE_INT, .number = op->number};
        return op->number2 != RF_INSTEAD_NOTHING;
    case RF_CONV_LOOK_UP:
        return look_up(run, op, value);
    case RF_CONV_LANGUAGE:
        return language(run, op, value);
    case RF_CONV_PROTOBUF:
        return protobuf(run, op, value);
    case RF_CONV_LOWER:
    case RF_CONV_UPPER:
        return change_case(run, op, value);
    case RF_CONV_LENGTH:
        return text_length(run, value);
    case RF_CONV_BYTES:
        return some_bytes(value, op, number);
    case RF_CONV_LTRIM:
    case RF_CONV_RTRIM:
        return trim(run, op, value);
    case RF_CONV_CUT_CRLF:
        return cut_crlf(run, value);
    case RF_CONV_CONCAT:
        return concat(run, op, value);
    case RF_CONV_FIELD:
    case RF_CONV_WORD:
        return cut_out(run, op, value);
    case RF_CONV_STRCMP:
        return compare(run, op, value);
    case RF_CONV_IIF:
        return iif(run, op, value);
    case RF_CONV_CRC32:
    case RF_CONV_CRC32C:
    case RF_CONV_DJB2:
    case RF_CONV_SDBM:
    case RF_CONV_WT6:
        return hash(value, op, number);
    case RF_CONV_XXH32:
    case RF_CONV_XXH64:
    case RF_CONV_XXH3:
        return seeded_hash(value, op, number);
    case RF_CONV_MAP:
        return map(run, op, value);
    case RF_CONV_FIX_VALID:
        return fix_valid(value);
    case RF_CONV_FIX_TAG:
        return fix_tag(op, value, number);
    case RF_CONV_MQTT_VALID:
        return mqtt_valid(value);
    case RF_CONV_MQTT_FIELD:
        return mqtt_field(run, op, value, number);
    case RF_CONV_JWT_PART:
        return jwt_part(run, op, value);
    case RF_CONV_JWT_VERIFY:
        return jwt_verify(run, op, value);
    case RF_CONV_AES_GCM:
        return aes_gcm(run, op, value);
    case RF_CONV_PARAM:
        return parameter(run, op, value);
    case RF_CONV_FORWARDED:
        return forwarded(run, op, value);
    case RF_CONV_DIGEST:
    case RF_CONV_HMAC:
    case RF_CONV_SAME:
        return secret(run, op, value);
    case RF_CONV_ADD_ITEM:
        return add_item(run, op, value);
    case RF_CONV_LTIME:
    case RF_CONV_UTIME:
        return time_text(run, op, value);
    case RF_CONV_JSON_QUERY:
        return json_query(run, op, value);
    case RF_CONV_HTTP_DATE:
        return http_date(run, op, value);
    case RF_CONV_SET_VAR:
        if (op->number == RF_VARIABLE_NONE ||
            !variables_may_set(run->variables, (uint32_t)op->number, (uint32_t)op->number2, value))
            return false;
        keep_aside(run, value);
        if (op->text.len > 0) {
            const struct value other = {.kind = VALUE_BIN, .bytes = program_at(run->program, op->text), .len = op->text.len};
            variables_set(run->variables, (uint32_t)op->number, &other);
        } else
            variables_set(run->variables, (uint32_t)op->number, value);
        return true;
    case RF_CONV_UNSET_VAR:
        if (op->number == RF_VARIABLE_NONE)
            return false;
        keep_aside(run, value);
        variables_unset(run->variables, (uint32_t)op->number);
        return true;
    default:
        return encode(run, op, value);
    }
}

void convert(struct sample_run *run, const rf_op *op, struct value *value)
{
    uint8_t number[8]; /* of a number cast to bytes, until it is moved aside below */
    if (!apply(run, op, value, number))
        *value = (struct value){.kind = VALUE_NONE};
    if (has_bytes(value) && value->bytes >= number && value->bytes <= number + sizeof number) {
        uint32_t max;
        uint8_t *room = sample_room(run, value, &max);
        memcpy(room, value->bytes, value->len);
        value->bytes = room;
    }
}
