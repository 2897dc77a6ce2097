/* load.c: RAM records as a destination takes them: written at once in precopy, put together and placed in postcopy. */
#include "machine.h"

#include "machine/bit.h"

#include <inttypes.h>

uint32_t mr_own_block(struct mr_incoming *incoming, uint32_t session_block)
{
	uint32_t *known = &incoming->own_blocks[session_block];
	const struct mr_block *block = &incoming->session.blocks[session_block];

	while (incoming->own_count <= session_block)
		incoming->own_blocks[incoming->own_count++] = 0;
	if (*known == 0)
		*known = mr_incoming_find_block(incoming,
						(struct mr_bytes){(const uint8_t *)block->name, block->name_length}) +
			 2;
	return *known == 1 ? NO_BLOCK : *known - 2;
}

static enum outcome refuse(struct mr_incoming *incoming, struct loader *loader, enum mr_rule rule,
			   struct mr_text expected, struct mr_text found)
{
	mr_blame(incoming, loader, rule, expected, found);
	return mr_fail_load(incoming, loader, FAULT_INVALID);
}

static enum outcome refuse_kind(struct mr_incoming *incoming, struct loader *loader, const struct mr_record *record)
{
	return refuse(incoming, loader, MR_PC_017,
		      mr_text("a record for %s", loader->postcopy ? "postcopy" : "precopy"),
		      mr_text("%s", mr_kind_name(record->kind)));
}

/* ---- The body as a whole ---- */

static void forget(struct loader *loader)
{
	loader->assembly = (struct assembly){.all_zero = true};
}

void mr_begin_body(struct mr_incoming *incoming, struct loader *loader)
{
	if (!does(incoming, MR_SWITCH_HOST_PAGE_ACROSS_SECTIONS))
		forget(loader);
}

static enum outcome body_loaded(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	action->loaded.postcopy = loader->postcopy;
	action->loaded.sequence = incoming->sequence;
	loader->phase = mr_loader_record;
	loader->in_ram = loader->actor == MR_ACTOR_PREEMPT;
	return mr_act(incoming, loader->actor, action, MR_ACTION_RAM_LOADED);
}

static enum outcome failure_told(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	return mr_end_loop(incoming, loader, loader->result);
}

enum outcome mr_ram_failed(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	action->loaded.postcopy = loader->postcopy;
	action->loaded.sequence = incoming->sequence;
	action->loaded.result = loader->result;
	loader->phase = failure_told;
	return mr_act(incoming, loader->actor, action, MR_ACTION_RAM_LOADED);
}

static enum outcome preempt_ended(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	return mr_end_loop(incoming, loader, 0);
}

/* Where each section is a barrier, its end waits for the multifd channels. */
static bool is_end_a_barrier(const struct mr_incoming *incoming, const struct loader *loader)
{
	if (!has(incoming, MR_CAPABILITY_MULTIFD) || !does(incoming, MR_SWITCH_FLUSH_EACH_SECTION))
		return false;
	return !loader->postcopy || does(incoming, MR_SWITCH_EOS_BARRIER_IN_POSTCOPY);
}

static enum outcome take_end(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	if (loader->actor == MR_ACTOR_PREEMPT) {
		body_loaded(incoming, loader, action);
		loader->phase = preempt_ended;
		return ACTED;
	}
	if (!is_end_a_barrier(incoming, loader))
		return body_loaded(incoming, loader, action);
	loader->then = body_loaded;
	return mr_go(loader, mr_barrier);
}

static enum outcome take_flush(struct mr_incoming *incoming, struct loader *loader, const struct mr_record *record)
{
	const bool known = does(incoming, MR_SWITCH_FLUSH_RECORD) &&
			   (!loader->postcopy || does(incoming, MR_SWITCH_FLUSH_IN_POSTCOPY));

	if (!known)
		return refuse_kind(incoming, loader, record);
	if (!has(incoming, MR_CAPABILITY_MULTIFD))
		return ON;
	loader->then = mr_loader_record;
	return mr_go(loader, mr_barrier);
}

/* ---- The block list ---- */

