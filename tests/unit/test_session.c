/* test_session.c: what channels share: page size, the table of blocks, limits; and the decoder's own life. */
#include "observe.h"

#include <stdio.h>
#include <string.h>

#include "build.h"
#include "wire/wire.h"

static struct observation seen;

static struct mr_bytes text(const char *text)
{
	return (struct mr_bytes){(const uint8_t *)text, strlen(text)};
}

static struct mr_bytes bytes_of(const struct build *build)
{
	return (struct mr_bytes){build->bytes, build->length};
}

static void a_session_that_knows_nothing_uses_4_kib_pages(void **state)
{
	(void)state;
	memset(&seen.session, 0xff, sizeof(seen.session));
	mr_session_init(&seen.session, NULL, NULL, NULL);
	assert_int_equal(seen.session.target_page_size, 4096);
	assert_int_equal(mr_session_packet_pages(&seen.session), 128);
	assert_int_equal(seen.session.block_count, 0);
	assert_int_equal(seen.session.section_count, 0);
	assert_false(seen.session.return_path || seen.session.advised || seen.session.listening || seen.session.colo);
	assert_false(seen.session.context.profile.known);
	assert_int_equal(seen.session.context.multifd_method, MR_METHOD_UNKNOWN);
	assert_null(mr_session_find_block(&seen.session, text("pc.ram")));
}

static void a_context_sets_page_size_and_colo(void **state)
{
	const struct mr_context context = {.target_page_size = 65536, .capabilities = MR_CAPABILITY_COLO};

	(void)state;
	mr_session_init(&seen.session, &context, NULL, NULL);
	assert_int_equal(seen.session.target_page_size, 65536);
	assert_int_equal(mr_session_packet_pages(&seen.session), 8);
	assert_true(seen.session.colo);
}

/* keeps RP-008: the size of a host page that a block does not tell is the smallest that ADVISE has told. */
static void a_host_page_is_the_blocks_or_the_ordinary_one(void **state)
{
	const struct mr_block ordinary = {.page_size = 0}, huge = {.page_size = 2 << 20};
	struct mr_context context = {.target_page_size = 4096};

	(void)state;
	mr_session_init(&seen.session, &context, NULL, NULL);
	assert_int_equal(mr_session_host_page(&seen.session, &ordinary), 4096);
	seen.session.page_size_summary = 16384 | 2 << 20;
	assert_int_equal(mr_session_host_page(&seen.session, &ordinary), 16384);
	assert_int_equal(mr_session_host_page(&seen.session, &huge), 2 << 20);
	context.target_page_size = 65536;
	mr_session_init(&seen.session, &context, NULL, NULL);
	seen.session.page_size_summary = 4096;
	assert_int_equal(mr_session_host_page(&seen.session, &ordinary), 65536);
}

static void blocks_are_found_by_name(void **state)
{
	const struct mr_block *block;

	(void)state;
	mr_session_init(&seen.session, NULL, NULL, NULL);
	assert_int_equal(mr_session_name_block(&seen.session, text("pc.ram")), 0);
	assert_int_equal(mr_session_name_block(&seen.session, text("pc.ra")), 1);
	assert_int_equal(mr_session_name_block(&seen.session, text("pc.ram")), 0);
	block = mr_session_find_block(&seen.session, text("pc.ra"));
	assert_non_null(block);
	assert_int_equal(block->index, 1);
	assert_string_equal(block->name, "pc.ra");
	assert_false(block->declared);
	assert_null(mr_session_find_block(&seen.session, text("pc.r")));
	assert_null(mr_session_find_block(&seen.session, text("")));
}

static void names_may_hold_any_byte(void **state)
{
	static const uint8_t first[] = {'a', 0, 'b'}, second[] = {'a', 0, 'c'};
	const struct mr_bytes a = {first, 3}, b = {second, 3};

	(void)state;
	mr_session_init(&seen.session, NULL, NULL, NULL);
	assert_int_equal(mr_session_name_block(&seen.session, a), 0);
	assert_int_equal(mr_session_name_block(&seen.session, b), 1);
	assert_int_equal(mr_session_find_block(&seen.session, a)->index, 0);
	assert_null(mr_session_find_block(&seen.session, text("a")));
}

