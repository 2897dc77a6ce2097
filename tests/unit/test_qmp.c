/* test_qmp.c: the client of QEMU's monitor against an other end that does what it is told, or anything at all. */
#include "hostile.h"

#include "sim/host/clock.h"
#include "sim/host/qmp.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define GREETING                                                                                                       \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, \"package\": \"Debian\"}, "   \
	"\"capabilities\": [\"oob\"]}}\r\n"
#define DONE(id) "{\"return\": {}, \"id\": " #id "}\r\n"

/* The other end: writes each text behind the command before it, the first at once; NULL behind the last. */
struct server {
	int socket;
	const char *const *texts;
	size_t limit; /* bytes that it writes in all, before it closes */
	bool stays;   /* open, behind the last text, until the client closes */
	char read[4096];
	pthread_t thread;
};

static bool read_line(struct server *server)
{
	size_t length = strlen(server->read);

	while (length + 1 < sizeof(server->read) && recv(server->socket, server->read + length, 1, 0) == 1) {
		server->read[++length] = '\0';
		if (server->read[length - 1] == '\n')
			return true;
	}
	return false;
}

static void *serve(void *argument)
{
	struct server *server = argument;
	size_t left = server->limit;

	for (size_t i = 0; server->texts[i]; i++) {
		const size_t wanted = strlen(server->texts[i]), length = wanted < left ? wanted : left;

		if (i > 0 && !read_line(server))
			break;
		if (send(server->socket, server->texts[i], length, MSG_NOSIGNAL) != (ssize_t)length || length < wanted)
			break;
		left -= length;
	}
	while (server->stays && read_line(server))
		;
	close(server->socket);
	return NULL;
}

/* The client's socket. */
static int start(struct server *server, const char *const *texts)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	server->socket = pair[1];
	server->texts = texts;
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
	return pair[0];
}

static void finish(struct server *server, struct mr_qmp *qmp)
{
	mr_qmp_close(qmp);
	pthread_join(server->thread, NULL);
}

/* What the client says when it cannot begin. */
static void expect_refused(const char *const *texts, bool stays, double seconds, const char *expected)
{
	struct server server = {.limit = SIZE_MAX, .stays = stays};
	struct mr_qmp *qmp;
	char error[512] = "";
	const int socket = start(&server, texts);

	assert_int_equal(mr_qmp_adopt(&qmp, "source", socket, seconds, error, sizeof(error)), -1);
	assert_null(qmp);
	if (!strstr(error, expected))
		fail_msg("expected %s, found %s", expected, error);
	assert_null(strchr(error, '\n'));
	finish(&server, NULL);
}

static void test_commands(void **state)
{
	static const char *const texts[] = {
		GREETING,
		DONE(1),
		"{\"return\": {\"status\": \"running\"}, \"id\": 2}\r\n",
		"{\"error\": {\"class\": \"GenericError\", \"desc\": \"no such\\nthing\"}, \"id\": 3}\r\n",
		DONE(4),
		"",
		NULL};
	struct server server = {.limit = SIZE_MAX};
	struct mr_qmp *qmp;
	json_t *answer;
	char error[512] = "";

	(void)state;
	assert_int_equal(mr_qmp_adopt(&qmp, "source", start(&server, texts), 10, error, sizeof(error)), 0);
	assert_string_equal(mr_qmp_release(qmp), "7.2.22");
	assert_int_equal(mr_qmp_execute(qmp, "query-status", NULL, &answer, error, sizeof(error)), MR_QMP_DONE);
	assert_string_equal(json_string_value(json_object_get(answer, "status")), "running");
	json_decref(answer);
	assert_int_equal(mr_qmp_execute(qmp, "frob", json_pack("{s:i}", "value", 3), &answer, error, sizeof(error)),
			 MR_QMP_REFUSED);
	assert_null(answer);
	assert_string_equal(error, "source: frob: no such thing");
	assert_true(mr_qmp_is_open(qmp));
	assert_int_equal(mr_qmp_execute(qmp, "stop", NULL, NULL, error, sizeof(error)), MR_QMP_DONE);
	/* it closes behind the last answer, and stays closed */
	assert_int_equal(mr_qmp_execute(qmp, "cont", json_object(), NULL, error, sizeof(error)), MR_QMP_LOST);
	assert_string_equal(error, "source: cont: its monitor's connection ended");
	assert_false(mr_qmp_is_open(qmp));
	assert_int_equal(mr_qmp_execute(qmp, "quit", json_object(), NULL, error, sizeof(error)), MR_QMP_LOST);
	assert_string_equal(error, "source: quit: its monitor's connection ended");
	finish(&server, qmp);
	assert_string_equal(server.read, "{\"execute\":\"qmp_capabilities\",\"id\":1}\n"
					 "{\"execute\":\"query-status\",\"id\":2}\n"
					 "{\"execute\":\"frob\",\"id\":3,\"arguments\":{\"value\":3}}\n"
					 "{\"execute\":\"stop\",\"id\":4}\n"
					 "{\"execute\":\"cont\",\"id\":5,\"arguments\":{}}\n");
}

