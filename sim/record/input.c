/* Opens, maps, reads and decompresses what mr_input shows through its window. */
#include "sim/record/input.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>

#define CHUNK               ((size_t)1 << 20)
#define ZSTD_WINDOW_LOG_MAX 27

static const uint8_t zstd_magic[4] = {0x28, 0xb5, 0x2f, 0xfd};

enum input_kind {
	INPUT_MAPPED,
	INPUT_STREAM,
	INPUT_ZSTD,
};

struct mr_input {
	enum input_kind kind;
	char *name;
	int descriptor;
	struct mr_input_filter filter; /* .read is NULL for a file */
	uint64_t total;                /* size of the file, 0 if unknown */
	uint64_t taken;                /* bytes read from the file */
	uint64_t position;             /* bytes consumed by the caller */
	bool ended;                    /* nothing will follow the window */
	bool failed;                   /* reading has failed, and would again */

	uint8_t *buffer; /* the mapping of a mapped file; the window is buffer[start..end) */
	size_t capacity;
	size_t start;
	size_t end;

	ZSTD_DStream *decompressor;
	uint8_t *compressed; /* CHUNK bytes, of which [compressed_start..compressed_end) are unused */
	size_t compressed_start;
	size_t compressed_end;
	bool frame_open;    /* the current frame has not ended, or none has begun */
	bool flush_pending; /* zstd may hold output for which there was no room */

	char error[4096 + 256];
};

__attribute__((format(printf, 2, 3))) static int fail(struct mr_input *input, const char *format, ...)
{
	va_list arguments;
	int prefix = snprintf(input->error, sizeof(input->error), "%s: ", input->name);

	if (prefix < 0 || (size_t)prefix >= sizeof(input->error))
		return -1;
	va_start(arguments, format);
	vsnprintf(input->error + prefix, sizeof(input->error) - (size_t)prefix, format, arguments);
	va_end(arguments);
	return -1;
}

static ssize_t read_filter(struct mr_input *input, uint8_t *destination, size_t size)
{
	char error[128];
	const long count = input->filter.read(input->filter.state, destination, size, error);

	if (count < 0)
		return fail(input, "%s", error);
	input->taken += (uint64_t)count;
	return count;
}

/* Bytes read, 0 at the end of the file, -1 on an error. */
static ssize_t read_some(struct mr_input *input, uint8_t *destination, size_t size)
{
	if (input->filter.read)
		return read_filter(input, destination, size);
	for (;;) {
		ssize_t count = read(input->descriptor, destination, size);

		if (count >= 0) {
			input->taken += (uint64_t)count;
			return count;
		}
		if (errno == EAGAIN) {
			/* Standard input may have been left non-blocking by whoever shares it. */
			struct pollfd ready = {.fd = input->descriptor, .events = POLLIN};

			if (poll(&ready, 1, -1) < 0 && errno != EINTR)
				return fail(input, "cannot wait for input: %s", strerror(errno));
		} else if (errno != EINTR) {
			return fail(input, "cannot read: %s", strerror(errno));
		}
	}
}

/*
 * Makes room for need bytes from the start of the window on. A buffer is made twice as large as
 * needed, so whenever live bytes are moved to its front, at least as many were consumed before.
 */
static int reserve(struct mr_input *input, size_t need)
{
	const size_t length = input->end - input->start;

	if (input->capacity - input->start >= need)
		return 0;
	memmove(input->buffer, input->buffer + input->start, length);
	input->start = 0;
	input->end = length;
	if (input->capacity < 2 * need) {
		uint8_t *larger = realloc(input->buffer, 2 * need);

		if (!larger)
			return fail(input, "out of memory for a window of %zu bytes", need);
		input->buffer = larger;
		input->capacity = 2 * need;
	}
	return 0;
}

static int stream_some(struct mr_input *input)
{
	ssize_t count = read_some(input, input->buffer + input->end, input->capacity - input->end);

	if (count < 0)
		return -1;
	input->end += (size_t)count;
	input->ended = count == 0;
	return 0;
}

/* Reads the next compressed chunk. */
static int refill_compressed(struct mr_input *input)
{
	ssize_t count = read_some(input, input->compressed, CHUNK);

	if (count < 0)
		return -1;
	input->compressed_start = 0;
	input->compressed_end = (size_t)count;
	if (count > 0)
		return 0;
	if (input->frame_open)
		return fail(input, "cut: ends at byte %llu, expected the rest of a zstd frame",
			    (unsigned long long)input->taken);
	input->ended = true;
	return 0;
}

