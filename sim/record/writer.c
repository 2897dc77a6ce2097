/* writer.c: a migration that is looked on becomes a recording: its streams, logs and actions, while it runs. */
#include "sim/record/actions.h"
#include "sim/record/writer_state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIRST_CAPACITY = 64, ORDINARY_PAGE_SIZE = 4096 };

/* ---- Failing ---- */

void mr_writer_fail(struct mr_writer *writer, const char *format, ...)
{
	va_list arguments;

	if (writer->failed)
		return;
	writer->failed = true;
	va_start(arguments, format);
	vsnprintf(writer->error, sizeof(writer->error), format, arguments);
	va_end(arguments);
}

void mr_writer_no_memory(struct mr_writer *writer)
{
	mr_writer_fail(writer, "%s: no memory for a recording", writer->directory);
}

bool mr_writer_failed(const struct mr_writer *writer)
{
	return writer->failed;
}

struct mr_packed_file *mr_writer_create(struct mr_writer *writer, const char *name)
{
	struct mr_packed_file *file = NULL;
	char reason[sizeof(writer->error)];

	if (!writer->failed &&
	    mr_packed_open(&file, writer->folder, writer->directory, name, reason, sizeof(reason)) < 0)
		mr_writer_fail(writer, "%s", reason);
	return file;
}

void mr_writer_close(struct mr_writer *writer, struct mr_packed_file **file, struct mr_packed_content *content)
{
	struct mr_packed_content ignored;
	char reason[sizeof(writer->error)];

	if (*file && mr_packed_close(*file, content ? content : &ignored, reason, sizeof(reason)) < 0)
		mr_writer_fail(writer, "%s", reason);
	*file = NULL;
}

void *mr_writer_grow(struct mr_writer *writer, void *array, size_t count, size_t *capacity, size_t element)
{
	const size_t larger = *capacity ? 2 * *capacity : FIRST_CAPACITY;
	void *grown;

	if (count < *capacity)
		return array;
	grown = realloc(array, larger * element);
	if (!grown) {
		mr_writer_no_memory(writer);
		return NULL;
	}
	*capacity = larger;
	return grown;
}

/* ---- Streams ---- */

static void create_forward(struct mr_writer *writer, uint32_t number)
{
	char name[24];

	snprintf(name, sizeof(name), "ch%" PRIu32 ".fwd", number);
	writer->channels[number].forward = mr_writer_create(writer, name);
}

static void open_channel(struct mr_writer *writer, const struct mr_source_action *action)
{
	const uint32_t number = action->connect.channel;
	struct mr_writer_channel *channel = &writer->channels[writer->channel_count];

	if (number != writer->channel_count || number >= MR_RECORDING_CHANNELS_MAX) {
		mr_writer_fail(writer, "%s: expected connections 0 to %d in their order, found %" PRIu32,
			       writer->directory, MR_RECORDING_CHANNELS_MAX - 1, number);
		return;
	}
	channel->role = action->connect.role;
	create_forward(writer, number);
	writer->channel_count++;
	writer->multifd |= channel->role == MR_ROLE_MULTIFD;
}

static void write_bytes(struct mr_writer *writer, struct mr_packed_file *file, struct mr_bytes bytes)
{
	char reason[sizeof(writer->error)];

	if (!file)
		return;
	mr_packed_write(file, bytes);
	if (mr_packed_failed(file, reason, sizeof(reason)))
		mr_writer_fail(writer, "%s", reason);
}

static void write_forward(struct mr_writer *writer, uint32_t number, struct mr_bytes head, struct mr_bytes body)
{
	if (number >= writer->channel_count)
		return;
	write_bytes(writer, writer->channels[number].forward, head);
	write_bytes(writer, writer->channels[number].forward, body);
}

/* What the return path takes of it. */
static void write_return(struct mr_writer *writer, uint32_t number, struct mr_bytes bytes)
{
	struct mr_writer_channel *channel = &writer->channels[number % MR_RECORDING_CHANNELS_MAX];
	char name[24];

	if (number >= writer->channel_count)
		return;
	if (bytes.length > channel->return_limit - channel->returned)
		bytes.length = (size_t)(channel->return_limit - channel->returned);
	if (bytes.length == 0)
		return;
	snprintf(name, sizeof(name), "ch%" PRIu32 ".ret", number);
	if (!channel->has_return)
		channel->backward = mr_writer_create(writer, name);
	channel->has_return = true;
	channel->returned += bytes.length;
	write_bytes(writer, channel->backward, bytes);
}

