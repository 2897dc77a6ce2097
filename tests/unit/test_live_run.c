/* test_live_run.c: small migrations between two processes on real memory, each recorded and replayed. */
#include "folder.h"
#include "host_support.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "scenario_support.h"
#include "sim/host/live_run.h"
#include "sim/record/migration.h"
#include "sim/record/replay.h"

enum { HANGS_AFTER = 300 /* seconds */, TEXT_MAX = 4096, MILLISECOND = 1000000, ATTEMPTS = 12 };

#define GUEST                                                                                                          \
	"[scenario]\nseed = 5\n[guest]\nvcpus = 3\ndevices = 2\ndevice-touches = 2\n[block mem]\nsize = 4M\n"          \
	"[block rom]\nsize = 64K\n[workload load]\nblock = mem\nvcpus = 0-1\npattern = random\nwrites = 300\n"         \
	"interval = 50us\n"

#define MIGRATION_AT(bandwidth)                                                                                        \
	"[migration]\ndowntime-limit = 1ms\nrun-after = 5ms\ntime-limit = 30s\nrecover-after = 2ms\n"                  \
	"max-bandwidth = " bandwidth "\n"
#define MIGRATION MIGRATION_AT("unlimited")

#define MODE     "switch-passes = 0\ncapabilities = postcopy-ram, return-path, postcopy-blocktime"
#define POSTCOPY MIGRATION MODE
/* Slow enough that vCPUs and a client ask for pages, and that a cut comes when both ends are at postcopy. */
#define SLOW MIGRATION_AT("10MiB") "max-postcopy-bandwidth = 20MiB\n" MODE

enum outcome { COMPLETED, RETURNED };

struct example {
	const char *name, *text;
	enum mr_host_kind ordinary;
	bool shared_client;
	enum outcome outcome;
	unsigned recoveries;
};

static struct example examples[] = {
	{.name = "precopy", .text = GUEST MIGRATION "capabilities = return-path\n"},
	{.name = "plain", .text = GUEST POSTCOPY "\n"},
	{.name = "preempt", .text = GUEST POSTCOPY ", postcopy-preempt\n"},
	{.name = "multifd", .text = GUEST POSTCOPY ", multifd\nmultifd-channels = 3\n"},
	/* more connections than a listener usually keeps */
	{.name = "many", .text = GUEST POSTCOPY ", multifd\nmultifd-channels = 70\n"},
	{.name = "cut", .text = GUEST SLOW "\n[fault cut]\nkind = cut\nat = byte 2000000\n", .recoveries = 1},
	{.name = "cut-back",
	 .text = GUEST SLOW "\n[fault cut]\nkind = cut\nat = byte 250\ndirection = backward\n",
	 .recoveries = 1},
	{.name = "preempt-cut",
	 .text = GUEST SLOW ", postcopy-preempt\n[fault cut]\nkind = cut\nat = byte 2000000\n",
	 .recoveries = 1},
	{.name = "shared", .text = GUEST POSTCOPY "\n", .ordinary = MR_HOST_SHARED},
	{.name = "client", .text = GUEST SLOW "\n", .ordinary = MR_HOST_SHARED, .shared_client = true},
	{.name = "returned",
	 .text = GUEST MIGRATION "capabilities = return-path\n[fault cut]\nkind = cut\nat = byte 1000000\n",
	 .outcome = RETURNED},
};

static char recording[] = "/tmp/migref-live-XXXXXX";

static int make_recording(void **state)
{
	(void)state;
	return mkdtemp(recording) ? 0 : -1;
}

static int remove_recording(void **state)
{
	(void)state;
	return folder_remove(recording);
}

