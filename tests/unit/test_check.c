/*
 * The checker against small migrations built by hand: for each of its rules one that keeps it and one that breaks it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "build.h"
#include "migref.h"

enum {
	PAGE = 4096,
	RAM_LENGTH = 8 * PAGE,
	HOST_PAGE = 4 * PAGE,
	RAM_ID = 2,
	DEVICE_ID = 9,
	CHANNELS = 6,
	OPEN_RETURN_PATH = 1,
	LISTEN = 4,
	RUN = 5,
	ENABLE_COLO = 8,
	RESUME = 9,
	SWITCHOVER_START = 11,
};

static const char *const ram = "pc.ram";

/* ---- Migrations ---- */

struct connection {
	enum mr_role role;
	uint32_t number;
	bool cut;
	struct build stream;
};

/* One migration: its channels in the order in which the checker gets them, and what it said of them. */
static struct migration {
	struct mr_context context;
	struct connection connections[CHANNELS];
	unsigned count;
	unsigned total, counts[MR_RULE_COUNT];
	struct mr_finding last[MR_RULE_COUNT];
} migration;

static struct mr_session session;
static struct mr_decoder decoders[CHANNELS];
static size_t places[CHANNELS];

static int reset(void **state)
{
	(void)state;
	for (unsigned i = 0; i < migration.count; i++)
		build_free(&migration.connections[i].stream);
	memset(&migration, 0, sizeof(migration));
	migration.context.multifd_method = MR_METHOD_UNKNOWN;
	return 0;
}

static struct build *connect(enum mr_role role, uint32_t number)
{
	struct connection *connection = &migration.connections[migration.count++];

	assert_true(migration.count <= CHANNELS);
	connection->role = role;
	connection->number = number;
	return &connection->stream;
}

static void cut_last(void)
{
	migration.connections[migration.count - 1].cut = true;
}

static void keep_finding(void *argument, const struct mr_finding *finding)
{
	(void)argument;
	/* where a cut stream ends and how device sections are delimited is not what is tested here */
	if (finding->rule == MR_STR_026 || finding->rule == MR_STR_023)
		return;
	migration.total++;
	migration.counts[finding->rule]++;
	migration.last[finding->rule] = *finding;
}

/* Gives the checker the next record of a channel. Returns false at its end. */
static bool step(struct mr_checker *checker, unsigned index)
{
	const struct connection *connection = &migration.connections[index];
	const struct build *stream = &connection->stream;
	struct mr_record record;
	enum mr_result result;

	result = mr_decode(&decoders[index], stream->bytes + places[index], stream->length - places[index], true,
			   &record);
	if (result != MR_RECORD) {
		assert_int_equal(result, connection->cut ? MR_FAILED : MR_DONE);
		mr_checker_channel_end(checker, &decoders[index], connection->cut);
		return false;
	}
	places[index] += (size_t)record.length;
	mr_checker_record(checker, &decoders[index], &record);
	return true;
}

/* Nobody asks for pages before LISTEN, so that the preempt channel is silent until then. */
static bool must_wait(unsigned index)
{
	return migration.connections[index].role == MR_ROLE_PREEMPT && !session.listening;
}

static void judge(bool interleaved)
{
	bool going[CHANNELS] = {false}, any = true;
	struct mr_checker *checker;

	migration.total = 0;
	memset(migration.counts, 0, sizeof(migration.counts));
	mr_session_init(&session, &migration.context, keep_finding, NULL);
	checker = mr_checker_new(&session);
	assert_non_null(checker);
	for (unsigned i = 0; i < migration.count; i++) {
		const struct connection *connection = &migration.connections[i];

		mr_decoder_init(&decoders[i], &session, connection->role, connection->number);
		places[i] = 0;
		going[i] = true;
	}
	while (any) {
		any = false;
		for (unsigned i = 0; i < migration.count; i++) {
			do
				going[i] = going[i] && (must_wait(i) || step(checker, i));
			while (going[i] && !interleaved);
			any = any || going[i];
		}
	}
	mr_checker_finish(checker);
	mr_checker_free(checker);
}

/* Demands that nothing but `count` findings of `rule` come out, whichever way the channels are given. */
static void expect_as(enum mr_rule rule, enum mr_verdict verdict, unsigned count)
{
	bool recovery = false;

	for (unsigned i = 0; i < migration.count; i++)
		recovery = recovery || migration.connections[i].role == MR_ROLE_RECOVERY;
	/* a recovery follows on what was cut */
	for (unsigned interleaved = 0; interleaved <= !recovery; interleaved++) {
		judge(interleaved);
		for (unsigned other = 0; other < MR_RULE_COUNT; other++)
			if (migration.counts[other] && (other != rule || migration.counts[other] != count))
				fail_msg("%s %u times, first expected %s, found %s", mr_rule_id((enum mr_rule)other),
					 migration.counts[other], migration.last[other].expected,
					 migration.last[other].found);
		assert_int_equal(migration.total, count);
		if (count)
			assert_int_equal(migration.last[rule].verdict, verdict);
	}
	reset(NULL);
}

static void expect(enum mr_rule rule)
{
	expect_as(rule, mr_rule_verdict(rule), 1);
}

static void expect_nothing(void)
{
	expect_as(MR_NO_RULE, MR_VALID, 0);
}

/* ---- Pieces of a main channel ---- */

static void put_command(struct build *build, uint16_t number)
{
	build_command(build, number, 0);
}

static void put_begin(struct build *build)
{
	build_header(build);
	build_configuration(build, "pc");
	put_command(build, OPEN_RETURN_PATH);
	build_ping(build, 1);
}

static void put_part_begin(struct build *build)
{
	build_part(build, RAM_ID);
}

static void put_ram_rest(struct build *build)
{
	build_eos(build);
	build_footer(build, RAM_ID);
}

/* A PART with the page records of `pages`, the first named. */
static void put_part(struct build *build, uint64_t page)
{
	put_part_begin(build);
	build_page(build, page * PAGE, ram, 1, PAGE);
	put_ram_rest(build);
}

