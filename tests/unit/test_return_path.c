/* Return path messages: each kind, each rule, every prefix, damaged streams. */
#include "wire_support.h"

#include <stdio.h>

enum { MIB = 1 << 20, HUGE = 2 * MIB, VGA_LENGTH = 0x46000 };

static const uint64_t end_mark = UINT64_C(0x0123456789abcdef);

/* Nothing is known: no block list was read. */
static void nothing_known(struct mr_session *session)
{
	(void)session;
}

static void three_blocks(struct mr_session *session)
{
	declare_block(session, "pc.ram", 16 * MIB, 0);
	declare_block(session, "huge", 32 * MIB, HUGE);
	declare_block(session, "vga.ram", VGA_LENGTH, 0);
}

static void qemu_7_2(struct mr_session *session)
{
	three_blocks(session);
	assert_int_equal(mr_profile_init(&session->context.profile, "7.2"), 0);
}

/* The stream that a test builds: only one at a time. */
static struct stream *fresh(void)
{
	static struct stream stream;

	stream.length = 0;
	return &stream;
}

static void put_value(struct stream *stream, unsigned type, uint32_t value)
{
	put_number(stream, 2, type);
	put_number(stream, 2, 4);
	put_number(stream, 4, value);
}

static void put_name(struct stream *stream, const char *name)
{
	put_number(stream, 1, strlen(name));
	put_bytes(stream, name, strlen(name));
}

/* With a name the long form, else the short one. */
static void put_request(struct stream *stream, const char *name, uint64_t start, uint32_t length)
{
	put_number(stream, 2, name ? MR_RETURN_REQ_PAGES_ID : MR_RETURN_REQ_PAGES);
	put_number(stream, 2, name ? 13 + strlen(name) : 12);
	put_number(stream, 8, start);
	put_number(stream, 4, length);
	if (name)
		put_name(stream, name);
}

static void put_bitmap_header(struct stream *stream, const char *name, uint64_t size)
{
	put_number(stream, 2, MR_RETURN_RECV_BITMAP);
	put_number(stream, 2, 1 + strlen(name));
	put_name(stream, name);
	put_number(stream, 8, size);
}

static void put_bitmap(struct stream *stream, const char *name, const uint8_t *bitmap, uint64_t size)
{
	put_bitmap_header(stream, name, size);
	put_bytes(stream, bitmap, (size_t)size);
	put_number(stream, 8, end_mark);
}

static const uint8_t vga_bitmap[16] = {0x07, 0x01, 0, 0, 0, 0, 0, 0, 0x22};

static struct stream *all_messages(void)
{
	struct stream *stream = fresh();

	put_value(stream, MR_RETURN_PONG, 1);
	put_request(stream, "pc.ram", 0x1000, 0x1000);
	put_request(stream, NULL, 0xfff000, 0x1000);
	put_request(stream, "huge", HUGE, HUGE);
	put_request(stream, NULL, 0, HUGE);
	put_bitmap(stream, "vga.ram", vga_bitmap, sizeof(vga_bitmap));
	put_value(stream, MR_RETURN_RESUME_ACK, 1);
	put_number(stream, 2, MR_RETURN_SWITCHOVER_ACK);
	put_number(stream, 2, 0);
	put_value(stream, MR_RETURN_SHUT, 0);
	return stream;
}

static void expect_note(prepare_function *prepare, struct stream *stream, enum mr_rule rule)
{
	expect_only(MR_ROLE_RETURN, prepare, stream, rule, false);
}

static void expect_error(prepare_function *prepare, struct stream *stream, enum mr_rule rule)
{
	expect_only(MR_ROLE_RETURN, prepare, stream, rule, true);
}

static void test_names(void **state)
{
	(void)state;
	assert_null(mr_return_name(0));
	assert_string_equal(mr_return_name(MR_RETURN_SHUT), "SHUT");
	assert_string_equal(mr_return_name(MR_RETURN_REQ_PAGES_ID), "REQ_PAGES_ID");
	assert_string_equal(mr_return_name(MR_RETURN_SWITCHOVER_ACK), "SWITCHOVER_ACK");
	assert_null(mr_return_name(MR_RETURN_COUNT));
}

static void test_all_messages(void **state)
{
	const struct run *run = run_valid(MR_ROLE_RETURN, three_blocks, all_messages());

	(void)state;
	assert_int_equal(run->records, 9);
	assert_int_equal(run->seen.total, 0);
	/* without a block list nothing can be said against it either */
	run = run_valid(MR_ROLE_RETURN, nothing_known, all_messages());
	assert_int_equal(run->seen.total, 0);
	assert_int_equal(run->session.block_count, 2);
}

static void test_request(void **state)
{
	struct stream *stream = fresh();
	const struct mr_return_message *message;

	(void)state;
	put_request(stream, "pc.ram", 0x1000, 0x1000);
	put_request(stream, NULL, 0x2000, 0x1000);
	message = &run_valid(MR_ROLE_RETURN, three_blocks, stream)->record.message;
	assert_int_equal(message->type, MR_RETURN_REQ_PAGES);
	assert_int_equal(message->length, 12);
	assert_int_equal(message->start, 0x2000);
	assert_int_equal(message->page_length, 0x1000);
	assert_true(mr_bytes_equal_string(message->block, "pc.ram"));
}

