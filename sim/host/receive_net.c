/* receive_net.c: the connections of a live destination: let in, read into windows, written from queues. */
#include "sim/host/receive_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WINDOW = RECEIVE_READ + RECEIVE_AHEAD };

struct receive_connection *mr_receive_connection_new(int socket)
{
	struct receive_connection *connection = calloc(1, sizeof(*connection));

	if (connection)
		connection->window = malloc(WINDOW);
	if (!connection || !connection->window) {
		free(connection);
		return NULL;
	}
	connection->capacity = WINDOW;
	connection->socket = socket;
	connection->number = RECEIVE_NOBODY;
	connection->opened_at = mr_clock();
	return connection;
}

void mr_receive_connection_free(struct receive_connection *connection)
{
	if (!connection)
		return;
	if (connection->socket >= 0)
		close(connection->socket);
	free(connection->window);
	free(connection->queue);
	free(connection);
}

/* ---- What the machine sees ---- */

void mr_receive_feed(struct receive *receive, struct receive_connection *connection)
{
	const uint64_t used = mr_incoming_consumed(receive->incoming, connection->number) - connection->base;

	mr_incoming_feed(receive->incoming, connection->number, connection->window + used,
			 connection->length - (size_t)used, connection->at_end, connection->error);
}

static void tell_bytes(struct receive *receive, struct receive_connection *connection)
{
	const uint64_t end = connection->base + connection->length;
	const size_t fresh = (size_t)(end - connection->told);

	if (fresh)
		mr_receive_tell_line(
			receive, (struct mr_line){.event = MR_LINE_BYTES,
						  .time = mr_clock(),
						  .channel = connection->number,
						  .offset = connection->told,
						  .length = fresh,
						  .head = {connection->window + connection->length - fresh, fresh}});
	connection->told = end;
}

static void show_end(struct receive *receive, struct receive_connection *connection)
{
	const struct mr_log_record record = {.kind = MR_LOG_END,
					     .channel = connection->number,
					     .bytes = connection->base + connection->length,
					     .error = connection->error};

	if (!receive->incoming || connection->number == RECEIVE_NOBODY || connection->end_told)
		return;
	connection->end_told = true;
	mr_receive_tell(receive, &record, NULL);
	mr_receive_feed(receive, connection);
	mr_receive_wake_all(receive);
}

void mr_receive_end_channel(struct receive *receive, struct receive_connection *connection, int error)
{
	connection->at_end = true;
	connection->error = error;
	show_end(receive, connection);
}

static void wake_readers(struct receive *receive, uint32_t channel)
{
	for (uint32_t i = 0; i < receive->actor_count; i++)
		receive->actors[i].ready |= receive->actors[i].reads == channel;
}

void mr_receive_open_channel(struct receive *receive, struct receive_connection *connection)
{
	const struct mr_log_record record = {
		.kind = MR_LOG_OPEN, .channel = connection->number, .role = connection->role};

	if (mr_incoming_open(receive->incoming, connection->number, connection->role) < 0) {
		mr_receive_stop(receive, MR_RECEIVE_FAILED, "connection %u: expected no further %s channel",
				connection->number, mr_role_name(connection->role));
		return;
	}
	mr_receive_tell(receive, &record, NULL);
	mr_receive_tell_line(
		receive,
		(struct mr_line){.event = MR_LINE_OPEN, .time = connection->opened_at, .channel = connection->number});
	tell_bytes(receive, connection);
	mr_receive_feed(receive, connection);
	if (connection->drained)
		mr_receive_tell_line(
			receive,
			(struct mr_line){.event = MR_LINE_EOF, .time = mr_clock(), .channel = connection->number});
	if (connection->at_end)
		show_end(receive, connection);
	mr_receive_wake_all(receive);
}

/* ---- Cuts ---- */

