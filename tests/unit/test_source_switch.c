/*
 * test_source_switch.c: when a source stops its guest, and what leads there: pending bytes and bandwidth, acks, the
 * throttle, the dirty log, choices.
 */
#include "lone_source.h"

enum { SECOND = 1000, MEBIBYTE = 1 << 20 };

/* ---- Bandwidth ---- */

/* A guest of `pages` pages, sent at so many pages a window of 100 ms. */
static struct lone *lone_slow(const char *release, uint64_t pages, uint64_t pages_a_window)
{
	struct lone *lone = lone_new(release);

	lone_block(lone, 0, "mem", pages, 0);
	lone->config.max_bandwidth = 10 * pages_a_window * LONE_PAGE;
	lone_start(lone);
	return lone;
}

static unsigned count(const struct lone *lone, const char *word)
{
	const char *at = (const char *)lone->words.bytes, *end = at + lone->words.length;
	unsigned found = 0;

	for (; at && at < end; at = (const char *)memchr(at, ' ', (size_t)(end - at)) + 1)
		found += strncmp(at, word, strlen(word)) == 0;
	return found;
}

/* keeps SRC-012, SRC-013: a PART ends once the budget is overshot, by a host page at most, and waits for the window. */
static void rate_limit(void **state)
{
	static const char *const releases[] = {"2.6", "7.2", "8.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_slow(releases[i], 40, 10);
		struct mr_source_wants wants;

		lone_run(lone);
		/* header and START have used some of the budget, but less than a page: ten records of 4104 bytes */
		assert_int_equal(count(lone, "page:"), 10);
		assert_int_equal(count(lone, "part"), 1);
		wants = mr_outgoing_wants(lone->source, MR_SOURCE_MIGRATION);
		assert_int_equal(wants.wait, MR_SOURCE_WAIT_TIME);
		assert_int_equal(wants.time, 100000000);
		forget_words(lone);
		/* to send before the window is over breaks SRC-013 */
		lone_later(lone, 99);
		lone_run(lone);
		expect_words(lone, "");
		lone_later(lone, 1);
		lone_run(lone);
		assert_int_equal(count(lone, "page:"), 10);
		assert_int_equal(mr_outgoing_wants(lone->source, MR_SOURCE_MIGRATION).time, 200000000);
		/* a window begins when it is looked at */
		lone_later(lone, 150);
		lone_run(lone);
		assert_int_equal(mr_outgoing_wants(lone->source, MR_SOURCE_MIGRATION).time, 350000000);
		lone_free(lone);
	}
}

/* A budget of less than a page: one goes out in each window. Equal to the budget is not over it. */
static void smallest_budget(void **state)
{
	struct lone *lone = lone_slow("7.2", 6, 1);

	(void)state;
	lone_run(lone);
	assert_int_equal(count(lone, "page:"), 1);
	for (unsigned i = 0; i < 3; i++) {
		forget_words(lone);
		lone_later(lone, 100);
		lone_run(lone);
		assert_int_equal(count(lone, "page:"), 1);
	}
	lone_free(lone);
}

/* keeps SRC-013: the limit of postcopy is another one, 0 is none. */
static void postcopy_rate_limit(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct lone *lone = lone_new("8.2");

		lone_block(lone, 0, "mem", 40, 0);
		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
		lone->config.max_bandwidth = 10 * 30 * LONE_PAGE;
		lone->config.max_postcopy_bandwidth = i ? 10 * 5 * LONE_PAGE : 0;
		lone_start_postcopy(lone, "ping:4");
		forget_words(lone);
		lone_run(lone);
		/* 5 pages of 4104 bytes are over the budget with the section's header */
		assert_int_equal(count(lone, "page:"), i ? 5 : 42);
		lone_free(lone);
	}
}

/*
 * Where the budget is used up, requests that wait keep a section going from 3.0 on, but none begins before the window
 * is over: recordings of every release have it so. Then a request comes first.
 */
static void requests_and_rate(void **state)
{
	static const char *const releases[] = {"2.11", "3.0", "7.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone_block(lone, 0, "mem", 40, 0);
		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
		lone->config.max_postcopy_bandwidth = 10 * 5 * LONE_PAGE;
		lone_start_postcopy(lone, "page:4");
		for (uint64_t page = 20; page < 36; page += 5)
			lone_request(lone, "mem", page, 1);
		while (lone_step(lone, MR_SOURCE_RETURN) == MR_STEP_ACTION)
			continue;
		forget_words(lone);
		lone_run(lone);
		if (i == 0)
			expect_words(lone, "eos .");
		else
			expect_words(lone, "page:20 page:25 page:30 page:35 eos .");
		lone_request(lone, "mem", 10, 1);
		lone_run(lone);
		expect_words(lone, "");
		assert_int_equal(mr_outgoing_wants(lone->source, MR_SOURCE_MIGRATION).wait, MR_SOURCE_WAIT_TIME);
		lone_later(lone, 100);
		lone_run(lone);
		if (i == 0)
			expect_words(lone, "part#1 page:20 page:25 page:30 page:35 page:10 eos .");
		else
			expect_words(lone, "part#1 page:10 page:11 page:12 page:13 page:14 eos .");
		lone_free(lone);
	}
}

