/* explore_actions.c: what the machines' actions make of the world, and which properties they break. */
#include "sim/world/explore_world.h"

#include <string.h>

/* ---- The source ---- */

static void append(const struct explore_scene *scene, const struct explore_effect *effect,
		   struct explore_connection *connection, bool backward)
{
	uint32_t *queue = backward ? &connection->backward : &connection->forward;

	*queue = mr_queues_append(scene->queues, *queue, effect->message);
}

/* Writing to a connection that is broken fails, which is when the source notices. */
static void send(const struct explore_scene *scene, struct explore_whole *whole, struct explore_outcome *outcome)
{
	const struct explore_effect *effect = &outcome->effect;
	struct explore_connection *connection = &whole->world.connections[effect->channel];
	const struct explore_operation broken = {.side = SOURCE, .code = OPERATION_BROKEN, .channel = effect->channel};

	if (connection->role == MR_ROLE_PREEMPT)
		mr_world_see(outcome, MR_SOMETIMES_URGENT);
	mr_told_sent(scene, effect->channel, false, effect->message);
	if (!(connection->flags & (CONNECTION_CUT | CONNECTION_SHUT))) {
		append(scene, effect, connection, false);
		if (effect->detail == MR_VMDESCRIPTION)
			connection->flags |= CONNECTION_WHOLE;
	} else if (!(connection->flags & CONNECTION_NOTICED)) {
		connection->flags |= CONNECTION_NOTICED;
		mr_world_tell(scene, whole, broken, outcome);
	}
}

static void connect(const struct explore_scene *scene, struct explore_whole *whole, struct explore_outcome *outcome)
{
	const struct explore_effect *effect = &outcome->effect;
	struct explore_world *world = &whole->world;
	struct explore_connection *connection;

	if (effect->channel != world->connection_count || world->connection_count == EXPLORE_CONNECTIONS_MAX) {
		mr_world_violate(outcome, MR_PROPERTY_ACTION, "the source opens connection %u, expected %u",
				 effect->channel, world->connection_count);
		return;
	}
	connection = &world->connections[world->connection_count++];
	*connection = (struct explore_connection){.role = effect->role};
	if (world->ends[DESTINATION] != END_NONE)
		connection->flags = CONNECTION_CLOSED | CONNECTION_SHUT;
	else
		mr_told_open(scene, effect->channel);
	mr_world_settle(connection);
}

static void close_source(const struct explore_scene *scene, struct explore_world *world, uint32_t channel)
{
	struct explore_connection *connection = &world->connections[channel];

	mr_told_closed(scene, channel, true);
	connection->flags |= CONNECTION_CLOSED;
	if (!(connection->flags & CONNECTION_CUT))
		connection->flags |= FORWARD_ENDED;
	mr_world_settle(connection);
}

/* What was handed over is logged again only once its chunk was cleared; releases without that clear at once. */
static void fetch_log(const struct explore_scene *scene, struct explore_world *world)
{
	if (scene->setup->profiles[SOURCE].on[MR_SWITCH_LOG_CLEARED_LATE])
		world->unlogged |= world->dirty;
	world->dirty = 0;
}

static void start_log(const struct explore_scene *scene, struct explore_world *world)
{
	world->asked |= LOGGING;
	world->dirty = 0;
	if (scene->setup->profiles[SOURCE].on[MR_SWITCH_LOG_CLEARED_LATE])
		world->unlogged = (page_set)((1u << scene->setup->pages) - 1);
}

static void stop_log(struct explore_world *world)
{
	world->asked &= (uint8_t)~LOGGING;
	world->dirty = world->unlogged = 0;
}

static void see_status(struct explore_whole *whole, struct explore_outcome *outcome)
{
	struct explore_world *world = &whole->world;

	/* Only a recovery leads there from the operator's command. */
	if (outcome->effect.detail == MR_SOURCE_STATUS_POSTCOPY_ACTIVE && world->recoveries > world->recovered) {
		mr_world_see(outcome, world->recovered ? MR_SOMETIMES_RECOVERED_TWICE : MR_SOMETIMES_RECOVERED);
		world->recovered = world->recoveries;
	}
}

static bool is_undisturbed(const struct explore_world *world)
{
	return !world->cuts_main && !world->cuts_preempt && !world->cuts_all &&
	       !(world->asked & (ASKED_CANCEL | ASKED_PAUSE));
}

