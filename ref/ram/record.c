/* record.c: the records of a `ram` section and of the preempt channel (rules RAM). */
#include "ram/mapped.h"
#include "wire/wire.h"

#include <inttypes.h>

enum { FLAG_PAGE_BITS = MR_RAM_FLAG_ZERO | MR_RAM_FLAG_PAGE | MR_RAM_FLAG_XBZRLE | MR_RAM_FLAG_COMPRESSED };
enum { XBZRLE_ENCODING = 1 };

/* ---- Block list ---- */

/*
 * Whether a page size stands behind a block's length. Nothing on the wire says so directly, but what else could stand
 * here begins otherwise: the next block's name with its length, which is not 0, or, behind the last block, a record
 * whose flags lie below the page size (RAM-006). The caller made sure that enough bytes are here.
 */
static bool page_size_follows(const struct mr_session *session, const uint8_t *at, bool last)
{
	uint64_t word;

	if (at[0] != 0)
		return false;
	if (!last)
		return true;
	word = mr_get_be64(at);
	return mr_is_power_of_two(word) && word >= session->target_page_size;
}

static enum mr_result read_page_size(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_ram_block *block,
				     bool last)
{
	struct mr_cursor ahead = *cursor;
	const uint8_t *next = mr_take(&ahead, last ? 8 : 1);

	if (!next) {
		*cursor = ahead;
		return MR_MORE;
	}
	if (page_size_follows(decoder->session, next, last)) {
		block->has_page_size = true;
		block->page_size = mr_read_be64(cursor);
	}
	return cursor->is_short ? MR_MORE : MR_RECORD;
}

static enum mr_result read_block_options(struct mr_decoder *decoder, struct mr_cursor *cursor,
					 struct mr_ram_block *block, bool last)
{
	const struct mr_context *context = &decoder->session->context;
	const bool address = (context->capabilities & MR_CAPABILITY_IGNORE_SHARED) != 0;

	if (address) {
		block->has_address = true;
		block->address = mr_read_be64(cursor);
		block->has_ignored = mr_profile_does(&context->profile, MR_SWITCH_BLOCK_IGNORED_BYTE);
		if (block->has_ignored)
			block->ignored = mr_read_u8(cursor);
	}
	if (cursor->is_short || mr_mapped_recognise(decoder, cursor, &block->has_mapped) != MR_RECORD)
		return MR_MORE;
	if (block->has_mapped)
		return mr_mapped_header(decoder, cursor, block);
	return address ? MR_RECORD : read_page_size(decoder, cursor, block, last);
}

static void check_block(struct mr_decoder *decoder, const struct mr_ram_block *entry, uint64_t page_size_offset)
{
	const struct mr_session *session = decoder->session;
	const struct mr_block *block = &session->blocks[entry->block];
	const uint64_t page = entry->has_page_size ? entry->page_size : session->target_page_size;

	if (block->declared)
		mr_note(decoder, MR_RAM_004, decoder->offset, mr_text("a new block"), mr_text_name(entry->name));
	if (memchr(entry->name.data, 0, entry->name.length))
		mr_note(decoder, MR_STR_024, decoder->offset + 1, mr_text("a name without NUL"),
			mr_text_name(entry->name));
	if (entry->has_page_size &&
	    (!mr_is_power_of_two(entry->page_size) || entry->page_size <= session->target_page_size ||
	     !(session->page_size_summary & entry->page_size)))
		mr_note(decoder, MR_RAM_006, page_size_offset,
			mr_text("a power of two above 0x%" PRIx32 ", in 0x%" PRIx64, session->target_page_size,
				session->page_size_summary),
			mr_text("0x%" PRIx64, entry->page_size));
	if (entry->used_length == 0 ||
	    entry->used_length % (mr_is_power_of_two(page) ? page : session->target_page_size))
		mr_note(decoder, MR_RAM_005, decoder->offset + 1 + entry->name.length,
			mr_text("a multiple of 0x%" PRIx64 " above 0", page),
			mr_text("0x%" PRIx64, entry->used_length));
}

static void declare_block(struct mr_session *session, const struct mr_ram_block *entry)
{
	struct mr_block *block = &session->blocks[entry->block];

	block->declared = true;
	block->used_length = entry->used_length;
	block->page_size = mr_is_power_of_two(entry->page_size) ? entry->page_size : 0;
	block->address = entry->address;
}

