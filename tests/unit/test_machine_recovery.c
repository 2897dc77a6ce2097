/*
 * test_machine_recovery.c: a main channel that breaks at every byte, the pause and the recovery behind it, received
 * bitmaps, and the life of the preempt channel.
 */
#include "machine_support.h"

enum { MEM_BYTES = WORLD_PAGES * PAGE, MEM = 0, HUGE = 1, FULL_STEP = 1, QUICK_STEP = 211 };

/* Host addresses ascend in another order than the list. */
static const struct mr_incoming_block blocks[] = {
	{.name = "mem", .used_length = MEM_BYTES, .rank = 7},
	{.name = "huge", .used_length = 2 * HUGE_PAGE, .page_size = HUGE_PAGE, .rank = 3},
};

static struct setup setup_of(const char *release, bool preempt, bool strict)
{
	return (struct setup){
		.release = release,
		.strict = strict,
		.capabilities = preempt ? MR_CAPABILITY_POSTCOPY_PREEMPT : 0,
		.blocks = blocks,
		.block_count = 2,
	};
}

static void fault(struct world *world, uint32_t block, uint64_t offset)
{
	if (world_fault(world, block, offset))
		world_run_actor(world, MR_ACTOR_FAULT);
}

static uint64_t pages_of(uint32_t block)
{
	return blocks[block].used_length / PAGE;
}

/* What the source holds: a page of zeros every third time. */
static uint8_t content(uint32_t block, uint64_t page)
{
	return page % 3 == 2 ? 0 : (uint8_t)(0x20 * (block + 1) + page);
}

static void put_content(struct build *build, uint32_t block, uint64_t page)
{
	if (content(block, page))
		build_page(build, page * PAGE, blocks[block].name, content(block, page), PAGE);
	else
		build_zero(build, page * PAGE, blocks[block].name);
}

/* ---- A new connection ---- */

/* The recovery's first half: RECV_BITMAP for each block. */
static void reconnect(struct world *world, uint32_t channel)
{
	struct build *build = &world->connections[channel].bytes;

	for (uint32_t i = 0; i < 2; i++)
		build_recv_bitmap(build, blocks[i].name);
	world_open(world, channel, MR_ROLE_RECOVERY);
	world_run(world);
}

/* What the answers say is what was marked, bit for bit. */
static void check_bitmaps(const struct world *world, uint32_t channel)
{
	struct messages messages;

	world_messages(world, channel, &messages);
	assert_true(messages.count >= 2);
	for (uint32_t block = 0; block < 2; block++) {
		const struct mr_return_message *message = &messages.at[block];

		assert_int_equal(message->type, MR_RETURN_RECV_BITMAP);
		assert_true(mr_bytes_equal_string(message->block, blocks[block].name));
		assert_int_equal(message->bitmap_size, mr_received_bitmap_size(pages_of(block)));
		assert_true(message->end_mark == UINT64_C(0x0123456789abcdef));
		for (uint64_t page = 0; page < 8 * message->bitmap_size; page++) {
			const bool bit = message->bitmap.data[page / 8] >> page % 8 & 1;

			assert_int_equal(bit, page < pages_of(block) && world->marked[block][page]);
		}
	}
}

/* The second half: RESUME, everything that is not received, and the end. */
static void put_rest(const struct world *world, struct build *build)
{
	build_command(build, MR_COMMAND_POSTCOPY_RESUME, 0);
	build_part(build, RAM_SECTION);
	for (uint32_t block = 0; block < 2; block++)
		for (uint64_t page = 0; page < pages_of(block); page++)
			if (!world->marked[block][page])
				put_content(build, block, page);
	put_section_end(build);
	put_end(build);
}

static void resume(struct world *world, uint32_t channel)
{
	put_rest(world, &world->connections[channel].bytes);
	world_show(world, channel, SIZE_MAX);
	world_run(world);
}

static void check_all_there(const struct world *world)
{
	expect_finished(world);
	assert_int_equal(mr_incoming_outstanding(world->machine), 0);
	for (uint32_t block = 0; block < 2; block++)
		for (uint64_t page = 0; page < pages_of(block); page++) {
			assert_true(mr_incoming_is_received(world->machine, block, page * PAGE));
			assert_int_equal(world->memory[block][page * PAGE], content(block, page));
			assert_int_equal(world->memory[block][page * PAGE + PAGE - 1], content(block, page));
		}
}

