/*
 * test_machine_commands.c: commands at the destination: every one in every PostcopyState, and what each asks, checks
 * and leaves behind.
 */
#include "machine_support.h"

static const struct setup postcopy = {.capabilities = MR_CAPABILITY_POSTCOPY_RAM};

enum { MEM_BYTES = WORLD_PAGES * PAGE };

/* ---- Every command in every state ---- */

static const enum mr_command_number commands[] = {
#define MR_COMMAND_ROW(command, none, advise, discard, listening, running, end) MR_COMMAND_##command,
#include "machine/postcopy.def"
#undef MR_COMMAND_ROW
};

/* What a command looks like when nothing but the state could be wrong with it. */
static void put_command(const struct world *world, struct build *build, enum mr_command_number command)
{
	size_t start;

	switch (command) {
	case MR_COMMAND_PING:
		build_ping(build, 1);
		return;
	case MR_COMMAND_POSTCOPY_ADVISE:
		put_advise(world, build);
		return;
	case MR_COMMAND_POSTCOPY_RAM_DISCARD:
		build_discard(build, "mem", 0, PAGE);
		return;
	case MR_COMMAND_RECV_BITMAP:
		build_recv_bitmap(build, "mem");
		return;
	case MR_COMMAND_PACKAGED:
		start = build_package(build);
		build_u8(build, 0);
		build_package_end(build, start);
		return;
	default:
		build_command(build, (uint16_t)command, 0);
	}
}

/* A machine in `state`; returns the actor that reads the main channel then. */
static unsigned reach(struct world *world, enum mr_postcopy_state state)
{
	struct build *build = &world->connections[0].bytes;
	const char *last = "main command-done OPEN_RETURN_PATH";
	size_t start;

	put_begin(build);
	put_open_return_path(build);
	if (state >= MR_POSTCOPY_ADVISE) {
		put_advise(world, build);
		last = "main command-done POSTCOPY_ADVISE";
	}
	if (state >= MR_POSTCOPY_DISCARD) {
		build_discard(build, "mem", 0, PAGE);
		last = "main command-done POSTCOPY_RAM_DISCARD";
	}
	if (state >= MR_POSTCOPY_LISTENING) {
		start = build_package(build);
		put_listen(build);
		if (state >= MR_POSTCOPY_RUNNING)
			put_run(build);
		build_package_end(build, start);
		last = state == MR_POSTCOPY_LISTENING ? "main command-done POSTCOPY_LISTEN" : "main loaded 1";
	}
	world_show(world, 0, SIZE_MAX);
	world_run_until(world, last);
	assert_int_equal(mr_incoming_postcopy_state(world->machine), state);
	return state < MR_POSTCOPY_LISTENING ? MR_ACTOR_MAIN : MR_ACTOR_LISTEN;
}

/* The end of the command, by the actor that read it; a LISTEN waits for others. */
static void run_command(struct world *world, unsigned actor)
{
	const unsigned done = world->count[MR_ACTION_COMMAND_DONE];
	bool moved = true;

	while (moved && world->count[MR_ACTION_COMMAND_DONE] == done) {
		moved = world_step(world, actor) == MR_STEP_ACTION;
		if (!moved && actor == MR_ACTOR_MAIN)
			for (unsigned other = MR_ACTOR_LISTEN; other <= MR_ACTOR_FAULT; other++)
				moved |= world_step(world, other) == MR_STEP_ACTION;
	}
	/* A package whose only byte is an end mark: the end of its loop is the command's. */
	assert_int_equal(world->count[MR_ACTION_COMMAND_DONE], done + 1);
}

/* Before 4.2 RUN, too, changed the state before it looked. */
static enum mr_postcopy_state expected_state(const struct world *world, enum mr_command_number command,
					     enum mr_postcopy_state state)
{
	const struct mr_transition transition = mr_postcopy_transition(command, state);
	const bool spoils = transition.reception == MR_RECEPTION_REFUSED && command == MR_COMMAND_POSTCOPY_RUN &&
			    !world->config.profile.on[MR_SWITCH_RUN_TESTED_FIRST];

	if (world->config.strict)
		return transition.next;
	return spoils ? MR_POSTCOPY_RUNNING : transition.next_in_qemu;
}

static void check_pair(const struct setup *setup, enum mr_command_number command, enum mr_postcopy_state state)
{
	struct world *world = world_new(setup);
	const unsigned actor = reach(world, state);
	const enum mr_reception reception = mr_postcopy_transition(command, state).reception;
	int result;

	put_command(world, &world->connections[0].bytes, command);
	world_show(world, 0, SIZE_MAX);
	run_command(world, actor);
	result = world->last.command.result;
	if (mr_incoming_postcopy_state(world->machine) != expected_state(world, command, state))
		fail_msg("%s %s in %s: state %s", setup->release, mr_command_name(command),
			 mr_postcopy_state_name(state),
			 mr_postcopy_state_name(mr_incoming_postcopy_state(world->machine)));
	if (reception == MR_RECEPTION_REFUSED) {
		assert_true(result < 0);
		expect_error(world, MR_PC_001);
	} else {
		assert_int_equal(result, command == MR_COMMAND_POSTCOPY_RUN ? 1 : 0);
		expect_error(world, MR_NO_RULE);
	}
	world_free(world);
}

