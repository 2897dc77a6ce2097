/* live_threads.c: threads that run actors, and how they wait for each other. */
#include "sim/host/live_threads.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SECOND = 1000000000 };

/* ---- All of them ---- */

void mr_live_threads_init(struct mr_live_threads *threads, void *end, uint32_t count)
{
	pthread_condattr_t monotonic;

	pthread_mutex_init(&threads->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&threads->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	threads->count = count;
	for (uint32_t i = 0; i < count; i++)
		threads->actors[i] =
			(struct mr_live_actor){.end = end, .index = i, .waits_for = MR_LIVE_NOBODY, .kick = -1};
}

void mr_live_threads_clear(struct mr_live_threads *threads)
{
	for (uint32_t i = 0; i < threads->count; i++)
		free(threads->actors[i].message);
}

bool mr_live_threads_start(struct mr_live_threads *threads, void *(*run)(void *actor))
{
	for (uint32_t i = 0; i < threads->count; i++) {
		struct mr_live_actor *actor = &threads->actors[i];

		actor->started = pthread_create(&actor->thread, NULL, run, actor) == 0;
		if (!actor->started)
			return false;
	}
	return true;
}

void mr_live_threads_join(struct mr_live_threads *threads, uint32_t index)
{
	if (threads->actors[index].started)
		pthread_join(threads->actors[index].thread, NULL);
	threads->actors[index].started = false;
}

void mr_live_threads_join_all(struct mr_live_threads *threads)
{
	for (uint32_t i = 0; i < threads->count; i++)
		mr_live_threads_join(threads, i);
}

/* ---- Waking ---- */

static void wake(struct mr_live_actor *actor)
{
	const uint64_t one = 1;

	actor->woken = true;
	if (actor->reading)
		mr_connection_interrupt(actor->reading);
	if (actor->kick >= 0 && write(actor->kick, &one, sizeof(one)) < 0)
		return; /* full: it looks anyway */
}

void mr_live_wake_all(struct mr_live_threads *threads)
{
	for (uint32_t i = 0; i < threads->count; i++)
		wake(&threads->actors[i]);
	pthread_cond_broadcast(&threads->changed);
}

void mr_live_wake_around(struct mr_live_threads *threads, struct mr_live_actor *actor, uint32_t other)
{
	const bool again = !actor->waits_anew && actor->waits_for == other;

	actor->waits_anew = false;
	actor->waits_for = other;
	if (again)
		return;
	for (uint32_t i = 0; i < threads->count; i++)
		if (i == other || (i != actor->index && threads->actors[i].waits_for == actor->index))
			wake(&threads->actors[i]);
	pthread_cond_broadcast(&threads->changed);
}

/* ---- Waiting ---- */

void mr_live_rest(struct mr_live_threads *threads, struct mr_live_actor *actor)
{
	while (!actor->woken && !threads->over)
		pthread_cond_wait(&threads->changed, &threads->lock);
}

void mr_live_rest_until(struct mr_live_threads *threads, struct mr_live_actor *actor, uint64_t due)
{
	const struct timespec at = {(time_t)(due / SECOND), (long)(due % SECOND)};

	while (!actor->woken && !threads->over)
		if (pthread_cond_timedwait(&threads->changed, &threads->lock, &at) != 0)
			return;
}

ssize_t mr_live_read(struct mr_live_threads *threads, struct mr_live_actor *actor, struct mr_connection *connection,
		     int *error)
{
	ssize_t length;

	connection->is_read = true;
	actor->reading = connection;
	pthread_mutex_unlock(&threads->lock);
	length = mr_connection_read(connection, error);
	pthread_mutex_lock(&threads->lock);
	connection->is_read = false;
	actor->reading = NULL;
	return length;
}

/* ---- Sending ---- */

bool mr_live_keep(struct mr_live_actor *actor, struct mr_bytes head, struct mr_bytes body)
{
	const size_t length = head.length + body.length;

	if (length > actor->message_capacity) {
		uint8_t *message = realloc(actor->message, length);

		if (!message)
			return false;
		actor->message = message;
		actor->message_capacity = length;
	}
	if (head.length)
		memcpy(actor->message, head.data, head.length);
	if (body.length)
		memcpy(actor->message + head.length, body.data, body.length);
	return true;
}
