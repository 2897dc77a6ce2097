/* record.c: `migref record`: records a migration between two real QEMU with the test guest, by a preset. */
#include "sim/cli/cli.h"
#include "sim/cli/live_options.h"
#include "sim/host/record.h"
#include "sim/record/progress.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	KEY_PRESET = 256,
	KEY_LIST,
	/* what is set anew in a preset */
	KEY_QEMU,
	KEY_SOURCE,
	KEY_DESTINATION,
	KEY_SOURCE_ARGS,
	KEY_DESTINATION_ARGS,
	KEY_MACHINE,
	KEY_ACCEL,
	KEY_MEMORY,
	KEY_BACKEND,
	KEY_VCPUS,
	KEY_CAPABILITY,
	KEY_PARAMETER,
	KEY_BANDWIDTH,
	KEY_WARM_UP,
	KEY_SWITCH,
	KEY_STOP,
	KEY_CUT,
	KEY_RECOVER,
	KEY_RUN_ON,
	KEY_STOP_FIRST,
	KEY_RUN_SOURCE,
	KEY_PAUSED,
	KEY_TIME_LIMIT,
	/* of the guest, in the order of `guest_names` */
	KEY_GUEST,
	KEY_GUEST_BEHIND = KEY_GUEST + 6,

	SETTINGS_MAX = 200,
	WORDS_MAX = 100,
	MEMORY_MIB_MAX = 1 << 20,
	VCPUS_MAX = 255,
	SECONDS_MAX = 1000000,
};

static const char *const guest_names[] = {"seed", "base", "pages", "shares", "filled", "vcpu"};

/* One option that was given, for when the preset is known. */
struct setting {
	int key;
	char *argument;
};

struct record_command {
	struct mr_recorder_plan plan;
	struct mr_recorder_options options;
	const char *preset;
	struct setting settings[SETTINGS_MAX];
	size_t count;
	const char *words[2][WORDS_MAX + 1]; /* further arguments of source and destination */
	size_t word_count[2];
	bool list, json;
	struct mr_progress progress;
	const char *phase; /* that the progress shows; NULL: none yet */
};

