/* test_explore.c: every interleaving of worlds of a page or two: what is found, and that nothing is left out. */
#include "sim_support.h"

#include "hostile.h"
#include "sim/world/explore.h"

#include <stdio.h>

enum { PAGE = 1024, AT_ONCE = 5000, NEVER = -1, LINES_MAX = 1000 };

/* A world of one block. */
struct small {
	const char *name, *release;
	uint32_t capabilities;
	uint32_t pages, cuts, writes, recoveries;
	int operation; /* enum mr_operation_kind that the operator may give once; NEVER */
	bool strict, large;
};

static const struct small smalls[] = {
	{"postcopy", "11.1", SIM_POSTCOPY, 1, 0, 0, 0, NEVER, false, false},
	{"precopy with a cut", "11.1", 0, 1, 1, 0, 0, NEVER, false, false},
	{"cancelled", "11.1", SIM_POSTCOPY, 1, 0, 0, 0, MR_OPERATION_CANCEL, false, false},
	{"paused", "11.1", SIM_POSTCOPY, 1, 0, 0, 1, MR_OPERATION_PAUSE, false, true},
	{"two pages", "11.1", SIM_POSTCOPY, 2, 0, 0, 0, NEVER, false, true},
	{"a write", "11.1", SIM_POSTCOPY, 1, 0, 1, 0, NEVER, false, true},
	{"preempt", "11.1", SIM_PREEMPT, 1, 0, 0, 0, NEVER, false, true},
	{"strict", "11.1", SIM_POSTCOPY, 1, 0, 0, 0, NEVER, true, true},
	{"an old release", "2.12", SIM_POSTCOPY, 1, 0, 0, 0, NEVER, false, true},
	{"a preempt channel by its order", "7.1", SIM_PREEMPT, 1, 0, 0, 0, NEVER, false, true},
};

enum { SMALLS = sizeof(smalls) / sizeof(smalls[0]) };

static struct mr_scenario scenario;
static struct mr_explore_options options;

static void add_block(const char *name, uint32_t pages)
{
	struct mr_scenario_block *block = &scenario.blocks[scenario.block_count++];

	snprintf(block->name, sizeof(block->name), "%s", name);
	block->size = (uint64_t)pages * PAGE;
	block->page_size = PAGE;
}

static void set_up(const struct small *small)
{
	mr_scenario_default(&scenario);
	scenario.guest.vcpus = 1;
	scenario.guest.target_page_size = scenario.guest.host_page_size = PAGE;
	scenario.guest.devices = 1;
	scenario.guest.device_bytes = 8;
	scenario.block_count = 0;
	add_block("a", small->pages);
	snprintf(scenario.migration.source, sizeof(scenario.migration.source), "%s", small->release);
	snprintf(scenario.migration.destination, sizeof(scenario.migration.destination), "%s", small->release);
	scenario.migration.capabilities = small->capabilities | MR_CAPABILITY_RETURN_PATH;
	scenario.migration.strict = small->strict;
	for (uint32_t i = 0; i < small->cuts; i++)
		scenario.faults[scenario.fault_count++] =
			(struct mr_scenario_fault){.name = "cut", .kind = MR_FAULT_CUT, .channel = MR_CHANNEL_MAIN};
	if (small->operation != NEVER)
		scenario.operations[scenario.operation_count++].kind = (enum mr_operation_kind)small->operation;
	options = (struct mr_explore_options){.writes = small->writes, .recoveries = small->recoveries, .in_flight = 2};
}

static struct mr_explorer *begin(void)
{
	char error[256] = "";
	struct mr_explorer *explorer = mr_explorer_new(&scenario, &options, error, sizeof(error));

	if (!explorer)
		fail_msg("%s", error);
	return explorer;
}

static void explore(struct mr_explorer *explorer, struct mr_explore_result *result)
{
	while (mr_explorer_run(explorer, AT_ONCE) == MR_EXPLORE_GOES_ON)
		;
	mr_explorer_result(explorer, result);
}

