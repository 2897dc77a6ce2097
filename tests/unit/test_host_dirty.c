/* test_host_dirty.c: the log of a real guest's writes, by each method, on each kind of memory. */
#include "host_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "random.h"
#include "sim/host/dirty.h"
#include "sim/host/userfault.h"

enum { WRITERS = 3, WORD_BITS = 64, PAGES_MAX = 8192, HANGS_AFTER = 300 /* seconds */ };

static struct mr_host_problem problem;

struct variant {
	enum mr_host_kind kind;
	enum mr_dirty_method method;
};

static struct {
	struct mr_host_memory memory;
	struct mr_dirty *dirty;
	uint64_t size, pages;     /* of the block: bytes of a page, pages */
	uint64_t targets, in_one; /* target pages in all and in one page of the block */
	uint64_t found[PAGES_MAX / WORD_BITS];
} guest;

static void need(const struct variant *variant)
{
	host_need(variant->method == MR_DIRTY_SCAN ? MR_HOST_WANT_DIRTY_SCAN : MR_HOST_WANT_DIRTY_FAULTS,
		  variant->kind);
}

static struct mr_dirty *log_of(const struct mr_host_memory *memory, enum mr_dirty_method method)
{
	struct mr_dirty *dirty = mr_dirty_start(&memory, 1, method, &problem);

	if (!dirty && problem.error == EOPNOTSUPP) {
		print_message("skipped: %s\n", problem.text);
		skip();
	}
	if (!dirty)
		fail_msg("%s", problem.text);
	return dirty;
}

static void allocate(const struct variant *variant, uint64_t pages)
{
	need(variant);
	host_allocate(&guest.memory, variant->kind, pages);
	guest.size = guest.memory.page_size;
	guest.pages = pages;
	guest.in_one = guest.size / MR_DIRTY_PAGE;
	guest.targets = pages * guest.in_one;
	assert_in_range(guest.targets, 1, PAGES_MAX);
}

static void begin(const struct variant *variant, uint64_t pages)
{
	allocate(variant, pages);
	guest.dirty = log_of(&guest.memory, variant->method);
	assert_int_equal(mr_dirty_method(guest.dirty), variant->method);
}

static void end(void)
{
	mr_dirty_stop(guest.dirty);
	mr_host_memory_free(&guest.memory);
}

static bool is_found(uint64_t target)
{
	return guest.found[target / WORD_BITS] >> target % WORD_BITS & 1;
}

/* Fetches pages of the block; returns how many target pages were dirty. */
static uint64_t fetch(uint64_t first, uint64_t count)
{
	uint64_t pages = 0, bits = 0;

	memset(guest.found, 0, sizeof(guest.found));
	if (mr_dirty_fetch(guest.dirty, 0, first * guest.size, count * guest.size, guest.found, &pages, &problem) != 0)
		fail_msg("%s", problem.text);
	for (uint64_t i = 0; i < PAGES_MAX / WORD_BITS; i++)
		bits += (uint64_t)__builtin_popcountll(guest.found[i]);
	assert_int_equal(bits, pages);
	return pages;
}

static void write_page(uint64_t page, uint64_t offset)
{
	const uint64_t word = page * 1000 + offset;

	mr_host_store(guest.memory.data + page * guest.size + offset, &word, sizeof(word));
}

static void expect_only(uint64_t page)
{
	for (uint64_t target = 0; target < guest.targets; target++)
		assert_int_equal(is_found(target), target / guest.in_one == page);
}

/* keeps HST-013: clean at first, even what was written before; dirty by a write, not by a read; clean when fetched. */
static void test_write(void **state)
{
	const struct variant *variant = *state;
	uint64_t word;

	allocate(variant, 8);
	write_page(0, 0);
	mr_host_load(&word, guest.memory.data + guest.size, sizeof(word));
	guest.dirty = log_of(&guest.memory, variant->method);
	assert_int_equal(fetch(0, 8), 0);
	mr_host_load(&word, guest.memory.data + 2 * guest.size, sizeof(word));
	mr_host_load(&word, guest.memory.data, sizeof(word));
	assert_int_equal(fetch(0, 8), 0);
	for (unsigned round = 0; round < 3; round++)
		for (uint64_t page = 0; page < 8; page++) {
			/* the last byte of the page, the first, and one in the middle */
			write_page(page, page % 2 ? 0 : guest.size - 8);
			write_page(page, 64);
			assert_int_equal(fetch(0, 8), guest.in_one);
			expect_only(page);
			assert_int_equal(fetch(0, 8), 0);
		}
	end();
}