static int decompress_some(struct mr_input *input)
{
	const size_t before = input->end;

	while (input->end == before) {
		if (input->compressed_start == input->compressed_end && !input->flush_pending) {
			if (refill_compressed(input) < 0)
				return -1;
			if (input->ended)
				return 0;
		}

		ZSTD_inBuffer in = {input->compressed + input->compressed_start,
				    input->compressed_end - input->compressed_start, 0};
		ZSTD_outBuffer out = {input->buffer + input->end, input->capacity - input->end, 0};
		size_t rest = ZSTD_decompressStream(input->decompressor, &out, &in);

		input->compressed_start += in.pos;
		input->end += out.pos;
		if (ZSTD_isError(rest))
			return fail(input, "not readable as zstd after byte %" PRIu64 ": %s",
				    input->taken - input->compressed_end + input->compressed_start,
				    ZSTD_getErrorName(rest));
		input->frame_open = rest != 0;
		input->flush_pending = rest != 0 && out.pos == out.size;
	}
	return 0;
}

static bool has_suffix(const char *name, const char *suffix)
{
	const size_t length = strlen(name);
	const size_t suffix_length = strlen(suffix);

	return length >= suffix_length && strcmp(name + length - suffix_length, suffix) == 0;
}

/* What has been read of a stream so far turns out to be compressed. */
static int start_zstd(struct mr_input *input)
{
	input->kind = INPUT_ZSTD;
	input->compressed = input->buffer;
	input->compressed_end = input->end;
	input->frame_open = true;
	input->end = 0;
	input->ended = false;
	input->buffer = malloc(CHUNK);
	input->decompressor = ZSTD_createDStream();
	if (!input->buffer || !input->decompressor)
		return fail(input, "out of memory");
	if (ZSTD_isError(ZSTD_DCtx_setParameter(input->decompressor, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX)))
		return fail(input, "zstd does not take a window limit of 2^%d", ZSTD_WINDOW_LOG_MAX);
	return 0;
}

static int start_stream(struct mr_input *input)
{
	input->kind = INPUT_STREAM;
	input->buffer = malloc(CHUNK);
	if (!input->buffer)
		return fail(input, "out of memory");
	input->capacity = CHUNK;
	while (input->end < sizeof(zstd_magic) && !input->ended) {
		if (stream_some(input) < 0)
			return -1;
	}
	if (has_suffix(input->name, ".zst") ||
	    (input->end >= sizeof(zstd_magic) && memcmp(input->buffer, zstd_magic, sizeof(zstd_magic)) == 0))
		return start_zstd(input);
	return 0;
}

/* False where the file cannot be mapped; it can be streamed then. */
static bool map_file(struct mr_input *input)
{
	void *mapping;

	if (input->total > SIZE_MAX)
		return false;
	mapping = mmap(NULL, (size_t)input->total, PROT_READ, MAP_PRIVATE, input->descriptor, 0);
	if (mapping == MAP_FAILED)
		return false;
	madvise(mapping, (size_t)input->total, MADV_SEQUENTIAL);
	input->kind = INPUT_MAPPED;
	input->buffer = mapping;
	input->capacity = (size_t)input->total;
	input->end = input->capacity;
	input->ended = true;
	return true;
}

