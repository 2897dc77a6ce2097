/* scenario_lines.h: a text file, line by line, with numbers for those who complain. */
#ifndef MR_WORLD_SCENARIO_LINES_H
#define MR_WORLD_SCENARIO_LINES_H

#include <stdbool.h>
#include <stddef.h>

struct mr_lines {
	int number; /* of the line that was taken last, from 1 */
	/* private */
	char *text;
	size_t length, at;
};

/* Reads a file of at most `limit` bytes, none of them NUL. 0, or -1 with one line in `error`. */
int mr_lines_open(struct mr_lines *lines, const char *path, size_t limit, char *error, size_t error_size);
void mr_lines_close(struct mr_lines *lines);
/*
 * The next line, without its end and without blanks before and behind; it ends with a NUL and stays, for the caller to
 * change, until the file is closed. NULL behind the last.
 */
char *mr_lines_next(struct mr_lines *lines);

#endif
