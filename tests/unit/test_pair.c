/* test_pair.c: the source against the destination, in every mode, by chance (SRC-001, SRC-011, SRC-017). */
#include "hostile.h"
#include "pair_support.h"

#include <stdio.h>

static void migrate(const struct pair_setup *setup)
{
	struct pair *pair = pair_new(setup);

	if (!pair_run(pair)) {
		fprintf(stderr, "%.*s", (int)(pair->text.length > 3000 ? 3000 : pair->text.length),
			(char *)pair->text.bytes + (pair->text.length > 3000 ? pair->text.length - 3000 : 0));
		fail_msg("%s seed %llu: stuck; source %s waits %d, destination %s, loaders want %d %d", setup->source,
			 (unsigned long long)setup->seed, mr_source_status_name(mr_outgoing_status(pair->source)),
			 mr_outgoing_wants(pair->source, MR_SOURCE_MIGRATION).wait,
			 mr_status_name(mr_incoming_status(pair->destination)),
			 mr_incoming_wants(pair->destination, MR_ACTOR_MAIN).wait,
			 mr_incoming_wants(pair->destination, MR_ACTOR_LISTEN).wait);
	}
	expect_migrated(pair);
	expect_valid(pair);
	pair_free(pair);
}

#define MR_RELEASE(name) name,
static const char *const releases[] = {
#include "profile.def"
};
#undef MR_RELEASE

enum { RELEASES = sizeof(releases) / sizeof(releases[0]), SEEDS = 3 };

static void in_every_release(struct pair_setup setup, const char *since, const char *until)
{
	/* Under valgrind each migration takes seconds: a few of them have to do. */
	const unsigned step = RUNNING_ON_VALGRIND ? 6 : 1, seeds = RUNNING_ON_VALGRIND ? 1 : SEEDS;

	for (unsigned i = 0; i < RELEASES; i += step) {
		struct mr_profile profile;

		mr_profile_init(&profile, releases[i]);
		if (!mr_profile_within(&profile, since, until))
			continue;
		for (setup.seed = 1; setup.seed <= seeds; setup.seed++) {
			setup.source = releases[i];
			migrate(&setup);
		}
	}
}

static void precopy(void **state)
{
	(void)state;
	in_every_release((struct pair_setup){0}, "2.5", "");
}

static void precopy_with_return_path(void **state)
{
	(void)state;
	in_every_release((struct pair_setup){.capabilities = MR_CAPABILITY_RETURN_PATH}, "3.0", "");
}

static void precopy_xbzrle(void **state)
{
	(void)state;
	in_every_release((struct pair_setup){.capabilities = MR_CAPABILITY_XBZRLE}, "2.5", "");
}

static void precopy_with_pauses(void **state)
{
	(void)state;
	in_every_release((struct pair_setup){.pause_before_switchover = true, .auto_converge = true}, "2.11", "");
}

static void zero_detection(void **state)
{
	static const enum mr_zero_detection modes[] = {MR_ZERO_NONE, MR_ZERO_LEGACY, MR_ZERO_MULTIFD};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		in_every_release((struct pair_setup){.zero_detection = modes[i]}, "9.0", "");
		in_every_release((struct pair_setup){.zero_detection = modes[i],
						     .capabilities = MR_CAPABILITY_MULTIFD,
						     .multifd_channels = 3},
				 "9.0", "");
	}
}

static void postcopy_release_ram(void **state)
{
	(void)state;
	in_every_release((struct pair_setup){.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_RETURN_PATH,
					     .switches = true,
					     .release_ram = true,
					     .pause_before_switchover = true},
			 "2.9", "");
}

static void postcopy(void **state)
{
	(void)state;
	in_every_release((struct pair_setup){.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_RETURN_PATH,
					     .switches = true},
			 "2.5", "");
}

static void postcopy_huge_pages(void **state)
{
	(void)state;
	in_every_release((struct pair_setup){.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_RETURN_PATH,
					     .switches = true,
					     .huge_page_size = 4 * PAIR_PAGE},
			 "3.0", "");
}

static void postcopy_recovered(void **state)
{
	(void)state;
	in_every_release((struct pair_setup){.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_RETURN_PATH,
					     .switches = true,
					     .cuts = 3},
			 "3.0", "");
}

static void preempt(void **state)
{
	(void)state;
	in_every_release((struct pair_setup){.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_RETURN_PATH |
							     MR_CAPABILITY_POSTCOPY_PREEMPT,
					     .switches = true},
			 "7.1", "");
}

static void preempt_huge_pages_recovered(void **state)
{
	(void)state;
	in_every_release((struct pair_setup){.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_RETURN_PATH |
							     MR_CAPABILITY_POSTCOPY_PREEMPT,
					     .switches = true,
					     .huge_page_size = 4 * PAIR_PAGE,
					     .cuts = 2},
			 "7.1", "");
}

static void multifd(void **state)
{
	(void)state;
	in_every_release((struct pair_setup){.capabilities = MR_CAPABILITY_MULTIFD, .multifd_channels = 2}, "4.0", "");
}

static void multifd_compressed(void **state)
{
	static const char *const methods[] = {"zlib", "zstd"};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const struct pair_setup setup = {
			.capabilities = MR_CAPABILITY_MULTIFD, .multifd_channels = 2, .method = methods[i]};

		in_every_release(setup, "5.0", "8.2");
		in_every_release(setup, "10.0", "");
	}
}

static void multifd_and_postcopy(void **state)
{
	(void)state;
	in_every_release((struct pair_setup){.capabilities = MR_CAPABILITY_MULTIFD | MR_CAPABILITY_POSTCOPY_RAM |
							     MR_CAPABILITY_RETURN_PATH,
					     .switches = true,
					     .multifd_channels = 2},
			 "10.1", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(precopy),
		cmocka_unit_test(precopy_with_return_path),
		cmocka_unit_test(precopy_xbzrle),
		cmocka_unit_test(precopy_with_pauses),
		cmocka_unit_test(zero_detection),
		cmocka_unit_test(postcopy),
		cmocka_unit_test(postcopy_release_ram),
		cmocka_unit_test(postcopy_huge_pages),
		cmocka_unit_test(postcopy_recovered),
		cmocka_unit_test(preempt),
		cmocka_unit_test(preempt_huge_pages_recovered),
		cmocka_unit_test(multifd),
		cmocka_unit_test(multifd_compressed),
		cmocka_unit_test(multifd_and_postcopy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
