/*
 * test_send.c: a sending source against peers that read, close, stall or talk nonsense: what arrives is the recorded
 * machine, and whatever a peer does, the source ends with one line.
 */
#include "host_support.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "hostile.h"
#include "random.h"
#include "sim/host/send.h"
#include "sim/record/memory.h"

#define RECORDING "vectors/recordings/7.2-precopy-xbzrle-small"

enum { CONNECTIONS = 8, READ = 1 << 16, MILLISECOND = 1000000 };

/* ---- The other end ---- */

static struct {
	int listener;
	atomic_bool over;
	pthread_t thread;
	uint64_t close_at; /* bytes of the first connection; UINT64_MAX: never */
	bool reads;
	uint8_t answer[512];                /* sent back on the first connection once `answer_at` bytes have come */
	size_t answer_length, answer_times; /* more often than once */
	uint64_t answer_at;

	int sockets[CONNECTIONS];
	uint32_t count;
	uint8_t *bytes[CONNECTIONS]; /* that came */
	size_t length[CONNECTIONS];
	bool answered;
} peer;

static struct mr_send_machine *machine;
static struct mr_outgoing_config config;
static struct mr_send_options options;
static struct mr_send_result result;
static struct mr_address address;
static char socket_path[64], address_text[80];

static void close_all(void)
{
	for (uint32_t i = 0; i < peer.count; i++)
		if (peer.sockets[i] >= 0)
			close(peer.sockets[i]);
	for (uint32_t i = 0; i < peer.count; i++)
		peer.sockets[i] = -1;
}

static void take(uint32_t i)
{
	ssize_t got;

	peer.bytes[i] = realloc(peer.bytes[i], peer.length[i] + READ);
	got = recv(peer.sockets[i], peer.bytes[i] + peer.length[i], READ, MSG_DONTWAIT);
	if (got > 0) {
		peer.length[i] += (size_t)got;
	} else {
		close(peer.sockets[i]);
		peer.sockets[i] = -1;
	}
}

static void act(void)
{
	if (peer.count == 0 || peer.sockets[0] < 0)
		return;
	if (!peer.answered && peer.answer_length && peer.length[0] >= peer.answer_at) {
		peer.answered = true;
		for (size_t i = 0; i <= peer.answer_times; i++)
			if (send(peer.sockets[0], peer.answer, peer.answer_length, MSG_NOSIGNAL) < 0)
				return;
	}
	if (peer.length[0] >= peer.close_at)
		close_all();
}

static void *run_peer(void *argument)
{
	(void)argument;
	while (!atomic_load(&peer.over)) {
		struct pollfd files[1 + CONNECTIONS] = {{.fd = peer.listener, .events = POLLIN}};
		const uint32_t count = peer.count;

		for (uint32_t i = 0; i < count; i++)
			files[1 + i] = (struct pollfd){.fd = peer.reads ? peer.sockets[i] : -1, .events = POLLIN};
		if (poll(files, 1 + count, 2) <= 0)
			continue;
		if (files[0].revents && peer.count < CONNECTIONS)
			peer.sockets[peer.count++] = accept(peer.listener, NULL, NULL);
		for (uint32_t i = 0; i < count; i++)
			if (files[1 + i].revents && peer.sockets[i] >= 0)
				take(i);
		act();
	}
	close_all();
	return NULL;
}

/* ---- Running ---- */

static int set_up_machine(void **state)
{
	char error[512];

	(void)state;
	if (mr_send_machine_open(&machine, RECORDING, NULL, error, sizeof(error)) < 0 ||
	    mr_send_machine_configure(machine, NULL, &config, error, sizeof(error)) < 0) {
		print_message("%s\n", error);
		return -1;
	}
	return 0;
}

static int close_machine(void **state)
{
	(void)state;
	mr_send_machine_close(machine);
	return 0;
}

