/* description_compare.c: what differs between the device layouts of two streams. */
#include "sim/record/description.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_MAX_BYTES = 4096, WHAT_MAX = 256, KEY_MAX = MR_NAME_MAX + 32 };

/*
 * Neighbours of one name are one array, whether a release describes it in one entry or in many. All of a run's elements
 * are compared by its first.
 */
struct run {
	const struct mr_layout *first;
	uint64_t elements, bytes;
	const struct mr_layout *behind;
};

/* Two entries of one name, whose members are to be compared. */
struct pair {
	const struct mr_layout *a, *b;
	size_t parent; /* SIZE_MAX: a device */
};

struct comparison {
	FILE *out;
	bool json;
	struct mr_description_differences *differences;
	struct pair *pairs; /* of one device, a parent before its children */
	size_t count, capacity;
	bool failed; /* memory is short */
};

/* ---- Reports ---- */

static const char *name_of_kind(const struct mr_layout *layout)
{
	return layout->kind == MR_LAYOUT_SUBSECTION ? "subsection " : "";
}

/* The names from the device down to the pair, and the name of a member; a long path loses its beginning. */
static void write_path(const struct comparison *comparison, size_t pair, const struct mr_layout *member, char *path)
{
	size_t at = PATH_MAX_BYTES - 1;

	path[at] = '\0';
	for (;;) {
		const struct mr_layout *layout = member ? member : comparison->pairs[pair].a;
		const char *separator = path[at] ? " > " : "";
		const size_t kind = strlen(name_of_kind(layout)), name = strlen(layout->name), tail = strlen(separator);

		if (layout->kind == MR_LAYOUT_DEVICE || at < kind + name + tail)
			break;
		memcpy(path + at - tail, separator, tail);
		memcpy(path + at - tail - name, layout->name, name);
		memcpy(path + at - tail - name - kind, name_of_kind(layout), kind);
		at -= tail + name + kind;
		if (!member)
			pair = comparison->pairs[pair].parent;
		member = NULL;
	}
	memmove(path, path + at, PATH_MAX_BYTES - at);
}

static void differ(struct comparison *comparison, const struct mr_layout *device, const char *path, const char *kind,
		   const char *format, ...) __attribute__((format(printf, 5, 6)));

static void differ(struct comparison *comparison, const struct mr_layout *device, const char *path, const char *kind,
		   const char *format, ...)
{
	char what[WHAT_MAX];
	va_list arguments;
	json_t *object;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	comparison->differences->count++;
	if (!comparison->json) {
		fprintf(comparison->out, "%s/%" PRIu32 "%s%s: %s\n", device->name, device->instance, *path ? ": " : "",
			path, what);
		return;
	}
	object = json_pack("{s:s, s:I, s:s, s:s, s:s}", "device", device->name, "instance",
			   (json_int_t)device->instance, "path", path, "difference", kind, "text", what);
	comparison->failed |= !object || json_dumpf(object, comparison->out, JSON_COMPACT | JSON_ENSURE_ASCII) < 0;
	putc('\n', comparison->out);
	json_decref(object);
}

static const struct mr_layout *device_of(const struct comparison *comparison)
{
	return comparison->pairs[0].a;
}

/* ---- Runs ---- */

static const struct mr_layout *behind(const struct mr_layout *layout)
{
	return layout + 1 + layout->inside;
}

static struct run run_at(const struct mr_layout *first, const struct mr_layout *end)
{
	struct run run = {first, 0, 0, first};

	do {
		run.elements += run.behind->count;
		run.bytes += run.behind->count * run.behind->size;
		run.behind = behind(run.behind);
	} while (run.behind != end && first->kind != MR_LAYOUT_SUBSECTION && run.behind->kind != MR_LAYOUT_SUBSECTION &&
		 strcmp(run.behind->name, first->name) == 0);
	return run;
}

static void write_key(const struct mr_layout *first, char key[KEY_MAX])
{
	snprintf(key, KEY_MAX, "%c%" PRIu32 "/%s", first->kind == MR_LAYOUT_SUBSECTION ? 's' : 'f', first->repeat,
		 first->name);
}

static void describe_run(const struct run *run, char text[WHAT_MAX])
{
	char count[32] = "";

	if (run->elements != 1)
		snprintf(count, sizeof(count), "[%" PRIu64 "]", run->elements);
	if (run->first->kind == MR_LAYOUT_SUBSECTION)
		snprintf(text, WHAT_MAX, "version %" PRIu32 ", %" PRIu64 " bytes", run->first->version, run->bytes);
	else
		snprintf(text, WHAT_MAX, "%.80s%s, %" PRIu64 " bytes", run->first->type, count, run->bytes);
}

/* ---- Comparing ---- */

static void add_pair(struct comparison *comparison, const struct mr_layout *a, const struct mr_layout *b, size_t parent)
{
	if (comparison->count == comparison->capacity) {
		const size_t capacity = comparison->capacity ? 2 * comparison->capacity : 64;
		struct pair *larger = realloc(comparison->pairs, capacity * sizeof(*larger));

		if (!larger) {
			comparison->failed = true;
			return;
		}
		comparison->pairs = larger;
		comparison->capacity = capacity;
	}
	comparison->pairs[comparison->count++] = (struct pair){a, b, parent};
}

static void report_alone(struct comparison *comparison, size_t pair, const struct run *run, char side)
{
	char path[PATH_MAX_BYTES], text[WHAT_MAX];

	write_path(comparison, pair, run->first, path);
	describe_run(run, text);
	differ(comparison, device_of(comparison), path, side == 'A' ? "only-in-a" : "only-in-b", "only in %c: %.180s",
	       side, text);
}

