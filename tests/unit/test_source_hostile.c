/*
 * test_source_hostile.c: a return path that says anything, at any time: which rule it breaks, what becomes of the
 * migration, and that the guest is not lost (SRC-025 to SRC-034).
 */
#include "hostile_source.h"

#include <stdio.h>
#include <string.h>

static const char *const releases[] = {"7.2", "8.1", "8.2", "9.2", "11.1"};

enum { RELEASES = sizeof(releases) / sizeof(releases[0]), LOADED = 0x42 };

/* When the message comes. */
enum place { IN_PRECOPY, IN_POSTCOPY, IN_RECOVERY, PLACES };

static struct foe_setup setup_of(const char *release, enum place place)
{
	return (struct foe_setup){
		.release = release,
		.capabilities = MR_CAPABILITY_RETURN_PATH | (place == IN_PRECOPY ? 0 : MR_CAPABILITY_POSTCOPY_RAM),
		.switches = place != IN_PRECOPY,
		.broken_first = place == IN_RECOVERY ? 3 : 0,
		.event = FOE_NOTHING,
		.at = FOE_NEVER,
	};
}

/* A source in the status that goes with the place; the reader has taken whatever came before. */
static struct foe *reach(const struct foe_setup *setup, enum place place)
{
	struct foe *foe = foe_new(setup);

	if (place == IN_PRECOPY) {
		assert_true(foe_until(foe, MR_SOURCE_STATUS_ACTIVE));
	} else if (place == IN_POSTCOPY) {
		assert_true(foe_until(foe, MR_SOURCE_STATUS_POSTCOPY_ACTIVE));
		while (!foe->packaged)
			foe_step(foe, MR_SOURCE_MIGRATION);
	} else {
		assert_true(foe_until(foe, MR_SOURCE_STATUS_POSTCOPY_PAUSED));
		foe_rest(foe);
		assert_true(mr_outgoing_recover(foe->source));
		foe->recoveries++;
		while (mr_outgoing_status(foe->source) != MR_SOURCE_STATUS_POSTCOPY_RECOVER)
			foe_step(foe, MR_SOURCE_MIGRATION);
		return foe;
	}
	while (foe_step(foe, MR_SOURCE_RETURN) == MR_STEP_ACTION)
		;
	return foe;
}

static bool closes(const struct foe *foe)
{
	return mr_profile_does(&foe->profile, MR_SWITCH_RETURN_ERROR_CLOSES);
}

/* What a bad return path leads to, by release and place: breaks SRC-030, and keeps it. */
static void expect_consequence(struct foe *foe, enum place place, enum mr_rule rule)
{
	foe_rest(foe);
	if (place == IN_PRECOPY || (place == IN_POSTCOPY && !closes(foe))) {
		expect_source_failed(foe, rule);
		/* At once, or when everything is out. */
		assert_int_equal(foe->eof_sent, !closes(foe));
		return;
	}
	expect_paused(foe);
	foe_recover(foe);
	expect_source_finished(foe);
}

/* ---- Messages ---- */

struct message {
	const char *name;
	void (*put)(struct foe *foe);
	enum mr_rule rules[PLACES]; /* MR_NO_RULE: a good one */
};

static void put_beyond(struct foe *foe)
{
	foe_put_request(foe, "mem", FOE_PAGES * FOE_PAGE, FOE_PAGE);
}

static void put_across_the_end(struct foe *foe)
{
	foe_put_request(foe, "mem", (FOE_PAGES - 1) * FOE_PAGE, 2 * FOE_PAGE);
}

static void put_at_the_top(struct foe *foe)
{
	foe_put_request(foe, "mem", UINT64_C(0xfffffffffffff000), FOE_PAGE);
}

static void put_round_the_top(struct foe *foe)
{
	foe_put_request(foe, "mem", UINT64_C(0xfffffffffffff000), 2 * FOE_PAGE);
}

static void put_far_empty(struct foe *foe)
{
	foe_put_request(foe, "mem", UINT64_C(0xfffffffffffff000), 0);
}

static void put_long(struct foe *foe)
{
	foe_put_request(foe, "mem", 0, 0xfffff000);
}

static void put_unaligned_start(struct foe *foe)
{
	foe_put_request(foe, "mem", 512, FOE_PAGE);
}

