/* answer.c - the agent's answerer (answer.h): one thread, one epoll, one short line a connection.
 *
 * The answer and the end of the stream go out together, in one segment: HAProxy once waited 200 ms for a delayed ACK between
 * the two. Then the connection lingers until the peer has closed it, because closing while a text is unread would reset it,
 * and a reset may overtake the answer. Waiting and lingering connections stand in two lists, oldest first, since each list
 * has one time limit; when there are too many, the oldest of all goes. Nothing is allocated but at the start.
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

#include "answer_words.h"
#include "internal.h"

enum { LISTENERS_MAX = 64, ALLOWED_MAX = 256 };
enum { EVENTS_A_TURN = 64, ACCEPTS_A_TURN = 64, DISCARD_MAX = 65536, SOURCE_BUCKETS = 4096 };
enum { KIND_LISTENER = 1, KIND_CONNECTION = 2 };
static const uint64_t SHORT_TURN_NS = 100000; /* the least that the kernel takes */
static const uint64_t PAUSE_NS = UINT64_C(50000000); /* after a want of descriptors or memory */

struct list {
    uint32_t oldest, newest;
};
/* Where connections come from, while there are any: an address, or a /64 of IPv6. */
struct source {
    uint8_t ip[16];
    uint32_t open, next;  /* next: in its bucket, or among the free */
    struct list answered; /* its own, by `elder` and `younger` */
};
struct listener {
    int fd;
    uint32_t service, by_text;
    uint64_t services;
};
struct connection {
    int fd;
    uint8_t ip[16];
    uint32_t listener, source, older, newer, elder, younger;
    uint64_t deadline_ns;
    uint32_t text_len, discarded;
    uint8_t answered, used;
    char text[RF_ANSWER_TEXT_MAX + 1];
};
struct rf_answerer {
    rf_answerer_options options;
    pthread_t thread;
    pthread_mutex_t lock; /* of everything below but the thread's own */
    uint32_t running, stopping;
    int epoll_fd, wake_fd, event_fd;
    uint64_t paused_until_ns;

    struct listener listeners[LISTENERS_MAX];
    uint32_t listeners_len;
    struct {
        uint8_t ip[16];
        uint32_t bits;
    } allowed[ALLOWED_MAX];
    uint32_t allowed_len;
    struct rf_words words;
    rf_answerer_counts counts;

    struct connection *connections; /* the thread's own, as are the lists */
    uint32_t connections_used, free;
    struct list waiting, lingering;
    struct source *sources; /* as many as connections */
    uint32_t sources_used, sources_free, source_buckets[SOURCE_BUCKETS];
};

/* --- who may come in ------------------------------------------------------------------------------------------------ */

static bool is_mapped(const uint8_t ip[16])
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(ip, prefix, sizeof prefix) == 0;
}

static uint32_t *source_bucket(rf_answerer *answerer, const uint8_t ip[16])
{
    uint32_t hash = 2166136261u;
    for (int i = 0; i < 16; i++)
        hash = (hash ^ ip[i]) * 16777619u;
    return &answerer->source_buckets[hash % SOURCE_BUCKETS];
}

/* The source of an address, RF_NONE while it has no connection. ip: then cut to what a source is: neighbours of one /64
 * are one. */
static uint32_t find_source(rf_answerer *answerer, uint8_t ip[16])
{
    if (!is_mapped(ip))
        memset(ip + 8, 0, 8);
    uint32_t at = *source_bucket(answerer, ip);
    while (at != RF_NONE && memcmp(answerer->sources[at].ip, ip, 16) != 0)
        at = answerer->sources[at].next;
    return at;
}

/* One more connection of a source, which is new when `at` is RF_NONE. */
static uint32_t enter(rf_answerer *answerer, uint32_t at, const uint8_t ip[16])
{
    if (at != RF_NONE) {
        answerer->sources[at].open++;
        return at;
    }
    uint32_t *bucket = source_bucket(answerer, ip);
    uint32_t index = answerer->sources_free;
    if (index == RF_NONE)
        index = answerer->sources_used++;
    else
        answerer->sources_free = answerer->sources[index].next;
    answerer->sources[index] = (struct source){.open = 1, .next = *bucket, .answered = {RF_NONE, RF_NONE}};
    memcpy(answerer->sources[index].ip, ip, 16);
    *bucket = index;
    return index;
}

