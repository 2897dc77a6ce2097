/* qemu.c: one QEMU process of ours: started with our guest, asked over its monitor, and ended in any case. */
#include "sim/host/qemu.h"
#include "ref/migref.h"
#include "sim/host/clock.h"
#include "sim/host/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	ARGUMENTS_MAX = 256,
	DESCRIPTOR_PATH = 40,
	DEATH = 400,
	LAST_WORDS = 4096,             /* bytes of its standard error that are looked at */
	LOOK_NS = 10 * 1000 * 1000,    /* between two looks whether it has ended */
	GRACE_NS = 1000 * 1000 * 1000, /* from the end of its monitor to its own */
	QUIT_SECONDS = 3,
	MIB = 1 << 20,
	HUGE_PAGE = 2 << 20,
	SMALL_PAGE = 4096,
};

#define PATIENCE_NS (UINT64_C(3) * 1000 * 1000 * 1000) /* for each way of ending it */

/* Events that tell what a migration did; those that only measure, or tell of each field of a device, are left out. */
static const char events[] =
	"postcopy*\nmigrat*\nsavevm*\nloadvm*\nram_*\nmultifd*\nqemu_loadvm*\nqemu_savevm*\n"
	"source_return_path*\nvmstate_downtime_checkpoint*\nprocess_incoming*\nmark_postcopy*\n"
	"vmstate_save*\n-vmstate_save_*\nvmstate_load*\n-vmstate_load_*\nget_queued_page*\nsend_request*\nsave_xbzrle*"
	"\nunqueue*\nglobal_state*\n"
	"-migrate_pending*\n-savevm_state_iterate*\n-migration_rate_limit*\n-migrate_transferred*\n"
	"-migration_throttle*\n-migration_transferred_bytes*\n-qemu_savevm_query_pending*\n"
	"-multifd_send_ram_fill*\n";

struct mr_qemu {
	char name[MR_QMP_NAME_MAX];
	pid_t pid;
	bool ended;
	int status; /* as waitpid() says, once it has ended */
	char death[DEATH];
	int memory, errors; /* files without a name; -1: none */
	char memory_path[DESCRIPTOR_PATH], errors_path[DESCRIPTOR_PATH];
	struct mr_qmp *qmp;
	char *program; /* what it was started as, without the directory */
};

/* What is there only while it is started. */
struct start {
	const struct mr_qemu_options *options;
	struct mr_qemu *qemu;
	char *path;      /* of the program */
	int events;      /* a file without a name; -1: none */
	int monitors[2]; /* ours and its; -1 */
	int report[2];   /* errno of what could not be executed */
	char *arguments[ARGUMENTS_MAX];
	size_t count;
	bool short_of_memory;
	char *error;
	size_t error_size;
};

__attribute__((format(printf, 2, 3))) static int fail(const struct start *start, const char *format, ...)
{
	const int length = snprintf(start->error, start->error_size, "%s: ", start->options->name);
	va_list arguments;

	va_start(arguments, format);
	if (length >= 0 && (size_t)length < start->error_size)
		vsnprintf(start->error + length, start->error_size - (size_t)length, format, arguments);
	va_end(arguments);
	return -1;
}

/* ---- Back ends ---- */

static const char *const backend_names[MR_QEMU_BACKEND_COUNT] = {
	[MR_QEMU_FILE] = "file",
	[MR_QEMU_ANON] = "anon",
	[MR_QEMU_HUGETLB] = "hugetlb",
};

const char *mr_qemu_backend_name(enum mr_qemu_backend backend)
{
	return backend_names[backend];
}

bool mr_qemu_backend_by_name(const char *name, enum mr_qemu_backend *backend)
{
	for (unsigned i = 0; i < MR_QEMU_BACKEND_COUNT; i++)
		if (strcmp(backend_names[i], name) == 0) {
			*backend = (enum mr_qemu_backend)i;
			return true;
		}
	return false;
}

uint64_t mr_qemu_backend_page_size(enum mr_qemu_backend backend)
{
	return backend == MR_QEMU_HUGETLB ? HUGE_PAGE : SMALL_PAGE;
}

