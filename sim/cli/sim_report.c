/* sim_report.c: what a swarm prints: a legend, a line for each seed, sums, and whether it holds. */
#include "sim/cli/sim_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LEGEND_COLUMNS = 4, LEGEND_WIDTH = 24 };

/* ---- Which seeds ---- */

uint64_t sim_swarm_count(const struct sim_swarm *swarm)
{
	const uint64_t all = swarm->to - swarm->from + 1, before = swarm->shard - 1;

	return all > before ? (all - before + swarm->shards - 1) / swarm->shards : 0;
}

uint64_t sim_swarm_seed(const struct sim_swarm *swarm, uint64_t number)
{
	return swarm->from + swarm->shard - 1 + number * swarm->shards;
}

/* What one shard has seen says nothing of what all of them have. */
static bool is_judged_by_events(const struct sim_swarm *swarm)
{
	const bool complete = !swarm->scenario[0] && swarm->to - swarm->from + 1 >= SIM_COMPLETE_SEEDS;

	return swarm->shards == 1 && (swarm->require_all || complete);
}

static int seed_width(const struct sim_swarm *swarm)
{
	const int width = snprintf(NULL, 0, "%" PRIu64, swarm->to);

	return width < 4 ? 4 : width;
}

/* ---- Commands ---- */

static void put_word(FILE *out, const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-:=@%,";

	if (word[strspn(word, plain)] == '\0') {
		fputs(word, out);
		return;
	}
	putc('\'', out);
	for (; *word; word++)
		if (*word == '\'')
			fputs("'\\''", out);
		else
			putc(*word, out);
	putc('\'', out);
}

void sim_put_command(FILE *out, const char *scenario, uint64_t seed)
{
	fputs("migref sim ", out);
	if (scenario[0]) {
		put_word(out, scenario);
		putc(' ', out);
	}
	fprintf(out, "--seed %" PRIu64, seed);
}

static char *command_text(const char *scenario, uint64_t seed)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	sim_put_command(out, scenario, seed);
	fclose(out);
	return text;
}

/* ---- Legend ---- */

static void print_cell(unsigned number, char letter, const char *text)
{
	const bool first = number % LEGEND_COLUMNS == 0;

	if (first && number)
		printf("\n%-14s", "");
	printf("%c %s", letter, text);
	if ((number + 1) % LEGEND_COLUMNS)
		printf("%*s", LEGEND_WIDTH - (int)strlen(text), "");
}

static void print_legend(const struct sim_swarm *swarm)
{
	const int width = seed_width(swarm);

	fputs("mode          ", stdout);
	for (unsigned i = 0; i < SIM_MODES; i++)
		print_cell(i, sim_mode_letter(i), sim_mode_text(i));
	fputs("\nevents        ", stdout);
	for (unsigned i = 0; i < MR_SOMETIMES_COUNT; i++)
		print_cell(i, sim_event_letter(i), mr_sometimes_name(i));
	fputs("\nfrom, to      releases of source and destination\n"
	      "migration     its time, as the next two in ms of virtual time\n"
	      "downtime      from the guest's stop to its start at the destination\n"
	      "blackout      from there until every vCPU has gone on\n"
	      "digest        of all bytes and their times: equal runs have equal ones\n\n",
	      stdout);
	printf("%*s  %-*s %-4s %-4s  %-9s  %-*s %12s %12s %12s  %s\n", width, "seed", (int)SIM_MODES, "mode", "from",
	       "to", "outcome", (int)MR_SOMETIMES_COUNT, "events", "migration", "downtime", "blackout", "digest");
}

static void print_heading(const struct sim_swarm *swarm)
{
	printf("migref sim: seeds %" PRIu64 " to %" PRIu64, swarm->from, swarm->to);
	if (swarm->shards > 1)
		printf(", shard %" PRIu64 " of %" PRIu64, swarm->shard, swarm->shards);
	if (swarm->scenario[0])
		printf(", of %s\n\n", swarm->scenario);
	else
		puts(", a scenario of its own each\n");
}

static void dump(json_t *object)
{
	json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(object);
}

static void dump_swarm(const struct sim_swarm *swarm)
{
	json_t *object = json_object();

	json_object_set_new(object, "from", json_integer((json_int_t)swarm->from));
	json_object_set_new(object, "to", json_integer((json_int_t)swarm->to));
	json_object_set_new(object, "shard", json_integer((json_int_t)swarm->shard));
	json_object_set_new(object, "shards", json_integer((json_int_t)swarm->shards));
	json_object_set_new(object, "scenario", swarm->scenario[0] ? json_string(swarm->scenario) : json_null());
	json_object_set_new(object, "require_all", json_boolean(swarm->require_all));
	dump(json_pack("{so}", "swarm", object));
}

