/* explore_world.c: what is around the machines: moves, and what an action makes of the world. */
#include "sim/world/explore_world.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- What is seen ---- */

void mr_world_see(struct explore_outcome *outcome, enum mr_sometimes event)
{
	outcome->seen |= (uint64_t)1 << event;
}

void mr_world_violate(struct explore_outcome *outcome, enum mr_property property, const char *format, ...)
{
	va_list arguments;

	if (outcome->violation != MR_PROPERTY_NONE)
		return;
	outcome->violation = property;
	va_start(arguments, format);
	vsnprintf(outcome->text, sizeof(outcome->text), format, arguments);
	va_end(arguments);
}

const char *mr_world_page_text(const struct explore_setup *setup, page_set pages, char text[PAGE_TEXT_MAX])
{
	uint32_t page = 0, block;

	while (page < setup->pages && !(pages >> page & 1))
		page++;
	if (page == setup->pages) {
		snprintf(text, PAGE_TEXT_MAX, "no page");
		return text;
	}
	block = mr_explore_block_of(setup, page);
	snprintf(text, PAGE_TEXT_MAX, "%.64s 0x%" PRIx32, setup->scenario->blocks[block].name,
		 (page - setup->blocks[block].first) * setup->page_size);
	return text;
}

/* ---- Connections ---- */

/* What makes no difference any more is alike; where nothing is under way on a broken connection, that is its end. */
void mr_world_settle(struct explore_connection *connection)
{
	if (connection->flags & CONNECTION_SHUT) {
		connection->forward = 0;
		connection->flags |= FORWARD_ENDED;
	}
	if (connection->flags & CONNECTION_CLOSED) {
		connection->backward = 0;
		connection->flags |= BACKWARD_ENDED;
	}
	if (connection->flags & CONNECTION_CUT) {
		if (!connection->forward)
			connection->flags |= FORWARD_ENDED;
		if (!connection->backward)
			connection->flags |= BACKWARD_ENDED;
	}
	if ((connection->flags & CONNECTION_SHUT) && (connection->flags & CONNECTION_CLOSED))
		connection->flags |= CONNECTION_CUT | CONNECTION_NOTICED | FORWARD_ENDED | BACKWARD_ENDED;
}

bool mr_world_is_main(enum mr_role role)
{
	return role == MR_ROLE_MAIN || role == MR_ROLE_RECOVERY;
}

/* The connection that the source opened last for this; NULL if there is none. */
struct explore_connection *mr_world_last(struct explore_world *world, bool main)
{
	for (uint32_t i = world->connection_count; i-- > 0;)
		if (mr_world_is_main((enum mr_role)world->connections[i].role) == main)
			return &world->connections[i];
	return NULL;
}

/* ---- Letting an actor go on ---- */

static void show(struct explore_operation *operation, const struct explore_scene *scene, uint32_t channel,
		 uint32_t queue, uint32_t messages, bool ends, bool broken)
{
	const bool all = messages >= mr_queues_count(scene->queues, queue);

	operation->windows[operation->window_count++] = (struct explore_window){
		.queue = all ? queue : mr_queues_first(scene->queues, queue, messages),
		.channel = (uint8_t)channel,
		.at_end = all && ends,
		.broken = all && ends && broken,
	};
}

/* What an actor of the destination may read: true if there is more than so many messages of each. */
static bool show_forward(const struct explore_scene *scene, const struct explore_world *world,
			 struct explore_operation *operation, uint32_t messages)
{
	bool more = false;

	operation->window_count = 0;
	if (operation->actor == MR_ACTOR_FAULT)
		return false;
	for (uint32_t i = 0; i < world->connection_count; i++) {
		const struct explore_connection *connection = &world->connections[i];
		const bool broken = connection->flags & CONNECTION_CUT;
		const bool ends =
			(connection->flags & FORWARD_ENDED) || ((connection->flags & CONNECTION_WHOLE) && !broken);

		if (!(connection->flags & CONNECTION_ACCEPTED) || (connection->flags & CONNECTION_SHUT) ||
		    mr_world_is_main((enum mr_role)connection->taken) == (operation->actor == MR_ACTOR_PREEMPT))
			continue;
		show(operation, scene, i, connection->forward, messages, ends, broken);
		more |= messages < mr_queues_count(scene->queues, connection->forward);
	}
	return more;
}

