/* test_main.c: header, configuration, sections, footers, ends, COLO and recovery on the main channel. */
#include "observe.h"

#include <stdio.h>
#include <string.h>

#include "build.h"

enum { BODY = 15 }; /* behind header and configuration of begin() */

static struct observation seen, other;
static struct build stream;

static int begin(void **state)
{
	(void)state;
	stream.length = 0;
	build_header(&stream);
	build_configuration(&stream, "pc");
	assert_int_equal(stream.length, BODY);
	return 0;
}

static int release(void **state)
{
	(void)state;
	build_free(&stream);
	return 0;
}

/* Reads the stream in one window and byte by byte, which must not differ. */
static void read_as(const struct mr_context *context, enum mr_role role)
{
	const struct mr_bytes bytes = {stream.bytes, stream.length};

	observe(&other, context, role, bytes, FEED_BYTEWISE);
	observe(&seen, context, role, bytes, FEED_WHOLE);
	observe_equal(&seen, &other);
}

static void read_main(const struct mr_context *context)
{
	read_as(context, MR_ROLE_MAIN);
}

/* ---- Header and configuration ---- */

static void the_shortest_stream(void **state)
{
	(void)state;
	build_u8(&stream, 0);
	read_main(NULL);
	observe_valid(&seen);
	OBSERVE_KINDS(&seen, MR_FILE_HEADER, MR_CONFIGURATION, MR_EOF);
	assert_int_equal(seen.records[0].record.file_header.version, 3);
	assert_true(mr_bytes_equal_string(seen.records[1].record.configuration.machine, "pc"));
}

static void a_stream_that_is_something_else(void **state)
{
	(void)state;
	stream.length = 0;
	build_text(&stream, "\x7f"
			    "ELF....");
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_001, MR_MALFORMED, 0, MR_FAILED);
	stream.length = 0;
	build_text(&stream, "QEVN");
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_001, MR_MALFORMED, 0, MR_FAILED);
}

static void another_version(void **state)
{
	(void)state;
	build_patch(&stream, 4, 4, 2);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_002, MR_MALFORMED, 4, MR_FAILED);
}

static void a_missing_configuration(void **state)
{
	const struct mr_context context = {.no_configuration = true, .multifd_method = MR_METHOD_UNKNOWN};

	(void)state;
	stream.length = 0;
	build_header(&stream);
	build_u8(&stream, 0);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_003, MR_MALFORMED, 8, MR_FAILED);
	read_main(&context);
	observe_valid(&seen);
	OBSERVE_KINDS(&seen, MR_FILE_HEADER, MR_EOF);
}

static void machine_names_that_a_receiver_may_take(void **state)
{
	struct mr_context context = {.machine = "pc-7.2", .multifd_method = MR_METHOD_UNKNOWN};

	(void)state;
	build_u8(&stream, 0);
	read_main(&context);
	observe_one_finding(&seen, MR_STR_004, MR_ACCEPTABLE, 13, MR_DONE);
	strcpy(context.machine, "pc");
	read_main(&context);
	observe_valid(&seen);
	strcpy(context.machine, "q35");
	read_main(&context);
	observe_one_finding(&seen, MR_STR_004, MR_RUNTIME, 13, MR_DONE);
	stream.bytes[14] = 0;
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_004, MR_ACCEPTABLE, 13, MR_DONE);
	stream.length = 0;
	build_header(&stream);
	build_configuration(&stream, "");
	build_u8(&stream, 0);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_004, MR_ACCEPTABLE, 13, MR_DONE);
}

static void the_longest_machine_name(void **state)
{
	char name[MR_MACHINE_NAME_MAX + 2];

	(void)state;
	memset(name, 'm', sizeof(name));
	name[MR_MACHINE_NAME_MAX + 1] = '\0';
	stream.length = 0;
	build_header(&stream);
	build_configuration(&stream, name);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_027, MR_RUNTIME, 9, MR_FAILED);
	stream.length = 0;
	build_header(&stream);
	build_configuration(&stream, name + 1);
	build_u8(&stream, 0);
	read_main(NULL);
	observe_valid(&seen);
}

