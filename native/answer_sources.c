/* answer_sources.c - see answer_sources.h. */
#include <string.h>

#include "answer_sources.h"

bool rf_sources_open(struct rf_sources *sources, uint32_t max)
{
    sources->free = RF_NONE;
    memset(sources->buckets, 0xff, sizeof sources->buckets);
    sources->all = calloc(max, sizeof *sources->all);
    return sources->all != NULL;
}

void rf_sources_close(struct rf_sources *sources)
{
    free(sources->all);
}

/* --- who may ask -------------------------------------------------------------------------------------------------- */

bool rf_sources_allow(struct rf_sources *sources, const uint8_t ip[16], uint32_t bits)
{
    if (sources->allowed_len == RF_ANSWER_ALLOWED_MAX)
        return false;
    memcpy(sources->allowed[sources->allowed_len].ip, ip, 16);
    sources->allowed[sources->allowed_len++].bits = bits;
    return true;
}

bool rf_sources_may_ask(const struct rf_sources *sources, const uint8_t ip[16])
{
    for (uint32_t i = 0; i < sources->allowed_len; i++) {
        const uint32_t bits = sources->allowed[i].bits, bytes = bits / 8, rest = bits % 8;
        if (memcmp(sources->allowed[i].ip, ip, bytes) == 0 &&
            (rest == 0 || ((sources->allowed[i].ip[bytes] ^ ip[bytes]) >> (8 - rest)) == 0))
            return true;
    }
    return sources->allowed_len == 0;
}

/* --- how many of each --------------------------------------------------------------------------------------------- */

static bool is_mapped(const uint8_t ip[16])
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(ip, prefix, sizeof prefix) == 0;
}

static uint32_t bucket_of(const uint8_t from[16])
{
    uint32_t hash = 2166136261u;
    for (int i = 0; i < 16; i++)
        hash = (hash ^ from[i]) * 16777619u;
    return hash % RF_ANSWER_SOURCE_BUCKETS;
}

uint32_t rf_sources_find(const struct rf_sources *sources, const uint8_t ip[16], uint8_t from[16])
{
    memcpy(from, ip, 16);
    if (!is_mapped(ip))
        memset(from + 8, 0, 8);
    uint32_t at = sources->buckets[bucket_of(from)];
    while (at != RF_NONE && memcmp(sources->all[at].ip, from, 16) != 0)
        at = sources->all[at].next;
    return at;
}

uint32_t rf_sources_enter(struct rf_sources *sources, uint32_t at, const uint8_t from[16])
{
    if (at != RF_NONE) {
        sources->all[at].open++;
        return at;
    }
    uint32_t *bucket = &sources->buckets[bucket_of(from)];
    uint32_t index = sources->free;
    if (index == RF_NONE)
        index = sources->used++;
    else
        sources->free = sources->all[index].next;
    sources->all[index] = (struct rf_source){.open = 1, .next = *bucket, .answered = {RF_NONE, RF_NONE}};
    memcpy(sources->all[index].ip, from, 16);
    *bucket = index;
    return index;
}

void rf_sources_leave(struct rf_sources *sources, uint32_t at)
{
    struct rf_source *source = &sources->all[at];
    if (--source->open > 0)
        return;
    uint32_t *link = &sources->buckets[bucket_of(source->ip)];
    while (*link != at)
        link = &sources->all[*link].next;
    *link = source->next;
    source->next = sources->free;
    sources->free = at;
}
