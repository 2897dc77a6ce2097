/*
 * description.c: the layout of device sections, from the JSON text that ends a precopy stream (STR-022).
 *
 * The tree of the text becomes one array in the order of the text. Nothing here follows the text by recursion: its
 * depth comes from the stream.
 */
#include "wire.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIRST_CAPACITY = 256, SUBSECTION_HEADER = 1 + 1 + 4 };

struct mr_description {
	json_t *root; /* owns every name */
	struct mr_layout *layouts;
	size_t count, capacity;
	uint32_t *devices; /* entries of the devices */
	size_t device_count;
	uint64_t page_size;
};

/* A description whose members are being read: of a device, a subsection or a struct. */
struct level {
	json_t *object;  /* holds fields and subsections */
	json_t *members; /* the one of them that is being read; may be NULL */
	json_t *names;   /* how many runs of members had this name */
	size_t next;     /* member */
	bool in_subsections;
	uint32_t owner; /* entry */
	uint32_t last;  /* entry of the member before; the owner if there is none */
	uint64_t sum;   /* bytes of the members so far */
};

struct builder {
	struct mr_description *description;
	struct level stack[MR_LAYOUT_DEPTH_MAX];
	size_t depth;
	char *error; /* 96 bytes */
};

/* ---- Values ---- */

static const struct codec {
	const char *type;
	uint64_t size;
	enum mr_value value;
} codecs[] = {
	{"bool", 1, MR_VALUE_BOOL},
	{"int8", 1, MR_VALUE_SIGNED},
	{"int16", 2, MR_VALUE_SIGNED},
	{"int32", 4, MR_VALUE_SIGNED},
	{"int64", 8, MR_VALUE_SIGNED},
	{"uint8", 1, MR_VALUE_UNSIGNED},
	{"uint16", 2, MR_VALUE_UNSIGNED},
	{"uint32", 4, MR_VALUE_UNSIGNED},
	{"uint64", 8, MR_VALUE_UNSIGNED},
	{"int32 equal", 4, MR_VALUE_SIGNED},
	{"int32 le", 4, MR_VALUE_SIGNED},
	{"uint8 equal", 1, MR_VALUE_UNSIGNED},
	{"uint16 equal", 2, MR_VALUE_UNSIGNED},
	{"uint32 equal", 4, MR_VALUE_UNSIGNED},
	{"int64 equal", 8, MR_VALUE_UNSIGNED}, /* its name misleads */
	{"CPU_Double_U", 8, MR_VALUE_UNSIGNED},
	{"timer", 8, MR_VALUE_TIMER},
	{"nullptr", 1, MR_VALUE_MARK},
	{"ptr-marker", 1, MR_VALUE_MARK},
};

/* Sets how the field's bytes are read; a type of fixed size is read as such only if it has that size. */
static void set_value(struct mr_layout *layout)
{
	for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
		if (strcmp(layout->type, codecs[i].type) != 0)
			continue;
		if (layout->size == codecs[i].size)
			layout->value = codecs[i].value;
		else
			layout->type_size = codecs[i].size;
		return;
	}
}

/* ---- Members of JSON objects ---- */

static bool complain(struct builder *builder, const char *what, const char *name)
{
	const struct mr_text text = mr_text("%s %.60s", what, name);

	memcpy(builder->error, text.text, sizeof(text.text));
	return false;
}

/* A name of at most 255 bytes; "" if there is none and none is needed. */
static bool read_name(struct builder *builder, json_t *object, const char *key, bool needed, const char **name)
{
	json_t *value = json_object_get(object, key);

	*name = value ? json_string_value(value) : "";
	if (!*name || strlen(*name) > MR_NAME_MAX || (needed && !value))
		return complain(builder, "expected a name of at most 255 bytes for", key);
	return true;
}

static bool check_array(struct builder *builder, const json_t *value, const char *key)
{
	if (value && json_typeof(value) != JSON_ARRAY)
		return complain(builder, "expected an array, found something else:", key);
	return true;
}

static bool read_integer(struct builder *builder, json_t *object, const char *key, json_int_t least, json_int_t most,
			 json_int_t *number)
{
	json_t *value = json_object_get(object, key);

	if (!json_is_integer(value) || json_integer_value(value) < least || json_integer_value(value) > most)
		return complain(builder, "missing, no number, or out of range:", key);
	*number = json_integer_value(value);
	return true;
}

/* Versions and instances; older releases wrote them with a sign. */
static bool read_u32(struct builder *builder, json_t *object, const char *key, uint32_t *number)
{
	json_int_t value;

	if (!read_integer(builder, object, key, INT32_MIN, UINT32_MAX, &value))
		return false;
	*number = (uint32_t)value;
	return true;
}