static enum outcome resized(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const int error = incoming->actors[loader->actor].error;

	if (error)
		return refuse(incoming, loader, MR_PC_022,
			      mr_text("%s to be resized", block_at(incoming, loader->index)->name),
			      mr_text("error %d", error));
	loader->phase = mr_loader_record;
	if (mr_incoming_resized(incoming, loader->index, loader->cursor, &action->range) == MR_RESIZED_DISCARD)
		return mr_act(incoming, loader->actor, action, MR_ACTION_DISCARD);
	return ON;
}

static enum outcome resize(struct mr_incoming *incoming, struct loader *loader, uint32_t index, uint64_t length,
			   struct mr_action *action)
{
	const struct block *block = block_at(incoming, index);

	if (length > block->max_length || length % block->page_size)
		return refuse(incoming, loader, MR_PC_022,
			      mr_text("%s of at most 0x%" PRIx64 " bytes", block->name, block->max_length),
			      mr_text("0x%" PRIx64, length));
	if (incoming->state > MR_POSTCOPY_ADVISE)
		return refuse(incoming, loader, MR_PC_022, mr_text("%s of the length it has", block->name),
			      mr_text("0x%" PRIx64 " in %s", length, mr_postcopy_state_name(incoming->state)));
	loader->index = index;
	loader->cursor = length;
	action->range = (struct mr_action_range){.block = index, .length = length};
	loader->phase = resized;
	return mr_act(incoming, loader->actor, action, MR_ACTION_RESIZE);
}

static enum outcome take_block(struct mr_incoming *incoming, struct loader *loader, const struct mr_ram_block *entry,
			       struct mr_action *action)
{
	const uint32_t index = mr_own_block(incoming, entry->block);
	const struct block *block;

	if (index == NO_BLOCK)
		return refuse(incoming, loader, MR_PC_021, mr_text("a block of this machine"),
			      mr_text_name(entry->name));
	block = block_at(incoming, index);
	if (entry->has_page_size && entry->page_size != block->page_size)
		return refuse(incoming, loader, MR_PC_021,
			      mr_text("%s with pages of 0x%" PRIx64 " bytes", block->name, block->page_size),
			      mr_text("0x%" PRIx64, entry->page_size));
	if (entry->used_length != block->used_length)
		return resize(incoming, loader, index, entry->used_length, action);
	return ON;
}

/* ---- Precopy ---- */

/* Whether the loader knows the record at all, by its release and capabilities. */
static bool is_known(const struct mr_incoming *incoming, const struct loader *loader, enum mr_kind kind)
{
	if (kind == MR_RAM_XBZRLE)
		return !loader->postcopy;
	if (kind != MR_RAM_COMPRESSED)
		return true;
	if (!does(incoming, MR_SWITCH_COMPRESSED_PAGES))
		return false;
	if (loader->postcopy)
		return does(incoming, MR_SWITCH_COMPRESSED_IN_POSTCOPY);
	return has(incoming, MR_CAPABILITY_COMPRESS) || !does(incoming, MR_SWITCH_COMPRESSED_NEEDS_CAPABILITY);
}

/*
 * The source of an early release may compress a page while the guest writes it, and sends it again: a destination that
 * does not check leaves what came out (RAM-016, decompress-error-check).
 */
static enum mr_rule inflate(const struct mr_incoming *incoming, struct mr_bytes data, uint8_t *to)
{
	size_t produced;
	const enum mr_rule rule = mr_page_inflate(data, to, target_page(incoming), &produced);

	return does(incoming, MR_SWITCH_COMPRESSED_CHECKED) ? rule : MR_NO_RULE;
}

static enum mr_rule write_page(struct mr_incoming *incoming, const struct mr_record *record, uint32_t block)
{
	const struct mr_incoming_memory *memory = &incoming->config.memory;
	const struct mr_ram_page *page = &record->page;
	const size_t size = target_page(incoming);
	uint8_t *to;

