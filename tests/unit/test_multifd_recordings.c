/*
 * The senders of multifd channels against real channels: given the pages, the channels and the order of steps that a
 * recording shows, every byte has to come out as it was recorded.
 *
 * Packets tell nearly all: what was queued, which channel got it and, by its number, when. Up to 8.2 numbers follow the
 * order of dispatch, and those that a SYNC overwrote are missing; from 9.0 on they follow the order of steps, and the
 * order of dispatch is that of the scan.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ref/machine/multifd_send.h"
#include "sim/record/migration.h"

enum {
	PAGE = 4096,
	PACKET_PAGES = 128,
	PACKETS = 512,
	LANES = 4,
	LANE_PACKETS = 256,
	INITIAL_SIZE = 64,
	DROPPED_BLOCK = 5000, /* + number: of pages that nobody saw */
	MULTIFD_LINKS = 300,
	PATH_SIZE = 512,
};

/* A packet of the recording, or one that was made and never written. */
struct packet {
	uint8_t *wire, *pages;
	size_t length;
	uint32_t flags, count, normal, block, interval, lane;
	uint64_t number, offsets[PACKET_PAGES];
	bool dropped, dispatched;
	bool repeats; /* its first page is the last one of the packet before */
};

/* A channel. */
struct lane {
	uint32_t count, written, syncs;
	struct packet *packets[LANE_PACKETS];
	uint8_t initial[INITIAL_SIZE];
	void *receiver;
};

static struct replay {
	struct mr_migration *migration;
	struct mr_profile profile;
	const struct mr_multifd_method *method;
	struct mr_outgoing_config config;
	struct mr_outgoing_statistics statistics;
	struct mr_multifd_send *send;
	bool numbered_at_dispatch;
	uint32_t packet_count, lane_count;
	struct packet packets[PACKETS];
	struct lane lanes[LANES];
	uint32_t lane_of[MULTIFD_LINKS];   /* by connection */
	struct packet *order[PACKETS];     /* packets with pages as they were dispatched */
	uint32_t order_count, dispatched;  /* how many, how many so far */
	struct packet *by_number[PACKETS]; /* where numbers follow the steps */
	uint64_t next_number;              /* of them */
	struct packet *current;            /* whose pages are looked at */
	uint32_t intervals;                /* barriers */
	uint32_t repeats;
} replay;

/* ---- Reading ---- */

static struct packet *new_packet(void)
{
	assert_true(replay.packet_count < PACKETS);
	return &replay.packets[replay.packet_count++];
}

static void read_pages(struct lane *lane, struct packet *packet, const struct mr_multifd_packet *record)
{
	uint8_t *pages[PACKET_PAGES];
	char found[96];

	packet->pages = malloc((size_t)PACKET_PAGES * PAGE);
	assert_non_null(packet->pages);
	for (uint32_t i = 0; i < PACKET_PAGES; i++)
		pages[i] = packet->pages + (size_t)i * PAGE;
	assert_int_equal(replay.method->recv(lane->receiver, record->payload, pages, record->normal_pages, found),
			 MR_NO_RULE);
}

static void read_packet(struct lane *lane, const struct mr_record *record, const uint8_t *wire)
{
	const struct mr_multifd_packet *from = &record->packet;
	struct packet *packet = new_packet();

	packet->length = (size_t)record->length;
	packet->wire = malloc(packet->length);
	assert_non_null(packet->wire);
	memcpy(packet->wire, wire, packet->length);
	packet->flags = from->flags;
	packet->normal = from->normal_pages;
	packet->count = from->normal_pages + from->zero_pages;
	packet->block = from->block;
	packet->number = from->packet_num;
	packet->interval = lane->syncs;
	packet->lane = (uint32_t)(lane - replay.lanes);
	for (uint32_t i = 0; i < packet->count; i++)
		packet->offsets[i] = mr_multifd_offset(from, i);
	if (packet->normal)
		read_pages(lane, packet, from);
	lane->syncs += packet->flags & MR_MULTIFD_FLAG_SYNC;
	assert_true(lane->count < LANE_PACKETS);
	lane->packets[lane->count++] = packet;
}

