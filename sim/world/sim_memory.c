/*
 * sim_memory.c: guest memory of both sides. What is kept of a page is its version, from which its contents follow; what
 * arrives is compared byte for byte with the version that it shows.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sim/world/sim_state.h"

static const char *block_name(const struct mr_sim *sim, uint32_t block)
{
	return sim->scenario->blocks[block].name;
}

static uint32_t page_size(const struct mr_sim *sim)
{
	return sim->scenario->guest.target_page_size;
}

static uint32_t source_version(const struct mr_sim *sim, uint32_t block, uint64_t page)
{
	const struct mr_page_entry *entry;

	if (!mr_bitmap_test(sim->blocks[block].touched, page))
		return 0;
	entry = mr_page_map_find(&sim->source_map, block, page);
	return entry ? entry->version : 0;
}

/* Of a page that is there: what it had when it was discarded is left in the map. */
static uint32_t destination_version(const struct mr_sim *sim, uint32_t block, uint64_t page)
{
	const struct mr_page_entry *entry = mr_page_map_find(&sim->destination_map, block, page);

	return entry ? entry->version : 0;
}

static void out_of_memory(struct mr_sim *sim)
{
	mr_sim_violate(sim, MR_PROPERTY_ACTION, "no memory for the pages of the simulation");
}

/* ---- The source's ---- */

/* The look of this step at the page; a new one if there was none. */
static struct sim_look *look_at(struct mr_sim *sim, uint32_t block, uint64_t page)
{
	struct sim_look *look;

	for (uint32_t tries = 0; tries < sim->look_count; tries++) {
		look = &sim->looks[sim->look_at];
		if (look->block == block && look->page == page)
			return look;
		sim->look_at = (sim->look_at + 1) % sim->look_count;
	}
	sim->look_at = sim->look_count < MR_PACKET_PAGES_MAX ? sim->look_count++ : 0;
	look = &sim->looks[sim->look_at];
	*look = (struct sim_look){.block = block, .page = page, .version = source_version(sim, block, page)};
	look->zero = mr_content_is_zero(&sim->content, block, page, look->version);
	if (!look->zero)
		mr_content_fill(&sim->content, block, page, look->version,
				sim->read_pages + (size_t)sim->look_at * page_size(sim), page_size(sim));
	return look;
}

static struct sim_look *look_and_tell(struct mr_sim *sim, uint32_t block, uint64_t offset)
{
	struct sim_look *look = look_at(sim, block, offset / page_size(sim));

	if (sim->watch.look)
		sim->watch.look(sim->watch.argument, block, offset);
	return look;
}

bool mr_sim_is_zero(void *argument, unsigned actor, uint32_t block, uint64_t offset)
{
	(void)actor;
	return look_and_tell(argument, block, offset)->zero;
}

const uint8_t *mr_sim_read_page(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	struct mr_sim *sim = argument;
	struct sim_look *here = look_and_tell(sim, block, offset);

	(void)actor;
	here->sent |= look == MR_LOOK_SEND;
	return here->zero ? sim->zero_page : sim->read_pages + (size_t)(here - sim->looks) * page_size(sim);
}

void mr_sim_dirty_source(struct mr_sim *sim, uint32_t block, uint64_t page)
{
	struct mr_page_entry *entry = mr_page_map_get(&sim->source_map, block, page);

	if (!entry) {
		out_of_memory(sim);
		return;
	}
	mr_bitmap_set(sim->blocks[block].touched, page, 1);
	entry->version++;
	if (entry->later < UINT16_MAX)
		entry->later++;
	sim->result.writes++;
	if (sim->logging)
		mr_bitmap_set(sim->blocks[block].logged, page, 1);
}

static int compare_pages(const void *one, const void *other)
{
	const struct sim_page *a = one, *b = other;

	if (a->block != b->block)
		return a->block < b->block ? -1 : 1;
	return a->page < b->page ? -1 : a->page > b->page;
}

static void hand_over(struct mr_sim *sim, uint32_t block, uint64_t first, uint64_t count)
{
	const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_DIRTY,
						    .block = block,
						    .start = first * page_size(sim),
						    .length = count * page_size(sim)};

	if (sim->watch.source)
		sim->watch.source(sim->watch.argument, &record, NULL);
	if (!mr_outgoing_dirty(sim->source, block, record.start, record.length))
		mr_sim_violate(sim, MR_PROPERTY_ACTION, "the source does not take dirty pages of %s at 0x%" PRIx64,
			       block_name(sim, block), record.start);
}

