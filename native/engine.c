/* engine.c - checks: adding, commanding, pacing and counting them, and one turn of it all.
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

/* --- opening and closing -------------------------------------------------------------------------------- */

static bool open_parts(rf_engine *engine)
{
    const rf_options *options = &engine->options;
    engine->epoll_fd = -1;
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

/* What a check holds besides its place and its address. */
static void free_parts(rf_engine *engine, struct check *check)
{
    struct extras *extras = check->extras;
    if (extras != NULL) {
        engine->sessions_bytes -= extras->session != NULL ? extras->session->len : 0;
        free(extras->session);
        rf_transport_drop(extras->transport);
        rf_process_drop(extras->process);
        free(extras);
    }
    free(check->facts);
    check->extras = NULL;
    check->facts = NULL;
}

static void free_check(rf_engine *engine, struct check *check)
{
    free_parts(engine, check);
    rf_program_drop(check->program);
    if (check->aim.family == RF_UNIX || check->aim.family == RF_ABSTRACT)
        free(check->addr.path);
    check->program = NULL;
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
            free_check(engine, check_at(engine, i));
    }
    for (uint32_t i = 0; i < CHUNKS_MAX; i++)
        free(engine->chunks[i]);
    for (uint32_t i = 0; i < engine->sources_len; i++)
        free(engine->sources[i]);
    free(engine->sources);
    if (engine->epoll_fd >= 0)
        close(engine->epoll_fd);
    ring_close(engine);
    rf_wheel_free(engine->wheel);
    free(engine->due);
    free(engine->free_checks);
    free(engine->freed);
    free(engine->group_weights);
    free(engine);
}

/* --- adding, by the commanding side ------------------------------------------------------------------------- */

static uint32_t take_index(rf_engine *engine)
{
    while (engine->freed_head != __atomic_load_n(&engine->freed_tail, __ATOMIC_ACQUIRE))
        engine->free_checks[engine->free_len++] = engine->freed[engine->freed_head++ % engine->options.checks_max];
    if (engine->free_len > 0)
        return engine->free_checks[--engine->free_len];
    if (engine->checks_len == engine->options.checks_max)
        return RF_NONE;
    const uint32_t index = engine->checks_len;
    if (engine->chunks[index >> CHUNK_BITS] == NULL &&
        (engine->chunks[index >> CHUNK_BITS] = calloc(CHUNK, sizeof(struct check))) == NULL)
        return RF_NONE;
    engine->checks_len++;
    return index;
}

static const struct source *find_source(rf_engine *engine, const rf_check *from)
{
    for (uint32_t i = 0; i < engine->sources_len; i++) {
        struct source *source = engine->sources[i];
        if (memcmp(&source->from, &from->from, sizeof source->from) == 0 && source->port_max == from->from_port_max &&
            memcmp(source->interface, from->interface, sizeof source->interface) == 0)
            return source;
    }
    struct source **sources = realloc(engine->sources, (engine->sources_len + 1) * sizeof(struct source *));
    if (sources == NULL)
        return NULL;
    engine->sources = sources;
    struct source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return NULL;
    source->from = from->from;
    source->port_max = from->from_port_max;
    memcpy(source->interface, from->interface, sizeof source->interface);
    source->interface[sizeof source->interface - 1] = 0;
    engine->sources[engine->sources_len++] = source;
    return source;
}

/* The text of a local address, in memory of its own; NULL for the others. False: no memory. */
static bool copy_path(const rf_address *to, char **path)
{
    *path = NULL;
    if (to->family == RF_UNIX || to->family == RF_ABSTRACT) {
        *path = malloc((size_t)to->addr_len + 1);
        if (*path == NULL)
            return false;
        memcpy(*path, to->addr, to->addr_len);
        (*path)[to->addr_len] = 0;
    }
    return true;
}

static void set_address(struct check *check, const rf_address *to, char *path)
{
    if (check->aim.family == RF_UNIX || check->aim.family == RF_ABSTRACT)
        free(check->addr.path);
    check->aim.family = to->family;
    check->aim.port = to->port;
    check->addr_len = to->addr_len;
    check->scope = to->scope;
    if (path != NULL)
        check->addr.path = path;
    else
        memcpy(&check->addr, to->addr, to->family == RF_INET ? 4 : 16);
}

