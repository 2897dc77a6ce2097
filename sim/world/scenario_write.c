/* scenario_write.c: scenarios as files. */
#include "sim/world/scenario_keys.h"

#include <stdlib.h>
#include <string.h>

/* What a workload of this block and start would be without a length, and without a working set. */
static void imply_ranges(const struct mr_scenario *scenario, const struct mr_scenario_workload *workload,
			 struct mr_pattern_config *standard)
{
	struct mr_scenario_workload implied = *workload;

	implied.pattern.pages = 0;
	mr_scenario_imply(scenario, MR_SECTION_WORKLOAD, &implied);
	standard->pages = implied.pattern.pages;
	standard->working_set = workload->pattern.pages;
}

/* What the section would be with nothing but its required keys. */
static void make_default(const struct mr_scenario *scenario, enum mr_scenario_section_number section,
			 const void *element, void *standard)
{
	memcpy(standard, element, mr_scenario_sections[section].size);
	mr_scenario_set_defaults(section, standard);
	if (section == MR_SECTION_WORKLOAD)
		imply_ranges(scenario, element, &((struct mr_scenario_workload *)standard)->pattern);
	else
		mr_scenario_imply(scenario, section, standard);
}

/* A name is written always: without it the file would be called after its own. */
static bool is_always_written(const struct mr_scenario_key *key, enum mr_scenario_section_number section)
{
	return !key->otherwise || section == MR_SECTION_SCENARIO;
}

static void write_keys(const struct mr_scenario *scenario, enum mr_scenario_section_number section, const void *element,
		       const void *standard, const char *heading, FILE *out)
{
	const struct mr_scenario_section *row = &mr_scenario_sections[section];
	char text[MR_KEY_TEXT_MAX];

	for (unsigned i = 0; i < row->key_count; i++) {
		const struct mr_scenario_key *key = &row->keys[i];

		if (!is_always_written(key, section) && mr_key_is_equal(key, element, standard))
			continue;
		mr_key_format(key, scenario, element, text);
		fprintf(out, "%s%s = %s\n", heading, key->name, text);
		heading = "";
	}
}

static void write_section(const struct mr_scenario *scenario, enum mr_scenario_section_number section, uint32_t index,
			  void *standard, FILE *out)
{
	const struct mr_scenario_section *row = &mr_scenario_sections[section];
	const void *element = mr_scenario_element_of(scenario, section, index);
	char heading[MR_KEY_TEXT_MAX];

	make_default(scenario, section, element, standard);
	if (row->named)
		snprintf(heading, sizeof(heading), "\n[%s %.*s]\n", row->name, MR_SCENARIO_NAME_MAX,
			 (const char *)element);
	else
		snprintf(heading, sizeof(heading), "%s[%s]\n", section == MR_SECTION_SCENARIO ? "" : "\n", row->name);
	write_keys(scenario, section, element, standard, heading, out);
}

int mr_scenario_write(const struct mr_scenario *scenario, FILE *out)
{
	/* Room for any section's struct: this one holds them all. */
	struct mr_scenario *standard = malloc(sizeof(*standard));

	if (!standard)
		return -1;
	for (unsigned section = 0; section < MR_SECTION_COUNT; section++)
		for (uint32_t i = 0; i < mr_scenario_section_count(scenario, section); i++)
			write_section(scenario, section, i, standard, out);
	free(standard);
	return ferror(out) ? -1 : 0;
}
