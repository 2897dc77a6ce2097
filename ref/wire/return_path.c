/* return_path.c: the messages from the destination to the source. */
#include "wire.h"

#include <inttypes.h>

enum {
	REQUEST_SIZE = 12, /* start and length of a page request */
	SWITCHOVER_ACK_SIZE = 0,
	VALUE_SIZE = 4,         /* SHUT, PONG, RESUME_ACK */
	BITMAP_LIMIT = 1 << 30, /* bytes, if no block list tells the size: 32 TiB of 4 KiB pages */
};

static const uint64_t bitmap_end_mark = UINT64_C(0x0123456789abcdef);

static const char *const return_names[MR_RETURN_COUNT] = {
	[MR_RETURN_SHUT] = "SHUT",
	[MR_RETURN_PONG] = "PONG",
	[MR_RETURN_REQ_PAGES_ID] = "REQ_PAGES_ID",
	[MR_RETURN_REQ_PAGES] = "REQ_PAGES",
	[MR_RETURN_RECV_BITMAP] = "RECV_BITMAP",
	[MR_RETURN_RESUME_ACK] = "RESUME_ACK",
	[MR_RETURN_SWITCHOVER_ACK] = "SWITCHOVER_ACK",
};

const char *mr_return_name(unsigned type)
{
	return type < MR_RETURN_COUNT ? return_names[type] : NULL;
}

/* ---- Decoding ---- */

/* Length of the messages that have one length only; UINT16_MAX for the others. */
static uint16_t fixed_length(unsigned type)
{
	switch (type) {
	case MR_RETURN_SHUT:
	case MR_RETURN_PONG:
	case MR_RETURN_RESUME_ACK:
		return VALUE_SIZE;
	case MR_RETURN_REQ_PAGES:
		return REQUEST_SIZE;
	case MR_RETURN_SWITCHOVER_ACK:
		return SWITCHOVER_ACK_SIZE;
	default:
		return UINT16_MAX;
	}
}

static enum mr_result check_frame(struct mr_decoder *decoder, const struct mr_return_message *message)
{
	const uint16_t fixed = fixed_length(message->type);
	const uint64_t start = decoder->offset;

	if (!mr_return_name(message->type))
		return mr_fail(decoder, MR_RP_001, start, mr_text("a message type from 1 to %d", MR_RETURN_COUNT - 1),
			       mr_text("%u", message->type));
	if (fixed != UINT16_MAX && message->length != fixed)
		return mr_fail(decoder, MR_RP_002, start + 2,
			       mr_text("length %u of %s", fixed, mr_return_name(message->type)),
			       mr_text("%u", message->length));
	if (message->length > MR_RETURN_PAYLOAD_MAX)
		return mr_fail(decoder, MR_RP_003, start + 2, mr_text("at most %d bytes", MR_RETURN_PAYLOAD_MAX),
			       mr_text("%u", message->length));
	return MR_RECORD;
}

/* Takes the name that must fill the rest of the counted payload. MR_RECORD if it does. */
static enum mr_result read_name(struct mr_decoder *decoder, struct mr_cursor *payload, uint64_t offset,
				struct mr_return_message *message)
{
	message->block = mr_read_counted(payload);
	if (payload->is_short || mr_cursor_left(payload) || message->block.length == 0)
		return mr_fail(decoder, MR_RP_006, offset,
			       mr_text("a name that fills the %u counted bytes", message->length),
			       payload->is_short ? mr_text("too few bytes") : mr_text_name(message->block));
	return MR_RECORD;
}

static void note_request(struct mr_decoder *decoder, const struct mr_return_message *message, struct mr_text expected)
{
	mr_note(decoder, MR_RP_008, decoder->offset, expected,
		mr_text("0x%" PRIx32 " bytes at 0x%" PRIx64, message->page_length, message->start));
}

/* Does the request ask for what one host page needs? */
static void check_request(struct mr_decoder *decoder, const struct mr_return_message *message)
{
	const struct mr_session *session = decoder->session;
	const struct mr_block *block = mr_session_find_block(session, message->block);
	const bool listed = block && block->declared;
	const uint64_t page = listed ? mr_session_host_page(session, block) : session->target_page_size;
	const uint64_t start = message->start, length = message->page_length;

	if (!listed && mr_session_has_block_list(session))
		mr_note(decoder, MR_RP_008, decoder->offset, mr_text("a listed block"), mr_text_name(message->block));
	if (listed && length != page)
		note_request(decoder, message, mr_text("one host page, 0x%" PRIx64 " bytes", page));
	else if (length == 0 || start % page != 0 || length % page != 0)
		note_request(decoder, message, mr_text("a multiple of 0x%" PRIx64 " bytes", page));
	else if (listed && (start > block->used_length || block->used_length - start < length))
		note_request(decoder, message, mr_text("a page within 0x%" PRIx64 " bytes", block->used_length));
}

