/*
 * test_coverage_machine_more.c: the corners of the destination's configuration, inputs, blocktime and handlers that
 * only a look at the branches finds.
 */
#include "machine_support.h"

enum { POSTCOPY = MR_CAPABILITY_POSTCOPY_RAM, CAPACITY = 8 };

static const struct mr_incoming_block two_blocks[] = {
	{.name = "mem", .used_length = WORLD_PAGES * PAGE},
	{.name = "other", .used_length = WORLD_PAGES * PAGE},
};

static struct build *main_bytes(struct world *world)
{
	return &world->connections[0].bytes;
}

static void show_and_run(struct world *world)
{
	world_show(world, 0, SIZE_MAX);
	world_run(world);
}

/* ---- Configuration ---- */

static const char *complaint(const struct mr_incoming_config *config)
{
	static char error[96];

	memset(error, 0, sizeof(error));
	assert_int_equal(mr_incoming_size(config, error), 0);
	return error;
}

static void page_sizes_out_of_range(void **state)
{
	static const uint32_t targets[] = {3000, 512, 1 << 17};
	const struct setup setup = {0};
	struct world *world = world_new_unconnected(&setup);
	struct mr_incoming_block block = {.name = "mem", .used_length = PAGE};
	struct mr_incoming_config config = world->config;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		config.target_page_size = targets[i];
		assert_string_equal(complaint(&config), "target page size: expected a power of two from 1024 to 65536");
		/* Whoever is asked to begin anew so stays as it is. */
		assert_null(mr_incoming_reset(world->machine, &config));
		assert_string_equal(mr_incoming_block_name(world->machine, 0), "mem");
	}
	config = world->config;
	config.host_page_size = UINT32_C(1) << 31;
	assert_string_equal(complaint(&config), "host page size: expected a power of two up to 1 GiB");
	config = world->config;
	config.blocks = &block;
	block.page_size = UINT64_C(1) << 31;
	assert_string_equal(complaint(&config), "a block's page size: expected a power of two up to 1 GiB");
	block = (struct mr_incoming_block){.name = "mem", .used_length = PAGE + 1, .max_length = (uint64_t)2 * PAGE};
	assert_string_equal(complaint(&config), "a block's length: expected whole target pages");
	block.used_length = PAGE;
	block.max_length = 2 * PAGE + 1;
	assert_string_equal(complaint(&config), "a block's length: expected whole target pages");
	world_free(world);
}

/* What clients wait for and what is not plugged is forgotten, too. */
static void a_machine_with_clients_begins_anew(void **state)
{
	const struct setup setup = {
		.release = "8.2", .capabilities = POSTCOPY, .shared_clients = true, .unpluggable = true};
	struct world *world = world_new(&setup);

	(void)state;
	put_running(world, main_bytes(world));
	for (unsigned round = 0; round < 2; round++) {
		world->connections[0].sent.length = 0;
		assert_int_equal(mr_incoming_register_client(world->machine), 0);
		show_and_run(world);
		if (round == 0)
			assert_true(mr_incoming_plug(world->machine, 0, 0, PAGE, false));
		assert_true(world_fault(world, 0, 0));
		world_run(world);
		assert_int_equal(world_said(world, "fault request zeroed mem 0x0"), round == 0);
		assert_int_equal(world_said(world, "fault request added mem 0x0"), round == 1);
		assert_true(mr_incoming_client_fault(world->machine, 0, 0, 2 * PAGE));
		world_run(world);
		expect_said(world, "fault request added mem 0x2000");
		expect_silent(world, "fault request repeated mem 0x2000");
		world_hush(world);
		if (round == 0) {
			assert_ptr_equal(mr_incoming_reset(world->machine, &world->config), world->machine);
			world->connections[0].shown = 0;
			world_open(world, 0, MR_ROLE_MAIN);
		}
	}
	world_free(world);
}

