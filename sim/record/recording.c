/* Reads a recording directory: manifest and timeline as JSON, and which of its files are there. */
#include "sim/record/recording.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Both far above any real machine; they keep later arithmetic on bytes within 64 bits. */
#define MEMORY_MIB_MAX     ((json_int_t)1 << 40)
#define HOST_PAGE_SIZE_MAX ((json_int_t)1 << 40)

/* Where an error is to be reported, and to whom. */
struct place {
	const char *file;
	uint64_t line; /* 0: the file as a whole */
	char *error;
	size_t error_size;
};

__attribute__((format(printf, 2, 3))) static int fail(const struct place *place, const char *format, ...)
{
	va_list arguments;
	int prefix;

	if (place->line > 0)
		prefix = snprintf(place->error, place->error_size, "%s: line %" PRIu64 ": ", place->file, place->line);
	else
		prefix = snprintf(place->error, place->error_size, "%s: ", place->file);
	if (prefix < 0 || (size_t)prefix >= place->error_size)
		return -1;
	va_start(arguments, format);
	vsnprintf(place->error + prefix, place->error_size - (size_t)prefix, format, arguments);
	va_end(arguments);

	/* The text may quote the file's own bytes, and has to stay one line whatever they are. */
	for (char *byte = place->error; *byte != '\0'; byte++) {
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

/* A member, where null is as good as none. */
static json_t *member(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	return json_is_null(value) ? NULL : value;
}

static int optional_string(const struct place *place, const json_t *object, const char *key, const char **string)
{
	json_t *value = member(object, key);

	*string = NULL;
	if (!value)
		return 0;
	if (!json_is_string(value))
		return fail(place, "%s: expected a string, found %s", key, type_name(value));
	*string = json_string_value(value);
	return 0;
}

static int required_string(const struct place *place, const json_t *object, const char *key, const char **string)
{
	if (optional_string(place, object, key, string) < 0)
		return -1;
	if (!*string)
		return fail(place, "%s: expected a string, found nothing", key);
	return 0;
}

static int required_integer(const struct place *place, const json_t *object, const char *key, json_int_t maximum,
			    uint64_t *number)
{
	json_t *value = member(object, key);

	if (!json_is_integer(value))
		return fail(place, "%s: expected a whole number, found %s", key, type_name(value));
	if (json_integer_value(value) < 0 || json_integer_value(value) > maximum)
		return fail(place, "%s: expected 0 to %" JSON_INTEGER_FORMAT ", found %" JSON_INTEGER_FORMAT, key,
			    maximum, json_integer_value(value));
	*number = (uint64_t)json_integer_value(value);
	return 0;
}

static int optional_integer(const struct place *place, const json_t *object, const char *key, json_int_t maximum,
			    uint64_t *number)
{
	*number = 0;
	return member(object, key) ? required_integer(place, object, key, maximum, number) : 0;
}

/* The status in the query-migrate result of one side. */
static int read_side_status(const struct place *place, const json_t *manifest, const char *side, const char **status)
{
	json_t *result = member(manifest, side);
	json_t *value = result ? member(result, "status") : NULL;

	*status = NULL;
	if (result && !json_is_object(result))
		return fail(place, "%s: expected an object, found %s", side, type_name(result));
	if (value && !json_is_string(value))
		return fail(place, "%s.status: expected a string, found %s", side, type_name(value));
	*status = value ? json_string_value(value) : NULL;
	return 0;
}

static int read_capabilities(const struct place *place, struct mr_recording *recording)
{
	json_t *array = member(recording->manifest, "capabilities");
	size_t count = json_array_size(array);

	if (!array)
		return 0;
	if (!json_is_array(array))
		return fail(place, "capabilities: expected an array, found %s", type_name(array));
	if (count > MR_RECORDING_CAPABILITIES_MAX)
		return fail(place, "capabilities: expected at most %d, found %zu", MR_RECORDING_CAPABILITIES_MAX,
			    count);
	recording->capabilities = calloc(count + 1, sizeof(*recording->capabilities));
	if (!recording->capabilities)
		return fail(place, "out of memory");
	for (size_t index = 0; index < count; index++) {
		json_t *value = json_array_get(array, index);

		if (!json_is_string(value))
			return fail(place, "capabilities[%zu]: expected a string, found %s", index, type_name(value));
		recording->capabilities[index] = json_string_value(value);
	}
	recording->capability_count = count;
	return 0;
}

/* The types of the parameters that decide how the stream is read; others may be anything. */
static int read_parameters(const struct place *place, struct mr_recording *recording)
{
	static const char *const integers[] = {"multifd-channels", "xbzrle-cache-size", "multifd-zlib-level",
					       "multifd-zstd-level"};
	static const char *const strings[] = {"multifd-compression", "zero-page-detection"};
	json_t *parameters = member(recording->manifest, "parameters");

	if (!parameters)
		return 0;
	if (!json_is_object(parameters))
		return fail(place, "parameters: expected an object, found %s", type_name(parameters));
	for (size_t index = 0; index < sizeof(integers) / sizeof(integers[0]); index++) {
		json_t *value = member(parameters, integers[index]);

		if (value && !json_is_integer(value))
			return fail(place, "parameters.%s: expected a whole number, found %s", integers[index],
				    type_name(value));
	}
	for (size_t index = 0; index < sizeof(strings) / sizeof(strings[0]); index++) {
		json_t *value = member(parameters, strings[index]);

		if (value && !json_is_string(value))
			return fail(place, "parameters.%s: expected a string, found %s", strings[index],
				    type_name(value));
	}
	recording->parameters = parameters;
	return 0;
}

static int digit_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static int read_wire(const struct place *place, const json_t *channel, const char *key, struct mr_recording_wire *wire)
{
	json_t *object = member(channel, key);
	const char *digest;

	if (!object)
		return 0;
	if (!json_is_object(object))
		return fail(place, "%s: expected an object, found %s", key, type_name(object));
	if (required_integer(place, object, "bytes", INT64_MAX, &wire->bytes) < 0 ||
	    required_string(place, object, "sha256", &digest) < 0)
		return -1;
	wire->told = strlen(digest) == 2 * (size_t)MR_RECORDING_DIGEST_SIZE;
	for (size_t i = 0; wire->told && i < MR_RECORDING_DIGEST_SIZE; i++) {
		const int high = digit_value(digest[2 * i]), low = digit_value(digest[2 * i + 1]);

		wire->told = high >= 0 && low >= 0;
		wire->sha256[i] = (uint8_t)(high << 4 | low);
	}
	return wire->told ? 0 : fail(place, "sha256: expected 64 digits 0 to 9 and a to f, found others");
}

static int read_channel(const struct place *place, const json_t *object, struct mr_recording_channel *channel)
{
	unsigned role = 0;
	const char *name;

	if (!json_is_object(object))
		return fail(place, "channels: expected objects, found %s", type_name(object));
	if (required_string(place, object, "role", &name) < 0)
		return -1;
	while (role < MR_ROLE_RETURN && strcmp(mr_role_name((enum mr_role)role), name) != 0)
		role++;
	if (role == MR_ROLE_RETURN)
		return fail(place, "role: expected main, recovery, preempt or multifd, found %s", name);
	channel->role_told = true;
	channel->role = (enum mr_role)role;
	if (read_wire(place, object, "forward", &channel->forward) < 0)
		return -1;
	return read_wire(place, object, "return", &channel->backward);
}

/* A list that says less than there is, or more, is about other files. */
static int read_channels(const struct place *place, struct mr_recording *recording)
{
	json_t *array = member(recording->manifest, "channels");

	/* A manifest alone has no files. */
	if (!array || recording->channel_count == 0)
		return 0;
	if (!json_is_array(array))
		return fail(place, "channels: expected an array, found %s", type_name(array));
	if (json_array_size(array) != recording->channel_count)
		return fail(place, "channels: expected %u, as there are files, found %zu", recording->channel_count,
			    json_array_size(array));
	for (size_t index = 0; index < json_array_size(array); index++)
		if (read_channel(place, json_array_get(array, index), &recording->channels[index]) < 0)
			return -1;
	return 0;
}

static int read_fields(const struct place *place, struct mr_recording *recording)
{
	json_t *manifest = recording->manifest;
	uint64_t format = 0;

	if (required_integer(place, manifest, "format", INT32_MAX, &format) < 0)
		return -1;
	if (format != MR_RECORDING_FORMAT)
		return fail(place, "format: expected %d, found %" PRIu64, MR_RECORDING_FORMAT, format);
	if (required_string(place, manifest, "source_qemu", &recording->source_qemu) < 0 ||
	    required_string(place, manifest, "destination_qemu", &recording->destination_qemu) < 0 ||
	    required_string(place, manifest, "status", &recording->status) < 0 ||
	    optional_string(place, manifest, "machine", &recording->machine) < 0 ||
	    optional_string(place, manifest, "accel", &recording->accel) < 0 ||
	    optional_string(place, manifest, "backend", &recording->backend) < 0 ||
	    optional_integer(place, manifest, "memory_mib", MEMORY_MIB_MAX, &recording->memory_mib) < 0 ||
	    optional_integer(place, manifest, "host_page_size", HOST_PAGE_SIZE_MAX, &recording->host_page_size) < 0 ||
	    optional_integer(place, manifest, "target_page_size", MR_PAGE_SIZE_MAX, &recording->target_page_size) < 0 ||
	    read_side_status(place, manifest, "source", &recording->source_status) < 0 ||
	    read_side_status(place, manifest, "destination", &recording->destination_status) < 0)
		return -1;
	if (recording->target_page_size && (recording->target_page_size < MR_PAGE_SIZE_MIN ||
					    (recording->target_page_size & (recording->target_page_size - 1))))
		return fail(place, "target_page_size: expected a power of two from %d to %d, found %" PRIu64,
			    MR_PAGE_SIZE_MIN, MR_PAGE_SIZE_MAX, recording->target_page_size);
	if (read_capabilities(place, recording) < 0 || read_channels(place, recording) < 0)
		return -1;
	return read_parameters(place, recording);
}

static int parse_manifest(const struct place *place, struct mr_recording *recording, struct mr_input *input)
{
	json_error_t json_error;
	const uint8_t *text;
	size_t length;
	bool at_end;

	if (mr_input_fill(input, MR_RECORDING_MANIFEST_MAX + 1) < 0) {
		snprintf(place->error, place->error_size, "%s", mr_input_error(input));
		return -1;
	}
	text = mr_input_window(input, &length, &at_end);
	if (length > MR_RECORDING_MANIFEST_MAX)
		return fail(place, "expected a manifest of at most %zu bytes, found more", MR_RECORDING_MANIFEST_MAX);
	recording->manifest = json_loadb((const char *)text, length, JSON_REJECT_DUPLICATES, &json_error);
	if (!recording->manifest)
		return fail(place, "line %d: not JSON: %s", json_error.line, json_error.text);
	if (!json_is_object(recording->manifest))
		return fail(place, "expected a JSON object, found %s", type_name(recording->manifest));
	return read_fields(place, recording);
}

static int read_manifest(struct mr_recording *recording, const char *path, char *error, size_t error_size)
{
	struct mr_input *input;
	struct place place = {.error = error, .error_size = error_size};
	int result;

	if (mr_input_open(&input, path, error, error_size) < 0)
		return -1;
	place.file = mr_input_name(input);
	result = parse_manifest(&place, recording, input);
	mr_input_close(input);
	return result;
}

/*
 * Whether name is "chN.fwd" or "chN.ret". A number above any limit comes back as
 * MR_RECORDING_CHANNELS_MAX.
 */
static bool parse_channel_name(const char *name, unsigned int *number, bool *forward)
{
	const char *digit = name + 2;
	unsigned int value = 0;

	if (strncmp(name, "ch", 2) != 0 || *digit < '0' || *digit > '9' ||
	    (digit[0] == '0' && digit[1] >= '0' && digit[1] <= '9'))
		return false;
	for (; *digit >= '0' && *digit <= '9'; digit++) {
		if (value < MR_RECORDING_CHANNELS_MAX)
			value = value * 10 + (unsigned int)(*digit - '0');
	}
	*number = value < MR_RECORDING_CHANNELS_MAX ? value : MR_RECORDING_CHANNELS_MAX;
	*forward = strcmp(digit, ".fwd") == 0;
	return *forward || strcmp(digit, ".ret") == 0;
}

/* Notes one file of the directory by its name without ".zst". */
static int note_file(const struct place *place, struct mr_recording *recording, const char *name)
{
	const struct {
		const char *name;
		bool *present;
	} known[] = {
		{"source.ram", &recording->has_source_ram},
		{"source.pmem", &recording->has_source_pmem},
		{"src.trace", &recording->has_source_trace},
		{"dst.trace", &recording->has_destination_trace},
		{"timeline.jsonl", &recording->has_timeline},
		{"state.mapped", &recording->has_mapped},
		{"nondeterminism.jsonl", &recording->has_log},
		{"source-nondeterminism.jsonl", &recording->has_source_log},
		{"actions.jsonl", &recording->has_actions},
		{"description.json", &recording->has_description},
	};
	unsigned int number;
	bool forward;

	for (size_t index = 0; index < sizeof(known) / sizeof(known[0]); index++) {
		if (strcmp(name, known[index].name) == 0)
			*known[index].present = true;
	}
	if (!parse_channel_name(name, &number, &forward))
		return 0;
	if (number >= MR_RECORDING_CHANNELS_MAX)
		return fail(place, "expected at most %d channels, found %s", MR_RECORDING_CHANNELS_MAX, name);
	if (forward)
		recording->channels[number].has_forward = true;
	else
		recording->channels[number].has_return = true;
	if (number >= recording->channel_count)
		recording->channel_count = number + 1;
	return 0;
}

static int list_files(const struct place *place, struct mr_recording *recording, bool *has_manifest)
{
	DIR *directory = opendir(recording->directory);
	struct dirent *entry;
	int result = 0;

	if (!directory)
		return fail(place, "expected a recording directory: %s", strerror(errno));
	while (result == 0 && (entry = readdir(directory)) != NULL) {
		size_t length = strlen(entry->d_name);

		if (length > 4 && strcmp(entry->d_name + length - 4, ".zst") == 0)
			entry->d_name[length - 4] = '\0';
		if (strcmp(entry->d_name, "manifest.json") == 0)
			*has_manifest = true;
		result = note_file(place, recording, entry->d_name);
	}
	closedir(directory);
	return result;
}

static int look_at_directory(struct mr_recording *recording, char *error, size_t error_size)
{
	const struct place place = {recording->directory, 0, error, error_size};
	bool has_manifest = false;

	if (list_files(&place, recording, &has_manifest) < 0)
		return -1;
	if (!has_manifest)
		return fail(&place, "expected a recording directory: it has no manifest.json");
	for (unsigned int number = 0; number < recording->channel_count; number++) {
		const struct mr_recording_channel *channel = &recording->channels[number];

		if (!channel->has_forward && !channel->has_return)
			return fail(&place, "expected the channels 0 to %u, found no ch%u",
				    recording->channel_count - 1, number);
	}
	return 0;
}

static struct mr_recording *new_recording(const char *directory, char *error, size_t error_size)
{
	struct mr_recording *recording = calloc(1, sizeof(*recording));

	/* jansson would take a random seed otherwise; the first call of the process decides. */
	json_object_seed(1);
	if (!recording || !(recording->directory = strdup(directory))) {
		free(recording);
		snprintf(error, error_size, "%s: out of memory", directory);
		return NULL;
	}
	return recording;
}

int mr_recording_open(struct mr_recording **result, const char *directory, char *error, size_t error_size)
{
	struct mr_recording *recording = new_recording(directory, error, error_size);
	char *path = NULL;
	int status = -1;

	*result = NULL;
	if (!recording)
		return -1;
	if (asprintf(&path, "%s/manifest.json", directory) < 0)
		snprintf(error, error_size, "%s: out of memory", directory);
	else if (look_at_directory(recording, error, error_size) == 0)
		status = read_manifest(recording, path, error, error_size);
	free(path);
	if (status < 0) {
		mr_recording_close(recording);
		return -1;
	}
	*result = recording;
	return 0;
}

int mr_recording_open_manifest(struct mr_recording **result, const char *path, char *error, size_t error_size)
{
	struct mr_recording *recording = new_recording(".", error, error_size);

	*result = NULL;
	if (!recording)
		return -1;
	if (read_manifest(recording, path, error, error_size) < 0) {
		mr_recording_close(recording);
		return -1;
	}
	*result = recording;
	return 0;
}

void mr_recording_close(struct mr_recording *recording)
{
	if (!recording)
		return;
	json_decref(recording->manifest);
	free(recording->capabilities);
	free(recording->directory);
	free(recording);
}

int mr_recording_open_file(const struct mr_recording *recording, const char *name, struct mr_input **result,
			   char *error, size_t error_size)
{
	char *path = NULL;
	int status;

	*result = NULL;
	if (asprintf(&path, "%s/%s", recording->directory, name) < 0) {
		snprintf(error, error_size, "%s/%s: out of memory", recording->directory, name);
		return -1;
	}
	status = mr_input_open(result, path, error, error_size);
	free(path);
	return status;
}

bool mr_recording_is_main_memory(const char *block)
{
	static const char *const names[] = {"mem", "pc.ram", "/objects/mem"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(block, names[i]) == 0)
			return true;
	return false;
}

bool mr_recording_has_capability(const struct mr_recording *recording, const char *name)
{
	for (size_t index = 0; index < recording->capability_count; index++) {
		if (strcmp(recording->capabilities[index], name) == 0)
			return true;
	}
	return false;
}

int64_t mr_recording_parameter_integer(const struct mr_recording *recording, const char *name, int64_t fallback)
{
	json_t *value = json_object_get(recording->parameters, name);

	return json_is_integer(value) ? (int64_t)json_integer_value(value) : fallback;
}

const char *mr_recording_parameter_string(const struct mr_recording *recording, const char *name, const char *fallback)
{
	json_t *value = json_object_get(recording->parameters, name);

	return json_is_string(value) ? json_string_value(value) : fallback;
}

static int read_direction(const struct place *place, const json_t *object, enum mr_timeline_direction *direction)
{
	const char *name;

	if (required_string(place, object, "dir", &name) < 0)
		return -1;
	if (strcmp(name, "fwd") == 0)
		*direction = MR_TIMELINE_FORWARD;
	else if (strcmp(name, "ret") == 0)
		*direction = MR_TIMELINE_RETURN;
	else
		return fail(place, "dir: expected fwd or ret, found %s", name);
	return 0;
}

static int read_kind(const struct place *place, const json_t *object, enum mr_timeline_kind *kind)
{
	const char *name;

	if (optional_string(place, object, "ev", &name) < 0)
		return -1;
	if (!name)
		*kind = MR_TIMELINE_CHUNK;
	else if (strcmp(name, "open") == 0)
		*kind = MR_TIMELINE_OPEN;
	else if (strcmp(name, "eof") == 0)
		*kind = MR_TIMELINE_EOF;
	else if (strcmp(name, "cut") == 0)
		*kind = MR_TIMELINE_CUT;
	else
		return fail(place, "ev: expected open, eof or cut, found %s", name);
	return 0;
}

static int read_event(const struct place *place, const json_t *object, struct mr_timeline_event *event)
{
	uint64_t channel = 0;

	*event = (struct mr_timeline_event){.channel = -1};
	if (required_integer(place, object, "t_ns", INT64_MAX, &event->t_ns) < 0 ||
	    read_kind(place, object, &event->kind) < 0)
		return -1;
	if (event->kind == MR_TIMELINE_CUT)
		return 0;
	if (required_integer(place, object, "ch", MR_RECORDING_CHANNELS_MAX - 1, &channel) < 0)
		return -1;
	event->channel = (int)channel;
	if (event->kind == MR_TIMELINE_OPEN)
		return 0;
	if (read_direction(place, object, &event->direction) < 0)
		return -1;
	if (event->kind == MR_TIMELINE_EOF)
		return 0;
	if (required_integer(place, object, "off", INT64_MAX, &event->offset) < 0)
		return -1;
	return required_integer(place, object, "len", INT64_MAX, &event->length);
}

static int append_event(const struct place *place, struct mr_timeline *timeline, size_t *capacity,
			const struct mr_timeline_event *event)
{
	if (timeline->count == MR_RECORDING_TIMELINE_EVENTS_MAX)
		return fail(place, "expected at most %zu events, found more", MR_RECORDING_TIMELINE_EVENTS_MAX);
	if (timeline->count == *capacity) {
		size_t larger = *capacity ? 2 * *capacity : 256;
		struct mr_timeline_event *events = realloc(timeline->events, larger * sizeof(*timeline->events));

		if (!events)
			return fail(place, "out of memory for %zu events", larger);
		timeline->events = events;
		*capacity = larger;
	}
	timeline->events[timeline->count++] = *event;
	return 0;
}

static int read_line(const struct place *place, const char *text, size_t length, struct mr_timeline *timeline,
		     size_t *capacity)
{
	struct mr_timeline_event event;
	json_error_t json_error;
	json_t *object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &json_error);
	int result = -1;

	if (!object)
		return fail(place, "not JSON: %s", json_error.text);
	if (!json_is_object(object))
		fail(place, "expected a JSON object, found %s", type_name(object));
	else
		result = read_event(place, object, &event);
	json_decref(object);
	return result < 0 ? -1 : append_event(place, timeline, capacity, &event);
}

static int read_lines(struct mr_input *input, struct mr_timeline *timeline, char *error, size_t error_size)
{
	struct place place = {mr_input_name(input), 0, error, error_size};
	size_t capacity = 0;

	for (;;) {
		const uint8_t *text;
		const uint8_t *newline;
		size_t available;
		size_t length;
		bool at_end;

		place.line++;
		if (mr_input_fill(input, MR_RECORDING_TIMELINE_LINE_MAX + 1) < 0) {
			snprintf(error, error_size, "%s", mr_input_error(input));
			return -1;
		}
		text = mr_input_window(input, &available, &at_end);
		if (available == 0)
			return 0;
		if (available > MR_RECORDING_TIMELINE_LINE_MAX + 1)
			available = MR_RECORDING_TIMELINE_LINE_MAX + 1;
		newline = memchr(text, '\n', available);
		length = newline ? (size_t)(newline - text) : available;
		if (length > MR_RECORDING_TIMELINE_LINE_MAX)
			return fail(&place, "expected at most %zu bytes, found more", MR_RECORDING_TIMELINE_LINE_MAX);
		if (read_line(&place, (const char *)text, length, timeline, &capacity) < 0)
			return -1;
		mr_input_consume(input, newline ? length + 1 : length);
	}
}

int mr_recording_read_timeline(const struct mr_recording *recording, struct mr_timeline *timeline, char *error,
			       size_t error_size)
{
	struct mr_input *input;
	int result;

	*timeline = (struct mr_timeline){0};
	if (!recording->has_timeline)
		return 0;
	if (mr_recording_open_file(recording, "timeline.jsonl", &input, error, error_size) < 0)
		return -1;
	result = read_lines(input, timeline, error, error_size);
	mr_input_close(input);
	if (result < 0)
		mr_timeline_clear(timeline);
	return result;
}

void mr_timeline_clear(struct mr_timeline *timeline)
{
	free(timeline->events);
	*timeline = (struct mr_timeline){0};
}
