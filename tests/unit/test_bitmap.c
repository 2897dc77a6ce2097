/* test_bitmap.c: bitmaps against an array of bools, the received bitmap's bytes, and the search for zeros. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "migref.h"
#include "guard.h"
#include "random.h"

enum { BITS_MAX = 333, WORDS_MAX = 6 };

static void words(void **state)
{
	(void)state;
	assert_int_equal(mr_bitmap_words(0), 0);
	assert_int_equal(mr_bitmap_words(1), 1);
	assert_int_equal(mr_bitmap_words(64), 1);
	assert_int_equal(mr_bitmap_words(65), 2);
	assert_true(mr_bitmap_words(UINT64_MAX) == UINT64_C(1) << 58);
}

static uint64_t model_next(const bool *model, uint64_t bits, uint64_t from, bool value)
{
	while (from < bits && model[from] != value)
		from++;
	return from < bits ? from : bits;
}

static void compare(const uint64_t *map, const bool *model, uint64_t bits)
{
	uint64_t count = 0;

	for (uint64_t bit = 0; bit < bits; bit++) {
		assert_int_equal(mr_bitmap_test(map, bit), model[bit]);
		assert_int_equal(mr_bitmap_next_set(map, bits, bit), model_next(model, bits, bit, true));
		assert_int_equal(mr_bitmap_next_clear(map, bits, bit), model_next(model, bits, bit, false));
		count += model[bit];
	}
	assert_int_equal(mr_bitmap_next_set(map, bits, bits), bits);
	assert_int_equal(mr_bitmap_next_clear(map, bits, bits), bits);
	assert_int_equal(mr_bitmap_next_set(map, bits, bits + 1000), bits);
	assert_int_equal(mr_bitmap_count(map, bits), count);
}

static void against_a_model(void **state)
{
	struct random random = {21};

	(void)state;
	for (size_t round = 0; round < 200; round++) {
		uint64_t bits = random_below(&random, BITS_MAX) + 1;
		struct guard guard = guard_new(WORDS_MAX * sizeof(uint64_t));
		uint64_t *map = (uint64_t *)(void *)guard_end(&guard, mr_bitmap_words(bits) * sizeof(uint64_t));
		bool model[BITS_MAX];

		/* What lies behind the last bit must not matter. */
		memset(map, 0xff, mr_bitmap_words(bits) * sizeof(uint64_t));
		memset(model, true, sizeof(model));
		for (size_t step = 0; step < 12; step++) {
			uint64_t first = random_below(&random, bits + 1);
			uint64_t count = random_below(&random, bits - first + 1);
			bool value = random_below(&random, 2) == 0;

			(value ? mr_bitmap_set : mr_bitmap_clear)(map, first, count);
			for (uint64_t bit = first; bit < first + count; bit++)
				model[bit] = value;
			compare(map, model, bits);
		}
		guard_free(&guard);
	}
}

static void empty_map(void **state)
{
	(void)state;
	assert_int_equal(mr_bitmap_next_set(NULL, 0, 0), 0);
	assert_int_equal(mr_bitmap_next_clear(NULL, 0, 0), 0);
	assert_int_equal(mr_bitmap_count(NULL, 0), 0);
}

static void received_worked_example(void **state)
{
	static const uint8_t wire[16] = {0x07, 0x01, 0, 0, 0, 0, 0, 0, 0x22, 0, 0, 0, 0, 0, 0, 0};
	uint64_t map[2] = {0, 0}, again[2] = {1, 1};
	uint8_t out[16];

	(void)state;
	mr_bitmap_set(map, 0, 3);
	mr_bitmap_set(map, 8, 1);
	mr_bitmap_set(map, 65, 1);
	mr_bitmap_set(map, 69, 1);
	assert_int_equal(mr_received_bitmap_size(70), 16);
	mr_received_bitmap_encode(map, 70, out);
	assert_memory_equal(out, wire, sizeof(wire));
	assert_true(mr_received_bitmap_decode(again, 70, (struct mr_bytes){wire, sizeof(wire)}));
	assert_true(again[0] == 0x107 && again[1] == 0x22);
	assert_int_equal(70 - mr_bitmap_count(again, 70), 64);
}