/* ---- What it is started with ---- */

static bool is_program(const char *path, int *reason)
{
	struct stat about;

	*reason = 0;
	if (stat(path, &about) < 0)
		*reason = errno;
	else if (!S_ISREG(about.st_mode) || access(path, X_OK) < 0)
		*reason = EACCES;
	return *reason == 0;
}

static int search(struct start *start)
{
	const char *binary = start->options->binary, *list = getenv("PATH");
	int reason;

	while (list && *list) {
		const size_t length = strcspn(list, ":");

		if (length && asprintf(&start->path, "%.*s/%s", (int)length, list, binary) < 0)
			start->path = NULL;
		if (length && start->path && is_program(start->path, &reason))
			return 0;
		free(start->path);
		start->path = NULL;
		list += length + (list[length] == ':');
	}
	return fail(start, "%s: no such program in PATH", binary);
}

static int find_program(struct start *start)
{
	const char *binary = start->options->binary, *slash = strrchr(binary, '/');
	int reason;

	start->qemu->program = strdup(slash ? slash + 1 : binary);
	if (!slash)
		return search(start);
	if (!is_program(binary, &reason))
		return fail(start, "%s: %s", binary,
			    reason == EACCES ? "expected a program that can be executed" : strerror(reason));
	start->path = strdup(binary);
	return start->path && start->qemu->program ? 0 : fail(start, "no memory");
}

static int check_image(const struct start *start)
{
	const char *image = start->options->image;

	return image && access(image, R_OK) < 0 ? fail(start, "%s: %s", image, strerror(errno)) : 0;
}

/* The kernel kills who touches a huge page that is not there: better to say it before. */
static int check_pool(const struct start *start)
{
	const uint64_t wanted = start->options->memory_mib * MIB / HUGE_PAGE;
	struct mr_host_pool pool;
	uint64_t left;

	if (start->options->memory_mib % (HUGE_PAGE / MIB))
		return fail(start, "expected memory of whole huge pages of 2 MiB, found %" PRIu64 " MiB",
			    start->options->memory_mib);
	if (mr_host_pool_read(HUGE_PAGE, &pool) < 0)
		return fail(start, "the kernel has no huge pages of 2 MiB");
	left = pool.free > pool.reserved ? pool.free - pool.reserved : 0;
	if (left < wanted)
		return fail(start,
			    "expected %" PRIu64 " free huge pages of 2 MiB, found %" PRIu64
			    " (sysctl vm.nr_hugepages sets how many there are)",
			    wanted, left);
	return 0;
}

static void show_path(int file, char path[DESCRIPTOR_PATH])
{
	snprintf(path, DESCRIPTOR_PATH, "/proc/self/fd/%d", file);
}

static int make_memory(struct start *start)
{
	const enum mr_qemu_backend backend = start->options->backend;
	struct mr_qemu *qemu = start->qemu;

	if (backend == MR_QEMU_ANON)
		return 0;
	if (backend == MR_QEMU_HUGETLB && check_pool(start) < 0)
		return -1;
	qemu->memory =
		memfd_create("memory", MFD_CLOEXEC | (backend == MR_QEMU_HUGETLB ? MFD_HUGETLB | MFD_HUGE_2MB : 0));
	if (qemu->memory < 0 || ftruncate(qemu->memory, (off_t)(start->options->memory_mib * MIB)) < 0)
		return fail(start, "memory of %" PRIu64 " MiB: %s", start->options->memory_mib, strerror(errno));
	show_path(qemu->memory, qemu->memory_path);
	return 0;
}

static int make_files(struct start *start)
{
	struct mr_qemu *qemu = start->qemu;

	qemu->errors = memfd_create("errors", MFD_CLOEXEC);
	if (start->options->trace)
		start->events = memfd_create("events", MFD_CLOEXEC);
	if (qemu->errors < 0 || (start->options->trace && start->events < 0) ||
	    (start->events >= 0 && write(start->events, events, sizeof(events) - 1) != sizeof(events) - 1) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, start->monitors) < 0 ||
	    pipe2(start->report, O_CLOEXEC) < 0)
		return fail(start, "cannot begin: %s", strerror(errno));
	show_path(qemu->errors, qemu->errors_path);
	return 0;
}

