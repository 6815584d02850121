/* play.c - plays backends: listeners that answer as they were told, for benches, the demo and tests.
 *
 * One thread with one epoll plays them all. A connection costs accept, one read, one write, one epoll_ctl and a
 * close: HAProxy withholds the last ACK of a handshake, so its request has mostly come when accept() returns, and is
 * read before the connection is given to epoll; its RST is then told as an event and closed without a read.
 * Listeners are level-triggered (a batch may leave some behind), connections edge-triggered.
 *
 * Callers and the thread share one lock, which the thread holds while it works on a batch of events and never while
 * it sleeps. Connections live in a pool that is used last in, first out, so a few hot ones serve any rate.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* accept4, memmem, pthread_setaffinity_np */
#endif
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

enum {
    BATCH = 256,         /* events a turn */
    ACCEPTS = 64,        /* of one listener a turn */
    FILLERS = 4,         /* connections that fill a queue of length 0 */
    SENDS = 64,          /* writes of an endless reply a turn */
    DRAIN_MS = 5000,     /* longest wait for a peer to end what we ended */
    STARVED_MS = 10,     /* how long accepting rests when descriptors or connections ran out */
    DUE_MAX = 256,       /* timers a turn */
    FOR_WAKE = 1, FOR_LISTENER = 2, FOR_CONNECTION = 3 /* kinds of an epoll event */
};

struct script {
    uint32_t holders, acts_len, repeat_from;
    rf_play_act *acts;
    uint8_t *blob;
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
};
enum { READING, WAITING, SENDING, DRAINING };
struct connection {
    int fd; /* -1: free */
    uint32_t generation, listener, next_free;
    struct script *script;
    const rf_play_act *act;
    uint8_t state, in_epoll, wants_out, ended;
    uint32_t in_len, sent;
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
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static uint64_t event_data(uint64_t kind, uint32_t generation, uint32_t index)
{
    return kind << 56 | (uint64_t)(generation & 0xffffff) << 32 | index;
}

/* --- scripts ----------------------------------------------------------------------------------------- */

static void script_drop(struct script *script)
{
    if (script == NULL || --script->holders > 0)
        return;
    free(script->acts);
    free(script->blob);
    free(script);
}

static struct script *script_new(const rf_play_act *acts, uint32_t acts_len, uint32_t repeat_from, const uint8_t *blob,
                                 uint32_t blob_len)
{
    struct script *script = calloc(1, sizeof *script);
    if (script == NULL)
        return NULL;
    script->holders = 1;
    script->acts_len = acts_len;
    script->repeat_from = repeat_from;
    script->acts = malloc(acts_len * sizeof *acts);
    script->blob = malloc((size_t)blob_len + 1);
    if (script->acts == NULL || script->blob == NULL) {
        script_drop(script);
        return NULL;
    }
    memcpy(script->acts, acts, acts_len * sizeof *acts);
    if (blob_len > 0)
        memcpy(script->blob, blob, blob_len);
    return script;
}

/* The first act of the next connection; moves on behind the last act of its dialogue. */
static const rf_play_act *script_take(struct listener *listener)
{
    const struct script *script = listener->script;
    const rf_play_act *first = &script->acts[listener->next_act];
    while (script->acts[listener->next_act].then == RF_PLAY_NEXT) /* ends: the last act of a script is another one */
        listener->next_act++;
    if (++listener->next_act == script->acts_len)
        listener->next_act = script->repeat_from;
    return first;
}

/* The first act that cannot be played; <acts_len>: all can. The last one, and the one before a round, end a dialogue. */
static uint32_t script_bad_act(const rf_play_act *acts, uint32_t acts_len, uint32_t repeat_from, uint32_t blob_len)
{
    for (uint32_t i = 0; i < acts_len; i++) {
        uint32_t last_then = i + 1 == acts_len || i + 1 == repeat_from ? RF_PLAY_RST : RF_PLAY_NEXT;
        if (acts[i].when > RF_PLAY_NEVER || acts[i].then > last_then || acts[i].bytes > RF_PLAY_REQUEST_MAX ||
            acts[i].reply.at > blob_len || acts[i].reply.len > blob_len - acts[i].reply.at)
            return i;
    }
    return acts_len;
}

/* --- connections ------------------------------------------------------------------------------------- */

static uint32_t index_of(const rf_play *play, const struct connection *conn)
{
    return (uint32_t)(conn - play->connections);
}

static void conn_close(rf_play *play, struct connection *conn, bool reset)
{
    if (reset) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    close(conn->fd); /* epoll forgets it by itself: no other descriptor names this socket */
    rf_wheel_unset(play->wheel, index_of(play, conn));
    play->listeners[conn->listener].tally.open--;
    script_drop(conn->script);
    conn->script = NULL;
    conn->fd = -1;
    conn->generation++;
    conn->next_free = play->free_head;
    play->free_head = index_of(play, conn);
}

/* Makes sure that events of this connection come; false: it had to be closed. */
static bool conn_watch(rf_play *play, struct connection *conn, bool out)
{
    if (conn->in_epoll && conn->wants_out == out)
        return true;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET,
                                .data.u64 = event_data(FOR_CONNECTION, conn->generation, index_of(play, conn))};
    if (out)
        event.events |= EPOLLOUT;
    if (epoll_ctl(play->epoll, conn->in_epoll ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, conn->fd, &event) < 0) {
        conn_close(play, conn, true);
        return false;
    }
    conn->in_epoll = 1;
    conn->wants_out = out;
    return true;
}

