/*
 * source_log.h: what a source under replay takes from outside beside what its pages held: its nondeterminism.
 *
 *     {"source-log":1,"source":"7.2","machine":"pc-i440fx-7.2",...,"handlers":[...],"blocks":[{"name":"mem",...},...]}
 *     {"step":"migration","count":412}
 *     {"wait":"migration","count":1}
 *     {"choose":"section-ends","answer":0,"count":311}
 *     {"dirty":"mem","start":1048576,"length":2097152,"unchanged":false}
 *     {"arrive":0,"bytes":1196,"ended":false}
 *     {"broken":0,"error":32}
 *     {"command":"start-postcopy"}
 *     {"time":100000000}
 *     {"guest-runs":false}
 *     {"unchanged":"mem","start":1048576,"length":4096}
 *     {"unsent":"mem","start":1048576,"length":4096}
 *
 * The header is all that the machine is set up with. Answers to choices are taken in their order, for each choice by
 * itself, wherever they stand. Every key of a record is written and asked for; no other key is allowed. Numbers are
 * below 2^63.
 */
#ifndef MR_RECORD_SOURCE_LOG_H
#define MR_RECORD_SOURCE_LOG_H

#include "sim/record/log_fields.h"
#include "sim/world/watch.h"

#include <stdio.h>

enum {
	MR_SOURCE_ACTOR_TEXT_MAX = 24,
	MR_SOURCE_WAITS_MAX = 1 << 20, /* of one record */
};

/* "start-postcopy"; "section-ends"; NULL if there is none. */
const char *mr_source_command_name(enum mr_source_command command);
const char *mr_choice_name(enum mr_choice choice);
/* "legacy"; "" for what the release does by itself. */
const char *mr_zero_detection_name(enum mr_zero_detection detection);
/* "migration", "multifd3" */
void mr_source_actor_format(unsigned actor, char out[MR_SOURCE_ACTOR_TEXT_MAX]);

/* Zero it for an empty one. */
struct mr_source_log {
	struct mr_source_log_record *records;
	size_t count, capacity;
	size_t last[MR_CHOICE_COUNT]; /* of each choice: place + 1 of its last record */
	bool numbered; /* the machine's connections have the recording's numbers; else their order and roles tell */
};

/* Appends a record; what only repeats, or goes on with, the last one (of its choice) is counted there. -1 if memory is
 * short. */
int mr_source_log_append(struct mr_source_log *log, const struct mr_source_log_record *record);
void mr_source_log_clear(struct mr_source_log *log);
/*
 * Writes header and records. -1 if writing fails, or if what the log would say is not that: a profile that release and
 * machine do not make, a capability without a name, a number from 2^63 on.
 */
int mr_source_log_write(const struct mr_source_log *log, const struct mr_outgoing_config *config, FILE *out);

/* What a header says: a configuration that owns its blocks and handlers. Must not move. */
struct mr_source_log_header {
	struct mr_outgoing_config config; /* memory and choices are left empty */
	char machine[MR_MACHINE_NAME_MAX + 1];
	struct mr_outgoing_block *blocks;
	struct mr_handlers handlers;
	struct mr_handler_entry *entries;
};

/*
 * Reads a log, compressed or not. Returns 0, or -1 with one line (file, line, expected, found) in `error`; log and
 * header are empty then.
 */
int mr_source_log_read(struct mr_source_log *log, struct mr_source_log_header *header, const char *path, char *error,
		       size_t error_size);
void mr_source_log_header_clear(struct mr_source_log_header *header);

#endif
