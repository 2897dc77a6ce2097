/* explore_machines_setup.c: both machines of a small world, their devices, and the content of their pages. */
#include "sim/world/explore_machines.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECES_ROOM = 4096, DESCRIPTION_PIECE = 256, PACKAGE_MAX = 1 << 16, CLEAR_SHIFT = 6, BYTES = 256 };

static int no_memory(char *error, size_t error_size)
{
	snprintf(error, error_size, "no memory for an exploration");
	return -1;
}

/* ---- Devices ---- */

static int describe_devices(struct explore_machines *machines, char *error, size_t error_size)
{
	const struct mr_scenario_guest *guest = &machines->setup->scenario->guest;
	const size_t size = (size_t)(guest->devices + 1) * DESCRIPTION_PIECE;
	char *text = malloc(size), reason[96];
	size_t length;

	machines->description_text = text;
	machines->device_bodies = calloc(guest->devices + 2u, guest->device_bytes + 1u);
	if (!text || !machines->device_bodies)
		return no_memory(error, error_size);
	for (uint32_t i = 0; i < guest->devices + 1; i++)
		memset(machines->device_bodies + (size_t)i * guest->device_bytes, 'A' + (int)i, guest->device_bytes);
	length = (size_t)snprintf(text, size, "{\"page_size\": %" PRIu32 ", \"devices\": [", guest->target_page_size);
	for (uint32_t i = 0; i < guest->devices; i++)
		length += (size_t)snprintf(
			text + length, size - length,
			"%s{\"name\": \"device%" PRIu32 "\", \"instance_id\": 0, \"vmsd_name\": \"device\", "
			"\"version\": 1, \"fields\": [{\"name\": \"state\", \"type\": \"buffer\", \"size\": %" PRIu32
			"}]}",
			i ? ", " : "", i, guest->device_bytes);
	snprintf(text + length, size - length, "]}");
	machines->description = mr_description_new(mr_machines_description(machines), reason);
	if (!machines->description) {
		snprintf(error, error_size, "devices: %s", reason);
		return -1;
	}
	return 0;
}

static int register_devices(struct explore_machines *machines, char *error, size_t error_size)
{
	const struct explore_setup *setup = machines->setup;
	struct mr_handler ram;
	char name[32], reason[96];
	enum mr_rule rule;

	mr_handlers_init(&machines->handlers, &setup->profiles[SOURCE], machines->entries, MR_EXPLORE_DEVICES_MAX + 1);
	mr_handler_known("ram", &ram);
	rule = mr_handlers_register(&machines->handlers, &ram, NULL, reason);
	for (uint32_t i = 0; i < setup->devices && rule == MR_NO_RULE; i++) {
		const struct mr_handler device = {.name = name, .alias = MR_ALIAS_NONE, .version = 1};

		snprintf(name, sizeof(name), "device%" PRIu32, i);
		rule = mr_handlers_register(&machines->handlers, &device, NULL, reason);
	}
	if (rule == MR_NO_RULE)
		return 0;
	snprintf(error, error_size, "devices: %s", reason);
	return -1;
}

/* ---- Memory ---- */

static int fill_contents(struct explore_machines *machines, char *error, size_t error_size)
{
	const size_t size = machines->setup->page_size;
	size_t largest = size;

	for (uint32_t i = 0; i < machines->setup->block_count; i++)
		if (machines->setup->blocks[i].host_pages * size > largest)
			largest = machines->setup->blocks[i].host_pages * size;
	machines->contents = malloc(BYTES * size);
	machines->written_page = calloc(1, size);
	machines->temporary[0] = calloc(1, largest);
	machines->temporary[1] = calloc(1, largest);
	if (!machines->contents || !machines->written_page || !machines->temporary[0] || !machines->temporary[1])
		return no_memory(error, error_size);
	for (int byte = 0; byte < BYTES; byte++)
		memset(machines->contents + (size_t)byte * size, byte, size);
	return 0;
}

static void set_blocks(struct explore_machines *machines)
{
	const struct mr_scenario *scenario = machines->setup->scenario;
	uint64_t address = 0;

	for (uint32_t i = 0; i < scenario->block_count; i++) {
		machines->source_blocks[i] = (struct mr_outgoing_block){
			.name = scenario->blocks[i].name,
			.used_length = scenario->blocks[i].size,
			.page_size = scenario->blocks[i].page_size,
			.address = address,
			.cache_offset = address,
		};
		machines->destination_blocks[i] = (struct mr_incoming_block){
			.name = scenario->blocks[i].name,
			.used_length = scenario->blocks[i].size,
			.page_size = scenario->blocks[i].page_size,
			.rank = i,
		};
		address += scenario->blocks[i].size;
	}
}

/* ---- The machines ---- */

