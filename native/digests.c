/* digests.c - MD5, SHA-1, SHA-2 and HMAC over them, for HAProxy's converters.
 *
 * Sources: RFC 1321, FIPS 180-4, RFC 2104. SHA-256's constants are the upper halves of SHA-512's, and the start of SHA-224 the
 * lower halves of that of SHA-384. Not written for secrets that somebody could time: a check hashes what it sends.
 */
#include <string.h>

#include "digests.h"

static const uint64_t ROUNDS[80] = {
    UINT64_C(0x428a2f98d728ae22), UINT64_C(0x7137449123ef65cd), UINT64_C(0xb5c0fbcfec4d3b2f), UINT64_C(0xe9b5dba58189dbbc),
    UINT64_C(0x3956c25bf348b538), UINT64_C(0x59f111f1b605d019), UINT64_C(0x923f82a4af194f9b), UINT64_C(0xab1c5ed5da6d8118),
    UINT64_C(0xd807aa98a3030242), UINT64_C(0x12835b0145706fbe), UINT64_C(0x243185be4ee4b28c), UINT64_C(0x550c7dc3d5ffb4e2),
    UINT64_C(0x72be5d74f27b896f), UINT64_C(0x80deb1fe3b1696b1), UINT64_C(0x9bdc06a725c71235), UINT64_C(0xc19bf174cf692694),
    UINT64_C(0xe49b69c19ef14ad2), UINT64_C(0xefbe4786384f25e3), UINT64_C(0x0fc19dc68b8cd5b5), UINT64_C(0x240ca1cc77ac9c65),
    UINT64_C(0x2de92c6f592b0275), UINT64_C(0x4a7484aa6ea6e483), UINT64_C(0x5cb0a9dcbd41fbd4), UINT64_C(0x76f988da831153b5),
    UINT64_C(0x983e5152ee66dfab), UINT64_C(0xa831c66d2db43210), UINT64_C(0xb00327c898fb213f), UINT64_C(0xbf597fc7beef0ee4),
    UINT64_C(0xc6e00bf33da88fc2), UINT64_C(0xd5a79147930aa725), UINT64_C(0x06ca6351e003826f), UINT64_C(0x142929670a0e6e70),
    UINT64_C(0x27b70a8546d22ffc), UINT64_C(0x2e1b21385c26c926), UINT64_C(0x4d2c6dfc5ac42aed), UINT64_C(0x53380d139d95b3df),
    UINT64_C(0x650a73548baf63de), UINT64_C(0x766a0abb3c77b2a8), UINT64_C(0x81c2c92e47edaee6), UINT64_C(0x92722c851482353b),
    UINT64_C(0xa2bfe8a14cf10364), UINT64_C(0xa81a664bbc423001), UINT64_C(0xc24b8b70d0f89791), UINT64_C(0xc76c51a30654be30),
    UINT64_C(0xd192e819d6ef5218), UINT64_C(0xd69906245565a910), UINT64_C(0xf40e35855771202a), UINT64_C(0x106aa07032bbd1b8),
    UINT64_C(0x19a4c116b8d2d0c8), UINT64_C(0x1e376c085141ab53), UINT64_C(0x2748774cdf8eeb99), UINT64_C(0x34b0bcb5e19b48a8),
    UINT64_C(0x391c0cb3c5c95a63), UINT64_C(0x4ed8aa4ae3418acb), UINT64_C(0x5b9cca4f7763e373), UINT64_C(0x682e6ff3d6b2b8a3),
    UINT64_C(0x748f82ee5defb2fc), UINT64_C(0x78a5636f43172f60), UINT64_C(0x84c87814a1f0ab72), UINT64_C(0x8cc702081a6439ec),
    UINT64_C(0x90befffa23631e28), UINT64_C(0xa4506cebde82bde9), UINT64_C(0xbef9a3f7b2c67915), UINT64_C(0xc67178f2e372532b),
    UINT64_C(0xca273eceea26619c), UINT64_C(0xd186b8c721c0c207), UINT64_C(0xeada7dd6cde0eb1e), UINT64_C(0xf57d4f7fee6ed178),
    UINT64_C(0x06f067aa72176fba), UINT64_C(0x0a637dc5a2c898a6), UINT64_C(0x113f9804bef90dae), UINT64_C(0x1b710b35131c471b),
    UINT64_C(0x28db77f523047d84), UINT64_C(0x32caab7b40c72493), UINT64_C(0x3c9ebe0a15c9bebc), UINT64_C(0x431d67c49c100d4c),
    UINT64_C(0x4cc5d4becb3e42b6), UINT64_C(0x597f299cfc657e2a), UINT64_C(0x5fcb6fab3ad6faec), UINT64_C(0x6c44198c4a475817),
};
static const uint32_t SINES[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};
/* Starts: of SHA-512 and SHA-256, of SHA-384 and SHA-224, of MD5 and SHA-1. */
static const uint64_t STARTS[2][8] = {
    {
     UINT64_C(0x6a09e667f3bcc908), UINT64_C(0xbb67ae8584caa73b), UINT64_C(0x3c6ef372fe94f82b), UINT64_C(0xa54ff53a5f1d36f1),
     UINT64_C(0x510e527fade682d1), UINT64_C(0x9b05688c2b3e6c1f), UINT64_C(0x1f83d9abfb41bd6b), UINT64_C(0x5be0cd19137e2179)
    },
    {
     UINT64_C(0xcbbb9d5dc1059ed8), UINT64_C(0x629a292a367cd507), UINT64_C(0x9159015a3070dd17), UINT64_C(0x152fecd8f70e5939),
     UINT64_C(0x67332667ffc00b31), UINT64_C(0x8eb44a8768581511), UINT64_C(0xdb0c2e0d64f98fa7), UINT64_C(0x47b5481dbefa4fa4)
    },
};
static const uint32_t START_SMALL[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};

