/* sim_faults.c: what goes wrong, and what the operator does about it. */
#include "sim/world/sim_state.h"

enum { OPERATOR_GRAIN = 1000000, PATIENCE = 8 /* recoveries, before the operator waits until all is well again */ };

/* ---- Plans ---- */

static bool is_event(const struct mr_scenario_fault *fault)
{
	return fault->kind != MR_FAULT_DELAY_OPEN && fault->trigger != MR_TRIGGER_BYTES &&
	       fault->trigger != MR_TRIGGER_COUNT;
}

static void plan(struct mr_sim *sim, enum mr_fault_trigger trigger)
{
	const struct mr_scenario *scenario = sim->scenario;

	for (uint32_t i = 0; i < scenario->fault_count; i++)
		if (is_event(&scenario->faults[i]) && scenario->faults[i].trigger == trigger)
			mr_sim_at(sim, sim->now + scenario->faults[i].at, MOMENT_FAULT, i, 0);
	for (uint32_t i = 0; i < scenario->operation_count; i++)
		if (scenario->operations[i].trigger == trigger)
			mr_sim_at(sim, sim->now + scenario->operations[i].at, MOMENT_OPERATION, i, 0);
}

void mr_sim_plan_faults(struct mr_sim *sim)
{
	plan(sim, MR_TRIGGER_TIME);
	if (sim->scenario->migration.switch_after != UINT64_MAX)
		mr_sim_at(sim, sim->scenario->migration.switch_after, MOMENT_OPERATOR, OPERATOR_LOOKS, 0);
	mr_sim_at(sim, sim->scenario->migration.time_limit, MOMENT_HEAL, 0, 0);
}

void mr_sim_plan_after_switch(struct mr_sim *sim)
{
	plan(sim, MR_TRIGGER_SWITCH);
}

/* ---- Faults ---- */

static uint32_t connection_of(const struct mr_sim *sim, const struct mr_scenario_fault *fault)
{
	if (fault->channel == MR_CHANNEL_MAIN)
		return sim->last_of_role[MR_ROLE_MAIN];
	if (fault->channel == MR_CHANNEL_PREEMPT)
		return sim->last_of_role[MR_ROLE_PREEMPT];
	for (uint32_t i = sim->connection_count; i-- > 0;)
		if (sim->connections[i].opened && sim->connections[i].role == MR_ROLE_MULTIFD &&
		    sim->connections[i].multifd == fault->multifd)
			return i;
	return NOBODY;
}

static void note_cut(struct mr_sim *sim)
{
	const enum mr_source_status status = mr_outgoing_status(sim->source);

	sim->result.cuts++;
	if (status == MR_SOURCE_STATUS_POSTCOPY_RECOVER || status == MR_SOURCE_STATUS_POSTCOPY_RECOVER_SETUP)
		mr_sim_saw(sim, MR_SOMETIMES_CUT_RECOVERY);
	else if (sim->destination_runs)
		mr_sim_saw(sim, MR_SOMETIMES_CUT_POSTCOPY);
	else if (!sim->source_runs && !sim->stopped_by_operator)
		mr_sim_saw(sim, MR_SOMETIMES_CUT_SWITCH);
	else
		mr_sim_saw(sim, MR_SOMETIMES_CUT_PRECOPY);
}

static bool is_usable(const struct mr_sim *sim, uint32_t connection)
{
	return sim->connections[connection].opened && !sim->connections[connection].gone;
}

static void cut_all(struct mr_sim *sim)
{
	bool any = false;

	for (uint32_t i = 0; i < sim->connection_count; i++)
		any |= is_usable(sim, i);
	if (!any)
		return;
	sim->faults_fired++;
	note_cut(sim);
	for (uint32_t i = 0; i < sim->connection_count; i++)
		mr_sim_break(sim, i, HOST_ECONNRESET);
}

static void end_direction(struct mr_sim *sim, unsigned direction, uint32_t connection)
{
	struct mr_pipe *pipe = &sim->link.pipes[direction][connection];
	const struct mr_line line = {.event = MR_LINE_EOF,
				     .time = sim->now,
				     .channel = connection,
				     .backward = direction == MR_LINK_BACKWARD};

	if (pipe->closed)
		return;
	pipe->closed = true;
	mr_sim_line(sim, &line);
	if (mr_link_is_at_end(&sim->link, direction, connection))
		mr_sim_show(sim, direction, connection);
}

