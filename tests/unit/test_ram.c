/* test_ram.c: the block list in all its forms, every page record, and the preempt channel. */
#include "observe.h"

#include <stdio.h>
#include <string.h>

#include "build.h"

enum { AT = 15 + 17 }; /* first byte of the body of `ram` */

static struct observation seen, other;
static struct build stream;

static int begin(void **state)
{
	(void)state;
	stream.length = 0;
	build_header(&stream);
	build_configuration(&stream, "pc");
	build_start(&stream, 2, "ram", 4);
	assert_int_equal(stream.length, AT);
	return 0;
}

/* A list with one block of four pages, then a PART; returns the offset of its first record. */
static size_t begin_part(void **state)
{
	begin(state);
	stream.length -= 17;
	build_ram_start(&stream, "pc.ram", 0x4000);
	build_part(&stream, 2);
	return stream.length;
}

static int release(void **state)
{
	(void)state;
	build_free(&stream);
	return 0;
}

static void read_as(const struct mr_context *context, enum mr_role role)
{
	const struct mr_bytes bytes = {stream.bytes, stream.length};

	observe(&other, context, role, bytes, FEED_BYTEWISE);
	observe(&seen, context, role, bytes, FEED_WHOLE);
	observe_equal(&seen, &other);
}

/* Ends the section and the stream, and reads it. */
static void finish(const struct mr_context *context)
{
	build_eos(&stream);
	build_footer(&stream, 2);
	build_u8(&stream, 0);
	read_as(context, MR_ROLE_MAIN);
}

static const struct mr_record *record_at(uint64_t offset)
{
	for (size_t i = 0; i < seen.record_count; i++)
		if (seen.records[i].record.offset == offset)
			return &seen.records[i].record;
	fail_msg("no record at 0x%llx", (unsigned long long)offset);
	return NULL;
}

static struct mr_context nothing_known(void)
{
	return (struct mr_context){.multifd_method = MR_METHOD_UNKNOWN};
}

/* ---- Block list ---- */

