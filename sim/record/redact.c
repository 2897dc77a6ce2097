/* redact.c: the streams of a migration with the contents of pages made unreadable, while they come. */
#include "sim/record/redact.h"
#include "sim/record/print.h"
#include "sim/record/recording.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

enum {
	FIRST_CAPACITY = 64 << 10,
	DIGEST_SIZE = 32, /* of HMAC-SHA256, and of a key of AES-256 */
	COUNTER_SIZE = 16,
	COMPLETION_MAX = 4 << 20, /* zeros that stand for the end of a record */
	XBZRLE_RUN_SHORT_MAX = 127,
};

/* A forward direction. */
struct stream {
	struct mr_decoder *decoder; /* NULL: its role is not known yet */
	uint8_t *window;            /* what has come and is not told apart yet */
	size_t length, capacity;
	size_t wanted; /* bytes of it below which there is nothing to decode */
	bool ended;
	bool failed; /* what has come is given no more */
};

/* What a redacted page holds now. */
struct held {
	bool known; /* else it holds zeros */
	uint8_t digest[DIGEST_SIZE];
	uint8_t *page; /* once it was changed by an XBZRLE encoding; NULL: what the digest is expanded to */
};

/* The redacted pages of a block. */
struct history {
	struct held *pages;
	uint64_t count;
};

struct mr_redactor {
	struct mr_session *session;
	struct history *histories; /* of each block, where XBZRLE is on; NULL: it is not known to be */
	mr_redact_function *take;
	void *argument;
	EVP_CIPHER_CTX *cipher;
	uint8_t key[MR_REDACT_KEY_SIZE];
	struct stream streams[MR_RECORDING_CHANNELS_MAX];
	uint32_t count;
	bool configured; /* the main channel has told the size of pages, if it does at all */
	char error[512];
};

__attribute__((format(printf, 2, 3))) static bool fail(struct mr_redactor *redactor, const char *format, ...)
{
	va_list arguments;

	if (redactor->error[0])
		return false;
	va_start(arguments, format);
	vsnprintf(redactor->error, sizeof(redactor->error), format, arguments);
	va_end(arguments);
	return false;
}

const char *mr_redactor_error(const struct mr_redactor *redactor)
{
	return redactor->error;
}

/* ---- Contents ---- */

/* A key becomes as many bytes as are wanted: AES-256 in counter mode. */
static bool expand(struct mr_redactor *redactor, const uint8_t digest[DIGEST_SIZE], uint8_t *pad, size_t length)
{
	static const uint8_t counter[COUNTER_SIZE];
	int written = 0;

	memset(pad, 0, length);
	if (EVP_EncryptInit_ex(redactor->cipher, EVP_aes_256_ctr(), NULL, digest, counter) != 1 ||
	    EVP_EncryptUpdate(redactor->cipher, pad, &written, pad, (int)length) != 1)
		return fail(redactor, "the digest of a page failed");
	return true;
}

static bool make_digest(struct mr_redactor *redactor, const uint8_t *content, size_t length,
			uint8_t digest[DIGEST_SIZE])
{
	unsigned size = 0;

	if (!HMAC(EVP_sha256(), redactor->key, sizeof(redactor->key), content, length, digest, &size))
		return fail(redactor, "the digest of a page failed");
	return true;
}

/* What takes the place of `length` bytes of content, equal for equal ones: their HMAC, expanded. */
static bool make_pad(struct mr_redactor *redactor, const uint8_t *content, size_t length, uint8_t *pad)
{
	uint8_t digest[DIGEST_SIZE];

	return make_digest(redactor, content, length, digest) && expand(redactor, digest, pad, length);
}

/* ---- What redacted pages hold ---- */

/* NULL if nothing is to be kept of it, or memory is short. */
static struct held *held_at(struct mr_redactor *redactor, uint32_t block, uint64_t address)
{
	const uint32_t page_size = redactor->session->target_page_size;
	const uint64_t page = address / page_size;
	struct history *history;

