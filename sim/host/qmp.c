/* qmp.c: a client of QEMU's monitor protocol: one command after another, each with a time limit, events kept meanwhile.
 */
#include "sim/host/qmp.h"
#include "sim/host/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	FIRST_CAPACITY = 64 << 10,
	RETRY_NS = 20 * 1000 * 1000, /* until a path that does not listen yet is tried again */
	SECOND = 1000 * 1000 * 1000,
	MILLISECOND = 1000 * 1000,
	PROBLEM = 400,
	RELEASE = 32,
};

struct mr_qmp {
	int socket; /* -1: it has ended */
	char name[MR_QMP_NAME_MAX];
	char problem[PROBLEM]; /* why it has */
	char release[RELEASE];
	double seconds;
	uint64_t deadline; /* of what is done just now */
	json_int_t serial; /* of the last command */
	char *buffer;
	size_t length, capacity;
	size_t searched; /* bytes of the buffer in which no line ends */
	json_t *events;  /* array, oldest first */
};

/* ---- Ends ---- */

/* The connection cannot be used any more, for the first reason that was found. */
__attribute__((format(printf, 2, 3))) static void lose(struct mr_qmp *qmp, const char *format, ...)
{
	va_list arguments;

	if (qmp->socket < 0)
		return;
	close(qmp->socket);
	qmp->socket = -1;
	va_start(arguments, format);
	vsnprintf(qmp->problem, sizeof(qmp->problem), format, arguments);
	va_end(arguments);
}

/* What the other end wrote is quoted in lines of ours. */
static void make_plain(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = ' ';
}

void mr_qmp_close(struct mr_qmp *qmp)
{
	if (!qmp)
		return;
	if (qmp->socket >= 0)
		close(qmp->socket);
	json_decref(qmp->events);
	free(qmp->buffer);
	free(qmp);
}

/* ---- Lines ---- */

static void begin(struct mr_qmp *qmp, double seconds)
{
	qmp->deadline = mr_clock() + (uint64_t)(seconds * SECOND);
}

/* Whether the socket is ready before the deadline. */
static bool wait_for(const struct mr_qmp *qmp, short events)
{
	struct pollfd file = {qmp->socket, events, 0};
	int ready;

	do {
		const uint64_t now = mr_clock(), left = now < qmp->deadline ? qmp->deadline - now : 0;

		ready = poll(&file, 1, (int)(left / MILLISECOND + (left % MILLISECOND != 0)));
	} while (ready < 0 && errno == EINTR);
	return ready > 0;
}

static bool make_room(struct mr_qmp *qmp)
{
	const size_t larger = qmp->capacity ? 2 * qmp->capacity : FIRST_CAPACITY;
	char *buffer;

	if (qmp->length < qmp->capacity)
		return true;
	if (qmp->length >= MR_QMP_LINE_MAX) {
		lose(qmp, "expected lines of at most %d bytes, found a longer one", MR_QMP_LINE_MAX);
		return false;
	}
	buffer = realloc(qmp->buffer, larger);
	if (!buffer) {
		lose(qmp, "no memory for a line of its monitor");
		return false;
	}
	qmp->buffer = buffer;
	qmp->capacity = larger;
	return true;
}

/* More bytes; false at the deadline, and where the connection is lost. */
static bool read_more(struct mr_qmp *qmp)
{
	ssize_t count;

	if (!make_room(qmp) || !wait_for(qmp, POLLIN))
		return false;
	count = recv(qmp->socket, qmp->buffer + qmp->length, qmp->capacity - qmp->length, MSG_DONTWAIT);
	if (count > 0)
		qmp->length += (size_t)count;
	else if (count == 0)
		lose(qmp, "its monitor's connection ended");
	else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
		lose(qmp, "its monitor's connection ended: %s", strerror(errno));
	return qmp->socket >= 0;
}

static json_t *parse(struct mr_qmp *qmp, size_t length)
{
	json_error_t problem;
	json_t *object = json_loadb(qmp->buffer, length, 0, &problem);

	if (json_is_object(object))
		return object;
	json_decref(object);
	make_plain(problem.text);
	lose(qmp, "expected a monitor's JSON object a line, found %s", object ? "something else" : problem.text);
	return NULL;
}

/* The next object that comes before the deadline; NULL: none, or the connection is lost. */
static json_t *read_object(struct mr_qmp *qmp)
{
	const char *end;
	json_t *object;
	size_t length;

	while (qmp->socket >= 0) {
		end = qmp->length > qmp->searched
			      ? memchr(qmp->buffer + qmp->searched, '\n', qmp->length - qmp->searched)
			      : NULL;
		if (!end) {
			qmp->searched = qmp->length;
			if (!read_more(qmp))
				return NULL;
			continue;
		}
		length = (size_t)(end - qmp->buffer) + 1;
		object = parse(qmp, length);
		memmove(qmp->buffer, qmp->buffer + length, qmp->length - length);
		qmp->length -= length;
		qmp->searched = 0;
		return object;
	}
	return NULL;
}

