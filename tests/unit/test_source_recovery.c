/* test_source_recovery.c: a postcopy that is cut, and the connections on which it goes on, by release. */
#include "lone_source.h"

enum { HOST_EPIPE = 32 };

/* A postcopy that is active, after one PART of two pages: mem 0 and 1 are out. */
static struct lone *begin(struct lone *lone)
{
	lone->config.capabilities |= MR_CAPABILITY_POSTCOPY_RAM;
	lone->config.max_postcopy_bandwidth = 10 * 2 * LONE_PAGE;
	lone->config.downtime_limit = 1;
	lone_start(lone);
	lone_until(lone, "[active]");
	mr_outgoing_start_postcopy(lone->source);
	lone_pong(lone, 1);
	lone_until(lone, "ping:4 ");
	lone_pong(lone, 0x42);
	while (lone_step(lone, MR_SOURCE_RETURN) == MR_STEP_ACTION)
		continue;
	lone_run(lone);
	assert_int_equal(mr_outgoing_status(lone->source), MR_SOURCE_STATUS_POSTCOPY_ACTIVE);
	forget_words(lone);
	return lone;
}

static void cut_main(struct lone *lone)
{
	for (unsigned i = lone->connection_count; i-- > 0;)
		if (lone->connections[i].open && lone->connections[i].role != MR_ROLE_MULTIFD)
			mr_outgoing_broken(lone->source, i, HOST_EPIPE);
}

/* What the destination has: all that went out but page 1 of mem. */
static void answer_bitmaps(struct lone *lone)
{
	lone_bitmap(lone, "mem", "1000");
	lone_bitmap(lone, "vga", "00");
	lone_run(lone);
}

static const struct lone_row asked[] = {
	/* numbers of before ENABLE_COLO */
	{"3.0", "3.0", "connect:recovery [postcopy-recover] bitmap/9:mem bitmap/9:vga"},
	{"3.1", "9.0", "connect:recovery [postcopy-recover] bitmap/10:mem bitmap/10:vga"},
	{"9.1", "", "[postcopy-recover-setup] connect:recovery [postcopy-recover] bitmap/10:mem bitmap/10:vga"},
	{0},
};

static const struct lone_row resumed[] = {
	{"3.0", "3.0", "resume/8"},
	{"3.1", "", "resume/9"},
	{0},
};

/* keeps SRC-001, SRC-002, SRC-003: pause, bitmaps, RESUME, the rest with the section's id and the block's name. */
static void recovery(void **state)
{
	(void)state;
	for (unsigned i = 2; i < LONE_RELEASES; i++) {
		struct lone *lone = begin(lone_new(lone_releases[i]));

		/* there is nothing to recover from: this would break SRC-003 */
		assert_false(mr_outgoing_recover(lone->source));
		cut_main(lone);
		lone_later(lone, 100);
		lone_run(lone);
		expect_words(lone, "[postcopy-paused] paused");
		assert_int_equal(mr_outgoing_wants(lone->source, MR_SOURCE_MIGRATION).wait, MR_SOURCE_WAIT_OPERATOR);
		assert_true(mr_outgoing_recover(lone->source));
		lone_run(lone);
		expect_words(lone, lone_row(lone_releases[i], asked));
		assert_int_equal(mr_outgoing_wants(lone->source, MR_SOURCE_MIGRATION).wait, MR_SOURCE_WAIT_MESSAGE);
		answer_bitmaps(lone);
		expect_words(lone, lone_row(lone_releases[i], resumed));
		assert_int_equal(mr_outgoing_dirty_count(lone->source), 5);
		lone_resume_ack(lone);
		/* the limit of a window is not what is looked at here */
		lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
		lone->choose_always = true;
		lone_run(lone);
		lone_later(lone, 100);
		lone_run(lone);
		if (lone->profile.on[MR_SWITCH_FLUSH_WITHOUT_MULTIFD])
			expect_words(lone,
				     "[postcopy-active] part#1 page:mem:1 page:2 page:3 page:vga:0 page:1 flush eos . "
				     "end#1 flush flush eos . eof");
		else
			expect_words(lone,
				     "[postcopy-active] part#1 page:mem:1 page:2 page:3 page:vga:0 page:1 eos . end#1 "
				     "eos . eof");
		lone_shut(lone);
		lone_run(lone);
		expect_words(lone, "[completed] finished");
		lone_free(lone);
	}
}

