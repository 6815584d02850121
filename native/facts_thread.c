/* facts_thread.c - the thread that answers risefall-track from the table of facts (facts.h).
 *
 * A client has sent its question before it is accepted, most often; one that has not waits in a small table, whose oldest
 * goes when it is full.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "facts_table.h"

enum { ACCEPTS_A_TURN = 64 };
static const uint64_t CLIENT_NS = UINT64_C(1000000000);
static const int PAUSE_MS = 50; /* after a want of descriptors */

/* Whether the client is done with, answered or gone. */
static bool serve(rf_facts *facts, int fd)
{
    char question[RF_FACT_PACKET_MAX], answer[RF_FACT_PACKET_MAX];
    const ssize_t got = recv(fd, question, sizeof question, 0);
    if (got < 0)
        return errno != EAGAIN && errno != EINTR;
    if (got > 0) {
        const uint32_t len = rf_facts_ask(facts, question, (uint32_t)got, answer);
        (void)send(fd, answer, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        __atomic_fetch_add(&facts->answered, 1, __ATOMIC_RELAXED);
    }
    return true;
}

static void forget_client(rf_facts *facts, uint32_t index)
{
    close(facts->clients[index].fd);
    facts->clients_len--;
    memmove(&facts->clients[index], &facts->clients[index + 1], (facts->clients_len - index) * sizeof(struct client));
}

/* false: descriptors have run out. */
static bool accept_clients(rf_facts *facts)
{
    for (int turn = 0; turn < ACCEPTS_A_TURN; turn++) {
        const int fd = accept4(facts->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return errno == EAGAIN || errno == EINTR || errno == ECONNABORTED;
        if (serve(facts, fd)) {
            close(fd);
            continue;
        }
        if (facts->clients_len == FACTS_CLIENTS_MAX)
            forget_client(facts, 0);
        facts->clients[facts->clients_len++] = (struct client){.fd = fd, .until_ns = rf_now_ns() + CLIENT_NS};
    }
    return true;
}

static void serve_waiting(rf_facts *facts, const struct pollfd *fds)
{
    const uint64_t now_ns = rf_now_ns();
    for (uint32_t i = facts->clients_len; i-- > 0;)
        if ((fds[i].revents != 0 && serve(facts, facts->clients[i].fd)) || facts->clients[i].until_ns <= now_ns)
            forget_client(facts, i);
}

static void *run(void *arg)
{
    rf_facts *facts = arg;
    bool full = false;
    while (__atomic_load_n(&facts->stopping, __ATOMIC_ACQUIRE) == 0) {
        struct pollfd fds[FACTS_CLIENTS_MAX + 2];
        nfds_t len = 0;
        for (; len < facts->clients_len; len++)
            fds[len] = (struct pollfd){.fd = facts->clients[len].fd, .events = POLLIN};
        fds[len++] = (struct pollfd){.fd = facts->wake_fd, .events = POLLIN};
        fds[len++] = (struct pollfd){.fd = full ? -1 : facts->listen_fd, .events = POLLIN};
        (void)poll(fds, len, full || facts->clients_len > 0 ? PAUSE_MS : -1);
        serve_waiting(facts, fds);
        full = !accept_clients(facts);
    }
    while (facts->clients_len > 0)
        forget_client(facts, facts->clients_len - 1);
    return NULL;
}

int32_t rf_facts_listen(rf_facts *facts, int32_t fd)
{
    RF_ASSERT(!facts->running);
    facts->listen_fd = fd;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for Python's threads */
    const int error = pthread_create(&facts->thread, NULL, run, facts);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        return rf_refuse(RF_ERRNO, error, "pthread_create");
    facts->running = 1;
    return RF_OK;
}

void rf_facts_stop(rf_facts *facts)
{
    if (!facts->running)
        return;
    const uint64_t one = 1;
    __atomic_store_n(&facts->stopping, 1, __ATOMIC_RELEASE);
    (void)!write(facts->wake_fd, &one, sizeof one);
    pthread_join(facts->thread, NULL);
}
