/* source_log.c: writes the log of a source by hand, reads it as JSON lines within limits. */
#include "sim/record/source_log.h"
#include "sim/record/input.h"
#include "sim/record/print.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define RECORDS_MAX ((size_t)100000000)

enum {
	LOG_FORMAT = 1,
	HEADER_MAX = 4 << 20, /* bytes */
	LINE_MAX = 64 << 10,  /* bytes */
	ERRNO_MAX = 4095,
	FIRST_CAPACITY = 256,
};

/* ---- Names ---- */

const char *mr_source_command_name(enum mr_source_command command)
{
	static const char *const names[] = {"start-postcopy", "continue", "cancel", "pause", "recover"};

	return command < MR_SOURCE_COMMAND_COUNT ? names[command] : NULL;
}

const char *mr_choice_name(enum mr_choice choice)
{
	static const char *const names[] = {
		[MR_CHOICE_TURN] = "turn",
		[MR_CHOICE_SYNC] = "sync",
		[MR_CHOICE_SECTION_ENDS] = "section-ends",
		[MR_CHOICE_CHANNEL] = "channel",
		[MR_CHOICE_REPEAT] = "repeat",
		[MR_CHOICE_BREAK_HUGE] = "break-huge",
	};

	return (size_t)choice < sizeof(names) / sizeof(names[0]) ? names[choice] : NULL;
}

void mr_source_actor_format(unsigned actor, char out[MR_SOURCE_ACTOR_TEXT_MAX])
{
	const char *name = mr_source_actor_name(actor);

	if (actor >= MR_SOURCE_MULTIFD && actor < MR_SOURCE_COUNT)
		snprintf(out, MR_SOURCE_ACTOR_TEXT_MAX, "multifd%u", actor - MR_SOURCE_MULTIFD);
	else
		snprintf(out, MR_SOURCE_ACTOR_TEXT_MAX, "%s", name ? name : "nobody");
}

static unsigned actor_by_text(const char *text)
{
	char name[MR_SOURCE_ACTOR_TEXT_MAX];

	for (unsigned i = 0; i < MR_SOURCE_COUNT; i++) {
		mr_source_actor_format(i, name);
		if (strcmp(name, text) == 0)
			return i;
	}
	return MR_SOURCE_COUNT;
}

/* ---- Records ---- */

static int grow(struct mr_source_log *log)
{
	const size_t capacity = log->capacity ? 2 * log->capacity : FIRST_CAPACITY;
	struct mr_source_log_record *records;

	if (log->count < log->capacity)
		return 0;
	records = realloc(log->records, capacity * sizeof(*records));
	if (!records)
		return -1;
	log->records = records;
	log->capacity = capacity;
	return 0;
}

/* The record that this one only repeats; NULL if there is none. */
static struct mr_source_log_record *repeated(struct mr_source_log *log, const struct mr_source_log_record *record)
{
	struct mr_source_log_record *last;

	if (record->kind == MR_SOURCE_LOG_CHOOSE) {
		if (log->last[record->choice] == 0)
			return NULL;
		last = &log->records[log->last[record->choice] - 1];
		return last->answer == record->answer ? last : NULL;
	}
	last = log->count ? &log->records[log->count - 1] : NULL;
	if (!last || last->kind != record->kind)
		return NULL;
	if (record->kind != MR_SOURCE_LOG_STEP && record->kind != MR_SOURCE_LOG_WAIT)
		return NULL;
	if (record->kind == MR_SOURCE_LOG_WAIT && last->count + record->count > MR_SOURCE_WAITS_MAX)
		return NULL;
	return last->actor == record->actor ? last : NULL;
}

int mr_source_log_append(struct mr_source_log *log, const struct mr_source_log_record *record)
{
	struct mr_source_log_record *last = repeated(log, record);

	if (last && record->count <= (uint64_t)INT64_MAX - last->count) {
		last->count += record->count;
		return 0;
	}
	if (grow(log) < 0)
		return -1;
	log->records[log->count++] = *record;
	if (record->kind == MR_SOURCE_LOG_CHOOSE)
		log->last[record->choice] = log->count;
	return 0;
}

void mr_source_log_clear(struct mr_source_log *log)
{
	free(log->records);
	*log = (struct mr_source_log){0};
}

/* ---- Writing ---- */

