/* recovery.c: pause after a broken main channel, the new connection, received bitmaps, RESUME. */
#include "machine.h"

/* ---- Pause: by the listen loader ---- */

static void forget_pages(struct mr_incoming *incoming)
{
	incoming->listen.assembly = (struct assembly){.all_zero = true};
	incoming->preempt.assembly = (struct assembly){.all_zero = true};
}

static enum outcome continued(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	if (!mr_take_release(incoming, loader->actor))
		return mr_wait(incoming, loader->actor, MR_WAIT_RELEASE, 0);
	loader->channel = incoming->main_channel;
	loader->record_offset = 0;
	loader->phase = mr_loader_record;
	return mr_act(incoming, loader->actor, action, MR_ACTION_CONTINUE);
}

static enum outcome park(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->channel = NO_CHANNEL;
	loader->phase = continued;
	return mr_act(incoming, loader->actor, action, MR_ACTION_PARK);
}

static enum outcome show_pause(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	incoming->fault.wakened = true;
	forget_pages(incoming);
	incoming->error.rule = MR_NO_RULE;
	loader->phase = park;
	return mr_set_status(incoming, loader->actor, action, MR_STATUS_POSTCOPY_PAUSED);
}

/* The preempt loader sleeps, or has ended, before its channel is taken from it: it holds none then. */
static enum outcome wait_for_preempt(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (incoming->preempt.channel != NO_CHANNEL)
		return mr_wait(incoming, loader->actor, MR_WAIT_ACTOR, MR_ACTOR_PREEMPT);
	incoming->preempt_broken = false;
	incoming->preempt_channel = NO_CHANNEL;
	return mr_go(loader, show_pause);
}

static enum outcome give_up_preempt(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	/* One that was accepted meanwhile, and not yet taken, ends as well: its pages count as not received. */
	if (!mr_take_preempt_channel(incoming))
		return mr_go(loader, show_pause);
	if (incoming->new_preempt != NO_CHANNEL)
		channel_at(incoming, incoming->new_preempt)->shut = true;
	incoming->new_preempt = NO_CHANNEL;
	channel_at(incoming, incoming->preempt_channel)->shut = true;
	action->channel = incoming->preempt_channel;
	loader->phase = wait_for_preempt;
	return mr_act(incoming, loader->actor, action, MR_ACTION_CLOSE);
}

static enum outcome give_up_main(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	channel_at(incoming, loader->channel)->shut = true;
	incoming->main_channel = incoming->return_channel = NO_CHANNEL;
	incoming->return_up = false;
	loader->phase = give_up_preempt;
	return mr_act(incoming, loader->actor, action, MR_ACTION_CLOSE);
}

enum outcome mr_pause(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	if (incoming->status == MR_STATUS_POSTCOPY_RECOVER && !incoming->config.strict &&
	    !does(incoming, MR_SWITCH_STATUS_PAUSED_FROM_ANY)) {
		incoming->error.rule = MR_REC_010;
		return mr_go(loader, mr_final_failure);
	}
	loader->phase = give_up_main;
	return mr_act(incoming, loader->actor, action, MR_ACTION_PAUSE);
}

/* ---- A new connection: by the main loop ---- */

static enum outcome reconnected(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	mr_release(incoming, MR_ACTOR_LISTEN);
	return mr_go(loader, mr_main_idle);
}

enum outcome mr_reconnect(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	incoming->main_channel = incoming->return_channel = incoming->new_main;
	incoming->new_main = NO_CHANNEL;
	incoming->return_up = true;
	mr_take_preempt_channel(incoming);
	loader->phase = reconnected;
	return mr_set_status(incoming, loader->actor, action, MR_STATUS_POSTCOPY_RECOVER);
}

/* ---- RECV_BITMAP ---- */

static enum outcome answered(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	return mr_end_command(incoming, loader, 0);
}

static enum outcome bitmap_sent(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	action->range = (struct mr_action_range){.block = loader->command.block};
	loader->phase = answered;
	return mr_act(incoming, loader->actor, action, MR_ACTION_BITMAP_SENT);
}

static uint64_t bitmap_pages(const struct mr_incoming *incoming, const struct block *block)
{
	const bool fixed = does(incoming, MR_SWITCH_RECEIVED_BITMAP_POSTCOPY_LENGTH);

	return (fixed ? block->postcopy_length : block->used_length) / target_page(incoming);
}

