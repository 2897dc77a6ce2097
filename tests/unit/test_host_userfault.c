/* test_host_userfault.c: threads that touch missing pages of a real guest, and pages that come for them. */
#include "host_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "random.h"
#include "sim/host/userfault.h"

enum { PAGES = 16, WAIT_MS = 10000, HANGS_AFTER = 300 /* seconds */, EVENTS = 32, TOUCHERS_MAX = 8 };

static enum mr_host_kind kinds[MR_HOST_KIND_COUNT] = {
	MR_HOST_ANONYMOUS,
	MR_HOST_SHARED,
	MR_HOST_HUGE_2M,
	MR_HOST_HUGE_1G,
};

static struct mr_host_problem problem;
static struct mr_userfault_placed placed;

/* A block of missing pages, and a buffer in which each page is as it should come. */
static struct {
	struct mr_host_memory memory;
	struct mr_userfault *userfault;
	uint64_t pages, size; /* of a page */
	uint32_t block;
	uint8_t *content;
} guest;

static void begin(enum mr_host_kind kind, uint64_t pages)
{
	host_need(MR_HOST_WANT_POSTCOPY, kind);
	host_allocate(&guest.memory, kind, pages);
	guest.pages = pages;
	guest.size = guest.memory.page_size;
	guest.content = malloc(pages * guest.size);
	assert_non_null(guest.content);
	for (uint64_t i = 0; i < pages; i++)
		host_fill(guest.content + i * guest.size, guest.size, i, 1);
	/* as a destination does, which also forbids huge pages where small ones are to come */
	assert_int_equal(mr_host_memory_discard(&guest.memory, 0, guest.memory.size, &problem), 0);
	guest.userfault = mr_userfault_open(&problem);
	assert_non_null(guest.userfault);
	assert_int_equal(mr_userfault_add(guest.userfault, &guest.memory, &guest.block, &problem), 0);
	assert_int_equal(guest.block, 0);
}

static void end(void)
{
	mr_userfault_close(guest.userfault);
	mr_host_memory_free(&guest.memory);
	free(guest.content);
}

static int place(uint64_t page, uint64_t count)
{
	return mr_userfault_place(guest.userfault, guest.block, page * guest.size, guest.content + page * guest.size,
				  count * guest.size, &placed);
}

static bool holds(uint64_t page)
{
	return host_holds(guest.memory.data + page * guest.size, guest.size, page, 1);
}

/* ---- A thread that touches one page ---- */

struct toucher {
	pthread_t thread;
	uint8_t *at;
	bool write;
	atomic_uint id; /* once it has begun */
	atomic_bool done;
	uint64_t seen;
};

static void *touch(void *argument)
{
	struct toucher *toucher = argument;
	const uint64_t word = 42;

	atomic_store(&toucher->id, (unsigned)syscall(SYS_gettid));
	if (toucher->write)
		mr_host_store(toucher->at, &word, sizeof(word));
	mr_host_load(&toucher->seen, toucher->at, sizeof(toucher->seen));
	atomic_store(&toucher->done, true);
	return NULL;
}

static void start_at(struct toucher *toucher, uint8_t *at, bool write)
{
	*toucher = (struct toucher){.at = at, .write = write};
	assert_int_equal(pthread_create(&toucher->thread, NULL, touch, toucher), 0);
}

static void start(struct toucher *toucher, uint64_t page, bool write)
{
	start_at(toucher, guest.memory.data + page * guest.size, write);
}

static void finish(struct toucher *toucher)
{
	assert_int_equal(pthread_join(toucher->thread, NULL), 0);
}

/* Waits for the events of so many threads. */
static void expect(struct mr_userfault_event *events, int count)
{
	int got = 0;

	while (got < count) {
		int read;

		assert_int_equal(mr_userfault_wait(guest.userfault, WAIT_MS), MR_USERFAULT_READABLE);
		read = mr_userfault_read(guest.userfault, events + got, (size_t)(count - got));
		assert_true(read >= 0);
		got += read;
	}
}

static void expect_none(void)
{
	struct mr_userfault_event event;

	assert_int_equal(mr_userfault_wait(guest.userfault, 0), 0);
	assert_int_equal(mr_userfault_read(guest.userfault, &event, 1), 0);
}

