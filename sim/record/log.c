/* log.c: writes a nondeterminism log by hand, reads it as JSON lines within limits. */
#include "sim/record/log.h"
#include "sim/record/actions.h"
#include "sim/record/input.h"
#include "sim/record/log_fields.h"
#include "sim/record/print.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

enum { LOG_FORMAT = 1, FIRST_CAPACITY = 256 };

/* ---- Records ---- */

static int grow(struct mr_log *log)
{
	const size_t capacity = log->capacity ? 2 * log->capacity : FIRST_CAPACITY;
	struct mr_log_record *records;

	if (log->count < log->capacity)
		return 0;
	if (capacity > SIZE_MAX / sizeof(*records))
		return -1;
	records = realloc(log->records, capacity * sizeof(*records));
	if (!records)
		return -1;
	log->records = records;
	log->capacity = capacity;
	return 0;
}

/* Where an actor stopped for bytes matters to others alone: what it does right behind, it does from there on. */
static bool is_overtaken(const struct mr_log_record *last, const struct mr_log_record *record)
{
	const bool goes_on = record->kind == MR_LOG_STEP || record->kind == MR_LOG_WAIT || record->kind == MR_LOG_SHORT;

	return last->kind == MR_LOG_SHORT && goes_on && last->actor == record->actor;
}

int mr_log_append(struct mr_log *log, const struct mr_log_record *record)
{
	struct mr_log_record *last;

	if (log->count && is_overtaken(&log->records[log->count - 1], record))
		log->count--;
	last = log->count ? &log->records[log->count - 1] : NULL;
	if (record->kind == MR_LOG_STEP && last && last->kind == MR_LOG_STEP && last->actor == record->actor &&
	    record->count <= (uint64_t)INT64_MAX && last->count <= (uint64_t)INT64_MAX - record->count) {
		last->count += record->count;
		return 0;
	}
	if (grow(log) < 0)
		return -1;
	log->records[log->count++] = *record;
	return 0;
}

void mr_log_clear(struct mr_log *log)
{
	free(log->records);
	*log = (struct mr_log){0};
}

void mr_log_header_clear(struct mr_log_header *header)
{
	for (uint32_t i = 0; header->blocks && i < header->config.block_count; i++)
		free((char *)header->blocks[i].name);
	free(header->blocks);
	free(header->entries);
	*header = (struct mr_log_header){0};
}

/* ---- Writing ---- */

static bool blocks_are_told(const struct mr_incoming_config *config)
{
	for (uint32_t i = 0; i < config->block_count; i++) {
		const struct mr_incoming_block *block = &config->blocks[i];
		const size_t length = strlen(block->name);

		if (length == 0 || length > MR_NAME_MAX || block->used_length > INT64_MAX ||
		    block->max_length > INT64_MAX || block->page_size > INT64_MAX)
			return false;
	}
	return config->block_count <= MR_BLOCKS_MAX;
}

/* vCPUs whose waiting is counted. */
static uint32_t vcpus_of(const struct mr_incoming_config *config)
{
	return config->blocktime ? config->vcpu_count : 0;
}

static bool header_is_told(const struct mr_incoming_config *config)
{
	const struct mr_context *context = &config->context;

	return mr_log_profile_is_told(&context->profile, context->machine) &&
	       mr_log_profile_is_told(&config->profile, context->machine) &&
	       mr_log_capabilities_are_told(context->capabilities) &&
	       mr_log_handlers_are_told(config->handlers, &config->profile) &&
	       (context->multifd_method == MR_METHOD_UNKNOWN || mr_multifd_method_by_flag(context->multifd_method)) &&
	       config->package_max <= (size_t)INT64_MAX && vcpus_of(config) <= MR_INCOMING_VCPUS_MAX &&
	       blocks_are_told(config);
}

