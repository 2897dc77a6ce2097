/*
 * test_machine_clients.c: processes that share guest memory and catch faults of their own, and ranges that are not
 * plugged.
 */
#include "machine_support.h"

static const struct mr_incoming_block blocks[] = {
	{.name = "mem", .used_length = WORLD_PAGES * PAGE},
	{.name = "huge", .used_length = 2 * HUGE_PAGE, .page_size = HUGE_PAGE, .not_zeroable = true},
};

enum { MEM, HUGE };

static struct world *running(const char *release, bool strict, unsigned clients)
{
	const struct setup setup = {
		.release = release,
		.strict = strict,
		.blocks = blocks,
		.block_count = 2,
		.shared_clients = true,
		.unpluggable = true,
		.capabilities = MR_CAPABILITY_POSTCOPY_RAM,
	};
	struct world *world = world_new(&setup);

	for (unsigned i = 0; i < clients; i++)
		assert_int_equal(mr_incoming_register_client(world->machine), i);
	put_running(world, &world->connections[0].bytes);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	assert_int_equal(mr_incoming_postcopy_state(world->machine), MR_POSTCOPY_RUNNING);
	world_hush(world);
	return world;
}

static void client_fault(struct world *world, unsigned client, uint32_t block, uint64_t offset)
{
	assert_true(mr_incoming_client_fault(world->machine, client, block, offset));
	world_run_actor(world, MR_ACTOR_FAULT);
}

static void send_page(struct world *world, const char *block, uint64_t offset)
{
	put_page_section(&world->connections[0].bytes, block, offset, 0x11);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
}

/* keeps REQ-009: a missing page is asked for, a received one wakes the client */
static void a_client_asks_as_oneself(void **state)
{
	struct world *world = running("7.2", true, 1);

	(void)state;
	client_fault(world, 0, MEM, 3 * PAGE + 17);
	expect_order(world, "fault request added mem 0x3000 of 1", "fault send REQ_PAGES_ID mem 0x3000", NULL);
	send_page(world, "mem", 3 * PAGE);
	world_hush(world);
	client_fault(world, 0, MEM, 3 * PAGE);
	expect_order(world, "fault request dropped mem 0x3000 of 0", "fault wake 0 mem 0x3000", NULL);
	expect_silent(world, "fault send");
	world_free(world);
}

/* breaks REQ-009: a client that is not there, that left, or that came too late, is not heard; a strict handler hears it
 */
static void a_client_has_to_be_known(void **state)
{
	(void)state;
	for (unsigned strict = 0; strict < 2; strict++) {
		struct world *world = running("7.2", strict, 1);

		assert_false(mr_incoming_client_fault(world->machine, 1, MEM, 0));
		assert_false(mr_incoming_client_fault(world->machine, 99, MEM, 0));
		assert_int_equal(mr_incoming_register_client(world->machine), 1);
		assert_int_equal(mr_incoming_client_fault(world->machine, 1, MEM, 0), strict);
		world_run_actor(world, MR_ACTOR_FAULT);
		mr_incoming_unregister_client(world->machine, 0);
		assert_false(mr_incoming_client_fault(world->machine, 0, MEM, 0));
		mr_incoming_unregister_client(world->machine, 99);
		world_free(world);
	}
}

static void clients_have_a_limit(void **state)
{
	struct world *world = running("7.2", false, MR_INCOMING_CLIENTS_MAX);

	(void)state;
	assert_int_equal(mr_incoming_register_client(world->machine), -1);
	world_free(world);
	world = world_running(&(struct setup){.release = "7.2"});
	assert_int_equal(mr_incoming_register_client(world->machine), -1);
	assert_false(mr_incoming_client_fault(world->machine, 0, 0, 0));
	world_free(world);
}

/* keeps REQ-010: after each mark, in the order of registration, without those who left */
static void placements_wake_clients(void **state)
{
	struct world *world = running("8.2", false, 3);

	(void)state;
	mr_incoming_unregister_client(world->machine, 1);
	send_page(world, "mem", 5 * PAGE);
	expect_order(world, "listen place mem 0x5000", "listen marked mem 0x5000", "listen wake 0 mem 0x5000",
		     "listen wake 2 mem 0x5000", NULL);
	expect_silent(world, "listen wake 1");
	world_free(world);
}

/* breaks REQ-010: a client that cannot be woken; the page is there, the load pauses all the same */
static void a_failed_wake_fails_the_load(void **state)
{
	struct world *world = running("8.2", false, 2);

	(void)state;
	world_fail(world, MR_ACTION_WAKE, 1, HOST_EIO);
	send_page(world, "mem", 5 * PAGE);
	expect_order(world, "listen wake 1 mem 0x5000", "listen ram-loaded -5 postcopy", "listen pause",
		     "listen status postcopy-paused", NULL);
	assert_true(mr_incoming_is_received(world->machine, MEM, 5 * PAGE));
	world_free(world);
}

