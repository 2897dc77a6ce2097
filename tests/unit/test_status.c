/*
 * test_status.c: each change of a migration's status is a row of the table for its release: those of the machine, and
 * those of both sides of every recording; events, the first error, blockers, and pages that do not inflate.
 */
#include "machine_support.h"

#include <dirent.h>
#include <stdio.h>

#include "sim/record/recording.h"
#include "status.h"

static const char *const releases[] = {
	"2.5", "2.6", "2.7", "2.8", "2.9", "2.10", "2.11", "2.12", "3.0",  "3.1",  "4.0",
	"4.1", "4.2", "5.0", "5.1", "5.2", "6.0",  "6.1",  "6.2",  "7.0",  "7.1",  "7.2",
	"8.0", "8.1", "8.2", "9.0", "9.1", "9.2",  "10.0", "10.1", "10.2", "11.0", "11.1",
};

enum { RELEASES = sizeof(releases) / sizeof(releases[0]) };

/* ---- The table ---- */

static bool may_change(const char *release, enum mr_side side, const char *from, const char *to)
{
	struct mr_profile profile;

	assert_int_equal(mr_profile_init(&profile, release), 0);
	return mr_status_may_change(&profile, side, from, to);
}

/* Every status but `none` is entered, and every one but the last can be left, in each release that knows the row. */
static void table_is_connected(void **state)
{
	const struct mr_profile unknown = {.known = false};
	const struct mr_status_row *row;
	unsigned count = 0;

	(void)state;
	for (; (row = mr_status_row(count)); count++) {
		bool entered = strcmp(row->from, "none") == 0;

		assert_string_not_equal(row->from, row->to);
		assert_true(mr_status_may_change(&unknown, row->side, row->from, row->to));
		for (unsigned i = 0; mr_status_row(i) && !entered; i++)
			entered = mr_status_row(i)->side == row->side && strcmp(mr_status_row(i)->to, row->from) == 0;
		assert_true(entered);
	}
	assert_true(count > 50);
}

/* keeps STA-002, breaks STA-002: the switch to postcopy by release */
static void source_by_release(void **state)
{
	(void)state;
	assert_true(may_change("9.2", MR_SIDE_SOURCE, "active", "postcopy-active"));
	assert_false(may_change("10.0", MR_SIDE_SOURCE, "active", "postcopy-active"));
	assert_true(may_change("10.0", MR_SIDE_SOURCE, "device", "postcopy-active"));
	assert_false(may_change("10.1", MR_SIDE_SOURCE, "device", "postcopy-device"));
	assert_true(may_change("10.2", MR_SIDE_SOURCE, "device", "postcopy-device"));
	assert_true(may_change("9.0", MR_SIDE_SOURCE, "postcopy-paused", "postcopy-recover"));
	assert_false(may_change("9.1", MR_SIDE_SOURCE, "postcopy-paused", "postcopy-recover"));
	assert_false(may_change("11.0", MR_SIDE_SOURCE, "active", "failed"));
	assert_false(may_change("7.2", MR_SIDE_SOURCE, "none", "active"));
	assert_false(may_change("7.2", MR_SIDE_SOURCE, "active", "no-such-status"));
}

/* ---- The machine ---- */

/* Every change that the machine told is a row of the destination's table. */
static unsigned check_statuses(const struct world *world, const char *release)
{
	char from[MR_STATUS_TEXT_MAX] = "none", to[MR_STATUS_TEXT_MAX];
	char *text = calloc(1, world->text.length + 1);
	unsigned count = 0;

	assert_non_null(text);
	if (world->text.length)
		memcpy(text, world->text.bytes, world->text.length);
	for (const char *line = text; *line; line += strcspn(line, "\n") + 1) {
		if (sscanf(line, "%*s status %31s", to) != 1)
			continue;
		if (!may_change(release, MR_SIDE_DESTINATION, from, to))
			fail_msg("%s: %s to %s is no row of the table", release, from, to);
		memcpy(from, to, sizeof(to));
		count++;
	}
	free(text);
	return count;
}

static void precopy(const char *release, bool strict)
{
	const struct setup setup = {.release = release, .strict = strict};
	struct world *world = world_new(&setup);
	struct build *build = &world->connections[0].bytes;

	put_begin(build);
	put_block_list(world, build);
	put_page_section(build, "mem", 0, 1);
	put_end(build);
	world_show(world, 0, SIZE_MAX);
	world_end(world, 0, 0);
	world_run(world);
	assert_int_equal(check_statuses(world, release), world_said(world, "main status setup") + 2);
	expect_said(world, "main status completed");
	world_free(world);
}

