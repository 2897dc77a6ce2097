/* mapped.c: mapped-ram files: headers in the block list, bitmaps and pages at fixed places behind them (rules MAP). */
#include "ram/mapped.h"

#include <inttypes.h>

enum {
	HEADER_VERSION = 1,
	HEADER_LENGTH = 28,
	ALIGNMENT = 1 << 20, /* of the pages in the file, as every release writes them */
	WORD_BITS = 64,
};

uint64_t mr_mapped_bitmap_size(uint64_t pages)
{
	return (pages / WORD_BITS + (pages % WORD_BITS != 0)) * (WORD_BITS / 8);
}

/* ---- Headers ---- */

/*
 * Nothing else that may stand behind a block's length begins with the number 1 in four bytes, which `at` is known to
 * do, and holds, twelve bytes on, its own place in the file; or, with ignore-shared, twice 0.
 */
static bool looks_like_header(const struct mr_decoder *decoder, const struct mr_cursor *cursor, const uint8_t *at)
{
	const uint64_t bitmap = mr_get_be64(at + 12), pages = mr_get_be64(at + 20);
	const bool ignore_shared = decoder->session->context.capabilities & MR_CAPABILITY_IGNORE_SHARED;

	if (bitmap == mr_here(decoder, cursor) + HEADER_LENGTH)
		return true;
	return ignore_shared && bitmap == 0 && pages == 0;
}

enum mr_result mr_mapped_recognise(struct mr_decoder *decoder, struct mr_cursor *cursor, bool *mapped)
{
	const struct mr_context *context = &decoder->session->context;
	struct mr_cursor ahead = *cursor;
	const uint8_t *at = mr_take(&ahead, 4);

	*mapped = context->capabilities & MR_CAPABILITY_MAPPED_RAM;
	if (*mapped || context->capabilities_known || (at && mr_get_be32(at) != HEADER_VERSION))
		return MR_RECORD;
	at = at ? mr_take(&ahead, HEADER_LENGTH - 4) : NULL;
	if (at)
		*mapped = looks_like_header(decoder, cursor, at - 4);
	if (at || cursor->at_end)
		return MR_RECORD;
	*cursor = ahead;
	return MR_MORE;
}

static enum mr_result check_header(struct mr_decoder *decoder, const struct mr_ram_block *block, uint64_t offset)
{
	const uint32_t page_size = decoder->session->target_page_size;

	if (block->mapped_version > HEADER_VERSION)
		return mr_fail(decoder, MR_MAP_001, offset, mr_text("1"), mr_text("%" PRIu32, block->mapped_version));
	if (block->mapped_version != HEADER_VERSION)
		mr_note_as(decoder, MR_ACCEPTABLE, MR_MAP_001, offset, mr_text("1"),
			   mr_text("%" PRIu32, block->mapped_version));
	if (block->mapped_page_size != page_size)
		return mr_fail(decoder, MR_MAP_002, offset + 4, mr_text("0x%" PRIx32, page_size),
			       mr_text("0x%" PRIx64, block->mapped_page_size));
	return MR_RECORD;
}

static enum mr_result check_places(struct mr_decoder *decoder, const struct mr_ram_block *block, uint64_t offset)
{
	const uint64_t end = offset + HEADER_LENGTH;
	const uint64_t size = mr_mapped_bitmap_size(block->used_length / block->mapped_page_size);
	const uint64_t limit = INT64_MAX; /* of a place in a file */
	uint64_t next;

