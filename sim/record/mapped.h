/* mapped.h: guest memory from the bitmaps and pages of a mapped-ram file. */
#ifndef MR_RECORD_MAPPED_H
#define MR_RECORD_MAPPED_H

#include "sim/record/memory.h"

/*
 * A page without a set bit is zero, and is received by that; one with a set bit is not received until its content
 * comes. Returns 0, or -1 with the fault.
 */
int mr_mapped_apply_bitmap(struct mr_memory *memory, const struct mr_ram_bitmap *bitmap, struct mr_fault *fault);
/* Takes the content of the pages that the bitmap announced, and skips what stands in the place of others. */
int mr_mapped_apply_pages(struct mr_memory *memory, const struct mr_ram_pages *pages, struct mr_fault *fault);

#endif