static void conn_timer(rf_play *play, struct connection *conn, uint32_t in_ms)
{
    uint32_t timer = index_of(play, conn);
    rf_wheel_unset(play->wheel, timer);
    rf_wheel_set(play->wheel, timer, play->now_ms + in_ms);
}

/* The act behind takes over. False: the connection is gone. */
static bool conn_next_act(rf_play *play, struct connection *conn)
{
    conn->act++;
    conn->sent = 0;
    conn->state = READING;
    if (conn->act->when == RF_PLAY_AT_ACCEPT) {
        conn->state = WAITING; /* not from here: a chain of them would be a recursion */
        conn_timer(play, conn, conn->act->delay_ms);
    }
    return conn_watch(play, conn, false);
}

/* The reply is out. False: the connection is gone. */
static bool conn_answered(rf_play *play, struct connection *conn)
{
    struct listener *listener = &play->listeners[conn->listener];
    listener->tally.answers++;
    bool goes_on = conn->act->then == RF_PLAY_STAY || conn->act->then == RF_PLAY_NEXT;
    if (conn->act->then == RF_PLAY_RST || (goes_on && conn->ended)) {
        conn_close(play, conn, conn->act->then == RF_PLAY_RST);
        return false;
    }
    if (conn->act->then == RF_PLAY_NEXT)
        return conn_next_act(play, conn);
    if (conn->act->then == RF_PLAY_STAY) {
        conn->state = conn->act->when == RF_PLAY_AT_REQUEST ? READING : DRAINING;
        return conn_watch(play, conn, false);
    }
    /* With input unread, close() would send RST in place of FIN: so wait until the peer has ended too. */
    if (conn->ended || (conn->act->when == RF_PLAY_AT_REQUEST && conn->in_len == 0)) {
        conn_close(play, conn, false);
        return false;
    }
    shutdown(conn->fd, SHUT_WR);
    conn->state = DRAINING;
    conn_timer(play, conn, DRAIN_MS);
    return conn_watch(play, conn, false);
}

