/* answer_words.h - what the answerer says to whom, without sockets, threads or a clock of its own.
 *
 * Only the agent can undo its own words, and it must undo nobody else's. `ready` clears every drain and every maintenance of
 * a server, also one that an operator has set on HAProxy itself; so it is said only to a peer to which this agent has said
 * `drain` or `maint`, and as often as that peer has servers here. `drain` is noted before it is sent and `ready` after it
 * was: where a connection breaks in between, a peer may hear `ready` twice, but never keeps a drain that nobody takes back.
 */
#ifndef RISEFALL_ANSWER_WORDS_H
#define RISEFALL_ANSWER_WORDS_H

#include <stdbool.h>

#include "answer.h"

enum { RF_ANSWER_NAMES_MAX = 256, RF_ANSWER_TOLD_MAX = 1024, RF_ANSWER_BUCKETS = 4096 };

struct rf_peer {
    uint8_t ip[16];
    char tag[RF_ANSWER_TAG_MAX + 1];
    uint32_t next; /* in its bucket */
    uint32_t owing; /* services that owe it a `ready` */
    uint64_t seen_ns;
    struct {
        uint64_t at_ns;
        uint32_t word, owed;
        uint8_t known, unreported;
    } told[RF_ANSWER_SERVICES_MAX];
};

struct rf_answer_name {
    uint32_t service, len;
    char text[RF_ANSWER_TEXT_MAX + 1];
};

struct rf_words {
    rf_answer answers[RF_ANSWER_SERVICES_MAX];
    struct rf_answer_name names[RF_ANSWER_NAMES_MAX];
    uint32_t names_len;
    struct rf_peer *peers; /* RF_ANSWER_PEERS_MAX of them */
    uint32_t peers_len, buckets[RF_ANSWER_BUCKETS];
    rf_told told[RF_ANSWER_TOLD_MAX];
    uint32_t told_len;
    uint64_t told_lost;
};

/* Whom a text asks for: its first word names a service of a port, the second tells servers of one peer apart. */
struct rf_asked {
    uint32_t service; /* RF_ANSWER_NOBODY: none */
    bool unknown;     /* it named none of them */
    char word[RF_ANSWER_TAG_MAX + 1]; /* the first, where it is unknown */
    char tag[RF_ANSWER_TAG_MAX + 1];
};

/* A line for one peer, picked but not yet sent. */
struct rf_spoken {
    uint32_t len; /* with its line feed; 0: nothing is to be said */
    bool stale, ready;
    char line[RF_ANSWER_LINE_MAX + 2];
};

bool rf_words_open(struct rf_words *words);
void rf_words_close(struct rf_words *words);
/* services: one bit for each that the port has; fallback: for who names none of them. */
void rf_words_read(const struct rf_words *words, const char *text, uint32_t len, uint64_t services, uint32_t fallback,
                   struct rf_asked *out);
/* The peer with that address and tag, entered if it is new; of too many the one goes that has not come for longest. */
struct rf_peer *rf_words_peer(struct rf_words *words, const uint8_t ip[16], const char *tag);
/* The line for a peer. What it must hear taken back later is noted at once. */
void rf_words_pick(struct rf_words *words, struct rf_peer *peer, uint32_t service, uint64_t now_ns, struct rf_spoken *out);
/* It was sent whole. True: somebody should look at what was told. */
bool rf_words_sent(struct rf_words *words, struct rf_peer *peer, uint32_t service, const struct rf_spoken *spoken,
                   uint64_t now_ns);

#endif
