/* sim_swarm.c: many runs, as many at once as there are processors, told in the order of their seeds. */
#include "sim/cli/sim_swarm.h"
#include "sim/cli/cli.h"
#include "sim/cli/sim_child.h"
#include "sim/cli/sim_shrink.h"
#include "sim/record/progress.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { AHEAD_MAX = 1024 }; /* seeds that may be over before the one whose turn it is */

struct runner {
	struct sim_child child;
	uint64_t number; /* of the seed in the swarm */
};

struct swarm {
	const struct sim_swarm_options *options;
	struct sim_report report;
	uint64_t count;         /* seeds */
	uint64_t started, told; /* so many of them */
	struct runner *runners;
	struct pollfd *polls;
	unsigned running;
	struct sim_seed *results; /* of the seeds from `told` on, by number modulo AHEAD_MAX */
	bool *over;               /* the same */
	struct mr_progress progress;
};

/* ---- Failures ---- */

/* The scenario of a seed; mr_scenario_clear() it. */
static bool scenario_of(const struct swarm *swarm, uint64_t seed, struct mr_scenario *scenario)
{
	if (!swarm->options->scenario) {
		mr_scenario_random(scenario, seed);
		return true;
	}
	if (mr_scenario_copy(scenario, swarm->options->scenario) < 0)
		return false;
	scenario->seed = seed;
	return true;
}

static bool write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");
	bool good;

	if (!file)
		return false;
	good = fputs(text, file) >= 0;
	return fclose(file) == 0 && good;
}

static bool write_shrunk(const struct swarm *swarm, const struct mr_scenario *scenario, struct sim_shrunk *shrunk)
{
	const int length = snprintf(shrunk->file, sizeof(shrunk->file), "%s/%s-%" PRIu64 ".ini",
				    swarm->options->failures, scenario->name, scenario->seed);

	if (length < (int)sizeof(shrunk->file) && write_text(shrunk->file, shrunk->scenario))
		return true;
	error_line("%s: %s", shrunk->file, strerror(length < (int)sizeof(shrunk->file) ? errno : ENAMETOOLONG));
	return false;
}

static bool tell_failure(struct swarm *swarm, const struct sim_seed *seed)
{
	struct sim_shrunk shrunk;
	struct mr_scenario scenario;
	bool good;

	if (!scenario_of(swarm, seed->seed, &scenario)) {
		error_line("no memory for a scenario");
		return false;
	}
	good = sim_shrink(&shrunk, &scenario, seed);
	if (!good)
		error_line("seed %" PRIu64 ": it cannot be simplified: %s", seed->seed, strerror(errno));
	else if (shrunk.scenario && swarm->options->failures)
		good = write_shrunk(swarm, &scenario, &shrunk);
	sim_report_seed(&swarm->report, seed, &shrunk);
	free(shrunk.scenario);
	mr_scenario_clear(&scenario);
	return good;
}

/* ---- Runs ---- */

static bool start_one(struct swarm *swarm)
{
	struct runner *runner = &swarm->runners[swarm->running];

	runner->number = swarm->started;
	if (sim_child_start(&runner->child, swarm->options->scenario,
			    sim_swarm_seed(&swarm->options->swarm, runner->number), false) < 0) {
		error_line("a process for a run: %s", strerror(errno));
		return false;
	}
	swarm->started++;
	swarm->running++;
	return true;
}

static bool start_some(struct swarm *swarm)
{
	while (swarm->running < swarm->options->jobs && swarm->started < swarm->count &&
	       swarm->started - swarm->told < AHEAD_MAX)
		if (!start_one(swarm))
			return false;
	return true;
}

static void finish(struct swarm *swarm, unsigned index)
{
	struct runner *runner = &swarm->runners[index];
	const size_t place = runner->number % AHEAD_MAX;

	sim_child_finish(&runner->child, &swarm->results[place]);
	swarm->over[place] = true;
	swarm->running--;
	*runner = swarm->runners[swarm->running];
}

/* A run tells what it is at once, and ends by closing its pipe. */
static bool wait_for_some(struct swarm *swarm)
{
	for (unsigned i = 0; i < swarm->running; i++)
		swarm->polls[i] = (struct pollfd){.fd = swarm->runners[i].child.pipe};
	while (poll(swarm->polls, swarm->running, -1) < 0) {
		if (errno == EINTR)
			continue;
		error_line("poll: %s", strerror(errno));
		return false;
	}
	for (unsigned i = swarm->running; i-- > 0;)
		if (swarm->polls[i].revents)
			finish(swarm, i);
	return true;
}

static bool tell_some(struct swarm *swarm)
{
	const struct sim_shrunk nothing = {0};

	for (; swarm->told < swarm->started && swarm->over[swarm->told % AHEAD_MAX]; swarm->told++) {
		const struct sim_seed *seed = &swarm->results[swarm->told % AHEAD_MAX];

		swarm->over[swarm->told % AHEAD_MAX] = false;
		if (!sim_report_simplifies(&swarm->report, seed))
			sim_report_seed(&swarm->report, seed, &nothing);
		else if (!tell_failure(swarm, seed))
			return false;
		mr_progress_update(&swarm->progress, (double)swarm->told / (double)swarm->count,
				   swarm->report.totals.figures[SIM_FIGURE_forward_bytes]);
	}
	/* nobody reads what comes */
	return fflush(stdout) == 0;
}

static void give_up(struct swarm *swarm)
{
	struct sim_seed ignored;

	for (unsigned i = 0; i < swarm->running; i++)
		sim_child_finish(&swarm->runners[i].child, &ignored);
	swarm->running = 0;
}

static bool run_all(struct swarm *swarm)
{
	while (swarm->told < swarm->count)
		if (!start_some(swarm) || !wait_for_some(swarm) || !tell_some(swarm))
			return false;
	return true;
}

/* ---- The swarm ---- */

static bool make_room(struct swarm *swarm)
{
	const unsigned jobs = swarm->options->jobs;

	swarm->runners = calloc(jobs, sizeof(*swarm->runners));
	swarm->polls = calloc(jobs, sizeof(*swarm->polls));
	swarm->results = calloc(AHEAD_MAX, sizeof(*swarm->results));
	swarm->over = calloc(AHEAD_MAX, sizeof(*swarm->over));
	if (swarm->runners && swarm->polls && swarm->results && swarm->over)
		return true;
	error_line("no memory for a swarm");
	return false;
}

static bool make_directory(const char *path)
{
	struct stat status;

	if (!path || mkdir(path, 0777) == 0)
		return true;
	if (errno == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode))
		return true;
	error_line("%s: %s", path, strerror(errno));
	return false;
}

static int run_swarm(struct swarm *swarm)
{
	bool good;

	sim_report_begin(&swarm->report, &swarm->options->swarm, swarm->options->json);
	/* lines on a terminal would go through the bar */
	mr_progress_start(&swarm->progress, "sim", isatty(STDOUT_FILENO));
	good = run_all(swarm);
	give_up(swarm);
	mr_progress_end(&swarm->progress);
	if (!good)
		return STATUS_FAILED;
	return sim_report_end(&swarm->report) ? STATUS_HOLDS : STATUS_DIFFERS;
}

int sim_swarm_run(const struct sim_swarm_options *options)
{
	struct swarm swarm = {.options = options, .count = sim_swarm_count(&options->swarm)};
	int status = STATUS_FAILED;

	if (make_room(&swarm) && make_directory(options->failures))
		status = run_swarm(&swarm);
	free(swarm.runners);
	free(swarm.polls);
	free(swarm.results);
	free(swarm.over);
	return status;
}