static void test_received_bitmap(void **state)
{
	struct stream *stream = fresh();
	const struct mr_return_message *message;

	(void)state;
	put_bitmap(stream, "vga.ram", vga_bitmap, sizeof(vga_bitmap));
	message = &run_valid(MR_ROLE_RETURN, three_blocks, stream)->record.message;
	assert_true(mr_bytes_equal_string(message->block, "vga.ram"));
	assert_int_equal(message->bitmap_size, sizeof(vga_bitmap));
	assert_memory_equal(message->bitmap.data, vga_bitmap, sizeof(vga_bitmap));
	assert_int_equal(message->end_mark, end_mark);
}

static void test_frame_rules(void **state)
{
	struct stream *stream = fresh();

	(void)state;
	put_value(stream, 0, 0);
	expect_error(three_blocks, stream, MR_RP_001);
	set_number(stream, 0, 2, MR_RETURN_COUNT);
	expect_error(three_blocks, stream, MR_RP_001);
	for (unsigned type = MR_RETURN_SHUT; type < MR_RETURN_COUNT; type++) {
		if (type == MR_RETURN_REQ_PAGES_ID || type == MR_RETURN_RECV_BITMAP)
			continue;
		stream = fresh();
		put_number(stream, 2, type);
		put_number(stream, 2, 5);
		put_fill(stream, 0, 5);
		expect_error(three_blocks, stream, MR_RP_002);
	}
	stream = fresh();
	put_number(stream, 2, MR_RETURN_RECV_BITMAP);
	put_number(stream, 2, MR_RETURN_PAYLOAD_MAX + 1);
	put_fill(stream, 'x', MR_RETURN_PAYLOAD_MAX + 1);
	expect_error(three_blocks, stream, MR_RP_003);
}

static void test_value_rules(void **state)
{
	struct stream *stream = fresh();

	(void)state;
	put_value(stream, MR_RETURN_SHUT, 1);
	assert_int_equal(run_valid(MR_ROLE_RETURN, three_blocks, stream)->seen.total, 0);
	set_number(stream, 4, 4, 2);
	expect_note(three_blocks, stream, MR_RP_016);
	stream = fresh();
	put_value(stream, MR_RETURN_RESUME_ACK, 0);
	expect_note(three_blocks, stream, MR_RP_013);
	stream = fresh();
	put_number(stream, 2, MR_RETURN_SWITCHOVER_ACK);
	put_number(stream, 2, 0);
	expect_note(qemu_7_2, stream, MR_RP_014);
}

static void test_name_rules(void **state)
{
	struct stream *stream = fresh();

	(void)state;
	put_request(stream, "pc.ram", 0, 0x1000);
	set_number(stream, 16, 1, 5);
	expect_error(three_blocks, stream, MR_RP_006);
	set_number(stream, 16, 1, 7);
	expect_error(three_blocks, stream, MR_RP_006);
	/* too short for start, length and name */
	for (unsigned length = 0; length <= 13; length++) {
		stream = fresh();
		put_number(stream, 2, MR_RETURN_REQ_PAGES_ID);
		put_number(stream, 2, length);
		put_fill(stream, 0, length);
		expect_error(three_blocks, stream, MR_RP_006);
	}
	for (unsigned length = 0; length <= 1; length++) {
		stream = fresh();
		put_number(stream, 2, MR_RETURN_RECV_BITMAP);
		put_number(stream, 2, length);
		put_fill(stream, 0, length);
		expect_error(three_blocks, stream, MR_RP_006);
	}
	stream = fresh();
	put_request(stream, NULL, 0, 0x1000);
	expect_error(three_blocks, stream, MR_RP_007);
}

static void test_request_rules(void **state)
{
	static const struct {
		const char *name;
		uint64_t start;
		uint32_t length;
	} wrong[] = {
		{"pc.ram", 0, 0x2000},                  /* two pages */
		{"pc.ram", 0, 0},                       /* none */
		{"pc.ram", 0x800, 0x1000},              /* between pages */
		{"pc.ram", 0x1000000, 0x1000},          /* the first page behind the block */
		{"pc.ram", UINT64_MAX - 0xfff, 0x1000}, /* start + length is 0 */
		{"huge", 0x1000, HUGE},
		{"huge", HUGE, 0x1000},
		{"other", 0, 0x1000}, /* no such block */
	};
	struct stream *stream;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		stream = fresh();
		put_request(stream, wrong[i].name, wrong[i].start, wrong[i].length);
		expect_note(three_blocks, stream, MR_RP_008);
	}
	/* without a list only target pages are known */
	stream = fresh();
	put_request(stream, "other", 0x3000, 0x2000);
	assert_int_equal(run_valid(MR_ROLE_RETURN, nothing_known, stream)->seen.total, 0);
	set_number(stream, 4, 8, 0x3001);
	expect_note(nothing_known, stream, MR_RP_008);
}

