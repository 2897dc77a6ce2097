/* world.c: what surrounds a destination under replay: its connections, guest memory and return paths. */
#include "sim/record/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Errors as the host's numbers: the log that holds them is read on any machine. */
enum { ERROR_IO = 5, ERROR_MEMORY = 12, ERROR_EXISTS = 17, ERROR_INVALID = 22 };

/* ---- Memory ---- */

static uint8_t *page_to_write(void *argument, uint32_t block, uint64_t offset)
{
	struct mr_memory *memory = argument;
	uint8_t *page = mr_memory_page(memory, block, offset);

	if (page)
		mr_memory_mark(memory, block, offset);
	return page;
}

static void page_to_zero(void *argument, uint32_t block, uint64_t offset)
{
	struct mr_record record = {.kind = MR_RAM_ZERO};
	struct mr_fault fault;

	record.page.block = block;
	record.page.address = offset;
	mr_memory_apply(argument, &record, &fault);
}

static int map_blocks(struct mr_world *world, const struct mr_incoming_config *config)
{
	for (uint32_t i = 0; i < config->block_count; i++) {
		struct mr_record record = {.kind = MR_RAM_BLOCK};
		struct mr_fault fault;

		record.ram_block.block = i;
		record.ram_block.used_length = config->blocks[i].used_length;
		if (mr_memory_apply(world->memory, &record, &fault) < 0) {
			snprintf(world->error, sizeof(world->error), "block %s: %s", config->blocks[i].name,
				 fault.text);
			return -1;
		}
	}
	return 0;
}

static int discard(struct mr_world *world, const struct mr_action_range *range)
{
	struct mr_fault fault;

	return mr_memory_empty(world->memory, range->block, range->start, range->length, &fault) < 0 ? ERROR_INVALID
												     : 0;
}

/* What is present is not placed again: the host would refuse it, whatever the content (PC-035). */
static int place(struct mr_world *world, const struct mr_action_placed *placed)
{
	const uint32_t page_size = mr_incoming_session(world->incoming)->target_page_size;

	if (mr_incoming_is_received(world->incoming, placed->block, placed->offset))
		return ERROR_EXISTS;
	for (uint64_t done = 0; world->memory && done < placed->length; done += page_size) {
		uint8_t *page;

		if (placed->zero || !placed->data) {
			page_to_zero(world->memory, placed->block, placed->offset + done);
			continue;
		}
		page = page_to_write(world->memory, placed->block, placed->offset + done);
		if (!page)
			return ERROR_INVALID;
		memcpy(page, placed->data + done, page_size);
	}
	return 0;
}

static int write_packet_to_backing(struct mr_world *world, struct mr_packet_codec *codec,
				   const struct mr_multifd_packet *packet)
{
	const struct mr_backing *backing = world->backing;
	uint8_t *pages[MR_PACKET_PAGES_MAX];
	struct mr_fault fault;

	if (packet->block == UINT32_MAX)
		return 0;
	for (uint32_t i = 0; i < packet->normal_pages; i++) {
		pages[i] = backing->page(backing->argument, packet->block, mr_multifd_offset(packet, i));
		if (!pages[i])
			return ERROR_INVALID;
	}
	if (packet->normal_pages &&
	    (mr_packet_codec_prepare(codec, world->memory->session, packet, &fault) < 0 ||
	     codec->method->recv(codec->state, packet->payload, pages, packet->normal_pages, fault.text) != MR_NO_RULE))
		return ERROR_INVALID;
	for (uint32_t i = 0; i < packet->zero_pages; i++)
		backing->zero(backing->argument, packet->block, mr_multifd_offset(packet, packet->normal_pages + i));
	return 0;
}

static int write_packet(struct mr_world *world, const struct mr_action *action)
{
	struct mr_multifd_packet packet = action->packet.record;
	struct mr_packet_codec *codec;
	struct mr_fault fault;

	if (!world->memory || action->channel >= world->connection_count)
		return 0;
	codec = &world->connections[action->channel].codec;
	packet.block = action->packet.block;
	if (world->backing)
		return write_packet_to_backing(world, codec, &packet);
	return mr_memory_apply_packet(world->memory, codec, &packet, &fault) < 0 ? ERROR_INVALID : 0;
}

