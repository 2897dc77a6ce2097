/* send_net.c: the connections of a sending source: queues of what is sent, windows of what comes, cuts and ends. */
#include "sim/host/send_state.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	SOCKET_BUFFER = 256 << 10,     /* bytes that are asked for, of a path; that of a host grows by itself */
	BATCH = 256 << 10,             /* bytes for which a call of the system pays */
	QUEUE_MAX = 1 << 20,           /* bytes from which on who sends waits */
	POSTCOPY_QUEUE_MAX = 64 << 10, /* the same while pages are asked for, which are not to wait behind many */
	DOOMED_QUEUE_MAX = 16 << 20,   /* and once the return path has gone bad */
	RECORDED_QUEUE_MAX = 4096,     /* and where it is recorded: what breaks off in a queue is in no stream */
	WINDOW = 256 << 10,            /* bytes of a return path that wait to be taken */
	RETRY_NS = 20 * 1000 * 1000,   /* until a full backlog is asked again */
	MILLISECOND = 1000 * 1000,
	SECOND = 1000 * MILLISECOND,
	CONNECT_SECONDS = 10,
};

static const uint64_t connect_patience = (uint64_t)CONNECT_SECONDS * SECOND;

static bool is_main(const struct mr_send_connection *connection)
{
	return connection->role == MR_ROLE_MAIN || connection->role == MR_ROLE_RECOVERY;
}

static void tell_line(struct mr_send *send, const struct mr_line *line)
{
	const struct mr_watch *watch = send->options->watch;

	if (watch && watch->line)
		watch->line(watch->argument, line);
}

/* ---- Connecting ---- */