/* A source that is woken sees what has come meanwhile: the package is loaded. */
static void woken(void **state)
{
	struct lone *lone = lone_new("11.1");

	(void)state;
	lone_block(lone, 0, "mem", 40, 0);
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone->config.max_postcopy_bandwidth = 10 * 5 * LONE_PAGE;
	lone_start(lone);
	lone_until(lone, "[active]");
	mr_outgoing_start_postcopy(lone->source);
	lone_run(lone);
	forget_words(lone);
	lone_pong(lone, 0x42);
	lone_run(lone);
	expect_words(lone, "");
	lone_request(lone, "mem", 10, 1);
	lone_run(lone);
	expect_words(lone, "[postcopy-active]");
	lone_later(lone, 100);
	lone_run(lone);
	expect_words(lone, "part#1 page:10 page:11 page:12 page:13 page:14 eos .");
	lone_free(lone);
}

/* ---- Thresholds ---- */

/*
 * keeps SRC-010, SRC-013: what fits into the downtime decides. Ten pages in 100 ms are about 410 bytes a millisecond;
 * with 300 ms some 30 pages fit.
 */
static void threshold_by_bandwidth(void **state)
{
	static const char *const releases[] = {"2.6", "7.2", "8.2", "9.0", "10.1", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		struct lone *lone = lone_slow(releases[i], 70, 10);

		lone_run(lone);
		for (unsigned window = 0; window < 4; window++) {
			/* to complete with more than that breaks SRC-010 */
			assert_false(lone_has_said(lone, "stop-guest"));
			lone_later(lone, 100);
			lone_run(lone);
		}
		assert_false(lone_has_said(lone, "stop-guest"));
		lone_later(lone, 100);
		lone_run(lone);
		assert_true(lone_has_said(lone, "[completed]"));
		lone_free(lone);
	}
}

/* Nothing was measured before 100 ms are over; a stated bandwidth counts from 8.2 on, and not before that either. */
static void stated_bandwidth(void **state)
{
	static const char *const releases[] = {"7.2", "8.2"};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone_block(lone, 0, "mem", 300, 0);
		lone->config.max_bandwidth = 10 * 10 * LONE_PAGE;
		lone->config.switchover_bandwidth = 1000 * MEBIBYTE;
		lone_start(lone);
		lone_run(lone);
		assert_false(lone_has_said(lone, "stop-guest"));
		lone_later(lone, 100);
		lone_run(lone);
		assert_int_equal(lone_has_said(lone, "stop-guest"), i);
		lone_free(lone);
	}
	/* more than can be counted is everything */
	{
		struct lone *lone = lone_new("9.0");

		lone_block(lone, 0, "mem", 300, 0);
		lone->config.max_bandwidth = 10 * 10 * LONE_PAGE;
		lone->config.switchover_bandwidth = UINT64_MAX;
		lone->config.downtime_limit = UINT64_MAX;
		lone_start(lone);
		lone_run(lone);
		lone_later(lone, 100);
		lone_run(lone);
		assert_true(lone_has_said(lone, "stop-guest"));
		lone_free(lone);
	}
}

/* ---- The dirty log ---- */

/*
 * keeps SRC-009: at the start, by a query when little is left (up to 8.2; later by each exact query), and when the
 * guest stands. What the guest has written goes out again.
 */
static void log_fetched(void **state)
{
	static const struct lone_row rows[] = {
		/* nothing was measured: nothing is little, but from 10.1 on nothing left is */
		{"", "9.2",
		 "log-start log-sync [active] page:mem:0 page:1 page:2 page:3 page:vga:0 page:1 stop-guest log-sync "
		 "page:mem:1 log-stop [completed]"},
		{"10.0", "11.0",
		 "log-start log-sync [active] page:mem:0 page:1 page:2 page:3 page:vga:0 page:1 stop-guest [device] "
		 "log-sync page:mem:1 log-stop [completed]"},
		{"11.1", "",
		 "log-start log-sync [active] page:mem:0 page:1 page:2 page:3 page:vga:0 page:1 log-sync "
		 "page:mem:1 log-sync stop-guest [device] log-sync log-stop [completed]"},
		{0},
	};

	(void)state;
	for (unsigned i = 0; i < LONE_RELEASES; i++) {
		struct lone *lone = lone_new(lone_releases[i]);
		char words[1024] = "";
		const char *at;

		lone->shown |= LONE_SHOW(LOG_START) | LONE_SHOW(LOG_SYNC) | LONE_SHOW(LOG_STOP);
		lone_start(lone);
		lone_until(lone, "page:vga:0");
		lone_write(lone, 0, 1, 0x77);
		lone_run(lone);
		build_u8(&lone->words, 0);
		/* only what is about pages and the log */
		for (at = (char *)lone->words.bytes; *at; at = strchr(at, ' ') + 1)
			if (strncmp(at, "log", 3) == 0 || strncmp(at, "page", 4) == 0 || strncmp(at, "stop", 4) == 0 ||
			    (strncmp(at, "[", 1) == 0 && strncmp(at, "[setup", 6) != 0))
				strncat(words, at, (size_t)(strchr(at, ' ') + 1 - at));
		lone->words.length = 0;
		build_bytes(&lone->words, words, strlen(words));
		/* a page that is written to between two fetches and not sent again breaks SRC-009 */
		expect_words(lone, lone_row(lone_releases[i], rows));
		lone_free(lone);
	}
}

