/*
 * The senders of multifd channels: each rule by hand, then random pages, schedules and choices in every release, read
 * back by the decoder, the methods and the checker.
 */
#include "wire_support.h"

#include "guard.h"
#include "ref/machine/multifd_send.h"

enum {
	PAGE = 4096,
	PACKET_PAGES = 128,
	BLOCKS = 3,
	BLOCK_PAGES = 300, /* of the largest */
	CHANNELS_MAX = 4,
	HEAD_SIZE = 1344,
	INITIAL_SIZE = 64,
	NAME_AT = 64,
	OFFSETS_AT = 320,
	ROUNDS = 4, /* barriers of a random run */
	RUNS_MAX = 8,
	QUEUED_MAX = 4096,
	PACKETS_MAX = 512,
	ANSWER_CANONICAL = 99,
};

static const char *const releases[] = {"6.2", "7.2", "8.2", "9.0", "9.2", "10.0", "11.1"};
static const char *const methods[] = {"none", "zlib", "zstd"};
static const char *const block_names[BLOCKS] = {"pc.ram", "/rom@etc/acpi/tables", "vga.vram"};
static const uint32_t block_pages[BLOCKS] = {BLOCK_PAGES, 5, 140};

/* ---- A guest and its senders ---- */

struct queued {
	uint32_t block, round;
	uint64_t offset;
};

/* A packet that was handed over. */
struct handed {
	uint32_t channel, first, count; /* of its pages among those queued */
	uint32_t normal;
	bool taken, dropped;
};

static struct world {
	struct mr_multifd_send *send;
	struct guard arena;
	struct mr_outgoing_config config;
	struct mr_profile profile;
	struct mr_outgoing_statistics statistics;
	struct mr_choices choices;
	struct random random;
	uint64_t channel_answer, repeat_answer; /* ANSWER_CANONICAL: whatever is canonical; of a run by hand */
	bool at_random;
	uint8_t memory[BLOCKS][BLOCK_PAGES][PAGE];
	unsigned looks[2];
	struct mr_multifd_sent sent; /* the packet made last */

	/* what a random run keeps for its judge */
	uint32_t round, queued_count, handed_count, handed_pages, repeats;
	struct queued queued[QUEUED_MAX];
	struct handed handed[PACKETS_MAX];
	uint32_t busy[CHANNELS_MAX]; /* jobs, counted by the test */
	uint32_t last_channel;
	uint32_t syncs[CHANNELS_MAX];
	uint64_t numbers; /* packets made so far */
	uint8_t *stream[CHANNELS_MAX], *looked[CHANNELS_MAX];
	size_t stream_length[CHANNELS_MAX], looked_length[CHANNELS_MAX];
} world;

static bool does(enum mr_switch which)
{
	return world.profile.on[which];
}

static const uint8_t *page(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	const uint32_t channel = actor - MR_SOURCE_MULTIFD;
	const uint8_t *content;

	(void)argument;
	assert_true(channel < mr_multifd_send_channels(world.send) && block < BLOCKS);
	assert_true(offset % PAGE == 0 && offset / PAGE < block_pages[block]);
	content = world.memory[block][offset / PAGE];
	world.looks[look]++;
	if (world.looked[channel] && look == MR_LOOK_SEND) {
		memcpy(world.looked[channel] + world.looked_length[channel], content, PAGE);
		world.looked_length[channel] += PAGE;
	}
	return content;
}

static uint64_t answer_of(enum mr_choice choice, uint64_t canonical)
{
	if (world.at_random)
		return choice == MR_CHOICE_REPEAT       ? random_below(&world.random, 4)
		       : random_below(&world.random, 2) ? canonical
							: random_below(&world.random, CHANNELS_MAX + 2);
	if (choice == MR_CHOICE_REPEAT)
		return world.repeat_answer == ANSWER_CANONICAL ? canonical : world.repeat_answer;
	return world.channel_answer == ANSWER_CANONICAL ? canonical : world.channel_answer;
}

/* The packet that is handed over now has the pages that were queued since the last one. */
static void note_dispatch(uint64_t canonical, uint64_t answer)
{
	const uint32_t channels = mr_multifd_send_channels(world.send);
	const bool possible = answer < channels && world.busy[answer] == 0;
	const uint32_t channel = (uint32_t)(possible ? answer : canonical);
	uint32_t next = world.last_channel;

	/* the next one behind the last that is free */
	do
		next = (next + 1) % channels;
	while (world.busy[next]);
	assert_int_equal(canonical, next);
	assert_true(world.handed_count < PACKETS_MAX);
	world.handed[world.handed_count++] = (struct handed){
		.channel = channel, .first = world.handed_pages, .count = world.queued_count - world.handed_pages};
	world.handed_pages = world.queued_count;
	world.busy[channel]++;
	world.last_channel = channel;
}

static void note_queued(struct queued queued)
{
	assert_true(world.queued_count < QUEUED_MAX);
	world.queued[world.queued_count++] = queued;
}

static uint64_t choose(void *argument, enum mr_choice choice, uint64_t canonical)
{
	const uint64_t answer = answer_of(choice, canonical);

	(void)argument;
	if (!world.at_random)
		return answer;
	if (choice == MR_CHOICE_CHANNEL) {
		note_dispatch(canonical, answer);
	} else if (answer == 1) {
		world.repeats++;
		note_queued(world.queued[world.queued_count - 1]);
	}
	return answer;
}

/* Senders of a release, without a choice that is not canonical. */
static void start(const char *release, const char *method, uint32_t channels)
{
	size_t size;

	world.config.method = mr_multifd_method_by_name(method);
	world.config.method_level = INT32_MIN;
	world.config.multifd_channels = channels;
	world.config.memory.page = page;
	world.config.choices = &world.choices;
	world.choices.choose = choose;
	world.channel_answer = world.repeat_answer = ANSWER_CANONICAL;
	memset(world.config.uuid, 0xab, sizeof(world.config.uuid));
	assert_int_equal(mr_profile_init(&world.profile, release), 0);
	size = mr_multifd_send_size(&world.config);
	assert_true(size > 0 && size % sizeof(uint64_t) == 0);
	world.arena = guard_new(size);
	world.send =
		mr_multifd_send_init(guard_end(&world.arena, size), &world.config, &world.profile, &world.statistics);
	assert_non_null(world.send);
	assert_int_equal(mr_multifd_send_channels(world.send), channels);
}

