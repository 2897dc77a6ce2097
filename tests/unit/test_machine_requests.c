/*
 * test_machine_requests.c: from a guest's fault to a request: what is asked for, when, how often, and in which form.
 */
#include "machine_support.h"

enum { MEM_BYTES = WORLD_PAGES * PAGE };

static const struct mr_incoming_block blocks[] = {
	{.name = "mem", .used_length = MEM_BYTES},
	{.name = "huge", .used_length = 2 * HUGE_PAGE, .page_size = HUGE_PAGE},
	{.name = "shared", .used_length = PAGE, .ignored = true},
};

enum { MEM, HUGE, SHARED };

static struct setup setup_of(const char *release, bool strict)
{
	return (struct setup){.release = release, .strict = strict, .blocks = blocks, .block_count = 3};
}

static struct world *running(const char *release, bool strict)
{
	const struct setup setup = setup_of(release, strict);
	struct world *world = world_running(&setup);

	world_hush(world);
	world->connections[0].sent.length = 0;
	return world;
}

static void fault(struct world *world, uint32_t block, uint64_t offset)
{
	assert_true(world_fault(world, block, offset));
	world_run_actor(world, MR_ACTOR_FAULT);
}

static void send_page(struct world *world, const char *block, uint64_t offset)
{
	put_page_section(&world->connections[0].bytes, block, offset, 0x11);
	world_show(world, 0, SIZE_MAX);
}

/* keeps REQ-001 REQ-002 REQ-003 REQ-006: added, one host page, waited for until its mark */
static void a_fault_is_asked_for(void **state)
{
	struct world *world = running("7.2", false);
	struct messages messages;

	(void)state;
	fault(world, MEM, 5 * PAGE + 123);
	expect_order(world, "fault request added mem 0x5000 of 1", "fault send REQ_PAGES_ID mem 0x5000", NULL);
	fault(world, HUGE, HUGE_PAGE + PAGE);
	expect_said(world, "fault request added huge 0x4000 of 2");
	world_messages(world, 0, &messages);
	assert_int_equal(messages.count, 2);
	assert_int_equal(messages.at[0].start, 5 * PAGE);
	assert_int_equal(messages.at[0].page_length, PAGE);
	assert_int_equal(messages.at[1].start, HUGE_PAGE);
	assert_int_equal(messages.at[1].page_length, HUGE_PAGE);
	send_page(world, "mem", (uint64_t)5 * PAGE);
	world_run_actor_until(world, MR_ACTOR_LISTEN, "listen place mem 0x5000");
	assert_int_equal(mr_incoming_outstanding(world->machine), 2);
	world_run(world);
	expect_said(world, "listen marked mem 0x5000 requested left 1");
	assert_int_equal(mr_incoming_outstanding(world->machine), 1);
	world_free(world);
}

/* breaks REQ-001: a fault in no block, behind its end, or where faults are not caught, is not taken */
static void faults_that_are_nobodys(void **state)
{
	const struct setup setup = setup_of("7.2", false);
	struct world *world = running("7.2", false);

	(void)state;
	assert_false(world_fault(world, MEM, MEM_BYTES));
	assert_false(world_fault(world, SHARED, 0));
	assert_false(world_fault(world, 3, 0));
	assert_false(world_fault(world, UINT32_MAX, 0));
	world_run(world);
	assert_int_equal(world->text.length, 0);
	world_free(world);

	world = world_new(&setup);
	assert_false(mr_incoming_takes_fault(world->machine));
	assert_false(world_fault(world, MEM, 0));
	world_free(world);
}

/* breaks REQ-002: a fault in another target page of the same host page is a request for it all, not for a part */
static void two_faults_in_one_host_page(void **state)
{
	struct world *world = running("7.2", true);

	(void)state;
	fault(world, HUGE, PAGE);
	fault(world, HUGE, 2 * PAGE);
	expect_order(world, "fault request added huge 0x0 of 1", "fault request repeated huge 0x0 of 1", NULL);
	assert_int_equal(world_said(world, "fault send REQ_PAGES_ID huge 0x0"), 1);
	world_free(world);
}