/* keeps HST-004: what the event tells, and that its page lets the thread go on. */
static void test_fault(void **state)
{
	struct toucher toucher;
	struct mr_userfault_event event;

	begin(*(enum mr_host_kind *)*state, PAGES);
	expect_none();
	for (unsigned write = 0; write < 2; write++) {
		start(&toucher, 3 + write, write);
		expect(&event, 1);
		assert_false(atomic_load(&toucher.done));
		assert_int_equal(event.block, guest.block);
		assert_int_equal(event.offset, (3 + write) * guest.size);
		assert_int_equal(event.write, write);
		assert_int_equal(event.thread, atomic_load(&toucher.id));
		assert_int_equal(place(3 + write, 1), 0);
		assert_int_equal(placed.placed, guest.size);
		assert_int_equal(placed.present, 0);
		finish(&toucher);
		if (write)
			assert_int_equal(toucher.seen, 42);
		else
			assert_true(holds(3));
		expect_none();
	}
	end();
}

/* One page, many threads: an event for each, and one page wakes them all. */
static void test_many_on_one(void **state)
{
	struct toucher touchers[TOUCHERS_MAX];
	struct mr_userfault_event events[TOUCHERS_MAX];

	begin(*(enum mr_host_kind *)*state, PAGES);
	for (unsigned i = 0; i < TOUCHERS_MAX; i++)
		start(&touchers[i], 5, false);
	expect(events, TOUCHERS_MAX);
	for (unsigned i = 0; i < TOUCHERS_MAX; i++)
		assert_int_equal(events[i].offset, 5 * guest.size);
	assert_int_equal(place(5, 1), 0);
	for (unsigned i = 0; i < TOUCHERS_MAX; i++) {
		finish(&touchers[i]);
		assert_memory_equal(&touchers[i].seen, guest.content + 5 * guest.size, 8);
	}
	end();
}

/* keeps HST-005: a page that was discarded faults again; reading it beside the guest does not, and does not fill it. */
static void test_discard(void **state)
{
	struct toucher toucher;
	struct mr_userfault_event event;
	uint64_t word = 1;

	begin(*(enum mr_host_kind *)*state, PAGES);
	assert_int_equal(place(0, PAGES), 0);
	assert_int_equal(placed.placed, guest.memory.size);
	for (uint64_t i = 0; i < PAGES; i++)
		assert_true(holds(i));
	assert_int_equal(mr_host_memory_discard(&guest.memory, 7 * guest.size, guest.size, &problem), 0);
	assert_int_equal(mr_host_memory_read(&guest.memory, 7 * guest.size, &word, sizeof(word), &problem), 0);
	assert_int_equal(word, 0);
	expect_none();
	start(&toucher, 7, false);
	expect(&event, 1);
	assert_int_equal(event.offset, 7 * guest.size);
	host_fill(guest.content + 7 * guest.size, guest.size, 7, 1);
	assert_int_equal(place(7, 1), 0);
	finish(&toucher);
	for (uint64_t i = 0; i < PAGES; i++)
		assert_true(holds(i));
	assert_int_equal(mr_host_memory_read(&guest.memory, 7 * guest.size, &word, sizeof(word), &problem), 0);
	assert_memory_equal(&word, guest.content + 7 * guest.size, sizeof(word));
	end();
}

/* breaks HST-005: a page of zeros that was only read before it was caught is there, and never faults. */
static void test_present_before(void **state)
{
	const uint64_t size = mr_host_kind_page_size(MR_HOST_ANONYMOUS);
	struct mr_userfault *userfault;
	struct mr_host_memory memory;
	uint64_t word = 1;
	uint32_t block;

	(void)state;
	host_need(MR_HOST_WANT_POSTCOPY, MR_HOST_ANONYMOUS);
	host_allocate(&memory, MR_HOST_ANONYMOUS, 2);
	mr_host_load(&word, memory.data, sizeof(word));
	assert_int_equal(word, 0);
	userfault = mr_userfault_open(&problem);
	assert_non_null(userfault);
	assert_int_equal(mr_userfault_add(userfault, &memory, &block, &problem), 0);
	mr_host_store(memory.data, &word, sizeof(word));
	assert_int_equal(mr_userfault_place(userfault, block, 0, memory.data, size, &placed), 0);
	assert_int_equal(placed.present, size);
	assert_int_equal(mr_userfault_wait(userfault, 0), 0);
	mr_userfault_close(userfault);
	mr_host_memory_free(&memory);
}

