/*
 * test_source_ram.c: which pages a source sends, where, and in what order: the scan, requests, slices, clearing of the
 * log, host pages, the preempt channel, multifd and its barriers, XBZRLE.
 */
#include "lone_source.h"

#include <stdio.h>
#include <stdlib.h>

#define ALL "page:mem:0 page:1 page:2 page:3 page:vga:0 page:1 "

/* At the first PART of precopy. */
static struct lone *begin(struct lone *lone)
{
	lone_start(lone);
	lone_until(lone, "[active]");
	forget_words(lone);
	return lone;
}

/* At the first PART of postcopy, with PONGs as they are due. */
static struct lone *begin_postcopy(struct lone *lone)
{
	lone->config.capabilities |= MR_CAPABILITY_POSTCOPY_RAM;
	lone_start(lone);
	lone_until(lone, "[active]");
	mr_outgoing_start_postcopy(lone->source);
	lone_pong(lone, 1);
	lone_step(lone, MR_SOURCE_RETURN);
	lone_until(lone, "ping:4 ");
	if (lone->profile.on[MR_SWITCH_SOURCE_POSTCOPY_LATE])
		lone_until(lone, "[");
	forget_words(lone);
	return lone;
}

static void read_requests(struct lone *lone)
{
	while (lone_step(lone, MR_SOURCE_RETURN) == MR_STEP_ACTION)
		continue;
}

/* ---- The scan ---- */

/* keeps SRC-011: in the order of the list; what was dirtied in front of the scan goes in this pass, the rest behind. */
static void scan_order(void **state)
{
	static const char *const releases[] = {"2.6", "4.0", "7.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new(releases[i]);

		begin(lone);
		lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
		lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
		lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
		lone_choose(lone, MR_CHOICE_SECTION_ENDS, 1);
		lone_until(lone, ".");
		assert_true(mr_outgoing_dirty(lone->source, 0, 0, LONE_PAGE));
		lone_until(lone, ".");
		/* to begin with the first page again breaks SRC-011 */
		expect_words(lone,
			     "part#1 page:mem:0 page:1 eos . part#1 page:2 page:3 page:vga:0 page:1 page:mem:0 eos .");
		lone_free(lone);
	}
}

/* Empty blocks and ignored ones are passed over. keeps SRC-007; a page of an ignored block breaks SRC-007. */
static void passed_over(void **state)
{
	struct lone *lone = lone_new("9.2");

	(void)state;
	lone_block(lone, 1, "shared", 3, 0);
	lone->blocks[1].ignored = true;
	lone_block(lone, 2, "empty", 0, 0);
	lone_block(lone, 3, "vga", 1, 0);
	lone->config.capabilities = MR_CAPABILITY_IGNORE_SHARED;
	lone->shown |= LONE_SHOW(LOG_CLEAR) | LONE_SHOW(ITERATION);
	begin(lone);
	lone_until(lone, ".");
	expect_words(lone, "part#1 log-clear:mem:0+4 page:mem:0 page:1 page:2 page:3 log-clear:vga:0+1 page:vga:0 "
			   "iteration:1 eos .");
	assert_int_equal(lone_statistics(lone).total, 5 * LONE_PAGE);
	lone_free(lone);
}

/* keeps SRC-007: pages that are unplugged at the start, or hinted at, do not go out; dirtied again, they do. */
static void left_out(void **state)
{
	struct lone *lone = lone_new("7.2");

	(void)state;
	lone_start(lone);
	assert_true(mr_outgoing_plug(lone->source, 0, LONE_PAGE, 2 * LONE_PAGE, false));
	assert_true(mr_outgoing_plug(lone->source, 1, 0, 2 * LONE_PAGE, false));
	assert_true(mr_outgoing_plug(lone->source, 1, LONE_PAGE, LONE_PAGE, true));
	lone_until(lone, "[active]");
	assert_int_equal(lone_statistics(lone).remaining, 3 * LONE_PAGE);
	forget_words(lone);
	lone_until(lone, "page:3");
	assert_true(mr_outgoing_free_hint(lone->source, 0, 0, 4 * LONE_PAGE));
	assert_true(mr_outgoing_free_hint(lone->source, 1, 0, 2 * LONE_PAGE));
	assert_int_equal(mr_outgoing_dirty_count(lone->source), 0);
	lone_write(lone, 1, 0, 5);
	lone_run(lone);
	/* one that was not written to since breaks SRC-007 */
	expect_words(lone,
		     "part#1 page:mem:0 page:3 eos . stop-guest end#1 page:vga:0 eos . full:timer#0 {timer} . eof "
		     "[completed] finished");
	lone_free(lone);
	/* no hints where postcopy may need every page */
	lone = lone_new("7.2");
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone_start(lone);
	lone_until(lone, "[active]");
	assert_false(mr_outgoing_free_hint(lone->source, 0, 0, LONE_PAGE));
	lone_free(lone);
	/* 4.1, too */
	lone = lone_new("4.1");
	begin(lone);
	assert_true(mr_outgoing_free_hint(lone->source, 0, 0, LONE_PAGE));
	lone_until(lone, "page:");
	expect_words(lone, "part#1 page:mem:1");
	lone_free(lone);
}

/* keeps SRC-011: a request moves the scan behind it. */
static void requests_move_the_scan(void **state)
{
	static const char *const releases[] = {"2.11", "7.2", "8.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone->shown |= LONE_SHOW(REQUEST);
		lone_block(lone, 0, "mem", 6, 0);
		begin_postcopy(lone);
		lone_until(lone, "page:mem:0");
		lone_request(lone, "mem", 3, 1);
		lone_request(lone, "mem", 0, 1); /* is on its way already */
		lone_request(lone, "vga", 1, 1);
		read_requests(lone);
		lone_until(lone, ".");
		expect_words(lone, "part#1 page:mem:0 page:3 served:mem:3+1 dropped:mem:0+1 page:vga:1 served:vga:1+1 "
				   "page:mem:1 page:2 page:4 page:5 page:vga:0 eos .");
		assert_int_equal(lone_statistics(lone).postcopy_requests, 3);
		lone_free(lone);
	}
}

