/* test_host_memory.c: memory of a real guest: allocated, read, written, discarded. */
#include "host_support.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { PAGES = 6 };

static enum mr_host_kind kinds[MR_HOST_KIND_COUNT] = {
	MR_HOST_ANONYMOUS,
	MR_HOST_SHARED,
	MR_HOST_HUGE_2M,
	MR_HOST_HUGE_1G,
};

static struct mr_host_problem problem;

/* Huge pages of the pool that this process has, bytes: others take and give back theirs at any time. */
static uint64_t huge_bytes(void)
{
	static const char name[] = "HugetlbPages:";
	FILE *file = fopen("/proc/self/status", "re");
	uint64_t kibibytes = 0;
	char line[256];

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, name, strlen(name)) == 0)
			kibibytes = strtoull(line + strlen(name), NULL, 10);
	fclose(file);
	return kibibytes << 10;
}

static bool is_huge(enum mr_host_kind kind)
{
	return kind == MR_HOST_HUGE_2M || kind == MR_HOST_HUGE_1G;
}

/* keeps HST-006: what is discarded reads as zero, and what is beside it stays. */
static void test_discard(void **state)
{
	const enum mr_host_kind kind = *(enum mr_host_kind *)*state;
	struct mr_host_memory memory;
	uint64_t size;

	host_allocate(&memory, kind, PAGES);
	size = memory.page_size;
	assert_int_equal((uintptr_t)memory.data % size, 0);
	for (uint64_t i = 0; i < PAGES; i++)
		host_fill(memory.data + i * size, size, i, 1);
	assert_int_equal(mr_host_memory_discard(&memory, size, 2 * size, &problem), 0);
	assert_int_equal(mr_host_memory_discard(&memory, 5 * size, size, &problem), 0);
	assert_int_equal(mr_host_memory_discard(&memory, PAGES * size, 0, &problem), 0);
	for (uint64_t i = 0; i < PAGES; i++) {
		const bool gone = i == 1 || i == 2 || i == 5;

		assert_int_equal(host_holds(memory.data + i * size, size, i, 1), !gone);
		if (gone)
			assert_int_equal(memory.data[i * size] | memory.data[(i + 1) * size - 1], 0);
	}
	mr_host_memory_allow_huge(&memory);
	mr_host_memory_free(&memory);
	mr_host_memory_free(&memory);
}

/* breaks HST-006: what would tear a page is refused, and changes nothing. */
static void test_bad_ranges(void **state)
{
	const enum mr_host_kind kind = *(enum mr_host_kind *)*state;
	struct mr_host_memory memory;
	uint64_t size, byte;

	host_allocate(&memory, kind, 2);
	size = memory.page_size;
	host_fill(memory.data, size, 0, 1);
	assert_int_equal(mr_host_memory_discard(&memory, 1, size, &problem), -EINVAL);
	assert_int_equal(mr_host_memory_discard(&memory, 0, size / 2, &problem), -EINVAL);
	assert_int_equal(mr_host_memory_discard(&memory, 2 * size, size, &problem), -EINVAL);
	assert_int_equal(mr_host_memory_discard(&memory, size, UINT64_MAX - size + 1, &problem), -EINVAL);
	assert_int_equal(problem.error, EINVAL);
	assert_non_null(strstr(problem.text, "expected multiples of"));
	assert_int_equal(mr_host_memory_read(&memory, 2 * size - 7, &byte, 8, &problem), -EINVAL);
	assert_int_equal(mr_host_memory_read(&memory, UINT64_MAX, &byte, 8, NULL), -EINVAL);
	assert_true(host_holds(memory.data, size, 0, 1));
	mr_host_memory_free(&memory);
}

static void test_bad_sizes(void **state)
{
	const enum mr_host_kind kind = *(enum mr_host_kind *)*state;
	const uint64_t size = mr_host_kind_page_size(kind);
	struct mr_host_memory memory;

	assert_int_equal(mr_host_memory_allocate(&memory, kind, 0, &problem), -EINVAL);
	assert_int_equal(mr_host_memory_allocate(&memory, kind, size + 1, &problem), -EINVAL);
	assert_int_equal(mr_host_memory_allocate(&memory, kind, UINT64_C(1) << 63, &problem), -EINVAL);
	/* more than any address space */
	assert_true(mr_host_memory_allocate(&memory, kind, UINT64_C(1) << 62, &problem) < 0);
	assert_true(strlen(problem.text) > 0);
	assert_null(memory.data);
}

