/*
 * derive.h: the nondeterminism log of a destination that really ran, from its trace and its return paths.
 *
 * A machine follows the trace line by line: whoever printed a line goes on until the machine would print it too. What
 * the trace cannot order, since a message's line stands before the moment of sending, the recorded bytes settle.
 */
#ifndef MR_RECORD_DERIVE_H
#define MR_RECORD_DERIVE_H

#include "sim/record/difference.h"
#include "sim/record/log.h"
#include "sim/record/world.h"

struct mr_derivation {
	uint64_t ties;                   /* messages whose order the trace leaves open */
	struct mr_difference difference; /* where the machine first does something else than the trace says */
};

/*
 * Runs `world`, a machine that has done nothing yet, and appends what it did to the empty `log`. `trace` may be NULL:
 * the return paths alone say then when a page was asked for. Actors of lines that the trace does not tell are filled
 * in. The machine goes on behind a difference. Returns 0, or -1 with one line in `world->error` if an input or memory
 * failed.
 */
int mr_derive(struct mr_log *log, struct mr_derivation *derivation, struct mr_world *world, struct mr_trace *trace);

#endif
