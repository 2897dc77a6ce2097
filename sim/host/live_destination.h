/*
 * live_destination.h: the destination of a migration on a real host. Its threads own nothing of the protocol: each
 * passes what happened to the one machine, under a lock, and carries out what the machine asks, outside of it. The
 * order in which they did is the log.
 */
#ifndef MR_HOST_LIVE_DESTINATION_H
#define MR_HOST_LIVE_DESTINATION_H

#include "sim/host/live_board.h"
#include "sim/world/ends.h"
#include "sim/world/watch.h"

struct mr_live_destination_setup {
	const struct mr_scenario *scenario;
	struct mr_ends *ends;
	struct mr_host_memory *memories; /* of the scenario's blocks */
	struct mr_live_board *board;
	const struct mr_watch *watch; /* who looks on, called under the lock; NULL: nobody */
	int listener;                 /* a socket that listens; the caller's */
	bool shared_client;           /* a process shares the memory, which is all of shared kinds */
};

/* Bytes that the first device's section needs at its start: how many touches each vCPU had made. */
size_t mr_live_destination_state_size(const struct mr_scenario *scenario);
/* Writes them there; and whether they are there. */
void mr_live_destination_put_state(const struct mr_scenario *scenario, const uint64_t *touches, uint8_t *body);

struct mr_live_destination;

/* 0, or -1 with one line in `error`. */
int mr_live_destination_new(struct mr_live_destination **result, const struct mr_live_destination_setup *setup,
			    char *error, size_t error_size);
/*
 * Runs to its end, the guest's run_after included, and tells the board. The machine stays to be looked at. GOOD if the
 * guest ran here in the end and its memory is what it should be; RETURNED if it never ran here, since the migration
 * failed; otherwise FAILED. Of the last two with one line in `error`.
 */
enum mr_end mr_live_destination_run(struct mr_live_destination *destination, char *error, size_t error_size);
const struct mr_incoming *mr_live_destination_machine(const struct mr_live_destination *destination);
void mr_live_destination_free(struct mr_live_destination *destination);

#endif
