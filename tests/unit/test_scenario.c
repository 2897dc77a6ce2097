/* test_scenario.c: scenarios without any file: the table of keys, defaults, copies, releases, and what cannot be. */
#include "scenario_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/record/source_log.h"

/* ---- The table ---- */

static void each_key(void (*visit)(enum mr_scenario_section_number section, const struct mr_scenario_key *key))
{
	for (unsigned i = 0; i < MR_SECTION_COUNT; i++)
		for (unsigned k = 0; k < mr_scenario_sections[i].key_count; k++)
			visit(i, &mr_scenario_sections[i].keys[k]);
}

/* Keys that go by others have no value to look at without them. */
static bool goes_by_others(const struct mr_scenario_key *key)
{
	return key->kind == MR_KEY_BLOCK || key->kind == MR_KEY_PAGES || *key->otherwise == '\0';
}

static void check_default(enum mr_scenario_section_number section, const struct mr_scenario_key *key)
{
	static union {
		struct mr_scenario scenario;
		char bytes[sizeof(struct mr_scenario)];
	} element;
	char text[MR_KEY_TEXT_MAX];

	memset(&element, 0, sizeof(element));
	assert_int_equal(mr_scenario_key_find(section, key->name) == key, 1);
	if (!key->otherwise || goes_by_others(key))
		return;
	if (!mr_key_read(key, &element, key->otherwise))
		fail_msg("[%s] %s: its default is not a value", mr_scenario_sections[section].name, key->name);
	assert_true(mr_key_is_possible(key, &element));
	mr_key_format(key, &element.scenario, &element, text);
	assert_string_equal(text, key->otherwise);
}

static void defaults_are_values(void **state)
{
	(void)state;
	each_key(check_default);
}

static void check_size(enum mr_scenario_section_number section, const struct mr_scenario_key *key)
{
	const bool is_text = key->kind == MR_KEY_NAME || key->kind == MR_KEY_FILE || key->kind == MR_KEY_SHARES;

	assert_true(key->offset + key->size <= mr_scenario_sections[section].size);
	assert_true(is_text || key->size == 1 || key->size == 2 || key->size == 4 || key->size == 8);
	assert_true(!is_text || key->kind == MR_KEY_SHARES || key->maximum < key->size);
	assert_true(key->kind != MR_KEY_WORD || key->words);
}

static void fields_are_where_the_table_says(void **state)
{
	(void)state;
	each_key(check_size);
	for (unsigned i = 0; i < MR_SECTION_COUNT; i++) {
		assert_true(mr_scenario_sections[i].key_count <= MR_SCENARIO_KEYS_MAX);
		assert_true(mr_scenario_sections[i].most <= MR_SCENARIO_ELEMENTS_MAX);
	}
}

static const char *word(enum mr_scenario_section_number section, const char *name, uint64_t value)
{
	const struct mr_key_word *words = mr_scenario_key_find(section, name)->words;

	while (words->text && words->value != value)
		words++;
	return words->text;
}

static void words_are_the_names_of_elsewhere(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MR_PATTERN_KIND_COUNT; i++)
		assert_string_equal(word(MR_SECTION_WORKLOAD, "pattern", i), mr_pattern_name(i));
	for (unsigned i = 0; i < MR_FAULT_KIND_COUNT; i++)
		assert_string_equal(word(MR_SECTION_FAULT, "kind", i), mr_fault_kind_name(i));
	for (unsigned i = 0; i < MR_OPERATION_KIND_COUNT; i++)
		assert_string_equal(word(MR_SECTION_OPERATOR, "command", i), mr_operation_kind_name(i));
	for (unsigned i = 0; i < MR_CHOICE_COUNT; i++)
		assert_string_equal(mr_scenario_sections[MR_SECTION_CHOICES].keys[i].name, mr_choice_name(i));
	assert_null(mr_fault_kind_name(MR_FAULT_KIND_COUNT));
	assert_null(mr_operation_kind_name(MR_OPERATION_KIND_COUNT));
	assert_string_equal(mr_fault_kind_name(MR_FAULT_CUT_ALL), "cut-all");
	assert_string_equal(mr_operation_kind_name(MR_OPERATION_START_POSTCOPY), "start-postcopy");
}

/* ---- Values ---- */

