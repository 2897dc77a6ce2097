/* multifd.c: what travels on a multifd channel: the initial packet, packets of pages, packets of device state. */
#include "method.h"
#include "wire.h"

#include <inttypes.h>

enum {
	MULTIFD_MAGIC = 0x11223344,
	MULTIFD_VERSION = 1,
	UUID_SIZE = 16,
	INIT_RESERVED_SIZE = 39,
	PACKET_RESERVED_SIZE = 28,
	PACKET_NAME_SIZE = 256,
	OFFSET_SIZE = 8,
	KNOWN_FLAGS = MR_MULTIFD_FLAG_SYNC | MR_MULTIFD_METHOD_MASK | MR_MULTIFD_FLAG_DEVICE_STATE,
};

uint64_t mr_multifd_offset(const struct mr_multifd_packet *packet, uint32_t index)
{
	return mr_get_be64(packet->offsets.data + (size_t)index * OFFSET_SIZE);
}

static uint32_t page_count(const struct mr_multifd_packet *packet)
{
	return packet->normal_pages + packet->zero_pages;
}

/* The text in a field of fixed size: up to the first NUL, or all of it. */
static struct mr_bytes padded_text(struct mr_bytes field)
{
	const uint8_t *nul = field.length ? memchr(field.data, 0, field.length) : NULL;

	return (struct mr_bytes){field.data, nul ? (size_t)(nul - field.data) : field.length};
}

/* ---- Decoding: what all packets begin with ---- */

/* Reads magic and version. MR_RECORD if they are right. */
static enum mr_result read_start(struct mr_decoder *decoder, struct mr_cursor *cursor, enum mr_rule rule,
				 uint32_t *version)
{
	const uint64_t start = mr_here(decoder, cursor);
	const struct mr_bytes magic = mr_read_bytes(cursor, 4);

	if (cursor->is_short)
		return MR_MORE;
	if (mr_get_be32(magic.data) != MULTIFD_MAGIC)
		return mr_fail(decoder, rule, start, mr_text("magic 11 22 33 44"), mr_text_bytes(magic));
	*version = mr_read_be32(cursor);
	if (cursor->is_short)
		return MR_MORE;
	if (*version != MULTIFD_VERSION)
		return mr_fail(decoder, rule, start + 4, mr_text("version 1"), mr_text("version %" PRIu32, *version));
	return MR_RECORD;
}

static enum mr_result decode_init(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	struct mr_multifd_init *init = &record->init;
	const enum mr_result result = read_start(decoder, cursor, MR_MFD_001, &init->version);

	if (result != MR_RECORD)
		return result;
	record->kind = MR_MULTIFD_INIT;
	init->uuid = mr_read_bytes(cursor, UUID_SIZE);
	init->id = mr_read_u8(cursor);
	init->reserved = mr_read_bytes(cursor, INIT_RESERVED_SIZE);
	if (cursor->is_short)
		return MR_MORE;
	if (!mr_is_zero(init->reserved.data, init->reserved.length))
		mr_note(decoder, MR_MFD_004, decoder->offset, mr_text("39 reserved bytes of 0"),
			mr_text_bytes(init->reserved));
	decoder->init_seen = true;
	return MR_RECORD;
}

static enum mr_result decode_device_state(struct mr_decoder *decoder, struct mr_cursor *cursor,
					  struct mr_record *record, uint32_t version, uint32_t flags)
{
	struct mr_multifd_device_state *state = &record->device_state;
	const uint64_t start = decoder->offset;