static enum mr_result decode_request(struct mr_decoder *decoder, struct mr_cursor *payload, uint64_t offset,
				     struct mr_return_message *message)
{
	struct mr_session *session = decoder->session;
	const bool named = message->type == MR_RETURN_REQ_PAGES_ID;
	enum mr_result result = MR_RECORD;
	uint32_t index = decoder->requested_block;

	if (!named && !decoder->requested)
		return mr_fail(decoder, MR_RP_007, decoder->offset, mr_text("REQ_PAGES_ID first"),
			       mr_text("REQ_PAGES"));
	message->start = mr_read_be64(payload);
	message->page_length = mr_read_be32(payload);
	if (named)
		result = read_name(decoder, payload, offset, message);
	else
		message->block = (struct mr_bytes){(const uint8_t *)session->blocks[index].name,
						   session->blocks[index].name_length};
	if (result != MR_RECORD)
		return result;
	check_request(decoder, message);
	if (!named)
		return MR_RECORD;
	index = mr_session_name_block(session, message->block);
	if (index == UINT32_MAX)
		return mr_fail(decoder, MR_STR_027, decoder->offset, mr_text("at most %d blocks", MR_BLOCKS_MAX),
			       mr_text("one more"));
	decoder->requested = true;
	decoder->requested_block = index;
	return MR_RECORD;
}

/* MR_RECORD if so many bytes of bitmap may follow. `block` is NULL unless a list tells its length. */
static enum mr_result check_bitmap_size(struct mr_decoder *decoder, const struct mr_block *block, uint64_t size,
					uint64_t offset)
{
	const uint32_t page_size = decoder->session->target_page_size;
	const uint64_t expected = block ? mr_received_bitmap_size(block->used_length / page_size) : 0;

	if (block && size != expected)
		return mr_fail(decoder, MR_RP_010, offset, mr_text("a bitmap of %" PRIu64 " bytes", expected),
			       mr_text("%" PRIu64, size));
	if (size % 8 != 0)
		return mr_fail(decoder, MR_RP_010, offset, mr_text("a bitmap of whole words of 8 bytes"),
			       mr_text("%" PRIu64 " bytes", size));
	if (size > BITMAP_LIMIT)
		return mr_fail(decoder, MR_STR_027, offset, mr_text("a bitmap of at most %d bytes", BITMAP_LIMIT),
			       mr_text("%" PRIu64, size));
	return MR_RECORD;
}

/* True if a bit behind the last of `pages` is set. */
static bool padding_is_set(struct mr_bytes bitmap, uint64_t pages)
{
	const size_t whole = (size_t)(pages / 8);
	const unsigned rest = pages % 8;

	if (rest && bitmap.data[whole] >> rest)
		return true;
	return !mr_is_zero(bitmap.data + whole + (rest != 0), bitmap.length - whole - (rest != 0));
}

static enum mr_result decode_bitmap(struct mr_decoder *decoder, struct mr_cursor *cursor,
				    struct mr_return_message *message)
{
	const struct mr_session *session = decoder->session;
	const struct mr_block *named = mr_session_find_block(session, message->block);
	const struct mr_block *block = named && named->declared ? named : NULL;
	const uint64_t offset = mr_here(decoder, cursor);
	enum mr_result result;

	message->bitmap_size = mr_read_be64(cursor);
	if (cursor->is_short)
		return MR_MORE;
	result = check_bitmap_size(decoder, block, message->bitmap_size, offset);
	if (result != MR_RECORD)
		return result;
	message->bitmap = mr_read_bytes(cursor, (size_t)message->bitmap_size);
	message->end_mark = mr_read_be64(cursor);
	if (cursor->is_short)
		return MR_MORE;
	if (message->end_mark != bitmap_end_mark)
		return mr_fail(decoder, MR_RP_011, mr_here(decoder, cursor) - sizeof(uint64_t),
			       mr_text("0x%016" PRIx64, bitmap_end_mark), mr_text("0x%016" PRIx64, message->end_mark));
	if (!block && mr_session_has_block_list(session))
		mr_note_as(decoder, MR_RUNTIME, MR_RP_010, decoder->offset, mr_text("a listed block"),
			   mr_text_name(message->block));
	if (block && padding_is_set(message->bitmap, block->used_length / session->target_page_size))
		mr_note(decoder, MR_RP_012, decoder->offset,
			mr_text("0 behind bit %" PRIu64, block->used_length / session->target_page_size - 1),
			mr_text("padding that is set"));
	return MR_RECORD;
}

