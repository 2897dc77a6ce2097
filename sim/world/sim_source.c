/* sim_source.c: the source's actors as threads that take time, and what their actions ask of the world. */
#include <string.h>

#include "sim/world/interest.h"
#include "sim/world/sim_state.h"

enum { CLOCK_GRAIN = 1000000, KIBIBYTE = 1024, SECTIONS_MAX = 64 };

/* ---- Being scheduled ---- */

static void schedule(struct mr_sim *sim, uint32_t index, uint64_t time)
{
	struct sim_actor *actor = &sim->source_actors[index];

	actor->idle = false;
	mr_sim_at(sim, time, MOMENT_SOURCE, index, ++actor->turn);
}

void mr_sim_wake_source(struct mr_sim *sim, uint32_t index)
{
	struct sim_actor *actor = &sim->source_actors[index];

	if (actor->idle && actor->writing == NOBODY)
		schedule(sim, index, sim->now);
}

void mr_sim_wake_all_source(struct mr_sim *sim)
{
	for (uint32_t i = 0; i < sim->source_actor_count; i++)
		mr_sim_wake_source(sim, i);
}

static void tell(struct mr_sim *sim, const struct mr_source_log_record *record, const struct mr_source_action *action)
{
	if (sim->watch.source)
		sim->watch.source(sim->watch.argument, record, action);
}

static void tell_time(struct mr_sim *sim, uint64_t time)
{
	const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_TIME, .count = time};

	sim->source_clock = time;
	mr_outgoing_set_time(sim->source, time);
	tell(sim, &record, NULL);
}

/* ---- Choices ---- */

static uint64_t draw_answer(struct mr_sim *sim, enum mr_choice choice, uint64_t canonical)
{
	uint32_t block;
	uint64_t offset, pages;

	switch (choice) {
	case MR_CHOICE_CHANNEL:
		return mr_random_below(&sim->chance, sim->scenario->migration.multifd_channels);
	case MR_CHOICE_TURN:
		/* Another turn than the canonical one would end what has not converged. */
		return canonical;
	case MR_CHOICE_PAGE:
		mr_outgoing_cursor(sim->source, &block, &offset);
		if (!mr_outgoing_dirty_bits(sim->source, block, &pages) || pages == 0)
			return canonical;
		return mr_bitmap_next_set(mr_outgoing_dirty_bits(sim->source, block, &pages), pages,
					  mr_random_below(&sim->chance, pages));
	default:
		return mr_random_below(&sim->chance, 2);
	}
}

uint64_t mr_sim_choose(void *argument, enum mr_choice choice, uint64_t canonical)
{
	struct mr_sim *sim = argument;
	const uint32_t permille = sim->scenario->choices.permille[choice];
	struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_CHOOSE, .choice = choice, .count = 1};

	if (permille == 0)
		return canonical;
	record.answer = mr_random_permille(&sim->chance, permille) ? draw_answer(sim, choice, canonical) : canonical;
	if (record.answer != canonical) {
		mr_sim_saw(sim, MR_SOMETIMES_UNUSUAL);
		if (choice == MR_CHOICE_SECTION_ENDS)
			mr_sim_saw(sim, MR_SOMETIMES_TINY_SECTION);
	}
	tell(sim, &record, NULL);
	return record.answer;
}

bool mr_sim_command(struct mr_sim *sim, enum mr_source_command command)
{
	static bool (*const functions[])(struct mr_outgoing *) = {
		[MR_SOURCE_COMMAND_START_POSTCOPY] = mr_outgoing_start_postcopy,
		[MR_SOURCE_COMMAND_CONTINUE] = mr_outgoing_continue,
		[MR_SOURCE_COMMAND_CANCEL] = mr_outgoing_cancel,
		[MR_SOURCE_COMMAND_PAUSE] = mr_outgoing_pause,
		[MR_SOURCE_COMMAND_RECOVER] = mr_outgoing_recover,
	};
	const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_COMMAND, .command = command};

	if (!functions[command](sim->source))
		return false;
	tell(sim, &record, NULL);
	mr_sim_wake_all_source(sim);
	return true;
}

/* ---- Actions ---- */

static void save_device(struct mr_sim *sim, uint32_t handler)
{
	mr_ends_device(sim->scenario, handler, sim->device_body);
	mr_outgoing_save(sim->source, (struct mr_bytes){sim->device_body, sim->scenario->guest.device_bytes});
}

static void stop_guest(struct mr_sim *sim)
{
	if (!sim->source_runs)
		return;
	sim->source_runs = false;
	sim->stopped_at = sim->now;
	mr_sim_stop_vcpus(sim);
}

