/*
 * test_machine_pages.c: pages at the destination: the block list, precopy's records, and postcopy's host pages from
 * their target pages; statuses and ends of migrations that go well or do not.
 */
#include "machine_support.h"

#include <stdio.h>

enum { MEM_BYTES = WORLD_PAGES * PAGE };

static const struct setup precopy = {0};
static const struct setup postcopy = {.capabilities = MR_CAPABILITY_POSTCOPY_RAM};

static const struct mr_incoming_block huge_blocks[] = {
	{.name = "mem", .used_length = MEM_BYTES},
	{.name = "huge", .used_length = 2 * HUGE_PAGE, .page_size = HUGE_PAGE, .not_zeroable = true},
};

static struct setup with_huge(const char *release, bool strict)
{
	return (struct setup){
		.release = release,
		.strict = strict,
		.capabilities = MR_CAPABILITY_POSTCOPY_RAM,
		.blocks = huge_blocks,
		.block_count = 2,
	};
}

static struct build *stream_of(struct world *world)
{
	return &world->connections[0].bytes;
}

static void show_and_run(struct world *world)
{
	world_show(world, 0, SIZE_MAX);
	world_run(world);
}

/* ---- The block list ---- */

struct listed {
	const char *name;
	uint64_t used_length, page_size;
};

static struct world *list_blocks(const struct setup *setup, const struct listed *blocks, size_t count, bool advised)
{
	struct world *world = world_new(setup);
	struct build *build = stream_of(world);
	uint64_t total = 0;

	for (size_t i = 0; i < count; i++)
		total += blocks[i].used_length;
	put_begin(build);
	if (advised)
		put_advise(world, build);
	build_start(build, RAM_SECTION, "ram", 4);
	build_size(build, total);
	for (size_t i = 0; i < count; i++) {
		build_block(build, blocks[i].name, blocks[i].used_length);
		if (blocks[i].page_size)
			build_be64(build, blocks[i].page_size);
	}
	build_eos(build);
	build_footer(build, RAM_SECTION);
	show_and_run(world);
	return world;
}

/* keeps PC-021 */
static void listed_blocks_are_ours(void **state)
{
	static const struct listed blocks[] = {{"huge", 2 * HUGE_PAGE, HUGE_PAGE}, {"mem", MEM_BYTES, 0}};
	const struct setup setup = with_huge("7.2", false);
	struct world *world = list_blocks(&setup, blocks, 2, true);

	(void)state;
	expect_said(world, "main ram-loaded 0 number 1");
	assert_int_equal(world->count[MR_ACTION_RESIZE], 0);
	world_free(world);
}

/* breaks PC-021: another name, another page size */
static void listed_blocks_that_are_not_ours(void **state)
{
	static const struct listed other_name = {"men", MEM_BYTES, 0};
	static const struct listed other_page[] = {{"mem", MEM_BYTES, 0}, {"huge", 2 * HUGE_PAGE, 2 * HUGE_PAGE}};
	const struct setup setup = with_huge("7.2", false);
	struct world *world = list_blocks(&precopy, &other_name, 1, false);

	(void)state;
	expect_failed(world, MR_PC_021);
	world_free(world);
	world = list_blocks(&setup, other_page, 2, true);
	expect_failed(world, MR_PC_021);
	world_free(world);
	/* A page of such a block, too. */
	world = world_new(&precopy);
	put_begin(stream_of(world));
	put_block_list(world, stream_of(world));
	put_page_section(stream_of(world), "men", 0, 1);
	show_and_run(world);
	expect_failed(world, MR_PC_021);
	world_free(world);
}

static const struct mr_incoming_block resizable = {
	.name = "mem", .used_length = 8 * PAGE, .max_length = WORLD_PAGES * PAGE};

/* keeps PC-022: up and down, in precopy and after ADVISE; a tail that grew is emptied */
static void blocks_are_resized(void **state)
{
	struct setup setup = postcopy;

	(void)state;
	setup.blocks = &resizable;
	setup.block_count = 1;
	for (unsigned advised = 0; advised < 2; advised++)
		for (uint64_t pages = 4; pages <= WORLD_PAGES; pages += 12) {
			const struct listed block = {"mem", pages * PAGE, 0};
			struct world *world = list_blocks(&setup, &block, 1, advised);

			assert_int_equal(world->count[MR_ACTION_RESIZE], 1);
			expect_said(world, "main ram-loaded 0 number 1");
			assert_int_equal(world_said(world, "main discard mem 0x8000+0x8000"), advised && pages > 8);
			world_free(world);
		}
}

