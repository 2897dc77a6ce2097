/* test_xbzrle.c: XBZRLE as stated, against a slow encoder, cut everywhere, and on bytes that mean nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "migref.h"
#include "guard.h"
#include "random.h"

enum { PAGE = 4096, ROUNDS = 400, CAPACITY = MR_PAGE_SIZE_MAX + 16 };

static uint8_t before[MR_PAGE_SIZE_MAX], after[MR_PAGE_SIZE_MAX], patched[MR_PAGE_SIZE_MAX];
static uint8_t encoding[CAPACITY], expected[CAPACITY];

static size_t slow_put(uint8_t *out, size_t run)
{
	size_t length = 0;

	while (run > 127) {
		out[length++] = (uint8_t)(0x80 | (run & 127));
		run >>= 7;
	}
	out[length++] = (uint8_t)run;
	return length;
}

/* The encoding by its definition, byte by byte, into a buffer that is always large enough. */
static long slow_encode(const uint8_t *old, const uint8_t *page, size_t page_size, uint8_t *out, size_t capacity)
{
	size_t length = 0, at = 0;

	for (;;) {
		size_t equal = 0, different = 0;

		while (at + equal < page_size && old[at + equal] == page[at + equal])
			equal++;
		at += equal;
		if (at == page_size)
			return (long)length;
		if (equal > 16383 || capacity < length + 2)
			return MR_XBZRLE_OVERFLOW;
		length += slow_put(out + length, equal);
		while (at + different < page_size && old[at + different] != page[at + different])
			different++;
		if (different > 16383 || capacity < length + 2)
			return MR_XBZRLE_OVERFLOW;
		length += slow_put(out + length, different);
		if (capacity < length + different)
			return MR_XBZRLE_OVERFLOW;
		memcpy(out + length, page + at, different);
		length += different;
		at += different;
	}
}

/* Changes `after` in one of several ways. */
static void change(struct random *random, size_t page_size)
{
	size_t changes;

	memcpy(after, before, page_size);
	switch (random_below(random, 5)) {
	case 0: /* here and there a byte */
		changes = random_below(random, 40);
		for (size_t i = 0; i < changes; i++)
			after[random_below(random, page_size)] ^= (uint8_t)(1 + random_below(random, 255));
		break;
	case 1: /* stretches */
		changes = random_below(random, 6);
		for (size_t i = 0; i < changes; i++) {
			size_t start = random_below(random, page_size);

			random_fill(random, after + start, random_below(random, page_size - start + 1));
		}
		break;
	case 2: /* both ends */
		after[0] ^= 1;
		after[page_size - 1] ^= 1;
		break;
	case 3: /* every other byte, up to some place */
		changes = random_below(random, page_size + 1);
		for (size_t i = random_below(random, 2); i < changes; i += 2)
			after[i] ^= 0xff;
		break;
	default: /* everything, up to some place */
		changes = random_below(random, page_size + 1);
		for (size_t i = 0; i < changes; i++)
			after[i] ^= 0x55;
		break;
	}
}

static struct mr_bytes bytes_of(const uint8_t *data, size_t length)
{
	return (struct mr_bytes){data, length};
}

static void worked_example(void **state)
{
	static const uint8_t want[] = {0x0a, 0x04, 0xde, 0xad, 0xbe, 0xef, 0x9e, 0x02, 0x01, 0x7f};

	(void)state;
	for (size_t i = 0; i < PAGE; i++)
		before[i] = (uint8_t)(7 * i);
	memcpy(after, before, PAGE);
	memcpy(after + 10, want + 2, 4);
	after[300] = 0x7f;
	assert_int_equal(mr_xbzrle_encode(before, after, PAGE, encoding, PAGE), sizeof(want));
	assert_memory_equal(encoding, want, sizeof(want));
	assert_int_equal(mr_xbzrle_decode(before, PAGE, bytes_of(want, sizeof(want)), NULL), MR_NO_RULE);
	assert_memory_equal(before, after, PAGE);
}