static void end(void)
{
	mr_multifd_send_clear(world.send);
	guard_free(&world.arena);
	for (uint32_t i = 0; i < CHANNELS_MAX; i++) {
		free(world.stream[i]);
		free(world.looked[i]);
	}
	memset(&world, 0, sizeof(world));
}

static void restart(const char *release, const char *method, uint32_t channels)
{
	end();
	start(release, method, channels);
}

/* ---- By hand ---- */

static enum mr_multifd_queue queue(uint32_t block, uint32_t number)
{
	return mr_multifd_send_page(world.send, block, block_names[block], (uint64_t)number * PAGE);
}

static void queue_run(uint32_t block, uint32_t first, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(queue(block, first + i), MR_QUEUE_DONE);
}

static void expect_step(uint32_t channel, enum mr_multifd_step step)
{
	assert_int_equal(mr_multifd_send_step(world.send, channel, &world.sent), step);
}

static uint64_t field(size_t offset, unsigned width)
{
	uint64_t number = 0;

	assert_int_equal(world.sent.head.length, HEAD_SIZE);
	for (unsigned i = 0; i < width; i++)
		number = number << 8 | world.sent.head.data[offset + i];
	return number;
}

/* One step that writes a packet with these flags, pages and number. */
static void expect_packet(uint32_t channel, uint32_t flags, uint32_t normal, uint64_t number)
{
	expect_step(channel, MR_SENDER_SENT);
	assert_int_equal(field(8, 4), flags);
	assert_int_equal(field(16, 4), normal);
	assert_int_equal(field(24, 8), number);
	assert_int_equal(world.sent.normal, normal);
	assert_int_equal(world.sent.sync, flags & MR_MULTIFD_FLAG_SYNC);
}

static void expect_sync(enum mr_multifd_queue queue)
{
	assert_int_equal(mr_multifd_send_sync(world.send), queue);
}

static void fill_memory(uint8_t byte)
{
	memset(world.memory, byte, sizeof(world.memory));
}

static void fill_page(uint32_t block, uint32_t number, uint8_t byte)
{
	memset(world.memory[block][number], byte, PAGE);
}

/* keeps MFS-001; anything else in these 64 bytes breaks MFS-001 */
static void test_initial_packet(void **state)
{
	static struct stream stream;
	struct mr_bytes initial;

	(void)state;
	start("11.1", "none", 3);
	for (uint32_t i = 0; i < 3; i++) {
		initial = mr_multifd_send_initial(world.send, i);
		stream.length = 0;
		put_number(&stream, 4, 0x11223344);
		put_number(&stream, 4, 1);
		put_fill(&stream, 0xab, 16);
		put_number(&stream, 1, i);
		put_fill(&stream, 0, 39);
		assert_int_equal(initial.length, INITIAL_SIZE);
		assert_memory_equal(initial.data, stream.data, INITIAL_SIZE);
	}
	/* it is no packet: numbers begin at 0 all the same */
	assert_int_equal(world.statistics.multifd_bytes, 3 * INITIAL_SIZE);
	expect_sync(MR_QUEUE_WAITS);
	expect_packet(0, MR_MULTIFD_FLAG_SYNC, 0, 0);
	end();
}

static void test_configuration(void **state)
{
	struct mr_outgoing_config config = {.method_level = INT32_MIN};

	(void)state;
	assert_true(mr_multifd_send_size(&config) > MR_PACKET_PAYLOAD_MAX);
	config.multifd_channels = MR_OUTGOING_MULTIFD_MAX + 1;
	assert_int_equal(mr_multifd_send_size(&config), 0);
	config.multifd_channels = MR_OUTGOING_MULTIFD_MAX;
	assert_true(mr_multifd_send_size(&config) > 0);
	config.target_page_size = 3000;
	assert_int_equal(mr_multifd_send_size(&config), 0);
	config.target_page_size = 1024;
	assert_true(mr_multifd_send_size(&config) > 0);
	config.method = mr_multifd_method_by_name("zlib");
	config.method_level = 10;
	assert_int_equal(mr_multifd_send_size(&config), 0);
	config.method_level = -1;
	assert_int_equal(mr_multifd_send_size(&config), 0);
	config.method_level = 9;
	assert_true(mr_multifd_send_size(&config) > 0);
	/* raw pages have no level */
	config.method = NULL;
	assert_true(mr_multifd_send_size(&config) > 0);
	mr_multifd_send_clear(NULL);
}

/* keeps MFS-002; a packet of two blocks, or of more pages, breaks MFS-002 */
static void test_packets_of_one_block(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(releases) / sizeof(releases[0]); i++) {
		start(releases[i], "none", 1);
		fill_memory(1);
		queue_run(0, 7, 3);
		/* another block: the queue goes out first */
		queue_run(1, 0, 1);
		expect_packet(0, 0, 3, 0);
		assert_string_equal((const char *)world.sent.head.data + NAME_AT, block_names[0]);
		assert_int_equal(field(OFFSETS_AT, 8), 7 * PAGE);
		assert_int_equal(field(OFFSETS_AT + 16, 8), 9 * PAGE);
		assert_int_equal(world.sent.block, 0);
		assert_int_equal(world.sent.page, 7 * PAGE);
		queue_run(0, 0, 1);
		expect_packet(0, 0, 1, 1);
		assert_string_equal((const char *)world.sent.head.data + NAME_AT, block_names[1]);
		assert_int_equal(world.sent.block, 1);
		end();
	}
}

/*
 * keeps MFS-003: with its last page up to 8.2, with the page behind it from 9.0 on; a queue that is handed over
 * earlier, or that takes another page, breaks MFS-003
 */
