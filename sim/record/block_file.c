/* block_file.c: RAM blocks as files that are written while the stream is read. */
#include "sim/record/block_file.h"
#include "sim/record/mapped.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	PIECES_MAX = 256,
	STAGING_SIZE = 1 << 20, /* bytes; at least a packet */
	OTHER_FILES_MAX = 256,  /* descriptors of a migration's channels and the like */
	PART_NAME_MAX = 240,
};

/* What is gathered for one write: pieces that follow each other in the file of a block. */
struct run {
	uint32_t block;
	uint64_t start, end; /* in the block, bytes */
	int count;
	struct iovec pieces[PIECES_MAX];
};

struct mr_block_files {
	struct mr_memory *memory;
	int folder;
	int descriptors[MR_BLOCKS_MAX]; /* -1: none is open */
	int error;                      /* errno of the first write that failed */
	uint32_t failed_block;
	struct run run;
	uint8_t *staging; /* bytes of pieces that stand nowhere else */
	size_t staged;
	uint8_t *zeros; /* a page of the largest size, never written */
};

/* ---- Names ---- */

static void plain_name(const struct mr_block *block, char name[MR_NAME_MAX + 1])
{
	for (size_t i = 0; i < block->name_length; i++) {
		const unsigned char byte = (unsigned char)block->name[i];

		name[i] = block->name[i];
		if (byte <= 0x20 || byte > 0x7e || byte == '/')
			name[i] = '_';
	}
	name[block->name_length] = '\0';
	if (name[0] == '.')
		name[0] = '_';
}

void mr_block_file_name(const struct mr_session *session, uint32_t block, char name[MR_NAME_MAX + 1])
{
	char other[MR_NAME_MAX + 1];

	plain_name(&session->blocks[block], name);
	for (uint32_t i = 0; i < block; i++) {
		plain_name(&session->blocks[i], other);
		if (strcmp(name, other) == 0) {
			const size_t length = strlen(name);

			snprintf(name + (length < 240 ? length : 240), 15, "~%" PRIu32, block);
			return;
		}
	}
}

/* Written under another name first, so that nothing half-written looks whole. The number keeps long names apart. */
static void part_name(const struct mr_block_files *files, uint32_t block, char part[PART_NAME_MAX])
{
	char name[MR_NAME_MAX + 1];

	plain_name(&files->memory->session->blocks[block], name);
	snprintf(part, PART_NAME_MAX, ".%.200s-%" PRIu32 ".part", name, block);
}

/* ---- Gathering and writing ---- */

static int failed(struct mr_block_files *files, uint32_t block)
{
	if (!files->error) {
		files->error = errno;
		files->failed_block = block;
	}
	return -1;
}

/* Takes `written` bytes off the pieces from `first` on: the first piece that is not done. */
static int skip_written(struct run *run, int first, size_t written)
{
	while (written > 0 && written >= run->pieces[first].iov_len)
		written -= run->pieces[first++].iov_len;
	if (written > 0) {
		run->pieces[first].iov_base = (uint8_t *)run->pieces[first].iov_base + written;
		run->pieces[first].iov_len -= written;
	}
	return first;
}

int mr_block_files_flush(struct mr_block_files *files)
{
	struct run *run = &files->run;
	int first = 0;

	while (first < run->count && !files->error) {
		const ssize_t written = pwritev(files->descriptors[run->block], run->pieces + first, run->count - first,
						(off_t)run->start);

		if (written == 0)
			errno = EIO;
		if (written == 0 || (written < 0 && errno != EINTR))
			failed(files, run->block);
		if (written > 0) {
			first = skip_written(run, first, (size_t)written);
			run->start += (uint64_t)written;
		}
	}
	run->count = 0;
	return files->error ? -1 : 0;
}

/* Room for bytes until they are put: a part of a run, at most MR_PACKET_DATA_SIZE. NULL if a write failed. */
static uint8_t *stage(struct mr_block_files *files, size_t length)
{
	uint8_t *room;

	if (files->run.count == 0 || STAGING_SIZE - files->staged < length) {
		if (mr_block_files_flush(files) < 0)
			return NULL;
		files->staged = 0;
	}
	room = files->staging + files->staged;
	files->staged += length;
	return room;
}

/* The bytes where they stay until they are written; NULL if a write failed. */
static const uint8_t *keep(struct mr_block_files *files, const uint8_t *bytes, size_t length, bool stays)
{
	uint8_t *room = stays ? NULL : stage(files, length);

	if (stays)
		return bytes;
	return room ? memcpy(room, bytes, length) : NULL;
}

