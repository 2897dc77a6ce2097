/* source_plan.c: what is known of a recorded source before it runs: fetches of the dirty log, sections of packets. */
#include "sim/record/source_plan.h"

#include <stdlib.h>
#include <string.h>

static bool is_main(const struct mr_source_channel *channel)
{
	return channel->role == MR_ROLE_MAIN || channel->role == MR_ROLE_RECOVERY;
}

/* ---- The switch to postcopy ---- */

static uint32_t find_switch(const struct mr_source_world *world)
{
	uint32_t next = 0;

	for (size_t i = 0; i < world->channel_count; i++) {
		const struct mr_source_channel *channel = &world->channels[i];

		if (!is_main(channel) || channel->epoch)
			continue;
		for (size_t j = 0; j < channel->count; j++) {
			if (channel->records[j].section != MR_SOURCE_NONE)
				next = channel->records[j].section + 1;
			if (channel->records[j].kind == MR_COMMAND && channel->records[j].number == MR_COMMAND_PACKAGED)
				return next;
		}
	}
	return MR_SOURCE_NONE;
}

/* ---- Fetches of the dirty log ---- */

static int add_sync(struct mr_source_plan *plan, uint32_t section, bool asked)
{
	if (plan->sync_count == plan->sync_capacity) {
		const size_t capacity = 2 * plan->sync_capacity + 16;
		struct mr_source_sync *syncs = realloc(plan->syncs, capacity * sizeof(*syncs));

		if (!syncs)
			return -1;
		plan->syncs = syncs;
		plan->sync_capacity = capacity;
	}
	plan->syncs[plan->sync_count++] = (struct mr_source_sync){.section = section, .asked = asked};
	return 0;
}

/*
 * The trace tells each fetch, and each section but the first. Behind the moment where the guest was stopped it is the
 * course of things that fetches, up to 11.0 only when the END of precopy has begun.
 */
static int read_syncs(struct mr_source_plan *plan, const struct mr_source_trace *trace)
{
	bool set_up = false, stopped = false, ending = false;
	uint32_t next = 1;

	for (size_t i = 0; i < trace->count; i++) {
		const struct mr_source_line *line = &trace->lines[i];

		set_up |= line->kind == MR_SOURCE_LINE_SETUP_COMPLETE;
		stopped |= line->kind == MR_SOURCE_LINE_STOPPED;
		if (mr_source_line_begins_ram(line)) {
			next++;
			ending = stopped;
		}
		if (line->kind == MR_SOURCE_LINE_SYNC && add_sync(plan, next - ending, set_up && !stopped) < 0)
			return -1;
	}
	return 0;
}

/* Whether a section has a page again that was sent behind `since`. */
static void find_resends(const struct mr_source_world *world, uint32_t *resent)
{
	for (uint32_t block = 0; block < world->config.block_count; block++) {
		const uint64_t pages = world->config.blocks[block].used_length / world->config.target_page_size;

		for (uint64_t page = 0; world->heads[block] && page < pages; page++)
			for (uint32_t i = world->heads[block][page]; i != MR_SOURCE_NONE; i = world->sends[i].next) {
				const uint32_t next = world->sends[i].next;
				const uint32_t section = next == MR_SOURCE_NONE ? 0 : world->sends[next].section;

				/* one more than the section of the last time, 0 for none */
				if (section && section < world->section_count &&
				    resent[section] < world->sends[i].section + 1)
					resent[section] = world->sends[i].section + 1;
			}
	}
}

/* Without a trace: a fetch at the setup, at the last moment before it is needed, and where each source makes one. */
static int guess_syncs(struct mr_source_plan *plan, const struct mr_source_world *world)
{
	uint32_t *resent = calloc((size_t)world->section_count + 1, sizeof(*resent));
	uint32_t last = 0;
	int status = resent ? add_sync(plan, 1, false) : -1;

	if (resent)
		find_resends(world, resent);
	for (uint32_t section = 1; section < world->section_count && status == 0; section++) {
		const bool last_one = plan->switch_section == MR_SOURCE_NONE ? section + 1 == world->section_count
									     : section == plan->switch_section;

		if (section > plan->switch_section)
			break;
		if (last_one || resent[section] > last)
			status = add_sync(plan, last = section, !last_one);
	}
	free(resent);
	return status;
}