/* The same of the source's reader: it reads what it opened last. */
static bool show_backward(const struct explore_scene *scene, struct explore_world *world,
			  struct explore_operation *operation, uint32_t messages)
{
	const struct explore_connection *connection = mr_world_last(world, true);

	operation->window_count = 0;
	if (operation->actor != MR_SOURCE_RETURN || !connection || (connection->flags & CONNECTION_CLOSED))
		return false;
	show(operation, scene, (uint32_t)(connection - world->connections), connection->backward, messages,
	     connection->flags & BACKWARD_ENDED, connection->flags & CONNECTION_CUT);
	return messages < mr_queues_count(scene->queues, connection->backward);
}

/* By which the destination sends; NULL: none. */
static const struct explore_connection *last_accepted(const struct explore_world *world)
{
	for (uint32_t i = world->connection_count; i-- > 0;)
		if ((world->connections[i].flags & CONNECTION_ACCEPTED) &&
		    mr_world_is_main((enum mr_role)world->connections[i].taken))
			return &world->connections[i];
	return NULL;
}

/* Its host refuses what a broken connection is to send, and does not send it. */
static bool is_return_broken(const struct explore_world *world)
{
	const struct explore_connection *connection = last_accepted(world);

	return connection && (connection->flags & CONNECTION_CUT);
}

/* Bytes come to it message after message, until it does something. */
static const struct explore_effect *let_go(const struct explore_scene *scene, struct explore_whole *whole,
					   unsigned side, unsigned actor, unsigned variant)
{
	struct explore_operation operation = {
		.state = whole->machines[side],
		.side = (uint8_t)side,
		.code = OPERATION_STEP,
		.actor = (uint8_t)actor,
		.variant = (uint16_t)variant,
	};
	const struct explore_effect *effect;
	bool more = true;

	if (side == SOURCE) {
		operation.versions = whole->world.versions;
		operation.dirty = actor == MR_SOURCE_MIGRATION ? whole->world.dirty : 0;
		operation.fails = actor == MR_SOURCE_MIGRATION && whole->world.ends[DESTINATION] != END_NONE;
	} else {
		operation.fails = is_return_broken(&whole->world);
	}
	for (uint32_t messages = 0; more; messages++) {
		more = side == SOURCE ? show_backward(scene, &whole->world, &operation, messages)
				      : show_forward(scene, &whole->world, &operation, messages);
		effect = mr_machines_operate(scene->machines, &operation);
		if (effect->effect != EFFECT_NONE)
			break;
	}
	return effect;
}

/* Bytes that were taken are under way no more. */
static void take_bytes(const struct explore_scene *scene, struct explore_world *world, unsigned side,
		       const struct explore_effect *effect)
{
	struct explore_connection *connection;

	if (effect->read == NO_CHANNEL)
		return;
	connection = &world->connections[effect->read];
	if (side == SOURCE)
		connection->backward = mr_queues_take(scene->queues, connection->backward, effect->consumed);
	else
		connection->forward = mr_queues_take(scene->queues, connection->forward, effect->consumed);
	mr_world_settle(connection);
}

static void take_action(const struct explore_scene *scene, struct explore_whole *whole, unsigned side,
			struct explore_outcome *outcome)
{
	const struct explore_effect *effect = &outcome->effect;

	if (effect->effect == EFFECT_ILLEGAL)
		mr_world_violate(outcome, MR_PROPERTY_ACTION, "the %s does not take the answer to %s",
				 side == SOURCE ? "source" : "destination",
				 side == SOURCE ? mr_source_action_name((enum mr_source_action_kind)effect->action)
						: mr_action_name((enum mr_action_kind)effect->action));
	else if (effect->effect == EFFECT_ACTED && side == SOURCE)
		mr_world_take_source(scene, whole, outcome);
	else if (effect->effect == EFFECT_ACTED)
		mr_world_take_destination(scene, whole, outcome);
}