static void put_ram_end(struct build *build)
{
	build_end(build, RAM_ID);
	put_ram_rest(build);
}

static void put_precopy_end(struct build *build)
{
	put_ram_end(build);
	build_device(build, DEVICE_ID, "timer", 1, 20);
	build_u8(build, 0);
	build_description(build, "{\"devices\": []}");
}

static void put_precopy(struct build *build)
{
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	put_part(build, 0);
	put_precopy_end(build);
}

static void put_package(struct build *build)
{
	const size_t start = build_package(build);

	put_command(build, LISTEN);
	build_device(build, DEVICE_ID, "timer", 1, 20);
	build_ping(build, 3);
	put_command(build, RUN);
	build_package_end(build, start);
}

/* Up to the switch: page 0 was sent, ADVISE gives the pages' size. */
static void put_postcopy_begin(struct build *build)
{
	put_begin(build);
	build_advise(build, PAGE, PAGE);
	build_ram_start(build, ram, RAM_LENGTH);
	put_part(build, 0);
}

static void put_switch(struct build *build)
{
	build_discard(build, ram, 0, RAM_LENGTH);
	build_ping(build, 2);
	put_package(build);
	build_ping(build, 4);
}

static void put_postcopy_end(struct build *build)
{
	put_ram_end(build);
	build_u8(build, 0);
}

static void put_postcopy(struct build *build)
{
	put_postcopy_begin(build);
	put_switch(build);
	put_part(build, 0);
	put_postcopy_end(build);
}

/* ---- Pieces of a return path ---- */

static void put_message(struct build *build, uint16_t type, uint32_t value)
{
	build_be16(build, type);
	build_be16(build, 4);
	build_be32(build, value);
}

static void put_pong(struct build *build, uint32_t value)
{
	put_message(build, 2, value);
}

static void put_shut(struct build *build)
{
	put_message(build, 1, 0);
}

static void put_request(struct build *build, uint64_t start)
{
	build_be16(build, 3);
	build_be16(build, (uint16_t)(13 + strlen(ram)));
	build_be64(build, start);
	build_be32(build, PAGE);
	build_counted(build, ram);
}

static void put_bitmap(struct build *build, const char *block)
{
	build_be16(build, 5);
	build_be16(build, (uint16_t)(1 + strlen(block)));
	build_counted(build, block);
	build_be64(build, 8);
	build_fill(build, 0, 8);
	build_be64(build, UINT64_C(0x0123456789abcdef));
}

static void put_postcopy_answers(struct build *build)
{
	put_pong(build, 1);
	put_pong(build, 2);
	put_pong(build, 4);
	put_pong(build, 3);
	put_request(build, 0);
	put_shut(build);
}

/* ---- Pieces of a multifd channel ---- */

static void put_init(struct build *build, uint8_t uuid, uint8_t id)
{
	build_be32(build, 0x11223344);
	build_be32(build, 1);
	build_fill(build, uuid, 16);
	build_u8(build, id);
	build_fill(build, 0, 39);
}

/* A packet with `count` raw pages from `page` on; `payload` NULL makes it raw. */
static void put_packet(struct build *build, uint32_t flags, uint64_t number, uint64_t page, uint32_t count,
		       const struct build *payload)
{
	build_be32(build, 0x11223344);
	build_be32(build, 1);
	build_be32(build, flags);
	build_be32(build, 128);
	build_be32(build, count);
	build_be32(build, payload ? (uint32_t)payload->length : count * PAGE);
	build_be64(build, number);
	build_be32(build, 0);
	build_fill(build, 0, 28);
	if (count)
		build_text(build, ram);
	build_fill(build, 0, count ? 256 - strlen(ram) : 256);
	for (uint32_t i = 0; i < 128; i++)
		build_be64(build, i < count ? (page + i) * PAGE : 0);
	if (payload)
		build_bytes(build, payload->bytes, payload->length);
	else
		build_fill(build, 7, (size_t)count * PAGE);
}

static void put_sync(struct build *build, uint64_t number)
{
	put_packet(build, MR_MULTIFD_FLAG_SYNC, number, 0, 0, NULL);
}

/* A main channel whose ram sections, three of them, each end in a barrier. */
static void connect_multifd_main(void)
{
	migration.context.capabilities = MR_CAPABILITY_MULTIFD;
	migration.context.capabilities_known = true;
	put_precopy(connect(MR_ROLE_MAIN, 0));
}

static struct build *connect_multifd(uint32_t number, uint8_t id)
{
	struct build *build = connect(MR_ROLE_MULTIFD, number);

	put_init(build, 5, id);
	return build;
}

/* ---- Whole migrations that keep every rule ---- */

static void test_kept(void **state)
{
	struct build *build;

	(void)state;
	put_precopy(connect(MR_ROLE_MAIN, 0));
	expect_nothing();
	put_postcopy(connect(MR_ROLE_MAIN, 0));
	put_postcopy_answers(connect(MR_ROLE_RETURN, 0));
	expect_nothing();
	/* the other way round: answers first, or alone */
	put_postcopy_answers(connect(MR_ROLE_RETURN, 0));
	put_postcopy(connect(MR_ROLE_MAIN, 0));
	expect_nothing();
	put_postcopy_answers(connect(MR_ROLE_RETURN, 0));
	expect_nothing();

	connect_multifd_main();
	for (uint8_t id = 0; id < 2; id++) {
		build = connect_multifd(1 + id, id);
		put_sync(build, id);
		put_packet(build, 0, 2u + id, 4 * id, 4, NULL);
		put_sync(build, 4 + id);
		put_packet(build, 0, 6u + id, 4 * id, 4, NULL);
		put_sync(build, 8 + id);
	}
	expect_nothing();
}

/* ---- Sections ---- */