static void a_list_of_blocks(void **state)
{
	(void)state;
	build_size(&stream, 0x8000000 + 0x20000 + 0x1000);
	build_block(&stream, "pc.ram", 0x8000000);
	build_block(&stream, "/rom@etc/acpi/tables", 0x20000);
	build_block(&stream, "/rom@etc/acpi/rsdp", 0x1000);
	finish(NULL);
	observe_valid(&seen);
	assert_int_equal(record_at(AT)->ram_size.total, 0x8021000);
	assert_int_equal(seen.session.block_count, 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_true(seen.session.blocks[i].declared);
	assert_string_equal(seen.session.blocks[1].name, "/rom@etc/acpi/tables");
	assert_int_equal(seen.session.blocks[1].used_length, 0x20000);
	assert_int_equal(seen.session.blocks[1].page_size, 0);
}

static void an_empty_list(void **state)
{
	(void)state;
	build_size(&stream, 0);
	finish(NULL);
	observe_valid(&seen);
	assert_int_equal(seen.session.block_count, 0);
}

/* Puts ADVISE before the START that begin() wrote. */
static void advise(uint64_t summary)
{
	stream.length -= 17;
	build_advise(&stream, summary, 0x1000);
	build_start(&stream, 2, "ram", 4);
}

static void page_sizes_of_the_last_and_other_blocks(void **state)
{
	for (unsigned which = 0; which < 4; which++) {
		begin(state);
		advise(0x201000);
		build_size(&stream, 0x600000);
		build_block(&stream, "first", 0x200000);
		if (which & 1)
			build_be64(&stream, 0x200000);
		build_block(&stream, "last", 0x400000);
		if (which & 2)
			build_be64(&stream, 0x200000);
		finish(NULL);
		observe_valid(&seen);
		assert_int_equal(seen.session.blocks[0].page_size, which & 1 ? 0x200000 : 0);
		assert_int_equal(seen.session.blocks[1].page_size, which & 2 ? 0x200000 : 0);
	}
}

static void no_record_is_taken_for_a_page_size(void **state)
{
	static const uint64_t words[] = {0x080, 0x200, 0x010};

	for (size_t i = 0; i < 3; i++) {
		struct mr_context context = nothing_known();

		context.capabilities = MR_CAPABILITY_RDMA;
		begin(state);
		build_size(&stream, 0x1000);
		build_block(&stream, "a", 0x1000);
		if (words[i] != 0x010)
			build_be64(&stream, words[i]);
		finish(&context);
		observe_valid(&seen);
		assert_int_equal(seen.session.blocks[0].page_size, 0);
	}
	begin(state);
	build_size(&stream, 0x1000);
	build_block(&stream, "a", 0x1000);
	build_zero(&stream, 0, "a");
	finish(NULL);
	observe_valid(&seen);
}

static void page_sizes_that_do_not_fit(void **state)
{
	static const struct {
		uint64_t page_size, length;
		enum mr_rule rule;
	} cases[] = {
		{0x4000, 0x8000, MR_RAM_006},                       /* not in the summary */
		{0x3000, 0x6000, MR_RAM_006},                       /* no power of two */
		{0x200000, 0x201000, MR_RAM_005},                   /* a length that is no multiple */
		{UINT64_C(1) << 55, UINT64_C(1) << 55, MR_RAM_006}, /* absurd */
	};

	for (size_t i = 0; i < 4; i++) {
		begin(state);
		advise(0x201000);
		build_size(&stream, cases[i].length + 0x1000);
		build_block(&stream, "a", cases[i].length);
		build_be64(&stream, cases[i].page_size);
		build_block(&stream, "b", 0x1000);
		finish(NULL);
		assert_int_equal(seen.result, MR_DONE);
		assert_int_equal(seen.finding_count, 1);
		assert_int_equal(seen.findings[0].rule, cases[i].rule);
	}
}

static void addresses_with_ignore_shared(void **state)
{
	struct mr_context context = nothing_known();

	(void)state;
	context.capabilities = MR_CAPABILITY_IGNORE_SHARED;
	build_size(&stream, 0x3000);
	build_block(&stream, "a", 0x1000);
	build_be64(&stream, 0);
	build_block(&stream, "b", 0x2000);
	build_be64(&stream, UINT64_C(0x100000000));
	finish(&context);
	observe_valid(&seen);
	assert_true(seen.session.blocks[1].address == UINT64_C(0x100000000));
	assert_false(record_at(AT + 8)->ram_block.has_ignored);
}

static void the_ignored_byte_of_4_0(void **state)
{
	struct mr_context context = nothing_known();

	(void)state;
	context.capabilities = MR_CAPABILITY_IGNORE_SHARED;
	assert_int_equal(mr_profile_init(&context.profile, "4.0"), 0);
	build_size(&stream, 0x3000);
	build_block(&stream, "a", 0x1000);
	build_be64(&stream, 0);
	build_u8(&stream, 1);
	build_block(&stream, "b", 0x2000);
	build_be64(&stream, 0x100000);
	build_u8(&stream, 0);
	finish(&context);
	observe_valid(&seen);
	assert_true(record_at(AT + 8)->ram_block.has_ignored);
	assert_int_equal(record_at(AT + 8)->ram_block.ignored, 1);
	assert_int_equal(mr_profile_init(&context.profile, "4.1"), 0);
	read_as(&context, MR_ROLE_MAIN);
	assert_int_equal(seen.result, MR_FAILED);
}

static void lists_that_cannot_be_read(void **state)
{
	build_size(&stream, 0x1000);
	build_block(&stream, "a", 0x2000);
	finish(NULL);
	observe_one_finding(&seen, MR_RAM_002, MR_MALFORMED, AT + 8 + 2, MR_FAILED);
	begin(state);
	build_size(&stream, 0x1000);
	build_block(&stream, "", 0x1000);
	finish(NULL);
	observe_one_finding(&seen, MR_RAM_003, MR_MALFORMED, AT + 8, MR_FAILED);
}

static void lists_that_a_receiver_may_refuse(void **state)
{
	build_size(&stream, 0x2000);
	build_block(&stream, "a", 0x1000);
	build_block(&stream, "a", 0x1000);
	finish(NULL);
	observe_one_finding(&seen, MR_RAM_004, MR_ACCEPTABLE, AT + 8 + 10, MR_DONE);
	begin(state);
	build_size(&stream, 0x1000);
	build_block(&stream, "a", 0);
	build_block(&stream, "b", 0x1000);
	finish(NULL);
	observe_one_finding(&seen, MR_RAM_005, MR_RUNTIME, AT + 10, MR_DONE);
	begin(state);
	build_size(&stream, 0x1000);
	build_block(&stream, "a-b", 0x1000);
	stream.bytes[AT + 8 + 2] = 0;
	finish(NULL);
	observe_one_finding(&seen, MR_STR_024, MR_ACCEPTABLE, AT + 9, MR_DONE);
}

static void more_blocks_than_the_table_holds(void **state)
{
	char name[32];
	uint64_t over;

	(void)state;
	build_size(&stream, (MR_BLOCKS_MAX + 1) * 0x1000);
	for (unsigned i = 0; i < MR_BLOCKS_MAX; i++) {
		snprintf(name, sizeof(name), "%u", i);
		build_block(&stream, name, 0x1000);
	}
	over = stream.length;
	build_block(&stream, "over", 0x1000);
	build_eos(&stream);
	observe(&seen, NULL, MR_ROLE_MAIN, (struct mr_bytes){stream.bytes, stream.length}, FEED_WHOLE);
	observe_one_finding(&seen, MR_STR_027, MR_RUNTIME, over, MR_FAILED);
	assert_int_equal(seen.session.block_count, MR_BLOCKS_MAX);
}

static void a_list_that_never_ends(void **state)
{
	(void)state;
	build_size(&stream, 0x1000);
	/* One entry more than is allowed, and another behind it to tell that no page size follows. */
	for (unsigned i = 0; i < MR_BLOCKS_MAX + 2; i++)
		build_block(&stream, "a", 0);
	observe(&seen, NULL, MR_ROLE_MAIN, (struct mr_bytes){stream.bytes, stream.length}, FEED_WHOLE);
	assert_int_equal(seen.decoder.error.rule, MR_STR_027);
}

/* ---- Pages ---- */

static void each_page_record(void **state)
{
	const size_t at = begin_part(state);
	const struct mr_ram_page *page;

	build_zero(&stream, 0x1000, "pc.ram");
	build_page(&stream, 0x2000, NULL, 0xee, 4096);
	build_xbzrle(&stream, 0x3000, NULL, "\x05\x02xy", 4);
	build_page_start(&stream, 0, 0x100, "pc.ram");
	build_be32(&stream, 3);
	build_text(&stream, "zip");
	build_be64(&stream, 0x200);
	finish(NULL);
	observe_valid(&seen);
	OBSERVE_KINDS(&seen, MR_FILE_HEADER, MR_CONFIGURATION, MR_SECTION_START, MR_RAM_SIZE, MR_RAM_BLOCK, MR_RAM_EOS,
		      MR_SECTION_FOOTER, MR_SECTION_PART, MR_RAM_ZERO, MR_RAM_PAGE, MR_RAM_XBZRLE, MR_RAM_COMPRESSED,
		      MR_RAM_FLUSH, MR_RAM_EOS, MR_SECTION_FOOTER, MR_EOF);
	page = &record_at(at)->page;
	assert_int_equal(page->address, 0x1000);
	assert_true(mr_bytes_equal_string(page->name, "pc.ram"));
	page = &seen.records[9].record.page;
	assert_int_equal(page->data.length, 4096);
	assert_int_equal(page->data.data[4095], 0xee);
	assert_null(page->name.data);
	assert_int_equal(page->flags, 0x028);
	assert_int_equal(page->block, 0);
	page = &seen.records[10].record.page;
	assert_int_equal(page->encoding, 1);
	assert_int_equal(page->data.length, 4);
	assert_int_equal(seen.records[11].record.page.data.length, 3);
}

static void page_sizes_from_1_to_64_kib(void **state)
{
	for (uint32_t size = MR_PAGE_SIZE_MIN; size <= MR_PAGE_SIZE_MAX; size *= 2) {
		struct mr_context context = nothing_known();

		context.target_page_size = size;
		begin(state);
		build_page(&stream, 3 * (uint64_t)size, "a", 0x5a, size);
		finish(&context);
		observe_valid(&seen);
		assert_int_equal(record_at(AT)->page.address, 3 * size);
		assert_int_equal(record_at(AT)->page.data.length, size);
	}
}

static void continue_goes_on_over_sections(void **state)
{
	begin_part(state);
	build_zero(&stream, 0x1000, "pc.ram");
	build_eos(&stream);
	build_footer(&stream, 2);
	build_part(&stream, 2);
	build_zero(&stream, 0x2000, NULL);
	finish(NULL);
	observe_valid(&seen);
}

static void words_without_one_known_flag(void **state)
{
	static const uint64_t words[] = {0, 0x001, 0x400, 0x800, 0x00a, 0x020, 0x018, 0x012, 0x280, 0x00c};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		const size_t at = begin_part(state);

		build_be64(&stream, words[i]);
		build_fill(&stream, 0, 20);
		finish(NULL);
		observe_one_finding(&seen, MR_RAM_001, MR_MALFORMED, at, MR_FAILED);
	}
}

