/*
 * incoming_pieces.c: where the destination's state lies at a moment, piece by piece.
 *
 * What a phase left behind and nobody will look at again is left out, so that machines that will do the same from here
 * on are equal, however they came here.
 */
#include "machine.h"
#include "machine/pieces.h"

/* ---- Loaders ---- */

/* What came of a host page whose pieces are put together in the caller's memory. */
static void add_assembled(struct mr_pieces *pieces, const struct mr_incoming *incoming, const struct loader *loader)
{
	const uint64_t *map = at(incoming, incoming->places.assembled[loader->ram_channel]);
	const uint8_t *temporary = incoming->config.temporary[loader->ram_channel];
	const uint64_t pages = incoming->places.largest_page / target_page(incoming);

	mr_piece_add(pieces, map, mr_bitmap_words(pages) * sizeof(*map), false);
	for (uint64_t page = mr_bitmap_next_set(map, pages, 0); temporary && page < pages;
	     page = mr_bitmap_next_set(map, pages, page + 1))
		mr_piece_add(pieces, temporary + page * target_page(incoming), target_page(incoming), false);
}

static void add_assembly(struct mr_pieces *pieces, const struct mr_incoming *incoming, const struct loader *loader)
{
	const struct assembly *assembly = &loader->assembly;

	MR_STATE(pieces, assembly, count, all_zero);
	if (assembly->count == 0)
		return;
	MR_STATE(pieces, assembly, block, block);
	MR_STATE(pieces, assembly, offset, offset);
	if (block_at(incoming, assembly->block)->page_size > target_page(incoming))
		add_assembled(pieces, incoming, loader);
}

static void add_command(struct mr_pieces *pieces, const struct mr_incoming *incoming, const struct loader *loader)
{
	MR_STATE(pieces, loader, then, then);
	MR_STATE(pieces, loader, index, index);
	MR_STATE(pieces, loader, cursor, result);
	MR_STATE(pieces, loader, placed, placed);
	MR_STATE(pieces, loader, command, command);
	if (incoming->config.handlers)
		MR_STATE(pieces, loader, sequence, sequence);
	if (loader->command.number == MR_COMMAND_POSTCOPY_RAM_DISCARD)
		mr_piece_add(pieces, at(incoming, incoming->places.payload), (size_t)loader->command.range_count * 16,
			     false);
}

static void add_package(struct mr_pieces *pieces, const struct mr_incoming *incoming)
{
	if (!incoming->package_begun)
		return;
	MR_STATE(pieces, incoming, package_start, package_read);
	mr_piece_decoder(pieces, at(incoming, incoming->places.package_decoder));
	mr_piece_add(pieces, at(incoming, incoming->places.package), incoming->package_read, false);
}

static void add_loader(struct mr_pieces *pieces, const struct mr_incoming *incoming, const struct loader *loader)
{
	MR_STATE(pieces, loader, phase, phase);
	MR_STATE(pieces, loader, channel, footer_due);
	MR_STATE(pieces, loader, handler, handler);
	MR_SCRATCH(pieces, loader, record_offset, record_offset);
	add_assembly(pieces, incoming, loader);
	add_command(pieces, incoming, loader);
	if (loader->in_package)
		MR_STATE(pieces, loader, package, package);
}

/* ---- The other actors ---- */

static void add_actor(struct mr_pieces *pieces, const struct mr_incoming *incoming, unsigned number)
{
	const struct actor *actor = &incoming->actors[number];

	MR_STATE(pieces, actor, alive, asked);
	MR_STATE(pieces, actor, error, releases);
	MR_SCRATCH(pieces, actor, wants, wants);
}

static void add_fault(struct mr_pieces *pieces, const struct mr_incoming *incoming)
{
	const struct fault_handler *fault = &incoming->fault;

	MR_STATE(pieces, fault, phase, pending);
	MR_STATE(pieces, fault, wakened, quit);
	if (fault->phase == FAULT_PARKED)
		MR_STATE(pieces, fault, between, between);
	if (!fault->pending)
		return;
	MR_STATE(pieces, fault, retried, retried);
	MR_STATE(pieces, fault, client, offset);
	/* Who waits matters only to those who count the waiting. */
	MR_SCRATCH(pieces, fault, thread, thread);
}

static void add_receiver(struct mr_pieces *pieces, const struct receiver *receiver)
{
	MR_STATE(pieces, receiver, channel, writing);
	MR_STATE(pieces, receiver, block, block);
	if (receiver->writing)
		MR_STATE(pieces, receiver, packet.flags, packet.flags);
}

static void add_actors(struct mr_pieces *pieces, const struct mr_incoming *incoming)
{
	for (unsigned i = 0; i < MR_ACTOR_MULTIFD + incoming->multifd_count; i++)
		add_actor(pieces, incoming, i);
	add_loader(pieces, incoming, &incoming->main);
	add_loader(pieces, incoming, &incoming->listen);
	add_loader(pieces, incoming, &incoming->preempt);
	add_fault(pieces, incoming);
	for (uint32_t i = 0; i < incoming->multifd_count; i++)
		add_receiver(pieces, &incoming->receivers[i]);
}