/* One step; false if the actor cannot go on. */
static bool step_once(const struct explore_scene *scene, struct explore_whole *whole, unsigned side, unsigned actor,
		      unsigned variant, struct explore_outcome *outcome)
{
	if (mr_machines_glance(scene->machines, side, whole->machines[side]).done >> actor & 1)
		return false;
	outcome->effect = *let_go(scene, whole, side, actor, variant);
	if (outcome->effect.effect == EFFECT_NONE || (variant && variant >= outcome->effect.variants))
		return false;
	if (outcome->effect.effect == EFFECT_FAILED) {
		outcome->failed = true;
		return true;
	}
	whole->machines[side] = outcome->effect.next;
	mr_text_step(scene, side, actor, variant, &outcome->effect);
	take_bytes(scene, &whole->world, side, &outcome->effect);
	take_action(scene, whole, side, outcome);
	return true;
}

static bool step(const struct explore_scene *scene, struct explore_whole *whole, unsigned side, unsigned actor,
		 unsigned variant, struct explore_outcome *outcome)
{
	if (!step_once(scene, whole, side, actor, variant, outcome))
		return false;
	outcome->variants = outcome->effect.variants;
	while (!outcome->failed && outcome->violation == MR_PROPERTY_NONE && outcome->end == MR_EXPLORE_END_COUNT &&
	       mr_local_goes_on(scene, whole, side, &outcome->effect) &&
	       step_once(scene, whole, side, actor, 0, outcome))
		;
	if (side == SOURCE && actor == MR_SOURCE_MIGRATION)
		whole->world.hurry = HURRY_NOBODY;
	return true;
}

/* The devices of precopy are read as a whole, whatever the limit. */
static bool ends_precopy(const struct explore_scene *scene, const struct explore_whole *whole)
{
	const bool stands =
		!(whole->world.guest & GUEST_AT_SOURCE) || scene->setup->options.canary == MR_CANARY_GUEST_RUNS;
	const unsigned status = mr_machines_glance(scene->machines, SOURCE, whole->machines[SOURCE]).status;

	return stands && (status == MR_SOURCE_STATUS_ACTIVE || status == MR_SOURCE_STATUS_PRE_SWITCHOVER ||
			  status == MR_SOURCE_STATUS_DEVICE);
}

/* A sender waits for room, if there is a limit. */
static bool has_room(const struct explore_scene *scene, struct explore_whole *whole, unsigned actor,
		     struct explore_outcome *outcome)
{
	const struct explore_connection *connection = mr_world_last(&whole->world, actor == MR_SOURCE_MIGRATION);
	const uint32_t limit = scene->setup->options.in_flight;

	if (limit == 0 || !connection || (connection->flags & (CONNECTION_CUT | CONNECTION_SHUT | CONNECTION_CLOSED)) ||
	    mr_queues_count(scene->queues, connection->forward) < limit || ends_precopy(scene, whole))
		return true;
	mr_world_see(outcome, MR_SOMETIMES_SENDER_WAITED);
	return false;
}

static bool step_source(const struct explore_scene *scene, struct explore_whole *whole, struct explore_move move,
			struct explore_outcome *outcome)
{
	return has_room(scene, whole, move.first, outcome) &&
	       step(scene, whole, SOURCE, move.first, move.second + 256u * move.third, outcome);
}

/* So does the fault handler, who sends most of what comes back. */
static bool has_room_back(const struct explore_scene *scene, const struct explore_whole *whole,
			  struct explore_outcome *outcome)
{
	const struct explore_connection *connection = last_accepted(&whole->world);
	const uint32_t limit = scene->setup->options.in_flight;