static const struct argp_option options[] = {
	{"output", 'o', "DIR", 0, "the recording: a directory that is new or empty", 0},
	{"preset", KEY_PRESET, "MODE", 0, "which mode; everything else follows from it, and can be set anew below", 0},
	{"list-presets", KEY_LIST, NULL, 0, "print the presets, with the releases that can do them", 0},
	{"json", 'j', NULL, 0, "a JSON object: how it went; or a line for each preset", 0},
	{"time-limit", KEY_TIME_LIMIT, "S", 0, "seconds in all (120)", 0},
	{NULL, 0, NULL, 0, "QEMU:", 1},
	{"qemu", KEY_QEMU, "PROGRAM", 0, "of both ends (qemu-system-x86_64)", 1},
	{"source-qemu", KEY_SOURCE, "PROGRAM", 0, "of the source", 1},
	{"destination-qemu", KEY_DESTINATION, "PROGRAM", 0, "of the destination", 1},
	{"source-args", KEY_SOURCE_ARGS, "WORDS", 0, "more arguments of the source, separated by blanks", 1},
	{"destination-args", KEY_DESTINATION_ARGS, "WORDS", 0, "more arguments of the destination, separated by blanks",
	 1},
	{"machine", KEY_MACHINE, "TYPE", 0, "machine type, such as pc or q35 (pc)", 1},
	{"accel", KEY_ACCEL, "NAME", 0, "tcg, kvm, or auto: kvm where the host has it (auto)", 1},
	{"memory", KEY_MEMORY, "MIB", 0, "of guest memory", 1},
	{"backend", KEY_BACKEND, "KIND", 0, "of guest memory: file (shared), anon (private) or hugetlb", 1},
	{"vcpus", KEY_VCPUS, "NUMBER", 0, "of vCPUs", 1},
	{"capability", KEY_CAPABILITY, "NAME[=off]", 0, "a capability at both ends, by QEMU's name", 1},
	{"parameter", KEY_PARAMETER, "NAME=VALUE", 0, "a migration parameter at both ends, by QEMU's name", 1},
	{"bandwidth", KEY_BANDWIDTH, "BYTES", 0, "a second: the parameter max-bandwidth", 1},
	{NULL, 0, NULL, 0, "The operator:", 2},
	{"warm-up", KEY_WARM_UP, "MS", 0, "let the guest run so long before the migration (200)", 2},
	{"switch-after", KEY_SWITCH, "MS", 0, "switch to postcopy so long after the begin, or never", 2},
	{"stop-after", KEY_STOP, "MS", 0, "stop the source's guest then, so that precopy ends, or never", 2},
	{"cut", KEY_CUT, "CHANNEL:DIRECTION:BYTE", 0,
	 "break all connections, once, before this byte of one direction (fwd or ret) of a connection (from 0); +BYTE "
	 "counts from when the destination's guest has taken over in postcopy",
	 2},
	{"recover-after", KEY_RECOVER, "MS", 0, "recover so long after both ends have paused (100)", 2},
	{"run-on", KEY_RUN_ON, "MS", 0, "let the destination's guest run so long before it is judged (200)", 2},
	{"stop-source-first", KEY_STOP_FIRST, NULL, 0, "stop the source's guest before the migration", 2},
	{"run-source", KEY_RUN_SOURCE, NULL, 0, "let the source's guest run, even where QEMU loses its writes", 2},
	{"destination-paused", KEY_PAUSED, "WHETHER", 0,
	 "yes or no: its guest does not run before the migration has ended", 2},
	{NULL, 0, NULL, 0, "The guest, as `migref guest` has it:", 3},
	{"guest-seed", KEY_GUEST, "NUMBER", 0, "of contents and patterns", 3},
	{"guest-base", KEY_GUEST + 1, "ADDRESS", 0, "where its region begins", 3},
	{"guest-pages", KEY_GUEST + 2, "NUMBER", 0, "of 4096 bytes, in its region", 3},
	{"guest-shares", KEY_GUEST + 3, "Z,C,T,R", 0, "of a thousand pages: zero, constant, text, random", 3},
	{"guest-filled", KEY_GUEST + 4, "NUMBER", 0, "of a thousand pages: hold something from the start", 3},
	{"guest-vcpu", KEY_GUEST + 5, "WHICH:PATTERN,KEY=NUMBER...", 0, "what a vCPU, or all of them, touches", 3},
	{NULL, 0, NULL, 0, NULL, 0},
};

/* ---- Settings ---- */

static uint64_t parse_whole(const char *name, const char *text, uint64_t least, uint64_t most,
			    const struct argp_state *state)
{
	uint64_t number;
	const char *end = read_number(text, &number);

	if (!end || *end || number < least || number > most)
		argp_error(state, "%s: expected a number from %" PRIu64 " to %" PRIu64 ", found %s", name, least, most,
			   text);
	return number;
}

static int64_t parse_ms(const char *name, const char *text, const struct argp_state *state)
{
	return strcmp(text, "never") == 0 ? MR_RECORDER_NEVER
					  : (int64_t)parse_whole(name, text, 0, MR_RECORDER_MS_MAX, state);
}

static void parse_words(struct record_command *command, unsigned end, char *text, const struct argp_state *state)
{
	for (char *rest = text, *word; (word = strsep(&rest, " ")) != NULL;) {
		if (*word && command->word_count[end] == WORDS_MAX)
			argp_error(state, "expected at most %d arguments for a QEMU", WORDS_MAX);
		else if (*word)
			command->words[end][command->word_count[end]++] = word;
	}
}

static const char *parse_accel(const char *text, const struct argp_state *state)
{
	if (strcmp(text, "auto") == 0)
		return access("/dev/kvm", R_OK | W_OK) == 0 ? "kvm" : "tcg";
	if (strcmp(text, "kvm") != 0 && strcmp(text, "tcg") != 0)
		argp_error(state, "--accel: expected tcg, kvm or auto, found %s", text);
	return text;
}

