/* destination.c: the destination of a recorded migration once more, by its nondeterminism log, and compared. */
#include "sim/record/destination.h"

#include "ref/wire/wire.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { SPARE_CONNECTIONS = 8, ORDINARY_PAGE_SIZE = 4096 };

static const char LOG_NAME[] = "nondeterminism.jsonl";

/* A trace beside the machine that runs: how far each actor's lines were compared. */
struct comparison {
	const struct mr_trace *trace;
	size_t *next; /* of each line: the next one that is compared, of the same actor */
	size_t first[MR_ACTOR_COUNT];
	size_t locked; /* next line of those printed under a lock */
	bool parted[MR_ACTOR_COUNT];
	bool locked_parted;
	struct mr_recent recent;
};

struct replayer {
	struct mr_destination *result;
	const struct mr_destination_options *options;
	struct mr_world world;
	struct comparison *comparison; /* NULL without a trace */
	struct mr_action_lines *lines; /* of the recording; NULL without them */
	bool unassembled;              /* what they say of huge pages leaves their contents out */
	int injected[MR_ACTOR_COUNT];  /* error of the actor's next asked action */
};

/* ---- Configuration ---- */

/* Blocks of the list that the source sent, in its order; a block that only a bad record names is none. */
static uint32_t copy_blocks(struct mr_incoming_block *blocks, const struct mr_session *session)
{
	uint32_t count = 0;

	while (count < session->block_count && session->blocks[count].declared) {
		const struct mr_block *block = &session->blocks[count];

		blocks[count] = (struct mr_incoming_block){
			.name = block->name,
			.used_length = block->used_length,
			.page_size = block->page_size,
			.rank = count,
		};
		count++;
	}
	return count;
}

/* The rank of a block is the number of blocks with a lower address. */
static void rank_blocks(struct mr_incoming_block *blocks, uint32_t count, const struct mr_trace *trace)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct mr_trace_block *own = NULL;
		uint32_t rank = 0;

		for (size_t j = 0; j < trace->block_count; j++)
			if (mr_bytes_equal_string(trace->blocks[j].name, blocks[i].name))
				own = &trace->blocks[j];
		for (size_t j = 0; own && j < trace->block_count; j++)
			rank += trace->blocks[j].address < own->address;
		if (own)
			blocks[i].rank = rank;
	}
}

static void configure(struct mr_incoming_config *config, struct mr_incoming_block *blocks,
		      const struct mr_migration *migration, bool strict)
{
	const struct mr_recording *recording = migration->recording;

	memset(config, 0, sizeof(*config));
	config->context = migration->session->context;
	config->context.description = migration->description;
	config->context.description_foreign = false;
	config->target_page_size = migration->session->target_page_size;
	/* Of huge pages the manifest tells the size of those, not of the host's ordinary page. */
	if (!recording->backend || strcmp(recording->backend, "hugetlb") != 0)
		config->host_page_size = (uint32_t)recording->host_page_size;
	if (config->host_page_size == 0)
		config->host_page_size = ORDINARY_PAGE_SIZE;
	config->strict = strict;
	config->start_paused = json_is_true(json_object_get(recording->manifest, "destination_paused"));
	config->connections_max = recording->channel_count + SPARE_CONNECTIONS;
	config->blocktime = mr_recording_has_capability(recording, "postcopy-blocktime");
	config->vcpu_count = config->blocktime ? mr_blocktime_vcpus(recording) : 0;
	mr_profile_init(&config->profile, recording->destination_qemu);
	if (recording->machine)
		mr_profile_apply_machine(&config->profile, recording->machine);
	config->blocks = blocks;
	config->block_count = copy_blocks(blocks, migration->session);
	for (uint32_t i = 0; i < config->block_count; i++)
		blocks[i].not_zeroable = blocks[i].page_size > config->host_page_size;
}

/* ---- Comparing with the trace ---- */