/* keeps SRC-015: a release that has no preempt channel opens none, neither at the switch nor in a recovery. */
static void no_preempt_channel(void **state)
{
	struct lone *lone = lone_new("6.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_PREEMPT;
	begin(lone);
	cut_main(lone);
	lone_later(lone, 100);
	lone_run(lone);
	assert_true(mr_outgoing_recover(lone->source));
	lone_run(lone);
	answer_bitmaps(lone);
	expect_words(lone, "[postcopy-paused] paused connect:recovery [postcopy-recover] bitmap/10:mem bitmap/10:vga "
			   "resume/9");
	lone_free(lone);
}

/* Every byte of the recovery's connection: no header, no configuration, no command but these. */
static void recovery_bytes(void **state)
{
	struct lone *lone = begin(lone_new("7.2"));
	struct build expected = {0};

	(void)state;
	cut_main(lone);
	lone_later(lone, 100);
	lone_run(lone);
	mr_outgoing_recover(lone->source);
	lone_run(lone);
	answer_bitmaps(lone);
	build_recv_bitmap(&expected, "mem");
	build_recv_bitmap(&expected, "vga");
	build_command(&expected, 9, 0);
	expect_bytes(lone, 1, &expected);
	build_free(&expected);
	lone_free(lone);
}

/* The operator pauses; what the guest asks for then is forgotten with the queue. */
static void paused_by_operator(void **state)
{
	static const char *const releases[] = {"3.0", "7.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct lone *lone = begin(lone_new(releases[i]));

		lone_request(lone, "vga", 1, 1);
		lone_run(lone);
		assert_true(mr_outgoing_pause(lone->source));
		lone_later(lone, 100);
		lone_run(lone);
		assert_true(lone_has_said(lone, "[postcopy-paused]"));
		/* it is paused already */
		assert_false(mr_outgoing_pause(lone->source));
		mr_outgoing_recover(lone->source);
		lone_run(lone);
		answer_bitmaps(lone);
		lone_resume_ack(lone);
		forget_words(lone);
		lone_run(lone);
		expect_words(lone, "[postcopy-active] part#1 page:vga:1 page:mem:1 eos .");
		lone_free(lone);
	}
}

/* Before 3.0 a cut is the end. */
static void no_recovery(void **state)
{
	struct lone *lone = begin(lone_new("2.11"));

	(void)state;
	assert_false(mr_outgoing_pause(lone->source));
	cut_main(lone);
	lone_later(lone, 100);
	lone_run(lone);
	expect_words(lone, "[failed] failed:SRC-030");
	lone_free(lone);
}

/* release-ram has given the pages away: SRC-003 is broken by a recovery all the same. */
static void recovery_refused(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	lone->config.release_ram = true;
	begin(lone);
	cut_main(lone);
	lone_later(lone, 100);
	lone_run(lone);
	assert_false(mr_outgoing_recover(lone->source));
	lone_free(lone);
}

/* The preempt channel: with the main one in 7.1 and 7.2, just before RESUME later. */
static void recovery_preempt(void **state)
{
	static const struct lone_row first[] = {
		{"7.1", "7.2", "connect:recovery connect:preempt [postcopy-recover] bitmap/10:mem bitmap/10:vga"},
		{"8.0", "9.0", "connect:recovery [postcopy-recover] bitmap/10:mem bitmap/10:vga"},
		{"9.1", "", "[postcopy-recover-setup] connect:recovery [postcopy-recover] bitmap/10:mem bitmap/10:vga"},
		{0},
	};
	static const struct lone_row second[] = {
		{"7.1", "7.2", "resume/9"},
		{"8.0", "", "connect:preempt resume/9"},
		{0},
	};
	static const char *const releases[] = {"7.2", "8.2", "9.0", "9.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_PREEMPT;
		begin(lone);
		cut_main(lone);
		lone_later(lone, 100);
		lone_run(lone);
		mr_outgoing_recover(lone->source);
		forget_words(lone);
		lone_run(lone);
		expect_words(lone, lone_row(releases[i], first));
		answer_bitmaps(lone);
		expect_words(lone, lone_row(releases[i], second));
		lone_resume_ack(lone);
		lone_run(lone);
		forget_words(lone);
		lone_request(lone, "vga", 1, 1);
		for (unsigned window = 0; window < 2; window++) {
			lone_run(lone);
			lone_later(lone, 100);
		}
		lone_run(lone);
		/* both channels name their blocks again */
		assert_true(lone_has_said(lone, "p:page:vga:1"));
		lone_free(lone);
	}
}

/* Connections that cannot be made: paused again, and the next attempt is a new one. */
static void recovery_not_connected(void **state)
{
	static const struct {
		const char *release;
		enum mr_role role;
		const char *words;
	} cases[] = {
		{"9.2", MR_ROLE_RECOVERY, "[postcopy-recover-setup] connect:recovery [postcopy-paused] paused"},
		{"11.1", MR_ROLE_RECOVERY, "[postcopy-recover-setup] connect:recovery [postcopy-paused] paused"},
		{"11.1", MR_ROLE_PREEMPT, "connect:preempt [postcopy-paused] paused"},
	};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct lone *lone = lone_new(cases[i].release);

		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_PREEMPT;
		begin(lone);
		cut_main(lone);
		lone_later(lone, 100);
		lone_run(lone);
		lone->failures[0].role = cases[i].role;
		lone->failures[0].error = 111;
		lone->failure_count = 1;
		mr_outgoing_recover(lone->source);
		forget_words(lone);
		if (cases[i].role == MR_ROLE_PREEMPT) {
			lone_run(lone);
			forget_words(lone);
			answer_bitmaps(lone);
		}
		lone_run(lone);
		expect_words(lone, cases[i].words);
		mr_outgoing_recover(lone->source);
		lone_run(lone);
		answer_bitmaps(lone);
		lone_resume_ack(lone);
		lone_run(lone);
		assert_true(lone_has_said(lone, "[postcopy-active]"));
		lone_free(lone);
	}
}

