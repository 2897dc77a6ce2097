/* extract.c: `migref extract`: each RAM block's final content as a file. */
#include "sim/cli/cli.h"
#include "sim/record/memory.h"
#include "sim/record/print.h"
#include "sim/record/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct extract_options {
	struct mr_stream_options stream;
	char *path, *directory;
	bool json;
};

static const struct argp_option options[] = {
	{"output", 'o', "DIR", 0, "folder for the files; made if it is not there", 0},
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
	case 'j':
		extract->json = true;
		return 0;
	case ARGP_KEY_ARG:
		if (extract->path)
			argp_error(state, "one STREAM or RECORDING at a time");
		extract->path = argument;
		return 0;
	case ARGP_KEY_END:
		if (!extract->path || !extract->directory)
			argp_error(state, "expected a STREAM or RECORDING and -o DIR");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_child children[] = {{&stream_argp, 0, NULL, 0}, {NULL, 0, NULL, 0}};

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "STREAM|RECORDING -o DIR",
	.doc = "Writes the final content of each RAM block to a file named after the block, / as _.\v"
	       "Pages that never came read as zero and are holes in the files. If the stream is cut or malformed, what "
	       "was received up to "
	       "there is written, and the exit status is 3.",
	.children = children,
};

/* ---- Reading ---- */

struct lanes {
	struct mr_packet_codec *codecs;
	struct mr_memory *memory;
};

static int apply(struct lanes *lanes, struct mr_migration *migration, const struct mr_channel *channel,
		 const struct mr_record *record, struct mr_fault *fault)
{
	if (record->kind == MR_MULTIFD_PACKET)
		return mr_memory_apply_packet(lanes->memory, &lanes->codecs[channel - migration->channels],
					      &record->packet, fault);
	return mr_memory_apply(lanes->memory, record, fault);
}

static int read_memory(const struct extract_options *extract, struct mr_migration *migration, struct lanes *lanes,
		       struct mr_progress *progress)
{
	int status = STATUS_HOLDS;

	for (;;) {
		struct mr_channel *channel;
		struct mr_record record;
		struct mr_fault fault;
		const uint8_t *wire;
		const enum mr_result result = mr_migration_next(migration, &channel, &record, &wire);
		uint64_t bytes;
		char text[512];

		if (!channel)
			return status;
		if (result == MR_RECORD) {
			if (apply(lanes, migration, channel, &record, &fault) < 0) {
				error_line("%s: %s: offset 0x%" PRIx64 ": %s: %s", extract->path, channel->name,
					   record.offset, mr_rule_id(fault.rule), fault.text);
				status = STATUS_FAILED;
			}
			if (channel->records % 4096 == 0)
				mr_progress_update(progress, mr_migration_fraction(migration, &bytes), bytes);
			continue;
		}
		if (result == MR_DONE || (mr_channel_is_cut(channel) && mr_migration_continues(migration, channel)))
			continue;
		if (result == MR_MORE) {
			error_line("%s", mr_input_error(channel->input));
		} else {
			mr_format_finding(text, sizeof(text), &channel->decoder->error);
			error_line("%s: %s: %s", extract->path, channel->name, text);
		}
		status = STATUS_FAILED;
	}
}

/* ---- Writing ---- */

/* A file name from a block name: what a path or terminal could misread becomes _. */
static void file_name(const struct mr_block *block, char *name, size_t size)
{
	size_t length = block->name_length < size - 1 ? block->name_length : size - 1;

	for (size_t i = 0; i < length; i++) {
		const unsigned char byte = (unsigned char)block->name[i];

		name[i] = byte <= 0x20 || byte > 0x7e || byte == '/' ? '_' : (char)byte;
	}
	name[length] = '\0';
	if (name[0] == '.')
		name[0] = '_';
}

static int write_run(int file, const struct mr_memory_block *block, uint64_t start, uint64_t end)
{
	while (start < end) {
		const ssize_t written = pwrite(file, block->data + start, (size_t)(end - start), (off_t)start);

		if (written < 0 && errno != EINTR)
			return -1;
		start += written > 0 ? (uint64_t)written : 0;
	}
	return 0;
}

