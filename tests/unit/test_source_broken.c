/*
 * test_source_broken.c: everything that may go wrong at a source, at each of its actions: connections that break or
 * cannot be made, handlers that fail, an operator who cancels or pauses; and that the guest is not lost
 * (SRC-002, SRC-003, SRC-016, SRC-030).
 */
#include "hostile.h"
#include "hostile_source.h"
#include "pair_support.h"

#include <stdio.h>

static const char *const releases[] = {"7.2", "8.1", "8.2", "9.2", "11.1"};

enum { RELEASES = sizeof(releases) / sizeof(releases[0]), ACTIONS_MAX = 2000 };

#define POSTCOPY (MR_CAPABILITY_RETURN_PATH | MR_CAPABILITY_POSTCOPY_RAM)

/* What has come of the event. */
static void expect_outcome(struct foe *foe)
{
	foe_recover(foe);
	expect_rest(foe);
	if (!foe->said[MR_SOURCE_ACTION_FAILED]) {
		expect_source_finished(foe);
		return;
	}
	assert_true(foe->happened);
	if (mr_outgoing_status(foe->source) == MR_SOURCE_STATUS_CANCELLED) {
		/* keeps SRC-003 */
		expect_source_failed(foe, MR_SRC_003);
		assert_int_equal(foe->setup.event, FOE_CANCEL);
		return;
	}
	/* Up to 10.0 nothing pauses any more once the END has begun. */
	if (foe->completing && !mr_profile_does(&foe->profile, MR_SWITCH_POSTCOPY_ENDS_EMPTY))
		return;
	/* Whatever happens once the guest is away pauses; until then it may come back: keeps SRC-030. */
	if (foe->packaged && (foe->committed || !mr_profile_does(&foe->profile, MR_SWITCH_STATUS_POSTCOPY_DEVICE)))
		fail_msg("%s, event %d at %d: %s, expected %s, found %s", foe->setup.release, foe->setup.event,
			 foe->setup.at, mr_rule_id(foe->error.rule), foe->error.expected, foe->error.found);
}

/* Not at every action where each costs more. */
static int stride(void)
{
	return RUNNING_ON_VALGRIND ? 41 : SANITIZED ? 3 : 1;
}

/* breaks SRC-030, SRC-003 */
static void at_every_action(struct foe_setup setup)
{
	struct foe *foe;
	bool reached = true;

	for (setup.at = 0; reached; setup.at += stride()) {
		assert_true(setup.at < ACTIONS_MAX);
		foe = foe_new(&setup);
		foe_rest(foe);
		expect_outcome(foe);
		reached = foe->actions > setup.at;
		foe_free(foe);
	}
}

static void in_every_way(struct foe_setup setup)
{
	for (unsigned event = FOE_NOTHING + 1; event < FOE_EVENTS; event++) {
		setup.event = (enum foe_event)event;
		at_every_action(setup);
	}
}

static void in_every_release(struct foe_setup setup, unsigned first)
{
	for (unsigned i = first; i < RELEASES; i++) {
		setup.release = releases[i];
		in_every_way(setup);
	}
}

static void precopy(void **state)
{
	(void)state;
	in_every_release((struct foe_setup){0}, 0);
	in_every_release((struct foe_setup){.capabilities = MR_CAPABILITY_RETURN_PATH}, 0);
}

static void precopy_that_waits(void **state)
{
	(void)state;
	in_every_release((struct foe_setup){.capabilities = MR_CAPABILITY_RETURN_PATH, .pause_before_switchover = true},
			 0);
	in_every_release((struct foe_setup){.guest_stopped = true}, 0);
}

static void multifd(void **state)
{
	(void)state;
	in_every_release((struct foe_setup){.capabilities = MR_CAPABILITY_MULTIFD, .multifd_channels = 2}, 0);
}

static void postcopy(void **state)
{
	(void)state;
	in_every_release((struct foe_setup){.capabilities = POSTCOPY, .switches = true, .asks = true}, 0);
}