/* ---- A cut at every byte ---- */

/* Two bodies: one with a page, zeros, and a huge page in the middle; then the end with a few more. */
static void put_small_postcopy(struct build *build)
{
	put_section(build);
	put_content(build, MEM, 0);
	put_content(build, MEM, 2);
	build_zero(build, (uint64_t)5 * PAGE, NULL);
	for (uint64_t page = 0; page < 2; page++)
		build_zero(build, page * PAGE, page ? NULL : "huge");
	build_zero(build, (uint64_t)2 * PAGE, NULL);
	build_zero(build, (uint64_t)3 * PAGE, NULL);
	put_section_end(build);
	build_end(build, RAM_SECTION);
	build_zero(build, (uint64_t)8 * PAGE, "mem");
	put_section_end(build);
	build_u8(build, 0);
}

/* The huge page of the small postcopy is all zero, whatever content() says of it. */
static void accept_zero_huge(struct world *world)
{
	for (uint64_t page = 0; page < 4; page++)
		if (world->marked[HUGE][0])
			memset(world->memory[HUGE] + page * PAGE, content(HUGE, page), PAGE);
}

/* Cut at `at` of the main channel; returns false if that was behind the end of all. */
static bool cut_main(const struct setup *setup, size_t at)
{
	const bool preempt = setup->capabilities & MR_CAPABILITY_POSTCOPY_PREEMPT;
	struct world *world = world_running(setup);
	struct build *build = &world->connections[0].bytes;
	const size_t start = build->length;
	bool within;

	fault(world, MEM, (uint64_t)5 * PAGE);
	fault(world, HUGE, HUGE_PAGE);
	put_small_postcopy(build);
	within = start + at < build->length;
	if (within)
		build->length = start + at;
	world_end(world, 0, HOST_EIO);
	world_run(world);
	if (within) {
		assert_int_equal(mr_incoming_status(world->machine), MR_STATUS_POSTCOPY_PAUSED);
		if (preempt)
			world_open(world, 3, MR_ROLE_PREEMPT);
		reconnect(world, 2);
		check_bitmaps(world, 2);
		accept_zero_huge(world);
		resume(world, 2);
		if (preempt) {
			build_eos(&world->connections[3].bytes);
			world_show(world, 3, SIZE_MAX);
			world_run(world);
		}
		check_all_there(world);
	}
	world_free(world);
	return within;
}

/* keeps REC-001 REC-002 REC-004 REC-005 REC-006 */
static void a_cut_at_every_byte(void **state)
{
	static const char *const releases[] = {"7.2", "8.2", "11.1"};
	const size_t step = SANITIZED || RUNNING_ON_VALGRIND ? QUICK_STEP : FULL_STEP;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		for (unsigned preempt = 0; preempt < 2; preempt++) {
			const struct setup setup = setup_of(releases[i], preempt, false);

			/* The releases and channels differ between records, hence not within a page. */
			for (size_t at = 0; cut_main(&setup, at);
			     at += i || preempt ? (at > 40 && at < 4000 ? 97 : 1) : step)
				;
		}
}

/* The preempt channel, cut at every byte of a page, takes the main channel with it at the next section. */
static void a_cut_at_every_byte_of_the_preempt_channel(void **state)
{
	const struct setup setup = setup_of("8.2", true, false);
	const size_t step = SANITIZED || RUNNING_ON_VALGRIND ? QUICK_STEP : 29;
	struct build urgent = {0};

	(void)state;
	put_content(&urgent, MEM, 0);
	put_content(&urgent, HUGE, 0);
	for (size_t at = 0; at <= urgent.length; at += step) {
		struct world *world = world_running(&setup);

		fault(world, MEM, 0);
		build_bytes(&world->connections[1].bytes, urgent.bytes, at);
		world_end(world, 1, HOST_EIO);
		world_run(world);
		expect_said(world, "preempt park -");
		expect_said(world, "listen status postcopy-paused");
		reconnect(world, 2);
		check_bitmaps(world, 2);
		world_open(world, 3, MR_ROLE_PREEMPT);
		resume(world, 2);
		check_all_there(world);
		world_free(world);
	}
	build_free(&urgent);
}

/* ---- Cuts under any schedule ---- */

