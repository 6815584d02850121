/* addresses.c - IPv4 and IPv6 addresses as values: casts, texts, masks (HAProxy 2.6, sample.c, standard.c; run against it). */
#include <arpa/inet.h>
#include <string.h>

#include "sample.h"

static const uint8_t MAPPED[12] = {[10] = 0xff, [11] = 0xff};

/* Four numbers of a byte each; whatever follows them is not looked at. */
uint32_t read_ipv4(const uint8_t *text, uint32_t len, uint32_t *out)
{
    uint32_t at = 0, address = 0;
    for (int part = 0; part < 4; part++) {
        uint32_t number = 0;
        const uint32_t from = at;
        while (at < len && text[at] >= '0' && text[at] <= '9') {
            number = number * 10 + (uint32_t)(text[at] - '0');
            if (number > 255)
                return 0;
            at++;
        }
        if (at == from || (part < 3 && (at >= len || text[at] != '.')))
            return 0;
        address = address << 8 | number;
        at += part < 3;
    }
    *out = address;
    return at;
}

bool read_ipv6(const uint8_t *text, uint32_t len, uint8_t out[16])
{
    char copy[ADDRESS_TEXT_MAX];
    if (len >= sizeof copy || memchr(text, 0, len) != NULL)
        return false;
    memcpy(copy, text, len);
    copy[len] = 0;
    return inet_pton(AF_INET6, copy, out) == 1;
}

uint32_t address_text(const struct value *value, char text[ADDRESS_TEXT_MAX])
{
    const uint32_t packed = htonl((uint32_t)value->number);
    const bool v6 = value->kind == VALUE_IPV6;
    if (inet_ntop(v6 ? AF_INET6 : AF_INET, v6 ? (const void *)value->bytes : (const void *)&packed, text, ADDRESS_TEXT_MAX) == NULL)
        return 0;
    return (uint32_t)strlen(text);
}

void number_text(struct value *value, char text[ADDRESS_TEXT_MAX])
{
    if (value->kind == VALUE_IPV4 || value->kind == VALUE_IPV6)
        value->len = address_text(value, text);
    else
        value->len = (uint32_t)snprintf(text, ADDRESS_TEXT_MAX, "%lld", (long long)value->number);
    value->bytes = (const uint8_t *)text;
}

/* Whether IPv6 only wraps an IPv4 address. */
static bool unwrap(struct value *value)
{
    if (memcmp(value->bytes, MAPPED, sizeof MAPPED) != 0)
        return false;
    const uint8_t *at = value->bytes + sizeof MAPPED;
    const uint32_t address = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    *value = (struct value){.kind = VALUE_IPV4, .number = address};
    return true;
}

bool cast_ipv4(struct value *value)
{
    uint32_t address;
    if (value->kind == VALUE_INT)
        *value = (struct value){.kind = VALUE_IPV4, .number = value->number & UINT32_MAX};
    else if (value->kind == VALUE_TEXT && read_ipv4(value->bytes, value->len, &address) > 0)
        *value = (struct value){.kind = VALUE_IPV4, .number = address};
    return value->kind == VALUE_IPV4 || (value->kind == VALUE_IPV6 && unwrap(value));
}

static bool put_ipv6(struct sample_run *run, struct value *value, const uint8_t address[16])
{
    uint32_t max;
    uint8_t *room = sample_room(run, value, &max);
    if (max < 16)
        return false;
    memcpy(room, address, 16);
    *value = (struct value){.kind = VALUE_IPV6, .bytes = room, .len = 16};
    return true;
}

bool cast_ipv6(struct sample_run *run, struct value *value)
{
    uint8_t address[16];
    if (value->kind == VALUE_TEXT && read_ipv6(value->bytes, value->len, address))
        return put_ipv6(run, value, address);
    if (value->kind == VALUE_IPV6)
        return true;
    if (!cast_ipv4(value))
        return false;
    memcpy(address, MAPPED, sizeof MAPPED);
    for (int i = 0; i < 4; i++)
        address[12 + i] = (uint8_t)((uint64_t)value->number >> (24 - 8 * i));
    return put_ipv6(run, value, address);
}

bool cast_address(struct sample_run *run, struct value *value)
{
    return value->kind == VALUE_IPV6 || cast_ipv4(value) || cast_ipv6(run, value);
}

bool ipmask(struct sample_run *run, const rf_op *op, struct value *value)
{
    uint8_t address[16];
    if (!cast_address(run, value))
        return false;
    if (value->kind == VALUE_IPV4 || unwrap(value)) {
        value->number &= op->number;
        return true;
    }
    if (op->text.len != sizeof address)
        return false;
    const uint8_t *mask = program_at(run->program, op->text);
    for (uint32_t i = 0; i < sizeof address; i++)
        address[i] = value->bytes[i] & mask[i];
    return put_ipv6(run, value, address);
}
