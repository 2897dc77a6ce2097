/* test_profile.c: the table of release families: releases, switches at their borders, machine types, properties. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "migref.h"

static const char *const releases[] = {
	"2.5", "2.6", "2.7", "2.8", "2.9", "2.10", "2.11", "2.12", "3.0",  "3.1",  "4.0",
	"4.1", "4.2", "5.0", "5.1", "5.2", "6.0",  "6.1",  "6.2",  "7.0",  "7.1",  "7.2",
	"8.0", "8.1", "8.2", "9.0", "9.1", "9.2",  "10.0", "10.1", "10.2", "11.0", "11.1",
};

enum { RELEASES = sizeof(releases) / sizeof(releases[0]) };

static bool release_does(const char *release, enum mr_switch which)
{
	struct mr_profile profile;

	assert_int_equal(mr_profile_init(&profile, release), 0);
	assert_true(profile.known);
	assert_int_equal(mr_profile_may(&profile, which), mr_profile_does(&profile, which));
	return mr_profile_does(&profile, which);
}

/* What a machine type makes of a switch in a release. */
static bool machine_does(const char *release, const char *machine, enum mr_switch which)
{
	struct mr_profile profile;

	assert_int_equal(mr_profile_init(&profile, release), 0);
	mr_profile_apply_machine(&profile, machine);
	return mr_profile_does(&profile, which);
}

/* True if exactly the releases from `since` to `until` have the switch on. */
static bool exactly(enum mr_switch which, const char *since, const char *until)
{
	bool inside = false;

	for (size_t i = 0; i < RELEASES; i++) {
		inside = inside || strcmp(releases[i], since) == 0;
		if (release_does(releases[i], which) != inside) {
			print_error("%s in %s\n", mr_profile_row(which)->name, releases[i]);
			return false;
		}
		inside = inside && strcmp(releases[i], until) != 0;
	}
	return true;
}

static void releases_known(void **state)
{
	struct mr_profile profile;

	(void)state;
	for (size_t i = 0; i < RELEASES; i++) {
		char text[32];

		assert_int_equal(mr_profile_init(&profile, releases[i]), 0);
		assert_string_equal(profile.release, releases[i]);
		(void)snprintf(text, sizeof(text), "%s.22", releases[i]);
		assert_int_equal(mr_profile_init(&profile, text), 0);
		assert_string_equal(profile.release, releases[i]);
		(void)snprintf(text, sizeof(text), "%s.0-rc2", releases[i]);
		assert_int_equal(mr_profile_init(&profile, text), 0);
		assert_string_equal(profile.release, releases[i]);
		/* candidates count as what they lead to */
		(void)snprintf(text, sizeof(text), "%s.9%zu", releases[i], i % 10);
		assert_int_equal(mr_profile_init(&profile, text), i + 1 < RELEASES ? 0 : -1);
		assert_string_equal(profile.release, i + 1 < RELEASES ? releases[i + 1] : "");
		(void)snprintf(text, sizeof(text), "%s.89", releases[i]);
		assert_int_equal(mr_profile_init(&profile, text), 0);
		assert_string_equal(profile.release, releases[i]);
	}
}

static void releases_unknown(void **state)
{
	static const char *const unknown[] = {
		"",     "7",    "7.",      "7.2.",    ".2",      "7.2x",         "7.2.x",        "v7.2",   "2.4",
		"2.13", "3.2",  "11.2",    "12.0",    "1.7",     "0.12",         "7.2.22.1",     " 7.2",   "7.2 ",
		"7.3",  "-7.2", "07.2.1x", "7.2-hpb", "11.1.90", "4294967303.2", "7.4294967298", "1000.0", "7.2.1000",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		struct mr_profile profile;

		memset(&profile, 0xff, sizeof(profile));
		assert_int_equal(mr_profile_init(&profile, unknown[i]), -1);
		assert_false(profile.known);
		assert_string_equal(profile.release, "");
		for (unsigned which = 0; which < MR_SWITCH_COUNT; which++) {
			assert_true(mr_profile_may(&profile, which));
			assert_false(mr_profile_does(&profile, which));
		}
	}
}

static bool is_release(const char *text)
{
	for (size_t i = 0; i < RELEASES; i++) {
		if (strcmp(releases[i], text) == 0)
			return true;
	}
	return *text == '\0';
}