	if (!memory->page)
		return MR_NO_RULE;
	if (record->kind == MR_RAM_ZERO && page->fill == 0) {
		memory->zero(memory->argument, block, page->address);
		return MR_NO_RULE;
	}
	to = memory->page(memory->argument, block, page->address);
	if (!to)
		return MR_PC_018;
	switch (record->kind) {
	case MR_RAM_ZERO:
		memset(to, page->fill, size);
		return MR_NO_RULE;
	case MR_RAM_PAGE:
		memcpy(to, page->data.data, size);
		return MR_NO_RULE;
	case MR_RAM_XBZRLE:
		return mr_xbzrle_decode(to, size, page->data, NULL);
	default:
		return inflate(incoming, page->data, to);
	}
}

static void describe_page(const struct loader *loader, const struct mr_record *record, uint32_t block,
			  struct mr_action *action)
{
	action->page = (struct mr_action_page){
		.block = block,
		.offset = record->page.address,
		.flags = record->page.flags,
		.ram_channel = loader->ram_channel,
		.postcopy = loader->postcopy,
		.fill = record->page.fill,
		.data = record->page.data,
	};
}

/* Early releases take a ZERO record with any byte. */
static bool is_fill_refused(const struct mr_incoming *incoming, const struct mr_record *record)
{
	return record->page.fill && (incoming->config.strict || !does(incoming, MR_SWITCH_ZERO_FILL_ANY));
}

static enum outcome take_precopy(struct mr_incoming *incoming, struct loader *loader, const struct mr_record *record,
				 uint32_t index, struct mr_action *action)
{
	const struct block *block = block_at(incoming, index);
	enum mr_rule rule;

	if (record->page.address >= block->used_length)
		return refuse(incoming, loader, MR_PC_018, mr_text("an offset below 0x%" PRIx64, block->used_length),
			      mr_text("0x%" PRIx64, record->page.address));
	if (is_fill_refused(incoming, record))
		return refuse(incoming, loader, MR_RAM_011, mr_text("00"), mr_text("%02x", record->page.fill));
	mr_bit_set(received_of(incoming, block), record->page.address / target_page(incoming));
	rule = write_page(incoming, record, index);
	if (rule != MR_NO_RULE)
		return refuse(incoming, loader, rule, mr_text("%s", mr_rule_title(rule)),
			      mr_text("0x%" PRIx64 " of %s", record->page.address, block->name));
	describe_page(loader, record, index, action);
	return mr_act(incoming, loader->actor, action, MR_ACTION_RAM_RECORD);
}

/* ---- Postcopy: a host page from its target pages ---- */

static enum outcome marked(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const int error = incoming->actors[loader->actor].error;

	if (error) {
		mr_blame(incoming, loader, MR_PC_035, mr_text("a page that can be placed"),
			 mr_text("0x%" PRIx64 " of %s: error %d", loader->placed.offset,
				 block_at(incoming, loader->placed.block)->name, error));
		return mr_fail_load(incoming, loader, error);
	}
	forget(loader);
	action->placed = loader->placed;
	action->placed.was_requested = mr_mark(incoming, loader->placed.block, loader->placed.offset);
	action->placed.outstanding = incoming->outstanding;
	/* Nothing is left of what is over, so that machines are equal whichever page came last. */
	if (!incoming->client_count)
		loader->placed = (struct mr_action_placed){0};
	loader->index = 0;
	loader->phase = incoming->client_count ? mr_wake_clients : mr_loader_record;
	return mr_act(incoming, loader->actor, action, MR_ACTION_MARKED);
}

static enum outcome place(struct mr_incoming *incoming, struct loader *loader, const struct mr_record *record,
			  const uint8_t *data, struct mr_action *action)
{
	const struct assembly *assembly = &loader->assembly;
	const struct block *block = block_at(incoming, assembly->block);

	loader->placed = (struct mr_action_placed){
		.block = assembly->block,
		.offset = assembly->offset,
		.length = block->page_size,
		.zero = assembly->all_zero,
		.by_copy = assembly->all_zero && !block->zeroable,
		.ram_channel = loader->ram_channel,
		.record_offset = record->page.address,
		.record_flags = record->page.flags,
	};
	action->placed = loader->placed;
	action->placed.data = assembly->all_zero ? NULL : data;
	loader->phase = marked;
	return mr_act(incoming, loader->actor, action, MR_ACTION_PLACE);
}