/* keeps REQ-011: strictly, a page that oneself and a client wait for is one */
static void a_page_is_waited_for_once(void **state)
{
	struct world *world = running("7.2", true, 1);

	(void)state;
	client_fault(world, 0, MEM, PAGE);
	assert_true(world_fault(world, MEM, PAGE));
	world_run_actor(world, MR_ACTOR_FAULT);
	expect_said(world, "fault request repeated mem 0x1000 of 1");
	send_page(world, "mem", PAGE);
	assert_int_equal(mr_incoming_outstanding(world->machine), 0);
	world_free(world);
}

/* breaks REQ-011: QEMU's entry under the client's address stays, and the preempt channel is never shut */
static void a_page_of_a_client_stays(void **state)
{
	struct world *world = running("8.2", false, 1);

	(void)state;
	client_fault(world, 0, MEM, PAGE);
	client_fault(world, 0, MEM, PAGE);
	expect_said(world, "fault request repeated mem 0x1000 of 1");
	assert_true(world_fault(world, MEM, PAGE));
	world_run_actor(world, MR_ACTOR_FAULT);
	expect_said(world, "fault request added mem 0x1000 of 2");
	send_page(world, "mem", PAGE);
	assert_int_equal(mr_incoming_outstanding(world->machine), 1);
	world_free(world);
}

/* keeps REQ-012: zeros are placed here; the second fault is dropped; what is plugged again is asked for */
static void unplugged_pages_are_zero(void **state)
{
	struct world *world = running("7.2", false, 0);

	(void)state;
	assert_true(mr_incoming_plug(world->machine, MEM, 2 * PAGE, 3 * PAGE, false));
	assert_true(mr_incoming_plug(world->machine, MEM, 4 * PAGE, PAGE, true));
	assert_true(mr_incoming_plug(world->machine, HUGE, 0, HUGE_PAGE, false));
	world_fault(world, MEM, 3 * PAGE);
	world_run_actor(world, MR_ACTOR_FAULT);
	expect_order(world, "fault request zeroed mem 0x3000 of 0", "fault place mem 0x3000", "fault marked mem 0x3000",
		     NULL);
	world_fault(world, MEM, 3 * PAGE);
	world_run_actor(world, MR_ACTOR_FAULT);
	expect_said(world, "fault request dropped mem 0x3000 of 0");
	world_fault(world, HUGE, PAGE);
	world_run_actor(world, MR_ACTOR_FAULT);
	expect_said(world, "fault request zeroed huge 0x0 of 0");
	expect_silent(world, "fault send");
	world_fault(world, MEM, 4 * PAGE);
	world_run_actor(world, MR_ACTOR_FAULT);
	expect_said(world, "fault send REQ_PAGES_ID mem 0x4000");
	world_free(world);
}

/* breaks REQ-012: releases before 6.2 ask; a host that cannot place puts the handler to sleep */
static void unplugged_pages_may_be_asked_for(void **state)
{
	struct world *world = running("6.1", false, 0);

	(void)state;
	assert_true(mr_incoming_plug(world->machine, MEM, 0, PAGE, false));
	world_fault(world, MEM, 0);
	world_run_actor(world, MR_ACTOR_FAULT);
	expect_said(world, "fault request added mem 0x0 of 1");
	world_free(world);
	world = running("7.2", false, 0);
	assert_true(mr_incoming_plug(world->machine, MEM, 0, PAGE, false));
	world_fail(world, MR_ACTION_PLACE, 0, HOST_ENOMEM);
	world_fault(world, MEM, 0);
	world_run_actor(world, MR_ACTOR_FAULT);
	expect_said(world, "fault park");
	world_free(world);
}

static void ranges_have_to_be_whole_host_pages(void **state)
{
	struct world *world = running("7.2", false, 0);

	(void)state;
	assert_false(mr_incoming_plug(world->machine, 9, 0, PAGE, false));
	assert_false(mr_incoming_plug(world->machine, HUGE, 0, PAGE, false));
	assert_false(mr_incoming_plug(world->machine, HUGE, PAGE, HUGE_PAGE, false));
	assert_false(mr_incoming_plug(world->machine, MEM, 0, (uint64_t)17 * PAGE, false));
	assert_false(mr_incoming_plug(world->machine, MEM, (uint64_t)17 * PAGE, 0, false));
	assert_false(mr_incoming_plug(world->machine, MEM, PAGE, UINT64_MAX - PAGE + 1, false));
	world_free(world);
	world = world_running(&(struct setup){.release = "7.2"});
	assert_false(mr_incoming_plug(world->machine, 0, 0, PAGE, false));
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_client_asks_as_oneself),
		cmocka_unit_test(a_client_has_to_be_known),
		cmocka_unit_test(clients_have_a_limit),
		cmocka_unit_test(placements_wake_clients),
		cmocka_unit_test(a_failed_wake_fails_the_load),
		cmocka_unit_test(a_page_is_waited_for_once),
		cmocka_unit_test(a_page_of_a_client_stays),
		cmocka_unit_test(unplugged_pages_are_zero),
		cmocka_unit_test(unplugged_pages_may_be_asked_for),
		cmocka_unit_test(ranges_have_to_be_whole_host_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