static void takes(enum mr_scenario_section_number section, const char *name, const char *text, uint64_t value)
{
	static struct mr_scenario element;
	const struct mr_scenario_key *key = mr_scenario_key_find(section, name);

	assert_non_null(key);
	if (!mr_key_read(key, &element, text))
		fail_msg("%s = %s: refused", name, text);
	assert_int_equal(mr_key_get(key, &element), value);
}

static void refuses(enum mr_scenario_section_number section, const char *name, const char *text)
{
	static struct mr_scenario element;
	const struct mr_scenario_key *key = mr_scenario_key_find(section, name);

	assert_non_null(key);
	mr_key_set(key, &element, 77);
	if (mr_key_read(key, &element, text))
		fail_msg("%s = %s: taken", name, text);
	assert_int_equal(mr_key_get(key, &element), 77);
}

static void sizes(void **state)
{
	(void)state;
	takes(MR_SECTION_BLOCK, "size", "4096", 4096);
	takes(MR_SECTION_BLOCK, "size", "4K", 4096);
	takes(MR_SECTION_BLOCK, "size", "4 KiB", 4096);
	takes(MR_SECTION_BLOCK, "size", "3M", 3 << 20);
	takes(MR_SECTION_BLOCK, "size", "8G", UINT64_C(8) << 30);
	takes(MR_SECTION_BLOCK, "size", "1T", UINT64_C(1) << 40);
	takes(MR_SECTION_BLOCK, "size", "1024TiB", UINT64_C(1) << 50);
	refuses(MR_SECTION_BLOCK, "size", "1025T");
	refuses(MR_SECTION_BLOCK, "size", "18446744073709551616");
	refuses(MR_SECTION_BLOCK, "size", "18446744073709551615T");
	refuses(MR_SECTION_BLOCK, "size", "4k");
	refuses(MR_SECTION_BLOCK, "size", "-4K");
	refuses(MR_SECTION_BLOCK, "size", "+4K");
	refuses(MR_SECTION_BLOCK, "size", "0x1000");
	refuses(MR_SECTION_BLOCK, "size", "1.5M");
	refuses(MR_SECTION_BLOCK, "size", "4K x");
	refuses(MR_SECTION_BLOCK, "size", "");
	takes(MR_SECTION_BLOCK, "page-size", "host", 0);
}

static void times(void **state)
{
	(void)state;
	takes(MR_SECTION_LINK, "latency", "800ns", 800);
	takes(MR_SECTION_LINK, "latency", "50us", 50000);
	takes(MR_SECTION_LINK, "latency", "20 ms", 20000000);
	takes(MR_SECTION_LINK, "latency", "10s", UINT64_C(10000000000));
	takes(MR_SECTION_LINK, "latency", "0", 0);
	refuses(MR_SECTION_LINK, "latency", "11s");
	refuses(MR_SECTION_LINK, "latency", "50");
	refuses(MR_SECTION_LINK, "latency", "50K");
	takes(MR_SECTION_MIGRATION, "downtime-limit", "300ms", 300);
	takes(MR_SECTION_MIGRATION, "downtime-limit", "2s", 2000);
	refuses(MR_SECTION_MIGRATION, "downtime-limit", "1500us");
	refuses(MR_SECTION_MIGRATION, "downtime-limit", "0ms");
	takes(MR_SECTION_MIGRATION, "switch-after", "never", UINT64_MAX);
	refuses(MR_SECTION_MIGRATION, "switch-after", "always");
}

static void bandwidths(void **state)
{
	(void)state;
	takes(MR_SECTION_LINK, "bandwidth", "10Gbit", 1250000000);
	takes(MR_SECTION_LINK, "bandwidth", "100Mbit", 12500000);
	takes(MR_SECTION_LINK, "bandwidth", "56Kbit", 7000);
	takes(MR_SECTION_LINK, "bandwidth", "32MiB", 32 << 20);
	takes(MR_SECTION_LINK, "bandwidth", "64KiB", 64 << 10);
	takes(MR_SECTION_LINK, "bandwidth", "1000", 1000);
	refuses(MR_SECTION_LINK, "bandwidth", "0");
	refuses(MR_SECTION_LINK, "bandwidth", "32M");
	refuses(MR_SECTION_LINK, "bandwidth", "1025GiB");
	takes(MR_SECTION_MIGRATION, "max-bandwidth", "unlimited", UINT64_MAX);
	takes(MR_SECTION_MIGRATION, "max-bandwidth", "release", 0);
	takes(MR_SECTION_MIGRATION, "max-postcopy-bandwidth", "unlimited", 0);
}

