/* test_device.c: device sections walked by their description, however wrong the description or the bytes are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "guard.h"
#include "migref.h"
#include "random.h"
#include "watched.h"

enum { TEXT_MAX = 1 << 16 };

/* What a walk showed, written down: "name=number ", "[", "{" and so on. */
struct seen {
	char text[TEXT_MAX];
	size_t length;
	uint64_t at;    /* bytes so far */
	uint32_t depth; /* that is open */
	size_t items, findings;
	enum mr_rule rule; /* of the last finding */
	uint64_t offset;   /* of the last finding */
	bool quiet;        /* only count */
};

static void note(struct seen *seen, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void note(struct seen *seen, const char *format, ...)
{
	va_list arguments;

	if (seen->quiet)
		return;
	va_start(arguments, format);
	seen->length +=
		(size_t)vsnprintf(seen->text + seen->length, sizeof(seen->text) - seen->length, format, arguments);
	va_end(arguments);
	assert_true(seen->length < sizeof(seen->text));
}

static void see_field(struct seen *seen, const struct mr_device_item *item)
{
	if (item->element != UINT64_MAX)
		note(seen, "%s[%" PRIu64 "]=", item->layout->name, item->element);
	else
		note(seen, "%s=", item->layout->name);
	if (item->value == MR_VALUE_SIGNED)
		note(seen, "%" PRId64 " ", (int64_t)item->number);
	else if (item->value == MR_VALUE_BYTES)
		note(seen, "<%zu> ", item->bytes.length);
	else
		note(seen, "%" PRIu64 " ", item->number);
}

static void see(void *argument, const struct mr_device_item *item)
{
	struct seen *seen = argument;

	/* The items tile the body and what they open they close. */
	assert_int_equal(item->offset, seen->at);
	seen->at += item->bytes.length;
	seen->items++;
	switch (item->event) {
	case MR_DEVICE_FIELD:
		see_field(seen, item);
		break;
	case MR_DEVICE_ARRAY:
		note(seen, "[ ");
		break;
	case MR_DEVICE_STRUCT:
		note(seen, "%s{ ", item->layout->name);
		break;
	case MR_DEVICE_SUBSECTION:
		note(seen, "+%s{ ", item->layout->name);
		break;
	case MR_DEVICE_ARRAY_END:
		note(seen, "] ");
		break;
	case MR_DEVICE_STRUCT_END:
	case MR_DEVICE_SUBSECTION_END:
		note(seen, "} ");
		break;
	case MR_DEVICE_REST:
		note(seen, "rest<%zu> ", item->bytes.length);
		break;
	}
	if (item->event == MR_DEVICE_ARRAY_END || item->event == MR_DEVICE_STRUCT_END ||
	    item->event == MR_DEVICE_SUBSECTION_END)
		seen->depth--;
	assert_int_equal(item->depth, seen->depth);
	if (item->event == MR_DEVICE_ARRAY || item->event == MR_DEVICE_STRUCT || item->event == MR_DEVICE_SUBSECTION)
		seen->depth++;
}

static void see_finding(void *argument, const struct mr_finding *finding)
{
	struct seen *seen = argument;

	assert_true(strlen(finding->expected) > 0 && strlen(finding->found) > 0);
	seen->findings++;
	seen->rule = finding->rule;
	seen->offset = finding->offset;
}

static struct mr_description *parse(const char *json, char error[96])
{
	return mr_description_new((struct mr_bytes){(const uint8_t *)json, strlen(json)}, error);
}

/* A description of the one device "d" with these members. */
static struct mr_description *describe(const char *members)
{
	static char json[TEXT_MAX];
	struct mr_description *description;
	char error[96] = "";

	snprintf(json, sizeof(json), "{\"devices\": [{\"name\": \"d\", \"instance_id\": 0, %s}]}", members);
	description = parse(json, error);
	if (!description)
		fail_msg("%s: %s", members, error);
	return description;
}

static bool walk(const struct mr_layout *device, const void *body, size_t length, struct seen *seen)
{
	static struct guard guard;
	struct mr_bytes bytes = {NULL, length};
	const bool quiet = seen->quiet;
	bool complete;

	if (!guard.base)
		guard = guard_new(TEXT_MAX);
	bytes.data = guard_copy(&guard, body, length);
	memset(seen, 0, sizeof(*seen));
	seen->quiet = quiet;
	complete = mr_device_visit(device, bytes, see, see_finding, seen);
	assert_int_equal(seen->at, length);
	assert_int_equal(seen->depth, 0);
	return complete;
}

/* The body read by these members shows as `expected`; no finding. */
static void reads_as(const char *members, const char *body, size_t length, const char *expected)
{
	struct mr_description *description = describe(members);
	static struct seen seen;

	assert_true(walk(mr_description_device(description, 0), body, length, &seen));
	assert_string_equal(seen.text, expected);
	assert_int_equal(seen.findings, 0);
	mr_description_free(description);
}

/* The same with one finding, the last if there are more. */
static void breaks_as(const char *members, const char *body, size_t length, const char *expected, enum mr_rule rule,
		      uint64_t offset)
{
	struct mr_description *description = describe(members);
	static struct seen seen;

	walk(mr_description_device(description, 0), body, length, &seen);
	assert_string_equal(seen.text, expected);
	assert_true(seen.findings > 0);
	assert_string_equal(mr_rule_id(seen.rule), mr_rule_id(rule));
	assert_int_equal(seen.offset, offset);
	mr_description_free(description);
}

#define FIELD(name, type, size) "{\"name\": \"" name "\", \"type\": \"" type "\", \"size\": " #size "}"
#define FIELDS(...)             "\"fields\": [" __VA_ARGS__ "]"
#define ARRAY(name, count, type, size)                                                                                 \
	"{\"name\": \"" name "\", \"array_len\": " #count ", \"type\": \"" type "\", \"size\": " #size "}"
#define STRUCT(name, more, fields, size)                                                                               \
	"{\"name\": \"" name "\", " more "\"type\": \"struct\", \"struct\": {\"vmsd_name\": \"s\", \"version\": 1, "   \
	"\"fields\": [" fields "]}, \"size\": " #size "}"
#define SUBSECTION(name, version, fields)                                                                              \
	"{\"vmsd_name\": \"" name "\", \"version\": " #version ", \"fields\": [" fields "]}"

static void numbers_are_big_endian(void **state)
{
	(void)state;
	reads_as(FIELDS(FIELD("a", "uint8", 1) "," FIELD("b", "uint16", 2) "," FIELD("c", "uint32",
										     4) "," FIELD("d", "uint64", 8)),
		 "\xff\xff\xfe\xff\xff\xff\xfd\xff\xff\xff\xff\xff\xff\xff\xfc", 15,
		 "a=255 b=65534 c=4294967293 d=18446744073709551612 ");
	reads_as(FIELDS(FIELD("a", "int8", 1) "," FIELD("b", "int16", 2) "," FIELD("c", "int32 equal",
										   4) "," FIELD("d", "int64", 8)),
		 "\xff\xff\xfe\xff\xff\xff\xfd\xff\xff\xff\xff\xff\xff\xff\xfc", 15, "a=-1 b=-2 c=-3 d=-4 ");
	reads_as(FIELDS(FIELD("a", "int32", 4) "," FIELD("b", "int64 equal", 8) "," FIELD("c", "what", 3)),
		 "\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
		 "abc",
		 15, "a=2147483647 b=18446744073709551615 c=<3> ");
	reads_as(FIELDS(), "", 0, "");
}

static void arrays_have_elements(void **state)
{
	(void)state;
	reads_as(FIELDS(ARRAY("a", 3, "uint8", 1)), "\1\2\3", 3, "[ a[0]=1 a[1]=2 a[2]=3 ] ");
	reads_as(FIELDS(ARRAY("a", 0, "uint8", 1) "," FIELD("b", "uint8", 1)), "\1", 1, "[ ] b=1 ");
	reads_as(FIELDS(STRUCT("s", "\"array_len\": 2, ", FIELD("x", "uint8", 1) "," ARRAY("y", 2, "uint8", 1), 3)),
		 "\1\2\3\4\5\6", 6, "[ s{ x=1 [ y[0]=2 y[1]=3 ] } s{ x=4 [ y[0]=5 y[1]=6 ] } ] ");
	/* the index form, and the same without an index as 11.1 writes it */
	reads_as(FIELDS("{\"name\": \"a\", \"index\": 4, \"type\": \"uint8\", \"size\": 1}, {\"name\": \"a\", "
			"\"index\": 7, \"type\": \"uint8\", \"size\": 1}"),
		 "\1\2", 2, "[ a[4]=1 a[7]=2 ] ");
	reads_as(FIELDS(FIELD("a", "uint8", 1) "," FIELD("a", "uint8", 1) "," FIELD("b", "uint8", 1)), "\1\2\3", 3,
		 "[ a[0]=1 a[1]=2 ] b=3 ");
}

static void subsections_are_looked_for(void **state)
{
	const char *members = FIELDS(FIELD("a", "uint8", 1)) ", \"subsections\": [" SUBSECTION(
		"d/x", 3, FIELD("b", "uint8", 1)) "," SUBSECTION("d/y", 1, FIELD("c", "uint8", 1)) "]";

	(void)state;
	reads_as(members, "\1\5\3d/x\0\0\0\3\2\5\3d/y\0\0\0\1\4", 21, "a=1 +d/x{ b=2 } +d/y{ c=4 } ");
	/* one that is missing is left out, and the next is found all the same */
	breaks_as(members, "\1\5\3d/y\0\0\0\1\4", 11, "a=1 +d/y{ c=4 } ", MR_DEV_004, 1);
	breaks_as(members, "\1\5\3d/x\0\0\0\3\2", 11, "a=1 +d/x{ b=2 } ", MR_DEV_004, 11);
	breaks_as(members, "\1\5\3d/x\0\0\0\4\2\5\3d/y\0\0\0\1\4", 21, "a=1 +d/x{ b=2 } +d/y{ c=4 } ", MR_DEV_004, 6);
	/* in a struct a missing subsection makes it shorter than it is said to be */
	breaks_as(FIELDS("{\"name\": \"s\", \"type\": \"struct\", \"size\": 11, \"struct\": {\"fields\": [" FIELD(
			  "a", "uint8", 1) "], \"subsections\": [" SUBSECTION("d/x", 3, FIELD("b", "uint8", 1)) "]}}"),
		  "\1xxxxxxxxxx", 11, "s{ a=1 } rest<10> ", MR_STR_022, 1);
}

static void what_is_not_described_is_the_rest(void **state)
{
	(void)state;
	breaks_as(FIELDS(FIELD("a", "uint8", 1)), "\1\2\3", 3, "a=1 rest<2> ", MR_STR_022, 1);
	breaks_as(FIELDS(FIELD("a", "uint8", 1) "," FIELD("b", "uint32", 4)), "\1\2\3", 3, "a=1 rest<2> ", MR_STR_022,
		  1);
	breaks_as(FIELDS(FIELD("a", "uint8", 1)), "", 0, "", MR_STR_022, 0);
	breaks_as(FIELDS(STRUCT("s", "\"array_len\": 2, ", FIELD("x", "uint16", 2), 2)), "\0\1\0", 3,
		  "[ s{ x=1 } s{ } ] rest<1> ", MR_STR_022, 2);
	breaks_as(FIELDS(STRUCT("s", "", FIELD("x", "uint16", 2), 3)), "\0\1\0", 3, "s=<3> ", MR_DEV_003, 0);
	breaks_as(FIELDS(FIELD("x", "uint16", 4)), "\0\1\0\1", 4, "x=<4> ", MR_DEV_005, 0);
	reads_as(FIELDS(FIELD("list", "qtailq", 5)), "\1\1\1\1\0", 5, "list=<5> ");
	reads_as(
		FIELDS("{\"name\": \"t\", \"type\": \"tmp\", \"vmsd_name\": \"v\", \"version\": 1, \"fields\": [" FIELD(
			"x", "uint16", 2) "], \"size\": 2}"),
		"\0\1", 2, "t{ x=1 } ");
	/* a list that writes its members once for each element, under the same keys */
	reads_as(FIELDS("{\"name\": \"t\", \"type\": \"vstruct\", \"fields\": [" FIELD(
			 "x", "uint16", 2) "], \"fields\": [" FIELD("x", "uint16", 2) "], \"size\": 4}"),
		 "\0\1\0\2", 4, "t=<4> ");
}

static void pointers_leave_marks(void **state)
{
	(void)state;
	reads_as(FIELDS("{\"name\": \"p\", \"array_len\": 2, \"type\": \"struct\", \"struct\": {}, \"size\": 1}"), "00",
		 2, "[ p[0]=48 p[1]=48 ] ");
	breaks_as(FIELDS("{\"name\": \"p\", \"array_len\": 2, \"type\": \"struct\", \"struct\": {}, \"size\": 1}"),
		  "0xy", 3, "[ p[0]=48 ] rest<2> ", MR_STR_022, 1);
	reads_as(FIELDS(ARRAY("p", 2, "ptr-marker", 1)), "01", 2, "[ p[0]=48 p[1]=49 ] ");
	breaks_as(FIELDS(ARRAY("p", 2, "nullptr", 1)), "01", 2, "[ p[0]=48 p[1]=49 ] ", MR_DEV_006, 1);
}

static void empty_members_cost_nothing(void **state)
{
	struct mr_description *description;
	static struct seen seen;
	static char members[TEXT_MAX];
	size_t length;

	(void)state;
	reads_as(FIELDS(ARRAY("a", 1000000000, "buffer", 0) "," FIELD("b", "uint8", 1)), "\1", 1, "[ a[0]=<0> ] b=1 ");
	/* many empty members in each of many elements */
	length = (size_t)snprintf(
		members, sizeof(members),
		"\"fields\": [{\"name\": \"s\", \"array_len\": 20000, \"type\": \"struct\", \"size\": 1, "
		"\"struct\": {\"fields\": [" FIELD("x", "uint8", 1));
	for (int i = 0; i < 1000; i++)
		length += (size_t)snprintf(members + length, sizeof(members) - length, ",{\"name\":\"%d\",\"size\":0}",
					   i);
	snprintf(members + length, sizeof(members) - length, "]}}]");
	description = describe(members);
	seen.quiet = true;
	assert_false(walk(mr_description_device(description, 0), members, 20000, &seen));
	assert_int_equal(seen.rule, MR_STR_022);
	assert_true(seen.items < 5 * (20000 + 1002));
	mr_description_free(description);
}

static void devices_are_found(void **state)
{
	char error[96];
	struct mr_description *description = parse(
		"{\"page_size\": 8192, \"devices\": [{\"name\": \"a\", \"instance_id\": 0, \"size\": 7}, {\"name\": "
		"\"a\", \"instance_id\": 4294967295}, {\"name\": \"a\", \"instance_id\": 0}]}",
		error);
	const struct mr_bytes name = {(const uint8_t *)"a", 1}, other = {(const uint8_t *)"ab", 2};
	size_t count;

	(void)state;
	assert_non_null(description);
	assert_int_equal(mr_description_count(description), 3);
	assert_int_equal(mr_description_page_size(description), 8192);
	assert_int_equal(mr_description_find(description, name, 0, 0), 0);
	assert_int_equal(mr_description_find(description, name, 0, 1), 2);
	assert_int_equal(mr_description_find(description, name, 0, 3), 0);
	assert_int_equal(mr_description_find(description, name, UINT32_MAX, 99), 1);
	assert_int_equal(mr_description_find(description, name, 1, 0), SIZE_MAX);
	assert_int_equal(mr_description_find(description, other, 0, 0), SIZE_MAX);
	assert_int_equal(mr_description_device(description, 0)->size, 7);
	assert_int_equal(mr_description_device(description, 2)->repeat, 1);
	mr_description_layouts(description, &count);
	assert_int_equal(count, 3);
	mr_description_free(description);
	mr_description_free(NULL);
}

static void names_that_come_again_are_numbered(void **state)
{
	struct mr_description *description = describe(FIELDS(FIELD("u", "uint8", 1) "," FIELD(
		"u", "uint8", 1) "," FIELD("v", "uint8", 1) "," FIELD("u", "uint8", 1)));
	size_t count;
	const struct mr_layout *layouts = mr_description_layouts(description, &count);

	(void)state;
	assert_int_equal(count, 5);
	assert_int_equal(layouts[0].inside, 4);
	assert_true(layouts[1].array_first && !layouts[1].array_last && layouts[1].repeat == 0);
	assert_true(!layouts[2].array_first && layouts[2].array_last && layouts[2].repeat == 0);
	assert_false(layouts[3].in_array);
	assert_true(!layouts[4].in_array && layouts[4].repeat == 1);
	mr_description_free(description);
}

static void hostile_descriptions_are_refused(void **state)
{
	static const char *const members[] = {
		FIELDS("{\"name\": \"a\", \"size\": -1}"),
		FIELDS("{\"name\": \"a\", \"size\": 1.5}"),
		FIELDS("{\"name\": \"a\", \"size\": \"1\"}"),
		FIELDS("{\"name\": \"a\", \"size\": 99999999999999999999}"),
		FIELDS("{\"name\": \"a\", \"size\": 1, \"array_len\": -1}"),
		FIELDS("{\"name\": \"a\", \"size\": 4294967296, \"array_len\": 4294967296}"),
		FIELDS("{\"name\": \"a\", \"size\": 9223372036854775807}, {\"name\": \"b\", \"size\": 1}"),
		FIELDS("{\"name\": \"a\", \"size\": 1, \"index\": -1}"),
		FIELDS("{\"name\": \"a\", \"size\": 1, \"index\": 4294967295}"),
		FIELDS("{\"name\": 1, \"size\": 1}"),
		FIELDS("{\"name\": \"a\", \"type\": [], \"size\": 1}"),
		FIELDS("{\"name\": \"a\"}"),
		FIELDS("1"),
		"\"fields\": {}",
		"\"fields\": [], \"subsections\": {}",
		"\"subsections\": [{}]",
		"\"subsections\": [{\"vmsd_name\": \"a\", \"version\": \"1\"}]",
		"\"subsections\": [{\"vmsd_name\": \"a\", \"fields\": [{\"size\": 9223372036854775807}]}]",
		"\"version\": 4294967296",
		"\"vmsd_name\": 3",
		"\"size\": -5",
	};
	char json[1024], error[96];

	(void)state;
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		error[0] = '\0';
		snprintf(json, sizeof(json), "{\"devices\": [{\"name\": \"d\", \"instance_id\": 0, %s}]}", members[i]);
		if (parse(json, error))
			fail_msg("%s is taken", members[i]);
		assert_true(strlen(error) > 0 && strlen(error) < 96);
	}
}

