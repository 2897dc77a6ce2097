/* source.c: the source of a recorded migration once more, by its log, and compared. */
#include "sim/record/source.h"
#include "sim/record/source_config.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char LOG_NAME[] = "source-nondeterminism.jsonl";

/* The log's answers to one choice, one after the other. */
struct answers {
	size_t at;     /* record */
	uint64_t used; /* of its count */
};

struct replayer {
	struct mr_source_result *result;
	struct mr_source_world *world;
	const struct mr_source_log *log;
	struct answers answers[MR_CHOICE_COUNT];
};

/* ---- By the log ---- */

__attribute__((format(printf, 2, 3))) static bool misfit(struct replayer *replayer, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(replayer->result->reason, sizeof(replayer->result->reason), format, arguments);
	va_end(arguments);
	return false;
}

static uint64_t choose(void *argument, enum mr_choice choice, uint64_t canonical)
{
	struct replayer *replayer = argument;
	struct answers *answers = &replayer->answers[choice];

	for (; answers->at < replayer->log->count; answers->at++, answers->used = 0) {
		const struct mr_source_log_record *record = &replayer->log->records[answers->at];

		if (record->kind != MR_SOURCE_LOG_CHOOSE || record->choice != choice || answers->used == record->count)
			continue;
		answers->used++;
		return record->answer;
	}
	return canonical;
}

static void count_record(struct mr_source_result *result, const struct mr_source_action *action)
{
	result->records++;
	result->commands += action->send.kind == MR_COMMAND;
	result->discards += action->send.kind == MR_COMMAND && action->send.head.length > 2 &&
			    action->send.head.data[2] == MR_COMMAND_POSTCOPY_RAM_DISCARD;
	result->packets += action->send.kind == MR_MULTIFD_PACKET;
}

static bool make_actions(struct replayer *replayer, size_t number, const struct mr_source_log_record *record)
{
	char actor[MR_SOURCE_ACTOR_TEXT_MAX];

	mr_source_actor_format(record->actor, actor);
	for (uint64_t i = 0; i < record->count && !replayer->world->difference.found; i++) {
		struct mr_source_action action;
		const bool acted = mr_source_world_step(replayer->world, record->actor, &action) == MR_STEP_ACTION;

		if (replayer->world->failed)
			return false;
		replayer->result->steps += acted;
		if (acted != (record->kind == MR_SOURCE_LOG_STEP))
			return misfit(replayer, "record %zu: expected %s of %s, found %s", number,
				      acted ? "no action" : "an action", actor, acted ? "one" : "none");
		if (acted && action.kind == MR_SOURCE_ACTION_SEND)
			count_record(replayer->result, &action);
	}
	return true;
}

static bool obey(struct replayer *replayer, size_t number, const struct mr_source_log_record *record)
{
	struct mr_source_world *world = replayer->world;

	switch (record->kind) {
	case MR_SOURCE_LOG_STEP:
	case MR_SOURCE_LOG_WAIT:
		return make_actions(replayer, number, record);
	case MR_SOURCE_LOG_DIRTY:
		return mr_source_world_dirty(world, record->block, record->start, record->length, record->unchanged) ==
		       0;
	case MR_SOURCE_LOG_UNCHANGED:
		return mr_source_world_unchanged(world, record->block, record->start, record->length) == 0 ||
		       misfit(replayer, "record %zu: pages that are in no block", number);
	case MR_SOURCE_LOG_UNSENT:
		return mr_source_world_unsent(world, record->block, record->start, record->length) == 0 ||
		       misfit(replayer, "record %zu: pages that are in no block", number);
	case MR_SOURCE_LOG_ARRIVE:
		mr_source_world_arrive(world, record->channel, record->bytes, record->ended);
		return true;
	case MR_SOURCE_LOG_BROKEN:
		mr_source_world_break(world, record->channel, record->error);
		return true;
	case MR_SOURCE_LOG_COMMAND:
		return mr_source_world_command(world, record->command) ||
		       misfit(replayer, "record %zu: %s is refused", number, mr_source_command_name(record->command));
	case MR_SOURCE_LOG_GUEST:
		return mr_source_world_guest(world, record->runs) ||
		       misfit(replayer, "record %zu: the guest is not its operator's any more", number);
	case MR_SOURCE_LOG_TIME:
		mr_outgoing_set_time(world->outgoing, record->count);
		return true;
	default:
		return true;
	}
}

