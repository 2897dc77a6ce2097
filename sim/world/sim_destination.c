/* sim_destination.c: the destination's actors as threads that take time, and what their actions ask of the world. */
#include <inttypes.h>

#include "sim/world/interest.h"
#include "sim/world/sim_state.h"

enum { KIBIBYTE = 1024 };

/* ---- Being scheduled ---- */

static void schedule(struct mr_sim *sim, uint32_t index, uint64_t time)
{
	struct sim_actor *actor = &sim->destination_actors[index];

	actor->idle = false;
	mr_sim_at(sim, time, MOMENT_DESTINATION, index, ++actor->turn);
}

void mr_sim_wake_destination(struct mr_sim *sim, uint32_t index)
{
	struct sim_actor *actor = &sim->destination_actors[index];

	if (actor->idle && actor->writing == NOBODY && !actor->completing)
		schedule(sim, index, sim->now);
}

void mr_sim_wake_all_destination(struct mr_sim *sim)
{
	for (uint32_t i = 0; i < sim->destination_actor_count; i++)
		mr_sim_wake_destination(sim, i);
}

static void tell(struct mr_sim *sim, const struct mr_log_record *record, const struct mr_action *action)
{
	if (sim->watch.destination)
		sim->watch.destination(sim->watch.argument, record, sim->destination, action);
}

/* Blocktime is all that goes by the destination's clock. */
void mr_sim_tell_time(struct mr_sim *sim)
{
	const struct mr_log_record record = {
		.kind = MR_LOG_TIME, .channel = MR_INCOMING_CHANNELS_MAX, .count = sim->now};

	if (!sim->ends.destination.blocktime || sim->destination_clock == sim->now)
		return;
	sim->destination_clock = sim->now;
	mr_incoming_set_time(sim->destination, sim->now);
	tell(sim, &record, NULL);
}

/* ---- Actions ---- */

static void start_guest(struct mr_sim *sim)
{
	if (sim->source_runs)
		mr_sim_double(sim, "the destination starts the guest, which runs at the source");
	if (sim->over)
		return;
	if (sim->devices_loaded < sim->scenario->guest.devices)
		mr_sim_violate(sim, MR_PROPERTY_RUN_AFTER_PACKAGE, "the guest runs when %u of %u devices are loaded",
			       sim->devices_loaded, sim->scenario->guest.devices);
	sim->in_postcopy = mr_incoming_postcopy_state(sim->destination) == MR_POSTCOPY_RUNNING;
	for (uint32_t i = 0; sim->in_postcopy && i < sim->scenario->block_count; i++)
		if (!sim->blocks[i].registered)
			mr_sim_violate(sim, MR_PROPERTY_CAUGHT, "the guest runs, and no faults of %s are caught",
				       sim->scenario->blocks[i].name);
	mr_sim_check_not_older(sim);
	mr_sim_check_stale(sim);
	if (!sim->in_postcopy)
		mr_sim_check_memory(sim);
	else
		mr_sim_saw(sim, MR_SOMETIMES_SWITCHED);
	sim->destination_runs = sim->was_moved = true;
	sim->moved_at = sim->now;
	sim->result.downtime = sim->now - sim->stopped_at;
	mr_sim_plan_after_switch(sim);
	mr_sim_start_vcpus(sim);
}

/* A device's loading touches guest memory, and waits for what is missing as a vCPU does. */
static bool touch_for_device(struct mr_sim *sim)
{
	while (sim->device_touches_left) {
		const uint32_t block = (uint32_t)mr_random_below(&sim->device_chance, sim->scenario->block_count);
		const uint64_t page = mr_random_below(&sim->device_chance, sim->blocks[block].pages);

		sim->device_touches_left--;
		if (!sim->blocks[block].registered || mr_bitmap_test(sim->blocks[block].arrived, page))
			continue;
		sim->device_waits = true;
		sim->device_page = (struct sim_page){block, page};
		mr_sim_miss(sim, block, page, DEVICE_THREAD);
		return false;
	}
	return true;
}

static int load_device(struct mr_sim *sim, unsigned actor)
{
	const int refusal = mr_sim_refusal(sim, MR_FAULT_DEVICE);

	if (refusal)
		return refusal;
	if (sim->devices_loaded++ == 0)
		sim->device_touches_left = sim->scenario->guest.device_touches;
	if (!touch_for_device(sim))
		sim->destination_actors[actor].completing = true;
	return 0;
}

void mr_sim_continue_device(struct mr_sim *sim)
{
	sim->device_waits = false;
	if (!touch_for_device(sim))
		return;
	for (uint32_t i = 0; i < sim->destination_actor_count; i++) {
		if (!sim->destination_actors[i].completing)
			continue;
		sim->destination_actors[i].completing = false;
		mr_incoming_complete(sim->destination, i, 0);
		schedule(sim, i, sim->now + sim->scenario->costs.wake + sim->scenario->costs.device);
	}
}

