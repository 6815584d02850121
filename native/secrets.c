/* secrets.c - converters that make digests, or compare without telling by their time where two texts differ. */
#include <string.h>

#include "digests.h"
#include "sample.h"

enum { KEY_MAX = 1024 }; /* of a key that stands in a variable, as bytes */

static bool same(struct sample_run *run, const rf_op *op, struct value *value)
{
    struct value other;
    uint8_t number[8];
    if (!cast_bin(value, number) || !variables_get(run->variables, (uint32_t)op->number, &other))
        return false;
    const bool bytes = other.kind == VALUE_TEXT || other.kind == VALUE_BIN; /* a number equals nothing */
    uint8_t differ = !bytes || value->len != other.len;
    for (uint32_t i = 0; i < value->len && bytes && value->len == other.len; i++)
        differ |= value->bytes[i] ^ other.bytes[i];
    *value = (struct value){.kind = VALUE_BOOL, .number = differ == 0};
    return true;
}

/* A key that a variable holds is base64; what is decoded needs room of its own, the halves of the scratch are taken. */
static bool key_of(struct sample_run *run, const rf_op *op, uint8_t room[2 * KEY_MAX], struct value *key)
{
    static const rf_op DECODE = {.code = RF_CONV_B64DEC};
    struct sample_run small = *run;
    if (op->number2 < 0) {
        *key = (struct value){.kind = VALUE_BIN, .bytes = program_at(run->program, op->text), .len = op->text.len};
        return true;
    }
    small.scratch = room;
    small.scratch_len = 2 * KEY_MAX;
    return variables_get(run->variables, (uint32_t)op->number2, key) && encode(&small, &DECODE, key);
}

bool secret(struct sample_run *run, const rf_op *op, struct value *value)
{
    struct value key;
    uint8_t number[8], room[2 * KEY_MAX];
    uint32_t max;
    if (op->code == RF_CONV_SAME)
        return same(run, op, value);
    const uint32_t kind = (uint32_t)op->number;
    if (!cast_bin(value, number))
        return false;
    uint8_t *out = sample_room(run, value, &max);
    if (max < digest_len(kind))
        return false;
    if (op->code == RF_CONV_DIGEST)
        digest_of(kind, value->bytes, value->len, out);
    else if (key_of(run, op, room, &key))
        hmac_of(kind, key.bytes, key.len, value->bytes, value->len, out);
    else
        return false;
    *value = (struct value){.kind = VALUE_BIN, .bytes = out, .len = digest_len(kind)};
    return true;
}
