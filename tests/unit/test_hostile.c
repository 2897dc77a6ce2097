/* test_hostile.c: every vector with each bit flipped and each number at its ends, and streams that ask for more work
 * than they have bytes: nothing crashes, everything ends, and what comes out is bounded. */
#include "hostile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
	HEAD = 512,    /* bytes of each channel of which every bit is flipped */
	LONG_RUN = 64, /* behind them: a longer run of bytes is payload */
};

static void read_mutated(const struct mr_vector *vector, unsigned channel, size_t offset, const char *how)
{
	hostile_read(vector, NULL);
	if (!hostile_is_bounded())
		fail_msg("%s, channel %u, byte %zu %s: %zu bytes gave %zu records, %zu findings%s", vector->id, channel,
			 offset, how, hostile.bytes, hostile.records, hostile.findings,
			 hostile.broken ? ", records that do not tile or texts of several lines" : "");
}

/* One in so many mutations is tried where each costs more: which ones, is the same in each run. */
static unsigned sampling(void)
{
	if (RUNNING_ON_VALGRIND)
		return 41;
	return SANITIZED ? 11 : 1;
}

static bool is_sampled(void)
{
	static unsigned count;

	return count++ % sampling() == 0;
}

/* ---- Bits and numbers ---- */

static void flip_bits(struct mr_vector *vector, unsigned channel, size_t from, size_t end)
{
	for (size_t at = from; at < end; at++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			uint8_t *byte = &vector->channels[channel].bytes[at];

			if (!is_sampled())
				continue;
			*byte ^= (uint8_t)(1u << bit);
			read_mutated(vector, channel, at, "with a bit flipped");
			*byte ^= (uint8_t)(1u << bit);
		}
	}
}

static void flip_vector(struct mr_vector *vector)
{
	for (unsigned i = 0; i < vector->channel_count; i++) {
		const size_t length = vector->channels[i].length;

		flip_bits(vector, i, 0, length < HEAD ? length : HEAD);
	}
	hostile_find_targets(vector);
	for (size_t i = 0; i < hostile_target_count; i++) {
		const struct hostile_target target = hostile_targets[i];
		const size_t from = target.offset > HEAD ? target.offset : HEAD;

		if (target.length <= LONG_RUN && target.offset + target.length > from)
			flip_bits(vector, target.channel, from, target.offset + target.length);
	}
}

static void test_bits(void **state)
{
	(void)state;
	hostile_each_vector(flip_vector);
}

static void set_numbers(struct mr_vector *vector)
{
	const uint64_t extremes[] = {0, 1, UINT64_MAX, UINT64_MAX - 1};

	hostile_find_targets(vector);
	for (size_t i = 0; i < hostile_target_count; i++) {
		const struct hostile_target target = hostile_targets[i];
		uint8_t *at = vector->channels[target.channel].bytes + target.offset;
		uint8_t before[8];

		if (!target.number || target.length > sizeof(before))
			continue;
		memcpy(before, at, target.length);
		for (size_t j = 0; j < sizeof(extremes) / sizeof(extremes[0]); j++) {
			if (!is_sampled())
				continue;
			hostile_set_number(at, target.length, extremes[j]);
			read_mutated(vector, target.channel, target.offset, "set to an extreme");
		}
		memcpy(at, before, target.length);
	}
}

static void test_numbers(void **state)
{
	(void)state;
	hostile_each_vector(set_numbers);
}

/* ---- Work ---- */

enum { STREAM_MAX = 4 << 20 };

static uint8_t stream[STREAM_MAX];
static size_t stream_length;

static void put(const void *bytes, size_t length)
{
	assert_true(length <= STREAM_MAX - stream_length);
	memcpy(stream + stream_length, bytes, length);
	stream_length += length;
}

static void put_number(uint64_t number, size_t width)
{
	uint8_t bytes[8];

	hostile_set_number(bytes, width, number);
	put(bytes, width);
}

static void put_name(const char *name)
{
	put_number(strlen(name), 1);
	put(name, strlen(name));
}

static void begin_stream(void)
{
	stream_length = 0;
	put("QEVM", 4);
	put_number(3, 4);
	put_number(7, 1);
	put_number(2, 4);
	put("pc", 2);
}

static void put_section(unsigned type, uint32_t id, const char *name, uint32_t version)
{
	put_number(type, 1);
	put_number(id, 4);
	put_name(name);
	put_number(0, 4);
	put_number(version, 4);
}

static void put_footer(uint32_t id)
{
	put_number(0x7e, 1);
	put_number(id, 4);
}

