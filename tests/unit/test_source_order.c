/*
 * test_source_order.c: what a source sends and does, in order, release by release, as the fact sheet has it step by
 * step: precopy with and without a return path, postcopy, snapshots, and the handlers around them.
 */
#include "lone_source.h"

#define BEGIN   "[setup] connect:main header config:pc "
#define BACK    "open ping:1 "
#define ADVISE  "advise:1000/1000 "
#define LIST    "start:ram#1 size:6000 block:mem/4000 block:vga/2000 "
#define PAGES   "page:mem:0 page:1 page:2 page:3 page:vga:0 page:1 "
#define SECTION "part#1 " PAGES "eos . "
#define DEVICES "full:timer#0 {timer} . "
#define ENDING  "eof describe:2 [completed] finished"

/* ---- Precopy ---- */

static const struct lone_row precopy_rows[] = {
	{"", "8.0", BEGIN LIST "eos . [active] " SECTION "stop-guest end#1 eos . " DEVICES ENDING},
	/* 8.1 alone writes FLUSH without multifd, and twice where the last pass ends the section */
	{"8.1", "8.1",
	 BEGIN LIST "flush eos . [active] part#1 " PAGES
		    "flush eos . stop-guest end#1 flush flush eos . " DEVICES ENDING},
	{"8.2", "9.2", BEGIN LIST "eos . [active] " SECTION "stop-guest end#1 eos . " DEVICES ENDING},
	{"10.0", "", BEGIN LIST "eos . [active] " SECTION "stop-guest [device] switchover end#1 eos . " DEVICES ENDING},
	{0},
};

/* keeps SRC-001, SRC-002, SRC-006: connections, header, START, rounds, the end; each status once. */
static void precopy(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LONE_RELEASES; i++) {
		struct lone *lone = lone_new(lone_releases[i]);

		lone->description = "{}";
		lone_start(lone);
		lone_run(lone);
		expect_words(lone, lone_row(lone_releases[i], precopy_rows));
		assert_int_equal(lone_step(lone, MR_SOURCE_MIGRATION), MR_STEP_DONE);
		assert_int_equal(lone_step(lone, MR_SOURCE_RETURN), MR_STEP_DONE);
		lone_free(lone);
	}
}

static void put_ram_start(struct build *build)
{
	build_start(build, 1, "ram", 4);
	build_size(build, 6 * LONE_PAGE);
	build_block(build, "mem", 4 * LONE_PAGE);
	build_block(build, "vga", 2 * LONE_PAGE);
	build_eos(build);
	build_footer(build, 1);
}

static void put_pages(struct build *build)
{
	for (unsigned i = 0; i < 6; i++) {
		const unsigned page = i < 4 ? i : i - 4;

		build_page(build, page * LONE_PAGE, i == 0 ? "mem" : i == 4 ? "vga" : NULL, 0, LONE_PAGE);
		build->bytes[build->length - LONE_PAGE] = (uint8_t)(page + 1);
	}
}

static void put_timer(struct build *build)
{
	build_long_header(build, 4, 0, "timer", 0, 1);
	build_counted(build, "timer");
	build_footer(build, 0);
}

/* keeps SRC-001: every byte of a precopy. */
static void precopy_bytes(void **state)
{
	struct build expected = {0};
	struct lone *lone = lone_new("7.2");

	(void)state;
	lone->description = "{\"devices\": []}";
	lone_start(lone);
	lone_run(lone);
	build_header(&expected);
	build_configuration(&expected, "pc");
	put_ram_start(&expected);
	build_part(&expected, 1);
	put_pages(&expected);
	build_eos(&expected);
	build_footer(&expected, 1);
	build_end(&expected, 1);
	build_eos(&expected);
	build_footer(&expected, 1);
	put_timer(&expected);
	build_u8(&expected, 0);
	build_description(&expected, "{\"devices\": []}");
	expect_bytes(lone, 0, &expected);
	build_free(&expected);
	lone_free(lone);
}

