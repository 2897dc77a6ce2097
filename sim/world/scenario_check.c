/* scenario_check.c: what a scenario may not be: impossible by itself, or refused by the releases that it names. */
#include "sim/world/scenario_check.h"

#include "ref/capabilities.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What is looked at, and what was found wrong. */
struct check {
	const struct mr_scenario *scenario;
	struct mr_scenario_breach *breach;
};

static void print(char *out, size_t size, const char *format, va_list arguments)
{
	/* clang-tidy loses sight of va_start in the callers. */
	(void)vsnprintf(out, size, format, arguments); /* NOLINT(clang-analyzer-valist.Uninitialized) */
}

/* The place of a breach, and what stands there. Always true, for the caller to return. */
__attribute__((format(printf, 5, 6))) static bool refuse(const struct check *check,
							 enum mr_scenario_section_number section, uint32_t index,
							 const char *key, const char *expected, ...)
{
	struct mr_scenario_breach *breach = check->breach;
	va_list arguments;

	*breach = (struct mr_scenario_breach){.section = section, .index = index};
	breach->key = key ? mr_scenario_key_find(section, key) : NULL;
	va_start(arguments, expected);
	print(breach->expected, sizeof(breach->expected), expected, arguments);
	va_end(arguments);
	if (breach->key)
		mr_key_format(breach->key, check->scenario, mr_scenario_element_of(check->scenario, section, index),
			      breach->found);
	return true;
}

/* The same where something else than the key's value is what was found. */
__attribute__((format(printf, 2, 3))) static bool but_found(const struct check *check, const char *found, ...)
{
	va_list arguments;

	va_start(arguments, found);
	print(check->breach->found, sizeof(check->breach->found), found, arguments);
	va_end(arguments);
	return true;
}

static bool is_power_of_two(uint64_t number)
{
	return number && (number & (number - 1)) == 0;
}

/* ---- Every section ---- */

static bool has_impossible_value(const struct check *check, enum mr_scenario_section_number number, uint32_t index)
{
	const struct mr_scenario_section *section = &mr_scenario_sections[number];
	const void *element = mr_scenario_element_of(check->scenario, number, index);
	char text[MR_KEY_TEXT_MAX];

	for (unsigned i = 0; i < section->key_count; i++) {
		const struct mr_scenario_key *key = &section->keys[i];

		if (mr_key_is_possible(key, element))
			continue;
		mr_key_describe(key, text);
		return refuse(check, number, index, key->name, "%s: %s", key->name, text);
	}
	return false;
}

/* Elements of an array begin with their names. */
static const char *name_of(const struct check *check, enum mr_scenario_section_number number, uint32_t index)
{
	return mr_scenario_element_of(check->scenario, number, index);
}

static bool has_bad_name(const struct check *check, enum mr_scenario_section_number number, uint32_t index)
{
	const char *name = name_of(check, number, index);

	if (!mr_scenario_is_name(name, MR_SCENARIO_NAME_MAX)) {
		refuse(check, number, index, NULL, "a name of 1 to %d characters without blank, ] and ;",
		       MR_SCENARIO_NAME_MAX);
		return but_found(check, "\"%.64s\"", name);
	}
	for (uint32_t i = 0; i < index; i++)
		if (strcmp(name, name_of(check, number, i)) == 0) {
			refuse(check, number, index, NULL, "[%s %s] once", mr_scenario_sections[number].name, name);
			return but_found(check, "two of them");
		}
	return false;
}

static bool is_section_bad(const struct check *check, enum mr_scenario_section_number number)
{
	const struct mr_scenario_section *section = &mr_scenario_sections[number];
	const uint32_t count = mr_scenario_section_count(check->scenario, number);

	if (count > section->most) {
		refuse(check, number, 0, NULL, "at most %" PRIu32 " sections [%s NAME]", section->most, section->name);
		return but_found(check, "%" PRIu32, count);
	}
	for (uint32_t i = 0; i < count; i++)
		if ((section->named && has_bad_name(check, number, i)) || has_impossible_value(check, number, i))
			return true;
	return false;
}

/* ---- Guest ---- */

