/* answer_sources.h - who may come in, and how many connections each source has.
 *
 * A source is an address, or a /64 of IPv6: whoever has one address of that has all. Sources are known only while they have
 * a connection, so there are never more than connections.
 */
#ifndef RISEFALL_ANSWER_SOURCES_H
#define RISEFALL_ANSWER_SOURCES_H

#include <stdbool.h>
#include <stdint.h>

#include "internal.h"

enum { RF_ANSWER_ALLOWED_MAX = 256, RF_ANSWER_SOURCE_BUCKETS = 4096 };

/* Connections by their places, oldest first; RF_NONE twice when there is none (answer_places.h). */
struct rf_list {
    uint32_t oldest, newest;
};

struct rf_source {
    uint8_t ip[16];          /* what a source is of the address: see rf_sources_find */
    uint32_t open, next;     /* next: in its bucket, or among the free */
    struct rf_list answered; /* its own that have had their answer */
};

struct rf_sources {
    struct {
        uint8_t ip[16];
        uint32_t bits;
    } allowed[RF_ANSWER_ALLOWED_MAX];
    uint32_t allowed_len;
    struct rf_source *all; /* as many as there may be connections */
    uint32_t used, free, buckets[RF_ANSWER_SOURCE_BUCKETS];
};

bool rf_sources_open(struct rf_sources *sources, uint32_t max);
void rf_sources_close(struct rf_sources *sources);
/* Only these networks may ask, once there is one. bits: of the address in IPv6 form. False: there is no room for more. */
bool rf_sources_allow(struct rf_sources *sources, const uint8_t ip[16], uint32_t bits);
bool rf_sources_may_ask(const struct rf_sources *sources, const uint8_t ip[16]);
/* The source of an address, RF_NONE while it has no connection. from: gets what a source is of the address. */
uint32_t rf_sources_find(const struct rf_sources *sources, const uint8_t ip[16], uint8_t from[16]);
/* One more connection of a source, which is new when `at` is RF_NONE. Returns which it is. */
uint32_t rf_sources_enter(struct rf_sources *sources, uint32_t at, const uint8_t from[16]);
/* One less; with the last one the source is forgotten. */
void rf_sources_leave(struct rf_sources *sources, uint32_t at);

#endif
