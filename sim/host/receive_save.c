/* receive_save.c: what a live destination leaves behind: the rest of its recording, and its memory as files. */
#include "sim/host/receive_state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 1 << 20, UNIT = 4096 };

/* ---- The recording ---- */

static void copy_blocks(const struct receive *receive, struct mr_outgoing_block *blocks)
{
	for (uint32_t i = 0; i < receive->config.block_count; i++)
		blocks[i] = (struct mr_outgoing_block){
			.name = receive->blocks[i].name,
			.used_length = receive->blocks[i].used_length,
			.page_size = receive->blocks[i].page_size,
		};
}

/* The source as far as its streams show it. */
static void describe_source(const struct receive *receive, struct mr_outgoing_config *source,
			    const struct mr_outgoing_block *blocks)
{
	*source = (struct mr_outgoing_config){
		.profile = receive->config.context.profile,
		.capabilities = receive->result->capabilities,
		.machine = receive->config.context.machine,
		.target_page_size = receive->config.target_page_size,
		.host_page_size = receive->config.host_page_size,
		.blocks = blocks,
		.block_count = receive->config.block_count,
		.multifd_channels = receive->config.context.multifd_channels,
		.method_level = INT32_MIN,
	};
	if (receive->method != MR_METHOD_UNKNOWN)
		source->method = mr_multifd_method_by_flag(receive->method);
}

static void finish_recording(struct receive *receive)
{
	struct mr_outgoing_block *blocks = calloc(MR_BLOCKS_MAX, sizeof(*blocks));
	struct mr_outgoing_config source;
	const struct mr_writer_end end = {
		.producer = "migref receive " MR_VERSION,
		.source = &source,
		.destination = &receive->config,
		.vcpus = receive->result->vcpus,
		.guest_memory = receive->simulated ? NULL : receive->result->memory,
	};
	char error[MR_RECEIVE_TEXT];

	if (!blocks) {
		mr_receive_complain(receive, "%s: no memory for a recording", receive->options->directory);
		return;
	}
	copy_blocks(receive, blocks);
	describe_source(receive, &source, blocks);
	receive->result->written = mr_writer_finish(receive->writer, &end, error, sizeof(error)) == 0;
	if (!receive->result->written)
		mr_receive_complain(receive, "%s", error);
	free(blocks);
}

/* ---- Memory ---- */

static bool write_at(int file, const uint8_t *bytes, size_t length, uint64_t offset)
{
	while (length) {
		const ssize_t count = pwrite(file, bytes, length, (off_t)offset);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			return false;
		bytes += count;
		offset += (uint64_t)count;
		length -= (size_t)count;
	}
	return true;
}

/* Runs of pages that are not zero; the others stay holes. */
static bool write_piece(int file, const uint8_t *bytes, size_t length, uint64_t offset)
{
	size_t begin = 0;

	for (size_t at = 0; at <= length; at += UNIT) {
		const size_t unit = length - at < UNIT ? length - at : UNIT;

		if (unit && !mr_is_zero(bytes + at, unit))
			continue;
		if (at > begin && !write_at(file, bytes + begin, at - begin, offset + begin))
			return false;
		begin = at + UNIT;
	}
	return begin >= length || write_at(file, bytes + begin, length - begin, offset + begin);
}

static bool write_block(struct receive *receive, uint32_t index, int file, uint8_t *piece)
{
	const uint64_t size = receive->blocks[index].used_length;

	if (ftruncate(file, (off_t)size) < 0)
		return false;
	for (uint64_t at = 0; at < size; at += PIECE) {
		const size_t length = size - at < PIECE ? (size_t)(size - at) : PIECE;

		if (mr_host_memory_read(&receive->memories[index], at, piece, length, NULL) < 0) {
			errno = EIO;
			return false;
		}
		if (!write_piece(file, piece, length, at))
			return false;
	}
	return true;
}

static bool save_block(struct receive *receive, uint32_t index, const char *path, uint8_t *piece)
{
	const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	struct stat about;
	/* a device or a pipe is somebody's */
	const bool is_ours = file >= 0 && fstat(file, &about) == 0 && S_ISREG(about.st_mode);
	bool written = file >= 0 && write_block(receive, index, file, piece);

	if (file >= 0 && close(file) < 0)
		written = false;
	if (written)
		return true;
	mr_receive_stop(receive, MR_RECEIVE_HOST, "%s: %s", path, strerror(errno));
	/* part of a memory could be taken for all of it */
	if (is_ours)
		unlink(path);
	return false;
}

/* What a path could misread becomes _. */
static void path_of_block(const struct receive *receive, uint32_t index, char *path, size_t size)
{
	char name[MR_NAME_MAX + 1];

	memcpy(name, receive->blocks[index].name, strlen(receive->blocks[index].name) + 1);
	for (char *at = name; *at; at++)
		if (*at == '/' || (unsigned char)*at <= ' ' || (unsigned char)*at >= 0x7f)
			*at = '_';
	if (name[0] == '.')
		name[0] = '_';
	snprintf(path, size, "%s/%s", receive->options->ram, name);
}

static void save_blocks(struct receive *receive, bool directory, uint8_t *piece)
{
	char path[4096];
	uint32_t largest = 0;

	for (uint32_t i = 0; i < receive->config.block_count; i++)
		if (receive->blocks[i].used_length > receive->blocks[largest].used_length)
			largest = i;
	if (!directory) {
		save_block(receive, largest, receive->options->ram, piece);
		return;
	}
	for (uint32_t i = 0; i < receive->config.block_count; i++) {
		path_of_block(receive, i, path, sizeof(path));
		if (!save_block(receive, i, path, piece))
			return;
	}
}

static void save_memory(struct receive *receive)
{
	const char *ram = receive->options->ram;
	const size_t length = strlen(ram);
	struct stat found;
	bool directory = stat(ram, &found) == 0 && S_ISDIR(found.st_mode);
	uint8_t *piece = malloc(PIECE);

	if (!directory && length && ram[length - 1] == '/')
		directory = mkdir(ram, 0777) == 0;
	if (piece)
		save_blocks(receive, directory, piece);
	else
		mr_receive_stop(receive, MR_RECEIVE_HOST, "%s: no memory to write it", ram);
	free(piece);
}

void mr_receive_save(struct receive *receive)
{
	if (receive->writer && receive->incoming)
		finish_recording(receive);
	else if (receive->writer && receive->channel_count == 0 && receive->waiting_count == 0)
		mr_writer_abandon(receive->writer);
	if (!receive->options->ram || receive->result->end != MR_RECEIVE_COMPLETED || !receive->config.block_count)
		return;
	/* what fails now is the end */
	receive->over = false;
	save_memory(receive);
}
