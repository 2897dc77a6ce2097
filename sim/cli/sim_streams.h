/* sim_streams.h: the streams of a simulated migration, kept while it runs, then judged by the rules of SPEC.md. */
#ifndef MR_CLI_SIM_STREAMS_H
#define MR_CLI_SIM_STREAMS_H

#include "sim/world/sim.h"

enum { SIM_STREAMS_MAX = 64 << 20 }; /* bytes of all channels: those of a larger run are not judged */

struct sim_streams;

/* NULL if memory is short. */
struct sim_streams *sim_streams_new(void);
void sim_streams_free(struct sim_streams *streams);
/* What the run has to tell; valid as long as the streams. */
const struct mr_watch *sim_streams_watch(struct sim_streams *streams);

/* CRC-32 of every event on every connection so far, with times, and of all bytes that are kept: two runs that differ
 * anywhere differ in it. */
uint32_t sim_streams_digest(const struct sim_streams *streams);

enum sim_verdict {
	SIM_STREAMS_HOLD,   /* they break no rule but those that the source's release is known to break */
	SIM_STREAMS_BREAK,  /* `text` says which, and where */
	SIM_STREAMS_LARGE,  /* they are not judged: more than SIM_STREAMS_MAX bytes */
	SIM_STREAMS_FAILED, /* nor here: memory is short */
};

/* Judges the streams of a run that is over, in both directions. */
enum sim_verdict sim_streams_judge(const struct sim_streams *streams, const struct mr_sim *sim,
				   const struct mr_sim_result *result, char *text, size_t text_size);

#endif
