/* test_sim.c: simulated migrations of every mode, with and without trouble, from the first byte to the last. */
#include "sim_support.h"

#include "hostile.h"

enum { SEEDS = 2 };

static const uint64_t microsecond = 1000, millisecond = 1000000, second = 1000000000;

static struct mr_scenario scenario;
static struct mr_sim_result result;

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Where valgrind watches, every `step`-th of many runs that differ a little. */
static uint64_t sampled(uint64_t step)
{
	return RUNNING_ON_VALGRIND ? step : 1;
}

/* ---- Precopy ---- */

static void precopy_completes(void **state)
{
	static const char *const releases[] = {"2.5", "2.12", "4.2", "6.2", "7.2", "8.2", "9.2", "10.1", "11.1"};

	(void)state;
	for (size_t i = 0; i < COUNT(releases); i += sampled(2)) {
		for (uint64_t seed = 1; seed <= SEEDS; seed += sampled(2)) {
			sim_scenario(&scenario, releases[i], seed % 2 ? 0 : MR_CAPABILITY_XBZRLE, seed);
			sim_complete(&scenario, &result);
			assert_true(result.passes > 1);
			assert_true(result.pages_sent_twice > 0);
			assert_int_equal(result.faults, 0);
			assert_int_equal(result.pages_placed, 0);
			assert_int_equal(result.seen[MR_SOMETIMES_PRECOPY_CONVERGED], 1);
			assert_int_equal(result.seen[MR_SOMETIMES_COMPLETED], 1);
		}
	}
}

static void precopy_with_a_return_path(void **state)
{
	static const char *const releases[] = {"2.10", "7.2", "11.1"};

	(void)state;
	for (size_t i = 0; i < COUNT(releases); i += sampled(2)) {
		sim_scenario(&scenario, releases[i], MR_CAPABILITY_RETURN_PATH, i);
		sim_complete(&scenario, &result);
		assert_true(result.return_bytes > 0);
	}
}

static void pages_go_out_as_differences(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed += sampled(2)) {
		sim_scenario(&scenario, "11.1", MR_CAPABILITY_XBZRLE, seed);
		scenario.workloads[0].pattern.pages = 40;
		scenario.workloads[0].pattern.working_set = 40;
		scenario.workloads[0].interval = 60 * microsecond;
		scenario.migration.downtime_limit = 1;
		scenario.migration.max_bandwidth = 40000000;
		sim_complete(&scenario, &result);
		assert_true(result.seen[MR_SOMETIMES_XBZRLE] > 0);
		assert_true(result.xbzrle_bytes > 0);
		assert_int_equal(result.source.xbzrle_pages > 0, true);
	}
}

static void vcpus_are_throttled_until_it_converges(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", 0, 1);
	scenario.migration.auto_converge = true;
	scenario.migration.downtime_limit = 10;
	scenario.migration.max_bandwidth = 4000000;
	scenario.migration.time_limit = 100 * second;
	scenario.workloads[0].interval = 400 * microsecond;
	scenario.workloads[0].pattern.write_permille = 1000;
	sim_complete(&scenario, &result);
	assert_true(result.seen[MR_SOMETIMES_THROTTLED] > 1);
	/* by its own means, before the guest was calmed down */
	assert_true(result.run_time < scenario.migration.time_limit);
}

static void the_guest_waits_before_the_switch(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", 0, 1);
	sim_complete(&scenario, &result);
	const uint64_t downtime = result.downtime;

	scenario.migration.pause_before_switchover = true;
	scenario.migration.continue_after = 30 * millisecond;
	sim_complete(&scenario, &result);
	assert_in_range(result.downtime, downtime + 20 * millisecond, downtime + 40 * millisecond);
}

/* ---- multifd ---- */

static void multifd_completes(void **state)
{
	static const char *const releases[] = {"4.0", "6.2", "7.2", "8.2", "10.0", "11.1"};
	static const char *const methods[] = {"none", "zlib", "zstd"};

	(void)state;
	for (size_t i = 0; i < COUNT(releases); i += sampled(2)) {
		for (size_t j = 0; j < (i ? COUNT(methods) : 1); j++) {
			sim_scenario(&scenario, releases[i], SIM_MULTIFD, i + j);
			scenario.migration.multifd_channels = (uint32_t)(j + 1);
			strcpy(scenario.migration.method, methods[j]);
			sim_complete(&scenario, &result);
			assert_true(result.packet_bytes > (j ? 100000 : 1000000));
			assert_true(result.seen[MR_SOMETIMES_BARRIER_PASSED] > 1);
			assert_int_equal(result.seen[MR_SOMETIMES_COMPRESSED] > 0, j > 0);
		}
	}
}

static void zero_pages_are_looked_for_anywhere(void **state)
{
	static const enum mr_zero_detection detections[] = {MR_ZERO_NONE, MR_ZERO_LEGACY, MR_ZERO_MULTIFD};

	(void)state;
	for (size_t i = 0; i < COUNT(detections); i++) {
		sim_scenario(&scenario, "11.1", SIM_MULTIFD, i);
		scenario.migration.zero_detection = detections[i];
		scenario.guest.filled = 300;
		sim_complete(&scenario, &result);
		assert_int_equal(result.zero_bytes > 0, detections[i] == MR_ZERO_LEGACY);
	}
}

