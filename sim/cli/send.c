/* send.c: `migref send`: the source of a live migration of a recording's machine into a real QEMU. */
#include "ref/capabilities.h"
#include "sim/cli/cli.h"
#include "sim/cli/live_options.h"
#include "sim/host/send.h"
#include "sim/record/progress.h"
#include "sim/record/writer.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	KEY_CONNECT = 256,
	KEY_DEVICES,
	KEY_RAM,
	KEY_AS,
	KEY_DESTINATION,
	KEY_CAPABILITIES,
	KEY_PARAMETER,
	KEY_MAX_BANDWIDTH,
	KEY_MAX_POSTCOPY_BANDWIDTH,
	KEY_DOWNTIME_LIMIT,
	KEY_MULTIFD_CHANNELS,
	KEY_MULTIFD_COMPRESSION,
	KEY_XBZRLE_CACHE_SIZE,
	KEY_STALE,
	KEY_REWRITES,
	KEY_SEED,
	KEY_SWITCH_AFTER,
	KEY_SWITCH_PASSES,
	KEY_RECOVER,
	KEY_RECOVER_AFTER,
	KEY_CUT,
	KEY_TIME_LIMIT,
	KEY_IDLE,
	SECONDS_MAX = 10000000,
	PARAMETERS_MAX = 64,
	MULTIFD_CHANNELS_DEFAULT = 2,
	PERMILLE = 1000,
	MILLISECOND = 1000000,
};

struct send_command {
	struct mr_send_options send;
	struct mr_outgoing_config config;
	struct mr_address connect, recover;
	const char *connect_text, *recover_text;
	const char *devices, *ram, *release, *destination, *output;
	uint64_t capabilities; /* as of ref/capabilities.h */
	struct mr_parameter parameters[PARAMETERS_MAX];
	char *names[PARAMETERS_MAX]; /* of the parameters; to be freed */
	size_t parameter_count;
	bool json;
	struct mr_progress progress;
};

static const struct argp_option options[] = {
	{"connect", KEY_CONNECT, "ADDRESS", 0, "where the destination listens: unix:PATH or tcp:HOST:PORT", 0},
	{"devices", KEY_DEVICES, "RECORDING", 0, "whose machine is sent: devices, and RAM unless --ram is there", 0},
	{"ram", KEY_RAM, "FILE", 0, "raw contents of the main RAM block", 0},
	{"as", KEY_AS, "RELEASE", 0, "send as QEMU RELEASE does, such as 7.2; by default the recording's source", 0},
	{"destination-qemu", KEY_DESTINATION, "RELEASE", 0,
	 "release of the destination, noted in the recording (as the source's)", 0},
	{"output", 'o', "DIR", 0, "write a recording of what is sent and received: a directory that is new or empty",
	 0},
	{NULL, 0, NULL, 0, "As QEMU calls and checks them:", 1},
	{"capabilities", KEY_CAPABILITIES, "LIST", 0, "capabilities, separated by commas (none)", 1},
	{"parameter", KEY_PARAMETER, "NAME=VALUE", 0, "a migration parameter (the release's default)", 1},
	{"max-bandwidth", KEY_MAX_BANDWIDTH, "BYTES", 0, "a second; 0: no limit", 1},
	{"max-postcopy-bandwidth", KEY_MAX_POSTCOPY_BANDWIDTH, "BYTES", 0, "a second; 0: no limit", 1},
	{"downtime-limit", KEY_DOWNTIME_LIMIT, "MS", 0, NULL, 1},
	{"multifd-channels", KEY_MULTIFD_CHANNELS, "NUMBER", 0, NULL, 1},
	{"multifd-compression", KEY_MULTIFD_COMPRESSION, "METHOD", 0, "none, zlib or zstd", 1},
	{"xbzrle-cache-size", KEY_XBZRLE_CACHE_SIZE, "BYTES", 0, NULL, 1},
	{NULL, 0, NULL, 0, "The guest, which only seems to run:", 2},
	{"stale", KEY_STALE, "PERMILLE", 0, "so many of a thousand pages are first shown altered (0)", 2},
	{"rewrites", KEY_REWRITES, "NUMBER", 0, "and written so often, a pass each, until they are right (1)", 2},
	{"seed", KEY_SEED, "NUMBER", 0, "which pages, and when (1)", 2},
	{NULL, 0, NULL, 0, "Course:", 3},
	{"switch-after", KEY_SWITCH_AFTER, "MS", 0, "switch to postcopy so long after the beginning", 3},
	{"switch-passes", KEY_SWITCH_PASSES, "NUMBER", 0, "switch to postcopy after so many passes over all RAM", 3},
	{"recover", KEY_RECOVER, "ADDRESS", 0, "where a postcopy that broke goes on (the address of --connect)", 3},
	{"recover-after", KEY_RECOVER_AFTER, "MS", 0, "so long after the break, and then again and again (500)", 3},
	{"cut", KEY_CUT, "CHANNEL:DIRECTION:BYTE", 0,
	 "break all connections, once, before this byte of one direction (fwd or ret) of a connection (from 0)", 3},
	{"time-limit", KEY_TIME_LIMIT, "S", 0, "end after so many seconds in all (3600)", 3},
	{"idle", KEY_IDLE, "S", 0, "end when the destination neither takes nor sends what is due for so long (30)", 3},
	{"json", 'j', NULL, 0, "the summary as a JSON object", 3},
	{NULL, 0, NULL, 0, NULL, 0},
};

