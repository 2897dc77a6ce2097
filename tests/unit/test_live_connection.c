/* test_live_connection.c: messages of many threads in the order of their turns, and a window of what was read. */
#include "host_support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "random.h"
#include "sim/host/clock.h"
#include "sim/host/connection.h"

enum { WRITERS = 8, MESSAGES = 400, LONGEST = 5000, HANGS_AFTER = 300 /* seconds */, MILLISECOND = 1000000 };

static struct mr_connection connection;
static int peer; /* the other end of its socket */

static void begin(void)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_true(mr_connection_init(&connection, ends[0]));
	peer = ends[1];
}

static void end(void)
{
	mr_connection_close(&connection);
	assert_int_equal(connection.socket, -1);
	if (peer >= 0)
		close(peer);
	peer = -1;
}

/* Byte n of what is sent. */
static uint8_t byte_at(uint64_t n)
{
	return (uint8_t)(n * 31 ^ n >> 8);
}

static void fill(uint8_t *bytes, uint64_t from, size_t length)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = byte_at(from + i);
}

static void expect_bytes(const uint8_t *bytes, uint64_t from, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (bytes[i] != byte_at(from + i))
			fail_msg("byte %llu: expected %02x, found %02x", (unsigned long long)(from + i),
				 byte_at(from + i), bytes[i]);
}

/* ---- Turns ---- */

/* What several threads share, as the threads of an end share their machine. */
static struct {
	pthread_mutex_t lock;
	struct random random;
	uint64_t messages, planned; /* drawn so far; bytes of these */
	uint64_t reached;           /* bytes that went out */
	_Atomic uint32_t failed;
} ends = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *write_messages(void *argument)
{
	uint8_t *bytes = malloc(LONGEST);

	(void)argument;
	for (;;) {
		uint64_t turn, from;
		size_t length, written;
		int error;

		pthread_mutex_lock(&ends.lock);
		if (ends.messages == MESSAGES) {
			pthread_mutex_unlock(&ends.lock);
			break;
		}
		length = 1 + (size_t)random_below(&ends.random, LONGEST);
		turn = mr_connection_draw(&connection);
		from = ends.planned;
		ends.messages++;
		ends.planned += length;
		pthread_mutex_unlock(&ends.lock);
		fill(bytes, from, length);
		if (turn % 3 == 0)
			sched_yield();
		error = mr_connection_write(&connection, turn, bytes, length, &written);
		/* The turn is still its own: nobody else is at this. */
		ends.reached += written;
		if (error) {
			assert_int_equal(error, EPIPE);
			atomic_fetch_add(&ends.failed, 1);
		} else {
			assert_int_equal(written, length);
		}
		mr_connection_pass(&connection);
	}
	free(bytes);
	return NULL;
}

static void *read_all(void *argument)
{
	uint64_t *count = argument;
	uint8_t bytes[4096];
	ssize_t length;

	while ((length = recv(peer, bytes, sizeof(bytes), 0)) > 0) {
		expect_bytes(bytes, *count, (size_t)length);
		*count += (uint64_t)length;
	}
	return NULL;
}

/* All writers at once; gives what arrived. */
static uint64_t race(uint64_t seed, uint64_t cut_at)
{
	pthread_t writers[WRITERS], reader;
	uint64_t arrived = 0;

	begin();
	connection.cut_at = cut_at;
	ends.random.state = seed;
	ends.messages = ends.planned = ends.reached = 0;
	atomic_store(&ends.failed, 0);
	assert_int_equal(pthread_create(&reader, NULL, read_all, &arrived), 0);
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&writers[i], NULL, write_messages, NULL), 0);
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	mr_connection_shut(&connection);
	pthread_join(reader, NULL);
	assert_int_equal(arrived, ends.reached);
	assert_int_equal(arrived, connection.written);
	end();
	return arrived;
}

static void test_turns(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		const uint64_t arrived = race(seed, UINT64_MAX);

		assert_int_equal(arrived, ends.planned);
		assert_int_equal(ends.messages, MESSAGES);
		assert_int_equal(atomic_load(&ends.failed), 0);
	}
}

/* The message at the cut goes out in part, those behind it not at all. */
static void test_cut_among_many(void **state)
{
	(void)state;
	for (uint64_t seed = 4; seed <= 6; seed++) {
		const uint64_t at = seed * 100003;

		assert_int_equal(race(seed, at), at);
		assert_in_range(atomic_load(&ends.failed), 1, MESSAGES - 1);
	}
}

static int write_next(const uint8_t *bytes, size_t length, size_t *written)
{
	const int error = mr_connection_write(&connection, mr_connection_draw(&connection), bytes, length, written);

	mr_connection_pass(&connection);
	return error;
}

/* A message that ends where the cut is goes out; what comes next does not. */
static void test_cut(void **state)
{
	uint8_t bytes[64];
	size_t written;

	(void)state;
	begin();
	fill(bytes, 0, sizeof(bytes));
	connection.cut_at = 40;
	assert_int_equal(write_next(bytes, 30, &written), 0);
	assert_int_equal(written, 30);
	assert_int_equal(write_next(bytes + 30, 10, &written), 0);
	assert_int_equal(written, 10);
	assert_int_equal(write_next(bytes + 40, 10, &written), EPIPE);
	assert_int_equal(written, 0);
	assert_int_equal(write_next(bytes + 40, 0, &written), EPIPE);
	assert_int_equal(recv(peer, bytes, sizeof(bytes), MSG_WAITALL), 40);
	expect_bytes(bytes, 0, 40);
	end();
	begin();
	connection.cut_at = 7;
	assert_int_equal(write_next(bytes, 30, &written), EPIPE);
	assert_int_equal(written, 7);
	assert_int_equal(recv(peer, bytes, sizeof(bytes), MSG_WAITALL), 7);
	end();
}

