/* test_page_request.c: what a source makes of each message of the return path, and in which order it serves requests.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ram/page_request.h"
#include "random.h"

enum {
	PAGE = 4096,
	HUGE_PAGE = 16 * PAGE,
	BLOCKS = 3,
	BLOCK_PAGES = 70, /* of block 0, which has ordinary pages */
	HUGE_PAGES = 64,  /* target pages of block 1 */
	PAGES_MAX = 128,
};

static const uint64_t end_mark = UINT64_C(0x0123456789abcdef);

static const struct mr_answering_block blocks[BLOCKS] = {
	{BLOCK_PAGES * PAGE, PAGE, false},
	{HUGE_PAGES * PAGE, HUGE_PAGE, false},
	{BLOCK_PAGES * PAGE, PAGE, true},
};

static struct mr_bytes bytes_of(const char *text)
{
	return (struct mr_bytes){(const uint8_t *)text, strlen(text)};
}

static const struct mr_profile *profile_of(const char *release)
{
	static struct mr_profile profile;

	assert_int_equal(mr_profile_init(&profile, release), 0);
	return &profile;
}

static struct mr_return_message request_of(uint64_t start, uint32_t length)
{
	return (struct mr_return_message){
		.type = MR_RETURN_REQ_PAGES_ID, .start = start, .page_length = length, .block = bytes_of("pc.ram")};
}

static struct mr_request_judge judge_of(const char *release, bool preempt)
{
	return (struct mr_request_judge){.profile = profile_of(release), .host_page_size = PAGE, .preempt = preempt};
}

/* The judgement of one request; a refusal says why. */
static enum mr_rule check(struct mr_request_judge *judge, const struct mr_answering_block *block, uint64_t start,
			  uint32_t length)
{
	const struct mr_return_message message = request_of(start, length);
	struct mr_refusal why = {0};
	enum mr_rule rule = mr_request_check(judge, block, &message, &why);

	assert_int_equal(rule == MR_NO_RULE, why.expected.text[0] == '\0');
	assert_int_equal(rule == MR_NO_RULE, why.found.text[0] == '\0');
	return rule;
}

/* ---- Judging requests ---- */

static void good_requests(void **state)
{
	struct mr_request_judge judge = judge_of("7.2", false);

	(void)state;
	/* keeps SRC-025, SRC-026, SRC-027 */
	assert_int_equal(check(&judge, &blocks[0], 0, PAGE), MR_NO_RULE);
	assert_int_equal(check(&judge, &blocks[0], (BLOCK_PAGES - 1) * PAGE, PAGE), MR_NO_RULE);
	assert_int_equal(check(&judge, &blocks[0], 0, BLOCK_PAGES * PAGE), MR_NO_RULE);
	assert_int_equal(check(&judge, &blocks[1], HUGE_PAGE, HUGE_PAGE), MR_NO_RULE);
	/* a part of a huge page, which QEMU lets pass */
	assert_int_equal(check(&judge, &blocks[1], PAGE, 2 * PAGE), MR_NO_RULE);
	/* an ignored block: nothing will be sent */
	assert_int_equal(check(&judge, &blocks[2], 0, PAGE), MR_NO_RULE);
	assert_int_equal(judge.requests, 6);
}

static void unaligned_requests(void **state)
{
	struct mr_request_judge judge = judge_of("11.1", false);

	(void)state;
	/* breaks SRC-025 */
	assert_int_equal(check(&judge, &blocks[0], 1, PAGE), MR_SRC_025);
	assert_int_equal(check(&judge, &blocks[0], PAGE / 2, PAGE), MR_SRC_025);
	assert_int_equal(check(&judge, &blocks[0], 0, 1), MR_SRC_025);
	assert_int_equal(check(&judge, &blocks[0], PAGE, PAGE + 512), MR_SRC_025);
	assert_int_equal(check(&judge, &blocks[0], UINT64_MAX, UINT32_MAX), MR_SRC_025);
	/* before anything else, so these do not count as requests */
	assert_int_equal(check(&judge, NULL, 1, PAGE), MR_SRC_025);
	assert_int_equal(judge.requests, 0);
	/* a host whose ordinary page is larger than the target's */
	judge.host_page_size = HUGE_PAGE;
	assert_int_equal(check(&judge, &blocks[1], PAGE, HUGE_PAGE), MR_SRC_025);
	assert_int_equal(check(&judge, &blocks[1], HUGE_PAGE, HUGE_PAGE), MR_NO_RULE);
}

