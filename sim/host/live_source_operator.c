/* live_source_operator.c: what the scenario's operator does, by the clock and by what both ends show. */
#include "sim/host/live_source_state.h"

enum { GRACE = 1000000000 /* ns */ };

static bool command(struct mr_live_source *source, enum mr_source_command command)
{
	static bool (*const functions[])(struct mr_outgoing *) = {
		[MR_SOURCE_COMMAND_START_POSTCOPY] = mr_outgoing_start_postcopy,
		[MR_SOURCE_COMMAND_CONTINUE] = mr_outgoing_continue,
		[MR_SOURCE_COMMAND_CANCEL] = mr_outgoing_cancel,
		[MR_SOURCE_COMMAND_PAUSE] = mr_outgoing_pause,
		[MR_SOURCE_COMMAND_RECOVER] = mr_outgoing_recover,
	};
	const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_COMMAND, .command = command};

	if (!functions[command](source->outgoing))
		return false;
	mr_live_source_tell(source, &record, NULL);
	mr_live_wake_all(&source->threads);
	return true;
}

/* ---- The switch ---- */

static bool switch_is_due(const struct mr_live_source *source, uint64_t now)
{
	const struct mr_scenario_migration *migration = &source->setup.scenario->migration;
	const uint64_t passes = source->board->passes;

	if (!(migration->capabilities & MR_CAPABILITY_POSTCOPY_RAM) ||
	    mr_outgoing_status(source->outgoing) != MR_SOURCE_STATUS_ACTIVE)
		return false;
	return now >= migration->switch_after || passes >= migration->switch_passes ||
	       (passes >= 1 && mr_outgoing_dirty_count(source->outgoing) <= migration->switch_dirty &&
		migration->switch_dirty != UINT64_MAX);
}

/* ---- Pause and recovery ---- */

/* Both ends have to wait for it: a destination that has not noticed takes the new connection for another one. */
static bool recovery_is_due(struct mr_live_source *source)
{
	const uint64_t after = source->setup.scenario->migration.recover_after;

	if (mr_outgoing_status(source->outgoing) != MR_SOURCE_STATUS_POSTCOPY_PAUSED ||
	    atomic_load(&source->board->destination_status) != MR_STATUS_POSTCOPY_PAUSED) {
		source->paused = false;
		return false;
	}
	if (!source->paused)
		source->paused_at = mr_clock();
	source->paused = true;
	return after != UINT64_MAX && mr_clock() - source->paused_at >= after;
}

/* A destination that failed while its guest did not run yet may wait for ever, for a page that a device's loading
 * touches: who looks after both ends it. */
static void give_up_stranded(struct mr_live_source *source)
{
	if (mr_outgoing_status(source->outgoing) != MR_SOURCE_STATUS_POSTCOPY_PAUSED ||
	    atomic_load(&source->board->destination_status) != MR_STATUS_FAILED) {
		source->stranded_at = 0;
		return;
	}
	if (source->stranded_at == 0)
		source->stranded_at = mr_clock();
	if (mr_clock() - source->stranded_at > GRACE)
		atomic_store(&source->board->give_up, 1);
}

static void operate_by_plan(struct mr_live_source *source, uint64_t now)
{
	static const enum mr_source_command commands[MR_OPERATION_KIND_COUNT] = {
		[MR_OPERATION_START_POSTCOPY] = MR_SOURCE_COMMAND_START_POSTCOPY,
		[MR_OPERATION_PAUSE] = MR_SOURCE_COMMAND_PAUSE,
		[MR_OPERATION_RECOVER] = MR_SOURCE_COMMAND_RECOVER,
		[MR_OPERATION_CANCEL] = MR_SOURCE_COMMAND_CANCEL,
	};
	const uint64_t moved_at = atomic_load(&source->board->moved_at);

	for (uint32_t i = 0; i < source->setup.scenario->operation_count; i++) {
		const struct mr_scenario_operation *operation = &source->setup.scenario->operations[i];
		const bool is_due = operation->trigger == MR_TRIGGER_TIME
					    ? now >= operation->at
					    : moved_at && mr_clock() >= moved_at + operation->at;

		if (source->operated[i] || !is_due)
			continue;
		source->operated[i] = true;
		command(source, commands[operation->kind]);
	}
}

void mr_live_source_operate(struct mr_live_source *source)
{
	const uint64_t now = mr_clock() - source->board->started;

	if (!source->switch_asked && switch_is_due(source, now))
		source->switch_asked = command(source, MR_SOURCE_COMMAND_START_POSTCOPY);
	if (mr_outgoing_status(source->outgoing) == MR_SOURCE_STATUS_PRE_SWITCHOVER)
		command(source, MR_SOURCE_COMMAND_CONTINUE);
	if (recovery_is_due(source) && command(source, MR_SOURCE_COMMAND_RECOVER)) {
		source->board->recoveries++;
		source->paused = false;
	}
	give_up_stranded(source);
	operate_by_plan(source, now);
}