/* In END nobody reads: bytes that stand behind the end mark stay where they are. */
static void check_end(const struct setup *setup, enum mr_command_number command)
{
	struct world *world = world_running(setup);
	struct build *build = &world->connections[0].bytes;
	uint64_t end;

	put_end(build);
	end = build->length;
	put_command(world, build, command);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_finished(world);
	assert_int_equal(mr_incoming_postcopy_state(world->machine), MR_POSTCOPY_END);
	assert_int_equal(mr_postcopy_transition(command, MR_POSTCOPY_END).reception, MR_RECEPTION_NEVER);
	assert_int_equal(mr_incoming_consumed(world->machine, 0), end);
	world_free(world);
}

/* keeps PC-001 PC-042 and breaks PC-001 PC-002 PC-042: each pair of the table, taken, ignored or refused. */
static void every_command_in_every_state(void **state)
{
	static const struct setup setups[] = {
		{.release = "2.6", .capabilities = MR_CAPABILITY_POSTCOPY_RAM},
		{.release = "4.1", .capabilities = MR_CAPABILITY_POSTCOPY_RAM},
		{.release = "7.2", .capabilities = MR_CAPABILITY_POSTCOPY_RAM},
		{.release = "8.2", .capabilities = MR_CAPABILITY_POSTCOPY_RAM},
		{.release = "11.1", .capabilities = MR_CAPABILITY_POSTCOPY_RAM},
		{.release = "11.1", .capabilities = MR_CAPABILITY_POSTCOPY_RAM, .strict = true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(setups) / sizeof(setups[0]); i++)
		for (size_t command = 0; command < sizeof(commands) / sizeof(commands[0]); command++) {
			for (unsigned from = MR_POSTCOPY_NONE; from < MR_POSTCOPY_END; from++)
				check_pair(&setups[i], commands[command], (enum mr_postcopy_state)from);
			check_end(&setups[i], commands[command]);
		}
}

/* keeps PC-002: a strict machine leaves the state alone; QEMU's has changed it before it looks. */
static void a_refused_command_leaves_the_state_alone(void **state)
{
	(void)state;
	for (unsigned strict = 0; strict < 2; strict++) {
		const struct setup setup = {.strict = strict, .capabilities = MR_CAPABILITY_POSTCOPY_RAM};
		struct world *world = world_new(&setup);

		put_begin(&world->connections[0].bytes);
		put_listen(&world->connections[0].bytes);
		world_show(world, 0, SIZE_MAX);
		world_run(world);
		expect_failed(world, MR_PC_001);
		assert_int_equal(mr_incoming_postcopy_state(world->machine),
				 strict ? MR_POSTCOPY_NONE : MR_POSTCOPY_LISTENING);
		world_free(world);
	}
}

/* ---- Lengths ---- */

/* A stream that ends in the middle of a command is cut; nothing of the command was done. */
static void check_cut(const struct world *source, enum mr_command_number command)
{
	struct build whole = {0};
	size_t first;

	put_begin(&whole);
	put_open_return_path(&whole);
	first = whole.length;
	put_command(source, &whole, command);
	for (size_t length = first + 1; length < whole.length; length++) {
		struct world *world = world_new(&postcopy);

		build_bytes(&world->connections[0].bytes, whole.bytes, length);
		world_end(world, 0, 0);
		world_run(world);
		if (command == MR_COMMAND_PACKAGED && length >= first + 9)
			expect_failed(world, MR_PC_012);
		else
			expect_failed(world, MR_STR_026);
		assert_int_equal(world_said(world, "main command"),
				 command == MR_COMMAND_PACKAGED && length >= first + 9 ? 2 : 1);
		world_free(world);
	}
	build_free(&whole);
}

static void every_command_cut_at_every_byte(void **state)
{
	struct world *source = world_new(&postcopy);

	(void)state;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		check_cut(source, commands[i]);
	world_free(source);
}

/* One byte of payload too many: the command's length says so. */
static void every_command_too_long(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		struct world *world = world_new(&postcopy);
		struct build *build = &world->connections[0].bytes;
		size_t place;

		put_begin(build);
		put_open_return_path(build);
		place = build->length;
		put_command(world, build, commands[i]);
		build_patch(build, place + 3, 2, build->bytes[place + 4] + 1u);
		build_u8(build, 0);
		build_u8(build, 0);
		world_show(world, 0, SIZE_MAX);
		world_run(world);
		assert_true(world->failed);
		assert_int_not_equal(mr_incoming_error(world->machine)->rule, MR_NO_RULE);
		world_free(world);
	}
}