/* Each row is complete, has a name of its own, and means what it says for every release. */
static void rows(void **state)
{
	(void)state;
	for (unsigned which = 0; which < MR_SWITCH_COUNT; which++) {
		const struct mr_switch_row *row = mr_profile_row(which);

		assert_true(is_release(row->since) && is_release(row->until));
		assert_true(strlen(row->name) > 0 && strlen(row->text) > 0);
		for (unsigned other = 0; other < which; other++)
			assert_string_not_equal(row->name, mr_profile_row(other)->name);
		assert_true(exactly(which, *row->since != '\0' ? row->since : "2.5",
				    *row->until != '\0' ? row->until : "11.1"));
		/* a property that a row names exists */
		if (*row->property != '\0') {
			struct mr_profile unknown = {.known = false};

			assert_int_equal(mr_profile_set_property(&unknown, row->property, true), 0);
			assert_true(unknown.on[which]);
		}
	}
	assert_null(mr_profile_row(MR_SWITCH_COUNT));
}

/* Some rows said once more, so that a slip in the table shows. */
static void borders(void **state)
{
	(void)state;
	assert_true(exactly(MR_SWITCH_POSTCOPY, "2.5", "11.1"));
	assert_true(exactly(MR_SWITCH_COMMAND_ENABLE_COLO, "3.1", "10.2"));
	assert_true(exactly(MR_SWITCH_COMMAND_SWITCHOVER_START, "10.0", "11.1"));
	assert_true(exactly(MR_SWITCH_PING_PACKAGE_LOADED, "10.2", "11.1"));
	assert_true(exactly(MR_SWITCH_RETURN_SWITCHOVER_ACK, "8.1", "11.1"));
	assert_true(exactly(MR_SWITCH_COMPRESSED_PAGES, "2.5", "9.0"));
	assert_true(exactly(MR_SWITCH_ZERO_FILL_ANY, "2.5", "8.1"));
	assert_true(exactly(MR_SWITCH_FLUSH_RECORD, "8.1", "11.1"));
	assert_true(exactly(MR_SWITCH_FLUSH_EACH_SECTION, "2.5", "8.0"));
	assert_true(exactly(MR_SWITCH_FLUSH_WITHOUT_MULTIFD, "8.1", "8.1"));
	assert_true(exactly(MR_SWITCH_PACKET_SIZE_STALE, "5.0", "8.1"));
	assert_true(exactly(MR_SWITCH_PACKET_LEFTOVERS, "2.5", "9.1"));
	assert_true(exactly(MR_SWITCH_PREEMPT_EARLY, "7.1", "7.2"));
	assert_true(exactly(MR_SWITCH_BLOCK_IGNORED_BYTE, "4.0", "4.0"));
	assert_true(exactly(MR_SWITCH_DISCARD_EMPTY_RANGES, "2.5", "2.6"));
	assert_true(exactly(MR_SWITCH_ADVISE_EMPTY, "2.11", "11.1"));
	assert_true(exactly(MR_SWITCH_PACKAGE_LIMIT_16M, "2.5", "2.11"));
}

static void machine_types(void **state)
{
	(void)state;
	/* the threshold itself, one above, far below */
	assert_true(machine_does("11.1", "pc-i440fx-8.0", MR_SWITCH_FLUSH_EACH_SECTION));
	assert_false(machine_does("11.1", "pc-i440fx-8.1", MR_SWITCH_FLUSH_EACH_SECTION));
	assert_true(machine_does("11.1", "pc-q35-4.0.1", MR_SWITCH_FLUSH_EACH_SECTION));
	assert_true(machine_does("8.1", "pc-i440fx-2.12", MR_SWITCH_FLUSH_EACH_SECTION));
	assert_false(machine_does("11.1", "virt-10.1", MR_SWITCH_FLUSH_EACH_SECTION));
	assert_true(machine_does("11.1", "pc-q35-7.2", MR_SWITCH_PREEMPT_EARLY));
	assert_false(machine_does("11.1", "pc-q35-8.0", MR_SWITCH_PREEMPT_EARLY));
	assert_false(machine_does("10.0", "pc-q35-9.2", MR_SWITCH_COMMAND_SWITCHOVER_START));
	assert_true(machine_does("10.0", "pc-q35-10.0", MR_SWITCH_COMMAND_SWITCHOVER_START));
	assert_false(machine_does("9.0", "pc-q35-8.2", MR_SWITCH_ZERO_PAGES_ON_MULTIFD));
	assert_true(machine_does("9.0", "pc-q35-8.2", MR_SWITCH_PACKET_ZERO_PAGES));
	assert_true(machine_does("11.1", "pc-q35-11.0", MR_SWITCH_SWITCHOVER_ACK_ONCE));
	assert_false(machine_does("11.1", "pc-q35-11.1", MR_SWITCH_SWITCHOVER_ACK_ONCE));
	assert_false(machine_does("7.2", "pc-i440fx-2.3", MR_SWITCH_SEND_SECTION_FOOTER));
	assert_true(machine_does("7.2", "pc-i440fx-2.4", MR_SWITCH_SEND_SECTION_FOOTER));
	assert_false(machine_does("2.6", "pc-1.3", MR_SWITCH_SEND_CONFIGURATION));
	/* 2.10 is younger than 2.3 */
	assert_true(machine_does("7.2", "pc-i440fx-2.10", MR_SWITCH_SEND_CONFIGURATION));
	/* a release without the property does what it always did */
	assert_true(machine_does("7.2", "pc-i440fx-8.1", MR_SWITCH_FLUSH_EACH_SECTION));
	assert_false(machine_does("6.2", "pc-i440fx-6.2", MR_SWITCH_PREEMPT_EARLY));
	assert_true(machine_does("7.2", "pc-i440fx-7.2", MR_SWITCH_PREEMPT_EARLY));
	assert_false(machine_does("9.1", "pc-i440fx-2.12", MR_SWITCH_COMPRESSED_CHECKED));
	/* no machine type changes this one */
	assert_true(machine_does("7.2", "pc-i440fx-2.1", MR_SWITCH_PREEMPT_BREAK_HUGE));
}