/* A set-up that takes longer: releases that look at first bytes get on, others take a channel for another. */
static void connections_come_in_another_order(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", SIM_MULTIFD, 1);
	sim_add_fault(&scenario, MR_FAULT_DELAY_OPEN, MR_TRIGGER_TIME, 0)->duration = 3 * millisecond;
	sim_complete(&scenario, &result);
	assert_int_equal(result.seen[MR_SOMETIMES_REORDERED], 1);
	strcpy(scenario.migration.source, "7.2");
	strcpy(scenario.migration.destination, "7.2");
	sim_run(&scenario, &result);
	assert_int_not_equal(result.outcome, MR_OUTCOME_COMPLETED);
}

/* ---- Postcopy ---- */

static void postcopy_completes(void **state)
{
	static const char *const releases[] = {"2.8", "2.12", "5.2", "6.2", "7.2", "8.2", "9.2", "10.1", "11.1"};

	(void)state;
	for (size_t i = 0; i < COUNT(releases); i += sampled(2)) {
		for (uint64_t seed = 1; seed <= SEEDS; seed += sampled(2)) {
			sim_scenario(&scenario, releases[i], SIM_POSTCOPY, seed);
			sim_complete(&scenario, &result);
			assert_int_equal(result.seen[MR_SOMETIMES_SWITCHED], 1);
			assert_true(result.faults > 0);
			assert_true(result.requests > 0);
			assert_true(result.pages_placed > 0);
			assert_true(result.discard_bytes > 0);
		}
	}
}

static void urgent_pages_have_their_channel(void **state)
{
	static const char *const releases[] = {"7.1", "7.2", "8.2", "9.2", "11.1"};

	(void)state;
	for (size_t i = 0; i < COUNT(releases); i += sampled(2)) {
		for (uint64_t seed = 1; seed <= SEEDS; seed += sampled(2)) {
			sim_scenario(&scenario, releases[i], SIM_PREEMPT, seed);
			sim_complete(&scenario, &result);
			assert_true(result.seen[MR_SOMETIMES_URGENT] > 0);
		}
	}
}

/* What the channel is for: whoever misses a page waits less, since it overtakes what is queued. */
static void urgent_pages_come_sooner(void **state)
{
	uint64_t latency;

	(void)state;
	sim_scenario(&scenario, "11.1", SIM_POSTCOPY, 3);
	scenario.link.quantum = 4 << 10;
	sim_complete(&scenario, &result);
	latency = result.latency_sum / result.resolved;
	sim_scenario(&scenario, "11.1", SIM_PREEMPT, 3);
	scenario.link.quantum = 4 << 10;
	sim_complete(&scenario, &result);
	assert_true(result.latency_sum / result.resolved < latency / 2);
}

static void multifd_and_postcopy_together(void **state)
{
	static const char *const releases[] = {"10.1", "11.1"};

	(void)state;
	for (size_t i = 0; i < COUNT(releases); i += sampled(2)) {
		sim_scenario(&scenario, releases[i], SIM_POSTCOPY | SIM_MULTIFD, i + 1);
		sim_complete(&scenario, &result);
		assert_true(result.packet_bytes > 0);
		assert_true(result.pages_placed > 0);
	}
}

static void huge_pages_are_put_together(void **state)
{
	static const char *const releases[] = {"2.10", "7.2", "11.1"};

	(void)state;
	for (size_t i = 0; i < COUNT(releases); i += sampled(2)) {
		sim_scenario(&scenario, releases[i], i ? SIM_PREEMPT : SIM_POSTCOPY, i);
		scenario.blocks[0].page_size = 2 << 20;
		scenario.blocks[0].size = 8 << 20;
		scenario.workloads[0].pattern.pages = 2048;
		scenario.migration.max_bandwidth = 0;
		scenario.migration.switch_after = 30 * millisecond;
		sim_complete(&scenario, &result);
		assert_true(result.pages_placed >= 512);
	}
}

/* 7.1 and 7.2 leave a huge page for an urgent one. */
static void huge_pages_are_interrupted(void **state)
{
	(void)state;
	sim_scenario(&scenario, "7.2", SIM_PREEMPT, 2);
	scenario.blocks[0].page_size = 64 << 10;
	/* a section looks at the time every 64 host pages */
	scenario.blocks[0].size = 8 << 20;
	scenario.workloads[0].pattern.pages = 2048;
	sim_complete(&scenario, &result);
	assert_true(result.seen[MR_SOMETIMES_HUGE_BROKEN] > 0);
}

/* Too large to be put together: each of its pages is looked at as it comes. */
static void the_largest_host_pages(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", SIM_POSTCOPY, 1);
	scenario.blocks[0].page_size = scenario.blocks[0].size = 64 << 20;
	scenario.guest.filled = 20;
	scenario.migration.switch_after = 20 * millisecond;
	sim_complete(&scenario, &result);
	assert_int_equal(result.pages_placed / 16384, 1);
}

