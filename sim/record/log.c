/* log.c: writes a nondeterminism log by hand, reads it as JSON lines within limits. */
#include "sim/record/log.h"
#include "sim/record/actions.h"
#include "sim/record/input.h"
#include "sim/record/print.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum { LOG_FORMAT = 1, UUID_SIZE = 16, FIRST_CAPACITY = 256, UTF8_TWO_BYTES = 0xc0 };

/* ---- Records ---- */

static int grow(struct mr_log *log)
{
	const size_t capacity = log->capacity ? 2 * log->capacity : FIRST_CAPACITY;
	struct mr_log_record *records;

	if (log->count < log->capacity)
		return 0;
	if (capacity > SIZE_MAX / sizeof(*records))
		return -1;
	records = realloc(log->records, capacity * sizeof(*records));
	if (!records)
		return -1;
	log->records = records;
	log->capacity = capacity;
	return 0;
}

int mr_log_append(struct mr_log *log, const struct mr_log_record *record)
{
	struct mr_log_record *last = log->count ? &log->records[log->count - 1] : NULL;

	if (record->kind == MR_LOG_STEP && last && last->kind == MR_LOG_STEP && last->actor == record->actor &&
	    record->count <= (uint64_t)INT64_MAX && last->count <= (uint64_t)INT64_MAX - record->count) {
		last->count += record->count;
		return 0;
	}
	if (grow(log) < 0)
		return -1;
	log->records[log->count++] = *record;
	return 0;
}

void mr_log_clear(struct mr_log *log)
{
	free(log->records);
	*log = (struct mr_log){0};
}

void mr_log_header_clear(struct mr_log_header *header)
{
	for (uint32_t i = 0; header->blocks && i < header->config.block_count; i++)
		free((char *)header->blocks[i].name);
	free(header->blocks);
	*header = (struct mr_log_header){0};
}

/* The profile that a log tells by release and machine; "" is an unknown release. */
static int make_profile(struct mr_profile *profile, const char *release, const char *machine)
{
	if (mr_profile_init(profile, release) < 0 && release[0] != '\0')
		return -1;
	if (machine[0] != '\0')
		mr_profile_apply_machine(profile, machine);
	return 0;
}

/* ---- Writing ---- */

static struct mr_bytes bytes_of(const char *text)
{
	return (struct mr_bytes){(const uint8_t *)text, strlen(text)};
}

static void write_string(FILE *out, const char *key, const char *text)
{
	fprintf(out, ",\"%s\":", key);
	mr_print_json_string(out, bytes_of(text));
}

static void write_number(FILE *out, const char *key, uint64_t number)
{
	fprintf(out, ",\"%s\":%" PRIu64, key, number);
}

static void write_flag(FILE *out, const char *key, bool flag)
{
	fprintf(out, ",\"%s\":%s", key, flag ? "true" : "false");
}

static bool profile_is_told(const struct mr_profile *profile, const char *machine)
{
	struct mr_profile again;

	/* The switches of an unknown release say nothing. */
	return make_profile(&again, profile->release, machine) == 0 && again.known == profile->known &&
	       (!again.known || memcmp(again.on, profile->on, sizeof(again.on)) == 0);
}

static bool blocks_are_told(const struct mr_incoming_config *config)
{
	for (uint32_t i = 0; i < config->block_count; i++) {
		const struct mr_incoming_block *block = &config->blocks[i];
		const size_t length = strlen(block->name);

		if (length == 0 || length > MR_NAME_MAX || block->used_length > INT64_MAX ||
		    block->max_length > INT64_MAX || block->page_size > INT64_MAX)
			return false;
	}
	return config->block_count <= MR_BLOCKS_MAX;
}

/* vCPUs whose waiting is counted. */
static uint32_t vcpus_of(const struct mr_incoming_config *config)
{
	return config->blocktime ? config->vcpu_count : 0;
}

