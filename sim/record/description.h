/* description.h: descriptions of device layouts: from a file or stream, printed, compared with each other. */
#ifndef MR_RECORD_DESCRIPTION_H
#define MR_RECORD_DESCRIPTION_H

#include <stdio.h>

#include "ref/migref.h"

/* A description and the text that it was read from. */
struct mr_described {
	struct mr_description *layout;
	uint8_t *text; /* JSON, as in the stream */
	size_t length;
};

/*
 * Reads the file or recording at `path`: a saved description, or a stream that ends with one. Returns 0, or -1 with one
 * line in `error`.
 */
int mr_described_load(struct mr_described *described, const char *path, char *error, size_t error_size);
void mr_described_clear(struct mr_described *described);

/* Prints every device with its fields: as text, or one JSON object for each device. Returns -1 if memory is short. */
int mr_print_description(FILE *out, const struct mr_description *description, bool json);

/* What mr_description_compare() says of two descriptions a and b. */
struct mr_description_differences {
	size_t count;
	size_t refused[2]; /* devices of b that a's receiver refuses because of their version; of a, b's receiver */
};

/*
 * Prints every difference between two layouts: a line each, or a JSON object. Returns 0, or -1 if memory is short.
 */
int mr_description_compare(FILE *out, const struct mr_description *a, const struct mr_description *b, bool json,
			   struct mr_description_differences *differences);

#endif