/*
 * Whoever starts the guest has to know that nobody else runs it. A source that heard nothing of the end cannot, and
 * lets it go on; the destination has heard nothing either, and goes on as well.
 */
static void run_twice(const struct explore_scene *scene, const struct explore_whole *whole,
		      struct explore_outcome *outcome)
{
	const bool planted = scene->setup->options.canary == MR_CANARY_GUEST_RUNS;
	const bool switched = whole->world.caught != 0;

	if (is_undisturbed(&whole->world) || planted)
		mr_world_violate(outcome, MR_PROPERTY_ONE_GUEST, "the guest runs at both sides");
	else
		outcome->end = switched ? MR_EXPLORE_TWO_GUESTS_SWITCHED : MR_EXPLORE_TWO_GUESTS;
}

static void start_at_source(const struct explore_scene *scene, struct explore_whole *whole,
			    struct explore_outcome *outcome)
{
	whole->world.guest |= GUEST_AT_SOURCE;
	if (whole->world.guest & GUEST_AT_DESTINATION)
		run_twice(scene, whole, outcome);
}

static void end(struct explore_world *world, unsigned side, unsigned how, struct explore_outcome *outcome)
{
	const char *name = side == SOURCE ? "source" : "destination";

	if (world->ends[side] != END_NONE)
		mr_world_violate(outcome, MR_PROPERTY_END_ONCE, "the %s ends twice", name);
	world->ends[side] = (uint8_t)how;
	if (how == END_FAILED && is_undisturbed(world))
		mr_world_violate(outcome, MR_PROPERTY_LEGAL_END, "the %s fails without a fault", name);
	if (side == SOURCE && how == END_FAILED)
		mr_world_see(outcome, MR_SOMETIMES_RETURNED);
}

void mr_world_take_source(const struct explore_scene *scene, struct explore_whole *whole,
			  struct explore_outcome *outcome)
{
	const struct explore_effect *effect = &outcome->effect;
	struct explore_world *world = &whole->world;

	switch (effect->action) {
	case MR_SOURCE_ACTION_SEND:
		send(scene, whole, outcome);
		break;
	case MR_SOURCE_ACTION_CONNECT:
		connect(scene, whole, outcome);
		break;
	case MR_SOURCE_ACTION_CLOSE:
		close_source(scene, world, effect->channel);
		break;
	case MR_SOURCE_ACTION_STATUS:
		see_status(whole, outcome);
		break;
	case MR_SOURCE_ACTION_REQUEST:
		if (!effect->detail)
			mr_world_see(outcome, MR_SOMETIMES_REQUEST_STALE);
		break;
	case MR_SOURCE_ACTION_LOG_START:
		start_log(scene, world);
		break;
	case MR_SOURCE_ACTION_LOG_SYNC:
		fetch_log(scene, world);
		break;
	case MR_SOURCE_ACTION_LOG_CLEAR:
		world->unlogged &= (page_set)~effect->pages;
		break;
	case MR_SOURCE_ACTION_LOG_STOP:
		stop_log(world);
		break;
	case MR_SOURCE_ACTION_STOP_GUEST:
		if (scene->setup->options.canary != MR_CANARY_GUEST_RUNS)
			world->guest &= (uint8_t)~GUEST_AT_SOURCE;
		break;
	case MR_SOURCE_ACTION_START_GUEST:
		start_at_source(scene, whole, outcome);
		break;
	case MR_SOURCE_ACTION_PAUSED:
		world->asked |= SOURCE_PAUSED;
		break;
	case MR_SOURCE_ACTION_FINISHED:
		end(world, SOURCE, END_FINISHED, outcome);
		break;
	case MR_SOURCE_ACTION_FAILED:
		end(world, SOURCE, END_FAILED, outcome);
		break;
	default:
		break;
	}
}

/* ---- The destination ---- */