/* Everything in one body, on the main channel. */
static void put_everything(struct build *build)
{
	put_section(build);
	for (uint32_t block = 0; block < 2; block++)
		for (uint64_t page = 0; page < pages_of(block); page++)
			put_content(build, block, page);
	put_section_end(build);
	put_end(build);
}

/* The source lets go of the main channel, and comes back when the destination has paused. */
static void cut_and_reconnect(struct world *world, struct random *random)
{
	struct build *build = &world->connections[0].bytes;

	build->length = world->connections[0].shown;
	world_end(world, 0, HOST_EIO);
	world_run_at_random(world, random, SIZE_MAX, true);
	assert_int_equal(mr_incoming_status(world->machine), MR_STATUS_POSTCOPY_PAUSED);
	for (uint32_t i = 0; i < 2; i++)
		build_recv_bitmap(&world->connections[2].bytes, blocks[i].name);
	world_open(world, 2, MR_ROLE_RECOVERY);
	world_run_at_random(world, random, SIZE_MAX, true);
	check_bitmaps(world, 2);
}

/* Whatever is stepped when, and wherever the cut is: recovery brings the rest, and nobody waits for a page in the end.
 */
static void a_cut_under_any_schedule(void **state)
{
	static const char *const releases[] = {"5.2", "7.2", "8.2", "11.1"};
	const unsigned count = SANITIZED || RUNNING_ON_VALGRIND ? 20 : 300;

	(void)state;
	for (unsigned i = 0; i < count; i++) {
		const struct setup setup = setup_of(releases[i % 4], false, i / 4 % 2);
		struct random random = {0xabc000 + i};
		struct world *world = world_running(&setup);

		put_everything(&world->connections[0].bytes);
		world_run_at_random(world, &random, (size_t)random_below(&random, 8000), true);
		if (mr_incoming_postcopy_state(world->machine) == MR_POSTCOPY_RUNNING &&
		    world->connections[0].shown < world->connections[0].bytes.length) {
			cut_and_reconnect(world, &random);
			put_rest(world, &world->connections[2].bytes);
		}
		world_run_at_random(world, &random, SIZE_MAX, true);
		check_all_there(world);
		world_free(world);
	}
}

/* ---- The pause ---- */

static struct world *paused(const struct setup *setup)
{
	struct world *world = world_running(setup);

	world_end(world, 0, HOST_EIO);
	world_run(world);
	assert_int_equal(mr_incoming_status(world->machine), MR_STATUS_POSTCOPY_PAUSED);
	return world;
}

/* keeps REC-002 REC-003: channels are given up, the pause is shown, and the fault handler sleeps */
static void the_order_of_a_pause(void **state)
{
	const struct setup setup = setup_of("7.2", true, false);
	struct world *world = paused(&setup);

	(void)state;
	expect_order(world, "listen pause -", "listen close -", "listen close -", "listen status postcopy-paused",
		     "listen park -", NULL);
	expect_order(world, "listen close -", "preempt park -", "listen status postcopy-paused", "fault park -", NULL);
	assert_true(world->connections[0].closed && world->connections[1].closed);
	world_free(world);
}

/* breaks REC-001 REC-012: the return path alone is lost, and pages come as before */
static void the_return_path_alone_is_lost(void **state)
{
	const struct setup setup = setup_of("7.2", false, false);
	struct world *world = world_running(&setup);

	(void)state;
	world_fail(world, MR_ACTION_SEND, 0, HOST_EIO);
	fault(world, MEM, 0);
	expect_said(world, "fault park -");
	put_page_section(&world->connections[0].bytes, "mem", 0, 1);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_said(world, "listen marked mem 0x0 requested left 0");
	expect_silent(world, "listen pause -");
	assert_int_equal(mr_incoming_status(world->machine), MR_STATUS_POSTCOPY_ACTIVE);
	/* keeps REC-012: only the main channel's end pauses. */
	world_end(world, 0, HOST_EIO);
	world_run(world);
	expect_said(world, "listen pause -");
	reconnect(world, 2);
	resume(world, 2);
	expect_said(world, "fault request dropped mem 0x0 of 0 retried");
	world_free(world);
}

