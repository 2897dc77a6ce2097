/* live_source.c: threads around one machine, the guest, and the operator. */
#include "sim/host/live_source_state.h"
#include "sim/world/interest.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	LOOK_AGAIN = 1000000, /* ns between looks of the operator */
	CLOCK_GRAIN = 1000000,
	ERROR_MAX = 256,
	GRACE = 1000000000,
};

/* ---- Telling ---- */

void mr_live_source_tell(struct mr_live_source *source, const struct mr_source_log_record *record,
			 const struct mr_source_action *action)
{
	const struct mr_watch *watch = source->setup.watch;

	if (watch && watch->source)
		watch->source(watch->argument, record, action);
}

void mr_live_source_host_failed(struct mr_live_source *source, const char *format, ...)
{
	va_list arguments;

	if (!source->host_failed) {
		va_start(arguments, format);
		vsnprintf(source->reason, sizeof(source->reason), format, arguments);
		va_end(arguments);
	}
	source->host_failed = true;
	mr_live_wake_all(&source->threads);
}

/* Not at each page: what goes by the clock does so by milliseconds. */
static void tell_time(struct mr_live_source *source)
{
	const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_TIME,
						    .count = mr_clock() - source->board->started};

	if (record.count - source->clock < CLOCK_GRAIN)
		return;
	source->clock = record.count;
	mr_outgoing_set_time(source->outgoing, record.count);
	mr_live_source_tell(source, &record, NULL);
}

/* ---- Steps ---- */

static void act(struct mr_live_source *source, struct mr_live_actor *actor, const struct mr_source_action *action)
{
	const bool asked = action->asked, interest = mr_source_action_is_of_interest(action);

	actor->waits_anew = true;
	mr_live_source_carry_out(source, actor, action);
	if (asked)
		mr_outgoing_complete(source->outgoing, actor->index, 0);
	if (interest)
		mr_live_wake_all(&source->threads);
}

static void wait_until(struct mr_live_source *source, struct mr_live_actor *actor, uint64_t time)
{
	const uint64_t grain = source->clock + CLOCK_GRAIN;

	mr_live_rest_until(&source->threads, actor, (time > grain ? time : grain) + source->board->started);
}

static void wait(struct mr_live_source *source, struct mr_live_actor *actor, enum mr_step step)
{
	const struct mr_source_wants wants = mr_outgoing_wants(source->outgoing, actor->index);
	/* A message may also never come, since its reader has ended. */
	const bool is_for_actor = wants.wait == MR_SOURCE_WAIT_ACTOR || wants.wait == MR_SOURCE_WAIT_MESSAGE;
	const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_WAIT, .actor = actor->index, .count = 1};

	mr_live_source_tell(source, &record, NULL);
	mr_live_wake_around(&source->threads, actor, is_for_actor ? wants.actor : MR_LIVE_NOBODY);
	if (step == MR_STEP_BYTES)
		mr_live_source_read(source, actor, wants.channel);
	else if (step == MR_STEP_WAITS && wants.wait == MR_SOURCE_WAIT_TIME)
		wait_until(source, actor, wants.time);
	else
		mr_live_rest(&source->threads, actor);
}

static void *run_actor(void *argument)
{
	struct mr_live_actor *actor = argument;
	struct mr_live_source *source = actor->end;

	pthread_mutex_lock(&source->threads.lock);
	while (!source->threads.over) {
		struct mr_source_action action;
		enum mr_step step;

		if (actor->index == MR_SOURCE_MIGRATION)
			tell_time(source);
		source->look_count = 0;
		actor->woken = false;
		step = mr_outgoing_step(source->outgoing, actor->index, &action);
		if (step == MR_STEP_ACTION)
			act(source, actor, &action);
		else
			wait(source, actor, step);
	}
	pthread_mutex_unlock(&source->threads.lock);
	return NULL;
}

/* ---- Setting up ---- */

