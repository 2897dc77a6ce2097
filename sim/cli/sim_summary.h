/* sim_summary.h: what one simulated migration came to, for people and as JSON. */
#ifndef MR_CLI_SIM_SUMMARY_H
#define MR_CLI_SIM_SUMMARY_H

#include "sim/cli/sim_run.h"

/* `path` is the scenario's file as it was named, "" if its seed drew it. Both write to standard output. */
void sim_summary_print(const char *path, const struct mr_scenario *scenario, const struct sim_run *run);
void sim_summary_dump(const char *path, const struct mr_scenario *scenario, const struct sim_run *run);

#endif
