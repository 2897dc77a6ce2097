/* device.c: device sections as named fields: which layout belongs to which body, and how it is printed. */
#include "sim/record/device.h"

#include <inttypes.h>
#include <string.h>

enum {
	LEVELS_MAX = 2 * MR_LAYOUT_DEPTH_MAX + 2,
	INDENT = 20,
	ELEMENTS_MAX = 64, /* of an array, in a line of text without `data` */
	FINDINGS_MAX = 16, /* of one body, as JSON */
	JSON_SAFE_BITS = 53,
	NULL_MARK = 0x30,
	OBJECT_MARK = 0x31,
};

/* ---- Following ---- */

void mr_devices_init(struct mr_devices *devices, const struct mr_description *given)
{
	memset(devices, 0, sizeof(*devices));
	devices->given = given;
}

void mr_devices_clear(struct mr_devices *devices)
{
	mr_description_free(devices->own);
	memset(devices, 0, sizeof(*devices));
}

static const struct mr_layout *find_device(struct mr_devices *devices, const struct mr_description *description,
					   const struct mr_section *section)
{
	size_t index = SIZE_MAX;

	if (description)
		index = mr_description_find(description, section->idstr, section->instance, devices->next);
	if (index == SIZE_MAX)
		return NULL;
	devices->next = index + 1;
	return mr_description_device(description, index);
}

const struct mr_layout *mr_devices_record(struct mr_devices *devices, const struct mr_decoder *decoder,
					  const struct mr_record *record)
{
	const struct mr_layout *open = devices->open;
	char error[96];

	if (record->kind == MR_SECTION_DATA) {
		devices->open = NULL;
		return open;
	}
	if (record->kind != MR_SECTION_FULL)
		return NULL;
	if (!devices->own && decoder->description.length)
		devices->own = mr_description_new(decoder->description, error);
	/* What stands in a package is never described by the stream itself. */
	devices->open = record->depth ? NULL : find_device(devices, devices->own, &record->section);
	if (!devices->open)
		devices->open = find_device(devices, devices->given, &record->section);
	if (!devices->open)
		devices->open = find_device(devices, decoder->session->context.description, &record->section);
	return NULL;
}

/* ---- Values ---- */

static void put_hex(FILE *out, struct mr_bytes bytes)
{
	for (size_t i = 0; i < bytes.length; i++)
		fprintf(out, "%02x", bytes.data[i]);
}

static bool is_long(const struct mr_printer *printer, struct mr_bytes bytes)
{
	return bytes.length > MR_PRINT_BYTES_MAX && !printer->data;
}

static void put_text_bytes(const struct mr_printer *printer, struct mr_bytes bytes)
{
	if (is_long(printer, bytes) || bytes.length == 0)
		fprintf(printer->out, "<%zu bytes>", bytes.length);
	else
		put_hex(printer->out, bytes);
}

static void put_text_value(const struct mr_printer *printer, const struct mr_device_item *item)
{
	FILE *out = printer->out;

	switch (item->value) {
	case MR_VALUE_BYTES:
		put_text_bytes(printer, item->bytes);
		break;
	case MR_VALUE_UNSIGNED:
		fprintf(out, "0x%" PRIx64, item->number);
		break;
	case MR_VALUE_SIGNED:
		fprintf(out, "%" PRId64, (int64_t)item->number);
		break;
	case MR_VALUE_BOOL:
		if (item->number > 1)
			fprintf(out, "0x%" PRIx64, item->number);
		else
			fputs(item->number ? "true" : "false", out);
		break;
	case MR_VALUE_TIMER:
		if (item->number == UINT64_MAX)
			fputs("not armed", out);
		else
			fprintf(out, "%" PRIu64 " ns", item->number);
		break;
	case MR_VALUE_MARK:
		if (item->number == NULL_MARK || item->number == OBJECT_MARK)
			fputs(item->number == NULL_MARK ? "NULL" : "object", out);
		else
			fprintf(out, "0x%" PRIx64, item->number);
		break;
	}
}

/* What a double cannot hold goes as text, so that no reader rounds it silently. */
static void put_json_unsigned(FILE *out, uint64_t number)
{
	fprintf(out, number >> JSON_SAFE_BITS ? "\"0x%" PRIx64 "\"" : "%" PRIu64, number);
}

