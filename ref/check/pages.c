/* pages.c: where and when records of RAM may stand, and which page is sent how often. */
#include "check.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- Maps ---- */

static bool may_allocate(const struct mr_checker *checker, uint64_t pages)
{
	/* the first test keeps the product in the second one small */
	return pages <= 8 * MR_CHECK_BITMAPS_MAX &&
	       3 * sizeof(uint64_t) * mr_bitmap_words(pages) <= MR_CHECK_BITMAPS_MAX - checker->bitmap_bytes;
}

/* The maps of a block; NULL if it is not declared or there is no room. */
static struct mr_check_pages *maps_of(struct mr_checker *checker, uint32_t index, struct mr_place place)
{
	const struct mr_block *block = &checker->session->blocks[index];
	struct mr_check_pages *maps = &checker->blocks[index];
	const uint64_t pages = block->used_length / checker->session->target_page_size;
	const size_t words = mr_bitmap_words(pages);

	if (checker->no_discards)
		return NULL;
	if (maps->sent)
		return maps;
	if (!block->declared || checker->no_pages || pages == 0)
		return NULL;
	if (may_allocate(checker, pages))
		maps->sent = calloc(3 * words, sizeof(uint64_t));
	if (!maps->sent) {
		mr_report_limit(checker, place, &checker->no_pages, "which pages were sent is");
		return NULL;
	}
	if (index >= checker->block_limit)
		checker->block_limit = index + 1;
	checker->bitmap_bytes += 3 * sizeof(uint64_t) * words;
	maps->pages = pages;
	maps->discarded = maps->sent + words;
	maps->postcopy = maps->discarded + words;
	return maps;
}

/* The maps and the bit of a page; NULL if the page is in none. */
static struct mr_check_pages *find_page(struct mr_checker *checker, uint32_t block, uint64_t offset,
					struct mr_place place, uint64_t *bit)
{
	struct mr_check_pages *maps = maps_of(checker, block, place);

	*bit = offset / checker->session->target_page_size;
	return maps && *bit < maps->pages ? maps : NULL;
}

void mr_check_discard(struct mr_checker *checker, struct mr_place place, uint32_t block, uint64_t start,
		      uint64_t length)
{
	const uint32_t page_size = checker->session->target_page_size;
	struct mr_check_pages *maps = maps_of(checker, block, place);
	const uint64_t first = start / page_size;
	uint64_t count = length / page_size;

	if (!maps || first >= maps->pages)
		return;
	if (count > maps->pages - first)
		count = maps->pages - first;
	/* a few bytes of stream may discard a block of any size, again and again */
	checker->discarded_words += mr_bitmap_words(count) + 1;
	if (checker->discarded_words > MR_CHECK_DISCARDS_MAX) {
		mr_report_limit(checker, place, &checker->no_discards, "which pages were discarded is");
		return;
	}
	mr_bitmap_set(maps->discarded, first, count);
}

void mr_check_multifd_page(struct mr_checker *checker, uint32_t block, uint64_t offset, struct mr_place place)
{
	struct mr_check_pages *maps;
	uint64_t bit;

	maps = find_page(checker, block, offset, place, &bit);
	if (maps)
		mr_bitmap_set(maps->sent, bit, 1);
}

void mr_check_pages_again(struct mr_checker *checker)
{
	for (uint32_t i = 0; i < checker->block_limit; i++)
		if (checker->blocks[i].sent)
			mr_bitmap_clear(checker->blocks[i].postcopy, 0, checker->blocks[i].pages);
}

static const char *block_name(const struct mr_checker *checker, uint32_t block)
{
	return checker->session->blocks[block].name;
}

/* ---- Which page, how often ---- */