static bool is_answered(int file, uint64_t until)
{
	struct pollfd wanted = {.fd = file, .events = POLLOUT};
	const uint64_t now = mr_clock();
	int error = 0;
	socklen_t size = sizeof(error);

	if (poll(&wanted, 1, now < until ? (int)((until - now) / MILLISECOND) : 0) <= 0) {
		errno = ETIMEDOUT;
		return false;
	}
	if (getsockopt(file, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		return false;
	errno = error;
	return error == 0;
}

/* A path's connection is made at once, unless its backlog is full; that of a host may take its time. */
static bool is_connected(int file, const struct mr_address *address, uint64_t until)
{
	while (connect(file, (const struct sockaddr *)&address->socket, address->length) < 0) {
		if (errno == EINPROGRESS)
			return is_answered(file, until);
		if (errno != EAGAIN || mr_clock() >= until)
			return false;
		mr_clock_sleep(RETRY_NS);
	}
	return true;
}

int mr_send_dial(const struct mr_address *address, uint64_t patience)
{
	const int file = socket(address->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	const int one = 1, buffer = SOCKET_BUFFER;
	int error;

	if (file < 0)
		return -1;
	if (is_connected(file, address, mr_clock() + patience)) {
		if (address->socket.ss_family == AF_UNIX)
			setsockopt(file, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
		else
			setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		return file;
	}
	error = errno;
	close(file);
	errno = error;
	return -1;
}

/* ---- Ends ---- */

static void tell_end(struct mr_send *send, uint32_t number, bool backward)
{
	const struct mr_line line = {.event = MR_LINE_EOF, .time = mr_clock(), .channel = number, .backward = backward};

	tell_line(send, &line);
}

static void note_break(struct mr_send *send, uint32_t number, const char *what)
{
	const struct mr_send_connection *connection = &send->connections[number];

	if (!send->broke[0])
		snprintf(send->broke, sizeof(send->broke),
			 "%s ch%" PRIu32 " (%s) in status %s, behind %" PRIu64 " bytes sent and %" PRIu64 " received",
			 what, number, mr_role_name(connection->role),
			 mr_source_status_name(mr_outgoing_status(send->outgoing)), connection->written,
			 connection->received);
}

static void tell_broken(struct mr_send *send, uint32_t number, int error)
{
	const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_BROKEN, .channel = number, .error = error};

	send->connections[number].broken = true;
	send->connections[number].length = send->connections[number].start = 0;
	send->moved = true;
	mr_outgoing_broken(send->outgoing, number, error);
	mr_send_tell(send, &record, NULL);
}

static void drop_used(struct mr_send *send, struct mr_send_connection *connection, uint32_t number)
{
	const size_t used = (size_t)(mr_outgoing_consumed(send->outgoing, number) - connection->base);

	connection->window_length -= used;
	connection->base += used;
	if (used)
		memmove(connection->window, connection->window + used, connection->window_length);
}

static void feed(struct mr_send *send, uint32_t number)
{
	struct mr_send_connection *connection = &send->connections[number];
	const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_ARRIVE,
						    .channel = number,
						    .bytes = connection->received,
						    .ended = connection->at_end};

	drop_used(send, connection, number);
	mr_send_tell(send, &record, NULL);
	mr_outgoing_feed(send->outgoing, number, connection->window, connection->window_length, connection->at_end, 0);
	send->moved = true;
}

static void close_socket(struct mr_send *send, uint32_t number)
{
	struct mr_send_connection *connection = &send->connections[number];

	if (connection->socket < 0)
		return;
	if (!connection->broken)
		tell_end(send, number, false);
	if (!connection->at_end)
		tell_end(send, number, true);
	close(connection->socket);
	connection->socket = -1;
	connection->length = connection->start = 0;
}

void mr_send_close(struct mr_send *send, uint32_t number)
{
	struct mr_send_connection *connection = &send->connections[number % MR_SEND_CONNECTIONS_MAX];
	const enum mr_source_status status = mr_outgoing_status(send->outgoing);
	const bool given_up = status == MR_SOURCE_STATUS_POSTCOPY_PAUSED || status > MR_SOURCE_STATUS_COMPLETED;

	connection->closing = true;
	if (given_up || connection->broken || connection->length == 0)
		close_socket(send, number);
}

static void break_connection(struct mr_send *send, uint32_t number, int error)
{
	note_break(send, number, error == EPIPE || error == ECONNRESET ? "the destination closed" : strerror(error));
	tell_end(send, number, false);
	tell_broken(send, number, error);
	if (send->connections[number].closing)
		close_socket(send, number);
}

/* ---- Cuts ---- */

static void cut_direction(struct mr_send *send, uint32_t number, bool backward, uint64_t now)
{
	const struct mr_send_connection *connection = &send->connections[number];
	const struct mr_line line = {
		.event = MR_LINE_CUT,
		.time = now,
		.channel = number,
		.backward = backward,
		.length = backward ? connection->received : connection->written,
	};

	if (!(backward ? connection->at_end : connection->broken))
		tell_line(send, &line);
}

static void cut_connection(struct mr_send *send, uint32_t number, uint64_t now)
{
	struct mr_send_connection *connection = &send->connections[number];

	cut_direction(send, number, false, now);
	cut_direction(send, number, true, now);
	shutdown(connection->socket, SHUT_RDWR);
	close(connection->socket);
	connection->socket = -1;
	if (!connection->broken)
		tell_broken(send, number, EPIPE);
	if (connection->at_end)
		return;
	connection->at_end = true;
	if (is_main(connection))
		feed(send, number);
}

static void cut_all(struct mr_send *send, uint32_t number)
{
	const uint64_t now = mr_clock();

	send->cut_wanted = false;
	send->result->cut = true;
	note_break(send, number, "as told, we cut");
	for (uint32_t i = 0; i < send->connection_count; i++)
		if (send->connections[i].socket >= 0)
			cut_connection(send, i, now);
}

static bool is_cut_way(const struct mr_send *send, uint32_t number, bool backward)
{
	return send->cut_wanted && send->options->cut_channel == number && send->options->cut_backward == backward;
}

/* ---- Sending ---- */

static void receive(struct mr_send *send, uint32_t number);

/* Bytes that came, and that the machine has not gone over yet. */
static size_t unused(const struct mr_send *send, uint32_t number)
{
	const struct mr_send_connection *connection = &send->connections[number];

	return (size_t)(connection->received - mr_outgoing_consumed(send->outgoing, number));
}

/* So many bytes may wait: a message that is longer, a bitmap, is taken as a whole. */
static size_t window_size(const struct mr_send *send)
{
	const struct mr_source_wants wants = mr_outgoing_wants(send->outgoing, MR_SOURCE_RETURN);

	return wants.wait == MR_SOURCE_WAIT_RETURN && wants.wanted > WINDOW ? wants.wanted : WINDOW;
}

static bool is_read(const struct mr_send *send, uint32_t number)
{
	const struct mr_send_connection *connection = &send->connections[number];

	return is_main(connection) && !connection->at_end && unused(send, number) < window_size(send);
}

/*
 * Nobody takes what is sent. Whoever closes a connection may have said why: that is read, and has a turn to be heard,
 * before the machine learns of the break.
 */
static void meet_break(struct mr_send *send, uint32_t number, int error)
{
	struct mr_send_connection *connection = &send->connections[number];

	send->moved = true;
	if (connection->doomed_at == 0) {
		connection->doomed_at = send->turn;
		if (is_read(send, number))
			receive(send, number);
	}
	if (!connection->broken && (!is_main(connection) || send->turn > connection->doomed_at + 1))
		break_connection(send, number, error);
}

/* So many bytes of `length` may still cross. */
static size_t before_cut(const struct mr_send *send, uint32_t number, bool backward, uint64_t crossed, size_t length)
{
	const uint64_t byte = send->options->cut_byte;

	if (!is_cut_way(send, number, backward) || crossed + length < byte)
		return length;
	return crossed < byte ? (size_t)(byte - crossed) : 0;
}

static void note_sent(struct mr_send *send, uint32_t number, size_t length)
{
	struct mr_send_connection *connection = &send->connections[number];
	const struct mr_line line = {
		.event = MR_LINE_BYTES,
		.time = mr_clock(),
		.channel = number,
		.offset = connection->written,
		.length = length,
		.head = {connection->queue + connection->start, length},
	};

	tell_line(send, &line);
	connection->written += length;
	connection->start += length;
	connection->length -= length;
	if (connection->length == 0)
		connection->start = 0;
	send->progress_at = line.time;
	send->moved = true;
}

/* False if the connection takes no more for now. */
static bool send_some(struct mr_send *send, uint32_t number)
{
	struct mr_send_connection *connection = &send->connections[number];
	const size_t length = before_cut(send, number, false, connection->written, connection->length);
	const ssize_t sent = length ? sendto(connection->socket, connection->queue + connection->start, length,
					     MSG_NOSIGNAL | MSG_DONTWAIT, NULL, 0)
				    : 0;

	if (sent < 0 && errno == EINTR)
		return true;
	if (sent < 0) {
		if (errno != EAGAIN && errno != EWOULDBLOCK)
			meet_break(send, number, errno);
		return false;
	}
	if (sent > 0)
		note_sent(send, number, (size_t)sent);
	if (!is_cut_way(send, number, false) || connection->written < send->options->cut_byte)
		return true;
	cut_all(send, number);
	return false;
}

static void flush(struct mr_send *send, uint32_t number)
{
	const struct mr_send_connection *connection = &send->connections[number];

	while (connection->socket >= 0 && !connection->broken && connection->length && send_some(send, number))
		continue;
}

void mr_send_flush_of(struct mr_send *send, unsigned actor)
{
	if (send->blocked[actor])
		flush(send, send->blocked[actor] - 1);
}

void mr_send_flush_all(struct mr_send *send)
{
	for (uint32_t i = 0; i < send->connection_count; i++) {
		flush(send, i);
		if (send->connections[i].closing && send->connections[i].length == 0)
			close_socket(send, i);
	}
}

static bool make_room(struct mr_send_connection *connection, size_t length)
{
	size_t capacity = connection->capacity ? connection->capacity : 2 * (size_t)BATCH;
	uint8_t *queue;

	if (connection->start + connection->length + length <= connection->capacity)
		return true;
	if (connection->start)
		memmove(connection->queue, connection->queue + connection->start, connection->length);
	connection->start = 0;
	while (capacity < connection->length + length)
		capacity *= 2;
	if (capacity == connection->capacity)
		return true;
	queue = realloc(connection->queue, capacity);
	if (!queue)
		return false;
	connection->queue = queue;
	connection->capacity = capacity;
	return true;
}

static void append(struct mr_send_connection *connection, struct mr_bytes bytes)
{
	if (bytes.length)
		memcpy(connection->queue + connection->start + connection->length, bytes.data, bytes.length);
	connection->length += bytes.length;
}

static bool is_page(enum mr_kind kind)
{
	return kind == MR_RAM_ZERO || kind == MR_RAM_PAGE || kind == MR_RAM_XBZRLE;
}

/*
 * Whether the machine goes on only once this is out, as QEMU: what ends a stream, for the migration to be good if no
 * return path tells; and on the main channel beside those of multifd all but pages, since packets count from there on.
 */
static bool has_to_be_out(const struct mr_send *send, const struct mr_source_action *action)
{
	const enum mr_kind kind = action->send.kind;
	const bool beside = send->config.capabilities & MR_CAPABILITY_MULTIFD && action->actor < MR_SOURCE_MULTIFD;

	return (!mr_send_is_answered(send) && (kind == MR_EOF || kind == MR_VMDESCRIPTION)) ||
	       (beside && !is_page(kind));
}

static size_t queue_max(const struct mr_send *send)
{
	const enum mr_source_status status = mr_outgoing_status(send->outgoing);

	if (send->options->watch)
		return RECORDED_QUEUE_MAX;
	return status >= MR_SOURCE_STATUS_POSTCOPY_DEVICE && status < MR_SOURCE_STATUS_COMPLETED ? POSTCOPY_QUEUE_MAX
												 : QUEUE_MAX;
}

void mr_send_bytes(struct mr_send *send, const struct mr_source_action *action)
{
	const uint32_t number = action->send.channel;
	struct mr_send_connection *connection = &send->connections[number];

	if (number >= send->connection_count || connection->broken || connection->socket < 0)
		return;
	if (!make_room(connection, action->send.head.length + action->send.body.length)) {
		mr_send_host_failed(send, "no memory for what is sent");
		return;
	}
	append(connection, action->send.head);
	append(connection, action->send.body);
	if (connection->length >= BATCH || connection->length >= queue_max(send))
		flush(send, number);
	send->blocked[action->actor] = number + 1;
	send->drains[action->actor] = has_to_be_out(send, action);
}

bool mr_send_is_blocked(struct mr_send *send, unsigned actor)
{
	const struct mr_send_connection *connection;
	size_t limit = queue_max(send);

	if (!send->blocked[actor])
		return false;
	if (send->drains[actor])
		limit = 1;
	/* It is to fail, whether or not anybody takes what it sent. */
	if (mr_outgoing_return_error(send->outgoing)->rule != MR_NO_RULE)
		limit = DOOMED_QUEUE_MAX;
	connection = &send->connections[send->blocked[actor] - 1];
	if (connection->length >= limit)
		flush(send, send->blocked[actor] - 1);
	if (connection->length >= limit)
		return true;
	send->blocked[actor] = 0;
	return false;
}

/* ---- Receiving ---- */

static void note_received(struct mr_send *send, uint32_t number, size_t length)
{
	struct mr_send_connection *connection = &send->connections[number];
	const struct mr_line line = {
		.event = MR_LINE_BYTES,
		.time = mr_clock(),
		.channel = number,
		.backward = true,
		.offset = connection->received,
		.length = length,
		.head = {connection->window + connection->window_length, length},
	};

	tell_line(send, &line);
	connection->received += length;
	connection->window_length += length;
	send->progress_at = line.time;
}

static void note_end(struct mr_send *send, uint32_t number)
{
	send->connections[number].at_end = true;
	note_break(send, number, "the destination closed");
	tell_end(send, number, true);
}

static bool widen(struct mr_send *send, struct mr_send_connection *connection)
{
	const size_t size = window_size(send);
	uint8_t *window;

	if (size <= connection->window_size)
		return true;
	window = realloc(connection->window, size);
	if (!window) {
		mr_send_host_failed(send, "no memory for what comes back");
		return false;
	}
	connection->window = window;
	connection->window_size = size;
	return true;
}

static void receive(struct mr_send *send, uint32_t number)
{
	struct mr_send_connection *connection = &send->connections[number];
	size_t length;
	ssize_t got;

	drop_used(send, connection, number);
	if (!widen(send, connection))
		return;
	length = before_cut(send, number, true, connection->received,
			    connection->window_size - connection->window_length);
	got = length ? recv(connection->socket, connection->window + connection->window_length, length, MSG_DONTWAIT)
		     : 0;
	if (got > 0)
		note_received(send, number, (size_t)got);
	else if (length && (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)))
		note_end(send, number);
	feed(send, number);
	if (is_cut_way(send, number, true) && connection->received >= send->options->cut_byte)
		cut_all(send, number);
}

/* ---- Waiting ---- */

/* Only a socket of which something is wanted is looked at: one that has ended would be ready for ever. */
static nfds_t watch_all(struct mr_send *send, struct pollfd *files)
{
	nfds_t count = 0;

	files[count++] = (struct pollfd){.fd = send->signals.descriptor, .events = POLLIN};
	for (uint32_t i = 0; i < send->connection_count; i++) {
		const struct mr_send_connection *connection = &send->connections[i];
		const bool in = is_read(send, i), out = connection->length && !connection->broken;

		files[count++] = (struct pollfd){.fd = in || out ? connection->socket : -1,
						 .events = (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0))};
	}
	return count;
}