static void leave(rf_answerer *answerer, uint32_t index)
{
    struct source *source = &answerer->sources[index];
    if (--source->open > 0)
        return;
    uint32_t *at = source_bucket(answerer, source->ip);
    while (*at != index)
        at = &answerer->sources[*at].next;
    *at = source->next;
    source->next = answerer->sources_free;
    answerer->sources_free = index;
}

static bool may_ask(const rf_answerer *answerer, const uint8_t ip[16])
{
    for (uint32_t i = 0; i < answerer->allowed_len; i++) {
        const uint32_t bits = answerer->allowed[i].bits, bytes = bits / 8, rest = bits % 8;
        if (memcmp(answerer->allowed[i].ip, ip, bytes) == 0 &&
            (rest == 0 || ((answerer->allowed[i].ip[bytes] ^ ip[bytes]) >> (8 - rest)) == 0))
            return true;
    }
    return answerer->allowed_len == 0;
}

/* --- lists of connections ---------------------------------------------------------------------------------------- */

static void list_push(rf_answerer *answerer, struct list *list, uint32_t index)
{
    struct connection *connection = &answerer->connections[index];
    connection->older = list->newest;
    connection->newer = RF_NONE;
    if (list->newest == RF_NONE)
        list->oldest = index;
    else
        answerer->connections[list->newest].newer = index;
    list->newest = index;
}

static void list_drop(rf_answerer *answerer, struct list *list, uint32_t index)
{
    const struct connection *connection = &answerer->connections[index];
    if (connection->older == RF_NONE)
        list->oldest = connection->newer;
    else
        answerer->connections[connection->older].newer = connection->newer;
    if (connection->newer == RF_NONE)
        list->newest = connection->older;
    else
        answerer->connections[connection->newer].older = connection->older;
}

/* The same for the answered ones of one source. */
static void answered_push(rf_answerer *answerer, uint32_t index)
{
    struct connection *connection = &answerer->connections[index];
    struct list *list = &answerer->sources[connection->source].answered;
    connection->elder = list->newest;
    connection->younger = RF_NONE;
    if (list->newest == RF_NONE)
        list->oldest = index;
    else
        answerer->connections[list->newest].younger = index;
    list->newest = index;
}

static void answered_drop(rf_answerer *answerer, uint32_t index)
{
    const struct connection *connection = &answerer->connections[index];
    struct list *list = &answerer->sources[connection->source].answered;
    if (connection->elder == RF_NONE)
        list->oldest = connection->younger;
    else
        answerer->connections[connection->elder].younger = connection->younger;
    if (connection->younger == RF_NONE)
        list->newest = connection->elder;
    else
        answerer->connections[connection->younger].elder = connection->elder;
}

static struct list *list_of(rf_answerer *answerer, const struct connection *connection)
{
    return connection->answered ? &answerer->lingering : &answerer->waiting;
}

static void reset(int fd)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static void end(rf_answerer *answerer, uint32_t index, bool rudely)
{
    struct connection *connection = &answerer->connections[index];
    list_drop(answerer, list_of(answerer, connection), index);
    if (connection->answered)
        answered_drop(answerer, index);
    if (rudely)
        reset(connection->fd);
    else
        close(connection->fd);
    leave(answerer, connection->source);
    answerer->counts.open--;
    connection->used = 0;
    connection->newer = answerer->free;
    answerer->free = index;
}

/* Ends the oldest connection, answered ones first. */
static void make_room(rf_answerer *answerer)
{
    const uint32_t oldest = answerer->lingering.oldest != RF_NONE ? answerer->lingering.oldest : answerer->waiting.oldest;
    answerer->counts.evicted++;
    end(answerer, oldest, !answerer->connections[oldest].answered);
}

static uint32_t place(rf_answerer *answerer)
{
    if (answerer->free == RF_NONE)
        return answerer->connections_used++;
    const uint32_t index = answerer->free;
    answerer->free = answerer->connections[index].newer;
    return index;
}

/* --- connections ------------------------------------------------------------------------------------------------- */

static void wake(const rf_answerer *answerer)
{
    const uint64_t one = 1;
    if (write(answerer->event_fd, &one, sizeof one) < 0)
        return; /* it is readable already */
}