static bool is_cut_way(const struct receive *receive, const struct receive_connection *connection, bool backward)
{
	const struct mr_receive_options *options = receive->options;

	return options->cuts && !receive->cut_done && connection->number == options->cut_channel &&
	       backward == options->cut_backward;
}

static void cut(struct receive *receive, struct receive_connection *connection)
{
	const uint64_t now = mr_clock(), came = connection->base + connection->length;

	if (connection->socket < 0)
		return;
	close(connection->socket);
	connection->socket = -1;
	connection->broken = connection->drained = true;
	connection->queued = 0;
	mr_receive_tell_line(
		receive,
		(struct mr_line){.event = MR_LINE_CUT, .time = now, .channel = connection->number, .length = came});
	mr_receive_tell_line(receive, (struct mr_line){.event = MR_LINE_CUT,
						       .time = now,
						       .channel = connection->number,
						       .backward = true,
						       .length = connection->written});
	if (!connection->at_end)
		mr_receive_end_channel(receive, connection, ECONNRESET);
}

void mr_receive_cut_all(struct receive *receive)
{
	receive->cut_done = receive->result->cut = true;
	for (uint32_t i = 0; i < receive->channel_count; i++)
		cut(receive, receive->channels[i]);
	mr_receive_wake_all(receive);
}

/* ---- Reading ---- */

static uint64_t used_of(const struct receive *receive, const struct receive_connection *connection)
{
	if (!receive->incoming || connection->number == RECEIVE_NOBODY)
		return connection->base;
	return mr_incoming_consumed(receive->incoming, connection->number);
}

static bool is_main(const struct receive_connection *connection)
{
	return connection->number != RECEIVE_NOBODY && connection->role == MR_ROLE_MAIN;
}

static size_t wanted_of(const struct receive *receive, const struct receive_connection *connection)
{
	size_t wanted = RECEIVE_AHEAD;

	if (!receive->incoming)
		return receive->ahead_wanted > wanted && is_main(connection) ? receive->ahead_wanted : wanted;
	for (uint32_t i = 0; i < receive->actor_count; i++)
		if (receive->actors[i].reads == connection->number && receive->actors[i].wanted > wanted)
			wanted = receive->actors[i].wanted;
	return wanted;
}

size_t mr_receive_appetite(const struct receive *receive, const struct receive_connection *connection)
{
	const size_t left = (size_t)(connection->base + connection->length - used_of(receive, connection));
	const size_t wanted = wanted_of(receive, connection);

	if (connection->socket < 0 || connection->at_end)
		return 0;
	return wanted > left ? wanted - left : 0;
}

/* What was used up goes, and there is room for at least what is wanted. */
static bool make_room(struct receive *receive, struct receive_connection *connection)
{
	const size_t used = (size_t)(used_of(receive, connection) - connection->base);
	const size_t needed = connection->length - used + mr_receive_appetite(receive, connection);
	size_t capacity = connection->capacity;
	uint8_t *window;

	if (used)
		memmove(connection->window, connection->window + used, connection->length - used);
	connection->length -= used;
	connection->base += used;
	while (capacity < needed)
		capacity *= 2;
	if (capacity == connection->capacity)
		return true;
	window = realloc(connection->window, capacity);
	if (!window)
		return false;
	connection->window = window;
	connection->capacity = capacity;
	return true;
}

static void take_end(struct receive *receive, struct receive_connection *connection, int error)
{
	connection->drained = true;
	if (receive->incoming && connection->number != RECEIVE_NOBODY)
		mr_receive_tell_line(
			receive,
			(struct mr_line){.event = MR_LINE_EOF, .time = mr_clock(), .channel = connection->number});
	mr_receive_end_channel(receive, connection, error);
}

/* What stands behind the cut never came. */
static bool drop_behind_cut(const struct receive *receive, struct receive_connection *connection)
{
	const uint64_t cut_byte = receive->options->cut_byte;

	if (!is_cut_way(receive, connection, false) || connection->base + connection->length < cut_byte)
		return false;
	connection->length = (size_t)(cut_byte - connection->base);
	return true;
}