/* `opening` again and again, with nothing that closes it. */
static void refuse_depth(const char *start, const char *opening, size_t count)
{
	const size_t step = strlen(opening), length = strlen(start) + step * count;
	char *text = malloc(length + 1), error[96] = "";

	assert_non_null(text);
	memcpy(text, start, strlen(start) + 1);
	for (size_t i = 0; i < count; i++)
		memcpy(text + strlen(start) + step * i, opening, step + 1);
	assert_null(mr_description_new((struct mr_bytes){(const uint8_t *)text, length}, error));
	assert_true(strlen(error) > 0);
	free(text);
}

static void depth_is_limited(void **state)
{
	(void)state;
	refuse_depth("{\"devices\": ", "[", 100000);
	refuse_depth("{\"devices\": [", "{\"fields\": [", 100000);
	refuse_depth("{\"devices\": [{\"name\": \"d\", \"instance_id\": 0, \"fields\": [", "{\"struct\": ", 100000);
	for (int levels = 63; levels <= 64; levels++) {
		char error[96];
		struct mr_description *description;
		struct build members = {0};

		build_text(&members, "{\"devices\": [{\"name\": \"d\", \"instance_id\": 0");
		for (int i = 0; i < levels; i++)
			build_text(&members, ", \"subsections\": [{\"vmsd_name\": \"d/s\"");
		for (int i = 0; i < levels; i++)
			build_text(&members, "}]");
		build_text(&members, "}]}");
		description = mr_description_new((struct mr_bytes){members.bytes, members.length}, error);
		build_free(&members);
		assert_int_equal(description != NULL, levels < MR_LAYOUT_DEPTH_MAX);
		mr_description_free(description);
	}
}

