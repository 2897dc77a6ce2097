/* source_config.c: the machine that a recorded source was: handlers, blocks, parameters. */
#include "sim/record/source_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	SPARE_CONNECTIONS = 8,
	ORDINARY_PAGE_SIZE = 4096,
	/* Where a block may begin among all RAM, bytes: what XBZRLE's cache goes by. */
	RAM_ALIGNMENT = 64 * 4096,
};

/* ---- The registry ---- */

static const struct mr_source_header *header_of(const struct mr_source_world *world, uint32_t id)
{
	for (size_t i = 0; i < world->header_count; i++)
		if (world->headers[i].id == id)
			return &world->headers[i];
	return NULL;
}

/*
 * Classes of priority: devices come in the order of their ids but where a class ends. The last class is the ordinary
 * one; which the others are is not told, nor does it matter.
 */
static enum mr_priority priority_of(const struct mr_source_world *world, const struct mr_source_header *header)
{
	static const enum mr_priority classes[] = {MR_PRIORITY_DEFAULT,    MR_PRIORITY_IOMMU, MR_PRIORITY_PCI_BUS,
						   MR_PRIORITY_VIRTIO_MEM, MR_PRIORITY_APIC,  MR_PRIORITY_GICV3_ITS,
						   MR_PRIORITY_GICV3};
	const struct mr_source_header *before = NULL;
	size_t behind = 0;

	for (size_t i = 0; i < world->header_count; i++) {
		if (!world->headers[i].is_device)
			continue;
		if (before && world->headers[i].id<before->id && & world->headers[i]> header)
			behind++;
		before = &world->headers[i];
	}
	return classes[behind < sizeof(classes) / sizeof(classes[0]) ? behind : 0];
}

static int register_one(struct mr_source_world *world, uint32_t id)
{
	const struct mr_source_header *header = header_of(world, id);
	struct mr_handler handler = {.name = "a handler that sends nothing",
				     .instance = MR_INSTANCE_NEXT,
				     .alias = MR_ALIAS_NONE,
				     .hooks = MR_HOOK_BIT(SAVE_STATE)};
	uint32_t section_id;
	char reason[96];

	if (header && !(header->iterates && mr_handler_known(header->idstr, &handler)))
		handler = (struct mr_handler){
			.name = header->idstr,
			.alias = MR_ALIAS_NONE,
			.priority = header->is_device ? priority_of(world, header) : MR_PRIORITY_DEFAULT,
			.early = header->early,
			.hooks = MR_HOOK_BIT(SAVE_STATE),
		};
	if (header) {
		handler.instance = header->instance;
		handler.version = handler.minimum_version = header->version;
	}
	if (mr_handlers_register(&world->handlers, &handler, &section_id, reason) != MR_NO_RULE || section_id != id) {
		snprintf(world->error, sizeof(world->error), "section id %" PRIu32 ": %s", id, reason);
		return -1;
	}
	if (!header)
		mr_handlers_unregister(&world->handlers, section_id);
	return 0;
}

static int build_registry(struct mr_source_world *world)
{
	uint32_t capacity = 1;

	for (size_t i = 0; i < world->header_count; i++)
		if (world->headers[i].id >= capacity)
			capacity = world->headers[i].id + 1;
	if (capacity > MR_DEVICES_MAX) {
		snprintf(world->error, sizeof(world->error), "a section id of %" PRIu32, capacity - 1);
		return -1;
	}
	world->entries = calloc(capacity, sizeof(*world->entries));
	if (!world->entries)
		return mr_source_no_memory(world, "handlers");
	mr_handlers_init(&world->handlers, &world->config.profile, world->entries, capacity);
	for (uint32_t id = 0; id < capacity; id++)
		if (register_one(world, id) < 0)
			return -1;
	return 0;
}

/* ---- Configuration ---- */

