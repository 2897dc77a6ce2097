/* world.h: what surrounds a destination under replay: its connections, guest memory and return paths. */
#ifndef MR_RECORD_WORLD_H
#define MR_RECORD_WORLD_H

#include "ref/incoming.h"
#include "sim/record/backing.h"
#include "sim/record/memory.h"
#include "sim/record/migration.h"

/* One connection: what the source sent, what the destination answered, and what is being answered now. */
struct mr_world_connection {
	bool opened;
	enum mr_role role;
	struct mr_input *input; /* bytes from the source; NULL: none came */
	uint64_t limit;         /* bytes that reach the destination; UINT64_MAX: all of them */
	int error;              /* how the connection ends behind them: 0, or an errno */
	uint64_t return_limit;  /* bytes that the return path takes */
	bool has_return;
	struct mr_bytes recorded; /* return path */
	uint8_t *sent;
	size_t sent_length, sent_capacity;

	/* private */
	struct mr_input *recorded_input;
	struct mr_packet_codec codec; /* of a multifd channel */
};

/* A machine and its surroundings. */
struct mr_world {
	struct mr_incoming *incoming;
	struct mr_world_connection *connections; /* by number */
	unsigned connection_count;
	struct mr_memory *memory;         /* NULL: contents are not kept */
	const struct mr_backing *backing; /* where the contents of `memory` are; NULL: there */
	bool failed;                      /* an input, or memory, failed: `error` says it */
	char error[512];

	/* private */
	void *arena;
	uint8_t *temporary[2];
};

/*
 * Sets a machine up by `config`, whose memory and temporary buffers are filled in here, and opens the channels of the
 * recording for it; no connection is accepted yet. With `memory`, which must be empty and whose blocks are the
 * configuration's in its order, placements and writes are carried out there, or, with a `backing`, which is opened
 * here, in that. Returns 0, or -1 with one line in `world->error`; the caller clears the world in either case.
 */
int mr_world_init(struct mr_world *world, const struct mr_migration *migration, const struct mr_incoming_config *config,
		  struct mr_memory *memory, const struct mr_backing *backing);
void mr_world_clear(struct mr_world *world);

/* The connection is accepted, as `role`. -1 if there is none of this number, it was opened before, or has no place. */
int mr_world_connect(struct mr_world *world, uint32_t channel, enum mr_role role);
/* The connection gives no more than `bytes` bytes in all, and then `error`. -1 if it is not open. */
int mr_world_end(struct mr_world *world, uint32_t channel, uint64_t bytes, int error);
/* The return path of an existing connection takes no more than `bytes` bytes in all. */
void mr_world_end_return(struct mr_world *world, uint32_t channel, uint64_t bytes);
/* Bytes of a connection that no actor has gone over: how many are at hand, at least `wanted` if there are so many. */
size_t mr_world_rest(struct mr_world *world, uint32_t channel, size_t wanted, const uint8_t **rest);
/*
 * One step of the machine, with all the bytes it asks for: never MR_STEP_BYTES. An action that is asked is to be
 * carried out and completed by the caller. MR_STEP_DONE with `world->failed` if an input failed.
 */
enum mr_step mr_world_step(struct mr_world *world, unsigned actor, struct mr_action *action);
/*
 * Lets the actor go on as far as the first `bytes` bytes of a connection lead. False if it makes an action there, waits
 * for anything else, or the connection is none that has so many bytes to go over.
 */
bool mr_world_step_short(struct mr_world *world, unsigned actor, uint32_t channel, uint64_t bytes);
/* Does what an action asks for. Returns 0 or the errno to complete it with. */
int mr_world_carry_out(struct mr_world *world, const struct mr_action *action);
/* A thread of the guest touches a page; with a backing it really does. False if the machine takes no fault. */
bool mr_world_fault(struct mr_world *world, uint32_t block, uint64_t offset, uint64_t thread);
/* Received bits of the machine become those of the memory, to be judged. */
void mr_world_judge_received(struct mr_world *world);

#endif
