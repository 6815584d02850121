/* answer.c - the agent's answerer (answer.h): one thread, one epoll, one short line a connection.
 *
 * The answer and the end of the stream go out together, in one segment: HAProxy once waited 200 ms for a delayed ACK between
 * the two. Then the connection lingers until the peer has closed it, because closing while a text is unread would reset it,
 * and a reset may overtake the answer. Nothing is allocated but at the start.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "answer_thread.h"

enum { EVENTS_A_TURN = 64, ACCEPTS_A_TURN = 64, DISCARD_MAX = 65536 };
enum { CROWD_MIN = 16 }; /* open connections of a source that may wait behind others; a balancer's checks are seldom more */
static const uint64_t SHORT_TURN_NS = 100000; /* the least that the kernel takes */
static const uint64_t PAUSE_NS = UINT64_C(50000000); /* after a want of descriptors or memory */

/* --- connections ------------------------------------------------------------------------------------------------- */

void rf_answer_wake(const rf_answerer *answerer)
{
    const uint64_t one = 1;
    if (write(answerer->event_fd, &one, sizeof one) < 0)
        return; /* it is readable already */
}

/* Sends the line of whom a connection asks for. False: there is none, or it cannot be sent. */
static bool speak(rf_answerer *answerer, const struct rf_guest *guest, uint64_t now_ns)
{
    const struct rf_listener *listener = &answerer->listeners[guest->listener];
    struct rf_asked asked = {.service = listener->service};
    if (listener->by_text)
        rf_words_read(&answerer->words, guest->text, guest->text_len, listener->services, listener->service, &asked);
    if (asked.unknown) {
        answerer->counts.unknown++;
        answerer->unknown = (rf_told){.service = asked.service, .at_ns = now_ns};
        memcpy(answerer->unknown.ip, guest->ip, 16);
        memcpy(answerer->unknown.tag, asked.word, sizeof answerer->unknown.tag);
    }
    if (asked.service == RF_ANSWER_NOBODY)
        return false;
    struct rf_peer *peer = rf_words_peer(&answerer->words, guest->ip, asked.tag);
    struct rf_spoken spoken;
    rf_words_pick(&answerer->words, peer, asked.service, now_ns, &spoken);
    answerer->counts.stale += spoken.stale;
    if (spoken.len == 0 ||
        send(guest->fd, spoken.line, spoken.len, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE) != (ssize_t)spoken.len)
        return false;
    shutdown(guest->fd, SHUT_WR); /* what MSG_MORE held back goes out with the FIN */
    if (rf_words_sent(&answerer->words, peer, asked.service, &spoken, now_ns))
        rf_answer_wake(answerer);
    return true;
}

static void answer(rf_answerer *answerer, uint32_t index, uint64_t now_ns)
{
    struct rf_guest *guest = &answerer->places.guests[index];
    if (!speak(answerer, guest, now_ns)) {
        answerer->counts.silent++;
        rf_places_end(&answerer->places, index, true);
        return;
    }
    answerer->counts.answered++;
    rf_places_answered(&answerer->places, index, now_ns + (uint64_t)answerer->options.linger_ms * RF_NS_PER_MS);
}

/* Bytes of a connection: its text up to the line feed, then what nobody wants to know. False: it is over. */
static bool hear(rf_answerer *answerer, uint32_t index, uint64_t now_ns)
{
    struct rf_guest *guest = &answerer->places.guests[index];
    char bytes[4096];
    for (;;) {
        const ssize_t got = recv(guest->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got < 0)
            return errno == EAGAIN || errno == EINTR;
        if (got == 0)
            return false;
        if (guest->answered) {
            guest->discarded += (uint32_t)got;
            if (guest->discarded > DISCARD_MAX)
                return false;
            continue;
        }
        const uint32_t room = RF_ANSWER_TEXT_MAX - guest->text_len;
        const char *stop = memchr(bytes, '\n', (size_t)got);
        const uint32_t len = stop != NULL ? (uint32_t)(stop - bytes) : (uint32_t)got;
        memcpy(guest->text + guest->text_len, bytes, len < room ? len : room);
        guest->text_len += len < room ? len : room;
        if (stop == NULL && len < room)
            continue;
        answer(answerer, index, now_ns);
        if (!guest->used)
            return true; /* it went without an answer */
    }
}

