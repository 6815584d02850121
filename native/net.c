/* net.c - sockets, and the only file that calls them.
 *
 * A slot keeps its TCP socket from one check to the next: connect() to AF_UNSPEC resets the connection (an RST, as
 * HAProxy ends most checks) and leaves the socket ready, with a new local port. Three facts of the kernel make it
 * work: epoll must be edge-triggered (a reset socket reports HUP for ever to a level-triggered one); epoll_wait
 * computes an event's mask when it reports, so that nothing of the old connection is reported once the new connect()
 * has begun; TCP_QUICKACK off is forgotten at each reset and has to be set again. Sockets that end with FIN, are bound
 * to an address or an interface, or are UNIX ones are made anew each time.
 *
 * Data carries the kernel's time of arrival (SO_TIMESTAMPNS), because the loop gathers answers for some milliseconds
 * when it is busy: a duration must tell the server's time, not ours.
 */
#include <errno.h>
#include <sched.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

static bool inject(rf_engine *engine, int call)
{
    struct fault *fault = &engine->faults[call];
    if (fault->times == 0)
        return false;
    fault->times--;
    errno = fault->error;
    return true;
}

void rf_inject(rf_engine *engine, int32_t call, int32_t error, uint32_t times)
{
    RF_ASSERT(call >= 0 && call < RF_CALLS);
    engine->faults[call] = (struct fault){error, times};
}

/* Where a connection goes; bytes: the address, or the path of a local one. */
struct goal {
    uint8_t family, len;
    uint16_t port;
    uint32_t scope;
    const void *bytes;
};

static struct goal goal_of(const struct check *check, const rf_want *want)
{
    if (want->to != NULL)
        return (struct goal){want->to->family, want->to->addr_len, want->port, want->to->scope, want->to->addr};
    const bool local = check->aim.family == RF_UNIX || check->aim.family == RF_ABSTRACT;
    return (struct goal){check->aim.family, check->addr_len, want->port, check->scope,
                         local ? (const void *)check->addr.path : (const void *)&check->addr};
}

static bool is_local(const struct goal *goal)
{
    return goal->family == RF_UNIX || goal->family == RF_ABSTRACT;
}

static socklen_t to_sockaddr(const struct goal *goal, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (goal->family == RF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons(goal->port);
        memcpy(&in->sin_addr, goal->bytes, 4);
        return sizeof *in;
    }
    if (goal->family == RF_INET6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(goal->port);
        in6->sin6_scope_id = goal->scope;
        memcpy(&in6->sin6_addr, goal->bytes, 16);
        return sizeof *in6;
    }
    struct sockaddr_un *un = (struct sockaddr_un *)out;
    const size_t offset = goal->family == RF_ABSTRACT ? 1 : 0;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path + offset, goal->bytes, goal->len);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + offset + goal->len + (offset ? 0 : 1));
}

static int bind_source(int fd, const struct source *source)
{
    if (source->interface[0] != 0 &&
        setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, source->interface, (socklen_t)strlen(source->interface)) < 0)
        return errno;
    if (source->from.family != RF_INET && source->from.family != RF_INET6)
        return 0;
    const int one = 1;
    struct goal like = {source->from.family, source->from.addr_len, 0, source->from.scope, source->from.addr};
    /* Every port of the range in turn; without a range the kernel chooses, and only at connect(). */
    if (source->from.port == 0)
        (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    else
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    uint16_t last = source->port_max > source->from.port ? source->port_max : source->from.port;
    for (uint32_t port = source->from.port; port <= last; port++) {
        struct sockaddr_storage addr;
        like.port = (uint16_t)port;
        const socklen_t len = to_sockaddr(&like, &addr);
        if (bind(fd, (struct sockaddr *)&addr, len) == 0)
            return 0;
        if (errno != EADDRINUSE)
            break;
    }
    return errno;
}

/* The kernel stamps packets while some socket wants it, and patches itself when the first one comes and when the last one
 * goes: with sockets that live for one check only, it would do so thousands of times a second. One that stays keeps it on. */
