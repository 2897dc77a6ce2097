/* explore.c: the search: from the beginning outwards, every state once. */
#include "sim/world/explore_lines.h"
#include "sim/world/explore_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATES_FIRST = 1 << 12, TABLE_FIRST = 1 << 14, LOOKS_AT_MEMORY = 1 << 12 };

/* A state, and how it was reached first. */
struct place {
	uint32_t machines[SIDES], world;
	uint32_t parent;
	struct explore_move move;
};

/* Where a state stands, found by its hash. */
struct slot {
	uint32_t tag;
	uint32_t place; /* + 1; 0: free */
};

struct mr_explorer {
	struct explore_setup setup;
	struct explore_queues queues;
	struct explore_machines *machines;
	struct explore_scene scene;
	struct explore_lines lines;
	struct mr_store worlds;

	struct place *places;
	uint64_t count, room;
	struct slot *slots;
	uint64_t slot_count; /* a power of two */
	uint64_t next;       /* whose moves are tried next */
	uint64_t level_end;  /* states that are as far away as that one, or nearer */

	bool looking;       /* all is visited: ways to an end are looked for */
	uint64_t *ending;   /* bits: states with a way to an end */
	uint64_t next_look; /* down from the last state */
	bool found_ends;    /* in this round */

	struct mr_explore_result result;
	uint32_t last;                 /* VIOLATED: the state before it, */
	bool has_last_move;            /* whether a move led from there, */
	struct explore_move last_move; /* and which */
	struct explore_whole end;      /* of a replay */
};

/* ---- States ---- */

static size_t world_size(const struct explore_world *world)
{
	return offsetof(struct explore_world, connections) + world->connection_count * sizeof(world->connections[0]);
}

static uint32_t keep_world(struct mr_explorer *explorer, const struct explore_world *world)
{
	const size_t size = world_size(world);

	return mr_store_add(&explorer->worlds, mr_hash_bytes((struct mr_hash){0, 0}, world, size), world, size);
}

static void open_place(const struct mr_explorer *explorer, uint64_t number, struct explore_whole *whole)
{
	const struct place *place = &explorer->places[number];
	size_t size;
	const void *world = mr_store_at(&explorer->worlds, place->world, &size);

	memcpy(whole->machines, place->machines, sizeof(whole->machines));
	memcpy(&whole->world, world, size);
	memset((uint8_t *)&whole->world + size, 0, sizeof(whole->world) - size);
}

static uint64_t hash_place(const struct place *place)
{
	const struct mr_hash hash =
		mr_hash_number((struct mr_hash){place->world, 0},
			       (uint64_t)place->machines[SOURCE] << 32 | place->machines[DESTINATION]);

	return hash.low ^ hash.high;
}

static bool is_same(const struct place *one, const struct place *other)
{
	return one->world == other->world && one->machines[SOURCE] == other->machines[SOURCE] &&
	       one->machines[DESTINATION] == other->machines[DESTINATION];
}

/* The slot of a state, or the free one where it belongs. */
static struct slot *find_slot(const struct mr_explorer *explorer, const struct place *place, uint64_t hash)
{
	const uint64_t mask = explorer->slot_count - 1;
	const uint32_t tag = (uint32_t)(hash >> 32);
	uint64_t at = hash & mask;

	while (explorer->slots[at].place &&
	       (explorer->slots[at].tag != tag || !is_same(&explorer->places[explorer->slots[at].place - 1], place)))
		at = (at + 1) & mask;
	return &explorer->slots[at];
}

/* ---- Room ---- */

static uint64_t memory_of(const struct mr_explorer *explorer)
{
	struct mr_explore_result result = {0};

	mr_machines_count(explorer->machines, &result);
	return result.memory + mr_store_size(&explorer->worlds) + mr_store_size(&explorer->queues.messages) +
	       mr_store_size(&explorer->queues.queues) + mr_store_map_size(&explorer->queues.known) +
	       explorer->room * sizeof(explorer->places[0]) + explorer->slot_count * sizeof(explorer->slots[0]);
}