/*
 * Up to 4.0 a request does not forget that the scan has wrapped. Here its page gives nothing (XBZRLE, which 2.6 has in
 * postcopy, finds it unchanged), and the scan gives up with page 0 left, which only the next section sends.
 */
static void stale_wrap(void **state)
{
	struct lone *lone = lone_new("2.6");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_XBZRLE;
	lone->shown |= LONE_SHOW(ITERATION);
	begin(lone);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
	lone_choose(lone, MR_CHOICE_SYNC, 1);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
	lone_choose(lone, MR_CHOICE_SYNC, 1);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_POSTCOPY);
	lone_until(lone, ".");
	assert_true(mr_outgoing_dirty(lone->source, 0, 3 * LONE_PAGE, LONE_PAGE));
	lone_until(lone, "page:mem:3");
	lone_until(lone, ".");
	lone_write(lone, 0, 0, 9);
	lone->dirty[0][3] = true;
	mr_outgoing_start_postcopy(lone->source);
	lone_until(lone, "ping:4");
	forget_words(lone);
	lone_until(lone, "iteration");
	lone_request(lone, "mem", 3, 1);
	read_requests(lone);
	lone_run(lone);
	/* iterations of precopy count, too */
	expect_words(
		lone,
		"part#1 iteration:4 eos . part#1 iteration:5 page:mem:0 iteration:6 eos . end#1 iteration:7 eos . eof");
	lone_free(lone);
}

/* A request for an ignored block gives nothing. */
static void request_for_ignored(void **state)
{
	struct lone *lone = lone_new("7.2");

	(void)state;
	lone_block(lone, 2, "shared", 2, 0);
	lone->blocks[2].ignored = true;
	lone->shown |= LONE_SHOW(REQUEST);
	begin_postcopy(lone);
	lone_until(lone, "page:mem:0");
	forget_words(lone);
	lone_request(lone, "shared", 1, 1);
	read_requests(lone);
	lone_until(lone, "page:1");
	expect_words(lone, "dropped:shared:1+1 page:1");
	lone_free(lone);
}

/* ---- Slices of time ---- */

/* keeps SRC-012: the clock is looked at before passes 1, 65, 129, so a PART that it cuts holds 64 k + 1 host pages. */
static void time_slices(void **state)
{
	static const struct {
		uint64_t slow_page; /* behind this page 51 ms are over */
		unsigned pages;
	} cases[] = {{0, 1}, {1, 65}, {64, 65}, {65, 129}, {128, 129}};

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		struct lone *lone = lone_new("7.2");
		char word[32];

		lone_block(lone, 0, "mem", 200, 0);
		begin(lone);
		snprintf(word, sizeof(word), "page:%s%u ",
			 cases[i].slow_page ? "" : "mem:", (unsigned)cases[i].slow_page);
		lone_until(lone, word);
		/* 50 ms are not more than 50 ms */
		lone_later(lone, i % 2 ? 51 : 52);
		lone_until(lone, "eos");
		/* any other number breaks SRC-012 */
		assert_int_equal(lone_statistics(lone).pages, cases[i].pages);
		lone_free(lone);
	}
	{
		struct lone *lone = lone_new("7.2");

		lone_block(lone, 0, "mem", 200, 0);
		begin(lone);
		lone_until(lone, "page:mem:0");
		lone_later(lone, 50);
		lone_until(lone, "eos");
		assert_int_equal(lone_statistics(lone).pages, 202);
		lone_free(lone);
	}
}

/* A section may end before its first page, and go on longer than it would. */
static void section_choices(void **state)
{
	struct lone *lone = lone_new("7.2");

	(void)state;
	begin(lone);
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 1);
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 2); /* neither yes nor no */
	lone_until(lone, "page:mem:0");
	expect_words(lone, "part#1 eos . part#1 page:mem:0");
	lone_later(lone, 60);
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
	lone_until(lone, "page:1");
	expect_words(lone, "page:1");
	assert_int_equal(lone_statistics(lone).chosen[MR_CHOICE_SECTION_ENDS], 2);
	lone_free(lone);
}

/* ---- The log ---- */

/* keeps SRC-008: chunks of 64 pages are cleared before their first page is read, since 4.1. */
static void log_cleared(void **state)
{
	static const char *const releases[] = {"4.0", "4.1", "9.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone_block(lone, 0, "mem", 100, 0);
		lone->config.clear_bitmap_shift = 1; /* below the least: 6 */
		lone->shown |= LONE_SHOW(LOG_CLEAR) | LONE_SHOW(LOG_SYNC);
		begin(lone);
		lone_until(lone, "page:mem:0");
		/* a page that is read before breaks SRC-008 */
		expect_words(lone, i == 0 ? "part#1 page:mem:0" : "part#1 log-clear:mem:0+64 page:mem:0");
		lone_until(lone, "page:63");
		assert_false(lone_has_said(lone, "log-clear"));
		forget_words(lone);
		lone_until(lone, "page:64");
		expect_words(lone, i == 0 ? "page:64" : "log-clear:mem:64+36 page:64");
		lone_free(lone);
	}
}

/* From 10.1 on the log is not cleared in the last pass, nor in postcopy. */
static void log_cleared_until_stop(void **state)
{
	static const struct {
		const char *release;
		bool postcopy, cleared;
	} cases[] = {{"10.0", false, true}, {"10.1", false, false}, {"10.0", true, true}, {"10.1", true, false}};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new(cases[i].release);

		lone->shown |= LONE_SHOW(LOG_CLEAR);
		if (cases[i].postcopy) {
			begin_postcopy(lone);
		} else {
			begin(lone);
			lone_choose(lone, MR_CHOICE_TURN, MR_TURN_COMPLETE);
			lone_until(lone, "end#1");
			forget_words(lone);
		}
		lone_until(lone, "page:vga:0");
		assert_int_equal(lone_has_said(lone, "log-clear:mem:0+4"), cases[i].cleared);
		assert_int_equal(lone_has_said(lone, "log-clear:vga:0+2"), cases[i].cleared);
		lone_free(lone);
	}
}