static void put_json_signed(FILE *out, int64_t number)
{
	const bool safe = number < INT64_C(1) << JSON_SAFE_BITS && number > -(INT64_C(1) << JSON_SAFE_BITS);

	fprintf(out, safe ? "%" PRId64 : "\"%" PRId64 "\"", number);
}

static void put_json_bytes(const struct mr_printer *printer, struct mr_bytes bytes)
{
	if (is_long(printer, bytes)) {
		fprintf(printer->out, "{\"length\":%zu}", bytes.length);
		return;
	}
	putc('"', printer->out);
	put_hex(printer->out, bytes);
	putc('"', printer->out);
}

static void put_json_value(const struct mr_printer *printer, const struct mr_device_item *item)
{
	FILE *out = printer->out;

	if (item->value == MR_VALUE_BYTES)
		put_json_bytes(printer, item->bytes);
	else if (item->value == MR_VALUE_SIGNED)
		put_json_signed(out, (int64_t)item->number);
	else if (item->value == MR_VALUE_BOOL && item->number <= 1)
		fputs(item->number ? "true" : "false", out);
	else if ((item->value == MR_VALUE_TIMER && item->number == UINT64_MAX) ||
		 (item->value == MR_VALUE_MARK && item->number == NULL_MARK))
		fputs("null", out);
	else if (item->value == MR_VALUE_MARK && item->number == OBJECT_MARK)
		fputs("\"object\"", out);
	else
		put_json_unsigned(out, item->number);
}

/* ---- JSON ---- */

struct writer {
	const struct mr_printer *printer;
	uint64_t body; /* offset in the channel */
	/* of what is open */
	bool is_array[LEVELS_MAX], has_member[LEVELS_MAX];
	/* text */
	bool line_open; /* in the middle of an array */
	uint64_t elements;
	int level;
	/* JSON */
	size_t finding_count;
	struct mr_finding findings[FINDINGS_MAX];
};

static struct mr_bytes string_bytes(const char *text)
{
	return (struct mr_bytes){(const uint8_t *)text, strlen(text)};
}

static void put_key(FILE *out, const struct mr_layout *layout)
{
	char key[MR_NAME_MAX + 16];

	/* no key may stand in an object twice */
	if (layout && layout->repeat)
		snprintf(key, sizeof(key), "%s~%" PRIu32, layout->name, layout->repeat + 1);
	else
		snprintf(key, sizeof(key), "%s", layout ? layout->name : "(rest)");
	mr_print_json_string(out, string_bytes(key));
	putc(':', out);
}

static void begin_member(struct writer *writer, const struct mr_device_item *item)
{
	FILE *out = writer->printer->out;

	if (writer->has_member[item->depth])
		putc(',', out);
	writer->has_member[item->depth] = true;
	if (!writer->is_array[item->depth])
		put_key(out, item->layout);
}

static void open_json(struct writer *writer, const struct mr_device_item *item, bool is_array)
{
	begin_member(writer, item);
	putc(is_array ? '[' : '{', writer->printer->out);
	writer->is_array[item->depth + 1] = is_array;
	writer->has_member[item->depth + 1] = false;
}

static void put_json_item(void *argument, const struct mr_device_item *item)
{
	struct writer *writer = argument;
	FILE *out = writer->printer->out;

	switch (item->event) {
	case MR_DEVICE_FIELD:
		begin_member(writer, item);
		put_json_value(writer->printer, item);
		break;
	case MR_DEVICE_ARRAY:
		open_json(writer, item, true);
		break;
	case MR_DEVICE_STRUCT:
	case MR_DEVICE_SUBSECTION:
		open_json(writer, item, false);
		break;
	case MR_DEVICE_ARRAY_END:
		putc(']', out);
		break;
	case MR_DEVICE_STRUCT_END:
	case MR_DEVICE_SUBSECTION_END:
		putc('}', out);
		break;
	case MR_DEVICE_REST:
		begin_member(writer, item);
		fprintf(out, "{\"offset\":%" PRIu64 ",\"bytes\":", writer->body + item->offset);
		put_json_bytes(writer->printer, item->bytes);
		putc('}', out);
		break;
	}
}

static void keep_finding(void *argument, const struct mr_finding *finding)
{
	struct writer *writer = argument;

	if (writer->finding_count < FINDINGS_MAX)
		writer->findings[writer->finding_count++] = *finding;
}

