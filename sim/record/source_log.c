/* source_log.c: writes the log of a source by hand, reads it as JSON lines within limits. */
#include "sim/record/source_log.h"
#include "sim/record/input.h"
#include "sim/record/print.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define RECORDS_MAX ((size_t)100000000)

enum {
	LOG_FORMAT = 1,
	HEADER_MAX = 4 << 20, /* bytes */
	LINE_MAX = 64 << 10,  /* bytes */
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
		[MR_CHOICE_PAGE] = "page",
		[MR_CHOICE_PACKET_ENDS] = "packet-ends",
		[MR_CHOICE_TWICE] = "twice",
	};

	return (size_t)choice < sizeof(names) / sizeof(names[0]) ? names[choice] : NULL;
}

const char *mr_zero_detection_name(enum mr_zero_detection detection)
{
	static const char *const names[] = {[MR_ZERO_BY_RELEASE] = "",
					    [MR_ZERO_NONE] = "none",
					    [MR_ZERO_LEGACY] = "legacy",
					    [MR_ZERO_MULTIFD] = "multifd"};

	return (size_t)detection < sizeof(names) / sizeof(names[0]) ? names[detection] : NULL;
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

/* Pages behind those that the last record is about. */
static bool goes_on(const struct mr_source_log *log, const struct mr_source_log_record *record)
{
	const struct mr_source_log_record *last = log->count ? &log->records[log->count - 1] : NULL;

	return last && record->kind == MR_SOURCE_LOG_UNCHANGED && last->kind == MR_SOURCE_LOG_UNCHANGED &&
	       last->block == record->block && last->start + last->length == record->start;
}

int mr_source_log_append(struct mr_source_log *log, const struct mr_source_log_record *record)
{
	struct mr_source_log_record *last = repeated(log, record);

	if (goes_on(log, record)) {
		log->records[log->count - 1].length += record->length;
		return 0;
	}
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

void mr_source_log_header_clear(struct mr_source_log_header *header)
{
	for (uint32_t i = 0; header->blocks && i < header->config.block_count; i++)
		free((char *)header->blocks[i].name);
	free(header->blocks);
	free(header->entries);
	*header = (struct mr_source_log_header){0};
}

/* ---- Writing ---- */

static void write_name(FILE *out, const char *name)
{
	mr_print_json_string(out, (struct mr_bytes){(const uint8_t *)name, strlen(name)});
}

static const char *machine_of(const struct mr_outgoing_config *config)
{
	return config->machine ? config->machine : "";
}

/* "No limit" is the largest number that a log has. */
static uint64_t limit_of(uint64_t value)
{
	return value < INT64_MAX ? value : INT64_MAX;
}

static bool header_is_told(const struct mr_outgoing_config *config)
{
	for (uint32_t i = 0; i < config->block_count; i++) {
		const struct mr_outgoing_block *block = &config->blocks[i];
		const size_t length = strlen(block->name);

		if (length == 0 || length > MR_NAME_MAX || block->used_length > INT64_MAX ||
		    block->page_size > INT64_MAX || block->address > INT64_MAX || block->cache_offset > INT64_MAX)
			return false;
	}
	return mr_log_profile_is_told(&config->profile, machine_of(config)) &&
	       mr_log_capabilities_are_told(config->capabilities) && config->handlers &&
	       mr_log_handlers_are_told(config->handlers, &config->profile) &&
	       mr_zero_detection_name(config->zero_detection) && config->downtime_limit <= INT64_MAX &&
	       config->xbzrle_cache_size <= INT64_MAX && config->switchover_bandwidth <= INT64_MAX &&
	       config->package_max <= (size_t)INT64_MAX;
}

static void write_machine(FILE *out, const struct mr_outgoing_config *config)
{
	mr_log_write_string(out, "source", config->profile.release);
	mr_log_write_string(out, "machine", machine_of(config));
	mr_log_write_capabilities(out, config->capabilities);
	mr_log_write_flag(out, "pause_before_switchover", config->pause_before_switchover);
	mr_log_write_flag(out, "release_ram", config->release_ram);
	mr_log_write_flag(out, "auto_converge", config->auto_converge);
	mr_log_write_flag(out, "guest_stopped", config->guest_stopped);
	mr_log_write_flag(out, "unplug_first", config->unplug_first);
	mr_log_write_flag(out, "uuid_known", config->uuid_known);
	mr_log_write_uuid(out, true, config->uuid);
	mr_log_write_number(out, "target_page_size", config->target_page_size);
	mr_log_write_number(out, "minimum_page_bits", config->minimum_page_bits);
	mr_log_write_number(out, "host_page_size", config->host_page_size);
}

/* Of a method that has levels the one that it uses. */
static void write_method(FILE *out, const struct mr_outgoing_config *config)
{
	const struct mr_multifd_method *method = config->method;
	int level = config->method_level;

	if (method && level == INT32_MIN)
		level = method->level_default;
	mr_log_write_string(out, "multifd_method", method ? method->name : "");
	mr_log_write_number(out, "method_level", level > 0 ? (uint64_t)level : 0);
}

static void write_parameters(FILE *out, const struct mr_outgoing_config *config)
{
	mr_log_write_number(out, "max_bandwidth", limit_of(config->max_bandwidth));
	mr_log_write_number(out, "max_postcopy_bandwidth", limit_of(config->max_postcopy_bandwidth));
	mr_log_write_number(out, "switchover_bandwidth", config->switchover_bandwidth);
	mr_log_write_number(out, "downtime_limit", config->downtime_limit);
	mr_log_write_number(out, "xbzrle_cache_size", config->xbzrle_cache_size);
	mr_log_write_number(out, "clear_bitmap_shift", config->clear_bitmap_shift);
	mr_log_write_number(out, "multifd_channels", config->multifd_channels);
	write_method(out, config);
	mr_log_write_string(out, "zero_detection", mr_zero_detection_name(config->zero_detection));
	mr_log_write_number(out, "throttle_initial", config->throttle_initial);
	mr_log_write_number(out, "throttle_increment", config->throttle_increment);
	mr_log_write_number(out, "throttle_maximum", config->throttle_maximum);
	mr_log_write_number(out, "throttle_trigger", config->throttle_trigger);
	mr_log_write_number(out, "connections_max", config->connections_max);
	mr_log_write_number(out, "package_max", config->package_max);
}

static void write_block(FILE *out, const struct mr_outgoing_block *block)
{
	fputs("{\"name\":", out);
	write_name(out, block->name);
	mr_log_write_number(out, "used_length", block->used_length);
	mr_log_write_number(out, "page_size", block->page_size);
	mr_log_write_number(out, "address", block->address);
	mr_log_write_number(out, "cache_offset", block->cache_offset);
	mr_log_write_flag(out, "ignored", block->ignored);
	putc('}', out);
}

static void write_header(FILE *out, const struct mr_outgoing_config *config, bool numbered)
{
	fprintf(out, "{\"source-log\":%d", LOG_FORMAT);
	mr_log_write_flag(out, "numbered", numbered);
	write_machine(out, config);
	write_parameters(out, config);
	mr_log_write_handlers(out, config->handlers);
	fputs(",\"blocks\":[", out);
	for (uint32_t i = 0; i < config->block_count; i++) {
		fputs(i ? "," : "", out);
		write_block(out, &config->blocks[i]);
	}
	fputs("]}\n", out);
}

/* A record about pages, up to its last number. */
static void write_pages(FILE *out, const char *key, const struct mr_outgoing_config *config,
			const struct mr_source_log_record *record)
{
	fprintf(out, "{\"%s\":", key);
	write_name(out, config->blocks[record->block].name);
	fprintf(out, ",\"start\":%" PRIu64 ",\"length\":%" PRIu64, record->start, record->length);
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
		write_pages(out, "dirty", config, record);
		fprintf(out, ",\"unchanged\":%s}\n", record->unchanged ? "true" : "false");
		break;
	case MR_SOURCE_LOG_UNCHANGED:
	case MR_SOURCE_LOG_UNSENT:
		write_pages(out, record->kind == MR_SOURCE_LOG_UNSENT ? "unsent" : "unchanged", config, record);
		fputs("}\n", out);
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
	if (!header_is_told(config))
		return -1;
	write_header(out, config, log->numbered);
	for (size_t i = 0; i < log->count; i++)
		write_record(out, config, &log->records[i]);
	return ferror(out) ? -1 : 0;
}

/* ---- Reading: records ---- */

static int read_number(const struct mr_log_place *place, const json_t *object, const char *key, uint64_t maximum,
		       uint64_t *number)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value) || json_integer_value(value) < 0 || (uint64_t)json_integer_value(value) > maximum)
		return mr_log_fail(place, "%s: expected a number up to %" PRIu64 ", found something else", key,
				   maximum);
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

