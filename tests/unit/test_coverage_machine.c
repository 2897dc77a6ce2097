/*
 * test_coverage_machine.c: the corners of the destination's loaders, receivers and fault handler that only a look at
 * the branches finds.
 */
#include "machine_support.h"

enum { POSTCOPY = MR_CAPABILITY_POSTCOPY_RAM, PREEMPT = MR_CAPABILITY_POSTCOPY_PREEMPT, CHANNELS = 2 };

static struct build *main_bytes(struct world *world)
{
	return &world->connections[0].bytes;
}

static void show_and_run(struct world *world)
{
	for (uint32_t i = 0; i < WORLD_CONNECTIONS; i++)
		world_show(world, i, SIZE_MAX);
	world_run(world);
}

/* ---- Commands ---- */

/* A package of one byte too many is refused by the release's own limit, however much there is room for. */
static void the_limit_of_early_releases(void **state)
{
	static const char *const releases[] = {"2.11", "2.12"};
	enum { LIMIT = 1 << 24 };

	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		const struct setup setup = {
			.release = releases[newer], .capabilities = POSTCOPY, .package_max = LIMIT * (size_t)2};
		struct world *world = world_new(&setup);

		put_discarded(world, main_bytes(world));
		build_command(main_bytes(world), MR_COMMAND_PACKAGED, 4);
		build_be32(main_bytes(world), LIMIT + 1);
		show_and_run(world);
		if (newer) {
			assert_int_equal(mr_incoming_error(world->machine)->rule, MR_NO_RULE);
			assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_MAIN).wanted, 1);
		} else {
			expect_said(world, "main command-done PACKAGED -22");
			expect_failed(world, MR_PC_012);
			assert_string_equal(mr_incoming_error(world->machine)->expected,
					    "a package of at most 16777216 bytes");
		}
		world_free(world);
	}
}

/* ---- The end of precopy after ADVISE ---- */

/* What catches faults is given back where it could have been set up; the state was not LISTENING, hence stays. */
static void precopy_ends_although_advised(void **state)
{
	static const uint32_t capabilities[] = {POSTCOPY, MR_CAPABILITY_DIRTY_BITMAPS};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const struct setup setup = {.release = "4.1", .capabilities = capabilities[i]};
		struct world *world = world_new(&setup);

		put_advised(world, main_bytes(world));
		put_end(main_bytes(world));
		world_end(world, 0, 0);
		world_run(world);
		expect_finished(world);
		assert_int_equal(world->count[MR_ACTION_CLEANUP], i == 0);
		assert_int_equal(world->count[MR_ACTION_CLEANUP_DONE], i == 0);
		assert_int_equal(mr_incoming_postcopy_state(world->machine), MR_POSTCOPY_ADVISE);
		world_free(world);
	}
}

/* ---- Two loaders on one channel ---- */

static struct world *listening(const struct setup *setup)
{
	struct world *world = world_new(setup);

	if (setup->capabilities & POSTCOPY)
		put_discarded(world, main_bytes(world));
	else
		put_advised(world, main_bytes(world));
	put_listen(main_bytes(world));
	world_show(world, 0, SIZE_MAX);
	world_run_until(world, "main command-done POSTCOPY_LISTEN");
	return world;
}

/* An end mark instead of RUN: the main loader is through, but nobody said that the guest may run. */
static void an_end_mark_instead_of_run(void **state)
{
	const struct setup setup = {.capabilities = POSTCOPY};
	struct world *world = listening(&setup);

	(void)state;
	build_u8(main_bytes(world), 0);
	world_show(world, 0, SIZE_MAX);
	world_run_actor_until(world, MR_ACTOR_MAIN, "main loaded 0");
	assert_int_equal(world_run_actor(world, MR_ACTOR_MAIN), MR_STEP_WAITS);
	assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_MAIN).wait, MR_WAIT_ACTOR);
	assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_MAIN).actor, MR_ACTOR_LISTEN);
	assert_int_equal(mr_incoming_postcopy_state(world->machine), MR_POSTCOPY_LISTENING);
	assert_int_equal(world->count[MR_ACTION_START_GUEST], 0);
	world_free(world);
}