/* breaks PC-022: beyond the maximum, not possible for the host, or when postcopy has begun */
static void blocks_that_cannot_be_resized(void **state)
{
	static const struct listed longer = {"mem", (WORLD_PAGES + 1) * PAGE, 0}, shorter = {"mem", 4 * PAGE, 0};
	struct setup setup = postcopy;
	struct world *world;

	(void)state;
	setup.blocks = &resizable;
	setup.block_count = 1;
	world = list_blocks(&setup, &longer, 1, true);
	expect_failed(world, MR_PC_022);
	assert_int_equal(world->count[MR_ACTION_RESIZE], 0);
	world_free(world);

	world = world_new(&setup);
	put_begin(stream_of(world));
	build_ram_start(stream_of(world), shorter.name, shorter.used_length);
	world_fail(world, MR_ACTION_RESIZE, 0, HOST_EINVAL);
	show_and_run(world);
	expect_failed(world, MR_PC_022);
	world_free(world);

	world = world_new(&setup);
	put_advised(world, stream_of(world));
	build_discard(stream_of(world), "mem", 0, PAGE);
	build_ram_start(stream_of(world), shorter.name, shorter.used_length);
	show_and_run(world);
	expect_failed(world, MR_PC_022);
	assert_int_equal(world->count[MR_ACTION_RESIZE], 0);
	world_free(world);
}

/* ---- Precopy ---- */

static struct world *precopy_world(const struct setup *setup)
{
	struct world *world = world_new(setup);

	put_begin(stream_of(world));
	put_block_list(world, stream_of(world));
	put_section(stream_of(world));
	return world;
}

static void put_compressed(struct build *build, uint64_t offset, uint8_t byte)
{
	uint8_t page[PAGE], out[PAGE];
	size_t length;

	memset(page, byte, sizeof(page));
	length = mr_page_deflate(page, sizeof(page), 1, out, sizeof(out));
	assert_int_not_equal(length, 0);
	build_page_start(build, offset, 0x100, "mem");
	build_be32(build, (uint32_t)length);
	build_bytes(build, out, length);
}

/* keeps PC-017 PC-018 PC-023: every kind of page is written, and counts as received */
static void precopy_writes_every_kind(void **state)
{
	static const uint8_t patch[] = {0, 1, 0x77};
	const struct setup setup = {.capabilities = MR_CAPABILITY_COMPRESS | MR_CAPABILITY_XBZRLE};
	struct world *world = precopy_world(&setup);
	struct build *build = stream_of(world);

	(void)state;
	build_page(build, 0, "mem", 0x11, PAGE);
	build_zero(build, PAGE, NULL);
	build_page_start(build, 2 * PAGE, 0x002, NULL);
	build_u8(build, 0x5a);
	build_xbzrle(build, 0, NULL, patch, sizeof(patch));
	put_compressed(build, MEM_BYTES - PAGE, 0x33);
	put_section_end(build);
	memset(world->memory[0], 0xff, sizeof(world->memory[0]));
	show_and_run(world);
	expect_said(world, "main ram-loaded 0 number 2");
	assert_int_equal(world->memory[0][0], 0x77);
	assert_int_equal(world->memory[0][1], 0x11);
	assert_int_equal(world->memory[0][PAGE], 0);
	assert_int_equal(world->memory[0][2 * PAGE], 0x5a);
	assert_int_equal(world->memory[0][3 * PAGE], 0xff);
	assert_int_equal(world->memory[0][MEM_BYTES - 1], 0x33);
	for (uint64_t i = 0; i < WORLD_PAGES; i++)
		assert_int_equal(mr_incoming_is_received(world->machine, 0, i * PAGE), i < 3 || i == WORLD_PAGES - 1);
	world_free(world);
}

/* breaks PC-017: records that a release does not know, by the switches of its profile */
static void precopy_records_by_release(void **state)
{
	static const struct {
		const char *release;
		uint32_t capabilities;
		bool compressed, flush;
	} cases[] = {
		{"2.6", 0, true, false},
		{"2.10", 0, false, false},
		{"2.10", MR_CAPABILITY_COMPRESS, true, false},
		{"8.0", MR_CAPABILITY_COMPRESS, true, false},
		{"8.1", MR_CAPABILITY_COMPRESS, true, true},
		{"9.0", MR_CAPABILITY_COMPRESS, true, true},
		{"9.1", MR_CAPABILITY_COMPRESS, false, true},
		{"11.1", 0, false, true},
	};

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
		const bool flush = i % 2;
		const struct setup setup = {.release = cases[i / 2].release, .capabilities = cases[i / 2].capabilities};
		struct world *world = precopy_world(&setup);

		if (flush)
			build_be64(stream_of(world), 0x200);
		else
			put_compressed(stream_of(world), 0, 1);
		put_section_end(stream_of(world));
		show_and_run(world);
		if (flush ? cases[i / 2].flush : cases[i / 2].compressed)
			expect_said(world, "main ram-loaded 0 number 2");
		else
			expect_failed(world, MR_PC_017);
		world_free(world);
	}
}

/* breaks PC-018: behind the end of the block */
static void precopy_behind_the_end(void **state)
{
	(void)state;
	for (uint64_t beyond = 0; beyond < 2; beyond++) {
		struct world *world = precopy_world(&precopy);

		build_page(stream_of(world), MEM_BYTES + (beyond << 40), "mem", 1, PAGE);
		show_and_run(world);
		expect_failed(world, MR_PC_018);
		expect_said(world, "main ram-loaded -22 number 2");
		world_free(world);
	}
}

