/*
 * recovered.h: what a recorded return path behind a recovery says of the pause before it: which pages had come, which
 * ones were waited for.
 *
 * Where no trace tells what a destination did when its connections broke, this is all there is: bytes that were on
 * their way in either direction may or may not have arrived.
 */
#ifndef MR_RECORD_RECOVERED_H
#define MR_RECORD_RECOVERED_H

#include "sim/record/world.h"

/* A page that a destination asked for behind the recovery. */
struct mr_recovered_request {
	uint32_t block;
	uint64_t offset; /* bytes */
	bool again;      /* asked once more for all that was waited for: before the first that is out of order */
};

/* All zero before the first use. */
struct mr_recovered {
	uint32_t channel; /* the connection of the recovery, if there is one */
	bool there;       /* whether it is, and tells received pages */
	struct mr_recovered_request *requests;
	size_t count;

	/* private */
	size_t capacity;
	struct mr_bytes *bitmaps; /* of each block, in the connection's recorded bytes */
	uint32_t block_count;
};

/*
 * Reads the return path of the first recovery behind connection `channel`; there may be none. Block numbers are those
 * of the world's machine. Returns 0, or -1 for lack of memory.
 */
int mr_recovered_read(struct mr_recovered *recovered, const struct mr_world *world, uint32_t channel);
void mr_recovered_clear(struct mr_recovered *recovered);

/* Whether the target page at `offset` had come before the pause. True of a block that is not told of. */
bool mr_recovered_is_received(const struct mr_recovered *recovered, uint32_t block, uint64_t offset,
			      uint32_t page_size);

#endif
