/*
 * wire.h: what the record families share: a bounds-checked cursor, the ways to complain, the emitter of fields.
 *
 * A family decodes one record at the cursor. It reads first, complains where a rule is broken, and changes the
 * decoder's or session's state last, after it made sure that the cursor did not run short. Whatever it said while the
 * cursor was short is forgotten by mr_decode(), which asks for more bytes instead or reports the cut.
 */
#ifndef MR_WIRE_H
#define MR_WIRE_H

#include "migref.h"

#include <string.h>

/* ---- Type bytes of the main channel (STR-011) ---- */

enum {
	TYPE_EOF = 0x00,
	TYPE_START = 0x01,
	TYPE_PART = 0x02,
	TYPE_END = 0x03,
	TYPE_FULL = 0x04,
	TYPE_SUBSECTION = 0x05,
	TYPE_DESCRIPTION = 0x06,
	TYPE_CONFIGURATION = 0x07,
	TYPE_COMMAND = 0x08,
	TYPE_FOOTER = 0x7e,
};

/* ---- Cursor ---- */

struct mr_cursor {
	const uint8_t *start, *at, *end;
	bool at_end;   /* no byte follows `end` in this stream */
	bool is_short; /* a read went past `end`; everything read since then is 0 or empty */
	size_t wanted; /* bytes from `start` that the reads so far need */
};

static inline size_t mr_cursor_left(const struct mr_cursor *cursor)
{
	return (size_t)(cursor->end - cursor->at);
}

static inline size_t mr_cursor_used(const struct mr_cursor *cursor)
{
	return (size_t)(cursor->at - cursor->start);
}

/* Takes `count` bytes; NULL if there are fewer. */
static inline const uint8_t *mr_take(struct mr_cursor *cursor, size_t count)
{
	const uint8_t *at = cursor->at;

	if (cursor->is_short || mr_cursor_left(cursor) < count) {
		if (!cursor->is_short)
			cursor->wanted = mr_cursor_used(cursor) + count;
		cursor->is_short = true;
		return NULL;
	}
	cursor->at += count;
	return at;
}

static inline uint16_t mr_get_be16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t mr_get_be32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static inline uint64_t mr_get_be64(const uint8_t *at)
{
	return (uint64_t)mr_get_be32(at) << 32 | mr_get_be32(at + 4);
}

static inline void mr_put_be16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static inline void mr_put_be32(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)(value >> 24);
	at[1] = (uint8_t)(value >> 16);
	at[2] = (uint8_t)(value >> 8);
	at[3] = (uint8_t)value;
}

static inline void mr_put_be64(uint8_t *at, uint64_t value)
{
	mr_put_be32(at, (uint32_t)(value >> 32));
	mr_put_be32(at + 4, (uint32_t)value);
}

static inline uint8_t mr_read_u8(struct mr_cursor *cursor)
{
	const uint8_t *at = mr_take(cursor, 1);

	return at ? *at : 0;
}

static inline uint16_t mr_read_be16(struct mr_cursor *cursor)
{
	const uint8_t *at = mr_take(cursor, 2);

	return at ? mr_get_be16(at) : 0;
}

static inline uint32_t mr_read_be32(struct mr_cursor *cursor)
{
	const uint8_t *at = mr_take(cursor, 4);

	return at ? mr_get_be32(at) : 0;
}

static inline uint64_t mr_read_be64(struct mr_cursor *cursor)
{
	const uint8_t *at = mr_take(cursor, 8);

	return at ? mr_get_be64(at) : 0;
}

static inline struct mr_bytes mr_read_bytes(struct mr_cursor *cursor, size_t count)
{
	const uint8_t *at = mr_take(cursor, count);

	return (struct mr_bytes){at, at ? count : 0};
}

/* True if a handler's name, which is not empty, is `text` as receivers compare it: up to its first NUL (STR-024). */
static inline bool mr_name_is(struct mr_bytes name, const char *text)
{
	const uint8_t *nul = memchr(name.data, 0, name.length);

	return mr_bytes_equal_string((struct mr_bytes){name.data, nul ? (size_t)(nul - name.data) : name.length}, text);
}

/* u8 length, then so many bytes. */
static inline struct mr_bytes mr_read_counted(struct mr_cursor *cursor)
{
	return mr_read_bytes(cursor, mr_read_u8(cursor));
}

/* ---- Complaints ---- */