/* ---- Host pages ---- */

/* Huge pages go out as one: a slice never ends within. Up to 2.8 the machine's ordinary page counts. */
static void huge_pages(void **state)
{
	static const struct lone_row rows[] = {
		{"", "2.8", "part#1 page:mem:0 eos . part#1 page:1 eos ."},
		{"2.9", "", "part#1 page:mem:0 page:1 page:2 page:3 eos . part#1 page:4 page:5 page:6 page:7 eos ."},
		{0},
	};
	static const char *const releases[] = {"2.6", "2.11", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone_block(lone, 0, "mem", 10, 4 * LONE_PAGE);
		lone->choose_always = true;
		begin(lone);
		for (unsigned j = 0; j < 2; j++) {
			lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
			lone_choose(lone, MR_CHOICE_SECTION_ENDS, 1);
		}
		lone_until(lone, ".");
		lone_until(lone, ".");
		expect_words(lone, lone_row(releases[i], rows));
		lone_free(lone);
	}
}

/* The last host page may be cut short; in precopy only what is dirty of one goes out, from 9.0 a target page at least.
 */
static void partial_host_pages(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	lone_block(lone, 0, "mem", 6, 4 * LONE_PAGE);
	begin(lone);
	assert_true(mr_outgoing_free_hint(lone->source, 0, 0, LONE_PAGE));
	assert_true(mr_outgoing_free_hint(lone->source, 0, 2 * LONE_PAGE, LONE_PAGE));
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 1);
	lone_until(lone, ".");
	expect_words(lone, "part#1 page:mem:1 page:3 page:4 page:5 eos .");
	lone_free(lone);
	/* target pages of 8 KiB on a host of 4 KiB: each is one step */
	lone = lone_new("8.2");
	lone->config.target_page_size = 2 * LONE_PAGE;
	lone_block(lone, 0, "mem", 3, 0);
	lone_block(lone, 1, "vga", 1, 0);
	begin(lone);
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 1);
	lone_until(lone, ".");
	expect_words(lone, "part#1 page:mem:0 eos .");
	lone_free(lone);
}

/* A request for a huge page: all of it, then the rest of the entry is clean. */
static void huge_requests(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	lone_block(lone, 0, "mem", 12, 4 * LONE_PAGE);
	lone->shown |= LONE_SHOW(REQUEST);
	begin_postcopy(lone);
	lone_until(lone, "page:mem:0");
	lone_request(lone, "mem", 8, 4);
	read_requests(lone);
	forget_words(lone);
	lone_until(lone, "page:vga:0");
	/* at most the host page at hand delays it; the pages behind it are found after the wrap */
	expect_words(lone, "page:1 page:2 page:3 page:8 page:9 page:10 page:11 served:mem:8+4 page:vga:0");
	lone_until(lone, ".");
	expect_words(lone, "page:1 page:mem:4 page:5 page:6 page:7 eos .");
	lone_free(lone);
}

/* ---- The preempt channel of 7.1 and 7.2 ---- */

static struct lone *lone_preempt(const char *release, uint64_t pages, uint64_t page_size)
{
	struct lone *lone = lone_new(release);

	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_PREEMPT;
	lone_block(lone, 0, "mem", pages, page_size);
	lone->shown |= LONE_SHOW(REQUEST);
	return begin_postcopy(lone);
}

/* keeps SRC-017: with one memory for both channels, each change of channel names the block again. */
static void preempt_names(void **state)
{
	struct lone *lone = lone_preempt("7.2", 10, 0);

	(void)state;
	lone_until(lone, "page:1");
	lone_request(lone, "mem", 5, 1);
	lone_request(lone, "mem", 7, 1);
	read_requests(lone);
	lone_until(lone, "page:vga:0");
	/* CONTINUE behind a change breaks SRC-017, and so does another name than the page's */
	expect_words(lone,
		     "part#1 page:mem:0 page:1 p:page:mem:5 served:mem:5+1 p:page:7 served:mem:7+1 page:mem:8 page:9 "
		     "page:vga:0");
	lone_free(lone);
}

/*
 * keeps SRC-017: a PART ends on the main channel: the first urgent page of the next one names its block again, and its
 * first other page does not.
 */
static void preempt_names_of_parts(void **state)
{
	struct lone *lone = lone_preempt("7.2", 12, 0);

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		lone_choose(lone, MR_CHOICE_SECTION_ENDS, i == 2 || i == 4);
	lone_until(lone, "page:mem:0");
	lone_request(lone, "mem", 4, 1);
	read_requests(lone);
	lone_until(lone, ".");
	lone_request(lone, "mem", 7, 1);
	read_requests(lone);
	lone_until(lone, "page:8");
	expect_words(lone, "part#1 page:mem:0 p:page:mem:4 eos . "
			   "part#1 served:mem:4+1 p:page:mem:7 eos . part#1 served:mem:7+1 page:8");
	lone_free(lone);
}

