/* explain.c: `migref explain`: each byte of a stream with its meaning, and what a destination does about it. */
#include "sim/cli/cli.h"
#include "sim/record/device.h"
#include "sim/record/explain_steps.h"

#include <stdlib.h>
#include <unistd.h>

struct explain_options {
	struct mr_stream_options stream;
	const char *path;
	bool json, steps;
};

/* How the command ends, by the ends of the channels. */
struct ending {
	const char *path;
	int status;
};

enum { OPTION_STEPS = 0x200, OUTPUT_BUFFER_SIZE = 1 << 16 };

static const struct argp_option options[] = {
	{"steps", OPTION_STEPS, NULL, 0, "of a RECORDING: show what the destination does about each record, and why",
	 0},
	{"json", 'j', NULL, 0, "one JSON object a line", 0},
	{NULL, 0, NULL, 0, NULL, 0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct explain_options *explain = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &explain->stream;
		return 0;
	case OPTION_STEPS:
		explain->steps = true;
		return 0;
	case 'j':
		explain->json = true;
		return 0;
	case ARGP_KEY_ARG:
		take_path(state, &explain->path, argument, "STREAM or RECORDING");
		return 0;
	case ARGP_KEY_END:
		if (!explain->path)
			argp_error(state, "expected a STREAM or RECORDING");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "STREAM|RECORDING",
	.doc = "Explains a migration stream byte by byte, for people who learn the protocol.\v"
	       "A stream is a row of records, and a record a row of fields. For each record stand its channel, offset, "
	       "length and kind, and what it is for; for each field its offset, its bytes, its name and value, and "
	       "below them what it means. In brackets stands the rule of SPEC.md that says more. A field without "
	       "bytes is not sent: a reader has to remember it, or finds it within another.\n\n"
	       "With --steps the destination of a recording runs once more. Behind each record stand its actions (>): "
	       "who acts, what he does, and why; an answer stands below the action that sends it. Then its state (=): "
	       "which commands are allowed, the migration's status, the pages that somebody waits for, and which of "
	       "its threads wait for what. \"again\" means that a thread goes on with a record after others have "
	       "acted.\n\n"
	       "Begin with docs/first-postcopy.md, or with:\n\n"
	       "  migref explain --steps vectors/recordings/first-postcopy",
	.children = stream_children,
};

/* A channel that was cut on purpose goes on with the next connection. */
static void tell_end(void *argument, const struct mr_migration *migration, const struct mr_channel *channel,
		     enum mr_result result)
{
	struct ending *ending = argument;
	char text[512];

	if (result == MR_DONE)
		return;
	if (result == MR_MORE) {
		error_line("%s", mr_input_error(channel->input));
	} else {
		mr_format_finding(text, sizeof(text), &channel->decoder->error);
		error_line("%s: %s: %s", ending->path, channel->name, text);
		if (mr_channel_is_cut(channel) && mr_migration_continues(migration, channel))
			return;
	}
	ending->status = STATUS_FAILED;
}

static void explain_records(const struct mr_explainer *explainer, struct mr_migration *migration,
			    struct mr_devices *devices, struct ending *ending)
{
	struct mr_channel *channel;

	do {
		struct mr_explainer own = *explainer;
		struct mr_record record;
		const uint8_t *wire;
		const enum mr_result result = mr_migration_next(migration, &channel, &record, &wire);

		if (channel && result == MR_RECORD) {
			own.device =
				mr_devices_record(&devices[channel - migration->channels], channel->decoder, &record);
			mr_explain_record(&own, channel->name, &record, wire);
			if (!own.json)
				putc('\n', own.out);
		} else if (channel) {
			tell_end(ending, migration, channel, result);
		}
	} while (channel);
}

static int explain_stream(const struct explain_options *explain, const struct mr_explainer *explainer)
{
	struct ending ending = {explain->path, STATUS_HOLDS};
	struct mr_migration *migration;
	struct mr_devices *devices;
	char error[512];

	if (mr_migration_open(&migration, explain->path, &explain->stream, NULL, NULL, error, sizeof(error)) < 0) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	devices = calloc(migration->channel_count + 1, sizeof(*devices));
	if (devices) {
		for (size_t i = 0; i < migration->channel_count; i++)
			mr_devices_init(&devices[i], explain->stream.description);
		explain_records(explainer, migration, devices, &ending);
		for (size_t i = 0; i < migration->channel_count; i++)
			mr_devices_clear(&devices[i]);
	} else {
		error_line("%s: no memory", explain->path);
		ending.status = STATUS_FAILED;
	}
	free(devices);
	mr_migration_close(migration);
	return ending.status;
}

/* What was shown happened so only if the machine did what the recording says. What failed was told already. */
static int judge(const struct explain_options *explain, const struct mr_destination *destination, int status)
{
	if (status != STATUS_HOLDS || mr_destination_holds(destination))
		return status;
	if (!destination->ran) {
		error_line("%s: the destination cannot be run: %s", explain->path, destination->reason);
		return STATUS_FAILED;
	}
	error_line("%s: the destination did something else than was recorded: see migref replay", explain->path);
	return STATUS_DIFFERS;
}

static int explain_steps(const struct explain_options *explain, const struct mr_explainer *explainer)
{
	struct ending ending = {explain->path, STATUS_HOLDS};
	const struct mr_explain_job job = {*explainer, explain->path, &explain->stream, tell_end, &ending};
	struct mr_destination destination;
	char error[512];
	int status;

	if (mr_explain_steps(&job, &destination, error, sizeof(error)) < 0) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	status = judge(explain, &destination, ending.status);
	mr_destination_clear(&destination);
	return status;
}

int command_explain(int argc, char **argv)
{
	static char buffer[OUTPUT_BUFFER_SIZE];
	struct explain_options explain = {0};
	struct mr_explainer explainer = {.out = stdout, .indent = ""};

	parse_command(&argp, argc, argv, &explain);
	explainer.json = explain.json;
	if (!isatty(STDOUT_FILENO))
		setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
	return explain.steps ? explain_steps(&explain, &explainer) : explain_stream(&explain, &explainer);
}
