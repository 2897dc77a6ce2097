/* source_trace.c: QEMU's trace log of a source: the few lines that tell what its bytes do not. */
#include "sim/record/source_trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRACE_FILE "src.trace"
#define LINES_MAX  ((size_t)10000000)

enum { CHUNK = 1 << 16, FOUND_MAX = 60 };

/*
 * Arguments of each line: %s text up to what follows it, %t text to the end, %o and %l offset and length and %f any
 * number in hexadecimal, %v and %c value and channel in decimal, %r a result with its sign; anything else as it is.
 * What follows the last one is not looked at.
 */
struct pattern {
	const char *name;
	enum mr_source_line_kind kind;
	const char *arguments;
};

static const struct pattern patterns[] = {
	{"migration_thread_setup_complete", MR_SOURCE_LINE_SETUP_COMPLETE, ""},
	{"migration_bitmap_sync_start", MR_SOURCE_LINE_SYNC, ""},
	{"migration_completion_vm_stop", MR_SOURCE_LINE_STOPPED, ""},
	{"postcopy_start", MR_SOURCE_LINE_STOPPED, ""},
	{"migrate_set_state", MR_SOURCE_LINE_STATUS, "new state %t"},
	{"savevm_section_start", MR_SOURCE_LINE_SECTION, "%s, section_id %v"},
	{"savevm_section_end", MR_SOURCE_LINE_SECTION_END, "%s, section_id %v -> %r"},
	{"ram_save_page", MR_SOURCE_LINE_PAGE, "%s: offset: 0x%o host: 0x%f"},
	{"get_queued_page", MR_SOURCE_LINE_ANSWER, "%s/0x%o page_abs=0x%f"},
	{"get_queued_page_not_dirty", MR_SOURCE_LINE_ANSWER, "%s/0x%o page_abs=0x%f"},
	{"postcopy_preempt_send_host_page", MR_SOURCE_LINE_BEGUN, "ramblock %s offset 0x%o"},
	{"postcopy_preempt_triggered", MR_SOURCE_LINE_BROKEN, "during sending ramblock %s offset 0x%o"},
	{"migrate_handle_rp_req_pages", MR_SOURCE_LINE_REQUEST, "in %s at 0x%o len 0x%l"},
	{"multifd_send", MR_SOURCE_LINE_PACKET, "channel %c packet_num %v "},
	{"multifd_send_fill", MR_SOURCE_LINE_PACKET, "channel %c packet_num %v "},
	{"save_xbzrle_page_skipping", MR_SOURCE_LINE_SKIPPED, ""},
};

struct reader {
	struct mr_source_trace *trace;
	size_t capacity;
	uint64_t line;
	const uint8_t *at, *end; /* of the line */
	const char *expected;    /* what was missing last */
};

/* ---- Pieces of a line ---- */

static bool take_number(struct reader *reader, unsigned base, uint64_t *number)
{
	const uint8_t *begin = reader->at;

	*number = 0;
	for (; reader->at < reader->end; reader->at++) {
		const uint8_t byte = *reader->at;
		const unsigned digit = byte >= '0' && byte <= '9'   ? byte - (unsigned)'0'
				       : byte >= 'a' && byte <= 'f' ? byte - (unsigned)'a' + 10
								    : base;

		if (digit >= base || *number > (UINT64_MAX - digit) / base)
			break;
		*number = *number * base + digit;
	}
	reader->expected = base == 10 ? "a decimal number" : "a hexadecimal number";
	return reader->at > begin;
}

static bool take_until(struct reader *reader, char end, struct mr_bytes *text)
{
	const uint8_t *found = memchr(reader->at, end, (size_t)(reader->end - reader->at));

	reader->expected = "a longer line";
	if (!found)
		return false;
	*text = (struct mr_bytes){reader->at, (size_t)(found - reader->at)};
	reader->at = found;
	return true;
}

/* Names of blocks and devices may hold anything but what stands behind them. */
static bool take_text(struct reader *reader, const char *behind, struct mr_bytes *text)
{
	const size_t length = strcspn(behind, "%");
	const uint8_t *found = memmem(reader->at, (size_t)(reader->end - reader->at), behind, length);

	reader->expected = "a name and what follows it";
	if (!found)
		return false;
	*text = (struct mr_bytes){reader->at, (size_t)(found - reader->at)};
	reader->at = found;
	return true;
}

static bool take_argument(struct reader *reader, const char *pattern, struct mr_source_line *line)
{
	const bool negative = pattern[1] == 'r' && reader->at < reader->end && *reader->at == '-';
	uint64_t number = 0;
	bool taken;

	if (pattern[1] == 's')
		return take_text(reader, pattern + 2, &line->text);
	if (pattern[1] == 't') {
		line->text = (struct mr_bytes){reader->at, (size_t)(reader->end - reader->at)};
		return true;
	}
	reader->at += negative;
	taken = take_number(reader, pattern[1] == 'o' || pattern[1] == 'l' || pattern[1] == 'f' ? 16 : 10, &number);
	if (pattern[1] == 'o')
		line->offset = number;
	else if (pattern[1] == 'l')
		line->length = number;
	else if (pattern[1] == 'v')
		line->value = number;
	else if (pattern[1] == 'c')
		line->channel = (uint32_t)number;
	else if (pattern[1] == 'r')
		line->positive = !negative && number;
	return taken && (pattern[1] != 'c' || number <= UINT32_MAX);
}

