/* test_properties.c: every property and event has a name of its own and a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <string.h>

#include "sim/world/properties.h"

/* Small letters, with single hyphens between them. */
static void expect_name(const char *name)
{
	assert_non_null(name);
	for (size_t i = 0; name[i]; i++)
		if (!islower((unsigned char)name[i]) &&
		    (name[i] != '-' || i == 0 || !islower((unsigned char)name[i + 1])))
			fail_msg("a name of letters and hyphens expected, found %s", name);
}

/* One line without an end. */
static void expect_sentence(const char *name, const char *text)
{
	assert_non_null(text);
	if (strlen(text) < 10 || strchr(text, '\n') || text[strlen(text) - 1] == '.')
		fail_msg("%s: a sentence without its full stop expected, found '%s'", name, text);
}

static void properties_are_named(void **state)
{
	(void)state;
	assert_true(MR_PROPERTY_COUNT > 1);
	for (unsigned i = MR_PROPERTY_NONE + 1; i < MR_PROPERTY_COUNT; i++) {
		const enum mr_property property = (enum mr_property)i;

		expect_name(mr_property_name(property));
		expect_sentence(mr_property_name(property), mr_property_text(property));
		for (unsigned j = MR_PROPERTY_NONE + 1; j < i; j++)
			assert_string_not_equal(mr_property_name((enum mr_property)j), mr_property_name(property));
	}
}

static void events_are_named(void **state)
{
	(void)state;
	assert_true(MR_SOMETIMES_COUNT > 0);
	for (unsigned i = 0; i < MR_SOMETIMES_COUNT; i++) {
		const enum mr_sometimes event = (enum mr_sometimes)i;

		expect_name(mr_sometimes_name(event));
		expect_sentence(mr_sometimes_name(event), mr_sometimes_text(event));
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(mr_sometimes_name((enum mr_sometimes)j), mr_sometimes_name(event));
	}
}

/* The symbol, the name and the sentence belong together. */
static void a_few(void **state)
{
	(void)state;
	assert_string_equal(mr_property_name(MR_PROPERTY_ONE_GUEST), "one-guest");
	assert_string_equal(mr_property_text(MR_PROPERTY_ONE_GUEST), "the guest runs at one side at most");
	assert_string_equal(mr_property_name(MR_PROPERTY_MEMORY), "memory");
	assert_string_equal(mr_sometimes_name(MR_SOMETIMES_COMPLETED), "completed");
	assert_string_equal(mr_sometimes_text(MR_SOMETIMES_COMPLETED), "a migration completes");
}

static void no_others(void **state)
{
	(void)state;
	assert_null(mr_property_name(MR_PROPERTY_NONE));
	assert_null(mr_property_text(MR_PROPERTY_NONE));
	assert_null(mr_property_name(MR_PROPERTY_COUNT));
	assert_null(mr_property_text(MR_PROPERTY_COUNT));
	assert_null(mr_sometimes_name(MR_SOMETIMES_COUNT));
	assert_null(mr_sometimes_text(MR_SOMETIMES_COUNT));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(properties_are_named),
		cmocka_unit_test(events_are_named),
		cmocka_unit_test(a_few),
		cmocka_unit_test(no_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