static void continue_without_a_name(void **state)
{
	const size_t at = begin_part(state);

	build_zero(&stream, 0x1000, NULL);
	finish(NULL);
	observe_one_finding(&seen, MR_RAM_008, MR_MALFORMED, at, MR_FAILED);
}

static void pages_of_unknown_blocks_and_places(void **state)
{
	size_t at = begin_part(state);

	build_zero(&stream, 0x1000, "pc.rom");
	finish(NULL);
	observe_one_finding(&seen, MR_RAM_009, MR_RUNTIME, at + 8, MR_DONE);
	at = begin_part(state);
	build_zero(&stream, 0x4000, "pc.ram");
	finish(NULL);
	observe_one_finding(&seen, MR_RAM_010, MR_RUNTIME, at, MR_DONE);
	at = begin_part(state);
	build_zero(&stream, 0x1000, "");
	finish(NULL);
	observe_one_finding(&seen, MR_RAM_003, MR_MALFORMED, at + 8, MR_FAILED);
}

static void a_block_is_added_when_its_record_is_complete(void **state)
{
	(void)state;
	stream.length = 0;
	build_zero(&stream, 0x1000, "a");
	build_page(&stream, 0x1000, "b", 0, 4095);
	read_as(NULL, MR_ROLE_PREEMPT);
	assert_int_equal(seen.decoder.error.rule, MR_STR_026);
	assert_int_equal(seen.session.block_count, 1);
	assert_false(seen.session.blocks[0].declared);
}