static void test_section_ids(void **state)
{
	struct build *build;

	(void)state;
	/* one id, two handlers */
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	put_ram_end(build);
	build_device(build, DEVICE_ID, "timer", 1, 20);
	build_device(build, DEVICE_ID, "dma", 1, 20);
	build_u8(build, 0);
	build_description(build, "{\"devices\": []}");
	expect(MR_STR_013);
	/* one handler, two ids; the third section has its own id again */
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	put_ram_end(build);
	build_device(build, DEVICE_ID, "timer", 1, 20);
	build_device(build, DEVICE_ID + 1, "timer", 1, 20);
	build_device(build, DEVICE_ID, "timer", 1, 20);
	build_u8(build, 0);
	build_description(build, "{\"devices\": []}");
	expect(MR_STR_013);
}

static void test_section_ends(void **state)
{
	struct build *build;

	(void)state;
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	put_ram_end(build);
	put_part(build, 0);
	build_device(build, DEVICE_ID, "timer", 1, 20);
	build_u8(build, 0);
	build_description(build, "{\"devices\": []}");
	expect(MR_STR_015);
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	put_part(build, 0);
	build_device(build, DEVICE_ID, "timer", 1, 20);
	build_u8(build, 0);
	build_description(build, "{\"devices\": []}");
	expect(MR_STR_018);
}

/* A background snapshot has no END of ram. */
static void test_background_snapshot(void **state)
{
	struct build *build = connect(MR_ROLE_MAIN, 0);

	(void)state;
	migration.context.capabilities = MR_CAPABILITY_BACKGROUND_SNAPSHOT;
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	put_part(build, 0);
	build_device(build, DEVICE_ID, "timer", 1, 20);
	build_u8(build, 0);
	build_description(build, "{\"devices\": []}");
	expect_nothing();
}

static void test_stream_end(void **state)
{
	struct build *build;

	(void)state;
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	put_ram_end(build);
	build_u8(build, 0);
	build_description(build, "{\"devices\": []}");
	expect(MR_STR_019);
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	put_ram_end(build);
	build_device(build, DEVICE_ID, "timer", 1, 20);
	build_u8(build, 0);
	expect(MR_STR_020);
}

static void test_section_order(void **state)
{
	struct build *build;

	(void)state;
	/* START behind PART */
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	put_part(build, 0);
	build_start(build, RAM_ID, "ram", 4);
	put_ram_rest(build);
	put_precopy_end(build);
	expect(MR_STR_029);
	/* END behind a device section */
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	put_part(build, 0);
	build_device(build, DEVICE_ID, "timer", 1, 20);
	put_ram_end(build);
	build_u8(build, 0);
	build_description(build, "{\"devices\": []}");
	expect(MR_STR_029);
	/* an early device section is legal */
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_device(build, DEVICE_ID, "early", 1, 20);
	build_ram_start(build, ram, RAM_LENGTH);
	put_part(build, 0);
	put_ram_end(build);
	build_u8(build, 0);
	build_description(build, "{\"devices\": []}");
	expect_nothing();
}

/* ---- Commands ---- */

static void test_return_path_commands(void **state)
{
	struct build *build;

	(void)state;
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	put_command(build, OPEN_RETURN_PATH);
	build_ram_start(build, ram, RAM_LENGTH);
	put_precopy_end(build);
	expect(MR_CMD_003);
	build = connect(MR_ROLE_MAIN, 0);
	build_header(build);
	build_configuration(build, "pc");
	build_ping(build, 1);
	build_ram_start(build, ram, RAM_LENGTH);
	put_precopy_end(build);
	expect(MR_CMD_004);
}

static void test_advise(void **state)
{
	struct build *build;

	(void)state;
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_advise(build, PAGE, PAGE);
	build_advise(build, PAGE, PAGE);
	build_ram_start(build, ram, RAM_LENGTH);
	put_precopy_end(build);
	expect(MR_CMD_007);
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	build_advise(build, PAGE, PAGE);
	put_precopy_end(build);
	expect(MR_CMD_007);
}

static void put_summary_stream(uint64_t summary, uint64_t page_size)
{
	struct build *build = connect(MR_ROLE_MAIN, 0);

	put_begin(build);
	build_advise(build, summary, PAGE);
	build_start(build, RAM_ID, "ram", 4);
	build_size(build, RAM_LENGTH + PAGE);
	build_block(build, ram, RAM_LENGTH);
	if (page_size)
		build_be64(build, page_size);
	build_block(build, "vga", PAGE);
	build_eos(build);
	build_footer(build, RAM_ID);
	put_precopy_end(build);
}

static void test_summary(void **state)
{
	(void)state;
	put_summary_stream(PAGE, 0);
	expect_nothing();
	put_summary_stream(PAGE | HOST_PAGE, HOST_PAGE);
	expect_nothing();
	/* a size that no block has; no ordinary one though "vga" needs it */
	put_summary_stream(PAGE | HOST_PAGE, 0);
	expect(MR_CMD_008);
	put_summary_stream(HOST_PAGE, HOST_PAGE);
	expect(MR_CMD_008);
}

static void test_discards(void **state)
{
	struct build *build;

	(void)state;
	build = connect(MR_ROLE_MAIN, 0);
	put_postcopy_begin(build);
	build_discard(build, ram, 0, 2 * PAGE);
	build_discard(build, ram, 2 * PAGE, PAGE);
	put_package(build);
	put_postcopy_end(build);
	expect_nothing();
	/* overlap */
	build = connect(MR_ROLE_MAIN, 0);
	put_postcopy_begin(build);
	build_discard(build, ram, 0, 2 * PAGE);
	build_discard(build, ram, PAGE, PAGE);
	put_package(build);
	put_postcopy_end(build);
	expect(MR_CMD_014);
	/* without ADVISE */
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	build_discard(build, ram, 0, PAGE);
	put_precopy_end(build);
	expect(MR_CMD_013);
	/* behind LISTEN */
	build = connect(MR_ROLE_MAIN, 0);
	put_postcopy_begin(build);
	build_discard(build, ram, 0, PAGE);
	put_package(build);
	build_discard(build, ram, PAGE, PAGE);
	put_postcopy_end(build);
	expect(MR_CMD_013);
}