/* Pages that nobody wrote to: a log may say so of any page, at a cost alone. */
static void hand_over_spurious(struct mr_sim *sim)
{
	const uint32_t block = (uint32_t)mr_random_below(&sim->chance, sim->scenario->block_count);
	const uint64_t page = mr_random_below(&sim->chance, sim->blocks[block].pages);

	hand_over(sim, block, page, 1);
	mr_sim_saw(sim, MR_SOMETIMES_SPURIOUS);
}

void mr_sim_hand_over_log(struct mr_sim *sim)
{
	for (uint32_t block = 0; block < sim->scenario->block_count; block++) {
		const struct sim_block *here = &sim->blocks[block];
		uint64_t page = mr_bitmap_next_set(here->logged, here->pages, 0);

		while (page < here->pages) {
			const uint64_t end = mr_bitmap_next_clear(here->logged, here->pages, page);

			mr_bitmap_clear(here->logged, page, end - page);
			hand_over(sim, block, page, end - page);
			page = mr_bitmap_next_set(here->logged, here->pages, end);
		}
	}
	if (mr_random_permille(&sim->chance, sim->scenario->choices.spurious_dirty))
		hand_over_spurious(sim);
}

void mr_sim_source_page(const struct mr_sim *sim, uint32_t block, uint64_t page, uint8_t *out)
{
	mr_content_fill(&sim->content, block, page, source_version(sim, block, page), out, page_size(sim));
}

/* ---- What arrives ---- */

/* No page may change under a guest that sees it. */
static bool may_change(struct mr_sim *sim, uint32_t block, uint64_t page, const char *what)
{
	if (!sim->destination_runs || !mr_sim_is_there(sim, block, page))
		return true;
	mr_sim_violate(sim, MR_PROPERTY_NOTHING_OVERWRITTEN, "%s page 0x%" PRIx64 " is %s under the guest",
		       block_name(sim, block), page * page_size(sim), what);
	return false;
}

static void set_arrived(struct mr_sim *sim, uint32_t block, uint64_t page, uint32_t version)
{
	struct sim_block *here = &sim->blocks[block];
	struct mr_page_entry *entry;

	sim->result.page_events++;
	if (!mr_bitmap_test(here->arrived, page)) {
		mr_bitmap_set(here->arrived, page, 1);
		sim->arrived_pages++;
	}
	if (version == 0 && !mr_bitmap_test(here->touched, page))
		return;
	entry = mr_page_map_get(&sim->destination_map, block, page);
	if (entry)
		entry->version = version;
	else
		out_of_memory(sim);
}

/* The version of a page that is at the destination; 0 of one that is not. */
static uint32_t version_there(const struct mr_sim *sim, uint32_t block, uint64_t page)
{
	return mr_bitmap_test(sim->blocks[block].arrived, page) ? destination_version(sim, block, page) : 0;
}

/*
 * The version of a page that arrived as zero. All that are zero look alike: the oldest that is no older than what is
 * there, else the newest of all, which is older then.
 */
static bool zero_version(const struct mr_sim *sim, uint32_t block, uint64_t page, uint32_t *version)
{
	const uint32_t there = version_there(sim, block, page), last = source_version(sim, block, page);

	for (uint64_t i = there; i <= last; i++) {
		*version = (uint32_t)i;
		if (mr_content_is_zero(&sim->content, block, page, *version))
			return true;
	}
	for (*version = there; *version > 0;)
		if (mr_content_is_zero(&sim->content, block, page, --*version))
			return true;
	return false;
}

static bool identify(struct mr_sim *sim, uint32_t block, uint64_t page, const uint8_t *bytes, uint32_t *version)
{
	*version = mr_content_version(&sim->content, block, page, bytes, page_size(sim));
	if (*version == UINT32_MAX)
		return zero_version(sim, block, page, version);
	if (*version > source_version(sim, block, page))
		return false;
	mr_content_fill(&sim->content, block, page, *version, sim->check_page, page_size(sim));
	return memcmp(bytes, sim->check_page, page_size(sim)) == 0;
}