/* Up to 8.2 a query looks at the log once what is left is below the threshold. */
static void log_when_small(void **state)
{
	static const char *const releases[] = {"2.6", "7.2", "8.2"};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct lone *lone = lone_slow(releases[i], 40, 10);

		lone_run(lone);
		assert_int_equal(lone->said[MR_SOURCE_ACTION_LOG_SYNC], 1);
		lone_later(lone, 100);
		lone_run(lone);
		/* 32 pages are left, about 30 fit */
		assert_int_equal(lone->said[MR_SOURCE_ACTION_LOG_SYNC], 1);
		lone_write(lone, 0, 0, 1);
		lone_write(lone, 0, 1, 1);
		lone_later(lone, 100);
		lone_run(lone);
		/* 22 pages and two that were written to */
		assert_int_equal(lone->said[MR_SOURCE_ACTION_LOG_SYNC], 3);
		assert_true(lone_has_said(lone, "[completed]"));
		lone_free(lone);
	}
}

/* ---- Acks ---- */

/* keeps SRC-010: with switchover-ack the guest is not stopped before the ack; up to 11.0 there always is one. */
static void switchover_ack(void **state)
{
	static const char *const releases[] = {"8.1", "8.2", "10.0", "11.0"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone->config.capabilities = MR_CAPABILITY_RETURN_PATH | MR_CAPABILITY_SWITCHOVER_ACK;
		lone_start(lone);
		lone_until(lone, "[active]");
		for (unsigned step = 0; step < 100; step++)
			lone_step(lone, MR_SOURCE_MIGRATION);
		/* a switch without it breaks SRC-010 */
		assert_false(lone_has_said(lone, "stop-guest"));
		assert_true(count(lone, "part") > 2);
		lone_ack(lone);
		lone_step(lone, MR_SOURCE_RETURN);
		lone_until(lone, "stop-guest");
		lone_shut(lone);
		lone_run(lone);
		assert_true(lone_has_said(lone, "[completed]"));
		lone_free(lone);
	}
}

/* The gate holds the switch to postcopy, too; a guest that stands needs none, nor does 11.1 if nobody asks for one. */
static void acks_not_needed(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	lone->config.capabilities =
		MR_CAPABILITY_RETURN_PATH | MR_CAPABILITY_SWITCHOVER_ACK | MR_CAPABILITY_POSTCOPY_RAM;
	lone_start(lone);
	lone_until(lone, "[active]");
	mr_outgoing_start_postcopy(lone->source);
	for (unsigned step = 0; step < 100; step++)
		lone_step(lone, MR_SOURCE_MIGRATION);
	assert_false(lone_has_said(lone, "[postcopy-active]"));
	lone_free(lone);
	lone = lone_new("8.2");
	lone->config.capabilities = MR_CAPABILITY_RETURN_PATH | MR_CAPABILITY_SWITCHOVER_ACK;
	lone->config.guest_stopped = true;
	lone_start(lone);
	lone_run(lone);
	assert_true(lone_has_said(lone, "eof"));
	lone_free(lone);
	lone = lone_new("11.1");
	lone->config.capabilities = MR_CAPABILITY_RETURN_PATH | MR_CAPABILITY_SWITCHOVER_ACK;
	lone_start(lone);
	lone_run(lone);
	assert_true(lone_has_said(lone, "eof"));
	lone_free(lone);
	/* the machine types before have it as they had it */
	lone = lone_new_machine("11.1", "pc-q35-11.0");
	lone->config.capabilities = MR_CAPABILITY_RETURN_PATH | MR_CAPABILITY_SWITCHOVER_ACK;
	lone_start(lone);
	for (unsigned step = 0; step < 300; step++)
		lone_step(lone, MR_SOURCE_MIGRATION);
	assert_false(lone_has_said(lone, "stop-guest"));
	lone_free(lone);
	/* an ack more than is waited for is overlooked by 8.2 */
	lone = lone_new("8.2");
	lone->config.capabilities = MR_CAPABILITY_RETURN_PATH | MR_CAPABILITY_SWITCHOVER_ACK;
	lone_start(lone);
	lone_until(lone, "header");
	lone_ack(lone);
	lone_ack(lone);
	lone_step(lone, MR_SOURCE_RETURN);
	lone_step(lone, MR_SOURCE_RETURN);
	lone_run(lone);
	assert_true(lone_has_said(lone, "eof"));
	lone_free(lone);
}

/* ---- The guest's operator ---- */

static struct lone *lone_with_acks(void)
{
	struct lone *lone = lone_new("8.2");

	lone->config.capabilities = MR_CAPABILITY_RETURN_PATH | MR_CAPABILITY_SWITCHOVER_ACK;
	lone_start(lone);
	lone_until(lone, "[active]");
	for (unsigned step = 0; step < 300; step++)
		lone_step(lone, MR_SOURCE_MIGRATION);
	assert_false(lone_has_said(lone, "stop-guest"));
	return lone;
}