/* ---- Arguments ---- */

__attribute__((format(printf, 2, 3))) static void add(struct start *start, const char *format, ...)
{
	va_list arguments;
	char *text = NULL;

	va_start(arguments, format);
	if (start->count + 1 == ARGUMENTS_MAX || vasprintf(&text, format, arguments) < 0) {
		start->short_of_memory = true;
		text = NULL;
	}
	va_end(arguments);
	if (text)
		start->arguments[start->count++] = text;
}

static void add_memory(struct start *start)
{
	const struct mr_qemu_options *options = start->options;

	add(start, "-m");
	add(start, "%" PRIu64 "M", options->memory_mib);
	if (start->qemu->memory < 0)
		return;
	add(start, "-object");
	add(start, "memory-backend-file,id=mem,share=on,size=%" PRIu64 "M,mem-path=%s", options->memory_mib,
	    start->qemu->memory_path);
}

/* Where options are separated by commas, one in a name is written twice. */
static char *double_commas(const char *text)
{
	char *result = malloc(2 * strlen(text) + 1), *to = result;

	for (; result && *text; *to++ = *text++)
		if (*text == ',')
			*to++ = ',';
	if (result)
		*to = '\0';
	return result;
}

static void add_image(struct start *start)
{
	char *name;

	if (!start->options->image)
		return;
	if (!start->options->disk) {
		add(start, "-bios");
		add(start, "%s", start->options->image);
		return;
	}
	name = double_commas(start->options->image);
	start->short_of_memory |= !name;
	add(start, "-drive");
	add(start, "if=ide,format=raw,snapshot=on,file=%s", name ? name : "");
	free(name);
}

static void add_trace(struct start *start)
{
	char path[DESCRIPTOR_PATH];

	if (start->events < 0)
		return;
	show_path(start->events, path);
	add(start, "-D");
	add(start, "%s", start->options->trace);
	add(start, "-msg");
	add(start, "timestamp=on");
	add(start, "-trace");
	add(start, "events=%s", path);
}

static void add_monitor(struct start *start)
{
	add(start, "-chardev");
	add(start, "socket,id=migref,fd=%d", start->monitors[1]);
	add(start, "-mon");
	add(start, "chardev=migref,mode=control");
}

static int make_arguments(struct start *start)
{
	const struct mr_qemu_options *options = start->options;

	add(start, "%s", start->path);
	add(start, "-no-user-config");
	add(start, "-nodefaults");
	add(start, "-display");
	add(start, "none");
	add(start, "-accel");
	add(start, "%s", options->accel ? options->accel : "tcg");
	add(start, "-machine");
	add(start, "%s%s", options->machine ? options->machine : "pc",
	    start->qemu->memory >= 0 ? ",memory-backend=mem" : "");
	add(start, "-smp");
	add(start, "%" PRIu32, options->vcpus);
	add_memory(start);
	add_image(start);
	add_monitor(start);
	add_trace(start);
	if (options->incoming) {
		add(start, "-incoming");
		add(start, "defer");
	}
	if (options->stopped)
		add(start, "-S");
	for (size_t i = 0; options->arguments && options->arguments[i]; i++)
		add(start, "%s", options->arguments[i]);
	return start->short_of_memory ? fail(start, "expected fewer arguments, or more memory") : 0;
}

/* ---- The process ---- */

static bool hand_over(int file)
{
	return file < 0 || fcntl(file, F_SETFD, 0) == 0;
}

/* Between fork and exec, in a process that may have had threads: only system calls. */
static void become(const struct start *start, pid_t parent)
{
	const int nothing = open("/dev/null", O_RDWR);
	sigset_t none;
	int reason;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent || setpgid(0, 0) < 0 ||
	    dup2(nothing, STDIN_FILENO) < 0 || dup2(start->qemu->errors, STDOUT_FILENO) < 0 ||
	    dup2(start->qemu->errors, STDERR_FILENO) < 0 || !hand_over(start->qemu->memory) ||
	    !hand_over(start->events) || !hand_over(start->monitors[1]))
		_exit(127);
	execv(start->path, start->arguments);
	reason = errno;
	if (write(start->report[1], &reason, sizeof(reason)) < 0)
		_exit(126);
	_exit(127);
}

