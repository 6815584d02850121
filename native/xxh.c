/* xxh.c - xxHash in its three forms of 32 and 64 bits, for HAProxy's converters.
 *
 * Source: the xxHash specification (doc/xxhash_spec.md of Cyan4973/xxHash), section by section. All words are little-endian.
 */
#include <string.h>

#include "sample.h"

enum { STRIPE = 64, LANES = 8, SECRET_LEN = 192, STRIPES_A_BLOCK = (SECRET_LEN - STRIPE) / 8 };
static const uint32_t P32_1 = 0x9e3779b1u, P32_2 = 0x85ebca77u, P32_3 = 0xc2b2ae3du, P32_4 = 0x27d4eb2fu, P32_5 = 0x165667b1u;
static const uint64_t P64_1 = UINT64_C(0x9e3779b185ebca87), P64_2 = UINT64_C(0xc2b2ae3d27d4eb4f);
static const uint64_t P64_3 = UINT64_C(0x165667b19e3779f9), P64_4 = UINT64_C(0x85ebca77c2b2ae63);
static const uint64_t P64_5 = UINT64_C(0x27d4eb2f165667c5);
static const uint64_t MIX_1 = UINT64_C(0x165667919e3779f9), MIX_2 = UINT64_C(0x9fb21c651e98df25);
static const uint8_t SECRET[SECRET_LEN] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};

static uint32_t read32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t read64(const uint8_t *at)
{
    return read32(at) | (uint64_t)read32(at + 4) << 32;
}

static uint32_t turn32(uint32_t x, int by)
{
    return x << by | x >> (32 - by);
}