static void put_unaligned_length(struct foe *foe)
{
	foe_put_request(foe, "mem", 0, FOE_PAGE + 1);
}

static void put_empty_at_start(struct foe *foe)
{
	foe_put_request(foe, "mem", 0, 0);
}

static void put_empty(struct foe *foe)
{
	foe_put_request(foe, "mem", FOE_PAGE, 0);
}

static void put_whole_block(struct foe *foe)
{
	foe_put_request(foe, "mem", 0, FOE_PAGES * FOE_PAGE);
}

static void put_half_huge(struct foe *foe)
{
	foe_put_request(foe, "huge", FOE_PAGE, FOE_PAGE);
}

static void put_unnamed(struct foe *foe)
{
	foe_put_request(foe, NULL, 0, FOE_PAGE);
}

static void put_named_then_unnamed(struct foe *foe)
{
	foe_put_request(foe, "huge", 0, FOE_HUGE);
	foe_put_request(foe, NULL, FOE_HUGE, FOE_HUGE);
}

static void put_unknown_block(struct foe *foe)
{
	foe_put_request(foe, "nvram", 0, FOE_PAGE);
}

static void put_ignored_block(struct foe *foe)
{
	foe_put_request(foe, "shared", 0, FOE_PAGE);
}

/* A bitmap with everything in it said by the caller. */
static void put_bitmap(struct foe *foe, const char *block, uint64_t size, uint64_t bytes, uint64_t mark)
{
	struct build *build = foe_backward(foe);

	build_be16(build, MR_RETURN_RECV_BITMAP);
	build_be16(build, (uint16_t)(1 + strlen(block)));
	build_counted(build, block);
	build_be64(build, size);
	build_fill(build, 0, bytes);
	build_be64(build, mark);
}

static const uint64_t good_mark = UINT64_C(0x0123456789abcdef);

static void put_bitmap_of_unknown(struct foe *foe)
{
	put_bitmap(foe, "nvram", 8, 8, good_mark);
}

static void put_bitmap_of_ignored(struct foe *foe)
{
	put_bitmap(foe, "shared", 8, 8, good_mark);
}

static void put_bitmap_short(struct foe *foe)
{
	put_bitmap(foe, "mem", 0, 0, good_mark);
}

static void put_bitmap_long(struct foe *foe)
{
	put_bitmap(foe, "mem", 16, 16, good_mark);
}

static void put_bitmap_huge(struct foe *foe)
{
	put_bitmap(foe, "mem", UINT64_C(0xfffffffffffffff8), 8, good_mark);
}

static void put_bitmap_mark(struct foe *foe)
{
	put_bitmap(foe, "mem", 8, 8, UINT64_C(0xefcdab8967452301));
}

static void put_bitmap_twice(struct foe *foe)
{
	put_bitmap(foe, "mem", 8, 8, good_mark);
	put_bitmap(foe, "mem", 8, 8, good_mark);
}

static void put_shut_1(struct foe *foe)
{
	foe_put_value(foe, MR_RETURN_SHUT, 1);
}

static void put_shut_top(struct foe *foe)
{
	foe_put_value(foe, MR_RETURN_SHUT, UINT32_MAX);
}

static void put_pongs(struct foe *foe)
{
	for (uint32_t value = 0; value < 8; value++)
		foe_put_value(foe, MR_RETURN_PONG, value * 0x1fffffff);
}

static void put_loaded(struct foe *foe)
{
	foe_put_value(foe, MR_RETURN_PONG, LOADED);
}

static void put_resume_ack_0(struct foe *foe)
{
	foe_put_value(foe, MR_RETURN_RESUME_ACK, 0);
}

static void put_resume_ack_2(struct foe *foe)
{
	foe_put_value(foe, MR_RETURN_RESUME_ACK, 2);
}

static void put_resume_ack(struct foe *foe)
{
	foe_put_value(foe, MR_RETURN_RESUME_ACK, 1);
}

static void put_type_0(struct foe *foe)
{
	foe_put_message(foe, 0, "", 0);
}

static void put_type_next(struct foe *foe)
{
	foe_put_message(foe, MR_RETURN_COUNT, "1234", 4);
}

static void put_type_top(struct foe *foe)
{
	foe_put_message(foe, UINT16_MAX, "1234", 4);
}