/* The main loader takes the EOS of the listen loader's body, and fails; the other goes on, and says so in the end. */
static void the_end_of_a_body_goes_astray(void **state)
{
	const struct setup setup = {.release = "11.1", .capabilities = POSTCOPY};
	struct world *world = listening(&setup);

	(void)state;
	put_section(main_bytes(world));
	put_section_end(main_bytes(world));
	put_page_section(main_bytes(world), "mem", PAGE, 0x22);
	world_show(world, 0, SIZE_MAX);
	world_run_actor_until(world, MR_ACTOR_LISTEN, "listen section 2 ram");
	world_run_actor_until(world, MR_ACTOR_MAIN, "main loaded -22");
	expect_error(world, MR_STR_011);
	world_run(world);
	/* The page is placed: the failure shows between two sections only. */
	expect_order(world, "listen marked mem 0x1000", "listen ram-loaded 0 postcopy", "listen status failed", NULL);
	expect_failed(world, MR_STR_011);
	world_free(world);
}

/* Where only disk bitmaps are listened for, a failure before RUN needs no cleanup, and is one all the same. */
static void a_failure_while_listening_for_bitmaps(void **state)
{
	static const char *const releases[] = {"8.2", "9.1"};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const struct setup setup = {.release = releases[i], .capabilities = MR_CAPABILITY_DIRTY_BITMAPS};
		struct world *world = listening(&setup);

		build_u8(main_bytes(world), 0x99);
		world_show(world, 0, SIZE_MAX);
		world_run_actor(world, MR_ACTOR_LISTEN);
		expect_order(world, "listen actor-end", "listen status failed", "listen failed", NULL);
		expect_silent(world, "listen cleanup -");
		/* Later releases give back what handlers keep, and say SHUT 1. */
		assert_int_equal(world->count[MR_ACTION_STATE_CLEANUP], i);
		assert_int_equal(world_said(world, "listen send SHUT 1"), i);
		assert_true(world->failed);
		world_free(world);
	}
}

/* ---- The preempt channel ---- */

static const struct mr_incoming_block two_blocks[] = {
	{.name = "mem", .used_length = WORLD_PAGES * PAGE},
	{.name = "other", .used_length = WORLD_PAGES * PAGE},
};

/* It never came: there is nothing to shut, and its loader ends where it waits. */
static void a_preempt_channel_that_never_came(void **state)
{
	static const char *const releases[] = {"8.0", "8.2"};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const struct setup setup = {.release = releases[i], .capabilities = POSTCOPY | PREEMPT};
		struct world *world = world_new(&setup);

		put_running(world, main_bytes(world));
		show_and_run(world);
		assert_int_equal(mr_incoming_postcopy_state(world->machine), MR_POSTCOPY_RUNNING);
		assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_PREEMPT).wait, MR_WAIT_CHANNEL);
		put_end(main_bytes(world));
		show_and_run(world);
		expect_finished(world);
		expect_order(world, "listen cleanup -", "preempt actor-end -", "listen cleanup-done -", NULL);
		assert_int_equal(world->count[MR_ACTION_CLOSE], 0);
		world_free(world);
	}
}

/* Where the preempt channel comes early, a recovery waits for both channels. */
static void a_recovery_waits_for_both_channels(void **state)
{
	const struct setup setup = {.release = "7.2", .capabilities = PREEMPT};
	struct world *world = world_running(&setup);

	(void)state;
	world_end(world, 0, HOST_EIO);
	world_run(world);
	assert_int_equal(mr_incoming_status(world->machine), MR_STATUS_POSTCOPY_PAUSED);
	world_open(world, 2, MR_ROLE_RECOVERY);
	world_run(world);
	assert_int_equal(mr_incoming_status(world->machine), MR_STATUS_POSTCOPY_PAUSED);
	assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_MAIN).wait, MR_WAIT_CHANNEL);
	world_open(world, 3, MR_ROLE_PREEMPT);
	world_run(world);
	assert_int_equal(mr_incoming_status(world->machine), MR_STATUS_POSTCOPY_RECOVER);
	world_free(world);
}

