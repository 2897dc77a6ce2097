/* test_pattern.c: each kind of working set: where it goes, how often, and the first touches of a few seeds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "random.h"
#include "sim/world/pattern.h"

enum { FIRST = 1000, PAGES_MAX = 4096 };

static const struct mr_touch trace[] = {{3, true, 0}, {0, false, 5}, {3, false, 0}, {2, true, 1}};

/* Over `pages` pages, with all other numbers small. */
static struct mr_pattern_config config_of(enum mr_pattern_kind kind, uint64_t pages)
{
	return (struct mr_pattern_config){
		.kind = kind,
		.first = FIRST,
		.pages = pages,
		.write_permille = 300,
		.stride = 7,
		.working_set = pages < 10 ? pages : 10,
		.phase = 50,
		.lag = pages < 5 ? 0 : 5,
		.burst = 4,
		.pause = 9,
		.trace = trace,
		.trace_length = pages < 4 ? 0 : sizeof(trace) / sizeof(trace[0]),
	};
}

static struct mr_pattern start(const struct mr_pattern_config *config, uint64_t seed, uint32_t index)
{
	struct mr_pattern pattern;

	/* nothing may depend on what was there */
	memset(&pattern, 0xaa, sizeof(pattern));
	mr_pattern_init(&pattern, config, seed, index);
	return pattern;
}

static struct mr_touch next(struct mr_pattern *pattern)
{
	struct mr_touch touch;

	memset(&touch, 0xaa, sizeof(touch));
	assert_true(mr_pattern_next(pattern, &touch));
	return touch;
}

static uint64_t next_page(struct mr_pattern *pattern)
{
	return next(pattern).page - FIRST;
}

/* ---- Of every kind ---- */

static struct mr_pattern_config random_config(struct random *random, enum mr_pattern_kind kind)
{
	const unsigned bits = (unsigned)random_below(random, 54);
	struct mr_pattern_config config = config_of(kind, random_below(random, UINT64_C(1) << bits) + 1);

	config.first = random_below(random, UINT64_C(1) << 53);
	config.write_permille = (uint32_t)random_below(random, 1001);
	config.stride = random_below(random, 2 * config.pages) + 1;
	if (random_below(random, 8) == 0)
		config.stride = UINT64_MAX;
	config.working_set = random_below(random, config.pages) + 1;
	config.phase = random_below(random, 100) + 1;
	config.lag = random_below(random, config.pages);
	config.burst = (uint32_t)random_below(random, 10) + 1;
	config.pause = (uint32_t)random_below(random, 10) + 1;
	return config;
}

static void in_range_and_again(void **state)
{
	struct random random = {31};

	(void)state;
	for (unsigned round = 0; round < 3000; round++) {
		const enum mr_pattern_kind kind = (enum mr_pattern_kind)(1 + round % (MR_PATTERN_KIND_COUNT - 1));
		const struct mr_pattern_config config = random_config(&random, kind);
		const uint64_t seed = random_next(&random);
		const uint32_t index = (uint32_t)random_below(&random, 3);
		struct mr_pattern pattern = start(&config, seed, index), same = start(&config, seed, index), copy;

		if (kind == MR_PATTERN_TRACE && config.trace_length == 0)
			continue;
		for (unsigned i = 0; i < 60; i++) {
			const struct mr_touch touch = next(&pattern), touch_same = next(&same);

			if (i == 30)
				copy = pattern;
			if (touch.page < config.first || touch.page - config.first >= config.pages)
				fail_msg("%s: page %llu of %llu", mr_pattern_name(kind), (unsigned long long)touch.page,
					 (unsigned long long)config.pages);
			assert_int_equal(touch.page, touch_same.page);
			assert_int_equal(touch.write, touch_same.write);
			assert_int_equal(touch.pauses, touch_same.pauses);
			if (kind != MR_PATTERN_BURSTS && kind != MR_PATTERN_TRACE)
				assert_int_equal(touch.pauses, 0);
		}
		/* `same` is where `pattern` is; what was copied on the way comes to the same place */
		for (unsigned i = 31; i < 60; i++)
			next(&copy);
		for (unsigned i = 0; i < 30; i++)
			assert_int_equal(next(&copy).page, next(&same).page);
	}
}