static void send_back(const struct explore_scene *scene, struct explore_world *world, struct explore_outcome *outcome)
{
	const struct explore_effect *effect = &outcome->effect;
	struct explore_connection *connection;

	if (effect->channel >= world->connection_count) {
		mr_world_violate(outcome, MR_PROPERTY_ACTION, "the destination sends on connection %u, which is none",
				 effect->channel);
		return;
	}
	connection = &world->connections[effect->channel];
	if (effect->detail == MR_RETURN_REQ_PAGES)
		mr_world_see(outcome, MR_SOMETIMES_SHORT_REQUEST);
	if (connection->flags & CONNECTION_CUT)
		return;
	mr_told_sent(scene, effect->channel, true, effect->message);
	if (!(connection->flags & CONNECTION_CLOSED))
		append(scene, effect, connection, true);
}

static void take_content(const struct explore_scene *scene, struct explore_world *world,
			 struct explore_outcome *outcome)
{
	const struct explore_effect *effect = &outcome->effect;
	char text[PAGE_TEXT_MAX];

	for (uint32_t page = 0; page < scene->setup->pages; page++) {
		const page_set bit = (page_set)(1u << page);
		const uint32_t version = version_of(effect->versions, page);

		if (!(effect->pages & bit))
			continue;
		if (version == VERSION_WRONG)
			mr_world_violate(outcome, MR_PROPERTY_CONTENT, "%s gets what it never held",
					 mr_world_page_text(scene->setup, bit, text));
		else if ((world->present & bit) && version < version_of(world->arrived, page))
			mr_world_violate(outcome, MR_PROPERTY_NOT_OLDER, "%s gets version %u, and was %u",
					 mr_world_page_text(scene->setup, bit, text), version,
					 version_of(world->arrived, page));
		world->arrived = with_version(world->arrived, page, version);
	}
	world->present |= effect->pages;
}

static void load_pages(const struct explore_scene *scene, struct explore_world *world, struct explore_outcome *outcome)
{
	char text[PAGE_TEXT_MAX];

	if (world->guest & GUEST_AT_DESTINATION && outcome->effect.pages)
		mr_world_violate(outcome, MR_PROPERTY_NOTHING_OVERWRITTEN, "%s is written while the guest runs",
				 mr_world_page_text(scene->setup, outcome->effect.pages, text));
	take_content(scene, world, outcome);
}

static void place(const struct explore_scene *scene, struct explore_world *world, struct explore_outcome *outcome)
{
	const page_set pages = outcome->effect.pages;
	char text[PAGE_TEXT_MAX];

	if (world->present & pages)
		mr_world_violate(outcome, MR_PROPERTY_PLACED_ONCE, "%s is placed, and is there",
				 mr_world_page_text(scene->setup, world->present & pages, text));
	take_content(scene, world, outcome);
	for (unsigned vcpu = 0; vcpu < scene->setup->vcpus; vcpu++) {
		const unsigned waits = world->vcpus[vcpu] & (VCPU_TOLD - 1u);

		if (waits && (pages >> (waits - 1) & 1) &&
		    (vcpu || scene->setup->options.canary != MR_CANARY_LOST_WAKE))
			world->vcpus[vcpu] = 0;
	}
}

static void discard(const struct explore_scene *scene, struct explore_world *world, struct explore_outcome *outcome)
{
	const page_set pages = outcome->effect.pages;
	char text[PAGE_TEXT_MAX];

	if (outcome->effect.detail == MR_POSTCOPY_DISCARD)
		mr_world_see(outcome, MR_SOMETIMES_DISCARD);
	if (world->guest & GUEST_AT_DESTINATION)
		mr_world_violate(outcome, MR_PROPERTY_NOTHING_OVERWRITTEN, "%s is discarded while the guest runs",
				 mr_world_page_text(scene->setup, pages, text));
	world->present &= (page_set)~pages;
	for (uint32_t page = 0; page < scene->setup->pages; page++)
		if (pages >> page & 1)
			world->arrived = with_version(world->arrived, page, 0);
}

/* Up to 8.1 nobody waits for the pages that were asked for last (E-25). */
static bool gives_up_early(const struct explore_scene *scene)
{
	const struct mr_profile *profile = &scene->setup->profiles[DESTINATION];

	return (scene->setup->scenario->migration.capabilities & MR_CAPABILITY_POSTCOPY_PREEMPT) &&
	       profile->on[MR_SWITCH_PREEMPT_SHUT] && !profile->on[MR_SWITCH_CLEANUP_WAITS_FOR_REQUESTS];
}