static void check_value(struct mr_decoder *decoder, const struct mr_return_message *message)
{
	const struct mr_profile *profile = &decoder->session->context.profile;

	if (message->type == MR_RETURN_SHUT && message->value > 1)
		mr_note(decoder, MR_RP_016, decoder->offset, mr_text("0 or 1"), mr_text("%" PRIu32, message->value));
	if (message->type == MR_RETURN_RESUME_ACK && message->value != 1)
		mr_note(decoder, MR_RP_013, decoder->offset, mr_text("1"), mr_text("%" PRIu32, message->value));
	if (message->type == MR_RETURN_SWITCHOVER_ACK && !mr_profile_may(profile, MR_SWITCH_RETURN_SWITCHOVER_ACK))
		mr_note(decoder, MR_RP_014, decoder->offset, mr_text("a message that the release knows"),
			mr_text("SWITCHOVER_ACK"));
}

enum mr_result mr_return_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	struct mr_return_message *message = &record->message;
	struct mr_bytes counted;
	struct mr_cursor payload;
	enum mr_result result;
	uint64_t offset;

	/* COLO messages are be32 from 0 to 6, and no return path message has type 0 */
	if (decoder->session->colo && mr_cursor_left(cursor) >= 2 && mr_get_be16(cursor->at) == 0)
		return mr_colo_decode(decoder, cursor, record);
	record->kind = MR_RETURN_MESSAGE;
	*message = (struct mr_return_message){.type = mr_read_be16(cursor), .length = mr_read_be16(cursor)};
	if (cursor->is_short)
		return MR_MORE;
	result = check_frame(decoder, message);
	if (result != MR_RECORD)
		return result;
	offset = mr_here(decoder, cursor);
	counted = mr_read_bytes(cursor, message->length);
	if (cursor->is_short)
		return MR_MORE;
	payload = (struct mr_cursor){counted.data, counted.data, counted.data + counted.length, true, false, 0};
	switch (message->type) {
	case MR_RETURN_REQ_PAGES_ID:
	case MR_RETURN_REQ_PAGES:
		return decode_request(decoder, &payload, offset, message);
	case MR_RETURN_RECV_BITMAP:
		result = read_name(decoder, &payload, offset, message);
		return result == MR_RECORD ? decode_bitmap(decoder, cursor, message) : result;
	default:
		message->value = message->length == VALUE_SIZE ? mr_read_be32(&payload) : 0;
		check_value(decoder, message);
		return MR_RECORD;
	}
}

/* ---- Fields ---- */

/* The block of a REQ_PAGES is not sent, so it is shown as a note. */
static void emit_remembered(struct mr_emitter *emitter, struct mr_bytes block)
{
	char name[MR_NAME_MAX + 1] = {0};

	if (block.length && block.length < sizeof(name))
		memcpy(name, block.data, block.length);
	mr_emit_note(emitter, "block", name);
}

void mr_return_fields(const struct mr_record *record, struct mr_emitter *emitter)
{
	const struct mr_return_message *message = &record->message;

	mr_emit_derived(emitter, "type", 2, message->type);
	mr_emit_note(emitter, "message", mr_return_name(message->type));
	mr_emit_derived(emitter, "length", 2, message->length);
	switch (message->type) {
	case MR_RETURN_REQ_PAGES_ID:
		mr_emit_hex(emitter, "start", 8, message->start);
		mr_emit_hex(emitter, "page_length", 4, message->page_length);
		mr_emit_counted(emitter, "block", message->block);
		break;
	case MR_RETURN_REQ_PAGES:
		mr_emit_hex(emitter, "start", 8, message->start);
		mr_emit_hex(emitter, "page_length", 4, message->page_length);
		emit_remembered(emitter, message->block);
		break;
	case MR_RETURN_RECV_BITMAP:
		mr_emit_counted(emitter, "block", message->block);
		mr_emit_number(emitter, "bitmap_size", 8, message->bitmap_size);
		mr_emit_bytes(emitter, "bitmap", message->bitmap);
		mr_emit_derived(emitter, "end_mark", 8, message->end_mark);
		break;
	case MR_RETURN_SWITCHOVER_ACK:
		break;
	default:
		mr_emit_hex(emitter, "value", 4, message->value);
		break;
	}
}
