/* test_scenario_random.c: scenarios by chance: all of them possible, alike for a seed, written and read again, simpler.
 */
#include "scenario_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hostile.h"
#include "sim_support.h"

enum {
	SEEDS = 20000,
	WRITTEN_SEEDS = 1000,
	SIMPLIFIED_SEEDS = 100,
	TIDY_SEEDS = 30,
	TIDY_SEEDS_WATCHED = 3,
	SLOWER = 100
};

/* Under valgrind each takes a hundred times as long. */
static uint64_t seeds_of(uint64_t seeds)
{
	return RUNNING_ON_VALGRIND ? seeds / SLOWER : seeds;
}

static struct mr_scenario scenario, again;
static char error[512];

static void draw(uint64_t seed)
{
	mr_scenario_random(&scenario, seed);
	if (mr_scenario_check(&scenario, error, sizeof(error)) < 0)
		fail_msg("seed %llu: %s", (unsigned long long)seed, error);
}

/* ---- What is drawn ---- */

static void all_are_possible(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < seeds_of(SEEDS); seed++)
		draw(seed);
	draw(UINT64_MAX);
}

static void same_seed_same_scenario(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < seeds_of(WRITTEN_SEEDS); seed++) {
		memset(&scenario, 0xa5, sizeof(scenario));
		memset(&again, 0x5a, sizeof(again));
		mr_scenario_random(&scenario, seed);
		mr_scenario_random(&again, seed);
		expect_same_scenario(&scenario, &again);
	}
}

static void written_and_read(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < seeds_of(WRITTEN_SEEDS); seed++) {
		draw(seed);
		scenario_round_trip(&scenario, &again);
		assert_string_equal(again.name, "random");
		expect_same_scenario(&scenario, &again);
	}
}

#define MR_RELEASE(name) name,
static const char *const releases[] = {
#include "profile.def"
};
#undef MR_RELEASE
enum { RELEASES = sizeof(releases) / sizeof(releases[0]) };

/* How often what occurred. */
struct census {
	unsigned releases[RELEASES], capabilities[32], patterns[MR_PATTERN_KIND_COUNT], faults[MR_FAULT_KIND_COUNT];
	unsigned triggers[MR_TRIGGER_COUNT + 1], channels[3], operations[MR_OPERATION_KIND_COUNT];
	unsigned without_faults, canonical, paired, huge, other_page, methods[3], backward, never_recovered, switching;
	unsigned postcopies, strict;
};

static void count_release(struct census *census)
{
	for (unsigned i = 0; i < RELEASES; i++)
		census->releases[i] += strcmp(releases[i], scenario.migration.source) == 0;
	census->paired += strcmp(scenario.migration.source, scenario.migration.destination) != 0;
}

static void count_migration(struct census *census)
{
	const struct mr_scenario_migration *migration = &scenario.migration;

	for (unsigned i = 0; i < 32; i++)
		census->capabilities[i] += migration->capabilities >> i & 1;
	census->methods[0] += strcmp(migration->method, "none") == 0;
	census->methods[1] += strcmp(migration->method, "zlib") == 0;
	census->methods[2] += strcmp(migration->method, "zstd") == 0;
	census->strict += migration->strict;
	census->never_recovered += migration->recover_after == UINT64_MAX;
	if (!(migration->capabilities & MR_CAPABILITY_POSTCOPY_RAM))
		return;
	census->postcopies++;
	census->switching += migration->switch_after != UINT64_MAX;
}

static void count_guest(struct census *census)
{
	bool canonical = scenario.choices.spurious_dirty == 0;

	for (uint32_t i = 0; i < scenario.workload_count; i++)
		census->patterns[scenario.workloads[i].pattern.kind]++;
	census->huge += scenario.blocks[0].page_size > scenario.guest.host_page_size;
	census->other_page += scenario.guest.target_page_size != 4096;
	for (unsigned i = 0; i < MR_CHOICE_COUNT; i++)
		canonical = canonical && scenario.choices.permille[i] == 0;
	census->canonical += canonical;
}

static void count_trouble(struct census *census)
{
	census->without_faults += scenario.fault_count == 0;
	for (uint32_t i = 0; i < scenario.fault_count; i++) {
		const struct mr_scenario_fault *fault = &scenario.faults[i];

		census->faults[fault->kind]++;
		census->triggers[fault->trigger]++;
		census->channels[fault->channel]++;
		census->backward += fault->backward;
	}
	for (uint32_t i = 0; i < scenario.operation_count; i++)
		census->operations[scenario.operations[i].kind]++;
}

static void expect_all(const char *what, const unsigned *counts, size_t count, unsigned least)
{
	for (size_t i = 0; i < count; i++)
		if (counts[i] < least)
			fail_msg("%s %zu occurs %u times", what, i, counts[i]);
}

