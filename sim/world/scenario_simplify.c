/*
 * scenario_simplify.c: a scenario made simpler in one respect, for who looks for the simplest that still fails. What
 * takes most away comes first.
 */
#include "sim/world/scenario_keys.h"

#include <stdlib.h>
#include <string.h>

/* A kind of simplification: how many there are of it in a scenario, and the one with this number. */
struct simplification {
	uint32_t (*count)(const struct mr_scenario *scenario);
	void (*apply)(struct mr_scenario *scenario, uint32_t number);
};

/* ---- Faults and operator ---- */

static uint32_t one_if(bool condition)
{
	return condition ? 1 : 0;
}

static uint32_t count_all_faults(const struct mr_scenario *scenario)
{
	return one_if(scenario->fault_count > 1);
}

static void drop_all_faults(struct mr_scenario *scenario, uint32_t number)
{
	(void)number;
	scenario->fault_count = 0;
}

static uint32_t count_faults(const struct mr_scenario *scenario)
{
	return scenario->fault_count;
}

static void drop_fault(struct mr_scenario *scenario, uint32_t number)
{
	scenario->fault_count--;
	memmove(&scenario->faults[number], &scenario->faults[number + 1],
		(scenario->fault_count - number) * sizeof(scenario->faults[0]));
}

static uint32_t count_operations(const struct mr_scenario *scenario)
{
	return scenario->operation_count;
}

static void drop_operation(struct mr_scenario *scenario, uint32_t number)
{
	scenario->operation_count--;
	memmove(&scenario->operations[number], &scenario->operations[number + 1],
		(scenario->operation_count - number) * sizeof(scenario->operations[0]));
}

static void halve_fault_moment(struct mr_scenario *scenario, uint32_t number)
{
	scenario->faults[number].at /= 2;
}

static void halve_fault_count(struct mr_scenario *scenario, uint32_t number)
{
	struct mr_scenario_fault *fault = &scenario->faults[number];

	if (fault->count > 1)
		fault->count /= 2;
}

static void halve_fault_duration(struct mr_scenario *scenario, uint32_t number)
{
	struct mr_scenario_fault *fault = &scenario->faults[number];

	if (fault->duration > 1)
		fault->duration /= 2;
}

static void halve_operation_moment(struct mr_scenario *scenario, uint32_t number)
{
	scenario->operations[number].at /= 2;
}

/* ---- Workloads and vCPUs ---- */

static uint32_t count_all_workloads(const struct mr_scenario *scenario)
{
	return one_if(scenario->workload_count > 1);
}

static uint32_t count_workloads(const struct mr_scenario *scenario)
{
	return scenario->workload_count;
}

/* Its vCPUs are idle from now on. */
static void drop_workload(struct mr_scenario *scenario, uint32_t number)
{
	const uint32_t last = --scenario->workload_count;

	free(scenario->traces[number]);
	for (uint32_t i = number; i < last; i++) {
		scenario->workloads[i] = scenario->workloads[i + 1];
		scenario->traces[i] = scenario->traces[i + 1];
	}
	memset(&scenario->workloads[last], 0, sizeof(scenario->workloads[0]));
	scenario->traces[last] = NULL;
}

static void drop_all_workloads(struct mr_scenario *scenario, uint32_t number)
{
	(void)number;
	while (scenario->workload_count)
		drop_workload(scenario, scenario->workload_count - 1);
}

static uint32_t count_vcpus(const struct mr_scenario *scenario)
{
	return scenario->guest.vcpus > 2 ? 2 : one_if(scenario->guest.vcpus > 1);
}

static void set_vcpus(struct mr_scenario *scenario, uint32_t vcpus)
{
	scenario->guest.vcpus = vcpus;
	for (uint32_t i = scenario->workload_count; i-- > 0;) {
		struct mr_scenario_workload *workload = &scenario->workloads[i];

		if (workload->first_vcpu >= vcpus)
			drop_workload(scenario, i);
		else if (workload->vcpu_count > vcpus - workload->first_vcpu)
			workload->vcpu_count = vcpus - workload->first_vcpu;
	}
}

/* Down to one, or by one. */
static void drop_vcpus(struct mr_scenario *scenario, uint32_t number)
{
	set_vcpus(scenario, number == 0 ? 1 : scenario->guest.vcpus - 1);
}

static void slow_workload(struct mr_scenario *scenario, uint32_t number)
{
	scenario->workloads[number].interval *= 2;
}

static void straighten_workload(struct mr_scenario *scenario, uint32_t number)
{
	struct mr_pattern_config *pattern = &scenario->workloads[number].pattern;

	if (pattern->kind != MR_PATTERN_IDLE && pattern->kind != MR_PATTERN_TRACE)
		pattern->kind = MR_PATTERN_SEQUENTIAL;
}

static void let_workload_write(struct mr_scenario *scenario, uint32_t number)
{
	scenario->workloads[number].pattern.write_permille = 1000;
}

/* ---- Blocks ---- */