static void subsections_in_order(void **state)
{
	const struct mr_configuration_subsection *subsection;

	(void)state;
	build_subsection(&stream, "target-page-bits", 1);
	build_be32(&stream, 14);
	build_subsection(&stream, "capabilities", 1);
	build_be32(&stream, 2);
	build_counted(&stream, "x-ignore-shared");
	build_counted(&stream, "mapped-ram");
	build_subsection(&stream, "uuid", 1);
	build_fill(&stream, 0x12, 16);
	build_u8(&stream, 0);
	read_main(NULL);
	observe_valid(&seen);
	OBSERVE_KINDS(&seen, MR_FILE_HEADER, MR_CONFIGURATION, MR_CONFIGURATION_SUBSECTION, MR_CONFIGURATION_SUBSECTION,
		      MR_CONFIGURATION_SUBSECTION, MR_EOF);
	subsection = &seen.records[2].record.subsection;
	assert_int_equal(subsection->target_page_bits, 14);
	assert_int_equal(seen.session.target_page_size, 16384);
	subsection = &seen.records[3].record.subsection;
	assert_int_equal(subsection->capability_count, 2);
	assert_true(seen.session.context.capabilities & MR_CAPABILITY_IGNORE_SHARED);
	assert_true(seen.session.context.capabilities & MR_CAPABILITY_MAPPED_RAM);
	assert_int_equal(seen.records[4].record.subsection.uuid.data[15], 0x12);
}

static void subsections_that_cannot_be_read(void **state)
{
	build_subsection(&stream, "target-page-size", 1);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_005, MR_MALFORMED, BODY + 2, MR_FAILED);
	begin(state);
	build_subsection(&stream, "uuid", 2);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_006, MR_MALFORMED, BODY + 20, MR_FAILED);
	begin(state);
	build_subsection(&stream, "uuid", 0x101);
	build_fill(&stream, 0, 16);
	build_u8(&stream, 0);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_006, MR_ACCEPTABLE, BODY + 20, MR_DONE);
}

static void target_page_bits_have_limits(void **state)
{
	static const uint32_t bits[] = {0, 9, 17, 32, UINT32_MAX};
	const struct mr_context context = {.target_page_size = 4096, .multifd_method = MR_METHOD_UNKNOWN};

	for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		begin(state);
		build_subsection(&stream, "target-page-bits", 1);
		build_be32(&stream, bits[i]);
		build_u8(&stream, 0);
		read_main(NULL);
		assert_int_equal(seen.decoder.error.rule, MR_STR_007);
		assert_int_equal(seen.decoder.error.offset, BODY + 36);
	}
	begin(state);
	build_subsection(&stream, "target-page-bits", 1);
	build_be32(&stream, 10);
	build_u8(&stream, 0);
	read_main(&context);
	observe_one_finding(&seen, MR_STR_007, MR_RUNTIME, BODY + 36, MR_DONE);
}

static void capabilities_that_are_not_validated(void **state)
{
	enum { FIRST = BODY + 1 + 27 + 4 + 4 };

	build_subsection(&stream, "capabilities", 1);
	build_be32(&stream, 1);
	build_counted(&stream, "multifd");
	build_u8(&stream, 0);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_008, MR_ACCEPTABLE, FIRST, MR_DONE);
	assert_true(seen.session.context.capabilities & MR_CAPABILITY_MULTIFD);
	begin(state);
	build_subsection(&stream, "capabilities", 1);
	build_be32(&stream, 1);
	build_counted(&stream, "teleport");
	build_u8(&stream, 0);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_008, MR_RUNTIME, FIRST, MR_DONE);
	begin(state);
	build_subsection(&stream, "capabilities", 1);
	build_be32(&stream, MR_CAPABILITIES_MAX + 1);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_027, MR_RUNTIME, FIRST - 4, MR_FAILED);
}

static void another_uuid(void **state)
{
	const struct mr_context context = {.uuid_known = true, .uuid = {1, 2, 3}, .multifd_method = MR_METHOD_UNKNOWN};

	(void)state;
	build_subsection(&stream, "uuid", 1);
	build_bytes(&stream, context.uuid, 16);
	build_u8(&stream, 0);
	read_main(&context);
	observe_valid(&seen);
	stream.bytes[BODY + 24] ^= 1;
	read_main(&context);
	observe_one_finding(&seen, MR_STR_009, MR_RUNTIME, BODY + 24, MR_DONE);
}

