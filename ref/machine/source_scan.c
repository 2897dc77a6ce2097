/* source_scan.c: dirty bits, and which page of all that are dirty is next. */
#include "source.h"

#include "machine/bit.h"

/* ---- Bits ---- */

void mr_source_take_page(struct mr_outgoing *outgoing, struct source_block *block, uint64_t page)
{
	mr_bit_clear(dirty_of(outgoing, block), page);
	if (block->unsent)
		mr_bit_clear(source_at(outgoing, block->unsent), page);
	outgoing->dirty_count--;
}

void mr_source_clear_dirty(struct mr_outgoing *outgoing, struct source_block *block, uint64_t first, uint64_t count)
{
	uint64_t *dirty = dirty_of(outgoing, block);

	for (uint64_t at = mr_bitmap_next_set(dirty, first + count, first); at < first + count;) {
		const uint64_t end = mr_bitmap_next_clear(dirty, first + count, at);

		outgoing->dirty_count -= end - at;
		mr_bitmap_clear(dirty, at, end - at);
		at = mr_bitmap_next_set(dirty, first + count, end);
	}
}

uint64_t mr_source_mark_dirty(struct mr_outgoing *outgoing, struct source_block *block, uint64_t first, uint64_t count)
{
	uint64_t *dirty = dirty_of(outgoing, block);
	uint64_t added = 0;

	for (uint64_t at = mr_bitmap_next_clear(dirty, first + count, first); at < first + count;) {
		const uint64_t end = mr_bitmap_next_set(dirty, first + count, at);

		added += end - at;
		mr_bitmap_set(dirty, at, end - at);
		at = mr_bitmap_next_clear(dirty, first + count, end);
	}
	outgoing->dirty_count += added;
	return added;
}

uint64_t mr_source_count_dirty(const struct mr_outgoing *outgoing)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < outgoing->block_count; i++) {
		const struct source_block *block = source_block_at(outgoing, i);

		if (!block->ignored)
			count += mr_bitmap_count(dirty_of(outgoing, block), block->pages);
	}
	return count;
}

/* ---- The scan over all blocks (SRC-011) ---- */

void mr_source_scan_reset(struct mr_outgoing *outgoing)
{
	const uint64_t passes = outgoing->scan.passes;

	outgoing->scan = (struct scan){.passes = passes};
}

static void begin_search(struct scan *scan)
{
	if (scan->searching)
		return;
	if (scan->hinted) {
		scan->block = scan->hint_block;
		scan->page = scan->hint_page;
		scan->hinted = false;
	}
	scan->searching = true;
	scan->wrapped = false;
	scan->start_block = scan->block;
	scan->start_page = scan->page;
}

static void next_block(struct mr_outgoing *outgoing)
{
	struct scan *scan = &outgoing->scan;

	scan->page = 0;
	if (++scan->block < outgoing->block_count)
		return;
	scan->block = 0;
	scan->wrapped = true;
	scan->passes++;
}

enum scan_result mr_source_scan(struct mr_outgoing *outgoing)
{
	struct scan *scan = &outgoing->scan;

	if (outgoing->block_count == 0)
		return SCAN_NOTHING;
	begin_search(scan);
	for (;;) {
		const struct source_block *block = source_block_at(outgoing, scan->block);

		scan->page = block->ignored ? block->pages
					    : mr_bitmap_next_set(dirty_of(outgoing, block), block->pages, scan->page);
		if (scan->wrapped && scan->block == scan->start_block && scan->page >= scan->start_page) {
			scan->searching = false;
			return SCAN_NOTHING;
		}
		if (scan->page < block->pages)
			return SCAN_FOUND;
		next_block(outgoing);
		if (scan->block == 0)
			return SCAN_ROUND;
	}
}

/* ---- Requests ---- */

static uint64_t next_dirty(void *argument, uint32_t index, uint64_t page, uint64_t end)
{
	const struct mr_outgoing *outgoing = argument;
	const struct source_block *block = source_block_at(outgoing, index);
	uint64_t found;

	if (block->ignored || page >= block->pages)
		return end;
	found = mr_bitmap_next_set(dirty_of(outgoing, block), end < block->pages ? end : block->pages, page);
	return found < block->pages ? found : end;
}

enum mr_request_turn mr_source_take_request(struct mr_outgoing *outgoing, struct mr_page_request *request,
					    uint64_t *page)
{
	const enum mr_request_turn turn = mr_request_queue_next(&outgoing->queue, next_dirty, outgoing, request, page);

	if (turn == MR_REQUEST_PAGE && !source_does(outgoing, MR_SWITCH_SCAN_STALE_WRAP))
		outgoing->scan.wrapped = false;
	return turn;
}

void mr_source_open_host_page(struct mr_outgoing *outgoing, struct source_actor *actor, uint32_t block, uint64_t page)
{
	const struct source_block *at = source_block_at(outgoing, block);
	const uint64_t end = (page | (at->host_pages - 1)) + 1; /* their number is a power of two */

	actor->host_page = (struct host_page){
		.block = block,
		.first = page,
		.next = page,
		.end = end < at->pages ? end : at->pages,
		.open = true,
	};
}
