/*
 * test_source_choices.c: a source that is unlike QEMU's, but legal: odd orders of pages, packets of one page, tiny
 * sections, pages that come twice; each by hand, then all of them by chance against the destination, in every mode.
 */
#include "hostile.h"
#include "lone_source.h"
#include "pair_support.h"

#include <stdio.h>

/* ---- By hand ---- */

static struct lone *begin(struct lone *lone)
{
	lone->config.unusual_choices = MR_CHOICES_UNUSUAL;
	lone_start(lone);
	lone_until(lone, "[active]");
	forget_words(lone);
	return lone;
}

static void expect_counted(const struct lone *lone, enum mr_choice choice, uint64_t choices, uint64_t chosen)
{
	assert_int_equal(lone_statistics(lone).choices[choice], choices);
	assert_int_equal(lone_statistics(lone).chosen[choice], chosen);
}

/* keeps SRC-011: what was left out for a page that came before its turn comes in its own. */
static void page_before_its_turn(void **state)
{
	static const char *const releases[] = {"2.6", "4.0", "7.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new(releases[i]);

		begin(lone);
		lone_choose(lone, MR_CHOICE_PAGE, 2);
		lone_choose(lone, MR_CHOICE_PAGE, 3);
		lone_choose(lone, MR_CHOICE_PAGE, LONE_CANONICAL);
		lone_choose(lone, MR_CHOICE_PAGE, LONE_CANONICAL);
		lone_choose(lone, MR_CHOICE_PAGE, 1);
		lone_until(lone, ".");
		/* another block needs its name; the name of the same one does not come again */
		expect_words(lone, "part#1 page:mem:2 page:3 page:0 page:1 page:vga:1 page:0 eos .");
		expect_counted(lone, MR_CHOICE_PAGE, 6, 3);
		lone_free(lone);
	}
}

/* One that is behind comes at once, and the scan goes on where it was. */
static void page_behind(void **state)
{
	struct lone *lone = lone_new("11.1");

	(void)state;
	begin(lone);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
	for (unsigned i = 0; i < 3; i++) {
		lone_choose(lone, MR_CHOICE_SECTION_ENDS, i == 2);
		lone_choose(lone, MR_CHOICE_PAGE, LONE_CANONICAL);
	}
	lone_until(lone, ".");
	assert_true(mr_outgoing_dirty(lone->source, 0, 0, 2 * LONE_PAGE));
	lone_choose(lone, MR_CHOICE_PAGE, 0);
	lone_until(lone, ".");
	expect_words(lone, "part#1 page:mem:0 page:1 eos . part#1 page:2 page:0 page:3 page:vga:0 page:1 page:mem:1 "
			   "eos .");
	lone_free(lone);
}

/* A page that is not dirty, or not there, or the one that the scan found: all count as canonical. */
static void impossible_pages(void **state)
{
	static const uint64_t answers[] = {0, 4, UINT64_MAX, 0, UINT64_MAX / LONE_PAGE};
	struct lone *lone = lone_new("11.1");

	(void)state;
	begin(lone);
	assert_true(mr_outgoing_free_hint(lone->source, 0, LONE_PAGE, LONE_PAGE));
	for (unsigned i = 0; i < 5; i++)
		lone_choose(lone, MR_CHOICE_PAGE, answers[i]);
	lone_until(lone, ".");
	expect_words(lone, "part#1 page:mem:0 page:2 page:3 page:vga:0 page:1 eos .");
	expect_counted(lone, MR_CHOICE_PAGE, 5, 0);
	lone_free(lone);
}

/* Of a huge page all that is dirty goes out, in ascending order; one of its own pages is no other page. */
static void huge_page_before_its_turn(void **state)
{
	struct lone *lone = lone_new("11.1");

	(void)state;
	lone_block(lone, 0, "mem", 12, 4 * LONE_PAGE);
	begin(lone);
	assert_true(mr_outgoing_free_hint(lone->source, 0, 8 * LONE_PAGE, LONE_PAGE));
	lone_choose(lone, MR_CHOICE_PAGE, 2);
	lone_choose(lone, MR_CHOICE_PAGE, 10);
	lone_until(lone, ".");
	expect_words(lone, "part#1 page:mem:0 page:1 page:2 page:3 page:9 page:10 page:11 page:4 page:5 page:6 page:7 "
			   "page:vga:0 page:1 eos .");
	expect_counted(lone, MR_CHOICE_PAGE, 5, 1);
	lone_free(lone);
}