/* Before 5.0 target pages ascend, from the host page's beginning. */
static bool is_in_order(const struct mr_incoming *incoming, const struct assembly *assembly, uint64_t address)
{
	return does(incoming, MR_SWITCH_POSTCOPY_ANY_PAGE_ORDER) ||
	       address == assembly->offset + assembly->count * target_page(incoming);
}

/* A target page that came before is refused by a strict machine; QEMU counts it, and places the rest as it was. */
static bool is_new(struct mr_incoming *incoming, const struct loader *loader, uint64_t page)
{
	uint64_t *map = at(incoming, incoming->places.assembled[loader->ram_channel]);

	if (loader->assembly.count == 0)
		memset(map, 0, mr_bitmap_words(incoming->places.largest_page / target_page(incoming)) * sizeof(*map));
	if (incoming->config.strict && mr_bitmap_test(map, page))
		return false;
	mr_bitmap_set(map, page, 1);
	return true;
}

static enum mr_rule assemble(struct mr_incoming *incoming, struct loader *loader, const struct block *block,
			     uint32_t index, uint64_t address)
{
	struct assembly *assembly = &loader->assembly;
	const uint64_t host_page = address & ~(block->page_size - 1);

	if (assembly->count == 0)
		*assembly = (struct assembly){.block = index, .offset = host_page, .all_zero = true};
	else if (assembly->block != index || assembly->offset != host_page)
		return MR_PC_030;
	if (!is_in_order(incoming, assembly, address))
		return MR_PC_032;
	if (block->page_size > target_page(incoming) &&
	    !is_new(incoming, loader, (address - host_page) / target_page(incoming)))
		return MR_PC_031;
	assembly->count++;
	return MR_NO_RULE;
}

/* Writes the target page where its host page is put together; what needs no such place is left in the window. */
static enum mr_rule fill_in(struct mr_incoming *incoming, const struct loader *loader, const struct mr_record *record,
			    const struct block *block, const uint8_t **data)
{
	uint8_t *page = incoming->config.temporary[loader->ram_channel];
	const size_t size = target_page(incoming);
	uint8_t *to = page ? page + (record->page.address & (block->page_size - 1)) : NULL;

	*data = page;
	if (record->kind == MR_RAM_PAGE && block->page_size == size)
		*data = record->page.data.data;
	else if (to && record->kind == MR_RAM_PAGE)
		memcpy(to, record->page.data.data, size);
	else if (record->kind == MR_RAM_ZERO && record->page.fill == 0 && block->page_size == size)
		return MR_NO_RULE;
	else if (to && record->kind == MR_RAM_ZERO)
		memset(to, record->page.fill, size);
	else if (to)
		return inflate(incoming, record->page.data, to);
	return MR_NO_RULE;
}

static enum outcome take_postcopy(struct mr_incoming *incoming, struct loader *loader, const struct mr_record *record,
				  uint32_t index, struct mr_action *action)
{
	const struct block *block = block_at(incoming, index);
	const uint8_t *data;
	enum mr_rule rule;

	if (record->page.address >= block->postcopy_length)
		return refuse(incoming, loader, MR_PC_018,
			      mr_text("an offset below 0x%" PRIx64, block->postcopy_length),
			      mr_text("0x%" PRIx64, record->page.address));
	if (is_fill_refused(incoming, record))
		return refuse(incoming, loader, MR_RAM_011, mr_text("00"), mr_text("%02x", record->page.fill));
	rule = assemble(incoming, loader, block, index, record->page.address);
	if (rule == MR_NO_RULE)
		rule = fill_in(incoming, loader, record, block, &data);
	if (rule != MR_NO_RULE)
		return refuse(incoming, loader, rule, mr_text("%s", mr_rule_title(rule)),
			      mr_text("0x%" PRIx64 " of %s", record->page.address, block->name));
	if (record->kind != MR_RAM_ZERO || record->page.fill)
		loader->assembly.all_zero = false;
	if (loader->assembly.count == block->page_size / target_page(incoming))
		return place(incoming, loader, record, data, action);
	describe_page(loader, record, index, action);
	return mr_act(incoming, loader->actor, action, MR_ACTION_RAM_RECORD);
}

/* ---- Any record ---- */

