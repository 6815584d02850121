/* sim.c - checks in virtual time over a network that is only computed.
 *
 * The counter and the pace are the engine's own (counter.c), and so is the rule of its timers: whole milliseconds, the next
 * check its interval after the last one's end. The network and the server behind it stand in sim_wire.c: given when a check
 * starts, when would its connection stand, and when and what would be answered. The deadlines and verdicts are not decided
 * here either: a real probe was asked once for each end that a check can have, and its class keeps the answers (rf_sim_class).
 *
 * Luck is a function of (seed, server, prober, which check of the prober, what for), not of the order of calls: the same
 * seed gives the same run whatever else runs, and settings that are compared meet the same network. So checks of different
 * paths know nothing of one another, and no timer has to sort them: each path is run through a window of time by itself.
 * Nearly always it is quiet there: the server is well and known to be, and the weather is calm. Then a check is three
 * draws, two look-ups and one comparison with its limits (`quiet`), all in registers; none is skipped.
 */
#include <errno.h>
#include <string.h>

#include "sim.h"

enum { EVENTS_MIN = 1024, WINDOW_S = 64 };

/* --- building ---------------------------------------------------------------------------------------------- */

rf_sim *rf_sim_open(const rf_sim_options *options)
{
    if (options->checks_max == 0 || options->servers == 0 || options->probers == 0 || options->classes_max == 0 ||
        options->latencies_max == 0) {
        rf_refuse(RF_BAD, EINVAL, "a simulation wants one check, server, prober, class and latency at least");
        return NULL;
    }
    rf_sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL) {
        rf_refuse(RF_NOMEM, ENOMEM, "out of memory");
        return NULL;
    }
    sim->options = *options;
    sim->paths = calloc(options->checks_max, sizeof *sim->paths);
    sim->classes = calloc(options->classes_max, sizeof *sim->classes);
    sim->latencies = calloc(options->latencies_max, sizeof *sim->latencies);
    sim->servers = calloc(options->servers, sizeof *sim->servers);
    sim->ways = calloc(options->probers, sizeof *sim->ways);
    const size_t counted = (size_t)options->servers + options->probers;
    sim->seconds = calloc(counted * WINDOW_S, sizeof *sim->seconds);
    sim->peaks = calloc(counted, sizeof *sim->peaks);
    if (sim->paths == NULL || sim->classes == NULL || sim->latencies == NULL || sim->servers == NULL || sim->ways == NULL ||
        sim->seconds == NULL || sim->peaks == NULL) {
        rf_sim_close(sim);
        rf_refuse(RF_NOMEM, ENOMEM, "out of memory");
        return NULL;
    }
    return sim;
}

static void free_lists(struct list *lists, uint32_t len)
{
    for (uint32_t i = 0; lists != NULL && i < len; i++)
        free(lists[i].stretches);
    free(lists);
}

void rf_sim_close(rf_sim *sim)
{
    if (sim == NULL)
        return;
    free_lists(sim->servers, sim->options.servers);
    free_lists(sim->ways, sim->options.probers);
    free(sim->paths);
    free(sim->classes);
    free(sim->latencies);
    free(sim->seconds);
    free(sim->peaks);
    free(sim->bins);
    free(sim);
}

int32_t rf_sim_latency_add(rf_sim *sim, const rf_sim_latency *latency)
{
    if (sim->latencies_len == sim->options.latencies_max)
        return rf_refuse(RF_FULL, ENOSPC, "no room for another latency");
    for (uint32_t level = 0; level < RF_SIM_LEVELS; level++) {
        for (uint32_t i = 0; i < RF_SIM_CELLS; i++) {
            if (latency->us[level][i] > latency->us[level][i + 1])
                return rf_refuse(RF_BAD, EINVAL, "quantiles never fall");
        }
    }
    sim->latencies[sim->latencies_len] = *latency;
    return (int32_t)sim->latencies_len++;
}