static bool is_locked(enum mr_event_kind kind)
{
	return kind == MR_EVENT_REQUEST_ADDED || kind == MR_EVENT_REQUEST_DONE;
}

/* Lines of faults answer to the log, all others to actions. */
static bool is_compared(enum mr_event_kind kind)
{
	return kind == MR_EVENT_FAULT || mr_event_is_expected(kind);
}

static size_t next_locked(const struct mr_trace *trace, size_t from)
{
	while (from < trace->count && !is_locked(trace->events[from].kind))
		from++;
	return from;
}

static struct comparison *start_comparison(const struct mr_trace *trace)
{
	struct comparison *comparison = calloc(1, sizeof(*comparison));

	if (!comparison)
		return NULL;
	comparison->trace = trace;
	comparison->next = malloc((trace->count + 1) * sizeof(*comparison->next));
	if (!comparison->next) {
		free(comparison);
		return NULL;
	}
	for (unsigned i = 0; i < MR_ACTOR_COUNT; i++)
		comparison->first[i] = trace->count;
	for (size_t i = trace->count; i-- > 0;) {
		const struct mr_event *event = &trace->events[i];

		if (event->actor >= MR_ACTOR_COUNT || !is_compared(event->kind))
			continue;
		comparison->next[i] = comparison->first[event->actor];
		comparison->first[event->actor] = i;
	}
	comparison->locked = next_locked(trace, 0);
	return comparison;
}

static void end_comparison(struct comparison *comparison)
{
	if (comparison)
		free(comparison->next);
	free(comparison);
}

/* Of all differences the one that stands first in the trace is kept. */
static void part(struct replayer *replayer, size_t line, unsigned actor, const struct mr_event *made,
		 const char *reason)
{
	struct mr_difference *difference = &replayer->result->difference;

	if (difference->found && difference->event <= line)
		return;
	mr_difference_set(difference, replayer->comparison->trace, line, replayer->world.incoming,
			  &replayer->comparison->recent, actor, made, reason);
}

static void compare_locked(struct replayer *replayer, const struct mr_event *made)
{
	struct comparison *comparison = replayer->comparison;
	const struct mr_trace *trace = comparison->trace;
	const size_t line = comparison->locked;

	if (comparison->locked_parted)
		return;
	if (line == trace->count || trace->events[line].actor != made->actor ||
	    !mr_event_equal(made, &trace->events[line])) {
		comparison->locked_parted = true;
		part(replayer, line, made->actor, made, NULL);
		return;
	}
	replayer->result->locked_lines++;
	comparison->locked = next_locked(trace, line + 1);
}

static void compare_event(struct replayer *replayer, const struct mr_event *made)
{
	struct comparison *comparison = replayer->comparison;
	const struct mr_trace *trace = comparison->trace;
	const size_t line = comparison->first[made->actor];

	if (trace->seen[made->kind] == 0) {
		replayer->result->not_traced[made->kind]++;
		return;
	}
	if (is_locked(made->kind))
		compare_locked(replayer, made);
	if (comparison->parted[made->actor])
		return;
	if (line == trace->count || !mr_event_equal(made, &trace->events[line])) {
		comparison->parted[made->actor] = true;
		part(replayer, line, made->actor, made, NULL);
		return;
	}
	replayer->result->lines++;
	comparison->first[made->actor] = comparison->next[line];
}

static void compare_action(struct replayer *replayer, const struct mr_action *action)
{
	struct mr_event events[MR_EVENTS_PER_ACTION];
	const size_t count = mr_action_events(replayer->world.incoming, action, events);

	mr_difference_follow(&replayer->result->difference, replayer->world.incoming, action);
	mr_recent_add(&replayer->comparison->recent, replayer->world.incoming, action);
	for (size_t i = 0; i < count; i++) {
		events[i].actor = action->actor;
		compare_event(replayer, &events[i]);
	}
}

