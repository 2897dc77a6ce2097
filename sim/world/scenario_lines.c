/* scenario_lines.c: a text file, line by line. */
#include "sim/world/scenario_lines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 64 << 10 };

static int complain(struct mr_lines *lines, const char *path, int number, char *error, size_t error_size)
{
	snprintf(error, error_size, "%s: %s", path, strerror(number));
	mr_lines_close(lines);
	return -1;
}

/* All of the file, and room for a NUL; errno if not. */
static int take_all(struct mr_lines *lines, FILE *file, size_t limit)
{
	size_t taken;

	do {
		char *larger = realloc(lines->text, lines->length + PIECE + 1);

		if (!larger)
			return ENOMEM;
		lines->text = larger;
		errno = 0;
		taken = fread(lines->text + lines->length, 1, PIECE, file);
		lines->length += taken;
		if (lines->length > limit)
			return EFBIG;
	} while (taken == PIECE);
	lines->text[lines->length] = '\0';
	return ferror(file) ? (errno ? errno : EIO) : 0;
}

/* Whoever reads lines as strings would not see what stands behind a NUL. */
static int expect_text(struct mr_lines *lines, const char *path, char *error, size_t error_size)
{
	const size_t length = strlen(lines->text);
	int line = 1;

	if (length == lines->length)
		return 0;
	for (size_t i = 0; i < length; i++)
		line += lines->text[i] == '\n';
	snprintf(error, error_size, "%s:%d: expected text, found a NUL byte", path, line);
	mr_lines_close(lines);
	return -1;
}

int mr_lines_open(struct mr_lines *lines, const char *path, size_t limit, char *error, size_t error_size)
{
	FILE *file = fopen(path, "r");
	int number;

	*lines = (struct mr_lines){0};
	if (!file)
		return complain(lines, path, errno, error, error_size);
	number = take_all(lines, file, limit);
	fclose(file);
	if (number)
		return complain(lines, path, number, error, error_size);
	return expect_text(lines, path, error, error_size);
}

void mr_lines_close(struct mr_lines *lines)
{
	free(lines->text);
	*lines = (struct mr_lines){0};
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

char *mr_lines_next(struct mr_lines *lines)
{
	char *line = lines->text + lines->at, *end, *behind;

	if (lines->at == lines->length)
		return NULL;
	end = memchr(line, '\n', lines->length - lines->at);
	if (!end)
		end = lines->text + lines->length;
	lines->at = (size_t)(end - lines->text) + (size_t)(end < lines->text + lines->length);
	lines->number++;
	for (behind = end; behind > line && is_blank(behind[-1]); behind--)
		;
	*behind = '\0';
	while (is_blank(*line))
		line++;
	return line;
}
