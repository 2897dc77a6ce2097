/* vector.c: reads a test vector's file: its context, its input written as lines of hex, its expected reading. */
#include "sim/record/vector.h"

#include "ref/wire/wire.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static int complain(char error[MR_VECTOR_MESSAGE_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));

static int complain(char error[MR_VECTOR_MESSAGE_MAX], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, MR_VECTOR_MESSAGE_MAX, format, arguments);
	va_end(arguments);
	return -1;
}

/* ---- Input lines ---- */

/* Where a channel's bytes go; `left` is how many more the vector may have. */
struct sink {
	uint8_t *bytes;
	size_t length, capacity, left;
};

static bool put_bytes(struct sink *sink, uint8_t byte, size_t count)
{
	if (count > sink->left)
		return false;
	if (count > sink->capacity - sink->length) {
		const size_t capacity = 2 * (sink->length + count);
		uint8_t *larger = realloc(sink->bytes, capacity);

		if (!larger)
			return false;
		sink->bytes = larger;
		sink->capacity = capacity;
	}
	memset(sink->bytes + sink->length, byte, count);
	sink->length += count;
	sink->left -= count;
	return true;
}

static int digit_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	if (digit >= 'A' && digit <= 'F')
		return digit - 'A' + 10;
	return -1;
}

/* Two digits at `at`; -1 if they are none. */
static int byte_value(const char *at)
{
	const int high = digit_value(at[0]);
	const int low = high < 0 ? -1 : digit_value(at[1]);

	return low < 0 ? -1 : high << 4 | low;
}

/* `*N` behind a byte. Returns what follows, NULL if it is not so or the input gets too long. */
static const char *take_repetition(struct sink *sink, uint8_t byte, const char *at)
{
	size_t count = 0;

	if (*at++ != '*' || *at < '1' || *at > '9')
		return NULL;
	while (*at >= '0' && *at <= '9') {
		count = 10 * count + (size_t)(*at++ - '0');
		if (count > sink->left)
			return NULL;
	}
	return put_bytes(sink, byte, count) ? at : NULL;
}

/* 'text' in printable ASCII. */
static const char *take_text(struct sink *sink, const char *at)
{
	while (*++at != '\'') {
		if (*at < 0x20 || *at > 0x7e || !put_bytes(sink, (uint8_t)*at, 1))
			return NULL;
	}
	return at + 1;
}

static const char *take_hex(struct sink *sink, const char *at)
{
	while (digit_value(*at) >= 0) {
		const int value = byte_value(at);

		if (value < 0 || !put_bytes(sink, (uint8_t)value, 1))
			return NULL;
		at += 2;
	}
	return at;
}

/* One item of a line. Returns what follows it, NULL if it is none. */
static const char *take_item(struct sink *sink, const char *at)
{
	if (!strncmp(at, "zero*", 5))
		return take_repetition(sink, 0, at + 4);
	if (!strncmp(at, "byte:", 5))
		return byte_value(at + 5) < 0 ? NULL : take_repetition(sink, (uint8_t)byte_value(at + 5), at + 7);
	if (*at == '\'')
		return take_text(sink, at);
	return digit_value(*at) < 0 ? NULL : take_hex(sink, at);
}

static bool take_line(struct sink *sink, const char *at)
{
	for (;;) {
		while (*at == ' ')
			at++;
		if (*at == '\0' || *at == '#')
			return true;
		at = take_item(sink, at);
		if (!at || (*at != ' ' && *at != '\0'))
			return false;
	}
}

static int read_input(struct mr_vector_channel *channel, json_t *lines, size_t *left, char error[MR_VECTOR_MESSAGE_MAX])
{
	struct sink sink = {.left = *left};
	json_t *line;
	size_t index;

	if (!json_is_array(lines))
		return complain(error, "\"input\": expected an array of lines");
	json_array_foreach(lines, index, line)
	{
		if (json_is_string(line) && take_line(&sink, json_string_value(line)))
			continue;
		free(sink.bytes);
		return complain(
			error, "\"input\" line %zu: expected hex, zero*N, byte:HH*N or 'text', %d bytes at most: %.60s",
			index, MR_VECTOR_INPUT_MAX, json_is_string(line) ? json_string_value(line) : "no string");
	}
	/* an empty channel is legal, and NULL no address to calculate with */
	channel->bytes = sink.bytes ? sink.bytes : malloc(1);
	channel->length = sink.length;
	*left = sink.left;
	return channel->bytes ? 0 : complain(error, "out of memory");
}

