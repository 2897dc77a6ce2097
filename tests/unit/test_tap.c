/* test_tap.c: the tap between two ends of the test: every byte arrives, none waits for another way, all are recorded.
 */
#include "host_support.h"

#include "folder.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "sim/host/clock.h"
#include "sim/host/tap.h"
#include "sim/world/random.h"

enum {
	HANGS_AFTER = 60, /* seconds */
	LINKS_MAX = 4,
	CHUNK_MAX = 60000,
	LINES = 512,
};

static const char *const kinds[] = {"unix", "tcp"};

/* ---- A tap in a thread ---- */

static char folder[] = "/tmp/test-tap-XXXXXX";

static struct {
	struct mr_tap_options options;
	struct mr_tap_result result;
	struct mr_tapped_options recorded;
	char directory[64], in[64], out[64], shown[MR_ADDRESS_TEXT], out_shown[MR_ADDRESS_TEXT];
	pthread_t thread;
	int ready[2];     /* pipe: a byte once it listens */
	int listener;     /* of the destination */
	char told[LINES]; /* its lines, one behind the other */
} tap;

static void tell_listening(void *argument, const char *address)
{
	(void)argument;
	snprintf(tap.shown, sizeof(tap.shown), "%s", address);
	assert_int_equal(write(tap.ready[1], "", 1), 1);
}

static void tell_line(void *argument, const char *line)
{
	const size_t length = strlen(tap.told);

	(void)argument;
	snprintf(tap.told + length, sizeof(tap.told) - length, "%s\n", line);
}

static void *run(void *argument)
{
	(void)argument;
	mr_tap_run(&tap.options, &tap.result);
	return NULL;
}

static void parse(struct mr_address *address, const char *text, bool listens)
{
	char error[512];

	if (mr_address_parse(address, text, listens, error, sizeof(error)) < 0)
		fail_msg("%s", error);
}

static void listen_out(const char *kind)
{
	struct mr_address address;
	char error[512];

	snprintf(tap.out, sizeof(tap.out), strcmp(kind, "unix") == 0 ? "unix:%s/out" : "tcp:127.0.0.1:0", folder);
	parse(&address, tap.out, true);
	tap.listener = mr_address_listen(&address, tap.out_shown, error, sizeof(error));
	if (tap.listener < 0)
		fail_msg("%s", error);
}

static void prepare(const char *kind)
{
	char error[512];

	memset(&tap, 0, sizeof(tap));
	listen_out(kind);
	snprintf(tap.directory, sizeof(tap.directory), "%s/recording", folder);
	snprintf(tap.in, sizeof(tap.in), strcmp(kind, "unix") == 0 ? "unix:%s/in" : "tcp:127.0.0.1:0", folder);
	parse(&tap.options.listen, tap.in, true);
	parse(&tap.options.connect, tap.out_shown, false);
	tap.options.time_limit = HANGS_AFTER;
	tap.options.idle = HANGS_AFTER;
	tap.options.listening = tell_listening;
	tap.options.complain = tell_line;
	tap.options.control = mr_tap_control_new();
	tap.recorded.directory = tap.directory;
	assert_non_null(tap.options.control);
	assert_int_equal(pipe(tap.ready), 0);
	if (mr_tapped_open(&tap.options.recording, &tap.recorded, error, sizeof(error)) < 0)
		fail_msg("%s", error);
}

static void start(void)
{
	char byte;

	assert_int_equal(pthread_create(&tap.thread, NULL, run, NULL), 0);
	assert_int_equal(read(tap.ready[0], &byte, 1), 1);
}

/* The tap has ended by itself, or is told to, at the latest in `seconds`. Whether the recording was written. */
static bool join(double seconds)
{
	bool written;

	if (seconds > 0)
		mr_tap_end(tap.options.control, seconds);
	assert_int_equal(pthread_join(tap.thread, NULL), 0);
	written = mr_tapped_finish(tap.options.recording);
	mr_tap_control_free(tap.options.control);
	close(tap.ready[0]);
	close(tap.ready[1]);
	if (tap.listener >= 0)
		close(tap.listener);
	if (mr_address_path(&tap.options.connect))
		unlink(mr_address_path(&tap.options.connect));
	return written;
}

