/* guest.c: `migref guest`: writes an image of the bootable test guest, or judges the memory of one that was stopped. */
#include "sim/cli/cli.h"
#include "sim/guest/predict.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	OPTION_DISK = 0x100,
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

static const struct {
	const char *name;
	size_t offset;
	bool is_long;
} keys[] = {
	{"writes", offsetof(struct mr_guest_vcpu, write_permille), false},
	{"spins", offsetof(struct mr_guest_vcpu, spins), true},
	{"first", offsetof(struct mr_guest_vcpu, first), true},
	{"pages", offsetof(struct mr_guest_vcpu, pages), true},
	{"stride", offsetof(struct mr_guest_vcpu, stride), true},
	{"working-set", offsetof(struct mr_guest_vcpu, working_set), true},
	{"phase", offsetof(struct mr_guest_vcpu, phase), true},
	{"lag", offsetof(struct mr_guest_vcpu, lag), true},
	{"burst", offsetof(struct mr_guest_vcpu, burst), false},
	{"pause", offsetof(struct mr_guest_vcpu, pause), false},
};

static uint64_t parse_number(const char *text, const char *what, uint64_t maximum, const struct argp_state *state)
{
	char *end;
	uint64_t number;

	errno = 0;
	number = strtoull(text, &end, 0);
	if (*text < '0' || *text > '9' || *end || errno || number > maximum)
		argp_error(state, "%s: expected a number up to %" PRIu64 ", found %s", what, maximum, text);
	return number;
}

static void set_key(struct mr_guest_vcpu *vcpu, const char *name, const char *value, const struct argp_state *state)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		uint8_t *at = (uint8_t *)vcpu + keys[i].offset;

		if (strcmp(keys[i].name, name) != 0)
			continue;
		if (keys[i].is_long)
			*(uint64_t *)(void *)at = parse_number(value, name, UINT64_MAX, state);
		else
			*(uint32_t *)(void *)at = (uint32_t)parse_number(value, name, UINT32_MAX, state);
		return;
	}
	argp_error(state, "--vcpu: no key is called %s", name);
}

static void set_vcpu(struct mr_guest_vcpu *vcpu, const char *text, const struct argp_state *state)
{
	char *copy = strdup(text), *rest = copy, *name;

	if (!copy)
		argp_failure(state, STATUS_FAILED, 0, "no memory for an option");
	name = strsep(&rest, ",");
	vcpu->kind = mr_pattern_by_name(name);
	if (vcpu->kind >= MR_PATTERN_TRACE)
		argp_error(state, "--vcpu: no pattern of the guest is called %s", name);
	while ((name = strsep(&rest, ",")) != NULL) {
		char *value = strchr(name, '=');

		if (value) {
			*value++ = '\0';
			set_key(vcpu, name, value, state);
		} else {
			argp_error(state, "--vcpu: expected KEY=NUMBER, found %s", name);
		}
	}
	free(copy);
}

static void parse_vcpu(struct mr_guest_parameters *parameters, char *text, const struct argp_state *state)
{
	char *what = strchr(text, ':');
	uint64_t which;

	if (!what) {
		argp_error(state, "--vcpu: expected WHICH:PATTERN, found %s", text);
		return;
	}
	*what++ = '\0';
	if (strcmp(text, "all") == 0) {
		for (unsigned i = 0; i < MR_GUEST_VCPUS_MAX; i++)
			set_vcpu(&parameters->vcpu[i], what, state);
		return;
	}
	which = parse_number(text, "--vcpu", MR_GUEST_VCPUS_MAX - 1, state);
	set_vcpu(&parameters->vcpu[which], what, state);
}

static void parse_shares(struct mr_guest_parameters *parameters, char *text, const struct argp_state *state)
{
	unsigned count = 0;

	for (char *rest = text, *share; (share = strsep(&rest, ",")) != NULL; count++) {
		if (count == MR_CONTENT_CLASS_COUNT)
			argp_error(state, "--shares: expected %d numbers, found more", MR_CONTENT_CLASS_COUNT);
		parameters->shares[count] = (uint16_t)parse_number(share, "--shares", 1000, state);
	}
	if (count < MR_CONTENT_CLASS_COUNT)
		argp_error(state, "--shares: expected %d numbers, found %u", MR_CONTENT_CLASS_COUNT, count);
}

static error_t parse_parameter(int key, char *argument, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	struct mr_guest_parameters *parameters = &arguments->parameters;

	switch (key) {
	case OPTION_SEED:
		parameters->seed = parse_number(argument, "--seed", UINT64_MAX, state);
		break;
	case OPTION_VCPUS:
		parameters->vcpus = (uint32_t)parse_number(argument, "--vcpus", MR_GUEST_VCPUS_MAX, state);
		break;
	case OPTION_BASE:
		parameters->region_base = parse_number(argument, "--base", UINT32_MAX, state);
		break;
	case OPTION_PAGES:
		parameters->region_pages = parse_number(argument, "--pages", UINT32_MAX, state);
		break;
	case OPTION_BLOCK:
		parameters->block = (uint32_t)parse_number(argument, "--block", UINT32_MAX, state);
		break;
	case OPTION_SHARES:
		parse_shares(parameters, argument, state);
		break;
	case OPTION_FILLED:
		parameters->filled = (uint16_t)parse_number(argument, "--filled", 1000, state);
		break;
	case OPTION_VCPU:
		parse_vcpu(parameters, argument, state);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
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
