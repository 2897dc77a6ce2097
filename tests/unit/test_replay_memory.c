/* test_replay_memory.c: recorded faults that threads raise again on real memory, and pages that the kernel places. */
#include "host_support.h"

#include <pthread.h>
#include <stdlib.h>

#include "sim/host/replay_memory.h"

enum { PAGE = 4096, PAGES = 32, LARGE = 65536, HANGS_AFTER = 300 /* seconds */ };
enum { SMALL, EMPTY, LARGE_PAGES, BLOCKS }; /* blocks: small pages, none at all, pages of another host */

static struct {
	enum mr_host_kind kind;
	struct mr_replay_memory *memory;
	const struct mr_backing *backing;
	char error[256];
	uint8_t content[LARGE];
} world;

static const enum mr_host_kind kinds[] = {MR_HOST_ANONYMOUS, MR_HOST_SHARED};

static int open_blocks(const struct mr_incoming_block *blocks, uint32_t count)
{
	const struct mr_incoming_config config = {.blocks = blocks, .block_count = count};

	world.memory = mr_replay_memory_new(world.kind);
	assert_non_null(world.memory);
	world.backing = mr_replay_memory_backing(world.memory);
	return world.backing->open(world.backing->argument, &config, world.error, sizeof(world.error));
}

static int carry_out(const struct mr_action *action)
{
	return world.backing->carry_out(world.backing->argument, action, world.error, sizeof(world.error));
}

static int do_range(enum mr_action_kind kind, uint32_t block, uint64_t start, uint64_t length)
{
	return carry_out(&(struct mr_action){.kind = kind, .range = {block, start, length, MR_POSTCOPY_ADVISE}});
}

static int place(uint32_t block, uint64_t offset, uint64_t length, bool zero)
{
	return carry_out(&(struct mr_action){
		.kind = MR_ACTION_PLACE,
		.placed = {.block = block, .offset = offset, .length = length, .zero = zero, .data = world.content}});
}

static void fault(uint32_t block, uint64_t offset, uint64_t thread)
{
	const int status =
		world.backing->fault(world.backing->argument, block, offset, thread, world.error, sizeof(world.error));

	if (status != 0)
		fail_msg("%s", world.error);
}

static uint8_t *page(uint32_t block, uint64_t offset)
{
	return world.backing->page(world.backing->argument, block, offset);
}

static void begin(void **state)
{
	const struct mr_incoming_block blocks[BLOCKS] = {
		[SMALL] = {.name = "small", .used_length = (uint64_t)PAGES * PAGE},
		[EMPTY] = {.name = "empty"},
		/* the last page is not full */
		[LARGE_PAGES] = {.name = "large", .used_length = 3 * (uint64_t)LARGE - PAGE, .page_size = LARGE},
	};

	world.kind = *(const enum mr_host_kind *)*state;
	host_need(MR_HOST_WANT_POSTCOPY, world.kind);
	assert_int_equal(open_blocks(blocks, BLOCKS), 0);
	host_fill(world.content, LARGE, 7, 1);
	for (uint32_t i = 0; i < BLOCKS; i++)
		assert_int_equal(do_range(MR_ACTION_DISCARD, i, 0, blocks[i].used_length), 0);
}

static void catch_all(void)
{
	assert_int_equal(do_range(MR_ACTION_CATCH, 0, 0, 0), 0);
	for (uint32_t i = 0; i < BLOCKS; i++)
		assert_int_equal(do_range(MR_ACTION_REGISTER, i, 0, 0), 0);
}

static struct mr_backing_result result_of(void)
{
	struct mr_backing_result result;
	const int status = world.backing->end(world.backing->argument, &result, world.error, sizeof(world.error));

	if (status != 0)
		fail_msg("%s", world.error);
	return result;
}

static struct mr_backing_result end(void)
{
	const struct mr_backing_result result = result_of();

	mr_replay_memory_free(world.memory);
	return result;
}

static void expect_content(uint32_t block, uint64_t offset, size_t length, bool zero)
{
	static const uint8_t zeros[LARGE];
	uint8_t found[LARGE];

	assert_int_equal(world.backing->read(world.backing->argument, block, offset, found, length, world.error,
					     sizeof(world.error)),
			 0);
	assert_memory_equal(found, zero ? zeros : world.content, length);
}