/* The last fetch before a section; MR_SOURCE_NONE if there is none. */
static uint32_t last_sync(const struct mr_source_plan *plan, uint32_t section)
{
	uint32_t last = MR_SOURCE_NONE;

	for (size_t i = 0; i < plan->sync_count && plan->syncs[i].section <= section; i++)
		last = (uint32_t)i;
	return last;
}

/* ---- Sections of packets ---- */

static bool is_each_section(const struct mr_source_world *world)
{
	return mr_profile_does(&world->config.profile, MR_SWITCH_FLUSH_EACH_SECTION);
}

/* The section of each FLUSH on the main channel; the last section behind the last. */
static uint32_t *find_flushes(const struct mr_source_world *world, size_t *count)
{
	uint32_t *sections = NULL;
	size_t capacity = 0;

	*count = 0;
	for (size_t i = 0; i < world->channel_count; i++)
		for (size_t j = 0; j < world->channels[i].count; j++) {
			if (world->channels[i].records[j].kind != MR_RAM_FLUSH)
				continue;
			if (*count == capacity) {
				uint32_t *larger = realloc(sections, (2 * capacity + 16) * sizeof(*sections));

				if (!larger) {
					free(sections);
					return NULL;
				}
				sections = larger;
				capacity = 2 * capacity + 16;
			}
			sections[(*count)++] = world->channels[i].records[j].section;
		}
	return sections;
}

/* What the trace says of packets: in which section a sender has had each by then. */
struct packet_lines {
	const struct mr_source_trace *trace;
	size_t at; /* line of the channel's last packet */
	uint32_t section;
};

static uint32_t section_by_trace(struct packet_lines *lines, uint32_t channel, uint64_t number)
{
	const struct mr_source_trace *trace = lines->trace;

	for (size_t i = lines->at; trace && i < trace->count; i++) {
		lines->section += mr_source_line_begins_ram(&trace->lines[i]);
		if (trace->lines[i].kind != MR_SOURCE_LINE_PACKET || trace->lines[i].channel != channel ||
		    trace->lines[i].value != number)
			continue;
		lines->at = i + 1;
		return lines->section;
	}
	return MR_SOURCE_NONE;
}

static void place_packets(struct mr_source_world *world, const struct mr_source_channel *channel,
			  const struct mr_source_trace *trace, const uint32_t *flushes, size_t flush_count)
{
	struct packet_lines lines = {.trace = trace};

	for (size_t i = 0; i < channel->count; i++) {
		const struct mr_source_record *record = &channel->records[i];
		uint32_t section, first, last;

		if (record->kind != MR_MULTIFD_PACKET)
			continue;
		section = section_by_trace(&lines, channel->id, record->value);
		if (!record->send_count)
			continue;
		const uint32_t interval = world->sends[record->first_send].interval;

		first = interval && interval <= flush_count ? flushes[interval - 1] : world->section_count - 1;
		last = interval < flush_count ? flushes[interval] : world->section_count - 1;
		if (interval == 0)
			first = 0;
		section = section > last ? last : section < first ? first : section;
		if (is_each_section(world))
			section = interval;
		for (uint32_t j = 0; j < record->send_count; j++)
			world->sends[record->first_send + j].section = section;
	}
}

static int compare_sends(const void *left, const void *right, void *sends)
{
	const struct mr_source_send *a = (const struct mr_source_send *)sends + *(const uint32_t *)left;
	const struct mr_source_send *b = (const struct mr_source_send *)sends + *(const uint32_t *)right;

	if (a->interval != b->interval)
		return a->interval < b->interval ? -1 : 1;
	if (a->block != b->block)
		return a->block < b->block ? -1 : 1;
	return a->page < b->page ? -1 : a->page > b->page;
}

/* All pages that have a section, in the order of the scan between two barriers. */
static uint32_t *order_sends(const struct mr_source_world *world, size_t *count)
{
	uint32_t *order = malloc((world->send_count + 1) * sizeof(*order));

	*count = 0;
	if (!order)
		return NULL;
	for (size_t i = 0; i < world->send_count; i++)
		if (world->sends[i].section != MR_SOURCE_NONE)
			order[(*count)++] = (uint32_t)i;
	qsort_r(order, *count, sizeof(*order), compare_sends, world->sends);
	return order;
}

