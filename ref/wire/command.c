/* command.c: QEMU_VM_COMMAND: 08, be16 number, be16 length, payload (rules CMD). */
#include "wire.h"

#include <inttypes.h>

enum {
	HEADER_SIZE = 5,
	RANGE_SIZE = 16,
	RANGES_MAX = 12, /* in one RAM_DISCARD, as QEMU sends it */
	PING_PACKAGE_LOADED = 0x42,
};

static const struct command {
	const char *name;
	int length; /* -1: variable */
} commands[MR_COMMAND_COUNT] = {
	[MR_COMMAND_OPEN_RETURN_PATH] = {"OPEN_RETURN_PATH", 0},
	[MR_COMMAND_PING] = {"PING", 4},
	[MR_COMMAND_POSTCOPY_ADVISE] = {"POSTCOPY_ADVISE", -1},
	[MR_COMMAND_POSTCOPY_LISTEN] = {"POSTCOPY_LISTEN", 0},
	[MR_COMMAND_POSTCOPY_RUN] = {"POSTCOPY_RUN", 0},
	[MR_COMMAND_POSTCOPY_RAM_DISCARD] = {"POSTCOPY_RAM_DISCARD", -1},
	[MR_COMMAND_PACKAGED] = {"PACKAGED", 4},
	[MR_COMMAND_ENABLE_COLO] = {"ENABLE_COLO", 0},
	[MR_COMMAND_POSTCOPY_RESUME] = {"POSTCOPY_RESUME", 0},
	[MR_COMMAND_RECV_BITMAP] = {"RECV_BITMAP", -1},
	[MR_COMMAND_SWITCHOVER_START] = {"SWITCHOVER_START", 0},
};

const char *mr_command_name(unsigned number)
{
	return number < MR_COMMAND_COUNT ? commands[number].name : NULL;
}

void mr_discard_range(const struct mr_command *command, uint32_t index, uint64_t *start, uint64_t *length)
{
	const uint8_t *at = command->ranges.data + (size_t)index * RANGE_SIZE;

	*start = mr_get_be64(at);
	*length = mr_get_be64(at + 8);
}

/* ---- Payloads ---- */

static enum mr_result read_ping(struct mr_decoder *decoder, struct mr_cursor *payload, struct mr_command *command)
{
	const uint64_t offset = decoder->offset + HEADER_SIZE;

	command->value = mr_read_be32(payload);
	if ((command->value < 1 || command->value > 4) && command->value != PING_PACKAGE_LOADED)
		mr_note(decoder, MR_CMD_005, offset, mr_text("1, 2, 3, 4 or 0x42"),
			mr_text("0x%" PRIx32, command->value));
	return MR_RECORD;
}

static enum mr_result read_advise(struct mr_decoder *decoder, struct mr_cursor *payload, struct mr_command *command)
{
	struct mr_session *session = decoder->session;
	const uint64_t offset = decoder->offset + HEADER_SIZE;

	if (command->length != 0 && command->length != 16)
		return mr_fail(decoder, MR_CMD_006, decoder->offset + 3, mr_text("0 or 16"),
			       mr_text("%" PRIu16, command->length));
	if (command->length == 16) {
		command->page_size_summary = mr_read_be64(payload);
		command->target_page_size = mr_read_be64(payload);
		if (command->page_size_summary < command->target_page_size)
			mr_note(decoder, MR_CMD_008, offset, mr_text("the OR of the blocks' page sizes"),
				mr_text("0x%" PRIx64, command->page_size_summary));
		if (!mr_is_power_of_two(command->target_page_size) ||
		    command->target_page_size != session->target_page_size)
			mr_note(decoder, MR_CMD_008, offset + 8, mr_text("0x%" PRIx32, session->target_page_size),
				mr_text("0x%" PRIx64, command->target_page_size));
	}
	session->advised = true;
	session->page_size_summary = command->page_size_summary;
	return MR_RECORD;
}

static void check_range(struct mr_decoder *decoder, const struct mr_command *command, uint32_t index,
			const struct mr_block *block)
{
	const uint64_t offset =
		decoder->offset + HEADER_SIZE + 3 + command->block.length + (uint64_t)index * RANGE_SIZE;
	const uint64_t page = mr_session_host_page(decoder->session, block);
	uint64_t start, length;

	mr_discard_range(command, index, &start, &length);
	if (length == 0)
		mr_note(decoder, MR_CMD_012, offset, mr_text("a length above 0"), mr_text("0"));
	if (start % page || length % page)
		mr_note(decoder, MR_CMD_011, offset, mr_text("multiples of 0x%" PRIx64, page),
			mr_text("0x%" PRIx64 "+0x%" PRIx64, start, length));
	else if (block->declared && (start > block->used_length || length > block->used_length - start))
		mr_note(decoder, MR_CMD_011, offset, mr_text("a range within 0x%" PRIx64 " bytes", block->used_length),
			mr_text("0x%" PRIx64 "+0x%" PRIx64, start, length));
}