static int replay(struct mr_source_result *result, struct mr_source_world *world, const struct mr_source_log *log)
{
	struct replayer replayer = {.result = result, .world = world, .log = log};
	bool fits = true;

	world->config.unusual_choices = MR_CHOICES_UNUSUAL;
	if (mr_source_world_start(world) < 0)
		return -1;
	world->choices = (struct mr_choices){&replayer, choose};
	for (size_t i = 0; i < log->count && fits && !world->failed && !world->difference.found; i++)
		fits = obey(&replayer, i, &log->records[i]);
	result->ran = true;
	result->log_records = log->count;
	result->raced = world->raced;
	result->status = mr_outgoing_status(world->outgoing);
	result->blamed = *mr_outgoing_error(world->outgoing);
	result->finished = result->status == MR_SOURCE_STATUS_COMPLETED || !world->finished;
	result->difference = world->difference;
	mr_outgoing_statistics(world->outgoing, &result->statistics);
	result->pages = result->statistics.pages;
	return world->failed ? -1 : 0;
}

/* ---- Results ---- */

static int compare_wires(struct mr_source_result *result, const struct mr_source_world *world)
{
	result->wires = calloc(world->channel_count + 1, sizeof(*result->wires));
	if (!result->wires)
		return -1;
	for (size_t i = 0; i < world->channel_count; i++) {
		const struct mr_source_channel *channel = &world->channels[i];

		if (!world->recording->channels[i].has_forward && channel->made == 0)
			continue;
		result->wires[result->wire_count++] = (struct mr_source_wire){
			.channel = channel->number,
			.role = channel->role,
			.cut = channel->cut,
			.identical = channel->identical == channel->recorded &&
				     (channel->made == channel->recorded || channel->cut),
			.recorded = channel->recorded,
			.made = channel->made,
		};
	}
	return 0;
}

/* ---- Figures ---- */

static void compare_figure(struct mr_source_result *result, const json_t *object, const char *name, uint64_t counted)
{
	const json_t *told = json_object_get(object, name);

	if (json_is_integer(told) && json_integer_value(told) >= 0 && result->figure_count < MR_SOURCE_FIGURES_MAX)
		result->figures[result->figure_count++] =
			(struct mr_source_figure){name, (uint64_t)json_integer_value(told), counted};
}

/* What query-migrate told at the end, but for what depends on the clock. */
static void compare_figures(struct mr_source_result *result, const struct mr_recording *recording)
{
	const struct mr_outgoing_statistics *own = &result->statistics;
	const json_t *source = json_object_get(recording->manifest, "source");
	const json_t *ram = json_object_get(source, "ram");
	const json_t *cache = json_object_get(source, "xbzrle-cache");

	compare_figure(result, ram, "total", own->total);
	compare_figure(result, ram, "remaining", own->remaining);
	compare_figure(result, ram, "transferred", own->transferred);
	compare_figure(result, ram, "duplicate", own->duplicate);
	compare_figure(result, ram, "normal", own->normal);
	compare_figure(result, ram, "normal-bytes", own->normal_bytes);
	compare_figure(result, ram, "dirty-sync-count", own->dirty_sync_count);
	compare_figure(result, ram, "postcopy-requests", own->postcopy_requests);
	compare_figure(result, ram, "precopy-bytes", own->precopy_bytes);
	compare_figure(result, ram, "downtime-bytes", own->downtime_bytes);
	compare_figure(result, ram, "postcopy-bytes", own->postcopy_bytes);
	compare_figure(result, ram, "multifd-bytes", own->multifd_bytes);
	compare_figure(result, cache, "pages", own->xbzrle_pages);
	compare_figure(result, cache, "bytes", own->xbzrle_bytes);
	compare_figure(result, cache, "cache-miss", own->xbzrle_cache_miss);
	compare_figure(result, cache, "overflow", own->xbzrle_overflow);
}

/* ---- The whole ---- */

/* A recording that brings its own log tells how many actions the source made by it, also behind the last byte. */
static void compare_count(struct mr_source_result *result, const struct mr_recording *recording)
{
	const json_t *told = json_object_get(json_object_get(recording->manifest, "source"), "actions");

	if (json_is_integer(told) && !result->difference.found && !result->reason[0] &&
	    (uint64_t)json_integer_value(told) != result->steps)
		snprintf(result->reason, sizeof(result->reason),
			 "the log has %" PRIu64 " actions, the manifest tells of %" JSON_INTEGER_FORMAT, result->steps,
			 json_integer_value(told));
}

/* The path of a log that is given: by the user, else beside the recording. NULL if there is none; the caller frees. */
static char *given_log(const struct mr_recording *recording, const struct mr_source_options *options)
{
	char *path = NULL;

	if (options->from_log)
		return strdup(options->from_log);
	if (!recording->has_source_log || asprintf(&path, "%s/%s", recording->directory, LOG_NAME) < 0)
		return NULL;
	return path;
}

static int read_log(struct mr_source_world *world, const char *path, struct mr_source_log *log,
		    struct mr_source_log_header *header)
{
	char reason[sizeof(world->error)];