static uint32_t left(uint32_t x, uint32_t by)
{
    return x << by | x >> (32 - by);
}

static uint32_t right(uint32_t x, uint32_t by)
{
    return x >> by | x << (32 - by);
}

static uint64_t right64(uint64_t x, uint32_t by)
{
    return x >> by | x << (64 - by);
}

static uint32_t big32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void md5_block(uint64_t state[8], const uint8_t *block)
{
    static const uint8_t TURNS[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
    uint32_t a = (uint32_t)state[0], b = (uint32_t)state[1], c = (uint32_t)state[2], d = (uint32_t)state[3];
    for (uint32_t i = 0; i < 64; i++) {
        static const uint8_t STEP[4] = {1, 5, 3, 7}, FIRST[4] = {0, 1, 5, 0};
        const uint32_t round = i / 16, word = (STEP[round] * i + FIRST[round]) % 16;
        const uint32_t f[4] = {(b & c) | (~b & d), (d & b) | (~d & c), b ^ c ^ d, c ^ (b | ~d)};
        const uint32_t sum = a + f[round] + SINES[i] + __builtin_bswap32(big32(block + 4 * word));
        a = d;
        d = c;
        c = b;
        b += left(sum, TURNS[round][i % 4]);
    }
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
}

static void sha1_block(uint64_t state[8], const uint8_t *block)
{
    static const uint32_t CONSTANT[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    uint32_t w[80], s[5];
    for (uint32_t i = 0; i < 80; i++)
        w[i] = i < 16 ? big32(block + 4 * i) : left(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (uint32_t i = 0; i < 5; i++)
        s[i] = (uint32_t)state[i];
    for (uint32_t i = 0; i < 80; i++) {
        const uint32_t parity = s[1] ^ s[2] ^ s[3];
        const uint32_t f[4] = {(s[1] & s[2]) | (~s[1] & s[3]), parity, (s[1] & s[2]) | (s[1] & s[3]) | (s[2] & s[3]), parity};
        const uint32_t sum = left(s[0], 5) + f[i / 20] + s[4] + CONSTANT[i / 20] + w[i];
        memmove(s + 1, s, 4 * sizeof *s);
        s[2] = left(s[2], 30);
        s[0] = sum;
    }
    for (uint32_t i = 0; i < 5; i++)
        state[i] += s[i];
}

static void sha256_block(uint64_t state[8], const uint8_t *block)
{
    uint32_t w[64], s[8];
    for (uint32_t i = 0; i < 8; i++)
        s[i] = (uint32_t)state[i];
    for (uint32_t i = 0; i < 64; i++) {
        if (i < 16)
            w[i] = big32(block + 4 * i);
        else
            w[i] = w[i - 16] + w[i - 7] + (right(w[i - 15], 7) ^ right(w[i - 15], 18) ^ w[i - 15] >> 3) +
                   (right(w[i - 2], 17) ^ right(w[i - 2], 19) ^ w[i - 2] >> 10);
        const uint32_t one = s[7] + (right(s[4], 6) ^ right(s[4], 11) ^ right(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) +
                             (uint32_t)(ROUNDS[i] >> 32) + w[i];
        const uint32_t two = (right(s[0], 2) ^ right(s[0], 13) ^ right(s[0], 22)) +
                             ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }
    for (uint32_t i = 0; i < 8; i++)
        state[i] += s[i];
}

static void sha512_block(uint64_t state[8], const uint8_t *block)
{
    uint64_t w[80], s[8];
    memcpy(s, state, sizeof s);
    for (uint32_t i = 0; i < 80; i++) {
        if (i < 16)
            w[i] = (uint64_t)big32(block + 8 * i) << 32 | big32(block + 8 * i + 4);
        else
            w[i] = w[i - 16] + w[i - 7] + (right64(w[i - 15], 1) ^ right64(w[i - 15], 8) ^ w[i - 15] >> 7) +
                   (right64(w[i - 2], 19) ^ right64(w[i - 2], 61) ^ w[i - 2] >> 6);
        const uint64_t one = s[7] + (right64(s[4], 14) ^ right64(s[4], 18) ^ right64(s[4], 41)) +
                             ((s[4] & s[5]) ^ (~s[4] & s[6])) + ROUNDS[i] + w[i];
        const uint64_t two = (right64(s[0], 28) ^ right64(s[0], 34) ^ right64(s[0], 39)) +
                             ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += one;
        s[0] = one + two;
    }
    for (uint32_t i = 0; i < 8; i++)
        state[i] += s[i];
}

/* How the digests differ. */
static const struct form {
    uint32_t len, block, word; /* bytes: of the result, of a block, of a word of the state */
    void (*mix)(uint64_t state[8], const uint8_t *block);
} FORMS[] = {
    [RF_DIGEST_MD5] = {16, 64, 4, md5_block},        [RF_DIGEST_SHA1] = {20, 64, 4, sha1_block},
    [RF_DIGEST_SHA224] = {28, 64, 4, sha256_block},  [RF_DIGEST_SHA256] = {32, 64, 4, sha256_block},
    [RF_DIGEST_SHA384] = {48, 128, 8, sha512_block}, [RF_DIGEST_SHA512] = {64, 128, 8, sha512_block},
};

uint32_t digest_len(uint32_t kind)
{
    return FORMS[kind].len;
}

static void start(uint32_t kind, uint64_t state[8])
{
    for (uint32_t i = 0; i < 8; i++) {
        if (kind <= RF_DIGEST_SHA1)
            state[i] = i < 5 ? START_SMALL[i] : 0;
        else if (kind == RF_DIGEST_SHA224)
            state[i] = STARTS[1][i] & UINT32_MAX;
        else
            state[i] = kind == RF_DIGEST_SHA256 ? STARTS[0][i] >> 32 : STARTS[kind == RF_DIGEST_SHA384][i];
    }
}

/* The tail, a 1 bit, zeros, and the length of all in bits: one block or two. */
static void pad(const struct form *form, uint64_t state[8], const uint8_t *tail, uint32_t tail_len, uint64_t total, bool little)
{
    uint8_t block[2 * DIGEST_BLOCK_MAX] = {0};
    const uint32_t size = tail_len + 1 + 2 * form->word > form->block ? 2 * form->block : form->block;
    if (tail_len > 0)
        memcpy(block, tail, tail_len);
    block[tail_len] = 0x80;
    for (uint32_t i = 0; i < 8; i++)
        block[little ? size - 8 + i : size - 1 - i] = (uint8_t)(8 * total >> 8 * i);
    for (uint32_t at = 0; at < size; at += form->block)
        form->mix(state, block + at);
}

/* <head>, a whole number of blocks, and then <bytes>. */
static void digest_two(uint32_t kind, const uint8_t *head, uint32_t head_len, const uint8_t *bytes, uint32_t len, uint8_t *out)
{
    const struct form *form = &FORMS[kind];
    uint64_t state[8];
    start(kind, state);
    for (uint32_t at = 0; at < head_len; at += form->block)
        form->mix(state, head + at);
    const uint32_t whole = len - len % form->block;
    for (uint32_t at = 0; at < whole; at += form->block)
        form->mix(state, bytes + at);
    pad(form, state, bytes + whole, len - whole, (uint64_t)head_len + len, kind == RF_DIGEST_MD5);
    for (uint32_t i = 0; i < form->len; i++) {
        const uint32_t at = i % form->word, shift = kind == RF_DIGEST_MD5 ? at : form->word - 1 - at;
        out[i] = (uint8_t)(state[i / form->word] >> 8 * shift);
    }
}

void digest_of(uint32_t kind, const uint8_t *bytes, uint32_t len, uint8_t *out)
{
    digest_two(kind, NULL, 0, bytes, len, out);
}

void hmac_of(uint32_t kind, const uint8_t *key, uint32_t key_len, const uint8_t *bytes, uint32_t len, uint8_t *out)
{
    const struct form *form = &FORMS[kind];
    uint8_t inner[DIGEST_BLOCK_MAX] = {0}, outer[DIGEST_BLOCK_MAX];
    if (key_len > form->block)
        digest_of(kind, key, key_len, inner);
    else if (key_len > 0)
        memcpy(inner, key, key_len);
    for (uint32_t i = 0; i < form->block; i++) {
        outer[i] = inner[i] ^ 0x5c;
        inner[i] ^= 0x36;
    }
    digest_two(kind, inner, form->block, bytes, len, out);
    uint8_t first[DIGEST_LEN_MAX];
    memcpy(first, out, form->len);
    digest_two(kind, outer, form->block, first, form->len, out);
}