static void the_table_of_blocks_ends_at_its_limit(void **state)
{
	char name[32];

	(void)state;
	mr_session_init(&seen.session, NULL, NULL, NULL);
	for (unsigned i = 0; i < MR_BLOCKS_MAX; i++) {
		snprintf(name, sizeof(name), "block-%u", i);
		assert_int_equal(mr_session_name_block(&seen.session, text(name)), i);
	}
	assert_int_equal(mr_session_name_block(&seen.session, text("one more")), UINT32_MAX);
	assert_int_equal(mr_session_name_block(&seen.session, text("block-777")), 777);
	assert_null(mr_session_find_block(&seen.session, text("one more")));
	assert_int_equal(seen.session.block_count, MR_BLOCKS_MAX);
}

static void a_name_that_is_too_long_is_refused(void **state)
{
	static const uint8_t name[MR_NAME_MAX + 1] = {1};

	(void)state;
	mr_session_init(&seen.session, NULL, NULL, NULL);
	assert_int_equal(mr_session_name_block(&seen.session, (struct mr_bytes){name, MR_NAME_MAX + 1}), UINT32_MAX);
	assert_int_equal(mr_session_name_block(&seen.session, (struct mr_bytes){name, MR_NAME_MAX}), 0);
}

static void an_empty_stream_ends_where_its_role_allows(void **state)
{
	const struct mr_bytes nothing = {(const uint8_t *)"", 0};

	(void)state;
	observe(&seen, NULL, MR_ROLE_MAIN, nothing, FEED_WHOLE);
	observe_one_finding(&seen, MR_STR_026, MR_MALFORMED, 0, MR_FAILED);
	observe(&seen, NULL, MR_ROLE_RECOVERY, nothing, FEED_WHOLE);
	observe_one_finding(&seen, MR_STR_026, MR_MALFORMED, 0, MR_FAILED);
	observe(&seen, NULL, MR_ROLE_MULTIFD, nothing, FEED_WHOLE);
	observe_one_finding(&seen, MR_STR_026, MR_MALFORMED, 0, MR_FAILED);
	observe(&seen, NULL, MR_ROLE_PREEMPT, nothing, FEED_WHOLE);
	observe_valid(&seen);
	observe(&seen, NULL, MR_ROLE_RETURN, nothing, FEED_WHOLE);
	observe_valid(&seen);
}

static void an_empty_window_asks_for_a_byte(void **state)
{
	struct mr_record record;

	(void)state;
	for (enum mr_role role = 0; role < MR_ROLE_COUNT; role++) {
		mr_session_init(&seen.session, NULL, NULL, NULL);
		mr_decoder_init(&seen.decoder, &seen.session, role, 0);
		assert_int_equal(mr_decode(&seen.decoder, (const uint8_t *)"", 0, false, &record), MR_MORE);
		assert_int_equal(seen.decoder.wanted, 1);
		assert_int_equal(seen.decoder.offset, 0);
	}
}

static void a_recovery_connection_goes_on_with_the_sections_of_the_first(void **state)
{
	struct build first = {0}, second = {0};

	(void)state;
	build_header(&first);
	build_configuration(&first, "pc");
	build_advise(&first, 0x1000, 0x1000);
	build_ram_start(&first, "pc.ram", 0x4000);
	observe(&seen, NULL, MR_ROLE_MAIN, bytes_of(&first), FEED_WHOLE);
	observe_one_finding(&seen, MR_STR_026, MR_MALFORMED, first.length, MR_FAILED);

	build_recv_bitmap(&second, "pc.ram");
	build_command(&second, 9, 0);
	build_part(&second, 2);
	build_zero(&second, 0x1000, "pc.ram");
	build_eos(&second);
	build_footer(&second, 2);
	build_u8(&second, 0);
	observe_more(&seen, MR_ROLE_RECOVERY, bytes_of(&second), FEED_WHOLE);
	observe_valid(&seen);
	OBSERVE_KINDS(&seen, MR_COMMAND, MR_COMMAND, MR_SECTION_PART, MR_RAM_ZERO, MR_RAM_EOS, MR_SECTION_FOOTER,
		      MR_EOF);
	assert_true(mr_bytes_equal_string(seen.records[2].record.section.idstr, "ram"));
	assert_int_equal(seen.session.blocks[seen.records[3].record.page.block].used_length, 0x4000);
	build_free(&first);
	build_free(&second);
}