	record->kind = MR_MULTIFD_DEVICE_STATE;
	state->version = version;
	state->flags = flags;
	if (flags & MR_MULTIFD_FLAG_SYNC)
		return mr_fail(decoder, MR_MFD_030, start, mr_text("device state without SYNC"),
			       mr_text("flags 0x%" PRIx32, flags));
	state->idstr = mr_read_bytes(cursor, PACKET_NAME_SIZE);
	state->instance = mr_read_be32(cursor);
	state->next_packet_size = mr_read_be32(cursor);
	if (cursor->is_short)
		return MR_MORE;
	if (state->idstr.data[PACKET_NAME_SIZE - 1] != 0)
		return mr_fail(decoder, MR_MFD_030, start, mr_text("a name whose byte 255 is 0"),
			       mr_text_name(state->idstr));
	if (state->next_packet_size == 0 || state->next_packet_size > MR_DEVICE_STATE_MAX)
		return mr_fail(decoder, MR_MFD_030, start, mr_text("1 to %d bytes of payload", MR_DEVICE_STATE_MAX),
			       mr_text("%" PRIu32, state->next_packet_size));
	if (!mr_profile_may(&decoder->session->context.profile, MR_SWITCH_DEVICE_STATE_PACKETS))
		mr_note(decoder, MR_MFD_011, start, mr_text("no bits but those that the release knows"),
			mr_text("flags 0x%" PRIx32 ", device state", flags));
	state->payload = mr_read_bytes(cursor, state->next_packet_size);
	return cursor->is_short ? MR_MORE : MR_RECORD;
}

/* ---- Decoding: packets of pages ---- */

static enum mr_result check_counts(struct mr_decoder *decoder, const struct mr_multifd_packet *packet)
{
	const struct mr_profile *profile = &decoder->session->context.profile;
	const uint32_t most = mr_session_packet_pages(decoder->session);
	const uint64_t start = decoder->offset;

	if (packet->pages_alloc > most)
		return mr_fail(decoder, MR_MFD_012, start, mr_text("pages_alloc at most %" PRIu32, most),
			       mr_text("%" PRIu32, packet->pages_alloc));
	if (packet->normal_pages > packet->pages_alloc)
		return mr_fail(decoder, MR_MFD_013, start,
			       mr_text("normal_pages at most %" PRIu32, packet->pages_alloc),
			       mr_text("%" PRIu32, packet->normal_pages));
	if (packet->zero_pages && !mr_profile_may(profile, MR_SWITCH_PACKET_ZERO_PAGES))
		mr_note(decoder, MR_MFD_029, start, mr_text("a reserved field of 0"),
			mr_text("zero_pages %" PRIu32, packet->zero_pages));
	if (packet->zero_pages > packet->pages_alloc - packet->normal_pages)
		return mr_fail(decoder, MR_MFD_014, start,
			       mr_text("zero_pages at most %" PRIu32, packet->pages_alloc - packet->normal_pages),
			       mr_text("%" PRIu32, packet->zero_pages));
	return MR_RECORD;
}

/* The name of the block in a packet with pages. `*name` is what stands before the NUL. */
static enum mr_result check_name(struct mr_decoder *decoder, const struct mr_multifd_packet *packet,
				 struct mr_bytes *name)
{
	const struct mr_session *session = decoder->session;
	const struct mr_block *block;

	*name = padded_text(packet->ramblock);
	if (name->length == PACKET_NAME_SIZE)
		return mr_fail(decoder, MR_MFD_017, decoder->offset, mr_text("a NUL within 256 bytes of block name"),
			       mr_text_name(*name));
	block = mr_session_find_block(session, *name);
	if (mr_session_has_block_list(session) && !(block && block->declared))
		mr_note(decoder, MR_MFD_017, decoder->offset, mr_text("a listed block"), mr_text_name(*name));
	return MR_RECORD;
}

/*
 * Counts the offsets that break one rule, so that a packet yields one finding for each rule and not one for each page.
 */
struct offset_breach {
	uint32_t count, index;
	uint64_t offset;
};

static void add_breach(struct offset_breach *breach, uint32_t index, uint64_t offset)
{
	if (breach->count++ == 0) {
		breach->index = index;
		breach->offset = offset;
	}
}

/* At least one offset broke the rule. */
static void note_breach(struct mr_decoder *decoder, enum mr_rule rule, const struct offset_breach *breach,
			struct mr_text expected)
{
	if (breach->count > 1)
		mr_note(decoder, rule, decoder->offset, expected,
			mr_text("offset[%" PRIu32 "] 0x%" PRIx64 " and %" PRIu32 " more", breach->index, breach->offset,
				breach->count - 1));
	else
		mr_note(decoder, rule, decoder->offset, expected,
			mr_text("offset[%" PRIu32 "] 0x%" PRIx64, breach->index, breach->offset));
}

