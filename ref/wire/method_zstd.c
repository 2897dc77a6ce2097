/*
 * method_zstd.c: the multifd method "zstd": one compression stream for the whole life of a channel, flushed after each
 * packet.
 */
#include "method.h"

#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

/* Level 0 means the library's own default, not "stored". */
enum { ZSTD_METHOD_LEVEL_MIN = 0, ZSTD_METHOD_LEVEL_MAX = 20, ZSTD_METHOD_LEVEL_DEFAULT = 1 };

struct zstd_state {
	ZSTD_CStream *out; /* of the sender */
	ZSTD_DStream *in;  /* of the receiver */
	size_t page_size;
	/* A packet failed half way: the stream is no longer where the peer's is, so no later packet may use it. */
	bool broken;
};

static void zstd_cleanup(void *opaque)
{
	struct zstd_state *state = opaque;

	if (!state)
		return;
	ZSTD_freeCStream(state->out);
	ZSTD_freeDStream(state->in);
	free(state);
}

static struct zstd_state *zstd_state_new(size_t page_size)
{
	struct zstd_state *state;

	if (!mr_method_page_size_ok(page_size))
		return NULL;
	state = calloc(1, sizeof(*state));
	if (state)
		state->page_size = page_size;
	return state;
}

static void *zstd_send_setup(size_t page_size, int level)
{
	struct zstd_state *state;

	if (level < ZSTD_METHOD_LEVEL_MIN || level > ZSTD_METHOD_LEVEL_MAX)
		return NULL;
	state = zstd_state_new(page_size);
	if (!state)
		return NULL;
	state->out = ZSTD_createCStream();
	/* not covered: an error of the library, whose limits the level keeps */
	if (!state->out || ZSTD_isError(ZSTD_initCStream(state->out, level))) {
		zstd_cleanup(state);
		return NULL;
	}
	return state;
}

/* Takes one page in, and with ZSTD_e_flush everything out. Returns false if the output does not suffice. */
static bool zstd_compress_page(struct zstd_state *state, ZSTD_outBuffer *out, const uint8_t *page,
			       ZSTD_EndDirective directive)
{
	ZSTD_inBuffer in = {page, state->page_size, 0};
	size_t pending;

	do {
		pending = ZSTD_compressStream2(state->out, out, &in, directive);
		/* not covered: a call that leaves both input and room, hence a second round */
		if (ZSTD_isError(pending))
			return false;
		if (in.pos == in.size && (pending == 0 || directive == ZSTD_e_continue))
			return true;
	} while (out->pos < out->size);
	return false;
}

static long zstd_send_prepare(void *opaque, const uint8_t *const *pages, uint32_t count, uint8_t *out, size_t capacity)
{
	struct zstd_state *state = opaque;
	ZSTD_outBuffer buffer = {out, capacity, 0};

	if (capacity > MR_PACKET_PAYLOAD_MAX)
		buffer.size = MR_PACKET_PAYLOAD_MAX;
	if (state->broken || !mr_method_count_ok(state->page_size, count))
		return -1;
	for (uint32_t i = 0; i < count; i++) {
		if (!zstd_compress_page(state, &buffer, pages[i], i + 1 == count ? ZSTD_e_flush : ZSTD_e_continue)) {
			state->broken = true;
			return -1;
		}
	}
	return (long)buffer.pos;
}

static void *zstd_recv_setup(size_t page_size)
{
	struct zstd_state *state = zstd_state_new(page_size);

	if (!state)
		return NULL;
	state->in = ZSTD_createDStream();
	/* not covered: an error of the library, whose limits the window keeps */
	if (!state->in ||
	    ZSTD_isError(ZSTD_DCtx_setParameter(state->in, ZSTD_d_windowLogMax, MR_ZSTD_WINDOW_LOG_MAX))) {
		zstd_cleanup(state);
		return NULL;
	}
	return state;
}

static enum mr_rule zstd_fail(struct zstd_state *state, char found[MR_METHOD_FOUND], const char *what)
{
	state->broken = true;
	snprintf(found, MR_METHOD_FOUND, "%s", what);
	return MR_MFD_027;
}

/* Fills `out`. NULL, or what went wrong. A frame may end and the next begin anywhere: the library goes on by itself. */
static const char *zstd_decompress_run(struct zstd_state *state, ZSTD_inBuffer *in, ZSTD_outBuffer *out)
{
	while (out->pos < out->size) {
		const size_t in_before = in->pos, out_before = out->pos;
		const size_t result = ZSTD_decompressStream(state->in, out, in);

		if (ZSTD_isError(result))
			return ZSTD_getErrorName(result);
		if (in->pos == in_before && out->pos == out_before)
			return "short: fewer pages than declared";
	}
	return NULL;
}

/* The pages are full: room for one byte more uses the payload up, and must stay empty. NULL, or what went wrong. */
static const char *zstd_decompress_tail(struct zstd_state *state, ZSTD_inBuffer *in)
{
	uint8_t surplus;
	ZSTD_outBuffer out = {&surplus, sizeof(surplus), 0};
	size_t before;

	/* each call ends at the end of a frame at the latest, hence the loop; not covered: bytes that no call takes */
	do {
		size_t result;

		before = in->pos;
		result = ZSTD_decompressStream(state->in, &out, in);
		if (ZSTD_isError(result))
			return ZSTD_getErrorName(result);
		if (out.pos > 0)
			return "more pages than declared";
	} while (in->pos < in->size && in->pos > before);
	return in->pos < in->size ? "bytes left over" : NULL;
}

static enum mr_rule zstd_recv(void *opaque, struct mr_bytes payload, uint8_t *const *pages, uint32_t count,
			      char found[MR_METHOD_FOUND])
{
	struct zstd_state *state = opaque;
	const enum mr_rule rule = mr_method_check(state->page_size, payload, count, found);
	ZSTD_inBuffer in = {payload.data, payload.length, 0};
	const char *wrong = NULL;

	if (rule != MR_NO_RULE || count == 0)
		return rule;
	if (state->broken)
		return zstd_fail(state, found, "an earlier packet broke the zstd stream");
	for (uint32_t i = 0, run; i < count && !wrong; i += run) {
		run = mr_method_run(pages + i, count - i, state->page_size);
		wrong = zstd_decompress_run(state, &in, &(ZSTD_outBuffer){pages[i], run * state->page_size, 0});
	}
	if (!wrong)
		wrong = zstd_decompress_tail(state, &in);
	return wrong ? zstd_fail(state, found, wrong) : MR_NO_RULE;
}

const struct mr_multifd_method mr_method_zstd = {
	.name = "zstd",
	.flag = MR_MULTIFD_FLAG_ZSTD,
	.decodable = true,
	.level_default = ZSTD_METHOD_LEVEL_DEFAULT,
	.level_min = ZSTD_METHOD_LEVEL_MIN,
	.level_max = ZSTD_METHOD_LEVEL_MAX,
	.send_setup = zstd_send_setup,
	.send_cleanup = zstd_cleanup,
	.send_prepare = zstd_send_prepare,
	.recv_setup = zstd_recv_setup,
	.recv_cleanup = zstd_cleanup,
	.recv = zstd_recv,
};