static bool read_number(uint64_t *number, const json_t *value, uint64_t least)
{
	*number = (uint64_t)json_integer_value(value);
	return json_is_integer(value) && json_integer_value(value) >= 0 && *number >= least;
}

bool sim_swarm_read(struct sim_swarm *swarm, const json_t *object)
{
	const json_t *scenario = json_object_get(object, "scenario"), *all = json_object_get(object, "require_all");
	const char *path = json_string_value(scenario);

	*swarm = (struct sim_swarm){.require_all = json_is_true(all)};
	if (path && strlen(path) < sizeof(swarm->scenario))
		memcpy(swarm->scenario, path, strlen(path) + 1);
	return read_number(&swarm->from, json_object_get(object, "from"), 0) &&
	       read_number(&swarm->to, json_object_get(object, "to"), swarm->from) &&
	       read_number(&swarm->shards, json_object_get(object, "shards"), 1) &&
	       read_number(&swarm->shard, json_object_get(object, "shard"), 1) && swarm->shard <= swarm->shards &&
	       json_is_boolean(all) && (json_is_null(scenario) || swarm->scenario[0]);
}

void sim_report_begin(struct sim_report *report, const struct sim_swarm *swarm, bool json)
{
	memset(report, 0, sizeof(*report));
	report->json = json;
	report->swarm = *swarm;
	if (json) {
		dump_swarm(swarm);
		return;
	}
	print_heading(swarm);
	print_legend(swarm);
}

/* ---- Seeds ---- */

bool sim_report_simplifies(struct sim_report *report, const struct sim_seed *seed)
{
	const unsigned way = seed->end == MR_OUTCOME_VIOLATED ? seed->violation.property : MR_PROPERTY_COUNT;

	return sim_end_is_bad(seed->end) && seed->end != SIM_END_REFUSED && seed->drawn &&
	       report->simplified[way]++ < SIM_SIMPLIFIED_MAX;
}

static void add(struct sim_totals *totals, const struct sim_seed *seed)
{
	totals->runs++;
	totals->ends[seed->end]++;
	for (unsigned i = 0; i < MR_SOMETIMES_COUNT; i++) {
		totals->seen_runs[i] += seed->seen[i] > 0;
		totals->seen_times[i] += seed->seen[i];
	}
	for (unsigned i = 0; i < SIM_FIGURE_COUNT; i++)
		totals->figures[i] += seed->figures[i];
}

static void print_shrunk(const struct sim_shrunk *shrunk)
{
	printf("  simplified in %" PRIu32 " steps of %" PRIu32 " tries", shrunk->steps, shrunk->tries);
	if (shrunk->file[0]) {
		fputs(": migref sim ", stdout);
		put_word(stdout, shrunk->file);
		putchar('\n');
		return;
	}
	printf("; a file with the following fails alike:\n\n%s\n", shrunk->scenario);
}

static void print_failure(const struct sim_report *report, const struct sim_seed *seed, const struct sim_shrunk *shrunk)
{
	char text[512];

	sim_seed_describe(text, sizeof(text), seed);
	printf("  %s: %s\n  again: ", seed->end == MR_OUTCOME_VIOLATED ? "VIOLATED" : "FAILED", text);
	sim_put_command(stdout, report->swarm.scenario, seed->seed);
	putchar('\n');
	if (shrunk->scenario)
		print_shrunk(shrunk);
}

static json_t *shrunk_object(const struct sim_shrunk *shrunk)
{
	return json_pack("{ss,ss?,sI,sI}", "scenario", shrunk->scenario, "file", shrunk->file[0] ? shrunk->file : NULL,
			 "tries", (json_int_t)shrunk->tries, "steps", (json_int_t)shrunk->steps);
}

static void dump_seed(const struct sim_report *report, const struct sim_seed *seed, const struct sim_shrunk *shrunk)
{
	json_t *object = sim_seed_object(seed);

	if (sim_end_is_bad(seed->end)) {
		char *command = command_text(report->swarm.scenario, seed->seed);

		json_object_set_new(object, "command", json_string(command ? command : ""));
		free(command);
	}
	if (shrunk->scenario)
		json_object_set_new(object, "simplified", shrunk_object(shrunk));
	dump(object);
}

