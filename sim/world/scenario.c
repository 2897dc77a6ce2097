/* scenario.c: scenarios as they are without any key, their copies, and the releases that they are about. */
#include "sim/world/scenario_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mr_scenario_default(struct mr_scenario *scenario)
{
	const struct mr_scenario_block block = {.name = "mem", .size = 16 << 20, .page_size = 4096};

	memset(scenario, 0, sizeof(*scenario));
	for (unsigned i = 0; i < MR_SECTION_COUNT; i++)
		if (!mr_scenario_sections[i].named)
			mr_scenario_set_defaults(i, mr_scenario_element(scenario, i, 0));
	scenario->blocks[scenario->block_count++] = block;
}

int mr_scenario_copy(struct mr_scenario *to, const struct mr_scenario *from)
{
	*to = *from;
	memset(to->traces, 0, sizeof(to->traces));
	for (uint32_t i = 0; i < from->workload_count; i++) {
		struct mr_pattern_config *pattern = &to->workloads[i].pattern;
		const size_t size = pattern->trace_length * sizeof(*pattern->trace);

		if (!from->traces[i])
			continue;
		to->traces[i] = malloc(size);
		if (!to->traces[i]) {
			mr_scenario_clear(to);
			return -1;
		}
		memcpy(to->traces[i], from->traces[i], size);
		pattern->trace = to->traces[i];
	}
	return 0;
}

void mr_scenario_clear(struct mr_scenario *scenario)
{
	for (unsigned i = 0; i < MR_SCENARIO_WORKLOADS_MAX; i++) {
		free(scenario->traces[i]);
		scenario->traces[i] = NULL;
		scenario->workloads[i].pattern.trace = NULL;
		scenario->workloads[i].pattern.trace_length = 0;
	}
}

void mr_scenario_machine(const struct mr_scenario *scenario, char machine[64])
{
	const struct mr_scenario_migration *migration = &scenario->migration;
	struct mr_profile source, destination;

	mr_profile_init(&source, migration->source);
	mr_profile_init(&destination, migration->destination);
	if (migration->machine[0])
		snprintf(machine, sizeof(migration->machine), "%s", migration->machine);
	else
		snprintf(machine, sizeof(migration->machine), "pc-i440fx-%s",
			 mr_profile_within(&source, destination.release, "") ? destination.release : source.release);
}

void mr_scenario_profiles(const struct mr_scenario *scenario, struct mr_profile *source, struct mr_profile *destination)
{
	char machine[sizeof(scenario->migration.machine)];

	mr_profile_init(source, scenario->migration.source);
	mr_profile_init(destination, scenario->migration.destination);
	mr_scenario_machine(scenario, machine);
	mr_profile_apply_machine(source, machine);
	mr_profile_apply_machine(destination, machine);
}
