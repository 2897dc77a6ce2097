/* tap.c: `migref tap`: records a migration that others run, by standing between its ends. */
#include "sim/cli/cli.h"
#include "sim/cli/live_options.h"
#include "sim/host/tap.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum {
	KEY_LISTEN = 256,
	KEY_CONNECT,
	KEY_CAPABILITIES,
	KEY_SOURCE,
	KEY_DESTINATION,
	KEY_CUT,
	KEY_REDACT,
	KEY_TIME_LIMIT,
	KEY_IDLE,
	SECONDS_MAX = 10000000,
};

struct tap_command {
	struct mr_tap_options tap;
	struct mr_tapped_options recording;
	const char *listen, *connect;
	bool json;
};

static const struct argp_option options[] = {
	{"listen", KEY_LISTEN, "ADDRESS", 0, "where the source is to migrate to: unix:PATH or tcp:HOST:PORT", 0},
	{"connect", KEY_CONNECT, "ADDRESS", 0, "where the destination listens", 0},
	{"output", 'o', "DIR", 0, "the recording: a directory that is new or empty", 0},
	{"capabilities", KEY_CAPABILITIES, "LIST", 0,
	 "capabilities that are on at both ends, by QEMU's names, separated by commas; noted in the recording, as a "
	 "tap "
	 "cannot see them",
	 0},
	{"source-qemu", KEY_SOURCE, "RELEASE", 0, "release of the source, such as 7.2; noted as well", 0},
	{"destination-qemu", KEY_DESTINATION, "RELEASE", 0, "the same of the destination", 0},
	{"cut", KEY_CUT, "CHANNEL:DIRECTION:BYTE", 0,
	 "break all connections, once, before this byte of one direction (fwd or ret) of a connection (from 0)", 0},
	{"redact", KEY_REDACT, NULL, 0, "record no contents of guest pages; see below", 0},
	{"time-limit", KEY_TIME_LIMIT, "S", 0, "end after so many seconds in all (3600)", 0},
	{"idle", KEY_IDLE, "S", 0,
	 "end when no connection has been open for so many seconds behind the first one, in which a recovery may come "
	 "(10)",
	 0},
	{"json", 'j', NULL, 0, "a JSON object a line: the address, and the summary", 0},
	{NULL, 0, NULL, 0, NULL, 0},
};

/* ---- Options ---- */

