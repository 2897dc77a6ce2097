/* test_command.c: each command with each form of its payload, and each rule about one command. */
#include "observe.h"

#include <string.h>

#include "build.h"

enum { AT = 15 }; /* behind header and configuration */

static struct observation seen;
static struct build stream;

static int begin(void **state)
{
	(void)state;
	stream.length = 0;
	build_header(&stream);
	build_configuration(&stream, "pc");
	assert_int_equal(stream.length, AT);
	return 0;
}

static int release(void **state)
{
	(void)state;
	build_free(&stream);
	return 0;
}

/* Reads the stream with an end mark behind it; returns the command at AT. */
static const struct mr_command *read_command(const struct mr_context *context)
{
	build_u8(&stream, 0);
	observe(&seen, context, MR_ROLE_MAIN, (struct mr_bytes){stream.bytes, stream.length}, FEED_WHOLE);
	return seen.record_count > 2 ? &seen.records[2].record.command : NULL;
}

static struct mr_context release_context(const char *release_name)
{
	struct mr_context context = {.multifd_method = MR_METHOD_UNKNOWN};

	assert_int_equal(mr_profile_init(&context.profile, release_name), 0);
	return context;
}

/* ---- Forms ---- */

static void commands_without_payload(void **state)
{
	static const uint16_t numbers[] = {MR_COMMAND_OPEN_RETURN_PATH, MR_COMMAND_POSTCOPY_LISTEN,
					   MR_COMMAND_POSTCOPY_RUN,     MR_COMMAND_ENABLE_COLO,
					   MR_COMMAND_POSTCOPY_RESUME,  MR_COMMAND_SWITCHOVER_START};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		begin(state);
		build_command(&stream, numbers[i], 0);
		assert_int_equal(read_command(NULL)->number, numbers[i]);
		observe_valid(&seen);
		assert_int_equal(seen.session.return_path, numbers[i] == MR_COMMAND_OPEN_RETURN_PATH);
		assert_int_equal(seen.session.listening, numbers[i] == MR_COMMAND_POSTCOPY_LISTEN);
		assert_int_equal(seen.session.colo, numbers[i] == MR_COMMAND_ENABLE_COLO);
	}
}

static void ping(void **state)
{
	(void)state;
	build_ping(&stream, 0x42);
	assert_int_equal(read_command(NULL)->value, 0x42);
	observe_valid(&seen);
}

static void advise_in_both_lengths(void **state)
{
	const struct mr_command *command;

	build_advise(&stream, 0x201000, 0x1000);
	command = read_command(NULL);
	observe_valid(&seen);
	assert_int_equal(command->page_size_summary, 0x201000);
	assert_int_equal(command->target_page_size, 0x1000);
	assert_int_equal(seen.session.page_size_summary, 0x201000);
	assert_true(seen.session.advised);

	begin(state);
	build_command(&stream, 3, 0);
	assert_int_equal(read_command(NULL)->length, 0);
	observe_valid(&seen);
	assert_int_equal(seen.session.page_size_summary, 0);
	assert_true(seen.session.advised);
}

static void discard_with_two_ranges(void **state)
{
	const struct mr_command *command;
	uint64_t start, length;

	(void)state;
	build_command(&stream, 6, 3 + 1 + 32);
	build_u8(&stream, 0);
	build_counted(&stream, "a");
	build_u8(&stream, 0);
	build_be64(&stream, 0x1000);
	build_be64(&stream, 0x2000);
	build_be64(&stream, UINT64_C(0x123456789000));
	build_be64(&stream, 0x1000);
	command = read_command(NULL);
	observe_valid(&seen);
	assert_int_equal(command->range_count, 2);
	assert_true(mr_bytes_equal_string(command->block, "a"));
	mr_discard_range(command, 1, &start, &length);
	assert_true(start == UINT64_C(0x123456789000));
	assert_int_equal(length, 0x1000);
}

static void recv_bitmap(void **state)
{
	(void)state;
	build_recv_bitmap(&stream, "pc.ram");
	assert_true(mr_bytes_equal_string(read_command(NULL)->block, "pc.ram"));
	observe_valid(&seen);
}

