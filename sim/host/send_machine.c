/* send_machine.c: the machine of a recording: read once, RAM and devices as they were in the end. */
#include "sim/host/send_machine.h"

#include "sim/record/memory.h"
#include "sim/record/progress.h"
#include "sim/record/source_config.h"
#include "sim/record/source_read.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { UUID_SIZE = 16, CHUNK = 1 << 20 };

struct mr_send_machine {
	struct mr_migration *migration;
	struct mr_source_world world; /* sections, bodies and handlers: no machine plays in it */
	struct mr_memory memory;
	struct mr_packet_codec *codecs; /* of each channel */
	uint32_t main_block;            /* whose contents come from elsewhere; MR_SOURCE_NONE: none */
	const uint8_t *main_memory;
	void *mapped; /* a file; NULL: none */
	size_t mapped_size;
	bool ram_seen, in_device;
	bool ended; /* the stream came to its end */
	char *error;
	size_t error_size;
};

__attribute__((format(printf, 2, 3))) static int fail(struct mr_send_machine *machine, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(machine->error, machine->error_size, format, arguments);
	va_end(arguments);
	return -1;
}

static int no_memory(struct mr_send_machine *machine)
{
	return fail(machine, "%s: no memory for its machine", machine->migration->recording->directory);
}

/* ---- Sections ---- */

static struct mr_source_header *find_header(struct mr_source_world *world, uint32_t id)
{
	for (size_t i = 0; i < world->header_count; i++)
		if (world->headers[i].id == id)
			return &world->headers[i];
	return NULL;
}

static int add_header(struct mr_send_machine *machine, const struct mr_record *record)
{
	struct mr_source_world *world = &machine->world;
	const struct mr_section *section = &record->section;
	struct mr_source_header *header = find_header(world, section->id);

	if (header) {
		header->is_device |= record->kind == MR_SECTION_FULL;
		return 0;
	}
	header = mr_source_grow(world->headers, world->header_count, &world->header_capacity, sizeof(*header));
	if (!header)
		return no_memory(machine);
	world->headers = header;
	header += world->header_count++;
	*header = (struct mr_source_header){
		.id = section->id,
		.instance = section->instance,
		.version = section->version,
		.iterates = record->kind == MR_SECTION_START,
		.is_device = record->kind == MR_SECTION_FULL,
		.early = record->kind == MR_SECTION_FULL && !machine->ram_seen,
	};
	memcpy(header->idstr, section->idstr.data, section->idstr.length);
	return 0;
}

/* The body of a device's last section counts. */
static int begin_body(struct mr_send_machine *machine, uint32_t id)
{
	struct mr_source_world *world = &machine->world;
	struct mr_source_body *bodies;

	for (size_t i = 0; i < world->body_count; i++) {
		if (world->bodies[i].id != id)
			continue;
		free(world->bodies[i].data);
		memmove(&world->bodies[i], &world->bodies[i + 1], (--world->body_count - i) * sizeof(*world->bodies));
		break;
	}
	bodies = mr_source_grow(world->bodies, world->body_count, &world->body_capacity, sizeof(*bodies));
	if (!bodies)
		return no_memory(machine);
	world->bodies = bodies;
	bodies[world->body_count++] = (struct mr_source_body){.id = id};
	return 0;
}

static int append_body(struct mr_send_machine *machine, struct mr_bytes bytes)
{
	struct mr_source_world *world = &machine->world;
	struct mr_source_body *body = world->body_count ? &world->bodies[world->body_count - 1] : NULL;
	uint8_t *data;

	if (!body || !machine->in_device)
		return 0;
	data = realloc(body->data, body->length + bytes.length + 1);
	if (!data)
		return no_memory(machine);
	memcpy(data + body->length, bytes.data, bytes.length);
	body->data = data;
	body->length += bytes.length;
	return 0;
}

static struct mr_bytes body_of(const struct mr_send_machine *machine, uint32_t id)
{
	for (size_t i = 0; i < machine->world.body_count; i++)
		if (machine->world.bodies[i].id == id)
			return (struct mr_bytes){machine->world.bodies[i].data, machine->world.bodies[i].length};
	return (struct mr_bytes){NULL, 0};
}

