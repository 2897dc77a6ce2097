/* wire_support.c: see wire_support.h. */
#include "wire_support.h"

#include "guard.h"
#include "wire/wire.h"

void put_bytes(struct stream *stream, const void *bytes, size_t length)
{
	assert_true(length <= STREAM_MAX - stream->length);
	if (length)
		memcpy(stream->data + stream->length, bytes, length);
	stream->length += length;
}

void put_number(struct stream *stream, unsigned width, uint64_t number)
{
	assert_true(width <= STREAM_MAX - stream->length);
	stream->length += width;
	set_number(stream, stream->length - width, width, number);
}

void put_fill(struct stream *stream, uint8_t byte, size_t length)
{
	assert_true(length <= STREAM_MAX - stream->length);
	memset(stream->data + stream->length, byte, length);
	stream->length += length;
}

void put_padded(struct stream *stream, const char *text, size_t length)
{
	const size_t used = strlen(text);

	assert_true(used <= length);
	put_bytes(stream, text, used);
	put_fill(stream, 0, length - used);
}

void set_number(struct stream *stream, size_t offset, unsigned width, uint64_t number)
{
	for (unsigned i = 0; i < width; i++)
		stream->data[offset + i] = (uint8_t)(number >> 8 * (width - 1 - i));
}

static void see(void *argument, const struct mr_finding *finding)
{
	struct seen *seen = argument;

	assert_true(finding->rule > MR_NO_RULE && finding->rule < MR_RULE_COUNT);
	assert_true(strlen(finding->expected) > 0 && strlen(finding->found) > 0);
	seen->total++;
	seen->count[finding->rule]++;
	seen->last = *finding;
}

void declare_block(struct mr_session *session, const char *name, uint64_t used_length, uint64_t page_size)
{
	const uint32_t index = mr_session_name_block(session, (struct mr_bytes){(const uint8_t *)name, strlen(name)});

	assert_true(index < MR_BLOCKS_MAX);
	session->blocks[index].declared = true;
	session->blocks[index].used_length = used_length;
	session->blocks[index].page_size = page_size;
}

/* The record that was just decoded, written again behind the ones before. */
static void encode_again(struct run *run)
{
	struct stream *encoded = &run->encoded;
	const size_t room = (size_t)run->record.length;

	assert_int_equal(mr_encoded_length(&run->record), run->record.length);
	assert_int_equal(mr_encode(&run->record, encoded->data + encoded->length, room - 1), 0);
	assert_int_equal(mr_encode(&run->record, encoded->data + encoded->length, room), room);
	encoded->length += room;
}

struct run *run_stream(enum mr_role role, prepare_function *prepare, const struct stream *stream, size_t length,
		       bool at_end)
{
	static struct run run;
	static struct guard guard;
	const uint8_t *window;
	size_t at = 0;

	if (!guard.base)
		guard = guard_new(STREAM_MAX);
	window = guard_copy(&guard, stream->data, length);
	mr_session_init(&run.session, NULL, see, &run.seen);
	prepare(&run.session);
	mr_decoder_init(&run.decoder, &run.session, role, 1);
	memset(&run.seen, 0, sizeof(run.seen));
	run.records = 0;
	run.encoded.length = 0;
	while ((run.result = mr_decode(&run.decoder, window + at, length - at, at_end, &run.record)) == MR_RECORD) {
		assert_true(run.record.length > 0 && run.record.length <= length - at);
		encode_again(&run);
		at += (size_t)run.record.length;
		run.records++;
	}
	assert_memory_equal(run.encoded.data, window, at);
	return &run;
}

struct run *run_valid(enum mr_role role, prepare_function *prepare, const struct stream *stream)
{
	struct run *run = run_stream(role, prepare, stream, stream->length, true);

	if (run->result == MR_FAILED)
		fail_msg("%s: expected %s, found %s", mr_rule_id(run->decoder.error.rule), run->decoder.error.expected,
			 run->decoder.error.found);
	assert_int_equal(run->result, MR_DONE);
	assert_int_equal(run->encoded.length, stream->length);
	return run;
}

void expect_only(enum mr_role role, prepare_function *prepare, const struct stream *stream, enum mr_rule rule,
		 bool fatal)
{
	const struct run *run = run_stream(role, prepare, stream, stream->length, true);

	if (run->seen.total != 1 || run->seen.count[rule] != 1)
		fail_msg("%u findings instead of one %s, the last %s: expected %s, found %s", run->seen.total,
			 mr_rule_id(rule), run->seen.total ? mr_rule_id(run->seen.last.rule) : "none",
			 run->seen.last.expected, run->seen.last.found);
	assert_int_equal(run->result, fatal ? MR_FAILED : MR_DONE);
}

void check_every_prefix(enum mr_role role, prepare_function *prepare, const struct stream *stream)
{
	unsigned records = 0;

	run_valid(role, prepare, stream);
	for (size_t length = 0; length < stream->length; length++) {
		const struct run *run = run_stream(role, prepare, stream, length, false);
		uint64_t border;

		assert_int_equal(run->result, MR_MORE);
		assert_true(run->decoder.wanted > length - run->decoder.offset);
		assert_true(run->decoder.wanted <= stream->length - run->decoder.offset);
		assert_true(run->records == records || run->records == records + 1);
		records = run->records;
		border = run->decoder.offset;

		run = run_stream(role, prepare, stream, length, true);
		assert_int_equal(run->records, records);
		if (run->result == MR_DONE) {
			assert_int_equal(border, length);
			continue;
		}
		assert_int_equal(run->result, MR_FAILED);
		assert_int_equal(run->decoder.error.rule, MR_STR_026);
		assert_int_equal(run->decoder.error.offset, length);
		assert_true(border < length || records == 0);
	}
}

void check_damaged(enum mr_role role, prepare_function *prepare, const struct stream *stream, unsigned rounds)
{
	static struct stream damaged;
	struct random random = {0x9e3779b97f4a7c15};

	for (unsigned round = 0; round < rounds; round++) {
		const unsigned changes = (unsigned)random_below(&random, 4);

		damaged.length = stream->length;
		memcpy(damaged.data, stream->data, stream->length);
		for (unsigned i = 0; i <= changes; i++)
			damaged.data[random_below(&random, stream->length)] = (uint8_t)random_next(&random);
		if (round % 2)
			damaged.length = (size_t)random_below(&random, stream->length);
		run_stream(role, prepare, &damaged, damaged.length, round % 3 != 0);
	}
	for (unsigned round = 0; round < rounds; round++) {
		damaged.length = (size_t)random_below(&random, 600);
		random_fill(&random, damaged.data, damaged.length);
		run_stream(role, prepare, &damaged, damaged.length, true);
	}
}
