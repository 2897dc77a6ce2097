/* source_ram.c: the bodies of `ram` sections, and the pages in them. */
#include "source.h"

#include "machine/bit.h"

enum {
	SLICE_PASSES = 64, /* host pages between two looks at the clock */
	SLICE_TIME = 50,   /* ms */
	MILLISECOND = 1000000,
};

/* ---- What multifd does here ---- */

static bool uses_multifd(const struct mr_outgoing *outgoing)
{
	return source_has(outgoing, MR_CAPABILITY_MULTIFD) &&
	       (!outgoing->in_postcopy || source_does(outgoing, MR_SWITCH_MULTIFD_PAGES_IN_POSTCOPY));
}

/* Whether channels are still synchronised at all: later releases leave them alone in postcopy. */
static bool synchronises(const struct mr_outgoing *outgoing)
{
	return source_has(outgoing, MR_CAPABILITY_MULTIFD) &&
	       (!outgoing->in_postcopy || source_does(outgoing, MR_SWITCH_EOS_BARRIER_IN_POSTCOPY));
}

static bool flushes_each_section(const struct mr_outgoing *outgoing)
{
	return source_does(outgoing, MR_SWITCH_FLUSH_EACH_SECTION);
}

static bool writes_flush(const struct mr_outgoing *outgoing)
{
	if (!source_does(outgoing, MR_SWITCH_FLUSH_RECORD) || flushes_each_section(outgoing))
		return false;
	return synchronises(outgoing) || source_does(outgoing, MR_SWITCH_FLUSH_WITHOUT_MULTIFD);
}

/* ---- Records without a page ---- */

static source_phase over, host_page_over, prepare_barrier, prepared;

static enum outcome emit_flags(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action, enum mr_kind kind, uint32_t flags)
{
	const struct mr_record record = {.kind = kind, .page = {.flags = flags, .block = NO_BLOCK}};

	return mr_source_emit(outgoing, actor, action, &record);
}

static enum outcome send_flush(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action)
{
	actor->phase = over;
	return emit_flags(outgoing, actor, action, MR_RAM_FLUSH, MR_RAM_FLAG_FLUSH);
}

static enum outcome over(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)outgoing;
	(void)action;
	return mr_source_return(actor, 0);
}

static enum outcome send_eos(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	actor->phase = over;
	return emit_flags(outgoing, actor, action, MR_RAM_EOS, MR_RAM_FLAG_EOS);
}

/* RDMA alone: its own place for what goes beside the stream. */
static enum outcome emit_hook(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action,
			      source_phase *then)
{
	actor->phase = then;
	if (!source_has(outgoing, MR_CAPABILITY_RDMA) || outgoing->in_postcopy)
		return ON;
	return emit_flags(outgoing, actor, action, MR_RAM_HOOK, MR_RAM_FLAG_HOOK);
}

/* ---- Barriers ---- */

enum outcome mr_source_barrier(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action)
{
	struct mr_multifd_send *multifd = multifd_of(outgoing);

	actor->phase = outgoing->progress.flush ? send_flush : over;
	if (!synchronises(outgoing))
		return ON;
	switch (mr_multifd_send_sync(multifd)) {
	case MR_QUEUE_DONE:
		return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_BARRIER);
	case MR_QUEUE_ON:
		actor->phase = mr_source_barrier;
		action->count = outgoing->statistics.choices[MR_CHOICE_CHANNEL];
		return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_DISPATCHED);
	default:
		actor->phase = mr_source_barrier;
		if (mr_source_is_broken(outgoing))
			return mr_source_return(actor, 1);
		actor->wants.actor = MR_SOURCE_MULTIFD + mr_multifd_send_awaited(multifd);
		return mr_source_wait(actor, MR_SOURCE_WAIT_ACTOR);
	}
}

/* A barrier with which a section ends, where the release has one there. */
static enum outcome barrier_then(struct mr_outgoing *outgoing, struct source_actor *actor, bool wanted, bool flush,
				 source_phase *then)
{
	outgoing->progress.flush = flush && writes_flush(outgoing);
	if (!wanted && !outgoing->progress.flush)
		return mr_source_go(actor, then);
	return mr_source_call(actor, mr_source_barrier, then);
}

