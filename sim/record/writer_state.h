/* writer_state.h: what a recording that is being written has gathered so far, and what its parts ask of each other. */
#ifndef MR_RECORD_WRITER_STATE_H
#define MR_RECORD_WRITER_STATE_H

#include "sim/record/log.h"
#include "sim/record/packed_file.h"
#include "sim/record/recording.h"
#include "sim/record/source_log.h"
#include "sim/record/writer.h"

struct mr_writer_channel {
	enum mr_role role;
	struct mr_packed_file *forward, *backward;                /* NULL: not open */
	struct mr_packed_content forward_content, return_content; /* once they are closed */
	bool has_return;
	uint64_t returned;     /* bytes of the return path */
	uint64_t return_limit; /* bytes that it takes */
	size_t last_chunk[2];  /* of each direction: its last one in the timeline; SIZE_MAX: none */
	bool is_cut[2];        /* of each direction: nothing crosses any more */
};

/* A page by its block and offset. */
struct mr_writer_page {
	uint32_t block;
	uint64_t offset;
};

struct mr_writer_pages {
	struct mr_writer_page *pages;
	size_t count, capacity;
};

/* What the destination was refused behind the step that asked for it. */
struct mr_writer_refusal {
	unsigned actor;
	uint64_t step; /* of this actor, from 1 */
	int error;
};

struct mr_writer {
	struct mr_watch watch;
	enum mr_writer_part part;
	char *directory;
	int folder; /* its descriptor */
	bool failed;
	char error[512];

	struct mr_writer_channel channels[MR_RECORDING_CHANNELS_MAX];
	uint32_t channel_count;
	struct mr_timeline timeline; /* in the order in which it was told */
	size_t timeline_capacity;

	/* destination */
	const struct mr_incoming *incoming; /* as it was last told of; NULL: never */
	struct mr_log log;
	struct mr_packed_file *actions;
	FILE *action_lines;
	uint64_t action_count;
	int refused[MR_ACTOR_COUNT]; /* errno of the actor's next asked action */
	bool has_time;               /* `time` is not in the log yet */
	uint64_t time;
	struct mr_log_record stops[MR_ACTOR_COUNT]; /* where each last stopped for bytes, with what it had gone over in
						       `count` */
	bool stopped[MR_ACTOR_COUNT];               /* and has made no action since */
	bool destination_finished;

	/* of DESTINATION */
	uint64_t steps[MR_ACTOR_COUNT]; /* that each actor has made */
	struct mr_writer_refusal *refusals;
	size_t refusal_count, refusal_capacity;

	/* source */
	struct mr_source_log source_log;
	uint64_t source_actions; /* made so far */
	bool has_source_time;
	uint64_t source_time;
	struct mr_source_log_record arrival; /* not in the log yet, if `has_arrival` */
	bool has_arrival;
	struct mr_writer_pages looks;  /* of the step that is told next */
	struct mr_writer_pages queued; /* looked at, and given to senders of multifd that have not looked yet */
	bool multifd;
	bool source_finished;
	enum mr_source_status source_status;
};

/* Whether the destination looks on, and the source. */
static inline bool mr_writer_has_destination(const struct mr_writer *writer)
{
	return writer->part != MR_WRITER_SOURCE && writer->part != MR_WRITER_SOURCE_ALONE;
}

static inline bool mr_writer_has_source(const struct mr_writer *writer)
{
	return writer->part != MR_WRITER_DESTINATION && writer->part != MR_WRITER_DESTINATION_ALONE;
}

/* Streams are what lines bring. */
static inline bool mr_writer_goes_by_lines(const struct mr_writer *writer)
{
	return writer->part == MR_WRITER_SOURCE_ALONE || writer->part == MR_WRITER_DESTINATION_ALONE;
}

/* The guest's main memory: what source.ram holds; NULL if there is no block of that name. */
const struct mr_outgoing_block *mr_writer_main_memory(const struct mr_outgoing_config *config, uint32_t *block);

/* ---- writer.c ---- */

/* The first failure is kept, and told in the end. */
void mr_writer_fail(struct mr_writer *writer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mr_writer_no_memory(struct mr_writer *writer);
/* A new file in the directory; NULL if it failed, now or before. */
struct mr_packed_file *mr_writer_create(struct mr_writer *writer, const char *name);
/* Ends a file, which may be NULL. `content` may be NULL. */
void mr_writer_close(struct mr_writer *writer, struct mr_packed_file **file, struct mr_packed_content *content);
/* Room for one more element of an array; NULL if memory is short. */
void *mr_writer_grow(struct mr_writer *writer, void *array, size_t count, size_t *capacity, size_t element);

/* ---- writer_log.c ---- */

/* nondeterminism.jsonl */
void mr_writer_write_log(struct mr_writer *writer, const struct mr_writer_end *end);

/* ---- writer_timeline.c ---- */

void mr_writer_take_line(struct mr_writer *writer, const struct mr_line *line);
void mr_writer_write_timeline(struct mr_writer *writer);

/* ---- writer_manifest.c ---- */

/* False, with the reason told, if it cannot be written. */
bool mr_writer_write_part(struct mr_writer *writer); /* the destination's */
bool mr_writer_read_part(struct mr_writer *writer);  /* whether it has finished */
bool mr_writer_write_manifest(struct mr_writer *writer, const struct mr_writer_end *end);
/* "completed", or how far it came. */
const char *mr_writer_status(const struct mr_writer *writer);

#endif