static void set_qemu(struct record_command *command, const struct setting *setting, const struct argp_state *state)
{
	struct mr_recorder_plan *plan = &command->plan;

	switch (setting->key) {
	case KEY_QEMU:
	case KEY_SOURCE:
		plan->source_binary = setting->argument;
		break;
	case KEY_DESTINATION:
		plan->destination_binary = setting->argument;
		break;
	case KEY_SOURCE_ARGS:
		parse_words(command, 0, setting->argument, state);
		break;
	case KEY_DESTINATION_ARGS:
		parse_words(command, 1, setting->argument, state);
		break;
	case KEY_MACHINE:
		plan->machine = setting->argument;
		break;
	case KEY_ACCEL:
		plan->accel = parse_accel(setting->argument, state);
		break;
	case KEY_MEMORY:
		plan->memory_mib = parse_whole("--memory", setting->argument, 1, MEMORY_MIB_MAX, state);
		break;
	case KEY_BACKEND:
		if (!mr_qemu_backend_by_name(setting->argument, &plan->backend))
			argp_error(state, "--backend: expected file, anon or hugetlb, found %s", setting->argument);
		break;
	default:
		plan->vcpus = (uint32_t)parse_whole("--vcpus", setting->argument, 1, VCPUS_MAX, state);
		plan->guest.vcpus = plan->vcpus < MR_GUEST_VCPUS_MAX ? plan->vcpus : MR_GUEST_VCPUS_MAX;
	}
}

static void set_migration(struct mr_recorder_plan *plan, const struct setting *setting, const struct argp_state *state)
{
	const char *argument = setting->argument;
	char error[MR_RECORDER_LINE], bandwidth[64];

	snprintf(bandwidth, sizeof(bandwidth), "max-bandwidth=%.40s", argument);
	if (setting->key == KEY_CAPABILITY && !mr_recorder_plan_capability(plan, argument, error))
		argp_error(state, "--capability: %s", error);
	if (setting->key == KEY_PARAMETER && !mr_recorder_plan_parameter(plan, argument, error))
		argp_error(state, "--parameter: %s", error);
	if (setting->key == KEY_BANDWIDTH && !mr_recorder_plan_parameter(plan, bandwidth, error))
		argp_error(state, "--bandwidth: %s", error);
	if (setting->key == KEY_CUT && !mr_recorder_plan_cut(plan, argument, error))
		argp_error(state, "--cut: %s", error);
}

static void set_operator(struct mr_recorder_plan *plan, const struct setting *setting, const struct argp_state *state)
{
	const char *argument = setting->argument;

	switch (setting->key) {
	case KEY_WARM_UP:
		plan->warm_up_ms = (int64_t)parse_whole("--warm-up", argument, 0, MR_RECORDER_MS_MAX, state);
		break;
	case KEY_SWITCH:
		plan->switch_ms = parse_ms("--switch-after", argument, state);
		break;
	case KEY_STOP:
		plan->stop_ms = parse_ms("--stop-after", argument, state);
		break;
	case KEY_RECOVER:
		plan->recover_ms = (int64_t)parse_whole("--recover-after", argument, 0, MR_RECORDER_MS_MAX, state);
		break;
	case KEY_RUN_ON:
		plan->run_on_ms = (int64_t)parse_whole("--run-on", argument, 0, MR_RECORDER_MS_MAX, state);
		break;
	case KEY_STOP_FIRST:
		plan->stop = MR_RECORDER_STOP_ALWAYS;
		break;
	case KEY_RUN_SOURCE:
		plan->stop = MR_RECORDER_STOP_NEVER;
		break;
	case KEY_PAUSED:
		plan->destination_paused = strcmp(argument, "yes") == 0;
		if (!plan->destination_paused && strcmp(argument, "no") != 0)
			argp_error(state, "--destination-paused: expected yes or no, found %s", argument);
		break;
	default:
		plan->time_limit = live_seconds("--time-limit", argument, SECONDS_MAX, state);
	}
}

static void apply(struct record_command *command, const struct setting *setting, const struct argp_state *state)
{
	char error[MR_GUEST_LINE];

	if (setting->key >= KEY_GUEST) {
		if (!mr_guest_set(&command->plan.guest, guest_names[setting->key - KEY_GUEST], setting->argument,
				  error))
			argp_error(state, "--guest-%s", error);
	} else if (setting->key <= KEY_VCPUS) {
		set_qemu(command, setting, state);
	} else if (setting->key == KEY_CAPABILITY || setting->key == KEY_PARAMETER || setting->key == KEY_BANDWIDTH ||
		   setting->key == KEY_CUT) {
		set_migration(&command->plan, setting, state);
	} else {
		set_operator(&command->plan, setting, state);
	}
}

