/*
 * source.h: the source of a recorded migration once more: given memory and a log of what chance decided, a machine
 * writes the streams of all channels itself, and they are compared byte for byte.
 */
#ifndef MR_RECORD_SOURCE_H
#define MR_RECORD_SOURCE_H

#include "sim/record/source_derive.h"

struct mr_source_options {
	const char *from_log; /* log to run by, instead of one that is derived */
	FILE *log;            /* where the log goes; NULL: nowhere */
};

/* What the machine wrote on one connection. */
struct mr_source_wire {
	unsigned channel;
	enum mr_role role;
	bool identical, cut;
	uint64_t recorded, made; /* bytes */
};

/* A figure of query-migrate at the end, and the machine's own. */
struct mr_source_figure {
	const char *name;
	uint64_t told, counted;
};

enum { MR_SOURCE_FIGURES_MAX = 20 };

struct mr_source_result {
	bool ran;
	bool exempt;           /* a source that the machine does not play: `reason` says why */
	char reason[200];      /* why it did not run, or not to the end of its log */
	char trace_error[400]; /* why the trace cannot be read; empty if it can, or there is none */
	bool from_log;
	bool has_trace; /* without one, moments are guessed from the bytes alone */
	uint64_t log_records, steps;
	struct mr_source_wire *wires;
	size_t wire_count;
	struct mr_source_difference difference;
	bool finished; /* the machine came to a good end, or the recording did not */
	enum mr_source_status status;
	struct mr_finding blamed;

	/* decisions: made by the machine, and given to it */
	uint64_t pages, records, discards, commands, packets;
	uint64_t raced;
	struct mr_source_given given;
	struct mr_outgoing_statistics statistics;
	struct mr_source_figure figures[MR_SOURCE_FIGURES_MAX]; /* those that the manifest has */
	size_t figure_count;
};

/*
 * Derives the log, or reads it, runs a fresh machine by it alone, and compares. The recording's channels have been
 * decoded before, so that the session knows the blocks. A source that cannot run is a result; -1 with one line in
 * `error` is for inputs or a log that cannot be read, and for lack of memory.
 */
int mr_source_run(struct mr_source_result *result, const struct mr_migration *migration,
		  const struct mr_source_options *options, char *error, size_t error_size);
void mr_source_clear(struct mr_source_result *result);
/* Every byte is the recorded one, or the source is exempt. */
bool mr_source_holds(const struct mr_source_result *result);
/* Of all decisions on which page goes out next: how many the machine made, percent. */
double mr_source_share(const struct mr_source_result *result);

#endif