/* A swarm meets everything, and in the proportions that it is meant to have. */
static void everything_occurs(void **state)
{
	static struct census census;
	const unsigned count = 3000;

	(void)state;
	for (uint64_t seed = 1; seed <= count; seed++) {
		draw(seed);
		count_release(&census);
		count_migration(&census);
		count_guest(&census);
		count_trouble(&census);
	}
	expect_all("release", census.releases, RELEASES, 10);
	/* a recorded trace has to come from somewhere */
	expect_all("pattern", census.patterns, MR_PATTERN_TRACE, 50);
	assert_int_equal(census.patterns[MR_PATTERN_TRACE], 0);
	expect_all("fault", census.faults, MR_FAULT_KIND_COUNT, 30);
	expect_all("trigger", census.triggers, MR_TRIGGER_COUNT + 1, 50);
	expect_all("channel", census.channels, 3, 30);
	expect_all("operation", census.operations, MR_OPERATION_KIND_COUNT, 20);
	expect_all("method", census.methods, 3, 30);
	assert_in_range(census.without_faults, count * 55 / 100, count * 65 / 100);
	assert_in_range(census.canonical, count * 45 / 100, count * 55 / 100);
	assert_in_range(census.paired, count * 5 / 100, count * 25 / 100);
	assert_in_range(census.switching, census.postcopies * 90 / 100, census.postcopies);
	assert_in_range(census.huge, count * 10 / 100, count * 30 / 100);
	assert_true(census.other_page > 50 && census.backward > 10 && census.never_recovered > 50 &&
		    census.strict > 100);
}

/* What is known not to get on is not drawn together. */
static void only_what_gets_on(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < seeds_of(SEEDS); seed++) {
		const struct mr_scenario_migration *migration = &scenario.migration;
		const bool multifd =
			(mr_scenario_random(&scenario, seed), migration->capabilities & MR_CAPABILITY_MULTIFD);
		struct mr_profile source, destination;

		mr_scenario_profiles(&scenario, &source, &destination);
		if (multifd && mr_profile_does(&source, MR_SWITCH_SYNC_WITH_PAGES))
			assert_false(mr_profile_does(&destination, MR_SWITCH_SYNC_PAGES_IGNORED));
		if (multifd && migration->capabilities & MR_CAPABILITY_POSTCOPY_RAM)
			assert_true(mr_profile_within(&source, "10.1", "") &&
				    mr_profile_within(&destination, "10.1", ""));
		if (strcmp(migration->source, migration->destination) != 0)
			assert_true(mr_profile_within(&source, "6.2", "") &&
				    mr_profile_within(&destination, "6.2", ""));
	}
}

/* ---- Simpler ---- */

static void simpler_ones_end(void **state)
{
	uint32_t possible = 0, impossible = 0;

	(void)state;
	for (uint64_t seed = 0; seed < seeds_of(SIMPLIFIED_SEEDS); seed++)
		for (uint32_t number = 0;; number++) {
			mr_scenario_random(&scenario, seed);
			if (!mr_scenario_simplify(&scenario, number)) {
				mr_scenario_random(&again, seed);
				expect_same_scenario(&scenario, &again);
				assert_in_range(number, 10, 300);
				break;
			}
			if (mr_scenario_check(&scenario, error, sizeof(error)) < 0) {
				impossible++;
				continue;
			}
			if (possible++ % 8)
				continue;
			scenario_round_trip(&scenario, &again);
			expect_same_scenario(&scenario, &again);
		}
	assert_true(possible > 20 * impossible);
}

/* Whoever takes every step that is possible comes down to next to nothing. */
static void simplest(void **state)
{
	static struct mr_scenario candidate;

	(void)state;
	for (uint64_t seed = 0; seed < 10; seed++) {
		mr_scenario_random(&scenario, seed);
		for (unsigned round = 0; round < 5; round++)
			for (uint32_t number = 0;; number++) {
				assert_int_equal(mr_scenario_copy(&candidate, &scenario), 0);
				if (!mr_scenario_simplify(&candidate, number))
					break;
				if (mr_scenario_check(&candidate, error, sizeof(error)) == 0)
					scenario = candidate;
			}
		assert_int_equal(scenario.fault_count + scenario.operation_count + scenario.workload_count, 0);
		assert_int_equal(scenario.block_count, 1);
		assert_int_equal(scenario.blocks[0].size, 4096);
		assert_int_equal(scenario.guest.vcpus, 1);
		assert_int_equal(scenario.migration.capabilities, 0);
		assert_string_equal(scenario.migration.source, scenario.migration.destination);
	}
}

/* What a run comes to, and how much is told of it. */
static void run(const struct mr_scenario *of, struct mr_sim_result *result, struct sim_telling *telling)
{
	struct mr_watch watch;

	sim_telling_watch(telling, &watch);
	sim_end(sim_new(of, &watch), result);
}