/* ---- ADVISE ---- */

static struct world *advise_only(const struct setup *setup, uint64_t summary, uint64_t target_page_size)
{
	struct world *world = world_new(setup);
	struct build *build = &world->connections[0].bytes;

	put_begin(build);
	build_advise(build, summary, target_page_size);
	world_show(world, 0, SIZE_MAX);
	return world;
}

/* keeps PC-003 PC-004 PC-005 PC-006 */
static void advise_asks_the_host_and_empties_every_block(void **state)
{
	static const struct mr_incoming_block blocks[] = {
		{.name = "mem", .used_length = MEM_BYTES},
		{.name = "shared", .used_length = PAGE, .ignored = true},
		{.name = "huge", .used_length = 2 * HUGE_PAGE, .page_size = HUGE_PAGE, .not_zeroable = true},
	};
	const struct setup setup = {
		.release = "11.1", .capabilities = MR_CAPABILITY_POSTCOPY_RAM, .blocks = blocks, .block_count = 3};
	struct world *world = advise_only(&setup, PAGE | HUGE_PAGE, PAGE);

	(void)state;
	world_run(world);
	expect_order(world, "main command POSTCOPY_ADVISE", "main postcopy-state ADVISE", "main probe 0",
		     "main notify 0", "main probe 1", "main probe 2", "main unlock", "main probe 3", "main notify 1",
		     "main discard mem 0x0+0x10000", "main discard huge 0x0+0x8000",
		     "main command-done POSTCOPY_ADVISE 0", NULL);
	assert_int_equal(world->count[MR_ACTION_DISCARD], 2);
	world_free(world);
}

/* keeps PC-006: what was received before ADVISE does not count behind it */
static void advise_clears_what_was_received(void **state)
{
	struct world *world = world_new(&postcopy);
	struct build *build = &world->connections[0].bytes;

	(void)state;
	put_begin(build);
	put_block_list(world, build);
	put_page_section(build, "mem", PAGE, 1);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	assert_true(mr_incoming_is_received(world->machine, 0, PAGE));
	put_advise(world, build);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_said(world, "main command-done POSTCOPY_ADVISE 0");
	assert_false(mr_incoming_is_received(world->machine, 0, PAGE));
	world_free(world);
}

/* breaks PC-003: the other length than the capability wants */
static void advise_of_the_wrong_length(void **state)
{
	const struct setup without = {.capabilities = 0};
	struct world *world = advise_only(&without, PAGE, PAGE);

	(void)state;
	world_run(world);
	expect_failed(world, MR_PC_003);
	world_free(world);

	world = world_new(&postcopy);
	put_begin(&world->connections[0].bytes);
	build_command(&world->connections[0].bytes, MR_COMMAND_POSTCOPY_ADVISE, 0);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_failed(world, MR_PC_003);
	world_free(world);
}

/* breaks PC-004: another summary or target page size */
static void advise_of_other_page_sizes(void **state)
{
	static const uint64_t sizes[][2] = {
		{0, PAGE}, {PAGE | HUGE_PAGE, PAGE}, {PAGE, 2 * PAGE}, {PAGE, 0}, {UINT64_MAX, PAGE}};

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct world *world = advise_only(&postcopy, sizes[i][0], sizes[i][1]);

		world_run(world);
		expect_failed(world, MR_PC_004);
		expect_silent(world, "main notify 1");
		expect_silent(world, "main discard mem 0x0+0x10000");
		world_free(world);
	}
}

/* breaks PC-005: each means of postcopy that the host may lack */
static void advise_on_a_host_that_cannot(void **state)
{
	static const struct {
		enum mr_action_kind kind;
		unsigned nth;
	} missing[] = {{MR_ACTION_PROBE, 0},  {MR_ACTION_NOTIFY, 0}, {MR_ACTION_PROBE, 1},
		       {MR_ACTION_UNLOCK, 0}, {MR_ACTION_PROBE, 2},  {MR_ACTION_PROBE, 3}};
	const struct setup setup = {.release = "8.2", .capabilities = MR_CAPABILITY_POSTCOPY_RAM};

	(void)state;
	for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
		struct world *world = advise_only(&setup, PAGE, PAGE);

		world_fail(world, missing[i].kind, missing[i].nth, HOST_EINVAL);
		world_run(world);
		expect_failed(world, MR_PC_005);
		expect_order(world, "main postcopy-state ADVISE", "main postcopy-state NONE", NULL);
		assert_int_equal(mr_incoming_postcopy_state(world->machine), MR_POSTCOPY_NONE);
		world_free(world);
	}
}

