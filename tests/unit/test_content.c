/* test_content.c: pages of the simulated guest: what is promised of them, over many, and a few known bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "random.h"
#include "sim/world/content.h"

enum { RUNS_BYTES = MR_CONTENT_RUNS_MAX * MR_CONTENT_RUN_BYTES_MAX };
enum { SIZE = 4096, SIZE_MAX_PAGE = 65536, ROUNDS = 4000 };

static struct mr_content content;
static uint8_t one[SIZE_MAX_PAGE], other[SIZE_MAX_PAGE];
static const size_t sizes[] = {1024, 2048, 4096, 8192, 16384, 32768, 65536};

static void start(uint64_t seed, unsigned zero, unsigned constant, unsigned text, unsigned random_share)
{
	content.shares[MR_CONTENT_ZERO] = (uint16_t)zero;
	content.shares[MR_CONTENT_CONSTANT] = (uint16_t)constant;
	content.shares[MR_CONTENT_TEXT] = (uint16_t)text;
	content.shares[MR_CONTENT_RANDOM] = (uint16_t)random_share;
	content.filled = 600;
	mr_content_init(&content, seed);
}

static void start_mixed(uint64_t seed)
{
	start(seed, 250, 250, 250, 250);
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* Any page of any guest, and a version that is small, large or at an edge. */
struct choice {
	uint32_t block, version;
	uint64_t page;
	size_t size;
};

static struct choice choose(struct random *random)
{
	static const uint32_t versions[] = {0, 1, 2, 31, 32, 255, 256, 65536, UINT32_MAX - 1, UINT32_MAX};
	struct choice choice = {
		.block = (uint32_t)random_below(random, 4),
		.page = random_next(random) >> random_below(random, 54) >> 10,
		.version = (uint32_t)random_below(random, 100),
		.size = sizes[random_below(random, 7)],
	};

	if (random_below(random, 3) == 0)
		choice.version = versions[random_below(random, 10)];
	return choice;
}

static void fill(const struct choice *choice, uint8_t *out)
{
	mr_content_fill(&content, choice->block, choice->page, choice->version, out, choice->size);
}

static void zero_as_announced(void **state)
{
	struct random random = {5};
	unsigned zero = 0;

	(void)state;
	start_mixed(9);
	for (unsigned i = 0; i < ROUNDS; i++) {
		const struct choice choice = choose(&random);
		const int said = mr_content_is_zero(&content, choice.block, choice.page, choice.version);

		memset(one, 0xee, sizeof(one));
		fill(&choice, one);
		assert_int_equal(said, is_zero(one, choice.size));
		/* not a byte behind the page */
		assert_true(choice.size == sizeof(one) || one[choice.size] == 0xee);
		if (mr_content_class_of(&content, choice.block, choice.page) == MR_CONTENT_ZERO)
			assert_true(said);
		zero += said != 0;
	}
	assert_in_range(zero, ROUNDS / 4, ROUNDS / 2);
}

static void expect_different(const struct choice *choice, uint32_t version)
{
	struct choice changed = *choice;

	changed.version = version;
	fill(choice, one);
	fill(&changed, other);
	if (memcmp(one, other, choice->size) == 0 && !is_zero(one, choice->size))
		fail_msg("block %u page %llu: versions %u and %u are the same", choice->block,
			 (unsigned long long)choice->page, choice->version, version);
}

static void versions_differ(void **state)
{
	struct random random = {6};

	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct choice choice;
		uint32_t version;

		if (i % 400 == 0)
			start_mixed(i);
		choice = choose(&random);
		version = choose(&random).version;
		if (i % 2)
			version = choice.version + 1;
		if (i % 16 == 0)
			version = choice.version + 256;
		if (version != choice.version)
			expect_different(&choice, version);
	}
}

/* All of a row of versions: no two of one page are the same unless they are zero. */
static void every_version_differs(void **state)
{
	enum { VERSIONS = 1000, SMALL = 1024 };
	static uint8_t pages[VERSIONS][SMALL];

	(void)state;
	start(3, 0, 1000, 0, 0);
	for (uint32_t i = 0; i < VERSIONS; i++)
		mr_content_fill(&content, 1, 77, i * 0x10001U, pages[i], SMALL);
	for (unsigned i = 0; i < VERSIONS; i++)
		for (unsigned j = 0; j < i && !is_zero(pages[i], SMALL); j++)
			assert_memory_not_equal(pages[i], pages[j], SMALL);
}

