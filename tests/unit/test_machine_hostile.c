/*
 * test_machine_hostile.c: properties of the destination's machine as a whole: cuts of the bytes change nothing, equal
 * schedules do equal things, any schedule comes to a good end, and no damage to one that is not an end.
 */
#include "machine_support.h"

#include <stdio.h>

enum { STEPS_MAX = 60000, IDLE_STEPS = 400, DEVICE_BYTES = 5 };

static const struct mr_incoming_block blocks[] = {
	{.name = "mem", .used_length = WORLD_PAGES * PAGE, .rank = 1},
	{.name = "huge", .used_length = 2 * HUGE_PAGE, .page_size = HUGE_PAGE, .not_zeroable = true},
};

static const uint64_t block_pages[] = {WORLD_PAGES, 8};

/* Fewer rounds where each of them costs more. */
static unsigned rounds(unsigned natively)
{
	return SANITIZED || RUNNING_ON_VALGRIND ? natively / 20 + 1 : natively;
}

/* ---- Allocations ---- */

static size_t allocations;

#if !SANITIZED

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);

void *malloc(size_t size)
{
	allocations++;
	return __libc_malloc(size);
}

void *calloc(size_t nmemb, size_t size)
{
	allocations++;
	return __libc_calloc(nmemb, size);
}

void *realloc(void *ptr, size_t size)
{
	allocations++;
	return __libc_realloc(ptr, size);
}

#endif

/* ---- A small whole migration ---- */

static struct setup migration_setup(const char *release, bool strict)
{
	return (struct setup){
		.release = release,
		.strict = strict,
		.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_POSTCOPY_PREEMPT,
		.blocks = blocks,
		.block_count = 2,
	};
}

/* Precopy, discards, a package with a device, postcopy on both channels, and the end. */
static void put_migration(struct world *world)
{
	struct build *build = &world->connections[0].bytes;
	struct build *urgent = &world->connections[1].bytes;
	size_t start;

	put_advised(world, build);
	put_section(build);
	for (uint64_t page = 0; page < 5; page++)
		build_zero(build, page * PAGE, page ? NULL : "mem");
	put_section_end(build);
	build_discard(build, "mem", PAGE, (uint64_t)15 * PAGE);
	build_discard(build, "huge", 0, (uint64_t)2 * HUGE_PAGE);
	build_ping(build, 2);
	start = build_package(build);
	put_listen(build);
	build_device(build, 9, "apic", 0x41, DEVICE_BYTES);
	build_ping(build, 3);
	put_run(build);
	build_package_end(build, start);
	build_ping(build, 4);
	put_section(build);
	for (uint64_t page = 1; page < 12; page++)
		build_zero(build, page * PAGE, page > 1 ? NULL : "mem");
	build_page(build, (uint64_t)12 * PAGE, NULL, 0x77, PAGE);
	for (uint64_t page = 0; page < 4; page++)
		build_zero(build, page * PAGE, page ? NULL : "huge");
	put_section_end(build);
	for (uint64_t page = 13; page < WORLD_PAGES; page++)
		build_zero(urgent, page * PAGE, page > 13 ? NULL : "mem");
	for (uint64_t page = 4; page < 8; page++)
		build_zero(urgent, page * PAGE, page > 4 ? NULL : "huge");
	build_eos(urgent);
	put_end(build);
}

/* Precopy by two multifd channels: pages, a barrier, pages again. */
static const struct setup multifd_setup = {
	.release = "11.1", .strict = true, .capabilities = MR_CAPABILITY_MULTIFD, .multifd_channels = 2};

static void put_multifd_migration(struct world *world)
{
	struct build *build = &world->connections[0].bytes;

	put_begin(build);
	put_block_list(world, build);
	for (uint32_t i = 0; i < 2; i++) {
		struct build *channel = &world->connections[i + 1].bytes;

		put_multifd_init(channel, (uint8_t)i);
		put_multifd_packet(channel, 0, i, 1);
		put_multifd_packet(channel, MR_MULTIFD_FLAG_SYNC, 0, 0);
		put_multifd_packet(channel, 0, (uint64_t)i + 2, 1);
		put_multifd_packet(channel, MR_MULTIFD_FLAG_SYNC, 0, 0);
		put_section(build);
		build_be64(build, MR_RAM_FLAG_FLUSH);
		build_zero(build, ((uint64_t)i + 4) * PAGE, "mem");
		put_section_end(build);
	}
	put_end(build);
	build_description(build, "{}");
}

static bool is_multifd(const struct world *world)
{
	return world->config.context.capabilities & MR_CAPABILITY_MULTIFD;
}

