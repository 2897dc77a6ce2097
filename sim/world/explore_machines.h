/* explore_machines.h: the machines as their explorer has them, for the files that do so. */
#ifndef MR_WORLD_EXPLORE_MACHINES_H
#define MR_WORLD_EXPLORE_MACHINES_H

#include "sim/world/explore_state.h"

enum { STATE_BYTES_MAX = 1 << 18 };

struct explore_machines {
	const struct explore_setup *setup;
	struct explore_queues *queues;

	/* what they are set up with */
	struct mr_outgoing_config source_config;
	struct mr_incoming_config destination_config;
	struct mr_outgoing_block source_blocks[MR_EXPLORE_BLOCKS_MAX];
	struct mr_incoming_block destination_blocks[MR_EXPLORE_BLOCKS_MAX];
	struct mr_handlers handlers;
	struct mr_handler_entry entries[MR_EXPLORE_DEVICES_MAX + 1];
	struct mr_choices choices;
	char *description_text;
	struct mr_description *description;
	uint8_t *device_bodies; /* one behind the other */
	uint8_t *contents;      /* a page of each byte */
	uint8_t *temporary[2];

	/* the machines, and the states that they have had */
	struct mr_outgoing *source;
	struct mr_incoming *destination;
	void *arenas[SIDES];
	struct mr_store states[SIDES], shapes;
	struct explore_glance *glances[SIDES]; /* by state */
	uint32_t glance_room[SIDES];
	uint32_t beginning[SIDES];
	uint32_t loaded[SIDES]; /* which they are in; MR_NO_NUMBER: none that is known */
	struct mr_piece *pieces;
	uint8_t *bytes; /* STATE_BYTES_MAX */

	/* the operation at hand */
	const struct explore_operation *operation;
	uint8_t *window_bytes;
	size_t window_room;
	uint64_t shown[EXPLORE_CONNECTIONS_MAX]; /* bytes of each connection, from its first on */
	uint8_t *written_page;                   /* what precopy writes at the destination, */
	page_set written;                        /* and where; 0: nothing */
	uint32_t answers;                        /* what is left of its variant */
	uint32_t variants;                       /* ways of answering so far */

	/* what operations made of states */
	struct mr_store_map known;
	struct explore_effect *effects;
	uint32_t effect_count, effect_room;
	uint64_t runs;

	bool live;
	struct explore_effect live_effect;
	struct mr_watch watch;
	uint64_t told[EXPLORE_CONNECTIONS_MAX]; /* of the bytes that the source's reader is shown, */
	bool told_end[EXPLORE_CONNECTIONS_MAX]; /* and of their end */
};

/* ---- explore_steps.c: what machines do when they are let go on, or told something ---- */

void mr_machines_step_source(struct explore_machines *machines, struct explore_effect *effect);
void mr_machines_step_destination(struct explore_machines *machines, struct explore_effect *effect);
void mr_machines_input(struct explore_machines *machines, struct explore_effect *effect);
uint64_t mr_machines_choose(void *argument, enum mr_choice choice, uint64_t canonical);

/* ---- explore_local.c: whether a step that made this action is local ---- */

bool mr_local_source(const struct explore_machines *machines, const struct mr_source_action *action);
bool mr_local_destination(const struct explore_machines *machines, const struct mr_action *action);

/* ---- explore_machines.c ---- */

/* Which version of a page this content is; NULL stands for zeros. */
uint32_t mr_machines_version(const struct explore_machines *machines, uint32_t page, const uint8_t *content);
/* Memory of both guests, as the machines ask for it. */
const uint8_t *mr_machines_read(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look);
uint8_t *mr_machines_write(void *argument, uint32_t block, uint64_t offset);
void mr_machines_zero(void *argument, uint32_t block, uint64_t offset);
/* Both are set up: they are in the states that they begin in. False if memory is short. */
bool mr_machines_begin(struct explore_machines *machines);

#endif