/* There is a place for as many multifd channels as their numbers tell apart, and for no other. */
static void one_multifd_channel_too_many(void **state)
{
	const struct setup setup = {.capabilities = MR_CAPABILITY_MULTIFD, .multifd_channels = 2};
	struct world *world = world_new_unconnected(&setup);
	struct mr_incoming_config config = world->config;
	struct mr_incoming *machine;
	char error[96];
	void *memory;
	size_t size;

	(void)state;
	config.connections_max = MR_INCOMING_CHANNELS_MAX;
	size = mr_incoming_size(&config, error);
	memory = calloc(1, size);
	assert_non_null(memory);
	machine = mr_incoming_init(memory, size, &config);
	for (uint32_t i = 0; i < MR_INCOMING_MULTIFD_MAX; i++)
		assert_int_equal(mr_incoming_open(machine, i, MR_ROLE_MULTIFD), 0);
	assert_int_equal(mr_incoming_open(machine, MR_INCOMING_MULTIFD_MAX, MR_ROLE_MULTIFD), -1);
	assert_int_equal(mr_incoming_open(machine, MR_INCOMING_MULTIFD_MAX, MR_ROLE_MAIN), 0);
	free(memory);
	world_free(world);
}

static void questions_out_of_range(void **state)
{
	const struct setup setup = {0};
	struct world *world = world_new(&setup);

	(void)state;
	assert_string_equal(mr_request_verdict_name(MR_REQUEST_ZEROED), "zeroed");
	assert_string_equal(mr_request_verdict_name((enum mr_request_verdict)(MR_REQUEST_ZEROED + 1)), "unknown");
	put_begin(main_bytes(world));
	show_and_run(world);
	assert_int_equal(mr_incoming_consumed(world->machine, 0), main_bytes(world)->length);
	assert_int_equal(mr_incoming_consumed(world->machine, 1), 0);
	assert_int_equal(mr_incoming_consumed(world->machine, UINT32_MAX), 0);
	world_free(world);
}

/* ---- The beginning of a stream ---- */

/* A receiver that knows no uuid of its own takes any. */
static void any_uuid(void **state)
{
	(void)state;
	for (unsigned known = 0; known < 2; known++) {
		const struct setup setup = {.capabilities = MR_CAPABILITY_VALIDATE_UUID};
		struct world *world = world_new_unconnected(&setup);
		struct build *build = main_bytes(world);

		world->config.context.uuid_known = known;
		assert_ptr_equal(mr_incoming_reset(world->machine, &world->config), world->machine);
		put_begin(build);
		build_subsection(build, "uuid", 1);
		build_fill(build, 0x17, 16);
		build_ram_start(build, "mem", WORLD_PAGES * PAGE);
		world_open(world, 0, MR_ROLE_MAIN);
		world_run(world);
		assert_int_equal(world_said(world, "main ram-loaded 0 number 1"), !known);
		if (known)
			expect_failed(world, MR_STR_009);
		world_free(world);
	}
}

/* A length of whole target pages, which are no whole host page. */
static void a_length_between_two_host_pages(void **state)
{
	static const struct mr_incoming_block huge = {
		.name = "huge", .used_length = HUGE_PAGE, .max_length = 2 * HUGE_PAGE, .page_size = HUGE_PAGE};
	const struct setup setup = {.blocks = &huge, .block_count = 1};

	(void)state;
	for (unsigned whole = 0; whole < 2; whole++) {
		struct world *world = world_new(&setup);

		put_begin(main_bytes(world));
		build_ram_start(main_bytes(world), "huge", whole ? 2 * HUGE_PAGE : HUGE_PAGE + PAGE);
		show_and_run(world);
		assert_int_equal(world->count[MR_ACTION_RESIZE], whole);
		assert_int_equal(world->failed, !whole);
		if (!whole)
			expect_failed(world, MR_PC_022);
		world_free(world);
	}
}

static uint8_t *nowhere(void *argument, uint32_t block, uint64_t offset)
{
	const struct world *world = argument;

	assert_int_equal(block, 0);
	assert_int_equal(offset, 3 * PAGE);
	assert_false(world->failed);
	return NULL;
}

