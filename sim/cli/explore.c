/* explore.c: `migref explore`: every interleaving of a small world. */
#include "sim/cli/cli.h"
#include "sim/cli/explore_record.h"
#include "sim/record/report_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	KEY_STATES = 256,
	KEY_MEMORY,
	KEY_WRITES,
	KEY_RECOVERIES,
	KEY_IN_FLIGHT,
	KEY_FULL,
	KEY_ENDS,
	KEY_CANARY,
};

enum { STATES_AT_ONCE = 1 << 14, DRAW_EVERY = 200, SECOND = 1000, MESSAGES_UNDER_WAY = 2, NOT_GIVEN = UINT32_MAX };

struct explore_command {
	const char *path, *recording;
	bool json;
	struct mr_explore_options options;
};

static const struct argp_option options[] = {
	{NULL, 0, NULL, 0, "What is explored:", 1},
	{"writes", KEY_WRITES, "N", 0,
	 "the guest writes so often at the source; by default once if a workload of SCENARIO writes or a write is to "
	 "be lost, else never",
	 1},
	{"recoveries", KEY_RECOVERIES, "N", 0,
	 "the operator recovers so often; by default as often as SCENARIO cuts and pauses", 1},
	{"in-flight", KEY_IN_FLIGHT, "N", 0,
	 "so many messages may be under way on a connection before its sender waits, 0: any number; by default 2", 1},
	{"full", KEY_FULL, NULL, 0, "visit also interleavings that make no difference", 1},
	{"ends", KEY_ENDS, NULL, 0, "when all is visited, look for a way to an end from every state", 1},
	{"canary", KEY_CANARY, "NAME", 0,
	 "plant a bug: lost-write, lost-wake, lost-bitmap, guest-runs or wrong-content", 1},
	{NULL, 0, NULL, 0, "How long:", 2},
	{"states", KEY_STATES, "N", 0, "give up at so many states", 2},
	{"memory", KEY_MEMORY, "SIZE", 0,
	 "give up when so much memory is needed, such as 16G; by default three quarters of the machine's", 2},
	{NULL, 0, NULL, 0, "What comes of it:", 3},
	{"output", 'o', "DIR", 0, "write a run that breaks a property as a recording into DIR, which is new or empty",
	 3},
	{"json", 'j', NULL, 0, "one JSON object", 3},
	{NULL, 0, NULL, 0, NULL, 0},
};

/* ---- Options ---- */

static uint64_t parse_count(const char *name, const char *text, uint64_t least, uint64_t most,
			    const struct argp_state *state)
{
	uint64_t number = 0;
	const char *end = read_number(text, &number);

	if (!end || *end || number < least || number > most)
		argp_error(state, "--%s: expected a number from %" PRIu64 " to %" PRIu64 ", found %s", name, least,
			   most, text);
	return number;
}

static void parse_in_flight(struct explore_command *explore, const char *text, const struct argp_state *state)
{
	uint64_t number = 0;
	const char *end = read_number(text, &number);

	/* What is one to its reader may be two to its sender, so with one at a time nothing moves. */
	if (!end || *end || number == 1 || number > INT32_MAX)
		argp_error(state, "--in-flight: expected 0, or a number from 2 to %d, found %s", INT32_MAX, text);
	explore->options.in_flight = (uint32_t)number;
}

static void parse_memory(struct explore_command *explore, const char *text, const struct argp_state *state)
{
	static const char units[] = "KMGT";
	uint64_t number = 0;
	const char *end = read_number(text, &number);
	const char *unit = end && *end ? strchr(units, *end) : NULL;
	const unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;

	if (!end || *(unit ? end + 1 : end) || number == 0 || number > (uint64_t)INT64_MAX >> shift)
		argp_error(state, "--memory: expected a size such as 512M or 16G, found %s", text);
	explore->options.memory_max = number << shift;
}