static bool header_is_told(const struct mr_incoming_config *config)
{
	const struct mr_context *context = &config->context;
	uint32_t named = 0, bit;

	for (size_t i = 0; mr_capability_at(i, &bit); i++)
		named |= bit;
	return profile_is_told(&context->profile, context->machine) &&
	       profile_is_told(&config->profile, context->machine) && (context->capabilities & ~named) == 0 &&
	       (context->multifd_method == MR_METHOD_UNKNOWN || mr_multifd_method_by_flag(context->multifd_method)) &&
	       config->package_max <= (size_t)INT64_MAX && vcpus_of(config) <= MR_INCOMING_VCPUS_MAX &&
	       blocks_are_told(config);
}

/* What the stream's own context says. */
static void write_context(FILE *out, const struct mr_context *context)
{
	const struct mr_multifd_method *method = mr_multifd_method_by_flag(context->multifd_method);
	const char *separator = "", *name;
	uint32_t bit;

	write_flag(out, "capabilities_known", context->capabilities_known);
	fputs(",\"capabilities\":[", out);
	for (size_t i = 0; (name = mr_capability_at(i, &bit)) != NULL; i++) {
		if (!(context->capabilities & bit))
			continue;
		fprintf(out, "%s\"%s\"", separator, name);
		separator = ",";
	}
	putc(']', out);
	write_number(out, "stream_page_size", context->target_page_size);
	write_number(out, "multifd_channels", context->multifd_channels);
	write_string(out, "multifd_method", method ? method->name : "");
	write_flag(out, "no_configuration", context->no_configuration);
	write_flag(out, "no_footer", context->no_footer);
	fputs(",\"uuid\":\"", out);
	for (size_t i = 0; context->uuid_known && i < UUID_SIZE; i++)
		fprintf(out, "%02x", context->uuid[i]);
	putc('"', out);
}

static void write_block(FILE *out, const struct mr_incoming_block *block)
{
	fputs("{\"name\":", out);
	mr_print_json_string(out, bytes_of(block->name));
	write_number(out, "used_length", block->used_length);
	write_number(out, "max_length", block->max_length);
	write_number(out, "page_size", block->page_size);
	write_number(out, "rank", block->rank);
	write_flag(out, "ignored", block->ignored);
	write_flag(out, "not_zeroable", block->not_zeroable);
	putc('}', out);
}

static void write_header(FILE *out, const struct mr_incoming_config *config)
{
	fprintf(out, "{\"log\":%d", LOG_FORMAT);
	write_string(out, "source", config->context.profile.release);
	write_string(out, "destination", config->profile.release);
	write_string(out, "machine", config->context.machine);
	write_flag(out, "strict", config->strict);
	write_context(out, &config->context);
	write_number(out, "target_page_size", config->target_page_size);
	write_number(out, "host_page_size", config->host_page_size);
	write_flag(out, "memory_locked", config->memory_locked);
	write_flag(out, "start_paused", config->start_paused);
	write_number(out, "package_max", config->package_max);
	write_number(out, "connections_max", config->connections_max);
	if (config->blocktime) {
		write_number(out, "vcpus", config->vcpu_count);
		write_number(out, "open_faults_max", config->open_faults_max);
	}
	fputs(",\"blocks\":[", out);
	for (uint32_t i = 0; i < config->block_count; i++) {
		fputs(i ? "," : "", out);
		write_block(out, &config->blocks[i]);
	}
	fputs("]}\n", out);
}

