/* tap.c: a proxy between the two ends of a migration that others run: every byte goes on unchanged, and is recorded. */
#include "sim/host/tap.h"
#include "sim/host/clock.h"
#include "sim/host/signals.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	CONNECTIONS_MAX = MR_RECORDING_CHANNELS_MAX,
	FILES_MAX = 3 + 2 * CONNECTIONS_MAX,
	RETRY_NS = 20 * 1000 * 1000, /* until a full backlog is asked again */
	SECOND = 1000 * 1000 * 1000,
	MILLISECOND = 1000 * 1000,
};

/* One direction of a connection. */
struct way {
	int from, to; /* sockets, of the connection */
	uint8_t *buffer;
	size_t start, length; /* of what is in it */
	uint64_t passed;      /* bytes */
	bool at_end;          /* nothing more is read */
	bool ended;           /* and nothing passed on */
};

struct connection {
	uint32_t number;
	int sockets[2]; /* of the source and of the destination; -1: closed */
	struct way ways[2];
	bool reset; /* by one end, for the other to see */
};

/* A connection that the source made, until the destination has taken it. */
struct guest {
	int source, destination; /* -1: none */
	bool asked;              /* the destination answers later */
	uint64_t retry, deadline;
};

/* Where every connection is cut, once. */
struct cut {
	bool wanted;
	uint32_t channel;
	bool backward;
	uint64_t byte; /* of the direction; in a control: from now on */
};

struct mr_tap_control {
	pthread_mutex_t lock; /* of all that follows */
	int event;            /* eventfd: something was told */
	struct cut cut;
	bool redirected, ends, has_cut;
	struct mr_address connect;
	double seconds;
};

struct tap {
	const struct mr_tap_options *options;
	struct mr_tap_result *result;
	struct mr_address connect;
	struct cut cut;
	int listener;
	int ending;                /* readable once it is to end: the control's event, or that of the signals */
	struct mr_signals signals; /* without a control */
	struct guest guest;
	struct connection *open; /* by their age */
	size_t count;
	uint64_t deadline, idle_since;
	bool ends;      /* as soon as nothing is open */
	bool told;      /* what went wrong with the recording */
	bool told_full; /* that no connection can be accepted */
	struct pollfd files[FILES_MAX];
	nfds_t file_count;
};