/* Adds at least one byte, all of which stay where they are, to the run; what they do not follow is written first. */
static int put(struct mr_block_files *files, uint32_t block, uint64_t offset, const uint8_t *bytes, size_t length)
{
	struct run *run = &files->run;
	const bool follows = run->count && run->block == block && run->end == offset;
	struct iovec *last = follows ? &run->pieces[run->count - 1] : NULL;

	if (last && (const uint8_t *)last->iov_base + last->iov_len == bytes) {
		last->iov_len += length;
		run->end += length;
		return 0;
	}
	if (!follows || run->count == PIECES_MAX) {
		if (mr_block_files_flush(files) < 0)
			return -1;
		run->block = block;
		run->start = run->end = offset;
	}
	run->pieces[run->count++] = (struct iovec){(void *)(uintptr_t)bytes, length};
	run->end += length;
	return 0;
}

static int put_zeros(struct mr_block_files *files, uint32_t block, uint64_t offset, uint64_t length)
{
	while (length) {
		const size_t piece = length < MR_PAGE_SIZE_MAX ? (size_t)length : MR_PAGE_SIZE_MAX;

		if (put(files, block, offset, files->zeros, piece) < 0)
			return -1;
		offset += piece;
		length -= piece;
	}
	return 0;
}

/* What is in the file now. */
static int read_back(struct mr_block_files *files, uint32_t block, uint64_t offset, uint8_t *out, size_t length)
{
	if (mr_block_files_flush(files) < 0)
		return -1;
	while (length) {
		const ssize_t count = pread(files->descriptors[block], out, length, (off_t)offset);

		if (count == 0)
			errno = EIO; /* somebody made the file shorter */
		if (count == 0 || (count < 0 && errno != EINTR))
			return failed(files, block);
		if (count > 0) {
			out += count;
			offset += (uint64_t)count;
			length -= (size_t)count;
		}
	}
	return 0;
}

/* Makes pages that were written zero again, as holes where the file system can. */
static int erase(struct mr_block_files *files, uint32_t index, uint64_t first, uint64_t behind)
{
	const uint32_t page_size = files->memory->session->target_page_size;
	struct mr_memory_block *block = &files->memory->blocks[index];
	uint64_t page = mr_bitmap_next_set(block->touched, behind, first);

	if (mr_block_files_flush(files) < 0)
		return -1;
	while (page < behind) {
		const uint64_t next = mr_bitmap_next_clear(block->touched, behind, page);
		const uint64_t start = page * page_size;
		const uint64_t end = next * page_size < block->size ? next * page_size : block->size;

		if (fallocate(files->descriptors[index], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)start,
			      (off_t)(end - start)) < 0 &&
		    put_zeros(files, index, start, end - start) < 0)
			return -1;
		mr_bitmap_clear(block->touched, page, next - page);
		page = mr_bitmap_next_set(block->touched, behind, next);
	}
	return 0;
}

/* ---- Files ---- */

static void close_file(struct mr_block_files *files, uint32_t block)
{
	char part[PART_NAME_MAX];

	if (files->descriptors[block] < 0)
		return;
	part_name(files, block, part);
	close(files->descriptors[block]);
	files->descriptors[block] = -1;
	unlinkat(files->folder, part, 0);
}