static void check_plan(const struct mr_recorder_plan *plan, const struct argp_state *state)
{
	uint8_t image[MR_GUEST_IMAGE_SIZE];
	char error[MR_GUEST_LINE];

	if (plan->to_file && (plan->switch_ms >= 0 || plan->cuts))
		argp_error(state, "a migration to a file has neither postcopy nor connections to cut");
	if (plan->cuts && plan->cut_since_switch && plan->switch_ms < 0)
		argp_error(state, "--cut: a cut since the switch to postcopy needs --switch-after");
	if (mr_guest_has_image() && !mr_guest_image_make(&plan->guest, image, error))
		argp_error(state, "guest: %s", error);
}

static void make_plan(struct record_command *command, const struct argp_state *state)
{
	char error[MR_RECORDER_LINE];

	if (!command->options.directory)
		argp_error(state, "expected -o DIR");
	if (!command->preset)
		argp_error(state, "expected --preset MODE; --list-presets shows what there is");
	else if (!mr_recorder_plan_init(&command->plan, command->preset, error))
		argp_error(state, "--preset: %s", error);
	command->plan.accel = parse_accel("auto", state);
	for (size_t i = 0; i < command->count; i++)
		apply(command, &command->settings[i], state);
	command->plan.source_arguments = command->words[0];
	command->plan.destination_arguments = command->words[1];
	check_plan(&command->plan, state);
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct record_command *command = state->input;

	switch (key) {
	case 'o':
		command->options.directory = argument;
		return 0;
	case 'j':
		command->json = true;
		return 0;
	case KEY_PRESET:
		command->preset = argument;
		return 0;
	case KEY_LIST:
		command->list = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "expected no argument, found %s", argument);
		return 0;
	case ARGP_KEY_END:
		if (!command->list)
			make_plan(command, state);
		return 0;
	default:
		break;
	}
	if (key < KEY_QEMU || key >= KEY_GUEST_BEHIND)
		return ARGP_ERR_UNKNOWN;
	if (command->count == SETTINGS_MAX)
		argp_error(state, "expected at most %d options", SETTINGS_MAX);
	else
		command->settings[command->count++] = (struct setting){key, argument};
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "-o DIR --preset MODE",
	.doc = "Records a migration between two real QEMU: starts both with the test guest, stands between them as a "
	       "tap, migrates, switches to postcopy, cuts and recovers as the preset says, and judges the "
	       "destination's memory.\v"
	       "The recording has every byte of every connection, both ends' traces, the source's memory behind the "
	       "migration, and a manifest with all settings. What a QEMU cannot do is said before anything is "
	       "recorded, with the releases that can.\n\n"
	       "QEMU before 9.0 loses writes of a running guest in precopy under TCG. There, the source's guest is "
	       "stopped before the migration, unless --run-source is given: memory that differs then is told as "
	       "QEMU's loss, and the status is 0.\n\n"
	       "Whatever happens, both QEMU are ended; the recording is whole up to where it came.\n\n"
	       "Exit status 0 if the migration went as planned, 1 if it ended otherwise, 3 if nothing could be "
	       "recorded, or not all of it written.",
};

/* ---- Telling ---- */

static void print_json(json_t *object)
{
	json_dumpf(object, stdout, JSON_SORT_KEYS);
	putchar('\n');
	json_decref(object);
}

/* "QEMU 9.0 or later" */
static void describe_releases(const struct mr_recorder_releases *releases, char text[64])
{
	if (!releases->since[0] && !releases->until[0])
		snprintf(text, 64, "every release");
	else if (!releases->until[0])
		snprintf(text, 64, "QEMU %s or later", releases->since);
	else if (!releases->since[0])
		snprintf(text, 64, "QEMU %s or earlier", releases->until);
	else
		snprintf(text, 64, "QEMU %s to %s", releases->since, releases->until);
}