/* Its loader has ended by EOS before the cut: RESUME has nobody to wake, and waits for no new channel. */
static void resume_behind_the_end_of_the_preempt_channel(void **state)
{
	static const char *const releases[] = {"7.2", "8.2"};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const struct setup setup = {.release = releases[i], .capabilities = PREEMPT};
		struct world *world = world_running(&setup);

		build_eos(&world->connections[1].bytes);
		show_and_run(world);
		expect_said(world, "preempt actor-end -");
		world_end(world, 0, HOST_EIO);
		world_run(world);
		if (i == 0)
			world_open(world, 3, MR_ROLE_PREEMPT);
		build_command(&world->connections[2].bytes, MR_COMMAND_POSTCOPY_RESUME, 0);
		world_open(world, 2, MR_ROLE_RECOVERY);
		world_run(world);
		expect_said(world, "listen command-done POSTCOPY_RESUME 0");
		expect_silent(world, "preempt continue -");
		assert_int_equal(mr_incoming_status(world->machine), MR_STATUS_POSTCOPY_ACTIVE);
		put_end(&world->connections[2].bytes);
		show_and_run(world);
		expect_finished(world);
		world_free(world);
	}
}

/* A third main channel finds the place of the second one taken. */
static void a_second_new_main_channel(void **state)
{
	const struct setup setup = {.release = "8.2", .capabilities = POSTCOPY};
	struct world *world = world_running(&setup);

	(void)state;
	world_end(world, 0, HOST_EIO);
	world_run(world);
	put_open_return_path(&world->connections[2].bytes);
	put_open_return_path(&world->connections[3].bytes);
	world_open(world, 2, MR_ROLE_RECOVERY);
	world_open(world, 3, MR_ROLE_RECOVERY);
	world_run(world);
	assert_true(mr_incoming_consumed(world->machine, 2) > 0);
	assert_int_equal(mr_incoming_consumed(world->machine, 3), 0);
	world_free(world);
}

/* ---- The fault handler ---- */

/* The main channel is gone, and the listen loader sleeps; the handler has not looked. */
static struct world *paused_unseen(bool strict)
{
	const struct setup setup = {.release = "8.2", .strict = strict, .blocks = two_blocks, .block_count = 2};
	struct world *world = world_running(&setup);

	world_end(world, 0, HOST_EIO);
	world_run_actor_until(world, MR_ACTOR_LISTEN, "listen park -");
	world_open(world, 2, MR_ROLE_RECOVERY);
	world_run_actor_until(world, MR_ACTOR_MAIN, "main status postcopy-recover");
	world_run_actor(world, MR_ACTOR_MAIN);
	world_hush(world);
	return world;
}

/* So late that the new connection is there: a release asks on it at once, a strict machine sleeps until RESUME. */
static void a_handler_that_looks_in_recovery(void **state)
{
	(void)state;
	for (unsigned strict = 0; strict < 2; strict++) {
		struct world *world = paused_unseen(strict);

		assert_true(world_fault(world, 1, 2 * PAGE));
		world_run_actor(world, MR_ACTOR_FAULT);
		assert_int_equal(world_said(world, "fault park -"), strict);
		assert_int_equal(world_said(world, "fault send REQ_PAGES_ID other 0x2000"), !strict);
		build_command(&world->connections[2].bytes, MR_COMMAND_POSTCOPY_RESUME, 0);
		show_and_run(world);
		assert_int_equal(world_said(world, "fault continue -"), strict);
		assert_int_equal(mr_incoming_outstanding(world->machine), 1);
		world_free(world);
	}
}

/* One that never looked in the pause does not sleep: RESUME leaves a strict one nothing, QEMU's a waking too many. */
static void a_handler_that_never_looks(void **state)
{
	(void)state;
	for (unsigned strict = 0; strict < 2; strict++) {
		struct world *world = paused_unseen(strict);

		build_command(&world->connections[2].bytes, MR_COMMAND_POSTCOPY_RESUME, 0);
		world_show(world, 2, SIZE_MAX);
		world_run_actor_until(world, MR_ACTOR_LISTEN, "listen continue -");
		world_run_actor_until(world, MR_ACTOR_LISTEN, "listen command-done POSTCOPY_RESUME 0");
		world_run(world);
		expect_silent(world, "fault park -");
		/* The next pause shows it. */
		world_end(world, 2, HOST_EIO);
		world_run(world);
		expect_said(world, "fault park -");
		assert_int_equal(world_said(world, "fault continue -"), !strict);
		world_free(world);
	}
}

