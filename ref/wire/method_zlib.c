/*
 * method_zlib.c: the multifd method "zlib": one deflate stream for the whole life of a channel, flushed after each
 * packet.
 */
#include "method.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

enum { ZLIB_LEVEL_MIN = 0, ZLIB_LEVEL_MAX = 9, ZLIB_LEVEL_DEFAULT = 1 };

struct zlib_state {
	z_stream stream;
	size_t page_size;
	/* A packet failed half way: the stream is no longer where the peer's is, so no later packet may use it. */
	bool broken;
};

static struct zlib_state *zlib_state_new(size_t page_size)
{
	struct zlib_state *state;

	if (!mr_method_page_size_ok(page_size))
		return NULL;
	state = calloc(1, sizeof(*state));
	if (state)
		state->page_size = page_size;
	return state;
}

static void *zlib_send_setup(size_t page_size, int level)
{
	struct zlib_state *state;

	if (level < ZLIB_LEVEL_MIN || level > ZLIB_LEVEL_MAX)
		return NULL;
	state = zlib_state_new(page_size);
	if (state && deflateInit(&state->stream, level) != Z_OK) {
		free(state);
		return NULL;
	}
	return state;
}

static void zlib_send_cleanup(void *opaque)
{
	struct zlib_state *state = opaque;

	if (state)
		deflateEnd(&state->stream);
	free(state);
}

/* Takes one page in. Returns false if the output does not suffice. */
static bool zlib_deflate_page(z_stream *stream, const uint8_t *page, size_t page_size, int flush)
{
	int result;

	/* zlib only reads here; without ZLIB_CONST its declaration does not say so */
	stream->next_in = (Bytef *)(uintptr_t)page;
	stream->avail_in = (uInt)page_size;
	result = deflate(stream, flush);
	/* a flush that fills the output to the last byte may have kept something back */
	return result == Z_OK && stream->avail_in == 0 && (flush == Z_NO_FLUSH || stream->avail_out > 0);
}

static long zlib_send_prepare(void *opaque, const uint8_t *const *pages, uint32_t count, uint8_t *out, size_t capacity)
{
	struct zlib_state *state = opaque;
	z_stream *stream = &state->stream;
	/*
	 * Level 0 cuts its stored blocks by the room that it sees, so it must see QEMU's buffer: compressBound() of a
	 * full packet, and the pages one by one.
	 */
	const size_t room = compressBound(MR_PACKET_DATA_SIZE);

	if (state->broken || !mr_method_count_ok(state->page_size, count))
		return -1;
	if (capacity > room)
		capacity = room;
	stream->next_out = out;
	stream->avail_out = (uInt)capacity;
	for (uint32_t i = 0; i < count; i++) {
		const int flush = i + 1 == count ? Z_SYNC_FLUSH : Z_NO_FLUSH;

		if (!zlib_deflate_page(stream, pages[i], state->page_size, flush)) {
			state->broken = true;
			return -1;
		}
	}
	return (long)(capacity - stream->avail_out);
}

static void *zlib_recv_setup(size_t page_size)
{
	struct zlib_state *state = zlib_state_new(page_size);

	if (state && inflateInit(&state->stream) != Z_OK) {
		free(state);
		return NULL;
	}
	return state;
}

static void zlib_recv_cleanup(void *opaque)
{
	struct zlib_state *state = opaque;

	if (state)
		inflateEnd(&state->stream);
	free(state);
}

static enum mr_rule zlib_fail(struct zlib_state *state, char found[MR_METHOD_FOUND], const char *what)
{
	state->broken = true;
	snprintf(found, MR_METHOD_FOUND, "%s", what);
	return MR_MFD_026;
}

/* What a result of inflate() says against the payload; NULL if nothing. */
static const char *zlib_complaint(const z_stream *stream, int result)
{
	switch (result) {
	case Z_OK:
	case Z_BUF_ERROR: /* no progress: no input is left */
		return NULL;
	case Z_STREAM_END:
		return "end of the zlib stream";
	case Z_MEM_ERROR:
		return "out of memory";
	default:
		return stream->msg ? stream->msg : "corrupt data";
	}
}

/* Fills `length` bytes of output. NULL, or what went wrong. */
static const char *zlib_inflate_run(z_stream *stream, uint8_t *out, size_t length)
{
	stream->next_out = out;
	stream->avail_out = (uInt)length;
	while (stream->avail_out > 0) {
		const int result = inflate(stream, Z_SYNC_FLUSH);
		const char *wrong = zlib_complaint(stream, result);

		if (wrong)
			return wrong;
		if (result == Z_BUF_ERROR)
			return "short: fewer pages than declared";
	}
	return NULL;
}

/* The pages are full: room for one byte more uses the payload up, and must stay empty. NULL, or what went wrong. */
static const char *zlib_inflate_tail(z_stream *stream)
{
	uint8_t surplus;
	int result;

	stream->next_out = &surplus;
	stream->avail_out = sizeof(surplus);
	result = inflate(stream, Z_SYNC_FLUSH);
	return stream->avail_out == 0 ? "more pages than declared" : zlib_complaint(stream, result);
}

static enum mr_rule zlib_recv(void *opaque, struct mr_bytes payload, uint8_t *const *pages, uint32_t count,
			      char found[MR_METHOD_FOUND])
{
	struct zlib_state *state = opaque;
	const enum mr_rule rule = mr_method_check(state->page_size, payload, count, found);
	const char *wrong = NULL;

	if (rule != MR_NO_RULE || count == 0)
		return rule;
	if (state->broken)
		return zlib_fail(state, found, "an earlier packet broke the zlib stream");
	state->stream.next_in = (Bytef *)(uintptr_t)payload.data;
	state->stream.avail_in = (uInt)payload.length;
	for (uint32_t i = 0, run; i < count && !wrong; i += run) {
		run = mr_method_run(pages + i, count - i, state->page_size);
		wrong = zlib_inflate_run(&state->stream, pages[i], run * state->page_size);
	}
	if (!wrong)
		wrong = zlib_inflate_tail(&state->stream);
	return wrong ? zlib_fail(state, found, wrong) : MR_NO_RULE;
}

const struct mr_multifd_method mr_method_zlib = {
	.name = "zlib",
	.flag = MR_MULTIFD_FLAG_ZLIB,
	.decodable = true,
	.level_default = ZLIB_LEVEL_DEFAULT,
	.level_min = ZLIB_LEVEL_MIN,
	.level_max = ZLIB_LEVEL_MAX,
	.send_setup = zlib_send_setup,
	.send_cleanup = zlib_send_cleanup,
	.send_prepare = zlib_send_prepare,
	.recv_setup = zlib_recv_setup,
	.recv_cleanup = zlib_recv_cleanup,
	.recv = zlib_recv,
};