/* A device that does not agree to ADVISE fails it, but the state stays. */
static void advise_that_a_device_refuses(void **state)
{
	struct world *world = advise_only(&postcopy, PAGE, PAGE);

	(void)state;
	world_fail(world, MR_ACTION_NOTIFY, 1, HOST_EINVAL);
	world_run(world);
	expect_failed(world, MR_PC_005);
	assert_int_equal(mr_incoming_postcopy_state(world->machine), MR_POSTCOPY_ADVISE);
	world_free(world);
}

/* Blocks that are no whole host pages, or target pages larger than the host's: the host is not even asked. */
static void advise_without_a_way(void **state)
{
	static const struct mr_incoming_block odd = {.name = "mem", .used_length = PAGE, .page_size = HUGE_PAGE};
	struct setup setup = postcopy;
	struct world *world;

	(void)state;
	setup.blocks = &odd;
	setup.block_count = 1;
	world = advise_only(&setup, HUGE_PAGE, PAGE);
	world_run(world);
	expect_failed(world, MR_PC_005);
	expect_silent(world, "main probe 0");
	world_free(world);

	setup = postcopy;
	setup.host_page_size = 1024;
	world = advise_only(&setup, 1024, PAGE);
	world_run(world);
	expect_failed(world, MR_PC_005);
	expect_silent(world, "main probe 0");
	world_free(world);
}

/* breaks PC-006: a block that cannot be emptied */
static void advise_whose_discard_fails(void **state)
{
	struct world *world = advise_only(&postcopy, PAGE, PAGE);

	(void)state;
	world_fail(world, MR_ACTION_DISCARD, 0, HOST_ENOMEM);
	world_run(world);
	expect_failed(world, MR_PC_006);
	expect_said(world, "main command-done POSTCOPY_ADVISE -12");
	world_free(world);
}

/* ---- RAM_DISCARD ---- */

struct range {
	uint64_t start, length;
};

static void put_ranges(struct build *build, const char *block, const struct range *ranges, size_t count)
{
	build_command(build, MR_COMMAND_POSTCOPY_RAM_DISCARD, (uint16_t)(3 + strlen(block) + 16 * count));
	build_u8(build, 0);
	build_counted(build, block);
	build_u8(build, 0);
	for (size_t i = 0; i < count; i++) {
		build_be64(build, ranges[i].start);
		build_be64(build, ranges[i].length);
	}
}

static struct world *discard_ranges(const struct setup *setup, const char *block, const struct range *ranges,
				    size_t count)
{
	struct world *world = world_new(setup);
	struct build *build = &world->connections[0].bytes;

	put_advised(world, build);
	for (uint64_t i = 0; i < WORLD_PAGES; i += 4)
		put_page_section(build, "mem", i * PAGE, (uint8_t)(i + 1));
	put_ranges(build, block, ranges, count);
	world_show(world, 0, SIZE_MAX);
	return world;
}

/* keeps PC-007 PC-009: ranges in their order, one of them twice and overlapping; an empty one is nothing */
static void discards_are_carried_out_in_order(void **state)
{
	static const struct range ranges[] = {{4 * PAGE, 4 * PAGE}, {0, PAGE}, {4 * PAGE, 2 * PAGE}, {MEM_BYTES, 0}};
	struct world *world = discard_ranges(&postcopy, "mem", ranges, 4);

	(void)state;
	world_run(world);
	expect_order(world, "main command POSTCOPY_RAM_DISCARD", "main no-huge-pages mem 0x0+0x10000",
		     "main postcopy-state DISCARD", "main discard-header mem 0x0+0x40",
		     "main discard mem 0x4000+0x4000", "main discard mem 0x0+0x1000", "main discard mem 0x4000+0x2000",
		     "main discard mem 0x10000+0x0", "main command-done POSTCOPY_RAM_DISCARD 0", NULL);
	for (uint64_t i = 0; i < WORLD_PAGES; i += 4)
		assert_int_equal(mr_incoming_is_received(world->machine, 0, i * PAGE), i >= 8);
	put_ranges(&world->connections[0].bytes, "mem", ranges, 1);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	assert_int_equal(world->count[MR_ACTION_NO_HUGE_PAGES], 1);
	assert_int_equal(world_said(world, "main postcopy-state DISCARD"), 1);
	world_free(world);
}

/* A command without a single range forbids huge pages all the same. */
static void an_empty_discard(void **state)
{
	struct world *world = discard_ranges(&postcopy, "mem", NULL, 0);

	(void)state;
	world_run(world);
	expect_order(world, "main no-huge-pages mem 0x0+0x10000", "main discard-header mem 0x0+0x0",
		     "main command-done POSTCOPY_RAM_DISCARD 0", NULL);
	world_free(world);
}

