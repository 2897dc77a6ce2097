/* test_page_cache.c: the XBZRLE cache: sizes, hits, ages, and against a model. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "migref.h"
#include "random.h"

enum { PAGE = 1024, SLOTS = 8 };

static uint64_t address_of(uint64_t page)
{
	return page * PAGE;
}

static void sizes(void **state)
{
	(void)state;
	assert_int_equal(mr_page_cache_memory(32768, 4096), 8 * (4096 + 16));
	assert_int_equal(mr_page_cache_memory(4096, 4096), 4096 + 16);
	assert_int_equal(mr_page_cache_memory(67108864, 4096), (size_t)16384 * (4096 + 16));
	/* a remainder of less than a page does not count */
	assert_int_equal(mr_page_cache_memory(4096 + 100, 4096), 4096 + 16);
	assert_int_equal(mr_page_cache_memory(0, 4096), 0);
	assert_int_equal(mr_page_cache_memory(4095, 4096), 0);
	assert_int_equal(mr_page_cache_memory(12288, 4096), 0);
	assert_int_equal(mr_page_cache_memory(4096, 0), 0);
	/* more than can be addressed */
	assert_int_equal(mr_page_cache_memory(UINT64_C(1) << 63, 1), 0);
	assert_int_equal(mr_page_cache_memory(SIZE_MAX, SIZE_MAX), 0);
}

static struct mr_page_cache new_cache(void)
{
	struct mr_page_cache cache;
	void *memory = malloc(mr_page_cache_memory(address_of(SLOTS), PAGE));

	assert_non_null(memory);
	mr_page_cache_init(&cache, address_of(SLOTS), PAGE, memory);
	return cache;
}

static void free_cache(struct mr_page_cache *cache)
{
	free(cache->addresses);
}

static void hits_and_ages(void **state)
{
	struct mr_page_cache cache = new_cache();
	uint8_t one[PAGE], two[PAGE];

	(void)state;
	memset(one, 1, PAGE);
	memset(two, 2, PAGE);
	assert_null(mr_page_cache_find(&cache, 0, 1));
	assert_null(mr_page_cache_find(&cache, address_of(5), 1));
	assert_true(mr_page_cache_insert(&cache, 0, one, 1));
	assert_memory_equal(mr_page_cache_find(&cache, 0, 1), one, PAGE);

	/* the same slot: refused until two generations have passed; keeps XBZ-007 */
	assert_false(mr_page_cache_insert(&cache, address_of(SLOTS), two, 1));
	assert_false(mr_page_cache_insert(&cache, address_of(SLOTS), two, 2));
	assert_null(mr_page_cache_find(&cache, address_of(SLOTS), 2));
	/* a hit makes it young again */
	assert_non_null(mr_page_cache_find(&cache, 0, 2));
	assert_false(mr_page_cache_insert(&cache, address_of(SLOTS), two, 3));
	/* breaks XBZ-007 if one generation less were enough */
	assert_true(mr_page_cache_insert(&cache, address_of(SLOTS), two, 4));
	assert_null(mr_page_cache_find(&cache, 0, 4));
	assert_memory_equal(mr_page_cache_find(&cache, address_of(SLOTS), 4), two, PAGE);

	/* its own page may be replaced at any age */
	assert_true(mr_page_cache_insert(&cache, address_of(SLOTS), one, 4));
	assert_memory_equal(mr_page_cache_find(&cache, address_of(SLOTS), 4), one, PAGE);
	/* even by the cached copy itself */
	assert_true(
		mr_page_cache_insert(&cache, address_of(SLOTS), mr_page_cache_find(&cache, address_of(SLOTS), 4), 5));
	assert_memory_equal(mr_page_cache_find(&cache, address_of(SLOTS), 5), one, PAGE);
	free_cache(&cache);
}

/* Every call, against a model that is written down otherwise. */
static void against_a_model(void **state)
{
	struct {
		uint64_t page, age;
		uint8_t fill;
		bool used;
	} model[SLOTS] = {0};
	struct mr_page_cache cache = new_cache();
	struct random random = {11};
	uint64_t generation = 0;

	(void)state;
	for (size_t round = 0; round < 20000; round++) {
		uint64_t page = random_below(&random, (uint64_t)4 * SLOTS);
		size_t slot = page % SLOTS;
		bool hit = model[slot].used && model[slot].page == page;
		uint8_t content[PAGE];
		const uint8_t *found;

		generation += random_below(&random, 20) == 0;
		if (random_below(&random, 2) == 0) {
			found = mr_page_cache_find(&cache, address_of(page), generation);
			assert_int_equal(found != NULL, hit);
			if (hit) {
				assert_int_equal(found[0], model[slot].fill);
				assert_int_equal(found[PAGE - 1], model[slot].fill);
				model[slot].age = generation;
			}
			continue;
		}
		memset(content, (int)(round & 0xff), PAGE);
		if (!model[slot].used || hit || generation - model[slot].age >= 2) {
			assert_true(mr_page_cache_insert(&cache, address_of(page), content, generation));
			model[slot].used = true;
			model[slot].page = page;
			model[slot].age = generation;
			model[slot].fill = (uint8_t)round;
		} else {
			assert_false(mr_page_cache_insert(&cache, address_of(page), content, generation));
		}
	}
	free_cache(&cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes),
		cmocka_unit_test(hits_and_ages),
		cmocka_unit_test(against_a_model),
	};

	return cmocka_run_group_tests_name("page cache", tests, NULL, NULL);
}