/* keeps SRC-004: OPEN_RETURN_PATH and PING 1 stand before the first section, and the end waits for SHUT. */
static void return_path(void **state)
{
	static const struct lone_row rows[] = {
		/* no such capability */
		{"", "2.9",
		 BEGIN LIST "eos . [active] " SECTION "stop-guest end#1 eos . " DEVICES "eof [completed] finished"},
		{"2.10", "8.0", BEGIN BACK LIST "eos . [active] " SECTION "stop-guest end#1 eos . " DEVICES "eof"},
		{"8.1", "8.1",
		 BEGIN BACK LIST "flush eos . [active] part#1 " PAGES
				 "flush eos . stop-guest end#1 flush flush eos . " DEVICES "eof"},
		{"8.2", "9.2", BEGIN BACK LIST "eos . [active] " SECTION "stop-guest end#1 eos . " DEVICES "eof"},
		{"10.0", "",
		 BEGIN BACK LIST "eos . [active] " SECTION "stop-guest [device] switchover end#1 eos . " DEVICES "eof"},
		{0},
	};

	(void)state;
	for (unsigned i = 0; i < LONE_RELEASES; i++) {
		struct lone *lone = lone_new(lone_releases[i]);

		lone->config.capabilities = MR_CAPABILITY_RETURN_PATH;
		lone_start(lone);
		lone_run(lone);
		expect_words(lone, lone_row(lone_releases[i], rows));
		if (i > 0) {
			const struct mr_source_wants wants = mr_outgoing_wants(lone->source, MR_SOURCE_MIGRATION);

			/* to go on before SHUT breaks SRC-004 */
			assert_int_equal(wants.wait, MR_SOURCE_WAIT_MESSAGE);
			assert_int_equal(wants.actor, MR_SOURCE_RETURN);
			lone_pong(lone, 1);
			lone_run(lone);
			expect_words(lone, "");
			lone_shut(lone);
			lone_run(lone);
			expect_words(lone, "[completed] finished");
		}
		lone_free(lone);
	}
}

/* ---- Postcopy ---- */

#define PACKAGE_OLD "package:49 ( listen " DEVICES "ping:3 run ) ping:4 "
#define PACKAGE     "package:58 ( listen " DEVICES "ping:3 ping:42 run ) ping:4 "
#define DISCARDS    "discard:mem:0+4 discard:vga:0+2 ping:2 "
#define TAIL        SECTION "end#1 eos . eof"
#define POSTCOPY    BEGIN BACK ADVISE LIST

static const struct lone_row postcopy_rows[] = {
	{"", "8.0", POSTCOPY "eos . [active] [postcopy-active] stop-guest " DISCARDS PACKAGE_OLD TAIL},
	{"8.1", "8.1",
	 POSTCOPY "flush eos . [active] [postcopy-active] stop-guest " DISCARDS PACKAGE_OLD "part#1 " PAGES
		  "flush eos . end#1 flush flush eos . eof"},
	{"8.2", "9.2", POSTCOPY "eos . [active] [postcopy-active] stop-guest " DISCARDS PACKAGE_OLD TAIL},
	{"10.0", "10.0",
	 POSTCOPY "eos . [active] stop-guest [device] switchover " DISCARDS PACKAGE_OLD "[postcopy-active] " TAIL},
	{"10.1", "10.1",
	 POSTCOPY "eos . [active] part#1 eos . stop-guest [device] switchover " DISCARDS PACKAGE_OLD
		  "[postcopy-active] " TAIL},
	/* END waits for PONG 0x42 */
	{"10.2", "",
	 POSTCOPY "eos . [active] part#1 eos . stop-guest [device] switchover " DISCARDS PACKAGE
		  "[postcopy-device] " SECTION},
	{0},
};

static struct lone *switch_at_once(const char *release, uint32_t capabilities)
{
	struct lone *lone = lone_new(release);

	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM | capabilities;
	lone_start(lone);
	/* nothing runs yet */
	assert_false(mr_outgoing_start_postcopy(lone->source));
	assert_int_equal(lone_step(lone, MR_SOURCE_MIGRATION), MR_STEP_ACTION);
	assert_true(mr_outgoing_start_postcopy(lone->source));
	lone_run(lone);
	return lone;
}

static void expect_beginning(struct lone *lone, const char *words)
{
	const size_t length = strlen(words);

	/* a row may end with a blank */
	if (length && words[length - 1] == ' ')
		build_bytes(&lone->words, " ", 1);
	expect_words(lone, words);
}

/* keeps SRC-001, SRC-002, SRC-005, SRC-016: the switch, step by step; ADVISE stands before RAM. */
static void postcopy(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LONE_RELEASES; i++) {
		struct lone *lone = switch_at_once(lone_releases[i], 0);

		expect_beginning(lone, lone_row(lone_releases[i], postcopy_rows));
		assert_int_equal(mr_outgoing_wants(lone->source, MR_SOURCE_MIGRATION).wait, MR_SOURCE_WAIT_MESSAGE);
		if (lone->profile.on[MR_SWITCH_PING_PACKAGE_LOADED]) {
			/* an END, or the status, before PONG 0x42 breaks SRC-002 and SRC-001 */
			lone_pong(lone, 3);
			lone_run(lone);
			expect_words(lone, "");
			lone_pong(lone, 0x42);
			lone_run(lone);
			expect_words(lone, "[postcopy-active] end#1 eos . eof");
		}
		lone_shut(lone);
		lone_run(lone);
		expect_words(lone, "[completed] finished");
		lone_free(lone);
	}
}