	if (!redactor->histories || block >= redactor->session->block_count ||
	    address >= redactor->session->blocks[block].used_length)
		return NULL;
	history = &redactor->histories[block];
	if (!history->pages) {
		history->count = (redactor->session->blocks[block].used_length + page_size - 1) / page_size;
		history->pages = calloc(history->count, sizeof(*history->pages));
	}
	return history->pages && page < history->count ? &history->pages[page] : NULL;
}

static void forget(struct held *held)
{
	free(held->page);
	*held = (struct held){.known = false};
}

/* The redacted page, to be changed. */
static uint8_t *open_held(struct mr_redactor *redactor, struct held *held)
{
	const uint32_t page_size = redactor->session->target_page_size;

	if (held->page)
		return held->page;
	held->page = calloc(1, page_size);
	if (!held->page || (held->known && !expand(redactor, held->digest, held->page, page_size)))
		return NULL;
	return held->page;
}

static void free_histories(struct mr_redactor *redactor)
{
	for (uint32_t i = 0; redactor->histories && i < MR_BLOCKS_MAX; i++) {
		struct history *history = &redactor->histories[i];

		for (uint64_t page = 0; history->pages && page < history->count; page++)
			free(history->pages[page].page);
		free(history->pages);
	}
	free(redactor->histories);
}

/* ---- Records ---- */

static bool redact_page(struct mr_redactor *redactor, uint8_t *page, size_t length, struct held *held)
{
	uint8_t digest[DIGEST_SIZE];

	if (held)
		forget(held);
	if (mr_is_zero(page, length))
		return true;
	if (!make_digest(redactor, page, length, digest))
		return false;
	if (held) {
		held->known = true;
		memcpy(held->digest, digest, sizeof(digest));
	}
	return expand(redactor, digest, page, length);
}

/* A run's length of an encoding that the decoder may not have looked into; false at its end. */
static bool take_run(const uint8_t *encoding, size_t length, size_t *at, size_t *run)
{
	if (*at == length)
		return false;
	*run = encoding[(*at)++];
	if (*run <= XBZRLE_RUN_SHORT_MAX)
		return true;
	if (*at == length)
		return false;
	*run = (*run & XBZRLE_RUN_SHORT_MAX) | (size_t)encoding[(*at)++] << 7;
	return true;
}

/* New bytes differ from what was there before, as a run of equal ones would end theirs. */
static void change(uint8_t *page, size_t at, uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] == page[at + i])
			bytes[i] ^= 1;
		page[at + i] = bytes[i];
	}
}

/*
 * The runs stay, of which those of new bytes get other ones: where it is known what the page holds, the encoding is
 * still the one of a change of that.
 */
static bool redact_xbzrle(struct mr_redactor *redactor, uint8_t *encoding, size_t length, struct held *held)
{
	uint8_t *page = held ? open_held(redactor, held) : NULL;
	uint8_t pad[MR_PAGE_SIZE_MAX];
	size_t at = 0, run = 0, place = 0;

	if (length > sizeof(pad) || !make_pad(redactor, encoding, length, pad))
		return fail(redactor, "an XBZRLE encoding of %zu bytes", length);
	while (take_run(encoding, length, &at, &run)) {
		place += run;
		if (!take_run(encoding, length, &at, &run))
			break;
		if (run > length - at)
			run = length - at;
		memcpy(encoding + at, pad + at, run);
		if (page && place + run <= redactor->session->target_page_size)
			change(page, place, encoding + at, run);
		at += run;
		place += run;
	}
	return true;
}

/* A page of one byte that is not zero, as old releases send it, is a content as well. */
static bool redact_fill(struct mr_redactor *redactor, const struct mr_record *record, uint8_t *wire, struct held *held)
{
	uint8_t *page;

	if (held)
		forget(held);
	if (record->page.fill == 0)
		return true;
	if (!redact_page(redactor, wire + record->length - 1, 1, NULL))
		return false;
	page = held ? open_held(redactor, held) : NULL;
	if (page)
		memset(page, wire[record->length - 1], redactor->session->target_page_size);
	return true;
}