/* While something grows, the old and the new may be there at once. The first state is always taken. */
static bool may_grow(struct mr_explorer *explorer, uint64_t bytes)
{
	const uint64_t limit = explorer->setup.options.memory_max;

	if (limit == 0 || explorer->count == 0 || memory_of(explorer) + bytes <= limit)
		return true;
	explorer->result.progress = MR_EXPLORE_LIMITED;
	return false;
}

static bool grow_table(struct mr_explorer *explorer)
{
	const uint64_t count = explorer->slot_count ? 2 * explorer->slot_count : TABLE_FIRST;
	struct slot *slots = may_grow(explorer, count * sizeof(*slots)) ? calloc(count, sizeof(*slots)) : NULL;

	if (!slots)
		return false;
	free(explorer->slots);
	explorer->slots = slots;
	explorer->slot_count = count;
	for (uint64_t i = 0; i < explorer->count; i++) {
		const uint64_t hash = hash_place(&explorer->places[i]);

		*find_slot(explorer, &explorer->places[i], hash) =
			(struct slot){(uint32_t)(hash >> 32), (uint32_t)i + 1};
	}
	return true;
}

static bool grow_places(struct mr_explorer *explorer)
{
	const uint64_t room = explorer->room ? explorer->room + explorer->room / 2 : STATES_FIRST;
	struct place *places = may_grow(explorer, (room - explorer->room) * sizeof(*places))
				       ? realloc(explorer->places, room * sizeof(*places))
				       : NULL;

	if (!places)
		return false;
	explorer->places = places;
	explorer->room = room;
	return true;
}

static bool make_room(struct mr_explorer *explorer)
{
	if (explorer->count == explorer->room && !grow_places(explorer))
		return false;
	return 3 * (explorer->count + 1) <= 2 * explorer->slot_count || grow_table(explorer);
}

/* False if there is no room for another state, or none is allowed. */
static bool add_state(struct mr_explorer *explorer, const struct explore_whole *whole, uint32_t parent,
		      struct explore_move move)
{
	struct place place = {.machines = {whole->machines[SOURCE], whole->machines[DESTINATION]},
			      .world = keep_world(explorer, &whole->world),
			      .parent = parent,
			      .move = move};
	struct slot *slot;
	uint64_t hash;

	if (place.world == MR_NO_NUMBER || !make_room(explorer)) {
		if (explorer->result.progress == MR_EXPLORE_GOES_ON)
			explorer->result.progress = MR_EXPLORE_FAILED;
		return false;
	}
	hash = hash_place(&place);
	slot = find_slot(explorer, &place, hash);
	if (slot->place)
		return true;
	if (explorer->count == explorer->setup.options.states_max) {
		explorer->result.progress = MR_EXPLORE_LIMITED;
		return false;
	}
	explorer->places[explorer->count++] = place;
	*slot = (struct slot){(uint32_t)(hash >> 32), (uint32_t)explorer->count};
	return true;
}

/* ---- Moves ---- */

static void count_seen(struct mr_explorer *explorer, uint64_t seen)
{
	for (; seen; seen &= seen - 1)
		explorer->result.seen[__builtin_ctzll(seen)]++;
}

static bool stop_at(struct mr_explorer *explorer, uint64_t number, const struct explore_move *move,
		    const struct explore_outcome *outcome)
{
	struct mr_violation *violation = &explorer->result.violation;

	explorer->result.progress = MR_EXPLORE_VIOLATED;
	violation->property = outcome->violation;
	snprintf(violation->text, sizeof(violation->text), "%s", outcome->text);
	explorer->last = (uint32_t)number;
	explorer->has_last_move = move != NULL;
	if (move)
		explorer->last_move = *move;
	for (uint64_t at = number; at; at = explorer->places[at].parent)
		explorer->result.path++;
	explorer->result.path += move != NULL;
	return false;
}

/* What is done with each thing that may come of a state's moves; false: nothing more is to be tried. */
typedef bool take_function(struct mr_explorer *explorer, uint64_t number, struct explore_move move,
			   const struct explore_whole *after, const struct explore_outcome *outcome);

