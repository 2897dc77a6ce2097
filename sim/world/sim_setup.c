/* sim_setup.c: both machines, their memories, devices and connections, as the scenario has them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/world/sim_state.h"

enum { DESCRIPTION_PIECE = 256, CONNECTIONS_OF_CUTS = 40, CLEAR_BITMAP_SHIFT = 18 };

static int no_memory(char *error, size_t error_size)
{
	snprintf(error, error_size, "no memory for a simulation");
	return -1;
}

/* ---- Profiles ---- */

/* The machine type is of the older release, which decides on the properties of both. */
static void set_profiles(struct mr_sim *sim)
{
	const struct mr_scenario_migration *migration = &sim->scenario->migration;
	struct mr_profile *source = &sim->profiles[0], *destination = &sim->profiles[1];

	mr_profile_init(source, migration->source);
	mr_profile_init(destination, migration->destination);
	if (migration->machine[0])
		snprintf(sim->machine, sizeof(sim->machine), "%s", migration->machine);
	else
		snprintf(sim->machine, sizeof(sim->machine), "pc-i440fx-%s",
			 mr_profile_within(source, migration->destination, "") ? migration->destination
									       : migration->source);
	mr_profile_apply_machine(source, sim->machine);
	mr_profile_apply_machine(destination, sim->machine);
}

/* ---- Devices ---- */

static int describe_devices(struct mr_sim *sim, char *error, size_t error_size)
{
	const struct mr_scenario_guest *guest = &sim->scenario->guest;
	const size_t size = (size_t)(guest->devices + 1) * DESCRIPTION_PIECE;
	char reason[96];
	size_t length;

	sim->description_text = malloc(size);
	sim->device_body = malloc(guest->device_bytes + 1);
	if (!sim->description_text || !sim->device_body)
		return no_memory(error, error_size);
	length = (size_t)snprintf(sim->description_text, size, "{\"page_size\": %" PRIu32 ", \"devices\": [",
				  guest->target_page_size);
	for (uint32_t i = 0; i < guest->devices; i++)
		length += (size_t)snprintf(
			sim->description_text + length, size - length,
			"%s{\"name\": \"%s\", \"instance_id\": 0, \"vmsd_name\": \"%s\", \"version\": 1, "
			"\"fields\": [{\"name\": \"state\", \"type\": \"buffer\", \"size\": %" PRIu32 "}]}",
			i ? ", " : "", sim->device_names[i], sim->device_names[i], guest->device_bytes);
	snprintf(sim->description_text + length, size - length, "]}");
	sim->description = mr_description_new(
		(struct mr_bytes){(const uint8_t *)sim->description_text, strlen(sim->description_text)}, reason);
	if (!sim->description) {
		snprintf(error, error_size, "devices: %s", reason);
		return -1;
	}
	return 0;
}

static int set_devices(struct mr_sim *sim, char *error, size_t error_size)
{
	struct mr_handler ram;
	char reason[96];

	mr_handlers_init(&sim->handlers, &sim->profiles[0], sim->entries, MR_SCENARIO_DEVICES_MAX + 2);
	mr_handler_known("ram", &ram);
	if (mr_handlers_register(&sim->handlers, &ram, NULL, reason) != MR_NO_RULE) {
		snprintf(error, error_size, "ram: %s", reason);
		return -1;
	}
	for (uint32_t i = 0; i < sim->scenario->guest.devices; i++) {
		struct mr_handler device = {.alias = MR_ALIAS_NONE, .version = 1};

		snprintf(sim->device_names[i], sizeof(sim->device_names[i]), "device%" PRIu32, i);
		device.name = sim->device_names[i];
		if (mr_handlers_register(&sim->handlers, &device, NULL, reason) != MR_NO_RULE) {
			snprintf(error, error_size, "device: %s", reason);
			return -1;
		}
	}
	return describe_devices(sim, error, error_size);
}

/* ---- Memory ---- */

static int set_memory(struct mr_sim *sim, char *error, size_t error_size)
{
	const struct mr_scenario *scenario = sim->scenario;
	const size_t page = scenario->guest.target_page_size;
	uint64_t offset = 0;

	memcpy(sim->content.shares, scenario->guest.shares, sizeof(sim->content.shares));
	sim->content.filled = scenario->guest.filled;
	mr_content_init(&sim->content, scenario->seed);
	sim->read_pages = malloc(MR_PACKET_PAGES_MAX * page);
	sim->write_pages = malloc(MR_PACKET_PAGES_MAX * page);
	sim->check_page = malloc(page);
	sim->zero_page = calloc(1, page);
	if (!sim->read_pages || !sim->write_pages || !sim->check_page || !sim->zero_page)
		return no_memory(error, error_size);
	for (uint32_t i = 0; i < scenario->block_count; i++) {
		const struct mr_scenario_block *block = &scenario->blocks[i];
		struct sim_block *here = &sim->blocks[i];

		here->pages = block->size / page;
		here->host_pages = block->page_size > page ? block->page_size / page : 1;
		here->touched = calloc(mr_bitmap_words(here->pages), sizeof(uint64_t));
		here->arrived = calloc(mr_bitmap_words(here->pages), sizeof(uint64_t));
		if (!here->touched || !here->arrived)
			return no_memory(error, error_size);
		sim->source_blocks[i] = (struct mr_outgoing_block){.name = block->name,
								   .used_length = block->size,
								   .page_size = block->page_size,
								   .address = offset,
								   .cache_offset = offset};
		sim->destination_blocks[i] =
			(struct mr_incoming_block){.name = block->name,
						   .used_length = block->size,
						   .page_size = block->page_size,
						   .rank = i,
						   .not_zeroable = block->page_size > scenario->guest.host_page_size};
		offset += (block->size + BLOCK_ALIGNMENT - 1) / BLOCK_ALIGNMENT * BLOCK_ALIGNMENT;
	}
	return 0;
}

