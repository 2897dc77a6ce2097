/* explore_setup.c: the small world that a scenario describes, or why it is not one. */
#include "sim/world/explore_state.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { IN_FLIGHT_OF_CHOICES = 8 };

__attribute__((format(printf, 3, 4))) static bool refuse(char *error, size_t error_size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, error_size, format, arguments);
	va_end(arguments);
	return false;
}

/* ---- What is not explored ---- */

static bool is_known_migration(const struct mr_scenario *scenario, char *error, size_t size)
{
	const uint32_t known = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_RETURN_PATH | MR_CAPABILITY_POSTCOPY_PREEMPT;
	const struct mr_scenario_migration *migration = &scenario->migration;
	const char *name;
	uint32_t bit;

	for (size_t i = 0; (name = mr_capability_at(i, &bit)) != NULL; i++)
		if (migration->capabilities & bit & ~known)
			return refuse(
				error, size,
				"capabilities: expected postcopy-ram, return-path and postcopy-preempt alone, found %s",
				name);
	if (migration->release_ram || migration->auto_converge || migration->start_paused)
		return refuse(error, size, "expected a migration without %s, found one with it",
			      migration->release_ram     ? "release-ram"
			      : migration->auto_converge ? "auto-converge"
							 : "start-paused");
	if (scenario->choices.spurious_dirty)
		return refuse(error, size, "spurious-dirty: expected 0, found %" PRIu32,
			      scenario->choices.spurious_dirty);
	return true;
}

static bool is_small_guest(const struct mr_scenario *scenario, char *error, size_t size)
{
	const struct mr_scenario_guest *guest = &scenario->guest;
	uint64_t pages = 0;

	if (scenario->block_count > MR_EXPLORE_BLOCKS_MAX)
		return refuse(error, size, "expected at most %d blocks, found %" PRIu32, MR_EXPLORE_BLOCKS_MAX,
			      scenario->block_count);
	for (uint32_t i = 0; i < scenario->block_count; i++)
		pages += scenario->blocks[i].size / guest->target_page_size;
	if (pages > MR_EXPLORE_PAGES_MAX)
		return refuse(error, size, "expected at most %d pages of guest memory, found %" PRIu64,
			      MR_EXPLORE_PAGES_MAX, pages);
	if (guest->vcpus > MR_EXPLORE_VCPUS_MAX)
		return refuse(error, size, "expected at most %d vCPUs, found %" PRIu32, MR_EXPLORE_VCPUS_MAX,
			      guest->vcpus);
	if (guest->devices > MR_EXPLORE_DEVICES_MAX)
		return refuse(error, size, "expected at most %d devices, found %" PRIu32, MR_EXPLORE_DEVICES_MAX,
			      guest->devices);
	if (guest->device_touches)
		return refuse(error, size, "device-touches: expected 0, found %" PRIu32, guest->device_touches);
	return true;
}

static bool is_known_fault(const struct mr_scenario_fault *fault, char *error, size_t size)
{
	if (fault->kind != MR_FAULT_CUT && fault->kind != MR_FAULT_CUT_ALL)
		return refuse(error, size, "[fault %s]: expected cut or cut-all, found %s", fault->name,
			      mr_fault_kind_name(fault->kind));
	if (fault->kind == MR_FAULT_CUT && fault->channel == MR_CHANNEL_MULTIFD)
		return refuse(error, size, "[fault %s]: expected the main or the preempt channel, found multifd",
			      fault->name);
	return true;
}

static bool is_known_operation(const struct mr_scenario_operation *operation, char *error, size_t size)
{
	if (operation->kind == MR_OPERATION_STOP_GUEST || operation->kind == MR_OPERATION_CONTINUE_GUEST)
		return refuse(error, size, "[operator %s]: expected start-postcopy, pause, recover or cancel, found %s",
			      operation->name, mr_operation_kind_name(operation->kind));
	return true;
}

static bool is_known(const struct mr_scenario *scenario, char *error, size_t size)
{
	if (!is_known_migration(scenario, error, size) || !is_small_guest(scenario, error, size))
		return false;
	for (uint32_t i = 0; i < scenario->fault_count; i++)
		if (!is_known_fault(&scenario->faults[i], error, size))
			return false;
	if (scenario->fault_count > MR_EXPLORE_CUTS_MAX)
		return refuse(error, size, "expected at most %d cuts, found %" PRIu32, MR_EXPLORE_CUTS_MAX,
			      scenario->fault_count);
	for (uint32_t i = 0; i < scenario->operation_count; i++)
		if (!is_known_operation(&scenario->operations[i], error, size))
			return false;
	return true;
}

static bool are_options_possible(const struct mr_explore_options *options, char *error, size_t size)
{
	if (options->writes > MR_EXPLORE_WRITES_MAX)
		return refuse(error, size, "expected at most %d writes, found %" PRIu32, MR_EXPLORE_WRITES_MAX,
			      options->writes);
	if (options->recoveries > MR_EXPLORE_RECOVERIES_MAX)
		return refuse(error, size, "expected at most %d recoveries, found %" PRIu32, MR_EXPLORE_RECOVERIES_MAX,
			      options->recoveries);
	return true;
}

/* ---- What is ---- */