/* ---- The destination ---- */

static void note(struct mr_writer *writer, const struct mr_log_record *record)
{
	if (mr_log_append(&writer->log, record) < 0)
		mr_writer_no_memory(writer);
}

/* Time decides nothing but how long vCPUs waited: it counts where a wait may begin or end. */
static void note_time(struct mr_writer *writer)
{
	const struct mr_log_record record = {.kind = MR_LOG_TIME, .count = writer->time};
	struct mr_blocktime figures;

	if (!writer->has_time || !writer->incoming)
		return;
	mr_incoming_blocktime(writer->incoming, &figures);
	if (figures.vcpu_count)
		note(writer, &record);
	writer->has_time = false;
}

static void write_action(struct mr_writer *writer, const struct mr_action *action)
{
	char reason[sizeof(writer->error)];

	if (writer->action_lines)
		mr_action_print(writer->action_lines, writer->incoming, action, writer->action_count++);
	if (mr_packed_failed(writer->actions, reason, sizeof(reason)))
		mr_writer_fail(writer, "%s", reason);
}

static void take_step(struct mr_writer *writer, const struct mr_log_record *record, const struct mr_action *action)
{
	if (action->kind == MR_ACTION_REQUEST || action->kind == MR_ACTION_MARKED)
		note_time(writer);
	note(writer, record);
	write_action(writer, action);
	writer->steps[action->actor]++;
	if (action->kind == MR_ACTION_SEND && !writer->refused[action->actor] && writer->part == MR_WRITER_WHOLE)
		write_return(writer, action->send.channel, action->send.bytes);
	if (action->asked)
		writer->refused[action->actor] = 0;
	writer->destination_finished |= action->kind == MR_ACTION_FINISHED;
	writer->stopped[record->actor] = false;
}

/* An actor that stops for bytes again, and has gone over none since, has changed nothing. */
static void take_stop(struct mr_writer *writer, const struct mr_log_record *record)
{
	struct mr_log_record stop = *record;
	struct mr_log_record *last = &writer->stops[record->actor];

	stop.kind = MR_LOG_SHORT;
	stop.count = mr_incoming_consumed(writer->incoming, record->channel);
	if (writer->stopped[record->actor] && last->channel == stop.channel && last->count == stop.count)
		return;
	writer->stopped[record->actor] = true;
	*last = stop;
	note(writer, &stop);
}

static void take_wait(struct mr_writer *writer, const struct mr_log_record *record)
{
	const struct mr_log_record *last = writer->log.count ? &writer->log.records[writer->log.count - 1] : NULL;

	writer->stopped[record->actor] = false;
	if (!last || last->kind != MR_LOG_WAIT || last->actor != record->actor)
		note(writer, record);
}

static void end_return(struct mr_writer *writer, const struct mr_log_record *record)
{
	if (record->channel < writer->channel_count)
		writer->channels[record->channel].return_limit = record->bytes;
	if (writer->part == MR_WRITER_WHOLE)
		note(writer, record);
}

static void take_refusal(struct mr_writer *writer, const struct mr_log_record *record)
{
	struct mr_writer_refusal *refusals;

	if (writer->part == MR_WRITER_WHOLE) {
		writer->refused[record->actor] = record->error;
		note(writer, record);
		return;
	}
	refusals = mr_writer_grow(writer, writer->refusals, writer->refusal_count, &writer->refusal_capacity,
				  sizeof(*refusals));
	if (!refusals)
		return;
	writer->refusals = refusals;
	refusals[writer->refusal_count++] =
		(struct mr_writer_refusal){record->actor, writer->steps[record->actor], record->error};
}

