/* fields.c: a record as a list of fields, and the encoder that writes this list back to bytes. */
#include "wire.h"

/* ---- Emitting ---- */

static void emit(struct mr_emitter *emitter, struct mr_field field)
{
	field.offset = emitter->offset;
	emitter->offset += field.length;
	emitter->visit(emitter->argument, &field);
}

static struct mr_field number_field(const char *name, enum mr_field_type type, unsigned width, uint64_t number)
{
	return (struct mr_field){
		.name = name,
		.type = type,
		.note = width == 0,
		.index = UINT32_MAX,
		.length = width,
		.number = number,
	};
}

void mr_emit_number(struct mr_emitter *emitter, const char *name, unsigned width, uint64_t number)
{
	emit(emitter, number_field(name, MR_FIELD_NUMBER, width, number));
}

void mr_emit_hex(struct mr_emitter *emitter, const char *name, unsigned width, uint64_t number)
{
	emit(emitter, number_field(name, MR_FIELD_HEX, width, number));
}

void mr_emit_derived(struct mr_emitter *emitter, const char *name, unsigned width, uint64_t number)
{
	struct mr_field field = number_field(name, MR_FIELD_HEX, width, number);

	field.derived = true;
	emit(emitter, field);
}

void mr_emit_element(struct mr_emitter *emitter, const char *name, uint32_t index, unsigned width, uint64_t number)
{
	struct mr_field field = number_field(name, MR_FIELD_HEX, width, number);

	field.index = index;
	emit(emitter, field);
}

static void emit_run(struct mr_emitter *emitter, const char *name, enum mr_field_type type, struct mr_bytes bytes)
{
	emit(emitter, (struct mr_field){
			      .name = name,
			      .type = type,
			      .index = UINT32_MAX,
			      .length = bytes.length,
			      .bytes = bytes,
		      });
}

void mr_emit_bytes(struct mr_emitter *emitter, const char *name, struct mr_bytes bytes)
{
	emit_run(emitter, name, MR_FIELD_BYTES, bytes);
}

void mr_emit_text(struct mr_emitter *emitter, const char *name, struct mr_bytes bytes)
{
	emit_run(emitter, name, MR_FIELD_TEXT, bytes);
}

void mr_emit_counted(struct mr_emitter *emitter, const char *name, struct mr_bytes bytes)
{
	mr_emit_derived(emitter, "name_length", 1, bytes.length);
	mr_emit_text(emitter, name, bytes);
}

void mr_emit_counted_element(struct mr_emitter *emitter, const char *name, uint32_t index, struct mr_bytes bytes)
{
	mr_emit_derived(emitter, "name_length", 1, bytes.length);
	emit(emitter, (struct mr_field){
			      .name = name,
			      .type = MR_FIELD_TEXT,
			      .index = index,
			      .length = bytes.length,
			      .bytes = bytes,
		      });
}

void mr_emit_note(struct mr_emitter *emitter, const char *name, const char *text)
{
	emit(emitter, (struct mr_field){
			      .name = name,
			      .type = MR_FIELD_TEXT,
			      .note = true,
			      .index = UINT32_MAX,
			      .bytes = {(const uint8_t *)text, strlen(text)},
		      });
}

/* ---- Dispatch ---- */

typedef void fields_function(const struct mr_record *record, struct mr_emitter *emitter);

static fields_function *family(enum mr_kind kind)
{
	switch (kind) {
	case MR_COMMAND:
		return mr_command_fields;
	case MR_RAM_SIZE:
	case MR_RAM_BLOCK:
	case MR_RAM_BITMAP:
	case MR_RAM_PAGES:
	case MR_RAM_ZERO:
	case MR_RAM_PAGE:
	case MR_RAM_XBZRLE:
	case MR_RAM_COMPRESSED:
	case MR_RAM_HOOK:
	case MR_RAM_FLUSH:
	case MR_RAM_EOS:
		return mr_ram_fields;
	case MR_RETURN_MESSAGE:
		return mr_return_fields;
	case MR_MULTIFD_INIT:
	case MR_MULTIFD_PACKET:
	case MR_MULTIFD_DEVICE_STATE:
		return mr_multifd_fields;
	default:
		return mr_main_fields;
	}
}

void mr_visit_fields(const struct mr_record *record, mr_field_visitor *visit, void *argument)
{
	struct mr_emitter emitter = {visit, argument, 0};

	family(record->kind)(record, &emitter);
}

/* ---- Encoding ---- */

static void add_length(void *argument, const struct mr_field *field)
{
	*(uint64_t *)argument += field->length;
}

uint64_t mr_encoded_length(const struct mr_record *record)
{
	uint64_t length = 0;

	mr_visit_fields(record, add_length, &length);
	return length;
}

struct writer {
	uint8_t *out;
	size_t capacity, length;
	bool full;
};

static void write_field(void *argument, const struct mr_field *field)
{
	struct writer *writer = argument;

	if (writer->full || field->length > writer->capacity - writer->length) {
		writer->full = true;
		return;
	}
	if (field->type == MR_FIELD_TEXT || field->type == MR_FIELD_BYTES) {
		if (field->length)
			memcpy(writer->out + writer->length, field->bytes.data, (size_t)field->length);
	} else {
		for (size_t i = 0; i < field->length; i++)
			writer->out[writer->length + i] = (uint8_t)(field->number >> 8 * (field->length - 1 - i));
	}
	writer->length += (size_t)field->length;
}

size_t mr_encode(const struct mr_record *record, uint8_t *out, size_t capacity)
{
	struct writer writer = {out, capacity, 0, false};

	mr_visit_fields(record, write_field, &writer);
	return writer.full ? 0 : writer.length;
}