/* Writes what may be written now. False: the connection is gone. */
static bool conn_send(rf_play *play, struct connection *conn)
{
    struct listener *listener = &play->listeners[conn->listener];
    const rf_play_act *act = conn->act;
    conn->state = SENDING;
    for (uint32_t turn = 0; turn < SENDS; turn++) {
        if (conn->sent == act->reply.len) {
            if (!act->endless || act->reply.len == 0)
                return conn_answered(play, conn);
            conn->sent = 0;
        }
        size_t len = act->gap_ms > 0 ? 1 : act->reply.len - conn->sent;
        ssize_t n = send(conn->fd, conn->script->blob + act->reply.at + conn->sent, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return conn_watch(play, conn, true);
        if (n < 0) {
            listener->tally.resets++;
            conn_close(play, conn, false);
            return false;
        }
        conn->sent += (uint32_t)n;
        listener->tally.bytes_out += (uint64_t)n;
        if (act->gap_ms > 0 && (act->endless || conn->sent < act->reply.len)) {
            conn_timer(play, conn, act->gap_ms);
            return conn_watch(play, conn, false);
        }
    }
    conn_timer(play, conn, 1); /* endless, and the peer takes all: let the others have their turn */
    return conn_watch(play, conn, false);
}

static bool conn_answer(rf_play *play, struct connection *conn)
{
    conn->sent = 0;
    if (conn->act->delay_ms == 0)
        return conn_send(play, conn);
    conn->state = WAITING;
    conn_timer(play, conn, conn->act->delay_ms);
    return conn_watch(play, conn, false);
}

static void keep_request(struct listener *listener, const uint8_t *bytes, uint32_t len)
{
    if (listener->kept == NULL && (listener->kept = calloc(RF_PLAY_KEPT, sizeof *listener->kept)) == NULL)
        return;
    struct kept *kept = &listener->kept[listener->tally.requests % RF_PLAY_KEPT];
    memcpy(kept->bytes, bytes, len);
    kept->len = len;
}

/* content-length of a header block; 0 without one. */
static uint64_t content_length(const uint8_t *head, size_t len)
{
    static const char name[] = "\ncontent-length:";
    for (const uint8_t *at = head; (at = memchr(at, '\n', len - (size_t)(at - head))) != NULL; at++) {
        size_t left = len - (size_t)(at - head);
        if (left < sizeof name || strncasecmp((const char *)at, name, sizeof name - 1) != 0)
            continue;
        uint64_t value = 0;
        for (at += sizeof name - 1; *at == ' ' || *at == '\t'; at++)
            ;
        for (; *at >= '0' && *at <= '9' && value < UINT32_MAX; at++)
            value = value * 10 + (uint64_t)(*at - '0');
        return value;
    }
    return 0;
}

/* Looks for one whole request in what came. 1: there is one, and it was taken out of the input; 0: not yet. */
static int take_request(rf_play *play, struct connection *conn)
{
    struct listener *listener = &play->listeners[conn->listener];
    uint8_t *in = play->inputs[index_of(play, conn)];
    const uint8_t *end = memmem(in, conn->in_len, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    size_t head_len = (size_t)(end - in) + 4;
    uint64_t whole = head_len + content_length(in, head_len);
    if (whole > RF_PLAY_REQUEST_MAX || conn->in_len < whole)
        return 0;
    keep_request(listener, in, (uint32_t)whole);
    listener->tally.requests++;
    conn->in_len -= (uint32_t)whole;
    memmove(in, in + whole, conn->in_len);
    return 1;
}

/* Whether what came is what the act waits for; then it was taken out of the input. */
static bool take_input(rf_play *play, struct connection *conn)
{
    struct listener *listener = &play->listeners[conn->listener];
    if (conn->act->when == RF_PLAY_AT_REQUEST)
        return take_request(play, conn) > 0;
    if (conn->act->when != RF_PLAY_AT_BYTES || conn->in_len == 0 || conn->in_len < conn->act->bytes)
        return false;
    keep_request(listener, play->inputs[index_of(play, conn)], conn->in_len);
    listener->tally.requests++;
    conn->in_len = 0;
    return true;
}

/* New bytes were added to the input. False: the connection is gone. */
static bool conn_heard(rf_play *play, struct connection *conn)
{
    struct listener *listener = &play->listeners[conn->listener];
    if (conn->state == DRAINING || (conn->state == READING && conn->act->when == RF_PLAY_NEVER))
        conn->in_len = 0;
    if (conn->state != READING)
        return true;
    while (conn->state == READING && take_input(play, conn)) /* at most RF_PLAY_REQUEST_MAX times in one input */
        if (!conn_answer(play, conn))
            return false;
    if (conn->in_len == RF_PLAY_REQUEST_MAX) {
        listener->tally.overlong++;
        conn_close(play, conn, true);
        return false;
    }
    return true;
}

/* Reads until there is no more. False: the connection is gone. */
static bool conn_read(rf_play *play, struct connection *conn)
{
    struct listener *listener = &play->listeners[conn->listener];
    for (;;) { /* ends: the peer's bytes in flight are bounded by the socket's buffer, then EAGAIN or a close */
        uint8_t *in = play->inputs[index_of(play, conn)];
        if (conn->in_len == RF_PLAY_REQUEST_MAX)
            conn->in_len = 0; /* nobody waits for these: see conn_heard */
        size_t room = RF_PLAY_REQUEST_MAX - conn->in_len;
        ssize_t n = recv(conn->fd, in + conn->in_len, room, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0) {
            listener->tally.resets++;
            conn_close(play, conn, false);
            return false;
        }
        if (n == 0) {
            listener->tally.ends++;
            conn->ended = 1;
            if (conn->state == WAITING || conn->state == SENDING)
                return true;
            conn_close(play, conn, false);
            return false;
        }
        listener->tally.bytes_in += (uint64_t)n;
        conn->in_len += (uint32_t)n;
        if (!conn_heard(play, conn))
            return false;
        if ((size_t)n < room)
            return true; /* edge-triggered, yet safe: whatever comes from now on is a new edge */
    }
}

/* Sends what is due, then looks at requests that came meanwhile. */
static void conn_go_on(rf_play *play, struct connection *conn)
{
    if (conn_send(play, conn) && conn->state == READING && conn->in_len > 0)
        conn_heard(play, conn);
}

static void conn_event(rf_play *play, uint64_t data, uint32_t events)
{
    struct connection *conn = &play->connections[(uint32_t)data];
    if (conn->fd < 0 || data != event_data(FOR_CONNECTION, conn->generation, (uint32_t)data))
        return; /* closed earlier in this batch */
    if (events & (EPOLLERR | EPOLLHUP) && conn->state != READING) {
        play->listeners[conn->listener].tally.resets++;
        conn_close(play, conn, false);
        return;
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) {
        if (!conn_read(play, conn))
            return;
        /* EOF may stand behind the bytes just read, without an edge of its own */
        if (events & (EPOLLRDHUP | EPOLLHUP) && !conn->ended && !conn_read(play, conn))
            return;
    }
    if (events & EPOLLOUT && conn->state == SENDING && conn->wants_out)
        conn_go_on(play, conn);
}

static void conn_due(rf_play *play, struct connection *conn)
{
    if (conn->state == WAITING || conn->state == SENDING)
        conn_go_on(play, conn);
    else
        conn_close(play, conn, false);
}

/* --- listeners --------------------------------------------------------------------------------------- */

static void conn_begin(rf_play *play, struct listener *listener, int fd)
{
    uint32_t index = play->free_head;
    struct connection *conn = &play->connections[index];
    play->free_head = conn->next_free;
    *conn = (struct connection){.fd = fd, .generation = conn->generation,
                                .listener = (uint32_t)(listener - play->listeners), .script = listener->script};
    conn->script->holders++;
    conn->act = script_take(listener);
    listener->times_ns[listener->tally.accepts++ % RF_PLAY_TIMES] = play->now_ns;
    listener->tally.open++;
    if (conn->act->when == RF_PLAY_AT_ACCEPT ? !conn_answer(play, conn) : !conn_read(play, conn))
        return;
    conn_watch(play, conn, conn->wants_out);
}

static void watch_listeners(rf_play *play, bool watch)
{
    for (uint32_t i = 0; i < play->listeners_len; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = event_data(FOR_LISTENER, 0, i)};
        if (play->listeners[i].door == RF_PLAY_OPEN)
            epoll_ctl(play->epoll, watch ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, play->listeners[i].fd, &event);
    }
}

static void starve(rf_play *play)
{
    play->starved = true;
    play->starved_until_ms = play->now_ms + STARVED_MS;
    watch_listeners(play, false);
}

static void listener_event(rf_play *play, struct listener *listener)
{
    for (uint32_t i = 0; i < ACCEPTS && listener->door == RF_PLAY_OPEN && !play->starved; i++) {
        if (play->free_head == RF_NONE) {
            starve(play);
            return;
        }
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            conn_begin(play, listener, fd);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            starve(play);
        else if (errno != ECONNABORTED && errno != EINTR)
            return;
    }
}

union any_address {
    struct sockaddr plain;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static socklen_t make_address(const rf_address *at, union any_address *out)
{
    memset(out, 0, sizeof *out);
    if (at->family == RF_INET) {
        out->in.sin_family = AF_INET;
        out->in.sin_port = htons(at->port);
        memcpy(&out->in.sin_addr, at->addr, sizeof out->in.sin_addr);
        return sizeof out->in;
    }
    if (at->family == RF_INET6) {
        out->in6.sin6_family = AF_INET6;
        out->in6.sin6_port = htons(at->port);
        out->in6.sin6_scope_id = at->scope;
        memcpy(&out->in6.sin6_addr, at->addr, sizeof out->in6.sin6_addr);
        return sizeof out->in6;
    }
    size_t shift = at->family == RF_ABSTRACT ? 1 : 0; /* an abstract name follows a NUL, a path is followed by one */
    if ((at->family != RF_UNIX && at->family != RF_ABSTRACT) || at->addr_len == 0 ||
        at->addr_len + 1u > sizeof out->un.sun_path)
        return 0;
    out->un.sun_family = AF_UNIX;
    memcpy(out->un.sun_path + shift, at->addr, at->addr_len);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + at->addr_len + 1u);
}

static bool is_inet(const rf_address *at)
{
    return at->family == RF_INET || at->family == RF_INET6;
}

/* A socket bound to an address, not listening yet; -1 and errno. */
static int bound_socket(const rf_address *at)
{
    union any_address address;
    socklen_t len = make_address(at, &address);
    int fd = socket(address.plain.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int on = 1;
    if (is_inet(at)) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
    }
    if (at->family == RF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, &address.plain, len) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* Binds, and finds a port where none was given. A port that the kernel picked is bound a second time by its number,
 * because only a port asked for by number stays bound when the listening ends. */
static int bind_listener(rf_address *at)
{
    int fd = bound_socket(at);
    if (fd < 0 || !is_inet(at) || at->port != 0)
        return fd;
    union any_address got;
    socklen_t len = sizeof got;
    if (getsockname(fd, &got.plain, &len) < 0) {
        close(fd);
        return -1;
    }
    at->port = ntohs(at->family == RF_INET ? got.in.sin_port : got.in6.sin6_port);
    int again = bound_socket(at);
    int error = errno;
    close(fd);
    errno = error;
    return again;
}

static void shut_door(rf_play *play, struct listener *listener)
{
    for (uint32_t i = 0; i < FILLERS; i++)
        if (listener->fillers[i] >= 0) {
            close(listener->fillers[i]);
            listener->fillers[i] = -1;
        }
    if (listener->fd < 0)
        return;
    if (listener->door == RF_PLAY_OPEN && !play->starved)
        epoll_ctl(play->epoll, EPOLL_CTL_DEL, listener->fd, NULL);
    if (is_inet(&listener->at)) {
        /* Stops the listening and keeps the port. (shutdown() does too, but the connections of a later listen() would
         * inherit that they are shut down.) */
        struct sockaddr nobody = {.sa_family = AF_UNSPEC};
        connect(listener->fd, &nobody, sizeof nobody);
    } else {
        close(listener->fd); /* the path stays: connecting to it is refused */
        listener->fd = -1;
    }
    listener->door = RF_PLAY_REFUSE;
}

static void fill_queue(struct listener *listener)
{
    union any_address address;
    socklen_t len = make_address(&listener->at, &address);
    for (uint32_t i = 0; i < FILLERS; i++) {
        int fd = socket(address.plain.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, &address.plain, len) < 0 && errno != EINPROGRESS) {
            close(fd);
            fd = -1;
        }
        listener->fillers[i] = fd;
    }
}

static int32_t open_door(rf_play *play, struct listener *listener, int door)
{
    if (listener->fd < 0) {
        if (listener->at.family == RF_UNIX) {
            char path[sizeof listener->at.addr + 1] = {0};
            memcpy(path, listener->at.addr, listener->at.addr_len);
            unlink(path);
        }
        listener->fd = bound_socket(&listener->at);
    }
    if (listener->fd < 0 || listen(listener->fd, door == RF_PLAY_DEAF ? 0 : (int)listener->backlog) < 0)
        return rf_refuse(RF_ERRNO, errno, "listen: %s", strerror(errno));
    listener->door = door;
    if (door == RF_PLAY_DEAF) {
        fill_queue(listener);
        return RF_OK;
    }
    struct epoll_event event = {.events = EPOLLIN,
                                .data.u64 = event_data(FOR_LISTENER, 0, (uint32_t)(listener - play->listeners))};
    if (!play->starved && epoll_ctl(play->epoll, EPOLL_CTL_ADD, listener->fd, &event) < 0)
        return rf_refuse(RF_ERRNO, errno, "epoll_ctl: %s", strerror(errno));
    return RF_OK;
}

/* --- the thread -------------------------------------------------------------------------------------- */

static int sleep_ms(rf_play *play)
{
    uint64_t next = rf_wheel_next_ms(play->wheel);
    if (play->starved && play->starved_until_ms < next)
        next = play->starved_until_ms;
    if (next == RF_NEVER)
        return -1;
    return next <= play->now_ms ? 0 : next - play->now_ms > 60000 ? 60000 : (int)(next - play->now_ms);
}

static void play_turn(rf_play *play, const struct epoll_event *events, int events_len)
{
    uint32_t due[DUE_MAX];
    play->now_ns = clock_ns(CLOCK_MONOTONIC);
    play->now_ms = play->now_ns / RF_NS_PER_MS;
    for (int i = 0; i < events_len; i++) {
        uint64_t data = events[i].data.u64;
        uint64_t count;
        if (data >> 56 == FOR_CONNECTION)
            conn_event(play, data, events[i].events);
        else if (data >> 56 == FOR_LISTENER)
            listener_event(play, &play->listeners[(uint32_t)data]);
        else if (read(play->wake, &count, sizeof count) < 0)
            continue; /* somebody else's wake-up was taken already */
    }
    int32_t due_len = rf_wheel_advance(play->wheel, play->now_ms, due, DUE_MAX);
    for (int32_t i = 0; i < due_len; i++)
        if (play->connections[due[i]].fd >= 0)
            conn_due(play, &play->connections[due[i]]);
    if (play->starved && play->now_ms >= play->starved_until_ms) {
        play->starved = false;
        watch_listeners(play, true);
    }
}

static void *play_thread(void *argument)
{
    rf_play *play = argument;
    struct epoll_event events[BATCH];
    int wait_ms = 0;
    for (bool stop = false; !stop;) {
        int n = epoll_wait(play->epoll, events, BATCH, wait_ms);
        pthread_mutex_lock(&play->lock);
        play_turn(play, events, n > 0 ? n : 0);
        wait_ms = sleep_ms(play);
        stop = play->stop;
        pthread_mutex_unlock(&play->lock);
    }
    return NULL;
}

static void wake(rf_play *play)
{
    uint64_t one = 1;
    ssize_t written = write(play->wake, &one, sizeof one);
    (void)written; /* the counter is full only while a wake-up is under way */
}

static int start_thread(rf_play *play, int32_t cpu)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&play->thread, NULL, play_thread, play);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error == 0 && cpu >= 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set);
        pthread_setaffinity_np(play->thread, sizeof set, &set); /* as good as it gets: a missing core is no error */
    }
    return error;
}