/* From 9.0 on a packet is given away when the page behind it is queued: that page belongs to the same section. */
static void follow_packets(struct mr_source_world *world, const uint32_t *order, size_t count)
{
	uint32_t given = MR_SOURCE_NONE;

	for (size_t i = 1; i < count; i++) {
		const struct mr_source_send *before = &world->sends[order[i - 1]];
		struct mr_source_send *send = &world->sends[order[i]];

		if (before->packet == MR_SOURCE_NONE || send->packet == MR_SOURCE_NONE ||
		    before->interval != send->interval) {
			given = MR_SOURCE_NONE;
		} else if (before->packet != send->packet) {
			/* of the packet before, whose first page may belong to an earlier section yet */
			const uint32_t section = given == MR_SOURCE_NONE ? before->section : given;

			given = send->section;
			if (send->section > section)
				send->section = section;
			continue;
		}
		given = send->packet == before->packet && send->packet != MR_SOURCE_NONE ? send->section : given;
	}
}

/* Between two barriers of a pass the scan only goes forward: a page that comes before another was queued no later. */
static void level_sections(struct mr_source_world *world, const uint32_t *order, size_t count)
{
	uint32_t limit = MR_SOURCE_NONE;

	for (size_t i = count; i-- > 0;) {
		struct mr_source_send *send = &world->sends[order[i]];

		if (i + 1 < count && world->sends[order[i + 1]].interval != send->interval)
			limit = MR_SOURCE_NONE;
		if (send->packet != MR_SOURCE_NONE && send->section > limit)
			send->section = limit;
		limit = send->section;
	}
}

/* A page that comes again in a later pass was dirtied in between: it was queued before the last fetch. */
static void separate_passes(const struct mr_source_plan *plan, struct mr_source_world *world)
{
	for (size_t i = 0; i < world->send_count; i++) {
		struct mr_source_send *before = &world->sends[i];
		const struct mr_source_send *send = before->next == MR_SOURCE_NONE ? NULL : &world->sends[before->next];
		uint32_t sync;

		if (!send || before->packet == MR_SOURCE_NONE || before->interval == send->interval)
			continue;
		sync = last_sync(plan, send->section);
		if (sync != MR_SOURCE_NONE && before->section >= plan->syncs[sync].section)
			before->section = plan->syncs[sync].section - 1;
	}
}

static int place_all_packets(struct mr_source_plan *plan, struct mr_source_world *world,
			     const struct mr_source_trace *trace)
{
	size_t flush_count, count;
	uint32_t *flushes = find_flushes(world, &flush_count);
	uint32_t *order;
	bool any = false;

	if (!flushes && flush_count)
		return -1;
	for (size_t i = 0; i < world->channel_count; i++)
		if (world->channels[i].role == MR_ROLE_MULTIFD) {
			place_packets(world, &world->channels[i], trace, flushes, flush_count);
			any = true;
		}
	free(flushes);
	if (!any || is_each_section(world))
		return 0;
	order = order_sends(world, &count);
	if (!order)
		return -1;
	if (!mr_profile_does(&world->config.profile, MR_SWITCH_PACKET_FILL_EAGER))
		follow_packets(world, order, count);
	separate_passes(plan, world);
	level_sections(world, order, count);
	free(order);
	return 0;
}

/* ---- Ends of sections ---- */

static int read_ends(struct mr_source_plan *plan, const struct mr_source_world *world,
		     const struct mr_source_trace *trace)
{
	uint32_t section = 0;

	plan->exhausted = calloc((size_t)world->section_count + 1, sizeof(*plan->exhausted));
	for (size_t i = 0; plan->exhausted && i < trace->count; i++) {
		const struct mr_source_line *line = &trace->lines[i];

		section += mr_source_line_begins_ram(line);
		if (line->kind == MR_SOURCE_LINE_SECTION_END && mr_bytes_equal_string(line->text, "ram") &&
		    section < world->section_count)
			plan->exhausted[section] = line->positive;
	}
	return plan->exhausted ? 0 : -1;
}

/* Where pages of a section lie among all, by the order of the list. */
struct extent {
	bool any, ahead; /* pages at all; behind the last one of the section before */
	uint32_t first_block, last_block;
	uint64_t first, last;
};

static bool is_behind(uint32_t block, uint64_t page, uint32_t other_block, uint64_t other)
{
	return block > other_block || (block == other_block && page > other);
}

static void extend(struct extent *extent, const struct extent *before, const struct mr_source_send *send)
{
	if (!extent->any) {
		extent->any = true;
		extent->first_block = send->block;
		extent->first = send->page;
	}
	extent->last_block = send->block;
	extent->last = send->page;
	extent->ahead |= before->any && is_behind(send->block, send->page, before->last_block, before->last);
}

