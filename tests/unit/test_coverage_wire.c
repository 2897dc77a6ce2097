/*
 * test_coverage_wire.c: the corners of the main channel's decoder, of channels and of records made by hand that only a
 * look at the branches finds.
 */
#include "observe.h"

#include <stdio.h>
#include <string.h>

#include "build.h"
#include "wire/chain.h"

static struct observation seen, other;
static struct build stream;

static int begin(void **state)
{
	(void)state;
	stream.length = 0;
	build_header(&stream);
	build_configuration(&stream, "pc");
	return 0;
}

static int release(void **state)
{
	(void)state;
	build_free(&stream);
	return 0;
}

/* Reads the stream in one window and byte by byte, which must not differ. */
static void read_main(const struct mr_context *context)
{
	const struct mr_bytes bytes = {stream.bytes, stream.length};

	observe(&other, context, MR_ROLE_MAIN, bytes, FEED_BYTEWISE);
	observe(&seen, context, MR_ROLE_MAIN, bytes, FEED_WHOLE);
	observe_equal(&seen, &other);
}

/* Two streams of bytes may share one observation's records, hence a pointer. */
static const struct mr_record *record_at(size_t index)
{
	assert_true(index < seen.record_count);
	return &seen.records[index].record;
}

static size_t count_kind(enum mr_kind kind)
{
	size_t count = 0;

	for (size_t i = 0; i < seen.record_count; i++)
		count += seen.records[i].record.kind == kind;
	return count;
}

/* ---- Commands ---- */

static void release_3_0_numbers_recovery_one_lower(void **state)
{
	struct mr_context context = {.multifd_method = MR_METHOD_UNKNOWN};

	(void)state;
	assert_int_equal(mr_profile_init(&context.profile, "3.0"), 0);
	build_ping(&stream, 1);
	build_command(&stream, 8, 0);
	build_command(&stream, 9, 2);
	build_counted(&stream, "a");
	build_u8(&stream, 0);
	read_main(&context);
	observe_valid(&seen);
	assert_int_equal(record_at(2)->command.number, MR_COMMAND_PING);
	assert_int_equal(record_at(3)->command.number, MR_COMMAND_POSTCOPY_RESUME);
	assert_int_equal(record_at(3)->command.sent, 8);
	assert_int_equal(record_at(4)->command.number, MR_COMMAND_RECV_BITMAP);
	assert_int_equal(record_at(4)->command.sent, 9);
}

static void a_discard_of_one_block_too_many(void **state)
{
	char name[16];

	(void)state;
	for (unsigned i = 0; i <= MR_BLOCKS_MAX; i++) {
		snprintf(name, sizeof(name), "b%u", i);
		build_discard(&stream, name, 0, 4096);
	}
	read_main(NULL);
	assert_int_equal(seen.result, MR_FAILED);
	assert_int_equal(seen.decoder.error.rule, MR_STR_027);
	assert_int_equal(seen.record_count, 2 + MR_BLOCKS_MAX);
}

/* ---- Sections ---- */

static void a_handler_starts_again_before_another(void **state)
{
	(void)state;
	build_ram_start(&stream, "a", 4096);
	build_start(&stream, 3, "ram", 4);
	build_size(&stream, 0);
	build_eos(&stream);
	build_footer(&stream, 3);
	build_ram_start(&stream, "a", 4096);
	build_u8(&stream, 0);
	read_main(NULL);
	assert_int_equal(seen.result, MR_DONE);
	assert_int_equal(seen.session.section_count, 2);
	assert_int_equal(count_kind(MR_SECTION_START), 3);
}

static void a_body_that_looks_like_a_footer_where_none_are_sent(void **state)
{
	const struct mr_context context = {.multifd_method = MR_METHOD_UNKNOWN, .no_footer = true};

	(void)state;
	build_long_header(&stream, 0x04, 5, "d", 0, 1);
	build_footer(&stream, 5);
	build_u8(&stream, 0);
	read_main(&context);
	assert_int_equal(observe_count(&seen, MR_STR_023), 1);
	assert_int_equal(record_at(seen.record_count - 1)->kind, MR_OPAQUE);
}

static void ram_among_described_devices(void **state)
{
	(void)state;
	build_long_header(&stream, 0x04, 2, "ram", 0, 4);
	build_eos(&stream);
	build_footer(&stream, 2);
	build_device(&stream, 5, "d", 'x', 4);
	build_u8(&stream, 0);
	build_description(&stream,
			  "{\"devices\": [{\"name\": \"ram\", \"instance_id\": 0, \"fields\": [{\"size\": 8}]}, "
			  "{\"name\": \"d\", \"instance_id\": 0, \"fields\": [{\"size\": 4}]}]}");
	read_main(NULL);
	assert_int_equal(seen.result, MR_DONE);
	assert_int_equal(count_kind(MR_RAM_EOS), 1);
	assert_int_equal(count_kind(MR_SECTION_DATA), 1);
}