static void take_bytes(struct receive *receive, struct receive_connection *connection, size_t count)
{
	bool cuts;

	connection->length += count;
	cuts = drop_behind_cut(receive, connection);
	receive->heard_at = mr_clock();
	if (receive->incoming && connection->number != RECEIVE_NOBODY) {
		tell_bytes(receive, connection);
		mr_receive_feed(receive, connection);
		wake_readers(receive, connection->number);
	}
	if (cuts)
		mr_receive_cut_all(receive);
}

void mr_receive_read(struct receive *receive, struct receive_connection *connection)
{
	ssize_t count;

	if (!make_room(receive, connection)) {
		mr_receive_stop(receive, MR_RECEIVE_HOST, "no memory for what connection %u brings",
				connection->number);
		return;
	}
	count = recv(connection->socket, connection->window + connection->length,
		     connection->capacity - connection->length, MSG_DONTWAIT);
	if (count > 0)
		take_bytes(receive, connection, (size_t)count);
	else if (count == 0)
		take_end(receive, connection, 0);
	else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
		take_end(receive, connection, errno);
	else if (receive->incoming && connection->number != RECEIVE_NOBODY)
		mr_receive_feed(receive, connection);
}

/* ---- Writing ---- */

/* The return path took what the machine takes for sent, and the part of a message that went out before it broke. */
static int end_return(struct receive *receive, struct receive_connection *connection)
{
	const struct mr_log_record record = {
		.kind = MR_LOG_RETURN_END,
		.channel = connection->number,
		.bytes = connection->written > connection->accepted ? connection->written : connection->accepted,
	};

	if (!connection->limit_told)
		mr_receive_tell(receive, &record, NULL);
	connection->limit_told = true;
	return MR_GUEST_EIO;
}