/* From 8.0 on each channel has its own, urgent pages go at once, and the scan is not moved up to 10.0. */
static void urgent_pages(void **state)
{
	static const struct lone_row rows[] = {
		{"8.0", "10.0",
		 "part#1 page:mem:0 page:1 p:page:mem:5 served:mem:5+1 p:page:7 served:mem:7+1 page:2 page:3 page:4 "
		 "page:6 "},
		/* the hint of the first, since nobody has used it yet */
		{"10.1", "",
		 "part#1 page:mem:0 page:1 p:page:mem:5 served:mem:5+1 p:page:7 served:mem:7+1 page:6 page:8 page:9 "
		 "page:vga:0 page:1 page:mem:2 "},
		{0},
	};
	static const char *const releases[] = {"8.1", "8.2", "10.0", "10.1", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		struct lone *lone = lone_preempt(releases[i], 10, 0);
		const char *row = lone_row(releases[i], rows);
		uint64_t offset;
		uint32_t block;

		lone_until(lone, "page:1");
		lone_request(lone, "mem", 5, 1);
		lone_request(lone, "mem", 7, 1);
		read_requests(lone);
		mr_outgoing_cursor(lone->source, &block, &offset);
		assert_int_equal(block, 0);
		assert_int_equal(offset, 2 * LONE_PAGE);
		lone_until(lone, i < 3 ? "page:6" : "page:mem:2");
		if (i < 3)
			lone->words.length = strlen(row);
		build_u8(&lone->words, 0);
		lone->words.length--;
		assert_string_equal((char *)lone->words.bytes, row);
		lone_free(lone);
	}
}

/* Requests of nothing, of what is clean, of the ignored, of more than one host page. */
static void urgent_requests(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_PREEMPT;
	lone_block(lone, 0, "mem", 8, 2 * LONE_PAGE);
	lone_block(lone, 2, "shared", 2, 0);
	lone->blocks[2].ignored = true;
	lone->shown |= LONE_SHOW(REQUEST);
	begin_postcopy(lone);
	lone_request(lone, "mem", 4, 0);
	lone_request(lone, "mem", 2, 4);
	lone_request(lone, "mem", 2, 2);
	lone_request(lone, "shared", 1, 1);
	lone_request(lone, "mem", 6, 2);
	read_requests(lone);
	expect_words(lone, "dropped:mem:4+0 p:page:mem:2 p:page:3 p:page:4 p:page:5 served:mem:2+4 dropped:mem:2+2 "
			   "dropped:shared:1+1 p:page:6 p:page:7 served:mem:6+2");
	lone_until(lone, ".");
	expect_words(lone, "part#1 page:mem:0 page:1 page:vga:0 page:1 eos .");
	lone_free(lone);
}

