/* maps.c - the converters map_*: what a map file gives for a value (HAProxy 2.6, map.c and pattern.c; run against it).
 *
 * Whoever compiles the program reads the file and lays it out as a table: how many entries, then of each where its key and its
 * value lie, counted from the table's begin. All is checked once when the program is made. The order of the entries decides:
 * the first that fits wins. For texts that have to be equal they are sorted, the first of the file alone kept; for beginnings
 * the longest stand first, for addresses the longest masks, and behind them masks with holes.
 */
#include <string.h>

#include "sample.h"

enum { HEAD = 4, ENTRY = 16, IPV4_KEY = 9, IPV6_KEY = 33, RANGE_KEY = 16 };

struct map {
    const uint8_t *at;
    uint32_t count;
};
struct map_span {
    const uint8_t *at;
    uint32_t len;
};

static uint32_t word(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static int64_t number_at(const uint8_t *at)
{
    uint64_t number = 0;
    for (int i = 0; i < 8; i++)
        number |= (uint64_t)at[i] << (8 * i);
    return (int64_t)number;
}

static struct map map_of(const rf_program *program, const rf_op *op)
{
    const uint8_t *at = program_at(program, op->text);
    return (struct map){at, word(at)};
}

/* which: 0 the key, 8 the value. */
static struct map_span part(const struct map *map, uint32_t entry, uint32_t which)
{
    const uint8_t *at = map->at + HEAD + (size_t)entry * ENTRY + which;
    return (struct map_span){map->at + word(at), word(at + 4)};
}

/* --- checks, when a program is made ------------------------------------------------------------------------------- */

static bool key_fits(int64_t how, uint32_t len)
{
    if (how == RF_MAP_NUMBER)
        return len == RANGE_KEY;
    if (how == RF_MAP_ADDRESS)
        return len == IPV4_KEY || len == IPV6_KEY;
    return true;
}

static bool value_fits(int64_t gives, uint32_t len)
{
    return gives == RF_MAP_TEXT || (gives == RF_MAP_INT && len == 8) || (gives == RF_MAP_IP && (len == 4 || len == 16));
}

const char *map_check(const rf_program *program, const rf_op *op)
{
    static const char BROKEN[] = "a map whose entries lie outside it";
    if (op->number < RF_MAP_EQUAL || op->number > RF_MAP_REGEX_FILL || (op->number2 & ~RF_MAP_OTHERWISE) < RF_MAP_TEXT ||
        (op->number2 & ~RF_MAP_OTHERWISE) > RF_MAP_IP)
        return "a map of no kind";
    const int64_t gives = op->number2 & ~RF_MAP_OTHERWISE;
    if ((op->number2 & RF_MAP_OTHERWISE) && !value_fits(gives, op->other.len))
        return "a map whose other value is none";
    if (op->text.len < HEAD)
        return BROKEN;
    const struct map map = map_of(program, op);
    if (map.count > (op->text.len - HEAD) / ENTRY)
        return BROKEN;
    for (uint32_t i = 0; i < map.count; i++) {
        const uint8_t *at = map.at + HEAD + (size_t)i * ENTRY;
        for (uint32_t which = 0; which < ENTRY; which += 8) {
            if (word(at + which) > op->text.len || word(at + which + 4) > op->text.len - word(at + which))
                return BROKEN;
        }
        if (!key_fits(op->number, word(at + 4)) || !value_fits(gives, word(at + 12)))
            return "a map with an entry of another size";
    }
    return NULL;
}

uint32_t map_regexes(const rf_program *program, const rf_op *op)
{
    return op->number >= RF_MAP_REGEX ? map_of(program, op).count : 0;
}

rf_span map_pattern(const rf_program *program, const rf_op *op, uint32_t entry)
{
    const uint8_t *at = map_of(program, op).at + HEAD + (size_t)entry * ENTRY;
    return (rf_span){op->text.at + word(at), word(at + 4)};
}

/* --- matching ------------------------------------------------------------------------------------------------------ */

static bool is_equal(struct map_span key, const uint8_t *at)
{
    return key.len == 0 || memcmp(key.at, at, key.len) == 0;
}

/* Anywhere. */
static bool is_within(struct map_span key, const struct value *value)
{
    for (uint32_t at = 0; key.len <= value->len && at <= value->len - key.len; at++) {
        if (is_equal(key, value->bytes + at))
            return true;
    }
    return false;
}

/* Between two separators, or the ends; separators around the key itself count for nothing. */
static bool is_between(struct map_span key, const struct value *value, const char *separators)
{
    const uint8_t *set = (const uint8_t *)separators;
    const uint32_t count = (uint32_t)strlen(separators);
    while (key.len > 0 && is_in(key.at[0], set, count)) {
        key.at++;
        key.len--;
    }
    while (key.len > 0 && is_in(key.at[key.len - 1], set, count))
        key.len--;
    if (key.len == 0)
        return false;
    for (uint32_t at = 0; key.len <= value->len && at <= value->len - key.len; at++) {
        const uint32_t end = at + key.len;
        if ((at == 0 || is_in(value->bytes[at - 1], set, count)) &&
            (end == value->len || is_in(value->bytes[end], set, count)) && is_equal(key, value->bytes + at))
            return true;
    }
    return false;
}

static bool fits_text(int64_t how, struct map_span key, const struct value *value)
{
    switch (how) {
    case RF_MAP_BEGIN:
        return key.len <= value->len && is_equal(key, value->bytes);
    case RF_MAP_END:
        return key.len <= value->len && is_equal(key, value->bytes + (value->len - key.len));
    case RF_MAP_WITHIN:
        return is_within(key, value);
    case RF_MAP_DIRECTORY:
        return is_between(key, value, "/?");
    default: /* DOMAIN */
        return is_between(key, value, "/?.:");
    }
}

static int64_t find_equal(const struct map *map, const struct value *value)
{
    uint32_t low = 0, high = map->count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const struct map_span key = part(map, middle, 0);
        const uint32_t shared = key.len < value->len ? key.len : value->len;
        int order = shared > 0 ? memcmp(value->bytes, key.at, shared) : 0;
        if (order == 0)
            order = (value->len > key.len) - (value->len < key.len);
        if (order == 0)
            return middle;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

static int64_t find_text(const struct map *map, int64_t how, const struct value *value)
{
    for (uint32_t i = 0; i < map->count; i++) {
        if (fits_text(how, part(map, i, 0), value))
            return i;
    }
    return -1;
}

static int64_t find_number(const struct map *map, int64_t number)
{
    for (uint32_t i = 0; i < map->count; i++) {
        const struct map_span key = part(map, i, 0);
        if (number >= number_at(key.at) && number <= number_at(key.at + 8))
            return i;
    }
    return -1;
}

/* An address under its mask. A key is address, mask, and whether the mask has holes. */
static int64_t find_address(const struct map *map, const uint8_t *address, uint32_t len, bool holes)
{
    for (uint32_t i = 0; i < map->count; i++) {
        const struct map_span key = part(map, i, 0);
        bool fits = key.len == 2 * len + 1 && key.at[2 * len] == holes;
        for (uint32_t at = 0; fits && at < len; at++)
            fits = (address[at] & key.at[len + at]) == key.at[at];
        if (fits)
            return i;
    }
    return -1;
}

/* IPv4 is looked for as IPv6 too, and IPv6 as what it wraps (mapped, compatible, 6to4); masks with holes come last. */
static int64_t find_ip(const struct map *map, const struct value *value)
{
    uint8_t v4[4] = {0}, v6[16] = {0};
    bool has_v4 = true;
    if (value->kind == VALUE_IPV4) {
        for (int i = 0; i < 4; i++)
            v4[i] = (uint8_t)((uint64_t)value->number >> (24 - 8 * i));
        v6[10] = v6[11] = 0xff;
        memcpy(v6 + 12, v4, sizeof v4);
    } else {
        memcpy(v6, value->bytes, sizeof v6);
        static const uint8_t ZEROES[10];
        const bool low = memcmp(v6, ZEROES, sizeof ZEROES) == 0 && v6[10] == v6[11] && (v6[10] == 0 || v6[10] == 0xff);
        has_v4 = low || (v6[0] == 0x20 && v6[1] == 0x02);
        memcpy(v4, low ? v6 + 12 : v6 + 2, sizeof v4);
    }
    int64_t found = -1;
    if (value->kind == VALUE_IPV4)
        found = find_address(map, v4, sizeof v4, false);
    if (found < 0)
        found = find_address(map, v6, sizeof v6, false);
    if (found < 0 && value->kind != VALUE_IPV4 && has_v4)
        found = find_address(map, v4, sizeof v4, false);
    return found < 0 && has_v4 ? find_address(map, v4, sizeof v4, true) : found;
}

static int64_t find_regex(const struct sample_run *run, const rf_op *op, const struct map *map, const struct value *value)
{
    for (uint32_t i = 0; i < map->count; i++) {
        if (regex_match(run->program->regexes[op->regex - 1 + (int32_t)i], value->bytes, value->len) == 1)
            return i;
    }
    return -1;
}

/* --- what it gives ------------------------------------------------------------------------------------------------- */

static void give(int64_t gives, struct map_span found, struct value *value)
{
    if (gives == RF_MAP_INT)
        *value = (struct value){.kind = VALUE_INT, .number = number_at(found.at)};
    else if (gives == RF_MAP_TEXT)
        *value = (struct value){.kind = VALUE_TEXT, .bytes = found.at, .len = found.len};
    else if (found.len == 16)
        *value = (struct value){.kind = VALUE_IPV6, .bytes = found.at, .len = 16};
    else
        *value = (struct value){.kind = VALUE_IPV4, .number = (int64_t)found.at[0] << 24 | found.at[1] << 16 | found.at[2] << 8 | found.at[3]};
}

static int64_t find(struct sample_run *run, const rf_op *op, const struct map *map, const struct value *value)
{
    switch (op->number) {
    case RF_MAP_EQUAL:
        return find_equal(map, value);
    case RF_MAP_NUMBER:
        return find_number(map, value->number);
    case RF_MAP_ADDRESS:
        return find_ip(map, value);
    case RF_MAP_REGEX:
    case RF_MAP_REGEX_FILL:
        return find_regex(run, op, map, value);
    default:
        return find_text(map, op->number, value);
    }
}

static bool cast_key(struct sample_run *run, const rf_op *op, struct value *value)
{
    if (op->number == RF_MAP_NUMBER)
        return cast_int(value);
    return op->number == RF_MAP_ADDRESS ? cast_address(run, value) : cast_text(run, value);
}

bool map(struct sample_run *run, const rf_op *op, struct value *value)
{
    const struct map table = map_of(run->program, op);
    if (!cast_key(run, op, value))
        return false;
    const int64_t at = find(run, op, &table, value);
    if (at < 0) {
        if (op->number2 & RF_MAP_OTHERWISE)
            give(op->number2 & ~RF_MAP_OTHERWISE, (struct map_span){program_at(run->program, op->other), op->other.len}, value);
        return (op->number2 & RF_MAP_OTHERWISE) != 0;
    }
    const struct map_span found = part(&table, (uint32_t)at, 8);
    if (op->number == RF_MAP_REGEX_FILL)
        return fill_groups(run, run->program->regexes[op->regex - 1 + (int32_t)at], found.at, found.len, value);
    give(op->number2 & ~RF_MAP_OTHERWISE, found, value);
    return true;
}