/* Guest memory that is not there where it should be fails the load. */
static void memory_that_is_not_there(void **state)
{
	const struct setup setup = {0};
	struct world *world = world_new_unconnected(&setup);

	(void)state;
	world->config.memory.page = nowhere;
	assert_ptr_equal(mr_incoming_reset(world->machine, &world->config), world->machine);
	world_open(world, 0, MR_ROLE_MAIN);
	put_begin(main_bytes(world));
	put_block_list(world, main_bytes(world));
	put_page_section(main_bytes(world), "mem", 3 * PAGE, 0x11);
	show_and_run(world);
	expect_failed(world, MR_PC_018);
	expect_silent(world, "main ram-record mem 0x3000");
	world_free(world);
}

/* Huge pages that nobody gave a place for are put together all the same, without their contents. */
static void huge_pages_without_a_place(void **state)
{
	static const struct mr_incoming_block huge = {
		.name = "huge", .used_length = 2 * HUGE_PAGE, .page_size = HUGE_PAGE};
	const struct setup setup = {.release = "8.2", .blocks = &huge, .block_count = 1, .without_memory = true};
	struct world *world = world_running(&setup);

	(void)state;
	for (uint64_t offset = 0; offset < 2 * HUGE_PAGE; offset += PAGE)
		put_page_section(main_bytes(world), "huge", offset, offset == HUGE_PAGE ? 0x11 : 0);
	world_show(world, 0, SIZE_MAX);
	for (unsigned i = 0; i < 2; i++) {
		world_run_actor_until(world, MR_ACTOR_LISTEN, i ? "listen place huge 0x4000" : "listen place huge 0x0");
		assert_int_equal(world->last.placed.length, HUGE_PAGE);
		assert_int_equal(world->last.placed.zero, i == 0);
		assert_null(world->last.placed.data);
	}
	world_run(world);
	assert_true(mr_incoming_is_received(world->machine, 0, 2 * HUGE_PAGE - PAGE));
	world_free(world);
}

/* Behind the end, whoever wants may throw pages away again. */
static void discards_behind_the_end(void **state)
{
	static const char *const releases[] = {"2.12", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const struct setup setup = {.release = releases[i]};
		struct world *world = world_running(&setup);

		assert_true(mr_incoming_forbids_discards(world->machine));
		put_end(main_bytes(world));
		show_and_run(world);
		expect_finished(world);
		assert_int_equal(mr_incoming_postcopy_state(world->machine), MR_POSTCOPY_END);
		assert_false(mr_incoming_forbids_discards(world->machine));
		world_free(world);
	}
}

/* ---- Blocktime ---- */

static void page_comes(struct world *world, const char *block)
{
	put_page_section(main_bytes(world), block, 0, 0x11);
	show_and_run(world);
}

/* A page of another block at the same offset ends no waiting. */
static void the_same_offset_of_another_block(void **state)
{
	static const char *const releases[] = {"7.2", "11.1"};
	enum { THREAD = 77, MILLISECOND = 1000000 };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const struct setup setup = {.release = releases[i],
					    .blocktime = true,
					    .vcpu_count = 1,
					    .blocks = two_blocks,
					    .block_count = 2};
		struct world *world = world_running(&setup);
		struct mr_blocktime figures;

		assert_true(mr_incoming_vcpu(world->machine, 0, THREAD));
		mr_incoming_set_time(world->machine, 10 * MILLISECOND);
		assert_true(mr_incoming_fault(world->machine, 0, 0, THREAD));
		world_run(world);
		mr_incoming_set_time(world->machine, 20 * MILLISECOND);
		page_comes(world, "other");
		mr_incoming_blocktime(world->machine, &figures);
		assert_int_equal(figures.waiting, 1);
		assert_int_equal(figures.blocktime, 0);
		mr_incoming_set_time(world->machine, 50 * MILLISECOND);
		page_comes(world, "mem");
		mr_incoming_blocktime(world->machine, &figures);
		assert_int_equal(figures.waiting, 0);
		assert_int_equal(figures.blocktime, 40);
		assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, 0).blocktime, 40);
		world_free(world);
	}
}