int mr_vector_bytes(json_t *lines, uint8_t **bytes, size_t *length, char error[MR_VECTOR_MESSAGE_MAX])
{
	struct mr_vector_channel channel = {0};
	size_t left = MR_VECTOR_INPUT_MAX;

	if (read_input(&channel, lines, &left, error))
		return -1;
	*bytes = channel.bytes;
	*length = channel.length;
	return 0;
}

/* ---- Values ---- */

static int read_flag(json_t *object, const char *key, bool *flag, char error[MR_VECTOR_MESSAGE_MAX])
{
	json_t *value = json_object_get(object, key);

	if (value && !json_is_boolean(value))
		return complain(error, "\"%s\": expected true or false", key);
	if (value)
		*flag = json_is_true(value);
	return 0;
}

static int read_number(json_t *object, const char *key, uint64_t most, uint64_t *number,
		       char error[MR_VECTOR_MESSAGE_MAX])
{
	json_t *value = json_object_get(object, key);

	if (!value)
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < 0 || (uint64_t)json_integer_value(value) > most)
		return complain(error, "\"%s\": expected a number from 0 to %" PRIu64, key, most);
	*number = (uint64_t)json_integer_value(value);
	return 0;
}

static int read_text(json_t *object, const char *key, const char **text, char error[MR_VECTOR_MESSAGE_MAX])
{
	json_t *value = json_object_get(object, key);

	if (value && !json_is_string(value))
		return complain(error, "\"%s\": expected a string", key);
	if (value)
		*text = json_string_value(value);
	return 0;
}

static int read_role(json_t *object, enum mr_role *role, char error[MR_VECTOR_MESSAGE_MAX])
{
	const char *name = mr_role_name(MR_ROLE_MAIN);

	if (read_text(object, "role", &name, error))
		return -1;
	for (*role = MR_ROLE_MAIN; *role < MR_ROLE_COUNT; (*role)++)
		if (!strcmp(name, mr_role_name(*role)))
			return 0;
	return complain(error, "\"role\": expected main, recovery, preempt, multifd or return, found %.40s", name);
}

/* ---- Context ---- */

static int read_profile(json_t *object, struct mr_context *context, char error[MR_VECTOR_MESSAGE_MAX])
{
	const char *release = NULL, *machine = NULL;

	if (read_text(object, "profile", &release, error) || read_text(object, "machine_type", &machine, error))
		return -1;
	if (release && mr_profile_init(&context->profile, release))
		return complain(error, "\"profile\": expected a release from 2.5 to 11.1, found %.40s", release);
	if (machine && strlen(machine) > MR_MACHINE_NAME_MAX)
		return complain(error, "\"machine_type\": expected at most %d bytes", MR_MACHINE_NAME_MAX);
	if (machine) {
		snprintf(context->machine, sizeof(context->machine), "%s", machine);
		mr_profile_apply_machine(&context->profile, machine);
	}
	return 0;
}

static int read_capabilities(json_t *object, struct mr_context *context, char error[MR_VECTOR_MESSAGE_MAX])
{
	json_t *names = json_object_get(object, "capabilities");
	json_t *name;
	size_t index;

	if (!names)
		return 0;
	if (!json_is_array(names))
		return complain(error, "\"capabilities\": expected an array of names");
	context->capabilities_known = true;
	json_array_foreach(names, index, name)
	{
		if (!json_is_string(name) || !mr_capability_is_known(json_string_value(name)))
			return complain(error, "\"capabilities\": expected the name of a capability at index %zu",
					index);
		context->capabilities |= mr_capability_by_name(json_string_value(name));
	}
	return 0;
}

static int read_method(json_t *object, struct mr_context *context, char error[MR_VECTOR_MESSAGE_MAX])
{
	const struct mr_multifd_method *method;
	const char *name = NULL;

	context->multifd_method = MR_METHOD_UNKNOWN;
	if (read_text(object, "method", &name, error))
		return -1;
	if (!name)
		return 0;
	method = mr_multifd_method_by_name(name);
	if (!method)
		return complain(error, "\"method\": expected the name of a multifd method, found %.40s", name);
	context->multifd_method = method->flag;
	return 0;
}

