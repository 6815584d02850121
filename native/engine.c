/* engine.c - checks: pacing and counting them, and one turn of it all.
 *
 * A check has one timer. While it waits the timer says when it is due; while it runs, until when its probe waits. The
 * next check is due at completion + interval, and the interval is a function of the counter alone (spec 2.1, 2.2).
 */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "engine.h"

enum { EVENTS_A_TURN = 512, COMMANDS_A_TURN = 4096 };
/* While there are handshakes: each step of one may take a millisecond, and timers wait for the turn to end. */
enum { EVENTS_AMONG_HANDSHAKES = 12 };

/* --- opening and closing -------------------------------------------------------------------------------- */

static bool open_parts(rf_engine *engine)
{
    const rf_options *options = &engine->options;
    engine->epoll_fd = engine->own_netns = -1;
    net_open(engine);
    if (!ring_open(engine) || !slots_open(engine))
        return false;
    engine->wheel = rf_wheel_new(options->checks_max, 0);
    engine->due = malloc(CHUNK * sizeof *engine->due);
    engine->free_checks = malloc((size_t)options->checks_max * sizeof *engine->free_checks);
    engine->freed = malloc((size_t)options->checks_max * sizeof *engine->freed);
    engine->group_weights = calloc(options->groups ? options->groups : 1, sizeof *engine->group_weights);
    if (engine->wheel == NULL || engine->due == NULL || engine->free_checks == NULL || engine->freed == NULL ||
        engine->group_weights == NULL) {
        rf_refuse(RF_NOMEM, ENOMEM, "no memory for %u checks", options->checks_max);
        return false;
    }
    engine->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event wake = {.events = EPOLLIN, .data.u32 = RF_NONE};
    if (engine->epoll_fd < 0 || epoll_ctl(engine->epoll_fd, EPOLL_CTL_ADD, engine->wake_fd, &wake) < 0) {
        rf_refuse(RF_ERRNO, errno, "epoll");
        return false;
    }
    return true;
}

rf_engine *rf_open(const rf_options *options)
{
    if (options->slots == 0 || options->checks_max == 0 || options->checks_max > (uint32_t)CHUNKS_MAX * CHUNK ||
        options->bufsize == 0) {
        rf_refuse(RF_BAD, EINVAL, "1..%u checks, 1 slot or more", (unsigned)CHUNKS_MAX * CHUNK);
        return NULL;
    }
    rf_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        rf_refuse(RF_NOMEM, ENOMEM, "out of memory");
        return NULL;
    }
    engine->options = *options;
    if (engine->options.handshakes == 0)
        engine->options.handshakes = 64;
    if (engine->options.processes == 0)
        engine->options.processes = 64;
    if (engine->options.sessions_bytes == 0)
        engine->options.sessions_bytes = 64u << 20;
    engine->random = options->seed ? options->seed : 1;
    engine->gather_ns = options->gather_us * 1000;
    if (!open_parts(engine)) {
        rf_close(engine);
        return NULL;
    }
    return engine;
}

void rf_close(rf_engine *engine)
{
    if (engine == NULL)
        return;
    if (engine->running)
        rf_stop(engine);
    slots_close(engine);
    net_close(engine);
    for (uint32_t i = 0; i < engine->checks_len; i++) {
        if (check_at(engine, i)->state != CHECK_FREE)
            check_free(engine, check_at(engine, i));
    }
    for (uint32_t i = 0; i < CHUNKS_MAX; i++)
        free(engine->chunks[i]);
    for (uint32_t i = 0; i < engine->sources_len; i++)
        free(engine->sources[i]);
    free(engine->sources);
    if (engine->epoll_fd >= 0)
        close(engine->epoll_fd);
    if (engine->own_netns >= 0)
        close(engine->own_netns);
    ring_close(engine);
    rf_wheel_free(engine->wheel);
    free(engine->due);
    free(engine->free_checks);
    free(engine->freed);
    free(engine->group_weights);
    free(engine);
}

/* --- results --------------------------------------------------------------------------------------------------- */

void check_set_timer(rf_engine *engine, uint32_t index)
{
    const struct check *check = check_at(engine, index);
    const uint64_t ms = check->due_ns / RF_NS_PER_MS + (check->due_ns % RF_NS_PER_MS != 0);
    rf_wheel_set(engine->wheel, index, ms);
}

static uint64_t next_random(rf_engine *engine)
{
    engine->random ^= engine->random << 13; /* xorshift64: spread needs no better */
    engine->random ^= engine->random >> 7;
    engine->random ^= engine->random << 17;
    return engine->random;
}