static struct lone *begin_postcopy(struct lone *lone)
{
	lone->config.unusual_choices = MR_CHOICES_UNUSUAL;
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

/* 10.1: the scan goes on behind an urgent page; one before its turn does not lead it away from there. */
static void behind_an_urgent_page(void **state)
{
	struct lone *lone = lone_new("11.1");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_PREEMPT;
	lone->shown |= LONE_SHOW(REQUEST);
	lone_block(lone, 0, "mem", 8, 0);
	begin_postcopy(lone);
	lone_request(lone, "mem", 4, 1);
	while (lone_step(lone, MR_SOURCE_RETURN) == MR_STEP_ACTION)
		continue;
	lone_choose(lone, MR_CHOICE_PAGE, 1);
	lone_until(lone, ".");
	expect_words(lone, "p:page:mem:4 served:mem:4+1 part#1 page:mem:1 page:5 page:6 page:7 page:vga:0 page:1 "
			   "page:mem:0 page:2 page:3 eos .");
	lone_free(lone);
}

/* 7.2: a huge page that came before its turn is interrupted as any other, and finished. */
static void broken_before_its_turn(void **state)
{
	struct lone *lone = lone_new("7.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_PREEMPT;
	lone->shown |= LONE_SHOW(REQUEST);
	lone_block(lone, 0, "mem", 12, 4 * LONE_PAGE);
	begin_postcopy(lone);
	lone_choose(lone, MR_CHOICE_PAGE, 9);
	lone_until(lone, "page:9");
	lone_request(lone, "vga", 0, 1);
	while (lone_step(lone, MR_SOURCE_RETURN) == MR_STEP_ACTION)
		continue;
	lone_until(lone, ".");
	expect_words(lone, "part#1 page:mem:8 page:9 p:page:vga:0 served:vga:0+1 page:mem:10 page:11 page:vga:1 "
			   "page:mem:0 page:1 page:2 page:3 page:4 page:5 page:6 page:7 eos .");
	lone_free(lone);
}

/* Of a snapshot, too: what is let go is the page that went out. */
static void snapshot_page_before_its_turn(void **state)
{
	struct lone *lone = lone_new("11.1");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_BACKGROUND_SNAPSHOT;
	lone->config.unusual_choices = MR_CHOICES_UNUSUAL;
	lone->shown |= LONE_SHOW(UNPROTECT);
	lone_start(lone);
	lone_choose(lone, MR_CHOICE_PAGE, 3);
	lone_until(lone, "part#1");
	forget_words(lone);
	lone_until(lone, "page:1");
	expect_words(lone, "page:mem:3 unprotect:mem:3+1 page:0 unprotect:mem:0+1 page:1");
	lone_free(lone);
}

/* keeps MFS-003: a packet may end with any page. */
static void packet_ends(void **state)
{
	static const char *const releases[] = {"6.2", "8.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct lone *lone = lone_new_machine(releases[i], "pc");

		lone->config.capabilities = MR_CAPABILITY_MULTIFD;
		lone->config.multifd_channels = 2;
		begin(lone);
		lone_choose(lone, MR_CHOICE_PACKET_ENDS, 1);
		lone_choose(lone, MR_CHOICE_PACKET_ENDS, 2); /* neither yes nor no */
		lone_choose(lone, MR_CHOICE_PACKET_ENDS, 1);
		lone_until(lone, ".");
		assert_true(lone_has_said(lone, "m0:mem:0"));
		assert_true(lone_has_said(lone, "m1:mem:1,2"));
		assert_true(lone_has_said(lone, "m0:mem:3"));
		expect_counted(lone, MR_CHOICE_PACKET_ENDS, 6, 2);
		lone_free(lone);
	}
}

/* Of a full packet nobody is asked. */
static void full_packet_ends(void **state)
{
	static const char *const releases[] = {"6.2", "11.1"};
	enum { PACKET_PAGES = 128 };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct lone *lone = lone_new_machine(releases[i], "pc");

		lone->config.capabilities = MR_CAPABILITY_MULTIFD;
		lone->config.multifd_channels = 2;
		lone_block(lone, 0, "mem", PACKET_PAGES + 1, 0);
		begin(lone);
		lone_until(lone, ".");
		expect_counted(lone, MR_CHOICE_PACKET_ENDS, PACKET_PAGES - 1 + 1 + 2, 0);
		expect_counted(lone, MR_CHOICE_CHANNEL, 3, 0);
		lone_free(lone);
	}
}

/* With multifd only what the scan has yet to reach comes before its turn, and its section ends with a barrier. */
static void barrier_behind_pages(void **state)
{
	static const struct lone_row rows[] = {
		{"", "8.2", "part#1 m0:mem:0,3+sync m0:empty m1:sync eos . part#1 m0:sync m1:mem:1,2+sync eos ."},
		{"9.0", "", "part#1 m0:mem:0,3 m0:sync m1:sync flush eos . part#1 eos ."},
		{0},
	};
	static const char *const releases[] = {"7.2", "9.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct lone *lone = lone_new_machine(releases[i], "pc");

		lone->config.capabilities = MR_CAPABILITY_MULTIFD;
		lone->config.multifd_channels = 2;
		begin(lone);
		for (unsigned part = 0; part < 2; part++) {
			lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
			lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
			lone_choose(lone, MR_CHOICE_SECTION_ENDS, 0);
			lone_choose(lone, MR_CHOICE_SECTION_ENDS, 1);
		}
		lone_choose(lone, MR_CHOICE_PAGE, LONE_CANONICAL);
		lone_choose(lone, MR_CHOICE_PAGE, 3);
		lone_choose(lone, MR_CHOICE_PAGE, 0);
		lone_until(lone, ".");
		/* what went out already does not come in between, and a section without such pages has no barrier */
		assert_true(mr_outgoing_dirty(lone->source, 0, 0, LONE_PAGE));
		lone_until(lone, ".");
		expect_counted(lone, MR_CHOICE_PAGE, 4, 1);
		expect_words(lone, lone_row(releases[i], rows));
		lone_free(lone);
	}
}

/* keeps SRC-011: a page that stays dirty comes again with the next pass. */
static void page_twice(void **state)
{
	struct lone *lone = lone_new("11.1");

	(void)state;
	begin(lone);
	lone_choose(lone, MR_CHOICE_TWICE, LONE_CANONICAL);
	lone_choose(lone, MR_CHOICE_TWICE, 1);
	lone_choose(lone, MR_CHOICE_TWICE, 2);
	lone_until(lone, ".");
	expect_words(lone, "part#1 page:mem:0 page:1 page:2 page:3 page:vga:0 page:1 page:mem:1 eos .");
	expect_counted(lone, MR_CHOICE_TWICE, 7, 1);
	lone_run(lone);
	assert_true(lone_has_said(lone, "[completed]"));
	lone_free(lone);
}

/* Not once the guest stands, not in a snapshot, not with multifd, and nobody is asked who did not say so. */
static void never_twice(void **state)
{
	static const uint32_t capabilities[] = {MR_CAPABILITY_POSTCOPY_RAM, MR_CAPABILITY_BACKGROUND_SNAPSHOT,
						MR_CAPABILITY_MULTIFD, 0};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new("11.1");

		lone->config.capabilities = capabilities[i];
		lone->config.multifd_channels = 2;
		lone->choose_always = true;
		lone_choose(lone, MR_CHOICE_TWICE, 1);
		if (capabilities[i] == MR_CAPABILITY_POSTCOPY_RAM) {
			begin_postcopy(lone);
		} else {
			lone->config.unusual_choices = capabilities[i] ? MR_CHOICES_UNUSUAL : 0;
			lone_start(lone);
			lone_choose(lone, MR_CHOICE_TURN, MR_TURN_COMPLETE);
		}
		lone_run(lone);
		expect_counted(lone, MR_CHOICE_TWICE, 0, 0);
		lone_free(lone);
	}
}

