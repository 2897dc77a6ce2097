/* sim_swarm.h: many runs, as many at once as there are processors, told in the order of their seeds. */
#ifndef MR_CLI_SIM_SWARM_H
#define MR_CLI_SIM_SWARM_H

#include "sim/cli/sim_report.h"

struct sim_swarm_options {
	struct sim_swarm swarm;
	const struct mr_scenario *scenario; /* of which only the seed varies; NULL: each seed draws its own */
	unsigned jobs;                      /* processes at once */
	const char *failures;               /* directory for simplified scenarios; NULL: they are printed */
	bool json;
};

/* Prints everything; gives the exit status. */
int sim_swarm_run(const struct sim_swarm_options *options);
/* Puts what shards have printed as JSON together: prints what one process would have. Gives the exit status. */
int sim_swarm_merge(char **paths, int count, bool json);

#endif