static void test_discards_apart(void **state)
{
	struct build *build = connect(MR_ROLE_MAIN, 0);

	(void)state;
	put_begin(build);
	build_advise(build, PAGE, PAGE);
	build_start(build, RAM_ID, "ram", 4);
	build_size(build, RAM_LENGTH + PAGE);
	build_block(build, ram, RAM_LENGTH);
	build_block(build, "vga", PAGE);
	build_eos(build);
	build_footer(build, RAM_ID);
	build_discard(build, ram, 0, PAGE);
	build_discard(build, "vga", 0, PAGE);
	build_discard(build, ram, PAGE, PAGE);
	put_package(build);
	put_postcopy_end(build);
	expect(MR_CMD_014);
}

static void test_listen_and_run(void **state)
{
	struct build *build;

	(void)state;
	build = connect(MR_ROLE_MAIN, 0);
	put_postcopy_begin(build);
	put_package(build);
	put_postcopy_end(build);
	expect(MR_CMD_016);
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	put_package(build);
	put_postcopy_end(build);
	expect(MR_CMD_015);
	build = connect(MR_ROLE_MAIN, 0);
	put_postcopy_begin(build);
	put_switch(build);
	put_command(build, LISTEN);
	put_postcopy_end(build);
	expect(MR_CMD_015);
	build = connect(MR_ROLE_MAIN, 0);
	put_postcopy_begin(build);
	put_switch(build);
	put_command(build, RUN);
	put_postcopy_end(build);
	expect(MR_CMD_017);
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	put_command(build, RUN);
	build_ram_start(build, ram, RAM_LENGTH);
	put_precopy_end(build);
	expect(MR_CMD_017);
}

/* A package whose parts may be left out, with a command of its own in the middle. */
static void put_odd_package(struct build *build, bool listen, bool run, uint16_t number)
{
	size_t start;

	put_postcopy_begin(build);
	build_discard(build, ram, 0, RAM_LENGTH);
	if (!listen)
		put_command(build, LISTEN);
	start = build_package(build);
	if (listen)
		put_command(build, LISTEN);
	build_ping(build, 3);
	if (number == MR_COMMAND_POSTCOPY_ADVISE)
		build_advise(build, PAGE, PAGE);
	if (number == MR_COMMAND_POSTCOPY_RAM_DISCARD)
		build_discard(build, ram, 0, PAGE);
	if (number == MR_COMMAND_RECV_BITMAP)
		build_recv_bitmap(build, ram);
	if (number == OPEN_RETURN_PATH)
		put_command(build, OPEN_RETURN_PATH);
	if (run)
		put_command(build, RUN);
	build_package_end(build, start);
	if (!run)
		put_command(build, RUN);
	put_postcopy_end(build);
}

static void test_package(void **state)
{
	(void)state;
	put_odd_package(connect(MR_ROLE_MAIN, 0), true, true, 0);
	expect_nothing();
	put_odd_package(connect(MR_ROLE_MAIN, 0), false, true, 0);
	expect(MR_CMD_019);
	put_odd_package(connect(MR_ROLE_MAIN, 0), true, false, 0);
	expect(MR_CMD_019);
	put_odd_package(connect(MR_ROLE_MAIN, 0), true, true, MR_COMMAND_POSTCOPY_ADVISE);
	expect(MR_CMD_020);
	put_odd_package(connect(MR_ROLE_MAIN, 0), true, true, MR_COMMAND_POSTCOPY_RAM_DISCARD);
	expect(MR_CMD_020);
	put_odd_package(connect(MR_ROLE_MAIN, 0), true, true, MR_COMMAND_RECV_BITMAP);
	expect(MR_CMD_020);
	put_odd_package(connect(MR_ROLE_MAIN, 0), true, true, OPEN_RETURN_PATH);
	expect(MR_CMD_003);
}

static void put_late_switchover(struct build *build, bool end)
{
	put_postcopy_begin(build);
	if (end)
		put_ram_end(build);
	else
		build_discard(build, ram, 0, RAM_LENGTH);
	put_command(build, SWITCHOVER_START);
	if (end) {
		build_device(build, DEVICE_ID, "timer", 1, 20);
		build_u8(build, 0);
		build_description(build, "{\"devices\": []}");
		return;
	}
	put_package(build);
	put_postcopy_end(build);
}

static void test_other_commands(void **state)
{
	struct build *build;

	(void)state;
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	put_command(build, SWITCHOVER_START);
	put_precopy_end(build);
	expect_nothing();
	put_late_switchover(connect(MR_ROLE_MAIN, 0), true);
	expect(MR_CMD_024);
	put_late_switchover(connect(MR_ROLE_MAIN, 0), false);
	expect(MR_CMD_024);
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	put_command(build, ENABLE_COLO);
	build_ram_start(build, ram, RAM_LENGTH);
	put_precopy_end(build);
	expect_nothing();
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	put_command(build, ENABLE_COLO);
	put_precopy_end(build);
	expect(MR_CMD_023);
}

static void test_colo(void **state)
{
	struct build *build;

	(void)state;
	for (uint32_t message = 1; message <= 2; message++) {
		build = connect(MR_ROLE_MAIN, 0);
		put_begin(build);
		put_command(build, ENABLE_COLO);
		build_ram_start(build, ram, RAM_LENGTH);
		put_precopy_end(build);
		build_be32(build, message);
		if (message == 1)
			expect_nothing();
		else
			expect(MR_COL_002);
	}
}

/* ---- Recovery ---- */

static void connect_cut_postcopy(void)
{
	struct build *build = connect(MR_ROLE_MAIN, 0);

	put_postcopy_begin(build);
	put_switch(build);
	put_part(build, 0);
	cut_last();
}

static void put_recovery_begin(struct build *build)
{
	build_recv_bitmap(build, ram);
	put_command(build, RESUME);
}