/* A release that does not count yet. */
static void blocktime_before_3_0(void **state)
{
	const struct setup setup = {.release = "2.12", .blocktime = true, .vcpu_count = 1};
	struct world *world = world_running(&setup);
	struct mr_blocktime figures;

	(void)state;
	assert_true(mr_incoming_vcpu(world->machine, 0, 1));
	assert_true(world_fault(world, 0, 0));
	world_run(world);
	assert_false(mr_incoming_blocktime(world->machine, &figures));
	assert_int_equal(figures.waiting, 0);
	assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, 0).faults, 0);
	page_comes(world, "mem");
	put_end(main_bytes(world));
	show_and_run(world);
	expect_finished(world);
	assert_false(mr_incoming_blocktime(world->machine, &figures));
	world_free(world);
}

/* ---- The registry ---- */

struct registry {
	struct mr_handlers handlers;
	struct mr_handler_entry memory[CAPACITY];
};

static void registry_init(struct registry *registry, const char *release)
{
	struct mr_profile profile;

	*registry = (struct registry){0};
	assert_int_equal(mr_profile_init(&profile, release), 0);
	mr_handlers_init(&registry->handlers, &profile, registry->memory, CAPACITY);
}

/* Returns the place in the list. */
static uint32_t add(struct registry *registry, struct mr_handler handler)
{
	char error[96];
	uint32_t id;

	assert_int_equal(mr_handlers_register(&registry->handlers, &handler, &id, error), MR_NO_RULE);
	for (uint32_t i = 0; i < registry->handlers.count; i++)
		if (registry->memory[i].section_id == id)
			return i;
	fail_msg("registered, but not in the list");
	return UINT32_MAX;
}

static uint32_t find(const struct registry *registry, const char *name)
{
	return mr_handlers_find(&registry->handlers, (struct mr_bytes){(const uint8_t *)name, strlen(name)}, 0, true);
}

/* A handler without a description goes by its whole name alone, one with it by the bare name, too. */
static void bare_names(void **state)
{
	static struct registry registry;

	(void)state;
	registry_init(&registry, "8.2");
	assert_int_equal(add(&registry, (struct mr_handler){.path = "bus", .name = "old", .old_style = true}), 0);
	assert_int_equal(add(&registry, (struct mr_handler){.path = "bus", .name = "new"}), 1);
	assert_int_equal(find(&registry, "bus/old"), 0);
	assert_int_equal(find(&registry, "old"), UINT32_MAX);
	assert_int_equal(find(&registry, "bus/new"), 1);
	assert_int_equal(find(&registry, "new"), 1);
}

/* The next number is above the greatest, wherever that stands, and other names do not count. */
static void numbers_in_any_order(void **state)
{
	static const char *const paths[] = {"a", "b", "c", "d"};
	static struct registry registry;
	uint32_t last;

	(void)state;
	registry_init(&registry, "8.2");
	add(&registry, (struct mr_handler){.name = "dma", .instance = 5});
	add(&registry, (struct mr_handler){.name = "dma", .instance = 3});
	last = add(&registry, (struct mr_handler){.name = "dma", .instance = MR_INSTANCE_NEXT});
	assert_int_equal(registry.memory[last].instance, 6);
	add(&registry, (struct mr_handler){.path = paths[0], .name = "ide", .instance = 8});
	add(&registry, (struct mr_handler){.path = paths[1], .name = "ide", .instance = 2});
	add(&registry, (struct mr_handler){.path = paths[2], .name = "net", .instance = 20});
	last = add(&registry, (struct mr_handler){.path = paths[3], .name = "ide", .instance = MR_INSTANCE_NEXT});
	assert_int_equal(registry.memory[last].name_instance, 9);
	assert_int_equal(registry.memory[last].instance, 0);
}