/* So many touches reach every page of the range. */
static void cover(enum mr_pattern_kind kind, uint64_t pages, unsigned touches, uint32_t index)
{
	const struct mr_pattern_config config = config_of(kind, pages);
	struct mr_pattern pattern = start(&config, 5, index);
	bool seen[PAGES_MAX] = {false};
	uint64_t count = 0;

	for (unsigned i = 0; i < touches; i++) {
		const uint64_t page = next_page(&pattern);

		count += !seen[page];
		seen[page] = true;
	}
	if (count != pages)
		fail_msg("%s: %llu of %llu pages in %u touches", mr_pattern_name(kind), (unsigned long long)count,
			 (unsigned long long)pages, touches);
}

static void every_page_is_reached(void **state)
{
	static const uint64_t sizes[] = {1, 2, 3, 7, 8, 64, 100, 257};

	(void)state;
	for (uint32_t index = 0; index < 3; index++)
		for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			const uint64_t pages = sizes[i];

			/* in order: in just so many touches */
			cover(MR_PATTERN_SEQUENTIAL, pages, (unsigned)pages, index);
			cover(MR_PATTERN_PRODUCER, pages, (unsigned)pages, index);
			cover(MR_PATTERN_CONSUMER, pages, (unsigned)pages, index);
			cover(MR_PATTERN_STRIDED, pages, (unsigned)pages, index);
			/* by chance */
			cover(MR_PATTERN_RANDOM, pages, 12000, index);
			cover(MR_PATTERN_BURSTS, pages, 12000, index);
			cover(MR_PATTERN_ZIPF, pages, 60000, index);
			cover(MR_PATTERN_PHASED, pages, 12000, index);
		}
	/* a random walk, for which a hundred pages are far */
	cover(MR_PATTERN_STACK, 20, 1000000, 0);
}

static void writes_as_told(void **state)
{
	(void)state;
	for (unsigned kind = MR_PATTERN_SEQUENTIAL; kind < MR_PATTERN_TRACE; kind++)
		for (unsigned permille = 0; permille <= 1000; permille += 250) {
			struct mr_pattern_config config = config_of((enum mr_pattern_kind)kind, 100);
			unsigned expected = permille * 10, writes = 0;
			struct mr_pattern pattern;

			config.write_permille = permille;
			pattern = start(&config, 6, 0);
			for (unsigned i = 0; i < 10000; i++)
				writes += next(&pattern).write;
			if (kind == MR_PATTERN_PRODUCER || kind == MR_PATTERN_CONSUMER)
				expected = kind == MR_PATTERN_PRODUCER ? 10000 : 0;
			if (expected == 0 || expected == 10000)
				assert_int_equal(writes, expected);
			else
				assert_in_range(writes, expected - 250, expected + 250);
		}
}

/* Whether two begin in the same way. */
static bool are_alike(const struct mr_pattern_config *config, uint64_t seed_a, uint32_t a, uint64_t seed_b, uint32_t b)
{
	struct mr_pattern one = start(config, seed_a, a), other = start(config, seed_b, b);

	for (unsigned i = 0; i < 100; i++)
		if (next(&one).page != next(&other).page)
			return false;
	return true;
}

static void vcpus_go_their_own_ways(void **state)
{
	(void)state;
	for (unsigned kind = MR_PATTERN_SEQUENTIAL; kind < MR_PATTERN_TRACE; kind++) {
		const struct mr_pattern_config config = config_of((enum mr_pattern_kind)kind, PAGES_MAX);
		const bool by_chance = kind == MR_PATTERN_RANDOM || kind == MR_PATTERN_ZIPF ||
				       kind == MR_PATTERN_PHASED || kind == MR_PATTERN_STACK ||
				       kind == MR_PATTERN_BURSTS;

		assert_false(are_alike(&config, 1, 0, 1, 1));
		assert_false(are_alike(&config, 1, 1, 1, 2));
		assert_int_equal(are_alike(&config, 1, 0, 2, 0), !by_chance);
	}
}