/* A destination by itself knows of a connection once it has accepted it. */
static void take_open(struct mr_writer *writer, const struct mr_log_record *record)
{
	note(writer, record);
	if (mr_writer_has_source(writer) || record->channel >= MR_RECORDING_CHANNELS_MAX)
		return;
	writer->channels[record->channel].role = record->role;
	if (record->channel >= writer->channel_count)
		writer->channel_count = record->channel + 1;
	if (mr_writer_goes_by_lines(writer))
		create_forward(writer, record->channel);
}

static void take_destination(void *argument, const struct mr_log_record *record, const struct mr_incoming *incoming,
			     const struct mr_action *action)
{
	struct mr_writer *writer = argument;

	writer->incoming = incoming;
	if (writer->failed || (record->actor >= MR_ACTOR_COUNT))
		return;
	switch (record->kind) {
	case MR_LOG_TIME:
		writer->has_time = true;
		writer->time = record->count;
		break;
	case MR_LOG_STEP:
		if (action)
			take_step(writer, record, action);
		break;
	case MR_LOG_WAIT:
		(record->channel < MR_INCOMING_CHANNELS_MAX ? take_stop : take_wait)(writer, record);
		break;
	case MR_LOG_ERROR:
		take_refusal(writer, record);
		break;
	case MR_LOG_OPEN:
		take_open(writer, record);
		break;
	case MR_LOG_RETURN_END:
		end_return(writer, record);
		break;
	case MR_LOG_FAULT:
		note_time(writer);
		note(writer, record);
		break;
	default:
		note(writer, record);
		break;
	}
}

/* ---- The source ---- */

static void note_source(struct mr_writer *writer, const struct mr_source_log_record *record)
{
	if (mr_source_log_append(&writer->source_log, record) < 0)
		mr_writer_no_memory(writer);
}

static void add_page(struct mr_writer *writer, struct mr_writer_pages *list, struct mr_writer_page page)
{
	struct mr_writer_page *pages =
		mr_writer_grow(writer, list->pages, list->count, &list->capacity, sizeof(*pages));

	if (!pages)
		return;
	list->pages = pages;
	pages[list->count++] = page;
}

static bool is_same(struct mr_writer_page page, uint32_t block, uint64_t offset)
{
	return page.block == block && page.offset == offset;
}

/* Packets go out in about the order in which they were queued, so what is sought stands near the beginning. */
static void take_out(struct mr_writer_pages *list, struct mr_writer_page page)
{
	size_t at = 0;

	while (at < list->count && !is_same(list->pages[at], page.block, page.offset))
		at++;
	if (at == list->count)
		return;
	list->count--;
	memmove(list->pages + at, list->pages + at + 1, (list->count - at) * sizeof(*list->pages));
}

/* A page that was looked at and did not go out: queued for a packet, or as it was when it was sent last. */
static void take_silent_look(struct mr_writer *writer, struct mr_writer_page page)
{
	const struct mr_source_log_record record = {
		.kind = MR_SOURCE_LOG_UNCHANGED, .block = page.block, .start = page.offset};

	if (writer->multifd)
		add_page(writer, &writer->queued, page);
	else
		note_source(writer, &record);
}

static void take_looks(struct mr_writer *writer, unsigned actor, const struct mr_source_action *action)
{
	const bool sends = action && action->kind == MR_SOURCE_ACTION_SEND;

	for (size_t i = 0; i < writer->looks.count; i++) {
		const struct mr_writer_page page = writer->looks.pages[i];

		if (actor >= MR_SOURCE_MULTIFD)
			take_out(&writer->queued, page);
		else if (!sends || !is_same(page, action->send.block, action->send.page))
			take_silent_look(writer, page);
	}
	writer->looks.count = 0;
}

/* Clock and return path count from the next step on of who goes by them. */
static void note_inputs(struct mr_writer *writer, unsigned actor)
{
	const struct mr_source_log_record time = {.kind = MR_SOURCE_LOG_TIME, .count = writer->source_time};

	if (actor == MR_SOURCE_MIGRATION && writer->has_source_time)
		note_source(writer, &time);
	if (actor == MR_SOURCE_RETURN && writer->has_arrival)
		note_source(writer, &writer->arrival);
	writer->has_source_time &= actor != MR_SOURCE_MIGRATION;
	writer->has_arrival &= actor != MR_SOURCE_RETURN;
}