/* A class that does not exist is none. */
static void a_priority_out_of_range(void **state)
{
	static struct registry registry;

	(void)state;
	registry_init(&registry, "11.1");
	add(&registry, (struct mr_handler){.name = "plain", .alias = MR_ALIAS_NONE});
	assert_int_equal(add(&registry, (struct mr_handler){.name = "odd", .priority = MR_PRIORITY_COUNT}), 1);
	assert_int_equal(add(&registry, (struct mr_handler){.name = "bus", .priority = MR_PRIORITY_PCI_BUS}), 0);
	assert_int_equal(find(&registry, "odd"), 2);
}

/* An amount is no yes to a question: who is not active has nothing to send. */
static void an_amount_to_a_question(void **state)
{
	const struct mr_pending amount = {.precopy = 7, .any = 9};
	static struct registry registry;
	struct mr_sequence sequence;
	struct mr_hook_call call;

	(void)state;
	registry_init(&registry, "8.2");
	add(&registry, (struct mr_handler){.name = "disk",
					   .old_style = true,
					   .hooks = MR_HOOK_BIT(IS_ACTIVE) | MR_HOOK_BIT(STATE_PENDING_ESTIMATE)});
	mr_sequence_begin(&sequence, &registry.handlers, MR_PHASE_PENDING_ESTIMATE);
	assert_true(mr_sequence_next(&sequence, &call));
	assert_int_equal(call.hook, MR_HOOK_IS_ACTIVE);
	mr_sequence_answer_pending(&sequence, &amount);
	assert_false(mr_sequence_next(&sequence, &call));
	assert_int_equal(sequence.called, 0);
	assert_true(mr_pending_total(&sequence.pending) == 0);
	assert_int_equal(sequence.failure, MR_FAILURE_NONE);
}

/* ---- A destination with handlers ---- */

static void registry_of_ram(struct registry *registry, const char *release)
{
	struct mr_handler ram;

	registry_init(registry, release);
	assert_true(mr_handler_known("ram", &ram));
	add(registry, ram);
}

/* A world without connections whose machine has these handlers. */
static struct world *world_with(const struct setup *setup, const struct mr_handlers *handlers)
{
	struct world *world = world_new_unconnected(setup);
	char error[96];
	size_t size;

	guard_free(&world->arena);
	world->config.handlers = handlers;
	size = mr_incoming_size(&world->config, error);
	assert_int_not_equal(size, 0);
	world->arena = guard_new(size);
	world->machine = mr_incoming_init(guard_end(&world->arena, size), size, &world->config);
	assert_non_null(world->machine);
	return world;
}

/* A hook that fails may say so by an errno or, as hooks do, by one below 0. */
static void errors_of_either_sign(void **state)
{
	static const int errors[] = {HOST_EIO, -HOST_EIO};
	const struct setup setup = {.release = "8.2"};
	static struct registry registry;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct world *world;

		registry_of_ram(&registry, setup.release);
		world = world_with(&setup, &registry.handlers);
		world_fail(world, MR_ACTION_HOOK, 0, errors[i]);
		put_begin(main_bytes(world));
		put_block_list(world, main_bytes(world));
		world_open(world, 0, MR_ROLE_MAIN);
		world_run(world);
		expect_failed(world, MR_HND_007);
		assert_string_equal(mr_incoming_error(world->machine)->found, "ram: error 5");
		expect_said(world, "main loaded -5");
		world_free(world);
	}
}

/* The first channel goes on like one behind a cut: nothing is set up where there is no configuration. */
static void a_channel_without_a_beginning(void **state)
{
	const struct setup setup = {.release = "8.2", .capabilities = POSTCOPY};
	static struct registry registry;
	struct world *world;
	struct build *build;

	(void)state;
	registry_of_ram(&registry, setup.release);
	world = world_with(&setup, &registry.handlers);
	build = main_bytes(world);
	put_open_return_path(build);
	put_advise(world, build);
	put_block_list(world, build);
	build_discard(build, "mem", 0, WORLD_PAGES * PAGE);
	put_package(build);
	put_page_section(build, "mem", 0, 0x11);
	world_open(world, 0, MR_ROLE_RECOVERY);
	world_run(world);
	expect_said(world, "listen marked mem 0x0");
	assert_int_equal(world->count[MR_ACTION_HOOK], 0);
	put_end(build);
	show_and_run(world);
	expect_finished(world);
	/* The cleanup asks nobody whether there was a setup. */
	assert_int_equal(world->count[MR_ACTION_HOOK], 1);
	assert_int_equal(world->count[MR_ACTION_STATE_CLEANUP], 1);
	world_free(world);
}

