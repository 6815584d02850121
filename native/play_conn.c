/* play_conn.c - one played connection: reads, waits, answers, ends, as its act says. */
#include "play.h"

#include <strings.h>

enum {
    SENDS = 64,     /* writes of an endless reply a turn */
    DRAIN_MS = 5000 /* longest wait for a peer to end what we ended */
};

static uint32_t index_of(const rf_play *play, const struct connection *conn)
{
    return (uint32_t)(conn - play->connections);
}

void rf_played_close(rf_play *play, struct connection *conn, bool reset)
{
    if (reset) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    rf_played_note(play, conn->listener, RF_PLAY_ENDED, play->now_ns, play->now_ns - conn->accepted_ns);
    close(conn->fd); /* epoll forgets it by itself: no other descriptor names this socket */
    rf_wheel_unset(play->wheel, index_of(play, conn));
    play->listeners[conn->listener].tally.open--;
    rf_played_script_drop(conn->script);
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
                                .data.u64 = rf_played_event(FOR_CONNECTION, conn->generation, index_of(play, conn))};
    if (out)
        event.events |= EPOLLOUT;
    if (epoll_ctl(play->epoll, conn->in_epoll ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, conn->fd, &event) < 0) {
        rf_played_close(play, conn, true);
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
    rf_played_note(play, conn->listener, RF_PLAY_ANSWERED, play->now_ns, play->now_ns - conn->asked_ns);
    bool goes_on = conn->act->then == RF_PLAY_STAY || conn->act->then == RF_PLAY_NEXT;
    if (conn->act->then == RF_PLAY_RST || (goes_on && conn->ended)) {
        rf_played_close(play, conn, conn->act->then == RF_PLAY_RST);
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
        rf_played_close(play, conn, false);
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
            rf_played_close(play, conn, false);
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
    uint32_t delay_ms = conn->act->delay_ms + rf_played_delay_ms(play, &play->listeners[conn->listener]);
    conn->sent = 0;
    conn->asked_ns = play->now_ns;
    if (delay_ms == 0)
        return conn_send(play, conn);
    conn->state = WAITING;
    conn_timer(play, conn, delay_ms);
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
        rf_played_close(play, conn, true);
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
            rf_played_close(play, conn, false);
            return false;
        }
        if (n == 0) {
            listener->tally.ends++;
            conn->ended = 1;
            if (conn->state == WAITING || conn->state == SENDING)
                return true;
            rf_played_close(play, conn, false);
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

void rf_played_event_of(rf_play *play, uint64_t data, uint32_t events)
{
    struct connection *conn = &play->connections[(uint32_t)data];
    if (conn->fd < 0 || data != rf_played_event(FOR_CONNECTION, conn->generation, (uint32_t)data))
        return; /* closed earlier in this batch */
    if (events & (EPOLLERR | EPOLLHUP) && conn->state != READING) {
        play->listeners[conn->listener].tally.resets++;
        rf_played_close(play, conn, false);
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

void rf_played_due(rf_play *play, struct connection *conn)
{
    if (conn->state == WAITING || conn->state == SENDING)
        conn_go_on(play, conn);
    else
        rf_played_close(play, conn, false);
}

void rf_played_begin(rf_play *play, struct listener *listener, int fd)
{
    uint32_t index = play->free_head;
    struct connection *conn = &play->connections[index];
    play->free_head = conn->next_free;
    *conn = (struct connection){.fd = fd, .generation = conn->generation,
                                .listener = (uint32_t)(listener - play->listeners), .script = listener->script};
    conn->script->holders++;
    conn->act = rf_played_script_take(listener);
    conn->accepted_ns = conn->asked_ns = play->now_ns;
    rf_played_note(play, conn->listener, RF_PLAY_ACCEPTED, play->now_ns, 0);
    listener->times_ns[listener->tally.accepts++ % RF_PLAY_TIMES] = play->now_ns;
    listener->tally.open++;
    if (conn->act->when == RF_PLAY_AT_ACCEPT ? !conn_answer(play, conn) : !conn_read(play, conn))
        return;
    conn_watch(play, conn, conn->wants_out);
}