/* breaks PC-009: outside the block, not on page borders, of an unknown block, or not possible for the host */
static void discards_that_are_refused(void **state)
{
	static const struct range bad[] = {{MEM_BYTES, PAGE},
					   {0, MEM_BYTES + PAGE},
					   {UINT64_MAX - PAGE + 1, 2 * PAGE},
					   {PAGE, UINT64_MAX - PAGE + 1},
					   {1, PAGE},
					   {0, 1},
					   {PAGE - 1, PAGE}};
	struct world *world;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const struct range ranges[] = {{0, PAGE}, bad[i], {4 * PAGE, PAGE}};

		world = discard_ranges(&postcopy, "mem", ranges, 3);
		world_run(world);
		expect_failed(world, MR_PC_009);
		expect_said(world, "main discard mem 0x0+0x1000");
		expect_silent(world, "main discard mem 0x4000+0x1000");
		assert_true(mr_incoming_is_received(world->machine, 0, (uint64_t)4 * PAGE));
		world_free(world);
	}
	world = discard_ranges(&postcopy, "other", bad, 1);
	world_run(world);
	expect_failed(world, MR_PC_009);
	world_free(world);

	world = discard_ranges(&postcopy, "mem", (const struct range[]){{0, PAGE}, {PAGE, PAGE}}, 2);
	world_fail(world, MR_ACTION_DISCARD, 1, HOST_EINVAL);
	world_run(world);
	expect_failed(world, MR_PC_009);
	expect_silent(world, "main discard mem 0x1000+0x1000");
	world_free(world);
}

/* From 6.1 on a discard may reach to the block's greatest length, before to its used one. */
static void discards_up_to_the_greatest_length(void **state)
{
	static const struct mr_incoming_block block = {
		.name = "mem", .used_length = 8 * PAGE, .max_length = WORLD_PAGES * PAGE};
	static const struct range tail = {8 * PAGE, 2 * PAGE};

	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		const struct setup setup = {.release = newer ? "6.1" : "6.0",
					    .capabilities = MR_CAPABILITY_POSTCOPY_RAM,
					    .blocks = &block,
					    .block_count = 1};
		struct world *world = world_new(&setup);
		struct build *build = &world->connections[0].bytes;

		put_advised(world, build);
		put_ranges(build, "mem", &tail, 1);
		world_show(world, 0, SIZE_MAX);
		world_run(world);
		if (newer)
			expect_said(world, "main command-done POSTCOPY_RAM_DISCARD 0");
		else
			expect_failed(world, MR_PC_009);
		world_free(world);
	}
}

/* breaks PC-007: a RAM_DISCARD where none may be is refused, and no block loses its huge pages */
static void a_discard_too_early_or_too_late(void **state)
{
	struct world *world = world_new(&postcopy);

	(void)state;
	put_begin(&world->connections[0].bytes);
	build_discard(&world->connections[0].bytes, "mem", 0, PAGE);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_failed(world, MR_PC_001);
	assert_int_equal(world->count[MR_ACTION_NO_HUGE_PAGES], 0);
	assert_int_equal(world->count[MR_ACTION_DISCARD], 0);
	world_free(world);
}

/* ---- LISTEN ---- */

/* keeps PC-010 PC-011: faults are caught first, and the listen loader reads the main channel from then on */
static void listen_catches_before_it_listens(void **state)
{
	struct world *world = world_running(&postcopy);

	(void)state;
	expect_order(world, "main command POSTCOPY_LISTEN", "main postcopy-state LISTENING", "main listen-prepared",
		     "main catch", "fault actor-start", "main register mem 0x0+0x10000", "main listen-ready",
		     "main notify 2", "listen status postcopy-active", "main command-done POSTCOPY_LISTEN 0", NULL);
	expect_order(world, "listen status postcopy-active", "listen actor-start", NULL);
	expect_said(world, "main command-done PACKAGED 1");
	expect_said(world, "listen send PONG 4");
	expect_silent(world, "main send PONG 4");
	world_free(world);
}

/* breaks PC-010: no userfault object, a block that cannot be registered, a device that refuses */
static void listen_that_fails(void **state)
{
	static const struct {
		enum mr_action_kind kind;
		unsigned nth;
	} missing[] = {{MR_ACTION_CATCH, 0}, {MR_ACTION_REGISTER, 0}, {MR_ACTION_NOTIFY, 2}};

	(void)state;
	for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
		struct world *world = world_new(&postcopy);

		put_running(world, &world->connections[0].bytes);
		world_show(world, 0, SIZE_MAX);
		world_fail(world, missing[i].kind, missing[i].nth, HOST_EINVAL);
		world_run(world);
		expect_failed(world, MR_PC_010);
		expect_silent(world, "listen actor-start");
		expect_said(world, "main command-done POSTCOPY_LISTEN -22");
		world_free(world);
	}
}