/* Where QEMU from 8.0 on dies, an urgent request that is not for whole host pages of its block is refused. */
static void urgent_requests(void **state)
{
	struct mr_request_judge judge = judge_of("8.0", true);

	(void)state;
	assert_int_equal(check(&judge, &blocks[1], 0, PAGE), MR_SRC_025);
	assert_int_equal(check(&judge, &blocks[1], 0, HUGE_PAGE + PAGE), MR_SRC_025);
	assert_int_equal(check(&judge, &blocks[1], 0, 2 * HUGE_PAGE), MR_NO_RULE);
	assert_int_equal(check(&judge, &blocks[1], PAGE, HUGE_PAGE), MR_NO_RULE);
	assert_int_equal(check(&judge, &blocks[0], PAGE, PAGE), MR_NO_RULE);
	assert_int_equal(judge.requests, 5);
	judge = judge_of("8.0", false);
	assert_int_equal(check(&judge, &blocks[1], 0, PAGE), MR_NO_RULE);
	judge = judge_of("7.2", true);
	assert_int_equal(check(&judge, &blocks[1], 0, PAGE), MR_NO_RULE);
	judge = judge_of("11.1", true);
	assert_int_equal(check(&judge, &blocks[1], 0, PAGE), MR_SRC_025);
}

static void requests_without_a_block(void **state)
{
	struct mr_request_judge judge = judge_of("7.2", false);
	struct mr_return_message message = {.type = MR_RETURN_REQ_PAGES, .page_length = PAGE};
	struct mr_refusal why;

	(void)state;
	/* breaks SRC-026: a short request before any block was named, and a name that nobody has */
	assert_int_equal(mr_request_check(&judge, NULL, &message, &why), MR_SRC_026);
	assert_string_equal(why.found.text, "no name");
	message = request_of(0, PAGE);
	message.block = bytes_of("other");
	assert_int_equal(mr_request_check(&judge, NULL, &message, &why), MR_SRC_026);
	assert_string_equal(why.expected.text, "a block of this machine");
	assert_non_null(strstr(why.found.text, "other"));
	assert_int_equal(judge.requests, 2);
}

static void requests_beyond_the_block(void **state)
{
	static const struct {
		uint64_t start;
		uint32_t length;
	} wrong[] = {
		{BLOCK_PAGES * PAGE, PAGE},
		{(BLOCK_PAGES - 1) * PAGE, 2 * PAGE},
		{0, (BLOCK_PAGES + 1) * PAGE},
		{0, UINT32_MAX - PAGE + 1},
		{UINT64_C(1) << 40, PAGE},
		/* sums that wrap: to 0, to a place inside the block, to its last byte; QEMU lets some of them pass */
		{UINT64_MAX - PAGE + 1, PAGE},
		{UINT64_MAX - PAGE + 1, 2 * PAGE},
		{UINT64_MAX - PAGE + 1, (BLOCK_PAGES + 1) * PAGE},
		{UINT64_MAX - 15 * PAGE + 1, 16 * PAGE},
		{UINT64_C(1) << 63, UINT32_MAX - PAGE + 1},
	};
	static const char *const releases[] = {"2.5", "6.0", "6.1", "11.1"};

	(void)state;
	for (size_t release = 0; release < 4; release++) {
		struct mr_request_judge judge = judge_of(releases[release], release % 2 == 0);

		/* breaks SRC-027 */
		for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
			assert_int_equal(check(&judge, &blocks[0], wrong[i].start, wrong[i].length), MR_SRC_027);
			assert_int_equal(check(&judge, &blocks[2], wrong[i].start, wrong[i].length), MR_SRC_027);
		}
		assert_int_equal(judge.requests, 20);
	}
}

