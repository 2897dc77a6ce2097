/* mapped.c: guest memory from the bitmaps and pages of a mapped-ram file. */
#include "sim/record/mapped.h"

#include <string.h>

enum { WORD_BITS = 64, WORD_BYTES = 8 };

static uint64_t word_at(const uint8_t *bytes)
{
	uint64_t word = 0;

	for (unsigned i = 0; i < WORD_BYTES; i++)
		word |= (uint64_t)bytes[i] << 8 * i;
	return word;
}

/* Pages that are zero in the file, yet were written by an earlier listing of the same block. */
static void clear_touched(struct mr_memory_block *block, uint64_t page, uint64_t zero, uint32_t page_size)
{
	for (zero &= block->touched[page / WORD_BITS]; zero; zero &= zero - 1) {
		const uint64_t start = (page + (unsigned)__builtin_ctzll(zero)) * page_size;
		const uint64_t left = block->size - start;

		memset(block->data + start, 0, left < page_size ? (size_t)left : page_size);
	}
}

int mr_mapped_apply_bitmap(struct mr_memory *memory, const struct mr_ram_bitmap *bitmap, struct mr_fault *fault)
{
	struct mr_memory_block *block;

	if (bitmap->bits.length == 0)
		return 0;
	block = mr_memory_block_at(memory, bitmap->block, fault);
	if (!block)
		return -1;
	for (size_t at = 0; at + WORD_BYTES <= bitmap->bits.length; at += WORD_BYTES) {
		const uint64_t page = bitmap->first_page + at * 8;
		uint64_t zero = ~word_at(bitmap->bits.data + at);

		if (page >= block->pages)
			return 0;
		if (block->pages - page < WORD_BITS)
			zero &= (UINT64_C(1) << (block->pages - page)) - 1;
		clear_touched(block, page, zero, memory->session->target_page_size);
		block->received[page / WORD_BITS] = zero;
	}
	return 0;
}

int mr_mapped_apply_pages(struct mr_memory *memory, const struct mr_ram_pages *pages, struct mr_fault *fault)
{
	const uint32_t page_size = memory->session->target_page_size;
	struct mr_memory_block *block = mr_memory_block_at(memory, pages->block, fault);

	if (!block)
		return -1;
	for (size_t at = 0; at < pages->data.length; at += page_size) {
		const uint64_t start = pages->address + at, page = start / page_size;
		const size_t left = pages->data.length - at;

		if (start >= block->size || mr_bitmap_test(block->received, page))
			continue;
		memcpy(block->data + start, pages->data.data + at, left < page_size ? left : page_size);
		mr_bitmap_set(block->received, page, 1);
		mr_bitmap_set(block->touched, page, 1);
	}
	return 0;
}