/* ---- By chance ---- */

enum { SEEDS = 2, TWICE_MAX = 200 };

struct chance {
	const struct pair *pair;
	struct random random;
	unsigned twice;
};

/* Any page of the block, whether or not there is one; often one that is dirty. */
static uint64_t any_page(struct chance *chance)
{
	uint64_t pages, offset, page;
	const uint64_t *dirty;
	uint32_t block;

	mr_outgoing_cursor(chance->pair->source, &block, &offset);
	dirty = mr_outgoing_dirty_bits(chance->pair->source, block, &pages);
	page = random_below(&chance->random, pages + 2);
	return random_below(&chance->random, 4) ? mr_bitmap_next_set(dirty, pages, page) : page;
}

static uint64_t choose(void *argument, enum mr_choice choice, uint64_t canonical)
{
	struct chance *chance = argument;

	if (random_below(&chance->random, 50) == 0)
		return random_next(&chance->random);
	switch (choice) {
	case MR_CHOICE_PAGE:
		return random_below(&chance->random, 3) ? any_page(chance) : canonical;
	case MR_CHOICE_TWICE:
		return chance->twice++ < TWICE_MAX && random_below(&chance->random, 4) == 0;
	case MR_CHOICE_SECTION_ENDS:
		return random_below(&chance->random, 3) == 0;
	case MR_CHOICE_PACKET_ENDS:
	case MR_CHOICE_SYNC:
	case MR_CHOICE_BREAK_HUGE:
	case MR_CHOICE_CHANNEL:
		return random_below(&chance->random, 2);
	default:
		return canonical;
	}
}

