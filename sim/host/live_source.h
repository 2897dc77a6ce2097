/*
 * live_source.h: the source of a migration on a real host: its threads, the guest that runs and writes meanwhile, the
 * log of what it writes. As live_destination.h: the threads own nothing of the protocol.
 */
#ifndef MR_HOST_LIVE_SOURCE_H
#define MR_HOST_LIVE_SOURCE_H

#include "sim/host/live_board.h"
#include "sim/world/ends.h"
#include "sim/world/watch.h"

#include <sys/socket.h>
#include <sys/un.h>

struct mr_live_source_setup {
	const struct mr_scenario *scenario;
	struct mr_ends *ends;
	struct mr_host_memory *memories; /* of the scenario's blocks */
	struct mr_live_board *board;
	const struct mr_watch *watch; /* who looks on, called under the lock; NULL: nobody */
	struct sockaddr_un address;   /* of the destination */
	socklen_t address_length;
};

struct mr_live_source;

/* 0, or -1 with one line in `error`. */
int mr_live_source_new(struct mr_live_source **result, const struct mr_live_source_setup *setup, char *error,
		       size_t error_size);
/*
 * Switches the guest on, migrates it, and tells the board. GOOD if the migration came to its end and the guest's memory
 * was what it should be when it stopped; RETURNED if it failed before the guest ran there, and its memory is what it
 * should be in the end; otherwise FAILED. Of the last two with one line in `error`.
 */
enum mr_end mr_live_source_run(struct mr_live_source *source, char *error, size_t error_size);
/* The source's page as it was when the guest stopped. */
void mr_live_source_page(const struct mr_live_source *source, uint32_t block, uint64_t page, uint8_t *out);
void mr_live_source_free(struct mr_live_source *source);

#endif