static void pages_differ(void **state)
{
	struct random random = {7};

	(void)state;
	start(4, 0, 300, 300, 400);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct choice choice = choose(&random), near;

		choice.version += choice.version == 0;
		near = choice;
		if (i % 2)
			near.page++;
		else
			near.block++;
		fill(&choice, one);
		fill(&near, other);
		if (!is_zero(one, choice.size))
			assert_memory_not_equal(one, other, choice.size);
	}
}

static void constant_is_constant(void **state)
{
	unsigned zero = 0;

	(void)state;
	start(11, 0, 1000, 0, 0);
	for (uint32_t version = 1; version < 4000; version++) {
		mr_content_fill(&content, 0, version % 7, version, one, SIZE);
		assert_memory_equal(one, one + 8, SIZE - 8);
		zero += is_zero(one, SIZE);
	}
	assert_in_range(zero, 4000 / 8 - 100, 4000 / 8 + 100);
}

/* Runs of bytes that differ. */
static unsigned count_runs(size_t size, size_t *bytes)
{
	unsigned runs = 0;

	*bytes = 0;
	for (size_t i = MR_CONTENT_STAMP; i < size; i++) {
		*bytes += one[i] != other[i];
		runs += one[i] != other[i] && (i == MR_CONTENT_STAMP || one[i - 1] == other[i - 1]);
	}
	return runs;
}

static void versions_change_little(void **state)
{
	const unsigned versions = 5000;
	unsigned whole = 0;

	(void)state;
	for (unsigned class = MR_CONTENT_TEXT; class <= MR_CONTENT_RANDOM; class ++) {
		start(12, 0, 0, class == MR_CONTENT_TEXT ? 1000 : 0, class == MR_CONTENT_RANDOM ? 1000 : 0);
		mr_content_fill(&content, 3, 5, 1, one, SIZE);
		for (uint32_t version = 2; version < versions + 2; version++) {
			size_t bytes;

			mr_content_fill(&content, 3, 5, version, other, SIZE);
			if (count_runs(SIZE, &bytes) > 2 * MR_CONTENT_RUNS_MAX || bytes > 2 * RUNS_BYTES) {
				assert_true(bytes > SIZE / 2);
				whole++;
			} else {
				assert_true(bytes > 0);
			}
			memcpy(one, other, SIZE);
		}
	}
	/* each generation begins with another base */
	assert_in_range(whole, 2 * versions / MR_CONTENT_GENERATION - 1, 2 * versions / MR_CONTENT_GENERATION + 3);
}

/* The base comes back, as a buffer does that is used in turn with another. */
static void bases_alternate(void **state)
{
	size_t bytes;

	(void)state;
	start(16, 0, 0, 0, 1000);
	for (uint32_t version = 1; version < 200; version++) {
		mr_content_fill(&content, 0, 9, version, one, SIZE);
		mr_content_fill(&content, 0, 9, version + 2 * MR_CONTENT_GENERATION, other, SIZE);
		count_runs(SIZE, &bytes);
		assert_in_range(bytes, 1, 2 * RUNS_BYTES);
		mr_content_fill(&content, 0, 9, version + MR_CONTENT_GENERATION, other, SIZE);
		count_runs(SIZE, &bytes);
		assert_true(bytes > SIZE / 2);
	}
}

static void versions_are_told(void **state)
{
	struct random random = {8};

	(void)state;
	start_mixed(17);
	for (unsigned i = 0; i < ROUNDS; i++) {
		const struct choice choice = choose(&random);
		const bool zero = mr_content_is_zero(&content, choice.block, choice.page, choice.version);

		fill(&choice, one);
		assert_int_equal(mr_content_version(&content, choice.block, choice.page, one, choice.size),
				 zero ? UINT32_MAX : choice.version);
	}
	/* a byte anywhere makes a page that is not zero */
	memset(one, 0, sizeof(one));
	for (size_t at = 0; at < SIZE; at += 37) {
		one[at] = 1;
		for (uint64_t page = 0; page < 8; page++)
			assert_int_not_equal(mr_content_version(&content, 0, page, one, SIZE), UINT32_MAX);
		one[at] = 0;
	}
}

static void shares_are_kept(void **state)
{
	static const uint16_t shares[MR_CONTENT_CLASS_COUNT] = {100, 50, 350, 500};
	unsigned seen[MR_CONTENT_CLASS_COUNT] = {0}, filled = 0;
	const unsigned pages = 100000;

	(void)state;
	start(13, shares[0], shares[1], shares[2], shares[3]);
	for (uint64_t page = 0; page < pages; page++) {
		const enum mr_content_class class = mr_content_class_of(&content, 2, page);

		seen[class]++;
		filled += !mr_content_is_zero(&content, 2, page, 0);
		assert_int_equal(class, mr_content_class_of(&content, 2, page));
	}
	for (unsigned class = 0; class < MR_CONTENT_CLASS_COUNT; class ++)
		assert_in_range(seen[class], shares[class] * 100 - 600, shares[class] * 100 + 600);
	assert_in_range(filled, 54000 - 800, 54000 + 800);
}

