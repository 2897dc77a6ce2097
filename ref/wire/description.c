/* description.c: the sizes of device sections, from the JSON text that ends a precopy stream (STR-022). */
#include "wire.h"

#include <jansson.h>
#include <stdio.h>

enum { NESTING_MAX = 64 };

struct walk {
	json_t *fields;
	size_t next;
};

/* Bytes of one field: QEMU states the size of one element, nested descriptions included. */
static bool field_size(json_t *field, uint64_t *size)
{
	json_t *one = json_object_get(field, "size");
	json_t *count = json_object_get(field, "array_len");
	json_int_t times = 1;

	if (!json_is_integer(one) || json_integer_value(one) < 0)
		return false;
	if (count) {
		if (!json_is_integer(count) || json_integer_value(count) < 0)
			return false;
		times = json_integer_value(count);
	}
	return !__builtin_mul_overflow((uint64_t)json_integer_value(one), (uint64_t)times, size);
}

/* Adds the bytes of a subsection's own header: 05, counted name, version. */
static bool subsection_size(json_t *subsection, uint64_t *size)
{
	const char *name = json_string_value(json_object_get(subsection, "vmsd_name"));

	if (!name || strlen(name) > MR_NAME_MAX)
		return false;
	*size += 1 + 1 + strlen(name) + 4;
	return true;
}

static bool add_fields(json_t *description, uint64_t *size)
{
	json_t *fields = json_object_get(description, "fields");
	json_t *field;
	size_t index;

	if (fields && !json_is_array(fields))
		return false;
	json_array_foreach(fields, index, field)
	{
		uint64_t bytes;

		if (!field_size(field, &bytes) || __builtin_add_overflow(*size, bytes, size))
			return false;
	}
	return true;
}

/*
 * A field's size covers everything nested in it, so only subsections of subsections have to be walked: with a stack of
 * our own, because their depth comes from the stream.
 */
static bool device_size(json_t *device, uint64_t *size)
{
	struct walk stack[NESTING_MAX];
	size_t depth = 1;

	*size = 0;
	stack[0] = (struct walk){json_object_get(device, "subsections"), 0};
	if (!add_fields(device, size))
		return false;
	while (depth) {
		struct walk *top = &stack[depth - 1];
		json_t *subsection = json_array_get(top->fields, top->next++);

		if (!subsection) {
			depth--;
			continue;
		}
		if (depth == NESTING_MAX || !subsection_size(subsection, size) || !add_fields(subsection, size))
			return false;
		stack[depth++] = (struct walk){json_object_get(subsection, "subsections"), 0};
	}
	return true;
}

static bool read_device(json_t *device, struct mr_device_size *result, char error[96])
{
	json_t *instance = json_object_get(device, "instance_id");
	const char *name = json_string_value(json_object_get(device, "name"));

	if (!name || strlen(name) > MR_NAME_MAX || !json_is_integer(instance)) {
		snprintf(error, 96, "a device without name and instance_id");
		return false;
	}
	snprintf(result->idstr, sizeof(result->idstr), "%s", name);
	result->instance = (uint32_t)json_integer_value(instance);
	if (!device_size(device, &result->size)) {
		snprintf(error, 96, "device %.60s has no usable sizes", name);
		return false;
	}
	return true;
}

long mr_description_sizes(struct mr_bytes json, struct mr_device_size *sizes, size_t capacity, char error[96])
{
	json_error_t reason;
	json_t *root = NULL;
	json_t *devices, *device;
	size_t index;
	long count = -1;

	if (json.length > MR_DESCRIPTION_MAX)
		snprintf(error, 96, "longer than %d bytes", MR_DESCRIPTION_MAX);
	else if (!(root = json_loadb((const char *)json.data, json.length, 0, &reason)))
		snprintf(error, 96, "not JSON at byte %d: %.60s", reason.position, reason.text);
	else if (!json_is_array(devices = json_object_get(root, "devices")))
		snprintf(error, 96, "no array \"devices\"");
	else {
		count = 0;
		json_array_foreach(devices, index, device)
		{
			struct mr_device_size unused;

			if (!read_device(device, index < capacity ? &sizes[index] : &unused, error)) {
				count = -1;
				break;
			}
			count++;
		}
	}
	json_decref(root);
	return count;
}
