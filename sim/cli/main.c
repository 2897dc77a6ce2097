/* main.c: the `migref` program: finds the command and hands over. */
#include "sim/cli/cli.h"
#include "sim/record/description.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct command commands[] = {
	{"dump", "print every record of a stream, with offset and fields", command_dump},
	{"explain", "say of every byte of a stream what it means, and what a destination does", command_explain},
	{"check", "judge streams by the rules of SPEC.md: verdict and every deviation", command_check},
	{"extract", "write each RAM block's final content to a file", command_extract},
	{"replay", "hold a recording against the reference: bytes, actions, return path, memory", command_replay},
	{"describe", "print, save or compare the layout of device sections", command_describe},
	{"sim", "simulate a migration from a scenario and a seed, or a swarm of them", command_sim},
	{"explore", "visit every interleaving of a small world, and check what has to hold in each", command_explore},
	{"guest", "write an image of a bootable test guest, or judge the memory of one", command_guest},
	{"host", "tell what this host offers for postcopy on real memory", command_host},
	{"record", "record a migration between two real QEMU, with the test guest", command_record},
	{"tap", "record a migration that others run, standing between its ends", command_tap},
	{"receive", "be the destination of a live migration from any QEMU", command_receive},
	{"send", "be the source of a live migration into a real QEMU, with a recording's machine", command_send},
	{"interop", "migrate between a real QEMU and an end of ours, in every mode", command_interop},
	{"report", "write one HTML page about a recorded migration", command_report},
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

void error_line(const char *format, ...)
{
	char line[8192];
	va_list arguments;

	fflush(stdout);
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	/* names of blocks and files may hold what a terminal obeys */
	for (char *at = line; *at; at++)
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			*at = '?';
	fprintf(stderr, "migref: %s\n", line);
}

const char *read_number(const char *text, uint64_t *number)
{
	const char *at = text;

	for (*number = 0; *at >= '0' && *at <= '9'; at++) {
		const uint64_t digit = (uint64_t)(*at - '0');

		if (*number > (UINT64_MAX - digit) / 10)
			return NULL;
		*number = *number * 10 + digit;
	}
	return at == text ? NULL : at;
}

int finish_output(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	error_line("standard output: %s", strerror(errno));
	return STATUS_FAILED;
}

/* ---- Options about streams ---- */

enum { OPTION_ROLE = 0x100, OPTION_AS, OPTION_CONTEXT, OPTION_PAGE_SIZE, OPTION_CAPABILITIES, OPTION_DESCRIBE };

static const struct argp_option stream_options[] = {
	{NULL, 0, NULL, 0, "What a stream does not say about itself:", 1},
	{"role", OPTION_ROLE, "ROLE", 0,
	 "main, recovery, preempt, multifd or return; by default told by name and first bytes", 1},
	{"as", OPTION_AS, "RELEASE", 0, "the source was QEMU RELEASE, such as 7.2; by default what the manifest says",
	 1},
	{"context", OPTION_CONTEXT, "FILE", 0, "manifest of a recording; by default manifest.json beside the stream",
	 1},
	{"page-size", OPTION_PAGE_SIZE, "BYTES", 0,
	 "target page size, a power of two from 1024 to 65536; by default as the stream or the end of its file says, "
	 "else 4096",
	 1},
	{"capabilities", OPTION_CAPABILITIES, "LIST", 0, "capabilities that were on, separated by commas", 1},
	{"describe", OPTION_DESCRIBE, "FILE", 0,
	 "layout of device sections where the stream does not state it: a file of migref describe -o, or a stream of "
	 "the "
	 "same machine and release that ends with a description",
	 1},
	{NULL, 0, NULL, 0, NULL, 0},
};

static void parse_role(struct mr_stream_options *options, const char *text, struct argp_state *state)
{
	for (unsigned role = 0; role < MR_ROLE_COUNT; role++) {
		if (strcmp(text, mr_role_name((enum mr_role)role)) == 0) {
			options->role = (enum mr_role)role;
			options->role_given = true;
			return;
		}
	}
	argp_error(state, "--role: expected main, recovery, preempt, multifd or return, found %s", text);
}

static void parse_release(struct mr_stream_options *options, const char *text, struct argp_state *state)
{
	struct mr_profile profile;

	if (mr_profile_init(&profile, text) < 0)
		argp_error(state, "--as: expected a QEMU release from 2.5 to 11.1, found %s", text);
	options->release = text;
}

