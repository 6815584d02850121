/* play_door.c - listeners: their addresses, whether they accept, and what happens when descriptors run out. */
#include "play.h"

enum {
    ACCEPTS = 64,   /* of one listener a turn */
    STARVED_MS = 10 /* how long accepting rests when descriptors or connections ran out */
};

void rf_played_watch_listeners(rf_play *play, bool watch)
{
    for (uint32_t i = 0; i < play->listeners_len; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = rf_played_event(FOR_LISTENER, 0, i)};
        if (play->listeners[i].door == RF_PLAY_OPEN)
            epoll_ctl(play->epoll, watch ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, play->listeners[i].fd, &event);
    }
}

static void starve(rf_play *play)
{
    play->starved = true;
    play->starved_until_ms = play->now_ms + STARVED_MS;
    rf_played_watch_listeners(play, false);
}

void rf_played_listener_event(rf_play *play, struct listener *listener)
{
    for (uint32_t i = 0; i < ACCEPTS && listener->door == RF_PLAY_OPEN && !play->starved; i++) {
        if (play->free_head == RF_NONE) {
            starve(play);
            return;
        }
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            rf_played_begin(play, listener, fd);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            starve(play);
        else if (errno != ECONNABORTED && errno != EINTR)
            return;
    }
}

socklen_t rf_played_address(const rf_address *at, union any_address *out)
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
    socklen_t len = rf_played_address(at, &address);
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

void rf_played_shut_door(rf_play *play, struct listener *listener)
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
    socklen_t len = rf_played_address(&listener->at, &address);
    for (uint32_t i = 0; i < FILLERS; i++) {
        int fd = socket(address.plain.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, &address.plain, len) < 0 && errno != EINPROGRESS) {
            close(fd);
            fd = -1;
        }
        listener->fillers[i] = fd;
    }
}

int32_t rf_played_open_door(rf_play *play, struct listener *listener, int door)
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
                                .data.u64 = rf_played_event(FOR_LISTENER, 0, (uint32_t)(listener - play->listeners))};
    if (!play->starved && epoll_ctl(play->epoll, EPOLL_CTL_ADD, listener->fd, &event) < 0)
        return rf_refuse(RF_ERRNO, errno, "epoll_ctl: %s", strerror(errno));
    return RF_OK;
}

int32_t rf_played_add_listener(rf_play *play, const rf_address *at, uint32_t backlog, uint32_t *listener_out,
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
    listener->script = rf_played_script_new(&silent, 1, 0, NULL, 0);
    int32_t result = listener->script == NULL ? RF_NOMEM : rf_played_open_door(play, listener, RF_PLAY_OPEN);
    if (result != RF_OK) {
        close(listener->fd);
        rf_played_script_drop(listener->script);
        return result;
    }
    *listener_out = play->listeners_len++;
    *port_out = listener->at.port;
    return RF_OK;
}
