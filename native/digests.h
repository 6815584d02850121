/* digests.h - message digests by RF_DIGEST_ number. */
#ifndef RF_DIGESTS_H
#define RF_DIGESTS_H

#include "internal.h"

enum { DIGEST_LEN_MAX = 64, DIGEST_BLOCK_MAX = 128 };
uint32_t digest_len(uint32_t kind);
/* <out> has room for digest_len() bytes, and lies outside <bytes>. */
void digest_of(uint32_t kind, const uint8_t *bytes, uint32_t len, uint8_t *out);
void hmac_of(uint32_t kind, const uint8_t *key, uint32_t key_len, const uint8_t *bytes, uint32_t len, uint8_t *out);

#endif