static void play_free(rf_play *play)
{
    for (uint32_t i = 0; i < play->listeners_len; i++) {
        struct listener *listener = &play->listeners[i];
        shut_door(play, listener);
        if (listener->fd >= 0)
            close(listener->fd);
        script_drop(listener->script);
        free(listener->kept);
    }
    if (play->epoll >= 0)
        close(play->epoll);
    if (play->wake >= 0)
        close(play->wake);
    rf_wheel_free(play->wheel);
    free(play->listeners);
    free(play->connections);
    free(play->inputs);
    pthread_mutex_destroy(&play->lock);
    free(play);
}

rf_play *rf_play_open(uint32_t listeners_max, uint32_t connections_max, int32_t cpu)
{
    RF_ASSERT(listeners_max > 0 && connections_max > 0 && connections_max < RF_NONE && cpu < CPU_SETSIZE);
    rf_play *play = calloc(1, sizeof *play);
    if (play == NULL)
        goto no_memory;
    pthread_mutex_init(&play->lock, NULL);
    play->epoll = epoll_create1(EPOLL_CLOEXEC);
    play->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    play->now_ms = clock_ns(CLOCK_MONOTONIC) / RF_NS_PER_MS;
    play->wall_ns = clock_ns(CLOCK_MONOTONIC);
    play->listeners_max = listeners_max;
    play->connections_max = connections_max;
    play->listeners = calloc(listeners_max, sizeof *play->listeners);
    play->connections = calloc(connections_max, sizeof *play->connections);
    play->inputs = malloc(connections_max * sizeof *play->inputs);
    play->wheel = rf_wheel_new(connections_max, play->now_ms);
    if (play->listeners == NULL || play->connections == NULL || play->inputs == NULL || play->wheel == NULL)
        goto no_memory;
    for (uint32_t i = 0; i < connections_max; i++) {
        play->connections[i].fd = -1;
        play->connections[i].next_free = i + 1 < connections_max ? i + 1 : RF_NONE;
    }
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = event_data(FOR_WAKE, 0, 0)};
    int error = EMFILE;
    if (play->epoll >= 0 && play->wake >= 0 && epoll_ctl(play->epoll, EPOLL_CTL_ADD, play->wake, &event) == 0)
        error = start_thread(play, cpu);
    if (error == 0)
        return play;
    rf_refuse(RF_ERRNO, error, "rf_play_open: %s", strerror(error));
    play_free(play);
    return NULL;