/* Cut again: while bitmaps are awaited, while RESUME_ACK is; the operator may pause as well. */
static void recovery_broken(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = begin(lone_new("9.2"));

		cut_main(lone);
		lone_later(lone, 100);
		lone_run(lone);
		mr_outgoing_recover(lone->source);
		lone_run(lone);
		if (i >= 2)
			answer_bitmaps(lone);
		if (i % 2)
			assert_true(mr_outgoing_pause(lone->source));
		else
			cut_main(lone);
		forget_words(lone);
		lone_run(lone);
		expect_words(lone, "[postcopy-paused] paused");
		mr_outgoing_recover(lone->source);
		lone_run(lone);
		answer_bitmaps(lone);
		assert_int_equal(mr_outgoing_dirty_count(lone->source), 5);
		lone_resume_ack(lone);
		lone_run(lone);
		assert_true(lone_has_said(lone, "[postcopy-active]"));
		lone_free(lone);
	}
}

/* A handler that cannot go on, say one of dirty bitmaps: paused again. */
static void recovery_refused_by_handler(void **state)
{
	struct lone *lone = lone_new("9.2");

	(void)state;
	lone_handler(lone, &(struct mr_handler){.name = "other",
						.old_style = true,
						.hooks = MR_HOOK_BIT(RESUME_PREPARE) | MR_HOOK_BIT(SAVE_STATE)});
	begin(lone);
	lone_answer(lone, "other", MR_HOOK_RESUME_PREPARE, 5);
	cut_main(lone);
	lone_later(lone, 100);
	lone_run(lone);
	mr_outgoing_recover(lone->source);
	lone_run(lone);
	forget_words(lone);
	answer_bitmaps(lone);
	expect_words(lone, "[postcopy-paused] paused");
	lone_free(lone);
}

/* Ignored blocks are not asked for; unplugged pages stay out, and a huge page that was under way is forgotten. */
static void recovery_leaves_out(void **state)
{
	struct lone *lone = lone_new("9.2");

	(void)state;
	lone_block(lone, 2, "shared", 2, 0);
	lone->blocks[2].ignored = true;
	begin(lone);
	mr_outgoing_plug(lone->source, 0, 3 * LONE_PAGE, LONE_PAGE, false);
	cut_main(lone);
	lone_later(lone, 100);
	lone_run(lone);
	mr_outgoing_recover(lone->source);
	forget_words(lone);
	lone_run(lone);
	expect_words(lone, "[postcopy-recover-setup] connect:recovery [postcopy-recover] bitmap/10:mem bitmap/10:vga");
	answer_bitmaps(lone);
	assert_int_equal(mr_outgoing_dirty_count(lone->source), 4);
	lone_free(lone);
}

