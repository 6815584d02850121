/* jwt.c - the converters jwt_header_query, jwt_payload_query (their first half: the part), jwt_verify and aes_gcm_dec (HAProxy
 * 2.6, jwt.c and ssl_sample.c; run against it). Signatures of public keys and AES need the module for TLS, HMAC does not.
 */
#include <string.h>

#include "digests.h"
#include "sample.h"
#include "tls/tls.h"

enum { HEADER = 0, PAYLOAD = 1, SIGNATURE = 2, PARTS = 3, SIGNATURE_MAX = 1024, SECRET_MAX = 1024, ALGORITHM_LEN = 5 };
/* What jwt_verify tells besides 1, verified, and 0, not. */
enum { UNKNOWN_ALGORITHM = -1, NOT_MANAGED = -2, INVALID_TOKEN = -3, NO_MEMORY = -4, UNKNOWN_KEY = -5 };

struct token {
    struct value parts[PARTS];
    int count;
};

static struct token token_of(const struct value *value)
{
    struct token token = {.count = 0};
    uint32_t from = 0;
    for (uint32_t at = 0; at <= value->len; at++) {
        if (at < value->len && value->bytes[at] != '.')
            continue;
        if (token.count < PARTS)
            token.parts[token.count] = (struct value){.kind = VALUE_TEXT, .bytes = value->bytes + from, .len = at - from};
        token.count++;
        from = at + 1;
    }
    return token;
}

bool jwt_part(struct sample_run *run, const rf_op *op, struct value *value)
{
    static const rf_op DECODE = {.code = RF_CONV_UB64DEC};
    if (!cast_text(run, value))
        return false;
    const struct token token = token_of(value);
    if (token.count < 2 || token.count > PARTS)
        return false;
    *value = token.parts[op->number == PAYLOAD];
    return encode(run, &DECODE, value);
}

/* A text that stands in the program, or in a variable. */
static bool argument(struct sample_run *run, int64_t variable, rf_span span, struct value *out)
{
    if (variable < 0) {
        *out = (struct value){.kind = VALUE_TEXT, .bytes = program_at(run->program, span), .len = span.len};
        return true;
    }
    return variables_get(run->variables, (uint32_t)variable, out) && (out->kind == VALUE_TEXT || out->kind == VALUE_BIN);
}

static int32_t verify_hmac(const struct token *token, const struct value *head, uint32_t kind, const struct value *key)
{
    static const rf_op ENCODE = {.code = RF_CONV_UB64ENC};
    static const rf_program PLAIN = {.bufsize = SIGNATURE_MAX};
    uint8_t sum[DIGEST_LEN_MAX], room[2 * SIGNATURE_MAX];
    struct sample_run small = {.program = &PLAIN, .scratch = room, .scratch_len = sizeof room};
    struct value told = {.kind = VALUE_BIN, .bytes = sum, .len = digest_len(kind)};
    hmac_of(kind, key->bytes, key->len, head->bytes, head->len, sum);
    const struct value *said = &token->parts[SIGNATURE];
    return encode(&small, &ENCODE, &told) && told.len == said->len && memcmp(told.bytes, said->bytes, told.len) == 0;
}

/* Behind the name of a key's file stands what is in it. */
static int32_t verify_signature(const struct token *token, const struct value *head, uint32_t bits, bool curve, struct value key)
{
    static const rf_op DECODE = {.code = RF_CONV_UB64DEC};
    static const rf_program PLAIN = {.bufsize = SIGNATURE_MAX};
    uint8_t room[2 * SIGNATURE_MAX];
    struct sample_run small = {.program = &PLAIN, .scratch = room, .scratch_len = sizeof room};
    struct value said = token->parts[SIGNATURE];
    const struct rf_tls_ops *tls = transport_tls();
    const uint8_t *name_end = key.len > 0 ? memchr(key.bytes, 0, key.len) : NULL;
    if (tls == NULL || name_end == NULL)
        return UNKNOWN_KEY;
    if (!encode(&small, &DECODE, &said) || (curve && said.len % 2 != 0))
        return INVALID_TOKEN;
    const uint32_t skip = (uint32_t)(name_end - key.bytes) + 1;
    const int32_t found = tls->verify(bits, curve, key.bytes + skip, key.len - skip, head->bytes, head->len, said.bytes, said.len);
    return found == TLS_NO_KEY ? UNKNOWN_KEY : found;
}

