/* test_tap_control.c: what another thread tells a tap: where to cut, where further connections go, that it is to end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "folder.h"
#include "sim/host/clock.h"
#include "sim/host/tap.h"

enum { SECONDS = 60 };

struct bench {
	char folder[32], directory[64], listen_at[64], first[64], second[64];
	struct mr_tap_options options;
	struct mr_tap_result result;
	struct mr_tap_control *control;
	pthread_t thread;
	int ready[2];
	int destinations[2]; /* listeners */
};

static void tell_address(void *argument, const char *address)
{
	struct bench *bench = argument;

	(void)address;
	assert_int_equal(write(bench->ready[1], "", 1), 1);
}

static void tell_line(void *argument, const char *line)
{
	(void)argument;
	print_error("%s\n", line);
}

static void *run(void *argument)
{
	struct bench *bench = argument;

	mr_tap_run(&bench->options, &bench->result);
	return NULL;
}

static struct mr_address address_of(const char *text, bool listens)
{
	struct mr_address address;
	char error[512];

	assert_int_equal(mr_address_parse(&address, text, listens, error, sizeof(error)), 0);
	return address;
}

static int listen_at(const char *text)
{
	const struct mr_address address = address_of(text, true);
	char shown[MR_ADDRESS_TEXT], error[512];
	const int listener = mr_address_listen(&address, shown, error, sizeof(error));

	assert_true(listener >= 0);
	return listener;
}

static int set_up(void **state)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	struct mr_tapped_options recorded = {.directory = bench->directory};
	char error[512], byte;

	snprintf(bench->folder, sizeof(bench->folder), "/tmp/tap-control-XXXXXX");
	assert_non_null(mkdtemp(bench->folder));
	snprintf(bench->directory, sizeof(bench->directory), "%s/recording", bench->folder);
	snprintf(bench->listen_at, sizeof(bench->listen_at), "unix:%s/tap", bench->folder);
	snprintf(bench->first, sizeof(bench->first), "unix:%s/first", bench->folder);
	snprintf(bench->second, sizeof(bench->second), "unix:%s/second", bench->folder);
	bench->destinations[0] = listen_at(bench->first);
	bench->destinations[1] = listen_at(bench->second);
	assert_int_equal(pipe(bench->ready), 0);
	bench->control = mr_tap_control_new();
	assert_non_null(bench->control);
	bench->options = (struct mr_tap_options){
		.listen = address_of(bench->listen_at, true),
		.connect = address_of(bench->first, false),
		.time_limit = SECONDS,
		.idle = SECONDS,
		.control = bench->control,
		.listening = tell_address,
		.complain = tell_line,
		.argument = bench,
	};
	assert_int_equal(mr_tapped_open(&bench->options.recording, &recorded, error, sizeof(error)), 0);
	assert_int_equal(pthread_create(&bench->thread, NULL, run, bench), 0);
	assert_int_equal(read(bench->ready[0], &byte, 1), 1);
	*state = bench;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *bench = *state;

	mr_tap_control_free(bench->control);
	mr_tapped_free(bench->options.recording);
	for (unsigned i = 0; i < 2; i++) {
		close(bench->destinations[i]);
		close(bench->ready[i]);
	}
	folder_remove(bench->folder);
	free(bench);
	return 0;
}

/* Of a connection by the tap: the source's end, and the destination's. */
struct ends {
	int source, destination;
};

static struct ends connect_ends(const struct bench *bench, unsigned destination)
{
	const struct timeval limit = {.tv_sec = SECONDS};
	const struct mr_address address = address_of(bench->listen_at, false);
	struct pollfd came = {bench->destinations[destination], POLLIN, 0};
	struct ends ends = {.source = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};

