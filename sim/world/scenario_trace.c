/* scenario_trace.c: recorded touches, from a file with a line for each. */
#include "sim/world/scenario_trace.h"

#include "sim/world/scenario_lines.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRACE_MAX = 256 << 20 }; /* bytes of the file */

struct touches {
	struct mr_touch *touches;
	uint64_t count, capacity;
};

static bool add(struct touches *list, const struct mr_touch *touch)
{
	if (list->count == list->capacity) {
		const uint64_t capacity = list->capacity ? 2 * list->capacity : 256;
		struct mr_touch *larger = realloc(list->touches, capacity * sizeof(*larger));

		if (!larger)
			return false;
		list->touches = larger;
		list->capacity = capacity;
	}
	list->touches[list->count++] = *touch;
	return true;
}

static bool take_number(const char **text, uint64_t most, uint64_t *number)
{
	const char *at = *text;

	*number = 0;
	for (; *at >= '0' && *at <= '9'; at++) {
		*number = *number * 10 + (uint64_t)(*at - '0');
		if (*number > most)
			return false;
	}
	if (at == *text || (*at && *at != ' ' && *at != '\t'))
		return false;
	while (*at == ' ' || *at == '\t')
		at++;
	*text = at;
	return true;
}

static bool read_touch(const char *line, uint64_t pages, struct mr_touch *touch)
{
	uint64_t pauses = 0;

	if (!take_number(&line, pages - 1, &touch->page) || (*line != 'r' && *line != 'w'))
		return false;
	touch->write = *line++ == 'w';
	if (*line) {
		if (*line != ' ' && *line != '\t')
			return false;
		line += strspn(line, " \t");
		if (!take_number(&line, UINT32_MAX, &pauses) || *line)
			return false;
	}
	touch->pauses = (uint32_t)pauses;
	return true;
}

static int read_all(struct mr_lines *lines, uint64_t pages, struct touches *list, const char *path, char *error,
		    size_t error_size)
{
	struct mr_touch touch;
	const char *line;

	while ((line = mr_lines_next(lines))) {
		if (*line == '\0' || *line == '#')
			continue;
		if (!read_touch(line, pages, &touch)) {
			snprintf(error, error_size,
				 "%s:%d: expected PAGE r|w [PAUSES] with a page below %" PRIu64 ", found %.64s", path,
				 lines->number, pages, line);
			return -1;
		}
		if (!add(list, &touch)) {
			snprintf(error, error_size, "%s: not enough memory", path);
			return -1;
		}
	}
	if (list->count)
		return 0;
	snprintf(error, error_size, "%s: expected a touch at least, found none", path);
	return -1;
}

int mr_scenario_trace_read(const char *path, uint64_t pages, struct mr_touch **touches, uint64_t *count, char *error,
			   size_t error_size)
{
	struct touches list = {0};
	struct mr_lines lines;
	int result;

	if (mr_lines_open(&lines, path, TRACE_MAX, error, error_size) < 0)
		return -1;
	result = read_all(&lines, pages, &list, path, error, error_size);
	mr_lines_close(&lines);
	if (result < 0) {
		free(list.touches);
		return -1;
	}
	*touches = list.touches;
	*count = list.count;
	return 0;
}