static void check_precopy_page(struct mr_checker *checker, struct mr_place place, const struct mr_record *record)
{
	struct mr_check_pages *maps;
	uint64_t bit;

	maps = find_page(checker, record->page.block, record->page.address, place, &bit);
	if (!maps)
		return;
	/* the earlier content may have come on a multifd channel, at a moment that cannot be told from here */
	if (record->kind == MR_RAM_XBZRLE && !mr_bitmap_test(maps->sent, bit) &&
	    !(checker->multifd_count || (checker->session->context.capabilities & MR_CAPABILITY_MULTIFD)))
		mr_report(checker, place, MR_RAM_014, mr_text("a page that was sent before"),
			  mr_text("0x%" PRIx64 " of %.40s for the first time", record->page.address,
				  block_name(checker, record->page.block)));
	mr_bitmap_set(maps->sent, bit, 1);
	mr_bitmap_clear(maps->discarded, bit, 1);
}

/* A preempt channel belongs to the main channel with as many before it; what comes late from an earlier one is not
 * judged. */
static bool is_current(const struct mr_checker *checker, const struct mr_check_channel *channel)
{
	uint32_t newest = 0;

	if (channel->role != MR_ROLE_PREEMPT)
		return true;
	for (uint32_t i = 0; i < checker->channel_count; i++) {
		const struct mr_check_channel *other = &checker->channels[i];

		if ((other->role == MR_ROLE_MAIN || other->role == MR_ROLE_RECOVERY) && other->generation > newest)
			newest = other->generation;
	}
	return channel->generation >= newest;
}

static void check_postcopy_page(struct mr_checker *checker, struct mr_check_channel *channel,
				const struct mr_record *record)
{
	const struct mr_place place = mr_place_at(channel, record->offset);
	const struct mr_ram_page *page = &record->page;
	struct mr_check_pages *maps;
	uint64_t bit;

	maps = find_page(checker, page->block, page->address, place, &bit);
	if (!maps)
		return;
	if (mr_bitmap_test(maps->sent, bit) && !mr_bitmap_test(maps->discarded, bit)) {
		mr_report(checker, place, MR_RAM_026, mr_text("a page that was discarded or never sent"),
			  mr_text("0x%" PRIx64 " of %.40s", page->address, block_name(checker, page->block)));
		/* said once for each page */
		mr_bitmap_set(maps->discarded, bit, 1);
	}
	if (!is_current(checker, channel))
		return;
	if (mr_bitmap_test(maps->postcopy, bit))
		mr_report(checker, place, MR_RAM_024, mr_text("each page once behind LISTEN"),
			  mr_text("0x%" PRIx64 " of %.40s again", page->address, block_name(checker, page->block)));
	mr_bitmap_set(maps->postcopy, bit, 1);
}

/* Pages that came on multifd channels, were not discarded, and came again in postcopy: known when all channels are. */
void mr_check_pages_finish(struct mr_checker *checker)
{
	for (uint32_t i = 0; i < checker->block_limit && !checker->no_discards; i++) {
		const struct mr_check_pages *maps = &checker->blocks[i];
		const size_t words = maps->sent ? mr_bitmap_words(maps->pages) : 0;
		uint64_t count = 0;

		for (size_t word = 0; word < words; word++) {
			const uint64_t left = maps->sent[word] & ~maps->discarded[word] & maps->postcopy[word];

			count += (uint64_t)__builtin_popcountll(left);
		}
		if (count)
			mr_report(checker, checker->main.summary, MR_RAM_026,
				  mr_text("pages that were discarded or never sent"),
				  mr_text("%" PRIu64 " pages of %.40s", count, block_name(checker, i)));
	}
}

/* ---- Host pages ---- */

static void report_host_page(const struct mr_checker *checker, const struct mr_check_channel *channel, uint64_t offset,
			     uint64_t size, const char *found)
{
	const struct mr_check_host_page *open = &channel->host_page;

	mr_report(checker, mr_place_at(channel, offset), MR_RAM_025,
		  mr_text("the rest of host page 0x%" PRIx64 " of %.40s", open->number * size,
			  block_name(checker, open->block)),
		  mr_text("%s behind %" PRIu64 " target pages", found, open->count));
}

