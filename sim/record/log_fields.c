/* log_fields.c: what the logs of both ends have in common: how lines fail, and the members of their headers. */
#include "sim/record/log_fields.h"
#include "sim/record/print.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { UTF8_TWO_BYTES = 0xc0 };

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

void mr_log_write_string(FILE *out, const char *key, const char *text)
{
	fprintf(out, ",\"%s\":", key);
	mr_print_json_string(out, bytes_of(text));
}

void mr_log_write_number(FILE *out, const char *key, uint64_t number)
{
	fprintf(out, ",\"%s\":%" PRIu64, key, number);
}

void mr_log_write_flag(FILE *out, const char *key, bool flag)
{
	fprintf(out, ",\"%s\":%s", key, flag ? "true" : "false");
}

void mr_log_write_capabilities(FILE *out, uint32_t capabilities)
{
	const char *separator = "", *name;
	uint32_t bit;

	fputs(",\"capabilities\":[", out);
	for (size_t i = 0; (name = mr_capability_at(i, &bit)) != NULL; i++) {
		if (!(capabilities & bit))
			continue;
		fprintf(out, "%s\"%s\"", separator, name);
		separator = ",";
	}
	putc(']', out);
}

void mr_log_write_uuid(FILE *out, bool known, const uint8_t uuid[MR_LOG_UUID_SIZE])
{
	fputs(",\"uuid\":\"", out);
	for (size_t i = 0; known && i < MR_LOG_UUID_SIZE; i++)
		fprintf(out, "%02x", uuid[i]);
	putc('"', out);
}

static void write_handler(FILE *out, const struct mr_handler_entry *entry)
{
	const struct mr_handler *handler = &entry->handler;
	char path[MR_NAME_MAX + 1] = "";

	if (entry->name_at)
		memcpy(path, entry->idstr, entry->name_at - 1u);
	fprintf(out, "{\"id\":%" PRIu32, entry->section_id);
	mr_log_write_string(out, "path", path);
	mr_log_write_string(out, "name", entry->idstr + entry->name_at);
	mr_log_write_number(out, "instance", entry->name_at ? entry->name_instance : entry->instance);
	mr_log_write_number(out, "alias", handler->alias);
	mr_log_write_number(out, "version", handler->version);
	mr_log_write_number(out, "minimum_version", handler->minimum_version);
	mr_log_write_number(out, "priority", handler->priority);
	mr_log_write_number(out, "hooks", handler->hooks);
	mr_log_write_flag(out, "old_style", handler->old_style);
	mr_log_write_flag(out, "early", handler->early);
	mr_log_write_flag(out, "unmigratable", handler->unmigratable);
	putc('}', out);
}

void mr_log_write_handlers(FILE *out, const struct mr_handlers *handlers)
{
	fputs(",\"handlers\":[", out);
	for (uint32_t i = 0; i < handlers->count; i++) {
		fputs(i ? "," : "", out);
		write_handler(out, &handlers->entries[i]);
	}
	putc(']', out);
}

bool mr_log_handlers_are_told(const struct mr_handlers *handlers, const struct mr_profile *profile)
{
	return !handlers || !profile->known ||
	       (handlers->profile.known && memcmp(handlers->profile.on, profile->on, sizeof(profile->on)) == 0);
}

bool mr_log_capabilities_are_told(uint32_t capabilities)
{
	uint32_t named = 0, bit;

	for (size_t i = 0; mr_capability_at(i, &bit); i++)
		named |= bit;
	return (capabilities & ~named) == 0;
}

bool mr_log_profile_is_told(const struct mr_profile *profile, const char *machine)
{
	struct mr_profile again;

	/* The switches of an unknown release say nothing. */
	return make_profile(&again, profile->release, machine) == 0 && again.known == profile->known &&
	       (!again.known || memcmp(again.on, profile->on, sizeof(again.on)) == 0);
}

/* ---- Reading: values ---- */