static void machine_types_without_version(void **state)
{
	static const char *const names[] = {
		"",
		"-",
		"pc",
		"q35",
		"microvm",
		"pc-q35-rhel7.6.0",
		"pc-i440fx-",
		"pc-i440fx-7",
		"virt-7.2-",
		"pc-i440fx-7.2x",
		"pc-i440fx-jammy",
		"pc-q35-7.2-hpb",
		"x-4294967296.2",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct mr_profile plain, changed;

		assert_int_equal(mr_profile_init(&plain, "11.1"), 0);
		assert_int_equal(mr_profile_init(&changed, "11.1"), 0);
		mr_profile_apply_machine(&changed, names[i]);
		assert_memory_equal(plain.on, changed.on, sizeof(plain.on));
	}
}

static void set_property(void **state)
{
	struct mr_profile profile;

	(void)state;
	assert_int_equal(mr_profile_init(&profile, "11.1"), 0);
	assert_int_equal(mr_profile_set_property(&profile, "multifd-flush-after-each-section", true), 0);
	assert_true(mr_profile_does(&profile, MR_SWITCH_FLUSH_EACH_SECTION));
	assert_int_equal(mr_profile_set_property(&profile, "multifd-flush-after-each-section", false), 0);
	assert_false(mr_profile_does(&profile, MR_SWITCH_FLUSH_EACH_SECTION));
	assert_int_equal(mr_profile_set_property(&profile, "send-switchover-start", false), 0);
	assert_false(mr_profile_may(&profile, MR_SWITCH_COMMAND_SWITCHOVER_START));
	/* no such property, or not in this release */
	assert_int_equal(mr_profile_set_property(&profile, "no-such-thing", true), -1);
	assert_int_equal(mr_profile_set_property(&profile, "", true), -1);
	assert_int_equal(mr_profile_set_property(&profile, "decompress-error-check", true), -1);
	assert_int_equal(mr_profile_init(&profile, "7.2"), 0);
	assert_int_equal(mr_profile_set_property(&profile, "multifd-flush-after-each-section", false), -1);
	assert_true(mr_profile_does(&profile, MR_SWITCH_FLUSH_EACH_SECTION));
}

static void capabilities(void **state)
{
	(void)state;
	assert_int_equal(mr_capability_by_name("postcopy-ram"), MR_CAPABILITY_POSTCOPY_RAM);
	assert_int_equal(mr_capability_by_name("x-ignore-shared"), MR_CAPABILITY_IGNORE_SHARED);
	assert_int_equal(mr_capability_by_name("validate-uuid"), MR_CAPABILITY_VALIDATE_UUID);
	assert_int_equal(mr_capability_by_name("x-colo"), MR_CAPABILITY_COLO);
	assert_int_equal(mr_capability_by_name("events"), 0);
	assert_int_equal(mr_capability_by_name(""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(releases_known), cmocka_unit_test(releases_unknown),
		cmocka_unit_test(rows),           cmocka_unit_test(borders),
		cmocka_unit_test(machine_types),  cmocka_unit_test(machine_types_without_version),
		cmocka_unit_test(set_property),   cmocka_unit_test(capabilities),
	};

	return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