static void give_up_catching(const struct explore_scene *scene, struct explore_world *world,
			     struct explore_outcome *outcome)
{
	const page_set missing = outcome->effect.pages & (page_set)~world->present;
	char text[PAGE_TEXT_MAX];

	world->caught &= (page_set)~outcome->effect.pages;
	if (!(world->guest & GUEST_AT_DESTINATION) || !missing)
		return;
	if (gives_up_early(scene))
		outcome->end = MR_EXPLORE_UNFETCHED;
	else
		mr_world_violate(outcome, MR_PROPERTY_CAUGHT, "%s is missing, and not caught any more",
				 mr_world_page_text(scene->setup, missing, text));
}

/* Pages that are there have to be what the source's are, and others have to be caught. */
static void check_memory(const struct explore_scene *scene, const struct explore_world *world,
			 struct explore_outcome *outcome)
{
	char text[PAGE_TEXT_MAX];

	for (uint32_t page = 0; page < scene->setup->pages; page++) {
		const page_set bit = (page_set)(1u << page);

		if (!(world->present & bit) && !(world->caught & bit))
			mr_world_violate(outcome, MR_PROPERTY_CAUGHT,
					 "the guest runs, and %s is missing and not caught",
					 mr_world_page_text(scene->setup, bit, text));
		if ((world->present & bit) && version_of(world->arrived, page) != version_of(world->versions, page))
			mr_world_violate(outcome, MR_PROPERTY_STALE_DISCARDED,
					 "the guest runs, and %s is version %u, at the source %u",
					 mr_world_page_text(scene->setup, bit, text), version_of(world->arrived, page),
					 version_of(world->versions, page));
	}
}

/* Its process is about to end, with the guest in it: true if that is what happens. */
static bool fails_with_guest(const struct explore_scene *scene, const struct explore_whole *whole,
			     struct explore_outcome *outcome)
{
	const unsigned status = mr_machines_glance(scene->machines, DESTINATION, whole->machines[DESTINATION]).status;

	if (status != MR_STATUS_FAILED || !(whole->world.guest & GUEST_AT_DESTINATION) || is_undisturbed(&whole->world))
		return false;
	if (outcome->end == MR_EXPLORE_END_COUNT)
		outcome->end = MR_EXPLORE_DOOMED;
	return true;
}

static void start_at_destination(const struct explore_scene *scene, struct explore_whole *whole,
				 struct explore_outcome *outcome)
{
	struct explore_world *world = &whole->world;

	world->guest |= GUEST_AT_DESTINATION | GUEST_HAS_MOVED;
	if (world->guest & GUEST_AT_SOURCE)
		run_twice(scene, whole, outcome);
	if (world->devices < scene->setup->devices)
		mr_world_violate(outcome, MR_PROPERTY_RUN_AFTER_PACKAGE, "the guest runs with %u of %u devices loaded",
				 world->devices, scene->setup->devices);
	if (!fails_with_guest(scene, whole, outcome))
		check_memory(scene, world, outcome);
	if (outcome->effect.detail == MR_POSTCOPY_RUNNING)
		mr_world_see(outcome, MR_SOMETIMES_SWITCHED);
}

/* It reads and sends nothing more there. */
static void close_destination(const struct explore_scene *scene, struct explore_world *world, uint32_t channel)
{
	struct explore_connection *connection;

	if (channel >= world->connection_count || (world->connections[channel].flags & CONNECTION_SHUT))
		return;
	connection = &world->connections[channel];
	if (!(connection->flags & CONNECTION_CUT))
		mr_told_closed(scene, channel, false);
	connection->flags |= CONNECTION_SHUT | CONNECTION_CUT;
	mr_world_settle(connection);
}

void mr_world_refuse_waiting(const struct explore_scene *scene, struct explore_world *world, bool main_only)
{
	for (uint32_t i = 0; i < world->connection_count; i++)
		if (!(world->connections[i].flags & CONNECTION_ACCEPTED) &&
		    (!main_only || mr_world_is_main((enum mr_role)world->connections[i].role)))
			close_destination(scene, world, i);
}

static void see_request(struct explore_outcome *outcome)
{
	if (outcome->effect.detail == MR_REQUEST_DROPPED)
		mr_world_see(outcome, MR_SOMETIMES_FAULT_DROPPED);
	if (outcome->effect.detail == MR_REQUEST_REPEATED)
		mr_world_see(outcome, MR_SOMETIMES_FAULT_REPEATED);
}

