/*
 * bench_live.c: a precopy of 1 GiB over a socket: from a real QEMU into `migref receive` and into another QEMU, and
 * from `migref send` and from a QEMU into a QEMU. The guest stands; its memory is random.
 */
#include "tests/bench/bench.h"

#include "sim/host/clock.h"
#include "sim/host/program.h"
#include "sim/host/qemu.h"

#include <fcntl.h>
#include <unistd.h>

enum { ROUNDS = 5, MEBIBYTES = 1024, WAIT_SECONDS = 120, LOOK_NS = 2000000, TEXT = 300 };

#define GUEST_BYTES ((uint64_t)MEBIBYTES << 20)

static char folder[] = "/tmp/migref-bench-XXXXXX";
static char program_path[TEXT], socket_path[sizeof(folder) + 16], devices_path[sizeof(folder) + 16];
static char release[32];
static int ram; /* the guest's memory, for who sends it */

/* ---- Leaving nothing behind ---- */

static void clean_up(void)
{
	char command[TEXT];

	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	if (system(command) != 0) /* NOLINT(cert-env33-c) */
		fprintf(stderr, "bench: %s is left behind\n", folder);
}

/* ---- QEMU ---- */

static void ask(struct mr_qemu *qemu, const char *command, json_t *arguments)
{
	char error[TEXT];

	if (mr_qemu_execute(qemu, command, arguments, NULL, error, sizeof(error)) != MR_QMP_DONE)
		bench_die(error);
}

static struct mr_qemu *start_qemu(bool incoming)
{
	const struct mr_qemu_options options = {
		.name = incoming ? "destination" : "source",
		.binary = "qemu-system-x86_64",
		.memory_mib = MEBIBYTES,
		.backend = incoming ? MR_QEMU_ANON : MR_QEMU_FILE,
		.vcpus = 1,
		.incoming = incoming,
		.stopped = true,
	};
	static const char *const named[] = {"-object", "memory-backend-ram,id=mem,size=1024M", "-machine",
					    "memory-backend=mem", NULL};
	struct mr_qemu_options chosen = options;
	struct mr_qemu *qemu;
	char error[TEXT];

	/* A block of the same name, but of ordinary memory, as QEMU has it by itself. */
	if (incoming)
		chosen.arguments = named;
	if (mr_qemu_start(&qemu, &chosen, error, sizeof(error)) < 0) {
		printf("skipped: %s\n", error);
		exit(0);
	}
	ask(qemu, "migrate-set-parameters", json_pack("{s:I}", "max-bandwidth", (json_int_t)1 << 40));
	if (incoming)
		ask(qemu, "migrate-incoming", json_pack("{s:s+}", "uri", "unix:", socket_path));
	return qemu;
}

static bool is_completed(struct mr_qemu *qemu)
{
	char error[TEXT];
	json_t *answer;
	const char *status;
	bool completed;

	if (mr_qemu_execute(qemu, "query-migrate", NULL, &answer, error, sizeof(error)) != MR_QMP_DONE)
		bench_die(error);
	status = json_string_value(json_object_get(answer, "status"));
	if (status && strcmp(status, "failed") == 0) {
		fprintf(stderr, "bench: %s\n", json_string_value(json_object_get(answer, "error-desc")));
		bench_die("a QEMU's migration failed");
	}
	completed = status && strcmp(status, "completed") == 0;
	json_decref(answer);
	return completed;
}

/* ---- Our ends ---- */

static struct mr_program *start_program(char *const *arguments)
{
	struct mr_program *program;
	char error[TEXT];

	if (mr_program_start(&program, arguments, error, sizeof(error)) < 0)
		bench_die(error);
	return program;
}

/* Dies if it ended otherwise than well. */
static bool has_ended(struct mr_program *program)
{
	char complaint[TEXT];
	int status;

	if (!mr_program_has_ended(program, &status))
		return false;
	mr_program_complaint(program, complaint, sizeof(complaint));
	if (status != 0)
		bench_die(complaint);
	return true;
}

static void end_program(struct mr_program *program)
{
	while (!has_ended(program))
		mr_clock_sleep(LOOK_NS);
	mr_program_stop(program);
}

static struct mr_program *start_receiver(bool keeps)
{
	char listen[sizeof(socket_path) + 20], output[sizeof(devices_path) + 20], is[sizeof(release) + 20];
	char *arguments[] = {program_path, "receive", listen, is, keeps ? output : "--json", NULL};
	struct mr_program *program;

	snprintf(listen, sizeof(listen), "--listen=unix:%s", socket_path);
	snprintf(output, sizeof(output), "--output=%s", devices_path);
	snprintf(is, sizeof(is), "--source-qemu=%s", release);
	unlink(socket_path);
	program = start_program(arguments);
	while (access(socket_path, F_OK) < 0)
		mr_clock_sleep(LOOK_NS);
	return program;
}

/* ---- A migration ---- */