/* The main channel is in the middle of the page: it goes on with it. Only the place is compared, not the block. */
static void urgent_overlap(void **state)
{
	struct lone *lone = lone_new("9.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_PREEMPT;
	lone_block(lone, 0, "mem", 8, 4 * LONE_PAGE);
	lone_block(lone, 1, "vga", 8, 4 * LONE_PAGE);
	lone->shown |= LONE_SHOW(REQUEST);
	begin_postcopy(lone);
	/* before the first target page of it is out, it may be overtaken */
	lone_until(lone, "page:mem:0");
	lone_request(lone, "mem", 0, 4);
	lone_request(lone, "vga", 0, 4);
	lone_request(lone, "vga", 4, 4);
	read_requests(lone);
	lone_until(lone, "page:4");
	expect_words(lone, "part#1 page:mem:0 dropped:mem:0+4 dropped:vga:0+4 p:page:vga:4 p:page:5 p:page:6 p:page:7 "
			   "served:vga:4+4 page:1 page:2 page:3 page:4");
	lone_free(lone);
}

/* 7.1 and 7.2: a huge page is interrupted for an urgent one, and goes on once nothing is urgent. */
static void broken_huge_pages(void **state)
{
	struct lone *lone = lone_preempt("7.2", 12, 4 * LONE_PAGE);
	uint64_t offset;
	uint32_t block;

	(void)state;
	lone_until(lone, "page:1");
	lone_request(lone, "mem", 8, 4);
	read_requests(lone);
	mr_outgoing_cursor(lone->source, &block, &offset);
	assert_int_equal(offset, 2 * LONE_PAGE);
	lone_until(lone, "page:vga:0");
	/* behind the interrupted page the scan goes on */
	expect_words(lone, "part#1 page:mem:0 page:1 p:page:mem:8 p:page:9 p:page:10 p:page:11 served:mem:8+4 "
			   "page:mem:2 page:3 page:4 page:5 page:6 page:7 page:vga:0");
	lone_free(lone);
	/* the very page that is on its way: it is finished where it is */
	lone = lone_preempt("7.2", 12, 4 * LONE_PAGE);
	lone_until(lone, "page:1");
	lone_request(lone, "mem", 0, 4);
	lone_request(lone, "mem", 4, 4);
	read_requests(lone);
	lone_until(lone, "page:mem:8");
	expect_words(lone,
		     "part#1 page:mem:0 page:1 page:2 page:3 served:mem:0+4 p:page:mem:4 p:page:5 p:page:6 p:page:7 "
		     "served:mem:4+4 page:mem:8");
	lone_free(lone);
	/* not with the property off, nor if chance has it otherwise */
	lone = lone_new("7.2");
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_PREEMPT;
	mr_profile_set_property(&lone->config.profile, "x-postcopy-preempt-break-huge", false);
	lone_block(lone, 0, "mem", 12, 4 * LONE_PAGE);
	begin_postcopy(lone);
	lone_until(lone, "page:1");
	lone_request(lone, "mem", 8, 4);
	read_requests(lone);
	lone_until(lone, "p:page");
	expect_words(lone, "part#1 page:mem:0 page:1 page:2 page:3 p:page:mem:8");
	lone_free(lone);
	lone = lone_preempt("7.2", 12, 4 * LONE_PAGE);
	lone_until(lone, "page:1");
	lone_request(lone, "mem", 8, 4);
	read_requests(lone);
	lone_choose(lone, MR_CHOICE_BREAK_HUGE, 0);
	lone_until(lone, "p:page");
	expect_words(lone, "part#1 page:mem:0 page:1 page:2 p:page:mem:8");
	lone_free(lone);
}

/* Two requests within one interruption, one of them for another block; the END of postcopy finishes what is left. */
static void broken_twice(void **state)
{
	struct lone *lone = lone_preempt("7.2", 8, 4 * LONE_PAGE);

	(void)state;
	lone_until(lone, "page:1");
	lone_request(lone, "vga", 1, 1);
	lone_request(lone, "mem", 4, 4);
	read_requests(lone);
	lone_until(lone, ".");
	expect_words(lone,
		     "part#1 page:mem:0 page:1 p:page:vga:1 served:vga:1+1 p:page:mem:4 p:page:5 p:page:6 p:page:7 "
		     "served:mem:4+4 page:mem:2 page:3 page:vga:0 eos .");
	lone_free(lone);
}

/* From 10.0 on, requests that come before the package is out wait in the queue, and go by the main channel. */
static void early_requests(void **state)
{
	static const struct lone_row rows[] = {
		{"", "9.2", "p:page:mem:2"},
		{"10.0", "", "page:mem:2"},
		{0},
	};
	static const char *const releases[] = {"8.2", "9.2", "10.0", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_POSTCOPY_PREEMPT;
		lone_start(lone);
		lone_until(lone, "[active]");
		mr_outgoing_start_postcopy(lone->source);
		lone_pong(lone, 1);
		lone_step(lone, MR_SOURCE_RETURN);
		lone_until(lone, "package:");
		lone_until(lone, ")");
		lone_request(lone, "mem", 2, 1);
		read_requests(lone);
		lone_run(lone);
		assert_true(lone_has_said(lone, lone_row(releases[i], rows)));
		assert_int_equal(lone_has_said(lone, "p:page"), i < 2);
		lone_free(lone);
	}
}

/* ---- multifd ---- */

static struct lone *lone_multifd(const char *release, const char *machine)
{
	struct lone *lone = lone_new_machine(release, machine);

	lone->config.capabilities = MR_CAPABILITY_MULTIFD;
	lone->config.multifd_channels = 2;
	return lone;
}

/* Table 5.3: where SYNC, FLUSH and EOS stand, by release and property. */
static const struct lone_row barriers[] = {
	/* a SYNC in each section; empty packets follow the SYNC that travels with pages */
	{"4.0", "8.0",
	 "start:ram#1 size:6000 block:mem/4000 block:vga/2000 [SYNC] eos . [active] part#1 [SYNC] eos . "
	 "stop-guest end#1 [SYNC] eos ."},
	{"8.1", "9.0",
	 "start:ram#1 size:6000 block:mem/4000 block:vga/2000 [SYNC] flush eos . [active] part#1 [SYNC] flush eos . "
	 "stop-guest end#1 [SYNC] flush [SYNC] flush eos ."},
	{"9.1", "9.2",
	 "start:ram#1 size:6000 block:mem/4000 block:vga/2000 [SYNC] flush eos . [active] part#1 [SYNC] flush eos . "
	 "stop-guest end#1 [SYNC] flush [SYNC] eos ."},
	{"10.0", "",
	 "start:ram#1 size:6000 block:mem/4000 block:vga/2000 [SYNC] flush eos . [active] part#1 [SYNC] flush eos . "
	 "stop-guest [device] switchover end#1 [SYNC] flush eos ."},
	{0},
};

/* The words of the main channel, with [SYNC] for each barrier. */
static void expect_barriers(struct lone *lone, const char *expected)
{
	struct build words = {0};
	const char *at, *end;

	for (at = (char *)lone->words.bytes; at < (char *)lone->words.bytes + lone->words.length; at = end + 1) {
		end = strchr(at, ' ');
		if (strncmp(at, "barrier", 7) == 0)
			build_bytes(&words, "[SYNC] ", 7);
		else if (at[0] != 'm' && strncmp(at, "connect", 7) != 0)
			build_bytes(&words, at, (size_t)(end - at + 1));
	}
	build_free(&lone->words);
	lone->words = words;
	expect_words(lone, expected);
}

static void flush_and_sync(void **state)
{
	(void)state;
	for (unsigned i = 3; i < LONE_RELEASES; i++) {
		struct lone *lone = lone_multifd(lone_releases[i], "pc");

		lone->shown |= LONE_SHOW(BARRIER);
		lone_start(lone);
		lone_until(lone, "config");
		forget_words(lone);
		lone_until(lone, "end#1");
		lone_until(lone, ".");
		expect_barriers(lone, lone_row(lone_releases[i], barriers));
		lone_run(lone);
		assert_true(lone_has_said(lone, "[completed]"));
		lone_free(lone);
	}
}

/* Machine types up to 8.0 keep the SYNC of each section. */
static void flush_by_machine(void **state)
{
	static const char *const releases[] = {"8.2", "9.2", "10.0"};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct lone *lone = lone_multifd(releases[i], "pc-i440fx-8.0");

		lone->shown |= LONE_SHOW(BARRIER);
		lone_start(lone);
		lone_until(lone, "config");
		forget_words(lone);
		lone_until(lone, "end#1");
		lone_until(lone, ".");
		expect_barriers(
			lone,
			i < 2 ? "start:ram#1 size:6000 block:mem/4000 block:vga/2000 [SYNC] eos . [active] part#1 "
				"[SYNC] eos . stop-guest end#1 [SYNC] eos ."
			      : "start:ram#1 size:6000 block:mem/4000 block:vga/2000 [SYNC] eos . [active] part#1 "
				"[SYNC] eos . stop-guest [device] end#1 [SYNC] eos .");
		lone_free(lone);
	}
}

