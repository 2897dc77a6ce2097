/* interop.c: `migref interop`: every mode of migration between a real QEMU and an end of ours, both ways, as a matrix.
 */
#include "sim/cli/cli.h"
#include "sim/host/interop.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	KEY_QEMU = 256,
	KEY_ACCEL,
	KEY_MODES,
	KEY_DIRECTIONS,
	KEY_MACHINE,
	KEY_MEMORY,
	KEY_VCPUS,
	KEY_TIME_LIMIT,
	KEY_MARKDOWN,
	KEY_LIST,
	ACCELS_MAX = 4,
	MODES_MAX = 64,
	MEMORY_LEAST = 16,
	MEMORY_MOST = 2048,
	TIME_LIMIT_MOST = 36000,
};

struct interop_command {
	struct mr_interop_options run;
	const char *accels, *modes, *directions, *markdown;
	bool json, list;
};

/* What came of everything. */
struct matrix {
	char accels[ACCELS_MAX][32];
	size_t accel_count;
	bool done[ACCELS_MAX][MR_INTEROP_DIRECTION_COUNT][MODES_MAX];
	struct mr_interop_result results[ACCELS_MAX][MR_INTEROP_DIRECTION_COUNT][MODES_MAX];
	uint32_t count[MR_INTEROP_VERDICT_COUNT];
	char release[32];
	bool unable; /* a QEMU could not be started: no other could be */
};

static const struct argp_option options[] = {
	{"qemu", KEY_QEMU, "PROGRAM", 0, "the QEMU to migrate with (qemu-system-x86_64)", 0},
	{"accel", KEY_ACCEL, "LIST", 0,
	 "accelerators, separated by commas: tcg, kvm (tcg, and kvm where the host has it)", 0},
	{"mode", KEY_MODES, "LIST", 0, "modes, separated by commas (all; see --list)", 0},
	{"direction", KEY_DIRECTIONS, "LIST", 0, "receive, send: which end is ours (both)", 0},
	{"machine", KEY_MACHINE, "TYPE", 0, "machine type of QEMU (pc)", 0},
	{"memory", KEY_MEMORY, "MIB", 0, "of the guest (32)", 0},
	{"vcpus", KEY_VCPUS, "NUMBER", 0, "of the guest, 2 to 16 (2): one that writes, the others read", 0},
	{"time-limit", KEY_TIME_LIMIT, "S", 0, "seconds for each migration (60)", 0},
	{"markdown", KEY_MARKDOWN, "FILE", 0, "write the matrix as a table, too", 0},
	{"list", KEY_LIST, NULL, 0, "list the modes, and end", 0},
	{"json", 'j', NULL, 0, "a JSON object a line: each migration, and the sums", 0},
	{NULL, 0, NULL, 0, NULL, 0},
};

/* ---- Options ---- */

static uint32_t parse_number(const char *name, const char *text, uint32_t least, uint32_t most,
			     const struct argp_state *state)
{
	uint64_t number = 0;
	const char *end = read_number(text, &number);

	if (!end || *end || number < least || number > most)
		argp_error(state, "%s: expected %" PRIu32 " to %" PRIu32 ", found %s", name, least, most, text);
	return (uint32_t)number;
}

static bool is_in(const char *list, const char *name)
{
	const size_t length = strlen(name);

	while (list && *list) {
		const size_t found = strcspn(list, ",");

		if (found == length && strncmp(list, name, length) == 0)
			return true;
		list += found + (list[found] == ',');
	}
	return false;
}

static bool is_mode(const char *name)
{
	for (size_t i = 0; mr_interop_mode_at(i); i++)
		if (strcmp(mr_interop_mode_at(i)->name, name) == 0)
			return true;
	return false;
}

static bool is_accel(const char *name)
{
	return strcmp(name, "tcg") == 0 || strcmp(name, "kvm") == 0;
}

static bool is_direction(const char *name)
{
	return strcmp(name, "receive") == 0 || strcmp(name, "send") == 0;
}

static void check_list(const char *option, const char *list, bool (*is_known)(const char *name),
		       const struct argp_state *state)
{
	char *copy = list ? strdup(list) : NULL, *rest = copy, *name;

	while (rest && (name = strsep(&rest, ",")) != NULL)
		if (!is_known(name))
			argp_error(state, "%s: found %s, which is none (--help, --list)", option,
				   *name ? name : "an empty name");
	free(copy);
}

