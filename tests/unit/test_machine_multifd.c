/*
 * test_machine_multifd.c: multifd channels at the destination: when their pages count, what a barrier waits for, and
 * how channels end.
 */
#include "machine_support.h"

enum { CHANNELS = 2, FLAG_SYNC = MR_MULTIFD_FLAG_SYNC };

static struct setup setup_of(const char *release, bool strict)
{
	return (struct setup){.release = release,
			      .strict = strict,
			      .capabilities = MR_CAPABILITY_MULTIFD,
			      .multifd_channels = CHANNELS};
}

static struct build *channel(struct world *world, uint32_t number)
{
	return &world->connections[number + 1].bytes;
}

static void show(struct world *world)
{
	for (uint32_t i = 0; i <= CHANNELS; i++)
		world_show(world, i, SIZE_MAX);
}

/* A machine whose channels are there, with their initial packets, and whose block list is read. */
static struct world *connected(const struct setup *setup)
{
	struct world *world = world_new(setup);

	for (uint32_t i = 0; i < CHANNELS; i++) {
		put_multifd_init(channel(world, i), (uint8_t)i);
		world_open(world, i + 1, MR_ROLE_MULTIFD);
	}
	put_begin(&world->connections[0].bytes);
	put_block_list(world, &world->connections[0].bytes);
	return world;
}

/* The end of a `ram` section is a barrier, or a FLUSH before it. */
static void put_barrier(struct build *build, bool flush)
{
	put_section(build);
	if (flush)
		build_be64(build, 0x200);
	put_section_end(build);
}

static void sync_all(struct world *world)
{
	for (uint32_t i = 0; i < CHANNELS; i++)
		put_multifd_packet(channel(world, i), FLAG_SYNC, 0, 0);
}

/* keeps MFR-001; breaks MFR-001: with a channel less nothing is read */
static void channels_come_first(void **state)
{
	const struct setup setup = setup_of("8.2", false);
	struct world *world = world_new(&setup);

	(void)state;
	put_begin(&world->connections[0].bytes);
	put_block_list(world, &world->connections[0].bytes);
	world_show(world, 0, SIZE_MAX);
	put_multifd_init(channel(world, 0), 0);
	world_open(world, 1, MR_ROLE_MULTIFD);
	world_run(world);
	assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_MAIN).wait, MR_WAIT_CHANNEL);
	assert_int_equal(mr_incoming_consumed(world->machine, 0), 0);
	expect_said(world, "multifd0 actor-start -");
	put_multifd_init(channel(world, 1), 1);
	world_open(world, 2, MR_ROLE_MULTIFD);
	world_run(world);
	expect_said(world, "main ram-loaded 0 number 1");
	world_free(world);
}

/* keeps MFR-002 MFR-004 in both disciplines: pages written, SYNC on each channel, then the barrier */
static void a_barrier_in_both_disciplines(void **state)
{
	(void)state;
	for (unsigned flush = 0; flush < 2; flush++) {
		const struct setup setup = setup_of(flush ? "8.2" : "7.2", false);
		struct world *world = connected(&setup);

		if (!flush)
			sync_all(world);
		put_multifd_packet(channel(world, 0), 0, 0, 2);
		put_multifd_packet(channel(world, 0), FLAG_SYNC, 0, 0);
		put_multifd_packet(channel(world, 1), FLAG_SYNC, 4, 1);
		put_barrier(&world->connections[0].bytes, flush);
		show(world);
		world_run(world);
		if (!flush)
			expect_order(world, "main barrier -", "multifd0 packet 0 pages 2", NULL);
		expect_order(world, "multifd0 packet 0 pages 2", "multifd0 packet 0 sync pages 0", "main barrier -",
			     "main ram-loaded 0 number 2", NULL);
		expect_order(world, "multifd1 packet 1 sync pages 1", "main barrier -", "main ram-loaded 0 number 2",
			     NULL);
		assert_int_equal(world->count[MR_ACTION_BARRIER], flush ? 1 : 2);
		assert_int_equal(world->memory[0][PAGE], 2);
		assert_int_equal(world->memory[0][4 * PAGE], 5);
		world_free(world);
	}
}

