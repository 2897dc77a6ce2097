/* sim_setup.c: both machines, their memories, devices and connections, as the scenario has them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/world/sim_state.h"

static int no_memory(char *error, size_t error_size)
{
	snprintf(error, error_size, "no memory for a simulation");
	return -1;
}

/* ---- Memory ---- */

static int set_memory(struct mr_sim *sim, char *error, size_t error_size)
{
	const struct mr_scenario *scenario = sim->scenario;
	const size_t page = scenario->guest.target_page_size;

	memcpy(sim->content.shares, scenario->guest.shares, sizeof(sim->content.shares));
	sim->content.filled = scenario->guest.filled;
	mr_content_init(&sim->content, scenario->seed);
	sim->device_body = malloc(scenario->guest.device_bytes + 1);
	sim->read_pages = malloc(MR_PACKET_PAGES_MAX * page);
	sim->write_pages = malloc(MR_PACKET_PAGES_MAX * page);
	sim->check_page = malloc(page);
	sim->zero_page = calloc(1, page);
	if (!sim->device_body || !sim->read_pages || !sim->write_pages || !sim->check_page || !sim->zero_page)
		return no_memory(error, error_size);
	for (uint32_t i = 0; i < scenario->block_count; i++) {
		const struct mr_scenario_block *block = &scenario->blocks[i];
		struct sim_block *here = &sim->blocks[i];

		here->pages = block->size / page;
		here->host_pages = block->page_size > page ? block->page_size / page : 1;
		here->touched = calloc(mr_bitmap_words(here->pages), sizeof(uint64_t));
		here->arrived = calloc(mr_bitmap_words(here->pages), sizeof(uint64_t));
		here->sent = calloc(mr_bitmap_words(here->pages), sizeof(uint64_t));
		here->logged = calloc(mr_bitmap_words(here->pages), sizeof(uint64_t));
		if (!here->touched || !here->arrived || !here->sent || !here->logged)
			return no_memory(error, error_size);
	}
	return 0;
}

/* ---- Machines ---- */

static int start_source(struct mr_sim *sim, char *error, size_t error_size)
{
	struct mr_outgoing_config *config = &sim->ends.source;
	char reason[96];
	size_t size;

	sim->choices = (struct mr_choices){sim, mr_sim_choose};
	config->memory = (struct mr_outgoing_memory){sim, mr_sim_read_page};
	config->is_zero = mr_sim_is_zero;
	for (unsigned i = 0; i < MR_CHOICE_COUNT; i++)
		if (sim->scenario->choices.permille[i]) {
			config->choices = &sim->choices;
			config->unusual_choices |= (uint32_t)MR_CHOICES_UNUSUAL & UINT32_C(1) << i;
		}
	size = mr_outgoing_size(config, reason);
	if (size == 0) {
		snprintf(error, error_size, "source: %s", reason);
		return -1;
	}
	sim->source_arena = calloc(1, size);
	if (!sim->source_arena)
		return no_memory(error, error_size);
	sim->source = mr_outgoing_init(sim->source_arena, size, config);
	return sim->source ? 0 : no_memory(error, error_size);
}

static int set_temporary(struct mr_sim *sim, char *error, size_t error_size)
{
	const size_t largest = mr_ends_largest_page(sim->scenario);

	for (unsigned i = 0; i < 2; i++) {
		sim->temporary[i] = malloc(largest);
		if (!sim->temporary[i])
			return no_memory(error, error_size);
		sim->ends.destination.temporary[i] = sim->temporary[i];
	}
	return 0;
}

static int start_destination(struct mr_sim *sim, char *error, size_t error_size)
{
	struct mr_incoming_config *config = &sim->ends.destination;
	char reason[96];
	size_t size;

	config->memory = (struct mr_incoming_memory){sim, mr_sim_write_page, mr_sim_write_zero};
	if (set_temporary(sim, error, error_size) < 0)
		return -1;
	size = mr_incoming_size(config, reason);
	if (size == 0) {
		snprintf(error, error_size, "destination: %s", reason);
		return -1;
	}
	sim->destination_arena = calloc(1, size);
	if (!sim->destination_arena)
		return no_memory(error, error_size);
	sim->destination = mr_incoming_init(sim->destination_arena, size, config);
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
	for (uint32_t i = 0; sim->ends.destination.blocktime && i < sim->scenario->guest.vcpus; i++) {
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
	if (mr_ends_init(&sim->ends, sim->scenario, error, error_size) < 0)
		return -1;
	sim->chance = mr_random_of(sim->scenario->seed, 0x63686f696365);
	sim->device_chance = mr_random_of(sim->scenario->seed, 0x646576696365);
	if (mr_link_init(&sim->link, &sim->scenario->link, sim->scenario->seed, sim->ends.source.connections_max,
			 &sim->agenda, MOMENT_DEPART, MOMENT_ARRIVE, MOMENT_RETRY) < 0)
		return no_memory(error, error_size);
	if (set_memory(sim, error, error_size) < 0 || start_source(sim, error, error_size) < 0 ||
	    start_destination(sim, error, error_size) < 0)
		return -1;
	set_vcpus(sim);
	set_actors(sim);
	tell_vcpus(sim);
	return 0;
}

void mr_sim_tear_down(struct mr_sim *sim)
{
	if (sim->source)
		mr_outgoing_clear(sim->source);
	mr_receivers_clear(&sim->receivers);
	for (uint32_t i = 0; i < MR_SCENARIO_BLOCKS_MAX; i++) {
		free(sim->blocks[i].touched);
		free(sim->blocks[i].arrived);
		free(sim->blocks[i].sent);
		free(sim->blocks[i].logged);
	}
	mr_page_map_clear(&sim->source_map);
	mr_page_map_clear(&sim->destination_map);
	mr_link_clear(&sim->link);
	mr_agenda_clear(&sim->agenda);
	mr_ends_clear(&sim->ends);
	free(sim->device_body);
	free(sim->read_pages);
	free(sim->write_pages);
	free(sim->check_page);
	free(sim->zero_page);
	free(sim->temporary[0]);
	free(sim->temporary[1]);
	free(sim->told);
	free(sim->barriers);
	free(sim->source_arena);
	free(sim->destination_arena);
}
