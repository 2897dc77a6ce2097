/* common.h: what the fuzz targets share: decoding under any split into windows, with every record encoded again. */
#ifndef FUZZ_COMMON_H
#define FUZZ_COMMON_H

#include <stdlib.h>
#include <string.h>

#include "migref.h"

/* What libFuzzer calls. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FUZZ_INPUT_MAX = 1 << 20 };

/* Ends the run as a finding unless `condition` holds. */
static inline void fuzz_demand(bool condition)
{
	if (!condition)
		abort();
}

/* The next byte of the input, 0 at its end. */
static inline uint8_t fuzz_option(struct mr_bytes *input)
{
	uint8_t option = 0;

	if (input->length) {
		option = *input->data++;
		input->length--;
	}
	return option;
}

/*
 * Where the windows end: at the input's end, where the decoder wants, or at a few places all over the input. Unit tests
 * cut at every byte; here a few cuts cost less than the executions they would take away.
 */
enum fuzz_split { FUZZ_WHOLE, FUZZ_WANTED, FUZZ_CUTS };

enum { FUZZ_CUT_COUNT = 4 };

/* What a decoding left behind, for comparing two. */
struct fuzz_outcome {
	enum mr_result result;
	enum mr_rule rule;
	uint64_t offset, digest;
};

static inline void fuzz_check_record(const struct mr_record *record, const uint8_t *window, size_t length)
{
	static uint8_t out[FUZZ_INPUT_MAX];

	fuzz_demand(record->kind < MR_KIND_COUNT && record->length <= length);
	fuzz_demand(mr_encode(record, out, sizeof(out)) == record->length);
	fuzz_demand(memcmp(out, window, (size_t)record->length) == 0);
}

/* Opaque records come in pieces of any size, so their borders are not part of the outcome. */
static inline uint64_t fuzz_digest(uint64_t digest, const struct mr_record *record)
{
	if (record->kind == MR_OPAQUE)
		return digest;
	digest = (digest ^ record->kind ^ record->length << 8) * UINT64_C(1099511628211);
	return (digest ^ record->offset ^ (uint64_t)record->depth << 40) * UINT64_C(1099511628211);
}

/* The end of the first window, or of the next one, where the present one ends at `end`. */
static inline size_t fuzz_next_end(const struct mr_decoder *decoder, size_t at, size_t end, size_t length,
				   enum fuzz_split split)
{
	size_t next = length;

	if (split == FUZZ_WANTED)
		next = at + decoder->wanted;
	for (size_t i = 1; split == FUZZ_CUTS && i < FUZZ_CUT_COUNT && next == length; i++)
		if (length * i / FUZZ_CUT_COUNT > end)
			next = length * i / FUZZ_CUT_COUNT;
	return next < length ? next : length;
}

/* A decoder that has failed stays so. */
static inline void fuzz_check_failure(struct mr_decoder *decoder, struct mr_bytes rest, uint64_t end)
{
	struct mr_record record;

	fuzz_demand(decoder->error.offset <= end);
	fuzz_demand(mr_decode(decoder, rest.data, rest.length, true, &record) == MR_FAILED);
}

/* Decodes `input`, which begins at the decoder's present offset, to its end. */
static inline struct fuzz_outcome fuzz_decode(struct mr_decoder *decoder, struct mr_bytes input, enum fuzz_split split)
{
	const uint64_t start = decoder->offset;
	struct fuzz_outcome outcome = {.digest = UINT64_C(14695981039346656037)};
	size_t at = 0, idle = 0;
	size_t end = split == FUZZ_WHOLE ? input.length : 0;
	struct mr_record record;

	for (;;) {
		const bool at_end = end == input.length;

		outcome.result = mr_decode(decoder, input.data + at, end - at, at_end, &record);
		if (outcome.result == MR_MORE) {
			fuzz_demand(!at_end && decoder->wanted > end - at);
			end = fuzz_next_end(decoder, at, end, input.length, split);
			continue;
		}
		if (outcome.result != MR_RECORD)
			break;
		fuzz_demand(record.offset == start + at);
		fuzz_check_record(&record, input.data + at, end - at);
		outcome.digest = fuzz_digest(outcome.digest, &record);
		idle = record.length ? 0 : idle + 1;
		fuzz_demand(idle < 2);
		at += (size_t)record.length;
		if (split == FUZZ_WANTED)
			end = at;
	}
	outcome.rule = decoder->error.rule;
	outcome.offset = decoder->error.offset;
	if (outcome.result == MR_FAILED)
		fuzz_check_failure(decoder, (struct mr_bytes){input.data + at, input.length - at},
				   start + input.length);
	return outcome;
}

