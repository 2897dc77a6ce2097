/* live_destination_net.c: the destination's connections: accepted, read ahead, and written to. */
#include "sim/host/live_destination_state.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LOOK_AGAIN = 20 /* ms */, MAGIC = 4 };

static void tell_line(struct mr_live_destination *destination, struct mr_line line)
{
	const struct mr_watch *watch = destination->setup.watch;

	line.time = mr_clock() - destination->board->started;
	if (watch && watch->line)
		watch->line(watch->argument, &line);
}

/* ---- Reading ---- */

static void feed(struct mr_live_destination *destination, uint32_t channel)
{
	const struct mr_connection *connection = &destination->channels[channel].connection;

	mr_incoming_feed(destination->incoming, channel, connection->window, connection->length, connection->at_end,
			 connection->error);
}

static void take_bytes(struct mr_live_destination *destination, uint32_t channel, size_t length, int error)
{
	struct mr_connection *connection = &destination->channels[channel].connection;
	const uint64_t end = connection->base + connection->length;
	const struct mr_log_record record = {.kind = MR_LOG_END, .channel = channel, .bytes = end, .error = error};

	mr_connection_take(connection, length, error);
	destination->board->forward_bytes += length;
	if (length) {
		tell_line(
			destination,
			(struct mr_line){.event = MR_LINE_BYTES, .channel = channel, .offset = end, .length = length});
	} else {
		tell_line(destination, (struct mr_line){.event = MR_LINE_EOF, .channel = channel});
		mr_live_destination_tell(destination, &record, NULL);
		mr_live_wake_all(&destination->threads);
	}
}

void mr_live_destination_read(struct mr_live_destination *destination, struct mr_live_actor *actor, uint32_t channel)
{
	struct mr_connection *connection = &destination->channels[channel].connection;
	ssize_t length;
	int error;

	if (connection->is_read || connection->at_end) {
		mr_live_rest(&destination->threads, actor);
		return;
	}
	if (actor->woken || destination->threads.over)
		return;
	if (!mr_connection_prepare(connection, mr_incoming_consumed(destination->incoming, channel))) {
		mr_live_destination_host_failed(destination, "destination: no memory for what it reads");
		return;
	}
	feed(destination, channel);
	length = mr_live_read(&destination->threads, actor, connection, &error);
	if (length < 0)
		return;
	take_bytes(destination, channel, (size_t)length, error);
	feed(destination, channel);
}

/* ---- Writing ---- */

static void end_return(struct mr_live_destination *destination, uint32_t channel)
{
	const struct mr_log_record record = {.kind = MR_LOG_RETURN_END,
					     .channel = channel,
					     .bytes = destination->channels[channel].connection.written};

	if (!destination->channels[channel].returned)
		mr_live_destination_tell(destination, &record, NULL);
	destination->channels[channel].returned = true;
}

int mr_live_destination_send(struct mr_live_destination *destination, struct mr_live_actor *actor,
			     const struct mr_action_send *send)
{
	const uint32_t channel = send->channel;
	struct mr_connection *connection = &destination->channels[channel].connection;
	const size_t length = send->bytes.length;
	uint64_t turn, offset;
	size_t written;
	int error;

	if (!destination->channels[channel].opened || !mr_live_keep(actor, send->bytes, (struct mr_bytes){0}))
		return MR_GUEST_EIO;
	turn = mr_connection_draw(connection);
	pthread_mutex_unlock(&destination->threads.lock);
	error = mr_connection_write(connection, turn, actor->message, length, &written);
	pthread_mutex_lock(&destination->threads.lock);
	offset = connection->written - written;
	destination->board->return_bytes += written;
	if (written)
		tell_line(destination, (struct mr_line){.event = MR_LINE_BYTES,
							.channel = channel,
							.backward = true,
							.offset = offset,
							.length = written,
							.head = {actor->message, written}});
	if (error)
		end_return(destination, channel);
	mr_connection_pass(connection);
	return error ? MR_GUEST_EIO : 0;
}

