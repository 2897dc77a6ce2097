/* A source of bytes (file, pipe, zstd-compressed or not) seen through a window that moves forward. */
#ifndef MR_RECORD_INPUT_H
#define MR_RECORD_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The largest window, in bytes, that mr_input_fill() gives on an input that is not mapped. */
#define MR_INPUT_WINDOW_MAX ((size_t)512 << 20)

struct mr_input;

/*
 * Opens PATH for reading: "-" is standard input; a regular file is mapped as a whole; anything else
 * is streamed. What ends in ".zst", or begins with zstd's magic number, is decompressed on the way.
 * If PATH does not exist and PATH.zst does, the latter is opened. Waits for the first four bytes.
 *
 * Returns 0 and an input that the caller closes, or -1 with one line (file, what was wrong) in
 * error.
 *
 * A streamed input holds at most twice the largest window asked for plus a few MiB, and, if it is
 * compressed, zstd's own window of at most 128 MiB.
 *
 * Stated limit: a mapped file must not shrink while it is read; the kernel answers an access behind
 * its new end with SIGBUS.
 */
int mr_input_open(struct mr_input **result, const char *path, char *error, size_t error_size);

/* An input of a copy of `bytes`. Returns 0, or -1 if memory is short. */
int mr_input_open_memory(struct mr_input **result, const char *name, const uint8_t *bytes, size_t length);

/* What an input gets its bytes from instead of a file. */
struct mr_input_filter {
	void *state;
	/* At most `size` bytes: how many, 0 at the end, -1 with one line (without a file name) in `error`. */
	long (*read)(void *state, uint8_t *out, size_t size, char error[128]);
	void (*close)(void *state);
};

/*
 * An input of what a filter makes; what begins with zstd's magic number is decompressed. Takes over the filter's state,
 * also when it fails. Returns 0, or -1 with one line in `error`.
 */
int mr_input_open_filter(struct mr_input **result, const char *name, const struct mr_input_filter *filter, char *error,
			 size_t error_size);

/* Releases the input and all its windows. NULL is allowed. */
void mr_input_close(struct mr_input *input);

/*
 * The bytes at hand from the current position on: *length of them. *at_end tells that no byte will
 * follow those. The window lives until the next call of fill, consume or close; once *at_end, its bytes stay where they
 * are until close.
 */
const uint8_t *mr_input_window(const struct mr_input *input, size_t *length, bool *at_end);

/*
 * Grows the window to at least wanted bytes, or to the end of the input if that comes first. Of a
 * mapped file the window is always all the rest. Returns 0, or -1 when reading or decompressing
 * fails or wanted exceeds MR_INPUT_WINDOW_MAX; what the window already held stays valid then.
 */
int mr_input_fill(struct mr_input *input, size_t wanted);

/* Moves the current position by count bytes, which the window must hold. */
void mr_input_consume(struct mr_input *input, size_t count);

/* Bytes consumed so far (of a compressed input: after decompression). */
uint64_t mr_input_position(const struct mr_input *input);

/* The size of the file in bytes (of a compressed one: as it is stored), 0 if unknown. */
uint64_t mr_input_total(const struct mr_input *input);

/* How much of the file has been used, 0 to 1, or -1 if its size is unknown. */
double mr_input_fraction(const struct mr_input *input);

/* The name of the file that was opened, for messages. */
const char *mr_input_name(const struct mr_input *input);

/* The line (file, what was wrong) of the last failed mr_input_fill(); empty if none failed. */
const char *mr_input_error(const struct mr_input *input);

#endif