static void forget(void)
{
	mr_tapped_free(tap.options.recording);
	folder_remove(tap.directory);
}

/* ---- Links: a connection's two ends, both in the test ---- */

/* One direction: what its sender has sent, its receiver got. */
struct way {
	uint64_t key;
	uint64_t total, sent, received;
	bool unread;
};

struct link {
	int ends[2];        /* source, destination; they do not block */
	struct way ways[2]; /* forward, back */
};

static uint8_t byte_at(const struct way *way, uint64_t n)
{
	return (uint8_t)((n + way->key) * 0x9e3779b97f4a7c15u >> 56);
}

static int connect_to(const char *text)
{
	struct mr_address address;
	int end;

	parse(&address, text, false);
	end = socket(address.socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(end >= 0);
	assert_int_equal(connect(end, (const struct sockaddr *)&address.socket, address.length), 0);
	return end;
}

static bool wait_for(int file, short events)
{
	struct pollfd polled = {file, events, 0};

	return poll(&polled, 1, HANGS_AFTER * 1000) == 1;
}

static struct link make_link(uint64_t key, uint64_t forward, uint64_t back)
{
	struct link link = {.ways = {{.key = key, .total = forward}, {.key = ~key, .total = back}}};

	link.ends[0] = connect_to(tap.shown);
	assert_true(wait_for(tap.listener, POLLIN));
	link.ends[1] = accept(tap.listener, NULL, NULL);
	assert_true(link.ends[1] >= 0);
	return link;
}

static void send_some(struct link *link, unsigned number, struct mr_random *random)
{
	struct way *way = &link->ways[number];
	uint8_t bytes[CHUNK_MAX];
	size_t length = 1 + (size_t)mr_random_below(random, CHUNK_MAX);
	ssize_t sent;

	if (length > way->total - way->sent)
		length = (size_t)(way->total - way->sent);
	for (size_t i = 0; i < length; i++)
		bytes[i] = byte_at(way, way->sent + i);
	sent = send(link->ends[number], bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent > 0)
		way->sent += (uint64_t)sent;
}

static void take_some(struct link *link, unsigned number, struct mr_random *random)
{
	struct way *way = &link->ways[number];
	uint8_t bytes[CHUNK_MAX];
	const ssize_t got =
		recv(link->ends[!number], bytes, 1 + (size_t)mr_random_below(random, CHUNK_MAX), MSG_DONTWAIT);

	if (got == 0 || (got < 0 && errno != EAGAIN))
		fail_msg("the end came behind %llu of %llu bytes", (unsigned long long)way->received,
			 (unsigned long long)way->total);
	for (ssize_t i = 0; i < got; i++)
		assert_int_equal(bytes[i], byte_at(way, way->received + (uint64_t)i));
	if (got > 0)
		way->received += (uint64_t)got;
}

static bool is_open(const struct way *way)
{
	return !way->unread && way->received < way->total;
}

/* Until all that is to be read has arrived; what nobody reads is sent as far as it goes. */
static void exchange(struct link *links, unsigned count, struct mr_random *random)
{
	const uint64_t deadline = mr_clock() + (uint64_t)HANGS_AFTER * 1000000000;
	bool open = true;

	while (open) {
		struct pollfd polled[2 * LINKS_MAX];

		open = false;
		for (unsigned i = 0; i < 2 * count; i++) {
			const struct way *out = &links[i / 2].ways[i % 2], *in = &links[i / 2].ways[!(i % 2)];

			polled[i] = (struct pollfd){
				links[i / 2].ends[i % 2],
				(short)((out->sent < out->total ? POLLOUT : 0) | (is_open(in) ? POLLIN : 0)), 0};
			open |= is_open(in);
		}
		if (!open)
			break;
		assert_true(poll(polled, 2 * count, HANGS_AFTER * 1000) > 0);
		assert_true(mr_clock() < deadline);
		for (unsigned i = 0; i < 2 * count; i++) {
			if (polled[i].revents & POLLOUT)
				send_some(&links[i / 2], i % 2, random);
			if (polled[i].revents & POLLIN && is_open(&links[i / 2].ways[!(i % 2)]))
				take_some(&links[i / 2], !(i % 2), random);
		}
	}
}

/* Whether this end sees the end of what comes to it; with a reset. */
static bool sees(int end, bool reset)
{
	char byte;
	ssize_t got;

	do {
		if (!wait_for(end, POLLIN))
			return false;
		got = recv(end, &byte, 1, 0);
	} while (got > 0);
	return reset ? got < 0 && errno == ECONNRESET : got == 0;
}

static void reset(int end)
{
	const struct linger linger = {1, 0};

	assert_int_equal(setsockopt(end, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	close(end);
}

/* ---- What was recorded ---- */

static void expect_file(const struct mr_recording *recording, unsigned channel, bool backward, const struct way *way,
			uint64_t length)
{
	char name[24], error[512];
	struct mr_input *input;
	const uint8_t *window;
	size_t at = 0;
	bool at_end;

	snprintf(name, sizeof(name), "ch%u.%s", channel, backward ? "ret" : "fwd");
	if (length == 0 && backward)
		return;
	if (mr_recording_open_file(recording, name, &input, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_int_equal(mr_input_fill(input, (size_t)length + 1), 0);
	window = mr_input_window(input, &at, &at_end);
	assert_true(at_end);
	assert_int_equal(at, length);
	for (size_t i = 0; i < length; i++)
		if (window[i] != byte_at(way, i))
			fail_msg("%s: byte %zu is another", name, i);
	mr_input_close(input);
}

/* All that arrived, of these links and no more. */
static void expect_recorded(const struct link *links, unsigned count)
{
	struct mr_recording *recording;
	char error[512];

	if (mr_recording_open(&recording, tap.directory, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_int_equal(recording->channel_count, count);
	for (unsigned i = 0; i < 2 * count; i++) {
		const struct way *way = &links[i / 2].ways[i % 2];

		expect_file(recording, i / 2, i % 2, way, way->received);
	}
	mr_recording_close(recording);
}

static void close_links(const struct link *links, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		close(links[i].ends[0]);
		close(links[i].ends[1]);
	}
}

/* ---- Tests ---- */

static uint64_t much(void)
{
	return RUNNING_ON_VALGRIND ? 100000 : 1500000;
}

/* Several connections, both directions, chunks by chance. */
static void test_traffic(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct mr_random random = mr_random_of(7, i);
		struct link links[LINKS_MAX];

		prepare(kinds[i]);
		start();
		for (unsigned j = 0; j < LINKS_MAX; j++)
			links[j] = make_link(j + 1, mr_random_below(&random, much()), mr_random_below(&random, much()));
		exchange(links, LINKS_MAX, &random);
		close_links(links, LINKS_MAX);
		assert_true(join(HANGS_AFTER));
		assert_int_equal(tap.result.end, MR_TAP_TOLD);
		assert_int_equal(tap.result.connections, LINKS_MAX);
		assert_string_equal(tap.told, "");
		expect_recorded(links, LINKS_MAX);
		forget();
	}
}

/* Who never reads holds up whoever sends to him, and nobody else. */
static void test_unread(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		const unsigned unread = i % 2;
		struct mr_random random = mr_random_of(8, i);
		struct link links[2];

		prepare(kinds[i / 2]);
		start();
		links[0] = make_link(1, much(), much());
		links[1] = make_link(2, much(), much());
		links[0].ways[unread].total = 100000000;
		links[0].ways[unread].unread = true;
		exchange(links, 2, &random);
		assert_true(links[0].ways[unread].sent < links[0].ways[unread].total);
		/* now it is read all the same: what the tap held back comes */
		links[0].ways[unread].total = links[0].ways[unread].sent;
		links[0].ways[unread].unread = false;
		exchange(links, 2, &random);
		close_links(links, 2);
		assert_true(join(HANGS_AFTER));
		expect_recorded(links, 2);
		forget();
	}
}

/* One direction ends, the other goes on. */
static void test_half_closed(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		const unsigned first = i % 2;
		struct mr_random random = mr_random_of(9, i);
		struct link link;

		prepare(kinds[i / 2]);
		start();
		link = make_link(3, 70000, 70000);
		exchange(&link, 1, &random);
		shutdown(link.ends[first], SHUT_WR);
		assert_true(sees(link.ends[!first], false));
		link.ways[!first].total += much();
		exchange(&link, 1, &random);
		shutdown(link.ends[!first], SHUT_WR);
		assert_true(sees(link.ends[first], false));
		close_links(&link, 1);
		assert_true(join(HANGS_AFTER));
		expect_recorded(&link, 1);
		forget();
	}
}

/* A reset is passed on as one, by TCP, behind all that came before. */
static void test_reset(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct mr_random random = mr_random_of(10, i);
		struct link link;

		prepare("tcp");
		start();
		link = make_link(4, 50000, 50000);
		exchange(&link, 1, &random);
		reset(link.ends[i]);
		assert_true(sees(link.ends[!i], true));
		close(link.ends[!i]);
		assert_true(join(HANGS_AFTER));
		assert_int_equal(tap.result.open, 0);
		expect_recorded(&link, 1);
		forget();
	}
}

/* An end with bytes that it never read: its peer sees that they are lost. */
static void test_closed_unread(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct link link;
		char byte;

		prepare(kinds[i]);
		start();
		link = make_link(5, 0, 0);
		assert_int_equal(send(link.ends[0], "x", 1, MSG_NOSIGNAL), 1);
		assert_true(wait_for(link.ends[1], POLLIN));
		close(link.ends[1]);
		assert_true(wait_for(link.ends[0], POLLIN));
		assert_true(recv(link.ends[0], &byte, 1, 0) <= 0);
		close(link.ends[0]);
		assert_true(join(HANGS_AFTER));
		forget();
	}
}

/* Connections beyond what a recording can have are refused, one line each. */
static void test_too_many(void **state)
{
	const unsigned count = MR_RECORDING_CHANNELS_MAX;
	int end;

	(void)state;
	if (RUNNING_ON_VALGRIND)
		skip();
	prepare("unix");
	start();
	for (unsigned i = 0; i < count; i++) {
		const struct link link = make_link(i, 0, 0);

		close_links(&link, 1);
	}
	end = connect_to(tap.shown);
	assert_true(wait_for(end, POLLIN));
	assert_true(recv(end, tap.in, 1, 0) <= 0);
	close(end);
	assert_true(join(HANGS_AFTER));
	assert_int_equal(tap.result.connections, count);
	assert_int_equal(tap.result.refused, 1);
	assert_non_null(strstr(tap.told, "one connection more than a recording can have"));
	forget();
}

/* Nobody listens at the other end: the source is told, and so is the user; what comes later goes through. */
static void test_refused(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct mr_random random = mr_random_of(11, i);
		struct mr_address address;
		struct link link;
		int end;

		prepare(kinds[i]);
		close(tap.listener);
		if (mr_address_path(&tap.options.connect))
			unlink(mr_address_path(&tap.options.connect));
		start();
		end = connect_to(tap.shown);
		assert_true(wait_for(end, POLLIN));
		assert_true(recv(end, tap.in, 1, 0) <= 0);
		close(end);
		listen_out(kinds[i]);
		parse(&address, tap.out_shown, false);
		mr_tap_redirect(tap.options.control, &address);
		link = make_link(6, 1000, 1000);
		exchange(&link, 1, &random);
		close_links(&link, 1);
		assert_true(join(HANGS_AFTER));
		assert_int_equal(tap.result.refused, 1);
		assert_int_equal(tap.result.connections, 1);
		assert_non_null(strstr(tap.told, "cannot connect: "));
		expect_recorded(&link, 1);
		forget();
	}
}