static int64_t spread(rf_engine *engine, int32_t interval_ms, int32_t pct)
{
    const int64_t v = (int64_t)interval_ms * pct / 100;
    return pct == 0 || v == 0 ? 0 : v - (int64_t)(next_random(engine) % (uint64_t)(2 * v)); /* (-v .. v] */
}

static void rearm(rf_engine *engine, uint32_t index, int64_t delay_ms)
{
    struct check *check = check_at(engine, index);
    check->due_ns = check->done_ns + (uint64_t)(delay_ms > 0 ? delay_ms : 1) * RF_NS_PER_MS;
    check_set_timer(engine, index);
}

static bool same_words(const rf_result *a, const rf_result *b)
{
    return a->status == b->status && a->admin == b->admin && a->weight_kind == b->weight_kind && a->weight == b->weight &&
           a->has_maxconn == b->has_maxconn && a->maxconn == b->maxconn && a->text_len == b->text_len &&
           memcmp(a->text, b->text, a->text_len) == 0;
}

int32_t check_count(const struct check *check, const rf_result *result, bool agent)
{
    return rf_counter_after(check->health, check->rise, check->fall, result->verdict, result->status, agent);
}

void check_tell(rf_engine *engine, uint32_t index, const rf_result *before, int32_t health_before, bool agent)
{
    struct check *check = check_at(engine, index);
    const rf_result *result = &check->result;
    rf_event event = {.tag = check->tag, .epoch = check->epoch, .health = check->health, .last_status = before->status};
    if (result->status != before->status)
        event.flags |= RF_EV_STATUS;
    if (check->health != health_before && !agent)
        event.flags |= RF_EV_COUNTER; /* an agent's words set its counter outright, which is no move (spec 6.2) */
    if (agent && (!same_words(result, before) || check->health != health_before))
        event.flags |= RF_EV_WORDS;
    if (check->touched)
        event.flags |= RF_EV_TOUCHED;
    if (event.flags == 0)
        return;
    check->touched = 0;
    const uint64_t late_us = check->done_ns > check->due_ns ? (check->done_ns - check->due_ns) / 1000 : 0;
    event.late_us_capped = late_us > UINT16_MAX ? UINT16_MAX : (uint16_t)late_us;
    event.check = (uint64_t)check->generation << 32 | index;
    event.due_ns = check->due_ns;
    event.done_ns = check->done_ns;
    event.result = *result;
    ring_tell(engine, index, &event);
}

static void tally(rf_engine *engine, const rf_result *result, bool timed_out)
{
    rf_statistics *stats = &engine->stats;
    stats->finished++;
    stats->timed_out += timed_out;
    if (result->verdict == RF_FAILED)
        stats->failed++;
    else if (result->verdict == RF_PASSED || result->verdict == RF_CONDPASS)
        stats->passed++;
    else
        stats->neutral++;
}

void check_over(rf_engine *engine, uint32_t index, const rf_result *result, bool timed_out)
{
    struct check *check = check_at(engine, index);
    const bool agent = (check->program->flags & RF_PROG_AGENT) != 0;
    tally(engine, result, timed_out);
    check->state = CHECK_WAITING;
    check->klass = timed_out ? CLASS_SUSPECT : CLASS_SOUND;
    check->done_ns = result->done_ns;
    if (result->self_blame) { /* our own want: the counter stays, and it is tried again soon */
        engine->stats.self_blamed++;
        if (result->error >= 0 && result->error < 512)
            engine->stats.self_errno[result->error / 64] |= UINT64_C(1) << (result->error % 64);
        rearm(engine, index, check->fastinter_ms ? check->fastinter_ms : check->aim.inter_ms);
        return;
    }
    histogram_add(&engine->stats.duration, result->duration_us);
    /* What an agent says after it was disabled counts for nothing (spec 4.3); a health check under way then still counts. */
    if (check->enabled || !agent) {
        const rf_result before = check->result;
        const int32_t health_before = check->health;
        record_begin(check);
        check->health = check_count(check, result, agent);
        check->result = *result;
        check->runs++;
        if (result->verdict == RF_FAILED && health_before > 0 && !agent)
            check->fails++;
        record_end(check);
        check_tell(engine, index, &before, health_before, agent);
        if (result->fleeting) {
            record_begin(check);
            check->result.text_len = 0;
            check->result.text[0] = 0;
            record_end(check);
        }
    }
    int32_t pace = rf_counter_pace(check->health, check->rise, check->fall, check->aim.inter_ms, check->fastinter_ms,
                                   check->downinter_ms);
    if (check->again && check->fastinter_ms > 0)
        pace = check->fastinter_ms;
    check->again = 0;
    rearm(engine, index, pace + spread(engine, pace, check->spread_pct));
}

/* --- one turn --------------------------------------------------------------------------------------------------- */