static bool redact_packet(struct mr_redactor *redactor, const struct mr_record *record, uint8_t *payload)
{
	const size_t page_size = redactor->session->target_page_size;
	const struct mr_multifd_method *method;

	if (record->packet.flags & MR_MULTIFD_METHOD_MASK && record->packet.normal_pages) {
		method = mr_multifd_method_by_flag(record->packet.flags & MR_MULTIFD_METHOD_MASK);
		return fail(redactor, "a multifd payload compressed by %s cannot be redacted",
			    method ? method->name : "an unknown method");
	}
	for (size_t at = 0; at + page_size <= record->packet.payload.length; at += page_size)
		if (!redact_page(redactor, payload + at, page_size, NULL))
			return false;
	return true;
}

/* The part of the window that a record's pointer means. */
static uint8_t *inside(uint8_t *wire, struct mr_bytes bytes)
{
	return bytes.length ? wire + (bytes.data - wire) : wire;
}

/* `wire` are the record's bytes, in which its contents are replaced. */
static bool redact_record(struct mr_redactor *redactor, const struct mr_record *record, uint8_t *wire)
{
	const bool is_page =
		record->kind == MR_RAM_PAGE || record->kind == MR_RAM_XBZRLE || record->kind == MR_RAM_ZERO;
	struct held *held = is_page ? held_at(redactor, record->page.block, record->page.address) : NULL;

	switch (record->kind) {
	case MR_RAM_PAGE:
		return redact_page(redactor, inside(wire, record->page.data), record->page.data.length, held);
	case MR_RAM_XBZRLE:
		return redact_xbzrle(redactor, inside(wire, record->page.data), record->page.data.length, held);
	case MR_RAM_ZERO:
		return redact_fill(redactor, record, wire, held);
	case MR_MULTIFD_PACKET:
		return redact_packet(redactor, record, inside(wire, record->packet.payload));
	case MR_RAM_COMPRESSED:
		return fail(redactor, "a compressed page cannot be redacted");
	case MR_RAM_BITMAP:
	case MR_RAM_PAGES:
		return fail(redactor, "a mapped-ram file cannot be redacted");
	case MR_OPAQUE:
		return fail(redactor, "what cannot be told apart (%s) cannot be redacted",
			    mr_rule_id(record->opaque.rule));
	default:
		return true;
	}
}

/* ---- Streams ---- */

static void give(struct mr_redactor *redactor, const struct stream *stream, const uint8_t *bytes, size_t length)
{
	if (length)
		redactor->take(redactor->argument, (uint32_t)(stream - redactor->streams),
			       (struct mr_bytes){bytes, length});
}

static bool drop(struct stream *stream, size_t length)
{
	stream->length -= length;
	memmove(stream->window, stream->window + length, stream->length);
	return true;
}

static void note_configured(struct mr_redactor *redactor, enum mr_kind kind)
{
	if (kind != MR_FILE_HEADER && kind != MR_CONFIGURATION && kind != MR_CONFIGURATION_SUBSECTION &&
	    kind != MR_MULTIFD_INIT)
		redactor->configured = true;
}

/* Where it failed stands before why, unless it is said already. */
static bool fail_at(struct mr_redactor *redactor, const struct stream *stream, uint64_t offset)
{
	char reason[sizeof(redactor->error)];

	snprintf(reason, sizeof(reason), "%s", redactor->error);
	snprintf(redactor->error, sizeof(redactor->error), "ch%d.fwd: 0x%" PRIx64 ": %.440s",
		 (int)(stream - redactor->streams), offset, reason);
	return false;
}

static bool fail_decoding(struct mr_redactor *redactor, const struct stream *stream)
{
	char text[400];

	mr_format_finding(text, sizeof(text), &stream->decoder->error);
	return fail(redactor, "ch%d.fwd: %s", (int)(stream - redactor->streams), text);
}

