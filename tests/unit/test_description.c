/* test_description.c: the sizes of device sections as a VMDESCRIPTION states them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migref.h"

static long sizes_of(const char *json, struct mr_device_size *sizes, size_t capacity, char error[96])
{
	error[0] = '\0';
	return mr_description_sizes((struct mr_bytes){(const uint8_t *)json, strlen(json)}, sizes, capacity, error);
}

/* The size of the only device, whose description is `inner`; -1 if it has none. */
static int64_t size_of(const char *inner)
{
	struct mr_device_size size;
	char json[2048], error[96];
	long count;

	snprintf(json, sizeof(json), "{\"devices\": [{\"name\": \"d\", \"instance_id\": 7%s%s}]}", *inner ? ", " : "",
		 inner);
	count = sizes_of(json, &size, 1, error);
	if (count < 0) {
		assert_true(strlen(error) > 0);
		return -1;
	}
	assert_int_equal(count, 1);
	assert_string_equal(size.idstr, "d");
	assert_int_equal(size.instance, 7);
	return (int64_t)size.size;
}

static void fields_add_up(void **state)
{
	(void)state;
	assert_int_equal(size_of(""), 0);
	assert_int_equal(size_of("\"fields\": []"), 0);
	assert_int_equal(size_of("\"fields\": [{\"size\": 3}, {\"size\": 0}, {\"size\": 4}]"), 7);
	assert_int_equal(size_of("\"fields\": [{\"size\": 3, \"array_len\": 5}, {\"size\": 1}]"), 16);
	assert_int_equal(size_of("\"fields\": [{\"size\": 3, \"array_len\": 0}]"), 0);
}

static void a_field_covers_what_is_nested_in_it(void **state)
{
	(void)state;
	assert_int_equal(size_of("\"fields\": [{\"size\": 9, \"type\": \"struct\", \"struct\": {\"vmsd_name\": \"s\", "
				 "\"fields\": [{\"size\": 4}, {\"size\": 5}]}}]"),
			 9);
}

static void subsections_have_a_header_of_their_own(void **state)
{
	(void)state;
	assert_int_equal(size_of("\"fields\": [{\"size\": 2}], \"subsections\": [{\"vmsd_name\": \"d/sub\", "
				 "\"version\": 1, \"fields\": [{\"size\": 10}]}]"),
			 2 + (1 + 1 + 5 + 4) + 10);
	assert_int_equal(size_of("\"subsections\": [{\"vmsd_name\": \"d/a\", \"subsections\": [{\"vmsd_name\": "
				 "\"d/a/b\", \"fields\": [{\"size\": 1}]}]}, {\"vmsd_name\": \"d/c\"}]"),
			 (6 + 3) + (6 + 5) + 1 + (6 + 3));
}

static void devices_keep_their_order(void **state)
{
	struct mr_device_size sizes[3];
	char error[96];
	const char *json =
		"{\"configuration\": {}, \"page_size\": 4096, \"devices\": ["
		"{\"name\": \"timer\", \"instance_id\": 0, \"vmsd_name\": \"timer\", \"fields\": [{\"size\": 24}]},"
		"{\"name\": \"cpu\", \"instance_id\": 1, \"fields\": [{\"size\": 4}]},"
		"{\"name\": \"cpu\", \"instance_id\": 0, \"fields\": [{\"size\": 5}]}]}";

	(void)state;
	assert_int_equal(sizes_of(json, sizes, 3, error), 3);
	assert_string_equal(sizes[0].idstr, "timer");
	assert_int_equal(sizes[0].size, 24);
	assert_int_equal(sizes[1].instance, 1);
	assert_int_equal(sizes[1].size, 4);
	assert_int_equal(sizes[2].size, 5);
}

static void the_count_may_exceed_the_capacity(void **state)
{
	struct mr_device_size sizes[2] = {{.size = 1}, {.size = 1}};
	char error[96];
	const char *json = "{\"devices\": [{\"name\": \"a\", \"instance_id\": 0, \"fields\": [{\"size\": 2}]},"
			   "{\"name\": \"b\", \"instance_id\": 0, \"fields\": [{\"size\": 3}]}]}";

	(void)state;
	assert_int_equal(sizes_of(json, NULL, 0, error), 2);
	assert_int_equal(sizes_of(json, sizes, 1, error), 2);
	assert_int_equal(sizes[0].size, 2);
	assert_int_equal(sizes[1].size, 1);
}

