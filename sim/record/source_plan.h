/* source_plan.h: what is known of a recorded source before it runs: fetches of the dirty log, sections of packets. */
#ifndef MR_RECORD_SOURCE_PLAN_H
#define MR_RECORD_SOURCE_PLAN_H

#include "sim/record/source_trace.h"
#include "sim/record/source_world.h"

/* One fetch of the dirty log. */
struct mr_source_sync {
	uint32_t section; /* the first `ram` section whose pages come behind it */
	bool asked;       /* by a query that may also do without, not by the course of things */
	size_t first;     /* of its pages */
	size_t count;
};

struct mr_source_dirty {
	uint32_t sync, block;
	uint64_t page;
	uint32_t section; /* in which it is looked at */
	bool unchanged;   /* XBZRLE: it was looked at, and nothing of it sent since nothing had changed */
};

struct mr_source_plan {
	struct mr_source_sync *syncs;
	size_t sync_count, sync_capacity;
	struct mr_source_dirty *dirty; /* by fetch, block and page */
	size_t dirty_count, dirty_capacity;
	bool *exhausted;         /* of each section: it ended since nothing was dirty any more */
	bool stops;              /* the operator stopped the guest, */
	uint64_t stop_offset;    /* when so many bytes of the first main channel were out */
	uint32_t switch_section; /* first section behind the switch to postcopy; MR_SOURCE_NONE: there is none */
};

/* Fills the plan in, and the sections of those sends of `world` that stand in packets. -1 if memory is short. */
int mr_source_plan_make(struct mr_source_plan *plan, struct mr_source_world *world,
			const struct mr_source_trace *trace);
void mr_source_plan_clear(struct mr_source_plan *plan);

#endif