static void on_event(rf_answerer *answerer, uint32_t index, uint16_t turn, uint32_t mask, uint64_t now_ns)
{
    struct rf_guest *guest = &answerer->places.guests[index];
    if (!guest->used || guest->turn != turn)
        return; /* it went in this turn of the loop, and its place may have another one already */
    if ((mask & (EPOLLERR | EPOLLHUP)) == 0 && hear(answerer, index, now_ns))
        return;
    if (!guest->used)
        return;
    /* A peer that has said all it wants and closed its side may still read: what it was sent is on its way. */
    if (!guest->answered && (mask & (EPOLLERR | EPOLLHUP)) == 0) {
        answer(answerer, index, now_ns);
        if (!guest->used)
            return;
    }
    rf_places_end(&answerer->places, index, guest->discarded > DISCARD_MAX);
}

static void mapped(const struct sockaddr_storage *from, uint8_t ip[16])
{
    memset(ip, 0, 16);
    if (from->ss_family == AF_INET6) {
        memcpy(ip, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
    } else if (from->ss_family == AF_INET) {
        ip[10] = ip[11] = 0xff;
        memcpy(ip + 12, &((const struct sockaddr_in *)from)->sin_addr, 4);
    }
}

/* Whether a source may have one more. At its limit it gives up its own oldest answered connection: a peer that asks again at
 * once may have closed that one long ago, and only this thread has not come to see it. */
static bool has_share(rf_answerer *answerer, uint32_t at, uint64_t now_ns)
{
    const struct rf_sources *sources = &answerer->places.sources;
    if (at == RF_NONE || sources->all[at].open < answerer->options.per_source_max)
        return true;
    const uint32_t oldest = sources->all[at].answered.oldest;
    if (oldest == RF_NONE)
        return false;
    answerer->counts.evicted += hear(answerer, oldest, now_ns);
    rf_places_end(&answerer->places, oldest, false);
    return true;
}

static void take(rf_answerer *answerer, uint32_t listener, int fd, const uint8_t ip[16], uint64_t now_ns)
{
    struct rf_places *places = &answerer->places;
    answerer->counts.accepted++;
    if (!rf_sources_may_ask(&places->sources, ip)) {
        answerer->counts.refused++;
        rf_reset(fd);
        return;
    }
    if (places->open == places->max) {
        answerer->counts.evicted++;
        rf_places_make_room(places);
    }
    uint8_t from[16];
    if (!has_share(answerer, rf_sources_find(&places->sources, ip, from), now_ns)) {
        answerer->counts.crowded++;
        rf_reset(fd);
        return;
    }
    const uint32_t source = rf_sources_find(&places->sources, ip, from); /* it may have gone with its last connection */
    const uint32_t index = rf_places_take(places, fd, ip, source, from);
    places->guests[index].listener = listener;
    places->guests[index].deadline_ns = now_ns + (uint64_t)answerer->options.text_ms * RF_NS_PER_MS;
    const uint64_t what = rf_answer_event(RF_ANSWER_GUEST, index, places->guests[index].turn);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u64 = what};
    if (epoll_ctl(answerer->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        rf_places_end(places, index, true);
        return;
    }
    if (!answerer->listeners[listener].by_text)
        answer(answerer, index, now_ns);
}

static bool is_crowd(const struct rf_sources *sources, const uint8_t ip[16])
{
    uint8_t from[16];
    const uint32_t at = rf_sources_find(sources, ip, from);
    return at != RF_NONE && sources->all[at].open >= CROWD_MIN;
}

/* Takes those that wait at a listener, first those of sources that have little open: who comes back every second or two must
 * not wait behind a crowd that came a moment earlier. False: the machine has no room for more just now. */
static bool take_new(rf_answerer *answerer, uint32_t listener, uint64_t now_ns)
{
    struct {
        int fd;
        uint8_t ip[16];
        uint8_t crowd;
    } arrivals[ACCEPTS_A_TURN];
    int n = 0;
    bool room = true;
    while (n < ACCEPTS_A_TURN) {
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        const int fd = accept4(answerer->listeners[listener].fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            room = errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
            break;
        }
        arrivals[n].fd = fd;
        mapped(&from, arrivals[n].ip);
        arrivals[n].crowd = is_crowd(&answerer->places.sources, arrivals[n].ip);
        n++;
    }
    for (uint8_t crowd = 0; crowd < 2; crowd++) {
        for (int i = 0; i < n; i++) {
            if (arrivals[i].crowd == crowd)
                take(answerer, listener, arrivals[i].fd, arrivals[i].ip, now_ns);
        }
    }
    return room;
}

/* Lists are in the order of their deadlines. */
static void expire(rf_answerer *answerer, uint64_t now_ns)
{
    struct rf_places *places = &answerer->places;
    for (uint32_t at = places->waiting.oldest; at != RF_NONE && places->guests[at].deadline_ns <= now_ns;
         at = places->waiting.oldest) {
        answerer->counts.late++;
        answer(answerer, at, now_ns); /* by what has come: an agent-send whose line feed was forgotten names its service too */
    }
    for (uint32_t at = places->lingering.oldest; at != RF_NONE && places->guests[at].deadline_ns <= now_ns;
         at = places->lingering.oldest)
        rf_places_end(places, at, true);
}

/* --- the thread -------------------------------------------------------------------------------------------------- */

static int until_next_ms(const rf_answerer *answerer, uint64_t now_ns)
{
    uint64_t next_ns = rf_places_next_ns(&answerer->places);
    if (answerer->paused_until_ns != 0 && answerer->paused_until_ns < next_ns)
        next_ns = answerer->paused_until_ns;
    if (next_ns == RF_NEVER)
        return -1;
    return next_ns <= now_ns ? 0 : (int)((next_ns - now_ns) / RF_NS_PER_MS + 1);
}

static void listen_again(rf_answerer *answerer, bool on)
{
    for (uint32_t i = 0; i < answerer->listeners_len; i++) {
        struct epoll_event event = {.events = on ? EPOLLIN : 0, .data.u64 = rf_answer_event(RF_ANSWER_LISTENER, i, 0)};
        (void)epoll_ctl(answerer->epoll_fd, EPOLL_CTL_MOD, answerer->listeners[i].fd, &event);
    }
}

static void turn(rf_answerer *answerer, const struct epoll_event *events, int n, uint64_t now_ns)
{
    bool room = true;
    for (int i = 0; i < n; i++) {
        const uint64_t what = events[i].data.u64;
        const uint32_t kind = (uint32_t)(what >> 48), index = (uint32_t)what;
        if (kind == RF_ANSWER_GUEST)
            on_event(answerer, index, (uint16_t)(what >> 32), events[i].events, now_ns);
        else if (kind == RF_ANSWER_LISTENER)
            room = take_new(answerer, index, now_ns) && room;
    }
    expire(answerer, now_ns);
    if (!room) {
        listen_again(answerer, false);
        answerer->paused_until_ns = now_ns + PAUSE_NS;
    } else if (answerer->paused_until_ns != 0 && answerer->paused_until_ns <= now_ns) {
        listen_again(answerer, true);
        answerer->paused_until_ns = 0;
    }
}

/* Asks for short turns on the CPU, which come sooner: a thread that computes a few microseconds shall not wait behind those
 * that compute for ever, since a busy machine is what it has to tell of. Linux 6.12 and newer take it, without privileges;
 * older ones ignore it. All other values are left as they are. */
static void ask_short_turns(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime_ns, deadline_ns, period_ns;
    } mine = {.size = 0};
    if (syscall(SYS_sched_getattr, 0, &mine, sizeof mine, 0) != 0 || mine.policy != SCHED_OTHER)
        return;
    mine.runtime_ns = SHORT_TURN_NS;
    (void)syscall(SYS_sched_setattr, 0, &mine, 0);
}

