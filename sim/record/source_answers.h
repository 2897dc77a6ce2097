/* source_answers.h: which requests a source's trace shows answered, and behind how many pages. */
#ifndef MR_RECORD_SOURCE_ANSWERS_H
#define MR_RECORD_SOURCE_ANSWERS_H

#include "sim/record/source_trace.h"
#include "sim/record/source_world.h"

/* A request, or a target page of it, that was taken off the queue: its page was sent then, or was not dirty any more.
 */
struct mr_source_answer {
	uint32_t epoch; /* connections before this one, behind the switch */
	uint32_t block; /* index in the configuration; MR_SOURCE_NONE: not one of its blocks */
	uint64_t offset;
	uint64_t pages; /* PAGE lines of the epoch before it */
	uint64_t begun; /* host pages of the epoch that were begun before it, or gone on with behind others */
	bool opens;     /* its section was begun behind the last BEGUN line */
	bool breaks;    /* a huge page was interrupted for it, before its target page `broken` */
	uint64_t broken;
};

/* The same of a whole epoch. */
struct mr_source_epoch {
	uint64_t pages, begun;
};

struct mr_source_answers {
	struct mr_source_answer *list; /* in the order of the trace */
	size_t count;
	struct mr_source_epoch *epochs;
	uint32_t epoch_count;
};

/*
 * Reads the answers behind the switch out of a trace; without one, and with one that shows none, there are none.
 * Returns 0, or -1 if there is no memory. Given back by mr_source_answers_clear(), also after a failure.
 */
int mr_source_answers_read(struct mr_source_answers *answers, const struct mr_source_trace *trace,
			   const struct mr_outgoing_config *config);
void mr_source_answers_clear(struct mr_source_answers *answers);

/* The first answer of an epoch, from index `from` on, to a request for this page. NULL: the trace shows none. */
const struct mr_source_answer *mr_source_answers_find(const struct mr_source_answers *answers, size_t from,
						      uint32_t epoch, uint32_t block, uint64_t offset);

/* All zero for an epoch that the trace does not reach. */
struct mr_source_epoch mr_source_answers_epoch(const struct mr_source_answers *answers, uint32_t epoch);

#endif