static void empty_requests(void **state)
{
	const struct mr_answering_block none = {0, PAGE, false};
	struct mr_request_judge judge = judge_of("7.2", false);

	(void)state;
	assert_int_equal(check(&judge, &blocks[0], 0, 0), MR_SRC_027);
	assert_int_equal(check(&judge, &blocks[0], PAGE, 0), MR_NO_RULE);
	assert_int_equal(check(&judge, &blocks[0], (BLOCK_PAGES - 1) * PAGE, 0), MR_NO_RULE);
	/* the page that it would give lies behind the block */
	assert_int_equal(check(&judge, &blocks[0], BLOCK_PAGES * PAGE, 0), MR_SRC_027);
	assert_int_equal(check(&judge, &blocks[0], UINT64_MAX - PAGE + 1, 0), MR_SRC_027);
	judge = judge_of("6.1", false);
	assert_int_equal(check(&judge, &blocks[0], 0, 0), MR_SRC_027);
	judge = judge_of("6.0", false);
	assert_int_equal(check(&judge, &blocks[0], 0, 0), MR_NO_RULE);
	assert_int_equal(check(&judge, &blocks[0], BLOCK_PAGES * PAGE, 0), MR_SRC_027);
	assert_int_equal(check(&judge, &none, 0, 0), MR_SRC_027);
	assert_int_equal(check(&judge, &none, 0, PAGE), MR_SRC_027);
	judge = judge_of("8.0", true);
	assert_int_equal(check(&judge, &blocks[1], PAGE, 0), MR_NO_RULE);
}

/* ---- Requests that wait ---- */

struct source {
	struct mr_request_queue queue;
	uint64_t dirty[BLOCKS][PAGES_MAX / 64];
	unsigned asked; /* calls of next_dirty() */
};

static uint64_t next_dirty(void *argument, uint32_t block, uint64_t page, uint64_t end)
{
	struct source *source = argument;

	assert_in_range(block, 0, BLOCKS - 1);
	assert_true(page <= end);
	assert_true(end <= blocks[block].used_length / PAGE);
	source->asked++;
	return blocks[block].ignored ? end : mr_bitmap_next_set(source->dirty[block], end, page);
}

static struct source *source_new(void)
{
	struct source *source = malloc(sizeof(*source));

	assert_non_null(source);
	memset(source->dirty, 0xff, sizeof(source->dirty));
	source->asked = 0;
	mr_request_queue_init(&source->queue, PAGE);
	return source;
}

/* Sends what is dirty of the host page from `page` on. */
static void send_rest(struct source *source, uint32_t block, uint64_t page)
{
	const uint64_t pages = blocks[block].page_size / PAGE;

	mr_bitmap_clear(source->dirty[block], page, pages - page % pages);
}

static void expect_page(struct source *source, uint32_t block, uint64_t expected)
{
	struct mr_page_request request;
	uint64_t page = UINT64_MAX;

	assert_int_equal(mr_request_queue_next(&source->queue, next_dirty, source, &request, &page), MR_REQUEST_PAGE);
	assert_int_equal(request.block, block);
	assert_int_equal(page, expected);
	send_rest(source, block, page);
}

static void expect_over(struct source *source, uint64_t start, uint64_t length, bool sent)
{
	struct mr_page_request request;
	uint64_t page;

	assert_int_equal(mr_request_queue_next(&source->queue, next_dirty, source, &request, &page), MR_REQUEST_OVER);
	assert_int_equal(request.start, start);
	assert_int_equal(request.length, length);
	assert_int_equal(request.sent, sent);
}

static void expect_none(struct source *source)
{
	struct mr_page_request request;
	uint64_t page;

	assert_int_equal(mr_request_queue_next(&source->queue, next_dirty, source, &request, &page), MR_REQUEST_NONE);
	assert_int_equal(source->queue.count, 0);
}

/* keeps SRC-028: in their order, each a page at a time, clean pages without a word. */
static void order_of_requests(void **state)
{
	struct source *source = source_new();

	(void)state;
	expect_none(source);
	assert_true(mr_request_queue_push(&source->queue, 0, 5 * PAGE, PAGE));
	assert_true(mr_request_queue_push(&source->queue, 1, HUGE_PAGE, HUGE_PAGE));
	assert_true(mr_request_queue_push(&source->queue, 0, 0, 4 * PAGE));
	expect_page(source, 0, 5);
	expect_over(source, 5 * PAGE, PAGE, true);
	/* the rest of a huge page goes out with its first page */
	expect_page(source, 1, 16);
	expect_over(source, HUGE_PAGE, HUGE_PAGE, true);
	mr_bitmap_clear(source->dirty[0], 1, 2);
	expect_page(source, 0, 0);
	expect_page(source, 0, 3);
	expect_over(source, 0, 4 * PAGE, true);
	expect_none(source);
	/* what is clean gives nothing: serving it breaks SRC-028 */
	assert_true(mr_request_queue_push(&source->queue, 1, HUGE_PAGE, HUGE_PAGE));
	expect_over(source, HUGE_PAGE, HUGE_PAGE, false);
	expect_none(source);
	free(source);
}