static bool read_version(struct builder *builder, json_t *object, struct mr_layout *layout)
{
	layout->has_version = json_object_get(object, "version") != NULL;
	return !layout->has_version || read_u32(builder, object, "version", &layout->version);
}

/* ---- Entries ---- */

static struct mr_layout *add_layout(struct builder *builder, const struct mr_layout *layout)
{
	struct mr_description *description = builder->description;

	if (description->count == description->capacity) {
		const size_t capacity = description->capacity ? 2 * description->capacity : FIRST_CAPACITY;
		struct mr_layout *larger = NULL;

		if (capacity <= MR_LAYOUT_MAX)
			larger = realloc(description->layouts, capacity * sizeof(*larger));
		if (!larger) {
			complain(builder, "too many entries, or memory is short at", layout->name);
			return NULL;
		}
		description->layouts = larger;
		description->capacity = capacity;
	}
	description->layouts[description->count] = *layout;
	return &description->layouts[description->count++];
}

static struct level *top_of(struct builder *builder)
{
	return &builder->stack[builder->depth - 1];
}

/*
 * Neighbours of one name are the elements of one array; a later run of that name gets a number. Fields come before
 * subsections, so only fields stand before a field.
 */
static bool number_run(struct builder *builder, struct mr_layout *layout, uint32_t index)
{
	struct level *level = top_of(builder);
	struct mr_layout *last = &builder->description->layouts[level->last];
	json_t *runs;

	if (level->last != level->owner && layout->kind != MR_LAYOUT_SUBSECTION &&
	    strcmp(last->name, layout->name) == 0) {
		layout->repeat = last->repeat;
		last->array_last = false;
		if (!last->in_array)
			last->array_first = last->in_array = true;
		layout->in_array = layout->array_last = true;
		level->last = index;
		return true;
	}
	runs = json_object_get(level->names, layout->name);
	layout->repeat = (uint32_t)json_integer_value(runs);
	layout->in_array = layout->array_first = layout->array_last = layout->listed;
	level->last = index;
	if (json_object_set_new(level->names, layout->name, json_integer(layout->repeat + (json_int_t)1)) < 0)
		return complain(builder, "no memory at", layout->name);
	return true;
}

static bool add_bytes(struct builder *builder, uint64_t size, uint64_t count, const char *name)
{
	struct level *level = top_of(builder);
	uint64_t bytes;

	if (__builtin_mul_overflow(size, count, &bytes) || __builtin_add_overflow(level->sum, bytes, &level->sum) ||
	    level->sum > INT64_MAX)
		return complain(builder, "sizes beyond 2^63 at", name);
	return true;
}

static bool open_level(struct builder *builder, json_t *object, uint32_t owner)
{
	struct level *level = &builder->stack[builder->depth];

	if (builder->depth == MR_LAYOUT_DEPTH_MAX)
		return complain(builder, "nested too deep at", builder->description->layouts[owner].name);
	*level = (struct level){.object = object, .owner = owner, .last = owner};
	level->members = json_object_get(object, "fields");
	level->names = json_object();
	builder->depth++;
	if (!level->names)
		return complain(builder, "no memory at", builder->description->layouts[owner].name);
	return check_array(builder, level->members, "fields");
}

/* The members' bytes are known: what they say about their owner. */
static bool close_level(struct builder *builder)
{
	const struct level level = *top_of(builder);
	struct mr_layout *owner = &builder->description->layouts[level.owner];

	json_decref(level.names);
	builder->depth--;
	owner->inside = (uint32_t)builder->description->count - level.owner - 1;
	if (owner->kind == MR_LAYOUT_STRUCT) {
		owner->opened = level.sum == owner->size;
		return true;
	}
	if (owner->kind == MR_LAYOUT_DEVICE) {
		/* an opaque device of old style may state its size alone */
		if (owner->inside)
			owner->size = level.sum;
		return true;
	}
	/* cannot wrap: the members stay below 2^63 */
	owner->size = SUBSECTION_HEADER + strlen(owner->name) + level.sum;
	return add_bytes(builder, owner->size, 1, owner->name);
}

/* The object that describes the inside of a field; NULL if nothing does, or not reliably. */
static json_t *inside_of(json_t *field, const char *type)
{
	json_t *inner = json_object_get(field, "struct");

	if (strcmp(type, "struct") == 0)
		return json_object_size(inner) ? inner : NULL;
	/* Lists write their members once an element, under the same keys; these two write them once. */
	if (strcmp(type, "tmp") == 0 || strcmp(type, "vstruct") == 0)
		return json_object_get(field, "fields") ? field : NULL;
	return NULL;
}