static void test_time_of_dispatch(void **state)
{
	(void)state;
	start("8.2", "none", 1);
	queue_run(0, 0, PACKET_PAGES - 1);
	assert_false(mr_multifd_send_has_work(world.send, 0));
	queue_run(0, PACKET_PAGES - 1, 1);
	assert_true(mr_multifd_send_has_work(world.send, 0));
	/* nobody is free for the next one: its last page waits */
	queue_run(0, PACKET_PAGES, PACKET_PAGES - 1);
	assert_int_equal(queue(0, 2 * PACKET_PAGES - 1), MR_QUEUE_WAITS);
	assert_int_equal(queue(1, 0), MR_QUEUE_WAITS);
	assert_int_equal(mr_multifd_send_awaited(world.send), 0);
	expect_packet(0, 0, PACKET_PAGES, 0);
	assert_int_equal(queue(0, 2 * PACKET_PAGES - 1), MR_QUEUE_DONE);
	expect_packet(0, 0, PACKET_PAGES, 1);
	assert_int_equal(world.statistics.normal, 2 * PACKET_PAGES);

	restart("9.0", "none", 1);
	fill_memory(1);
	queue_run(0, 0, PACKET_PAGES);
	assert_false(mr_multifd_send_has_work(world.send, 0));
	queue_run(0, PACKET_PAGES, PACKET_PAGES);
	assert_int_equal(queue(0, 2 * PACKET_PAGES), MR_QUEUE_WAITS);
	expect_packet(0, 0, PACKET_PAGES, 0);
	assert_int_equal(queue(0, 2 * PACKET_PAGES), MR_QUEUE_DONE);
	expect_packet(0, 0, PACKET_PAGES, 1);
	expect_step(0, MR_SENDER_IDLE);
	end();
}

/* Queues packets of one page each, by going to and fro between two blocks. */
static void dispatch_one(void)
{
	static uint32_t block;

	block = !block;
	assert_int_equal(queue(block, 0), MR_QUEUE_DONE);
}

/* keeps MFS-004; a channel that has a job breaks MFS-004, so that such an answer counts as canonical */
static void test_choice_of_channel(void **state)
{
	(void)state;
	start("11.1", "none", 3);
	fill_memory(1);
	dispatch_one();
	for (uint32_t i = 0; i < 3; i++)
		dispatch_one();
	for (uint32_t i = 0; i < 3; i++)
		expect_packet(i, 0, 1, i);
	/* 2 was the last: 0, then 2 by choice, then 1 since 2 and 0 are busy */
	dispatch_one();
	world.channel_answer = 2;
	dispatch_one();
	assert_int_equal(world.statistics.chosen[MR_CHOICE_CHANNEL], 1);
	world.channel_answer = 0;
	dispatch_one();
	assert_true(mr_multifd_send_has_work(world.send, 1));
	assert_int_equal(world.statistics.chosen[MR_CHOICE_CHANNEL], 1);
	expect_packet(0, 0, 1, 3);
	/* no such channel */
	world.channel_answer = 3;
	dispatch_one();
	assert_true(mr_multifd_send_has_work(world.send, 0));
	assert_int_equal(world.statistics.chosen[MR_CHOICE_CHANNEL], 1);
	assert_int_equal(world.statistics.choices[MR_CHOICE_CHANNEL], 7);
	end();
}

/* keeps MFS-005: the page that goes out is that of the step; the one of the moment when it was queued breaks MFS-005 */
static void test_time_of_looking(void **state)
{
	(void)state;
	start("7.2", "none", 1);
	fill_page(0, 3, 1);
	queue_run(0, 3, 1);
	queue_run(1, 0, 1);
	fill_page(0, 3, 2);
	assert_int_equal(world.looks[MR_LOOK_SEND], 0);
	expect_packet(0, 0, 1, 0);
	assert_int_equal(world.sent.payload.length, PAGE);
	assert_int_equal(world.sent.payload.data[0], 2);
	assert_int_equal(field(12, 4), PACKET_PAGES);
	assert_int_equal(field(20, 4), PAGE);
	assert_int_equal(world.looks[MR_LOOK_ZERO], 0);
	end();
}

/* Fills a packet, lets its sender take it or not, and tells whether it was asked about its last page. */
static bool is_repeat_asked(const char *release, bool taken, uint64_t answer)
{
	start(release, "none", 2);
	fill_memory(1);
	world.repeat_answer = answer;
	queue_run(0, 0, PACKET_PAGES);
	if (taken)
		expect_packet(0, 0, PACKET_PAGES, 0);
	assert_int_equal(world.statistics.choices[MR_CHOICE_REPEAT], 0);
	queue_run(0, PACKET_PAGES, 1);
	return world.statistics.choices[MR_CHOICE_REPEAT] == 1;
}

/* keeps MFS-006; without the step of the sender, and in other releases, such a page breaks MFS-006 */
static void test_repeat(void **state)
{
	(void)state;
	assert_true(is_repeat_asked("7.2", true, 1));
	assert_int_equal(world.statistics.chosen[MR_CHOICE_REPEAT], 1);
	expect_sync(MR_QUEUE_ON);
	expect_packet(1, 0, 2, 1);
	assert_int_equal(field(OFFSETS_AT, 8), (PACKET_PAGES - 1) * PAGE);
	assert_int_equal(field(OFFSETS_AT + 8, 8), PACKET_PAGES * PAGE);
	/* QEMU counts what it was told to send, not what it sent twice */
	assert_int_equal(world.statistics.normal, PACKET_PAGES + 1);
	end();

	/* what is neither yes nor no is no */
	assert_true(is_repeat_asked("6.2", true, 2));
	assert_int_equal(world.statistics.chosen[MR_CHOICE_REPEAT], 0);
	end();
	assert_false(is_repeat_asked("7.2", false, 1));
	end();
	assert_false(is_repeat_asked("8.2", true, 1));
	end();
	assert_false(is_repeat_asked("11.1", false, 1));
	end();

	/* in front of a barrier: a packet of this page alone */
	start("7.2", "none", 2);
	world.repeat_answer = 1;
	queue_run(0, 0, PACKET_PAGES);
	expect_packet(0, 0, PACKET_PAGES, 0);
	expect_sync(MR_QUEUE_ON);
	expect_packet(1, 0, 1, 1);
	expect_sync(MR_QUEUE_WAITS);
	expect_packet(0, MR_MULTIFD_FLAG_SYNC, 0, 2);
	expect_packet(1, MR_MULTIFD_FLAG_SYNC, 0, 3);
	expect_sync(MR_QUEUE_DONE);
	end();
}

/* Two barriers, the second one with a job that waits on channel 1. Leaves the second SYNC asked for. */
static void begin_two_barriers(const char *release, const char *method)
{
	start(release, method, 2);
	fill_memory(1);
	expect_sync(MR_QUEUE_WAITS);
	expect_packet(0, MR_MULTIFD_FLAG_SYNC, 0, 0);
	assert_int_equal(mr_multifd_send_awaited(world.send), 1);
	expect_sync(MR_QUEUE_WAITS);
	expect_packet(1, MR_MULTIFD_FLAG_SYNC, 0, 1);
	expect_sync(MR_QUEUE_DONE);
	queue_run(0, 0, 4);
	queue_run(1, 0, 2);
	expect_packet(0, world.config.method->flag, 4, 2);
	expect_sync(MR_QUEUE_ON);
	assert_true(mr_multifd_send_has_work(world.send, 1));
}