/* It takes the place of what is there, if that is not newer. */
static void replace(struct mr_sim *sim, uint32_t block, uint64_t page, uint32_t version)
{
	const uint32_t there = version_there(sim, block, page);

	if (version < there)
		mr_sim_violate(sim, MR_PROPERTY_NOT_OLDER,
			       "%s page 0x%" PRIx64 ": version %" PRIu32 " comes behind version %" PRIu32,
			       block_name(sim, block), page * page_size(sim), version, there);
	set_arrived(sim, block, page, version);
}

static void arrive(struct mr_sim *sim, uint32_t block, uint64_t page, const uint8_t *bytes)
{
	uint32_t version;

	if (!may_change(sim, block, page, "written"))
		return;
	if (identify(sim, block, page, bytes, &version))
		replace(sim, block, page, version);
	else
		mr_sim_violate(sim, MR_PROPERTY_CONTENT,
			       "%s page 0x%" PRIx64 ": expected what the source had of it, version %" PRIu32
			       " or an older one, found something else",
			       block_name(sim, block), page * page_size(sim), source_version(sim, block, page));
}

static void arrive_zero(struct mr_sim *sim, uint32_t block, uint64_t page)
{
	uint32_t version;

	if (!may_change(sim, block, page, "written"))
		return;
	if (zero_version(sim, block, page, &version))
		replace(sim, block, page, version);
	else
		mr_sim_violate(sim, MR_PROPERTY_CONTENT, "%s page 0x%" PRIx64 " is zero, and never was at the source",
			       block_name(sim, block), page * page_size(sim));
}

uint8_t *mr_sim_write_page(void *argument, uint32_t block, uint64_t offset)
{
	struct mr_sim *sim = argument;

	mr_sim_commit(sim);
	sim->writes_page = true;
	sim->written = (struct sim_page){block, offset / page_size(sim)};
	/* A difference is applied to what is there: zeros, if nothing has come. */
	if (!(sim->scenario->migration.capabilities & MR_CAPABILITY_XBZRLE))
		return sim->write_pages;
	if (mr_bitmap_test(sim->blocks[block].arrived, sim->written.page))
		mr_content_fill(&sim->content, block, sim->written.page,
				destination_version(sim, block, sim->written.page), sim->write_pages, page_size(sim));
	else
		memset(sim->write_pages, 0, page_size(sim));
	return sim->write_pages;
}

void mr_sim_write_zero(void *argument, uint32_t block, uint64_t offset)
{
	struct mr_sim *sim = argument;

	mr_sim_commit(sim);
	sim->result.pages_loaded++;
	arrive_zero(sim, block, offset / page_size(sim));
}

void mr_sim_commit(struct mr_sim *sim)
{
	if (!sim->writes_page)
		return;
	sim->writes_page = false;
	sim->result.pages_loaded++;
	arrive(sim, sim->written.block, sim->written.page, sim->write_pages);
}

int mr_sim_write_packet(struct mr_sim *sim, const struct mr_action *action)
{
	const struct mr_multifd_packet *packet = &action->packet.record;
	const uint32_t block = action->packet.block, size = page_size(sim);
	uint8_t *pages[MR_PACKET_PAGES_MAX];

	sim->packets_written += packet->normal_pages + packet->zero_pages > 0;
	if (block == UINT32_MAX)
		return 0;
	sim->result.pages_loaded += packet->normal_pages + packet->zero_pages;
	for (uint32_t i = 0; i < packet->normal_pages; i++)
		pages[i] = sim->write_pages + (size_t)i * size;
	if (!mr_receivers_unpack(&sim->receivers, action->packet.multifd, packet, size, pages))
		return HOST_EIO;
	for (uint32_t i = 0; i < packet->normal_pages; i++)
		arrive(sim, block, mr_multifd_offset(packet, i) / size, pages[i]);
	for (uint32_t i = 0; i < packet->zero_pages; i++)
		arrive_zero(sim, block, mr_multifd_offset(packet, packet->normal_pages + i) / size);
	return 0;
}

/* The page's version when it went out last; false: it never did, or that is too many writes ago to be known. */
static bool version_sent(const struct mr_sim *sim, uint32_t block, uint64_t page, uint32_t *version)
{
	const struct mr_page_entry *entry;

	*version = 0;
	if (!mr_bitmap_test(sim->blocks[block].sent, page))
		return false;
	if (!mr_bitmap_test(sim->blocks[block].touched, page))
		return true;
	entry = mr_page_map_find(&sim->source_map, block, page);
	*version = entry->version - entry->later;
	return entry->later < UINT16_MAX;
}

