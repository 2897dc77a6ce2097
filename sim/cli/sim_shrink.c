/* sim_shrink.c: the simplest scenario that fails as another one does, by trying simpler ones one after the other. */
#include "sim/cli/sim_shrink.h"
#include "sim/cli/sim_child.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool fails_alike(const struct sim_seed *seed, const struct sim_seed *failure)
{
	if (seed->end != failure->end)
		return false;
	if (seed->end == MR_OUTCOME_VIOLATED)
		return seed->violation.property == failure->violation.property;
	return strcmp(seed->violation.text, failure->violation.text) == 0;
}

struct shrinking {
	const struct sim_seed *failure;
	struct sim_shrunk *shrunk;
	struct mr_scenario best;
	char *text; /* of it */
};

/* Takes the place of the best one, and of its text. */
static void keep(struct shrinking *shrinking, struct mr_scenario *simpler, char *text)
{
	mr_scenario_clear(&shrinking->best);
	free(shrinking->text);
	shrinking->best = *simpler;
	shrinking->text = text;
	shrinking->shrunk->steps++;
}

/* Runs a scenario. Returns 1 if it fails as the seed did, 0 if not, -1 on failure. */
static int try_one(struct shrinking *shrinking, const struct mr_scenario *scenario)
{
	struct sim_child child;
	struct sim_seed seed;

	if (sim_child_start(&child, scenario, scenario->seed, true) < 0)
		return -1;
	sim_child_finish(&child, &seed);
	shrinking->shrunk->tries++;
	return fails_alike(&seed, shrinking->failure);
}

/* Returns 1 if what may be simpler than the best one takes its place, 0 if not, -1 on failure. */
static int try_simpler(struct shrinking *shrinking, struct mr_scenario *simpler)
{
	char error[256], *text = sim_scenario_text(simpler);
	int alike = 0;

	if (!text)
		return -1;
	if (strcmp(text, shrinking->text) != 0 && mr_scenario_check(simpler, error, sizeof(error)) == 0)
		alike = try_one(shrinking, simpler);
	if (alike == 1)
		keep(shrinking, simpler, text);
	else
		free(text);
	return alike;
}

/* Returns 1 if a simpler one was found, 0 if there is none that fails, -1 on failure. */
static int go_over_all(struct shrinking *shrinking)
{
	int found = 0;

	for (uint32_t number = 0; shrinking->shrunk->tries < SIM_SHRINK_TRIES;) {
		struct mr_scenario simpler;
		int taken;

		if (mr_scenario_copy(&simpler, &shrinking->best) < 0)
			return -1;
		if (!mr_scenario_simplify(&simpler, number)) {
			mr_scenario_clear(&simpler);
			return found;
		}
		taken = try_simpler(shrinking, &simpler);
		if (taken != 1)
			mr_scenario_clear(&simpler);
		if (taken < 0)
			return -1;
		/* what helped may help again */
		number += taken == 0;
		found |= taken;
	}
	return 0;
}

bool sim_shrink(struct sim_shrunk *shrunk, const struct mr_scenario *scenario, const struct sim_seed *failure)
{
	struct shrinking shrinking = {.failure = failure, .shrunk = shrunk};
	int found = -1;

	memset(shrunk, 0, sizeof(*shrunk));
	if (mr_scenario_copy(&shrinking.best, scenario) < 0)
		return false;
	shrinking.text = sim_scenario_text(scenario);
	/* whoever killed a process may not do it again */
	if (shrinking.text)
		found = try_one(&shrinking, scenario);
	while (found > 0)
		found = go_over_all(&shrinking);
	mr_scenario_clear(&shrinking.best);
	if (found == 0 && shrunk->steps)
		shrunk->scenario = shrinking.text;
	else
		free(shrinking.text);
	return found == 0;
}
