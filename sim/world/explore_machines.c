/*
 * explore_machines.c: both machines at fixed places in memory, put into any state that they had before, and what each
 * operation makes of each state.
 */
#include "sim/world/explore_machines.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECES_MAX = 4096, EFFECTS_FIRST = 1 << 12 };

/* How a state stands in its store; its bytes follow. */
struct state_head {
	uint32_t shape; /* in the store of shapes: which pieces the bytes are of */
};

/* ---- Content of pages: a byte over and over, another one for each page and version ---- */

/* Every third page is zero as long as nobody writes to it. */
static uint8_t fill_of(uint32_t page, uint32_t version)
{
	enum { VERSIONS = 15, ZERO_EVERY = 3 };

	return version == 0 && page % ZERO_EVERY == 1 ? 0 : (uint8_t)(1 + page * VERSIONS + version);
}

const uint8_t *mr_machines_content(const struct explore_machines *machines, uint32_t page, uint32_t version)
{
	return machines->contents + (size_t)fill_of(page, version) * machines->setup->page_size;
}

/* The version of a page that holds this; NULL stands for zeros. */
uint32_t mr_machines_version(const struct explore_machines *machines, uint32_t page, const uint8_t *content)
{
	const size_t size = machines->setup->page_size;

	if (!content)
		content = machines->contents;
	for (uint32_t version = 0; version < VERSION_WRONG; version++)
		if (memcmp(content, mr_machines_content(machines, page, version), size) == 0)
			return version;
	return VERSION_WRONG;
}

const uint8_t *mr_machines_read(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	const struct explore_machines *machines = argument;
	const struct explore_setup *setup = machines->setup;
	const uint32_t page = setup->blocks[block].first + (uint32_t)(offset / setup->page_size);

	(void)actor;
	(void)look;
	if (machines->live && machines->watch.look)
		machines->watch.look(machines->watch.argument, block, offset);
	return mr_machines_content(machines, page, version_of(machines->operation->versions, page));
}

/* Precopy writes at once; what stands there is looked at behind the step. */
uint8_t *mr_machines_write(void *argument, uint32_t block, uint64_t offset)
{
	struct explore_machines *machines = argument;

	machines->written = mr_explore_range(machines->setup, block, offset, machines->setup->page_size);
	memset(machines->written_page, 0xff, machines->setup->page_size);
	return machines->written_page;
}

void mr_machines_zero(void *argument, uint32_t block, uint64_t offset)
{
	struct explore_machines *machines = argument;

	memset(mr_machines_write(machines, block, offset), 0, machines->setup->page_size);
}

/* ---- States ---- */

static size_t list_pieces(struct explore_machines *machines, unsigned side)
{
	struct mr_piece *pieces = machines->pieces;
	const size_t count = side == SOURCE ? mr_outgoing_pieces(machines->source, true, pieces, PIECES_MAX)
					    : mr_incoming_pieces(machines->destination, pieces, PIECES_MAX);

	return count <= PIECES_MAX ? count : 0;
}

/* What tells states apart. Where a piece lies does not: a ring may begin anywhere. */
static struct mr_hash hash_pieces(struct explore_machines *machines, size_t count)
{
	struct mr_hash hash = {0, 0};
	size_t used = 0;

	for (size_t i = 0; i < count; i++) {
		const struct mr_piece *piece = &machines->pieces[i];

		if (piece->scratch)
			continue;
		if (used + piece->length + sizeof(uint32_t) > STATE_BYTES_MAX) {
			hash = mr_hash_bytes(hash, machines->bytes, used);
			used = 0;
		}
		memcpy(machines->bytes + used, &(uint32_t){(uint32_t)piece->length}, sizeof(uint32_t));
		memcpy(machines->bytes + used + sizeof(uint32_t), piece->at, piece->length);
		used += sizeof(uint32_t) + piece->length;
	}
	return mr_hash_bytes(hash, machines->bytes, used);
}

/* Neighbours become one, and scratch needs no name any more. */
static size_t join_pieces(struct explore_machines *machines, size_t count)
{
	struct mr_piece *pieces = machines->pieces;
	size_t last = 0;

	for (size_t i = 0; i < count; i++)
		pieces[i].scratch = false;
	for (size_t i = 1; i < count; i++) {
		if ((uint8_t *)pieces[last].at + pieces[last].length == pieces[i].at)
			pieces[last].length += pieces[i].length;
		else
			pieces[++last] = pieces[i];
	}
	return last + 1;
}