static int set_up_source(struct explore_machines *machines, char *error, size_t error_size)
{
	const struct explore_setup *setup = machines->setup;
	const struct mr_scenario_migration *migration = &setup->scenario->migration;
	char reason[96];
	size_t size;

	machines->choices = (struct mr_choices){machines, mr_machines_choose};
	machines->source_config = (struct mr_outgoing_config){
		.profile = setup->profiles[SOURCE],
		.capabilities = migration->capabilities,
		.pause_before_switchover = migration->pause_before_switchover,
		.machine = "pc",
		.target_page_size = setup->page_size,
		.host_page_size = setup->scenario->guest.host_page_size,
		.blocks = machines->source_blocks,
		.block_count = setup->block_count,
		.handlers = &machines->handlers,
		.max_bandwidth = UINT64_MAX,
		.clear_bitmap_shift = CLEAR_SHIFT,
		.method_level = INT32_MIN,
		.zero_detection = migration->zero_detection,
		.connections_max = setup->connections_max,
		.package_max = PACKAGE_MAX,
		.memory = {machines, mr_machines_read},
		.choices = &machines->choices,
		.unusual_choices = setup->choices,
	};
	size = mr_outgoing_size(&machines->source_config, reason);
	machines->arenas[SOURCE] = size ? calloc(1, size) : NULL;
	if (size && !machines->arenas[SOURCE])
		return no_memory(error, error_size);
	if (size)
		machines->source = mr_outgoing_init(machines->arenas[SOURCE], size, &machines->source_config);
	if (machines->source)
		return 0;
	snprintf(error, error_size, "source: %s", reason);
	return -1;
}

static int set_up_destination(struct explore_machines *machines, char *error, size_t error_size)
{
	const struct explore_setup *setup = machines->setup;
	const struct mr_scenario_migration *migration = &setup->scenario->migration;
	char reason[96];
	size_t size;

	machines->destination_config = (struct mr_incoming_config){
		.context = {.profile = setup->profiles[DESTINATION],
			    .capabilities_known = true,
			    .capabilities = migration->capabilities,
			    .multifd_method = MR_METHOD_UNKNOWN,
			    .description = machines->description},
		.profile = setup->profiles[DESTINATION],
		.strict = migration->strict,
		.target_page_size = setup->page_size,
		.host_page_size = setup->scenario->guest.host_page_size,
		.blocks = machines->destination_blocks,
		.block_count = setup->block_count,
		.package_max = PACKAGE_MAX,
		.connections_max = setup->connections_max,
		.memory = {machines, mr_machines_write, mr_machines_zero},
		.temporary = {machines->temporary[0], machines->temporary[1]},
	};
	size = mr_incoming_size(&machines->destination_config, reason);
	machines->arenas[DESTINATION] = size ? calloc(1, size) : NULL;
	if (size && !machines->arenas[DESTINATION])
		return no_memory(error, error_size);
	if (size)
		machines->destination =
			mr_incoming_init(machines->arenas[DESTINATION], size, &machines->destination_config);
	if (machines->destination)
		return 0;
	snprintf(error, error_size, "destination: %s", reason);
	return -1;
}

struct explore_machines *mr_machines_new(const struct explore_setup *setup, struct explore_queues *queues, char *error,
					 size_t error_size)
{
	struct explore_machines *machines = calloc(1, sizeof(*machines));

	if (!machines) {
		no_memory(error, error_size);
		return NULL;
	}
	machines->setup = setup;
	machines->queues = queues;
	machines->pieces = calloc(PIECES_ROOM, sizeof(*machines->pieces));
	machines->bytes = malloc(STATE_BYTES_MAX);
	set_blocks(machines);
	if (describe_devices(machines, error, error_size) == 0 && register_devices(machines, error, error_size) == 0 &&
	    fill_contents(machines, error, error_size) == 0 && set_up_source(machines, error, error_size) == 0 &&
	    set_up_destination(machines, error, error_size) == 0) {
		if (machines->pieces && machines->bytes && mr_machines_begin(machines))
			return machines;
		no_memory(error, error_size);
	}
	mr_machines_free(machines);
	return NULL;
}

void mr_machines_free(struct explore_machines *machines)
{
	if (!machines)
		return;
	mr_outgoing_clear(machines->source);
	mr_description_free(machines->description);
	for (unsigned side = 0; side < SIDES; side++) {
		free(machines->arenas[side]);
		mr_store_clear(&machines->states[side]);
		free(machines->glances[side]);
		free(machines->temporary[side]);
	}
	mr_store_clear(&machines->shapes);
	mr_store_map_clear(&machines->known);
	free(machines->effects);
	free(machines->pieces);
	free(machines->bytes);
	free(machines->window_bytes);
	free(machines->written_page);
	free(machines->contents);
	free(machines->device_bodies);
	free(machines->description_text);
	free(machines);
}