	if (limit == 0 || !connection || (connection->flags & (CONNECTION_CUT | CONNECTION_SHUT | CONNECTION_CLOSED)) ||
	    mr_queues_count(scene->queues, connection->backward) < limit)
		return true;
	mr_world_see(outcome, MR_SOMETIMES_SENDER_WAITED);
	return false;
}

static bool step_destination(const struct explore_scene *scene, struct explore_whole *whole, struct explore_move move,
			     struct explore_outcome *outcome)
{
	return (move.first != MR_ACTOR_FAULT || has_room_back(scene, whole, outcome)) &&
	       step(scene, whole, DESTINATION, move.first, 0, outcome);
}

/* ---- Telling a machine something ---- */

bool mr_world_tell(const struct explore_scene *scene, struct explore_whole *whole, struct explore_operation operation,
		   struct explore_outcome *outcome)
{
	const struct explore_effect *effect;

	operation.state = whole->machines[operation.side];
	effect = mr_machines_operate(scene->machines, &operation);
	outcome->failed |= effect->effect == EFFECT_FAILED;
	if (effect->effect != EFFECT_FAILED)
		whole->machines[operation.side] = effect->next;
	return effect->effect == EFFECT_ACTED;
}

/* Releases that do not look at the first bytes go by the order of connections. */
static enum mr_role role_there(const struct explore_scene *scene, const struct explore_world *world,
			       const struct explore_connection *connection)
{
	if (scene->setup->profiles[DESTINATION].on[MR_SWITCH_CHANNEL_PEEK] || connection->role == MR_ROLE_RECOVERY)
		return (enum mr_role)connection->role;
	if (world->accepted == 0)
		return MR_ROLE_MAIN;
	return connection->role == MR_ROLE_MAIN ? MR_ROLE_PREEMPT : (enum mr_role)connection->role;
}

static bool accept_connection(const struct explore_scene *scene, struct explore_whole *whole, struct explore_move move,
			      struct explore_outcome *outcome)
{
	struct explore_connection *connection = &whole->world.connections[move.first];
	const struct explore_operation operation = {.side = DESTINATION,
						    .code = OPERATION_OPEN,
						    .channel = move.first,
						    .role = (uint8_t)role_there(scene, &whole->world, connection)};

	if ((connection->flags & (CONNECTION_ACCEPTED | CONNECTION_SHUT)) || whole->world.ends[DESTINATION] != END_NONE)
		return false;
	connection->flags |= CONNECTION_ACCEPTED;
	connection->taken = operation.role;
	whole->world.accepted++;
	mr_text_move(scene, move);
	if (!mr_world_tell(scene, whole, operation, outcome)) {
		connection->flags |= CONNECTION_SHUT | CONNECTION_CUT;
		mr_world_settle(connection);
	}
	/* One recovery at a time: another attempt comes to nothing. */
	if (operation.role == MR_ROLE_RECOVERY)
		mr_world_refuse_waiting(scene, &whole->world, true);
	mr_told_accepted(scene, move.first);
	return true;
}

/* ---- The guest ---- */

static bool can_tell(const struct explore_scene *scene, const struct explore_whole *whole, unsigned vcpu)
{
	const unsigned waits = whole->world.vcpus[vcpu];

	return waits && !(waits & VCPU_TOLD) &&
	       mr_machines_glance(scene->machines, DESTINATION, whole->machines[DESTINATION]).takes_fault;
}

static bool tell_fault(const struct explore_scene *scene, struct explore_whole *whole, struct explore_move move,
		       struct explore_outcome *outcome)
{
	uint8_t *vcpu = &whole->world.vcpus[move.first];
	const struct explore_operation operation = {
		.side = DESTINATION, .code = OPERATION_FAULT, .actor = move.first, .page = (uint8_t)(*vcpu - 1)};

	if (!can_tell(scene, whole, move.first))
		return false;
	*vcpu |= VCPU_TOLD;
	mr_text_move(scene, (struct explore_move){.kind = MOVE_TELL, .first = move.first});
	if (!mr_world_tell(scene, whole, operation, outcome) && !outcome->failed)
		mr_world_violate(outcome, MR_PROPERTY_ACTION, "the fault handler does not take a fault that it wants");
	return true;
}