/* ---- START: the list of blocks (SRC-006) ---- */

static source_phase setup_list, setup_block, setup_barrier;

static void begin_bitmaps(struct mr_outgoing *outgoing)
{
	for (uint32_t i = 0; i < outgoing->block_count; i++) {
		struct source_block *block = source_block_at(outgoing, i);
		const uint64_t *unplugged = source_at(outgoing, block->unplugged);

		if (block->ignored)
			continue;
		mr_bitmap_set(dirty_of(outgoing, block), 0, block->pages);
		if (block->unsent)
			mr_bitmap_set(source_at(outgoing, block->unsent), 0, block->pages);
		mr_source_leave_out(outgoing, block, unplugged);
	}
	outgoing->dirty_count = mr_source_count_dirty(outgoing);
}

void mr_source_leave_out(struct mr_outgoing *outgoing, struct source_block *block, const uint64_t *unplugged)
{
	for (uint64_t at = mr_bitmap_next_set(unplugged, block->pages, 0); at < block->pages;) {
		const uint64_t end = mr_bitmap_next_clear(unplugged, block->pages, at);

		mr_bitmap_clear(dirty_of(outgoing, block), at, end - at);
		if (block->unsent)
			mr_bitmap_clear(source_at(outgoing, block->unsent), at, end - at);
		at = mr_bitmap_next_set(unplugged, block->pages, end);
	}
}

enum outcome mr_source_ram_setup(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	(void)action;
	begin_bitmaps(outgoing);
	if (source_has(outgoing, MR_CAPABILITY_BACKGROUND_SNAPSHOT))
		return mr_source_go(actor, setup_list);
	return mr_source_call(actor, mr_source_sync, setup_list);
}

static enum outcome setup_list(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action)
{
	struct mr_record record = {.kind = MR_RAM_SIZE};

	for (uint32_t i = 0; i < outgoing->block_count; i++)
		record.ram_size.total += source_block_at(outgoing, i)->used_length;
	outgoing->progress.index = 0;
	actor->phase = setup_block;
	return mr_source_emit(outgoing, actor, action, &record);
}

static enum outcome setup_hooked(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	return emit_hook(outgoing, actor, action, setup_barrier);
}

static enum outcome setup_block(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	const bool shared = source_has(outgoing, MR_CAPABILITY_IGNORE_SHARED);
	struct mr_record record = {.kind = MR_RAM_BLOCK};
	const struct source_block *block;

	if (outgoing->progress.index == outgoing->block_count)
		return mr_source_go(actor, setup_hooked);
	block = source_block_at(outgoing, outgoing->progress.index);
	record.ram_block = (struct mr_ram_block){
		.block = outgoing->progress.index++,
		.name = source_name(block),
		.used_length = block->used_length,
		.has_page_size = block->lists_page_size,
		.page_size = block->page_size,
		.has_address = shared,
		.address = block->address,
		.has_ignored = shared && source_does(outgoing, MR_SWITCH_BLOCK_IGNORED_BYTE),
		.ignored = block->ignored,
	};
	return mr_source_emit(outgoing, actor, action, &record);
}

static enum outcome setup_barrier(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action)
{
	(void)action;
	return barrier_then(outgoing, actor, true, true, send_eos);
}

/* ---- One host page ---- */

static source_phase send_next, queue_page;

static enum outcome host_page_done(struct mr_outgoing *outgoing, struct source_actor *actor,
				   struct mr_source_action *action)
{
	struct host_page *page = &actor->host_page;
	const bool release = outgoing->config.release_ram && outgoing->in_postcopy;
	const bool snapshot = source_has(outgoing, MR_CAPABILITY_BACKGROUND_SNAPSHOT);

	page->open = false;
	if (page->sent == 0 || (!release && !snapshot))
		return mr_source_return(actor, (int64_t)page->sent);
	actor->phase = host_page_over;
	action->range.block = page->block;
	action->range.start = page->first * source_page(outgoing);
	action->range.length = (page->end - page->first) * source_page(outgoing);
	return mr_source_act(outgoing, actor, action, release ? MR_SOURCE_ACTION_RELEASE : MR_SOURCE_ACTION_UNPROTECT);
}