static uint64_t turn64(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

/* --- XXH32 ------------------------------------------------------------------------------------------------------ */

static uint32_t round32(uint32_t sum, uint32_t lane)
{
    return turn32(sum + lane * P32_2, 13) * P32_1;
}

uint32_t xxh32(const uint8_t *bytes, uint32_t len, uint32_t seed)
{
    uint32_t sum = seed + P32_5, at = 0;
    if (len >= 16) {
        uint32_t lanes[4] = {seed + P32_1 + P32_2, seed + P32_2, seed, seed - P32_1};
        for (; len - at >= 16; at += 16) {
            for (uint32_t i = 0; i < 4; i++)
                lanes[i] = round32(lanes[i], read32(bytes + at + 4 * i));
        }
        sum = turn32(lanes[0], 1) + turn32(lanes[1], 7) + turn32(lanes[2], 12) + turn32(lanes[3], 18);
    }
    sum += len;
    for (; len - at >= 4; at += 4)
        sum = turn32(sum + read32(bytes + at) * P32_3, 17) * P32_4;
    for (; at < len; at++)
        sum = turn32(sum + bytes[at] * P32_5, 11) * P32_1;
    sum = (sum ^ sum >> 15) * P32_2;
    sum = (sum ^ sum >> 13) * P32_3;
    return sum ^ sum >> 16;
}

/* --- XXH64 ------------------------------------------------------------------------------------------------------ */

static uint64_t round64(uint64_t sum, uint64_t lane)
{
    return turn64(sum + lane * P64_2, 31) * P64_1;
}

static uint64_t avalanche64(uint64_t x)
{
    x = (x ^ x >> 33) * P64_2;
    x = (x ^ x >> 29) * P64_3;
    return x ^ x >> 32;
}

uint64_t xxh64(const uint8_t *bytes, uint32_t len, uint64_t seed)
{
    uint64_t sum = seed + P64_5;
    uint32_t at = 0;
    if (len >= 32) {
        uint64_t lanes[4] = {seed + P64_1 + P64_2, seed + P64_2, seed, seed - P64_1};
        for (; len - at >= 32; at += 32) {
            for (uint32_t i = 0; i < 4; i++)
                lanes[i] = round64(lanes[i], read64(bytes + at + 8 * i));
        }
        sum = turn64(lanes[0], 1) + turn64(lanes[1], 7) + turn64(lanes[2], 12) + turn64(lanes[3], 18);
        for (uint32_t i = 0; i < 4; i++)
            sum = (sum ^ round64(0, lanes[i])) * P64_1 + P64_4;
    }
    sum += len;
    for (; len - at >= 8; at += 8)
        sum = turn64(sum ^ round64(0, read64(bytes + at)), 27) * P64_1 + P64_4;
    if (len - at >= 4) {
        sum = turn64(sum ^ read32(bytes + at) * P64_1, 23) * P64_2 + P64_3;
        at += 4;
    }
    for (; at < len; at++)
        sum = turn64(sum ^ bytes[at] * P64_5, 11) * P64_1;
    return avalanche64(sum);
}

/* --- XXH3, 64 bits ---------------------------------------------------------------------------------------------- */

static uint64_t fold(uint64_t a, uint64_t b)
{
    const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t avalanche3(uint64_t x)
{
    x = (x ^ x >> 37) * MIX_1;
    return x ^ x >> 32;
}

static uint64_t small3(const uint8_t *bytes, uint32_t len, uint64_t seed)
{
    if (len == 0)
        return avalanche64(seed ^ read64(SECRET + 56) ^ read64(SECRET + 64));
    if (len < 4) {
        const uint32_t all = (uint32_t)bytes[len - 1] | len << 8 | (uint32_t)bytes[0] << 16 | (uint32_t)bytes[len >> 1] << 24;
        return avalanche64(((uint64_t)(read32(SECRET) ^ read32(SECRET + 4)) + seed) ^ all);
    }
    if (len <= 8) {
        seed ^= (uint64_t)__builtin_bswap32((uint32_t)seed) << 32;
        const uint64_t all = read32(bytes + len - 4) | (uint64_t)read32(bytes) << 32;
        uint64_t x = ((read64(SECRET + 8) ^ read64(SECRET + 16)) - seed) ^ all;
        x = (x ^ turn64(x, 49) ^ turn64(x, 24)) * MIX_2;
        x = (x ^ ((x >> 35) + len)) * MIX_2;
        return x ^ x >> 28;
    }
    const uint64_t low = ((read64(SECRET + 24) ^ read64(SECRET + 32)) + seed) ^ read64(bytes);
    const uint64_t high = ((read64(SECRET + 40) ^ read64(SECRET + 48)) - seed) ^ read64(bytes + len - 8);
    return avalanche3(len + __builtin_bswap64(low) + high + fold(low, high));
}

static uint64_t mix3(const uint8_t *at, const uint8_t *secret, uint64_t seed)
{
    return fold(read64(at) ^ (read64(secret) + seed), read64(at + 8) ^ (read64(secret + 8) - seed));
}

/* 17 to 240 bytes. */
static uint64_t medium3(const uint8_t *bytes, uint32_t len, uint64_t seed)
{
    uint64_t sum = len * P64_1;
    if (len <= 128) {
        for (uint32_t left = ((len - 1) >> 5) + 1; left > 0; left--) {
            const uint32_t i = left - 1;
            sum += mix3(bytes + 16 * i, SECRET + 32 * i, seed);
            sum += mix3(bytes + len - 16 * left, SECRET + 32 * i + 16, seed);
        }
        return avalanche3(sum);
    }
    for (uint32_t i = 0; i < 8; i++)
        sum += mix3(bytes + 16 * i, SECRET + 16 * i, seed);
    sum = avalanche3(sum);
    for (uint32_t i = 8; i < len >> 4; i++)
        sum += mix3(bytes + 16 * i, SECRET + 16 * (i - 8) + 3, seed);
    return avalanche3(sum + mix3(bytes + len - 16, SECRET + 119, seed));
}

static void accumulate3(uint64_t sums[LANES], const uint8_t *stripe, const uint8_t *secret)
{
    for (uint32_t i = 0; i < LANES; i++) {
        const uint64_t lane = read64(stripe + 8 * i), x = lane ^ read64(secret + 8 * i);
        sums[i ^ 1] += lane;
        sums[i] += (x & UINT32_MAX) * (x >> 32);
    }
}

static void scramble3(uint64_t sums[LANES], const uint8_t *secret)
{
    for (uint32_t i = 0; i < LANES; i++)
        sums[i] = (sums[i] ^ sums[i] >> 47 ^ read64(secret + 8 * i)) * P32_1;
}

/* The secret of a seed: added to every even word, taken from every odd one. */
static void secret_of(uint64_t seed, uint8_t out[SECRET_LEN])
{
    for (uint32_t i = 0; i < SECRET_LEN / 8; i++) {
        const uint64_t word = read64(SECRET + 8 * i) + (i % 2 == 0 ? seed : 0 - seed);
        for (uint32_t byte = 0; byte < 8; byte++)
            out[8 * i + byte] = (uint8_t)(word >> 8 * byte);
    }
}

/* The last stripe is always the last 64 bytes, though they may overlap the one before. */
static uint64_t large3(const uint8_t *bytes, uint32_t len, uint64_t seed)
{
    uint8_t secret[SECRET_LEN];
    uint64_t sums[LANES] = {P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1};
    secret_of(seed, secret);
    for (uint32_t i = 0; i < (len - 1) / STRIPE; i++) {
        accumulate3(sums, bytes + (size_t)STRIPE * i, secret + 8 * (i % STRIPES_A_BLOCK));
        if (i % STRIPES_A_BLOCK == STRIPES_A_BLOCK - 1)
            scramble3(sums, secret + SECRET_LEN - STRIPE);
    }
    accumulate3(sums, bytes + len - STRIPE, secret + SECRET_LEN - STRIPE - 7);
    uint64_t sum = len * P64_1;
    for (uint32_t i = 0; i < LANES; i += 2)
        sum += fold(sums[i] ^ read64(secret + 11 + 8 * i), sums[i + 1] ^ read64(secret + 19 + 8 * i));
    return avalanche3(sum);
}

uint64_t xxh3(const uint8_t *bytes, uint32_t len, uint64_t seed)
{
    if (len <= 16)
        return small3(bytes, len, seed);
    return len <= 240 ? medium3(bytes, len, seed) : large3(bytes, len, seed);
}
