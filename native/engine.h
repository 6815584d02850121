/* engine.h - the engine's own structures, shared by engine.c, slots.c, net.c, ring.c and thread.c.
 *
 * Threads: one Python thread commands and drains, one engine thread steps. They meet in three places only: the
 * command queue (written by the one, read by the other), the event ring (the reverse) and the records (a seqlock
 * each, one writer). Everything else belongs to whoever steps. Before rf_start the caller is both.
 */
#ifndef RF_ENGINE_H
#define RF_ENGINE_H

#include <pthread.h>
#include <sys/socket.h>

#include "internal.h"

enum { CHUNK_BITS = 10, CHUNK = 1 << CHUNK_BITS, CHUNKS_MAX = 4096 };
enum { POOL_INET = 0, POOL_INET6 = 1, POOLS = 2, POOL_NONE = 255 };

/* Where a check stands. */
enum { CHECK_FREE, CHECK_WAITING, CHECK_QUEUED, CHECK_RUNNING, CHECK_OUTSIDE };
/* How much its last run lets us hope: a SOUND one ended without a time-out. */
enum { CLASS_NEW, CLASS_SOUND, CLASS_SUSPECT };

struct source {
    rf_address from;
    uint16_t port_max;
    char interface[16];
    int netns; /* 0: our own */
};

/* Of the few checks whose connections go through something, or that are processes. */
struct extras {
    rf_transport *transport;
    rf_process *process;
    struct tls_session *session;
};

/* What a check costs besides a slot: handshakes and processes have bounds of their own. */
enum { LANE_PLAIN, LANE_TLS, LANE_PROCESS, LANES };

struct check {
    rf_program *program;
    struct extras *extras;
    struct aim aim;
    struct facts *facts; /* only of checks whose request tells facts */
    const struct source *source;
    uint64_t due_ns, tag;
    int32_t fastinter_ms, downinter_ms, rise, fall, health, spread_pct;
    uint32_t generation, slot, next_queued, group, epoch;
    uint32_t run; /* of an outside check: which one is under way */
    uint8_t state, klass, enabled, paused, stopped, touched, removed, lane, outside;
    uint8_t again; /* traffic asked for this run: the one behind it comes soon too */
    uint8_t addr_len;
    union {
        uint8_t inet[4];
        uint8_t inet6[16];
        char *path;
    } addr;
    uint32_t scope;
    /* The record. Written under its own seqlock by the engine's thread alone. */
    uint32_t seq, fails;
    uint64_t runs, done_ns;
    rf_result result;
};

struct slot {
    rf_probe probe;
    uint64_t started_ns, armed_ns;
    uint32_t check, next_free;
    uint32_t older, newer;    /* list of runs under way that may be given up, oldest first */
    int fd;
    uint16_t connection;      /* of the probe, that fd stands for; 0: none */
    uint8_t pool, ready, listed, connecting;
    uint8_t stamps;           /* the socket tells when data came */
    uint8_t prompt;           /* the socket sends at once, whatever is not acknowledged yet */
    uint8_t shaking;          /* counts among the handshakes under way */
    uint32_t shaken_before, shaken_after; /* list of these, oldest first */
    uint32_t session_bytes;   /* length of its check's TLS session when the run began */
    int32_t pid;              /* of a process whose pidfd is fd; 0: none */
};

struct queue { /* of checks, linked by next_queued */
    uint32_t head, tail, len;
};

enum { COMMAND_ADD = 1, COMMAND_ORDER = 2, COMMAND_REMOVE = 3, COMMAND_GROUP = 4, COMMAND_REPORT = 5, COMMAND_PROGRAM = 6, COMMAND_OBSERVED = 7, COMMAND_SITE = 8 };
struct command {
    uint32_t kind, group;
    int32_t total_weight;
    uint32_t index;
    rf_order order;
    char *path; /* of a RF_SET_TARGET on a UNIX socket; owned */
    rf_result *result; /* of a report, whose run is group, or of traffic, which lowers the counter to total_weight, and asks for a second check with group; owned */
    rf_program *program; /* of COMMAND_PROGRAM; held */
    struct facts *facts; /* of COMMAND_SITE; owned */
    rf_process *process; /* of COMMAND_SITE, or NULL; held */
};

/* A process that was told to end: once more, harder, at kill_at. */
struct dying {
    int32_t pid, pidfd;
    uint64_t kill_at_ns;
    bool killed;
};

struct fault {
    int32_t error;
    uint32_t times;
};

struct rf_engine {
    rf_options options;
    struct check *chunks[CHUNKS_MAX];
    uint32_t checks_len;      /* indexes ever used; the command side's */
    uint32_t checks_live;
    uint32_t *free_checks;    /* indexes given back, for the command side */
    uint32_t free_len;
    uint32_t *freed;          /* the same on their way up, a ring written by the stepping side */
    uint32_t freed_head, freed_tail;
    struct source **sources;
    uint32_t sources_len;
    int own_netns; /* descriptor, once a source has another one; -1 */
    int32_t *group_weights;

    rf_wheel *wheel;
    struct slot *slots;
    uint8_t *buffers;         /* one stretch of untouched memory; a slot's part is touched when it is first used */
    size_t buffers_len, buffer_len;
    uint32_t slots_used, free_plain, free_pool[POOLS];
    uint32_t oldest, newest;  /* of the runs that may be given up */
    uint32_t in_flight, suspects, sockets_kept;
    struct queue waiting_sound[LANES], waiting_suspect[LANES];
    uint32_t shaking_oldest, shaking_newest, handshakes;
    struct dying *dying;
    uint32_t dying_len, processes; /* processes: those of slots and the dying */
    uint32_t sessions_bytes;
    uint8_t *scratch;         /* of the one probe that moves at a time */
    uint32_t *due;            /* room for the timers of one turn */