static void check_options(struct tap_command *command, const struct argp_state *state)
{
	if (!command->recording.directory)
		argp_error(state, "expected -o DIR");
	live_address(&command->tap.listen, "--listen", command->listen, true, state);
	live_address(&command->tap.connect, "--connect", command->connect, false, state);
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct tap_command *command = state->input;

	switch (key) {
	case KEY_LISTEN:
		command->listen = argument;
		return 0;
	case KEY_CONNECT:
		command->connect = argument;
		return 0;
	case 'o':
		command->recording.directory = argument;
		return 0;
	case KEY_CAPABILITIES:
		live_capabilities(argument, state);
		command->recording.capabilities = argument;
		return 0;
	case KEY_SOURCE:
		command->recording.source_qemu = live_release("--source-qemu", argument, state);
		return 0;
	case KEY_DESTINATION:
		command->recording.destination_qemu = live_release("--destination-qemu", argument, state);
		return 0;
	case KEY_CUT:
		live_cut(argument, &command->tap.cut_channel, &command->tap.cut_backward, &command->tap.cut_byte,
			 state);
		command->tap.cuts = true;
		return 0;
	case KEY_REDACT:
		command->recording.redact = true;
		return 0;
	case KEY_TIME_LIMIT:
		command->tap.time_limit = live_seconds("--time-limit", argument, SECONDS_MAX, state);
		return 0;
	case KEY_IDLE:
		command->tap.idle = live_seconds("--idle", argument, SECONDS_MAX, state);
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
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Records a migration that others run: listens for the source, connects to the destination, passes every "
	       "byte on unchanged.\v"
	       "Any number of connections up to 300, in both directions. Each direction has a buffer of its own of 256 "
	       "KiB; while it is full, its sender is not read, as if the network were slow, and all others go on. Ends "
	       "and resets of connections are passed on, too; connecting to the destination may take 10 s. The tap "
	       "ends when no connection has been open for --idle seconds, on SIGINT or SIGTERM, or at the time limit; "
	       "what is open then is cut, and the recording is whole up to there. If it cannot be written any more, "
	       "bytes are passed on all the same.\n\n"
	       "The migration is the user's to start: the source migrates to the address of --listen. For a recovery "
	       "the destination has to listen at the address of --connect again.\n\n"
	       "--redact: in the recording, not on its way, each page's contents become an HMAC-SHA256 of them, "
	       "expanded to a page by AES-256 in counter mode. The key is drawn for this recording and kept nowhere. "
	       "Lengths and structure stay, zero pages stay zero, equal pages stay equal. Of XBZRLE encodings the runs "
	       "stay, their new bytes do not; with xbzrle in --capabilities they still are the change from one "
	       "redacted "
	       "page to the next, for which each page takes 48 bytes of memory, and one that was encoded itself as "
	       "well. Of a page that is cut the part is not that of the whole page. The device state is NOT redacted: "
	       "what is no page stays as it is, so the registers of vCPUs, keys in TPMs, buffers of disks and "
	       "networks, "
	       "the description of devices, and blocks of disks if they migrate along. What leaks besides: which pages "
	       "are zero, equal, asked for or changed, with XBZRLE which bytes of them, and when; names of the "
	       "machine, "
	       "blocks and devices, sizes and times. Whoever guesses a page cannot confirm it without the key. "
	       "Contents that are compressed (the capability compress, multifd-compression) cannot be redacted: with "
	       "the capability given nothing is begun, else one line says so, the recording ends before the first of "
	       "them, and the status is 3; bytes are passed on. A stream that cannot be read is treated alike. What "
	       "waits to be told apart takes up to 65 MiB of memory a channel, at worst twice that.\n\n"
	       "Exit status 0 if a migration was recorded, 1 if --cut never happened, 3 if nothing came, something "
	       "failed, or the time limit cut connections.",
};

/* ---- Telling ---- */

static void print_json(json_t *object)
{
	json_dumpf(object, stdout, JSON_SORT_KEYS);
	putchar('\n');
	json_decref(object);
	fflush(stdout);
}

static void tell_address(void *argument, const char *address)
{
	const struct tap_command *command = argument;

	if (command->json) {
		print_json(json_pack("{s:s}", "listening", address));
		return;
	}
	printf("listening at %s\n", address);
	fflush(stdout);
}

static void tell_line(void *argument, const char *line)
{
	(void)argument;
	error_line("%s", line);
}

static const char *const ends[] = {
	[MR_TAP_IDLE] = "idle", [MR_TAP_SIGNAL] = "signal", [MR_TAP_TIME_LIMIT] = "time limit",
	[MR_TAP_TOLD] = "told", [MR_TAP_FAILED] = "failed",
};

static void print_summary(const struct tap_command *command, const struct mr_tap_result *result)
{
	const struct mr_tapped_figures *channel;

	printf("%s: %" PRIu32 " connections%s%s\n", command->recording.directory, result->connections,
	       result->open || result->cut ? ", cut" : "",
	       command->recording.redact ? "; pages are redacted, the state of devices and vCPUs is not" : "");
	for (uint32_t i = 0; (channel = mr_tapped_figures(command->tap.recording, i)) != NULL; i++)
		printf("  ch%-3" PRIu32 " %-8s %12" PRIu64 " bytes forward, %10" PRIu64 " back\n", i,
		       mr_role_name(channel->role), channel->bytes[0], channel->bytes[1]);
}

static void dump_summary(const struct tap_command *command, const struct mr_tap_result *result)
{
	const struct mr_tapped_figures *channel;
	json_t *channels = json_array();

	for (uint32_t i = 0; (channel = mr_tapped_figures(command->tap.recording, i)) != NULL; i++)
		json_array_append_new(channels, json_pack("{s:s, s:I, s:I}", "role", mr_role_name(channel->role),
							  "forward", (json_int_t)channel->bytes[0], "return",
							  (json_int_t)channel->bytes[1]));
	print_json(json_pack("{s:s, s:s, s:b, s:i, s:i, s:o}", "recording", command->recording.directory, "ended",
			     ends[result->end], "cut", result->cut || result->open, "open", (int)result->open,
			     "refused", (int)result->refused, "channels", channels));
}

/* ---- The command ---- */

static int judge(const struct tap_command *command, const struct mr_tap_result *result, bool written)
{
	const char *directory = command->recording.directory;

	if (result->end == MR_TAP_FAILED)
		return STATUS_FAILED;
	if (result->connections == 0) {
		error_line("%s: no connection came, nothing is recorded", directory);
		return STATUS_FAILED;
	}
	if (!written || mr_tapped_problem(command->tap.recording)[0])
		return STATUS_FAILED;
	if (result->end == MR_TAP_TIME_LIMIT && result->open) {
		error_line("%s: %" PRIu32 " connections were open at the time limit of %g s, and cut", directory,
			   result->open, command->tap.time_limit);
		return STATUS_FAILED;
	}
	if (!command->tap.cuts || result->cut)
		return STATUS_HOLDS;
	error_line("%s: --cut: the byte never came", directory);
	return STATUS_DIFFERS;
}

int command_tap(int argc, char **argv)
{
	struct tap_command command = {.tap = {.time_limit = 3600, .idle = 10}};
	struct mr_tap_result result;
	char error[512], before[512];
	bool written;
	int status;

	parse_command(&argp, argc, argv, &command);
	if (mr_tapped_open(&command.tap.recording, &command.recording, error, sizeof(error)) < 0) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	command.tap.listening = tell_address;
	command.tap.complain = tell_line;
	command.tap.argument = &command;
	mr_tap_run(&command.tap, &result);
	snprintf(before, sizeof(before), "%s", mr_tapped_problem(command.tap.recording));
	written = mr_tapped_finish(command.tap.recording);
	/* what came only with the end, such as a full disk */
	if (!before[0] && mr_tapped_problem(command.tap.recording)[0])
		error_line("%s", mr_tapped_problem(command.tap.recording));
	if (written)
		(command.json ? dump_summary : print_summary)(&command, &result);
	status = judge(&command, &result, written);
	mr_tapped_free(command.tap.recording);
	return status;
}