static struct timespec patience(uint64_t until)
{
	const uint64_t now = mr_clock(), left = until > now ? until - now : 0;

	return (struct timespec){(time_t)(left / SECOND), (long)(left % SECOND)};
}

void mr_send_poll(struct mr_send *send, uint64_t until)
{
	struct pollfd files[1 + MR_SEND_CONNECTIONS_MAX];
	const nfds_t count = watch_all(send, files);
	const struct timespec wait = patience(until);

	if (ppoll(files, count, &wait, NULL) <= 0)
		return;
	send->interrupted |= files[0].revents != 0;
	for (uint32_t i = 0; i + 1 < count; i++) {
		struct mr_send_connection *connection = &send->connections[i];

		if (!files[1 + i].revents || connection->socket < 0)
			continue;
		if (files[1 + i].revents & (POLLIN | POLLHUP | POLLERR) && is_read(send, i))
			receive(send, i);
		if (files[1 + i].revents & (POLLOUT | POLLHUP | POLLERR))
			flush(send, i);
	}
}

/* ---- All of them ---- */

static const struct mr_address *address_of(const struct mr_send *send)
{
	return send->result->recoveries && send->options->recover ? send->options->recover : send->options->connect;
}

static int take_spare(struct mr_send *send, bool main)
{
	int file = send->spare;

	if (!main || file < 0)
		return mr_send_dial(address_of(send), connect_patience);
	send->spare = -1;
	return file;
}

