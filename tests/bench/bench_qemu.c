/* bench_qemu.c: how fast a stream is read into guest memory, against a real QEMU that loads the same file. */
#include "tests/bench/bench.h"

#include "ref/migref.h"
#include "sim/record/memory.h"
#include "sim/record/migration.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 7, MEBIBYTES = 1024, CHUNK = 1 << 20, WAIT_MS = 120000, STREAM_DESCRIPTOR = 9, NOT_INSTALLED = 127 };

#define GUEST_BYTES ((uint64_t)MEBIBYTES << 20)
#define DISK_BYTES  (3 * GUEST_BYTES)

static char ram_path[512], stream_path[512];

/* A QEMU with QMP on its standard input and output. */
struct machine {
	pid_t pid;
	int to, from;
	size_t used;
	char text[65536]; /* what it said and nobody looked at yet */
};

static struct machine machine;
static struct mr_memory memory;

/* ---- Leaving nothing behind ---- */

static void clean_up(void)
{
	if (machine.pid > 0)
		kill(machine.pid, SIGKILL);
	unlink(ram_path);
	unlink(stream_path);
}

__attribute__((noreturn)) static void skip(const char *why)
{
	printf("skipped: %s\n", why);
	exit(0);
}

/* ---- QEMU ---- */

static void run_qemu(bool incoming)
{
	static char backend[768];
	const char *arguments[] = {
		"qemu-system-x86_64",
		"-machine",
		"pc-i440fx-7.2,memory-backend=mem",
		"-accel",
		"tcg",
		"-m",
		"1024",
		"-nodefaults",
		"-display",
		"none",
		"-S",
		"-qmp",
		"stdio",
		"-object",
		backend,
		incoming ? "-incoming" : NULL,
		"defer",
		NULL,
	};

	if (incoming)
		snprintf(backend, sizeof(backend), "memory-backend-ram,id=mem,size=%dM", MEBIBYTES);
	else
		snprintf(backend, sizeof(backend), "memory-backend-file,id=mem,size=%dM,share=on,mem-path=%s",
			 MEBIBYTES, ram_path);
	execvp(arguments[0], (char **)(uintptr_t)arguments);
	_exit(NOT_INSTALLED);
}

static void start_machine(bool incoming)
{
	int to[2], from[2];

	if (pipe2(to, O_CLOEXEC) < 0 || pipe2(from, O_CLOEXEC) < 0)
		bench_die("no pipe");
	machine = (struct machine){.pid = fork()};
	if (machine.pid < 0)
		bench_die("cannot fork");
	if (machine.pid == 0) {
		const int stream = open(stream_path, O_RDONLY);

		dup2(to[0], STDIN_FILENO);
		dup2(from[1], STDOUT_FILENO);
		if (stream >= 0)
			dup2(stream, STREAM_DESCRIPTOR);
		run_qemu(incoming);
	}
	close(to[0]);
	close(from[1]);
	machine.to = to[1];
	machine.from = from[0];
}

/* Waits until QEMU says `what`, and forgets all up to there. False if it ends, complains or keeps silent. */
static bool hear(const char *what)
{
	for (;;) {
		struct pollfd ready = {.fd = machine.from, .events = POLLIN};
		const char *found = strstr(machine.text, what);
		ssize_t count;

		if (found) {
			const size_t behind = (size_t)(found - machine.text) + strlen(what);

			machine.used -= behind;
			memmove(machine.text, machine.text + behind, machine.used + 1);
			return true;
		}
		if (strstr(machine.text, "\"error\"") || machine.used + 1 == sizeof(machine.text) ||
		    poll(&ready, 1, WAIT_MS) <= 0)
			return false;
		count = read(machine.from, machine.text + machine.used, sizeof(machine.text) - 1 - machine.used);
		if (count <= 0)
			return false;
		machine.used += (size_t)count;
		machine.text[machine.used] = '\0';
	}
}

static void say(const char *command)
{
	if (write(machine.to, command, strlen(command)) != (ssize_t)strlen(command))
		bench_die("QEMU does not listen");
}

static void expect(const char *what)
{
	if (hear(what))
		return;
	fprintf(stderr, "bench: expected %s from QEMU, found %.300s\n", what, machine.text);
	exit(3);
}

/* Through the greeting, with events for the migration's state and no limit of bandwidth. */
static void prepare_machine(bool incoming)
{
	start_machine(incoming);
	if (!hear("\"QMP\"")) {
		int status = 0;

		waitpid(machine.pid, &status, 0);
		machine.pid = 0;
		if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_INSTALLED)
			skip("qemu-system-x86_64 is not installed");
		skip("qemu-system-x86_64 does not start a pc-i440fx-7.2");
	}
	say("{\"execute\":\"qmp_capabilities\"}\n");
	expect("\"return\"");
	say("{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":"
	    "[{\"capability\":\"events\",\"state\":true}]}}\n");
	expect("\"return\"");
	say("{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"max-bandwidth\":100000000000}}\n");
	expect("\"return\"");
}