static void keep_event(struct mr_qmp *qmp, json_t *event)
{
	if (json_array_size(qmp->events) == MR_QMP_EVENTS_MAX)
		json_array_remove(qmp->events, 0);
	json_array_append_new(qmp->events, event);
}

/* As read_object(), of those that are no event. */
static json_t *read_answer(struct mr_qmp *qmp)
{
	json_t *object;

	while ((object = read_object(qmp)) != NULL && json_object_get(object, "event"))
		keep_event(qmp, object);
	return object;
}

/* ---- Commands ---- */

static bool send_line(struct mr_qmp *qmp, const char *line, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t count;

		if (!wait_for(qmp, POLLOUT)) {
			lose(qmp, "took no command within %g s", qmp->seconds);
			return false;
		}
		count = send(qmp->socket, line + done, length - done, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (count > 0)
			done += (size_t)count;
		else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) {
			lose(qmp, "its monitor's connection ended: %s", strerror(errno));
			return false;
		}
	}
	return true;
}

/* Takes over the arguments. */
static void send_command(struct mr_qmp *qmp, const char *command, json_t *arguments)
{
	json_t *object = json_pack("{s:s, s:I}", "execute", command, "id", ++qmp->serial);
	char *text;
	size_t length;

	if (arguments)
		json_object_set_new(object, "arguments", arguments);
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	if (!text) {
		lose(qmp, "no memory for a command");
		return;
	}
	/* the NUL makes room for the end of the line */
	length = strlen(text);
	text[length] = '\n';
	send_line(qmp, text, length + 1);
	free(text);
}

static json_t *read_own_answer(struct mr_qmp *qmp)
{
	json_t *answer = read_answer(qmp);
	const json_t *id = json_object_get(answer, "id");

	if (!answer) {
		lose(qmp, "no answer within %g s", qmp->seconds);
		return NULL;
	}
	if (json_is_integer(id) && json_integer_value(id) == qmp->serial)
		return answer;
	json_decref(answer);
	lose(qmp, "expected the answer to this command, found another one");
	return NULL;
}

static enum mr_qmp_status refused(const char *name, const char *command, const json_t *answer, char *error,
				  size_t error_size)
{
	const char *description = json_string_value(json_object_get(json_object_get(answer, "error"), "desc"));

	snprintf(error, error_size, "%s: %s: %.300s", name, command,
		 description ? description : "refused without a reason");
	make_plain(error);
	return MR_QMP_REFUSED;
}

enum mr_qmp_status mr_qmp_execute(struct mr_qmp *qmp, const char *command, json_t *arguments, json_t **answer,
				  char *error, size_t error_size)
{
	json_t *object = NULL, *value;
	enum mr_qmp_status status = MR_QMP_DONE;

	if (answer)
		*answer = NULL;
	begin(qmp, qmp->seconds);
	if (qmp->socket >= 0)
		send_command(qmp, command, arguments);
	else
		json_decref(arguments);
	if (qmp->socket >= 0)
		object = read_own_answer(qmp);
	if (!object) {
		snprintf(error, error_size, "%s: %s: %s", qmp->name, command, qmp->problem);
		return MR_QMP_LOST;
	}
	value = json_object_get(object, "return");
	if (!value)
		status = refused(qmp->name, command, object, error, error_size);
	else if (answer)
		*answer = json_incref(value);
	json_decref(object);
	return status;
}

/* ---- Events ---- */

static json_t *take_event(struct mr_qmp *qmp, const char *name)
{
	json_t *event;
	size_t index;

	json_array_foreach(qmp->events, index, event)
	{
		const char *found = json_string_value(json_object_get(event, "event"));

		if (name && (!found || strcmp(found, name) != 0))
			continue;
		json_incref(event);
		json_array_remove(qmp->events, index);
		return event;
	}
	return NULL;
}

json_t *mr_qmp_event(struct mr_qmp *qmp, const char *name, double seconds)
{
	json_t *event = take_event(qmp, name), *object;

	begin(qmp, seconds);
	while (!event && (object = read_object(qmp)) != NULL) {
		if (json_object_get(object, "event")) {
			keep_event(qmp, object);
			event = take_event(qmp, name);
			continue;
		}
		json_decref(object);
		lose(qmp, "expected events, found an answer that nobody asked for");
	}
	return event;
}