/* What was written arrives still; what either end writes from now on is refused there. */
static void end_in_order(struct mr_sim *sim, uint32_t connection)
{
	const struct mr_log_record record = {.kind = MR_LOG_RETURN_END,
					     .channel = connection,
					     .bytes = sim->link.pipes[MR_LINK_BACKWARD][connection].written};

	if (sim->link.pipes[MR_LINK_FORWARD][connection].closed && sim->link.pipes[MR_LINK_BACKWARD][connection].closed)
		return;
	sim->faults_fired++;
	note_cut(sim);
	sim->connections[connection].refused = true;
	if (sim->connections[connection].accepted && sim->watch.destination)
		sim->watch.destination(sim->watch.argument, &record, sim->destination, NULL);
	end_direction(sim, MR_LINK_FORWARD, connection);
	end_direction(sim, MR_LINK_BACKWARD, connection);
}

static void hinder(struct mr_sim *sim, uint32_t connection, const struct mr_scenario_fault *fault)
{
	const uint64_t until = sim->now + fault->duration;

	mr_sim_saw(sim, fault->kind == MR_FAULT_SLOW ? MR_SOMETIMES_SLOWED : MR_SOMETIMES_STALLED);
	mr_link_hinder(&sim->link, connection, sim->now, until, fault->kind == MR_FAULT_SLOW ? fault->percent : 100);
	for (uint32_t i = 0; i < MR_LINK_DIRECTIONS; i++)
		mr_sim_at(sim, until, MOMENT_RETRY, i, 0);
}

static void hit(struct mr_sim *sim, const struct mr_scenario_fault *fault)
{
	const uint32_t connection = connection_of(sim, fault);

	if (connection == NOBODY || !is_usable(sim, connection))
		return;
	if (fault->kind == MR_FAULT_CUT) {
		sim->faults_fired++;
		note_cut(sim);
		mr_sim_break(sim, connection, HOST_ECONNRESET);
	} else if (fault->kind == MR_FAULT_CLOSE) {
		end_in_order(sim, connection);
	} else {
		/* No reason to fail. */
		hinder(sim, connection, fault);
	}
}

void mr_sim_fire(struct mr_sim *sim, uint32_t index)
{
	const struct mr_scenario_fault *fault = &sim->scenario->faults[index];

	if (sim->fault_fired[index] || sim->healed || sim->ended)
		return;
	sim->fault_fired[index] = true;
	switch (fault->kind) {
	case MR_FAULT_CUT_ALL:
		cut_all(sim);
		break;
	case MR_FAULT_MEMORY:
		sim->faults_fired++;
		sim->refuses_memory = true;
		sim->memory_limit = fault->count;
		break;
	default:
		hit(sim, fault);
		break;
	}
}

uint32_t mr_sim_fault_before(const struct mr_sim *sim, unsigned direction, uint32_t connection, uint64_t *value)
{
	uint32_t first = NOBODY;

	for (uint32_t i = 0; i < sim->scenario->fault_count && !sim->healed && !sim->ended; i++) {
		const struct mr_scenario_fault *fault = &sim->scenario->faults[i];

		if (fault->trigger != MR_TRIGGER_BYTES || sim->fault_fired[i] ||
		    fault->backward != (direction == MR_LINK_BACKWARD) || connection_of(sim, fault) != connection ||
		    fault->at >= *value || fault->at < sim->link.pipes[direction][connection].arrived)
			continue;
		*value = fault->at;
		first = i;
	}
	return first;
}

int mr_sim_refusal(struct mr_sim *sim, enum mr_fault_kind kind)
{
	uint64_t *count = kind == MR_FAULT_PLACE     ? &sim->placements
			  : kind == MR_FAULT_DISCARD ? &sim->discards
						     : &sim->device_loads;

	++*count;
	if (kind == MR_FAULT_PLACE && sim->refuses_memory && !sim->healed && sim->arrived_pages > sim->memory_limit) {
		mr_sim_saw(sim, MR_SOMETIMES_OUT_OF_MEMORY);
		return HOST_ENOMEM;
	}
	for (uint32_t i = 0; i < sim->scenario->fault_count; i++) {
		const struct mr_scenario_fault *fault = &sim->scenario->faults[i];

		if (fault->kind != kind || fault->count != *count || sim->fault_fired[i])
			continue;
		sim->fault_fired[i] = true;
		sim->faults_fired++;
		if (kind == MR_FAULT_PLACE)
			mr_sim_saw(sim, MR_SOMETIMES_REFUSED_PLACEMENT);
		return fault->error;
	}
	return 0;
}

/* ---- The operator ---- */