no_memory:
    rf_refuse(RF_NOMEM, ENOMEM, "rf_play_open: out of memory");
    if (play != NULL)
        play_free(play);
    return NULL;
}

void rf_play_close(rf_play *play)
{
    if (play == NULL)
        return;
    pthread_mutex_lock(&play->lock);
    play->stop = true;
    pthread_mutex_unlock(&play->lock);
    wake(play);
    pthread_join(play->thread, NULL);
    for (uint32_t i = 0; i < play->connections_max; i++)
        if (play->connections[i].fd >= 0)
            conn_close(play, &play->connections[i], true);
    play_free(play);
}

/* --- calls of other threads -------------------------------------------------------------------------- */

static int32_t add_listener(rf_play *play, const rf_address *at, uint32_t backlog, uint32_t *listener_out,
                            uint16_t *port_out)
{
    static const rf_play_act silent = {.when = RF_PLAY_NEVER};
    if (play->listeners_len == play->listeners_max)
        return rf_refuse(RF_FULL, 0, "rf_play_listen: %u listeners are all there can be", play->listeners_max);
    struct listener *listener = &play->listeners[play->listeners_len];
    *listener = (struct listener){.at = *at, .backlog = backlog, .door = RF_PLAY_REFUSE, .script = NULL};
    for (uint32_t i = 0; i < FILLERS; i++)
        listener->fillers[i] = -1;
    listener->fd = bind_listener(&listener->at);
    if (listener->fd < 0)
        return rf_refuse(RF_ERRNO, errno, "bind: %s", strerror(errno));
    listener->script = script_new(&silent, 1, 0, NULL, 0);
    int32_t result = listener->script == NULL ? RF_NOMEM : open_door(play, listener, RF_PLAY_OPEN);
    if (result != RF_OK) {
        close(listener->fd);
        script_drop(listener->script);
        return result;
    }
    *listener_out = play->listeners_len++;
    *port_out = listener->at.port;
    return RF_OK;
}