/* breaks REC-004: the pages of a huge page that came before the cut are not kept for those that come behind it */
static void a_part_of_a_huge_page_is_forgotten(void **state)
{
	const struct setup setup = setup_of("8.2", false, false);
	struct world *world = world_running(&setup);
	struct build *build = &world->connections[0].bytes;

	(void)state;
	put_section(build);
	for (uint64_t page = 0; page < 3; page++)
		put_content(build, HUGE, page);
	world_end(world, 0, HOST_EIO);
	world_run(world);
	reconnect(world, 2);
	check_bitmaps(world, 2);
	build = &world->connections[2].bytes;
	build_command(build, MR_COMMAND_POSTCOPY_RESUME, 0);
	put_section(build);
	put_content(build, HUGE, 3);
	put_section_end(build);
	world_show(world, 2, SIZE_MAX);
	world_run(world);
	assert_int_equal(world->count[MR_ACTION_PLACE], 0);
	world_free(world);
}

/* ---- RESUME ---- */

/* keeps REC-007 REC-008 REC-009: ACK, pages by their rank with the block named anew, then the fault that failed */
static void what_resume_does(void **state)
{
	(void)state;
	for (unsigned strict = 0; strict < 2; strict++) {
		const struct setup setup = setup_of("7.2", false, strict);
		struct world *world = world_running(&setup);
		struct messages messages;

		fault(world, MEM, (uint64_t)12 * PAGE);
		fault(world, HUGE, HUGE_PAGE);
		world_fail(world, MR_ACTION_SEND, 0, HOST_EIO);
		fault(world, MEM, (uint64_t)10 * PAGE);
		world_end(world, 0, HOST_EIO);
		world_run(world);
		reconnect(world, 2);
		/* keeps REC-011: nothing is sent but answers, until RESUME. */
		assert_false(world_fault(world, MEM, 0));
		world_run(world);
		world_messages(world, 2, &messages);
		assert_int_equal(messages.count, 2);
		world_hush(world);
		build_command(&world->connections[2].bytes, MR_COMMAND_POSTCOPY_RESUME, 0);
		world_show(world, 2, SIZE_MAX);
		world_run(world);
		expect_order(world, "listen command POSTCOPY_RESUME", "listen status postcopy-active",
			     "listen send RESUME_ACK 1", "listen send REQ_PAGES_ID huge 0x4000",
			     "listen request-again repeated huge 0x4000", "listen send REQ_PAGES_ID mem 0xa000",
			     "listen send REQ_PAGES mem 0xc000", "listen command-done POSTCOPY_RESUME 0",
			     "fault continue -", "fault request repeated mem 0xa000 of 3 retried", NULL);
		assert_int_equal(world_said(world, "fault send REQ_PAGES mem 0xa000"), strict ? 0 : 1);
		resume(world, 2);
		check_all_there(world);
		world_free(world);
	}
}

/* keeps REC-007: the block of the last request is named again, although it is the same */
static void resume_forgets_the_last_block(void **state)
{
	const struct setup setup = setup_of("8.2", false, false);
	struct world *world = world_running(&setup);

	(void)state;
	fault(world, MEM, 0);
	world_end(world, 0, HOST_EIO);
	world_run(world);
	world_hush(world);
	reconnect(world, 2);
	build_command(&world->connections[2].bytes, MR_COMMAND_POSTCOPY_RESUME, 0);
	world_show(world, 2, SIZE_MAX);
	world_run(world);
	expect_order(world, "listen send RESUME_ACK 1", "listen send REQ_PAGES_ID mem 0x0", NULL);
	world_free(world);
}

/* breaks REC-004: on the preempt channel, too, the beginning of a huge page does not outlive the cut */
static void a_part_on_the_preempt_channel_is_forgotten(void **state)
{
	const struct setup setup = setup_of("8.2", true, false);
	struct world *world = world_running(&setup);

	(void)state;
	for (uint64_t page = 0; page < 3; page++)
		put_content(&world->connections[1].bytes, HUGE, page);
	world_show(world, 1, SIZE_MAX);
	world_run(world);
	world_end(world, 0, HOST_EIO);
	world_run(world);
	reconnect(world, 2);
	put_content(&world->connections[3].bytes, HUGE, 3);
	world_open(world, 3, MR_ROLE_PREEMPT);
	build_command(&world->connections[2].bytes, MR_COMMAND_POSTCOPY_RESUME, 0);
	world_show(world, 2, SIZE_MAX);
	world_run(world);
	assert_int_equal(world->count[MR_ACTION_PLACE], 0);
	world_free(world);
}