static void check_host_page(struct mr_checker *checker, struct mr_check_channel *channel,
			    const struct mr_record *record)
{
	const struct mr_session *session = checker->session;
	const struct mr_ram_page *page = &record->page;
	struct mr_check_host_page *open = &channel->host_page;
	const struct mr_block *block = &session->blocks[page->block];
	const uint64_t size = mr_session_host_page(session, block);
	const uint64_t number = page->address / size;

	if (open->count && (open->block != page->block || open->number != number)) {
		report_host_page(checker, channel, record->offset,
				 mr_session_host_page(session, &session->blocks[open->block]), "another one");
		open->count = 0;
	}
	if (!block->declared || size <= session->target_page_size)
		return;
	if (open->count == 0)
		*open = (struct mr_check_host_page){.block = page->block, .number = number, .offset = record->offset};
	if (++open->count == size / session->target_page_size)
		open->count = 0;
}

void mr_check_host_page_end(struct mr_checker *checker, struct mr_check_channel *channel)
{
	const struct mr_session *session = checker->session;
	struct mr_check_host_page *open = &channel->host_page;

	if (open->count)
		report_host_page(checker, channel, open->offset,
				 mr_session_host_page(session, &session->blocks[open->block]), "the end");
	open->count = 0;
}

/* ---- Records ---- */

static void check_inflated(struct mr_checker *checker, struct mr_place place, const struct mr_record *record)
{
	const uint32_t page_size = checker->session->target_page_size;
	uint8_t *scratch = mr_check_scratch(checker, place);
	enum mr_rule rule;
	size_t produced;

	if (!scratch)
		return;
	rule = mr_page_inflate(record->page.data, scratch, page_size, &produced);
	if (rule != MR_NO_RULE)
		mr_report(checker, place, rule, mr_text("a zlib stream of %" PRIu32 " bytes", page_size),
			  mr_text("%zu bytes and no proper end", produced));
}

/* Whether this kind of record may stand here, in postcopy and on the preempt channel. */
static void check_kind(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record)
{
	const struct mr_profile *profile = &checker->session->context.profile;
	const struct mr_place place = mr_place_at(channel, record->offset);
	const struct mr_text found = mr_text("%s", mr_kind_name(record->kind));

	if (record->kind == MR_RAM_PAGE || record->kind == MR_RAM_ZERO || record->kind == MR_RAM_EOS)
		return;
	if (channel->role == MR_ROLE_PREEMPT)
		mr_report(checker, place, MR_RAM_027, mr_text("ram-page, ram-zero or ram-eos"), found);
	else if (record->kind == MR_RAM_XBZRLE)
		mr_report(checker, place, MR_RAM_014, mr_text("ram-xbzrle before LISTEN"), mr_text("one behind it"));
	else if (record->kind == MR_RAM_FLUSH)
		mr_report(checker, place, MR_RAM_020, mr_text("ram-flush before LISTEN"), mr_text("one behind it"));
	else if (record->kind == MR_RAM_COMPRESSED && mr_profile_may(profile, MR_SWITCH_COMPRESSED_IN_POSTCOPY))
		mr_report_as(checker, place, MR_ACCEPTABLE, MR_RAM_022, mr_text("ram-page, ram-zero or ram-eos"),
			     found);
	else
		mr_report(checker, place, MR_RAM_022, mr_text("ram-page, ram-zero or ram-eos"), found);
}

static void check_page(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record,
		       bool postcopy)
{
	const struct mr_place place = mr_place_at(channel, record->offset);
	struct mr_check_main *main = &checker->main;

	if (channel->role != MR_ROLE_PREEMPT) {
		if (main->named_page_due && (record->page.flags & MR_RAM_FLAG_CONTINUE))
			mr_report(checker, place, MR_RAM_023, mr_text("the block's name behind RAM_DISCARD"),
				  mr_text("CONTINUE"));
		main->named_page_due = false;
	}
	if (record->kind == MR_RAM_COMPRESSED)
		check_inflated(checker, place, record);
	if (!postcopy) {
		check_precopy_page(checker, place, record);
		return;
	}
	check_postcopy_page(checker, channel, record);
	check_host_page(checker, channel, record);
}