/* ---- What they share ---- */

/* Nobody reads a connection that is given up. */
static bool is_read(const struct mr_incoming *incoming, uint32_t index)
{
	return !channel_at(incoming, index)->shut || incoming->main.channel == index ||
	       incoming->listen.channel == index || incoming->preempt.channel == index;
}

static void add_channel(struct mr_pieces *pieces, const struct mr_incoming *incoming, uint32_t index)
{
	const struct channel *channel = channel_at(incoming, index);

	MR_STATE(pieces, channel, open, open);
	if (!channel->open)
		return;
	MR_SCRATCH(pieces, channel, at_end, at_end);
	MR_STATE(pieces, channel, shut, shut);
	MR_STATE(pieces, channel, role, role);
	/* How it ended is fed with its end. */
	MR_SCRATCH(pieces, channel, error, error);
	MR_SCRATCH(pieces, channel, window, length);
	MR_SCRATCH(pieces, channel, decoder, decoder);
	if (is_read(incoming, index))
		mr_piece_decoder(pieces, decoder_of(incoming, channel));
}

static void add_bitmap(struct mr_pieces *pieces, const struct mr_incoming *incoming, size_t place, uint64_t pages)
{
	mr_piece_add(pieces, at(incoming, place), mr_bitmap_words(pages) * sizeof(uint64_t), false);
}

static void add_block(struct mr_pieces *pieces, const struct mr_incoming *incoming, const struct block *block)
{
	const uint64_t pages = block->max_length / target_page(incoming);

	MR_STATE(pieces, block, used_length, used_length);
	MR_STATE(pieces, block, postcopy_length, postcopy_length);
	add_bitmap(pieces, incoming, block->received, pages);
	add_bitmap(pieces, incoming, block->requested, pages);
	if (incoming->config.shared_clients)
		add_bitmap(pieces, incoming, block->client_requested, pages);
	if (incoming->config.unpluggable)
		add_bitmap(pieces, incoming, block->unplugged, pages);
}

static void add_handlers(struct mr_pieces *pieces, const struct mr_incoming *incoming)
{
	const struct mr_load *load = &incoming->load;

	if (!incoming->config.handlers)
		return;
	MR_STATE(pieces, load, wanted, acks);
	mr_piece_add(pieces, at(incoming, incoming->places.handler_states),
		     incoming->config.handlers->count * sizeof(struct mr_handler_state), false);
}

/* How long vCPUs waited decides nothing. */
static void add_blocktime(struct mr_pieces *pieces, const struct mr_incoming *incoming)
{
	const struct blocktime *blocktime = &incoming->blocktime;

	if (!incoming->config.blocktime)
		return;
	MR_SCRATCH(pieces, incoming, blocktime, blocktime);
	mr_piece_add(pieces, at(incoming, incoming->places.vcpus), (blocktime->vcpu_count + 1u) * sizeof(struct vcpu),
		     true);
	mr_piece_add(pieces, at(incoming, incoming->places.open_faults),
		     blocktime->open_count * sizeof(struct open_fault), true);
}

static void add_clients(struct mr_pieces *pieces, const struct mr_incoming *incoming)
{
	MR_STATE(pieces, incoming, client_count, client_count);
	mr_piece_add(pieces, incoming->clients, incoming->client_count * sizeof(struct client), false);
}

size_t mr_incoming_pieces(const struct mr_incoming *incoming, struct mr_piece pieces[], size_t room)
{
	struct mr_pieces all = {pieces, room, 0};

	MR_STATE(&all, incoming, state, preempt_quit);
	mr_piece_finding(&all, &incoming->error);
	MR_SCRATCH(&all, incoming, sequence, sequence);
	MR_STATE(&all, incoming, configured, package_begun);
	MR_STATE(&all, incoming, main_channel, outstanding);
	MR_STATE(&all, incoming, multifd_count, multifd_count);
	/* They only save a search. */
	MR_SCRATCH(&all, incoming, own_count, own_count);
	mr_piece_add(&all, incoming->own_blocks, incoming->own_count * sizeof(incoming->own_blocks[0]), true);
	add_actors(&all, incoming);
	add_package(&all, incoming);
	add_clients(&all, incoming);
	add_handlers(&all, incoming);
	add_blocktime(&all, incoming);
	for (uint32_t i = 0; i < incoming->connections_max; i++)
		add_channel(&all, incoming, i);
	for (uint32_t i = 0; i < incoming->block_count; i++)
		add_block(&all, incoming, block_at(incoming, i));
	mr_piece_session(&all, &incoming->session);
	return all.count;
}