static uint32_t keep_shape(struct explore_machines *machines, size_t count)
{
	const size_t size = count * sizeof(machines->pieces[0]);

	return mr_store_add(&machines->shapes, mr_hash_bytes((struct mr_hash){0, 0}, machines->pieces, size),
			    machines->pieces, size);
}

static struct explore_glance glance_at(const struct explore_machines *machines, unsigned side)
{
	if (side == SOURCE)
		return (struct explore_glance){.status = (uint8_t)mr_outgoing_status(machines->source)};
	return (struct explore_glance){
		.status = (uint8_t)mr_incoming_status(machines->destination),
		.takes_fault = mr_incoming_takes_fault(machines->destination),
	};
}

static bool keep_glance(struct explore_machines *machines, unsigned side, uint32_t state)
{
	if (state >= machines->glance_room[side]) {
		const uint32_t room = 2 * state + EFFECTS_FIRST;
		struct explore_glance *glances =
			realloc(machines->glances[side], room * sizeof(*machines->glances[side]));

		if (!glances)
			return false;
		machines->glances[side] = glances;
		machines->glance_room[side] = room;
	}
	machines->glances[side][state] = glance_at(machines, side);
	return true;
}

/* The bytes of the pieces, behind each other. Returns how many; 0: too many. */
static size_t gather(struct explore_machines *machines, size_t count, size_t used)
{
	for (size_t i = 0; i < count; i++) {
		const struct mr_piece *piece = &machines->pieces[i];

		if (used + piece->length > STATE_BYTES_MAX)
			return 0;
		memcpy(machines->bytes + used, piece->at, piece->length);
		used += piece->length;
	}
	return used;
}

/* The number of the state that a machine is in. */
static uint32_t save(struct explore_machines *machines, unsigned side)
{
	size_t count = list_pieces(machines, side), used;
	const struct mr_hash hash = hash_pieces(machines, count);
	const uint32_t known = mr_store_find(&machines->states[side], hash);
	struct state_head head;
	uint32_t state;

	if (known != MR_NO_NUMBER || count == 0)
		return known;
	count = join_pieces(machines, count);
	head.shape = keep_shape(machines, count);
	memcpy(machines->bytes, &head, sizeof(head));
	used = gather(machines, count, sizeof(head));
	if (head.shape == MR_NO_NUMBER || used == 0)
		return MR_NO_NUMBER;
	state = mr_store_add(&machines->states[side], hash, machines->bytes, used);
	return state != MR_NO_NUMBER && keep_glance(machines, side, state) ? state : MR_NO_NUMBER;
}

static void load(struct explore_machines *machines, unsigned side, uint32_t state)
{
	const uint8_t *bytes = mr_store_at(&machines->states[side], state, NULL);
	struct state_head head;
	const struct mr_piece *pieces;
	size_t size;

	if (machines->loaded[side] == state)
		return;
	memcpy(&head, bytes, sizeof(head));
	bytes += sizeof(head);
	pieces = mr_store_at(&machines->shapes, head.shape, &size);
	for (size_t i = 0; i < size / sizeof(*pieces); i++) {
		memcpy(pieces[i].at, bytes, pieces[i].length);
		bytes += pieces[i].length;
	}
}

struct explore_glance mr_machines_glance(const struct explore_machines *machines, unsigned side, uint32_t state)
{
	return machines->glances[side][state];
}

bool mr_machines_begin(struct explore_machines *machines)
{
	for (unsigned side = 0; side < SIDES; side++)
		machines->beginning[side] = machines->loaded[side] = save(machines, side);
	return machines->beginning[SOURCE] != MR_NO_NUMBER && machines->beginning[DESTINATION] != MR_NO_NUMBER;
}

uint32_t mr_machines_beginning(const struct explore_machines *machines, unsigned side)
{
	return machines->beginning[side];
}

/* ---- Windows ---- */