/* Lines that nothing of the machine answers to. */
static void compare_rest(struct replayer *replayer)
{
	struct comparison *comparison = replayer->comparison;
	const struct mr_trace *trace = comparison->trace;

	for (size_t i = 0; i < trace->count; i++) {
		const struct mr_event *event = &trace->events[i];

		if (event->actor >= MR_ACTOR_COUNT && mr_event_is_expected(event->kind))
			part(replayer, i, event->actor, NULL, "nobody prints this line");
	}
	for (unsigned i = 0; i < MR_ACTOR_COUNT; i++)
		if (!comparison->parted[i] && comparison->first[i] < trace->count)
			part(replayer, comparison->first[i], i, NULL, "its log has ended");
}

/* ---- Running by a log ---- */

/* The log does not fit: said once, and the run ends there. */
__attribute__((format(printf, 3, 4))) static bool misfit(struct replayer *replayer, enum mr_rule rule,
							 const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(replayer->result->reason, sizeof(replayer->result->reason), format, arguments);
	va_end(arguments);
	replayer->result->log_rule = rule;
	return false;
}

static void carry_out(struct replayer *replayer, const struct mr_action *action)
{
	int error = replayer->injected[action->actor];

	replayer->injected[action->actor] = 0;
	if (!error)
		error = mr_world_carry_out(&replayer->world, action);
	mr_incoming_complete(replayer->world.incoming, action->actor, error);
}

static bool compare_line(struct replayer *replayer, const struct mr_action *action)
{
	struct mr_world *world = &replayer->world;
	struct mr_action told = *action;

	if (action->kind == MR_ACTION_PLACE && replayer->unassembled &&
	    action->placed.length > mr_incoming_session(world->incoming)->target_page_size)
		told.placed.data = NULL;
	world->failed |=
		mr_action_lines_take(replayer->lines, world->incoming, &told, world->error, sizeof(world->error)) < 0;
	return !world->failed;
}

/* What an action says, wherever actions are written down. */
static bool tell_action(struct replayer *replayer, const struct mr_action *action)
{
	struct mr_world *world = &replayer->world;

	if (replayer->comparison)
		compare_action(replayer, action);
	if (replayer->options->actions)
		mr_action_print(replayer->options->actions, world->incoming, action, replayer->result->actions);
	return !replayer->lines || compare_line(replayer, action);
}

static bool step(struct replayer *replayer, size_t number, unsigned actor)
{
	struct mr_action action;

	if (mr_world_step(&replayer->world, actor, &action) != MR_STEP_ACTION)
		return misfit(replayer, MR_LOG_003, "record %zu: actor %s cannot go on", number, mr_actor_name(actor));
	if (!tell_action(replayer, &action))
		return false;
	replayer->result->actions++;
	replayer->result->finished |= action.kind == MR_ACTION_FINISHED;
	if (action.asked)
		carry_out(replayer, &action);
	if (replayer->options->watch)
		replayer->options->watch(replayer->options->watch_argument, &replayer->world, NULL, &action);
	return true;
}

static bool wait(struct replayer *replayer, size_t number, unsigned actor)
{
	struct mr_action action;

	return mr_world_step(&replayer->world, actor, &action) != MR_STEP_ACTION ||
	       misfit(replayer, MR_LOG_003, "record %zu: actor %s does not wait", number, mr_actor_name(actor));
}

static bool stop_short(struct replayer *replayer, size_t number, const struct mr_log_record *record)
{
	return mr_world_step_short(&replayer->world, record->actor, record->channel, record->bytes) ||
	       misfit(replayer, MR_LOG_003,
		      "record %zu: actor %s does not stop for more than %" PRIu64 " bytes of connection %" PRIu32,
		      number, mr_actor_name(record->actor), record->bytes, record->channel);
}