static enum outcome host_page_over(struct mr_outgoing *outgoing, struct source_actor *actor,
				   struct mr_source_action *action)
{
	(void)outgoing;
	(void)action;
	return mr_source_return(actor, (int64_t)actor->host_page.sent);
}

/* The first page of a chunk: writes to the chunk have to be logged again before the page is read (SRC-008). */
static bool is_clear_due(struct mr_outgoing *outgoing, const struct source_block *block, uint64_t page,
			 struct mr_source_action *action)
{
	const uint32_t shift = outgoing->config.clear_bitmap_shift;
	uint64_t *unlogged = source_at(outgoing, block->unlogged);
	const uint64_t chunk = page >> shift;
	uint64_t first, pages;

	if (!mr_bit_test(unlogged, chunk))
		return false;
	mr_bit_clear(unlogged, chunk);
	if ((outgoing->progress.last_stage || outgoing->in_postcopy) &&
	    source_does(outgoing, MR_SWITCH_LOG_CLEARED_UNTIL_STOP))
		return false;
	first = chunk << shift;
	pages = block->pages - first < (uint64_t)1 << shift ? block->pages - first : (uint64_t)1 << shift;
	action->range.block = (uint32_t)(block - source_block_at(outgoing, 0));
	action->range.start = first * source_page(outgoing);
	action->range.length = pages * source_page(outgoing);
	return true;
}

/* 7.1 and 7.2 forget the block with each change of the channel. */
static void use_channel(struct mr_outgoing *outgoing, unsigned channel)
{
	if (outgoing->last_ram_channel != channel && source_does(outgoing, MR_SWITCH_PREEMPT_SHARED_NAME))
		outgoing->last_block[channel] = NO_BLOCK;
	outgoing->last_ram_channel = channel;
}

/* Offset, flags and, where the block is another than before on this channel, its name (SRC-017). */
static size_t put_page_head(struct mr_outgoing *outgoing, struct source_actor *actor, uint64_t offset, uint32_t flag)
{
	const struct host_page *page = &actor->host_page;
	const struct source_block *block = source_block_at(outgoing, page->block);
	uint32_t *last = &outgoing->last_block[page->channel];

	use_channel(outgoing, page->channel);
	if (*last == page->block) {
		mr_put_be64(actor->head, offset | flag | MR_RAM_FLAG_CONTINUE);
		return 8;
	}
	*last = page->block;
	mr_put_be64(actor->head, offset | flag);
	actor->head[8] = block->name_length;
	memcpy(actor->head + 9, block->name, block->name_length);
	return 9u + block->name_length;
}

static enum outcome emit_page(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action,
			      enum mr_saved saved, uint64_t offset, struct mr_bytes data)
{
	static const struct {
		enum mr_kind kind;
		uint32_t flag;
	} kinds[] = {
		[MR_SAVED_ZERO] = {MR_RAM_ZERO, MR_RAM_FLAG_ZERO},
		[MR_SAVED_PAGE] = {MR_RAM_PAGE, MR_RAM_FLAG_PAGE},
		[MR_SAVED_XBZRLE] = {MR_RAM_XBZRLE, MR_RAM_FLAG_XBZRLE},
	};
	const struct host_page *page = &actor->host_page;
	const uint32_t channel = page->channel == RAM_PREEMPT ? outgoing->preempt_channel : outgoing->main_channel;
	size_t head = put_page_head(outgoing, actor, offset, kinds[saved].flag);

	if (saved == MR_SAVED_ZERO)
		actor->head[head++] = 0;
	if (saved == MR_SAVED_XBZRLE) {
		actor->head[head] = 1;
		mr_put_be16(actor->head + head + 1, (uint16_t)data.length);
		head += 3;
		mr_page_count_xbzrle(&outgoing->saver, head + data.length);
	}
	mr_source_count_ram(outgoing, head + data.length);
	mr_source_emit_bytes(outgoing, actor, action, channel, kinds[saved].kind, (struct mr_bytes){actor->head, head},
			     data);
	action->send.block = page->block;
	action->send.page = offset;
	action->send.requested = page->requested;
	return ACTED;
}