static void write_string(FILE *out, const char *key, const char *text)
{
	fprintf(out, "\"%s\":", key);
	mr_print_json_string(out, (struct mr_bytes){(const uint8_t *)text, strlen(text)});
}

static void write_header(FILE *out, const struct mr_outgoing_config *config)
{
	fprintf(out, "{\"source-log\":%d,", LOG_FORMAT);
	write_string(out, "source", config->profile.release);
	fputc(',', out);
	write_string(out, "machine", config->machine ? config->machine : "");
	fputs(",\"blocks\":[", out);
	for (uint32_t i = 0; i < config->block_count; i++) {
		fputs(i ? ",{" : "{", out);
		write_string(out, "name", config->blocks[i].name);
		fprintf(out, ",\"used_length\":%" PRIu64 "}", config->blocks[i].used_length);
	}
	fputs("]}\n", out);
}

static void write_record(FILE *out, const struct mr_outgoing_config *config, const struct mr_source_log_record *record)
{
	char actor[MR_SOURCE_ACTOR_TEXT_MAX];

	mr_source_actor_format(record->actor, actor);
	switch (record->kind) {
	case MR_SOURCE_LOG_STEP:
	case MR_SOURCE_LOG_WAIT:
		fprintf(out, "{\"%s\":\"%s\",\"count\":%" PRIu64 "}\n",
			record->kind == MR_SOURCE_LOG_STEP ? "step" : "wait", actor, record->count);
		break;
	case MR_SOURCE_LOG_CHOOSE:
		fprintf(out, "{\"choose\":\"%s\",\"answer\":%" PRIu64 ",\"count\":%" PRIu64 "}\n",
			mr_choice_name(record->choice), record->answer, record->count);
		break;
	case MR_SOURCE_LOG_DIRTY:
		fputc('{', out);
		write_string(out, "dirty", config->blocks[record->block].name);
		fprintf(out, ",\"start\":%" PRIu64 ",\"length\":%" PRIu64 ",\"unchanged\":%s}\n", record->start,
			record->length, record->unchanged ? "true" : "false");
		break;
	case MR_SOURCE_LOG_ARRIVE:
		fprintf(out, "{\"arrive\":%" PRIu32 ",\"bytes\":%" PRIu64 ",\"ended\":%s}\n", record->channel,
			record->bytes, record->ended ? "true" : "false");
		break;
	case MR_SOURCE_LOG_BROKEN:
		fprintf(out, "{\"broken\":%" PRIu32 ",\"error\":%d}\n", record->channel, record->error);
		break;
	case MR_SOURCE_LOG_COMMAND:
		fprintf(out, "{\"command\":\"%s\"}\n", mr_source_command_name(record->command));
		break;
	case MR_SOURCE_LOG_GUEST:
		fprintf(out, "{\"guest-runs\":%s}\n", record->runs ? "true" : "false");
		break;
	default:
		fprintf(out, "{\"time\":%" PRIu64 "}\n", record->count);
		break;
	}
}

int mr_source_log_write(const struct mr_source_log *log, const struct mr_outgoing_config *config, FILE *out)
{
	write_header(out, config);
	for (size_t i = 0; i < log->count; i++)
		write_record(out, config, &log->records[i]);
	return ferror(out) ? -1 : 0;
}

/* ---- Reading ---- */

/* Where reading stands, for errors. */
struct place {
	const char *file;
	uint64_t line;
	const struct mr_outgoing_config *config;
	char *error;
	size_t error_size;
};

__attribute__((format(printf, 2, 3))) static int fail(const struct place *place, const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	snprintf(place->error, place->error_size, "%s: line %" PRIu64 ": %s", place->file, place->line, text);
	return -1;
}

static int read_number(const struct place *place, const json_t *object, const char *key, uint64_t maximum,
		       uint64_t *number)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0 || (uint64_t)json_integer_value(value) > maximum)
		return fail(place, "%s: expected a number up to %" PRIu64 ", found something else", key, maximum);
	*number = (uint64_t)json_integer_value(value);
	return 0;
}

static const char *read_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* Bytes beyond ASCII are written as the characters of their numbers, which UTF-8 has in two bytes. */
static bool is_text(const json_t *object, const char *key, const char *expected)
{
	const char *text = read_text(object, key);

	for (; *expected; expected++) {
		const unsigned char byte = (unsigned char)*expected;

		if (byte >= 0x80 && (unsigned char)*text++ != (0xc0 | byte >> 6))
			return false;
		if ((unsigned char)*text++ != (byte >= 0x80 ? 0x80 | (byte & 0x3f) : byte))
			return false;
	}
	return *text == '\0';
}

