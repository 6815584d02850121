/* track_checks.c - sockets and files: each is asked once, within the deadline. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "track.h"

static const uint64_t NS_PER_S = UINT64_C(1000000000);
static const uint64_t BACKLOG_PAUSE_NS = UINT64_C(5000000); /* a full backlog gives no sign when it has room */
enum { INFO_BYTES_MAX = 65536 };

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t rt_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static int fail(rt_run *run, int verdict, const char *what, int error)
{
    rt_add(run->why, what);
    if (error != 0) {
        rt_add(run->why, ": ");
        rt_add_errno(run->why, error);
    }
    return verdict;
}

/* Whether <fd> is ready before the deadline. */
static bool wait_for(rt_run *run, int fd, short events)
{
    for (;;) {
        const uint64_t now_ns = rt_now_ns();
        if (now_ns >= run->deadline_ns)
            return false;
        const uint64_t left_ns = run->deadline_ns - now_ns;
        const struct timespec left = {.tv_sec = (time_t)(left_ns / NS_PER_S), .tv_nsec = (long)(left_ns % NS_PER_S)};
        struct pollfd one = {.fd = fd, .events = events};
        const int ready = ppoll(&one, 1, &left, NULL);
        if (ready > 0)
            return true;
        if (ready == 0 || errno != EINTR)
            return false;
    }
}

/* 0, or the errno. ETIMEDOUT stands for the deadline. */
static int connect_within(rt_run *run, int fd, const struct sockaddr *to, socklen_t len)
{
    while (connect(fd, to, len) != 0) {
        if (errno == EISCONN)
            return 0;
        if (errno == EAGAIN) { /* a UNIX socket whose backlog is full */
            if (rt_now_ns() + BACKLOG_PAUSE_NS >= run->deadline_ns)
                return ETIMEDOUT;
            const struct timespec pause = {.tv_nsec = (long)BACKLOG_PAUSE_NS};
            (void)nanosleep(&pause, NULL);
            continue;
        }
        if (errno != EINPROGRESS)
            return errno;
        if (!wait_for(run, fd, POLLOUT))
            return ETIMEDOUT;
        int error = 0;
        socklen_t size = sizeof error;
        (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
        return error;
    }
    return 0;
}

static int open_unix(rt_run *run, const char *path, int type, int *error)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const size_t len = strlen(path);
    if (len >= sizeof to.sun_path) {
        *error = ENAMETOOLONG;
        return -1;
    }
    memcpy(to.sun_path, path, len);
    const int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        *error = errno;
        return -1;
    }
    *error = connect_within(run, fd, (const struct sockaddr *)&to, sizeof to);
    if (*error == 0)
        return fd;
    close(fd);
    return -1;
}

static int open_tcp(rt_run *run, const rt_address *to, int *error)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address, mine;
    socklen_t len = sizeof address.v4;
    memset(&address, 0, sizeof address);
    if (to->family == AF_INET) {
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons(to->port);
        memcpy(&address.v4.sin_addr, to->address, 4);
    } else {
        len = sizeof address.v6;
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons(to->port);
        memcpy(&address.v6.sin6_addr, to->address, 16);
    }
    const int fd = socket(to->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        *error = errno;
        return -1;
    }
    *error = connect_within(run, fd, &address.any, len);
    /* A port of the ephemeral range that nobody listens on may become our own: TCP then connects to itself. */
    socklen_t mine_len = sizeof mine;
    memset(&mine, 0, sizeof mine);
    if (*error == 0 && getsockname(fd, &mine.any, &mine_len) == 0 && mine.v4.sin_port == htons(to->port) &&
        (to->family == AF_INET ? memcmp(&mine.v4.sin_addr, to->address, 4) : memcmp(&mine.v6.sin6_addr, to->address, 16)) == 0)
        *error = ECONNREFUSED;
    if (*error == 0)
        return fd;
    close(fd);
    return -1;
}

/* Bytes, 0 at the end of the stream, -1 with errno; ETIMEDOUT stands for the deadline. */
static ssize_t receive(rt_run *run, int fd, char *into, size_t max)
{
    for (;;) {
        const ssize_t got = recv(fd, into, max, 0);
        if (got >= 0 || (errno != EAGAIN && errno != EINTR))
            return got;
        if (!wait_for(run, fd, POLLIN)) {
            errno = ETIMEDOUT;
            return -1;
        }
    }
}

