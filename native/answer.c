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
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "answer.h"
#include "internal.h"

enum { LISTENERS_MAX = 64, NAMES_MAX = 256, ALLOWED_MAX = 256, ONCE_MAX = 256, TOLD_MAX = 1024 };
enum { EVENTS_A_TURN = 64, ACCEPTS_A_TURN = 64, DISCARD_MAX = 65536, HASH = 4096 };
enum { KIND_LISTENER = 1, KIND_CONNECTION = 2 };
static const uint64_t PAUSE_NS = UINT64_C(50000000); /* after a want of descriptors or memory */

struct peer {
    uint8_t ip[16];
    uint32_t open, next; /* next: in its bucket */
    uint64_t seen_ns;
    struct {
        uint32_t word, known;
        uint64_t at_ns;
    } told[RF_ANSWER_SERVICES_MAX];
};
struct listener {
    int fd;
    uint32_t service, by_text;
};
struct connection {
    int fd;
    uint32_t listener, peer, older, newer;
    uint64_t deadline_ns;
    uint32_t text_len, discarded;
    uint8_t answered, used;
    char text[RF_ANSWER_TEXT_MAX + 1];
};
struct list {
    uint32_t oldest, newest;
};
struct once {
    uint8_t ip[16];
    uint32_t service, line_len;
    char line[RF_ANSWER_LINE_MAX + 1];
};
struct name {
    uint32_t service, len;
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
    struct name names[NAMES_MAX];
    uint32_t names_len;
    struct {
        uint8_t ip[16];
        uint32_t bits;
    } allowed[ALLOWED_MAX];
    uint32_t allowed_len;
    rf_answer answers[RF_ANSWER_SERVICES_MAX];
    struct once once[ONCE_MAX];
    uint32_t once_len;
    struct peer *peers;
    uint32_t peers_len, buckets[HASH];
    rf_told told[TOLD_MAX];
    uint32_t told_len;
    rf_answerer_counts counts;

    struct connection *connections; /* the thread's own, as are the lists */
    uint32_t connections_used, free;
    struct list waiting, lingering;
};

/* --- peers ------------------------------------------------------------------------------------------------------- */

static bool is_mapped(const uint8_t ip[16])
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(ip, prefix, sizeof prefix) == 0;
}

/* An address as a peer's: IPv6 neighbours of one /64 are one. */
static void peer_key(const uint8_t ip[16], uint8_t key[16])
{
    memcpy(key, ip, 16);
    if (!is_mapped(ip))
        memset(key + 8, 0, 8);
}

static uint32_t bucket_of(const uint8_t key[16])
{
    uint32_t hash = 2166136261u;
    for (int i = 0; i < 16; i++)
        hash = (hash ^ key[i]) * 16777619u;
    return hash % HASH;
}

static void unhash(rf_answerer *answerer, uint32_t index)
{
    uint32_t *at = &answerer->buckets[bucket_of(answerer->peers[index].ip)];
    while (*at != index)
        at = &answerer->peers[*at].next;
    *at = answerer->peers[index].next;
}

/* The place for another peer: a new one, or that of whoever has not come for longest. RF_NONE: all are here just now. */
static uint32_t place_for_peer(rf_answerer *answerer)
{
    if (answerer->peers_len < RF_ANSWER_PEERS_MAX)
        return answerer->peers_len++;
    uint32_t found = RF_NONE;
    for (uint32_t i = 0; i < answerer->peers_len; i++) {
        const struct peer *peer = &answerer->peers[i];
        if (peer->open == 0 && (found == RF_NONE || peer->seen_ns < answerer->peers[found].seen_ns))
            found = i;
    }
    if (found != RF_NONE)
        unhash(answerer, found);
    return found;
}