/* The ranges that reading asks for, so that what is written can be read. */
static bool record_is_told(const struct mr_log_record *record, const struct mr_incoming_config *config)
{
	switch (record->kind) {
	case MR_LOG_OPEN:
		return record->channel < MR_INCOMING_CHANNELS_MAX && (unsigned)record->role < MR_ROLE_RETURN;
	case MR_LOG_STEP:
		return record->actor < MR_ACTOR_COUNT && record->count > 0 && record->count <= INT64_MAX;
	case MR_LOG_WAIT:
		return record->actor < MR_ACTOR_COUNT;
	case MR_LOG_FAULT:
		return record->block < config->block_count && record->offset <= INT64_MAX &&
		       record->thread <= INT64_MAX;
	case MR_LOG_END:
		return record->channel < MR_INCOMING_CHANNELS_MAX && record->bytes <= INT64_MAX && record->error >= 0 &&
		       record->error <= MR_LOG_ERRNO_MAX;
	case MR_LOG_ERROR:
		return record->actor < MR_ACTOR_COUNT && record->error > 0 && record->error <= MR_LOG_ERRNO_MAX;
	case MR_LOG_RETURN_END:
		return record->channel < MR_INCOMING_CHANNELS_MAX && record->bytes <= INT64_MAX;
	case MR_LOG_VCPU:
		return record->count < vcpus_of(config) && record->thread <= INT64_MAX;
	case MR_LOG_TIME:
		return record->count <= INT64_MAX;
	}
	return false;
}

static void write_record(FILE *out, const struct mr_log_record *record, const struct mr_incoming_config *config)
{
	char actor[MR_ACTOR_TEXT_MAX];

	mr_actor_format(record->actor, actor);
	switch (record->kind) {
	case MR_LOG_OPEN:
		fprintf(out, "{\"open\":%" PRIu32 ",\"role\":\"%s\"", record->channel, mr_role_name(record->role));
		break;
	case MR_LOG_STEP:
		fprintf(out, "{\"step\":\"%s\",\"count\":%" PRIu64, actor, record->count);
		break;
	case MR_LOG_WAIT:
		fprintf(out, "{\"wait\":\"%s\"", actor);
		break;
	case MR_LOG_FAULT:
		fputs("{\"fault\":", out);
		mr_print_json_string(out, bytes_of(config->blocks[record->block].name));
		write_number(out, "offset", record->offset);
		write_number(out, "thread", record->thread);
		break;
	case MR_LOG_END:
		fprintf(out, "{\"end\":%" PRIu32 ",\"bytes\":%" PRIu64 ",\"error\":%d", record->channel, record->bytes,
			record->error);
		break;
	case MR_LOG_ERROR:
		fprintf(out, "{\"error\":\"%s\",\"errno\":%d", actor, record->error);
		break;
	case MR_LOG_RETURN_END:
		fprintf(out, "{\"return-end\":%" PRIu32 ",\"bytes\":%" PRIu64, record->channel, record->bytes);
		break;
	case MR_LOG_VCPU:
		fprintf(out, "{\"vcpu\":%" PRIu64 ",\"thread\":%" PRIu64, record->count, record->thread);
		break;
	case MR_LOG_TIME:
		fprintf(out, "{\"time\":%" PRIu64, record->count);
		break;
	}
	fputs("}\n", out);
}

int mr_log_write(const struct mr_log *log, const struct mr_incoming_config *config, FILE *out)
{
	if (!header_is_told(config))
		return -1;
	write_header(out, config);
	for (size_t i = 0; i < log->count; i++) {
		if (!record_is_told(&log->records[i], config))
			return -1;
		write_record(out, &log->records[i], config);
	}
	return ferror(out) ? -1 : 0;
}

/* ---- Reading: values ---- */

/* Where an error is to be reported, and to whom. */
struct place {
	const char *file;
	uint64_t line;
	enum mr_rule rule;
	char *error;
	size_t error_size;
};

__attribute__((format(printf, 2, 3))) static int fail(const struct place *place, const char *format, ...)
{
	va_list arguments;
	int prefix;

	prefix = snprintf(place->error, place->error_size, "%s: line %" PRIu64 ": %s: ", place->file, place->line,
			  mr_rule_id(place->rule));
	if (prefix >= 0 && (size_t)prefix < place->error_size) {
		va_start(arguments, format);
		vsnprintf(place->error + prefix, place->error_size - (size_t)prefix, format, arguments);
		va_end(arguments);
	}
	/* The text may quote the file's own bytes, and has to stay one line whatever they are. */
	for (char *byte = place->error; place->error_size > 0 && *byte != '\0'; byte++) {
		if ((unsigned char)*byte < 0x20 || *byte == 0x7f)
			*byte = '?';
	}
	return -1;
}