/* Before 5.2 nothing is remembered, and nothing asked again. */
static void resume_before_5_2(void **state)
{
	const struct setup setup = setup_of("5.1", false, false);
	struct world *world = world_running(&setup);
	struct messages messages;

	(void)state;
	fault(world, MEM, 0);
	world_end(world, 0, HOST_EIO);
	world_run(world);
	reconnect(world, 2);
	build_command(&world->connections[2].bytes, MR_COMMAND_POSTCOPY_RESUME, 0);
	world_show(world, 2, SIZE_MAX);
	world_run(world);
	world_messages(world, 2, &messages);
	assert_int_equal(messages.count, 3);
	assert_int_equal(messages.at[2].type, MR_RETURN_RESUME_ACK);
	world_free(world);
}

/* breaks REC-003 REC-011: a fault told in the pause is neither lost nor asked for before RESUME */
static void a_fault_in_the_pause(void **state)
{
	const struct setup setup = setup_of("8.2", false, false);
	struct world *world = world_running(&setup);

	(void)state;
	world_end(world, 0, HOST_EIO);
	world_run_until(world, "listen status postcopy-paused");
	assert_true(world_fault(world, MEM, 0));
	world_run(world);
	expect_said(world, "fault park -");
	reconnect(world, 2);
	expect_silent(world, "fault request added mem 0x0");
	build_command(&world->connections[2].bytes, MR_COMMAND_POSTCOPY_RESUME, 0);
	world_show(world, 2, SIZE_MAX);
	world_run(world);
	expect_order(world, "listen send RESUME_ACK 1", "fault continue -", "fault request added mem 0x0 of 1",
		     "fault send REQ_PAGES_ID mem 0x0", NULL);
	world_free(world);
}

/* breaks REC-008 REC-009: pages that came before the cut are not asked for again, and a fault on one is dropped */
static void what_is_there_is_not_asked_again(void **state)
{
	const struct setup setup = setup_of("8.2", false, false);
	struct world *world = world_running(&setup);

	(void)state;
	world_fail(world, MR_ACTION_SEND, 0, HOST_EIO);
	fault(world, MEM, 0);
	put_section(&world->connections[0].bytes);
	put_content(&world->connections[0].bytes, MEM, 0);
	world_end(world, 0, HOST_EIO);
	world_run(world);
	reconnect(world, 2);
	resume(world, 2);
	assert_int_equal(world->count[MR_ACTION_REQUEST_AGAIN], 0);
	expect_said(world, "fault request dropped mem 0x0 of 0 retried");
	check_all_there(world);
	world_free(world);
}

/* A request that cannot be asked again is left, and the next one is asked. */
static void a_second_request_that_is_lost(void **state)
{
	const struct setup setup = setup_of("8.2", false, false);
	struct world *world = world_running(&setup);

	(void)state;
	fault(world, MEM, 0);
	fault(world, HUGE, 0);
	world_end(world, 0, HOST_EIO);
	world_run(world);
	reconnect(world, 2);
	world_fail(world, MR_ACTION_SEND, 1, HOST_EINVAL);
	resume(world, 2);
	assert_int_equal(world->count[MR_ACTION_REQUEST_AGAIN], 1);
	check_all_there(world);
	world_free(world);
}

/* breaks REC-006 REC-007: neither does anything when nobody recovers; a block that is not ours is refused all the same
 */
static void recovery_when_nobody_recovers(void **state)
{
	const struct setup setup = setup_of("7.2", false, false);
	struct world *world = world_running(&setup);
	struct build *build = &world->connections[0].bytes;
	size_t sent;

	(void)state;
	sent = world->connections[0].sent.length;
	build_command(build, MR_COMMAND_POSTCOPY_RESUME, 0);
	build_recv_bitmap(build, "mem");
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_said(world, "listen command-done POSTCOPY_RESUME 0");
	expect_said(world, "listen command-done RECV_BITMAP 0");
	assert_int_equal(world->connections[0].sent.length, sent);
	build_recv_bitmap(build, "men");
	world_show(world, 0, SIZE_MAX);
	world_run_until(world, "listen command-done RECV_BITMAP -22");
	expect_error(world, MR_REC_006);
	world_free(world);

	world = world_new(&setup);
	put_begin(&world->connections[0].bytes);
	build_recv_bitmap(&world->connections[0].bytes, "men");
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_failed(world, MR_REC_006);
	world_free(world);
}

