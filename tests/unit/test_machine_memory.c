/*
 * test_machine_memory.c: what else changes guest memory: discards by others, and resizes that no stream asked for.
 */
#include "machine_support.h"

static const struct mr_incoming_block blocks[] = {
	{.name = "mem", .used_length = 8 * PAGE, .max_length = WORLD_PAGES * PAGE},
	{.name = "huge", .used_length = HUGE_PAGE, .max_length = 2 * HUGE_PAGE, .page_size = HUGE_PAGE},
};

enum { MEM, HUGE };

typedef void put_function(const struct world *world, struct build *build);

static struct world *after(const char *release, put_function *put)
{
	const struct setup setup = {
		.release = release,
		.blocks = blocks,
		.block_count = 2,
		.capabilities = MR_CAPABILITY_POSTCOPY_RAM,
	};
	struct world *world = world_new(&setup);

	put(world, &world->connections[0].bytes);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	return world;
}

static void put_nothing(const struct world *world, struct build *build)
{
	(void)world;
	put_begin(build);
}

/* LISTEN in a package that does not end yet. */
static void put_listening(const struct world *world, struct build *build)
{
	put_discarded(world, build);
	put_listen(build);
}

/* keeps PC-045: from the first discard to the end, by the state */
static void others_do_not_discard(void **state)
{
	static const struct {
		put_function *put;
		enum mr_postcopy_state state;
		bool forbidden;
	} cases[] = {
		{put_nothing, MR_POSTCOPY_NONE, false},     {put_advised, MR_POSTCOPY_ADVISE, false},
		{put_discarded, MR_POSTCOPY_DISCARD, true}, {put_listening, MR_POSTCOPY_LISTENING, true},
		{put_running, MR_POSTCOPY_RUNNING, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *world = after("7.2", cases[i].put);

		assert_int_equal(mr_incoming_postcopy_state(world->machine), cases[i].state);
		assert_int_equal(mr_incoming_forbids_discards(world->machine), cases[i].forbidden);
		world_free(world);
	}
}

/* breaks PC-045: releases before 5.1 leave the time between the first discard and LISTEN open */
static void early_releases_forbid_later(void **state)
{
	struct world *world = after("5.0", put_discarded);

	(void)state;
	assert_false(mr_incoming_forbids_discards(world->machine));
	put_package(&world->connections[0].bytes);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	assert_true(mr_incoming_forbids_discards(world->machine));
	put_end(&world->connections[0].bytes);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_finished(world);
	assert_false(mr_incoming_forbids_discards(world->machine));
	world_free(world);
}

/* keeps PC-046: the tail goes, its bits are clear, and pages in it may come */
static void a_block_may_grow_in_time(void **state)
{
	struct world *world = after("7.2", put_advised);
	struct mr_action_range tail;

	(void)state;
	assert_int_equal(mr_incoming_resized(world->machine, MEM, 12 * PAGE, &tail), MR_RESIZED_DISCARD);
	assert_int_equal(tail.block, MEM);
	assert_int_equal(tail.start, 8 * PAGE);
	assert_int_equal(tail.length, 4 * PAGE);
	assert_int_equal(mr_incoming_resized(world->machine, MEM, 10 * PAGE, &tail), MR_RESIZED_NOTED);
	put_page_section(&world->connections[0].bytes, "mem", 9 * PAGE, 1);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	assert_true(mr_incoming_is_received(world->machine, MEM, 9 * PAGE));
	put_page_section(&world->connections[0].bytes, "mem", 10 * PAGE, 1);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_failed(world, MR_PC_018);
	world_free(world);
}

/* breaks PC-046: too late, too long, not whole host pages, no such block */
static void a_block_may_not_grow_otherwise(void **state)
{
	static put_function *const late[] = {put_discarded, put_listening};
	struct mr_action_range tail;
	struct world *world;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		world = after("7.2", late[i]);
		assert_int_equal(mr_incoming_resized(world->machine, MEM, 9 * PAGE, &tail), MR_RESIZED_REFUSED);
		world_free(world);
	}
	world = after("7.2", put_advised);
	assert_int_equal(mr_incoming_resized(world->machine, MEM, (uint64_t)17 * PAGE, &tail), MR_RESIZED_REFUSED);
	assert_int_equal(mr_incoming_resized(world->machine, HUGE, HUGE_PAGE + PAGE, &tail), MR_RESIZED_REFUSED);
	assert_int_equal(mr_incoming_resized(world->machine, 2, PAGE, &tail), MR_RESIZED_REFUSED);
	world_free(world);
	world = after("7.2", put_running);
	assert_int_equal(mr_incoming_resized(world->machine, MEM, 9 * PAGE, &tail), MR_RESIZED_NOTED);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(others_do_not_discard),
		cmocka_unit_test(early_releases_forbid_later),
		cmocka_unit_test(a_block_may_grow_in_time),
		cmocka_unit_test(a_block_may_not_grow_otherwise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