static void fail(struct mr_sim *sim, const struct mr_finding *finding)
{
	sim->destination_failed = true;
	if (!sim->result.reason[0])
		snprintf(sim->result.reason, sizeof(sim->result.reason), "destination: %s expected %s, found %s",
			 finding->rule ? mr_rule_id(finding->rule) : "no rule", finding->expected, finding->found);
	/* Its process ends, and its connections with it. */
	for (uint32_t i = 0; i < sim->connection_count; i++)
		mr_sim_close(sim, i, false);
}

static void finish(struct mr_sim *sim)
{
	if (sim->destination_finished)
		mr_sim_violate(sim, MR_PROPERTY_END_ONCE, "the destination finishes once more");
	sim->destination_finished = true;
}

static void see_record(struct mr_sim *sim, const struct mr_action_page *page)
{
	if (page->flags & MR_RAM_FLAG_XBZRLE)
		mr_sim_saw(sim, MR_SOMETIMES_XBZRLE);
}

static void see_request(struct mr_sim *sim, const struct mr_action_request *request)
{
	const uint64_t page = request->offset / sim->scenario->guest.target_page_size;

	if (request->verdict == MR_REQUEST_DROPPED) {
		mr_sim_saw(sim, MR_SOMETIMES_FAULT_DROPPED);
		if (!mr_bitmap_test(sim->blocks[request->block].arrived, page))
			mr_sim_violate(sim, MR_PROPERTY_DROPPED,
				       "a fault on %s page 0x%" PRIx64 " is dropped, and it is not there",
				       sim->scenario->blocks[request->block].name, request->offset);
	}
	if (request->verdict == MR_REQUEST_REPEATED)
		mr_sim_saw(sim, MR_SOMETIMES_FAULT_REPEATED);
}

static void see(struct mr_sim *sim, const struct mr_action *action)
{
	switch (action->kind) {
	case MR_ACTION_RAM_RECORD:
		see_record(sim, &action->page);
		break;
	case MR_ACTION_REQUEST:
		see_request(sim, &action->request);
		break;
	case MR_ACTION_STATUS:
		if (action->status == MR_STATUS_POSTCOPY_PAUSED)
			mr_sim_at(sim, sim->now, MOMENT_OPERATOR, OPERATOR_LOOKS, 0);
		break;
	case MR_ACTION_CLEANUP:
		sim->cleans_up = true;
		break;
	case MR_ACTION_FINISHED:
		finish(sim);
		break;
	case MR_ACTION_FAILED:
		fail(sim, &action->finding);
		break;
	default:
		break;
	}
}

static int place(struct mr_sim *sim, const struct mr_action *action)
{
	const int refusal = mr_sim_refusal(sim, MR_FAULT_PLACE);

	if (action->placed.ram_channel == 1)
		mr_sim_saw(sim, MR_SOMETIMES_URGENT);
	return refusal ? refusal : mr_sim_place(sim, &action->placed);
}

static int discard(struct mr_sim *sim, const struct mr_action *action)
{
	const int refusal = mr_sim_refusal(sim, MR_FAULT_DISCARD);

	return refusal ? refusal : mr_sim_discard(sim, &action->range);
}

static int carry_out(struct mr_sim *sim, const struct mr_action *action)
{
	switch (action->kind) {
	case MR_ACTION_SEND:
		return mr_sim_send_back(sim, action);
	case MR_ACTION_DISCARD:
		return discard(sim, action);
	case MR_ACTION_PLACE:
		return place(sim, action);
	case MR_ACTION_PACKET:
		if (action->packet.record.flags & (MR_MULTIFD_FLAG_ZLIB | MR_MULTIFD_FLAG_ZSTD))
			mr_sim_saw(sim, MR_SOMETIMES_COMPRESSED);
		return mr_sim_write_packet(sim, action);
	case MR_ACTION_REGISTER:
		sim->blocks[action->range.block].registered = true;
		return 0;
	case MR_ACTION_UNREGISTER:
		sim->blocks[action->range.block].registered = false;
		return 0;
	case MR_ACTION_LOAD_DEVICE:
		return load_device(sim, action->actor);
	case MR_ACTION_START_GUEST:
		if (!sim->scenario->migration.start_paused)
			start_guest(sim);
		return 0;
	case MR_ACTION_CLOSE:
		mr_sim_look_for_holes(sim, action->channel);
		mr_sim_close(sim, action->channel, false);
		return 0;
	default:
		see(sim, action);
		return 0;
	}
}

/* ---- Time ---- */

/* Beside the placement itself: the record that completes the host page, which is no action of its own. */
static uint64_t cost_of_placement(const struct mr_sim *sim, const struct mr_action_placed *placed)
{
	const struct mr_scenario_costs *costs = &sim->scenario->costs;
	const uint64_t copied = placed->zero ? 0 : sim->scenario->guest.target_page_size + placed->length;

	return costs->load + costs->place + costs->copy * copied / KIBIBYTE;
}