static bool make_room(struct explore_machines *machines, const struct explore_operation *operation)
{
	size_t needed = 0;

	for (unsigned i = 0; i < operation->window_count; i++)
		needed += mr_queues_length(machines->queues, operation->windows[i].queue);
	if (needed > machines->window_room) {
		uint8_t *larger = realloc(machines->window_bytes, 2 * needed);

		if (!larger)
			return false;
		machines->window_bytes = larger;
		machines->window_room = 2 * needed;
	}
	return true;
}

static void feed(struct explore_machines *machines, unsigned side, const struct explore_window *window,
		 struct mr_bytes bytes)
{
	const int error = window->at_end && window->broken ? HOST_EIO : 0;

	if (side == SOURCE)
		mr_outgoing_feed(machines->source, window->channel, bytes.data, bytes.length, window->at_end, error);
	else
		mr_incoming_feed(machines->destination, window->channel, bytes.data, bytes.length, window->at_end,
				 error);
}

static uint64_t consumed(const struct explore_machines *machines, unsigned side, uint32_t channel)
{
	return side == SOURCE ? mr_outgoing_consumed(machines->source, channel)
			      : mr_incoming_consumed(machines->destination, channel);
}

static bool show_windows(struct explore_machines *machines, const struct explore_operation *operation)
{
	uint8_t *room;

	if (!make_room(machines, operation))
		return false;
	room = machines->window_bytes;
	for (unsigned i = 0; i < operation->window_count; i++) {
		const struct explore_window *window = &operation->windows[i];
		const struct mr_bytes bytes = mr_queues_bytes(machines->queues, window->queue, room);

		feed(machines, operation->side, window, bytes);
		machines->shown[window->channel] = consumed(machines, operation->side, window->channel) + bytes.length;
		/* without bytes there may be no room at all */
		room = bytes.length ? room + bytes.length : room;
	}
	return true;
}

/* Windows are no part of a state. */
static void hide_windows(struct explore_machines *machines, const struct explore_operation *operation)
{
	for (unsigned i = 0; i < operation->window_count; i++) {
		const struct explore_window none = {.channel = operation->windows[i].channel};

		feed(machines, operation->side, &none, (struct mr_bytes){0});
	}
}

/* ---- One operation ---- */

static void do_operation(struct explore_machines *machines, struct explore_effect *effect)
{
	const struct explore_operation *operation = machines->operation;

	if (operation->code == OPERATION_STEP && operation->side == SOURCE)
		mr_machines_step_source(machines, effect);
	else if (operation->code == OPERATION_STEP)
		mr_machines_step_destination(machines, effect);
	else
		mr_machines_input(machines, effect);
}

static struct explore_effect run(struct explore_machines *machines, const struct explore_operation *operation)
{
	struct explore_effect effect = {
		.effect = EFFECT_FAILED, .channel = NO_CHANNEL, .read = NO_CHANNEL, .variants = 1};
	const unsigned side = operation->side;
	uint64_t before[EXPLORE_CONNECTIONS_MAX];

	machines->operation = operation;
	machines->runs++;
	if (!machines->live)
		load(machines, side, operation->state);
	machines->loaded[side] = MR_NO_NUMBER;
	if (!show_windows(machines, operation))
		return effect;
	for (unsigned i = 0; i < operation->window_count; i++)
		before[i] = consumed(machines, side, operation->windows[i].channel);
	effect.effect = EFFECT_NONE;
	do_operation(machines, &effect);
	for (unsigned i = 0; i < operation->window_count; i++) {
		const uint8_t channel = operation->windows[i].channel;

		if (consumed(machines, side, channel) == before[i])
			continue;
		effect.read = channel;
		effect.consumed = (uint32_t)(consumed(machines, side, channel) - before[i]);
	}
	hide_windows(machines, operation);
	effect.next = machines->loaded[side] = save(machines, side);
	if (effect.done && effect.next == operation->state)
		machines->glances[side][effect.next].done |= (uint8_t)(1u << operation->actor);
	if (effect.next == MR_NO_NUMBER || machines->queues->failed)
		effect.effect = EFFECT_FAILED;
	else if (effect.effect == EFFECT_NONE && effect.next != operation->state)
		effect.effect = EFFECT_MOVED;
	return effect;
}