static int begin(void **state)
{
	char error[256], shown[MR_ADDRESS_TEXT];

	(void)state;
	memset(&peer, 0, sizeof(peer));
	peer.reads = true;
	peer.close_at = UINT64_MAX;
	snprintf(socket_path, sizeof(socket_path), "/tmp/migref-send-%d", (int)getpid());
	snprintf(address_text, sizeof(address_text), "unix:%s", socket_path);
	unlink(socket_path);
	if (mr_address_parse(&address, address_text, true, error, sizeof(error)) < 0)
		return -1;
	peer.listener = mr_address_listen(&address, shown, error, sizeof(error));
	options = (struct mr_send_options){
		.machine = machine,
		.config = &config,
		.connect = &address,
		.rewrites = 1,
		.seed = 1,
		.switch_after = UINT64_MAX,
		.switch_passes = UINT64_MAX,
		.recover_after = MILLISECOND,
		.time_limit = 60,
		.idle = 30,
	};
	config.capabilities = 0;
	config.max_bandwidth = UINT64_MAX;
	config.multifd_channels = 2;
	config.xbzrle_cache_size = 0;
	config.downtime_limit = 0;
	return peer.listener < 0 ? -1 : 0;
}

static int end(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < CONNECTIONS; i++)
		free(peer.bytes[i]);
	if (peer.listener >= 0)
		close(peer.listener);
	unlink(socket_path);
	return 0;
}

static void run(void)
{
	assert_int_equal(pthread_create(&peer.thread, NULL, run_peer, NULL), 0);
	mr_send_run(&options, &result);
	/* What was sent last may still be on its way. */
	for (unsigned i = 0; i < 100 && result.end == MR_SEND_COMPLETED && peer.reads; i++) {
		bool open = false;

		poll(NULL, 0, 5);
		for (uint32_t at = 0; at < peer.count; at++)
			open |= peer.sockets[at] >= 0;
		if (!open && peer.count == result.channel_count)
			break;
	}
	atomic_store(&peer.over, true);
	pthread_join(peer.thread, NULL);
}

/* ---- What arrives ---- */

static void expect_machine(struct mr_session *session, struct mr_memory *memory)
{
	assert_int_equal(session->block_count, config.block_count);
	for (uint32_t block = 0; block < config.block_count; block++) {
		assert_string_equal(session->blocks[block].name, config.blocks[block].name);
		assert_int_equal(session->blocks[block].used_length, config.blocks[block].used_length);
		for (uint64_t at = 0; at < config.blocks[block].used_length; at += config.target_page_size) {
			assert_true(mr_bitmap_test(memory->blocks[block].received, at / config.target_page_size));
			assert_memory_equal(memory->blocks[block].data + at, mr_send_machine_page(machine, block, at),
					    config.target_page_size);
		}
	}
}

/* The main channel of a precopy, read to its end. */
static void expect_arrival(void)
{
	struct mr_context context = {.profile = config.profile, .capabilities_known = true};
	struct mr_session *session = malloc(sizeof(*session));
	struct mr_decoder *decoder = malloc(sizeof(*decoder));
	struct mr_memory *memory = malloc(sizeof(*memory));
	struct mr_record record;
	struct mr_fault fault;
	size_t at = 0;
	enum mr_result status;

	context.capabilities = config.capabilities;
	snprintf(context.machine, sizeof(context.machine), "%s", config.machine);
	mr_session_init(session, &context, NULL, NULL);
	mr_decoder_init(decoder, session, MR_ROLE_MAIN, 0);
	mr_memory_init(memory, session, false);
	while ((status = mr_decode(decoder, peer.bytes[0] + at, peer.length[0] - at, true, &record)) == MR_RECORD) {
		assert_int_equal(mr_memory_apply(memory, &record, &fault), 0);
		at += (size_t)record.length;
	}
	assert_int_equal(status, MR_DONE);
	assert_int_equal(at, peer.length[0]);
	expect_machine(session, memory);
	mr_memory_clear(memory);
	free(memory);
	free(decoder);
	free(session);
}

static void machine_arrives(void **state)
{
	(void)state;
	run();
	assert_string_equal(result.reason, "");
	assert_int_equal(result.end, MR_SEND_COMPLETED);
	assert_int_equal(result.status, MR_SOURCE_STATUS_COMPLETED);
	assert_int_equal(result.channel_count, 1);
	assert_int_equal(result.bytes, peer.length[0]);
	expect_arrival();
}

/* Pages that are first shown otherwise go out again, and are right in the end; so with differences alone. */
static void stale_pages_are_right_in_the_end(void **state)
{
	(void)state;
	for (unsigned turn = 0; turn < 2; turn++) {
		config.capabilities = turn ? MR_CAPABILITY_XBZRLE : 0;
		config.xbzrle_cache_size = 4 << 20;
		config.max_bandwidth = 10 << 20;
		config.downtime_limit = 1;
		options.stale = 400;
		options.rewrites = 3;
		run();
		assert_int_equal(result.end, MR_SEND_COMPLETED);
		assert_true(result.statistics.pages > 2000);
		expect_arrival();
		assert_int_equal(result.statistics.xbzrle_pages > 100, turn == 1);
		end(state);
		begin(state);
	}
}