static int read_flag(const struct place *place, const json_t *object, const char *key, bool *flag)
{
	const json_t *value = json_object_get(object, key);

	*flag = json_is_true(value);
	return json_is_boolean(value) ? 0 : fail(place, "%s: expected true or false, found something else", key);
}

static int read_step(const struct place *place, const json_t *object, const char *key,
		     struct mr_source_log_record *record)
{
	record->kind = strcmp(key, "step") == 0 ? MR_SOURCE_LOG_STEP : MR_SOURCE_LOG_WAIT;
	record->actor = actor_by_text(read_text(object, key));
	if (record->actor == MR_SOURCE_COUNT)
		return fail(place, "%s: expected an actor, found %.64s", key, read_text(object, key));
	return read_number(place, object, "count",
			   record->kind == MR_SOURCE_LOG_WAIT ? (uint64_t)MR_SOURCE_WAITS_MAX : (uint64_t)INT64_MAX,
			   &record->count);
}

static int read_choose(const struct place *place, const json_t *object, struct mr_source_log_record *record)
{
	const char *name = read_text(object, "choose");
	unsigned choice = 0;

	record->kind = MR_SOURCE_LOG_CHOOSE;
	while (choice < MR_CHOICE_COUNT && strcmp(mr_choice_name((enum mr_choice)choice), name) != 0)
		choice++;
	record->choice = (enum mr_choice)choice;
	if (choice == MR_CHOICE_COUNT)
		return fail(place, "choose: expected a choice, found %.64s", name);
	if (read_number(place, object, "answer", INT64_MAX, &record->answer) < 0)
		return -1;
	return read_number(place, object, "count", INT64_MAX, &record->count);
}

static int read_dirty(const struct place *place, const json_t *object, struct mr_source_log_record *record)
{
	record->kind = MR_SOURCE_LOG_DIRTY;
	while (record->block < place->config->block_count &&
	       !is_text(object, "dirty", place->config->blocks[record->block].name))
		record->block++;
	if (record->block == place->config->block_count)
		return fail(place, "dirty: expected a block, found %.64s", read_text(object, "dirty"));
	if (read_number(place, object, "start", INT64_MAX, &record->start) < 0 ||
	    read_number(place, object, "length", INT64_MAX, &record->length) < 0)
		return -1;
	return read_flag(place, object, "unchanged", &record->unchanged);
}

static int read_channel(const struct place *place, const json_t *object, const char *key,
			struct mr_source_log_record *record)
{
	uint64_t number = 0;

	if (read_number(place, object, key, MR_OUTGOING_CHANNELS_MAX - 1, &number) < 0)
		return -1;
	record->channel = (uint32_t)number;
	if (strcmp(key, "broken") == 0) {
		record->kind = MR_SOURCE_LOG_BROKEN;
		if (read_number(place, object, "error", ERRNO_MAX, &number) < 0)
			return -1;
		record->error = (int)number;
		return 0;
	}
	record->kind = MR_SOURCE_LOG_ARRIVE;
	if (read_flag(place, object, "ended", &record->ended) < 0)
		return -1;
	return read_number(place, object, "bytes", INT64_MAX, &record->bytes);
}

static int read_command(const struct place *place, const json_t *object, struct mr_source_log_record *record)
{
	const char *name = read_text(object, "command");
	unsigned command = 0;

	record->kind = MR_SOURCE_LOG_COMMAND;
	while (command < MR_SOURCE_COMMAND_COUNT &&
	       strcmp(mr_source_command_name((enum mr_source_command)command), name) != 0)
		command++;
	record->command = (enum mr_source_command)command;
	return command == MR_SOURCE_COMMAND_COUNT ? fail(place, "command: expected a command, found %.64s", name) : 0;
}