static void take_source_step(struct mr_writer *writer, const struct mr_source_log_record *record,
			     const struct mr_source_action *action)
{
	note_inputs(writer, record->actor);
	take_looks(writer, record->actor, action);
	note_source(writer, record);
	if (!action)
		return;
	writer->source_actions++;
	switch (action->kind) {
	case MR_SOURCE_ACTION_CONNECT:
		open_channel(writer, action);
		break;
	case MR_SOURCE_ACTION_SEND:
		if (!mr_writer_goes_by_lines(writer))
			write_forward(writer, action->send.channel, action->send.head, action->send.body);
		break;
	case MR_SOURCE_ACTION_STATUS:
		writer->source_status = action->status;
		break;
	case MR_SOURCE_ACTION_FINISHED:
		writer->source_finished = true;
		break;
	default:
		break;
	}
}

static void take_arrival(struct mr_writer *writer, const struct mr_source_log_record *record)
{
	if (writer->has_arrival && writer->arrival.channel != record->channel)
		note_source(writer, &writer->arrival);
	writer->has_arrival = true;
	writer->arrival = *record;
}

static void take_source(void *argument, const struct mr_source_log_record *record,
			const struct mr_source_action *action)
{
	struct mr_writer *writer = argument;

	if (writer->failed)
		return;
	switch (record->kind) {
	case MR_SOURCE_LOG_STEP:
	case MR_SOURCE_LOG_WAIT:
		take_source_step(writer, record, action);
		break;
	case MR_SOURCE_LOG_TIME:
		writer->has_source_time = true;
		writer->source_time = record->count;
		break;
	case MR_SOURCE_LOG_ARRIVE:
		take_arrival(writer, record);
		break;
	default:
		note_source(writer, record);
		break;
	}
}

static void take_look(void *argument, uint32_t block, uint64_t offset)
{
	struct mr_writer *writer = argument;
	const struct mr_writer_pages *looks = &writer->looks;

	/* Most pages are looked at twice in a row: for zeros, and to be sent. */
	if (writer->failed || (looks->count && is_same(looks->pages[looks->count - 1], block, offset)))
		return;
	add_page(writer, &writer->looks, (struct mr_writer_page){block, offset});
}

static void take_line(void *argument, const struct mr_line *line)
{
	struct mr_writer *writer = argument;

	if (writer->failed)
		return;
	mr_writer_take_line(writer, line);
	if (line->event != MR_LINE_BYTES)
		return;
	if (line->backward && (writer->part == MR_WRITER_DESTINATION || mr_writer_goes_by_lines(writer)))
		write_return(writer, line->channel, line->head);
	if (!line->backward && mr_writer_goes_by_lines(writer))
		write_forward(writer, line->channel, line->head, line->body);
}

/* ---- Opening ---- */

static bool is_empty(const char *directory)
{
	DIR *folder = opendir(directory);
	struct dirent *entry;
	bool empty = folder != NULL;

	while (empty && (entry = readdir(folder)) != NULL)
		empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
	if (folder)
		closedir(folder);
	return empty;
}

static int make_directory(const char *directory, int *folder, char *error, size_t error_size)
{
	const bool made = mkdir(directory, 0777) == 0;

	if (!made && errno != EEXIST) {
		snprintf(error, error_size, "%s: %s", directory, strerror(errno));
		return -1;
	}
	*folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*folder < 0) {
		snprintf(error, error_size, "%s: %s", directory, strerror(errno));
		return -1;
	}
	if (made || is_empty(directory))
		return 0;
	snprintf(error, error_size, "%s: expected a directory that is new or empty, found files in it", directory);
	return -1;
}