static void the_longest_name(void **state)
{
	char name[MR_NAME_MAX + 1];

	(void)state;
	memset(name, 'n', MR_NAME_MAX);
	name[MR_NAME_MAX] = '\0';
	build_recv_bitmap(&stream, name);
	assert_int_equal(read_command(NULL)->block.length, MR_NAME_MAX);
	observe_valid(&seen);
}

static void packaged_makes_its_records_deeper(void **state)
{
	size_t package;

	(void)state;
	package = build_package(&stream);
	build_command(&stream, 4, 0);
	build_ping(&stream, 3);
	build_command(&stream, 5, 0);
	build_package_end(&stream, package);
	assert_int_equal(read_command(NULL)->package_length, 19);
	observe_valid(&seen);
	assert_int_equal(seen.record_count, 7);
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(seen.records[i].record.depth, i >= 3 && i <= 5);
}

static void commands_have_names(void **state)
{
	(void)state;
	assert_null(mr_command_name(0));
	for (unsigned number = 1; number < MR_COMMAND_COUNT; number++)
		assert_non_null(mr_command_name(number));
	assert_null(mr_command_name(MR_COMMAND_COUNT));
	assert_null(mr_command_name(0xffff));
}

/* ---- Rules ---- */

static void unknown_commands_are_refused(void **state)
{
	static const uint16_t numbers[] = {0, MR_COMMAND_COUNT, 0xffff};

	for (size_t i = 0; i < 3; i++) {
		begin(state);
		build_command(&stream, numbers[i], 0);
		read_command(NULL);
		observe_one_finding(&seen, MR_CMD_001, MR_MALFORMED, AT + 1, MR_FAILED);
	}
}

static void commands_younger_than_the_release_are_named(void **state)
{
	static const struct {
		const char *release;
		uint16_t number;
	} cases[] = {{"2.12", 9}, {"2.12", 8}, {"9.2", 11}, {"11.0", 8}};

	for (size_t i = 0; i < 4; i++) {
		const struct mr_context context = release_context(cases[i].release);

		begin(state);
		build_command(&stream, cases[i].number, 0);
		read_command(&context);
		observe_one_finding(&seen, MR_CMD_001, MR_RUNTIME, AT + 1, MR_DONE);
	}
}

static void lengths_of_fixed_commands(void **state)
{
	static const uint16_t numbers[] = {1, 2, 4, 5, 7, 8, 9, 11};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		begin(state);
		build_command(&stream, numbers[i], 1);
		build_u8(&stream, 0);
		read_command(NULL);
		observe_one_finding(&seen, MR_CMD_002, MR_MALFORMED, AT + 3, MR_FAILED);
	}
}

static void a_ping_of_another_value_is_acceptable(void **state)
{
	static const uint32_t values[] = {0, 5, 0x43, UINT32_MAX};

	for (size_t i = 0; i < 4; i++) {
		begin(state);
		build_ping(&stream, values[i]);
		read_command(NULL);
		observe_one_finding(&seen, MR_CMD_005, MR_ACCEPTABLE, AT + 5, MR_DONE);
	}
}

static void advise_of_another_length(void **state)
{
	(void)state;
	build_command(&stream, 3, 8);
	build_be64(&stream, 0x1000);
	read_command(NULL);
	observe_one_finding(&seen, MR_CMD_006, MR_MALFORMED, AT + 3, MR_FAILED);
}

static void advise_with_other_page_sizes(void **state)
{
	build_advise(&stream, 0x800, 0x1000);
	read_command(NULL);
	observe_one_finding(&seen, MR_CMD_008, MR_RUNTIME, AT + 5, MR_DONE);
	begin(state);
	build_advise(&stream, 0x3000, 0x2000);
	read_command(NULL);
	observe_one_finding(&seen, MR_CMD_008, MR_RUNTIME, AT + 13, MR_DONE);
	begin(state);
	build_advise(&stream, 0x3000, 0);
	read_command(NULL);
	observe_one_finding(&seen, MR_CMD_008, MR_RUNTIME, AT + 13, MR_DONE);
}