static bool take_arguments(struct reader *reader, const char *pattern, struct mr_source_line *line)
{
	while (*pattern) {
		if (*pattern == '%') {
			if (!take_argument(reader, pattern, line))
				return false;
			pattern += 2;
			continue;
		}
		reader->expected = pattern;
		if (reader->at == reader->end || *reader->at != (uint8_t)*pattern)
			return false;
		reader->at++;
		pattern++;
	}
	return true;
}

/* Up to 9.2 "thread@seconds.microseconds:", in 11.1 a date and a space. */
static bool take_name(struct reader *reader, struct mr_bytes *name)
{
	const size_t length = (size_t)(reader->end - reader->at);
	const uint8_t *space = memchr(reader->at, ' ', length);
	const uint8_t *at = memchr(reader->at, '@', length);
	struct mr_bytes date;

	if (at && (!space || at < space)) {
		if (!take_until(reader, ':', &date))
			return false;
	} else if (!take_until(reader, ' ', &date)) {
		return false;
	}
	reader->at++;
	*name = (struct mr_bytes){reader->at, (size_t)(reader->end - reader->at)};
	space = memchr(reader->at, ' ', name->length);
	if (space)
		name->length = (size_t)(space - reader->at);
	reader->at += name->length + (space ? 1 : 0);
	reader->expected = "the name of an event";
	return name->length > 0;
}

/* ---- Lines ---- */

static int append(struct reader *reader, const struct mr_source_line *line)
{
	struct mr_source_trace *trace = reader->trace;

	if (trace->count == reader->capacity) {
		const size_t capacity = 2 * reader->capacity + 1024;
		struct mr_source_line *larger = realloc(trace->lines, capacity * sizeof(*larger));

		reader->expected = "memory for lines";
		if (!larger || trace->count >= LINES_MAX) {
			trace->lines = larger ? larger : trace->lines;
			return -1;
		}
		trace->lines = larger;
		reader->capacity = capacity;
	}
	trace->lines[trace->count++] = *line;
	return 0;
}

static int read_line(struct reader *reader)
{
	struct mr_source_line line = {.line = reader->line};
	struct mr_bytes name;

	reader->expected = "a date and the name of an event";
	if (!take_name(reader, &name))
		return -1;
	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		if (!mr_bytes_equal_string(name, patterns[i].name))
			continue;
		line.kind = patterns[i].kind;
		return take_arguments(reader, patterns[i].arguments, &line) ? append(reader, &line) : -1;
	}
	return 0;
}

static int read_lines(struct reader *reader, char *error, size_t error_size)
{
	const size_t length = reader->trace->text_length;
	const uint8_t *at = reader->trace->text, *end = length ? at + length : at;

	while (at < end) {
		const uint8_t *newline = memchr(at, '\n', (size_t)(end - at));

		reader->line++;
		reader->at = at;
		reader->end = newline ? newline : end;
		if (read_line(reader) < 0) {
			const size_t rest = (size_t)(reader->end - reader->at);

			snprintf(error, error_size, "%s: line %" PRIu64 ": expected %s, found \"%.*s\"", TRACE_FILE,
				 reader->line, reader->expected, (int)(rest < FOUND_MAX ? rest : FOUND_MAX),
				 (const char *)reader->at);
			return -1;
		}
		at = newline ? newline + 1 : end;
	}
	return 0;
}

static int read_text(struct mr_source_trace *trace, struct mr_input *input, char *error, size_t error_size)
{
	for (;;) {
		const uint8_t *window;
		uint8_t *larger;
		size_t length;
		bool at_end;

		if (mr_input_fill(input, CHUNK) < 0) {
			snprintf(error, error_size, "%s", mr_input_error(input));
			return -1;
		}
		window = mr_input_window(input, &length, &at_end);
		if (length == 0)
			return 0;
		larger = realloc(trace->text, trace->text_length + length);
		if (!larger) {
			snprintf(error, error_size, "%s: no memory", mr_input_name(input));
			return -1;
		}
		trace->text = larger;
		memcpy(trace->text + trace->text_length, window, length);
		trace->text_length += length;
		mr_input_consume(input, length);
	}
}

int mr_source_trace_open(struct mr_source_trace *trace, const struct mr_recording *recording, char *error,
			 size_t error_size)
{
	struct reader reader = {.trace = trace};
	struct mr_input *input;
	int status;

	*trace = (struct mr_source_trace){0};
	if (mr_recording_open_file(recording, TRACE_FILE, &input, error, error_size) < 0)
		return -1;
	status = read_text(trace, input, error, error_size);
	mr_input_close(input);
	if (status == 0)
		status = read_lines(&reader, error, error_size);
	if (status < 0)
		mr_source_trace_close(trace);
	return status;
}

void mr_source_trace_close(struct mr_source_trace *trace)
{
	free(trace->lines);
	free(trace->text);
	*trace = (struct mr_source_trace){0};
}

/* ---- What lines mean ---- */

bool mr_source_line_begins_ram(const struct mr_source_line *line)
{
	return line->kind == MR_SOURCE_LINE_SECTION && mr_bytes_equal_string(line->text, "ram");
}

bool mr_source_line_pauses(const struct mr_source_line *line)
{
	return line->kind == MR_SOURCE_LINE_STATUS && mr_bytes_equal_string(line->text, "postcopy-paused");
}

size_t mr_source_trace_switch(const struct mr_source_trace *trace)
{
	size_t at = trace->count;

	while (at > 0 && trace->lines[--at].kind != MR_SOURCE_LINE_STOPPED)
		;
	return at;
}