/*
 * keeps MFS-011, keeps MFS-007: a sender that was too slow sends SYNC with its pages, and behind it an empty packet of
 * the same number; breaks MFS-007 in that the number of its pages is lost
 */
static void test_merged_sync(void **state)
{
	(void)state;
	begin_two_barriers("7.2", "zlib");
	expect_sync(MR_QUEUE_WAITS);
	/* the pages had number 3, which is lost to that of the SYNC */
	expect_packet(1, MR_MULTIFD_FLAG_ZLIB | MR_MULTIFD_FLAG_SYNC, 2, 5);
	assert_int_equal(mr_multifd_send_awaited(world.send), 0);
	expect_packet(0, MR_MULTIFD_FLAG_SYNC, 0, 4);
	/* what is still owed does not hold the barrier up, but its channel is not free */
	expect_sync(MR_QUEUE_DONE);
	assert_true(mr_multifd_send_has_work(world.send, 1));
	queue_run(0, 0, 1);
	queue_run(1, 0, 1);
	assert_true(mr_multifd_send_has_work(world.send, 0));
	assert_int_equal(queue(0, 1), MR_QUEUE_WAITS);
	expect_packet(1, 0, 0, 5);
	assert_int_equal(world.sent.block, UINT32_MAX);
	assert_false(mr_multifd_send_has_work(world.send, 1));
	end();

	/* nor does the next SYNC wait for it: then it is that SYNC, and the empty packet comes behind */
	begin_two_barriers("8.2", "none");
	expect_sync(MR_QUEUE_WAITS);
	expect_packet(0, MR_MULTIFD_FLAG_SYNC, 0, 4);
	expect_packet(1, MR_MULTIFD_FLAG_SYNC, 2, 5);
	expect_sync(MR_QUEUE_DONE);
	expect_sync(MR_QUEUE_WAITS);
	expect_packet(1, MR_MULTIFD_FLAG_SYNC, 0, 7);
	expect_packet(1, 0, 0, 7);
	expect_packet(0, MR_MULTIFD_FLAG_SYNC, 0, 6);
	expect_sync(MR_QUEUE_DONE);
	expect_step(1, MR_SENDER_IDLE);
	end();
}

/*
 * keeps MFS-011: a sender that steps in time sends SYNC alone, and from 9.0 on so does any; a SYNC with pages there
 * breaks MFS-011
 */
static void test_separate_sync(void **state)
{
	(void)state;
	begin_two_barriers("7.2", "zlib");
	expect_packet(1, MR_MULTIFD_FLAG_ZLIB, 2, 3);
	expect_sync(MR_QUEUE_WAITS);
	expect_packet(1, MR_MULTIFD_FLAG_SYNC, 0, 5);
	expect_packet(0, MR_MULTIFD_FLAG_SYNC, 0, 4);
	expect_sync(MR_QUEUE_DONE);
	expect_step(1, MR_SENDER_IDLE);
	end();

	begin_two_barriers("9.0", "zlib");
	expect_sync(MR_QUEUE_WAITS);
	expect_packet(1, MR_MULTIFD_FLAG_ZLIB, 2, 3);
	expect_sync(MR_QUEUE_WAITS);
	/* the numbers are those of the steps: breaks MFS-007 if the order of the channels were in them */
	expect_packet(1, MR_MULTIFD_FLAG_SYNC, 0, 4);
	expect_packet(0, MR_MULTIFD_FLAG_SYNC, 0, 5);
	expect_sync(MR_QUEUE_DONE);
	expect_step(1, MR_SENDER_IDLE);
	end();
}

/* keeps MFS-010; a barrier that is over while a channel has not written its SYNC breaks MFS-010 */
static void test_barrier(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(releases) / sizeof(releases[0]); i++) {
		start(releases[i], "none", 1);
		fill_memory(1);
		queue_run(0, 0, 1);
		queue_run(1, 0, 1);
		/* the queue has to go first, and nobody is there for it */
		expect_sync(MR_QUEUE_WAITS);
		expect_packet(0, 0, 1, 0);
		expect_sync(MR_QUEUE_ON);
		expect_packet(0, 0, 1, 1);
		expect_sync(MR_QUEUE_WAITS);
		expect_sync(MR_QUEUE_WAITS);
		expect_packet(0, MR_MULTIFD_FLAG_SYNC, 0, 2);
		expect_sync(MR_QUEUE_DONE);
		end();
	}
}

/* keeps MFS-008; another order of pages, or a zero page among those that are none, breaks MFS-008 */
static void test_zero_pages(void **state)
{
	/* pages 1, 2, 4 and 7 of eight are zero: first with last until all is parted */
	static const uint32_t expected[8] = {0, 6, 5, 3, 4, 2, 7, 1};

	(void)state;
	start("11.1", "none", 1);
	fill_memory(9);
	fill_page(0, 1, 0);
	fill_page(0, 2, 0);
	fill_page(0, 4, 0);
	fill_page(0, 7, 0);
	queue_run(0, 0, 8);
	queue_run(1, 0, 1);
	expect_packet(0, 0, 4, 0);
	assert_int_equal(field(32, 4), 4);
	assert_int_equal(world.sent.zero, 4);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(field(OFFSETS_AT + 8 * i, 8), expected[i] * PAGE);
	assert_int_equal(world.looks[MR_LOOK_ZERO], 8);
	assert_int_equal(world.looks[MR_LOOK_SEND], 4);
	assert_int_equal(world.statistics.normal, 4);
	assert_int_equal(world.statistics.duplicate, 4);

	/* nobody looks for them here: they are as good as any */
	restart("8.2", "none", 1);
	queue_run(0, 0, 8);
	queue_run(1, 0, 1);
	expect_packet(0, 0, 8, 0);
	assert_int_equal(world.looks[MR_LOOK_ZERO], 0);
	end();
}

static bool finds_zeros(const char *release, enum mr_zero_detection detection)
{
	const struct mr_outgoing_config config = {.zero_detection = detection};
	struct mr_profile profile;

	assert_int_equal(mr_profile_init(&profile, release), 0);
	return mr_multifd_send_finds_zeros(&config, &profile);
}