/* breaks MFR-002: one channel without its SYNC, and the main loader waits for it */
static void a_barrier_waits(void **state)
{
	const struct setup setup = setup_of("8.2", false);
	struct world *world = connected(&setup);

	(void)state;
	put_multifd_packet(channel(world, 0), FLAG_SYNC, 0, 0);
	put_multifd_packet(channel(world, 1), 0, 0, 1);
	put_barrier(&world->connections[0].bytes, true);
	show(world);
	world_run(world);
	assert_int_equal(world->count[MR_ACTION_BARRIER], 0);
	assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_MAIN).wait, MR_WAIT_ACTOR);
	assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_MAIN).actor, MR_ACTOR_MULTIFD + 1);
	put_multifd_packet(channel(world, 1), FLAG_SYNC, 0, 0);
	show(world);
	world_run(world);
	assert_int_equal(world->count[MR_ACTION_BARRIER], 1);
	world_free(world);
}

/* keeps MFR-003; breaks MFR-003: what a channel brings behind its SYNC does not overtake the barrier */
static void behind_a_sync(void **state)
{
	const struct setup setup = setup_of("8.2", false);
	struct world *world = connected(&setup);

	(void)state;
	put_multifd_packet(channel(world, 0), FLAG_SYNC, 0, 0);
	put_multifd_packet(channel(world, 0), 0, 3, 1);
	show(world);
	world_run(world);
	expect_silent(world, "multifd0 packet 0 pages 1");
	assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_MULTIFD).wait, MR_WAIT_ACTOR);
	put_multifd_packet(channel(world, 1), FLAG_SYNC, 0, 0);
	put_barrier(&world->connections[0].bytes, true);
	show(world);
	world_run(world);
	expect_order(world, "main barrier -", "multifd0 packet 0 pages 1", NULL);
	world_free(world);
}

/* breaks MFR-004: 9.2 does not look for the pages of a SYNC packet, and loses its place */
static void a_sync_with_pages(void **state)
{
	(void)state;
	for (unsigned strict = 0; strict < 2; strict++) {
		const struct setup setup = setup_of("9.2", strict);
		struct world *world = connected(&setup);

		put_multifd_packet(channel(world, 0), FLAG_SYNC, 2, 1);
		put_multifd_packet(channel(world, 1), FLAG_SYNC, 0, 0);
		put_barrier(&world->connections[0].bytes, true);
		put_end(&world->connections[0].bytes);
		build_description(&world->connections[0].bytes, "{}");
		show(world);
		world_run(world);
		assert_int_equal(world->memory[0][2 * PAGE], strict ? 3 : 0);
		if (strict)
			expect_finished(world);
		else
			expect_error(world, MR_MFR_004);
		world_free(world);
	}
}

/* keeps MFR-005 from 9.1 on, breaks MFR-005 before: such pages do not count as received */
static void marks_by_release(void **state)
{
	static const char *const releases[] = {"8.2", "9.0", "9.1", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		const struct setup setup = setup_of(releases[i], false);
		struct world *world = connected(&setup);

		put_multifd_packet(channel(world, 0), 0, 1, 2);
		show(world);
		world_run(world);
		assert_int_equal(world->memory[0][PAGE], 2);
		for (uint64_t page = 0; page < 4; page++)
			assert_int_equal(mr_incoming_is_received(world->machine, 0, page * PAGE),
					 i >= 2 && (page == 1 || page == 2));
		world_free(world);
	}
}

/* More bytes of the channel are fed while a packet is being written: what it marks is not read from the old window. */
static void a_feed_while_a_packet_is_written(void **state)
{
	const struct setup setup = setup_of("11.1", false);
	struct world *world = connected(&setup);

	(void)state;
	show(world);
	world_run(world);
	put_multifd_packet(channel(world, 0), 0, 1, 2);
	show(world);
	assert_int_equal(world_step_only(world, MR_ACTOR_MULTIFD), MR_STEP_ACTION);
	world_complete(world, MR_ACTOR_MULTIFD);
	put_multifd_packet(channel(world, 0), 0, 5, 1);
	show(world);
	world_run(world);
	for (uint64_t page = 0; page < 8; page++)
		assert_int_equal(mr_incoming_is_received(world->machine, 0, page * PAGE),
				 page == 1 || page == 2 || page == 5);
	world_free(world);
}

