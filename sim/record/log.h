/*
 * log.h: the nondeterminism log: all that a replay takes from outside beside the bytes of the channels (chapter LOG of
 * SPEC.md). JSON lines; the first is the header.
 *
 *     {"log":1,"source":"7.2","destination":"7.2","machine":"pc-i440fx-7.2",...,"blocks":[{"name":"mem",...}]}
 *     {"open":0,"role":"main"}
 *     {"step":"main","count":412}
 *     {"wait":"main"}
 *     {"short":"main","channel":0,"bytes":98304}
 *     {"fault":"mem","offset":1351680,"thread":26462}
 *     {"end":0,"bytes":3112669,"error":5}
 *     {"error":"listen","errno":12}
 *     {"return-end":0,"bytes":1196}
 *     {"vcpu":0,"thread":26462}
 *     {"time":7865181007311}
 *     {"client":0}
 *     {"client-fault":"mem","offset":1351680,"client":0}
 *
 * Every key of a record is written and asked for; no other key is allowed. Numbers are below 2^63.
 */
#ifndef MR_RECORD_LOG_H
#define MR_RECORD_LOG_H

#include "sim/record/log_fields.h"
#include "sim/world/watch.h"

#include <stdio.h>

/* Limits of a log that is read. */
enum {
	MR_LOG_HEADER_MAX = 4 << 20, /* bytes of the header, which may list 1024 blocks */
	MR_LOG_LINE_MAX = 64 << 10,  /* bytes of any other line */
	MR_LOG_RECORDS_MAX = 100000000,
};

/* Zero it for an empty one. */
struct mr_log {
	struct mr_log_record *records;
	size_t count, capacity;
	bool unassembled; /* the machine put no huge pages together: its placements of them tell no contents */
};

/*
 * Appends a record; a STEP of the same actor as the last one is added to it, and of a SHORT that its actor goes on from
 * at once nothing is left. -1 if memory is short.
 */
int mr_log_append(struct mr_log *log, const struct mr_log_record *record);
void mr_log_clear(struct mr_log *log);
/*
 * Writes header and records. `config` is what the machine was set up with. -1 if writing fails, or if what the log
 * would say is not that: profiles that release and machine do not make, a block or an actor that is none, a number from
 * 2^63 on.
 */
int mr_log_write(const struct mr_log *log, const struct mr_incoming_config *config, FILE *out);

/* What a header says: a configuration that owns its blocks, and its handlers if it has any. Must not move. */
struct mr_log_header {
	struct mr_incoming_config config; /* memory, temporary, context.description and report are left empty */
	struct mr_incoming_block *blocks;
	struct mr_handlers handlers;
	struct mr_handler_entry *entries;
};

/*
 * Reads a log, compressed or not. Returns 0, or -1 with one line (file, line, rule, expected, found) in `error`; log
 * and header are empty then.
 */
int mr_log_read(struct mr_log *log, struct mr_log_header *header, const char *path, char *error, size_t error_size);
void mr_log_header_clear(struct mr_log_header *header);

#endif
