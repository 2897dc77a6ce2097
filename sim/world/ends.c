/* ends.c: both machines' configuration, from a scenario. */
#include "sim/world/ends.h"
#include "sim/world/random.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	DESCRIPTION_PIECE = 256,
	CONNECTIONS_OF_CUTS = 40,
	CLEAR_BITMAP_SHIFT = 18,
	BLOCK_ALIGNMENT = 64 * 4096, /* of blocks among all RAM: what XBZRLE's cache goes by */
};

static int no_memory(char *error, size_t error_size)
{
	snprintf(error, error_size, "no memory for a migration's configuration");
	return -1;
}

/* ---- Devices ---- */

static int describe_devices(struct mr_ends *ends, const struct mr_scenario_guest *guest, char *error, size_t error_size)
{
	const size_t size = (size_t)(guest->devices + 1) * DESCRIPTION_PIECE;
	char *text = malloc(size), reason[96];
	size_t length;

	ends->description_text = text;
	if (!text)
		return no_memory(error, error_size);
	length = (size_t)snprintf(text, size, "{\"page_size\": %" PRIu32 ", \"devices\": [", guest->target_page_size);
	for (uint32_t i = 0; i < guest->devices; i++)
		length += (size_t)snprintf(
			text + length, size - length,
			"%s{\"name\": \"%s\", \"instance_id\": 0, \"vmsd_name\": \"%s\", \"version\": 1, "
			"\"fields\": [{\"name\": \"state\", \"type\": \"buffer\", \"size\": %" PRIu32 "}]}",
			i ? ", " : "", ends->device_names[i], ends->device_names[i], guest->device_bytes);
	snprintf(text + length, size - length, "]}");
	ends->description = mr_description_new((struct mr_bytes){(const uint8_t *)text, strlen(text)}, reason);
	if (ends->description)
		return 0;
	snprintf(error, error_size, "devices: %s", reason);
	return -1;
}

static int set_devices(struct mr_ends *ends, const struct mr_scenario_guest *guest, const struct mr_profile *source,
		       char *error, size_t error_size)
{
	struct mr_handler ram;
	char reason[96];

	mr_handlers_init(&ends->handlers, source, ends->entries, MR_SCENARIO_DEVICES_MAX + 2);
	mr_handler_known("ram", &ram);
	if (mr_handlers_register(&ends->handlers, &ram, NULL, reason) != MR_NO_RULE) {
		snprintf(error, error_size, "ram: %s", reason);
		return -1;
	}
	for (uint32_t i = 0; i < guest->devices; i++) {
		char *name = ends->device_names[i];
		const struct mr_handler device = {.name = name, .alias = MR_ALIAS_NONE, .version = 1};

		snprintf(name, sizeof(ends->device_names[i]), "device%" PRIu32, i);
		if (mr_handlers_register(&ends->handlers, &device, NULL, reason) != MR_NO_RULE) {
			snprintf(error, error_size, "device: %s", reason);
			return -1;
		}
	}
	return describe_devices(ends, guest, error, error_size);
}

void mr_ends_device(const struct mr_scenario *scenario, uint32_t handler, uint8_t *body)
{
	for (uint32_t i = 0; i < scenario->guest.device_bytes; i++)
		body[i] = (uint8_t)mr_mix(((uint64_t)handler << 32) + i);
}

/* ---- Memory ---- */

static void set_blocks(struct mr_ends *ends, const struct mr_scenario *scenario)
{
	uint64_t offset = 0;

	for (uint32_t i = 0; i < scenario->block_count; i++) {
		const struct mr_scenario_block *block = &scenario->blocks[i];

		ends->source_blocks[i] = (struct mr_outgoing_block){.name = block->name,
								    .used_length = block->size,
								    .page_size = block->page_size,
								    .address = offset,
								    .cache_offset = offset};
		ends->destination_blocks[i] =
			(struct mr_incoming_block){.name = block->name,
						   .used_length = block->size,
						   .page_size = block->page_size,
						   .rank = i,
						   .not_zeroable = block->page_size > scenario->guest.host_page_size};
		offset += (block->size + BLOCK_ALIGNMENT - 1) / BLOCK_ALIGNMENT * BLOCK_ALIGNMENT;
	}
}