int32_t rf_sim_class_add(rf_sim *sim, const rf_sim_class *klass)
{
    if (sim->classes_len == sim->options.classes_max)
        return rf_refuse(RF_FULL, ENOSPC, "no room for another class");
    if (klass->inter_ms < 1 || klass->fastinter_ms < 0 || klass->downinter_ms < 0 || klass->rise < 1 || klass->fall < 1 ||
        klass->spread_pct < 0 || klass->spread_pct > 50 || klass->trips < 1 || klass->trips > 16 ||
        klass->connect_latency >= sim->latencies_len || klass->reply_latency >= sim->latencies_len)
        return rf_refuse(RF_BAD, EINVAL, "a class out of range");
    for (uint32_t i = 0; i < RF_SIM_ENDS; i++) {
        if (klass->verdict[i] > RF_CONDPASS)
            return rf_refuse(RF_BAD, EINVAL, "no such verdict");
    }
    sim->classes[sim->classes_len] = *klass;
    return (int32_t)sim->classes_len++;
}

static int32_t set_list(struct list *list, const rf_sim_stretch *stretches, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++) {
        if (stretches[i].kind > RF_SIM_WRONG || stretches[i].slow_pct < 1 || stretches[i].slow_pct > 1000000 ||
            (i == 0 ? stretches[i].begin_ns != 0 : stretches[i].begin_ns <= stretches[i - 1].begin_ns))
            return rf_refuse(RF_BAD, EINVAL, "stretch %u: they begin at 0 and rise, kinds and slowness in range", i);
    }
    rf_sim_stretch *copy = malloc((size_t)len * sizeof *copy);
    if (len == 0 || copy == NULL) {
        free(copy);
        return rf_refuse(len == 0 ? RF_BAD : RF_NOMEM, len == 0 ? EINVAL : ENOMEM, "no stretches");
    }
    memcpy(copy, stretches, (size_t)len * sizeof *copy);
    free(list->stretches);
    *list = (struct list){copy, len};
    return RF_OK;
}

int32_t rf_sim_server(rf_sim *sim, uint32_t server, const rf_sim_stretch *stretches, uint32_t len)
{
    if (server >= sim->options.servers || sim->base_ms > 0)
        return rf_refuse(RF_BAD, EINVAL, "no such server, or it is late");
    return set_list(&sim->servers[server], stretches, len);
}

int32_t rf_sim_way(rf_sim *sim, uint32_t prober, const rf_sim_stretch *stretches, uint32_t len)
{
    if (prober >= sim->options.probers || sim->base_ms > 0)
        return rf_refuse(RF_BAD, EINVAL, "no such prober, or it is late");
    return set_list(&sim->ways[prober], stretches, len);
}

/* Moves the counter, and the pace with it. */
static void set_health(struct path *path, const rf_sim_class *klass, int32_t health)
{
    const uint8_t sound = klass->verdict[RF_SIM_END_GOOD];
    path->health = health;
    path->good = health >= klass->rise;
    path->steady = health == klass->rise + klass->fall - 1 && (sound == RF_PASSED || sound == RF_CONDPASS);
    path->pace_ms =
        rf_counter_pace(health, klass->rise, klass->fall, klass->inter_ms, klass->fastinter_ms, klass->downinter_ms);
}

int32_t rf_sim_add(rf_sim *sim, const rf_sim_check *check)
{
    if (sim->paths_len == sim->options.checks_max)
        return rf_refuse(RF_FULL, ENOSPC, "no room for another check");
    if (check->server >= sim->options.servers || check->prober >= sim->options.probers || check->klass >= sim->classes_len ||
        sim->servers[check->server].len == 0 || sim->ways[check->prober].len == 0 || check->health < 0)
        return rf_refuse(RF_BAD, EINVAL, "a check out of range, or of a server or a way without stretches");
    struct path *path = &sim->paths[sim->paths_len];
    const rf_sim_class *klass = &sim->classes[check->klass];
    *path = (struct path){
        .key = sim_mix(sim_mix(sim_mix(sim->options.seed + RF_SIM_GAMMA) + ((uint64_t)check->server << 1 | klass->agent)) +
                       check->prober),
        .due_ms = check->first_ms,
        .server = check->server,
        .prober = check->prober,
        .klass = check->klass,
        .since_ns = RF_NEVER,
    };
    set_health(path, klass, check->health);
    return (int32_t)sim->paths_len++;
}

