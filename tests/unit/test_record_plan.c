/* test_record_plan.c: the presets of `migref record`: each can be done by some release, and can be set anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ref/migref.h"
#include "sim/host/record_plan.h"

#include <string.h>

static struct mr_recorder_plan plan_of(const char *preset)
{
	struct mr_recorder_plan plan;
	char error[MR_RECORDER_LINE] = "";

	if (!mr_recorder_plan_init(&plan, preset, error))
		fail_msg("%s: %s", preset, error);
	return plan;
}

static void test_presets(void **state)
{
	const char *name, *text, *other, *other_text;
	size_t count = 0;

	(void)state;
	for (; mr_recorder_preset(count, &name, &text); count++) {
		struct mr_recorder_plan plan = plan_of(name);
		const struct mr_recorder_releases releases = mr_recorder_plan_releases(&plan);
		uint8_t image[MR_GUEST_IMAGE_SIZE];
		char error[MR_GUEST_LINE] = "";

		assert_string_equal(plan.preset, name);
		assert_non_null(text);
		if (!releases.any)
			fail_msg("%s: expected a release that can do it", name);
		if (mr_guest_has_image() && !mr_guest_image_make(&plan.guest, image, error))
			fail_msg("%s: %s", name, error);
		/* region and table fit into memory, and a cut into what the preset does */
		assert_true(plan.guest.region_base +
				    plan.guest.region_pages * (MR_GUEST_PAGE_SIZE + sizeof(struct mr_guest_version)) <=
			    plan.memory_mib << 20);
		assert_true(!plan.cuts || plan.switch_ms >= 0);
		assert_true(!plan.to_file || (plan.switch_ms < 0 && !plan.cuts));
		for (size_t i = 0; i < count && mr_recorder_preset(i, &other, &other_text); i++)
			assert_string_not_equal(name, other);
		mr_recorder_plan_clear(&plan);
	}
	assert_true(count > 20);
	assert_false(mr_recorder_preset(count + 1, &name, &text));
}

static void expect_releases(const char *preset, const char *capability, const char *since, const char *until)
{
	struct mr_recorder_plan plan = plan_of(preset);
	struct mr_recorder_releases releases;
	char error[MR_RECORDER_LINE] = "";

	if (capability && !mr_recorder_plan_capability(&plan, capability, error))
		fail_msg("%s", error);
	releases = mr_recorder_plan_releases(&plan);
	if (since) {
		assert_true(releases.any);
		assert_string_equal(releases.since, since);
		assert_string_equal(releases.until, until);
	} else {
		assert_false(releases.any);
	}
	mr_recorder_plan_clear(&plan);
}

static void test_releases(void **state)
{
	(void)state;
	expect_releases("precopy-plain", NULL, "", "");
	expect_releases("preempt", NULL, "7.1", "");
	expect_releases("switchover-ack", NULL, "8.1", "");
	expect_releases("mapped-ram", NULL, "9.0", "");
	expect_releases("multifd-postcopy", NULL, "10.1", "");
	expect_releases("compress", NULL, "", "9.0");
	expect_releases("multifd", "xbzrle", "4.0", "8.1");
	expect_releases("compress", "mapped-ram=on", "9.0", "9.0");
	expect_releases("xbzrle", "mapped-ram", NULL, NULL);
	expect_releases("xbzrle", "xbzrle=off", "", "");
}

static void expect_cut(const char *text, bool good, uint32_t channel, bool backward, bool since_switch, uint64_t byte)
{
	struct mr_recorder_plan plan = plan_of("postcopy");
	char error[MR_RECORDER_LINE] = "";

	if (mr_recorder_plan_cut(&plan, text, error) != good)
		fail_msg("%s: expected %s, found %s", text, good ? "a cut" : "none", error);
	if (good) {
		assert_true(plan.cuts);
		assert_int_equal(plan.cut_channel, channel);
		assert_int_equal(plan.cut_backward, backward);
		assert_int_equal(plan.cut_since_switch, since_switch);
		assert_int_equal(plan.cut_byte, byte);
	} else {
		assert_non_null(strstr(error, "expected CHANNEL:DIRECTION:BYTE"));
	}
	mr_recorder_plan_clear(&plan);
}

static void test_cuts(void **state)
{
	static const char *const bad[] = {"",
					  "0",
					  "0:fwd",
					  "0:fwd:",
					  "0:up:1",
					  "0:fwd:x",
					  "x:fwd:1",
					  "0:fwd:1x",
					  "0:fwd:+",
					  "0:fwd:+0",
					  "-1:fwd:1",
					  "300:fwd:1",
					  "0:ret:9223372036854775808"};

	(void)state;
	expect_cut("0:fwd:1000000", true, 0, false, false, 1000000);
	expect_cut("0:fwd:0", true, 0, false, false, 0);
	expect_cut("2:ret:+17", true, 2, true, true, 17);
	expect_cut("299:ret:9223372036854775807", true, 299, true, false, INT64_MAX);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_cut(bad[i], false, 0, false, false, 0);
}

