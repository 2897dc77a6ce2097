/* source_derive.c: the log of a source that really ran, from its bytes and its trace. */
#include "sim/record/source_derive.h"
#include "sim/record/source_answers.h"
#include "sim/record/source_plan.h"

#include <stdlib.h>
#include <string.h>

enum {
	ERROR_PIPE = 32,
	TURNS_IDLE_MAX = 8,    /* times that nobody makes an action, until it is over */
	STALLED_MAX = 1 << 14, /* actions that make nothing of the recording, until it is over */
};

/* A message of the return path that was taken and asks for pages: it may wait in the machine's queue. */
struct request {
	uint32_t block;
	uint64_t start, length;
};

/* The return path of the last main connection, message by message. */
struct messages {
	struct mr_session *session;
	struct mr_decoder *decoder;
	uint32_t channel;
	uint64_t offset; /* behind the last one that was taken */
	bool there;      /* `next` is decoded, and not taken yet */
	struct mr_record next;
	bool ended;
	bool looked; /* `answer` is that to `next`; NULL if the trace shows none */
	const struct mr_source_answer *answer;
};

/* A place among all pages. */
struct spot {
	bool there;
	uint32_t block;
	uint64_t page;
};

struct derive {
	struct mr_source_log *log;
	struct mr_source_given *given;
	struct mr_source_world *world;
	const struct mr_source_trace *trace;
	struct mr_source_plan plan;
	struct messages messages;
	struct request *requests;
	size_t request_first, request_count, request_capacity;
	uint32_t sync;    /* fetches of the dirty log so far */
	uint32_t section; /* `ram` sections begun so far */
	bool postcopy_asked;
	bool guest_stopped; /* by its operator */
	uint64_t pages;     /* PAGE records on this main connection, and its preempt channel, behind the switch */
	uint64_t begun;     /* host pages that were begun there, or gone on with */
	struct mr_source_answers answers;
	size_t answer_at; /* behind the answer to the last request that was taken: they are answered in their order */
	/* the last page that the migration thread sent */
	bool page_sent, page_urgent;
	bool page_just_sent; /* by the last step */
	bool section_has_pages;
	struct spot broken; /* 7.1, 7.2: the rest of a huge page that was interrupted */
	uint32_t page_block;
	uint64_t page_offset;
	/* of each channel: record behind the last packet that was given away, and of all channels the last one */
	size_t *claimed;
	uint32_t claimed_channel;
	uint32_t *dropped;    /* of each channel: packets that were given away and will never be written */
	uint64_t next_number; /* of packets, where senders give them */
	size_t trace_at;      /* line of the last page that the trace showed on the main channel */
	uint64_t requests_taken;
	size_t trace_request; /* line of the request that is taken next */
	bool no_memory;
};

/* ---- The log ---- */

static void note(struct derive *derive, const struct mr_source_log_record *record)
{
	if (mr_source_log_append(derive->log, record) < 0)
		derive->no_memory = true;
}

static void note_step(struct derive *derive, unsigned actor, bool acted)
{
	note(derive, &(struct mr_source_log_record){
			     .kind = acted ? MR_SOURCE_LOG_STEP : MR_SOURCE_LOG_WAIT, .actor = actor, .count = 1});
}

static void command(struct derive *derive, enum mr_source_command which)
{
	note(derive, &(struct mr_source_log_record){.kind = MR_SOURCE_LOG_COMMAND, .command = which});
	mr_source_world_command(derive->world, which);
}

/* ---- What comes next in the recording ---- */

static struct mr_source_channel *main_channel(const struct derive *derive)
{
	return derive->world->main == MR_SOURCE_NONE ? NULL : &derive->world->channels[derive->world->main];
}

static const struct mr_source_record *ahead(const struct mr_source_channel *channel, size_t records)
{
	const size_t at = channel ? channel->at + records : 0;

	return channel && at < channel->count ? &channel->records[at] : NULL;
}

static bool is_kind(const struct mr_source_record *record, enum mr_kind kind)
{
	return record && record->kind == kind;
}

static bool is_page(const struct mr_source_record *record)
{
	return is_kind(record, MR_RAM_ZERO) || is_kind(record, MR_RAM_PAGE) || is_kind(record, MR_RAM_XBZRLE);
}

static struct mr_source_channel *preempt_channel(const struct derive *derive)
{
	for (size_t i = 0; i < derive->world->channel_count; i++) {
		struct mr_source_channel *channel = &derive->world->channels[i];

		if (channel->role == MR_ROLE_PREEMPT && channel->taken && channel->epoch == derive->world->epoch)
			return channel;
	}
	return NULL;
}

/* The next page of the preempt channel, if one comes. */
static const struct mr_source_record *next_urgent(const struct derive *derive)
{
	const struct mr_source_record *record = ahead(preempt_channel(derive), 0);

	return is_page(record) ? record : NULL;
}

static bool is_switch_command(const struct mr_source_record *record)
{
	return is_kind(record, MR_COMMAND) &&
	       (record->number == MR_COMMAND_POSTCOPY_RAM_DISCARD || record->number == MR_COMMAND_PACKAGED ||
		record->number == MR_COMMAND_PING);
}

/* The switch to postcopy comes next; 10.1 and later begin it with a PART that has no pages. */
static bool is_switch_next(const struct derive *derive)
{
	const struct mr_source_channel *channel = main_channel(derive);
	size_t i = 0;

	if (derive->section != derive->plan.switch_section &&
	    (derive->section + 1 != derive->plan.switch_section ||
	     !mr_profile_does(&derive->world->config.profile, MR_SWITCH_POSTCOPY_EXTRA_PART)))
		return false;
	if (is_kind(ahead(channel, 0), MR_SECTION_PART)) {
		for (i = 1; ahead(channel, i) && !is_kind(ahead(channel, i), MR_SECTION_FOOTER); i++)
			if (is_page(ahead(channel, i)))
				return false;
		i++;
	}
	if (is_kind(ahead(channel, i), MR_COMMAND) && ahead(channel, i)->number == MR_COMMAND_SWITCHOVER_START)
		i++;
	return is_switch_command(ahead(channel, i));
}

/* ---- What the machine would send next ---- */

static bool is_dirty(const struct derive *derive, uint32_t block, uint64_t page)
{
	uint64_t pages = 0;
	const uint64_t *dirty = mr_outgoing_dirty_bits(derive->world->outgoing, block, &pages);

	return dirty && page < pages && mr_bitmap_test(dirty, page);
}