static void expect_event(struct mr_qmp *qmp, const char *name, double seconds, int number)
{
	json_t *event = mr_qmp_event(qmp, name, seconds);

	assert_non_null(event);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(event, "data"), "n")), number);
	json_decref(event);
}

static void test_events(void **state)
{
	static const char *const texts[] = {
		"{\"event\": \"EARLY\", \"data\": {\"n\": 0}}\n" GREETING,
		"{\"event\": \"A\", \"data\": {\"n\": 1}}\n" DONE(1),
		"{\"event\": \"B\", \"data\": {\"n\": 2}}\n{\"event\": \"A\", \"data\": {\"n\": 3}}\n" DONE(
			2) "{\"event\": \"B\", "
			   "\"data\": {\"n\": 4}}\n",
		NULL};
	struct server server = {.limit = SIZE_MAX, .stays = true};
	struct mr_qmp *qmp;
	char error[512] = "";
	uint64_t before;

	(void)state;
	assert_int_equal(mr_qmp_adopt(&qmp, "source", start(&server, texts), 10, error, sizeof(error)), 0);
	assert_null(mr_qmp_event(qmp, "B", 0));
	assert_int_equal(mr_qmp_execute(qmp, "query-status", NULL, NULL, error, sizeof(error)), MR_QMP_DONE);
	expect_event(qmp, "B", 0, 2);
	expect_event(qmp, "B", 10, 4);
	expect_event(qmp, NULL, 0, 0);
	expect_event(qmp, "A", 0, 1);
	expect_event(qmp, NULL, 10, 3);
	before = mr_clock();
	assert_null(mr_qmp_event(qmp, NULL, 0.05));
	assert_in_range(mr_clock() - before, 40000000, UINT64_C(20000000000));
	assert_true(mr_qmp_is_open(qmp));
	finish(&server, qmp);
}

/* Of more events than are kept the oldest are dropped. */
static void test_event_limit(void **state)
{
	enum { MORE = 10 };
	const size_t size = (MR_QMP_EVENTS_MAX + MORE) * 48 + 256;
	char *text = calloc(1, size), error[512] = "";
	size_t length = (size_t)snprintf(text, size, "%s", GREETING);
	const char *texts[] = {text, DONE(1), NULL};
	struct server server = {.limit = SIZE_MAX, .stays = true};
	struct mr_qmp *qmp;

	(void)state;
	for (int i = 0; i < MR_QMP_EVENTS_MAX + MORE; i++)
		length += (size_t)snprintf(text + length, size - length, "{\"event\": \"A\", \"data\": {\"n\": %d}}\n",
					   i);
	assert_int_equal(mr_qmp_adopt(&qmp, "source", start(&server, texts), 60, error, sizeof(error)), 0);
	expect_event(qmp, "A", 10, MORE);
	finish(&server, qmp);
	free(text);
}

