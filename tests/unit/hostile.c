/* hostile.c: reads a test vector whose bytes were changed, and counts what comes out. */
#include "hostile.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VECTORS_MAX = 2048, PATH_SIZE = 512 };

/* ---- Reading ---- */

struct hostile_reading hostile;

static struct mr_session session;
static struct mr_decoder decoders[MR_VECTOR_CHANNELS_MAX];

static void take_finding(void *argument, const struct mr_finding *finding)
{
	(void)argument;
	if (hostile.findings < HOSTILE_SEEN_MAX)
		hostile.seen[hostile.findings] =
			(struct hostile_place){finding->rule, finding->channel, finding->backward, finding->offset};
	hostile.findings++;
	if (memchr(finding->expected, 0, sizeof(finding->expected)) == NULL ||
	    memchr(finding->found, 0, sizeof(finding->found)) == NULL || strpbrk(finding->expected, "\n\r\033") ||
	    strpbrk(finding->found, "\n\r\033"))
		hostile.broken = true;
}

static void read_description(struct mr_bytes json)
{
	char error[96] = "";
	struct mr_description *description = mr_description_new(json, error);

	if (!description)
		hostile.refused = true;
	mr_description_free(description);
}

static void read_channel(struct mr_checker *checker, unsigned index, hostile_visitor *visit)
{
	const struct mr_vector_channel *channel = &hostile.vector->channels[index];
	struct mr_decoder *decoder = &decoders[index];
	struct mr_record record;
	enum mr_result result;
	size_t at = 0;

	mr_decoder_init(decoder, &session, channel->role, channel->channel);
	while ((result = mr_decode(decoder, channel->bytes + at, channel->length - at, !channel->cut, &record)) ==
	       MR_RECORD) {
		/* a device section may have an empty body, and has a header then */
		if (record.offset != at || (record.length == 0 && record.kind != MR_SECTION_DATA) ||
		    record.length > channel->length - at) {
			hostile.broken = true;
			break;
		}
		if (mr_encoded_length(&record) != record.length)
			hostile.broken = true;
		at += (size_t)record.length;
		hostile.records++;
		if (checker)
			mr_checker_record(checker, decoder, &record);
		if (record.kind == MR_VMDESCRIPTION)
			read_description(record.description.json);
		if (visit)
			visit(index, &record);
	}
	if (checker)
		mr_checker_channel_end(checker, decoder, result != MR_DONE);
	hostile.bytes += channel->length;
}

void hostile_read(const struct mr_vector *vector, hostile_visitor *visit)
{
	struct mr_checker *checker;

	hostile.vector = vector;
	hostile.records = hostile.findings = hostile.bytes = 0;
	hostile.refused = hostile.broken = false;
	if (mr_vector_session(vector, &session, take_finding, NULL)) {
		hostile.refused = true;
		return;
	}
	checker = mr_checker_new(&session);
	if (!checker)
		hostile.refused = true;
	for (unsigned i = 0; i < vector->channel_count; i++)
		read_channel(checker, i, visit);
	if (checker)
		mr_checker_finish(checker);
	mr_checker_free(checker);
}

bool hostile_is_bounded(void)
{
	return !hostile.broken && hostile.records <= hostile.bytes &&
	       hostile.findings <= hostile.bytes + HOSTILE_FINDINGS_EXTRA;
}

/* ---- Vectors ---- */

static char *paths[VECTORS_MAX];
static size_t path_count;

static void add_vectors(const char *folder)
{
	char path[PATH_SIZE];
	struct dirent *entry;
	DIR *directory;

	if (folder[0] == '.' || !strcmp(folder, "recordings") || !strcmp(folder, "streams"))
		return;
	snprintf(path, sizeof(path), "vectors/%.200s", folder);
	directory = opendir(path);
	while (directory && (entry = readdir(directory)) != NULL) {
		const size_t length = strlen(entry->d_name);

		if (length < 5 || strcmp(entry->d_name + length - 5, ".json") != 0 || path_count == VECTORS_MAX)
			continue;
		snprintf(path, sizeof(path), "vectors/%.200s/%.255s", folder, entry->d_name);
		paths[path_count++] = strdup(path);
	}
	if (directory)
		closedir(directory);
}

static int path_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void find_vectors(void)
{
	DIR *directory = opendir("vectors");
	struct dirent *entry;

	while (directory && (entry = readdir(directory)) != NULL)
		add_vectors(entry->d_name);
	if (directory)
		closedir(directory);
	qsort(paths, path_count, sizeof(paths[0]), path_order);
}

/* Gives each channel memory of exactly its length, so that whoever watches memory sees a byte read behind it. */
static void fit_channels(struct mr_vector *vector)
{
	for (unsigned i = 0; i < vector->channel_count; i++) {
		struct mr_vector_channel *channel = &vector->channels[i];
		uint8_t *bytes = malloc(channel->length ? channel->length : 1);

		assert_non_null(bytes);
		memcpy(bytes, channel->bytes, channel->length);
		free(channel->bytes);
		channel->bytes = bytes;
	}
}

void hostile_each_vector(void (*function)(struct mr_vector *vector))
{
	char error[MR_VECTOR_MESSAGE_MAX];

	if (path_count == 0)
		find_vectors();
	assert_int_not_equal(path_count, 0);
	for (size_t i = 0; i < path_count; i++) {
		struct mr_vector vector;

		if (mr_vector_load(&vector, paths[i], error))
			fail_msg("%s", error);
		fit_channels(&vector);
		function(&vector);
		mr_vector_free(&vector);
	}
}

/* ---- Fields ---- */

struct hostile_target hostile_targets[HOSTILE_TARGETS_MAX];
size_t hostile_target_count;

static struct {
	unsigned channel;
	uint64_t offset;
} record_at;

static void add_field(void *argument, const struct mr_field *field)
{
	const bool number = field->type == MR_FIELD_NUMBER || field->type == MR_FIELD_HEX;

	(void)argument;
	if (field->note || field->length == 0 || hostile_target_count == HOSTILE_TARGETS_MAX)
		return;
	hostile_targets[hostile_target_count++] = (struct hostile_target){
		.channel = record_at.channel,
		.offset = (size_t)(record_at.offset + field->offset),
		.length = (size_t)field->length,
		.number = number,
	};
}

static void add_fields(unsigned channel, const struct mr_record *record)
{
	record_at.channel = channel;
	record_at.offset = record->offset;
	mr_visit_fields(record, add_field, NULL);
}

void hostile_find_targets(const struct mr_vector *vector)
{
	hostile_target_count = 0;
	hostile_read(vector, add_fields);
}

void hostile_set_number(uint8_t *at, size_t width, uint64_t number)
{
	for (size_t i = width; i-- > 0; number >>= 8)
		at[i] = (uint8_t)number;
}
