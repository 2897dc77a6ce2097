/*
 * test_source_setup.c: what a source begins with: its configuration and the limits of that, connections, header and
 * subsections, first commands, the list of blocks.
 */
#include "lone_source.h"

#include <stdio.h>
#include <stdlib.h>

#define REST "start:ram#1 size:6000 block:mem/4000 block:vga/2000 eos . [active] "

/* What is said until the loop begins, [setup] and connections left out. */
static void expect_beginning(struct lone *lone, const char *expected)
{
	lone->shown &= ~LONE_SHOW(CONNECT);
	lone_start(lone);
	lone_until(lone, "[active]");
	expect_words(lone, expected);
	lone_free(lone);
}

/* ---- Configurations ---- */

static const char *size_error(const struct lone *lone)
{
	static char error[96];

	error[0] = 0;
	return mr_outgoing_size(&lone->config, error) ? "" : error;
}

static void refuse(struct lone *lone, const char *error)
{
	struct mr_outgoing_config *config = &lone->config;

	assert_string_equal(size_error(lone), error);
	assert_null(mr_outgoing_init(lone, SIZE_MAX, config));
	lone_free(lone);
}

static void impossible_configurations(void **state)
{
	static char long_name[258];
	struct lone *lone;

	(void)state;
	memset(long_name, 'x', sizeof(long_name) - 1);
	for (uint32_t size = 0; size < 3; size++) {
		static const uint32_t sizes[] = {512, 3000, 131072};

		lone = lone_new("7.2");
		lone->config.target_page_size = sizes[size];
		refuse(lone, "target page size: expected a power of two from 1024 to 65536");
	}
	lone = lone_new("7.2");
	lone->config.host_page_size = 5000;
	refuse(lone, "host page size: expected a power of two up to 1 GiB");
	lone = lone_new("7.2");
	lone->config.host_page_size = UINT32_C(1) << 31;
	refuse(lone, "host page size: expected a power of two up to 1 GiB");
	lone = lone_new("7.2");
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone->config.host_page_size = 1024;
	refuse(lone, "target page size: expected at most the host page for postcopy");
	lone = lone_new("9.2");
	lone->config.capabilities = MR_CAPABILITY_IGNORE_SHARED | MR_CAPABILITY_POSTCOPY_RAM;
	refuse(lone, "capabilities: expected x-ignore-shared or postcopy-ram, not both");
	lone = lone_new("9.2");
	lone->config.capabilities = MR_CAPABILITY_MAPPED_RAM;
	refuse(lone, "capabilities: expected neither mapped-ram nor compress of a source");
	lone = lone_new("7.2");
	lone->config.capabilities = MR_CAPABILITY_COMPRESS;
	refuse(lone, "capabilities: expected neither mapped-ram nor compress of a source");
	lone = lone_new("7.2");
	lone->config.block_count = MR_BLOCKS_MAX + 1;
	refuse(lone, "RAM blocks: expected at most 1024");
	lone = lone_new("7.2");
	lone->config.multifd_channels = 256;
	refuse(lone, "multifd channels: expected at most 255");
	lone = lone_new("7.2");
	lone->config.connections_max = 513;
	refuse(lone, "connections: expected at most 512");
	lone = lone_new("7.2");
	lone->config.package_max = (size_t)UINT32_MAX + 1;
	refuse(lone, "the limit of a package: expected at most 2^32 - 1 bytes");
	lone = lone_new("7.2");
	lone->config.handlers = NULL;
	refuse(lone, "handlers: expected a list with ram and all of its hooks");
	lone = lone_new("7.2");
	lone_forget_handlers(lone);
	lone_handler(lone, &(struct mr_handler){.name = "timer"});
	refuse(lone, "handlers: expected a list with ram and all of its hooks");
	lone = lone_new("7.2");
	lone->entries[1].handler.hooks &= ~MR_HOOK_BIT(HAS_POSTCOPY);
	refuse(lone, "handlers: expected a list with ram and all of its hooks");
	lone = lone_new("7.2");
	lone->config.memory.page = NULL;
	refuse(lone, "guest memory: expected a way to read it");
	lone = lone_new("7.2");
	lone->config.throttle_maximum = 100;
	refuse(lone, "throttle of the vCPUs: expected at most 99 percent");
	lone = lone_new("7.2");
	lone->config.throttle_initial = 100;
	refuse(lone, "throttle of the vCPUs: expected at most 99 percent");
	lone = lone_new("7.2");
	lone->config.throttle_increment = UINT32_MAX;
	refuse(lone, "throttle of the vCPUs: expected at most 99 percent");
	lone = lone_new("7.2");
	lone->config.machine = long_name;
	refuse(lone, "machine type: expected at most 255 bytes");
	lone = lone_new("7.2");
	lone->config.capabilities = MR_CAPABILITY_XBZRLE;
	lone->config.xbzrle_cache_size = 3 * LONE_PAGE;
	refuse(lone, "xbzrle-cache-size: expected a power of two of target pages");
}