static void other_pages(void **state)
{
	static const uint32_t targets[] = {1 << 10, 2 << 10, 16 << 10, 64 << 10};

	(void)state;
	for (size_t i = 0; i < COUNT(targets); i++) {
		sim_scenario(&scenario, "11.1", i % 2 ? SIM_PREEMPT : SIM_POSTCOPY, i);
		scenario.guest.target_page_size = targets[i];
		scenario.guest.host_page_size = targets[i] > 4096 ? targets[i] : 4096;
		for (uint32_t j = 0; j < scenario.block_count; j++) {
			scenario.blocks[j].page_size = scenario.guest.host_page_size;
			scenario.blocks[j].size = (j + 1) * (512 << 10);
		}
		scenario.workloads[0].pattern.pages = (512 << 10) / targets[i];
		scenario.workloads[0].pattern.working_set = 1;
		sim_complete(&scenario, &result);
	}
}

/* ---- Devices and options of postcopy ---- */

struct device_faults {
	uint64_t count;
};

static void count_device_faults(void *argument, const struct mr_log_record *record, const struct mr_incoming *incoming,
				const struct mr_action *action)
{
	struct device_faults *faults = argument;

	(void)incoming;
	(void)action;
	faults->count += record->kind == MR_LOG_FAULT && record->thread < 1000;
}

static void devices_wait_for_pages_while_they_load(void **state)
{
	static const char *const releases[] = {"6.2", "9.2", "11.1"};

	(void)state;
	for (size_t i = 0; i < COUNT(releases); i += sampled(2)) {
		struct device_faults faults = {0};
		const struct mr_watch watch = {.argument = &faults, .destination = count_device_faults};

		sim_scenario(&scenario, releases[i], i % 2 ? SIM_PREEMPT : SIM_POSTCOPY, i);
		scenario.guest.device_touches = 12;
		sim_end(sim_new(&scenario, &watch), &result);
		assert_int_equal(result.outcome, MR_OUTCOME_COMPLETED);
		assert_in_range(faults.count, 2, 12);
	}
}

static void options_of_postcopy(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 5; i++) {
		sim_scenario(&scenario, "11.1", i % 2 ? SIM_PREEMPT : SIM_POSTCOPY, i);
		scenario.migration.release_ram = i == 0;
		scenario.migration.blocktime = i == 1;
		scenario.migration.strict = i == 2;
		scenario.migration.pause_before_switchover = i == 3;
		scenario.migration.start_paused = i == 4;
		sim_complete(&scenario, &result);
		assert_int_equal(result.has_blocktime, i == 1);
		if (i == 1)
			assert_int_equal(result.blocktime.vcpu_count, 2);
		assert_int_equal(result.faults > 0, i != 4);
	}
}

static void the_operator_says_when_to_switch(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", SIM_POSTCOPY, 1);
	scenario.migration.switch_after = UINT64_MAX;
	scenario.migration.switch_passes = 1;
	scenario.migration.downtime_limit = 1;
	sim_complete(&scenario, &result);
	assert_int_equal(result.seen[MR_SOMETIMES_SWITCHED], 1);
	scenario.migration.switch_passes = UINT64_MAX;
	scenario.migration.switch_dirty = 250;
	sim_complete(&scenario, &result);
	assert_int_equal(result.seen[MR_SOMETIMES_SWITCHED], 1);
	scenario.migration.switch_dirty = UINT64_MAX;
	sim_add_operation(&scenario, MR_OPERATION_START_POSTCOPY, MR_TRIGGER_TIME, 5 * millisecond);
	sim_complete(&scenario, &result);
	assert_int_equal(result.seen[MR_SOMETIMES_SWITCHED], 1);
}

/* ---- Figures ---- */

static void figures_follow_from_the_link(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", SIM_POSTCOPY, 5);
	sim_complete(&scenario, &result);
	/* a request and a page, each the latency's time, and the page's bytes */
	assert_true(result.latency_maximum >= 2 * scenario.link.latency + 4096 * second / scenario.link.bandwidth);
	assert_true(result.total_time >= result.forward_bytes * second / scenario.link.bandwidth);
	assert_true(result.setup_time > 2 * scenario.link.latency);
	assert_true(result.downtime > scenario.link.latency);
	assert_true(result.blackout >= scenario.workloads[0].interval);
	assert_true(result.run_time >= result.total_time + scenario.migration.run_after - scenario.link.latency);
	assert_true(result.requests >= result.faults / 2);
	assert_true(result.pages_sent >= (1 << 20) / 4096);
	assert_int_equal(result.cuts + result.recoveries, 0);
}

/* A page that was sent counts once more for each time it is sent again, whether or not it was written to before. */
static void pages_that_are_sent_again_are_counted(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", 0, 1);
	scenario.choices.permille[MR_CHOICE_TWICE] = 100;
	sim_complete(&scenario, &result);
	assert_int_equal(result.pages_sent - result.pages_sent_twice, ((1 << 20) + (96 << 10)) / 4096);
}

/* ---- Trouble with the link ---- */

