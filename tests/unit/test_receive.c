/* The destination of a live migration, fed with what real sources sent: in any pieces, cut, spoilt, or stalling. */
#include "folder.h"
#include "host_support.h"

#include "sim/host/receive.h"
#include "sim/record/description.h"
#include "sim/record/migration.h"
#include "sim/record/replay.h"

#include "random.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CHANNELS_MAX = 8,
	PIECE_MAX = 200000,
	HOLE_START = 0xa0000,
	HOLE_END = 0x100000,
};

/* What stands on one connection, and how it is sent. */
struct lane {
	uint8_t *bytes;
	size_t length, sent, stop; /* it ends before byte `stop` */
	int socket;
	bool over;
};

struct feed {
	struct lane lanes[CHANNELS_MAX];
	unsigned count;
	uint64_t seed;
	bool stalls; /* at its stop, instead of hanging up */
	bool deaf;   /* never reads what comes back */
	_Atomic bool ended;
};

static void load(struct feed *feed, const char *directory)
{
	struct mr_recording *recording;
	char error[512], name[24];

	memset(feed, 0, sizeof(*feed));
	assert_int_equal(mr_recording_open(&recording, directory, error, sizeof(error)), 0);
	feed->count = recording->channel_count;
	assert_in_range(feed->count, 1, CHANNELS_MAX);
	for (unsigned i = 0; i < feed->count; i++) {
		struct lane *lane = &feed->lanes[i];
		struct mr_input *input;
		const uint8_t *window;
		bool at_end;

		snprintf(name, sizeof(name), "ch%u.fwd", i);
		assert_int_equal(mr_recording_open_file(recording, name, &input, error, sizeof(error)), 0);
		assert_int_equal(mr_input_fill(input, MR_INPUT_WINDOW_MAX), 0);
		window = mr_input_window(input, &lane->length, &at_end);
		lane->bytes = malloc(lane->length + 1);
		assert_non_null(lane->bytes);
		memcpy(lane->bytes, window, lane->length);
		lane->stop = lane->length;
		mr_input_close(input);
	}
	mr_recording_close(recording);
}

static void unload(struct feed *feed)
{
	for (unsigned i = 0; i < feed->count; i++)
		free(feed->lanes[i].bytes);
}

/* ---- The source ---- */