static void compare_runs(struct comparison *comparison, size_t pair, const struct run *a, const struct run *b)
{
	const bool subsection = a->first->kind == MR_LAYOUT_SUBSECTION;
	char path[PATH_MAX_BYTES], a_text[WHAT_MAX], b_text[WHAT_MAX];

	if (strcmp(a->first->type, b->first->type) != 0 || a->elements != b->elements || a->bytes != b->bytes) {
		write_path(comparison, pair, a->first, path);
		describe_run(a, a_text);
		describe_run(b, b_text);
		differ(comparison, device_of(comparison), path, "layout", "%.110s in A, %.110s in B", a_text, b_text);
	}
	if (a->first->has_version && b->first->has_version && a->first->version != b->first->version) {
		write_path(comparison, pair, a->first, path);
		differ(comparison, device_of(comparison), path, "version",
		       "version %" PRIu32 " in A, %" PRIu32 " in B%s", a->first->version, b->first->version,
		       subsection ? "" : " (not on the wire)");
	}
	if (a->first->inside && b->first->inside)
		add_pair(comparison, a->first, b->first, pair);
}

/* The members of `owner` by their keys: values are 1 + offset from the owner. */
static json_t *index_members(const struct mr_layout *owner)
{
	const struct mr_layout *end = behind(owner);
	json_t *members = json_object();
	char key[KEY_MAX];

	for (const struct mr_layout *at = owner + 1; members && at != end; at = run_at(at, end).behind) {
		write_key(at, key);
		if (json_object_set_new(members, key, json_integer(at - owner)) < 0) {
			json_decref(members);
			members = NULL;
		}
	}
	return members;
}

/* A's members in their order; then what only B has. */
static void compare_members(struct comparison *comparison, size_t pair)
{
	const struct mr_layout *a = comparison->pairs[pair].a, *b = comparison->pairs[pair].b;
	json_t *members = index_members(b);
	json_int_t last = 0;
	char key[KEY_MAX], path[PATH_MAX_BYTES];
	struct run run;

	comparison->failed |= !members;
	for (const struct mr_layout *at = a + 1; at != behind(a) && !comparison->failed; at = run.behind) {
		json_int_t found;

		run = run_at(at, behind(a));
		write_key(at, key);
		found = json_integer_value(json_object_get(members, key));
		if (!found) {
			report_alone(comparison, pair, &run, 'A');
			continue;
		}
		if (found < last) {
			write_path(comparison, pair, at, path);
			differ(comparison, device_of(comparison), path, "order", "earlier in B than in A");
		}
		last = found > last ? found : last;
		const struct run other = run_at(b + found, behind(b));
		json_object_del(members, key);
		compare_runs(comparison, pair, &run, &other);
	}
	for (const struct mr_layout *at = b + 1; at != behind(b) && !comparison->failed; at = run.behind) {
		run = run_at(at, behind(b));
		write_key(at, key);
		if (json_object_get(members, key))
			report_alone(comparison, pair, &run, 'B');
	}
	json_decref(members);
}

static void compare_devices(struct comparison *comparison, const struct mr_layout *a, const struct mr_layout *b)
{
	const bool newer = b->version > a->version;

	if (a->has_version && b->has_version && a->version != b->version) {
		comparison->differences->refused[newer ? 0 : 1]++;
		differ(comparison, a, "", "version",
		       "version %" PRIu32 " in A, %" PRIu32 " in B: %c's receiver refuses %c's", a->version, b->version,
		       newer ? 'A' : 'B', newer ? 'B' : 'A');
	}
	if (a->size != b->size)
		differ(comparison, a, "", "size", "%" PRIu64 " bytes in A, %" PRIu64 " in B", a->size, b->size);
	comparison->count = 0;
	add_pair(comparison, a, b, SIZE_MAX);
	for (size_t pair = 0; pair < comparison->count && !comparison->failed; pair++)
		compare_members(comparison, pair);
}

static void compare_lists(struct comparison *comparison, const struct mr_description *a, const struct mr_description *b,
			  bool *used)
{
	size_t next = 0;

	for (size_t i = 0; i < mr_description_count(a) && !comparison->failed; i++) {
		const struct mr_layout *device = mr_description_device(a, i);
		const struct mr_bytes idstr = {(const uint8_t *)device->name, strlen(device->name)};
		const size_t found = mr_description_find(b, idstr, device->instance, next);

		if (found == SIZE_MAX || used[found]) {
			differ(comparison, device, "", "only-in-a", "only in A: version %" PRIu32 ", %" PRIu64 " bytes",
			       device->version, device->size);
			continue;
		}
		used[found] = true;
		next = found + 1;
		compare_devices(comparison, device, mr_description_device(b, found));
	}
	for (size_t i = 0; i < mr_description_count(b) && !comparison->failed; i++) {
		const struct mr_layout *device = mr_description_device(b, i);

		if (!used[i])
			differ(comparison, device, "", "only-in-b", "only in B: version %" PRIu32 ", %" PRIu64 " bytes",
			       device->version, device->size);
	}
}

int mr_description_compare(FILE *out, const struct mr_description *a, const struct mr_description *b, bool json,
			   struct mr_description_differences *differences)
{
	struct comparison comparison = {.out = out, .json = json, .differences = differences};
	bool *used = calloc(mr_description_count(b) + 1, sizeof(*used));

	memset(differences, 0, sizeof(*differences));
	if (!used)
		return -1;
	compare_lists(&comparison, a, b, used);
	free(used);
	free(comparison.pairs);
	return comparison.failed ? -1 : 0;
}