/* vCPUs are alike: of those that run, the first is meant. */
static bool touch(const struct explore_scene *scene, struct explore_whole *whole, struct explore_move move,
		  struct explore_outcome *outcome)
{
	struct explore_world *world = &whole->world;
	char text[PAGE_TEXT_MAX];

	if (!(world->guest & GUEST_AT_DESTINATION) || world->vcpus[move.first] || (world->present >> move.second & 1))
		return false;
	for (unsigned i = 0; i < move.first; i++)
		if (!world->vcpus[i])
			return false;
	world->vcpus[move.first] = (uint8_t)(move.second + 1);
	if (!scene->setup->options.full && !can_tell(scene, whole, move.first)) {
		world->vcpus[move.first] = 0;
		return false;
	}
	mr_world_see(outcome, MR_SOMETIMES_FAULT);
	mr_text_move(scene, move);
	if (!(world->caught >> move.second & 1))
		mr_world_violate(outcome, MR_PROPERTY_CAUGHT, "vCPU %u touches %s, which is missing and not caught",
				 move.first, mr_world_page_text(scene->setup, (page_set)(1u << move.second), text));
	return scene->setup->options.full || tell_fault(scene, whole, move, outcome);
}

/*
 * Only the migration thread goes by it, so it has to go on next: false if it cannot. On a way that was found it could,
 * and live machines are not to be let go on to see.
 */
static bool hurry(const struct explore_scene *scene, struct explore_whole *whole, struct explore_outcome *outcome)
{
	if (scene->setup->options.full)
		return true;
	whole->world.hurry = HURRY_MIGRATION;
	return scene->lines || (has_room(scene, whole, MR_SOURCE_MIGRATION, outcome) &&
				let_go(scene, whole, SOURCE, MR_SOURCE_MIGRATION, 0)->effect != EFFECT_NONE);
}

/* Writes to pages that the log has handed over are logged again once it was told so (SRC-008). */
static bool write_page(const struct explore_scene *scene, struct explore_whole *whole, struct explore_move move,
		       struct explore_outcome *outcome)
{
	struct explore_world *world = &whole->world;
	const page_set page = (page_set)(1u << move.first);
	const bool lost = scene->setup->options.canary == MR_CANARY_LOST_WRITE && move.first == 0;

	if (!(world->guest & GUEST_AT_SOURCE) || !(world->asked & LOGGING) ||
	    world->writes == scene->setup->options.writes)
		return false;
	mr_text_move(scene, move);
	world->writes++;
	world->versions = with_version(world->versions, move.first, version_of(world->versions, move.first) + 1);
	if (!(world->unlogged & page) && !lost)
		world->dirty |= page;
	return hurry(scene, whole, outcome);
}

/* ---- The operator ---- */

/* The destination has a connection that it has not given up, though its status may not say so yet. */
static bool is_recovering(const struct explore_world *world)
{
	const struct explore_connection *connection = last_accepted(world);

	return connection && !(connection->flags & CONNECTION_SHUT);
}

/* Each is given where it has an effect: that it may be refused elsewhere is not what is explored. */
static bool is_time_for(const struct explore_scene *scene, const struct explore_whole *whole, unsigned command)
{
	const struct explore_setup *setup = scene->setup;
	const unsigned status = mr_machines_glance(scene->machines, SOURCE, whole->machines[SOURCE]).status;
	const unsigned there = mr_machines_glance(scene->machines, DESTINATION, whole->machines[DESTINATION]).status;
	const unsigned asked = whole->world.asked;

	switch (command) {
	case MR_SOURCE_COMMAND_START_POSTCOPY:
		return (setup->scenario->migration.capabilities & MR_CAPABILITY_POSTCOPY_RAM) &&
		       !(asked & ASKED_POSTCOPY) && status == MR_SOURCE_STATUS_ACTIVE;
	case MR_SOURCE_COMMAND_CONTINUE:
		return !(asked & ASKED_CONTINUE) && status == MR_SOURCE_STATUS_PRE_SWITCHOVER;
	case MR_SOURCE_COMMAND_PAUSE:
		return setup->pauses && !(asked & ASKED_PAUSE) && status == MR_SOURCE_STATUS_POSTCOPY_ACTIVE;
	case MR_SOURCE_COMMAND_CANCEL:
		return setup->cancels && !(asked & ASKED_CANCEL) && status != MR_SOURCE_STATUS_NONE &&
		       whole->world.ends[SOURCE] == END_NONE;
	default:
		return (asked & SOURCE_PAUSED) && there == MR_STATUS_POSTCOPY_PAUSED && !is_recovering(&whole->world) &&
		       whole->world.recoveries < setup->options.recoveries;
	}
}