static bool is_sound(const rf_engine *engine, const rf_program *program, const rf_check *from, uint32_t site_len)
{
    const bool inet = from->to.family == RF_INET && from->to.addr_len == 4;
    const bool inet6 = from->to.family == RF_INET6 && from->to.addr_len == 16;
    const bool local = (from->to.family == RF_UNIX || from->to.family == RF_ABSTRACT) && from->to.addr_len > 0 &&
                       from->to.addr_len < sizeof from->to.addr;
    return program != NULL && (inet || inet6 || local) && from->inter_ms > 0 && from->rise > 0 && from->fall > 0 &&
           from->fastinter_ms >= 0 && from->downinter_ms >= 0 && from->health >= 0 && from->spread_pct >= 0 &&
           from->spread_pct <= 50 && site_len <= SITE_MAX && program->bufsize <= engine->options.bufsize &&
           (!program->needs_tls || from->outside || (from->transport != NULL && from->transport->spec.tls != NULL)) &&
           (program->rules[program->rules_len - 1].rule.kind != RF_RULE_PROCESS || from->process != NULL);
}

/* Of the few checks whose connections go through something, or that have none. */
static bool fill_extras(struct check *check, const rf_check *from)
{
    if (from->transport == NULL && from->process == NULL)
        return true;
    struct extras *extras = calloc(1, sizeof *extras);
    if (extras == NULL)
        return false;
    rf_transport_hold(from->transport);
    rf_process_hold(from->process);
    extras->transport = from->transport;
    extras->process = from->process;
    check->extras = extras;
    return true;
}

static uint8_t lane_of(const rf_program *program, const rf_check *from)
{
    if (program->rules[program->rules_len - 1].rule.kind == RF_RULE_PROCESS)
        return LANE_PROCESS;
    const bool tls = program->needs_tls || (from->transport != NULL && (from->transport->spec.layers & RF_LAYER_TLS));
    return tls ? LANE_TLS : LANE_PLAIN;
}

static bool fill(rf_engine *engine, struct check *check, rf_program *program, const rf_check *from, const char *site,
                 uint32_t site_len)
{
    const uint32_t generation = check->generation ? check->generation : 1; /* so that no handle is ever 0 */
    memset(check, 0, sizeof *check);
    check->generation = generation;
    char *path = NULL;
    if (program->tells_facts) {
        check->facts = calloc(1, sizeof *check->facts + site_len);
        if (check->facts == NULL)
            return false;
        check->facts->weight = from->weight;
        check->facts->site_len = (uint16_t)site_len;
        if (site_len > 0)
            memcpy(check->facts->site, site, site_len);
    }
    const bool sourced = from->from.family != 0 || from->interface[0] != 0;
    if (!fill_extras(check, from) || (sourced && (check->source = find_source(engine, from)) == NULL) ||
        !copy_path(&from->to, &path)) {
        free_parts(engine, check);
        return false;
    }
    check->aim = (struct aim){.inter_ms = from->inter_ms,
                              .connect_ms = from->connect_ms,
                              .check_ms = from->check_ms,
                              .initial_weight = from->initial_weight,
                              .late_check_timeout = from->late_check_timeout,
                              .static_weights = from->static_weights};
    set_address(check, &from->to, path);
    check->program = program;
    rf_program_hold(program);
    check->fastinter_ms = from->fastinter_ms;
    check->downinter_ms = from->downinter_ms;
    check->rise = from->rise;
    check->fall = from->fall;
    check->health = from->health;
    check->spread_pct = from->spread_pct;
    check->group = from->group;
    check->tag = from->tag;
    check->due_ns = from->first_ns;
    check->enabled = from->enabled;
    check->paused = from->paused;
    check->stopped = from->stopped;
    check->outside = from->outside;
    check->slot = RF_NONE;
    check->result.status = RF_INI;
    check->lane = lane_of(program, from);
    check->state = CHECK_WAITING;
    return true;
}

int32_t rf_add(rf_engine *engine, rf_program *program, const rf_check *from, const char *site, uint32_t site_len,
               uint64_t *handle_out)
{
    if (!is_sound(engine, program, from, site_len))
        return rf_refuse(RF_BAD, EINVAL, "a check with an impossible address, pace or program");
    const uint32_t index = take_index(engine);
    if (index == RF_NONE)
        return rf_refuse(RF_FULL, 0, "no room for more than %u checks", engine->options.checks_max);
    struct check *check = check_at(engine, index);
    if (!fill(engine, check, program, from, site, site_len)) {
        engine->free_checks[engine->free_len++] = index;
        return rf_refuse(RF_NOMEM, ENOMEM, "out of memory");
    }
    struct command command = {.kind = COMMAND_ADD, .index = index};
    *handle_out = (uint64_t)check->generation << 32 | index;
    if (!engine->running) {
        engine_take(engine, &command);
        return RF_OK;
    }
    const int32_t result = queue_push(engine, &command);
    if (result != RF_OK) {
        free_check(engine, check);
        check->state = CHECK_FREE;
        engine->free_checks[engine->free_len++] = index;
    }
    return result;
}