static void received_sizes(void **state)
{
	(void)state;
	assert_int_equal(mr_received_bitmap_size(0), 0);
	assert_int_equal(mr_received_bitmap_size(1), 8);
	assert_int_equal(mr_received_bitmap_size(64), 8);
	assert_int_equal(mr_received_bitmap_size(65), 16);
	assert_int_equal(mr_received_bitmap_size(4096), 512);
	/* a block of 2^64 - 1 pages does not wrap */
	assert_true(mr_received_bitmap_size(UINT64_MAX) == UINT64_C(1) << 61);
}

static void received_padding_and_size(void **state)
{
	uint8_t bytes[24];
	uint64_t map[2] = {0, 0};
	uint8_t out[16];

	(void)state;
	memset(bytes, 0xff, sizeof(bytes));
	assert_false(mr_received_bitmap_decode(map, 70, (struct mr_bytes){bytes, 15}));
	assert_false(mr_received_bitmap_decode(map, 70, (struct mr_bytes){bytes, 8}));
	assert_false(mr_received_bitmap_decode(map, 70, (struct mr_bytes){bytes, 24}));
	assert_false(mr_received_bitmap_decode(map, 0, (struct mr_bytes){bytes, 8}));
	assert_true(mr_received_bitmap_decode(map, 0, (struct mr_bytes){NULL, 0}));
	assert_true(map[0] == 0 && map[1] == 0);
	assert_true(mr_received_bitmap_decode(map, 70, (struct mr_bytes){bytes, 16}));
	assert_true(map[0] == UINT64_MAX && map[1] == 0x3f);
	map[1] = UINT64_MAX;
	mr_received_bitmap_encode(map, 70, out);
	assert_int_equal(out[8], 0x3f);
	assert_int_equal(out[9], 0);
	assert_int_equal(out[15], 0);
}

static void received_round_trip(void **state)
{
	struct random random = {22};

	(void)state;
	for (uint64_t pages = 0; pages < BITS_MAX; pages++) {
		uint64_t map[WORDS_MAX] = {0}, again[WORDS_MAX] = {0};
		size_t size = mr_received_bitmap_size(pages);
		struct guard guard = guard_new(WORDS_MAX * sizeof(uint64_t));
		uint8_t *out = guard_end(&guard, size);

		for (uint64_t page = 0; page < pages; page++) {
			if (random_below(&random, 2) == 0)
				mr_bitmap_set(map, page, 1);
		}
		mr_received_bitmap_encode(map, pages, out);
		for (uint64_t page = 0; page < pages; page++)
			assert_int_equal(out[page / 8] >> page % 8 & 1, mr_bitmap_test(map, page));
		assert_true(mr_received_bitmap_decode(again, pages, (struct mr_bytes){out, size}));
		assert_memory_equal(map, again, sizeof(map));
		guard_free(&guard);
	}
}

/* One byte that is not zero, at every place of every length, with every alignment, next to a guard page. */
static void zero(void **state)
{
	struct guard guard = guard_new(4096 + 64);

	(void)state;
	for (size_t length = 0; length <= 600; length += length < 80 ? 1 : 37) {
		uint8_t *data = guard_end(&guard, length);

		assert_true(mr_is_zero(data, length));
		for (size_t i = 0; i < length; i++) {
			data[i] = 0x80;
			assert_false(mr_is_zero(data, length));
			/* outside of what is asked for it does not count */
			assert_true(mr_is_zero(data, i));
			assert_true(mr_is_zero(data + i + 1, length - i - 1));
			data[i] = 0;
		}
	}
	for (size_t i = 0; i < 4096; i++) {
		uint8_t *page = guard_end(&guard, 4096);

		page[i] = 1;
		assert_false(mr_is_zero(page, 4096));
		page[i] = 0;
	}
	assert_true(mr_is_zero(guard_end(&guard, 4096), 4096));
	assert_true(mr_is_zero(NULL, 0));
	guard_free(&guard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words),
		cmocka_unit_test(against_a_model),
		cmocka_unit_test(empty_map),
		cmocka_unit_test(received_worked_example),
		cmocka_unit_test(received_sizes),
		cmocka_unit_test(received_padding_and_size),
		cmocka_unit_test(received_round_trip),
		cmocka_unit_test(zero),
	};

	return cmocka_run_group_tests_name("bitmap", tests, NULL, NULL);
}
