/*
 * live_run.h: a whole migration on this host: source and destination as processes of their own, with real memory, real
 * threads and real sockets, and a recording of what happened.
 */
#ifndef MR_HOST_LIVE_RUN_H
#define MR_HOST_LIVE_RUN_H

#include "sim/host/live_board.h"
#include "sim/host/memory.h"

struct mr_live_run_options {
	const struct mr_scenario *scenario; /* passes mr_scenario_check() */
	enum mr_host_kind ordinary;         /* ANONYMOUS or SHARED: kind of blocks without huge pages */
	bool shared_client;                 /* a process of its own shares the destination's memory */
	const char *recording;              /* directory, new or empty; NULL: none */
	const char *producer;               /* "migref sim 1.0" */
	const char *scenario_text;          /* as the recording is to quote it */
};

struct mr_live_run_result {
	struct mr_live_board board; /* as both left it */
	uint64_t total_time;        /* ns until the destination had all */
	uint64_t downtime;          /* ns from the guest's stop to its start; 0: it never started */
	bool returned;              /* the migration failed, and the guest goes on at the source */
	bool stranded; /* one end waits for the other, which has failed: the guest is lost, as with releases */
};

/*
 * What of a scenario cannot be had on a real host, or on this one: 0, or -1 with one line in `error`. What the link and
 * the costs say is the host's now, and means nothing.
 */
int mr_live_run_check(const struct mr_live_run_options *options, char *error, size_t error_size);
/*
 * Runs it. 0 if the guest runs at one end with all of its memory, or was lost as it would be between real releases, and
 * the recording is whole; unless it runs at the destination `error` says why, as below; -1 with
 * a line for each end that has something to say, separated by newlines, in `error`. A recording that is not whole has
 * no manifest.
 */
int mr_live_run(const struct mr_live_run_options *options, struct mr_live_run_result *result, char *error,
		size_t error_size);

#endif