/* PONG 0x42 is there before the rest is sent: the status changes with the next turn. */
static void package_loaded_early(void **state)
{
	struct lone *lone = lone_new("11.1");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone_start_postcopy(lone, "[postcopy-device]");
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 1);
	lone_until(lone, "page:mem:0");
	lone_pong(lone, 0x42);
	while (lone_step(lone, MR_SOURCE_RETURN) == MR_STEP_ACTION)
		continue;
	forget_words(lone);
	lone_run(lone);
	expect_words(lone,
		     "eos . [postcopy-active] part#1 page:1 page:2 page:3 page:vga:0 page:1 eos . end#1 eos . eof");
	lone_free(lone);
}

/* PONG 0x42 is there before the status is postcopy-device, which is shown all the same. */
static void package_loaded_at_once(void **state)
{
	struct lone *lone = lone_new("10.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone_start_postcopy(lone, "ping:4 ");
	lone_pong(lone, 0x42);
	while (lone_step(lone, MR_SOURCE_RETURN) == MR_STEP_ACTION)
		continue;
	forget_words(lone);
	lone_run(lone);
	expect_words(lone, "[postcopy-device] [postcopy-active] " SECTION "end#1 eos . eof");
	lone_free(lone);
}

/* keeps SRC-016: every byte of a postcopy, and of the package in it. */
static void postcopy_bytes(void **state)
{
	struct build expected = {0};
	struct lone *lone = switch_at_once("11.1", 0);
	size_t package;

	(void)state;
	build_header(&expected);
	build_configuration(&expected, "pc");
	build_command(&expected, 1, 0);
	build_ping(&expected, 1);
	build_advise(&expected, LONE_PAGE, LONE_PAGE);
	put_ram_start(&expected);
	build_part(&expected, 1);
	build_eos(&expected);
	build_footer(&expected, 1);
	build_command(&expected, 11, 0);
	build_discard(&expected, "mem", 0, 4 * LONE_PAGE);
	build_discard(&expected, "vga", 0, 2 * LONE_PAGE);
	build_ping(&expected, 2);
	package = build_package(&expected);
	build_command(&expected, 4, 0);
	put_timer(&expected);
	build_ping(&expected, 3);
	build_ping(&expected, 0x42);
	build_command(&expected, 5, 0);
	build_package_end(&expected, package);
	build_ping(&expected, 4);
	build_part(&expected, 1);
	put_pages(&expected);
	build_eos(&expected);
	build_footer(&expected, 1);
	lone_pong(lone, 0x42);
	lone_run(lone);
	build_end(&expected, 1);
	build_eos(&expected);
	build_footer(&expected, 1);
	build_u8(&expected, 0);
	expect_bytes(lone, 0, &expected);
	build_free(&expected);
	lone_free(lone);
}

/* breaks SRC-016: a package that is larger than the limit fails the migration, and the guest goes on here. */
static void package_limit(void **state)
{
	static const size_t limits[] = {5 /* LISTEN and no more */, 36, 48};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct lone *lone = lone_new("9.2");

		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
		lone->config.package_max = limits[i];
		lone_start_postcopy(lone, "ping:2");
		forget_words(lone);
		lone_run(lone);
		expect_words(lone, "start-guest [failed] failed:SRC-016");
		lone_free(lone);
	}
}

/* ---- Pause before the switch ---- */

static const struct lone_row pausing_precopy[] = {
	{"", "2.10", "stop-guest end#1"},
	{"2.11", "", "stop-guest [pre-switchover]"},
	{0},
};
static const struct lone_row paused_precopy[] = {
	{"2.11", "9.2", "[device] end#1"},
	{"10.0", "", "[device] switchover"},
	{0},
};
static const struct lone_row paused_postcopy[] = {
	{"2.11", "9.2", "[postcopy-active] discard:mem:0+4"},
	{"10.0", "", "[device] switchover"},
	{0},
};

static void expect_prefix(struct lone *lone, const char *words)
{
	if (lone->words.length < strlen(words) || memcmp(lone->words.bytes, words, strlen(words)) != 0)
		fail_msg("%s: expected %s, found %.*s", lone->release, words, (int)lone->words.length,
			 (char *)lone->words.bytes);
	forget_words(lone);
}