/* The first of its keys tells what a record is. */
static int read_record(const struct place *place, json_t *object, struct mr_source_log_record *record)
{
	static const struct {
		const char *key;
		size_t keys;
	} kinds[] = {{"step", 2},   {"wait", 2},    {"choose", 3}, {"dirty", 4},     {"arrive", 3},
		     {"broken", 2}, {"command", 1}, {"time", 1},   {"guest-runs", 1}};
	size_t kind = 0;

	while (kind < sizeof(kinds) / sizeof(kinds[0]) && !json_object_get(object, kinds[kind].key))
		kind++;
	if (kind == sizeof(kinds) / sizeof(kinds[0]))
		return fail(place, "expected step, wait, choose, dirty, arrive, broken, command, time or guest-runs, "
				   "found none");
	if (json_object_size(object) != kinds[kind].keys)
		return fail(place, "%s: expected %zu keys, found %zu", kinds[kind].key, kinds[kind].keys,
			    json_object_size(object));
	switch (kinds[kind].key[0]) {
	case 's':
	case 'w':
		return read_step(place, object, kinds[kind].key, record);
	case 'd':
		return read_dirty(place, object, record);
	case 'a':
	case 'b':
		return read_channel(place, object, kinds[kind].key, record);
	case 'g':
		record->kind = MR_SOURCE_LOG_GUEST;
		return read_flag(place, object, "guest-runs", &record->runs);
	case 't':
		record->kind = MR_SOURCE_LOG_TIME;
		return read_number(place, object, "time", INT64_MAX, &record->count);
	default:
		return strcmp(kinds[kind].key, "choose") == 0 ? read_choose(place, object, record)
							      : read_command(place, object, record);
	}
}

/* A log is about this recording's source, or its numbers would mean another. */
static int read_header(const struct place *place, const json_t *object)
{
	const struct mr_outgoing_config *config = place->config;
	const json_t *blocks = json_object_get(object, "blocks");
	uint64_t format = 0, length = 0;
	bool same;

	if (read_number(place, object, "source-log", LOG_FORMAT, &format) < 0)
		return -1;
	same = format == LOG_FORMAT && is_text(object, "source", config->profile.release) &&
	       is_text(object, "machine", config->machine ? config->machine : "") &&
	       json_array_size(blocks) == config->block_count;
	for (uint32_t i = 0; same && i < config->block_count; i++) {
		const json_t *block = json_array_get(blocks, i);

		if (read_number(place, block, "used_length", INT64_MAX, &length) < 0)
			return -1;
		same = is_text(block, "name", config->blocks[i].name) && length == config->blocks[i].used_length;
	}
	return same ? 0 : fail(place, "header: expected the recording's source and blocks, found others");
}

static int read_line(const struct place *place, const char *text, size_t length, struct mr_source_log *log)
{
	struct mr_source_log_record record = {0};
	json_error_t json_error;
	json_t *object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &json_error);
	int status;

	if (!json_is_object(object)) {
		json_decref(object);
		return fail(place, "expected a JSON object, found another text");
	}
	status = place->line == 1 ? read_header(place, object) : read_record(place, object, &record);
	json_decref(object);
	if (status < 0 || place->line == 1)
		return status;
	if (log->count == RECORDS_MAX || mr_source_log_append(log, &record) < 0)
		return fail(place, "no memory for a record");
	return 0;
}

static int read_lines(struct mr_input *input, struct place *place, struct mr_source_log *log)
{
	for (;;) {
		const size_t limit = place->line == 0 ? HEADER_MAX : LINE_MAX;
		const uint8_t *text, *newline;
		size_t length;
		bool at_end;

		place->line++;
		if (mr_input_fill(input, limit) < 0)
			return fail(place, "%s", mr_input_error(input));
		text = mr_input_window(input, &length, &at_end);
		if (length == 0 && place->line > 1)
			return 0;
		newline = length ? memchr(text, '\n', length < limit ? length : limit) : NULL;
		if (!newline)
			return fail(place, "expected a newline within %zu bytes, found none", limit);
		length = (size_t)(newline - text);
		if (read_line(place, (const char *)text, length, log) < 0)
			return -1;
		mr_input_consume(input, length + 1);
	}
}

int mr_source_log_read(struct mr_source_log *log, const struct mr_outgoing_config *config, const char *path,
		       char *error, size_t error_size)
{
	struct place place = {.file = path, .config = config, .error = error, .error_size = error_size};
	struct mr_input *input;
	int status;

	*log = (struct mr_source_log){0};
	if (mr_input_open(&input, path, error, error_size) < 0)
		return -1;
	status = read_lines(input, &place, log);
	mr_input_close(input);
	if (status < 0)
		mr_source_log_clear(log);
	return status;
}