/* A guest that is stopped in mid-migration needs no ack any more; one that goes on needs it again. */
static void operator_opens_the_gate(void **state)
{
	struct lone *lone = lone_with_acks();

	(void)state;
	assert_true(mr_outgoing_guest(lone->source, false));
	lone_run(lone);
	assert_true(lone_has_said(lone, "eof"));
	assert_false(lone_has_said(lone, "stop-guest"));
	lone_free(lone);
	lone = lone_with_acks();
	assert_true(mr_outgoing_guest(lone->source, false));
	assert_true(mr_outgoing_guest(lone->source, true));
	for (unsigned step = 0; step < 300; step++)
		lone_step(lone, MR_SOURCE_MIGRATION);
	assert_false(lone_has_said(lone, "stop-guest"));
	lone_ack(lone);
	while (lone_step(lone, MR_SOURCE_RETURN) == MR_STEP_ACTION)
		continue;
	lone_run(lone);
	assert_true(lone_has_said(lone, "stop-guest"));
	lone_free(lone);
}

static bool starts_after_failure(bool stopped, bool continued)
{
	struct lone *lone = lone_new("9.2");
	bool starts;

	lone_answer(lone, "timer", MR_HOOK_SAVE_STATE, 5);
	lone_start(lone);
	lone_until(lone, "[active]");
	if (stopped)
		assert_true(mr_outgoing_guest(lone->source, false));
	if (continued)
		assert_true(mr_outgoing_guest(lone->source, true));
	lone_run(lone);
	assert_true(lone_has_said(lone, "failed:HND-013"));
	starts = lone_has_said(lone, "start-guest");
	/* Nobody asks a migration that is over. */
	assert_false(mr_outgoing_guest(lone->source, true));
	lone_free(lone);
	return starts;
}

/* A failure starts the guest if it ran when the machine stopped it, and only then. */
static void operator_and_failure(void **state)
{
	struct lone *lone = lone_new("9.2");

	(void)state;
	assert_true(starts_after_failure(false, false));
	assert_false(starts_after_failure(true, false));
	assert_true(starts_after_failure(true, true));
	/* before the machine has stopped it, nothing is to be started */
	lone_start(lone);
	lone_until(lone, "page:mem:0");
	assert_true(mr_outgoing_guest(lone->source, false));
	mr_outgoing_cancel(lone->source);
	lone_run(lone);
	assert_true(lone_has_said(lone, "[cancelled]"));
	assert_false(lone_has_said(lone, "start-guest"));
	lone_free(lone);
}

/* Once the machine has stopped the guest it is not the operator's any more; a snapshot gives it back. */
static void operator_too_late(void **state)
{
	struct lone *lone = lone_new("9.2");

	(void)state;
	lone_start(lone);
	lone_until(lone, "stop-guest");
	assert_false(mr_outgoing_guest(lone->source, true));
	assert_false(mr_outgoing_guest(lone->source, false));
	lone_run(lone);
	assert_true(lone_has_said(lone, "finished"));
	assert_false(mr_outgoing_guest(lone->source, false));
	lone_free(lone);
	for (unsigned stopped = 0; stopped < 2; stopped++) {
		lone = lone_new("9.2");
		lone->config.capabilities = MR_CAPABILITY_BACKGROUND_SNAPSHOT;
		lone->config.guest_stopped = stopped;
		lone_start(lone);
		lone_until(lone, "page:mem:0");
		assert_int_equal(lone_has_said(lone, "start-guest"), !stopped);
		assert_true(mr_outgoing_guest(lone->source, stopped));
		mr_outgoing_cancel(lone->source);
		forget_words(lone);
		lone_run(lone);
		assert_true(lone_has_said(lone, "[cancelled]"));
		assert_false(lone_has_said(lone, "start-guest"));
		lone_free(lone);
	}
}

/* ---- The throttle ---- */

static void dirty_all(struct lone *lone)
{
	for (uint64_t page = 0; page < 4; page++)
		lone_write(lone, 0, page, (uint8_t)(lone->now / 1000000 % 250 + 1));
}

/*
 * keeps SRC-014: more than half of what is sent is dirtied, twice at fetches a second apart: 20 %, then 10 % more each
 * time, up to 99 %.
 */
static void throttle(void **state)
{
	static const uint32_t steps[] = {20, 30, 40, 50, 60, 70, 80, 90, 99};
	struct lone *lone = lone_new("7.2");
	unsigned at = 0;

	(void)state;
	lone->config.auto_converge = true;
	lone->choose_always = true;
	lone_start(lone);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
	lone_choose(lone, MR_CHOICE_SYNC, 1);
	for (unsigned evaluation = 1; evaluation <= 24; evaluation++) {
		const unsigned syncs = lone->said[MR_SOURCE_ACTION_LOG_SYNC];

		dirty_all(lone);
		lone_later(lone, SECOND);
		while (lone->said[MR_SOURCE_ACTION_LOG_SYNC] < syncs + 2)
			lone_step(lone, MR_SOURCE_MIGRATION);
		/* what was fetched is looked at */
		lone_step(lone, MR_SOURCE_MIGRATION);
		if (lone->said[MR_SOURCE_ACTION_THROTTLE] > at)
			assert_int_equal(lone_statistics(lone).throttle, steps[at++]);
		/* to throttle at the first strike, or beyond the maximum, breaks SRC-014 */
		assert_int_equal(at, evaluation < 19 ? (evaluation - 1) / 2 : 9);
	}
	assert_int_equal(at, 9);
	assert_int_equal(lone_statistics(lone).throttle, 99);
	lone_free(lone);
}