/* keeps SRC-002, SRC-003: pre-switchover, until it is told to go on. */
static void pause_before_switchover(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LONE_RELEASES; i++) {
		struct lone *lone = lone_new(lone_releases[i]);

		lone->config.pause_before_switchover = true;
		lone_start(lone);
		lone_until(lone, "stop-guest");
		lone->words.length -= strlen("stop-guest ");
		memmove(lone->words.bytes, lone->words.bytes + lone->words.length, strlen("stop-guest "));
		lone->words.length = strlen("stop-guest ");
		/* there is nothing to go on from: it would break SRC-003 */
		assert_false(mr_outgoing_continue(lone->source));
		lone_run(lone);
		expect_prefix(lone, lone_row(lone_releases[i], pausing_precopy));
		if (i > 0) {
			assert_int_equal(mr_outgoing_wants(lone->source, MR_SOURCE_MIGRATION).wait,
					 MR_SOURCE_WAIT_OPERATOR);
			assert_true(mr_outgoing_continue(lone->source));
			lone_run(lone);
			expect_prefix(lone, lone_row(lone_releases[i], paused_precopy));
		}
		assert_int_equal(mr_outgoing_status(lone->source), MR_SOURCE_STATUS_COMPLETED);
		lone_free(lone);
	}
}

static void pause_before_postcopy(void **state)
{
	(void)state;
	for (unsigned i = 1; i < LONE_RELEASES; i++) {
		struct lone *lone = lone_new(lone_releases[i]);

		lone->config.pause_before_switchover = true;
		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
		lone_start_postcopy(lone, "[pre-switchover]");
		forget_words(lone);
		mr_outgoing_continue(lone->source);
		lone_run(lone);
		expect_prefix(lone, lone_row(lone_releases[i], paused_postcopy));
		lone_free(lone);
	}
}

/* ---- Handlers around RAM ---- */

/* keeps SRC-001: early devices stand before RAM, by the releases that know them. */
static void early_devices(void **state)
{
	static const struct lone_row rows[] = {
		{"", "7.2", BEGIN "start:ram#0 size:6000 block:mem/4000 block:vga/2000 eos . [active] "},
		/* in the order of the list */
		{"8.0", "8.0", BEGIN "start:ram#0 size:6000 block:mem/4000 block:vga/2000 eos . full:late#1 {late} . "},
		{"8.1", "8.1",
		 BEGIN "start:ram#0 size:6000 block:mem/4000 block:vga/2000 flush eos . full:late#1 {late} . "},
		{"8.2", "10.2",
		 BEGIN "start:ram#0 size:6000 block:mem/4000 block:vga/2000 eos . full:late#1 {late} . "},
		{"11.0", "",
		 BEGIN "full:late#1 {late} . start:ram#0 size:6000 block:mem/4000 block:vga/2000 eos . [active] "},
		{0},
	};

	(void)state;
	for (unsigned i = 0; i < LONE_RELEASES; i++) {
		struct lone *lone = lone_new(lone_releases[i]);

		lone_forget_handlers(lone);
		lone_ram(lone);
		lone_handler(lone, &(struct mr_handler){.name = "late", .early = true});
		lone_start(lone);
		lone_run(lone);
		expect_prefix(lone, lone_row(lone_releases[i], rows));
		lone_free(lone);
	}
}

/* A device of a higher priority comes first, and machine types up to 7.2 know no early ones. */
static void early_devices_by_machine(void **state)
{
	struct lone *lone = lone_new("9.2");

	(void)state;
	lone_forget_handlers(lone);
	lone_ram(lone);
	lone_handler(lone, &(struct mr_handler){.name = "first", .early = true, .priority = MR_PRIORITY_VIRTIO_MEM});
	lone_start(lone);
	lone_run(lone);
	expect_prefix(lone, BEGIN "full:first#1 {first} . start:ram#0 ");
	lone_free(lone);
	lone = lone_new_machine("9.2", "pc-i440fx-7.2");
	lone_forget_handlers(lone);
	lone_ram(lone);
	lone_handler(lone, &(struct mr_handler){.name = "first", .early = true, .priority = MR_PRIORITY_VIRTIO_MEM});
	lone_start(lone);
	lone_run(lone);
	expect_prefix(lone, BEGIN "start:ram#0 ");
	lone_free(lone);
}