void net_open(rf_engine *engine)
{
    const int one = 1;
    engine->stamp_fd = engine->options.gather_us > 0 ? socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    if (engine->stamp_fd >= 0)
        (void)setsockopt(engine->stamp_fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
}

void net_close(rf_engine *engine)
{
    if (engine->stamp_fd >= 0)
        close(engine->stamp_fd);
}

/* A socket belongs to the namespace that its thread is in when it is made, and only then. */
static int socket_within(const rf_engine *engine, const struct source *source, int domain)
{
    const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    if (source == NULL || source->netns == 0 || domain == AF_UNIX)
        return socket(domain, type, 0);
    if (setns(source->netns, CLONE_NEWNET) < 0)
        return -1;
    const int fd = socket(domain, type, 0);
    const int error = errno;
    RF_ASSERT(setns(engine->own_netns, CLONE_NEWNET) == 0); /* every other check would go astray */
    errno = error;
    return fd;
}

static int watch(const rf_engine *engine, const struct slot *slot, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.u32 = (uint32_t)(slot - engine->slots)};
    return epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? errno : 0;
}

/* A socket that lives for one connection is not asked for times of arrival: that would be one call more for each check.
 * It is watched only once its connection has begun: before, it would be ready at once, with nothing to tell. */
static int make_socket(rf_engine *engine, struct slot *slot, const struct check *check, uint8_t family, bool keep)
{
    const int domain = family == RF_INET ? AF_INET : family == RF_INET6 ? AF_INET6 : AF_UNIX;
    const int fd = inject(engine, RF_CALL_SOCKET) ? -1 : socket_within(engine, check->source, domain);
    if (fd < 0)
        return errno;
    const int one = 1;
    int error = check->source != NULL && domain != AF_UNIX ? bind_source(fd, check->source) : 0;
    if (error == 0) {
        slot->stamps = keep && engine->options.gather_us > 0 &&
                       setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one) == 0;
        if (keep)
            error = watch(engine, slot, fd);
    }
    if (error != 0) {
        close(fd);
        return error;
    }
    slot->fd = fd;
    slot->prompt = 0;
    return 0;
}

/* What still waits for an ACK when the connection is reset is thrown away: several words in a row must not wait. */
static void make_prompt(struct slot *slot)
{
    const int one = 1;
    if (!slot->prompt)
        slot->prompt = setsockopt(slot->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0;
}

void net_drop(rf_engine *engine, struct slot *slot)
{
    if (slot->fd < 0)
        return;
    close(slot->fd); /* leaves the epoll set by itself: nobody else holds this file */
    slot->fd = -1;
    slot->connection = 0;
    if (slot->pool != POOL_NONE)
        engine->sockets_kept--;
    slot->pool = POOL_NONE;
}

/* A socket for this connection: the one that the slot keeps, where it is of the right kind, or a new one. */
static int socket_for(rf_engine *engine, struct slot *slot, const struct check *check, const rf_want *want, uint8_t family)
{
    const bool inet = family == RF_INET || family == RF_INET6;
    const bool keep = check->source == NULL && inet && !(want->how & RF_HOW_FRESH_SOCKET);
    const uint8_t pool = !keep ? POOL_NONE : family == RF_INET ? POOL_INET : POOL_INET6;
    if (slot->fd >= 0 && slot->pool == pool)
        return 0;
    net_drop(engine, slot);
    const int error = make_socket(engine, slot, check, family, keep);
    if (error != 0)
        return error;
    slot->pool = pool;
    if (keep)
        engine->sockets_kept++;
    return 0;
}

/* Begins a connection. NET_DONE: established at once, NET_AGAIN: under way, else an errno and <where> it arose. */
int net_connect(rf_engine *engine, struct slot *slot, const struct check *check, const rf_want *want, int *where)
{
    const struct goal goal = goal_of(check, want);
    *where = RF_AT_SOCKET;
    const int error = socket_for(engine, slot, check, want, goal.family);
    if (error != 0)
        return error;
    /* HAProxy counts a UNIX socket that cannot be reached among those that could not be made (SOCKERR, run on 2.6). */
    *where = is_local(&goal) ? RF_AT_SOCKET : RF_AT_CONNECT;
    slot->connection = want->connection;
    slot->ready = 0;
    slot->connecting = 1;
    if ((check->program->sends > 1 || check->extras != NULL) && !is_local(&goal))
        make_prompt(slot);
    if ((want->how & RF_HOW_QUIET_ACK) && !is_local(&goal)) {
        const int off = 0;
        (void)setsockopt(slot->fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof off);
    }
    struct sockaddr_storage addr;
    const socklen_t len = to_sockaddr(&goal, &addr);
    const int result = inject(engine, RF_CALL_CONNECT) ? -1 : connect(slot->fd, (struct sockaddr *)&addr, len);
    if (result < 0 && errno != EINPROGRESS) /* an INET one says EAGAIN when no local port is left, a UNIX one of a full backlog */
        return errno == EAGAIN && !is_local(&goal) ? EADDRNOTAVAIL : errno;
    const int unwatched = slot->pool == POOL_NONE ? watch(engine, slot, slot->fd) : 0;
    if (unwatched != 0) {
        *where = RF_AT_SOCKET;
        return unwatched;
    }
    return result == 0 ? NET_DONE : NET_AGAIN;
}

static void from_sockaddr(const struct sockaddr_storage *from, rf_address *out)
{
    *out = (rf_address){0};
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)from;
        *out = (rf_address){.family = RF_INET, .addr_len = 4, .port = ntohs(in->sin_port)};
        memcpy(out->addr, &in->sin_addr, 4);
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)from;
        *out = (rf_address){.family = RF_INET6, .addr_len = 16, .port = ntohs(in6->sin6_port)};
        memcpy(out->addr, &in6->sin6_addr, 16);
    } else {
        out->family = RF_UNIX;
    }
}

