/* slots.c - checks under way: which may start, what their probes want, when they are given up.
 *
 * Memory and descriptors grow with the slots in use, not with the checks configured. A check whose last run ended in a
 * time-out is a suspect: suspects share at most half of the slots, so that a dead rack cannot stop the checks of the
 * living. That alone does not help in the first minute of an outage, when the dead are not known yet: so when every slot
 * is taken and a check that is no suspect waits, the oldest run that has waited for a second in vain is given up
 * without a verdict, and its check queues again among the suspects, still due since when it was due.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "engine.h"

enum { STARTS_A_TURN = 64, STEPS_AN_EVENT = 256 };
static const uint64_t GIVE_UP_AFTER_NS = UINT64_C(1000000000);

bool slots_open(rf_engine *engine)
{
    const rf_options *options = &engine->options;
    engine->free_plain = engine->free_pool[POOL_INET] = engine->free_pool[POOL_INET6] = RF_NONE;
    engine->oldest = engine->newest = RF_NONE;
    engine->waiting_sound = engine->waiting_suspect = (struct queue){RF_NONE, RF_NONE, 0};
    engine->room_len = 2 * (size_t)options->bufsize;
    engine->buffer_len = (size_t)options->bufsize + engine->room_len;
    engine->buffers_len = engine->buffer_len * options->slots;
    engine->slots = calloc(options->slots, sizeof *engine->slots);
    engine->buffers = mmap(NULL, engine->buffers_len, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (engine->buffers == MAP_FAILED)
        engine->buffers = NULL;
    if (engine->slots == NULL || engine->buffers == NULL) {
        rf_refuse(RF_NOMEM, ENOMEM, "no memory for %u slots", options->slots);
        return false;
    }
    return true;
}

void slots_close(rf_engine *engine)
{
    for (uint32_t i = 0; engine->slots != NULL && i < engine->slots_used; i++)
        net_drop(engine, &engine->slots[i]);
    if (engine->buffers != NULL)
        munmap(engine->buffers, engine->buffers_len);
    free(engine->slots);
}

/* --- queues and lists ---------------------------------------------------------------------------------- */

void slots_queue(rf_engine *engine, uint32_t index)
{
    struct check *check = check_at(engine, index);
    struct queue *queue = check->klass == CLASS_SUSPECT ? &engine->waiting_suspect : &engine->waiting_sound;
    check->state = CHECK_QUEUED;
    check->next_queued = RF_NONE;
    if (queue->tail == RF_NONE)
        queue->head = index;
    else
        check_at(engine, queue->tail)->next_queued = index;
    queue->tail = index;
    queue->len++;
}

static uint32_t unqueue(rf_engine *engine, struct queue *queue)
{
    const uint32_t index = queue->head;
    queue->head = check_at(engine, index)->next_queued;
    if (queue->head == RF_NONE)
        queue->tail = RF_NONE;
    queue->len--;
    return index;
}

static void list_newest(rf_engine *engine, uint32_t slot)
{
    struct slot *at = &engine->slots[slot];
    at->listed = 1;
    at->newer = RF_NONE;
    at->older = engine->newest;
    if (engine->newest == RF_NONE)
        engine->oldest = slot;
    else
        engine->slots[engine->newest].newer = slot;
    engine->newest = slot;
}

static void unlist(rf_engine *engine, uint32_t slot)
{
    struct slot *at = &engine->slots[slot];
    if (!at->listed)
        return;
    at->listed = 0;
    if (at->older == RF_NONE)
        engine->oldest = at->newer;
    else
        engine->slots[at->older].newer = at->newer;
    if (at->newer == RF_NONE)
        engine->newest = at->older;
    else
        engine->slots[at->newer].older = at->older;
}

static uint8_t pool_for(const struct check *check)
{
    if (check->source != NULL)
        return POOL_NONE;
    return check->aim.family == RF_INET ? POOL_INET : check->aim.family == RF_INET6 ? POOL_INET6 : POOL_NONE;
}

static uint32_t pop_free(rf_engine *engine, uint32_t *list)
{
    const uint32_t slot = *list;
    if (slot != RF_NONE)
        *list = engine->slots[slot].next_free;
    return slot;
}