/* Connections run out. */
static void recovery_without_connections(void **state)
{
	struct lone *lone = lone_new("9.2");

	(void)state;
	lone->config.connections_max = 1;
	begin(lone);
	cut_main(lone);
	lone_later(lone, 100);
	lone_run(lone);
	/* SRC-003 again: there is nothing to connect by */
	assert_false(mr_outgoing_recover(lone->source));
	lone_run(lone);
	expect_words(lone, "[postcopy-paused] paused");
	lone_free(lone);
}

/* The package is known to be loaded, but not yet shown: the status goes through postcopy-active to postcopy-paused. */
static void paused_when_loaded(void **state)
{
	struct lone *lone = lone_new("11.1");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone_start_postcopy(lone, "[postcopy-device]");
	lone_until(lone, "page:mem:0");
	lone_pong(lone, 0x42);
	while (lone_step(lone, MR_SOURCE_RETURN) == MR_STEP_ACTION)
		continue;
	cut_main(lone);
	forget_words(lone);
	lone_run(lone);
	/* the section's footer, without its end mark */
	expect_words(lone, ". [postcopy-active] [postcopy-paused] paused");
	lone_free(lone);
}

/* A multifd channel that breaks in postcopy: up to 9.2 it is still needed for barriers, later nobody misses it. */
static void multifd_broken(void **state)
{
	static const char *const releases[] = {"7.2", "10.1"};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone->config.capabilities = MR_CAPABILITY_MULTIFD;
		lone->config.multifd_channels = 1;
		lone->shown |= LONE_SHOW(CLOSE);
		begin(lone);
		mr_outgoing_broken(lone->source, 1, HOST_EPIPE);
		lone_run(lone);
		assert_true(lone_has_said(lone, "[postcopy-paused]"));
		assert_int_equal(lone_has_said(lone, "close:1"), i);
		lone_free(lone);
	}
}

/* A request that comes while the preempt channel is being connected waits in the queue. */
static void request_while_connecting(void **state)
{
	struct lone *lone = lone_new("9.2");
	struct mr_source_action action;

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_PREEMPT;
	begin(lone);
	cut_main(lone);
	lone_run(lone);
	mr_outgoing_recover(lone->source);
	lone_run(lone);
	lone_bitmap(lone, "mem", "1000");
	lone_bitmap(lone, "vga", "00");
	while (lone_step(lone, MR_SOURCE_RETURN) == MR_STEP_ACTION)
		continue;
	assert_int_equal(mr_outgoing_step(lone->source, MR_SOURCE_MIGRATION, &action), MR_STEP_ACTION);
	assert_int_equal(action.kind, MR_SOURCE_ACTION_CONNECT);
	assert_int_equal(action.connect.role, MR_ROLE_PREEMPT);
	lone_request(lone, "vga", 1, 1);
	forget_words(lone);
	while (lone_step(lone, MR_SOURCE_RETURN) == MR_STEP_ACTION)
		continue;
	expect_words(lone, "");
	assert_int_equal(mr_outgoing_requests(lone->source), 1);
	lone_free(lone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recovery),
		cmocka_unit_test(no_preempt_channel),
		cmocka_unit_test(recovery_bytes),
		cmocka_unit_test(paused_by_operator),
		cmocka_unit_test(no_recovery),
		cmocka_unit_test(recovery_refused),
		cmocka_unit_test(recovery_preempt),
		cmocka_unit_test(recovery_not_connected),
		cmocka_unit_test(recovery_broken),
		cmocka_unit_test(recovery_refused_by_handler),
		cmocka_unit_test(recovery_leaves_out),
		cmocka_unit_test(recovery_without_connections),
		cmocka_unit_test(paused_when_loaded),
		cmocka_unit_test(multifd_broken),
		cmocka_unit_test(request_while_connecting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