/* What a workload touches stays within its block. */
static void fit_workloads(struct mr_scenario *scenario, uint32_t block)
{
	const uint64_t pages = scenario->blocks[block].size / scenario->guest.target_page_size;

	for (uint32_t i = 0; i < scenario->workload_count; i++) {
		struct mr_pattern_config *pattern = &scenario->workloads[i].pattern;

		if (scenario->workloads[i].block != block)
			continue;
		if (pattern->first >= pages)
			pattern->first = 0;
		if (pattern->pages > pages - pattern->first)
			pattern->pages = pages - pattern->first;
		if (pattern->working_set > pattern->pages)
			pattern->working_set = pattern->pages;
		if (pattern->lag >= pattern->pages)
			pattern->lag = pattern->pages ? pattern->pages - 1 : 0;
	}
}

static uint32_t count_spare_blocks(const struct mr_scenario *scenario)
{
	return scenario->block_count > 1 ? scenario->block_count : 0;
}

/* With those who work on it. */
static void drop_block(struct mr_scenario *scenario, uint32_t number)
{
	scenario->block_count--;
	memmove(&scenario->blocks[number], &scenario->blocks[number + 1],
		(scenario->block_count - number) * sizeof(scenario->blocks[0]));
	for (uint32_t i = scenario->workload_count; i-- > 0;) {
		struct mr_scenario_workload *workload = &scenario->workloads[i];

		if (workload->block == number)
			drop_workload(scenario, i);
		else if (workload->block > number)
			workload->block--;
	}
}

static uint32_t count_blocks(const struct mr_scenario *scenario)
{
	return scenario->block_count;
}

static void set_block_pages(struct mr_scenario *scenario, uint32_t number, uint64_t pages)
{
	struct mr_scenario_block *block = &scenario->blocks[number];

	if (pages == 0 || block->size <= pages * block->page_size)
		return;
	block->size = pages * block->page_size;
	fit_workloads(scenario, number);
}

static void shrink_block_to_page(struct mr_scenario *scenario, uint32_t number)
{
	set_block_pages(scenario, number, 1);
}

static void halve_block(struct mr_scenario *scenario, uint32_t number)
{
	set_block_pages(scenario, number, scenario->blocks[number].size / scenario->blocks[number].page_size / 2);
}

static void shorten_block(struct mr_scenario *scenario, uint32_t number)
{
	set_block_pages(scenario, number, scenario->blocks[number].size / scenario->blocks[number].page_size - 1);
}

static void use_ordinary_pages(struct mr_scenario *scenario, uint32_t number)
{
	scenario->blocks[number].page_size = scenario->guest.host_page_size;
}

/* All sizes of pages at once, since they go by each other. Ranges keep their number of pages where there are so many.
 */
static uint32_t count_page_sizes(const struct mr_scenario *scenario)
{
	return one_if(scenario->guest.target_page_size != 4096 || scenario->guest.host_page_size != 4096);
}

static void use_4k_pages(struct mr_scenario *scenario, uint32_t number)
{
	(void)number;
	scenario->guest.target_page_size = scenario->guest.host_page_size = 4096;
	for (uint32_t i = 0; i < scenario->block_count; i++) {
		scenario->blocks[i].page_size = 4096;
		fit_workloads(scenario, i);
	}
}

/* ---- Capabilities and releases ---- */

static uint32_t capability_bits(const struct mr_scenario *scenario)
{
	return (uint32_t)__builtin_popcount(scenario->migration.capabilities);
}

/* With those that are nothing without it. */
static void drop_capability(struct mr_scenario *scenario, uint32_t number)
{
	struct mr_scenario_migration *migration = &scenario->migration;
	uint32_t bits = migration->capabilities;

	while (number--)
		bits &= bits - 1;
	migration->capabilities &= ~(bits & -bits);
	if (!(migration->capabilities & MR_CAPABILITY_RETURN_PATH))
		migration->capabilities &= ~(uint32_t)MR_CAPABILITY_SWITCHOVER_ACK;
	if (migration->capabilities & MR_CAPABILITY_POSTCOPY_RAM)
		return;
	migration->capabilities &= ~(uint32_t)MR_CAPABILITY_POSTCOPY_PREEMPT;
	migration->switch_after = migration->switch_passes = migration->switch_dirty = UINT64_MAX;
}

static uint32_t count_switches(const struct mr_scenario *scenario)
{
	const struct mr_scenario_migration *migration = &scenario->migration;

	return one_if(migration->pause_before_switchover || migration->release_ram || migration->auto_converge ||
		      migration->blocktime)
		       ? 4
		       : 0;
}

static void drop_switch(struct mr_scenario *scenario, uint32_t number)
{
	struct mr_scenario_migration *migration = &scenario->migration;
	bool *const switches[] = {&migration->pause_before_switchover, &migration->release_ram,
				  &migration->auto_converge, &migration->blocktime};

	*switches[number] = false;
}

static uint32_t count_releases(const struct mr_scenario *scenario)
{
	return strcmp(scenario->migration.source, scenario->migration.destination) == 0 ? 0 : 2;
}