static inline bool fuzz_same(struct fuzz_outcome a, struct fuzz_outcome b)
{
	return a.result == b.result && a.rule == b.rule && a.offset == b.offset && a.digest == b.digest;
}

/* The split under which an input is decoded once more, by an option; FUZZ_WHOLE: none, for three inputs of four. */
static inline enum fuzz_split fuzz_second_split(uint8_t more)
{
	if ((more & 0x60) != 0x60)
		return FUZZ_WHOLE;
	return more & 0x10 ? FUZZ_WANTED : FUZZ_CUTS;
}

/* A context by two bytes of options. */
static inline void fuzz_context(struct mr_context *context, uint8_t options, uint8_t more)
{
	static const char *const releases[] = {"2.5", "4.0", "7.2", "11.1"};
	static struct mr_profile profiles[4];
	static const uint32_t page_sizes[] = {0, 1024, 16384, 65536};

	if (!profiles[0].known)
		for (size_t i = 0; i < 4; i++)
			mr_profile_init(&profiles[i], releases[i]);
	*context = (struct mr_context){.multifd_method = MR_METHOD_UNKNOWN};
	if (options & 0x04)
		context->profile = profiles[options & 0x03];
	context->target_page_size = page_sizes[options >> 3 & 0x03];
	context->no_configuration = options >> 5 & 1;
	context->no_footer = options >> 6 & 1;
	context->capabilities_known = more & 1;
	context->capabilities = (more & 2 ? MR_CAPABILITY_IGNORE_SHARED : 0u) | (more & 4 ? MR_CAPABILITY_COLO : 0u) |
				(more & 8 ? MR_CAPABILITY_RDMA : 0u);
}

/* Decodes what this program knows to be right. */
static inline void fuzz_prepare(struct mr_decoder *decoder, struct mr_bytes bytes)
{
	struct mr_record record;

	while (bytes.length) {
		fuzz_demand(mr_decode(decoder, bytes.data, bytes.length, false, &record) == MR_RECORD);
		bytes.data += record.length;
		bytes.length -= (size_t)record.length;
	}
}

/*
 * Leaves a main channel at the body of a section `ram` with id 2; with `blocks` behind the section's block list too,
 * which names "a" and "pc.ram", and its end. A recovery connection has nothing before its first section, hence less to
 * decode in each execution.
 */
static inline void fuzz_begin_ram(struct mr_decoder *decoder, struct mr_session *session, bool blocks)
{
	static const uint8_t start[] = "\x01\0\0\0\x02\x03ram\0\0\0\0\0\0\0\x04";
	static const uint8_t list[] = "\0\0\0\0\0\x03\0\x04"
				      "\x01"
				      "a\0\0\0\0\0\x02\0\0"
				      "\x06pc.ram\0\0\0\0\0\x01\0\0"
				      "\0\0\0\0\0\0\0\x10";

	mr_decoder_init(decoder, session, MR_ROLE_RECOVERY, 0);
	fuzz_prepare(decoder, (struct mr_bytes){start, sizeof(start) - 1});
	if (blocks)
		fuzz_prepare(decoder, (struct mr_bytes){list, sizeof(list) - 1});
}

#endif