static bool give_command(const struct explore_scene *scene, struct explore_whole *whole, struct explore_move move,
			 struct explore_outcome *outcome)
{
	static const uint8_t flags[] = {
		[MR_SOURCE_COMMAND_START_POSTCOPY] = ASKED_POSTCOPY,
		[MR_SOURCE_COMMAND_CONTINUE] = ASKED_CONTINUE,
		[MR_SOURCE_COMMAND_CANCEL] = ASKED_CANCEL,
		[MR_SOURCE_COMMAND_PAUSE] = ASKED_PAUSE,
		[MR_SOURCE_COMMAND_RECOVER] = 0,
	};
	const struct explore_operation operation = {.side = SOURCE, .code = OPERATION_COMMAND, .actor = move.first};

	if (!is_time_for(scene, whole, move.first))
		return false;
	mr_text_move(scene, move);
	if (!mr_world_tell(scene, whole, operation, outcome))
		return outcome->failed;
	whole->world.asked |= flags[move.first];
	if (move.first == MR_SOURCE_COMMAND_RECOVER) {
		whole->world.asked &= (uint8_t)~SOURCE_PAUSED;
		whole->world.recoveries++;
	}
	if (move.first == MR_SOURCE_COMMAND_PAUSE)
		mr_world_see(outcome, MR_SOMETIMES_OPERATOR_PAUSED);
	if (move.first == MR_SOURCE_COMMAND_CANCEL)
		mr_world_see(outcome, MR_SOMETIMES_CANCELLED);
	return hurry(scene, whole, outcome);
}

/* ---- Cuts ---- */

static bool can_be_cut(const struct explore_world *world, const struct explore_connection *connection)
{
	if (connection->flags & (CONNECTION_CUT | CONNECTION_SHUT))
		return false;
	if ((connection->flags & CONNECTION_CLOSED) && !connection->forward)
		return false;
	return world->ends[DESTINATION] == END_NONE || connection->backward;
}

static void see_cut(const struct explore_scene *scene, const struct explore_whole *whole,
		    struct explore_outcome *outcome)
{
	switch (mr_machines_glance(scene->machines, SOURCE, whole->machines[SOURCE]).status) {
	case MR_SOURCE_STATUS_DEVICE:
	case MR_SOURCE_STATUS_PRE_SWITCHOVER:
	case MR_SOURCE_STATUS_POSTCOPY_DEVICE:
		mr_world_see(outcome, MR_SOMETIMES_CUT_SWITCH);
		break;
	case MR_SOURCE_STATUS_POSTCOPY_ACTIVE:
	case MR_SOURCE_STATUS_POSTCOPY_PAUSED:
		mr_world_see(outcome, MR_SOMETIMES_CUT_POSTCOPY);
		break;
	case MR_SOURCE_STATUS_POSTCOPY_RECOVER_SETUP:
	case MR_SOURCE_STATUS_POSTCOPY_RECOVER:
		mr_world_see(outcome, MR_SOMETIMES_CUT_RECOVERY);
		break;
	default:
		mr_world_see(outcome, MR_SOMETIMES_CUT_PRECOPY);
		break;
	}
}