/* Both ends of the one's release, or of the other's. */
static void use_one_release(struct mr_scenario *scenario, uint32_t number)
{
	struct mr_scenario_migration *migration = &scenario->migration;

	if (number == 0)
		memcpy(migration->destination, migration->source, sizeof(migration->destination));
	else
		memcpy(migration->source, migration->destination, sizeof(migration->source));
}

static uint32_t count_channels(const struct mr_scenario *scenario)
{
	const uint32_t channels = scenario->migration.multifd_channels;

	return channels > 2 ? 2 : one_if(channels > 1);
}

/* Down to two, or to one. */
static void drop_channels(struct mr_scenario *scenario, uint32_t number)
{
	const uint32_t channels = number == 0 && scenario->migration.multifd_channels > 2 ? 2 : 1;

	scenario->migration.multifd_channels = channels;
	for (uint32_t i = 0; i < scenario->fault_count; i++)
		if (scenario->faults[i].multifd >= channels)
			scenario->faults[i].multifd = channels - 1;
}

/* ---- Everything that has a default ---- */

static const enum mr_scenario_section_number defaulted[] = {
	MR_SECTION_CHOICES, MR_SECTION_COSTS, MR_SECTION_MIGRATION, MR_SECTION_GUEST, MR_SECTION_LINK,
};
enum { DEFAULTED = sizeof(defaulted) / sizeof(defaulted[0]) };

/* Not what decides whether a run fails, and not what has simplifications of its own. */
static bool is_left(const struct mr_scenario_key *key)
{
	static const char *const names[] = {"time-limit", "capabilities", "vcpus",       "target-page",
					    "host-page",  "source",       "destination", "multifd-channels"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(key->name, names[i]) == 0)
			return true;
	return false;
}

static bool is_default(const struct mr_scenario *scenario, const struct mr_scenario *standard,
		       enum mr_scenario_section_number section, const struct mr_scenario_key *key)
{
	return is_left(key) || mr_key_is_equal(key, mr_scenario_element_of(scenario, section, 0),
					       mr_scenario_element_of(standard, section, 0));
}

/* All choices, and all costs, at once. */
static uint32_t count_groups(const struct mr_scenario *scenario)
{
	(void)scenario;
	return 2;
}

static void reset_group(struct mr_scenario *scenario, uint32_t number)
{
	mr_scenario_set_defaults(defaulted[number], mr_scenario_element(scenario, defaulted[number], 0));
}

/* Goes over the keys that are not at their defaults; sets the one with this number back. Returns how many it met. */
static uint32_t reset_key(struct mr_scenario *scenario, uint32_t number)
{
	struct mr_scenario standard;
	uint32_t met = 0;

	mr_scenario_default(&standard);
	for (unsigned i = 0; i < DEFAULTED; i++) {
		const struct mr_scenario_section *section = &mr_scenario_sections[defaulted[i]];

		for (unsigned k = 0; k < section->key_count; k++) {
			const struct mr_scenario_key *key = &section->keys[k];

			if (is_default(scenario, &standard, defaulted[i], key))
				continue;
			if (met++ == number) {
				mr_key_read(key, mr_scenario_element(scenario, defaulted[i], 0), key->otherwise);
				return met;
			}
		}
	}
	return met;
}

static uint32_t count_keys(const struct mr_scenario *scenario)
{
	struct mr_scenario copy = *scenario;

	return reset_key(&copy, UINT32_MAX);
}

static void reset_one_key(struct mr_scenario *scenario, uint32_t number)
{
	reset_key(scenario, number);
}

/* ---- All of them ---- */

static const struct simplification simplifications[] = {
	{count_all_faults, drop_all_faults},   {count_faults, drop_fault},
	{count_operations, drop_operation},    {count_all_workloads, drop_all_workloads},
	{count_workloads, drop_workload},      {count_vcpus, drop_vcpus},
	{count_spare_blocks, drop_block},      {count_blocks, shrink_block_to_page},
	{count_blocks, halve_block},           {count_page_sizes, use_4k_pages},
	{count_blocks, use_ordinary_pages},    {count_groups, reset_group},
	{capability_bits, drop_capability},    {count_switches, drop_switch},
	{count_releases, use_one_release},     {count_channels, drop_channels},
	{count_keys, reset_one_key},           {count_workloads, straighten_workload},
	{count_workloads, let_workload_write}, {count_workloads, slow_workload},
	{count_faults, halve_fault_moment},    {count_faults, halve_fault_count},
	{count_faults, halve_fault_duration},  {count_operations, halve_operation_moment},
	{count_blocks, shorten_block},
};

bool mr_scenario_simplify(struct mr_scenario *scenario, uint32_t number)
{
	for (unsigned i = 0; i < sizeof(simplifications) / sizeof(simplifications[0]); i++) {
		const uint32_t count = simplifications[i].count(scenario);

		if (number < count) {
			simplifications[i].apply(scenario, number);
			return true;
		}
		number -= count;
	}
	return false;
}
