/* description.c: descriptions of device layouts: from a file or stream, and printed. */
#include "sim/record/description.h"
#include "sim/record/migration.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- Loading ---- */

/* Keeps a copy if the bytes are a description; `error` says why not. */
static int take_text(struct mr_described *described, struct mr_bytes text, char error[96])
{
	described->layout = mr_description_new(text, error);
	if (!described->layout)
		return -1;
	described->text = malloc(text.length);
	if (!described->text) {
		snprintf(error, 96, "no memory");
		mr_described_clear(described);
		return -1;
	}
	memcpy(described->text, text.data, text.length);
	described->length = text.length;
	return 0;
}

static int take_stream(struct mr_described *described, struct mr_migration *migration, const char *path, char *error,
		       size_t error_size)
{
	char reason[96] = "found none";

	for (;;) {
		struct mr_channel *channel;
		struct mr_record record;
		const uint8_t *wire;
		const enum mr_result result = mr_migration_next(migration, &channel, &record, &wire);
		struct mr_bytes text = {NULL, 0};

		if (!channel)
			break;
		if (result == MR_FAILED)
			snprintf(reason, sizeof(reason), "found %.60s at 0x%" PRIx64, channel->decoder->error.found,
				 channel->decoder->error.offset);
		if (result != MR_RECORD)
			continue;
		if (record.kind == MR_VMDESCRIPTION)
			text = record.description.json;
		else if (record.kind == MR_SECTION_FULL)
			text = channel->decoder->description;
		if (text.length && take_text(described, text, reason) == 0)
			return 0;
	}
	snprintf(error, error_size, "%s: expected a description, or a stream that ends with one: %s", path, reason);
	return -1;
}

/* True if the file is a description by itself. */
static bool is_saved(struct mr_described *described, const char *path)
{
	struct mr_input *input;
	struct mr_bytes text;
	char error[512];
	bool at_end, saved = false;

	if (mr_input_open(&input, path, error, sizeof(error)) < 0)
		return false;
	text.data = mr_input_window(input, &text.length, &at_end);
	if (text.length && text.data[0] == '{' && mr_input_fill(input, MR_DESCRIPTION_MAX + 1) == 0) {
		text.data = mr_input_window(input, &text.length, &at_end);
		saved = take_text(described, text, error) == 0;
	}
	mr_input_close(input);
	return saved;
}

/* A pipe can be read only once, so it is taken for a stream. */
static bool is_readable_again(const char *path)
{
	struct stat status;

	return strcmp(path, "-") != 0 && (stat(path, &status) < 0 || S_ISREG(status.st_mode));
}

int mr_described_load(struct mr_described *described, const char *path, char *error, size_t error_size)
{
	const struct mr_stream_options nothing = {0};
	struct mr_migration *migration;
	int status;

	memset(described, 0, sizeof(*described));
	if (is_readable_again(path) && is_saved(described, path))
		return 0;
	if (mr_migration_open(&migration, path, &nothing, NULL, NULL, error, error_size) < 0)
		return -1;
	status = take_stream(described, migration, path, error, error_size);
	mr_migration_close(migration);
	return status;
}

void mr_described_clear(struct mr_described *described)
{
	mr_description_free(described->layout);
	free(described->text);
	memset(described, 0, sizeof(*described));
}

/* ---- Text ---- */

static void print_count(FILE *out, const struct mr_layout *layout)
{
	if (layout->index != UINT32_MAX)
		fprintf(out, "[%" PRIu32 "]", layout->index);
	if (layout->count != 1 || (layout->listed && layout->index == UINT32_MAX))
		fprintf(out, "[%" PRIu64 "]", layout->count);
}

static void print_line(FILE *out, const struct mr_layout *layout)
{
	if (layout->kind == MR_LAYOUT_DEVICE)
		fprintf(out, "%s/%" PRIu32, layout->name, layout->instance);
	else
		fprintf(out, "%*s%s%s", 2 * (int)layout->depth, "",
			layout->kind == MR_LAYOUT_SUBSECTION ? "subsection " : "", layout->name);
	print_count(out, layout);
	if (layout->kind == MR_LAYOUT_FIELD || layout->kind == MR_LAYOUT_STRUCT)
		fprintf(out, " %s", layout->type);
	if (layout->kind == MR_LAYOUT_STRUCT)
		fprintf(out, " %s", layout->vmsd_name);
	if (layout->has_version)
		fprintf(out, " version %" PRIu32, layout->version);
	fprintf(out, ", %" PRIu64 " bytes%s\n", layout->size, layout->count == 1 ? "" : " each");
}

/* ---- JSON ---- */

static json_t *layout_object(const struct mr_layout *layout)
{
	const bool is_device = layout->kind == MR_LAYOUT_DEVICE, is_subsection = layout->kind == MR_LAYOUT_SUBSECTION;
	json_t *object = json_object();

	json_object_set_new(object,
			    is_device       ? "device"
			    : is_subsection ? "subsection"
					    : "name",
			    json_string(layout->name));
	if (is_device)
		json_object_set_new(object, "instance", json_integer(layout->instance));
	if (!is_device && !is_subsection)
		json_object_set_new(object, "type", json_string(layout->type));
	if (layout->kind == MR_LAYOUT_STRUCT)
		json_object_set_new(object, "struct", json_string(layout->vmsd_name));
	if (layout->has_version)
		json_object_set_new(object, "version", json_integer(layout->version));
	json_object_set_new(object, "size", json_integer((json_int_t)layout->size));
	if (layout->index != UINT32_MAX)
		json_object_set_new(object, "index", json_integer(layout->index));
	if (layout->count != 1)
		json_object_set_new(object, "count", json_integer((json_int_t)layout->count));
	return object;
}

static int append_to(json_t *parent, const char *key, json_t *child)
{
	json_t *array = json_object_get(parent, key);

	if (!array) {
		array = json_array();
		json_object_set_new(parent, key, array);
	}
	return json_array_append_new(array, child);
}

static int print_device_object(FILE *out, const struct mr_layout *device)
{
	json_t *open[MR_LAYOUT_DEPTH_MAX + 1];
	int status = 0;

	open[0] = layout_object(device);
	for (uint32_t i = 1; i <= device->inside && status == 0; i++) {
		const struct mr_layout *layout = &device[i];
		const bool is_subsection = layout->kind == MR_LAYOUT_SUBSECTION;
		json_t *object = layout_object(layout);

		status = append_to(open[layout->depth - 1], is_subsection ? "subsections" : "fields", object);
		if (layout->inside)
			open[layout->depth] = object;
	}
	if (!open[0] || status < 0 || json_dumpf(open[0], out, JSON_COMPACT | JSON_ENSURE_ASCII) < 0)
		status = -1;
	putc('\n', out);
	json_decref(open[0]);
	return status;
}

int mr_print_description(FILE *out, const struct mr_description *description, bool json)
{
	const size_t count = mr_description_count(description);

	if (!json)
		fprintf(out, "%zu devices, target pages of %" PRIu64 " bytes\n", count,
			mr_description_page_size(description));
	for (size_t i = 0; i < count; i++) {
		const struct mr_layout *device = mr_description_device(description, i);

		if (json && print_device_object(out, device) < 0)
			return -1;
		for (uint32_t j = 0; !json && j <= device->inside; j++)
			print_line(out, &device[j]);
	}
	return 0;
}
