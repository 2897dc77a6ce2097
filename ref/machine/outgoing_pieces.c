/*
 * outgoing_pieces.c: where the source's state lies at a moment, piece by piece; as incoming_pieces.c.
 */
#include "machine/pieces.h"
#include "source.h"

/* ---- What goes by the clock ---- */

static bool is_limited(const struct mr_outgoing *outgoing)
{
	return outgoing->config.max_bandwidth != UINT64_MAX || outgoing->config.max_postcopy_bandwidth;
}

static void add_pace(struct mr_pieces *pieces, const struct mr_outgoing *outgoing, bool timeless)
{
	const struct progress *progress = &outgoing->progress;

	MR_STATE(pieces, outgoing, time, time);
	MR_PIECE_OF(pieces, outgoing, woken, woken, !is_limited(outgoing));
	MR_STATE(pieces, progress, index, index);
	MR_STATE(pieces, progress, cursor, cursor);
	/* They decide when a section looks at the clock. */
	MR_PIECE_OF(pieces, progress, passes, passes, timeless);
	MR_STATE(pieces, progress, began, queried);
	MR_PIECE_OF(pieces, outgoing, pace.window_start, pace.window_bytes, timeless && !is_limited(outgoing));
	MR_PIECE_OF(pieces, outgoing, pace.measure_start, pace.measure_bytes, timeless);
	MR_STATE(pieces, outgoing, pace.threshold, pace.threshold);
	MR_PIECE_OF(pieces, outgoing, pace.rate_start, pace.throttle_strikes, timeless);
}

/* A throttle goes by what was sent; else the figures are only told. */
static void add_statistics(struct mr_pieces *pieces, const struct mr_outgoing *outgoing, bool timeless)
{
	const bool throttles = outgoing->config.auto_converge && !timeless;

	MR_PIECE_OF(pieces, outgoing, statistics, statistics, !throttles);
	MR_SCRATCH(pieces, outgoing, saver.counts, saver.counts);
}

/* ---- Actors ---- */

static void add_host_page(struct mr_pieces *pieces, const struct host_page *page)
{
	MR_STATE(pieces, page, block, block);
	MR_STATE(pieces, page, next, aside);
}

static void add_actor(struct mr_pieces *pieces, const struct source_actor *actor)
{
	MR_STATE(pieces, actor, phase, phase);
	mr_piece_add(pieces, actor->calls, actor->depth * sizeof(actor->calls[0]), false);
	MR_STATE(pieces, actor, depth, depth);
	MR_STATE(pieces, actor, answer, ended);
	MR_STATE(pieces, actor, completion, completion);
	MR_SCRATCH(pieces, actor, wants, wants);
	add_host_page(pieces, &actor->host_page);
}

/* ---- What is sent ---- */

/* A source that lost its connection goes by what the destination's bitmaps will say, whatever it thinks it has sent. */
static bool is_paused(const struct mr_outgoing *outgoing)
{
	return outgoing->status == MR_SOURCE_STATUS_POSTCOPY_PAUSED ||
	       outgoing->status == MR_SOURCE_STATUS_POSTCOPY_RECOVER_SETUP;
}

static bool is_asking(const struct mr_outgoing *outgoing)
{
	return outgoing->status == MR_SOURCE_STATUS_POSTCOPY_RECOVER;
}

static void add_scan(struct mr_pieces *pieces, const struct scan *scan, bool decided)
{
	if (!decided) {
		mr_piece_add(pieces, scan, sizeof(*scan), true);
		return;
	}
	MR_STATE(pieces, scan, block, block);
	MR_STATE(pieces, scan, page, searching);
	MR_SCRATCH(pieces, scan, passes, passes);
	MR_STATE(pieces, scan, hinted, hinted);
	if (scan->searching) {
		MR_STATE(pieces, scan, wrapped, wrapped);
		MR_STATE(pieces, scan, start_block, start_block);
		MR_STATE(pieces, scan, start_page, start_page);
	}
	if (scan->hinted) {
		MR_STATE(pieces, scan, hint_block, hint_block);
		MR_STATE(pieces, scan, hint_page, hint_page);
	}
}

static void add_request(struct mr_pieces *pieces, const struct mr_page_request *request)
{
	MR_STATE(pieces, request, block, block);
	/* As it was asked is only told. */
	MR_SCRATCH(pieces, request, start, length);
	MR_STATE(pieces, request, page, sent);
}

/* Where the ring begins is of no account. */
static void add_queue(struct mr_pieces *pieces, const struct mr_request_queue *queue)
{
	const uint32_t behind = MR_OUTGOING_REQUESTS_MAX - queue->first;
	const uint32_t before_end = queue->count < behind ? queue->count : behind;

	MR_SCRATCH(pieces, queue, first, first);
	MR_STATE(pieces, queue, count, count);
	for (uint32_t i = 0; i < before_end; i++)
		add_request(pieces, &queue->ring[queue->first + i]);
	for (uint32_t i = 0; i < queue->count - before_end; i++)
		add_request(pieces, &queue->ring[i]);
}

static void add_saver(struct mr_pieces *pieces, const struct mr_outgoing *outgoing)
{
	const struct mr_page_saver *saver = &outgoing->saver;
	size_t size = 0;

	MR_STATE(pieces, saver, zero_detection, xbzrle_started);
	MR_PIECE_OF(pieces, saver, generation, generation, !saver->xbzrle);
	mr_page_saver_size(source_page(outgoing), outgoing->config.xbzrle_cache_size, &size);
	mr_piece_add(pieces, source_at(outgoing, outgoing->places.cache), size, false);
}