/* A section ram whose block list is what the function puts. */
static void put_ram_start(uint64_t total)
{
	put_section(1, 2, "ram", 4);
	put_number(total | MR_RAM_FLAG_SIZE, 8);
}

static void put_ram_end(void)
{
	put_number(MR_RAM_FLAG_EOS, 8);
	put_footer(2);
}

/* Reads the stream in far less time than a quadratic reader would need. */
static void expect_little_work(const char *what)
{
	struct mr_vector vector = {.context.multifd_method = MR_METHOD_UNKNOWN, .channel_count = 1};
	const clock_t begin = clock();
	double seconds;

	vector.channels[0] = (struct mr_vector_channel){MR_ROLE_MAIN, 0, false, stream, stream_length};
	hostile_read(&vector, NULL);
	seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
	if (!hostile_is_bounded())
		fail_msg("%s: %zu bytes gave %zu records, %zu findings", what, hostile.bytes, hostile.records,
			 hostile.findings);
	if (seconds > (SANITIZED ? 40 : 4))
		fail_msg("%s: %.1f seconds for %zu bytes", what, seconds, stream_length);
}

/* Ids that all want the same few places in a table of 2^20 places. */
static void test_crowded_ids(void **state)
{
	const uint32_t factor = 2654435761u, mask = (1u << 20) - 1;
	uint32_t inverse = 1;

	(void)state;
	while (inverse * factor != 1)
		inverse *= 2 - factor * inverse;
	begin_stream();
	for (uint32_t i = 0; i < 80000; i++) {
		const uint32_t id = ((i >> 12) * inverse & mask) | i << 20;

		put_section(4, id, "a", 0);
		put_footer(id);
	}
	put_number(0, 1);
	expect_little_work("device sections whose ids crowd");
}

/* Each section that interrupts the devices makes the description worth another look. */
static void test_many_stretches(void **state)
{
	static const char first[] = "{\"devices\": [{\"name\": \"a\", \"instance_id\": 0, \"size\": 0}";
	static const char more[] = ", {\"name\": \"b\", \"instance_id\": 0, \"size\": 0}";
	const unsigned devices = 8000;

	(void)state;
	begin_stream();
	put_ram_start(0);
	put_ram_end();
	for (unsigned i = 0; i < 10000; i++) {
		put_section(4, 7, "a", 0);
		put_footer(7);
		put_number(2, 1);
		put_number(2, 4);
		put_ram_end();
	}
	put_number(0x0006, 2);
	put_number(sizeof(first) - 1 + devices * (sizeof(more) - 1) + 2, 4);
	put(first, sizeof(first) - 1);
	for (unsigned i = 0; i < devices; i++)
		put(more, sizeof(more) - 1);
	put("]}", 2);
	expect_little_work("device sections between other sections");
}

/* QEMU would read such a list for ever. */
static void test_endless_block_list(void **state)
{
	(void)state;
	begin_stream();
	put_ram_start(4096);
	for (unsigned i = 0; i < 200000; i++) {
		put_name("a");
		put_number(0, 8);
	}
	expect_little_work("blocks of length 0");
	assert_int_equal(hostile.seen[hostile.findings - 1].rule, MR_STR_027);
	assert_true(hostile.records < 2000);
}

/* 16 bytes of range stand for 2^28 pages. */
static void test_endless_discards(void **state)
{
	const uint64_t length = UINT64_C(1) << 40;

	(void)state;
	begin_stream();
	put_number(0x08000300, 4);
	put_number(0x10, 1);
	put_number(4096, 8);
	put_number(4096, 8);
	put_ram_start(length);
	put_name("m");
	put_number(length, 8);
	put_ram_end();
	put_number(8, 1);
	put_number(6, 2);
	put_number(4 + 4000 * 16, 2);
	put_number(0, 1);
	put_name("m");
	put_number(0, 1);
	for (unsigned i = 0; i < 4000; i++) {
		put_number(0, 8);
		put_number(length, 8);
	}
	expect_little_work("discards of a whole block");
}

int main(void)
{
	const struct CMUnitTest always[] = {
		cmocka_unit_test(test_bits),
		cmocka_unit_test(test_numbers),
	};
	const struct CMUnitTest work[] = {
		cmocka_unit_test(test_crowded_ids),
		cmocka_unit_test(test_many_stretches),
		cmocka_unit_test(test_endless_block_list),
		cmocka_unit_test(test_endless_discards),
	};
	int failed = cmocka_run_group_tests(always, NULL, NULL);

	/* what takes a second takes minutes there, and time is all that is measured */
	if (!RUNNING_ON_VALGRIND)
		failed += cmocka_run_group_tests(work, NULL, NULL);
	return failed != 0;
}