static enum outcome take_page(struct mr_incoming *incoming, struct loader *loader, const struct mr_record *record,
			      struct mr_action *action)
{
	const uint32_t index = mr_own_block(incoming, record->page.block);

	if (!is_known(incoming, loader, record->kind))
		return refuse_kind(incoming, loader, record);
	if (index == NO_BLOCK)
		return refuse(incoming, loader, MR_PC_021, mr_text("a block of this machine"),
			      mr_text("%s", incoming->session.blocks[record->page.block].name));
	return loader->postcopy ? take_postcopy(incoming, loader, record, index, action)
				: take_precopy(incoming, loader, record, index, action);
}

enum outcome mr_take_ram(struct mr_incoming *incoming, struct loader *loader, const struct mr_record *record,
			 struct mr_action *action)
{
	switch (record->kind) {
	case MR_RAM_SIZE:
		return loader->postcopy ? refuse_kind(incoming, loader, record) : ON;
	case MR_RAM_BLOCK:
		return take_block(incoming, loader, &record->ram_block, action);
	case MR_RAM_ZERO:
	case MR_RAM_PAGE:
	case MR_RAM_XBZRLE:
	case MR_RAM_COMPRESSED:
		return take_page(incoming, loader, record, action);
	case MR_RAM_FLUSH:
		return take_flush(incoming, loader, record);
	case MR_RAM_EOS:
		return take_end(incoming, loader, action);
	default:
		return refuse_kind(incoming, loader, record);
	}
}

/* ---- A record that is cut ---- */

enum { WORD = 8 };

static bool is_cut_name(struct mr_bytes left, uint32_t flags)
{
	if (flags & MR_RAM_FLAG_CONTINUE)
		return false;
	return left.length <= WORD || left.length - WORD - 1 < left.data[WORD];
}

/* The session's block that the record names, or goes on with. NULL: none that is known. */
static const struct mr_block *block_of_cut(const struct mr_incoming *incoming, const struct mr_decoder *decoder,
					   struct mr_bytes left, uint32_t flags)
{
	if (!(flags & MR_RAM_FLAG_CONTINUE))
		return mr_session_find_block(&incoming->session,
					     (struct mr_bytes){left.data + WORD + 1, left.data[WORD]});
	return decoder->last_block < incoming->session.block_count ? &incoming->session.blocks[decoder->last_block]
								   : NULL;
}

/* Tells the page whose record is cut, as far as it is known by then. */
static enum outcome tell_cut(struct mr_incoming *incoming, struct loader *loader, struct mr_bytes left, uint32_t block,
			     struct mr_action *action)
{
	const uint64_t word = mr_get_be64(left.data), mask = target_page(incoming) - 1;

	action->page = (struct mr_action_page){
		.block = block,
		.offset = word & ~mask,
		.flags = (uint32_t)(word & mask),
		.ram_channel = loader->ram_channel,
		.postcopy = loader->postcopy,
		.cut = true,
	};
	return mr_act(incoming, loader->actor, action, MR_ACTION_RAM_RECORD);
}

/* In precopy QEMU reads on, 0 for each byte that did not come, until the record makes no sense or is over. */
enum outcome mr_take_cut_record(struct mr_incoming *incoming, struct loader *loader, const struct mr_decoder *decoder,
				struct mr_bytes left, struct mr_action *action)
{
	const bool has_word = left.length >= WORD, in_list = decoder->ram_left > 0;
	const uint32_t flags = has_word ? (uint32_t)mr_get_be64(left.data) & (target_page(incoming) - 1) : 0;
	const struct mr_block *block = NULL;
	bool makes_sense;

	loader->phase = mr_ram_failed;
	if (loader->postcopy)
		return has_word ? tell_cut(incoming, loader, left, NO_BLOCK, action) : ON;
	makes_sense =
		!in_list && (has_word ? !is_cut_name(left, flags) : !does(incoming, MR_SWITCH_READ_PAST_END_AS_ZERO));
	loader->result = makes_sense ? -FAULT_IO : -FAULT_INVALID;
	if (makes_sense && has_word)
		block = block_of_cut(incoming, decoder, left, flags);
	return block ? tell_cut(incoming, loader, left, mr_own_block(incoming, block->index), action) : ON;
}