	if (block->bitmap_offset < end || block->bitmap_offset > limit)
		return mr_fail(decoder, MR_MAP_003, offset + 12, mr_text("a bitmap at 0x%" PRIx64 " or behind", end),
			       mr_text("0x%" PRIx64, block->bitmap_offset));
	if (block->pages_offset > limit || block->pages_offset < block->bitmap_offset ||
	    block->pages_offset - block->bitmap_offset < size)
		return mr_fail(decoder, MR_MAP_003, offset + 20,
			       mr_text("pages behind a bitmap of 0x%" PRIx64 " bytes at 0x%" PRIx64, size,
				       block->bitmap_offset),
			       mr_text("0x%" PRIx64, block->pages_offset));
	if (block->used_length > limit - block->pages_offset)
		return mr_fail(decoder, MR_MAP_003, offset + 20, mr_text("pages that end below 0x%" PRIx64, limit),
			       mr_text("0x%" PRIx64 " bytes at 0x%" PRIx64, block->used_length, block->pages_offset));
	if (block->pages_offset % block->mapped_page_size)
		mr_note(decoder, MR_MAP_004, offset + 20, mr_text("a multiple of 0x%" PRIx64, block->mapped_page_size),
			mr_text("0x%" PRIx64, block->pages_offset));
	next = (block->bitmap_offset + size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	if (block->bitmap_offset != end)
		mr_note(decoder, MR_MAP_005, offset + 12, mr_text("a bitmap at 0x%" PRIx64, end),
			mr_text("0x%" PRIx64, block->bitmap_offset));
	else if (block->pages_offset != next)
		mr_note(decoder, MR_MAP_005, offset + 20, mr_text("pages at 0x%" PRIx64, next),
			mr_text("0x%" PRIx64, block->pages_offset));
	return MR_RECORD;
}

enum mr_result mr_mapped_header(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_ram_block *block)
{
	const uint64_t offset = mr_here(decoder, cursor);
	enum mr_result result;

	block->has_mapped = true;
	block->mapped_version = mr_read_be32(cursor);
	block->mapped_page_size = mr_read_be64(cursor);
	block->bitmap_offset = mr_read_be64(cursor);
	block->pages_offset = mr_read_be64(cursor);
	if (cursor->is_short)
		return MR_MORE;
	result = check_header(decoder, block, offset);
	if (result != MR_RECORD)
		return result;
	block->mapped_ignored = block->bitmap_offset == 0 && block->pages_offset == 0;
	if (!block->mapped_ignored)
		return check_places(decoder, block, offset);
	if (!block->has_address)
		mr_note(decoder, MR_MAP_007, offset + 12, mr_text("places other than 0 without ignore-shared"),
			mr_text("0 twice"));
	return MR_RECORD;
}

void mr_mapped_enter(struct mr_decoder *decoder, const struct mr_ram_block *block)
{
	decoder->session->context.capabilities |= MR_CAPABILITY_MAPPED_RAM;
	if (block->mapped_ignored)
		return;
	decoder->hole_block = block->block;
	decoder->hole_bitmap = block->bitmap_offset;
	decoder->hole_bitmap_end =
		block->bitmap_offset + mr_mapped_bitmap_size(block->used_length / block->mapped_page_size);
	decoder->hole_pages = block->pages_offset;
	decoder->hole_end = block->pages_offset + block->used_length;
}

/* ---- Bitmaps and pages ---- */

enum mr_result mr_mapped_cut(struct mr_decoder *decoder, uint64_t end)
{
	if (end < decoder->hole_pages)
		return mr_fail(decoder, MR_MAP_006, end,
			       mr_text("a bitmap and what is behind it up to 0x%" PRIx64, decoder->hole_pages),
			       mr_text("the end of the file"));
	return mr_fail(decoder, MR_MAP_006, end, mr_text("pages up to 0x%" PRIx64, decoder->hole_end),
		       mr_text("the end of the file"));
}

/* The next bytes up to `end`, at most a piece; what is missing at the end of the file breaks MAP-006. */
static enum mr_result read_piece(struct mr_decoder *decoder, struct mr_cursor *cursor, uint64_t end,
				 struct mr_bytes *piece)
{
	const uint64_t here = mr_here(decoder, cursor);
	const uint64_t left = end - here;

	*piece = mr_read_bytes(cursor, left < MR_MAPPED_PIECE ? (size_t)left : MR_MAPPED_PIECE);
	if (!cursor->is_short)
		return MR_RECORD;
	if (!cursor->at_end)
		return MR_MORE;
	cursor->is_short = false;
	decoder->pending_count = 0;
	return mr_mapped_cut(decoder, here + mr_cursor_left(cursor));
}

/* Bits behind the last page, which only the bitmap's last word has. */
static void check_padding(struct mr_decoder *decoder, const struct mr_ram_bitmap *bitmap, uint64_t offset)
{
	const uint64_t pages =
		decoder->session->blocks[decoder->hole_block].used_length / decoder->session->target_page_size;

	if (!bitmap->bits.data)
		return;
	for (uint64_t page = pages; page < bitmap->first_page + bitmap->bits.length * 8; page++) {
		const uint64_t bit = page - bitmap->first_page;

		if (bitmap->bits.data[bit / 8] >> bit % 8 & 1) {
			mr_note(decoder, MR_MAP_008, offset + bit / 8, mr_text("clear bits from %" PRIu64 " on", pages),
				mr_text("bit %" PRIu64 " set", page));
			return;
		}
	}
}

static struct mr_bytes hole_name(const struct mr_decoder *decoder)
{
	const struct mr_block *block = &decoder->session->blocks[decoder->hole_block];