static int32_t pass(rf_engine *engine, struct command *command)
{
    if (!engine->running) {
        engine_take(engine, command);
        return RF_OK;
    }
    const int32_t result = queue_push(engine, command);
    if (result != RF_OK) {
        free(command->path);
        free(command->result);
        rf_program_drop(command->program);
    }
    return result;
}

int32_t rf_remove(rf_engine *engine, uint64_t handle)
{
    struct command command = {.kind = COMMAND_REMOVE, .order.check = handle};
    return pass(engine, &command);
}

int32_t rf_command(rf_engine *engine, const rf_order *order)
{
    const uint32_t index = (uint32_t)order->check;
    if (index >= engine->checks_len || check_at(engine, index)->generation != (uint32_t)(order->check >> 32))
        return rf_refuse(RF_STALE, 0, "no such check");
    struct command command = {.kind = COMMAND_ORDER, .order = *order};
    if ((order->set & RF_SET_TARGET) && !copy_path(&order->to, &command.path))
        return rf_refuse(RF_NOMEM, ENOMEM, "out of memory");
    return pass(engine, &command);
}

int32_t rf_report(rf_engine *engine, uint64_t check, uint32_t run, const rf_result *result)
{
    struct command command = {.kind = COMMAND_REPORT, .order.check = check, .group = run, .result = malloc(sizeof *result)};
    if (command.result == NULL)
        return rf_refuse(RF_NOMEM, ENOMEM, "out of memory");
    *command.result = *result;
    return pass(engine, &command);
}

int32_t rf_set_program(rf_engine *engine, uint64_t check, rf_program *program)
{
    if (program->tells_facts || program->needs_tls)
        return rf_refuse(RF_BAD, EINVAL, "a program that needs more than its check may have");
    struct command command = {.kind = COMMAND_PROGRAM, .order.check = check, .program = program};
    rf_program_hold(program);
    return pass(engine, &command);
}

int32_t rf_observed(rf_engine *engine, uint64_t check, int32_t ceiling, const char *text, uint32_t text_len)
{
    struct command command = {.kind = COMMAND_OBSERVED, .order.check = check, .total_weight = ceiling};
    if (text_len > 0) {
        command.result = calloc(1, sizeof *command.result);
        if (command.result == NULL)
            return rf_refuse(RF_NOMEM, ENOMEM, "out of memory");
        result_set(command.result, RF_HANA, text, text_len);
        command.result->duration_ms = -1;
    }
    return pass(engine, &command);
}

int32_t rf_group_weight(rf_engine *engine, uint32_t group, int32_t total_weight)
{
    if (group >= engine->options.groups)
        return rf_refuse(RF_BAD, EINVAL, "no group %u", group);
    struct command command = {.kind = COMMAND_GROUP, .group = group, .total_weight = total_weight};
    return pass(engine, &command);
}

/* --- taking commands, by the stepping side ------------------------------------------------------------------- */

