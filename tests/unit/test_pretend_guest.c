/* test_pretend_guest.c: pages that are shown altered until they are written: by the seed alone, and right in the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "sim/host/pretend_guest.h"

enum { PAGE = 4096, BLOCKS = 3, MOST = 1000, REWRITES = 3 };

static const uint64_t pages[BLOCKS] = {MOST, 0, 77};

/* Of each page: how often it was written. */
static uint32_t written[BLOCKS][MOST];
static uint64_t ranges;

static void note(void *argument, uint32_t block, uint64_t first, uint64_t count)
{
	(void)argument;
	assert_true(block < BLOCKS);
	assert_true(count > 0 && first + count <= pages[block]);
	for (uint64_t page = first; page < first + count; page++)
		written[block][page]++;
	ranges++;
}

static struct mr_pretend_guest *make(uint64_t seed, uint32_t stale, uint32_t rewrites)
{
	const struct mr_pretend_config config = {.seed = seed, .stale = stale, .rewrites = rewrites, .page_size = PAGE};
	struct mr_pretend_guest *guest = mr_pretend_guest_new(&config, pages, BLOCKS);

	assert_non_null(guest);
	memset(written, 0, sizeof(written));
	ranges = 0;
	return guest;
}

static uint64_t count_altered(const struct mr_pretend_guest *guest)
{
	uint64_t count = 0;

	for (uint32_t block = 0; block < BLOCKS; block++)
		for (uint64_t page = 0; page < pages[block]; page++)
			count += mr_pretend_guest_alters(guest, block, page);
	return count;
}

static void fill(uint8_t *page, uint8_t seed)
{
	for (size_t i = 0; i < PAGE; i++)
		page[i] = (uint8_t)(seed * i + (i >> 5));
}

static void none_is_stale_unless_asked(void **state)
{
	struct mr_pretend_guest *guest = make(1, 0, 1);

	(void)state;
	assert_int_equal(count_altered(guest), 0);
	assert_int_equal(mr_pretend_guest_stale(guest), 0);
	mr_pretend_guest_run(guest, note, NULL);
	mr_pretend_guest_stop(guest, note, NULL);
	assert_int_equal(ranges, 0);
	mr_pretend_guest_free(guest);
	mr_pretend_guest_free(NULL);
}

static void share_is_about_what_was_asked(void **state)
{
	(void)state;
	for (uint32_t stale = 100; stale <= 1000; stale += 300) {
		struct mr_pretend_guest *guest = make(stale, stale, 1);
		const uint64_t expected = (MOST + 77) * stale / 1000;

		assert_in_range(count_altered(guest), expected - expected / 4, expected + expected / 4);
		assert_int_equal(count_altered(guest), mr_pretend_guest_stale(guest));
		mr_pretend_guest_free(guest);
	}
}

/* A page is altered until its last write, and what was not written is not other than before. */
static void every_page_is_right_once_written_enough(void **state)
{
	struct mr_pretend_guest *guest = make(7, 400, REWRITES);
	bool altered[BLOCKS][MOST] = {0};
	unsigned runs = 0;

	(void)state;
	for (uint32_t block = 0; block < BLOCKS; block++)
		for (uint64_t page = 0; page < pages[block]; page++)
			altered[block][page] = mr_pretend_guest_alters(guest, block, page);
	while (mr_pretend_guest_stale(guest)) {
		mr_pretend_guest_run(guest, note, NULL);
		assert_true(++runs < 100);
	}
	assert_true(runs > REWRITES);
	for (uint32_t block = 0; block < BLOCKS; block++)
		for (uint64_t page = 0; page < pages[block]; page++)
			assert_int_equal(written[block][page], altered[block][page] ? REWRITES : 0);
	assert_int_equal(count_altered(guest), 0);
	mr_pretend_guest_free(guest);
}

static void stop_writes_all_that_is_left(void **state)
{
	struct mr_pretend_guest *guest = make(9, 1000, REWRITES);
	uint64_t stale;

	(void)state;
	mr_pretend_guest_run(guest, note, NULL);
	stale = mr_pretend_guest_stale(guest);
	assert_int_equal(stale, MOST + 77);
	memset(written, 0, sizeof(written));
	ranges = 0;
	mr_pretend_guest_stop(guest, note, NULL);
	for (uint32_t block = 0; block < BLOCKS; block++)
		for (uint64_t page = 0; page < pages[block]; page++)
			assert_int_equal(written[block][page], 1);
	assert_int_equal(ranges, 2); /* of two blocks with pages, each in one piece */
	assert_int_equal(count_altered(guest), 0);
	mr_pretend_guest_free(guest);
}

/* What is shown differs from the truth in a few places, or is zero; it changes with each write, not in between. */
static void what_is_shown_is_altered(void **state)
{
	struct mr_pretend_guest *guest = make(3, 1000, 2);
	uint8_t truth[PAGE], shown[PAGE], again[PAGE];
	static const uint8_t zero[PAGE];
	static uint8_t kept[MOST][PAGE];
	unsigned zeros = 0, changed = 0;

	(void)state;
	for (uint64_t page = 0; page < MOST; page++) {
		unsigned different = 0;

		fill(truth, (uint8_t)page);
		mr_pretend_guest_show(guest, 0, page, truth, shown);
		mr_pretend_guest_show(guest, 0, page, truth, again);
		assert_memory_equal(shown, again, PAGE);
		zeros += memcmp(shown, zero, PAGE) == 0;
		for (size_t i = 0; i < PAGE; i++)
			different += shown[i] != truth[i];
		assert_true(different > 0);
		if (memcmp(shown, zero, PAGE) != 0)
			assert_true(different <= 6 * 16);
	}
	assert_in_range(zeros, MOST / 16, MOST / 4);
	for (uint64_t page = 0; page < MOST; page++) {
		fill(truth, (uint8_t)page);
		mr_pretend_guest_show(guest, 0, page, truth, kept[page]);
	}
	mr_pretend_guest_run(guest, note, NULL);
	for (uint64_t page = 0; page < MOST; page++) {
		fill(truth, (uint8_t)page);
		mr_pretend_guest_show(guest, 0, page, truth, again);
		if (!written[0][page])
			assert_memory_equal(again, kept[page], PAGE);
		changed += memcmp(again, kept[page], PAGE) != 0;
	}
	assert_true(changed > MOST / 4);
	mr_pretend_guest_free(guest);
}

static void seed_alone_decides(void **state)
{
	uint32_t first[BLOCKS][MOST];
	struct mr_pretend_guest *guest;
	bool other = false;

	(void)state;
	for (unsigned turn = 0; turn < 3; turn++) {
		guest = make(turn == 2 ? 6 : 5, 300, REWRITES);
		for (unsigned run = 0; run < 4; run++)
			mr_pretend_guest_run(guest, note, NULL);
		if (turn == 0)
			memcpy(first, written, sizeof(first));
		else if (turn == 1)
			assert_memory_equal(first, written, sizeof(first));
		else
			other = memcmp(first, written, sizeof(first)) != 0;
		mr_pretend_guest_free(guest);
	}
	assert_true(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none_is_stale_unless_asked),
		cmocka_unit_test(share_is_about_what_was_asked),
		cmocka_unit_test(every_page_is_right_once_written_enough),
		cmocka_unit_test(stop_writes_all_that_is_left),
		cmocka_unit_test(what_is_shown_is_altered),
		cmocka_unit_test(seed_alone_decides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
