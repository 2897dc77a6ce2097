/* program.c: a command of ours as a process of its own, as a user would run it. */
#include "sim/host/program.h"
#include "sim/host/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	OUTPUT_MAX = 1 << 20, /* bytes of what it prints that are looked at, its last */
	LOOK_NS = 10 * 1000 * 1000,
};

#define PATIENCE_NS (UINT64_C(5) * 1000 * 1000 * 1000)

struct mr_program {
	pid_t pid;
	bool ended;
	int status;   /* as waitpid() says, once it has ended */
	int files[2]; /* standard output and error: files without a name */
};

/* ---- Starting ---- */

static void become(const struct mr_program *program, char *const *arguments, pid_t parent)
{
	const int nothing = open("/dev/null", O_RDONLY);

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || dup2(nothing, STDIN_FILENO) < 0 ||
	    dup2(program->files[0], STDOUT_FILENO) < 0 || dup2(program->files[1], STDERR_FILENO) < 0)
		_exit(127);
	execv(arguments[0], arguments);
	_exit(127);
}

int mr_program_start(struct mr_program **result, char *const *arguments, char *error, size_t error_size)
{
	struct mr_program *program = calloc(1, sizeof(*program));
	const pid_t parent = getpid();

	*result = NULL;
	if (!program) {
		snprintf(error, error_size, "%s: no memory", arguments[0]);
		return -1;
	}
	program->files[0] = memfd_create("output", MFD_CLOEXEC);
	program->files[1] = memfd_create("errors", MFD_CLOEXEC);
	if (program->files[0] >= 0 && program->files[1] >= 0)
		program->pid = fork();
	else
		program->pid = -1;
	if (program->pid == 0)
		become(program, arguments, parent);
	if (program->pid > 0) {
		*result = program;
		return 0;
	}
	snprintf(error, error_size, "%s: cannot start it: %s", arguments[0], strerror(errno));
	mr_program_stop(program);
	return -1;
}

/* ---- How it went ---- */

bool mr_program_has_ended(struct mr_program *program, int *status)
{
	if (!program->ended)
		program->ended = waitpid(program->pid, &program->status, WNOHANG) == program->pid;
	if (program->ended)
		*status = WIFSIGNALED(program->status) ? 128 + WTERMSIG(program->status) : WEXITSTATUS(program->status);
	return program->ended;
}

pid_t mr_program_pid(const struct mr_program *program)
{
	return program->pid;
}

/* The end of a file; the caller releases it. */
static char *read_end(int file)
{
	struct stat about;
	char *text;
	ssize_t length;

	if (fstat(file, &about) < 0)
		return NULL;
	text = malloc(OUTPUT_MAX + 1);
	if (!text)
		return NULL;
	length = pread(file, text, OUTPUT_MAX, about.st_size > OUTPUT_MAX ? about.st_size - OUTPUT_MAX : 0);
	text[length > 0 ? length : 0] = '\0';
	return text;
}

json_t *mr_program_answer(const struct mr_program *program)
{
	char *text = read_end(program->files[0]), *rest = text, *line;
	json_t *answer = NULL;

	while (rest && (line = strsep(&rest, "\n")) != NULL) {
		json_t *object = *line == '{' ? json_loads(line, 0, NULL) : NULL;

		if (!object)
			continue;
		json_decref(answer);
		answer = object;
	}
	free(text);
	return answer;
}

void mr_program_complaint(const struct mr_program *program, char *line, size_t size)
{
	char *text = read_end(program->files[1]), *rest = text, *found;

	snprintf(line, size, "%s", "");
	while (rest && (found = strsep(&rest, "\n")) != NULL)
		if (*found)
			snprintf(line, size, "%s", found);
	free(text);
}

void mr_program_stop(struct mr_program *program)
{
	const uint64_t deadline = mr_clock() + PATIENCE_NS;
	int status;

	if (!program)
		return;
	if (program->pid > 0 && !mr_program_has_ended(program, &status)) {
		kill(program->pid, SIGTERM);
		while (!mr_program_has_ended(program, &status) && mr_clock() < deadline)
			mr_clock_sleep(LOOK_NS);
	}
	if (program->pid > 0 && !program->ended) {
		kill(program->pid, SIGKILL);
		waitpid(program->pid, &program->status, 0);
	}
	for (unsigned i = 0; i < 2; i++)
		if (program->files[i] >= 0)
			close(program->files[i]);
	free(program);
}
