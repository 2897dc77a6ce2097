/* source_config.h: the machine that a recorded source was: handlers, blocks, parameters. */
#ifndef MR_RECORD_SOURCE_CONFIG_H
#define MR_RECORD_SOURCE_CONFIG_H

#include "sim/record/source_world.h"

/* Fills in the configuration of a world whose recording was read. -1 with one line in `world->error`. */
int mr_source_configure(struct mr_source_world *world, const struct mr_context *context);

#endif
