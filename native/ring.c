/* ring.c - the ways between the two threads: commands down, events and records up. None of them ever blocks.
 *
 * An event that finds the ring full is dropped and counted, and its check's dirty bit stays set until Python has asked
 * for it: what Python then reads from the record is at least as new as what was dropped. A line of a log may be lost
 * that way, a state never.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine.h"

static bool power_of_two(uint32_t n)
{
    return n >= 2 && (n & (n - 1)) == 0;
}

bool ring_open(rf_engine *engine)
{
    const rf_options *options = &engine->options;
    engine->wake_fd = engine->event_fd = -1;
    if (!power_of_two(options->ring_len) || !power_of_two(options->queue_len)) {
        rf_refuse(RF_BAD, 0, "ring_len and queue_len are powers of two");
        return false;
    }
    engine->ring = malloc((size_t)options->ring_len * sizeof *engine->ring);
    engine->commands = malloc((size_t)options->queue_len * sizeof *engine->commands);
    engine->dirty = calloc(options->checks_max / 64 + 1, sizeof *engine->dirty);
    if (engine->ring == NULL || engine->commands == NULL || engine->dirty == NULL) {
        rf_refuse(RF_NOMEM, 0, "out of memory");
        return false;
    }
    engine->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    engine->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (engine->wake_fd < 0 || engine->event_fd < 0) {
        rf_refuse(RF_ERRNO, errno, "eventfd");
        return false;
    }
    return true;
}

void ring_close(rf_engine *engine)
{
    struct command command;
    while (engine->commands != NULL && queue_pop(engine, &command)) {
        free(command.path);
        free(command.result);
        rf_program_drop(command.program);
        free(command.facts);
        rf_process_drop(command.process);
    }
    if (engine->wake_fd >= 0)
        close(engine->wake_fd);
    if (engine->event_fd >= 0)
        close(engine->event_fd);
    free(engine->ring);
    free(engine->commands);
    free(engine->dirty);
}

/* A start or an outage fills ring and queue once; after it they are empty for hours. Only who writes may give the pages
 * back, and only while nothing is in flight: then nobody reads them. */
enum { REST_AFTER = 1024 };