static enum mr_result check_discard(struct mr_decoder *decoder, const struct mr_command *command)
{
	struct mr_session *session = decoder->session;
	const uint64_t offset = decoder->offset + HEADER_SIZE + 1;
	const struct mr_block *known = mr_session_find_block(session, command->block);
	uint32_t block;

	if (command->range_count < 1 || command->range_count > RANGES_MAX)
		mr_note(decoder, MR_CMD_010, offset, mr_text("1 to %d ranges", RANGES_MAX),
			mr_text("%" PRIu32, command->range_count));
	if (!(known && known->declared) && mr_session_has_block_list(session))
		mr_note(decoder, MR_CMD_011, offset, mr_text("a listed block"), mr_text_name(command->block));
	block = mr_session_name_block(session, command->block);
	if (block == UINT32_MAX)
		return mr_fail(decoder, MR_STR_027, offset, mr_text("at most %d blocks", MR_BLOCKS_MAX),
			       mr_text("one more"));
	for (uint32_t i = 0; i < command->range_count; i++)
		check_range(decoder, command, i, &session->blocks[block]);
	return MR_RECORD;
}

static enum mr_result read_discard(struct mr_decoder *decoder, struct mr_cursor *payload, struct mr_command *command)
{
	const uint64_t offset = decoder->offset + HEADER_SIZE;
	const uint8_t version = mr_read_u8(payload);
	uint8_t terminator;

	command->block = mr_read_counted(payload);
	terminator = mr_read_u8(payload);
	if (payload->is_short || command->block.length == 0)
		return mr_fail(decoder, MR_CMD_009, offset, mr_text("00, name, 00, ranges"),
			       mr_text("%" PRIu16 " bytes without a name that ends in them", command->length));
	if (version != 0)
		return mr_fail(decoder, MR_CMD_009, offset, mr_text("version 0"), mr_text("%02x", version));
	if (terminator != 0)
		return mr_fail(decoder, MR_CMD_009, mr_here(decoder, payload) - 1, mr_text("00 behind the name"),
			       mr_text("%02x", terminator));
	if (mr_cursor_left(payload) % RANGE_SIZE)
		return mr_fail(decoder, MR_CMD_009, mr_here(decoder, payload),
			       mr_text("whole ranges of %d bytes", RANGE_SIZE),
			       mr_text("%zu bytes", mr_cursor_left(payload)));
	command->range_count = (uint32_t)(mr_cursor_left(payload) / RANGE_SIZE);
	command->ranges = mr_read_bytes(payload, mr_cursor_left(payload));
	return check_discard(decoder, command);
}

static enum mr_result read_packaged(struct mr_decoder *decoder, struct mr_cursor *payload, struct mr_command *command)
{
	command->package_length = mr_read_be32(payload);
	if (decoder->in_package)
		return mr_fail(decoder, MR_CMD_020, decoder->offset, mr_text("no package inside a package"),
			       mr_text("PACKAGED"));
	if (command->package_length == 0 || command->package_length > INT32_MAX)
		mr_note(decoder, MR_CMD_018, decoder->offset + HEADER_SIZE, mr_text("1 to 0x7fffffff"),
			mr_text("0x%" PRIx32, command->package_length));
	return MR_RECORD;
}

static enum mr_result read_recv_bitmap(struct mr_decoder *decoder, struct mr_cursor *payload,
				       struct mr_command *command)
{
	command->block = mr_read_counted(payload);
	if (payload->is_short || command->block.length == 0 || mr_cursor_left(payload))
		return mr_fail(decoder, MR_CMD_021, decoder->offset + HEADER_SIZE,
			       mr_text("a name that fills the payload"),
			       mr_text_bytes((struct mr_bytes){payload->start + HEADER_SIZE, command->length}));
	return MR_RECORD;
}

static enum mr_result read_payload(struct mr_decoder *decoder, struct mr_cursor *payload, struct mr_command *command)
{
	struct mr_session *session = decoder->session;

	switch (command->number) {
	case MR_COMMAND_PING:
		return read_ping(decoder, payload, command);
	case MR_COMMAND_POSTCOPY_ADVISE:
		return read_advise(decoder, payload, command);
	case MR_COMMAND_POSTCOPY_RAM_DISCARD:
		return read_discard(decoder, payload, command);
	case MR_COMMAND_PACKAGED:
		return read_packaged(decoder, payload, command);
	case MR_COMMAND_RECV_BITMAP:
		return read_recv_bitmap(decoder, payload, command);
	case MR_COMMAND_OPEN_RETURN_PATH:
		session->return_path = true;
		return MR_RECORD;
	case MR_COMMAND_POSTCOPY_LISTEN:
		session->listening = true;
		return MR_RECORD;
	case MR_COMMAND_ENABLE_COLO:
		session->colo = true;
		return MR_RECORD;
	default:
		return MR_RECORD;
	}
}