/* keeps PC-008: LISTEN without a discard forbids huge pages, and listens */
static void listen_straight_after_advise(void **state)
{
	(void)state;
	for (unsigned strict = 0; strict < 2; strict++) {
		const struct setup setup = {.strict = strict, .capabilities = MR_CAPABILITY_POSTCOPY_RAM};
		struct world *world = world_new(&setup);

		put_advised(world, &world->connections[0].bytes);
		put_package(&world->connections[0].bytes);
		world_show(world, 0, SIZE_MAX);
		world_run(world);
		expect_said(world, "main no-huge-pages mem 0x0+0x10000");
		if (strict) {
			expect_silent(world, "main postcopy-state DISCARD");
			expect_said(world, "main command-done POSTCOPY_RUN 1");
		} else {
			/* breaks PC-008: QEMU's state is DISCARD afterwards, where RUN is refused. */
			expect_order(world, "main postcopy-state LISTENING", "main no-huge-pages mem 0x0+0x10000",
				     "main postcopy-state DISCARD", "main command-done POSTCOPY_RUN -1", NULL);
			expect_failed(world, MR_PC_001);
		}
		world_free(world);
	}
}

/* Without postcopy of RAM nothing is caught: only devices hear of LISTEN. */
static void listen_without_postcopy_of_ram(void **state)
{
	const struct setup setup = {.capabilities = MR_CAPABILITY_DIRTY_BITMAPS};
	struct world *world = world_new(&setup);
	struct build *build = &world->connections[0].bytes;

	(void)state;
	put_advised(world, build);
	put_package(build);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	assert_int_equal(world->count[MR_ACTION_CATCH], 0);
	expect_said(world, "main notify 2");
	assert_int_equal(mr_incoming_postcopy_state(world->machine), MR_POSTCOPY_RUNNING);
	/* What breaks now costs the bitmaps alone: the migration is good. */
	world_end(world, 0, HOST_EIO);
	world_run(world);
	expect_finished(world);
	world_free(world);
}

/* ---- PACKAGED ---- */

/* breaks PC-012: larger than the limit, or not whole */
static void packages_too_large_or_cut(void **state)
{
	struct setup setup = postcopy;
	struct world *world;
	struct build *build;

	(void)state;
	setup.package_max = 64;
	for (uint32_t length = 64; length <= 65; length++) {
		world = world_new(&setup);
		build = &world->connections[0].bytes;
		put_begin(build);
		build_command(build, MR_COMMAND_PACKAGED, 4);
		build_be32(build, length);
		build_fill(build, 0, 65);
		world_show(world, 0, SIZE_MAX);
		world_run(world);
		if (length > 64)
			expect_failed(world, MR_PC_012);
		else
			expect_said(world, "main command-done PACKAGED 0");
		world_free(world);
	}
	/* Of a whole package one byte is missing: not even its first command is loaded. */
	world = world_new(&postcopy);
	build = &world->connections[0].bytes;
	put_discarded(world, build);
	put_package(build);
	build->length--;
	world_end(world, 0, 0);
	world_run(world);
	expect_failed(world, MR_PC_012);
	expect_said(world, "main command-done PACKAGED -11");
	expect_silent(world, "main command POSTCOPY_LISTEN");
	world_free(world);
}

/* keeps PC-012 PC-015: a package is loaded when its last byte is there, and ends by RUN */
static void a_package_is_loaded_whole(void **state)
{
	struct world *world = world_new(&postcopy);
	struct build *build = &world->connections[0].bytes;

	(void)state;
	put_discarded(world, build);
	put_package(build);
	world_show(world, 0, build->length - 1);
	world_run(world);
	expect_silent(world, "main command POSTCOPY_LISTEN");
	assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_MAIN).wanted, 1);
	world_show(world, 0, 1);
	world_run(world);
	expect_said(world, "main command-done PACKAGED 1");
	world_free(world);
}

/* breaks PC-015: without RUN or end mark */
static void a_package_without_an_end(void **state)
{
	struct world *world = world_new(&postcopy);
	struct build *build = &world->connections[0].bytes;
	size_t start;

	(void)state;
	put_discarded(world, build);
	start = build_package(build);
	put_listen(build);
	build_package_end(build, start);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_failed(world, MR_PC_015);
	world_free(world);

	world = world_new(&postcopy);
	build = &world->connections[0].bytes;
	put_begin(build);
	build_package_end(build, build_package(build));
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_failed(world, MR_PC_015);
	world_free(world);
}

/* An end mark ends a package as well; the main loader goes on behind it. */
static void a_package_with_an_end_mark(void **state)
{
	struct world *world = world_new(&postcopy);
	struct build *build = &world->connections[0].bytes;
	size_t start;

	(void)state;
	put_begin(build);
	put_open_return_path(build);
	start = build_package(build);
	build_ping(build, 3);
	build_u8(build, 0);
	build_package_end(build, start);
	build_ping(build, 4);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_order(world, "main send PONG 3", "main command-done PACKAGED 0", "main send PONG 4", NULL);
	world_free(world);
}