void mr_send_open(struct mr_send *send, uint32_t number, enum mr_role role)
{
	struct mr_send_connection *connection = &send->connections[number % MR_SEND_CONNECTIONS_MAX];
	struct mr_line line = {.event = MR_LINE_OPEN, .channel = number};
	int error;

	if (number >= MR_SEND_CONNECTIONS_MAX) {
		mr_send_host_failed(send, "one connection more than a recording can have");
		return;
	}
	send->connection_count = number + 1;
	connection->role = role;
	connection->socket = take_spare(send, is_main(connection));
	error = errno;
	line.time = mr_clock();
	tell_line(send, &line);
	if (connection->socket >= 0)
		return;
	snprintf(send->broke, sizeof(send->broke), "%.200s: cannot connect ch%" PRIu32 " (%s): %s",
		 address_of(send)->text, number, mr_role_name(role), strerror(error));
	connection->at_end = true;
	tell_broken(send, number, ECONNREFUSED);
}

bool mr_send_is_drained(const struct mr_send *send)
{
	for (uint32_t i = 0; i < send->connection_count; i++)
		if (send->connections[i].length)
			return false;
	return true;
}

uint64_t mr_send_waiting(const struct mr_send *send, uint32_t *number)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < send->connection_count; i++) {
		if (!sum && send->connections[i].length)
			*number = i;
		sum += send->connections[i].length;
	}
	return sum;
}

void mr_send_clear_net(struct mr_send *send)
{
	for (uint32_t i = 0; i < send->connection_count; i++) {
		close_socket(send, i);
		free(send->connections[i].queue);
		free(send->connections[i].window);
	}
	if (send->spare >= 0)
		close(send->spare);
}