/* ---- Memory that lies elsewhere ---- */

static int ask_backing(struct mr_world *world, const struct mr_action *action)
{
	const int error =
		world->backing->carry_out(world->backing->argument, action, world->error, sizeof(world->error));

	world->failed |= error < 0;
	return error < 0 ? ERROR_IO : error;
}

bool mr_world_fault(struct mr_world *world, uint32_t block, uint64_t offset, uint64_t thread)
{
	const struct mr_backing *backing = world->backing;

	if (!backing || !mr_incoming_takes_fault(world->incoming))
		return mr_incoming_fault(world->incoming, block, offset, thread);
	if (backing->fault(backing->argument, block, offset, thread, world->error, sizeof(world->error)) < 0)
		world->failed = true;
	return mr_incoming_fault(world->incoming, block, offset, thread);
}

/* ---- Return paths ---- */

static int send_bytes(struct mr_world *world, const struct mr_action_send *send)
{
	struct mr_world_connection *connection;
	size_t length = send->bytes.length;

	if (send->channel >= world->connection_count)
		return ERROR_IO;
	connection = &world->connections[send->channel];
	if (length > connection->return_limit - connection->sent_length)
		length = (size_t)(connection->return_limit - connection->sent_length);
	if (connection->sent_length + send->bytes.length > connection->sent_capacity) {
		const size_t capacity = 2 * (connection->sent_length + send->bytes.length);
		uint8_t *larger = realloc(connection->sent, capacity);

		if (!larger)
			return ERROR_MEMORY;
		connection->sent = larger;
		connection->sent_capacity = capacity;
	}
	memcpy(connection->sent + connection->sent_length, send->bytes.data, length);
	connection->sent_length += length;
	return length == send->bytes.length ? 0 : ERROR_IO;
}

int mr_world_carry_out(struct mr_world *world, const struct mr_action *action)
{
	if (action->kind == MR_ACTION_SEND)
		return send_bytes(world, &action->send);
	if (action->kind == MR_ACTION_PACKET)
		return write_packet(world, action);
	if (world->backing)
		return ask_backing(world, action);
	switch (action->kind) {
	case MR_ACTION_DISCARD:
		return world->memory ? discard(world, &action->range) : 0;
	case MR_ACTION_PLACE:
		return place(world, &action->placed);
	default:
		return 0;
	}
}

/* ---- Connections ---- */

static int fail_input(struct mr_world *world, const struct mr_input *input)
{
	world->failed = true;
	snprintf(world->error, sizeof(world->error), "%s", mr_input_error(input));
	return -1;
}

/* The bytes of a connection from the machine's own position on: at least `wanted` of them, or the end. */
static int look_ahead(struct mr_world *world, uint32_t channel, size_t wanted, struct mr_bytes *ahead, bool *at_end)
{
	struct mr_world_connection *connection = &world->connections[channel];
	const uint64_t consumed = mr_incoming_consumed(world->incoming, channel);

	*ahead = (struct mr_bytes){NULL, 0};
	*at_end = true;
	if (!connection->input)
		return 0;
	mr_input_consume(connection->input, (size_t)(consumed - mr_input_position(connection->input)));
	if (mr_input_fill(connection->input, wanted) < 0)
		return fail_input(world, connection->input);
	ahead->data = mr_input_window(connection->input, &ahead->length, at_end);
	return 0;
}

/* Gives the machine as many bytes of a connection as there are, at least `wanted`. */
static int feed(struct mr_world *world, uint32_t channel, size_t wanted)
{
	struct mr_world_connection *connection = &world->connections[channel];
	const uint64_t consumed = mr_incoming_consumed(world->incoming, channel);
	struct mr_bytes ahead;
	size_t length;
	bool at_end, cut;

	if (look_ahead(world, channel, wanted, &ahead, &at_end) < 0)
		return -1;
	length = ahead.length;
	cut = connection->limit != UINT64_MAX && connection->limit <= consumed + length;
	if (cut) {
		length = connection->limit > consumed ? (size_t)(connection->limit - consumed) : 0;
		at_end = true;
	}
	mr_incoming_feed(world->incoming, channel, ahead.data, length, at_end, at_end ? connection->error : 0);
	return 0;
}