size_t mr_ends_largest_page(const struct mr_scenario *scenario)
{
	uint64_t largest = scenario->guest.host_page_size > scenario->guest.target_page_size
				   ? scenario->guest.host_page_size
				   : scenario->guest.target_page_size;

	for (uint32_t i = 0; i < scenario->block_count; i++)
		if (scenario->blocks[i].page_size > largest)
			largest = scenario->blocks[i].page_size;
	return (size_t)largest;
}

/* ---- Both ends ---- */

static uint32_t connections_of(const struct mr_scenario *scenario)
{
	return 2 + scenario->migration.multifd_channels + CONNECTIONS_OF_CUTS;
}

static const struct mr_multifd_method *method_of(const struct mr_scenario *scenario)
{
	if (!(scenario->migration.capabilities & MR_CAPABILITY_MULTIFD) || !scenario->migration.method[0])
		return NULL;
	return mr_multifd_method_by_name(scenario->migration.method);
}

static void set_source(struct mr_ends *ends, const struct mr_scenario *scenario, const struct mr_profile *profile)
{
	const struct mr_scenario_migration *migration = &scenario->migration;

	ends->source = (struct mr_outgoing_config){
		.profile = *profile,
		.capabilities = migration->capabilities,
		.pause_before_switchover = migration->pause_before_switchover,
		.release_ram = migration->release_ram,
		.auto_converge = migration->auto_converge,
		.machine = ends->machine,
		.target_page_size = scenario->guest.target_page_size,
		.host_page_size = scenario->guest.host_page_size,
		.blocks = ends->source_blocks,
		.block_count = scenario->block_count,
		.handlers = &ends->handlers,
		.max_bandwidth = migration->max_bandwidth,
		.max_postcopy_bandwidth = migration->max_postcopy_bandwidth,
		.switchover_bandwidth = migration->switchover_bandwidth,
		.downtime_limit = migration->downtime_limit,
		.xbzrle_cache_size = migration->xbzrle_cache_size,
		.clear_bitmap_shift = CLEAR_BITMAP_SHIFT,
		.multifd_channels = migration->multifd_channels,
		.method = method_of(scenario),
		.method_level = migration->method_level,
		.zero_detection = migration->zero_detection,
		.throttle_initial = migration->throttle_initial,
		.throttle_increment = migration->throttle_increment,
		.throttle_maximum = migration->throttle_maximum,
		.connections_max = connections_of(scenario),
	};
}

static void set_destination(struct mr_ends *ends, const struct mr_scenario *scenario, const struct mr_profile *source,
			    const struct mr_profile *destination)
{
	const struct mr_scenario_migration *migration = &scenario->migration;
	const struct mr_multifd_method *method = method_of(scenario);

	ends->destination = (struct mr_incoming_config){
		.context = {.profile = *source,
			    .capabilities_known = true,
			    .capabilities = migration->capabilities,
			    .multifd_channels = migration->multifd_channels,
			    .multifd_method = method ? method->flag : 0,
			    .description = ends->description},
		.profile = *destination,
		.strict = migration->strict,
		.target_page_size = scenario->guest.target_page_size,
		.host_page_size = scenario->guest.host_page_size,
		.start_paused = migration->start_paused,
		.blocks = ends->destination_blocks,
		.block_count = scenario->block_count,
		.connections_max = connections_of(scenario),
		.blocktime = migration->blocktime,
		.vcpu_count = migration->blocktime ? scenario->guest.vcpus : 0,
	};
}

int mr_ends_init(struct mr_ends *ends, const struct mr_scenario *scenario, char *error, size_t error_size)
{
	struct mr_profile source, destination;

	mr_scenario_machine(scenario, ends->machine);
	mr_scenario_profiles(scenario, &source, &destination);
	set_blocks(ends, scenario);
	if (set_devices(ends, &scenario->guest, &source, error, error_size) < 0)
		return -1;
	set_source(ends, scenario, &source);
	set_destination(ends, scenario, &source, &destination);
	return 0;
}

void mr_ends_clear(struct mr_ends *ends)
{
	mr_description_free(ends->description);
	free(ends->description_text);
}
