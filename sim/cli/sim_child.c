/* sim_child.c: one run in a process of its own, so that a crash is the end of nothing else. */
#include "sim/cli/sim_child.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void refuse(struct sim_seed *seed, const char *error)
{
	seed->end = SIM_END_REFUSED;
	snprintf(seed->violation.text, sizeof(seed->violation.text), "%s", error);
}

static void run_seed(struct sim_seed *seed, const struct mr_scenario *scenario)
{
	struct sim_run run;
	char error[200];

	if (mr_scenario_check(scenario, error, sizeof(error)) < 0 ||
	    sim_run(&run, scenario, NULL, true, error, sizeof(error)) < 0)
		refuse(seed, error);
	else
		sim_seed_take(seed, &run);
}

/* Less than a pipe holds, so that nobody has to read before the end. */
static bool tell(int pipe, const struct sim_seed *seed)
{
	return write(pipe, seed, sizeof(*seed)) == (ssize_t)sizeof(*seed);
}

static void mute(void)
{
	const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (nowhere >= 0)
		dup2(nowhere, STDERR_FILENO);
}

/* What the scenario is goes ahead, for the case that it is the last that is heard. */
static bool be_child(int pipe, const struct mr_scenario *given, uint64_t number)
{
	const struct rlimit limit = {SIM_CHILD_SECONDS, SIM_CHILD_SECONDS};
	struct sim_seed seed = {.seed = number, .end = SIM_END_DIED};
	struct mr_scenario scenario;
	bool told;

	if (given) {
		scenario = *given;
		scenario.seed = number;
	} else {
		setrlimit(RLIMIT_CPU, &limit);
		mr_scenario_random(&scenario, number);
	}
	sim_seed_draw(&seed, &scenario);
	told = tell(pipe, &seed);
	run_seed(&seed, &scenario);
	if (!given)
		mr_scenario_clear(&scenario);
	return told && tell(pipe, &seed);
}

int sim_child_start(struct sim_child *child, const struct mr_scenario *scenario, uint64_t seed, bool muted)
{
	int ends[2], failure;

	/* or the child would write it, too */
	fflush(stdout);
	if (pipe(ends) < 0)
		return -1;
	*child = (struct sim_child){.pid = fork(), .pipe = ends[0], .seed = seed};
	if (child->pid == 0) {
		close(ends[0]);
		if (muted)
			mute();
		exit(be_child(ends[1], scenario, seed) ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	failure = errno;
	close(ends[1]);
	if (child->pid > 0)
		return 0;
	close(ends[0]);
	errno = failure;
	return -1;
}

static bool read_whole(int pipe, struct sim_seed *seed)
{
	size_t have = 0;
	ssize_t more;

	while (have < sizeof(*seed)) {
		more = read(pipe, (char *)seed + have, sizeof(*seed) - have);
		if (more <= 0)
			return false;
		have += (size_t)more;
	}
	return true;
}

static void describe_death(struct sim_seed *seed, int status)
{
	char *text = seed->violation.text;
	const size_t size = sizeof(seed->violation.text);
	const char *name = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;

	seed->end = SIM_END_DIED;
	if (WIFSIGNALED(status))
		snprintf(text, size, "the process died of signal %d (SIG%s)", WTERMSIG(status), name ? name : "?");
	else
		snprintf(text, size, "the process ended with status %d", WEXITSTATUS(status));
}

void sim_child_finish(struct sim_child *child, struct sim_seed *result)
{
	struct sim_seed told;
	int status = 0;

	*result = (struct sim_seed){.seed = child->seed};
	while (read_whole(child->pipe, &told))
		*result = told;
	close(child->pipe);
	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS)
		describe_death(result, status);
}
