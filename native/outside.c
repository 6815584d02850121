/* outside.c - checks whose runs are made elsewhere: what the engine's own driver cannot speak (HTTP/2).
 *
 * The engine keeps the pace, the counter and the record. An event asks for a run, a report brings its end; each run has a
 * number, so that the report of one that was given up meanwhile is ignored. How many are under way at once is bounded by
 * whoever makes them.
 */
#include <stdlib.h>

#include "engine.h"

static const uint64_t NO_ROOM_NS = UINT64_C(10000000);
static const uint64_t LOST_AFTER_NS = UINT64_C(60000000000);

static void set_timer_at(rf_engine *engine, uint32_t index, uint64_t when_ns)
{
    rf_wheel_set(engine->wheel, index, when_ns / RF_NS_PER_MS + 1);
}

void outside_begin(rf_engine *engine, uint32_t index)
{
    struct check *check = check_at(engine, index);
    if (ring_full(engine)) {
        set_timer_at(engine, index, engine->now_ns + NO_ROOM_NS);
        return;
    }
    const uint64_t late_ns = engine->now_ns > check->due_ns ? engine->now_ns - check->due_ns : 0;
    histogram_add(&engine->stats.late, late_ns / 1000);
    engine->stats.started++;
    check->state = CHECK_OUTSIDE;
    check->run++;
    const uint64_t longest_ms = (uint64_t)check->aim.inter_ms + (uint64_t)check->aim.connect_ms + (uint64_t)check->aim.check_ms;
    set_timer_at(engine, index, engine->now_ns + longest_ms * RF_NS_PER_MS + LOST_AFTER_NS);
    const rf_event event = {.check = (uint64_t)check->generation << 32 | index,
                            .tag = check->tag,
                            .epoch = check->epoch,
                            .flags = RF_EV_RUN,
                            .health = check->health,
                            .run = check->run,
                            .due_ns = check->due_ns,
                            .result = check->result};
    ring_tell(engine, index, &event);
}

void outside_give_up(rf_engine *engine, uint32_t index)
{
    struct check *check = check_at(engine, index);
    RF_ASSERT(check->state == CHECK_OUTSIDE);
    check->run++;
    check->state = CHECK_WAITING;
    rf_wheel_unset(engine->wheel, index);
}

void outside_lost(rf_engine *engine, uint32_t index)
{
    outside_give_up(engine, index);
    if (check_may_start(engine, index))
        outside_begin(engine, index);
}

void outside_over(rf_engine *engine, struct command *command)
{
    const uint32_t index = (uint32_t)command->order.check;
    if (index < engine->checks_len) {
        const struct check *check = check_at(engine, index);
        if (check->generation == (uint32_t)(command->order.check >> 32) && check->state == CHECK_OUTSIDE &&
            check->run == command->group) {
            command->result->done_ns = engine->now_ns;
            rf_wheel_unset(engine->wheel, index);
            check_over(engine, index, command->result, false);
        }
    }
    free(command->result);
}
