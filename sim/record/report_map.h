/* report_map.h: which page of guest memory had come by when, and by what, as cells. */
#ifndef MR_RECORD_REPORT_MAP_H
#define MR_RECORD_REPORT_MAP_H

#include "sim/record/report.h"

/* Pages of the blocks that the map shows, and what came last of each until each moment. */
struct mr_report_pages {
	struct mr_report_map *map; /* NULL: there is none, and nothing is kept */
	uint32_t page_size;
	uint64_t count;   /* pages */
	uint64_t changed; /* by discards, which cost a stream nothing */
	uint8_t *latest;  /* of each moment, `count` classes; 0: nothing between this moment and the one before */
	uint32_t shown[MR_BLOCKS_MAX];            /* where a block stands in the map, + 1; 0: it does not */
	uint64_t first[MR_REPORT_MAP_BLOCKS_MAX]; /* page of a block of the map */
};

/*
 * Lays the map of the report's blocks out, from position 0 to `length`. `switchover`, MR_REPORT_NEVER if there is none,
 * becomes one of the moments. Returns 0, also if there is nothing to show, or -1 if memory is short.
 */
int mr_report_pages_init(struct mr_report_pages *pages, struct mr_report *report, mr_position length,
			 mr_position switchover);
/* The page came, or was thrown away, at this moment. False if it is outside its block. */
bool mr_report_pages_set(struct mr_report_pages *pages, uint32_t block, uint64_t address, mr_position at,
			 enum mr_report_arrival arrival);
/* A range was discarded. */
void mr_report_pages_discard(struct mr_report_pages *pages, uint32_t block, uint64_t start, uint64_t length,
			     mr_position at);
/* Makes cells of all that was told, and releases the pages. */
void mr_report_pages_finish(struct mr_report_pages *pages);

#endif
