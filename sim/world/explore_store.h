/*
 * explore_store.h: what the explorer remembers: byte strings by number, each once, and which number goes with a key.
 *
 * Strings are known again by 128 bits of hash. The hash is for this process alone: it reaches no output.
 */
#ifndef MR_WORLD_EXPLORE_STORE_H
#define MR_WORLD_EXPLORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mr_hash {
	uint64_t low, high;
};

/* Goes on from `seed`, which may be any hash, also zero. */
struct mr_hash mr_hash_bytes(struct mr_hash seed, const void *bytes, size_t length);

/* The same of one number, in a few cycles. */
static inline struct mr_hash mr_hash_number(struct mr_hash seed, uint64_t number)
{
	const unsigned __int128 low = (unsigned __int128)(seed.low ^ number) * UINT64_C(0x9e3779b97f4a7c15);
	const unsigned __int128 high =
		(unsigned __int128)(seed.high ^ number ^ UINT64_C(0xd1b54a32d192ed03)) * UINT64_C(0xbf58476d1ce4e5b9);

	return (struct mr_hash){(uint64_t)low ^ (uint64_t)(low >> 64) ^ (seed.high << 1 | seed.high >> 63),
				(uint64_t)high ^ (uint64_t)(high >> 64) ^ (seed.low << 23 | seed.low >> 41)};
}

enum { MR_NO_NUMBER = UINT32_MAX };

/* ---- From a key to a number ---- */

struct mr_store_slot;

/* Zero it to begin. */
struct mr_store_map {
	/* private */
	struct mr_store_slot *slots;
	uint64_t count, capacity; /* a power of two */
};

void mr_store_map_clear(struct mr_store_map *map);
/* The number that goes with the key, or MR_NO_NUMBER. */
uint32_t mr_store_map_find(const struct mr_store_map *map, struct mr_hash key);
/* A key that was not found goes with `number`. False if memory is short. */
bool mr_store_map_add(struct mr_store_map *map, struct mr_hash key, uint32_t number);
/* Bytes of memory. */
size_t mr_store_map_size(const struct mr_store_map *map);

/* ---- Strings by number ---- */

struct mr_store_entry;

/* Zero it to begin. */
struct mr_store {
	/* private */
	struct mr_store_map map;
	struct mr_store_entry *entries;
	uint32_t count, entries_room;
	uint8_t *bytes;
	size_t used, room;
};

void mr_store_clear(struct mr_store *store);
/*
 * The number of the string with this hash, from 0; if it is new, `bytes` are kept. They are what is given back; `hash`
 * may be that of a part of them, which makes strings one that agree in it. MR_NO_NUMBER if memory is short.
 */
uint32_t mr_store_add(struct mr_store *store, struct mr_hash hash, const void *bytes, size_t length);
/* The number of the string with this hash, or MR_NO_NUMBER. */
uint32_t mr_store_find(const struct mr_store *store, struct mr_hash hash);
/* The string, aligned for any number, until the next is added. */
const void *mr_store_at(const struct mr_store *store, uint32_t number, size_t *length);
uint32_t mr_store_count(const struct mr_store *store);
/* Bytes of memory. */
size_t mr_store_size(const struct mr_store *store);

#endif