static struct mr_hash key_of(const struct explore_operation *operation)
{
	const uint64_t head = operation->state | (uint64_t)operation->side << 32 | (uint64_t)operation->code << 34 |
			      (uint64_t)operation->actor << 38 | (uint64_t)operation->channel << 46 |
			      (uint64_t)operation->role << 54;
	const uint64_t rest = operation->page | (uint64_t)operation->variant << 8 | (uint64_t)operation->dirty << 24 |
			      (uint64_t)operation->fails << 40 | (uint64_t)operation->window_count << 41;
	struct mr_hash hash = mr_hash_number((struct mr_hash){0, 0}, head);

	hash = mr_hash_number(hash, rest);
	hash = mr_hash_number(hash, operation->versions);
	for (unsigned i = 0; i < operation->window_count; i++) {
		const struct explore_window *window = &operation->windows[i];

		hash = mr_hash_number(hash, window->queue | (uint64_t)window->channel << 32 |
						    (uint64_t)window->at_end << 40 | (uint64_t)window->broken << 41);
	}
	return hash;
}

static const struct explore_effect *remember(struct explore_machines *machines, struct mr_hash key,
					     const struct explore_effect *effect)
{
	static const struct explore_effect failed = {.effect = EFFECT_FAILED};

	if (machines->effect_count == machines->effect_room) {
		const uint32_t room = machines->effect_room ? 2 * machines->effect_room : EFFECTS_FIRST;
		struct explore_effect *effects = realloc(machines->effects, room * sizeof(*effects));

		if (!effects)
			return &failed;
		machines->effects = effects;
		machines->effect_room = room;
	}
	if (!mr_store_map_add(&machines->known, key, machines->effect_count))
		return &failed;
	machines->effects[machines->effect_count] = *effect;
	return &machines->effects[machines->effect_count++];
}

const struct explore_effect *mr_machines_operate(struct explore_machines *machines,
						 const struct explore_operation *operation)
{
	struct explore_effect effect;
	struct mr_hash key;
	uint32_t known;

	if (machines->live) {
		machines->live_effect = run(machines, operation);
		return &machines->live_effect;
	}
	key = key_of(operation);
	known = mr_store_map_find(&machines->known, key);
	if (known != MR_NO_NUMBER)
		return &machines->effects[known];
	effect = run(machines, operation);
	return remember(machines, key, &effect);
}

void mr_machines_go_live(struct explore_machines *machines, const struct mr_watch *watch)
{
	for (unsigned side = 0; side < SIDES; side++) {
		load(machines, side, machines->beginning[side]);
		machines->loaded[side] = machines->beginning[side];
	}
	machines->live = true;
	memset(machines->told, 0, sizeof(machines->told));
	memset(machines->told_end, 0, sizeof(machines->told_end));
	if (watch)
		machines->watch = *watch;
}

/* ---- Looking inside ---- */

const struct mr_watch *mr_machines_watch(const struct explore_machines *machines)
{
	return machines->live ? &machines->watch : NULL;
}

const struct mr_outgoing *mr_machines_source(const struct explore_machines *machines)
{
	return machines->source;
}

const struct mr_incoming *mr_machines_destination(const struct explore_machines *machines)
{
	return machines->destination;
}

const struct mr_outgoing_config *mr_machines_source_config(const struct explore_machines *machines)
{
	return &machines->source_config;
}

const struct mr_incoming_config *mr_machines_destination_config(const struct explore_machines *machines)
{
	return &machines->destination_config;
}

struct mr_bytes mr_machines_description(const struct explore_machines *machines)
{
	return (struct mr_bytes){(const uint8_t *)machines->description_text, strlen(machines->description_text)};
}

void mr_machines_count(const struct explore_machines *machines, struct mr_explore_result *result)
{
	result->source_states = mr_store_count(&machines->states[SOURCE]);
	result->destination_states = mr_store_count(&machines->states[DESTINATION]);
	result->runs = machines->runs;
	result->memory +=
		mr_store_size(&machines->states[SOURCE]) + mr_store_size(&machines->states[DESTINATION]) +
		mr_store_size(&machines->shapes) + mr_store_map_size(&machines->known) +
		machines->effect_room * sizeof(machines->effects[0]) +
		(machines->glance_room[SOURCE] + machines->glance_room[DESTINATION]) * sizeof(machines->glances[0][0]);
}
