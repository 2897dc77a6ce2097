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

static uint32_t one_if(bool condition)
{
	return condition ? 1 : 0;
}

/* ---- What means nothing ---- */

static bool has_multifd(const struct mr_scenario *scenario, const void *element)
{
	(void)element;
	return scenario->migration.capabilities & MR_CAPABILITY_MULTIFD;
}

static bool has_postcopy(const struct mr_scenario *scenario, const void *element)
{
	(void)element;
	return scenario->migration.capabilities & MR_CAPABILITY_POSTCOPY_RAM;
}

static bool has_preempt(const struct mr_scenario *scenario, const void *element)
{
	(void)element;
	return scenario->migration.capabilities & MR_CAPABILITY_POSTCOPY_PREEMPT;
}

static bool has_xbzrle(const struct mr_scenario *scenario, const void *element)
{
	(void)element;
	return scenario->migration.capabilities & MR_CAPABILITY_XBZRLE;
}

static bool does_throttle(const struct mr_scenario *scenario, const void *element)
{
	(void)element;
	return scenario->migration.auto_converge;
}

static bool does_wait_at_switch(const struct mr_scenario *scenario, const void *element)
{
	(void)element;
	return scenario->migration.pause_before_switchover;
}

static enum mr_pattern_kind pattern_of(const void *element)
{
	return ((const struct mr_scenario_workload *)element)->pattern.kind;
}

static bool draws_writes(const struct mr_scenario *scenario, const void *element)
{
	const enum mr_pattern_kind kind = pattern_of(element);

	(void)scenario;
	return kind != MR_PATTERN_TRACE && kind != MR_PATTERN_PRODUCER && kind != MR_PATTERN_CONSUMER;
}

static bool is_strided(const struct mr_scenario *scenario, const void *element)
{
	(void)scenario;
	return pattern_of(element) == MR_PATTERN_STRIDED;
}

static bool is_phased(const struct mr_scenario *scenario, const void *element)
{
	(void)scenario;
	return pattern_of(element) == MR_PATTERN_PHASED;
}

static bool has_working_set(const struct mr_scenario *scenario, const void *element)
{
	return is_phased(scenario, element) || pattern_of(element) == MR_PATTERN_STACK;
}

static bool does_lag(const struct mr_scenario *scenario, const void *element)
{
	(void)scenario;
	return pattern_of(element) == MR_PATTERN_CONSUMER;
}

static bool does_burst(const struct mr_scenario *scenario, const void *element)
{
	(void)scenario;
	return pattern_of(element) == MR_PATTERN_BURSTS;
}

/* Of one connection, or at a byte of one. */
static bool has_channel(const struct mr_scenario *scenario, const void *element)
{
	const struct mr_scenario_fault *fault = element;

	(void)scenario;
	return fault->trigger == MR_TRIGGER_BYTES ||
	       (!mr_fault_counts(fault->kind) && fault->kind != MR_FAULT_CUT_ALL && fault->kind != MR_FAULT_MEMORY);
}

static bool has_channel_number(const struct mr_scenario *scenario, const void *element)
{
	return has_channel(scenario, element) &&
	       ((const struct mr_scenario_fault *)element)->channel == MR_CHANNEL_MULTIFD;
}

static bool has_direction(const struct mr_scenario *scenario, const void *element)
{
	(void)scenario;
	return ((const struct mr_scenario_fault *)element)->trigger == MR_TRIGGER_BYTES;
}

static bool does_last(const struct mr_scenario *scenario, const void *element)
{
	const enum mr_fault_kind kind = ((const struct mr_scenario_fault *)element)->kind;

	(void)scenario;
	return kind == MR_FAULT_STALL || kind == MR_FAULT_SLOW || kind == MR_FAULT_DELAY_OPEN;
}

static bool does_slow(const struct mr_scenario *scenario, const void *element)
{
	(void)scenario;
	return ((const struct mr_scenario_fault *)element)->kind == MR_FAULT_SLOW;
}

static bool does_count(const struct mr_scenario *scenario, const void *element)
{
	const enum mr_fault_kind kind = ((const struct mr_scenario_fault *)element)->kind;

	(void)scenario;
	return mr_fault_counts(kind) || kind == MR_FAULT_MEMORY;
}

static bool has_error(const struct mr_scenario *scenario, const void *element)
{
	(void)scenario;
	return mr_fault_counts(((const struct mr_scenario_fault *)element)->kind);
}