/* A guest that dirties little, or less than a second apart, is left alone; so is one without auto-converge. */
static void no_throttle(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct lone *lone = lone_new("7.2");

		lone->config.auto_converge = i != 0;
		/* up to ten times what is sent */
		lone->config.throttle_trigger = i == 1 ? 1000 : 0;
		lone->choose_always = true;
		lone_start(lone);
		lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
		lone_choose(lone, MR_CHOICE_SYNC, 1);
		for (unsigned evaluation = 0; evaluation < 10; evaluation++) {
			const unsigned syncs = lone->said[MR_SOURCE_ACTION_LOG_SYNC];

			dirty_all(lone);
			lone_later(lone, i == 2 ? SECOND / 100 : SECOND);
			while (lone->said[MR_SOURCE_ACTION_LOG_SYNC] < syncs + 2)
				lone_step(lone, MR_SOURCE_MIGRATION);
		}
		assert_int_equal(lone->said[MR_SOURCE_ACTION_THROTTLE], 0);
		assert_int_equal(lone_statistics(lone).throttle, 0);
		lone_free(lone);
	}
}

/* Figures of one's own; the last step is cut at the maximum. */
static void throttle_parameters(void **state)
{
	static const uint32_t steps[] = {30, 55, 70};
	struct lone *lone = lone_new("9.2");
	unsigned at = 0;

	(void)state;
	lone->config.auto_converge = true;
	lone->config.throttle_initial = 30;
	lone->config.throttle_increment = 25;
	lone->config.throttle_maximum = 70;
	lone->config.throttle_trigger = 1;
	lone->choose_always = true;
	lone_start(lone);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
	lone_choose(lone, MR_CHOICE_SYNC, 1);
	for (unsigned i = 0; i < 4000; i++) {
		dirty_all(lone);
		lone_later(lone, SECOND / 10);
		lone_step(lone, MR_SOURCE_MIGRATION);
		if (lone->said[MR_SOURCE_ACTION_THROTTLE] > at) {
			assert_true(at < 3);
			assert_int_equal(lone->last.count, steps[at++]);
		}
	}
	lone_free(lone);
}

/* ---- Choices ---- */

/* Turns that cannot be: each counts as what is canonical, and is not counted as chosen. */
static void impossible_turns(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	lone_start(lone);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_POSTCOPY); /* nobody asked for it */
	lone_choose(lone, MR_CHOICE_TURN, 17);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_EXACT);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_EXACT); /* it is exact already */
	lone_run(lone);
	assert_true(lone_has_said(lone, "[completed]"));
	assert_int_equal(lone_statistics(lone).chosen[MR_CHOICE_TURN] > 0, 1);
	lone_free(lone);
	/* up to 7.2 there is but one query */
	lone = lone_new("7.2");
	lone_start(lone);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_EXACT);
	lone_run(lone);
	assert_true(lone_has_said(lone, "[completed]"));
	lone_free(lone);
	/* in postcopy neither an exact query nor another switch */
	lone = lone_new("8.2");
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone_start_postcopy(lone, "ping:4");
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_EXACT);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_POSTCOPY);
	forget_words(lone);
	lone_run(lone);
	expect_words(lone, "part#1 page:mem:0 page:1 page:2 page:3 page:vga:0 page:1 eos . end#1 eos . eof");
	lone_free(lone);
}

/* Turns that can be: the end at once, and rounds that nobody needs. */
static void other_turns(void **state)
{
	struct lone *lone = lone_new("7.2");

	(void)state;
	lone_start(lone);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_COMPLETE);
	lone_until(lone, "[active]");
	forget_words(lone);
	lone_run(lone);
	expect_words(lone,
		     "stop-guest end#1 page:mem:0 page:1 page:2 page:3 page:vga:0 page:1 eos . full:timer#0 {timer} . "
		     "eof [completed] finished");
	assert_int_equal(lone_statistics(lone).chosen[MR_CHOICE_TURN], 1);
	assert_int_equal(lone_statistics(lone).choices[MR_CHOICE_TURN], 1);
	lone_free(lone);
	lone = lone_new("7.2");
	lone_start(lone);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
	lone_until(lone, "[active]");
	forget_words(lone);
	lone_run(lone);
	expect_words(
		lone,
		"part#1 page:mem:0 page:1 page:2 page:3 page:vga:0 page:1 eos . part#1 eos . stop-guest end#1 eos . "
		"full:timer#0 {timer} . eof [completed] finished");
	assert_int_equal(lone_statistics(lone).choices[MR_CHOICE_TURN], 3);
	assert_int_equal(lone_statistics(lone).chosen[MR_CHOICE_TURN], 1);
	lone_free(lone);
}

/* The log is fetched otherwise than it would be, and asked for nothing in postcopy. */
static void other_syncs(void **state)
{
	struct lone *lone = lone_new("11.1");

	(void)state;
	lone_start(lone);
	lone_choose(lone, MR_CHOICE_SYNC, 0);
	lone_run(lone);
	assert_int_equal(lone->said[MR_SOURCE_ACTION_LOG_SYNC], 2);
	assert_int_equal(lone_statistics(lone).chosen[MR_CHOICE_SYNC], 1);
	lone_free(lone);
	lone = lone_new("7.2");
	lone_start(lone);
	lone_choose(lone, MR_CHOICE_SYNC, 1);
	lone_run(lone);
	assert_int_equal(lone->said[MR_SOURCE_ACTION_LOG_SYNC], 3);
	lone_free(lone);
}