static bool send_all(rt_run *run, int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        const ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL);
        if (sent > 0) {
            bytes += sent;
            len -= (size_t)sent;
        } else if (errno == EAGAIN && !wait_for(run, fd, POLLOUT)) {
            errno = ETIMEDOUT;
            return false;
        } else if (errno != EAGAIN && errno != EINTR) {
            return false;
        }
    }
    return true;
}

static int late_or(int error, const char **what, const char *late)
{
    if (error != ETIMEDOUT)
        return error;
    *what = late;
    return 0;
}

int rt_ask(rt_run *run, const char *socket_path, const char *kind, const char *name, const char *least)
{
    char packet[RT_PACKET_MAX], path[108];
    const size_t path_len = strlen(socket_path);
    static const char suffix[] = ".track";
    int error = ENAMETOOLONG, fd = -1;
    if (path_len + sizeof suffix <= sizeof path) {
        memcpy(path, socket_path, path_len);
        memcpy(path + path_len, suffix, sizeof suffix);
        fd = open_unix(run, path, SOCK_SEQPACKET, &error);
    }
    const char *what = "risefall's daemon cannot be asked";
    if (fd < 0) {
        error = late_or(error, &what, "risefall's daemon did not answer in time");
        return fail(run, RT_UNKNOWN, what, error);
    }
    size_t len = 0;
    const char *parts[] = {kind, "\n", name, "\n", least};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const size_t more = strlen(parts[i]);
        if (len + more > sizeof packet)
            return fail(run, RT_BAD, "the name is too long", 0);
        memcpy(packet + len, parts[i], more);
        len += more;
    }
    ssize_t got = -1;
    if (send_all(run, fd, packet, len))
        got = receive(run, fd, packet, sizeof packet);
    if (got > 0)
        return rt_parse_answer(packet, (size_t)got, run->why);
    error = got == 0 ? ECONNRESET : errno;
    error = late_or(error, &what, "risefall's daemon did not answer in time");
    return fail(run, RT_UNKNOWN, what, error);
}

int rt_tcp(rt_run *run, const rt_address *to)
{
    int error;
    if (open_tcp(run, to, &error) >= 0)
        return RT_GOOD;
    const char *what = "cannot connect";
    error = late_or(error, &what, "no connection in time");
    return fail(run, RT_BAD, what, error);
}

int rt_http(rt_run *run, const rt_url *url, const char *codes)
{
    char request[RT_PACKET_MAX * 2], reply[16];
    static const char head[] = " HTTP/1.1\r\nHost: ";
    static const char tail[] = "\r\nUser-Agent: risefall-track\r\nAccept: */*\r\nConnection: close\r\n\r\n";
    const char *path = *url->path != '\0' ? url->path : "/";
    const struct {
        const char *text;
        size_t len;
    } parts[] = {{"GET ", 4}, {path, strlen(path)}, {head, sizeof head - 1}, {url->host, url->host_len}, {tail, sizeof tail - 1}};
    size_t len = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) { /* rt_parse_url bounds path and host */
        memcpy(request + len, parts[i].text, parts[i].len);
        len += parts[i].len;
    }
    const char *what = "cannot connect";
    int error;
    const int fd = open_tcp(run, &url->to, &error);
    if (fd < 0) {
        error = late_or(error, &what, "no connection in time");
        return fail(run, RT_BAD, what, error);
    }
    what = "no HTTP reply";
    size_t got = 0;
    int code = 0;
    if (!send_all(run, fd, request, len)) {
        error = late_or(errno, &what, "no HTTP reply in time");
        return fail(run, RT_BAD, what, error);
    }
    while (code == 0) {
        const ssize_t more = receive(run, fd, reply + got, sizeof reply - got);
        if (more <= 0) {
            error = more == 0 ? 0 : late_or(errno, &what, "no HTTP reply in time");
            return fail(run, RT_BAD, more == 0 ? "closed without an HTTP status" : what, error);
        }
        got += (size_t)more;
        code = rt_status_line(reply, got);
    }
    if (code < 0)
        return fail(run, RT_BAD, "the reply is not HTTP", 0);
    rt_add(run->why, "HTTP status ");
    rt_add_number(run->why, (uint64_t)code);
    if (rt_code_expected(codes, (uint16_t)code))
        return RT_GOOD;
    rt_add(run->why, ", expected ");
    rt_add(run->why, codes);
    return RT_BAD;
}

