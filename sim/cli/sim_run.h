/* sim_run.h: one simulated migration from its start to its end, with everybody who looks on. */
#ifndef MR_CLI_SIM_RUN_H
#define MR_CLI_SIM_RUN_H

#include "sim/cli/sim_streams.h"

struct sim_run {
	struct mr_sim_result result; /* VIOLATED also where the streams break a rule */
	enum sim_verdict streams;    /* means nothing if another property was violated before */
	uint32_t digest;             /* of all connections: sim_streams_digest() */
};

/*
 * Runs a scenario that passes mr_scenario_check(), and writes the directory `recording` if it is not NULL. `quiet`: no
 * progress bar. 0, or -1 with one line in `error`.
 */
int sim_run(struct sim_run *run, const struct mr_scenario *scenario, const char *recording, bool quiet, char *error,
	    size_t error_size);

/* A scenario as mr_scenario_write() has it; the caller frees it. NULL if memory is short. */
char *sim_scenario_text(const struct mr_scenario *scenario);

#endif