static struct mr_explore_result explore_all(void)
{
	struct mr_explorer *explorer = begin();
	struct mr_explore_result result;

	explore(explorer, &result);
	mr_explorer_free(explorer);
	return result;
}

/* ---- What is found ---- */

static void expect_exhausted(const char *name, const struct mr_explore_result *result)
{
	if (result->progress != MR_EXPLORE_EXHAUSTED)
		fail_msg("%s: %s: %s", name, mr_property_name(result->violation.property), result->violation.text);
	assert_int_equal(result->visited, result->states);
	assert_true(result->transitions >= result->states - 1);
	assert_true(result->depth > 0 && result->depth < result->states);
	assert_true(result->source_states > 1 && result->destination_states > 1 && result->worlds > 1);
}

/* The same ends and events, in another number. */
static void expect_same_kinds(const char *name, const struct mr_explore_result *reduced,
			      const struct mr_explore_result *full)
{
	for (unsigned i = 0; i < MR_EXPLORE_END_COUNT; i++)
		if (!reduced->ends[i] != !full->ends[i])
			fail_msg("%s: %s ends %s", name, reduced->ends[i] ? "only without `full`" : "only with `full`",
				 mr_explore_end_name((enum mr_explore_end)i));
	for (unsigned i = 0; i < MR_SOMETIMES_COUNT; i++)
		if (!reduced->seen[i] != !full->seen[i])
			fail_msg("%s: %s is seen %s", name,
				 reduced->seen[i] ? "only without `full`" : "only with `full`",
				 mr_sometimes_name((enum mr_sometimes)i));
	assert_true(reduced->states < full->states);
}

static bool is_too_large(const struct small *small)
{
	return RUNNING_ON_VALGRIND && small->large;
}

static void all_interleavings_and_those_that_differ(void **state)
{
	struct mr_explore_result reduced, full;

	(void)state;
	for (unsigned i = 0; i < SMALLS; i++) {
		if (is_too_large(&smalls[i]))
			continue;
		set_up(&smalls[i]);
		reduced = explore_all();
		expect_exhausted(smalls[i].name, &reduced);
		options.full = true;
		full = explore_all();
		expect_exhausted(smalls[i].name, &full);
		expect_same_kinds(smalls[i].name, &reduced, &full);
	}
}

static void ends_of_each_kind(void **state)
{
	struct mr_explore_result result;

	(void)state;
	set_up(&smalls[0]);
	result = explore_all();
	/* whoever has nothing to discard is refused RUN, unless the page went out before */
	assert_true(result.ends[MR_EXPLORE_COMPLETED] > 0 && result.ends[MR_EXPLORE_REFUSED] > 0);
	assert_true(result.seen[MR_SOMETIMES_COMPLETED] && result.seen[MR_SOMETIMES_FAULT] &&
		    result.seen[MR_SOMETIMES_SWITCHED]);
	assert_int_equal(result.ends[MR_EXPLORE_RETURNED], 0);
	set_up(&smalls[1]);
	result = explore_all();
	assert_true(result.ends[MR_EXPLORE_RETURNED] > 0 && result.ends[MR_EXPLORE_TWO_GUESTS] > 0);
	assert_true(result.seen[MR_SOMETIMES_CUT_PRECOPY] > 0 && !result.seen[MR_SOMETIMES_SWITCHED]);
	set_up(&smalls[2]);
	result = explore_all();
	assert_true(result.seen[MR_SOMETIMES_CANCELLED] && result.ends[MR_EXPLORE_RETURNED]);
}

static void same_numbers_twice(void **state)
{
	struct mr_explore_result once, again;
	struct mr_explorer *explorer;

	(void)state;
	set_up(&smalls[0]);
	once = explore_all();
	explorer = begin();
	while (mr_explorer_run(explorer, 1) == MR_EXPLORE_GOES_ON)
		;
	mr_explorer_result(explorer, &again);
	mr_explorer_free(explorer);
	assert_memory_equal(&once, &again, sizeof(once));
}