void sim_report_seed(struct sim_report *report, const struct sim_seed *seed, const struct sim_shrunk *shrunk)
{
	add(&report->totals, seed);
	if (report->json) {
		dump_seed(report, seed, shrunk);
		return;
	}
	sim_seed_print(stdout, seed, seed_width(&report->swarm));
	if (sim_end_is_bad(seed->end))
		print_failure(report, seed, shrunk);
}

/* ---- Sums ---- */

static unsigned missing_events(const struct sim_totals *totals)
{
	unsigned count = 0;

	for (unsigned i = 0; i < MR_SOMETIMES_COUNT; i++)
		count += totals->seen_runs[i] == 0;
	return count;
}

static bool has_failures(const struct sim_totals *totals)
{
	for (unsigned i = 0; i < SIM_END_COUNT; i++)
		if (sim_end_is_bad(i) && totals->ends[i])
			return true;
	return false;
}

static void print_events(const struct sim_totals *totals)
{
	printf("\n   %-20s %10s %14s\n", "event", "runs", "times");
	for (unsigned i = 0; i < MR_SOMETIMES_COUNT; i++)
		if (totals->seen_runs[i])
			printf(" %c %-20s %10" PRIu64 " %14" PRIu64 "\n", sim_event_letter(i), mr_sometimes_name(i),
			       totals->seen_runs[i], totals->seen_times[i]);
}

static void print_missing(const struct sim_report *report)
{
	const unsigned missing = missing_events(&report->totals);
	const char *before = ": ";

	if (missing == 0) {
		puts("\nevery event occurred");
		return;
	}
	printf("\n%s%u of %u events never occurred", is_judged_by_events(&report->swarm) ? "DOES NOT HOLD: " : "",
	       missing, (unsigned)MR_SOMETIMES_COUNT);
	for (unsigned i = 0; i < MR_SOMETIMES_COUNT; i++) {
		if (report->totals.seen_runs[i])
			continue;
		printf("%s%s", before, mr_sometimes_name(i));
		before = ", ";
	}
	if (!is_judged_by_events(&report->swarm))
		printf(" (not judged: %s)", report->swarm.shards > 1    ? "a shard"
					    : report->swarm.scenario[0] ? "one scenario"
									: "few seeds");
	putchar('\n');
}

static void print_totals(const struct sim_report *report)
{
	const struct sim_totals *totals = &report->totals;
	const char *before = ": ";

	printf("\n%" PRIu64 " runs", totals->runs);
	for (unsigned i = 0; i < SIM_END_COUNT; i++) {
		if (totals->ends[i] == 0 && i != MR_OUTCOME_VIOLATED)
			continue;
		printf("%s%" PRIu64 " %s", before, totals->ends[i], sim_end_name(i));
		before = ", ";
	}
	printf("; %" PRIu64 " page events, %" PRIu64 " bytes forward, %" PRIu64 " back\n",
	       totals->figures[SIM_FIGURE_page_events], totals->figures[SIM_FIGURE_forward_bytes],
	       totals->figures[SIM_FIGURE_return_bytes]);
	print_events(totals);
	print_missing(report);
}

static void dump_totals(const struct sim_report *report, bool holds)
{
	const struct sim_totals *totals = &report->totals;
	json_t *outcomes = json_object(), *events = json_object(), *object;

	for (unsigned i = 0; i < SIM_END_COUNT; i++)
		json_object_set_new(outcomes, sim_end_name(i), json_integer((json_int_t)totals->ends[i]));
	for (unsigned i = 0; i < MR_SOMETIMES_COUNT; i++)
		json_object_set_new(events, mr_sometimes_name(i),
				    json_pack("{sI,sI}", "runs", (json_int_t)totals->seen_runs[i], "times",
					      (json_int_t)totals->seen_times[i]));
	object = json_pack("{sI,so,so}", "runs", (json_int_t)totals->runs, "outcomes", outcomes, "events", events);
	for (unsigned i = 0; i < SIM_FIGURE_COUNT; i++)
		json_object_set_new(object, sim_figure_name(i), json_integer((json_int_t)totals->figures[i]));
	dump(json_pack("{so,sb,sb}", "totals", object, "events_judged", is_judged_by_events(&report->swarm), "holds",
		       holds));
}

bool sim_report_end(const struct sim_report *report)
{
	const bool complete = missing_events(&report->totals) == 0;
	const bool holds = !has_failures(&report->totals) && (complete || !is_judged_by_events(&report->swarm));

	if (report->json)
		dump_totals(report, holds);
	else
		print_totals(report);
	return holds;
}