/* The stream ends behind so many bytes: how the load fails, and whether the page is told. */
static void check_cut(const char *release, size_t length, int sequence, int result, bool told)
{
	const struct setup setup = {.release = release};
	struct world *world = precopy_world(&setup);
	char line[64];

	build_page(stream_of(world), 0, "mem", 1, PAGE);
	stream_of(world)->length = length;
	world_end(world, 0, 0);
	world_run(world);
	expect_failed(world, MR_STR_026);
	snprintf(line, sizeof(line), "main ram-loaded %d number %d", result, sequence);
	expect_said(world, line);
	assert_int_equal(world->count[MR_ACTION_RAM_RECORD], told);
	assert_int_equal(world->memory[0][0], 0);
	world_free(world);
}

/* breaks STR-026: in precopy a cut shows as QEMU finds it, which up to 8.2 reads zeros behind the end */
static void precopy_that_is_cut(void **state)
{
	enum { WORD = 8, NAME = 1 + 3 };
	struct world *world = precopy_world(&precopy);
	const size_t page = stream_of(world)->length;
	size_t list;

	(void)state;
	world_free(world);
	world = world_new(&precopy);
	put_begin(stream_of(world));
	build_start(stream_of(world), 2, "ram", 4);
	list = stream_of(world)->length + WORD;
	world_free(world);
	check_cut("7.2", list, 1, -22, false);
	check_cut("11.1", list + 7, 1, -22, false);
	for (size_t i = 0; i < WORD; i++) {
		check_cut("8.2", page + i, 2, -22, false);
		check_cut("9.0", page + i, 2, -5, false);
	}
	for (size_t i = 0; i < NAME; i++)
		check_cut("9.0", page + WORD + i, 2, -22, false);
	for (size_t i = WORD + NAME; i < WORD + NAME + PAGE; i += 500)
		check_cut("7.2", page + i, 2, -5, true);
}

/* What does not decode is refused by the rule of its encoding, and the page still counts (breaks PC-023). */
static void precopy_pages_that_do_not_decode(void **state)
{
	static const uint8_t patch[] = {1};
	const struct setup setup = {.capabilities = MR_CAPABILITY_XBZRLE};
	struct world *world = precopy_world(&setup);

	(void)state;
	build_xbzrle(stream_of(world), PAGE, "mem", patch, sizeof(patch));
	show_and_run(world);
	expect_failed(world, MR_XBZ_005);
	assert_true(mr_incoming_is_received(world->machine, 0, PAGE));
	world_free(world);
}

/* ---- Postcopy: ordinary pages ---- */

/* keeps PC-016 PC-034 PC-036: placed first, marked then; zeros as zeros, the rest by a copy */
static void postcopy_places_and_marks(void **state)
{
	struct world *world = world_running(&postcopy);
	struct build *build = stream_of(world);

	(void)state;
	put_page_section(build, "mem", 0, 0x11);
	put_page_section(build, "mem", PAGE, 0);
	world_show(world, 0, SIZE_MAX);
	world_run_actor_until(world, MR_ACTOR_LISTEN, "listen place mem 0x0");
	assert_false(mr_incoming_is_received(world->machine, 0, 0));
	world_run(world);
	expect_order(world, "listen place mem 0x0 length", "listen marked mem 0x0", "listen ram-loaded 0 postcopy",
		     "listen place mem 0x1000 zero", "listen marked mem 0x1000", NULL);
	assert_true(mr_incoming_is_received(world->machine, 0, 0));
	assert_int_equal(world->memory[0][17], 0x11);
	assert_true(world->present[0][1]);
	assert_int_equal(world->count[MR_ACTION_RAM_RECORD], 0);
	world_free(world);
}

/* breaks PC-016: a body that begins before LISTEN is read by precopy's rules, whatever is on its way */
static void bodies_before_listen_are_precopy(void **state)
{
	struct world *world = world_new(&postcopy);

	(void)state;
	put_discarded(world, stream_of(world));
	put_page_section(stream_of(world), "mem", 0, 1);
	show_and_run(world);
	assert_int_equal(world->count[MR_ACTION_PLACE], 0);
	expect_said(world, "main ram-record mem 0x0");
	world_free(world);
}

/* breaks PC-035: a page that is there is not placed again; it stays as it was */
static void a_page_placed_twice(void **state)
{
	struct world *world = world_running(&postcopy);

	(void)state;
	put_page_section(stream_of(world), "mem", 0, 0x11);
	put_page_section(stream_of(world), "mem", 0, 0x22);
	show_and_run(world);
	expect_order(world, "listen marked mem 0x0", "listen place mem 0x0", "listen ram-loaded -17 postcopy",
		     "listen pause", "listen status postcopy-paused", NULL);
	assert_int_equal(world_said(world, "listen marked mem 0x0"), 1);
	assert_int_equal(world->memory[0][0], 0x11);
	assert_true(mr_incoming_is_received(world->machine, 0, 0));
	world_free(world);
}

/* keeps PC-035: each page placed once; breaks PC-036: what the host did not place is not marked */
static void a_placement_that_fails(void **state)
{
	struct world *world = world_running(&postcopy);

	(void)state;
	put_page_section(stream_of(world), "mem", 0, 0x11);
	world_fail(world, MR_ACTION_PLACE, 0, HOST_ENOMEM);
	show_and_run(world);
	assert_int_equal(world->count[MR_ACTION_MARKED], 0);
	assert_false(mr_incoming_is_received(world->machine, 0, 0));
	expect_said(world, "listen ram-loaded -12 postcopy");
	assert_int_equal(mr_incoming_status(world->machine), MR_STATUS_POSTCOPY_PAUSED);
	world_free(world);
}

