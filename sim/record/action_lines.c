/* action_lines.c: what a destination does, line by line against the actions that a recording has. */
#include "sim/record/action_lines.h"
#include "sim/record/actions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_LIMIT = 1 << 20 }; /* bytes; what an action needs is far less */

struct mr_action_lines {
	struct mr_input *input;
	FILE *text; /* where an action is written to */
	char *made;
	size_t size;
	struct mr_action_comparison comparison;
	bool parted;
};

int mr_action_lines_open(struct mr_action_lines **result, const struct mr_recording *recording, char *error,
			 size_t error_size)
{
	struct mr_action_lines *lines;

	*result = NULL;
	if (!recording->has_actions)
		return 0;
	lines = calloc(1, sizeof(*lines));
	if (lines)
		lines->text = open_memstream(&lines->made, &lines->size);
	if (!lines || !lines->text) {
		free(lines);
		snprintf(error, error_size, "no memory for the actions of a recording");
		return -1;
	}
	lines->comparison.there = true;
	*result = lines;
	if (mr_recording_open_file(recording, "actions.jsonl", &lines->input, error, error_size) == 0)
		return 0;
	mr_action_lines_close(lines);
	*result = NULL;
	return -1;
}

/* The recording's next line, without its end, and the bytes of both; none behind the last. */
static int next_line(struct mr_action_lines *lines, struct mr_bytes *line, size_t *bytes, char *error,
		     size_t error_size)
{
	const uint8_t *newline = NULL;
	bool at_end = false;

	*line = (struct mr_bytes){NULL, 0};
	for (size_t wanted = 1 << 12; !newline && !at_end && wanted <= LINE_LIMIT; wanted *= 2) {
		if (mr_input_fill(lines->input, wanted) < 0) {
			snprintf(error, error_size, "%s", mr_input_error(lines->input));
			return -1;
		}
		line->data = mr_input_window(lines->input, &line->length, &at_end);
		newline = line->length ? memchr(line->data, '\n', line->length) : NULL;
	}
	*bytes = line->length;
	if (newline) {
		line->length = (size_t)(newline - line->data);
		*bytes = line->length + 1;
	}
	return 0;
}

static void show(char *out, struct mr_bytes line)
{
	const bool is_long = line.length >= MR_ACTION_LINE_SHOWN;
	const size_t shown = is_long ? MR_ACTION_LINE_SHOWN - 4 : line.length;

	for (size_t i = 0; i < shown; i++)
		out[i] = line.data[i] < 0x20 || line.data[i] > 0x7e ? '?' : (char)line.data[i];
	strcpy(out + shown, is_long ? "..." : "");
}

static void part(struct mr_action_lines *lines, struct mr_bytes recorded, struct mr_bytes made)
{
	lines->parted = true;
	show(lines->comparison.recorded, recorded);
	show(lines->comparison.made, made);
}

int mr_action_lines_take(struct mr_action_lines *lines, const struct mr_incoming *incoming,
			 const struct mr_action *action, char *error, size_t error_size)
{
	struct mr_bytes recorded, made;
	size_t bytes;

	if (lines->parted)
		return 0;
	rewind(lines->text);
	mr_action_print(lines->text, incoming, action, lines->comparison.lines);
	if (fflush(lines->text) != 0) {
		snprintf(error, error_size, "no memory for an action");
		return -1;
	}
	if (next_line(lines, &recorded, &bytes, error, error_size) < 0)
		return -1;
	made = (struct mr_bytes){(const uint8_t *)lines->made, (size_t)ftell(lines->text)};
	made.length -= made.length > 0; /* its end */
	if (!mr_bytes_equal(recorded, made)) {
		part(lines, recorded, made);
		return 0;
	}
	mr_input_consume(lines->input, bytes);
	lines->comparison.lines++;
	return 0;
}

int mr_action_lines_end(struct mr_action_lines *lines, char *error, size_t error_size)
{
	struct mr_bytes recorded;
	size_t bytes;

	if (lines->parted)
		return 0;
	if (next_line(lines, &recorded, &bytes, error, error_size) < 0)
		return -1;
	if (bytes)
		part(lines, recorded, (struct mr_bytes){NULL, 0});
	lines->comparison.identical = !lines->parted;
	return 0;
}

void mr_action_lines_result(const struct mr_action_lines *lines, struct mr_action_comparison *result)
{
	*result = lines->comparison;
}

void mr_action_lines_close(struct mr_action_lines *lines)
{
	if (!lines)
		return;
	mr_input_close(lines->input);
	fclose(lines->text);
	free(lines->made);
	free(lines);
}