static void failure(const char *release, bool strict)
{
	const struct setup setup = {.release = release, .strict = strict};
	struct world *world = world_new(&setup);
	struct build *build = &world->connections[0].bytes;

	put_begin(build);
	build_u8(build, 0x55);
	world_show(world, 0, SIZE_MAX);
	world_end(world, 0, 0);
	world_run(world);
	check_statuses(world, release);
	expect_said(world, "main status failed");
	world_free(world);
}

/* Postcopy to its end, or cut, or cut and recovered, or cut twice. */
static void postcopy(const char *release, bool strict, unsigned cuts, bool return_path)
{
	const struct setup setup = {.release = release, .strict = strict, .capabilities = MR_CAPABILITY_POSTCOPY_RAM};
	struct world *world = world_new(&setup);
	struct build *build = &world->connections[0].bytes;

	if (return_path) {
		put_running(world, build);
	} else {
		put_begin(build);
		put_advise(world, build);
		put_block_list(world, build);
		build_discard(build, "mem", 0, WORLD_PAGES * PAGE);
		put_package(build);
	}
	if (cuts == 0)
		put_end(build);
	world_show(world, 0, SIZE_MAX);
	world_end(world, 0, cuts ? HOST_EIO : 0);
	world_run(world);
	for (uint32_t cut = 1; cut <= cuts && world_said(world, "listen status postcopy-paused") == cut; cut++) {
		build = &world->connections[cut].bytes;
		if (cut == cuts) {
			build_command(build, MR_COMMAND_POSTCOPY_RESUME, 0);
			put_end(build);
		}
		world_open(world, cut, MR_ROLE_RECOVERY);
		world_end(world, cut, cut < cuts ? HOST_EIO : 0);
		world_run(world);
	}
	check_statuses(world, release);
	world_free(world);
}

/* keeps STA-001: of every release, strict or not, whatever happens */
static void machine_keeps_the_table(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2 * RELEASES; i++) {
		const char *release = releases[i / 2];
		const bool strict = i % 2;

		precopy(release, strict);
		failure(release, strict);
		for (unsigned cuts = 0; cuts < 3; cuts++)
			postcopy(release, strict, cuts, true);
		postcopy(release, strict, 0, false);
	}
}

/* ---- Recordings ---- */

/* The file as one text; NULL if the recording has none. */
static char *read_text(const struct mr_recording *recording, const char *name)
{
	struct mr_input *input;
	char error[400], *text;
	size_t length;
	bool at_end;

	if (mr_recording_open_file(recording, name, &input, error, sizeof(error)) < 0)
		return NULL;
	do {
		(void)mr_input_window(input, &length, &at_end);
		assert_int_equal(at_end ? 0 : mr_input_fill(input, 2 * length + 1), 0);
	} while (!at_end);
	text = malloc(length + 1);
	assert_non_null(text);
	memcpy(text, mr_input_window(input, &length, &at_end), length);
	text[length] = '\0';
	mr_input_close(input);
	return text;
}

static unsigned check_trace(const struct mr_recording *recording, enum mr_side side)
{
	static const char event[] = "migrate_set_state new state ";
	const bool source = side == MR_SIDE_SOURCE;
	char *text = read_text(recording, source ? "src.trace" : "dst.trace");
	const char *release = source ? recording->source_qemu : recording->destination_qemu;
	char from[MR_STATUS_TEXT_MAX] = "none", to[MR_STATUS_TEXT_MAX];
	unsigned count = 0;

	for (const char *at = text; at && (at = strstr(at, event)); at += sizeof(event) - 1, count++) {
		assert_int_equal(sscanf(at + sizeof(event) - 1, "%31s", to), 1);
		if (!may_change(release, side, from, to))
			fail_msg("%s %s: %s to %s is no row of the table", recording->directory, release, from, to);
		memcpy(from, to, sizeof(to));
	}
	free(text);
	return count;
}