/* A machine and its streams; the other channels are opened by open_channels(). */
static struct world *migration(const struct setup *setup)
{
	struct world *world = world_new(setup);

	if (is_multifd(world))
		put_multifd_migration(world);
	else
		put_migration(world);
	return world;
}

/* Opens what belongs to the main channel; `hidden`: without feeding a byte. */
static void open_channels(struct world *world, bool hidden)
{
	for (uint32_t i = 1; i <= (is_multifd(world) ? 2 : 1); i++) {
		struct build *bytes = &world->connections[i].bytes;
		const size_t length = bytes->length;

		bytes->length = hidden ? 0 : length;
		world_open(world, i, is_multifd(world) ? MR_ROLE_MULTIFD : MR_ROLE_PREEMPT);
		bytes->length = length;
	}
}

static void check_all_received(const struct world *world)
{
	expect_finished(world);
	assert_int_equal(mr_incoming_outstanding(world->machine), 0);
	for (uint32_t block = 0; block < 2; block++)
		for (uint64_t page = 0; page < block_pages[block]; page++)
			assert_true(mr_incoming_is_received(world->machine, block, page * PAGE));
	assert_int_equal(world->memory[0][12 * PAGE], 0x77);
}

/* ---- Splits ---- */

/* A run as it was: who stepped, what came of it, and which faults were told before. */
struct schedule {
	unsigned count;
	struct {
		unsigned actor;
		enum mr_step step;
		bool fault;
		uint32_t block;
		uint64_t page;
	} at[STEPS_MAX];
};

static struct schedule schedule;

static void write_schedule(struct world *world, struct random *random)
{
	unsigned idle = 0;

	schedule.count = 0;
	while (idle < IDLE_STEPS && schedule.count < STEPS_MAX) {
		const unsigned i = schedule.count++;

		schedule.at[i].fault = false;
		schedule.at[i].block = (uint32_t)random_below(random, 2);
		schedule.at[i].page = random_below(random, block_pages[schedule.at[i].block]);
		if (random_below(random, 16) == 0)
			schedule.at[i].fault = world_fault(world, schedule.at[i].block, schedule.at[i].page * PAGE);
		schedule.at[i].actor = (unsigned)random_below(random, WORLD_ACTORS);
		schedule.at[i].step = world_step(world, schedule.at[i].actor);
		idle = schedule.at[i].step == MR_STEP_ACTION ? 0 : idle + 1;
	}
}

/* The same steps over bytes that come in pieces of at most `piece`; a step that lacks bytes is made again. */
static void follow_schedule(struct world *world, struct random *random, size_t piece)
{
	for (unsigned i = 0; i < schedule.count; i++) {
		const unsigned actor = schedule.at[i].actor;
		enum mr_step step;

		if (schedule.at[i].fault)
			assert_true(world_fault(world, schedule.at[i].block, schedule.at[i].page * PAGE));
		while ((step = world_step(world, actor)) == MR_STEP_BYTES) {
			const uint32_t channel = mr_incoming_wants(world->machine, actor).channel;
			const struct connection *connection = &world->connections[channel];

			if (connection->shown == connection->bytes.length)
				break;
			world_show(world, channel, 1 + (size_t)random_below(random, piece));
		}
		assert_int_equal(step, schedule.at[i].step);
	}
}

static void expect_same_text(const struct world *a, const struct world *b)
{
	assert_int_equal(a->text.length, b->text.length);
	assert_memory_equal(a->text.bytes, b->text.bytes, a->text.length);
	for (unsigned i = 0; i < WORLD_CONNECTIONS; i++) {
		assert_int_equal(a->connections[i].sent.length, b->connections[i].sent.length);
		if (a->connections[i].sent.length)
			assert_memory_equal(a->connections[i].sent.bytes, b->connections[i].sent.bytes,
					    a->connections[i].sent.length);
	}
	assert_memory_equal(a->memory, b->memory, sizeof(a->memory));
}

static void splits_change_nothing(void **state)
{
	static const char *const releases[] = {"7.2", "8.2", "11.1"};
	static const size_t pieces[] = {1, 3, 30, 700};
	struct random random = {0x1234567};

	(void)state;
	for (unsigned i = 0; i < 4 * rounds(4); i++) {
		const struct setup setup = i % 4 == 3 ? multifd_setup : migration_setup(releases[i % 4], i % 8 / 4);
		struct world *whole = migration(&setup);

		world_show(whole, 0, SIZE_MAX);
		open_channels(whole, false);
		write_schedule(whole, &random);
		assert_true(schedule.count < STEPS_MAX);
		for (unsigned k = 0; k < 4; k++) {
			struct world *split = migration(&setup);

			open_channels(split, true);
			follow_schedule(split, &random, pieces[k]);
			expect_same_text(whole, split);
			world_free(split);
		}
		world_free(whole);
	}
}

