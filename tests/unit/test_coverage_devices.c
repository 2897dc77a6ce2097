/*
 * test_coverage_devices.c: the corners of descriptions, of the walk by them and of mapped-ram headers that only a look
 * at the branches finds.
 */
#include "observe.h"

#include <stdio.h>
#include <string.h>

#include "build.h"
#include "hostile.h"

enum { PAGE = 4096, HEADER = 28 };

static struct observation seen, other;
static struct build stream;

static int begin(void **state)
{
	(void)state;
	stream.length = 0;
	return 0;
}

static int release(void **state)
{
	(void)state;
	build_free(&stream);
	return 0;
}

/* ---- Descriptions ---- */

/* A description of the one device "d" with these members. */
static struct mr_description *describe(const char *members, char error[96])
{
	stream.length = 0;
	build_text(&stream, "{\"devices\": [{\"name\": \"d\", \"instance_id\": 0, ");
	build_text(&stream, members);
	build_text(&stream, "}]}");
	return mr_description_new((struct mr_bytes){stream.bytes, stream.length}, error);
}

static void refuse(const char *members, const char *expected)
{
	char error[96] = "";

	assert_null(describe(members, error));
	if (!strstr(error, expected))
		fail_msg("expected \"%s\", found \"%s\"", expected, error);
}

/* The text in `stream` is refused with these words. */
static void refuse_stream(const char *expected)
{
	char error[96] = "";

	assert_null(mr_description_new((struct mr_bytes){stream.bytes, stream.length}, error));
	if (!strstr(error, expected))
		fail_msg("expected \"%s\", found \"%s\"", expected, error);
}

static void a_sum_wraps(void **state)
{
	(void)state;
	refuse("\"fields\": [{\"size\": 9223372036854775807}, {\"name\": \"b\", \"size\": 9223372036854775807, "
	       "\"array_len\": 2}]",
	       "sizes beyond 2^63 at b");
}

static void a_struct_with_a_bad_inside(void **state)
{
	(void)state;
	refuse("\"fields\": [{\"size\": 1, \"type\": \"struct\", \"struct\": {\"vmsd_name\": 1}}]", "vmsd_name");
	refuse("\"fields\": [{\"size\": 1, \"type\": \"struct\", \"struct\": {\"version\": \"1\"}}]", "version");
	refuse("\"fields\": [{\"size\": 1, \"type\": \"struct\", \"struct\": {\"fields\": 1}}]", "fields");
}

/* What has no inside to look at is a plain field, and no pointer either. */
static void a_field_without_an_inside(void **state)
{
	struct mr_description *description;
	const struct mr_layout *layouts;
	char error[96] = "";
	size_t count;

	(void)state;
	description = describe("\"fields\": [{\"name\": \"a\", \"type\": \"tmp\", \"size\": 1}, {\"name\": \"b\", "
			       "\"type\": \"struct\", \"struct\": 5, \"size\": 1}]",
			       error);
	assert_non_null(description);
	layouts = mr_description_layouts(description, &count);
	assert_int_equal(count, 3);
	for (size_t i = 1; i < count; i++) {
		assert_int_equal(layouts[i].kind, MR_LAYOUT_FIELD);
		assert_int_equal(layouts[i].value, MR_VALUE_BYTES);
	}
	mr_description_free(description);
}

static void a_page_size_that_is_no_number(void **state)
{
	static const char text[] = "{\"page_size\": \"4096\", \"devices\": []}";
	struct mr_description *description;
	char error[96] = "";

	(void)state;
	description = mr_description_new((struct mr_bytes){(const uint8_t *)text, sizeof(text) - 1}, error);
	assert_non_null(description);
	assert_int_equal(mr_description_page_size(description), 0);
	mr_description_free(description);
}

static void one_device_too_many(void **state)
{
	(void)state;
	build_text(&stream, "{\"devices\": [0");
	for (int i = 0; i < MR_DEVICES_MAX; i++)
		build_text(&stream, ",0");
	build_text(&stream, "]}");
	refuse_stream("more devices than 16384");
}