/* breaks HST-008, keeps HST-008: a run with pages that are there: these keep what they hold, all others come. */
static void test_run(void **state)
{
	struct toucher behind, before;
	struct mr_userfault_event events[2];

	begin(*(enum mr_host_kind *)*state, PAGES);
	host_fill(guest.content + 6 * guest.size, guest.size, 99, 1);
	assert_int_equal(place(6, 1), 0);
	host_fill(guest.content + 6 * guest.size, guest.size, 6, 1);
	start(&before, 4, false);
	start(&behind, 9, true);
	expect(events, 2);
	assert_int_equal(place(4, 8), 0);
	assert_int_equal(placed.placed, 7 * guest.size);
	assert_int_equal(placed.present, guest.size);
	finish(&before);
	finish(&behind);
	assert_int_equal(behind.seen, 42);
	assert_true(host_holds(guest.memory.data + 6 * guest.size, guest.size, 99, 1));
	assert_int_equal(mr_host_memory_discard(&guest.memory, 6 * guest.size, guest.size, &problem), 0);
	assert_int_equal(place(0, PAGES), 0);
	assert_int_equal(placed.placed, 9 * guest.size);
	for (uint64_t i = 0; i < PAGES; i++)
		assert_int_equal(holds(i), i != 9);
	end();
}

/* keeps HST-009: whoever waits for a page that is refused because it is there goes on. */
static void test_twice(void **state)
{
	struct toucher toucher;
	struct mr_userfault_event event;
	uint8_t *alias;

	begin(*(enum mr_host_kind *)*state, PAGES);
	assert_int_equal(place(2, 1), 0);
	assert_int_equal(place(2, 1), 0);
	assert_int_equal(placed.placed, 0);
	assert_int_equal(placed.present, guest.size);
	/* a page that came through another mapping of the same file wakes nobody by itself */
	if (guest.memory.file >= 0) {
		start(&toucher, 3, false);
		expect(&event, 1);
		alias = mmap(NULL, guest.memory.size, PROT_READ | PROT_WRITE, MAP_SHARED, guest.memory.file, 0);
		assert_ptr_not_equal(alias, MAP_FAILED);
		host_fill(alias + 3 * guest.size, guest.size, 3, 1);
		usleep(20000);
		assert_false(atomic_load(&toucher.done));
		assert_int_equal(place(3, 1), 0);
		assert_int_equal(placed.present, guest.size);
		finish(&toucher);
		assert_true(holds(3));
		munmap(alias, guest.memory.size);
	}
	end();
}

/* breaks HST-009: being woken without a page, the thread waits again. */
static void test_wake(void **state)
{
	struct toucher toucher;
	struct mr_userfault_event event;

	begin(*(enum mr_host_kind *)*state, PAGES);
	start(&toucher, 1, false);
	expect(&event, 1);
	assert_int_equal(mr_userfault_wake(guest.userfault, guest.block, 0, guest.memory.size), 0);
	expect(&event, 1);
	assert_int_equal(event.offset, guest.size);
	assert_false(atomic_load(&toucher.done));
	assert_int_equal(place(1, 1), 0);
	finish(&toucher);
	assert_int_equal(mr_userfault_wake(guest.userfault, guest.block, 1, guest.size), -EINVAL);
	end();
}