static void close_file(int *file)
{
	if (*file >= 0)
		close(*file);
	*file = -1;
}

static int execute(struct start *start)
{
	const pid_t parent = getpid();
	const pid_t child = fork();
	int reason;

	if (child == 0)
		become(start, parent);
	if (child < 0)
		return fail(start, "cannot start it: %s", strerror(errno));
	start->qemu->pid = child;
	close_file(&start->report[1]);
	close_file(&start->monitors[1]);
	if (read(start->report[0], &reason, sizeof(reason)) != sizeof(reason))
		return 0;
	return fail(start, "%s: cannot be executed: %s", start->path, strerror(reason));
}

/* ---- How it ended ---- */

/* Of what it wrote last, the last line that begins with its name, else the last one; warnings explain no end. */
static void find_last_words(const struct mr_qemu *qemu, char words[LAST_WORDS])
{
	struct stat about = {0};
	char text[LAST_WORDS], name[64], *line, *rest = text;
	bool named = false;
	ssize_t length;

	words[0] = '\0';
	snprintf(name, sizeof(name), "%.60s: ", qemu->program);
	if (fstat(qemu->errors, &about) < 0)
		return;
	length = pread(qemu->errors, text, sizeof(text) - 1,
		       about.st_size >= LAST_WORDS ? about.st_size - (LAST_WORDS - 1) : 0);
	text[length > 0 ? length : 0] = '\0';
	while ((line = strsep(&rest, "\n")) != NULL) {
		const char *found = strstr(line, name);

		if (line[strspn(line, " \t\r")] == '\0' || (named && !found) || strstr(line, "warning: "))
			continue;
		named |= found != NULL;
		snprintf(words, LAST_WORDS, "%s", found ? found + strlen(name) : line);
	}
	for (char *byte = words; *byte; byte++)
		if ((unsigned char)*byte < 0x20 || *byte == 0x7f)
			*byte = ' ';
}

static void describe_death(struct mr_qemu *qemu)
{
	char words[LAST_WORDS];
	int length;

	if (WIFSIGNALED(qemu->status))
		length = snprintf(qemu->death, sizeof(qemu->death), "QEMU was killed by signal %d (%s)",
				  WTERMSIG(qemu->status), strsignal(WTERMSIG(qemu->status)));
	else
		length = snprintf(qemu->death, sizeof(qemu->death), "QEMU ended with exit status %d",
				  WEXITSTATUS(qemu->status));
	find_last_words(qemu, words);
	if (words[0] && length > 0)
		snprintf(qemu->death + length, sizeof(qemu->death) - (size_t)length, ": %.300s", words);
}

bool mr_qemu_is_running(struct mr_qemu *qemu)
{
	if (qemu->ended || qemu->pid <= 0)
		return false;
	if (waitpid(qemu->pid, &qemu->status, WNOHANG) != qemu->pid)
		return true;
	qemu->ended = true;
	describe_death(qemu);
	return false;
}

const char *mr_qemu_death(struct mr_qemu *qemu)
{
	return mr_qemu_is_running(qemu) ? NULL : qemu->death;
}

static bool ends_within(struct mr_qemu *qemu, uint64_t nanoseconds)
{
	const uint64_t deadline = mr_clock() + nanoseconds;

	while (mr_qemu_is_running(qemu)) {
		if (mr_clock() >= deadline)
			return false;
		mr_clock_sleep(LOOK_NS);
	}
	return true;
}