static void put_recovery_answers(struct build *build)
{
	put_bitmap(build, ram);
	put_message(build, MR_RETURN_RESUME_ACK, 1);
	put_request(build, 0);
	put_shut(build);
}

static void test_recovery(void **state)
{
	struct build *build;

	(void)state;
	/* page 0 may come again */
	connect_cut_postcopy();
	build = connect(MR_ROLE_RECOVERY, 1);
	put_recovery_begin(build);
	put_part(build, 0);
	put_postcopy_end(build);
	put_recovery_answers(connect(MR_ROLE_RETURN, 1));
	expect_nothing();
	/* keeps STR-015: nor is it known whether END came */
	build = connect(MR_ROLE_MAIN, 0);
	put_postcopy_begin(build);
	put_switch(build);
	put_part(build, 0);
	put_ram_end(build);
	cut_last();
	build = connect(MR_ROLE_RECOVERY, 1);
	put_recovery_begin(build);
	put_part(build, 0);
	put_postcopy_end(build);
	put_recovery_answers(connect(MR_ROLE_RETURN, 1));
	expect_nothing();
	/* breaks STR-015: but behind its END there nothing comes any more */
	connect_cut_postcopy();
	build = connect(MR_ROLE_RECOVERY, 1);
	put_recovery_begin(build);
	put_ram_end(build);
	put_part(build, 0);
	build_u8(build, 0);
	expect(MR_STR_015);
	connect_cut_postcopy();
	build = connect(MR_ROLE_RECOVERY, 1);
	build_ping(build, 1);
	put_recovery_begin(build);
	put_postcopy_end(build);
	expect(MR_STR_028);
	connect_cut_postcopy();
	build = connect(MR_ROLE_RECOVERY, 1);
	put_recovery_begin(build);
	build_recv_bitmap(build, ram);
	put_postcopy_end(build);
	expect(MR_CMD_022);
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	put_command(build, RESUME);
	build_ram_start(build, ram, RAM_LENGTH);
	put_precopy_end(build);
	expect(MR_CMD_022);
}

static void test_main_channels(void **state)
{
	struct build *build;

	(void)state;
	put_precopy(connect(MR_ROLE_MAIN, 0));
	build = connect(MR_ROLE_MAIN, 1);
	put_begin(build);
	build_u8(build, 0);
	expect(MR_CHN_002);
	put_postcopy(connect(MR_ROLE_MAIN, 0));
	build = connect(MR_ROLE_RECOVERY, 1);
	put_recovery_begin(build);
	build_u8(build, 0);
	expect(MR_CHN_002);
}

static void test_recovery_answers(void **state)
{
	struct build *build;

	(void)state;
	/* two bitmaps for one command */
	connect_cut_postcopy();
	build = connect(MR_ROLE_RECOVERY, 1);
	put_recovery_begin(build);
	put_postcopy_end(build);
	build = connect(MR_ROLE_RETURN, 1);
	put_bitmap(build, ram);
	put_recovery_answers(build);
	expect(MR_RP_015);
	/* on the first connection */
	put_postcopy(connect(MR_ROLE_MAIN, 0));
	build = connect(MR_ROLE_RETURN, 0);
	put_bitmap(build, ram);
	put_postcopy_answers(build);
	expect(MR_RP_015);
	put_postcopy(connect(MR_ROLE_MAIN, 0));
	build = connect(MR_ROLE_RETURN, 0);
	put_message(build, MR_RETURN_RESUME_ACK, 1);
	put_postcopy_answers(build);
	expect(MR_RP_015);
	/* two RESUME_ACK for one RESUME */
	connect_cut_postcopy();
	build = connect(MR_ROLE_RECOVERY, 1);
	put_recovery_begin(build);
	put_postcopy_end(build);
	build = connect(MR_ROLE_RETURN, 1);
	put_bitmap(build, ram);
	put_message(build, MR_RETURN_RESUME_ACK, 1);
	put_message(build, MR_RETURN_RESUME_ACK, 1);
	expect(MR_RP_015);
}

/* ---- Return path ---- */

static void test_answers(void **state)
{
	struct build *build;

	(void)state;
	put_postcopy(connect(MR_ROLE_MAIN, 0));
	build = connect(MR_ROLE_RETURN, 0);
	put_postcopy_answers(build);
	put_request(build, 0);
	expect(MR_RP_004);
	put_precopy(connect(MR_ROLE_MAIN, 0));
	build = connect(MR_ROLE_RETURN, 0);
	put_pong(build, 1);
	put_pong(build, 1);
	put_shut(build);
	expect(MR_RP_005);
	/* a PING without answer is a lesser matter */
	put_precopy(connect(MR_ROLE_MAIN, 0));
	put_shut(connect(MR_ROLE_RETURN, 0));
	expect_as(MR_RP_005, MR_ACCEPTABLE, 1);
}

static void test_requests(void **state)
{
	struct build *build;

	(void)state;
	put_precopy(connect(MR_ROLE_MAIN, 0));
	build = connect(MR_ROLE_RETURN, 0);
	put_pong(build, 1);
	put_request(build, 0);
	put_shut(build);
	expect(MR_RP_009);
	connect_cut_postcopy();
	build = connect(MR_ROLE_RECOVERY, 1);
	put_recovery_begin(build);
	put_postcopy_end(build);
	build = connect(MR_ROLE_RETURN, 1);
	put_request(build, 0);
	put_recovery_answers(build);
	expect(MR_RP_009);
}

/* ---- RAM ---- */

static void test_block_list(void **state)
{
	struct build *build;

	(void)state;
	/* in a PART */
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_start(build, RAM_ID, "ram", 4);
	put_ram_rest(build);
	put_part_begin(build);
	build_size(build, RAM_LENGTH);
	build_block(build, ram, RAM_LENGTH);
	put_ram_rest(build);
	put_precopy_end(build);
	expect_as(MR_RAM_007, MR_STATE, 2);
	/* twice in START; the second list itself repeats the block */
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_start(build, RAM_ID, "ram", 4);
	build_size(build, RAM_LENGTH);
	build_block(build, ram, RAM_LENGTH);
	build_size(build, PAGE);
	build_block(build, "vga", PAGE);
	put_ram_rest(build);
	put_precopy_end(build);
	expect(MR_RAM_007);
}