/* The page is there, and not in the version that went out last, nor in a later one, nor zero as that one. */
static bool is_older(const struct mr_sim *sim, uint32_t block, uint64_t page, uint32_t *is, uint32_t *sent)
{
	if (!mr_bitmap_test(sim->blocks[block].arrived, page) || !version_sent(sim, block, page, sent))
		return false;
	*is = destination_version(sim, block, page);
	return *is < *sent && !(mr_content_is_zero(&sim->content, block, page, *is) &&
				mr_content_is_zero(&sim->content, block, page, *sent));
}

static void check_page_not_older(struct mr_sim *sim, uint32_t block, uint64_t page)
{
	uint32_t is, sent;

	if (is_older(sim, block, page, &is, &sent))
		mr_sim_violate(sim, MR_PROPERTY_NOT_OLDER,
			       "%s page 0x%" PRIx64 ": version %" PRIu32 " went out last, found version %" PRIu32,
			       block_name(sim, block), page * page_size(sim), sent, is);
}

/* ---- Postcopy ---- */

static bool is_placed(struct mr_sim *sim, const struct mr_action_placed *placed)
{
	const uint64_t first = placed->offset / page_size(sim);

	for (uint64_t i = 0; i < placed->length / page_size(sim); i++)
		if (mr_bitmap_test(sim->blocks[placed->block].arrived, first + i))
			return true;
	return false;
}

int mr_sim_place(struct mr_sim *sim, const struct mr_action_placed *placed)
{
	const uint64_t first = placed->offset / page_size(sim), count = placed->length / page_size(sim);

	if (is_placed(sim, placed)) {
		mr_sim_violate(sim, MR_PROPERTY_PLACED_ONCE, "%s page 0x%" PRIx64 " is placed where one is",
			       block_name(sim, placed->block), placed->offset);
		return HOST_EEXIST;
	}
	sim->result.pages_placed += count;
	for (uint64_t i = 0; i < count; i++) {
		if (placed->zero)
			arrive_zero(sim, placed->block, first + i);
		else if (placed->data)
			arrive(sim, placed->block, first + i, placed->data + i * page_size(sim));
		else
			set_arrived(sim, placed->block, first + i, 0);
	}
	/* The source's guest stands: what went out last is what it has. */
	for (uint64_t i = 0; i < count; i++)
		check_page_not_older(sim, placed->block, first + i);
	mr_sim_wake_vcpus(sim, placed->block, first, count);
	return 0;
}

int mr_sim_discard(struct mr_sim *sim, const struct mr_action_range *range)
{
	struct sim_block *here = &sim->blocks[range->block];
	const uint64_t end = (range->start + range->length) / page_size(sim);
	uint64_t page = mr_bitmap_next_set(here->arrived, end, range->start / page_size(sim));

	for (; page < end; page = mr_bitmap_next_set(here->arrived, end, page + 1)) {
		if (!may_change(sim, range->block, page, "discarded"))
			return HOST_EIO;
		mr_bitmap_clear(here->arrived, page, 1);
		sim->arrived_pages--;
		sim->result.pages_discarded++;
		sim->result.page_events++;
		if (range->when == MR_POSTCOPY_DISCARD)
			mr_sim_saw(sim, MR_SOMETIMES_DISCARD);
	}
	return 0;
}

/* ---- The guest at the destination ---- */

bool mr_sim_is_there(const struct mr_sim *sim, uint32_t block, uint64_t page)
{
	return !sim->in_postcopy || mr_bitmap_test(sim->blocks[block].arrived, page);
}

/* Both sides have the page in the same version, or zero in both. */
static bool is_current(const struct mr_sim *sim, uint32_t block, uint64_t page, uint32_t *is, uint32_t *should_be)
{
	const bool there = mr_bitmap_test(sim->blocks[block].arrived, page);
	bool zero;

	*should_be = source_version(sim, block, page);
	*is = there ? destination_version(sim, block, page) : 0;
	if (there && *is == *should_be)
		return true;
	zero = !there || mr_content_is_zero(&sim->content, block, page, *is);
	return zero && mr_content_is_zero(&sim->content, block, page, *should_be);
}