/* Releases that do not know a command refuse the stream. */
static void check_release(struct mr_decoder *decoder, unsigned number)
{
	const struct mr_profile *profile = &decoder->session->context.profile;
	bool known = true;

	if (number == MR_COMMAND_ENABLE_COLO)
		known = mr_profile_may(profile, MR_SWITCH_COMMAND_ENABLE_COLO);
	else if (number == MR_COMMAND_POSTCOPY_RESUME || number == MR_COMMAND_RECV_BITMAP)
		known = mr_profile_may(profile, MR_SWITCH_COMMAND_RESUME);
	else if (number == MR_COMMAND_SWITCHOVER_START)
		known = mr_profile_may(profile, MR_SWITCH_COMMAND_SWITCHOVER_START);
	if (!known)
		mr_note_as(decoder, MR_RUNTIME, MR_CMD_001, decoder->offset + 1,
			   mr_text("a command of QEMU %s", profile->release), mr_text("%s", mr_command_name(number)));
}

/* 3.0 numbered the two commands of recovery one lower than every later release. */
static uint16_t number_of(const struct mr_session *session, uint16_t sent)
{
	const bool lower = mr_profile_does(&session->context.profile, MR_SWITCH_COMMAND_RESUME_IS_8);

	return lower && (sent == 8 || sent == 9) ? (uint16_t)(sent + 1) : sent;
}

enum mr_result mr_command_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	struct mr_command *command = &record->command;
	struct mr_cursor payload;

	*command = (struct mr_command){0};
	mr_take(cursor, 1);
	command->sent = mr_read_be16(cursor);
	command->number = number_of(decoder->session, command->sent);
	command->length = mr_read_be16(cursor);
	if (cursor->is_short)
		return MR_MORE;
	if (!mr_command_name(command->number))
		return mr_fail(decoder, MR_CMD_001, decoder->offset + 1,
			       mr_text("command 1 to %d", MR_COMMAND_COUNT - 1), mr_text("%" PRIu16, command->number));
	if (commands[command->number].length >= 0 && commands[command->number].length != command->length)
		return mr_fail(
			decoder, MR_CMD_002, decoder->offset + 3,
			mr_text("length %d for %s", commands[command->number].length, mr_command_name(command->number)),
			mr_text("%" PRIu16, command->length));
	payload = *cursor;
	if (!mr_take(cursor, command->length))
		return MR_MORE;
	payload.end = cursor->at;
	record->kind = MR_COMMAND;
	check_release(decoder, command->number);
	return read_payload(decoder, &payload, command);
}

/* ---- Fields ---- */

static void discard_fields(const struct mr_command *command, struct mr_emitter *emitter)
{
	mr_emit_derived(emitter, "version", 1, 0);
	mr_emit_counted(emitter, "block", command->block);
	mr_emit_derived(emitter, "terminator", 1, 0);
	for (uint32_t i = 0; i < command->range_count; i++) {
		uint64_t start, length;

		mr_discard_range(command, i, &start, &length);
		mr_emit_element(emitter, "start", i, 8, start);
		mr_emit_element(emitter, "length", i, 8, length);
	}
}

void mr_command_fields(const struct mr_record *record, struct mr_emitter *emitter)
{
	const struct mr_command *command = &record->command;

	mr_emit_derived(emitter, "type", 1, TYPE_COMMAND);
	mr_emit_derived(emitter, "command", 2, command->sent);
	mr_emit_derived(emitter, "payload_length", 2, command->length);
	mr_emit_note(emitter, "name", mr_command_name(command->number));
	switch (command->number) {
	case MR_COMMAND_PING:
		mr_emit_hex(emitter, "value", 4, command->value);
		break;
	case MR_COMMAND_POSTCOPY_ADVISE:
		if (command->length) {
			mr_emit_hex(emitter, "page_size_summary", 8, command->page_size_summary);
			mr_emit_hex(emitter, "target_page_size", 8, command->target_page_size);
		}
		break;
	case MR_COMMAND_POSTCOPY_RAM_DISCARD:
		discard_fields(command, emitter);
		break;
	case MR_COMMAND_PACKAGED:
		mr_emit_number(emitter, "package_length", 4, command->package_length);
		break;
	case MR_COMMAND_RECV_BITMAP:
		mr_emit_counted(emitter, "block", command->block);
		break;
	default:
		break;
	}
}