static bool cut(const struct explore_scene *scene, struct explore_whole *whole, struct explore_move move,
		struct explore_outcome *outcome)
{
	struct explore_world *world = &whole->world;
	const struct explore_connection *main = mr_world_last(world, true), *preempt = mr_world_last(world, false);
	uint8_t *made[] = {&world->cuts_main, &world->cuts_preempt, &world->cuts_all};
	const uint32_t limits[] = {scene->setup->cuts_main, scene->setup->cuts_preempt, scene->setup->cuts_all};
	bool any = false;

	if (*made[move.first] == limits[move.first])
		return false;
	mr_text_move(scene, move);
	for (uint32_t i = 0; i < world->connection_count; i++) {
		struct explore_connection *connection = &world->connections[i];

		if (!can_be_cut(world, connection) || (move.first == CUT_MAIN && connection != main) ||
		    (move.first == CUT_PREEMPT && connection != preempt))
			continue;
		connection->flags |= CONNECTION_CUT;
		mr_told_cut(scene, i);
		mr_world_settle(connection);
		any = true;
	}
	*made[move.first] = (uint8_t)(*made[move.first] + any);
	if (any)
		see_cut(scene, whole, outcome);
	return any;
}

static bool lose(const struct explore_scene *scene, struct explore_whole *whole, struct explore_move move,
		 struct explore_outcome *outcome)
{
	struct explore_connection *connection = &whole->world.connections[move.first];
	const bool forward = move.second == LOSE_FORWARD || move.second == LOSE_FORWARD_HALF;
	const bool half = move.second == LOSE_FORWARD_HALF || move.second == LOSE_BACKWARD_HALF;
	uint32_t *queue = forward ? &connection->forward : &connection->backward;
	const uint8_t ended = forward ? FORWARD_ENDED : BACKWARD_ENDED;
	const uint32_t left = half && *queue ? mr_queues_half(scene->queues, *queue) : 0;

	(void)outcome;
	if (!(connection->flags & CONNECTION_CUT) || (connection->flags & ended) || !*queue || (half && !left))
		return false;
	mr_text_move(scene, move);
	*queue = left;
	connection->flags |= ended;
	mr_told_lost(scene, move.first, !forward, left);
	mr_world_settle(connection);
	return true;
}

/* ---- Moves ---- */

bool mr_world_move(const struct explore_scene *scene, struct explore_whole *whole, struct explore_move move,
		   struct explore_outcome *outcome)
{
	static bool (*const functions[MOVE_KIND_COUNT])(const struct explore_scene *, struct explore_whole *,
							struct explore_move, struct explore_outcome *) = {
		[MOVE_SOURCE] = step_source,
		[MOVE_DESTINATION] = step_destination,
		[MOVE_ACCEPT] = accept_connection,
		[MOVE_TOUCH] = touch,
		[MOVE_TELL] = tell_fault,
		[MOVE_WRITE] = write_page,
		[MOVE_COMMAND] = give_command,
		[MOVE_CUT] = cut,
		[MOVE_LOSE] = lose,
	};

	outcome->seen = 0;
	outcome->violation = MR_PROPERTY_NONE;
	outcome->end = MR_EXPLORE_END_COUNT;
	outcome->failed = false;
	outcome->variants = 1;
	return functions[move.kind](scene, whole, move, outcome);
}

struct move_list {
	struct explore_move *moves;
	unsigned count;
};

static void add(struct move_list *list, enum explore_move_kind kind, unsigned first, unsigned second)
{
	if (list->count < EXPLORE_MOVES_MAX)
		list->moves[list->count++] = (struct explore_move){(uint8_t)kind, (uint8_t)first, (uint8_t)second, 0};
}

/* A fault is one of a host page: its first page stands for all. */
static void add_touches(struct move_list *list, const struct explore_scene *scene, const struct explore_world *world)
{
	unsigned vcpu = 0;

	while (vcpu < scene->setup->vcpus && world->vcpus[vcpu])
		vcpu++;
	if (!(world->guest & GUEST_AT_DESTINATION) || vcpu == scene->setup->vcpus)
		return;
	for (unsigned page = 0; page < scene->setup->pages; page++) {
		const page_set host_page = mr_explore_host_page(scene->setup, page);

		if (!(world->present >> page & 1) && !(host_page & ((1u << page) - 1)) &&
		    (host_page & scene->setup->touched))
			add(list, MOVE_TOUCH, vcpu, page);
	}
}