static void lists(void **state)
{
	static struct mr_scenario scenario;
	struct mr_scenario_migration *migration = &scenario.migration;
	const struct mr_scenario_key *shares = mr_scenario_key_find(MR_SECTION_GUEST, "contents");
	const struct mr_scenario_key *capabilities = mr_scenario_key_find(MR_SECTION_MIGRATION, "capabilities");
	static const char *const bad_shares[] = {"zero:1001",         "zero:500",          "zero:500 zero:500",  "zero",
						 "nothing:1000",      "zero:1000x",        "zero:1000 random:1", "",
						 "zero:500,text:501", "zero:500random:500"};
	static const char *const bad_capabilities[] = {
		"mapped-ram",
		"compress",
		"x-colo",
		"rdma",
		"rdma-pin-all",
		"dirty-bitmaps",
		"background-snapshot",
		"multifd multifd",
		"release-ram,release-ram",
		"none, xbzrle",
		"postcopy-ram;",
		"no-such-capability-has-a-name-that-is-longer-than-any-of-those-in-use"};

	(void)state;
	assert_true(mr_key_read(shares, &scenario.guest, "random:700, zero:300"));
	assert_int_equal(scenario.guest.shares[MR_CONTENT_ZERO], 300);
	assert_int_equal(scenario.guest.shares[MR_CONTENT_TEXT], 0);
	assert_int_equal(scenario.guest.shares[MR_CONTENT_RANDOM], 700);
	for (unsigned i = 0; i < sizeof(bad_shares) / sizeof(bad_shares[0]); i++)
		assert_false(mr_key_read(shares, &scenario.guest, bad_shares[i]));
	assert_true(mr_key_read(capabilities, migration, "multifd,release-ram  auto-converge, postcopy-blocktime"));
	assert_int_equal(migration->capabilities, MR_CAPABILITY_MULTIFD);
	assert_true(migration->release_ram && migration->auto_converge && migration->blocktime);
	assert_false(migration->pause_before_switchover);
	for (unsigned i = 0; i < sizeof(bad_capabilities) / sizeof(bad_capabilities[0]); i++)
		assert_false(mr_key_read(capabilities, migration, bad_capabilities[i]));
	assert_int_equal(migration->capabilities, MR_CAPABILITY_MULTIFD);
	assert_true(mr_key_read(capabilities, migration, "none"));
	assert_int_equal(migration->capabilities, 0);
	assert_false(migration->release_ram || migration->auto_converge || migration->blocktime);
}

static void moments_and_ranges(void **state)
{
	static struct mr_scenario scenario;
	struct mr_scenario_fault *fault = &scenario.faults[0];
	struct mr_scenario_workload *workload = &scenario.workloads[0];
	const struct mr_scenario_key *at = mr_scenario_key_find(MR_SECTION_FAULT, "at");
	const struct mr_scenario_key *of_operator = mr_scenario_key_find(MR_SECTION_OPERATOR, "at");
	const struct mr_scenario_key *vcpus = mr_scenario_key_find(MR_SECTION_WORKLOAD, "vcpus");
	static const char *const bad[] = {"70000",    "switch - 3ms", "switch 3ms", "byte",
					  "byte 5ms", "bytes 5",      "5",          ""};
	static const char *const bad_vcpus[] = {"3-1", "256", "0-256", "1-", "-1", "a", "1,2", ""};

	(void)state;
	assert_true(mr_key_read(at, fault, "switch + 3ms"));
	assert_int_equal(fault->trigger, MR_TRIGGER_SWITCH);
	assert_int_equal(fault->at, 3000000);
	assert_true(mr_key_read(at, fault, "byte 64K"));
	assert_int_equal(fault->trigger, MR_TRIGGER_BYTES);
	assert_int_equal(fault->at, 65536);
	assert_true(mr_key_read(at, fault, "switch"));
	assert_int_equal(fault->trigger, MR_TRIGGER_SWITCH);
	assert_int_equal(fault->at, 0);
	assert_true(mr_key_read(at, fault, "7us"));
	assert_int_equal(fault->trigger, MR_TRIGGER_TIME);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(mr_key_read(at, fault, bad[i]));
	assert_int_equal(fault->at, 7000);
	assert_false(mr_key_read(of_operator, &scenario.operations[0], "byte 5"));
	assert_true(mr_key_read(vcpus, workload, "3-7"));
	assert_int_equal(workload->first_vcpu, 3);
	assert_int_equal(workload->vcpu_count, 5);
	for (unsigned i = 0; i < sizeof(bad_vcpus) / sizeof(bad_vcpus[0]); i++)
		assert_false(mr_key_read(vcpus, workload, bad_vcpus[i]));
	assert_int_equal(workload->vcpu_count, 5);
}