/* Every page lies in packets or is zero; how they are read is tested elsewhere. */
static void multifd_fills_its_channels(void **state)
{
	(void)state;
	config.capabilities = MR_CAPABILITY_MULTIFD;
	options.stale = 300;
	run();
	assert_int_equal(result.end, MR_SEND_COMPLETED);
	assert_int_equal(result.channel_count, 3);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(result.channels[i].role, i ? MR_ROLE_MULTIFD : MR_ROLE_MAIN);
		assert_int_equal(result.channels[i].forward, peer.length[i]);
		assert_true(peer.length[i] > 10000);
	}
}

/* ---- Peers that break off ---- */

static void expect_line(void)
{
	assert_true(result.reason[0] != '\0');
	assert_null(strchr(result.reason, '\n'));
}

static void closing_at_any_byte_is_told(void **state)
{
	struct random random = {5};
	const unsigned turns = RUNNING_ON_VALGRIND ? 4 : 60;

	for (unsigned turn = 0; turn < turns; turn++) {
		/* Without a return path, what is short may all be in the buffers before anybody sees the end. */
		config.capabilities = turn % 3 ? MR_CAPABILITY_RETURN_PATH : 0;
		config.capabilities |= turn % 3 == 2 ? MR_CAPABILITY_MULTIFD : 0;
		options.stale = 200;
		peer.close_at = random_below(&random, turn % 3 == 2 ? 10000 : 300000);
		run();
		assert_int_equal(result.end, MR_SEND_FAILED);
		expect_line();
		assert_non_null(strstr(result.reason, "ch"));
		end(state);
		begin(state);
	}
}

/* ---- Peers that answer, or do not ---- */

static void put_shut(uint32_t value)
{
	const uint8_t shut[] = {0, 1, 0, 4, (uint8_t)(value >> 24), 0, 0, (uint8_t)value};

	memcpy(peer.answer, shut, sizeof(shut));
	peer.answer_length = sizeof(shut);
}

static void answer_of_failure_is_told(void **state)
{
	(void)state;
	config.capabilities = MR_CAPABILITY_RETURN_PATH;
	put_shut(1);
	peer.answer_at = 1000;
	run();
	assert_int_equal(result.end, MR_SEND_FAILED);
	expect_line();
}

static void nonsense_is_told(void **state)
{
	struct random random = {8};
	const unsigned turns = RUNNING_ON_VALGRIND ? 4 : 40;

	for (unsigned turn = 0; turn < turns; turn++) {
		config.capabilities = MR_CAPABILITY_RETURN_PATH;
		peer.answer_length = 64 + random_below(&random, sizeof(peer.answer) - 64);
		random_fill(&random, peer.answer, peer.answer_length);
		peer.answer[0] = 0x7f; /* no message has this type */
		peer.answer_at = random_below(&random, 400000);
		run();
		assert_int_equal(result.end, MR_SEND_FAILED);
		expect_line();
		assert_non_null(strstr(result.reason, "return path"));
		end(state);
		begin(state);
	}
}

/* More messages than wait to be taken at any time. */
static void every_message_is_taken(void **state)
{
	static const uint8_t pong[] = {0, 2, 0, 4, 0, 0, 0, 1};
	enum { TIMES = 1000, EACH = 64 };

	(void)state;
	config.capabilities = MR_CAPABILITY_RETURN_PATH;
	for (size_t i = 0; i < EACH; i++)
		memcpy(peer.answer + i * sizeof(pong), pong, sizeof(pong));
	peer.answer_length = EACH * sizeof(pong);
	peer.answer_times = TIMES - 1;
	peer.answer_at = 1000;
	options.idle = 0.5;
	run();
	assert_int_equal(result.end, MR_SEND_IDLE);
	assert_int_equal(result.channels[0].backward, TIMES * EACH * sizeof(pong));
	expect_arrival();
}

static void silence_ends_by_the_limit(void **state)
{
	(void)state;
	config.capabilities = MR_CAPABILITY_RETURN_PATH;
	options.idle = 0.5;
	run();
	assert_int_equal(result.end, MR_SEND_IDLE);
	expect_line();
	assert_non_null(strstr(result.reason, "sent nothing for 0.5 s"));
	expect_arrival();
}

