/* sample.c - evaluates and writes formats: fetches, casts, and the walk over operations (spec 3.2, 3.6 to 3.8).
 *
 * A value points to where its bytes lie: input, blob, site, variables, or one half of the scratch. A converter writes into
 * the other half, so that nothing is ever copied onto itself. A text longer than HAProxy's own work buffer is cut as there.
 */
#include <string.h>

#include "sample.h"

static const struct value NOTHING = {.kind = VALUE_NONE};

static struct value whole(int64_t number)
{
    return (struct value){.kind = VALUE_INT, .number = number};
}

static struct value bytes_of(int32_t kind, const uint8_t *bytes, uint32_t len)
{
    return (struct value){.kind = kind, .bytes = bytes, .len = len};
}

/* --- casts ------------------------------------------------------------------------------------------------------ */

/* What strtoll would read, but no blanks, and the nearest number where it is too big; 0 without digits. */
static int64_t read_number(const uint8_t *at, uint32_t len)
{
    const bool minus = len > 0 && *at == '-';
    uint32_t i = len > 0 && (*at == '-' || *at == '+') ? 1 : 0;
    int64_t n = 0; /* negative all the way: it has one more */
    for (; i < len && at[i] >= '0' && at[i] <= '9'; i++) {
        if (__builtin_mul_overflow(n, (int64_t)10, &n) || __builtin_sub_overflow(n, (int64_t)(at[i] - '0'), &n))
            return minus ? INT64_MIN : INT64_MAX;
    }
    if (minus)
        return n;
    return n == INT64_MIN ? INT64_MAX : -n;
}

bool cast_int(struct value *value)
{
    if (value->kind == VALUE_TEXT && value->len > 0)
        *value = whole(read_number(value->bytes, value->len));
    else if (value->kind == VALUE_IPV4)
        value->kind = VALUE_INT;
    else if (value->kind != VALUE_BOOL && value->kind != VALUE_INT)
        *value = NOTHING;
    return value->kind != VALUE_NONE;
}

bool cast_text(struct sample_run *run, struct value *value)
{
    if (value->kind == VALUE_BIN) {
        const uint8_t *end = value->len > 0 ? memchr(value->bytes, 0, value->len) : NULL;
        *value = bytes_of(VALUE_TEXT, value->bytes, end != NULL ? (uint32_t)(end - value->bytes) : value->len);
    } else if (value->kind == VALUE_BOOL || value->kind == VALUE_INT) {
        uint32_t max;
        uint8_t *room = sample_room(run, value, &max);
        const int len = snprintf((char *)room, max, "%lld", (long long)value->number);
        *value = len > 0 && (uint32_t)len < max ? bytes_of(VALUE_TEXT, room, (uint32_t)len) : NOTHING;
    } else if (value->kind == VALUE_IPV4 || value->kind == VALUE_IPV6) {
        char text[ADDRESS_TEXT_MAX];
        uint32_t max;
        const uint32_t len = address_text(value, text);
        uint8_t *room = sample_room(run, value, &max);
        if (len <= max)
            memcpy(room, text, len);
        *value = len <= max ? bytes_of(VALUE_TEXT, room, len) : NOTHING;
    }
    return value->kind == VALUE_TEXT;
}

bool cast_bin(struct value *value, uint8_t number[8])
{
    if (value->kind == VALUE_BOOL || value->kind == VALUE_INT) {
        for (int i = 0; i < 8; i++)
            number[i] = (uint8_t)((uint64_t)value->number >> (56 - 8 * i));
        *value = bytes_of(VALUE_BIN, number, 8);
    } else if (value->kind == VALUE_IPV4) {
        for (int i = 0; i < 4; i++)
            number[i] = (uint8_t)((uint64_t)value->number >> (24 - 8 * i));
        *value = bytes_of(VALUE_BIN, number, 4);
    } else if (value->kind == VALUE_TEXT || value->kind == VALUE_IPV6)
        value->kind = VALUE_BIN;
    return value->kind == VALUE_BIN;
}

bool sample_number(const struct value *value, int64_t *out)
{
    struct value number = *value;
    if (number.kind == VALUE_BIN) /* digits end where the text would, at a NUL at the latest */
        number.kind = VALUE_TEXT;
    if (number.kind == VALUE_TEXT && number.len > 0 && number.bytes[0] == 0)
        number.len = 0;
    if (!cast_int(&number))
        return false;
    *out = number.number;
    return true;
}

uint8_t *sample_room(struct sample_run *run, const struct value *value, uint32_t *max)
{
    const uint32_t half = run->scratch_len / 2;
    const bool low = has_bytes(value) && value->bytes >= run->scratch &&
                     value->bytes < run->scratch + half;
    *max = half < run->program->bufsize ? half : run->program->bufsize;
    return run->scratch + (low ? half : 0);
}

/* --- fetches ---------------------------------------------------------------------------------------------------- */