static void *run(void *arg)
{
    rf_answerer *answerer = arg;
    ask_short_turns();
    struct epoll_event events[EVENTS_A_TURN];
    while (!__atomic_load_n(&answerer->stopping, __ATOMIC_ACQUIRE)) {
        pthread_mutex_lock(&answerer->lock);
        const int limit_ms = until_next_ms(answerer, rf_now_ns());
        pthread_mutex_unlock(&answerer->lock);
        const int n = epoll_wait(answerer->epoll_fd, events, EVENTS_A_TURN, limit_ms);
        pthread_mutex_lock(&answerer->lock);
        turn(answerer, events, n > 0 ? n : 0, rf_now_ns());
        pthread_mutex_unlock(&answerer->lock);
    }
    return NULL;
}

static bool start(rf_answerer *answerer)
{
    answerer->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    answerer->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    answerer->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event wake = {.events = EPOLLIN, .data.u64 = rf_answer_event(RF_ANSWER_WAKE, 0, 0)};
    if (answerer->epoll_fd < 0 || answerer->wake_fd < 0 || answerer->event_fd < 0 ||
        epoll_ctl(answerer->epoll_fd, EPOLL_CTL_ADD, answerer->wake_fd, &wake) < 0) {
        rf_refuse(RF_ERRNO, errno, "answerer");
        return false;
    }
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for Python's threads */
    const int error = pthread_create(&answerer->thread, NULL, run, answerer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    answerer->running = error == 0;
    if (error != 0)
        rf_refuse(RF_ERRNO, error, "pthread_create");
    return answerer->running;
}

rf_answerer *rf_answerer_open(const rf_answerer_options *options)
{
    if (options->connections_max == 0 || options->connections_max > 1u << 20 || options->per_source_max == 0 ||
        options->text_ms == 0 || options->linger_ms == 0) {
        rf_refuse(RF_BAD, EINVAL, "an answerer without room or time");
        return NULL;
    }
    rf_answerer *answerer = calloc(1, sizeof *answerer);
    if (answerer == NULL) {
        rf_refuse(RF_NOMEM, ENOMEM, "out of memory");
        return NULL;
    }
    answerer->options = *options;
    answerer->epoll_fd = answerer->wake_fd = answerer->event_fd = -1;
    pthread_mutex_init(&answerer->lock, NULL);
    const bool words = rf_words_open(&answerer->words);
    if (!rf_places_open(&answerer->places, options->connections_max) || !words)
        rf_refuse(RF_NOMEM, ENOMEM, "out of memory");
    else if (start(answerer))
        return answerer;
    rf_answerer_close(answerer);
    return NULL;
}

void rf_answerer_close(rf_answerer *answerer)
{
    if (answerer == NULL)
        return;
    if (answerer->running) {
        __atomic_store_n(&answerer->stopping, 1, __ATOMIC_RELEASE);
        const uint64_t one = 1;
        while (write(answerer->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
        pthread_join(answerer->thread, NULL);
    }
    for (uint32_t i = 0; i < answerer->listeners_len; i++)
        close(answerer->listeners[i].fd);
    const int fds[3] = {answerer->epoll_fd, answerer->wake_fd, answerer->event_fd};
    for (int i = 0; i < 3; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    pthread_mutex_destroy(&answerer->lock);
    rf_words_close(&answerer->words);
    rf_places_close(&answerer->places);
    free(answerer);
}
