/*
 * live_client.h: a process that shares the destination's guest memory, as a vhost-user back end does: it catches its
 * own faults by a userfaultfd of its own, hands that to the destination, and is woken there.
 */
#ifndef MR_HOST_LIVE_CLIENT_H
#define MR_HOST_LIVE_CLIENT_H

#include "sim/host/memory.h"
#include "sim/world/scenario.h"

struct mr_live_client;

/* What the process met. */
struct mr_live_client_figures {
	uint64_t touches, checked; /* checked: of pages that no vCPU writes, against what they must hold */
	uint64_t wrong;            /* of those: held something else */
};

/*
 * Starts the process, at rest; no thread may run yet. The memories are shared ones, and stay. NULL with one line in
 * `error`.
 */
struct mr_live_client *mr_live_client_start(const struct mr_scenario *scenario, const struct mr_host_memory *memories,
					    char *error, size_t error_size);
/* It opens its userfaultfd, and hands it over: 0, or the errno. */
int mr_live_client_open(struct mr_live_client *client);
/* It begins to catch faults of all guest memory: 0, or the errno. */
int mr_live_client_catch(struct mr_live_client *client);
/* Readable when it has faults; -1 before it has handed that over. */
int mr_live_client_descriptor(const struct mr_live_client *client);
/* Its next fault: false if there is none now. */
bool mr_live_client_fault(struct mr_live_client *client, uint32_t *block, uint64_t *offset);
/* Its threads that wait for the page look again: 0, or the errno. */
int mr_live_client_wake(struct mr_live_client *client, uint32_t block, uint64_t offset);
/* It begins to touch pages. */
void mr_live_client_go(struct mr_live_client *client);
/* It catches no faults any more; whoever waits goes on. */
void mr_live_client_release(struct mr_live_client *client);
/* Ends the process. False with one line in `error` if it was gone, or found pages that were wrong. */
bool mr_live_client_end(struct mr_live_client *client, struct mr_live_client_figures *figures, char *error,
			size_t error_size);

#endif