static void impossible_blocks(void **state)
{
	static char long_name[258];
	static const char *const names[] = {NULL, "", long_name};
	struct lone *lone;

	(void)state;
	memset(long_name, 'x', sizeof(long_name) - 1);
	for (unsigned i = 0; i < 3; i++) {
		lone = lone_new("7.2");
		lone->blocks[1].name = names[i];
		refuse(lone, "a block's name: expected 1 to 255 bytes");
	}
	lone = lone_new("7.2");
	lone->blocks[1].page_size = 12288;
	refuse(lone, "a block's page size: expected a power of two up to 1 GiB");
	lone = lone_new("7.2");
	lone->blocks[1].page_size = UINT64_C(1) << 31;
	refuse(lone, "a block's page size: expected a power of two up to 1 GiB");
	lone = lone_new("7.2");
	lone->blocks[1].used_length = 5000;
	refuse(lone, "a block's length: expected whole target pages, at most 1 PiB");
	lone = lone_new("7.2");
	lone->blocks[1].used_length = UINT64_C(1) << 51;
	refuse(lone, "a block's length: expected whole target pages, at most 1 PiB");
	lone = lone_new("7.2");
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone_block(lone, 1, "vga", 3, 2 * LONE_PAGE);
	refuse(lone, "a block's length: expected whole host pages for postcopy");
	/* unless it is not sent, or there is no postcopy */
	lone = lone_new("7.2");
	lone_block(lone, 1, "vga", 3, 2 * LONE_PAGE);
	assert_string_equal(size_error(lone), "");
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone->blocks[1].ignored = true;
	assert_string_equal(size_error(lone), "");
	lone_free(lone);
}