int32_t rf_play_listen(rf_play *play, const rf_address *at, uint32_t backlog, uint32_t *listener_out, uint16_t *port_out)
{
    union any_address unused;
    if (make_address(at, &unused) == 0)
        return rf_refuse(RF_BAD, 0, "rf_play_listen: no such address");
    pthread_mutex_lock(&play->lock);
    int32_t result = add_listener(play, at, backlog > INT32_MAX ? INT32_MAX : backlog, listener_out, port_out);
    pthread_mutex_unlock(&play->lock);
    return result;
}

static int32_t no_listener(uint32_t listener)
{
    return rf_refuse(RF_STALE, 0, "there is no listener %u", listener);
}

int32_t rf_play_script(rf_play *play, uint32_t listener, const rf_play_act *acts, uint32_t acts_len,
                       uint32_t repeat_from, const uint8_t *blob, uint32_t blob_len)
{
    if (acts_len == 0 || acts_len > RF_PLAY_ACTS_MAX || repeat_from >= acts_len)
        return rf_refuse(RF_BAD, 0, "rf_play_script: %u acts, from act %u on again", acts_len, repeat_from);
    uint32_t bad = script_bad_act(acts, acts_len, repeat_from, blob_len);
    if (bad < acts_len)
        return rf_refuse(RF_BAD, 0, "rf_play_script: act %u cannot be played", bad);
    struct script *script = script_new(acts, acts_len, repeat_from, blob, blob_len);
    if (script == NULL)
        return rf_refuse(RF_NOMEM, ENOMEM, "rf_play_script: out of memory");
    int32_t result = RF_STALE;
    pthread_mutex_lock(&play->lock);
    for (uint32_t i = 0; i < play->listeners_len; i++)
        if (listener == RF_NONE || listener == i) {
            script_drop(play->listeners[i].script);
            play->listeners[i].script = script;
            play->listeners[i].next_act = 0;
            script->holders++;
            result = RF_OK;
        }
    script_drop(script);
    pthread_mutex_unlock(&play->lock);
    return result == RF_STALE ? no_listener(listener) : result;
}