static void odd_requests(void **state)
{
	struct source *source = source_new();

	(void)state;
	/* from the middle of a huge page: only its rest */
	assert_true(mr_request_queue_push(&source->queue, 1, 3 * PAGE, PAGE));
	expect_page(source, 1, 3);
	assert_int_equal(mr_bitmap_next_clear(source->dirty[1], HUGE_PAGES, 0), 3);
	assert_int_equal(mr_bitmap_next_set(source->dirty[1], HUGE_PAGES, 3), 16);
	expect_over(source, 3 * PAGE, PAGE, true);
	/* over two huge pages */
	assert_true(mr_request_queue_push(&source->queue, 1, HUGE_PAGE, 2 * HUGE_PAGE));
	expect_page(source, 1, 16);
	expect_page(source, 1, 32);
	expect_over(source, HUGE_PAGE, 2 * HUGE_PAGE, true);
	/* an empty one gives one page */
	assert_true(mr_request_queue_push(&source->queue, 0, 7 * PAGE, 0));
	expect_page(source, 0, 7);
	expect_over(source, 7 * PAGE, 0, true);
	/* an ignored block: nothing */
	assert_true(mr_request_queue_push(&source->queue, 2, 0, PAGE));
	expect_over(source, 0, PAGE, false);
	/* a page that is dirtied again behind the look at it waits for the scan */
	assert_true(mr_request_queue_push(&source->queue, 0, 8 * PAGE, 2 * PAGE));
	expect_page(source, 0, 8);
	mr_bitmap_set(source->dirty[0], 8, 1);
	expect_page(source, 0, 9);
	expect_over(source, 8 * PAGE, 2 * PAGE, true);
	expect_none(source);
	/* a host with smaller pages than the target's: the target pages that hold what was asked for */
	mr_request_queue_init(&source->queue, 2 * PAGE);
	assert_true(mr_request_queue_push(&source->queue, 0, 5 * PAGE, 2 * PAGE));
	expect_page(source, 0, 2);
	expect_page(source, 0, 3);
	expect_over(source, 5 * PAGE, 2 * PAGE, true);
	free(source);
}

static void flood(void **state)
{
	struct source *source = source_new();

	(void)state;
	/* several times around the ring, so that it wraps at each place */
	for (unsigned round = 0; round < 3; round++) {
		/* keeps SRC-029 */
		for (unsigned i = 0; i < MR_OUTGOING_REQUESTS_MAX; i++)
			assert_true(mr_request_queue_push(&source->queue, 0, i % BLOCK_PAGES * PAGE, PAGE));
		/* breaks SRC-029: one more */
		assert_false(mr_request_queue_push(&source->queue, 1, 0, HUGE_PAGE));
		memset(source->dirty, 0xff, sizeof(source->dirty));
		for (unsigned i = 0; i < MR_OUTGOING_REQUESTS_MAX; i++) {
			if (i < BLOCK_PAGES)
				expect_page(source, 0, i);
			expect_over(source, i % BLOCK_PAGES * PAGE, PAGE, i < BLOCK_PAGES);
			if (i == 0)
				assert_true(mr_request_queue_push(&source->queue, 2, 0, PAGE));
			if (i == 1)
				assert_true(mr_request_queue_push(&source->queue, 2, PAGE, PAGE));
		}
		expect_over(source, 0, PAGE, false);
		expect_over(source, PAGE, PAGE, false);
		expect_none(source);
	}
	free(source);
}

/* A request for the whole of a huge page that is clean costs one look, not one for each target page. */
static void looks(void **state)
{
	struct source *source = source_new();

	(void)state;
	memset(source->dirty, 0, sizeof(source->dirty));
	assert_true(mr_request_queue_push(&source->queue, 1, 0, HUGE_PAGES * PAGE));
	expect_over(source, 0, HUGE_PAGES * PAGE, false);
	assert_int_equal(source->asked, 1);
	free(source);
}

/* A request of the model: the target pages that nobody looked at yet. */
struct waiting {
	uint32_t block;
	uint64_t page, end;
};

static struct waiting push_any(struct source *source, struct random *random)
{
	const uint32_t block = (uint32_t)random_below(random, BLOCKS);
	const uint64_t pages = blocks[block].used_length / PAGE;
	const uint64_t first = random_below(random, pages);
	const uint64_t count = random_below(random, pages - first + 1);