/* keeps HST-010 */
static void test_zero(void **state)
{
	struct toucher toucher;
	struct mr_userfault_event event;

	begin(*(enum mr_host_kind *)*state, PAGES);
	assert_int_equal(place(8, 1), 0);
	start(&toucher, 9, true);
	expect(&event, 1);
	assert_int_equal(mr_userfault_zero(guest.userfault, guest.block, 6 * guest.size, 5 * guest.size, &placed), 0);
	assert_int_equal(placed.placed, 4 * guest.size);
	assert_int_equal(placed.present, guest.size);
	finish(&toucher);
	assert_int_equal(toucher.seen, 42);
	assert_true(holds(8));
	for (uint64_t at = 6 * guest.size; at < 8 * guest.size; at += 64)
		assert_int_equal(guest.memory.data[at], 0);
	/* written like any other, without a fault */
	guest.memory.data[6 * guest.size] = 1;
	expect_none();
	assert_int_equal(place(6, 1), 0);
	assert_int_equal(placed.present, guest.size);
	end();
}

/* breaks HST-010: the kernel does not place zero pages everywhere, which costs a copy and changes nothing else. */
static void test_zero_copied(void **state)
{
	char line[MR_HOST_LINE];

	(void)state;
	begin(MR_HOST_HUGE_2M, 2);
	assert_false(mr_host_has(host_probed(), MR_HOST_WANT_ZERO_PAGE, MR_HOST_HUGE_2M, line));
	assert_int_equal(mr_userfault_zero(guest.userfault, guest.block, 0, 2 * guest.size, &placed), 0);
	assert_int_equal(placed.placed, 2 * guest.size);
	for (uint64_t at = 0; at < 2 * guest.size; at += 512)
		assert_int_equal(guest.memory.data[at], 0);
	end();
}

/* keeps HST-012: the end lets everybody go on, with zeros. */
static void test_remove(void **state)
{
	const enum mr_host_kind kind = *(enum mr_host_kind *)*state;
	struct toucher toucher;
	struct mr_userfault_event event;

	begin(kind, PAGES);
	start(&toucher, 0, false);
	expect(&event, 1);
	assert_int_equal(mr_userfault_remove(guest.userfault, guest.block, &problem), 0);
	finish(&toucher);
	assert_int_equal(toucher.seen, 0);
	assert_int_equal(place(4, 1), -ENOENT);
	assert_int_equal(placed.placed, 0);
	assert_int_equal(mr_userfault_remove(guest.userfault, 1, &problem), -EINVAL);
	end();
	begin(kind, PAGES);
	start(&toucher, 0, false);
	expect(&event, 1);
	mr_userfault_close(guest.userfault);
	guest.userfault = NULL;
	finish(&toucher);
	assert_int_equal(toucher.seen, 0);
	end();
}

/* breaks HST-012: who touches a page that never comes waits for ever, whatever ends beside it. */
static void test_end(void **state)
{
	struct toucher toucher;
	struct mr_userfault_event event;

	begin(*(enum mr_host_kind *)*state, PAGES);
	assert_int_equal(mr_userfault_wait(guest.userfault, 1), 0);
	mr_userfault_end(guest.userfault);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(mr_userfault_wait(guest.userfault, -1), MR_USERFAULT_ENDED);
	start(&toucher, 0, false);
	while (mr_userfault_wait(guest.userfault, -1) != (MR_USERFAULT_ENDED | MR_USERFAULT_READABLE))
		;
	assert_int_equal(mr_userfault_read(guest.userfault, &event, 1), 1);
	assert_false(atomic_load(&toucher.done));
	assert_int_equal(place(0, 1), 0);
	finish(&toucher);
	end();
}