int32_t rf_sim_restart(rf_sim *sim, uint32_t check, uint64_t first_ms, int32_t health)
{
    if (check >= sim->paths_len || first_ms < sim->base_ms || health < 0)
        return rf_refuse(RF_BAD, EINVAL, "no such check, or it is late");
    struct path *path = &sim->paths[check];
    const rf_sim_class *klass = &sim->classes[path->klass];
    set_health(path, klass, health);
    path->since_ns = RF_NEVER;
    path->due_ms = first_ms;
    return RF_OK;
}

int32_t rf_sim_watch(rf_sim *sim, uint64_t from_ms, uint64_t bin_ms, uint32_t bins)
{
    uint64_t *made = bins && bin_ms ? calloc(bins, sizeof *made) : NULL;
    if (made == NULL)
        return rf_refuse(RF_BAD, EINVAL, "no bins to count in");
    free(sim->bins);
    sim->bins = made;
    sim->bins_len = bins;
    sim->bin_ms = bin_ms;
    sim->watch_from_ms = from_ms;
    return RF_OK;
}

/* --- one check ---------------------------------------------------------------------------------------------- */

static uint64_t ms_up(uint64_t ns)
{
    return (ns + RF_NS_PER_MS - 1) / RF_NS_PER_MS * RF_NS_PER_MS; /* timers of the engine are whole milliseconds */
}

static uint64_t reply_limit(const rf_sim_class *klass, uint64_t start_ns, uint64_t connect_ns)
{
    const uint64_t fixed = start_ns + klass->reply_floor_ns, moving = connect_ns + klass->reply_after_ns;
    return ms_up(fixed > moving ? fixed : moving);
}

/* How the check ends, and when: what came before its deadlines. */
static uint32_t judge(const rf_sim_class *klass, uint64_t start_ns, const rf_sim_wire *on, uint64_t *done_ns)
{
    const uint64_t limit = ms_up(start_ns + klass->connect_limit_ns);
    if (on->connect_ns > limit) {
        *done_ns = limit;
        return RF_SIM_END_SILENT;
    }
    *done_ns = on->connect_ns;
    if (on->refused)
        return RF_SIM_END_REFUSED;
    if (klass->connect_only)
        return RF_SIM_END_GOOD;
    const uint64_t last = reply_limit(klass, start_ns, on->connect_ns);
    *done_ns = on->reply_ns > last ? last : on->reply_ns;
    return on->reply_ns > last ? RF_SIM_END_HUNG : on->reply;
}

/* The short way; false where this check is not that simple. <path> only for what does not change while it is quiet. */
static inline bool plainly(const rf_sim *sim, const struct path *path, const rf_sim_class *klass, uint64_t count,
                           uint64_t start_ns, uint64_t *took_ns)
{
    if (path->loss) {
        const uint64_t data = sim_draw(path->key, count, SIM_DATA_TRIES);
        if (sim_syn_lost(sim_draw(path->key, count, SIM_CONNECT_TRIES), path->loss) ||
            sim_data_lost(data, false, path->loss) || sim_data_lost(data, true, path->loss))
            return false;
    }
    const uint64_t luck = sim_draw(path->key, count, 0);
    uint64_t took = klass->trips * sim_latency_ns(&sim->latencies[klass->connect_latency], (uint32_t)(luck >> 32));
    if (!klass->connect_only) {
        const uint64_t work_ns = sim_latency_ns(&sim->latencies[klass->reply_latency], (uint32_t)luck);
        took += path->slow_pct == 100 ? work_ns : work_ns * path->slow_pct / 100;
    }
    *took_ns = took;
    return took <= klass->plain_limit_ns && start_ns + took < path->calm_until_ns;
}

/* One check begins: counted for its server, its prober, and where somebody watches. */
static inline void tally(rf_sim *sim, int32_t *of_server, int32_t *of_prober, uint64_t due_ms)
{
    const uint64_t second = due_ms / 1000 - sim->window_s;
    of_server[second]++;
    of_prober[second]++;
    if (due_ms - sim->watch_from_ms < sim->bins_len * sim->bin_ms)
        sim->bins[(due_ms - sim->watch_from_ms) / sim->bin_ms]++;
}

static int32_t *seconds_of_server(const rf_sim *sim, uint32_t server)
{
    return sim->seconds + (size_t)server * WINDOW_S;
}

static int32_t *seconds_of_prober(const rf_sim *sim, uint32_t prober)
{
    return sim->seconds + ((size_t)sim->options.servers + prober) * WINDOW_S;
}

