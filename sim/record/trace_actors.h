/* trace_actors.h: which actor printed a line of a trace that does not tell its threads. */
#ifndef MR_RECORD_TRACE_ACTORS_H
#define MR_RECORD_TRACE_ACTORS_H

#include "sim/record/trace.h"

/* Fills in the actor of every event; MR_ACTOR_UNKNOWN where the lines around it leave that open. */
void mr_trace_infer_actors(struct mr_event *events, size_t count);

#endif
