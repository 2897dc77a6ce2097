/* bit.h: one bit of a map of pages, where pages go by one at a time; ref/ram/bitmap.c has what is done with many. */
#ifndef MR_BIT_H
#define MR_BIT_H

#include <stdbool.h>
#include <stdint.h>

enum { MR_WORD_BITS = 64 };

static inline bool mr_bit_test(const uint64_t *map, uint64_t bit)
{
	return map[bit / MR_WORD_BITS] >> bit % MR_WORD_BITS & 1;
}

static inline void mr_bit_set(uint64_t *map, uint64_t bit)
{
	map[bit / MR_WORD_BITS] |= (uint64_t)1 << bit % MR_WORD_BITS;
}

static inline void mr_bit_clear(uint64_t *map, uint64_t bit)
{
	map[bit / MR_WORD_BITS] &= ~((uint64_t)1 << bit % MR_WORD_BITS);
}

#endif
