/*
 * test_chain.c: where device sections end: by a description, by the one chain that fits, by the next plausible footer.
 */
#include "observe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "wire/chain.h"

static struct observation seen;
static struct build stream;
static struct mr_device_end ends[16];

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

/* Placed on the heap without a byte to spare, so that a sanitizer sees what is read behind it. */
static enum mr_chain_result resolve(struct mr_chain *chain)
{
	uint8_t *copy = malloc(stream.length ? stream.length : 1);
	enum mr_chain_result result;

	assert_non_null(copy);
	if (stream.length)
		memcpy(copy, stream.bytes, stream.length);
	*chain = (struct mr_chain){ends, 16, 0, 0};
	result = mr_chain_resolve((struct mr_bytes){copy, stream.length}, true, chain);
	free(copy);
	return result;
}

static void observe_stream(const struct mr_context *context)
{
	observe(&seen, context, MR_ROLE_MAIN, (struct mr_bytes){stream.bytes, stream.length}, FEED_WHOLE);
}

static void begin_stream(void)
{
	stream.length = 0;
	build_header(&stream);
	build_configuration(&stream, "pc");
}

/* The body of the n-th device section, counted from 0. */
static const struct mr_section_data *body(size_t index)
{
	for (size_t i = 0; i < seen.record_count; i++)
		if (seen.records[i].record.kind == MR_SECTION_DATA && index-- == 0)
			return &seen.records[i].record.data;
	fail_msg("no such body");
	return NULL;
}

/* ---- One chain ---- */

static void sections_and_commands_form_a_chain(void **state)
{
	struct mr_chain chain;

	(void)state;
	build_device(&stream, 6, "apic", 0x11, 30);
	build_device(&stream, 0, "timer", 0x22, 0);
	build_ping(&stream, 3);
	build_command(&stream, 5, 0);
	assert_int_equal(resolve(&chain), MR_CHAIN_FOUND);
	assert_int_equal(chain.count, 2);
	assert_int_equal(ends[0].body, 18);
	assert_int_equal(ends[0].end, 48);
	assert_int_equal(ends[1].end - ends[1].body, 0);
	assert_int_equal(ends[1].delimiter, MR_DELIMITED_BY_CHAIN);
	assert_int_equal(chain.end, stream.length);
}

static void a_chain_ends_with_run_or_the_end_mark(void **state)
{
	struct mr_chain chain;

	(void)state;
	build_device(&stream, 6, "apic", 0x11, 3);
	assert_int_equal(resolve(&chain), MR_CHAIN_NONE);
	build_u8(&stream, 0);
	assert_int_equal(resolve(&chain), MR_CHAIN_FOUND);
	build_u8(&stream, 0);
	assert_int_equal(resolve(&chain), MR_CHAIN_NONE);
	stream.length -= 2;
	build_command(&stream, 5, 0);
	assert_int_equal(resolve(&chain), MR_CHAIN_FOUND);
	stream.length -= 5;
	build_ping(&stream, 3);
	assert_int_equal(resolve(&chain), MR_CHAIN_NONE);
}

static void bodies_full_of_footers_and_headers_are_no_obstacle(void **state)
{
	struct mr_chain chain;

	(void)state;
	build_long_header(&stream, 4, 6, "apic", 0, 1);
	for (unsigned i = 0; i < 20; i++) {
		build_footer(&stream, 6);
		build_u8(&stream, 0x33);
		build_footer(&stream, 5);
		build_long_header(&stream, 4, 5, "fake", 0, 1);
	}
	build_footer(&stream, 6);
	build_u8(&stream, 0);
	assert_int_equal(resolve(&chain), MR_CHAIN_FOUND);
	assert_int_equal(chain.count, 1);
	assert_int_equal(ends[0].end, stream.length - 6);
}

/* A body that holds a footer of its own section and a header that takes the real footer for its own. */
static void build_ambiguous_device(uint32_t id)
{
	build_long_header(&stream, 4, id, "apic", 0, 1);
	build_fill(&stream, 0x11, 4);
	build_footer(&stream, id);
	build_long_header(&stream, 4, id, "fake", 0, 1);
	build_fill(&stream, 0x22, 4);
	build_footer(&stream, id);
}