    int epoll_fd, wake_fd, event_fd;
    int stamp_fd;             /* keeps the kernel's time stamps switched on; -1: none */
    uint64_t now_ns, realtime_offset_ns;
    uint64_t random, count;
    struct fault faults[RF_CALLS];

    struct command *commands;
    uint32_t ring_rested, command_rested; /* tails when their pages were given back last; each its writer's */
    uint32_t command_head, command_tail; /* atomic; head is the stepping side's */
    rf_event *ring;
    uint32_t ring_head, ring_tail;       /* atomic; tail is the stepping side's */
    uint32_t ring_signalled;
    uint64_t *dirty;                     /* a bit a check: an event of it was dropped */
    uint32_t dirty_any;

    rf_statistics stats;
    pthread_t thread;
    uint32_t running, stopping;          /* atomic */
    uint32_t gather_ns, rate;            /* checks of the present second, smoothed */
    uint64_t rate_at_ns, rate_finished;
};

static inline struct check *check_at(const rf_engine *engine, uint32_t index)
{
    return &engine->chunks[index >> CHUNK_BITS][index & (CHUNK - 1)];
}

/* Writes a record; in between no reader takes it. */
static inline void record_begin(struct check *check)
{
    __atomic_store_n(&check->seq, check->seq + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static inline void record_end(struct check *check)
{
    __atomic_store_n(&check->seq, check->seq + 1, __ATOMIC_RELEASE);
}

/* commands.c */
void engine_take(rf_engine *engine, struct command *command);
void check_free(rf_engine *engine, struct check *check);
void check_remove(rf_engine *engine, uint32_t index);

/* engine.c */
void check_set_timer(rf_engine *engine, uint32_t index);
int32_t check_count(const struct check *check, const rf_result *result, bool agent); /* where a result takes the counter */
void check_tell(rf_engine *engine, uint32_t index, const rf_result *before, int32_t health_before, bool agent);
void check_over(rf_engine *engine, uint32_t index, const rf_result *result, bool timed_out);
bool check_may_start(rf_engine *engine, uint32_t index);
void check_give_up(rf_engine *engine, uint32_t index); /* ends a run without a verdict, wherever it is made */

/* outside.c: checks whose runs are made by somebody else, one event and one report each */
void outside_begin(rf_engine *engine, uint32_t index);
void outside_give_up(rf_engine *engine, uint32_t index);
void outside_lost(rf_engine *engine, uint32_t index); /* nobody has reported for too long */
void outside_over(rf_engine *engine, struct command *command);

/* slots.c */
bool slots_open(rf_engine *engine);
void slots_close(rf_engine *engine);
uint32_t slots_run_waiting(rf_engine *engine); /* returns how many were started */
uint64_t slots_next_ns(const rf_engine *engine);       /* when the queue wants to be looked at again */
void slots_queue(rf_engine *engine, uint32_t index);
void slots_give_up(rf_engine *engine, uint32_t index); /* ends a run without a verdict */
void slots_drive(rf_engine *engine, uint32_t slot);    /* moves bytes until the probe has to wait */
void slots_deadline(rf_engine *engine, uint32_t index);
uint32_t slots_waiting(const rf_engine *engine);

/* processes.c: external checks under way, and those that have to be ended */
int process_begin(rf_engine *engine, uint32_t slot);           /* 0, or an errno */
bool process_ended(rf_engine *engine, struct slot *slot, int32_t *code); /* code: of its exit; 0 to 255, or -1 */
void process_end(rf_engine *engine, struct slot *slot);        /* ends it, however long that takes */
uint64_t processes_turn(rf_engine *engine);                    /* until when it wants to be called again */
void processes_close(rf_engine *engine);

/* net.c: the only file with socket calls */
int net_connect(rf_engine *engine, struct slot *slot, const struct check *check, const rf_want *want, int *where);
int net_established(rf_engine *engine, struct slot *slot);
int net_send(rf_engine *engine, struct slot *slot, const uint8_t *out, uint32_t len, uint32_t *sent);
int net_receive(rf_engine *engine, struct slot *slot, uint8_t *in, uint32_t max, uint32_t *got, uint64_t *when_ns);
void net_open(rf_engine *engine);
void net_close(rf_engine *engine);
void net_tell_addresses(struct slot *slot); /* to its probe, both ends of the connection */
void net_end(rf_engine *engine, struct slot *slot, int32_t how);
void net_drop(rf_engine *engine, struct slot *slot);
enum { NET_DONE = 0, NET_AGAIN = -1 }; /* or an errno */
enum { READY_IN = 1, READY_OUT = 2, READY_END = 4 };

/* ring.c */
bool ring_open(rf_engine *engine);
void ring_close(rf_engine *engine);
void ring_tell(rf_engine *engine, uint32_t index, const rf_event *event);
bool ring_full(const rf_engine *engine);
void ring_signal(rf_engine *engine);
void ring_rest(rf_engine *engine); /* by the stepping side, now and then */
bool queue_pop(rf_engine *engine, struct command *out);
int32_t queue_push(rf_engine *engine, const struct command *command);

#endif