struct value site_text(const struct sample_run *run, int64_t number)
{
    if (run->facts == NULL || number < 0)
        return NOTHING;
    const uint8_t *site = (const uint8_t *)run->facts->site;
    uint32_t left = run->facts->site_len;
    while (left >= 2) {
        const uint32_t len = (uint32_t)site[0] | (uint32_t)site[1] << 8;
        if (len > left - 2)
            return NOTHING;
        if (number-- == 0)
            return bytes_of(VALUE_TEXT, site + 2, len);
        site += 2 + len;
        left -= 2 + len;
    }
    return NOTHING;
}

static uint64_t next_random(struct sample_run *run)
{
    uint64_t x = *run->random; /* xorshift64: never 0, and no secret depends on it */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *run->random = x;
    return x;
}

static struct value fetch_rand(struct sample_run *run, const rf_op *op)
{
    const uint64_t low = next_random(run) >> 32;
    return whole(op->number == 0 ? (int64_t)low : (int64_t)((low * (uint64_t)op->number) >> 32));
}

static struct value fetch_uuid(struct sample_run *run)
{
    uint32_t max;
    uint8_t *room = sample_room(run, &NOTHING, &max);
    uint64_t a = next_random(run), b = next_random(run);
    a = (a & ~UINT64_C(0xf000)) | 0x4000;
    b = (b >> 2) | UINT64_C(1) << 63;
    const int len = snprintf((char *)room, max, "%8.8x-%4.4x-%4.4x-%4.4x-%12.12llx", (unsigned)(a >> 32),
                             (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xffff), (unsigned)(b >> 48),
                             (unsigned long long)(b & UINT64_C(0xffffffffffff)));
    return len > 0 && (uint32_t)len < max ? bytes_of(VALUE_TEXT, room, (uint32_t)len) : NOTHING;
}

static struct value fetch_date(const struct sample_run *run, const rf_op *op)
{
    static const uint64_t UNITS[] = {UINT64_C(1000000000), 1000000, 1000};
    const uint64_t now = run->now_ns + run->realtime_offset_ns;
    return whole((int64_t)((uint64_t)(now / UNITS[op->number2]) + (uint64_t)op->number));
}

static struct value fetch_payload(const struct sample_run *run, const rf_op *op)
{
    const int64_t at = op->number, len = op->number2;
    if (run->http != NULL || at > run->in_len || len > run->in_len - at || run->in_len == 0)
        return NOTHING;
    return bytes_of(VALUE_BIN, run->in + at, len > 0 ? (uint32_t)len : run->in_len - (uint32_t)at);
}

/* A payload behind its own length. Every sum stays far below 64 bits: the arguments are 31 and the length is cut. */
static struct value fetch_payload_lv(const struct sample_run *run, const rf_op *op)
{
    const int64_t at = op->number & UINT32_MAX, size = op->number2 & UINT32_MAX;
    const int64_t from = op->number >> 32, offset = op->number2 >> 32;
    if (run->http != NULL || at + size > run->in_len)
        return NOTHING;
    uint32_t len = 0;
    for (int64_t i = 0; i < size; i++)
        len = len << 8 | run->in[at + i];
    int64_t payload = offset;
    if (from != RF_LV_START)
        payload = at + size + (from == RF_LV_FORWARD ? offset : -offset);
    if (payload < 0 || len == 0 || payload + len > run->in_len)
        return NOTHING;
    return bytes_of(VALUE_BIN, run->in + payload, len);
}

static struct value fetch_var(const struct sample_run *run, const rf_op *op)
{
    struct value value;
    if (variables_get(run->variables, (uint32_t)op->number, &value))
        return value;
    return op->number2 ? bytes_of(VALUE_TEXT, program_at(run->program, op->text), op->text.len) : NOTHING;
}

/* HTTP/2 comes as a reply that says 2.0. */
static struct value fetch_http_major(const struct sample_run *run)
{
    if (!(run->program->flags & RF_PROG_HTTP) && run->http == NULL)
        return NOTHING;
    return whole(run->http != NULL && run->in_len > 5 && run->in[5] == '2' ? 2 : 1);
}

