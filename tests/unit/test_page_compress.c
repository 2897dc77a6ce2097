/* test_page_compress.c: pages as zlib streams: round trips, streams that hold too much, too little, or nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "migref.h"
#include "guard.h"
#include "random.h"

enum { PAGE = 4096, BOUND = 2 * MR_PAGE_SIZE_MAX };

static uint8_t page[MR_PAGE_SIZE_MAX], packed[BOUND];

/* Content of three kinds: random, text-like, constant. */
static void fill_page(struct random *random, size_t size, unsigned kind)
{
	random_fill(random, page, size);
	for (size_t i = 0; i < size; i++)
		page[i] = kind == 0 ? page[i] : kind == 1 ? page[i] & 3 : 0x5a;
}

static void bound(void **state)
{
	(void)state;
	assert_int_equal(mr_page_compress_bound(4096), 4110);
	assert_true(mr_page_compress_bound(65536) > 65536);
}

static void round_trip(void **state)
{
	static const size_t sizes[] = {1024, 4096, 65536};
	struct guard inputs = guard_new(BOUND), pages = guard_new(MR_PAGE_SIZE_MAX);
	struct random random = {31};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (int level = 0; level <= 9; level++) {
			for (unsigned kind = 0; kind < 3; kind++) {
				uint8_t *out = guard_end(&pages, sizes[i]);
				size_t length, produced = 0;
				struct mr_bytes data;

				fill_page(&random, sizes[i], kind);
				length = mr_page_deflate(page, sizes[i], level, packed,
							 mr_page_compress_bound(sizes[i]));
				assert_true(length > 0);
				data = (struct mr_bytes){guard_copy(&inputs, packed, length), length};
				assert_int_equal(mr_page_inflate(data, out, sizes[i], &produced), MR_NO_RULE);
				assert_int_equal(produced, sizes[i]);
				assert_memory_equal(out, page, sizes[i]);
			}
		}
	}
	guard_free(&inputs);
	guard_free(&pages);
}

/* A short output is told apart by its length; a long one stops at the page's end. */
static void wrong_length(void **state)
{
	struct guard pages = guard_new(PAGE);
	uint8_t *out = guard_end(&pages, PAGE);
	struct random random = {32};
	size_t length, produced = 0;

	(void)state;
	fill_page(&random, MR_PAGE_SIZE_MAX, 1);
	for (size_t size = 1; size < PAGE; size += 97) {
		length = mr_page_deflate(page, size, 1, packed, sizeof(packed));
		memset(out, 0xee, PAGE);
		assert_int_equal(mr_page_inflate((struct mr_bytes){packed, length}, out, PAGE, &produced), MR_RAM_016);
		assert_int_equal(produced, size);
		assert_memory_equal(out, page, size);
		assert_int_equal(out[size], 0xee);
	}
	for (size_t size = PAGE + 1; size < PAGE + 300; size += 97) {
		length = mr_page_deflate(page, size, 1, packed, sizeof(packed));
		assert_int_equal(mr_page_inflate((struct mr_bytes){packed, length}, out, PAGE, &produced), MR_RAM_016);
		assert_int_equal(produced, PAGE);
		assert_memory_equal(out, page, PAGE);
	}
	/* a thousand times a page, in few bytes */
	memset(page, 0, sizeof(page));
	length = mr_page_deflate(page, sizeof(page), 9, packed, sizeof(packed));
	assert_true(length < mr_page_compress_bound(PAGE));
	assert_int_equal(mr_page_inflate((struct mr_bytes){packed, length}, out, PAGE, &produced), MR_RAM_016);
	assert_int_equal(produced, PAGE);
	guard_free(&pages);
}

static void no_complete_stream(void **state)
{
	struct guard inputs = guard_new(BOUND), pages = guard_new(PAGE);
	struct random random = {33};

	(void)state;
	for (unsigned kind = 0; kind < 3; kind++) {
		uint8_t *out = guard_end(&pages, PAGE);
		size_t length, produced = 0;

		fill_page(&random, PAGE, kind);
		length = mr_page_deflate(page, PAGE, 1, packed, sizeof(packed));
		for (size_t cut = 0; cut < length; cut += cut < length - 16 && kind < 2 ? 13 : 1) {
			struct mr_bytes data = {guard_copy(&inputs, packed, cut), cut};

			assert_int_equal(mr_page_inflate(data, out, PAGE, &produced), MR_RAM_016);
			assert_true(produced <= PAGE);
		}
		/* bytes behind the end, a wrong checksum, a wrong header */
		if (length < mr_page_compress_bound(PAGE)) {
			packed[length] = 0;
			assert_int_equal(mr_page_inflate((struct mr_bytes){packed, length + 1}, out, PAGE, &produced),
					 MR_RAM_016);
		}
		packed[length - 1] ^= 1;
		assert_int_equal(mr_page_inflate((struct mr_bytes){packed, length}, out, PAGE, &produced), MR_RAM_016);
		packed[0] ^= 1;
		assert_int_equal(mr_page_inflate((struct mr_bytes){packed, length}, out, PAGE, &produced), MR_RAM_016);
		assert_int_equal(produced, 0);
	}
	guard_free(&inputs);
	guard_free(&pages);
}

static void too_many_bytes(void **state)
{
	size_t produced = 99;

	(void)state;
	assert_int_equal(mr_page_inflate((struct mr_bytes){packed, 4111}, page, PAGE, &produced), MR_RAM_015);
	assert_int_equal(produced, 0);
}

static void deflate_limits(void **state)
{
	struct guard outs = guard_new((size_t)2 * PAGE);
	struct random random = {34};
	size_t length;

	(void)state;
	fill_page(&random, PAGE, 1);
	length = mr_page_deflate(page, PAGE, 1, packed, sizeof(packed));
	assert_true(length > 0);
	assert_int_equal(mr_page_deflate(page, PAGE, 1, guard_end(&outs, length), length), length);
	assert_int_equal(mr_page_deflate(page, PAGE, 1, guard_end(&outs, length - 1), length - 1), 0);
	assert_int_equal(mr_page_deflate(page, PAGE, 1, guard_end(&outs, 0), 0), 0);
	assert_int_equal(mr_page_deflate(page, PAGE, 10, packed, sizeof(packed)), 0);
	assert_int_equal(mr_page_deflate(page, (size_t)MR_PAGE_SIZE_MAX + 1, 1, packed, sizeof(packed)), 0);
	guard_free(&outs);
}

static void random_bytes(void **state)
{
	struct guard inputs = guard_new(256), pages = guard_new(1024);
	struct random random = {35};

	(void)state;
	for (size_t round = 0; round < 5000; round++) {
		size_t length = random_below(&random, 100);
		uint8_t *input = guard_end(&inputs, length);
		size_t produced = 0;

		random_fill(&random, input, length);
		if (length > 2) {
			input[0] = 0x78;
			input[1] = 0x01;
			input[2] = (uint8_t)(input[2] & 0xf8) | (uint8_t)(1 + random_below(&random, 6));
		}
		assert_int_equal(
			mr_page_inflate((struct mr_bytes){input, length}, guard_end(&pages, 1024), 1024, &produced),
			MR_RAM_016);
		assert_true(produced <= 1024);
	}
	guard_free(&inputs);
	guard_free(&pages);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bound),          cmocka_unit_test(round_trip),
		cmocka_unit_test(wrong_length),   cmocka_unit_test(no_complete_stream),
		cmocka_unit_test(too_many_bytes), cmocka_unit_test(deflate_limits),
		cmocka_unit_test(random_bytes),
	};

	return cmocka_run_group_tests_name("page compression", tests, NULL, NULL);
}