static bool is_guest_bad(const struct check *check)
{
	const struct mr_scenario_guest *guest = &check->scenario->guest;

	if (!is_power_of_two(guest->target_page_size))
		return refuse(check, MR_SECTION_GUEST, 0, "target-page", "target-page: a power of two");
	if (!is_power_of_two(guest->host_page_size) || guest->host_page_size < guest->target_page_size)
		return refuse(check, MR_SECTION_GUEST, 0, "host-page",
			      "host-page: a power of two from target-page = %" PRIu32 " on", guest->target_page_size);
	return false;
}

static bool is_block_bad(const struct check *check, uint32_t index)
{
	const struct mr_scenario_block *block = &check->scenario->blocks[index];
	const struct mr_scenario_guest *guest = &check->scenario->guest;

	if (!is_power_of_two(block->page_size) || block->page_size < guest->host_page_size)
		return refuse(check, MR_SECTION_BLOCK, index, "page-size",
			      "page-size: a power of two from host-page = %" PRIu32 " on", guest->host_page_size);
	if (block->size % block->page_size)
		return refuse(check, MR_SECTION_BLOCK, index, "size",
			      "size: a multiple of the block's page-size = %" PRIu64, block->page_size);
	return false;
}

static bool are_blocks_bad(const struct check *check)
{
	if (check->scenario->block_count == 0) {
		refuse(check, MR_SECTION_BLOCK, 0, NULL, "a section [block NAME]");
		return but_found(check, "none");
	}
	for (uint32_t i = 0; i < check->scenario->block_count; i++)
		if (is_block_bad(check, i))
			return true;
	return false;
}

/* ---- Workloads ---- */

static bool is_range_bad(const struct check *check, uint32_t index)
{
	const struct mr_scenario *scenario = check->scenario;
	const struct mr_scenario_workload *workload = &scenario->workloads[index];
	const struct mr_pattern_config *pattern = &workload->pattern;
	uint64_t pages;

	if (workload->block >= scenario->block_count)
		return refuse(check, MR_SECTION_WORKLOAD, index, "block", "block: the name of a block");
	pages = scenario->blocks[workload->block].size / scenario->guest.target_page_size;
	if (pattern->first >= pages)
		return refuse(check, MR_SECTION_WORKLOAD, index, "start", "start: within the block's %" PRIu64 " bytes",
			      scenario->blocks[workload->block].size);
	if (pattern->pages == 0 || pattern->pages > pages - pattern->first)
		return refuse(check, MR_SECTION_WORKLOAD, index, "length",
			      "length: from a page to the block's end, %" PRIu64,
			      (pages - pattern->first) * scenario->guest.target_page_size);
	return false;
}

static bool is_trace_bad(const struct check *check, uint32_t index)
{
	const struct mr_scenario_workload *workload = &check->scenario->workloads[index];
	const struct mr_pattern_config *pattern = &workload->pattern;

	if (!*workload->trace_file || !pattern->trace || pattern->trace != check->scenario->traces[index] ||
	    pattern->trace_length == 0)
		return refuse(check, MR_SECTION_WORKLOAD, index, "trace",
			      "trace: a file with touches for pattern = trace");
	for (uint64_t i = 0; i < pattern->trace_length; i++)
		if (pattern->trace[i].page >= pattern->pages) {
			refuse(check, MR_SECTION_WORKLOAD, index, "trace", "trace: pages below %" PRIu64,
			       pattern->pages);
			return but_found(check, "page %" PRIu64, pattern->trace[i].page);
		}
	return false;
}

static bool is_pattern_bad(const struct check *check, uint32_t index)
{
	const struct mr_pattern_config *pattern = &check->scenario->workloads[index].pattern;

	switch (pattern->kind) {
	case MR_PATTERN_PHASED:
	case MR_PATTERN_STACK:
		if (pattern->working_set >= 1 && pattern->working_set <= pattern->pages)
			return false;
		return refuse(check, MR_SECTION_WORKLOAD, index, "working-set",
			      "working-set: at most the %" PRIu64 " pages of the workload", pattern->pages);
	case MR_PATTERN_CONSUMER:
		if (pattern->lag < pattern->pages)
			return false;
		return refuse(check, MR_SECTION_WORKLOAD, index, "lag",
			      "lag: below the %" PRIu64 " pages of the workload", pattern->pages);
	case MR_PATTERN_TRACE:
		return is_trace_bad(check, index);
	default:
		return false;
	}
}