static void impossible_methods(void **state)
{
	struct lone *lone = lone_new("7.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_MULTIFD;
	lone->config.method = mr_multifd_method_by_name("zlib");
	lone->config.method_level = 77;
	refuse(lone, "multifd: expected a level that the method has");
}

static void memory_too_small(void **state)
{
	struct lone *lone = lone_new("7.2");
	char error[96];
	const size_t size = mr_outgoing_size(&lone->config, error);
	uint8_t *memory = calloc(1, size);

	(void)state;
	assert_null(mr_outgoing_init(memory, size - 1, &lone->config));
	free(memory);
	mr_outgoing_clear(NULL);
	lone_free(lone);
}

/* With 0 for all that has a default; the newest release without a profile. */
static void defaults(void **state)
{
	struct lone *lone = lone_new("11.1");
	struct mr_outgoing_statistics statistics;
	uint64_t pages;
	uint32_t block;
	uint64_t offset;

	(void)state;
	lone->config.profile = (struct mr_profile){0};
	lone->config.machine = NULL;
	lone->config.max_bandwidth = 0;
	lone->config.choices = NULL;
	lone->config.clear_bitmap_shift = 40;
	lone_start(lone);
	assert_int_equal(mr_outgoing_status(lone->source), MR_SOURCE_STATUS_NONE);
	lone_run(lone);
	assert_true(lone_has_said(lone, "config: "));
	assert_true(lone_has_said(lone, "switchover"));
	mr_outgoing_statistics(lone->source, &statistics);
	assert_int_equal(statistics.total, 6 * LONE_PAGE);
	assert_int_equal(statistics.remaining, 0);
	assert_non_null(mr_outgoing_dirty_bits(lone->source, 1, &pages));
	assert_int_equal(pages, 2);
	assert_null(mr_outgoing_dirty_bits(lone->source, 2, &pages));
	mr_outgoing_cursor(lone->source, &block, &offset);
	assert_true(block < 2 && offset <= 2 * LONE_PAGE);
	lone_free(lone);
}

static void names(void **state)
{
	(void)state;
	assert_string_equal(mr_source_actor_name(MR_SOURCE_MIGRATION), "migration");
	assert_string_equal(mr_source_actor_name(MR_SOURCE_RETURN), "return");
	assert_string_equal(mr_source_actor_name(MR_SOURCE_MULTIFD), "multifd");
	assert_string_equal(mr_source_actor_name(MR_SOURCE_COUNT - 1), "multifd");
	assert_null(mr_source_actor_name(MR_SOURCE_COUNT));
	assert_string_equal(mr_source_action_name(MR_SOURCE_ACTION_SEND), "send");
	assert_string_equal(mr_source_action_name(MR_SOURCE_ACTION_RELEASE), "release");
	assert_string_equal(mr_source_action_name(MR_SOURCE_ACTION_KIND_COUNT), "unknown");
	for (unsigned i = 0; i < MR_SOURCE_ACTION_KIND_COUNT; i++)
		assert_non_null(mr_source_action_name((enum mr_source_action_kind)i));
	assert_string_equal(mr_source_status_name(MR_SOURCE_STATUS_NONE), "none");
	assert_string_equal(mr_source_status_name(MR_SOURCE_STATUS_POSTCOPY_RECOVER_SETUP), "postcopy-recover-setup");
	assert_string_equal(mr_source_status_name(MR_SOURCE_STATUS_COUNT), "unknown");
	for (unsigned i = 0; i < MR_SOURCE_STATUS_COUNT; i++)
		assert_non_null(mr_source_status_name((enum mr_source_status)i));
}

/* ---- Inputs that are refused ---- */

static void inputs(void **state)
{
	struct lone *lone = lone_new("11.1");
	struct mr_source_action action;

	(void)state;
	lone_block(lone, 2, "shared", 1, 0);
	lone->blocks[2].ignored = true;
	lone_start(lone);
	assert_false(mr_outgoing_complete(lone->source, MR_SOURCE_MIGRATION, 0));
	assert_false(mr_outgoing_complete(lone->source, MR_SOURCE_MULTIFD, 0));
	assert_int_equal(mr_outgoing_step(lone->source, MR_SOURCE_MULTIFD, &action), MR_STEP_DONE);
	assert_int_equal(mr_outgoing_step(lone->source, MR_SOURCE_COUNT, &action), MR_STEP_DONE);
	assert_int_equal(mr_outgoing_wants(lone->source, MR_SOURCE_MULTIFD).wait, MR_SOURCE_WAIT_WORK);
	assert_int_equal(mr_outgoing_wants(lone->source, MR_SOURCE_RETURN).wait, MR_SOURCE_WAIT_NOTHING);
	lone_until(lone, "[active]");
	/* no such channel, no such block, no such page, half a page, a block that is not sent */
	mr_outgoing_feed(lone->source, MR_OUTGOING_CHANNELS_MAX, NULL, 0, false, 0);
	mr_outgoing_broken(lone->source, 7, 5);
	assert_false(mr_outgoing_dirty(lone->source, 3, 0, LONE_PAGE));
	assert_false(mr_outgoing_dirty(lone->source, 0, 5 * LONE_PAGE, LONE_PAGE));
	assert_false(mr_outgoing_dirty(lone->source, 0, 4 * LONE_PAGE, LONE_PAGE));
	assert_false(mr_outgoing_dirty(lone->source, 0, 1, LONE_PAGE));
	assert_false(mr_outgoing_dirty(lone->source, 0, 0, 1));
	assert_false(mr_outgoing_dirty(lone->source, 2, 0, LONE_PAGE));
	assert_false(mr_outgoing_plug(lone->source, 2, 0, LONE_PAGE, false));
	assert_false(mr_outgoing_free_hint(lone->source, 2, 0, LONE_PAGE));
	assert_true(mr_outgoing_dirty(lone->source, 0, 4 * LONE_PAGE, 0));
	/* these would break SRC-003: there is nothing to switch, continue, pause, recover */
	assert_false(mr_outgoing_start_postcopy(lone->source));
	assert_false(mr_outgoing_continue(lone->source));
	assert_false(mr_outgoing_pause(lone->source));
	assert_false(mr_outgoing_recover(lone->source));
	/* the clock never goes back */
	mr_outgoing_set_time(lone->source, 5);
	mr_outgoing_set_time(lone->source, 3);
	lone_run(lone);
	assert_true(lone_has_said(lone, "[completed]"));
	assert_false(mr_outgoing_start_postcopy(lone->source));
	assert_false(mr_outgoing_cancel(lone->source));
	assert_false(mr_outgoing_pause(lone->source));
	assert_int_equal(mr_outgoing_error(lone->source)->rule, MR_NO_RULE);
	lone_free(lone);
}

/* ---- Connections ---- */

/* keeps SRC-015: the preempt channel is opened with the main one in 7.1 and 7.2, later at the switch. */
static void connections(void **state)
{
	static const struct lone_row rows[] = {
		{"7.1", "7.2", "[setup] connect:main connect:preempt header"},
		{"8.0", "", "[setup] connect:main header"},
		{0},
	};
	static const char *const releases[] = {"7.2", "8.1", "9.0", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new(releases[i]);

		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_POSTCOPY_PREEMPT;
		lone_start(lone);
		lone_until(lone, "header");
		expect_words(lone, lone_row(releases[i], rows));
		lone_free(lone);
	}
	/* by the machine's property */
	{
		struct lone *lone = lone_new_machine("9.2", "pc-i440fx-7.2");

		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_POSTCOPY_PREEMPT;
		lone_start(lone);
		lone_until(lone, "header");
		expect_words(lone, "[setup] connect:main connect:preempt header");
		lone_free(lone);
	}
}

static void multifd_connections(void **state)
{
	struct lone *lone = lone_new("9.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_MULTIFD;
	lone->config.multifd_channels = 3;
	lone_start(lone);
	/* a sender whose connection is not there yet */
	assert_int_equal(lone_step(lone, MR_SOURCE_MULTIFD), MR_STEP_WAITS);
	lone_until(lone, "header");
	expect_words(lone, "[setup] connect:main connect:multifd connect:multifd connect:multifd header");
	assert_int_equal(lone_step(lone, MR_SOURCE_MULTIFD + 3), MR_STEP_DONE);
	lone_run(lone);
	assert_true(lone_has_said(lone, "m2:init"));
	assert_int_equal(lone_step(lone, MR_SOURCE_MULTIFD), MR_STEP_DONE);
	lone_free(lone);
}

/* breaks SRC-030: connections that cannot be made fail the migration, and nothing is sent. */
static void failed_connections(void **state)
{
	static const struct {
		const char *release;
		enum mr_role role;
		const char *words;
	} cases[] = {
		{"7.2", MR_ROLE_MAIN, "[setup] connect:main [failed] failed:SRC-030"},
		{"11.1", MR_ROLE_MAIN, "[setup] connect:main [failing] [failed] failed:SRC-030"},
		{"7.2", MR_ROLE_PREEMPT, "[setup] connect:main connect:preempt [failed] failed:SRC-030"},
		{"7.2", MR_ROLE_MULTIFD,
		 "[setup] connect:main connect:preempt connect:multifd [failed] failed:SRC-030"},
	};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new(cases[i].release);

		lone->config.capabilities =
			MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_POSTCOPY_PREEMPT | MR_CAPABILITY_MULTIFD;
		lone->failures[0].role = cases[i].role;
		lone->failures[0].error = 111;
		lone->failure_count = 1;
		lone_start(lone);
		lone_run(lone);
		expect_words(lone, cases[i].words);
		assert_string_equal(lone->error.found, "error 111");
		lone_free(lone);
	}
}

/* Fewer connections than are needed. */
static void too_many_connections(void **state)
{
	struct lone *lone = lone_new("9.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_MULTIFD;
	lone->config.connections_max = 2;
	lone_start(lone);
	lone_run(lone);
	expect_words(lone, "[setup] connect:main connect:multifd [failed] failed:SRC-030");
	assert_string_equal(lone->error.expected, "at most 2 connections");
	lone_free(lone);
}

/* ---- Header, configuration, subsections ---- */

static void machine_types(void **state)
{
	struct lone *lone = lone_new_machine("2.6", "pc-i440fx-2.3");

	(void)state;
	/* neither configuration nor footers */
	lone_start(lone);
	lone_run(lone);
	expect_words(lone,
		     "[setup] connect:main header start:ram#1 size:6000 block:mem/4000 block:vga/2000 eos [active] "
		     "part#1 page:mem:0 page:1 page:2 page:3 page:vga:0 page:1 eos stop-guest end#1 eos "
		     "full:timer#0 {timer} eof [completed] finished");
	lone_free(lone);
	/* machine types up to 9.2 know no SWITCHOVER_START */
	lone = lone_new_machine("11.1", "pc-i440fx-9.2");
	lone_start(lone);
	lone_run(lone);
	assert_false(lone_has_said(lone, "switchover"));
	lone_free(lone);
}

static void page_bits(void **state)
{
	struct lone *lone = lone_new("2.6");

	(void)state;
	/* page bits are told since 2.8, if they are not those of the smallest page */
	lone->config.target_page_size = 16384;
	lone->config.host_page_size = 16384;
	lone_block(lone, 0, "mem", 1, 0);
	lone_block(lone, 1, "vga", 1, 0);
	expect_beginning(lone,
			 "[setup] header config:pc start:ram#1 size:8000 block:mem/4000 block:vga/4000 eos . [active]");
	lone = lone_new("2.11");
	lone->config.target_page_size = 16384;
	lone_block(lone, 0, "mem", 1, 0);
	lone_block(lone, 1, "vga", 1, 0);
	expect_beginning(lone, "[setup] header config:pc sub:target-page-bits/1=0000000e "
			       "start:ram#1 size:8000 block:mem/4000 block:vga/4000 eos . [active]");
	lone = lone_new("2.11");
	lone->config.target_page_size = 16384;
	lone->config.minimum_page_bits = 14;
	lone_block(lone, 0, "mem", 1, 0);
	lone_block(lone, 1, "vga", 1, 0);
	expect_beginning(lone,
			 "[setup] header config:pc start:ram#1 size:8000 block:mem/4000 block:vga/4000 eos . [active]");
	lone = lone_new("11.1");
	lone->config.target_page_size = 1024;
	lone->config.minimum_page_bits = 10;
	lone_block(lone, 0, "mem", 1, 0);
	lone_block(lone, 1, "vga", 1, 0);
	expect_beginning(lone,
			 "[setup] header config:pc start:ram#1 size:800 block:mem/400 block:vga/400 eos . [active]");
}

static void listed_capabilities(void **state)
{
	struct lone *lone;

	(void)state;
	/* the list has the one that it knows: be32 1, 0x0f, x-ignore-shared */
	for (unsigned i = 0; i < LONE_RELEASES; i++) {
		static const struct lone_row rows[] = {
			{"", "3.1",
			 "[setup] header config:pc start:ram#1 size:6000 "
			 "block:mem/4000+0000000100000000 block:vga/2000+0000000200000000 eos . [active]"},
			/* a byte says whether the block is ignored */
			{"4.0", "4.0",
			 "[setup] header config:pc sub:capabilities/1=000000010f782d69676e6f72652d736861726564 "
			 "start:ram#1 size:6000 block:mem/4000+000000010000000000 "
			 "block:vga/2000+000000020000000001 eos . [active]"},
			{"8.1", "8.1",
			 "[setup] header config:pc sub:capabilities/1=000000010f782d69676e6f72652d736861726564 "
			 "start:ram#1 size:6000 block:mem/4000+0000000100000000 "
			 "block:vga/2000+0000000200000000 flush eos . [active]"},
			{"4.1", "",
			 "[setup] header config:pc sub:capabilities/1=000000010f782d69676e6f72652d736861726564 "
			 "start:ram#1 size:6000 block:mem/4000+0000000100000000 "
			 "block:vga/2000+0000000200000000 eos . [active]"},
			{0},
		};

		lone = lone_new(lone_releases[i]);
		lone->config.capabilities = MR_CAPABILITY_IGNORE_SHARED;
		lone->blocks[1].ignored = true;
		expect_beginning(lone, lone_row(lone_releases[i], rows));
	}
}

static void uuid(void **state)
{
	static const char with[] = "[setup] header config:pc sub:uuid/1=0102030405060708090a0b0c0d0e0f10 " REST;
	static const char without[] = "[setup] header config:pc " REST;
	static const struct {
		const char *release;
		uint32_t capabilities;
		bool known;
		const char *words;
	} cases[] = {
		{"4.1", MR_CAPABILITY_VALIDATE_UUID, true, without},
		{"4.2", MR_CAPABILITY_VALIDATE_UUID, true, with},
		{"11.1", MR_CAPABILITY_VALIDATE_UUID, true, with},
		{"11.1", MR_CAPABILITY_VALIDATE_UUID, false, without},
		{"11.1", 0, true, without},
	};

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		struct lone *lone = lone_new(cases[i].release);
		char words[200];

		lone->config.capabilities = cases[i].capabilities;
		lone->config.uuid_known = cases[i].known;
		for (uint8_t j = 0; j < 16; j++)
			lone->config.uuid[j] = (uint8_t)(j + 1);
		memcpy(words, cases[i].words, strlen(cases[i].words));
		words[strlen(cases[i].words) - 1] = 0;
		expect_beginning(lone, words);
	}
}

/* ---- First commands ---- */

/* keeps SRC-005: the OR of the page sizes of what is sent; up to 2.8 the host's own. */
static void advise(void **state)
{
	static const struct lone_row rows[] = {
		{"", "2.8",
		 "[setup] header config:pc open ping:1 advise:1000/1000 "
		 "start:ram#1 size:13000 block:mem/10000 block:vga/2000 block:shared/1000 eos . [active]"},
		{"8.1", "8.1",
		 "[setup] header config:pc open ping:1 advise:5000/1000 start:ram#1 size:13000 "
		 "block:mem/10000+0000000000004000 block:vga/2000 block:shared/1000 flush eos . [active]"},
		{"2.9", "",
		 "[setup] header config:pc open ping:1 advise:5000/1000 start:ram#1 size:13000 "
		 "block:mem/10000+0000000000004000 block:vga/2000 block:shared/1000 eos . [active]"},
		{0},
	};

	(void)state;
	for (unsigned i = 0; i < LONE_RELEASES; i++) {
		struct lone *lone = lone_new(lone_releases[i]);

		lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
		lone_block(lone, 0, "mem", 16, 4 * LONE_PAGE);
		lone_block(lone, 2, "shared", 1, 0);
		lone->blocks[2].page_size = i == 0 ? 0 : 8 * LONE_PAGE;
		lone->blocks[2].ignored = true;
		/* a page size of an ignored block in the sum, or one that is not told, breaks SRC-005 */
		if (i > 0)
			lone->blocks[2].page_size = 0;
		expect_beginning(lone, lone_row(lone_releases[i], rows));
	}
}

/* A block that is ignored counts for nothing in the sum, but is listed with its own page size. */
static void advise_ignores(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone_block(lone, 1, "vga", 4, 2 * LONE_PAGE);
	lone->blocks[1].ignored = true;
	expect_beginning(lone, "[setup] header config:pc open ping:1 advise:1000/1000 "
			       "start:ram#1 size:8000 block:mem/4000 block:vga/4000+0000000000002000 eos . [active]");
}

static void advise_empty(void **state)
{
	static const struct lone_row rows[] = {
		{"", "2.10", "[setup] header config:pc start:ram#1"},
		{"2.11", "", "[setup] header config:pc advise start:ram#1"},
		{0},
	};

	(void)state;
	for (unsigned i = 0; i < LONE_RELEASES; i++) {
		struct lone *lone = lone_new(lone_releases[i]);
		char words[256] = "";

		lone->config.capabilities = MR_CAPABILITY_DIRTY_BITMAPS;
		lone->shown &= ~LONE_SHOW(CONNECT);
		lone_start(lone);
		lone_until(lone, "start:ram");
		snprintf(words, sizeof(words), "%s", lone_row(lone_releases[i], rows));
		lone->words.length = strlen(words) + 1;
		expect_words(lone, words);
		lone_free(lone);
	}
}

/* keeps SRC-006: with huge pages and no postcopy, no page size is listed; HOOK is RDMA's. */
static void block_list(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	lone_block(lone, 0, "mem", 4, 4 * LONE_PAGE);
	lone_block(lone, 2, "empty", 0, 0);
	lone_block(lone, 3, "a", 1, 0);
	/* another order, or a block that is missing, breaks SRC-006 */
	expect_beginning(lone, "[setup] header config:pc start:ram#1 size:7000 block:mem/4000 block:vga/2000 "
			       "block:empty/0 block:a/1000 eos . [active]");
	lone = lone_new("8.2");
	lone->config.capabilities = MR_CAPABILITY_RDMA;
	expect_beginning(
		lone,
		"[setup] header config:pc start:ram#1 size:6000 block:mem/4000 block:vga/2000 hook eos . [active]");
	/* no RAM at all */
	lone = lone_new("8.2");
	lone->config.block_count = 0;
	expect_beginning(lone, "[setup] header config:pc start:ram#1 size:0 eos . [active]");
	/* a host page larger than the target's, which is ordinary here */
	lone = lone_new("8.2");
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone->config.host_page_size = 2 * LONE_PAGE;
	lone_block(lone, 1, "vga", 2, LONE_PAGE);
	expect_beginning(lone, "[setup] header config:pc open ping:1 advise:3000/1000 start:ram#1 size:6000 "
			       "block:mem/4000 block:vga/2000+0000000000001000 eos . [active]");
}

/* A source whose RAM is nothing: END follows at once. */
static void no_ram(void **state)
{
	struct lone *lone = lone_new("8.2");

	(void)state;
	lone->config.block_count = 0;
	lone_start(lone);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
	lone_until(lone, "[active]");
	forget_words(lone);
	lone_run(lone);
	expect_words(lone, "part#1 eos . stop-guest end#1 eos . full:timer#0 {timer} . eof [completed] finished");
	lone_free(lone);
}

/* keeps SRC-002: devices that have to be unplugged first, by the releases that wait for it. */
static void wait_unplug(void **state)
{
	static const struct lone_row rows[] = {
		{"", "4.1", "[setup] header config:pc " REST},
		{"8.1", "8.1",
		 "[setup] header config:pc start:ram#1 size:6000 block:mem/4000 block:vga/2000 flush eos . "
		 "[wait-unplug] unplug [active] "},
		{"4.2", "",
		 "[setup] header config:pc start:ram#1 size:6000 block:mem/4000 block:vga/2000 eos . "
		 "[wait-unplug] unplug [active] "},
		{0},
	};

	(void)state;
	for (unsigned i = 0; i < LONE_RELEASES; i++) {
		struct lone *lone = lone_new(lone_releases[i]);
		const char *row = lone_row(lone_releases[i], rows);
		char words[200] = "";

		memcpy(words, row, strlen(row) - 1);
		lone->config.unplug_first = true;
		expect_beginning(lone, words);
	}
}

/* Methods that give no stream, or no payload; the first fails the configuration, the second the migration. */
static unsigned streams_left;

static void *scarce_stream(size_t page_size, int level)
{
	(void)page_size;
	(void)level;
	return streams_left && streams_left-- ? &streams_left : NULL;
}

static void forget_stream(void *stream)
{
	(void)stream;
}

static long no_payload(void *stream, const uint8_t *const *pages, uint32_t count, uint8_t *out, size_t capacity)
{
	(void)stream;
	(void)pages;
	(void)count;
	(void)out;
	(void)capacity;
	return -1;
}

static void failing_method(void **state)
{
	static const struct mr_multifd_method refusing = {
		.name = "refusing",
		.flag = MR_MULTIFD_FLAG_ZSTD,
		.send_setup = scarce_stream,
		.send_cleanup = forget_stream,
		.send_prepare = no_payload,
	};
	struct lone *lone = lone_new("9.2");
	char error[96];
	void *memory;

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_MULTIFD;
	lone->config.multifd_channels = 2;
	lone->config.method = &refusing;
	streams_left = 1;
	memory = calloc(1, mr_outgoing_size(&lone->config, error));
	assert_null(mr_outgoing_init(memory, SIZE_MAX, &lone->config));
	free(memory);
	streams_left = 2;
	lone_start(lone);
	lone_run(lone);
	assert_true(lone_has_said(lone, "failed:MFS-013"));
	lone_free(lone);
	/* 4.1 has packets in postcopy, too: no recovery helps there */
	lone = lone_new("4.1");
	lone->config.capabilities = MR_CAPABILITY_MULTIFD | MR_CAPABILITY_POSTCOPY_RAM;
	lone->config.multifd_channels = 2;
	lone->config.method = &refusing;
	streams_left = 2;
	lone_start_postcopy(lone, "ping:4 ");
	forget_words(lone);
	lone_run(lone);
	assert_true(lone_has_said(lone, "failed:MFS-013"));
	assert_false(lone_has_said(lone, "[postcopy-paused]"));
	lone_free(lone);
}

/* Defaults that releases have had: the bandwidth, and the limit of a package. */
static void defaults_of_old(void **state)
{
	struct lone *lone = lone_new("2.11");

	(void)state;
	lone_block(lone, 0, "mem", 900, 0);
	lone->config.max_bandwidth = 0;
	lone->config.package_max = UINT32_MAX;
	lone_start(lone);
	lone_run(lone);
	/* 3.2 MiB in 100 ms */
	assert_int_equal(lone_statistics(lone).pages, 818);
	lone_free(lone);
	lone = lone_new("2.11");
	lone->config.package_max = 4096;
	lone_start(lone);
	lone_run(lone);
	assert_int_equal(mr_outgoing_consumed(lone->source, 0), 0);
	assert_int_equal(mr_outgoing_consumed(lone->source, 9), 0);
	lone_free(lone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(impossible_configurations),
		cmocka_unit_test(impossible_blocks),
		cmocka_unit_test(impossible_methods),
		cmocka_unit_test(memory_too_small),
		cmocka_unit_test(defaults),
		cmocka_unit_test(names),
		cmocka_unit_test(inputs),
		cmocka_unit_test(connections),
		cmocka_unit_test(multifd_connections),
		cmocka_unit_test(failed_connections),
		cmocka_unit_test(too_many_connections),
		cmocka_unit_test(machine_types),
		cmocka_unit_test(page_bits),
		cmocka_unit_test(listed_capabilities),
		cmocka_unit_test(uuid),
		cmocka_unit_test(advise),
		cmocka_unit_test(advise_ignores),
		cmocka_unit_test(advise_empty),
		cmocka_unit_test(block_list),
		cmocka_unit_test(no_ram),
		cmocka_unit_test(wait_unplug),
		cmocka_unit_test(failing_method),
		cmocka_unit_test(defaults_of_old),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