/* Sends the line of whom a connection asks for. False: there is none, or it cannot be sent. */
static bool speak(rf_answerer *answerer, const struct connection *connection, uint64_t now_ns)
{
    const struct listener *listener = &answerer->listeners[connection->listener];
    struct rf_asked asked = {.service = listener->service};
    if (listener->by_text)
        rf_words_read(&answerer->words, connection->text, connection->text_len, listener->services, listener->service, &asked);
    answerer->counts.unknown += asked.unknown;
    if (asked.service == RF_ANSWER_NOBODY)
        return false;
    struct rf_peer *peer = rf_words_peer(&answerer->words, connection->ip, asked.tag);
    struct rf_spoken spoken;
    rf_words_pick(&answerer->words, peer, asked.service, now_ns, &spoken);
    answerer->counts.stale += spoken.stale;
    if (spoken.len == 0 ||
        send(connection->fd, spoken.line, spoken.len, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE) != (ssize_t)spoken.len)
        return false;
    shutdown(connection->fd, SHUT_WR); /* what MSG_MORE held back goes out with the FIN */
    if (rf_words_sent(&answerer->words, peer, asked.service, &spoken, now_ns))
        wake(answerer);
    return true;
}

static void answer(rf_answerer *answerer, uint32_t index, uint64_t now_ns)
{
    struct connection *connection = &answerer->connections[index];
    if (!speak(answerer, connection, now_ns)) {
        answerer->counts.silent++;
        end(answerer, index, true);
        return;
    }
    answerer->counts.answered++;
    list_drop(answerer, &answerer->waiting, index);
    connection->answered = 1;
    connection->deadline_ns = now_ns + (uint64_t)answerer->options.linger_ms * RF_NS_PER_MS;
    list_push(answerer, &answerer->lingering, index);
    answered_push(answerer, index);
}

/* Bytes of a connection: its text up to the line feed, then what nobody wants to know. False: it is over. */
static bool hear(rf_answerer *answerer, uint32_t index, uint64_t now_ns)
{
    struct connection *connection = &answerer->connections[index];
    char bytes[4096];
    for (;;) {
        const ssize_t got = recv(connection->fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got < 0)
            return errno == EAGAIN || errno == EINTR;
        if (got == 0)
            return false;
        if (connection->answered) {
            connection->discarded += (uint32_t)got;
            if (connection->discarded > DISCARD_MAX)
                return false;
            continue;
        }
        const uint32_t room = RF_ANSWER_TEXT_MAX - connection->text_len;
        const char *stop = memchr(bytes, '\n', (size_t)got);
        const uint32_t len = stop != NULL ? (uint32_t)(stop - bytes) : (uint32_t)got;
        memcpy(connection->text + connection->text_len, bytes, len < room ? len : room);
        connection->text_len += len < room ? len : room;
        if (stop == NULL && len < room)
            continue;
        answer(answerer, index, now_ns);
        if (!connection->used)
            return true; /* it went without an answer */
    }
}

static void on_event(rf_answerer *answerer, uint32_t index, uint32_t mask, uint64_t now_ns)
{
    struct connection *connection = &answerer->connections[index];
    if (!connection->used)
        return;
    if ((mask & (EPOLLERR | EPOLLHUP)) == 0 && hear(answerer, index, now_ns))
        return;
    if (!connection->used)
        return;
    /* A peer that has said all it wants and closed its side may still read: what it was sent is on its way. */
    if (!connection->answered && (mask & (EPOLLERR | EPOLLHUP)) == 0) {
        answer(answerer, index, now_ns);
        if (!connection->used)
            return;
    }
    end(answerer, index, connection->discarded > DISCARD_MAX);
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
    if (at == RF_NONE || answerer->sources[at].open < answerer->options.per_source_max)
        return true;
    const uint32_t oldest = answerer->sources[at].answered.oldest;
    if (oldest == RF_NONE)
        return false;
    answerer->counts.evicted += hear(answerer, oldest, now_ns);
    end(answerer, oldest, false);
    return true;
}