static void worked_example_both_ends(void **state)
{
	static const uint8_t want[] = {0x00, 0x01, 0x11, 0xfe, 0x1f, 0x01, 0x22};

	(void)state;
	memset(before, 0, PAGE);
	memset(after, 0, PAGE);
	after[0] = 0x11;
	after[PAGE - 1] = 0x22;
	assert_int_equal(mr_xbzrle_encode(before, after, PAGE, encoding, PAGE), sizeof(want));
	assert_memory_equal(encoding, want, sizeof(want));
	assert_int_equal(mr_xbzrle_decode(before, PAGE, bytes_of(want, sizeof(want)), NULL), MR_NO_RULE);
	assert_memory_equal(before, after, PAGE);
}

static void same_page_and_empty_encoding(void **state)
{
	size_t at = 99;

	(void)state;
	memset(before, 3, PAGE);
	assert_int_equal(mr_xbzrle_encode(before, before, PAGE, encoding, PAGE), MR_XBZRLE_SAME);
	assert_int_equal(mr_xbzrle_encode(before, before, PAGE, encoding, 0), MR_XBZRLE_SAME);
	memcpy(after, before, PAGE);
	assert_int_equal(mr_xbzrle_decode(after, PAGE, bytes_of(NULL, 0), &at), MR_NO_RULE);
	assert_int_equal(at, 0);
	assert_memory_equal(before, after, PAGE);
}

static void round_trip(void **state)
{
	static const size_t sizes[] = {1, 7, 8, 33, 1024, 4096, 8192, 65536};
	struct random random = {1};

	(void)state;
	for (size_t size = 0; size < sizeof(sizes) / sizeof(sizes[0]); size++) {
		size_t rounds = sizes[size] > PAGE ? ROUNDS / 8 : ROUNDS;

		for (size_t round = 0; round < rounds; round++) {
			size_t page_size = sizes[size];
			long length, want;

			random_fill(&random, before, page_size);
			change(&random, page_size);
			want = slow_encode(before, after, page_size, expected, page_size);
			length = mr_xbzrle_encode(before, after, page_size, encoding, page_size);
			assert_int_equal(length, want);
			if (length < 0)
				continue;
			assert_memory_equal(encoding, expected, (size_t)length);
			memcpy(patched, before, page_size);
			assert_int_equal(mr_xbzrle_decode(patched, page_size, bytes_of(encoding, (size_t)length), NULL),
					 MR_NO_RULE);
			assert_memory_equal(patched, after, page_size);
		}
	}
}

/* Pages and encodings that end at a guard page, and a capacity that is exact or one byte short. */
static void capacity_at_the_border(void **state)
{
	struct guard olds = guard_new(PAGE), news = guard_new(PAGE), outs = guard_new((size_t)2 * PAGE);
	struct random random = {2};

	(void)state;
	for (size_t round = 0; round < ROUNDS; round++) {
		const uint8_t *old, *page;
		long need;

		random_fill(&random, before, PAGE);
		change(&random, PAGE);
		old = guard_copy(&olds, before, PAGE);
		page = guard_copy(&news, after, PAGE);
		/* The slow encoder never needs more than this: three bytes for each two of the page. */
		need = slow_encode(old, page, PAGE, expected, sizeof(expected));
		assert_true(need >= 0);
		for (long capacity = need > 3 ? need - 3 : 0; capacity <= need + 3; capacity++) {
			uint8_t *out = guard_end(&outs, (size_t)capacity);
			long length = mr_xbzrle_encode(old, page, PAGE, out, (size_t)capacity);

			assert_int_equal(length, slow_encode(old, page, PAGE, encoding, (size_t)capacity));
			assert_int_equal(length, capacity < need ? MR_XBZRLE_OVERFLOW : need);
			if (length > 0)
				assert_memory_equal(out, expected, (size_t)length);
		}
	}
	guard_free(&olds);
	guard_free(&news);
	guard_free(&outs);
}

