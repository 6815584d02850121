/* hashes.c - the hash functions of HAProxy's converters: public algorithms, each at its source's constants. */
#include "sample.h"

/* Bob Jenkins' full avalanche for integers, then spread by a prime near 3/4 of the range. */
static uint32_t avalanche_of(uint32_t a)
{
    a = (a + 0x7ed55d16u) + (a << 12);
    a = (a ^ 0xc761c23cu) ^ (a >> 19);
    a = (a + 0x165667b1u) + (a << 5);
    a = (a + 0xd3a2646cu) ^ (a << 9);
    a = (a + 0xfd7046c5u) + (a << 3);
    a = (a ^ 0xb55a4f09u) ^ (a >> 16);
    return a * 3221225473u;
}

/* The CRC of Ethernet and gzip, or with its own polynomial that of iSCSI; low bit first. */
static uint32_t crc(const uint8_t *bytes, uint32_t len, uint32_t polynomial)
{
    uint32_t sum = 0xffffffffu;
    for (uint32_t i = 0; i < len; i++) {
        sum ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? polynomial : 0);
    }
    return ~sum;
}

/* Dan Bernstein's, with a sum. */
static uint32_t djb2(const uint8_t *bytes, uint32_t len)
{
    uint32_t sum = 5381;
    for (uint32_t i = 0; i < len; i++)
        sum = (sum << 5) + sum + bytes[i];
    return sum;
}

static uint32_t sdbm(const uint8_t *bytes, uint32_t len)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < len; i++)
        sum = bytes[i] + (sum << 6) + (sum << 16) - sum;
    return sum;
}

/* wt6: two sums that turn each other. A turn by 0 is none. */
static uint32_t wt6(const uint8_t *bytes, uint32_t len)
{
    uint32_t a = 0xa53c965au, b = 0x5ca6953au, turn_b = 6, turn_a = 18;
    for (uint32_t i = 0; i < len; i++) {
        a = ~(a ^ bytes[i]);
        b = ~(b + bytes[i]);
        const uint32_t next = b << turn_b | b >> ((32 - turn_b) & 31);
        b = a << turn_a | a >> ((32 - turn_a) & 31);
        a = next;
        const uint32_t mixed = (a >> 16 ^ b) & 0xffff;
        turn_b = mixed & 31;
        turn_a = mixed >> 11;
    }
    return a ^ b;
}

uint32_t hash_of(uint32_t code, const uint8_t *bytes, uint32_t len, bool avalanche)
{
    uint32_t sum;
    switch (code) {
    case RF_CONV_CRC32:
        sum = crc(bytes, len, 0xedb88320u);
        break;
    case RF_CONV_CRC32C:
        sum = crc(bytes, len, 0x82f63b78u);
        break;
    case RF_CONV_DJB2:
        sum = djb2(bytes, len);
        break;
    case RF_CONV_WT6:
        sum = wt6(bytes, len);
        break;
    default:
        sum = sdbm(bytes, len);
        break;
    }
    return avalanche ? avalanche_of(sum) : sum;
}