static int copy_blocks(struct mr_source_world *world)
{
	struct mr_outgoing_config *config = &world->config;
	uint64_t address = 0;

	world->blocks = calloc(world->session->block_count + 1u, sizeof(*world->blocks));
	if (!world->blocks)
		return mr_source_no_memory(world, "blocks");
	while (config->block_count < world->session->block_count &&
	       world->session->blocks[config->block_count].declared) {
		const struct mr_block *block = &world->session->blocks[config->block_count];

		if (!world->heads[config->block_count] ||
		    block->used_length / config->target_page_size != world->pages[config->block_count]) {
			snprintf(world->error, sizeof(world->error), "block %s is listed more than once", block->name);
			return -1;
		}
		world->blocks[config->block_count++] = (struct mr_outgoing_block){
			.name = block->name,
			.used_length = block->used_length,
			.page_size = block->page_size,
			.address = block->address,
			.cache_offset = address,
		};
		address += (block->used_length + RAM_ALIGNMENT - 1) / RAM_ALIGNMENT * RAM_ALIGNMENT;
	}
	config->blocks = world->blocks;
	return 0;
}

static uint64_t parameter(const struct mr_source_world *world, const char *name)
{
	const int64_t value = mr_recording_parameter_integer(world->recording, name, 0);

	return value > 0 ? (uint64_t)value : 0;
}

static void copy_method(struct mr_source_world *world, const struct mr_context *context)
{
	struct mr_outgoing_config *config = &world->config;
	char name[64];

	config->method_level = INT32_MIN;
	if (context->multifd_method == MR_METHOD_UNKNOWN)
		return;
	config->method = mr_multifd_method_by_flag(context->multifd_method);
	if (!config->method)
		return;
	snprintf(name, sizeof(name), "multifd-%s-level", config->method->name);
	config->method_level = (int)mr_recording_parameter_integer(world->recording, name, INT32_MIN);
}

static enum mr_zero_detection zero_detection(const struct mr_source_world *world)
{
	const char *name = mr_recording_parameter_string(world->recording, "zero-page-detection", "");

	for (unsigned i = MR_ZERO_NONE; i <= MR_ZERO_MULTIFD; i++)
		if (strcmp(name, mr_zero_detection_name((enum mr_zero_detection)i)) == 0)
			return (enum mr_zero_detection)i;
	return MR_ZERO_BY_RELEASE;
}

static void configure(struct mr_source_world *world, const struct mr_context *context)
{
	const struct mr_recording *recording = world->recording;
	struct mr_outgoing_config *config = &world->config;

	config->profile = context->profile;
	config->capabilities = context->capabilities;
	config->pause_before_switchover = mr_recording_has_capability(recording, "pause-before-switchover");
	config->release_ram = mr_recording_has_capability(recording, "release-ram");
	config->auto_converge = mr_recording_has_capability(recording, "auto-converge");
	config->machine = recording->machine;
	config->target_page_size = world->session->target_page_size;
	/* Of huge pages the manifest tells the size of those, not of the host's ordinary page. */
	if (!recording->backend || strcmp(recording->backend, "hugetlb") != 0)
		config->host_page_size = (uint32_t)recording->host_page_size;
	if (config->host_page_size == 0)
		config->host_page_size = ORDINARY_PAGE_SIZE;
	config->max_bandwidth = parameter(world, "max-bandwidth");
	config->max_postcopy_bandwidth = parameter(world, "max-postcopy-bandwidth");
	config->downtime_limit = parameter(world, "downtime-limit");
	config->xbzrle_cache_size = parameter(world, "xbzrle-cache-size");
	config->multifd_channels = context->multifd_channels;
	copy_method(world, context);
	config->zero_detection = zero_detection(world);
	config->connections_max = recording->channel_count + SPARE_CONNECTIONS;
	config->handlers = &world->handlers;
}

int mr_source_configure(struct mr_source_world *world, const struct mr_context *context)
{
	configure(world, context);
	return copy_blocks(world) < 0 ? -1 : build_registry(world);
}