/* The zeros that stand for what has not come are not given. */
static bool redact_unfinished(struct mr_redactor *redactor, struct stream *stream)
{
	static const struct mr_record nothing;
	struct mr_record record = nothing;
	const size_t come = stream->length;
	size_t size = come;
	uint8_t *whole = NULL;
	enum mr_result result = MR_MORE;

	while (result == MR_MORE && stream->decoder->wanted > size && stream->decoder->wanted - come < COMPLETION_MAX) {
		uint8_t *longer = realloc(whole, stream->decoder->wanted);

		if (!longer)
			break;
		whole = longer;
		size = stream->decoder->wanted;
		memcpy(whole, stream->window, come);
		memset(whole + come, 0, size - come);
		result = mr_decode(stream->decoder, whole, size, false, &record);
	}
	if (result == MR_RECORD && record.length >= come && redact_record(redactor, &record, whole)) {
		give(redactor, stream, whole, come);
		drop(stream, come);
	}
	free(whole);
	return redactor->error[0] == '\0' && stream->length == 0;
}

/* A record that is cut: the decoder is not told of the end, so that it says what it wants. */
static bool is_record_cut(struct stream *stream)
{
	struct mr_record record;

	return stream->decoder->role != MR_ROLE_RETURN &&
	       mr_decode(stream->decoder, stream->window, stream->length, false, &record) == MR_MORE;
}

/* Whatever is whole is given. */
static bool pump(struct mr_redactor *redactor, struct stream *stream)
{
	struct mr_record record;
	size_t at = 0;

	stream->wanted = 0;
	while (at < stream->length) {
		const enum mr_result result =
			mr_decode(stream->decoder, stream->window + at, stream->length - at, false, &record);

		if (result == MR_MORE) {
			stream->wanted = stream->decoder->wanted;
			break;
		}
		if (result == MR_FAILED) {
			drop(stream, at);
			stream->failed = true;
			return fail_decoding(redactor, stream);
		}
		if (!redact_record(redactor, &record, stream->window + at)) {
			drop(stream, at);
			stream->failed = true;
			return fail_at(redactor, stream, record.offset);
		}
		give(redactor, stream, stream->window + at, record.length);
		at += record.length;
		note_configured(redactor, record.kind);
	}
	return drop(stream, at);
}

static bool waits(const struct mr_redactor *redactor, const struct stream *stream)
{
	if (!stream->decoder)
		return true;
	return !redactor->configured &&
	       (stream->decoder->role == MR_ROLE_MULTIFD || stream->decoder->role == MR_ROLE_PREEMPT);
}

/* Those that had to wait for the main channel go on with it. */
static bool pump_others(struct mr_redactor *redactor)
{
	for (uint32_t i = 0; i < redactor->count; i++)
		if (!redactor->streams[i].ended && !waits(redactor, &redactor->streams[i]) &&
		    !pump(redactor, &redactor->streams[i]))
			return false;
	return true;
}

static bool go_on(struct mr_redactor *redactor, struct stream *stream)
{
	const bool configured = redactor->configured;

	if (redactor->error[0])
		return false;
	if (!waits(redactor, stream) && stream->length >= stream->wanted && !pump(redactor, stream))
		return false;
	if (stream->length > MR_REDACT_WINDOW_MAX)
		return fail(redactor, "ch%d.fwd: more than %d bytes that cannot be told apart",
			    (int)(stream - redactor->streams), MR_REDACT_WINDOW_MAX);
	return configured || !redactor->configured || pump_others(redactor);
}

static bool append(struct mr_redactor *redactor, struct stream *stream, struct mr_bytes bytes)
{
	size_t larger = stream->capacity ? stream->capacity : FIRST_CAPACITY;
	uint8_t *window;

	while (larger - stream->length < bytes.length)
		larger *= 2;
	if (larger != stream->capacity) {
		window = realloc(stream->window, larger);
		if (!window)
			return fail(redactor, "no memory to redact a stream");
		stream->window = window;
		stream->capacity = larger;
	}
	memcpy(stream->window + stream->length, bytes.data, bytes.length);
	stream->length += bytes.length;
	return true;
}

/* ---- The whole ---- */