static void stalling_ends_by_the_limit(void **state)
{
	(void)state;
	peer.reads = false;
	options.idle = 0.1;
	options.stale = 1000;
	run();
	assert_int_equal(result.end, MR_SEND_IDLE);
	expect_line();
	assert_non_null(strstr(result.reason, "took nothing for 0.1 s"));
}

static void time_limit_ends_all(void **state)
{
	(void)state;
	config.max_bandwidth = 100000;
	options.time_limit = 0.2;
	run();
	assert_int_equal(result.end, MR_SEND_TIME_LIMIT);
	expect_line();
	assert_true(result.bytes < 100000);
}

/* ---- Cuts, and nobody there ---- */

static void cut_falls_on_its_byte(void **state)
{
	static const uint64_t bytes[] = {0, 1, 4096, 300001};

	for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
		options.cuts = true;
		options.cut_byte = bytes[i];
		run();
		assert_true(result.cut);
		assert_int_equal(result.end, MR_SEND_FAILED);
		assert_non_null(strstr(result.reason, "as told, we cut ch0"));
		assert_int_equal(result.bytes, bytes[i]);
		end(state);
		begin(state);
	}
}

static void cut_of_the_return_path_falls_on_its_byte(void **state)
{
	(void)state;
	config.capabilities = MR_CAPABILITY_RETURN_PATH;
	put_shut(0);
	peer.answer_at = 10;
	options.cuts = true;
	options.cut_backward = true;
	options.cut_byte = 5;
	run();
	assert_true(result.cut);
	assert_int_equal(result.end, MR_SEND_FAILED);
	assert_int_equal(result.channels[0].backward, 5);
}

static void nobody_there_is_told(void **state)
{
	(void)state;
	close(peer.listener);
	peer.listener = -1;
	mr_send_run(&options, &result);
	assert_int_equal(result.end, MR_SEND_UNREACHABLE);
	assert_non_null(strstr(result.reason, "cannot connect: Connection refused"));
}

/* ---- Machines ---- */

static void refuse(const char *recording, const char *ram, const char *expected)
{
	struct mr_send_machine *none;
	char error[512];

	assert_int_equal(mr_send_machine_open(&none, recording, ram, error, sizeof(error)), -1);
	assert_null(none);
	if (!strstr(error, expected))
		fail_msg("expected %s, found %s", expected, error);
}

static void machines_that_are_none_are_refused(void **state)
{
	(void)state;
	refuse("vectors/nothing", NULL, "No such file");
	refuse("vectors/recordings/README.md", NULL, "expected a recording, which is a directory");
	refuse("vectors/recordings", NULL, "manifest.json");
	refuse("vectors/recordings/6.2-to-9.2-multifd-hangs", NULL, "no devices");
	refuse(RECORDING, "vectors/nothing", "No such file");
	refuse(RECORDING, "vectors", "vectors");
	refuse(RECORDING, "README.md", "expected 4194304 bytes, as block mem has");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(machine_arrives, begin, end),
		cmocka_unit_test_setup_teardown(stale_pages_are_right_in_the_end, begin, end),
		cmocka_unit_test_setup_teardown(multifd_fills_its_channels, begin, end),
		cmocka_unit_test_setup_teardown(closing_at_any_byte_is_told, begin, end),
		cmocka_unit_test_setup_teardown(answer_of_failure_is_told, begin, end),
		cmocka_unit_test_setup_teardown(nonsense_is_told, begin, end),
		cmocka_unit_test_setup_teardown(every_message_is_taken, begin, end),
		cmocka_unit_test_setup_teardown(silence_ends_by_the_limit, begin, end),
		cmocka_unit_test_setup_teardown(stalling_ends_by_the_limit, begin, end),
		cmocka_unit_test_setup_teardown(time_limit_ends_all, begin, end),
		cmocka_unit_test_setup_teardown(cut_falls_on_its_byte, begin, end),
		cmocka_unit_test_setup_teardown(cut_of_the_return_path_falls_on_its_byte, begin, end),
		cmocka_unit_test_setup_teardown(nobody_there_is_told, begin, end),
		cmocka_unit_test(machines_that_are_none_are_refused),
	};

	return cmocka_run_group_tests(tests, set_up_machine, close_machine);
}