/* ---- Defaults and copies ---- */

static void default_scenario(void **state)
{
	static struct mr_scenario scenario;
	char error[512];

	(void)state;
	mr_scenario_default(&scenario);
	assert_int_equal(mr_scenario_check(&scenario, error, sizeof(error)), 0);
	assert_int_equal(scenario.guest.vcpus, 1);
	assert_int_equal(scenario.block_count, 1);
	assert_int_equal(scenario.blocks[0].size, 16 << 20);
	assert_int_equal(scenario.workload_count + scenario.fault_count + scenario.operation_count, 0);
	assert_int_equal(scenario.link.bandwidth, 1250000000);
	assert_string_equal(scenario.migration.source, "11.1");
	assert_string_equal(scenario.migration.destination, "11.1");
	assert_int_equal(scenario.migration.capabilities, 0);
	assert_int_equal(scenario.migration.method_level, INT32_MIN);
	assert_int_equal(scenario.migration.switch_after, UINT64_MAX);
	mr_scenario_clear(&scenario);
}

static void make_trace(struct mr_scenario *scenario)
{
	struct mr_scenario_workload *workload = &scenario->workloads[0];

	scenario->workload_count = 1;
	mr_scenario_set_defaults(MR_SECTION_WORKLOAD, workload);
	strcpy(workload->name, "recorded");
	strcpy(workload->trace_file, "touches");
	workload->pattern.kind = MR_PATTERN_TRACE;
	scenario->traces[0] = calloc(2, sizeof(struct mr_touch));
	assert_non_null(scenario->traces[0]);
	scenario->traces[0][1] = (struct mr_touch){.page = 9, .write = true, .pauses = 3};
	workload->pattern.trace = scenario->traces[0];
	workload->pattern.trace_length = 2;
	mr_scenario_imply(scenario, MR_SECTION_WORKLOAD, workload);
}

static void copies_have_traces_of_their_own(void **state)
{
	static struct mr_scenario scenario, copy;
	char error[512];

	(void)state;
	mr_scenario_default(&scenario);
	make_trace(&scenario);
	assert_int_equal(mr_scenario_check(&scenario, error, sizeof(error)), 0);
	assert_int_equal(mr_scenario_copy(&copy, &scenario), 0);
	assert_ptr_not_equal(copy.traces[0], scenario.traces[0]);
	expect_same_scenario(&scenario, &copy);
	assert_int_equal(copy.workloads[0].pattern.trace[1].page, 9);
	mr_scenario_clear(&scenario);
	assert_int_equal(copy.workloads[0].pattern.trace[1].pauses, 3);
	assert_null(scenario.workloads[0].pattern.trace);
	mr_scenario_clear(&copy);
}

static void profiles_by_the_older_machine(void **state)
{
	static struct mr_scenario scenario;
	struct mr_profile source, destination;

	(void)state;
	mr_scenario_default(&scenario);
	strcpy(scenario.migration.source, "11.1");
	strcpy(scenario.migration.destination, "7.2");
	mr_scenario_profiles(&scenario, &source, &destination);
	assert_string_equal(source.release, "11.1");
	assert_string_equal(destination.release, "7.2");
	assert_true(mr_profile_does(&source, MR_SWITCH_FLUSH_EACH_SECTION));
	strcpy(scenario.migration.machine, "pc-i440fx-11.1");
	mr_scenario_profiles(&scenario, &source, &destination);
	assert_false(mr_profile_does(&source, MR_SWITCH_FLUSH_EACH_SECTION));
	strcpy(scenario.migration.machine, "");
	strcpy(scenario.migration.source, "7.2");
	strcpy(scenario.migration.destination, "11.1");
	mr_scenario_profiles(&scenario, &source, &destination);
	assert_true(mr_profile_does(&destination, MR_SWITCH_FLUSH_EACH_SECTION));
}