static void test_who_finds_zeros(void **state)
{
	struct mr_profile profile;
	const struct mr_outgoing_config config = {.zero_detection = MR_ZERO_BY_RELEASE};

	(void)state;
	assert_false(finds_zeros("8.2", MR_ZERO_BY_RELEASE));
	assert_false(finds_zeros("8.2", MR_ZERO_MULTIFD));
	assert_true(finds_zeros("9.0", MR_ZERO_BY_RELEASE));
	assert_true(finds_zeros("9.0", MR_ZERO_MULTIFD));
	assert_false(finds_zeros("9.0", MR_ZERO_NONE));
	assert_false(finds_zeros("9.0", MR_ZERO_LEGACY));
	assert_int_equal(mr_profile_init(&profile, "11.1"), 0);
	mr_profile_apply_machine(&profile, "pc-i440fx-8.2");
	assert_false(mr_multifd_send_finds_zeros(&config, &profile));
}

/* Queues four zero pages, and makes their packet. */
static enum mr_multifd_step step_of_zeros(const char *release, const char *method)
{
	start(release, method, 1);
	queue_run(0, 0, 4);
	queue_run(1, 0, 1);
	return mr_multifd_send_step(world.send, 0, &world.sent);
}

/* keeps MFS-009 without compression and from 10.0 on; with it, each release from 9.0 to 9.2 breaks MFS-009 */
static void test_zero_pages_only(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		assert_int_equal(step_of_zeros("10.0", methods[i]), MR_SENDER_SENT);
		assert_int_equal(field(8, 4), world.config.method->flag);
		assert_int_equal(field(12, 4), PACKET_PAGES);
		assert_int_equal(field(20, 4), 0);
		assert_int_equal(field(32, 4), 4);
		assert_int_equal(world.sent.payload.length, 0);
		end();
	}
	assert_int_equal(step_of_zeros("9.2", "none"), MR_SENDER_SENT);
	end();
	assert_int_equal(step_of_zeros("9.0", "zlib"), MR_SENDER_DROPPED);
	assert_int_equal(world.sent.head.length + world.sent.payload.length, 0);
	assert_int_equal(world.sent.zero, 4);
	/* its number is gone, and it is counted as if it had been written */
	assert_int_equal(world.statistics.multifd_bytes, HEAD_SIZE);
	assert_int_equal(world.statistics.duplicate, 4);
	assert_int_equal(world.statistics.pages, 0);
	fill_memory(1);
	queue_run(0, 0, 1);
	expect_packet(0, MR_MULTIFD_FLAG_ZLIB, 1, 1);
	/* 9.0 left the places of the dropped packet behind the one that is used */
	assert_int_equal(field(OFFSETS_AT + 8, 8), 2 * PAGE);
	end();
}

/* Three pages, one page of another block, SYNC; leaves the SYNC as the packet at hand. */
static void sync_behind_pages(const char *release)
{
	start(release, "none", 1);
	fill_memory(1);
	queue_run(0, 5, 3);
	queue_run(1, 2, 1);
	expect_packet(0, 0, 3, 0);
	expect_sync(MR_QUEUE_ON);
	expect_packet(0, 0, 1, 1);
	assert_int_equal(field(OFFSETS_AT, 8), 2 * PAGE);
	assert_int_equal(field(OFFSETS_AT + 8, 8), does(MR_SWITCH_PACKET_LEFTOVERS) ? 6 * PAGE : 0);
	expect_sync(MR_QUEUE_WAITS);
	expect_packet(0, MR_MULTIFD_FLAG_SYNC, 0, 2);
}