static void set_guest(struct mr_sim *sim, bool runs)
{
	const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_GUEST, .runs = runs};

	if (sim->stopped_by_operator != runs || !mr_outgoing_guest(sim->source, runs))
		return;
	if (sim->watch.source)
		sim->watch.source(sim->watch.argument, &record, NULL);
	sim->stopped_by_operator = !runs;
	sim->source_runs = runs;
	if (runs) {
		mr_sim_start_vcpus(sim);
	} else {
		sim->stopped_at = sim->now;
		mr_sim_stop_vcpus(sim);
	}
	mr_sim_wake_all_source(sim);
}

static bool recover(struct mr_sim *sim)
{
	const bool taken = mr_sim_command(sim, MR_SOURCE_COMMAND_RECOVER);

	sim->recover_due = false;
	if (!taken)
		return false;
	sim->result.recoveries++;
	return true;
}

void mr_sim_operate(struct mr_sim *sim, uint32_t index)
{
	switch (sim->scenario->operations[index].kind) {
	case MR_OPERATION_START_POSTCOPY:
		mr_sim_command(sim, MR_SOURCE_COMMAND_START_POSTCOPY);
		break;
	case MR_OPERATION_PAUSE:
		if (mr_sim_command(sim, MR_SOURCE_COMMAND_PAUSE)) {
			mr_sim_saw(sim, MR_SOMETIMES_OPERATOR_PAUSED);
			sim->faults_fired++;
		}
		break;
	case MR_OPERATION_RECOVER:
		recover(sim);
		break;
	case MR_OPERATION_CANCEL:
		if (mr_sim_command(sim, MR_SOURCE_COMMAND_CANCEL)) {
			mr_sim_saw(sim, MR_SOMETIMES_CANCELLED);
			sim->cancelled = true;
		}
		break;
	case MR_OPERATION_STOP_GUEST:
		set_guest(sim, false);
		break;
	default:
		set_guest(sim, true);
		break;
	}
}

static bool is_time_to_switch(const struct mr_sim *sim)
{
	const struct mr_scenario_migration *migration = &sim->scenario->migration;

	return sim->now >= migration->switch_after || sim->result.passes >= migration->switch_passes ||
	       (sim->result.passes && mr_outgoing_dirty_count(sim->source) <= migration->switch_dirty &&
		migration->switch_dirty != UINT64_MAX);
}

static bool are_both_paused(const struct mr_sim *sim)
{
	return mr_outgoing_status(sim->source) == MR_SOURCE_STATUS_POSTCOPY_PAUSED &&
	       mr_incoming_status(sim->destination) == MR_STATUS_POSTCOPY_PAUSED;
}

static bool may_recover(const struct mr_sim *sim)
{
	return sim->healed ||
	       (sim->scenario->migration.recover_after != UINT64_MAX && sim->result.recoveries < PATIENCE);
}

void mr_sim_look_after(struct mr_sim *sim)
{
	const struct mr_scenario_migration *migration = &sim->scenario->migration;
	const bool may_switch = migration->capabilities & MR_CAPABILITY_POSTCOPY_RAM;

	if (may_switch && !sim->switch_asked && is_time_to_switch(sim)) {
		sim->switch_asked = mr_sim_command(sim, MR_SOURCE_COMMAND_START_POSTCOPY);
		if (!sim->switch_asked && mr_outgoing_status(sim->source) <= MR_SOURCE_STATUS_ACTIVE)
			mr_sim_at(sim, sim->now + OPERATOR_GRAIN, MOMENT_OPERATOR, OPERATOR_LOOKS, 0);
	}
	if (!sim->recover_due && are_both_paused(sim) && may_recover(sim)) {
		sim->recover_due = true;
		mr_sim_at(sim, sim->now + (sim->healed ? OPERATOR_GRAIN : migration->recover_after), MOMENT_OPERATOR,
			  OPERATOR_RECOVERS, 0);
	}
}

void mr_sim_operator(struct mr_sim *sim, uint32_t what)
{
	if (what == OPERATOR_CONTINUES)
		mr_sim_command(sim, MR_SOURCE_COMMAND_CONTINUE);
	else if (what == OPERATOR_RECOVERS)
		recover(sim);
	else
		mr_sim_look_after(sim);
}

void mr_sim_heal(struct mr_sim *sim)
{
	if (sim->healed || sim->ended)
		return;
	sim->healed = true;
	sim->last_pending = sim->now;
	mr_link_heal(&sim->link, sim->now);
	/* A recovery that was planned for later comes at once. */
	sim->recover_due = false;
	mr_sim_look_after(sim);
	mr_sim_at(sim, sim->now + sim->scenario->migration.time_limit, MOMENT_END, 0, 0);
}