static void take_commands(rf_engine *engine)
{
    struct command command;
    for (uint32_t n = 0; n < COMMANDS_A_TURN && queue_pop(engine, &command); n++)
        engine_take(engine, &command);
}

/* Whether there may be more of them; those keep their place. */
static bool take_events(rf_engine *engine)
{
    struct epoll_event events[EVENTS_A_TURN];
    const int max = engine->handshakes > 0 ? EVENTS_AMONG_HANDSHAKES : EVENTS_A_TURN;
    const int n = epoll_wait(engine->epoll_fd, events, max, 0);
    engine->stats.polls++;
    for (int i = 0; i < n; i++) {
        const uint32_t slot = events[i].data.u32;
        if (slot == RF_NONE) {
            uint64_t wakes;
            if (read(engine->wake_fd, &wakes, sizeof wakes) < 0)
                wakes = 0;
            continue;
        }
        struct slot *at = &engine->slots[slot];
        if (at->fd < 0 || at->connection == 0)
            continue; /* the end of a connection that is over already */
        const uint32_t mask = events[i].events;
        at->ready |= (uint8_t)((mask & EPOLLIN ? READY_IN : 0) | (mask & EPOLLOUT ? READY_OUT : 0) |
                               (mask & (EPOLLERR | EPOLLHUP | EPOLLRDHUP) ? READY_END : 0));
        slots_drive(engine, slot);
    }
    return n == max;
}

/* Due while it may not run: nothing is sent, and the timer keeps its phase (spec 2.1). */
static void skip_turn(rf_engine *engine, uint32_t index)
{
    struct check *check = check_at(engine, index);
    const uint64_t step = (uint64_t)check->aim.inter_ms * RF_NS_PER_MS;
    const uint64_t behind = engine->now_ns > check->due_ns ? engine->now_ns - check->due_ns : 0;
    check->due_ns += (behind / step + 1) * step;
    check_set_timer(engine, index);
}

/* Whether a check that is due, or whose turn in the queue has come, is still to run. */
bool check_may_start(rf_engine *engine, uint32_t index)
{
    struct check *check = check_at(engine, index);
    check->state = CHECK_WAITING;
    if (check->removed) {
        check_remove(engine, index);
        return false;
    }
    if (!check->enabled || check->paused) {
        skip_turn(engine, index);
        return false;
    }
    return true;
}

static void begin(rf_engine *engine, uint32_t index)
{
    if (check_at(engine, index)->outside)
        outside_begin(engine, index);
    else
        slots_queue(engine, index);
}

static void take_timers(rf_engine *engine)
{
    const int32_t n = rf_wheel_advance(engine->wheel, engine->now_ns / RF_NS_PER_MS, engine->due, CHUNK);
    for (int32_t i = 0; i < n; i++) {
        const uint32_t index = engine->due[i];
        struct check *check = check_at(engine, index);
        if (check->state == CHECK_RUNNING)
            slots_deadline(engine, index);
        else if (check->state == CHECK_OUTSIDE)
            outside_lost(engine, index);
        else if (check_may_start(engine, index))
            begin(engine, index);
    }
}

uint64_t rf_step(rf_engine *engine, uint64_t now_ns)
{
    if (now_ns > engine->now_ns)
        engine->now_ns = now_ns;
    take_commands(engine);
    bool more = take_events(engine);
    take_timers(engine);
    if (slots_run_waiting(engine) > 0 && !more) /* near peers have answered the SYN by now: say the rest in the same turn */
        more = take_events(engine);
    ring_signal(engine);
    const uint64_t dying_ns = processes_turn(engine);
    if (more)
        return engine->now_ns;
    const uint64_t next_ms = rf_wheel_wake_ms(engine->wheel);
    const uint64_t timer_ns = next_ms == RF_NEVER ? RF_NEVER : next_ms * RF_NS_PER_MS;
    const uint64_t queue_ns = slots_next_ns(engine);
    const uint64_t next_ns = timer_ns < queue_ns ? timer_ns : queue_ns;
    return next_ns < dying_ns ? next_ns : dying_ns;
}

void rf_statistics_read(rf_engine *engine, rf_statistics *out)
{
    /* Counters of one writer, each read whole: they may belong to neighbouring instants. */
    memcpy(out, &engine->stats, sizeof *out);
    out->checks = engine->checks_live;
    out->slots = engine->options.slots;
    out->in_flight = engine->in_flight;
    out->suspects_in_flight = engine->suspects;
    out->waiting = slots_waiting(engine);
    out->sockets_kept = engine->sockets_kept;
    out->handshakes = engine->handshakes;
    out->processes = engine->processes;
    out->sessions_bytes = engine->sessions_bytes;
}