/* The channels' own words: initial packets, pages in packets, and who finds zero pages. */
static void multifd_pages(void **state)
{
	static const struct {
		const char *release;
		enum mr_zero_detection detection;
		const char *words;
	} cases[] = {
		/* the migration thread marks zero pages on the main channel */
		{"7.2", MR_ZERO_BY_RELEASE, "part#1 zero:mem:1 m0:mem:0,2,3+sync m0:empty m1:vga:0,1+sync"},
		{"8.2", MR_ZERO_BY_RELEASE, "part#1 zero:mem:1 m0:mem:0,2,3+sync m0:empty m1:vga:0,1+sync"},
		{"9.2", MR_ZERO_LEGACY, "part#1 zero:mem:1 m0:mem:0,2,3 m0:sync m1:vga:0,1"},
		{"9.2", MR_ZERO_BY_RELEASE, "part#1 m0:mem:0,3,2/1 m0:sync m1:vga:0,1"},
		{"11.1", MR_ZERO_MULTIFD, "part#1 m0:mem:0,3,2/1 m0:sync m1:vga:0,1"},
		/* nobody does */
		{"11.1", MR_ZERO_NONE, "part#1 m0:mem:0,1,2,3 m0:sync m1:vga:0,1"},
	};

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		struct lone *lone = lone_multifd(cases[i].release, "pc");

		lone->config.zero_detection = cases[i].detection;
		lone_start(lone);
		lone->memory[0][LONE_PAGE] = 0;
		lone_until(lone, "[active]");
		forget_words(lone);
		lone_until(lone, "m1:vga");
		build_u8(&lone->words, 0);
		lone->words.length -= 2;
		lone->words.bytes[lone->words.length] = 0;
		if (strcmp((char *)lone->words.bytes, cases[i].words) != 0)
			fail_msg("%s: %s", cases[i].release, (char *)lone->words.bytes);
		lone_free(lone);
	}
}

/* A full queue that nobody can take keeps the migration thread; it says who has to go on. */
static void multifd_waits(void **state)
{
	struct lone *lone = lone_multifd("9.2", "pc");

	(void)state;
	lone_block(lone, 0, "mem", 600, 0);
	lone->shown |= LONE_SHOW(DISPATCHED);
	begin(lone);
	while (lone_step(lone, MR_SOURCE_MIGRATION) == MR_STEP_ACTION)
		continue;
	expect_words(lone, "part#1 dispatched:1 dispatched:2");
	assert_int_equal(mr_outgoing_wants(lone->source, MR_SOURCE_MIGRATION).wait, MR_SOURCE_WAIT_ACTOR);
	assert_in_range(mr_outgoing_wants(lone->source, MR_SOURCE_MIGRATION).actor, MR_SOURCE_MULTIFD,
			MR_SOURCE_MULTIFD + 1);
	lone_run(lone);
	assert_true(lone_has_said(lone, "[completed]"));
	lone_free(lone);
}

static bool is_second_page(void *argument, unsigned actor, uint32_t block, uint64_t offset)
{
	(void)argument;
	(void)actor;
	return block == 0 && offset == LONE_PAGE;
}

/* Who knows which pages are zero is asked, and no byte is looked at for that: none of these is zero, but one is told
 * so. */
static void zero_by_word(void **state)
{
	struct lone *lone = lone_new("11.1");

	(void)state;
	lone->config.is_zero = is_second_page;
	begin(lone);
	memset(lone->memory[1], 0, LONE_PAGE);
	lone_until(lone, ".");
	expect_words(lone, "part#1 page:mem:0 zero:1 page:2 page:3 page:vga:0 page:1 eos .");
	assert_int_equal(lone_statistics(lone).duplicate, 1);
	lone_free(lone);
	lone = lone_multifd("11.1", "pc");
	lone->config.is_zero = is_second_page;
	begin(lone);
	lone_run(lone);
	assert_true(lone_has_said(lone, "m0:mem:0,3,2/1"));
	assert_true(lone_has_said(lone, "m1:vga:0,1"));
	lone_free(lone);
}

/* Channels can be chosen; one that there is not counts as the canonical one. */
static void multifd_choices(void **state)
{
	struct lone *lone = lone_multifd("9.2", "pc");

	(void)state;
	begin(lone);
	lone_choose(lone, MR_CHOICE_CHANNEL, 1);
	lone_choose(lone, MR_CHOICE_CHANNEL, 9);
	lone_until(lone, ".");
	assert_true(lone_has_said(lone, "m0:vga:0,1"));
	assert_true(lone_has_said(lone, "m1:mem:0,1,2,3"));
	assert_int_equal(lone_statistics(lone).chosen[MR_CHOICE_CHANNEL], 1);
	lone_free(lone);
}

/*
 * In postcopy: 4.0 to 4.2 go on with packets, 5.0 to 8.0 send records and keep the SYNC of each section, 10.1 and later
 * send records alone, behind an extra PART with a barrier; zero pages are sent in full where senders look for them.
 */
static void multifd_postcopy(void **state)
{
	static const struct lone_row rows[] = {
		{"4.0", "4.2", "part#1 zero:mem:1 [SYNC] eos . end#1 [SYNC] eos . eof"},
		{"5.0", "8.0",
		 "part#1 page:mem:0 zero:1 page:2 page:3 page:vga:0 page:1 [SYNC] eos . end#1 [SYNC] eos . eof"},
		{"10.1", "",
		 "[postcopy-active] part#1 page:mem:0 page:1 page:2 page:3 page:vga:0 page:1 eos . end#1 eos . eof"},
		{0},
	};
	static const char *const releases[] = {"4.1", "5.2", "7.2", "10.1", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		struct lone *lone = lone_multifd(releases[i], "pc");

		lone->config.capabilities |= MR_CAPABILITY_POSTCOPY_RAM;
		lone->shown |= LONE_SHOW(BARRIER);
		lone_start(lone);
		lone->memory[0][LONE_PAGE] = 0;
		lone_until(lone, "[active]");
		forget_words(lone);
		mr_outgoing_start_postcopy(lone->source);
		lone_until(lone, "ping:2");
		if (i >= 3)
			expect_barriers(lone,
					"part#1 [SYNC] flush eos . stop-guest [device] switchover discard:mem:0+4 "
					"discard:vga:0+2 ping:2");
		lone_until(lone, "ping:4 ");
		if (i == 4)
			lone_pong(lone, 0x42);
		if (i == 4)
			lone_until(lone, "[postcopy-device]");
		read_requests(lone);
		forget_words(lone);
		lone_run(lone);
		if (i == 4)
			assert_true(lone_has_said(lone, "[postcopy-active]"));
		expect_barriers(lone, lone_row(releases[i], rows));
		lone_free(lone);
	}
}

