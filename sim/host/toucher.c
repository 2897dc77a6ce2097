/* toucher.c: threads that touch pages of a guest when they are told to, and wait for them as virtual processors do. */
#include "sim/host/toucher.h"

#include "sim/host/memory.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum state { STARTING, IDLE, ASKED, OVER, ENDING };

struct toucher {
	pthread_t thread;
	pthread_mutex_t lock; /* of `state` */
	pthread_cond_t changed;
	enum state state;
	struct mr_touch_wait touch;
	const uint8_t *at;
	uint8_t bytes[MR_TOUCH_LENGTH];
};

struct mr_touchers {
	unsigned count;
	struct toucher *touchers[MR_TOUCHERS_MAX];
};

/* ---- States ---- */

static enum state state_of(struct toucher *toucher)
{
	enum state state;

	pthread_mutex_lock(&toucher->lock);
	state = toucher->state;
	pthread_mutex_unlock(&toucher->lock);
	return state;
}

static void set_state(struct toucher *toucher, enum state state)
{
	pthread_mutex_lock(&toucher->lock);
	toucher->state = state;
	pthread_cond_broadcast(&toucher->changed);
	pthread_mutex_unlock(&toucher->lock);
}

/* Waits until the state is another one. */
static enum state wait_while(struct toucher *toucher, enum state state)
{
	enum state found;

	pthread_mutex_lock(&toucher->lock);
	while (toucher->state == state)
		pthread_cond_wait(&toucher->changed, &toucher->lock);
	found = toucher->state;
	pthread_mutex_unlock(&toucher->lock);
	return found;
}

/* ---- Threads ---- */

static void *run(void *argument)
{
	struct toucher *toucher = argument;
	enum state state = IDLE;

	toucher->touch.number = (uint32_t)gettid();
	set_state(toucher, IDLE);
	while (state != ENDING) {
		if (state == ASKED) {
			mr_host_load(toucher->bytes, toucher->at, sizeof(toucher->bytes));
			set_state(toucher, OVER);
		}
		state = wait_while(toucher, state == ASKED ? OVER : state);
	}
	return NULL;
}

/* A signal of the user's is for the thread that waits for nothing. */
static int start_thread(struct toucher *toucher)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&toucher->thread, NULL, run, toucher);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!error)
		wait_while(toucher, STARTING);
	return error;
}

static void free_toucher(struct toucher *toucher)
{
	pthread_cond_destroy(&toucher->changed);
	pthread_mutex_destroy(&toucher->lock);
	free(toucher);
}

static int init_locks(struct toucher *toucher)
{
	pthread_condattr_t attributes;
	int error;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_mutex_init(&toucher->lock, NULL);
	error = pthread_cond_init(&toucher->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	return error;
}

/* ---- The pool ---- */

struct mr_touchers *mr_touchers_open(void)
{
	return calloc(1, sizeof(struct mr_touchers));
}

void mr_touchers_close(struct mr_touchers *touchers)
{
	if (!touchers)
		return;
	for (unsigned i = 0; i < touchers->count; i++) {
		struct toucher *toucher = touchers->touchers[i];

		if (state_of(toucher) == ASKED)
			wait_while(toucher, ASKED);
		set_state(toucher, ENDING);
		pthread_join(toucher->thread, NULL);
		free_toucher(toucher);
	}
	free(touchers);
}

unsigned mr_touchers_count(const struct mr_touchers *touchers)
{
	return touchers->count;
}

static int add(struct mr_touchers *touchers)
{
	struct toucher *toucher;
	int error;

	if (touchers->count == MR_TOUCHERS_MAX)
		return -EAGAIN;
	toucher = calloc(1, sizeof(*toucher));
	if (!toucher)
		return -EAGAIN;
	error = init_locks(toucher);
	if (!error)
		error = start_thread(toucher);
	if (error) {
		free_toucher(toucher);
		return -EAGAIN;
	}
	touchers->touchers[touchers->count] = toucher;
	return (int)touchers->count++;
}

/* One that does nothing: the one of this name, else a new one, else anybody's. */
static int find(struct mr_touchers *touchers, uint64_t name)
{
	int anybody = -EAGAIN, added;

	for (unsigned i = 0; i < touchers->count; i++) {
		if (state_of(touchers->touchers[i]) != IDLE)
			continue;
		if (touchers->touchers[i]->touch.name == name)
			return (int)i;
		anybody = (int)i;
	}
	added = add(touchers);
	return added < 0 ? anybody : added;
}

int mr_touchers_touch(struct mr_touchers *touchers, uint64_t name, uint32_t block, uint64_t offset, const uint8_t *at)
{
	const int index = find(touchers, name);
	struct toucher *toucher;

	if (index < 0)
		return index;
	toucher = touchers->touchers[index];
	toucher->touch.name = name;
	toucher->touch.block = block;
	toucher->touch.offset = offset;
	toucher->touch.bytes = NULL;
	toucher->at = at;
	set_state(toucher, ASKED);
	return index;
}

bool mr_touchers_look(struct mr_touchers *touchers, unsigned index, struct mr_touch_wait *touch)
{
	enum state state;

	if (index >= touchers->count)
		return false;
	state = state_of(touchers->touchers[index]);
	*touch = touchers->touchers[index]->touch;
	touch->bytes = state == OVER ? touchers->touchers[index]->bytes : NULL;
	return state == ASKED || state == OVER;
}

bool mr_touchers_await(struct mr_touchers *touchers, unsigned index, unsigned milliseconds)
{
	struct toucher *toucher = touchers->touchers[index];
	struct timespec until;
	int error = 0;
	bool over;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += milliseconds / 1000;
	until.tv_nsec += (long)(milliseconds % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&toucher->lock);
	while (toucher->state == ASKED && error != ETIMEDOUT)
		error = pthread_cond_timedwait(&toucher->changed, &toucher->lock, &until);
	over = toucher->state != ASKED;
	pthread_mutex_unlock(&toucher->lock);
	return over;
}

void mr_touchers_forget(struct mr_touchers *touchers, unsigned index)
{
	if (state_of(touchers->touchers[index]) == OVER)
		set_state(touchers->touchers[index], IDLE);
}