static bool are_vcpus_bad(const struct check *check, uint32_t index)
{
	const struct mr_scenario *scenario = check->scenario;
	const struct mr_scenario_workload *workload = &scenario->workloads[index];

	if (workload->first_vcpu + workload->vcpu_count > scenario->guest.vcpus)
		return refuse(check, MR_SECTION_WORKLOAD, index, "vcpus", "vcpus: below the guest's %" PRIu32,
			      scenario->guest.vcpus);
	for (uint32_t i = 0; i < index; i++) {
		const struct mr_scenario_workload *other = &scenario->workloads[i];

		if (workload->first_vcpu < other->first_vcpu + other->vcpu_count &&
		    other->first_vcpu < workload->first_vcpu + workload->vcpu_count)
			return refuse(check, MR_SECTION_WORKLOAD, index, "vcpus",
				      "vcpus: none of those that run [workload %s]", other->name);
	}
	return false;
}

static bool are_workloads_bad(const struct check *check)
{
	for (uint32_t i = 0; i < check->scenario->workload_count; i++)
		if (are_vcpus_bad(check, i) || is_range_bad(check, i) || is_pattern_bad(check, i))
			return true;
	return false;
}

/* ---- Migration: by itself ---- */

static bool has(const struct check *check, uint32_t capabilities)
{
	return check->scenario->migration.capabilities & capabilities;
}

static bool is_release_bad(const struct check *check, const char *key, const char *release)
{
	struct mr_profile profile;

	return mr_profile_init(&profile, release) < 0 &&
	       refuse(check, MR_SECTION_MIGRATION, 0, key, "%s: a release from 2.5 to 11.1", key);
}

static bool is_method_bad(const struct check *check)
{
	const struct mr_scenario_migration *migration = &check->scenario->migration;
	const struct mr_multifd_method *method = mr_multifd_method_by_name(migration->method);
	const int level = migration->method_level;

	if (!method)
		return refuse(check, MR_SECTION_MIGRATION, 0, "multifd-compression",
			      "multifd-compression: none, zlib, zstd, qpl, uadk or qatzip");
	if (level == INT32_MIN || (level >= method->level_min && level <= method->level_max))
		return false;
	return refuse(check, MR_SECTION_MIGRATION, 0, "multifd-level",
		      "multifd-level: %d to %d with multifd-compression = %s", method->level_min, method->level_max,
		      method->name);
}

static bool is_switch_bad(const struct check *check)
{
	static const char *const keys[] = {"switch-after", "switch-passes", "switch-dirty"};
	const struct mr_scenario_migration *migration = &check->scenario->migration;

	if (has(check, MR_CAPABILITY_POSTCOPY_RAM))
		return false;
	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (mr_key_get(mr_scenario_key_find(MR_SECTION_MIGRATION, keys[i]), migration) != UINT64_MAX)
			return refuse(check, MR_SECTION_MIGRATION, 0, keys[i], "%s: never, without postcopy-ram",
				      keys[i]);
	return false;
}

/* ---- Migration: by the releases ---- */

enum { PARAMETERS_MAX = 16 };

/* One end: what is set there. */
struct end {
	const char *name;
	struct mr_profile profile;
	struct mr_parameter parameters[PARAMETERS_MAX];
	size_t count;
};

static void set_number(struct end *end, const char *name, uint64_t number)
{
	end->parameters[end->count++] =
		(struct mr_parameter){.name = name, .kind = MR_PARAMETER_NUMBER, .number = number};
}

/* 0 is what the release does by itself. */
static void set_number_if(struct end *end, const char *name, uint64_t number)
{
	if (number)
		set_number(end, name, number);
}

static void set_text(struct end *end, const char *name, const char *text)
{
	end->parameters[end->count++] = (struct mr_parameter){.name = name, .kind = MR_PARAMETER_TEXT, .text = text};
}

/* Both ends have to know how many channels there are, and what stands in them. */
static void set_multifd(struct end *end, const struct mr_scenario_migration *migration)
{
	if (!(migration->capabilities & MR_CAPABILITY_MULTIFD))
		return;
	set_number(end, "multifd-channels", migration->multifd_channels);
	if (strcmp(migration->method, "none") != 0)
		set_text(end, "multifd-compression", migration->method);
}