static bool write_some(struct receive *receive, struct receive_connection *connection)
{
	const bool cuts = is_cut_way(receive, connection, true);
	size_t length = connection->queued;
	ssize_t count;

	if (cuts && length > receive->options->cut_byte - connection->written)
		length = (size_t)(receive->options->cut_byte - connection->written);
	count = length ? send(connection->socket, connection->queue, length, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
	if (count < 0) {
		connection->broken = errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR;
		return false;
	}
	if (count)
		mr_receive_tell_line(receive, (struct mr_line){.event = MR_LINE_BYTES,
							       .time = mr_clock(),
							       .channel = connection->number,
							       .backward = true,
							       .offset = connection->written,
							       .length = (uint64_t)count,
							       .head = {connection->queue, (size_t)count}});
	connection->written += (uint64_t)count;
	connection->queued -= (size_t)count;
	memmove(connection->queue, connection->queue + count, connection->queued);
	if (cuts && connection->written == receive->options->cut_byte)
		mr_receive_cut_all(receive);
	return true;
}

void mr_receive_flush(struct receive *receive, struct receive_connection *connection)
{
	while (connection->queued && !connection->broken && write_some(receive, connection))
		;
}

static bool enqueue(struct receive_connection *connection, struct mr_bytes bytes)
{
	if (connection->queued + bytes.length > connection->queue_capacity) {
		const size_t capacity = 2 * (connection->queued + bytes.length);
		uint8_t *larger = realloc(connection->queue, capacity);

		if (!larger)
			return false;
		connection->queue = larger;
		connection->queue_capacity = capacity;
	}
	memcpy(connection->queue + connection->queued, bytes.data, bytes.length);
	connection->queued += bytes.length;
	return true;
}

int mr_receive_sent(struct receive *receive, uint32_t channel, size_t length)
{
	struct receive_connection *connection = receive->channels[channel];

	/* one that went out as a whole before it broke was sent */
	if (connection->broken && connection->written < connection->accepted + length)
		return end_return(receive, connection);
	if (connection->queued > RECEIVE_QUEUE)
		return RECEIVE_PENDING;
	connection->accepted += length;
	return 0;
}

int mr_receive_send(struct receive *receive, const struct mr_action_send *send)
{
	struct receive_connection *connection =
		send->channel < receive->channel_count ? receive->channels[send->channel] : NULL;

	if (!connection)
		return MR_GUEST_EIO;
	if (!connection->broken && !enqueue(connection, send->bytes))
		return MR_GUEST_ENOMEM;
	mr_receive_flush(receive, connection);
	return mr_receive_sent(receive, send->channel, send->bytes.length);
}

/* ---- Letting in ---- */

static uint32_t capabilities_of(const struct receive *receive)
{
	return receive->result->capabilities;
}

/* A connection that nobody expects now may be one of a recovery, before its cut was seen. */
static bool is_expected(const struct receive *receive)
{
	const struct mr_channel_census *census = &receive->census;

	if (census->main == 0 || census->cut)
		return true;
	if ((capabilities_of(receive) & MR_CAPABILITY_MULTIFD) && census->multifd < receive->options->multifd_channels)
		return true;
	return receive->preempt_due;
}

/* Multifd channels say what they are; a preempt channel may be silent for long, hence goes by its place. */
static bool goes_by_bytes(const struct receive *receive)
{
	return (capabilities_of(receive) & MR_CAPABILITY_MULTIFD) && !receive->census.cut &&
	       receive->census.multifd < receive->options->multifd_channels;
}

static void let_in(struct receive *receive, uint32_t index)
{
	struct receive_connection *connection = receive->waiting[index];
	const size_t length = connection->length < RECEIVE_MAGIC ? connection->length : RECEIVE_MAGIC;
	const struct mr_bytes first = {connection->window, goes_by_bytes(receive) ? length : 0};
	bool cuts;

	receive->waiting_count--;
	memmove(&receive->waiting[index], &receive->waiting[index + 1],
		(receive->waiting_count - index) * sizeof(*receive->waiting));
	mr_channel_identify(&receive->census, first, &connection->role);
	receive->preempt_due &= connection->role != MR_ROLE_PREEMPT;
	connection->number = receive->channel_count;
	receive->channels[receive->channel_count++] = connection;
	cuts = drop_behind_cut(receive, connection);
	if (receive->incoming)
		mr_receive_open_channel(receive, connection);
	if (cuts)
		mr_receive_cut_all(receive);
}

/* Who was not told of multifd sees its channels come all the same. */
static void look_at_stranger(struct receive *receive, const struct receive_connection *connection)
{
	static const uint8_t magic[RECEIVE_MAGIC] = {0x11, 0x22, 0x33, 0x44};
	const bool is_multifd =
		connection->length >= RECEIVE_MAGIC && memcmp(connection->window, magic, sizeof(magic)) == 0;

	if (!is_multifd)
		return;
	if (capabilities_of(receive) & MR_CAPABILITY_MULTIFD)
		mr_receive_stop(receive, MR_RECEIVE_FAILED,
				"expected %u multifd channels, found another: say --multifd-channels as at the source",
				receive->options->multifd_channels);
	else
		mr_receive_stop(receive, MR_RECEIVE_FAILED,
				"expected no multifd channel, found one: say --capabilities multifd, and "
				"--multifd-channels as at the source");
}

void mr_receive_identify(struct receive *receive)
{
	for (uint32_t i = 0; i < receive->waiting_count && !receive->over;) {
		const struct receive_connection *connection = receive->waiting[i];
		const bool silent = connection->length < RECEIVE_MAGIC && !connection->at_end;

		if (!is_expected(receive) || receive->channel_count == MR_RECORDING_CHANNELS_MAX) {
			look_at_stranger(receive, connection);
			i++;
		} else if (goes_by_bytes(receive) && silent) {
			i++;
		} else {
			let_in(receive, i);
		}
	}
}