/* A machine that listens, and whose package has not come to RUN: any failure is final and names its rule. */
static struct world *world_listening(const struct setup *setup)
{
	struct world *world = world_new(setup);
	struct build *build = stream_of(world);
	size_t start;

	put_discarded(world, build);
	start = build_package(build);
	put_listen(build);
	build_ping(build, 3);
	put_run(build);
	build_package_end(build, start);
	world_show(world, 0, SIZE_MAX);
	world_run_until(world, "main command-done POSTCOPY_LISTEN");
	return world;
}

/* What stands in the main channel after LISTEN, with the main loader asleep in its package. */
static void run_listen(struct world *world)
{
	bool moved = true;

	world_show(world, 0, SIZE_MAX);
	while (moved) {
		moved = world_step(world, MR_ACTOR_LISTEN) == MR_STEP_ACTION;
		moved |= world_step(world, MR_ACTOR_FAULT) == MR_STEP_ACTION;
	}
}

/* breaks PC-017 PC-018 PC-035: kinds that postcopy does not have, an offset behind the end, a page twice */
static void postcopy_refuses(void **state)
{
	static const uint8_t patch[] = {0, 1, 0x77};
	static const enum mr_rule rules[] = {MR_PC_017, MR_PC_018, MR_PC_035, MR_PC_017, MR_PC_017, MR_RAM_011};

	(void)state;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		const struct setup setup = {
			.release = "8.0", .strict = i == 5, .capabilities = MR_CAPABILITY_POSTCOPY_RAM};
		struct world *world = world_listening(&setup);
		struct build *build = stream_of(world);

		put_section(build);
		if (i == 0)
			build_xbzrle(build, 0, "mem", patch, sizeof(patch));
		else if (i == 1)
			build_zero(build, MEM_BYTES, "mem");
		else if (i == 2)
			build_zero(build, 0, "mem"), build_zero(build, 0, NULL);
		else if (i == 3)
			build_be64(build, 0x200);
		else if (i == 4)
			build_size(build, MEM_BYTES), build_block(build, "mem", MEM_BYTES);
		else
			build_page_start(build, 0, 0x002, "mem"), build_u8(build, 0x5a);
		put_section_end(build);
		run_listen(world);
		expect_failed(world, rules[i]);
		world_free(world);
	}
}

/* Up to 8.1 a ZERO with any byte is taken, and placed as the page that it is. */
static void a_page_full_of_one_byte(void **state)
{
	struct world *world = world_running(&postcopy);

	(void)state;
	put_section(stream_of(world));
	build_page_start(stream_of(world), 0, 0x002, "mem");
	build_u8(stream_of(world), 0x5a);
	put_section_end(stream_of(world));
	show_and_run(world);
	expect_said(world, "listen marked mem 0x0");
	assert_int_equal(world->memory[0][PAGE - 1], 0x5a);
	world_free(world);
}

/* ---- Postcopy: huge pages ---- */

static void put_huge(struct build *build, const uint64_t *pages, size_t count, uint8_t byte)
{
	put_section(build);
	for (size_t i = 0; i < count; i++) {
		if (byte)
			build_page(build, pages[i] * PAGE, "huge", (uint8_t)(byte + pages[i]), PAGE);
		else
			build_zero(build, pages[i] * PAGE, "huge");
	}
	put_section_end(build);
}

static const uint64_t ascending[] = {0, 1, 2, 3}, mixed[] = {2, 0, 3, 1};

/* keeps PC-030 PC-031 PC-032 PC-034: in any order, placed once with the last; all zero, by a copy of zeros */
static void huge_pages_are_put_together(void **state)
{
	const struct setup setup = with_huge("7.2", true);
	struct world *world = world_running(&setup);

	(void)state;
	put_huge(stream_of(world), mixed, 4, 0x20);
	show_and_run(world);
	expect_order(world, "listen ram-record huge 0x2000 postcopy", "listen ram-record huge 0x0 postcopy",
		     "listen ram-record huge 0x3000 postcopy", "listen place huge 0x0 length 0x4000",
		     "listen marked huge 0x0", NULL);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(world->memory[1][i * PAGE], 0x20 + i);
		assert_true(mr_incoming_is_received(world->machine, 1, (uint64_t)i * PAGE));
	}
	put_section(stream_of(world));
	for (uint64_t i = 4; i < 8; i++)
		build_zero(stream_of(world), i * PAGE, "huge");
	put_section_end(stream_of(world));
	show_and_run(world);
	/* breaks PC-034: this block's zeros cannot be placed as zeros. */
	expect_said(world, "listen place huge 0x4000 zero by-copy");
	world_free(world);
}

