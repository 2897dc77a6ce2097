/* sim_child.h: one run in a process of its own, so that a crash is the end of nothing else. */
#ifndef MR_CLI_SIM_CHILD_H
#define MR_CLI_SIM_CHILD_H

#include <sys/types.h>

#include "sim/cli/sim_seed.h"

enum { SIM_CHILD_SECONDS = 600 }; /* of processor time, after which a run of a drawn scenario is killed */

struct sim_child {
	pid_t pid;
	int pipe; /* readable once the run is over */
	uint64_t seed;
};

/*
 * Starts a run of `scenario` with `seed`, or, if it is NULL, of what `seed` draws. `muted`: what it writes to standard
 * error is dropped. -1 with errno.
 */
int sim_child_start(struct sim_child *child, const struct mr_scenario *scenario, uint64_t seed, bool muted);
/* Waits for its end. */
void sim_child_finish(struct sim_child *child, struct sim_seed *result);

#endif
