/* test_source_statistics.c: what query-migrate shows, by the sheet's definitions. */
#include "lone_source.h"

enum {
	NAMED_MEM = 8 + 1 + 3, /* a page's head with its block's name */
	CONTINUED = 8,
	PAGES = 2 * (NAMED_MEM + LONE_PAGE) + 4 * (CONTINUED + LONE_PAGE), /* of a first pass: mem and vga are named */
	PART_EOS = 8,
};

static uint64_t forward_bytes(const struct lone *lone)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < lone->connection_count; i++)
		bytes += lone->connections[i].forward.length;
	return bytes;
}

/* keeps SRC-035: up to 8.1 RAM alone is counted: records, and 8 bytes for each PART's end; later every byte. */
static void transferred(void **state)
{
	(void)state;
	for (unsigned i = 0; i < LONE_RELEASES; i++) {
		struct lone *lone = lone_new(lone_releases[i]);
		struct mr_outgoing_statistics statistics;

		lone_start(lone);
		lone_run(lone);
		statistics = lone_statistics(lone);
		/* who counts framing and devices, or later leaves them out, breaks SRC-035 */
		assert_int_equal(statistics.transferred, i <= 8 ? PAGES + PART_EOS : forward_bytes(lone));
		assert_int_equal(statistics.precopy_bytes, PAGES + PART_EOS);
		assert_int_equal(statistics.downtime_bytes, 0);
		assert_int_equal(statistics.postcopy_bytes, 0);
		assert_int_equal(statistics.multifd_bytes, 0);
		lone_free(lone);
	}
}

/* By the state of the guest: running, standing, in postcopy. */
static void classes_of_bytes(void **state)
{
	struct lone *lone = lone_new("7.2");
	struct mr_outgoing_statistics statistics;

	(void)state;
	lone_start(lone);
	lone_until(lone, "page:vga:0");
	lone_write(lone, 0, 1, 5);
	lone->memory[0][LONE_PAGE] = 0;
	lone_run(lone);
	statistics = lone_statistics(lone);
	assert_int_equal(statistics.precopy_bytes, PAGES + PART_EOS);
	/* END's own end mark is not counted */
	assert_int_equal(statistics.downtime_bytes, NAMED_MEM + LONE_PAGE);
	lone_free(lone);
	lone = lone_new("7.2");
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone_start(lone);
	lone_until(lone, "[active]");
	mr_outgoing_start_postcopy(lone->source);
	lone_run(lone);
	statistics = lone_statistics(lone);
	assert_int_equal(statistics.precopy_bytes, 0);
	assert_int_equal(statistics.postcopy_bytes, PAGES + PART_EOS);
	assert_int_equal(statistics.postcopy_requests, 0);
	lone_free(lone);
}

/* An operator stops the guest in mid-migration, lets it go on, and stops it again: downtime's is what goes meanwhile.
 */
static void stopped_by_operator(void **state)
{
	struct lone *lone = lone_new("7.2");
	struct mr_outgoing_statistics statistics;

	(void)state;
	lone_start(lone);
	lone_until(lone, "page:mem:0");
	assert_true(mr_outgoing_guest(lone->source, false));
	lone_until(lone, "page:1");
	lone_until(lone, "page:2");
	assert_true(mr_outgoing_guest(lone->source, true));
	lone_until(lone, "page:3");
	assert_true(mr_outgoing_guest(lone->source, false));
	lone_run(lone);
	statistics = lone_statistics(lone);
	/* pages 0 and 3 while it ran; 1 and 2, all of vga and the end mark while it stood */
	assert_int_equal(statistics.precopy_bytes, NAMED_MEM + LONE_PAGE + CONTINUED + LONE_PAGE);
	assert_int_equal(statistics.downtime_bytes, PAGES + PART_EOS - statistics.precopy_bytes);
	assert_false(lone_has_said(lone, "stop-guest"));
	lone_free(lone);
}

/* Pages: zero ones, normal ones, and what is left. */
static void pages(void **state)
{
	struct lone *lone = lone_new("7.2");
	struct mr_outgoing_statistics statistics;

	(void)state;
	lone_block(lone, 2, "shared", 3, 0);
	lone->blocks[2].ignored = true;
	lone->config.capabilities = MR_CAPABILITY_IGNORE_SHARED;
	lone_start(lone);
	lone->memory[0][0] = lone->memory[1][0] = 0;
	lone_until(lone, "[active]");
	statistics = lone_statistics(lone);
	assert_int_equal(statistics.total, 6 * LONE_PAGE);
	assert_int_equal(statistics.remaining, 6 * LONE_PAGE);
	lone_until(lone, "page:3");
	statistics = lone_statistics(lone);
	assert_int_equal(statistics.remaining, 2 * LONE_PAGE);
	assert_int_equal(statistics.duplicate, 1);
	assert_int_equal(statistics.normal, 3);
	lone_run(lone);
	statistics = lone_statistics(lone);
	assert_int_equal(statistics.duplicate, 2);
	assert_int_equal(statistics.normal, 4);
	assert_int_equal(statistics.normal_bytes, 4 * LONE_PAGE);
	assert_int_equal(statistics.pages, 6);
	assert_int_equal(statistics.remaining, 0);
	lone_free(lone);
}