/* No more than the first `bytes` bytes of the connection are at hand. */
static int feed_short(struct mr_world *world, uint32_t channel, uint64_t bytes)
{
	const uint64_t left = bytes - mr_incoming_consumed(world->incoming, channel);
	struct mr_bytes ahead;
	bool at_end;

	if (look_ahead(world, channel, (size_t)left, &ahead, &at_end) < 0)
		return -1;
	mr_incoming_feed(world->incoming, channel, ahead.data, ahead.length < left ? ahead.length : (size_t)left, false,
			 0);
	return 0;
}

int mr_world_connect(struct mr_world *world, uint32_t channel, enum mr_role role)
{
	struct mr_world_connection *connection;

	if (channel >= world->connection_count)
		return -1;
	connection = &world->connections[channel];
	if (connection->opened || mr_incoming_open(world->incoming, channel, role) < 0)
		return -1;
	connection->opened = true;
	connection->role = role;
	return feed(world, channel, 1);
}

int mr_world_end(struct mr_world *world, uint32_t channel, uint64_t bytes, int error)
{
	if (channel >= world->connection_count || !world->connections[channel].opened)
		return -1;
	world->connections[channel].limit = bytes;
	world->connections[channel].error = error;
	return feed(world, channel, 0);
}

void mr_world_end_return(struct mr_world *world, uint32_t channel, uint64_t bytes)
{
	struct mr_world_connection *connection = &world->connections[channel];

	connection->return_limit = bytes > connection->sent_length ? bytes : connection->sent_length;
}

size_t mr_world_rest(struct mr_world *world, uint32_t channel, size_t wanted, const uint8_t **rest)
{
	const struct mr_world_connection *connection = &world->connections[channel];
	size_t length;
	bool at_end;

	if (!connection->input || feed(world, channel, wanted) < 0)
		return 0;
	*rest = mr_input_window(connection->input, &length, &at_end);
	return length;
}

enum mr_step mr_world_step(struct mr_world *world, unsigned actor, struct mr_action *action)
{
	for (;;) {
		const enum mr_step step = mr_incoming_step(world->incoming, actor, action);
		struct mr_wants wants;

		if (step != MR_STEP_BYTES)
			return step;
		wants = mr_incoming_wants(world->incoming, actor);
		if (wants.channel >= world->connection_count || feed(world, wants.channel, wants.wanted) < 0)
			return MR_STEP_DONE;
	}
}

bool mr_world_step_short(struct mr_world *world, unsigned actor, uint32_t channel, uint64_t bytes)
{
	struct mr_action action;

	if (channel >= world->connection_count || !world->connections[channel].opened ||
	    bytes < mr_incoming_consumed(world->incoming, channel) || feed_short(world, channel, bytes) < 0)
		return false;
	return mr_incoming_step(world->incoming, actor, &action) == MR_STEP_BYTES &&
	       mr_incoming_wants(world->incoming, actor).channel == channel;
}

void mr_world_judge_received(struct mr_world *world)
{
	for (uint32_t i = 0; world->memory && i < world->memory->count; i++) {
		struct mr_memory_block *block = &world->memory->blocks[i];
		uint64_t pages;
		const uint64_t *received = mr_incoming_received(world->incoming, i, &pages);

		if (!block->data || !received)
			continue;
		memcpy(block->received, received,
		       mr_bitmap_words(pages < block->pages ? pages : block->pages) * sizeof(uint64_t));
	}
}

/* ---- Setting up ---- */

static int open_return(struct mr_world *world, const struct mr_migration *migration, unsigned number)
{
	struct mr_world_connection *connection = &world->connections[number];
	char name[24];
	bool at_end;

	snprintf(name, sizeof(name), "ch%u.ret", number);
	if (mr_recording_open_file(migration->recording, name, &connection->recorded_input, world->error,
				   sizeof(world->error)) < 0)
		return -1;
	connection->has_return = true;
	for (size_t wanted = 1 << 16;; wanted *= 2) {
		if (mr_input_fill(connection->recorded_input, wanted) < 0)
			return fail_input(world, connection->recorded_input);
		connection->recorded.data =
			mr_input_window(connection->recorded_input, &connection->recorded.length, &at_end);
		if (at_end)
			return 0;
	}
}