/* breaks REQ-003: a page that came meanwhile is asked for by nobody */
static void a_fault_that_is_dropped(void **state)
{
	struct world *world = running("7.2", false);

	(void)state;
	send_page(world, "mem", 0);
	world_run(world);
	fault(world, MEM, 0);
	expect_said(world, "fault request dropped mem 0x0 of 0");
	assert_int_equal(world->connections[0].sent.length, 0);
	/* Placed, not marked: the request is useless, and made. */
	send_page(world, "mem", PAGE);
	world_run_actor_until(world, MR_ACTOR_LISTEN, "listen place mem 0x1000");
	fault(world, MEM, PAGE);
	expect_said(world, "fault request added mem 0x1000 of 1");
	world_run(world);
	expect_said(world, "listen marked mem 0x1000 requested left 0");
	world_free(world);
}

/* keeps REQ-004 if it is strict, breaks REQ-004 as a release does: the same page asked for again */
static void a_repeated_fault(void **state)
{
	(void)state;
	for (unsigned strict = 0; strict < 2; strict++) {
		struct world *world = running("11.1", strict);

		fault(world, MEM, 0);
		for (unsigned i = 0; i < 3; i++)
			fault(world, MEM, 0);
		assert_int_equal(world_said(world, "fault request repeated mem 0x0 of 1"), 3);
		assert_int_equal(world_said(world, "fault send REQ_PAGES mem 0x0"), strict ? 0 : 3);
		assert_int_equal(mr_incoming_outstanding(world->machine), 1);
		world_free(world);
	}
}

/* keeps REQ-005 and breaks REQ-005: named when the block changes, and only then */
static void requests_name_their_block(void **state)
{
	struct world *world = running("7.2", false);

	(void)state;
	fault(world, MEM, 0);
	fault(world, MEM, PAGE);
	fault(world, HUGE, 0);
	fault(world, MEM, 2 * PAGE);
	expect_order(world, "fault send REQ_PAGES_ID mem 0x0", "fault send REQ_PAGES mem 0x1000",
		     "fault send REQ_PAGES_ID huge 0x0", "fault send REQ_PAGES_ID mem 0x2000", NULL);
	world_free(world);
}

/* breaks REQ-006: a page that nobody waits for leaves the others waited for */
static void a_mark_without_a_request(void **state)
{
	struct world *world = running("7.2", false);

	(void)state;
	fault(world, MEM, 0);
	send_page(world, "mem", PAGE);
	world_run(world);
	expect_said(world, "listen marked mem 0x1000 left 1");
	assert_int_equal(mr_incoming_outstanding(world->machine), 1);
	world_free(world);
}

/* keeps REQ-007: requests stand in the order of their verdicts; breaks REQ-007: no second fault while one is handled */
static void one_fault_at_a_time(void **state)
{
	struct world *world = running("7.2", false);

	(void)state;
	assert_true(world_fault(world, MEM, 0));
	assert_false(world_fault(world, MEM, PAGE));
	world_run_actor_until(world, MR_ACTOR_FAULT, "fault request added mem 0x0");
	assert_false(world_fault(world, MEM, PAGE));
	world_run_actor_until(world, MR_ACTOR_FAULT, "fault send REQ_PAGES_ID mem 0x0");
	assert_false(mr_incoming_takes_fault(world->machine));
	world_run_actor(world, MR_ACTOR_FAULT);
	assert_true(world_fault(world, MEM, PAGE));
	world_free(world);
}

/* A completion that nobody waits for, and steps of actors that are not. */
static void steps_that_do_nothing(void **state)
{
	struct world *world = running("7.2", false);
	struct mr_action action;

	(void)state;
	assert_false(mr_incoming_complete(world->machine, MR_ACTOR_FAULT, 0));
	assert_false(mr_incoming_complete(world->machine, MR_ACTOR_COUNT, 0));
	assert_int_equal(mr_incoming_step(world->machine, MR_ACTOR_COUNT, &action), MR_STEP_DONE);
	assert_int_equal(mr_incoming_step(world->machine, MR_ACTOR_PREEMPT, &action), MR_STEP_DONE);
	assert_int_equal(mr_incoming_step(world->machine, MR_ACTOR_FAULT, &action), MR_STEP_WAITS);
	assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_FAULT).wait, MR_WAIT_FAULT);
	assert_true(world_fault(world, MEM, 0));
	world_run_actor_until(world, MR_ACTOR_FAULT, "fault request added mem 0x0");
	assert_int_equal(world_step_only(world, MR_ACTOR_FAULT), MR_STEP_ACTION);
	assert_int_equal(mr_incoming_step(world->machine, MR_ACTOR_FAULT, &action), MR_STEP_WAITS);
	assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_FAULT).wait, MR_WAIT_COMPLETION);
	world_complete(world, MR_ACTOR_FAULT);
	world_free(world);
}

