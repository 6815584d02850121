/* protobuf.c - one field of a Protocol Buffers message, by its path of numbers; behind gRPC's framing for ungrpc.
 *
 * As HAProxy 2.6 walks (proto_buf.h): the first message that holds the path is taken, others are skipped. Every step reads at
 * least one byte. Source: protobuf.dev, encoding; grpc.io, PROTOCOL-HTTP2, Length-Prefixed-Message.
 */
#include <string.h>

#include "sample.h"

enum { VARINT = 0, BITS64 = 1, DELIMITED = 2, BITS32 = 5 };
enum { GRPC_HEAD = 5, VARINT_BYTES_MAX = 10 };

struct walk {
    const uint8_t *at;
    uint32_t left;
};

static bool varint(struct walk *walk, uint64_t *out)
{
    uint64_t number = 0;
    for (uint32_t i = 0; i < VARINT_BYTES_MAX && i < walk->left; i++) {
        number |= (uint64_t)(walk->at[i] & 0x7f) << (7 * i);
        if (!(walk->at[i] & 0x80)) {
            *out = number;
            walk->at += i + 1;
            walk->left -= i + 1;
            return true;
        }
    }
    return false;
}

static uint64_t little_endian(const uint8_t *at, uint32_t len)
{
    uint64_t number = 0;
    for (uint32_t i = 0; i < len; i++)
        number |= (uint64_t)at[i] << (8 * i);
    return number;
}

/* The end of the range where it has no such integer: C leaves that open, x86 gives the least. */
static int64_t truncated(double number)
{
    return number >= -9223372036854775808.0 && number < 9223372036854775808.0 ? (int64_t)number : INT64_MIN;
}

static bool as_integer(struct value *value, int64_t number)
{
    *value = (struct value){.kind = VALUE_INT, .number = number};
    return true;
}

static bool as_bytes(struct value *value, const uint8_t *at, uint32_t len)
{
    *value = (struct value){.kind = VALUE_BIN, .bytes = at, .len = len};
    return true;
}

static bool take_varint(struct walk *walk, int64_t kind, struct value *value)
{
    uint64_t number;
    const uint8_t *from = walk->at;
    if (!varint(walk, &number))
        return false;
    switch (kind) {
    case RF_PB_RAW:
        return as_bytes(value, from, (uint32_t)(walk->at - from));
    case RF_PB_INT:
        return as_integer(value, (int64_t)number);
    case RF_PB_INT32:
        return as_integer(value, (int32_t)(uint32_t)number);
    case RF_PB_ZIGZAG:
        return as_integer(value, (int64_t)(number >> 1 ^ (~(number & 1) + 1)));
    default:
        return false;
    }
}

static bool take_bits(struct walk *walk, uint32_t len, int64_t kind, struct value *value)
{
    float small;
    double big;
    if (walk->left < len)
        return false;
    const uint64_t bits = little_endian(walk->at, len);
    const uint32_t low = (uint32_t)bits;
    if (kind == RF_PB_RAW)
        return as_bytes(value, walk->at, len);
    if (len == 4) {
        memcpy(&small, &low, sizeof small);
        return (kind == RF_PB_FIXED32 && as_integer(value, (int64_t)bits)) ||
               (kind == RF_PB_SFIXED32 && as_integer(value, (int32_t)low)) ||
               (kind == RF_PB_FLOAT && as_integer(value, truncated((double)small)));
    }
    memcpy(&big, &bits, sizeof big);
    return (kind == RF_PB_FIXED64 && as_integer(value, (int64_t)bits)) ||
           (kind == RF_PB_DOUBLE && as_integer(value, truncated(big)));
}

/* Reads the head of a delimited field: its length, which must be there. */
static bool length(struct walk *walk, uint64_t *out)
{
    return varint(walk, out) && *out <= walk->left;
}

static bool skip(struct walk *walk, uint64_t wire, uint64_t len)
{
    uint64_t number;
    if (wire == VARINT)
        return varint(walk, &number);
    const uint64_t wide = wire == DELIMITED ? len : wire == BITS64 ? 8 : 4;
    if (wide > walk->left)
        return false;
    walk->at += wide;
    walk->left -= (uint32_t)wide;
    return true;
}

static bool find(struct walk *walk, const uint8_t *path, uint32_t depth_max, int64_t kind, struct value *value)
{
    uint32_t depth = 0;
    int64_t inside = 0; /* bytes left of the message that was entered */
    while (walk->left > 0) {
        uint64_t key, len = 0;
        const uint32_t before = walk->left;
        if (!varint(walk, &key))
            return false;
        const uint64_t wire = key & 7;
        const bool found = key >> 3 == little_endian(path + (size_t)4 * depth, 4);
        if (wire > BITS32 || wire == 3 || wire == 4 || (wire == DELIMITED && !length(walk, &len)))
            return false;
        if (found && depth == depth_max - 1) {
            if (wire == VARINT)
                return take_varint(walk, kind, value);
            if (wire != DELIMITED)
                return take_bits(walk, wire == BITS64 ? 8 : 4, kind, value);
            return kind == RF_PB_RAW && as_bytes(value, walk->at, (uint32_t)len);
        }
        if (!found && !skip(walk, wire, len))
            return false;
        if (found && wire == DELIMITED)
            inside = (int64_t)len;
        else if (inside > 0)
            inside -= before - walk->left;
        if (found)
            depth++;
        else if (inside <= 0)
            depth = 0;
    }
    return false;
}

bool protobuf(struct sample_run *run, const rf_op *op, struct value *value)
{
    uint8_t number[8];
    if (!cast_bin(value, number))
        return false;
    struct walk walk = {.at = value->bytes, .left = value->len};
    const uint8_t *path = program_at(run->program, op->text);
    bool done = false;
    if (op->number2 != 1)
        done = find(&walk, path, op->text.len / 4, op->number, value);
    while (op->number2 == 1 && !done && walk.left > GRPC_HEAD) {
        const uint64_t len = (uint64_t)walk.at[1] << 24 | (uint64_t)walk.at[2] << 16 | (uint64_t)walk.at[3] << 8 | walk.at[4];
        walk.at += GRPC_HEAD;
        walk.left -= GRPC_HEAD;
        if (len > walk.left)
            return false;
        struct walk message = {.at = walk.at, .left = (uint32_t)len};
        done = find(&message, path, op->text.len / 4, op->number, value);
        walk.at += len;
        walk.left -= (uint32_t)len;
    }
    if (done && has_bytes(value) && value->bytes >= number && value->bytes < number + sizeof number) { /* of a number */
        uint32_t max;
        uint8_t *room = sample_room(run, &(struct value){.kind = VALUE_NONE}, &max);
        if (value->len > max)
            return false;
        memcpy(room, value->bytes, value->len);
        value->bytes = room;
    }
    return done;
}