static struct mr_page_place place_of(const struct mr_outgoing *outgoing, const struct source_actor *actor,
				     uint64_t offset)
{
	const uint32_t block = actor->host_page.block;

	return (struct mr_page_place){
		.actor = actor->number,
		.block = block,
		.offset = offset,
		.cache_address = source_block_at(outgoing, block)->cache_offset + offset,
		.last_stage = outgoing->progress.last_stage,
		.postcopy = outgoing->in_postcopy,
	};
}

/* A page that goes by a multifd channel, unless a zero mark on the main channel says it all. */
static enum outcome queue_page(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action)
{
	struct host_page *page = &actor->host_page;
	struct mr_multifd_send *multifd = multifd_of(outgoing);
	const uint64_t offset = (page->next - 1) * source_page(outgoing);
	const uint64_t before = outgoing->statistics.choices[MR_CHOICE_CHANNEL];
	const enum mr_multifd_queue queued =
		mr_multifd_send_page(multifd, page->block, source_block_at(outgoing, page->block)->name, offset);

	if (mr_source_is_broken(outgoing))
		return mr_source_return(actor, 0);
	if (queued == MR_QUEUE_WAITS) {
		actor->wants.actor = MR_SOURCE_MULTIFD + mr_multifd_send_awaited(multifd);
		actor->phase = queue_page;
		return mr_source_wait(actor, MR_SOURCE_WAIT_ACTOR);
	}
	page->sent++;
	actor->phase = send_next;
	action->count = outgoing->statistics.choices[MR_CHOICE_CHANNEL];
	if (action->count == before)
		return ON;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_DISPATCHED);
}

/*
 * A page that went out comes again. Only while the guest may still write, since END goes on until nothing is dirty; in
 * a snapshot its content would be another one by then. And only as a record: the main channel alone keeps two of them
 * in their order (MFD-020).
 */
static MR_APART void choose_twice(struct mr_outgoing *outgoing, uint32_t block, uint64_t page)
{
	if (!outgoing->guest_held && !source_has(outgoing, MR_CAPABILITY_MULTIFD | MR_CAPABILITY_BACKGROUND_SNAPSHOT) &&
	    mr_source_choose(outgoing, MR_CHOICE_TWICE, 0, 1))
		mr_source_mark_dirty(outgoing, source_block_at(outgoing, block), page, 1);
}

static enum outcome send_page(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action,
			      uint64_t offset)
{
	const struct mr_page_place place = place_of(outgoing, actor, offset);
	struct mr_bytes data = {0};
	enum mr_saved saved;

	actor->phase = actor->host_page.next < actor->host_page.end ? send_next : host_page_done;
	if (uses_multifd(outgoing)) {
		if (!outgoing->saver.zero_detection || !mr_page_save_zero(&outgoing->saver, &place))
			return mr_source_go(actor, queue_page);
		saved = MR_SAVED_ZERO;
	} else {
		saved = mr_page_save(&outgoing->saver, &place, &data);
	}
	if (saved == MR_SAVED_NOTHING)
		return ON;
	actor->host_page.sent++;
	outgoing->statistics.pages++;
	if (mr_choice_is_asked(&outgoing->config, MR_CHOICE_TWICE))
		choose_twice(outgoing, actor->host_page.block, offset / source_page(outgoing));
	return emit_page(outgoing, actor, action, saved, offset, data);
}

/* 7.1 and 7.2: an urgent request interrupts a huge page that goes by the main channel. */
static bool breaks_here(struct mr_outgoing *outgoing, const struct source_actor *actor)
{
	const struct host_page *page = &actor->host_page;
	const bool may = outgoing->in_postcopy && outgoing->preempt_channel != NO_CONNECTION &&
			 page->channel == RAM_MAIN && page->sent &&
			 source_does(outgoing, MR_SWITCH_PREEMPT_BREAK_HUGE) &&
			 mr_request_queue_waits(&outgoing->queue);

	return may && mr_source_choose(outgoing, MR_CHOICE_BREAK_HUGE, 1, 1);
}

