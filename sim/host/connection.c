/* connection.c: sockets with ordered writing and a window of what was read. */
#include "sim/host/connection.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_ROOM = 256 << 10, FIRST_CAPACITY = 1 << 20 };

bool mr_connection_init(struct mr_connection *connection, int socket)
{
	*connection = (struct mr_connection){.socket = socket, .cut_at = UINT64_MAX};
	connection->interrupt = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pthread_mutex_init(&connection->lock, NULL);
	pthread_cond_init(&connection->changed, NULL);
	return connection->interrupt >= 0;
}

void mr_connection_close(struct mr_connection *connection)
{
	if (connection->socket >= 0)
		close(connection->socket);
	if (connection->interrupt >= 0)
		close(connection->interrupt);
	connection->socket = connection->interrupt = -1;
	free(connection->window);
	connection->window = NULL;
}

void mr_connection_shut(struct mr_connection *connection)
{
	if (connection->socket >= 0)
		shutdown(connection->socket, SHUT_RDWR);
}

/* ---- Writing ---- */

uint64_t mr_connection_draw(struct mr_connection *connection)
{
	return connection->drawn++;
}

static int write_all(struct mr_connection *connection, const uint8_t *bytes, size_t length, size_t *written)
{
	while (*written < length) {
		const ssize_t count = send(connection->socket, bytes + *written, length - *written, MSG_NOSIGNAL);

		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0)
			return errno;
		*written += (size_t)count;
	}
	return 0;
}

/* The scenario's cut: as much goes out as stands before it. */
static int write_or_cut(struct mr_connection *connection, const uint8_t *bytes, size_t length, size_t *written)
{
	const uint64_t before_cut = connection->cut_at - connection->written;
	const bool cut = connection->cut_at != UINT64_MAX && length > before_cut;
	int error = write_all(connection, bytes, cut ? (size_t)before_cut : length, written);

	connection->written += *written;
	if (cut && !error) {
		shutdown(connection->socket, SHUT_RDWR);
		error = EPIPE;
	}
	return error;
}

int mr_connection_write(struct mr_connection *connection, uint64_t turn, const uint8_t *bytes, size_t length,
			size_t *written)
{
	int error;

	*written = 0;
	pthread_mutex_lock(&connection->lock);
	while (connection->turn != turn)
		pthread_cond_wait(&connection->changed, &connection->lock);
	error = connection->broken ? EPIPE : 0;
	pthread_mutex_unlock(&connection->lock);
	if (!error)
		error = write_or_cut(connection, bytes, length, written);
	pthread_mutex_lock(&connection->lock);
	connection->broken |= error != 0;
	pthread_mutex_unlock(&connection->lock);
	return error;
}

void mr_connection_pass(struct mr_connection *connection)
{
	pthread_mutex_lock(&connection->lock);
	connection->turn++;
	pthread_cond_broadcast(&connection->changed);
	pthread_mutex_unlock(&connection->lock);
}

/* ---- Reading ---- */

bool mr_connection_prepare(struct mr_connection *connection, uint64_t used_up)
{
	const size_t used = (size_t)(used_up - connection->base);

	if (used) {
		memmove(connection->window, connection->window + used, connection->length - used);
		connection->length -= used;
		connection->base = used_up;
	}
	if (connection->capacity - connection->length < READ_ROOM) {
		const size_t larger = connection->capacity ? 2 * connection->capacity : FIRST_CAPACITY;
		uint8_t *window = realloc(connection->window, larger);

		if (!window)
			return false;
		connection->window = window;
		connection->capacity = larger;
	}
	return true;
}

void mr_connection_interrupt(struct mr_connection *connection)
{
	const uint64_t one = 1;

	if (write(connection->interrupt, &one, sizeof(one)) < 0)
		return; /* full: it is interrupted */
}

static bool is_interrupted(struct mr_connection *connection)
{
	struct pollfd files[] = {{connection->socket, POLLIN, 0}, {connection->interrupt, POLLIN, 0}};
	uint64_t times;

	while (poll(files, 2, -1) < 0)
		if (errno != EINTR)
			return false;
	return (files[1].revents & POLLIN) && read(connection->interrupt, &times, sizeof(times)) > 0;
}

ssize_t mr_connection_read(struct mr_connection *connection, int *error)
{
	ssize_t count;

	*error = 0;
	if (is_interrupted(connection))
		return -1;
	do
		count = recv(connection->socket, connection->window + connection->length, READ_ROOM, 0);
	while (count < 0 && errno == EINTR);
	*error = count < 0 ? errno : 0;
	return count < 0 ? 0 : count;
}

void mr_connection_take(struct mr_connection *connection, size_t length, int error)
{
	connection->length += length;
	connection->at_end = length == 0;
	connection->error = error;
}