static void set_source(struct end *end, const struct mr_scenario_migration *migration)
{
	static const char *const detections[] = {NULL, "none", "legacy", "multifd"};

	set_number_if(end, "max-bandwidth", migration->max_bandwidth);
	set_number_if(end, "max-postcopy-bandwidth", migration->max_postcopy_bandwidth);
	set_number_if(end, "avail-switchover-bandwidth", migration->switchover_bandwidth);
	set_number(end, "downtime-limit", migration->downtime_limit);
	if (migration->capabilities & MR_CAPABILITY_XBZRLE)
		set_number(end, "xbzrle-cache-size", migration->xbzrle_cache_size);
	set_number(end, "cpu-throttle-initial", migration->throttle_initial);
	set_number(end, "cpu-throttle-increment", migration->throttle_increment);
	set_number(end, "max-cpu-throttle", migration->throttle_maximum);
	if (migration->zero_detection != MR_ZERO_BY_RELEASE)
		set_text(end, "zero-page-detection", detections[migration->zero_detection]);
}

/* Some capabilities matter at one end alone, and the other may not even know them. */
static uint64_t capabilities_of(const struct mr_scenario_migration *migration, bool source)
{
	uint64_t on = 0;
	const char *name;
	uint32_t bit;

	for (size_t i = 0; (name = mr_capability_at(i, &bit)); i++)
		if (migration->capabilities & bit)
			on |= mr_capability_bit(name);
	if (source && migration->pause_before_switchover)
		on |= mr_capability_bit("pause-before-switchover");
	if (source && migration->release_ram)
		on |= mr_capability_bit("release-ram");
	if (source && migration->auto_converge)
		on |= mr_capability_bit("auto-converge");
	if (!source && migration->blocktime)
		on |= mr_capability_bit("postcopy-blocktime");
	return on;
}

/* A finding about a parameter begins with its name. */
static bool refuse_parameter(const struct check *check, const struct end *end, const struct mr_finding *finding)
{
	const char *key = NULL;

	for (size_t i = 0; i < end->count; i++) {
		const char *name = end->parameters[i].name;

		if (strncmp(finding->found, name, strlen(name)) == 0)
			key = name;
	}
	if (finding->rule == MR_CAP_007)
		key = "max-cpu-throttle";
	refuse(check, MR_SECTION_MIGRATION, 0, key, "%s at the %s", finding->expected, end->name);
	return but_found(check, "%s", finding->found);
}

static bool is_end_bad(const struct check *check, struct end *end, bool source)
{
	const struct mr_scenario_migration *migration = &check->scenario->migration;
	const struct mr_capability_settings settings = {
		.on = capabilities_of(migration, source),
		.multifd_compression = migration->method,
	};
	struct mr_finding finding;

	if (!mr_capabilities_check(&end->profile, &settings, &finding)) {
		refuse(check, MR_SECTION_MIGRATION, 0, "capabilities", "%s at the %s", finding.expected, end->name);
		return but_found(check, "%s", finding.found);
	}
	set_multifd(end, migration);
	if (source)
		set_source(end, migration);
	if (!mr_parameters_check(&end->profile, end->parameters, end->count, check->scenario->guest.target_page_size,
				 &finding))
		return refuse_parameter(check, end, &finding);
	return false;
}

/* Releases without it take part in no postcopy of such blocks. */
static bool are_huge_pages_bad(const struct check *check, const struct mr_profile *profile)
{
	const struct mr_scenario *scenario = check->scenario;

	if (!has(check, MR_CAPABILITY_POSTCOPY_RAM) || mr_profile_does(profile, MR_SWITCH_POSTCOPY_HUGE_PAGES))
		return false;
	for (uint32_t i = 0; i < scenario->block_count; i++)
		if (scenario->blocks[i].page_size != scenario->guest.host_page_size)
			return refuse(check, MR_SECTION_BLOCK, i, "page-size",
				      "page-size: %" PRIu32 " for postcopy in release %s",
				      scenario->guest.host_page_size, profile->release);
	return false;
}

static bool is_migration_bad(const struct check *check)
{
	const struct mr_scenario_migration *migration = &check->scenario->migration;
	struct end source = {.name = "source"}, destination = {.name = "destination"};

	if (is_release_bad(check, "source", migration->source) ||
	    is_release_bad(check, "destination", migration->destination))
		return true;
	mr_scenario_profiles(check->scenario, &source.profile, &destination.profile);
	return is_method_bad(check) || is_switch_bad(check) || is_end_bad(check, &source, true) ||
	       is_end_bad(check, &destination, false) || are_huge_pages_bad(check, &source.profile) ||
	       are_huge_pages_bad(check, &destination.profile);
}