static void parse_canary(struct explore_command *explore, const char *text, const struct argp_state *state)
{
	for (unsigned i = MR_CANARY_NONE + 1; i < MR_CANARY_COUNT; i++) {
		if (strcmp(text, mr_canary_name((enum mr_canary)i)) == 0) {
			explore->options.canary = (enum mr_canary)i;
			return;
		}
	}
	argp_error(state,
		   "--canary: expected lost-write, lost-wake, lost-bitmap, guest-runs or wrong-content, found %s",
		   text);
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct explore_command *explore = state->input;

	switch (key) {
	case 'j':
		explore->json = true;
		return 0;
	case 'o':
		explore->recording = argument;
		return 0;
	case KEY_STATES:
		explore->options.states_max = parse_count("states", argument, 1, UINT32_MAX - 1, state);
		return 0;
	case KEY_MEMORY:
		parse_memory(explore, argument, state);
		return 0;
	case KEY_WRITES:
		explore->options.writes = (uint32_t)parse_count("writes", argument, 0, MR_EXPLORE_WRITES_MAX, state);
		return 0;
	case KEY_RECOVERIES:
		explore->options.recoveries =
			(uint32_t)parse_count("recoveries", argument, 0, MR_EXPLORE_RECOVERIES_MAX, state);
		return 0;
	case KEY_IN_FLIGHT:
		parse_in_flight(explore, argument, state);
		return 0;
	case KEY_FULL:
		explore->options.full = true;
		return 0;
	case KEY_ENDS:
		explore->options.ends = true;
		return 0;
	case KEY_CANARY:
		parse_canary(explore, argument, state);
		return 0;
	case ARGP_KEY_ARG:
		take_path(state, &explore->path, argument, "SCENARIO");
		return 0;
	case ARGP_KEY_END:
		if (!explore->path)
			argp_error(state, "expected a SCENARIO");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "SCENARIO",
	.doc = "Visits every interleaving of a small world: both machines' real code, up to 16 pages in 4 blocks, 4 "
	       "vCPUs, "
	       "3 devices, 4 cuts.\v"
	       "Of SCENARIO count releases, capabilities, blocks, vCPUs, devices, how many cuts there are and of which "
	       "channel, and whether the operator pauses or cancels; when these come does not count: each may at any "
	       "moment. A vCPU touches any missing page that a workload is about, or any at all without workloads; "
	       "each "
	       "actor of either machine goes on whenever it can; of what is under way when a connection breaks, any "
	       "part "
	       "arrives. Of a choice that SCENARIO lets be answered otherwise, every answer is tried. The clock "
	       "stands.\n\n"
	       "The properties of migref sim are checked after each move, and where nobody can go on, how it ended. "
	       "States are visited in the order of their distance from the beginning, so a violation comes with one of "
	       "the shortest ways there, move by move. Ends that are no violation are good ones, known defects of QEMU "
	       "or "
	       "of the protocol, each with its rule in SPEC.md, or wait for an operator.\n\n"
	       "Exit status 0 if every state was visited and every property holds, 1 if one does not, 3 if a limit was "
	       "reached before, or the input or the machine failed.",
};

/* ---- What is not given ---- */

static bool writes(const struct mr_pattern_config *pattern)
{
	return pattern->kind == MR_PATTERN_PRODUCER || pattern->kind == MR_PATTERN_TRACE ||
	       (pattern->kind != MR_PATTERN_IDLE && pattern->kind != MR_PATTERN_CONSUMER && pattern->write_permille);
}

static uint32_t default_writes(const struct mr_scenario *scenario, enum mr_canary canary)
{
	if (canary == MR_CANARY_LOST_WRITE)
		return 1;
	for (uint32_t i = 0; i < scenario->workload_count; i++)
		if (writes(&scenario->workloads[i].pattern))
			return 1;
	return 0;
}

/* A broken precopy cannot be recovered. */
static uint32_t default_recoveries(const struct mr_scenario *scenario)
{
	uint32_t breaks = scenario->fault_count;

	if (!(scenario->migration.capabilities & MR_CAPABILITY_POSTCOPY_RAM))
		return 0;
	for (uint32_t i = 0; i < scenario->operation_count; i++)
		breaks += scenario->operations[i].kind == MR_OPERATION_PAUSE;
	return breaks < MR_EXPLORE_RECOVERIES_MAX ? breaks : MR_EXPLORE_RECOVERIES_MAX;
}

static void fill_in(struct mr_explore_options *given, const struct mr_scenario *scenario)
{
	const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);

	if (given->writes == NOT_GIVEN)
		given->writes = default_writes(scenario, given->canary);
	if (given->recoveries == NOT_GIVEN)
		given->recoveries = default_recoveries(scenario);
	if (given->memory_max == 0 && pages > 0 && size > 0)
		given->memory_max = (uint64_t)pages * (uint64_t)size / 4 * 3;
}