	assert_true(mr_request_queue_push(&source->queue, block, first * PAGE, count * PAGE));
	return (struct waiting){block, first, first + (count ? count : 1)};
}

/* The first request of the model goes on, and so does the queue. True if the request is over. */
static bool serve(struct source *source, struct waiting *front)
{
	struct mr_page_request request;
	uint64_t page;

	while (front->page < front->end &&
	       (blocks[front->block].ignored || !mr_bitmap_test(source->dirty[front->block], front->page)))
		front->page++;
	if (front->page < front->end) {
		expect_page(source, front->block, front->page++);
		return false;
	}
	assert_int_equal(mr_request_queue_next(&source->queue, next_dirty, source, &request, &page), MR_REQUEST_OVER);
	assert_int_equal(request.block, front->block);
	return true;
}

/* Random requests, as the sheet tells it: target page by target page, from the front of a list. */
static void against_a_model(void **state)
{
	enum { WAITING_MAX = 64 };
	struct random random = {5};
	struct source *source = source_new();
	struct waiting list[WAITING_MAX];
	size_t head = 0, tail = 0;

	(void)state;
	for (unsigned round = 0; round < 20000; round++) {
		if (random_below(&random, 50) == 0)
			random_fill(&random, (uint8_t *)source->dirty, sizeof(source->dirty));
		if (tail - head < WAITING_MAX && random_below(&random, 2) == 0)
			list[tail++ % WAITING_MAX] = push_any(source, &random);
		else if (head == tail)
			expect_none(source);
		else
			head += serve(source, &list[head % WAITING_MAX]);
	}
	free(source);
}

/* ---- Received bitmaps ---- */

enum { WORDS = BLOCK_PAGES / 64 + 1, BITMAP_SIZE = WORDS * 8 };

static const uint8_t received[BITMAP_SIZE] = {0x07, 0x01, 0, 0, 0, 0, 0, 0, 0x22};

static struct mr_return_message bitmap_of(const uint8_t *bitmap, size_t size)
{
	return (struct mr_return_message){
		.type = MR_RETURN_RECV_BITMAP,
		.block = bytes_of("vga.ram"),
		.bitmap_size = size,
		.bitmap = {bitmap, size},
		.end_mark = end_mark,
	};
}

static struct mr_reload reload_of(const char *release)
{
	return (struct mr_reload){.profile = profile_of(release), .target_page_size = PAGE, .recovering = true};
}

/* A refused bitmap changes nothing. */
static void expect_refused(const struct mr_reload *reload, const struct mr_answering_block *block, bool answered,
			   const struct mr_return_message *message, enum mr_rule rule)
{
	uint64_t dirty[WORDS] = {1, 2};
	struct mr_refusal why = {0};
	bool before = answered;

	assert_int_equal(mr_bitmap_reload(reload, block, block ? &answered : NULL, message, dirty, &why), rule);
	assert_int_equal(answered, before);
	assert_true(dirty[0] == 1 && dirty[1] == 2);
	assert_true(why.expected.text[0] && why.found.text[0]);
}

/* keeps SRC-031, SRC-032: the sheet's own example. */
static void reload_example(void **state)
{
	const struct mr_reload reload = reload_of("7.2");
	struct mr_return_message message = bitmap_of(received, sizeof(received));
	uint64_t dirty[WORDS + 1] = {1, 2, 3};
	struct mr_refusal why;
	bool answered = false;
	uint8_t padded[BITMAP_SIZE];

	(void)state;
	assert_int_equal(mr_bitmap_reload(&reload, &blocks[0], &answered, &message, dirty, &why), MR_NO_RULE);
	assert_true(answered);
	assert_true(dirty[0] == UINT64_C(0xfffffffffffffef8) && dirty[1] == 0x1d && dirty[2] == 3);
	assert_int_equal(mr_bitmap_count(dirty, BLOCK_PAGES), 64);
	/* breaks SRC-031: a second answer for the block */
	expect_refused(&reload, &blocks[0], true, &message, MR_SRC_031);
	/* padding means nothing, set or not */
	memcpy(padded, received, sizeof(padded));
	padded[8] |= 0xc0;
	memset(padded + 9, 0xff, 7);
	message = bitmap_of(padded, sizeof(padded));
	answered = false;
	assert_int_equal(mr_bitmap_reload(&reload, &blocks[0], &answered, &message, dirty, &why), MR_NO_RULE);
	assert_true(dirty[0] == UINT64_C(0xfffffffffffffef8) && dirty[1] == 0x1d);
}