static int start_machine(struct mr_live_source *source, char *error, size_t error_size)
{
	const struct mr_scenario *scenario = source->setup.scenario;
	struct mr_outgoing_config *config = &source->setup.ends->source;
	const size_t page = scenario->guest.target_page_size;
	uint64_t largest = 0;
	char reason[96] = "";
	size_t size;

	for (uint32_t i = 0; i < scenario->block_count; i++)
		if (scenario->blocks[i].size > largest)
			largest = scenario->blocks[i].size;
	config->memory = (struct mr_outgoing_memory){source, mr_live_source_look};
	source->pages = malloc((MR_PACKET_PAGES_MAX + 1) * page);
	source->device_body = calloc(1, scenario->guest.device_bytes + 1);
	source->dirty_bits = calloc((size_t)(largest / page / 64 + 1), sizeof(uint64_t));
	size = mr_outgoing_size(config, reason);
	source->arena = size ? calloc(1, size) : NULL;
	if (source->pages && source->device_body && source->dirty_bits && source->arena)
		source->outgoing = mr_outgoing_init(source->arena, size, config);
	if (source->outgoing)
		return 0;
	snprintf(error, error_size, "source: %s", reason[0] ? reason : "no memory");
	return -1;
}

static void set_threads(struct mr_live_source *source)
{
	const struct mr_scenario_migration *migration = &source->setup.scenario->migration;

	for (uint32_t i = 0; i < MR_SCENARIO_CONNECTIONS_MAX; i++)
		source->connections[i].socket = -1;
	mr_live_threads_init(&source->threads, source,
			     MR_SOURCE_MULTIFD + (migration->capabilities & MR_CAPABILITY_MULTIFD
							  ? migration->multifd_channels
							  : 0));
}

int mr_live_source_new(struct mr_live_source **result, const struct mr_live_source_setup *setup, char *error,
		       size_t error_size)
{
	struct mr_live_source *source = calloc(1, sizeof(*source));

	*result = NULL;
	if (!source) {
		snprintf(error, error_size, "no memory for a source");
		return -1;
	}
	source->setup = *setup;
	source->board = setup->board;
	set_threads(source);
	source->guest = mr_live_guest_new(setup->scenario, setup->memories, error, error_size);
	if (!source->guest || start_machine(source, error, error_size) < 0) {
		mr_live_source_free(source);
		return -1;
	}
	*result = source;
	return 0;
}

void mr_live_source_free(struct mr_live_source *source)
{
	if (!source)
		return;
	if (source->outgoing)
		mr_outgoing_clear(source->outgoing);
	for (uint32_t i = 0; i < source->connection_count; i++)
		mr_connection_close(&source->connections[i]);
	mr_live_threads_clear(&source->threads);
	mr_dirty_stop(source->dirty);
	mr_live_guest_free(source->guest);
	free(source->pages);
	free(source->device_body);
	free(source->dirty_bits);
	free(source->arena);
	free(source);
}

void mr_live_source_page(const struct mr_live_source *source, uint32_t block, uint64_t page, uint8_t *out)
{
	const size_t size = source->setup.scenario->guest.target_page_size;

	mr_host_memory_read(&source->setup.memories[block], page * size, out, size, NULL);
}

/* ---- Running ---- */

static void end_threads(struct mr_live_source *source)
{
	pthread_mutex_lock(&source->threads.lock);
	source->threads.over = true;
	for (uint32_t i = 0; i < source->connection_count; i++)
		mr_connection_shut(&source->connections[i]);
	mr_live_wake_all(&source->threads);
	pthread_mutex_unlock(&source->threads.lock);
	mr_live_threads_join_all(&source->threads);
	mr_live_guest_stop(source->guest);
}

/* The other end is through, and no good end: who waits for it has waited enough, others may still notice by themselves.
 */
static bool has_waited_enough(struct mr_live_source *source)
{
	if (!atomic_load(&source->board->give_up))
		return false;
	if (source->gave_up_at == 0)
		source->gave_up_at = mr_clock();
	return mr_outgoing_status(source->outgoing) == MR_SOURCE_STATUS_POSTCOPY_PAUSED ||
	       mr_clock() - source->gave_up_at > GRACE;
}

/* The end of either, or of all patience. */
static bool is_through(struct mr_live_source *source)
{
	const struct mr_live_board *board = source->board;

	return source->finished || source->failed || source->host_failed || has_waited_enough(source) ||
	       atomic_load(&board->destination_gone) || mr_live_guest_complaint(source->guest) ||
	       mr_clock() - board->started > source->setup.scenario->migration.time_limit;
}

