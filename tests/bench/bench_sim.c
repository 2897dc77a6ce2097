/* bench_sim.c: how fast a simulated migration goes, and in how much memory: page events a second of each scenario. */
#include "tests/bench/bench.h"

#include "sim/world/sim.h"

#include <inttypes.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 3, SMALL_GIB = 8, LARGE_GIB = 1024 };

/* Of the library's scenarios, those that differ in what costs time; the large ones run once. */
static const char *const names[] = {"precopy",          "precopy-xbzrle", "multifd-zstd", "postcopy",
				    "postcopy-preempt", "large-8g",       "large-1t"};

/* Of one run. */
struct run {
	uint64_t memory; /* of the guest, bytes */
	uint64_t page_events;
	enum mr_outcome outcome;
};

/* Of all rounds of a scenario. */
struct figures {
	struct run run;
	double seconds; /* of the processor, median */
	long resident;  /* most of any round, KiB */
};

static struct run simulate(const char *path)
{
	struct mr_scenario scenario;
	struct mr_sim_result result;
	struct mr_watch watch = {0};
	struct mr_sim *sim;
	struct run run = {0};
	char error[512];

	if (mr_scenario_read(&scenario, path, error, sizeof(error)) < 0)
		bench_die(error);
	sim = mr_sim_new(&scenario, &watch, error, sizeof(error));
	if (!sim)
		bench_die(error);
	while (!mr_sim_run(sim, UINT64_MAX))
		continue;
	mr_sim_result(sim, &result);
	for (uint32_t i = 0; i < scenario.block_count; i++)
		run.memory += scenario.blocks[i].size;
	run.page_events = result.page_events;
	run.outcome = result.outcome;
	mr_sim_free(sim);
	mr_scenario_clear(&scenario);
	return run;
}

/* In a process of its own: the most memory that one ever had is never given back. */
static struct run simulate_apart(const char *path, struct rusage *usage)
{
	struct run run = {0};
	int ends[2], status;
	pid_t child;

	if (pipe(ends) < 0 || (child = fork()) < 0)
		bench_die("no process");
	if (child == 0) {
		run = simulate(path);
		_exit(write(ends[1], &run, sizeof(run)) == sizeof(run) ? 0 : 3);
	}
	close(ends[1]);
	if (read(ends[0], &run, sizeof(run)) != sizeof(run) || wait4(child, &status, 0, usage) < 0 || status != 0)
		bench_die(path);
	close(ends[0]);
	return run;
}

static double seconds_of(const struct timeval *time)
{
	return (double)time->tv_sec + (double)time->tv_usec / 1e6;
}

static struct figures measure(const char *path)
{
	struct figures figures = {0};
	double seconds[ROUNDS];
	unsigned rounds = 0;

	do {
		struct rusage usage;

		figures.run = simulate_apart(path, &usage);
		seconds[rounds++] = seconds_of(&usage.ru_utime) + seconds_of(&usage.ru_stime);
		if (usage.ru_maxrss > figures.resident)
			figures.resident = usage.ru_maxrss;
	} while (rounds < ROUNDS && figures.run.memory >> 30 < SMALL_GIB);
	figures.seconds = bench_median(seconds, rounds);
	return figures;
}

static double nanoseconds_each(const struct figures *figures)
{
	return figures->run.page_events ? figures->seconds * 1e9 / (double)figures->run.page_events : 0;
}

static void print_figures(const char *name, const struct figures *figures)
{
	const double each = nanoseconds_each(figures);

	printf("%-26s %-10s %10.3f %12" PRIu64 " %9.3f %9.0f %9.2f %9.1f\n", name,
	       mr_outcome_name(figures->run.outcome), (double)figures->run.memory / (1 << 30), figures->run.page_events,
	       figures->seconds, each, each > 0 ? 1e3 / each : 0, (double)figures->resident / 1024);
	fflush(stdout);
}

static void print_ratio(const struct figures *large, const struct figures *small)
{
	if (!large->run.page_events || !small->run.page_events)
		return;
	printf("\n%.0f GiB against %.0f GiB: %.2f times the time of a page event, "
	       "%.2f times the resident memory\n",
	       (double)large->run.memory / (1 << 30), (double)small->run.memory / (1 << 30),
	       nanoseconds_each(large) / nanoseconds_each(small), (double)large->resident / (double)small->resident);
}

int main(void)
{
	struct figures small = {0}, large = {0};

	printf("%-26s %-10s %10s %12s %9s %9s %9s %9s\n", "scenario, one core", "outcome", "guest GiB", "page events",
	       "seconds", "ns each", "million/s", "MiB");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct figures figures;
		char path[128];

		snprintf(path, sizeof(path), "sim/scenarios/%s.ini", names[i]);
		figures = measure(path);
		print_figures(names[i], &figures);
		if (figures.run.memory >> 30 >= LARGE_GIB)
			large = figures;
		else if (figures.run.memory >> 30 >= SMALL_GIB)
			small = figures;
	}
	print_ratio(&large, &small);
	return 0;
}
