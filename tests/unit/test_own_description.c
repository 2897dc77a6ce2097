/*
 * test_own_description.c: a receiver that has the sender's own description knows where a device's section ends as soon
 * as its bytes are there, and goes by the bytes where they contradict it.
 */
#include "observe.h"

#include <stdio.h>
#include <string.h>

#include "build.h"

/* Two devices, one of them twice, and one that the streams do not follow. */
static const char TEXT[] = "{\"devices\": ["
			   "{\"name\": \"d\", \"instance_id\": 0, \"fields\": [{\"size\": 4}]},"
			   "{\"name\": \"d\", \"instance_id\": 3, \"fields\": [{\"size\": 2, \"array_len\": 8}]},"
			   "{\"name\": \"none\", \"instance_id\": 0, \"fields\": []},"
			   "{\"name\": \"huge\", \"instance_id\": 0, \"fields\": [{\"size\": 67108865}]}]}";

static struct observation seen, other;
static struct mr_description *description;
static struct mr_context context;
static struct build stream;

static int begin(void **state)
{
	char error[96];

	(void)state;
	description = mr_description_new((struct mr_bytes){(const uint8_t *)TEXT, sizeof(TEXT) - 1}, error);
	context = (struct mr_context){.multifd_method = MR_METHOD_UNKNOWN, .description = description};
	build_header(&stream);
	build_configuration(&stream, "pc");
	return description ? 0 : -1;
}

static int release(void **state)
{
	(void)state;
	mr_description_free(description);
	build_free(&stream);
	return 0;
}

/* How many records come of these first bytes, if more may follow. */
static size_t count_live(size_t length)
{
	struct mr_session session;
	struct mr_decoder decoder;
	struct mr_record record;
	size_t at = 0, count = 0;

	mr_session_init(&session, &context, NULL, NULL);
	mr_decoder_init(&decoder, &session, MR_ROLE_MAIN, 0);
	for (; mr_decode(&decoder, stream.bytes + at, length - at, false, &record) == MR_RECORD; count++)
		at += (size_t)record.length;
	return count;
}

/* In one window and byte by byte, which must not differ. */
static void read_main(void)
{
	const struct mr_bytes bytes = {stream.bytes, stream.length};

	observe(&other, &context, MR_ROLE_MAIN, bytes, FEED_BYTEWISE);
	observe(&seen, &context, MR_ROLE_MAIN, bytes, FEED_WHOLE);
	observe_equal(&seen, &other);
}

static void expect_data(size_t index, size_t length, enum mr_delimiter delimiter)
{
	const struct mr_record *record = &seen.records[index].record;

	assert_true(index < seen.record_count);
	assert_int_equal(record->kind, MR_SECTION_DATA);
	assert_int_equal(record->data.bytes.length, length);
	assert_int_equal(record->data.delimiter, delimiter);
}

static void known_as_soon_as_it_is_there(void **state)
{
	size_t end;

	(void)state;
	build_device(&stream, 5, "d", 'x', 4);
	end = stream.length;
	build_long_header(&stream, 0x04, 6, "d", 3, 1);
	build_fill(&stream, 'y', 16);
	build_footer(&stream, 6);
	/* Header, configuration; then the section's start, data and footer. */
	assert_int_equal(count_live(end), 5);
	assert_int_equal(count_live(end - 1), 2);
	assert_int_equal(count_live(stream.length), 8);
	context.description_foreign = true;
	assert_int_equal(count_live(stream.length), 2);
	context.description_foreign = false;
	context.description = NULL;
	assert_int_equal(count_live(stream.length), 2);
}

/* A body that by itself reads as the end of its section, and another section behind it. */
static void a_body_of_footers(void **state)
{
	(void)state;
	build_long_header(&stream, 0x04, 6, "d", 3, 1);
	build_footer(&stream, 6);
	build_footer(&stream, 6);
	build_fill(&stream, 'y', 6);
	build_footer(&stream, 6);
	build_device(&stream, 5, "d", 'x', 4);
	build_u8(&stream, 0);
	read_main();
	observe_valid(&seen);
	expect_data(3, 16, MR_DELIMITED_BY_DESCRIPTION);
	expect_data(6, 4, MR_DELIMITED_BY_DESCRIPTION);
}

