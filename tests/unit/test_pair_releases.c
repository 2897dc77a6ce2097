/*
 * test_pair_releases.c: a source of one release against the destination of another, in every mode, by chance: what
 * holds, and what is known to fail between releases, each failure exactly as it is known.
 */
#include "hostile.h"
#include "pair_support.h"

#include <stdio.h>
#include <string.h>

enum {
	SEEDS = 2,
	RARE_SEEDS = 24, /* what chance alone leads to */
	INTERRUPTED_SEEDS = 64,
	ROOM = 64 << 10, /* of a socket */
	CHANNELS = 2,
	POSTCOPY = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_RETURN_PATH,
};

static const char *const releases[] = {"6.2", "7.2", "8.2", "9.2", "10.0", "10.1", "11.1"};

enum { RELEASES = sizeof(releases) / sizeof(releases[0]) };

/* ---- What becomes of a pair ---- */

enum ending {
	MIGRATED,
	DIFFERS, /* both ends are content, but some page is not what it was */
	REFUSED, /* the destination failed */
	STUCK,   /* nobody can go on */
};

static enum ending run(struct pair *pair)
{
	uint32_t block;
	uint64_t page;

	if (!pair_run(pair))
		pair_settle(pair);
	if (pair->destination_failed)
		return REFUSED;
	if (!pair->source_finished || !pair->destination_finished)
		return STUCK;
	return pair_differs(pair, &block, &page) ? DIFFERS : MIGRATED;
}

static void fail_pair(const struct pair *pair, const char *what)
{
	const struct mr_finding *error = mr_incoming_error(pair->destination);

	fail_msg("%s to %s seed %llu: %s; source %s waits %d, destination %s waits %d %d, %s found %s",
		 pair->profiles[0].release, pair->profiles[1].release, (unsigned long long)pair->setup.seed, what,
		 mr_source_status_name(mr_outgoing_status(pair->source)),
		 mr_outgoing_wants(pair->source, MR_SOURCE_MIGRATION).wait,
		 mr_status_name(mr_incoming_status(pair->destination)),
		 mr_incoming_wants(pair->destination, MR_ACTOR_MAIN).wait,
		 mr_incoming_wants(pair->destination, MR_ACTOR_LISTEN).wait, mr_rule_id(error->rule), error->found);
}

static void expect(const struct pair *pair, bool holds, const char *what)
{
	if (!holds)
		fail_pair(pair, what);
}

static void expect_good(const struct pair *pair)
{
	struct build findings = {0};

	expect_migrated(pair);
	if (pair_check(pair, &findings) > MR_ACCEPTABLE)
		fail_msg("%s to %s seed %llu: %.*s", pair->profiles[0].release, pair->profiles[1].release,
			 (unsigned long long)pair->setup.seed, (int)findings.length, (char *)findings.bytes);
	build_free(&findings);
}

/* ---- Pairs that hold ---- */

typedef bool known_to_fail(const struct pair *pair);

static void migrate(const struct pair_setup *setup, known_to_fail *is_known)
{
	struct pair *pair = pair_new(setup);

	if (!is_known || !is_known(pair)) {
		expect(pair, run(pair) == MIGRATED, "it did not migrate");
		expect_good(pair);
	}
	pair_free(pair);
}

static bool is_since(const char *release, const char *since)
{
	struct mr_profile profile;

	mr_profile_init(&profile, release);
	return mr_profile_within(&profile, since, "");
}

/* Every release from `since` on with every other: the machine type is that of the older side. */
static void in_every_pair(struct pair_setup setup, const char *since, known_to_fail *is_known)
{
	/* Under valgrind each migration takes seconds: a few of them have to do. */
	const unsigned step = RUNNING_ON_VALGRIND ? 11 : 1;

	for (unsigned i = 0; i < RELEASES * RELEASES; i += step) {
		setup.source = releases[i / RELEASES];
		setup.destination = releases[i % RELEASES];
		if (!is_since(setup.source, since) || !is_since(setup.destination, since))
			continue;
		for (setup.seed = 1; setup.seed <= SEEDS; setup.seed++)
			migrate(&setup, is_known);
	}
}