/* A device whose fields are all entries there may be, and behind them what `last` is. */
static void refuse_entry(const char *last, const char *expected)
{
	stream.length = 0;
	build_text(&stream, "{\"devices\": [{\"name\": \"d\", \"instance_id\": 0, \"fields\": [{\"size\":0}");
	for (int i = 2; i < MR_LAYOUT_MAX; i++)
		build_text(&stream, ",{\"size\":0}");
	build_text(&stream, last);
	build_text(&stream, "}]}");
	refuse_stream(expected);
}

/* A million JSON objects: half a gigabyte, and far more where each allocation is watched. */
static void one_entry_too_many(void **state)
{
	(void)state;
	if (SANITIZED || RUNNING_ON_VALGRIND)
		skip();
	refuse_entry(", {\"name\": \"s\", \"size\": 0, \"type\": \"struct\", \"struct\": {\"fields\": []}}]",
		     "too many entries");
	refuse_entry("], \"subsections\": [{\"vmsd_name\": \"d/x\"}]", "too many entries");
}

/* ---- Walks ---- */

/* The events of a walk, one letter each. */
struct events {
	char letters[32];
	size_t count;
};

static void see(void *argument, const struct mr_device_item *item)
{
	static const char letters[] = {
		[MR_DEVICE_FIELD] = 'f',          [MR_DEVICE_ARRAY] = '[',     [MR_DEVICE_STRUCT] = '{',
		[MR_DEVICE_SUBSECTION] = '<',     [MR_DEVICE_ARRAY_END] = ']', [MR_DEVICE_STRUCT_END] = '}',
		[MR_DEVICE_SUBSECTION_END] = '>', [MR_DEVICE_REST] = 'r',
	};
	struct events *events = argument;

	assert_true(events->count + 1 < sizeof(events->letters));
	events->letters[events->count++] = letters[item->event];
}

static void walks_as(const char *members, const char *body, const char *expected, bool complete)
{
	char error[96] = "";
	struct mr_description *description = describe(members, error);
	const struct mr_bytes bytes = {(const uint8_t *)body, strlen(body)};
	struct events events = {0};

	assert_non_null(description);
	assert_int_equal(mr_device_visit(mr_description_device(description, 0), bytes, see, NULL, &events), complete);
	assert_string_equal(events.letters, expected);
	mr_description_free(description);
}

static void nobody_listens_to_findings(void **state)
{
	(void)state;
	walks_as("\"fields\": [{\"name\": \"a\", \"size\": 1}]", "xyz", "fr", false);
	walks_as("\"fields\": [{\"name\": \"a\", \"type\": \"nullptr\", \"size\": 1}]", "x", "f", true);
}

static void arrays_of_nothing(void **state)
{
	(void)state;
	walks_as("\"fields\": [{\"name\": \"a\", \"array_len\": 0, \"size\": 0}, {\"name\": \"b\", \"size\": 1}]", "x",
		 "[]f", true);
	walks_as("\"fields\": [{\"name\": \"s\", \"array_len\": 0, \"size\": 1, \"type\": \"struct\", \"struct\": "
		 "{\"fields\": [{\"name\": \"a\", \"size\": 1}]}}, {\"name\": \"b\", \"size\": 1}]",
		 "x", "[]f", true);
}

/* ---- Mapped-ram ---- */

static int begin_stream(void **state)
{
	begin(state);
	build_header(&stream);
	build_configuration(&stream, "pc");
	build_start(&stream, 2, "ram", 4);
	build_size(&stream, PAGE);
	return 0;
}

/* Reads the stream in one window and byte by byte, which must not differ. */
static void read_as(const struct mr_context *context)
{
	const struct mr_bytes bytes = {stream.bytes, stream.length};

	observe(&other, context, MR_ROLE_MAIN, bytes, FEED_BYTEWISE);
	observe(&seen, context, MR_ROLE_MAIN, bytes, FEED_WHOLE);
	observe_equal(&seen, &other);
}