static void put_short_shut(struct foe *foe)
{
	foe_put_message(foe, MR_RETURN_SHUT, "\0\0\0", 3);
}

static void put_long_pong(struct foe *foe)
{
	foe_put_message(foe, MR_RETURN_PONG, "\0\0\0\0\0", 5);
}

static void put_long_ack(struct foe *foe)
{
	foe_put_message(foe, MR_RETURN_SWITCHOVER_ACK, "\0", 1);
}

static void put_513(struct foe *foe)
{
	static const uint8_t payload[513];

	foe_put_message(foe, MR_RETURN_REQ_PAGES_ID, payload, sizeof(payload));
}

static void put_name_too_long(struct foe *foe)
{
	foe_put_message(foe, MR_RETURN_REQ_PAGES_ID, "\0\0\0\0\0\0\0\0\0\0\x10\0\x04mem", 16);
}

#define EVERYWHERE(rule)                                                                                               \
	{                                                                                                              \
		rule, rule, rule                                                                                       \
	}

/* breaks SRC-025, SRC-026, SRC-027, SRC-031, SRC-033, and the frame's own rules; keeps them where no rule stands. */
static const struct message messages[] = {
	{"beyond", put_beyond, EVERYWHERE(MR_SRC_027)},
	{"across the end", put_across_the_end, EVERYWHERE(MR_SRC_027)},
	{"at the top", put_at_the_top, EVERYWHERE(MR_SRC_027)},
	{"round the top", put_round_the_top, EVERYWHERE(MR_SRC_027)},
	{"far and empty", put_far_empty, EVERYWHERE(MR_SRC_027)},
	{"long", put_long, EVERYWHERE(MR_SRC_027)},
	{"unaligned start", put_unaligned_start, EVERYWHERE(MR_SRC_025)},
	{"unaligned length", put_unaligned_length, EVERYWHERE(MR_SRC_025)},
	{"empty at start", put_empty_at_start, EVERYWHERE(MR_SRC_027)},
	{"empty", put_empty, EVERYWHERE(MR_NO_RULE)},
	{"whole block", put_whole_block, EVERYWHERE(MR_NO_RULE)},
	{"half a huge page", put_half_huge, EVERYWHERE(MR_NO_RULE)},
	{"no block yet", put_unnamed, EVERYWHERE(MR_RP_007)},
	{"block of before", put_named_then_unnamed, EVERYWHERE(MR_NO_RULE)},
	{"unknown block", put_unknown_block, EVERYWHERE(MR_SRC_026)},
	{"ignored block", put_ignored_block, EVERYWHERE(MR_NO_RULE)},
	{"bitmap of unknown", put_bitmap_of_unknown, EVERYWHERE(MR_SRC_031)},
	{"bitmap of ignored", put_bitmap_of_ignored, EVERYWHERE(MR_SRC_031)},
	{"short bitmap", put_bitmap_short, EVERYWHERE(MR_RP_010)},
	{"long bitmap", put_bitmap_long, EVERYWHERE(MR_RP_010)},
	{"huge bitmap", put_bitmap_huge, EVERYWHERE(MR_RP_010)},
	{"bitmap's end", put_bitmap_mark, EVERYWHERE(MR_RP_011)},
	{"bitmap twice", put_bitmap_twice, EVERYWHERE(MR_SRC_031)},
	{"shut 1", put_shut_1, EVERYWHERE(MR_SRC_033)},
	{"shut, all ones", put_shut_top, EVERYWHERE(MR_SRC_033)},
	{"pongs", put_pongs, EVERYWHERE(MR_NO_RULE)},
	{"package loaded", put_loaded, EVERYWHERE(MR_NO_RULE)},
	{"resume-ack 0", put_resume_ack_0, EVERYWHERE(MR_SRC_033)},
	{"resume-ack 2", put_resume_ack_2, EVERYWHERE(MR_SRC_033)},
	{"resume-ack", put_resume_ack, EVERYWHERE(MR_NO_RULE)},
	{"type 0", put_type_0, EVERYWHERE(MR_RP_001)},
	{"next type", put_type_next, EVERYWHERE(MR_RP_001)},
	{"last type", put_type_top, EVERYWHERE(MR_RP_001)},
	{"short shut", put_short_shut, EVERYWHERE(MR_RP_002)},
	{"long pong", put_long_pong, EVERYWHERE(MR_RP_002)},
	{"long ack", put_long_ack, EVERYWHERE(MR_RP_002)},
	{"513 bytes", put_513, EVERYWHERE(MR_RP_003)},
	{"name too long", put_name_too_long, EVERYWHERE(MR_RP_006)},
};

