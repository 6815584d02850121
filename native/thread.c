/* thread.c - the engine's thread: the few lines that sleep and read the clock.
 *
 * Waking up costs more than the work of one answer. So above some hundreds of checks a second the loop gathers: it
 * sleeps a little whatever comes, then takes all that came. Below that it sleeps until the next timer or the first byte.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

static const uint64_t NS_PER_S = UINT64_C(1000000000);
static const uint64_t RATE_WINDOW_NS = UINT64_C(100000000);
enum { BUSY_RATE = 400 }; /* checks a second from which on gathering pays */

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t rf_now_ns(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

static struct timespec to_timespec(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

static void measure_rate(rf_engine *engine, uint64_t now_ns)
{
    if (now_ns - engine->rate_at_ns < RATE_WINDOW_NS)
        return;
    const uint64_t done = engine->stats.finished - engine->rate_finished;
    engine->rate = (uint32_t)(done * NS_PER_S / (now_ns - engine->rate_at_ns));
    engine->rate_at_ns = now_ns;
    engine->rate_finished = engine->stats.finished;
    ring_rest(engine);
    engine->realtime_offset_ns = read_clock(CLOCK_REALTIME) - now_ns; /* it may be stepped at any time */
}

static void wait_for_work(rf_engine *engine, uint64_t next_ns)
{
    const uint64_t now_ns = rf_now_ns();
    if (next_ns <= now_ns)
        return;
    engine->stats.wakeups++;
    if (engine->gather_ns > 0 && engine->rate >= BUSY_RATE) {
        const struct timespec pause = to_timespec(engine->gather_ns);
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        return;
    }
    struct pollfd fd = {.fd = engine->epoll_fd, .events = POLLIN};
    const struct timespec limit = to_timespec(next_ns - now_ns);
    (void)ppoll(&fd, 1, next_ns == RF_NEVER ? NULL : &limit, NULL);
}

static bool stopping(const rf_engine *engine)
{
    return __atomic_load_n(&engine->stopping, __ATOMIC_ACQUIRE) != 0;
}

static void *run(void *arg)
{
    rf_engine *engine = arg;
    while (!stopping(engine)) {
        const uint64_t now_ns = rf_now_ns();
        measure_rate(engine, now_ns);
        const uint64_t next_ns = rf_step(engine, now_ns);
        if (!stopping(engine)) /* asked again: the step may have taken rf_stop's wake-up together with a command's */
            wait_for_work(engine, next_ns);
    }
    return NULL;
}

int32_t rf_start(rf_engine *engine, int32_t cpu)
{
    RF_ASSERT(!engine->running);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for Python's threads */
    engine->stopping = 0;
    engine->rate_at_ns = rf_now_ns();
    engine->realtime_offset_ns = read_clock(CLOCK_REALTIME) - engine->rate_at_ns;
    engine->running = 1;
    const int error = pthread_create(&engine->thread, NULL, run, engine);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        engine->running = 0;
        return rf_refuse(RF_ERRNO, error, "pthread_create");
    }
    if (cpu >= 0) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET((size_t)cpu, &one);
        const int refused = pthread_setaffinity_np(engine->thread, sizeof one, &one);
        if (refused != 0)
            return rf_refuse(RF_ERRNO, refused, "pthread_setaffinity_np");
    }
    return RF_OK;
}

int32_t rf_running(const rf_engine *engine)
{
    return engine->running != 0;
}

int32_t rf_stop(rf_engine *engine)
{
    if (!engine->running)
        return RF_OK;
    __atomic_store_n(&engine->stopping, 1, __ATOMIC_RELEASE);
    const uint64_t one = 1;
    if (write(engine->wake_fd, &one, sizeof one) < 0 && errno != EAGAIN)
        return rf_refuse(RF_ERRNO, errno, "eventfd");
    pthread_join(engine->thread, NULL);
    engine->running = 0;
    return RF_OK;
}
