/* guest.c: `migref guest`: writes an image of the bootable test guest, or judges the memory of one that was stopped. */
#include "sim/cli/cli.h"
#include "sim/guest/from_scenario.h"
#include "sim/guest/settings.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	OPTION_DISK = 0x100,
	OPTION_SCENARIO,
	OPTION_SEED,
	OPTION_VCPUS,
	OPTION_BASE,
	OPTION_PAGES,
	OPTION_BLOCK,
	OPTION_SHARES,
	OPTION_FILLED,
	OPTION_VCPU
};

static const struct argp_option options[] = {
	{"output", 'o', "IMAGE", 0, "write an image, for QEMU's -bios", 0},
	{"disk", OPTION_DISK, NULL, 0, "fill the image up to a raw disk that can be booted from", 0},
	{NULL, 0, NULL, 0, "What the guest of an image does:", 1},
	{"scenario", OPTION_SCENARIO, "FILE", 0,
	 "seed, vCPUs, contents and the workloads of a block as in a scenario of migref sim, an interval of so many ns "
	 "as so many spins; options behind it change that",
	 1},
	{"seed", OPTION_SEED, "NUMBER", 0, "of contents and patterns; by default 1", 1},
	{"vcpus", OPTION_VCPUS, "NUMBER", 0, "vCPUs that touch, at most 16; by default those of the machine", 1},
	{"base", OPTION_BASE, "ADDRESS", 0, "where its region begins; by default 0x100000", 1},
	{"pages", OPTION_PAGES, "NUMBER", 0, "of 4096 bytes, in its region; by default 2048", 1},
	{"block", OPTION_BLOCK, "NUMBER", 0, "of the block, in the contents of its pages; by default 0", 1},
	{"shares", OPTION_SHARES, "Z,C,T,R", 0,
	 "of a thousand pages: zero, constant, text, random; by default 200,100,300,400", 1},
	{"filled", OPTION_FILLED, "NUMBER", 0, "of a thousand pages: hold something from the start; by default 500", 1},
	{"vcpu", OPTION_VCPU, "WHICH:PATTERN,KEY=NUMBER...", 0,
	 "vCPU number WHICH, or all of them, touches by a pattern of migref-scenario(5), with keys writes, spins, "
	 "first, "
	 "pages, stride, working-set, phase, lag, burst, pause; spins: rounds of an empty loop between two touches",
	 1},
	{NULL, 0, NULL, 0, NULL, 0},
};

struct arguments {
	const char *memory, *output;
	struct mr_guest_parameters parameters;
	bool disk;
	bool given; /* any of the parameters */
};

/* Names of the parameters, in the order of their options. */
static const char *const names[] = {"seed", "vcpus", "base", "pages", "block", "shares", "filled", "vcpu"};

static void take_scenario(struct arguments *arguments, const char *path)
{
	struct mr_scenario *scenario = calloc(1, sizeof(*scenario));
	char error[512];
	bool fits;

	if (!scenario || mr_scenario_read(scenario, path, error, sizeof(error)) < 0) {
		error_line("%s", scenario ? error : "no memory for a scenario");
		exit(STATUS_FAILED);
	}
	fits = mr_guest_from_scenario(&arguments->parameters, scenario, error);
	mr_scenario_clear(scenario);
	free(scenario);
	if (!fits) {
		error_line("%s: %s", path, error);
		exit(STATUS_FAILED);
	}
	arguments->given = true;
}

