/* vector_fields.c: a record's fields as the JSON object that test vectors have them in. */
#include "sim/record/vector.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <openssl/sha.h>

enum {
	BYTES_MAX = 64, /* longer runs of bytes are given by length and digest */
	SAFE_BITS = 53, /* a larger number may be rounded by a reader of JSON */
};

static void put_hex(char *text, const uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

static json_t *number_value(uint64_t number)
{
	char text[24];

	if (number >> SAFE_BITS == 0)
		return json_integer((json_int_t)number);
	snprintf(text, sizeof(text), "0x%" PRIx64, number);
	return json_string(text);
}

/* Bytes beyond ASCII become the characters of the same number. */
static json_t *text_value(struct mr_bytes bytes)
{
	char utf8[2 * MR_VECTOR_FILE_MAX];
	size_t length = 0;

	if (bytes.length > MR_VECTOR_FILE_MAX)
		return NULL;
	for (size_t i = 0; i < bytes.length; i++) {
		const uint8_t byte = bytes.data[i];

		if (byte > 0x7f)
			utf8[length++] = (char)(0xc0 | byte >> 6);
		utf8[length++] = (char)(byte > 0x7f ? 0x80 | (byte & 0x3f) : byte);
	}
	return json_stringn(utf8, length);
}

static json_t *bytes_value(struct mr_bytes bytes)
{
	char text[2 * BYTES_MAX + 1] = "";
	uint8_t digest[SHA256_DIGEST_LENGTH];

	if (bytes.length <= BYTES_MAX) {
		put_hex(text, bytes.data, bytes.length);
		return json_string(text);
	}
	SHA256(bytes.data, bytes.length, digest);
	put_hex(text, digest, sizeof(digest));
	return json_pack("{s:I, s:s}", "length", (json_int_t)bytes.length, "sha256", text);
}

static json_t *field_value(const struct mr_field *field)
{
	switch (field->type) {
	case MR_FIELD_TEXT:
		/* a text that no vector's file could hold is given as bytes are */
		return (field->bytes.length > MR_VECTOR_FILE_MAX ? bytes_value : text_value)(field->bytes);
	case MR_FIELD_BYTES:
		return bytes_value(field->bytes);
	default:
		return number_value(field->number);
	}
}

struct gathering {
	json_t *fields;
	bool failed;
};

static void add_field(void *argument, const struct mr_field *field)
{
	struct gathering *gathering = argument;
	json_t *value = field_value(field);
	json_t *before = json_object_get(gathering->fields, field->name);

	if (!before && field->index == UINT32_MAX) {
		gathering->failed |= json_object_set_new(gathering->fields, field->name, value) != 0;
		return;
	}
	/* The elements of a field that is repeated make an array, even a single one that is numbered. */
	if (!json_is_array(before)) {
		json_t *array = json_array();

		if (before)
			gathering->failed |= json_array_append(array, before) != 0;
		gathering->failed |= json_object_set_new(gathering->fields, field->name, array) != 0;
		before = array;
	}
	gathering->failed |= json_array_append_new(before, value) != 0;
}

json_t *mr_vector_fields(const struct mr_record *record)
{
	struct gathering gathering = {json_object(), false};

	if (!gathering.fields)
		return NULL;
	mr_visit_fields(record, add_field, &gathering);
	if (gathering.failed) {
		json_decref(gathering.fields);
		return NULL;
	}
	return gathering.fields;
}