/* ---- The exploration ---- */

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec / 1000000;
}

static void draw(const struct mr_explore_result *result, uint64_t milliseconds)
{
	const uint64_t done = result->visited + result->looked;
	char states[MR_UNIT_TEXT], left[MR_UNIT_TEXT], rate[MR_UNIT_TEXT], memory[MR_UNIT_TEXT];

	fprintf(stderr, "\rexplore  %s states, %s to visit, %" PRIu32 " moves deep, %s a second, %s\033[K",
		mr_unit_count(states, result->states), mr_unit_count(left, result->states - result->visited),
		result->depth, mr_unit_count(rate, done * SECOND / (milliseconds + 1)),
		mr_unit_bytes(memory, result->memory));
}

static void run_to_end(struct mr_explorer *explorer, struct explore_report *report, bool quiet)
{
	const bool draws = !quiet && isatty(STDERR_FILENO);
	const uint64_t start = now();
	uint64_t drawn = start;

	while (mr_explorer_run(explorer, STATES_AT_ONCE) == MR_EXPLORE_GOES_ON) {
		if (!draws || now() - drawn < DRAW_EVERY)
			continue;
		drawn = now();
		mr_explorer_result(explorer, &report->result);
		draw(&report->result, drawn - start);
	}
	if (draws)
		fputs("\r\033[K", stderr);
	report->milliseconds = now() - start;
	mr_explorer_result(explorer, &report->result);
}

static int tell(const struct explore_command *explore, const struct explore_report *report)
{
	char limit[256];

	if (report->result.progress == MR_EXPLORE_FAILED) {
		error_line("%s: no memory for more than %" PRIu64 " states", explore->path, report->result.states);
		return STATUS_FAILED;
	}
	(explore->json ? explore_report_dump : explore_report_print)(report);
	if (report->result.progress != MR_EXPLORE_LIMITED)
		return report->result.progress == MR_EXPLORE_VIOLATED ? STATUS_DIFFERS : STATUS_HOLDS;
	explore_report_limit(report, limit, sizeof(limit));
	error_line("%s: %s", explore->path, limit);
	return STATUS_FAILED;
}

static int explore_world(const struct explore_command *explore, struct mr_explorer *explorer,
			 const struct mr_scenario *scenario)
{
	struct explore_report report = {.scenario = explore->path, .world = scenario, .options = explore->options};
	char error[512];
	int status;

	run_to_end(explorer, &report, explore->json);
	if (report.result.progress == MR_EXPLORE_VIOLATED &&
	    explore_record(explorer, scenario, explore->recording, &report.path, error, sizeof(error)) < 0) {
		error_line("%s", error);
		status = STATUS_FAILED;
	} else {
		status = tell(explore, &report);
	}
	explore_path_clear(&report.path);
	return status;
}

static int explore_scenario(struct explore_command *explore, const struct mr_scenario *scenario)
{
	struct mr_explorer *explorer;
	char error[512];
	int status;

	fill_in(&explore->options, scenario);
	explorer = mr_explorer_new(scenario, &explore->options, error, sizeof(error));
	if (!explorer) {
		error_line("%s: %s", explore->path, error);
		return STATUS_FAILED;
	}
	status = explore_world(explore, explorer, scenario);
	mr_explorer_free(explorer);
	return status;
}

int command_explore(int argc, char **argv)
{
	struct explore_command explore = {
		.options = {.writes = NOT_GIVEN, .recoveries = NOT_GIVEN, .in_flight = MESSAGES_UNDER_WAY}};
	struct mr_scenario scenario;
	char error[512];
	int status;

	parse_command(&argp, argc, argv, &explore);
	if (mr_scenario_read(&scenario, explore.path, error, sizeof(error)) < 0) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	status = explore_scenario(&explore, &scenario);
	mr_scenario_clear(&scenario);
	return status;
}