static const struct mr_handler vfio = {
	.name = "vfio",
	.old_style = true,
	.hooks = MR_HOOK_BIT(SAVE_SETUP) | MR_HOOK_BIT(SAVE_LIVE_PENDING) | MR_HOOK_BIT(STATE_PENDING_ESTIMATE) |
		 MR_HOOK_BIT(STATE_PENDING_EXACT) | MR_HOOK_BIT(SAVE_QUERY_PENDING) | MR_HOOK_BIT(SAVE_LIVE_ITERATE) |
		 MR_HOOK_BIT(SAVE_LIVE_COMPLETE_PRECOPY) | MR_HOOK_BIT(SAVE_COMPLETE) | MR_HOOK_BIT(SAVE_STATE) |
		 MR_HOOK_BIT(SAVE_CLEANUP) | MR_HOOK_BIT(IS_ACTIVE) | MR_HOOK_BIT(RESUME_PREPARE),
};

/* A handler that iterates: one for each round up to 8.2, both later; and it ends before devices. */
static void iterating_device(void **state)
{
	static const struct lone_row rows[] = {
		/* RAM goes on until it has nothing left; then the other one has its turn in the same round */
		{"", "7.2",
		 BEGIN LIST "eos . start:vfio#2 {vfio} . [active] part#1 " PAGES
			    "eos . part#2 {vfio} . stop-guest end#1 eos . end#2 {vfio} . full:timer#0 {timer} . "
			    "full:vfio#2 {vfio} . eof [completed] finished"},
		{"10.0", "",
		 BEGIN LIST "eos . start:vfio#2 {vfio} . [active] part#1 " PAGES
			    "eos . part#2 {vfio} . stop-guest [device] switchover end#1 eos . end#2 {vfio} . "
			    "full:timer#0 {timer} . full:vfio#2 {vfio} . eof [completed] finished"},
		{0},
	};
	static const char *const releases[] = {"2.6", "7.2", "10.0", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone_handler(lone, &vfio);
		lone_start(lone);
		lone_run(lone);
		expect_words(lone, lone_row(releases[i], rows));
		lone_free(lone);
	}
}

/* A handler that has more: up to 8.2 nobody else has a turn in its round, from 9.0 on everybody has. */
static void rounds_of_two(void **state)
{
	static const struct lone_row rows[] = {
		{"", "8.2", "part#0 {vfio} . part#0 {vfio} . stop-guest "},
		{"9.0", "", "part#0 {vfio} . part#1 page:mem:0 page:1 page:2 page:3 page:vga:0 page:1 eos . part#0 "},
		{0},
	};
	static const char *const releases[] = {"7.2", "8.2", "9.0", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone_forget_handlers(lone);
		lone_handler(lone, &vfio);
		lone_ram(lone);
		lone_start(lone);
		lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
		lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
		lone_choose(lone, MR_CHOICE_TURN, MR_TURN_COMPLETE);
		lone_until(lone, "[active]");
		forget_words(lone);
		lone_run(lone);
		expect_prefix(lone, lone_row(releases[i], rows));
		lone_free(lone);
	}
}

/* Questions are asked, and a handler that is not active is left out; one without an empty body has only a frame. */
static void inactive_handler(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	lone_handler(lone, &vfio);
	lone_answer(lone, "vfio", MR_HOOK_IS_ACTIVE, 0);
	lone->no_bodies = true;
	lone->shown |= LONE_SHOW(HOOK);
	lone_start(lone);
	lone_run(lone);
	expect_words(
		lone, BEGIN LIST
		"eos . hook:vfio.is_active [active] hook:vfio.is_active " SECTION
		"hook:vfio.is_active hook:vfio.is_active hook:vfio.is_active stop-guest end#1 eos . "
		"hook:vfio.is_active full:timer#0 . full:vfio#2 . eof hook:vfio.save_cleanup [completed] finished");
	lone_free(lone);
}

/* keeps SRC-010: what a device still has to send keeps the source from completing. */
static void pending_device(void **state)
{
	static const char *const releases[] = {"7.2", "8.2", "10.1", "11.1"};
	static const enum mr_hook hooks[] = {MR_HOOK_SAVE_LIVE_PENDING, MR_HOOK_STATE_PENDING_EXACT,
					     MR_HOOK_STATE_PENDING_ESTIMATE, MR_HOOK_SAVE_QUERY_PENDING};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone_handler(lone, &vfio);
		lone_pending(lone, "vfio", hooks[i], (struct mr_pending){.precopy = 1});
		lone_start(lone);
		lone_until(lone, "part#2");
		/* to complete now breaks SRC-010 */
		lone_until(lone, "part#2");
		assert_false(lone_has_said(lone, "stop-guest"));
		lone->answer_count = 0;
		lone_run(lone);
		assert_true(lone_has_said(lone, "[completed]"));
		lone_free(lone);
	}
}