/* A free slot, the last used of its kind first; one that keeps a socket of another kind loses it. */
static uint32_t take_slot(rf_engine *engine, const struct check *check)
{
    const uint8_t pool = pool_for(check);
    uint32_t slot = pool == POOL_NONE ? RF_NONE : pop_free(engine, &engine->free_pool[pool]);
    if (slot == RF_NONE)
        slot = pop_free(engine, &engine->free_plain);
    if (slot == RF_NONE && engine->slots_used < engine->options.slots) {
        slot = engine->slots_used++;
        uint8_t *buffer = engine->buffers + engine->buffer_len * slot;
        engine->slots[slot].fd = -1;
        engine->slots[slot].pool = POOL_NONE;
        probe_init(&engine->slots[slot].probe, buffer, engine->options.bufsize, buffer + engine->options.bufsize);
    }
    for (uint32_t other = 0; slot == RF_NONE && other < POOLS; other++) {
        slot = pop_free(engine, &engine->free_pool[other]);
        if (slot != RF_NONE)
            net_drop(engine, &engine->slots[slot]);
    }
    return slot;
}

static void give_slot_back(rf_engine *engine, uint32_t slot)
{
    struct slot *at = &engine->slots[slot];
    struct check *check = check_at(engine, at->check);
    unlist(engine, slot);
    if (check->klass == CLASS_SUSPECT)
        engine->suspects--;
    engine->in_flight--;
    check->slot = RF_NONE;
    uint32_t *list = at->fd < 0 || at->pool == POOL_NONE ? &engine->free_plain : &engine->free_pool[at->pool];
    at->next_free = *list;
    *list = slot;
}

/* --- a run --------------------------------------------------------------------------------------------- */

static uint64_t ms_ceil(uint64_t ns)
{
    return ns / RF_NS_PER_MS + (ns % RF_NS_PER_MS != 0);
}

static void arm(rf_engine *engine, struct slot *at, uint64_t when_ns)
{
    at->armed_ns = when_ns;
    rf_wheel_set(engine->wheel, at->check, ms_ceil(when_ns));
}

static void start(rf_engine *engine, uint32_t index, uint32_t slot)
{
    struct check *check = check_at(engine, index);
    struct slot *at = &engine->slots[slot];
    const uint64_t late_ns = engine->now_ns > check->due_ns ? engine->now_ns - check->due_ns : 0;
    histogram_add(check->klass == CLASS_SUSPECT ? &engine->stats.late_suspect : &engine->stats.late, late_ns / 1000);
    engine->stats.started++;
    engine->in_flight++;
    if (check->klass == CLASS_SUSPECT)
        engine->suspects++;
    else
        list_newest(engine, slot);
    check->slot = slot;
    check->state = CHECK_RUNNING;
    at->check = index;
    at->started_ns = engine->now_ns;
    at->connection = 0;
    at->connecting = 0;
    rf_probe *probe = &at->probe;
    probe->in_max = check->program->bufsize < engine->options.bufsize ? check->program->bufsize : engine->options.bufsize;
    probe_bind(probe, check->program, &check->aim, check->facts);
    probe->last_status = check->result.status;
    probe->last_code = check->result.code;
    probe->total_weight = check->group < engine->options.groups ? engine->group_weights[check->group] : 0;
    probe->stopped = check->stopped;
    rf_probe_start(probe, engine->now_ns);
    arm(engine, at, probe->deadline_ns);
    slots_drive(engine, slot);
}

static void end_run(rf_engine *engine, uint32_t slot, const rf_want *want, bool timed_out)
{
    struct slot *at = &engine->slots[slot];
    const uint32_t index = at->check;
    rf_result result;
    rf_probe_result(&at->probe, &result);
    net_end(engine, at, want->close);
    rf_wheel_unset(engine->wheel, index);
    give_slot_back(engine, slot);
    check_over(engine, index, &result, timed_out);
}

void slots_give_up(rf_engine *engine, uint32_t index)
{
    struct check *check = check_at(engine, index);
    RF_ASSERT(check->state == CHECK_RUNNING);
    const uint32_t slot = check->slot;
    net_end(engine, &engine->slots[slot], RF_CLOSE_RST);
    rf_wheel_unset(engine->wheel, index);
    give_slot_back(engine, slot);
    check->state = CHECK_WAITING;
}

static bool drive_connect(rf_engine *engine, struct slot *at, const rf_want *want)
{
    int where = RF_AT_STREAM;
    int result;
    if (at->connection != want->connection) {
        if (at->connection != 0)
            net_end(engine, at, want->close);
        result = net_connect(engine, at, check_at(engine, at->check), want, &where);
    } else {
        result = net_established(engine, at);
    }
    if (result == NET_AGAIN)
        return false;
    if (result == NET_DONE) {
        at->connecting = 0;
        at->ready |= READY_OUT;
        rf_probe_connected(&at->probe, engine->now_ns);
    } else {
        if (where != RF_AT_STREAM || at->pool == POOL_NONE)
            net_drop(engine, at); /* what a refused call left behind is not worth keeping */
        rf_probe_failed(&at->probe, where, result, engine->now_ns);
    }
    return true;
}

