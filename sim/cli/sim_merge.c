/* sim_merge.c: what the shards of a swarm have printed as JSON, put together as if one process had run them all. */
#include "sim/cli/cli.h"
#include "sim/cli/sim_swarm.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	struct sim_seed seed;
	struct sim_shrunk *shrunk; /* NULL: none */
};

struct merge {
	bool begun; /* `swarm` is known */
	struct sim_swarm swarm;
	struct entry *entries;
	size_t count, capacity;
	const char *path; /* that is being read */
	uint64_t line;
};

/* ---- Lines ---- */

static bool complain(const struct merge *merge, const char *expected, const char *found)
{
	error_line("%s:%" PRIu64 ": expected %s, found %s", merge->path, merge->line, expected, found);
	return false;
}

static bool take_swarm(struct merge *merge, const json_t *object)
{
	struct sim_swarm swarm;

	if (!sim_swarm_read(&swarm, object))
		return complain(merge, "what a swarm is", "something else");
	if (!merge->begun)
		merge->swarm = swarm;
	merge->begun = true;
	if (swarm.from != merge->swarm.from || swarm.to != merge->swarm.to || swarm.shards != merge->swarm.shards ||
	    swarm.require_all != merge->swarm.require_all || strcmp(swarm.scenario, merge->swarm.scenario) != 0)
		return complain(merge, "a shard of the same swarm", "another swarm");
	return true;
}

static struct entry *add_entry(struct merge *merge)
{
	if (merge->count == merge->capacity) {
		const size_t capacity = merge->capacity ? 2 * merge->capacity : 256;
		struct entry *larger = realloc(merge->entries, capacity * sizeof(*larger));

		if (!larger)
			return NULL;
		merge->entries = larger;
		merge->capacity = capacity;
	}
	merge->entries[merge->count] = (struct entry){0};
	return &merge->entries[merge->count++];
}

static bool read_shrunk(struct sim_shrunk *shrunk, const json_t *object)
{
	const char *scenario = json_string_value(json_object_get(object, "scenario"));
	const char *file = json_string_value(json_object_get(object, "file"));
	const json_t *tries = json_object_get(object, "tries"), *steps = json_object_get(object, "steps");

	if (!scenario || !json_is_integer(tries) || !json_is_integer(steps) ||
	    (file && strlen(file) >= sizeof(shrunk->file)))
		return false;
	if (file)
		memcpy(shrunk->file, file, strlen(file) + 1);
	shrunk->tries = (uint32_t)json_integer_value(tries);
	shrunk->steps = (uint32_t)json_integer_value(steps);
	shrunk->scenario = strdup(scenario);
	return shrunk->scenario != NULL;
}

static bool take_seed(struct merge *merge, const json_t *object)
{
	const json_t *simplified = json_object_get(object, "simplified");
	struct entry *entry = add_entry(merge);

	if (entry && simplified)
		entry->shrunk = calloc(1, sizeof(*entry->shrunk));
	if (!entry || (simplified && !entry->shrunk)) {
		error_line("%s: no memory for all its seeds", merge->path);
		return false;
	}
	if (!sim_seed_read(&entry->seed, object) || (simplified && !read_shrunk(entry->shrunk, simplified)))
		return complain(merge, "the result of a seed", "something else");
	return true;
}

static bool take_line(struct merge *merge, const char *line)
{
	json_error_t error;
	json_t *object = json_loads(line, 0, &error);
	bool good = true;

	if (json_object_get(object, "swarm"))
		good = take_swarm(merge, json_object_get(object, "swarm"));
	else if (!merge->begun)
		good = complain(merge, "a line of migref sim --json that says what the swarm is", "something else");
	else if (json_object_get(object, "seed"))
		good = take_seed(merge, object);
	else if (!json_object_get(object, "totals"))
		good = complain(merge, "a line of migref sim --json", "something else");
	json_decref(object);
	return good;
}

static bool take_lines(struct merge *merge, FILE *file)
{
	char *line = NULL;
	size_t size = 0;
	bool good = true;

	for (merge->line = 1; good && getline(&line, &size, file) >= 0; merge->line++)
		good = take_line(merge, line);
	if (good && ferror(file)) {
		error_line("%s: %s", merge->path, strerror(errno));
		good = false;
	}
	free(line);
	return good;
}

static bool take_file(struct merge *merge, const char *path)
{
	const bool standard = strcmp(path, "-") == 0;
	FILE *file = standard ? stdin : fopen(path, "r");
	bool good;

	merge->path = standard ? "standard input" : path;
	if (!file) {
		error_line("%s: %s", path, strerror(errno));
		return false;
	}
	good = take_lines(merge, file);
	if (!standard)
		fclose(file);
	return good;
}

/* ---- All of them ---- */

static int by_seed(const void *left, const void *right)
{
	const struct entry *a = left, *b = right;

	return a->seed.seed < b->seed.seed ? -1 : a->seed.seed > b->seed.seed;
}

static bool is_whole(const struct merge *merge)
{
	const struct sim_swarm *swarm = &merge->swarm;
	const uint64_t count = merge->begun ? swarm->to - swarm->from + 1 : 0;

	if (!merge->begun) {
		error_line("expected lines of migref sim --json, found none");
		return false;
	}
	for (uint64_t i = 0; i < count || i < merge->count; i++) {
		const uint64_t found = i < merge->count ? merge->entries[i].seed.seed : swarm->to + 1;
		const uint64_t expected = swarm->from + i;

		if (i < count && found == expected)
			continue;
		if (i < count && found > expected)
			error_line("expected each seed from %" PRIu64 " to %" PRIu64
				   ", found no result of seed %" PRIu64,
				   swarm->from, swarm->to, expected);
		else
			error_line("expected each seed from %" PRIu64 " to %" PRIu64
				   " once, found one result of seed %" PRIu64 " too many",
				   swarm->from, swarm->to, found);
		return false;
	}
	return true;
}

static int report(struct merge *merge, bool json)
{
	const struct sim_shrunk nothing = {0};
	struct sim_report report;

	merge->swarm.shard = merge->swarm.shards = 1;
	sim_report_begin(&report, &merge->swarm, json);
	for (size_t i = 0; i < merge->count; i++) {
		const struct entry *entry = &merge->entries[i];
		const bool simplified = sim_report_simplifies(&report, &entry->seed) && entry->shrunk;

		sim_report_seed(&report, &entry->seed, simplified ? entry->shrunk : &nothing);
	}
	return sim_report_end(&report) ? STATUS_HOLDS : STATUS_DIFFERS;
}

int sim_swarm_merge(char **paths, int count, bool json)
{
	struct merge merge = {0};
	int status = STATUS_FAILED;
	bool good = true;

	for (int i = 0; i < count && good; i++)
		good = take_file(&merge, paths[i]);
	if (good && merge.count)
		qsort(merge.entries, merge.count, sizeof(*merge.entries), by_seed);
	if (good && is_whole(&merge))
		status = report(&merge, json);
	for (size_t i = 0; i < merge.count; i++) {
		if (merge.entries[i].shrunk)
			free(merge.entries[i].shrunk->scenario);
		free(merge.entries[i].shrunk);
	}
	free(merge.entries);
	return status;
}