static int open_connections(struct mr_world *world, const struct mr_migration *migration)
{
	const struct mr_recording *recording = migration->recording;
	char name[24];

	world->connection_count = recording->channel_count;
	world->connections = calloc((size_t)recording->channel_count + 1, sizeof(*world->connections));
	if (!world->connections) {
		snprintf(world->error, sizeof(world->error), "no memory for connections");
		return -1;
	}
	for (unsigned i = 0; i < recording->channel_count; i++) {
		struct mr_world_connection *connection = &world->connections[i];

		connection->limit = connection->return_limit = UINT64_MAX;
		snprintf(name, sizeof(name), "ch%u.fwd", i);
		if (recording->channels[i].has_forward &&
		    mr_recording_open_file(recording, name, &connection->input, world->error, sizeof(world->error)) < 0)
			return -1;
		if (recording->channels[i].has_return && open_return(world, migration, i) < 0)
			return -1;
	}
	for (size_t i = 0; i < migration->channel_count; i++)
		if (migration->channels[i].role != MR_ROLE_RETURN)
			world->connections[migration->channels[i].number].role = migration->channels[i].role;
	return 0;
}

static uint64_t largest_page(const struct mr_incoming_config *config)
{
	uint64_t largest =
		config->target_page_size > config->host_page_size ? config->target_page_size : config->host_page_size;

	for (uint32_t i = 0; i < config->block_count; i++)
		if (config->blocks[i].page_size > largest)
			largest = config->blocks[i].page_size;
	return largest;
}

static int open_backing(struct mr_world *world, const struct mr_incoming_config *config,
			const struct mr_backing *backing)
{
	world->backing = backing;
	return backing ? backing->open(backing->argument, config, world->error, sizeof(world->error)) : 0;
}

int mr_world_init(struct mr_world *world, const struct mr_migration *migration, const struct mr_incoming_config *config,
		  struct mr_memory *memory, const struct mr_backing *backing)
{
	struct mr_incoming_config own = *config;
	char reason[96];
	uint64_t *arena;
	size_t size;

	memset(world, 0, sizeof(*world));
	if (open_connections(world, migration) < 0)
		return -1;
	size = mr_incoming_size(config, reason);
	if (size == 0) {
		snprintf(world->error, sizeof(world->error), "%s: %s", migration->recording->directory, reason);
		return -1;
	}
	world->memory = memory;
	if (memory && open_backing(world, config, backing) < 0)
		return -1;
	if (memory) {
		own.memory = (struct mr_incoming_memory){memory, page_to_write, page_to_zero};
		if (backing)
			own.memory = (struct mr_incoming_memory){backing->argument, backing->page, backing->zero};
		for (size_t i = 0; i < 2; i++)
			own.temporary[i] = world->temporary[i] = malloc((size_t)largest_page(config));
	}
	arena = calloc(1, size);
	if (!arena || (memory && (!own.temporary[0] || !own.temporary[1]))) {
		free(arena);
		snprintf(world->error, sizeof(world->error), "no memory for a machine of %zu bytes", size);
		return -1;
	}
	world->arena = arena;
	world->incoming = mr_incoming_init(arena, size, &own);
	return memory ? map_blocks(world, config) : 0;
}

void mr_world_clear(struct mr_world *world)
{
	for (unsigned i = 0; i < world->connection_count; i++) {
		struct mr_world_connection *connection = &world->connections[i];

		mr_input_close(connection->input);
		mr_input_close(connection->recorded_input);
		mr_packet_codec_clear(&connection->codec);
		free(connection->sent);
	}
	free(world->connections);
	free(world->arena);
	free(world->temporary[0]);
	free(world->temporary[1]);
	memset(world, 0, sizeof(*world));
}