static void test_xbzrle(void **state)
{
	static const uint8_t encoding[] = {0, 1, 0x55};
	struct build *build;

	(void)state;
	for (uint64_t page = 0; page < 2; page++) {
		build = connect(MR_ROLE_MAIN, 0);
		put_begin(build);
		build_ram_start(build, ram, RAM_LENGTH);
		put_part(build, 0);
		put_part_begin(build);
		build_xbzrle(build, page * PAGE, NULL, encoding, sizeof(encoding));
		put_ram_rest(build);
		put_precopy_end(build);
		if (page == 0)
			expect_nothing();
		else
			expect(MR_RAM_014);
	}
	build = connect(MR_ROLE_MAIN, 0);
	put_postcopy_begin(build);
	put_switch(build);
	put_part_begin(build);
	build_xbzrle(build, 0, ram, encoding, sizeof(encoding));
	put_ram_rest(build);
	put_postcopy_end(build);
	expect(MR_RAM_014);
}

static void put_compressed(struct build *build, uint64_t address, bool whole)
{
	static uint8_t page[PAGE], data[2 * PAGE];
	size_t length;

	memset(page, 3, sizeof(page));
	length = mr_page_deflate(page, PAGE, 1, data, sizeof(data));
	assert_true(length > 8);
	if (!whole)
		length -= 4;
	build_page_start(build, address, MR_RAM_FLAG_COMPRESSED, ram);
	build_be32(build, (uint32_t)length);
	build_bytes(build, data, length);
}

static void test_compressed(void **state)
{
	struct build *build;

	(void)state;
	for (unsigned whole = 0; whole < 2; whole++) {
		build = connect(MR_ROLE_MAIN, 0);
		put_begin(build);
		build_ram_start(build, ram, RAM_LENGTH);
		put_part_begin(build);
		put_compressed(build, 0, whole);
		put_ram_rest(build);
		put_precopy_end(build);
		if (whole)
			expect_nothing();
		else
			expect(MR_RAM_016);
	}
	/* some releases do it in postcopy, the others do not */
	for (unsigned known = 0; known < 2; known++) {
		if (known)
			assert_int_equal(mr_profile_init(&migration.context.profile, "4.2"), 0);
		build = connect(MR_ROLE_MAIN, 0);
		put_postcopy_begin(build);
		put_switch(build);
		put_part_begin(build);
		put_compressed(build, 0, true);
		put_ram_rest(build);
		put_postcopy_end(build);
		expect_as(MR_RAM_022, known ? MR_STATE : MR_ACCEPTABLE, 1);
	}
}

static void put_flush(struct build *build)
{
	build_be64(build, MR_RAM_FLAG_FLUSH);
}

static void test_flush(void **state)
{
	struct build *build;

	(void)state;
	for (unsigned multifd = 0; multifd < 2; multifd++) {
		migration.context.capabilities_known = true;
		migration.context.capabilities = multifd ? MR_CAPABILITY_MULTIFD : 0;
		build = connect(MR_ROLE_MAIN, 0);
		put_begin(build);
		build_ram_start(build, ram, RAM_LENGTH);
		put_part_begin(build);
		put_flush(build);
		put_ram_rest(build);
		put_precopy_end(build);
		if (multifd)
			expect_nothing();
		else
			expect(MR_RAM_020);
	}
	build = connect(MR_ROLE_MAIN, 0);
	put_postcopy_begin(build);
	put_switch(build);
	put_part_begin(build);
	put_flush(build);
	put_ram_rest(build);
	put_postcopy_end(build);
	expect(MR_RAM_020);
}

static void test_named_page(void **state)
{
	struct build *build = connect(MR_ROLE_MAIN, 0);

	(void)state;
	put_postcopy_begin(build);
	put_switch(build);
	put_part_begin(build);
	build_page(build, 0, NULL, 1, PAGE);
	put_ram_rest(build);
	put_postcopy_end(build);
	expect(MR_RAM_023);
}

static void test_pages_once(void **state)
{
	struct build *build;

	(void)state;
	build = connect(MR_ROLE_MAIN, 0);
	put_postcopy_begin(build);
	put_switch(build);
	put_part(build, 3);
	put_part(build, 3);
	put_postcopy_end(build);
	expect(MR_RAM_024);
	/* once on each channel */
	build = connect(MR_ROLE_MAIN, 0);
	put_postcopy_begin(build);
	put_switch(build);
	put_part(build, 3);
	put_postcopy_end(build);
	build = connect(MR_ROLE_PREEMPT, 1);
	build_zero(build, 4 * PAGE, ram);
	build_zero(build, 3 * PAGE, NULL);
	build_eos(build);
	expect(MR_RAM_024);
	/* page 0 was sent and not discarded */
	build = connect(MR_ROLE_MAIN, 0);
	put_postcopy_begin(build);
	build_discard(build, ram, PAGE, PAGE);
	put_package(build);
	put_part(build, 0);
	put_postcopy_end(build);
	expect(MR_RAM_026);
	build = connect(MR_ROLE_MAIN, 0);
	put_postcopy_begin(build);
	build_discard(build, ram, PAGE, PAGE);
	put_package(build);
	put_part(build, 1);
	put_postcopy_end(build);
	expect_nothing();
}