int32_t rf_play_door(rf_play *play, uint32_t listener, int32_t door)
{
    if (door < RF_PLAY_OPEN || door > RF_PLAY_DEAF)
        return rf_refuse(RF_BAD, 0, "rf_play_door: no door %d", door);
    int32_t result = RF_STALE;
    pthread_mutex_lock(&play->lock);
    for (uint32_t i = 0; i < play->listeners_len; i++)
        if (listener == RF_NONE || listener == i) {
            shut_door(play, &play->listeners[i]);
            result = door == RF_PLAY_REFUSE ? RF_OK : open_door(play, &play->listeners[i], door);
            if (result != RF_OK)
                break;
        }
    pthread_mutex_unlock(&play->lock);
    return result == RF_STALE ? no_listener(listener) : result;
}

int32_t rf_play_counts(rf_play *play, uint32_t listener, rf_play_tally *out)
{
    int32_t result = listener == RF_NONE ? RF_OK : RF_STALE;
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&play->lock);
    for (uint32_t i = 0; i < play->listeners_len; i++)
        if (listener == RF_NONE || listener == i) {
            const rf_play_tally *tally = &play->listeners[i].tally;
            out->accepts += tally->accepts;
            out->requests += tally->requests;
            out->answers += tally->answers;
            out->bytes_in += tally->bytes_in;
            out->bytes_out += tally->bytes_out;
            out->resets += tally->resets;
            out->ends += tally->ends;
            out->overlong += tally->overlong;
            out->open += tally->open;
            result = RF_OK;
        }
    pthread_mutex_unlock(&play->lock);
    return result == RF_STALE ? no_listener(listener) : result;
}

