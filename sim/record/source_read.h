/* source_read.h: what a recording says of its source, read once before a machine plays it. */
#ifndef MR_RECORD_SOURCE_READ_H
#define MR_RECORD_SOURCE_READ_H

#include "sim/record/source_world.h"

/* Records, contents of pages, device bodies, return paths. -1 with one line in `world->error`. */
int mr_source_read(struct mr_source_world *world);
/* Makes room for the sends of a block's pages, if there is none yet. */
int mr_source_map_block(struct mr_source_world *world, uint32_t block, uint64_t pages);

#endif
