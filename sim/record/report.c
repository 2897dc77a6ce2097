/* report.c: the figures of a recorded migration, collected once, for one page about it. */
#include "sim/record/report.h"
#include "sim/record/print.h"
#include "sim/record/report_map.h"
#include "sim/record/report_trace.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MILLION = 1000000 };

struct collector {
	struct mr_report *report;
	const char *path;
	struct mr_report_clock clock;
	struct mr_report_pages pages;
	struct mr_migration *migration;
	bool switched; /* LISTEN was seen, by this channel's record: */
	unsigned listen_channel;
	uint64_t listen_offset;
	bool no_memory;
};

/* The last component of the path, which may end in slashes. */
static void take_name(struct mr_report *report, const char *path)
{
	size_t end = strlen(path), begin;

	while (end > 1 && path[end - 1] == '/')
		end--;
	begin = end;
	while (begin > 0 && path[begin - 1] != '/')
		begin--;
	snprintf(report->name, sizeof(report->name), "%.*s", (int)(end - begin), path + begin);
}

/* ---- First reading: blocks, requests, how each channel ends ---- */

static void take_request(struct collector *collector, const struct mr_channel *channel, const struct mr_record *record)
{
	const struct mr_return_message *message = &record->message;
	const struct mr_block *block;
	struct mr_report_request request = {.latency = MR_REPORT_NEVER, .outcome = MR_OUTCOME_SENT};

	if (message->type != MR_RETURN_REQ_PAGES && message->type != MR_RETURN_REQ_PAGES_ID)
		return;
	block = mr_session_find_block(collector->migration->session, message->block);
	request.block = block ? block->index : UINT32_MAX;
	request.offset = message->start;
	request.length = message->page_length;
	request.at =
		mr_report_clock_byte(&collector->clock, channel->number, true, record->offset + record->length - 1);
	collector->no_memory |= mr_report_request_add(&collector->report->sent, &request) < 0;
}

/* A channel that was cut on purpose goes on with the next connection, or its migration is known not to have ended. */
static void take_end(struct collector *collector, const struct mr_channel *channel, enum mr_result result)
{
	const struct mr_migration *migration = collector->migration;
	char finding[400];

	if (result == MR_MORE) {
		mr_report_add_error(collector->report, "%s", mr_input_error(channel->input));
	} else if (result == MR_FAILED) {
		if (mr_channel_is_cut(channel) && (!migration->finished || mr_migration_continues(migration, channel)))
			return;
		mr_format_finding(finding, sizeof(finding), &channel->decoder->error);
		mr_report_add_error(collector->report, "%s: %s", channel->name, finding);
	}
}

static int take_blocks(struct collector *collector)
{
	const struct mr_session *session = collector->migration->session;
	struct mr_report *report = collector->report;

	report->page_size = session->target_page_size;
	report->blocks = calloc(session->block_count + 1, sizeof(*report->blocks));
	if (!report->blocks)
		return -1;
	report->block_count = session->block_count;
	for (uint32_t i = 0; i < session->block_count; i++) {
		memcpy(report->blocks[i].name, session->blocks[i].name, sizeof(report->blocks[i].name));
		report->blocks[i].used_length = session->blocks[i].used_length;
		report->blocks[i].page_size = session->blocks[i].page_size;
	}
	return 0;
}

static void first_reading(struct collector *collector)
{
	struct mr_channel *channel;

	do {
		struct mr_record record;
		const uint8_t *wire;
		const enum mr_result result = mr_migration_next(collector->migration, &channel, &record, &wire);

		if (!channel)
			break;
		if (result != MR_RECORD) {
			take_end(collector, channel, result);
		} else if (record.kind == MR_RETURN_MESSAGE) {
			take_request(collector, channel, &record);
		} else if (record.kind == MR_COMMAND && record.command.number == MR_COMMAND_POSTCOPY_LISTEN &&
			   !collector->switched) {
			collector->switched = true;
			collector->listen_channel = channel->number;
			collector->listen_offset = record.offset;
		}
	} while (channel);
}

static int compare_requests(const void *left, const void *right)
{
	const struct mr_report_request *a = left, *b = right;

	if (a->block != b->block)
		return a->block < b->block ? -1 : 1;
	if (a->offset != b->offset)
		return a->offset < b->offset ? -1 : 1;
	return a->at < b->at ? -1 : a->at > b->at;
}

static int compare_moments(const void *left, const void *right)
{
	const struct mr_report_request *a = left, *b = right;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return compare_requests(left, right);
}