static bool fault(struct replayer *replayer, size_t number, const struct mr_log_record *record)
{
	const struct mr_event line = {
		.kind = MR_EVENT_FAULT,
		.actor = MR_ACTOR_FAULT,
		.block = record->block,
		.offset = record->offset,
		.value = record->thread,
	};

	if (replayer->comparison)
		compare_event(replayer, &line);
	replayer->result->faults++;
	return mr_world_fault(&replayer->world, record->block, record->offset, record->thread) ||
	       misfit(replayer, MR_LOG_004, "record %zu: the fault handler takes no fault", number);
}

static bool obey(struct replayer *replayer, size_t number, const struct mr_log_record *record)
{
	struct mr_world *world = &replayer->world;

	switch (record->kind) {
	case MR_LOG_OPEN:
		return mr_world_connect(world, record->channel, record->role) == 0 ||
		       misfit(replayer, MR_LOG_002, "record %zu: connection %" PRIu32 " cannot be accepted", number,
			      record->channel);
	case MR_LOG_STEP:
		for (uint64_t i = 0; i < record->count; i++)
			if (!step(replayer, number, record->actor))
				return false;
		return true;
	case MR_LOG_WAIT:
		return wait(replayer, number, record->actor);
	case MR_LOG_SHORT:
		return stop_short(replayer, number, record);
	case MR_LOG_FAULT:
		return fault(replayer, number, record);
	case MR_LOG_END:
		return mr_world_end(world, record->channel, record->bytes, record->error) == 0 ||
		       misfit(replayer, MR_LOG_002, "record %zu: connection %" PRIu32 " is not open", number,
			      record->channel);
	case MR_LOG_ERROR:
		replayer->injected[record->actor] = record->error;
		return true;
	case MR_LOG_RETURN_END:
		if (record->channel >= world->connection_count)
			return misfit(replayer, MR_LOG_002, "record %zu: no connection %" PRIu32, number,
				      record->channel);
		mr_world_end_return(world, record->channel, record->bytes);
		return true;
	case MR_LOG_VCPU:
		return mr_incoming_vcpu(world->incoming, (uint32_t)record->count, record->thread) ||
		       misfit(replayer, MR_LOG_002, "record %zu: no vCPU %" PRIu64, number, record->count);
	case MR_LOG_TIME:
		mr_incoming_set_time(world->incoming, record->count);
		return true;
	case MR_LOG_CLIENT:
		return mr_incoming_register_client(world->incoming) == (int)record->count ||
		       misfit(replayer, MR_LOG_002, "record %zu: client %" PRIu64 " cannot begin", number,
			      record->count);
	case MR_LOG_CLIENT_FAULT:
		return mr_incoming_client_fault(world->incoming, (unsigned)record->count, record->block,
						record->offset) ||
		       misfit(replayer, MR_LOG_004, "record %zu: the fault handler takes no fault of client %" PRIu64,
			      number, record->count);
	}
	return misfit(replayer, MR_LOG_002, "record %zu: of no kind", number);
}

static void run_log(struct replayer *replayer, const struct mr_log *log)
{
	struct mr_destination *result = replayer->result;
	bool fits = true;

	for (size_t i = 0; i < log->count && fits && !replayer->world.failed; i++) {
		const struct mr_log_record *record = &log->records[i];

		fits = obey(replayer, i, record);
		if (fits && replayer->options->watch && record->kind != MR_LOG_STEP)
			replayer->options->watch(replayer->options->watch_argument, &replayer->world, record, NULL);
	}
	result->ran = true;
	result->log_records = log->count;
	result->state = mr_incoming_postcopy_state(replayer->world.incoming);
	result->status = mr_incoming_status(replayer->world.incoming);
	result->blamed = *mr_incoming_error(replayer->world.incoming);
	if (replayer->comparison)
		compare_rest(replayer);
	if (!replayer->lines)
		return;
	replayer->world.failed |=
		mr_action_lines_end(replayer->lines, replayer->world.error, sizeof(replayer->world.error)) < 0;
	mr_action_lines_result(replayer->lines, &result->lines_of_actions);
}