/* ---- What was made and cannot be ---- */

static void expect_refused(struct mr_scenario *scenario, const char *line)
{
	char error[512] = "";

	assert_int_equal(mr_scenario_check(scenario, error, sizeof(error)), -1);
	assert_string_equal(error, line);
	mr_scenario_clear(scenario);
	mr_scenario_default(scenario);
}

static void made_ones_are_checked(void **state)
{
	static struct mr_scenario scenario;

	(void)state;
	mr_scenario_default(&scenario);
	scenario.block_count = 0;
	expect_refused(&scenario, "[block]: expected a section [block NAME], found none");
	scenario.block_count = 17;
	expect_refused(&scenario, "[block mem]: expected at most 16 sections [block NAME], found 17");
	strcpy(scenario.blocks[0].name, "a b");
	expect_refused(&scenario,
		       "[block a b]: expected a name of 1 to 40 characters without blank, ] and ;, found \"a b\"");
	scenario.blocks[scenario.block_count++] = scenario.blocks[0];
	expect_refused(&scenario, "[block mem]: expected [block mem] once, found two of them");
	scenario.blocks[0].size = 5000;
	expect_refused(&scenario, "[block mem]: expected size: a multiple of the block's page-size = 4096, found 5000");
	scenario.migration.capabilities = MR_CAPABILITY_MAPPED_RAM;
	expect_refused(&scenario,
		       "[migration]: expected capabilities: capabilities that can be simulated, each once, or "
		       "none, found mapped-ram");
	scenario.migration.zero_detection = 9;
	expect_refused(&scenario,
		       "[migration]: expected zero-page-detection: release, none, legacy or multifd, found 9");
	scenario.link.bandwidth = 0;
	expect_refused(&scenario, "[link]: expected bandwidth: a bandwidth from 1 to 1024GiB, found 0");
	scenario.guest.shares[0]++;
	expect_refused(&scenario,
		       "[guest]: expected contents: shares as zero:300 random:700, 1000 in all, found zero:101 "
		       "constant:100 text:400 random:400");
	memset(scenario.migration.source, 'a', sizeof(scenario.migration.source));
	assert_int_equal(mr_scenario_check(&scenario, (char[512]){0}, 512), -1);
	mr_scenario_default(&scenario);
	make_trace(&scenario);
	scenario.traces[0][0].page = 4096;
	expect_refused(&scenario, "[workload recorded]: expected trace: pages below 4096, found page 4096");
}

static void add_fault(struct mr_scenario *scenario)
{
	struct mr_scenario_fault *fault = &scenario->faults[scenario->fault_count++];

	mr_scenario_set_defaults(MR_SECTION_FAULT, fault);
	strcpy(fault->name, "f");
}

static void made_faults_are_checked(void **state)
{
	static struct mr_scenario scenario;
	struct mr_scenario_fault *fault = &scenario.faults[0];

	(void)state;
	mr_scenario_default(&scenario);
	add_fault(&scenario);
	fault->trigger = MR_TRIGGER_COUNT;
	expect_refused(&scenario, "[fault f]: expected at: a moment with kind = cut, found a count");
	add_fault(&scenario);
	fault->trigger = (enum mr_fault_trigger)9;
	expect_refused(&scenario,
		       "[fault f]: expected at: a moment as 20ms, switch + 3ms or byte 70000, found trigger 9");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_values),
		cmocka_unit_test(fields_are_where_the_table_says),
		cmocka_unit_test(words_are_the_names_of_elsewhere),
		cmocka_unit_test(sizes),
		cmocka_unit_test(times),
		cmocka_unit_test(bandwidths),
		cmocka_unit_test(lists),
		cmocka_unit_test(moments_and_ranges),
		cmocka_unit_test(default_scenario),
		cmocka_unit_test(copies_have_traces_of_their_own),
		cmocka_unit_test(profiles_by_the_older_machine),
		cmocka_unit_test(made_ones_are_checked),
		cmocka_unit_test(made_faults_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