/* keeps MFS-012: what the channel sent before stays up to 9.1; anything but 0 breaks MFS-012 from 9.2 on */
static void test_leftovers(void **state)
{
	static const struct {
		const char *release;
		uint32_t size;
		bool leftovers;
	} cases[] = {
		{"4.2", 0, true}, {"5.0", PAGE, true}, {"7.2", PAGE, true}, {"8.1", PAGE, true}, {"8.2", 0, true},
		{"9.0", 0, true}, {"9.1", 0, true},    {"9.2", 0, false},   {"10.0", 0, false},  {"11.1", 0, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const bool leftovers = cases[i].leftovers;

		sync_behind_pages(cases[i].release);
		assert_int_equal(field(12, 4), leftovers ? PACKET_PAGES : 0);
		assert_int_equal(field(20, 4), cases[i].size);
		assert_true(mr_is_zero(world.sent.head.data + 32, NAME_AT - 32));
		assert_string_equal((const char *)world.sent.head.data + NAME_AT, leftovers ? block_names[1] : "");
		assert_int_equal(field(OFFSETS_AT, 8), leftovers ? 2 * PAGE : 0);
		assert_int_equal(field(OFFSETS_AT + 16, 8), leftovers ? 7 * PAGE : 0);
		end();
	}
}

/* A name of 255 bytes fits, and a shorter one leaves nothing of it. */
static void test_long_name(void **state)
{
	char name[MR_NAME_MAX + 1];

	(void)state;
	start("7.2", "none", 1);
	memset(name, 'x', MR_NAME_MAX);
	name[MR_NAME_MAX] = '\0';
	assert_int_equal(mr_multifd_send_page(world.send, 0, name, 0), MR_QUEUE_DONE);
	queue_run(1, 0, 1);
	expect_packet(0, 0, 1, 0);
	assert_memory_equal(world.sent.head.data + NAME_AT, name, MR_NAME_MAX + 1);
	queue_run(0, 0, 1);
	expect_packet(0, 0, 1, 1);
	assert_true(mr_is_zero(world.sent.head.data + NAME_AT + strlen(block_names[1]),
			       MR_NAME_MAX + 1 - strlen(block_names[1])));
	end();
}

static unsigned setups_left, cleanups;

static void *refusing_setup(size_t page_size, int level)
{
	(void)page_size;
	(void)level;
	return setups_left-- ? &setups_left : NULL;
}

static void counting_cleanup(void *state)
{
	cleanups += state != NULL;
}

static long refusing_prepare(void *state, const uint8_t *const *pages, uint32_t count, uint8_t *out, size_t capacity)
{
	(void)state;
	(void)pages;
	(void)count;
	(void)out;
	(void)capacity;
	return -1;
}

static const struct mr_multifd_method refusing = {
	.name = "refusing",
	.flag = MR_MULTIFD_FLAG_ZSTD,
	.send_setup = refusing_setup,
	.send_cleanup = counting_cleanup,
	.send_prepare = refusing_prepare,
};

/* breaks MFS-013: no stream, no payload; keeps MFS-013 in test_random_runs(), whose payloads have one for each channel
 */
static void test_failures(void **state)
{
	static const struct mr_outgoing_config config = {.method = &refusing, .memory = {.page = page}};
	static struct mr_outgoing_statistics statistics;
	uint8_t *memory = calloc(1, mr_multifd_send_size(&config));

	(void)state;
	assert_non_null(memory);
	assert_int_equal(mr_profile_init(&world.profile, "9.2"), 0);
	setups_left = 1;
	cleanups = 0;
	assert_null(mr_multifd_send_init(memory, &config, &world.profile, &statistics));
	assert_int_equal(cleanups, 1);

	setups_left = 2;
	memset(memory, 0, mr_multifd_send_size(&config));
	world.send = mr_multifd_send_init(memory, &config, &world.profile, &statistics);
	assert_non_null(world.send);
	assert_int_equal(mr_multifd_send_channels(world.send), 2);
	fill_page(0, 0, 1);
	queue_run(0, 0, 1);
	queue_run(1, 0, 1);
	expect_step(0, MR_SENDER_FAILED);
	expect_step(0, MR_SENDER_FAILED);
	assert_true(mr_multifd_send_has_work(world.send, 0));
	mr_multifd_send_clear(world.send);
	assert_int_equal(cleanups, 3);
	free(memory);
	memset(&world, 0, sizeof(world));
}

/* keeps MFS-014; with compression, up to 8.1 say more bytes than were written: breaks MFS-014 for who takes them so */
static void test_statistics(void **state)
{
	(void)state;
	begin_two_barriers("7.2", "zlib");
	expect_sync(MR_QUEUE_WAITS);
	/* six pages, six jobs: two of them are still to be done */
	assert_int_equal(world.statistics.multifd_bytes, 6 * PAGE + 6 * HEAD_SIZE);
	assert_int_equal(world.statistics.normal, 6);
	assert_int_equal(world.statistics.pages, 4);
	end();

	begin_two_barriers("8.2", "zlib");
	expect_packet(1, MR_MULTIFD_FLAG_ZLIB, 2, 3);
	assert_true(world.statistics.multifd_bytes < 4 * HEAD_SIZE + PAGE);
	assert_true(world.statistics.multifd_bytes >= 4 * HEAD_SIZE + world.sent.payload.length);
	assert_int_equal(world.statistics.normal, 6);
	assert_int_equal(world.statistics.pages, 6);
	end();

	begin_two_barriers("9.0", "none");
	assert_int_equal(world.statistics.normal, 4);
	assert_int_equal(world.statistics.multifd_bytes, 3 * HEAD_SIZE + 4 * PAGE);
	end();
}

static const uint8_t *large_page(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	(void)actor;
	(void)block;
	(void)offset;
	(void)look;
	return argument;
}

/* Other pages, other packets: 512 of 1 KiB, 8 of 64 KiB. */
static void test_page_sizes(void **state)
{
	static uint8_t content[MR_PAGE_SIZE_MAX] = {1};

	(void)state;
	for (uint32_t size = MR_PAGE_SIZE_MIN; size <= MR_PAGE_SIZE_MAX; size *= 2) {
		const uint32_t pages = MR_PACKET_DATA_SIZE / size;

		world.config = (struct mr_outgoing_config){.target_page_size = size};
		start("11.1", "none", 1);
		world.config.memory = (struct mr_outgoing_memory){content, large_page};
		for (uint32_t i = 0; i <= pages; i++)
			assert_int_equal(mr_multifd_send_page(world.send, 0, "ram", (uint64_t)i * size), MR_QUEUE_DONE);
		expect_step(0, MR_SENDER_SENT);
		assert_int_equal(world.sent.head.length, OFFSETS_AT + 8 * pages);
		assert_int_equal(world.sent.normal, pages);
		assert_int_equal(world.sent.payload.length, MR_PACKET_DATA_SIZE);
		end();
	}
}

/* ---- At random: what is done ---- */

static void append(uint32_t channel, struct mr_bytes bytes)
{
	if (bytes.length)
		memcpy(world.stream[channel] + world.stream_length[channel], bytes.data, bytes.length);
	world.stream_length[channel] += bytes.length;
}

static struct handed *taken_by(uint32_t channel)
{
	for (uint32_t i = 0; i < world.handed_count; i++)
		if (world.handed[i].channel == channel && !world.handed[i].taken)
			return &world.handed[i];
	return NULL;
}

static void note_step(uint32_t channel, bool dropped)
{
	const struct mr_multifd_sent *sent = &world.sent;

	if (sent->normal + sent->zero) {
		struct handed *handed = taken_by(channel);

		assert_non_null(handed);
		assert_int_equal(sent->normal + sent->zero, handed->count);
		handed->taken = true;
		handed->dropped = dropped;
		handed->normal = sent->normal;
	}
	world.syncs[channel] += sent->sync;
	world.busy[channel]--;
	world.numbers++;
}

static void step(uint32_t channel)
{
	const uint64_t number = world.numbers;
	const enum mr_multifd_step result = mr_multifd_send_step(world.send, channel, &world.sent);

	if (result == MR_SENDER_IDLE)
		return;
	note_step(channel, result == MR_SENDER_DROPPED);
	if (result == MR_SENDER_DROPPED) {
		assert_true(does(MR_SWITCH_ZERO_PAGES_DROPPED) && world.config.method->flag);
		return;
	}
	assert_int_equal(result, MR_SENDER_SENT);
	if (!does(MR_SWITCH_PACKET_NUM_REPEATS))
		assert_int_equal(field(24, 8), number);
	append(channel, world.sent.head);
	append(channel, world.sent.payload);
}

static void step_anybody(void)
{
	while (random_below(&world.random, 3))
		step((uint32_t)random_below(&world.random, mr_multifd_send_channels(world.send)));
}

static void write_memory(void)
{
	const uint32_t block = (uint32_t)random_below(&world.random, BLOCKS);
	uint8_t *content = world.memory[block][random_below(&world.random, block_pages[block])];

	if (random_below(&world.random, 2))
		memset(content, (int)random_below(&world.random, 3), PAGE);
	else
		random_fill(&world.random, content, 64);
}

static void queue_one(uint32_t block, uint32_t number)
{
	enum mr_multifd_queue result;

	do {
		step_anybody();
		write_memory();
		result = queue(block, number);
		if (result == MR_QUEUE_WAITS)
			step(mr_multifd_send_awaited(world.send));
	} while (result == MR_QUEUE_WAITS);
	assert_int_equal(result, MR_QUEUE_DONE);
}

/* True if what was handed over lacks just this page: then the page went along, as it does up to 8.2. */
static bool is_full_with(const struct handed *handed, uint32_t block)
{
	return does(MR_SWITCH_PACKET_FILL_EAGER) && handed->count == PACKET_PAGES - 1 &&
	       world.queued[handed->first].block == block;
}

static void queue_known(uint32_t block, uint32_t number)
{
	const struct queued queued = {block, world.round, (uint64_t)number * PAGE};
	const uint32_t before = world.handed_count;

	queue_one(block, number);
	if (world.handed_count > before && is_full_with(&world.handed[world.handed_count - 1], block)) {
		world.handed[world.handed_count - 1].count++;
		world.handed_pages++;
	}
	note_queued(queued);
}

static void queue_some(bool queued[BLOCKS][BLOCK_PAGES])
{
	const uint32_t runs = 1 + (uint32_t)random_below(&world.random, RUNS_MAX);

	for (uint32_t i = 0; i < runs; i++) {
		const uint32_t block = (uint32_t)random_below(&world.random, BLOCKS);
		uint32_t number = (uint32_t)random_below(&world.random, block_pages[block]);
		uint32_t left = (uint32_t)random_below(&world.random, 200);

		for (; left && number < block_pages[block]; number++, left--)
			if (!queued[block][number]) {
				queued[block][number] = true;
				queue_known(block, number);
			}
	}
}

static void synchronise(void)
{
	enum mr_multifd_queue result;
	bool asked = false;

	do {
		const uint32_t before = world.handed_count;

		step_anybody();
		result = mr_multifd_send_sync(world.send);
		assert_int_equal(result == MR_QUEUE_ON, world.handed_count > before);
		/* once the queue is empty, its first answer means that SYNC was asked for */
		if (result != MR_QUEUE_ON && world.handed_pages == world.queued_count && !asked) {
			asked = true;
			for (uint32_t i = 0; i < mr_multifd_send_channels(world.send); i++)
				world.busy[i]++;
		}
		if (result == MR_QUEUE_WAITS)
			step(mr_multifd_send_awaited(world.send));
	} while (result != MR_QUEUE_DONE);
	world.round++;
	for (uint32_t i = 0; i < mr_multifd_send_channels(world.send); i++)
		assert_int_equal(world.syncs[i], world.round);
}

/* ---- At random: what came of it ---- */

static struct judge {
	struct mr_session session;
	struct mr_decoder decoder;
	unsigned counts[MR_RULE_COUNT];
	struct mr_multifd_packet packets[PACKETS_MAX];
	uint8_t pages[PACKET_PAGES][PAGE];
} judge;

static void count_finding(void *argument, const struct mr_finding *finding)
{
	(void)argument;
	judge.counts[finding->rule]++;
}

/* The order in which the pages of a packet stand there, by the rule for zero pages written another way. */
static void expected_offsets(const struct handed *handed, const struct mr_multifd_packet *packet, uint64_t *offsets)
{
	bool is_normal[PACKET_PAGES] = {false};
	uint32_t low = 0, high = handed->count;

	for (uint32_t i = 0; i < handed->count; i++) {
		offsets[i] = world.queued[handed->first + i].offset;
		for (uint32_t k = 0; k < packet->normal_pages; k++)
			is_normal[i] = is_normal[i] || mr_multifd_offset(packet, k) == offsets[i];
	}
	while (low < high)
		if (is_normal[low]) {
			low++;
		} else {
			const uint64_t zero = offsets[low];

			high--;
			offsets[low] = offsets[high];
			is_normal[low] = is_normal[high];
			offsets[high] = zero;
			is_normal[high] = false;
		}
	assert_int_equal(low, packet->normal_pages);
}

static void judge_pages(const struct handed *handed, const struct mr_multifd_packet *packet, uint32_t round)
{
	const struct queued *queued = &world.queued[handed->first];
	uint64_t offsets[PACKET_PAGES] = {0};

	assert_int_equal(packet->flags & MR_MULTIFD_METHOD_MASK, world.config.method->flag);
	assert_int_equal(packet->normal_pages + packet->zero_pages, handed->count);
	assert_int_equal(packet->normal_pages, handed->normal);
	for (uint32_t i = 0; i < handed->count; i++) {
		assert_int_equal(packet->block, queued[i].block);
		assert_int_equal(round, queued[i].round);
	}
	expected_offsets(handed, packet, offsets);
	for (uint32_t i = 0; i < handed->count; i++)
		assert_int_equal(mr_multifd_offset(packet, i), offsets[i]);
}

/* Reads the contents back, and holds them against what the sender was shown. */
static void judge_content(void *receiver, const struct mr_multifd_packet *packet, const uint8_t **looked)
{
	uint8_t *pages[PACKET_PAGES];
	char found[96];

	for (uint32_t i = 0; i < packet->normal_pages; i++)
		pages[i] = judge.pages[i];
	assert_int_equal(world.config.method->recv(receiver, packet->payload, pages, packet->normal_pages, found),
			 MR_NO_RULE);
	for (uint32_t i = 0; i < packet->normal_pages; i++, *looked += PAGE)
		assert_memory_equal(judge.pages[i], *looked, PAGE);
}

/* What a packet without pages is: a SYNC, or up to 8.2 what is owed behind one. */
static void judge_empty(const struct mr_multifd_packet *packet, const struct mr_multifd_packet *before)
{
	assert_int_equal(packet->flags & ~(uint32_t)MR_MULTIFD_FLAG_SYNC, 0);
	if (packet->flags)
		return;
	assert_true(before && does(MR_SWITCH_SYNC_WITH_PAGES));
	if (!before)
		return;
	assert_true(before->flags & MR_MULTIFD_FLAG_SYNC);
	assert_int_equal(packet->packet_num, before->packet_num);
}

static const struct handed *next_handed(uint32_t channel, uint32_t *place)
{
	while (*place < world.handed_count && (world.handed[*place].channel != channel || world.handed[*place].dropped))
		++*place;
	return *place < world.handed_count ? &world.handed[(*place)++] : NULL;
}

static void judge_packets(uint32_t channel, uint32_t count)
{
	void *receiver = world.config.method->recv_setup(PAGE);
	const uint8_t *looked = world.looked[channel];
	uint32_t place = 0, round = 0;

	for (uint32_t i = 0; i < count; i++) {
		const struct mr_multifd_packet *packet = &judge.packets[i];

		if (packet->normal_pages + packet->zero_pages) {
			const struct handed *handed = next_handed(channel, &place);

			assert_non_null(handed);
			judge_pages(handed, packet, round);
		} else {
			judge_empty(packet, i ? &judge.packets[i - 1] : NULL);
		}
		if (packet->normal_pages)
			judge_content(receiver, packet, &looked);
		round += packet->flags & MR_MULTIFD_FLAG_SYNC;
	}
	assert_int_equal(round, ROUNDS);
	assert_null(next_handed(channel, &place));
	assert_int_equal(looked - world.looked[channel], world.looked_length[channel]);
	world.config.method->recv_cleanup(receiver);
}

static void judge_channel(struct mr_checker *checker, uint32_t channel)
{
	struct mr_record record;
	size_t at = 0;
	uint32_t count = 0;
	enum mr_result result;

	mr_decoder_init(&judge.decoder, &judge.session, MR_ROLE_MULTIFD, 1 + channel);
	while ((result = mr_decode(&judge.decoder, world.stream[channel] + at, world.stream_length[channel] - at, true,
				   &record)) == MR_RECORD) {
		mr_checker_record(checker, &judge.decoder, &record);
		at += (size_t)record.length;
		if (record.kind == MR_MULTIFD_INIT)
			assert_int_equal(record.init.id, channel);
		else
			judge.packets[count++] = record.packet;
		assert_true(count < PACKETS_MAX);
	}
	assert_int_equal(result, MR_DONE);
	mr_checker_channel_end(checker, &judge.decoder, false);
	judge_packets(channel, count);
}

/* What may be found in a release, and nothing else. */
static void judge_findings(void)
{
	const struct {
		enum mr_rule rule;
		bool known;
	} quirks[] = {
		{MR_MFD_015, does(MR_SWITCH_PACKET_SIZE_STALE)},  {MR_MFD_020, world.repeats > 0},
		{MR_MFD_022, does(MR_SWITCH_PACKET_NUM_REPEATS)}, {MR_MFD_023, does(MR_SWITCH_SYNC_WITH_PAGES)},
		{MR_MFD_024, does(MR_SWITCH_SYNC_WITH_PAGES)},    {MR_MFD_025, does(MR_SWITCH_PACKET_LEFTOVERS)},
	};

	assert_int_equal(judge.counts[MR_MFD_020], world.repeats);
	for (size_t i = 0; i < sizeof(quirks) / sizeof(quirks[0]); i++)
		if (quirks[i].known)
			judge.counts[quirks[i].rule] = 0;
	for (unsigned rule = 0; rule < MR_RULE_COUNT; rule++)
		if (judge.counts[rule])
			fail_msg("%s %u times", mr_rule_id((enum mr_rule)rule), judge.counts[rule]);
}

static void judge_run(void)
{
	struct mr_context context = {
		.profile = world.profile,
		.capabilities_known = true,
		.capabilities = MR_CAPABILITY_MULTIFD,
		.multifd_channels = world.config.multifd_channels,
		.multifd_method = world.config.method->flag,
	};
	struct mr_checker *checker;

	memset(judge.counts, 0, sizeof(judge.counts));
	mr_session_init(&judge.session, &context, count_finding, NULL);
	for (uint32_t i = 0; i < BLOCKS; i++)
		declare_block(&judge.session, block_names[i], (uint64_t)block_pages[i] * PAGE, 0);
	checker = mr_checker_new(&judge.session);
	assert_non_null(checker);
	for (uint32_t i = 0; i < world.config.multifd_channels; i++)
		judge_channel(checker, i);
	mr_checker_finish(checker);
	mr_checker_free(checker);
	judge_findings();
}

static void prepare_run(const char *release, const char *method, uint32_t channels, uint64_t seed)
{
	start(release, method, channels);
	world.random.state = seed;
	world.at_random = true;
	world.last_channel = channels - 1;
	for (uint32_t i = 0; i < channels; i++) {
		world.stream[i] = malloc((size_t)QUEUED_MAX * PAGE + (size_t)PACKETS_MAX * HEAD_SIZE);
		world.looked[i] = malloc((size_t)QUEUED_MAX * PAGE);
		assert_non_null(world.stream[i]);
		assert_non_null(world.looked[i]);
		append(i, mr_multifd_send_initial(world.send, i));
	}
}

static void run_at_random(const char *release, const char *method, uint32_t channels, uint64_t seed)
{
	prepare_run(release, method, channels, seed);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		bool queued[BLOCKS][BLOCK_PAGES] = {{false}};

		queue_some(queued);
		synchronise();
	}
	/* what is owed behind the last SYNC may be written or not */
	step_anybody();
	judge_run();
	end();
}

static void test_random_runs(void **state)
{
	(void)state;
	for (size_t release = 0; release < sizeof(releases) / sizeof(releases[0]); release++)
		for (size_t method = 0; method < sizeof(methods) / sizeof(methods[0]); method++)
			for (uint32_t channels = 1; channels <= CHANNELS_MAX; channels++)
				run_at_random(releases[release], methods[method], channels,
					      1 + release + 16 * method + 256 * channels);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_initial_packet),
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_packets_of_one_block),
		cmocka_unit_test(test_time_of_dispatch),
		cmocka_unit_test(test_choice_of_channel),
		cmocka_unit_test(test_time_of_looking),
		cmocka_unit_test(test_repeat),
		cmocka_unit_test(test_merged_sync),
		cmocka_unit_test(test_separate_sync),
		cmocka_unit_test(test_barrier),
		cmocka_unit_test(test_zero_pages),
		cmocka_unit_test(test_who_finds_zeros),
		cmocka_unit_test(test_zero_pages_only),
		cmocka_unit_test(test_leftovers),
		cmocka_unit_test(test_long_name),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_statistics),
		cmocka_unit_test(test_page_sizes),
		cmocka_unit_test(test_random_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