static int read_flag(const struct mr_log_place *place, const json_t *object, const char *key, bool *flag)
{
	const json_t *value = json_object_get(object, key);

	*flag = json_is_true(value);
	return json_is_boolean(value) ? 0 : mr_log_fail(place, "%s: expected true or false, found something else", key);
}

static int read_step(const struct mr_log_place *place, const json_t *object, const char *key,
		     struct mr_source_log_record *record)
{
	record->kind = strcmp(key, "step") == 0 ? MR_SOURCE_LOG_STEP : MR_SOURCE_LOG_WAIT;
	record->actor = actor_by_text(read_text(object, key));
	if (record->actor == MR_SOURCE_COUNT)
		return mr_log_fail(place, "%s: expected an actor, found %.64s", key, read_text(object, key));
	return read_number(place, object, "count",
			   record->kind == MR_SOURCE_LOG_WAIT ? (uint64_t)MR_SOURCE_WAITS_MAX : (uint64_t)INT64_MAX,
			   &record->count);
}

static int read_choose(const struct mr_log_place *place, const json_t *object, struct mr_source_log_record *record)
{
	const char *name = read_text(object, "choose");
	unsigned choice = 0;

	record->kind = MR_SOURCE_LOG_CHOOSE;
	while (choice < MR_CHOICE_COUNT && strcmp(mr_choice_name((enum mr_choice)choice), name) != 0)
		choice++;
	record->choice = (enum mr_choice)choice;
	if (choice == MR_CHOICE_COUNT)
		return mr_log_fail(place, "choose: expected a choice, found %.64s", name);
	if (read_number(place, object, "answer", INT64_MAX, &record->answer) < 0)
		return -1;
	return read_number(place, object, "count", INT64_MAX, &record->count);
}

