/* random.h: a small generator of pseudo-random numbers, so that a test that fails fails again. */
#ifndef TEST_RANDOM_H
#define TEST_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct random {
	uint64_t state; /* not 0 */
};

/* The next 64 bits (xorshift, with a multiplication that mixes the high bits). */
static inline uint64_t random_next(struct random *random)
{
	random->state ^= random->state >> 12;
	random->state ^= random->state << 25;
	random->state ^= random->state >> 27;
	return random->state * UINT64_C(0x2545f4914f6cdd1d);
}

/* A number below `limit`; 0 if there is none. */
static inline uint64_t random_below(struct random *random, uint64_t limit)
{
	return limit ? (random_next(random) >> 16) % limit : 0;
}

static inline void random_fill(struct random *random, uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)(random_next(random) >> 32);
}

#endif