/* breaks PC-030: a target page of another host page, or of another block, between them */
static void two_host_pages_at_once(void **state)
{
	static const uint64_t crossing[] = {0, 1, 4};
	struct setup setup = with_huge("7.2", false);

	(void)state;
	for (unsigned other_block = 0; other_block < 2; other_block++) {
		struct world *world = world_listening(&setup);

		put_huge(stream_of(world), crossing, other_block ? 2 : 3, 0x20);
		if (other_block)
			put_page_section(stream_of(world), "mem", 0, 1);
		run_listen(world);
		expect_failed(world, MR_PC_030);
		assert_int_equal(world->count[MR_ACTION_PLACE], 0);
		world_free(world);
	}
}

/* breaks PC-031: a target page twice, another one never: strict refuses, releases count and place */
static void a_repeated_target_page(void **state)
{
	static const uint64_t repeated[] = {0, 1, 1, 3};

	(void)state;
	for (unsigned strict = 0; strict < 2; strict++) {
		const struct setup setup = with_huge("7.2", strict);
		struct world *world = world_listening(&setup);

		put_huge(stream_of(world), repeated, 4, 0x20);
		run_listen(world);
		if (strict)
			expect_failed(world, MR_PC_031);
		else
			expect_said(world, "listen marked huge 0x0");
		world_free(world);
	}
}

/* breaks PC-032: releases before 5.0 want ascending order */
static void target_pages_in_the_old_order(void **state)
{
	(void)state;
	for (unsigned newer = 0; newer < 2; newer++)
		for (unsigned ordered = 0; ordered < 2; ordered++) {
			const struct setup setup = with_huge(newer ? "5.0" : "4.2", false);
			struct world *world = world_listening(&setup);

			put_huge(stream_of(world), ordered ? ascending : mixed, 4, 0x20);
			run_listen(world);
			if (newer || ordered)
				expect_said(world, "listen marked huge 0x0");
			else
				expect_failed(world, MR_PC_032);
			world_free(world);
		}
}

/* keeps PC-033 from 7.0 on; breaks PC-033 before: the first half is forgotten, and the rest makes no page */
static void a_host_page_across_sections(void **state)
{
	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		const struct setup setup = with_huge(newer ? "7.0" : "6.2", false);
		struct world *world = world_running(&setup);

		put_huge(stream_of(world), ascending, 2, 0x20);
		put_huge(stream_of(world), ascending + 2, 2, 0x20);
		show_and_run(world);
		assert_int_equal(world->count[MR_ACTION_PLACE], newer ? 1 : 0);
		assert_int_equal(mr_incoming_is_received(world->machine, 1, 0), newer);
		world_free(world);
	}
}

/* keeps PRE-001: two channels put two host pages together, each with its own last block */
static void two_channels_independently(void **state)
{
	struct setup setup = with_huge("8.2", true);
	struct world *world;
	struct build *urgent;

	(void)state;
	setup.capabilities |= MR_CAPABILITY_POSTCOPY_PREEMPT;
	world = world_running(&setup);
	urgent = &world->connections[1].bytes;
	put_section(stream_of(world));
	for (uint64_t i = 0; i < 4; i++) {
		build_page(stream_of(world), i * PAGE, i ? NULL : "huge", (uint8_t)(0x20 + i), PAGE);
		build_page(urgent, (4 + i) * PAGE, i ? NULL : "huge", (uint8_t)(0x30 + i), PAGE);
	}
	build_page(stream_of(world), 0, "mem", 0x41, PAGE);
	build_page(urgent, PAGE, "mem", 0x42, PAGE);
	put_section_end(stream_of(world));
	world_show(world, 0, SIZE_MAX);
	world_show(world, 1, SIZE_MAX);
	world_run(world);
	expect_said(world, "listen marked huge 0x0");
	expect_said(world, "preempt marked huge 0x4000");
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(world->memory[1][i * PAGE], i < 4 ? 0x20 + i : 0x30 + i - 4);
	assert_int_equal(world->memory[0][PAGE], 0x42);
	world_free(world);
}

/* breaks PRE-001: a CONTINUE on a channel that has named no block yet, whatever the other channel named */
static void a_block_named_on_the_other_channel(void **state)
{
	const struct setup setup = {.release = "8.2",
				    .strict = true,
				    .capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_POSTCOPY_PREEMPT};
	struct world *world = world_running(&setup);

	(void)state;
	put_page_section(stream_of(world), "mem", 0, 1);
	show_and_run(world);
	build_page(&world->connections[1].bytes, PAGE, NULL, 1, PAGE);
	world_show(world, 1, SIZE_MAX);
	world_run(world);
	expect_said(world, "preempt park");
	assert_int_equal(world->count[MR_ACTION_PLACE], 1);
	world_free(world);
}

/* From 5.0 to 9.0 postcopy takes COMPRESSED pages, as parts of a huge page, too. */
static void compressed_pages_in_postcopy(void **state)
{
	static const char *const releases[] = {"4.2", "5.0", "9.0"};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct setup setup = with_huge(releases[i], false);
		struct world *world;

		setup.capabilities |= MR_CAPABILITY_COMPRESS;
		world = world_listening(&setup);
		put_section(stream_of(world));
		put_compressed(stream_of(world), PAGE, 0x44);
		put_section_end(stream_of(world));
		run_listen(world);
		if (i == 0)
			expect_failed(world, MR_PC_017);
		else
			expect_said(world, "listen marked mem 0x1000");
		assert_int_equal(world->memory[0][2 * PAGE - 1], i == 0 ? 0 : 0x44);
		world_free(world);
	}
}

