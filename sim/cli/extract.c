/* extract.c: `migref extract`: each RAM block's final content as a file. */
#include "sim/cli/cli.h"
#include "sim/record/block_file.h"
#include "sim/record/elf.h"
#include "sim/record/print.h"
#include "sim/record/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct extract_options {
	struct mr_stream_options stream;
	const char *path;
	char *directory;
	bool json, elf;
};

#define ELF_NAME "memory.elf"

static const struct argp_option options[] = {
	{"output", 'o', "DIR", 0, "folder for the files; made if it is not there", 0},
	{"elf", 'e', NULL, 0, "also write " ELF_NAME ": guest-physical memory of a PC as an ELF core", 0},
	{"json", 'j', NULL, 0, "one JSON object for each block", 0},
	{NULL, 0, NULL, 0, NULL, 0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct extract_options *extract = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &extract->stream;
		return 0;
	case 'o':
		extract->directory = argument;
		return 0;
	case 'e':
		extract->elf = true;
		return 0;
	case 'j':
		extract->json = true;
		return 0;
	case ARGP_KEY_ARG:
		take_path(state, &extract->path, argument, "STREAM or RECORDING");
		return 0;
	case ARGP_KEY_END:
		if (!extract->path || !extract->directory)
			argp_error(state, "expected a STREAM or RECORDING and -o DIR");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "STREAM|RECORDING -o DIR",
	.doc = "Writes the final content of each RAM block to a file named after the block, / as _.\v"
	       "Pages that never came read as zero and are holes in the files. If the stream is cut or malformed, what "
	       "was received up to "
	       "there is written, and the exit status is 3.",
	.children = stream_children,
};

/* ---- Reading ---- */

struct lanes {
	struct mr_packet_codec *codecs;
	struct mr_memory *memory;
	struct mr_block_files *files;
	char machine[MR_MACHINE_NAME_MAX + 1]; /* as the stream names it */
	char complaint[1024];                  /* the first one; "": none */
	uint64_t complaints;
};

static void complain(struct lanes *lanes, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A stream may have as many faults as records: one line tells the first, and how many there are. */
static void complain(struct lanes *lanes, const char *format, ...)
{
	va_list arguments;

	if (lanes->complaints++)
		return;
	va_start(arguments, format);
	vsnprintf(lanes->complaint, sizeof(lanes->complaint), format, arguments);
	va_end(arguments);
}

static int report_complaints(const struct lanes *lanes)
{
	if (lanes->complaints == 0)
		return STATUS_HOLDS;
	if (lanes->complaints == 1)
		error_line("%s", lanes->complaint);
	else
		error_line("%s (and %" PRIu64 " more)", lanes->complaint, lanes->complaints - 1);
	return STATUS_FAILED;
}

static void keep_machine(struct lanes *lanes, struct mr_bytes name)
{
	const size_t length = name.length < MR_MACHINE_NAME_MAX ? name.length : MR_MACHINE_NAME_MAX;

	memcpy(lanes->machine, name.data, length);
	lanes->machine[length] = '\0';
}

/* Nothing moves in an input whose end is in the window: a file that is mapped, or the last bytes of a pipe. */
static bool input_stays(const struct mr_input *input)
{
	size_t length;
	bool at_end;

	mr_input_window(input, &length, &at_end);
	return at_end;
}

static int apply(struct lanes *lanes, struct mr_migration *migration, const struct mr_channel *channel,
		 const struct mr_record *record, struct mr_fault *fault)
{
	if (record->kind == MR_CONFIGURATION)
		keep_machine(lanes, record->configuration.machine);
	return mr_block_files_apply(lanes->files, &lanes->codecs[channel - migration->channels], record,
				    input_stays(channel->input), fault);
}

/* A file that could not be written. */
static int file_failed(const struct extract_options *extract, const struct mr_session *session,
		       const struct lanes *lanes)
{
	char name[MR_NAME_MAX + 1];
	uint32_t block;
	const int reason = mr_block_files_error(lanes->files, &block);

	mr_block_file_name(session, block, name);
	error_line("%s/%s: %s", extract->directory, name, strerror(reason));
	return STATUS_FAILED;
}

/* Stops at once when a file cannot be written; what is wrong with the stream costs the exit status alone. */
static int read_memory(const struct extract_options *extract, struct mr_migration *migration, struct lanes *lanes,
		       struct mr_progress *progress)
{
	for (;;) {
		struct mr_channel *channel;
		struct mr_record record;
		struct mr_fault fault;
		const uint8_t *wire;
		const enum mr_result result = mr_migration_next(migration, &channel, &record, &wire);
		uint64_t bytes;
		char text[512];

		if (!channel)
			return report_complaints(lanes);
		if (result == MR_RECORD) {
			if (apply(lanes, migration, channel, &record, &fault) < 0) {
				if (fault.rule == MR_NO_RULE)
					return report_complaints(lanes);
				complain(lanes, "%s: %s: offset 0x%" PRIx64 ": %s: %s", extract->path, channel->name,
					 record.offset, mr_rule_id(fault.rule), fault.text);
			}
			if (channel->records % 4096 == 0)
				mr_progress_update(progress, mr_migration_fraction(migration, &bytes), bytes);
			continue;
		}
		if (result == MR_DONE || (mr_channel_is_cut(channel) && mr_migration_continues(migration, channel)))
			continue;
		if (result == MR_MORE) {
			complain(lanes, "%s", mr_input_error(channel->input));
		} else {
			mr_format_finding(text, sizeof(text), &channel->decoder->error);
			complain(lanes, "%s: %s: %s", extract->path, channel->name, text);
		}
	}
}

/* ---- Writing ---- */

/* Written under another name first, so that nothing half-written looks whole. */
static void part_name(const char *name, char part[MR_NAME_MAX + 32])
{
	snprintf(part, MR_NAME_MAX + 32, ".%.240s.part", name);
}

static int open_part(int folder, const char *name)
{
	char part[MR_NAME_MAX + 32];

	part_name(name, part);
	return openat(folder, part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0666);
}

/* `status` is how writing went; a file that is not whole is taken away, and errno kept. */
static int finish_part(int folder, const char *name, int file, int status)
{
	char part[MR_NAME_MAX + 32];

	part_name(name, part);
	if (close(file) < 0)
		status = -1;
	if (status == 0)
		status = renameat(folder, part, folder, name);
	if (status < 0) {
		const int reason = errno;

		unlinkat(folder, part, 0);
		errno = reason;
	}
	return status;
}

static void print_block(const struct extract_options *extract, const struct mr_block *block,
			const struct mr_memory_block *content, const char *name)
{
	const uint64_t received = mr_bitmap_count(content->received, content->pages);

	if (!extract->json) {
		printf("%s/%s: %" PRIu64 " bytes, %" PRIu64 " of %" PRIu64 " pages came\n", extract->directory, name,
		       content->size, received, content->pages);
		return;
	}
	fputs("{\"block\":", stdout);
	mr_print_json_string(stdout, (struct mr_bytes){(const uint8_t *)block->name, block->name_length});
	fputs(",\"file\":", stdout);
	mr_print_json_string(stdout, (struct mr_bytes){(const uint8_t *)name, strlen(name)});
	printf(",\"size\":%" PRIu64 ",\"pages\":%" PRIu64 ",\"received\":%" PRIu64 "}\n", content->size, content->pages,
	       received);
}

static int write_elf(const struct extract_options *extract, int folder, const struct mr_session *session,
		     const struct lanes *lanes)
{
	struct mr_elf_segment segments[MR_ELF_SEGMENTS_MAX];
	char error[256];
	const int count = mr_elf_layout(segments, session, lanes->memory,
					lanes->machine[0] ? lanes->machine : session->context.machine, error);
	int file;

	if (count < 0) {
		error_line("%s: %s", extract->path, error);
		return STATUS_FAILED;
	}
	file = open_part(folder, ELF_NAME);
	if (file < 0 ||
	    finish_part(folder, ELF_NAME, file, mr_elf_write(file, segments, count, session, lanes->memory)) < 0) {
		error_line("%s/" ELF_NAME ": %s", extract->directory, strerror(errno));
		return STATUS_FAILED;
	}
	if (!extract->json)
		printf("%s/" ELF_NAME ": %d segments\n", extract->directory, count);
	return STATUS_HOLDS;
}

static int finish_blocks(const struct extract_options *extract, const struct mr_session *session,
			 const struct lanes *lanes)
{
	const struct mr_memory *memory = lanes->memory;

	if (mr_block_files_flush(lanes->files) < 0)
		return file_failed(extract, session, lanes);
	for (uint32_t i = 0; i < memory->count; i++) {
		char name[MR_NAME_MAX + 1];

		if (!memory->blocks[i].data)
			continue;
		mr_block_file_name(session, i, name);
		if (mr_block_files_finish(lanes->files, i) < 0) {
			error_line("%s/%s: %s", extract->directory, name, strerror(errno));
			return STATUS_FAILED;
		}
		print_block(extract, &session->blocks[i], &memory->blocks[i], name);
	}
	return STATUS_HOLDS;
}

/* ---- The command ---- */

static int extract_blocks(const struct extract_options *extract, struct mr_migration *migration, struct lanes *lanes,
			  int folder)
{
	struct mr_progress progress;
	int status, written;

	mr_progress_start(&progress, "extract", extract->json);
	status = read_memory(extract, migration, lanes, &progress);
	mr_progress_end(&progress);
	written = finish_blocks(extract, migration->session, lanes);
	if (written == STATUS_HOLDS && extract->elf)
		written = write_elf(extract, folder, migration->session, lanes);
	return written > status ? written : status;
}

static int open_folder(const struct extract_options *extract)
{
	int folder = -1;

	if (mkdir(extract->directory, 0777) == 0 || errno == EEXIST)
		folder = open(extract->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		error_line("%s: %s", extract->directory, strerror(errno));
	return folder;
}

static int extract_migration(const struct extract_options *extract, struct mr_migration *migration, int folder)
{
	struct lanes lanes = {
		.codecs = calloc(migration->channel_count + 1, sizeof(*lanes.codecs)),
		.memory = calloc(1, sizeof(*lanes.memory)),
	};
	int status = STATUS_FAILED;

	if (lanes.memory) {
		mr_memory_init(lanes.memory, migration->session, false);
		lanes.files = mr_block_files_new(lanes.memory, folder);
	}
	if (lanes.codecs && lanes.files)
		status = extract_blocks(extract, migration, &lanes, folder);
	else
		error_line("%s: no memory", extract->path);
	for (size_t i = 0; lanes.codecs && i < migration->channel_count; i++)
		mr_packet_codec_clear(&lanes.codecs[i]);
	mr_block_files_free(lanes.files);
	if (lanes.memory)
		mr_memory_clear(lanes.memory);
	free(lanes.codecs);
	free(lanes.memory);
	return status;
}

int command_extract(int argc, char **argv)
{
	struct extract_options extract = {0};
	struct mr_migration *migration;
	char error[512];
	int status = STATUS_FAILED, folder;

	parse_command(&argp, argc, argv, &extract);
	if (mr_migration_open(&migration, extract.path, &extract.stream, NULL, NULL, error, sizeof(error)) < 0) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	folder = open_folder(&extract);
	if (folder >= 0) {
		status = extract_migration(&extract, migration, folder);
		close(folder);
	}
	mr_migration_close(migration);
	return status;
}