static bool read_field_numbers(struct builder *builder, json_t *field, struct mr_layout *layout)
{
	const bool counted = json_object_get(field, "array_len") != NULL;
	const bool indexed = json_object_get(field, "index") != NULL;
	json_int_t size, count = 1, index = UINT32_MAX;

	if (!read_integer(builder, field, "size", 0, INT64_MAX, &size) ||
	    (counted && !read_integer(builder, field, "array_len", 0, INT64_MAX, &count)) ||
	    (indexed && !read_integer(builder, field, "index", 0, UINT32_MAX - 1, &index)))
		return false;
	layout->size = (uint64_t)size;
	layout->count = (uint64_t)count;
	layout->index = (uint32_t)index;
	layout->listed = counted || indexed;
	return true;
}

static bool read_field(struct builder *builder, json_t *field)
{
	const uint32_t index = (uint32_t)builder->description->count;
	struct mr_layout layout = {.kind = MR_LAYOUT_FIELD, .depth = (uint32_t)builder->depth};
	json_t *inner;

	if (!read_name(builder, field, "name", false, &layout.name) ||
	    !read_name(builder, field, "type", false, &layout.type) || !read_field_numbers(builder, field, &layout) ||
	    !add_bytes(builder, layout.size, layout.count, layout.name) || !number_run(builder, &layout, index))
		return false;
	inner = inside_of(field, layout.type);
	if (!inner) {
		set_value(&layout);
		/* QEMU up to 9.2 describes a NULL pointer as a struct of nothing that takes the mark's byte. */
		if (layout.size == 1 && json_is_object(json_object_get(field, "struct")))
			layout.value = MR_VALUE_MARK;
		return add_layout(builder, &layout) != NULL;
	}
	layout.kind = MR_LAYOUT_STRUCT;
	return read_name(builder, inner, "vmsd_name", false, &layout.vmsd_name) &&
	       read_version(builder, inner, &layout) && add_layout(builder, &layout) &&
	       open_level(builder, inner, index);
}

static bool read_subsection(struct builder *builder, json_t *subsection)
{
	const uint32_t index = (uint32_t)builder->description->count;
	struct mr_layout layout = {
		.kind = MR_LAYOUT_SUBSECTION,
		.depth = (uint32_t)builder->depth,
		.count = 1,
		.index = UINT32_MAX,
		.type = "subsection",
	};

	if (!read_name(builder, subsection, "vmsd_name", true, &layout.name) ||
	    !read_version(builder, subsection, &layout))
		return false;
	layout.vmsd_name = layout.name;
	return number_run(builder, &layout, index) && add_layout(builder, &layout) &&
	       open_level(builder, subsection, index);
}

static bool read_device(struct builder *builder, json_t *device, uint32_t *index)
{
	struct mr_layout layout = {.kind = MR_LAYOUT_DEVICE, .count = 1, .index = UINT32_MAX, .type = "device"};
	json_int_t size = 0;

	*index = (uint32_t)builder->description->count;
	if (!read_name(builder, device, "name", true, &layout.name) ||
	    !read_u32(builder, device, "instance_id", &layout.instance) ||
	    !read_name(builder, device, "vmsd_name", false, &layout.vmsd_name) ||
	    !read_version(builder, device, &layout) ||
	    (json_object_get(device, "size") && !read_integer(builder, device, "size", 0, INT64_MAX, &size)))
		return false;
	layout.size = (uint64_t)size;
	return add_layout(builder, &layout) && open_level(builder, device, *index);
}

/* ---- The text ---- */

/* Reads on at the innermost open description until all are closed. */
static bool read_members(struct builder *builder)
{
	while (builder->depth) {
		struct level *level = top_of(builder);
		json_t *member = json_array_get(level->members, level->next++);
		bool good;

		if (member) {
			good = (level->in_subsections ? read_subsection : read_field)(builder, member);
		} else if (!level->in_subsections) {
			level->members = json_object_get(level->object, "subsections");
			level->next = 0;
			level->in_subsections = true;
			good = check_array(builder, level->members, "subsections");
		} else {
			good = close_level(builder);
		}
		if (!good)
			return false;
	}
	return true;
}

