/* replay.h: a recording against the reference: bytes written again, both ends run again, memory rebuilt. */
#ifndef MR_RECORD_REPLAY_H
#define MR_RECORD_REPLAY_H

#include "sim/record/destination.h"
#include "sim/record/progress.h"
#include "sim/record/source.h"

/* One direction of one connection, decoded and encoded again. */
struct mr_wire_result {
	char channel[16];
	enum mr_role role;
	bool identical;
	bool cut;         /* ends within a record, or before the end mark */
	bool cut_allowed; /* a later connection goes on, or the migration did not finish */
	uint64_t bytes;   /* in whole records */
	uint64_t records;
	uint64_t payloads;   /* compressed again and compared */
	uint64_t rest;       /* bytes of the unfinished record */
	uint64_t difference; /* offset of the first one */
	char text[512];      /* what differs or is missing */
};

enum { MR_RANGES_MAX = 4096 };

struct mr_page_list {
	uint64_t pages; /* in all, also those of ranges that found no place */
	size_t count;
	struct mr_page_range ranges[MR_RANGES_MAX];
};

/* Final memory of one block; compared with the truth if the recording has one for it. */
struct mr_memory_result {
	char block[MR_NAME_MAX + 1];
	uint64_t size, pages, received; /* bytes, pages, pages */
	bool compared, identical;
	uint64_t compared_pages;
	const char *truth;           /* "source.ram", "source.pmem" */
	struct mr_page_list differ;  /* came, but with other content than the source's */
	struct mr_page_list missing; /* never came, although the source's content is not zero */
	struct mr_page_list absent;  /* never came */
};

struct mr_replay {
	struct mr_wire_result *wires;
	size_t wire_count;
	struct mr_memory_result *memories; /* of all blocks */
	size_t memory_count;
	bool has_truth;
	bool has_destination; /* there are connections, hence somebody who took them */
	struct mr_destination destination;
	bool has_source; /* the source was asked for, and there are connections that it made */
	struct mr_source_result source;
	bool holds; /* every comparison */
};

/*
 * Replays a migration that was opened from a recording. Returns 0 and the result, or -1 with one line in `error` if an
 * input failed, a log cannot be read, or memory is short. `source` NULL: the source is
 * not run again. `progress` may be NULL.
 */
int mr_replay_run(struct mr_replay *replay, struct mr_migration *migration,
		  const struct mr_destination_options *destination, const struct mr_source_options *source,
		  struct mr_progress *progress, char *error, size_t error_size);
void mr_replay_clear(struct mr_replay *replay);

#endif