/* ---- Opening ---- */

static void read_release(struct mr_qmp *qmp, const json_t *greeting)
{
	const json_t *version = json_object_get(json_object_get(json_object_get(greeting, "QMP"), "version"), "qemu");
	const json_t *numbers[] = {json_object_get(version, "major"), json_object_get(version, "minor"),
				   json_object_get(version, "micro")};

	for (size_t i = 0; i < 3; i++)
		if (!json_is_integer(numbers[i]) || json_integer_value(numbers[i]) < 0 ||
		    json_integer_value(numbers[i]) > 999) {
			lose(qmp, "expected the greeting of a QEMU's monitor, found another object");
			return;
		}
	snprintf(qmp->release, sizeof(qmp->release), "%d.%d.%d", (int)json_integer_value(numbers[0]),
		 (int)json_integer_value(numbers[1]), (int)json_integer_value(numbers[2]));
}

static int greet(struct mr_qmp *qmp, double seconds, char *error, size_t error_size)
{
	json_t *greeting = read_answer(qmp), *answer = NULL;

	if (greeting)
		read_release(qmp, greeting);
	else
		lose(qmp, "its monitor did not greet within %g s", seconds);
	json_decref(greeting);
	if (qmp->socket >= 0) {
		send_command(qmp, "qmp_capabilities", NULL);
		if (qmp->socket >= 0)
			answer = read_own_answer(qmp);
		if (qmp->socket >= 0 && !json_object_get(answer, "return"))
			lose(qmp, "its monitor refused qmp_capabilities");
		json_decref(answer);
	}
	if (qmp->socket >= 0)
		return 0;
	snprintf(error, error_size, "%s: %s", qmp->name, qmp->problem);
	return -1;
}

static int open_on(struct mr_qmp **result, const char *name, int socket, uint64_t deadline, double seconds, char *error,
		   size_t error_size)
{
	struct mr_qmp *qmp = calloc(1, sizeof(*qmp));
	json_t *events = json_array();

	*result = NULL;
	if (!qmp || !events) {
		snprintf(error, error_size, "%s: no memory for its monitor", name);
		json_decref(events);
		free(qmp);
		close(socket);
		return -1;
	}
	*qmp = (struct mr_qmp){.socket = socket, .seconds = seconds, .deadline = deadline, .events = events};
	snprintf(qmp->name, sizeof(qmp->name), "%s", name);
	if (greet(qmp, seconds, error, error_size) < 0) {
		mr_qmp_close(qmp);
		return -1;
	}
	qmp->seconds = MR_QMP_SECONDS;
	*result = qmp;
	return 0;
}

int mr_qmp_adopt(struct mr_qmp **result, const char *name, int socket, double seconds, char *error, size_t error_size)
{
	return open_on(result, name, socket, mr_clock() + (uint64_t)(seconds * SECOND), seconds, error, error_size);
}

/* Whoever is to listen there may not have come so far. */
static int connect_until(const struct sockaddr_un *address, uint64_t deadline)
{
	const int file = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	while (file >= 0 && connect(file, (const struct sockaddr *)address, sizeof(*address)) < 0) {
		const int reason = errno;

		if ((reason == ENOENT || reason == ECONNREFUSED || reason == EAGAIN || reason == EINTR) &&
		    mr_clock() < deadline) {
			mr_clock_sleep(RETRY_NS);
			continue;
		}
		close(file);
		errno = reason;
		return -1;
	}
	return file;
}

int mr_qmp_open(struct mr_qmp **result, const char *name, const char *path, double seconds, char *error,
		size_t error_size)
{
	const uint64_t deadline = mr_clock() + (uint64_t)(seconds * SECOND);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int file;

	*result = NULL;
	if (strlen(path) >= sizeof(address.sun_path)) {
		snprintf(error, error_size, "%s: %.60s...: expected a path of at most %zu bytes, found %zu", name, path,
			 sizeof(address.sun_path) - 1, strlen(path));
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path) + 1);
	file = connect_until(&address, deadline);
	if (file < 0) {
		snprintf(error, error_size, "%s: %s: cannot connect: %s", name, path, strerror(errno));
		return -1;
	}
	return open_on(result, name, file, deadline, seconds, error, error_size);
}

/* ---- Asking ---- */

void mr_qmp_limit(struct mr_qmp *qmp, double seconds)
{
	qmp->seconds = seconds;
}

const char *mr_qmp_release(const struct mr_qmp *qmp)
{
	return qmp->release;
}

bool mr_qmp_is_open(const struct mr_qmp *qmp)
{
	return qmp->socket >= 0;
}