static void end_backing(struct replayer *replayer)
{
	const struct mr_backing *backing = replayer->options->backing;
	struct mr_backing_result *result = &replayer->result->backing;
	struct mr_world *world = &replayer->world;

	if (!backing || world->failed)
		return;
	world->failed = backing->end(backing->argument, result, world->error, sizeof(world->error)) < 0;
	result->used = true;
	result->name = backing->name;
}

/* ---- Return paths ---- */

/* The message that holds byte `at` of a return path: its offset, and its type. */
static size_t find_message(struct mr_bytes path, size_t at, unsigned *type)
{
	struct mr_session *session = malloc(sizeof(*session));
	struct mr_decoder *decoder = malloc(sizeof(*decoder));
	struct mr_record record;
	size_t begin = 0, end = 0;

	*type = 0;
	if (session && decoder) {
		mr_session_init(session, NULL, NULL, NULL);
		mr_decoder_init(decoder, session, MR_ROLE_RETURN, 0);
		while (end <= at &&
		       mr_decode(decoder, path.data + end, path.length - end, true, &record) == MR_RECORD) {
			begin = end;
			end += (size_t)record.length;
			*type = record.message.type;
		}
	}
	free(session);
	free(decoder);
	return begin;
}

static void describe_return(struct mr_return_result *result, struct mr_bytes sent, struct mr_bytes recorded)
{
	const size_t at = (size_t)result->difference;
	char made[8] = "nothing", found[8] = "nothing";
	unsigned type;
	const size_t begin = find_message(at < sent.length ? sent : recorded, at, &type);

	if (at < sent.length)
		snprintf(made, sizeof(made), "%02x", sent.data[at]);
	if (at < recorded.length)
		snprintf(found, sizeof(found), "%02x", recorded.data[at]);
	snprintf(result->text, sizeof(result->text),
		 "byte 0x%zx: recorded %s, sent %s, in %s at 0x%zx; recorded %zu bytes, sent %zu", at, found, made,
		 mr_return_name(type) ? mr_return_name(type) : "a message", begin, recorded.length, sent.length);
}

/* Of a connection that broke the recording may lack what was sent last. */
static void compare_return(struct mr_return_result *result, struct mr_bytes sent, struct mr_bytes recorded)
{
	size_t at = 0;

	result->recorded = recorded.length;
	result->sent = sent.length;
	while (at < sent.length && at < recorded.length && sent.data[at] == recorded.data[at])
		at++;
	result->difference = at;
	result->identical = at == recorded.length && (at == sent.length || result->cut);
	if (!result->identical)
		describe_return(result, sent, recorded);
}

static bool is_cut(const struct mr_migration *migration, const struct mr_channel *channel)
{
	if (channel->role == MR_ROLE_RETURN)
		return mr_channel_is_cut(channel);
	return mr_migration_continues(migration, channel);
}

static int compare_returns(struct replayer *replayer, const struct mr_migration *migration)
{
	struct mr_destination *result = replayer->result;

	result->returns = calloc((size_t)replayer->world.connection_count + 1, sizeof(*result->returns));
	if (!result->returns)
		return -1;
	for (uint32_t i = 0; i < replayer->world.connection_count; i++) {
		const struct mr_world_connection *connection = &replayer->world.connections[i];
		struct mr_return_result *here = &result->returns[result->return_count];

		if (!connection->has_return && connection->sent_length == 0)
			continue;
		result->return_count++;
		here->channel = i;
		here->cut = !migration->finished;
		for (size_t j = 0; j < migration->channel_count; j++)
			if (migration->channels[j].number == i)
				here->cut |= is_cut(migration, &migration->channels[j]);
		compare_return(here, (struct mr_bytes){connection->sent, connection->sent_length},
			       connection->recorded);
	}
	return 0;
}

/* ---- The log ---- */