static void read_record(const struct mr_channel *channel, const struct mr_record *record, const uint8_t *wire)
{
	struct lane *lane;

	if (record->kind == MR_MULTIFD_INIT) {
		assert_true(record->init.id < LANES && channel->number < MULTIFD_LINKS);
		replay.lane_of[channel->number] = record->init.id;
		replay.lane_count++;
		lane = &replay.lanes[record->init.id];
		memcpy(lane->initial, wire, INITIAL_SIZE);
		lane->receiver = replay.method->recv_setup(PAGE);
		assert_non_null(lane->receiver);
	}
	if (record->kind == MR_MULTIFD_PACKET)
		read_packet(&replay.lanes[replay.lane_of[channel->number]], record, wire);
}

static void read_settings(void)
{
	const struct mr_recording *recording = replay.migration->recording;
	const char *detection = mr_recording_parameter_string(recording, "zero-page-detection", "");

	replay.profile = replay.migration->session->context.profile;
	replay.method =
		mr_multifd_method_by_name(mr_recording_parameter_string(recording, "multifd-compression", "none"));
	assert_non_null(replay.method);
	replay.config.method = replay.method;
	replay.config.method_level = INT32_MIN;
	replay.config.multifd_channels = (uint32_t)mr_recording_parameter_integer(recording, "multifd-channels", 0);
	if (strcmp(detection, "multifd") == 0)
		replay.config.zero_detection = MR_ZERO_MULTIFD;
	replay.numbered_at_dispatch = replay.profile.on[MR_SWITCH_PACKET_NUM_REPEATS];
}

/* False if the migration has no multifd channels. */
static bool read_recording(const char *path)
{
	const struct mr_stream_options options = {.role_given = false};
	struct mr_channel *channel;
	struct mr_record record;
	const uint8_t *wire;
	char error[PATH_SIZE];
	enum mr_result result;

	memset(&replay, 0, sizeof(replay));
	if (mr_migration_open(&replay.migration, path, &options, NULL, NULL, error, sizeof(error)) != 0)
		fail_msg("%s", error);
	read_settings();
	do {
		result = mr_migration_next(replay.migration, &channel, &record, &wire);
		if (result == MR_RECORD)
			read_record(channel, &record, wire);
	} while (result == MR_RECORD || channel);
	replay.intervals = replay.lanes[0].syncs;
	return replay.lane_count > 0;
}

static void forget_recording(void)
{
	for (uint32_t i = 0; i < replay.packet_count; i++) {
		free(replay.packets[i].wire);
		free(replay.packets[i].pages);
	}
	for (uint32_t i = 0; i < replay.lane_count; i++)
		replay.method->recv_cleanup(replay.lanes[i].receiver);
	mr_multifd_send_clear(replay.send);
	free(replay.send);
	mr_migration_close(replay.migration);
}

/* ---- The order in which packets were dispatched ---- */

static uint64_t lowest(const struct packet *packet)
{
	uint64_t offset = UINT64_MAX;

	for (uint32_t i = 0; i < packet->count; i++)
		if (packet->offsets[i] < offset)
			offset = packet->offsets[i];
	return offset;
}

static int by_scan(const void *left, const void *right)
{
	const struct packet *a = *(struct packet *const *)left, *b = *(struct packet *const *)right;

	if (a->block != b->block)
		return a->block < b->block ? -1 : 1;
	return lowest(a) < lowest(b) ? -1 : lowest(a) > lowest(b);
}

static int by_interval_and_number(const void *left, const void *right)
{
	const struct packet *a = *(struct packet *const *)left, *b = *(struct packet *const *)right;

	if (a->interval != b->interval)
		return a->interval < b->interval ? -1 : 1;
	return a->number < b->number ? -1 : a->number > b->number;
}

static bool is_number_used(uint64_t number)
{
	for (uint32_t i = 0; i < replay.packet_count; i++)
		if (replay.packets[i].number == number)
			return true;
	return false;
}

/* Packets whose number was overwritten get back one of those that nobody has, in the order of the scan. */
static void restore_numbers(void)
{
	struct packet *merged[PACKETS];
	uint64_t number = 0;

	for (uint32_t interval = 0; interval < replay.intervals; interval++) {
		uint32_t count = 0;

		for (uint32_t i = 0; i < replay.packet_count; i++) {
			struct packet *packet = &replay.packets[i];

			if (packet->interval == interval && packet->count && packet->flags & MR_MULTIFD_FLAG_SYNC)
				merged[count++] = packet;
		}
		qsort(merged, count, sizeof(struct packet *), by_scan);
		for (uint32_t i = 0; i < count; i++) {
			while (is_number_used(number))
				number++;
			assert_true(number < merged[i]->number);
			merged[i]->number = number;
		}
	}
}