static void runs_at_their_limit(void **state)
{
	(void)state;
	memset(before, 0, sizeof(before));
	memset(after, 0, sizeof(after));
	after[16383] = 1;
	assert_int_equal(mr_xbzrle_encode(before, after, 65536, encoding, 65536), 4);
	assert_memory_equal(encoding, ((const uint8_t[]){0xff, 0x7f, 1, 1}), 4);
	after[16383] = 0;
	after[16384] = 1;
	assert_int_equal(mr_xbzrle_encode(before, after, 65536, encoding, 65536), MR_XBZRLE_OVERFLOW);
	memset(after, 1, 16383);
	after[16384] = 0;
	assert_int_equal(mr_xbzrle_encode(before, after, 65536, encoding, 65536), 3 + 16383);
	memset(after, 1, 16384);
	assert_int_equal(mr_xbzrle_encode(before, after, 65536, encoding, 65536), MR_XBZRLE_OVERFLOW);
}

struct fault {
	uint8_t bytes[8];
	size_t length, at;
	enum mr_rule rule;
};

#define FAULT(rule, at, ...)                                                                                           \
	{                                                                                                              \
		{__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), at, rule                                        \
	}

static void faults(void **state)
{
	static const struct fault table[] = {
		FAULT(MR_XBZ_005, 0, 0x00),                   /* a lone run */
		FAULT(MR_XBZ_005, 3, 0x00, 0x01, 0xaa, 0x05), /* a lone run at the end */
		FAULT(MR_XBZ_005, 1, 0x00, 0x01),             /* one byte where a run of new bytes begins */
		FAULT(MR_XBZ_005, 1, 0x05, 0x01),             /* the same behind a longer run */
		FAULT(MR_XBZ_005, 2, 0x85, 0x01),             /* nothing behind a run of two bytes */
		FAULT(MR_XBZ_005, 1, 0x00, 0x03, 0xaa, 0xbb), /* literals beyond the input */
		FAULT(MR_XBZ_005, 1, 0x00, 0x80, 0x01),       /* the same, length of two bytes */
		FAULT(MR_XBZ_001, 0, 0x80, 0x80, 0x01, 0xaa), /* a third length byte */
		FAULT(MR_XBZ_001, 1, 0x00, 0xff, 0xff, 0xaa), /* the same for new bytes */
		FAULT(MR_XBZ_002, 3, 0x00, 0x01, 0xaa, 0x00, 0x01, 0xbb),
		FAULT(MR_XBZ_002, 3, 0x00, 0x01, 0xaa, 0x80, 0x00, 0x01, 0xbb),
		FAULT(MR_XBZ_003, 1, 0x04, 0x00, 0x01),
		FAULT(MR_XBZ_003, 1, 0x04, 0x80, 0x00, 0x01),
		FAULT(MR_XBZ_004, 0, 0x81, 0x20, 0x01, 0xaa),       /* 4097 equal bytes */
		FAULT(MR_XBZ_004, 2, 0x80, 0x20, 0x01, 0xaa),       /* a new byte behind 4096 equal ones */
		FAULT(MR_XBZ_004, 2, 0xff, 0x1f, 0x02, 0xaa, 0xbb), /* two new bytes where there is room for one */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct guard guard = guard_new(64);
		struct mr_bytes bytes = bytes_of(guard_copy(&guard, table[i].bytes, table[i].length), table[i].length);
		size_t at = 99;

		assert_int_equal(mr_xbzrle_check(PAGE, bytes, &at), table[i].rule);
		assert_int_equal(at, table[i].at);
		at = 99;
		assert_int_equal(mr_xbzrle_decode(patched, PAGE, bytes, &at), table[i].rule);
		assert_int_equal(at, table[i].at);
		assert_int_equal(mr_xbzrle_check(PAGE, bytes, NULL), table[i].rule);
		guard_free(&guard);
	}
}

/* Legal though QEMU does not write them: lengths in two bytes that would do in one, a page filled to its last byte. */
static void unusual_but_legal(void **state)
{
	static const uint8_t padded[] = {0x80, 0x00, 0x81, 0x00, 0xaa};
	static const uint8_t last[] = {0xff, 0x1f, 0x01, 0xbb};

	(void)state;
	memset(patched, 0, PAGE);
	assert_int_equal(mr_xbzrle_decode(patched, PAGE, bytes_of(padded, sizeof(padded)), NULL), MR_NO_RULE);
	assert_int_equal(mr_xbzrle_decode(patched, PAGE, bytes_of(last, sizeof(last)), NULL), MR_NO_RULE);
	assert_int_equal(patched[0], 0xaa);
	assert_int_equal(patched[PAGE - 1], 0xbb);
}