static void fill_bytes(void **state)
{
	struct mr_context context = nothing_known();
	const size_t at = begin_part(state);

	build_zero(&stream, 0x1000, "pc.ram");
	stream.bytes[stream.length - 1] = 7;
	finish(NULL);
	observe_one_finding(&seen, MR_RAM_011, MR_ACCEPTABLE, at + 15, MR_DONE);
	assert_int_equal(record_at(at)->page.fill, 7);
	assert_int_equal(mr_profile_init(&context.profile, "11.1"), 0);
	read_as(&context, MR_ROLE_MAIN);
	observe_one_finding(&seen, MR_RAM_011, MR_RUNTIME, at + 15, MR_DONE);
}

static void xbzrle_records(void **state)
{
	static const uint8_t noise[4097] = {0};
	size_t at = begin_part(state);

	build_xbzrle(&stream, 0, "pc.ram", "\0\1x", 3);
	stream.bytes[at + 15] = 2;
	finish(NULL);
	observe_one_finding(&seen, MR_RAM_012, MR_MALFORMED, at + 15, MR_FAILED);
	at = begin_part(state);
	build_xbzrle(&stream, 0, "pc.ram", noise, 4097);
	finish(NULL);
	observe_one_finding(&seen, MR_RAM_012, MR_MALFORMED, at + 16, MR_FAILED);
	at = begin_part(state);
	build_xbzrle(&stream, 0, "pc.ram", "", 0);
	finish(NULL);
	observe_one_finding(&seen, MR_RAM_013, MR_ACCEPTABLE, at + 16, MR_DONE);
}