static void sort_requests(struct mr_report_requests *requests, int (*compare)(const void *, const void *))
{
	if (requests->count)
		qsort(requests->items, requests->count, sizeof(*requests->items), compare);
}

/* ---- Second reading: pages, commands, bytes ---- */

/* Whether the page was asked for, of requests that are sorted by place; its arrival is the answer to the latest one. */
static bool answer(struct collector *collector, uint32_t block, uint64_t address, mr_position at)
{
	struct mr_report_requests *requests = &collector->report->sent;
	size_t low = 0, high = requests->count;
	bool found = false;

	while (low < high) {
		const size_t middle = low + (high - low) / 2;
		const struct mr_report_request *request = &requests->items[middle];

		if (request->block < block || (request->block == block && request->offset <= address))
			low = middle + 1;
		else
			high = middle;
	}
	for (const uint64_t start = low ? requests->items[low - 1].offset : 0; low > 0; low--) {
		struct mr_report_request *request = &requests->items[low - 1];

		if (request->block != block || request->offset != start || address - start >= request->length)
			break;
		found = true;
		if (collector->clock.timeline.count && at >= request->at && request->latency == MR_REPORT_NEVER)
			request->latency = at - request->at;
	}
	return found;
}

static void take_page(struct collector *collector, enum mr_report_kind kind, bool postcopy, uint32_t block,
		      uint64_t address, mr_position at)
{
	const bool zero = kind == MR_REPORT_ZERO || kind == MR_REPORT_MULTIFD_ZERO || kind == MR_REPORT_MAPPED_ZERO;
	enum mr_report_phase phase = MR_REPORT_PRECOPY;
	enum mr_report_arrival arrival = MR_ARRIVAL_PRECOPY;

	if (postcopy)
		phase = answer(collector, block, address, at) ? MR_REPORT_REQUESTED : MR_REPORT_BACKGROUND;
	collector->report->pages[kind][phase]++;
	if (phase == MR_REPORT_REQUESTED)
		arrival = MR_ARRIVAL_REQUESTED;
	else if (zero)
		arrival = MR_ARRIVAL_ZERO;
	else if (postcopy)
		arrival = MR_ARRIVAL_BACKGROUND;
	mr_report_pages_set(&collector->pages, block, address, at, arrival);
}

static void take_packet(struct collector *collector, const struct mr_multifd_packet *packet, mr_position at)
{
	const uint64_t count = (uint64_t)packet->normal_pages + packet->zero_pages;

	for (uint32_t i = 0; i < count && i < packet->offset_count; i++)
		take_page(collector, i < packet->normal_pages ? MR_REPORT_MULTIFD : MR_REPORT_MULTIFD_ZERO, false,
			  packet->block, mr_multifd_offset(packet, i), at);
}

static void take_bitmap(struct collector *collector, const struct mr_ram_bitmap *bitmap, mr_position at)
{
	const uint32_t page_size = collector->report->page_size;
	const uint64_t length = bitmap->block < collector->report->block_count
					? collector->report->blocks[bitmap->block].used_length / page_size
					: 0;

	for (uint64_t bit = 0; bit < (uint64_t)bitmap->bits.length * 8 && bitmap->first_page + bit < length; bit++)
		take_page(collector,
			  bitmap->bits.data[bit / 8] >> bit % 8 & 1 ? MR_REPORT_MAPPED : MR_REPORT_MAPPED_ZERO, false,
			  bitmap->block, (bitmap->first_page + bit) * page_size, at);
}

static void add_mark(struct mr_report *report, enum mr_report_mark_kind kind, mr_position at, unsigned channel,
		     const char *text)
{
	struct mr_report_mark *last = report->mark_count ? &report->marks[report->mark_count - 1] : NULL;

	if (last && kind == MR_MARK_COMMAND && last->kind == kind && last->channel == channel &&
	    strcmp(last->text, text) == 0) {
		last->count++;
		return;
	}
	if (report->mark_count == MR_REPORT_MARKS_MAX) {
		report->hidden_marks++;
		return;
	}
	last = &report->marks[report->mark_count++];
	*last = (struct mr_report_mark){
		.kind = kind, .at = at, .channel = channel, .count = 1, .order = report->mark_count};
	snprintf(last->text, sizeof(last->text), "%s", text);
}