static const char *type_name(const json_t *value)
{
	static const char *const names[] = {
		[JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array",  [JSON_STRING] = "a string",
		[JSON_INTEGER] = "a number", [JSON_REAL] = "a fraction", [JSON_TRUE] = "true",
		[JSON_FALSE] = "false",      [JSON_NULL] = "null",
	};

	return value ? names[json_typeof(value)] : "nothing";
}

/* Keys that nobody asks for are errors: a misspelt one would be lost silently. */
static int check_keys(const struct place *place, json_t *object, const char *const *keys, size_t count)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
	{
		size_t i = 0;

		while (i < count && strcmp(keys[i], key) != 0)
			i++;
		if (i == count)
			return fail(place, "expected a known key, found %.64s", key);
	}
	return 0;
}

static int read_number(const struct place *place, const json_t *object, const char *key, uint64_t minimum,
		       uint64_t maximum, uint64_t *number)
{
	const json_t *value = json_object_get(object, key);
	const json_int_t found = json_integer_value(value);

	if (!json_is_integer(value))
		return fail(place, "%s: expected a whole number, found %s", key, type_name(value));
	if (found < 0 || (uint64_t)found < minimum || (uint64_t)found > maximum)
		return fail(place, "%s: expected %" PRIu64 " to %" PRIu64 ", found %" JSON_INTEGER_FORMAT, key, minimum,
			    maximum, found);
	*number = (uint64_t)found;
	return 0;
}

static int read_small(const struct place *place, const json_t *object, const char *key, uint32_t maximum,
		      uint32_t *number)
{
	uint64_t wide = 0;

	if (read_number(place, object, key, 0, maximum, &wide) < 0)
		return -1;
	*number = (uint32_t)wide;
	return 0;
}

static int read_errno(const struct place *place, const json_t *object, const char *key, uint64_t minimum, int *number)
{
	uint64_t wide = 0;

	if (read_number(place, object, key, minimum, MR_LOG_ERRNO_MAX, &wide) < 0)
		return -1;
	*number = (int)wide;
	return 0;
}

static int read_flag(const struct place *place, const json_t *object, const char *key, bool *flag)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_boolean(value))
		return fail(place, "%s: expected true or false, found %s", key, type_name(value));
	*flag = json_is_true(value);
	return 0;
}

/* A string as it was written: characters up to U+00FF stand for bytes. At most `size` - 1 bytes and a final NUL. */
static int read_string(const struct place *place, const json_t *object, const char *key, char *out, size_t size)
{
	const json_t *value = json_object_get(object, key);
	const uint8_t *text = (const uint8_t *)json_string_value(value);
	size_t length = 0;

	if (!text)
		return fail(place, "%s: expected a string, found %s", key, type_name(value));
	for (; *text != '\0'; text++) {
		uint8_t byte = *text;

		if (byte > (UTF8_TWO_BYTES | 3))
			return fail(place, "%s: expected characters up to U+00FF, found others", key);
		if (byte >= UTF8_TWO_BYTES)
			byte = (uint8_t)(byte << 6 | (*++text & 0x3f));
		if (length + 1 >= size)
			return fail(place, "%s: expected at most %zu bytes, found more", key, size - 1);
		out[length++] = (char)byte;
	}
	out[length] = '\0';
	return 0;
}

/* ---- Reading: header ---- */

static int read_profile(const struct place *place, const json_t *object, const char *key, const char *machine,
			struct mr_profile *profile)
{
	char release[sizeof(profile->release)];

	if (read_string(place, object, key, release, sizeof(release)) < 0)
		return -1;
	if (make_profile(profile, release, machine) < 0)
		return fail(place, "%s: expected a QEMU release from 2.5 to 11.1, found %s", key, release);
	return 0;
}