__attribute__((format(printf, 2, 3))) static void complain(const struct tap *tap, const char *format, ...)
{
	char line[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	tap->options->complain(tap->options->argument, line);
}

/* ---- Ends ---- */

static void end_way(struct tap *tap, struct connection *connection, unsigned way)
{
	if (connection->ways[way].ended)
		return;
	connection->ways[way].at_end = connection->ways[way].ended = true;
	connection->ways[way].length = 0;
	mr_tapped_end(tap->options->recording, connection->number, way == 1, mr_clock());
}

/* Whoever is at the other end of the socket sees that the connection was reset, not ended. */
static void close_socket(int *socket, bool reset)
{
	const struct linger at_once = {1, 0};

	if (*socket < 0)
		return;
	if (reset)
		setsockopt(*socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(*socket);
	*socket = -1;
}

static void close_connection(struct tap *tap, struct connection *connection)
{
	for (unsigned way = 0; way < 2; way++) {
		end_way(tap, connection, way);
		free(connection->ways[way].buffer);
		connection->ways[way].buffer = NULL;
	}
	for (unsigned end = 0; end < 2; end++)
		close_socket(&connection->sockets[end], connection->reset);
}

static void cut_all(struct tap *tap)
{
	struct mr_tap_control *control = tap->options->control;

	if (control) {
		pthread_mutex_lock(&control->lock);
		control->has_cut = true;
		pthread_mutex_unlock(&control->lock);
	}
	mr_tapped_cut(tap->options->recording, mr_clock());
	for (size_t i = 0; i < tap->count; i++)
		close_connection(tap, &tap->open[i]);
}

/* Those that ended in both directions. */
static void remove_ended(struct tap *tap)
{
	size_t kept = 0;

	for (size_t i = 0; i < tap->count; i++) {
		if (tap->open[i].ways[0].ended && tap->open[i].ways[1].ended)
			close_connection(tap, &tap->open[i]);
		else
			tap->open[kept++] = tap->open[i];
	}
	if (tap->count && !kept)
		tap->idle_since = mr_clock();
	tap->count = kept;
}

/* ---- Bytes ---- */

static bool is_cut_way(const struct tap *tap, const struct connection *connection, unsigned way)
{
	const struct cut *cut = &tap->cut;

	return cut->wanted && connection->number == cut->channel && (way == 1) == cut->backward;
}

/* Nobody takes what comes this way: its sender is to see it, and the other direction goes on. */
static void break_way(struct tap *tap, struct connection *connection, unsigned number)
{
	connection->reset |= errno == ECONNRESET;
	shutdown(connection->ways[number].from, SHUT_RD);
	end_way(tap, connection, number);
}

static void pass_on(struct tap *tap, struct connection *connection, unsigned number)
{
	struct way *way = &connection->ways[number];
	size_t length = way->length;
	ssize_t sent;

	if (is_cut_way(tap, connection, number) && length >= tap->cut.byte - way->passed)
		length = (size_t)(tap->cut.byte - way->passed);
	sent = length ? send(way->to, way->buffer + way->start, length, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
	if (sent < 0) {
		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
			break_way(tap, connection, number);
		return;
	}
	mr_tapped_bytes(tap->options->recording, connection->number, number == 1, mr_clock(),
			(struct mr_bytes){way->buffer + way->start, (size_t)sent});
	way->passed += (uint64_t)sent;
	way->start += (size_t)sent;
	way->length -= (size_t)sent;
	if (is_cut_way(tap, connection, number) && way->passed == tap->cut.byte) {
		tap->cut.wanted = false;
		tap->result->cut = true;
		cut_all(tap);
	}
}

static void take(struct tap *tap, struct connection *connection, unsigned number)
{
	struct way *way = &connection->ways[number];
	ssize_t count;

	if (way->start) {
		memmove(way->buffer, way->buffer + way->start, way->length);
		way->start = 0;
	}
	count = recv(way->from, way->buffer + way->length, MR_TAP_BUFFER - way->length, MSG_DONTWAIT);
	if (count > 0) {
		way->length += (size_t)count;
		pass_on(tap, connection, number);
		return;
	}
	if (count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	connection->reset |= count < 0;
	way->at_end = true;
}

/* What was in the buffer when its sender ended goes out before the end does. */
static void pass_end(struct tap *tap, struct connection *connection, unsigned number)
{
	struct way *way = &connection->ways[number];

	if (!way->at_end || way->ended || way->length)
		return;
	/* a reset is passed on by closing, for which the other direction has nothing to wait */
	if (connection->reset)
		end_way(tap, connection, !number);
	else
		shutdown(way->to, SHUT_WR);
	end_way(tap, connection, number);
}

/* ---- New connections ---- */

static void refuse(struct tap *tap, const char *why)
{
	complain(tap, "%.200s: cannot connect: %s", tap->connect.text, why);
	tap->result->refused++;
	close_socket(&tap->guest.destination, false);
	close_socket(&tap->guest.source, true);
	tap->idle_since = mr_clock();
}

static bool make_ways(struct connection *connection)
{
	for (unsigned number = 0; number < 2; number++) {
		struct way *way = &connection->ways[number];

		way->from = connection->sockets[number];
		way->to = connection->sockets[!number];
		way->buffer = malloc(MR_TAP_BUFFER);
	}
	if (connection->ways[0].buffer && connection->ways[1].buffer)
		return true;
	free(connection->ways[0].buffer);
	free(connection->ways[1].buffer);
	return false;
}

static void join(struct tap *tap)
{
	struct connection *connection = &tap->open[tap->count];

	*connection = (struct connection){.sockets = {tap->guest.source, tap->guest.destination}};
	if (!make_ways(connection)) {
		refuse(tap, "no memory for its buffers");
		return;
	}
	connection->number = mr_tapped_connection(tap->options->recording, mr_clock());
	tap->result->connections++;
	tap->count++;
	tap->guest = (struct guest){.source = -1, .destination = -1};
}

/* A path's connection is made at once, or not at all; that of a host may take its time. */
static void ask(struct tap *tap)
{
	struct guest *guest = &tap->guest;
	const struct mr_address *address = &tap->connect;

	if (guest->destination < 0)
		guest->destination = socket(address->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	guest->retry = UINT64_MAX;
	if (guest->destination >= 0 &&
	    connect(guest->destination, (const struct sockaddr *)&address->socket, address->length) == 0)
		join(tap);
	else if (guest->destination >= 0 && errno == EINPROGRESS)
		guest->asked = true;
	else if (guest->destination >= 0 && errno == EAGAIN)
		guest->retry = mr_clock() + RETRY_NS;
	else
		refuse(tap, strerror(errno));
}

static void hear(struct tap *tap)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (getsockopt(tap->guest.destination, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		error = errno;
	if (error)
		refuse(tap, strerror(error));
	else
		join(tap);
}

/* It stays in the backlog; the loop would turn without end on it. */
static void leave_guest(struct tap *tap)
{
	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	if (!tap->told_full)
		complain(tap, "%.200s: cannot accept: %s", tap->options->listen.text, strerror(errno));
	tap->told_full = true;
	mr_clock_sleep(RETRY_NS);
}

static void receive_guest(struct tap *tap)
{
	const int source = accept4(tap->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (source < 0) {
		leave_guest(tap);
		return;
	}
	tap->guest = (struct guest){
		.source = source,
		.destination = -1,
		.deadline = mr_clock() + (uint64_t)MR_TAP_CONNECT_SECONDS * SECOND,
	};
	if (tap->result->connections == CONNECTIONS_MAX)
		refuse(tap, "one connection more than a recording can have");
	else
		ask(tap);
}

static void tend_guest(struct tap *tap, bool answered)
{
	if (tap->guest.source < 0)
		return;
	if (tap->guest.asked && answered)
		hear(tap);
	else if (mr_clock() >= tap->guest.deadline)
		refuse(tap, strerror(ETIMEDOUT));
	else if (!tap->guest.asked && mr_clock() >= tap->guest.retry)
		ask(tap);
}

/* ---- The loop ---- */

/* Only a socket of which something is wanted is looked at: one that has ended would be ready for ever. */
static void watch(struct tap *tap, int file, bool in, bool out)
{
	const short events = (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0));

	tap->files[tap->file_count++] = (struct pollfd){events ? file : -1, events, 0};
}

static void watch_all(struct tap *tap)
{
	tap->file_count = 0;
	watch(tap, tap->ending, true, false);
	watch(tap, tap->listener, tap->guest.source < 0, false);
	watch(tap, tap->guest.destination, false, tap->guest.asked);
	for (size_t i = 0; i < tap->count; i++)
		for (unsigned end = 0; end < 2; end++) {
			const struct way *in = &tap->open[i].ways[end], *out = &tap->open[i].ways[!end];

			watch(tap, tap->open[i].sockets[end], !in->at_end && in->length < MR_TAP_BUFFER,
			      !out->ended && out->length);
		}
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t idle_end(const struct tap *tap)
{
	const bool waits = tap->result->connections && !tap->count && tap->guest.source < 0;

	return waits ? tap->idle_since + (uint64_t)(tap->options->idle * SECOND) : UINT64_MAX;
}

static int patience(const struct tap *tap)
{
	const uint64_t now = mr_clock();
	uint64_t until = earlier(tap->deadline, idle_end(tap));

	if (tap->guest.source >= 0)
		until = earlier(until, earlier(tap->guest.retry, tap->guest.deadline));
	if (until <= now)
		return 0;
	until = (until - now) / MILLISECOND + 1;
	return until < INT32_MAX ? (int)until : INT32_MAX;
}

static void tend_connection(struct tap *tap, struct connection *connection, const struct pollfd files[2])
{
	for (unsigned way = 0; way < 2; way++) {
		const short came = files[way].revents, left = files[!way].revents;

		if (left & (POLLOUT | POLLERR | POLLHUP) && connection->ways[way].length)
			pass_on(tap, connection, way);
		if (came & (POLLIN | POLLERR | POLLHUP) && !connection->ways[way].at_end &&
		    connection->ways[way].length < MR_TAP_BUFFER)
			take(tap, connection, way);
		pass_end(tap, connection, way);
	}
}

static void tell_problem(struct tap *tap)
{
	const char *problem = mr_tapped_problem(tap->options->recording);

	if (!problem[0] || tap->told)
		return;
	tap->told = true;
	complain(tap, "%s", problem);
}

static uint64_t passed(const struct tap *tap, uint32_t number, unsigned way)
{
	for (size_t i = 0; i < tap->count; i++)
		if (tap->open[i].number == number)
			return tap->open[i].ways[way].passed;
	return 0;
}

static void listen_to_control(struct tap *tap)
{
	struct mr_tap_control *control = tap->options->control;
	uint64_t times;

	if (read(control->event, &times, sizeof(times)) < 0)
		return;
	pthread_mutex_lock(&control->lock);
	if (control->cut.wanted) {
		tap->cut = control->cut;
		tap->cut.byte += passed(tap, tap->cut.channel, tap->cut.backward);
		control->cut.wanted = false;
	}
	if (control->redirected)
		tap->connect = control->connect;
	if (control->ends && !tap->ends)
		tap->deadline = earlier(tap->deadline, mr_clock() + (uint64_t)(control->seconds * SECOND));
	tap->ends = control->ends;
	pthread_mutex_unlock(&control->lock);
}

/* True at the end. */
static bool turn(struct tap *tap)
{
	const size_t count = tap->count;
	const uint64_t now = mr_clock();

	watch_all(tap);
	if (tap->ends && (now >= tap->deadline || (!count && tap->guest.source < 0))) {
		tap->result->end = MR_TAP_TOLD;
		return true;
	}
	if (now >= tap->deadline || now >= idle_end(tap)) {
		tap->result->end = now >= tap->deadline ? MR_TAP_TIME_LIMIT : MR_TAP_IDLE;
		return true;
	}
	if (poll(tap->files, tap->file_count, patience(tap)) < 0)
		return errno != EINTR;
	if (tap->files[0].revents && !tap->options->control) {
		tap->result->end = MR_TAP_SIGNAL;
		return true;
	}
	if (tap->files[0].revents)
		listen_to_control(tap);
	/* those that are open already first: what they were sent may be older than a new connection */
	for (size_t i = 0; i < count; i++)
		tend_connection(tap, &tap->open[i], &tap->files[3 + 2 * i]);
	remove_ended(tap);
	tend_guest(tap, tap->files[2].revents != 0);
	if (tap->files[1].revents && tap->guest.source < 0)
		receive_guest(tap);
	tell_problem(tap);
	return false;
}

/* ---- The whole ---- */

/* Two sockets and two files for each connection are more than a process may have open at first. */
static void allow_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static bool start(struct tap *tap)
{
	char error[512], shown[MR_ADDRESS_TEXT];

	allow_files();
	tap->open = calloc(CONNECTIONS_MAX, sizeof(*tap->open));
	tap->ending = tap->options->control ? tap->options->control->event : tap->signals.descriptor;
	if (!tap->open || tap->ending < 0) {
		complain(tap, "cannot begin: %s", strerror(errno));
		return false;
	}
	tap->listener = mr_address_listen(&tap->options->listen, shown, error, sizeof(error));
	if (tap->listener < 0) {
		complain(tap, "%s", error);
		return false;
	}
	tap->options->listening(tap->options->argument, shown);
	return true;
}

static void stop(struct tap *tap)
{
	tap->result->open = (uint32_t)tap->count;
	if (tap->count)
		cut_all(tap);
	close_socket(&tap->guest.source, true);
	close_socket(&tap->guest.destination, true);
	if (tap->listener >= 0 && mr_address_path(&tap->options->listen))
		unlink(mr_address_path(&tap->options->listen));
	close_socket(&tap->listener, false);
	tell_problem(tap);
	free(tap->open);
}

void mr_tap_run(const struct mr_tap_options *options, struct mr_tap_result *result)
{
	struct tap tap = {
		.options = options,
		.result = result,
		.connect = options->connect,
		.cut = {options->cuts, options->cut_channel, options->cut_backward, options->cut_byte},
		.listener = -1,
		.ending = -1,
	};

	*result = (struct mr_tap_result){.end = MR_TAP_FAILED};
	tap.guest = (struct guest){.source = -1, .destination = -1};
	tap.deadline = mr_clock() + (uint64_t)(options->time_limit * SECOND);
	/* Who has a control looks for signals himself. */
	if (!options->control)
		mr_signals_catch(&tap.signals);
	if (start(&tap))
		while (!turn(&tap))
			;
	stop(&tap);
	if (!options->control)
		mr_signals_release(&tap.signals);
}

/* ---- What another thread tells it ---- */

struct mr_tap_control *mr_tap_control_new(void)
{
	struct mr_tap_control *control = calloc(1, sizeof(*control));

	if (!control)
		return NULL;
	control->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (control->event < 0) {
		free(control);
		return NULL;
	}
	pthread_mutex_init(&control->lock, NULL);
	return control;
}

void mr_tap_control_free(struct mr_tap_control *control)
{
	if (!control)
		return;
	close(control->event);
	pthread_mutex_destroy(&control->lock);
	free(control);
}

/* What was told stands under the lock, which is given back here. */
static void tell(struct mr_tap_control *control)
{
	const uint64_t one = 1;

	pthread_mutex_unlock(&control->lock);
	if (write(control->event, &one, sizeof(one)) < 0)
		return; /* full: it is to look already */
}

void mr_tap_cut_later(struct mr_tap_control *control, uint32_t channel, bool backward, uint64_t bytes)
{
	pthread_mutex_lock(&control->lock);
	control->cut = (struct cut){true, channel, backward, bytes};
	tell(control);
}

void mr_tap_redirect(struct mr_tap_control *control, const struct mr_address *address)
{
	pthread_mutex_lock(&control->lock);
	control->redirected = true;
	control->connect = *address;
	tell(control);
}

void mr_tap_end(struct mr_tap_control *control, double seconds)
{
	pthread_mutex_lock(&control->lock);
	control->ends = true;
	control->seconds = seconds;
	tell(control);
}

bool mr_tap_has_cut(struct mr_tap_control *control)
{
	bool cut;

	pthread_mutex_lock(&control->lock);
	cut = control->has_cut;
	pthread_mutex_unlock(&control->lock);
	return cut;
}