int mr_log_fail(const struct mr_log_place *place, const char *format, ...)
{
	va_list arguments;
	int prefix;

	prefix = snprintf(place->error, place->error_size, "%s: line %" PRIu64 ": %s%s", place->file, place->line,
			  place->rule ? mr_rule_id(place->rule) : "", place->rule ? ": " : "");
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

const char *mr_log_type_name(const json_t *value)
{
	static const char *const names[] = {
		[JSON_OBJECT] = "an object", [JSON_ARRAY] = "an array",  [JSON_STRING] = "a string",
		[JSON_INTEGER] = "a number", [JSON_REAL] = "a fraction", [JSON_TRUE] = "true",
		[JSON_FALSE] = "false",      [JSON_NULL] = "null",
	};

	return value ? names[json_typeof(value)] : "nothing";
}

int mr_log_check_keys(const struct mr_log_place *place, json_t *object, const char *const *keys, size_t count)
{
	const char *key;
	json_t *value;

	json_object_foreach(object, key, value)
	{
		size_t i = 0;

		while (i < count && strcmp(keys[i], key) != 0)
			i++;
		if (i == count)
			return mr_log_fail(place, "expected a known key, found %.64s", key);
	}
	return 0;
}

int mr_log_read_number(const struct mr_log_place *place, const json_t *object, const char *key, uint64_t minimum,
		       uint64_t maximum, uint64_t *number)
{
	const json_t *value = json_object_get(object, key);
	const json_int_t found = json_integer_value(value);

	if (!json_is_integer(value))
		return mr_log_fail(place, "%s: expected a whole number, found %s", key, mr_log_type_name(value));
	if (found < 0 || (uint64_t)found < minimum || (uint64_t)found > maximum)
		return mr_log_fail(place, "%s: expected %" PRIu64 " to %" PRIu64 ", found %" JSON_INTEGER_FORMAT, key,
				   minimum, maximum, found);
	*number = (uint64_t)found;
	return 0;
}

int mr_log_read_small(const struct mr_log_place *place, const json_t *object, const char *key, uint32_t maximum,
		      uint32_t *number)
{
	uint64_t wide = 0;

	if (mr_log_read_number(place, object, key, 0, maximum, &wide) < 0)
		return -1;
	*number = (uint32_t)wide;
	return 0;
}

int mr_log_read_errno(const struct mr_log_place *place, const json_t *object, const char *key, uint64_t minimum,
		      int *number)
{
	uint64_t wide = 0;

	if (mr_log_read_number(place, object, key, minimum, MR_LOG_ERRNO_MAX, &wide) < 0)
		return -1;
	*number = (int)wide;
	return 0;
}

int mr_log_read_flag(const struct mr_log_place *place, const json_t *object, const char *key, bool *flag)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_boolean(value))
		return mr_log_fail(place, "%s: expected true or false, found %s", key, mr_log_type_name(value));
	*flag = json_is_true(value);
	return 0;
}

int mr_log_read_string(const struct mr_log_place *place, const json_t *object, const char *key, char *out, size_t size)
{
	const json_t *value = json_object_get(object, key);
	const uint8_t *text = (const uint8_t *)json_string_value(value);
	size_t length = 0;

	if (!text)
		return mr_log_fail(place, "%s: expected a string, found %s", key, mr_log_type_name(value));
	for (; *text != '\0'; text++) {
		uint8_t byte = *text;

		if (byte > (UTF8_TWO_BYTES | 3))
			return mr_log_fail(place, "%s: expected characters up to U+00FF, found others", key);
		if (byte >= UTF8_TWO_BYTES)
			byte = (uint8_t)(byte << 6 | (*++text & 0x3f));
		if (length + 1 >= size)
			return mr_log_fail(place, "%s: expected at most %zu bytes, found more", key, size - 1);
		out[length++] = (char)byte;
	}
	out[length] = '\0';
	return 0;
}

/* ---- Reading: members of headers ---- */

int mr_log_read_profile(const struct mr_log_place *place, const json_t *object, const char *key, const char *machine,
			struct mr_profile *profile)
{
	char release[sizeof(profile->release)];

	if (mr_log_read_string(place, object, key, release, sizeof(release)) < 0)
		return -1;
	if (make_profile(profile, release, machine) < 0)
		return mr_log_fail(place, "%s: expected a QEMU release from 2.5 to 11.1, found %s", key, release);
	return 0;
}

int mr_log_read_capabilities(const struct mr_log_place *place, const json_t *object, uint32_t *capabilities)
{
	const json_t *array = json_object_get(object, "capabilities");

	if (!json_is_array(array))
		return mr_log_fail(place, "capabilities: expected an array, found %s", mr_log_type_name(array));
	*capabilities = 0;
	for (size_t index = 0; index < json_array_size(array); index++) {
		const json_t *value = json_array_get(array, index);
		const char *name = json_string_value(value);
		uint32_t bit;

		if (!name)
			return mr_log_fail(place, "capabilities[%zu]: expected a string, found %s", index,
					   mr_log_type_name(value));
		bit = mr_capability_by_name(name);
		if (!bit)
			return mr_log_fail(place, "capabilities[%zu]: expected a capability, found %.64s", index, name);
		if (*capabilities & bit)
			return mr_log_fail(place, "capabilities[%zu]: expected each once, found %s again", index, name);
		*capabilities |= bit;
	}
	return 0;
}

int mr_log_read_method(const struct mr_log_place *place, const json_t *object, const struct mr_multifd_method **method)
{
	char name[32];

	if (mr_log_read_string(place, object, "multifd_method", name, sizeof(name)) < 0)
		return -1;
	*method = mr_multifd_method_by_name(name);
	if (!*method && name[0] != '\0')
		return mr_log_fail(place, "multifd_method: expected a method or nothing, found %s", name);
	return 0;
}

static int digit_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

