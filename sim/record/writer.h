/*
 * writer.h: a migration that is looked on becomes a recording: its streams, the logs of both ends, what the destination
 * did, when bytes arrived, the source's memory, and a manifest.
 *
 *     mr_writer_open(&writer, "out", error, sizeof(error));
 *     ... let the migration run, with mr_writer_watch(writer) looking on ...
 *     status = mr_writer_finish(writer, &end, error, sizeof(error));
 *     mr_writer_free(writer);
 *
 * Streams are written as they come. The manifest comes last: without it a directory is no recording. The same run gives
 * the same bytes in each file.
 */
#ifndef MR_RECORD_WRITER_H
#define MR_RECORD_WRITER_H

#include "sim/world/watch.h"

enum { MR_WRITER_MEMORY_MAX_GIB = 4 }; /* a larger block is not written as source.ram */

struct mr_writer;

/*
 * Two processes that are an end each write one recording: the source's is whole once the destination's part is there.
 * The destination's part has the return paths, its log, its actions and the timeline; what it tells of a step may fail
 * only later: its ERROR and RETURN_END come behind the STEP that they are about. Its return paths are what its lines
 * bring, since its steps are told before they are carried out.
 */
enum mr_writer_part {
	MR_WRITER_WHOLE,
	MR_WRITER_SOURCE,
	MR_WRITER_DESTINATION,
	/*
	 * A recording of its own, by one end whose other end nobody looks on: both directions of each connection are
	 * what its lines bring, as they really crossed.
	 */
	MR_WRITER_SOURCE_ALONE,
	MR_WRITER_DESTINATION_ALONE,
};

/*
 * A new recording in a directory, which is made, or is there and empty. Returns 0, or -1 with one line in `error`.
 */
int mr_writer_open(struct mr_writer **result, const char *directory, char *error, size_t error_size);
/* A part of one; the DESTINATION's goes into the directory that the SOURCE's has made. */
int mr_writer_open_part(struct mr_writer **result, enum mr_writer_part part, const char *directory, char *error,
			size_t error_size);
/* Who looks on. The watch lives as long as the writer. */
const struct mr_watch *mr_writer_watch(struct mr_writer *writer);
/* Something could not be written: what follows is in vain, and mr_writer_finish() says why. */
bool mr_writer_failed(const struct mr_writer *writer);

/* What is known of a run at its end. The pointers are the caller's. */
struct mr_writer_end {
	const char *producer; /* "migref sim 1.0" */
	/* As the machines were set up; of a machine that stands elsewhere, what is known of it. SOURCE_ALONE needs no
	 * destination. */
	const struct mr_outgoing_config *source;
	const struct mr_incoming_config *destination;
	const struct mr_outgoing_statistics *statistics; /* of the source; NULL where it stands elsewhere */
	/* Text of the source's devices, by which the destination may have found their ends; empty: none. */
	struct mr_bytes description;
	uint32_t vcpus;                            /* 0: not told */
	bool timed;                                /* the next three are known */
	uint64_t total_time, setup_time, downtime; /* ns, of the source's figures */
	const char *guest_memory;                  /* "uffd-shared": real memory, of which kind; NULL: simulated */
	const char *dirty_log;                     /* how writes at the source were found; NULL: not told */
	const char *scenario;                      /* text of what was run; NULL: none */
	uint64_t seed;                             /* with a scenario */
	/* The target page of a block as it was when the source's guest stopped; NULL: nobody knows. */
	void *argument;
	void (*page)(void *argument, uint32_t block, uint64_t page, uint8_t *out);
};

/*
 * Writes all that is left, the manifest last. The destination that was looked on must still be there; of SOURCE the
 * destination's part must be finished. Returns 0, or -1 with one line in `error`; the directory has no manifest then.
 * What `end` says of the other end, a part leaves alone.
 */
int mr_writer_finish(struct mr_writer *writer, const struct mr_writer_end *end, char *error, size_t error_size);
/* Nothing came that could be recorded: what was written goes, and the directory with it. For mr_writer_free(). */
void mr_writer_abandon(struct mr_writer *writer);
/* NULL is allowed. What was written stays. */
void mr_writer_free(struct mr_writer *writer);

#endif
