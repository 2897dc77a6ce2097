/* test_capabilities.c: which capabilities, combinations and parameters each release takes, and when they may be set. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "capabilities.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct mr_profile profile_of(const char *release)
{
	struct mr_profile profile = {0};

	if (*release)
		assert_int_equal(mr_profile_init(&profile, release), 0);
	return profile;
}

/* The set of capabilities that stand in a text, separated by spaces. */
static uint64_t set_of(const char *names)
{
	uint64_t set = 0;
	char copy[256], *rest = copy;

	assert_true(strlen(names) < sizeof(copy));
	memcpy(copy, names, strlen(names) + 1);
	for (char *name = strtok_r(copy, " ", &rest); name; name = strtok_r(NULL, " ", &rest)) {
		assert_int_not_equal(mr_capability_bit(name), 0);
		set |= mr_capability_bit(name);
	}
	return set;
}

/* The rule that the release breaks by it; MR_NO_RULE if it takes the settings. */
static enum mr_rule refused(const char *release, const struct mr_capability_settings *settings)
{
	const struct mr_profile profile = profile_of(release);
	struct mr_finding error = {.rule = MR_NO_RULE};

	if (mr_capabilities_check(&profile, settings, &error)) {
		assert_true(mr_capabilities_check(&profile, settings, NULL));
		return MR_NO_RULE;
	}
	assert_false(mr_capabilities_check(&profile, settings, NULL));
	assert_int_not_equal(error.rule, MR_NO_RULE);
	assert_int_equal(error.verdict, mr_rule_verdict(error.rule));
	assert_true(error.expected[0] && error.found[0]);
	return error.rule;
}

static enum mr_rule refused_set(const char *release, const char *names)
{
	return refused(release, &(struct mr_capability_settings){.on = set_of(names)});
}

static void names_and_bits(void **state)
{
	uint64_t all = 0;

	(void)state;
	for (unsigned i = 0; i < mr_capability_count(); i++) {
		const uint64_t bit = mr_capability_bit(mr_capability_name(i));

		assert_true(bit == UINT64_C(1) << i);
		assert_int_equal(all & bit, 0);
		assert_true(mr_capability_is_known(mr_capability_name(i)));
		all |= bit;
	}
	assert_null(mr_capability_name(mr_capability_count()));
	assert_int_equal(mr_capability_bit("nonsense"), 0);
	assert_int_equal(mr_capability_bit(""), 0);
}

