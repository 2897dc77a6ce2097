/* test_encode.c: what must hold for every stream of every role: encoding, windows, ends, damage. */
#include "observe.h"

#include <string.h>

#include "generate.h"
#include "watched.h"

enum { NOISE_MAX = 300 };

/* Valgrind takes thirty times as long. */
#define STREAMS         (RUNNING_ON_VALGRIND ? 4u : 24u)
#define DAMAGED_STREAMS STREAMS
#define DAMAGES         (RUNNING_ON_VALGRIND ? 25u : 100u)
#define NOISES          (RUNNING_ON_VALGRIND ? 100u : 1000u)

static struct observation whole, other;

static struct mr_bytes bytes_of(const struct build *build)
{
	return (struct mr_bytes){build->bytes, build->length};
}

/* Each role has its own row of seeds, so that a new role or count leaves the others' streams alone. */
static struct random seeded(enum mr_role role, unsigned round)
{
	return (struct random){UINT64_C(0x9e3779b97f4a7c15) * ((uint64_t)role * 1000 + round + 1)};
}

static void valid_streams_encode_to_themselves(void **state)
{
	(void)state;
	for (enum mr_role role = 0; role < MR_ROLE_COUNT; role++)
		for (unsigned i = 0; i < 4 * STREAMS; i++) {
			struct random random = seeded(role, i);
			struct generated generated;

			generate(&generated, &random, role);
			observe(&whole, &generated.context, role, bytes_of(&generated.stream), FEED_WHOLE);
			observe_valid(&whole);
			build_free(&generated.stream);
		}
}

static void windows_make_no_difference(void **state)
{
	(void)state;
	for (enum mr_role role = 0; role < MR_ROLE_COUNT; role++)
		for (unsigned i = 0; i < STREAMS; i++) {
			struct random random = seeded(role, i);
			struct generated generated;

			generate(&generated, &random, role);
			observe(&whole, &generated.context, role, bytes_of(&generated.stream), FEED_WHOLE);
			observe(&other, &generated.context, role, bytes_of(&generated.stream), FEED_BYTEWISE);
			observe_equal(&whole, &other);
			observe(&other, &generated.context, role, bytes_of(&generated.stream), FEED_WANTED);
			observe_equal(&whole, &other);
			build_free(&generated.stream);
		}
}

/* ---- Ends ---- */

/*
 * Whether a stream may end at `length`: behind the end mark, elsewhere than on a main channel between any two records.
 */
static bool may_end(const struct observation *full, enum mr_role role, size_t length)
{
	const bool main = role == MR_ROLE_MAIN || role == MR_ROLE_RECOVERY;
	bool ended = !main && role != MR_ROLE_MULTIFD;

	if (length == 0)
		return ended;
	for (size_t i = 0; i < full->record_count; i++) {
		const struct mr_record *record = &full->records[i].record;

		ended = ended || record->kind == (main ? MR_EOF : MR_MULTIFD_INIT);
		if (record->offset + record->length == length && ended)
			return true;
	}
	return false;
}

/* Device sections are delimited by what follows them, so only the records before the first are the same for sure. */
static size_t certain_records(const struct observation *full)
{
	size_t count = 0;

	while (count < full->record_count && full->records[count].record.kind != MR_SECTION_FULL)
		count++;
	return count;
}

static void check_cut(const struct observation *full, const struct observation *cut, enum mr_role role, size_t length)
{
	const size_t certain = certain_records(full);

	for (size_t i = 0; i < cut->record_count && i < certain; i++) {
		assert_int_equal(full->records[i].record.kind, cut->records[i].record.kind);
		assert_int_equal(full->records[i].record.length, cut->records[i].record.length);
		assert_true(full->records[i].digest == cut->records[i].digest);
	}
	if (cut->record_count < certain) {
		const struct mr_record *next = &full->records[cut->record_count].record;

		/* What stands behind a block's length tells whether a page size does. */
		assert_true(length < next->offset + next->length + (next->kind == MR_RAM_BLOCK ? 8 : 0));
	}
	if (may_end(full, role, length)) {
		assert_int_equal(cut->result, MR_DONE);
		return;
	}
	assert_int_equal(cut->result, MR_FAILED);
	assert_int_equal(cut->decoder.error.rule, MR_STR_026);
	assert_int_equal(cut->decoder.error.offset, length);
}

static void each_cut_is_noticed(void **state)
{
	(void)state;
	for (enum mr_role role = 0; role < MR_ROLE_COUNT; role++)
		for (unsigned i = 0; i < STREAMS / 2; i++) {
			struct random random = seeded(role, i);
			struct generated generated;

			generate(&generated, &random, role);
			observe(&whole, &generated.context, role, bytes_of(&generated.stream), FEED_WHOLE);
			for (size_t length = 0; length < generated.stream.length; length++) {
				observe(&other, &generated.context, role,
					(struct mr_bytes){generated.stream.bytes, length}, FEED_WHOLE);
				check_cut(&whole, &other, role, length);
			}
			build_free(&generated.stream);
		}
}

/* ---- Damage ---- */