static void two_chains_are_ambiguous(void **state)
{
	struct mr_chain chain;

	(void)state;
	build_ambiguous_device(6);
	build_u8(&stream, 0);
	assert_int_equal(resolve(&chain), MR_CHAIN_AMBIGUOUS);
}

static void a_chain_longer_than_the_table_is_a_limit(void **state)
{
	struct mr_chain chain;

	(void)state;
	for (uint32_t i = 0; i < 17; i++)
		build_device(&stream, i, "d", 0x55, 1);
	build_u8(&stream, 0);
	assert_int_equal(resolve(&chain), MR_CHAIN_LIMIT);
}

static void stretches_without_a_chain(void **state)
{
	struct mr_chain chain;

	(void)state;
	assert_int_equal(resolve(&chain), MR_CHAIN_NONE);
	build_fill(&stream, 0x7e, 64);
	assert_int_equal(resolve(&chain), MR_CHAIN_NONE);
	stream.length = 0;
	build_fill(&stream, 0x04, 64);
	assert_int_equal(resolve(&chain), MR_CHAIN_NONE);
	stream.length = 0;
	build_device(&stream, 1, "a\n", 0, 4);
	build_u8(&stream, 0);
	assert_int_equal(resolve(&chain), MR_CHAIN_NONE);
}

static void without_footers_there_is_no_chain(void **state)
{
	struct mr_chain chain = {ends, 16, 0, 0};

	(void)state;
	build_device(&stream, 6, "apic", 0x11, 3);
	build_u8(&stream, 0);
	assert_int_equal(mr_chain_resolve((struct mr_bytes){stream.bytes, stream.length}, false, &chain),
			 MR_CHAIN_NONE);
}

/* The table of ids has a slot for every two bytes; this comes as near to filling it as footers can. */
static void many_ids_fit_into_the_table(void **state)
{
	struct mr_chain chain;

	(void)state;
	build_long_header(&stream, 4, 1, "d", 0, 1);
	for (uint32_t i = 0; i < 3000; i++) {
		build_footer(&stream, i << 8 | 0x7e);
		build_u8(&stream, 0x08);
	}
	build_footer(&stream, 1);
	build_u8(&stream, 0);
	assert_int_equal(resolve(&chain), MR_CHAIN_FOUND);
}

/* ---- Sizes of a description ---- */

static void sizes_are_followed_in_any_order(void **state)
{
	const struct mr_device_size sizes[] = {{"timer", 0, 9}, {"apic", 0, 4}};
	struct mr_chain chain = {ends, 16, 0, 0};
	struct mr_bytes stretch;

	(void)state;
	build_device(&stream, 6, "apic", 0x7e, 4);
	build_device(&stream, 1, "timer", 0x04, 9);
	build_start(&stream, 2, "ram", 4);
	stretch = (struct mr_bytes){stream.bytes, stream.length};
	assert_true(mr_chain_follow(stretch, true, sizes, 2, &chain));
	assert_int_equal(chain.count, 2);
	assert_int_equal(ends[0].delimiter, MR_DELIMITED_BY_DESCRIPTION);
	assert_int_equal(chain.end, stream.length - 17);
	/* An unknown device, a size beyond the stretch, a footer elsewhere. */
	assert_false(mr_chain_follow(stretch, true, sizes, 1, &chain));
	assert_false(mr_chain_follow(stretch, true, (struct mr_device_size[]){{"apic", 0, 1u << 30}}, 1, &chain));
	assert_false(mr_chain_follow(stretch, true, (struct mr_device_size[]){{"apic", 0, 5}}, 1, &chain));
	assert_false(mr_chain_follow(stretch, true, (struct mr_device_size[]){{"apic", 1, 4}}, 1, &chain));
	chain = (struct mr_chain){ends, 1, 0, 0};
	assert_false(mr_chain_follow(stretch, true, sizes, 2, &chain));
}

/* ---- The next footer ---- */

static void build_body_then(const char *next, size_t length)
{
	stream.length = 0;
	build_fill(&stream, 0x11, 7);
	build_footer(&stream, 9);
	build_bytes(&stream, next, length);
}