static void precopy(void **state)
{
	(void)state;
	in_every_pair((struct pair_setup){0}, "6.2", NULL);
}

static void precopy_with_return_path(void **state)
{
	(void)state;
	in_every_pair((struct pair_setup){.capabilities = MR_CAPABILITY_RETURN_PATH}, "6.2", NULL);
}

static void precopy_xbzrle(void **state)
{
	(void)state;
	in_every_pair((struct pair_setup){.capabilities = MR_CAPABILITY_XBZRLE}, "6.2", NULL);
}

static void postcopy(void **state)
{
	(void)state;
	in_every_pair((struct pair_setup){.capabilities = POSTCOPY, .switches = true}, "6.2", NULL);
}

/* The fault handler of a release may ask too early, by a block that was named before the cut (REC-011, SRC-026). */
static void postcopy_recovered(void **state)
{
	(void)state;
	in_every_pair((struct pair_setup){.capabilities = POSTCOPY, .switches = true, .cuts = 3}, "6.2", NULL);
}

static void preempt(void **state)
{
	(void)state;
	in_every_pair((struct pair_setup){.capabilities = POSTCOPY | MR_CAPABILITY_POSTCOPY_PREEMPT, .switches = true},
		      "7.2", NULL);
}

/* 7.2 interrupts huge pages: what is asked for of such a page goes by the main channel, like its beginning. */
static void preempt_huge_pages(void **state)
{
	struct pair_setup setup = {.capabilities = POSTCOPY | MR_CAPABILITY_POSTCOPY_PREEMPT,
				   .switches = true,
				   .huge_page_size = 4 * PAIR_PAGE};

	(void)state;
	in_every_pair(setup, "7.2", NULL);
	setup.source = setup.destination = "7.2";
	for (setup.seed = SEEDS + 1; setup.seed <= INTERRUPTED_SEEDS; setup.seed += RUNNING_ON_VALGRIND ? 20 : 1)
		migrate(&setup, NULL);
}

/* multifd: a SYNC that travels with pages, to 9.2. */
static bool is_sync_with_pages_ignored(const struct pair *pair)
{
	return mr_profile_does(&pair->profiles[0], MR_SWITCH_SYNC_WITH_PAGES) &&
	       mr_profile_does(&pair->profiles[1], MR_SWITCH_SYNC_PAGES_IGNORED);
}

/* That, or packets of zero pages alone that are never sent. */
static bool is_packet_lost(const struct pair *pair)
{
	return is_sync_with_pages_ignored(pair) ||
	       (mr_profile_does(&pair->profiles[0], MR_SWITCH_ZERO_PAGES_DROPPED) &&
		mr_profile_does(&pair->profiles[0], MR_SWITCH_ZERO_PAGES_ON_MULTIFD));
}

static const struct pair_setup multifd_setup = {
	.capabilities = MR_CAPABILITY_MULTIFD,
	.multifd_channels = CHANNELS,
	.room = ROOM,
};

static void multifd(void **state)
{
	(void)state;
	in_every_pair(multifd_setup, "6.2", is_sync_with_pages_ignored);
}

static void multifd_compressed(void **state)
{
	static const char *const methods[] = {"zlib", "zstd"};
	struct pair_setup setup = multifd_setup;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		setup.method = methods[i];
		in_every_pair(setup, "6.2", is_packet_lost);
	}
}

/* ---- Known failures ---- */

typedef void judge(const struct pair *pair);

/* So many seeds end so, and are judged; with `always` all of them, else some, and the others migrate. */
static void expect_ending(struct pair_setup setup, enum ending expected, judge *judge_it, bool always)
{
	const unsigned seeds = always ? SEEDS : RARE_SEEDS;
	unsigned count = 0;

	for (setup.seed = 1; setup.seed <= seeds; setup.seed++) {
		struct pair *pair = pair_new(&setup);
		const enum ending ending = run(pair);

		if (ending == expected) {
			judge_it(pair);
			count++;
		} else if (always || ending != MIGRATED) {
			fail_pair(pair, "another ending than the known one");
		} else {
			expect_good(pair);
		}
		pair_free(pair);
	}
	assert_true(count > 0);
}