static void end_machine(void)
{
	say("{\"execute\":\"quit\"}\n");
	close(machine.to);
	close(machine.from);
	waitpid(machine.pid, NULL, 0);
	machine.pid = 0;
}

/* ---- The stream ---- */

static void make_ram(void)
{
	const int file = open(ram_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	uint8_t *chunk = bench_map(CHUNK, false);
	uint64_t state = 0x9e3779b97f4a7c15;

	for (uint64_t done = 0; done < GUEST_BYTES; done += CHUNK) {
		bench_fill_random(chunk, CHUNK, &state);
		if (write(file, chunk, CHUNK) != CHUNK)
			bench_die("cannot write the guest's memory");
	}
	munmap(chunk, CHUNK);
	close(file);
}

/* A real migration of a guest that never ran, into a file. */
static void make_stream(void)
{
	char command[1200];

	make_ram();
	prepare_machine(false);
	snprintf(command, sizeof(command), "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"exec:cat >'%s'\"}}\n",
		 stream_path);
	say(command);
	expect("\"status\": \"completed\"");
	end_machine();
	unlink(ram_path);
}

/* ---- The two sides ---- */

/*
 * Free memory may be lent back to whoever runs this machine, and is then slow to come by. Both sides get memory that
 * was in use a moment before.
 */
static void warm_free_memory(void)
{
	const size_t size = GUEST_BYTES + GUEST_BYTES / 4;
	uint8_t *warm = bench_map(size, true);

	for (size_t i = 0; i < size; i += 4096)
		warm[i] = 1;
	munmap(warm, size);
}

/* From the command to the event that says the guest is there. */
static struct bench_time load_by_qemu(bool pipe)
{
	char command[1200], source[600];
	struct bench_time start, taken;
	clockid_t cpu;

	prepare_machine(true);
	if (clock_getcpuclockid(machine.pid, &cpu) != 0)
		bench_die("no processor clock of QEMU");
	if (pipe)
		snprintf(source, sizeof(source), "exec:cat '%s'", stream_path);
	else
		snprintf(source, sizeof(source), "fd:%d", STREAM_DESCRIPTOR);
	snprintf(command, sizeof(command), "{\"execute\":\"migrate-incoming\",\"arguments\":{\"uri\":\"%s\"}}\n",
		 source);
	warm_free_memory();
	start = (struct bench_time){bench_clock(CLOCK_MONOTONIC), bench_clock(cpu)};
	say(command);
	expect("\"status\": \"completed\"");
	taken = (struct bench_time){bench_clock(CLOCK_MONOTONIC) - start.wall, bench_clock(cpu) - start.cpu};
	end_machine();
	return taken;
}

/* What `migref extract` does before it writes files. */
static struct bench_time load_by_migref(void)
{
	const struct mr_stream_options options = {0};
	struct mr_migration *migration;
	struct mr_channel *channel;
	struct bench_time start, taken;
	struct mr_record record;
	struct mr_fault fault;
	enum mr_result result;
	const uint8_t *wire;
	char error[512];

	warm_free_memory();
	start = bench_now();
	if (mr_migration_open(&migration, stream_path, &options, NULL, NULL, error, sizeof(error)) < 0)
		bench_die(error);
	mr_memory_init(&memory, migration->session, true);
	while ((result = mr_migration_next(migration, &channel, &record, &wire)) == MR_RECORD)
		if (mr_memory_apply(&memory, &record, &fault) < 0)
			bench_die(fault.text);
	taken = bench_since(start);
	if (result != MR_DONE)
		bench_die("migref does not read the stream to its end");
	mr_memory_clear(&memory);
	mr_migration_close(migration);
	return taken;
}

static void compare(void)
{
	struct bench_samples ours = {0}, piped = {0}, direct = {0};

	load_by_migref();
	for (unsigned i = 0; i < ROUNDS; i++) {
		bench_add(&piped, load_by_qemu(true));
		bench_add(&ours, load_by_migref());
		bench_add(&direct, load_by_qemu(false));
	}
	bench_table_head("QEMU");
	bench_table_row("load from exec:cat", &ours, &piped, 2);
	bench_table_row("load from the file itself", &ours, &direct, 2);
}

int main(void)
{
	const char *build = getenv("BUILD");
	char folder[256];
	struct statvfs disk;

	snprintf(folder, sizeof(folder), "%s/bench", build ? build : "build");
	if ((mkdir(folder, 0777) < 0 && errno != EEXIST) || statvfs(folder, &disk) < 0)
		bench_die("no folder for the stream");
	if ((uint64_t)disk.f_bavail * disk.f_frsize < DISK_BYTES)
		skip("less than 3 GiB of disk are free");
	snprintf(ram_path, sizeof(ram_path), "%s/guest.ram", folder);
	snprintf(stream_path, sizeof(stream_path), "%s/guest.stream", folder);
	atexit(clean_up);
	signal(SIGPIPE, SIG_IGN);
	make_stream();
	printf("a real stream of %d MiB of random pages, into huge pages, %u rounds\n\n", MEBIBYTES, (unsigned)ROUNDS);
	compare();
	return 0;
}