	assert_int_equal(connect(ends.source, (const struct sockaddr *)&address.socket, address.length), 0);
	assert_int_equal(poll(&came, 1, SECONDS * 1000), 1);
	ends.destination = accept(bench->destinations[destination], NULL, NULL);
	assert_true(ends.destination >= 0);
	setsockopt(ends.source, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(ends.destination, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return ends;
}

static void close_ends(struct ends ends)
{
	close(ends.source);
	close(ends.destination);
}

static void send_bytes(int socket, size_t length)
{
	const char bytes[64] = {0};

	assert_int_equal(send(socket, bytes, length, MSG_NOSIGNAL), length);
}

/* Bytes that come until the end. */
static size_t read_all(int socket)
{
	char bytes[64];
	size_t all = 0;
	ssize_t length;

	while ((length = recv(socket, bytes, sizeof(bytes), 0)) > 0)
		all += (size_t)length;
	return all;
}

static void read_exactly(int socket, size_t length)
{
	char bytes[64];

	assert_int_equal(recv(socket, bytes, length, MSG_WAITALL), length);
}

static void finish(struct bench *bench, double seconds)
{
	mr_tap_end(bench->control, seconds);
	pthread_join(bench->thread, NULL);
	assert_int_equal(bench->result.end, MR_TAP_TOLD);
}

/* The bytes count from when the tap hears of it, which it does before it looks at its sockets again. */
static void test_cut_later(void **state)
{
	struct bench *bench = *state;
	const struct ends ends = connect_ends(bench, 0);

	send_bytes(ends.destination, 20);
	read_exactly(ends.source, 20);
	send_bytes(ends.source, 30);
	read_exactly(ends.destination, 30);
	assert_false(mr_tap_has_cut(bench->control));
	mr_tap_cut_later(bench->control, 0, true, 5);
	mr_clock_sleep(50000000);
	send_bytes(ends.source, 30);
	read_exactly(ends.destination, 30);
	send_bytes(ends.destination, 20);
	assert_int_equal(read_all(ends.source), 5);
	assert_int_equal(read_all(ends.destination), 0);
	assert_true(mr_tap_has_cut(bench->control));
	close_ends(ends);
	finish(bench, SECONDS);
	assert_true(bench->result.cut);
	assert_int_equal(mr_tapped_figures(bench->options.recording, 0)->bytes[0], 60);
	assert_int_equal(mr_tapped_figures(bench->options.recording, 0)->bytes[1], 25);
}

static void test_cut_of_later_connection(void **state)
{
	struct bench *bench = *state;
	const struct ends ends = connect_ends(bench, 0);
	struct ends later;

	mr_tap_cut_later(bench->control, 1, false, 7);
	send_bytes(ends.source, 30);
	read_exactly(ends.destination, 30);
	later = connect_ends(bench, 0);
	send_bytes(later.source, 30);
	assert_int_equal(read_all(later.destination), 7);
	/* all connections are cut */
	assert_int_equal(read_all(ends.destination), 0);
	close_ends(ends);
	close_ends(later);
	finish(bench, SECONDS);
	assert_true(bench->result.cut);
	assert_int_equal(bench->result.connections, 2);
}

static void test_redirect(void **state)
{
	struct bench *bench = *state;
	const struct ends ends = connect_ends(bench, 0);
	const struct mr_address second = address_of(bench->second, false);
	struct ends later;

	mr_tap_redirect(bench->control, &second);
	mr_clock_sleep(50000000);
	later = connect_ends(bench, 1);
	send_bytes(later.source, 30);
	read_exactly(later.destination, 30);
	/* what is open stays where it is */
	send_bytes(ends.source, 20);
	read_exactly(ends.destination, 20);
	close_ends(ends);
	close_ends(later);
	finish(bench, SECONDS);
	assert_int_equal(bench->result.open, 0);
	assert_int_equal(bench->result.refused, 0);
}

static void test_end(void **state)
{
	struct bench *bench = *state;
	const struct ends ends = connect_ends(bench, 0);
	uint64_t before;

	send_bytes(ends.source, 30);
	read_exactly(ends.destination, 30);
	before = mr_clock();
	finish(bench, 0.1);
	assert_in_range(mr_clock() - before, 90000000, (uint64_t)SECONDS * 1000000000);
	assert_int_equal(bench->result.open, 1);
	assert_int_equal(read_all(ends.source), 0);
	close_ends(ends);
}

static void test_end_without_connections(void **state)
{
	struct bench *bench = *state;

	finish(bench, SECONDS);
	assert_int_equal(bench->result.connections, 0);
}

/* Members that are told stand in the manifest, also of a recording without connections. */
static void test_manifest(void **state)
{
	struct bench *bench = *state;
	struct mr_recording *recording;
	char error[512] = "";

	finish(bench, SECONDS);
	mr_tapped_tell(bench->options.recording,
		       json_pack("{s:s, s:s, s:i}", "status", "completed", "source_qemu", "9.2.0", "memory_mib", 17));
	assert_true(mr_tapped_finish(bench->options.recording));
	if (mr_recording_open(&recording, bench->directory, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_string_equal(recording->status, "completed");
	assert_string_equal(recording->source_qemu, "9.2.0");
	assert_string_equal(recording->destination_qemu, "unknown");
	assert_int_equal(recording->memory_mib, 17);
	assert_int_equal(recording->channel_count, 0);
	mr_recording_close(recording);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_cut_later, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_cut_of_later_connection, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_redirect, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_end_without_connections, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_manifest, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