static void xbzrle_encodings_that_break_a_rule(void **state)
{
	static const struct {
		const char *encoding;
		uint16_t length;
		enum mr_rule rule;
	} cases[] = {
		{"\x80\x80\x01\x01x", 5, MR_XBZ_001}, {"\0\1x\0\1x", 6, MR_XBZ_002}, {"\1\0x", 3, MR_XBZ_003},
		{"\x81\x20\1x", 4, MR_XBZ_004},       {"\1\2x", 3, MR_XBZ_005},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin_part(state);
		build_xbzrle(&stream, 0, "pc.ram", cases[i].encoding, cases[i].length);
		finish(NULL);
		assert_int_equal(seen.result, MR_DONE);
		assert_int_equal(seen.finding_count, 1);
		assert_string_equal(mr_rule_id(seen.findings[0].rule), mr_rule_id(cases[i].rule));
	}
}

static void compressed_records(void **state)
{
	struct mr_context context = nothing_known();
	const size_t bound = mr_page_compress_bound(4096);
	size_t at = begin_part(state);

	build_page_start(&stream, 0, 0x100, "pc.ram");
	build_be32(&stream, (uint32_t)bound + 1);
	finish(NULL);
	observe_one_finding(&seen, MR_RAM_015, MR_MALFORMED, at + 15, MR_FAILED);
	at = begin_part(state);
	build_page_start(&stream, 0, 0x100, "pc.ram");
	build_be32(&stream, (uint32_t)bound);
	build_fill(&stream, 0x11, bound);
	finish(NULL);
	observe_valid(&seen);
	assert_int_equal(mr_profile_init(&context.profile, "9.1"), 0);
	read_as(&context, MR_ROLE_MAIN);
	observe_one_finding(&seen, MR_RAM_017, MR_RUNTIME, at, MR_DONE);
}

/* ---- Marks ---- */

static void hook_and_flush(void **state)
{
	struct mr_context context = nothing_known();
	size_t at = begin_part(state);

	build_be64(&stream, 0x080);
	finish(NULL);
	observe_one_finding(&seen, MR_RAM_018, MR_STATE, at, MR_DONE);
	at = begin_part(state);
	build_be64(&stream, 0x200);
	finish(NULL);
	observe_valid(&seen);
	assert_int_equal(mr_profile_init(&context.profile, "8.0"), 0);
	read_as(&context, MR_ROLE_MAIN);
	observe_one_finding(&seen, MR_RAM_019, MR_RUNTIME, at, MR_DONE);
}

static void marks_with_more_than_their_flag(void **state)
{
	static const uint64_t words[] = {0x5010, 0x030, 0x220, 0x1200};

	for (size_t i = 0; i < 4; i++) {
		const size_t at = begin_part(state);

		build_be64(&stream, words[i]);
		if (words[i] & 0x010) {
			build_footer(&stream, 2);
			build_part(&stream, 2);
		}
		finish(NULL);
		observe_one_finding(&seen, MR_RAM_021, MR_ACCEPTABLE, at, MR_DONE);
	}
	begin(state);
	build_be64(&stream, 0x024);
	finish(NULL);
	observe_one_finding(&seen, MR_RAM_021, MR_ACCEPTABLE, AT, MR_DONE);
}