/* ---- Machines ---- */

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

static int start_source(struct mr_sim *sim, char *error, size_t error_size)
{
	const struct mr_scenario *scenario = sim->scenario;
	const struct mr_scenario_migration *migration = &scenario->migration;
	char reason[96];
	size_t size;

	sim->choices = (struct mr_choices){sim, mr_sim_choose};
	sim->source_config = (struct mr_outgoing_config){
		.profile = sim->profiles[0],
		.capabilities = migration->capabilities,
		.pause_before_switchover = migration->pause_before_switchover,
		.release_ram = migration->release_ram,
		.auto_converge = migration->auto_converge,
		.machine = sim->machine,
		.target_page_size = scenario->guest.target_page_size,
		.host_page_size = scenario->guest.host_page_size,
		.blocks = sim->source_blocks,
		.block_count = scenario->block_count,
		.handlers = &sim->handlers,
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
		.memory = {sim, mr_sim_read_page},
	};
	for (unsigned i = 0; i < MR_CHOICE_COUNT; i++)
		if (scenario->choices.permille[i]) {
			sim->source_config.choices = &sim->choices;
			sim->source_config.unusual_choices |= (uint32_t)MR_CHOICES_UNUSUAL & UINT32_C(1) << i;
		}
	size = mr_outgoing_size(&sim->source_config, reason);
	if (size == 0) {
		snprintf(error, error_size, "source: %s", reason);
		return -1;
	}
	sim->source_arena = calloc(1, size);
	if (!sim->source_arena)
		return no_memory(error, error_size);
	sim->source = mr_outgoing_init(sim->source_arena, size, &sim->source_config);
	return sim->source ? 0 : no_memory(error, error_size);
}

static size_t largest_host_page(const struct mr_scenario *scenario)
{
	uint64_t largest = scenario->guest.host_page_size > scenario->guest.target_page_size
				   ? scenario->guest.host_page_size
				   : scenario->guest.target_page_size;

	for (uint32_t i = 0; i < scenario->block_count; i++)
		if (scenario->blocks[i].page_size > largest)
			largest = scenario->blocks[i].page_size;
	return (size_t)largest;
}

static int set_temporary(struct mr_sim *sim, char *error, size_t error_size)
{
	const size_t largest = largest_host_page(sim->scenario);

	for (unsigned i = 0; i < 2; i++) {
		sim->temporary[i] = malloc(largest);
		if (!sim->temporary[i])
			return no_memory(error, error_size);
		sim->destination_config.temporary[i] = sim->temporary[i];
	}
	return 0;
}

static int start_destination(struct mr_sim *sim, char *error, size_t error_size)
{
	const struct mr_scenario *scenario = sim->scenario;
	const struct mr_scenario_migration *migration = &scenario->migration;
	const struct mr_multifd_method *method = method_of(scenario);
	char reason[96];
	size_t size;

	sim->destination_config = (struct mr_incoming_config){
		.context = {.profile = sim->profiles[0],
			    .capabilities_known = true,
			    .capabilities = migration->capabilities,
			    .multifd_channels = migration->multifd_channels,
			    .multifd_method = method ? method->flag : 0,
			    .description = sim->description},
		.profile = sim->profiles[1],
		.strict = migration->strict,
		.target_page_size = scenario->guest.target_page_size,
		.host_page_size = scenario->guest.host_page_size,
		.start_paused = migration->start_paused,
		.blocks = sim->destination_blocks,
		.block_count = scenario->block_count,
		.connections_max = connections_of(scenario),
		.blocktime = migration->blocktime,
		.vcpu_count = migration->blocktime ? scenario->guest.vcpus : 0,
		.memory = {sim, mr_sim_write_page, mr_sim_write_zero},
	};
	if (set_temporary(sim, error, error_size) < 0)
		return -1;
	size = mr_incoming_size(&sim->destination_config, reason);
	if (size == 0) {
		snprintf(error, error_size, "destination: %s", reason);
		return -1;
	}
	sim->destination_arena = calloc(1, size);
	if (!sim->destination_arena)
		return no_memory(error, error_size);
	sim->destination = mr_incoming_init(sim->destination_arena, size, &sim->destination_config);
	return sim->destination ? 0 : no_memory(error, error_size);
}