int mr_log_read_uuid(const struct mr_log_place *place, const json_t *object, bool *known,
		     uint8_t uuid[MR_LOG_UUID_SIZE])
{
	char text[2 * MR_LOG_UUID_SIZE + 1];

	if (mr_log_read_string(place, object, "uuid", text, sizeof(text)) < 0)
		return -1;
	*known = text[0] != '\0';
	if (*known && strlen(text) != sizeof(text) - 1)
		return mr_log_fail(place, "uuid: expected 32 digits or none, found %zu", strlen(text));
	for (size_t i = 0; *known && i < MR_LOG_UUID_SIZE; i++) {
		const int high = digit_value(text[2 * i]), low = digit_value(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return mr_log_fail(place, "uuid: expected digits 0 to 9 and a to f, found others");
		uuid[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

/* ---- Reading: handlers ---- */

struct told_handler {
	struct mr_handler handler;
	char path[MR_NAME_MAX + 1], name[MR_NAME_MAX + 1];
	uint32_t section_id;
};

static int read_handler(const struct mr_log_place *place, json_t *object, struct told_handler *told)
{
	static const char *const keys[] = {
		"id",       "path",  "name",      "instance", "alias",       "version", "minimum_version",
		"priority", "hooks", "old_style", "early",    "unmigratable"};
	struct mr_handler *handler = &told->handler;
	uint32_t priority = 0;

	if (!json_is_object(object))
		return mr_log_fail(place, "handlers: expected objects, found %s", mr_log_type_name(object));
	if (mr_log_check_keys(place, object, keys, sizeof(keys) / sizeof(keys[0])) < 0 ||
	    mr_log_read_small(place, object, "id", UINT32_MAX - 1, &told->section_id) < 0 ||
	    mr_log_read_string(place, object, "path", told->path, sizeof(told->path)) < 0 ||
	    mr_log_read_string(place, object, "name", told->name, sizeof(told->name)) < 0 ||
	    mr_log_read_small(place, object, "instance", UINT32_MAX, &handler->instance) < 0 ||
	    mr_log_read_small(place, object, "alias", UINT32_MAX, &handler->alias) < 0 ||
	    mr_log_read_small(place, object, "version", UINT32_MAX, &handler->version) < 0 ||
	    mr_log_read_small(place, object, "minimum_version", UINT32_MAX, &handler->minimum_version) < 0 ||
	    mr_log_read_small(place, object, "priority", MR_PRIORITY_COUNT - 1, &priority) < 0 ||
	    mr_log_read_small(place, object, "hooks", UINT32_MAX, &handler->hooks) < 0 ||
	    mr_log_read_flag(place, object, "old_style", &handler->old_style) < 0 ||
	    mr_log_read_flag(place, object, "early", &handler->early) < 0 ||
	    mr_log_read_flag(place, object, "unmigratable", &handler->unmigratable) < 0)
		return -1;
	handler->path = told->path[0] ? told->path : NULL;
	handler->name = told->name;
	handler->priority = (enum mr_priority)priority;
	return 0;
}

static int by_section(const void *left, const void *right)
{
	const struct told_handler *a = left, *b = right;

	return a->section_id < b->section_id ? -1 : a->section_id > b->section_id;
}

/* Each with the number that it had: those of handlers that are gone are left out. */
static int register_told(const struct mr_log_place *place, struct told_handler *told, size_t count,
			 struct mr_handlers *handlers)
{
	char reason[96];

	qsort(told, count, sizeof(*told), by_section);
	for (size_t i = 0; i < count; i++) {
		/* Sorting moved them. */
		told[i].handler.path = told[i].path[0] ? told[i].path : NULL;
		told[i].handler.name = told[i].name;
		if (i && told[i].section_id == told[i - 1].section_id)
			return mr_log_fail(place, "handlers: expected each id once, found %" PRIu32 " again",
					   told[i].section_id);
		handlers->next_section_id = told[i].section_id;
		if (mr_handlers_register(handlers, &told[i].handler, NULL, reason) != MR_NO_RULE)
			return mr_log_fail(place, "handlers: %s", reason);
	}
	return 0;
}

int mr_log_read_handlers(const struct mr_log_place *place, const json_t *object, const struct mr_profile *profile,
			 struct mr_handlers *handlers, struct mr_handler_entry **entries)
{
	const json_t *array = json_object_get(object, "handlers");
	const size_t count = json_array_size(array);
	struct told_handler *told;
	int status = 0;

	*entries = NULL;
	if (!json_is_array(array))
		return mr_log_fail(place, "handlers: expected an array, found %s", mr_log_type_name(array));
	if (count > MR_DEVICES_MAX)
		return mr_log_fail(place, "handlers: expected at most %d, found %zu", MR_DEVICES_MAX, count);
	*entries = calloc(count + 1, sizeof(**entries));
	told = calloc(count + 1, sizeof(*told));
	if (!*entries || !told)
		status = mr_log_fail(place, "no memory");
	else
		mr_handlers_init(handlers, profile, *entries, (uint32_t)count);
	for (size_t i = 0; i < count && status == 0; i++)
		status = read_handler(place, json_array_get(array, i), &told[i]);
	if (status == 0)
		status = register_told(place, told, count, handlers);
	free(told);
	return status;
}