static void test_faults(void **state)
{
	struct mr_backing_result result;

	begin(state);
	memcpy(page(SMALL, 0), world.content, PAGE);
	world.backing->zero(world.backing->argument, SMALL, PAGE);
	catch_all();
	for (uint64_t thread = 1; thread <= 3; thread++)
		fault(SMALL, 5 * PAGE, thread);
	fault(SMALL, 5 * PAGE + 8, 2); /* again */
	fault(SMALL, 6 * PAGE, 3);     /* although it waits for another page */
	fault(SMALL, 0, 1);            /* there, as is the page of zeros */
	fault(SMALL, PAGE, 1);
	assert_int_equal(place(SMALL, 5 * PAGE, PAGE, false), 0);
	assert_int_equal(place(SMALL, 6 * PAGE, PAGE, true), 0);
	assert_int_equal(place(SMALL, 6 * PAGE, PAGE, false), EEXIST);
	fault(SMALL, 5 * PAGE, 1); /* there by now */
	expect_content(SMALL, 0, PAGE, false);
	expect_content(SMALL, PAGE, PAGE, true);
	expect_content(SMALL, 5 * PAGE, PAGE, false);
	expect_content(SMALL, 6 * PAGE, PAGE, true);
	expect_content(SMALL, 7 * PAGE, PAGE, true);
	result = end();
	assert_true(result.holds);
	assert_int_equal(result.raised, 4);
	assert_int_equal(result.repeated, 1);
	assert_int_equal(result.present, 3);
	assert_int_equal(result.placed, 2);
	assert_int_equal(result.threads, 4);
	assert_int_equal(result.unserved, 0);
}

/* A page of another host comes and goes as one, also at the end of a block that does not fill it. */
static void test_large_pages(void **state)
{
	struct mr_backing_result result;

	begin(state);
	catch_all();
	fault(LARGE_PAGES, 2 * LARGE + PAGE, 9);
	assert_int_equal(place(LARGE_PAGES, 2 * LARGE, PAGE, false), EINVAL);
	assert_int_equal(place(LARGE_PAGES, 2 * LARGE, LARGE, false), 0);
	expect_content(LARGE_PAGES, 2 * LARGE, LARGE, false);
	assert_int_equal(do_range(MR_ACTION_DISCARD, LARGE_PAGES, 2 * LARGE, PAGE), EINVAL);
	assert_int_equal(do_range(MR_ACTION_DISCARD, LARGE_PAGES, 2 * LARGE, LARGE - PAGE), 0);
	expect_content(LARGE_PAGES, 2 * LARGE, LARGE, true);
	fault(LARGE_PAGES, 2 * LARGE, 9);
	assert_int_equal(place(LARGE_PAGES, 2 * LARGE, LARGE, false), 0);
	result = end();
	assert_true(result.holds);
	assert_int_equal(result.raised, 2);
	assert_int_equal(result.threads, 1);
	assert_int_equal(result.placed, 2 * LARGE / PAGE);
}

/* Who waits in vain finds zeros when the block is given back, and does not keep the replay from ending. */
static void test_in_vain(void **state)
{
	struct mr_backing_result result;

	begin(state);
	catch_all();
	fault(SMALL, PAGE, 1);
	fault(LARGE_PAGES, LARGE, 2);
	assert_int_equal(do_range(MR_ACTION_UNREGISTER, SMALL, 0, 0), 0);
	result = result_of();
	assert_true(result.holds);
	assert_int_equal(result.unserved, 2);
	assert_int_equal(do_range(MR_ACTION_RELEASE, 0, 0, 0), 0);
	fault(SMALL, 2 * PAGE, 1); /* no longer caught */
	result = result_of();
	assert_true(result.holds);
	assert_int_equal(result.raised, 2);
	assert_int_equal(result.present, 1);
	mr_replay_memory_free(world.memory);

	begin(state);
	catch_all();
	for (uint64_t i = 0; i < PAGES; i++)
		fault(SMALL, i * PAGE, i);
	assert_int_equal(end().unserved, PAGES);
}

static void test_refusals(void **state)
{
	struct mr_backing_result result;
	uint8_t byte;

	begin(state);
	assert_int_equal(place(SMALL, 0, PAGE, false), EINVAL); /* not caught */
	assert_int_equal(do_range(MR_ACTION_REGISTER, SMALL, 0, 0), EINVAL);
	catch_all();
	assert_int_equal(place(SMALL, 0, PAGE / 2, false), EINVAL);
	assert_int_equal(place(SMALL, PAGES * PAGE, PAGE, false), EINVAL);
	assert_int_equal(place(EMPTY, 0, PAGE, false), EINVAL);
	assert_int_equal(place(BLOCKS, 0, PAGE, false), EINVAL);
	assert_int_equal(do_range(MR_ACTION_DISCARD, SMALL, 8, PAGE), EINVAL);
	assert_int_equal(do_range(MR_ACTION_DISCARD, SMALL, PAGE, UINT64_MAX), EINVAL);
	assert_null(page(SMALL, PAGES * PAGE));
	assert_null(page(BLOCKS, 0));
	world.backing->zero(world.backing->argument, BLOCKS, 0);
	fault(SMALL, PAGES * PAGE, 1);
	fault(BLOCKS, 0, 1);
	assert_int_equal(world.backing->read(world.backing->argument, SMALL, PAGES * PAGE, &byte, 1, world.error,
					     sizeof(world.error)),
			 -1);
	assert_non_null(strstr(world.error, "no block 0 with 1 bytes at 0x20000"));
	result = end();
	assert_true(result.holds);
	assert_int_equal(result.raised, 0);
}