/* One is made when the one before it stands, so they wait in their order. */
static void add_accepts(struct move_list *list, const struct explore_world *world)
{
	unsigned first = 0;

	while (first < world->connection_count &&
	       (world->connections[first].flags & (CONNECTION_ACCEPTED | CONNECTION_SHUT)))
		first++;
	if (first < world->connection_count)
		add(list, MOVE_ACCEPT, first, 0);
}

static void add_losses(struct move_list *list, const struct explore_world *world, enum explore_loss first,
		       uint8_t ended)
{
	for (unsigned i = 0; i < world->connection_count; i++) {
		if (!(world->connections[i].flags & CONNECTION_CUT) || (world->connections[i].flags & ended))
			continue;
		add(list, MOVE_LOSE, i, first);
		add(list, MOVE_LOSE, i, first + 1u);
	}
}

static void add_outside(struct move_list *list, const struct explore_scene *scene, const struct explore_whole *whole)
{
	const struct explore_world *world = &whole->world;

	if (world->writes < scene->setup->options.writes && (world->guest & GUEST_AT_SOURCE))
		for (unsigned page = 0; page < scene->setup->pages; page++)
			if (scene->setup->written >> page & 1)
				add(list, MOVE_WRITE, page, 0);
	for (unsigned command = 0; command < MR_SOURCE_COMMAND_COUNT; command++)
		if (is_time_for(scene, whole, command))
			add(list, MOVE_COMMAND, command, 0);
}

/* What concerns the source, and what it alone does. */
static void add_source(struct move_list *list, const struct explore_scene *scene, const struct explore_whole *whole)
{
	add_outside(list, scene, whole);
	add(list, MOVE_SOURCE, MR_SOURCE_MIGRATION, 0);
	if (whole->world.hurry == HURRY_MIGRATION)
		return;
	add(list, MOVE_SOURCE, MR_SOURCE_RETURN, 0);
	add_losses(list, &whole->world, LOSE_BACKWARD, BACKWARD_ENDED);
}

static void add_destination(struct move_list *list, const struct explore_scene *scene,
			    const struct explore_whole *whole)
{
	for (unsigned actor = 0; actor < MR_ACTOR_MULTIFD; actor++)
		add(list, MOVE_DESTINATION, actor, 0);
	add_accepts(list, &whole->world);
	add_losses(list, &whole->world, LOSE_FORWARD, FORWARD_ENDED);
	add_touches(list, scene, &whole->world);
	for (unsigned vcpu = 0; vcpu < scene->setup->vcpus; vcpu++)
		if (can_tell(scene, whole, vcpu))
			add(list, MOVE_TELL, vcpu, 0);
}

unsigned mr_world_moves(const struct explore_scene *scene, const struct explore_whole *whole, unsigned part,
			struct explore_move moves[EXPLORE_MOVES_MAX])
{
	const bool apart = mr_local_are_apart(scene, whole);
	struct move_list list = {moves, 0};

	if (part == 0)
		add_source(&list, scene, whole);
	if (whole->world.hurry == HURRY_NOBODY && part == apart)
		add_destination(&list, scene, whole);
	if (whole->world.hurry == HURRY_NOBODY && part == 0)
		for (unsigned which = 0; which < CUT_COUNT; which++)
			add(&list, MOVE_CUT, which, 0);
	return list.count;
}

void mr_world_begin(const struct explore_scene *scene, struct explore_whole *whole)
{
	*whole = (struct explore_whole){
		.machines = {mr_machines_beginning(scene->machines, SOURCE),
			     mr_machines_beginning(scene->machines, DESTINATION)},
		.world = {.guest = GUEST_AT_SOURCE},
	};
}