/*
 * Without a trace: a section that goes back to the front although it has pages that lie ahead of where the one before
 * it ended was not gone on with, but begun anew: nothing had been dirty.
 */
static int guess_ends(struct mr_source_plan *plan, const struct mr_source_world *world)
{
	struct extent *extents = calloc((size_t)world->section_count + 1, sizeof(*extents));

	plan->exhausted = calloc((size_t)world->section_count + 1, sizeof(*plan->exhausted));
	for (size_t i = 0; extents && plan->exhausted && i < world->send_count; i++) {
		const uint32_t section = world->sends[i].section;

		if (section && section < world->section_count)
			extend(&extents[section], &extents[section - 1], &world->sends[i]);
	}
	for (uint32_t section = 1; extents && plan->exhausted && section < world->section_count; section++) {
		const struct extent *before = &extents[section - 1], *here = &extents[section];

		plan->exhausted[section - 1] =
			before->any && here->ahead &&
			!is_behind(here->first_block, here->first, before->last_block, before->last);
	}
	free(extents);
	return plan->exhausted ? 0 : -1;
}

/* ---- Dirty pages ---- */

static int add_dirty(struct mr_source_plan *plan, const struct mr_source_dirty *page)
{
	if (plan->dirty_count == plan->dirty_capacity) {
		const size_t capacity = 2 * plan->dirty_capacity + 1024;
		struct mr_source_dirty *dirty = realloc(plan->dirty, capacity * sizeof(*dirty));

		if (!dirty)
			return -1;
		plan->dirty = dirty;
		plan->dirty_capacity = capacity;
	}
	plan->dirty[plan->dirty_count++] = *page;
	return 0;
}

/* What is sent twice behind the switch was lost on the way: it is dirty since the recovery, not since a fetch. */
static bool is_lost(const struct mr_source_plan *plan, const struct mr_source_send *before)
{
	return before->section == MR_SOURCE_NONE || before->section >= plan->switch_section;
}

static int find_dirty(struct mr_source_plan *plan, struct mr_source_world *world)
{
	for (size_t i = 0; i < world->send_count; i++) {
		const struct mr_source_send *before = &world->sends[i];
		struct mr_source_send *send = before->next == MR_SOURCE_NONE ? NULL : &world->sends[before->next];

		/* The same page twice between two barriers is the last page of a full packet come again. */
		if (!send || is_lost(plan, before) ||
		    (before->packet != MR_SOURCE_NONE && send->packet != MR_SOURCE_NONE &&
		     before->interval == send->interval))
			continue;
		send->dirtied = last_sync(plan, send->section);
		if (send->dirtied != MR_SOURCE_NONE &&
		    add_dirty(plan, &(struct mr_source_dirty){.sync = send->dirtied,
							      .block = send->block,
							      .page = send->page,
							      .section = send->section}) < 0)
			return -1;
	}
	return 0;
}

/* The trace shows a page, then that nothing of it had to be sent. */
static int find_unchanged(struct mr_source_plan *plan, const struct mr_source_world *world,
			  const struct mr_source_trace *trace)
{
	const struct mr_source_line *page = NULL;
	struct mr_source_dirty dirty = {.unchanged = true};

	for (size_t i = 0; i < trace->count; i++) {
		const struct mr_source_line *line = &trace->lines[i];

		dirty.section += mr_source_line_begins_ram(line);
		if (line->kind == MR_SOURCE_LINE_PAGE)
			page = line;
		if (line->kind != MR_SOURCE_LINE_SKIPPED || !page)
			continue;
		dirty.sync = last_sync(plan, dirty.section);
		dirty.block = mr_source_find_block(&world->config, page->text);
		dirty.page = page->offset / world->config.target_page_size;
		if (dirty.sync != MR_SOURCE_NONE && dirty.block < world->config.block_count &&
		    page->offset < world->config.blocks[dirty.block].used_length && add_dirty(plan, &dirty) < 0)
			return -1;
	}
	return 0;
}

static int compare_dirty(const void *left, const void *right)
{
	const struct mr_source_dirty *a = left, *b = right;

	if (a->sync != b->sync)
		return a->sync < b->sync ? -1 : 1;
	if (a->block != b->block)
		return a->block < b->block ? -1 : 1;
	return a->page < b->page ? -1 : a->page > b->page;
}