static void between(struct pair_setup setup, const char *source, const char *destination, enum ending expected,
		    judge *judge_it, bool always)
{
	setup.source = source;
	setup.destination = destination;
	expect_ending(setup, expected, judge_it, always);
}

static bool waits_for_receiver(const struct pair *pair, unsigned actor)
{
	const struct mr_wants wants = mr_incoming_wants(pair->destination, actor);

	return wants.wait == MR_WAIT_ACTOR && wants.actor >= MR_ACTOR_MULTIFD;
}

static bool waits_for_return_path(const struct pair *pair)
{
	const struct mr_source_wants wants = mr_outgoing_wants(pair->source, MR_SOURCE_MIGRATION);

	return wants.wait == MR_SOURCE_WAIT_MESSAGE && wants.actor == MR_SOURCE_RETURN;
}

/* Receivers stand behind their first SYNC, so that their channels fill up, and the source waits for its senders. */
static void judge_full_channels(const struct pair *pair)
{
	const struct mr_source_wants wants = mr_outgoing_wants(pair->source, MR_SOURCE_MIGRATION);
	const struct mr_wants main = mr_incoming_wants(pair->destination, MR_ACTOR_MAIN);

	expect(pair, wants.wait == MR_SOURCE_WAIT_ACTOR && wants.actor >= MR_SOURCE_MULTIFD,
	       "the source should wait for a sender");
	expect(pair, main.wait == MR_WAIT_NOTHING, "the main loader should wait for bytes");
	for (unsigned i = 0; i < CHANNELS; i++) {
		const struct mr_wants receiver = mr_incoming_wants(pair->destination, MR_ACTOR_MULTIFD + i);

		expect(pair, receiver.wait == MR_WAIT_ACTOR && receiver.actor == MR_ACTOR_MAIN,
		       "a receiver should wait for the main loader");
	}
}

/* [multifd 5.6]: the barrier is the end of each section here, a FLUSH there. */
static void barrier_in_each_section_but_in_each_round(void **state)
{
	struct pair_setup setup = multifd_setup;

	(void)state;
	setup.machine = "pc-i440fx-11.1";
	between(setup, "6.2", "10.0", STUCK, judge_full_channels, true);
	between(setup, "7.2", "11.1", STUCK, judge_full_channels, true);
	setup.machine = NULL;
	setup.unlike = "multifd-flush-after-each-section";
	setup.unlike_source = true;
	between(setup, "8.2", "10.0", STUCK, judge_full_channels, true);
	between(setup, "10.0", "11.1", STUCK, judge_full_channels, true);
	between(setup, "11.1", "11.1", STUCK, judge_full_channels, true);
}

/* FLUSH takes the SYNC, and the end of the section waits for another, which the source, long done, never sends. */
static void judge_second_barrier(const struct pair *pair)
{
	expect(pair, waits_for_receiver(pair, MR_ACTOR_MAIN), "the main loader should wait for a receiver");
	expect(pair, pair->source_finished, "the source should be content");
}

static void barrier_in_each_round_but_in_each_section(void **state)
{
	struct pair_setup setup = multifd_setup;

	(void)state;
	setup.unlike = "multifd-flush-after-each-section";
	between(setup, "8.2", "10.0", STUCK, judge_second_barrier, true);
	between(setup, "10.0", "8.2", STUCK, judge_second_barrier, true);
	between(setup, "11.1", "11.1", STUCK, judge_second_barrier, true);
}

static void judge_flush(const struct pair *pair)
{
	const struct mr_finding *error = mr_incoming_error(pair->destination);

	expect(pair, strcmp(mr_rule_id(error->rule), "PC-017") == 0 && strcmp(error->found, "ram-flush") == 0,
	       "FLUSH should be what is refused");
}

static void flush_before_8_1(void **state)
{
	struct pair_setup setup = multifd_setup;

	(void)state;
	setup.machine = "pc-i440fx-11.1";
	for (unsigned i = 2; i < RELEASES; i++)
		for (unsigned k = 0; k < 2; k++)
			between(setup, releases[i], releases[k], REFUSED, judge_flush, true);
}

/*
 * [multifd 3.4]: 9.2 does not look for pages in a SYNC packet, and takes them for the next one. Then the main loader
 * waits for a receiver that has ended, or the source for a sender whose channel nobody empties.
 */