/* The page came on a multifd channel, which the checker gets behind the main channel. */
static void test_kept_multifd_page(void **state)
{
	struct build *build = connect(MR_ROLE_MAIN, 0);

	(void)state;
	put_begin(build);
	build_advise(build, PAGE, PAGE);
	build_ram_start(build, ram, RAM_LENGTH);
	build_discard(build, ram, 0, PAGE);
	put_package(build);
	put_part_begin(build);
	build_page(build, 0, ram, 1, PAGE);
	build_page(build, PAGE, NULL, 1, PAGE);
	put_ram_rest(build);
	put_postcopy_end(build);
	build = connect_multifd(1, 0);
	put_packet(build, 0, 0, 0, 2, NULL);
	put_sync(build, 1);
	judge(false);
	assert_int_equal(migration.total, 1);
	assert_int_equal(migration.counts[MR_RAM_026], 1);
}

/* A postcopy whose block has host pages of four target pages; their order is given by `pages`. */
static void put_host_pages(const uint64_t *pages, size_t count)
{
	struct build *build = connect(MR_ROLE_MAIN, 0);

	put_begin(build);
	build_advise(build, HOST_PAGE, PAGE);
	build_start(build, RAM_ID, "ram", 4);
	build_size(build, RAM_LENGTH);
	build_block(build, ram, RAM_LENGTH);
	build_be64(build, HOST_PAGE);
	put_ram_rest(build);
	build_discard(build, ram, 0, RAM_LENGTH);
	put_package(build);
	put_part_begin(build);
	for (size_t i = 0; i < count; i++)
		build_zero(build, pages[i] * PAGE, i ? NULL : ram);
	put_ram_rest(build);
	put_postcopy_end(build);
}

static void test_host_pages(void **state)
{
	static const uint64_t kept[] = {5, 4, 7, 6, 0, 1, 2, 3}, mixed[] = {0, 1, 4, 5, 6, 7}, cut[] = {0, 1, 2};

	(void)state;
	put_host_pages(kept, 8);
	expect_nothing();
	put_host_pages(mixed, 6);
	expect(MR_RAM_025);
	put_host_pages(cut, 3);
	expect(MR_RAM_025);
}

static void test_preempt(void **state)
{
	static const uint8_t encoding[] = {0, 1, 0x55};
	struct build *build;

	(void)state;
	for (unsigned odd = 0; odd < 2; odd++) {
		put_postcopy(connect(MR_ROLE_MAIN, 0));
		build = connect(MR_ROLE_PREEMPT, 1);
		build_page(build, PAGE, ram, 1, PAGE);
		if (odd)
			build_xbzrle(build, 2 * PAGE, NULL, encoding, sizeof(encoding));
		build_eos(build);
		if (odd)
			expect(MR_RAM_027);
		else
			expect_nothing();
	}
}

/* More pages than the checker has room for: it says so once and goes on. */
static void test_too_many_pages(void **state)
{
	struct build *build = connect(MR_ROLE_MAIN, 0);

	(void)state;
	put_begin(build);
	build_ram_start(build, ram, UINT64_C(1) << 56);
	put_part(build, 0);
	put_part(build, 1);
	put_precopy_end(build);
	expect_as(MR_STR_027, MR_ACCEPTABLE, 1);
}

/* ---- multifd ---- */

static void test_multifd_init(void **state)
{
	struct build *build;

	(void)state;
	connect_multifd(1, 0);
	build = connect(MR_ROLE_MULTIFD, 2);
	put_init(build, 6, 1);
	expect(MR_MFD_002);
	connect_multifd(1, 0);
	connect_multifd(2, 0);
	expect(MR_MFD_003);
	migration.context.multifd_channels = 2;
	connect_multifd(1, 0);
	connect_multifd(2, 2);
	expect(MR_MFD_003);
	migration.context.uuid_known = true;
	connect_multifd(1, 0);
	expect(MR_MFD_002);
}

static void test_multifd_pages(void **state)
{
	struct build *build;

	(void)state;
	/* page 1 on both channels before the first barrier, given in the order of the channels */
	build = connect_multifd(1, 0);
	put_packet(build, 0, 0, 0, 2, NULL);
	put_sync(build, 1);
	put_packet(build, 0, 2, 1, 1, NULL);
	build = connect_multifd(2, 1);
	put_packet(build, 0, 3, 1, 1, NULL);
	put_sync(build, 4);
	expect(MR_MFD_020);
	/* the pages of a packet with SYNC stand before the barrier */
	build = connect_multifd(1, 0);
	put_packet(build, MR_MULTIFD_FLAG_SYNC, 0, 0, 2, NULL);
	put_packet(build, 0, 1, 0, 2, NULL);
	judge(false);
	assert_int_equal(migration.counts[MR_MFD_020], 0);
}

static void test_packet_numbers(void **state)
{
	struct build *build;

	(void)state;
	build = connect_multifd(1, 0);
	put_packet(build, 0, 4, 0, 1, NULL);
	put_packet(build, 0, 3, 1, 1, NULL);
	expect(MR_MFD_022);
	build = connect_multifd(1, 0);
	put_packet(build, 0, 0, 0, 1, NULL);
	build = connect_multifd(2, 1);
	put_packet(build, 0, 0, 1, 1, NULL);
	expect(MR_MFD_022);
}

/* Two packets of one page with this method; the second one's payload is spoilt if `spoil`. */
static void put_payloads(uint32_t flag, bool spoil)
{
	const struct mr_multifd_method *method = mr_multifd_method_by_flag(flag);
	struct build *build = connect_multifd(1, 0);
	uint8_t page[PAGE];
	const uint8_t *pages[] = {page};
	void *sender = method->send_setup(PAGE, method->level_default);

	assert_non_null(sender);
	memset(page, 9, sizeof(page));
	for (uint64_t i = 0; i < 3; i++) {
		static uint8_t data[2 * PAGE];
		struct build payload = {0};
		long length;

		page[17] = (uint8_t)i;
		length = method->send_prepare(sender, pages, 1, data, sizeof(data));
		assert_true(length > 0);
		if (spoil && i == 1)
			build_fill(&payload, 0xff, (size_t)length);
		else
			build_bytes(&payload, data, (size_t)length);
		put_packet(build, flag, i, i, 1, &payload);
		build_free(&payload);
	}
	method->send_cleanup(sender);
}

