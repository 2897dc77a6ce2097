/* stream.c: the decoder that all families share: windows, ends and cuts, findings in their order. */
#include "ram/mapped.h"
#include "wire.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

typedef enum mr_result decode_function(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record);

static enum mr_result preempt_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	if (!decoder->ended)
		return mr_ram_decode(decoder, cursor, record);
	if (decoder->rest_rule == MR_NO_RULE)
		mr_note(decoder, MR_STR_021, decoder->offset, mr_text("the end of the stream"),
			mr_text("byte %02x", *cursor->at));
	decoder->rest_rule = MR_STR_021;
	return mr_opaque_decode(cursor, record, MR_STR_021);
}

static decode_function *const decode_functions[MR_ROLE_COUNT] = {
	[MR_ROLE_MAIN] = mr_main_decode,       [MR_ROLE_RECOVERY] = mr_main_decode, [MR_ROLE_PREEMPT] = preempt_decode,
	[MR_ROLE_MULTIFD] = mr_multifd_decode, [MR_ROLE_RETURN] = mr_return_decode,
};

static const char *const kind_names[MR_KIND_COUNT] = {
	[MR_FILE_HEADER] = "file-header",
	[MR_CONFIGURATION] = "configuration",
	[MR_CONFIGURATION_SUBSECTION] = "configuration-subsection",
	[MR_SECTION_START] = "section-start",
	[MR_SECTION_PART] = "section-part",
	[MR_SECTION_END] = "section-end",
	[MR_SECTION_FULL] = "section-full",
	[MR_SECTION_DATA] = "section-data",
	[MR_SECTION_FOOTER] = "section-footer",
	[MR_COMMAND] = "command",
	[MR_EOF] = "eof",
	[MR_VMDESCRIPTION] = "vmdescription",
	[MR_COLO_MESSAGE] = "colo-message",
	[MR_RAM_SIZE] = "ram-size",
	[MR_RAM_BLOCK] = "ram-block",
	[MR_RAM_BITMAP] = "ram-bitmap",
	[MR_RAM_PAGES] = "ram-pages",
	[MR_RAM_ZERO] = "ram-zero",
	[MR_RAM_PAGE] = "ram-page",
	[MR_RAM_XBZRLE] = "ram-xbzrle",
	[MR_RAM_COMPRESSED] = "ram-compressed",
	[MR_RAM_HOOK] = "ram-hook",
	[MR_RAM_FLUSH] = "ram-flush",
	[MR_RAM_EOS] = "ram-eos",
	[MR_RETURN_MESSAGE] = "return-message",
	[MR_MULTIFD_INIT] = "multifd-init",
	[MR_MULTIFD_PACKET] = "multifd-packet",
	[MR_MULTIFD_DEVICE_STATE] = "multifd-device-state",
	[MR_OPAQUE] = "opaque",
};

const char *mr_kind_name(enum mr_kind kind)
{
	return kind < MR_KIND_COUNT ? kind_names[kind] : "unknown";
}

bool mr_bytes_equal(struct mr_bytes a, struct mr_bytes b)
{
	return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

bool mr_bytes_equal_string(struct mr_bytes a, const char *b)
{
	return mr_bytes_equal(a, (struct mr_bytes){(const uint8_t *)b, strlen(b)});
}

bool mr_counted_string(struct mr_bytes *list, struct mr_bytes *string)
{
	if (list->length == 0 || list->length - 1 < list->data[0])
		return false;
	*string = (struct mr_bytes){list->data + 1, list->data[0]};
	list->data += 1 + string->length;
	list->length -= 1 + string->length;
	return true;
}

/* ---- Findings ---- */

struct mr_text mr_text(const char *format, ...)
{
	struct mr_text text;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text.text, sizeof(text.text), format, arguments);
	va_end(arguments);
	/* names from the stream may stand in it, and what begins as one line of text is to end as one */
	for (char *at = text.text; *at; at++)
		if (*at < 0x20 || *at > 0x7e)
			*at = '?';
	return text;
}

/* Hexadecimal digits of one byte; printf would take longer than the decoding. */
static size_t put_hex(char *out, uint8_t byte)
{
	static const char digits[] = "0123456789abcdef";

	out[0] = digits[byte >> 4];
	out[1] = digits[byte & 15];
	return 2;
}

struct mr_text mr_text_bytes(struct mr_bytes bytes)
{
	static const char more[] = " ...";
	struct mr_text text = {"no bytes"};
	size_t used = 0;

	if (bytes.length == 0)
		return text;
	for (size_t i = 0; i < bytes.length; i++) {
		if (used + 8 > sizeof(text.text)) {
			memcpy(text.text + used, more, sizeof(more));
			return text;
		}
		if (i)
			text.text[used++] = ' ';
		used += put_hex(text.text + used, bytes.data[i]);
	}
	text.text[used] = '\0';
	return text;
}

struct mr_text mr_text_name(struct mr_bytes bytes)
{
	static const char more[] = "...";
	struct mr_text text = {"\""};
	size_t used = 1;

	for (size_t i = 0; i < bytes.length; i++) {
		const uint8_t byte = bytes.data[i];

		if (used + 9 > sizeof(text.text)) {
			memcpy(text.text + used, more, sizeof(more) - 1);
			used += sizeof(more) - 1;
			break;
		}
		if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\') {
			text.text[used++] = (char)byte;
		} else {
			text.text[used++] = '\\';
			text.text[used++] = 'x';
			used += put_hex(text.text + used, byte);
		}
	}
	text.text[used++] = '"';
	text.text[used] = '\0';
	return text;
}

