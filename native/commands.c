/* commands.c - what the commanding side asks of an engine, and how the stepping side does it.
 *
 * Checks come, change and go by commands alone. Before the thread runs a command is taken at once; later it goes through
 * the queue, and what it carries (an address's text, a result, a program) belongs to it until it is taken.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "engine.h"

/* --- checks and what they hold ---------------------------------------------------------------------- */

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

void check_free(rf_engine *engine, struct check *check)
{
    free_parts(engine, check);
    rf_program_drop(check->program);
    if (check->aim.family == RF_UNIX || check->aim.family == RF_ABSTRACT)
        free(check->addr.path);
    check->program = NULL;
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
            memcmp(source->interface, from->interface, sizeof source->interface) == 0 && source->netns == from->netns)
            return source;
    }
    if (from->netns != 0 && engine->own_netns < 0 &&
        (engine->own_netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0)
        return NULL;
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
    source->netns = from->netns;
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

static struct facts *facts_new(const char *site, uint32_t site_len)
{
    struct facts *facts = calloc(1, sizeof *facts + site_len);
    if (facts == NULL)
        return NULL;
    facts->site_len = (uint16_t)site_len;
    if (site_len > 0)
        memcpy(facts->site, site, site_len);
    return facts;
}

static bool fill(rf_engine *engine, struct check *check, rf_program *program, const rf_check *from, const char *site,
                 uint32_t site_len)
{
    const uint32_t generation = check->generation ? check->generation : 1; /* so that no handle is ever 0 */
    memset(check, 0, sizeof *check);
    check->generation = generation;
    char *path = NULL;
    if (program->tells_facts) {
        check->facts = facts_new(site, site_len);
        if (check->facts == NULL)
            return false;
        check->facts->weight = from->weight;
    }
    const bool sourced = from->from.family != 0 || from->interface[0] != 0 || from->netns != 0;
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
        return rf_refuse(RF_FULL, ENOSPC, "no room for more than %u checks", engine->options.checks_max);
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
        check_free(engine, check);
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
        free(command->facts);
        rf_process_drop(command->process);
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

int32_t rf_set_site(rf_engine *engine, uint64_t check, const char *site, uint32_t site_len, rf_process *process)
{
    if (site_len > SITE_MAX)
        return rf_refuse(RF_BAD, EINVAL, "a site of more than %d bytes", SITE_MAX);
    struct command command = {.kind = COMMAND_SITE, .order.check = check, .process = process};
    command.facts = facts_new(site, site_len);
    if (command.facts == NULL)
        return rf_refuse(RF_NOMEM, ENOMEM, "out of memory");
    rf_process_hold(process);
    return pass(engine, &command);
}

int32_t rf_observed(rf_engine *engine, uint64_t check, int32_t ceiling, uint32_t again, const char *text, uint32_t text_len)
{
    struct command command = {.kind = COMMAND_OBSERVED, .order.check = check, .total_weight = ceiling, .group = again};
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
    check_set_timer(engine, index);
}

void check_remove(rf_engine *engine, uint32_t index)
{
    struct check *check = check_at(engine, index);
    check_give_up(engine, index);
    if (check->state == CHECK_QUEUED) { /* its place in the queue cannot be found cheaply: it goes when its turn comes */
        check->removed = 1;
        return;
    }
    rf_wheel_unset(engine->wheel, index);
    record_begin(check);
    check_free(engine, check);
    check->state = CHECK_FREE;
    check->generation++;
    record_end(check);
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
    record_begin(check);
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
    record_end(check);
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

/* The server's new texts take the place of the old ones, also for a run under way; what commands set stays. */
static void retell(rf_engine *engine, struct command *command)
{
    const uint32_t index = (uint32_t)command->order.check;
    struct check *check = index < engine->checks_len ? check_at(engine, index) : NULL;
    const bool there = check != NULL && check->state != CHECK_FREE && check->generation == (uint32_t)(command->order.check >> 32);
    if (there && check->facts != NULL) {
        struct facts *old = check->facts;
        command->facts->weight = old->weight;
        command->facts->state_text_len = old->state_text_len;
        memcpy(command->facts->state_text, old->state_text, sizeof old->state_text);
        check->facts = command->facts;
        if (check->state == CHECK_RUNNING)
            engine->slots[check->slot].probe.facts = check->facts;
        command->facts = old;
    }
    if (there && command->process != NULL && check->extras != NULL && check->extras->process != NULL) {
        rf_process *old = check->extras->process;
        check->extras->process = command->process;
        command->process = old;
    }
    free(command->facts);
    rf_process_drop(command->process);
}

static void count_observed(rf_engine *engine, uint32_t index, const rf_result *result, int32_t ceiling)
{
    struct check *check = check_at(engine, index);
    const rf_result before = check->result;
    const int32_t health_before = check->health;
    record_begin(check);
    check->health = health_before < ceiling ? health_before : ceiling;
    check->health = check_count(check, result, false);
    check->result = *result;
    check->fails += health_before > 0;
    record_end(check);
    check_tell(engine, index, &before, health_before, false);
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
            check->again = command->group != 0;
            check_set_timer(engine, index);
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
        check_set_timer(engine, command->index);
        return;
    case COMMAND_REMOVE: {
        const uint32_t index = (uint32_t)command->order.check;
        if (index < engine->checks_len && check_at(engine, index)->state != CHECK_FREE &&
            check_at(engine, index)->generation == (uint32_t)(command->order.check >> 32))
            check_remove(engine, index);
        return;
    }
    case COMMAND_GROUP:
        engine->group_weights[command->group] = command->total_weight;
        return;
    case COMMAND_PROGRAM:
        exchange(engine, command);
        return;
    case COMMAND_SITE:
        retell(engine, command);
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