static void check_offsets(struct mr_decoder *decoder, const struct mr_multifd_packet *packet, struct mr_bytes name)
{
	const uint32_t page_size = decoder->session->target_page_size;
	const struct mr_block *block = mr_session_find_block(decoder->session, name);
	const bool bounded = block && block->declared;
	struct offset_breach outside = {0, 0, 0}, unaligned = {0, 0, 0};

	for (uint32_t i = 0; i < page_count(packet); i++) {
		const uint64_t offset = mr_multifd_offset(packet, i);

		if (bounded && (block->used_length < page_size || offset > block->used_length - page_size))
			add_breach(&outside, i, offset);
		if (offset % page_size != 0)
			add_breach(&unaligned, i, offset);
	}
	if (outside.count)
		note_breach(decoder, MR_MFD_018, &outside,
			    mr_text("a page within 0x%" PRIx64 " bytes", block->used_length));
	if (unaligned.count)
		note_breach(decoder, MR_MFD_019, &unaligned, mr_text("a multiple of %" PRIu32, page_size));
}

/* What a sender leaves behind in fields that no receiver looks at. */
static void note_leftovers(struct mr_decoder *decoder, const struct mr_multifd_packet *packet)
{
	const uint32_t used = page_count(packet);
	const struct mr_bytes *offsets = &packet->offsets;
	const bool reserved = !mr_is_zero(packet->reserved.data, packet->reserved.length);
	const bool name = used == 0 && !mr_is_zero(packet->ramblock.data, packet->ramblock.length);
	const bool entries =
		!mr_is_zero(offsets->data + (size_t)used * OFFSET_SIZE, offsets->length - (size_t)used * OFFSET_SIZE);

	if (reserved || name || entries)
		mr_note(decoder, MR_MFD_025, decoder->offset, mr_text("0 in fields that mean nothing here"),
			mr_text("leftovers in%s%s%s", reserved ? " reserved" : "", name ? " ramblock" : "",
				entries ? " offset" : ""));
}

/* Does the release have this method? */
static bool method_is_known(const struct mr_profile *profile, uint32_t method)
{
	switch (method) {
	case 0:
		return true;
	case MR_MULTIFD_FLAG_ZLIB:
	case MR_MULTIFD_FLAG_ZSTD:
		return mr_profile_may(profile, MR_SWITCH_METHOD_ZLIB_ZSTD);
	case MR_MULTIFD_FLAG_QPL:
	case MR_MULTIFD_FLAG_UADK:
		return mr_profile_may(profile, MR_SWITCH_METHOD_QPL_UADK);
	case MR_MULTIFD_FLAG_QATZIP:
		return mr_profile_may(profile, MR_SWITCH_METHOD_QATZIP);
	default:
		return false;
	}
}

static void check_flags(struct mr_decoder *decoder, const struct mr_multifd_packet *packet)
{
	const struct mr_context *context = &decoder->session->context;
	const uint32_t method = packet->flags & MR_MULTIFD_METHOD_MASK;
	const uint32_t pages = page_count(packet);
	const bool sync = (packet->flags & MR_MULTIFD_FLAG_SYNC) != 0;
	const uint64_t start = decoder->offset;

	if (packet->flags & ~(uint32_t)KNOWN_FLAGS)
		mr_note(decoder, MR_MFD_011, start, mr_text("no bits but 0x%x", (unsigned)KNOWN_FLAGS),
			mr_text("flags 0x%" PRIx32, packet->flags));
	if (pages && !method_is_known(&context->profile, method))
		mr_note(decoder, MR_MFD_021, start, mr_text("the flag of one method that the release has"),
			mr_text("method 0x%02" PRIx32, method));
	else if (pages && context->multifd_method != MR_METHOD_UNKNOWN && method != context->multifd_method)
		mr_note(decoder, MR_MFD_021, start, mr_text("method 0x%02" PRIx32, context->multifd_method),
			mr_text("method 0x%02" PRIx32, method));
	if (sync && pages)
		mr_note(decoder, MR_MFD_023, start, mr_text("SYNC without pages"), mr_text("%" PRIu32 " pages", pages));
	if (!sync && !pages)
		mr_note(decoder, MR_MFD_024, start, mr_text("SYNC or pages"), mr_text("neither"));
}