static void fill_finding(const struct mr_decoder *decoder, struct mr_finding *finding, enum mr_rule rule,
			 enum mr_verdict verdict, uint64_t offset, struct mr_text expected, struct mr_text found)
{
	finding->rule = rule;
	finding->verdict = verdict;
	finding->channel = decoder->channel;
	finding->backward = decoder->role == MR_ROLE_RETURN;
	finding->offset = offset;
	memcpy(finding->expected, expected.text, sizeof(finding->expected));
	memcpy(finding->found, found.text, sizeof(finding->found));
}

enum mr_result mr_fail(struct mr_decoder *decoder, enum mr_rule rule, uint64_t offset, struct mr_text expected,
		       struct mr_text found)
{
	fill_finding(decoder, &decoder->error, rule, mr_rule_verdict(rule), offset, expected, found);
	return MR_FAILED;
}

void mr_note_as(struct mr_decoder *decoder, enum mr_verdict verdict, enum mr_rule rule, uint64_t offset,
		struct mr_text expected, struct mr_text found)
{
	/* A record breaks few rules; what comes after the last place is a repetition of its kind. */
	if (decoder->pending_count < MR_PENDING_FINDINGS)
		fill_finding(decoder, &decoder->pending[decoder->pending_count++], rule, verdict, offset, expected,
			     found);
}

void mr_note(struct mr_decoder *decoder, enum mr_rule rule, uint64_t offset, struct mr_text expected,
	     struct mr_text found)
{
	mr_note_as(decoder, mr_rule_verdict(rule), rule, offset, expected, found);
}

static void report_pending(struct mr_decoder *decoder)
{
	const struct mr_session *session = decoder->session;

	for (uint32_t i = 0; i < decoder->pending_count; i++)
		if (session->report)
			session->report(session->report_argument, &decoder->pending[i]);
	decoder->pending_count = 0;
}

/* ---- Decoding ---- */

void mr_decoder_init(struct mr_decoder *decoder, struct mr_session *session, enum mr_role role, uint32_t channel)
{
	/* The table at the end is large and written before it is read. */
	memset(decoder, 0, offsetof(struct mr_decoder, pending));
	decoder->session = session;
	decoder->role = role;
	decoder->channel = channel;
	decoder->last_block = UINT32_MAX;
	decoder->requested_block = UINT32_MAX;
}

static enum mr_result give_up(struct mr_decoder *decoder)
{
	const struct mr_session *session = decoder->session;

	report_pending(decoder);
	decoder->failed = true;
	if (session->report)
		session->report(session->report_argument, &decoder->error);
	return MR_FAILED;
}

/* `wanted` is more than `length`. */
static enum mr_result cut_short(struct mr_decoder *decoder, size_t length, size_t wanted)
{
	decoder->pending_count = 0;
	mr_fail(decoder, MR_STR_026, decoder->offset + length,
		mr_text("%zu more bytes of the record at 0x%" PRIx64, wanted - length, decoder->offset),
		mr_text("end of stream"));
	return give_up(decoder);
}

static enum mr_result end_of_stream(struct mr_decoder *decoder)
{
	const bool main = decoder->role == MR_ROLE_MAIN || decoder->role == MR_ROLE_RECOVERY;
	const bool begun = decoder->role != MR_ROLE_MULTIFD || decoder->init_seen;

	if (mr_mapped_is_inside(decoder)) {
		mr_mapped_cut(decoder, decoder->offset);
		return give_up(decoder);
	}
	if (decoder->ended || (!main && begun))
		return MR_DONE;
	mr_fail(decoder, MR_STR_026, decoder->offset,
		mr_text("%s", main ? "the end mark of the stream" : "an initial packet"), mr_text("end of stream"));
	return give_up(decoder);
}

enum mr_result mr_decode(struct mr_decoder *decoder, const uint8_t *window, size_t length, bool at_end,
			 struct mr_record *record)
{
	struct mr_cursor cursor;
	enum mr_result result;

	if (decoder->failed)
		return MR_FAILED;
	if (length == 0) {
		decoder->wanted = 1;
		return at_end ? end_of_stream(decoder) : MR_MORE;
	}
	/* Only here, since a window without bytes may be NULL. */
	cursor = (struct mr_cursor){window, window, window + length, at_end, false, 0};
	record->depth = decoder->in_package;
	record->offset = decoder->offset;
	result = decode_functions[decoder->role](decoder, &cursor, record);
	if (cursor.is_short || result == MR_MORE) {
		/* not covered: a family that asks for no more than it has; it would be asked again for ever */
		const size_t wanted = cursor.wanted > length ? cursor.wanted : length + 1;

		if (at_end)
			return cut_short(decoder, length, wanted);
		decoder->pending_count = 0;
		decoder->wanted = wanted;
		return MR_MORE;
	}
	if (result == MR_FAILED)
		return give_up(decoder);
	record->length = mr_cursor_used(&cursor);
	decoder->offset += record->length;
	if (decoder->pending_count)
		report_pending(decoder);
	return MR_RECORD;
}

enum mr_result mr_opaque_decode(struct mr_cursor *cursor, struct mr_record *record, enum mr_rule why)
{
	record->kind = MR_OPAQUE;
	record->opaque = (struct mr_opaque){mr_read_bytes(cursor, mr_cursor_left(cursor)), why};
	return MR_RECORD;
}