static void a_connection_breaks_anywhere(void **state)
{
	static const uint32_t modes[] = {0, SIM_MULTIFD, SIM_POSTCOPY, SIM_PREEMPT};
	uint64_t outcomes[MR_OUTCOME_COUNT] = {0};

	(void)state;
	for (size_t i = 0; i < COUNT(modes); i++) {
		for (uint64_t at = 0; at < 1200000; at += 1 + at / (RUNNING_ON_VALGRIND ? 1 : 3)) {
			sim_scenario(&scenario, "11.1", modes[i], at);
			sim_add_fault(&scenario, MR_FAULT_CUT, MR_TRIGGER_BYTES, at);
			sim_run(&scenario, &result);
			outcomes[result.outcome]++;
			assert_true(result.cuts <= 1);
		}
	}
	assert_true(outcomes[MR_OUTCOME_RETURNED] > 10);
	assert_true(outcomes[MR_OUTCOME_COMPLETED] > 10);
}

static void the_return_path_breaks_anywhere(void **state)
{
	(void)state;
	for (uint64_t at = 0; at < 400; at += 7 * sampled(7)) {
		sim_scenario(&scenario, "11.1", at % 2 ? SIM_POSTCOPY : SIM_PREEMPT, at);
		sim_add_fault(&scenario, MR_FAULT_CUT, MR_TRIGGER_BYTES, at)->backward = true;
		sim_run(&scenario, &result);
	}
}

/* Two places in one stretch of bytes that arrives at once. */
static void two_faults_in_one_arrival(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", 0, 1);
	sim_add_fault(&scenario, MR_FAULT_CUT, MR_TRIGGER_BYTES, 100100);
	sim_add_fault(&scenario, MR_FAULT_STALL, MR_TRIGGER_BYTES, 100000);
	sim_run(&scenario, &result);
	assert_int_equal(result.seen[MR_SOMETIMES_STALLED], 1);
	assert_int_equal(result.cuts, 1);
	assert_int_equal(result.outcome, MR_OUTCOME_RETURNED);
}

static void cuts_in_postcopy_are_recovered(void **state)
{
	static const char *const releases[] = {"3.1", "6.2", "7.2", "8.2", "9.2", "11.1"};

	(void)state;
	for (size_t i = 0; i < COUNT(releases); i += sampled(2)) {
		for (uint64_t at = 0; at < 4 * millisecond; at += 1300 * microsecond) {
			sim_scenario(&scenario, releases[i], SIM_POSTCOPY, i);
			sim_add_fault(&scenario, MR_FAULT_CUT_ALL, MR_TRIGGER_SWITCH, 800 * microsecond + at);
			sim_complete(&scenario, &result);
			assert_int_equal(result.cuts, 1);
			assert_int_equal(result.recoveries, 1);
			assert_int_equal(result.seen[MR_SOMETIMES_RECOVERED], 1);
			assert_int_equal(result.seen[MR_SOMETIMES_CUT_POSTCOPY], 1);
		}
	}
}

/* Some break the recovery from the cut before. */
static void a_migration_survives_many_cuts(void **state)
{
	uint64_t in_recovery = 0;

	(void)state;
	for (uint64_t i = 0; i < 8; i += sampled(3)) {
		sim_scenario(&scenario, "11.1", SIM_POSTCOPY, i);
		for (uint64_t j = 0; j < 5; j++)
			sim_add_fault(&scenario, MR_FAULT_CUT_ALL, MR_TRIGGER_SWITCH,
				      millisecond + j * (10 * millisecond + i * 60 * microsecond));
		sim_complete(&scenario, &result);
		assert_in_range(result.cuts, 2, 5);
		assert_true(result.seen[MR_SOMETIMES_RECOVERED_TWICE]);
		in_recovery += result.seen[MR_SOMETIMES_CUT_RECOVERY];
	}
	assert_true(in_recovery > 0);
}

/* A release before recovery strands the guest; so does an operator who does not recover, until all is to end. */
static void cuts_without_recovery(void **state)
{
	(void)state;
	sim_scenario(&scenario, "2.8", SIM_POSTCOPY, 1);
	sim_add_fault(&scenario, MR_FAULT_CUT_ALL, MR_TRIGGER_SWITCH, millisecond);
	sim_run(&scenario, &result);
	assert_int_equal(result.outcome, MR_OUTCOME_STRANDED);
	sim_scenario(&scenario, "11.1", SIM_POSTCOPY, 1);
	scenario.migration.release_ram = true;
	sim_add_fault(&scenario, MR_FAULT_CUT_ALL, MR_TRIGGER_SWITCH, millisecond);
	sim_run(&scenario, &result);
	assert_int_equal(result.outcome, MR_OUTCOME_PAUSED);
	scenario.migration.release_ram = false;
	scenario.migration.recover_after = UINT64_MAX;
	sim_complete(&scenario, &result);
	assert_int_equal(result.recoveries, 1);
}

/* In order: what was under way still arrives, and nothing behind it. */
static void a_connection_ends_in_order(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", 0, 1);
	sim_add_fault(&scenario, MR_FAULT_CLOSE, MR_TRIGGER_TIME, 5 * millisecond);
	sim_run(&scenario, &result);
	assert_int_equal(result.outcome, MR_OUTCOME_RETURNED);
	for (uint64_t at = 0; at < 5 * millisecond; at += 700 * microsecond) {
		sim_scenario(&scenario, "11.1", SIM_POSTCOPY, at);
		sim_add_fault(&scenario, MR_FAULT_CLOSE, MR_TRIGGER_SWITCH, 300 * microsecond + at);
		sim_complete(&scenario, &result);
		assert_int_equal(result.recoveries, 1);
	}
}

