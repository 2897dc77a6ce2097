/* describe.c: `migref describe`: the layout of device sections, saved and compared. */
#include "sim/cli/cli.h"
#include "sim/record/description.h"
#include "sim/record/print.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct describe_options {
	char *paths[2];
	int count;
	char *output;
	bool json, diff;
};

static const struct argp_option options[] = {
	{"json", 'j', NULL, 0, "one JSON object for each device or difference", 0},
	{"output", 'o', "FILE", 0, "save the description as it stands in the stream, for --describe=FILE", 0},
	{"diff", 'd', NULL, 0, "compare the layouts of two streams, A and B", 0},
	{NULL, 0, NULL, 0, NULL, 0},
};

static void check_arguments(const struct describe_options *describe, struct argp_state *state)
{
	if (describe->count != (describe->diff ? 2 : 1))
		argp_error(state, describe->diff ? "expected two STREAMs, A and B" : "expected a STREAM or RECORDING");
	if (describe->diff && describe->output)
		argp_error(state, "-o saves one description, --diff compares two");
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct describe_options *describe = state->input;

	switch (key) {
	case 'j':
		describe->json = true;
		return 0;
	case 'o':
		describe->output = argument;
		return 0;
	case 'd':
		describe->diff = true;
		return 0;
	case ARGP_KEY_ARG:
		if (describe->count == 2)
			argp_error(state, "one STREAM at a time, two with --diff");
		describe->paths[describe->count++] = argument;
		return 0;
	case ARGP_KEY_END:
		check_arguments(describe, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "STREAM\n--diff A B",
	.doc = "Prints the layout of device sections: devices, versions, sizes, fields.\v"
	       "A STREAM is one that ends with a description (precopy), a recording of it, or a description that was "
	       "saved with -o. A description serves other streams of the same machine and release by --describe, "
	       "postcopy ones too.\n\n"
	       "With --diff, exit status 0 says that the layouts are the same, 1 that they differ. A receiver refuses "
	       "a "
	       "device whose version is newer than its own. It may also refuse an older one, a device or a subsection "
	       "that it does not know, which the streams do not tell.",
};

static int save(const struct mr_described *described, const char *path)
{
	FILE *out = fopen(path, "wb");
	bool good = out && fwrite(described->text, 1, described->length, out) == described->length;

	if (out && fclose(out) != 0)
		good = false;
	if (good)
		return STATUS_HOLDS;
	error_line("%s: %s", path, strerror(errno));
	return STATUS_FAILED;
}

static void print_json_end(const struct describe_options *describe,
			   const struct mr_description_differences *differences)
{
	for (int i = 0; i < 2; i++) {
		fputs(i ? ",\"b\":" : "{\"a\":", stdout);
		mr_print_json_string(
			stdout, (struct mr_bytes){(const uint8_t *)describe->paths[i], strlen(describe->paths[i])});
	}
	printf(",\"differences\":%zu,\"a_refuses_b\":%s,\"b_refuses_a\":%s}\n", differences->count,
	       differences->refused[0] ? "true" : "false", differences->refused[1] ? "true" : "false");
}

static void print_refusal(char receiver, char stream, size_t count)
{
	if (count)
		printf("%c's receiver refuses %c: %zu devices of a newer version\n", receiver, stream, count);
	else
		printf("%c's receiver refuses no device of %c for a newer version\n", receiver, stream);
}

static int compare(const struct describe_options *describe, const struct mr_described *described)
{
	struct mr_description_differences differences;

	if (mr_description_compare(stdout, described[0].layout, described[1].layout, describe->json, &differences) <
	    0) {
		error_line("%s: no memory for a comparison", describe->paths[0]);
		return STATUS_FAILED;
	}
	if (describe->json) {
		print_json_end(describe, &differences);
	} else {
		printf("%zu differences between A (%s) and B (%s)\n", differences.count, describe->paths[0],
		       describe->paths[1]);
		print_refusal('A', 'B', differences.refused[0]);
		print_refusal('B', 'A', differences.refused[1]);
	}
	return differences.count ? STATUS_DIFFERS : STATUS_HOLDS;
}

static int print(const struct describe_options *describe, const struct mr_described *described)
{
	if (mr_print_description(stdout, described->layout, describe->json) == 0)
		return STATUS_HOLDS;
	error_line("%s: no memory for printing", describe->paths[0]);
	return STATUS_FAILED;
}

int command_describe(int argc, char **argv)
{
	struct describe_options describe = {0};
	struct mr_described described[2] = {{0}};
	int status = STATUS_HOLDS;
	char error[512];

	parse_command(&argp, argc, argv, &describe);
	for (int i = 0; i < describe.count && status == STATUS_HOLDS; i++) {
		if (mr_described_load(&described[i], describe.paths[i], error, sizeof(error)) < 0) {
			error_line("%s", error);
			status = STATUS_FAILED;
		}
	}
	if (status == STATUS_HOLDS && describe.diff)
		status = compare(&describe, described);
	else if (status == STATUS_HOLDS)
		status = describe.output ? save(described, describe.output) : print(&describe, described);
	mr_described_clear(&described[0]);
	mr_described_clear(&described[1]);
	return status;
}