static bool next_in(const struct derive *derive, uint32_t block, uint64_t from, uint64_t end, uint64_t *page)
{
	uint64_t pages = 0;
	const uint64_t *dirty = mr_outgoing_dirty_bits(derive->world->outgoing, block, &pages);

	if (!dirty || from >= pages)
		return false;
	if (end > pages)
		end = pages;
	*page = mr_bitmap_next_set(dirty, end, from);
	return *page < end;
}

/* The next dirty page from a place on, around the end of the list. */
static struct spot next_from(const struct derive *derive, uint32_t block, uint64_t page)
{
	const uint32_t count = derive->world->config.block_count;
	struct spot spot = {.there = true};

	for (uint32_t i = 0; i <= count; i++) {
		spot.block = (block + i) % count;
		if (next_in(derive, spot.block, i ? 0 : page, UINT64_MAX, &spot.page))
			return spot;
	}
	return (struct spot){.there = false};
}

/* By the scan alone: a huge page that was interrupted, else from its cursor on. */
static struct spot next_by_scan(const struct derive *derive)
{
	uint32_t block;
	uint64_t offset;

	if (derive->broken.there)
		return derive->broken;
	mr_outgoing_cursor(derive->world->outgoing, &block, &offset);
	return next_from(derive, block, offset / derive->world->config.target_page_size);
}

/* The next dirty page up to the end of the list. */
static struct spot next_behind(const struct derive *derive, struct spot spot)
{
	for (spot.page++; spot.block < derive->world->config.block_count; spot.block++, spot.page = 0)
		if (next_in(derive, spot.block, spot.page, UINT64_MAX, &spot.page))
			return spot;
	return (struct spot){.there = false};
}

/* The rest of a huge page that was begun. */
static struct spot next_in_host_page(const struct derive *derive)
{
	const struct mr_outgoing_config *config = &derive->world->config;
	struct spot spot = {.block = derive->page_block};
	uint64_t pages;

	if (!derive->page_sent)
		return spot;
	pages = config->blocks[spot.block].page_size / config->target_page_size;
	if (pages > 1) {
		const uint64_t page = derive->page_offset / config->target_page_size;

		spot.there = next_in(derive, spot.block, page, (page / pages + 1) * pages, &spot.page);
	}
	return spot;
}

/* 7.1, 7.2: the migration thread sends urgent pages, too. */
static bool serves_in_one_thread(const struct derive *derive)
{
	return mr_profile_does(&derive->world->config.profile, MR_SWITCH_PREEMPT_SHARED_NAME) &&
	       preempt_channel(derive);
}

/* What the requests ask for that wait; those that came to nothing are dropped. */
static struct spot next_by_request(struct derive *derive)
{
	const uint32_t page_size = derive->world->config.target_page_size;
	struct spot spot = {.there = false};

	while (derive->request_first < derive->request_count) {
		const struct request *request = &derive->requests[derive->request_first];

		spot.block = request->block;
		spot.there = next_in(derive, request->block, request->start / page_size,
				     (request->start + request->length) / page_size, &spot.page);
		if (spot.there)
			break;
		derive->request_first++;
	}
	return spot;
}

static struct spot next_spot(struct derive *derive)
{
	struct spot spot = next_in_host_page(derive);

	if (!spot.there)
		spot = next_by_request(derive);
	return spot.there ? spot : next_by_scan(derive);
}

static bool is_at(const struct derive *derive, struct spot spot, const struct mr_source_record *record)
{
	return spot.there && record->block == spot.block &&
	       record->address == spot.page * derive->world->config.target_page_size;
}

/* ---- Choices ---- */

static const struct mr_source_channel *sender_channel(const struct derive *derive, unsigned id)
{
	for (size_t i = 0; i < derive->world->channel_count; i++)
		if (derive->world->channels[i].role == MR_ROLE_MULTIFD && derive->world->channels[i].taken &&
		    derive->world->channels[i].id == id)
			return &derive->world->channels[i];
	return NULL;
}

static bool is_sync_due(const struct derive *derive)
{
	const struct mr_source_plan *plan = &derive->plan;

	return derive->sync < plan->sync_count && plan->syncs[derive->sync].asked &&
	       plan->syncs[derive->sync].section == derive->section;
}

static uint64_t choose_turn(struct derive *derive, uint64_t canonical)
{
	const struct mr_source_record *next = ahead(main_channel(derive), 0);

	if (is_sync_due(derive))
		return MR_TURN_EXACT;
	if (is_switch_next(derive))
		return MR_TURN_POSTCOPY;
	/* Behind what was recorded of a stream that was cut, it just goes on. */
	if (!next && derive->section > derive->plan.switch_section)
		return canonical;
	return !next || is_kind(next, MR_SECTION_PART) ? MR_TURN_ITERATE : MR_TURN_COMPLETE;
}

/*
 * No page of this section is left: either the time or the bandwidth of the section was used up, or a scan found that
 * nothing is dirty, which leaves it at another place. Where a scan of all pages writes FLUSH, it shows.
 */
static uint64_t choose_last_scan(const struct derive *derive)
{
	const struct mr_outgoing_config *config = &derive->world->config;
	const bool *exhausted = derive->plan.exhausted;

	if ((config->capabilities & MR_CAPABILITY_MULTIFD) &&
	    mr_profile_does(&config->profile, MR_SWITCH_FLUSH_RECORD) &&
	    !mr_profile_does(&config->profile, MR_SWITCH_FLUSH_EACH_SECTION))
		return 1;
	return derive->section && derive->section <= derive->world->section_count && !exhausted[derive->section - 1];
}