static void test_payloads(void **state)
{
	(void)state;
	put_payloads(MR_MULTIFD_FLAG_ZLIB, false);
	expect_nothing();
	put_payloads(MR_MULTIFD_FLAG_ZLIB, true);
	expect(MR_MFD_026);
	put_payloads(MR_MULTIFD_FLAG_ZSTD, false);
	expect_nothing();
	put_payloads(MR_MULTIFD_FLAG_ZSTD, true);
	expect(MR_MFD_027);
	/* two methods in one run */
	put_payloads(MR_MULTIFD_FLAG_ZSTD, false);
	put_packet(&migration.connections[0].stream, 0, 3, 3, 1, NULL);
	expect(MR_MFD_021);
}

static void test_barriers(void **state)
{
	(void)state;
	for (uint64_t syncs = 2; syncs <= 4; syncs++) {
		struct build *build;

		connect_multifd_main();
		build = connect_multifd(1, 0);
		for (uint64_t i = 0; i < syncs; i++)
			put_sync(build, i);
		if (syncs == 3)
			expect_nothing();
		else
			expect(syncs < 3 ? MR_MFD_031 : MR_MFD_032);
	}
}

/* With FLUSH the ends of sections are no barriers. */
static void test_flush_barriers(void **state)
{
	struct build *build;

	(void)state;
	migration.context.capabilities = MR_CAPABILITY_MULTIFD;
	build = connect(MR_ROLE_MAIN, 0);
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	put_part_begin(build);
	put_flush(build);
	put_ram_rest(build);
	put_precopy_end(build);
	put_sync(connect_multifd(1, 0), 0);
	expect_nothing();
}

/* ---- Devices ---- */

static const char timer_1[] = "{\"devices\": [{\"name\": \"timer\", \"instance_id\": 0, \"version\": 1, "
			      "\"fields\": [{\"name\": \"a\", \"size\": 20}]}]}";
static const char timer_2[] = "{\"devices\": [{\"name\": \"timer\", \"instance_id\": 0, \"version\": 2, "
			      "\"fields\": [{\"name\": \"a\", \"size\": 20}]}]}";

/* A precopy of the device timer, version 1, at whose end stands `sent`; `known` is what was known of it before. */
static struct mr_description *connect_described(const char *known, const char *sent)
{
	struct build *build = connect(MR_ROLE_MAIN, 0);
	char error[96];
	struct mr_description *description =
		mr_description_new((struct mr_bytes){(const uint8_t *)known, strlen(known)}, error);

	assert_non_null(description);
	migration.context.description = description;
	put_begin(build);
	build_ram_start(build, ram, RAM_LENGTH);
	put_ram_end(build);
	build_device(build, DEVICE_ID, "timer", 1, 20);
	build_u8(build, 0);
	build_description(build, sent);
	return description;
}

/* By the sender's own description a section is judged before the stream's has come, and by that what is missing. */
static void test_known_devices(void **state)
{
	struct mr_description *description;

	(void)state;
	description = connect_described(timer_1, timer_1);
	expect_nothing();
	mr_description_free(description);
	description = connect_described(timer_2, "{\"devices\": []}");
	expect(MR_DEV_002);
	mr_description_free(description);
	description =
		connect_described(timer_1, "{\"devices\": [{\"name\": \"dma\", \"instance_id\": 0, \"fields\": []}, "
					   "{\"name\": \"timer\", \"instance_id\": 0, \"fields\": []}]}");
	expect(MR_DEV_001);
	mr_description_free(description);
	/* Of another stream's nothing has to hold. */
	description = connect_described(timer_2, timer_1);
	migration.context.description_foreign = true;
	expect_nothing();
	mr_description_free(description);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_kept, reset),
		cmocka_unit_test_setup(test_section_ids, reset),
		cmocka_unit_test_setup(test_section_ends, reset),
		cmocka_unit_test_setup(test_background_snapshot, reset),
		cmocka_unit_test_setup(test_stream_end, reset),
		cmocka_unit_test_setup(test_section_order, reset),
		cmocka_unit_test_setup(test_return_path_commands, reset),
		cmocka_unit_test_setup(test_advise, reset),
		cmocka_unit_test_setup(test_summary, reset),
		cmocka_unit_test_setup(test_discards, reset),
		cmocka_unit_test_setup(test_discards_apart, reset),
		cmocka_unit_test_setup(test_listen_and_run, reset),
		cmocka_unit_test_setup(test_package, reset),
		cmocka_unit_test_setup(test_other_commands, reset),
		cmocka_unit_test_setup(test_colo, reset),
		cmocka_unit_test_setup(test_recovery, reset),
		cmocka_unit_test_setup(test_main_channels, reset),
		cmocka_unit_test_setup(test_recovery_answers, reset),
		cmocka_unit_test_setup(test_answers, reset),
		cmocka_unit_test_setup(test_requests, reset),
		cmocka_unit_test_setup(test_block_list, reset),
		cmocka_unit_test_setup(test_xbzrle, reset),
		cmocka_unit_test_setup(test_compressed, reset),
		cmocka_unit_test_setup(test_flush, reset),
		cmocka_unit_test_setup(test_named_page, reset),
		cmocka_unit_test_setup(test_pages_once, reset),
		cmocka_unit_test_setup(test_kept_multifd_page, reset),
		cmocka_unit_test_setup(test_host_pages, reset),
		cmocka_unit_test_setup(test_preempt, reset),
		cmocka_unit_test_setup(test_too_many_pages, reset),
		cmocka_unit_test_setup(test_multifd_init, reset),
		cmocka_unit_test_setup(test_multifd_pages, reset),
		cmocka_unit_test_setup(test_packet_numbers, reset),
		cmocka_unit_test_setup(test_payloads, reset),
		cmocka_unit_test_setup(test_barriers, reset),
		cmocka_unit_test_setup(test_flush_barriers, reset),
		cmocka_unit_test_setup(test_known_devices, reset),
	};

	return cmocka_run_group_tests(tests, NULL, reset);
}