/* The listen loader leaves the setup to the main loader, even if it is the first that sees it due. */
static void a_setup_is_due_while_listening(void **state)
{
	const struct setup setup = {.release = "8.2", .capabilities = MR_CAPABILITY_DIRTY_BITMAPS};
	static struct registry registry;
	struct world *world;
	struct build *build;

	(void)state;
	registry_of_ram(&registry, setup.release);
	world = world_with(&setup, &registry.handlers);
	world->config.context.no_configuration = true;
	assert_ptr_equal(mr_incoming_reset(world->machine, &world->config), world->machine);
	build = main_bytes(world);
	put_advise(world, build);
	put_listen(build);
	world_open(world, 0, MR_ROLE_RECOVERY);
	world_run_until(world, "main command-done POSTCOPY_LISTEN");
	put_open_return_path(build);
	world_show(world, 0, SIZE_MAX);
	world_run_actor_until(world, MR_ACTOR_LISTEN, "listen command-done OPEN_RETURN_PATH");
	assert_int_equal(world->count[MR_ACTION_HOOK], 0);
	build_ping(build, 1);
	world_show(world, 0, SIZE_MAX);
	world_run_actor_until(world, MR_ACTOR_MAIN, "main command-done PING");
	expect_order(world, "main hook", "main command PING", NULL);
	assert_int_equal(world->count[MR_ACTION_HOOK], 1);
	world_free(world);
}

/* Where there are no handlers, or no acks are wanted, an approval changes nothing. */
static void approvals_that_nobody_counts(void **state)
{
	static struct registry registry;

	(void)state;
	for (unsigned handlers = 0; handlers < 2; handlers++) {
		const struct setup setup = {.release = "11.1",
					    .capabilities = handlers ? 0 : MR_CAPABILITY_SWITCHOVER_ACK};
		struct world *world;

		registry_of_ram(&registry, setup.release);
		world = world_with(&setup, handlers ? &registry.handlers : NULL);
		mr_incoming_approve_switchover(world->machine);
		put_begin(main_bytes(world));
		put_open_return_path(main_bytes(world));
		put_block_list(world, main_bytes(world));
		world_open(world, 0, MR_ROLE_MAIN);
		world_run(world);
		expect_said(world, "main command-done OPEN_RETURN_PATH 0");
		expect_said(world, "main ram-loaded 0 number 1");
		expect_silent(world, "main send SWITCHOVER_ACK 0");
		world_free(world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(page_sizes_out_of_range),
		cmocka_unit_test(a_machine_with_clients_begins_anew),
		cmocka_unit_test(one_multifd_channel_too_many),
		cmocka_unit_test(questions_out_of_range),
		cmocka_unit_test(any_uuid),
		cmocka_unit_test(a_length_between_two_host_pages),
		cmocka_unit_test(memory_that_is_not_there),
		cmocka_unit_test(huge_pages_without_a_place),
		cmocka_unit_test(discards_behind_the_end),
		cmocka_unit_test(the_same_offset_of_another_block),
		cmocka_unit_test(blocktime_before_3_0),
		cmocka_unit_test(bare_names),
		cmocka_unit_test(numbers_in_any_order),
		cmocka_unit_test(a_priority_out_of_range),
		cmocka_unit_test(an_amount_to_a_question),
		cmocka_unit_test(errors_of_either_sign),
		cmocka_unit_test(a_channel_without_a_beginning),
		cmocka_unit_test(a_setup_is_due_while_listening),
		cmocka_unit_test(approvals_that_nobody_counts),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("coverage_machine_more", tests, NULL, NULL);
}
