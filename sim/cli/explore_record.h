/* explore_record.h: the way to a violation, gone once more: in words, and as a recording. */
#ifndef MR_CLI_EXPLORE_RECORD_H
#define MR_CLI_EXPLORE_RECORD_H

#include "sim/cli/explore_report.h"

/*
 * Of an explorer that has found a violation, once. `directory` NULL: no recording. Returns 0, or -1 with one line in
 * `error`.
 */
int explore_record(struct mr_explorer *explorer, const struct mr_scenario *scenario, const char *directory,
		   struct explore_path *path, char *error, size_t error_size);

#endif