/* ---- Descriptions inside of a stream ---- */

static const char d_of_4[] = "{\"devices\": [{\"name\": \"d\", \"instance_id\": 0, \"fields\": [{\"size\": 4}]}]}";

static void an_inner_description_behind_more_than_devices(void **state)
{
	(void)state;
	build_device(&stream, 5, "d", 'x', 4);
	build_ping(&stream, 1);
	build_u8(&stream, 0);
	build_description(&stream, d_of_4);
	build_u8(&stream, 0xff);
	read_main(NULL);
	assert_int_equal(record_at(3)->kind, MR_SECTION_DATA);
	assert_int_equal(record_at(3)->data.delimiter, MR_DELIMITED_BY_FOOTER);
}

/* A receiver that tried each of them would work for the length of the stream squared. */
static void more_inner_descriptions_than_are_tried(void **state)
{
	(void)state;
	build_device(&stream, 5, "d", 'x', 4);
	build_u8(&stream, 0);
	for (unsigned i = 0; i < 16; i++) {
		build_description(&stream, "{\"devices\": []}");
		build_u8(&stream, 0);
	}
	build_description(&stream, d_of_4);
	build_u8(&stream, 0xff);
	read_main(NULL);
	assert_int_equal(record_at(3)->kind, MR_SECTION_DATA);
	assert_int_equal(record_at(3)->data.delimiter, MR_DELIMITED_BY_FOOTER);
}

static void a_package_read_by_the_description_of_another_stream(void **state)
{
	char error[96];
	struct mr_description *description =
		mr_description_new((struct mr_bytes){(const uint8_t *)d_of_4, sizeof(d_of_4) - 1}, error);
	const struct mr_context context = {.multifd_method = MR_METHOD_UNKNOWN, .description = description};
	size_t start;

	(void)state;
	assert_non_null(description);
	start = build_package(&stream);
	/* What stands in the body would be a section of its own without the description. */
	build_long_header(&stream, 0x04, 5, "d", 0, 1);
	build_bytes(&stream, "\x04\0\0\0", 4);
	build_footer(&stream, 5);
	build_package_end(&stream, start);
	start = build_package(&stream);
	build_device(&stream, 6, "e", 'x', 4);
	build_package_end(&stream, start);
	start = build_package(&stream);
	build_long_header(&stream, 0x04, 7, "d", 0, 1);
	build_bytes(&stream, "xxxx\x7e", 5);
	build_package_end(&stream, start);
	build_u8(&stream, 0);
	read_main(&context);
	assert_int_equal(record_at(4)->kind, MR_SECTION_DATA);
	assert_int_equal(record_at(4)->data.bytes.length, 4);
	assert_int_equal(record_at(4)->data.delimiter, MR_DELIMITED_BY_DESCRIPTION);
	mr_description_free(description);
}

/* ---- More than is searched ---- */

/* A window of more than MR_RESOLVE_MAX bytes behind what `stream` holds, all zero, at whose end more may follow. */
static enum mr_kind last_kind_in_a_huge_window(void)
{
	const size_t length = stream.length + MR_RESOLVE_MAX + 4096;
	uint8_t *window = calloc(length, 1);
	enum mr_kind kind = MR_KIND_COUNT;
	struct mr_record record;
	size_t at = 0;

	assert_non_null(window);
	memcpy(window, stream.bytes, stream.length);
	mr_session_init(&seen.session, NULL, NULL, NULL);
	mr_decoder_init(&seen.decoder, &seen.session, MR_ROLE_MAIN, 0);
	while (kind != MR_OPAQUE && mr_decode(&seen.decoder, window + at, length - at, false, &record) == MR_RECORD) {
		at += (size_t)record.length;
		kind = record.kind;
	}
	free(window);
	return kind;
}

static void a_device_whose_end_is_farther_than_is_searched(void **state)
{
	(void)state;
	build_long_header(&stream, 0x04, 5, "d", 0, 1);
	/* one that claims to be longer than any */
	build_bytes(&stream, "\0\x06\x04\0\0\x01{", 7);
	assert_int_equal(last_kind_in_a_huge_window(), MR_OPAQUE);
}

static void a_package_that_is_longer_than_is_searched(void **state)
{
	(void)state;
	build_command(&stream, 7, 4);
	build_be32(&stream, MR_RESOLVE_MAX * 2u);
	build_long_header(&stream, 0x04, 5, "d", 0, 1);
	assert_int_equal(last_kind_in_a_huge_window(), MR_OPAQUE);
}