static struct value fetch(struct sample_run *run, const rf_op *op)
{
    switch (op->code) {
    case RF_FETCH_TEXT:
        return bytes_of(VALUE_TEXT, program_at(run->program, op->text), op->text.len);
    case RF_FETCH_BIN:
        return bytes_of(VALUE_BIN, program_at(run->program, op->text), op->text.len);
    case RF_FETCH_INT:
        return whole(op->number);
    case RF_FETCH_BOOL:
        return (struct value){.kind = VALUE_BOOL, .number = op->number != 0};
    case RF_FETCH_FACT:
        return site_text(run, op->number);
    case RF_FETCH_DATE:
        return fetch_date(run, op);
    case RF_FETCH_DATE_US:
        return whole((int64_t)((run->now_ns + run->realtime_offset_ns) / 1000 % 1000000));
    case RF_FETCH_RAND:
        return fetch_rand(run, op);
    case RF_FETCH_IPV4:
        return (struct value){.kind = VALUE_IPV4, .number = op->number};
    case RF_FETCH_IPV6:
        return bytes_of(VALUE_IPV6, program_at(run->program, op->text), op->text.len);
    case RF_FETCH_UUID:
        return fetch_uuid(run);
    case RF_FETCH_COUNT:
        return whole((int64_t)(*run->count)++);
    case RF_FETCH_VAR:
        return fetch_var(run, op);
    case RF_FETCH_PAYLOAD:
        return fetch_payload(run, op);
    case RF_FETCH_PAYLOAD_LV:
        return fetch_payload_lv(run, op);
    case RF_FETCH_END:
    case RF_FETCH_TLS:
        return connection_fetch(run, op);
    case RF_FETCH_HTTP_MAJOR:
        return fetch_http_major(run);
    case RF_FETCH_LEN:
        return run->http != NULL ? http_fetch(run, op) : whole(run->in_len);
    default:
        return run->http != NULL ? http_fetch(run, op) : NOTHING;
    }
}

struct value sample_value(struct sample_run *run, const rf_op *ops, uint32_t len)
{
    struct value value = NOTHING;
    for (uint32_t i = 0; i < len; i++) {
        if (ops[i].code >= RF_CONV_ADD) {
            if (value.kind != VALUE_NONE)
                convert(run, &ops[i], &value);
        } else if (ops[i].code >= RF_FETCH_TEXT)
            value = fetch(run, &ops[i]);
    }
    return value;
}

/* --- writing ---------------------------------------------------------------------------------------------------- */

struct writer {
    uint8_t *at;
    uint32_t max;
    uint64_t len;
};

static void put(struct writer *to, const void *bytes, uint32_t len)
{
    if (to->len < to->max && len > 0)
        memcpy(to->at + to->len, bytes, len < to->max - to->len ? len : to->max - (size_t)to->len);
    to->len += len;
}

static void put_escaped(struct writer *to, const uint8_t *bytes, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        if (bytes[i] == '"' || bytes[i] == '\\' || bytes[i] == ']')
            put(to, "\\", 1);
        put(to, &bytes[i], 1);
    }
}

static void put_number(struct writer *to, int64_t number)
{
    char text[24];
    const int len = snprintf(text, sizeof text, "%lld", (long long)number);
    put(to, text, (uint32_t)len);
}

/* HAProxy copies C strings: a NUL ends the value, in quotes or not. */
static void put_value(struct sample_run *run, struct writer *to, struct value value, int64_t flags)
{
    char digits[20];
    if (value.kind == VALUE_INT && (flags & (RF_EMIT_HEX2 | RF_EMIT_HEX4))) {
        const char *form = flags & RF_EMIT_HEX4 ? "%04llX" : "%02llX";
        const int len = snprintf(digits, sizeof digits, form, (unsigned long long)value.number);
        value = bytes_of(VALUE_TEXT, (const uint8_t *)digits, (uint32_t)len);
    }
    const bool any = cast_text(run, &value) && value.len > 0;
    if (flags & RF_EMIT_QUOTE)
        put(to, "\"", 1);
    if (any) {
        const uint8_t *end = memchr(value.bytes, 0, value.len);
        const uint32_t len = end != NULL ? (uint32_t)(end - value.bytes) : value.len;
        if (flags & RF_EMIT_ESCAPE)
            put_escaped(to, value.bytes, len);
        else
            put(to, value.bytes, len);
    }
    if (!any && (flags & (RF_EMIT_QUOTE | RF_EMIT_DASH)) == RF_EMIT_DASH)
        put(to, "-", 1);
    if (flags & RF_EMIT_QUOTE)
        put(to, "\"", 1);
}

uint32_t sample_write(struct sample_run *run, const rf_op *ops, uint32_t len, uint8_t *out, uint32_t out_max)
{
    struct writer to = {.at = out, .max = out_max};
    uint32_t from = 0; /* where the expression under way begins */
    for (uint32_t i = 0; i < len; i++) {
        const rf_op *op = &ops[i];
        if (op->code >= RF_FETCH_TEXT)
            continue;
        if (op->code == RF_OP_TEXT)
            put(&to, program_at(run->program, op->text), op->text.len);
        else if (op->code == RF_OP_EMIT)
            put_value(run, &to, sample_value(run, ops + from, i - from), op->number);
        else if (op->code == RF_OP_FACT) {
            const struct value text = site_text(run, op->number);
            put(&to, text.bytes, text.len);
        } else if (op->code == RF_OP_STATE && run->facts != NULL)
            put(&to, run->facts->state_text, run->facts->state_text_len);
        else if (op->code == RF_OP_WEIGHT)
            put_number(&to, run->facts != NULL ? run->facts->weight : 0);
        else if (op->code == RF_OP_TOTAL)
            put_number(&to, run->total_weight);
        from = i + 1;
    }
    return to.len < UINT32_MAX ? (uint32_t)to.len : UINT32_MAX;
}