/* The disk is full: one line, no recording, and every byte arrives. */
static void test_full(void **state)
{
	struct mr_random random = mr_random_of(12, 0);
	struct rlimit before, small;
	struct link link;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = 20000;
	prepare("unix");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	start();
	link = make_link(7, 3000000, 100000);
	exchange(&link, 1, &random);
	close_links(&link, 1);
	assert_false(join(HANGS_AFTER));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, SIG_DFL);
	assert_non_null(strstr(mr_tapped_problem(tap.options.recording), "ch0.fwd.zst: File too large"));
	forget();
}

/* Nothing goes on: the time limit ends it, the ends see it, and what has come is recorded. */
static void test_time_limit(void **state)
{
	struct mr_random random = mr_random_of(13, 0);
	struct link link;

	(void)state;
	prepare("unix");
	tap.options.time_limit = RUNNING_ON_VALGRIND ? 3 : 0.5;
	start();
	link = make_link(8, 5000, 5000);
	exchange(&link, 1, &random);
	assert_true(sees(link.ends[0], false));
	assert_true(sees(link.ends[1], false));
	close_links(&link, 1);
	assert_true(join(0));
	assert_int_equal(tap.result.end, MR_TAP_TIME_LIMIT);
	assert_int_equal(tap.result.open, 1);
	expect_recorded(&link, 1);
	forget();
}