/* One to three of: another byte, a bit, a run that is gone, a run that stands twice, an interesting number. */
static void damage(struct build *stream, struct random *random)
{
	static const uint8_t interesting[] = {0x00, 0x01, 0x04, 0x08, 0x7e, 0x7f, 0x80, 0xff};

	for (uint64_t left = 1 + random_below(random, 3); left > 0 && stream->length > 0; left--) {
		const size_t at = (size_t)random_below(random, stream->length);
		const size_t span = 1 + (size_t)random_below(random, 16);
		const size_t count = span < stream->length - at ? span : stream->length - at;
		uint8_t copy[16];

		switch (random_below(random, 5)) {
		case 0:
			stream->bytes[at] = (uint8_t)random_next(random);
			break;
		case 1:
			stream->bytes[at] ^= (uint8_t)(1u << random_below(random, 8));
			break;
		case 2:
			memmove(stream->bytes + at, stream->bytes + at + count, stream->length - at - count);
			stream->length -= count;
			break;
		case 3:
			memcpy(copy, stream->bytes + at, count);
			build_room(stream, count);
			memmove(stream->bytes + at + count, stream->bytes + at, stream->length - at - count);
			memcpy(stream->bytes + at, copy, count);
			break;
		default:
			stream->bytes[at] = interesting[random_below(random, sizeof(interesting))];
			break;
		}
	}
}

static void damaged_streams_are_read_alike_by_all_windows(void **state)
{
	(void)state;
	for (enum mr_role role = 0; role < MR_ROLE_COUNT; role++)
		for (unsigned i = 0; i < DAMAGED_STREAMS * DAMAGES; i++) {
			struct random random = seeded(role, i % DAMAGED_STREAMS);
			struct generated generated;

			generate(&generated, &random, role);
			random = seeded(role, 5000 + i);
			damage(&generated.stream, &random);
			observe(&whole, &generated.context, role, bytes_of(&generated.stream), FEED_WHOLE);
			observe(&other, &generated.context, role, bytes_of(&generated.stream),
				i % 4 ? FEED_WANTED : FEED_BYTEWISE);
			observe_equal(&whole, &other);
			build_free(&generated.stream);
		}
}

static void noise_is_survived(void **state)
{
	(void)state;
	for (enum mr_role role = 0; role < MR_ROLE_COUNT; role++)
		for (unsigned i = 0; i < NOISES; i++) {
			struct random random = seeded(role, 20000 + i);
			uint8_t noise[NOISE_MAX];
			const size_t length = (size_t)random_below(&random, NOISE_MAX);

			random_fill(&random, noise, length);
			/* Half of it made of bytes that mean something. */
			for (size_t at = 0; i % 2 && at < length; at++)
				noise[at] = noise[at] & 0x80 ? noise[at] & 0x0f : 0;
			observe(&whole, NULL, role, (struct mr_bytes){noise, length}, FEED_WHOLE);
			observe(&other, NULL, role, (struct mr_bytes){noise, length}, FEED_BYTEWISE);
			observe_equal(&whole, &other);
		}
}

/* The middle of a stream, where a decoder of noise alone never comes: noise behind a valid beginning. */
static void noise_behind_a_beginning_is_survived(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4 * NOISES; i++) {
		struct random random = seeded(MR_ROLE_MAIN, 40000 + i);
		struct generated generated;
		size_t at;

		generate(&generated, &random, MR_ROLE_MAIN);
		at = (size_t)random_below(&random, generated.stream.length);
		for (; at < generated.stream.length; at++)
			generated.stream.bytes[at] = (uint8_t)random_next(&random) & 0x1f;
		observe(&whole, &generated.context, MR_ROLE_MAIN, bytes_of(&generated.stream), FEED_WHOLE);
		observe(&other, &generated.context, MR_ROLE_MAIN, bytes_of(&generated.stream), FEED_WANTED);
		observe_equal(&whole, &other);
		build_free(&generated.stream);
	}
}

/* ---- The encoder itself ---- */

static void a_buffer_that_is_too_small_gets_nothing(void **state)
{
	struct build stream = {0};
	uint8_t out[8];

	(void)state;
	build_header(&stream);
	observe(&whole, NULL, MR_ROLE_MAIN, bytes_of(&stream), FEED_WHOLE);
	assert_int_equal(whole.record_count, 1);
	for (size_t capacity = 0; capacity < 8; capacity++)
		assert_int_equal(mr_encode(&whole.records[0].record, out, capacity), 0);
	assert_int_equal(mr_encode(&whole.records[0].record, out, 8), 8);
	assert_memory_equal(out, stream.bytes, 8);
	build_free(&stream);
}

static void add_field(void *argument, const struct mr_field *field)
{
	uint64_t *offset = argument;

	assert_int_equal(field->offset, *offset);
	assert_true(!field->note || field->length == 0);
	assert_non_null(field->name);
	if (!field->note && (field->type == MR_FIELD_TEXT || field->type == MR_FIELD_BYTES))
		assert_int_equal(field->length, field->bytes.length);
	*offset += field->length;
}

static void fields_tile_each_record(void **state)
{
	(void)state;
	for (enum mr_role role = 0; role < MR_ROLE_COUNT; role++)
		for (unsigned i = 0; i < STREAMS; i++) {
			struct random random = seeded(role, i);
			struct generated generated;

			generate(&generated, &random, role);
			observe(&whole, &generated.context, role, bytes_of(&generated.stream), FEED_WHOLE);
			for (size_t at = 0; at < whole.record_count; at++) {
				uint64_t offset = 0;

				mr_visit_fields(&whole.records[at].record, add_field, &offset);
				assert_int_equal(offset, whole.records[at].record.length);
			}
			build_free(&generated.stream);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(valid_streams_encode_to_themselves),
		cmocka_unit_test(windows_make_no_difference),
		cmocka_unit_test(each_cut_is_noticed),
		cmocka_unit_test(damaged_streams_are_read_alike_by_all_windows),
		cmocka_unit_test(noise_is_survived),
		cmocka_unit_test(noise_behind_a_beginning_is_survived),
		cmocka_unit_test(a_buffer_that_is_too_small_gets_nothing),
		cmocka_unit_test(fields_tile_each_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