/* A short text by value, so that a finding's two sides can be written where it is made. */
struct mr_text {
	char text[96];
};

/* What is no printable ASCII becomes ?. */
struct mr_text mr_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Bytes as `51 45 56 4d`, cut with ... where they do not fit. */
struct mr_text mr_text_bytes(struct mr_bytes bytes);
/* Bytes as "text" with everything unprintable escaped. */
struct mr_text mr_text_name(struct mr_bytes bytes);

/* The stream cannot be read further: MR_FAILED for the caller to return. `offset` is in the channel. */
enum mr_result mr_fail(struct mr_decoder *decoder, enum mr_rule rule, uint64_t offset, struct mr_text expected,
		       struct mr_text found);
/* A breach that does not stop the reading; reported once the record is complete. */
void mr_note(struct mr_decoder *decoder, enum mr_rule rule, uint64_t offset, struct mr_text expected,
	     struct mr_text found);
/* The same with a verdict other than the rule's own. */
void mr_note_as(struct mr_decoder *decoder, enum mr_verdict verdict, enum mr_rule rule, uint64_t offset,
		struct mr_text expected, struct mr_text found);

/* Offset in the channel of the byte that the cursor would take next. */
static inline uint64_t mr_here(const struct mr_decoder *decoder, const struct mr_cursor *cursor)
{
	return decoder->offset + mr_cursor_used(cursor);
}

/* Page sizes are such numbers; 0 is none. */
static inline bool mr_is_power_of_two(uint64_t number)
{
	return number && (number & (number - 1)) == 0;
}

/* ---- Session ---- */

/* Index of the block with this name, adding it undeclared if need be; UINT32_MAX if the table is full. */
uint32_t mr_session_name_block(struct mr_session *session, struct mr_bytes name);
/* True if a block list was read, so that an unlisted name is an unknown one. */
bool mr_session_has_block_list(const struct mr_session *session);
/* The host page size of a block, bytes. */
uint64_t mr_session_host_page(const struct mr_session *session, const struct mr_block *block);

/* ---- Families ---- */

enum mr_result mr_main_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record);
enum mr_result mr_command_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record);
enum mr_result mr_colo_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record);
/* One record of a `ram` section's body other than a block list entry. */
enum mr_result mr_ram_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record);
enum mr_result mr_ram_block_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record);
enum mr_result mr_multifd_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record);
enum mr_result mr_return_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record);
/* Everything that is left, as one record that says why. */
enum mr_result mr_opaque_decode(struct mr_cursor *cursor, struct mr_record *record, enum mr_rule why);

/* ---- Fields ---- */

/* Where a family's fields go: counts the offset along. */
struct mr_emitter {
	mr_field_visitor *visit;
	void *argument;
	uint64_t offset;
};

/* A big-endian number of `width` bytes; 0 makes it a note. */
void mr_emit_number(struct mr_emitter *emitter, const char *name, unsigned width, uint64_t number);
void mr_emit_hex(struct mr_emitter *emitter, const char *name, unsigned width, uint64_t number);
/* A number that the reader need not be shown: a magic, a type byte, a count or length of what follows. */
void mr_emit_derived(struct mr_emitter *emitter, const char *name, unsigned width, uint64_t number);
/* One entry of an array of hexadecimal numbers. */
void mr_emit_element(struct mr_emitter *emitter, const char *name, uint32_t index, unsigned width, uint64_t number);
void mr_emit_bytes(struct mr_emitter *emitter, const char *name, struct mr_bytes bytes);
void mr_emit_text(struct mr_emitter *emitter, const char *name, struct mr_bytes bytes);
/* u8 length and text. */
void mr_emit_counted(struct mr_emitter *emitter, const char *name, struct mr_bytes bytes);
/* The same as one entry of an array. */
void mr_emit_counted_element(struct mr_emitter *emitter, const char *name, uint32_t index, struct mr_bytes bytes);
/* Text that is not on the wire here. */
void mr_emit_note(struct mr_emitter *emitter, const char *name, const char *text);

void mr_main_fields(const struct mr_record *record, struct mr_emitter *emitter);
void mr_command_fields(const struct mr_record *record, struct mr_emitter *emitter);
void mr_ram_fields(const struct mr_record *record, struct mr_emitter *emitter);
void mr_multifd_fields(const struct mr_record *record, struct mr_emitter *emitter);
void mr_return_fields(const struct mr_record *record, struct mr_emitter *emitter);

#endif
