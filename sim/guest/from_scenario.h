/* from_scenario.h: the bootable test guest that does what a scenario's guest does, as far as it can. */
#ifndef MR_GUEST_FROM_SCENARIO_H
#define MR_GUEST_FROM_SCENARIO_H

#include "sim/guest/predict.h"
#include "sim/world/scenario.h"

/*
 * Seed, vCPUs, contents and the workloads of one block, which becomes the region; nanoseconds from touch to touch
 * become as many rounds of an empty loop. Where the region begins stays as it is. False with one line for what the
 * guest has not: more than one block with workloads, traces, more than 16 vCPUs, other pages than of 4096 bytes.
 */
bool mr_guest_from_scenario(struct mr_guest_parameters *parameters, const struct mr_scenario *scenario,
			    char error[MR_GUEST_LINE]);

#endif
