/*
 * source_log.h: what a source under replay takes from outside beside memory and configuration: its nondeterminism.
 *
 *     {"source-log":1,"source":"7.2","machine":"pc-i440fx-7.2","blocks":[{"name":"mem","used_length":16777216},...]}
 *     {"step":"migration","count":412}
 *     {"wait":"migration","count":1}
 *     {"choose":"section-ends","answer":0,"count":311}
 *     {"dirty":"mem","start":1048576,"length":2097152,"unchanged":false}
 *     {"arrive":0,"bytes":1196,"ended":false}
 *     {"broken":0,"error":32}
 *     {"command":"start-postcopy"}
 *     {"time":100000000}
 *     {"guest-runs":false}
 *
 * Answers to choices are taken in their order, for each choice by itself, wherever they stand. Every key of a record is
 * written and asked for; no other key is allowed. Numbers are below 2^63.
 */
#ifndef MR_RECORD_SOURCE_LOG_H
#define MR_RECORD_SOURCE_LOG_H

#include "ref/outgoing.h"

#include <stdio.h>

enum mr_source_log_kind {
	MR_SOURCE_LOG_STEP,   /* `actor` makes `count` actions, each carried out at once */
	MR_SOURCE_LOG_WAIT,   /* `actor` is let go on `count` times, and makes no action: yet others may go by that */
	MR_SOURCE_LOG_CHOOSE, /* the next `count` times that `choice` is asked, it is `answer` */
	MR_SOURCE_LOG_DIRTY,  /* `block`, `start`, `length`: pages that the next fetch of the dirty log hands over;
				 `unchanged`: when they are looked at, they are as they were when they were sent */
	MR_SOURCE_LOG_ARRIVE, /* the return path of `channel` has given `bytes` bytes in all, or has `ended` behind them
			       */
	MR_SOURCE_LOG_BROKEN, /* writing to `channel` fails with `error` */
	MR_SOURCE_LOG_COMMAND, /* the operator's `command` */
	MR_SOURCE_LOG_TIME,    /* it is `count` ns by the world's clock */
	MR_SOURCE_LOG_GUEST,   /* the guest's operator stops it, or lets it go on: `runs` */
	MR_SOURCE_LOG_KIND_COUNT
};

enum mr_source_command {
	MR_SOURCE_COMMAND_START_POSTCOPY,
	MR_SOURCE_COMMAND_CONTINUE,
	MR_SOURCE_COMMAND_CANCEL,
	MR_SOURCE_COMMAND_PAUSE,
	MR_SOURCE_COMMAND_RECOVER,
	MR_SOURCE_COMMAND_COUNT
};

enum {
	MR_SOURCE_ACTOR_TEXT_MAX = 24,
	MR_SOURCE_WAITS_MAX = 1 << 20, /* of one record */
};

/* "start-postcopy"; "section-ends"; NULL if there is none. */
const char *mr_source_command_name(enum mr_source_command command);
const char *mr_choice_name(enum mr_choice choice);
/* "migration", "multifd3" */
void mr_source_actor_format(unsigned actor, char out[MR_SOURCE_ACTOR_TEXT_MAX]);

struct mr_source_log_record {
	enum mr_source_log_kind kind;
	unsigned actor;
	enum mr_choice choice;
	enum mr_source_command command;
	uint32_t channel, block;
	int error;
	bool ended, unchanged, runs;
	uint64_t count, answer, start, length, bytes;
};

/* Zero it for an empty one. */
struct mr_source_log {
	struct mr_source_log_record *records;
	size_t count, capacity;
	size_t last[MR_CHOICE_COUNT]; /* of each choice: place + 1 of its last record */
};

/* Appends a record; what only repeats the last one (of its choice) is counted there. -1 if memory is short. */
int mr_source_log_append(struct mr_source_log *log, const struct mr_source_log_record *record);
void mr_source_log_clear(struct mr_source_log *log);
/* Writes header and records. -1 if writing fails. */
int mr_source_log_write(const struct mr_source_log *log, const struct mr_outgoing_config *config, FILE *out);
/*
 * Reads a log, compressed or not, of a source so configured. Returns 0, or -1 with one line (file, line, expected,
 * found) in `error`; the log is empty then.
 */
int mr_source_log_read(struct mr_source_log *log, const struct mr_outgoing_config *config, const char *path,
		       char *error, size_t error_size);

#endif