static void postcopy_that_waits(void **state)
{
	(void)state;
	in_every_release(
		(struct foe_setup){.capabilities = POSTCOPY, .switches = true, .pause_before_switchover = true}, 0);
}

static void multifd_and_postcopy(void **state)
{
	(void)state;
	in_every_way((struct foe_setup){.release = "11.1",
					.capabilities = POSTCOPY | MR_CAPABILITY_MULTIFD,
					.multifd_channels = 2,
					.switches = true});
}

static void preempt(void **state)
{
	(void)state;
	in_every_release((struct foe_setup){.capabilities = POSTCOPY | MR_CAPABILITY_POSTCOPY_PREEMPT,
					    .switches = true,
					    .asks = true},
			 0);
}

static void recovery(void **state)
{
	(void)state;
	in_every_release((struct foe_setup){.capabilities = POSTCOPY,
					    .switches = true,
					    .asks = true,
					    .broken_first = 3,
					    .in_recovery = true},
			 0);
}

static void preempt_recovery(void **state)
{
	(void)state;
	in_every_release((struct foe_setup){.capabilities = POSTCOPY | MR_CAPABILITY_POSTCOPY_PREEMPT,
					    .switches = true,
					    .asks = true,
					    .broken_first = 3,
					    .in_recovery = true},
			 0);
}

static void snapshot(void **state)
{
	(void)state;
	in_every_release((struct foe_setup){.capabilities = MR_CAPABILITY_BACKGROUND_SNAPSHOT}, 0);
}

/* ---- Limits ---- */

/* breaks SRC-016: a package that is too large, in every place where that may be noticed. */
static void package_too_large(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2 * RELEASES; i++)
		for (size_t most = 1; most < 160; most++) {
			const struct foe_setup setup = {
				.release = releases[i / 2],
				.capabilities = i % 2 ? POSTCOPY : MR_CAPABILITY_BACKGROUND_SNAPSHOT,
				.switches = true,
				.package_max = most,
			};
			struct foe *foe = foe_new(&setup);

			foe_rest(foe);
			if (foe->said[MR_SOURCE_ACTION_FAILED]) {
				expect_source_failed(foe, MR_SRC_016);
				assert_true(foe->guest_runs);
			} else {
				assert_true(most > 40);
				expect_source_finished(foe);
			}
			foe_free(foe);
		}
}

/* Who has used up the connections stays paused, and does not fail. */
static void connections_used_up(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2 * RELEASES; i++) {
		const struct foe_setup setup = {
			.release = releases[i / 2],
			.capabilities = POSTCOPY | (i % 2 ? MR_CAPABILITY_POSTCOPY_PREEMPT : 0),
			.switches = true,
			.broken_first = 1,
			.connections_max = 4,
		};
		struct foe *foe = foe_new(&setup);

		foe_rest(foe);
		expect_paused(foe);
		foe->silent = true;
		while (mr_outgoing_recover(foe->source)) {
			foe_rest(foe);
			assert_true(mr_outgoing_pause(foe->source));
			foe_rest(foe);
			expect_paused(foe);
		}
		foe_rest(foe);
		expect_paused(foe);
		assert_in_range(foe->connection_count, 3, 4);
		foe_free(foe);
	}
}

/* ---- Commands (SRC-003) ---- */

struct commands {
	bool postcopy, proceed, cancel, pause, recover;
};

static void expect_commands(struct foe *foe, struct commands expected)
{
	assert_int_equal(mr_outgoing_continue(foe->source), expected.proceed);
	assert_int_equal(mr_outgoing_recover(foe->source), expected.recover);
	assert_int_equal(mr_outgoing_pause(foe->source), expected.pause);
	assert_int_equal(mr_outgoing_cancel(foe->source), expected.cancel);
	assert_int_equal(mr_outgoing_start_postcopy(foe->source), expected.postcopy);
}

