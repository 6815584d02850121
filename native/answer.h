/* answer.h - the agent's answerer: a thread that says lines which Python keeps fresh.
 *
 * HAProxy's agent-check connects, may send a text, reads one line. Every connection is answered from memory: signals are
 * read, rules applied and words chosen elsewhere, long before. Who asks is a *peer*, known by its address and by the second
 * word of its text, if there is one: several servers of one HAProxy poll from one address, and each has to hear its own
 * `ready`. What each was told is kept here and told upwards when it is something else than before (answer_words.h).
 *
 * Calls come from one thread, but for rf_answerer_event_fd's readiness they may come at any time.
 */
#ifndef RISEFALL_ANSWER_H
#define RISEFALL_ANSWER_H

#include "risefall.h"

/* cffi: begin */
enum { RF_ANSWER_LINE_MAX = 511, RF_ANSWER_TEXT_MAX = 127, RF_ANSWER_SERVICES_MAX = 64, RF_ANSWER_PEERS_MAX = 1024 };
enum { RF_ANSWER_NOBODY = 0xffff, RF_ANSWER_TAG_MAX = 47 };
/* Which line: RF_ANSWER_STALE is added where numbers are too old, RF_ANSWER_NEWS for a peer that has something to hear once:
 * `ready`, where it is owed; or, where lines take a server out, these very words. */
enum { RF_ANSWER_FRESH = 0, RF_ANSWER_NEWS = 1, RF_ANSWER_STALE = 2, RF_ANSWER_LINES = 4 };

typedef struct rf_answerer rf_answerer; /* owned from rf_answerer_open to rf_answerer_close */

typedef struct {
    uint32_t connections_max; /* at once; above it the oldest goes */
    uint32_t per_source_max;  /* connections of one address (IPv6: of one /64) at once; more are reset */
    uint32_t text_ms;         /* how long a text is waited for, where one chooses the service */
    uint32_t linger_ms;       /* how long a peer has to close after its answer */
} rf_answerer_options;

/* One service's words from now on. word: a number that is another one when peers must be told something new. takes: the
 * lines take a server out, and so many `ready` are owed to each peer that has heard one; 0: they do not. */
typedef struct {
    uint32_t service, word, takes;
    uint64_t good_until_ns; /* later the stale lines are said; UINT64_MAX: for ever */
    uint32_t len[RF_ANSWER_LINES]; /* without a line feed; 0 bytes: nothing is said, the connection is reset */
    char line[RF_ANSWER_LINES][RF_ANSWER_LINE_MAX + 1];
} rf_answer;

/* What a peer was told last. owed: how often it has to hear `ready` yet. */
typedef struct {
    uint8_t ip[16]; /* IPv4 as ::ffff:a.b.c.d */
    char tag[RF_ANSWER_TAG_MAX + 1];
    uint32_t service, word, owed;
    uint64_t at_ns;
} rf_told;

typedef struct {
    uint64_t accepted, answered, stale, silent;
    uint64_t refused;  /* not in the allow-list */
    uint64_t crowded;  /* too many connections of one source */
    uint64_t evicted;  /* given up for others */
    uint64_t late;     /* no line feed in time: answered by what had come, or without a text */
    uint64_t unknown;  /* a text that no service has */
    uint64_t told_lost; /* changes that nobody took in time; the next answer tells them again */
    uint64_t open;
} rf_answerer_counts;

rf_answerer *rf_answerer_open(const rf_answerer_options *options);
void rf_answerer_close(rf_answerer *answerer);
/* Takes over a listening socket. services: one bit for each that a text may choose here. service: who answers without a
 * text, or to one that means none of those; RF_ANSWER_NOBODY: nobody does. by_text: a text is waited for; else every
 * connection is answered at once. */
int32_t rf_answerer_listen(rf_answerer *answerer, int32_t fd, uint64_t services, uint32_t service, uint32_t by_text);
/* A text that means a service. */
int32_t rf_answerer_name(rf_answerer *answerer, const char *text, uint32_t service);
/* Only these may ask; with none, everybody may. bits: of the address in IPv6 form, 96 more for IPv4. */
int32_t rf_answerer_allow(rf_answerer *answerer, const uint8_t ip[16], uint32_t bits);
int32_t rf_answerer_say(rf_answerer *answerer, const rf_answer *answer);
/* What a peer was told in an earlier run, and is owed from there. */
int32_t rf_answerer_remember(rf_answerer *answerer, const rf_told *told);
/* What a peer would be told at a moment, as if it had asked; noted as told. sent: 0 when the connection broke under it.
 * out: RF_ANSWER_LINE_MAX + 1 bytes; how many are said, with the line feed. */
int32_t rf_answerer_ask(rf_answerer *answerer, const uint8_t ip[16], const char *tag, uint32_t service, uint64_t now_ns,
                        uint32_t sent, char *out);
/* Changes since last asked, at most max; how many. */
int32_t rf_answerer_drain(rf_answerer *answerer, rf_told *out, uint32_t max);
/* All peers that are known, with each service that they have asked or that owes them a `ready`: how many. */
int32_t rf_answerer_peers(rf_answerer *answerer, rf_told *out, uint32_t max);
/* Who last sent a text that means no service of its port: tag is its first word, service who answered; 0: nobody has yet. */
int32_t rf_answerer_unknown(rf_answerer *answerer, rf_told *out);
int32_t rf_answerer_event_fd(const rf_answerer *answerer);
void rf_answerer_counts_read(rf_answerer *answerer, rf_answerer_counts *out);
/* cffi: end */

#endif
