/* explain_steps.h: a recording told as it happened at the destination: each record, then what was done about it. */
#ifndef MR_RECORD_EXPLAIN_STEPS_H
#define MR_RECORD_EXPLAIN_STEPS_H

#include "sim/record/destination.h"
#include "sim/record/explain.h"

/* A channel has no more records: MR_DONE, MR_FAILED or MR_MORE as from mr_migration_next(). */
typedef void mr_explain_end_function(void *argument, const struct mr_migration *migration,
				     const struct mr_channel *channel, enum mr_result result);

struct mr_explain_job {
	struct mr_explainer explainer;
	const char *path;                        /* of the recording */
	const struct mr_stream_options *options; /* how it is read */
	mr_explain_end_function *end;
	void *argument;
};

/*
 * Runs the destination by its nondeterminism log and explains each record where somebody acts on it; records that
 * nobody acts on stand before the next one that somebody does. Returns 0 and what the machine did, which the caller
 * clears; or -1 with one line in `error`.
 */
int mr_explain_steps(const struct mr_explain_job *job, struct mr_destination *destination, char *error,
		     size_t error_size);

#endif