/* Whether the migration failed, and the guest goes on here. */
static bool wait_for_end(struct mr_live_source *source)
{
	bool through, returned;

	do {
		mr_clock_sleep(LOOK_AGAIN);
		pthread_mutex_lock(&source->threads.lock);
		mr_live_source_operate(source);
		through = is_through(source);
		returned = source->failed && mr_live_guest_runs(source->guest);
		pthread_mutex_unlock(&source->threads.lock);
	} while (!through);
	source->board->source_guest_runs = returned;
	return returned;
}

static void explain_stop(const struct mr_live_source *source, char *error, size_t error_size)
{
	const struct mr_live_board *board = source->board;
	const char *status = mr_source_status_name(mr_outgoing_status(source->outgoing));
	const bool moved = atomic_load(&board->moved_at) != 0;

	if (atomic_load(&board->destination_gone))
		snprintf(error, error_size,
			 "source: the destination's process is gone in status %s: %s (%" PRIu64 " pages not yet sent)",
			 status, moved ? "the guest ran there and is lost" : "the guest goes on here, nothing is lost",
			 mr_outgoing_dirty_count(source->outgoing));
	else if (source->failed)
		snprintf(error, error_size, "%s", source->reason);
	else if (atomic_load(&board->give_up))
		snprintf(error, error_size, "source: given up in status %s, the destination's %s", status,
			 mr_status_name((enum mr_status)atomic_load(&board->destination_status)));
	else
		snprintf(error, error_size, "source: no end within %" PRIu64 " ms, status %s, the destination's %s",
			 source->setup.scenario->migration.time_limit / 1000000, status,
			 mr_status_name((enum mr_status)atomic_load(&board->destination_status)));
}

/* The guest, if it runs here in the end, goes on for a while, and must not have lost a write by the attempt. */
static enum mr_end judge_return(struct mr_live_source *source, char *error, size_t error_size)
{
	char lost[ERROR_MAX];

	snprintf(error, error_size, "%s", source->reason);
	mr_live_guest_touches(source->guest, source->touches);
	if (mr_live_guest_check(source->guest, source->touches, lost, sizeof(lost)))
		return MR_END_RETURNED;
	snprintf(error, error_size, "%s", lost);
	return MR_END_FAILED;
}

/* The other end's process has ended by itself, not by somebody's hand. */
static bool is_stranded(const struct mr_live_source *source)
{
	return !atomic_load(&source->board->destination_gone) &&
	       (mr_outgoing_status(source->outgoing) == MR_SOURCE_STATUS_POSTCOPY_PAUSED || source->failed);
}

static enum mr_end judge(struct mr_live_source *source, char *error, size_t error_size)
{
	const char *complaint = mr_live_guest_complaint(source->guest);

	if (!complaint && !source->host_failed && source->finished)
		return mr_live_guest_check(source->guest, source->touches, error, error_size) ? MR_END_GOOD
											      : MR_END_FAILED;
	if (!complaint && !source->host_failed && source->failed && !atomic_load(&source->board->moved_at))
		return judge_return(source, error, error_size);
	if (!complaint && !source->host_failed && is_stranded(source)) {
		explain_stop(source, error, error_size);
		return MR_END_STRANDED;
	}
	if (complaint)
		snprintf(error, error_size, "source: %s", complaint);
	else if (source->host_failed || source->failed)
		snprintf(error, error_size, "%s", source->reason);
	else
		explain_stop(source, error, error_size);
	return MR_END_FAILED;
}

static void let_guest_run(const struct mr_live_source *source)
{
	const uint64_t end = mr_clock() + source->setup.scenario->migration.run_after;

	while (mr_clock() < end)
		mr_clock_sleep(LOOK_AGAIN);
}

enum mr_end mr_live_source_run(struct mr_live_source *source, char *error, size_t error_size)
{
	mr_live_guest_fill(source->guest);
	if (mr_live_guest_start(source->guest, NULL, error, error_size) < 0) {
		mr_live_guest_stop(source->guest);
		return MR_END_FAILED;
	}
	if (!mr_live_threads_start(&source->threads, run_actor)) {
		pthread_mutex_lock(&source->threads.lock);
		mr_live_source_host_failed(source, "source: the host gives no more threads");
		pthread_mutex_unlock(&source->threads.lock);
	} else if (wait_for_end(source)) {
		let_guest_run(source);
	}
	end_threads(source);
	mr_outgoing_statistics(source->outgoing, &source->board->statistics);
	memcpy(source->board->source_touches, source->touches, sizeof(source->touches));
	return judge(source, error, error_size);
}