static void judge_lost_place(const struct pair *pair)
{
	const struct mr_source_wants wants = mr_outgoing_wants(pair->source, MR_SOURCE_MIGRATION);

	expect(pair, strcmp(mr_rule_id(mr_incoming_error(pair->destination)->rule), "MFR-004") == 0,
	       "a receiver should have lost its place");
	expect(pair,
	       waits_for_receiver(pair, MR_ACTOR_MAIN) ||
		       (wants.wait == MR_SOURCE_WAIT_ACTOR && wants.actor >= MR_SOURCE_MULTIFD),
	       "somebody should wait for a receiver");
}

static void sync_with_pages_to_9_2(void **state)
{
	struct pair_setup setup = multifd_setup;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		setup.strict = false;
		between(setup, releases[i], "9.2", STUCK, judge_lost_place, false);
		setup.source = releases[i];
		setup.destination = "9.2";
		setup.strict = true;
		for (setup.seed = 1; setup.seed <= SEEDS; setup.seed++)
			migrate(&setup, NULL);
	}
}

/* Some pages have become zero, and the destination has what they were. */
static void judge_stale_pages(const struct pair *pair)
{
	for (unsigned i = 0; i < PAIR_BLOCKS; i++)
		for (uint64_t at = 0; at < pair->blocks[i].used_length; at += PAIR_PAGE)
			if (memcmp(pair->memory[i] + at, pair->arrived[i] + at, PAIR_PAGE) != 0)
				expect(pair, mr_is_zero(pair->memory[i] + at, PAIR_PAGE),
				       "only zero pages should differ");
}

/* [multifd 4.6]: where the number of zero pages stands nothing stood before. */
static void zero_pages_before_9_0(void **state)
{
	static const char *const sources[] = {"9.2", "10.0", "11.1"};
	struct pair_setup setup = multifd_setup;

	(void)state;
	setup.zero_detection = MR_ZERO_MULTIFD;
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 3; k++)
			between(setup, sources[i], releases[k], DIFFERS, judge_stale_pages, true);
	setup.strict = true;
	setup.source = "11.1";
	setup.destination = "7.2";
	for (setup.seed = 1; setup.seed <= SEEDS; setup.seed++)
		migrate(&setup, NULL);
}

/* [multifd 4.6]: from 9.0 to 9.2 a compressed packet of zero pages alone is not sent. */
static void zero_packets_dropped(void **state)
{
	struct pair_setup setup = multifd_setup;

	(void)state;
	setup.method = "zlib";
	between(setup, "9.0", "9.2", DIFFERS, judge_stale_pages, false);
	between(setup, "9.2", "11.1", DIFFERS, judge_stale_pages, false);
	setup.method = "zstd";
	between(setup, "9.1", "10.0", DIFFERS, judge_stale_pages, false);
	between(setup, "9.2", "9.2", DIFFERS, judge_stale_pages, false);
}

/* The destination waits for a connection, and the source for an answer. */
static void judge_missing_channel(const struct pair *pair)
{
	expect(pair, mr_incoming_wants(pair->destination, MR_ACTOR_MAIN).wait == MR_WAIT_CHANNEL,
	       "the main loader should wait for a connection");
	expect(pair, waits_for_return_path(pair), "the source should wait for the return path");
}

/* [multifd 9.3]: 7.1 and 7.2 wait for the preempt channel first, later sources open it at the switch. */
static void preempt_channel_too_late(void **state)
{
	struct pair_setup setup = {.capabilities = POSTCOPY | MR_CAPABILITY_POSTCOPY_PREEMPT,
				   .switches = true,
				   .machine = "pc-i440fx-11.1"};

	(void)state;
	for (unsigned i = 2; i < RELEASES; i++)
		between(setup, releases[i], "7.2", STUCK, judge_missing_channel, true);
	/* The other way round it comes early, and is taken. */
	setup.source = "7.2";
	for (unsigned i = 2; i < RELEASES; i++)
		for (setup.destination = releases[i], setup.seed = 1; setup.seed <= SEEDS; setup.seed++)
			migrate(&setup, NULL);
}