static bool take_outcome(struct mr_explorer *explorer, uint64_t number, struct explore_move move,
			 const struct explore_whole *after, const struct explore_outcome *outcome)
{
	if (outcome->failed) {
		explorer->result.progress = MR_EXPLORE_FAILED;
		return false;
	}
	explorer->result.transitions++;
	count_seen(explorer, outcome->seen);
	if (outcome->violation != MR_PROPERTY_NONE)
		return stop_at(explorer, number, &move, outcome);
	if (outcome->end != MR_EXPLORE_END_COUNT) {
		explorer->result.ends[outcome->end]++;
		return true;
	}
	return add_state(explorer, after, (uint32_t)number, move);
}

/* Tries a move with all answers to the choices in it. */
static bool try_move(struct mr_explorer *explorer, uint64_t number, const struct explore_whole *whole,
		     struct explore_move move, take_function *take, bool *any)
{
	struct explore_outcome outcome;
	unsigned variants = 1;

	for (unsigned variant = 0; variant < variants; variant++) {
		struct explore_whole after = *whole;

		if (move.kind == MOVE_SOURCE) {
			move.second = (uint8_t)variant;
			move.third = (uint8_t)(variant >> 8);
		}
		if (!mr_world_move(&explorer->scene, &after, move, &outcome))
			continue;
		*any = true;
		if (outcome.variants > variants)
			variants = outcome.variants;
		if (variant)
			outcome.seen |= (uint64_t)1 << MR_SOMETIMES_UNUSUAL;
		if (!take(explorer, number, move, &after, &outcome))
			return false;
	}
	return true;
}

/* All moves of a state; `*any`: there was one. False if `take` said so. */
static bool try_moves(struct mr_explorer *explorer, uint64_t number, const struct explore_whole *whole,
		      take_function *take, bool *any)
{
	struct explore_move moves[EXPLORE_MOVES_MAX];

	*any = false;
	for (unsigned part = 0; part < 2 && !*any; part++) {
		const unsigned count = mr_world_moves(&explorer->scene, whole, part, moves);

		for (unsigned i = 0; i < count; i++)
			if (!try_move(explorer, number, whole, moves[i], take, any))
				return false;
	}
	return true;
}

static bool visit(struct mr_explorer *explorer, uint64_t number)
{
	struct explore_outcome outcome;
	struct explore_whole whole;
	bool any;

	open_place(explorer, number, &whole);
	if (!try_moves(explorer, number, &whole, take_outcome, &any))
		return false;
	if (any)
		return true;
	mr_world_judge_end(&explorer->scene, &whole, &outcome);
	count_seen(explorer, outcome.seen);
	if (outcome.violation != MR_PROPERTY_NONE)
		return stop_at(explorer, number, NULL, &outcome);
	explorer->result.ends[outcome.end]++;
	return true;
}

/* ---- Ways to an end ---- */

static bool leads_to_end(const struct mr_explorer *explorer, uint64_t number)
{
	return explorer->ending[number / 64] >> number % 64 & 1;
}

/* A move that ends the way, or leads to a state from which one does. Nothing more is to be tried then. */
static bool look_at_outcome(struct mr_explorer *explorer, uint64_t number, struct explore_move move,
			    const struct explore_whole *after, const struct explore_outcome *outcome)
{
	struct place place = {.machines = {after->machines[SOURCE], after->machines[DESTINATION]}};

	(void)number;
	(void)move;
	if (outcome->end != MR_EXPLORE_END_COUNT)
		return false;
	place.world = keep_world(explorer, &after->world);
	return !leads_to_end(explorer, find_slot(explorer, &place, hash_place(&place))->place - 1u);
}

/* From the last state to the first, and again as long as more ways are found: most moves lead to later states. */
static void look_from(struct mr_explorer *explorer, uint64_t number)
{
	struct explore_whole whole;
	bool any;

	if (leads_to_end(explorer, number))
		return;
	explorer->result.looked++;
	open_place(explorer, number, &whole);
	if (try_moves(explorer, number, &whole, look_at_outcome, &any) && any)
		return;
	explorer->ending[number / 64] |= (uint64_t)1 << number % 64;
	explorer->found_ends = true;
}