/* ---- Statuses and ends ---- */

/* keeps PC-020: the values of each release, in their order */
static void statuses_by_release(void **state)
{
	static const struct {
		const char *release, *statuses[6];
	} cases[] = {
		{"7.2", {"active", "postcopy-active", "completed"}},
		{"8.2", {"setup", "active", "postcopy-active", "completed"}},
		{"10.1", {"setup", "active", "postcopy-active", "completed"}},
		{"10.2", {"setup", "active", "postcopy-device", "postcopy-active", "completed"}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct setup setup = postcopy;
		struct world *world;
		unsigned count = 0;

		setup.release = cases[i].release;
		world = world_running(&setup);
		put_end(stream_of(world));
		show_and_run(world);
		expect_finished(world);
		for (; cases[i].statuses[count]; count++) {
			char by_main[64], by_listen[64];

			snprintf(by_main, sizeof(by_main), "main status %s", cases[i].statuses[count]);
			snprintf(by_listen, sizeof(by_listen), "listen status %s", cases[i].statuses[count]);
			assert_int_equal(world_said(world, by_main) + world_said(world, by_listen), 1);
		}
		assert_int_equal(world->count[MR_ACTION_STATUS], count);
		world_free(world);
	}
}

/* breaks PC-020: without a return path there is no postcopy-device, in any release */
static void no_return_path_no_postcopy_device(void **state)
{
	struct setup setup = postcopy;
	struct world *world;
	size_t start;

	(void)state;
	setup.release = "11.1";
	world = world_new(&setup);
	put_begin(stream_of(world));
	put_advise(world, stream_of(world));
	put_block_list(world, stream_of(world));
	build_discard(stream_of(world), "mem", 0, PAGE);
	start = build_package(stream_of(world));
	put_listen(stream_of(world));
	put_run(stream_of(world));
	build_package_end(stream_of(world), start);
	put_end(stream_of(world));
	show_and_run(world);
	expect_finished(world);
	expect_silent(world, "listen status postcopy-device");
	expect_silent(world, "listen send SHUT 0");
	world_free(world);
}

/* keeps PC-040 PC-041 PC-043: faults are caught to the end, blocks given back in order, memory locked, SHUT 0 last */
static void the_end_of_listening(void **state)
{
	(void)state;
	for (unsigned newest = 0; newest < 2; newest++) {
		struct setup setup = with_huge(newest ? "11.1" : "7.2", false);
		struct world *world;
		struct messages messages;

		setup.memory_locked = true;
		world = world_running(&setup);
		put_end(stream_of(world));
		show_and_run(world);
		expect_finished(world);
		world_messages(world, 0, &messages);
		assert_int_equal(messages.at[messages.count - 1].type, MR_RETURN_SHUT);
		assert_int_equal(messages.at[messages.count - 1].value, 0);
		if (newest)
			expect_order(world, "listen actor-end -", "listen status completed",
				     "listen postcopy-state END", "main cleanup -", "fault actor-end -",
				     "main notify 3", "main huge-pages mem 0x0+0x10000",
				     "main unregister mem 0x0+0x10000", "main huge-pages huge 0x0+0x8000",
				     "main unregister huge 0x0+0x8000", "main release -", "main lock -",
				     "main cleanup-done -", "main state-cleanup -", "main send SHUT 0",
				     "main finished -", NULL);
		else
			expect_order(world, "listen actor-end -", "listen cleanup -", "fault actor-end -",
				     "listen notify 3", "listen huge-pages mem 0x0+0x10000",
				     "listen unregister mem 0x0+0x10000", "listen huge-pages huge 0x0+0x8000",
				     "listen unregister huge 0x0+0x8000", "listen release -", "listen lock -",
				     "listen cleanup-done -", "listen status completed", "listen send SHUT 0",
				     "listen state-cleanup -", "listen postcopy-state END", "listen finished -", NULL);
		world_free(world);
	}
}

/* breaks PC-040: an end mark before the main loader is through waits for it */
static void the_end_waits_for_the_main_loader(void **state)
{
	struct world *world = world_listening(&postcopy);

	(void)state;
	put_end(stream_of(world));
	run_listen(world);
	assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_LISTEN).wait, MR_WAIT_ACTOR);
	assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_LISTEN).actor, MR_ACTOR_MAIN);
	expect_silent(world, "listen cleanup -");
	world_run(world);
	expect_finished(world);
	world_free(world);
}

/* breaks PC-041: a device or a block that does not agree ends the cleanup where it is, and nothing else */
static void a_cleanup_that_fails(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct world *world = world_running(&postcopy);

		world_fail(world, i ? MR_ACTION_UNREGISTER : MR_ACTION_NOTIFY, 0, HOST_EINVAL);
		put_end(stream_of(world));
		show_and_run(world);
		expect_finished(world);
		assert_int_equal(world->count[MR_ACTION_RELEASE], 0);
		expect_said(world, "listen send SHUT 0");
		world_free(world);
	}
}