static void write_begin(struct check *check)
{
    __atomic_store_n(&check->seq, check->seq + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static void write_end(struct check *check)
{
    __atomic_store_n(&check->seq, check->seq + 1, __ATOMIC_RELEASE);
}

static void set_timer(rf_engine *engine, uint32_t index)
{
    const struct check *check = check_at(engine, index);
    const uint64_t ms = check->due_ns / RF_NS_PER_MS + (check->due_ns % RF_NS_PER_MS != 0);
    rf_wheel_set(engine->wheel, index, ms);
}

void check_give_up(rf_engine *engine, uint32_t index)
{
    const uint8_t state = check_at(engine, index)->state;
    if (state == CHECK_RUNNING)
        slots_give_up(engine, index);
    else if (state == CHECK_OUTSIDE)
        outside_give_up(engine, index);
}

static void start_now(rf_engine *engine, uint32_t index)
{
    struct check *check = check_at(engine, index);
    check_give_up(engine, index);
    if (check->state != CHECK_WAITING)
        return;
    check->due_ns = engine->now_ns;
    set_timer(engine, index);
}

static void remove_check(rf_engine *engine, uint32_t index)
{
    struct check *check = check_at(engine, index);
    check_give_up(engine, index);
    if (check->state == CHECK_QUEUED) { /* its place in the queue cannot be found cheaply: it goes when its turn comes */
        check->removed = 1;
        return;
    }
    rf_wheel_unset(engine->wheel, index);
    write_begin(check);
    free_check(engine, check);
    check->state = CHECK_FREE;
    check->generation++;
    write_end(check);
    engine->freed[engine->freed_tail % engine->options.checks_max] = index;
    __atomic_store_n(&engine->freed_tail, engine->freed_tail + 1, __ATOMIC_RELEASE);
    engine->checks_live--;
}

static void obey(rf_engine *engine, struct command *command)
{
    const rf_order *order = &command->order;
    const uint32_t index = (uint32_t)order->check;
    struct check *check = check_at(engine, index);
    if (check->generation != (uint32_t)(order->check >> 32) || check->state == CHECK_FREE) {
        free(command->path);
        return;
    }
    const bool keep_pace = (order->set & RF_SET_KEEP_PACE) != 0;
    write_begin(check);
    if (order->set & RF_SET_HEALTH)
        check->health = order->health;
    if (order->set & RF_SET_PAUSED)
        check->paused = order->paused;
    if (order->set & RF_SET_ENABLED)
        check->enabled = order->enabled;
    if (order->set & RF_SET_STOPPED)
        check->stopped = order->stopped;
    if (order->set & RF_SET_TOUCHED)
        check->touched = 1;
    if (order->epoch != 0)
        check->epoch = order->epoch;
    if ((order->set & RF_SET_STATE_TEXT) && check->facts != NULL) {
        check->facts->state_text_len = order->state_text_len <= RF_STATE_TEXT_MAX ? order->state_text_len : RF_STATE_TEXT_MAX;
        memcpy(check->facts->state_text, order->state_text, check->facts->state_text_len);
    }
    if ((order->set & RF_SET_WEIGHT) && check->facts != NULL)
        check->facts->weight = order->weight;
    write_end(check);
    if (order->set & RF_SET_TARGET) {
        if (!keep_pace)
            check_give_up(engine, index);
        set_address(check, &order->to, command->path);
    }
    if ((order->set & RF_SET_NOW) || ((order->set & RF_SET_TARGET) && !keep_pace))
        start_now(engine, index);
}

/* A run under way belongs to the old program, so it begins anew. */
static void exchange(rf_engine *engine, struct command *command)
{
    const uint32_t index = (uint32_t)command->order.check;
    struct check *check = index < engine->checks_len ? check_at(engine, index) : NULL;
    if (check == NULL || check->state == CHECK_FREE || check->generation != (uint32_t)(command->order.check >> 32)) {
        rf_program_drop(command->program);
        return;
    }
    const bool anew = check->state == CHECK_RUNNING;
    check_give_up(engine, index);
    rf_program_drop(check->program);
    check->program = command->program;
    if (anew)
        start_now(engine, index);
}

static int32_t count(const struct check *check, const rf_result *result, bool agent);
static void tell(rf_engine *engine, uint32_t index, const rf_result *before, int32_t health_before, bool agent);

static void count_observed(rf_engine *engine, uint32_t index, const rf_result *result, int32_t ceiling)
{
    struct check *check = check_at(engine, index);
    const rf_result before = check->result;
    const int32_t health_before = check->health;
    write_begin(check);
    check->health = health_before < ceiling ? health_before : ceiling;
    check->health = count(check, result, false);
    check->result = *result;
    check->fails += health_before > 0;
    write_end(check);
    tell(engine, index, &before, health_before, false);
}

/* Traffic went wrong too often: what that does to the counter, and a check that comes sooner (spec 1.6). */
static void observed(rf_engine *engine, struct command *command)
{
    const uint32_t index = (uint32_t)command->order.check;
    struct check *check = index < engine->checks_len ? check_at(engine, index) : NULL;
    if (check != NULL && check->generation == (uint32_t)(command->order.check >> 32) && check->state != CHECK_FREE &&
        check->enabled && !check->paused) {
        if (command->result != NULL)
            count_observed(engine, index, command->result, command->total_weight);
        const uint64_t soon_ns = engine->now_ns + (uint64_t)check->fastinter_ms * RF_NS_PER_MS;
        if (check->fastinter_ms > 0 && check->state == CHECK_WAITING && soon_ns < check->due_ns) {
            check->due_ns = soon_ns;
            set_timer(engine, index);
        }
    }
    free(command->result);
}

void engine_take(rf_engine *engine, struct command *command)
{
    engine->stats.commands++;
    switch (command->kind) {
    case COMMAND_ADD:
        engine->checks_live++;
        set_timer(engine, command->index);
        return;
    case COMMAND_REMOVE: {
        const uint32_t index = (uint32_t)command->order.check;
        if (index < engine->checks_len && check_at(engine, index)->state != CHECK_FREE &&
            check_at(engine, index)->generation == (uint32_t)(command->order.check >> 32))
            remove_check(engine, index);
        return;
    }
    case COMMAND_GROUP:
        engine->group_weights[command->group] = command->total_weight;
        return;
    case COMMAND_PROGRAM:
        exchange(engine, command);
        return;
    case COMMAND_OBSERVED:
        observed(engine, command);
        return;
    case COMMAND_REPORT:
        outside_over(engine, command);
        return;
    default:
        obey(engine, command);
    }
}

/* --- results --------------------------------------------------------------------------------------------------- */

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
    set_timer(engine, index);
}

static bool same_words(const rf_result *a, const rf_result *b)
{
    return a->status == b->status && a->admin == b->admin && a->weight_kind == b->weight_kind && a->weight == b->weight &&
           a->has_maxconn == b->has_maxconn && a->maxconn == b->maxconn && a->text_len == b->text_len &&
           memcmp(a->text, b->text, a->text_len) == 0;
}

static int32_t count(const struct check *check, const rf_result *result, bool agent)
{
    if (agent && result->verdict == RF_FAILED && result->status < RF_HAS_CODE)
        return check->health; /* an agent that is gone changes nothing (spec 4.4) */
    return rf_counter_next(check->health, check->rise, check->fall, result->verdict);
}

static void tell(rf_engine *engine, uint32_t index, const rf_result *before, int32_t health_before, bool agent)
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
    if (check->enabled) { /* a result that comes after its check was disabled counts for nothing (spec 4.3) */
        const rf_result before = check->result;
        const int32_t health_before = check->health;
        write_begin(check);
        check->health = count(check, result, agent);
        check->result = *result;
        check->runs++;
        if (result->verdict == RF_FAILED && health_before > 0 && !agent)
            check->fails++;
        write_end(check);
        tell(engine, index, &before, health_before, agent);
        if (result->fleeting) {
            write_begin(check);
            check->result.text_len = 0;
            check->result.text[0] = 0;
            write_end(check);
        }
    }
    const int32_t pace = rf_counter_pace(check->health, check->rise, check->fall, check->aim.inter_ms, check->fastinter_ms,
                                         check->downinter_ms);
    rearm(engine, index, pace + spread(engine, pace, check->spread_pct));
}