enum mr_result mr_ram_block_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	struct mr_ram_block *entry = &record->ram_block;
	uint64_t page_size_offset;
	enum mr_result result;

	*entry = (struct mr_ram_block){.name = mr_read_counted(cursor)};
	if (!cursor->is_short && entry->name.length == 0)
		return mr_fail(decoder, MR_RAM_003, decoder->offset, mr_text("a block name"), mr_text("an empty name"));
	entry->used_length = mr_read_be64(cursor);
	if (cursor->is_short)
		return MR_MORE;
	if (entry->used_length > decoder->ram_left)
		return mr_fail(decoder, MR_RAM_002, decoder->offset + 1 + entry->name.length,
			       mr_text("at most 0x%" PRIx64 " more bytes", decoder->ram_left),
			       mr_text("0x%" PRIx64, entry->used_length));
	page_size_offset = mr_here(decoder, cursor);
	result = read_block_options(decoder, cursor, entry, entry->used_length == decoder->ram_left);
	if (result != MR_RECORD)
		return result;
	entry->block = mr_session_name_block(decoder->session, entry->name);
	if (entry->block == UINT32_MAX || ++decoder->ram_block_list > MR_BLOCKS_MAX)
		return mr_fail(decoder, MR_STR_027, decoder->offset, mr_text("at most %d blocks", MR_BLOCKS_MAX),
			       mr_text("one more"));
	check_block(decoder, entry, page_size_offset);
	declare_block(decoder->session, entry);
	decoder->ram_left -= entry->used_length;
	if (entry->has_mapped)
		mr_mapped_enter(decoder, entry);
	record->kind = MR_RAM_BLOCK;
	return MR_RECORD;
}

/* ---- Pages ---- */

static enum mr_result read_block_name(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_ram_page *page)
{
	const struct mr_session *session = decoder->session;
	const uint64_t offset = mr_here(decoder, cursor);
	const struct mr_block *known;

	page->name = mr_read_counted(cursor);
	if (cursor->is_short)
		return MR_MORE;
	if (page->name.length == 0)
		return mr_fail(decoder, MR_RAM_003, offset, mr_text("a block name"), mr_text("an empty name"));
	known = mr_session_find_block(session, page->name);
	if (!(known && known->declared) && mr_session_has_block_list(session))
		mr_note(decoder, MR_RAM_009, offset, mr_text("a listed block"), mr_text_name(page->name));
	page->block = known ? known->index : UINT32_MAX;
	return MR_RECORD;
}

/* The first page of a block that no list named, now that the record is complete. */
static enum mr_result add_block(struct mr_decoder *decoder, struct mr_ram_page *page)
{
	page->block = mr_session_name_block(decoder->session, page->name);
	if (page->block == UINT32_MAX)
		return mr_fail(decoder, MR_STR_027, decoder->offset, mr_text("at most %d blocks", MR_BLOCKS_MAX),
			       mr_text("one more"));
	return MR_RECORD;
}

static enum mr_result read_xbzrle(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_ram_page *page)
{
	const uint32_t page_size = decoder->session->target_page_size;
	const uint64_t offset = mr_here(decoder, cursor);
	enum mr_rule rule;
	uint16_t length;
	size_t at;

	page->encoding = mr_read_u8(cursor);
	length = mr_read_be16(cursor);
	if (cursor->is_short)
		return MR_MORE;
	if (page->encoding != XBZRLE_ENCODING)
		return mr_fail(decoder, MR_RAM_012, offset, mr_text("encoding 1"), mr_text("%u", page->encoding));
	if (length > page_size)
		return mr_fail(decoder, MR_RAM_012, offset + 1, mr_text("at most %" PRIu32 " bytes", page_size),
			       mr_text("%" PRIu16, length));
	page->data = mr_read_bytes(cursor, length);
	if (cursor->is_short)
		return MR_MORE;
	if (length == 0)
		mr_note(decoder, MR_RAM_013, offset + 1, mr_text("a length above 0"), mr_text("0"));
	rule = mr_xbzrle_check(page_size, page->data, &at);
	if (rule != MR_NO_RULE)
		mr_note(decoder, rule, offset + 3 + at, mr_text("runs that decode to a page"),
			mr_text("a breach at byte %zu of %" PRIu16, at, length));
	return MR_RECORD;
}

static enum mr_result read_compressed(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_ram_page *page)
{
	const size_t bound = mr_page_compress_bound(decoder->session->target_page_size);
	const struct mr_profile *profile = &decoder->session->context.profile;
	const uint64_t offset = mr_here(decoder, cursor);
	const uint32_t length = mr_read_be32(cursor);

	if (length > bound)
		return mr_fail(decoder, MR_RAM_015, offset, mr_text("at most %zu bytes", bound),
			       mr_text("%" PRIu32, length));
	page->data = mr_read_bytes(cursor, length);
	if (!mr_profile_may(profile, MR_SWITCH_COMPRESSED_PAGES))
		mr_note(decoder, MR_RAM_017, decoder->offset,
			mr_text("no compressed page in QEMU %s", profile->release), mr_text("flag 0x100"));
	return cursor->is_short ? MR_MORE : MR_RECORD;
}

