/* memory.c: guest memory as a stream builds it: RAM blocks, and which of their pages ever came. */
#include "sim/record/memory.h"
#include "sim/record/mapped.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
	ORDINARY_PAGE_SIZE = 4096,
	POPULATE_MAX = 64, /* pages asked of the kernel at once */
};

int mr_fault_set(struct mr_fault *fault, enum mr_rule rule, const char *format, ...)
{
	va_list arguments;

	fault->rule = rule;
	va_start(arguments, format);
	vsnprintf(fault->text, sizeof(fault->text), format, arguments);
	va_end(arguments);
	return -1;
}

void mr_memory_init(struct mr_memory *memory, const struct mr_session *session, bool huge_pages)
{
	memset(memory, 0, sizeof(*memory));
	memory->session = session;
	memory->huge_pages = huge_pages;
}

static void unmap_block(struct mr_memory_block *block)
{
	if (block->data)
		munmap(block->data, (size_t)block->size);
	free(block->received);
	free(block->touched);
	memset(block, 0, sizeof(*block));
}

void mr_memory_clear(struct mr_memory *memory)
{
	for (uint32_t i = 0; i < memory->count; i++)
		unmap_block(&memory->blocks[i]);
	memory->count = 0;
}

/* Only touched pages cost memory, so a block may be as large as the address space lets it. */
static int map_block(struct mr_memory *memory, const struct mr_ram_block *entry, struct mr_fault *fault)
{
	struct mr_memory_block *block = &memory->blocks[entry->block];
	void *data;

	if (block->data && block->size == entry->used_length)
		return 0;
	unmap_block(block);
	if (entry->used_length == 0 || entry->used_length > SIZE_MAX / 2)
		return entry->used_length
			       ? mr_fault_set(fault, MR_STR_027, "a block of 0x%" PRIx64 " bytes", entry->used_length)
			       : 0;
	block->pages = (entry->used_length + memory->session->target_page_size - 1) / memory->session->target_page_size;
	data = mmap(NULL, (size_t)entry->used_length, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	block->received = calloc(mr_bitmap_words(block->pages), sizeof(uint64_t));
	block->touched = calloc(mr_bitmap_words(block->pages), sizeof(uint64_t));
	if (data == MAP_FAILED || !block->received || !block->touched) {
		if (data != MAP_FAILED)
			munmap(data, (size_t)entry->used_length);
		unmap_block(block);
		return mr_fault_set(fault, MR_STR_027, "no memory for a block of 0x%" PRIx64 " bytes",
				    entry->used_length);
	}
	madvise(data, (size_t)entry->used_length, memory->huge_pages ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	block->data = data;
	block->size = entry->used_length;
	if (memory->count <= entry->block)
		memory->count = entry->block + 1;
	return 0;
}

/* The number of the target page that holds `address`; page sizes are powers of two. */
static uint64_t page_number(const struct mr_memory *memory, uint64_t address)
{
	return address >> __builtin_ctz(memory->session->target_page_size);
}

/*
 * Asks the kernel for the pages from `page` on, as many again as came in a row before: a page fault for each would cost
 * more than its content. Untouched memory thus grows to at most twice what the stream fills. Where the kernel refuses,
 * the faults come one by one.
 */
static void populate(const struct mr_memory *memory, struct mr_memory_block *block, uint64_t page)
{
	const uint64_t page_size = memory->session->target_page_size;
	const uint64_t left = block->size / page_size - page;
	uint64_t count = 1;

	if (memory->huge_pages || mr_bitmap_test(block->touched, page) ||
	    (page >= block->populated_first && page < block->populated_behind))
		return;
	if (page == block->populated_behind)
		count = 2 * (block->populated_behind - block->populated_first);
	if (count > POPULATE_MAX)
		count = POPULATE_MAX;
	if (count > left)
		count = left;
	block->populated_first = page;
	block->populated_behind = page + count;
	if (count > 1)
		madvise(block->data + page * page_size, (size_t)(count * page_size), MADV_POPULATE_WRITE);
}

/* Nearly all pages are of the ordinary size, and compilers copy a known number of bytes faster into fresh memory. */
static void copy_page(uint8_t *to, const uint8_t *from, uint32_t page_size)
{
	if (page_size == ORDINARY_PAGE_SIZE)
		memcpy(to, from, ORDINARY_PAGE_SIZE);
	else
		memcpy(to, from, page_size);
}

static uint8_t *page_at(const struct mr_memory *memory, uint32_t index, uint64_t address)
{
	const uint32_t page_size = memory->session->target_page_size;
	const struct mr_memory_block *block;

	if (index >= memory->count)
		return NULL;
	block = &memory->blocks[index];
	if (!block->data || address >= block->size || block->size - address < page_size)
		return NULL;
	return block->data + address;
}

uint8_t *mr_memory_page(struct mr_memory *memory, uint32_t index, uint64_t address)
{
	return page_at(memory, index, address);
}

struct mr_memory_block *mr_memory_block_at(struct mr_memory *memory, uint32_t index, struct mr_fault *fault)
{
	if (index < memory->count && memory->blocks[index].data)
		return &memory->blocks[index];
	mr_fault_set(fault, MR_RAM_009, "a block that is not there");
	return NULL;
}

uint8_t *mr_memory_record_page(struct mr_memory *memory, const struct mr_ram_page *page, struct mr_fault *fault)
{
	uint8_t *at = page_at(memory, page->block, page->address);

	if (!at)
		mr_fault_set(fault, MR_RAM_010, "0x%" PRIx64 " is outside block %.40s", page->address,
			     memory->session->blocks[page->block].name);
	return at;
}

uint8_t *mr_memory_packet_page(struct mr_memory *memory, const struct mr_multifd_packet *packet, uint32_t i,
			       struct mr_fault *fault)
{
	const uint64_t address = mr_multifd_offset(packet, i);
	uint8_t *at = page_at(memory, packet->block, address);

	if (!at)
		mr_fault_set(fault, MR_MFD_018, "offset 0x%" PRIx64, address);
	return at;
}

/* Receivers take unaligned offsets too (MFD-019); then two pages are no longer known to be zero. */
static void mark(struct mr_memory *memory, uint32_t index, uint64_t address)
{
	const uint32_t page_size = memory->session->target_page_size;
	const uint64_t page = page_number(memory, address);
	const uint64_t last = page_number(memory, address + page_size - 1);
	struct mr_memory_block *block = &memory->blocks[index];

	block->received[page / 64] |= UINT64_C(1) << page % 64;
	block->touched[page / 64] |= UINT64_C(1) << page % 64;
	block->touched[last / 64] |= UINT64_C(1) << last % 64;
}

void mr_memory_mark(struct mr_memory *memory, uint32_t index, uint64_t address)
{
	mark(memory, index, address);
}

static void mark_zero(struct mr_memory *memory, uint32_t index, uint64_t address, uint8_t *at, uint8_t fill)
{
	const uint32_t page_size = memory->session->target_page_size;
	const uint64_t page = page_number(memory, address);
	struct mr_memory_block *block = &memory->blocks[index];

	/* A page that nobody wrote is zero already, and costs no memory as long as nobody does. */
	if (fill || address & (page_size - 1) || mr_bitmap_test(block->touched, page)) {
		memset(at, fill, page_size);
		mark(memory, index, address);
	}
	block->received[page / 64] |= UINT64_C(1) << page % 64;
}

static int apply_page(struct mr_memory *memory, const struct mr_record *record, struct mr_fault *fault)
{
	const struct mr_ram_page *page = &record->page;
	const uint32_t page_size = memory->session->target_page_size;
	uint8_t *at = mr_memory_record_page(memory, page, fault);
	enum mr_rule rule = MR_NO_RULE;
	size_t done;

	if (!at)
		return -1;
	switch (record->kind) {
	case MR_RAM_PAGE:
		populate(memory, &memory->blocks[page->block], page_number(memory, page->address));
		copy_page(at, page->data.data, page_size);
		break;
	case MR_RAM_ZERO:
		mark_zero(memory, page->block, page->address, at, page->fill);
		return 0;
	case MR_RAM_XBZRLE:
		rule = mr_xbzrle_decode(at, page_size, page->data, &done);
		break;
	default:
		rule = mr_page_inflate(page->data, at, page_size, &done);
		break;
	}
	mark(memory, page->block, page->address);
	return rule == MR_NO_RULE ? 0 : mr_fault_set(fault, rule, "page 0x%" PRIx64 " does not decode", page->address);
}

struct mr_memory_block *mr_memory_discard_block(struct mr_memory *memory, const struct mr_command *command,
						struct mr_fault *fault)
{
	const struct mr_block *named = mr_session_find_block(memory->session, command->block);

	if (named && named->index < memory->count && memory->blocks[named->index].data)
		return &memory->blocks[named->index];
	mr_fault_set(fault, MR_CMD_011, "no such block");
	return NULL;
}

int mr_memory_discard_pages(struct mr_memory *memory, const struct mr_memory_block *block,
			    const struct mr_command *command, uint32_t i, struct mr_page_range *pages,
			    struct mr_fault *fault)
{
	const uint32_t page_size = memory->session->target_page_size;
	uint64_t start, length;

	mr_discard_range(command, i, &start, &length);
	*pages = (struct mr_page_range){start / page_size, length / page_size};
	if (start > block->size || length > block->size - start || start % page_size || length % page_size)
		return mr_fault_set(fault, MR_CMD_011, "range 0x%" PRIx64 "+0x%" PRIx64 " is outside the block", start,
				    length);
	memory->discarded += pages->count;
	if (memory->discarded > MR_MEMORY_DISCARDED_MAX)
		return mr_fault_set(fault, MR_STR_027, "discards of more than 2^33 pages together");
	return 0;
}

/*
 * Empties pages. Only what was written is written again: a range may be as large as the block, whose untouched memory
 * is to stay untouched.
 */
static void empty_pages(const struct mr_memory *memory, struct mr_memory_block *block, struct mr_page_range pages)
{
	const uint64_t page_size = memory->session->target_page_size;
	const uint64_t end = pages.first + pages.count;
	uint64_t page = mr_bitmap_next_set(block->touched, end, pages.first);

	while (page < end) {
		const uint64_t behind = mr_bitmap_next_clear(block->touched, end, page);

		memset(block->data + page * page_size, 0, (size_t)((behind - page) * page_size));
		page = mr_bitmap_next_set(block->touched, end, behind);
	}
	page = mr_bitmap_next_set(block->received, end, pages.first);
	while (page < end) {
		const uint64_t behind = mr_bitmap_next_clear(block->received, end, page);

		mr_bitmap_clear(block->received, page, behind - page);
		page = mr_bitmap_next_set(block->received, end, behind);
	}
}

int mr_memory_empty(struct mr_memory *memory, uint32_t index, uint64_t start, uint64_t length, struct mr_fault *fault)
{
	const uint32_t page_size = memory->session->target_page_size;
	struct mr_memory_block *block = mr_memory_block_at(memory, index, fault);

	if (!block)
		return -1;
	if (start > block->size || length > block->size - start || start % page_size || length % page_size)
		return mr_fault_set(fault, MR_CMD_011, "range 0x%" PRIx64 "+0x%" PRIx64 " is outside the block", start,
				    length);
	empty_pages(memory, block, (struct mr_page_range){start / page_size, length / page_size});
	return 0;
}

static int discard(struct mr_memory *memory, const struct mr_command *command, struct mr_fault *fault)
{
	struct mr_memory_block *block = mr_memory_discard_block(memory, command, fault);

	if (!block)
		return -1;
	for (uint32_t i = 0; i < command->range_count; i++) {
		struct mr_page_range pages;

		if (mr_memory_discard_pages(memory, block, command, i, &pages, fault) < 0)
			return -1;
		empty_pages(memory, block, pages);
	}
	return 0;
}

int mr_memory_apply(struct mr_memory *memory, const struct mr_record *record, struct mr_fault *fault)
{
	switch (record->kind) {
	case MR_RAM_BLOCK:
		return map_block(memory, &record->ram_block, fault);
	case MR_RAM_BITMAP:
		return mr_mapped_apply_bitmap(memory, &record->bitmap, fault);
	case MR_RAM_PAGES:
		return mr_mapped_apply_pages(memory, &record->pages, fault);
	case MR_RAM_PAGE:
	case MR_RAM_ZERO:
	case MR_RAM_XBZRLE:
	case MR_RAM_COMPRESSED:
		return apply_page(memory, record, fault);
	case MR_COMMAND:
		if (record->command.number == MR_COMMAND_POSTCOPY_RAM_DISCARD)
			return discard(memory, &record->command, fault);
		return 0;
	default:
		return 0;
	}
}

/* ---- Packets ---- */

int mr_packet_codec_prepare(struct mr_packet_codec *codec, const struct mr_session *session,
			    const struct mr_multifd_packet *packet, struct mr_fault *fault)
{
	const struct mr_multifd_method *method =
		mr_multifd_method_by_flag(packet->flags & (uint32_t)MR_MULTIFD_METHOD_MASK);

	if (!method)
		return mr_fault_set(fault, MR_MFD_021, "flags 0x%" PRIx32 " name no method", packet->flags);
	if (codec->method == method)
		return 0;
	if (codec->method)
		return mr_fault_set(fault, MR_MFD_021, "method %s after %s", method->name, codec->method->name);
	codec->method = method;
	codec->state = method->recv_setup(session->target_page_size);
	return codec->state ? 0 : mr_fault_set(fault, MR_STR_027, "no memory for a %s stream", method->name);
}

void mr_packet_codec_clear(struct mr_packet_codec *codec)
{
	if (codec->method)
		codec->method->recv_cleanup(codec->state);
	*codec = (struct mr_packet_codec){NULL, NULL};
}

static int apply_zero_entries(struct mr_memory *memory, const struct mr_multifd_packet *packet, struct mr_fault *fault)
{
	for (uint32_t i = 0; i < packet->zero_pages; i++) {
		const uint32_t entry = packet->normal_pages + i;
		uint8_t *at = mr_memory_packet_page(memory, packet, entry, fault);

		if (!at)
			return -1;
		mark_zero(memory, packet->block, mr_multifd_offset(packet, entry), at, 0);
	}
	return 0;
}

/* The pages of a packet mostly follow each other: they are marked run by run. */
static void mark_packet(struct mr_memory *memory, uint32_t index, const uint64_t *addresses, uint32_t count)
{
	const uint32_t page_size = memory->session->target_page_size;
	struct mr_memory_block *block = &memory->blocks[index];

	for (uint32_t i = 0, run; i < count; i += run) {
		const uint64_t page = page_number(memory, addresses[i]);
		uint64_t behind;

		for (run = 1; i + run < count && addresses[i + run] == addresses[i] + (uint64_t)run * page_size;)
			run++;
		behind = page_number(memory, addresses[i] + (uint64_t)run * page_size + page_size - 1);
		mr_bitmap_set(block->received, page, run);
		mr_bitmap_set(block->touched, page, behind - page);
	}
}

int mr_memory_apply_packet(struct mr_memory *memory, struct mr_packet_codec *codec,
			   const struct mr_multifd_packet *packet, struct mr_fault *fault)
{
	uint64_t addresses[MR_PACKET_PAGES_MAX];
	uint8_t *pages[MR_PACKET_PAGES_MAX];
	enum mr_rule rule;

	if (packet->block == UINT32_MAX)
		return 0;
	if (apply_zero_entries(memory, packet, fault) < 0)
		return -1;
	if (packet->normal_pages == 0)
		return 0;
	for (uint32_t i = 0; i < packet->normal_pages; i++) {
		addresses[i] = mr_multifd_offset(packet, i);
		pages[i] = mr_memory_packet_page(memory, packet, i, fault);
		if (!pages[i])
			return -1;
		populate(memory, &memory->blocks[packet->block], page_number(memory, addresses[i]));
	}
	if (mr_packet_codec_prepare(codec, memory->session, packet, fault) < 0)
		return -1;
	rule = codec->method->recv(codec->state, packet->payload, pages, packet->normal_pages, fault->text);
	if (rule != MR_NO_RULE) {
		fault->rule = rule;
		return -1;
	}
	mark_packet(memory, packet->block, addresses, packet->normal_pages);
	return 0;
}