static void start_guest(struct mr_sim *sim)
{
	if (sim->destination_runs)
		mr_sim_double(sim, "the source starts its guest, which runs at the destination");
	if (sim->over || sim->source_runs || sim->stopped_by_operator)
		return;
	sim->source_runs = true;
	mr_sim_start_vcpus(sim);
}

static void fail(struct mr_sim *sim, const struct mr_finding *finding)
{
	sim->source_failed = true;
	if (!sim->result.reason[0])
		snprintf(sim->result.reason, sizeof(sim->result.reason), "source: %s expected %s, found %s",
			 finding->rule ? mr_rule_id(finding->rule) : "cancelled", finding->expected, finding->found);
}

static void finish(struct mr_sim *sim)
{
	if (sim->source_finished)
		mr_sim_violate(sim, MR_PROPERTY_END_ONCE, "the source finishes once more");
	sim->source_finished = true;
	sim->result.total_time = sim->now;
}

static void see_status(struct mr_sim *sim, enum mr_source_status status)
{
	if (status == MR_SOURCE_STATUS_ACTIVE && sim->result.setup_time == 0)
		sim->result.setup_time = sim->now;
	if (status == MR_SOURCE_STATUS_POSTCOPY_PAUSED)
		mr_sim_at(sim, sim->now, MOMENT_OPERATOR, OPERATOR_LOOKS, 0);
	if (status == MR_SOURCE_STATUS_PRE_SWITCHOVER)
		mr_sim_at(sim, sim->now + sim->scenario->migration.continue_after, MOMENT_OPERATOR, OPERATOR_CONTINUES,
			  0);
}

static void see(struct mr_sim *sim, const struct mr_source_action *action)
{
	switch (action->kind) {
	case MR_SOURCE_ACTION_STATUS:
		see_status(sim, action->status);
		break;
	case MR_SOURCE_ACTION_REQUEST:
		if (!action->request.sent)
			mr_sim_saw(sim, MR_SOMETIMES_REQUEST_STALE);
		break;
	case MR_SOURCE_ACTION_BARRIER:
		mr_sim_saw(sim, MR_SOMETIMES_BARRIER_PASSED);
		break;
	case MR_SOURCE_ACTION_ITERATION:
		sim->result.passes = action->count;
		break;
	case MR_SOURCE_ACTION_FINISHED:
		finish(sim);
		break;
	case MR_SOURCE_ACTION_FAILED:
		fail(sim, &action->finding);
		break;
	default:
		break;
	}
}

static void carry_out(struct mr_sim *sim, const struct mr_source_action *action)
{
	switch (action->kind) {
	case MR_SOURCE_ACTION_SEND:
		mr_sim_send(sim, action);
		break;
	case MR_SOURCE_ACTION_CONNECT:
		mr_sim_connect(sim, action);
		break;
	case MR_SOURCE_ACTION_CLOSE:
		mr_sim_close(sim, action->channel, true);
		break;
	case MR_SOURCE_ACTION_LOG_START:
		sim->logging = true;
		break;
	case MR_SOURCE_ACTION_LOG_STOP:
		sim->logging = false;
		break;
	case MR_SOURCE_ACTION_LOG_SYNC:
		mr_sim_hand_over_log(sim);
		break;
	case MR_SOURCE_ACTION_STOP_GUEST:
		stop_guest(sim);
		break;
	case MR_SOURCE_ACTION_START_GUEST:
		start_guest(sim);
		break;
	case MR_SOURCE_ACTION_THROTTLE:
		sim->throttle = (uint32_t)action->count;
		if (sim->throttle)
			mr_sim_saw(sim, MR_SOMETIMES_THROTTLED);
		break;
	case MR_SOURCE_ACTION_SAVE:
		save_device(sim, action->save.handler);
		break;
	case MR_SOURCE_ACTION_DESCRIBE:
		mr_outgoing_save(sim->source, (struct mr_bytes){(const uint8_t *)sim->ends.description_text,
								strlen(sim->ends.description_text)});
		break;
	default:
		see(sim, action);
		break;
	}
}

/* ---- Time ---- */

static uint64_t memory_gibibytes(const struct mr_sim *sim)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < sim->scenario->block_count; i++)
		bytes += sim->scenario->blocks[i].size;
	return (bytes + ((uint64_t)1 << 30) - 1) >> 30;
}