/* A page that is not sent since it did not change is looked at in this section, as the trace has it. */
static bool is_unchanged_here(const struct derive *derive, struct spot spot)
{
	const struct mr_source_sync *sync = derive->sync ? &derive->plan.syncs[derive->sync - 1] : NULL;
	size_t low = sync && derive->sync <= derive->plan.sync_count ? sync->first : 0;
	size_t high = sync && derive->sync <= derive->plan.sync_count ? sync->first + sync->count : 0;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const struct mr_source_dirty *dirty = &derive->plan.dirty[middle];

		if (dirty->block == spot.block && dirty->page == spot.page)
			return dirty->unchanged && dirty->section < derive->section;
		if (dirty->block < spot.block || (dirty->block == spot.block && dirty->page < spot.page))
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* On the main channel the mark itself tells; pages in packets, and those that are skipped, have sections of their own.
 */
static uint64_t choose_end(struct derive *derive)
{
	const bool multifd = derive->world->config.capabilities & MR_CAPABILITY_MULTIFD;
	const struct mr_source_record *next = ahead(main_channel(derive), 0);
	struct spot spot = next_by_scan(derive);

	if (next ? next->kind != MR_RAM_EOS : derive->section > derive->plan.switch_section)
		return 0;
	/* It was taken since it is served here. */
	if (derive->section > derive->plan.switch_section && serves_in_one_thread(derive) &&
	    next_by_request(derive).there)
		return 0;
	if (!spot.there)
		return choose_last_scan(derive);
	if (derive->section > derive->plan.switch_section)
		return 1;
	/* Pages that never stood in a stream, since a packet was dropped or a recording cut, belong to those behind. */
	for (; spot.there; spot = next_behind(derive, spot)) {
		const struct mr_source_send *send = mr_source_world_next_send(derive->world, spot.block, spot.page);

		if (send && send->unchanged)
			return !is_unchanged_here(derive, spot);
		if (send)
			return !multifd || (send->section != MR_SOURCE_NONE && send->section >= derive->section);
	}
	return 1;
}

/* The page that the scan is at is being queued, and gives the packet before it away. */
static bool is_at_hand(const struct derive *derive, const struct mr_source_send *send)
{
	uint32_t block;
	uint64_t offset;

	mr_outgoing_cursor(derive->world->outgoing, &block, &offset);
	return send->block == block && (send->page + 1) * derive->world->config.target_page_size == offset;
}

/* All pages of a packet were queued: none of them is dirty any more, or it is dirty for the next time already. */
static bool is_queued(const struct derive *derive, const struct mr_source_record *record)
{
	const struct mr_source_send *sends = derive->world->sends;

	for (uint32_t i = 0; i < record->send_count; i++) {
		const struct mr_source_send *send = &sends[record->first_send + i];
		const uint32_t again = send->next == MR_SOURCE_NONE ? MR_SOURCE_NONE : sends[send->next].dirtied;

		if (mr_profile_does(&derive->world->config.profile, MR_SWITCH_ZERO_PAGES_DROPPED) &&
		    is_at_hand(derive, send))
			return false;
		if (is_dirty(derive, send->block, send->page) && (again == MR_SOURCE_NONE || again >= derive->sync))
			return false;
	}
	return true;
}

/* The next packet with pages of a channel that was not given to it yet. */
static const struct mr_source_record *unclaimed(const struct derive *derive, const struct mr_source_channel *channel)
{
	size_t i = derive->claimed[channel->number];

	while (i < channel->count && channel->records[i].send_count == 0)
		i++;
	return i < channel->count ? &channel->records[i] : NULL;
}

static uint32_t interval_of(const struct derive *derive, const struct mr_source_record *record)
{
	return derive->world->sends[record->first_send].interval;
}

static bool is_before(const struct derive *derive, const struct mr_source_record *a, const struct mr_source_record *b)
{
	if (interval_of(derive, a) != interval_of(derive, b))
		return interval_of(derive, a) < interval_of(derive, b);
	if (a->block != b->block)
		return a->block < b->block;
	return a->address < b->address;
}

/*
 * A packet that is made and never written goes to the free sender whose next packet comes last, so that no other one
 * waits for it. What tells of it are the numbers of those that are written.
 */
static uint64_t choose_for_dropped(struct derive *derive, uint64_t canonical)
{
	const struct mr_source_channel *best = NULL;

	for (unsigned i = 0; i < derive->world->config.multifd_channels; i++) {
		const struct mr_source_channel *channel = sender_channel(derive, i);
		const struct mr_source_record *next = ahead(channel, 0);

		if (!channel || derive->dropped[channel->number] || derive->claimed[channel->number] > channel->at)
			continue;
		if (!best || !next || (ahead(best, 0) && next->value > ahead(best, 0)->value))
			best = channel;
	}
	if (!best)
		return canonical;
	derive->dropped[best->number]++;
	return best->id;
}

static uint64_t choose_channel(struct derive *derive, uint64_t canonical)
{
	const struct mr_source_record *first = NULL;
	const struct mr_source_channel *of = NULL;

	for (size_t i = 0; i < derive->world->channel_count; i++) {
		const struct mr_source_channel *channel = &derive->world->channels[i];
		const struct mr_source_record *record =
			channel->role == MR_ROLE_MULTIFD ? unclaimed(derive, channel) : NULL;

		if (!record || !is_queued(derive, record) || (first && !is_before(derive, record, first)))
			continue;
		first = record;
		of = channel;
	}
	if (!of)
		return choose_for_dropped(derive, canonical);
	derive->claimed[of->number] = (size_t)(first - of->records) + 1;
	derive->claimed_channel = of->number;
	return of->id;
}

static uint64_t choose_repeat(struct derive *derive)
{
	const struct mr_source_channel *last = &derive->world->channels[derive->claimed_channel];
	const struct mr_source_send *sends = derive->world->sends;
	const struct mr_source_record *packet;
	const struct mr_source_send *page;

	if (derive->claimed[derive->claimed_channel] == 0)
		return 0;
	packet = &last->records[derive->claimed[derive->claimed_channel] - 1];
	page = &sends[packet->first_send + packet->send_count - 1];
	for (size_t i = 0; i < derive->world->channel_count; i++) {
		const struct mr_source_channel *channel = &derive->world->channels[i];
		const struct mr_source_record *next =
			channel->role == MR_ROLE_MULTIFD ? unclaimed(derive, channel) : NULL;

		if (next && interval_of(derive, next) == interval_of(derive, packet) &&
		    sends[next->first_send].block == page->block && sends[next->first_send].page == page->page)
			return 1;
	}
	return 0;
}

static uint64_t choose(void *argument, enum mr_choice choice, uint64_t canonical)
{
	struct derive *derive = argument;
	uint64_t answer = canonical;

	switch (choice) {
	case MR_CHOICE_TURN:
		answer = choose_turn(derive, canonical);
		derive->given->turns++;
		break;
	case MR_CHOICE_SYNC:
		answer = is_sync_due(derive);
		derive->given->syncs++;
		break;
	case MR_CHOICE_SECTION_ENDS:
		answer = choose_end(derive);
		derive->given->sections += answer;
		break;
	case MR_CHOICE_CHANNEL:
		answer = choose_channel(derive, canonical);
		derive->given->channels++;
		break;
	case MR_CHOICE_REPEAT:
		answer = choose_repeat(derive);
		derive->given->repeats++;
		break;
	default:
		break;
	}
	note(derive, &(struct mr_source_log_record){
			     .kind = MR_SOURCE_LOG_CHOOSE, .choice = choice, .answer = answer, .count = 1});
	return answer;
}

/* ---- The dirty log ---- */

/* What the next fetch finds is told as soon as the one before is over; pages in a row are one range. */
static void prepare_dirty(struct derive *derive)
{
	const uint64_t page_size = derive->world->config.target_page_size;
	const struct mr_source_plan *plan = &derive->plan;
	const struct mr_source_sync *sync = derive->sync < plan->sync_count ? &plan->syncs[derive->sync] : NULL;

	for (size_t i = 0; sync && i < sync->count;) {
		const struct mr_source_dirty *first = &plan->dirty[sync->first + i];
		uint64_t pages = 1;

		while (i + pages < sync->count && first[pages].block == first->block &&
		       first[pages].unchanged == first->unchanged && first[pages].page == first->page + pages)
			pages++;
		note(derive, &(struct mr_source_log_record){.kind = MR_SOURCE_LOG_DIRTY,
							    .block = first->block,
							    .start = first->page * page_size,
							    .length = pages * page_size,
							    .unchanged = first->unchanged});
		if (mr_source_world_dirty(derive->world, first->block, first->page * page_size, pages * page_size,
					  first->unchanged) < 0)
			derive->no_memory = true;
		derive->given->dirty += pages;
		i += pages;
	}
}

/* ---- Steps ---- */

static bool is_ram_header(const struct derive *derive, const struct mr_source_action *action)
{
	const uint8_t *head = action->send.head.data;

	if (action->send.kind != MR_SECTION_START && action->send.kind != MR_SECTION_PART &&
	    action->send.kind != MR_SECTION_END)
		return false;
	return action->send.head.length >= 5 && ((uint32_t)head[1] << 24 | (uint32_t)head[2] << 16 |
						 (uint32_t)head[3] << 8 | head[4]) == derive->world->ram_section;
}

/* Whether the migration thread goes on with the host page that it has just sent a part of. */
static bool is_same_host_page(const struct derive *derive, const struct mr_source_channel *channel,
			      const struct mr_source_action *action)
{
	const struct mr_outgoing_config *config = &derive->world->config;
	const bool urgent = channel && channel->role == MR_ROLE_PREEMPT;
	uint64_t page_size;

	if (!derive->page_sent || derive->page_block != action->send.block || derive->page_urgent != urgent)
		return false;
	page_size = config->blocks[action->send.block].page_size;
	return page_size > config->target_page_size && derive->page_offset / page_size == action->send.page / page_size;
}

static void take_send(struct derive *derive, unsigned actor, const struct mr_source_action *action)
{
	const struct mr_source_channel *main = main_channel(derive);
	const struct mr_source_channel *channel = mr_source_world_channel(derive->world, action->send.channel);

	if (channel == main && is_ram_header(derive, action)) {
		derive->section++;
		derive->section_has_pages = false;
	}
	/* Whatever the next page is behind a command, it begins anew. */
	if (action->send.kind == MR_COMMAND)
		derive->page_sent = false;
	derive->pages += action->send.kind == MR_RAM_PAGE && derive->section > derive->plan.switch_section;
	if (actor != MR_SOURCE_MIGRATION || action->send.block == UINT32_MAX)
		return;
	derive->begun += derive->section > derive->plan.switch_section && !is_same_host_page(derive, channel, action);
	if (!channel || channel->role != MR_ROLE_PREEMPT)
		derive->broken.there = false;
	else if (!derive->page_urgent)
		derive->broken = next_in_host_page(derive);
	derive->page_sent = derive->section_has_pages = true;
	derive->page_urgent = channel && channel->role == MR_ROLE_PREEMPT;
	derive->page_block = action->send.block;
	derive->page_offset = action->send.page;
}

static enum mr_step step(struct derive *derive, unsigned actor)
{
	struct mr_source_action action;
	enum mr_step result;

	result = mr_source_world_step(derive->world, actor, &action);
	derive->page_just_sent = actor == MR_SOURCE_MIGRATION && result == MR_STEP_ACTION &&
				 action.kind == MR_SOURCE_ACTION_SEND && action.send.block != UINT32_MAX;
	if (result == MR_STEP_ACTION && action.kind == MR_SOURCE_ACTION_SEND)
		take_send(derive, actor, &action);
	note_step(derive, actor, result == MR_STEP_ACTION);
	if (result == MR_STEP_ACTION && action.kind == MR_SOURCE_ACTION_LOG_SYNC) {
		derive->sync++;
		prepare_dirty(derive);
	}
	return result;
}

/* ---- The return path ---- */

static void add_request(struct derive *derive, const struct mr_return_message *message)
{
	const uint32_t block = mr_source_find_block(&derive->world->config, message->block);

	if ((message->type != MR_RETURN_REQ_PAGES && message->type != MR_RETURN_REQ_PAGES_ID) ||
	    block == MR_SOURCE_NONE)
		return;
	if (derive->request_count == derive->request_capacity) {
		const size_t capacity = 2 * derive->request_capacity + 64;
		struct request *larger = realloc(derive->requests, capacity * sizeof(*larger));

		if (!larger) {
			derive->no_memory = true;
			return;
		}
		derive->requests = larger;
		derive->request_capacity = capacity;
	}
	derive->requests[derive->request_count++] =
		(struct request){.block = block, .start = message->start, .length = message->page_length};
}

static void arrive(struct derive *derive, uint32_t channel, uint64_t bytes, bool ended)
{
	note(derive, &(struct mr_source_log_record){
			     .kind = MR_SOURCE_LOG_ARRIVE, .channel = channel, .bytes = bytes, .ended = ended});
	mr_source_world_arrive(derive->world, channel, bytes, ended);
	while (step(derive, MR_SOURCE_RETURN) == MR_STEP_ACTION && !derive->world->difference.found)
		;
}

/* Requests that wait when a connection breaks are served behind the recovery. */
static void keep_requests(struct derive *derive)
{
	const size_t waiting = mr_outgoing_requests(derive->world->outgoing);

	derive->request_first =
		derive->request_count - (waiting < derive->request_count ? waiting : derive->request_count);
}

/* The next message of the return path; NULL if there is no whole one any more. */
static const struct mr_record *next_message(struct derive *derive)
{
	struct messages *messages = &derive->messages;
	const uint32_t channel = derive->world->main;
	struct mr_bytes all;

	if (channel == MR_SOURCE_NONE)
		return NULL;
	if (messages->channel != channel) {
		mr_decoder_init(messages->decoder, messages->session, MR_ROLE_RETURN, channel);
		messages->channel = channel;
		messages->offset = 0;
		messages->there = messages->looked = messages->ended = false;
		keep_requests(derive);
	}
	all = derive->world->channels[channel].arrived;
	if (!messages->there && messages->offset < all.length)
		messages->there = mr_decode(messages->decoder, all.data + messages->offset,
					    all.length - messages->offset, true, &messages->next) == MR_RECORD;
	return messages->there ? &messages->next : NULL;
}

static bool is_request(const struct mr_record *record)
{
	return record->message.type == MR_RETURN_REQ_PAGES || record->message.type == MR_RETURN_REQ_PAGES_ID;
}

/* The answer to the message that comes next on the return path; NULL if it is no request, or the trace shows none. */
static const struct mr_source_answer *next_answer(struct derive *derive)
{
	const struct mr_record *message = next_message(derive);
	struct messages *messages = &derive->messages;

	if (!message || !is_request(message))
		return NULL;
	if (!messages->looked)
		messages->answer = mr_source_answers_find(
			&derive->answers, derive->answer_at, derive->world->epoch,
			mr_source_find_block(&derive->world->config, message->message.block), message->message.start);
	messages->looked = true;
	return messages->answer;
}

static bool take_message(struct derive *derive)
{
	struct messages *messages = &derive->messages;
	const struct mr_record *record = next_message(derive);

	if (!record)
		return false;
	if (next_answer(derive))
		derive->answer_at = (size_t)(messages->answer - derive->answers.list) + 1;
	messages->there = messages->looked = false;
	messages->offset += record->length;
	derive->requests_taken += is_request(record);
	add_request(derive, &record->message);
	arrive(derive, messages->channel, messages->offset, false);
	return true;
}

/* The connection has ended, and nothing more comes from it. */
static bool end_return(struct derive *derive)
{
	struct messages *messages = &derive->messages;

	if (messages->ended || next_message(derive) || derive->world->main == MR_SOURCE_NONE)
		return false;
	messages->ended = true;
	arrive(derive, messages->channel, messages->offset, true);
	return true;
}

static bool take_needed_message(struct derive *derive)
{
	const struct mr_record *message = next_message(derive);

	derive->given->requests += message && is_request(message);
	return take_message(derive);
}

/* ---- Requests, before the migration thread goes on ---- */

static const struct mr_source_record *last_page(const struct mr_source_channel *channel)
{
	for (size_t i = channel->at; i-- > 0;)
		if (is_page(&channel->records[i]))
			return &channel->records[i];
	return NULL;
}

static bool is_last_section(const struct derive *derive)
{
	const struct mr_source_channel *main = main_channel(derive);

	for (size_t i = main->at; i-- > 0;)
		if (main->records[i].kind == MR_SECTION_PART || main->records[i].kind == MR_SECTION_END)
			return main->records[i].kind == MR_SECTION_END;
	return false;
}

/* The first page of the section behind this one. */
static const struct mr_source_record *first_page_behind(const struct derive *derive)
{
	const struct mr_source_channel *main = main_channel(derive);
	size_t i = 0;

	while (ahead(main, i) && !is_page(ahead(main, i)))
		i++;
	return ahead(main, i);
}

/* The last of the urgent pages that go out in a row from `*at` on, since they do not name their block; moves behind. */
static const struct mr_source_record *urgent_row(const struct mr_source_channel *channel, size_t *at)
{
	const struct mr_source_record *last = ahead(channel, *at);

	if (!is_page(last))
		return NULL;
	while (is_page(ahead(channel, ++*at)) && !ahead(channel, *at)->named)
		last = ahead(channel, *at);
	return last;
}

static bool goes_on_behind(const struct derive *derive, const struct mr_source_record *urgent,
			   const struct mr_source_record *next)
{
	return is_at(derive,
		     next_from(derive, urgent->block, urgent->address / derive->world->config.target_page_size + 1),
		     next);
}

/*
 * Urgent pages at the end of a section: the next one begins neither where the scan is nor behind them, but behind
 * others that name their block again.
 */
static bool is_urgent_at_end(const struct derive *derive)
{
	const struct mr_source_channel *channel = preempt_channel(derive);
	const struct mr_source_record *next = first_page_behind(derive), *here, *later;
	size_t at = 0;

	here = urgent_row(channel, &at);
	later = urgent_row(channel, &at);
	if (!here || !next || is_at(derive, next_by_scan(derive), next))
		return false;
	/* Within a section the main channel would name the block anew. */
	if (goes_on_behind(derive, here, next))
		return !next->named;
	return later ? goes_on_behind(derive, later, next) : channel->cut;
}

/* What comes next on the preempt channel was lost: the recording ends there, the source went on. */
static bool is_urgent_lost(const struct derive *derive)
{
	const struct mr_source_channel *channel = preempt_channel(derive);

	return channel->cut && !ahead(channel, 0);
}

/*
 * 7.1, 7.2: urgent pages go out between the others, by the same thread. One comes next if the scan would send another
 * page than the one that comes next on the main channel, or if that one names its block though it had not to.
 */
static bool is_urgent_next(struct derive *derive, const struct mr_source_record *next)
{
	const struct mr_source_record *before = last_page(main_channel(derive)), *urgent = next_urgent(derive);
	const struct spot spot = next_by_scan(derive);

	if (!urgent && !is_urgent_lost(derive))
		return false;
	/* A huge page that was interrupted goes on with the name of its block. */
	if (next_in_host_page(derive).there)
		return is_at(derive, next_in_host_page(derive), next) && next->named && !derive->page_urgent &&
		       derive->section_has_pages;
	/* Without its name it follows the last one at once. */
	if (urgent && !urgent->named && derive->page_sent && derive->page_urgent)
		return true;
	if (!is_page(next))
		return is_last_section(derive) ? urgent && spot.there : is_urgent_at_end(derive);
	if (!is_at(derive, spot, next))
		return true;
	return next->named && before && before->block == next->block && derive->page_sent && !derive->page_urgent;
}

/*
 * Behind what the main channel has of a connection that broke, its preempt channel may have more. What the main channel
 * carries meanwhile is lost; that there is something shows by the names of urgent pages, and by requests for pages that
 * are not answered.
 */
static bool is_lost_between(struct derive *derive, const struct mr_source_record *urgent)
{
	const struct mr_record *message = next_message(derive);
	const uint32_t page_size = derive->world->config.target_page_size;

	if (!serves_in_one_thread(derive) || !urgent->named || !next_by_scan(derive).there)
		return false;
	if (derive->page_sent && derive->page_urgent)
		return true;
	if (!message || !is_request(message))
		return false;
	return message->message.start != urgent->address &&
	       is_dirty(derive, urgent->block, message->message.start / page_size);
}

/* Whether the trace shows that the request is answered before the next page goes out. */
static bool is_answer_due(const struct derive *derive, const struct mr_source_answer *answer)
{
	const struct spot rest = next_in_host_page(derive);

	if (!answer)
		return false;
	if (!serves_in_one_thread(derive))
		return answer->pages <= derive->pages;
	if (answer->begun != derive->begun)
		return answer->begun < derive->begun;
	if (answer->opens && derive->section_has_pages)
		return false;
	return !rest.there || (answer->breaks && answer->broken == rest.page);
}

/*
 * The trace tells which requests were answered, and behind how many pages: of those that 7.1 and 7.2 send with preempt
 * each has a line, else only those that are not zero.
 */
static void follow_answers(struct derive *derive)
{
	while (!next_by_request(derive).there) {
		const struct mr_record *message = next_message(derive);

		if (!message || (is_request(message) ? !is_answer_due(derive, next_answer(derive))
						     : message->message.type != MR_RETURN_PONG))
			return;
		take_needed_message(derive);
	}
}

static void settle_behind_end(struct derive *derive)
{
	const struct mr_source_record *urgent = next_urgent(derive);

	while (urgent && !next_by_request(derive).there && !is_lost_between(derive, urgent) &&
	       take_needed_message(derive))
		;
}

/* From 8.0 on urgent pages are another thread's. */
static void follow_behind_end(struct derive *derive)
{
	if (!derive->trace)
		settle_behind_end(derive);
	else if (serves_in_one_thread(derive) || !preempt_channel(derive))
		follow_answers(derive);
}

static void settle_urgent(struct derive *derive, const struct mr_source_record *next)
{
	while (is_urgent_next(derive, next) && !next_by_request(derive).there && take_needed_message(derive))
		;
}

/* Messages are taken until the page that comes next is the one that the machine would send. */
static void settle_requests(struct derive *derive, const struct mr_source_record *next)
{
	for (;;) {
		const struct spot spot = next_spot(derive);

		if (is_page(next) ? is_at(derive, spot, next) : !spot.there)
			return;
		if (!take_needed_message(derive))
			return;
	}
}

static size_t find_line(const struct derive *derive, size_t from, enum mr_source_line_kind kind)
{
	while (from < derive->trace->count && derive->trace->lines[from].kind != kind)
		from++;
	return from;
}

/* The line of a page that goes out next; where the last one was if there is none, since zero pages have no line. */
static size_t find_page_line(const struct derive *derive, const struct mr_source_record *next)
{
	const char *name = derive->world->config.blocks[next->block].name;
	size_t at = derive->trace_at;

	if (next->kind != MR_RAM_PAGE)
		return at;
	at = find_line(derive, at, MR_SOURCE_LINE_PAGE);
	while (at < derive->trace->count && (derive->trace->lines[at].offset != next->address ||
					     !mr_bytes_equal_string(derive->trace->lines[at].text, name)))
		at = find_line(derive, at + 1, MR_SOURCE_LINE_PAGE);
	return at < derive->trace->count ? at : derive->trace_at;
}

/*
 * From 10.1 on the scan goes on behind an urgent page, unless it has not yet followed the one before: so it matters
 * when a request was taken even if its page is far from the scan. The trace tells.
 */
static void follow_trace(struct derive *derive, const struct mr_source_record *next)
{
	const struct mr_record *message;

	if (!derive->trace || !is_page(next) || next->block == MR_SOURCE_NONE ||
	    !mr_profile_does(&derive->world->config.profile, MR_SWITCH_PREEMPT_HINT) || !preempt_channel(derive))
		return;
	if (derive->trace_at == 0)
		derive->trace_at = mr_source_trace_switch(derive->trace);
	derive->trace_at = find_page_line(derive, next);
	while ((message = next_message(derive))) {
		if (is_request(message)) {
			const size_t line = find_line(derive, derive->trace_request, MR_SOURCE_LINE_REQUEST);

			if (line >= derive->trace_at)
				return;
			derive->trace_request = line + 1;
		}
		take_needed_message(derive);
	}
}

static void stop_guest(struct derive *derive)
{
	const struct mr_source_channel *main = main_channel(derive);

	if (!derive->plan.stops || derive->guest_stopped || (main ? main->made : 0) < derive->plan.stop_offset)
		return;
	derive->guest_stopped = true;
	if (mr_source_world_guest(derive->world, false))
		note(derive, &(struct mr_source_log_record){.kind = MR_SOURCE_LOG_GUEST, .runs = false});
}

/* In precopy an ack opens a gate, so it is taken as soon as it is there. */
static void take_acks(struct derive *derive)
{
	const struct mr_record *message = NULL;

	if (!(derive->world->config.capabilities & MR_CAPABILITY_SWITCHOVER_ACK) || derive->section == 0 ||
	    derive->section > derive->plan.switch_section)
		return;
	do
		message = next_message(derive);
	while (message &&
	       (message->message.type == MR_RETURN_PONG || message->message.type == MR_RETURN_SWITCHOVER_ACK) &&
	       take_message(derive));
}

static void prepare(struct derive *derive)
{
	const struct mr_source_record *next = ahead(main_channel(derive), 0);

	stop_guest(derive);
	take_acks(derive);
	if (!derive->postcopy_asked && is_switch_next(derive)) {
		derive->postcopy_asked = true;
		command(derive, MR_SOURCE_COMMAND_START_POSTCOPY);
	}
	if (!next && derive->section > derive->plan.switch_section)
		follow_behind_end(derive);
	if (!next || next->section == MR_SOURCE_NONE || derive->section <= derive->plan.switch_section)
		return;
	if (!is_page(next) && !is_kind(next, MR_RAM_EOS))
		return;
	if (serves_in_one_thread(derive)) {
		if (mr_source_answers_epoch(&derive->answers, derive->world->epoch).begun)
			follow_answers(derive);
		else
			settle_urgent(derive, next);
	} else if (is_page(next) || is_last_section(derive)) {
		follow_trace(derive, next);
		settle_requests(derive, next);
	}
}

/* ---- Senders of multifd ---- */

/* Whether a sender may write its next packet before the migration thread goes on. */
static bool may_send(const struct derive *derive, const struct mr_source_channel *channel, bool waits)
{
	const struct mr_source_record *next = ahead(channel, 0);

	/* The last packet of a channel may be lost in the end, when its sender is told to end. */
	if (!next)
		return !derive->world->finished;
	if (next->kind != MR_MULTIFD_PACKET)
		return true;
	if (mr_profile_does(&derive->world->config.profile, MR_SWITCH_PACKET_NUM_REPEATS))
		return waits || !(next->send_count && (next->number & MR_MULTIFD_FLAG_SYNC));
	return next->value <= derive->next_number;
}

static bool run_sender(struct derive *derive, unsigned id, bool waits)
{
	const struct mr_source_channel *channel = sender_channel(derive, id);
	const struct mr_source_record *next = ahead(channel, 0);
	const uint64_t made = channel ? channel->made : 0;

	if (!channel || !may_send(derive, channel, waits) || step(derive, MR_SOURCE_MULTIFD + id) != MR_STEP_ACTION)
		return false;
	if (is_kind(next, MR_MULTIFD_PACKET) && channel->made > made)
		derive->next_number = next->value + 1;
	return true;
}

/* The next number is not that of a packet that comes: it was one that is never written. */
static bool drop_packet(struct derive *derive)
{
	const struct mr_source_channel *dropping = NULL;

	if (!mr_profile_does(&derive->world->config.profile, MR_SWITCH_ZERO_PAGES_DROPPED))
		return false;
	for (unsigned i = 0; i < derive->world->config.multifd_channels; i++) {
		const struct mr_source_channel *channel = sender_channel(derive, i);
		const struct mr_source_record *next = ahead(channel, 0);

		if (!channel || (next && next->value <= derive->next_number))
			return false;
		if (derive->dropped[channel->number])
			dropping = channel;
	}
	if (!dropping)
		return false;
	derive->dropped[dropping->number]--;
	derive->next_number++;
	step(derive, MR_SOURCE_MULTIFD + dropping->id);
	return true;
}

static bool run_senders(struct derive *derive, bool waits)
{
	const bool multifd = derive->world->config.capabilities & MR_CAPABILITY_MULTIFD;
	bool any = false, moved = multifd;

	while (moved && !derive->world->difference.found) {
		moved = false;
		for (unsigned i = 0; i < derive->world->config.multifd_channels; i++)
			moved |= run_sender(derive, i, waits);
		moved |= drop_packet(derive);
		any |= moved;
	}
	return any;
}

/* ---- The drive ---- */

/* Requests that the source had taken until the pause that ends this connection; without a trace: all there are. */
static uint64_t traced_requests(const struct derive *derive)
{
	uint64_t requests = 0;
	uint32_t epoch = 0;

	if (!derive->trace)
		return UINT64_MAX;
	for (size_t i = 0; i < derive->trace->count && epoch <= derive->world->epoch; i++) {
		const struct mr_source_line *line = &derive->trace->lines[i];

		requests += line->kind == MR_SOURCE_LINE_REQUEST;
		epoch += mr_source_line_pauses(line);
	}
	return requests;
}

/* What waits when the connection breaks, goes on waiting. */
static void take_before_pause(struct derive *derive)
{
	const uint64_t traced = traced_requests(derive);
	const struct mr_record *message;

	while ((message = next_message(derive)) && !(is_request(message) && derive->requests_taken >= traced))
		take_message(derive);
}

/* The preempt channel of the next epoch, or its main one. */
static const struct mr_source_channel *channel_behind(const struct derive *derive, bool preempt)
{
	for (size_t i = 0; i < derive->world->channel_count; i++) {
		const struct mr_source_channel *channel = &derive->world->channels[i];

		if (channel->epoch == derive->world->epoch + 1 && channel->role != MR_ROLE_MULTIFD &&
		    (channel->role == MR_ROLE_PREEMPT) == preempt)
			return channel;
	}
	return NULL;
}

/* The next page of a channel from record `*at` on, which moves behind it. NULL: there is none. */
static const struct mr_source_record *page_behind(const struct mr_source_channel *channel, size_t *at)
{
	while (channel && *at < channel->count)
		if (is_page(&channel->records[(*at)++]))
			return &channel->records[*at - 1];
	return NULL;
}

/*
 * Where the requests that wait are answered behind the recovery, if that is what it begins with: on the preempt
 * channel, if there is one. The scan begins anew, yet in 7.1 and 7.2 goes on behind urgent pages.
 */
static const struct mr_source_channel *answers_behind(const struct derive *derive)
{
	const struct mr_source_channel *main = channel_behind(derive, false), *preempt = channel_behind(derive, true);
	const struct mr_source_record *first, *urgent;
	size_t main_at = 0, preempt_at = 0;

	if (!preempt)
		return main;
	first = page_behind(main, &main_at);
	urgent = urgent_row(preempt, &preempt_at);
	if (serves_in_one_thread(derive) && first && urgent && urgent->block == first->block &&
	    urgent->address > first->address)
		return NULL;
	return preempt;
}

static bool is_wanted(const struct derive *derive, const struct request *request)
{
	const uint32_t page_size = derive->world->config.target_page_size;
	uint64_t page;

	return next_in(derive, request->block, request->start / page_size,
		       (request->start + request->length) / page_size, &page);
}

/*
 * Whether all requests that wait are the first that are answered behind the recovery. If not, some of them were
 * answered before, into the void, or came to nothing. One that was just answered waits for nothing any more.
 */
static bool are_answered_behind(const struct derive *derive)
{
	const size_t waiting = mr_outgoing_requests(derive->world->outgoing);
	const struct mr_source_channel *channel = answers_behind(derive);
	const size_t count = derive->request_count;
	size_t at = 0, i = count - (waiting < count ? waiting : count);

	if (i < count && !is_wanted(derive, &derive->requests[i]))
		i++;
	for (; i < count; i++) {
		const struct mr_source_record *answer = page_behind(channel, &at);

		if (!answer || answer->block != derive->requests[i].block ||
		    answer->address != derive->requests[i].start)
			return false;
	}
	return true;
}

/*
 * What the recording has of a connection is made, and it was cut there: the machine may notice, once it has sent as
 * much as the source has, into the void. Without a trace that is as much as leaves the right requests waiting.
 */
static bool may_notice(struct derive *derive)
{
	const struct mr_source_channel *preempt = preempt_channel(derive);
	const struct mr_source_epoch epoch = mr_source_answers_epoch(&derive->answers, derive->world->epoch);

	if (derive->trace) {
		if (derive->pages < epoch.pages)
			return false;
		follow_behind_end(derive);
		return !next_answer(derive) && !next_by_request(derive).there;
	}
	if (!derive->page_just_sent || (preempt && preempt->made < preempt->recorded))
		return false;
	take_before_pause(derive);
	return are_answered_behind(derive);
}

static void break_connections(struct derive *derive)
{
	const struct mr_source_channel *main = main_channel(derive);

	if (!main || !main->cut || main->broken || main->made <= main->recorded ||
	    main->epoch + 1 >= derive->world->epochs || !may_notice(derive))
		return;
	take_before_pause(derive);
	derive->pages = derive->begun = 0;
	derive->broken.there = false;
	for (uint32_t i = 0; i < MR_OUTGOING_CHANNELS_MAX; i++) {
		const struct mr_source_channel *channel = mr_source_world_channel(derive->world, i);

		if (!channel || channel->broken || channel->role == MR_ROLE_MULTIFD || channel->epoch != main->epoch)
			continue;
		note(derive, &(struct mr_source_log_record){
				     .kind = MR_SOURCE_LOG_BROKEN, .channel = channel->number, .error = ERROR_PIPE});
		mr_source_world_break(derive->world, channel->number, ERROR_PIPE);
	}
}

static bool help_operator(struct derive *derive)
{
	if (mr_outgoing_status(derive->world->outgoing) == MR_SOURCE_STATUS_PRE_SWITCHOVER) {
		command(derive, MR_SOURCE_COMMAND_CONTINUE);
		return true;
	}
	if (mr_outgoing_status(derive->world->outgoing) != MR_SOURCE_STATUS_POSTCOPY_PAUSED ||
	    derive->world->epoch + 1 >= derive->world->epochs)
		return false;
	command(derive, MR_SOURCE_COMMAND_RECOVER);
	return true;
}

/* Does what the migration thread waits for. False if nothing can be done. */
static bool help(struct derive *derive, struct mr_source_wants wants)
{
	switch (wants.wait) {
	case MR_SOURCE_WAIT_TIME:
		note(derive, &(struct mr_source_log_record){.kind = MR_SOURCE_LOG_TIME, .count = wants.time});
		mr_outgoing_set_time(derive->world->outgoing, wants.time);
		return true;
	case MR_SOURCE_WAIT_MESSAGE:
	case MR_SOURCE_WAIT_RETURN:
		return take_message(derive) || end_return(derive);
	case MR_SOURCE_WAIT_ACTOR:
		if (wants.actor == MR_SOURCE_RETURN)
			return take_message(derive) || end_return(derive);
		return run_senders(derive, false) || run_senders(derive, true);
	case MR_SOURCE_WAIT_OPERATOR:
		return help_operator(derive);
	default:
		return false;
	}
}

static bool is_over(const struct derive *derive)
{
	return derive->world->difference.found || derive->world->failed || derive->no_memory ||
	       (!derive->world->finished && mr_source_world_is_complete(derive->world));
}

/* Recorded bytes that were made so far. */
static uint64_t bytes_made(const struct derive *derive)
{
	uint64_t made = 0;

	for (size_t i = 0; i < derive->world->channel_count; i++)
		made += derive->world->channels[i].identical;
	return made;
}

static void drive(struct derive *derive)
{
	unsigned idle = 0, stalled = 0;
	uint64_t made = 0;

	while (!is_over(derive) && idle < TURNS_IDLE_MAX && stalled < STALLED_MAX) {
		enum mr_step result;

		stalled = made == bytes_made(derive) ? stalled + 1 : 0;
		made = bytes_made(derive);
		prepare(derive);
		if (is_over(derive))
			return;
		result = step(derive, MR_SOURCE_MIGRATION);
		if (result == MR_STEP_DONE)
			break;
		if (result == MR_STEP_ACTION) {
			idle = 0;
			run_senders(derive, false);
			break_connections(derive);
			continue;
		}
		/* Messages come to an end by themselves. */
		if (mr_outgoing_wants(derive->world->outgoing, MR_SOURCE_MIGRATION).wait != MR_SOURCE_WAIT_MESSAGE)
			idle++;
		if (!help(derive, mr_outgoing_wants(derive->world->outgoing, MR_SOURCE_MIGRATION)))
			return;
	}
	while (!is_over(derive) && take_message(derive))
		;
	if (!is_over(derive))
		run_senders(derive, true);
}

int mr_source_derive(struct mr_source_log *log, struct mr_source_given *given, struct mr_source_world *world,
		     const struct mr_source_trace *trace)
{
	struct derive derive = {
		.log = log,
		.given = given,
		.world = world,
		.trace = trace,
		.messages = {.session = malloc(sizeof(struct mr_session)),
			     .decoder = malloc(sizeof(struct mr_decoder)),
			     .channel = MR_SOURCE_NONE},
		.claimed = calloc(world->channel_count + 1, sizeof(size_t)),
		.dropped = calloc(world->channel_count + 1, sizeof(uint32_t)),
	};

	memset(given, 0, sizeof(*given));
	world->choices = (struct mr_choices){&derive, choose};
	derive.no_memory = !derive.messages.session || !derive.messages.decoder || !derive.claimed || !derive.dropped ||
			   mr_source_plan_make(&derive.plan, world, trace) < 0 ||
			   mr_source_answers_read(&derive.answers, trace, &world->config) < 0;
	if (!derive.no_memory) {
		mr_session_init(derive.messages.session, NULL, NULL, NULL);
		prepare_dirty(&derive);
		drive(&derive);
	}
	mr_source_plan_clear(&derive.plan);
	mr_source_answers_clear(&derive.answers);
	free(derive.messages.session);
	free(derive.messages.decoder);
	free(derive.requests);
	free(derive.claimed);
	free(derive.dropped);
	if (derive.no_memory)
		snprintf(world->error, sizeof(world->error), "no memory for the log of a source");
	return derive.no_memory || world->failed ? -1 : 0;
}
