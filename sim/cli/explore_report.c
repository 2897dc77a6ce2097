/* explore_report.c: what an exploration came to, for people and as JSON. */
#include "sim/cli/explore_report.h"
#include "sim/record/report_text.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { LINES_FIRST = 64, SECOND = 1000 };

/* ---- The way to a violation ---- */

void explore_path_add(void *argument, uint32_t index, const char *text)
{
	struct explore_path *path = argument;

	if (path->count == path->capacity) {
		const size_t capacity = path->capacity ? 2 * path->capacity : LINES_FIRST;
		void *lines = realloc(path->lines, capacity * sizeof(*path->lines));

		if (!lines) {
			path->failed = true;
			return;
		}
		path->lines = lines;
		path->capacity = capacity;
	}
	(void)index;
	snprintf(path->lines[path->count++], sizeof(*path->lines), "%s", text);
}

void explore_path_clear(struct explore_path *path)
{
	free(path->lines);
	*path = (struct explore_path){0};
}

/* ---- Figures ---- */

static uint64_t states_a_second(const struct explore_report *report)
{
	const uint64_t states = report->result.visited + report->result.looked;

	return states * SECOND / (report->milliseconds ? report->milliseconds : 1);
}

static uint64_t pages_of(const struct mr_scenario *world)
{
	uint64_t pages = 0;

	for (uint32_t i = 0; i < world->block_count; i++)
		pages += world->blocks[i].size / world->guest.target_page_size;
	return pages;
}

void explore_report_limit(const struct explore_report *report, char *text, size_t size)
{
	const struct mr_explore_result *result = &report->result;
	char limit[MR_UNIT_TEXT], left[MR_UNIT_TEXT];

	mr_unit_count(left, result->states - result->visited);
	if (report->options.states_max && result->states == report->options.states_max)
		snprintf(text, size,
			 "not exhausted: the limit of %s states is reached, %s of them are not visited; nothing is "
			 "proved",
			 mr_unit_count(limit, report->options.states_max), left);
	else
		snprintf(text, size,
			 "not exhausted: the limit of %s of memory is reached, %s states are not visited; nothing is "
			 "proved",
			 mr_unit_bytes(limit, report->options.memory_max), left);
}

/* ---- For people ---- */

static void print_count(const char *before, uint64_t count, const char *one, const char *many)
{
	char text[MR_UNIT_TEXT];

	printf("%s%s %s", before, mr_unit_count(text, count), count == 1 ? one : many);
}

static void print_head(const struct explore_report *report)
{
	const struct mr_explore_result *result = &report->result;
	char limit[256];

	printf("%s: ", report->scenario);
	if (result->progress == MR_EXPLORE_EXHAUSTED) {
		printf("exhausted, every property holds%s\n",
		       report->options.ends ? ", and from every state there is a way to an end" : "");
	} else if (result->progress == MR_EXPLORE_LIMITED) {
		explore_report_limit(report, limit, sizeof(limit));
		puts(limit);
	} else {
		printf("VIOLATED %s after %" PRIu32 " moves: %s\n", mr_property_name(result->violation.property),
		       result->path, result->violation.text);
		printf("  property    %s\n", mr_property_text(result->violation.property));
	}
}

static void print_world(const struct explore_report *report)
{
	const struct mr_scenario_migration *migration = &report->world->migration;
	const struct mr_explore_options *options = &report->options;
	const char *name;
	uint32_t bit;

	printf("  world       %s to %s", migration->source, migration->destination);
	for (size_t i = 0; (name = mr_capability_at(i, &bit)) != NULL; i++)
		if (migration->capabilities & bit)
			printf(", %s", name);
	print_count("; ", pages_of(report->world), "page", "pages");
	print_count(" in ", report->world->block_count, "block", "blocks");
	print_count(", ", report->world->guest.vcpus, "vCPU", "vCPUs");
	print_count("; ", report->world->fault_count, "cut", "cuts");
	print_count(", ", options->recoveries, "recovery", "recoveries");
	print_count(", ", options->writes, "write", "writes");
	if (options->in_flight)
		print_count(", ", options->in_flight, "message under way", "messages under way");
	else
		fputs(", any number of messages under way", stdout);
	printf("%s%s\n", options->canary != MR_CANARY_NONE ? "; canary " : "",
	       options->canary != MR_CANARY_NONE ? mr_canary_name(options->canary) : "");
}

static void print_figures(const struct explore_report *report)
{
	const struct mr_explore_result *result = &report->result;
	char text[MR_UNIT_TEXT];

	printf("  states      %s", mr_unit_count(text, result->states));
	print_count(", ", result->depth, "move", "moves");
	print_count(" deep; ", result->transitions, "transition\n", "transitions\n");
	print_count("  made of     ", result->source_states, "state of the source", "states of the source");
	print_count(", ", result->destination_states, "of the destination", "of the destination");
	print_count(", ", result->worlds, "of the world", "of the world");
	print_count("; the machines' code ran ", result->runs, "time\n", "times\n");
	printf("  time        %" PRIu64 ".%" PRIu64 " s", report->milliseconds / SECOND,
	       report->milliseconds / (SECOND / 10) % 10);
	printf(", %s states a second", mr_unit_count(text, states_a_second(report)));
	printf(", %s\n", mr_unit_bytes(text, result->memory));
}