static void shares_at_the_edges(void **state)
{
	(void)state;
	for (unsigned class = 0; class < MR_CONTENT_CLASS_COUNT; class ++) {
		start(14, class == 0 ? 1000 : 0, class == 1 ? 1000 : 0, class == 2 ? 1000 : 0, class == 3 ? 1000 : 0);
		for (unsigned round = 0; round < 2; round++) {
			content.filled = round ? 1000 : 0;
			for (uint64_t page = 0; page < 20000; page++) {
				assert_int_equal(mr_content_class_of(&content, 0, page), class);
				assert_int_equal(mr_content_is_zero(&content, 0, page, 0), class == 0 || round == 0);
			}
		}
	}
}

/* Bytes that 32 pages take together. */
static size_t compressed(bool far)
{
	static uint8_t pages[32 * SIZE], out[64 * SIZE];
	uLongf length = sizeof(out);

	for (unsigned i = 0; i < 32; i++)
		mr_content_fill(&content, 0, i, 1, pages + (size_t)i * SIZE, SIZE);
	if (far)
		return ZSTD_compress(out, sizeof(out), pages, sizeof(pages), 9);
	assert_int_equal(compress2(out, &length, pages, sizeof(pages), 9), Z_OK);
	return length;
}

static void compressible_by_class(void **state)
{
	(void)state;
	for (unsigned far = 0; far < 2; far++) {
		start(15, 0, 0, 0, 1000);
		assert_true(compressed(far) > 32 * SIZE);
		start(15, 0, 0, 1000, 0);
		assert_true(compressed(far) < 32 * SIZE / 3);
	}
}

static uint64_t hash(uint64_t so_far, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		so_far = (so_far ^ bytes[i]) * UINT64_C(0x100000001b3);
	return so_far;
}

/* Recordings name a seed alone: whatever changes these numbers makes each of them another one. */
static void known_bytes(void **state)
{
	static const uint64_t expected[MR_CONTENT_CLASS_COUNT] = {
		UINT64_C(0xf12146d1cebd3325),
		UINT64_C(0xe053c112b2344f25),
		UINT64_C(0xbd0a82766ddea412),
		UINT64_C(0x9b03d8bc83a79cdd),
	};
	static const uint8_t stamp[MR_CONTENT_STAMP] = {4, 3, 2, 1, 7, 0, 0, 0, 0x0d, 0x0c, 0x0b, 0x0a, 0, 0, 0, 0x80};

	(void)state;
	for (unsigned class = 0; class < MR_CONTENT_CLASS_COUNT; class ++) {
		uint64_t found = UINT64_C(0xcbf29ce484222325);

		start(1, class == 0 ? 1000 : 0, class == 1 ? 1000 : 0, class == 2 ? 1000 : 0, class == 3 ? 1000 : 0);
		for (unsigned size = 0; size < 7; size++)
			for (uint32_t version = 0; version < 35; version++) {
				mr_content_fill(&content, version % 3, version / 5, version, one, sizes[size]);
				found = hash(found, one, sizes[size]);
			}
		assert_int_equal(found, expected[class]);
	}
	mr_content_fill(&content, 7, 0x0a0b0c0d, 0x01020304, one, SIZE);
	assert_memory_equal(one, stamp, sizeof(stamp));
}

static void class_names(void **state)
{
	(void)state;
	assert_string_equal(mr_content_class_name(MR_CONTENT_ZERO), "zero");
	assert_string_equal(mr_content_class_name(MR_CONTENT_CONSTANT), "constant");
	assert_string_equal(mr_content_class_name(MR_CONTENT_TEXT), "text");
	assert_string_equal(mr_content_class_name(MR_CONTENT_RANDOM), "random");
	assert_null(mr_content_class_name(MR_CONTENT_CLASS_COUNT));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zero_as_announced),     cmocka_unit_test(versions_differ),
		cmocka_unit_test(every_version_differs), cmocka_unit_test(pages_differ),
		cmocka_unit_test(constant_is_constant),  cmocka_unit_test(versions_change_little),
		cmocka_unit_test(bases_alternate),       cmocka_unit_test(versions_are_told),
		cmocka_unit_test(shares_are_kept),       cmocka_unit_test(shares_at_the_edges),
		cmocka_unit_test(compressible_by_class), cmocka_unit_test(known_bytes),
		cmocka_unit_test(class_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