/* ---- The switch to postcopy ---- */

/* keeps SRC-009: the log is fetched before the discards, and what was written goes there, clean pages do not. */
static void discards(void **state)
{
	static const struct lone_row rows[] = {
		/* an empty range where the last page is clean */
		{"", "2.6", "[postcopy-active] stop-guest discard:mem:1+1,3+1 discard:vga:0+1,2+0 ping:2"},
		{"2.7", "9.2", "[postcopy-active] stop-guest discard:mem:1+1,3+1 discard:vga:0+1 ping:2"},
		{"10.0", "10.0", "stop-guest [device] switchover discard:mem:1+1,3+1 discard:vga:0+1 ping:2"},
		{"10.1", "", "part#1 eos . stop-guest [device] switchover discard:mem:1+1,3+1 discard:vga:0+1 ping:2"},
		{0},
	};

	(void)state;
	for (unsigned i = 0; i < LONE_RELEASES; i++) {
		struct lone *lone = lone_new(lone_releases[i]);

		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
		lone_start(lone);
		lone_until(lone, "page:vga:0");
		lone_until(lone, ".");
		lone_write(lone, 0, 1, 0x55);
		lone_write(lone, 0, 3, 0x55);
		lone_write(lone, 1, 0, 0x55);
		mr_outgoing_start_postcopy(lone->source);
		lone_choose(lone, MR_CHOICE_TURN, MR_TURN_POSTCOPY);
		forget_words(lone);
		lone_until(lone, "ping:2");
		expect_words(lone, lone_row(lone_releases[i], rows));
		lone_run(lone);
		assert_true(lone_has_said(lone, "page:mem:1"));
		assert_int_equal(mr_outgoing_dirty_count(lone->source), 0);
		lone_free(lone);
	}
}

/* keeps DSC-001: what is unplugged is not sent, hence not discarded, also where never sent pages have a map. */
static void unplugged_discards(void **state)
{
	static const char *const releases[] = {"4.1", "7.2"};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
		lone_start(lone);
		assert_true(mr_outgoing_plug(lone->source, 0, LONE_PAGE, 2 * LONE_PAGE, false));
		lone_until(lone, "[active]");
		mr_outgoing_start_postcopy(lone->source);
		lone_choose(lone, MR_CHOICE_TURN, MR_TURN_POSTCOPY);
		forget_words(lone);
		lone_until(lone, "ping:2");
		/* 1 and 2 would be pages that nobody ever sends */
		expect_words(lone, "[postcopy-active] stop-guest discard:mem:0+1,3+1 discard:vga:0+2 ping:2");
		lone_free(lone);
	}
}

/* A block whose host pages cannot be discarded. */
static void impossible_discards(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	/* a host page that is smaller than the target's */
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone->blocks[1].page_size = LONE_PAGE / 2;
	lone_start(lone);
	lone_until(lone, "[active]");
	mr_outgoing_start_postcopy(lone->source);
	lone_run(lone);
	assert_true(lone_has_said(lone, "failed:DSC-007"));
	assert_true(lone_has_said(lone, "start-guest"));
	lone_free(lone);
}

/* release-ram gives back what is clean at the switch, then each host page that goes out. */
static void release_ram(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone->config.release_ram = true;
	lone_block(lone, 2, "shared", 1, 0);
	lone->blocks[2].ignored = true;
	lone->shown |= LONE_SHOW(RELEASE);
	lone_start(lone);
	lone_until(lone, "page:vga:0");
	lone_until(lone, ".");
	assert_false(lone_has_said(lone, "release"));
	lone_write(lone, 0, 1, 0x55);
	lone_write(lone, 0, 2, 0x55);
	lone_write(lone, 1, 1, 0x55);
	mr_outgoing_start_postcopy(lone->source);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_POSTCOPY);
	forget_words(lone);
	lone_run(lone);
	expect_words(lone,
		     "[postcopy-active] stop-guest discard:mem:1+2 discard:vga:1+1 release:mem:0+1 release:mem:3+1 "
		     "release:vga:0+1 ping:2 package:49 ( listen full:timer#0 {timer} . ping:3 run ) ping:4 part#1 "
		     "page:mem:1 release:mem:1+1 page:2 release:mem:2+1 page:vga:1 release:vga:1+1 eos . "
		     "end#1 eos . eof");
	/* SRC-003: a recovery is refused, see test_source_recovery.c */
	lone_free(lone);
}

/* Up to 2.8 the scan goes on where it was, later it begins with the first page. */
static void scan_at_the_switch(void **state)
{
	static const struct lone_row rows[] = {
		{"", "2.8", "part#1 page:mem:2 page:3 page:vga:0 page:1 page:mem:0 eos . "},
		{"2.9", "", "part#1 page:mem:0 page:2 page:3 page:vga:0 page:1 eos . "},
		{0},
	};
	static const char *const releases[] = {"2.6", "2.11", "9.2"};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct lone *lone = lone_new(releases[i]);
		const char *row = lone_row(releases[i], rows);
		char words[200] = "";

		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
		lone_start(lone);
		lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
		lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
		lone_choose(lone, MR_CHOICE_SECTION_ENDS, 1);
		lone_until(lone, "page:1");
		lone_write(lone, 0, 0, 9);
		mr_outgoing_start_postcopy(lone->source);
		lone_until(lone, "ping:4");
		forget_words(lone);
		lone_until(lone, ".");
		memcpy(words, row, strlen(row) - 1);
		expect_words(lone, words);
		lone_free(lone);
	}
}

