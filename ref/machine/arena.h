/* arena.h: how a machine's memory is laid out in one piece, on either side. */
#ifndef MR_ARENA_H
#define MR_ARENA_H

#include "migref.h"

/* Takes `count` elements from the arena; a machine is laid out the same way whether or not it is written. */
static inline size_t mr_arena_reserve(size_t *used, size_t count, size_t element)
{
	enum { ALIGNMENT = 64 };
	const size_t start = (*used + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);

	*used = start + count * element;
	return start;
}

/* Bytes of a bitmap, to be reserved. */
static inline size_t mr_arena_bitmap(uint64_t bits)
{
	return mr_bitmap_words(bits) * sizeof(uint64_t);
}

#endif