static void put_findings(const struct writer *writer)
{
	FILE *out = writer->printer->out;

	for (size_t i = 0; i < writer->finding_count; i++) {
		const struct mr_finding *finding = &writer->findings[i];

		fprintf(out,
			"%s{\"rule\":\"%s\",\"offset\":%" PRIu64 ",\"expected\":", i ? "," : ",\"device_findings\":[",
			mr_rule_id(finding->rule), writer->body + finding->offset);
		mr_print_json_string(out, string_bytes(finding->expected));
		fputs(",\"found\":", out);
		mr_print_json_string(out, string_bytes(finding->found));
		fputs("}", out);
	}
	if (writer->finding_count)
		putc(']', out);
}

void mr_print_device_json(const struct mr_printer *printer, const struct mr_record *record)
{
	struct writer writer = {.printer = printer, .body = record->offset};

	fputs(",\"device\":{", printer->out);
	mr_device_visit(printer->device, record->data.bytes, put_json_item, keep_finding, &writer);
	putc('}', printer->out);
	put_findings(&writer);
}

/* ---- Text ---- */

static void end_line(struct writer *writer)
{
	if (writer->line_open)
		fputs("]\n", writer->printer->out);
	writer->line_open = false;
}

static void put_name(struct writer *writer, const char *name)
{
	fprintf(writer->printer->out, "%*s%s", INDENT + 2 * writer->level, "", name);
}

static void put_element(struct writer *writer, const struct mr_device_item *item)
{
	FILE *out = writer->printer->out;

	if (!writer->line_open) {
		put_name(writer, item->layout->name);
		fputs("=[", out);
		writer->line_open = true;
		writer->elements = 0;
	}
	if (writer->elements == ELEMENTS_MAX && !writer->printer->data)
		fputs(", ...", out);
	if (writer->elements >= ELEMENTS_MAX && !writer->printer->data) {
		writer->elements++;
		return;
	}
	if (writer->elements++)
		fputs(", ", out);
	put_text_value(writer->printer, item);
}

static void put_field(struct writer *writer, const struct mr_device_item *item)
{
	if (item->element != UINT64_MAX) {
		put_element(writer, item);
		return;
	}
	put_name(writer, item->layout->name);
	putc('=', writer->printer->out);
	put_text_value(writer->printer, item);
	putc('\n', writer->printer->out);
}

static void put_heading(struct writer *writer, const struct mr_device_item *item)
{
	const struct mr_layout *layout = item->layout;
	FILE *out = writer->printer->out;

	put_name(writer, item->event == MR_DEVICE_SUBSECTION ? "subsection " : "");
	fputs(layout->name, out);
	if (item->element != UINT64_MAX)
		fprintf(out, "[%" PRIu64 "]", item->element);
	if (item->event == MR_DEVICE_STRUCT)
		fprintf(out, " %s", layout->vmsd_name);
	if (item->event == MR_DEVICE_SUBSECTION && layout->has_version)
		fprintf(out, " version %" PRIu32, layout->version);
	fputs(":\n", out);
	writer->level++;
}

static void put_text_item(void *argument, const struct mr_device_item *item)
{
	struct writer *writer = argument;

	if (item->event != MR_DEVICE_FIELD)
		end_line(writer);
	switch (item->event) {
	case MR_DEVICE_FIELD:
		put_field(writer, item);
		break;
	case MR_DEVICE_STRUCT:
	case MR_DEVICE_SUBSECTION:
		put_heading(writer, item);
		break;
	case MR_DEVICE_STRUCT_END:
	case MR_DEVICE_SUBSECTION_END:
		writer->level--;
		break;
	case MR_DEVICE_ARRAY:
	case MR_DEVICE_ARRAY_END:
		break;
	case MR_DEVICE_REST:
		put_name(writer, "");
		fprintf(writer->printer->out, "not described at 0x%" PRIx64 ": ", writer->body + item->offset);
		put_text_bytes(writer->printer, item->bytes);
		putc('\n', writer->printer->out);
		break;
	}
}

static void put_finding(void *argument, const struct mr_finding *finding)
{
	struct writer *writer = argument;
	struct mr_finding here = *finding;
	char text[512];

	end_line(writer);
	here.offset += writer->body;
	mr_format_finding(text, sizeof(text), &here);
	put_name(writer, text);
	putc('\n', writer->printer->out);
}

void mr_print_device_text(const struct mr_printer *printer, const struct mr_record *record)
{
	struct writer writer = {.printer = printer, .body = record->offset};

	mr_device_visit(printer->device, record->data.bytes, put_text_item, put_finding, &writer);
}