/* breaks PC-043 PC-044: a failure before RUNNING ends the migration; from 9.1 on SHUT says so */
static void failures_before_running(void **state)
{
	static const char *const releases[] = {"2.6", "4.1", "7.2", "8.2", "9.0", "9.1", "10.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		for (unsigned listening = 0; listening < 2; listening++) {
			struct setup setup = postcopy;
			struct world *world;

			setup.release = releases[i];
			world = listening ? world_listening(&setup) : world_new(&setup);
			if (!listening)
				put_advised(world, stream_of(world));
			put_page_section(stream_of(world), "mem", MEM_BYTES, 0);
			if (listening)
				run_listen(world);
			show_and_run(world);
			expect_failed(world, MR_PC_018);
			assert_int_equal(mr_incoming_status(world->machine), MR_STATUS_FAILED);
			assert_int_equal(world_said(world, "main send SHUT 1") +
						 world_said(world, "listen send SHUT 1"),
					 i >= 5);
			assert_int_equal(world->count[MR_ACTION_PAUSE], 0);
			world_free(world);
		}
}

/* keeps PC-044: the same failure in RUNNING pauses instead */
static void a_failure_in_running(void **state)
{
	struct world *world = world_running(&postcopy);

	(void)state;
	put_page_section(stream_of(world), "mem", MEM_BYTES, 0);
	show_and_run(world);
	assert_false(world->failed);
	assert_int_equal(mr_incoming_status(world->machine), MR_STATUS_POSTCOPY_PAUSED);
	world_free(world);
}

/* Releases before 3.0 know no pause: a failure in RUNNING is final there, too. */
static void a_failure_in_running_of_old(void **state)
{
	struct setup setup = postcopy;
	struct world *world;

	(void)state;
	setup.release = "2.12";
	world = world_running(&setup);
	put_page_section(stream_of(world), "mem", MEM_BYTES, 0);
	show_and_run(world);
	expect_failed(world, MR_PC_018);
	world_free(world);
}

/* A device that does not load its section ends the load, by the same rule (breaks PC-044). */
static void a_device_that_does_not_load(void **state)
{
	struct world *world = world_new(&postcopy);
	size_t start;

	(void)state;
	put_discarded(world, stream_of(world));
	start = build_package(stream_of(world));
	put_listen(stream_of(world));
	build_device(stream_of(world), 9, "apic", 0x41, 7);
	put_run(stream_of(world));
	build_package_end(stream_of(world), start);
	world_fail(world, MR_ACTION_LOAD_DEVICE, 0, HOST_EINVAL);
	show_and_run(world);
	expect_failed(world, MR_PC_044);
	expect_said(world, "main load-device 9 of 7 bytes");
	world_free(world);
}

/* What the configuration says has to be what this machine is. */
static void configurations_of_other_machines(void **state)
{
	static const enum mr_rule rules[] = {MR_NO_RULE, MR_STR_004, MR_STR_007, MR_STR_009};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		const struct setup setup = {.capabilities = MR_CAPABILITY_VALIDATE_UUID};
		struct world *world = world_new_unconnected(&setup);
		struct build *build = stream_of(world);
		struct mr_incoming_config *config = &world->config;

		snprintf(config->context.machine, sizeof(config->context.machine), "pc");
		config->context.uuid_known = true;
		memset(config->context.uuid, 0x17, sizeof(config->context.uuid));
		config->package_max = 0;
		assert_ptr_equal(mr_incoming_reset(world->machine, config), NULL);
		config->package_max = PAGE;
		assert_ptr_equal(mr_incoming_reset(world->machine, config), world->machine);
		build_header(build);
		build_configuration(build, i == 1 ? "q35" : "pc");
		build_subsection(build, "target-page-bits", 1);
		build_be32(build, i == 2 ? 13 : 12);
		build_subsection(build, "uuid", 1);
		build_fill(build, i == 3 ? 0x18 : 0x17, 16);
		build_ram_start(build, "mem", MEM_BYTES);
		world_open(world, 0, MR_ROLE_MAIN);
		world_run(world);
		if (i == 0)
			expect_said(world, "main ram-loaded 0 number 1");
		else
			expect_failed(world, rules[i]);
		world_free(world);
	}
}

/* What can be asked of a machine, in range and out of it. */
static void looking_inside(void **state)
{
	struct world *world = world_running(&postcopy);
	uint64_t pages = 0;

	(void)state;
	put_page_section(stream_of(world), "mem", PAGE, 1);
	show_and_run(world);
	assert_true(mr_bitmap_test(mr_incoming_received(world->machine, 0, &pages), 1));
	assert_int_equal(pages, WORLD_PAGES);
	assert_null(mr_incoming_received(world->machine, 1, &pages));
	assert_false(mr_incoming_is_received(world->machine, 1, 0));
	assert_false(mr_incoming_is_received(world->machine, 0, MEM_BYTES));
	assert_int_equal(mr_incoming_find_block(world->machine, (struct mr_bytes){(const uint8_t *)"mem", 3}), 0);
	assert_int_equal(mr_incoming_find_block(world->machine, (struct mr_bytes){(const uint8_t *)"me", 2}),
			 UINT32_MAX);
	assert_string_equal(mr_incoming_block_name(world->machine, 0), "mem");
	assert_string_equal(mr_incoming_block_name(world->machine, 1), "");
	assert_int_equal(mr_incoming_session(world->machine)->block_count, 1);
	assert_int_equal(mr_incoming_consumed(world->machine, 0), stream_of(world)->length);
	assert_int_equal(mr_incoming_consumed(world->machine, 5), 0);
	mr_incoming_feed(world->machine, 5, NULL, 0, true, 0);
	mr_incoming_feed(world->machine, WORLD_CONNECTIONS, NULL, 0, true, 0);
	assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_COUNT).wait, MR_WAIT_NOTHING);
	world_free(world);
}