/* A device that is listed again gets a number, like a run of members. */
static bool number_device(struct builder *builder, json_t *seen, struct mr_layout *device)
{
	char key[MR_NAME_MAX + 16];
	json_int_t before;

	snprintf(key, sizeof(key), "%" PRIu32 "/%s", device->instance, device->name);
	before = json_integer_value(json_object_get(seen, key));
	device->repeat = (uint32_t)before;
	if (json_object_set_new(seen, key, json_integer(before + 1)) < 0)
		return complain(builder, "no memory at", device->name);
	return true;
}

static bool read_each_device(struct builder *builder, json_t *devices, json_t *seen)
{
	struct mr_description *description = builder->description;

	for (size_t index = 0; index < json_array_size(devices); index++) {
		json_t *device = json_array_get(devices, index);
		uint32_t *entry = &description->devices[index];

		if (!read_device(builder, device, entry) || !read_members(builder) ||
		    !number_device(builder, seen, &description->layouts[*entry])) {
			const char *name = json_string_value(json_object_get(device, "name"));
			const struct mr_text text = mr_text("device %.30s: %.50s", name ? name : "?", builder->error);

			memcpy(builder->error, text.text, sizeof(text.text));
			return false;
		}
		description->device_count++;
	}
	return true;
}

static bool read_devices(struct builder *builder, json_t *devices)
{
	json_t *seen;
	bool good;

	if (!json_is_array(devices))
		return complain(builder, "no array", "\"devices\"");
	if (json_array_size(devices) > MR_DEVICES_MAX)
		return complain(builder, "more devices than", "16384");
	builder->description->devices = calloc(json_array_size(devices) + 1, sizeof(uint32_t));
	seen = json_object();
	good = builder->description->devices && seen ? read_each_device(builder, devices, seen)
						     : complain(builder, "no memory for", "devices");
	while (builder->depth)
		json_decref(builder->stack[--builder->depth].names);
	json_decref(seen);
	return good;
}

struct mr_description *mr_description_new(struct mr_bytes json, char error[96])
{
	struct mr_description *description = calloc(1, sizeof(*description));
	struct builder builder = {.description = description, .error = error};
	json_error_t reason;

	if (!description) {
		complain(&builder, "no memory for", "a description");
		return NULL;
	}
	if (json.length > MR_DESCRIPTION_MAX)
		complain(&builder, "longer than", "67108864 bytes");
	else if (!(description->root = json_loadb((const char *)json.data, json.length, 0, &reason)))
		memcpy(error, mr_text("not JSON at byte %d: %.60s", reason.position, reason.text).text, 96);
	else if (read_devices(&builder, json_object_get(description->root, "devices"))) {
		/* 0 if there is none or it is no integer */
		description->page_size = (uint64_t)json_integer_value(json_object_get(description->root, "page_size"));
		return description;
	}
	mr_description_free(description);
	return NULL;
}

void mr_description_free(struct mr_description *description)
{
	if (!description)
		return;
	json_decref(description->root);
	free(description->layouts);
	free(description->devices);
	free(description);
}

/* ---- Asking ---- */

size_t mr_description_count(const struct mr_description *description)
{
	return description->device_count;
}

const struct mr_layout *mr_description_device(const struct mr_description *description, size_t index)
{
	return &description->layouts[description->devices[index]];
}

const struct mr_layout *mr_description_layouts(const struct mr_description *description, size_t *count)
{
	*count = description->count;
	return description->layouts;
}

uint64_t mr_description_page_size(const struct mr_description *description)
{
	return description->page_size;
}

size_t mr_description_find(const struct mr_description *description, struct mr_bytes idstr, uint32_t instance,
			   size_t guess)
{
	const size_t count = description->device_count;

	for (size_t i = 0; i < count; i++) {
		const size_t index = (guess % count + i) % count;
		const struct mr_layout *device = mr_description_device(description, index);

		if (device->instance == instance && mr_bytes_equal_string(idstr, device->name))
			return index;
	}
	return SIZE_MAX;
}

size_t mr_description_list(const struct mr_description *description, struct mr_device_size *sizes, size_t capacity)
{
	for (size_t i = 0; i < description->device_count && i < capacity; i++) {
		const struct mr_layout *device = mr_description_device(description, i);

		memset(&sizes[i], 0, sizeof(sizes[i]));
		memcpy(sizes[i].idstr, device->name, strlen(device->name));
		sizes[i].instance = device->instance;
		sizes[i].size = device->size;
	}
	return description->device_count;
}

long mr_description_sizes(struct mr_bytes json, struct mr_device_size *sizes, size_t capacity, char error[96])
{
	struct mr_description *description = mr_description_new(json, error);
	long count = -1;

	if (description)
		count = (long)mr_description_list(description, sizes, capacity);
	mr_description_free(description);
	return count;
}
