/* destination.h: the destination of a recorded migration once more, by its nondeterminism log, and compared. */
#ifndef MR_RECORD_DESTINATION_H
#define MR_RECORD_DESTINATION_H

#include "sim/record/action_lines.h"
#include "sim/record/blocktime.h"
#include "sim/record/derive.h"

/* What the user said about the replay of a destination; zero for nothing. */
struct mr_destination_options {
	bool strict; /* the machine does right where QEMU has a defect */
	const char
		*from_log; /* log to run by, instead of one that is derived; NULL: the recording's own, if it has one */
	FILE *log;         /* where the log goes; NULL: nowhere */
	FILE *actions;     /* where the actions go, a line each; NULL: nowhere */
	/* Fresh memory that the machine fills instead of the replay's own, and that is read back; NULL: none. */
	const struct mr_backing *backing;
	/*
	 * Who looks on while the machine runs by its log; NULL: nobody. Called for each record of the log that is
	 * no step once it was obeyed, and for each action once it was carried out; the other one is NULL.
	 */
	void (*watch)(void *argument, const struct mr_world *world, const struct mr_log_record *record,
		      const struct mr_action *action);
	void *watch_argument;
};

/* What the destination sent back on one connection. */
struct mr_return_result {
	uint32_t channel;
	bool identical;
	bool cut;                /* the connection broke: the recording may hold less than was sent */
	uint64_t recorded, sent; /* bytes */
	uint64_t difference;     /* offset of the first one */
	char text[160];          /* what differs */
};

struct mr_destination {
	bool ran;
	bool exempt;           /* a migration that ended before there could be a machine: `reason` says why */
	char reason[160];      /* why it did not run, or not to the end of its log */
	enum mr_rule log_rule; /* the log does not fit the machine: why; MR_NO_RULE: it does */
	bool from_log;         /* by a log that was given, none was derived */
	uint64_t log_records, actions, faults, ties;
	enum mr_postcopy_state state;
	enum mr_status status;
	bool finished;
	bool should_finish;       /* the manifest says that the migration ended well */
	struct mr_finding blamed; /* why the machine failed, if it did; else its rule is MR_NO_RULE */

	struct mr_blocktime_result blocktime;
	struct mr_backing_result backing;

	struct mr_return_result *returns; /* of each connection with a return path */
	size_t return_count;

	struct mr_action_comparison lines_of_actions; /* with the recording's actions.jsonl */

	bool has_trace;
	char trace_error[400]; /* why the trace cannot be read; empty if it can */
	bool actions_identical;
	uint64_t lines;                           /* of the trace that were compared */
	uint64_t locked_lines;                    /* of these, in one order across all actors */
	uint64_t not_traced[MR_EVENT_KIND_COUNT]; /* lines that the machine would have printed, of kinds the trace never
						     has */
	struct mr_difference difference;          /* the first one */
};

/*
 * Derives the log, runs a fresh machine by it alone, and compares. The recording's channels have been decoded before,
 * so that the session knows the blocks; `memory`, empty, receives what the machine writes. A destination that cannot
 * run is a result; -1 with one line in `error` is for inputs, a trace or log that cannot be read, and for lack of
 * memory.
 */
int mr_destination_run(struct mr_destination *destination, const struct mr_migration *migration,
		       const struct mr_destination_options *options, struct mr_memory *memory, char *error,
		       size_t error_size);
void mr_destination_clear(struct mr_destination *destination);
/* Every comparison holds. */
bool mr_destination_holds(const struct mr_destination *destination);

#endif