/* A machine whose configuration leaves everything to it: the newest release, no memory, the usual limits. */
static void defaults(void **state)
{
	const struct setup setup = {0};
	struct world *world = world_new_unconnected(&setup);
	struct mr_incoming_config config = {
		.context = {.multifd_method = MR_METHOD_UNKNOWN,
			    .capabilities = MR_CAPABILITY_MULTIFD | MR_CAPABILITY_POSTCOPY_PREEMPT,
			    .multifd_channels = 1},
		.blocks = world->config.blocks,
		.block_count = 1};
	char error[96];
	const size_t size = mr_incoming_size(&config, error);
	void *arena = calloc(1, size);
	struct mr_incoming *machine;
	struct mr_action action;

	(void)state;
	assert_non_null(arena);
	machine = mr_incoming_init(arena, size, &config);
	assert_non_null(machine);
	assert_int_equal(mr_incoming_step(machine, MR_ACTOR_MAIN, &action), MR_STEP_ACTION);
	assert_int_equal(action.status, MR_STATUS_SETUP);
	assert_int_equal(mr_incoming_step(machine, MR_ACTOR_MAIN, &action), MR_STEP_WAITS);
	assert_int_equal(mr_incoming_open(machine, 10, MR_ROLE_MAIN), 0);
	assert_int_equal(mr_incoming_open(machine, 11, MR_ROLE_MAIN), -1);
	free(arena);
	world_free(world);
}

static void precopy_ends(void **state)
{
	(void)state;
	for (unsigned paused = 0; paused < 2; paused++)
		for (unsigned advised = 0; advised < 2; advised++) {
			struct setup setup = advised ? postcopy : precopy;
			struct world *world;

			setup.start_paused = paused;
			setup.release = "8.2";
			world = world_new(&setup);
			put_begin(stream_of(world));
			if (advised)
				put_advise(world, stream_of(world));
			put_block_list(world, stream_of(world));
			put_page_section(stream_of(world), "mem", 0, 1);
			put_end(stream_of(world));
			build_description(stream_of(world), "{}");
			show_and_run(world);
			expect_finished(world);
			expect_order(world, "main status setup", "main status active", "main loaded 0",
				     paused ? "main start-guest 0" : "main start-guest 1", "main status completed",
				     NULL);
			assert_int_equal(world->count[MR_ACTION_STATE_CLEANUP], 1);
			world_free(world);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(listed_blocks_are_ours),
		cmocka_unit_test(listed_blocks_that_are_not_ours),
		cmocka_unit_test(blocks_are_resized),
		cmocka_unit_test(blocks_that_cannot_be_resized),
		cmocka_unit_test(precopy_writes_every_kind),
		cmocka_unit_test(precopy_records_by_release),
		cmocka_unit_test(precopy_behind_the_end),
		cmocka_unit_test(precopy_that_is_cut),
		cmocka_unit_test(precopy_pages_that_do_not_decode),
		cmocka_unit_test(postcopy_places_and_marks),
		cmocka_unit_test(bodies_before_listen_are_precopy),
		cmocka_unit_test(a_page_placed_twice),
		cmocka_unit_test(a_placement_that_fails),
		cmocka_unit_test(postcopy_refuses),
		cmocka_unit_test(a_page_full_of_one_byte),
		cmocka_unit_test(huge_pages_are_put_together),
		cmocka_unit_test(two_host_pages_at_once),
		cmocka_unit_test(a_repeated_target_page),
		cmocka_unit_test(target_pages_in_the_old_order),
		cmocka_unit_test(a_host_page_across_sections),
		cmocka_unit_test(two_channels_independently),
		cmocka_unit_test(a_block_named_on_the_other_channel),
		cmocka_unit_test(statuses_by_release),
		cmocka_unit_test(no_return_path_no_postcopy_device),
		cmocka_unit_test(the_end_of_listening),
		cmocka_unit_test(the_end_waits_for_the_main_loader),
		cmocka_unit_test(a_cleanup_that_fails),
		cmocka_unit_test(failures_before_running),
		cmocka_unit_test(a_failure_in_running),
		cmocka_unit_test(a_failure_in_running_of_old),
		cmocka_unit_test(precopy_ends),
		cmocka_unit_test(compressed_pages_in_postcopy),
		cmocka_unit_test(a_device_that_does_not_load),
		cmocka_unit_test(configurations_of_other_machines),
		cmocka_unit_test(looking_inside),
		cmocka_unit_test(defaults),
	};

	return cmocka_run_group_tests_name("machine: pages", tests, NULL, NULL);
}
