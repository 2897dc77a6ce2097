/* sim.c: `migref sim`: one simulated migration, or a swarm of them. */
#include "sim/cli/cli.h"
#include "sim/cli/sim_host.h"
#include "sim/cli/sim_run.h"
#include "sim/cli/sim_summary.h"
#include "sim/cli/sim_swarm.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { JOBS_MAX = 1024, SHARDS_MAX = 1 << 20 };

enum {
	KEY_SEED = 256,
	KEY_SEEDS,
	KEY_JOBS,
	KEY_SHARD,
	KEY_FAILURES,
	KEY_REQUIRE,
	KEY_MERGE,
	KEY_PRINT,
	KEY_MEMORY,
	KEY_CLIENT
};

struct sim_options {
	char **paths; /* SCENARIO; of --merge: files */
	int count;
	const char *recording;
	bool json, print, merge;
	bool real; /* on memory of the host */
	struct sim_host_options host;
	bool has_seed, has_seeds, has_shard;
	uint64_t seed;
	struct sim_swarm_options swarm;
};

static const struct argp_option options[] = {
	{NULL, 0, NULL, 0, "One migration:", 1},
	{"seed", KEY_SEED, "N", 0, "draw everything that is drawn from N; without SCENARIO that, too", 1},
	{"output", 'o', "DIR", 0, "write it as a recording into DIR, which is new or empty", 1},
	{"print", KEY_PRINT, NULL, 0, "print the scenario as a file, and run nothing", 1},
	{"memory", KEY_MEMORY, "KIND", 0,
	 "run it in earnest: two processes, guest memory behind userfaultfd, real vCPU threads; KIND: uffd (private "
	 "memory), uffd-shared (memfd); blocks of huge pages take them from the host's pool",
	 1},
	{"shared-client", KEY_CLIENT, NULL, 0,
	 "with --memory uffd-shared: a process of its own shares the guest's memory and catches its own faults, as a "
	 "vhost-user back end does",
	 1},
	{NULL, 0, NULL, 0, "A swarm:", 2},
	{"seeds", KEY_SEEDS, "A..B", 0, "run each of these seeds, and print a line for each", 2},
	{"jobs", KEY_JOBS, "N", 0, "processes at once; by default as many as there are processors", 2},
	{"shard", KEY_SHARD, "I/N", 0, "run only every N-th of the seeds, from the I-th on", 2},
	{"failures", KEY_FAILURES, "DIR", 0, "write simplified scenarios that fail into DIR instead of printing them",
	 2},
	{"require-all", KEY_REQUIRE, NULL, 0, "fail if one of the interesting events never occurs", 2},
	{"merge", KEY_MERGE, NULL, 0, "put together what shards with --json have written to FILE...", 2},
	{NULL, 0, NULL, 0, "Both:", 3},
	{"json", 'j', NULL, 0,
	 "JSON: one object for one migration, of a swarm one for each seed and one "
	 "for all",
	 3},
	{NULL, 0, NULL, 0, NULL, 0},
};

/* ---- Options ---- */

static void parse_seed(struct sim_options *sim, const char *text, const struct argp_state *state)
{
	const char *end = read_number(text, &sim->seed);

	if (!end || *end)
		argp_error(state, "--seed: expected a number below 2^64, found %s", text);
	sim->has_seed = true;
}

static void parse_seeds(struct sim_options *sim, const char *text, const struct argp_state *state)
{
	struct sim_swarm *swarm = &sim->swarm.swarm;
	const char *end = read_number(text, &swarm->from);

	if (end && strncmp(end, "..", 2) == 0)
		end = read_number(end + 2, &swarm->to);
	else
		end = NULL;
	if (!end || *end || swarm->to < swarm->from || swarm->to > INT64_MAX)
		argp_error(state, "--seeds: expected two numbers below 2^63 as in 1..300, found %s", text);
	sim->has_seeds = true;
}