/* Whatever is altered in description and body, the items tile the body and end. */
static void damage_does_no_harm(void **state)
{
	static const char pair[] =
		STRUCT("s", "\"array_len\": 2, ", FIELD("x", "int16", 2) "," FIELD("y", "bool", 1), 3);
	static const char sub[] = SUBSECTION("d/x", 3, FIELD("b", "timer", 8));
	static const char body[] = "\1\2\3\0\4\1\0\5\1"
				   "0\5\3d/x\0\0\0\3\377\377\377\377\377\377\377\377";
	struct random random = {0x9e3779b97f4a7c15};
	static struct seen seen;
	char fields[512], sound[1024], json[1024], bytes[sizeof(body)], error[96];
	unsigned parsed = 0;
	size_t length;

	(void)state;
	snprintf(fields, sizeof(fields), FIELDS(ARRAY("a", 3, "uint8", 1) ",%s," FIELD("p", "nullptr", 1)), pair);
	length = (size_t)snprintf(sound, sizeof(sound),
				  "{\"devices\": [{\"name\": \"d\", \"instance_id\": 0, \"version\": 1, %s, "
				  "\"subsections\": [%s]}]}",
				  fields, sub);
	for (unsigned round = 0; round < (RUNNING_ON_VALGRIND ? 3000 : 30000); round++) {
		struct mr_description *description;

		memcpy(json, sound, sizeof(sound));
		memcpy(bytes, body, sizeof(body));
		for (uint64_t i = random_below(&random, 3); i > 0; i--)
			json[random_below(&random, length)] = (char)(' ' + random_below(&random, 0x5f));
		for (uint64_t i = random_below(&random, 3); i > 0; i--)
			bytes[random_below(&random, sizeof(body) - 1)] = (char)random_next(&random);
		description = mr_description_new((struct mr_bytes){(const uint8_t *)json, length}, error);
		if (!description || !mr_description_count(description)) {
			mr_description_free(description);
			continue;
		}
		parsed++;
		seen.quiet = false;
		walk(mr_description_device(description, 0), bytes, (size_t)random_below(&random, sizeof(body)), &seen);
		mr_description_free(description);
	}
	assert_true(parsed > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_big_endian),
		cmocka_unit_test(arrays_have_elements),
		cmocka_unit_test(subsections_are_looked_for),
		cmocka_unit_test(what_is_not_described_is_the_rest),
		cmocka_unit_test(pointers_leave_marks),
		cmocka_unit_test(empty_members_cost_nothing),
		cmocka_unit_test(devices_are_found),
		cmocka_unit_test(names_that_come_again_are_numbered),
		cmocka_unit_test(hostile_descriptions_are_refused),
		cmocka_unit_test(depth_is_limited),
		cmocka_unit_test(damage_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
