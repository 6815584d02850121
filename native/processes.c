/* processes.c - external checks under way (spec 3.10.8), and the end of those that took too long.
 *
 * A slot's descriptor is the pidfd: it turns readable when the process has ended. At the deadline the verdict is told at
 * once, and the process group gets SIGTERM, then SIGKILL; until it is gone it counts among the processes that may be at once.
 * HAProxy sends one SIGTERM to the process alone, and no more.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

static const uint64_t PATIENCE_NS = UINT64_C(1000000000);
static const uint64_t LOOK_AGAIN_NS = UINT64_C(10000000);
enum { CLOSE_TURNS_MAX = 200 };

int process_begin(rf_engine *engine, uint32_t slot)
{
    struct slot *at = &engine->slots[slot];
    const rf_process *process = check_at(engine, at->check)->extras->process;
    const rf_spawn_order order = {.path = process->path,
                                  .argv = (const char *const *)process->argv,
                                  .envp = (const char *const *)process->envp,
                                  .uid = UINT32_MAX,
                                  .gid = UINT32_MAX,
                                  .flags = RF_SPAWN_NEW_GROUP | RF_SPAWN_NULL_STDIO};
    int32_t pidfd = -1;
    net_drop(engine, at);
    if (rf_spawn(&order, &at->pid, &pidfd) != RF_OK) {
        at->pid = 0;
        return rf_last_errno();
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u32 = slot};
    at->fd = pidfd;
    at->connection = 1; /* events of this descriptor are its own */
    engine->processes++;
    if (epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, pidfd, &event) < 0) {
        const int error = errno;
        process_end(engine, at);
        return error;
    }
    return 0;
}

bool process_ended(rf_engine *engine, struct slot *slot, int32_t *code)
{
    int32_t status;
    if (rf_spawn_reap(slot->fd, slot->pid, &status) != RF_OK)
        return false;
    *code = status >= 0 ? status : -1;
    close(slot->fd);
    slot->fd = -1;
    slot->connection = 0;
    slot->pid = 0;
    engine->processes--;
    return true;
}

void process_end(rf_engine *engine, struct slot *slot)
{
    if (slot->pid == 0)
        return;
    RF_ASSERT(engine->dying_len < engine->options.processes);
    rf_spawn_signal_group(slot->pid, SIGTERM);
    engine->dying[engine->dying_len++] = (struct dying){slot->pid, slot->fd, engine->now_ns + PATIENCE_NS, false};
    (void)epoll_ctl(engine->epoll_fd, EPOLL_CTL_DEL, slot->fd, NULL);
    slot->pid = 0;
    slot->fd = -1;
    slot->connection = 0;
}

uint64_t processes_turn(rf_engine *engine)
{
    for (uint32_t i = 0; i < engine->dying_len;) {
        struct dying *dying = &engine->dying[i];
        int32_t status;
        if (!dying->killed && engine->now_ns >= dying->kill_at_ns) {
            rf_spawn_signal_group(dying->pid, SIGKILL);
            dying->killed = true;
        }
        if (rf_spawn_reap(dying->pidfd, dying->pid, &status) == RF_FULL) {
            i++;
            continue;
        }
        close(dying->pidfd);
        engine->processes--;
        *dying = engine->dying[--engine->dying_len];
    }
    return engine->dying_len > 0 ? engine->now_ns + LOOK_AGAIN_NS : RF_NEVER;
}

void processes_close(rf_engine *engine)
{
    for (uint32_t i = 0; i < engine->dying_len; i++)
        engine->dying[i].kill_at_ns = 0;
    for (int turns = 0; engine->dying_len > 0 && turns < CLOSE_TURNS_MAX; turns++) {
        const struct timespec pause = {.tv_nsec = 5000000};
        (void)processes_turn(engine);
        if (engine->dying_len > 0)
            (void)nanosleep(&pause, NULL);
    }
}