static void give_back(void *memory, size_t len)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = ((uintptr_t)memory + page - 1) / page * page, end = ((uintptr_t)memory + len) / page * page;
    if (begin < end)
        (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void ring_rest(rf_engine *engine)
{
    if (engine->ring_tail - engine->ring_rested < REST_AFTER ||
        engine->ring_tail != __atomic_load_n(&engine->ring_head, __ATOMIC_SEQ_CST))
        return;
    engine->ring_rested = engine->ring_tail;
    give_back(engine->ring, (size_t)engine->options.ring_len * sizeof *engine->ring);
}

void rf_rest(rf_engine *engine)
{
    if (engine->command_tail - engine->command_rested < REST_AFTER ||
        engine->command_tail != __atomic_load_n(&engine->command_head, __ATOMIC_SEQ_CST))
        return;
    engine->command_rested = engine->command_tail;
    give_back(engine->commands, (size_t)engine->options.queue_len * sizeof *engine->commands);
}

static void signal_fd(int fd)
{
    const uint64_t one = 1;
    /* A full eventfd is readable all the same: nothing is lost when the write is refused. */
    if (write(fd, &one, sizeof one) < 0)
        return;
}

void rf_nudge(rf_engine *engine)
{
    signal_fd(engine->wake_fd);
}

int32_t queue_push(rf_engine *engine, const struct command *command)
{
    const uint32_t tail = engine->command_tail;
    const uint32_t head = __atomic_load_n(&engine->command_head, __ATOMIC_ACQUIRE);
    if (tail - head == engine->options.queue_len)
        return rf_refuse(RF_FULL, 0, "the command queue is full");
    engine->commands[tail & (engine->options.queue_len - 1)] = *command;
    __atomic_store_n(&engine->command_tail, tail + 1, __ATOMIC_SEQ_CST);
    signal_fd(engine->wake_fd);
    return RF_OK;
}

bool queue_pop(rf_engine *engine, struct command *out)
{
    const uint32_t head = engine->command_head;
    if (head == __atomic_load_n(&engine->command_tail, __ATOMIC_ACQUIRE))
        return false;
    *out = engine->commands[head & (engine->options.queue_len - 1)];
    __atomic_store_n(&engine->command_head, head + 1, __ATOMIC_RELEASE);
    return true;
}

static void set_dirty(rf_engine *engine, uint32_t index)
{
    __atomic_or_fetch(&engine->dirty[index / 64], UINT64_C(1) << (index & 63), __ATOMIC_RELEASE);
    __atomic_store_n(&engine->dirty_any, 1, __ATOMIC_RELEASE);
}

bool ring_full(const rf_engine *engine)
{
    return engine->ring_tail - __atomic_load_n(&engine->ring_head, __ATOMIC_ACQUIRE) == engine->options.ring_len;
}

void ring_tell(rf_engine *engine, uint32_t index, const rf_event *event)
{
    const uint32_t tail = engine->ring_tail;
    if (ring_full(engine)) {
        engine->stats.events_dropped++;
        set_dirty(engine, index);
        return;
    }
    engine->ring[tail & (engine->options.ring_len - 1)] = *event;
    __atomic_store_n(&engine->ring_tail, tail + 1, __ATOMIC_SEQ_CST);
    engine->stats.events++;
}

/* Once a turn, not once an event. */
void ring_signal(rf_engine *engine)
{
    const bool any = engine->ring_tail != __atomic_load_n(&engine->ring_head, __ATOMIC_SEQ_CST) ||
                     __atomic_load_n(&engine->dirty_any, __ATOMIC_RELAXED);
    if (any && !__atomic_exchange_n(&engine->ring_signalled, 1, __ATOMIC_SEQ_CST))
        signal_fd(engine->event_fd);
}

int32_t rf_event_fd(rf_engine *engine)
{
    return engine->event_fd;
}

void rf_event_clear(rf_engine *engine)
{
    uint64_t count;
    if (read(engine->event_fd, &count, sizeof count) < 0)
        count = 0;
    __atomic_store_n(&engine->ring_signalled, 0, __ATOMIC_SEQ_CST);
}

int32_t rf_drain(rf_engine *engine, rf_event *out, uint32_t out_max)
{
    RF_ASSERT(out_max > 0);
    const uint32_t tail = __atomic_load_n(&engine->ring_tail, __ATOMIC_ACQUIRE);
    uint32_t head = engine->ring_head;
    uint32_t n = 0;
    while (n < out_max && head != tail)
        out[n++] = engine->ring[head++ & (engine->options.ring_len - 1)];
    __atomic_store_n(&engine->ring_head, head, __ATOMIC_SEQ_CST);
    return (int32_t)n;
}

static uint64_t handle_of(const rf_engine *engine, uint32_t index)
{
    return (uint64_t)__atomic_load_n(&check_at(engine, index)->generation, __ATOMIC_RELAXED) << 32 | index;
}

int32_t rf_drain_dirty(rf_engine *engine, uint64_t *out, uint32_t out_max)
{
    RF_ASSERT(out_max >= 64);
    if (!__atomic_exchange_n(&engine->dirty_any, 0, __ATOMIC_ACQ_REL))
        return 0;
    uint32_t n = 0;
    for (uint32_t word = 0; word <= (engine->checks_len - 1) / 64 && engine->checks_len > 0; word++) {
        if (n + 64 > out_max) { /* the rest stays for the next call */
            __atomic_store_n(&engine->dirty_any, 1, __ATOMIC_RELEASE);
            break;
        }
        uint64_t bits = __atomic_exchange_n(&engine->dirty[word], 0, __ATOMIC_ACQ_REL);
        for (; bits; bits &= bits - 1)
            out[n++] = handle_of(engine, word * 64 + (uint32_t)__builtin_ctzll(bits));
    }
    return (int32_t)n;
}

static bool copy_record(const rf_engine *engine, uint64_t handle, rf_record *out)
{
    const uint32_t index = (uint32_t)handle;
    memset(out, 0, sizeof *out);
    if (index >= engine->checks_len)
        return false;
    const struct check *check = check_at(engine, index);
    for (;;) { /* until the writer, who never waits, was not inside: a few hundred bytes */
        const uint32_t before = __atomic_load_n(&check->seq, __ATOMIC_ACQUIRE);
        if (before & 1)
            continue;
        const bool mine = check->generation == (uint32_t)(handle >> 32) && check->state != CHECK_FREE;
        out->check = mine ? handle : 0;
        out->tag = check->tag;
        out->epoch = check->epoch;
        out->health = check->health;
        out->fails = check->fails;
        out->in_progress = check->state == CHECK_RUNNING || check->state == CHECK_OUTSIDE;
        out->enabled = check->enabled;
        out->paused = check->paused;
        out->done_ns = check->done_ns;
        out->runs = check->runs;
        out->result = check->result;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&check->seq, __ATOMIC_RELAXED) == before)
            return mine;
    }
}

int32_t rf_snapshot(rf_engine *engine, const uint64_t *checks, uint32_t len, rf_record *out)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < len; i++)
        found += copy_record(engine, checks[i], &out[i]);
    return (int32_t)found;
}