/* keeps STA-001, keeps STA-002: what real releases showed */
static void recordings_keep_the_table(void **state)
{
	static const char *const places[] = {"../shared/recordings", "vectors/recordings"};
	unsigned count = 0;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		DIR *directory = opendir(places[i]);
		struct dirent *entry;

		while (directory && (entry = readdir(directory))) {
			struct mr_recording *recording;
			char path[400], error[400];

			snprintf(path, sizeof(path), "%s/%.255s", places[i], entry->d_name);
			if (mr_recording_open(&recording, path, error, sizeof(error)) < 0)
				continue;
			count += check_trace(recording, MR_SIDE_SOURCE) + check_trace(recording, MR_SIDE_DESTINATION);
			mr_recording_close(recording);
		}
		if (directory)
			closedir(directory);
	}
	assert_true(count > 20);
}

/* ---- A status that is kept ---- */

/* keeps STA-003: a change is shown with the capability events; breaks STA-003: one that expects another status is none
 */
static void changes_and_events(void **state)
{
	struct mr_status_keeper keeper;
	struct mr_profile profile;
	struct mr_finding error;

	(void)state;
	assert_int_equal(mr_profile_init(&profile, "7.2"), 0);
	mr_status_init(&keeper, &profile, MR_SIDE_DESTINATION, true);
	assert_int_equal(mr_status_change(&keeper, "none", "active", &error), MR_STATUS_SHOWN);
	assert_int_equal(mr_status_change(&keeper, "none", "active", &error), MR_STATUS_KEPT);
	assert_int_equal(mr_status_change(&keeper, "postcopy-active", "completed", &error), MR_STATUS_KEPT);
	assert_string_equal(keeper.status, "active");
	/* breaks STA-001: 7.2 has no such change */
	assert_int_equal(mr_status_change(&keeper, "active", "postcopy-device", &error), MR_STATUS_REFUSED);
	assert_int_equal(error.rule, MR_STA_001);
	assert_int_equal(mr_status_change(&keeper, "active", "a-status-that-is-longer-than-any-other", &error),
			 MR_STATUS_REFUSED);
	assert_string_equal(keeper.status, "active");
	mr_status_init(&keeper, &profile, MR_SIDE_SOURCE, false);
	assert_int_equal(mr_status_change(&keeper, "none", "setup", NULL), MR_STATUS_CHANGED);
	assert_int_equal(mr_status_change(&keeper, "setup", "device", NULL), MR_STATUS_REFUSED);
	assert_int_equal(mr_status_change(&keeper, "setup", "device", &error), MR_STATUS_REFUSED);
	assert_int_equal(error.rule, MR_STA_002);
}

static void events_without_a_change(void **state)
{
	struct mr_profile profile = {.known = false};

	(void)state;
	assert_false(mr_status_shows_listening(&profile));
	assert_int_equal(mr_profile_init(&profile, "7.2"), 0);
	assert_true(mr_status_shows_listening(&profile));
	assert_true(mr_status_shows_recovering(&profile));
	assert_int_equal(mr_profile_init(&profile, "8.2"), 0);
	assert_false(mr_status_shows_listening(&profile));
	assert_false(mr_status_shows_recovering(&profile));
}

/* keeps STA-004: the first error stays; breaks STA-004: a later one is not kept, until another migration begins */
static void first_error(void **state)
{
	const struct mr_finding first = {.rule = MR_STR_001}, second = {.rule = MR_STR_002};
	struct mr_status_keeper keeper;
	struct mr_profile profile;

	(void)state;
	assert_int_equal(mr_profile_init(&profile, "7.2"), 0);
	mr_status_init(&keeper, &profile, MR_SIDE_SOURCE, false);
	assert_int_equal(mr_status_change(&keeper, "none", "setup", NULL), MR_STATUS_CHANGED);
	mr_status_blame(&keeper, &first);
	mr_status_blame(&keeper, &second);
	assert_int_equal(keeper.error.rule, MR_STR_001);
	assert_int_equal(mr_status_change(&keeper, "setup", "failed", NULL), MR_STATUS_CHANGED);
	assert_int_equal(keeper.error.rule, MR_STR_001);
	assert_int_equal(mr_status_change(&keeper, "failed", "setup", NULL), MR_STATUS_CHANGED);
	assert_int_equal(keeper.error.rule, MR_NO_RULE);
	mr_status_blame(&keeper, &second);
	assert_int_equal(keeper.error.rule, MR_STR_002);
}