enum { MESSAGES = sizeof(messages) / sizeof(messages[0]) };

static void send_message(const char *release, enum place place, const struct message *message)
{
	const struct foe_setup setup = setup_of(release, place);
	struct foe *foe = reach(&setup, place);
	const enum mr_rule rule = message->rules[place];

	message->put(foe);
	while (foe_step(foe, MR_SOURCE_RETURN) == MR_STEP_ACTION)
		;
	if (mr_outgoing_return_error(foe->source)->rule != rule)
		fail_msg("%s, %s, place %d: expected %s, found %s", message->name, release, place, mr_rule_id(rule),
			 mr_rule_id(mr_outgoing_return_error(foe->source)->rule));
	if (rule != MR_NO_RULE) {
		expect_consequence(foe, place, rule);
	} else {
		foe_rest(foe);
		expect_source_finished(foe);
	}
	foe_free(foe);
}

static void every_message_everywhere(void **state)
{
	(void)state;
	for (unsigned release = 0; release < RELEASES; release++)
		for (unsigned i = 0; i < MESSAGES; i++)
			for (unsigned place = 0; place < PLACES; place++)
				send_message(releases[release], (enum place)place, &messages[i]);
}

/* SWITCHOVER_ACK that nobody asked for: unknown up to 8.0, ignored up to 11.0, wrong in 11.1 (SRC-034). */
static void acks(void **state)
{
	static const struct {
		const char *release;
		enum mr_rule rule;
	} cases[] = {{"7.2", MR_SRC_033}, {"8.1", MR_NO_RULE}, {"9.2", MR_NO_RULE}, {"11.1", MR_SRC_034}};

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		for (unsigned place = 0; place < PLACES; place++) {
			const struct foe_setup setup = setup_of(cases[i].release, (enum place)place);
			struct foe *foe = reach(&setup, (enum place)place);

			foe_put_message(foe, MR_RETURN_SWITCHOVER_ACK, "", 0);
			/* keeps and breaks SRC-034 */
			if (cases[i].rule != MR_NO_RULE) {
				expect_consequence(foe, (enum place)place, cases[i].rule);
			} else {
				foe_rest(foe);
				expect_source_finished(foe);
			}
			foe_free(foe);
		}
}

/* An ack that cannot come any more is waited for, until the operator has enough of it. */
static void ack_that_never_comes(void **state)
{
	static const char *const once[] = {"8.1", "8.2", "9.2"};

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		struct foe_setup setup = setup_of(once[i / 2], IN_PRECOPY);
		struct foe *foe;

		setup.capabilities |= MR_CAPABILITY_SWITCHOVER_ACK;
		foe = foe_new(&setup);
		assert_true(foe_until(foe, MR_SOURCE_STATUS_ACTIVE));
		if (i % 2)
			foe_put_message(foe, MR_RETURN_SWITCHOVER_ACK, "", 0);
		else
			put_type_0(foe);
		for (unsigned step = 0; step < 1000; step++)
			foe_step(foe, step % 2);
		if (i % 2) {
			foe_rest(foe);
			expect_source_finished(foe);
		} else if (closes(foe)) {
			expect_source_failed(foe, MR_RP_001);
		} else {
			assert_int_equal(mr_outgoing_status(foe->source), MR_SOURCE_STATUS_ACTIVE);
			assert_true(mr_outgoing_cancel(foe->source));
			foe_rest(foe);
			expect_source_failed(foe, MR_SRC_003);
		}
		foe_free(foe);
	}
}

/* ---- SHUT before its time ---- */