static void check_size(struct mr_checker *checker, struct mr_place place)
{
	struct mr_check_main *main = &checker->main;

	if (main->block_list)
		mr_report(checker, place, MR_RAM_007, mr_text("the block list once"), mr_text("another one"));
	else if (!main->in_ram_start)
		mr_report(checker, place, MR_RAM_007, mr_text("the block list in the START section"),
			  mr_text("one in another section"));
	main->block_list = true;
}

/*
 * The page sizes that the blocks list, and the ordinary one of those that list none, must make up the summary. The
 * ordinary one is the source's host page, which the stream does not state: it is what the listed ones leave over.
 */
static void check_summary(struct mr_checker *checker)
{
	const struct mr_session *session = checker->session;
	uint64_t listed = 0, ordinary, lengths = 0;
	bool ordinary_used = false, fits;

	for (uint32_t i = 0; i < session->block_count; i++) {
		const struct mr_block *block = &session->blocks[i];

		listed |= block->page_size;
		if (block->declared && block->page_size == 0) {
			ordinary_used = true;
			lengths |= block->used_length;
		}
	}
	ordinary = session->page_size_summary & ~listed;
	fits = (ordinary != 0) == ordinary_used;
	if (fits && ordinary_used)
		fits = (ordinary & (ordinary - 1)) == 0 && ordinary >= session->target_page_size &&
		       ordinary <= MR_PAGE_SIZE_MAX && (lengths & (ordinary - 1)) == 0;
	if (!fits)
		mr_report(
			checker, checker->main.summary, MR_CMD_008, mr_text("the OR of the blocks' page sizes"),
			mr_text("0x%" PRIx64 ", of which blocks list 0x%" PRIx64, session->page_size_summary, listed));
}

static void check_eos(struct mr_checker *checker, const struct mr_check_channel *channel, uint64_t offset)
{
	const struct mr_context *context = &checker->session->context;
	struct mr_check_main *main = &checker->main;

	if (main->listening)
		main->barrier_postcopy_ends++;
	else
		main->barrier_ends++;
	if (!main->in_ram_start)
		return;
	main->in_ram_start = false;
	if (!main->block_list)
		mr_report_as(checker, mr_place_at(channel, offset), MR_ACCEPTABLE, MR_RAM_007,
			     mr_text("the block list in the START section"), mr_text("none"));
	else if (main->summary_due && !(context->capabilities & MR_CAPABILITY_IGNORE_SHARED) &&
		 mr_profile_may(&context->profile, MR_SWITCH_ADVISE_SUMMARY))
		check_summary(checker);
	main->summary_due = false;
}

static void check_flush(struct mr_checker *checker, struct mr_place place, bool postcopy)
{
	const struct mr_context *context = &checker->session->context;

	checker->main.barrier_flushes++;
	if (!postcopy && !checker->multifd_count && context->capabilities_known &&
	    !(context->capabilities & MR_CAPABILITY_MULTIFD))
		mr_report(checker, place, MR_RAM_020, mr_text("ram-flush with multifd only"), mr_text("one without"));
}

void mr_check_ram(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record)
{
	const struct mr_place place = mr_place_at(channel, record->offset);
	const bool preempt = channel->role == MR_ROLE_PREEMPT;
	const bool postcopy = preempt || checker->main.listening;

	switch (record->kind) {
	case MR_RAM_SIZE:
		check_size(checker, place);
		break;
	case MR_RAM_ZERO:
	case MR_RAM_PAGE:
	case MR_RAM_XBZRLE:
	case MR_RAM_COMPRESSED:
		check_page(checker, channel, record, postcopy);
		break;
	case MR_RAM_FLUSH:
		if (!preempt)
			check_flush(checker, place, postcopy);
		break;
	case MR_RAM_EOS:
		if (preempt)
			mr_check_host_page_end(checker, channel);
		else
			check_eos(checker, channel, record->offset);
		break;
	case MR_RAM_HOOK:
		break;
	default:
		return;
	}
	if (postcopy)
		check_kind(checker, channel, record);
}
