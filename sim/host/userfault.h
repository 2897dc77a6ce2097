/* userfault.h: the faults of a guest whose pages are still to come, and the placing of the pages. */
#ifndef MR_HOST_USERFAULT_H
#define MR_HOST_USERFAULT_H

#include "sim/host/descriptor.h"
#include "sim/host/memory.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MR_USERFAULT_BLOCKS_MAX = 1024 };

/* One thread waits for one page. Several on one page are as many events. */
struct mr_userfault_event {
	uint32_t block;  /* as mr_userfault_add() numbered it */
	uint32_t thread; /* the kernel's id of the thread, 0 if the kernel does not tell */
	uint64_t offset; /* of the page in the block */
	bool write;
};

/* What came of a range, which was worked upon from its start. */
struct mr_userfault_placed {
	uint64_t placed;  /* bytes that were filled */
	uint64_t present; /* bytes in pages that were there already: these keep what they hold, their waiters wake */
};

/* Bits of mr_userfault_wait(). */
enum { MR_USERFAULT_READABLE = 1, MR_USERFAULT_ENDED = 2 };

/*
 * One userfaultfd. Blocks are added before other threads use it and removed when they have stopped; all else may be
 * called by any thread at any time, but for mr_userfault_read(), which has one reader.
 */
struct mr_userfault;

/* Returns NULL with the problem if the host does not allow it. The caller closes it. */
struct mr_userfault *mr_userfault_open(struct mr_host_problem *problem);
/* Wakes everybody who waits, as mr_userfault_remove() does. NULL is allowed. */
void mr_userfault_close(struct mr_userfault *userfault);
enum mr_host_opening mr_userfault_opening(const struct mr_userfault *userfault);
/* To wait for, together with others: readable when events are; owned by the userfault. */
int mr_userfault_descriptor(const struct mr_userfault *userfault);

/*
 * From now on whoever touches a page of the block that is not there waits. Gives the block's number, counted from 0.
 * The memory must outlive the userfault. Returns 0 or -errno, e.g. -EBUSY if another userfaultfd has the block.
 */
int mr_userfault_add(struct mr_userfault *userfault, const struct mr_host_memory *memory, uint32_t *block,
		     struct mr_host_problem *problem);
/* Who waits goes on, and finds zeros in the pages that are not there. Returns 0 or -errno. */
int mr_userfault_remove(struct mr_userfault *userfault, uint32_t block, struct mr_host_problem *problem);

/* Waits for events, mr_userfault_end() or the time, -1 for ever. Returns bits as above, 0 if time is up, or -errno. */
int mr_userfault_wait(const struct mr_userfault *userfault, int milliseconds);
/* Every mr_userfault_wait(), now or later, returns. Allowed in a signal handler. */
void mr_userfault_end(const struct mr_userfault *userfault);
/*
 * Takes up to `max` events in the order of the faults, without waiting. An event may be of a page that came meanwhile.
 * Returns how many, 0 if there is none now, or -errno.
 */
int mr_userfault_read(struct mr_userfault *userfault, struct mr_userfault_event *events, size_t max);

/*
 * Fills whole pages, each at once for everybody, and wakes who waits for them. A range of several pages takes one
 * system call unless one is there already. Returns 0, or -errno with `placed` telling how far it came: -EINVAL for a
 * bad range, else see mr_userfault_explain().
 */
int mr_userfault_place(const struct mr_userfault *userfault, uint32_t block, uint64_t offset, const void *bytes,
		       uint64_t length, struct mr_userfault_placed *placed);
int mr_userfault_zero(const struct mr_userfault *userfault, uint32_t block, uint64_t offset, uint64_t length,
		      struct mr_userfault_placed *placed);
/* Who waits in the range touches again, and waits again if the page is still not there. Returns 0 or -errno. */
int mr_userfault_wake(const struct mr_userfault *userfault, uint32_t block, uint64_t offset, uint64_t length);
/* What -errno of the functions above means, and what helps. */
const char *mr_userfault_explain(int error);

#endif