/* ---- Preempt channel ---- */

static void a_preempt_channel_ends_with_or_without_a_mark(void **state)
{
	(void)state;
	stream.length = 0;
	build_zero(&stream, 0x1000, "a");
	build_page(&stream, 0x2000, NULL, 1, 4096);
	read_as(NULL, MR_ROLE_PREEMPT);
	observe_valid(&seen);
	build_eos(&stream);
	read_as(NULL, MR_ROLE_PREEMPT);
	observe_valid(&seen);
	build_zero(&stream, 0x1000, "a");
	read_as(NULL, MR_ROLE_PREEMPT);
	observe_one_finding(&seen, MR_STR_021, MR_ACCEPTABLE, stream.length - 11, MR_DONE);
	assert_int_equal(seen.records[3].record.kind, MR_OPAQUE);
}

static void a_preempt_channel_has_no_list(void **state)
{
	(void)state;
	stream.length = 0;
	build_size(&stream, 0x1000);
	read_as(NULL, MR_ROLE_PREEMPT);
	observe_one_finding(&seen, MR_RAM_001, MR_MALFORMED, 0, MR_FAILED);
}

static void more_unlisted_blocks_than_the_table_holds(void **state)
{
	char name[32];

	(void)state;
	stream.length = 0;
	for (unsigned i = 0; i <= MR_BLOCKS_MAX; i++) {
		snprintf(name, sizeof(name), "%u", i);
		build_zero(&stream, 0, name);
	}
	observe(&seen, NULL, MR_ROLE_PREEMPT, (struct mr_bytes){stream.bytes, stream.length}, FEED_WHOLE);
	observe_one_finding(&seen, MR_STR_027, MR_RUNTIME, stream.length - 14, MR_FAILED);
}

int main(void)
{
#define RAM_TEST(test) cmocka_unit_test_setup(test, begin)
	const struct CMUnitTest tests[] = {
		RAM_TEST(a_list_of_blocks),
		RAM_TEST(an_empty_list),
		RAM_TEST(page_sizes_of_the_last_and_other_blocks),
		RAM_TEST(no_record_is_taken_for_a_page_size),
		RAM_TEST(page_sizes_that_do_not_fit),
		RAM_TEST(addresses_with_ignore_shared),
		RAM_TEST(the_ignored_byte_of_4_0),
		RAM_TEST(lists_that_cannot_be_read),
		RAM_TEST(lists_that_a_receiver_may_refuse),
		RAM_TEST(more_blocks_than_the_table_holds),
		RAM_TEST(a_list_that_never_ends),
		RAM_TEST(each_page_record),
		RAM_TEST(page_sizes_from_1_to_64_kib),
		RAM_TEST(continue_goes_on_over_sections),
		RAM_TEST(words_without_one_known_flag),
		RAM_TEST(continue_without_a_name),
		RAM_TEST(pages_of_unknown_blocks_and_places),
		RAM_TEST(a_block_is_added_when_its_record_is_complete),
		RAM_TEST(fill_bytes),
		RAM_TEST(xbzrle_records),
		RAM_TEST(xbzrle_encodings_that_break_a_rule),
		RAM_TEST(compressed_records),
		RAM_TEST(hook_and_flush),
		RAM_TEST(marks_with_more_than_their_flag),
		RAM_TEST(a_preempt_channel_ends_with_or_without_a_mark),
		RAM_TEST(a_preempt_channel_has_no_list),
		RAM_TEST(more_unlisted_blocks_than_the_table_holds),
	};

	return cmocka_run_group_tests(tests, NULL, release);
}
