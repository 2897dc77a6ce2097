/* test_page_map.c: the table of pages, against a plain array, in growing, and with memory running out. */
#include "hostile.h"

#include <stdlib.h>

#include "random.h"
#include "sim/world/page_map.h"

enum { BLOCKS = 3, PAGES = 500 };

static const uint64_t last_page = (UINT64_C(1) << 53) - 1;

/* ---- An allocation that fails ---- */

#if !SANITIZED

extern void *__libc_calloc(size_t count, size_t size);

static bool memory_is_short;

void *calloc(size_t nmemb, size_t size)
{
	return memory_is_short ? NULL : __libc_calloc(nmemb, size);
}

static void survives_without_memory(void **state)
{
	struct mr_page_map map = {0};
	uint64_t made = 0;
	unsigned refused = 0;

	(void)state;
	if (RUNNING_ON_VALGRIND)
		skip();
	for (uint64_t page = 0; page < 3000; page++) {
		struct mr_page_entry *entry;

		memory_is_short = page % 3 == 0;
		entry = mr_page_map_get(&map, 0, page);
		memory_is_short = false;
		if (entry) {
			entry->version = (uint32_t)page;
			made++;
		} else {
			refused++;
			assert_null(mr_page_map_find(&map, 0, page));
		}
		assert_int_equal(mr_page_map_count(&map), made);
		if (made == 0)
			assert_int_equal(mr_page_map_slots(&map), 0);
	}
	/* at least one growth was refused, and it was made up for at the next page */
	assert_in_range(refused, 1, 10);
	for (uint64_t page = 0; page < 3000; page++) {
		const struct mr_page_entry *entry = mr_page_map_find(&map, 0, page);

		made -= entry != NULL;
		if (entry)
			assert_int_equal(entry->version, page);
	}
	assert_int_equal(made, 0);
	mr_page_map_clear(&map);
}

#else

static void survives_without_memory(void **state)
{
	(void)state;
	skip();
}

#endif

/* ---- What it holds ---- */

static void empty(void **state)
{
	struct mr_page_map map = {0};

	(void)state;
	assert_int_equal(mr_page_map_count(&map), 0);
	assert_int_equal(mr_page_map_slots(&map), 0);
	assert_null(mr_page_map_find(&map, 0, 0));
	mr_page_map_clear(&map);
	mr_page_map_clear(&map);
	assert_null(mr_page_map_find(&map, 0, 0));
}

static void blocks_and_pages_are_told_apart(void **state)
{
	static const uint32_t blocks[] = {0, 1, 2, MR_PAGE_MAP_BLOCKS_MAX - 1};
	const uint64_t pages[] = {0, 1, 3, 4, UINT64_C(1) << 32, last_page - 1, last_page};
	struct mr_page_map map = {0};

	(void)state;
	for (uint32_t i = 0; i < 4 * 7; i++) {
		struct mr_page_entry *entry = mr_page_map_get(&map, blocks[i / 7], pages[i % 7]);

		assert_int_equal(entry->version, 0);
		assert_int_equal(entry->later, 0);
		assert_int_equal(entry->flags, 0);
		entry->version = i + 1;
		assert_int_equal(mr_page_map_count(&map), i + 1);
	}
	for (uint32_t i = 0; i < 4 * 7; i++) {
		const struct mr_page_entry *entry = mr_page_map_find(&map, blocks[i / 7], pages[i % 7]);

		assert_int_equal(entry->version, i + 1);
		assert_int_equal(mr_page_entry_block(entry), blocks[i / 7]);
		assert_int_equal(mr_page_entry_page(entry), pages[i % 7]);
	}
	assert_null(mr_page_map_find(&map, 3, 0));
	assert_null(mr_page_map_find(&map, 0, 2));
	mr_page_map_clear(&map);
}

/* Slots give just what was made, each once. */
static void expect_slots(const struct mr_page_map *map, const uint32_t *model)
{
	size_t count = 0;

	for (size_t slot = 0; slot < mr_page_map_slots(map); slot++) {
		const struct mr_page_entry *entry = mr_page_map_at(map, slot);

		if (!entry)
			continue;
		count++;
		assert_int_equal(entry->version, model[mr_page_entry_block(entry) * PAGES + mr_page_entry_page(entry)]);
	}
	assert_int_equal(count, mr_page_map_count(map));
}

static void against_a_model(void **state)
{
	struct random random = {41};

	(void)state;
	for (unsigned round = 0; round < 30; round++) {
		const uint64_t stride = UINT64_C(1) << random_below(&random, 40);
		uint32_t model[BLOCKS * PAGES] = {0};
		struct mr_page_map map = {0};
		size_t count = 0;

		for (uint32_t i = 1; i < 2000; i++) {
			const uint32_t block = (uint32_t)random_below(&random, BLOCKS);
			const uint64_t page = random_below(&random, PAGES);
			uint32_t *version = &model[block * PAGES + page];
			const struct mr_page_entry *entry = mr_page_map_find(&map, block, page * stride);

			assert_int_equal(entry ? entry->version : 0, *version);
			if (random_below(&random, 2))
				continue;
			count += *version == 0;
			*version = i;
			mr_page_map_get(&map, block, page * stride)->version = i;
			assert_int_equal(mr_page_map_count(&map), count);
		}
		if (stride == 1)
			expect_slots(&map, model);
		mr_page_map_clear(&map);
		expect_slots(&map, model);
	}
}

static void slots_give_each_entry(void **state)
{
	uint32_t model[BLOCKS * PAGES] = {0};
	struct mr_page_map map = {0};

	(void)state;
	for (uint32_t i = 0; i < BLOCKS * PAGES; i += 1 + i % 5) {
		model[i] = i + 1;
		mr_page_map_get(&map, i / PAGES, i % PAGES)->version = i + 1;
	}
	expect_slots(&map, model);
	mr_page_map_clear(&map);
}

/* ---- How large, how fast ---- */

/* Entries in the longest row without a gap: no search looks at more. */
static uint64_t longest_row(const struct mr_page_map *map)
{
	uint64_t occupied = 0, longest = 0;

	for (size_t slot = 0; slot < mr_page_map_slots(map); slot++) {
		occupied = mr_page_map_at(map, slot) ? occupied + 1 : 0;
		longest = occupied > longest ? occupied : longest;
	}
	return longest;
}

/* By the page, by large strides, at random: nothing makes it slow, and no more than three slots go to a page. */
static void growth_is_bounded(void **state)
{
	const uint64_t strides[] = {1, 4, 512, 262144, UINT64_C(0x1fffffffffffff) / 400000};
	const uint64_t pages = RUNNING_ON_VALGRIND ? 20000 : 400000;

	(void)state;
	for (unsigned i = 0; i < sizeof(strides) / sizeof(strides[0]); i++) {
		struct mr_page_map map = {0};

		for (uint64_t page = 0; page < pages; page++)
			mr_page_map_get(&map, (uint32_t)(page % 2), page * strides[i])->flags = 7;
		assert_int_equal(mr_page_map_count(&map), pages);
		assert_true(mr_page_map_slots(&map) * 5 / 8 >= pages);
		assert_true(mr_page_map_slots(&map) < 4 * pages);
		assert_true(longest_row(&map) < 600);
		mr_page_map_clear(&map);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty),
		cmocka_unit_test(blocks_and_pages_are_told_apart),
		cmocka_unit_test(against_a_model),
		cmocka_unit_test(slots_give_each_entry),
		cmocka_unit_test(growth_is_bounded),
		cmocka_unit_test(survives_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