static void the_link_is_slow_or_stands(void **state)
{
	uint64_t total_time;

	(void)state;
	sim_scenario(&scenario, "11.1", 0, 1);
	sim_complete(&scenario, &result);
	total_time = result.total_time;
	sim_add_fault(&scenario, MR_FAULT_STALL, MR_TRIGGER_TIME, 5 * millisecond)->duration = 300 * millisecond;
	sim_complete(&scenario, &result);
	assert_true(result.total_time >= total_time + 200 * millisecond);
	assert_int_equal(result.seen[MR_SOMETIMES_STALLED], 1);
	sim_scenario(&scenario, "11.1", 0, 1);
	sim_add_fault(&scenario, MR_FAULT_SLOW, MR_TRIGGER_TIME, 5 * millisecond)->duration = 300 * millisecond;
	scenario.faults[0].percent = 2;
	sim_complete(&scenario, &result);
	assert_true(result.total_time >= total_time + 100 * millisecond);
	assert_int_equal(result.seen[MR_SOMETIMES_SLOWED], 1);
	/* neither is a reason to fail */
	sim_scenario(&scenario, "11.1", SIM_PREEMPT, 1);
	sim_add_fault(&scenario, MR_FAULT_STALL, MR_TRIGGER_SWITCH, 100 * microsecond)->channel = MR_CHANNEL_PREEMPT;
	sim_add_fault(&scenario, MR_FAULT_SLOW, MR_TRIGGER_SWITCH, 200 * microsecond);
	sim_complete(&scenario, &result);
	assert_int_equal(result.cuts, 0);
}

/* Who waits for something that is under way does not stand still: faults and guest go on as planned. */
static void a_long_latency_is_no_standstill(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", 0, 1);
	scenario.link.latency = 3 * second;
	scenario.migration.time_limit = 1000 * second;
	sim_add_fault(&scenario, MR_FAULT_CUT, MR_TRIGGER_TIME, 10 * second);
	sim_run(&scenario, &result);
	assert_int_equal(result.cuts, 1);
	assert_int_equal(result.outcome, MR_OUTCOME_RETURNED);
}

static void the_slowest_link_carries_it_all(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", SIM_POSTCOPY, 1);
	scenario.block_count = 1;
	scenario.blocks[0].size = 8 << 10;
	scenario.workloads[0].pattern.pages = 2;
	scenario.workloads[0].pattern.working_set = 2;
	scenario.workloads[0].interval = 1000 * second;
	scenario.link.bandwidth = 1;
	scenario.link.latency = 10 * second;
	scenario.link.jitter = 10 * second;
	scenario.migration.switch_after = 0;
	scenario.migration.time_limit = 10 * 86400 * second;
	sim_complete(&scenario, &result);
	assert_true(result.total_time >= 8192 * second);
}

/* Costs of nothing, and costs of seconds. */
static void extreme_costs(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", SIM_PREEMPT, 1);
	memset(&scenario.costs, 0, sizeof(scenario.costs));
	sim_complete(&scenario, &result);
	sim_scenario(&scenario, "11.1", SIM_POSTCOPY, 1);
	scenario.migration.time_limit = 86400 * second;
	scenario.migration.switch_after = 0;
	scenario.costs.sync = scenario.costs.fault = scenario.costs.wake = 10 * second;
	sim_complete(&scenario, &result);
	assert_true(result.latency_maximum > 10 * second);
	assert_true(result.run_time < scenario.migration.time_limit);
	scenario.costs.device = 10 * second;
	sim_complete(&scenario, &result);
	assert_true(result.downtime > 30 * second);
}

/* ---- Trouble at the destination ---- */

static void a_placement_is_refused(void **state)
{
	(void)state;
	for (uint64_t count = 1; count < 100; count += 19) {
		sim_scenario(&scenario, "11.1", SIM_POSTCOPY, count);
		sim_add_fault(&scenario, MR_FAULT_PLACE, MR_TRIGGER_COUNT, 0)->count = count;
		sim_run(&scenario, &result);
		assert_int_equal(result.seen[MR_SOMETIMES_REFUSED_PLACEMENT], 1);
		if (result.outcome == MR_OUTCOME_COMPLETED)
			assert_int_equal(result.recoveries, 1);
		else
			assert_int_equal(result.outcome, MR_OUTCOME_STRANDED);
	}
}

/* What the vCPUs wait for comes by the preempt channel when all else has come. */
static void make_urgent(const char *release, bool strict)
{
	sim_scenario(&scenario, release, SIM_PREEMPT, 1);
	scenario.guest.vcpus = scenario.workloads[0].vcpu_count = 8;
	scenario.guest.filled = 1000;
	scenario.workloads[0].interval = 100 * microsecond;
	scenario.link.bandwidth = 125000000;
	scenario.link.send_buffer = scenario.link.receive_buffer = 32 << 10;
	scenario.migration.strict = strict;
	scenario.migration.switch_passes = 0;
	sim_add_fault(&scenario, MR_FAULT_STALL, MR_TRIGGER_SWITCH, 500 * microsecond)->duration = 200 * millisecond;
	scenario.faults[0].channel = MR_CHANNEL_PREEMPT;
}