static void ways_to_an_end(void **state)
{
	struct mr_explore_result result, without;

	(void)state;
	set_up(&smalls[1]);
	without = explore_all();
	options.ends = true;
	result = explore_all();
	expect_exhausted("ends", &result);
	assert_true(result.looked >= result.states);
	assert_int_equal(without.looked, 0);
	assert_int_equal(without.states, result.states);
}

/* Releases end a section by the clock; every way of doing so is one. */
static void other_answers_to_choices(void **state)
{
	struct mr_explore_result result, canonical;

	(void)state;
	if (RUNNING_ON_VALGRIND)
		return;
	set_up(&smalls[0]);
	scenario.migration.capabilities = 0;
	canonical = explore_all();
	scenario.choices.permille[MR_CHOICE_SECTION_ENDS] = 1;
	result = explore_all();
	expect_exhausted("choices", &result);
	assert_int_equal(canonical.seen[MR_SOMETIMES_UNUSUAL], 0);
	assert_true(result.seen[MR_SOMETIMES_UNUSUAL] > 0 && result.states > canonical.states);
}

/* A vCPU touches what a workload touches, and the guest writes where one writes. */
static void workloads(void **state)
{
	struct mr_explore_result everywhere, somewhere, idle;

	(void)state;
	if (RUNNING_ON_VALGRIND)
		return;
	set_up(&smalls[0]);
	add_block("b", 1);
	everywhere = explore_all();
	scenario.workload_count = 1;
	scenario.workloads[0] = (struct mr_scenario_workload){
		.block = 1, .vcpu_count = 1, .pattern = {.kind = MR_PATTERN_RANDOM, .pages = 1}};
	somewhere = explore_all();
	scenario.workloads[0].pattern.kind = MR_PATTERN_IDLE;
	idle = explore_all();
	assert_true(everywhere.seen[MR_SOMETIMES_FAULT] > somewhere.seen[MR_SOMETIMES_FAULT]);
	assert_true(somewhere.seen[MR_SOMETIMES_FAULT] > 0);
	assert_int_equal(idle.seen[MR_SOMETIMES_FAULT], 0);
	expect_exhausted("idle", &idle);
}

/* ---- Planted bugs ---- */

/* Lines of a way, and what was told of it. */
struct told {
	char lines[LINES_MAX][MR_EXPLORE_TEXT_MAX];
	uint32_t count;
	unsigned destination, source, opened;
	uint64_t bytes[2]; /* of lines, forward and backward */
};

static struct told told;

static void take_text(void *argument, uint32_t index, const char *text)
{
	struct told *here = argument;

	assert_int_equal(index, here->count);
	assert_true(index < LINES_MAX && strlen(text) < MR_EXPLORE_TEXT_MAX);
	snprintf(here->lines[here->count++], MR_EXPLORE_TEXT_MAX, "%s", text);
}

static void take_destination(void *argument, const struct mr_log_record *record, const struct mr_incoming *incoming,
			     const struct mr_action *action)
{
	struct told *here = argument;

	(void)record;
	(void)action;
	assert_non_null(incoming);
	here->destination++;
}

static void take_source(void *argument, const struct mr_source_log_record *record,
			const struct mr_source_action *action)
{
	struct told *here = argument;

	(void)record;
	(void)action;
	here->source++;
}

static void take_line(void *argument, const struct mr_line *line)
{
	struct told *here = argument;

	if (line->event == MR_LINE_BYTES) {
		if (line->channel == 0)
			assert_int_equal(line->offset, here->bytes[line->backward]);
		here->bytes[line->backward] += line->length;
	}
	here->opened += line->event == MR_LINE_OPEN;
}

