/* sim_wire.c - the computed network: what becomes of one check's packets, and of its reply at the server.
 *
 * A server, and the way from a prober, are each a list of stretches of time. This is the long way, which looks at each
 * packet and at each change of weather between them; sim.c takes the short one where a check meets neither.
 */
#include "sim.h"

enum { TRIES_MAX = 8, CHANGES_MAX = 4096 };
/* Linux: a SYN is repeated after 1 s, data after 200 ms (the least RTO), each time doubled. */
static const uint64_t SYN_MS[TRIES_MAX] = {0, 1000, 3000, 7000, 15000, 31000, 63000, 127000};
static const uint64_t DATA_MS[TRIES_MAX] = {0, 200, 600, 1400, 3000, 6200, 12600, 25400};

/* The stretch of a list at <at_ns>, from a known one on. */
static uint32_t seek(const struct list *list, uint32_t from, uint64_t at_ns)
{
    while (from + 1 < list->len && list->stretches[from + 1].begin_ns <= at_ns) /* bounded by the list */
        from++;
    return from;
}

static uint64_t end_of(const struct list *list, uint32_t at)
{
    return at + 1 < list->len ? list->stretches[at + 1].begin_ns : RF_NEVER;
}

static uint32_t sum_capped(uint32_t a, uint32_t b)
{
    return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

/* How things are for one check at one time: server and way together. */
struct weather {
    uint32_t kind, slow_pct, loss, wrong;
    uint64_t until_ns;
};

static struct weather weather_at(const rf_sim *sim, const struct path *path, uint64_t at_ns)
{
    const struct list *server = &sim->servers[path->server], *way = &sim->ways[path->prober];
    const uint32_t s = seek(server, path->at_server, at_ns), w = seek(way, path->at_way, at_ns);
    const rf_sim_stretch *a = &server->stretches[s], *b = &way->stretches[w];
    const uint64_t s_end = end_of(server, s), w_end = end_of(way, w);
    return (struct weather){
        .kind = b->kind != RF_SIM_PLAIN ? b->kind : a->kind, /* what the way does not bring is not the server's matter */
        .slow_pct = (uint32_t)((uint64_t)a->slow_pct * b->slow_pct / 100),
        .loss = sum_capped(a->loss, b->loss),
        .wrong = sum_capped(a->wrong, b->wrong),
        .until_ns = s_end < w_end ? s_end : w_end,
    };
}

void sim_settle(const rf_sim *sim, struct path *path, uint64_t start_ns)
{
    path->at_server = seek(&sim->servers[path->server], path->at_server, start_ns);
    path->at_way = seek(&sim->ways[path->prober], path->at_way, start_ns);
    const struct weather now = weather_at(sim, path, start_ns);
    path->slow_pct = now.slow_pct;
    path->loss = now.loss;
    path->calm = now.kind == RF_SIM_PLAIN && now.wrong == 0;
    path->calm_until_ns = now.until_ns;
}

/* The <try>-th SYN or its answer. */
static bool syn_lost(const struct path *path, uint32_t try, uint32_t loss)
{
    return sim_syn_lost(sim_draw(path->key, path->count, SIM_CONNECT_TRIES + try), loss);
}

/* The <try>-th time that the request, or the reply, is sent. */
static bool data_lost(const struct path *path, uint32_t try, bool reply, uint32_t loss)
{
    return sim_data_lost(sim_draw(path->key, path->count, SIM_DATA_TRIES + try), reply, loss);
}

/* When the reply is out, from when the server has the request on; what may happen to the server meanwhile. */
static uint64_t answered(const rf_sim *sim, const struct path *path, uint64_t at_ns, uint64_t work_ns, uint32_t *how)
{
    bool begun = false; /* a reply is right or wrong from when it is worked on */
    for (uint32_t i = 0; i < CHANGES_MAX; i++) {
        const struct weather now = weather_at(sim, path, at_ns);
        if (now.kind == RF_SIM_REFUSED) { /* the process is gone: the kernel resets what it had */
            *how = RF_SIM_END_RESET;
            return at_ns;
        }
        if (now.kind == RF_SIM_HUNG) {
            if (now.until_ns == RF_NEVER)
                return RF_NEVER;
            at_ns = now.until_ns;
            continue;
        }
        if (!begun || now.kind == RF_SIM_WRONG)
            *how = now.kind == RF_SIM_WRONG || (uint32_t)sim_draw(path->key, path->count, 1) < now.wrong ? RF_SIM_END_WRONG : RF_SIM_END_GOOD;
        begun = true;
        if (at_ns + work_ns < now.until_ns)
            return at_ns + work_ns;
        work_ns -= now.until_ns - at_ns;
        at_ns = now.until_ns;
    }
    return RF_NEVER;
}

void sim_wire(const rf_sim *sim, const struct path *path, uint64_t start_ns, rf_sim_wire *out)
{
    const rf_sim_class *klass = &sim->classes[path->klass];
    const uint64_t luck = sim_draw(path->key, path->count, 0);
    const uint64_t trip_ns = sim_latency_ns(&sim->latencies[klass->connect_latency], (uint32_t)(luck >> 32));
    const uint64_t work_ns = sim_latency_ns(&sim->latencies[klass->reply_latency], (uint32_t)luck);
    *out = (rf_sim_wire){.connect_ns = RF_NEVER, .reply_ns = RF_NEVER, .reply = RF_SIM_END_SILENT};
    struct weather now = {0};
    for (uint32_t i = 0; i < TRIES_MAX && out->connect_ns == RF_NEVER; i++) {
        const uint64_t at_ns = start_ns + SYN_MS[i] * RF_NS_PER_MS;
        now = weather_at(sim, path, at_ns);
        if (now.kind == RF_SIM_SILENT || (now.loss && syn_lost(path, i, now.loss)))
            continue;
        if (now.kind == RF_SIM_REFUSED) {
            out->connect_ns = at_ns + trip_ns;
            out->refused = 1;
            return;
        }
        out->connect_ns = at_ns + trip_ns * klass->trips;
    }
    if (out->connect_ns == RF_NEVER || klass->connect_only)
        return;
    for (uint32_t i = 0; i < TRIES_MAX; i++) {
        const uint64_t at_ns = out->connect_ns + DATA_MS[i] * RF_NS_PER_MS;
        now = weather_at(sim, path, at_ns);
        if (now.kind == RF_SIM_SILENT || (now.loss && data_lost(path, i, false, now.loss)))
            continue;
        const uint64_t slowed_ns = work_ns * now.slow_pct / 100;
        const uint64_t done_ns = answered(sim, path, at_ns, slowed_ns, &out->reply);
        if (done_ns == RF_NEVER)
            return;
        for (uint32_t j = 0; j < TRIES_MAX; j++) {
            const uint64_t back_ns = done_ns + DATA_MS[j] * RF_NS_PER_MS;
            now = weather_at(sim, path, back_ns);
            if (now.kind == RF_SIM_SILENT || (now.loss && data_lost(path, j, true, now.loss)))
                continue;
            out->reply_ns = back_ns;
            return;
        }
        return;
    }
}