/* Bytes anywhere, across pages that are there and pages that are not; reading makes none of them. */
static void test_read(void **state)
{
	const enum mr_host_kind kind = *(enum mr_host_kind *)*state;
	struct mr_host_memory memory;
	uint64_t size, before;
	uint8_t *bytes;

	host_allocate(&memory, kind, PAGES);
	size = memory.page_size;
	bytes = malloc(PAGES * size);
	assert_non_null(bytes);
	host_fill(memory.data + size, size, 1, 1);
	host_fill(memory.data + 4 * size, size, 4, 1);
	before = huge_bytes();
	memset(bytes, 0xff, PAGES * size);
	assert_int_equal(mr_host_memory_read(&memory, 0, bytes, PAGES * size, &problem), 0);
	for (uint64_t i = 0; i < PAGES; i++)
		assert_int_equal(host_holds(bytes + i * size, size, i, 1), i == 1 || i == 4);
	assert_int_equal(bytes[0] | bytes[size - 1] | bytes[5 * size], 0);
	memset(bytes, 0xff, 32);
	assert_int_equal(mr_host_memory_read(&memory, size - 5, bytes, 17, &problem), 0);
	assert_int_equal(bytes[4], 0);
	assert_memory_equal(bytes + 5, memory.data + size, 12);
	assert_int_equal(bytes[17], 0xff);
	assert_int_equal(mr_host_memory_read(&memory, 5, bytes, 0, &problem), 0);
	assert_int_equal(huge_bytes(), before);
	assert_int_equal(before, is_huge(kind) ? 2 * size : 0);
	free(bytes);
	mr_host_memory_free(&memory);
}

/* Ranges longer than a batch of the page table. */
static void test_long_read(void **state)
{
	const uint64_t pages = 1000;
	struct mr_host_memory memory;
	uint64_t size;
	uint8_t *bytes;

	(void)state;
	host_allocate(&memory, MR_HOST_ANONYMOUS, pages);
	size = memory.page_size;
	bytes = malloc(pages * size);
	assert_non_null(bytes);
	/* single pages, or one that is touched would bring its neighbours */
	assert_int_equal(mr_host_memory_discard(&memory, 0, size, &problem), 0);
	for (uint64_t i = 0; i < pages; i += 3)
		host_fill(memory.data + i * size, size, i, 1);
	assert_int_equal(mr_host_memory_read(&memory, size / 2, bytes, (pages - 1) * size, &problem), 0);
	assert_memory_equal(bytes, memory.data + size / 2, (pages - 1) * size);
	free(bytes);
	mr_host_memory_free(&memory);
}

/* All offsets and lengths, and nothing beside them. */
static void test_load_store(void **state)
{
	_Alignas(8) uint8_t guest[64];
	uint8_t bytes[64], back[64];

	(void)state;
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i + 1);
	for (size_t offset = 0; offset < 16; offset++)
		for (size_t length = 0; length < 40; length++) {
			memset(guest, 0, sizeof(guest));
			memset(back, 0, sizeof(back));
			mr_host_store(guest + offset, bytes, length);
			assert_memory_equal(guest + offset, bytes, length);
			assert_int_equal(guest[offset + length], 0);
			assert_true(offset == 0 || guest[offset - 1] == 0);
			mr_host_load(back, guest + offset, length);
			assert_memory_equal(back, bytes, length);
			assert_int_equal(back[length], 0);
		}
}

/* Whether the flags of the mapping forbid transparent huge pages (nh), as the kernel tells. */
static bool forbids_huge(const struct mr_host_memory *memory)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	char text[512];
	bool inside = false, forbidden = false;

	assert_non_null(file);
	while (fgets(text, sizeof(text), file)) {
		char *behind;
		const uint64_t start = strtoull(text, &behind, 16);

		/* the first line of a mapping begins with its addresses */
		if (*behind == '-')
			inside = (uintptr_t)memory->data >= start &&
				 (uintptr_t)memory->data < strtoull(behind + 1, NULL, 16);
		if (inside && strncmp(text, "VmFlags:", 8) == 0)
			forbidden = strstr(text, " nh") != NULL;
	}
	fclose(file);
	return forbidden;
}

