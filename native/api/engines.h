/* api/engines.h - a thread with the timers, counters, records and connections of its checks. Part of risefall.h. */
#ifndef RF_API_ENGINES_H
#define RF_API_ENGINES_H

#include "probes.h"

/* cffi: begin */
typedef struct rf_engine rf_engine; /* opaque; owned from rf_open to rf_close */

typedef struct {
    uint32_t slots;       /* checks under way at once, at most */
    uint32_t checks_max;  /* checks that it will ever hold at once */
    uint32_t ring_len;    /* events that wait for rf_drain; a power of two */
    uint32_t queue_len;   /* commands that wait; a power of two */
    uint32_t bufsize;     /* input buffer of a slot, bytes */
    uint32_t groups;      /* how many total weights */
    uint32_t gather_us;   /* most that a wake-up waits for company, 0: never */
    uint32_t handshakes;  /* TLS handshakes under way at once, at most; 0: 64 */
    uint32_t processes;   /* processes at once, at most; 0: 64 */
    uint32_t sessions_bytes; /* for TLS sessions kept to be resumed, at most; 0: 64 MiB */
    uint64_t seed;        /* of spread-checks */
} rf_options;

/* NULL: rf_last_error() and rf_last_errno() say why. */
rf_engine *rf_open(const rf_options *options);
void rf_close(rf_engine *engine); /* stops the thread first, closes every socket */

/* Adds a check. Before rf_start at once, after it through the queue. site: see rf_probe_new. */
int32_t rf_add(rf_engine *engine, rf_program *program, const rf_check *check, const char *site, uint32_t site_len,
               uint64_t *handle_out);
int32_t rf_remove(rf_engine *engine, uint64_t check);

/* Which fields of a command count. */
enum {
    RF_SET_HEALTH = 1,
    RF_SET_PAUSED = 2,
    RF_SET_ENABLED = 4,
    RF_SET_STOPPED = 8,
    RF_SET_STATE_TEXT = 16,
    RF_SET_WEIGHT = 32,
    RF_SET_TARGET = 64,  /* to: a new address; the run under way is given up and a new one starts at once */
    RF_SET_NOW = 128,    /* check at once */
    RF_SET_TOUCHED = 256,  /* the next result is told even when it is the same as the last */
    RF_SET_KEEP_PACE = 512 /* with RF_SET_TARGET: the run under way goes on, and none starts before its time */
};
typedef struct {
    uint64_t check;
    uint32_t set;   /* RF_SET_, or-ed */
    uint32_t epoch; /* not 0: events of runs that completed before this command carry an older one */
    int32_t health, weight;
    uint8_t paused, enabled, stopped, state_text_len;
    char state_text[RF_STATE_TEXT_MAX + 1];
    rf_address to;
} rf_order;
/* RF_FULL: the queue is full, nothing was done. */
int32_t rf_command(rf_engine *engine, const rf_order *order);
/* Observed traffic (spec 1.6): the counter is at most <ceiling>, then one failed check counts, of status HANA and with this text;
 * no text: nothing counts. Either way the next check comes after fastinter at the latest; <again>: the one behind it too, whatever
 * the counter. RF_FULL: say it again. */
int32_t rf_observed(rf_engine *engine, uint64_t check, int32_t ceiling, uint32_t again, const char *text, uint32_t text_len);
/* The end of an outside check's run; one that was given up meanwhile is ignored. RF_FULL: the queue is full, say it again. */
int32_t rf_report(rf_engine *engine, uint64_t check, uint32_t run, const rf_result *result);
int32_t rf_group_weight(rf_engine *engine, uint32_t group, int32_t total_weight);
/* Other texts of a check's site (see rf_probe_new), and another process where it has one (NULL: the same), from now on: its server
 * has got another address. A process that was started already goes on. */
int32_t rf_set_site(rf_engine *engine, uint64_t check, const char *site, uint32_t site_len, rf_process *process);
/* Another program for a check, from its next run on; one that tells no facts and needs no TLS. Both are held. */
int32_t rf_set_program(rf_engine *engine, uint64_t check, rf_program *program);