static void test_no_monitor(void **state)
{
	static const char *const nothing[] = {"", NULL};
	static const char *const words[] = {"SSH-2.0-OpenSSH_9.2\r\n", NULL};
	static const char *const list[] = {"[1, 2]\n", NULL};
	static const char *const other[] = {"{\"QMP\": {\"version\": 7}}\n", NULL};
	static const char *const huge[] = {"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": "
					   "7000}}}}\n",
					   NULL};
	static const char *const refuses[] = {GREETING, "{\"error\": {\"desc\": \"no\"}, \"id\": 1}\n", NULL};
	static const char *const twice[] = {GREETING, DONE(7), NULL};

	(void)state;
	expect_refused(nothing, false, 10, "source: its monitor's connection ended");
	expect_refused(nothing, true, 0.05, "source: its monitor did not greet within 0.05 s");
	expect_refused(words, true, 10, "expected a monitor's JSON object a line, found ");
	expect_refused(list, true, 10, "expected a monitor's JSON object a line, found something else");
	expect_refused(other, true, 10, "expected the greeting of a QEMU's monitor, found another object");
	expect_refused(huge, true, 10, "expected the greeting of a QEMU's monitor, found another object");
	expect_refused(refuses, true, 10, "its monitor refused qmp_capabilities");
	expect_refused(twice, true, 10, "expected the answer to this command, found another one");
}

static void test_long_line(void **state)
{
	const size_t size = MR_QMP_LINE_MAX + 2;
	char *text = malloc(size);
	const char *texts[] = {text, NULL};

	(void)state;
	memset(text, ' ', size);
	text[size - 1] = '\0';
	expect_refused(texts, true, 60, "expected lines of at most 4194304 bytes, found a longer one");
	free(text);
}

/* An end that closes behind each number of bytes is one line, at once; all of them are read if it does not. */
static void test_every_end(void **state)
{
	static const char *const texts[] = {GREETING, DONE(1), "{\"event\": \"A\", \"data\": {\"n\": 1}}\n" DONE(2),
					    NULL};
	const size_t all = strlen(texts[0]) + strlen(texts[1]) + strlen(texts[2]);
	const size_t stride = RUNNING_ON_VALGRIND ? 17 : 1;

	(void)state;
	for (size_t limit = 0; limit <= all; limit = limit < all && limit + stride > all ? all : limit + stride) {
		struct server server = {.limit = limit};
		struct mr_qmp *qmp;
		char error[512] = "";
		const int socket = start(&server, texts);
		const bool greeted = mr_qmp_adopt(&qmp, "source", socket, 10, error, sizeof(error)) == 0;
		enum mr_qmp_status status = MR_QMP_LOST;

		if (greeted)
			status = mr_qmp_execute(qmp, "query-status", NULL, NULL, error, sizeof(error));
		assert_int_equal(status, limit == all ? MR_QMP_DONE : MR_QMP_LOST);
		if (limit < all)
			assert_non_null(strstr(error, "its monitor's connection ended"));
		finish(&server, qmp);
	}
}

static void test_stall(void **state)
{
	static const char *const texts[] = {GREETING, DONE(1), "{\"return\"", NULL};
	struct server server = {.limit = SIZE_MAX, .stays = true};
	struct mr_qmp *qmp;
	char error[512] = "";
	uint64_t before;

	(void)state;
	assert_int_equal(mr_qmp_adopt(&qmp, "destination", start(&server, texts), 10, error, sizeof(error)), 0);
	mr_qmp_limit(qmp, 0.1);
	before = mr_clock();
	assert_int_equal(mr_qmp_execute(qmp, "migrate", NULL, NULL, error, sizeof(error)), MR_QMP_LOST);
	assert_in_range(mr_clock() - before, 90000000, UINT64_C(20000000000));
	assert_string_equal(error, "destination: migrate: no answer within 0.1 s");
	finish(&server, qmp);
}

