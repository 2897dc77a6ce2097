/*
 * caught_memory.h: the memory of a destination's guest on a real host: what the machine asks of it in precopy and
 * postcopy, in the machine's own numbers of blocks and errors.
 */
#ifndef MR_HOST_CAUGHT_MEMORY_H
#define MR_HOST_CAUGHT_MEMORY_H

#include "ref/incoming.h"
#include "sim/host/memory.h"
#include "sim/host/userfault.h"
#include "sim/world/receivers.h"

/* Errors as the machine is told them. */
enum {
	MR_GUEST_EIO = 5,
	MR_GUEST_ENOMEM = 12,
	MR_GUEST_EEXIST = 17,
};

/* Zero it, and set what is not private. */
struct mr_caught_memory {
	struct mr_host_memory *blocks; /* in the machine's order; the caller's */
	uint32_t count;                /* at most MR_BLOCKS_MAX */
	uint32_t target_page_size;     /* bytes */

	/* private; for reading */
	struct mr_userfault *userfault;             /* NULL: no faults are caught */
	uint32_t number[MR_BLOCKS_MAX];             /* as the userfault calls the block, + 1; 0: it is not caught */
	uint32_t block_of[MR_USERFAULT_BLOCKS_MAX]; /* and the other way, without the 1 */
};

/* ---- Precopy ---- */

/* Those of struct mr_incoming_memory; `memory` is a struct mr_caught_memory. */
uint8_t *mr_caught_memory_page(void *memory, uint32_t block, uint64_t offset);
void mr_caught_memory_zero(void *memory, uint32_t block, uint64_t offset);
/* MR_ACTION_PACKET: 0 or an errno. */
int mr_caught_memory_unpack(struct mr_caught_memory *memory, struct mr_receivers *receivers,
			    const struct mr_action *action);

/*
 * ---- Postcopy: each carries out the action of its name, and returns 0 or an errno. What the host refuses for a reason
 * of its own is told in `problem`. PLACE, DISCARD and UNPACK may be called by any thread at any time; while the others
 * are, no thread places. ----
 */

int mr_caught_memory_catch(struct mr_caught_memory *memory, struct mr_host_problem *problem);
int mr_caught_memory_register(struct mr_caught_memory *memory, uint32_t block, struct mr_host_problem *problem);
int mr_caught_memory_unregister(struct mr_caught_memory *memory, uint32_t block);
/* Whoever waits for a page goes on. */
void mr_caught_memory_release(struct mr_caught_memory *memory);
int mr_caught_memory_place(struct mr_caught_memory *memory, const struct mr_action_placed *placed);
int mr_caught_memory_discard(struct mr_caught_memory *memory, const struct mr_action_range *range);

#endif