static void a_footer_counts_if_something_plausible_follows(void **state)
{
	static const struct {
		const char *next;
		size_t length, at_end;
	} cases[] = {
		{"", 0, 7},
		{"\0", 1, 7},
		{"\0\6", 2, 7},
		{"\0\1", 2, SIZE_MAX},
		{"\2\0\0\0\2", 5, 7},
		{"\2\0\0\0", 4, SIZE_MAX},
		{"\3\0\0\0\2", 5, 7},
		{"\1\0\0\0\2\1r\0\0\0\0\0\0\0\4", 15, 7},
		{"\1\0\0\0\2\1r\0\0\0\0\0\0\0", 14, SIZE_MAX},
		{"\1\0\0\0\2\0\0\0\0\0\0\0\0\4", 14, SIZE_MAX},
		{"\4\0\0\0\2\1r\0\0\0\0\0\0\0\4", 15, 7},
		{"\4\0\0\0\2\1\1\0\0\0\0\0\0\0\4", 15, SIZE_MAX},
		{"\4\0\0\0\2\1r\0\0\0\0\0\0\0", 14, SIZE_MAX},
		{"\10\0\5\0\0", 5, 7},
		{"\10\0\14\0\0", 5, SIZE_MAX},
		{"\10\0\5\0", 4, SIZE_MAX},
		{"\5", 1, SIZE_MAX},
		{"\7", 1, SIZE_MAX},
		{"\176\0\0\0\11", 5, 12},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		build_body_then(cases[i].next, cases[i].length);
		if (mr_chain_footer((struct mr_bytes){stream.bytes, stream.length}, 9, true) != cases[i].at_end)
			fail_msg("case %zu", i);
		assert_int_equal(mr_chain_footer((struct mr_bytes){stream.bytes, stream.length}, 8, true), SIZE_MAX);
	}
}

static void a_cut_window_never_decides_otherwise(void **state)
{
	static const char next[] = "\4\0\0\0\2\3abc\0\0\0\0\0\0\0\4\176\0\0\0\2\0";
	size_t length;

	(void)state;
	build_body_then(next, sizeof(next) - 1);
	for (length = 0; length < 7 + 5 + 17; length++)
		assert_int_equal(mr_chain_footer((struct mr_bytes){stream.bytes, length}, 9, false), SIZE_MAX);
	for (; length <= stream.length; length++)
		assert_int_equal(mr_chain_footer((struct mr_bytes){stream.bytes, length}, 9, false), 7);
}

/* ---- The description's place ---- */

static void a_description_is_found_from_the_end(void **state)
{
	struct mr_bytes json;

	(void)state;
	build_text(&stream, "body");
	build_u8(&stream, 0);
	build_description(&stream, "{\"devices\": []}");
	assert_int_equal(mr_chain_find_description((struct mr_bytes){stream.bytes, stream.length}, &json), 4);
	assert_true(mr_bytes_equal_string(json, "{\"devices\": []}"));
	for (size_t length = 0; length < stream.length; length++)
		assert_int_equal(mr_chain_find_description((struct mr_bytes){stream.bytes, length}, &json), SIZE_MAX);
	build_u8(&stream, ' ');
	assert_int_equal(mr_chain_find_description((struct mr_bytes){stream.bytes, stream.length}, &json), SIZE_MAX);
}

static void any_length_of_description_is_found(void **state)
{
	static const size_t lengths[] = {1, 255, 256, 257, 65535, 65536, 65537, 1 << 24, 0x01020304};

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct mr_bytes json;

		stream.length = 0;
		build_u8(&stream, 0);
		build_u8(&stream, 6);
		build_be32(&stream, (uint32_t)lengths[i]);
		build_u8(&stream, '{');
		build_fill(&stream, 'x', lengths[i] - 1);
		assert_int_equal(mr_chain_find_description((struct mr_bytes){stream.bytes, stream.length}, &json), 0);
		assert_int_equal(json.length, lengths[i]);
	}
}

/* ---- In a stream ---- */

static void a_package_is_resolved_by_its_chain(void **state)
{
	size_t package;

	(void)state;
	begin_stream();
	package = build_package(&stream);
	build_command(&stream, 4, 0);
	build_device(&stream, 6, "apic", 0x7e, 30);
	build_device(&stream, 0, "timer", 0x04, 24);
	build_ping(&stream, 3);
	build_command(&stream, 5, 0);
	build_package_end(&stream, package);
	build_u8(&stream, 0);
	observe_stream(NULL);
	observe_valid(&seen);
	assert_int_equal(body(0)->bytes.length, 30);
	assert_int_equal(body(0)->delimiter, MR_DELIMITED_BY_CHAIN);
	assert_int_equal(body(1)->bytes.length, 24);
	assert_int_equal(seen.records[4].record.depth, 1);
}