	return (struct mr_bytes){(const uint8_t *)block->name, block->name_length};
}

static enum mr_result decode_bitmap(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	const uint64_t here = decoder->offset;
	struct mr_ram_bitmap *bitmap = &record->bitmap;
	enum mr_result result = MR_RECORD;

	*bitmap = (struct mr_ram_bitmap){.block = decoder->hole_block, .name = hole_name(decoder)};
	record->kind = MR_RAM_BITMAP;
	if (here < decoder->hole_bitmap)
		return read_piece(decoder, cursor, decoder->hole_bitmap, &bitmap->padding);
	if (here < decoder->hole_bitmap_end) {
		bitmap->first_page = (here - decoder->hole_bitmap) * 8;
		result = read_piece(decoder, cursor, decoder->hole_bitmap_end, &bitmap->bits);
	}
	if (result != MR_RECORD)
		return result;
	check_padding(decoder, bitmap, here);
	if (mr_here(decoder, cursor) < decoder->hole_bitmap_end || mr_here(decoder, cursor) == decoder->hole_pages)
		return MR_RECORD;
	return read_piece(decoder, cursor, decoder->hole_pages, &bitmap->padding);
}

static enum mr_result decode_pages(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	record->kind = MR_RAM_PAGES;
	record->pages = (struct mr_ram_pages){
		.block = decoder->hole_block,
		.name = hole_name(decoder),
		.address = decoder->offset - decoder->hole_pages,
	};
	return read_piece(decoder, cursor, decoder->hole_end, &record->pages.data);
}

enum mr_result mr_mapped_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	if (decoder->offset < decoder->hole_pages)
		return decode_bitmap(decoder, cursor, record);
	return decode_pages(decoder, cursor, record);
}

void mr_mapped_check(struct mr_decoder *decoder, const struct mr_record *record)
{
	if (!(decoder->session->context.capabilities & MR_CAPABILITY_MAPPED_RAM))
		return;
	if (record->kind != MR_RAM_SIZE && record->kind != MR_RAM_EOS)
		mr_note(decoder, MR_MAP_009, decoder->offset, mr_text("ram-size or ram-eos in a mapped-ram file"),
			mr_text("%s", mr_kind_name(record->kind)));
}

/* ---- Fields ---- */

static uint64_t count_bits(struct mr_bytes bits)
{
	uint64_t count = 0;

	for (size_t i = 0; i < bits.length; i++)
		for (unsigned byte = bits.data[i]; byte; byte &= byte - 1)
			count++;
	return count;
}

void mr_mapped_header_fields(const struct mr_ram_block *block, struct mr_emitter *emitter)
{
	mr_emit_derived(emitter, "mapped_version", 4, block->mapped_version);
	mr_emit_hex(emitter, "mapped_page_size", 8, block->mapped_page_size);
	mr_emit_hex(emitter, "bitmap_offset", 8, block->bitmap_offset);
	mr_emit_hex(emitter, "pages_offset", 8, block->pages_offset);
}

void mr_mapped_fields(const struct mr_record *record, struct mr_emitter *emitter)
{
	const struct mr_ram_bitmap *bitmap = &record->bitmap;

	if (record->kind == MR_RAM_PAGES) {
		mr_emit_note(emitter, "block", (const char *)record->pages.name.data);
		mr_emit_hex(emitter, "address", 0, record->pages.address);
		mr_emit_bytes(emitter, "pages", record->pages.data);
		return;
	}
	mr_emit_note(emitter, "block", (const char *)bitmap->name.data);
	if (bitmap->bits.length) {
		mr_emit_hex(emitter, "first_page", 0, bitmap->first_page);
		mr_emit_number(emitter, "set", 0, count_bits(bitmap->bits));
		mr_emit_bytes(emitter, "bitmap", bitmap->bits);
	}
	if (bitmap->padding.length)
		mr_emit_bytes(emitter, "padding", bitmap->padding);
}
