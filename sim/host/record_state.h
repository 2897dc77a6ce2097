/* record_state.h: what the parts of a recorded migration share: both QEMU, the tap's thread, the operator. */
#ifndef MR_HOST_RECORD_STATE_H
#define MR_HOST_RECORD_STATE_H

#include <pthread.h>
#include <signal.h>

#include "sim/host/record.h"
#include "sim/host/tap.h"

enum {
	MR_RECORDER_PATH = 100, /* bytes of a path in the work directory: what a socket's name may have */
	MR_RECORDER_STATUS = 32,
};

struct mr_recorder {
	const struct mr_recorder_options *options;
	const struct mr_recorder_plan *plan;
	struct mr_recorder_result *result;
	char work[64]; /* directory for all that is not the recording; empty: none */
	uint64_t deadline;
	sigset_t before; /* signals that were blocked before */

	struct mr_qemu *source, *destination;
	char *capabilities; /* that are on, separated by commas */

	/* the tap */
	struct mr_tapped *tapped;
	struct mr_tap_control *control; /* NULL: no tap runs */
	struct mr_tap_options tap;
	struct mr_tap_result tap_result;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	bool listens, tap_ended;
	char address[MR_ADDRESS_TEXT];    /* where the tap listens */
	char complaint[MR_RECORDER_LINE]; /* the first that it had; empty: none */
	char listen_at[MR_RECORDER_PATH + 8], connect_to[MR_RECORDER_PATH + 8], again_to[MR_RECORDER_PATH + 8];

	/* the operator */
	uint64_t begun; /* 0: the migration has not */
	char status[MR_RECORDER_STATUS];
	bool stopped;       /* the source's guest */
	bool stopped_first; /* ... was it before the migration */
	bool continued;     /* from pre-switchover */
	bool switched, was_postcopy, cut_armed, recovering;
	uint64_t paused_at; /* both ends were seen paused; 0: not */
	uint64_t asked_at;  /* the status was last asked for */

	int errors[2]; /* what both wrote to their standard errors; -1 */

	/* what goes into the manifest */
	json_t *source_migrate, *destination_migrate, *destination_run_state; /* NULL: not known */
	int equal;           /* destination's memory to the source's: 1, 0, -1 not compared */
	uint64_t pages_lost; /* in which it was not */
};

/* One line, the first that counts; `end` is how all ends then. */
void mr_recorder_fail(struct mr_recorder *record, enum mr_recorder_end end, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The same of a file that could not be written, which counts more than how the migration went. */
void mr_recorder_spoil(struct mr_recorder *record, const char *line);
/* Whether something has gone wrong so far. */
bool mr_recorder_has_failed(const struct mr_recorder *record);
/* How it ended, as the source says; nobody asked one that was ended by force. */
const char *mr_recorder_status(const struct mr_recorder *record);
/* Whether the source's release loses writes of a guest that runs in precopy. */
bool mr_recorder_loses_writes(const struct mr_recorder *record);
/* A file in the work directory. */
void mr_recorder_path(const struct mr_recorder *record, const char *name, char path[MR_RECORDER_PATH]);
void mr_recorder_show(const struct mr_recorder *record, const char *phase, double fraction, uint64_t bytes);
/* False, and failed, at the time limit, at a signal, or when a QEMU has died. Sleeps some ms. */
bool mr_recorder_wait(struct mr_recorder *record, const char *what);

/* ---- record_ends.c: both QEMU and the tap ---- */

/* Starts all; false if it failed. */
bool mr_recorder_start(struct mr_recorder *record);
/* Stops all; the tap's part of the recording is complete then. */
void mr_recorder_stop(struct mr_recorder *record);
/* A command; false, and failed, if it cannot be carried out. `arguments` and `answer` as mr_qmp_execute() has them. */
bool mr_recorder_command(struct mr_recorder *record, struct mr_qemu *qemu, const char *command, json_t *arguments,
			 json_t **answer);

/* ---- record_guest.c: the guest ---- */

/* Writes the image that both boot from. */
bool mr_recorder_make_image(struct mr_recorder *record);
/* Waits until the source's guest touches its memory. */
bool mr_recorder_await_guest(struct mr_recorder *record);
/* Behind the migration: compares memory, lets the guest run on and stops it, judges. */
void mr_recorder_judge(struct mr_recorder *record);

/* ---- record_files.c: the recording's other files ---- */

/* The source's memory, while it stands still. */
void mr_recorder_keep_memory(struct mr_recorder *record);
/* What both wrote to their standard errors stays, for when they are gone. */
void mr_recorder_hold_errors(struct mr_recorder *record);
/* Once both have ended. */
void mr_recorder_keep_traces(struct mr_recorder *record);
/* The manifest. */
void mr_recorder_describe(struct mr_recorder *record);

#endif