/* What the stream's own context says. */
static void write_context(FILE *out, const struct mr_context *context)
{
	const struct mr_multifd_method *method = mr_multifd_method_by_flag(context->multifd_method);

	mr_log_write_flag(out, "capabilities_known", context->capabilities_known);
	mr_log_write_capabilities(out, context->capabilities);
	mr_log_write_number(out, "stream_page_size", context->target_page_size);
	mr_log_write_number(out, "multifd_channels", context->multifd_channels);
	mr_log_write_string(out, "multifd_method", method ? method->name : "");
	mr_log_write_flag(out, "no_configuration", context->no_configuration);
	mr_log_write_flag(out, "no_footer", context->no_footer);
	mr_log_write_uuid(out, context->uuid_known, context->uuid);
}

static void write_name(FILE *out, const char *name)
{
	mr_print_json_string(out, (struct mr_bytes){(const uint8_t *)name, strlen(name)});
}

static void write_block(FILE *out, const struct mr_incoming_block *block)
{
	fputs("{\"name\":", out);
	write_name(out, block->name);
	mr_log_write_number(out, "used_length", block->used_length);
	mr_log_write_number(out, "max_length", block->max_length);
	mr_log_write_number(out, "page_size", block->page_size);
	mr_log_write_number(out, "rank", block->rank);
	mr_log_write_flag(out, "ignored", block->ignored);
	mr_log_write_flag(out, "not_zeroable", block->not_zeroable);
	putc('}', out);
}

static void write_header(FILE *out, const struct mr_incoming_config *config, bool unassembled)
{
	fprintf(out, "{\"log\":%d", LOG_FORMAT);
	mr_log_write_string(out, "source", config->context.profile.release);
	mr_log_write_string(out, "destination", config->profile.release);
	mr_log_write_string(out, "machine", config->context.machine);
	mr_log_write_flag(out, "strict", config->strict);
	write_context(out, &config->context);
	mr_log_write_number(out, "target_page_size", config->target_page_size);
	mr_log_write_number(out, "host_page_size", config->host_page_size);
	mr_log_write_flag(out, "memory_locked", config->memory_locked);
	mr_log_write_flag(out, "start_paused", config->start_paused);
	mr_log_write_number(out, "package_max", config->package_max);
	mr_log_write_number(out, "connections_max", config->connections_max);
	if (config->blocktime) {
		mr_log_write_number(out, "vcpus", config->vcpu_count);
		mr_log_write_number(out, "open_faults_max", config->open_faults_max);
	}
	if (unassembled)
		mr_log_write_flag(out, "unassembled", true);
	if (config->shared_clients)
		mr_log_write_flag(out, "shared_clients", true);
	if (config->handlers)
		mr_log_write_handlers(out, config->handlers);
	fputs(",\"blocks\":[", out);
	for (uint32_t i = 0; i < config->block_count; i++) {
		fputs(i ? "," : "", out);
		write_block(out, &config->blocks[i]);
	}
	fputs("]}\n", out);
}

/* The ranges that reading asks for, so that what is written can be read. */
static bool record_is_told(const struct mr_log_record *record, const struct mr_incoming_config *config)
{
	switch (record->kind) {
	case MR_LOG_OPEN:
		return record->channel < MR_INCOMING_CHANNELS_MAX && (unsigned)record->role < MR_ROLE_RETURN;
	case MR_LOG_STEP:
		return record->actor < MR_ACTOR_COUNT && record->count > 0 && record->count <= INT64_MAX;
	case MR_LOG_WAIT:
		return record->actor < MR_ACTOR_COUNT;
	case MR_LOG_SHORT:
		return record->actor < MR_ACTOR_COUNT && record->channel < MR_INCOMING_CHANNELS_MAX &&
		       record->bytes <= INT64_MAX;
	case MR_LOG_FAULT:
		return record->block < config->block_count && record->offset <= INT64_MAX &&
		       record->thread <= INT64_MAX;
	case MR_LOG_END:
		return record->channel < MR_INCOMING_CHANNELS_MAX && record->bytes <= INT64_MAX && record->error >= 0 &&
		       record->error <= MR_LOG_ERRNO_MAX;
	case MR_LOG_ERROR:
		return record->actor < MR_ACTOR_COUNT && record->error > 0 && record->error <= MR_LOG_ERRNO_MAX;
	case MR_LOG_RETURN_END:
		return record->channel < MR_INCOMING_CHANNELS_MAX && record->bytes <= INT64_MAX;
	case MR_LOG_VCPU:
		return record->count < vcpus_of(config) && record->thread <= INT64_MAX;
	case MR_LOG_TIME:
		return record->count <= INT64_MAX;
	case MR_LOG_CLIENT:
		return config->shared_clients && record->count < MR_INCOMING_CLIENTS_MAX;
	case MR_LOG_CLIENT_FAULT:
		return config->shared_clients && record->count < MR_INCOMING_CLIENTS_MAX &&
		       record->block < config->block_count && record->offset <= INT64_MAX;
	}
	return false;
}