static uint64_t cost_of(const struct mr_sim *sim, const struct mr_action *action)
{
	const struct mr_scenario_costs *costs = &sim->scenario->costs;

	switch (action->kind) {
	case MR_ACTION_RAM_RECORD:
		return costs->load + costs->copy * action->page.data.length / KIBIBYTE;
	case MR_ACTION_PLACE:
		return cost_of_placement(sim, &action->placed);
	case MR_ACTION_PACKET:
		return costs->load * (action->packet.record.normal_pages + action->packet.record.zero_pages) +
		       costs->copy * action->packet.record.payload.length / KIBIBYTE;
	case MR_ACTION_DISCARD:
		return costs->discard;
	case MR_ACTION_REQUEST:
		return costs->request;
	case MR_ACTION_LOAD_DEVICE:
		return costs->device;
	case MR_ACTION_MARKED:
	case MR_ACTION_RAM_LOADED:
	case MR_ACTION_SECTION:
		return 0;
	default:
		return costs->record;
	}
}

/* ---- Going on ---- */

/*
 * An actor that goes on without an action may have started or released whom it waits for now, and may have come to
 * where somebody waits for it.
 */
static void wake_around(struct mr_sim *sim, uint32_t index, uint32_t other)
{
	struct sim_actor *actor = &sim->destination_actors[index];
	const bool again = !actor->waits_anew && actor->waits_for == other;

	actor->waits_anew = false;
	actor->waits_for = other;
	if (again)
		return;
	for (uint32_t i = 0; i < sim->destination_actor_count; i++)
		if (i == other || (i != index && sim->destination_actors[i].waits_for == index))
			mr_sim_wake_destination(sim, i);
}

static void wait(struct mr_sim *sim, uint32_t index, enum mr_step step)
{
	struct sim_actor *actor = &sim->destination_actors[index];
	const struct mr_wants wants = mr_incoming_wants(sim->destination, index);
	struct mr_log_record record = {
		.kind = MR_LOG_WAIT, .actor = index, .channel = MR_INCOMING_CHANNELS_MAX, .count = 1};

	actor->idle = true;
	actor->reading = step == MR_STEP_BYTES ? wants.channel : NOBODY;
	if (step == MR_STEP_BYTES) {
		record.channel = wants.channel;
		record.bytes = sim->link.pipes[MR_LINK_FORWARD][wants.channel].arrived;
		mr_sim_took(sim, MR_LINK_FORWARD, wants.channel, wants.wanted);
	}
	tell(sim, &record, NULL);
	wake_around(sim, index, wants.wait == MR_WAIT_ACTOR ? wants.actor : NOBODY);
	if (index == MR_ACTOR_FAULT)
		mr_sim_tell_fault(sim);
}

static void act(struct mr_sim *sim, uint32_t index, const struct mr_action *action)
{
	const struct mr_log_record record = {
		.kind = MR_LOG_STEP, .actor = index, .channel = MR_INCOMING_CHANNELS_MAX, .count = 1};
	struct mr_log_record error = {.kind = MR_LOG_ERROR, .actor = index, .channel = MR_INCOMING_CHANNELS_MAX};

	sim->result.steps++;
	sim->destination_actors[index].waits_anew = true;
	mr_sim_check_barriers(sim, action);
	error.error = carry_out(sim, action);
	/* What fails by itself in a replay, too, is no news. */
	if (error.error && action->kind != MR_ACTION_SEND)
		tell(sim, &error, NULL);
	if (action->asked && !sim->destination_actors[index].completing &&
	    !mr_incoming_complete(sim->destination, index, error.error))
		mr_sim_violate(sim, MR_PROPERTY_ACTION, "the destination takes no completion of %s",
			       mr_action_name(action->kind));
	tell(sim, &record, action);
	if (mr_action_is_of_interest(action))
		for (uint32_t i = 0; i < sim->destination_actor_count; i++)
			if (i != index)
				mr_sim_wake_destination(sim, i);
}

/* What was read makes room for what the link holds back. */
static void tell_room(struct mr_sim *sim)
{
	for (uint32_t i = 0; i < sim->connection_count; i++)
		if (mr_link_awaits_room(&sim->link, MR_LINK_FORWARD, i, mr_incoming_consumed(sim->destination, i)))
			mr_sim_took(sim, MR_LINK_FORWARD, i, 0);
}

void mr_sim_run_destination(struct mr_sim *sim, uint32_t index)
{
	struct sim_actor *actor = &sim->destination_actors[index];

	while (!sim->over) {
		struct mr_action action;
		enum mr_step step;
		uint64_t cost;

		if (index == MR_ACTOR_FAULT || sim->vcpus_waiting)
			mr_sim_tell_time(sim);
		step = mr_incoming_step(sim->destination, index, &action);
		mr_sim_commit(sim);
		if (step != MR_STEP_ACTION) {
			wait(sim, index, step);
			return;
		}
		cost = cost_of(sim, &action);
		act(sim, index, &action);
		tell_room(sim);
		if (actor->writing != NOBODY || actor->completing) {
			actor->idle = true;
			return;
		}
		if (sim->now + cost >= mr_agenda_next(&sim->agenda) || sim->events_left == 0) {
			schedule(sim, index, sim->now + cost);
			return;
		}
		sim->now += cost;
		sim->events_left--;
	}
}