static void set_blocks(struct explore_setup *setup)
{
	const struct mr_scenario *scenario = setup->scenario;

	setup->page_size = scenario->guest.target_page_size;
	setup->block_count = scenario->block_count;
	for (uint32_t i = 0; i < scenario->block_count; i++) {
		const uint64_t host_page = scenario->blocks[i].page_size / setup->page_size;
		const uint64_t pages = scenario->blocks[i].size / setup->page_size;

		setup->blocks[i] = (struct explore_block){
			.first = setup->pages,
			.pages = (uint32_t)pages,
			.host_pages = host_page ? (uint32_t)host_page : 1,
		};
		setup->pages += (uint32_t)pages;
	}
}

static void set_cuts(struct explore_setup *setup)
{
	for (uint32_t i = 0; i < setup->scenario->fault_count; i++) {
		const struct mr_scenario_fault *fault = &setup->scenario->faults[i];

		if (fault->kind == MR_FAULT_CUT_ALL)
			setup->cuts_all++;
		else if (fault->channel == MR_CHANNEL_PREEMPT)
			setup->cuts_preempt++;
		else
			setup->cuts_main++;
	}
}

static void set_operator(struct explore_setup *setup)
{
	for (uint32_t i = 0; i < setup->scenario->operation_count; i++) {
		setup->pauses |= setup->scenario->operations[i].kind == MR_OPERATION_PAUSE;
		setup->cancels |= setup->scenario->operations[i].kind == MR_OPERATION_CANCEL;
	}
}

static bool writes(const struct mr_pattern_config *pattern)
{
	return pattern->kind == MR_PATTERN_PRODUCER || pattern->kind == MR_PATTERN_TRACE ||
	       (pattern->kind != MR_PATTERN_IDLE && pattern->kind != MR_PATTERN_CONSUMER && pattern->write_permille);
}

/* Where workloads touch, anybody may at any time; a guest without workload may everywhere. */
static void set_workloads(struct explore_setup *setup)
{
	const uint32_t size = setup->page_size;

	for (uint32_t i = 0; i < setup->scenario->workload_count; i++) {
		const struct mr_scenario_workload *workload = &setup->scenario->workloads[i];
		const struct mr_pattern_config *pattern = &workload->pattern;
		const page_set pages =
			mr_explore_range(setup, workload->block, pattern->first * size, pattern->pages * size);

		if (pattern->kind != MR_PATTERN_IDLE)
			setup->touched |= pages;
		if (writes(pattern))
			setup->written |= pages;
	}
	if (setup->scenario->workload_count == 0)
		setup->touched = (page_set)((1u << setup->pages) - 1);
	if (setup->written == 0)
		setup->written = (page_set)((1u << setup->pages) - 1);
}

/* Those that the source has at all without multifd. Where they are many, sections without end are among them. */
static void set_choices(struct explore_setup *setup)
{
	const uint32_t multifd = 1 << MR_CHOICE_CHANNEL | 1 << MR_CHOICE_REPEAT | 1 << MR_CHOICE_PACKET_ENDS;

	for (unsigned i = 0; i < MR_CHOICE_COUNT; i++)
		if (setup->scenario->choices.permille[i] && !(multifd >> i & 1))
			setup->choices |= 1u << i;
	if (setup->choices && setup->options.in_flight == 0)
		setup->options.in_flight = IN_FLIGHT_OF_CHOICES;
}

int mr_explore_set_up(struct explore_setup *setup, const struct mr_scenario *scenario,
		      const struct mr_explore_options *options, char *error, size_t error_size)
{
	const bool preempt = scenario->migration.capabilities & MR_CAPABILITY_POSTCOPY_PREEMPT;

	if (!is_known(scenario, error, error_size) || !are_options_possible(options, error, error_size))
		return -1;
	*setup = (struct explore_setup){.scenario = scenario,
					.options = *options,
					.vcpus = scenario->guest.vcpus,
					.devices = scenario->guest.devices};
	mr_scenario_profiles(scenario, &setup->profiles[SOURCE], &setup->profiles[DESTINATION]);
	set_blocks(setup);
	set_cuts(setup);
	set_operator(setup);
	set_choices(setup);
	set_workloads(setup);
	setup->connections_max = (1 + options->recoveries) * (preempt ? 2 : 1);
	return 0;
}

/* ---- Pages ---- */

uint32_t mr_explore_block_of(const struct explore_setup *setup, uint32_t page)
{
	uint32_t block = 0;

	while (page >= setup->blocks[block].first + setup->blocks[block].pages)
		block++;
	return block;
}

static page_set pages_from(uint32_t first, uint32_t count)
{
	return (page_set)(((1u << count) - 1) << first);
}

page_set mr_explore_range(const struct explore_setup *setup, uint32_t block, uint64_t start, uint64_t length)
{
	const uint64_t first = start / setup->page_size, count = length / setup->page_size;
	uint64_t pages;

	if (block >= setup->block_count)
		return 0;
	pages = setup->blocks[block].pages;
	if (first >= pages)
		return 0;
	return pages_from(setup->blocks[block].first + (uint32_t)first,
			  (uint32_t)(count < pages - first ? count : pages - first));
}

page_set mr_explore_host_page(const struct explore_setup *setup, uint32_t page)
{
	const struct explore_block *block = &setup->blocks[mr_explore_block_of(setup, page)];
	const uint32_t within = (page - block->first) / block->host_pages * block->host_pages;

	return pages_from(block->first + within, block->host_pages);
}