static int open_folder(struct mr_writer *writer, char *error, size_t error_size)
{
	if (writer->part != MR_WRITER_DESTINATION)
		return make_directory(writer->directory, &writer->folder, error, error_size);
	writer->folder = open(writer->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (writer->folder >= 0)
		return 0;
	snprintf(error, error_size, "%s: %s", writer->directory, strerror(errno));
	return -1;
}

static int open_actions(struct mr_writer *writer, char *error, size_t error_size)
{
	if (!mr_writer_has_destination(writer))
		return 0;
	writer->actions = mr_writer_create(writer, "actions.jsonl");
	writer->action_lines = writer->actions ? mr_packed_stream(writer->actions) : NULL;
	if (writer->action_lines)
		return 0;
	snprintf(error, error_size, "%s", writer->error);
	return -1;
}

int mr_writer_open_part(struct mr_writer **result, enum mr_writer_part part, const char *directory, char *error,
			size_t error_size)
{
	struct mr_writer *writer = calloc(1, sizeof(*writer));

	*result = NULL;
	if (writer) {
		writer->part = part;
		writer->folder = -1;
		writer->directory = strdup(directory);
	}
	if (!writer || !writer->directory) {
		snprintf(error, error_size, "%s: no memory for a recording", directory);
		mr_writer_free(writer);
		return -1;
	}
	writer->watch = (struct mr_watch){
		.argument = writer,
		.destination = take_destination,
		.source = take_source,
		.line = take_line,
		.look = take_look,
	};
	for (uint32_t i = 0; i < MR_RECORDING_CHANNELS_MAX; i++)
		writer->channels[i] =
			(struct mr_writer_channel){.return_limit = UINT64_MAX, .last_chunk = {SIZE_MAX, SIZE_MAX}};
	if (open_folder(writer, error, error_size) < 0 || open_actions(writer, error, error_size) < 0) {
		mr_writer_free(writer);
		return -1;
	}
	*result = writer;
	return 0;
}

int mr_writer_open(struct mr_writer **result, const char *directory, char *error, size_t error_size)
{
	return mr_writer_open_part(result, MR_WRITER_WHOLE, directory, error, error_size);
}

const struct mr_watch *mr_writer_watch(struct mr_writer *writer)
{
	return &writer->watch;
}

/* ---- The end ---- */

static void close_streams(struct mr_writer *writer)
{
	for (uint32_t i = 0; i < writer->channel_count; i++) {
		struct mr_writer_channel *channel = &writer->channels[i];

		mr_writer_close(writer, &channel->forward, &channel->forward_content);
		mr_writer_close(writer, &channel->backward, &channel->return_content);
	}
	mr_writer_close(writer, &writer->actions, NULL);
}

static int compare_pages(const void *left, const void *right)
{
	const struct mr_writer_page *a = left, *b = right;

	if (a->block != b->block)
		return a->block < b->block ? -1 : 1;
	return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* Pages that were queued and never sent come first: they are known from the beginning of a replay on. */
static void note_unsent(struct mr_writer *writer, struct mr_source_log *log, uint64_t page_size)
{
	const struct mr_writer_pages *queued = &writer->queued;

	if (queued->count)
		qsort(queued->pages, queued->count, sizeof(*queued->pages), compare_pages);
	for (size_t i = 0; i < queued->count; i++) {
		const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_UNSENT,
							    .block = queued->pages[i].block,
							    .start = queued->pages[i].offset,
							    .length = page_size};

		if (mr_source_log_append(log, &record) < 0)
			mr_writer_no_memory(writer);
	}
}

/* The log as it is written: the page size is known by now. */
static void settle_source_log(struct mr_writer *writer, const struct mr_outgoing_config *config)
{
	const uint64_t page_size = config->target_page_size ? config->target_page_size : ORDINARY_PAGE_SIZE;
	struct mr_source_log settled = {.numbered = true};

	if (writer->has_arrival)
		note_source(writer, &writer->arrival);
	note_unsent(writer, &settled, page_size);
	for (size_t i = 0; i < writer->source_log.count && !writer->failed; i++) {
		struct mr_source_log_record *record = &writer->source_log.records[i];

		if (record->kind == MR_SOURCE_LOG_UNCHANGED)
			record->length = page_size;
		if (mr_source_log_append(&settled, record) < 0)
			mr_writer_no_memory(writer);
	}
	mr_source_log_clear(&writer->source_log);
	writer->source_log = settled;
}

static void write_source_log(struct mr_writer *writer, const struct mr_writer_end *end)
{
	struct mr_packed_file *file;
	FILE *out;

	settle_source_log(writer, end->source);
	file = mr_writer_create(writer, "source-nondeterminism.jsonl");
	out = file ? mr_packed_stream(file) : NULL;
	if (out && mr_source_log_write(&writer->source_log, end->source, out) < 0)
		mr_writer_fail(writer,
			       "%s/source-nondeterminism.jsonl: a log cannot tell what the source was set up with",
			       writer->directory);
	mr_writer_close(writer, &file, NULL);
}

static void write_description(struct mr_writer *writer, struct mr_bytes description)
{
	struct mr_packed_file *file = description.length ? mr_writer_create(writer, "description.json") : NULL;

	if (file)
		mr_packed_write(file, description);
	mr_writer_close(writer, &file, NULL);
}

const struct mr_outgoing_block *mr_writer_main_memory(const struct mr_outgoing_config *config, uint32_t *block)
{
	for (*block = 0; *block < config->block_count; ++*block)
		if (mr_recording_is_main_memory(config->blocks[*block].name))
			return &config->blocks[*block];
	return NULL;
}

static void write_memory(struct mr_writer *writer, const struct mr_writer_end *end)
{
	const uint64_t page_size = end->source->target_page_size ? end->source->target_page_size : ORDINARY_PAGE_SIZE;
	uint32_t block;
	const struct mr_outgoing_block *memory = mr_writer_main_memory(end->source, &block);
	struct mr_packed_file *file = NULL;
	/* What the destination must have been given, if all of it was. */
	uint8_t *page = malloc((size_t)page_size);

	if (!page)
		mr_writer_no_memory(writer);
	if (page && end->page && memory && !memory->ignored &&
	    memory->used_length <= (uint64_t)MR_WRITER_MEMORY_MAX_GIB << 30 &&
	    strcmp(mr_writer_status(writer), "completed") == 0)
		file = mr_writer_create(writer, "source.ram");
	for (uint64_t i = 0; file && !writer->failed && i < memory->used_length / page_size; i++) {
		end->page(end->argument, block, i, page);
		write_bytes(writer, file, (struct mr_bytes){page, (size_t)page_size});
	}
	mr_writer_close(writer, &file, NULL);
	free(page);
}

static int finish_destination(struct mr_writer *writer, const struct mr_writer_end *end)
{
	mr_writer_write_log(writer, end);
	mr_writer_write_timeline(writer);
	return !writer->failed && mr_writer_write_part(writer) ? 0 : -1;
}

static int finish_recording(struct mr_writer *writer, const struct mr_writer_end *end)
{
	if (mr_writer_has_destination(writer))
		mr_writer_write_log(writer, end);
	if (writer->part != MR_WRITER_SOURCE)
		mr_writer_write_timeline(writer);
	else if (!mr_writer_read_part(writer))
		return -1;
	if (mr_writer_has_source(writer)) {
		write_source_log(writer, end);
		write_memory(writer, end);
	}
	write_description(writer, end->description);
	return !writer->failed && mr_writer_write_manifest(writer, end) ? 0 : -1;
}

int mr_writer_finish(struct mr_writer *writer, const struct mr_writer_end *end, char *error, size_t error_size)
{
	close_streams(writer);
	if ((writer->part == MR_WRITER_DESTINATION ? finish_destination : finish_recording)(writer, end) == 0)
		return 0;
	snprintf(error, error_size, "%s", writer->error);
	return -1;
}

void mr_writer_abandon(struct mr_writer *writer)
{
	close_streams(writer);
	writer->failed = true;
	unlinkat(writer->folder, "actions.jsonl.zst", 0);
	rmdir(writer->directory);
}

void mr_writer_free(struct mr_writer *writer)
{
	if (!writer)
		return;
	close_streams(writer);
	mr_timeline_clear(&writer->timeline);
	mr_log_clear(&writer->log);
	mr_source_log_clear(&writer->source_log);
	free(writer->refusals);
	free(writer->looks.pages);
	free(writer->queued.pages);
	if (writer->folder >= 0)
		close(writer->folder);
	free(writer->directory);
	free(writer);
}
