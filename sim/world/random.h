/* random.h: numbers from a seed: the same ones everywhere, by integers alone; also for the freestanding guest. */
#ifndef MR_WORLD_RANDOM_H
#define MR_WORLD_RANDOM_H

#include <stdint.h>

struct mr_random {
	uint64_t state;
};

/* Mixes all bits of a number into all others (the finalizer of splitmix64). */
static inline uint64_t mr_mix(uint64_t value)
{
	value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
	return value ^ (value >> 31);
}

/* A stream of its own for each (seed, purpose), so that what is drawn for one purpose never shifts another. */
static inline struct mr_random mr_random_of(uint64_t seed, uint64_t purpose)
{
	return (struct mr_random){mr_mix(mr_mix(seed + 1) ^ mr_mix(~purpose))};
}

static inline uint64_t mr_random_next(struct mr_random *random)
{
	random->state += UINT64_C(0x9e3779b97f4a7c15);
	return mr_mix(random->state);
}

/* A number below `limit`; 0 if there is none. */
static inline uint64_t mr_random_below(struct mr_random *random, uint64_t limit)
{
	return limit ? mr_random_next(random) % limit : 0;
}

/* True so many times of a thousand. */
static inline int mr_random_permille(struct mr_random *random, uint32_t permille)
{
	return mr_random_below(random, 1000) < permille;
}

#endif