static bool drive_send(rf_engine *engine, struct slot *at, const rf_want *want)
{
    uint32_t sent = 0;
    const int result = net_send(engine, at, want->out, want->out_len, &sent);
    if (result == NET_AGAIN)
        return false;
    if (result == NET_DONE)
        rf_probe_sent(&at->probe, sent, engine->now_ns);
    else
        rf_probe_failed(&at->probe, RF_AT_STREAM, result, engine->now_ns);
    return true;
}

static bool drive_receive(rf_engine *engine, struct slot *at, const rf_want *want)
{
    uint32_t got = 0;
    uint64_t when_ns = engine->now_ns;
    const int result = net_receive(engine, at, want->in, want->in_max, &got, &when_ns);
    if (result == NET_AGAIN)
        return false;
    if (result == NET_DONE)
        rf_probe_received(&at->probe, got, when_ns);
    else
        rf_probe_failed(&at->probe, RF_AT_STREAM, result, engine->now_ns);
    return true;
}

void slots_drive(rf_engine *engine, uint32_t slot)
{
    struct slot *at = &engine->slots[slot];
    for (uint32_t steps = 0;; steps++) {
        rf_want want;
        rf_probe_want(&at->probe, &want);
        if (want.kind == RF_WANT_DONE) {
            end_run(engine, slot, &want, false);
            return;
        }
        if (steps == STEPS_AN_EVENT) { /* a peer that never stops talking waits for its next turn: one timer tick */
            arm(engine, at, engine->now_ns + 1);
            return;
        }
        const bool moved = want.kind == RF_WANT_CONNECT ? drive_connect(engine, at, &want)
                           : want.kind == RF_WANT_SEND  ? drive_send(engine, at, &want)
                                                        : drive_receive(engine, at, &want);
        if (!moved) {
            /* A timer that stands too early costs one look; only one that stands too late must be moved. */
            if (want.deadline_ns < at->armed_ns)
                arm(engine, at, want.deadline_ns);
            return;
        }
    }
}

/* The timer of a run: its deadline, or one that has moved on since, or a turn that was put off. */
void slots_deadline(rf_engine *engine, uint32_t index)
{
    struct check *check = check_at(engine, index);
    const uint32_t slot = check->slot;
    struct slot *at = &engine->slots[slot];
    if (engine->now_ns < at->probe.deadline_ns) {
        arm(engine, at, at->probe.deadline_ns);
        if (at->ready & READY_IN)
            slots_drive(engine, slot);
        return;
    }
    rf_probe_time(&at->probe, engine->now_ns);
    rf_want want;
    rf_probe_want(&at->probe, &want);
    end_run(engine, slot, &want, true);
}

static bool give_up_oldest(rf_engine *engine)
{
    if (engine->oldest == RF_NONE)
        return false;
    const struct slot *at = &engine->slots[engine->oldest];
    if (engine->now_ns < at->started_ns + GIVE_UP_AFTER_NS)
        return false;
    const uint32_t index = at->check;
    slots_give_up(engine, index);
    check_at(engine, index)->klass = CLASS_SUSPECT;
    engine->stats.evicted++;
    slots_queue(engine, index);
    return true;
}

uint32_t slots_run_waiting(rf_engine *engine)
{
    const uint32_t suspects_max = engine->options.slots > 1 ? engine->options.slots / 2 : 1;
    uint32_t started = 0;
    while (started < STARTS_A_TURN) {
        struct queue *queue = engine->waiting_sound.len > 0 ? &engine->waiting_sound : NULL;
        if (engine->waiting_suspect.len > 0 && engine->suspects < suspects_max &&
            (queue == NULL || check_at(engine, engine->waiting_suspect.head)->due_ns < check_at(engine, queue->head)->due_ns))
            queue = &engine->waiting_suspect;
        if (queue == NULL)
            break;
        const bool full = engine->in_flight == engine->options.slots;
        if (full && !(engine->waiting_sound.len > 0 && give_up_oldest(engine)))
            break;
        if (full)
            continue; /* a slot is free now; look again who is first */
        const uint32_t index = unqueue(engine, queue);
        if (!check_may_start(engine, index))
            continue;
        const uint32_t slot = take_slot(engine, check_at(engine, index));
        RF_ASSERT(slot != RF_NONE);
        start(engine, index, slot);
        started++;
    }
    return started;
}

uint64_t slots_next_ns(const rf_engine *engine)
{
    if (engine->waiting_sound.len == 0)
        return RF_NEVER; /* suspects wait for one of theirs to end */
    if (engine->in_flight < engine->options.slots)
        return engine->now_ns;
    return engine->oldest == RF_NONE ? RF_NEVER : engine->slots[engine->oldest].started_ns + GIVE_UP_AFTER_NS;
}