static void parse_jobs(struct sim_options *sim, const char *text, const struct argp_state *state)
{
	uint64_t jobs;
	const char *end = read_number(text, &jobs);

	if (!end || *end || jobs == 0 || jobs > JOBS_MAX)
		argp_error(state, "--jobs: expected a number from 1 to %d, found %s", JOBS_MAX, text);
	sim->swarm.jobs = (unsigned)jobs;
}

static void parse_shard(struct sim_options *sim, const char *text, const struct argp_state *state)
{
	struct sim_swarm *swarm = &sim->swarm.swarm;
	const char *end = read_number(text, &swarm->shard);

	end = end && *end == '/' ? read_number(end + 1, &swarm->shards) : NULL;
	if (!end || *end || swarm->shard == 0 || swarm->shard > swarm->shards || swarm->shards > SHARDS_MAX)
		argp_error(state, "--shard: expected I/N with I from 1 to N, found %s", text);
	sim->has_shard = true;
}

static void parse_memory(struct sim_options *sim, const char *text, const struct argp_state *state)
{
	sim->real = true;
	if (!mr_host_backing_by_name(text, &sim->host.ordinary))
		argp_error(state, "--memory: expected uffd or uffd-shared, found %s", text);
}

static void check_merge(const struct sim_options *sim, const struct argp_state *state)
{
	if (sim->count == 0)
		argp_error(state, "--merge: expected a FILE");
	if (sim->has_seed || sim->has_seeds || sim->swarm.jobs || sim->has_shard || sim->swarm.failures ||
	    sim->swarm.swarm.require_all || sim->recording || sim->print || sim->real)
		argp_error(state, "--merge goes with no option but --json");
}

static void check_swarm(const struct sim_options *sim, const struct argp_state *state)
{
	if (sim->has_seed || sim->recording || sim->print || sim->real)
		argp_error(state, "--seeds goes with neither --seed, -o, --memory nor --print");
}

static void check_lone(const struct sim_options *sim, const struct argp_state *state)
{
	if (sim->swarm.jobs || sim->has_shard || sim->swarm.failures || sim->swarm.swarm.require_all)
		argp_error(state, "--jobs, --shard, --failures and --require-all go with --seeds");
	if (sim->print && (sim->recording || sim->json || sim->real))
		argp_error(state, "--print goes with neither -o, --memory nor --json");
	if (sim->host.shared_client && !sim->real)
		argp_error(state, "--shared-client goes with --memory");
	if (sim->count == 0 && !sim->has_seed)
		argp_error(state, "expected a SCENARIO, --seed or --seeds");
}