static void take(rf_answerer *answerer, uint32_t listener, int fd, const uint8_t ip[16], uint64_t now_ns)
{
    answerer->counts.accepted++;
    if (!may_ask(answerer, ip)) {
        answerer->counts.refused++;
        reset(fd);
        return;
    }
    if (answerer->counts.open == answerer->options.connections_max)
        make_room(answerer);
    uint8_t from[16];
    memcpy(from, ip, sizeof from);
    if (!has_share(answerer, find_source(answerer, from), now_ns)) {
        answerer->counts.crowded++;
        reset(fd);
        return;
    }
    const uint32_t source = enter(answerer, find_source(answerer, from), from); /* it may have gone with its last connection */
    const uint32_t index = place(answerer);
    struct connection *connection = &answerer->connections[index];
    *connection = (struct connection){.fd = fd, .listener = listener, .source = source, .used = 1};
    memcpy(connection->ip, ip, 16);
    connection->deadline_ns = now_ns + (uint64_t)answerer->options.text_ms * RF_NS_PER_MS;
    list_push(answerer, &answerer->waiting, index);
    answerer->counts.open++;
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u64 = (uint64_t)KIND_CONNECTION << 32 | index};
    if (epoll_ctl(answerer->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        end(answerer, index, true);
        return;
    }
    if (!answerer->listeners[listener].by_text)
        answer(answerer, index, now_ns);
}

/* False: the machine has no room for more just now. */
static bool take_new(rf_answerer *answerer, uint32_t listener, uint64_t now_ns)
{
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct sockaddr_storage from;
        socklen_t len = sizeof from;
        const int fd = accept4(answerer->listeners[listener].fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
        uint8_t ip[16];
        mapped(&from, ip);
        take(answerer, listener, fd, ip, now_ns);
    }
    return true;
}

/* Lists are in the order of their deadlines. */
static void expire(rf_answerer *answerer, uint64_t now_ns)
{
    for (uint32_t at = answerer->waiting.oldest; at != RF_NONE && answerer->connections[at].deadline_ns <= now_ns;
         at = answerer->waiting.oldest) {
        answerer->counts.late++;
        answerer->connections[at].text_len = 0;
        answer(answerer, at, now_ns);
    }
    for (uint32_t at = answerer->lingering.oldest; at != RF_NONE && answerer->connections[at].deadline_ns <= now_ns;
         at = answerer->lingering.oldest)
        end(answerer, at, true);
}

/* --- the thread -------------------------------------------------------------------------------------------------- */

static int until_next_ms(const rf_answerer *answerer, uint64_t now_ns)
{
    uint64_t next_ns = answerer->paused_until_ns ? answerer->paused_until_ns : RF_NEVER;
    const uint32_t oldest[2] = {answerer->waiting.oldest, answerer->lingering.oldest};
    for (int i = 0; i < 2; i++) {
        if (oldest[i] != RF_NONE && answerer->connections[oldest[i]].deadline_ns < next_ns)
            next_ns = answerer->connections[oldest[i]].deadline_ns;
    }
    if (next_ns == RF_NEVER)
        return -1;
    return next_ns <= now_ns ? 0 : (int)((next_ns - now_ns) / RF_NS_PER_MS + 1);
}

static void listen_again(rf_answerer *answerer, bool on)
{
    for (uint32_t i = 0; i < answerer->listeners_len; i++) {
        struct epoll_event event = {.events = on ? EPOLLIN : 0, .data.u64 = (uint64_t)KIND_LISTENER << 32 | i};
        (void)epoll_ctl(answerer->epoll_fd, EPOLL_CTL_MOD, answerer->listeners[i].fd, &event);
    }
}