static void take_command(struct collector *collector, const struct mr_channel *channel,
			 const struct mr_command *command, mr_position at)
{
	struct mr_session *session = collector->migration->session;
	const char *name = mr_command_name(command->number);
	const struct mr_block *block;

	/* Without a timeline a place among the bytes is none on the clock of the traces. */
	if (name && (collector->report->has_timeline || !collector->report->timed))
		add_mark(collector->report, MR_MARK_COMMAND, at, channel->number, name);
	if (command->number != MR_COMMAND_POSTCOPY_RAM_DISCARD)
		return;
	block = mr_session_find_block(session, command->block);
	for (uint32_t i = 0; i < command->range_count; i++) {
		uint64_t start, length;

		mr_discard_range(command, i, &start, &length);
		collector->report->discards += length / collector->report->page_size;
		mr_report_pages_discard(&collector->pages, block ? block->index : UINT32_MAX, start, length, at);
	}
}

static void take_record(struct collector *collector, const struct mr_channel *channel, const struct mr_record *record)
{
	static const uint8_t kinds[MR_KIND_COUNT] = {[MR_RAM_ZERO] = MR_REPORT_ZERO,
						     [MR_RAM_PAGE] = MR_REPORT_NORMAL,
						     [MR_RAM_XBZRLE] = MR_REPORT_XBZRLE,
						     [MR_RAM_COMPRESSED] = MR_REPORT_COMPRESSED};
	const mr_position at = mr_report_clock_byte(&collector->clock, channel->number, false,
						    record->offset + record->length - (record->length ? 1 : 0));
	const bool postcopy = channel->role == MR_ROLE_PREEMPT || collector->migration->session->listening;

	switch (record->kind) {
	case MR_RAM_ZERO:
	case MR_RAM_PAGE:
	case MR_RAM_XBZRLE:
	case MR_RAM_COMPRESSED:
		take_page(collector, (enum mr_report_kind)kinds[record->kind], postcopy, record->page.block,
			  record->page.address, at);
		break;
	case MR_MULTIFD_PACKET:
		take_packet(collector, &record->packet, at);
		break;
	case MR_RAM_BITMAP:
		take_bitmap(collector, &record->bitmap, at);
		break;
	case MR_COMMAND:
		take_command(collector, channel, &record->command, at);
		break;
	default:
		break;
	}
}

static unsigned bin_of(const struct mr_report *report, mr_position at)
{
	const double part = report->length ? (double)at / (double)report->length : 0;

	return part >= 1 ? MR_REPORT_BINS - 1 : (unsigned)(part * MR_REPORT_BINS);
}

static void second_reading(struct collector *collector)
{
	struct mr_report *report = collector->report;
	struct mr_channel *channel;

	do {
		struct mr_record record;
		const uint8_t *wire;
		const enum mr_result result = mr_migration_next(collector->migration, &channel, &record, &wire);

		if (!channel || result != MR_RECORD || channel->role == MR_ROLE_RETURN)
			continue;
		take_record(collector, channel, &record);
		if (!collector->clock.timeline.count && !report->timed) {
			const mr_position at =
				mr_report_clock_byte(&collector->clock, channel->number, false, record.offset);

			report->lanes[channel - collector->migration->channels].bins[bin_of(report, at)] +=
				record.length;
		}
	} while (channel);
}

/* ---- The timeline ---- */

static int make_lanes(struct collector *collector)
{
	struct mr_report *report = collector->report;

	report->lanes = calloc(collector->migration->channel_count + 1, sizeof(*report->lanes));
	if (!report->lanes)
		return -1;
	for (size_t i = 0; i < collector->migration->channel_count; i++) {
		const struct mr_channel *channel = &collector->migration->channels[i];
		struct mr_report_lane *lane = &report->lanes[report->lane_count++];
		const uint8_t *rest;

		memcpy(lane->name, channel->name, sizeof(lane->name));
		lane->role = channel->role;
		lane->bytes = channel->decoder->offset + mr_channel_rest(channel, &rest);
	}
	return 0;
}

static void take_timeline(struct collector *collector)
{
	const struct mr_timeline *timeline = &collector->clock.timeline;
	struct mr_report *report = collector->report;

	for (size_t i = 0; i < timeline->count; i++) {
		const struct mr_timeline_event *event = &timeline->events[i];
		const mr_position at = event->t_ns - collector->clock.begin;
		const bool backward = event->direction == MR_TIMELINE_RETURN;
		char name[24];

		if (event->kind == MR_TIMELINE_CUT) {
			report->cuts++;
			add_mark(report, MR_MARK_CUT, at, 0, "cut");
		} else if (event->kind == MR_TIMELINE_OPEN) {
			snprintf(name, sizeof(name), "ch%d opened", event->channel);
			add_mark(report, MR_MARK_OPEN, at, (unsigned)event->channel, name);
		} else if (event->kind == MR_TIMELINE_CHUNK) {
			snprintf(name, sizeof(name), "ch%d.%s", event->channel, backward ? "ret" : "fwd");
			for (size_t lane = 0; lane < report->lane_count; lane++)
				if (strcmp(report->lanes[lane].name, name) == 0)
					report->lanes[lane].bins[bin_of(report, at)] += event->length;
		}
	}
}

