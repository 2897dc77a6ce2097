/* scenario_trace.h: recorded touches, from a file with a line for each. */
#ifndef MR_WORLD_SCENARIO_TRACE_H
#define MR_WORLD_SCENARIO_TRACE_H

#include "sim/world/pattern.h"

#include <stddef.h>

/*
 * Reads lines of "PAGE r|w [PAUSES]", pages from 0 to `pages` - 1; empty lines and those that begin with # do not
 * count. 0, or -1 with one line in `error`; the touches are the caller's to free.
 */
int mr_scenario_trace_read(const char *path, uint64_t pages, struct mr_touch **touches, uint64_t *count, char *error,
			   size_t error_size);

#endif