/* breaks REC-010: up to 8.1 a failure in postcopy-recover is final; keeps REC-010 from 8.2 on, or if it is strict */
static void a_second_cut(void **state)
{
	static const char *const releases[] = {"7.2", "8.1", "8.2", "11.1", "7.2"};

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		const struct setup setup = setup_of(releases[i], false, i == 4);
		struct world *world = paused(&setup);

		reconnect(world, 2);
		world_end(world, 2, HOST_EIO);
		world_run(world);
		if (i < 2) {
			expect_failed(world, MR_REC_010);
		} else {
			assert_int_equal(mr_incoming_status(world->machine), MR_STATUS_POSTCOPY_PAUSED);
			reconnect(world, 3);
			check_bitmaps(world, 3);
			resume(world, 3);
			check_all_there(world);
		}
		world_free(world);
	}
}

/* breaks REC-005: a second main channel when nothing is paused is nobody's; in a pause the first one counts */
static void main_channels_too_many(void **state)
{
	const struct setup setup = setup_of("8.2", false, false);
	struct world *world = world_running(&setup);

	(void)state;
	build_recv_bitmap(&world->connections[4].bytes, "mem");
	build_recv_bitmap(&world->connections[5].bytes, "mem");
	world_open(world, 4, MR_ROLE_RECOVERY);
	world_run(world);
	world_end(world, 0, HOST_EIO);
	world_run(world);
	assert_int_equal(mr_incoming_status(world->machine), MR_STATUS_POSTCOPY_PAUSED);
	reconnect(world, 2);
	world_open(world, 5, MR_ROLE_RECOVERY);
	world_run(world);
	resume(world, 2);
	check_all_there(world);
	assert_int_equal(mr_incoming_consumed(world->machine, 4), 0);
	assert_int_equal(mr_incoming_consumed(world->machine, 5), 0);
	/* A number twice, one too large, a role that is none. */
	assert_int_equal(mr_incoming_open(world->machine, 5, MR_ROLE_MAIN), -1);
	assert_int_equal(mr_incoming_open(world->machine, WORLD_CONNECTIONS, MR_ROLE_MAIN), -1);
	assert_int_equal(mr_incoming_open(world->machine, 6, MR_ROLE_RETURN), -1);
	world_free(world);
}

/* breaks REC-002: the channels of before are given up: what they still bring is not read */
static void an_old_channel_is_not_read(void **state)
{
	const struct setup setup = setup_of("8.2", false, false);
	struct world *world = world_running(&setup);

	(void)state;
	put_page_section(&world->connections[0].bytes, "mem", MEM_BYTES, 0);
	put_page_section(&world->connections[0].bytes, "mem", 0, 1);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	assert_int_equal(mr_incoming_status(world->machine), MR_STATUS_POSTCOPY_PAUSED);
	reconnect(world, 2);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	assert_false(mr_incoming_is_received(world->machine, MEM, 0));
	world_free(world);
}

/* ---- Bitmaps of every size ---- */

static void bitmaps_of_every_size(void **state)
{
	static const uint64_t sizes[] = {1, 63, 64, 65, 200000};
	static const char *const names[] = {"one", "b63", "b64", "b65", "big"};
	struct mr_incoming_block many[5] = {0};
	const struct setup setup = {.release = "11.1", .without_memory = true, .blocks = many, .block_count = 5};
	struct messages messages;
	struct world *world;
	struct build *build;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		many[i] = (struct mr_incoming_block){.name = names[i], .used_length = sizes[i] * PAGE, .rank = i};
	world = world_running(&setup);
	build = &world->connections[0].bytes;
	put_section(build);
	for (unsigned i = 0; i < 5; i++)
		for (uint64_t page = 0; page < sizes[i]; page += 1 + sizes[i] / 9)
			build_zero(build, page * PAGE, names[i]);
	build_zero(build, 199999 * UINT64_C(4096), "big");
	build_zero(build, 65407 * UINT64_C(4096), NULL);
	build_zero(build, 65408 * UINT64_C(4096), NULL);
	put_section_end(build);
	world_end(world, 0, HOST_EIO);
	world_run(world);
	for (unsigned i = 0; i < 5; i++)
		build_recv_bitmap(&world->connections[2].bytes, names[i]);
	world_open(world, 2, MR_ROLE_RECOVERY);
	world_run(world);
	assert_true(world_said(world, "listen send bits big") > 1);
	world_messages(world, 2, &messages);
	assert_int_equal(messages.count, 5);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(messages.at[i].bitmap_size, (sizes[i] + 63) / 64 * 8);
		for (uint64_t page = 0; page < 8 * messages.at[i].bitmap_size; page++)
			assert_int_equal(messages.at[i].bitmap.data[page / 8] >> page % 8 & 1,
					 page < sizes[i] && mr_incoming_is_received(world->machine, i, page * PAGE));
	}
	assert_true(mr_incoming_is_received(world->machine, 4, 65408 * UINT64_C(4096)));
	world_free(world);
}