/* ---- Accepting ---- */

static bool is_over(struct mr_live_destination *destination)
{
	bool over;

	pthread_mutex_lock(&destination->threads.lock);
	over = destination->threads.over;
	pthread_mutex_unlock(&destination->threads.lock);
	return over;
}

static bool wait_readable(struct mr_live_destination *destination, int file)
{
	struct pollfd ready = {file, POLLIN, 0};

	while (!is_over(destination))
		if (poll(&ready, 1, LOOK_AGAIN) > 0)
			return true;
	return false;
}

/* Multifd channels begin with bytes of their own; a preempt channel may be silent for long. */
static size_t peek(struct mr_live_destination *destination, int file, uint8_t magic[MAGIC])
{
	ssize_t length = 0;

	if (!(destination->census.capabilities & MR_CAPABILITY_MULTIFD))
		return 0;
	while (length < MAGIC && wait_readable(destination, file)) {
		length = recv(file, magic, MAGIC, MSG_PEEK);
		if (length <= 0)
			return 0;
		if (length < MAGIC)
			mr_clock_sleep(1000000);
	}
	return (size_t)length;
}

/* The scenario's cut of a return path; each comes once. */
static uint64_t cut_of(struct mr_live_destination *destination, enum mr_role role)
{
	const struct mr_scenario *scenario = destination->setup.scenario;

	for (uint32_t i = 0; i < scenario->fault_count; i++) {
		const struct mr_scenario_fault *fault = &scenario->faults[i];

		if (destination->fault_used[i] || fault->kind != MR_FAULT_CUT || fault->trigger != MR_TRIGGER_BYTES ||
		    !fault->backward || role != MR_ROLE_MAIN)
			continue;
		destination->fault_used[i] = true;
		return fault->at;
	}
	return UINT64_MAX;
}

static void fail_accept(struct mr_live_destination *destination, int error)
{
	mr_live_destination_host_failed(destination, "destination: %s: raise the limit of open files (ulimit -n)",
					strerror(error));
}

static void open_channel(struct mr_live_destination *destination, int file, enum mr_role role)
{
	const uint32_t number = destination->channel_count;
	struct destination_channel *channel = &destination->channels[number];
	const struct mr_log_record record = {.kind = MR_LOG_OPEN, .channel = number, .role = role};

	if (number == MR_SCENARIO_CONNECTIONS_MAX || mr_incoming_open(destination->incoming, number, role) < 0) {
		close(file);
		return;
	}
	if (!mr_connection_init(&channel->connection, file))
		fail_accept(destination, errno);
	channel->connection.cut_at = cut_of(destination, role);
	channel->opened = true;
	destination->channel_count++;
	mr_live_destination_tell(destination, &record, NULL);
	tell_line(destination, (struct mr_line){.event = MR_LINE_OPEN, .channel = number});
	mr_live_wake_all(&destination->threads);
}

void *mr_live_destination_accept(void *argument)
{
	struct mr_live_destination *destination = argument;

	while (wait_readable(destination, destination->setup.listener)) {
		const int file = accept4(destination->setup.listener, NULL, NULL, SOCK_CLOEXEC);
		uint8_t magic[MAGIC];
		enum mr_role role;
		size_t length;

		if (file < 0) {
			if (errno == EMFILE || errno == ENFILE) {
				pthread_mutex_lock(&destination->threads.lock);
				fail_accept(destination, errno);
				pthread_mutex_unlock(&destination->threads.lock);
				return NULL;
			}
			continue;
		}
		length = peek(destination, file, magic);
		pthread_mutex_lock(&destination->threads.lock);
		mr_channel_identify(&destination->census, (struct mr_bytes){magic, length}, &role);
		open_channel(destination, file, role);
		pthread_mutex_unlock(&destination->threads.lock);
	}
	return NULL;
}