static bool file_is_compressed(const struct mr_input *input)
{
	uint8_t head[sizeof(zstd_magic)];

	return has_suffix(input->name, ".zst") ||
	       (pread(input->descriptor, head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
		memcmp(head, zstd_magic, sizeof(head)) == 0);
}

static int attach(struct mr_input *input)
{
	struct stat status;

	if (fstat(input->descriptor, &status) < 0)
		return fail(input, "cannot examine: %s", strerror(errno));
	if (S_ISDIR(status.st_mode))
		return fail(input, "expected a file or a pipe, found a directory");

	/* Files below /proc claim to be regular and empty: these are streamed like a pipe. */
	if (S_ISREG(status.st_mode) && status.st_size > 0) {
		off_t offset = lseek(input->descriptor, 0, SEEK_CUR);

		input->total = (uint64_t)status.st_size;
		input->taken = offset > 0 ? (uint64_t)offset : 0;
		if (offset == 0 && !file_is_compressed(input) && map_file(input))
			return 0;
	}
	return start_stream(input);
}

static int open_file(struct mr_input *input, const char *path)
{
	char *compressed_name = NULL;

	if (strcmp(path, "-") == 0) {
		input->name = strdup("standard input");
		input->descriptor = STDIN_FILENO;
		return input->name ? 0 : -1;
	}
	input->name = strdup(path);
	if (!input->name)
		return -1;
	input->descriptor = open(path, O_RDONLY | O_CLOEXEC);
	if (input->descriptor >= 0)
		return 0;
	if (errno != ENOENT)
		return fail(input, "cannot open: %s", strerror(errno));
	if (asprintf(&compressed_name, "%s.zst", path) < 0)
		return fail(input, "out of memory");
	input->descriptor = open(compressed_name, O_RDONLY | O_CLOEXEC);
	if (input->descriptor < 0 && errno == ENOENT) {
		free(compressed_name);
		return fail(input, "no such file");
	}
	free(input->name);
	input->name = compressed_name;
	if (input->descriptor < 0)
		return fail(input, "cannot open: %s", strerror(errno));
	return 0;
}

int mr_input_open(struct mr_input **result, const char *path, char *error, size_t error_size)
{
	struct mr_input *input = calloc(1, sizeof(*input));

	*result = NULL;
	if (!input) {
		snprintf(error, error_size, "%s: out of memory", path);
		return -1;
	}
	input->descriptor = -1;
	if (open_file(input, path) < 0 || attach(input) < 0) {
		if (input->error[0] != '\0')
			snprintf(error, error_size, "%s", input->error);
		else
			snprintf(error, error_size, "%s: out of memory", path);
		mr_input_close(input);
		return -1;
	}
	*result = input;
	return 0;
}

int mr_input_open_filter(struct mr_input **result, const char *name, const struct mr_input_filter *filter, char *error,
			 size_t error_size)
{
	struct mr_input *input = calloc(1, sizeof(*input));

	*result = NULL;
	if (!input) {
		filter->close(filter->state);
		snprintf(error, error_size, "%s: out of memory", name);
		return -1;
	}
	input->descriptor = -1;
	input->filter = *filter;
	input->name = strdup(name);
	if (!input->name || start_stream(input) < 0) {
		snprintf(error, error_size, "%s", input->name ? input->error : "out of memory");
		mr_input_close(input);
		return -1;
	}
	*result = input;
	return 0;
}

int mr_input_open_memory(struct mr_input **result, const char *name, const uint8_t *bytes, size_t length)
{
	struct mr_input *input = calloc(1, sizeof(*input));

	*result = input;
	if (!input)
		return -1;
	input->descriptor = -1;
	input->name = strdup(name);
	input->buffer = malloc(length ? length : 1);
	if (!input->name || !input->buffer) {
		mr_input_close(input);
		*result = NULL;
		return -1;
	}
	if (length)
		memcpy(input->buffer, bytes, length);
	input->kind = INPUT_STREAM;
	input->capacity = length;
	input->end = length;
	input->total = length;
	input->ended = true;
	return 0;
}

void mr_input_close(struct mr_input *input)
{
	if (!input)
		return;
	if (input->kind == INPUT_MAPPED && input->buffer)
		munmap(input->buffer, input->capacity);
	else
		free(input->buffer);
	ZSTD_freeDStream(input->decompressor);
	free(input->compressed);
	if (input->descriptor > STDIN_FILENO)
		close(input->descriptor);
	if (input->filter.close)
		input->filter.close(input->filter.state);
	free(input->name);
	free(input);
}

const uint8_t *mr_input_window(const struct mr_input *input, size_t *length, bool *at_end)
{
	*length = input->end - input->start;
	*at_end = input->ended;
	return input->buffer + input->start;
}

int mr_input_fill(struct mr_input *input, size_t wanted)
{
	if (input->kind == INPUT_MAPPED)
		return 0;
	if (wanted > MR_INPUT_WINDOW_MAX)
		return fail(input, "a record needs %zu bytes at once, the limit is %zu", wanted, MR_INPUT_WINDOW_MAX);

	while (input->end - input->start < wanted && !input->ended) {
		const size_t length = input->end - input->start;
		size_t need = wanted > length + CHUNK ? wanted : length + CHUNK;

		/* Grow with what has really come: a length on the wire alone costs no memory. */
		if (need > 2 * length + CHUNK)
			need = 2 * length + CHUNK;
		if (input->failed || reserve(input, need) < 0)
			return -1;
		if ((input->kind == INPUT_ZSTD ? decompress_some(input) : stream_some(input)) < 0) {
			input->failed = true;
			return -1;
		}
	}
	return 0;
}

void mr_input_consume(struct mr_input *input, size_t count)
{
	assert(count <= input->end - input->start);
	input->start += count;
	input->position += count;
}

uint64_t mr_input_position(const struct mr_input *input)
{
	return input->position;
}

uint64_t mr_input_total(const struct mr_input *input)
{
	return input->total;
}

double mr_input_fraction(const struct mr_input *input)
{
	const uint64_t used = input->kind == INPUT_MAPPED ? input->position : input->taken;

	if (input->total == 0)
		return -1;
	return used < input->total ? (double)used / (double)input->total : 1;
}

const char *mr_input_name(const struct mr_input *input)
{
	return input->name;
}

const char *mr_input_error(const struct mr_input *input)
{
	return input->error;
}