/* Nothing goes by what a tidy one lacks: the run is the same, to the byte. */
static void tidy_ones_run_alike(void **state)
{
	static struct mr_sim_result result, other;
	struct sim_telling telling, other_telling;
	const uint64_t count = RUNNING_ON_VALGRIND ? TIDY_SEEDS_WATCHED : TIDY_SEEDS;
	uint64_t untidy = 0;

	(void)state;
	for (uint64_t seed = 0; seed < count; seed++) {
		mr_scenario_random(&scenario, seed);
		mr_scenario_random(&again, seed);
		untidy += mr_scenario_tidy(&again);
		assert_false(mr_scenario_tidy(&again));
		assert_int_equal(mr_scenario_check(&again, error, sizeof(error)), 0);
		run(&scenario, &result, &telling);
		run(&again, &other, &other_telling);
		assert_int_equal(telling.told, other_telling.told);
		assert_int_equal(telling.hash, other_telling.hash);
		assert_memory_equal(&result, &other, sizeof(result));
	}
	assert_true(untidy > count / 2);
}

/* By name: keys of a kind of fault, of a pattern, of a capability, that another has no use for. */
static void what_means_nothing_goes(void **state)
{
	const char text[] = "[guest]\nvcpus = 2\n[block a]\nsize = 64K\n"
			    "[workload x]\npattern = random\nstride = 7\nworking-set = 3\nlag = 2\n"
			    "[workload y]\npattern = phased\nvcpus = 1\nworking-set = 3\nphase = 5\nburst = 6\n"
			    "[migration]\nmultifd-channels = 5\nxbzrle-cache-size = 1M\nrecover-after = 1ms\n"
			    "[costs]\nwake = 7us\nsend = 8us\n[choices]\npacket-ends = 9\nsync = 10\n"
			    "[fault a]\nkind = cut-all\nat = 1ms\nchannel = preempt\nduration = 3ms\ncount = 4\n"
			    "[fault b]\nkind = slow\nat = byte 9\ndirection = backward\npercent = 5\nerror = ENOMEM\n";

	(void)state;
	if (scenario_read_text(&scenario, text, error) < 0)
		fail_msg("%s", error);
	assert_true(mr_scenario_tidy(&scenario));
	assert_false(mr_scenario_tidy(&scenario));
	assert_int_equal(scenario.workloads[0].pattern.stride, 2);
	assert_int_equal(scenario.workloads[0].pattern.working_set, 16);
	assert_int_equal(scenario.workloads[0].pattern.lag, 0);
	assert_int_equal(scenario.workloads[1].pattern.working_set, 3);
	assert_int_equal(scenario.workloads[1].pattern.phase, 5);
	assert_int_equal(scenario.workloads[1].pattern.burst, 100);
	assert_int_equal(scenario.migration.multifd_channels, 2);
	assert_int_equal(scenario.migration.xbzrle_cache_size, 64 << 20);
	assert_int_equal(scenario.migration.recover_after, 10000000);
	assert_int_equal(scenario.costs.wake, 5000);
	assert_int_equal(scenario.costs.send, 8000);
	assert_int_equal(scenario.choices.permille[MR_CHOICE_PACKET_ENDS], 0);
	assert_int_equal(scenario.choices.permille[MR_CHOICE_SYNC], 10);
	assert_int_equal(scenario.faults[0].channel, MR_CHANNEL_MAIN);
	assert_int_equal(scenario.faults[0].duration, 10000000);
	assert_int_equal(scenario.faults[0].count, 1);
	assert_int_equal(scenario.faults[1].backward, true);
	assert_int_equal(scenario.faults[1].percent, 5);
	assert_int_equal(scenario.faults[1].error, 5);
	mr_scenario_clear(&scenario);
}

static void simpler_ones_keep_traces(void **state)
{
	const char text[] =
		"[guest]\nvcpus = 3\n[block a]\nsize = 64K\n[block b]\nsize = 64K\n"
		"[workload x]\npattern = random\n[workload y]\npattern = trace\nvcpus = 1\nblock = b\ntrace = touches\n"
		"[workload z]\npattern = zipf\nvcpus = 2\nblock = b\n";
	static struct mr_scenario copy;

	(void)state;
	scenario_file("touches", "3 w\n", 4);
	assert_int_equal(scenario_read_text(&scenario, text, error), 0);
	for (uint32_t number = 0;; number++) {
		bool is_left;

		assert_int_equal(mr_scenario_copy(&copy, &scenario), 0);
		is_left = mr_scenario_simplify(&copy, number);
		for (uint32_t i = 0; is_left && i < copy.workload_count; i++)
			if (copy.workloads[i].pattern.kind == MR_PATTERN_TRACE)
				assert_int_equal(copy.traces[i][0].page, 3);
			else
				assert_null(copy.traces[i]);
		mr_scenario_clear(&copy);
		if (!is_left)
			break;
	}
	mr_scenario_clear(&scenario);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_are_possible),
		cmocka_unit_test(same_seed_same_scenario),
		cmocka_unit_test(written_and_read),
		cmocka_unit_test(everything_occurs),
		cmocka_unit_test(only_what_gets_on),
		cmocka_unit_test(simpler_ones_end),
		cmocka_unit_test(simplest),
		cmocka_unit_test(simpler_ones_keep_traces),
		cmocka_unit_test(tidy_ones_run_alike),
		cmocka_unit_test(what_means_nothing_goes),
	};

	return cmocka_run_group_tests(tests, scenario_make_folder, scenario_remove_folder);
}