/* Makes the file as long as the block, all of it a hole, and puts a view of it in the place of the block's memory. */
static int open_file(struct mr_block_files *files, uint32_t index)
{
	struct mr_memory_block *block = &files->memory->blocks[index];
	char part[PART_NAME_MAX];
	int file;

	part_name(files, index, part);
	file = openat(files->folder, part, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (file < 0)
		return failed(files, index);
	files->descriptors[index] = file;
	if (ftruncate(file, (off_t)block->size) < 0 ||
	    mmap(block->data, (size_t)block->size, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED)
		return failed(files, index);
	return 0;
}

static int declare_block(struct mr_block_files *files, const struct mr_record *record, struct mr_fault *fault)
{
	const uint32_t index = record->ram_block.block;
	const struct mr_memory_block *block = &files->memory->blocks[index];

	if (files->descriptors[index] >= 0 && block->size == record->ram_block.used_length)
		return 0;
	if (mr_block_files_flush(files) < 0)
		return -1;
	close_file(files, index);
	if (mr_memory_apply(files->memory, record, fault) < 0)
		return -1;
	return block->data ? open_file(files, index) : 0;
}

int mr_block_files_finish(struct mr_block_files *files, uint32_t block)
{
	const int file = files->descriptors[block];
	char part[PART_NAME_MAX], name[MR_NAME_MAX + 1];
	int reason;

	files->descriptors[block] = -1;
	part_name(files, block, part);
	mr_block_file_name(files->memory->session, block, name);
	if (close(file) == 0 && renameat(files->folder, part, files->folder, name) == 0)
		return 0;
	reason = errno;
	unlinkat(files->folder, part, 0);
	errno = reason;
	return -1;
}

/* ---- Pages ---- */

static int put_page(struct mr_block_files *files, uint32_t block, uint64_t address, const uint8_t *bytes)
{
	mr_memory_mark(files->memory, block, address);
	return put(files, block, address, bytes, files->memory->session->target_page_size);
}

static int put_zero_page(struct mr_block_files *files, uint32_t index, uint64_t address, uint8_t fill)
{
	const uint32_t page_size = files->memory->session->target_page_size;
	struct mr_memory_block *block = &files->memory->blocks[index];
	const uint64_t page = address / page_size;
	uint8_t *room;

	/* A page that nobody wrote is a hole, and stays one. */
	if (!fill && address % page_size == 0 && !mr_bitmap_test(block->touched, page)) {
		mr_bitmap_set(block->received, page, 1);
		return 0;
	}
	if (!fill)
		return put_page(files, index, address, files->zeros);
	room = stage(files, page_size);
	if (!room)
		return -1;
	memset(room, fill, page_size);
	return put_page(files, index, address, room);
}

static int put_encoded_page(struct mr_block_files *files, const struct mr_record *record, struct mr_fault *fault)
{
	const struct mr_ram_page *page = &record->page;
	const uint32_t page_size = files->memory->session->target_page_size;
	uint8_t *room = stage(files, page_size);
	size_t length = page_size, at;
	enum mr_rule rule;

	if (!room)
		return -1;
	if (record->kind == MR_RAM_COMPRESSED)
		rule = mr_page_inflate(page->data, room, page_size, &length);
	else if (read_back(files, page->block, page->address, room, page_size) == 0)
		rule = mr_xbzrle_decode(room, page_size, page->data, &at);
	else
		return -1;
	mr_memory_mark(files->memory, page->block, page->address);
	if (length && put(files, page->block, page->address, room, length) < 0)
		return -1;
	return rule == MR_NO_RULE ? 0 : mr_fault_set(fault, rule, "page 0x%" PRIx64 " does not decode", page->address);
}

static int apply_page(struct mr_block_files *files, const struct mr_record *record, bool stays, struct mr_fault *fault)
{
	const struct mr_ram_page *page = &record->page;
	const uint8_t *bytes;

	if (!mr_memory_record_page(files->memory, page, fault))
		return -1;
	if (record->kind == MR_RAM_ZERO)
		return put_zero_page(files, page->block, page->address, page->fill);
	if (record->kind != MR_RAM_PAGE)
		return put_encoded_page(files, record, fault);
	bytes = keep(files, page->data.data, page->data.length, stays);
	return bytes ? put_page(files, page->block, page->address, bytes) : -1;
}

static int put_packet_pages(struct mr_block_files *files, struct mr_packet_codec *codec,
			    const struct mr_multifd_packet *packet, struct mr_fault *fault)
{
	const uint32_t page_size = files->memory->session->target_page_size;
	uint8_t *pages[MR_PACKET_PAGES_MAX], *room = stage(files, (size_t)packet->normal_pages * page_size);
	enum mr_rule rule;

	if (!room || mr_packet_codec_prepare(codec, files->memory->session, packet, fault) < 0)
		return -1;
	for (uint32_t i = 0; i < packet->normal_pages; i++)
		pages[i] = room + (size_t)i * page_size;
	rule = codec->method->recv(codec->state, packet->payload, pages, packet->normal_pages, fault->text);
	if (rule != MR_NO_RULE) {
		fault->rule = rule;
		return -1;
	}
	for (uint32_t i = 0; i < packet->normal_pages; i++)
		if (put_page(files, packet->block, mr_multifd_offset(packet, i), pages[i]) < 0)
			return -1;
	return 0;
}

static int apply_packet(struct mr_block_files *files, struct mr_packet_codec *codec,
			const struct mr_multifd_packet *packet, struct mr_fault *fault)
{
	if (packet->block == UINT32_MAX)
		return 0;
	for (uint32_t i = 0; i < packet->normal_pages + packet->zero_pages; i++)
		if (!mr_memory_packet_page(files->memory, packet, i, fault))
			return -1;
	for (uint32_t i = 0; i < packet->zero_pages; i++)
		if (put_zero_page(files, packet->block, mr_multifd_offset(packet, packet->normal_pages + i), 0) < 0)
			return -1;
	return packet->normal_pages ? put_packet_pages(files, codec, packet, fault) : 0;
}

/* ---- Other records ---- */

static int discard(struct mr_block_files *files, const struct mr_command *command, struct mr_fault *fault)
{
	struct mr_memory *memory = files->memory;
	struct mr_memory_block *block = mr_memory_discard_block(memory, command, fault);

	if (!block)
		return -1;
	for (uint32_t i = 0; i < command->range_count; i++) {
		struct mr_page_range pages;

		if (mr_memory_discard_pages(memory, block, command, i, &pages, fault) < 0 ||
		    erase(files, (uint32_t)(block - memory->blocks), pages.first, pages.first + pages.count) < 0)
			return -1;
		mr_bitmap_clear(block->received, pages.first, pages.count);
	}
	return 0;
}

/* The pages that the bitmap is about begin anew, so that what it makes zero needs no writing. */
static int apply_bitmap(struct mr_block_files *files, const struct mr_ram_bitmap *bitmap, struct mr_fault *fault)
{
	const struct mr_memory_block *block = mr_memory_block_at(files->memory, bitmap->block, fault);
	const uint64_t first = bitmap->first_page, behind = first + bitmap->bits.length * 8;

	if (!block)
		return -1;
	if (first < block->pages &&
	    erase(files, bitmap->block, first, behind < block->pages ? behind : block->pages) < 0)
		return -1;
	return mr_mapped_apply_bitmap(files->memory, bitmap, fault);
}

static int apply_pages(struct mr_block_files *files, const struct mr_ram_pages *pages, bool stays,
		       struct mr_fault *fault)
{
	const uint32_t page_size = files->memory->session->target_page_size;
	struct mr_memory_block *block = mr_memory_block_at(files->memory, pages->block, fault);

	if (!block)
		return -1;
	for (size_t at = 0; at < pages->data.length; at += page_size) {
		const uint64_t start = pages->address + at, page = start / page_size;
		const size_t left = pages->data.length - at, length = left < page_size ? left : page_size;
		const uint8_t *bytes = pages->data.data + at;

		if (start >= block->size || mr_bitmap_test(block->received, page))
			continue;
		bytes = keep(files, bytes, length, stays);
		if (!bytes || put(files, pages->block, start, bytes, length) < 0)
			return -1;
		mr_bitmap_set(block->received, page, 1);
		mr_bitmap_set(block->touched, page, 1);
	}
	return 0;
}

static int apply(struct mr_block_files *files, struct mr_packet_codec *codec, const struct mr_record *record,
		 bool stays, struct mr_fault *fault)
{
	switch (record->kind) {
	case MR_RAM_BLOCK:
		return declare_block(files, record, fault);
	case MR_RAM_PAGE:
	case MR_RAM_ZERO:
	case MR_RAM_XBZRLE:
	case MR_RAM_COMPRESSED:
		return apply_page(files, record, stays, fault);
	case MR_MULTIFD_PACKET:
		return apply_packet(files, codec, &record->packet, fault);
	case MR_RAM_BITMAP:
		return record->bitmap.bits.length ? apply_bitmap(files, &record->bitmap, fault) : 0;
	case MR_RAM_PAGES:
		return apply_pages(files, &record->pages, stays, fault);
	case MR_COMMAND:
		if (record->command.number == MR_COMMAND_POSTCOPY_RAM_DISCARD)
			return discard(files, &record->command, fault);
		return 0;
	default:
		return 0;
	}
}

int mr_block_files_apply(struct mr_block_files *files, struct mr_packet_codec *codec, const struct mr_record *record,
			 bool stays, struct mr_fault *fault)
{
	const int status = files->error ? -1 : apply(files, codec, record, stays, fault);

	if (files->error)
		return mr_fault_set(fault, MR_NO_RULE, "%s", strerror(files->error));
	return status;
}

/* ---- Life ---- */

static void raise_file_limit(void)
{
	const rlim_t wanted = MR_BLOCKS_MAX + OTHER_FILES_MAX;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
	setrlimit(RLIMIT_NOFILE, &limit);
}

struct mr_block_files *mr_block_files_new(struct mr_memory *memory, int folder)
{
	struct mr_block_files *files = calloc(1, sizeof(*files));

	if (!files)
		return NULL;
	files->memory = memory;
	files->folder = folder;
	for (uint32_t i = 0; i < MR_BLOCKS_MAX; i++)
		files->descriptors[i] = -1;
	files->staging = malloc(STAGING_SIZE);
	files->zeros = calloc(1, MR_PAGE_SIZE_MAX);
	if (!files->staging || !files->zeros) {
		mr_block_files_free(files);
		return NULL;
	}
	raise_file_limit();
	return files;
}

void mr_block_files_free(struct mr_block_files *files)
{
	if (!files)
		return;
	for (uint32_t i = 0; i < MR_BLOCKS_MAX; i++)
		close_file(files, i);
	free(files->staging);
	free(files->zeros);
	free(files);
}

int mr_block_files_error(const struct mr_block_files *files, uint32_t *block)
{
	*block = files->failed_block;
	return files->error;
}