static void expect_replay(const char *directory)
{
	const struct mr_stream_options nothing = {0};
	const struct mr_destination_options destination = {0};
	const struct mr_source_options source = {0};
	struct mr_migration *migration;
	static struct mr_replay replay;
	char error[512];

	if (mr_migration_open(&migration, directory, &nothing, NULL, NULL, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	if (mr_replay_run(&replay, migration, &destination, &source, NULL, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	if (!replay.holds)
		fail_msg("destination: %s; source: %s", replay.destination.reason, replay.source.reason);
	assert_true(replay.has_destination && replay.destination.ran);
	assert_true(replay.has_source);
	mr_replay_clear(&replay);
	mr_migration_close(migration);
}

static void read_example(struct mr_scenario *scenario, const struct example *example)
{
	char error[512];

	if (scenario_read_text(scenario, example->text, error) < 0)
		fail_msg("%s: %s", example->name, error);
}

static void expect_outcome(const struct example *example, const struct mr_live_run_result *result, const char *error)
{
	const struct mr_live_board *board = &result->board;
	uint64_t touches = 0;

	assert_int_equal(result->returned, example->outcome == RETURNED);
	assert_false(result->stranded);
	assert_true(board->forward_bytes > 0);
	if (result->returned) {
		assert_string_not_equal(error, "");
		assert_int_equal(result->downtime, 0);
		return;
	}
	/* Each cut comes once; who learns of it late may need one recovery more. */
	assert_in_range(board->recoveries, example->recoveries, 2 * (uintmax_t)example->recoveries);
	assert_in_range(result->total_time, 1, 30000ULL * MILLISECOND);
	assert_in_range(result->downtime, 1, result->total_time);
	assert_true(board->pages_placed + board->pages_loaded > 0);
	for (unsigned i = 0; i < 3; i++)
		touches += board->destination_touches[i] - board->source_touches[i];
	assert_int_equal(touches, board->figures.touches);
	assert_int_equal(board->destination_touches[2], 0);
	if (example->shared_client)
		assert_true(board->client_touches > 0);
}

/* Where a cut falls goes by the host's scheduling: before the guest runs at the destination, or behind it all. */
static bool is_elsewhere(const struct example *example, const struct mr_live_run_result *result)
{
	return example->recoveries && (result->stranded || result->returned || result->board.recoveries == 0);
}

/* True if what the example is about occurred. */
static bool attempt(const struct example *example, unsigned number)
{
	struct mr_live_run_result result = {0};
	struct mr_scenario scenario;
	bool elsewhere;
	char directory[sizeof(recording) + 32], error[1024] = "";
	const struct mr_live_run_options options = {.scenario = &scenario,
						    .ordinary = example->ordinary,
						    .shared_client = example->shared_client,
						    .recording = directory,
						    .producer = "test",
						    .scenario_text = example->text};

	snprintf(directory, sizeof(directory), "%s/%s%u", recording, example->name, number);
	read_example(&scenario, example);
	if (mr_live_run_check(&options, error, sizeof(error)) < 0 ||
	    mr_live_run(&options, &result, error, sizeof(error)) < 0)
		fail_msg("%s: %s", example->name, error);
	elsewhere = is_elsewhere(example, &result);
	if (!elsewhere)
		expect_outcome(example, &result, error);
	expect_replay(directory);
	mr_scenario_clear(&scenario);
	return !elsewhere;
}

static void test_run(void **state)
{
	const struct example *example = *state;

	host_need(MR_HOST_WANT_POSTCOPY, example->ordinary);
	for (unsigned i = 0; i < ATTEMPTS; i++)
		if (attempt(example, i))
			return;
	fail_msg("%s: in %d runs the cut never fell where it is to be recovered", example->name, ATTEMPTS);
}

/* ---- What cannot be had ---- */

static void expect_refusal(const struct example *example, const char *part)
{
	struct mr_scenario scenario;
	char error[1024] = "";
	const struct mr_live_run_options options = {
		.scenario = &scenario, .ordinary = example->ordinary, .shared_client = example->shared_client};

	read_example(&scenario, example);
	assert_int_equal(mr_live_run_check(&options, error, sizeof(error)), -1);
	if (!strstr(error, part) || strchr(error, '\n'))
		fail_msg("expected one line with \"%s\", found \"%s\"", part, error);
	mr_scenario_clear(&scenario);
}

static void test_refusals(void **state)
{
	(void)state;
	host_need(MR_HOST_WANT_POSTCOPY, MR_HOST_ANONYMOUS);
	expect_refusal(&(struct example){.text = GUEST MIGRATION "[block odd]\nsize = 16M\npage-size = 8K\n"},
		       "[block odd]: expected pages of 4 KiB, 2 MiB or 1 GiB");
	expect_refusal(&(struct example){.text = GUEST MIGRATION, .shared_client = true},
		       "[block mem]: expected shared memory for a client");
	expect_refusal(&(struct example){.text = GUEST MIGRATION "[choices]\nturn = 5\n"}, "[choices]: expected none");
	expect_refusal(&(struct example){.text = GUEST MIGRATION "[fault wire]\nkind = stall\nat = 5ms\n"},
		       "[fault wire]: expected a cut at a byte");
}

/* A recording that cannot be begun: one line, and no process is left. */
static void test_no_recording(void **state)
{
	struct mr_live_run_result result = {0};
	struct mr_scenario scenario;
	char error[1024] = "";
	const struct mr_live_run_options options = {.scenario = &scenario,
						    .recording = "/nowhere/at/all",
						    .producer = "test",
						    .scenario_text = examples[0].text};

	(void)state;
	host_need(MR_HOST_WANT_POSTCOPY, MR_HOST_ANONYMOUS);
	read_example(&scenario, &examples[0]);
	assert_int_equal(mr_live_run(&options, &result, error, sizeof(error)), -1);
	assert_non_null(strstr(error, "/nowhere/at/all: "));
	mr_scenario_clear(&scenario);
}

enum { EXAMPLES = sizeof(examples) / sizeof(examples[0]), MORE = 2 };

int main(void)
{
	struct CMUnitTest tests[EXAMPLES + MORE] = {
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_no_recording),
	};
	int status;

	for (unsigned i = 0; i < EXAMPLES; i++)
		tests[MORE + i] = (struct CMUnitTest){
			.name = examples[i].name, .test_func = test_run, .initial_state = &examples[i]};
	/* an end that waits for what never comes is killed with all the rest */
	alarm(HANGS_AFTER);
	if (scenario_make_folder(NULL) < 0)
		return EXIT_FAILURE;
	status = cmocka_run_group_tests(tests, make_recording, remove_recording);
	return scenario_remove_folder(NULL) < 0 ? EXIT_FAILURE : status;
}