/* 8.0 and 8.1 shut that channel without regard to what is to come there. */
static void urgent_pages_come_late(void **state)
{
	static const struct {
		const char *release;
		bool strict;
		enum mr_outcome outcome;
	} runs[] = {
		{"7.2", false, MR_OUTCOME_COMPLETED}, {"8.0", false, MR_OUTCOME_HOLED},
		{"8.1", false, MR_OUTCOME_HOLED},     {"8.1", true, MR_OUTCOME_COMPLETED},
		{"8.2", false, MR_OUTCOME_COMPLETED}, {"11.1", false, MR_OUTCOME_COMPLETED},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(runs); i++) {
		make_urgent(runs[i].release, runs[i].strict);
		sim_run(&scenario, &result);
		assert_int_equal(result.outcome, runs[i].outcome);
		assert_int_equal(strstr(result.reason, "PRE-003") != NULL, runs[i].outcome == MR_OUTCOME_HOLED);
	}
}

/* Of a page that cannot be placed from there releases tell nobody; a strict destination pauses, though all is read. */
static void urgent_pages_are_refused(void **state)
{
	static const char *const releases[] = {"7.2", "8.2", "9.2", "10.1", "11.1"};

	(void)state;
	for (size_t i = 0; i < COUNT(releases); i++) {
		make_urgent(releases[i], false);
		/* the last of all */
		sim_add_fault(&scenario, MR_FAULT_PLACE, MR_TRIGGER_COUNT, 0)->count = ((1 << 20) + (96 << 10)) / 4096;
		sim_run(&scenario, &result);
		assert_int_equal(result.outcome, MR_OUTCOME_STRANDED);
		assert_non_null(strstr(result.reason, "PRE-004"));
	}
	scenario.migration.strict = true;
	sim_complete(&scenario, &result);
	assert_int_equal(result.recoveries, 1);
}

/* What else comes there fills all buffers, and the source waits: until the operator pauses. */
static void urgent_pages_pile_up(void **state)
{
	(void)state;
	make_urgent("11.1", false);
	scenario.fault_count = 0;
	scenario.blocks[0].page_size = 64 << 10;
	scenario.blocks[0].size = 4 << 20;
	scenario.workloads[0].pattern.pages = 1024;
	scenario.link.receive_buffer = scenario.link.send_buffer = 4 << 10;
	sim_add_fault(&scenario, MR_FAULT_MEMORY, MR_TRIGGER_SWITCH, 0)->count = 0;
	sim_complete(&scenario, &result);
	assert_true(result.seen[MR_SOMETIMES_OPERATOR_PAUSED] > 0);
}

/* A destination of 7.2 takes a recovery only with its preempt channel: later sources open it as early. */
static void later_sources_recover_at_once(void **state)
{
	static const char *const sources[] = {"7.2", "8.0", "8.2", "9.2", "11.1"};

	(void)state;
	for (size_t i = 0; i < COUNT(sources); i++) {
		sim_scenario(&scenario, sources[i], SIM_PREEMPT, i);
		strcpy(scenario.migration.destination, "7.2");
		sim_add_fault(&scenario, MR_FAULT_CUT_ALL, MR_TRIGGER_SWITCH, 3 * millisecond);
		sim_complete(&scenario, &result);
		assert_int_equal(result.recoveries, 1);
	}
}

static void other_refusals(void **state)
{
	static const enum mr_fault_kind kinds[] = {MR_FAULT_DISCARD, MR_FAULT_DEVICE};

	(void)state;
	for (size_t i = 0; i < COUNT(kinds); i++) {
		sim_scenario(&scenario, "11.1", SIM_POSTCOPY, 1);
		sim_add_fault(&scenario, kinds[i], MR_TRIGGER_COUNT, 0)->count = 3;
		sim_run(&scenario, &result);
		assert_int_equal(result.outcome, MR_OUTCOME_RETURNED);
		assert_non_null(strstr(result.reason, "destination"));
	}
}

/* Recoveries fail until there is memory again. */
static void memory_runs_out(void **state)
{
	struct mr_scenario_fault *fault;

	(void)state;
	sim_scenario(&scenario, "11.1", SIM_POSTCOPY, 1);
	fault = sim_add_fault(&scenario, MR_FAULT_MEMORY, MR_TRIGGER_SWITCH, millisecond);
	fault->count = 150;
	fault->error = 12;
	sim_complete(&scenario, &result);
	assert_true(result.seen[MR_SOMETIMES_OUT_OF_MEMORY] > 1);
	assert_true(result.recoveries > 1);
}

/* ---- The operator ---- */

static void the_operator_cancels(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", 0, 1);
	sim_add_operation(&scenario, MR_OPERATION_CANCEL, MR_TRIGGER_TIME, 4 * millisecond);
	sim_run(&scenario, &result);
	assert_int_equal(result.outcome, MR_OUTCOME_RETURNED);
	assert_int_equal(result.seen[MR_SOMETIMES_CANCELLED], 1);
	assert_int_equal(result.seen[MR_SOMETIMES_RETURNED], 1);
	/* once the guest has moved he is refused, or it is the destination that has the guest */
	sim_scenario(&scenario, "9.2", SIM_POSTCOPY, 1);
	sim_add_operation(&scenario, MR_OPERATION_CANCEL, MR_TRIGGER_SWITCH, millisecond);
	sim_run(&scenario, &result);
	assert_int_not_equal(result.outcome, MR_OUTCOME_RETURNED);
}

