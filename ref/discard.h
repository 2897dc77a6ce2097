/*
 * discard.h: what a source makes its destination throw away at the switch to postcopy.
 *
 * At the switch a source knows by a bitmap what it still has to send. Whatever the destination holds of these pages is
 * out of date, and a page that is there never faults: so the source has them discarded before the destination runs.
 *
 *     mr_discard_walk_init(&walk, &profile, 4096, 4096, blocks, count);
 *     while (mr_discard_walk_next(&walk, &record))
 *             ... mr_encode(&record, out, sizeof(out)), and send it on the main channel ...
 *
 * Nothing here allocates; bitmaps, blocks and names are the caller's.
 *
 * Contents: batches of one block - uniform host pages - all blocks of a source.
 *
 * Rule ids in the comments (DSC-001) are those of SPEC.md.
 */
#ifndef MR_DISCARD_H
#define MR_DISCARD_H

#include "migref.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Batches of one block ---------------------------------------------------------------------------------------- */

enum {
	MR_DISCARD_RANGES = 12,                                 /* of a full command (DSC-004) */
	MR_DISCARD_RANGE_SIZE = 16,                             /* bytes on the wire */
	MR_DISCARD_COMMAND_MAX = 5 + 3 + MR_NAME_MAX + 12 * 16, /* bytes of the longest command */
};

/* Collects the ranges of one block into commands. */
struct mr_discard_send {
	/* results */
	uint64_t ranges;   /* of this block so far */
	uint64_t commands; /* of this block so far */
	/* private */
	struct mr_bytes block;
	uint32_t waiting;
	uint8_t payload[MR_DISCARD_RANGES * MR_DISCARD_RANGE_SIZE];
};

/* Begins a block. Its name, 1 to MR_NAME_MAX bytes, is the caller's, and is needed as long as its commands. */
void mr_discard_send_init(struct mr_discard_send *send, struct mr_bytes block);
/*
 * Adds a range, both numbers in bytes within the block. True if a command is due with it: `*record` is a RAM_DISCARD
 * for mr_encode(), valid until the next call (DSC-004).
 */
bool mr_discard_send_range(struct mr_discard_send *send, uint64_t start, uint64_t length, struct mr_record *record);
/* Ends the block. True if ranges are left over: `*record` is the command that holds them. */
bool mr_discard_send_finish(struct mr_discard_send *send, struct mr_record *record);

/* ---- Uniform host pages ------------------------------------------------------------------------------------------ */

/*
 * Makes each host page that is dirty in part dirty as a whole (DSC-002), as releases from 4.2 on do it. `dirty` has a
 * bit for each of `pages` target pages, and `host_pages`, a power of two, of these are a host page; the last one may be
 * cut short. Returns how many target pages became dirty. Bits behind the last page are neither used nor changed.
 */
uint64_t mr_discard_make_uniform(uint64_t *dirty, uint64_t pages, uint64_t host_pages);

/* ---- All blocks of a source -------------------------------------------------------------------------------------- */

/* One RAM block at the moment of the switch. Its maps have a bit for each target page of its used length. */
struct mr_discard_source_block {
	struct mr_bytes name; /* 1 to MR_NAME_MAX bytes */
	uint64_t used_length; /* bytes */
	uint64_t page_size;   /* of its host pages, bytes, a power of two */
	bool ignored;         /* not migrated (DSC-001): its maps may be NULL */
	uint64_t *dirty;      /* pages that have to be sent; from 4.2 on these include all that never were */
	uint64_t *unsent;     /* pages that never were sent, up to 4.1 (DSC-005); from 4.2 on NULL */
};

enum mr_discard_event {
	MR_DISCARD_COMMAND, /* a RAM_DISCARD is due */
	MR_DISCARD_BLOCK,   /* a block is through, with or without commands; up to 4.1 twice, ignored ones never */
	MR_DISCARD_END,
};

struct mr_discard_walk {
	/* results */
	uint64_t ranges;             /* of all blocks so far */
	uint64_t commands;           /* of all blocks so far */
	uint64_t added;              /* target pages that became dirty because their host page was */
	size_t finished;             /* block that MR_DISCARD_BLOCK is about; `send` has its counts */
	struct mr_discard_send send; /* of the block at hand */
	/* private */
	const struct mr_discard_source_block *blocks;
	size_t count, block;
	uint32_t target_page_size;
	uint64_t host_page_size;
	bool huge_pages, by_block, twice, empty_ranges;
	bool second_loop, open; /* `open`: the block at hand was begun */
	unsigned step;
	uint64_t pages, host_pages; /* of the block at hand: its target pages, and those of a host page */
	uint64_t at;                /* page */
};

/*
 * Begins the walk over `count` blocks in list order, as the release of `profile` makes it; an unknown profile is the
 * newest release's. `target_page_size` and the machine's ordinary `host_page_size` are bytes. The blocks have to live
 * as long as the walk, and only the walk may change their maps meanwhile.
 *
 * MR_NO_RULE, else the rule that a block breaks, and there is nothing to walk: RAM-003 (its name), DSC-005 (`unsent` is
 * missing), DSC-007 (page sizes).
 */
enum mr_rule mr_discard_walk_init(struct mr_discard_walk *walk, const struct mr_profile *profile,
				  uint32_t target_page_size, uint64_t host_page_size,
				  const struct mr_discard_source_block *blocks, size_t count);
/*
 * Goes on to the next command or to the end of a block. `*record` is set with MR_DISCARD_COMMAND, and valid until the
 * next call. At the end the maps are as the release leaves them: host pages are uniform in both, and `unsent` has all
 * that is dirty too, so that it tells what will be sent.
 */
enum mr_discard_event mr_discard_walk_step(struct mr_discard_walk *walk, struct mr_record *record);
/* The same from command to command; false if there is none any more. */
bool mr_discard_walk_next(struct mr_discard_walk *walk, struct mr_record *record);

#ifdef __cplusplus
}
#endif

#endif
