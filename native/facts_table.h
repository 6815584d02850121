/* facts_table.h - what the table of facts (facts.c) and the thread that answers from it (facts_thread.c) share. */
#ifndef RISEFALL_FACTS_TABLE_H
#define RISEFALL_FACTS_TABLE_H

#include <pthread.h>

#include "facts.h"
#include "internal.h"

enum { FACTS_CLIENTS_MAX = 64 };

struct fact {
    struct fact *next; /* in its bucket */
    uint32_t hash, sweep, weight;
    uint16_t name_len, text_len, text_room;
    uint8_t kind, good;
    char bytes[]; /* name, text */
};

struct client {
    int fd;
    uint64_t until_ns;
};

struct rf_facts {
    pthread_mutex_t lock; /* of the table */
    struct fact **buckets;
    uint32_t buckets_len, count;
    uint32_t sweep[RF_FACT_KINDS];
    uint32_t ready[RF_FACT_KINDS];
    uint64_t stale_ns, touched_ns, answered, changes; /* atomic */

    pthread_t thread;
    uint32_t running, stopping;
    int listen_fd, wake_fd;
    struct client clients[FACTS_CLIENTS_MAX]; /* the thread's own, oldest first */
    uint32_t clients_len;
};

/* Ends the thread, where there is one. */
void rf_facts_stop(rf_facts *facts);

#endif
