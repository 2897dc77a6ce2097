/* backing.h: guest memory of a replayed destination that lies somewhere else than in buffers of the replay's own. */
#ifndef MR_RECORD_BACKING_H
#define MR_RECORD_BACKING_H

#include "ref/incoming.h"

/* What came of the faults and placements. */
struct mr_backing_result {
	bool used;         /* there was a backing, and a machine that ran on it */
	bool holds;        /* the memory behaved as the recording's did */
	char text[240];    /* the first place where it did not */
	const char *name;  /* of the backing */
	uint64_t raised;   /* recorded faults that happened again */
	uint64_t repeated; /* of a thread that waits for the page already */
	uint64_t present;  /* of pages that were there, or not caught: nobody had to wait */
	uint64_t placed;   /* target pages */
	uint64_t threads;  /* that touched pages */
	uint64_t unserved; /* faults whose page did not come until the end */
};

/*
 * Functions for the memory of one machine. Their first argument is `argument`; those that return -1 have written one
 * line into `error`, and the replay fails with it. Blocks are numbered as in the configuration; offsets are bytes.
 */
struct mr_backing {
	void *argument;
	const char *name;
	/* Once, before all others but `close`: blocks that hold nothing. Returns 0 or -1. */
	int (*open)(void *argument, const struct mr_incoming_config *config, char *error, size_t error_size);
	/* The machine's own writes (struct mr_incoming_memory). */
	uint8_t *(*page)(void *argument, uint32_t block, uint64_t offset);
	void (*zero)(void *argument, uint32_t block, uint64_t offset);
	/* What an action asks of memory and faults, nothing if it asks for nothing there. 0, an errno, or -1. */
	int (*carry_out)(void *argument, const struct mr_action *action, char *error, size_t error_size);
	/* The machine is about to be told of this fault. Returns 0 or -1. */
	int (*fault)(void *argument, uint32_t block, uint64_t offset, uint64_t thread, char *error, size_t error_size);
	/* The machine has stopped: nothing is asked for after this but to read. Returns 0 or -1. */
	int (*end)(void *argument, struct mr_backing_result *result, char *error, size_t error_size);
	/* What memory holds, without changing anything. Returns 0 or -1. */
	int (*read)(void *argument, uint32_t block, uint64_t offset, void *bytes, size_t length, char *error,
		    size_t error_size);
};

#endif
