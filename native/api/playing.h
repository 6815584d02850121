/* api/playing.h - played backends, for benches, demo and tests (play.c). Part of risefall.h. */
#ifndef RF_API_PLAYING_H
#define RF_API_PLAYING_H

#include "checks.h"

/* cffi: begin */
enum { RF_PLAY_KEPT = 8, RF_PLAY_TIMES = 64, RF_PLAY_REQUEST_MAX = 4096, RF_PLAY_ACTS_MAX = 4096, RF_PLAY_DELAYS_MAX = 4096,
       RF_PLAY_NOTES = 1 << 17 };

/* When an act answers; one that goes on with a connection may answer at once too (AT_ACCEPT). */
enum {
    RF_PLAY_AT_REQUEST = 0, /* per whole HTTP request: up to CRLFCRLF, then content-length bytes */
    RF_PLAY_AT_ACCEPT = 1,  /* at once, as agents and banners do */
    RF_PLAY_AT_BYTES = 2,   /* once `bytes` bytes came */
    RF_PLAY_NEVER = 3
};
/* What follows the answer. */
enum {
    RF_PLAY_STAY = 0,
    RF_PLAY_FIN = 1,
    RF_PLAY_RST = 2,
    RF_PLAY_NEXT = 3 /* the act behind this one goes on with the connection: a dialogue */
};
/* What a listener does with those who knock. */
enum {
    RF_PLAY_OPEN = 0,
    RF_PLAY_REFUSE = 1, /* the port stays ours, nobody listens */
    RF_PLAY_DEAF = 2    /* the accept queue is full: the kernel drops every SYN */
};

/* How one connection is played. An empty reply with FIN or RST ends it without a word. */
typedef struct {
    uint16_t when, then; /* RF_PLAY_AT_..., RF_PLAY_STAY ... */
    uint32_t bytes;      /* of RF_PLAY_AT_BYTES */
    uint32_t delay_ms;   /* before the first byte */
    uint32_t gap_ms;     /* between bytes; 0: all in one write */
    uint32_t endless;    /* not 0: the reply is repeated until the peer goes */
    rf_span reply;       /* in the blob of rf_play_script */
} rf_play_act;

typedef struct {
    uint64_t accepts, requests, answers, bytes_in, bytes_out;
    uint64_t resets;   /* connections that the peer reset */
    uint64_t ends;     /* connections that the peer ended with FIN */
    uint64_t overlong; /* connections cut because a request did not fit RF_PLAY_REQUEST_MAX */
    uint64_t open;     /* connections open now */
} rf_play_tally;

/* What a player has seen, told by rf_play_notes. */
enum {
    RF_PLAY_TURNED = 0,   /* a script or a door was changed: from here on it behaves otherwise */
    RF_PLAY_ACCEPTED = 1,
    RF_PLAY_ANSWERED = 2, /* took: since the request was whole */
    RF_PLAY_ENDED = 3     /* the connection is closed, by whomever; took: since it was accepted */
};
typedef struct {
    uint64_t at_ns, took_ns; /* monotonic */
    uint32_t listener, what;
} rf_play_note;

typedef struct rf_play rf_play; /* owned from rf_play_open to rf_play_close */

/* Starts a thread that plays up to <listeners_max> listeners and <connections_max> connections; more of these wait in
 * the kernel's queue. cpu: -1, or the one to run on. NULL: rf_last_error() says why. Calls below may come from any thread. */
rf_play *rf_play_open(uint32_t listeners_max, uint32_t connections_max, int32_t cpu);
void rf_play_close(rf_play *play);
/* Listens at an address (port 0: the kernel picks; the one in use is told). RF_FULL, RF_BAD, RF_ERRNO. */
int32_t rf_play_listen(rf_play *play, const rf_address *at, uint32_t backlog, uint32_t *listener_out, uint16_t *port_out);
/* Connection k of a listener (from this call on, counted from 0) plays act k, where a dialogue counts as one; after the
 * last one it goes round from act <repeat_from> on. listener UINT32_MAX: all of them. Connections under way keep their
 * act. */
int32_t rf_play_script(rf_play *play, uint32_t listener, const rf_play_act *acts, uint32_t acts_len,
                       uint32_t repeat_from, const uint8_t *blob, uint32_t blob_len);
int32_t rf_play_door(rf_play *play, uint32_t listener, int32_t door);
/* Each answer waits one of these besides its act's delay_ms, drawn anew with equal chance (a table of quantiles is a
 * distribution), rounded to a millisecond up or down by chance so that the mean holds. 0 of them: none. */
int32_t rf_play_latency(rf_play *play, uint32_t listener, const uint32_t *delays_us, uint32_t delays_len, uint64_t seed);
/* Answers come one after another, each <service_us> after the one before (0: no such limit), and <drop_pct> percent
 * longer for every request that waits already: a capacity that falls under load. */
int32_t rf_play_capacity(rf_play *play, uint32_t listener, uint32_t service_us, uint32_t drop_pct);
/* Moves notes of all listeners out, oldest first; how many. They are kept from the first call on, RF_PLAY_NOTES at
 * most; <lost_out>: how many were dropped since the start because nobody fetched them. */
int32_t rf_play_notes(rf_play *play, rf_play_note *out, uint32_t out_max, uint64_t *lost_out);
/* Counts of one listener, or of all together (UINT32_MAX). */
int32_t rf_play_counts(rf_play *play, uint32_t listener, rf_play_tally *out);
/* Bytes of a whole request, 0 for the last one, at most RF_PLAY_KEPT - 1 back; its length, or -1: never came. */
int32_t rf_play_request(rf_play *play, uint32_t listener, uint32_t back, uint8_t *out, uint32_t out_max);
/* When the last connections of a listener were accepted, oldest first, at most RF_PLAY_TIMES; how many there are. */
int32_t rf_play_times(rf_play *play, uint32_t listener, uint64_t *out_ns, uint32_t out_max);
/* CPU time of the thread and wall time, both since this was last asked. */
void rf_play_busy(rf_play *play, uint64_t *cpu_ns, uint64_t *wall_ns);
/* cffi: end */

#endif
