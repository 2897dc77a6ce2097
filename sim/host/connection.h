/*
 * connection.h: one connection of a migration between two processes, from one of its ends.
 *
 * Many threads write, each when its turn has come: turns are drawn where the order of messages is decided, and writing
 * waits outside of every lock. One thread at a time reads, into a window whose beginning is what is not used up yet.
 */
#ifndef MR_HOST_CONNECTION_H
#define MR_HOST_CONNECTION_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ref/migref.h"

struct mr_connection {
	int socket; /* -1: none */

	/* reading */
	uint8_t *window; /* from byte `base` of the direction on */
	size_t length, capacity;
	uint64_t base;
	bool at_end;
	int error;     /* how it ended, errno */
	bool is_read;  /* a thread reads just now */
	int interrupt; /* eventfd: whoever reads is to return */

	/* private: writing */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint64_t drawn, turn;
	uint64_t written;
	uint64_t cut_at; /* byte of what is written before which the connection breaks; UINT64_MAX: none */
	bool broken;
};

/* Of a connected socket, or one to be, which it owns from now on. False if the host gives it nothing to be interrupted
 * by: it is to be closed all the same. */
bool mr_connection_init(struct mr_connection *connection, int socket);
void mr_connection_close(struct mr_connection *connection);

/* ---- Writing ---- */

/* The next turn; whoever draws one has to use it. In the order of the machine's steps, under the lock of these. */
uint64_t mr_connection_draw(struct mr_connection *connection);
/*
 * Waits for the turn, and writes; `*written` bytes of it went out. 0, or the errno: once for all, what others write
 * behind it fails, too. The turn is over with mr_connection_pass(), until when nobody else writes.
 */
int mr_connection_write(struct mr_connection *connection, uint64_t turn, const uint8_t *bytes, size_t length,
			size_t *written);
void mr_connection_pass(struct mr_connection *connection);
/* Both directions end; whoever reads or writes goes on. The socket stays. */
void mr_connection_shut(struct mr_connection *connection);

/* ---- Reading ---- */

/* Drops what is used up, and makes room: where the window moves, who was shown it has to be shown it anew. False if
 * memory is short. */
bool mr_connection_prepare(struct mr_connection *connection, uint64_t used_up);
/*
 * Waits for bytes, and gives how many came behind the window, or 0 at the end, with `*error`; -1 if it was interrupted
 * first. They count once mr_connection_take() has taken them.
 */
ssize_t mr_connection_read(struct mr_connection *connection, int *error);
/* Whoever reads, or the next who begins to, returns. */
void mr_connection_interrupt(struct mr_connection *connection);
void mr_connection_take(struct mr_connection *connection, size_t length, int error);

#endif