/* ---- Options ---- */

static uint64_t parse_number(const char *name, const char *text, uint64_t least, uint64_t most,
			     const struct argp_state *state)
{
	uint64_t number = 0;
	const char *end = read_number(text, &number);

	if (!end || *end || number < least || number > most)
		argp_error(state, "%s: expected %" PRIu64 " to %" PRIu64 ", found %s", name, least, most, text);
	return number;
}

static uint64_t parse_milliseconds(const char *name, const char *text, const struct argp_state *state)
{
	return parse_number(name, text, 0, (uint64_t)SECONDS_MAX * 1000, state) * MILLISECOND;
}

/* Those that say how RAM is sent, or that are the destination's or the user's own affair. */
static bool is_played(const char *name)
{
	static const char *const names[] = {"xbzrle",
					    "postcopy-ram",
					    "postcopy-preempt",
					    "multifd",
					    "return-path",
					    "release-ram",
					    "auto-converge",
					    "validate-uuid",
					    "events",
					    "pause-before-switchover",
					    "zero-blocks",
					    "postcopy-blocktime",
					    "switchover-ack",
					    "late-block-activate",
					    NULL};

	for (size_t i = 0; names[i]; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static void parse_capabilities(struct send_command *command, const char *list, const struct argp_state *state)
{
	char *copy = strdup(list), *rest = copy, *name;

	while (copy && (name = strsep(&rest, ",")) != NULL) {
		if (*name && !mr_capability_bit(name))
			argp_error(state, "--capabilities: QEMU has no capability %s", name);
		if (*name && !is_played(name))
			argp_error(state, "--capabilities: a source without a real guest does not have %s", name);
		command->capabilities |= mr_capability_bit(name);
		command->config.capabilities |= mr_capability_by_name(name);
		command->config.pause_before_switchover |= strcmp(name, "pause-before-switchover") == 0;
		command->config.release_ram |= strcmp(name, "release-ram") == 0;
		command->config.auto_converge |= strcmp(name, "auto-converge") == 0;
	}
	free(copy);
}

static void add_parameter(struct send_command *command, const char *name, size_t length, const char *value,
			  const struct argp_state *state)
{
	const size_t at = command->parameter_count;
	struct mr_parameter *parameter = &command->parameters[at % PARAMETERS_MAX];
	const char *end;

	if (at == PARAMETERS_MAX)
		argp_error(state, "expected at most %d parameters", PARAMETERS_MAX);
	command->names[at] = strndup(name, length);
	if (!command->names[at])
		argp_failure(state, STATUS_FAILED, 0, "no memory for parameters");
	*parameter = (struct mr_parameter){.name = command->names[at], .kind = MR_PARAMETER_TEXT, .text = value};
	end = read_number(value, &parameter->number);
	if (end && !*end)
		parameter->kind = MR_PARAMETER_NUMBER;
	else if (strcmp(value, "on") == 0 || strcmp(value, "off") == 0)
		*parameter = (struct mr_parameter){
			.name = command->names[at], .kind = MR_PARAMETER_SWITCH, .number = value[1] == 'n'};
	command->parameter_count++;
}

static void parse_parameter(struct send_command *command, const char *text, const struct argp_state *state)
{
	const char *equals = strchr(text, '=');

	if (!equals || equals == text)
		argp_error(state, "--parameter: expected NAME=VALUE, found %s", text);
	else
		add_parameter(command, text, (size_t)(equals - text), equals + 1, state);
}

/* An option of a parameter's own name. */
static void parse_named(struct send_command *command, int key, const char *value, const struct argp_state *state)
{
	for (size_t i = 0; options[i].name || options[i].doc; i++)
		if (options[i].name && options[i].key == key)
			add_parameter(command, options[i].name, strlen(options[i].name), value, state);
}

static void check_options(struct send_command *command, const struct argp_state *state)
{
	if (!command->connect_text || !command->devices)
		argp_error(state, "expected --connect ADDRESS and --devices RECORDING");
	live_address(&command->connect, "--connect", command->connect_text, false, state);
	if (command->recover_text)
		live_address(&command->recover, "--recover", command->recover_text, false, state);
	if ((command->send.switch_after != UINT64_MAX || command->send.switch_passes != UINT64_MAX) &&
	    !(command->config.capabilities & MR_CAPABILITY_POSTCOPY_RAM))
		argp_error(state, "a switch to postcopy needs --capabilities postcopy-ram");
}

static error_t parse_course(int key, char *argument, struct argp_state *state)
{
	struct send_command *command = state->input;
	struct mr_send_options *send = &command->send;

	switch (key) {
	case KEY_STALE:
		send->stale = (uint32_t)parse_number("--stale", argument, 0, PERMILLE, state);
		return 0;
	case KEY_REWRITES:
		send->rewrites = (uint32_t)parse_number("--rewrites", argument, 1, MR_PRETEND_REWRITES_MAX, state);
		return 0;
	case KEY_SEED:
		send->seed = parse_number("--seed", argument, 0, UINT64_MAX, state);
		return 0;
	case KEY_SWITCH_AFTER:
		send->switch_after = parse_milliseconds("--switch-after", argument, state);
		return 0;
	case KEY_SWITCH_PASSES:
		send->switch_passes = parse_number("--switch-passes", argument, 0, INT64_MAX, state);
		return 0;
	case KEY_RECOVER:
		command->recover_text = argument;
		return 0;
	case KEY_RECOVER_AFTER:
		send->recover_after = parse_milliseconds("--recover-after", argument, state);
		return 0;
	case KEY_CUT:
		live_cut(argument, &send->cut_channel, &send->cut_backward, &send->cut_byte, state);
		send->cuts = true;
		return 0;
	case KEY_TIME_LIMIT:
		send->time_limit = live_seconds("--time-limit", argument, SECONDS_MAX, state);
		return 0;
	case KEY_IDLE:
		send->idle = live_seconds("--idle", argument, SECONDS_MAX, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct send_command *command = state->input;

	switch (key) {
	case KEY_CONNECT:
		command->connect_text = argument;
		return 0;
	case KEY_DEVICES:
		command->devices = argument;
		return 0;
	case KEY_RAM:
		command->ram = argument;
		return 0;
	case KEY_AS:
		command->release = live_release("--as", argument, state);
		return 0;
	case KEY_DESTINATION:
		command->destination = live_release("--destination-qemu", argument, state);
		return 0;
	case 'o':
		command->output = argument;
		return 0;
	case KEY_CAPABILITIES:
		parse_capabilities(command, argument, state);
		return 0;
	case KEY_PARAMETER:
		parse_parameter(command, argument, state);
		return 0;
	case KEY_MAX_BANDWIDTH:
	case KEY_MAX_POSTCOPY_BANDWIDTH:
	case KEY_DOWNTIME_LIMIT:
	case KEY_MULTIFD_CHANNELS:
	case KEY_MULTIFD_COMPRESSION:
	case KEY_XBZRLE_CACHE_SIZE:
		parse_named(command, key, argument, state);
		return 0;
	case 'j':
		command->json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "expected no argument, found %s", argument);
		return 0;
	case ARGP_KEY_END:
		check_options(command, state);
		return 0;
	default:
		return parse_course(key, argument, state);
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Is the source of a live migration into a real QEMU: sends the machine of a recording, which then runs "
	       "there.\v"
	       "Devices, the list of RAM blocks and the machine type are the recording's, RAM is as it was when the "
	       "recorded source had stopped. The destination has to be of the same machine, with the same "
	       "capabilities; what it refuses, it says in its own log only. Whether the guest runs there at once or is "
	       "paused is part of the device state.\n\n"
	       "A recording of postcopy has no description of the devices; precopy then sends one that only tells how "
	       "long their states are.\n\n"
	       "A migration that breaks in postcopy is paused, and goes on as soon as the destination listens again, "
	       "until the time limit.\n\n"
	       "Exit status 0 if the migration came to a good end, 1 if it failed, 3 if nothing could be sent, or the "
	       "recording not be written.",
};

/* ---- Parameters ---- */

static const struct mr_parameter *find_parameter(const struct send_command *command, const char *name)
{
	for (size_t i = command->parameter_count; i-- > 0;)
		if (strcmp(command->parameters[i].name, name) == 0)
			return &command->parameters[i];
	return NULL;
}

static uint64_t number_of(const struct send_command *command, const char *name, uint64_t fallback)
{
	const struct mr_parameter *parameter = find_parameter(command, name);

	return parameter && parameter->kind == MR_PARAMETER_NUMBER ? parameter->number : fallback;
}

static const char *text_of(const struct send_command *command, const char *name)
{
	const struct mr_parameter *parameter = find_parameter(command, name);

	return parameter && parameter->kind == MR_PARAMETER_TEXT ? parameter->text : NULL;
}

static int set_method(struct send_command *command, const char *name)
{
	struct mr_outgoing_config *config = &command->config;
	char level[64];

	if (!name || strcmp(name, "none") == 0)
		return 0;
	config->method = mr_multifd_method_by_name(name);
	if (!config->method || !config->method->decodable) {
		error_line("multifd-compression: expected none, zlib or zstd, found %s", name);
		return -1;
	}
	snprintf(level, sizeof(level), "multifd-%s-level", name);
	if (find_parameter(command, level))
		config->method_level = (int)number_of(command, level, 0);
	return 0;
}

static enum mr_zero_detection zero_detection(const char *name)
{
	if (!name)
		return MR_ZERO_BY_RELEASE;
	if (strcmp(name, "multifd") == 0)
		return MR_ZERO_MULTIFD;
	return strcmp(name, "legacy") == 0 ? MR_ZERO_LEGACY : MR_ZERO_NONE;
}

static int set_parameters(struct send_command *command)
{
	struct mr_outgoing_config *config = &command->config;
	const uint64_t bandwidth = number_of(command, "max-bandwidth", UINT64_MAX - 1);

	if (bandwidth != UINT64_MAX - 1)
		config->max_bandwidth = bandwidth ? bandwidth : UINT64_MAX;
	config->max_postcopy_bandwidth = number_of(command, "max-postcopy-bandwidth", 0);
	config->switchover_bandwidth = number_of(command, "avail-switchover-bandwidth", 0);
	/* 0 is the release's default there: none is a millisecond. */
	if (find_parameter(command, "downtime-limit"))
		config->downtime_limit = number_of(command, "downtime-limit", 1);
	config->downtime_limit += find_parameter(command, "downtime-limit") && config->downtime_limit == 0;
	config->xbzrle_cache_size = number_of(command, "xbzrle-cache-size", 0);
	config->multifd_channels = (uint32_t)number_of(command, "multifd-channels", MULTIFD_CHANNELS_DEFAULT);
	config->throttle_initial = (uint32_t)number_of(command, "cpu-throttle-initial", 0);
	config->throttle_increment = (uint32_t)number_of(command, "cpu-throttle-increment", 0);
	config->throttle_maximum = (uint32_t)number_of(command, "max-cpu-throttle", 0);
	config->throttle_trigger = (uint32_t)number_of(command, "throttle-trigger-threshold", 0);
	config->zero_detection = zero_detection(text_of(command, "zero-page-detection"));
	return config->capabilities & MR_CAPABILITY_MULTIFD
		       ? set_method(command, text_of(command, "multifd-compression"))
		       : 0;
}

/* What QEMU itself would not let pass. */
static int check_settings(const struct send_command *command)
{
	const struct mr_profile *profile = &command->config.profile;
	const struct mr_capability_settings settings = {.on = command->capabilities,
							.multifd_compression = text_of(command, "multifd-compression")};
	struct mr_finding finding;

	if (mr_capabilities_check(profile, &settings, &finding) &&
	    mr_parameters_check(profile, command->parameters, command->parameter_count,
				command->config.target_page_size, &finding))
		return 0;
	error_line("QEMU %s refuses: %s: expected %s, found %s", profile->release, mr_rule_id(finding.rule),
		   finding.expected, finding.found);
	return -1;
}

/* ---- The machine ---- */

/* What the user said is kept beside what the recording says. */
static int configure(struct send_command *command)
{
	const struct mr_outgoing_config said = command->config;
	struct mr_outgoing_config *config = &command->config;
	char error[512];

	if (mr_send_machine_configure(command->send.machine, command->release, config, error, sizeof(error)) < 0) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	config->capabilities = said.capabilities;
	config->pause_before_switchover = said.pause_before_switchover;
	config->release_ram = said.release_ram;
	config->auto_converge = said.auto_converge;
	return check_settings(command) < 0 || set_parameters(command) < 0 ? STATUS_USAGE : STATUS_HOLDS;
}

static int open_machine(struct send_command *command)
{
	char error[1024];

	if (mr_send_machine_open(&command->send.machine, command->devices, command->ram, error, sizeof(error)) == 0)
		return configure(command);
	error_line("%s", error);
	return STATUS_FAILED;
}

/* ---- Telling ---- */

static void show_progress(void *argument, const struct mr_send_progress *progress)
{
	struct send_command *command = argument;
	const uint64_t done = progress->total - progress->remaining;

	command->progress.label = mr_source_status_name(progress->status);
	mr_progress_update(&command->progress, progress->total ? (double)done / (double)progress->total : -1,
			   progress->bytes);
}

static void print_summary(const struct mr_send_result *result)
{
	const struct mr_outgoing_statistics *figures = &result->statistics;
	const double seconds = (double)result->total_time / 1e9;

	printf("%s: status %s after %.3f s, downtime %.3f ms\n", mr_send_end_name(result->end),
	       mr_source_status_name(result->status), seconds, (double)result->downtime / 1e6);
	printf("  %" PRIu64 " passes, %" PRIu64 " pages, %" PRIu64 " bytes, %.1f MiB/s\n", result->passes,
	       figures->pages, result->bytes, seconds > 0 ? (double)result->bytes / seconds / (1 << 20) : 0.0);
	printf("  %" PRIu64 " requests, %" PRIu64 " recoveries%s\n", figures->postcopy_requests, result->recoveries,
	       result->cut ? ", cut" : "");
	for (uint32_t i = 0; i < result->channel_count; i++)
		printf("  ch%-3" PRIu32 " %-8s %12" PRIu64 " bytes forward, %10" PRIu64 " back\n", i,
		       mr_role_name(result->channels[i].role), result->channels[i].forward,
		       result->channels[i].backward);
}

static void dump_summary(const struct mr_send_result *result)
{
	const struct mr_outgoing_statistics *figures = &result->statistics;
	json_t *channels = json_array(), *summary;

	for (uint32_t i = 0; i < result->channel_count; i++)
		json_array_append_new(channels,
				      json_pack("{s:s, s:I, s:I}", "role", mr_role_name(result->channels[i].role),
						"forward", (json_int_t)result->channels[i].forward, "return",
						(json_int_t)result->channels[i].backward));
	summary = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:o}", "ended",
			    mr_send_end_name(result->end), "reason", result->reason, "status",
			    mr_source_status_name(result->status), "passes", (json_int_t)result->passes, "pages",
			    (json_int_t)figures->pages, "bytes", (json_int_t)result->bytes, "requests",
			    (json_int_t)figures->postcopy_requests, "recoveries", (json_int_t)result->recoveries,
			    "total-ns", (json_int_t)result->total_time, "setup-ns", (json_int_t)result->setup_time,
			    "downtime-ns", (json_int_t)result->downtime, "xbzrle-pages",
			    (json_int_t)figures->xbzrle_pages, "cut", result->cut, "channels", channels);
	json_dumpf(summary, stdout, JSON_SORT_KEYS);
	putchar('\n');
	json_decref(summary);
}

/* ---- The recording ---- */

static void read_page(void *argument, uint32_t block, uint64_t page, uint8_t *out)
{
	const struct send_command *command = argument;
	const size_t size = command->config.target_page_size;

	memcpy(out, mr_send_machine_page(command->send.machine, block, page * size), size);
}

/* False, with a line told, if it is not whole. */
static bool finish_recording(struct send_command *command, struct mr_writer *writer,
			     const struct mr_send_result *result)
{
	const struct mr_outgoing_config *source = &command->config;
	struct mr_incoming_config destination = {.profile = source->profile};
	const struct mr_writer_end end = {
		.producer = "migref send " MR_VERSION,
		.source = source,
		.destination = &destination,
		.statistics = &result->statistics,
		.description = mr_send_machine_description(command->send.machine),
		.timed = true,
		.total_time = result->total_time,
		.setup_time = result->setup_time,
		.downtime = result->downtime,
		.argument = command,
		.page = read_page,
	};
	char error[1024];

	if (command->destination)
		mr_profile_init(&destination.profile, command->destination);
	if (mr_writer_finish(writer, &end, error, sizeof(error)) == 0)
		return true;
	error_line("%s", error);
	return false;
}

/* ---- The command ---- */

static int judge(const struct mr_send_result *result, bool cuts)
{
	if (result->end == MR_SEND_COMPLETED && (!cuts || result->cut))
		return STATUS_HOLDS;
	if (result->end == MR_SEND_COMPLETED) {
		error_line("--cut: the byte never came");
		return STATUS_DIFFERS;
	}
	error_line("%s", result->reason);
	return result->end == MR_SEND_UNREACHABLE || result->end == MR_SEND_HOST ? STATUS_FAILED : STATUS_DIFFERS;
}

static int run(struct send_command *command, struct mr_writer *writer)
{
	struct mr_send_result result;
	bool written = true;
	int status;

	command->send.watch = writer ? mr_writer_watch(writer) : NULL;
	mr_progress_start(&command->progress, "setup", false);
	mr_send_run(&command->send, &result);
	mr_progress_end(&command->progress);
	status = judge(&result, command->send.cuts);
	if (writer && result.channel_count)
		written = finish_recording(command, writer, &result);
	if (result.end != MR_SEND_UNREACHABLE)
		(command->json ? dump_summary : print_summary)(&result);
	return written ? status : STATUS_FAILED;
}

static int send_machine(struct send_command *command)
{
	struct mr_writer *writer = NULL;
	char error[1024];
	int status = open_machine(command);

	if (status == STATUS_HOLDS && command->output &&
	    mr_writer_open_part(&writer, MR_WRITER_SOURCE_ALONE, command->output, error, sizeof(error)) < 0) {
		error_line("%s", error);
		status = STATUS_FAILED;
	}
	if (status == STATUS_HOLDS)
		status = run(command, writer);
	mr_writer_free(writer);
	/* Where nothing was sent it is still empty. */
	if (writer && status == STATUS_FAILED)
		rmdir(command->output);
	mr_send_machine_close(command->send.machine);
	return status;
}

int command_send(int argc, char **argv)
{
	struct send_command command = {
		.send = {.rewrites = 1,
			 .seed = 1,
			 .switch_after = UINT64_MAX,
			 .switch_passes = UINT64_MAX,
			 .recover_after = (uint64_t)500 * MILLISECOND,
			 .time_limit = 3600,
			 .idle = 30,
			 .progress = show_progress},
	};
	int status;

	parse_command(&argp, argc, argv, &command);
	command.send.config = &command.config;
	command.send.connect = &command.connect;
	command.send.recover = command.recover_text ? &command.recover : NULL;
	command.send.argument = &command;
	status = send_machine(&command);
	for (size_t i = 0; i < command.parameter_count; i++)
		free(command.names[i]);
	return status;
}