static enum outcome send_next(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	struct host_page *page = &actor->host_page;
	struct source_block *block = source_block_at(outgoing, page->block);

	if (page->next < page->end && !mr_bit_test(dirty_of(outgoing, block), page->next))
		page->next = mr_bitmap_next_set(dirty_of(outgoing, block), page->end, page->next);
	if (page->next >= page->end)
		return host_page_done(outgoing, actor, action);
	/* The reader of the return path sends a whole host page before anybody else sends one. */
	if (actor->number == MR_SOURCE_MIGRATION && outgoing->returner.host_page.open) {
		actor->wants.actor = MR_SOURCE_RETURN;
		actor->phase = send_next;
		return mr_source_wait(actor, MR_SOURCE_WAIT_ACTOR);
	}
	if (breaks_here(outgoing, actor))
		return mr_source_return(actor, (int64_t)page->sent);
	if (is_clear_due(outgoing, block, page->next, action)) {
		actor->phase = send_next;
		return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_LOG_CLEAR);
	}
	mr_source_take_page(outgoing, block, page->next);
	return send_page(outgoing, actor, action, page->next++ * source_page(outgoing));
}

enum outcome mr_source_send_host_page(struct mr_outgoing *outgoing, struct source_actor *actor,
				      struct mr_source_action *action)
{
	return send_next(outgoing, actor, action);
}

/* ---- The pages of a section (SRC-011, SRC-012) ---- */

static source_phase find_page, page_sent, round_over;

static bool is_urgent_by_scan(const struct mr_outgoing *outgoing)
{
	return outgoing->in_postcopy && outgoing->preempt_channel != NO_CONNECTION &&
	       source_does(outgoing, MR_SWITCH_PREEMPT_SHARED_NAME);
}

/* A request for the huge page that was interrupted, just now or before other requests, lets that go on where it was. */
static void open_requested(struct mr_outgoing *outgoing, struct source_actor *actor, uint32_t block, uint64_t page)
{
	struct host_page *broken = &outgoing->broken_page;

	if (actor->host_page.open)
		*broken = actor->host_page;
	mr_source_open_host_page(outgoing, actor, block, page);
	actor->host_page.requested = true;
	if (!is_urgent_by_scan(outgoing))
		return;
	if (broken->open && broken->block == block && page < broken->end &&
	    page >= broken->end - source_block_at(outgoing, block)->host_pages)
		broken->open = false;
	else
		actor->host_page.channel = RAM_PREEMPT;
}

/* The huge page that was interrupted goes on once nothing is urgent any more. */
static bool open_broken(struct mr_outgoing *outgoing, struct source_actor *actor)
{
	struct host_page *broken = &outgoing->broken_page;

	if (!broken->open && actor->host_page.open)
		*broken = actor->host_page;
	if (!broken->open)
		return false;
	actor->host_page = *broken;
	actor->host_page.sent = 0;
	broken->open = false;
	return true;
}

/*
 * Whether a page may come before its turn. With multifd it may stand in packets once between two barriers (MFD-020):
 * what the scan has yet to reach came in none, and what comes before its turn gets a barrier behind its section.
 */
static bool may_precede(const struct mr_outgoing *outgoing, const struct source_block *block, uint64_t page)
{
	const uint64_t found = outgoing->scan.page;

	if (page >= block->pages || !mr_bit_test(dirty_of(outgoing, block), page))
		return false;
	/* Those of one host page come in their order. */
	return page / block->host_pages != found / block->host_pages && (page > found || !uses_multifd(outgoing));
}