/* A part is fetched, and the rest stays for later. */
static void test_parts(void **state)
{
	begin(*state, 8);
	for (uint64_t page = 1; page < 7; page++)
		write_page(page, 8);
	assert_int_equal(fetch(2, 1), guest.in_one);
	expect_only(2);
	assert_int_equal(fetch(0, 4), 2 * guest.in_one);
	assert_true(is_found(guest.in_one) && is_found(3 * guest.in_one) && !is_found(2 * guest.in_one));
	assert_int_equal(fetch(0, 0), 0);
	assert_int_equal(fetch(0, 8), 3 * guest.in_one);
	assert_false(is_found(7 * guest.in_one - 3 * guest.in_one - 1));
	assert_true(is_found(7 * guest.in_one - 1) && !is_found(7 * guest.in_one));
	end();
}

/* More runs than one answer of the kernel has room for. */
static void test_scattered(void **state)
{
	begin(*state, 4000);
	for (unsigned round = 0; round < 2; round++) {
		for (uint64_t page = round; page < 4000; page += 2)
			write_page(page, 16);
		assert_int_equal(fetch(0, 4000), 2000);
		for (uint64_t target = 0; target < 4000; target++)
			assert_int_equal(is_found(target), target % 2 == round);
	}
	end();
}

/* What the kernel writes for a system call is a write, too. */
static void test_kernel_writes(void **state)
{
	const struct variant *variant = *state;
	int ends[2];

	host_need(MR_HOST_WANT_KERNEL_FAULTS, variant->kind);
	begin(variant, 4);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], "0123456789abcdef", 16), 16);
	assert_int_equal(read(ends[0], guest.memory.data + 2 * guest.size - 8, 16), 16);
	assert_int_equal(fetch(0, 4), 2 * guest.in_one);
	assert_true(is_found(2 * guest.in_one - 1) && is_found(2 * guest.in_one) && !is_found(0));
	assert_memory_equal(guest.memory.data + 2 * guest.size - 8, "0123456789abcdef", 16);
	close(ends[0]);
	close(ends[1]);
	end();
}

/* One byte within a transparent huge page dirties one small page of it. */
static void test_transparent_huge(void **state)
{
	const uint64_t pages = 2048;

	allocate(*state, pages);
	for (uint64_t page = 0; page < pages; page++)
		write_page(page, 0);
	guest.dirty = log_of(&guest.memory, ((const struct variant *)*state)->method);
	for (uint64_t page = 700; page < pages; page += 600) {
		write_page(page, 128);
		assert_int_equal(fetch(0, pages), 1);
		expect_only(page);
	}
	end();
}

/* breaks HST-013: what is written before a log begins, or behind its end, is in no log. */
static void test_stop(void **state)
{
	const struct variant *variant = *state;

	begin(variant, 8);
	write_page(1, 0);
	mr_dirty_stop(guest.dirty);
	write_page(2, 0);
	guest.dirty = log_of(&guest.memory, variant->method);
	assert_int_equal(fetch(0, 8), 0);
	end();
	mr_dirty_stop(NULL);
}

/* breaks HST-014: who copies a page before he asks whether it is dirty loses what is written between the two. */
static void test_copied_first(void **state)
{
	uint64_t copy, now;

	begin(*state, 4);
	write_page(1, 0);
	mr_host_load(&copy, guest.memory.data + guest.size, sizeof(copy));
	write_page(2, 0);
	guest.memory.data[guest.size] ^= 1;
	assert_int_equal(fetch(0, 4), 2 * guest.in_one);
	assert_int_equal(fetch(0, 4), 0);
	mr_host_load(&now, guest.memory.data + guest.size, sizeof(now));
	assert_int_not_equal(copy, now);
	end();
}