static int64_t spread(const struct path *path, const rf_sim_class *klass, uint64_t count)
{
    const uint64_t v = (uint64_t)path->pace_ms * (uint32_t)klass->spread_pct / 100;
    return (int64_t)v - (int64_t)(((sim_draw(path->key, count, DRAWS_A_CHECK - 1) >> 32) * 2 * v) >> 32); /* (-v .. v] */
}

static uint64_t pause_ms(const struct path *path, const rf_sim_class *klass, uint64_t count)
{
    const int64_t ms = path->pace_ms + (klass->spread_pct ? spread(path, klass, count) : 0);
    return ms > 0 ? (uint64_t)ms : 1;
}

/* Checks of one path while nothing but the time changes; ends before the first check that may change something. */
static void quiet(rf_sim *sim, struct path *path, const rf_sim_class *klass, uint64_t end_ms)
{
    int32_t *of_server = seconds_of_server(sim, path->server), *of_prober = seconds_of_prober(sim, path->prober);
    const struct path still = *path; /* so that the compiler knows that the tallies do not change it */
    uint64_t due_ms = path->due_ms, count = path->count, took_ns;
    if (!still.calm || !still.steady)
        return;
    while (due_ms < end_ms) {
        if (!plainly(sim, &still, klass, count, due_ms * RF_NS_PER_MS, &took_ns))
            break;
        tally(sim, of_server, of_prober, due_ms);
        due_ms += (took_ns + RF_NS_PER_MS - 1) / RF_NS_PER_MS + pause_ms(&still, klass, count);
        count++;
    }
    sim->checks += count - path->count;
    path->due_ms = due_ms;
    path->count = count;
}

/* One check, whatever happens in it. */
static bool run_check(rf_sim *sim, uint32_t index, rf_sim_event *event)
{
    struct path *path = &sim->paths[index];
    const rf_sim_class *klass = &sim->classes[path->klass];
    const uint64_t start_ns = path->due_ms * RF_NS_PER_MS;
    uint64_t done_ns, took_ns;
    uint32_t end = RF_SIM_END_GOOD;
    if (path->calm && plainly(sim, path, klass, path->count, start_ns, &took_ns)) {
        done_ns = start_ns + took_ns;
    } else {
        rf_sim_wire on;
        sim_wire(sim, path, start_ns, &on);
        end = judge(klass, start_ns, &on, &done_ns);
    }
    tally(sim, seconds_of_server(sim, path->server), seconds_of_prober(sim, path->prober), path->due_ms);
    bool told = false;
    const int32_t before = path->health;
    const bool was_good = path->good;
    const int32_t after =
        rf_counter_after(before, klass->rise, klass->fall, klass->verdict[end], klass->status[end], klass->agent);
    if (after != before) {
        const int32_t full = klass->rise + klass->fall - 1;
        if (path->since_ns == RF_NEVER || before == full || before == 0 || (after > before) != (path->since_ns & 1))
            path->since_ns = start_ns | (after > before); /* a streak begins; whole ms, so the last bit is free */
        set_health(path, klass, after);
        told = path->good != was_good;
    }
    if (told) {
        *event = (rf_sim_event){.done_ns = done_ns, .since_ns = path->since_ns & ~UINT64_C(1), .check = index,
                                .status = klass->status[end], .good = path->good};
    }
    path->fails += klass->verdict[end] == RF_FAILED;
    path->due_ms = ms_up(done_ns) / RF_NS_PER_MS + pause_ms(path, klass, path->count);
    path->count++;
    sim->checks++;
    return told;
}

/* Everything of one path that begins before <end_ms>, or until there is no more room. */
static uint32_t run_path(rf_sim *sim, uint32_t index, uint64_t end_ms, rf_sim_event *out, uint32_t room)
{
    struct path *path = &sim->paths[index];
    uint32_t told = 0;
    while (path->due_ms < end_ms && told < room) { /* each turn moves due_ms on by a millisecond or more */
        if (path->due_ms * RF_NS_PER_MS >= path->calm_until_ns)
            sim_settle(sim, path, path->due_ms * RF_NS_PER_MS);
        quiet(sim, path, &sim->classes[path->klass], end_ms);
        if (path->due_ms >= end_ms)
            break;
        if (path->due_ms * RF_NS_PER_MS >= path->calm_until_ns)
            sim_settle(sim, path, path->due_ms * RF_NS_PER_MS);
        told += run_check(sim, index, &out[told]);
    }
    return told;
}

