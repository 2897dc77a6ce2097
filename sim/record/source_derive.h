/*
 * source_derive.h: the log of a source that really ran, from its bytes and its trace.
 *
 * A machine runs beside the recorded streams: whatever it is left to decide is decided so that it can write what comes
 * next in them. Dirty pages follow by looking ahead, since what is sent again was dirty when the dirty log was fetched
 * last before; when that was, the trace tells, or else the pages that come again.
 */
#ifndef MR_RECORD_SOURCE_DERIVE_H
#define MR_RECORD_SOURCE_DERIVE_H

#include "sim/record/source_log.h"
#include "sim/record/source_trace.h"
#include "sim/record/source_world.h"

/* Decisions that nothing but the recording tells: how many of each. */
struct mr_source_given {
	uint64_t requests; /* messages taken where they had to be, for the order of pages */
	uint64_t sections; /* ends of PART */
	uint64_t turns, syncs;
	uint64_t dirty; /* pages that were dirtied again */
	uint64_t channels, repeats;
};

/*
 * Runs `world`, whose machine is fresh, and appends to the empty `log` what it did. `trace` may be NULL. Ends where the
 * machine writes something else than the recording has. Returns 0, or -1 with one line in `world->error`.
 */
int mr_source_derive(struct mr_source_log *log, struct mr_source_given *given, struct mr_source_world *world,
		     const struct mr_source_trace *trace);

#endif