/* Another host page, from its first dirty page on, takes the place of what the scan found, if the caller says so. */
static MR_APART void choose_page(struct mr_outgoing *outgoing, struct source_actor *actor)
{
	const struct source_block *block = source_block_at(outgoing, outgoing->scan.block);
	const uint64_t found = outgoing->scan.page, answer = mr_source_ask(outgoing, MR_CHOICE_PAGE, found);
	const uint64_t page =
		mr_source_settle(outgoing, MR_CHOICE_PAGE, found, answer, may_precede(outgoing, block, answer));
	const uint64_t first = page / block->host_pages * block->host_pages;

	if (page == found)
		return;
	mr_source_open_host_page(outgoing, actor, outgoing->scan.block,
				 mr_bitmap_next_set(dirty_of(outgoing, block), page + 1, first));
	actor->host_page.aside = true;
	outgoing->progress.strayed |= uses_multifd(outgoing);
}

static enum outcome scan(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	switch (mr_source_scan(outgoing)) {
	case SCAN_FOUND:
		mr_source_open_host_page(outgoing, actor, outgoing->scan.block, outgoing->scan.page);
		if (mr_choice_is_asked(&outgoing->config, MR_CHOICE_PAGE))
			choose_page(outgoing, actor);
		return mr_source_call(actor, send_next, page_sent);
	case SCAN_ROUND:
		action->count = outgoing->scan.passes;
		actor->phase = round_over;
		return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_ITERATION);
	default:
		outgoing->progress.nothing_left = true;
		return mr_source_return(actor, 0);
	}
}

static enum outcome tell_request(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action, const struct mr_page_request *request)
{
	action->request.block = request->block;
	action->request.start = request->start;
	action->request.length = request->length;
	action->request.sent = request->sent;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_REQUEST);
}

enum outcome mr_source_drop_request(struct mr_outgoing *outgoing, struct source_actor *actor,
				    struct mr_source_action *action)
{
	enum mr_request_turn turn = MR_REQUEST_PAGE;
	struct mr_page_request request;
	uint64_t page;

	while (turn == MR_REQUEST_PAGE)
		turn = mr_source_take_request(outgoing, &request, &page);
	return turn == MR_REQUEST_OVER ? tell_request(outgoing, actor, action, &request) : ON;
}

static MR_APART enum outcome serve_request(struct mr_outgoing *outgoing, struct source_actor *actor,
					   struct mr_source_action *action)
{
	struct mr_page_request request;
	uint64_t page;

	if (mr_source_take_request(outgoing, &request, &page) == MR_REQUEST_OVER) {
		actor->phase = find_page;
		return tell_request(outgoing, actor, action, &request);
	}
	open_requested(outgoing, actor, request.block, page);
	return mr_source_call(actor, send_next, page_sent);
}

/* A request comes first. */
static enum outcome find_page(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	if (outgoing->queue.count)
		return serve_request(outgoing, actor, action);
	if (open_broken(outgoing, actor))
		return mr_source_call(actor, send_next, page_sent);
	return scan(outgoing, actor, action);
}

static enum outcome round_over(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action)
{
	(void)action;
	mr_page_saver_pass_over(&outgoing->saver);
	if (flushes_each_section(outgoing))
		return mr_source_go(actor, find_page);
	return barrier_then(outgoing, actor, synchronises(outgoing), true, find_page);
}

/* One pass is over when something went out. */
static enum outcome page_sent(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	const struct host_page *page = &actor->host_page;

	(void)action;
	if (mr_source_is_broken(outgoing))
		return mr_source_return(actor, -FAULT_IO);
	if (!page->aside) {
		outgoing->scan.block = page->block;
		outgoing->scan.page = page->open ? page->next : page->end;
	}
	/* Nothing is left of what is over, so that sources are equal whichever page went out last. */
	if (!page->open)
		actor->host_page = (struct host_page){0};
	if (actor->answer == 0)
		return mr_source_go(actor, find_page);
	outgoing->scan.searching = false;
	outgoing->progress.passes++;
	return mr_source_return(actor, actor->answer);
}

/* ---- PART ---- */

static source_phase part_pass, part_over;