static int read_capabilities(const struct place *place, const json_t *object, struct mr_context *context)
{
	const json_t *array = json_object_get(object, "capabilities");

	if (!json_is_array(array))
		return fail(place, "capabilities: expected an array, found %s", type_name(array));
	for (size_t index = 0; index < json_array_size(array); index++) {
		const json_t *value = json_array_get(array, index);
		const char *name = json_string_value(value);
		uint32_t bit;

		if (!name)
			return fail(place, "capabilities[%zu]: expected a string, found %s", index, type_name(value));
		bit = mr_capability_by_name(name);
		if (!bit)
			return fail(place, "capabilities[%zu]: expected a capability, found %.64s", index, name);
		if (context->capabilities & bit)
			return fail(place, "capabilities[%zu]: expected each once, found %s again", index, name);
		context->capabilities |= bit;
	}
	return 0;
}

static int read_method(const struct place *place, const json_t *object, struct mr_context *context)
{
	const struct mr_multifd_method *method;
	char name[32];

	if (read_string(place, object, "multifd_method", name, sizeof(name)) < 0)
		return -1;
	method = mr_multifd_method_by_name(name);
	if (!method && name[0] != '\0')
		return fail(place, "multifd_method: expected a method or nothing, found %s", name);
	context->multifd_method = method ? method->flag : MR_METHOD_UNKNOWN;
	return 0;
}