/* The most of one second so far, the window under way included. */
static int32_t peak_of(const rf_sim *sim, size_t which)
{
    int32_t most = sim->peaks[which];
    for (uint32_t i = 0; i < WINDOW_S; i++) {
        const int32_t here = sim->seconds[which * WINDOW_S + i];
        most = here > most ? here : most;
    }
    return most;
}

static void open_window(rf_sim *sim, uint64_t second)
{
    const size_t counted = (size_t)sim->options.servers + sim->options.probers;
    for (size_t i = 0; i < counted; i++)
        sim->peaks[i] = peak_of(sim, i);
    memset(sim->seconds, 0, counted * WINDOW_S * sizeof *sim->seconds);
    sim->window_s = second;
}

int64_t rf_sim_run(rf_sim *sim, uint64_t until_ms, rf_sim_event *out, uint32_t out_max)
{
    if (out_max < EVENTS_MIN)
        return rf_refuse(RF_BAD, EINVAL, "room for %d events at least", EVENTS_MIN);
    uint32_t told = 0;
    while (sim->base_ms < until_ms) {
        if (sim->base_ms >= (sim->window_s + WINDOW_S) * 1000)
            open_window(sim, sim->base_ms / 1000);
        const uint64_t window_end_ms = (sim->window_s + WINDOW_S) * 1000;
        const uint64_t end_ms = window_end_ms < until_ms ? window_end_ms : until_ms;
        for (; sim->next_path < sim->paths_len; sim->next_path++) {
            told += run_path(sim, sim->next_path, end_ms, out + told, out_max - told);
            if (sim->paths[sim->next_path].due_ms < end_ms)
                return told; /* no more room; this path goes on from here */
        }
        sim->next_path = 0;
        sim->base_ms = end_ms;
    }
    return told;
}

uint64_t rf_sim_now_ms(const rf_sim *sim)
{
    return sim->base_ms;
}

uint64_t rf_sim_checks(const rf_sim *sim)
{
    return sim->checks;
}

/* --- looking ---------------------------------------------------------------------------------------------------- */

int32_t rf_sim_wired(rf_sim *sim, uint32_t check, uint64_t count, uint64_t start_ns, rf_sim_wire *out)
{
    if (check >= sim->paths_len || sim->base_ms > 0)
        return rf_refuse(RF_BAD, EINVAL, "no such check, or the simulation has begun");
    struct path path = sim->paths[check];
    path.count = count;
    sim_settle(sim, &path, start_ns);
    sim_wire(sim, &path, start_ns, out); /* never the short way, so that whoever compares compares the two */
    return RF_OK;
}

int32_t rf_sim_pause(rf_sim *sim, uint32_t check, uint64_t count, int32_t pace_ms, int64_t *out_ms)
{
    if (check >= sim->paths_len || pace_ms < 1)
        return rf_refuse(RF_BAD, EINVAL, "no such check, or pace");
    struct path path = sim->paths[check];
    path.pace_ms = pace_ms;
    *out_ms = (int64_t)pause_ms(&path, &sim->classes[path.klass], count);
    return RF_OK;
}

int32_t rf_sim_tally_read(const rf_sim *sim, uint32_t check, rf_sim_tally *out)
{
    if (check >= sim->paths_len)
        return rf_refuse(RF_BAD, EINVAL, "no such check");
    const struct path *path = &sim->paths[check];
    *out = (rf_sim_tally){
        .checks = path->count,
        .fails = path->fails,
        .server_peak = (uint32_t)peak_of(sim, path->server),
        .prober_peak = (uint32_t)peak_of(sim, (size_t)sim->options.servers + path->prober),
        .health = path->health,
    };
    return RF_OK;
}

uint32_t rf_sim_bins(const rf_sim *sim, uint64_t *out, uint32_t out_max)
{
    const uint32_t n = sim->bins_len < out_max ? sim->bins_len : out_max;
    if (n > 0)
        memcpy(out, sim->bins, n * sizeof *out);
    return n;
}