static void refused_bitmaps(void **state)
{
	struct mr_reload reload = reload_of("11.1");
	struct mr_return_message message = bitmap_of(received, sizeof(received));

	(void)state;
	expect_refused(&reload, NULL, false, &message, MR_SRC_031);
	expect_refused(&reload, &blocks[2], false, &message, MR_SRC_031);
	reload.recovering = false;
	expect_refused(&reload, &blocks[0], false, &message, MR_SRC_031);
	reload.recovering = true;
	/* breaks SRC-032: too short, too long, not what it says, another end mark */
	message = bitmap_of(received, 8);
	expect_refused(&reload, &blocks[0], false, &message, MR_SRC_032);
	message = bitmap_of(received, 9);
	expect_refused(&reload, &blocks[0], false, &message, MR_SRC_032);
	message = bitmap_of(received, 16);
	expect_refused(&reload, &blocks[1], false, &message, MR_SRC_032);
	message.bitmap_size = UINT64_MAX - 7;
	expect_refused(&reload, &blocks[0], false, &message, MR_SRC_032);
	message = bitmap_of(received, 16);
	message.bitmap.length = 8;
	expect_refused(&reload, &blocks[0], false, &message, MR_SRC_032);
	message = bitmap_of(received, 16);
	message.end_mark++;
	expect_refused(&reload, &blocks[0], false, &message, MR_SRC_032);
	/* a release that cannot recover */
	reload = reload_of("2.12");
	message = bitmap_of(received, 16);
	expect_refused(&reload, &blocks[0], false, &message, MR_SRC_033);
}

/* Bitmaps of every length that matters, with anything in them. */
static void reload_sizes(void **state)
{
	const struct mr_reload reload = reload_of("9.2");
	struct random random = {3};

	(void)state;
	for (uint64_t pages = 0; pages <= 200; pages++) {
		const struct mr_answering_block block = {pages * PAGE, PAGE, false};
		const size_t size = (size_t)mr_received_bitmap_size(pages);
		uint8_t *bitmap = malloc(size ? size : 1);
		uint64_t *dirty = malloc(size ? size : 1);
		struct mr_return_message message = bitmap_of(bitmap, size);
		struct mr_refusal why;
		bool answered = false;

		assert_true(bitmap && dirty);
		random_fill(&random, bitmap, size);
		assert_int_equal(mr_bitmap_reload(&reload, &block, &answered, &message, dirty, &why), MR_NO_RULE);
		for (uint64_t bit = 0; bit < size * 8; bit++)
			assert_int_equal(mr_bitmap_test(dirty, bit), bit < pages && !(bitmap[bit / 8] >> bit % 8 & 1));
		free(bitmap);
		free(dirty);
	}
}

/* ---- The other messages ---- */

struct answered {
	enum mr_rule rule;
	uint32_t answers;
};

static struct answered answer(const char *release, bool recovering, uint32_t acks_due, uint16_t type, uint32_t value)
{
	const struct mr_answer_judge judge = {profile_of(release), recovering, acks_due};
	const struct mr_return_message message = {.type = type, .value = value};
	struct mr_refusal why = {0};
	struct answered answered = {MR_NO_RULE, UINT32_MAX};

	answered.rule = mr_answer_check(&judge, &message, &answered.answers, &why);
	assert_int_equal(answered.rule != MR_NO_RULE, why.expected.text[0] != '\0');
	assert_int_equal(answered.rule != MR_NO_RULE, why.found.text[0] != '\0');
	if (answered.rule != MR_NO_RULE)
		assert_int_equal(answered.answers, MR_ANSWER_NONE);
	return answered;
}

static void expect_answer(struct answered answered, uint32_t answers)
{
	assert_int_equal(answered.rule, MR_NO_RULE);
	assert_int_equal(answered.answers, answers);
}