static int digit_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static int read_uuid(const struct place *place, const json_t *object, struct mr_context *context)
{
	char text[2 * UUID_SIZE + 1];

	if (read_string(place, object, "uuid", text, sizeof(text)) < 0)
		return -1;
	context->uuid_known = text[0] != '\0';
	if (context->uuid_known && strlen(text) != sizeof(text) - 1)
		return fail(place, "uuid: expected 32 digits or none, found %zu", strlen(text));
	for (size_t i = 0; context->uuid_known && i < UUID_SIZE; i++) {
		const int high = digit_value(text[2 * i]), low = digit_value(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return fail(place, "uuid: expected digits 0 to 9 and a to f, found others");
		context->uuid[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static int read_context(const struct place *place, const json_t *object, struct mr_context *context)
{
	if (read_string(place, object, "machine", context->machine, sizeof(context->machine)) < 0 ||
	    read_profile(place, object, "source", context->machine, &context->profile) < 0 ||
	    read_flag(place, object, "capabilities_known", &context->capabilities_known) < 0 ||
	    read_capabilities(place, object, context) < 0 ||
	    read_small(place, object, "stream_page_size", UINT32_MAX, &context->target_page_size) < 0 ||
	    read_small(place, object, "multifd_channels", UINT32_MAX, &context->multifd_channels) < 0 ||
	    read_method(place, object, context) < 0 ||
	    read_flag(place, object, "no_configuration", &context->no_configuration) < 0 ||
	    read_flag(place, object, "no_footer", &context->no_footer) < 0)
		return -1;
	return read_uuid(place, object, context);
}

static int read_block(const struct place *place, json_t *object, struct mr_incoming_block *block)
{
	static const char *const keys[] = {"name", "used_length", "max_length",  "page_size",
					   "rank", "ignored",     "not_zeroable"};
	char name[MR_NAME_MAX + 1];

	if (!json_is_object(object))
		return fail(place, "blocks: expected objects, found %s", type_name(object));
	if (check_keys(place, object, keys, sizeof(keys) / sizeof(keys[0])) < 0 ||
	    read_string(place, object, "name", name, sizeof(name)) < 0 ||
	    read_number(place, object, "used_length", 0, INT64_MAX, &block->used_length) < 0 ||
	    read_number(place, object, "max_length", 0, INT64_MAX, &block->max_length) < 0 ||
	    read_number(place, object, "page_size", 0, INT64_MAX, &block->page_size) < 0 ||
	    read_small(place, object, "rank", UINT32_MAX, &block->rank) < 0 ||
	    read_flag(place, object, "ignored", &block->ignored) < 0 ||
	    read_flag(place, object, "not_zeroable", &block->not_zeroable) < 0)
		return -1;
	if (name[0] == '\0')
		return fail(place, "name: expected 1 to %d bytes, found none", MR_NAME_MAX);
	block->name = strdup(name);
	return block->name ? 0 : fail(place, "no memory");
}

static int read_blocks(const struct place *place, const json_t *object, struct mr_log_header *header)
{
	const json_t *array = json_object_get(object, "blocks");
	const size_t count = json_array_size(array);

	if (!json_is_array(array))
		return fail(place, "blocks: expected an array, found %s", type_name(array));
	if (count > MR_BLOCKS_MAX)
		return fail(place, "blocks: expected at most %d, found %zu", MR_BLOCKS_MAX, count);
	header->blocks = calloc(count + 1, sizeof(*header->blocks));
	if (!header->blocks)
		return fail(place, "no memory");
	header->config.blocks = header->blocks;
	for (size_t i = 0; i < count; i++) {
		if (read_block(place, json_array_get(array, i), &header->blocks[i]) < 0)
			return -1;
		header->config.block_count++;
		for (size_t other = 0; other < i; other++)
			if (strcmp(header->blocks[i].name, header->blocks[other].name) == 0)
				return fail(place, "blocks: expected each name once, found one again at index %zu", i);
	}
	return 0;
}

/* Only a machine that counts how long vCPUs wait has this part. */
static int read_blocktime(const struct place *place, const json_t *object, struct mr_incoming_config *config)
{
	config->blocktime = json_object_get(object, "vcpus") || json_object_get(object, "open_faults_max");
	if (!config->blocktime)
		return 0;
	if (read_small(place, object, "vcpus", MR_INCOMING_VCPUS_MAX, &config->vcpu_count) < 0)
		return -1;
	return read_small(place, object, "open_faults_max", UINT32_MAX, &config->open_faults_max);
}

static int read_header(const struct place *place, json_t *object, struct mr_log_header *header)
{
	static const char *const keys[] = {"log",
					   "source",
					   "destination",
					   "machine",
					   "strict",
					   "capabilities_known",
					   "capabilities",
					   "stream_page_size",
					   "multifd_channels",
					   "multifd_method",
					   "no_configuration",
					   "no_footer",
					   "uuid",
					   "target_page_size",
					   "host_page_size",
					   "memory_locked",
					   "start_paused",
					   "package_max",
					   "connections_max",
					   "vcpus",
					   "open_faults_max",
					   "blocks"};
	struct mr_incoming_config *config = &header->config;
	uint64_t format = 0, package_max = 0;

	if (read_number(place, object, "log", LOG_FORMAT, LOG_FORMAT, &format) < 0 ||
	    check_keys(place, object, keys, sizeof(keys) / sizeof(keys[0])) < 0 ||
	    read_context(place, object, &config->context) < 0 ||
	    read_profile(place, object, "destination", config->context.machine, &config->profile) < 0 ||
	    read_flag(place, object, "strict", &config->strict) < 0 ||
	    read_small(place, object, "target_page_size", UINT32_MAX, &config->target_page_size) < 0 ||
	    read_small(place, object, "host_page_size", UINT32_MAX, &config->host_page_size) < 0 ||
	    read_flag(place, object, "memory_locked", &config->memory_locked) < 0 ||
	    read_flag(place, object, "start_paused", &config->start_paused) < 0 ||
	    read_number(place, object, "package_max", 0, SIZE_MAX / 2, &package_max) < 0 ||
	    read_small(place, object, "connections_max", UINT32_MAX, &config->connections_max) < 0 ||
	    read_blocktime(place, object, config) < 0)
		return -1;
	config->package_max = (size_t)package_max;
	return read_blocks(place, object, header);
}

/* ---- Reading: records ---- */

static int read_actor(const struct place *place, const json_t *object, const char *key, unsigned *actor)
{
	char name[MR_ACTOR_TEXT_MAX];

	if (read_string(place, object, key, name, sizeof(name)) < 0)
		return -1;
	*actor = mr_actor_by_text(name);
	return *actor == MR_ACTOR_COUNT ? fail(place, "%s: expected an actor, found %s", key, name) : 0;
}

static int read_channel(const struct place *place, const json_t *object, const char *key, uint32_t *channel)
{
	return read_small(place, object, key, MR_INCOMING_CHANNELS_MAX - 1, channel);
}

static int read_open(const struct place *place, const json_t *object, struct mr_log_record *record)
{
	unsigned role = 0;
	char name[16];

	if (read_channel(place, object, "open", &record->channel) < 0 ||
	    read_string(place, object, "role", name, sizeof(name)) < 0)
		return -1;
	while (role < MR_ROLE_RETURN && strcmp(mr_role_name((enum mr_role)role), name) != 0)
		role++;
	record->role = (enum mr_role)role;
	return role == MR_ROLE_RETURN ? fail(place, "role: expected a role of a connection, found %s", name) : 0;
}

static int read_fault(const struct place *place, const json_t *object, const struct mr_log_header *header,
		      struct mr_log_record *record)
{
	char name[MR_NAME_MAX + 1];

	if (read_string(place, object, "fault", name, sizeof(name)) < 0 ||
	    read_number(place, object, "offset", 0, INT64_MAX, &record->offset) < 0 ||
	    read_number(place, object, "thread", 0, INT64_MAX, &record->thread) < 0)
		return -1;
	while (record->block < header->config.block_count && strcmp(header->blocks[record->block].name, name) != 0)
		record->block++;
	return record->block == header->config.block_count
		       ? fail(place, "fault: expected a block of the header, found %.64s", name)
		       : 0;
}

static int read_vcpu(const struct place *place, const json_t *object, const struct mr_log_header *header,
		     struct mr_log_record *record)
{
	const uint32_t count = vcpus_of(&header->config);

	if (count == 0)
		return fail(place, "vcpu: expected a header with vcpus, found none");
	if (read_number(place, object, "vcpu", 0, count - 1, &record->count) < 0)
		return -1;
	return read_number(place, object, "thread", 0, INT64_MAX, &record->thread);
}

/* The first of its keys tells what a record is; "error" stands in END too, hence the order. */
static int record_kind(const struct place *place, json_t *object, enum mr_log_kind *kind)
{
	static const struct {
		enum mr_log_kind kind;
		const char *keys[3];
	} kinds[] = {
		{MR_LOG_OPEN, {"open", "role", "role"}},     {MR_LOG_STEP, {"step", "count", "count"}},
		{MR_LOG_WAIT, {"wait", "wait", "wait"}},     {MR_LOG_FAULT, {"fault", "offset", "thread"}},
		{MR_LOG_END, {"end", "bytes", "error"}},     {MR_LOG_RETURN_END, {"return-end", "bytes", "bytes"}},
		{MR_LOG_ERROR, {"error", "errno", "errno"}}, {MR_LOG_VCPU, {"vcpu", "thread", "thread"}},
		{MR_LOG_TIME, {"time", "time", "time"}},
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!json_object_get(object, kinds[i].keys[0]))
			continue;
		*kind = kinds[i].kind;
		return check_keys(place, object, kinds[i].keys, sizeof(kinds[i].keys) / sizeof(kinds[i].keys[0]));
	}
	return fail(place,
		    "expected open, step, wait, fault, end, error, return-end, vcpu or time, found none of them");
}

static int read_fields(const struct place *place, const json_t *object, const struct mr_log_header *header,
		       struct mr_log_record *record)
{
	switch (record->kind) {
	case MR_LOG_OPEN:
		return read_open(place, object, record);
	case MR_LOG_STEP:
		if (read_actor(place, object, "step", &record->actor) < 0)
			return -1;
		return read_number(place, object, "count", 1, INT64_MAX, &record->count);
	case MR_LOG_WAIT:
		return read_actor(place, object, "wait", &record->actor);
	case MR_LOG_FAULT:
		return read_fault(place, object, header, record);
	case MR_LOG_END:
		if (read_channel(place, object, "end", &record->channel) < 0 ||
		    read_number(place, object, "bytes", 0, INT64_MAX, &record->bytes) < 0)
			return -1;
		return read_errno(place, object, "error", 0, &record->error);
	case MR_LOG_ERROR:
		if (read_actor(place, object, "error", &record->actor) < 0)
			return -1;
		return read_errno(place, object, "errno", 1, &record->error);
	case MR_LOG_RETURN_END:
		if (read_channel(place, object, "return-end", &record->channel) < 0)
			return -1;
		return read_number(place, object, "bytes", 0, INT64_MAX, &record->bytes);
	case MR_LOG_VCPU:
		return read_vcpu(place, object, header, record);
	case MR_LOG_TIME:
		return read_number(place, object, "time", 0, INT64_MAX, &record->count);
	}
	return -1;
}

static int read_record(const struct place *place, json_t *object, struct mr_log *log,
		       const struct mr_log_header *header)
{
	struct mr_log_record record = {0};

	if (record_kind(place, object, &record.kind) < 0 || read_fields(place, object, header, &record) < 0)
		return -1;
	if (log->count == MR_LOG_RECORDS_MAX)
		return fail(place, "expected at most %d records, found more", MR_LOG_RECORDS_MAX);
	return mr_log_append(log, &record) < 0 ? fail(place, "no memory") : 0;
}

/* ---- Reading: lines ---- */

static int read_line(const struct place *place, const char *text, size_t length, struct mr_log *log,
		     struct mr_log_header *header)
{
	json_error_t json_error;
	json_t *object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &json_error);
	int result;

	if (!object)
		return fail(place, "expected JSON, found another text: %s", json_error.text);
	if (!json_is_object(object))
		result = fail(place, "expected a JSON object, found %s", type_name(object));
	else if (place->rule == MR_LOG_001)
		result = read_header(place, object, header);
	else
		result = read_record(place, object, log, header);
	json_decref(object);
	return result;
}

static int read_lines(struct mr_input *input, struct mr_log *log, struct mr_log_header *header, char *error,
		      size_t error_size)
{
	struct place place = {mr_input_name(input), 0, MR_LOG_001, error, error_size};

	for (;;) {
		const size_t limit = place.line == 0 ? MR_LOG_HEADER_MAX : MR_LOG_LINE_MAX;
		const uint8_t *text, *newline;
		size_t length;
		bool at_end;

		if (mr_input_fill(input, limit + 1) < 0) {
			snprintf(error, error_size, "%s", mr_input_error(input));
			return -1;
		}
		text = mr_input_window(input, &length, &at_end);
		if (length == 0 && place.line > 0)
			return 0;
		place.line++;
		if (length > limit + 1)
			length = limit + 1;
		newline = length > 0 ? memchr(text, '\n', length) : NULL;
		if (!newline && length > limit)
			return fail(&place, "expected at most %zu bytes in a line, found more", limit);
		/* A line without its end is one that was not written whole. */
		if (!newline)
			return fail(&place, "expected a newline behind %zu bytes, found the end", length);
		length = (size_t)(newline - text);
		if (read_line(&place, (const char *)text, length, log, header) < 0)
			return -1;
		mr_input_consume(input, length + 1);
		place.rule = MR_LOG_002;
	}
}

int mr_log_read(struct mr_log *log, struct mr_log_header *header, const char *path, char *error, size_t error_size)
{
	struct mr_input *input;
	int result;

	*log = (struct mr_log){0};
	*header = (struct mr_log_header){0};
	if (mr_input_open(&input, path, error, error_size) < 0)
		return -1;
	result = read_lines(input, log, header, error, error_size);
	mr_input_close(input);
	if (result < 0) {
		mr_log_clear(log);
		mr_log_header_clear(header);
	}
	return result;
}