static void test_bitmap_rules(void **state)
{
	const size_t header = 4 + 1 + strlen("vga.ram");
	struct stream *stream = fresh();
	uint8_t bitmap[16];

	(void)state;
	put_bitmap(stream, "vga.ram", vga_bitmap, 8);
	expect_error(three_blocks, stream, MR_RP_010);
	assert_int_equal(run_valid(MR_ROLE_RETURN, nothing_known, stream)->seen.total, 0);
	set_number(stream, header, 8, 12);
	expect_error(nothing_known, stream, MR_RP_010);
	set_number(stream, header, 8, UINT64_MAX - 7);
	expect_error(nothing_known, stream, MR_STR_027);

	stream = fresh();
	put_bitmap(stream, "vga.ram", vga_bitmap, sizeof(vga_bitmap));
	stream->data[stream->length - 1] ^= 1;
	expect_error(three_blocks, stream, MR_RP_011);

	/* 70 pages: bit 6 of byte 8 is the first that means nothing */
	memcpy(bitmap, vga_bitmap, sizeof(bitmap));
	bitmap[8] |= 0x20;
	stream = fresh();
	put_bitmap(stream, "vga.ram", bitmap, sizeof(bitmap));
	assert_int_equal(run_valid(MR_ROLE_RETURN, three_blocks, stream)->seen.total, 0);
	stream->data[header + 8 + 8] |= 0x40;
	expect_note(three_blocks, stream, MR_RP_012);
	stream->data[header + 8 + 8] = 0;
	stream->data[header + 8 + 15] = 0x80;
	expect_note(three_blocks, stream, MR_RP_012);

	stream = fresh();
	put_bitmap(stream, "other", vga_bitmap, 8);
	expect_note(three_blocks, stream, MR_RP_010);
}

static void colo_run(struct mr_session *session)
{
	session->colo = true;
}

/* Behind SHUT, the same direction may carry messages of COLO. */
static void test_colo(void **state)
{
	struct stream *stream = fresh();
	const struct run *run;

	(void)state;
	put_value(stream, MR_RETURN_SHUT, 0);
	put_number(stream, 4, 0);
	run = run_valid(MR_ROLE_RETURN, colo_run, stream);
	assert_int_equal(run->records, 2);
	assert_int_equal(run->record.kind, MR_COLO_MESSAGE);
	check_every_prefix(MR_ROLE_RETURN, colo_run, stream);
	expect_error(nothing_known, stream, MR_RP_001);
}

static void test_too_many_blocks(void **state)
{
	struct stream *stream = fresh();
	char name[16];

	(void)state;
	for (unsigned i = 0; i <= MR_BLOCKS_MAX; i++) {
		snprintf(name, sizeof(name), "block%u", i);
		put_request(stream, name, 0, 0x1000);
	}
	expect_error(nothing_known, stream, MR_STR_027);
}

static void test_prefixes(void **state)
{
	(void)state;
	check_every_prefix(MR_ROLE_RETURN, three_blocks, all_messages());
	check_every_prefix(MR_ROLE_RETURN, nothing_known, all_messages());
}

static void test_damaged(void **state)
{
	(void)state;
	check_damaged(MR_ROLE_RETURN, three_blocks, all_messages(), 3000);
	check_damaged(MR_ROLE_RETURN, nothing_known, all_messages(), 3000);
}

/* Random messages that keep every rule are read without a finding and written as they were. */
static void test_random_messages(void **state)
{
	struct random random = {42};

	(void)state;
	for (unsigned round = 0; round < 300; round++) {
		struct stream *stream = fresh();

		put_request(stream, "pc.ram", 0, 0x1000);
		for (unsigned i = 0; i < 20; i++) {
			switch (random_below(&random, 4)) {
			case 0:
				put_value(stream, MR_RETURN_PONG, (uint32_t)random_next(&random));
				break;
			case 1:
				put_request(stream, "pc.ram", random_below(&random, 4096) * 4096, 0x1000);
				break;
			case 2:
				put_request(stream, "huge", random_below(&random, 16) * HUGE, HUGE);
				put_request(stream, NULL, random_below(&random, 16) * HUGE, HUGE);
				break;
			default: {
				uint8_t bitmap[16] = {0};

				random_fill(&random, bitmap, 8);
				put_bitmap(stream, "vga.ram", bitmap, sizeof(bitmap));
			}
			}
		}
		assert_int_equal(run_valid(MR_ROLE_RETURN, three_blocks, stream)->seen.total, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),           cmocka_unit_test(test_all_messages),
		cmocka_unit_test(test_request),         cmocka_unit_test(test_received_bitmap),
		cmocka_unit_test(test_frame_rules),     cmocka_unit_test(test_value_rules),
		cmocka_unit_test(test_name_rules),      cmocka_unit_test(test_request_rules),
		cmocka_unit_test(test_bitmap_rules),    cmocka_unit_test(test_colo),
		cmocka_unit_test(test_too_many_blocks), cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_damaged),         cmocka_unit_test(test_random_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