/* Pages that went by multifd, with what the channels wrote. */
static void multifd(void **state)
{
	static const char *const releases[] = {"7.2", "8.2", "9.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct lone *lone = lone_new(releases[i]);
		struct mr_outgoing_statistics statistics;
		const uint64_t zero_record = i < 2 ? NAMED_MEM + 1 : 0;

		lone->config.capabilities = MR_CAPABILITY_MULTIFD;
		lone->config.multifd_channels = 2;
		lone_start(lone);
		lone->memory[0][0] = 0;
		lone_run(lone);
		statistics = lone_statistics(lone);
		assert_int_equal(statistics.duplicate, 1);
		assert_int_equal(statistics.normal, 5);
		assert_int_equal(statistics.pages, 6);
		if (i > 0)
			assert_int_equal(statistics.transferred, forward_bytes(lone));
		/* the record, if there is one, and an end of PART; what the channels carry is no part of it */
		assert_int_equal(statistics.precopy_bytes, zero_record + PART_EOS);
		assert_int_equal(statistics.downtime_bytes, 0);
		if (i == 0)
			assert_int_equal(statistics.transferred, statistics.precopy_bytes + statistics.multifd_bytes);
		else
			assert_int_equal(statistics.multifd_bytes,
					 lone->connections[1].forward.length + lone->connections[2].forward.length);
		lone_free(lone);
	}
}

/* dirty-sync-count: every fetch up to 11.0; in 11.1 the iterations, which an exact query begins. */
static void syncs(void **state)
{
	static const struct {
		const char *release;
		uint64_t count;
	} cases[] = {{"7.2", 2}, {"8.2", 2}, {"10.0", 2}, {"11.0", 2}, {"11.1", 2}};

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		struct lone *lone = lone_new(cases[i].release);

		lone_start(lone);
		lone_until(lone, "[active]");
		assert_int_equal(lone_statistics(lone).dirty_sync_count, 1);
		lone_run(lone);
		if (lone_statistics(lone).dirty_sync_count != cases[i].count)
			fail_msg("%s: %u", cases[i].release, (unsigned)lone_statistics(lone).dirty_sync_count);
		lone_free(lone);
	}
}

/* dirty-pages-rate: newly dirtied pages a second, looked at when a fetch comes a second behind the last one. */
static void rate(void **state)
{
	struct lone *lone = lone_new("7.2");

	(void)state;
	lone->choose_always = true;
	lone_start(lone);
	lone_choose(lone, MR_CHOICE_TURN, MR_TURN_ITERATE);
	lone_choose(lone, MR_CHOICE_SYNC, 1);
	lone_until(lone, "page:vga:0");
	lone_until(lone, ".");
	lone_write(lone, 0, 0, 5);
	lone_write(lone, 0, 1, 5);
	lone_write(lone, 0, 2, 5);
	lone_later(lone, 999);
	lone_until(lone, ".");
	/* not a second yet */
	assert_int_equal(lone_statistics(lone).dirty_pages_rate, 0);
	lone_write(lone, 0, 1, 5);
	lone_later(lone, 1001);
	lone_until(lone, ".");
	lone_until(lone, ".");
	/* four pages in two seconds */
	assert_int_equal(lone_statistics(lone).dirty_pages_rate, 2);
	lone_free(lone);
}

/* postcopy-requests counts messages, whatever comes of them; SHUT is none. */
static void requests(void **state)
{
	struct lone *lone = lone_new("7.2");

	(void)state;
	lone->config.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	lone_start_postcopy(lone, "ping:4 ");
	for (unsigned i = 0; i < 3; i++)
		lone_request(lone, "mem", 1, 1);
	lone_pong(lone, 4);
	lone_run(lone);
	lone_shut(lone);
	lone_run(lone);
	assert_int_equal(lone_statistics(lone).postcopy_requests, 3);
	assert_int_equal(lone_statistics(lone).normal, 6);
	lone_free(lone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(transferred), cmocka_unit_test(classes_of_bytes),
		cmocka_unit_test(pages),       cmocka_unit_test(multifd),
		cmocka_unit_test(syncs),       cmocka_unit_test(rate),
		cmocka_unit_test(requests),    cmocka_unit_test(stopped_by_operator),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