/* The way leads there again, is told, and is as long as it was said to be. */
static void go_there(struct mr_explorer *explorer, const struct mr_explore_result *found)
{
	const struct mr_watch watch = {&told, take_destination, take_source, take_line, NULL};
	struct mr_explore_result result;

	memset(&told, 0, sizeof(told));
	assert_true(mr_explorer_replay(explorer, &watch, take_text, &told));
	/* a move may be several steps, each of which is told */
	assert_true(told.count >= found->path);
	assert_string_equal(told.lines[0], "source migration: status setup");
	assert_true(told.destination > 0 && told.source > 0 && told.opened >= 1);
	assert_true(told.bytes[0] > 0 && told.bytes[1] > 0);
	mr_explorer_result(explorer, &result);
	assert_int_equal(result.violation.property, found->violation.property);
	assert_string_equal(result.violation.text, found->violation.text);
}

static bool is_told(const char *line)
{
	uint32_t i = 0;

	while (i < told.count && strcmp(told.lines[i], line) != 0)
		i++;
	return i < told.count;
}

static void expect_canary(enum mr_canary canary, const struct small *small, enum mr_property property, const char *line)
{
	struct mr_explore_result result;
	struct mr_explorer *explorer;

	set_up(small);
	options.canary = canary;
	explorer = begin();
	explore(explorer, &result);
	if (result.progress != MR_EXPLORE_VIOLATED || result.violation.property != property)
		fail_msg("%s: expected %s, found %s: %s", mr_canary_name(canary), mr_property_name(property),
			 result.progress == MR_EXPLORE_VIOLATED ? mr_property_name(result.violation.property)
								: "nothing",
			 result.violation.text);
	assert_true(strlen(result.violation.text) > 10 && !strchr(result.violation.text, '\n'));
	go_there(explorer, &result);
	if (!is_told(line))
		fail_msg("%s: nobody tells: %s", mr_canary_name(canary), line);
	mr_explorer_free(explorer);
}

static void planted_bugs(void **state)
{
	const struct small *postcopy = &smalls[0], *paused = &smalls[3], *writes = &smalls[5];

	(void)state;
	expect_canary(MR_CANARY_WRONG_CONTENT, postcopy, MR_PROPERTY_CONTENT, "destination listen: place a 0x0");
	expect_canary(MR_CANARY_GUEST_RUNS, postcopy, MR_PROPERTY_ONE_GUEST, "destination main: start-guest");
	if (RUNNING_ON_VALGRIND)
		return;
	expect_canary(MR_CANARY_LOST_WAKE, postcopy, MR_PROPERTY_RESOLVED, "vCPU 0 touches a 0x0, which is missing");
	expect_canary(MR_CANARY_LOST_WRITE, writes, MR_PROPERTY_STALE_DISCARDED, "destination main: start-guest");
	expect_canary(MR_CANARY_LOST_BITMAP, paused, MR_PROPERTY_PLACED_ONCE, "destination listen: place a 0x0");
}

/* The shortest way comes first, with and without what makes no difference. */
static void planted_bugs_in_full(void **state)
{
	struct mr_explore_result result;

	(void)state;
	for (unsigned canary = MR_CANARY_NONE + 1; canary < MR_CANARY_COUNT && !RUNNING_ON_VALGRIND; canary++) {
		enum mr_property property;

		set_up(canary == MR_CANARY_LOST_BITMAP ? &smalls[3] : &smalls[5]);
		options.canary = (enum mr_canary)canary;
		result = explore_all();
		assert_int_equal(result.progress, MR_EXPLORE_VIOLATED);
		property = result.violation.property;
		options.full = true;
		result = explore_all();
		assert_int_equal(result.progress, MR_EXPLORE_VIOLATED);
		assert_int_equal(result.violation.property, property);
	}
}

/* ---- Limits ---- */