/* [multifd 8.2]: up to 7.2 the preempt channel is taken for a multifd channel. */
static void preempt_taken_for_multifd(void **state)
{
	const struct pair_setup setup = {.capabilities =
						 POSTCOPY | MR_CAPABILITY_POSTCOPY_PREEMPT | MR_CAPABILITY_MULTIFD,
					 .switches = true,
					 .multifd_channels = CHANNELS};

	(void)state;
	between(setup, "7.2", "7.2", STUCK, judge_missing_channel, true);
	between(setup, "10.1", "7.2", STUCK, judge_missing_channel, true);
	between(setup, "11.1", "7.2", STUCK, judge_missing_channel, true);
}

/* In postcopy the end of a section waits for a SYNC. */
static void judge_barrier_in_postcopy(const struct pair *pair)
{
	expect(pair, waits_for_receiver(pair, MR_ACTOR_LISTEN), "the listen loader should wait for a receiver");
	expect(pair, waits_for_return_path(pair), "the source should wait for the return path");
}

/* [multifd 8.1]: from 10.1 on there is none in postcopy. Both sides since 10.1 are well, and so is 7.2 to those. */
static void multifd_and_postcopy(void **state)
{
	static const char *const since[] = {"10.1", "11.1"};
	struct pair_setup setup = {
		.capabilities = POSTCOPY | MR_CAPABILITY_MULTIFD, .switches = true, .multifd_channels = CHANNELS};

	(void)state;
	in_every_pair(setup, "10.1", NULL);
	for (unsigned i = 0; i < 2; i++) {
		between(setup, since[i], "7.2", STUCK, judge_barrier_in_postcopy, true);
		setup.source = "7.2";
		setup.destination = since[i];
		for (setup.seed = 1; setup.seed <= SEEDS; setup.seed++)
			migrate(&setup, NULL);
	}
}

/* A destination that may try again pauses again. */
static void judge_pause(const struct pair *pair)
{
	expect(pair, pair->said[MR_SOURCE_ACTION_PAUSED], "without a cut it should migrate");
	expect(pair, mr_incoming_status(pair->destination) == MR_STATUS_POSTCOPY_PAUSED,
	       "the commands of recovery should have failed");
	expect(pair, waits_for_return_path(pair), "the source should wait for bitmaps");
}

static void judge_command(const struct pair *pair)
{
	expect(pair, pair->said[MR_SOURCE_ACTION_PAUSED], "without a cut it should migrate");
	expect(pair, strcmp(mr_rule_id(mr_incoming_error(pair->destination)->rule), "REC-010") == 0,
	       "the commands of recovery should be refused");
}

/* 3.0 numbers the commands of recovery one lower than every later release. */
static void recovery_by_other_numbers(void **state)
{
	struct pair_setup setup = {.capabilities = POSTCOPY, .switches = true, .cuts = 1};

	(void)state;
	between(setup, "3.0", "3.1", REFUSED, judge_command, false);
	between(setup, "3.1", "3.0", REFUSED, judge_command, false);
	between(setup, "3.0", "11.1", STUCK, judge_pause, false);
	between(setup, "11.1", "3.0", REFUSED, judge_command, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(precopy),
		cmocka_unit_test(precopy_with_return_path),
		cmocka_unit_test(precopy_xbzrle),
		cmocka_unit_test(postcopy),
		cmocka_unit_test(postcopy_recovered),
		cmocka_unit_test(preempt),
		cmocka_unit_test(preempt_huge_pages),
		cmocka_unit_test(multifd),
		cmocka_unit_test(multifd_compressed),
		cmocka_unit_test(barrier_in_each_section_but_in_each_round),
		cmocka_unit_test(barrier_in_each_round_but_in_each_section),
		cmocka_unit_test(flush_before_8_1),
		cmocka_unit_test(sync_with_pages_to_9_2),
		cmocka_unit_test(zero_pages_before_9_0),
		cmocka_unit_test(zero_packets_dropped),
		cmocka_unit_test(preempt_channel_too_late),
		cmocka_unit_test(preempt_taken_for_multifd),
		cmocka_unit_test(multifd_and_postcopy),
		cmocka_unit_test(recovery_by_other_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