/* Before recoveries, a request that nobody takes is forgotten. */
static void a_request_without_a_return_path(void **state)
{
	const struct setup setup = {.release = "2.12", .capabilities = POSTCOPY};
	struct world *world = world_new(&setup);
	struct build *build = main_bytes(world);
	size_t start;

	(void)state;
	put_begin(build);
	put_advise(world, build);
	put_block_list(world, build);
	build_discard(build, "mem", 0, WORLD_PAGES * PAGE);
	start = build_package(build);
	put_listen(build);
	put_run(build);
	build_package_end(build, start);
	show_and_run(world);
	assert_int_equal(mr_incoming_postcopy_state(world->machine), MR_POSTCOPY_RUNNING);
	for (unsigned page = 0; page < 2; page++) {
		assert_true(world_fault(world, 0, page * PAGE));
		assert_false(world_fault(world, 0, page * PAGE));
		world_run(world);
	}
	assert_int_equal(world->count[MR_ACTION_REQUEST], 2);
	assert_int_equal(world->count[MR_ACTION_SEND], 0);
	expect_silent(world, "fault park -");
	world_free(world);
}

/* The handler has one fault in hand: a client's is told again later. */
static void a_client_that_comes_second(void **state)
{
	const struct setup setup = {.release = "8.2", .capabilities = POSTCOPY, .shared_clients = true};
	struct world *world = world_new(&setup);

	(void)state;
	assert_int_equal(mr_incoming_register_client(world->machine), 0);
	put_running(world, main_bytes(world));
	show_and_run(world);
	assert_true(world_fault(world, 0, 0));
	assert_false(mr_incoming_client_fault(world->machine, 0, 0, PAGE));
	world_run(world);
	expect_silent(world, "fault request added mem 0x1000");
	assert_true(mr_incoming_client_fault(world->machine, 0, 0, PAGE));
	world_run(world);
	expect_said(world, "fault request added mem 0x1000");
	world_free(world);
}

/* ---- Multifd ---- */

static struct world *with_channels(const char *release, uint32_t capabilities)
{
	const struct setup setup = {
		.release = release, .capabilities = MR_CAPABILITY_MULTIFD | capabilities, .multifd_channels = CHANNELS};
	struct world *world = world_new(&setup);

	for (uint32_t i = 0; i < CHANNELS; i++) {
		put_multifd_init(&world->connections[i + 1].bytes, (uint8_t)i);
		world_open(world, i + 1, MR_ROLE_MULTIFD);
	}
	if (capabilities & POSTCOPY) {
		put_running(world, main_bytes(world));
	} else {
		put_begin(main_bytes(world));
		put_block_list(world, main_bytes(world));
	}
	show_and_run(world);
	return world;
}

/* Who cleans up after postcopy waits for the receivers first: the listen loader, later the main loop. */
static void the_end_of_postcopy_waits_for_receivers(void **state)
{
	static const char *const releases[] = {"10.1", "11.1"};
	static const unsigned actors[] = {MR_ACTOR_LISTEN, MR_ACTOR_MAIN};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct world *world = with_channels(releases[i], POSTCOPY);

		put_end(main_bytes(world));
		world_show(world, 0, SIZE_MAX);
		world_run_actor(world, MR_ACTOR_LISTEN);
		assert_int_equal(world_run_actor(world, actors[i]), MR_STEP_WAITS);
		assert_int_equal(mr_incoming_wants(world->machine, actors[i]).wait, MR_WAIT_ACTOR);
		assert_int_equal(mr_incoming_wants(world->machine, actors[i]).actor, MR_ACTOR_MULTIFD);
		assert_int_equal(world->count[MR_ACTION_CLEANUP], 0);
		world_run_actor(world, MR_ACTOR_MULTIFD);
		assert_int_equal(world_run_actor(world, actors[i]), MR_STEP_WAITS);
		assert_int_equal(mr_incoming_wants(world->machine, actors[i]).actor, MR_ACTOR_MULTIFD + 1);
		world_run(world);
		expect_finished(world);
		assert_int_equal(world->count[MR_ACTION_CLEANUP], 1);
		world_free(world);
	}
}

