/* agent_client.c - asks an agent-check as HAProxy does, on loopback: connect, read to the end, close with a reset.
 *
 *   agent_client PORT RATE CONCURRENT SECONDS [TIMES]
 *
 * RATE > 0: so many connections a second are begun when they are due, whatever has become of the others; RATE 0: so many
 * CONCURRENT ones, each followed by the next. TIMES: a file that gets every time, as uint64_t of ns.
 * Prints one line: answered failed p50_ns p99_ns worst_ns own_cpu_ns wall_ns due_p50_ns due_p99_ns due_worst_ns.
 * A time is from before connect() to the end of the stream; a due one from when the connection should have begun, so that it
 * counts also what this client was late, whosever fault that was.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PLACES = 4096, TIMES_MAX = 4000000, EVENTS = 256 };
static uint64_t began[PLACES], wanted[PLACES], times[TIMES_MAX], due_times[TIMES_MAX];
static uint32_t got[PLACES];
static int fds[PLACES];
static uint32_t times_len, failed, under_way;

static uint64_t read_clock(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void end(uint32_t place, int good)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (good && times_len < TIMES_MAX) {
        const uint64_t now = read_clock(CLOCK_MONOTONIC);
        due_times[times_len] = now - wanted[place];
        times[times_len++] = now - began[place];
    } else if (!good) {
        failed++;
    }
    (void)setsockopt(fds[place], SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fds[place]);
    fds[place] = -1;
    under_way--;
}

static int begin(int epoll, const struct sockaddr_in *to, uint64_t due)
{
    uint32_t place = 0;
    while (place < PLACES && fds[place] >= 0)
        place++;
    if (place == PLACES)
        return 0;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u32 = place};
    fds[place] = fd;
    got[place] = 0;
    wanted[place] = due;
    began[place] = read_clock(CLOCK_MONOTONIC);
    under_way++;
    if (fd < 0 || (connect(fd, (const struct sockaddr *)to, sizeof *to) < 0 && errno != EINPROGRESS) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        end(place, 0);
    return 1;
}

static void print_times(uint64_t *from)
{
    qsort(from, times_len, sizeof from[0], by_size);
    printf(" %llu %llu %llu", (unsigned long long)(times_len ? from[times_len / 2] : 0),
           (unsigned long long)(times_len ? from[(uint64_t)times_len * 99 / 100] : 0),
           (unsigned long long)(times_len ? from[times_len - 1] : 0));
}

static int write_times(const char *path)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL)
        return 0;
    const int whole = fwrite(times, sizeof times[0], times_len, file) == times_len;
    return fclose(file) == 0 && whole;
}

int main(int argc, char **argv)
{
    if (argc != 5 && argc != 6)
        return 2;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const uint64_t rate = strtoull(argv[2], NULL, 10), wide = strtoull(argv[3], NULL, 10);
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < PLACES; i++)
        fds[i] = -1;
    const uint64_t start = read_clock(CLOCK_MONOTONIC), stop = start + strtoull(argv[4], NULL, 10) * UINT64_C(1000000000);
    uint64_t due = start, now = start;
    struct epoll_event events[EVENTS];
    while (now < stop || (under_way > 0 && now < stop + UINT64_C(5000000000))) {
        while (now < stop && (rate > 0 ? due <= now : under_way < wide)) {
            if (!begin(epoll, &to, rate > 0 ? due : now))
                break;
            if (rate > 0)
                due += UINT64_C(1000000000) / rate;
        }
        struct timespec wait = {0, rate > 0 && due > now && due - now < 1000000 ? (long)(due - now) : 1000000};
        if (rate > 0 && due <= now)
            wait.tv_nsec = 0;
        const int n = epoll_pwait2(epoll, events, EVENTS, &wait, NULL);
        for (int i = 0; i < n; i++) {
            char bytes[1024];
            const uint32_t place = events[i].data.u32;
            ssize_t len;
            while ((len = recv(fds[place], bytes, sizeof bytes, 0)) > 0)
                got[place] += (uint32_t)len;
            if (len == 0)
                end(place, got[place] > 0);
            else if (errno != EAGAIN)
                end(place, 0);
        }
        now = read_clock(CLOCK_MONOTONIC);
    }
    failed += under_way;
    if (argc == 6 && !write_times(argv[5]))
        return 1;
    printf("%u %u", times_len, failed);
    print_times(times);
    printf(" %llu %llu", (unsigned long long)read_clock(CLOCK_PROCESS_CPUTIME_ID), (unsigned long long)(now - start));
    print_times(due_times);
    printf("\n");
    return 0;
}
