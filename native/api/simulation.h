/* api/simulation.h - checks in virtual time (sim.c). Part of risefall.h. */
#ifndef RF_API_SIMULATION_H
#define RF_API_SIMULATION_H

#include "base.h"

/* cffi: begin */
enum { RF_SIM_CELLS = 1024, RF_SIM_EDGES = 1025, RF_SIM_LEVELS = 3 };
/* What a server, or the way to it, is like for a while: SILENT swallows packets, HUNG accepts and says nothing until it
 * is over, WRONG answers what the check does not want. */
enum { RF_SIM_PLAIN = 0, RF_SIM_REFUSED = 1, RF_SIM_SILENT = 2, RF_SIM_HUNG = 3, RF_SIM_WRONG = 4 };
/* How a check can end: no connection in time, none wanted, no reply in time, a reset, a wrong reply, a good one. */
enum {
    RF_SIM_END_SILENT = 0,
    RF_SIM_END_REFUSED = 1,
    RF_SIM_END_HUNG = 2,
    RF_SIM_END_RESET = 3,
    RF_SIM_END_WRONG = 4,
    RF_SIM_END_GOOD = 5,
    RF_SIM_ENDS = 6
};

/* How long a thing takes: quantiles in microseconds at equal steps, the last step once more in as many, and its last too. */
typedef struct {
    uint32_t us[3][1025];
} rf_sim_latency;

/* From begin_ns until the next of its list begins. Chances in 2^-32. */
typedef struct {
    uint64_t begin_ns;
    uint32_t kind;     /* RF_SIM_ */
    uint32_t slow_pct; /* of a reply's time; 100: as it is */
    uint32_t loss;     /* of one packet; TCP sends it again */
    uint32_t wrong;    /* of a reply */
} rf_sim_stretch;

/* What checks have in common. Limits and verdicts are a real probe's; the reply is awaited until the later of
 * start + reply_floor_ns and connection + reply_after_ns. */
typedef struct {
    int32_t inter_ms, fastinter_ms, downinter_ms; /* fastinter, downinter: 0 when unset */
    int32_t rise, fall, spread_pct;
    uint64_t connect_limit_ns, reply_floor_ns, reply_after_ns;
    uint64_t plain_limit_ns; /* what is over by then, from the start on, has met every limit */
    uint32_t connect_latency, reply_latency;
    uint32_t trips;          /* round trips until the connection stands: 1, more with TLS */
    uint8_t connect_only, agent;
    uint8_t verdict[6];      /* of each RF_SIM_END_ */
    uint16_t status[6];
} rf_sim_class;

typedef struct {
    uint32_t server, prober, klass;
    int32_t health;
    uint64_t first_ms;
} rf_sim_check;

/* A check turned good or bad. since_ns: start of the first check of the streak that did it. */
typedef struct {
    uint64_t done_ns, since_ns;
    uint32_t check;
    uint16_t status;
    uint8_t good;
} rf_sim_event;

/* What the network does with one check, whatever its deadlines; UINT64_MAX: never. reply: RF_SIM_END_RESET ... */
typedef struct {
    uint64_t connect_ns, reply_ns;
    uint32_t refused, reply;
} rf_sim_wire;

typedef struct {
    uint64_t checks, fails;
    uint32_t server_peak, prober_peak; /* most checks that began in one second, of its server and its prober */
    int32_t health;
} rf_sim_tally;

typedef struct {
    uint32_t checks_max, servers, probers, classes_max, latencies_max;
    uint64_t seed;
} rf_sim_options;

typedef struct rf_sim rf_sim; /* owned from rf_sim_open to rf_sim_close; one thread at a time */

rf_sim *rf_sim_open(const rf_sim_options *options);
void rf_sim_close(rf_sim *sim);
/* These give the number of what was added. Stretches and latencies come before the checks that use them. */
int32_t rf_sim_latency_add(rf_sim *sim, const rf_sim_latency *latency);
int32_t rf_sim_class_add(rf_sim *sim, const rf_sim_class *klass);
int32_t rf_sim_add(rf_sim *sim, const rf_sim_check *check);
int32_t rf_sim_server(rf_sim *sim, uint32_t server, const rf_sim_stretch *stretches, uint32_t len);
int32_t rf_sim_way(rf_sim *sim, uint32_t prober, const rf_sim_stretch *stretches, uint32_t len);
/* Its prober begins anew: counter and first check as told. */
int32_t rf_sim_restart(rf_sim *sim, uint32_t check, uint64_t first_ms, int32_t health);
/* Counts the checks that begin from then on, in bins. */
int32_t rf_sim_watch(rf_sim *sim, uint64_t from_ms, uint64_t bin_ms, uint32_t bins);
uint32_t rf_sim_bins(const rf_sim *sim, uint64_t *out, uint32_t out_max);
/* Lets every check begin that is due before until_ms. How many events; before the end is reached when there is no room for
 * 1024 more, then rf_sim_now_ms() is less and it is called again. Events are not in the order of done_ns, but those of a
 * check are, and none is told later that is over before rf_sim_now_ms(). */
int64_t rf_sim_run(rf_sim *sim, uint64_t until_ms, rf_sim_event *out, uint32_t out_max);
uint64_t rf_sim_now_ms(const rf_sim *sim);
uint64_t rf_sim_checks(const rf_sim *sim);
int32_t rf_sim_tally_read(const rf_sim *sim, uint32_t check, rf_sim_tally *out);
/* For the slow way, which goes through probes: what the network does with the count-th check, from 0, that starts then; how
 * long it pauses after it. Before rf_sim_run. */
int32_t rf_sim_wired(rf_sim *sim, uint32_t check, uint64_t count, uint64_t start_ns, rf_sim_wire *out);
int32_t rf_sim_pause(rf_sim *sim, uint32_t check, uint64_t count, int32_t pace_ms, int64_t *out_ms);
/* cffi: end */

#endif
