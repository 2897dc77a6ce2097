/* unpack.c: the bytes of another input, decompressed by gzip, bzip2, xz or zstd. */
#include "sim/record/unpack.h"

#include <bzlib.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { STEP_MAX = 1 << 20, GZIP_WINDOW = 15 + 16 };

enum step_result {
	STEP_MORE,
	STEP_END, /* of one packed file; another may follow */
	STEP_FAILED,
};

struct unpacker;

struct method {
	const char *name;
	bool (*start)(struct unpacker *unpacker);
	/* Takes bytes off `in` and puts bytes into `out`, as far as both go. */
	enum step_result (*step)(struct unpacker *unpacker, struct mr_bytes *in, uint8_t *out, size_t *room);
	void (*stop)(struct unpacker *unpacker);
};

struct unpacker {
	struct mr_input *source;
	const struct method *method;
	bool open; /* in the middle of a packed file */
	union {
		z_stream zlib;
		bz_stream bzip2;
		lzma_stream lzma;
	};
};

/* ---- Methods ---- */

static bool gzip_start(struct unpacker *unpacker)
{
	memset(&unpacker->zlib, 0, sizeof(unpacker->zlib));
	return inflateInit2(&unpacker->zlib, GZIP_WINDOW) == Z_OK;
}

static enum step_result gzip_step(struct unpacker *unpacker, struct mr_bytes *in, uint8_t *out, size_t *room)
{
	z_stream *stream = &unpacker->zlib;
	const size_t given = in->length;
	int status;

	stream->next_in = (Bytef *)(uintptr_t)in->data;
	stream->avail_in = (uInt)given;
	stream->next_out = out;
	stream->avail_out = (uInt)*room;
	status = inflate(stream, Z_NO_FLUSH);
	in->data = stream->next_in;
	in->length = stream->avail_in;
	*room = stream->avail_out;
	if (status == Z_STREAM_END)
		return STEP_END;
	return status == Z_OK || status == Z_BUF_ERROR ? STEP_MORE : STEP_FAILED;
}

static void gzip_stop(struct unpacker *unpacker)
{
	inflateEnd(&unpacker->zlib);
}

static bool bzip2_start(struct unpacker *unpacker)
{
	memset(&unpacker->bzip2, 0, sizeof(unpacker->bzip2));
	return BZ2_bzDecompressInit(&unpacker->bzip2, 0, 0) == BZ_OK;
}

static enum step_result bzip2_step(struct unpacker *unpacker, struct mr_bytes *in, uint8_t *out, size_t *room)
{
	bz_stream *stream = &unpacker->bzip2;
	int status;

	stream->next_in = (char *)(uintptr_t)in->data;
	stream->avail_in = (unsigned)in->length;
	stream->next_out = (char *)out;
	stream->avail_out = (unsigned)*room;
	status = BZ2_bzDecompress(stream);
	in->data = (const uint8_t *)stream->next_in;
	in->length = stream->avail_in;
	*room = stream->avail_out;
	if (status == BZ_STREAM_END)
		return STEP_END;
	return status == BZ_OK ? STEP_MORE : STEP_FAILED;
}

static void bzip2_stop(struct unpacker *unpacker)
{
	BZ2_bzDecompressEnd(&unpacker->bzip2);
}

static bool xz_start(struct unpacker *unpacker)
{
	unpacker->lzma = (lzma_stream)LZMA_STREAM_INIT;
	return lzma_auto_decoder(&unpacker->lzma, MR_UNPACK_MEMORY_MAX, 0) == LZMA_OK;
}

static enum step_result xz_step(struct unpacker *unpacker, struct mr_bytes *in, uint8_t *out, size_t *room)
{
	lzma_stream *stream = &unpacker->lzma;
	lzma_ret status;

	stream->next_in = in->data;
	stream->avail_in = in->length;
	stream->next_out = out;
	stream->avail_out = *room;
	status = lzma_code(stream, LZMA_RUN);
	in->data = stream->next_in;
	in->length = stream->avail_in;
	*room = stream->avail_out;
	if (status == LZMA_STREAM_END)
		return STEP_END;
	return status == LZMA_OK || status == LZMA_BUF_ERROR ? STEP_MORE : STEP_FAILED;
}

static void xz_stop(struct unpacker *unpacker)
{
	lzma_end(&unpacker->lzma);
}

/* The input that comes out knows zstd itself. */
static bool copy_start(struct unpacker *unpacker)
{
	(void)unpacker;
	return true;
}

static enum step_result copy_step(struct unpacker *unpacker, struct mr_bytes *in, uint8_t *out, size_t *room)
{
	const size_t count = in->length < *room ? in->length : *room;

	(void)unpacker;
	memcpy(out, in->data, count);
	in->data += count;
	in->length -= count;
	*room -= count;
	return STEP_END;
}