/* ---- Faults and operator ---- */

/* It names a connection; CUT_ALL is of all of them. */
static bool has_channel(enum mr_fault_kind kind)
{
	return kind <= MR_FAULT_DELAY_OPEN && kind != MR_FAULT_CUT_ALL;
}

static bool is_trigger_bad(const struct check *check, uint32_t index)
{
	const struct mr_scenario_fault *fault = &check->scenario->faults[index];
	const char *kind = mr_fault_kind_name(fault->kind);

	if (mr_fault_counts(fault->kind) && fault->trigger != MR_TRIGGER_COUNT)
		return refuse(check, MR_SECTION_FAULT, index, "at", "at: none, but count, with kind = %s", kind);
	if (!mr_fault_counts(fault->kind) && fault->trigger == MR_TRIGGER_COUNT)
		return refuse(check, MR_SECTION_FAULT, index, "at", "at: a moment with kind = %s", kind);
	if (fault->kind == MR_FAULT_DELAY_OPEN && (fault->trigger != MR_TRIGGER_TIME || fault->at))
		return refuse(check, MR_SECTION_FAULT, index, "at", "at: none with kind = %s", kind);
	if (fault->kind == MR_FAULT_MEMORY && fault->trigger == MR_TRIGGER_BYTES)
		return refuse(check, MR_SECTION_FAULT, index, "at", "at: a time with kind = %s", kind);
	if (mr_fault_counts(fault->kind) && fault->count == 0)
		return refuse(check, MR_SECTION_FAULT, index, "count", "count: from 1 on with kind = %s", kind);
	return false;
}

static bool is_channel_bad(const struct check *check, uint32_t index)
{
	const struct mr_scenario_fault *fault = &check->scenario->faults[index];
	const bool is_named = has_channel(fault->kind) || fault->trigger == MR_TRIGGER_BYTES;

	if (!is_named || fault->channel == MR_CHANNEL_MAIN)
		return false;
	if (fault->channel == MR_CHANNEL_PREEMPT)
		return !has(check, MR_CAPABILITY_POSTCOPY_PREEMPT) &&
		       refuse(check, MR_SECTION_FAULT, index, "channel",
			      "channel: one that is there: preempt needs postcopy-preempt");
	if (!has(check, MR_CAPABILITY_MULTIFD))
		return refuse(check, MR_SECTION_FAULT, index, "channel",
			      "channel: one that is there: multifd needs the capability");
	return fault->multifd >= check->scenario->migration.multifd_channels &&
	       refuse(check, MR_SECTION_FAULT, index, "multifd", "multifd: below the %" PRIu32 " multifd-channels",
		      check->scenario->migration.multifd_channels);
}

static bool are_faults_bad(const struct check *check)
{
	for (uint32_t i = 0; i < check->scenario->fault_count; i++)
		if (is_trigger_bad(check, i) || is_channel_bad(check, i))
			return true;
	return false;
}

static bool are_operations_bad(const struct check *check)
{
	const struct mr_scenario *scenario = check->scenario;

	for (uint32_t i = 0; i < scenario->operation_count; i++)
		if (scenario->operations[i].kind <= MR_OPERATION_RECOVER && !has(check, MR_CAPABILITY_POSTCOPY_RAM))
			return refuse(check, MR_SECTION_OPERATOR, i, "command",
				      "command: one that makes sense without postcopy-ram");
	return false;
}

/* ---- The machines' own word ---- */

static const uint8_t *no_page(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	(void)argument;
	(void)actor;
	(void)block;
	(void)offset;
	(void)look;
	return NULL;
}

static bool refuse_machine(const struct check *check, const char *end, const char *error)
{
	refuse(check, MR_SECTION_MIGRATION, 0, NULL, "a migration that the %s can make", end);
	return but_found(check, "%s", error);
}