static void the_operator_pauses_and_recovers(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", SIM_PREEMPT, 1);
	scenario.blocks[0].size = 4 << 20;
	scenario.migration.recover_after = UINT64_MAX;
	sim_add_operation(&scenario, MR_OPERATION_PAUSE, MR_TRIGGER_SWITCH, 100 * millisecond);
	sim_add_operation(&scenario, MR_OPERATION_RECOVER, MR_TRIGGER_SWITCH, 200 * millisecond);
	sim_complete(&scenario, &result);
	assert_int_equal(result.seen[MR_SOMETIMES_OPERATOR_PAUSED], 1);
	assert_int_equal(result.recoveries, 1);
	assert_true(result.total_time > 200 * millisecond);
	assert_true(result.run_time < second);
}

static void the_guest_stands_for_a_while(void **state)
{
	static const uint32_t modes[] = {0, SIM_POSTCOPY};
	uint64_t writes;

	(void)state;
	for (size_t i = 0; i < COUNT(modes); i++) {
		sim_scenario(&scenario, "11.1", modes[i], 1);
		sim_complete(&scenario, &result);
		writes = result.writes;
		sim_add_operation(&scenario, MR_OPERATION_STOP_GUEST, MR_TRIGGER_TIME, millisecond);
		sim_add_operation(&scenario, MR_OPERATION_CONTINUE_GUEST, MR_TRIGGER_TIME, 6 * millisecond);
		sim_complete(&scenario, &result);
		assert_true(result.writes < writes);
	}
}

/* ---- Choices ---- */