/* With the SYNC of each section the extra PART has one, too; with legacy detection zero pages are found in postcopy. */
static void multifd_postcopy_by_machine(void **state)
{
	struct lone *lone = lone_multifd("10.1", "pc-i440fx-8.0");

	(void)state;
	lone->config.capabilities |= MR_CAPABILITY_POSTCOPY_RAM;
	lone->config.zero_detection = MR_ZERO_LEGACY;
	lone->shown |= LONE_SHOW(BARRIER);
	lone_start(lone);
	lone->memory[0][LONE_PAGE] = 0;
	lone_until(lone, "[active]");
	forget_words(lone);
	mr_outgoing_start_postcopy(lone->source);
	lone_run(lone);
	expect_barriers(lone,
			"part#1 [SYNC] eos . stop-guest [device] discard:mem:0+4 discard:vga:0+2 ping:2 package:49 ( "
			"listen full:timer#0 {timer} . ping:3 run ) ping:4 [postcopy-active] part#1 page:mem:0 zero:1 "
			"page:2 page:3 page:vga:0 page:1 eos . end#1 eos . eof");
	lone_free(lone);
}

/* ---- Zero pages, XBZRLE, RDMA ---- */

static void zero_pages(void **state)
{
	static const char *const words[] = {"part#1 zero:mem:0 page:1 zero:2 page:3 zero:vga:0 page:1 eos .",
					    "part#1 page:mem:0 page:1 page:2 page:3 page:vga:0 page:1 eos ."};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct lone *lone = lone_new("9.2");

		lone->config.zero_detection = i ? MR_ZERO_NONE : MR_ZERO_BY_RELEASE;
		lone_start(lone);
		for (unsigned page = 0; page < 4; page += 2)
			lone->memory[0][page * LONE_PAGE] = 0;
		lone->memory[1][0] = 0;
		lone_until(lone, "[active]");
		forget_words(lone);
		lone_until(lone, ".");
		expect_words(lone, words[i]);
		lone_free(lone);
	}
}

/* XBZRLE begins with the second pass; a page that is unchanged gives nothing, one that is new to the cache a PAGE. */
static void xbzrle(void **state)
{
	struct lone *lone = lone_new("7.2");
	struct mr_outgoing_statistics statistics;

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_XBZRLE;
	lone->config.xbzrle_cache_size = 8 * LONE_PAGE;
	for (unsigned i = 0; i < 2; i++)
		lone->blocks[i].cache_offset = i * 4 * LONE_PAGE;
	lone->choose_always = true;
	begin(lone);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
	lone_choose(lone, MR_CHOICE_SYNC, 1);
	lone_until(lone, ".");
	expect_words(lone, "part#1 " ALL "eos .");
	lone_write(lone, 0, 0, 9);
	lone_write(lone, 0, 1, 9);
	lone_until(lone, ".");
	expect_words(lone, "part#1 page:mem:0 page:1 eos .");
	/* one byte; none; and one that is in no cache */
	lone->memory[0][5] = 1;
	lone->dirty[0][0] = lone->dirty[0][1] = true;
	lone->dirty[1][1] = true;
	lone_until(lone, ".");
	expect_words(lone, "part#1 page:vga:1 xbzrle:mem:0=3 eos .");
	mr_outgoing_statistics(lone->source, &statistics);
	assert_int_equal(statistics.xbzrle_pages, 2);
	assert_int_equal(statistics.xbzrle_bytes, 10);
	assert_int_equal(statistics.xbzrle_cache_miss, 3);
	assert_int_equal(statistics.xbzrle_overflow, 0);
	/* so different that an encoding is longer than the page */
	for (unsigned i = 0; i < LONE_PAGE; i++)
		lone->memory[0][i] = (uint8_t)(i * 3 + 1) == lone->memory[0][i] ? 7 : i % 2 ? 9 : (uint8_t)(i * 3 + 1);
	lone->dirty[0][0] = true;
	lone_until(lone, ".");
	mr_outgoing_statistics(lone->source, &statistics);
	assert_int_equal(statistics.xbzrle_overflow, 1);
	expect_words(lone, "part#1 page:0 eos .");
	lone_free(lone);
}