/* keeps MFR-006: the end between packets, when no SYNC is waited for any more */
static void a_channel_that_ends_early(void **state)
{
	const struct setup setup = setup_of("8.2", true);
	struct world *world = connected(&setup);

	(void)state;
	put_multifd_packet(channel(world, 0), 0, 0, 1);
	show(world);
	world_end(world, 1, 0);
	world_run(world);
	expect_said(world, "multifd0 actor-end -");
	put_end(&world->connections[0].bytes);
	build_description(&world->connections[0].bytes, "{}");
	show(world);
	world_run(world);
	expect_finished(world);
	world_free(world);
}

/* breaks MFR-006: at a barrier a strict machine says so, and a release waits for ever */
static void a_channel_that_ends_before_its_sync(void **state)
{
	(void)state;
	for (unsigned strict = 0; strict < 2; strict++) {
		const struct setup setup = setup_of("8.2", strict);
		struct world *world = connected(&setup);

		put_multifd_packet(channel(world, 1), FLAG_SYNC, 0, 0);
		put_barrier(&world->connections[0].bytes, true);
		show(world);
		world_end(world, 1, 0);
		world_run(world);
		if (strict) {
			expect_failed(world, MR_MFR_006);
		} else {
			assert_false(world->failed);
			assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_MAIN).actor, MR_ACTOR_MULTIFD);
		}
		world_free(world);
	}
}

/* keeps MFR-007: all whole, and the load is good; breaks MFR-007: pages that cannot be written, a packet that is none
 */
static void a_channel_that_breaks(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		const struct setup setup = setup_of("8.2", false);
		struct world *world = connected(&setup);

		put_multifd_packet(channel(world, 0), 0, 0, 1);
		if (how == 1)
			world_fail(world, MR_ACTION_PACKET, 0, HOST_EINVAL);
		if (how == 2)
			build_patch(channel(world, 0), 64, 4, 0x11223345);
		put_end(&world->connections[0].bytes);
		build_description(&world->connections[0].bytes, "{}");
		world_show(world, 1, SIZE_MAX);
		world_show(world, 2, SIZE_MAX);
		world_run(world);
		world_show(world, 0, SIZE_MAX);
		world_run(world);
		if (how == 0)
			expect_finished(world);
		else
			expect_failed(world, how == 1 ? MR_MFR_007 : MR_MFD_010);
		assert_int_equal(world_said(world, "multifd1 actor-end -"), 1);
		world_free(world);
	}
}

/* A packet for a block that is not ours, or with a page that reaches behind its end, breaks its channel by those rules.
 */
static void packets_that_are_refused(void **state)
{
	(void)state;
	for (unsigned how = 0; how < 3; how++) {
		const struct setup setup = setup_of("8.2", false);
		struct world *world = connected(&setup);

		put_multifd_packet(channel(world, 0), 0, how == 0 ? WORLD_PAGES : how == 1 ? 0 : WORLD_PAGES - 1, 1);
		if (how == 1)
			channel(world, 0)->bytes[64 + 64] = 'x';
		if (how == 2)
			channel(world, 0)->bytes[64 + 64 + 256 + 7] = 1; /* no page's border */
		show(world);
		world_run(world);
		assert_int_equal(world->count[MR_ACTION_PACKET], 0);
		expect_error(world, how == 1 ? MR_PC_021 : MR_PC_018);
		world_free(world);
	}
}

/* keeps MFR-009; breaks MFR-009: bytes that a channel still holds when the load is over are not read */
static void bytes_that_are_left(void **state)
{
	const struct setup setup = setup_of("8.2", false);
	struct world *world = connected(&setup);
	uint64_t first;

	(void)state;
	put_multifd_packet(channel(world, 0), FLAG_SYNC, 0, 0);
	first = channel(world, 0)->length;
	put_multifd_packet(channel(world, 0), 0, 5, 1);
	put_end(&world->connections[0].bytes);
	build_description(&world->connections[0].bytes, "{}");
	show(world);
	world_run(world);
	expect_finished(world);
	assert_int_equal(mr_incoming_consumed(world->machine, 1), first);
	assert_int_equal(world->memory[0][5 * PAGE], 0);
	world_free(world);
}