/* Every connection ends before a byte of one of them. */
static void test_cut(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		const unsigned cut = i % 2;
		struct mr_random random = mr_random_of(14, i);
		struct link links[2];

		prepare(kinds[i / 2]);
		tap.options.cuts = true;
		tap.options.cut_channel = 1;
		tap.options.cut_backward = cut;
		tap.options.cut_byte = 12345;
		start();
		links[0] = make_link(9, 3000, 3000);
		links[1] = make_link(10, 3000, 3000);
		exchange(links, 2, &random);
		links[1].ways[cut].total = 12345;
		exchange(&links[1], 1, &random);
		for (unsigned end = 0; end < 4; end++)
			assert_true(sees(links[end / 2].ends[end % 2], false));
		close_links(links, 2);
		assert_true(join(HANGS_AFTER));
		assert_true(tap.result.cut);
		expect_recorded(links, 2);
		forget();
	}
}

/* A signal ends a tap that nobody else controls; in a process of its own, as it is the process's. */
static void test_signal(void **state)
{
	struct link link;
	char byte;
	pid_t child;
	int status;

	(void)state;
	prepare("unix");
	mr_tap_control_free(tap.options.control);
	tap.options.control = NULL;
	child = fork();
	if (child == 0) {
		bool written;

		run(NULL);
		written = mr_tapped_finish(tap.options.recording);
		_exit(written && tap.result.end == MR_TAP_SIGNAL && tap.result.open == 1 ? 0 : 1);
	}
	assert_true(child > 0);
	assert_int_equal(read(tap.ready[0], &byte, 1), 1);
	snprintf(tap.shown, sizeof(tap.shown), "%s", tap.in);
	link = make_link(11, 0, 0);
	assert_int_equal(send(link.ends[0], "x", 1, MSG_NOSIGNAL), 1);
	assert_true(wait_for(link.ends[1], POLLIN));
	assert_int_equal(kill(child, SIGTERM), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_true(sees(link.ends[1], false));
	close_links(&link, 1);
	close(tap.listener);
	close(tap.ready[0]);
	close(tap.ready[1]);
	unlink(mr_address_path(&tap.options.connect));
	forget();
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return folder_remove(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_traffic),       cmocka_unit_test(test_unread),
		cmocka_unit_test(test_half_closed),   cmocka_unit_test(test_reset),
		cmocka_unit_test(test_closed_unread), cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_refused),       cmocka_unit_test(test_full),
		cmocka_unit_test(test_time_limit),    cmocka_unit_test(test_cut),
		cmocka_unit_test(test_signal),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