static void subsections_out_of_order_or_twice(void **state)
{
	for (unsigned twice = 0; twice < 2; twice++) {
		size_t second;

		begin(state);
		build_subsection(&stream, twice ? "target-page-bits" : "uuid", 1);
		if (twice)
			build_be32(&stream, 12);
		else
			build_fill(&stream, 0, 16);
		second = stream.length;
		build_subsection(&stream, "target-page-bits", 1);
		build_be32(&stream, 12);
		build_u8(&stream, 0);
		read_main(NULL);
		observe_one_finding(&seen, MR_STR_010, MR_ACCEPTABLE, second, MR_DONE);
	}
}

/* ---- Sections ---- */

static void unknown_types(void **state)
{
	static const uint8_t types[] = {0x06, 0x07, 0x09, 0x51, 0x7e, 0xff};

	for (size_t i = 0; i < sizeof(types); i++) {
		begin(state);
		build_u8(&stream, types[i]);
		read_main(NULL);
		observe_one_finding(&seen, MR_STR_011, MR_MALFORMED, BODY, MR_FAILED);
	}
}

static void a_section_without_a_name(void **state)
{
	(void)state;
	build_start(&stream, 2, "", 4);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_012, MR_MALFORMED, BODY + 5, MR_FAILED);
}

static void start_part_and_end_of_ram(void **state)
{
	const struct mr_section *section;

	(void)state;
	build_ram_start(&stream, "pc.ram", 0x4000);
	build_part(&stream, 2);
	build_eos(&stream);
	build_footer(&stream, 2);
	build_end(&stream, 2);
	build_eos(&stream);
	build_footer(&stream, 2);
	build_u8(&stream, 0);
	read_main(NULL);
	observe_valid(&seen);
	OBSERVE_KINDS(&seen, MR_FILE_HEADER, MR_CONFIGURATION, MR_SECTION_START, MR_RAM_SIZE, MR_RAM_BLOCK, MR_RAM_EOS,
		      MR_SECTION_FOOTER, MR_SECTION_PART, MR_RAM_EOS, MR_SECTION_FOOTER, MR_SECTION_END, MR_RAM_EOS,
		      MR_SECTION_FOOTER, MR_EOF);
	section = &seen.records[10].record.section;
	assert_int_equal(section->id, 2);
	assert_int_equal(section->version, 4);
	assert_true(mr_bytes_equal_string(section->idstr, "ram"));
}

static void a_part_without_a_start(void **state)
{
	(void)state;
	build_part(&stream, 2);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_014, MR_MALFORMED, BODY + 1, MR_FAILED);
}

static void footers_that_do_not_fit(void **state)
{
	for (unsigned wrong_id = 0; wrong_id < 2; wrong_id++) {
		begin(state);
		build_start(&stream, 2, "ram", 4);
		build_eos(&stream);
		if (wrong_id)
			build_footer(&stream, 3);
		else
			build_fill(&stream, 0x7d, 5);
		read_main(NULL);
		observe_one_finding(&seen, MR_STR_016, MR_MALFORMED, BODY + 17 + 8 + wrong_id, MR_FAILED);
	}
}

static void headers_that_a_receiver_would_refuse_or_take(void **state)
{
	build_start(&stream, 2, "ram", 3);
	build_eos(&stream);
	build_footer(&stream, 2);
	build_u8(&stream, 0);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_017, MR_RUNTIME, BODY + 13, MR_DONE);
	begin(state);
	build_long_header(&stream, 1, 2, "ram", UINT32_MAX, 4);
	build_eos(&stream);
	build_footer(&stream, 2);
	build_u8(&stream, 0);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_025, MR_ACCEPTABLE, BODY + 9, MR_DONE);
	begin(state);
	build_device(&stream, 5, "a#c", 0x55, 4);
	stream.bytes[BODY + 7] = 0;
	build_u8(&stream, 0);
	read_main(NULL);
	assert_int_equal(observe_count(&seen, MR_STR_024), 1);
	assert_int_equal(seen.result, MR_DONE);
}

static void no_footers(void **state)
{
	const struct mr_context context = {.no_footer = true, .multifd_method = MR_METHOD_UNKNOWN};

	(void)state;
	build_start(&stream, 2, "ram", 4);
	build_eos(&stream);
	build_end(&stream, 2);
	build_eos(&stream);
	build_u8(&stream, 0);
	read_main(&context);
	observe_valid(&seen);
	OBSERVE_KINDS(&seen, MR_FILE_HEADER, MR_CONFIGURATION, MR_SECTION_START, MR_RAM_EOS, MR_SECTION_END, MR_RAM_EOS,
		      MR_EOF);
}