/* Up to 8.1 the reader takes the connection along; later nothing is asked for any more. */
static void early_shut(void **state)
{
	(void)state;
	for (unsigned release = 0; release < RELEASES; release++)
		for (unsigned place = 0; place < PLACES; place++) {
			const struct foe_setup setup = setup_of(releases[release], (enum place)place);
			struct foe *foe = reach(&setup, (enum place)place);

			foe_put_value(foe, MR_RETURN_SHUT, 0);
			foe_rest(foe);
			if (place == IN_PRECOPY && closes(foe)) {
				expect_source_failed(foe, MR_SRC_030);
				assert_false(foe->eof_sent);
			} else if (place == IN_RECOVERY || closes(foe)) {
				expect_paused(foe);
				foe_recover(foe);
				expect_source_finished(foe);
			} else {
				expect_source_finished(foe);
			}
			foe_free(foe);
		}
}

/* What the destination says of a package that it does not have yet does not take the guest away. */
static void loaded_before_the_package(void **state)
{
	struct foe_setup setup = setup_of("11.1", IN_POSTCOPY);
	struct foe *foe;

	(void)state;
	setup.event = FOE_BREAK_MAIN;
	foe = foe_new(&setup);
	assert_true(foe_until(foe, MR_SOURCE_STATUS_ACTIVE));
	foe_put_value(foe, MR_RETURN_PONG, LOADED);
	assert_true(foe_until(foe, MR_SOURCE_STATUS_DEVICE));
	foe->setup.at = foe->actions;
	foe_rest(foe);
	/* The reader may be the first to see that the connection is broken. */
	expect_source_failed(foe, MR_SRC_033);
	assert_true(foe->guest_runs);
	foe_free(foe);
}

/* Nobody waits for a PONG that cannot come: not for the preempt channel, nor for the package. */
static void nobody_to_wait_for(void **state)
{
	static const char *const since_8_0[] = {"8.0", "8.2", "9.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		for (unsigned shut = 0; shut < 2; shut++) {
			struct foe_setup setup = setup_of(since_8_0[i], IN_POSTCOPY);
			struct foe *foe;

			setup.capabilities |= MR_CAPABILITY_POSTCOPY_PREEMPT;
			foe = foe_new(&setup);
			foe->silent = true;
			assert_true(foe_until(foe, MR_SOURCE_STATUS_ACTIVE));
			foe_put_value(foe, MR_RETURN_SHUT, shut);
			foe_rest(foe);
			assert_true(foe->said[MR_SOURCE_ACTION_FAILED]);
			expect_rest(foe);
			assert_true(foe->guest_runs);
			foe_free(foe);
		}
}

static void package_never_loaded(void **state)
{
	(void)state;
	for (unsigned shut = 0; shut < 3; shut++) {
		const struct foe_setup setup = setup_of("11.1", IN_POSTCOPY);
		struct foe *foe = foe_new(&setup);

		assert_true(foe_until(foe, MR_SOURCE_STATUS_DEVICE));
		foe->silent = true;
		foe_rest(foe);
		/* It waits for the PONG, and for nothing else. */
		assert_int_equal(mr_outgoing_status(foe->source), MR_SOURCE_STATUS_POSTCOPY_DEVICE);
		assert_int_equal(mr_outgoing_wants(foe->source, MR_SOURCE_MIGRATION).wait, MR_SOURCE_WAIT_MESSAGE);
		if (shut < 2)
			foe_put_value(foe, MR_RETURN_SHUT, shut);
		else
			foe_end_return_path(foe);
		foe_rest(foe);
		expect_source_failed(foe, shut == 1 ? MR_SRC_033 : MR_SRC_030);
		assert_true(foe->guest_runs);
		foe_free(foe);
	}
}

/* ---- Messages cut short ---- */

static void cut_message(const char *release, enum place place, const struct build *whole, size_t length)
{
	const struct foe_setup setup = setup_of(release, place);
	struct foe *foe = reach(&setup, place);

	build_bytes(foe_backward(foe), whole->bytes, length);
	foe_step(foe, MR_SOURCE_RETURN);
	/* The rest may still come. */
	assert_int_equal(mr_outgoing_return_error(foe->source)->rule, MR_NO_RULE);
	assert_int_equal(mr_outgoing_wants(foe->source, MR_SOURCE_RETURN).wait, MR_SOURCE_WAIT_RETURN);
	foe->silent = true;
	foe_end_return_path(foe);
	foe_rest(foe);
	if (place == IN_PRECOPY) {
		/* breaks SRC-033: an end without SHUT */
		expect_source_failed(foe, MR_SRC_033);
	} else {
		expect_paused(foe);
		foe->silent = false;
		foe_recover(foe);
		expect_source_finished(foe);
	}
	foe_free(foe);
}