static uint32_t find_peer(rf_answerer *answerer, const uint8_t ip[16])
{
    uint8_t key[16];
    peer_key(ip, key);
    const uint32_t bucket = bucket_of(key);
    for (uint32_t at = answerer->buckets[bucket]; at != RF_NONE; at = answerer->peers[at].next) {
        if (memcmp(answerer->peers[at].ip, key, 16) == 0)
            return at;
    }
    const uint32_t index = place_for_peer(answerer);
    if (index == RF_NONE)
        return RF_NONE;
    struct peer *peer = &answerer->peers[index];
    memset(peer, 0, sizeof *peer);
    memcpy(peer->ip, key, 16);
    peer->next = answerer->buckets[bucket];
    answerer->buckets[bucket] = index;
    return index;
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

/* --- what is said ------------------------------------------------------------------------------------------------ */

static struct once *find_once(rf_answerer *answerer, const uint8_t key[16], uint32_t service)
{
    for (uint32_t i = 0; i < answerer->once_len; i++) {
        if (answerer->once[i].service == service && memcmp(answerer->once[i].ip, key, 16) == 0)
            return &answerer->once[i];
    }
    return NULL;
}

static void drop_once(rf_answerer *answerer, struct once *once)
{
    *once = answerer->once[--answerer->once_len];
}

static void note_told(rf_answerer *answerer, struct peer *peer, uint32_t service, uint32_t word, bool once, uint64_t now_ns)
{
    const bool news = !peer->told[service].known || peer->told[service].word != word || once;
    peer->told[service].at_ns = now_ns;
    if (!news)
        return;
    if (answerer->told_len == TOLD_MAX) {
        answerer->counts.told_lost++;
        return;
    }
    peer->told[service].known = 1;
    peer->told[service].word = word;
    rf_told *told = &answerer->told[answerer->told_len++];
    *told = (rf_told){.service = service, .word = word, .once = once, .at_ns = now_ns};
    memcpy(told->ip, peer->ip, 16);
    const uint64_t one = 1;
    if (write(answerer->event_fd, &one, sizeof one) < 0)
        return; /* it is readable already */
}

struct chosen {
    uint32_t len; /* with the line feed; 0: nothing is to be said */
    bool once, stale;
    char line[RF_ANSWER_LINE_MAX + 2];
};

static void choose(rf_answerer *answerer, uint32_t peer_index, uint32_t service, uint64_t now_ns, struct chosen *out)
{
    out->len = 0;
    out->once = out->stale = false;
    if (service >= RF_ANSWER_SERVICES_MAX)
        return;
    const rf_answer *answer = &answerer->answers[service];
    const bool stale = now_ns > answer->good_until_ns;
    const char *line = stale ? answer->stale : answer->line;
    uint32_t len = stale ? answer->stale_len : answer->line_len;
    const struct once *own = stale ? NULL : find_once(answerer, answerer->peers[peer_index].ip, service);
    if (own != NULL) {
        line = own->line;
        len = own->line_len;
        out->once = true;
    }
    out->stale = stale;
    answerer->counts.stale += stale;
    if (len == 0)
        return;
    memcpy(out->line, line, len);
    out->line[len] = '\n';
    out->len = len + 1;
}

static uint32_t service_of(rf_answerer *answerer, struct connection *connection)
{
    const struct listener *listener = &answerer->listeners[connection->listener];
    if (!listener->by_text)
        return listener->service;
    uint32_t len = connection->text_len;
    while (len > 0 && (connection->text[len - 1] == '\r' || connection->text[len - 1] == ' '))
        len--;
    if (len == 0)
        return listener->service;
    for (uint32_t i = 0; i < answerer->names_len; i++) {
        if (answerer->names[i].len == len && memcmp(answerer->names[i].text, connection->text, len) == 0)
            return answerer->names[i].service;
    }
    answerer->counts.unknown++;
    return listener->service;
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
    if (rudely)
        reset(connection->fd);
    else
        close(connection->fd);
    answerer->peers[connection->peer].open--;
    answerer->counts.open--;
    connection->used = 0;
    connection->newer = answerer->free;
    answerer->free = index;
}

/* A place for another connection: a free one, a new one, or that of the oldest, answered ones first. */
static uint32_t place(rf_answerer *answerer)
{
    if (answerer->free == RF_NONE && answerer->connections_used == answerer->options.connections_max) {
        const uint32_t oldest = answerer->lingering.oldest != RF_NONE ? answerer->lingering.oldest : answerer->waiting.oldest;
        answerer->counts.evicted++;
        end(answerer, oldest, !answerer->connections[oldest].answered);
    }
    if (answerer->free == RF_NONE)
        return answerer->connections_used++;
    const uint32_t index = answerer->free;
    answerer->free = answerer->connections[index].newer;
    return index;
}

/* --- connections ------------------------------------------------------------------------------------------------- */

static void answer(rf_answerer *answerer, uint32_t index, uint64_t now_ns)
{
    struct connection *connection = &answerer->connections[index];
    const uint32_t service = service_of(answerer, connection);
    struct chosen chosen;
    choose(answerer, connection->peer, service, now_ns, &chosen);
    if (chosen.len == 0 ||
        send(connection->fd, chosen.line, chosen.len, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE) != (ssize_t)chosen.len) {
        answerer->counts.silent++;
        end(answerer, index, true);
        return;
    }
    shutdown(connection->fd, SHUT_WR); /* what MSG_MORE held back goes out with the FIN */
    answerer->counts.answered++;
    struct peer *peer = &answerer->peers[connection->peer];
    if (!chosen.stale) /* a line for want of a better one is no word that has to be taken back */
        note_told(answerer, peer, service, answerer->answers[service].word, chosen.once, now_ns);
    struct once *own = chosen.once ? find_once(answerer, peer->ip, service) : NULL;
    if (own != NULL)
        drop_once(answerer, own);
    list_drop(answerer, &answerer->waiting, index);
    connection->answered = 1;
    connection->deadline_ns = now_ns + (uint64_t)answerer->options.linger_ms * RF_NS_PER_MS;
    list_push(answerer, &answerer->lingering, index);
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

static void take(rf_answerer *answerer, uint32_t listener, int fd, const uint8_t ip[16], uint64_t now_ns)
{
    answerer->counts.accepted++;
    if (!may_ask(answerer, ip)) {
        answerer->counts.refused++;
        reset(fd);
        return;
    }
    const uint32_t peer = find_peer(answerer, ip);
    if (peer == RF_NONE || answerer->peers[peer].open >= answerer->options.per_peer_max) {
        answerer->counts.crowded++;
        reset(fd);
        return;
    }
    answerer->peers[peer].open++; /* first: it must not go with a connection that is given up for this one */
    answerer->peers[peer].seen_ns = now_ns;
    const uint32_t index = place(answerer);
    struct connection *connection = &answerer->connections[index];
    *connection = (struct connection){.fd = fd, .listener = listener, .peer = peer, .used = 1};
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

static void *run(void *arg)
{
    rf_answerer *answerer = arg;
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
    if (options->connections_max == 0 || options->connections_max > 1u << 20 || options->per_peer_max == 0 ||
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
    memset(answerer->buckets, 0xff, sizeof answerer->buckets);
    pthread_mutex_init(&answerer->lock, NULL);
    answerer->peers = calloc(RF_ANSWER_PEERS_MAX, sizeof *answerer->peers);
    answerer->connections = calloc(options->connections_max, sizeof *answerer->connections);
    if (answerer->peers == NULL || answerer->connections == NULL)
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
    free(answerer->peers);
    free(answerer->connections);
    free(answerer);
}

/* --- what Python asks -------------------------------------------------------------------------------------------- */

int32_t rf_answerer_listen(rf_answerer *answerer, int32_t fd, uint32_t service, uint32_t by_text)
{
    if (service != RF_ANSWER_NOBODY && service >= RF_ANSWER_SERVICES_MAX)
        return rf_refuse(RF_BAD, EINVAL, "at most %d services", RF_ANSWER_SERVICES_MAX);
    pthread_mutex_lock(&answerer->lock);
    int32_t result = RF_OK;
    const uint32_t index = answerer->listeners_len;
    if (index == LISTENERS_MAX) {
        result = rf_refuse(RF_FULL, 0, "at most %d listeners", LISTENERS_MAX);
    } else {
        answerer->listeners[index] = (struct listener){fd, service, by_text};
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
    if (answerer->names_len == NAMES_MAX) {
        result = rf_refuse(RF_FULL, 0, "at most %d names", NAMES_MAX);
    } else {
        struct name *name = &answerer->names[answerer->names_len++];
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
    if (said->service >= RF_ANSWER_SERVICES_MAX || !is_line(said->line, said->line_len) ||
        !is_line(said->stale, said->stale_len))
        return rf_refuse(RF_BAD, EINVAL, "lines of at most %d bytes, for one of %d services", RF_ANSWER_LINE_MAX,
                         RF_ANSWER_SERVICES_MAX);
    pthread_mutex_lock(&answerer->lock);
    answerer->answers[said->service] = *said;
    pthread_mutex_unlock(&answerer->lock);
    return RF_OK;
}

int32_t rf_answerer_once(rf_answerer *answerer, const uint8_t ip[16], uint32_t service, const char *line, uint32_t line_len)
{
    if (service >= RF_ANSWER_SERVICES_MAX || !is_line(line, line_len))
        return rf_refuse(RF_BAD, EINVAL, "a line of at most %d bytes", RF_ANSWER_LINE_MAX);
    uint8_t key[16];
    peer_key(ip, key);
    int32_t result = RF_OK;
    pthread_mutex_lock(&answerer->lock);
    struct once *once = find_once(answerer, key, service);
    if (line_len == 0) {
        if (once != NULL)
            drop_once(answerer, once);
    } else if (once == NULL && answerer->once_len == ONCE_MAX) {
        result = rf_refuse(RF_FULL, 0, "at most %d peers are told a line of their own at once", ONCE_MAX);
    } else {
        if (once == NULL)
            once = &answerer->once[answerer->once_len++];
        memcpy(once->ip, key, 16);
        once->service = service;
        once->line_len = line_len;
        memcpy(once->line, line, line_len);
    }
    pthread_mutex_unlock(&answerer->lock);
    return result;
}

int32_t rf_answerer_told(rf_answerer *answerer, const uint8_t ip[16], uint32_t service, uint32_t word)
{
    if (service >= RF_ANSWER_SERVICES_MAX)
        return rf_refuse(RF_BAD, EINVAL, "at most %d services", RF_ANSWER_SERVICES_MAX);
    pthread_mutex_lock(&answerer->lock);
    const uint32_t index = find_peer(answerer, ip);
    if (index != RF_NONE) {
        answerer->peers[index].told[service].known = 1;
        answerer->peers[index].told[service].word = word;
    }
    pthread_mutex_unlock(&answerer->lock);
    return RF_OK;
}

int32_t rf_answerer_drain(rf_answerer *answerer, rf_told *out, uint32_t max)
{
    pthread_mutex_lock(&answerer->lock);
    const uint32_t n = answerer->told_len < max ? answerer->told_len : max;
    memcpy(out, answerer->told, n * sizeof *out);
    memmove(answerer->told, answerer->told + n, (answerer->told_len - n) * sizeof *out);
    answerer->told_len -= n;
    uint64_t count;
    if (answerer->told_len == 0 && read(answerer->event_fd, &count, sizeof count) < 0)
        count = 0;
    pthread_mutex_unlock(&answerer->lock);
    return (int32_t)n;
}

int32_t rf_answerer_peers(rf_answerer *answerer, rf_told *out, uint32_t max)
{
    uint32_t n = 0;
    pthread_mutex_lock(&answerer->lock);
    for (uint32_t i = 0; i < answerer->peers_len; i++) {
        const struct peer *peer = &answerer->peers[i];
        for (uint32_t service = 0; service < RF_ANSWER_SERVICES_MAX && n < max; service++) {
            if (peer->told[service].at_ns == 0)
                continue;
            out[n] = (rf_told){.service = service, .word = peer->told[service].word, .at_ns = peer->told[service].at_ns};
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
    pthread_mutex_unlock(&answerer->lock);
}
