/* receive.c: the receivers of multifd channels, and the barrier that orders them against the main channel. */
#include "machine.h"

#include <inttypes.h>

/* ---- Barrier ---- */

static enum outcome barrier_failed(struct mr_incoming *incoming, struct loader *loader, unsigned index)
{
	/* QEMU waits for ever; a strict machine says that nothing will come (MFR-006, MFR-007). */
	if (!incoming->config.strict)
		return mr_wait(incoming, loader->actor, MR_WAIT_ACTOR, MR_ACTOR_MULTIFD + index);
	mr_blame(incoming, loader, incoming->multifd_failed ? MR_MFR_007 : MR_MFR_006,
		 mr_text("a SYNC on multifd channel %u", index), mr_text("its end"));
	return mr_fail_load(incoming, loader, FAULT_IO);
}

enum outcome mr_barrier(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	for (uint32_t i = 0; i < incoming->multifd_count; i++) {
		if (incoming->receivers[i].arrived)
			continue;
		if (incoming->actors[MR_ACTOR_MULTIFD + i].ended || incoming->multifd_failed)
			return barrier_failed(incoming, loader, i);
		return mr_wait(incoming, loader->actor, MR_WAIT_ACTOR, MR_ACTOR_MULTIFD + i);
	}
	for (uint32_t i = 0; i < incoming->multifd_count; i++)
		incoming->receivers[i].arrived = false;
	loader->phase = loader->then;
	return mr_act(incoming, loader->actor, action, MR_ACTION_BARRIER);
}

/* ---- One receiver ---- */

static enum outcome end(struct mr_incoming *incoming, uint32_t index, struct mr_action *action)
{
	const unsigned actor = MR_ACTOR_MULTIFD + index;

	incoming->actors[actor].ended = true;
	action->packet.multifd = incoming->receivers[index].id;
	return mr_act(incoming, actor, action, MR_ACTION_ACTOR_END);
}

/* A broken channel takes all others with it. */
static enum outcome fail(struct mr_incoming *incoming, uint32_t index, struct mr_action *action)
{
	const struct receiver *receiver = &incoming->receivers[index];
	const struct mr_decoder *decoder = decoder_of(incoming, channel_at(incoming, receiver->channel));

	if (!incoming->multifd_failed && incoming->error.rule == MR_NO_RULE)
		incoming->error = decoder->error;
	incoming->multifd_failed = true;
	return end(incoming, index, action);
}

static uint32_t packet_pages(const struct mr_multifd_packet *packet)
{
	return packet->normal_pages + packet->zero_pages;
}

/* All of them lie within the block. */
static void mark_pages(struct mr_incoming *incoming, const struct receiver *receiver)
{
	const struct block *block = block_at(incoming, receiver->block);

	for (uint32_t i = 0; i < packet_pages(&receiver->packet); i++)
		mr_bitmap_set(received_of(incoming, block),
			      mr_multifd_offset(&receiver->packet, i) / target_page(incoming), 1);
}

/* The packet's pages are in memory: now its SYNC counts, if it carries one. */
static enum outcome written(struct mr_incoming *incoming, uint32_t index, struct mr_action *action)
{
	struct receiver *receiver = &incoming->receivers[index];

	receiver->writing = false;
	if (incoming->actors[MR_ACTOR_MULTIFD + index].error) {
		if (incoming->error.rule == MR_NO_RULE)
			incoming->error = (struct mr_finding){.rule = MR_MFR_007,
							      .verdict = mr_rule_verdict(MR_MFR_007),
							      .channel = receiver->channel,
							      .expected = "pages that can be written"};
		return fail(incoming, index, action);
	}
	receiver->arrived = (receiver->packet.flags & MR_MULTIFD_FLAG_SYNC) != 0;
	return ON;
}

static bool is_within(const struct mr_incoming *incoming, const struct receiver *receiver)
{
	const struct block *block = block_at(incoming, receiver->block);
	const uint64_t size = target_page(incoming);

	/* The page may begin anywhere, and has to end within the block, too (MFD-018). */
	for (uint32_t i = 0; i < packet_pages(&receiver->packet); i++)
		if (block->used_length < size || mr_multifd_offset(&receiver->packet, i) > block->used_length - size)
			return false;
	return true;
}

static enum outcome blame(struct mr_incoming *incoming, uint32_t index, enum mr_rule rule, struct mr_text expected,
			  struct mr_text found, struct mr_action *action)
{
	const struct loader place = {.channel = incoming->receivers[index].channel,
				     .record_offset =
					     mr_incoming_consumed(incoming, incoming->receivers[index].channel)};

	mr_blame(incoming, &place, rule, expected, found);
	return fail(incoming, index, action);
}

static enum outcome take_packet(struct mr_incoming *incoming, uint32_t index, const struct mr_record *record,
				struct mr_action *action)
{
	struct receiver *receiver = &incoming->receivers[index];
	const bool sync = record->packet.flags & MR_MULTIFD_FLAG_SYNC;

