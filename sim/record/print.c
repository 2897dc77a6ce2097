/* print.c: records and findings as lines, for people and for machines. */
#include "sim/record/print.h"
#include "sim/record/device.h"

#include <inttypes.h>
#include <string.h>

enum { HEX_BYTES_A_LINE = 16, HEX_LINES_MAX = 8, JSON_SAFE_BITS = 53 };

static const char hex_digits[] = "0123456789abcdef";

/* ---- Values ---- */

/* For short strings: a call of the library for each would take longer than its bytes. */
static void put_string(FILE *out, const char *text)
{
	while (*text)
		putc_unlocked(*text++, out);
}

static void put_hex(FILE *out, struct mr_bytes bytes)
{
	for (size_t i = 0; i < bytes.length; i++) {
		putc_unlocked(hex_digits[bytes.data[i] >> 4], out);
		putc_unlocked(hex_digits[bytes.data[i] & 15], out);
	}
}

static void put_number(FILE *out, uint64_t number)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	while (at < sizeof(digits))
		putc_unlocked(digits[at++], out);
}

static void put_hex_number(FILE *out, uint64_t number)
{
	char digits[16];
	size_t at = sizeof(digits);

	do
		digits[--at] = hex_digits[number & 15];
	while (number >>= 4);
	put_string(out, "0x");
	while (at < sizeof(digits))
		putc_unlocked(digits[at++], out);
}

static void put_escaped(FILE *out, struct mr_bytes text, const char *format)
{
	for (size_t i = 0; i < text.length; i++) {
		const uint8_t byte = text.data[i];

		if (byte < 0x20 || byte > 0x7e) {
			fprintf(out, format, byte);
			continue;
		}
		if (byte == '"' || byte == '\\')
			putc_unlocked('\\', out);
		putc_unlocked(byte, out);
	}
}

void mr_print_json_string(FILE *out, struct mr_bytes text)
{
	putc_unlocked('"', out);
	put_escaped(out, text, "\\u%04x");
	putc_unlocked('"', out);
}

static bool is_long(const struct mr_printer *printer, struct mr_bytes bytes)
{
	return bytes.length > MR_PRINT_BYTES_MAX && !printer->data;
}

static void put_text_value(const struct mr_printer *printer, const struct mr_field *field)
{
	FILE *out = printer->out;

	switch (field->type) {
	case MR_FIELD_NUMBER:
		put_number(out, field->number);
		break;
	case MR_FIELD_HEX:
		put_hex_number(out, field->number);
		break;
	case MR_FIELD_TEXT:
		if (field->bytes.length > 4 * MR_PRINT_BYTES_MAX && !printer->data) {
			fprintf(out, "<%zu bytes>", field->bytes.length);
			break;
		}
		putc_unlocked('"', out);
		put_escaped(out, field->bytes, "\\x%02x");
		putc_unlocked('"', out);
		break;
	case MR_FIELD_BYTES:
		if (is_long(printer, field->bytes))
			fprintf(out, "<%zu bytes>", field->bytes.length);
		else
			put_hex(out, field->bytes);
		break;
	}
}

static void put_json_value(const struct mr_printer *printer, const struct mr_field *field)
{
	FILE *out = printer->out;

	switch (field->type) {
	case MR_FIELD_NUMBER:
	case MR_FIELD_HEX:
		/* What a double cannot hold goes as text, so that no reader rounds it silently. */
		if (field->number >> JSON_SAFE_BITS) {
			putc_unlocked('"', out);
			put_hex_number(out, field->number);
			putc_unlocked('"', out);
		} else {
			put_number(out, field->number);
		}
		break;
	case MR_FIELD_TEXT:
		mr_print_json_string(out, field->bytes);
		break;
	case MR_FIELD_BYTES:
		if (is_long(printer, field->bytes)) {
			fprintf(out, "{\"length\":%zu}", field->bytes.length);
			break;
		}
		putc_unlocked('"', out);
		put_hex(out, field->bytes);
		putc_unlocked('"', out);
		break;
	}
}

void mr_print_value(const struct mr_printer *printer, const struct mr_field *field)
{
	(printer->json ? put_json_value : put_text_value)(printer, field);
}

/* ---- Records ---- */

struct line {
	const struct mr_printer *printer;
	const struct mr_record *record;
	const char *array; /* of repeated fields: the name that is being gathered, NULL outside */
	bool first;
};

static bool is_shown(const struct line *line, const struct mr_field *field)
{
	return line->printer->all || !field->derived;
}

static void put_text_field(void *argument, const struct mr_field *field)
{
	struct line *line = argument;
	FILE *out = line->printer->out;

	if (!is_shown(line, field))
		return;
	putc_unlocked(' ', out);
	put_string(out, field->name);
	if (field->index != UINT32_MAX) {
		putc_unlocked('[', out);
		put_number(out, field->index);
		putc_unlocked(']', out);
	}
	putc_unlocked('=', out);
	put_text_value(line->printer, field);
}