static void an_unknown_handler_is_delimited_by_its_footers(void **state)
{
	(void)state;
	build_start(&stream, 1, "dirty-bitmap", 1);
	build_fill(&stream, 0x33, 6);
	build_footer(&stream, 1);
	build_part(&stream, 1);
	build_fill(&stream, 0x34, 600);
	build_footer(&stream, 1);
	build_end(&stream, 1);
	build_footer(&stream, 1);
	build_u8(&stream, 0);
	read_main(NULL);
	assert_int_equal(seen.result, MR_DONE);
	assert_int_equal(seen.finding_count, 3);
	assert_int_equal(observe_count(&seen, MR_STR_023), 3);
	OBSERVE_KINDS(&seen, MR_FILE_HEADER, MR_CONFIGURATION, MR_SECTION_START, MR_SECTION_DATA, MR_SECTION_FOOTER,
		      MR_SECTION_PART, MR_SECTION_DATA, MR_SECTION_FOOTER, MR_SECTION_END, MR_SECTION_DATA,
		      MR_SECTION_FOOTER, MR_EOF);
	assert_int_equal(seen.records[6].record.length, 600);
	assert_int_equal(seen.records[6].record.data.delimiter, MR_DELIMITED_BY_FOOTER);
	assert_int_equal(seen.records[9].record.length, 0);
}

static void a_body_without_an_end_is_kept_opaque(void **state)
{
	(void)state;
	build_start(&stream, 1, "dirty-bitmap", 1);
	build_fill(&stream, 0x33, 64);
	read_main(NULL);
	assert_int_equal(observe_count(&seen, MR_STR_023), 1);
	assert_int_equal(seen.records[3].record.kind, MR_OPAQUE);
	assert_int_equal(seen.records[3].record.length, 64);
	assert_int_equal(seen.decoder.error.rule, MR_STR_026);
}

static void a_start_that_comes_again_replaces_the_first(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		build_start(&stream, 2, "ram", 4);
		build_eos(&stream);
		build_footer(&stream, 2);
	}
	build_u8(&stream, 0);
	read_main(NULL);
	assert_int_equal(seen.session.section_count, 1);
	assert_int_equal(seen.result, MR_DONE);
}

static void more_handlers_than_the_table_holds(void **state)
{
	(void)state;
	for (uint32_t i = 0; i <= MR_SECTIONS_MAX; i++) {
		build_start(&stream, i, "ram", 4);
		build_eos(&stream);
		build_footer(&stream, i);
	}
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_027, MR_RUNTIME, BODY + MR_SECTIONS_MAX * 30, MR_FAILED);
	assert_int_equal(seen.session.section_count, MR_SECTIONS_MAX);
}

/* ---- Ends ---- */

static void a_description_follows_the_end_mark(void **state)
{
	(void)state;
	build_u8(&stream, 0);
	build_description(&stream, "{\"devices\": []}");
	read_main(NULL);
	observe_valid(&seen);
	OBSERVE_KINDS(&seen, MR_FILE_HEADER, MR_CONFIGURATION, MR_EOF, MR_VMDESCRIPTION);
	assert_int_equal(seen.records[3].record.description.json.length, 15);
}

static void a_description_that_is_too_long(void **state)
{
	(void)state;
	build_u8(&stream, 0);
	build_u8(&stream, 6);
	build_be32(&stream, MR_DESCRIPTION_MAX + 1);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_027, MR_RUNTIME, BODY + 2, MR_FAILED);
}

static void bytes_behind_the_end(void **state)
{
	build_u8(&stream, 0);
	build_text(&stream, "UUU");
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_021, MR_ACCEPTABLE, BODY + 1, MR_DONE);
	OBSERVE_KINDS(&seen, MR_FILE_HEADER, MR_CONFIGURATION, MR_EOF, MR_OPAQUE);
	begin(state);
	build_u8(&stream, 0);
	build_description(&stream, "{}");
	build_text(&stream, "UUU");
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_021, MR_ACCEPTABLE, BODY + 8, MR_DONE);
	assert_int_equal(seen.records[4].record.opaque.rule, MR_STR_021);
}

static void a_postcopy_stream_has_no_description(void **state)
{
	(void)state;
	build_command(&stream, 4, 0);
	build_u8(&stream, 0);
	build_description(&stream, "{}");
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_021, MR_ACCEPTABLE, BODY + 6, MR_DONE);
}