static void parse_page_size(struct mr_stream_options *options, const char *text, struct argp_state *state)
{
	char *end;
	const unsigned long size = strtoul(text, &end, 0);

	if (*end || size < MR_PAGE_SIZE_MIN || size > MR_PAGE_SIZE_MAX || (size & (size - 1)))
		argp_error(state, "--page-size: expected a power of two from %d to %d, found %s", MR_PAGE_SIZE_MIN,
			   MR_PAGE_SIZE_MAX, text);
	options->target_page_size = (uint32_t)size;
}

static void parse_capabilities(struct mr_stream_options *options, char *text, struct argp_state *state)
{
	options->capabilities_given = true;
	for (char *rest = text, *name; (name = strsep(&rest, ",")) != NULL;) {
		const uint32_t bit = mr_capability_by_name(name);

		if (!bit && *name)
			argp_error(state, "--capabilities: no capability of the stream is called %s", name);
		options->capabilities |= bit;
	}
}

/* What --describe gave, for as long as the command runs. */
static struct mr_described given;

static void load_description(struct mr_stream_options *options, const char *path, struct argp_state *state)
{
	char error[512];

	mr_described_clear(&given);
	if (mr_described_load(&given, path, error, sizeof(error)) < 0)
		argp_failure(state, STATUS_FAILED, 0, "%s", error);
	options->description = given.layout;
}

static error_t parse_stream_option(int key, char *argument, struct argp_state *state)
{
	struct mr_stream_options *options = state->input;

	switch (key) {
	case OPTION_ROLE:
		parse_role(options, argument, state);
		return 0;
	case OPTION_AS:
		parse_release(options, argument, state);
		return 0;
	case OPTION_CONTEXT:
		options->manifest = argument;
		return 0;
	case OPTION_PAGE_SIZE:
		parse_page_size(options, argument, state);
		return 0;
	case OPTION_CAPABILITIES:
		parse_capabilities(options, argument, state);
		return 0;
	case OPTION_DESCRIBE:
		load_description(options, argument, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp stream_argp = {.options = stream_options, .parser = parse_stream_option};

const struct argp_child stream_children[] = {{&stream_argp, 0, NULL, 0}, {NULL, 0, NULL, 0}};

void take_path(const struct argp_state *state, const char **path, const char *argument, const char *what)
{
	if (*path)
		argp_error(state, "one %s at a time", what);
	*path = argument;
}

void parse_command(const struct argp *argp, int argc, char **argv, void *input)
{
	static char name[64];

	/* argp takes the program's name for its usage lines from here. */
	snprintf(name, sizeof(name), "migref %s", argv[0]);
	argv[0] = name;
	argp_err_exit_status = STATUS_USAGE;
	argp_parse(argp, argc, argv, 0, NULL, input);
}

/* ---- Commands ---- */

static int run_command(const struct command *command, int argc, char **argv)
{
	const int status = finish_output(command->run(argc, argv));

	mr_described_clear(&given);
	return status;
}

static void print_help(FILE *out)
{
	fputs("Usage: migref COMMAND [OPTION...] ...\n"
	      "The executable specification of QEMU's live-migration protocol for RAM.\n\n",
	      out);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].summary);
	fputs("\nmigref COMMAND --help tells more about each. A STREAM is a file, -, or one channel of a recording\n"
	      "(DIR/ch0.fwd); a RECORDING is a directory with a manifest.json. Files may be compressed with zstd.\n\n"
	      "Exit status: 0 it holds, 1 it does not hold, 2 usage, 3 the input or the machine failed.\n",
	      out);
}

int main(int argc, char **argv)
{
	/* Any fixed seed will do: the default one is random. */
	json_object_seed(1);
	if (argc > 1 &&
	    (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0 || strcmp(argv[1], "help") == 0)) {
		print_help(stdout);
		return finish_output(STATUS_HOLDS);
	}
	if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
		puts("migref " MR_VERSION);
		return finish_output(STATUS_HOLDS);
	}
	for (size_t i = 0; argc > 1 && i < COMMANDS; i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return run_command(&commands[i], argc - 1, argv + 1);
	if (argc > 1)
		error_line("no command is called %s", argv[1]);
	print_help(stderr);
	return STATUS_USAGE;
}