/* The path of a log that is given: by the user, else beside the recording. NULL if there is none; the caller frees. */
static char *given_log(const struct mr_migration *migration, const struct mr_destination_options *options)
{
	char *path = NULL;

	if (options->from_log)
		return strdup(options->from_log);
	if (!migration->recording->has_log || asprintf(&path, "%s/%s", migration->recording->directory, LOG_NAME) < 0)
		return NULL;
	return path;
}

static bool is_about(const struct mr_log_header *header, const struct mr_incoming_config *config)
{
	const struct mr_incoming_config *told = &header->config;
	const uint32_t page_size = told->target_page_size ? told->target_page_size : ORDINARY_PAGE_SIZE;

	if (strcmp(told->profile.release, config->profile.release) != 0 ||
	    strcmp(told->context.machine, config->context.machine) != 0 || page_size != config->target_page_size ||
	    told->block_count < config->block_count)
		return false;
	for (uint32_t i = 0; i < config->block_count; i++)
		if (strcmp(told->blocks[i].name, config->blocks[i].name) != 0)
			return false;
	return true;
}

/* Of a stream that broke early a log may know more blocks. False if they cannot be known by the same numbers. */
static bool declare_blocks(struct mr_session *session, const struct mr_incoming_config *config)
{
	for (uint32_t i = session->block_count; i < config->block_count; i++) {
		const char *name = config->blocks[i].name;

		if (mr_session_name_block(session, (struct mr_bytes){(const uint8_t *)name, strlen(name)}) != i)
			return false;
		session->blocks[i].declared = true;
		session->blocks[i].used_length = config->blocks[i].used_length;
	}
	return true;
}

/* A log is about this recording's machines and blocks, or its numbers would mean others. */
static int adopt_header(struct mr_log_header *header, struct mr_incoming_config *config, struct mr_session *session,
			const char *path, char *error, size_t error_size)
{
	if (!is_about(header, config) || !declare_blocks(session, &header->config)) {
		snprintf(error, error_size,
			 "%s: header: expected the recording's releases, machine, page size and blocks, found others: "
			 "%s",
			 path, mr_rule_id(MR_LOG_001));
		return -1;
	}
	header->config.context.description = config->context.description;
	*config = header->config;
	return 0;
}

static int derive_log(struct mr_log *log, struct mr_destination *destination, const struct mr_migration *migration,
		      const struct mr_incoming_config *config, struct mr_trace *trace, char *error, size_t error_size)
{
	struct mr_derivation *derivation = calloc(1, sizeof(*derivation));
	struct mr_world world;
	int status = -1;

	if (derivation && mr_world_init(&world, migration, config, NULL, NULL) == 0)
		status = mr_derive(log, derivation, &world, trace);
	if (!derivation) {
		snprintf(error, error_size, "no memory for a nondeterminism log");
		return -1;
	}
	if (status < 0)
		snprintf(error, error_size, "%s", world.error);
	mr_world_clear(&world);
	destination->ties = derivation->ties;
	destination->difference = derivation->difference;
	destination->difference.closed = true;
	free(derivation);
	return status;
}

/* A log without threads and times leaves all figures at 0. */
static bool is_timed(const struct mr_log *log)
{
	for (size_t i = 0; i < log->count; i++)
		if (log->records[i].kind == MR_LOG_VCPU || log->records[i].kind == MR_LOG_TIME)
			return true;
	return false;
}

/* ---- The whole ---- */