static int read_section(struct mr_send_machine *machine, const struct mr_record *record)
{
	const bool is_device = record->kind == MR_SECTION_FULL;

	machine->in_device = is_device;
	if (record->kind == MR_SECTION_START && !mr_bytes_equal_string(record->section.idstr, "ram"))
		return fail(machine,
			    "%s: expected a machine of which only RAM is sent while it runs, found a section of %.*s",
			    machine->migration->recording->directory, (int)record->section.idstr.length,
			    (const char *)record->section.idstr.data);
	if (record->kind != MR_SECTION_START && !is_device)
		return 0;
	if (add_header(machine, record) < 0)
		return -1;
	machine->ram_seen |= !is_device;
	return is_device ? begin_body(machine, record->section.id) : 0;
}

static int keep_description(struct mr_send_machine *machine, struct mr_bytes json)
{
	uint8_t *data = malloc(json.length + 1);

	if (!data)
		return no_memory(machine);
	memcpy(data, json.data, json.length);
	free((void *)(uintptr_t)machine->world.description.data);
	machine->world.description = (struct mr_bytes){data, json.length};
	return 0;
}

static void keep_uuid(struct mr_outgoing_config *config, struct mr_bytes uuid, bool told)
{
	if (uuid.length == UUID_SIZE)
		memcpy(config->uuid, uuid.data, UUID_SIZE);
	config->uuid_known |= told;
}

/* ---- Memory ---- */

static bool lies_elsewhere(const struct mr_send_machine *machine, uint32_t block)
{
	return block < MR_BLOCKS_MAX && machine->migration->session->blocks[block].declared &&
	       block == machine->main_block;
}

static int read_page(struct mr_send_machine *machine, const struct mr_channel *channel, const struct mr_record *record)
{
	struct mr_packet_codec *codec = &machine->codecs[channel - machine->migration->channels];
	const bool is_packet = record->kind == MR_MULTIFD_PACKET;
	struct mr_fault fault;

	/* A method that keeps a history has to see every packet. */
	if (!is_packet && lies_elsewhere(machine, record->page.block))
		return 0;
	if ((is_packet ? mr_memory_apply_packet(&machine->memory, codec, &record->packet, &fault)
		       : mr_memory_apply(&machine->memory, record, &fault)) == 0)
		return 0;
	return fail(machine, "%s: %s at 0x%" PRIx64 ": %s: %s", channel->name, mr_kind_name(record->kind),
		    record->offset, mr_rule_id(fault.rule), fault.text);
}

/* The block of the guest's main memory, once it is listed, if its contents come from a file. */
static int read_block(struct mr_send_machine *machine, const struct mr_record *record)
{
	const struct mr_session *session = machine->migration->session;
	const uint32_t block = record->ram_block.block;
	struct mr_fault fault;

	if (machine->mapped && mr_recording_is_main_memory(session->blocks[block].name)) {
		machine->main_block = block;
		if (session->blocks[block].used_length != machine->mapped_size)
			return fail(machine, "the RAM file: expected %" PRIu64 " bytes, as block %s has, found %zu",
				    session->blocks[block].used_length, session->blocks[block].name,
				    machine->mapped_size);
		machine->main_memory = machine->mapped;
	}
	if (mr_source_map_block(&machine->world, block,
				session->blocks[block].used_length / session->target_page_size) < 0)
		return no_memory(machine);
	if (mr_memory_apply(&machine->memory, record, &fault) == 0)
		return 0;
	return fail(machine, "block %s: %s: %s", session->blocks[block].name, mr_rule_id(fault.rule), fault.text);
}

