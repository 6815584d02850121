/* sim.h - what sim.c and sim_wire.c share; nobody else includes it. */
#ifndef RF_SIM_H
#define RF_SIM_H

#include "internal.h"

enum { DRAWS_A_CHECK = 32 };
#define RF_SIM_GAMMA UINT64_C(0x9e3779b97f4a7c15)

struct list {
    rf_sim_stretch *stretches;
    uint32_t len;
};
struct path {
    uint64_t key, count, due_ms, calm_until_ns, since_ns, fails;
    uint32_t server, prober, klass, at_server, at_way;
    int32_t health, pace_ms;
    uint32_t slow_pct, loss; /* of the stretch under way */
    bool calm;               /* this stretch allows the short way */
    bool good;
    bool steady; /* one more pass changes nothing */
};
struct rf_sim {
    rf_sim_options options;
    struct path *paths;
    rf_sim_class *classes;
    rf_sim_latency *latencies;
    struct list *servers, *ways;
    int32_t *seconds; /* checks that began in each second of the window: of each server, then of each prober */
    int32_t *peaks;
    uint64_t *bins;
    uint64_t watch_from_ms, bin_ms;
    uint32_t paths_len, classes_len, latencies_len, bins_len, next_path;
    uint64_t base_ms, window_s, checks;
};

static inline uint64_t sim_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9); /* splitmix64 */
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* The <what>-th 64 bits of the <count>-th check of a path. */
static inline uint64_t sim_draw(uint64_t key, uint64_t count, uint32_t what)
{
    return sim_mix(key + (count * DRAWS_A_CHECK + what) * RF_SIM_GAMMA);
}

static inline uint64_t sim_latency_ns(const rf_sim_latency *latency, uint32_t luck)
{
    uint32_t level = 0, cell = luck >> 22, bits = 22;
    while (cell == RF_SIM_CELLS - 1 && level + 1 < RF_SIM_LEVELS) {
        level++;
        bits -= 10;
        cell = (luck >> bits) & (RF_SIM_CELLS - 1);
    }
    const uint64_t low = latency->us[level][cell], high = latency->us[level][cell + 1];
    const uint64_t part = luck & ((1u << bits) - 1);
    return low * 1000 + (((high - low) * part * 1000) >> bits);
}

/* What is lost at the first try: the SYN or its answer; the request; the reply. */
static inline bool sim_syn_lost(uint64_t luck, uint32_t loss)
{
    return (uint32_t)luck < loss || (uint32_t)(luck >> 32) < loss;
}

static inline bool sim_data_lost(uint64_t luck, bool reply, uint32_t loss)
{
    return (uint32_t)(luck >> (reply ? 32 : 0)) < loss;
}

/* Draws of one check: 0 its latencies, 1 whether its reply is wrong, then one for each time that something is sent. */
enum { SIM_CONNECT_TRIES = 2, SIM_DATA_TRIES = 10 };

/* Moves a path to the stretch of its start. */
void sim_settle(const rf_sim *sim, struct path *path, uint64_t start_ns);
/* What the network does with a check, whatever the check's own patience. */
void sim_wire(const rf_sim *sim, const struct path *path, uint64_t start_ns, rf_sim_wire *out);

#endif