static void test_refusals(void **state)
{
	const struct mr_host_memory *blocks[MR_DIRTY_BLOCKS_MAX + 1] = {0};
	const struct variant *variant = *state;
	struct mr_userfault *userfault;
	uint64_t pages = 0;
	uint32_t block;

	begin(variant, 4);
	memset(guest.found, 0, sizeof(guest.found));
	assert_int_equal(mr_dirty_fetch(guest.dirty, 1, 0, guest.size, guest.found, &pages, &problem), -EINVAL);
	assert_int_equal(mr_dirty_fetch(guest.dirty, 0, 8, guest.size, guest.found, &pages, &problem), -EINVAL);
	assert_int_equal(mr_dirty_fetch(guest.dirty, 0, 0, guest.size / 2, guest.found, &pages, &problem), -EINVAL);
	assert_int_equal(mr_dirty_fetch(guest.dirty, 0, 0, 5 * guest.size, guest.found, &pages, &problem), -EINVAL);
	assert_int_equal(
		mr_dirty_fetch(guest.dirty, 0, UINT64_MAX - guest.size + 1, guest.size, guest.found, &pages, &problem),
		-EINVAL);
	assert_non_null(strstr(problem.text, "expected multiples"));
	assert_int_equal(pages, 0);
	blocks[0] = &guest.memory;
	assert_null(mr_dirty_start(blocks, 1, variant->method, &problem));
	assert_int_equal(problem.error, EBUSY);
	assert_null(mr_dirty_start(blocks, MR_DIRTY_BLOCKS_MAX + 1, variant->method, &problem));
	assert_int_equal(problem.error, E2BIG);
	userfault = mr_userfault_open(&problem);
	assert_non_null(userfault);
	assert_int_equal(mr_userfault_add(userfault, &guest.memory, &block, &problem), -EBUSY);
	mr_userfault_close(userfault);
	/* the failed attempts took nothing away */
	write_page(3, 0);
	assert_int_equal(fetch(0, 4), guest.in_one);
	expect_only(3);
	end();
}

static void test_blocks(void **state)
{
	const struct variant *variant = *state;
	const struct mr_host_memory *blocks[2] = {&guest.memory};
	struct mr_host_memory other;
	uint64_t found = 0, pages = 0;

	allocate(variant, 4);
	host_allocate(&other, MR_HOST_SHARED, 8);
	blocks[1] = &other;
	guest.dirty = mr_dirty_start(blocks, 2, variant->method, &problem);
	assert_non_null(guest.dirty);
	other.data[5 * other.page_size] = 1;
	assert_int_equal(fetch(0, 4), 0);
	write_page(0, 0);
	assert_int_equal(mr_dirty_fetch(guest.dirty, 1, 0, other.size, &found, &pages, &problem), 0);
	assert_int_equal(pages, other.page_size / MR_DIRTY_PAGE);
	assert_true(found >> 5 * other.page_size / MR_DIRTY_PAGE & 1);
	assert_int_equal(fetch(0, 4), guest.in_one);
	mr_dirty_stop(guest.dirty);
	guest.dirty = NULL;
	mr_host_memory_free(&other);
	end();
}

static void test_best(void **state)
{
	const struct variant variant = {MR_HOST_ANONYMOUS, MR_DIRTY_BEST};
	char line[MR_HOST_LINE];

	(void)state;
	allocate(&variant, 4);
	guest.dirty = log_of(&guest.memory, MR_DIRTY_BEST);
	assert_int_equal(mr_dirty_method(guest.dirty) == MR_DIRTY_SCAN,
			 mr_host_has(host_probed(), MR_HOST_WANT_DIRTY_SCAN, MR_HOST_ANONYMOUS, line));
	write_page(1, 0);
	assert_int_equal(fetch(0, 4), guest.in_one);
	end();
	for (unsigned i = 0; i < MR_DIRTY_METHOD_COUNT; i++)
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(mr_dirty_method_name((enum mr_dirty_method)i),
						mr_dirty_method_name((enum mr_dirty_method)j));
}

/* ---- Writers that never rest ---- */

struct writer {
	pthread_t thread;
	unsigned number;
	uint64_t writes;
	uint64_t written[PAGES_MAX / WORD_BITS]; /* pages of the block */
};

static atomic_bool resting;
static atomic_uint writing; /* writers that have written */

/* Each has words of its own in every page, so that no two write one place. */
static void *hammer(void *argument)
{
	struct writer *writer = argument;
	struct random random = {writer->number + 1};

	while (!atomic_load(&resting)) {
		/* sometimes the same few pages again and again, sometimes any */
		const uint64_t page = random_below(&random, writer->writes / 1000 % 2 ? guest.pages : 3);
		const uint64_t slot = random_below(&random, guest.size / 8 / WRITERS);
		const uint64_t word = random_next(&random);

		mr_host_store(guest.memory.data + page * guest.size + (slot * WRITERS + writer->number) * 8, &word, 8);
		writer->written[page / WORD_BITS] |= UINT64_C(1) << page % WORD_BITS;
		if (writer->writes++ == 0)
			atomic_fetch_add(&writing, 1);
	}
	return NULL;
}