static void put_array_element(void *argument, const struct mr_field *field)
{
	struct line *line = argument;

	if (field->index == UINT32_MAX || strcmp(field->name, line->array) != 0)
		return;
	if (field->index)
		putc_unlocked(',', line->printer->out);
	put_json_value(line->printer, field);
}

static void put_json_field(void *argument, const struct mr_field *field)
{
	struct line *line = argument;
	FILE *out = line->printer->out;

	if (!is_shown(line, field) || (field->index != UINT32_MAX && field->index != 0))
		return;
	if (!line->first)
		putc_unlocked(',', out);
	line->first = false;
	putc_unlocked('"', out);
	put_string(out, field->name);
	put_string(out, "\":");
	if (field->index == UINT32_MAX) {
		put_json_value(line->printer, field);
		return;
	}
	/* Element 0 stands for the whole array, which is gathered by a second visit. */
	line->array = field->name;
	putc_unlocked('[', out);
	mr_visit_fields(line->record, put_array_element, line);
	putc_unlocked(']', out);
	line->array = NULL;
}

static void put_json_record(struct line *line, const char *channel)
{
	FILE *out = line->printer->out;
	const struct mr_record *record = line->record;

	put_string(out, "{\"channel\":\"");
	put_string(out, channel);
	put_string(out, "\",\"offset\":");
	put_number(out, record->offset);
	put_string(out, ",\"length\":");
	put_number(out, record->length);
	put_string(out, ",\"depth\":");
	put_number(out, record->depth);
	put_string(out, ",\"kind\":\"");
	put_string(out, mr_kind_name(record->kind));
	put_string(out, "\",\"fields\":{");
	line->first = true;
	mr_visit_fields(record, put_json_field, line);
	putc_unlocked('}', out);
	if (line->printer->device)
		mr_print_device_json(line->printer, record);
	put_string(out, "}\n");
}

static void put_hex_lines(FILE *out, const struct mr_record *record, const uint8_t *wire)
{
	const size_t most = HEX_LINES_MAX * HEX_BYTES_A_LINE;
	const size_t count = record->length < most ? (size_t)record->length : most;

	for (size_t at = 0; at < count; at += HEX_BYTES_A_LINE) {
		fprintf(out, "%08" PRIx64 " ", record->offset + at);
		for (size_t i = at; i < at + HEX_BYTES_A_LINE && i < count; i++)
			fprintf(out, " %02x", wire[i]);
		putc_unlocked('\n', out);
	}
	if (record->length > count)
		fprintf(out, "%08" PRIx64 "  ... %" PRIu64 " more bytes\n", record->offset + count,
			record->length - count);
}

void mr_print_record(const struct mr_printer *printer, const char *channel, const struct mr_record *record,
		     const uint8_t *wire)
{
	struct line line = {printer, record, NULL, true};

	if (printer->json) {
		put_json_record(&line, channel);
		return;
	}
	if (printer->hex)
		put_hex_lines(printer->out, record, wire);
	if (printer->channels)
		fprintf(printer->out, "%-8s ", channel);
	fprintf(printer->out, "%08" PRIx64 " +%-7" PRIu64 " %s%s", record->offset, record->length,
		record->depth ? "  " : "", mr_kind_name(record->kind));
	mr_visit_fields(record, put_text_field, &line);
	putc_unlocked('\n', printer->out);
	if (printer->device)
		mr_print_device_text(printer, record);
	if (printer->hex)
		putc_unlocked('\n', printer->out);
}

/* ---- Findings ---- */

void mr_format_finding(char *text, size_t size, const struct mr_finding *finding)
{
	snprintf(text, size, "offset 0x%" PRIx64 ": %s (%s): expected %s, found %s", finding->offset,
		 mr_rule_id(finding->rule), mr_verdict_name(finding->verdict), finding->expected, finding->found);
}

static struct mr_bytes string_bytes(const char *text)
{
	return (struct mr_bytes){(const uint8_t *)text, strlen(text)};
}

void mr_print_finding(const struct mr_printer *printer, const char *file, const char *channel,
		      const struct mr_finding *finding)
{
	FILE *out = printer->out;
	char text[512];

	if (!printer->json) {
		mr_format_finding(text, sizeof(text), finding);
		fprintf(out, "%s: %s: %s\n", file, channel, text);
		return;
	}
	fputs("{\"file\":", out);
	mr_print_json_string(out, string_bytes(file));
	fprintf(out,
		",\"channel\":\"%s\",\"offset\":%" PRIu64 ",\"rule\":\"%s\",\"verdict\":\"%s\",\"expected\":", channel,
		finding->offset, mr_rule_id(finding->rule), mr_verdict_name(finding->verdict));
	mr_print_json_string(out, string_bytes(finding->expected));
	fputs(",\"found\":", out);
	mr_print_json_string(out, string_bytes(finding->found));
	fputs("}\n", out);
}