	receiver->packet = record->packet;
	/* Releases up to 8.2 do not look there: such pages keep what they held (MFR-005). */
	if (!incoming->config.strict && !does(incoming, MR_SWITCH_PACKET_ZERO_PAGES))
		receiver->packet.zero_pages = 0;
	receiver->block = record->packet.block == UINT32_MAX ? NO_BLOCK : mr_own_block(incoming, record->packet.block);
	action->packet.multifd = receiver->id;
	action->packet.record = receiver->packet;
	action->packet.sync = sync;
	if (packet_pages(&receiver->packet) && receiver->block == NO_BLOCK)
		return blame(incoming, index, MR_PC_021, mr_text("a block of this machine"), mr_text("another name"),
			     action);
	if (packet_pages(&receiver->packet) && !is_within(incoming, receiver))
		return blame(incoming, index, MR_PC_018, mr_text("offsets within the block"),
			     mr_text("one behind its end"), action);
	if (incoming->config.strict && packet_pages(&receiver->packet) && incoming->state >= MR_POSTCOPY_LISTENING)
		return blame(incoming, index, MR_MFR_008, mr_text("no pages in postcopy"),
			     mr_text("%" PRIu32, packet_pages(&receiver->packet)), action);
	/* QEMU 9.2 does not look for pages in such a packet, and takes them for the next one (MFR-004). */
	if (sync && record->packet.normal_pages && !incoming->config.strict &&
	    does(incoming, MR_SWITCH_SYNC_PAGES_IGNORED)) {
		receiver->lost = true;
		receiver->block = NO_BLOCK;
	}
	/* As in precopy before they are written, and while the window is sure to be there. */
	if (receiver->block != NO_BLOCK && does(incoming, MR_SWITCH_MULTIFD_RECEIVED_MARKS))
		mark_pages(incoming, receiver);
	action->packet.block = receiver->block;
	receiver->writing = true;
	return mr_act(incoming, MR_ACTOR_MULTIFD + index, action, MR_ACTION_PACKET);
}

static enum outcome start(struct mr_incoming *incoming, uint32_t index, const struct mr_record *record,
			  struct mr_action *action)
{
	incoming->receivers[index].id = action->packet.multifd = record->init.id;
	return mr_act(incoming, MR_ACTOR_MULTIFD + index, action, MR_ACTION_ACTOR_START);
}

static enum outcome take_record(struct mr_incoming *incoming, uint32_t index, const struct mr_record *record,
				struct mr_action *action)
{
	switch (record->kind) {
	case MR_MULTIFD_INIT:
		return start(incoming, index, record, action);
	case MR_MULTIFD_PACKET:
		return take_packet(incoming, index, record, action);
	case MR_MULTIFD_DEVICE_STATE:
		return ON;
	default:
		/* not covered: another kind, which no multifd channel has */
		return blame(incoming, index, MR_MFR_007, mr_text("a packet"),
			     mr_text("%s", mr_kind_name(record->kind)), action);
	}
}

static enum outcome read_channel(struct mr_incoming *incoming, uint32_t index, struct mr_action *action)
{
	struct mr_record record;

	switch (mr_read(incoming, MR_ACTOR_MULTIFD + index, incoming->receivers[index].channel, &record)) {
	case MR_RECORD:
		return take_record(incoming, index, &record, action);
	case MR_MORE:
		return BLOCKED;
	case MR_DONE:
		return end(incoming, index, action);
	case MR_FAILED:
		break;
	}
	return fail(incoming, index, action);
}

static enum outcome receive(struct mr_incoming *incoming, uint32_t index, struct mr_action *action)
{
	struct receiver *receiver = &incoming->receivers[index];

	if (receiver->writing)
		return written(incoming, index, action);
	if (incoming->multifd_quit || incoming->multifd_failed)
		return end(incoming, index, action);
	if (receiver->arrived)
		return mr_wait(incoming, MR_ACTOR_MULTIFD + index, MR_WAIT_ACTOR,
			       incoming->actors[MR_ACTOR_LISTEN].alive ? MR_ACTOR_LISTEN : MR_ACTOR_MAIN);
	if (receiver->lost)
		return blame(incoming, index, MR_MFR_004, mr_text("a packet"), mr_text("pages of the SYNC before"),
			     action);
	return read_channel(incoming, index, action);
}

enum mr_step mr_receiver_step(struct mr_incoming *incoming, uint32_t index, struct mr_action *action)
{
	enum outcome outcome;

	do
		outcome = receive(incoming, index, action);
	while (outcome == ON);
	if (outcome == ACTED) {
		action->channel = incoming->receivers[index].channel;
		action->offset = mr_incoming_consumed(incoming, action->channel);
		return MR_STEP_ACTION;
	}
	return incoming->actors[MR_ACTOR_MULTIFD + index].wants.wait ? MR_STEP_WAITS : MR_STEP_BYTES;
}