/* Two packets that cannot be written: the first failure is told, and both receivers end. */
static void two_packets_that_fail(void **state)
{
	struct world *world = with_channels("8.2", 0);

	(void)state;
	for (uint32_t i = 0; i < CHANNELS; i++) {
		put_multifd_packet(&world->connections[i + 1].bytes, 0, 2 * i, 1);
		world_show(world, i + 1, SIZE_MAX);
		world_fail(world, MR_ACTION_PACKET, 0, HOST_EIO + (int)i);
		assert_int_equal(world_step_only(world, MR_ACTOR_MULTIFD + i), MR_STEP_ACTION);
		assert_true(world->last.asked);
	}
	for (uint32_t i = 0; i < CHANNELS; i++) {
		world_complete(world, MR_ACTOR_MULTIFD + i);
		assert_int_equal(world_step(world, MR_ACTOR_MULTIFD + i), MR_STEP_ACTION);
		assert_int_equal(world->last.kind, MR_ACTION_ACTOR_END);
		expect_error(world, MR_MFR_007);
		assert_int_equal(mr_incoming_error(world->machine)->channel, 1);
	}
	/* What the main channel's bytes break later is not why it failed. */
	build_u8(main_bytes(world), 0x99);
	show_and_run(world);
	expect_failed(world, MR_MFR_007);
	assert_int_equal(mr_incoming_error(world->machine)->channel, 1);
	world_free(world);
}

/* The load has failed for good while a packet is being written: its completion is the last that is heard. */
static void a_packet_behind_the_failure(void **state)
{
	struct world *world = with_channels("8.2", 0);

	(void)state;
	put_multifd_packet(&world->connections[1].bytes, 0, 0, 1);
	world_show(world, 1, SIZE_MAX);
	assert_int_equal(world_step_only(world, MR_ACTOR_MULTIFD), MR_STEP_ACTION);
	build_u8(main_bytes(world), 0x99);
	world_show(world, 0, SIZE_MAX);
	world_run_actor(world, MR_ACTOR_MAIN);
	assert_true(world->failed);
	assert_int_equal(world_step_only(world, MR_ACTOR_MULTIFD), MR_STEP_WAITS);
	assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_MULTIFD).wait, MR_WAIT_COMPLETION);
	world_complete(world, MR_ACTOR_MULTIFD);
	assert_int_equal(world_step(world, MR_ACTOR_MULTIFD), MR_STEP_DONE);
	world_free(world);
}

/* A device's state among the packets changes no page and stops nobody. */
static void device_state_on_a_channel(void **state)
{
	enum { NAME_BYTES = 256 };
	struct world *world = with_channels("10.0", 0);
	struct build *build = &world->connections[1].bytes;

	(void)state;
	build_be32(build, 0x11223344);
	build_be32(build, 1);
	build_be32(build, MR_MULTIFD_FLAG_DEVICE_STATE);
	build_text(build, "vfio");
	build_fill(build, 0, NAME_BYTES - 4);
	build_be32(build, 0);
	build_be32(build, 3);
	build_fill(build, 0xdd, 3);
	put_multifd_packet(build, 0, 5, 1);
	show_and_run(world);
	assert_int_equal(world->count[MR_ACTION_PACKET], 1);
	expect_said(world, "multifd0 packet 0 pages 1");
	assert_int_equal(world->memory[0][5 * PAGE], 6);
	assert_int_equal(mr_incoming_error(world->machine)->rule, MR_NO_RULE);
	assert_int_equal(mr_incoming_consumed(world->machine, 1), build->length);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_limit_of_early_releases),
		cmocka_unit_test(precopy_ends_although_advised),
		cmocka_unit_test(an_end_mark_instead_of_run),
		cmocka_unit_test(the_end_of_a_body_goes_astray),
		cmocka_unit_test(a_failure_while_listening_for_bitmaps),
		cmocka_unit_test(a_preempt_channel_that_never_came),
		cmocka_unit_test(a_recovery_waits_for_both_channels),
		cmocka_unit_test(resume_behind_the_end_of_the_preempt_channel),
		cmocka_unit_test(a_second_new_main_channel),
		cmocka_unit_test(a_handler_that_looks_in_recovery),
		cmocka_unit_test(a_handler_that_never_looks),
		cmocka_unit_test(a_request_without_a_return_path),
		cmocka_unit_test(a_client_that_comes_second),
		cmocka_unit_test(the_end_of_postcopy_waits_for_receivers),
		cmocka_unit_test(two_packets_that_fail),
		cmocka_unit_test(a_packet_behind_the_failure),
		cmocka_unit_test(device_state_on_a_channel),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("coverage_machine", tests, NULL, NULL);
}
