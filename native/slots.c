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
    for (int lane = 0; lane < LANES; lane++)
        engine->waiting_sound[lane] = engine->waiting_suspect[lane] = (struct queue){RF_NONE, RF_NONE, 0};
    engine->shaking_oldest = engine->shaking_newest = RF_NONE;
    engine->buffer_len = probe_memory(options->bufsize);
    engine->scratch = malloc(4 * (size_t)options->bufsize);
    engine->dying = malloc(options->processes * sizeof *engine->dying);
    engine->buffers_len = engine->buffer_len * options->slots;
    engine->slots = calloc(options->slots, sizeof *engine->slots);
    engine->buffers = mmap(NULL, engine->buffers_len, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (engine->buffers == MAP_FAILED)
        engine->buffers = NULL;
    if (engine->slots == NULL || engine->buffers == NULL || engine->scratch == NULL || engine->dying == NULL) {
        rf_refuse(RF_NOMEM, ENOMEM, "no memory for %u slots", options->slots);
        return false;
    }
    return true;
}

void slots_close(rf_engine *engine)
{
    for (uint32_t i = 0; engine->slots != NULL && i < engine->slots_used; i++) {
        probe_abandon(&engine->slots[i].probe);
        process_end(engine, &engine->slots[i]);
        net_drop(engine, &engine->slots[i]);
    }
    processes_close(engine);
    if (engine->buffers != NULL)
        munmap(engine->buffers, engine->buffers_len);
    free(engine->slots);
    free(engine->scratch);
    free(engine->dying);
}

/* --- queues and lists ---------------------------------------------------------------------------------- */