static int read_record(struct mr_send_machine *machine, const struct mr_channel *channel,
		       const struct mr_record *record)
{
	struct mr_outgoing_config *config = &machine->world.config;
	struct mr_fault fault;

	switch (record->kind) {
	case MR_SECTION_START:
	case MR_SECTION_PART:
	case MR_SECTION_END:
	case MR_SECTION_FULL:
		return read_section(machine, record);
	case MR_SECTION_DATA:
		return append_body(machine, record->data.bytes);
	case MR_MULTIFD_INIT:
		keep_uuid(config, record->init.uuid, false);
		return 0;
	case MR_CONFIGURATION_SUBSECTION:
		keep_uuid(config, record->subsection.uuid, record->subsection.which == MR_SUBSECTION_UUID);
		return 0;
	case MR_VMDESCRIPTION:
		return keep_description(machine, record->description.json);
	case MR_RAM_BLOCK:
		return read_block(machine, record);
	case MR_RAM_ZERO:
	case MR_RAM_PAGE:
	case MR_RAM_XBZRLE:
	case MR_MULTIFD_PACKET:
		return read_page(machine, channel, record);
	case MR_EOF:
		machine->ended = true;
		return 0;
	default:
		if (mr_memory_apply(&machine->memory, record, &fault) < 0)
			return fail(machine, "%s: %s: %s", mr_kind_name(record->kind), mr_rule_id(fault.rule),
				    fault.text);
		return 0;
	}
}

/* ---- Reading ---- */

static int read_channels(struct mr_send_machine *machine, struct mr_progress *progress)
{
	for (;;) {
		struct mr_channel *channel;
		struct mr_record record;
		const uint8_t *wire;
		const enum mr_result result = mr_migration_next(machine->migration, &channel, &record, &wire);
		uint64_t bytes;

		if (!channel)
			return 0;
		if (result == MR_MORE)
			return fail(machine, "%s", mr_input_error(channel->input));
		if (result != MR_RECORD || channel->role == MR_ROLE_RETURN)
			continue;
		if (read_record(machine, channel, &record) < 0)
			return -1;
		if (progress->active) {
			const double fraction = mr_migration_fraction(machine->migration, &bytes);

			mr_progress_update(progress, fraction, bytes);
		}
	}
}

/* With compression, some releases send nothing of many zero pages: they are zero at the destination, too. */
static bool may_be_missing(const struct mr_send_machine *machine)
{
	const struct mr_context *context = &machine->migration->session->context;

	return context->capabilities & MR_CAPABILITY_MULTIFD && context->multifd_method > 0 &&
	       mr_profile_does(&context->profile, MR_SWITCH_ZERO_PAGES_DROPPED);
}

/* A page of which nothing came, or that was discarded and never came again; false if there is none. */
static bool find_missing(const struct mr_send_machine *machine, uint32_t *block, uint64_t *page)
{
	for (*block = 0; *block < machine->memory.count; ++*block) {
		const struct mr_memory_block *memory = &machine->memory.blocks[*block];

		if (*block == machine->main_block)
			continue;
		for (*page = 0; *page < memory->pages; ++*page)
			if (!mr_bitmap_test(memory->received, *page))
				return true;
	}
	return false;
}

static int check_complete(struct mr_send_machine *machine)
{
	const char *directory = machine->migration->recording->directory;
	const struct mr_session *session = machine->migration->session;
	bool devices = false;
	uint32_t block;
	uint64_t page;

	for (size_t i = 0; i < machine->world.header_count; i++)
		devices |= machine->world.headers[i].is_device;
	if (!devices || !session->block_count)
		return fail(machine, "%s: expected RAM and devices, found no %s", directory,
			    devices ? "RAM" : "devices");
	if (!machine->ended)
		return fail(machine, "%s: expected a migration whose source came to its end, found one that broke off",
			    directory);
	if (machine->mapped && machine->main_block == MR_SOURCE_NONE)
		return fail(machine, "%s: expected a block of the guest's main memory, as pc.ram, found none",
			    directory);
	if (!may_be_missing(machine) && find_missing(machine, &block, &page))
		return fail(machine, "%s: expected the whole memory, found nothing of block %s at 0x%" PRIx64,
			    directory, session->blocks[block].name, page * session->target_page_size);
	return 0;
}

/* ---- RAM from a file ---- */