/* keeps SRC-001: handlers that cannot go on in postcopy end before the discards, and do not stand in for RAM. */
static void switch_with_device(void **state)
{
	static const struct lone_row rows[] = {
		{"", "9.2",
		 "[postcopy-active] stop-guest end#2 {vfio} . discard:mem:0+4 discard:vga:0+2 ping:2 package:"},
		{"10.1", "",
		 "part#1 eos . stop-guest [device] switchover end#2 {vfio} . discard:mem:0+4 discard:vga:0+2 ping:2 "
		 "package:"},
		{0},
	};
	static const char *const releases[] = {"2.6", "7.2", "9.2", "10.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
		lone_handler(lone, &vfio);
		lone_start(lone);
		lone_until(lone, "[active]");
		mr_outgoing_start_postcopy(lone->source);
		forget_words(lone);
		lone_run(lone);
		expect_prefix(lone, lone_row(releases[i], rows));
		lone_free(lone);
	}
}

/* A section that a handler cannot write ends the migration; so does a switch that a handler refuses. */
static void failing_handlers(void **state)
{
	static const struct {
		const char *release;
		enum mr_hook hook;
		bool postcopy;
		const char *words;
	} cases[] = {
		{"7.2", MR_HOOK_SAVE_SETUP, false, "[failed] failed:HND-013"},
		{"9.2", MR_HOOK_SAVE_SETUP, false, "[failed] failed:HND-013"},
		{"11.1", MR_HOOK_SAVE_SETUP, false, "[failing] [failed] failed:HND-013"},
		{"7.2", MR_HOOK_SAVE_LIVE_ITERATE, false, "[failed] failed:HND-013"},
		{"11.1", MR_HOOK_SAVE_LIVE_ITERATE, false, "[failing] [failed] failed:HND-013"},
		{"7.2", MR_HOOK_SAVE_LIVE_COMPLETE_PRECOPY, false, "start-guest [failed] failed:HND-013"},
		{"11.1", MR_HOOK_SAVE_COMPLETE, false, "[failing] start-guest [failed] failed:HND-013"},
		{"7.2", MR_HOOK_SAVE_LIVE_COMPLETE_PRECOPY, true, "start-guest [failed] failed:HND-013"},
		{"11.1", MR_HOOK_SAVE_COMPLETE, true, "[failing] start-guest [failed] failed:HND-013"},
		{"11.1", MR_HOOK_SAVE_POSTCOPY_PREPARE, true, "[failing] [failed] failed:HND-013"},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct lone *lone = lone_new(cases[i].release);
		struct mr_handler refusing = vfio;
		char *end;

		refusing.hooks |= MR_HOOK_BIT(SAVE_POSTCOPY_PREPARE);
		lone->config.capabilities = cases[i].postcopy ? MR_CAPABILITY_POSTCOPY_RAM : 0;
		lone_handler(lone, &refusing);
		lone_answer(lone, "vfio", cases[i].hook, 5);
		lone_start(lone);
		lone_step(lone, MR_SOURCE_MIGRATION);
		mr_outgoing_start_postcopy(lone->source);
		lone_run(lone);
		build_u8(&lone->words, 0);
		end = (char *)lone->words.bytes + lone->words.length - 2 - strlen(cases[i].words);
		assert_memory_equal(end, cases[i].words, strlen(cases[i].words));
		assert_int_equal(mr_outgoing_error(lone->source)->rule, MR_HND_013);
		lone_free(lone);
	}
}

/* The same of a device's state that has no description: within the package and in the last stage. */
static void failing_devices(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct lone *lone = lone_new("8.2");

		lone->config.capabilities = i == 1   ? MR_CAPABILITY_POSTCOPY_RAM
					    : i == 2 ? MR_CAPABILITY_BACKGROUND_SNAPSHOT
						     : 0;
		lone_answer(lone, "timer", MR_HOOK_SAVE_STATE, 5);
		lone_start(lone);
		lone_step(lone, MR_SOURCE_MIGRATION);
		mr_outgoing_start_postcopy(lone->source);
		lone_run(lone);
		assert_true(lone_has_said(lone, "failed:HND-013"));
		assert_true(lone_has_said(lone, "start-guest"));
		assert_false(lone_has_said(lone, "package:"));
		lone_free(lone);
	}
}

/* ---- Other streams ---- */

/* keeps SRC-001: a background snapshot: RAM, then the devices as they were before it; no END, no log, no status more.
 */