/* --- one turn --------------------------------------------------------------------------------------------------- */

static void take_commands(rf_engine *engine)
{
    struct command command;
    for (uint32_t n = 0; n < COMMANDS_A_TURN && queue_pop(engine, &command); n++)
        engine_take(engine, &command);
}

static void take_events(rf_engine *engine)
{
    struct epoll_event events[EVENTS_A_TURN];
    const int n = epoll_wait(engine->epoll_fd, events, EVENTS_A_TURN, 0);
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
}

/* Due while it may not run: nothing is sent, and the timer keeps its phase (spec 2.1). */
static void skip_turn(rf_engine *engine, uint32_t index)
{
    struct check *check = check_at(engine, index);
    const uint64_t step = (uint64_t)check->aim.inter_ms * RF_NS_PER_MS;
    const uint64_t behind = engine->now_ns > check->due_ns ? engine->now_ns - check->due_ns : 0;
    check->due_ns += (behind / step + 1) * step;
    set_timer(engine, index);
}

/* Whether a check that is due, or whose turn in the queue has come, is still to run. */
bool check_may_start(rf_engine *engine, uint32_t index)
{
    struct check *check = check_at(engine, index);
    check->state = CHECK_WAITING;
    if (check->removed) {
        remove_check(engine, index);
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
    take_events(engine);
    take_timers(engine);
    if (slots_run_waiting(engine) > 0) /* near peers have answered the SYN by now: say the rest in the same turn */
        take_events(engine);
    ring_signal(engine);
    const uint64_t next_ms = rf_wheel_wake_ms(engine->wheel);
    const uint64_t timer_ns = next_ms == RF_NEVER ? RF_NEVER : next_ms * RF_NS_PER_MS;
    const uint64_t queue_ns = slots_next_ns(engine);
    const uint64_t dying_ns = processes_turn(engine);
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