static void copy_stop(struct unpacker *unpacker)
{
	(void)unpacker;
}

static const struct method methods[MR_PACKING_COUNT] = {
	[MR_PACKING_NONE] = {"none", copy_start, copy_step, copy_stop},
	[MR_PACKING_GZIP] = {"gzip", gzip_start, gzip_step, gzip_stop},
	[MR_PACKING_BZIP2] = {"bzip2", bzip2_start, bzip2_step, bzip2_stop},
	[MR_PACKING_XZ] = {"xz", xz_start, xz_step, xz_stop},
	[MR_PACKING_LZOP] = {"lzop", NULL, NULL, NULL},
	[MR_PACKING_ZSTD] = {"zstd", copy_start, copy_step, copy_stop},
};

const char *mr_packing_name(enum mr_packing packing)
{
	return methods[packing].name;
}

enum mr_packing mr_packing_of(struct mr_bytes first)
{
	static const struct {
		enum mr_packing packing;
		uint8_t length, magic[6];
	} magics[] = {
		{MR_PACKING_GZIP, 2, {0x1f, 0x8b}},
		{MR_PACKING_BZIP2, 3, {'B', 'Z', 'h'}},
		{MR_PACKING_XZ, 6, {0xfd, '7', 'z', 'X', 'Z', 0}},
		{MR_PACKING_XZ, 3, {0x5d, 0, 0}},
		{MR_PACKING_LZOP, 4, {0x89, 'L', 'Z', 'O'}},
		{MR_PACKING_ZSTD, 4, {0x28, 0xb5, 0x2f, 0xfd}},
	};

	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
		if (first.length >= magics[i].length && memcmp(first.data, magics[i].magic, magics[i].length) == 0)
			return magics[i].packing;
	return MR_PACKING_NONE;
}

/* ---- Reading ---- */

static long complain(char error[128], const struct unpacker *unpacker, const char *what)
{
	snprintf(error, 128, "%s at byte %llu of the file, in %s data", what,
		 (unsigned long long)mr_input_position(unpacker->source), unpacker->method->name);
	return -1;
}

/* One step. Returns the bytes made, -1 on an error; `*ended` if nothing is left. */
static long unpack_some(struct unpacker *unpacker, uint8_t *out, size_t size, bool *ended, char error[128])
{
	struct mr_bytes in;
	enum step_result result;
	size_t room = size, given;
	bool at_end;

	if (mr_input_fill(unpacker->source, 1) < 0) {
		snprintf(error, 128, "%.120s", mr_input_error(unpacker->source));
		return -1;
	}
	in.data = mr_input_window(unpacker->source, &in.length, &at_end);
	in.length = in.length < STEP_MAX ? in.length : STEP_MAX;
	given = in.length;
	if (!unpacker->open && given == 0) {
		*ended = true;
		return 0;
	}
	if (!unpacker->open && !unpacker->method->start(unpacker))
		return complain(error, unpacker, "out of memory");
	unpacker->open = true;
	result = unpacker->method->step(unpacker, &in, out, &room);
	mr_input_consume(unpacker->source, given - in.length);
	if (result == STEP_FAILED)
		return complain(error, unpacker, "not readable");
	if (result == STEP_END) {
		unpacker->method->stop(unpacker);
		unpacker->open = false;
	} else if (given == 0 && room == size) {
		return complain(error, unpacker, "cut");
	}
	return (long)(size - room);
}

static long unpack_read(void *state, uint8_t *out, size_t size, char error[128])
{
	bool ended = false;
	long count = 0;

	size = size < STEP_MAX ? size : STEP_MAX;
	while (count == 0 && !ended)
		count = unpack_some(state, out, size, &ended, error);
	return count;
}

static void unpack_close(void *state)
{
	struct unpacker *unpacker = state;

	if (unpacker->open)
		unpacker->method->stop(unpacker);
	mr_input_close(unpacker->source);
	free(unpacker);
}

int mr_unpack_open(struct mr_input **result, struct mr_input *source, enum mr_packing packing, char *error,
		   size_t error_size)
{
	struct unpacker *unpacker;
	char name[512];

	*result = NULL;
	snprintf(name, sizeof(name), "%.400s (unpacked)", mr_input_name(source));
	if (!methods[packing].start) {
		snprintf(error, error_size, "%.400s: expected a payload packed by gzip, bzip2, xz or zstd, found %s",
			 mr_input_name(source), methods[packing].name);
		mr_input_close(source);
		return -1;
	}
	unpacker = calloc(1, sizeof(*unpacker));
	if (!unpacker) {
		snprintf(error, error_size, "%s: out of memory", name);
		mr_input_close(source);
		return -1;
	}
	unpacker->source = source;
	unpacker->method = &methods[packing];
	return mr_input_open_filter(result, name, &(struct mr_input_filter){unpacker, unpack_read, unpack_close}, error,
				    error_size);
}