/*
 * breaks XBZ-006: a run of new bytes that holds an unchanged one. It decodes; that no source writes it
 * shows when the page is encoded again.
 */
static void runs_that_are_not_maximal(void **state)
{
	static const uint8_t joined[] = {0x04, 0x03, 0xaa, 0x00, 0xbb};
	static const uint8_t maximal[] = {0x04, 0x01, 0xaa, 0x01, 0x01, 0xbb};
	uint8_t old[PAGE], out[PAGE];

	(void)state;
	memset(old, 0, PAGE);
	memset(patched, 0, PAGE);
	assert_int_equal(mr_xbzrle_decode(patched, PAGE, bytes_of(joined, sizeof(joined)), NULL), MR_NO_RULE);
	/* keeps XBZ-006 */
	assert_int_equal(mr_xbzrle_encode(old, patched, PAGE, out, PAGE), sizeof(maximal));
	assert_memory_equal(out, maximal, sizeof(maximal));
}

/* Each prefix is a shorter encoding, which ends at a pair of runs, or an error. */
static void every_truncation(void **state)
{
	struct guard guard = guard_new(PAGE);
	struct random random = {3};

	(void)state;
	for (size_t round = 0; round < 60; round++) {
		long length;

		random_fill(&random, before, PAGE);
		change(&random, PAGE);
		length = mr_xbzrle_encode(before, after, PAGE, encoding, PAGE);
		for (long cut = 0; cut < length; cut++) {
			struct mr_bytes bytes = bytes_of(guard_copy(&guard, encoding, (size_t)cut), (size_t)cut);
			size_t at = 0;
			enum mr_rule rule = mr_xbzrle_check(PAGE, bytes, &at);

			assert_true(rule == MR_NO_RULE || rule == MR_XBZ_005);
			assert_true(at <= (size_t)cut);
			memcpy(patched, before, PAGE);
			assert_int_equal(mr_xbzrle_decode(patched, PAGE, bytes, NULL), rule);
			if (rule != MR_NO_RULE)
				continue;
			/* What a shorter encoding says, the encoder says again. */
			assert_int_equal(at, cut);
			assert_int_equal(mr_xbzrle_encode(before, patched, PAGE, expected, PAGE), cut);
			assert_memory_equal(expected, encoding, (size_t)cut);
		}
	}
	guard_free(&guard);
}

static void random_bytes(void **state)
{
	struct guard inputs = guard_new(256), pages = guard_new(1024);
	struct random random = {4};

	(void)state;
	for (size_t round = 0; round < 200000; round++) {
		size_t length = random_below(&random, 40);
		uint8_t *input = guard_end(&inputs, length);
		uint8_t *page = guard_end(&pages, 1024);
		size_t at = 0, at_again = 0;
		enum mr_rule rule;

		random_fill(&random, input, length);
		/* Mostly short runs, so that more than the first few bytes are read. */
		for (size_t i = 0; i < length; i++)
			input[i] &= random_below(&random, 8) == 0 ? 0xff : 0x07;
		rule = mr_xbzrle_check(1024, bytes_of(input, length), &at);
		assert_int_equal(mr_xbzrle_decode(page, 1024, bytes_of(input, length), &at_again), rule);
		assert_int_equal(at, at_again);
		assert_true(at <= length && (rule != MR_NO_RULE || at == length));
	}
	guard_free(&inputs);
	guard_free(&pages);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(worked_example),
		cmocka_unit_test(worked_example_both_ends),
		cmocka_unit_test(same_page_and_empty_encoding),
		cmocka_unit_test(round_trip),
		cmocka_unit_test(capacity_at_the_border),
		cmocka_unit_test(runs_at_their_limit),
		cmocka_unit_test(faults),
		cmocka_unit_test(unusual_but_legal),
		cmocka_unit_test(runs_that_are_not_maximal),
		cmocka_unit_test(every_truncation),
		cmocka_unit_test(random_bytes),
	};

	return cmocka_run_group_tests_name("xbzrle", tests, NULL, NULL);
}