static void discards_that_cannot_be_read(void **state)
{
	static const struct {
		const char *bytes;
		uint16_t length, offset;
	} cases[] = {
		{"", 0, 0},       {"\0", 1, 0},      {"\0\1", 2, 0},    {"\0\1a", 3, 0},       {"\0\2a\0", 4, 0},
		{"\0\0\0", 3, 0}, {"\1\1a\0", 4, 0}, {"\0\1a\1", 4, 3}, {"\0\1a\0\0\0", 6, 4},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin(state);
		build_command(&stream, 6, cases[i].length);
		build_bytes(&stream, cases[i].bytes, cases[i].length);
		read_command(NULL);
		observe_one_finding(&seen, MR_CMD_009, MR_MALFORMED, AT + 5u + cases[i].offset, MR_FAILED);
	}
}

static void discards_of_no_or_too_many_ranges(void **state)
{
	build_command(&stream, 6, 4);
	build_bytes(&stream, "\0\1a\0", 4);
	read_command(NULL);
	observe_one_finding(&seen, MR_CMD_010, MR_ACCEPTABLE, AT + 6, MR_DONE);
	begin(state);
	build_command(&stream, 6, 4 + 13 * 16);
	build_bytes(&stream, "\0\1a\0", 4);
	for (uint64_t i = 0; i < 13; i++) {
		build_be64(&stream, i * 0x2000);
		build_be64(&stream, 0x1000);
	}
	read_command(NULL);
	observe_one_finding(&seen, MR_CMD_010, MR_ACCEPTABLE, AT + 6, MR_DONE);
	assert_int_equal(seen.records[2].record.command.range_count, 13);
}

static void discarded_ranges_lie_in_their_block(void **state)
{
	static const struct {
		const char *block;
		uint64_t start, length;
		enum mr_rule rule;
	} cases[] = {
		{"pc.ram", 0, 0x4000, MR_NO_RULE},
		{"pc.ram", 0x3000, 0x1000, MR_NO_RULE},
		{"pc.ram", 0x3000, 0x2000, MR_CMD_011},
		{"pc.ram", 0x5000, 0x1000, MR_CMD_011},
		{"pc.ram", 0x1000, UINT64_C(0xfffffffffffff000), MR_CMD_011},
		{"pc.ram", 0x800, 0x1000, MR_CMD_011},
		{"pc.ram", 0, 0x1001, MR_CMD_011},
		{"pc.ram", 0x1000, 0, MR_CMD_012},
		{"pc.rom", 0, 0x1000, MR_CMD_011},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin(state);
		build_ram_start(&stream, "pc.ram", 0x4000);
		build_discard(&stream, cases[i].block, cases[i].start, cases[i].length);
		read_command(NULL);
		assert_int_equal(seen.result, MR_DONE);
		assert_int_equal(seen.finding_count, cases[i].rule != MR_NO_RULE);
		if (cases[i].rule != MR_NO_RULE)
			assert_int_equal(seen.findings[0].rule, cases[i].rule);
	}
}

static void discards_keep_the_host_page(void **state)
{
	(void)state;
	build_advise(&stream, 0x3000, 0x1000);
	build_start(&stream, 2, "ram", 4);
	build_size(&stream, 0x8000);
	build_block(&stream, "huge", 0x8000);
	build_be64(&stream, 0x2000);
	build_eos(&stream);
	build_footer(&stream, 2);
	build_discard(&stream, "huge", 0x2000, 0x2000);
	build_discard(&stream, "huge", 0x5000, 0x2000);
	read_command(NULL);
	assert_int_equal(observe_count(&seen, MR_CMD_011), 1);
	assert_int_equal(seen.finding_count, 1);
}

static void recv_bitmaps_that_cannot_be_read(void **state)
{
	static const struct {
		const char *bytes;
		uint16_t length;
	} cases[] = {{"", 0}, {"\0", 1}, {"\2a", 2}, {"\1ab", 3}};

	for (size_t i = 0; i < 4; i++) {
		begin(state);
		build_command(&stream, 10, cases[i].length);
		build_bytes(&stream, cases[i].bytes, cases[i].length);
		read_command(NULL);
		observe_one_finding(&seen, MR_CMD_021, MR_MALFORMED, AT + 5, MR_FAILED);
	}
}

/* ---- Packages ---- */

static void an_empty_package_is_named(void **state)
{
	(void)state;
	build_package(&stream);
	read_command(NULL);
	observe_one_finding(&seen, MR_CMD_018, MR_RUNTIME, AT + 5, MR_DONE);
	assert_int_equal(seen.records[3].record.depth, 0);
}