static void listen_to(const struct feed *feed, struct lane *lane)
{
	uint8_t bytes[4096];

	if (!feed->deaf)
		while (recv(lane->socket, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
			;
}

/* A connection that another follows in its role hangs up when it has said everything; others let the receiver. */
static void send_piece(struct feed *feed, struct lane *lane, struct random *random)
{
	const size_t left = lane->stop - lane->sent;
	const size_t piece = left ? 1 + (size_t)random_below(random, left < PIECE_MAX ? left : PIECE_MAX) : 0;
	const ssize_t sent =
		piece ? send(lane->socket, lane->bytes + lane->sent, piece, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;

	listen_to(feed, lane);
	if (sent > 0)
		lane->sent += (size_t)sent;
	if (lane->sent < lane->stop)
		return;
	lane->over = true;
	if (!feed->stalls)
		shutdown(lane->socket, SHUT_WR);
}

static void *send_all(void *argument)
{
	struct feed *feed = argument;
	struct random random = {feed->seed};

	while (!atomic_load(&feed->ended)) {
		struct lane *lane = &feed->lanes[random_below(&random, feed->count)];
		struct pollfd nap = {-1, 0, 0};

		if (lane->over) {
			listen_to(feed, lane);
			poll(&nap, 1, 1);
		} else {
			send_piece(feed, lane, &random);
		}
	}
	return NULL;
}

/* ---- The receiver ---- */

static struct mr_receive_options plain_options(void)
{
	struct mr_receive_options options = {
		.multifd_channels = 2,
		.multifd_method = MR_METHOD_UNKNOWN,
		.simulated = true,
		.memory_max = (uint64_t)1 << 30,
		.vcpus = 2,
		.time_limit = 60,
		.idle = 30,
	};

	options.listen.text = "";
	return options;
}

static void receive(struct feed *feed, const struct mr_receive_options *options, struct mr_receive_result *result)
{
	int sockets[CHANNELS_MAX];
	pthread_t source;

	for (unsigned i = 0; i < feed->count; i++) {
		int pair[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		sockets[i] = pair[0];
		feed->lanes[i].socket = pair[1];
		feed->lanes[i].sent = 0;
		feed->lanes[i].over = false;
	}
	atomic_store(&feed->ended, false);
	assert_int_equal(pthread_create(&source, NULL, send_all, feed), 0);
	mr_receive_run_with(options, sockets, feed->count, result);
	atomic_store(&feed->ended, true);
	pthread_join(source, NULL);
	for (unsigned i = 0; i < feed->count; i++)
		close(feed->lanes[i].socket);
}

/* ---- What real sources sent ---- */

struct mode {
	const char *directory, *release;
	uint32_t capabilities;
	enum mr_postcopy_state state;
	uint64_t recoveries;
};

static const struct mode modes[] = {
	{"vectors/recordings/7.2-precopy-xbzrle-small", "7.2", 0, MR_POSTCOPY_NONE, 0},
	{"vectors/recordings/first-postcopy", "11.1", 0, MR_POSTCOPY_END, 0},
	{"vectors/recordings/7.2-postcopy-preempt-small", "7.2", MR_CAPABILITY_POSTCOPY_PREEMPT, MR_POSTCOPY_END, 0},
	{"vectors/recordings/11.1-postcopy-recover", "11.1", 0, MR_POSTCOPY_END, 1},
	{"vectors/recordings/7.2-multifd-zstd", "7.2", MR_CAPABILITY_MULTIFD, MR_POSTCOPY_NONE, 0},
};

enum { MODES = sizeof(modes) / sizeof(modes[0]) };

/* The last ones are large. */
static unsigned mode_count(void)
{
	return RUNNING_ON_VALGRIND ? MODES - 2 : MODES;
}

static struct mr_receive_options options_of(const struct mode *mode)
{
	struct mr_receive_options options = plain_options();

	options.capabilities = mode->capabilities;
	options.source_qemu = mode->release;
	return options;
}

/* The block that source.ram is of; what came is what the source had. */
static void compare_memory(const char *directory, const char *path)
{
	struct mr_recording *recording;
	struct mr_input *truth, *got;
	const uint8_t *expected, *found;
	size_t expected_length, found_length;
	char error[512];
	bool at_end;

	assert_int_equal(mr_recording_open(&recording, directory, error, sizeof(error)), 0);
	assert_int_equal(mr_recording_open_file(recording, "source.ram", &truth, error, sizeof(error)), 0);
	assert_int_equal(mr_input_open(&got, path, error, sizeof(error)), 0);
	assert_int_equal(mr_input_fill(truth, MR_INPUT_WINDOW_MAX), 0);
	assert_int_equal(mr_input_fill(got, MR_INPUT_WINDOW_MAX), 0);
	expected = mr_input_window(truth, &expected_length, &at_end);
	found = mr_input_window(got, &found_length, &at_end);
	assert_int_equal(expected_length, found_length);
	/* the video hole and the firmware are not RAM of the block */
	assert_memory_equal(expected, found, expected_length < HOLE_START ? expected_length : HOLE_START);
	if (expected_length > HOLE_END)
		assert_memory_equal(expected + HOLE_END, found + HOLE_END, expected_length - HOLE_END);
	mr_input_close(truth);
	mr_input_close(got);
	mr_recording_close(recording);
}

/* The recording of it is replayed: each action, and each byte of the return paths. */
static void replay(const char *directory)
{
	const struct mr_stream_options options = {0};
	const struct mr_destination_options destination = {0};
	struct mr_migration *migration;
	struct mr_replay result;
	char error[512] = "";

	if (mr_migration_open(&migration, directory, &options, NULL, NULL, error, sizeof(error)) < 0 ||
	    mr_replay_run(&result, migration, &destination, NULL, NULL, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	if (!result.holds)
		fail_msg("%s: %s %s", directory, result.destination.reason,
			 result.destination.lines_of_actions.identical ? "" : "other actions");
	assert_true(result.destination.actions > 0);
	mr_replay_clear(&result);
	mr_migration_close(migration);
}

static void receive_mode(const struct mode *mode, bool simulated, uint64_t seed)
{
	struct mr_receive_options options = options_of(mode);
	char work[] = "/tmp/receive-XXXXXX", recording[64], ram[64];
	struct mr_receive_result *result = calloc(1, sizeof(*result));
	struct feed feed;
	uint64_t missing = 0;

	assert_non_null(result);
	assert_non_null(mkdtemp(work));
	snprintf(recording, sizeof(recording), "%s/recording", work);
	snprintf(ram, sizeof(ram), "%s/ram", work);
	options.simulated = simulated;
	options.directory = recording;
	options.ram = ram;
	load(&feed, mode->directory);
	feed.seed = seed;
	receive(&feed, &options, result);
	if (result->end != MR_RECEIVE_COMPLETED)
		fail_msg("%s: %s", mode->directory, result->reason);
	assert_int_equal(result->state, mode->state);
	assert_int_equal(result->recoveries, mode->recoveries);
	assert_int_equal(result->channel_count, feed.count);
	/* multifd channels are numbered as their first bytes come */
	for (unsigned i = 0; i < feed.count; i++)
		missing += feed.lanes[i].length - result->channels[i].forward;
	assert_int_equal(missing, 0);
	assert_true(result->written);
	compare_memory(mode->directory, ram);
	replay(recording);
	unload(&feed);
	mr_receive_clear(result);
	free(result);
	folder_remove(work);
}

static void modes_complete_with_the_source_s_memory(void **state)
{
	(void)state;
	for (unsigned i = 0; i < mode_count(); i++)
		receive_mode(&modes[i], true, 1 + i);
}

static void real_memory_is_no_other(void **state)
{
	(void)state;
	host_need(MR_HOST_WANT_POSTCOPY, MR_HOST_ANONYMOUS);
	receive_mode(&modes[1], false, 11);
	receive_mode(&modes[2], false, 12);
}

/* ---- What goes wrong ---- */

/* It ends by itself, in one line, and what it wrote is whole. */
static enum mr_receive_end receive_badly(struct feed *feed, const struct mr_receive_options *plain)
{
	struct mr_receive_options options = *plain;
	char work[] = "/tmp/receive-XXXXXX", recording[64];
	struct mr_receive_result *result = calloc(1, sizeof(*result));
	enum mr_receive_end end;

	assert_non_null(result);
	assert_non_null(mkdtemp(work));
	snprintf(recording, sizeof(recording), "%s/recording", work);
	options.directory = recording;
	receive(feed, &options, result);
	end = result->end;
	assert_true(result->written);
	assert_int_equal(result->reason[0] != '\0', end != MR_RECEIVE_COMPLETED);
	assert_null(strchr(result->reason, '\n'));
	mr_receive_clear(result);
	free(result);
	folder_remove(work);
	return end;
}

static void sources_that_hang_up_at_any_byte(void **state)
{
	const unsigned rounds = RUNNING_ON_VALGRIND ? 1 : 6;
	struct random random = {77};

	(void)state;
	for (unsigned i = 0; i < mode_count(); i++) {
		struct mr_receive_options options = options_of(&modes[i]);
		struct feed feed;

		/* in postcopy it waits for a recovery, which does not come */
		options.time_limit = RUNNING_ON_VALGRIND ? 1.5 : 0.25;
		load(&feed, modes[i].directory);
		for (unsigned round = 0; round < rounds; round++) {
			struct lane *lane = &feed.lanes[random_below(&random, feed.count)];

			feed.seed = 1 + random_next(&random);
			lane->stop = (size_t)random_below(&random, round % 3 ? lane->length : 400);
			receive_badly(&feed, &options);
			lane->stop = lane->length;
		}
		unload(&feed);
	}
}

static void garbage_at_any_byte(void **state)
{
	const unsigned rounds = RUNNING_ON_VALGRIND ? 1 : 8;
	struct random random = {78};

	(void)state;
	for (unsigned i = 0; i < mode_count(); i++) {
		struct mr_receive_options options = options_of(&modes[i]);
		struct feed feed;

		options.time_limit = RUNNING_ON_VALGRIND ? 1.5 : 0.25;
		load(&feed, modes[i].directory);
		for (unsigned round = 0; round < rounds; round++) {
			struct lane *lane = &feed.lanes[random_below(&random, feed.count)];
			const size_t at = (size_t)random_below(&random, round % 2 ? lane->length : 600);
			uint8_t before[8];
			const size_t length = lane->length - at < sizeof(before) ? lane->length - at : sizeof(before);

			feed.seed = 1 + random_next(&random);
			memcpy(before, lane->bytes + at, length);
			random_fill(&random, lane->bytes + at, length);
			receive_badly(&feed, &options);
			memcpy(lane->bytes + at, before, length);
		}
		unload(&feed);
	}
}

static void a_source_that_stalls_is_left(void **state)
{
	struct mr_receive_options options = options_of(&modes[1]);
	struct feed feed;

	(void)state;
	options.idle = 0.2;
	load(&feed, modes[1].directory);
	feed.seed = 5;
	feed.stalls = true;
	feed.lanes[0].stop = feed.lanes[0].length / 2;
	assert_int_equal(receive_badly(&feed, &options), MR_RECEIVE_IDLE);
	feed.lanes[0].stop = 10;
	assert_int_equal(receive_badly(&feed, &options), MR_RECEIVE_IDLE);
	options.time_limit = 0.1;
	assert_int_equal(receive_badly(&feed, &options), MR_RECEIVE_TIME_LIMIT);
	unload(&feed);
}

/* Requests and answers are few enough to wait in the socket, so that nobody has to take them. */
static void a_source_that_is_deaf(void **state)
{
	struct mr_receive_options options = options_of(&modes[1]);
	struct feed feed;

	(void)state;
	load(&feed, modes[1].directory);
	feed.seed = 6;
	feed.deaf = true;
	assert_int_equal(receive_badly(&feed, &options), MR_RECEIVE_COMPLETED);
	unload(&feed);
}

static void cuts_fall_on_their_byte(void **state)
{
	struct mr_receive_options options = options_of(&modes[1]);
	struct mr_receive_result *result = calloc(1, sizeof(*result));
	struct feed feed;

	(void)state;
	assert_non_null(result);
	load(&feed, modes[1].directory);
	feed.seed = 7;
	options.cuts = true;
	options.cut_byte = 1234;
	options.time_limit = 2;
	receive(&feed, &options, result);
	assert_true(result->cut);
	assert_int_equal(result->channels[0].forward, options.cut_byte);
	assert_int_equal(result->end, MR_RECEIVE_FAILED);
	mr_receive_clear(result);
	options.cut_backward = true;
	options.cut_byte = 3;
	receive(&feed, &options, result);
	assert_true(result->cut);
	assert_int_equal(result->channels[0].backward, 3);
	mr_receive_clear(result);
	free(result);
	unload(&feed);
}

static void more_memory_than_is_wanted(void **state)
{
	struct mr_receive_options options = options_of(&modes[0]);
	struct mr_receive_result *result = calloc(1, sizeof(*result));
	struct feed feed;

	(void)state;
	assert_non_null(result);
	load(&feed, modes[0].directory);
	feed.seed = 8;
	options.memory_max = 1 << 20;
	receive(&feed, &options, result);
	assert_int_equal(result->end, MR_RECEIVE_HOST);
	assert_non_null(strstr(result->reason, "raise --memory-max"));
	mr_receive_clear(result);
	free(result);
	unload(&feed);
}

static void connections_that_nobody_was_told_of(void **state)
{
	struct mr_receive_options options = options_of(&modes[4]);
	struct mr_receive_result *result = calloc(1, sizeof(*result));
	struct feed feed;

	(void)state;
	assert_non_null(result);
	load(&feed, modes[4].directory);
	feed.seed = 9;
	options.capabilities = 0;
	receive(&feed, &options, result);
	assert_int_equal(result->end, MR_RECEIVE_FAILED);
	assert_non_null(strstr(result->reason, "say --capabilities multifd"));
	mr_receive_clear(result);
	options.capabilities = MR_CAPABILITY_MULTIFD;
	options.multifd_channels = 1;
	receive(&feed, &options, result);
	assert_int_equal(result->end, MR_RECEIVE_FAILED);
	assert_non_null(strstr(result->reason, "say --multifd-channels"));
	mr_receive_clear(result);
	free(result);
	unload(&feed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(modes_complete_with_the_source_s_memory),
		cmocka_unit_test(real_memory_is_no_other),
		cmocka_unit_test(sources_that_hang_up_at_any_byte),
		cmocka_unit_test(garbage_at_any_byte),
		cmocka_unit_test(a_source_that_stalls_is_left),
		cmocka_unit_test(a_source_that_is_deaf),
		cmocka_unit_test(cuts_fall_on_their_byte),
		cmocka_unit_test(more_memory_than_is_wanted),
		cmocka_unit_test(connections_that_nobody_was_told_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
