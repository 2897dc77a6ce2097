/* sim_shrink.h: the simplest scenario that fails as another one does. */
#ifndef MR_CLI_SIM_SHRINK_H
#define MR_CLI_SIM_SHRINK_H

#include "sim/cli/sim_report.h"

enum { SIM_SHRINK_TRIES = 1500 }; /* scenarios that are run at most */

/*
 * Looks for it from `scenario` on, which fails as `failure` does: with the same property, or the same death. False
 * with errno if that cannot be done; `shrunk` has no scenario then, nor if nothing simpler was found.
 */
bool sim_shrink(struct sim_shrunk *shrunk, const struct mr_scenario *scenario, const struct sim_seed *failure);

#endif