/* Nothing was found in a whole round: the first state without a way, if there is one, breaks a property. */
static void finish_looking(struct mr_explorer *explorer)
{
	struct explore_outcome outcome = {
		.violation = MR_PROPERTY_OVER,
		.text = "from here on nobody comes to an end, though somebody can always move"};
	uint64_t number = 0;

	while (number < explorer->count && explorer->setup.options.ends && leads_to_end(explorer, number))
		number++;
	if (explorer->setup.options.ends && number < explorer->count)
		stop_at(explorer, number, NULL, &outcome);
	else
		explorer->result.progress = MR_EXPLORE_EXHAUSTED;
}

static void look_next(struct mr_explorer *explorer)
{
	if (explorer->setup.options.ends && !explorer->ending) {
		explorer->ending = calloc(explorer->count / 64 + 1, sizeof(*explorer->ending));
		if (!explorer->ending)
			explorer->result.progress = MR_EXPLORE_FAILED;
	} else if (explorer->next_look) {
		look_from(explorer, --explorer->next_look);
	} else if (explorer->found_ends) {
		explorer->found_ends = false;
		explorer->next_look = explorer->count;
	} else {
		finish_looking(explorer);
	}
}

/* ---- The search ---- */

static bool is_too_much(const struct mr_explorer *explorer)
{
	const uint64_t limit = explorer->setup.options.memory_max;

	return limit && explorer->next % LOOKS_AT_MEMORY == 0 && memory_of(explorer) > limit;
}

static void visit_next(struct mr_explorer *explorer)
{
	struct mr_explore_result *result = &explorer->result;

	if (explorer->next == explorer->count) {
		explorer->looking = true;
		explorer->next_look = explorer->setup.options.ends ? explorer->count : 0;
		return;
	}
	if (explorer->next == explorer->level_end) {
		result->depth++;
		explorer->level_end = explorer->count;
	}
	if (is_too_much(explorer))
		result->progress = MR_EXPLORE_LIMITED;
	else if (visit(explorer, explorer->next))
		explorer->next++;
}

enum mr_explore_progress mr_explorer_run(struct mr_explorer *explorer, uint64_t states)
{
	struct mr_explore_result *result = &explorer->result;

	for (; states && result->progress == MR_EXPLORE_GOES_ON; states--)
		if (explorer->looking)
			look_next(explorer);
		else
			visit_next(explorer);
	if (explorer->queues.failed && result->progress != MR_EXPLORE_VIOLATED)
		result->progress = MR_EXPLORE_FAILED;
	return result->progress;
}

void mr_explorer_result(const struct mr_explorer *explorer, struct mr_explore_result *result)
{
	*result = explorer->result;
	result->states = explorer->count;
	result->visited = explorer->next;
	result->worlds = mr_store_count(&explorer->worlds);
	mr_machines_count(explorer->machines, result);
	result->memory = memory_of(explorer);
}

/* ---- Beginning and end ---- */

struct mr_explorer *mr_explorer_new(const struct mr_scenario *scenario, const struct mr_explore_options *options,
				    char *error, size_t error_size)
{
	struct mr_explorer *explorer = calloc(1, sizeof(*explorer));
	struct explore_whole whole;

	if (!explorer || !mr_queues_init(&explorer->queues)) {
		snprintf(error, error_size, "no memory for an exploration");
		mr_explorer_free(explorer);
		return NULL;
	}
	if (mr_explore_set_up(&explorer->setup, scenario, options, error, error_size) < 0) {
		mr_explorer_free(explorer);
		return NULL;
	}
	if (explorer->setup.options.states_max == 0 || explorer->setup.options.states_max > UINT32_MAX - 1)
		explorer->setup.options.states_max = UINT32_MAX - 1;
	explorer->machines = mr_machines_new(&explorer->setup, &explorer->queues, error, error_size);
	if (!explorer->machines) {
		mr_explorer_free(explorer);
		return NULL;
	}
	explorer->scene = (struct explore_scene){
		.setup = &explorer->setup, .queues = &explorer->queues, .machines = explorer->machines};
	mr_world_begin(&explorer->scene, &whole);
	if (!add_state(explorer, &whole, 0, (struct explore_move){0})) {
		snprintf(error, error_size, "no memory for an exploration");
		mr_explorer_free(explorer);
		return NULL;
	}
	explorer->level_end = explorer->count;
	return explorer;
}