/* keeps MFR-008: in postcopy pages come as records, and the channels are silent; breaks MFR-008: a page by a packet */
static void packets_in_postcopy(void **state)
{
	(void)state;
	for (unsigned strict = 0; strict < 2; strict++) {
		struct setup setup = setup_of("11.1", strict);
		struct world *world;
		struct build *build;

		setup.capabilities |= MR_CAPABILITY_POSTCOPY_RAM;
		world = world_new(&setup);
		build = &world->connections[0].bytes;
		for (uint32_t i = 0; i < CHANNELS; i++) {
			put_multifd_init(channel(world, i), (uint8_t)i);
			world_open(world, i + 1, MR_ROLE_MULTIFD);
		}
		put_running(world, build);
		put_page_section(build, "mem", 0, 7);
		show(world);
		world_run(world);
		expect_said(world, "listen marked mem 0x0");
		put_multifd_packet(channel(world, 0), 0, 3, 1);
		show(world);
		world_run(world);
		if (strict)
			expect_error(world, MR_MFR_008);
		else
			expect_said(world, "multifd0 packet 0 pages 1");
		world_free(world);
	}
}

/* FLUSH in postcopy is a barrier up to 9.2, and unknown afterwards. */
static void flush_in_postcopy(void **state)
{
	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		struct setup setup = setup_of(newer ? "11.1" : "9.2", false);
		struct world *world;

		setup.capabilities |= MR_CAPABILITY_POSTCOPY_RAM;
		world = world_new(&setup);
		for (uint32_t i = 0; i < CHANNELS; i++) {
			put_multifd_init(channel(world, i), (uint8_t)i);
			world_open(world, i + 1, MR_ROLE_MULTIFD);
		}
		put_running(world, &world->connections[0].bytes);
		sync_all(world);
		put_barrier(&world->connections[0].bytes, true);
		show(world);
		world_run(world);
		assert_int_equal(world_said(world, "listen barrier -"), !newer);
		assert_int_equal(mr_incoming_status(world->machine),
				 newer ? MR_STATUS_POSTCOPY_PAUSED : MR_STATUS_POSTCOPY_ACTIVE);
		world_free(world);
	}
}

/* Where the end of each section is a barrier, it is one in postcopy, too, up to 9.2. */
static void ends_of_sections_in_postcopy(void **state)
{
	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		struct setup setup = setup_of(newer ? "11.1" : "7.2", false);
		struct world *world;

		setup.capabilities |= MR_CAPABILITY_POSTCOPY_RAM;
		setup.flush_each_section = true;
		world = world_new(&setup);
		for (uint32_t i = 0; i < CHANNELS; i++) {
			put_multifd_init(channel(world, i), (uint8_t)i);
			world_open(world, i + 1, MR_ROLE_MULTIFD);
		}
		put_running(world, &world->connections[0].bytes);
		put_page_section(&world->connections[0].bytes, "mem", 0, 1);
		sync_all(world);
		sync_all(world);
		show(world);
		world_run(world);
		expect_said(world, "main barrier -");
		assert_int_equal(world_said(world, "listen barrier -"), !newer);
		world_free(world);
	}
}

/* FLUSH without multifd is nothing; the end of a section no barrier where FLUSH is. */
static void flush_without_channels(void **state)
{
	const struct setup setup = {.release = "8.1"};
	struct world *world = world_new(&setup);

	(void)state;
	put_begin(&world->connections[0].bytes);
	put_block_list(world, &world->connections[0].bytes);
	put_barrier(&world->connections[0].bytes, true);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_said(world, "main ram-loaded 0 number 2");
	assert_int_equal(world->count[MR_ACTION_BARRIER], 0);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(channels_come_first),
		cmocka_unit_test(a_barrier_in_both_disciplines),
		cmocka_unit_test(a_barrier_waits),
		cmocka_unit_test(behind_a_sync),
		cmocka_unit_test(a_sync_with_pages),
		cmocka_unit_test(marks_by_release),
		cmocka_unit_test(a_feed_while_a_packet_is_written),
		cmocka_unit_test(a_channel_that_ends_early),
		cmocka_unit_test(a_channel_that_ends_before_its_sync),
		cmocka_unit_test(a_channel_that_breaks),
		cmocka_unit_test(packets_that_are_refused),
		cmocka_unit_test(bytes_that_are_left),
		cmocka_unit_test(packets_in_postcopy),
		cmocka_unit_test(flush_in_postcopy),
		cmocka_unit_test(ends_of_sections_in_postcopy),
		cmocka_unit_test(flush_without_channels),
	};

	return cmocka_run_group_tests_name("machine: multifd", tests, NULL, NULL);
}