static void order_by_number(void)
{
	restore_numbers();
	for (uint32_t i = 0; i < replay.packet_count; i++)
		if (replay.packets[i].count)
			replay.order[replay.order_count++] = &replay.packets[i];
	qsort(replay.order, replay.order_count, sizeof(struct packet *), by_interval_and_number);
}

/* The barriers that were over when this number was given. */
static uint32_t barriers_before(uint64_t number)
{
	uint32_t barriers = 0;

	for (uint32_t interval = 0; interval < replay.intervals; interval++) {
		uint64_t last = 0;

		for (uint32_t i = 0; i < replay.packet_count; i++) {
			const struct packet *packet = &replay.packets[i];

			if (packet->interval == interval && packet->flags & MR_MULTIFD_FLAG_SYNC &&
			    packet->number > last)
				last = packet->number;
		}
		barriers += last < number;
	}
	return barriers;
}

/* Stands for a packet of zero pages that had this number and was not written. */
static void add_dropped(uint64_t number)
{
	struct packet *packet = new_packet();
	uint32_t place = 0;

	packet->dropped = true;
	packet->number = number;
	packet->count = 1;
	packet->block = DROPPED_BLOCK + (uint32_t)number;
	packet->interval = barriers_before(number);
	while (place < replay.order_count &&
	       (replay.order[place]->interval < packet->interval ||
		(replay.order[place]->interval == packet->interval && replay.order[place]->number < number)))
		place++;
	memmove(&replay.order[place + 1], &replay.order[place],
		(replay.order_count++ - place) * sizeof(struct packet *));
	replay.order[place] = packet;
}

static void order_by_scan(void)
{
	uint64_t numbers = 0;

	for (uint32_t interval = 0; interval <= replay.intervals; interval++) {
		const uint32_t first = replay.order_count;

		for (uint32_t i = 0; i < replay.packet_count; i++)
			if (replay.packets[i].count && replay.packets[i].interval == interval)
				replay.order[replay.order_count++] = &replay.packets[i];
		qsort(replay.order + first, replay.order_count - first, sizeof(struct packet *), by_scan);
	}
	for (uint32_t i = 0; i < replay.packet_count; i++)
		if (replay.packets[i].number >= numbers)
			numbers = replay.packets[i].number + 1;
	for (uint64_t number = 0; number < numbers; number++)
		if (!is_number_used(number))
			add_dropped(number);
	for (uint32_t i = 0; i < replay.packet_count; i++)
		replay.by_number[replay.packets[i].number] = &replay.packets[i];
}

static void mark_repeats(void)
{
	for (uint32_t i = 1; i < replay.order_count; i++) {
		const struct packet *before = replay.order[i - 1];
		struct packet *packet = replay.order[i];

		packet->repeats = before->interval == packet->interval && before->block == packet->block &&
				  before->offsets[before->count - 1] == packet->offsets[0];
		if (packet->repeats)
			assert_int_equal(before->count, PACKET_PAGES);
		replay.repeats += packet->repeats;
	}
}

/* ---- What the senders ask ---- */

static uint64_t choose(void *argument, enum mr_choice choice, uint64_t canonical)
{
	struct packet *packet = replay.order[replay.dispatched];

	(void)argument;
	if (choice == MR_CHOICE_REPEAT)
		return replay.dispatched < replay.order_count && packet->repeats;
	assert_int_equal(choice, MR_CHOICE_CHANNEL);
	assert_true(replay.dispatched < replay.order_count);
	replay.dispatched++;
	packet->dispatched = true;
	if (packet->dropped)
		packet->lane = (uint32_t)canonical;
	return packet->lane;
}

static const uint8_t *page(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	static const uint8_t zero[PAGE];
	const struct packet *packet = replay.current;

	(void)argument;
	(void)look;
	assert_int_equal(actor, MR_SOURCE_MULTIFD + packet->lane);
	assert_int_equal(block, packet->block);
	for (uint32_t i = 0; i < packet->count; i++)
		if (packet->offsets[i] == offset)
			return i < packet->normal ? packet->pages + (size_t)i * PAGE : zero;
	fail_msg("packet %" PRIu64 " has no page 0x%" PRIx64, packet->number, offset);
	return NULL;
}