/* What a finished one has sent arrives; a failed one's process ends, with its guest and its connections. */
static void end_destination(const struct explore_scene *scene, struct explore_whole *whole, unsigned how,
			    struct explore_outcome *outcome)
{
	struct explore_world *world = &whole->world;

	end(world, DESTINATION, how, outcome);
	for (uint32_t i = 0; i < world->connection_count; i++) {
		struct explore_connection *connection = &world->connections[i];

		if (how == END_FAILED || !(connection->flags & CONNECTION_ACCEPTED)) {
			close_destination(scene, world, i);
			continue;
		}
		connection->flags |= CONNECTION_SHUT;
		if (!(connection->flags & CONNECTION_CUT)) {
			mr_told_closed(scene, i, false);
			connection->flags |= BACKWARD_ENDED;
		}
		mr_world_settle(connection);
	}
	if (how == END_FAILED) {
		world->guest &= (uint8_t)~GUEST_AT_DESTINATION;
		memset(world->vcpus, 0, sizeof(world->vcpus));
	}
}

void mr_world_take_destination(const struct explore_scene *scene, struct explore_whole *whole,
			       struct explore_outcome *outcome)
{
	const struct explore_effect *effect = &outcome->effect;
	struct explore_world *world = &whole->world;

	switch (effect->action) {
	case MR_ACTION_SEND:
		send_back(scene, world, outcome);
		break;
	case MR_ACTION_RAM_RECORD:
		load_pages(scene, world, outcome);
		break;
	case MR_ACTION_PLACE:
		place(scene, world, outcome);
		break;
	case MR_ACTION_DISCARD:
		discard(scene, world, outcome);
		break;
	case MR_ACTION_REGISTER:
		world->caught |= effect->pages;
		break;
	case MR_ACTION_UNREGISTER:
		give_up_catching(scene, world, outcome);
		break;
	case MR_ACTION_REQUEST:
		see_request(outcome);
		break;
	case MR_ACTION_LOAD_DEVICE:
		world->devices++;
		break;
	case MR_ACTION_STATUS:
		/* A recovery comes to another address: who waits at the old one waits in vain. */
		if (effect->detail == MR_STATUS_POSTCOPY_PAUSED)
			mr_world_refuse_waiting(scene, world, false);
		fails_with_guest(scene, whole, outcome);
		break;
	case MR_ACTION_START_GUEST:
		start_at_destination(scene, whole, outcome);
		break;
	case MR_ACTION_CLOSE:
		close_destination(scene, world, effect->channel);
		break;
	case MR_ACTION_FINISHED:
		end_destination(scene, whole, END_FINISHED, outcome);
		break;
	case MR_ACTION_COMMAND_DONE:
		if (effect->refused)
			outcome->end = MR_EXPLORE_REFUSED;
		break;
	case MR_ACTION_FAILED:
		end_destination(scene, whole, END_FAILED, outcome);
		break;
	default:
		break;
	}
}

/* ---- Where nobody can go on ---- */

static page_set different(const struct explore_setup *setup, const struct explore_world *world)
{
	page_set pages = 0;

	for (uint32_t page = 0; page < setup->pages; page++)
		if (version_of(world->versions, page) != version_of(world->arrived, page) ||
		    !(world->present >> page & 1))
			pages |= (page_set)(1u << page);
	return pages;
}

/* A page that is missing may be touched at any time. */
static bool does_anybody_wait(const struct explore_scene *scene, const struct explore_world *world)
{
	if ((world->guest & GUEST_AT_DESTINATION) && (scene->setup->touched & ~world->present) && scene->setup->vcpus)
		return true;
	for (unsigned vcpu = 0; vcpu < MR_EXPLORE_VCPUS_MAX; vcpu++)
		if (world->vcpus[vcpu])
			return true;
	return false;
}

/* The guest runs at the destination alone, and has all of its memory. */
static bool is_moved(const struct explore_scene *scene, const struct explore_world *world)
{
	return world->guest == (GUEST_AT_DESTINATION | GUEST_HAS_MOVED) && !different(scene->setup, world) &&
	       !does_anybody_wait(scene, world);
}