static void write_record(FILE *out, const struct mr_log_record *record, const struct mr_incoming_config *config)
{
	char actor[MR_ACTOR_TEXT_MAX];

	mr_actor_format(record->actor, actor);
	switch (record->kind) {
	case MR_LOG_OPEN:
		fprintf(out, "{\"open\":%" PRIu32 ",\"role\":\"%s\"", record->channel, mr_role_name(record->role));
		break;
	case MR_LOG_STEP:
		fprintf(out, "{\"step\":\"%s\",\"count\":%" PRIu64, actor, record->count);
		break;
	case MR_LOG_WAIT:
		fprintf(out, "{\"wait\":\"%s\"", actor);
		break;
	case MR_LOG_SHORT:
		fprintf(out, "{\"short\":\"%s\",\"channel\":%" PRIu32 ",\"bytes\":%" PRIu64, actor, record->channel,
			record->bytes);
		break;
	case MR_LOG_FAULT:
		fputs("{\"fault\":", out);
		write_name(out, config->blocks[record->block].name);
		mr_log_write_number(out, "offset", record->offset);
		mr_log_write_number(out, "thread", record->thread);
		break;
	case MR_LOG_END:
		fprintf(out, "{\"end\":%" PRIu32 ",\"bytes\":%" PRIu64 ",\"error\":%d", record->channel, record->bytes,
			record->error);
		break;
	case MR_LOG_ERROR:
		fprintf(out, "{\"error\":\"%s\",\"errno\":%d", actor, record->error);
		break;
	case MR_LOG_RETURN_END:
		fprintf(out, "{\"return-end\":%" PRIu32 ",\"bytes\":%" PRIu64, record->channel, record->bytes);
		break;
	case MR_LOG_VCPU:
		fprintf(out, "{\"vcpu\":%" PRIu64 ",\"thread\":%" PRIu64, record->count, record->thread);
		break;
	case MR_LOG_TIME:
		fprintf(out, "{\"time\":%" PRIu64, record->count);
		break;
	case MR_LOG_CLIENT:
		fprintf(out, "{\"client\":%" PRIu64, record->count);
		break;
	case MR_LOG_CLIENT_FAULT:
		fputs("{\"client-fault\":", out);
		write_name(out, config->blocks[record->block].name);
		mr_log_write_number(out, "offset", record->offset);
		mr_log_write_number(out, "client", record->count);
		break;
	}
	fputs("}\n", out);
}

int mr_log_write(const struct mr_log *log, const struct mr_incoming_config *config, FILE *out)
{
	if (!header_is_told(config))
		return -1;
	write_header(out, config, log->unassembled);
	for (size_t i = 0; i < log->count; i++) {
		if (!record_is_told(&log->records[i], config))
			return -1;
		write_record(out, &log->records[i], config);
	}
	return ferror(out) ? -1 : 0;
}

/* ---- Reading: header ---- */

static int read_context(const struct mr_log_place *place, const json_t *object, struct mr_context *context)
{
	const struct mr_multifd_method *method;

	if (mr_log_read_string(place, object, "machine", context->machine, sizeof(context->machine)) < 0 ||
	    mr_log_read_profile(place, object, "source", context->machine, &context->profile) < 0 ||
	    mr_log_read_flag(place, object, "capabilities_known", &context->capabilities_known) < 0 ||
	    mr_log_read_capabilities(place, object, &context->capabilities) < 0 ||
	    mr_log_read_small(place, object, "stream_page_size", UINT32_MAX, &context->target_page_size) < 0 ||
	    mr_log_read_small(place, object, "multifd_channels", UINT32_MAX, &context->multifd_channels) < 0 ||
	    mr_log_read_method(place, object, &method) < 0 ||
	    mr_log_read_flag(place, object, "no_configuration", &context->no_configuration) < 0 ||
	    mr_log_read_flag(place, object, "no_footer", &context->no_footer) < 0)
		return -1;
	context->multifd_method = method ? method->flag : MR_METHOD_UNKNOWN;
	return mr_log_read_uuid(place, object, &context->uuid_known, context->uuid);
}

