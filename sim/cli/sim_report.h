/* sim_report.h: what a swarm prints: a legend, a line for each seed, sums, and whether it holds. */
#ifndef MR_CLI_SIM_REPORT_H
#define MR_CLI_SIM_REPORT_H

#include "sim/cli/sim_seed.h"

enum {
	SIM_COMPLETE_SEEDS = 300, /* a swarm of random scenarios is judged by events from so many seeds on */
	SIM_SIMPLIFIED_MAX = 2,   /* seeds that are simplified of each way to fail: others mostly have the same cause */
	SIM_WAYS = MR_PROPERTY_COUNT + 1, /* to fail: each property, and to die */
	SIM_PATH_MAX = 1024,
};

/* What a swarm is. */
struct sim_swarm {
	uint64_t from, to;           /* seeds, both included; below 2^63 */
	uint64_t shard, shards;      /* of every `shards`-th seed the one number `shard`, from 1; 1 of 1: all */
	char scenario[SIM_PATH_MAX]; /* the file as it was named; "": each seed draws its own */
	bool require_all;
};

/* The simplest scenario that was found to fail as a seed does. */
struct sim_shrunk {
	char *scenario;          /* as a file; owned. NULL: not looked for, or nothing simpler */
	char file[SIM_PATH_MAX]; /* that it was written to; "": none */
	uint32_t tries, steps;   /* scenarios that were run, and that became the next one to go on from */
};

struct sim_totals {
	uint64_t runs, ends[SIM_END_COUNT];
	uint64_t seen_runs[MR_SOMETIMES_COUNT], seen_times[MR_SOMETIMES_COUNT];
	uint64_t figures[SIM_FIGURE_COUNT];
};

struct sim_report {
	bool json;
	struct sim_swarm swarm;
	struct sim_totals totals;
	unsigned simplified[SIM_WAYS];
};

/* How many seeds a swarm, or its shard, has; the one of that number from 0. */
uint64_t sim_swarm_count(const struct sim_swarm *swarm);
uint64_t sim_swarm_seed(const struct sim_swarm *swarm, uint64_t number);

/* Everything goes to standard output, and depends on what is given here alone. */
void sim_report_begin(struct sim_report *report, const struct sim_swarm *swarm, bool json);
/* True if it is among the first seeds that fail in this way: to be asked once for each seed, in their order. */
bool sim_report_simplifies(struct sim_report *report, const struct sim_seed *seed);
void sim_report_seed(struct sim_report *report, const struct sim_seed *seed, const struct sim_shrunk *shrunk);
/* True if no seed failed and, where that is judged, every event occurred. */
bool sim_report_end(const struct sim_report *report);

/* The command that runs a seed, or a scenario's file, once more. `scenario` "": the seed draws it. */
void sim_put_command(FILE *out, const char *scenario, uint64_t seed);
/* What the first line of a swarm's JSON says: false if it is not one. */
bool sim_swarm_read(struct sim_swarm *swarm, const json_t *object);

#endif