static void limits(void **state)
{
	struct mr_explore_result result;

	(void)state;
	set_up(&smalls[0]);
	options.states_max = 1000;
	result = explore_all();
	assert_int_equal(result.progress, MR_EXPLORE_LIMITED);
	assert_int_equal(result.states, 1000);
	assert_true(result.visited < 1000);
	options.states_max = 1;
	result = explore_all();
	assert_int_equal(result.progress, MR_EXPLORE_LIMITED);
	assert_int_equal(result.states, 1);
	options.states_max = 0;
	options.memory_max = 1;
	result = explore_all();
	assert_int_equal(result.progress, MR_EXPLORE_LIMITED);
	options.memory_max = 3 << 20;
	result = explore_all();
	assert_int_equal(result.progress, MR_EXPLORE_LIMITED);
	assert_true(result.states > 1000);
	options.memory_max = 1 << 30;
	result = explore_all();
	expect_exhausted("enough memory", &result);
}

/* ---- What is not explored ---- */

static void refuse(const char *why)
{
	char error[256] = "";
	struct mr_explorer *explorer = mr_explorer_new(&scenario, &options, error, sizeof(error));

	if (explorer)
		fail_msg("expected %s, found a world that is explored", why);
	if (!strstr(error, why) || strchr(error, '\n'))
		fail_msg("expected %s, found %s", why, error);
	set_up(&smalls[1]);
}

static void worlds_too_large(void **state)
{
	(void)state;
	set_up(&smalls[1]);
	scenario.blocks[0].size = 17 * PAGE;
	refuse("expected at most 16 pages of guest memory, found 17");
	for (unsigned i = 0; i < 4; i++)
		add_block("b", 1);
	refuse("expected at most 4 blocks, found 5");
	scenario.guest.vcpus = 5;
	refuse("expected at most 4 vCPUs, found 5");
	scenario.guest.devices = 4;
	refuse("expected at most 3 devices, found 4");
	scenario.fault_count = 5;
	for (unsigned i = 1; i < 5; i++)
		scenario.faults[i] = scenario.faults[0];
	refuse("expected at most 4 cuts, found 5");
	options.writes = 13;
	refuse("expected at most 12 writes, found 13");
	options.recoveries = 4;
	refuse("expected at most 3 recoveries, found 4");
}

static void worlds_of_another_kind(void **state)
{
	(void)state;
	set_up(&smalls[1]);
	scenario.migration.capabilities |= MR_CAPABILITY_MULTIFD;
	refuse("postcopy-preempt alone, found multifd");
	scenario.migration.release_ram = true;
	refuse("found one with it");
	scenario.guest.device_touches = 1;
	refuse("device-touches: expected 0, found 1");
	scenario.choices.spurious_dirty = 7;
	refuse("spurious-dirty: expected 0, found 7");
	scenario.faults[0].kind = MR_FAULT_SLOW;
	refuse("[fault cut]: expected cut or cut-all, found slow");
	scenario.faults[0].channel = MR_CHANNEL_MULTIFD;
	refuse("expected the main or the preempt channel, found multifd");
	scenario.operations[scenario.operation_count++].kind = MR_OPERATION_STOP_GUEST;
	refuse("expected start-postcopy, pause, recover or cancel, found stop");
}

static void names(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MR_CANARY_COUNT; i++)
		assert_non_null(mr_canary_name((enum mr_canary)i));
	for (unsigned i = 0; i < MR_EXPLORE_END_COUNT; i++) {
		assert_non_null(mr_explore_end_name((enum mr_explore_end)i));
		assert_non_null(mr_explore_end_text((enum mr_explore_end)i));
	}
	assert_null(mr_canary_name(MR_CANARY_COUNT));
	assert_null(mr_explore_end_name(MR_EXPLORE_END_COUNT));
	assert_null(mr_explore_end_text(MR_EXPLORE_END_COUNT));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_interleavings_and_those_that_differ),
		cmocka_unit_test(ends_of_each_kind),
		cmocka_unit_test(same_numbers_twice),
		cmocka_unit_test(ways_to_an_end),
		cmocka_unit_test(other_answers_to_choices),
		cmocka_unit_test(workloads),
		cmocka_unit_test(planted_bugs),
		cmocka_unit_test(planted_bugs_in_full),
		cmocka_unit_test(limits),
		cmocka_unit_test(worlds_too_large),
		cmocka_unit_test(worlds_of_another_kind),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