static void expect_refused(bool (*set)(struct mr_recorder_plan *, const char *, char error[MR_RECORDER_LINE]),
			   const char *text, const char *expected)
{
	struct mr_recorder_plan plan = plan_of("precopy");
	char error[MR_RECORDER_LINE] = "";

	assert_false(set(&plan, text, error));
	assert_string_equal(error, expected);
	mr_recorder_plan_clear(&plan);
}

static void test_settings(void **state)
{
	struct mr_recorder_plan plan = plan_of("precopy");
	char error[MR_RECORDER_LINE] = "";

	(void)state;
	assert_true(mr_recorder_plan_capability(&plan, "return-path=off", error));
	assert_true(json_is_false(json_object_get(plan.capabilities, "return-path")));
	assert_true(mr_recorder_plan_parameter(&plan, "max-bandwidth=17", error));
	assert_int_equal(json_integer_value(json_object_get(plan.parameters, "max-bandwidth")), 17);
	assert_true(mr_recorder_plan_parameter(&plan, "cpu-throttle-tailslow=on", error));
	assert_true(json_is_true(json_object_get(plan.parameters, "cpu-throttle-tailslow")));
	assert_true(mr_recorder_plan_parameter(&plan, "multifd-compression=zstd", error));
	assert_string_equal(json_string_value(json_object_get(plan.parameters, "multifd-compression")), "zstd");
	/* text that looks like a number stays text */
	assert_true(mr_recorder_plan_parameter(&plan, "tls-creds=7", error));
	assert_true(json_is_string(json_object_get(plan.parameters, "tls-creds")));
	mr_recorder_plan_clear(&plan);
	expect_refused(mr_recorder_plan_capability, "postcopy", "QEMU has no capability postcopy");
	expect_refused(mr_recorder_plan_capability, "xbzrle=1", "xbzrle: expected on or off, found 1");
	expect_refused(mr_recorder_plan_parameter, "speed=1", "QEMU has no migration parameter speed");
	expect_refused(mr_recorder_plan_parameter, "speed", "expected NAME=VALUE, found speed");
	expect_refused(mr_recorder_plan_parameter, "max-bandwidth=-1", "max-bandwidth: expected a number, found -1");
	expect_refused(mr_recorder_plan_parameter, "cpu-throttle-tailslow=1",
		       "cpu-throttle-tailslow: expected on or off, found 1");
}

static void expect_guest(const char *name, const char *text, const char *expected)
{
	struct mr_guest_parameters parameters;
	char error[MR_GUEST_LINE] = "";

	mr_guest_parameters_default(&parameters);
	assert_int_equal(mr_guest_set(&parameters, name, text, error), expected == NULL);
	if (expected)
		assert_string_equal(error, expected);
}

static void test_guest(void **state)
{
	struct mr_guest_parameters parameters;
	char error[MR_GUEST_LINE] = "", long_text[400];

	(void)state;
	mr_guest_parameters_default(&parameters);
	assert_true(mr_guest_set(&parameters, "vcpu", "3:bursts,burst=0x10,pause=4294967295", error));
	assert_int_equal(parameters.vcpu[3].kind, MR_PATTERN_BURSTS);
	assert_int_equal(parameters.vcpu[3].burst, 16);
	assert_int_equal(parameters.vcpu[3].pause, UINT32_MAX);
	assert_int_equal(parameters.vcpu[2].kind, parameters.vcpu[4].kind);
	assert_true(mr_guest_set(&parameters, "shares", "1000,0,0,0", error));
	assert_int_equal(parameters.shares[0], 1000);
	assert_int_equal(parameters.shares[3], 0);
	assert_true(mr_guest_set(&parameters, "filled", "7", error));
	assert_int_equal(parameters.filled, 7);
	assert_int_equal(parameters.reserved[0], 0);
	expect_guest("speed", "1", "no parameter of the guest is called speed");
	expect_guest("filled", "1001", "filled: expected a number up to 1000, found 1001");
	expect_guest("seed", "-1", "seed: expected a number up to 18446744073709551615, found -1");
	expect_guest("seed", "", "seed: expected a number up to 18446744073709551615, found ");
	expect_guest("shares", "1000,0,0", "shares: expected 4 numbers, found 3");
	expect_guest("shares", "1000,0,0,0,0", "shares: expected 4 numbers, found more");
	expect_guest("shares", "1000,,0,0", "shares: expected a number up to 1000, found ");
	expect_guest("vcpu", "1:idle,pause=4294967296", "pause: expected a number up to 4294967295, found 4294967296");
	expect_guest("vcpu", ":idle", "vcpu: expected a number up to 15, found ");
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	long_text[1] = ':';
	assert_false(mr_guest_set(&parameters, "vcpu", long_text, error));
}

static void test_no_preset(void **state)
{
	struct mr_recorder_plan plan;
	char error[MR_RECORDER_LINE] = "";

	(void)state;
	assert_false(mr_recorder_plan_init(&plan, "postcpy", error));
	assert_string_equal(error, "no preset is called postcpy; --list-presets shows what there is");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_presets),  cmocka_unit_test(test_releases), cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_settings), cmocka_unit_test(test_guest),    cmocka_unit_test(test_no_preset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
