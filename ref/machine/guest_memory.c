/* guest_memory.c: what else changes guest memory while pages are missing: unplugged ranges, other discards, resizes. */
#include "machine.h"

bool mr_incoming_plug(struct mr_incoming *incoming, uint32_t index, uint64_t start, uint64_t length, bool plugged)
{
	const uint64_t page = target_page(incoming);
	const struct block *block;

	if (!incoming->config.unpluggable || index >= incoming->block_count)
		return false;
	block = block_at(incoming, index);
	if (start % block->page_size || length % block->page_size || start > block->max_length ||
	    length > block->max_length - start)
		return false;
	if (plugged)
		mr_bitmap_clear(at(incoming, block->unplugged), start / page, length / page);
	else
		mr_bitmap_set(at(incoming, block->unplugged), start / page, length / page);
	return true;
}

bool mr_is_unplugged(const struct mr_incoming *incoming, const struct block *block, uint64_t offset)
{
	return incoming->config.unpluggable && does(incoming, MR_SWITCH_UNPLUGGED_ZEROED) &&
	       mr_bitmap_test(at(incoming, block->unplugged), offset / target_page(incoming));
}

bool mr_incoming_forbids_discards(const struct mr_incoming *incoming)
{
	const struct actor *fault = &incoming->actors[MR_ACTOR_FAULT];

	if (does(incoming, MR_SWITCH_DISCARDS_ASK_STATE))
		return incoming->state >= MR_POSTCOPY_DISCARD && incoming->state < MR_POSTCOPY_END;
	/* Early releases forbid them with the set-up of LISTEN, and allow them again in the cleanup. */
	return fault->alive && !fault->ended;
}

/* The tail of a block that grew in time is emptied like the rest of it. */
static enum mr_resized grow(struct mr_incoming *incoming, struct block *block, uint64_t length,
			    struct mr_action_range *tail)
{
	const uint64_t page = target_page(incoming);
	const uint64_t old = block->used_length;

	block->used_length = block->postcopy_length = length;
	if (length <= old)
		return MR_RESIZED_NOTED;
	mr_bitmap_clear(received_of(incoming, block), old / page, (length - old) / page);
	tail->start = old;
	tail->length = length - old;
	return MR_RESIZED_DISCARD;
}

enum mr_resized mr_incoming_resized(struct mr_incoming *incoming, uint32_t index, uint64_t length,
				    struct mr_action_range *tail)
{
	struct block *block;

	*tail = (struct mr_action_range){.block = index};
	if (index >= incoming->block_count)
		return MR_RESIZED_REFUSED;
	block = block_at(incoming, index);
	if (length > block->max_length || length % block->page_size)
		return MR_RESIZED_REFUSED;
	switch (incoming->state) {
	case MR_POSTCOPY_ADVISE:
		return grow(incoming, block, length, tail);
	case MR_POSTCOPY_DISCARD:
	case MR_POSTCOPY_LISTENING:
		return MR_RESIZED_REFUSED;
	default:
		block->used_length = length;
		return MR_RESIZED_NOTED;
	}
}