static void nothing_to_do(void **state)
{
	const struct mr_pattern_config idle = {.kind = MR_PATTERN_IDLE}, empty = {.kind = MR_PATTERN_TRACE, .pages = 1};
	struct mr_pattern pattern = start(&idle, 1, 2);
	struct mr_touch touch;

	(void)state;
	assert_false(mr_pattern_next(&pattern, &touch));
	assert_false(mr_pattern_next(&pattern, &touch));
	pattern = start(&empty, 1, 2);
	assert_false(mr_pattern_next(&pattern, &touch));
}

/* ---- Hot spots ---- */

static unsigned seen[PAGES_MAX];

static void count_touches(uint64_t pages, uint64_t seed, unsigned touches)
{
	const struct mr_pattern_config config = config_of(MR_PATTERN_ZIPF, pages);

	memset(seen, 0, sizeof(seen));
	/* the vCPUs share their hot spots */
	for (uint32_t index = 0; index < 4; index++) {
		struct mr_pattern pattern = start(&config, seed, index);

		for (unsigned i = 0; i < touches / 4; i++)
			seen[next_page(&pattern)]++;
	}
}

static int hotter(const void *a, const void *b)
{
	const unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;

	return (x < y) - (x > y);
}

/* Those of `sum` touches that ranks `from` to `to` of `pages` must get, in parts of a million. */
static uint64_t share_of_ranks(uint64_t pages, uint64_t from, uint64_t to)
{
	uint64_t all = 0, some = 0;

	for (uint64_t rank = 1; rank <= pages; rank++) {
		all += UINT64_C(1000000000000) / rank;
		if (rank >= from && rank <= to)
			some += UINT64_C(1000000000000) / rank;
	}
	return some / (all / 1000000);
}

static void hot_spots_are_by_rank(void **state)
{
	static const uint64_t sizes[] = {2, 3, 10, 100, 1000, 1024, 1025, 4000};
	const unsigned touches = 400000;

	(void)state;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		const uint64_t pages = sizes[i];

		count_touches(pages, i, touches);
		qsort(seen, pages, sizeof(seen[0]), hotter);
		for (uint64_t from = 1; from <= pages; from *= 2) {
			const uint64_t to = 2 * from - 1 < pages ? 2 * from - 1 : pages;
			const uint64_t expected = share_of_ranks(pages, from, to) * touches / 1000000;
			uint64_t found = 0;

			for (uint64_t rank = from; rank <= to; rank++)
				found += seen[rank - 1];
			/* within 3 %, and five standard deviations of a small number */
			if (found + expected * 3 / 100 + 400 < expected || found > expected + expected * 3 / 100 + 400)
				fail_msg("%llu pages, ranks %llu to %llu: expected %llu touches, found %llu",
					 (unsigned long long)pages, (unsigned long long)from, (unsigned long long)to,
					 (unsigned long long)expected, (unsigned long long)found);
		}
	}
}

/* The hottest pages lie anywhere, and elsewhere for another seed. */
static void hot_spots_are_scattered(void **state)
{
	const uint64_t pages = 1000;
	unsigned in_first_half = 0, near = 0;
	uint64_t before = UINT64_MAX;

	(void)state;
	for (uint64_t seed = 0; seed < 60; seed++) {
		uint64_t hottest = 0, second;

		count_touches(pages, seed, 2000);
		for (uint64_t page = 1; page < pages; page++)
			if (seen[page] > seen[hottest])
				hottest = page;
		second = hottest == 0;
		for (uint64_t page = 0; page < pages; page++)
			if (page != hottest && seen[page] > seen[second])
				second = page;
		assert_true(hottest != before);
		before = hottest;
		in_first_half += hottest < pages / 2;
		near += hottest - second + 10 <= 20;
	}
	assert_in_range(in_first_half, 15, 45);
	assert_in_range(near, 0, 6);
}

/* ---- The others, each for itself ---- */