static int read_uuid(json_t *object, struct mr_context *context, char error[MR_VECTOR_MESSAGE_MAX])
{
	const char *text = NULL;

	if (read_text(object, "uuid", &text, error))
		return -1;
	if (!text)
		return 0;
	context->uuid_known = true;
	for (size_t i = 0; i < sizeof(context->uuid); i++) {
		const int value = strlen(text) == 2 * sizeof(context->uuid) ? byte_value(text + 2 * i) : -1;

		if (value < 0)
			return complain(error, "\"uuid\": expected 32 hex digits, found %.40s", text);
		context->uuid[i] = (uint8_t)value;
	}
	return 0;
}

static int read_context(struct mr_vector *vector, json_t *object, char error[MR_VECTOR_MESSAGE_MAX])
{
	struct mr_context *context = &vector->context;
	bool configuration = true, footer = true;
	uint64_t page_size = 0, channels = 0;

	if (object && !json_is_object(object))
		return complain(error, "\"context\": expected an object");
	if (read_profile(object, context, error) || read_capabilities(object, context, error) ||
	    read_method(object, context, error) || read_uuid(object, context, error) ||
	    read_flag(object, "send_configuration", &configuration, error) ||
	    read_flag(object, "send_section_footer", &footer, error) ||
	    read_number(object, "target_page_size", MR_PAGE_SIZE_MAX, &page_size, error) ||
	    read_number(object, "multifd_channels", 255, &channels, error))
		return -1;
	if (page_size && (page_size < MR_PAGE_SIZE_MIN || (page_size & (page_size - 1))))
		return complain(error, "\"target_page_size\": expected a power of two from %d to %d", MR_PAGE_SIZE_MIN,
				MR_PAGE_SIZE_MAX);
	context->no_configuration = !configuration;
	context->no_footer = !footer;
	context->target_page_size = (uint32_t)page_size;
	context->multifd_channels = (uint32_t)channels;
	vector->blocks = json_object_get(object, "blocks");
	return 0;
}

static int declare_block(struct mr_session *session, json_t *object)
{
	const char *name = json_string_value(json_object_get(object, "name"));
	char error[MR_VECTOR_MESSAGE_MAX];
	uint64_t used_length = 0, page_size = 0;
	uint32_t index;

	if (!name || read_number(object, "used_length", INT64_MAX, &used_length, error) ||
	    read_number(object, "page_size", INT64_MAX, &page_size, error))
		return -1;
	index = mr_session_name_block(session, (struct mr_bytes){(const uint8_t *)name, strlen(name)});
	if (index == UINT32_MAX)
		return -1;
	session->blocks[index].declared = true;
	session->blocks[index].used_length = used_length;
	session->blocks[index].page_size = page_size;
	return 0;
}

int mr_vector_session(const struct mr_vector *vector, struct mr_session *session, mr_report_function *report,
		      void *report_argument)
{
	json_t *block;
	size_t index;

	mr_session_init(session, &vector->context, report, report_argument);
	json_array_foreach(vector->blocks, index, block)
	{
		if (declare_block(session, block))
			return -1;
	}
	return 0;
}

/* ---- The whole ---- */

static int read_channel(struct mr_vector *vector, json_t *where, json_t *lines, size_t *left,
			char error[MR_VECTOR_MESSAGE_MAX])
{
	struct mr_vector_channel *channel = &vector->channels[vector->channel_count];
	uint64_t number = 0;

	if (read_role(where, &channel->role, error) || read_flag(where, "cut", &channel->cut, error) ||
	    read_number(where, "channel", UINT32_MAX, &number, error) || read_input(channel, lines, left, error))
		return -1;
	channel->channel = (uint32_t)number;
	vector->channel_count++;
	return 0;
}

