/* replay_memory.h: real guest memory for the replay of a recording: the kernel catches the faults, threads raise them.
 */
#ifndef MR_HOST_REPLAY_MEMORY_H
#define MR_HOST_REPLAY_MEMORY_H

#include "sim/host/memory.h"
#include "sim/record/backing.h"

/* The memory of one machine in one replay. */
struct mr_replay_memory;

/*
 * Blocks whose page is the host's ordinary one are of the kind `ordinary`, MR_HOST_ANONYMOUS or MR_HOST_SHARED; blocks
 * of huge pages take these from the host's pool. NULL if memory is short.
 */
struct mr_replay_memory *mr_replay_memory_new(enum mr_host_kind ordinary);
/* Ends the threads, wherever they wait, and gives everything back. NULL is allowed. */
void mr_replay_memory_free(struct mr_replay_memory *memory);
/* For struct mr_destination_options: as long as the memory lives. */
const struct mr_backing *mr_replay_memory_backing(const struct mr_replay_memory *memory);

#endif