static int read_block(const struct mr_log_place *place, json_t *object, struct mr_incoming_block *block)
{
	static const char *const keys[] = {"name", "used_length", "max_length",  "page_size",
					   "rank", "ignored",     "not_zeroable"};
	char name[MR_NAME_MAX + 1];

	if (!json_is_object(object))
		return mr_log_fail(place, "blocks: expected objects, found %s", mr_log_type_name(object));
	if (mr_log_check_keys(place, object, keys, sizeof(keys) / sizeof(keys[0])) < 0 ||
	    mr_log_read_string(place, object, "name", name, sizeof(name)) < 0 ||
	    mr_log_read_number(place, object, "used_length", 0, INT64_MAX, &block->used_length) < 0 ||
	    mr_log_read_number(place, object, "max_length", 0, INT64_MAX, &block->max_length) < 0 ||
	    mr_log_read_number(place, object, "page_size", 0, INT64_MAX, &block->page_size) < 0 ||
	    mr_log_read_small(place, object, "rank", UINT32_MAX, &block->rank) < 0 ||
	    mr_log_read_flag(place, object, "ignored", &block->ignored) < 0 ||
	    mr_log_read_flag(place, object, "not_zeroable", &block->not_zeroable) < 0)
		return -1;
	if (name[0] == '\0')
		return mr_log_fail(place, "name: expected 1 to %d bytes, found none", MR_NAME_MAX);
	block->name = strdup(name);
	return block->name ? 0 : mr_log_fail(place, "no memory");
}

static int read_blocks(const struct mr_log_place *place, const json_t *object, struct mr_log_header *header)
{
	const json_t *array = json_object_get(object, "blocks");
	const size_t count = json_array_size(array);

	if (!json_is_array(array))
		return mr_log_fail(place, "blocks: expected an array, found %s", mr_log_type_name(array));
	if (count > MR_BLOCKS_MAX)
		return mr_log_fail(place, "blocks: expected at most %d, found %zu", MR_BLOCKS_MAX, count);
	header->blocks = calloc(count + 1, sizeof(*header->blocks));
	if (!header->blocks)
		return mr_log_fail(place, "no memory");
	header->config.blocks = header->blocks;
	for (size_t i = 0; i < count; i++) {
		if (read_block(place, json_array_get(array, i), &header->blocks[i]) < 0)
			return -1;
		header->config.block_count++;
		for (size_t other = 0; other < i; other++)
			if (strcmp(header->blocks[i].name, header->blocks[other].name) == 0)
				return mr_log_fail(place,
						   "blocks: expected each name once, found one again at index %zu", i);
	}
	return 0;
}

/* Only a machine that counts how long vCPUs wait has this part. */
static int read_blocktime(const struct mr_log_place *place, const json_t *object, struct mr_incoming_config *config)
{
	config->blocktime = json_object_get(object, "vcpus") || json_object_get(object, "open_faults_max");
	if (!config->blocktime)
		return 0;
	if (mr_log_read_small(place, object, "vcpus", MR_INCOMING_VCPUS_MAX, &config->vcpu_count) < 0)
		return -1;
	return mr_log_read_small(place, object, "open_faults_max", UINT32_MAX, &config->open_faults_max);
}

static int read_header(const struct mr_log_place *place, json_t *object, struct mr_log *log,
		       struct mr_log_header *header)
{
	static const char *const keys[] = {"log",
					   "source",
					   "destination",
					   "machine",
					   "strict",
					   "capabilities_known",
					   "capabilities",
					   "stream_page_size",
					   "multifd_channels",
					   "multifd_method",
					   "no_configuration",
					   "no_footer",
					   "uuid",
					   "target_page_size",
					   "host_page_size",
					   "memory_locked",
					   "start_paused",
					   "package_max",
					   "connections_max",
					   "vcpus",
					   "open_faults_max",
					   "unassembled",
					   "shared_clients",
					   "handlers",
					   "blocks"};
	struct mr_incoming_config *config = &header->config;
	uint64_t format = 0, package_max = 0;