static void background_snapshot(void **state)
{
	static const char *const releases[] = {"6.2", "8.2", "9.0", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone->config.capabilities = MR_CAPABILITY_BACKGROUND_SNAPSHOT | MR_CAPABILITY_RETURN_PATH;
		lone->description = "{}";
		lone->shown |= LONE_SHOW(PROTECT) | LONE_SHOW(UNPROTECT) | LONE_SHOW(LOG_START) | LONE_SHOW(LOG_SYNC);
		lone_start(lone);
		lone_run(lone);
		expect_words(lone, BEGIN LIST
			     "eos . [active] stop-guest protect:mem:0+4 protect:vga:0+2 start-guest "
			     "part#1 page:mem:0 unprotect:mem:0+1 page:1 unprotect:mem:1+1 page:2 unprotect:mem:2+1 "
			     "page:3 unprotect:mem:3+1 page:vga:0 unprotect:vga:0+1 page:1 unprotect:vga:1+1 eos . "
			     "( full:timer#0 {timer} . eof describe:2 ) [completed] finished");
		lone_free(lone);
	}
}

/* A page that the guest wants to write to jumps the queue, and the scan goes on behind it. */
static void write_faults(void **state)
{
	struct lone *lone = lone_new("7.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_BACKGROUND_SNAPSHOT;
	lone->config.guest_stopped = true;
	lone_block(lone, 2, "empty", 0, 0);
	lone_block(lone, 3, "shared", 1, 0);
	lone->blocks[3].ignored = true;
	lone->shown |= LONE_SHOW(PROTECT) | LONE_SHOW(REQUEST);
	lone_start(lone);
	assert_false(mr_outgoing_write_fault(lone->source, 4, 0));
	lone_until(lone, "page:mem:0");
	forget_words(lone);
	assert_true(mr_outgoing_write_fault(lone->source, 0, 2 * LONE_PAGE));
	assert_true(mr_outgoing_write_fault(lone->source, 0, 0));
	assert_false(mr_outgoing_write_fault(lone->source, 0, 4 * LONE_PAGE));
	assert_false(mr_outgoing_write_fault(lone->source, 3, 0));
	lone_run(lone);
	/* a guest that stood before goes on standing */
	expect_words(lone, "page:2 served:mem:2+1 dropped:mem:0+1 page:3 page:vga:0 page:1 page:mem:1 eos . "
			   "( full:timer#0 {timer} . eof ) [completed] finished");
	lone_free(lone);
	lone = lone_new("7.2");
	lone_start(lone);
	lone_until(lone, "page:mem:0");
	assert_false(mr_outgoing_write_fault(lone->source, 0, 0));
	lone_free(lone);
}

/* A write into the middle of a huge page: all of it goes out before it is unprotected, which is a whole host page. */
static void huge_write_faults(void **state)
{
	struct lone *lone = lone_new("7.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_BACKGROUND_SNAPSHOT;
	lone_block(lone, 0, "mem", 8, 4 * LONE_PAGE);
	lone->shown |= LONE_SHOW(UNPROTECT) | LONE_SHOW(REQUEST);
	lone_start(lone);
	lone_until(lone, "page:mem:0");
	forget_words(lone);
	assert_true(mr_outgoing_write_fault(lone->source, 0, 6 * LONE_PAGE));
	lone_until(lone, "served");
	expect_words(lone, "page:1 page:2 page:3 unprotect:mem:0+4 page:4 page:5 page:6 page:7 unprotect:mem:4+4 "
			   "served:mem:4+1");
	lone_free(lone);
}

/* A snapshot's PART that a handler cannot write, and one of two rounds. */
static void snapshot_rounds(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_BACKGROUND_SNAPSHOT;
	lone_start(lone);
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
	lone_choose(lone, MR_CHOICE_SECTION_ENDS, 1);
	lone_until(lone, "[active]");
	forget_words(lone);
	lone_run(lone);
	expect_words(lone, "stop-guest start-guest part#1 page:mem:0 eos . "
			   "part#1 page:1 page:2 page:3 page:vga:0 page:1 eos . "
			   "( full:timer#0 {timer} . eof ) [completed] finished");
	lone_free(lone);
	lone = lone_new("8.2");
	lone->config.capabilities = MR_CAPABILITY_BACKGROUND_SNAPSHOT;
	lone_handler(lone, &vfio);
	lone_answer(lone, "vfio", MR_HOOK_SAVE_LIVE_ITERATE, 5);
	lone_start(lone);
	lone_run(lone);
	assert_true(lone_has_said(lone, "failed:HND-013"));
	lone_free(lone);
}

/* A guest that stood before the migration: it is not stopped, and not started after a failure. */
static void stopped_guest(void **state)
{
	struct lone *lone = lone_new("9.2");

	(void)state;
	lone->config.guest_stopped = true;
	lone_start(lone);
	lone_run(lone);
	expect_words(lone, BEGIN LIST "eos . [active] " SECTION "end#1 eos . " DEVICES "eof [completed] finished");
	lone_free(lone);
	lone = lone_new("9.2");
	lone->config.guest_stopped = true;
	lone_answer(lone, "timer", MR_HOOK_SAVE_STATE, 5);
	lone_start(lone);
	lone_run(lone);
	assert_true(lone_has_said(lone, "failed:HND-013"));
	assert_false(lone_has_said(lone, "start-guest"));
	lone_free(lone);
}

/* COLO is announced from 3.1 to 10.2; there, no SWITCHOVER_START is sent (obs), and the last pass is none. */
static void colo(void **state)
{
	static const struct lone_row rows[] = {
		{"", "3.0", BEGIN "start:ram#1 "},
		{"3.1", "10.2", BEGIN "colo start:ram#1 "},
		{"11.0", "", BEGIN "start:ram#1 "},
		{0},
	};

	(void)state;
	for (unsigned i = 0; i < LONE_RELEASES; i++) {
		struct lone *lone = lone_new(lone_releases[i]);

		lone->config.capabilities = MR_CAPABILITY_COLO;
		lone_start(lone);
		lone_run(lone);
		assert_false(lone_has_said(lone, "switchover"));
		expect_prefix(lone, lone_row(lone_releases[i], rows));
		lone_free(lone);
	}
}

/* The description: none, one that is too long; and a snapshot's. */
static void descriptions(void **state)
{
	char *text = malloc(MR_DESCRIPTION_MAX + 2);

	(void)state;
	memset(text, ' ', MR_DESCRIPTION_MAX + 1);
	text[MR_DESCRIPTION_MAX + 1] = 0;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new("9.2");

		lone->config.capabilities = i < 2 ? 0 : MR_CAPABILITY_BACKGROUND_SNAPSHOT;
		lone->description = i % 2 ? text : "";
		lone_start(lone);
		lone_run(lone);
		assert_true(lone_has_said(lone, "[completed]"));
		assert_false(lone_has_said(lone, "describe"));
		lone_free(lone);
	}
	free(text);
}

/* keeps SRC-003: postcopy that was asked for but is not needed any more is none up to 10.0. */
static void postcopy_too_late(void **state)
{
	static const struct lone_row rows[] = {
		{"", "9.2", "stop-guest end#1 "},
		{"10.0", "10.0", "stop-guest [device] switchover end#1 "},
		/* not one discard */
		{"10.1", "", "part#1 eos . stop-guest [device] switchover ping:2 package:"},
		{0},
	};

	(void)state;
	for (unsigned i = 0; i < LONE_RELEASES; i++) {
		struct lone *lone = lone_new(lone_releases[i]);

		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
		lone->description = "{}";
		lone_start(lone);
		lone_until(lone, "page:1 ");
		lone_until(lone, "eos");
		lone_until(lone, ".");
		forget_words(lone);
		mr_outgoing_start_postcopy(lone->source);
		lone_run(lone);
		expect_prefix(lone, lone_row(lone_releases[i], rows));
		lone_free(lone);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(precopy),
		cmocka_unit_test(precopy_bytes),
		cmocka_unit_test(return_path),
		cmocka_unit_test(postcopy),
		cmocka_unit_test(package_loaded_early),
		cmocka_unit_test(package_loaded_at_once),
		cmocka_unit_test(postcopy_bytes),
		cmocka_unit_test(package_limit),
		cmocka_unit_test(pause_before_switchover),
		cmocka_unit_test(pause_before_postcopy),
		cmocka_unit_test(early_devices),
		cmocka_unit_test(early_devices_by_machine),
		cmocka_unit_test(iterating_device),
		cmocka_unit_test(rounds_of_two),
		cmocka_unit_test(inactive_handler),
		cmocka_unit_test(pending_device),
		cmocka_unit_test(switch_with_device),
		cmocka_unit_test(failing_handlers),
		cmocka_unit_test(failing_devices),
		cmocka_unit_test(background_snapshot),
		cmocka_unit_test(write_faults),
		cmocka_unit_test(huge_write_faults),
		cmocka_unit_test(snapshot_rounds),
		cmocka_unit_test(stopped_guest),
		cmocka_unit_test(colo),
		cmocka_unit_test(descriptions),
		cmocka_unit_test(postcopy_too_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