/* keeps STA-004: of the machine's errors the first is the one that it names */
static void machine_keeps_its_first_error(void **state)
{
	const struct setup setup = {.release = "11.1"};
	struct world *world = world_new(&setup);
	struct build *build = &world->connections[0].bytes;

	(void)state;
	put_begin(build);
	build_u8(build, 0x55);
	world_show(world, 0, SIZE_MAX);
	world_end(world, 0, HOST_EIO);
	world_run(world);
	expect_failed(world, MR_STR_011);
	world_free(world);
}

/* ---- Blockers ---- */

/* keeps CAP-008, breaks CAP-008 */
static void blockers(void **state)
{
	struct mr_blockers blockers = {.only_migratable = false};
	struct mr_finding error = {.rule = MR_NO_RULE};
	char longest[2 * MR_BLOCKER_TEXT_MAX];
	unsigned first, second;

	(void)state;
	assert_true(mr_blockers_check(&blockers, &error));
	assert_int_equal(error.rule, MR_NO_RULE);
	first = mr_blockers_add(&blockers, "a disk in no shareable format", false, NULL);
	second = mr_blockers_add(&blockers, "a device with a peer", false, NULL);
	assert_true(first && second && first != second);
	assert_string_equal(mr_blockers_reason(&blockers, 0), "a device with a peer");
	assert_string_equal(mr_blockers_reason(&blockers, 1), "a disk in no shareable format");
	assert_null(mr_blockers_reason(&blockers, 2));
	assert_false(mr_blockers_check(&blockers, &error));
	assert_int_equal(error.rule, MR_CAP_008);
	assert_string_equal(error.found, "a device with a peer");
	assert_true(mr_blockers_remove(&blockers, first));
	assert_false(mr_blockers_remove(&blockers, first));
	assert_string_equal(mr_blockers_reason(&blockers, 0), "a device with a peer");
	assert_true(mr_blockers_remove(&blockers, second));
	assert_true(mr_blockers_check(&blockers, NULL));
	assert_int_equal(mr_blockers_add(&blockers, "late", true, &error), 0);
	assert_int_equal(error.rule, MR_CAP_008);
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	for (unsigned i = 0; i < MR_BLOCKERS_MAX; i++)
		assert_int_not_equal(mr_blockers_add(&blockers, longest, false, &error), 0);
	assert_int_equal(mr_blockers_add(&blockers, longest, false, &error), 0);
	assert_int_equal(strlen(mr_blockers_reason(&blockers, 0)), MR_BLOCKER_TEXT_MAX - 1);
	blockers = (struct mr_blockers){.only_migratable = true};
	assert_int_equal(mr_blockers_add(&blockers, "a device with a peer", false, &error), 0);
	assert_true(mr_blockers_check(&blockers, &error));
}

/* ---- decompress-error-check ---- */

/* breaks RAM-016: a page that does not inflate fails the load where it is checked, and only there */
static void pages_that_do_not_inflate(void **state)
{
	static const struct {
		const char *release, *machine;
		bool checked;
	} cases[] = {
		{"2.12", "pc-2.12", false}, {"3.0", "pc-2.12", false}, {"3.0", "pc-3.0", true},
		{"7.2", "pc-2.12", false},  {"7.2", "pc-7.2", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct setup setup = {.release = cases[i].release, .capabilities = MR_CAPABILITY_COMPRESS};
		struct world *world = world_new_unconnected(&setup);
		struct build *build = &world->connections[0].bytes;

		mr_profile_apply_machine(&world->config.profile, cases[i].machine);
		world->machine = mr_incoming_reset(world->machine, &world->config);
		assert_non_null(world->machine);
		put_begin(build);
		put_block_list(world, build);
		put_section(build);
		build_page_start(build, 0, MR_RAM_FLAG_COMPRESSED, "mem");
		build_be32(build, 4);
		build_be32(build, 0x78010000);
		put_section_end(build);
		put_end(build);
		world_open(world, 0, MR_ROLE_MAIN);
		world_end(world, 0, 0);
		world_run(world);
		if (cases[i].checked)
			expect_failed(world, MR_RAM_016);
		else
			expect_finished(world);
		world_free(world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_is_connected),
		cmocka_unit_test(source_by_release),
		cmocka_unit_test(machine_keeps_the_table),
		cmocka_unit_test(recordings_keep_the_table),
		cmocka_unit_test(changes_and_events),
		cmocka_unit_test(events_without_a_change),
		cmocka_unit_test(first_error),
		cmocka_unit_test(machine_keeps_its_first_error),
		cmocka_unit_test(blockers),
		cmocka_unit_test(pages_that_do_not_inflate),
	};

	return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