static void values(void **state)
{
	(void)state;
	/* keeps SRC-033 */
	expect_answer(answer("7.2", false, 0, MR_RETURN_SHUT, 0), MR_ANSWER_SHUT);
	expect_answer(answer("7.2", true, 0, MR_RETURN_RESUME_ACK, 1), MR_ANSWER_RESUMED);
	/* taken in any other status, without an effect */
	expect_answer(answer("7.2", false, 0, MR_RETURN_RESUME_ACK, 1), MR_ANSWER_NONE);
	/* breaks SRC-033 */
	assert_int_equal(answer("7.2", false, 0, MR_RETURN_SHUT, 1).rule, MR_SRC_033);
	assert_int_equal(answer("7.2", false, 0, MR_RETURN_SHUT, UINT32_MAX).rule, MR_SRC_033);
	assert_int_equal(answer("7.2", true, 0, MR_RETURN_RESUME_ACK, 0).rule, MR_SRC_033);
	assert_int_equal(answer("11.1", true, 0, MR_RETURN_RESUME_ACK, 2).rule, MR_SRC_033);
	assert_int_equal(answer("11.1", false, 0, MR_RETURN_RESUME_ACK, 2).rule, MR_SRC_033);
	/* types that the release does not know */
	assert_int_equal(answer("2.12", true, 0, MR_RETURN_RESUME_ACK, 1).rule, MR_SRC_033);
	expect_answer(answer("3.0", true, 0, MR_RETURN_RESUME_ACK, 1), MR_ANSWER_RESUMED);
	assert_int_equal(answer("8.0", false, 1, MR_RETURN_SWITCHOVER_ACK, 0).rule, MR_SRC_033);
}

static void pongs(void **state)
{
	(void)state;
	expect_answer(answer("11.1", false, 0, MR_RETURN_PONG, 1), MR_ANSWER_PONG);
	expect_answer(answer("11.1", false, 0, MR_RETURN_PONG, UINT32_MAX), MR_ANSWER_PONG);
	expect_answer(answer("11.1", false, 0, MR_RETURN_PONG, 0x42), MR_ANSWER_PONG | MR_ANSWER_PACKAGE_LOADED);
	expect_answer(answer("10.2", false, 0, MR_RETURN_PONG, 0x42), MR_ANSWER_PONG | MR_ANSWER_PACKAGE_LOADED);
	expect_answer(answer("10.1", false, 0, MR_RETURN_PONG, 0x42), MR_ANSWER_PONG);
}

static void switchover_acks(void **state)
{
	(void)state;
	/* keeps SRC-034 */
	expect_answer(answer("8.1", false, 1, MR_RETURN_SWITCHOVER_ACK, 0), MR_ANSWER_ACK);
	expect_answer(answer("11.1", false, 2, MR_RETURN_SWITCHOVER_ACK, 0), MR_ANSWER_ACK);
	/* breaks SRC-034: nobody waits for one. Up to 11.0 that is overlooked */
	expect_answer(answer("8.1", false, 0, MR_RETURN_SWITCHOVER_ACK, 0), MR_ANSWER_NONE);
	expect_answer(answer("11.0", false, 0, MR_RETURN_SWITCHOVER_ACK, 0), MR_ANSWER_NONE);
	assert_int_equal(answer("11.1", false, 0, MR_RETURN_SWITCHOVER_ACK, 0).rule, MR_SRC_034);
}

/* ---- Anything ---- */

/* A number near some border, or anywhere. */
static uint64_t any_number(struct random *random)
{
	static const uint64_t near[] = {
		0,          PAGE,       HUGE_PAGE,  HUGE_PAGES * PAGE, BLOCK_PAGES * PAGE, UINT32_MAX,
		1ULL << 32, 1ULL << 63, UINT64_MAX, INT64_MAX,         UINT64_MAX - PAGE,
	};
	uint64_t number = near[random_below(random, sizeof(near) / sizeof(near[0]))];

	switch (random_below(random, 4)) {
	case 0:
		return random_next(random);
	case 1:
		return number;
	case 2:
		return (number + (random_below(random, 65) - 32) * PAGE) & ~(uint64_t)(PAGE - 1);
	default:
		return number + random_below(random, 5) - 2;
	}
}

static void any_request(struct source *source, struct mr_request_judge *judge, struct random *random, uint32_t index)
{
	const struct mr_return_message message = request_of(any_number(random), (uint32_t)any_number(random));
	struct mr_refusal why;

	if (mr_request_check(judge, &blocks[index], &message, &why) != MR_NO_RULE)
		return;
	/* next_dirty() asserts that nothing beyond the block is ever looked at */
	mr_request_queue_push(&source->queue, index, message.start, message.page_length);
}