void mr_sim_look_destination(struct mr_sim *sim, uint32_t block, uint64_t page)
{
	uint32_t is, should_be;

	if (!is_current(sim, block, page, &is, &should_be))
		mr_sim_violate(sim, MR_PROPERTY_STALE_DISCARDED,
			       "a vCPU sees %s page 0x%" PRIx64 ": expected version %" PRIu32 ", found %" PRIu32,
			       block_name(sim, block), page * page_size(sim), should_be, is);
}

void mr_sim_dirty_destination(struct mr_sim *sim, uint32_t block, uint64_t page)
{
	struct mr_page_entry *entry = mr_page_map_get(&sim->destination_map, block, page);

	sim->result.writes++;
	if (entry && entry->later < UINT16_MAX)
		entry->later++;
}

/* ---- Judgement ---- */

void mr_sim_check_not_older(struct mr_sim *sim)
{
	struct sim_page first = {NOBODY, 0};
	uint32_t is, sent;

	for (size_t i = 0; i < mr_page_map_slots(&sim->source_map); i++) {
		const struct mr_page_entry *entry = mr_page_map_at(&sim->source_map, i);
		struct sim_page here;

		if (!entry)
			continue;
		here = (struct sim_page){mr_page_entry_block(entry), mr_page_entry_page(entry)};
		if (compare_pages(&here, &first) < 0 && is_older(sim, here.block, here.page, &is, &sent))
			first = here;
	}
	if (first.block != NOBODY)
		check_page_not_older(sim, first.block, first.page);
}

/* Of all entries of either map the first page, in the order of blocks and pages, that is not as it should be. */
static bool find_difference(const struct mr_sim *sim, const struct mr_page_map *map, bool absent_too,
			    struct sim_page *found)
{
	bool any = false;

	for (size_t i = 0; i < mr_page_map_slots(map); i++) {
		const struct mr_page_entry *entry = mr_page_map_at(map, i);
		struct sim_page here;
		uint32_t is, should_be;

		if (!entry)
			continue;
		here = (struct sim_page){mr_page_entry_block(entry), mr_page_entry_page(entry)};
		if (!absent_too && !mr_bitmap_test(sim->blocks[here.block].arrived, here.page))
			continue;
		if (is_current(sim, here.block, here.page, &is, &should_be))
			continue;
		if (!any || compare_pages(&here, found) < 0)
			*found = here;
		any = true;
	}
	return any;
}

static void check(struct mr_sim *sim, bool absent_too, enum mr_property property)
{
	struct sim_page found;
	uint32_t is, should_be;

	if (!find_difference(sim, &sim->source_map, absent_too, &found) &&
	    !find_difference(sim, &sim->destination_map, absent_too, &found))
		return;
	is_current(sim, found.block, found.page, &is, &should_be);
	mr_sim_violate(sim, property, "%s page 0x%" PRIx64 ": expected version %" PRIu32 ", found %s%" PRIu32,
		       block_name(sim, found.block), found.page * page_size(sim), should_be,
		       mr_bitmap_test(sim->blocks[found.block].arrived, found.page) ? "" : "none, that is zero, not ",
		       is);
}

void mr_sim_check_stale(struct mr_sim *sim)
{
	check(sim, false, MR_PROPERTY_STALE_DISCARDED);
}

/* Pages that were never touched hold something, too. */
static void check_filled(struct mr_sim *sim)
{
	for (uint32_t block = 0; sim->content.filled && block < sim->scenario->block_count; block++) {
		const struct sim_block *here = &sim->blocks[block];
		uint64_t page = mr_bitmap_next_clear(here->arrived, here->pages, 0);

		for (; page < here->pages; page = mr_bitmap_next_clear(here->arrived, here->pages, page + 1)) {
			if (mr_content_is_zero(&sim->content, block, page, source_version(sim, block, page)))
				continue;
			mr_sim_violate(sim, MR_PROPERTY_ALL_THERE, "%s page 0x%" PRIx64 " is not there",
				       block_name(sim, block), page * page_size(sim));
			return;
		}
	}
}

void mr_sim_check_memory(struct mr_sim *sim)
{
	check(sim, true, MR_PROPERTY_MEMORY);
	check_filled(sim);
}
