/* dump.c: `migref dump`: every record of a stream or recording. */
#include "sim/cli/cli.h"
#include "sim/record/device.h"
#include "sim/record/print.h"
#include "sim/record/progress.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct dump_options {
	struct mr_stream_options stream;
	struct mr_printer printer;
	const char *path;
	bool no_devices;
};

enum { OPTION_NO_DEVICES = 0x200, OUTPUT_BUFFER_SIZE = 1 << 16 };

static const struct argp_option options[] = {
	{"json", 'j', NULL, 0, "one JSON object a line", 0},
	{"all", 'a', NULL, 0, "show derived fields too: magics, type bytes, lengths of what follows", 0},
	{"data", 'd', NULL, 0, "show page contents and other long runs of bytes in full", 0},
	{"hex", 'x', NULL, 0, "show the bytes of each record before it (the first 128 of a long one)", 0},
	{"no-devices", OPTION_NO_DEVICES, NULL, 0, "do not show the fields of device sections", 0},
	{NULL, 0, NULL, 0, NULL, 0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct dump_options *dump = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &dump->stream;
		return 0;
	case 'j':
		dump->printer.json = true;
		return 0;
	case 'a':
		dump->printer.all = true;
		return 0;
	case 'd':
		dump->printer.data = true;
		return 0;
	case 'x':
		dump->printer.hex = true;
		return 0;
	case OPTION_NO_DEVICES:
		dump->no_devices = true;
		return 0;
	case ARGP_KEY_ARG:
		take_path(state, &dump->path, argument, "STREAM or RECORDING");
		return 0;
	case ARGP_KEY_END:
		if (!dump->path)
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
	.doc = "Prints every record of a migration stream, one a line: offset, length, kind, fields.\v"
	       "Records tile the stream: each byte belongs to exactly one. The records of a package are indented. "
	       "A recording's channels are shown in an order in which a destination may take them. Below a device "
	       "section "
	       "stand its fields, if the stream ends with a description or --describe gives one.",
	.children = stream_children,
};

static void dump_record(struct dump_options *dump, struct mr_devices *devices, const struct mr_channel *channel,
			const struct mr_record *record, const uint8_t *wire)
{
	dump->printer.device = NULL;
	if (!dump->no_devices)
		dump->printer.device = mr_devices_record(devices, channel->decoder, record);
	mr_print_record(&dump->printer, channel->name, record, wire);
}

static int dump_records(struct dump_options *dump, struct mr_migration *migration, struct mr_devices *devices,
			struct mr_progress *progress)
{
	int status = STATUS_HOLDS;

	for (;;) {
		struct mr_channel *channel;
		struct mr_record record;
		const uint8_t *wire;
		const enum mr_result result = mr_migration_next(migration, &channel, &record, &wire);
		uint64_t bytes;
		char text[512];

		if (!channel)
			return status;
		if (result == MR_RECORD) {
			dump_record(dump, &devices[channel - migration->channels], channel, &record, wire);
			if (channel->records % 1024 == 0)
				mr_progress_update(progress, mr_migration_fraction(migration, &bytes), bytes);
			continue;
		}
		if (result == MR_MORE)
			error_line("%s", mr_input_error(channel->input));
		if (result == MR_FAILED) {
			mr_format_finding(text, sizeof(text), &channel->decoder->error);
			error_line("%s: %s: %s", dump->path, channel->name, text);
		}
		/* A channel that was cut on purpose goes on with the next connection. */
		if (result == MR_MORE || (result == MR_FAILED &&
					  !(mr_channel_is_cut(channel) && mr_migration_continues(migration, channel))))
			status = STATUS_FAILED;
	}
}

static int dump_migration(struct dump_options *dump, struct mr_migration *migration)
{
	struct mr_devices *devices = calloc(migration->channel_count + 1, sizeof(*devices));
	struct mr_progress progress;
	int status;

	if (!devices) {
		error_line("%s: no memory", dump->path);
		return STATUS_FAILED;
	}
	for (size_t i = 0; i < migration->channel_count; i++)
		mr_devices_init(&devices[i], dump->stream.description);
	mr_progress_start(&progress, "dump", dump->printer.json);
	status = dump_records(dump, migration, devices, &progress);
	mr_progress_end(&progress);
	for (size_t i = 0; i < migration->channel_count; i++)
		mr_devices_clear(&devices[i]);
	free(devices);
	return status;
}

int command_dump(int argc, char **argv)
{
	static char buffer[OUTPUT_BUFFER_SIZE];
	struct dump_options dump = {.printer = {.out = stdout}};
	struct mr_migration *migration;
	char error[512];
	int status;

	parse_command(&argp, argc, argv, &dump);
	if (mr_migration_open(&migration, dump.path, &dump.stream, NULL, NULL, error, sizeof(error)) < 0) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	if (!isatty(STDOUT_FILENO))
		setvbuf(stdout, buffer, _IOFBF, sizeof(buffer));
	dump.printer.channels = !migration->lone;
	if (migration->container)
		mr_container_print(&dump.printer, migration->channels[0].name, migration->container);
	status = dump_migration(&dump, migration);
	mr_migration_close(migration);
	return status;
}