static int replay(struct mr_destination *destination, const struct mr_migration *migration,
		  const struct mr_destination_options *options, const struct mr_incoming_config *config,
		  const struct mr_log *log, const struct mr_trace *trace, struct mr_memory *memory, char *error,
		  size_t error_size)
{
	struct replayer *replayer = calloc(1, sizeof(*replayer));
	int status = -1;

	if (!replayer) {
		snprintf(error, error_size, "no memory for a replay");
		return -1;
	}
	replayer->result = destination;
	replayer->options = options;
	replayer->unassembled = log->unassembled;
	if (mr_action_lines_open(&replayer->lines, migration->recording, error, error_size) < 0) {
		free(replayer);
		return -1;
	}
	if (trace)
		replayer->comparison = start_comparison(trace);
	if (trace && !replayer->comparison) {
		snprintf(error, error_size, "no memory for a comparison");
	} else if (mr_world_init(&replayer->world, migration, config, memory, options->backing) == 0) {
		run_log(replayer, log);
		end_backing(replayer);
		mr_blocktime_compare(&destination->blocktime, migration->recording, replayer->world.incoming,
				     is_timed(log));
		mr_world_judge_received(&replayer->world);
		status = compare_returns(replayer, migration);
	}
	if (status < 0 || replayer->world.failed) {
		if (replayer->world.error[0])
			snprintf(error, error_size, "%s", replayer->world.error);
		status = -1;
	}
	mr_world_clear(&replayer->world);
	end_comparison(replayer->comparison);
	mr_action_lines_close(replayer->lines);
	free(replayer);
	return status;
}

static int write_log(const struct mr_log *log, const struct mr_incoming_config *config,
		     const struct mr_destination_options *options, char *error, size_t error_size)
{
	if (!options->log || mr_log_write(log, config, options->log) == 0)
		return 0;
	snprintf(error, error_size, "the nondeterminism log cannot be written");
	return -1;
}

/* Without blocks of the stream's there is no machine, unless a log tells them. */
static bool is_possible(struct mr_destination *destination, const struct mr_incoming_config *config)
{
	char reason[96] = "the main channel lists no blocks";

	if (config->block_count && mr_incoming_size(config, reason))
		return true;
	snprintf(destination->reason, sizeof(destination->reason), "%s", reason);
	return false;
}

static int get_log(struct mr_log *log, struct mr_log_header *header, struct mr_destination *destination,
		   const struct mr_migration *migration, const struct mr_destination_options *options,
		   struct mr_incoming_config *config, struct mr_trace *trace, char *error, size_t error_size)
{
	char *path = given_log(migration, options);
	int status;

	destination->from_log = path;
	if (!path)
		return is_possible(destination, config)
			       ? derive_log(log, destination, migration, config, trace, error, error_size)
			       : 0;
	status = mr_log_read(log, header, path, error, error_size);
	if (status == 0)
		status = adopt_header(header, config, migration->session, path, error, error_size);
	if (status == 0)
		is_possible(destination, config);
	free(path);
	return status;
}

static int run_with(struct mr_destination *destination, const struct mr_migration *migration,
		    const struct mr_destination_options *options, struct mr_incoming_config *config,
		    struct mr_trace *trace, struct mr_memory *memory, char *error, size_t error_size)
{
	struct mr_log_header header = {0};
	struct mr_log log = {0};
	int status = get_log(&log, &header, destination, migration, options, config, trace, error, error_size);

	if (status == 0 && !destination->reason[0])
		status = write_log(&log, config, options, error, error_size);
	if (status == 0 && !destination->reason[0])
		status = replay(destination, migration, options, config, &log, trace, memory, error, error_size);
	mr_log_clear(&log);
	mr_log_header_clear(&header);
	return status;
}

/* What its initial packet says of a multifd connection: which channel it is. -1 if that cannot be read. */
static int receiver_id(const struct mr_migration *migration, unsigned connection)
{
	enum { ID_OFFSET = 24 };
	struct mr_input *input;
	char name[24], ignored[256];
	const uint8_t *window;
	size_t length;
	bool at_end;
	int id = -1;

	snprintf(name, sizeof(name), "ch%u.fwd", connection);
	if (mr_recording_open_file(migration->recording, name, &input, ignored, sizeof(ignored)) < 0)
		return -1;
	if (mr_input_fill(input, ID_OFFSET + 1) == 0) {
		window = mr_input_window(input, &length, &at_end);
		if (length > ID_OFFSET)
			id = window[ID_OFFSET];
	}
	mr_input_close(input);
	return id;
}