static void what_is_no_description_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"{",
		"[]",
		"{}",
		"{\"devices\": {}}",
		"{\"devices\": [1]}",
		"{\"devices\": [{}]}",
		"{\"devices\": [{\"name\": \"a\"}]}",
		"{\"devices\": [{\"instance_id\": 0}]}",
		"{\"devices\": [{\"name\": 1, \"instance_id\": 0}]}",
		"{\"devices\": [{\"name\": \"a\", \"instance_id\": \"0\"}]}",
		"{\"devices\": []} x",
	};
	char error[96];

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(sizes_of(texts[i], NULL, 0, error), -1);
		assert_true(strlen(error) > 0);
		assert_null(strchr(error, '\n'));
	}
}

static void unusable_sizes_are_refused(void **state)
{
	(void)state;
	assert_int_equal(size_of("\"fields\": {}"), -1);
	assert_int_equal(size_of("\"fields\": [{}]"), -1);
	assert_int_equal(size_of("\"fields\": [{\"size\": -1}]"), -1);
	assert_int_equal(size_of("\"fields\": [{\"size\": \"4\"}]"), -1);
	assert_int_equal(size_of("\"fields\": [{\"size\": 4, \"array_len\": -2}]"), -1);
	assert_int_equal(size_of("\"fields\": [{\"size\": 4, \"array_len\": true}]"), -1);
	assert_int_equal(size_of("\"fields\": [{\"size\": 9223372036854775807, \"array_len\": 4}]"), -1);
	assert_int_equal(size_of("\"fields\": [{\"size\": 9223372036854775807}, {\"size\": 9223372036854775807}, "
				 "{\"size\": 9223372036854775807}]"),
			 -1);
	assert_int_equal(size_of("\"subsections\": [{}]"), -1);
	assert_int_equal(size_of("\"subsections\": [{\"vmsd_name\": 3}]"), -1);
}

static void a_long_name_is_refused(void **state)
{
	char json[512] = "{\"devices\": [{\"instance_id\": 0, \"name\": \"", error[96];
	const size_t start = strlen(json);
	struct mr_device_size size;

	(void)state;
	memset(json + start, 'n', MR_NAME_MAX);
	memcpy(json + start + MR_NAME_MAX, "\"}]}", 5);
	assert_int_equal(sizes_of(json, &size, 1, error), 1);
	assert_int_equal(strlen(size.idstr), MR_NAME_MAX);
	memset(json + start, 'n', MR_NAME_MAX + 1);
	memcpy(json + start + MR_NAME_MAX + 1, "\"}]}", 5);
	assert_int_equal(sizes_of(json, &size, 1, error), -1);
}

/* As deep as the parser goes, and far deeper. */
static void deep_nesting_is_refused(void **state)
{
	static const size_t depths[] = {100, 100000};
	static const char start[] = "{\"devices\": [{\"name\": \"d\", \"instance_id\": 0, \"subsections\": [";
	static const char open[] = "{\"vmsd_name\": \"s\", \"subsections\": [";
	static const char end[] = "]}]}";
	char error[96];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		char *json = malloc(100 + depths[i] * (sizeof(open) + 2));
		char *at;

		assert_non_null(json);
		memcpy(json, start, sizeof(start) - 1);
		at = json + sizeof(start) - 1;
		for (size_t depth = 0; depth < depths[i]; depth++, at += sizeof(open) - 1)
			memcpy(at, open, sizeof(open) - 1);
		for (size_t depth = 0; depth < depths[i]; depth++, at += 2)
			memcpy(at, "]}", 2);
		memcpy(at, end, sizeof(end));
		assert_int_equal(sizes_of(json, NULL, 0, error), -1);
		free(json);
	}
}

static void a_length_above_the_limit_is_refused_unread(void **state)
{
	char error[96] = "";

	(void)state;
	assert_int_equal(mr_description_sizes((struct mr_bytes){NULL, (size_t)MR_DESCRIPTION_MAX + 1}, NULL, 0, error),
			 -1);
	assert_non_null(strstr(error, "67108864"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_add_up),
		cmocka_unit_test(a_field_covers_what_is_nested_in_it),
		cmocka_unit_test(subsections_have_a_header_of_their_own),
		cmocka_unit_test(devices_keep_their_order),
		cmocka_unit_test(the_count_may_exceed_the_capacity),
		cmocka_unit_test(what_is_no_description_is_refused),
		cmocka_unit_test(unusable_sizes_are_refused),
		cmocka_unit_test(a_long_name_is_refused),
		cmocka_unit_test(deep_nesting_is_refused),
		cmocka_unit_test(a_length_above_the_limit_is_refused_unread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
