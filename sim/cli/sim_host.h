/* sim_host.h: a scenario on real memory, behind the kernel's userfaultfd, and beside it the same one simulated. */
#ifndef MR_CLI_SIM_HOST_H
#define MR_CLI_SIM_HOST_H

#include "sim/host/memory.h"
#include "sim/world/scenario.h"

struct sim_host_options {
	enum mr_host_kind ordinary; /* of blocks without huge pages */
	bool shared_client;
	const char *recording; /* NULL: none */
	bool json;
};

/* Runs it, prints what was measured, and gives the exit status. */
int sim_host_run(const char *path, const struct mr_scenario *scenario, const struct sim_host_options *options);

#endif