static void any_message(const struct mr_profile *profile, struct random *random)
{
	const struct mr_reload reload = {profile, PAGE, random_below(random, 2) == 0};
	const struct mr_answer_judge judge = {profile, random_below(random, 2) == 0, (uint32_t)random_below(random, 2)};
	static const uint16_t types[] = {MR_RETURN_SHUT, MR_RETURN_PONG, MR_RETURN_RESUME_ACK,
					 MR_RETURN_SWITCHOVER_ACK};
	const size_t size = (size_t)random_below(random, 4) * 8;
	uint8_t *bitmap = malloc(size ? size : 1);
	struct mr_return_message message;
	uint64_t dirty[WORDS];
	struct mr_refusal why;
	bool answered = random_below(random, 4) == 0;
	uint32_t answers;

	assert_non_null(bitmap);
	random_fill(random, bitmap, size);
	message = bitmap_of(bitmap, size);
	if (random_below(random, 4) == 0)
		message.bitmap_size = any_number(random);
	mr_bitmap_reload(&reload, &blocks[random_below(random, BLOCKS)], &answered, &message, dirty, &why);
	free(bitmap);
	message = (struct mr_return_message){.type = types[random_below(random, 4)],
					     .value = (uint32_t)any_number(random)};
	mr_answer_check(&judge, &message, &answers, &why);
}

static void anything(void **state)
{
	static const char *const releases[] = {"2.5", "6.0", "7.2", "8.0", "11.1"};
	struct random random = {29};

	(void)state;
	for (unsigned round = 0; round < 40; round++) {
		struct source *source = source_new();
		struct mr_request_judge judge = judge_of(releases[round % 5], round % 2 == 0);
		struct mr_page_request request;
		uint64_t page;

		for (unsigned i = 0; i < 5000; i++) {
			any_request(source, &judge, &random, (uint32_t)random_below(&random, BLOCKS));
			any_message(judge.profile, &random);
			if (random_below(&random, 3) == 0 && mr_request_queue_next(&source->queue, next_dirty, source,
										   &request, &page) == MR_REQUEST_PAGE)
				send_rest(source, request.block, page);
			if (random_below(&random, 500) == 0)
				memset(source->dirty, 0xff, sizeof(source->dirty));
		}
		free(source);
	}
}

/* A lost connection: what waits goes on waiting, but for what was begun; a full queue is emptied. */
static void kept_requests(void **state)
{
	struct mr_request_queue *queue = malloc(sizeof(*queue));

	(void)state;
	assert_non_null(queue);
	mr_request_queue_init(queue, 4096);
	mr_request_queue_keep(queue);
	assert_int_equal(queue->count, 0);
	for (unsigned i = 0; i < MR_OUTGOING_REQUESTS_MAX - 1; i++)
		assert_true(mr_request_queue_push(queue, 0, i * UINT64_C(4096), 4096));
	mr_request_queue_keep(queue);
	assert_int_equal(queue->count, MR_OUTGOING_REQUESTS_MAX - 1);
	queue->ring[queue->first].sent = true;
	mr_request_queue_keep(queue);
	assert_int_equal(queue->count, MR_OUTGOING_REQUESTS_MAX - 2);
	assert_int_equal(queue->ring[queue->first].start, 4096);
	while (mr_request_queue_push(queue, 0, 0, 4096))
		continue;
	mr_request_queue_keep(queue);
	assert_int_equal(queue->count, 0);
	free(queue);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kept_requests),
		cmocka_unit_test(good_requests),
		cmocka_unit_test(unaligned_requests),
		cmocka_unit_test(urgent_requests),
		cmocka_unit_test(requests_without_a_block),
		cmocka_unit_test(requests_beyond_the_block),
		cmocka_unit_test(empty_requests),
		cmocka_unit_test(order_of_requests),
		cmocka_unit_test(odd_requests),
		cmocka_unit_test(flood),
		cmocka_unit_test(looks),
		cmocka_unit_test(against_a_model),
		cmocka_unit_test(reload_example),
		cmocka_unit_test(refused_bitmaps),
		cmocka_unit_test(reload_sizes),
		cmocka_unit_test(values),
		cmocka_unit_test(pongs),
		cmocka_unit_test(switchover_acks),
		cmocka_unit_test(anything),
	};

	return cmocka_run_group_tests_name("page request", tests, NULL, NULL);
}
