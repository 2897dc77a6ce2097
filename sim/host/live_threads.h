/*
 * live_threads.h: the threads of one end: each runs an actor of the machine under the machine's lock, rests until
 * another may have let it go on, and reads and keeps what it sends without the lock.
 */
#ifndef MR_HOST_LIVE_THREADS_H
#define MR_HOST_LIVE_THREADS_H

#include "sim/host/connection.h"
#include "sim/world/sim.h"

enum { MR_LIVE_NOBODY = UINT32_MAX };

struct mr_live_actor {
	void *end; /* whose thread it is */
	pthread_t thread;
	unsigned index;
	bool started;
	bool woken;                    /* it is to look again whether it can go on */
	bool waits_anew;               /* it has made an action since it last waited */
	uint32_t waits_for;            /* actor that it waits for; MR_LIVE_NOBODY: none */
	struct mr_connection *reading; /* whose bytes it waits for; NULL: none */
	int kick;                      /* eventfd that ends its waiting for something else; -1: none. The owner's */
	uint8_t *message;              /* what it sends, while it does */
	size_t message_capacity;
};

struct mr_live_threads {
	pthread_mutex_t lock; /* of the machine, and of all that the threads share */
	pthread_cond_t changed;
	bool over; /* threads are to end */
	struct mr_live_actor actors[MR_ACTOR_COUNT];
	uint32_t count;
};

/* Threads that are still to be started, each for the actor of its number. */
void mr_live_threads_init(struct mr_live_threads *threads, void *end, uint32_t count);
/* None may run any more. */
void mr_live_threads_clear(struct mr_live_threads *threads);
/* Starts all; false if the host gives no more, and some run. */
bool mr_live_threads_start(struct mr_live_threads *threads, void *(*run)(void *actor));
/* Waits for one, or all, that have been started and told to end. */
void mr_live_threads_join(struct mr_live_threads *threads, uint32_t index);
void mr_live_threads_join_all(struct mr_live_threads *threads);

/* ---- Under the lock ---- */

/* Every thread looks again whether it can go on. */
void mr_live_wake_all(struct mr_live_threads *threads);
/*
 * An actor went on without an action, and waits for `other` (MR_LIVE_NOBODY: for none): it may have started or released
 * whom it waits for now, and may have come to where somebody waits for it.
 */
void mr_live_wake_around(struct mr_live_threads *threads, struct mr_live_actor *actor, uint32_t other);
/* Waits until it is woken; at the latest until `due`, by mr_clock(). */
void mr_live_rest(struct mr_live_threads *threads, struct mr_live_actor *actor);
void mr_live_rest_until(struct mr_live_threads *threads, struct mr_live_actor *actor, uint64_t due);
/* As mr_connection_read(), without the lock; -1 also if the actor is woken. Nobody else may read there meanwhile. */
ssize_t mr_live_read(struct mr_live_threads *threads, struct mr_live_actor *actor, struct mr_connection *connection,
		     int *error);
/* A copy of what it is to send, for when the machine goes on. False if memory is short. */
bool mr_live_keep(struct mr_live_actor *actor, struct mr_bytes head, struct mr_bytes body);

#endif
