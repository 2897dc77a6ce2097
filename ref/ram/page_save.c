/* page_save.c: zero page, XBZRLE or plain page, and what the cache remembers of it (rules SRC-018, SRC-020 to SRC-024).
 */
#include "ram/page_save.h"

#include "machine/step.h"

#include <string.h>

enum {
	SCRATCH_PAGES = 3, /* the page at hand, its encoding, zeros */
	RECORD_HEADER = 8, /* bytes of offset and flags */
};

/* ---- Memory ---- */

bool mr_page_saver_size(size_t page_size, uint64_t cache_size, size_t *bytes)
{
	const size_t cache = mr_page_cache_memory(cache_size, page_size);

	*bytes = 0;
	if (cache_size == 0)
		return true;
	if (cache == 0 || cache > SIZE_MAX - SCRATCH_PAGES * page_size)
		return false;
	*bytes = cache + SCRATCH_PAGES * page_size;
	return true;
}

void mr_page_saver_init(struct mr_page_saver *saver, const struct mr_profile *profile,
			const struct mr_outgoing_memory *guest, size_t page_size, uint64_t cache_size, void *memory)
{
	*saver = (struct mr_page_saver){
		.guest = guest,
		.page_size = page_size,
		.zero_detection = true,
		.xbzrle = cache_size != 0,
		.xbzrle_in_postcopy = profile->on[MR_SWITCH_XBZRLE_IN_POSTCOPY],
		.counts_hits = profile->on[MR_SWITCH_XBZRLE_COUNTS_HITS],
	};
	if (!saver->xbzrle)
		return;
	mr_page_cache_init(&saver->cache, cache_size, page_size, memory);
	saver->current = (uint8_t *)memory + mr_page_cache_memory(cache_size, page_size);
	saver->encoding = saver->current + page_size;
	saver->zeros = saver->encoding + page_size;
	memset(saver->zeros, 0, page_size);
}

void mr_page_saver_pass_over(struct mr_page_saver *saver)
{
	saver->xbzrle_started = saver->xbzrle;
}

void mr_page_saver_reset(struct mr_page_saver *saver)
{
	struct mr_page_cache *cache = &saver->cache;

	/* Until XBZRLE begins again, pages go out that the cache does not hear of. */
	if (saver->xbzrle)
		mr_page_cache_init(cache, cache->slots * cache->page_size, cache->page_size, cache->addresses);
	saver->xbzrle_started = false;
}

/* ---- Pages ---- */

static const uint8_t *look_at(const struct mr_page_saver *saver, const struct mr_page_place *place, enum mr_look look)
{
	const struct mr_outgoing_memory *guest = saver->guest;

	return guest->page(guest->argument, place->actor, place->block, place->offset, look);
}

static bool is_zero(const struct mr_page_saver *saver, const struct mr_page_place *place)
{
	if (saver->is_zero)
		return saver->is_zero(saver->guest->argument, place->actor, place->block, place->offset);
	return mr_is_zero(look_at(saver, place, MR_LOOK_ZERO), saver->page_size);
}

bool mr_page_save_zero(struct mr_page_saver *saver, const struct mr_page_place *place)
{
	if (!is_zero(saver, place))
		return false;
	saver->counts.duplicate++;
	/* The guest may have written to its page by now, so what is stored are zeros, not the page. */
	if (saver->xbzrle_started)
		mr_page_cache_insert(&saver->cache, place->cache_address, saver->zeros, saver->generation);
	return true;
}

static enum mr_saved save_plain(struct mr_page_saver *saver, const uint8_t *page, struct mr_bytes *data)
{
	saver->counts.normal++;
	*data = (struct mr_bytes){page, saver->page_size};
	return MR_SAVED_PAGE;
}

/* A page that is not in the cache: the next time it may be. */
static MR_APART enum mr_saved save_missed(struct mr_page_saver *saver, const struct mr_page_place *place,
					  struct mr_bytes *data)
{
	const uint8_t *page = look_at(saver, place, MR_LOOK_SEND);

	saver->counts.xbzrle_cache_miss++;
	if (place->last_stage || !mr_page_cache_insert(&saver->cache, place->cache_address, page, saver->generation))
		return save_plain(saver, page, data);
	return save_plain(saver, mr_page_cache_find(&saver->cache, place->cache_address, saver->generation), data);
}

static void count_hit(struct mr_page_saver *saver, long length)
{
	struct mr_page_counts *counts = &saver->counts;

	if (saver->counts_hits || length > 0)
		counts->xbzrle_pages++;
	if (length != MR_XBZRLE_OVERFLOW)
		return;
	counts->xbzrle_overflow++;
	if (saver->counts_hits)
		counts->xbzrle_bytes += saver->page_size;
}

static MR_APART enum mr_saved save_cached(struct mr_page_saver *saver, const struct mr_page_place *place,
					  uint8_t *cached, struct mr_bytes *data)
{
	long length;

	/* What is encoded, stored and sent must be the same bytes, whatever the guest does meanwhile. */
	memcpy(saver->current, look_at(saver, place, MR_LOOK_SEND), saver->page_size);
	length = mr_xbzrle_encode(cached, saver->current, saver->page_size, saver->encoding, saver->page_size);
	count_hit(saver, length);
	if (length == MR_XBZRLE_SAME)
		return MR_SAVED_NOTHING;
	if (!place->last_stage)
		memcpy(cached, saver->current, saver->page_size);
	if (length == MR_XBZRLE_OVERFLOW)
		return save_plain(saver, saver->current, data);
	*data = (struct mr_bytes){saver->encoding, (size_t)length};
	return MR_SAVED_XBZRLE;
}

enum mr_saved mr_page_save_content(struct mr_page_saver *saver, const struct mr_page_place *place,
				   struct mr_bytes *data)
{
	uint8_t *cached;

	*data = (struct mr_bytes){NULL, 0};
	if (!saver->xbzrle_started || (place->postcopy && !saver->xbzrle_in_postcopy))
		return save_plain(saver, look_at(saver, place, MR_LOOK_SEND), data);
	cached = mr_page_cache_find(&saver->cache, place->cache_address, saver->generation);
	return cached ? save_cached(saver, place, cached, data) : save_missed(saver, place, data);
}

enum mr_saved mr_page_save(struct mr_page_saver *saver, const struct mr_page_place *place, struct mr_bytes *data)
{
	if (!saver->zero_detection || !mr_page_save_zero(saver, place))
		return mr_page_save_content(saver, place, data);
	*data = (struct mr_bytes){NULL, 0};
	return MR_SAVED_ZERO;
}

void mr_page_count_xbzrle(struct mr_page_saver *saver, uint64_t record_bytes)
{
	saver->counts.xbzrle_bytes += record_bytes - (saver->counts_hits ? RECORD_HEADER : 0);
}