static void a_stream_that_is_cut_between_records(void **state)
{
	(void)state;
	build_ram_start(&stream, "pc.ram", 0x4000);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_026, MR_MALFORMED, stream.length, MR_FAILED);
}

static void the_end_mark_of_a_package_is_not_the_streams(void **state)
{
	size_t package;

	(void)state;
	package = build_package(&stream);
	build_command(&stream, 4, 0);
	build_u8(&stream, 0);
	build_package_end(&stream, package);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_026, MR_MALFORMED, stream.length, MR_FAILED);
	build_u8(&stream, 0);
	read_main(NULL);
	observe_valid(&seen);
	assert_int_equal(seen.records[4].record.depth, 1);
	assert_int_equal(seen.records[5].record.depth, 0);
}

/* ---- Recovery ---- */

static void a_recovery_read_alone_takes_the_id_for_ram(void **state)
{
	size_t part;

	(void)state;
	stream.length = 0;
	build_recv_bitmap(&stream, "pc.ram");
	build_command(&stream, 9, 0);
	part = stream.length;
	build_part(&stream, 5);
	build_zero(&stream, 0, "pc.ram");
	build_eos(&stream);
	build_footer(&stream, 5);
	build_end(&stream, 5);
	build_eos(&stream);
	build_footer(&stream, 5);
	build_u8(&stream, 0);
	read_as(NULL, MR_ROLE_RECOVERY);
	observe_one_finding(&seen, MR_STR_014, MR_ACCEPTABLE, part, MR_DONE);
	assert_true(mr_bytes_equal_string(seen.records[2].record.section.idstr, "ram"));
}

static void a_recovery_has_no_header(void **state)
{
	(void)state;
	read_as(NULL, MR_ROLE_RECOVERY);
	observe_one_finding(&seen, MR_STR_011, MR_MALFORMED, 0, MR_FAILED);
}

static void only_one_id_is_taken_for_ram(void **state)
{
	(void)state;
	stream.length = 0;
	build_part(&stream, 5);
	build_eos(&stream);
	build_footer(&stream, 5);
	build_part(&stream, 6);
	read_as(NULL, MR_ROLE_RECOVERY);
	assert_int_equal(seen.finding_count, 2);
	assert_int_equal(seen.decoder.error.rule, MR_STR_014);
	assert_int_equal(seen.decoder.error.verdict, MR_MALFORMED);
}

/* ---- COLO ---- */

/* One checkpoint: request, send, the RAM with its end mark, the devices with theirs. */
static size_t build_checkpoint(void)
{
	size_t size;

	build_be32(&stream, 1);
	build_be32(&stream, 3);
	build_end(&stream, 2);
	build_zero(&stream, 0, "pc.ram");
	build_eos(&stream);
	build_footer(&stream, 2);
	build_u8(&stream, 0);
	build_be32(&stream, 4);
	size = stream.length;
	build_be64(&stream, 0);
	build_device(&stream, 6, "apic", 0x7e, 20);
	build_device(&stream, 0, "timer", 0x04, 7);
	build_u8(&stream, 0);
	build_patch(&stream, size, 8, stream.length - size - 8);
	return size;
}

static void checkpoints_of_colo(void **state)
{
	size_t size;

	(void)state;
	build_command(&stream, 8, 0);
	build_ram_start(&stream, "pc.ram", 0x4000);
	build_end(&stream, 2);
	build_eos(&stream);
	build_footer(&stream, 2);
	build_u8(&stream, 0);
	size = build_checkpoint();
	build_checkpoint();
	build_be32(&stream, 1);
	read_main(NULL);
	observe_valid(&seen);
	assert_int_equal(seen.records[seen.record_count - 1].record.kind, MR_COLO_MESSAGE);
	for (size_t i = 0; i < seen.record_count; i++) {
		const struct mr_record *record = &seen.records[i].record;

		if (record->offset == size - 4)
			assert_int_equal(record->colo.size, 15 + 3 + 20 + 5 + 19 + 7 + 5 + 1);
		if (record->kind == MR_SECTION_DATA) {
			assert_int_equal(record->depth, 1);
			assert_int_equal(record->data.delimiter, MR_DELIMITED_BY_CHAIN);
		}
	}
}