	if (mr_log_read_number(place, object, "log", LOG_FORMAT, LOG_FORMAT, &format) < 0 ||
	    mr_log_check_keys(place, object, keys, sizeof(keys) / sizeof(keys[0])) < 0 ||
	    read_context(place, object, &config->context) < 0 ||
	    mr_log_read_profile(place, object, "destination", config->context.machine, &config->profile) < 0 ||
	    mr_log_read_flag(place, object, "strict", &config->strict) < 0 ||
	    mr_log_read_small(place, object, "target_page_size", UINT32_MAX, &config->target_page_size) < 0 ||
	    mr_log_read_small(place, object, "host_page_size", UINT32_MAX, &config->host_page_size) < 0 ||
	    mr_log_read_flag(place, object, "memory_locked", &config->memory_locked) < 0 ||
	    mr_log_read_flag(place, object, "start_paused", &config->start_paused) < 0 ||
	    mr_log_read_number(place, object, "package_max", 0, SIZE_MAX / 2, &package_max) < 0 ||
	    mr_log_read_small(place, object, "connections_max", UINT32_MAX, &config->connections_max) < 0 ||
	    read_blocktime(place, object, config) < 0)
		return -1;
	config->package_max = (size_t)package_max;
	if (json_object_get(object, "unassembled") &&
	    mr_log_read_flag(place, object, "unassembled", &log->unassembled) < 0)
		return -1;
	if (json_object_get(object, "shared_clients") &&
	    mr_log_read_flag(place, object, "shared_clients", &config->shared_clients) < 0)
		return -1;
	if (json_object_get(object, "handlers")) {
		if (mr_log_read_handlers(place, object, &config->profile, &header->handlers, &header->entries) < 0)
			return -1;
		config->handlers = &header->handlers;
	}
	return read_blocks(place, object, header);
}

/* ---- Reading: records ---- */

static int read_actor(const struct mr_log_place *place, const json_t *object, const char *key, unsigned *actor)
{
	char name[MR_ACTOR_TEXT_MAX];

	if (mr_log_read_string(place, object, key, name, sizeof(name)) < 0)
		return -1;
	*actor = mr_actor_by_text(name);
	return *actor == MR_ACTOR_COUNT ? mr_log_fail(place, "%s: expected an actor, found %s", key, name) : 0;
}

static int read_channel(const struct mr_log_place *place, const json_t *object, const char *key, uint32_t *channel)
{
	return mr_log_read_small(place, object, key, MR_INCOMING_CHANNELS_MAX - 1, channel);
}

static int read_open(const struct mr_log_place *place, const json_t *object, struct mr_log_record *record)
{
	unsigned role = 0;
	char name[16];

	if (read_channel(place, object, "open", &record->channel) < 0 ||
	    mr_log_read_string(place, object, "role", name, sizeof(name)) < 0)
		return -1;
	while (role < MR_ROLE_RETURN && strcmp(mr_role_name((enum mr_role)role), name) != 0)
		role++;
	record->role = (enum mr_role)role;
	return role == MR_ROLE_RETURN ? mr_log_fail(place, "role: expected a role of a connection, found %s", name) : 0;
}

/* Where somebody misses a page: the block's name under `key`, and the offset. */
static int read_place(const struct mr_log_place *place, const json_t *object, const struct mr_log_header *header,
		      const char *key, struct mr_log_record *record)
{
	char name[MR_NAME_MAX + 1];

	if (mr_log_read_string(place, object, key, name, sizeof(name)) < 0 ||
	    mr_log_read_number(place, object, "offset", 0, INT64_MAX, &record->offset) < 0)
		return -1;
	while (record->block < header->config.block_count && strcmp(header->blocks[record->block].name, name) != 0)
		record->block++;
	return record->block == header->config.block_count
		       ? mr_log_fail(place, "%s: expected a block of the header, found %.64s", key, name)
		       : 0;
}