/* keeps HST-007, breaks HST-007: from the first discard on and until the end, not before and not after. */
static void test_huge_advice(void **state)
{
	const enum mr_host_kind kind = *(enum mr_host_kind *)*state;
	struct mr_host_memory memory;

	if (RUNNING_ON_VALGRIND || access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0) {
		print_message("skipped: no transparent huge pages\n");
		skip();
	}
	host_allocate(&memory, kind, 1024);
	assert_false(forbids_huge(&memory));
	assert_int_equal(mr_host_memory_discard(&memory, 0, memory.page_size, &problem), 0);
	assert_true(forbids_huge(&memory));
	mr_host_memory_allow_huge(&memory);
	assert_false(forbids_huge(&memory));
	mr_host_memory_free(&memory);
}

/* keeps HST-011: an empty pool is told at once, with what to do; what is discarded goes back. */
static void test_pool(void **state)
{
	struct mr_host_memory memory, more;
	struct mr_host_pool pool;

	(void)state;
	host_allocate(&memory, MR_HOST_HUGE_2M, PAGES);
	assert_int_equal(mr_host_pool_read(memory.page_size, &pool), 0);
	assert_int_equal(
		mr_host_memory_allocate(&more, MR_HOST_HUGE_2M, (pool.total + 1000) * memory.page_size, &problem),
		-ENOMEM);
	assert_non_null(strstr(problem.text, "hugepages-2048kB/nr_hugepages"));
	assert_null(more.data);
	assert_int_equal(huge_bytes(), 0);
	host_fill(memory.data, memory.page_size, 0, 1);
	assert_int_equal(huge_bytes(), memory.page_size);
	assert_int_equal(mr_host_memory_discard(&memory, 0, memory.size, &problem), 0);
	assert_int_equal(huge_bytes(), 0);
	mr_host_memory_free(&memory);
}

/* breaks HST-011: of 1 GiB there is rarely a page. */
static void test_no_pool(void **state)
{
	const uint64_t size = mr_host_kind_page_size(MR_HOST_HUGE_1G);
	struct mr_host_memory memory;
	int error;

	(void)state;
	assert_int_equal(size, 1 << 30);
	error = mr_host_memory_allocate(&memory, MR_HOST_HUGE_1G, 4096 * size, &problem);
	assert_true(error < 0);
	assert_non_null(strstr(problem.text, "1048576 KiB"));
}

static void test_names(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MR_HOST_KIND_COUNT; i++)
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(mr_host_kind_name((enum mr_host_kind)i),
						mr_host_kind_name((enum mr_host_kind)j));
	assert_int_equal(mr_host_fail(&problem, EIO, "%0300d", 1), -EIO);
	assert_int_equal(strlen(problem.text), sizeof(problem.text) - 1);
	assert_int_equal(mr_host_fail(&problem, 123456, "odd"), -123456);
	assert_string_equal(problem.text, "odd: unknown error");
	assert_int_equal(mr_host_fail(NULL, EIO, "nobody asks"), -EIO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(test_discard, &kinds[MR_HOST_ANONYMOUS]),
		cmocka_unit_test_prestate(test_discard, &kinds[MR_HOST_SHARED]),
		cmocka_unit_test_prestate(test_discard, &kinds[MR_HOST_HUGE_2M]),
		cmocka_unit_test_prestate(test_bad_ranges, &kinds[MR_HOST_ANONYMOUS]),
		cmocka_unit_test_prestate(test_bad_ranges, &kinds[MR_HOST_SHARED]),
		cmocka_unit_test_prestate(test_bad_ranges, &kinds[MR_HOST_HUGE_2M]),
		cmocka_unit_test_prestate(test_bad_sizes, &kinds[MR_HOST_ANONYMOUS]),
		cmocka_unit_test_prestate(test_bad_sizes, &kinds[MR_HOST_SHARED]),
		cmocka_unit_test_prestate(test_bad_sizes, &kinds[MR_HOST_HUGE_2M]),
		cmocka_unit_test_prestate(test_bad_sizes, &kinds[MR_HOST_HUGE_1G]),
		cmocka_unit_test_prestate(test_read, &kinds[MR_HOST_ANONYMOUS]),
		cmocka_unit_test_prestate(test_read, &kinds[MR_HOST_SHARED]),
		cmocka_unit_test_prestate(test_read, &kinds[MR_HOST_HUGE_2M]),
		cmocka_unit_test(test_long_read),
		cmocka_unit_test(test_load_store),
		cmocka_unit_test_prestate(test_huge_advice, &kinds[MR_HOST_ANONYMOUS]),
		cmocka_unit_test_prestate(test_huge_advice, &kinds[MR_HOST_SHARED]),
		cmocka_unit_test(test_pool),
		cmocka_unit_test(test_no_pool),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