struct mr_redactor *mr_redactor_new(const struct mr_context *context, const uint8_t *key, mr_redact_function *take,
				    void *argument)
{
	struct mr_redactor *redactor = calloc(1, sizeof(*redactor));

	if (!redactor)
		return NULL;
	redactor->session = malloc(sizeof(*redactor->session));
	redactor->cipher = EVP_CIPHER_CTX_new();
	redactor->take = take;
	redactor->argument = argument;
	if (key)
		memcpy(redactor->key, key, sizeof(redactor->key));
	if (context && context->capabilities_known && context->capabilities & MR_CAPABILITY_XBZRLE)
		redactor->histories = calloc(MR_BLOCKS_MAX, sizeof(*redactor->histories));
	if (!redactor->session || !redactor->cipher ||
	    (!key && RAND_bytes(redactor->key, sizeof(redactor->key)) != 1)) {
		mr_redactor_free(redactor);
		return NULL;
	}
	mr_session_init(redactor->session, context, NULL, NULL);
	return redactor;
}

void mr_redactor_free(struct mr_redactor *redactor)
{
	if (!redactor)
		return;
	for (uint32_t i = 0; i < redactor->count; i++) {
		OPENSSL_cleanse(redactor->streams[i].window, redactor->streams[i].capacity);
		free(redactor->streams[i].window);
		free(redactor->streams[i].decoder);
	}
	OPENSSL_cleanse(redactor->key, sizeof(redactor->key));
	free_histories(redactor);
	EVP_CIPHER_CTX_free(redactor->cipher);
	free(redactor->session);
	free(redactor);
}

bool mr_redactor_open(struct mr_redactor *redactor, uint32_t channel)
{
	if (channel != redactor->count || channel >= MR_RECORDING_CHANNELS_MAX)
		return fail(redactor, "ch%" PRIu32 ".fwd: one connection too many", channel);
	redactor->count++;
	return append(redactor, &redactor->streams[channel], (struct mr_bytes){(const uint8_t *)"", 0});
}

bool mr_redactor_role(struct mr_redactor *redactor, uint32_t channel, enum mr_role role)
{
	struct stream *stream = &redactor->streams[channel];

	stream->decoder = malloc(sizeof(*stream->decoder));
	if (!stream->decoder)
		return fail(redactor, "no memory to redact a stream");
	mr_decoder_init(stream->decoder, redactor->session, role, channel);
	return go_on(redactor, stream);
}

bool mr_redactor_feed(struct mr_redactor *redactor, uint32_t channel, struct mr_bytes bytes)
{
	struct stream *stream = &redactor->streams[channel];

	return append(redactor, stream, bytes) && go_on(redactor, stream);
}

/*
 * One record that only the end of the stream delimits, such as a device section, or what has come of one that was cut.
 * False if there is none, or it failed.
 */
static bool take_last(struct mr_redactor *redactor, struct stream *stream, struct mr_decoder *before)
{
	struct mr_record record;
	enum mr_result result;

	*before = *stream->decoder;
	result = mr_decode(stream->decoder, stream->window, stream->length, true, &record);
	if (result == MR_RECORD) {
		if (record.kind == MR_OPAQUE || !redact_record(redactor, &record, stream->window))
			return false;
		give(redactor, stream, stream->window, record.length);
		return drop(stream, record.length);
	}
	/* A decoder that has seen the end too early does not say what it wanted. */
	*stream->decoder = *before;
	return is_record_cut(stream) && redact_unfinished(redactor, stream);
}

static void pump_end(struct mr_redactor *redactor, struct stream *stream)
{
	struct mr_decoder *before = malloc(sizeof(*before));

	while (before && pump(redactor, stream) && stream->length)
		if (!take_last(redactor, stream, before))
			break;
	free(before);
}

bool mr_redactor_end(struct mr_redactor *redactor, uint32_t channel)
{
	static const uint8_t zeros[4096];
	struct stream *stream = &redactor->streams[channel];

	if (stream->ended)
		return redactor->error[0] == '\0';
	stream->ended = true;
	if (!waits(redactor, stream) && !stream->failed && stream->length)
		pump_end(redactor, stream);
	while (stream->length && !stream->failed) {
		const size_t part = stream->length < sizeof(zeros) ? stream->length : sizeof(zeros);

		give(redactor, stream, zeros, part);
		stream->length -= part;
	}
	return redactor->error[0] == '\0';
}