static int read_fault(const struct mr_log_place *place, const json_t *object, const struct mr_log_header *header,
		      struct mr_log_record *record)
{
	if (read_place(place, object, header, "fault", record) < 0)
		return -1;
	return mr_log_read_number(place, object, "thread", 0, INT64_MAX, &record->thread);
}

static int read_client(const struct mr_log_place *place, const json_t *object, const struct mr_log_header *header,
		       struct mr_log_record *record)
{
	if (!header->config.shared_clients)
		return mr_log_fail(place, "client: expected a header with shared_clients, found none");
	if (record->kind == MR_LOG_CLIENT_FAULT && read_place(place, object, header, "client-fault", record) < 0)
		return -1;
	return mr_log_read_number(place, object, "client", 0, MR_INCOMING_CLIENTS_MAX - 1, &record->count);
}

static int read_vcpu(const struct mr_log_place *place, const json_t *object, const struct mr_log_header *header,
		     struct mr_log_record *record)
{
	const uint32_t count = vcpus_of(&header->config);

	if (count == 0)
		return mr_log_fail(place, "vcpu: expected a header with vcpus, found none");
	if (mr_log_read_number(place, object, "vcpu", 0, count - 1, &record->count) < 0)
		return -1;
	return mr_log_read_number(place, object, "thread", 0, INT64_MAX, &record->thread);
}

/* The first of its keys tells what a record is; "error" stands in END too, hence the order. */
static int record_kind(const struct mr_log_place *place, json_t *object, enum mr_log_kind *kind)
{
	static const struct {
		enum mr_log_kind kind;
		const char *keys[3];
	} kinds[] = {
		{MR_LOG_OPEN, {"open", "role", "role"}},
		{MR_LOG_STEP, {"step", "count", "count"}},
		{MR_LOG_WAIT, {"wait", "wait", "wait"}},
		{MR_LOG_FAULT, {"fault", "offset", "thread"}},
		{MR_LOG_END, {"end", "bytes", "error"}},
		{MR_LOG_RETURN_END, {"return-end", "bytes", "bytes"}},
		{MR_LOG_ERROR, {"error", "errno", "errno"}},
		{MR_LOG_VCPU, {"vcpu", "thread", "thread"}},
		{MR_LOG_TIME, {"time", "time", "time"}},
		{MR_LOG_SHORT, {"short", "channel", "bytes"}},
		{MR_LOG_CLIENT_FAULT, {"client-fault", "offset", "client"}},
		{MR_LOG_CLIENT, {"client", "client", "client"}},
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!json_object_get(object, kinds[i].keys[0]))
			continue;
		*kind = kinds[i].kind;
		return mr_log_check_keys(place, object, kinds[i].keys,
					 sizeof(kinds[i].keys) / sizeof(kinds[i].keys[0]));
	}
	return mr_log_fail(
		place,
		"expected open, step, wait, short, fault, end, error, return-end, vcpu, time, client-fault or client, "
		"found none of them");
}

static int read_fields(const struct mr_log_place *place, const json_t *object, const struct mr_log_header *header,
		       struct mr_log_record *record)
{
	switch (record->kind) {
	case MR_LOG_OPEN:
		return read_open(place, object, record);
	case MR_LOG_STEP:
		if (read_actor(place, object, "step", &record->actor) < 0)
			return -1;
		return mr_log_read_number(place, object, "count", 1, INT64_MAX, &record->count);
	case MR_LOG_WAIT:
		return read_actor(place, object, "wait", &record->actor);
	case MR_LOG_SHORT:
		if (read_actor(place, object, "short", &record->actor) < 0 ||
		    read_channel(place, object, "channel", &record->channel) < 0)
			return -1;
		return mr_log_read_number(place, object, "bytes", 0, INT64_MAX, &record->bytes);
	case MR_LOG_FAULT:
		return read_fault(place, object, header, record);
	case MR_LOG_END:
		if (read_channel(place, object, "end", &record->channel) < 0 ||
		    mr_log_read_number(place, object, "bytes", 0, INT64_MAX, &record->bytes) < 0)
			return -1;
		return mr_log_read_errno(place, object, "error", 0, &record->error);
	case MR_LOG_ERROR:
		if (read_actor(place, object, "error", &record->actor) < 0)
			return -1;
		return mr_log_read_errno(place, object, "errno", 1, &record->error);
	case MR_LOG_RETURN_END:
		if (read_channel(place, object, "return-end", &record->channel) < 0)
			return -1;
		return mr_log_read_number(place, object, "bytes", 0, INT64_MAX, &record->bytes);
	case MR_LOG_VCPU:
		return read_vcpu(place, object, header, record);
	case MR_LOG_TIME:
		return mr_log_read_number(place, object, "time", 0, INT64_MAX, &record->count);
	case MR_LOG_CLIENT:
	case MR_LOG_CLIENT_FAULT:
		return read_client(place, object, header, record);
	}
	return -1;
}