/* `program` is our end; NULL: there is none. */
static void wait_for(struct mr_qemu *qemu, struct mr_program *program)
{
	const uint64_t deadline = mr_clock() + (uint64_t)WAIT_SECONDS * 1000000000;

	while (!is_completed(qemu)) {
		if (program)
			has_ended(program);
		if (mr_clock() > deadline)
			bench_die("no end of a migration");
		mr_clock_sleep(LOOK_NS);
	}
}

static double migrate_from(struct mr_qemu *source, struct mr_program *receiver)
{
	const uint64_t begin = mr_clock();

	ask(source, "migrate", json_pack("{s:s+}", "uri", "unix:", socket_path));
	wait_for(source, receiver);
	return (double)(mr_clock() - begin) / 1e9;
}

/* ---- The guest's memory ---- */

static void fill(int file)
{
	uint64_t state = 0x9e3779b97f4a7c15;
	uint8_t *memory = mmap(NULL, GUEST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	if (memory == MAP_FAILED)
		bench_die("the guest's memory cannot be mapped");
	bench_fill_random(memory, GUEST_BYTES, &state);
	munmap(memory, GUEST_BYTES);
}

/* One that has migrated does so no more: each migration has its own. */
static struct mr_qemu *start_source(bool filled)
{
	struct mr_qemu *source = start_qemu(false);
	const int file = open(mr_qemu_memory_path(source), O_RDWR | O_CLOEXEC);

	if (file < 0)
		bench_die("the guest's memory cannot be opened");
	if (filled)
		fill(file);
	close(file);
	snprintf(release, sizeof(release), "%s", mr_qemu_release(source));
	return source;
}

static void make_ram(void)
{
	ram = memfd_create("ram", 0);
	if (ram < 0 || ftruncate(ram, (off_t)GUEST_BYTES) < 0)
		bench_die("no memory for a guest");
	fill(ram);
}

/* ---- What is measured ---- */

static struct bench_time into_qemu(void)
{
	struct mr_qemu *source = start_source(true), *destination = start_qemu(true);
	const double seconds = migrate_from(source, NULL);

	mr_qemu_stop(destination);
	mr_qemu_stop(source);
	return (struct bench_time){.wall = seconds};
}

/* The first one makes the recording that is sent later: of a guest without anything in its memory. */
static struct bench_time into_us(bool keeps)
{
	struct mr_qemu *source = start_source(!keeps);
	struct mr_program *receiver = start_receiver(keeps);
	const double seconds = migrate_from(source, receiver);

	end_program(receiver);
	mr_qemu_stop(source);
	return (struct bench_time){.wall = seconds};
}

static struct bench_time from_us(void)
{
	char connect[sizeof(socket_path) + 20], devices[sizeof(devices_path) + 20], memory[80];
	char *arguments[] = {program_path, "send", connect, devices, memory, "--max-bandwidth=1099511627776", NULL};
	struct mr_qemu *destination = start_qemu(true);
	struct mr_program *sender;
	uint64_t begin, end;

	snprintf(connect, sizeof(connect), "--connect=unix:%s", socket_path);
	snprintf(devices, sizeof(devices), "--devices=%s", devices_path);
	snprintf(memory, sizeof(memory), "--ram=/proc/%d/fd/%d", (int)getpid(), ram);
	begin = mr_clock();
	sender = start_program(arguments);
	wait_for(destination, sender);
	end = mr_clock();
	end_program(sender);
	mr_qemu_stop(destination);
	return (struct bench_time){.wall = (double)(end - begin) / 1e9};
}

static void show(const char *name, const struct bench_samples *ours, const struct bench_samples *reference)
{
	printf("%-34s %8.0f ms %8.0f ms %6.2f\n", name, bench_medians(ours).wall * 1e3,
	       bench_medians(reference).wall * 1e3, bench_ratios(ours, reference).wall);
}

int main(void)
{
	static struct bench_samples qemu, receiver, sender;
	const char *named = getenv("MIGREF");

	snprintf(program_path, sizeof(program_path), "%s", named ? named : "build/migref");
	if (!mkdtemp(folder))
		bench_die("no temporary directory");
	atexit(clean_up);
	snprintf(socket_path, sizeof(socket_path), "%s/socket", folder);
	snprintf(devices_path, sizeof(devices_path), "%s/devices", folder);
	into_us(true);
	make_ram();
	for (unsigned i = 0; i < ROUNDS; i++) {
		bench_add(&qemu, into_qemu());
		bench_add(&receiver, into_us(false));
		bench_add(&sender, from_us());
	}
	printf("precopy of %d MiB, medians of %d by the wall; QEMU %s into itself, once in each round\n", MEBIBYTES,
	       ROUNDS, release);
	printf("%-34s %11s %11s %6s\n", "", "migref", "QEMU", "ratio");
	show("QEMU into migref receive", &receiver, &qemu);
	show("migref send into QEMU", &sender, &qemu);
	return 0;
}