int rt_unix(rt_run *run, const char *path)
{
    static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
    int error = 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (open_unix(run, path, types[i], &error) >= 0)
            return RT_GOOD;
        if (error != EPROTOTYPE)
            break;
    }
    const char *what = "cannot connect";
    error = late_or(error, &what, "no connection in time");
    return fail(run, RT_BAD, what, error);
}

static int ask_haproxy(rt_run *run, const char *path)
{
    static const char command[] = "show info\n";
    char bytes[4096];
    int error;
    const char *what = "cannot connect";
    const int fd = open_unix(run, path, SOCK_STREAM, &error);
    if (fd < 0) {
        error = late_or(error, &what, "no connection in time");
        return fail(run, RT_BAD, what, error);
    }
    what = "no answer to 'show info'";
    rt_info info = {.len = 0};
    size_t total = 0;
    if (!send_all(run, fd, command, sizeof command - 1)) {
        error = late_or(errno, &what, "no answer to 'show info' in time");
        return fail(run, RT_BAD, what, error);
    }
    while (!(info.haproxy && info.told) && total < INFO_BYTES_MAX) {
        const ssize_t got = receive(run, fd, bytes, sizeof bytes);
        if (got < 0) {
            error = late_or(errno, &what, "no answer to 'show info' in time");
            return fail(run, RT_BAD, what, error);
        }
        if (got == 0)
            break;
        total += (size_t)got;
        rt_info_feed(&info, bytes, (size_t)got);
    }
    rt_info_end(&info);
    if (!info.haproxy)
        return fail(run, RT_BAD, total > 0 ? "what answers is not HAProxy" : "closed without an answer to 'show info'", 0);
    if (!info.told)
        return fail(run, RT_BAD, "HAProxy does not say whether it is stopping", 0);
    return info.stopping ? fail(run, RT_BAD, "HAProxy is stopping", 0) : RT_GOOD;
}

int rt_haproxy(rt_run *run, const char *path)
{
    /* At a reload the new HAProxy renames its socket over the old one's before it tells the old one to stop: who came to the old one
     * just before may hear that it stops, or nothing. The path leads to the new one by then, so it is asked once more. */
    const int verdict = ask_haproxy(run, path);
    if (verdict == RT_GOOD || rt_now_ns() >= run->deadline_ns)
        return verdict;
    rt_text again = {.len = 0}; /* the reason that is told is the first one */
    rt_run second = {.deadline_ns = run->deadline_ns, .why = &again};
    return ask_haproxy(&second, path) == RT_GOOD ? RT_GOOD : verdict;
}

int rt_file(rt_run *run, const char *path, uint64_t newer_than_ns)
{
    struct stat found;
    if (stat(path, &found) != 0)
        return fail(run, RT_BAD, "cannot be looked at", errno);
    if (newer_than_ns == 0)
        return RT_GOOD;
    const int64_t changed_ns = (int64_t)found.st_mtim.tv_sec * (int64_t)NS_PER_S + found.st_mtim.tv_nsec;
    const int64_t age_ns = (int64_t)clock_ns(CLOCK_REALTIME) - changed_ns;
    const uint64_t far_ns = (uint64_t)(age_ns < 0 ? -age_ns : age_ns);
    if (far_ns <= newer_than_ns)
        return RT_GOOD;
    /* A time that lies far ahead would pass for ever: a clock was set back, or something wrote it by hand. */
    rt_add(run->why, age_ns < 0 ? "lies in the future by " : "last changed ");
    rt_add_number(run->why, far_ns / NS_PER_S);
    rt_add(run->why, age_ns < 0 ? " s" : " s ago");
    return RT_BAD;
}