/* Who waits for room in the socket goes on when the connection is shut, and whoever waits for a turn behind it. */
static void *fill_socket(void *argument)
{
	static const uint8_t bytes[1 << 20];
	const uint64_t turn = *(const uint64_t *)argument;
	size_t written;

	assert_int_not_equal(mr_connection_write(&connection, turn, bytes, sizeof(bytes), &written), 0);
	mr_connection_pass(&connection);
	return NULL;
}

static void test_shut(void **state)
{
	pthread_t writers[2];
	uint64_t turns[2];

	(void)state;
	begin();
	for (unsigned i = 0; i < 2; i++) {
		turns[i] = mr_connection_draw(&connection);
		assert_int_equal(pthread_create(&writers[i], NULL, fill_socket, &turns[i]), 0);
	}
	mr_clock_sleep(20 * MILLISECOND);
	mr_connection_shut(&connection);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(writers[i], NULL);
	end();
}

/* ---- Reading ---- */

static void send_some(uint64_t from, size_t length)
{
	uint8_t *bytes = malloc(length);

	fill(bytes, from, length);
	assert_int_equal(send(peer, bytes, length, MSG_NOSIGNAL), length);
	free(bytes);
}

static ssize_t read_once(uint64_t used_up, int *error)
{
	ssize_t length;

	assert_true(mr_connection_prepare(&connection, used_up));
	length = mr_connection_read(&connection, error);
	if (length >= 0)
		mr_connection_take(&connection, (size_t)length, *error);
	return length;
}

/* What is not used up stays, at the window's beginning, however much comes behind it. */
static void test_window(void **state)
{
	enum { PIECE = 50000, ALL = 6000000 };
	uint64_t sent = 0, used = 0;
	struct random random = {.state = 7};
	int error;

	(void)state;
	begin();
	while (sent < ALL || used < sent) {
		if (sent < ALL) {
			send_some(sent, PIECE);
			sent += PIECE;
		}
		while (connection.base + connection.length < sent) {
			assert_true(read_once(used, &error) > 0);
			assert_int_equal(error, 0);
			assert_int_equal(connection.base, used);
			assert_false(connection.at_end);
		}
		expect_bytes(connection.window, connection.base, connection.length < 100 ? connection.length : 100);
		/* A package of many megabytes is used up at once; other bytes soon. */
		if (sent < ALL / 2)
			continue;
		used += random_below(&random, sent - used + 1);
		if (sent == ALL)
			used = sent;
		assert_true(mr_connection_prepare(&connection, used));
		assert_int_equal(connection.base, used);
		assert_int_equal(connection.length, sent - used);
		expect_bytes(connection.window, used, connection.length);
	}
	assert_true(connection.capacity >= ALL / 2);
	end();
}

static void test_end(void **state)
{
	int error;

	(void)state;
	begin();
	send_some(0, 10);
	close(peer);
	peer = -1;
	assert_int_equal(read_once(0, &error), 10);
	assert_false(connection.at_end);
	assert_int_equal(read_once(0, &error), 0);
	assert_true(connection.at_end);
	assert_int_equal(connection.error, 0);
	assert_int_equal(connection.length, 10);
	expect_bytes(connection.window, 0, 10);
	end();
	/* A peer that has not read what it was sent breaks the connection. */
	begin();
	assert_int_equal(send(connection.socket, "x", 1, MSG_NOSIGNAL), 1);
	close(peer);
	peer = -1;
	assert_int_equal(read_once(0, &error), 0);
	assert_int_equal(error, ECONNRESET);
	assert_true(connection.at_end);
	assert_int_equal(connection.error, ECONNRESET);
	end();
}

static void *interrupt_soon(void *argument)
{
	(void)argument;
	mr_clock_sleep(20 * MILLISECOND);
	mr_connection_interrupt(&connection);
	return NULL;
}

static void test_interrupt(void **state)
{
	pthread_t thread;
	int error;

	(void)state;
	begin();
	/* who reads */
	assert_int_equal(pthread_create(&thread, NULL, interrupt_soon, NULL), 0);
	assert_int_equal(read_once(0, &error), -1);
	pthread_join(thread, NULL);
	/* who begins to, once for however many times; the bytes stay */
	mr_connection_interrupt(&connection);
	mr_connection_interrupt(&connection);
	send_some(0, 10);
	assert_int_equal(read_once(0, &error), -1);
	assert_int_equal(connection.length, 0);
	assert_int_equal(read_once(0, &error), 10);
	expect_bytes(connection.window, 0, 10);
	/* a socket that is shut ends the read, too */
	mr_connection_shut(&connection);
	assert_int_equal(read_once(10, &error), 0);
	assert_true(connection.at_end);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turns),     cmocka_unit_test(test_cut_among_many), cmocka_unit_test(test_cut),
		cmocka_unit_test(test_shut),      cmocka_unit_test(test_window),         cmocka_unit_test(test_end),
		cmocka_unit_test(test_interrupt),
	};

	/* a turn that never comes would be waited for for ever */
	alarm(HANGS_AFTER);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