	world->failed = mr_source_log_read(log, header, path, world->error, sizeof(world->error)) < 0;
	if (world->failed)
		return -1;
	if (mr_source_world_adopt(world, &header->config, log->numbered) == 0)
		return 0;
	memcpy(reason, world->error, sizeof(reason));
	snprintf(world->error, sizeof(world->error), "%.200s: line 1: %.200s", path, reason);
	return -1;
}

static int get_log(struct mr_source_result *result, struct mr_source_world *world, const char *path,
		   const struct mr_migration *migration, const struct mr_source_trace *trace, struct mr_source_log *log,
		   struct mr_source_log_header *header)
{
	result->from_log = path != NULL;
	if (path)
		return read_log(world, path, log, header);
	if (mr_source_configure(world, &migration->session->context) < 0 || mr_source_world_start(world) < 0)
		return -1;
	return mr_source_derive(log, &result->given, world, trace);
}

static int run_with(struct mr_source_result *result, struct mr_source_world *world,
		    const struct mr_migration *migration, const struct mr_source_options *options,
		    const struct mr_source_trace *trace, struct mr_source_log *log, struct mr_source_log_header *header)
{
	char *path = given_log(world->recording, options);
	const int status = get_log(result, world, path, migration, trace, log, header);

	free(path);
	if (status < 0)
		return -1;
	if (options->log && mr_source_log_write(log, &world->config, options->log) < 0) {
		world->failed = true;
		snprintf(world->error, sizeof(world->error), "the log of the source cannot be written");
		return -1;
	}
	if (replay(result, world, log) < 0)
		return -1;
	if (!options->from_log)
		compare_count(result, world->recording);
	compare_figures(result, world->recording);
	return compare_wires(result, world);
}

/* What the source's machine is, only a whole list tells. */
static bool is_list_cut(const struct mr_migration *migration)
{
	return migration->channel_count && migration->channels[0].decoder && migration->channels[0].decoder->ram_left;
}

static bool is_exempt(struct mr_source_result *result, const struct mr_migration *migration)
{
	const uint32_t capabilities = migration->session->context.capabilities;

	if (capabilities & MR_CAPABILITY_COMPRESS)
		snprintf(result->reason, sizeof(result->reason), "capability compress is not one of this source");
	else if (!migration->session->context.profile.known && !migration->recording->has_source_log)
		snprintf(result->reason, sizeof(result->reason), "its release is not told");
	else if (migration->session->block_count == 0 && !migration->recording->has_source_log)
		snprintf(result->reason, sizeof(result->reason), "the main channel lists no blocks");
	else if (is_list_cut(migration) && !migration->recording->has_source_log)
		snprintf(result->reason, sizeof(result->reason), "the main channel ends within its list of blocks");
	result->exempt = result->reason[0] != '\0';
	return result->exempt;
}

int mr_source_run(struct mr_source_result *result, const struct mr_migration *migration,
		  const struct mr_source_options *options, char *error, size_t error_size)
{
	struct mr_source_world *world = calloc(1, sizeof(*world));
	struct mr_source_trace trace = {0};
	struct mr_source_log log = {0};
	struct mr_source_log_header header = {0};
	bool traced = false;
	int status = -1;

	memset(result, 0, sizeof(*result));
	if (is_exempt(result, migration)) {
		free(world);
		return 0;
	}
	if (!world) {
		snprintf(error, error_size, "no memory for a source");
		return -1;
	}
	if (migration->recording->has_source_trace)
		traced = mr_source_trace_open(&trace, migration->recording, result->trace_error,
					      sizeof(result->trace_error)) == 0;
	result->has_trace = traced;
	if (mr_source_world_open(world, migration) == 0)
		status = run_with(result, world, migration, options, traced ? &trace : NULL, &log, &header);
	if (status < 0 && !world->failed) {
		/* It is the recording that cannot be of a source. */
		snprintf(result->reason, sizeof(result->reason), "%.150s", world->error);
		status = 0;
	}
	if (status < 0)
		snprintf(error, error_size, "%s: source: %s", migration->recording->directory, world->error);
	mr_source_world_close(world);
	mr_source_trace_close(&trace);
	mr_source_log_clear(&log);
	mr_source_log_header_clear(&header);
	free(world);
	return status;
}

void mr_source_clear(struct mr_source_result *result)
{
	free(result->wires);
	memset(result, 0, sizeof(*result));
}

bool mr_source_holds(const struct mr_source_result *result)
{
	bool holds = result->ran && !result->difference.found && !result->reason[0] && result->finished;

	if (result->exempt)
		return true;
	for (size_t i = 0; i < result->wire_count; i++)
		holds &= result->wires[i].identical;
	return holds && result->trace_error[0] == '\0';
}

double mr_source_share(const struct mr_source_result *result)
{
	const struct mr_source_given *given = &result->given;
	const uint64_t told = given->requests + given->repeats;

	return result->pages + told ? 100.0 * (double)result->pages / (double)(result->pages + told) : 100.0;
}