void slots_queue(rf_engine *engine, uint32_t index)
{
    struct check *check = check_at(engine, index);
    struct queue *queue =
        check->klass == CLASS_SUSPECT ? &engine->waiting_suspect[check->lane] : &engine->waiting_sound[check->lane];
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

/* --- handshakes under way: bounded, so that a start of thousands of TLS servers does not stop the rest ----------------- */

static void shaking_begins(rf_engine *engine, uint32_t slot)
{
    struct slot *at = &engine->slots[slot];
    at->shaking = 1;
    at->shaken_after = RF_NONE;
    at->shaken_before = engine->shaking_newest;
    if (engine->shaking_newest == RF_NONE)
        engine->shaking_oldest = slot;
    else
        engine->slots[engine->shaking_newest].shaken_after = slot;
    engine->shaking_newest = slot;
    engine->handshakes++;
}

static void shaking_ends(rf_engine *engine, uint32_t slot)
{
    struct slot *at = &engine->slots[slot];
    if (!at->shaking)
        return;
    at->shaking = 0;
    if (at->shaken_before == RF_NONE)
        engine->shaking_oldest = at->shaken_after;
    else
        engine->slots[at->shaken_before].shaken_after = at->shaken_after;
    if (at->shaken_after == RF_NONE)
        engine->shaking_newest = at->shaken_before;
    else
        engine->slots[at->shaken_after].shaken_before = at->shaken_before;
    engine->handshakes--;
}

/* Whether one more of its kind may start. A handshake that has lasted for a second waits for a peer, not for us: it counts
 * no more, so that a dead rack of TLS servers does not hold the others. */
static bool lane_open(rf_engine *engine, int lane)
{
    if (lane == LANE_PROCESS)
        return engine->processes < engine->options.processes;
    if (lane == LANE_PLAIN)
        return true;
    while (engine->shaking_oldest != RF_NONE &&
           engine->now_ns >= engine->slots[engine->shaking_oldest].started_ns + GIVE_UP_AFTER_NS)
        shaking_ends(engine, engine->shaking_oldest);
    return engine->handshakes < engine->options.handshakes;
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
        probe_init(&engine->slots[slot].probe, buffer, engine->options.bufsize);
        engine->slots[slot].probe.scratch = engine->scratch;
        engine->slots[slot].probe.random = &engine->random;
        engine->slots[slot].probe.count = &engine->count;
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
    shaking_ends(engine, slot);
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

static void own_address(const struct check *check, rf_address *out)
{
    *out = (rf_address){.family = check->aim.family, .port = check->aim.port, .addr_len = check->addr_len, .scope = check->scope};
    if (check->aim.family == RF_INET || check->aim.family == RF_INET6)
        memcpy(out->addr, &check->addr, check->addr_len);
}

/* What a check's connections go through, lent to its probe for this run. */
static void lend_extras(rf_probe *probe, const struct check *check)
{
    struct extras *extras = check->extras;
    probe->transport = extras != NULL ? extras->transport : NULL;
    probe->session = extras != NULL && check->lane == LANE_TLS ? &extras->session : NULL;
    if (extras != NULL)
        own_address(check, &probe->layers.target);
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
    else if (check->lane != LANE_PROCESS) /* a program may take its time */
        list_newest(engine, slot);
    if (check->lane == LANE_TLS)
        shaking_begins(engine, slot);
    check->slot = slot;
    check->state = CHECK_RUNNING;
    at->check = index;
    at->started_ns = engine->now_ns;
    at->connection = 0;
    at->connecting = 0;
    at->session_bytes = check->extras != NULL && check->extras->session != NULL ? check->extras->session->len : 0;
    rf_probe *probe = &at->probe;
    probe->in_max = check->program->bufsize < engine->options.bufsize ? check->program->bufsize : engine->options.bufsize;
    probe_bind(probe, check->program, &check->aim, check->facts);
    lend_extras(probe, check);
    probe->realtime_offset_ns = engine->realtime_offset_ns;
    probe->last_status = check->result.status;
    probe->last_code = check->result.code;
    probe->total_weight = check->group < engine->options.groups ? engine->group_weights[check->group] : 0;
    probe->stopped = check->stopped;
    rf_probe_start(probe, engine->now_ns);
    arm(engine, at, probe->deadline_ns);
    slots_drive(engine, slot);
}

/* The bytes of all sessions together have a bound: a new one that does not fit there is not kept. */
static void settle_session(rf_engine *engine, struct check *check, struct slot *at)
{
    if (check->lane != LANE_TLS)
        return;
    engine->stats.resumed += at->probe.layers.resumed;
    struct tls_session **session = &check->extras->session;
    const uint32_t len = *session != NULL ? (*session)->len : 0;
    engine->sessions_bytes += len - at->session_bytes;
    if (engine->sessions_bytes <= engine->options.sessions_bytes || len <= at->session_bytes)
        return;
    engine->sessions_bytes -= len;
    free(*session);
    *session = NULL;
}

static void end_run(rf_engine *engine, uint32_t slot, const rf_want *want, bool timed_out)
{
    struct slot *at = &engine->slots[slot];
    const uint32_t index = at->check;
    rf_result result;
    rf_probe_result(&at->probe, &result);
    if (want->out_len > 0 && at->fd >= 0) { /* last words: they go out at once or not at all */
        uint32_t sent;
        (void)net_send(engine, at, want->out, want->out_len, &sent);
    }
    settle_session(engine, check_at(engine, index), at);
    process_end(engine, at);
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
    probe_abandon(&engine->slots[slot].probe);
    settle_session(engine, check, &engine->slots[slot]);
    process_end(engine, &engine->slots[slot]);
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
        if (want->how & RF_HOW_TELL_ADDRESSES)
            net_tell_addresses(at);
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

static bool drive_process(rf_engine *engine, uint32_t slot)
{
    struct slot *at = &engine->slots[slot];
    int32_t code = 0;
    if (at->pid == 0) {
        const int error = process_begin(engine, slot);
        if (error == 0)
            return false;
        rf_probe_failed(&at->probe, RF_AT_SOCKET, error, engine->now_ns);
    } else if (process_ended(engine, at, &code)) {
        rf_probe_exited(&at->probe, code, engine->now_ns);
    } else {
        return false;
    }
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
                           : want.kind == RF_WANT_SEND    ? drive_send(engine, at, &want)
                           : want.kind == RF_WANT_PROCESS ? drive_process(engine, slot)
                                                          : drive_receive(engine, at, &want);
        if (at->shaking && at->probe.state != PROBE_CONNECT)
            shaking_ends(engine, slot);
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

static uint32_t waiting_of(const struct queue *queues)
{
    uint32_t len = 0;
    for (int lane = 0; lane < LANES; lane++)
        len += queues[lane].len;
    return len;
}

uint32_t slots_waiting(const rf_engine *engine)
{
    return waiting_of(engine->waiting_sound) + waiting_of(engine->waiting_suspect);
}

/* Which queue has the check that has been due for longest, of those that may start now; sound: only of the sound. */
static struct queue *first_queue(rf_engine *engine, bool sound)
{
    const uint32_t suspects_max = engine->options.slots > 1 ? engine->options.slots / 2 : 1;
    struct queue *first = NULL;
    for (int lane = 0; lane < LANES; lane++) {
        struct queue *queues[] = {&engine->waiting_sound[lane], &engine->waiting_suspect[lane]};
        for (int i = 0; i < 2; i++) {
            if (queues[i]->len == 0 || (i == 1 && (sound || engine->suspects >= suspects_max)))
                continue;
            if ((first == NULL || check_at(engine, queues[i]->head)->due_ns < check_at(engine, first->head)->due_ns) &&
                lane_open(engine, lane))
                first = queues[i];
        }
    }
    return first;
}

uint32_t slots_run_waiting(rf_engine *engine)
{
    uint32_t started = 0;
    while (started < STARTS_A_TURN) {
        const bool full = engine->in_flight == engine->options.slots;
        struct queue *queue = first_queue(engine, full);
        if (queue == NULL || (full && !give_up_oldest(engine)))
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
    if (waiting_of(engine->waiting_sound) == 0)
        return RF_NEVER; /* suspects wait for one of theirs to end */
    if (engine->in_flight == engine->options.slots)
        return engine->oldest == RF_NONE ? RF_NEVER : engine->slots[engine->oldest].started_ns + GIVE_UP_AFTER_NS;
    if (engine->waiting_sound[LANE_PLAIN].len > 0)
        return engine->now_ns;
    if (engine->waiting_sound[LANE_TLS].len > 0) {
        if (engine->handshakes < engine->options.handshakes)
            return engine->now_ns;
        return engine->slots[engine->shaking_oldest].started_ns + GIVE_UP_AFTER_NS;
    }
    return engine->processes < engine->options.processes ? engine->now_ns : RF_NEVER;
}