/* ---- Steps ---- */

static void expect_bytes(const struct packet *packet, const struct mr_multifd_sent *sent)
{
	const uint8_t *head = packet->wire, *payload = packet->wire + sent->head.length;

	assert_int_equal(sent->head.length + sent->payload.length, packet->length);
	for (size_t i = 0; i < sent->head.length; i++)
		if (sent->head.data[i] != head[i])
			fail_msg("packet %" PRIu64 " of channel %u: byte %zu is %02x, not %02x", packet->number,
				 packet->lane, i, sent->head.data[i], head[i]);
	if (sent->payload.length)
		assert_memory_equal(sent->payload.data, payload, sent->payload.length);
}

static void write_packet(struct packet *packet)
{
	struct lane *lane = &replay.lanes[packet->lane];
	struct mr_multifd_sent sent;

	replay.current = packet;
	if (packet->dropped) {
		assert_int_equal(mr_multifd_send_step(replay.send, packet->lane, &sent), MR_SENDER_DROPPED);
		return;
	}
	assert_ptr_equal(lane->packets[lane->written], packet);
	assert_int_equal(mr_multifd_send_step(replay.send, packet->lane, &sent), MR_SENDER_SENT);
	expect_bytes(packet, &sent);
	lane->written++;
}

/* One step towards the next packet of this channel: its own, or that of the next number. */
static void step_towards(uint32_t lane)
{
	struct packet *packet;

	if (replay.numbered_at_dispatch) {
		assert_true(replay.lanes[lane].written < replay.lanes[lane].count);
		packet = replay.lanes[lane].packets[replay.lanes[lane].written];
	} else {
		packet = replay.by_number[replay.next_number++];
		assert_true(packet && (packet->dispatched || packet->count == 0));
	}
	write_packet(packet);
}

/* The channel that the next packet is dispatched to has to be free by then. */
static void free_channel(void)
{
	const struct packet *packet = replay.order[replay.dispatched];

	if (packet->dropped) {
		while (mr_multifd_send_has_work(replay.send, 0) && mr_multifd_send_has_work(replay.send, 1))
			step_towards(0);
		return;
	}
	while (mr_multifd_send_has_work(replay.send, packet->lane))
		step_towards(packet->lane);
}

/* The order in which the migration thread queued the pages: those of zeros were put to the end only later. */
static int by_offset(const void *left, const void *right)
{
	const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return a < b ? -1 : a > b;
}

static void queue_packet(uint32_t place)
{
	const struct packet *packet = replay.order[place];
	const char *name = packet->dropped ? "dropped" : replay.migration->session->blocks[packet->block].name;
	const bool eager = replay.profile.on[MR_SWITCH_PACKET_FILL_EAGER];
	uint64_t offsets[PACKET_PAGES];

	memcpy(offsets, packet->offsets, sizeof(offsets));
	if (mr_multifd_send_finds_zeros(&replay.config, &replay.profile))
		qsort(offsets, packet->count, sizeof(uint64_t), by_offset);
	/* a page comes again only if its sender has taken it */
	if (packet->repeats && mr_multifd_send_has_work(replay.send, replay.order[place - 1]->lane))
		step_towards(replay.order[place - 1]->lane);
	for (uint32_t i = packet->repeats; i < packet->count; i++) {
		if (replay.dispatched < place || (eager && i + 1 == PACKET_PAGES))
			free_channel();
		assert_int_equal(mr_multifd_send_page(replay.send, packet->block, name, offsets[i]), MR_QUEUE_DONE);
	}
}

/* The packet of a lane that carries the SYNC of this interval: how many stand before it. */
static uint32_t sync_place(const struct lane *lane, uint32_t interval)
{
	uint32_t place = 0;

	while (lane->packets[place]->interval != interval || !(lane->packets[place]->flags & MR_MULTIFD_FLAG_SYNC))
		place++;
	return place;
}

/* Writes what the lanes have before the SYNC, or up to it. */
static void write_up_to(uint32_t interval, bool sync)
{
	for (uint32_t i = 0; i < replay.lane_count; i++) {
		const uint32_t place = sync_place(&replay.lanes[i], interval) + sync;

		while (replay.lanes[i].written < place)
			step_towards(i);
	}
}