/* What a source does: fetches a part, and copies what is dirty in it. Returns how many target pages that was. */
static uint64_t copy_dirty(uint8_t *copy, uint64_t *ever, uint64_t first, uint64_t count)
{
	const uint64_t found = fetch(first, count);

	for (uint64_t i = 0; i < guest.targets; i++) {
		ever[i / WORD_BITS] |= guest.found[i / WORD_BITS];
		if (is_found(i))
			mr_host_load(copy + i * MR_DIRTY_PAGE, guest.memory.data + i * MR_DIRTY_PAGE, MR_DIRTY_PAGE);
	}
	return found;
}

static void check_union(const struct writer *writers, const uint64_t *ever)
{
	for (uint64_t page = 0; page < guest.pages; page++) {
		const uint64_t target = page * guest.in_one;
		bool written = false;

		for (unsigned i = 0; i < WRITERS; i++)
			written |= writers[i].written[page / WORD_BITS] >> page % WORD_BITS & 1;
		for (uint64_t i = target; i < target + guest.in_one; i++)
			assert_int_equal(ever[i / WORD_BITS] >> i % WORD_BITS & 1, written);
	}
}

/* keeps HST-014: not one write is lost, whatever falls between a fetch and the copy. */
static void test_hammer(void **state)
{
	static struct writer writers[WRITERS];
	const struct variant *variant = *state;
	const uint64_t pages = variant->kind == MR_HOST_HUGE_2M ? 4 : 1500;
	uint64_t ever[PAGES_MAX / WORD_BITS] = {0}, fetched = 0, writes = 0;
	const unsigned rounds = THREADS_WATCHED || SANITIZED ? 20 : 100;
	struct random random = {7};
	uint8_t *copy;

	begin(variant, pages);
	copy = calloc(pages, guest.size);
	assert_non_null(copy);
	memset(writers, 0, sizeof(writers));
	atomic_store(&resting, false);
	atomic_store(&writing, 0);
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i].number = i;
		assert_int_equal(pthread_create(&writers[i].thread, NULL, hammer, &writers[i]), 0);
	}
	/* On a busy host all rounds could be over before a thread has begun. */
	while (atomic_load(&writing) < WRITERS)
		usleep(200);
	for (unsigned i = 0; i < rounds; i++) {
		const uint64_t first = random_below(&random, pages), count = 1 + random_below(&random, pages - first);

		fetched += copy_dirty(copy, ever, i % 4 ? first : 0, i % 4 ? count : pages);
		usleep(200);
	}
	atomic_store(&resting, true);
	for (unsigned i = 0; i < WRITERS; i++) {
		assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
		writes += writers[i].writes;
	}
	fetched += copy_dirty(copy, ever, 0, pages);
	assert_memory_equal(copy, guest.memory.data, guest.memory.size);
	check_union(writers, ever);
	assert_true(writes > 0 && fetched > 0);
	assert_int_equal(fetch(0, pages), 0);
	free(copy);
	end();
}

static struct variant variants[][3] = {
	{
		{MR_HOST_ANONYMOUS, MR_DIRTY_SCAN},
		{MR_HOST_ANONYMOUS, MR_DIRTY_FAULTS},
		{MR_HOST_ANONYMOUS, MR_DIRTY_FAULTS_POPULATED},
	},
	{
		{MR_HOST_SHARED, MR_DIRTY_SCAN},
		{MR_HOST_SHARED, MR_DIRTY_FAULTS},
		{MR_HOST_SHARED, MR_DIRTY_FAULTS_POPULATED},
	},
	{
		{MR_HOST_HUGE_2M, MR_DIRTY_SCAN},
		{MR_HOST_HUGE_2M, MR_DIRTY_FAULTS},
		{MR_HOST_HUGE_2M, MR_DIRTY_FAULTS_POPULATED},
	},
};

#define EACH_METHOD(test, kind)                                                                                        \
	cmocka_unit_test_prestate(test, &variants[kind][0]), cmocka_unit_test_prestate(test, &variants[kind][1]),      \
		cmocka_unit_test_prestate(test, &variants[kind][2])
#define EACH(test) EACH_METHOD(test, 0), EACH_METHOD(test, 1), EACH_METHOD(test, 2)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(test_write),
		EACH(test_parts),
		EACH_METHOD(test_scattered, 0),
		EACH_METHOD(test_scattered, 1),
		EACH(test_kernel_writes),
		EACH_METHOD(test_transparent_huge, 0),
		EACH(test_stop),
		EACH(test_copied_first),
		EACH(test_refusals),
		EACH(test_blocks),
		cmocka_unit_test(test_best),
		EACH(test_hammer),
	};

	/* a fault that nobody answers would wait for ever */
	alarm(HANGS_AFTER);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
