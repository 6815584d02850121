/* variables.c - what set-var keeps for one run, one entry behind the other in the arena of the slot.
 *
 * There are few of them and most are short, so that a walk over all beats any index. An entry is its head and its bytes;
 * nothing is aligned, hence memcpy.
 */
#include <string.h>

#include "sample.h"

struct entry {
    int64_t whole; /* BOOL, INT */
    int32_t kind;
    uint32_t number, len;
};

static const uint8_t *find(const struct variables *variables, uint32_t number, struct entry *out)
{
    for (uint32_t at = 0; variables->used - at >= sizeof *out;) {
        memcpy(out, variables->room + at, sizeof *out);
        if (out->number == number)
            return variables->room + at;
        at += (uint32_t)sizeof *out + out->len;
    }
    return NULL;
}

void variables_clear(struct variables *variables)
{
    variables->used = 0;
}

bool variables_get(const struct variables *variables, uint32_t number, struct value *out)
{
    struct entry entry;
    const uint8_t *at = find(variables, number, &entry);
    *out = (struct value){.kind = VALUE_NONE};
    if (at == NULL)
        return false;
    *out = (struct value){.kind = entry.kind, .number = entry.whole, .bytes = at + sizeof entry, .len = entry.len};
    return true;
}

void variables_unset(struct variables *variables, uint32_t number)
{
    struct entry entry;
    const uint8_t *found = find(variables, number, &entry);
    if (found == NULL)
        return;
    const uint32_t at = (uint32_t)(found - variables->room);
    const uint32_t size = (uint32_t)sizeof entry + entry.len;
    memmove(variables->room + at, variables->room + at + size, variables->used - at - size);
    variables->used -= size;
}

/* The new entry is written behind all others before the old one goes: the value may lie in the arena itself. */
void variables_set(struct variables *variables, uint32_t number, const struct value *value)
{
    const bool bytes = has_bytes(value);
    struct entry entry = {
        .whole = bytes ? 0 : value->number, .kind = value->kind, .number = number, .len = bytes ? value->len : 0};
    struct entry old;
    if (value->kind == VALUE_NONE || number == RF_VARIABLE_NONE)
        return;
    bool had = find(variables, number, &old) != NULL;
    uint64_t end = (uint64_t)variables->used + sizeof entry + entry.len;
    const bool inside = bytes && value->bytes >= variables->room && value->bytes < variables->room + variables->room_len;
    if (had && end > variables->room_len && !inside && end - sizeof old - old.len <= variables->room_len) {
        variables_unset(variables, number);
        end -= sizeof old + old.len;
        had = false;
    }
    if (end > variables->room_len)
        return;
    memcpy(variables->room + variables->used, &entry, sizeof entry);
    if (entry.len > 0)
        memcpy(variables->room + variables->used + sizeof entry, value->bytes, entry.len);
    variables->used = (uint32_t)end;
    if (had)
        variables_unset(variables, number); /* the first of two: the old one */
}

/* Those that compare hold for anything but numbers. */
bool variables_may_set(const struct variables *variables, uint32_t number, uint32_t conditions, const struct value *value)
{
    struct value old;
    if (conditions == 0)
        return true;
    const bool there = variables_get(variables, number, &old);
    const bool text = value->kind == VALUE_TEXT || value->kind == VALUE_BIN;
    const bool empty = text && value->len == 0;
    const bool numbers = there && old.kind == VALUE_INT && value->kind == VALUE_INT;
    const uint32_t broken = (there ? RF_IF_NOT_EXISTS | RF_IF_NOT_SET : RF_IF_EXISTS | RF_IF_SET) |
                            (empty ? RF_IF_NOT_EMPTY : RF_IF_EMPTY) |
                            (numbers && old.number <= value->number ? RF_IF_GREATER : 0) |
                            (numbers && old.number >= value->number ? RF_IF_LESS : 0);
    return (conditions & broken) == 0;
}