static enum mr_result read_zero(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_ram_page *page)
{
	const uint64_t offset = mr_here(decoder, cursor);

	page->fill = mr_read_u8(cursor);
	if (page->fill)
		mr_note_as(decoder,
			   mr_profile_may(&decoder->session->context.profile, MR_SWITCH_ZERO_FILL_ANY) ? MR_ACCEPTABLE
												       : MR_RUNTIME,
			   MR_RAM_011, offset, mr_text("00"), mr_text("%02x", page->fill));
	return cursor->is_short ? MR_MORE : MR_RECORD;
}

static enum mr_result read_page_payload(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	struct mr_ram_page *page = &record->page;

	switch (page->flags & FLAG_PAGE_BITS) {
	case MR_RAM_FLAG_PAGE:
		record->kind = MR_RAM_PAGE;
		page->data = mr_read_bytes(cursor, decoder->session->target_page_size);
		return cursor->is_short ? MR_MORE : MR_RECORD;
	case MR_RAM_FLAG_ZERO:
		record->kind = MR_RAM_ZERO;
		return read_zero(decoder, cursor, page);
	case MR_RAM_FLAG_XBZRLE:
		record->kind = MR_RAM_XBZRLE;
		return read_xbzrle(decoder, cursor, page);
	default:
		record->kind = MR_RAM_COMPRESSED;
		return read_compressed(decoder, cursor, page);
	}
}

static void check_address(struct mr_decoder *decoder, const struct mr_ram_page *page)
{
	const struct mr_block *block = &decoder->session->blocks[page->block];

	if (block->declared && page->address >= block->used_length)
		mr_note(decoder, MR_RAM_010, decoder->offset, mr_text("an offset below 0x%" PRIx64, block->used_length),
			mr_text("0x%" PRIx64 " in %.40s", page->address, block->name));
}

static enum mr_result decode_page(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	struct mr_ram_page *page = &record->page;
	enum mr_result result;

	if (page->flags & MR_RAM_FLAG_CONTINUE) {
		if (decoder->last_block == UINT32_MAX)
			return mr_fail(decoder, MR_RAM_008, decoder->offset, mr_text("a block name before CONTINUE"),
				       mr_text("none on this channel"));
		page->block = decoder->last_block;
	} else {
		result = read_block_name(decoder, cursor, page);
		if (result != MR_RECORD)
			return result;
	}
	result = read_page_payload(decoder, cursor, record);
	if (result == MR_RECORD && page->block == UINT32_MAX)
		result = add_block(decoder, page);
	if (result != MR_RECORD)
		return result;
	check_address(decoder, page);
	decoder->last_block = page->block;
	return MR_RECORD;
}

/* ---- Records without a page ---- */

static enum mr_result decode_size(struct mr_decoder *decoder, struct mr_record *record, uint64_t word)
{
	const uint32_t mask = decoder->session->target_page_size - 1;

	record->kind = MR_RAM_SIZE;
	record->ram_size = (struct mr_ram_size){
		.total = word & ~(uint64_t)mask,
		.other_flags = (uint32_t)word & mask & ~(uint32_t)MR_RAM_FLAG_SIZE,
	};
	if (record->ram_size.other_flags)
		mr_note(decoder, MR_RAM_021, decoder->offset, mr_text("flag 0x004 alone"),
			mr_text("0x%03" PRIx64, word & mask));
	decoder->ram_left = record->ram_size.total;
	decoder->ram_block_list = 0;
	return MR_RECORD;
}

static void check_mark(struct mr_decoder *decoder, const struct mr_record *record, uint32_t flag)
{
	const struct mr_context *context = &decoder->session->context;

	if (record->page.address || record->page.flags != flag)
		mr_note(decoder, MR_RAM_021, decoder->offset, mr_text("0x%03" PRIx32 " alone", flag),
			mr_text("0x%" PRIx64, record->page.address | record->page.flags));
	if (flag == MR_RAM_FLAG_FLUSH && !mr_profile_may(&context->profile, MR_SWITCH_FLUSH_RECORD))
		mr_note(decoder, MR_RAM_019, decoder->offset, mr_text("no FLUSH in QEMU %s", context->profile.release),
			mr_text("flag 0x200"));
	if (flag == MR_RAM_FLAG_HOOK && !(context->capabilities & MR_CAPABILITY_RDMA))
		mr_note(decoder, MR_RAM_018, decoder->offset, mr_text("no HOOK without RDMA"), mr_text("flag 0x080"));
}