static void expect_difference(const char *text)
{
	const struct mr_backing_result result = end();

	assert_false(result.holds);
	if (!strstr(result.text, text))
		fail_msg("%s", result.text);
}

/* Who writes in place where a page is missing would wait for ever. */
static void test_written_in_place(void **state)
{
	begin(state);
	catch_all();
	assert_null(page(SMALL, 3 * PAGE));
	expect_difference("block small offset 0x3000: written in place while its page is missing");
}

/* A page that is there behind everybody's back: its fault does not happen again. */
static void test_no_fault(void **state)
{
	uint8_t *at;

	begin(state);
	at = page(SMALL, 4 * PAGE);
	assert_int_equal(do_range(MR_ACTION_DISCARD, SMALL, 4 * PAGE, PAGE), 0);
	*at = 1;
	catch_all();
	fault(SMALL, 4 * PAGE, 77);
	expect_difference("block small offset 0x4000: thread 77 touches it, the page is missing, yet it does not wait");
}

static void *touch(void *at)
{
	uint8_t byte;

	mr_host_load(&byte, at, 1);
	return NULL;
}

static void test_unrecorded_fault(void **state)
{
	pthread_t thread;
	uint8_t *at;

	begin(state);
	at = page(SMALL, 9 * PAGE);
	assert_int_equal(do_range(MR_ACTION_DISCARD, SMALL, 0, PAGES * PAGE), 0);
	catch_all();
	assert_int_equal(pthread_create(&thread, NULL, touch, at), 0);
	/* the thread may be late */
	for (uint64_t i = 10; i < PAGES && result_of().holds; i++) {
		usleep(100000);
		fault(SMALL, i * PAGE, 77);
	}
	assert_int_equal(place(SMALL, 9 * PAGE, PAGE, false), 0);
	pthread_join(thread, NULL);
	expect_difference("block small offset 0x9000: the kernel tells of a fault that was not recorded");
}

/* More threads than there may be: a line, and all of them end. */
static void test_too_many(void **state)
{
	int status = 0;

	begin(state);
	catch_all();
	for (uint64_t i = 0; i < 1000 && status == 0; i++)
		status =
			world.backing->fault(world.backing->argument, SMALL, PAGE, i, world.error, sizeof(world.error));
	assert_int_equal(status, -1);
	assert_non_null(strstr(world.error, "block small offset 0x1000: no thread to touch it"));
	mr_replay_memory_free(world.memory);
}

static void expect_not_opened(const struct mr_incoming_block *block, const char *text)
{
	assert_int_equal(open_blocks(block, 1), -1);
	if (!strstr(world.error, text))
		fail_msg("%s", world.error);
	mr_replay_memory_free(world.memory);
}

static void test_not_opened(void **state)
{
	const struct mr_incoming_block many = {.name = "mem", .used_length = UINT64_C(1) << 46, .page_size = 2 << 20};
	const struct mr_incoming_block odd = {.name = "odd", .used_length = 64, .page_size = 32};

	(void)state;
	world.kind = MR_HOST_ANONYMOUS;
	expect_not_opened(&many, "block mem: not enough huge pages: ");
	expect_not_opened(&odd, "block odd: 64 bytes: expected a multiple of ");
	mr_replay_memory_free(mr_replay_memory_new(MR_HOST_SHARED));
	mr_replay_memory_free(NULL);
}

#define BOTH(test)                                                                                                     \
	cmocka_unit_test_prestate(test, (void *)&kinds[0]), cmocka_unit_test_prestate(test, (void *)&kinds[1])

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_faults),           BOTH(test_large_pages),      BOTH(test_in_vain),
		BOTH(test_refusals),         BOTH(test_written_in_place), BOTH(test_no_fault),
		BOTH(test_unrecorded_fault), BOTH(test_too_many),         cmocka_unit_test(test_not_opened),
	};

	/* a fault that nobody answers would wait for ever */
	alarm(HANGS_AFTER);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