/* keeps REQ-008 in 5.2, breaks REQ-008 in 5.1: every fault a request, even of a page that is there */
static void requests_before_5_2(void **state)
{
	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		struct world *world = running(newer ? "5.2" : "5.1", false);

		fault(world, MEM, 0);
		send_page(world, "mem", 0);
		world_run(world);
		fault(world, MEM, 0);
		assert_int_equal(world_said(world, "fault send REQ_PAGES mem 0x0"), newer ? 0 : 1);
		assert_int_equal(world_said(world, "fault request dropped mem 0x0 of 0"), newer);
		assert_int_equal(mr_incoming_outstanding(world->machine), 0);
		world_free(world);
	}
}

/* A request that is lost parks the handler with its fault; before 7.0 another error than EIO ended it. */
static void requests_that_are_lost(void **state)
{
	static const struct {
		const char *release;
		int error;
		bool parks;
	} cases[] = {{"6.2", HOST_EIO, true}, {"6.2", HOST_EINVAL, false}, {"7.0", HOST_EINVAL, true}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *world = running(cases[i].release, false);

		world_fail(world, MR_ACTION_SEND, 0, cases[i].error);
		fault(world, MEM, 0);
		expect_said(world, cases[i].parks ? "fault park -" : "fault actor-end -");
		assert_int_equal(mr_incoming_outstanding(world->machine), 1);
		assert_false(mr_incoming_takes_fault(world->machine));
		world_free(world);
	}
}

/* The end of the migration comes while a fault is told: the handler ends without it. */
static void a_fault_at_the_end(void **state)
{
	struct world *world = running("7.2", false);

	(void)state;
	put_end(&world->connections[0].bytes);
	world_show(world, 0, SIZE_MAX);
	world_run_actor_until(world, MR_ACTOR_LISTEN, "listen cleanup -");
	world_run_actor(world, MR_ACTOR_LISTEN);
	assert_true(world_fault(world, MEM, 0));
	world_run(world);
	expect_finished(world);
	expect_silent(world, "fault request added mem 0x0");
	assert_false(world_fault(world, MEM, 0));
	world_free(world);
}

/* The return path was lost, and the handler sleeps over it to the end: a release waits for it, a strict machine ends
 * it. */
static void a_sleeping_handler_at_the_end(void **state)
{
	(void)state;
	for (unsigned strict = 0; strict < 2; strict++) {
		struct world *world = running("8.2", strict);

		world_fail(world, MR_ACTION_SEND, 0, HOST_EIO);
		fault(world, MEM, 0);
		expect_said(world, "fault park -");
		send_page(world, "mem", 0);
		put_end(&world->connections[0].bytes);
		world_show(world, 0, SIZE_MAX);
		world_run(world);
		assert_int_equal(world->finished, strict);
		world_free(world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fault_is_asked_for),
		cmocka_unit_test(faults_that_are_nobodys),
		cmocka_unit_test(two_faults_in_one_host_page),
		cmocka_unit_test(a_fault_that_is_dropped),
		cmocka_unit_test(a_repeated_fault),
		cmocka_unit_test(requests_name_their_block),
		cmocka_unit_test(a_mark_without_a_request),
		cmocka_unit_test(one_fault_at_a_time),
		cmocka_unit_test(steps_that_do_nothing),
		cmocka_unit_test(requests_before_5_2),
		cmocka_unit_test(requests_that_are_lost),
		cmocka_unit_test(a_fault_at_the_end),
		cmocka_unit_test(a_sleeping_handler_at_the_end),
	};

	return cmocka_run_group_tests_name("machine: requests", tests, NULL, NULL);
}
