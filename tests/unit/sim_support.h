/* sim_support.h: small simulated migrations, run to the end, with all that is told of them as one number. */
#ifndef TEST_SIM_SUPPORT_H
#define TEST_SIM_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/world/sim.h"

enum {
	SIM_POSTCOPY = MR_CAPABILITY_POSTCOPY_RAM,
	SIM_PREEMPT = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_POSTCOPY_PREEMPT,
	SIM_MULTIFD = MR_CAPABILITY_MULTIFD,
};

/*
 * Two vCPUs that write to 1 MiB at random, and a block beside it, over a link that takes some 100 ms for all. Postcopy
 * begins in the middle of the first pass.
 */
void sim_scenario(struct mr_scenario *scenario, const char *release, uint32_t capabilities, uint64_t seed);
struct mr_scenario_fault *sim_add_fault(struct mr_scenario *scenario, enum mr_fault_kind kind,
					enum mr_fault_trigger trigger, uint64_t at);
struct mr_scenario_operation *sim_add_operation(struct mr_scenario *scenario, enum mr_operation_kind kind,
						enum mr_fault_trigger trigger, uint64_t at);

/* A new simulation of a scenario that passes the check; `watch` may be NULL. */
struct mr_sim *sim_new(const struct mr_scenario *scenario, const struct mr_watch *watch);
/* Runs it to the end, checks figures that always agree, and gives it back. */
void sim_end(struct mr_sim *sim, struct mr_sim_result *result);
/* Both. The test fails, with the scenario, if a property does not hold. */
void sim_run(const struct mr_scenario *scenario, struct mr_sim_result *result);
/* The same, and the guest runs at the destination in the end. */
void sim_complete(const struct mr_scenario *scenario, struct mr_sim_result *result);

/* Everything that is told goes into a number. */
struct sim_telling {
	uint64_t hash, told;
};

void sim_telling_watch(struct sim_telling *telling, struct mr_watch *watch);

#endif