/* Either "input", whose role stands in the context, or "channels" with a role each. */
static int read_channels(struct mr_vector *vector, char error[MR_VECTOR_MESSAGE_MAX])
{
	json_t *input = json_object_get(vector->root, "input");
	json_t *channels = json_object_get(vector->root, "channels");
	size_t left = MR_VECTOR_INPUT_MAX;
	json_t *channel;
	size_t index;

	if (!input == !channels)
		return complain(error, "expected either \"input\" or \"channels\"");
	if (input)
		return read_channel(vector, json_object_get(vector->root, "context"), input, &left, error);
	if (!json_is_array(channels) || json_array_size(channels) > MR_VECTOR_CHANNELS_MAX)
		return complain(error, "\"channels\": expected an array of at most %d", MR_VECTOR_CHANNELS_MAX);
	json_array_foreach(channels, index, channel)
	{
		if (read_channel(vector, channel, json_object_get(channel, "input"), &left, error))
			return -1;
	}
	return 0;
}

/* "verdict" and, of an invalid stream, "class". */
static int read_verdict(struct mr_vector *vector, char error[MR_VECTOR_MESSAGE_MAX])
{
	const char *verdict = json_string_value(json_object_get(vector->root, "verdict"));
	const char *class = json_string_value(json_object_get(vector->root, "class"));
	const bool invalid = verdict && !strcmp(verdict, "invalid");
	const char *name = invalid ? class : verdict;

	for (vector->verdict = MR_VALID; name && vector->verdict <= MR_MALFORMED; vector->verdict++)
		if (!strcmp(name, mr_verdict_name(vector->verdict)) && invalid == (vector->verdict > MR_ACCEPTABLE))
			return invalid || !class ? 0 : complain(error, "\"class\": expected null, found %.40s", class);
	return complain(error, "\"verdict\": expected valid, acceptable, or invalid with a \"class\"");
}

static int read_expected(struct mr_vector *vector, char error[MR_VECTOR_MESSAGE_MAX])
{
	vector->findings = json_object_get(vector->root, "findings");
	vector->records = json_object_get(vector->root, "records");
	if (!json_is_array(vector->findings))
		return complain(error, "\"findings\": expected an array");
	if (vector->records && !json_is_array(vector->records))
		return complain(error, "\"records\": expected an array");
	if (vector->blocks && !json_is_array(vector->blocks))
		return complain(error, "\"blocks\": expected an array");
	return read_verdict(vector, error);
}

static int read_vector(struct mr_vector *vector, char error[MR_VECTOR_MESSAGE_MAX])
{
	if (read_text(vector->root, "id", &vector->id, error) || read_text(vector->root, "text", &vector->text, error))
		return -1;
	if (!vector->id || !vector->text)
		return complain(error, "expected an \"id\" and a \"text\"");
	if (read_context(vector, json_object_get(vector->root, "context"), error) || read_channels(vector, error))
		return -1;
	return read_expected(vector, error);
}

json_t *mr_vector_load_json(const char *path, char error[MR_VECTOR_MESSAGE_MAX])
{
	static const char too_long[] = "expected at most 65536 bytes";
	char *text = malloc(MR_VECTOR_FILE_MAX + 1);
	FILE *file = fopen(path, "rb");
	json_t *root = NULL;
	json_error_t reason;
	size_t length;

	if (file && text) {
		length = fread(text, 1, MR_VECTOR_FILE_MAX + 1, file);
		if (ferror(file) || length > MR_VECTOR_FILE_MAX)
			complain(error, "%s", ferror(file) ? "cannot be read" : too_long);
		else if (!(root = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &reason)))
			complain(error, "line %d: expected JSON: %.160s", reason.line, reason.text);
	} else {
		complain(error, "cannot be opened");
	}
	if (file)
		fclose(file);
	free(text);
	return root;
}

int mr_vector_load(struct mr_vector *vector, const char *path, char error[MR_VECTOR_MESSAGE_MAX])
{
	char what[MR_VECTOR_MESSAGE_MAX] = "";

	*vector = (struct mr_vector){0};
	vector->root = mr_vector_load_json(path, what);
	if (vector->root && !read_vector(vector, what))
		return 0;
	mr_vector_free(vector);
	return complain(error, "%.300s: %.600s", path, what);
}

void mr_vector_free(struct mr_vector *vector)
{
	for (unsigned i = 0; i < vector->channel_count; i++)
		free(vector->channels[i].bytes);
	json_decref(vector->root);
	*vector = (struct mr_vector){0};
}