/* While discards are told: the walk, and the blocks as it sees them. */
static void add_discards(struct mr_pieces *pieces, const struct mr_outgoing *outgoing)
{
	if (!outgoing->switching)
		return;
	MR_STATE(pieces, outgoing, walk, walk);
	if (outgoing->walk.blocks)
		mr_piece_add(pieces, source_at(outgoing, outgoing->places.discards),
			     outgoing->block_count * sizeof(struct mr_discard_source_block), false);
}

static void add_sending(struct mr_pieces *pieces, const struct mr_outgoing *outgoing)
{
	const bool packs = outgoing->in_package || !outgoing->package_sent;
	const bool decided = !is_paused(outgoing) && !(is_asking(outgoing) && outgoing->bitmaps_missing);

	MR_STATE(pieces, outgoing, asked_block, urgent_pages);
	MR_STATE(pieces, outgoing, package_length, package_length);
	mr_piece_add(pieces, source_at(outgoing, outgoing->places.package), packs ? outgoing->package_length : 0,
		     false);
	MR_STATE(pieces, outgoing, body, body);
	MR_STATE(pieces, outgoing, pending, pending);
	MR_PIECE_OF(pieces, outgoing, last_block, last_block, !decided);
	MR_STATE(pieces, outgoing, last_ram_channel, last_ram_channel);
	MR_STATE(pieces, outgoing, section_answer, section_answer);
	MR_PIECE_OF(pieces, outgoing, dirty_count, dirty_count, !decided);
	add_scan(pieces, &outgoing->scan, decided);
	add_host_page(pieces, &outgoing->broken_page);
	add_saver(pieces, outgoing);
	add_queue(pieces, &outgoing->queue);
	add_discards(pieces, outgoing);
	MR_STATE(pieces, outgoing, sequence, sequence);
	MR_STATE(pieces, outgoing, turn, turn);
}

/* ---- What it goes by ---- */

static void add_connection(struct mr_pieces *pieces, const struct connection *connection)
{
	MR_STATE(pieces, connection, open, open);
	MR_SCRATCH(pieces, connection, at_end, at_end);
	MR_STATE(pieces, connection, role, error);
	MR_SCRATCH(pieces, connection, return_error, return_error);
	/* A multifd channel begins with its first byte. */
	MR_PIECE_OF(pieces, connection, sent, sent, connection->role != MR_ROLE_MULTIFD);
	MR_SCRATCH(pieces, connection, taken, length);
}

static void add_block(struct mr_pieces *pieces, const struct mr_outgoing *outgoing, const struct source_block *block)
{
	const size_t bytes = mr_bitmap_words(block->pages) * sizeof(uint64_t);
	const uint64_t chunks = (block->pages >> outgoing->config.clear_bitmap_shift) + 1;
	const bool decided = !is_paused(outgoing) && (!is_asking(outgoing) || block->answered);

	MR_PIECE_OF(pieces, block, answered, answered, is_paused(outgoing));
	mr_piece_add(pieces, source_at(outgoing, block->dirty), bytes, !decided);
	if (block->unsent)
		mr_piece_add(pieces, source_at(outgoing, block->unsent), bytes, false);
	mr_piece_add(pieces, source_at(outgoing, block->unlogged), mr_bitmap_words(chunks) * sizeof(uint64_t), false);
	mr_piece_add(pieces, source_at(outgoing, block->unplugged), bytes, false);
}

static void add_multifd(struct mr_pieces *pieces, const struct mr_outgoing *outgoing)
{
	if (!source_has(outgoing, MR_CAPABILITY_MULTIFD))
		return;
	MR_STATE(pieces, outgoing, multifd_channels, multifd_channels);
	mr_piece_add(pieces, multifd_of(outgoing), mr_multifd_send_size(&outgoing->config), false);
}

/* The streams of compressing methods stand elsewhere. */
static bool has_streams(const struct mr_outgoing *outgoing)
{
	return source_has(outgoing, MR_CAPABILITY_MULTIFD) && outgoing->config.method && outgoing->config.method->flag;
}

size_t mr_outgoing_pieces(const struct mr_outgoing *outgoing, bool timeless, struct mr_piece pieces[], size_t room)
{
	struct mr_pieces all = {pieces, room, 0};

	if (has_streams(outgoing))
		return 0;
	MR_STATE(&all, outgoing, status, status);
	mr_piece_finding(&all, &outgoing->error);
	mr_piece_finding(&all, &outgoing->return_error);
	MR_STATE(&all, outgoing, cancel_asked, multifd_failed);
	MR_STATE(&all, outgoing, has_return_path, bitmaps_missing);
	MR_STATE(&all, outgoing, connection_count, preempt_channel);
	add_pace(&all, outgoing, timeless);
	add_statistics(&all, outgoing, timeless);
	add_sending(&all, outgoing);
	add_multifd(&all, outgoing);
	add_actor(&all, &outgoing->migration);
	add_actor(&all, &outgoing->returner);
	for (uint32_t i = 0; i < outgoing->connection_count; i++)
		add_connection(&all, connection_at(outgoing, i));
	for (uint32_t i = 0; i < outgoing->block_count; i++)
		add_block(&all, outgoing, source_block_at(outgoing, i));
	mr_piece_decoder(&all, source_at(outgoing, outgoing->places.decoder));
	mr_piece_session(&all, source_at(outgoing, outgoing->places.session));
	return all.count;
}