/* The fifth record, a block, has a header or has none. */
static void assert_header(bool expected)
{
	assert_true(seen.record_count > 4);
	assert_int_equal(seen.records[4].record.kind, MR_RAM_BLOCK);
	assert_int_equal(seen.records[4].record.ram_block.has_mapped, expected);
}

/* Where capabilities are not known, a header of two zeros is one only if its block may be left out. */
static void a_header_of_an_ignored_block(void **state)
{
	static const struct {
		uint32_t capabilities; /* enum mr_capability */
		uint64_t bitmap, pages;
		bool header;
	} cases[] = {
		{MR_CAPABILITY_IGNORE_SHARED, 0, 0, true},
		{MR_CAPABILITY_IGNORE_SHARED, 0, PAGE, false},
		{MR_CAPABILITY_IGNORE_SHARED, PAGE, 0, false},
		{0, 0, 0, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct mr_context context = {
			.multifd_method = MR_METHOD_UNKNOWN,
			.capabilities = cases[i].capabilities,
		};

		begin_stream(state);
		build_block(&stream, "pc.ram", PAGE);
		if (cases[i].capabilities)
			build_be64(&stream, 0);
		build_be32(&stream, 1);
		build_be64(&stream, PAGE);
		build_be64(&stream, cases[i].bitmap);
		build_be64(&stream, cases[i].pages);
		build_eos(&stream);
		build_footer(&stream, 2);
		build_u8(&stream, 0);
		read_as(&context);
		assert_header(cases[i].header);
		if (cases[i].header)
			observe_valid(&seen);
	}
}

/* No byte between the bitmap and the pages: no writer does so, but nothing is unclear. */
static void pages_right_behind_the_bitmap(void **state)
{
	const struct mr_context context = {
		.multifd_method = MR_METHOD_UNKNOWN,
		.capabilities_known = true,
		.capabilities = MR_CAPABILITY_MAPPED_RAM,
	};
	uint64_t bitmap;

	(void)state;
	build_block(&stream, "pc.ram", PAGE);
	bitmap = stream.length + HEADER;
	build_be32(&stream, 1);
	build_be64(&stream, PAGE);
	build_be64(&stream, bitmap);
	build_be64(&stream, bitmap + 8);
	build_u8(&stream, 1);
	build_fill(&stream, 0, 7);
	build_fill(&stream, 0x11, PAGE);
	build_eos(&stream);
	build_footer(&stream, 2);
	build_u8(&stream, 0);
	read_as(&context);
	assert_int_equal(seen.result, MR_DONE);
	assert_header(true);
	assert_int_equal(observe_count(&seen, MR_MAP_004), 1);
	assert_int_equal(observe_count(&seen, MR_MAP_005), 1);
	assert_int_equal(seen.finding_count, 2);
	assert_int_equal(seen.records[5].record.kind, MR_RAM_BITMAP);
	assert_int_equal(seen.records[5].record.bitmap.bits.length, 8);
	assert_int_equal(seen.records[5].record.bitmap.padding.length, 0);
	assert_int_equal(seen.records[6].record.pages.data.length, PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_sum_wraps, begin),
		cmocka_unit_test_setup(a_struct_with_a_bad_inside, begin),
		cmocka_unit_test_setup(a_field_without_an_inside, begin),
		cmocka_unit_test_setup(a_page_size_that_is_no_number, begin),
		cmocka_unit_test_setup(one_device_too_many, begin),
		cmocka_unit_test_setup(one_entry_too_many, begin),
		cmocka_unit_test_setup(nobody_listens_to_findings, begin),
		cmocka_unit_test_setup(arrays_of_nothing, begin),
		cmocka_unit_test_setup(a_header_of_an_ignored_block, begin),
		cmocka_unit_test_setup(pages_right_behind_the_bitmap, begin_stream),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("coverage_devices", tests, NULL, release);
}