static void cut_at_every_byte(void **state)
{
	struct build whole = {0};

	(void)state;
	build_be16(&whole, MR_RETURN_RECV_BITMAP);
	build_be16(&whole, 4);
	build_counted(&whole, "mem");
	build_be64(&whole, 8);
	build_be64(&whole, 0);
	build_be64(&whole, good_mark);
	for (unsigned release = 0; release < RELEASES; release++)
		for (unsigned place = 0; place < PLACES; place++)
			for (size_t length = 0; length < whole.length; length++)
				cut_message(releases[release], (enum place)place, &whole, length);
	whole.length = 0;
	build_be16(&whole, MR_RETURN_REQ_PAGES_ID);
	build_be16(&whole, 16);
	build_be64(&whole, 0);
	build_be32(&whole, FOE_PAGE);
	build_counted(&whole, "mem");
	for (unsigned release = 0; release < RELEASES; release++)
		for (unsigned place = 0; place < PLACES; place++)
			for (size_t length = 0; length < whole.length; length++)
				cut_message(releases[release], (enum place)place, &whole, length);
	build_free(&whole);
}

/* ---- Bitmaps ---- */

/* Bit p % 8 of byte p / 8 is page p; what is behind the last page counts for nothing (SRC-032). */
static void order_of_bits(void **state)
{
	(void)state;
	for (unsigned release = 0; release < RELEASES; release++) {
		const struct foe_setup setup = setup_of(releases[release], IN_RECOVERY);
		struct foe *foe = reach(&setup, IN_RECOVERY);
		struct build *build;
		const uint64_t *bits;
		uint64_t pages;

		foe->silent = true;
		build = foe_backward(foe);
		build_be16(build, MR_RETURN_RECV_BITMAP);
		build_be16(build, 5);
		build_counted(build, "huge");
		build_be64(build, 8);
		build_u8(build, 0x0b);
		build_fill(build, 0xff, 7);
		build_be64(build, good_mark);
		foe_step(foe, MR_SOURCE_RETURN);
		/* keeps SRC-032 */
		assert_int_equal(mr_outgoing_return_error(foe->source)->rule, MR_NO_RULE);
		bits = mr_outgoing_dirty_bits(foe->source, 1, &pages);
		assert_int_equal(pages, 8);
		assert_int_equal(bits[0], 0xf4);
		foe_end_return_path(foe);
		foe->silent = false;
		foe_recover(foe);
		expect_source_finished(foe);
		foe_free(foe);
	}
}

/* ---- Floods ---- */

enum { FLOOD = 2 * MR_OUTGOING_REQUESTS_MAX + 100 };

static void put_flood(struct foe *foe)
{
	foe_put_request(foe, "mem", 0, FOE_PAGE);
	for (unsigned i = 1; i < FLOOD; i++)
		foe_put_request(foe, NULL, i % FOE_PAGES * FOE_PAGE, FOE_PAGE);
}

/* keeps SRC-028, SRC-029: more requests than may wait are left where they are, and none is lost. */
static void flood(void **state)
{
	(void)state;
	for (unsigned release = 0; release < RELEASES; release++)
		for (unsigned place = 0; place < IN_RECOVERY; place++) {
			const struct foe_setup setup = setup_of(releases[release], (enum place)place);
			struct foe *foe = reach(&setup, (enum place)place);

			put_flood(foe);
			while (foe_step(foe, MR_SOURCE_RETURN) == MR_STEP_ACTION)
				;
			assert_int_equal(mr_outgoing_requests(foe->source), MR_OUTGOING_REQUESTS_MAX);
			assert_int_equal(mr_outgoing_wants(foe->source, MR_SOURCE_RETURN).wait, MR_SOURCE_WAIT_ROOM);
			foe_rest(foe);
			expect_source_finished(foe);
			assert_int_equal(foe->said[MR_SOURCE_ACTION_REQUEST], FLOOD);
			foe_free(foe);
		}
}