/* When a key is gone by at all. */
static const struct meaning {
	enum mr_scenario_section_number section;
	const char *key;
	bool (*has)(const struct mr_scenario *scenario, const void *element);
} meanings[] = {
	{MR_SECTION_MIGRATION, "multifd-channels", has_multifd},
	{MR_SECTION_MIGRATION, "multifd-compression", has_multifd},
	{MR_SECTION_MIGRATION, "multifd-level", has_multifd},
	{MR_SECTION_MIGRATION, "max-postcopy-bandwidth", has_postcopy},
	{MR_SECTION_MIGRATION, "xbzrle-cache-size", has_xbzrle},
	{MR_SECTION_MIGRATION, "cpu-throttle-initial", does_throttle},
	{MR_SECTION_MIGRATION, "cpu-throttle-increment", does_throttle},
	{MR_SECTION_MIGRATION, "max-cpu-throttle", does_throttle},
	{MR_SECTION_MIGRATION, "switch-after", has_postcopy},
	{MR_SECTION_MIGRATION, "switch-passes", has_postcopy},
	{MR_SECTION_MIGRATION, "switch-dirty", has_postcopy},
	{MR_SECTION_MIGRATION, "recover-after", has_postcopy},
	{MR_SECTION_MIGRATION, "continue-after", does_wait_at_switch},
	{MR_SECTION_COSTS, "place", has_postcopy},
	{MR_SECTION_COSTS, "discard", has_postcopy},
	{MR_SECTION_COSTS, "fault", has_postcopy},
	{MR_SECTION_COSTS, "request", has_postcopy},
	{MR_SECTION_COSTS, "wake", has_postcopy},
	{MR_SECTION_CHOICES, "channel", has_multifd},
	{MR_SECTION_CHOICES, "packet-ends", has_multifd},
	{MR_SECTION_CHOICES, "repeat", has_multifd},
	{MR_SECTION_CHOICES, "break-huge", has_preempt},
	{MR_SECTION_WORKLOAD, "writes", draws_writes},
	{MR_SECTION_WORKLOAD, "stride", is_strided},
	{MR_SECTION_WORKLOAD, "working-set", has_working_set},
	{MR_SECTION_WORKLOAD, "phase", is_phased},
	{MR_SECTION_WORKLOAD, "lag", does_lag},
	{MR_SECTION_WORKLOAD, "burst", does_burst},
	{MR_SECTION_WORKLOAD, "pause", does_burst},
	{MR_SECTION_FAULT, "channel", has_channel},
	{MR_SECTION_FAULT, "multifd", has_channel_number},
	{MR_SECTION_FAULT, "direction", has_direction},
	{MR_SECTION_FAULT, "duration", does_last},
	{MR_SECTION_FAULT, "percent", does_slow},
	{MR_SECTION_FAULT, "count", does_count},
	{MR_SECTION_FAULT, "error", has_error},
};

static bool reset_meaningless(struct mr_scenario *scenario, const struct meaning *meaning, uint32_t index)
{
	const struct mr_scenario_key *key = mr_scenario_key_find(meaning->section, meaning->key);
	void *element = mr_scenario_element(scenario, meaning->section, index);
	char before[MR_KEY_TEXT_MAX], after[MR_KEY_TEXT_MAX];

	if (meaning->has(scenario, element))
		return false;
	mr_key_format(key, scenario, element, before);
	mr_key_read(key, element, key->otherwise);
	if (meaning->section == MR_SECTION_WORKLOAD)
		mr_scenario_imply(scenario, meaning->section, element);
	mr_key_format(key, scenario, element, after);
	return strcmp(before, after) != 0;
}

bool mr_scenario_tidy(struct mr_scenario *scenario)
{
	bool any = false;

	for (unsigned i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++)
		for (uint32_t j = 0; j < mr_scenario_section_count(scenario, meanings[i].section); j++)
			any |= reset_meaningless(scenario, &meanings[i], j);
	return any;
}

static uint32_t count_untidy(const struct mr_scenario *scenario)
{
	struct mr_scenario copy = *scenario;

	return one_if(mr_scenario_tidy(&copy));
}

static void tidy(struct mr_scenario *scenario, uint32_t number)
{
	(void)number;
	mr_scenario_tidy(scenario);
}

/* ---- Faults and operator ---- */

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

	if (does_count(scenario, fault) && fault->count > 1)
		fault->count /= 2;
}

static void halve_fault_duration(struct mr_scenario *scenario, uint32_t number)
{
	struct mr_scenario_fault *fault = &scenario->faults[number];

	if (does_last(scenario, fault) && fault->duration > 1)
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
	struct mr_scenario_workload *workload = &scenario->workloads[number];

	if (draws_writes(scenario, workload))
		workload->pattern.write_permille = 1000;
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

	if (!has_multifd(scenario, NULL))
		return 0;
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
	{count_all_faults, drop_all_faults},
	{count_faults, drop_fault},
	{count_operations, drop_operation},
	{count_all_workloads, drop_all_workloads},
	{count_workloads, drop_workload},
	{count_vcpus, drop_vcpus},
	{count_spare_blocks, drop_block},
	{count_blocks, shrink_block_to_page},
	{count_blocks, halve_block},
	{count_page_sizes, use_4k_pages},
	{count_blocks, use_ordinary_pages},
	{count_groups, reset_group},
	{capability_bits, drop_capability},
	{count_switches, drop_switch},
	{count_releases, use_one_release},
	{count_channels, drop_channels},
	{count_untidy, tidy},
	{count_keys, reset_one_key},
	{count_workloads, straighten_workload},
	{count_workloads, let_workload_write},
	{count_workloads, slow_workload},
	{count_faults, halve_fault_moment},
	{count_faults, halve_fault_count},
	{count_faults, halve_fault_duration},
	{count_operations, halve_operation_moment},
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
