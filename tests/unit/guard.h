/* guard.h: buffers that end where memory ends, so that reading or writing one byte too many traps. */
#ifndef TEST_GUARD_H
#define TEST_GUARD_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct guard {
	uint8_t *base; /* start of the mapping */
	size_t size;   /* usable bytes, whole pages */
	size_t page;   /* bytes of the page behind them that nobody may touch */
};

/* Makes room for buffers of up to `capacity` bytes; ends the test program if memory is short. */
static inline struct guard guard_new(size_t capacity)
{
	struct guard guard;

	guard.page = (size_t)sysconf(_SC_PAGESIZE);
	guard.size = (capacity / guard.page + 1) * guard.page;
	guard.base = mmap(NULL, guard.size + guard.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (guard.base == MAP_FAILED || mprotect(guard.base + guard.size, guard.page, PROT_NONE) != 0)
		abort();
	return guard;
}

/* The last `length` bytes before the guard page. */
static inline uint8_t *guard_end(const struct guard *guard, size_t length)
{
	return guard->base + guard->size - length;
}

/* Copies `length` bytes to the place that ends at the guard page. */
static inline uint8_t *guard_copy(const struct guard *guard, const void *bytes, size_t length)
{
	uint8_t *place = guard_end(guard, length);

	if (length != 0)
		memcpy(place, bytes, length);
	return place;
}

static inline void guard_free(struct guard *guard)
{
	munmap(guard->base, guard->size + guard->page);
}

#endif