/* The machine numbers receivers by the order of their connections, the trace by what their initial packets say. */
static void order_receivers(struct mr_trace *trace, const struct mr_migration *migration)
{
	unsigned order[MR_INCOMING_MULTIFD_MAX] = {0};
	unsigned count = 0;

	for (unsigned i = 0; i < MR_INCOMING_MULTIFD_MAX; i++)
		order[i] = i;
	for (size_t i = 0; i < migration->channel_count && count < MR_INCOMING_MULTIFD_MAX; i++) {
		int id;

		if (migration->channels[i].role != MR_ROLE_MULTIFD)
			continue;
		id = receiver_id(migration, migration->channels[i].number);
		if (id >= 0)
			order[id] = count;
		count++;
	}
	for (size_t i = 0; i < trace->count; i++)
		if (trace->events[i].actor >= MR_ACTOR_MULTIFD && trace->events[i].actor < MR_ACTOR_COUNT)
			trace->events[i].actor = MR_ACTOR_MULTIFD + order[trace->events[i].actor - MR_ACTOR_MULTIFD];
}

static int open_trace(struct mr_trace *trace, const struct mr_migration *migration,
		      const struct mr_incoming_config *config, char *error, size_t error_size)
{
	struct mr_bytes *names = calloc((size_t)config->block_count + 1, sizeof(*names));
	int status;

	if (!names) {
		snprintf(error, error_size, "no memory for a trace");
		return -1;
	}
	for (uint32_t i = 0; i < config->block_count; i++)
		names[i] = (struct mr_bytes){(const uint8_t *)config->blocks[i].name, strlen(config->blocks[i].name)};
	status = mr_trace_open(trace, migration->recording, names, config->block_count, error, error_size);
	free(names);
	if (status == 0)
		order_receivers(trace, migration);
	return status;
}

int mr_destination_run(struct mr_destination *destination, const struct mr_migration *migration,
		       const struct mr_destination_options *options, struct mr_memory *memory, char *error,
		       size_t error_size)
{
	struct mr_incoming_block *blocks = calloc(MR_BLOCKS_MAX, sizeof(*blocks));
	struct mr_incoming_config config;
	struct mr_trace trace = {0};
	bool readable = false;
	int status;

	memset(destination, 0, sizeof(*destination));
	if (!blocks) {
		snprintf(error, error_size, "no memory for blocks");
		return -1;
	}
	configure(&config, blocks, migration, options->strict);
	destination->has_trace = migration->recording->has_destination_trace;
	destination->should_finish = migration->finished;
	readable =
		destination->has_trace && config.block_count &&
		open_trace(&trace, migration, &config, destination->trace_error, sizeof(destination->trace_error)) == 0;
	if (readable)
		rank_blocks(blocks, config.block_count, &trace);
	status =
		run_with(destination, migration, options, &config, readable ? &trace : NULL, memory, error, error_size);
	if (readable)
		mr_trace_close(&trace);
	destination->actions_identical = readable && !destination->difference.found;
	destination->exempt =
		!destination->ran && config.block_count == 0 && !destination->should_finish && !options->backing;
	free(blocks);
	return status;
}

void mr_destination_clear(struct mr_destination *destination)
{
	free(destination->returns);
	memset(destination, 0, sizeof(*destination));
}

bool mr_destination_holds(const struct mr_destination *destination)
{
	bool holds = (destination->ran || destination->exempt) && destination->log_rule == MR_NO_RULE &&
		     (destination->finished || !destination->should_finish) &&
		     (!destination->blocktime.compared || destination->blocktime.identical) &&
		     (!destination->backing.used || destination->backing.holds);

	for (size_t i = 0; i < destination->return_count; i++)
		holds &= destination->returns[i].identical;
	return holds && (!destination->has_trace || destination->exempt || destination->actions_identical) &&
	       (!destination->lines_of_actions.there || destination->lines_of_actions.identical);
}