/* The preempt channel of 8.0 and later is opened at the switch, once a PONG has come. */
static void preempt_at_the_switch(void **state)
{
	static const struct lone_row rows[] = {
		{"", "9.2", "connect:preempt [postcopy-active] stop-guest"},
		{"10.0", "", "connect:preempt stop-guest"},
		{0},
	};
	static const char *const releases[] = {"8.1", "8.2", "9.2", "10.0", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_POSTCOPY_PREEMPT;
		lone_start(lone);
		lone_until(lone, "[active]");
		mr_outgoing_start_postcopy(lone->source);
		lone_run(lone);
		assert_int_equal(mr_outgoing_wants(lone->source, MR_SOURCE_MIGRATION).wait, MR_SOURCE_WAIT_MESSAGE);
		/* to connect before a PONG breaks SRC-015 */
		assert_false(lone_has_said(lone, "connect:preempt"));
		forget_words(lone);
		lone_pong(lone, 1);
		lone_until(lone, "stop-guest");
		expect_words(lone, lone_row(releases[i], rows));
		lone_free(lone);
	}
	{
		struct lone *lone = lone_new("8.2");

		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_POSTCOPY_PREEMPT;
		lone->failures[0].role = MR_ROLE_PREEMPT;
		lone->failures[0].error = 111;
		lone->failure_count = 1;
		lone_start(lone);
		lone_until(lone, "[active]");
		mr_outgoing_start_postcopy(lone->source);
		lone_pong(lone, 1);
		forget_words(lone);
		lone_run(lone);
		expect_words(lone, "connect:preempt [failed] failed:SRC-030");
		lone_free(lone);
	}
}

/* 7.1 and 7.2 end the preempt channel by EOS, later nobody does. */
static void preempt_end(void **state)
{
	static const char *const releases[] = {"7.2", "8.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_POSTCOPY_PREEMPT;
		lone_start(lone);
		lone_until(lone, "[active]");
		mr_outgoing_start_postcopy(lone->source);
		lone_pong(lone, 1);
		lone_until(lone, "ping:4 ");
		lone_pong(lone, 0x42);
		lone_run(lone);
		/* EOS where nobody reads it, or none where somebody waits for it, breaks SRC-015 */
		assert_int_equal(lone_has_said(lone, "p:eos"), i == 0);
		lone_free(lone);
	}
}

/* A precopy that converges leaves the preempt channel without a byte. */
static void preempt_without_postcopy(void **state)
{
	struct lone *lone = lone_new("7.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_POSTCOPY_PREEMPT;
	lone_start(lone);
	lone_run(lone);
	lone_shut(lone);
	lone_run(lone);
	assert_true(lone_has_said(lone, "[completed]"));
	assert_int_equal(lone->connections[1].forward.length, 0);
	lone_free(lone);
}

/* In 11.1 each handler's request is an ack more, while the guest runs. */
static void acks_counted(void **state)
{
	struct lone *lone = lone_new("11.1");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_RETURN_PATH | MR_CAPABILITY_SWITCHOVER_ACK;
	lone_start(lone);
	lone_until(lone, "[active]");
	assert_true(mr_outgoing_want_ack(lone->source));
	assert_true(mr_outgoing_want_ack(lone->source));
	lone_ack(lone);
	lone_step(lone, MR_SOURCE_RETURN);
	for (unsigned step = 0; step < 100; step++)
		lone_step(lone, MR_SOURCE_MIGRATION);
	/* one of two */
	assert_false(lone_has_said(lone, "stop-guest"));
	lone_ack(lone);
	lone_step(lone, MR_SOURCE_RETURN);
	lone_until(lone, "stop-guest");
	assert_false(mr_outgoing_want_ack(lone->source));
	lone_free(lone);
	/* one that is asked for before the first step counts as well, and no choice switches without it */
	lone = lone_new("11.1");
	lone->config.capabilities = MR_CAPABILITY_RETURN_PATH | MR_CAPABILITY_SWITCHOVER_ACK;
	lone->choose_always = true;
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_COMPLETE);
	lone_start(lone);
	assert_true(mr_outgoing_want_ack(lone->source));
	for (unsigned step = 0; step < 100; step++)
		lone_step(lone, MR_SOURCE_MIGRATION);
	assert_false(lone_has_said(lone, "stop-guest"));
	lone_ack(lone);
	lone_step(lone, MR_SOURCE_RETURN);
	lone_until(lone, "stop-guest");
	lone_free(lone);
	/* with the machine type of an older release one ack stands for all */
	lone = lone_new_machine("11.1", "pc-q35-11.0");
	lone->config.capabilities = MR_CAPABILITY_RETURN_PATH | MR_CAPABILITY_SWITCHOVER_ACK;
	lone_start(lone);
	assert_false(mr_outgoing_want_ack(lone->source));
	lone_free(lone);
	for (unsigned i = 0; i < 2; i++) {
		lone = lone_new(i ? "11.0" : "11.1");
		lone->config.capabilities = i ? MR_CAPABILITY_RETURN_PATH | MR_CAPABILITY_SWITCHOVER_ACK : 0;
		lone_start(lone);
		assert_false(mr_outgoing_want_ack(lone->source));
		lone_free(lone);
	}
}