/* An XBZRLE page that gives nothing at all leaves the host page empty: the search goes on within the same pass. */
static void xbzrle_nothing(void **state)
{
	struct lone *lone = lone_new("7.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_XBZRLE;
	lone->choose_always = true;
	begin(lone);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
	lone_choose(lone, MR_CHOICE_SYNC, 1);
	lone_until(lone, ".");
	lone_write(lone, 0, 0, 9);
	lone_until(lone, ".");
	forget_words(lone);
	lone->dirty[0][0] = true;
	lone_until(lone, ".");
	expect_words(lone, "part#1 eos .");
	lone_free(lone);
}

/* RDMA marks the list, each PART and the END, and nothing in postcopy. */
static void rdma_hooks(void **state)
{
	struct lone *lone = lone_new("7.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_RDMA;
	lone_start(lone);
	lone_run(lone);
	expect_words(
		lone,
		"[setup] connect:main header config:pc start:ram#1 size:6000 block:mem/4000 block:vga/2000 hook eos . "
		"[active] part#1 hook " ALL
		"eos . stop-guest end#1 hook eos . full:timer#0 {timer} . eof [completed] finished");
	lone_free(lone);
	lone = lone_new("7.2");
	lone->config.capabilities = MR_CAPABILITY_RDMA;
	begin_postcopy(lone);
	lone_run(lone);
	expect_words(lone, "part#1 " ALL "eos . end#1 eos . eof");
	lone_free(lone);
}

/* Release-ram and XBZRLE say nothing of pages that are not sent; and a guest that writes while it is looked at. */
static void page_changes_while_read(void **state)
{
	struct lone *lone = lone_new("7.2");

	(void)state;
	lone_start(lone);
	lone->memory[0][0] = 0;
	lone->write_on_look = 7;
	lone_run(lone);
	/* it was zero when it was looked at */
	assert_true(lone_has_said(lone, "zero:mem:0"));
	assert_int_equal(lone->connections[0].forward.bytes[lone->connections[0].forward.length - 200], 7);
	lone_free(lone);
}

/* Where the scan goes on between two sections: behind the page that was sent as urgent. */
static void hinted_cursor(void **state)
{
	struct lone *lone = lone_preempt("11.1", 10, 0);
	uint64_t offset;
	uint32_t block;

	(void)state;
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 1);
	lone_until(lone, ".");
	mr_outgoing_cursor(lone->source, &block, &offset);
	assert_int_equal(offset, LONE_PAGE);
	lone_request(lone, "mem", 5, 1);
	read_requests(lone);
	mr_outgoing_cursor(lone->source, &block, &offset);
	assert_int_equal(block, 0);
	assert_int_equal(offset, 6 * LONE_PAGE);
	assert_int_equal(mr_outgoing_requests(lone->source), 0);
	lone_free(lone);
}

/* The reader sends the very page that the migration thread is about to look at: nothing is left of it to release. */
static void overtaken(void **state)
{
	struct lone *lone = lone_new("9.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_PREEMPT;
	lone->config.release_ram = true;
	lone->shown |= LONE_SHOW(LOG_CLEAR) | LONE_SHOW(RELEASE);
	begin_postcopy(lone);
	lone_until(lone, "log-clear");
	lone_request(lone, "mem", 0, 1);
	read_requests(lone);
	lone_until(lone, "page:mem:1");
	expect_words(lone, "part#1 log-clear:mem:0+4 p:page:mem:0 release:mem:0+1 page:mem:1");
	lone_free(lone);
}

/* 7.2: a request in front of the huge page that is interrupted, in the same block. */
static void broken_behind_request(void **state)
{
	struct lone *lone = lone_preempt("7.2", 12, 4 * LONE_PAGE);

	(void)state;
	lone_request(lone, "mem", 4, 4);
	read_requests(lone);
	lone_until(lone, "page:mem:8");
	lone_request(lone, "mem", 0, 4);
	read_requests(lone);
	lone_until(lone, "page:mem:9");
	expect_words(lone,
		     "part#1 p:page:mem:4 p:page:5 p:page:6 p:page:7 served:mem:4+4 page:mem:8 p:page:mem:0 p:page:1 "
		     "p:page:2 p:page:3 served:mem:0+4 page:mem:9");
	lone_free(lone);
}

/* A hint that comes while a search goes on is for the next one. */
static void hint_while_searching(void **state)
{
	struct lone *lone = lone_preempt("11.1", 10, 0);
	uint64_t offset;
	uint32_t block;

	(void)state;
	lone->shown |= LONE_SHOW(ITERATION);
	lone_request(lone, "mem", 5, 1);
	read_requests(lone);
	lone_until(lone, "iteration");
	lone_request(lone, "mem", 2, 1);
	read_requests(lone);
	mr_outgoing_cursor(lone->source, &block, &offset);
	assert_int_equal(block, 0);
	assert_int_equal(offset, 0);
	lone_until(lone, ".");
	expect_words(lone,
		     "p:page:mem:5 served:mem:5+1 part#1 page:mem:6 page:7 page:8 page:9 page:vga:0 page:1 iteration:1 "
		     "p:page:2 served:mem:2+1 page:mem:0 page:3 page:4 iteration:2 page:1 iteration:3 eos .");
	lone_free(lone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scan_order),
		cmocka_unit_test(passed_over),
		cmocka_unit_test(left_out),
		cmocka_unit_test(requests_move_the_scan),
		cmocka_unit_test(stale_wrap),
		cmocka_unit_test(request_for_ignored),
		cmocka_unit_test(time_slices),
		cmocka_unit_test(section_choices),
		cmocka_unit_test(log_cleared),
		cmocka_unit_test(log_cleared_until_stop),
		cmocka_unit_test(huge_pages),
		cmocka_unit_test(partial_host_pages),
		cmocka_unit_test(huge_requests),
		cmocka_unit_test(preempt_names),
		cmocka_unit_test(preempt_names_of_parts),
		cmocka_unit_test(urgent_pages),
		cmocka_unit_test(urgent_requests),
		cmocka_unit_test(urgent_overlap),
		cmocka_unit_test(broken_huge_pages),
		cmocka_unit_test(broken_twice),
		cmocka_unit_test(early_requests),
		cmocka_unit_test(flush_and_sync),
		cmocka_unit_test(flush_by_machine),
		cmocka_unit_test(multifd_pages),
		cmocka_unit_test(multifd_waits),
		cmocka_unit_test(zero_by_word),
		cmocka_unit_test(multifd_choices),
		cmocka_unit_test(multifd_postcopy),
		cmocka_unit_test(multifd_postcopy_by_machine),
		cmocka_unit_test(zero_pages),
		cmocka_unit_test(xbzrle),
		cmocka_unit_test(xbzrle_nothing),
		cmocka_unit_test(rdma_hooks),
		cmocka_unit_test(page_changes_while_read),
		cmocka_unit_test(hinted_cursor),
		cmocka_unit_test(overtaken),
		cmocka_unit_test(broken_behind_request),
		cmocka_unit_test(hint_while_searching),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