/* A preempt channel is broken, and pages are missing. */
static bool is_cut_off(const struct explore_scene *scene, const struct explore_world *world)
{
	for (uint32_t i = 0; i < world->connection_count; i++)
		if (world->connections[i].role == MR_ROLE_PREEMPT && (world->connections[i].flags & CONNECTION_CUT))
			return different(scene->setup, world) != 0;
	return false;
}

static enum mr_explore_end find_end(const struct explore_scene *scene, const struct explore_whole *whole)
{
	const struct explore_world *world = &whole->world;
	const unsigned source = mr_machines_glance(scene->machines, SOURCE, whole->machines[SOURCE]).status;
	const unsigned destination =
		mr_machines_glance(scene->machines, DESTINATION, whole->machines[DESTINATION]).status;
	const bool paused = source == MR_SOURCE_STATUS_POSTCOPY_PAUSED;

	if (is_moved(scene, world) && world->ends[DESTINATION] == END_FINISHED && world->ends[SOURCE] == END_FINISHED)
		return MR_EXPLORE_COMPLETED;
	if (is_moved(scene, world) && world->ends[DESTINATION] == END_FINISHED &&
	    (paused || world->ends[SOURCE] == END_FAILED))
		return MR_EXPLORE_UNTHANKED;
	if (is_moved(scene, world) && destination != MR_STATUS_POSTCOPY_PAUSED &&
	    !scene->setup->scenario->migration.strict)
		return MR_EXPLORE_ASLEEP;
	if (world->ends[SOURCE] == END_FAILED && (world->guest & GUEST_AT_SOURCE) &&
	    world->ends[DESTINATION] == END_FAILED)
		return MR_EXPLORE_RETURNED;
	if (paused && destination == MR_STATUS_POSTCOPY_PAUSED && world->recoveries == scene->setup->options.recoveries)
		return MR_EXPLORE_PAUSED;
	if ((paused || world->ends[SOURCE] != END_NONE) && world->ends[DESTINATION] == END_FAILED)
		return MR_EXPLORE_STRANDED;
	if (world->ends[SOURCE] == END_FAILED && destination == MR_STATUS_POSTCOPY_PAUSED)
		return MR_EXPLORE_ABANDONED;
	if ((world->guest & GUEST_AT_DESTINATION) && destination != MR_STATUS_POSTCOPY_PAUSED &&
	    is_cut_off(scene, world))
		return MR_EXPLORE_CUT_OFF;
	return MR_EXPLORE_END_COUNT;
}

void mr_world_judge_end(const struct explore_scene *scene, const struct explore_whole *whole,
			struct explore_outcome *outcome)
{
	const struct explore_world *world = &whole->world;
	const bool over = world->ends[SOURCE] == END_FINISHED && world->ends[DESTINATION] == END_FINISHED;
	char text[PAGE_TEXT_MAX];

	outcome->violation = MR_PROPERTY_NONE;
	outcome->seen = 0;
	outcome->end = find_end(scene, whole);
	if (outcome->end == MR_EXPLORE_COMPLETED)
		mr_world_see(outcome, MR_SOMETIMES_COMPLETED);
	if (outcome->end != MR_EXPLORE_END_COUNT)
		return;
	if (does_anybody_wait(scene, world))
		mr_world_violate(outcome, MR_PROPERTY_RESOLVED, "a vCPU waits for a page, and nobody can go on");
	else if (over && different(scene->setup, world))
		mr_world_violate(outcome, MR_PROPERTY_MEMORY, "%s is not what it was at the source",
				 mr_world_page_text(scene->setup, different(scene->setup, world), text));
	mr_world_violate(outcome, MR_PROPERTY_OVER, "nobody can go on: source %s, destination %s, the guest %s",
			 mr_source_status_name((enum mr_source_status)mr_machines_glance(scene->machines, SOURCE,
											 whole->machines[SOURCE])
						       .status),
			 mr_status_name((enum mr_status)mr_machines_glance(scene->machines, DESTINATION,
									   whole->machines[DESTINATION])
						.status),
			 world->guest & GUEST_AT_SOURCE        ? "at the source"
			 : world->guest & GUEST_AT_DESTINATION ? "at the destination"
							       : "stands");
}