/* Up to 8.1 a recovery that fails is the destination's end (REC-010). */
static bool is_lost_in_recovery(const struct pair *pair)
{
	return pair->setup.cuts && pair->destination_failed && mr_incoming_error(pair->destination)->rule == MR_REC_010;
}

static struct mr_outgoing_statistics migrate(struct pair_setup setup)
{
	struct chance chance = {.random = {setup.seed * 77 + 1}};
	const struct mr_choices choices = {&chance, choose};
	struct mr_outgoing_statistics statistics;
	struct pair *pair;

	setup.choices = &choices;
	setup.unusual_choices = MR_CHOICES_UNUSUAL;
	pair = pair_new(&setup);
	chance.pair = pair;
	if (!pair_run(pair) && !is_lost_in_recovery(pair))
		fail_msg("%s seed %llu: stuck; source %s, destination %s, %s", setup.source,
			 (unsigned long long)setup.seed, mr_source_status_name(mr_outgoing_status(pair->source)),
			 mr_status_name(mr_incoming_status(pair->destination)),
			 mr_incoming_error(pair->destination)->found);
	if (!is_lost_in_recovery(pair)) {
		expect_migrated(pair);
		expect_valid(pair);
	}
	mr_outgoing_statistics(pair->source, &statistics);
	pair_free(pair);
	return statistics;
}

#define MR_RELEASE(name) name,
static const char *const releases[] = {
#include "profile.def"
};
#undef MR_RELEASE

enum { RELEASES = sizeof(releases) / sizeof(releases[0]) };