/* One that reads nothing: more than a socket holds cannot be sent. */
static void test_unread_command(void **state)
{
	static const char text[] = GREETING DONE(1);
	const size_t size = 8 << 20;
	struct mr_qmp *qmp;
	char error[512] = "", *value = malloc(size);
	int pair[2];

	(void)state;
	memset(value, 'x', size - 1);
	value[size - 1] = '\0';
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(send(pair[1], text, strlen(text), 0), strlen(text));
	assert_int_equal(mr_qmp_adopt(&qmp, "source", pair[0], 10, error, sizeof(error)), 0);
	mr_qmp_limit(qmp, 0.2);
	assert_int_equal(mr_qmp_execute(qmp, "migrate", json_pack("{s:s}", "uri", value), NULL, error, sizeof(error)),
			 MR_QMP_LOST);
	assert_string_equal(error, "source: migrate: took no command within 0.2 s");
	mr_qmp_close(qmp);
	close(pair[1]);
	free(value);
}

static void test_unasked_answer(void **state)
{
	static const char *const texts[] = {GREETING, DONE(1) DONE(2), NULL};
	struct server server = {.limit = SIZE_MAX, .stays = true};
	struct mr_qmp *qmp;
	char error[512] = "";

	(void)state;
	assert_int_equal(mr_qmp_adopt(&qmp, "source", start(&server, texts), 10, error, sizeof(error)), 0);
	assert_null(mr_qmp_event(qmp, NULL, 5));
	assert_int_equal(mr_qmp_execute(qmp, "stop", NULL, NULL, error, sizeof(error)), MR_QMP_LOST);
	assert_string_equal(error, "source: stop: expected events, found an answer that nobody asked for");
	finish(&server, qmp);
}

struct listener {
	struct server server;
	const char *path;
	uint64_t delay; /* ns */
};

static void *listen_late(void *argument)
{
	struct listener *listener = argument;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const int file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", listener->path);
	mr_clock_sleep(listener->delay);
	if (bind(file, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(file, 1) == 0)
		listener->server.socket = accept(file, NULL, NULL);
	serve(&listener->server);
	close(file);
	return NULL;
}

static void test_path(void **state)
{
	static const char *const texts[] = {GREETING, DONE(1), NULL};
	char folder[] = "/tmp/qmp-XXXXXX", path[64], error[512] = "", long_path[200];
	struct listener listener = {.server = {.texts = texts, .limit = SIZE_MAX}, .path = path, .delay = 50000000};
	struct mr_qmp *qmp;
	pthread_t thread;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/monitor", folder);
	assert_int_equal(mr_qmp_open(&qmp, "source", path, 0.05, error, sizeof(error)), -1);
	assert_non_null(strstr(error, "cannot connect: No such file or directory"));
	assert_int_equal(pthread_create(&thread, NULL, listen_late, &listener), 0);
	assert_int_equal(mr_qmp_open(&qmp, "source", path, 10, error, sizeof(error)), 0);
	mr_qmp_close(qmp);
	pthread_join(thread, NULL);
	/* nobody listens there any more */
	assert_int_equal(mr_qmp_open(&qmp, "source", path, 0.05, error, sizeof(error)), -1);
	assert_non_null(strstr(error, "cannot connect: Connection refused"));
	unlink(path);
	rmdir(folder);
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	assert_int_equal(mr_qmp_open(&qmp, "source", long_path, 1, error, sizeof(error)), -1);
	assert_non_null(strstr(error, "expected a path of at most 107 bytes, found 199"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),       cmocka_unit_test(test_events),
		cmocka_unit_test(test_event_limit),    cmocka_unit_test(test_no_monitor),
		cmocka_unit_test(test_long_line),      cmocka_unit_test(test_every_end),
		cmocka_unit_test(test_stall),          cmocka_unit_test(test_unread_command),
		cmocka_unit_test(test_unasked_answer), cmocka_unit_test(test_path),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