void mr_explorer_free(struct mr_explorer *explorer)
{
	if (!explorer)
		return;
	mr_machines_free(explorer->machines);
	mr_queues_clear(&explorer->queues);
	mr_store_clear(&explorer->worlds);
	free(explorer->places);
	free(explorer->slots);
	free(explorer->ending);
	free(explorer);
}

/* ---- The way to a violation ---- */

/* The states on the way, the beginning first; NULL if memory is short. */
static uint32_t *find_way(const struct mr_explorer *explorer, uint32_t *length)
{
	const uint32_t moves = explorer->result.path - explorer->has_last_move;
	uint32_t *way = calloc(moves + 1u, sizeof(*way));
	uint32_t at = explorer->last;

	*length = moves;
	for (uint32_t i = moves + 1; way && i-- > 0; at = explorer->places[at].parent)
		way[i] = at;
	return way;
}

/*
 * Whether the world is what it was. Machines are not compared: they may have other figures in them, such as offsets in
 * a stream, that came to decide something since and are part of their state now.
 */
static bool is_at(struct mr_explorer *explorer, const struct explore_whole *whole, uint32_t number)
{
	return keep_world(explorer, &whole->world) == explorer->places[number].world;
}

/* Once along the way; whether it led where it led before. */
static bool go_along(struct mr_explorer *explorer, const uint32_t *way, uint32_t length)
{
	struct explore_whole *whole = &explorer->end;
	struct explore_outcome outcome;

	mr_world_begin(&explorer->scene, whole);
	for (uint32_t i = 1; i <= length; i++)
		if (!mr_world_move(&explorer->scene, whole, explorer->places[way[i]].move, &outcome) ||
		    outcome.failed || outcome.violation != MR_PROPERTY_NONE || !is_at(explorer, whole, way[i]))
			return false;
	if (!explorer->has_last_move)
		return true;
	return mr_world_move(&explorer->scene, whole, explorer->last_move, &outcome) && !outcome.failed &&
	       outcome.violation == explorer->result.violation.property;
}

bool mr_explorer_replay(struct mr_explorer *explorer, const struct mr_watch *watch, mr_explore_teller *teller,
			void *argument)
{
	uint32_t length;
	uint32_t *way = find_way(explorer, &length);
	bool same;

	if (!way)
		return false;
	explorer->scene.lines = &explorer->lines;
	mr_told_begin(&explorer->lines);
	mr_machines_go_live(explorer->machines, NULL);
	same = go_along(explorer, way, length);
	if (same) {
		mr_told_begin_again(&explorer->lines, watch);
		explorer->lines.teller = teller;
		explorer->lines.argument = argument;
		mr_machines_go_live(explorer->machines, watch);
		same = go_along(explorer, way, length);
	}
	free(way);
	return same;
}

const struct mr_outgoing_config *mr_explorer_source_config(const struct mr_explorer *explorer)
{
	return mr_machines_source_config(explorer->machines);
}

const struct mr_incoming_config *mr_explorer_destination_config(const struct mr_explorer *explorer)
{
	return mr_machines_destination_config(explorer->machines);
}

struct mr_bytes mr_explorer_description(const struct mr_explorer *explorer)
{
	return mr_machines_description(explorer->machines);
}

void mr_explorer_statistics(const struct mr_explorer *explorer, struct mr_outgoing_statistics *statistics)
{
	mr_outgoing_statistics(mr_machines_source(explorer->machines), statistics);
}

void mr_explorer_source_page(const struct mr_explorer *explorer, uint32_t block, uint64_t page, uint8_t *out)
{
	const uint32_t number = explorer->setup.blocks[block].first + (uint32_t)page;

	memcpy(out, mr_machines_content(explorer->machines, number, version_of(explorer->end.world.versions, number)),
	       explorer->setup.page_size);
}