static int map_file(struct mr_send_machine *machine, const char *path)
{
	const int file = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;

	if (file < 0 || fstat(file, &status) < 0 || (S_ISREG(status.st_mode) && status.st_size == 0)) {
		fail(machine, "%s: %s", path, file < 0 ? strerror(errno) : "expected a file with memory, found none");
		if (file >= 0)
			close(file);
		return -1;
	}
	machine->mapped_size = (size_t)status.st_size;
	machine->mapped = mmap(NULL, machine->mapped_size, PROT_READ, MAP_SHARED, file, 0);
	close(file);
	if (machine->mapped != MAP_FAILED) {
		madvise(machine->mapped, machine->mapped_size, MADV_SEQUENTIAL);
		return 0;
	}
	machine->mapped = NULL;
	return fail(machine, "%s: %s", path, strerror(errno));
}

/* source.ram of the recording is what its main memory was in the end, compressed or not. */
static int map_own(struct mr_send_machine *machine)
{
	char *path = NULL;
	int status = 0;

	if (!machine->migration->recording->has_source_ram)
		return 0;
	if (asprintf(&path, "%s/source.ram", machine->migration->recording->directory) < 0)
		return no_memory(machine);
	/* What is compressed would have to lie in memory, where the streams put it as well. */
	if (access(path, R_OK) == 0)
		status = map_file(machine, path);
	free(path);
	return status;
}

/* ---- The description of the devices ---- */

/* One that only says where each device ends, for a recording of postcopy, which has none: a destination of precopy may
 * wait for one. */
static json_t *describe(const struct mr_send_machine *machine)
{
	json_t *devices = json_array();

	for (size_t i = 0; i < machine->world.header_count; i++) {
		const struct mr_source_header *header = &machine->world.headers[i];

		if (header->is_device)
			json_array_append_new(devices, json_pack("{s:s, s:I, s:s, s:I, s:[{s:s, s:s, s:I}]}", "name",
								 header->idstr, "instance_id",
								 (json_int_t)header->instance, "vmsd_name",
								 header->idstr, "version", (json_int_t)header->version,
								 "fields", "name", "state", "type", "buffer", "size",
								 (json_int_t)body_of(machine, header->id).length));
	}
	return json_pack("{s:I, s:o}", "page_size", (json_int_t)machine->migration->session->target_page_size,
			 "devices", devices);
}

static int make_description(struct mr_send_machine *machine)
{
	json_t *description = describe(machine);
	char *text = description ? json_dumps(description, JSON_COMPACT) : NULL;

	json_decref(description);
	if (!text)
		return no_memory(machine);
	machine->world.description = (struct mr_bytes){(uint8_t *)text, strlen(text)};
	return 0;
}

static int read_description(struct mr_send_machine *machine)
{
	struct mr_input *input;
	struct mr_bytes text;
	int status;
	bool at_end;

	if (mr_recording_open_file(machine->migration->recording, "description.json", &input, machine->error,
				   machine->error_size) < 0)
		return -1;
	status = mr_input_fill(input, MR_DESCRIPTION_MAX + 1);
	text.data = mr_input_window(input, &text.length, &at_end);
	status = status < 0 ? fail(machine, "%s", mr_input_error(input)) : keep_description(machine, text);
	mr_input_close(input);
	return status;
}

static int get_description(struct mr_send_machine *machine)
{
	if (machine->world.description.data)
		return 0;
	return machine->migration->recording->has_description ? read_description(machine) : make_description(machine);
}

/* ---- Opening ---- */

static int open_recording(struct mr_send_machine *machine, const char *recording)
{
	const struct mr_stream_options nothing = {0};
	struct stat status;

	if (stat(recording, &status) < 0)
		return fail(machine, "%s: %s", recording, strerror(errno));
	if (!S_ISDIR(status.st_mode))
		return fail(machine, "%s: expected a recording, which is a directory, found a file", recording);
	if (mr_migration_open(&machine->migration, recording, &nothing, NULL, NULL, machine->error,
			      machine->error_size) < 0)
		return -1;
	if (machine->migration->recording->channel_count == 0)
		return fail(machine, "%s: expected a recording with channels, found none", recording);
	machine->world.recording = machine->migration->recording;
	machine->world.session = machine->migration->session;
	machine->codecs = calloc(machine->migration->channel_count + 1, sizeof(*machine->codecs));
	if (!machine->codecs)
		return no_memory(machine);
	mr_memory_init(&machine->memory, machine->migration->session, true);
	return 0;
}