/* ---- Preempt channel ---- */

/* keeps PRE-003: by EOS in 7.2; breaks PRE-003: without it the end waits */
static void a_preempt_channel_ends_by_eos(void **state)
{
	(void)state;
	for (unsigned ends = 0; ends < 2; ends++) {
		const struct setup setup = setup_of("7.2", true, false);
		struct world *world = world_running(&setup);

		put_content(&world->connections[1].bytes, MEM, 0);
		if (ends)
			build_eos(&world->connections[1].bytes);
		world_show(world, 1, SIZE_MAX);
		put_end(&world->connections[0].bytes);
		world_show(world, 0, SIZE_MAX);
		world_run(world);
		expect_said(world, "preempt marked mem 0x0");
		if (ends) {
			expect_finished(world);
			expect_order(world, "preempt ram-loaded 0 postcopy", "preempt actor-end -", NULL);
		} else {
			assert_false(world->finished);
			assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_LISTEN).actor, MR_ACTOR_PREEMPT);
		}
		world_free(world);
	}
}

/* From 8.0 on it is shut; from 8.2 on when nothing is waited for any more. */
static void a_preempt_channel_is_shut(void **state)
{
	static const char *const releases[] = {"8.0", "8.2", "11.1"};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		const struct setup setup = setup_of(releases[i], true, false);
		struct world *world = world_running(&setup);

		fault(world, MEM, 0);
		put_end(&world->connections[0].bytes);
		world_show(world, 0, SIZE_MAX);
		world_run(world);
		assert_int_equal(world->finished, i == 0);
		if (i > 0) {
			assert_int_equal(
				mr_incoming_wants(world->machine, i == 2 ? MR_ACTOR_MAIN : MR_ACTOR_LISTEN).wait,
				MR_WAIT_REQUESTS);
			put_content(&world->connections[1].bytes, MEM, 0);
			world_show(world, 1, SIZE_MAX);
			world_run(world);
		}
		expect_finished(world);
		expect_said(world, "preempt actor-end -");
		assert_true(world->connections[1].closed);
		world_free(world);
	}
}

/* keeps PRE-002; breaks PRE-002: what comes before LISTEN is left where it is */
static void the_preempt_channel_is_read_from_listen_on(void **state)
{
	struct setup setup = setup_of("8.2", true, true);
	struct world *world;

	(void)state;
	setup.capabilities |= MR_CAPABILITY_POSTCOPY_RAM;
	world = world_new(&setup);
	put_content(&world->connections[1].bytes, MEM, 0);
	world_open(world, 1, MR_ROLE_PREEMPT);
	put_discarded(world, &world->connections[0].bytes);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	assert_int_equal(mr_incoming_consumed(world->machine, 1), 0);
	expect_silent(world, "preempt actor-start -");
	put_package(&world->connections[0].bytes);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_order(world, "preempt actor-start -", "main listen-ready -", NULL);
	expect_said(world, "preempt marked mem 0x0");
	world_free(world);
}