/* Ids that all fall on one place of the table: a header whose id finds no place there has no footer. */
static void footers_whose_ids_crowd(void **state)
{
	enum { CROWD = 128 };
	static struct mr_device_end devices[CROWD + 1];
	struct mr_chain chain = {devices, CROWD + 1, 0, 0};

	(void)state;
	stream.length = 0;
	build_long_header(&stream, 0x04, 200u << 20, "x", 0, 1);
	for (uint32_t i = 1; i <= CROWD; i++)
		build_device(&stream, i << 20, "d", 'x', 4);
	build_u8(&stream, 0);
	assert_int_equal(mr_chain_resolve((struct mr_bytes){stream.bytes, stream.length}, true, &chain), MR_CHAIN_NONE);
}

static void more_devices_than_the_table_begins_with(void **state)
{
	enum { DEVICES = 1100 };
	static struct mr_device_end devices[DEVICES];
	struct mr_chain chain = {devices, DEVICES, 0, 0};

	(void)state;
	stream.length = 0;
	for (uint32_t i = 0; i < DEVICES; i++)
		build_device(&stream, i, "d", 'x', 4);
	build_u8(&stream, 0);
	assert_int_equal(mr_chain_resolve((struct mr_bytes){stream.bytes, stream.length}, true, &chain),
			 MR_CHAIN_FOUND);
	assert_int_equal(chain.count, DEVICES);
}

/* ---- Connections ---- */

static void silence_when_preempt_and_one_of_multifd_are_here(void **state)
{
	struct mr_channel_census census = {
		.capabilities = MR_CAPABILITY_MULTIFD | MR_CAPABILITY_POSTCOPY_PREEMPT,
		.capabilities_known = true,
		.main = 1,
		.multifd = 1,
		.preempt = 1,
	};
	const struct mr_bytes nothing = {NULL, 0};
	enum mr_role role;

	(void)state;
	assert_true(mr_channel_identify(&census, nothing, &role));
	assert_int_equal(role, MR_ROLE_MULTIFD);
	census.preempt = 0;
	assert_true(mr_channel_identify(&census, nothing, &role));
	assert_int_equal(role, MR_ROLE_PREEMPT);
	census.multifd = 0;
	assert_true(mr_channel_identify(&census, nothing, &role));
	assert_int_equal(role, MR_ROLE_MULTIFD);
}

/* ---- Records made by hand ---- */

static void empty_bytes_are_equal(void **state)
{
	const struct mr_bytes nothing = {NULL, 0};

	(void)state;
	assert_true(mr_bytes_equal(nothing, nothing));
	assert_true(mr_bytes_equal_string(nothing, ""));
	assert_false(mr_bytes_equal_string(nothing, "a"));
}

static void records_that_no_decoder_makes(void **state)
{
	const struct mr_record nothing = {.kind = MR_KIND_COUNT};
	const struct mr_record device_state = {.kind = MR_MULTIFD_DEVICE_STATE};
	static const uint8_t name[MR_NAME_MAX + 1] = "long";
	struct mr_record request = {.kind = MR_RETURN_MESSAGE};

	(void)state;
	assert_int_equal(mr_encoded_length(&nothing), 0);
	/* magic, version, flags, instance, next_packet_size; neither name nor payload */
	assert_int_equal(mr_encoded_length(&device_state), 20);
	request.message.type = MR_RETURN_REQ_PAGES;
	request.message.length = 12;
	assert_int_equal(mr_encoded_length(&request), 16);
	request.message.block = (struct mr_bytes){name, sizeof(name)};
	assert_int_equal(mr_encoded_length(&request), 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(release_3_0_numbers_recovery_one_lower, begin),
		cmocka_unit_test_setup(a_discard_of_one_block_too_many, begin),
		cmocka_unit_test_setup(a_handler_starts_again_before_another, begin),
		cmocka_unit_test_setup(a_body_that_looks_like_a_footer_where_none_are_sent, begin),
		cmocka_unit_test_setup(ram_among_described_devices, begin),
		cmocka_unit_test_setup(an_inner_description_behind_more_than_devices, begin),
		cmocka_unit_test_setup(more_inner_descriptions_than_are_tried, begin),
		cmocka_unit_test_setup(a_package_read_by_the_description_of_another_stream, begin),
		cmocka_unit_test_setup(a_device_whose_end_is_farther_than_is_searched, begin),
		cmocka_unit_test_setup(a_package_that_is_longer_than_is_searched, begin),
		cmocka_unit_test_setup(footers_whose_ids_crowd, begin),
		cmocka_unit_test_setup(more_devices_than_the_table_begins_with, begin),
		cmocka_unit_test(silence_when_preempt_and_one_of_multifd_are_here),
		cmocka_unit_test(empty_bytes_are_equal),
		cmocka_unit_test(records_that_no_decoder_makes),
	};

	return cmocka_run_group_tests(tests, NULL, release);
}