/* A snapshot keeps its bandwidth, too. */
static void snapshot_rate(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_BACKGROUND_SNAPSHOT;
	lone->config.max_bandwidth = 10 * 2 * LONE_PAGE;
	lone_start(lone);
	for (unsigned window = 1; window <= 3; window++) {
		lone_run(lone);
		assert_int_equal(count(lone, "page:"), 2 * window);
		assert_int_equal(lone_has_said(lone, "[completed]"), window == 3);
		lone_later(lone, 100);
	}
	lone_free(lone);
}

/* A release that has no preempt channel opens none, whatever is asked for. */
static void no_preempt(void **state)
{
	struct lone *lone = lone_new("6.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_POSTCOPY_PREEMPT;
	lone_start(lone);
	lone_until(lone, "[active]");
	mr_outgoing_start_postcopy(lone->source);
	lone_run(lone);
	assert_int_equal(lone->connection_count, 1);
	lone_free(lone);
}

/* A cut while a PONG is waited for: the guest never stopped. */
static void cut_before_preempt(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_POSTCOPY_PREEMPT;
	lone_start(lone);
	lone_until(lone, "[active]");
	mr_outgoing_start_postcopy(lone->source);
	lone_run(lone);
	forget_words(lone);
	mr_outgoing_broken(lone->source, 0, 0);
	lone_run(lone);
	expect_words(lone, "[failed] failed:SRC-030");
	lone_free(lone);
}

/* Up to 2.8 the scan begins anew all the same where the host's pages are not the target's. */
static void scan_restarts_for_host_pages(void **state)
{
	struct lone *lone = lone_new("2.6");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone->config.host_page_size = 2 * LONE_PAGE;
	lone_start(lone);
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 1);
	lone_until(lone, "page:1");
	lone_write(lone, 0, 0, 9);
	mr_outgoing_start_postcopy(lone->source);
	lone_until(lone, "ping:4");
	forget_words(lone);
	lone_until(lone, ".");
	expect_words(lone, "part#1 page:mem:0 page:1 page:2 page:3 page:vga:0 page:1 eos .");
	lone_free(lone);
}

/* The reader of the return path at the very end, and one whose connection ends before 3.0. */
static void reader_at_the_end(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_RETURN_PATH;
	lone->shown |= LONE_SHOW(CLOSE);
	lone_answer(lone, "timer", MR_HOOK_SAVE_STATE, 5);
	lone_start(lone);
	lone_until(lone, "close:0");
	assert_int_equal(lone_step(lone, MR_SOURCE_RETURN), MR_STEP_WAITS);
	lone_run(lone);
	assert_true(lone_has_said(lone, "failed:HND-013"));
	lone_free(lone);
	for (unsigned i = 0; i < 2; i++) {
		lone = lone_new("2.11");
		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
		lone_start_postcopy(lone, "ping:4 ");
		/* or with something that is no message */
		if (i)
			build_be64(&lone->connections[0].backward, UINT64_C(0x0063000000000000));
		lone->connections[0].at_end = true;
		lone_run(lone);
		assert_true(lone_has_said(lone, "[failed]"));
		assert_int_not_equal(mr_outgoing_return_error(lone->source)->rule, MR_NO_RULE);
		lone_free(lone);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rate_limit),
		cmocka_unit_test(smallest_budget),
		cmocka_unit_test(postcopy_rate_limit),
		cmocka_unit_test(requests_and_rate),
		cmocka_unit_test(woken),
		cmocka_unit_test(threshold_by_bandwidth),
		cmocka_unit_test(stated_bandwidth),
		cmocka_unit_test(log_fetched),
		cmocka_unit_test(log_when_small),
		cmocka_unit_test(switchover_ack),
		cmocka_unit_test(acks_not_needed),
		cmocka_unit_test(operator_opens_the_gate),
		cmocka_unit_test(operator_and_failure),
		cmocka_unit_test(operator_too_late),
		cmocka_unit_test(throttle),
		cmocka_unit_test(no_throttle),
		cmocka_unit_test(throttle_parameters),
		cmocka_unit_test(impossible_turns),
		cmocka_unit_test(other_turns),
		cmocka_unit_test(other_syncs),
		cmocka_unit_test(discards),
		cmocka_unit_test(unplugged_discards),
		cmocka_unit_test(impossible_discards),
		cmocka_unit_test(release_ram),
		cmocka_unit_test(scan_at_the_switch),
		cmocka_unit_test(preempt_at_the_switch),
		cmocka_unit_test(preempt_end),
		cmocka_unit_test(preempt_without_postcopy),
		cmocka_unit_test(acks_counted),
		cmocka_unit_test(snapshot_rate),
		cmocka_unit_test(no_preempt),
		cmocka_unit_test(cut_before_preempt),
		cmocka_unit_test(scan_restarts_for_host_pages),
		cmocka_unit_test(reader_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