static void a_checkpoint_that_is_cut(void **state)
{
	size_t start, end;

	(void)state;
	build_command(&stream, 8, 0);
	build_ram_start(&stream, "pc.ram", 0x4000);
	build_u8(&stream, 0);
	start = stream.length;
	build_checkpoint();
	end = stream.length;
	for (size_t length = start; length <= end; length++) {
		/* Behind a message that nothing has to follow, or behind an end mark. */
		const bool may_end =
			length == start || length == start + 4 || length == start + 8 + 35 || length == end;

		observe(&seen, NULL, MR_ROLE_MAIN, (struct mr_bytes){stream.bytes, length}, FEED_WHOLE);
		assert_int_equal(seen.result, may_end ? MR_DONE : MR_FAILED);
	}
}

static void colo_messages_that_cannot_be_read(void **state)
{
	build_command(&stream, 8, 0);
	build_u8(&stream, 0);
	build_be32(&stream, 7);
	read_main(NULL);
	observe_one_finding(&seen, MR_COL_001, MR_MALFORMED, BODY + 6, MR_FAILED);
	begin(state);
	build_command(&stream, 8, 0);
	build_u8(&stream, 0);
	build_be32(&stream, 4);
	build_be64(&stream, UINT64_MAX);
	read_main(NULL);
	observe_one_finding(&seen, MR_STR_027, MR_RUNTIME, BODY + 10, MR_FAILED);
}

static void colo_may_follow_a_description(void **state)
{
	const struct mr_context context = {.capabilities = MR_CAPABILITY_COLO, .multifd_method = MR_METHOD_UNKNOWN};

	(void)state;
	build_u8(&stream, 0);
	build_description(&stream, "{}");
	build_be32(&stream, 1);
	read_main(&context);
	observe_valid(&seen);
	OBSERVE_KINDS(&seen, MR_FILE_HEADER, MR_CONFIGURATION, MR_EOF, MR_VMDESCRIPTION, MR_COLO_MESSAGE);
}

int main(void)
{
#define MAIN_TEST(test) cmocka_unit_test_setup(test, begin)
	const struct CMUnitTest tests[] = {
		MAIN_TEST(the_shortest_stream),
		MAIN_TEST(a_stream_that_is_something_else),
		MAIN_TEST(another_version),
		MAIN_TEST(a_missing_configuration),
		MAIN_TEST(machine_names_that_a_receiver_may_take),
		MAIN_TEST(the_longest_machine_name),
		MAIN_TEST(subsections_in_order),
		MAIN_TEST(subsections_that_cannot_be_read),
		MAIN_TEST(target_page_bits_have_limits),
		MAIN_TEST(capabilities_that_are_not_validated),
		MAIN_TEST(another_uuid),
		MAIN_TEST(subsections_out_of_order_or_twice),
		MAIN_TEST(unknown_types),
		MAIN_TEST(a_section_without_a_name),
		MAIN_TEST(start_part_and_end_of_ram),
		MAIN_TEST(a_part_without_a_start),
		MAIN_TEST(footers_that_do_not_fit),
		MAIN_TEST(headers_that_a_receiver_would_refuse_or_take),
		MAIN_TEST(no_footers),
		MAIN_TEST(an_unknown_handler_is_delimited_by_its_footers),
		MAIN_TEST(a_body_without_an_end_is_kept_opaque),
		MAIN_TEST(a_start_that_comes_again_replaces_the_first),
		MAIN_TEST(more_handlers_than_the_table_holds),
		MAIN_TEST(a_description_follows_the_end_mark),
		MAIN_TEST(a_description_that_is_too_long),
		MAIN_TEST(bytes_behind_the_end),
		MAIN_TEST(a_postcopy_stream_has_no_description),
		MAIN_TEST(a_stream_that_is_cut_between_records),
		MAIN_TEST(the_end_mark_of_a_package_is_not_the_streams),
		MAIN_TEST(a_recovery_read_alone_takes_the_id_for_ram),
		MAIN_TEST(a_recovery_has_no_header),
		MAIN_TEST(only_one_id_is_taken_for_ram),
		MAIN_TEST(checkpoints_of_colo),
		MAIN_TEST(a_checkpoint_that_is_cut),
		MAIN_TEST(colo_messages_that_cannot_be_read),
		MAIN_TEST(colo_may_follow_a_description),
	};

	return cmocka_run_group_tests(tests, NULL, release);
}