/* Reads what follows the fixed block. */
static enum mr_result read_payload(struct mr_decoder *decoder, struct mr_cursor *cursor,
				   struct mr_multifd_packet *packet)
{
	const uint32_t page_size = decoder->session->target_page_size;
	const uint32_t method = packet->flags & MR_MULTIFD_METHOD_MASK;
	uint32_t length = packet->normal_pages ? packet->next_packet_size : 0;
	char found[MR_METHOD_FOUND];

	/* raw pages: their number gives the length, whatever next_packet_size says */
	if (method == 0)
		length = packet->normal_pages * page_size;
	else if (packet->normal_pages && (length == 0 || length > MR_PACKET_PAYLOAD_MAX))
		return mr_fail(decoder, MR_MFD_016, decoder->offset,
			       mr_text("next_packet_size 1 to %d", MR_PACKET_PAYLOAD_MAX), mr_text("%" PRIu32, length));
	if (packet->next_packet_size != length)
		mr_note(decoder, MR_MFD_015, decoder->offset, mr_text("next_packet_size %" PRIu32, length),
			mr_text("%" PRIu32, packet->next_packet_size));
	packet->payload = mr_read_bytes(cursor, length);
	if (cursor->is_short)
		return MR_MORE;
	if (packet->normal_pages && (method == MR_MULTIFD_FLAG_QPL || method == MR_MULTIFD_FLAG_UADK) &&
	    !mr_method_lengths_ok(page_size, packet->payload, packet->normal_pages, found))
		return mr_fail(decoder, MR_MFD_028, mr_here(decoder, cursor) - length,
			       mr_text("a length of at most a page for each page, filling the payload"),
			       mr_text("%s", found));
	return MR_RECORD;
}

/* The fields of a packet up to its payload, as they stand there. */
static void read_block(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_multifd_packet *packet)
{
	packet->pages_alloc = mr_read_be32(cursor);
	packet->normal_pages = mr_read_be32(cursor);
	packet->next_packet_size = mr_read_be32(cursor);
	packet->packet_num = mr_read_be64(cursor);
	packet->zero_pages = mr_read_be32(cursor);
	packet->reserved = mr_read_bytes(cursor, PACKET_RESERVED_SIZE);
	packet->ramblock = mr_read_bytes(cursor, PACKET_NAME_SIZE);
	packet->offset_count = mr_session_packet_pages(decoder->session);
	packet->offsets = mr_read_bytes(cursor, (size_t)packet->offset_count * OFFSET_SIZE);
	packet->block = UINT32_MAX;
}

static enum mr_result decode_packet(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record,
				    uint32_t version, uint32_t flags)
{
	struct mr_multifd_packet *packet = &record->packet;
	struct mr_bytes name = {NULL, 0};
	enum mr_result result;

	record->kind = MR_MULTIFD_PACKET;
	packet->version = version;
	packet->flags = flags;
	read_block(decoder, cursor, packet);
	if (cursor->is_short)
		return MR_MORE;
	result = check_counts(decoder, packet);
	if (result == MR_RECORD && page_count(packet))
		result = check_name(decoder, packet, &name);
	if (result != MR_RECORD)
		return result;
	check_flags(decoder, packet);
	if (page_count(packet))
		check_offsets(decoder, packet, name);
	note_leftovers(decoder, packet);
	result = read_payload(decoder, cursor, packet);
	if (result != MR_RECORD || !page_count(packet))
		return result;
	packet->block = mr_session_name_block(decoder->session, name);
	if (packet->block == UINT32_MAX)
		return mr_fail(decoder, MR_STR_027, decoder->offset, mr_text("at most %d blocks", MR_BLOCKS_MAX),
			       mr_text("one more"));
	return MR_RECORD;
}

enum mr_result mr_multifd_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	uint32_t version = 0, flags;
	enum mr_result result;

	if (!decoder->init_seen)
		return decode_init(decoder, cursor, record);
	result = read_start(decoder, cursor, MR_MFD_010, &version);
	if (result != MR_RECORD)
		return result;
	flags = mr_read_be32(cursor);
	if (cursor->is_short)
		return MR_MORE;
	if (flags & MR_MULTIFD_FLAG_DEVICE_STATE)
		return decode_device_state(decoder, cursor, record, version, flags);
	return decode_packet(decoder, cursor, record, version, flags);
}