static int compare_marks(const void *left, const void *right)
{
	const struct mr_report_mark *a = left, *b = right;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

static int compare_lanes(const void *left, const void *right)
{
	const struct mr_report_lane *a = left, *b = right;
	const unsigned long first = strtoul(a->name + 2, NULL, 10), second = strtoul(b->name + 2, NULL, 10);

	if (first != second)
		return first < second ? -1 : 1;
	return strcmp(a->name, b->name);
}

/* ---- Replay and judgement ---- */

/* Where there is no trace, the machine tells how the destination's states went on, at the bytes it had come to. */
static void watch(void *argument, const struct mr_world *world, const struct mr_log_record *record,
		  const struct mr_action *action)
{
	struct collector *collector = argument;
	struct mr_report *report = collector->report;
	mr_position at;

	(void)world;
	(void)record;
	if (!action || (action->kind != MR_ACTION_STATUS && action->kind != MR_ACTION_POSTCOPY_STATE))
		return;
	at = action->channel < MR_INCOMING_CHANNELS_MAX
		     ? mr_report_clock_byte(&collector->clock, action->channel, false, action->offset)
		     : 0;
	if (action->kind == MR_ACTION_STATUS && !report->changes_from_trace[MR_BAND_DESTINATION])
		mr_report_change_add(report, MR_BAND_DESTINATION, at, mr_status_name(action->status));
	if (action->kind == MR_ACTION_POSTCOPY_STATE && !report->changes_from_trace[MR_BAND_POSTCOPY])
		mr_report_change_add(report, MR_BAND_POSTCOPY, at, mr_postcopy_state_name(action->state));
}

static int reopen(struct collector *collector, char *error, size_t error_size)
{
	const struct mr_stream_options nothing = {0};

	mr_migration_close(collector->migration);
	collector->migration = NULL;
	return mr_migration_open(&collector->migration, collector->path, &nothing, NULL, NULL, error, error_size);
}

static void run_replay(struct collector *collector)
{
	struct mr_report *report = collector->report;
	const bool same_clock = report->timed ? collector->clock.timeline.count != 0 : true;
	const struct mr_destination_options options = {.watch = same_clock ? watch : NULL, .watch_argument = collector};
	struct mr_progress progress;
	char error[MR_REPORT_TEXT];
	int status;

	mr_progress_start(&progress, "report", false);
	status = mr_replay_run(&report->replay, collector->migration, &options, NULL, &progress, error, sizeof(error));
	mr_progress_end(&progress);
	if (status < 0) {
		mr_report_add_error(report, "%s", error);
		snprintf(report->replay_error, sizeof(report->replay_error), "%s", error);
		return;
	}
	report->replayed = true;
}

static void run_judge(struct collector *collector)
{
	const struct mr_stream_options nothing = {0};
	char error[MR_REPORT_TEXT];

	collector->report->judged =
		mr_judge(&collector->report->judgement, collector->path, &nothing, true, error, sizeof(error)) == 0;
	if (!collector->report->judged)
		mr_report_add_error(collector->report, "%s", error);
}

/* ---- The whole ---- */

static void set_length(struct collector *collector)
{
	struct mr_report *report = collector->report;
	const struct mr_report_clock *clock = &collector->clock;

	report->has_timeline = clock->timeline.count != 0;
	report->timed = report->has_timeline || clock->has_trace;
	if (!report->timed)
		report->length = MILLION;
	else if (report->has_timeline && clock->end - clock->begin > report->length)
		report->length = clock->end - clock->begin;
}

static int no_memory(struct collector *collector, char *error, size_t error_size)
{
	snprintf(error, error_size, "%s: no memory for a report", collector->path);
	return -1;
}

static int collect(struct collector *collector, char *error, size_t error_size)
{
	struct mr_report *report = collector->report;
	const struct mr_recording *recording = collector->migration->recording;
	char text[MR_REPORT_TEXT];

	if (mr_report_clock_init(&collector->clock, recording, text, sizeof(text)) < 0)
		mr_report_add_error(report, "%s", text);
	else if (!recording->has_timeline && recording->channel_count)
		mr_report_add_missing(report,
				      "No timeline.jsonl: when bytes crossed is not known; the page map follows "
				      "the bytes instead of time.");
	report->mapped = recording->has_mapped && !recording->channel_count;
	first_reading(collector);
	mr_report_clock_measure(&collector->clock, collector->migration);
	if (take_blocks(collector) < 0 || make_lanes(collector) < 0 ||
	    mr_report_read_traces(report, &collector->clock, recording) < 0)
		return no_memory(collector, error, error_size);
	set_length(collector);
	sort_requests(&report->sent, compare_requests);
	take_timeline(collector);
	if (mr_report_pages_init(&collector->pages, report, report->has_timeline ? report->length : MILLION,
				 collector->switched
					 ? mr_report_clock_byte(&collector->clock, collector->listen_channel, false,
								collector->listen_offset)
					 : MR_REPORT_NEVER) < 0)
		return no_memory(collector, error, error_size);
	if (reopen(collector, error, error_size) < 0)
		return -1;
	second_reading(collector);
	mr_report_pages_finish(&collector->pages);
	if (reopen(collector, error, error_size) < 0)
		return -1;
	run_replay(collector);
	run_judge(collector);
	return collector->no_memory ? no_memory(collector, error, error_size) : 0;
}

/* Files are named without the directory, which is not the recording's. */
static void strip(char *text, const char *path)
{
	size_t length = strlen(path);
	char before = ' ', *out = text;

	while (length > 1 && path[length - 1] == '/')
		length--;
	while (*text) {
		if (before == ' ' && strncmp(text, path, length) == 0 && text[length] == '/') {
			for (text += length; *text == '/'; text++)
				;
		} else if (before == ' ' && strncmp(text, path, length) == 0 && text[length] == ':') {
			for (text += length + 1; *text == ' '; text++)
				;
		}
		before = *text;
		if (*text)
			*out++ = *text++;
	}
	*out = '\0';
}

static void strip_all(struct mr_report *report, const char *path)
{
	struct mr_replay *replay = &report->replay;

	for (size_t i = 0; i < report->error_count; i++)
		strip(report->errors[i], path);
	strip(report->replay_error, path);
	for (size_t i = 0; i < replay->wire_count; i++)
		strip(replay->wires[i].text, path);
	strip(replay->destination.trace_error, path);
	strip(replay->destination.reason, path);
}

static void finish(struct mr_report *report, const char *path)
{
	strip_all(report, path);
	sort_requests(&report->sent, compare_moments);
	sort_requests(&report->traced, compare_moments);
	if (report->mark_count)
		qsort(report->marks, report->mark_count, sizeof(*report->marks), compare_marks);
	if (report->lane_count)
		qsort(report->lanes, report->lane_count, sizeof(*report->lanes), compare_lanes);
	for (size_t i = 0; i < report->lane_count; i++)
		report->connections += report->lanes[i].role != MR_ROLE_RETURN;
	report->well = !report->error_count && report->judged && report->judgement.verdict <= MR_ACCEPTABLE &&
		       report->replayed && report->replay.holds;
}

int mr_report_collect(struct mr_report *report, const char *path, char *error, size_t error_size)
{
	const struct mr_stream_options nothing = {0};
	struct collector *collector = calloc(1, sizeof(*collector));
	int status = -1;

	memset(report, 0, sizeof(*report));
	if (!collector) {
		snprintf(error, error_size, "%s: no memory for a report", path);
		return -1;
	}
	collector->report = report;
	collector->path = path;
	take_name(report, path);
	if (mr_migration_open(&collector->migration, path, &nothing, NULL, NULL, error, error_size) == 0) {
		if (collector->migration->lone)
			snprintf(error, error_size, "%s: expected a recording directory, found a file", path);
		else if (mr_recording_open(&report->recording, path, error, error_size) == 0)
			status = collect(collector, error, error_size);
	}
	mr_report_pages_finish(&collector->pages);
	mr_migration_close(collector->migration);
	mr_report_clock_clear(&collector->clock);
	free(collector);
	if (status < 0)
		mr_report_clear(report);
	else
		finish(report, path);
	return status;
}

void mr_report_clear(struct mr_report *report)
{
	mr_recording_close(report->recording);
	mr_judgement_clear(&report->judgement);
	if (report->replayed)
		mr_replay_clear(&report->replay);
	free(report->blocks);
	free(report->lanes);
	free(report->map);
	free(report->sent.items);
	free(report->traced.items);
	memset(report, 0, sizeof(*report));
}

const struct mr_report_requests *mr_report_best(const struct mr_report *report)
{
	return report->has_faults ? &report->traced : &report->sent;
}
