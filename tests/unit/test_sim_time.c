/* test_sim_time.c: what a simulated migration takes goes by what its slowest part takes. */
#include "sim_support.h"

enum { PAGES = 1024 };

static const uint64_t microsecond = 1000;

static struct mr_scenario scenario;
static struct mr_sim_result result;

/* A guest at rest, none of whose pages is zero, on a link that is fast enough. */
static void set_scenario(uint32_t capabilities)
{
	sim_scenario(&scenario, "11.1", capabilities, 1);
	scenario.guest.filled = 1000;
	scenario.guest.shares[MR_CONTENT_ZERO] = scenario.guest.shares[MR_CONTENT_CONSTANT] = 0;
	scenario.guest.shares[MR_CONTENT_TEXT] = 0;
	scenario.guest.shares[MR_CONTENT_RANDOM] = 1000;
	scenario.blocks[0].size = (uint64_t)PAGES * 4096;
	scenario.block_count = 1;
	scenario.workload_count = 0;
	scenario.link.bandwidth = 1000000000;
	scenario.link.receive_buffer = 16 << 20;
	scenario.migration.max_bandwidth = UINT64_MAX;
	scenario.costs.send = scenario.costs.zero_test = scenario.costs.copy = 0;
}

static uint64_t time_taken(void)
{
	sim_complete(&scenario, &result);
	assert_int_equal(result.pages_sent, PAGES);
	return result.total_time;
}

/* A reader that goes on from one page to the next makes room for more; the sender does not wait until all is read. */
static void a_small_receive_buffer_keeps_a_slow_reader_busy(void **state)
{
	static const uint64_t buffers[] = {32 << 10, 64 << 10, 128 << 10};
	uint64_t large;

	(void)state;
	set_scenario(MR_CAPABILITY_RETURN_PATH);
	scenario.costs.load = 200 * microsecond;
	scenario.link.latency = 30 * microsecond;
	scenario.link.bandwidth = 100000000;
	large = time_taken();
	assert_in_range(large, PAGES * scenario.costs.load, PAGES * scenario.costs.load * 101 / 100);
	for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) {
		scenario.link.receive_buffer = buffers[i];
		assert_in_range(time_taken(), large * 99 / 100, large * 101 / 100);
	}
}

/* In postcopy as well a record takes its time and has its bytes copied, and then again where the page is placed. */
static void a_placement_comes_behind_its_record(void **state)
{
	uint64_t placed;

	(void)state;
	set_scenario(SIM_POSTCOPY);
	scenario.migration.switch_after = scenario.migration.switch_passes = 0;
	scenario.costs.load = 0;
	scenario.costs.place = 20 * microsecond;
	placed = time_taken();
	assert_in_range(result.pages_placed, PAGES * 9 / 10, PAGES);
	assert_in_range(placed, result.pages_placed * scenario.costs.place, PAGES * scenario.costs.place * 11 / 10);
	scenario.costs.load = 10 * microsecond;
	scenario.costs.place = 10 * microsecond;
	assert_in_range(time_taken(), placed * 99 / 100, placed * 101 / 100);
	/* of 4 KiB, twice */
	scenario.costs.load = scenario.costs.place = 0;
	scenario.costs.copy = 20 * microsecond / 8;
	assert_in_range(time_taken(), placed * 99 / 100, placed * 101 / 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_small_receive_buffer_keeps_a_slow_reader_busy),
		cmocka_unit_test(a_placement_comes_behind_its_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
