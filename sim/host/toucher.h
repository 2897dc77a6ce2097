/* toucher.h: threads that touch pages of a guest when they are told to, and wait for them as virtual processors do. */
#ifndef MR_HOST_TOUCHER_H
#define MR_HOST_TOUCHER_H

#include <stdbool.h>
#include <stdint.h>

enum { MR_TOUCHERS_MAX = 256, MR_TOUCH_LENGTH = 4096 };

/* A touch that was begun and not yet taken back by mr_touchers_forget(). */
struct mr_touch_wait {
	uint64_t name; /* who touches, as the caller calls it */
	uint32_t block;
	uint64_t offset;      /* bytes, of the page */
	uint32_t number;      /* the kernel's id of the thread */
	const uint8_t *bytes; /* MR_TOUCH_LENGTH bytes that it read; only once it has */
};

/* A pool of threads, made on demand. All functions but the touching itself are one thread's, the caller's. */
struct mr_touchers;

/* NULL if memory is short. */
struct mr_touchers *mr_touchers_open(void);
/* Ends and joins all threads. No touch may wait any more for a page that does not come. NULL is allowed. */
void mr_touchers_close(struct mr_touchers *touchers);
/* Threads so far. */
unsigned mr_touchers_count(const struct mr_touchers *touchers);

/*
 * Lets a thread read MR_TOUCH_LENGTH bytes at `at`, the start of the page at `offset` of `block`: the one that touched
 * for `name` before, if it does nothing now, else another. Returns its index in the pool, or -errno: -EAGAIN if all
 * wait or the host gives no thread.
 */
int mr_touchers_touch(struct mr_touchers *touchers, uint64_t name, uint32_t block, uint64_t offset, const uint8_t *at);
/* The touch of a thread; false if there is none, or no such thread. */
bool mr_touchers_look(struct mr_touchers *touchers, unsigned index, struct mr_touch_wait *touch);
/* Waits until the touch is over, at most so many milliseconds. False if it is not. */
bool mr_touchers_await(struct mr_touchers *touchers, unsigned index, unsigned milliseconds);
/* The touch is over, and nobody asks for it any more. */
void mr_touchers_forget(struct mr_touchers *touchers, unsigned index);

#endif