static void test_refusals(void **state)
{
	static const int errors[] = {-EINVAL, -ENOMEM, -ENOENT, -EFAULT, -ESRCH, -EAGAIN, -EPERM};
	struct mr_userfault *other;
	uint32_t block;
	void *nothing;

	begin(*(enum mr_host_kind *)*state, PAGES);
	assert_int_equal(place(PAGES, 1), -EINVAL);
	assert_int_equal(place(0, PAGES + 1), -EINVAL);
	assert_int_equal(place(0, 0), -EINVAL);
	assert_int_equal(mr_userfault_place(guest.userfault, 0, 8, guest.content, guest.size, &placed), -EINVAL);
	assert_int_equal(mr_userfault_place(guest.userfault, 0, 0, guest.content, 8, &placed), -EINVAL);
	assert_int_equal(mr_userfault_place(guest.userfault, 1, 0, guest.content, guest.size, &placed), -EINVAL);
	assert_int_equal(mr_userfault_zero(guest.userfault, 0, UINT64_MAX - guest.size + 1, guest.size, &placed),
			 -EINVAL);
	nothing = mmap(NULL, guest.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(nothing, MAP_FAILED);
	assert_int_equal(mr_userfault_place(guest.userfault, 0, 0, nothing, guest.size, &placed), -EFAULT);
	munmap(nothing, guest.size);
	other = mr_userfault_open(&problem);
	assert_non_null(other);
	assert_int_equal(mr_userfault_add(other, &guest.memory, &block, &problem), -EBUSY);
	assert_non_null(strstr(problem.text, "another userfaultfd"));
	mr_userfault_close(other);
	for (unsigned i = 0; i < sizeof(errors) / sizeof(*errors); i++)
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(mr_userfault_explain(errors[i]), mr_userfault_explain(errors[j]));
	mr_userfault_close(NULL);
	end();
}

/* Blocks of different pages share a userfaultfd; each event finds its own. */
static void test_blocks(void **state)
{
	struct mr_host_memory shared;
	struct toucher toucher;
	struct mr_userfault_event event;
	uint32_t block = 0;

	(void)state;
	begin(MR_HOST_HUGE_2M, 2);
	host_allocate(&shared, MR_HOST_SHARED, 4);
	for (unsigned i = 1; i < MR_USERFAULT_BLOCKS_MAX; i++)
		assert_int_equal(mr_userfault_add(guest.userfault, &shared, &block, &problem), 0);
	assert_int_equal(block, MR_USERFAULT_BLOCKS_MAX - 1);
	assert_int_equal(mr_userfault_add(guest.userfault, &shared, &block, &problem), -E2BIG);
	for (unsigned i = 0; i < 4; i++) {
		const struct mr_host_memory *touched = i % 2 ? &shared : &guest.memory;
		const uint64_t page = i / 2;

		start_at(&toucher, touched->data + page * touched->page_size, true);
		expect(&event, 1);
		assert_int_equal(event.block, i % 2);
		assert_int_equal(event.offset, page * touched->page_size);
		assert_int_equal(
			mr_userfault_zero(guest.userfault, event.block, event.offset, touched->page_size, &placed), 0);
		finish(&toucher);
		assert_int_equal(toucher.seen, 42);
	}
	mr_userfault_close(guest.userfault);
	guest.userfault = NULL;
	mr_host_memory_free(&shared);
	end();
}

/* ---- Everything at once ---- */

static struct {
	atomic_uint wrong, faults;
	atomic_uint_least64_t placed, present;
} tally;

static void *read_all(void *argument)
{
	struct random random = {*(const uint64_t *)argument};

	for (uint64_t i = 0; i < 4 * guest.pages; i++) {
		const uint64_t page = random_below(&random, guest.pages);

		if (!holds(page))
			atomic_fetch_add(&tally.wrong, 1);
	}
	for (uint64_t page = 0; page < guest.pages; page++)
		if (!holds(page))
			atomic_fetch_add(&tally.wrong, 1);
	return NULL;
}

/* Gives what is asked for, as the fault thread of a destination with a very fast source. */
static void *serve(void *argument)
{
	struct mr_userfault_event events[EVENTS];
	struct mr_userfault_placed done;

	(void)argument;
	while (!(mr_userfault_wait(guest.userfault, -1) & MR_USERFAULT_ENDED)) {
		const int count = mr_userfault_read(guest.userfault, events, EVENTS);

		for (int i = 0; i < count; i++) {
			if (mr_userfault_place(guest.userfault, events[i].block, events[i].offset,
					       guest.content + events[i].offset, guest.size, &done) != 0)
				atomic_fetch_add(&tally.wrong, 1);
			atomic_fetch_add(&tally.placed, done.placed);
			atomic_fetch_add(&tally.present, done.present);
		}
		atomic_fetch_add(&tally.faults, count > 0 ? (unsigned)count : 0);
	}
	return NULL;
}

/* Brings the rest in runs of any length, some of which others have brought. */
static void *bring(void *argument)
{
	struct random random = {*(const uint64_t *)argument};
	uint64_t page = 0;
	struct mr_userfault_placed done;

	while (page < guest.pages) {
		const uint64_t left = guest.pages - page, wanted = 1 + random_below(&random, 9);
		const uint64_t count = wanted < left ? wanted : left;

		if (mr_userfault_place(guest.userfault, guest.block, page * guest.size,
				       guest.content + page * guest.size, count * guest.size, &done) != 0)
			atomic_fetch_add(&tally.wrong, 1);
		atomic_fetch_add(&tally.placed, done.placed);
		page += 1 + random_below(&random, count);
	}
	return NULL;
}

static void run_all(bool brought)
{
	uint64_t seeds[TOUCHERS_MAX];
	pthread_t touchers[TOUCHERS_MAX], bringers[2], server;
	const unsigned count = 4;

	memset(&tally, 0, sizeof(tally));
	assert_int_equal(pthread_create(&server, NULL, serve, NULL), 0);
	for (unsigned i = 0; i < TOUCHERS_MAX; i++)
		seeds[i] = i + 1;
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(pthread_create(&touchers[i], NULL, read_all, &seeds[i]), 0);
	for (unsigned i = 0; i < 2 && brought; i++)
		assert_int_equal(pthread_create(&bringers[i], NULL, bring, &seeds[count + i]), 0);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(pthread_join(touchers[i], NULL), 0);
	for (unsigned i = 0; i < 2 && brought; i++)
		assert_int_equal(pthread_join(bringers[i], NULL), 0);
	mr_userfault_end(guest.userfault);
	assert_int_equal(pthread_join(server, NULL), 0);
	assert_int_equal(atomic_load(&tally.wrong), 0);
	assert_int_equal(atomic_load(&tally.placed), guest.memory.size);
	assert_memory_equal(guest.memory.data, guest.content, guest.memory.size);
}

/* Readers everywhere: every fault is answered, each page comes once. */
static void test_all_faults(void **state)
{
	const enum mr_host_kind kind = *(enum mr_host_kind *)*state;

	begin(kind, kind == MR_HOST_HUGE_2M ? PAGES : 1000);
	run_all(false);
	assert_in_range(atomic_load(&tally.faults), guest.pages, 20 * guest.pages);
	end();
}

/* keeps HST-004: the same, while two others bring pages in runs that overlap: still each comes once. */
static void test_race(void **state)
{
	const enum mr_host_kind kind = *(enum mr_host_kind *)*state;

	for (unsigned i = 0; i < (THREADS_WATCHED ? 3 : 8); i++) {
		begin(kind, kind == MR_HOST_HUGE_2M ? PAGES : 500);
		run_all(true);
		end();
	}
}

/* breaks HST-004: a block that nobody watches gives zeros at once. */
static void test_not_watched(void **state)
{
	struct mr_host_memory memory;
	uint64_t word = 1;

	(void)state;
	host_allocate(&memory, MR_HOST_SHARED, 2);
	mr_host_load(&word, memory.data, sizeof(word));
	assert_int_equal(word, 0);
	mr_host_memory_free(&memory);
}

#define EACH_KIND(test)                                                                                                \
	cmocka_unit_test_prestate(test, &kinds[MR_HOST_ANONYMOUS]),                                                    \
		cmocka_unit_test_prestate(test, &kinds[MR_HOST_SHARED]),                                               \
		cmocka_unit_test_prestate(test, &kinds[MR_HOST_HUGE_2M])

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_KIND(test_fault),
		EACH_KIND(test_many_on_one),
		EACH_KIND(test_discard),
		cmocka_unit_test(test_present_before),
		EACH_KIND(test_run),
		EACH_KIND(test_twice),
		EACH_KIND(test_wake),
		EACH_KIND(test_zero),
		cmocka_unit_test(test_zero_copied),
		EACH_KIND(test_remove),
		EACH_KIND(test_end),
		EACH_KIND(test_refusals),
		cmocka_unit_test(test_blocks),
		EACH_KIND(test_all_faults),
		EACH_KIND(test_race),
		cmocka_unit_test(test_not_watched),
	};

	/* a fault that nobody answers would wait for ever */
	alarm(HANGS_AFTER);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