/* It leads a group of its own, of which there may be more than itself if a script started it. */
static void end_process(struct mr_qemu *qemu)
{
	char ignored[DEATH];

	if (qemu->qmp && mr_qemu_is_running(qemu)) {
		mr_qmp_limit(qemu->qmp, QUIT_SECONDS);
		if (mr_qmp_execute(qemu->qmp, "quit", NULL, NULL, ignored, sizeof(ignored)) == MR_QMP_DONE)
			ends_within(qemu, PATIENCE_NS);
	}
	if (mr_qemu_is_running(qemu)) {
		kill(-qemu->pid, SIGTERM);
		ends_within(qemu, PATIENCE_NS);
	}
	if (mr_qemu_is_running(qemu)) {
		kill(-qemu->pid, SIGKILL);
		waitpid(qemu->pid, &qemu->status, 0);
	}
}

void mr_qemu_stop(struct mr_qemu *qemu)
{
	if (!qemu)
		return;
	if (qemu->pid > 0)
		end_process(qemu);
	mr_qmp_close(qemu->qmp);
	close_file(&qemu->memory);
	close_file(&qemu->errors);
	free(qemu->program);
	free(qemu);
}

/* ---- Starting ---- */

static int meet(struct start *start)
{
	struct mr_qemu *qemu = start->qemu;
	const double seconds = start->options->seconds > 0 ? start->options->seconds : MR_QMP_SECONDS;
	const int monitor = start->monitors[0];

	start->monitors[0] = -1;
	if (mr_qmp_adopt(&qemu->qmp, qemu->name, monitor, seconds, start->error, start->error_size) == 0)
		return 0;
	if (ends_within(qemu, GRACE_NS))
		fail(start, "%s", qemu->death);
	return -1;
}

static int run(struct start *start)
{
	if (find_program(start) < 0 || check_image(start) < 0 || make_memory(start) < 0 || make_files(start) < 0 ||
	    make_arguments(start) < 0 || execute(start) < 0)
		return -1;
	return meet(start);
}

int mr_qemu_start(struct mr_qemu **result, const struct mr_qemu_options *options, char *error, size_t error_size)
{
	struct start start = {
		.options = options,
		.qemu = calloc(1, sizeof(*start.qemu)),
		.events = -1,
		.monitors = {-1, -1},
		.report = {-1, -1},
		.error = error,
		.error_size = error_size,
	};
	int status;

	*result = NULL;
	if (!start.qemu)
		return fail(&start, "no memory");
	*start.qemu = (struct mr_qemu){.memory = -1, .errors = -1};
	snprintf(start.qemu->name, sizeof(start.qemu->name), "%s", options->name);
	status = run(&start);
	for (size_t i = 0; i < start.count; i++)
		free(start.arguments[i]);
	free(start.path);
	close_file(&start.events);
	for (size_t i = 0; i < 2; i++) {
		close_file(&start.monitors[i]);
		close_file(&start.report[i]);
	}
	if (status < 0)
		mr_qemu_stop(start.qemu);
	else
		*result = start.qemu;
	return status;
}

/* ---- Asking ---- */

enum mr_qmp_status mr_qemu_execute(struct mr_qemu *qemu, const char *command, json_t *arguments, json_t **answer,
				   char *error, size_t error_size)
{
	const enum mr_qmp_status status = mr_qmp_execute(qemu->qmp, command, arguments, answer, error, error_size);

	if (status == MR_QMP_LOST && ends_within(qemu, GRACE_NS))
		snprintf(error, error_size, "%s: %s: %s", qemu->name, command, qemu->death);
	return status;
}

struct mr_qmp *mr_qemu_qmp(struct mr_qemu *qemu)
{
	return qemu->qmp;
}

bool mr_qemu_loses_writes(const char *release, const char *accel)
{
	struct mr_profile profile;

	return strcmp(accel, "tcg") == 0 && mr_profile_init(&profile, release) == 0 &&
	       !mr_profile_within(&profile, "9.0", "");
}

const char *mr_qemu_release(const struct mr_qemu *qemu)
{
	return mr_qmp_release(qemu->qmp);
}

pid_t mr_qemu_pid(const struct mr_qemu *qemu)
{
	return qemu->pid;
}

const char *mr_qemu_memory_path(const struct mr_qemu *qemu)
{
	return qemu->memory >= 0 ? qemu->memory_path : NULL;
}

const char *mr_qemu_errors_path(const struct mr_qemu *qemu)
{
	return qemu->errors_path;
}