static void a_device_without_fields(void **state)
{
	(void)state;
	build_device(&stream, 9, "none", 'x', 0);
	assert_int_equal(count_live(stream.length), 5);
	build_u8(&stream, 0);
	read_main();
	observe_valid(&seen);
}

/* Where no footer stands at the place, nothing is known before the whole has come. */
static void a_body_of_another_length(void **state)
{
	static const size_t lengths[] = {0, 3, 5, 9, 20};
	const size_t start = stream.length;

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		stream.length = start;
		build_device(&stream, 5, "d", 'x', lengths[i]);
		build_device(&stream, 6, "d", 'x', 4);
		assert_int_equal(count_live(stream.length), 2);
		build_u8(&stream, 0);
		read_main();
		assert_int_equal(seen.result, MR_DONE);
		expect_data(3, lengths[i], MR_DELIMITED_BY_CHAIN);
	}
}

/* The same length, but the footer is another section's. */
static void a_footer_of_another_section(void **state)
{
	(void)state;
	build_long_header(&stream, 0x04, 5, "d", 0, 1);
	build_fill(&stream, 'x', 4);
	build_footer(&stream, 6);
	build_footer(&stream, 5);
	assert_int_equal(count_live(stream.length), 2);
	build_u8(&stream, 0);
	read_main();
	expect_data(3, 9, MR_DELIMITED_BY_CHAIN);
}

static void devices_that_it_does_not_tell_of(void **state)
{
	static const struct {
		const char *name;
		uint32_t instance;
	} rows[] = {{"e", 0}, {"d", 1}, {"huge", 0}};
	const size_t start = stream.length;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		stream.length = start;
		build_long_header(&stream, 0x04, 5, rows[i].name, rows[i].instance, 1);
		build_fill(&stream, 'x', 4);
		build_footer(&stream, 5);
		assert_int_equal(count_live(stream.length), 2);
		build_u8(&stream, 0);
		read_main();
		assert_int_equal(seen.result, MR_DONE);
		expect_data(3, 4, MR_DELIMITED_BY_CHAIN);
	}
}

/* Without footers it is the type of the next section that agrees. */
static void without_footers(void **state)
{
	const uint8_t follow[] = {0x00, 0x01, 0x04, 0x08};
	const size_t start = stream.length;

	(void)state;
	context.no_footer = true;
	for (size_t i = 0; i < sizeof(follow); i++) {
		stream.length = start;
		build_long_header(&stream, 0x04, 5, "d", 0, 1);
		build_fill(&stream, 'x', 4);
		assert_int_equal(count_live(stream.length), 2);
		build_u8(&stream, follow[i]);
		assert_int_equal(count_live(stream.length), follow[i] ? 4 : 5);
	}
	stream.length = start;
	build_long_header(&stream, 0x04, 5, "d", 0, 1);
	build_fill(&stream, 'x', 5);
	assert_int_equal(count_live(stream.length), 2);
}

/* A stream that ends in a body, at any byte. */
static void cut_short(void **state)
{
	size_t start = stream.length, whole;

	(void)state;
	build_device(&stream, 5, "d", 'x', 4);
	whole = stream.length;
	for (size_t length = start; length < whole; length++) {
		stream.length = length;
		read_main();
		assert_int_not_equal(seen.result, MR_MORE);
		assert_int_equal(count_live(length), 2);
	}
}

/* In a package everything is there at once. */
static void in_a_package(void **state)
{
	size_t package;

	(void)state;
	package = build_package(&stream);
	build_device(&stream, 5, "d", 'x', 4);
	build_package_end(&stream, package);
	build_u8(&stream, 0);
	read_main();
	observe_valid(&seen);
	expect_data(4, 4, MR_DELIMITED_BY_DESCRIPTION);
}

#define OWN_TEST(name) cmocka_unit_test_setup_teardown(name, begin, release)

int main(void)
{
	const struct CMUnitTest tests[] = {
		OWN_TEST(known_as_soon_as_it_is_there),
		OWN_TEST(a_body_of_footers),
		OWN_TEST(a_device_without_fields),
		OWN_TEST(a_body_of_another_length),
		OWN_TEST(a_footer_of_another_section),
		OWN_TEST(devices_that_it_does_not_tell_of),
		OWN_TEST(without_footers),
		OWN_TEST(cut_short),
		OWN_TEST(in_a_package),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