static uint64_t cost_of_send(const struct mr_sim *sim, const struct mr_source_action *action)
{
	const struct mr_scenario_costs *costs = &sim->scenario->costs;
	const uint64_t bytes = action->send.head.length + action->send.body.length;
	uint64_t cost = costs->copy * bytes / KIBIBYTE + sim->look_count * costs->zero_test;

	switch (action->send.kind) {
	case MR_RAM_PAGE:
	case MR_RAM_ZERO:
	case MR_RAM_XBZRLE:
		return cost + costs->send;
	case MR_MULTIFD_PACKET:
		return cost + costs->send * sim->look_count;
	default:
		return cost + costs->record;
	}
}

static uint64_t cost_of(const struct mr_sim *sim, const struct mr_source_action *action)
{
	const struct mr_scenario_costs *costs = &sim->scenario->costs;

	switch (action->kind) {
	case MR_SOURCE_ACTION_SEND:
		return cost_of_send(sim, action);
	case MR_SOURCE_ACTION_LOG_SYNC:
		return costs->sync * memory_gibibytes(sim);
	case MR_SOURCE_ACTION_SAVE:
		return costs->device;
	case MR_SOURCE_ACTION_CONNECT:
		return 2 * sim->scenario->link.latency + costs->record;
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
	struct sim_actor *actor = &sim->source_actors[index];
	const bool again = !actor->waits_anew && actor->waits_for == other;

	actor->waits_anew = false;
	actor->waits_for = other;
	if (again)
		return;
	for (uint32_t i = 0; i < sim->source_actor_count; i++)
		if (i == other || (i != index && sim->source_actors[i].waits_for == index))
			mr_sim_wake_source(sim, i);
}

static void wait(struct mr_sim *sim, uint32_t index, enum mr_step step)
{
	struct sim_actor *actor = &sim->source_actors[index];
	const struct mr_source_wants wants = mr_outgoing_wants(sim->source, index);
	/* A message may also never come, since its reader has ended. */
	const bool is_for_actor = wants.wait == MR_SOURCE_WAIT_ACTOR || wants.wait == MR_SOURCE_WAIT_MESSAGE;
	const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_WAIT, .actor = index, .count = 1};

	actor->idle = true;
	tell(sim, &record, NULL);
	wake_around(sim, index, is_for_actor ? wants.actor : NOBODY);
	if (step == MR_STEP_WAITS && wants.wait == MR_SOURCE_WAIT_TIME)
		mr_sim_at(sim, wants.time > sim->now ? wants.time : sim->now + CLOCK_GRAIN, MOMENT_SOURCE, index,
			  ++actor->turn);
	if (step == MR_STEP_BYTES)
		mr_sim_took(sim, MR_LINK_BACKWARD, wants.channel, wants.wanted);
}

static void act(struct mr_sim *sim, uint32_t index, const struct mr_source_action *action)
{
	const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_STEP, .actor = index, .count = 1};

	sim->result.steps++;
	sim->source_actors[index].waits_anew = true;
	carry_out(sim, action);
	if (action->asked && !mr_outgoing_complete(sim->source, index, 0))
		mr_sim_violate(sim, MR_PROPERTY_ACTION, "the source takes no completion of %s",
			       mr_source_action_name(action->kind));
	tell(sim, &record, action);
	if (action->kind == MR_SOURCE_ACTION_SEND)
		mr_sim_notice(sim, action->send.channel);
	if (action->kind == MR_SOURCE_ACTION_RETURN && sim->connections[action->message.channel].opened)
		mr_sim_took(sim, MR_LINK_BACKWARD, action->message.channel, 0);
	if (mr_source_action_is_of_interest(action))
		for (uint32_t i = 0; i < sim->source_actor_count; i++)
			if (i != index)
				mr_sim_wake_source(sim, i);
}

void mr_sim_run_source(struct mr_sim *sim, uint32_t index)
{
	struct sim_actor *actor = &sim->source_actors[index];

	while (!sim->over) {
		struct mr_source_action action;
		enum mr_step step;
		uint64_t cost;

		if (sim->now - sim->source_clock >= CLOCK_GRAIN)
			tell_time(sim, sim->now);
		sim->look_count = sim->look_at = 0;
		step = mr_outgoing_step(sim->source, index, &action);
		if (step != MR_STEP_ACTION) {
			wait(sim, index, step);
			return;
		}
		cost = cost_of(sim, &action);
		act(sim, index, &action);
		if (action.kind == MR_SOURCE_ACTION_ITERATION || action.kind == MR_SOURCE_ACTION_LOG_SYNC)
			mr_sim_look_after(sim);
		if (actor->writing != NOBODY) {
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