static void sequential_goes_round(void **state)
{
	const struct mr_pattern_config config = config_of(MR_PATTERN_SEQUENTIAL, 10);
	struct mr_pattern pattern = start(&config, 1, 0);

	(void)state;
	for (unsigned i = 0; i < 35; i++)
		assert_int_equal(next_page(&pattern), i % 10);
	pattern = start(&config, 1, 3);
	for (uint64_t i = 0, before = next_page(&pattern); i < 35; i++)
		assert_int_equal(next_page(&pattern), (before + i + 1) % 10);
}

static void strided_takes_each_page_once(void **state)
{
	static const uint64_t expected[] = {0, 7, 14, 1, 8, 15, 2, 9, 3, 10, 4, 11, 5, 12, 6, 13, 0, 7};
	static const uint64_t strides[] = {1, 2, 3, 7, 15, 16, 17, 100, UINT64_MAX};
	struct mr_pattern_config config = config_of(MR_PATTERN_STRIDED, 16);
	struct mr_pattern pattern = start(&config, 1, 0);

	(void)state;
	for (unsigned i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
		assert_int_equal(next_page(&pattern), expected[i]);
	for (unsigned i = 0; i < 27; i++) {
		config.stride = strides[i / 3];
		pattern = start(&config, 1, i % 3);
		for (unsigned round = 0; round < 3; round++) {
			unsigned visited = 0;

			for (unsigned touch = 0; touch < 16; touch++)
				visited |= 1U << next_page(&pattern);
			assert_int_equal(visited, 0xffff);
		}
	}
}

static void phases_move_on(void **state)
{
	const struct mr_pattern_config config = config_of(MR_PATTERN_PHASED, 64);
	struct mr_pattern pattern = start(&config, 1, 0), other = start(&config, 1, 1);

	(void)state;
	for (uint64_t phase = 0; phase < 20; phase++) {
		unsigned visited = 0;

		for (unsigned i = 0; i < 50; i++) {
			const uint64_t place = (next_page(&pattern) + 640 - phase * 10) % 64;

			assert_in_range(place, 0, 9);
			visited |= 1U << place;
			assert_in_range((next_page(&other) + 640 - phase * 10) % 64, 0, 9);
		}
		/* not just a corner of the set */
		assert_true(__builtin_popcount(visited) >= 8);
	}
}

static void stack_goes_up_and_down(void **state)
{
	struct mr_pattern_config config = config_of(MR_PATTERN_STACK, 1000);
	struct mr_pattern pattern = start(&config, 1, 0);
	uint64_t before = next_page(&pattern);
	unsigned up = 0, down = 0, far = 0;
	bool visited[1000] = {false};
	unsigned count = 0;

	(void)state;
	for (unsigned i = 0; i < 2000; i++) {
		const uint64_t page = next_page(&pattern), step = (page + 1000 - before) % 1000;

		up += step == 1;
		down += step == 999;
		far += step > 1 && step < 999;
		count += !visited[page];
		visited[page] = true;
		before = page;
	}
	assert_in_range(up, 600, 1100);
	assert_in_range(down, 600, 1100);
	/* where both the top and the place in the set moved */
	assert_in_range(far, 1, 40);
	assert_in_range(count, config.working_set, 60);
}

static void consumer_follows_producer(void **state)
{
	const struct mr_pattern_config producer = config_of(MR_PATTERN_PRODUCER, 20);
	const struct mr_pattern_config consumer = config_of(MR_PATTERN_CONSUMER, 20);

	(void)state;
	for (uint32_t index = 0; index < 4; index++) {
		struct mr_pattern writes = start(&producer, 1, index), reads = start(&consumer, 2, index);

		for (unsigned i = 0; i < 100; i++) {
			const struct mr_touch written = next(&writes), read = next(&reads);

			assert_true(written.write);
			assert_false(read.write);
			assert_int_equal((written.page - FIRST + 20 - (read.page - FIRST)) % 20, 5);
		}
	}
}

static void bursts_pause(void **state)
{
	const struct mr_pattern_config config = config_of(MR_PATTERN_BURSTS, 100);
	struct mr_pattern pattern = start(&config, 1, 0);

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(next(&pattern).pauses, i > 0 && i % 4 == 0 ? 9 : 0);
}

static void trace_repeats(void **state)
{
	const struct mr_pattern_config config = config_of(MR_PATTERN_TRACE, 4);
	struct mr_pattern pattern = start(&config, 1, 7);

	(void)state;
	for (unsigned i = 0; i < 11; i++) {
		const struct mr_touch touch = next(&pattern);

		assert_int_equal(touch.page, FIRST + trace[i % 4].page);
		assert_int_equal(touch.write, trace[i % 4].write);
		assert_int_equal(touch.pauses, trace[i % 4].pauses);
	}
}

/* ---- What may not change ---- */

/* Recordings name a seed alone: whatever changes these numbers makes each of them another one. */
static void known_touches(void **state)
{
	static const uint64_t expected[MR_PATTERN_KIND_COUNT] = {
		0,
		UINT64_C(0xe7e16eb282d33b45),
		UINT64_C(0x64dd3a7e15ed5b54),
		UINT64_C(0xc7e856a11e2672cc),
		UINT64_C(0x692ddadffa697601),
		UINT64_C(0x2b4ceed3d51a7e79),
		UINT64_C(0x25013bc54e8b5fd1),
		UINT64_C(0xc553e3aa19e20a35),
		UINT64_C(0x6b61eb68aacfa341),
		UINT64_C(0xd93a21a23102de48),
		UINT64_C(0xeef0dcf78b8b0e95),
	};
	static const uint64_t hot[] = {773346, 787705, 27820, 407005, 348829, 38022};
	struct mr_pattern_config config;
	struct mr_pattern pattern;

	(void)state;
	for (unsigned kind = 1; kind < MR_PATTERN_KIND_COUNT; kind++) {
		uint64_t found = UINT64_C(0xcbf29ce484222325);

		for (unsigned i = 0; i < 400; i++) {
			const uint64_t pages[] = {5, 100, 1000003, UINT64_C(1) << 53};
			struct mr_touch touch;

			if (i % 100 == 0) {
				config = config_of((enum mr_pattern_kind)kind, pages[i / 100]);
				pattern = start(&config, 1, i / 100);
			}
			touch = next(&pattern);
			found = (found ^ touch.page) * UINT64_C(0x100000001b3);
			found = (found ^ ((uint64_t)touch.pauses << 1 | touch.write)) * UINT64_C(0x100000001b3);
		}
		assert_int_equal(found, expected[kind]);
	}
	config = config_of(MR_PATTERN_ZIPF, 1000000);
	pattern = start(&config, 42, 0);
	for (unsigned i = 0; i < sizeof(hot) / sizeof(hot[0]); i++)
		assert_int_equal(next_page(&pattern), hot[i]);
}

static void names_and_back(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < MR_PATTERN_KIND_COUNT; kind++)
		assert_int_equal(mr_pattern_by_name(mr_pattern_name((enum mr_pattern_kind)kind)), kind);
	assert_string_equal(mr_pattern_name(MR_PATTERN_ZIPF), "zipf");
	assert_string_equal(mr_pattern_name(MR_PATTERN_TRACE), "trace");
	assert_null(mr_pattern_name(MR_PATTERN_KIND_COUNT));
	assert_int_equal(mr_pattern_by_name(""), MR_PATTERN_KIND_COUNT);
	assert_int_equal(mr_pattern_by_name("zip"), MR_PATTERN_KIND_COUNT);
	assert_int_equal(mr_pattern_by_name("zipfs"), MR_PATTERN_KIND_COUNT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_range_and_again),
		cmocka_unit_test(every_page_is_reached),
		cmocka_unit_test(writes_as_told),
		cmocka_unit_test(vcpus_go_their_own_ways),
		cmocka_unit_test(nothing_to_do),
		cmocka_unit_test(hot_spots_are_by_rank),
		cmocka_unit_test(hot_spots_are_scattered),
		cmocka_unit_test(sequential_goes_round),
		cmocka_unit_test(strided_takes_each_page_once),
		cmocka_unit_test(phases_move_on),
		cmocka_unit_test(stack_goes_up_and_down),
		cmocka_unit_test(consumer_follows_producer),
		cmocka_unit_test(bursts_pause),
		cmocka_unit_test(trace_repeats),
		cmocka_unit_test(known_touches),
		cmocka_unit_test(names_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