static enum mr_result decode_mark(struct mr_decoder *decoder, struct mr_record *record, uint32_t flag)
{
	record->kind = flag == MR_RAM_FLAG_EOS ? MR_RAM_EOS : flag == MR_RAM_FLAG_HOOK ? MR_RAM_HOOK : MR_RAM_FLUSH;
	check_mark(decoder, record, flag);
	if (flag == MR_RAM_FLAG_EOS && decoder->role == MR_ROLE_PREEMPT)
		decoder->ended = true;
	return MR_RECORD;
}

enum mr_result mr_ram_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	const uint32_t mask = decoder->session->target_page_size - 1;
	const uint64_t word = mr_read_be64(cursor);
	const uint32_t flags = (uint32_t)word & mask;
	const uint32_t kind = flags & ~(uint32_t)MR_RAM_FLAG_CONTINUE;

	if (cursor->is_short)
		return MR_MORE;
	if (kind == MR_RAM_FLAG_SIZE && decoder->role != MR_ROLE_PREEMPT)
		return decode_size(decoder, record, word);
	record->page.block = UINT32_MAX;
	record->page.flags = flags;
	record->page.address = word & ~(uint64_t)mask;
	record->page.name = (struct mr_bytes){NULL, 0};
	record->page.data = (struct mr_bytes){NULL, 0};
	record->page.fill = 0;
	record->page.encoding = 0;
	switch (kind) {
	case MR_RAM_FLAG_PAGE:
	case MR_RAM_FLAG_ZERO:
	case MR_RAM_FLAG_XBZRLE:
	case MR_RAM_FLAG_COMPRESSED:
		return decode_page(decoder, cursor, record);
	case MR_RAM_FLAG_EOS:
	case MR_RAM_FLAG_HOOK:
	case MR_RAM_FLAG_FLUSH:
		return decode_mark(decoder, record, kind);
	default:
		return mr_fail(decoder, MR_RAM_001, decoder->offset, mr_text("one of the flags of RAM-001"),
			       mr_text("0x%03" PRIx32, flags));
	}
}

/* ---- Fields ---- */

static void block_fields(const struct mr_ram_block *block, struct mr_emitter *emitter)
{
	mr_emit_counted(emitter, "block", block->name);
	mr_emit_hex(emitter, "used_length", 8, block->used_length);
	if (block->has_page_size)
		mr_emit_hex(emitter, "page_size", 8, block->page_size);
	if (block->has_address)
		mr_emit_hex(emitter, "guest_address", 8, block->address);
	if (block->has_ignored)
		mr_emit_number(emitter, "ignored", 1, block->ignored);
	if (block->has_mapped)
		mr_mapped_header_fields(block, emitter);
}

static void page_fields(const struct mr_record *record, struct mr_emitter *emitter)
{
	const struct mr_ram_page *page = &record->page;

	mr_emit_derived(emitter, "word", 8, page->address | page->flags);
	mr_emit_hex(emitter, "address", 0, page->address);
	mr_emit_hex(emitter, "flags", 0, page->flags);
	if (page->name.data)
		mr_emit_counted(emitter, "block", page->name);
	switch (record->kind) {
	case MR_RAM_ZERO:
		mr_emit_number(emitter, "fill", 1, page->fill);
		break;
	case MR_RAM_PAGE:
		mr_emit_bytes(emitter, "page", page->data);
		break;
	case MR_RAM_XBZRLE:
		mr_emit_number(emitter, "encoding", 1, page->encoding);
		mr_emit_number(emitter, "data_length", 2, page->data.length);
		mr_emit_bytes(emitter, "data", page->data);
		break;
	case MR_RAM_COMPRESSED:
		mr_emit_number(emitter, "data_length", 4, page->data.length);
		mr_emit_bytes(emitter, "data", page->data);
		break;
	default:
		break;
	}
}

void mr_ram_fields(const struct mr_record *record, struct mr_emitter *emitter)
{
	if (record->kind == MR_RAM_SIZE) {
		mr_emit_derived(emitter, "word", 8,
				record->ram_size.total | record->ram_size.other_flags | MR_RAM_FLAG_SIZE);
		mr_emit_hex(emitter, "total", 0, record->ram_size.total);
	} else if (record->kind == MR_RAM_BLOCK) {
		block_fields(&record->ram_block, emitter);
	} else if (record->kind == MR_RAM_BITMAP || record->kind == MR_RAM_PAGES) {
		mr_mapped_fields(record, emitter);
	} else {
		page_fields(record, emitter);
	}
}