static void an_ambiguous_package_falls_back_to_footers(void **state)
{
	size_t package;

	(void)state;
	begin_stream();
	package = build_package(&stream);
	build_command(&stream, 4, 0);
	build_ambiguous_device(6);
	build_device(&stream, 0, "timer", 0x55, 24);
	build_command(&stream, 5, 0);
	build_package_end(&stream, package);
	build_u8(&stream, 0);
	observe_stream(NULL);
	assert_int_equal(seen.result, MR_DONE);
	assert_int_equal(observe_count(&seen, MR_STR_023), seen.finding_count);
	assert_true(seen.finding_count >= 1);
	assert_int_equal(body(0)->bytes.length, 4);
	assert_int_equal(body(0)->delimiter, MR_DELIMITED_BY_FOOTER);
}

static void a_description_resolves_what_is_ambiguous(void **state)
{
	char json[256];
	const size_t body_length = 4 + 5 + 18 + 4;

	(void)state;
	begin_stream();
	build_ambiguous_device(6);
	build_u8(&stream, 0);
	snprintf(json, sizeof(json),
		 "{\"devices\": [{\"name\": \"apic\", \"instance_id\": 0, \"fields\": [{\"size\": %zu}]}]}",
		 body_length);
	build_description(&stream, json);
	observe_stream(NULL);
	observe_valid(&seen);
	assert_int_equal(body(0)->bytes.length, body_length);
	assert_int_equal(body(0)->delimiter, MR_DELIMITED_BY_DESCRIPTION);
}

static void wrong_sizes_fall_back_to_the_chain(void **state)
{
	uint64_t offset;

	(void)state;
	begin_stream();
	offset = stream.length;
	build_device(&stream, 6, "apic", 0x55, 10);
	build_u8(&stream, 0);
	build_description(&stream,
			  "{\"devices\": [{\"name\": \"apic\", \"instance_id\": 0, \"fields\": [{\"size\": 9}]}]}");
	observe_stream(NULL);
	observe_one_finding(&seen, MR_STR_022, MR_ACCEPTABLE, offset, MR_DONE);
	assert_int_equal(body(0)->bytes.length, 10);
	assert_int_equal(body(0)->delimiter, MR_DELIMITED_BY_CHAIN);
}

static void an_unreadable_description_falls_back_to_the_chain(void **state)
{
	uint64_t offset;

	(void)state;
	begin_stream();
	offset = stream.length;
	build_device(&stream, 6, "apic", 0x55, 10);
	build_u8(&stream, 0);
	build_description(&stream, "{\"devices\": [");
	observe_stream(NULL);
	observe_one_finding(&seen, MR_STR_022, MR_ACCEPTABLE, offset, MR_DONE);
	assert_int_equal(body(0)->delimiter, MR_DELIMITED_BY_CHAIN);
}

static void early_devices_stand_before_ram(void **state)
{
	(void)state;
	begin_stream();
	build_device(&stream, 9, "early", 0x55, 10);
	build_ram_start(&stream, "pc.ram", 0x4000);
	build_end(&stream, 2);
	build_eos(&stream);
	build_footer(&stream, 2);
	build_device(&stream, 6, "late", 0x55, 3);
	build_u8(&stream, 0);
	build_description(&stream,
			  "{\"devices\": [{\"name\": \"early\", \"instance_id\": 0, \"fields\": [{\"size\": 10}]},"
			  "{\"name\": \"late\", \"instance_id\": 0, \"fields\": [{\"size\": 3}]}]}");
	observe_stream(NULL);
	observe_valid(&seen);
	assert_int_equal(body(0)->delimiter, MR_DELIMITED_BY_DESCRIPTION);
	assert_int_equal(body(1)->delimiter, MR_DELIMITED_BY_DESCRIPTION);
}

