/* packed_file.h: a new file that is compressed by zstd while it is written, always to the same bytes. */
#ifndef MR_RECORD_PACKED_FILE_H
#define MR_RECORD_PACKED_FILE_H

#include "ref/migref.h"

#include <stdio.h>

enum { MR_PACKED_DIGEST_SIZE = 32 }; /* bytes of a SHA-256 */

struct mr_packed_file;

/* What was written, before it was compressed. */
struct mr_packed_content {
	uint64_t bytes;
	uint8_t sha256[MR_PACKED_DIGEST_SIZE];
};

/*
 * Creates NAME.zst in the folder, an open descriptor; `shown` is the folder's name for messages. Both stay the
 * caller's, for as long as the file. Returns 0, or -1 with one line in `error`: it is there already, it cannot be made.
 */
int mr_packed_open(struct mr_packed_file **result, int folder, const char *shown, const char *name, char *error,
		   size_t error_size);
/* Appends. An error shows when the file is closed, or before that in mr_packed_failed(). */
void mr_packed_write(struct mr_packed_file *file, struct mr_bytes bytes);
/* The same for text; the stream belongs to the file. NULL if memory is short. */
FILE *mr_packed_stream(struct mr_packed_file *file);
/* True, with one line in `error`, if something could not be written. */
bool mr_packed_failed(const struct mr_packed_file *file, char *error, size_t error_size);
/* Ends the file, whose memory is given back in any case. Returns 0, or -1 with one line in `error`: not all is there.
 */
int mr_packed_close(struct mr_packed_file *file, struct mr_packed_content *content, char *error, size_t error_size);

#endif