static bool is_source_refused(const struct check *check, const struct mr_profile *profile, char error[96])
{
	const struct mr_scenario *scenario = check->scenario;
	const struct mr_scenario_migration *migration = &scenario->migration;
	struct mr_outgoing_block blocks[MR_SCENARIO_BLOCKS_MAX] = {0};
	struct mr_handler_entry entry;
	struct mr_handlers handlers;
	struct mr_handler ram;
	const struct mr_outgoing_config config = {
		.profile = *profile,
		.capabilities = migration->capabilities,
		.target_page_size = scenario->guest.target_page_size,
		.host_page_size = scenario->guest.host_page_size,
		.blocks = blocks,
		.block_count = scenario->block_count,
		.handlers = &handlers,
		.xbzrle_cache_size = migration->xbzrle_cache_size,
		.multifd_channels = migration->multifd_channels,
		.method = mr_multifd_method_by_name(migration->method),
		.method_level = migration->method_level,
		.throttle_initial = migration->throttle_initial,
		.throttle_increment = migration->throttle_increment,
		.throttle_maximum = migration->throttle_maximum,
		.connections_max = MR_SCENARIO_CONNECTIONS_MAX,
		.memory = {NULL, no_page},
	};

	for (uint32_t i = 0; i < scenario->block_count; i++)
		blocks[i] = (struct mr_outgoing_block){.name = scenario->blocks[i].name,
						       .used_length = scenario->blocks[i].size,
						       .page_size = scenario->blocks[i].page_size};
	mr_handlers_init(&handlers, profile, &entry, 1);
	mr_handler_known("ram", &ram);
	return mr_handlers_register(&handlers, &ram, NULL, error) != MR_NO_RULE ||
	       mr_outgoing_size(&config, error) == 0;
}

static bool is_destination_refused(const struct check *check, const struct mr_profile *profile, char error[96])
{
	const struct mr_scenario *scenario = check->scenario;
	struct mr_incoming_block blocks[MR_SCENARIO_BLOCKS_MAX] = {0};
	const struct mr_incoming_config config = {
		.context = {.capabilities_known = true,
			    .capabilities = scenario->migration.capabilities,
			    .multifd_channels = scenario->migration.multifd_channels},
		.profile = *profile,
		.target_page_size = scenario->guest.target_page_size,
		.host_page_size = scenario->guest.host_page_size,
		.blocks = blocks,
		.block_count = scenario->block_count,
		.connections_max = MR_SCENARIO_CONNECTIONS_MAX,
		.vcpu_count = scenario->guest.vcpus,
	};

	for (uint32_t i = 0; i < scenario->block_count; i++)
		blocks[i] = (struct mr_incoming_block){.name = scenario->blocks[i].name,
						       .used_length = scenario->blocks[i].size,
						       .page_size = scenario->blocks[i].page_size};
	return mr_incoming_size(&config, error) == 0;
}

static bool are_machines_bad(const struct check *check)
{
	struct mr_profile source, destination;
	char error[96];

	mr_scenario_profiles(check->scenario, &source, &destination);
	if (is_source_refused(check, &source, error))
		return refuse_machine(check, "source", error);
	if (is_destination_refused(check, &destination, error))
		return refuse_machine(check, "destination", error);
	return false;
}

/* ---- All of it ---- */

bool mr_scenario_find_breach(const struct mr_scenario *scenario, struct mr_scenario_breach *breach)
{
	const struct check check = {scenario, breach};

	for (unsigned i = 0; i < MR_SECTION_COUNT; i++)
		if (is_section_bad(&check, i))
			return true;
	return is_guest_bad(&check) || are_blocks_bad(&check) || are_workloads_bad(&check) ||
	       is_migration_bad(&check) || are_faults_bad(&check) || are_operations_bad(&check) ||
	       are_machines_bad(&check);
}

void mr_scenario_section_text(const struct mr_scenario *scenario, enum mr_scenario_section_number section,
			      uint32_t index, char out[MR_KEY_TEXT_MAX])
{
	const struct mr_scenario_section *row = &mr_scenario_sections[section];

	if (row->named && index < mr_scenario_section_count(scenario, section))
		snprintf(out, MR_KEY_TEXT_MAX, "[%s %.64s]", row->name,
			 (const char *)mr_scenario_element_of(scenario, section, index));
	else
		snprintf(out, MR_KEY_TEXT_MAX, "[%s]", row->name);
}

int mr_scenario_check(const struct mr_scenario *scenario, char *error, size_t error_size)
{
	struct mr_scenario_breach breach;
	char place[MR_KEY_TEXT_MAX];

	if (!mr_scenario_find_breach(scenario, &breach))
		return 0;
	mr_scenario_section_text(scenario, breach.section, breach.index, place);
	snprintf(error, error_size, "%s: expected %s, found %s", place, breach.expected, breach.found);
	return -1;
}