static void continue_needs_a_name_on_each_channel(void **state)
{
	struct build first = {0}, second = {0};

	(void)state;
	build_zero(&first, 0, "pc.ram");
	build_zero(&first, 0x1000, NULL);
	observe(&seen, NULL, MR_ROLE_PREEMPT, bytes_of(&first), FEED_WHOLE);
	observe_valid(&seen);
	build_zero(&second, 0x1000, NULL);
	observe_more(&seen, MR_ROLE_PREEMPT, bytes_of(&second), FEED_WHOLE);
	observe_one_finding(&seen, MR_RAM_008, MR_MALFORMED, 0, MR_FAILED);
	build_free(&first);
	build_free(&second);
}

static void names_have_texts(void **state)
{
	(void)state;
	for (enum mr_kind kind = 0; kind < MR_KIND_COUNT; kind++)
		assert_non_null(mr_kind_name(kind));
	assert_string_equal(mr_kind_name(MR_RAM_PAGE), "ram-page");
	assert_string_equal(mr_kind_name(MR_KIND_COUNT), "unknown");
	for (enum mr_role role = 0; role < MR_ROLE_COUNT; role++)
		assert_non_null(mr_role_name(role));
}

static void counted_strings_are_taken_one_by_one(void **state)
{
	struct mr_bytes list = {(const uint8_t *)"\x02"
						 "ab\x00\x03x",
				6};
	struct mr_bytes string;

	(void)state;
	assert_true(mr_counted_string(&list, &string));
	assert_true(mr_bytes_equal_string(string, "ab"));
	assert_true(mr_counted_string(&list, &string));
	assert_int_equal(string.length, 0);
	assert_false(mr_counted_string(&list, &string));
	assert_int_equal(list.length, 2);
	list.length = 0;
	assert_false(mr_counted_string(&list, &string));
}

static void texts_in_findings_are_cut_and_escaped(void **state)
{
	uint8_t bytes[200];
	struct mr_text shown;

	(void)state;
	memset(bytes, 0xab, sizeof(bytes));
	shown = mr_text_bytes((struct mr_bytes){bytes, 3});
	assert_string_equal(shown.text, "ab ab ab");
	shown = mr_text_bytes((struct mr_bytes){bytes, sizeof(bytes)});
	assert_non_null(strstr(shown.text, "ab ..."));
	shown = mr_text_bytes((struct mr_bytes){bytes, 0});
	assert_string_equal(shown.text, "no bytes");
	shown = mr_text_name((struct mr_bytes){(const uint8_t *)"a\"\\\n\0", 5});
	assert_string_equal(shown.text, "\"a\\x22\\x5c\\x0a\\x00\"");
	shown = mr_text_name((struct mr_bytes){bytes, sizeof(bytes)});
	assert_non_null(strstr(shown.text, "...\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_that_knows_nothing_uses_4_kib_pages),
		cmocka_unit_test(a_context_sets_page_size_and_colo),
		cmocka_unit_test(a_host_page_is_the_blocks_or_the_ordinary_one),
		cmocka_unit_test(blocks_are_found_by_name),
		cmocka_unit_test(names_may_hold_any_byte),
		cmocka_unit_test(the_table_of_blocks_ends_at_its_limit),
		cmocka_unit_test(a_name_that_is_too_long_is_refused),
		cmocka_unit_test(an_empty_stream_ends_where_its_role_allows),
		cmocka_unit_test(an_empty_window_asks_for_a_byte),
		cmocka_unit_test(a_recovery_connection_goes_on_with_the_sections_of_the_first),
		cmocka_unit_test(continue_needs_a_name_on_each_channel),
		cmocka_unit_test(names_have_texts),
		cmocka_unit_test(counted_strings_are_taken_one_by_one),
		cmocka_unit_test(texts_in_findings_are_cut_and_escaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