/* keeps PRE-004: a broken channel sleeps until RESUME, and the listen loader sees it */
static void a_broken_preempt_channel(void **state)
{
	const struct setup setup = setup_of("8.2", true, false);
	struct world *world = world_running(&setup);

	(void)state;
	put_section(&world->connections[0].bytes);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	world_end(world, 1, HOST_EIO);
	world_run(world);
	expect_said(world, "preempt park -");
	expect_silent(world, "listen pause -");
	put_section_end(&world->connections[0].bytes);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_said(world, "listen pause -");
	reconnect(world, 2);
	expect_silent(world, "preempt continue -");
	/* RESUME waits for the new one. */
	build_command(&world->connections[2].bytes, MR_COMMAND_POSTCOPY_RESUME, 0);
	world_show(world, 2, SIZE_MAX);
	world_run(world);
	assert_int_equal(mr_incoming_wants(world->machine, MR_ACTOR_LISTEN).wait, MR_WAIT_CHANNEL);
	world_open(world, 3, MR_ROLE_PREEMPT);
	world_run(world);
	expect_said(world, "preempt continue -");
	expect_said(world, "listen command-done POSTCOPY_RESUME 0");
	world_free(world);
}

/* breaks PRE-004: a record that may not stand there sleeps silently in a release, and pauses a strict machine */
static void a_wrong_record_on_the_preempt_channel(void **state)
{
	(void)state;
	for (unsigned strict = 0; strict < 2; strict++) {
		const struct setup setup = setup_of("8.2", true, strict);
		struct world *world = world_running(&setup);

		build_zero(&world->connections[1].bytes, MEM_BYTES, "mem");
		world_show(world, 1, SIZE_MAX);
		world_run_until(world, "preempt park -");
		world_run(world);
		put_page_section(&world->connections[0].bytes, "mem", 0, 1);
		world_show(world, 0, SIZE_MAX);
		world_run(world);
		assert_int_equal(world_said(world, "listen pause -"), strict);
		assert_int_equal(mr_incoming_is_received(world->machine, MEM, 0), !strict);
		world_free(world);
	}
}

/*
 * keeps PRE-005 PC-013: with it, everything is loaded
 * breaks PRE-005 PC-013: without it up to 7.2 nothing is loaded, and from 9.0 on no package
 */
static void what_waits_for_the_preempt_channel(void **state)
{
	static const char *const releases[] = {"7.2", "8.2", "9.0"};
	static const char *const before[] = {NULL, "main command-done POSTCOPY_LISTEN", "main command PACKAGED"};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct setup setup = setup_of(releases[i], true, false);
		struct world *world;

		setup.capabilities |= MR_CAPABILITY_POSTCOPY_RAM;
		world = world_new(&setup);
		put_running(world, &world->connections[0].bytes);
		world_show(world, 0, SIZE_MAX);
		world_run(world);
		if (before[i])
			expect_said(world, before[i]);
		else
			assert_int_equal(mr_incoming_consumed(world->machine, 0), 0);
		assert_int_equal(world_said(world, "main command POSTCOPY_LISTEN"), i == 1);
		world_open(world, 1, MR_ROLE_PREEMPT);
		world_run(world);
		expect_said(world, "main command-done PACKAGED 1");
		world_free(world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cut_at_every_byte),
		cmocka_unit_test(a_cut_at_every_byte_of_the_preempt_channel),
		cmocka_unit_test(a_cut_under_any_schedule),
		cmocka_unit_test(the_order_of_a_pause),
		cmocka_unit_test(the_return_path_alone_is_lost),
		cmocka_unit_test(a_part_of_a_huge_page_is_forgotten),
		cmocka_unit_test(what_resume_does),
		cmocka_unit_test(resume_forgets_the_last_block),
		cmocka_unit_test(a_part_on_the_preempt_channel_is_forgotten),
		cmocka_unit_test(resume_before_5_2),
		cmocka_unit_test(a_fault_in_the_pause),
		cmocka_unit_test(what_is_there_is_not_asked_again),
		cmocka_unit_test(a_second_request_that_is_lost),
		cmocka_unit_test(recovery_when_nobody_recovers),
		cmocka_unit_test(a_second_cut),
		cmocka_unit_test(main_channels_too_many),
		cmocka_unit_test(an_old_channel_is_not_read),
		cmocka_unit_test(bitmaps_of_every_size),
		cmocka_unit_test(a_preempt_channel_ends_by_eos),
		cmocka_unit_test(a_preempt_channel_is_shut),
		cmocka_unit_test(the_preempt_channel_is_read_from_listen_on),
		cmocka_unit_test(a_broken_preempt_channel),
		cmocka_unit_test(a_wrong_record_on_the_preempt_channel),
		cmocka_unit_test(what_waits_for_the_preempt_channel),
	};

	return cmocka_run_group_tests_name("machine: recovery", tests, NULL, NULL);
}