static int32_t verify(struct sample_run *run, const rf_op *op, const struct value *algorithm, const struct value *text)
{
    static const struct {
        char bits[4];
        uint32_t kind, number;
    } SIZES[] = {{"256", RF_DIGEST_SHA256, 256}, {"384", RF_DIGEST_SHA384, 384}, {"512", RF_DIGEST_SHA512, 512}};
    const struct token token = token_of(text);
    struct value key;
    const uint8_t *name = algorithm->bytes;
    const bool none = algorithm->len == 4 && memcmp(name, "none", 4) == 0;
    size_t size = 0;
    while (size < 3 && (algorithm->len != ALGORITHM_LEN || memcmp(name + 2, SIZES[size].bits, 3) != 0))
        size++;
    if (!none && (size == 3 || name[1] != 'S' || memchr("HREP", name[0], 4) == NULL))
        return UNKNOWN_ALGORITHM;
    if (!none && name[0] == 'P')
        return NOT_MANAGED;
    const bool said = token.count == PARTS && token.parts[SIGNATURE].len > 0;
    if (token.count < 2 || token.count > PARTS || (!none && !said))
        return INVALID_TOKEN;
    if (none)
        return !said;
    const struct value *payload = &token.parts[PAYLOAD];
    const struct value head = {.kind = VALUE_TEXT, .bytes = text->bytes, .len = (uint32_t)(payload->bytes - text->bytes) + payload->len};
    if (!argument(run, op->number2, op->other, &key))
        return UNKNOWN_KEY;
    if (name[0] != 'H')
        return verify_signature(&token, &head, SIZES[size].number, name[0] == 'E', key);
    const uint8_t *end = op->number2 < 0 && key.len > 0 ? memchr(key.bytes, 0, key.len) : NULL;
    key.len = end != NULL ? (uint32_t)(end - key.bytes) : key.len;
    return verify_hmac(&token, &head, SIZES[size].kind, &key);
}

bool jwt_verify(struct sample_run *run, const rf_op *op, struct value *value)
{
    struct value algorithm, key;
    if (!cast_text(run, value) || !argument(run, op->number, op->text, &algorithm) || !argument(run, op->number2, op->other, &key))
        return false;
    *value = (struct value){.kind = VALUE_INT, .number = verify(run, op, &algorithm, value)};
    return true;
}

/* Three arguments in a row: how long, or which variable holds it in base64. */
static bool next_secret(struct sample_run *run, const uint8_t **at, uint32_t *left, uint8_t room[2 * SECRET_MAX], struct value *out)
{
    static const rf_op DECODE = {.code = RF_CONV_B64DEC};
    struct sample_run small = *run;
    if (*left < 5)
        return false;
    const uint8_t *head = *at;
    const uint32_t number = (uint32_t)head[1] | (uint32_t)head[2] << 8 | (uint32_t)head[3] << 16 | (uint32_t)head[4] << 24;
    *at += 5;
    *left -= 5;
    if (head[0] == 1) {
        small.scratch = room;
        small.scratch_len = 2 * SECRET_MAX;
        return variables_get(run->variables, number, out) && encode(&small, &DECODE, out);
    }
    if (number > *left)
        return false;
    *out = (struct value){.kind = VALUE_BIN, .bytes = *at, .len = number};
    *at += number;
    *left -= number;
    return true;
}

bool aes_gcm(struct sample_run *run, const rf_op *op, struct value *value)
{
    struct value secrets[3];
    uint8_t number[8], rooms[3][2 * SECRET_MAX];
    uint32_t max, left = op->text.len;
    const uint8_t *at = program_at(run->program, op->text);
    const struct rf_tls_ops *tls = transport_tls();
    if (tls == NULL || !cast_bin(value, number))
        return false;
    for (int i = 0; i < 3; i++) {
        if (!next_secret(run, &at, &left, rooms[i], &secrets[i]))
            return false;
    }
    uint8_t *room = sample_room(run, value, &max);
    if (value->len > max || secrets[1].len < (uint32_t)op->number / 8)
        return false;
    if (tls->decrypt((uint32_t)op->number, secrets[1].bytes, secrets[0].bytes, secrets[0].len, secrets[2].bytes, secrets[2].len,
                     value->bytes, value->len, room) != TLS_OK)
        return false;
    *value = (struct value){.kind = VALUE_BIN, .bytes = room, .len = value->len};
    return true;
}