void net_tell_addresses(struct slot *slot)
{
    struct sockaddr_storage ends[2];
    rf_address local = {0}, remote = {0};
    socklen_t len = sizeof ends[0];
    if (getsockname(slot->fd, (struct sockaddr *)&ends[0], &len) == 0)
        from_sockaddr(&ends[0], &local);
    len = sizeof ends[1];
    if (getpeername(slot->fd, (struct sockaddr *)&ends[1], &len) == 0)
        from_sockaddr(&ends[1], &remote);
    rf_probe_addresses(&slot->probe, &local, &remote);
}

/* What became of a connect under way, once epoll has said something of it. */
int net_established(rf_engine *engine, struct slot *slot)
{
    (void)engine;
    if (slot->ready & READY_END) {
        int error = 0;
        socklen_t len = sizeof error;
        if (getsockopt(slot->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
            error = errno;
        if (error != 0)
            return error;
    }
    return slot->ready & READY_OUT ? NET_DONE : NET_AGAIN;
}

int net_send(rf_engine *engine, struct slot *slot, const uint8_t *out, uint32_t len, uint32_t *sent)
{
    const ssize_t n = inject(engine, RF_CALL_SEND) ? -1 : send(slot->fd, out, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
        *sent = (uint32_t)n;
        return NET_DONE;
    }
    if (errno == EAGAIN || errno == EINTR) {
        slot->ready &= (uint8_t)~READY_OUT;
        return NET_AGAIN;
    }
    return errno;
}

static uint64_t stamp_of(const rf_engine *engine, struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec at;
            memcpy(&at, CMSG_DATA(c), sizeof at);
            const uint64_t real_ns = (uint64_t)at.tv_sec * UINT64_C(1000000000) + (uint64_t)at.tv_nsec;
            return real_ns - engine->realtime_offset_ns;
        }
    }
    return engine->now_ns;
}

int net_receive(rf_engine *engine, struct slot *slot, uint8_t *in, uint32_t max, uint32_t *got, uint64_t *when_ns)
{
    *when_ns = engine->now_ns;
    if (!(slot->ready & (READY_IN | READY_END)))
        return NET_AGAIN;
    struct iovec part = {in, max};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    const ssize_t n = inject(engine, RF_CALL_RECV) ? -1
                      : slot->stamps               ? recvmsg(slot->fd, &message, MSG_DONTWAIT)
                                                   : recv(slot->fd, in, max, MSG_DONTWAIT); /* the cheaper one */
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return errno;
        slot->ready &= (uint8_t)~READY_IN;
        return NET_AGAIN;
    }
    /* Less than asked for: the queue is empty, and the next bytes make an edge of their own. */
    if ((uint32_t)n < max)
        slot->ready &= (uint8_t)~READY_IN;
    if (n > 0 && slot->stamps) {
        const uint64_t when = stamp_of(engine, &message);
        if (when >= slot->started_ns && when < engine->now_ns)
            *when_ns = when;
    }
    *got = (uint32_t)n;
    return NET_DONE;
}

/* Ends the open connection. A kept socket is reset in place; any other is closed, with RST or FIN. */
void net_end(rf_engine *engine, struct slot *slot, int32_t how)
{
    if (slot->fd < 0)
        return;
    slot->connection = 0;
    slot->connecting = 0;
    if (how == RF_CLOSE_RST && slot->pool != POOL_NONE) {
        const struct sockaddr unspecified = {.sa_family = AF_UNSPEC};
        if (connect(slot->fd, &unspecified, sizeof unspecified) == 0)
            return;
    }
    if (how == RF_CLOSE_RST) {
        const struct linger reset = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(slot->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    }
    net_drop(engine, slot);
}