enum {
    RF_EV_STATUS = 1,  /* the status number differs from the last one */
    RF_EV_COUNTER = 2, /* the counter moved */
    RF_EV_WORDS = 4,   /* agent: admin, weight or maxconn words */
    RF_EV_TOUCHED = 8, /* told because a command touched this check */
    RF_EV_RUN = 16     /* no result: an outside check is due; result is its last one */
};
typedef struct {
    uint64_t check, tag;
    uint32_t epoch;
    uint32_t flags; /* RF_EV_ */
    int32_t health; /* counter after this result */
    uint16_t last_status;
    uint16_t late_us_capped; /* how late it started, at most 65535 */
    uint32_t run;            /* of RF_EV_RUN: to be named in the report */
    uint64_t due_ns, done_ns;
    rf_result result;
} rf_event;
/* Moves at most <out_max> events into <out>, oldest first; returns how many. Never sleeps, never allocates. */
int32_t rf_drain(rf_engine *engine, rf_event *out, uint32_t out_max);
/* Handles of checks of which an event was dropped since last asked; read their records. */
int32_t rf_drain_dirty(rf_engine *engine, uint64_t *out, uint32_t out_max);
int32_t rf_event_fd(rf_engine *engine); /* readable while there is something to drain */
void rf_event_clear(rf_engine *engine); /* before draining */
/* Now and then, by the commanding thread: gives back the memory that a burst of commands has filled. */
void rf_rest(rf_engine *engine);

/* A check's last result, as it stands now. */
typedef struct {
    uint64_t check, tag;
    uint32_t epoch;
    int32_t health;
    uint32_t fails;      /* failed results while the counter was above 0 */
    uint8_t in_progress, enabled, paused, reserved;
    uint64_t done_ns, runs;
    rf_result result;
} rf_record;
/* Records of <len> handles, each consistent in itself; a stale handle gives check 0. Returns how many were found. */
int32_t rf_snapshot(rf_engine *engine, const uint64_t *checks, uint32_t len, rf_record *out);

/* Log-linear histogram of microseconds: 8 buckets an octave. rf_bucket_us gives a bucket's upper edge. */
typedef struct {
    uint64_t count, sum_us, max_us;
    uint64_t buckets[RF_HISTOGRAM_BUCKETS];
} rf_histogram;
uint64_t rf_bucket_us(uint32_t bucket);

typedef struct {
    uint64_t started, finished, passed, failed, neutral, self_blamed, timed_out, evicted;
    uint64_t events, events_dropped, commands, wakeups, polls;
    uint64_t self_errno[8]; /* which errnos self_blamed had: a bit each, by number */
    uint32_t checks, slots, in_flight, suspects_in_flight, waiting, sockets_kept;
    uint32_t handshakes, processes, sessions_bytes; /* as of now */
    uint64_t resumed;                               /* TLS handshakes that resumed a session */
    rf_histogram late;         /* due to started, checks whose last run did not time out */
    rf_histogram late_suspect; /* the same, of the others */
    rf_histogram duration;
} rf_statistics;
void rf_statistics_read(rf_engine *engine, rf_statistics *out);

/* Test seam: the next <times> calls of <call> by this engine fail with <error>. Calls: RF_CALL_. */
enum { RF_CALL_SOCKET = 0, RF_CALL_CONNECT = 1, RF_CALL_SEND = 2, RF_CALL_RECV = 3, RF_CALLS = 4 };
void rf_inject(rf_engine *engine, int32_t call, int32_t error, uint32_t times);

/* The thread: started once, stopped once. It blocks every signal. cpu: -1, or the one to run on. */
int32_t rf_start(rf_engine *engine, int32_t cpu);
int32_t rf_stop(rf_engine *engine);
int32_t rf_running(const rf_engine *engine);
/* Wakes the thread for one turn and changes nothing else: whoever sees `polls` rise after it knows that the thread moves,
 * also where no check is due for hours. */
void rf_nudge(rf_engine *engine);
/* One turn without a thread (tests, simulators): takes commands, events of the sockets and due timers, sleeps never.
 * Returns when it wants to be called again at the latest, UINT64_MAX: only when a socket or a command calls. */
uint64_t rf_step(rf_engine *engine, uint64_t now_ns);
/* cffi: end */

#endif