int32_t rf_play_request(rf_play *play, uint32_t listener, uint32_t back, uint8_t *out, uint32_t out_max)
{
    int32_t result = -1;
    pthread_mutex_lock(&play->lock);
    const struct listener *from = listener < play->listeners_len ? &play->listeners[listener] : NULL;
    if (from != NULL && from->kept != NULL && back < RF_PLAY_KEPT && back < from->tally.requests) {
        const struct kept *kept = &from->kept[(from->tally.requests - 1 - back) % RF_PLAY_KEPT];
        result = (int32_t)(kept->len < out_max ? kept->len : out_max);
        memcpy(out, kept->bytes, (size_t)result);
    }
    pthread_mutex_unlock(&play->lock);
    return result;
}

int32_t rf_play_times(rf_play *play, uint32_t listener, uint64_t *out_ns, uint32_t out_max)
{
    uint32_t len = 0;
    pthread_mutex_lock(&play->lock);
    if (listener < play->listeners_len) {
        const struct listener *from = &play->listeners[listener];
        uint64_t accepts = from->tally.accepts;
        uint32_t most = out_max < RF_PLAY_TIMES ? out_max : RF_PLAY_TIMES;
        len = accepts < most ? (uint32_t)accepts : most;
        for (uint32_t i = 0; i < len; i++)
            out_ns[i] = from->times_ns[(accepts - len + i) % RF_PLAY_TIMES];
    }
    pthread_mutex_unlock(&play->lock);
    return (int32_t)len;
}

void rf_play_busy(rf_play *play, uint64_t *cpu_ns, uint64_t *wall_ns)
{
    clockid_t clock;
    uint64_t cpu_now = 0;
    pthread_mutex_lock(&play->lock);
    if (pthread_getcpuclockid(play->thread, &clock) == 0)
        cpu_now = clock_ns(clock);
    uint64_t wall_now = clock_ns(CLOCK_MONOTONIC);
    *cpu_ns = cpu_now - play->cpu_ns;
    *wall_ns = wall_now - play->wall_ns;
    play->cpu_ns = cpu_now;
    play->wall_ns = wall_now;
    pthread_mutex_unlock(&play->lock);
}