static bool is_slice_over(const struct mr_outgoing *outgoing)
{
	const struct progress *progress = &outgoing->progress;
	const bool looks = progress->passes && (progress->passes - 1) % SLICE_PASSES == 0;
	const bool late = looks && (outgoing->time - progress->began) / MILLISECOND > SLICE_TIME;
	const bool urgent = outgoing->in_postcopy && mr_request_queue_waits(&outgoing->queue) &&
			    source_does(outgoing, MR_SWITCH_REQUEST_OVERRIDES_RATE);

	return late || (!urgent && mr_source_rate_exceeded(outgoing));
}

enum outcome mr_source_ram_part(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	outgoing->progress.passes = 0;
	outgoing->progress.began = outgoing->time;
	outgoing->progress.nothing_left = false;
	outgoing->progress.last_stage = false;
	return emit_hook(outgoing, actor, action, part_pass);
}

static enum outcome part_pass(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)action;
	if (outgoing->progress.nothing_left || mr_source_is_interrupted(outgoing))
		return mr_source_go(actor, part_over);
	if (mr_source_choose(outgoing, MR_CHOICE_SECTION_ENDS, is_slice_over(outgoing), 1))
		return mr_source_go(actor, part_over);
	return mr_source_call(actor, find_page, part_pass);
}

/* A PART ends on the main channel, wherever its last page went; that channel's block is not forgotten by this. */
static enum outcome part_answer(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	(void)action;
	outgoing->last_ram_channel = RAM_MAIN;
	return mr_source_return(actor, outgoing->progress.nothing_left);
}

static enum outcome part_eos(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	actor->phase = part_answer;
	mr_source_count_ram(outgoing, 8);
	return emit_flags(outgoing, actor, action, MR_RAM_EOS, MR_RAM_FLAG_EOS);
}

static enum outcome part_over(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	const bool strayed = outgoing->progress.strayed;

	(void)action;
	if (mr_source_is_interrupted(outgoing) && source_does(outgoing, MR_SWITCH_EOS_MISSING_AFTER_STOP))
		return mr_source_return(actor, mr_source_is_broken(outgoing) ? -FAULT_IO : 0);
	outgoing->progress.strayed = false;
	return barrier_then(outgoing, actor, flushes_each_section(outgoing), strayed, part_eos);
}

/* ---- END, and the PART before the switch to postcopy ---- */

static source_phase end_pass, end_over;

static enum outcome end_begin(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	outgoing->progress.nothing_left = false;
	outgoing->progress.last_stage = !outgoing->in_postcopy && !source_has(outgoing, MR_CAPABILITY_COLO);
	return emit_hook(outgoing, actor, action, end_pass);
}

enum outcome mr_source_ram_end(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action)
{
	(void)action;
	if (outgoing->in_postcopy)
		return mr_source_go(actor, end_begin);
	return mr_source_call(actor, mr_source_sync, end_begin);
}

static enum outcome end_pass(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)action;
	if (mr_source_is_broken(outgoing))
		return mr_source_return(actor, -FAULT_IO);
	if (outgoing->progress.nothing_left)
		return mr_source_go(actor, end_over);
	return mr_source_call(actor, find_page, end_pass);
}

/* Some releases leave out the FLUSH that answers the last SYNC, some the SYNC, too. */
static enum outcome end_over(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	const bool each = flushes_each_section(outgoing);
	const bool missing = source_does(outgoing, MR_SWITCH_FLUSH_AT_COMPLETION_MISSING);
	const bool last = source_does(outgoing, MR_SWITCH_FLUSH_AT_COMPLETION);

	(void)action;
	return barrier_then(outgoing, actor, each || last || missing, last, send_eos);
}

enum outcome mr_source_ram_prepare(struct mr_outgoing *outgoing, struct source_actor *actor,
				   struct mr_source_action *action)
{
	(void)outgoing;
	(void)action;
	return mr_source_call(actor, prepare_barrier, prepared);
}

static enum outcome prepare_barrier(struct mr_outgoing *outgoing, struct source_actor *actor,
				    struct mr_source_action *action)
{
	(void)action;
	return barrier_then(outgoing, actor, true, true, send_eos);
}

/* The hook consents. */
static enum outcome prepared(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)outgoing;
	(void)action;
	return mr_source_return(actor, 1);
}