/* SHUT stands behind a flood that comes when everything has been sent. */
static void flood_at_the_end(void **state)
{
	(void)state;
	for (unsigned release = 0; release < RELEASES; release++)
		for (unsigned place = 0; place < IN_RECOVERY; place++) {
			const struct foe_setup setup = setup_of(releases[release], (enum place)place);
			struct foe *foe = reach(&setup, (enum place)place);

			foe->silent = true;
			foe_rest(foe);
			assert_true(foe->eof_sent);
			put_flood(foe);
			foe_put_value(foe, MR_RETURN_SHUT, 0);
			foe_rest(foe);
			expect_source_finished(foe);
			assert_int_equal(foe->said[MR_SOURCE_ACTION_REQUEST], FLOOD);
			foe_free(foe);
		}
}

/* So does the word that the package is loaded. */
static void flood_before_the_package_is_loaded(void **state)
{
	const struct foe_setup setup = setup_of("11.1", IN_POSTCOPY);
	struct foe *foe = foe_new(&setup);

	(void)state;
	assert_true(foe_until(foe, MR_SOURCE_STATUS_DEVICE));
	foe->silent = true;
	foe_rest(foe);
	put_flood(foe);
	foe->silent = false;
	foe_put_value(foe, MR_RETURN_PONG, LOADED);
	foe_rest(foe);
	expect_source_finished(foe);
	foe_free(foe);
}

/* Requests that come before RESUME_ACK wait for it; too many of them end with the operator's pause. */
static void requests_in_recovery(void **state)
{
	(void)state;
	for (unsigned release = 0; release < RELEASES; release++)
		for (unsigned many = 0; many < 2; many++) {
			const struct foe_setup setup = setup_of(releases[release], IN_RECOVERY);
			struct foe *foe = reach(&setup, IN_RECOVERY);

			if (many)
				put_flood(foe);
			else
				foe_put_request(foe, "mem", 0, FOE_PAGE);
			foe_rest(foe);
			if (many) {
				assert_int_equal(mr_outgoing_wants(foe->source, MR_SOURCE_RETURN).wait,
						 MR_SOURCE_WAIT_ROOM);
				assert_true(mr_outgoing_pause(foe->source));
				foe_recover(foe);
			} else {
				assert_int_equal(foe->said[MR_SOURCE_ACTION_REQUEST], 1);
			}
			expect_source_finished(foe);
			foe_free(foe);
		}
}

/* A huge page that was asked for is nobody else's until its last page is out, however late the reader is. */
static void urgent_page_is_whole(void **state)
{
	(void)state;
	for (unsigned release = 1; release < RELEASES; release++) {
		struct foe_setup setup = setup_of(releases[release], IN_POSTCOPY);
		struct foe *foe;

		setup.capabilities |= MR_CAPABILITY_POSTCOPY_PREEMPT;
		foe = reach(&setup, IN_POSTCOPY);
		while (mr_outgoing_status(foe->source) != MR_SOURCE_STATUS_POSTCOPY_ACTIVE)
			foe_step(foe, MR_SOURCE_MIGRATION);
		foe_put_request(foe, "huge", FOE_HUGE, FOE_HUGE);
		while (!foe->huge_channels[1])
			assert_int_equal(foe_step(foe, MR_SOURCE_RETURN), MR_STEP_ACTION);
		while (foe_step(foe, MR_SOURCE_MIGRATION) == MR_STEP_ACTION)
			;
		/* keeps SRC-028 */
		assert_int_equal(mr_outgoing_wants(foe->source, MR_SOURCE_MIGRATION).wait, MR_SOURCE_WAIT_ACTOR);
		assert_int_equal(mr_outgoing_wants(foe->source, MR_SOURCE_MIGRATION).actor, MR_SOURCE_RETURN);
		foe_rest(foe);
		expect_source_finished(foe);
		foe_free(foe);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_message_everywhere),
		cmocka_unit_test(acks),
		cmocka_unit_test(ack_that_never_comes),
		cmocka_unit_test(early_shut),
		cmocka_unit_test(loaded_before_the_package),
		cmocka_unit_test(nobody_to_wait_for),
		cmocka_unit_test(package_never_loaded),
		cmocka_unit_test(cut_at_every_byte),
		cmocka_unit_test(order_of_bits),
		cmocka_unit_test(flood),
		cmocka_unit_test(flood_at_the_end),
		cmocka_unit_test(flood_before_the_package_is_loaded),
		cmocka_unit_test(requests_in_recovery),
		cmocka_unit_test(urgent_page_is_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