int mr_send_machine_open(struct mr_send_machine **result, const char *recording, const char *ram, char *error,
			 size_t error_size)
{
	struct mr_send_machine *machine = calloc(1, sizeof(*machine));
	struct mr_progress progress;
	int status;

	*result = NULL;
	if (!machine) {
		snprintf(error, error_size, "%s: no memory for its machine", recording);
		return -1;
	}
	machine->error = error;
	machine->error_size = error_size;
	machine->main_block = MR_SOURCE_NONE;
	mr_progress_start(&progress, "reading", false);
	status = open_recording(machine, recording);
	if (status == 0)
		status = ram ? map_file(machine, ram) : map_own(machine);
	if (status == 0)
		status = read_channels(machine, &progress);
	if (status == 0)
		status = check_complete(machine);
	if (status == 0)
		status = get_description(machine);
	mr_progress_end(&progress);
	if (status < 0) {
		mr_send_machine_close(machine);
		return -1;
	}
	*result = machine;
	return 0;
}

void mr_send_machine_close(struct mr_send_machine *machine)
{
	if (!machine)
		return;
	for (size_t i = 0; machine->codecs && i < machine->migration->channel_count; i++)
		mr_packet_codec_clear(&machine->codecs[i]);
	free(machine->codecs);
	mr_source_world_close(&machine->world);
	mr_memory_clear(&machine->memory);
	if (machine->mapped)
		munmap(machine->mapped, machine->mapped_size);
	mr_migration_close(machine->migration);
	free(machine);
}

/* ---- What it is ---- */

/* What a recording tells of its migration, not of its machine, is left out. */
static void forget_migration(struct mr_outgoing_config *config)
{
	config->capabilities = 0;
	config->pause_before_switchover = config->release_ram = config->auto_converge = false;
	config->max_bandwidth = config->max_postcopy_bandwidth = config->downtime_limit = 0;
	config->xbzrle_cache_size = 0;
	config->multifd_channels = 0;
	config->method = NULL;
	config->method_level = INT32_MIN;
	config->zero_detection = MR_ZERO_BY_RELEASE;
}

int mr_send_machine_configure(struct mr_send_machine *machine, const char *release, struct mr_outgoing_config *config,
			      char *error, size_t error_size)
{
	struct mr_context context = machine->migration->session->context;

	if (release && mr_profile_init(&context.profile, release) < 0) {
		snprintf(error, error_size, "expected a QEMU release from 2.5 to 11.1, found %s", release);
		return -1;
	}
	if (release && context.machine[0])
		mr_profile_apply_machine(&context.profile, context.machine);
	if (!machine->world.recording->machine || !context.profile.known) {
		snprintf(error, error_size, "%s: expected a manifest that names machine and release of the source",
			 machine->world.recording->directory);
		return -1;
	}
	if (mr_source_configure(&machine->world, &context) < 0) {
		snprintf(error, error_size, "%s: %s", machine->world.recording->directory, machine->world.error);
		return -1;
	}
	forget_migration(&machine->world.config);
	machine->world.config.connections_max = MR_RECORDING_CHANNELS_MAX;
	*config = machine->world.config;
	return 0;
}

const uint8_t *mr_send_machine_page(const struct mr_send_machine *machine, uint32_t block, uint64_t offset)
{
	return (block == machine->main_block ? machine->main_memory : machine->memory.blocks[block].data) + offset;
}

struct mr_bytes mr_send_machine_body(const struct mr_send_machine *machine, uint32_t handler)
{
	return body_of(machine, machine->world.handlers.entries[handler].section_id);
}

struct mr_bytes mr_send_machine_description(const struct mr_send_machine *machine)
{
	return machine->world.description;
}