/* Size, bits and end mark stand outside the message; what is large goes in pieces, at one moment all the same. */
static enum outcome send_bits(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	enum { PIECE_PAGES = (SEND_BYTES - 16) / 8 * 64 };
	static const uint64_t end_mark = 0x0123456789abcdef;
	const struct block *block = block_at(incoming, loader->command.block);
	const uint64_t pages = bitmap_pages(incoming, block);
	const uint64_t left = pages - loader->cursor;
	const uint64_t piece = left < PIECE_PAGES ? left : PIECE_PAGES;
	uint8_t *const start = incoming->out[loader->actor];
	uint8_t *out = start;

	action->send = (struct mr_action_send){.channel = incoming->return_channel,
					       .type = MR_RETURN_RECV_BITMAP,
					       .block = loader->command.block,
					       .bitmap = true,
					       .first = loader->cursor == 0};
	if (loader->cursor == 0) {
		mr_put_be64(out, mr_received_bitmap_size(pages));
		out += sizeof(uint64_t);
	}
	mr_received_bitmap_encode(received_of(incoming, block) + loader->cursor / 64, piece, out);
	out += mr_received_bitmap_size(piece);
	loader->cursor += piece;
	if (loader->cursor == pages) {
		mr_put_be64(out, end_mark);
		out += sizeof(end_mark);
		loader->phase = bitmap_sent;
	}
	action->send.bytes = (struct mr_bytes){start, (size_t)(out - start)};
	return mr_act(incoming, loader->actor, action, MR_ACTION_SEND);
}

enum outcome mr_answer_bitmap(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const struct block *block;
	struct mr_return_message message = {.type = MR_RETURN_RECV_BITMAP};

	if (loader->command.block == NO_BLOCK) {
		mr_blame(incoming, loader, MR_REC_006, mr_text("a block of this machine"), mr_text("another name"));
		return mr_end_command(incoming, loader, -FAULT_INVALID);
	}
	if (incoming->status != MR_STATUS_POSTCOPY_RECOVER)
		return mr_end_command(incoming, loader, 0);
	block = block_at(incoming, loader->command.block);
	message.block = (struct mr_bytes){(const uint8_t *)block->name, block->name_length};
	message.length = (uint16_t)(block->name_length + 1);
	loader->cursor = 0;
	loader->phase = send_bits;
	mr_send(incoming, loader->actor, action, &message);
	/* The bits follow as a piece of their own. */
	action->send.bytes.length = 4u + message.length;
	action->send.block = loader->command.block;
	return ACTED;
}

/* ---- RESUME ---- */

static enum outcome release_preempt(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (!incoming->actors[MR_ACTOR_PREEMPT].alive || incoming->actors[MR_ACTOR_PREEMPT].ended)
		return mr_end_command(incoming, loader, 0);
	if (!mr_take_preempt_channel(incoming))
		return mr_wait(incoming, loader->actor, MR_WAIT_CHANNEL, 0);
	mr_release(incoming, MR_ACTOR_PREEMPT);
	return mr_end_command(incoming, loader, 0);
}

static enum outcome ask_again(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action);

static enum outcome asked_again(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const uint32_t index = incoming->by_rank[loader->index];

	loader->phase = ask_again;
	if (incoming->actors[loader->actor].error)
		return ON;
	action->request = (struct mr_action_request){
		.verdict = MR_REQUEST_REPEATED,
		.block = index,
		.offset = (loader->cursor - 1) * target_page(incoming),
		.outstanding = incoming->outstanding,
	};
	return mr_act(incoming, loader->actor, action, MR_ACTION_REQUEST_AGAIN);
}

/* Every page that is waited for, by ascending host address. */
static enum outcome ask_again(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	for (; loader->index < incoming->block_count; loader->index++, loader->cursor = 0) {
		const uint32_t index = incoming->by_rank[loader->index];
		const struct block *block = block_at(incoming, index);
		const uint64_t pages = block->max_length / target_page(incoming);
		const uint64_t page = mr_bitmap_next_set(requested_of(incoming, block), pages, loader->cursor);
		struct mr_return_message message;

		if (page == pages)
			continue;
		loader->cursor = page + 1;
		loader->phase = asked_again;
		message = mr_request_for(incoming, index, page * target_page(incoming));
		action->send.block = index;
		action->send.offset = message.start;
		return mr_send(incoming, loader->actor, action, &message);
	}
	/* In QEMU a handler that did not sleep keeps this, and does not sleep the next time. */
	if (!incoming->config.strict || incoming->fault.phase == FAULT_PARKED)
		mr_release(incoming, MR_ACTOR_FAULT);
	return mr_go(loader, release_preempt);
}

static enum outcome acknowledged(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	loader->index = does(incoming, MR_SWITCH_RESUME_REQUESTS) ? 0 : incoming->block_count;
	loader->cursor = 0;
	return mr_go(loader, ask_again);
}

static enum outcome acknowledge(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const struct mr_return_message ack = {.type = MR_RETURN_RESUME_ACK, .length = 4, .value = 1};

	loader->phase = acknowledged;
	return mr_send(incoming, loader->actor, action, &ack);
}

enum outcome mr_resume(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	if (incoming->status != MR_STATUS_POSTCOPY_RECOVER)
		return mr_end_command(incoming, loader, 0);
	incoming->last_requested = NO_BLOCK;
	loader->phase = acknowledge;
	return mr_set_status(incoming, loader->actor, action, MR_STATUS_POSTCOPY_ACTIVE);
}