static int read_record(const struct mr_log_place *place, json_t *object, struct mr_log *log,
		       const struct mr_log_header *header)
{
	struct mr_log_record record = {0};

	if (record_kind(place, object, &record.kind) < 0 || read_fields(place, object, header, &record) < 0)
		return -1;
	if (log->count == MR_LOG_RECORDS_MAX)
		return mr_log_fail(place, "expected at most %d records, found more", MR_LOG_RECORDS_MAX);
	return mr_log_append(log, &record) < 0 ? mr_log_fail(place, "no memory") : 0;
}

/* ---- Reading: lines ---- */

static int read_line(const struct mr_log_place *place, const char *text, size_t length, struct mr_log *log,
		     struct mr_log_header *header)
{
	json_error_t json_error;
	json_t *object = json_loadb(text, length, JSON_REJECT_DUPLICATES, &json_error);
	int result;

	if (!object)
		return mr_log_fail(place, "expected JSON, found another text: %s", json_error.text);
	if (!json_is_object(object))
		result = mr_log_fail(place, "expected a JSON object, found %s", mr_log_type_name(object));
	else if (place->rule == MR_LOG_001)
		result = read_header(place, object, log, header);
	else
		result = read_record(place, object, log, header);
	json_decref(object);
	return result;
}

static int read_lines(struct mr_input *input, struct mr_log *log, struct mr_log_header *header, char *error,
		      size_t error_size)
{
	struct mr_log_place place = {mr_input_name(input), 0, MR_LOG_001, error, error_size};

	for (;;) {
		const size_t limit = place.line == 0 ? MR_LOG_HEADER_MAX : MR_LOG_LINE_MAX;
		const uint8_t *text, *newline;
		size_t length;
		bool at_end;

		if (mr_input_fill(input, limit + 1) < 0) {
			snprintf(error, error_size, "%s", mr_input_error(input));
			return -1;
		}
		text = mr_input_window(input, &length, &at_end);
		if (length == 0 && place.line > 0)
			return 0;
		place.line++;
		if (length > limit + 1)
			length = limit + 1;
		newline = length > 0 ? memchr(text, '\n', length) : NULL;
		if (!newline && length > limit)
			return mr_log_fail(&place, "expected at most %zu bytes in a line, found more", limit);
		/* A line without its end is one that was not written whole. */
		if (!newline)
			return mr_log_fail(&place, "expected a newline behind %zu bytes, found the end", length);
		length = (size_t)(newline - text);
		if (read_line(&place, (const char *)text, length, log, header) < 0)
			return -1;
		mr_input_consume(input, length + 1);
		place.rule = MR_LOG_002;
	}
}

int mr_log_read(struct mr_log *log, struct mr_log_header *header, const char *path, char *error, size_t error_size)
{
	struct mr_input *input;
	int result;

	*log = (struct mr_log){0};
	*header = (struct mr_log_header){0};
	if (mr_input_open(&input, path, error, error_size) < 0)
		return -1;
	result = read_lines(input, log, header, error, error_size);
	mr_input_close(input);
	if (result < 0) {
		mr_log_clear(log);
		mr_log_header_clear(header);
	}
	return result;
}