static void turn(rf_answerer *answerer, const struct epoll_event *events, int n, uint64_t now_ns)
{
    bool room = true;
    for (int i = 0; i < n; i++) {
        const uint32_t kind = (uint32_t)(events[i].data.u64 >> 32), index = (uint32_t)events[i].data.u64;
        if (kind == KIND_CONNECTION)
            on_event(answerer, index, events[i].events, now_ns);
        else if (kind == KIND_LISTENER)
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
    struct epoll_event wake = {.events = EPOLLIN};
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
    answerer->free = answerer->waiting.oldest = answerer->waiting.newest = RF_NONE;
    answerer->lingering = answerer->waiting;
    answerer->sources_free = RF_NONE;
    memset(answerer->source_buckets, 0xff, sizeof answerer->source_buckets);
    pthread_mutex_init(&answerer->lock, NULL);
    answerer->sources = calloc(options->connections_max, sizeof *answerer->sources);
    answerer->connections = calloc(options->connections_max, sizeof *answerer->connections);
    if (!rf_words_open(&answerer->words) || answerer->sources == NULL || answerer->connections == NULL)
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
    for (uint32_t i = 0; i < answerer->connections_used; i++) {
        if (answerer->connections[i].used)
            close(answerer->connections[i].fd);
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
    free(answerer->sources);
    free(answerer->connections);
    free(answerer);
}

/* --- what Python asks -------------------------------------------------------------------------------------------- */

int32_t rf_answerer_listen(rf_answerer *answerer, int32_t fd, uint64_t services, uint32_t service, uint32_t by_text)
{
    if (service != RF_ANSWER_NOBODY && service >= RF_ANSWER_SERVICES_MAX)
        return rf_refuse(RF_BAD, EINVAL, "at most %d services", RF_ANSWER_SERVICES_MAX);
    pthread_mutex_lock(&answerer->lock);
    int32_t result = RF_OK;
    const uint32_t index = answerer->listeners_len;
    if (index == LISTENERS_MAX) {
        result = rf_refuse(RF_FULL, 0, "at most %d listeners", LISTENERS_MAX);
    } else {
        answerer->listeners[index] = (struct listener){fd, service, by_text, services};
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)KIND_LISTENER << 32 | index};
        if (epoll_ctl(answerer->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
            result = rf_refuse(RF_ERRNO, errno, "epoll");
        else
            answerer->listeners_len++;
    }
    pthread_mutex_unlock(&answerer->lock);
    return result;
}

int32_t rf_answerer_name(rf_answerer *answerer, const char *text, uint32_t service)
{
    const size_t len = strlen(text);
    if (len == 0 || len > RF_ANSWER_TEXT_MAX || service >= RF_ANSWER_SERVICES_MAX)
        return rf_refuse(RF_BAD, EINVAL, "a name of 1 to %d bytes, and one of %d services", RF_ANSWER_TEXT_MAX,
                         RF_ANSWER_SERVICES_MAX);
    pthread_mutex_lock(&answerer->lock);
    int32_t result = RF_OK;
    if (answerer->words.names_len == RF_ANSWER_NAMES_MAX) {
        result = rf_refuse(RF_FULL, 0, "at most %d names", RF_ANSWER_NAMES_MAX);
    } else {
        struct rf_answer_name *name = &answerer->words.names[answerer->words.names_len++];
        name->service = service;
        name->len = (uint32_t)len;
        memcpy(name->text, text, len + 1);
    }
    pthread_mutex_unlock(&answerer->lock);
    return result;
}

int32_t rf_answerer_allow(rf_answerer *answerer, const uint8_t ip[16], uint32_t bits)
{
    if (bits > 128)
        return rf_refuse(RF_BAD, EINVAL, "at most 128 bits");
    pthread_mutex_lock(&answerer->lock);
    int32_t result = RF_OK;
    if (answerer->allowed_len == ALLOWED_MAX) {
        result = rf_refuse(RF_FULL, 0, "at most %d networks", ALLOWED_MAX);
    } else {
        memcpy(answerer->allowed[answerer->allowed_len].ip, ip, 16);
        answerer->allowed[answerer->allowed_len++].bits = bits;
    }
    pthread_mutex_unlock(&answerer->lock);
    return result;
}

static bool is_line(const char *line, uint32_t len)
{
    return len <= RF_ANSWER_LINE_MAX && memchr(line, '\n', len) == NULL && memchr(line, '\r', len) == NULL &&
           memchr(line, 0, len) == NULL;
}

int32_t rf_answerer_say(rf_answerer *answerer, const rf_answer *said)
{
    bool good = said->service < RF_ANSWER_SERVICES_MAX;
    for (int i = 0; i < RF_ANSWER_LINES; i++)
        good = good && is_line(said->line[i], said->len[i]);
    if (!good)
        return rf_refuse(RF_BAD, EINVAL, "lines of at most %d bytes, for one of %d services", RF_ANSWER_LINE_MAX,
                         RF_ANSWER_SERVICES_MAX);
    pthread_mutex_lock(&answerer->lock);
    answerer->words.answers[said->service] = *said;
    pthread_mutex_unlock(&answerer->lock);
    return RF_OK;
}

static bool is_tag(const char tag[RF_ANSWER_TAG_MAX + 1])
{
    return memchr(tag, 0, RF_ANSWER_TAG_MAX + 1) != NULL;
}

int32_t rf_answerer_remember(rf_answerer *answerer, const rf_told *told)
{
    if (told->service >= RF_ANSWER_SERVICES_MAX || !is_tag(told->tag))
        return rf_refuse(RF_BAD, EINVAL, "at most %d services, and a tag of %d bytes", RF_ANSWER_SERVICES_MAX,
                         RF_ANSWER_TAG_MAX);
    pthread_mutex_lock(&answerer->lock);
    struct rf_peer *peer = rf_words_peer(&answerer->words, told->ip, told->tag);
    peer->owing += told->owed > 0;
    peer->owing -= peer->told[told->service].owed > 0;
    peer->told[told->service].owed = told->owed;
    peer->told[told->service].word = told->word;
    peer->told[told->service].known = 1;
    peer->told[told->service].at_ns = told->at_ns;
    if (told->at_ns > peer->seen_ns)
        peer->seen_ns = told->at_ns;
    pthread_mutex_unlock(&answerer->lock);
    return RF_OK;
}

int32_t rf_answerer_ask(rf_answerer *answerer, const uint8_t ip[16], const char *tag, uint32_t service, uint64_t now_ns,
                        uint32_t sent, char *out)
{
    if (service >= RF_ANSWER_SERVICES_MAX || strlen(tag) > RF_ANSWER_TAG_MAX)
        return rf_refuse(RF_BAD, EINVAL, "at most %d services, and a tag of %d bytes", RF_ANSWER_SERVICES_MAX,
                         RF_ANSWER_TAG_MAX);
    struct rf_spoken spoken;
    pthread_mutex_lock(&answerer->lock);
    struct rf_peer *peer = rf_words_peer(&answerer->words, ip, tag);
    rf_words_pick(&answerer->words, peer, service, now_ns, &spoken);
    if (spoken.len > 0 && sent && rf_words_sent(&answerer->words, peer, service, &spoken, now_ns))
        wake(answerer);
    pthread_mutex_unlock(&answerer->lock);
    memcpy(out, spoken.line, spoken.len);
    return (int32_t)spoken.len;
}

int32_t rf_answerer_drain(rf_answerer *answerer, rf_told *out, uint32_t max)
{
    pthread_mutex_lock(&answerer->lock);
    struct rf_words *words = &answerer->words;
    const uint32_t n = words->told_len < max ? words->told_len : max;
    memcpy(out, words->told, n * sizeof *out);
    memmove(words->told, words->told + n, (words->told_len - n) * sizeof *out);
    words->told_len -= n;
    uint64_t count;
    if (words->told_len == 0 && read(answerer->event_fd, &count, sizeof count) < 0)
        count = 0;
    pthread_mutex_unlock(&answerer->lock);
    return (int32_t)n;
}

int32_t rf_answerer_peers(rf_answerer *answerer, rf_told *out, uint32_t max)
{
    uint32_t n = 0;
    pthread_mutex_lock(&answerer->lock);
    const struct rf_words *words = &answerer->words;
    for (uint32_t i = 0; i < words->peers_len; i++) {
        const struct rf_peer *peer = &words->peers[i];
        for (uint32_t service = 0; service < RF_ANSWER_SERVICES_MAX && n < max; service++) {
            if (peer->told[service].at_ns == 0 && peer->told[service].owed == 0)
                continue;
            out[n] = (rf_told){.service = service,
                               .word = peer->told[service].word,
                               .owed = peer->told[service].owed,
                               .at_ns = peer->told[service].at_ns};
            memcpy(out[n].tag, peer->tag, sizeof out[n].tag);
            memcpy(out[n++].ip, peer->ip, 16);
        }
    }
    pthread_mutex_unlock(&answerer->lock);
    return (int32_t)n;
}

int32_t rf_answerer_event_fd(const rf_answerer *answerer)
{
    return answerer->event_fd;
}

void rf_answerer_counts_read(rf_answerer *answerer, rf_answerer_counts *out)
{
    pthread_mutex_lock(&answerer->lock);
    *out = answerer->counts;
    out->told_lost = answerer->words.told_lost;
    pthread_mutex_unlock(&answerer->lock);
}