static void a_huge_package_is_named(void **state)
{
	(void)state;
	build_command(&stream, 7, 4);
	build_be32(&stream, 0x80000000);
	build_command(&stream, 4, 0);
	read_command(NULL);
	assert_int_equal(observe_count(&seen, MR_CMD_018), 1);
	assert_int_equal(seen.decoder.error.rule, MR_STR_026);
}

static void a_package_in_a_package_is_refused(void **state)
{
	size_t outer;

	(void)state;
	outer = build_package(&stream);
	build_command(&stream, 4, 0);
	build_package(&stream);
	build_package_end(&stream, outer);
	read_command(NULL);
	observe_one_finding(&seen, MR_CMD_020, MR_STATE, outer + 5, MR_FAILED);
}

static void bytes_behind_run_are_kept(void **state)
{
	size_t package;

	(void)state;
	package = build_package(&stream);
	build_command(&stream, 4, 0);
	build_command(&stream, 5, 0);
	build_text(&stream, "xyz");
	build_package_end(&stream, package);
	read_command(NULL);
	observe_one_finding(&seen, MR_CMD_019, MR_STATE, package + 10, MR_DONE);
	OBSERVE_KINDS(&seen, MR_FILE_HEADER, MR_CONFIGURATION, MR_COMMAND, MR_COMMAND, MR_COMMAND, MR_OPAQUE, MR_EOF);
	assert_int_equal(seen.records[5].record.length, 3);
	assert_int_equal(seen.records[5].record.opaque.rule, MR_CMD_019);
}

static void a_package_cuts_no_record(void **state)
{
	size_t package;

	(void)state;
	package = build_package(&stream);
	build_command(&stream, 4, 0);
	build_ping(&stream, 3);
	build_patch(&stream, package - 4, 4, 5 + 7);
	build_fill(&stream, 0, 100);
	read_command(NULL);
	observe_one_finding(&seen, MR_STR_026, MR_MALFORMED, package + 12, MR_FAILED);
}

static void a_package_cuts_no_section(void **state)
{
	size_t package;

	(void)state;
	package = build_package(&stream);
	build_start(&stream, 2, "ram", 4);
	build_eos(&stream);
	build_package_end(&stream, package);
	build_footer(&stream, 2);
	read_command(NULL);
	observe_one_finding(&seen, MR_STR_026, MR_MALFORMED, stream.length - 6, MR_FAILED);
}

int main(void)
{
#define COMMAND_TEST(test) cmocka_unit_test_setup(test, begin)
	const struct CMUnitTest tests[] = {
		COMMAND_TEST(commands_without_payload),
		COMMAND_TEST(ping),
		COMMAND_TEST(advise_in_both_lengths),
		COMMAND_TEST(discard_with_two_ranges),
		COMMAND_TEST(recv_bitmap),
		COMMAND_TEST(the_longest_name),
		COMMAND_TEST(packaged_makes_its_records_deeper),
		COMMAND_TEST(commands_have_names),
		COMMAND_TEST(unknown_commands_are_refused),
		COMMAND_TEST(commands_younger_than_the_release_are_named),
		COMMAND_TEST(lengths_of_fixed_commands),
		COMMAND_TEST(a_ping_of_another_value_is_acceptable),
		COMMAND_TEST(advise_of_another_length),
		COMMAND_TEST(advise_with_other_page_sizes),
		COMMAND_TEST(discards_that_cannot_be_read),
		COMMAND_TEST(discards_of_no_or_too_many_ranges),
		COMMAND_TEST(discarded_ranges_lie_in_their_block),
		COMMAND_TEST(discards_keep_the_host_page),
		COMMAND_TEST(recv_bitmaps_that_cannot_be_read),
		COMMAND_TEST(an_empty_package_is_named),
		COMMAND_TEST(a_huge_package_is_named),
		COMMAND_TEST(a_package_in_a_package_is_refused),
		COMMAND_TEST(bytes_behind_run_are_kept),
		COMMAND_TEST(a_package_cuts_no_record),
		COMMAND_TEST(a_package_cuts_no_section),
	};

	return cmocka_run_group_tests(tests, NULL, release);
}