/* ---- Actors ---- */

static void set_vcpus(struct mr_sim *sim)
{
	for (uint32_t i = 0; i < sim->scenario->workload_count; i++) {
		const struct mr_scenario_workload *workload = &sim->scenario->workloads[i];

		for (uint32_t j = 0; j < workload->vcpu_count; j++) {
			struct sim_vcpu *vcpu = &sim->vcpus[workload->first_vcpu + j];

			mr_pattern_init(&vcpu->pattern, &workload->pattern, sim->scenario->seed,
					workload->first_vcpu + j);
			vcpu->block = workload->block;
			vcpu->interval = workload->interval;
		}
	}
}

static void tell_vcpus(struct mr_sim *sim)
{
	for (uint32_t i = 0; sim->destination_config.blocktime && i < sim->scenario->guest.vcpus; i++) {
		const struct mr_log_record record = {.kind = MR_LOG_VCPU,
						     .channel = MR_INCOMING_CHANNELS_MAX,
						     .count = i,
						     .thread = THREAD_FIRST + i};

		if (mr_incoming_vcpu(sim->destination, i, THREAD_FIRST + i) && sim->watch.destination)
			sim->watch.destination(sim->watch.argument, &record, sim->destination, NULL);
	}
}

static void set_actors(struct mr_sim *sim)
{
	const bool multifd = sim->scenario->migration.capabilities & MR_CAPABILITY_MULTIFD;
	const uint32_t senders = multifd ? sim->scenario->migration.multifd_channels : 0;
	/* Releases that go by the order of connections may take any connection for a multifd channel. */
	const uint32_t receivers = multifd ? senders + 2 : 0;

	sim->source_actor_count = MR_SOURCE_MULTIFD + senders;
	sim->destination_actor_count = MR_ACTOR_MULTIFD + receivers;
	for (uint32_t i = 0; i < sim->source_actor_count; i++)
		sim->source_actors[i] =
			(struct sim_actor){.idle = true, .writing = NOBODY, .reading = NOBODY, .waits_for = NOBODY};
	for (uint32_t i = 0; i < sim->destination_actor_count; i++)
		sim->destination_actors[i] =
			(struct sim_actor){.idle = true, .writing = NOBODY, .reading = NOBODY, .waits_for = NOBODY};
	for (unsigned i = 0; i < MR_ROLE_COUNT; i++)
		sim->last_of_role[i] = NOBODY;
}

int mr_sim_set_up(struct mr_sim *sim, char *error, size_t error_size)
{
	set_profiles(sim);
	sim->chance = mr_random_of(sim->scenario->seed, 0x63686f696365);
	sim->device_chance = mr_random_of(sim->scenario->seed, 0x646576696365);
	if (mr_link_init(&sim->link, &sim->scenario->link, sim->scenario->seed, connections_of(sim->scenario),
			 &sim->agenda, MOMENT_DEPART, MOMENT_ARRIVE, MOMENT_RETRY) < 0)
		return no_memory(error, error_size);
	if (set_devices(sim, error, error_size) < 0 || set_memory(sim, error, error_size) < 0 ||
	    start_source(sim, error, error_size) < 0 || start_destination(sim, error, error_size) < 0)
		return -1;
	set_vcpus(sim);
	set_actors(sim);
	tell_vcpus(sim);
	return 0;
}

static void tear_methods_down(struct mr_sim *sim)
{
	const struct mr_multifd_method *method = method_of(sim->scenario);

	for (unsigned i = 0; i < MR_INCOMING_MULTIFD_MAX; i++)
		if (sim->method_states[i])
			(method ? method : mr_multifd_method_by_name("none"))->recv_cleanup(sim->method_states[i]);
}

void mr_sim_tear_down(struct mr_sim *sim)
{
	if (sim->source)
		mr_outgoing_clear(sim->source);
	tear_methods_down(sim);
	for (uint32_t i = 0; i < MR_SCENARIO_BLOCKS_MAX; i++) {
		free(sim->blocks[i].touched);
		free(sim->blocks[i].arrived);
	}
	mr_page_map_clear(&sim->source_map);
	mr_page_map_clear(&sim->destination_map);
	mr_link_clear(&sim->link);
	mr_agenda_clear(&sim->agenda);
	mr_description_free(sim->description);
	free(sim->description_text);
	free(sim->device_body);
	free(sim->read_pages);
	free(sim->write_pages);
	free(sim->check_page);
	free(sim->zero_page);
	free(sim->temporary[0]);
	free(sim->temporary[1]);
	free(sim->dirty);
	free(sim->told);
	free(sim->source_arena);
	free(sim->destination_arena);
}