static void check_options(const struct interop_command *command, const struct argp_state *state)
{
	check_list("--mode", command->modes, is_mode, state);
	check_list("--accel", command->accels, is_accel, state);
	check_list("--direction", command->directions, is_direction, state);
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct interop_command *command = state->input;

	switch (key) {
	case KEY_QEMU:
		command->run.qemu = argument;
		break;
	case KEY_ACCEL:
		command->accels = argument;
		break;
	case KEY_MODES:
		command->modes = argument;
		break;
	case KEY_DIRECTIONS:
		command->directions = argument;
		break;
	case KEY_MACHINE:
		command->run.machine = argument;
		break;
	case KEY_MEMORY:
		command->run.memory_mib = parse_number("--memory", argument, MEMORY_LEAST, MEMORY_MOST, state);
		break;
	case KEY_VCPUS:
		command->run.vcpus = parse_number("--vcpus", argument, 2, 16, state);
		break;
	case KEY_TIME_LIMIT:
		command->run.time_limit = parse_number("--time-limit", argument, 1, TIME_LIMIT_MOST, state);
		break;
	case KEY_MARKDOWN:
		command->markdown = argument;
		break;
	case KEY_LIST:
		command->list = true;
		break;
	case 'j':
		command->json = true;
		break;
	case ARGP_KEY_END:
		check_options(command, state);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp parser = {
	.options = options,
	.parser = parse_option,
	.doc = "Migrate between a real QEMU and migref itself, in every mode and both directions, and show what held.\v"
	       "receive: QEMU runs the test guest (migref guest) and migrates it to `migref receive`; what arrived "
	       "must "
	       "be QEMU's memory, byte for byte, and the guest's part of it what its own counts make of it. send: "
	       "`migref send` migrates what was received first into a fresh QEMU, where the guest must go on, with its "
	       "memory as predicted. With postcopy, pages must have been asked for; with a cut, recovered.\n\n"
	       "QEMU before 9.0 loses writes in precopy under TCG: there the guest stands while it is migrated, but "
	       "where pages have to be sent again; what is lost then is counted and named as QEMU's.\n\n"
	       "Exit status: 0 all held that could be tried, 1 something differed, 2 usage, 3 nothing could be tried.",
};

/* ---- Files ---- */

static bool make_folder(char folder[64], const char *name)
{
	snprintf(folder, 64, "/tmp/migref-%s-XXXXXX", name);
	if (mkdtemp(folder))
		return true;
	error_line("%s: %s", folder, strerror(errno));
	return false;
}

static void remove_folder(const char *folder)
{
	DIR *open = opendir(folder);
	struct dirent *entry;

	while (open && (entry = readdir(open)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dirfd(open), entry->d_name, 0);
	if (open)
		closedir(open);
	rmdir(folder);
}

/* ---- Showing ---- */

static void describe(const struct mr_interop_result *result, enum mr_interop_direction direction, char text[200])
{
	int length = snprintf(text, 200, "%" PRIu64 " pages", result->pages);

	if (result->requests)
		length += snprintf(text + length, 200 - (size_t)length, ", %" PRIu64 " requests, %" PRIu64 " answered",
				   result->requests, result->answered);
	if (result->encoded)
		length += snprintf(text + length, 200 - (size_t)length, ", %" PRIu64 " as changes", result->encoded);
	if (result->recoveries)
		length += snprintf(text + length, 200 - (size_t)length, ", recovered");
	if (direction == MR_INTEROP_SEND)
		length += snprintf(text + length, 200 - (size_t)length, ", %" PRIu64 " touches on", result->touches);
	snprintf(text + length, 200 - (size_t)length, ", %.1f s", result->seconds);
}

static void show_json(const struct mr_interop_options *run, const struct mr_interop_result *result)
{
	json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "direction",
				   mr_interop_direction_name(run->direction), "accel", run->accel, "mode",
				   run->mode->name, "qemu", result->release, "verdict",
				   mr_interop_verdict_name(result->verdict), "pages", (json_int_t)result->pages, "lost",
				   (json_int_t)result->lost, "requests", (json_int_t)result->requests, "answered",
				   (json_int_t)result->answered, "recoveries", (json_int_t)result->recoveries,
				   "touches", (json_int_t)result->touches, "seconds", result->seconds);

	if (result->line[0])
		json_object_set_new(object, "line", json_string(result->line));
	json_dumpf(object, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(object);
}

static void show(const struct interop_command *command, const struct mr_interop_options *run,
		 const struct mr_interop_result *result)
{
	char text[200];

	if (command->json) {
		show_json(run, result);
	} else {
		describe(result, run->direction, text);
		printf("%-8s %-4s %-20s %s: %s\n", mr_interop_direction_name(run->direction), run->accel,
		       run->mode->name, mr_interop_verdict_name(result->verdict),
		       result->verdict == MR_INTEROP_HOLDS ? text : result->line);
	}
	fflush(stdout);
}

static void show_sums(const struct interop_command *command, const struct matrix *matrix)
{
	if (command->json)
		printf("{\"holds\":%" PRIu32 ",\"lost\":%" PRIu32 ",\"skipped\":%" PRIu32 ",\"differs\":%" PRIu32 "}\n",
		       matrix->count[MR_INTEROP_HOLDS], matrix->count[MR_INTEROP_LOST],
		       matrix->count[MR_INTEROP_SKIPPED], matrix->count[MR_INTEROP_DIFFERS]);
	else
		printf("%" PRIu32 " hold, %" PRIu32 " hold but for writes that QEMU lost, %" PRIu32
		       " not here, %" PRIu32 " differ\n",
		       matrix->count[MR_INTEROP_HOLDS], matrix->count[MR_INTEROP_LOST],
		       matrix->count[MR_INTEROP_SKIPPED], matrix->count[MR_INTEROP_DIFFERS]);
}

/* ---- The table ---- */

static const char *cell_of(const struct matrix *matrix, size_t accel, unsigned direction, size_t mode)
{
	static const char *const short_names[MR_INTEROP_VERDICT_COUNT] = {
		[MR_INTEROP_HOLDS] = "holds",      [MR_INTEROP_LOST] = "holds (*)",
		[MR_INTEROP_SKIPPED] = "not here", [MR_INTEROP_DIFFERS] = "**differs**",
		[MR_INTEROP_UNABLE] = "",
	};

	return matrix->done[accel][direction][mode] ? short_names[matrix->results[accel][direction][mode].verdict] : "";
}

static void write_rows(const struct matrix *matrix, FILE *out)
{
	const struct mr_interop_mode *mode;

	for (size_t i = 0; (mode = mr_interop_mode_at(i)) != NULL; i++) {
		fprintf(out, "| `%s` |", mode->name);
		for (unsigned direction = 0; direction < MR_INTEROP_DIRECTION_COUNT; direction++)
			for (size_t accel = 0; accel < matrix->accel_count; accel++)
				fprintf(out, " %s |", cell_of(matrix, accel, direction, i));
		fprintf(out, " %s |\n", mode->meaning);
	}
}

static void write_table(const struct matrix *matrix, FILE *out)
{
	fprintf(out, "# Interoperation with QEMU %s\n\nWritten by `make interop` (`migref interop --markdown`).\n\n",
		matrix->release);
	fputs("| mode |", out);
	for (unsigned direction = 0; direction < MR_INTEROP_DIRECTION_COUNT; direction++)
		for (size_t accel = 0; accel < matrix->accel_count; accel++)
			fprintf(out, " %s, %s |", mr_interop_direction_name((enum mr_interop_direction)direction),
				matrix->accels[accel]);
	fputs(" what it is |\n|---|", out);
	for (size_t i = 0; i < MR_INTEROP_DIRECTION_COUNT * matrix->accel_count; i++)
		fputs("---|", out);
	fputs("---|\n", out);
	write_rows(matrix, out);
	fputs("\n*receive*: QEMU migrates the test guest to `migref receive`; what arrived is QEMU's memory byte for "
	      "byte,\n"
	      "and the guest's region is what its counts of touches make of it. *send*: `migref send` migrates it into "
	      "a\n"
	      "fresh QEMU; the guest goes on there, and its memory is as predicted. With postcopy, pages were asked "
	      "for;\n"
	      "with a cut, the migration was recovered.\n\n"
	      "(*) but for writes to some pages that QEMU itself lost: releases before 9.0 do so in precopy under TCG. "
	      "In\n"
	      "the other modes the guest stands there while it is migrated.\n",
	      out);
}

static bool write_markdown(const struct interop_command *command, const struct matrix *matrix)
{
	FILE *out;

	if (!command->markdown)
		return true;
	out = fopen(command->markdown, "w");
	if (out)
		write_table(matrix, out);
	if (out && fclose(out) == 0)
		return true;
	error_line("%s: %s", command->markdown, strerror(errno));
	return false;
}

/* Whether the table can be written, which is asked before minutes of migrations. */
static bool may_write_markdown(const struct interop_command *command)
{
	const bool existed = command->markdown && access(command->markdown, F_OK) == 0;
	FILE *out;

	if (!command->markdown)
		return true;
	out = fopen(command->markdown, "ae");
	if (!out) {
		error_line("%s: %s", command->markdown, strerror(errno));
		return false;
	}
	fclose(out);
	if (!existed)
		unlink(command->markdown);
	return true;
}

/* ---- Running ---- */

static void run_one(const struct interop_command *command, struct matrix *matrix, size_t accel, size_t mode,
		    const struct mr_interop_options *run)
{
	struct mr_interop_result *result = &matrix->results[accel][run->direction][mode];

	mr_interop_run(run, result);
	if (result->verdict == MR_INTEROP_UNABLE) {
		error_line("%s", result->line);
		matrix->unable = true;
		return;
	}
	matrix->done[accel][run->direction][mode] = true;
	matrix->count[result->verdict]++;
	if (result->release[0])
		snprintf(matrix->release, sizeof(matrix->release), "%s", result->release);
	show(command, run, result);
}

static bool is_wanted(const struct interop_command *command, enum mr_interop_direction direction, size_t mode)
{
	return (!command->directions || is_in(command->directions, mr_interop_direction_name(direction))) &&
	       (!command->modes || is_in(command->modes, mr_interop_mode_at(mode)->name));
}

/* The first migration that is received is the machine that is sent: made also if nobody asked for it. */
static void run_accel(const struct interop_command *command, struct matrix *matrix, size_t accel, const char *devices)
{
	struct mr_interop_options run = command->run;
	bool has_devices;

	run.accel = matrix->accels[accel];
	run.keep = devices;
	for (size_t i = 0; !matrix->unable && (run.mode = mr_interop_mode_at(i)) != NULL; i++) {
		if (i == 0 || is_wanted(command, MR_INTEROP_RECEIVE, i))
			run_one(command, matrix, accel, i, &run);
		run.keep = NULL;
	}
	has_devices = matrix->results[accel][MR_INTEROP_RECEIVE][0].verdict == MR_INTEROP_HOLDS;
	run.direction = MR_INTEROP_SEND;
	run.devices = devices;
	for (size_t i = 0; has_devices && !matrix->unable && (run.mode = mr_interop_mode_at(i)) != NULL; i++)
		if (is_wanted(command, MR_INTEROP_SEND, i))
			run_one(command, matrix, accel, i, &run);
}

static bool run_all(const struct interop_command *command, struct matrix *matrix)
{
	char files[64], devices[64];
	struct interop_command with_files = *command;

	if (!make_folder(files, "interop"))
		return false;
	with_files.run.directory = files;
	for (size_t i = 0; i < matrix->accel_count && !matrix->unable; i++) {
		if (!make_folder(devices, "devices"))
			break;
		run_accel(&with_files, matrix, i, devices);
		remove_folder(devices);
	}
	remove_folder(files);
	return true;
}

static void find_accels(const struct interop_command *command, struct matrix *matrix)
{
	static const char *const known[] = {"tcg", "kvm"};

	for (size_t i = 0; i < 2; i++) {
		const bool is_there = i == 0 || access("/dev/kvm", R_OK | W_OK) == 0;

		if (command->accels ? is_in(command->accels, known[i]) : is_there)
			snprintf(matrix->accels[matrix->accel_count++], sizeof(matrix->accels[0]), "%s", known[i]);
	}
}

static void list_modes(void)
{
	const struct mr_interop_mode *mode;

	for (size_t i = 0; (mode = mr_interop_mode_at(i)) != NULL; i++)
		printf("%-20s %s\n", mode->name, mode->meaning);
}

static int judge(const struct matrix *matrix)
{
	if (matrix->unable)
		return STATUS_FAILED;
	if (matrix->count[MR_INTEROP_DIFFERS])
		return STATUS_DIFFERS;
	return matrix->count[MR_INTEROP_HOLDS] + matrix->count[MR_INTEROP_LOST] ? STATUS_HOLDS : STATUS_FAILED;
}

int command_interop(int argc, char **argv)
{
	struct interop_command command = {
		.run = {.qemu = "qemu-system-x86_64", .memory_mib = 32, .vcpus = 2, .time_limit = 60}};
	struct matrix *matrix = calloc(1, sizeof(*matrix));
	char program[512] = "";
	int status = STATUS_FAILED;

	parse_command(&parser, argc, argv, &command);
	if (command.list) {
		list_modes();
		free(matrix);
		return finish_output(STATUS_HOLDS);
	}
	command.run.program = program;
	if (!may_write_markdown(&command)) {
		free(matrix);
		return STATUS_FAILED;
	}
	if (!matrix || readlink("/proc/self/exe", program, sizeof(program) - 1) < 0) {
		error_line("cannot find the program itself: %s", strerror(errno));
		free(matrix);
		return STATUS_FAILED;
	}
	find_accels(&command, matrix);
	if (run_all(&command, matrix)) {
		if (!matrix->unable)
			show_sums(&command, matrix);
		status = judge(matrix);
		if (!matrix->unable && !write_markdown(&command, matrix))
			status = STATUS_FAILED;
	}
	free(matrix);
	return finish_output(status);
}