static int read_pages(const struct mr_log_place *place, const json_t *object, const char *key,
		      const struct mr_outgoing_config *config, struct mr_source_log_record *record)
{
	while (record->block < config->block_count && !is_text(object, key, config->blocks[record->block].name))
		record->block++;
	if (record->block == config->block_count)
		return mr_log_fail(place, "%s: expected a block, found %.64s", key, read_text(object, key));
	if (read_number(place, object, "start", INT64_MAX, &record->start) < 0)
		return -1;
	return read_number(place, object, "length", INT64_MAX, &record->length);
}

static int read_dirty(const struct mr_log_place *place, const json_t *object, const char *key,
		      const struct mr_outgoing_config *config, struct mr_source_log_record *record)
{
	record->kind = strcmp(key, "unsent") == 0 ? MR_SOURCE_LOG_UNSENT : MR_SOURCE_LOG_UNCHANGED;
	if (read_pages(place, object, key, config, record) < 0)
		return -1;
	if (strcmp(key, "dirty") != 0)
		return 0;
	record->kind = MR_SOURCE_LOG_DIRTY;
	return read_flag(place, object, "unchanged", &record->unchanged);
}

static int read_channel(const struct mr_log_place *place, const json_t *object, const char *key,
			struct mr_source_log_record *record)
{
	uint64_t number = 0;

	if (read_number(place, object, key, MR_OUTGOING_CHANNELS_MAX - 1, &number) < 0)
		return -1;
	record->channel = (uint32_t)number;
	if (strcmp(key, "broken") == 0) {
		record->kind = MR_SOURCE_LOG_BROKEN;
		if (read_number(place, object, "error", MR_LOG_ERRNO_MAX, &number) < 0)
			return -1;
		record->error = (int)number;
		return 0;
	}
	record->kind = MR_SOURCE_LOG_ARRIVE;
	if (read_flag(place, object, "ended", &record->ended) < 0)
		return -1;
	return read_number(place, object, "bytes", INT64_MAX, &record->bytes);
}

static int read_command(const struct mr_log_place *place, const json_t *object, struct mr_source_log_record *record)
{
	const char *name = read_text(object, "command");
	unsigned command = 0;

	record->kind = MR_SOURCE_LOG_COMMAND;
	while (command < MR_SOURCE_COMMAND_COUNT &&
	       strcmp(mr_source_command_name((enum mr_source_command)command), name) != 0)
		command++;
	record->command = (enum mr_source_command)command;
	return command == MR_SOURCE_COMMAND_COUNT ? mr_log_fail(place, "command: expected a command, found %.64s", name)
						  : 0;
}