/* breaks PC-011: without a package the main loader goes on in the main channel, and takes what is the listen loader's
 */
static void listen_outside_a_package(void **state)
{
	struct world *world = world_new(&postcopy);
	struct build *build = &world->connections[0].bytes;

	(void)state;
	put_discarded(world, build);
	put_listen(build);
	put_run(build);
	put_page_section(build, "mem", 0, 1);
	put_end(build);
	world_show(world, 0, SIZE_MAX);
	world_run_until(world, "main command-done POSTCOPY_LISTEN");
	world_run_actor_until(world, MR_ACTOR_MAIN, "main command-done POSTCOPY_RUN 1");
	world_run(world);
	expect_said(world, "listen marked mem 0x0");
	expect_finished(world);
	world_free(world);
}

/* ---- RUN ---- */

/* keeps PC-014: the loops of the main loader end, and the guest starts behind them */
static void run_ends_the_main_loader(void **state)
{
	struct world *world = world_running(&postcopy);

	(void)state;
	expect_order(world, "main postcopy-state RUNNING", "main command-done POSTCOPY_RUN 1",
		     "main command-done PACKAGED 1", "main loaded 1", "main start-guest 1", NULL);
	world_free(world);
}

/* breaks PC-014: what stands behind RUN in a package is never read, and a second RUN is refused */
static void run_twice(void **state)
{
	struct world *world = world_new(&postcopy);
	struct build *build = &world->connections[0].bytes;
	size_t start;

	(void)state;
	put_discarded(world, build);
	start = build_package(build);
	put_listen(build);
	put_run(build);
	put_run(build);
	build_package_end(build, start);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	assert_int_equal(world_said(world, "main command POSTCOPY_RUN"), 1);
	put_run(build);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_order(world, "listen command POSTCOPY_RUN", "listen command-done POSTCOPY_RUN -1", "listen pause", NULL);
	world_free(world);
}

static void a_paused_guest_is_not_started(void **state)
{
	const struct setup setup = {.start_paused = true, .capabilities = MR_CAPABILITY_POSTCOPY_RAM};
	struct world *world = world_running(&setup);

	(void)state;
	expect_said(world, "main start-guest 0");
	world_free(world);
}

/* ---- OPEN_RETURN_PATH and PING ---- */

/* keeps PC-019: the loader that reads a PING answers it, whoever else has something to say */
static void pings_are_answered_at_once(void **state)
{
	static const uint32_t values[] = {1, 2, 4, 3};
	struct world *world = world_new(&postcopy);
	struct messages messages;

	(void)state;
	put_running(world, &world->connections[0].bytes);
	world_show(world, 0, SIZE_MAX);
	world_run_until(world, "main command-done POSTCOPY_LISTEN");
	world_run_actor(world, MR_ACTOR_LISTEN);
	world_run(world);
	world_messages(world, 0, &messages);
	assert_int_equal(messages.count, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(messages.at[i].value, values[i]);
	world_free(world);
}

/* breaks PC-019: a PING that has nowhere to be answered */
static void a_ping_without_return_path(void **state)
{
	struct world *world = world_new(&postcopy);

	(void)state;
	put_begin(&world->connections[0].bytes);
	build_ping(&world->connections[0].bytes, 1);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_failed(world, MR_CMD_004);
	assert_int_equal(world->count[MR_ACTION_SEND], 0);
	world_free(world);
}

/* A pong that is lost is not missed; a second OPEN_RETURN_PATH changes nothing. */
static void a_lost_pong_and_a_second_opening(void **state)
{
	struct world *world = world_new(&postcopy);
	struct build *build = &world->connections[0].bytes;

	(void)state;
	put_begin(build);
	put_open_return_path(build);
	put_open_return_path(build);
	build_ping(build, 1);
	build_ping(build, 2);
	world_show(world, 0, SIZE_MAX);
	world_fail(world, MR_ACTION_SEND, 0, HOST_EIO);
	world_run(world);
	expect_order(world, "main command-done OPEN_RETURN_PATH 0", "main command-done OPEN_RETURN_PATH 0",
		     "main command-done PING 0", "main send PONG 2", NULL);
	world_free(world);
}

static void a_switchover_ack_by_release(void **state)
{
	static const char *const releases[] = {"8.0", "8.2", "11.0", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		const struct setup setup = {.release = releases[i], .capabilities = MR_CAPABILITY_SWITCHOVER_ACK};
		struct world *world = world_new(&setup);

		put_begin(&world->connections[0].bytes);
		put_open_return_path(&world->connections[0].bytes);
		put_open_return_path(&world->connections[0].bytes);
		world_show(world, 0, SIZE_MAX);
		world_run(world);
		assert_int_equal(world_said(world, "main send SWITCHOVER_ACK 0"), i == 1 || i == 2);
		world_free(world);
	}
}

/* ---- Postcopy that is advised only ---- */

/* keeps PC-041: postcopy that was advised and not needed is given back before the guest runs; later, in the end */
static void postcopy_that_is_not_needed(void **state)
{
	static const char *const releases[] = {"7.2", "9.2", "10.2"};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		const struct setup setup = {.release = releases[i],
					    .capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_RETURN_PATH};
		struct world *world = world_new(&setup);

		put_advised(world, &world->connections[0].bytes);
		put_end(&world->connections[0].bytes);
		world_end(world, 0, 0);
		world_run(world);
		expect_finished(world);
		assert_int_equal(world_said(world, "main cleanup"), 1);
		if (i < 2)
			expect_order(world, "main cleanup", "main cleanup-done", "main start-guest 1",
				     "main status completed", NULL);
		else
			expect_order(world, "main start-guest 1", "main status completed", "main cleanup",
				     "main cleanup-done", NULL);
		world_free(world);
	}
}