static error_t parse_parameter(int key, const char *argument, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	char error[MR_GUEST_LINE];

	if (key < OPTION_SEED || key > OPTION_VCPU)
		return ARGP_ERR_UNKNOWN;
	if (!mr_guest_set(&arguments->parameters, names[key - OPTION_SEED], argument, error))
		argp_error(state, "--%s", error);
	arguments->given = true;
	return 0;
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case 'o':
		arguments->output = argument;
		return 0;
	case OPTION_DISK:
		arguments->disk = true;
		return 0;
	case OPTION_SCENARIO:
		take_scenario(arguments, argument);
		return 0;
	case ARGP_KEY_ARG:
		take_path(state, &arguments->memory, argument, "MEMORY");
		return 0;
	case ARGP_KEY_END:
		if (!arguments->memory == !arguments->output)
			argp_error(state, "expected either -o IMAGE or MEMORY");
		if (arguments->memory && (arguments->disk || arguments->given))
			argp_error(state, "the guest's parameters are in its memory: give them with -o only");
		return 0;
	default:
		return parse_parameter(key, argument, state);
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "-o IMAGE\nMEMORY",
	.doc = "Writes an image of a guest for QEMU's x86-64 machines pc and q35 that touches its memory by the "
	       "patterns "
	       "of the simulator; or takes the memory of such a guest, the file of a shared memory backend, and holds "
	       "it "
	       "against what the guest's own counts of touches make of it.\v"
	       "The guest must be stopped while its memory is judged (QMP stop). "
	       "Exit status 0 if memory is as predicted, 1 if not, 3 if there is nothing yet to judge, or it cannot be "
	       "read.",
};

/* ---- What it does ---- */

static int write_image(const struct arguments *arguments)
{
	uint8_t image[MR_GUEST_IMAGE_SIZE];
	char error[MR_GUEST_LINE];
	FILE *file;
	bool complete;

	if (!mr_guest_image_make(&arguments->parameters, image, error)) {
		error_line("%s", error);
		return mr_guest_has_image() ? STATUS_USAGE : STATUS_FAILED;
	}
	file = fopen(arguments->output, "wb");
	complete = file && fwrite(image, sizeof(image), 1, file) == 1;
	if (complete && arguments->disk)
		complete = fflush(file) == 0 && ftruncate(fileno(file), MR_GUEST_DISK_SIZE) == 0;
	if (file && fclose(file) != 0)
		complete = false;
	if (!complete)
		error_line("%s: %s", arguments->output, strerror(errno));
	return complete ? STATUS_HOLDS : STATUS_FAILED;
}

static void print(const struct mr_guest_parameters *parameters, const struct mr_guest_status *status)
{
	printf("%s; seed %" PRIu64 "; region 0x%" PRIx64 ", %" PRIu64 " pages, %" PRIu64 " filled; %" PRIu32
	       " of %" PRIu32 " vCPUs\n",
	       mr_guest_state_name(status->state), parameters->seed, parameters->region_base, parameters->region_pages,
	       status->filled, status->started, status->vcpus);
	for (uint32_t i = 0; i < status->vcpus && i < MR_GUEST_VCPUS_MAX; i++)
		printf("vCPU %" PRIu32 ": APIC %" PRIu64 ", %s, %" PRIu64 " touches%s, heartbeat %" PRIu64 "\n", i,
		       status->vcpu[i].apic_id, mr_pattern_name((enum mr_pattern_kind)parameters->vcpu[i].kind),
		       status->vcpu[i].done, status->vcpu[i].begun == status->vcpu[i].done ? "" : " and a part",
		       status->vcpu[i].heartbeat);
}

static int judge(const char *path)
{
	struct mr_guest_memory memory;
	struct mr_guest_parameters parameters;
	struct mr_guest_status status;
	char error[MR_GUEST_LINE];
	enum mr_guest_verdict verdict = MR_GUEST_FAILED;

	if (!mr_guest_memory_open(&memory, path, error)) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	if (mr_guest_status_read(&memory, &status, error) && mr_guest_parameters_read(&memory, &parameters, error)) {
		print(&parameters, &status);
		verdict = mr_guest_check(&parameters, &memory, error);
	}
	mr_guest_memory_close(&memory);
	if (verdict == MR_GUEST_HOLDS)
		puts("memory is as predicted");
	else
		error_line("%s: %s", path, error);
	if (verdict == MR_GUEST_HOLDS)
		return STATUS_HOLDS;
	return verdict == MR_GUEST_DIFFERS ? STATUS_DIFFERS : STATUS_FAILED;
}

int command_guest(int argc, char **argv)
{
	struct arguments arguments = {.memory = NULL};

	mr_guest_parameters_default(&arguments.parameters);
	parse_command(&argp, argc, argv, &arguments);
	return arguments.output ? write_image(&arguments) : judge(arguments.memory);
}