static const struct {
	const char *key;
	size_t keys;
} kinds[] = {
	{"step", 2},    {"wait", 2}, {"choose", 3},     {"dirty", 4},  {"arrive", 3},    {"broken", 2},
	{"command", 1}, {"time", 1}, {"guest-runs", 1}, {"unsent", 3}, {"unchanged", 3},
};

/* The first of its keys tells what a record is; "unchanged" stands in DIRTY too, hence the order. */
static int read_record(const struct mr_log_place *place, json_t *object, const struct mr_outgoing_config *config,
		       struct mr_source_log_record *record)
{
	size_t kind = 0;

	while (kind < sizeof(kinds) / sizeof(kinds[0]) && !json_object_get(object, kinds[kind].key))
		kind++;
	if (kind == sizeof(kinds) / sizeof(kinds[0]))
		return mr_log_fail(place, "expected step, wait, choose, dirty, arrive, broken, command, time, "
					  "guest-runs, unsent or unchanged, found none");
	if (json_object_size(object) != kinds[kind].keys)
		return mr_log_fail(place, "%s: expected %zu keys, found %zu", kinds[kind].key, kinds[kind].keys,
				   json_object_size(object));
	switch (kinds[kind].key[0]) {
	case 's':
	case 'w':
		return read_step(place, object, kinds[kind].key, record);
	case 'd':
	case 'u':
		return read_dirty(place, object, kinds[kind].key, config, record);
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

/* ---- Reading: header ---- */

static int read_machine(const struct mr_log_place *place, json_t *object, struct mr_source_log_header *header)
{
	struct mr_outgoing_config *config = &header->config;
	bool told;

	if (mr_log_read_string(place, object, "machine", header->machine, sizeof(header->machine)) < 0 ||
	    mr_log_read_profile(place, object, "source", header->machine, &config->profile) < 0 ||
	    mr_log_read_capabilities(place, object, &config->capabilities) < 0 ||
	    mr_log_read_flag(place, object, "pause_before_switchover", &config->pause_before_switchover) < 0 ||
	    mr_log_read_flag(place, object, "release_ram", &config->release_ram) < 0 ||
	    mr_log_read_flag(place, object, "auto_converge", &config->auto_converge) < 0 ||
	    mr_log_read_flag(place, object, "guest_stopped", &config->guest_stopped) < 0 ||
	    mr_log_read_flag(place, object, "unplug_first", &config->unplug_first) < 0 ||
	    mr_log_read_flag(place, object, "uuid_known", &config->uuid_known) < 0 ||
	    mr_log_read_uuid(place, object, &told, config->uuid) < 0 ||
	    mr_log_read_small(place, object, "target_page_size", UINT32_MAX, &config->target_page_size) < 0 ||
	    mr_log_read_small(place, object, "minimum_page_bits", UINT32_MAX, &config->minimum_page_bits) < 0 ||
	    mr_log_read_small(place, object, "host_page_size", UINT32_MAX, &config->host_page_size) < 0)
		return -1;
	config->machine = header->machine[0] ? header->machine : NULL;
	return 0;
}

static int read_limit(const struct mr_log_place *place, const json_t *object, const char *key, uint64_t *limit)
{
	if (mr_log_read_number(place, object, key, 0, INT64_MAX, limit) < 0)
		return -1;
	if (*limit == INT64_MAX)
		*limit = UINT64_MAX;
	return 0;
}

static int read_method(const struct mr_log_place *place, json_t *object, struct mr_outgoing_config *config)
{
	uint32_t level = 0;

	if (mr_log_read_method(place, object, &config->method) < 0 ||
	    mr_log_read_small(place, object, "method_level", INT32_MAX, &level) < 0)
		return -1;
	config->method_level = config->method ? (int)level : INT32_MIN;
	return 0;
}

static int read_detection(const struct mr_log_place *place, json_t *object, struct mr_outgoing_config *config)
{
	char name[16];

	if (mr_log_read_string(place, object, "zero_detection", name, sizeof(name)) < 0)
		return -1;
	for (unsigned i = MR_ZERO_BY_RELEASE; i <= MR_ZERO_MULTIFD; i++)
		if (strcmp(mr_zero_detection_name((enum mr_zero_detection)i), name) == 0) {
			config->zero_detection = (enum mr_zero_detection)i;
			return 0;
		}
	return mr_log_fail(place, "zero_detection: expected none, legacy, multifd or nothing, found %s", name);
}

static int read_parameters(const struct mr_log_place *place, json_t *object, struct mr_outgoing_config *config)
{
	uint64_t package_max = 0;

	if (read_limit(place, object, "max_bandwidth", &config->max_bandwidth) < 0 ||
	    read_limit(place, object, "max_postcopy_bandwidth", &config->max_postcopy_bandwidth) < 0 ||
	    mr_log_read_number(place, object, "switchover_bandwidth", 0, INT64_MAX, &config->switchover_bandwidth) <
		    0 ||
	    mr_log_read_number(place, object, "downtime_limit", 0, INT64_MAX, &config->downtime_limit) < 0 ||
	    mr_log_read_number(place, object, "xbzrle_cache_size", 0, INT64_MAX, &config->xbzrle_cache_size) < 0 ||
	    mr_log_read_small(place, object, "clear_bitmap_shift", UINT32_MAX, &config->clear_bitmap_shift) < 0 ||
	    mr_log_read_small(place, object, "multifd_channels", UINT32_MAX, &config->multifd_channels) < 0 ||
	    read_method(place, object, config) < 0 || read_detection(place, object, config) < 0 ||
	    mr_log_read_small(place, object, "throttle_initial", UINT32_MAX, &config->throttle_initial) < 0 ||
	    mr_log_read_small(place, object, "throttle_increment", UINT32_MAX, &config->throttle_increment) < 0 ||
	    mr_log_read_small(place, object, "throttle_maximum", UINT32_MAX, &config->throttle_maximum) < 0 ||
	    mr_log_read_small(place, object, "throttle_trigger", UINT32_MAX, &config->throttle_trigger) < 0 ||
	    mr_log_read_small(place, object, "connections_max", UINT32_MAX, &config->connections_max) < 0 ||
	    mr_log_read_number(place, object, "package_max", 0, SIZE_MAX / 2, &package_max) < 0)
		return -1;
	config->package_max = (size_t)package_max;
	return 0;
}

static int read_block(const struct mr_log_place *place, json_t *object, struct mr_outgoing_block *block)
{
	static const char *const keys[] = {"name", "used_length", "page_size", "address", "cache_offset", "ignored"};
	char name[MR_NAME_MAX + 1];

	if (!json_is_object(object))
		return mr_log_fail(place, "blocks: expected objects, found %s", mr_log_type_name(object));
	if (mr_log_check_keys(place, object, keys, sizeof(keys) / sizeof(keys[0])) < 0 ||
	    mr_log_read_string(place, object, "name", name, sizeof(name)) < 0 ||
	    mr_log_read_number(place, object, "used_length", 0, INT64_MAX, &block->used_length) < 0 ||
	    mr_log_read_number(place, object, "page_size", 0, INT64_MAX, &block->page_size) < 0 ||
	    mr_log_read_number(place, object, "address", 0, INT64_MAX, &block->address) < 0 ||
	    mr_log_read_number(place, object, "cache_offset", 0, INT64_MAX, &block->cache_offset) < 0 ||
	    mr_log_read_flag(place, object, "ignored", &block->ignored) < 0)
		return -1;
	if (name[0] == '\0')
		return mr_log_fail(place, "name: expected 1 to %d bytes, found none", MR_NAME_MAX);
	block->name = strdup(name);
	return block->name ? 0 : mr_log_fail(place, "no memory");
}

static int read_blocks(const struct mr_log_place *place, json_t *object, struct mr_source_log_header *header)
{
	const json_t *array = json_object_get(object, "blocks");
	const size_t count = json_array_size(array);

	if (!json_is_array(array))
		return mr_log_fail(place, "blocks: expected an array, found %s", mr_log_type_name(array));
	if (count > MR_BLOCKS_MAX)
		return mr_log_fail(place, "blocks: expected at most %d, found %zu", MR_BLOCKS_MAX, count);
	header->blocks = calloc(count + 1, sizeof(*header->blocks));
	if (!header->blocks)
		return mr_log_fail(place, "no memory");
	header->config.blocks = header->blocks;
	for (size_t i = 0; i < count; i++) {
		if (read_block(place, json_array_get(array, i), &header->blocks[i]) < 0)
			return -1;
		header->config.block_count++;
		for (size_t other = 0; other < i; other++)
			if (strcmp(header->blocks[i].name, header->blocks[other].name) == 0)
				return mr_log_fail(place,
						   "blocks: expected each name once, found one again at index %zu", i);
	}
	return 0;
}

static int read_header(const struct mr_log_place *place, json_t *object, struct mr_source_log *log,
		       struct mr_source_log_header *header)
{
	static const char *const keys[] = {"source-log",
					   "numbered",
					   "source",
					   "machine",
					   "capabilities",
					   "pause_before_switchover",
					   "release_ram",
					   "auto_converge",
					   "guest_stopped",
					   "unplug_first",
					   "uuid_known",
					   "uuid",
					   "target_page_size",
					   "minimum_page_bits",
					   "host_page_size",
					   "max_bandwidth",
					   "max_postcopy_bandwidth",
					   "switchover_bandwidth",
					   "downtime_limit",
					   "xbzrle_cache_size",
					   "clear_bitmap_shift",
					   "multifd_channels",
					   "multifd_method",
					   "method_level",
					   "zero_detection",
					   "throttle_initial",
					   "throttle_increment",
					   "throttle_maximum",
					   "throttle_trigger",
					   "connections_max",
					   "package_max",
					   "handlers",
					   "blocks"};
	struct mr_outgoing_config *config = &header->config;
	uint64_t format = 0;

	if (mr_log_read_number(place, object, "source-log", LOG_FORMAT, LOG_FORMAT, &format) < 0 ||
	    mr_log_check_keys(place, object, keys, sizeof(keys) / sizeof(keys[0])) < 0 ||
	    mr_log_read_flag(place, object, "numbered", &log->numbered) < 0 ||
	    read_machine(place, object, header) < 0 || read_parameters(place, object, config) < 0 ||
	    mr_log_read_handlers(place, object, &config->profile, &header->handlers, &header->entries) < 0)
		return -1;
	config->handlers = &header->handlers;
	return read_blocks(place, object, header);
}

/* ---- Reading: lines ---- */

static int read_line(const struct mr_log_place *place, const char *text, size_t length, struct mr_source_log *log,
		     struct mr_source_log_header *header)
{
	struct mr_source_log_record record = {0};
	json_error_t json_error;
	json_t *object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &json_error);
	int status;

	if (!json_is_object(object)) {
		json_decref(object);
		return mr_log_fail(place, "expected a JSON object, found another text");
	}
	status = place->line == 1 ? read_header(place, object, log, header)
				  : read_record(place, object, &header->config, &record);
	json_decref(object);
	if (status < 0 || place->line == 1)
		return status;
	if (log->count == RECORDS_MAX || mr_source_log_append(log, &record) < 0)
		return mr_log_fail(place, "no memory for a record");
	return 0;
}

static int read_lines(struct mr_input *input, struct mr_log_place *place, struct mr_source_log *log,
		      struct mr_source_log_header *header)
{
	for (;;) {
		const size_t limit = place->line == 0 ? HEADER_MAX : LINE_MAX;
		const uint8_t *text, *newline;
		size_t length;
		bool at_end;

		place->line++;
		if (mr_input_fill(input, limit) < 0)
			return mr_log_fail(place, "%s", mr_input_error(input));
		text = mr_input_window(input, &length, &at_end);
		if (length == 0 && place->line > 1)
			return 0;
		newline = length ? memchr(text, '\n', length < limit ? length : limit) : NULL;
		if (!newline)
			return mr_log_fail(place, "expected a newline within %zu bytes, found none", limit);
		length = (size_t)(newline - text);
		if (read_line(place, (const char *)text, length, log, header) < 0)
			return -1;
		mr_input_consume(input, length + 1);
	}
}

int mr_source_log_read(struct mr_source_log *log, struct mr_source_log_header *header, const char *path, char *error,
		       size_t error_size)
{
	struct mr_log_place place = {.file = path, .error = error, .error_size = error_size};
	struct mr_input *input;
	int status;

	*log = (struct mr_source_log){0};
	*header = (struct mr_source_log_header){0};
	if (mr_input_open(&input, path, error, error_size) < 0)
		return -1;
	status = read_lines(input, &place, log, header);
	mr_input_close(input);
	if (status < 0) {
		mr_source_log_clear(log);
		mr_source_log_header_clear(header);
	}
	return status;
}