static void synchronise(uint32_t interval)
{
	if (replay.dispatched < replay.order_count && replay.order[replay.dispatched]->interval == interval) {
		free_channel();
		assert_int_equal(mr_multifd_send_sync(replay.send), MR_QUEUE_ON);
	}
	if (replay.numbered_at_dispatch)
		write_up_to(interval, false);
	assert_int_equal(mr_multifd_send_sync(replay.send), MR_QUEUE_WAITS);
	assert_true(mr_multifd_send_has_work(replay.send, mr_multifd_send_awaited(replay.send)));
	write_up_to(interval, true);
	assert_int_equal(mr_multifd_send_sync(replay.send), MR_QUEUE_DONE);
}

static void start_senders(void)
{
	static const struct mr_choices choices = {NULL, choose};

	replay.config.choices = &choices;
	replay.config.memory.page = page;
	replay.send = calloc(1, mr_multifd_send_size(&replay.config));
	assert_non_null(replay.send);
	assert_non_null(mr_multifd_send_init(replay.send, &replay.config, &replay.profile, &replay.statistics));
	assert_int_equal(mr_multifd_send_channels(replay.send), replay.lane_count);
	for (uint32_t i = 0; i < replay.lane_count; i++) {
		const struct mr_bytes initial = mr_multifd_send_initial(replay.send, i);

		assert_int_equal(initial.length, INITIAL_SIZE);
		assert_memory_equal(initial.data, replay.lanes[i].initial, INITIAL_SIZE);
	}
}

/* What query-migrate said in the end; pages of postcopy are not ours. */
static void check_statistics(void)
{
	const json_t *ram = json_object_get(json_object_get(replay.migration->recording->manifest, "source"), "ram");
	const bool postcopy = mr_recording_has_capability(replay.migration->recording, "postcopy-ram");

	assert_true(json_is_object(ram));
	assert_int_equal(replay.statistics.multifd_bytes, json_integer_value(json_object_get(ram, "multifd-bytes")));
	if (!postcopy)
		assert_int_equal(replay.statistics.normal, json_integer_value(json_object_get(ram, "normal")));
	if (replay.profile.on[MR_SWITCH_PACKET_ZERO_PAGES] && !replay.profile.on[MR_SWITCH_ZERO_PAGES_DROPPED])
		assert_int_equal(replay.statistics.duplicate, json_integer_value(json_object_get(ram, "duplicate")));
	assert_int_equal(replay.statistics.chosen[MR_CHOICE_REPEAT], replay.repeats);
}

static bool check_recording(const char *path)
{
	uint32_t place = 0;

	if (!read_recording(path)) {
		forget_recording();
		return false;
	}
	if (replay.numbered_at_dispatch)
		order_by_number();
	else
		order_by_scan();
	mark_repeats();
	start_senders();
	for (uint32_t interval = 0; interval < replay.intervals; interval++) {
		while (place < replay.order_count && replay.order[place]->interval == interval)
			queue_packet(place++);
		synchronise(interval);
	}
	assert_int_equal(place, replay.order_count);
	for (uint32_t i = 0; i < replay.lane_count; i++)
		while (replay.lanes[i].written < replay.lanes[i].count)
			step_towards(i);
	check_statistics();
	print_message("%s: %u packets, %u pages repeated\n", path, replay.packet_count, replay.repeats);
	forget_recording();
	return true;
}

static unsigned check_folder(const char *place)
{
	DIR *listing = opendir(place);
	struct dirent *entry;
	unsigned count = 0;

	while (listing && (entry = readdir(listing)) != NULL) {
		char path[PATH_SIZE];

		snprintf(path, sizeof(path), "%s/%s", place, entry->d_name);
		/* a file of mapped-ram has no channels */
		if (strstr(entry->d_name, "multifd") && !strstr(entry->d_name, "mapped"))
			count += check_recording(path);
	}
	if (listing)
		closedir(listing);
	return count;
}

/* keeps MFS-001, MFS-002, MFS-003, MFS-005, MFS-006, MFS-007, MFS-008, MFS-010, MFS-011, MFS-012, MFS-013, MFS-014 */
static void test_recordings(void **state)
{
	(void)state;
	if (check_folder("../shared/recordings") + check_folder("vectors/recordings") == 0) {
		print_message("skipped: no recording of multifd channels is there\n");
		skip();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_recordings)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