/* ---- Names ---- */

static void names_of_everything(void **state)
{
	(void)state;
	assert_string_equal(mr_postcopy_state_name(MR_POSTCOPY_LISTENING), "LISTENING");
	assert_string_equal(mr_postcopy_state_name(MR_POSTCOPY_COUNT), "unknown");
	assert_string_equal(mr_status_name(MR_STATUS_POSTCOPY_RECOVER), "postcopy-recover");
	assert_string_equal(mr_status_name(MR_STATUS_COUNT), "unknown");
	for (unsigned i = 0; i < MR_ACTION_KIND_COUNT; i++)
		assert_non_null(mr_action_name((enum mr_action_kind)i));
	assert_string_equal(mr_action_name(MR_ACTION_KIND_COUNT), "unknown");
	assert_string_equal(mr_actor_name(MR_ACTOR_MULTIFD + 7), "multifd");
	assert_null(mr_actor_name(MR_ACTOR_COUNT));
	assert_string_equal(mr_request_verdict_name(MR_REQUEST_DROPPED), "dropped");
	assert_int_equal(mr_postcopy_transition(0, MR_POSTCOPY_NONE).reception, MR_RECEPTION_REFUSED);
	assert_int_equal(mr_postcopy_transition(MR_COMMAND_COUNT, MR_POSTCOPY_NONE).reception, MR_RECEPTION_REFUSED);
	assert_int_equal(mr_postcopy_transition(MR_COMMAND_PING, MR_POSTCOPY_COUNT).reception, MR_RECEPTION_REFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_command_in_every_state),
		cmocka_unit_test(a_refused_command_leaves_the_state_alone),
		cmocka_unit_test(every_command_cut_at_every_byte),
		cmocka_unit_test(every_command_too_long),
		cmocka_unit_test(advise_asks_the_host_and_empties_every_block),
		cmocka_unit_test(advise_clears_what_was_received),
		cmocka_unit_test(advise_of_the_wrong_length),
		cmocka_unit_test(advise_of_other_page_sizes),
		cmocka_unit_test(advise_on_a_host_that_cannot),
		cmocka_unit_test(advise_that_a_device_refuses),
		cmocka_unit_test(advise_without_a_way),
		cmocka_unit_test(advise_whose_discard_fails),
		cmocka_unit_test(discards_are_carried_out_in_order),
		cmocka_unit_test(an_empty_discard),
		cmocka_unit_test(discards_that_are_refused),
		cmocka_unit_test(discards_up_to_the_greatest_length),
		cmocka_unit_test(a_discard_too_early_or_too_late),
		cmocka_unit_test(listen_catches_before_it_listens),
		cmocka_unit_test(listen_that_fails),
		cmocka_unit_test(listen_straight_after_advise),
		cmocka_unit_test(listen_without_postcopy_of_ram),
		cmocka_unit_test(packages_too_large_or_cut),
		cmocka_unit_test(a_package_is_loaded_whole),
		cmocka_unit_test(a_package_without_an_end),
		cmocka_unit_test(a_package_with_an_end_mark),
		cmocka_unit_test(listen_outside_a_package),
		cmocka_unit_test(run_ends_the_main_loader),
		cmocka_unit_test(run_twice),
		cmocka_unit_test(a_paused_guest_is_not_started),
		cmocka_unit_test(pings_are_answered_at_once),
		cmocka_unit_test(a_ping_without_return_path),
		cmocka_unit_test(a_lost_pong_and_a_second_opening),
		cmocka_unit_test(a_switchover_ack_by_release),
		cmocka_unit_test(postcopy_that_is_not_needed),
		cmocka_unit_test(names_of_everything),
	};

	return cmocka_run_group_tests_name("machine: commands", tests, NULL, NULL);
}
