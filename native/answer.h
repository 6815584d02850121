/* answer.h - the agent's answerer: a thread that says lines which Python keeps fresh.
 *
 * HAProxy's agent-check connects, may send a text, reads one line. Every connection is answered from memory: signals are
 * read, rules applied and words chosen elsewhere, long before. Who asks is a *peer*, known by its address (IPv6: by /64);
 * what each peer was told last is kept here and told upwards when it is another word than before, so that `ready` can be
 * said to those alone that were told `drain`.
 *
 * Calls come from one thread, but for rf_answerer_event_fd's readiness they may come at any time.
 */
#ifndef RISEFALL_ANSWER_H
#define RISEFALL_ANSWER_H

#include "risefall.h"

/* cffi: begin */
enum { RF_ANSWER_LINE_MAX = 511, RF_ANSWER_TEXT_MAX = 127, RF_ANSWER_SERVICES_MAX = 64, RF_ANSWER_PEERS_MAX = 1024 };
enum { RF_ANSWER_NOBODY = 0xffff };

typedef struct rf_answerer rf_answerer; /* owned from rf_answerer_open to rf_answerer_close */

typedef struct {
    uint32_t connections_max; /* at once; above it the oldest goes */
    uint32_t per_peer_max;    /* connections of one peer at once; more are reset */
    uint32_t text_ms;         /* how long a text is waited for, where one chooses the service */
    uint32_t linger_ms;       /* how long a peer has to close after its answer */
} rf_answerer_options;

/* One service's words from now on. word: rises when what peers must be told has changed in kind (drain, ready ...). */
typedef struct {
    uint32_t service, word;
    uint64_t good_until_ns; /* later the stale line is said; UINT64_MAX: for ever */
    uint32_t line_len, stale_len; /* without a line feed; 0 bytes: nothing is said, the connection is reset */
    char line[RF_ANSWER_LINE_MAX + 1];
    char stale[RF_ANSWER_LINE_MAX + 1];
} rf_answer;

/* A peer was told a word that it had not been told before. once: it was the line of rf_answerer_once. */
typedef struct {
    uint8_t ip[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint32_t service, word, once;
    uint64_t at_ns;
} rf_told;

typedef struct {
    uint64_t accepted, answered, stale, silent;
    uint64_t refused;  /* not in the allow-list */
    uint64_t crowded;  /* too many connections of one peer */
    uint64_t evicted;  /* given up for others */
    uint64_t late;     /* no text in time: the service of no name answered */
    uint64_t unknown;  /* a text that no service has */
    uint64_t told_lost; /* changes that nobody took in time; the next answer tells them again */
    uint64_t open;
} rf_answerer_counts;

rf_answerer *rf_answerer_open(const rf_answerer_options *options);
void rf_answerer_close(rf_answerer *answerer);
/* Takes over a listening socket. service: who answers without a text; RF_ANSWER_NOBODY: nobody does.
 * by_text: a text is waited for; else every connection is answered at once. */
int32_t rf_answerer_listen(rf_answerer *answerer, int32_t fd, uint32_t service, uint32_t by_text);
/* A text that means a service, on every listener that is asked by text. */
int32_t rf_answerer_name(rf_answerer *answerer, const char *text, uint32_t service);
/* Only these may ask; with none, everybody may. bits: of the address in IPv6 form, 96 more for IPv4. */
int32_t rf_answerer_allow(rf_answerer *answerer, const uint8_t ip[16], uint32_t bits);
int32_t rf_answerer_say(rf_answerer *answerer, const rf_answer *answer);
/* This peer is told this line of a service once, then what all are told. An empty line takes that back. RF_FULL: too many. */
int32_t rf_answerer_once(rf_answerer *answerer, const uint8_t ip[16], uint32_t service, const char *line, uint32_t line_len);
/* What it was told before, kept over a restart: news only when it is told another word. */
int32_t rf_answerer_told(rf_answerer *answerer, const uint8_t ip[16], uint32_t service, uint32_t word);
/* Changes since last asked, at most max; how many. */
int32_t rf_answerer_drain(rf_answerer *answerer, rf_told *out, uint32_t max);
/* All peers that are known, with each service that they have asked: how many. */
int32_t rf_answerer_peers(rf_answerer *answerer, rf_told *out, uint32_t max);
int32_t rf_answerer_event_fd(const rf_answerer *answerer);
void rf_answerer_counts_read(rf_answerer *answerer, rf_answerer_counts *out);
/* cffi: end */

#endif