/* ---- Memory ---- */

/*
 * A copy in the middle goes on by itself, in memory of exactly its size. No step asks the heap for more, but the one
 * that looks for the end of device sections, which is behind the copy.
 */
static void copies_go_on_alone(void **state)
{
	const struct setup setup = migration_setup("8.2", false);
	struct world *world = migration(&setup);
	char error[96];
	const size_t size = mr_incoming_size(&world->config, error);
	struct guard guard = guard_new(size);
	struct mr_action action;
	struct mr_incoming *copy;
	size_t before;

	(void)state;
	assert_null(mr_incoming_init(guard_end(&guard, size), size - 1, &world->config));
	world_show(world, 0, SIZE_MAX);
	world_open(world, 1, MR_ROLE_PREEMPT);
	world_run_until(world, "main load-device 9");
	assert_null(mr_incoming_copy(guard_end(&guard, size), size - 1, world->machine));
	copy = mr_incoming_copy(guard_end(&guard, size), size, world->machine);
	assert_non_null(copy);
	assert_int_equal(mr_incoming_postcopy_state(copy), MR_POSTCOPY_LISTENING);
	world_run(world);
	check_all_received(world);
	assert_int_equal(mr_incoming_postcopy_state(copy), MR_POSTCOPY_LISTENING);

	before = allocations;
	for (unsigned quiet = 0; quiet < 4; quiet++)
		for (unsigned actor = 0; actor < WORLD_ACTORS; actor++)
			while (mr_incoming_step(copy, actor, &action) == MR_STEP_ACTION) {
				if (action.asked)
					assert_true(mr_incoming_complete(copy, actor, 0));
				quiet = 0;
			}
	if (!RUNNING_ON_VALGRIND)
		assert_int_equal(allocations, before);
	assert_int_equal(mr_incoming_postcopy_state(copy), MR_POSTCOPY_END);
	assert_int_equal(mr_incoming_status(copy), MR_STATUS_COMPLETED);
	guard_free(&guard);
	world_free(world);
}

/* The memory of a machine that is done with serves another one, which behaves as if it were new. */
static void a_machine_begins_anew(void **state)
{
	const struct setup setup = migration_setup("8.2", false);
	struct world *first = migration(&setup), *second = migration(&setup);

	(void)state;
	world_show(first, 0, SIZE_MAX);
	world_open(first, 1, MR_ROLE_PREEMPT);
	world_run(first);
	assert_ptr_equal(mr_incoming_reset(first->machine, &first->config), first->machine);
	for (uint32_t block = 0; block < 2; block++)
		assert_false(mr_incoming_is_received(first->machine, block, 0));
	assert_int_equal(mr_incoming_status(first->machine), MR_STATUS_NONE);
	world_hush(first);
	memset(first->memory, 0, sizeof(first->memory));
	memset(first->present, 0, sizeof(first->present));
	first->finished = false;
	for (uint32_t i = 0; i < 2; i++) {
		first->connections[i].sent.length = first->connections[i].shown = 0;
		world_open(first, i, i ? MR_ROLE_PREEMPT : MR_ROLE_MAIN);
	}
	world_show(second, 0, SIZE_MAX);
	world_open(second, 1, MR_ROLE_PREEMPT);
	world_run(first);
	world_run(second);
	expect_same_text(first, second);
	world_free(first);
	world_free(second);
}

static void impossible_configurations(void **state)
{
	char long_name[MR_NAME_MAX + 2];
	const struct mr_incoming_block bad[] = {
		{.name = "mem", .used_length = PAGE, .page_size = 3000},
		{.name = "mem", .used_length = PAGE + 1},
		{.name = "mem", .used_length = UINT64_C(1) << 51},
		{.name = long_name, .used_length = PAGE},
		{.name = NULL, .used_length = PAGE},
	};
	struct setup setup = {0};
	struct world *world = world_new_unconnected(&setup);
	struct mr_incoming_config config;
	char error[96];

	(void)state;
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	setup.block_count = 1;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setup.blocks = &bad[i];
		world_configure(world, &setup);
		assert_int_equal(mr_incoming_size(&world->config, error), 0);
		assert_null(mr_incoming_init(world, SIZE_MAX, &world->config));
	}
	setup.blocks = NULL;
	world_configure(world, &setup);
	for (unsigned i = 0; i < 6; i++) {
		config = world->config;
		if (i == 0)
			config.target_page_size = 512;
		else if (i == 1)
			config.host_page_size = 3000;
		else if (i == 2)
			config.block_count = MR_BLOCKS_MAX + 1;
		else if (i == 3)
			config.context.multifd_channels = MR_INCOMING_MULTIFD_MAX + 1;
		else if (i == 4)
			config.connections_max = MR_INCOMING_CHANNELS_MAX + 1;
		else
			config.package_max = SIZE_MAX;
		memset(error, 0, sizeof(error));
		assert_int_equal(mr_incoming_size(&config, error), 0);
		assert_true(strlen(error) > 0 && strlen(error) < sizeof(error));
	}
	world_free(world);
}