/* ---- Fields ---- */

/* A name in a field of fixed size. Usually the rest is zero; only leftovers are worth a look, yet all of it is sent. */
static void emit_padded(struct mr_emitter *emitter, const char *name, const char *padding, struct mr_bytes field)
{
	const struct mr_bytes text = padded_text(field);

	mr_emit_text(emitter, name, text);
	if (text.length < field.length)
		mr_emit_bytes(emitter, padding,
			      (struct mr_bytes){field.data + text.length, field.length - text.length});
}

static void emit_offsets(const struct mr_multifd_packet *packet, struct mr_emitter *emitter)
{
	/* a record that somebody made or changed by hand may count more pages than it has entries */
	const uint32_t all = packet->offset_count;
	const uint32_t normal = packet->normal_pages < all ? packet->normal_pages : all;
	const uint32_t used = packet->zero_pages < all - normal ? normal + packet->zero_pages : all;

	for (uint32_t i = 0; i < used; i++)
		mr_emit_element(emitter, i < normal ? "offset" : "zero_offset", i < normal ? i : i - normal,
				OFFSET_SIZE, mr_multifd_offset(packet, i));
	if (used < all)
		mr_emit_bytes(emitter, "unused_offsets",
			      (struct mr_bytes){packet->offsets.data + (size_t)used * OFFSET_SIZE,
						(size_t)(all - used) * OFFSET_SIZE});
}

static void packet_fields(const struct mr_multifd_packet *packet, struct mr_emitter *emitter)
{
	mr_emit_derived(emitter, "magic", 4, MULTIFD_MAGIC);
	mr_emit_number(emitter, "version", 4, packet->version);
	mr_emit_hex(emitter, "flags", 4, packet->flags);
	mr_emit_number(emitter, "pages_alloc", 4, packet->pages_alloc);
	mr_emit_number(emitter, "normal_pages", 4, packet->normal_pages);
	mr_emit_number(emitter, "next_packet_size", 4, packet->next_packet_size);
	mr_emit_number(emitter, "packet_num", 8, packet->packet_num);
	mr_emit_number(emitter, "zero_pages", 4, packet->zero_pages);
	mr_emit_bytes(emitter, "reserved", packet->reserved);
	emit_padded(emitter, "ramblock", "ramblock_padding", packet->ramblock);
	emit_offsets(packet, emitter);
	if (packet->payload.length)
		mr_emit_bytes(emitter, "payload", packet->payload);
}

static void init_fields(const struct mr_multifd_init *init, struct mr_emitter *emitter)
{
	mr_emit_derived(emitter, "magic", 4, MULTIFD_MAGIC);
	mr_emit_number(emitter, "version", 4, init->version);
	mr_emit_bytes(emitter, "uuid", init->uuid);
	mr_emit_number(emitter, "id", 1, init->id);
	mr_emit_bytes(emitter, "reserved", init->reserved);
}

static void device_state_fields(const struct mr_multifd_device_state *state, struct mr_emitter *emitter)
{
	mr_emit_derived(emitter, "magic", 4, MULTIFD_MAGIC);
	mr_emit_number(emitter, "version", 4, state->version);
	mr_emit_hex(emitter, "flags", 4, state->flags);
	emit_padded(emitter, "idstr", "idstr_padding", state->idstr);
	mr_emit_number(emitter, "instance", 4, state->instance);
	mr_emit_number(emitter, "next_packet_size", 4, state->next_packet_size);
	mr_emit_bytes(emitter, "payload", state->payload);
}

void mr_multifd_fields(const struct mr_record *record, struct mr_emitter *emitter)
{
	if (record->kind == MR_MULTIFD_INIT)
		init_fields(&record->init, emitter);
	else if (record->kind == MR_MULTIFD_DEVICE_STATE)
		device_state_fields(&record->device_state, emitter);
	else
		packet_fields(&record->packet, emitter);
}