/* keeps CAP-001, breaks CAP-001: at the borders of its releases */
static void existence(void **state)
{
	static const struct {
		const char *name, *before, *since, *until, *behind;
	} cases[] = {
		{"xbzrle", "", "2.5", "11.1", ""},          {"x-colo", "2.7", "2.8", "11.1", ""},
		{"return-path", "2.9", "2.10", "11.1", ""}, {"multifd", "3.1", "4.0", "11.1", ""},
		{"compress", "", "2.5", "9.0", "9.1"},      {"block", "", "7.2", "9.0", "9.1"},
		{"dirty-limit", "7.2", "8.1", "11.1", ""},  {"mapped-ram", "8.2", "9.0", "11.1", ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_not_equal(refused_set(cases[i].since, cases[i].name), MR_CAP_001);
		assert_int_not_equal(refused_set(cases[i].until, cases[i].name), MR_CAP_001);
		if (*cases[i].before)
			assert_int_equal(refused_set(cases[i].before, cases[i].name), MR_CAP_001);
		if (*cases[i].behind)
			assert_int_equal(refused_set(cases[i].behind, cases[i].name), MR_CAP_001);
	}
	assert_int_equal(refused("11.1", &(struct mr_capability_settings){.on = UINT64_MAX}), MR_CAP_001);
	assert_int_equal(refused("", &(struct mr_capability_settings){.on = UINT64_C(1) << 63}), MR_CAP_001);
}

/* keeps CAP-002, breaks CAP-002 */
static void what_capabilities_need(void **state)
{
	static const struct {
		const char *release, *alone, *together;
	} cases[] = {
		{"7.2", "postcopy-preempt", "postcopy-ram postcopy-preempt"},
		{"7.2", "zero-copy-send", "multifd zero-copy-send"},
		{"8.1", "switchover-ack", "return-path switchover-ack"},
		{"11.0", "x-colo", "x-colo return-path"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(refused_set(cases[i].release, cases[i].alone), MR_CAP_002);
		assert_int_equal(refused_set(cases[i].release, cases[i].together), MR_NO_RULE);
	}
	assert_int_equal(refused_set("10.2", "x-colo"), MR_NO_RULE);
	/* of a release that is not known nothing is refused */
	assert_int_equal(refused_set("", "zero-copy-send"), MR_NO_RULE);
}

/* keeps CAP-003, breaks CAP-003 */
static void what_excludes_each_other(void **state)
{
	static const struct {
		const char *release, *names;
		bool refused;
	} cases[] = {
		{"4.2", "postcopy-ram compress", true},
		{"5.0", "postcopy-ram compress", false},
		{"7.2", "postcopy-ram x-ignore-shared", true},
		{"8.0", "postcopy-ram multifd", false},
		{"8.1", "postcopy-ram multifd", true},
		{"10.0", "postcopy-ram multifd", true},
		{"10.1", "postcopy-ram multifd", false},
		{"9.0", "postcopy-ram mapped-ram", true},
		{"7.2", "postcopy-ram postcopy-preempt compress", true},
		{"7.2", "postcopy-ram postcopy-preempt multifd", false},
		{"7.1", "multifd compress", false},
		{"7.2", "multifd compress", true},
		{"8.1", "multifd xbzrle", false},
		{"8.2", "multifd xbzrle", true},
		{"9.2", "mapped-ram xbzrle", true},
		{"9.2", "mapped-ram multifd", false},
		{"7.2", "multifd zero-copy-send xbzrle", true},
		{"7.2", "background-snapshot return-path", true},
		{"7.2", "background-snapshot x-ignore-shared events block zero-blocks", false},
		{"", "postcopy-ram x-ignore-shared", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(refused_set(cases[i].release, cases[i].names),
				 cases[i].refused ? MR_CAP_003 : MR_NO_RULE);
}

/* keeps CAP-004, breaks CAP-004 */
static void what_leaves_pages_plain(void **state)
{
	const uint64_t zero_copy = set_of("multifd zero-copy-send"), mapped = set_of("mapped-ram");

	(void)state;
	assert_int_equal(refused("7.2", &(struct mr_capability_settings){zero_copy, "none", false}), MR_NO_RULE);
	assert_int_equal(refused("7.2", &(struct mr_capability_settings){zero_copy, "zlib", false}), MR_CAP_004);
	assert_int_equal(refused("7.2", &(struct mr_capability_settings){zero_copy, NULL, true}), MR_CAP_004);
	assert_int_equal(refused("7.2", &(struct mr_capability_settings){set_of("multifd"), "zlib", true}), MR_NO_RULE);
	assert_int_equal(refused("9.2", &(struct mr_capability_settings){mapped, "zstd", false}), MR_NO_RULE);
	assert_int_equal(refused("9.2", &(struct mr_capability_settings){mapped | set_of("multifd"), "zstd", false}),
			 MR_CAP_004);
	assert_int_equal(refused("9.2", &(struct mr_capability_settings){mapped, NULL, true}), MR_CAP_004);
}

static enum mr_rule changed(const char *release, struct mr_capability_settings *settings,
			    enum mr_capability_moment moment, const char *named, bool on)
{
	const struct mr_capability_change change = {moment, set_of(named), on ? UINT64_MAX : 0};
	const struct mr_profile profile = profile_of(release);
	const uint64_t before = settings->on;
	struct mr_finding error = {.rule = MR_NO_RULE};

	if (mr_capabilities_change(&profile, settings, &change, &error))
		return MR_NO_RULE;
	assert_true(settings->on == before);
	return error.rule;
}

/* keeps CAP-005, breaks CAP-005: before the migration, and some before the destination listens */
static void when_capabilities_change(void **state)
{
	struct mr_capability_settings settings = {0};

	(void)state;
	assert_int_equal(changed("7.2", &settings, MR_CAPABILITY_MIGRATING, "xbzrle", true), MR_CAP_005);
	assert_int_equal(changed("7.2", &settings, MR_CAPABILITY_LISTENING, "multifd xbzrle", true), MR_NO_RULE);
	assert_true(settings.on == set_of("multifd xbzrle"));
	settings.on = 0;
	assert_int_equal(changed("8.1", &settings, MR_CAPABILITY_LISTENING, "multifd", true), MR_CAP_005);
	assert_int_equal(changed("8.1", &settings, MR_CAPABILITY_LISTENING, "xbzrle", true), MR_NO_RULE);
	assert_int_equal(changed("8.1", &settings, MR_CAPABILITY_AT_REST, "xbzrle", false), MR_NO_RULE);
	assert_int_equal(changed("8.1", &settings, MR_CAPABILITY_AT_REST, "multifd", true), MR_NO_RULE);
	assert_int_equal(changed("10.0", &settings, MR_CAPABILITY_LISTENING, "multifd", true), MR_CAP_005);
	assert_int_equal(changed("10.1", &settings, MR_CAPABILITY_LISTENING, "multifd", true), MR_NO_RULE);
	assert_int_equal(changed("10.1", &settings, MR_CAPABILITY_LISTENING, "postcopy-ram", true), MR_NO_RULE);
	assert_int_equal(changed("10.1", &settings, MR_CAPABILITY_LISTENING, "postcopy-preempt", true), MR_CAP_005);
	assert_int_equal(changed("10.1", &settings, MR_CAPABILITY_LISTENING, "multifd", false), MR_NO_RULE);
}

/* What one command sets is judged as a whole, and only as a whole carried out. */
static void changes_are_whole(void **state)
{
	struct mr_capability_settings settings = {0};

	(void)state;
	assert_int_equal(changed("7.2", &settings, MR_CAPABILITY_AT_REST, "postcopy-preempt", true), MR_CAP_002);
	assert_int_equal(changed("7.2", &settings, MR_CAPABILITY_AT_REST, "postcopy-preempt postcopy-ram", true),
			 MR_NO_RULE);
	assert_int_equal(changed("7.2", &settings, MR_CAPABILITY_AT_REST, "postcopy-ram", false), MR_CAP_002);
	assert_int_equal(changed("7.2", &settings, MR_CAPABILITY_AT_REST, "postcopy-preempt postcopy-ram", false),
			 MR_NO_RULE);
	assert_int_equal(settings.on, 0);
}

/* ---- Parameters ---- */

static enum mr_rule refused_parameters(const char *release, const struct mr_parameter *parameters, size_t count,
				       uint32_t page_size)
{
	const struct mr_profile profile = profile_of(release);
	struct mr_finding error = {.rule = MR_NO_RULE};

	if (mr_parameters_check(&profile, parameters, count, page_size, &error))
		return MR_NO_RULE;
	assert_false(mr_parameters_check(&profile, parameters, count, page_size, NULL));
	assert_true(error.expected[0] && error.found[0]);
	return error.rule;
}

static enum mr_rule refused_number(const char *release, const char *name, uint64_t number)
{
	const struct mr_parameter parameter = {.name = name, .kind = MR_PARAMETER_NUMBER, .number = number};

	return refused_parameters(release, &parameter, 1, 0);
}

static enum mr_rule refused_text(const char *release, const char *name, const char *text)
{
	const struct mr_parameter parameter = {.name = name, .kind = MR_PARAMETER_TEXT, .text = text};

	return refused_parameters(release, &parameter, 1, 0);
}

/* keeps CAP-006, breaks CAP-006 */
static void numbers(void **state)
{
	static const struct {
		const char *release, *name;
		uint64_t number;
		bool refused;
	} cases[] = {
		{"7.2", "multifd-channels", 0, true},      {"7.2", "multifd-channels", 1, false},
		{"7.2", "multifd-channels", 255, false},   {"7.2", "multifd-channels", 256, true},
		{"3.1", "multifd-channels", 2, true},      {"7.2", "downtime-limit", 2000000, false},
		{"7.2", "downtime-limit", 2000001, true},  {"7.2", "multifd-zlib-level", 10, false},
		{"11.1", "multifd-zlib-level", 10, true},  {"11.1", "multifd-zstd-level", 20, false},
		{"11.1", "multifd-zstd-level", 21, true},  {"9.1", "multifd-qatzip-level", 1, true},
		{"9.2", "multifd-qatzip-level", 1, false}, {"7.2", "max-bandwidth", UINT64_MAX, false},
		{"7.2", "xbzrle-cache-size", 2048, true},  {"7.2", "xbzrle-cache-size", 4096, false},
		{"7.2", "xbzrle-cache-size", 5000, true},  {"7.2", "xbzrle-cache-size", UINT64_C(1) << 63, false},
		{"7.2", "no-such-thing", 1, true},         {"7.2", "tls-creds", 1, true},
		{"7.2", "multifd-compression", 1, true},   {"", "multifd-zlib-level", 10, false},
	};
	static const struct mr_parameter negative = {"announce-max", MR_PARAMETER_NUMBER, true, 1, NULL};
	static const struct mr_parameter no_limit = {"max-bandwidth", MR_PARAMETER_NUMBER, true, 1, NULL};
	static const struct mr_parameter cache = {"xbzrle-cache-size", MR_PARAMETER_NUMBER, false, 4096, NULL};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(refused_number(cases[i].release, cases[i].name, cases[i].number),
				 cases[i].refused ? MR_CAP_006 : MR_NO_RULE);
	assert_int_equal(refused_parameters("7.2", &negative, 1, 0), MR_CAP_006);
	assert_int_equal(refused_parameters("7.2", &no_limit, 1, 0), MR_NO_RULE);
	assert_int_equal(refused_parameters("7.2", &cache, 1, 65536), MR_CAP_006);
}

static void words_and_switches(void **state)
{
	static const struct mr_parameter on = {"cpu-throttle-tailslow", MR_PARAMETER_SWITCH, false, 1, NULL};
	static const struct mr_parameter number_on = {"multifd-channels", MR_PARAMETER_SWITCH, false, 1, NULL};

	(void)state;
	assert_int_equal(refused_text("4.2", "multifd-compression", "none"), MR_CAP_006);
	assert_int_equal(refused_text("7.2", "multifd-compression", "zstd"), MR_NO_RULE);
	assert_int_equal(refused_text("7.2", "multifd-compression", "qpl"), MR_CAP_006);
	assert_int_equal(refused_text("9.1", "multifd-compression", "qpl"), MR_NO_RULE);
	assert_int_equal(refused_text("9.1", "multifd-compression", "qatzip"), MR_CAP_006);
	assert_int_equal(refused_text("", "multifd-compression", "qatzip"), MR_NO_RULE);
	assert_int_equal(refused_text("8.2", "zero-page-detection", "legacy"), MR_CAP_006);
	assert_int_equal(refused_text("9.0", "zero-page-detection", "legacy"), MR_NO_RULE);
	assert_int_equal(refused_text("7.2", "tls-creds", "anything"), MR_NO_RULE);
	assert_int_equal(refused_text("7.2", "cpu-throttle-tailslow", "true"), MR_CAP_006);
	assert_int_equal(refused_text("7.2", "multifd-channels", "2"), MR_CAP_006);
	assert_int_equal(refused_parameters("7.2", &on, 1, 0), MR_NO_RULE);
	assert_int_equal(refused_parameters("7.2", &number_on, 1, 0), MR_CAP_006);
}

/* keeps CAP-007, breaks CAP-007: with the defaults 20 and 99 for what is not said */
static void throttles(void **state)
{
	const struct mr_parameter both[] = {
		{"max-cpu-throttle", MR_PARAMETER_NUMBER, false, 30, NULL},
		{"cpu-throttle-initial", MR_PARAMETER_NUMBER, false, 31, NULL},
		{"cpu-throttle-initial", MR_PARAMETER_NUMBER, false, 30, NULL},
	};

	(void)state;
	assert_int_equal(refused_number("7.2", "max-cpu-throttle", 19), MR_CAP_007);
	assert_int_equal(refused_number("7.2", "max-cpu-throttle", 20), MR_NO_RULE);
	assert_int_equal(refused_number("7.2", "cpu-throttle-initial", 99), MR_NO_RULE);
	assert_int_equal(refused_parameters("7.2", both, 2, 0), MR_CAP_007);
	assert_int_equal(refused_parameters("7.2", both, 3, 0), MR_NO_RULE);
	assert_int_equal(refused_parameters("7.2", NULL, 0, 0), MR_NO_RULE);
}

static void rows(void **state)
{
	const struct mr_profile old = profile_of("5.1"), new = profile_of("5.2"), any = profile_of("");

	(void)state;
	assert_string_equal(mr_parameter_find(&old, "max-bandwidth")->value, "33554432");
	assert_string_equal(mr_parameter_find(&new, "max-bandwidth")->value, "134217728");
	assert_string_equal(mr_parameter_find(&any, "max-bandwidth")->value, "134217728");
	assert_null(mr_parameter_find(&new, "direct-io"));
	assert_non_null(mr_parameter_find(&any, "direct-io"));
	assert_null(mr_parameter_find(&any, ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_bits),
		cmocka_unit_test(existence),
		cmocka_unit_test(what_capabilities_need),
		cmocka_unit_test(what_excludes_each_other),
		cmocka_unit_test(what_leaves_pages_plain),
		cmocka_unit_test(when_capabilities_change),
		cmocka_unit_test(changes_are_whole),
		cmocka_unit_test(numbers),
		cmocka_unit_test(words_and_switches),
		cmocka_unit_test(throttles),
		cmocka_unit_test(rows),
	};

	return cmocka_run_group_tests_name("capabilities", tests, NULL, NULL);
}