/* keeps and breaks SRC-003 */
static void commands(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RELEASES; i++) {
		const struct foe_setup setup = {
			.release = releases[i], .capabilities = POSTCOPY, .switches = true, .broken_first = 2};
		struct foe *foe = foe_new(&setup);
		const bool cancels = !mr_profile_does(&foe->profile, MR_SWITCH_CANCEL_REFUSED_IN_POSTCOPY);

		expect_commands(foe, (struct commands){0});
		foe_rest(foe);
		expect_paused(foe);
		expect_commands(foe, (struct commands){.postcopy = true, .recover = true, .cancel = cancels});
		foe_recover(foe);
		if (cancels)
			expect_source_failed(foe, MR_SRC_003);
		else
			expect_source_finished(foe);
		expect_commands(foe, (struct commands){0});
		foe_free(foe);
	}
}

/* What has failed is not cancelled any more. */
static void cancel_of_a_failure(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RELEASES; i++) {
		const struct foe_setup setup = {.release = releases[i], .event = FOE_BREAK_MAIN, .at = 20};
		struct foe *foe = foe_new(&setup);

		while (foe->said[MR_SOURCE_ACTION_LOG_STOP] == 0)
			foe_step(foe, MR_SOURCE_MIGRATION);
		assert_false(mr_outgoing_cancel(foe->source));
		foe_rest(foe);
		expect_source_failed(foe, MR_SRC_030);
		foe_free(foe);
	}
}

/* release-ram: what is gone cannot be sent again. */
static void no_recovery_without_ram(void **state)
{
	(void)state;
	for (unsigned i = 0; i < RELEASES; i++) {
		const struct foe_setup setup = {.release = releases[i],
						.capabilities = POSTCOPY,
						.switches = true,
						.release_ram = true,
						.broken_first = 2};
		struct foe *foe = foe_new(&setup);

		foe_rest(foe);
		expect_paused(foe);
		assert_false(mr_outgoing_recover(foe->source));
		foe_free(foe);
	}
}

/* ---- With a destination ---- */

/* A recovery that is spoilt by one wrong message ends well the next time. */
static bool spoil_recovery(const char *release, uint64_t seed)
{
	static const uint8_t wrong[] = {0xff, 0xff, 0, 0};
	const struct pair_setup setup = {
		.source = release, .capabilities = POSTCOPY, .switches = true, .cuts = 3, .seed = seed};
	struct pair *pair = pair_new(&setup);
	bool spoilt = false;

	while (!(pair->source_finished || pair->source_failed) || !pair->destination_finished) {
		struct build *backward =
			&pair->connections[pair->connection_count ? pair->connection_count - 1 : 0].backward;

		if (!spoilt && mr_outgoing_status(pair->source) == MR_SOURCE_STATUS_POSTCOPY_RECOVER) {
			build_bytes(backward, wrong, sizeof(wrong));
			spoilt = true;
		}
		pair_step(pair);
		assert_true(pair->text.length < 10 << 20);
	}
	expect_migrated(pair);
	pair_free(pair);
	return spoilt;
}

static void recovery_with_a_destination(void **state)
{
	static const char *const retrying[] = {"8.2", "9.2", "11.1"};
	unsigned spoilt = 0;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		for (uint64_t seed = 1; seed <= 4; seed++)
			spoilt += spoil_recovery(retrying[i], seed);
	assert_true(spoilt > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(precopy),
		cmocka_unit_test(precopy_that_waits),
		cmocka_unit_test(multifd),
		cmocka_unit_test(postcopy),
		cmocka_unit_test(postcopy_that_waits),
		cmocka_unit_test(multifd_and_postcopy),
		cmocka_unit_test(preempt),
		cmocka_unit_test(recovery),
		cmocka_unit_test(preempt_recovery),
		cmocka_unit_test(snapshot),
		cmocka_unit_test(package_too_large),
		cmocka_unit_test(connections_used_up),
		cmocka_unit_test(commands),
		cmocka_unit_test(cancel_of_a_failure),
		cmocka_unit_test(no_recovery_without_ram),
		cmocka_unit_test(recovery_with_a_destination),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