static void unusual_choices_are_legal(void **state)
{
	static const struct {
		enum mr_choice choice;
		uint32_t capabilities;
	} choices[] = {
		{MR_CHOICE_SYNC, 0},
		{MR_CHOICE_SECTION_ENDS, 0},
		{MR_CHOICE_SECTION_ENDS, SIM_POSTCOPY},
		{MR_CHOICE_CHANNEL, SIM_MULTIFD},
		{MR_CHOICE_PACKET_ENDS, SIM_MULTIFD},
		{MR_CHOICE_PAGE, 0},
		{MR_CHOICE_PAGE, SIM_PREEMPT},
		{MR_CHOICE_TWICE, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(choices); i++) {
		sim_scenario(&scenario, "11.1", choices[i].capabilities, i);
		scenario.choices.permille[choices[i].choice] = 500;
		scenario.migration.downtime_limit =
			choices[i].choice == MR_CHOICE_SYNC ? 10 : scenario.migration.downtime_limit;
		sim_complete(&scenario, &result);
		assert_true(result.seen[MR_SOMETIMES_UNUSUAL] > 0);
		assert_int_equal(result.source.chosen[choices[i].choice] > 0, true);
		assert_int_equal(result.seen[MR_SOMETIMES_TINY_SECTION] > 0,
				 choices[i].choice == MR_CHOICE_SECTION_ENDS);
	}
}

static void choices_of_old_releases(void **state)
{
	(void)state;
	sim_scenario(&scenario, "7.2", SIM_MULTIFD, 1);
	scenario.choices.permille[MR_CHOICE_REPEAT] = 500;
	sim_complete(&scenario, &result);
	sim_scenario(&scenario, "7.2", SIM_PREEMPT, 1);
	scenario.blocks[0].page_size = 64 << 10;
	scenario.choices.permille[MR_CHOICE_BREAK_HUGE] = 500;
	sim_complete(&scenario, &result);
}

static void pages_that_nobody_wrote_to(void **state)
{
	(void)state;
	sim_scenario(&scenario, "11.1", SIM_POSTCOPY, 1);
	scenario.choices.spurious_dirty = 1000;
	sim_complete(&scenario, &result);
	assert_true(result.seen[MR_SOMETIMES_SPURIOUS] > 0);
}

/* ---- The same again ---- */

static void make_eventful(uint64_t number)
{
	static const uint32_t modes[] = {SIM_PREEMPT, SIM_POSTCOPY | SIM_MULTIFD, SIM_MULTIFD, MR_CAPABILITY_XBZRLE};

	sim_scenario(&scenario, "11.1", modes[number % COUNT(modes)], number);
	scenario.link.jitter = 70 * microsecond;
	scenario.guest.device_touches = 3;
	scenario.choices.spurious_dirty = 300;
	scenario.choices.permille[MR_CHOICE_SECTION_ENDS] = 50;
	scenario.migration.blocktime = modes[number % COUNT(modes)] & SIM_POSTCOPY;
	if (modes[number % COUNT(modes)] & SIM_POSTCOPY)
		sim_add_fault(&scenario, MR_FAULT_CUT_ALL, MR_TRIGGER_SWITCH, 900 * microsecond);
	sim_add_fault(&scenario, MR_FAULT_STALL, MR_TRIGGER_BYTES, 40000);
}

static void expect_same(const struct mr_sim_result *one, const struct mr_sim_result *other)
{
	/* both were cleared first, so that even what lies between fields agrees */
	assert_memory_equal(one, other, sizeof(*one));
}

static void two_runs_are_the_same(void **state)
{
	static struct mr_sim_result again, other;

	(void)state;
	for (uint64_t i = 0; i < 8; i += sampled(3)) {
		struct sim_telling first, second_telling, third;
		struct mr_watch watch;

		make_eventful(i);
		sim_telling_watch(&first, &watch);
		sim_end(sim_new(&scenario, &watch), &result);
		sim_telling_watch(&second_telling, &watch);
		sim_end(sim_new(&scenario, &watch), &again);
		expect_same(&result, &again);
		assert_true(first.told > 1000);
		assert_int_equal(first.told, second_telling.told);
		assert_int_equal(first.hash, second_telling.hash);
		/* who looks on changes nothing */
		sim_run(&scenario, &again);
		expect_same(&result, &again);
		/* and the seed decides */
		scenario.seed += 100;
		sim_telling_watch(&third, &watch);
		sim_end(sim_new(&scenario, &watch), &other);
		assert_int_not_equal(first.hash, third.hash);
	}
}

static void a_run_in_pieces_is_the_same(void **state)
{
	static struct mr_sim_result again;

	(void)state;
	for (uint64_t i = 0; i < 8; i += sampled(3)) {
		struct sim_telling whole, pieces;
		struct mr_watch watch;
		struct mr_sim *sim;
		uint64_t piece = 0;

		make_eventful(i);
		sim_telling_watch(&whole, &watch);
		sim_end(sim_new(&scenario, &watch), &result);
		sim_telling_watch(&pieces, &watch);
		sim = sim_new(&scenario, &watch);
		/* of one event each, or of 1 to 100 */
		while (!mr_sim_run(sim, i % 2 ? 1 : 1 + piece++ % 100))
			assert_true(mr_sim_fraction(sim) >= 0 && mr_sim_fraction(sim) <= 1);
		sim_end(sim, &again);
		expect_same(&result, &again);
		assert_int_equal(whole.told, pieces.told);
		assert_int_equal(whole.hash, pieces.hash);
	}
}

/* Drawn ones too: as many as a test may take time for. */
static void random_migrations_hold(void **state)
{
	(void)state;
	for (uint64_t seed = 1000; seed < 1120; seed += sampled(10)) {
		mr_scenario_random(&scenario, seed);
		sim_run(&scenario, &result);
		mr_scenario_clear(&scenario);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(precopy_completes),
		cmocka_unit_test(precopy_with_a_return_path),
		cmocka_unit_test(pages_go_out_as_differences),
		cmocka_unit_test(vcpus_are_throttled_until_it_converges),
		cmocka_unit_test(the_guest_waits_before_the_switch),
		cmocka_unit_test(multifd_completes),
		cmocka_unit_test(zero_pages_are_looked_for_anywhere),
		cmocka_unit_test(connections_come_in_another_order),
		cmocka_unit_test(postcopy_completes),
		cmocka_unit_test(urgent_pages_have_their_channel),
		cmocka_unit_test(urgent_pages_come_sooner),
		cmocka_unit_test(multifd_and_postcopy_together),
		cmocka_unit_test(huge_pages_are_put_together),
		cmocka_unit_test(huge_pages_are_interrupted),
		cmocka_unit_test(the_largest_host_pages),
		cmocka_unit_test(other_pages),
		cmocka_unit_test(devices_wait_for_pages_while_they_load),
		cmocka_unit_test(options_of_postcopy),
		cmocka_unit_test(the_operator_says_when_to_switch),
		cmocka_unit_test(figures_follow_from_the_link),
		cmocka_unit_test(pages_that_are_sent_again_are_counted),
		cmocka_unit_test(a_connection_breaks_anywhere),
		cmocka_unit_test(the_return_path_breaks_anywhere),
		cmocka_unit_test(two_faults_in_one_arrival),
		cmocka_unit_test(cuts_in_postcopy_are_recovered),
		cmocka_unit_test(a_migration_survives_many_cuts),
		cmocka_unit_test(cuts_without_recovery),
		cmocka_unit_test(a_connection_ends_in_order),
		cmocka_unit_test(the_link_is_slow_or_stands),
		cmocka_unit_test(a_long_latency_is_no_standstill),
		cmocka_unit_test(the_slowest_link_carries_it_all),
		cmocka_unit_test(extreme_costs),
		cmocka_unit_test(a_placement_is_refused),
		cmocka_unit_test(urgent_pages_come_late),
		cmocka_unit_test(urgent_pages_are_refused),
		cmocka_unit_test(urgent_pages_pile_up),
		cmocka_unit_test(later_sources_recover_at_once),
		cmocka_unit_test(other_refusals),
		cmocka_unit_test(memory_runs_out),
		cmocka_unit_test(the_operator_cancels),
		cmocka_unit_test(the_operator_pauses_and_recovers),
		cmocka_unit_test(the_guest_stands_for_a_while),
		cmocka_unit_test(unusual_choices_are_legal),
		cmocka_unit_test(choices_of_old_releases),
		cmocka_unit_test(pages_that_nobody_wrote_to),
		cmocka_unit_test(two_runs_are_the_same),
		cmocka_unit_test(a_run_in_pieces_is_the_same),
		cmocka_unit_test(random_migrations_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