/* ---- Schedules ---- */

static struct world *run_seed(const struct setup *setup, uint64_t seed)
{
	struct random random = {seed};
	struct world *world = migration(setup);

	open_channels(world, true);
	world_run_at_random(world, &random, SIZE_MAX, true);
	return world;
}

static void check_pongs(const struct world *world)
{
	struct messages messages;
	unsigned pongs[5] = {0};

	world_messages(world, 0, &messages);
	for (unsigned i = 0; i < messages.count; i++)
		if (messages.at[i].type == MR_RETURN_PONG)
			pongs[messages.at[i].value]++;
	for (unsigned value = 1; value < 5; value++)
		assert_int_equal(pongs[value], 1);
	assert_int_equal(messages.at[messages.count - 1].type, MR_RETURN_SHUT);
}

/* Any schedule, any faults: all received, nothing waited for, each PING answered once; and the same again by its seed.
 */
static void any_schedule_ends_well(void **state)
{
	static const char *const releases[] = {"7.2", "8.2", "9.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < rounds(200); i++) {
		const struct setup setup = migration_setup(releases[i % 4], i / 4 % 2);
		struct world *world = run_seed(&setup, 0x1000 + i), *again = run_seed(&setup, 0x1000 + i);

		check_all_received(world);
		check_pongs(world);
		expect_same_text(world, again);
		world_free(world);
		world_free(again);
	}
}

/* ---- Damage ---- */

/* Everything ends: well, by a rule, in a pause, or waiting for what does not come. */
static void check_outcome(const struct world *world)
{
	const enum mr_status status = mr_incoming_status(world->machine);

	assert_false(world->finished && world->failed);
	if (world->finished)
		assert_int_equal(status, MR_STATUS_COMPLETED);
	if (world->failed)
		assert_int_not_equal(mr_incoming_error(world->machine)->rule, MR_NO_RULE);
}

static void damage(const struct setup *setup, uint32_t channel, size_t place, struct random *random)
{
	struct world *world = migration(setup);
	uint8_t *byte = &world->connections[channel].bytes.bytes[place];

	*byte ^= (uint8_t)(1 + random_below(random, 255));
	if (random_below(random, 4) == 0)
		world_fail(world, (enum mr_action_kind)(MR_ACTION_SEND + random_below(random, 16)),
			   (unsigned)random_below(random, 4), HOST_EIO);
	open_channels(world, true);
	world_run_at_random(world, random, SIZE_MAX, false);
	for (uint32_t i = 0; i < (is_multifd(world) ? 3 : 2); i++)
		world_end(world, i, random_below(random, 2) ? HOST_EIO : 0);
	world_run(world);
	check_outcome(world);
	world_free(world);
}

/* Every `stride`-th byte of a channel changed, under one schedule after the other. */
static void damage_channel(const struct setup *setups, unsigned count, uint32_t channel, unsigned stride,
			   struct random *random)
{
	struct world *world = migration(&setups[0]);
	const size_t length = world->connections[channel].bytes.length;

	world_free(world);
	for (size_t place = 0; place < length; place += stride)
		if (!(SANITIZED || RUNNING_ON_VALGRIND) || random_below(random, 16) == 0)
			damage(&setups[place / stride % count], channel, place, random);
}

static void damage_is_survived(void **state)
{
	const struct setup setups[] = {migration_setup("7.2", false), migration_setup("8.2", true),
				       migration_setup("2.6", false), migration_setup("11.1", false),
				       migration_setup("4.1", true)};
	struct random random = {0xfeedbeef};

	(void)state;
	damage_channel(setups, 5, 0, 1, &random);
	damage_channel(setups, 5, 1, 1, &random);
	damage_channel(&multifd_setup, 1, 0, 1, &random);
	damage_channel(&multifd_setup, 1, 1, 17, &random);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splits_change_nothing),  cmocka_unit_test(copies_go_on_alone),
		cmocka_unit_test(a_machine_begins_anew),  cmocka_unit_test(impossible_configurations),
		cmocka_unit_test(any_schedule_ends_well), cmocka_unit_test(damage_is_survived),
	};

	return cmocka_run_group_tests_name("machine: hostile", tests, NULL, NULL);
}
