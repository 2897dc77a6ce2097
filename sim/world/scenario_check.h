/* scenario_check.h: the first thing that is wrong with a scenario, with the key that it is about. */
#ifndef MR_WORLD_SCENARIO_CHECK_H
#define MR_WORLD_SCENARIO_CHECK_H

#include "sim/world/scenario_keys.h"

struct mr_scenario_breach {
	enum mr_scenario_section_number section;
	uint32_t index;
	const struct mr_scenario_key *key; /* NULL: the section as such */
	char expected[MR_KEY_TEXT_MAX + 64], found[MR_KEY_TEXT_MAX];
};

/* False if nothing is wrong. */
bool mr_scenario_find_breach(const struct mr_scenario *scenario, struct mr_scenario_breach *breach);
/* "[block mem]" */
void mr_scenario_section_text(const struct mr_scenario *scenario, enum mr_scenario_section_number section,
			      uint32_t index, char out[MR_KEY_TEXT_MAX]);

#endif