/* Each release of the mode; every choice that it has was made otherwise in some of them. */
static void in_every_release(struct pair_setup setup, const char *since, const char *until, uint32_t made)
{
	const unsigned step = RUNNING_ON_VALGRIND ? 8 : 1, seeds = RUNNING_ON_VALGRIND ? 1 : SEEDS;
	uint64_t chosen[MR_CHOICE_COUNT] = {0};

	for (unsigned i = 0; i < RELEASES; i += step) {
		struct mr_profile profile;

		mr_profile_init(&profile, releases[i]);
		if (!mr_profile_within(&profile, since, until))
			continue;
		setup.source = releases[i];
		for (setup.seed = 1; setup.seed <= seeds; setup.seed++) {
			const struct mr_outgoing_statistics statistics = migrate(setup);

			for (unsigned choice = 0; choice < MR_CHOICE_COUNT; choice++)
				chosen[choice] += statistics.chosen[choice];
		}
	}
	for (unsigned choice = MR_CHOICE_PAGE; choice < MR_CHOICE_COUNT; choice++)
		assert_int_equal(chosen[choice] != 0, made >> choice & 1);
}

enum {
	ORDER = 1 << MR_CHOICE_PAGE,
	AGAIN = 1 << MR_CHOICE_PAGE | 1 << MR_CHOICE_TWICE,
	PACKETS = 1 << MR_CHOICE_PAGE | 1 << MR_CHOICE_PACKET_ENDS,
	POSTCOPY = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_RETURN_PATH,
};

static void precopy(void **state)
{
	(void)state;
	in_every_release((struct pair_setup){0}, "2.5", "", AGAIN);
	in_every_release((struct pair_setup){.huge_page_size = 4 * PAIR_PAGE, .auto_converge = true}, "2.9", "", AGAIN);
	in_every_release((struct pair_setup){.capabilities = MR_CAPABILITY_XBZRLE}, "2.5", "", AGAIN);
}

static void postcopy(void **state)
{
	const struct pair_setup setup = {.capabilities = POSTCOPY, .switches = true};
	struct pair_setup released = setup, huge = setup;

	(void)state;
	in_every_release(setup, "2.5", "", AGAIN);
	released.release_ram = true;
	in_every_release(released, "2.9", "", AGAIN);
	huge.huge_page_size = 4 * PAIR_PAGE;
	in_every_release(huge, "3.0", "", AGAIN);
}

static void recovery(void **state)
{
	(void)state;
	in_every_release((struct pair_setup){.capabilities = POSTCOPY, .switches = true, .cuts = 3}, "3.0", "", AGAIN);
}

static void preempt(void **state)
{
	const struct pair_setup setup = {.capabilities = POSTCOPY | MR_CAPABILITY_POSTCOPY_PREEMPT, .switches = true};
	struct pair_setup huge = setup;

	(void)state;
	in_every_release(setup, "7.1", "", AGAIN);
	huge.huge_page_size = 4 * PAIR_PAGE;
	huge.cuts = 2;
	in_every_release(huge, "7.1", "", AGAIN);
}

static void multifd(void **state)
{
	const struct pair_setup setup = {.capabilities = MR_CAPABILITY_MULTIFD, .multifd_channels = 3};
	struct pair_setup other = setup;

	(void)state;
	in_every_release(setup, "4.0", "", PACKETS);
	other.zero_detection = MR_ZERO_LEGACY;
	in_every_release(other, "9.0", "", PACKETS);
	other.method = "zstd";
	in_every_release(other, "10.0", "", PACKETS);
	other = setup;
	other.capabilities |= POSTCOPY;
	other.switches = true;
	in_every_release(other, "10.1", "", PACKETS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(page_before_its_turn),
		cmocka_unit_test(page_behind),
		cmocka_unit_test(impossible_pages),
		cmocka_unit_test(huge_page_before_its_turn),
		cmocka_unit_test(behind_an_urgent_page),
		cmocka_unit_test(broken_before_its_turn),
		cmocka_unit_test(snapshot_page_before_its_turn),
		cmocka_unit_test(packet_ends),
		cmocka_unit_test(full_packet_ends),
		cmocka_unit_test(barrier_behind_pages),
		cmocka_unit_test(page_twice),
		cmocka_unit_test(never_twice),
		cmocka_unit_test(precopy),
		cmocka_unit_test(postcopy),
		cmocka_unit_test(recovery),
		cmocka_unit_test(preempt),
		cmocka_unit_test(multifd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