static void sort_dirty(struct mr_source_plan *plan)
{
	if (plan->dirty_count)
		qsort(plan->dirty, plan->dirty_count, sizeof(*plan->dirty), compare_dirty);
	for (size_t i = plan->dirty_count; i-- > 0;) {
		plan->syncs[plan->dirty[i].sync].first = i;
		plan->syncs[plan->dirty[i].sync].count++;
	}
}

/* ---- The guest's operator ---- */

/* The state in which the guest was when the machine stopped it: behind its length, in globalstate. */
static bool was_paused(const struct mr_source_world *world)
{
	static const char paused[] = "paused";
	uint32_t id = MR_SOURCE_NONE;

	for (size_t i = 0; i < world->header_count; i++)
		if (strcmp(world->headers[i].idstr, "globalstate") == 0)
			id = world->headers[i].id;
	for (size_t i = 0; i < world->body_count; i++)
		if (world->bodies[i].id == id && world->bodies[i].length >= 4 + sizeof(paused))
			return memcmp(world->bodies[i].data + 4, paused, sizeof(paused)) == 0;
	return false;
}

static const struct mr_source_channel *first_main(const struct mr_source_world *world)
{
	for (size_t i = 0; i < world->channel_count; i++)
		if (is_main(&world->channels[i]) && world->channels[i].epoch == 0)
			return &world->channels[i];
	return NULL;
}

/* Bytes of precopy that statistics count, pages and the ends of PARTs, until there are `enough`: at `offset`. */
static uint64_t count_precopy(const struct mr_source_plan *plan, const struct mr_source_channel *main, uint64_t enough,
			      uint64_t *offset)
{
	uint64_t counted = 0;
	bool in_part = false;

	*offset = 0;
	for (size_t i = 0; i < main->count && counted < enough; i++) {
		const struct mr_source_record *record = &main->records[i];
		const bool is_page =
			record->kind == MR_RAM_ZERO || record->kind == MR_RAM_PAGE || record->kind == MR_RAM_XBZRLE;

		if (record->section != MR_SOURCE_NONE && record->section >= plan->switch_section)
			break;
		if (record->kind == MR_SECTION_PART || record->kind == MR_SECTION_END)
			in_part = record->kind == MR_SECTION_PART;
		counted += is_page || (in_part && record->kind == MR_RAM_EOS) ? record->length : 0;
		*offset = record->offset + record->length;
	}
	return counted;
}

/* The operator stopped the guest when all of precopy was out but for what counts as sent while it stood. */
static void find_stop(struct mr_source_plan *plan, const struct mr_source_world *world)
{
	const struct mr_source_channel *main = first_main(world);
	const json_t *source = json_object_get(world->recording->manifest, "source");
	const json_t *told = json_object_get(json_object_get(source, "ram"), "downtime-bytes");
	const json_int_t down = json_is_integer(told) ? json_integer_value(told) : 0;
	uint64_t all;

	plan->stops = main && was_paused(world);
	if (!plan->stops)
		return;
	all = count_precopy(plan, main, UINT64_MAX, &plan->stop_offset);
	count_precopy(plan, main, down < 0 || (uint64_t)down > all ? 0 : all - (uint64_t)down, &plan->stop_offset);
}

static int make_by_trace(struct mr_source_plan *plan, struct mr_source_world *world,
			 const struct mr_source_trace *trace)
{
	if (read_syncs(plan, trace) < 0 || read_ends(plan, world, trace) < 0 ||
	    place_all_packets(plan, world, trace) < 0)
		return -1;
	return find_unchanged(plan, world, trace);
}

static int make_by_bytes(struct mr_source_plan *plan, struct mr_source_world *world)
{
	if (place_all_packets(plan, world, NULL) < 0 || guess_syncs(plan, world) < 0)
		return -1;
	return guess_ends(plan, world);
}

int mr_source_plan_make(struct mr_source_plan *plan, struct mr_source_world *world, const struct mr_source_trace *trace)
{
	*plan = (struct mr_source_plan){.switch_section = find_switch(world)};
	if ((trace ? make_by_trace(plan, world, trace) : make_by_bytes(plan, world)) < 0 || find_dirty(plan, world) < 0)
		return -1;
	sort_dirty(plan);
	find_stop(plan, world);
	return 0;
}

void mr_source_plan_clear(struct mr_source_plan *plan)
{
	free(plan->syncs);
	free(plan->dirty);
	free(plan->exhausted);
	*plan = (struct mr_source_plan){0};
}