static void early_devices_without_a_description_are_a_guess(void **state)
{
	size_t package;

	(void)state;
	begin_stream();
	build_device(&stream, 9, "early", 0x55, 10);
	build_ram_start(&stream, "pc.ram", 0x4000);
	package = build_package(&stream);
	build_command(&stream, 4, 0);
	build_device(&stream, 6, "late", 0x55, 3);
	build_command(&stream, 5, 0);
	build_package_end(&stream, package);
	build_u8(&stream, 0);
	observe_stream(NULL);
	assert_int_equal(seen.result, MR_DONE);
	assert_int_equal(seen.finding_count, 1);
	assert_int_equal(observe_count(&seen, MR_STR_023), 1);
	assert_int_equal(body(0)->delimiter, MR_DELIMITED_BY_FOOTER);
	assert_int_equal(body(1)->delimiter, MR_DELIMITED_BY_CHAIN);
}

static void without_footers_only_a_description_helps(void **state)
{
	const struct mr_context context = {.no_footer = true, .multifd_method = MR_METHOD_UNKNOWN};

	(void)state;
	begin_stream();
	build_long_header(&stream, 4, 6, "apic", 0, 1);
	build_fill(&stream, 0x55, 10);
	build_u8(&stream, 0);
	build_description(&stream,
			  "{\"devices\": [{\"name\": \"apic\", \"instance_id\": 0, \"fields\": [{\"size\": 10}]}]}");
	observe_stream(&context);
	observe_valid(&seen);
	assert_int_equal(body(0)->bytes.length, 10);

	begin_stream();
	build_long_header(&stream, 4, 6, "apic", 0, 1);
	build_fill(&stream, 0x55, 10);
	build_u8(&stream, 0);
	observe_stream(&context);
	observe_one_finding(&seen, MR_STR_023, MR_ACCEPTABLE, stream.length - 11, MR_DONE);
	assert_int_equal(seen.records[seen.record_count - 1].record.kind, MR_OPAQUE);
	assert_int_equal(seen.records[seen.record_count - 1].record.opaque.rule, MR_STR_023);
}

static void many_failures_stay_cheap(void **state)
{
	(void)state;
	begin_stream();
	for (uint32_t i = 0; i < 2000; i++)
		build_device(&stream, i, "d", 0x55, 3);
	build_u8(&stream, 9);
	observe_stream(NULL);
	/* What follows the last footer is nothing that may stand there. */
	assert_int_equal(seen.decoder.error.rule, MR_STR_026);
	assert_int_equal(observe_count(&seen, MR_STR_023), 2000);
}

int main(void)
{
#define CHAIN_TEST(test) cmocka_unit_test_setup(test, begin)
	const struct CMUnitTest tests[] = {
		CHAIN_TEST(sections_and_commands_form_a_chain),
		CHAIN_TEST(a_chain_ends_with_run_or_the_end_mark),
		CHAIN_TEST(bodies_full_of_footers_and_headers_are_no_obstacle),
		CHAIN_TEST(two_chains_are_ambiguous),
		CHAIN_TEST(a_chain_longer_than_the_table_is_a_limit),
		CHAIN_TEST(stretches_without_a_chain),
		CHAIN_TEST(without_footers_there_is_no_chain),
		CHAIN_TEST(many_ids_fit_into_the_table),
		CHAIN_TEST(sizes_are_followed_in_any_order),
		CHAIN_TEST(a_footer_counts_if_something_plausible_follows),
		CHAIN_TEST(a_cut_window_never_decides_otherwise),
		CHAIN_TEST(a_description_is_found_from_the_end),
		CHAIN_TEST(any_length_of_description_is_found),
		CHAIN_TEST(a_package_is_resolved_by_its_chain),
		CHAIN_TEST(an_ambiguous_package_falls_back_to_footers),
		CHAIN_TEST(a_description_resolves_what_is_ambiguous),
		CHAIN_TEST(wrong_sizes_fall_back_to_the_chain),
		CHAIN_TEST(an_unreadable_description_falls_back_to_the_chain),
		CHAIN_TEST(early_devices_stand_before_ram),
		CHAIN_TEST(early_devices_without_a_description_are_a_guess),
		CHAIN_TEST(without_footers_only_a_description_helps),
		CHAIN_TEST(many_failures_stay_cheap),
	};

	return cmocka_run_group_tests(tests, NULL, release);
}