static int list_presets(bool json)
{
	const char *name, *text;
	char error[MR_RECORDER_LINE], which[64];

	for (size_t i = 0; mr_recorder_preset(i, &name, &text); i++) {
		struct mr_recorder_releases releases;
		struct mr_recorder_plan plan;

		if (!mr_recorder_plan_init(&plan, name, error)) {
			error_line("%s: %s", name, error);
			return STATUS_FAILED;
		}
		releases = mr_recorder_plan_releases(&plan);
		describe_releases(&releases, which);
		if (json)
			print_json(json_pack("{s:s, s:s, s:s, s:s, s:O, s:O}", "preset", name, "text", text, "since",
					     releases.since, "until", releases.until, "capabilities", plan.capabilities,
					     "parameters", plan.parameters));
		else
			printf("%-24s %s (%s)\n", name, text, which);
		mr_recorder_plan_clear(&plan);
	}
	return STATUS_HOLDS;
}

static void show_progress(void *argument, const char *phase, double fraction, uint64_t bytes)
{
	struct record_command *command = argument;

	if (!command->phase || strcmp(command->phase, phase) != 0) {
		mr_progress_end(&command->progress);
		mr_progress_start(&command->progress, phase, command->json);
		command->phase = phase;
	}
	mr_progress_update(&command->progress, fraction, bytes);
}

static void print_result(const struct record_command *command, const struct mr_recorder_result *result)
{
	printf("%s: %s: QEMU %s", command->options.directory, result->status, result->source_release);
	if (result->destination_release[0])
		printf(" to %s", result->destination_release);
	printf(", %s, %.1f s; memory %s", command->plan.accel, result->seconds,
	       mr_recorder_memory_name(result->memory));
	if (result->requests)
		printf("; %" PRIu64 " pages requested", result->requests);
	if (result->recoveries)
		printf("; %" PRIu32 " recoveries", result->recoveries);
	if (result->stopped_first)
		printf("; source's guest stopped first");
	putchar('\n');
	for (uint32_t i = 0; i < result->channel_count; i++)
		printf("  ch%-3" PRIu32 " %-8s %12" PRIu64 " bytes forward, %10" PRIu64 " back\n", i,
		       mr_role_name(result->channels[i].role), result->channels[i].forward,
		       result->channels[i].backward);
	if (result->note[0])
		printf("  %s\n", result->note);
}

static void dump_result(const struct record_command *command, const struct mr_recorder_result *result)
{
	json_t *channels = json_array();

	for (uint32_t i = 0; i < result->channel_count; i++)
		json_array_append_new(channels,
				      json_pack("{s:s, s:I, s:I}", "role", mr_role_name(result->channels[i].role),
						"forward", (json_int_t)result->channels[i].forward, "return",
						(json_int_t)result->channels[i].backward));
	print_json(json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:i, s:b, s:f, s:o}", "recording",
			     command->options.directory, "preset", command->plan.preset, "ended",
			     mr_recorder_end_name(result->end), "status", result->status, "accel", command->plan.accel,
			     "source_qemu", result->source_release, "destination_qemu", result->destination_release,
			     "memory", mr_recorder_memory_name(result->memory), "error", result->line, "note",
			     result->note, "requests", (json_int_t)result->requests, "recoveries",
			     (int)result->recoveries, "source_stopped_first", result->stopped_first, "seconds",
			     result->seconds, "channels", channels));
}

/* ---- The command ---- */

int command_record(int argc, char **argv)
{
	static const int statuses[MR_RECORDER_END_COUNT] = {STATUS_HOLDS, STATUS_DIFFERS, STATUS_FAILED};
	static struct record_command command;
	static struct mr_recorder_result result;

	parse_command(&argp, argc, argv, &command);
	if (command.list)
		return list_presets(command.json);
	command.options.plan = &command.plan;
	command.options.progress = show_progress;
	command.options.argument = &command;
	mr_recorder_run(&command.options, &result);
	mr_progress_end(&command.progress);
	if (result.end != MR_RECORDER_AS_PLANNED)
		error_line("%s", result.line);
	if (command.json)
		dump_result(&command, &result);
	else if (result.end != MR_RECORDER_FAILED)
		print_result(&command, &result);
	mr_recorder_plan_clear(&command.plan);
	return statuses[result.end];
}