/* Only pages that were written cost space; the rest of the file is a hole. */
static int write_pages(int file, const struct mr_memory_block *block, uint64_t page_size)
{
	uint64_t page = mr_bitmap_next_set(block->touched, block->pages, 0);

	if (ftruncate(file, (off_t)block->size) < 0)
		return -1;
	while (page < block->pages) {
		const uint64_t behind = mr_bitmap_next_clear(block->touched, block->pages, page);
		const uint64_t end = behind * page_size < block->size ? behind * page_size : block->size;

		if (write_run(file, block, page * page_size, end) < 0)
			return -1;
		page = mr_bitmap_next_set(block->touched, block->pages, behind);
	}
	return 0;
}

/* Written under another name first, so that nothing half-written looks whole. */
static int write_file(int folder, const char *name, const struct mr_memory_block *block, uint64_t page_size)
{
	char part[MR_NAME_MAX + 32];
	int file, status;

	snprintf(part, sizeof(part), ".%.240s.part", name);
	file = openat(folder, part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0666);
	if (file < 0)
		return -1;
	status = write_pages(file, block, page_size);
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

/* Two block names may become one file name; the later one gets its number behind it. */
static void unique_name(const struct mr_session *session, uint32_t index, char *name, size_t size)
{
	char other[MR_NAME_MAX + 1];

	file_name(&session->blocks[index], name, size);
	for (uint32_t i = 0; i < index; i++) {
		file_name(&session->blocks[i], other, sizeof(other));
		if (strcmp(name, other) == 0) {
			snprintf(name + (strlen(name) < 240 ? strlen(name) : 240), 15, "~%" PRIu32, index);
			return;
		}
	}
}

static int write_blocks(const struct extract_options *extract, const struct mr_session *session,
			const struct mr_memory *memory)
{
	int folder, status = STATUS_HOLDS;

	if (mkdir(extract->directory, 0777) < 0 && errno != EEXIST) {
		error_line("%s: %s", extract->directory, strerror(errno));
		return STATUS_FAILED;
	}
	folder = open(extract->directory, O_RDONLY | O_DIRECTORY);
	if (folder < 0) {
		error_line("%s: %s", extract->directory, strerror(errno));
		return STATUS_FAILED;
	}
	for (uint32_t i = 0; i < memory->count && status == STATUS_HOLDS; i++) {
		char name[MR_NAME_MAX + 1];

		if (!memory->blocks[i].data)
			continue;
		unique_name(session, i, name, sizeof(name));
		if (write_file(folder, name, &memory->blocks[i], session->target_page_size) < 0) {
			error_line("%s/%s: %s", extract->directory, name, strerror(errno));
			status = STATUS_FAILED;
		} else {
			print_block(extract, &session->blocks[i], &memory->blocks[i], name);
		}
	}
	close(folder);
	return status;
}

/* ---- The command ---- */

static int extract_migration(const struct extract_options *extract, struct mr_migration *migration)
{
	struct lanes lanes = {
		.codecs = calloc(migration->channel_count + 1, sizeof(*lanes.codecs)),
		.memory = malloc(sizeof(*lanes.memory)),
	};
	struct mr_progress progress;
	int status = STATUS_FAILED, written;

	if (lanes.codecs && lanes.memory) {
		mr_memory_init(lanes.memory, migration->session, true);
		mr_progress_start(&progress, "extract", extract->json);
		status = read_memory(extract, migration, &lanes, &progress);
		mr_progress_end(&progress);
		written = write_blocks(extract, migration->session, lanes.memory);
		status = written > status ? written : status;
		for (size_t i = 0; i < migration->channel_count; i++)
			mr_packet_codec_clear(&lanes.codecs[i]);
		mr_memory_clear(lanes.memory);
	} else {
		error_line("%s: no memory", extract->path);
	}
	free(lanes.codecs);
	free(lanes.memory);
	return status;
}

int command_extract(int argc, char **argv)
{
	struct extract_options extract = {0};
	struct mr_migration *migration;
	char error[512];
	int status;

	parse_command(&argp, argc, argv, &extract);
	if (mr_migration_open(&migration, extract.path, &extract.stream, NULL, NULL, error, sizeof(error)) < 0) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	status = extract_migration(&extract, migration);
	mr_migration_close(migration);
	return status;
}