static void check_options(const struct sim_options *sim, const struct argp_state *state)
{
	if (!sim->merge && sim->count > 1)
		argp_error(state, "one SCENARIO at a time");
	(sim->merge ? check_merge : sim->has_seeds ? check_swarm : check_lone)(sim, state);
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct sim_options *sim = state->input;

	switch (key) {
	case 'j':
		sim->json = true;
		return 0;
	case 'o':
		sim->recording = argument;
		return 0;
	case KEY_SEED:
		parse_seed(sim, argument, state);
		return 0;
	case KEY_SEEDS:
		parse_seeds(sim, argument, state);
		return 0;
	case KEY_JOBS:
		parse_jobs(sim, argument, state);
		return 0;
	case KEY_SHARD:
		parse_shard(sim, argument, state);
		return 0;
	case KEY_FAILURES:
		sim->swarm.failures = argument;
		return 0;
	case KEY_REQUIRE:
		sim->swarm.swarm.require_all = true;
		return 0;
	case KEY_MERGE:
		sim->merge = true;
		return 0;
	case KEY_MEMORY:
		parse_memory(sim, argument, state);
		return 0;
	case KEY_CLIENT:
		sim->host.shared_client = true;
		return 0;
	case KEY_PRINT:
		sim->print = true;
		return 0;
	case ARGP_KEY_ARGS:
		sim->paths = state->argv + state->next;
		sim->count = state->argc - state->next;
		return 0;
	case ARGP_KEY_END:
		check_options(sim, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "[SCENARIO]\n--merge FILE...",
	.doc = "Simulates migrations: both machines, a guest, the link between them, faults; in virtual time.\v"
	       "One scenario and one seed give one run, the same everywhere. The properties that hold in every run are "
	       "checked while it goes, and behind it the rules of SPEC.md on its streams, unless they have more than "
	       "64 "
	       "MiB. Its summary ends with a digest of all bytes and their times.\n\n"
	       "A swarm runs many seeds. Without SCENARIO each draws its own: mode, releases, guest, workload, link, "
	       "faults. Its lines come in the order of seeds whatever the number of processes. The first two seeds of "
	       "each way to fail are simplified: a scenario that fails in the same way and cannot be made simpler is "
	       "printed. A swarm of 300 seeds or more without SCENARIO and --shard, like one with --require-all, fails "
	       "also if an interesting event never occurred. Shards can run anywhere; --merge prints what one process "
	       "would have.\n\n"
	       "Exit status 0 if every property holds, 1 if one does not or an event that is required did not occur, 3 "
	       "if the input or the machine failed.",
};

/* ---- One migration ---- */

static int run_one(const struct sim_options *sim, const char *path, const struct mr_scenario *scenario)
{
	struct sim_run run;
	char error[512];

	if (sim_run(&run, scenario, sim->recording, sim->json, error, sizeof(error)) < 0) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	(sim->json ? sim_summary_dump : sim_summary_print)(path, scenario, &run);
	return run.result.outcome == MR_OUTCOME_VIOLATED ? STATUS_DIFFERS : STATUS_HOLDS;
}

static int simulate(struct sim_options *sim, const char *path, struct mr_scenario *scenario)
{
	if (sim->has_seeds) {
		sim->swarm.scenario = path[0] ? scenario : NULL;
		return sim_swarm_run(&sim->swarm);
	}
	if (sim->print)
		return mr_scenario_write(scenario, stdout) < 0 ? STATUS_FAILED : STATUS_HOLDS;
	if (sim->real) {
		sim->host.recording = sim->recording;
		sim->host.json = sim->json;
		return sim_host_run(path, scenario, &sim->host);
	}
	return run_one(sim, path, scenario);
}

static int read_scenario(const struct sim_options *sim, const char *path, struct mr_scenario *scenario)
{
	char error[512];

	if (!path[0]) {
		mr_scenario_random(scenario, sim->seed);
		return 0;
	}
	if (mr_scenario_read(scenario, path, error, sizeof(error)) < 0) {
		error_line("%s", error);
		return -1;
	}
	if (sim->has_seed)
		scenario->seed = sim->seed;
	return 0;
}

static unsigned processors(void)
{
	const long count = sysconf(_SC_NPROCESSORS_ONLN);

	return count < 1 ? 1 : count > JOBS_MAX ? JOBS_MAX : (unsigned)count;
}

int command_sim(int argc, char **argv)
{
	struct sim_options sim = {.swarm.swarm = {.shard = 1, .shards = 1}};
	struct mr_scenario scenario;
	const char *path;
	int status;

	parse_command(&argp, argc, argv, &sim);
	if (sim.merge)
		return sim_swarm_merge(sim.paths, sim.count, sim.json);
	path = sim.count ? sim.paths[0] : "";
	if (strlen(path) >= sizeof(sim.swarm.swarm.scenario)) {
		error_line("%.40s...: the name is too long", path);
		return STATUS_FAILED;
	}
	memcpy(sim.swarm.swarm.scenario, path, strlen(path) + 1);
	sim.swarm.json = sim.json;
	sim.swarm.jobs = sim.swarm.jobs ? sim.swarm.jobs : processors();
	if (read_scenario(&sim, path, &scenario) < 0)
		return STATUS_FAILED;
	status = simulate(&sim, path, &scenario);
	mr_scenario_clear(&scenario);
	return status;
}