static void print_ends(const struct mr_explore_result *result)
{
	const char *before = "  ends  ";
	char count[MR_UNIT_TEXT];

	for (unsigned i = 0; i < MR_EXPLORE_END_COUNT; i++) {
		const enum mr_explore_end end = (enum mr_explore_end)i;

		if (result->ends[i] == 0)
			continue;
		printf("%s%10s  %-19s  %s\n", before, mr_unit_count(count, result->ends[i]), mr_explore_end_name(end),
		       mr_explore_end_text(end));
		before = "        ";
	}
}

static void print_events(const struct mr_explore_result *result)
{
	const char *before = "  events      ";
	char count[MR_UNIT_TEXT];

	for (unsigned i = 0; i < MR_SOMETIMES_COUNT; i++) {
		if (result->seen[i] == 0)
			continue;
		printf("%s%s %s", before, mr_sometimes_name(i), mr_unit_count(count, result->seen[i]));
		before = ", ";
	}
	if (*before == ',')
		putchar('\n');
}

void explore_report_print(const struct explore_report *report)
{
	print_head(report);
	print_world(report);
	print_figures(report);
	print_ends(&report->result);
	print_events(&report->result);
	if (report->path.count)
		puts("  the way there:");
	for (size_t i = 0; i < report->path.count; i++)
		printf("%6zu  %s\n", i + 1, report->path.lines[i]);
}

/* ---- As JSON ---- */

static void put(json_t *object, const char *key, uint64_t number)
{
	json_object_set_new(object, key, json_integer((json_int_t)number));
}

static void put_text(json_t *object, const char *key, const char *text)
{
	json_t *value = json_string(text);

	json_object_set_new(object, key, value ? value : json_null());
}

static json_t *options_object(const struct mr_explore_options *options)
{
	json_t *object = json_object();

	put(object, "writes", options->writes);
	put(object, "recoveries", options->recoveries);
	put(object, "in_flight", options->in_flight);
	json_object_set_new(object, "full", json_boolean(options->full));
	json_object_set_new(object, "ends", json_boolean(options->ends));
	put_text(object, "canary", mr_canary_name(options->canary));
	return object;
}

static json_t *violation_object(const struct explore_report *report)
{
	const struct mr_violation *violation = &report->result.violation;
	json_t *object = json_object(), *path = json_array();

	put_text(object, "property", mr_property_name(violation->property));
	put_text(object, "text", violation->text);
	put(object, "moves", report->result.path);
	for (size_t i = 0; i < report->path.count; i++)
		json_array_append_new(path, json_string(report->path.lines[i]));
	json_object_set_new(object, "path", path);
	return object;
}

static json_t *time_object(const struct explore_report *report)
{
	json_t *object = json_object();

	put(object, "milliseconds", report->milliseconds);
	put(object, "states_a_second", states_a_second(report));
	return object;
}

static json_t *ends_object(const struct mr_explore_result *result)
{
	json_t *object = json_object();

	for (unsigned i = 0; i < MR_EXPLORE_END_COUNT; i++)
		put(object, mr_explore_end_name((enum mr_explore_end)i), result->ends[i]);
	return object;
}

static json_t *events_object(const struct mr_explore_result *result)
{
	json_t *object = json_object();

	for (unsigned i = 0; i < MR_SOMETIMES_COUNT; i++)
		put(object, mr_sometimes_name(i), result->seen[i]);
	return object;
}

static void put_figures(json_t *object, const struct mr_explore_result *result)
{
	put(object, "states", result->states);
	put(object, "visited", result->visited);
	put(object, "depth", result->depth);
	put(object, "transitions", result->transitions);
	put(object, "source_states", result->source_states);
	put(object, "destination_states", result->destination_states);
	put(object, "worlds", result->worlds);
	put(object, "runs", result->runs);
	put(object, "memory", result->memory);
}

void explore_report_dump(const struct explore_report *report)
{
	const enum mr_explore_progress progress = report->result.progress;
	const bool violated = progress == MR_EXPLORE_VIOLATED;
	json_t *object = json_object();

	put_text(object, "scenario", report->scenario);
	put_text(object, "source", report->world->migration.source);
	put_text(object, "destination", report->world->migration.destination);
	put_text(object, "outcome", violated ? "violated" : progress == MR_EXPLORE_EXHAUSTED ? "exhausted" : "limited");
	json_object_set_new(object, "options", options_object(&report->options));
	json_object_set_new(object, "violation", violated ? violation_object(report) : json_null());
	put_figures(object, &report->result);
	json_object_set_new(object, "time", time_object(report));
	json_object_set_new(object, "ends", ends_object(&report->result));
	json_object_set_new(object, "events", events_object(&report->result));
	json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(object);
}
