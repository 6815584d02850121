/* play.h - what the files of the player share: play.c (thread and calls), play_script.c, play_conn.c, play_door.c,
 * play_load.c.
 *
 * All of it is touched under the player's lock only.
 */
#ifndef RF_PLAY_H
#define RF_PLAY_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* accept4, memmem, pthread_setaffinity_np */
#endif
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

enum {
    FILLERS = 4, /* connections that fill a queue of length 0 */
    FOR_WAKE = 1, FOR_LISTENER = 2, FOR_CONNECTION = 3 /* kinds of an epoll event */
};

struct script {
    uint32_t holders, acts_len, repeat_from;
    rf_play_act *acts;
    uint8_t *blob;
};
struct delays {
    uint32_t holders, len;
    uint32_t us[];
};
struct kept {
    uint32_t len;
    uint8_t bytes[RF_PLAY_REQUEST_MAX];
};
struct listener {
    int fd, door;
    rf_address at;
    uint32_t backlog;
    uint32_t next_act; /* of the script, for the next connection */
    struct script *script;
    rf_play_tally tally;
    struct kept *kept; /* RF_PLAY_KEPT of them, from the first request on */
    int fillers[FILLERS];
    uint64_t times_ns[RF_PLAY_TIMES];
    struct delays *delays;
    uint32_t service_us, drop_pct;
    uint64_t busy_until_us; /* when the last request accepted for service is answered */
};
enum { READING, WAITING, SENDING, DRAINING };
struct connection {
    int fd; /* -1: free */
    uint32_t generation, listener, next_free;
    struct script *script;
    const rf_play_act *act;
    uint8_t state, in_epoll, wants_out, ended;
    uint32_t in_len, sent;
    uint64_t accepted_ns, asked_ns;
};
struct rf_play {
    int epoll, wake;
    pthread_t thread;
    pthread_mutex_t lock;
    bool stop, starved;
    uint64_t now_ns, now_ms, starved_until_ms;
    uint64_t cpu_ns, wall_ns; /* when rf_play_busy was last asked */
    uint32_t listeners_len, listeners_max, connections_max, free_head;
    struct listener *listeners;
    struct connection *connections;
    uint8_t (*inputs)[RF_PLAY_REQUEST_MAX];
    rf_wheel *wheel;
    uint64_t random;
    rf_play_note *notes; /* a ring of RF_PLAY_NOTES, from the first rf_play_notes on */
    uint64_t notes_in, notes_out, notes_lost;
};
union any_address {
    struct sockaddr plain;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static inline uint64_t rf_played_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static inline uint64_t rf_played_event(uint64_t kind, uint32_t generation, uint32_t index)
{
    return kind << 56 | (uint64_t)(generation & 0xffffff) << 32 | index;
}

/* play_load.c */
/* How long the answer to a request that is whole now waits. */
uint32_t rf_played_delay_ms(rf_play *play, struct listener *listener);
void rf_played_delays_drop(struct delays *delays);
void rf_played_note(rf_play *play, uint32_t listener, uint32_t what, uint64_t at_ns, uint64_t took_ns);

/* play_script.c */
void rf_played_script_drop(struct script *script);
/* One holder: the caller. NULL: out of memory. */
struct script *rf_played_script_new(const rf_play_act *acts, uint32_t acts_len, uint32_t repeat_from,
                                    const uint8_t *blob, uint32_t blob_len);
const rf_play_act *rf_played_script_take(struct listener *listener);
uint32_t rf_played_script_bad_act(const rf_play_act *acts, uint32_t acts_len, uint32_t repeat_from, uint32_t blob_len);

/* play_conn.c */
void rf_played_begin(rf_play *play, struct listener *listener, int fd);
void rf_played_event_of(rf_play *play, uint64_t data, uint32_t events);
void rf_played_due(rf_play *play, struct connection *conn);
void rf_played_close(rf_play *play, struct connection *conn, bool reset);

/* play_door.c */
socklen_t rf_played_address(const rf_address *at, union any_address *out);
int32_t rf_played_add_listener(rf_play *play, const rf_address *at, uint32_t backlog, uint32_t *listener_out,
                               uint16_t *port_out);
void rf_played_listener_event(rf_play *play, struct listener *listener);
void rf_played_watch_listeners(rf_play *play, bool watch);
void rf_played_shut_door(rf_play *play, struct listener *listener);
int32_t rf_played_open_door(rf_play *play, struct listener *listener, int door);
#endif
