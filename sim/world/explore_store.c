/* explore_store.c: strings in one growing run of bytes, found by an open table of their hashes. */
#include "sim/world/explore_store.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_ROOM = 1 << 12, ALIGNMENT = 8 };

struct mr_store_slot {
	struct mr_hash key;
	uint32_t number; /* + 1; 0: free */
};

struct mr_store_entry {
	uint64_t at;
	uint64_t length;
};

/* ---- Hashing ---- */

static uint64_t number_at(const uint8_t *bytes, size_t length)
{
	uint64_t number = 0;

	memcpy(&number, bytes, length);
	return number;
}

struct mr_hash mr_hash_bytes(struct mr_hash seed, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;
	struct mr_hash hash = mr_hash_number(seed, length);

	for (; length >= 8; at += 8, length -= 8)
		hash = mr_hash_number(hash, number_at(at, 8));
	if (length)
		hash = mr_hash_number(hash, number_at(at, length));
	return hash;
}

/* ---- From a key to a number ---- */

void mr_store_map_clear(struct mr_store_map *map)
{
	free(map->slots);
	*map = (struct mr_store_map){0};
}

size_t mr_store_map_size(const struct mr_store_map *map)
{
	return map->capacity * sizeof(struct mr_store_slot);
}

/* The slot that has the key, or the free one where it belongs. */
static struct mr_store_slot *find_slot(const struct mr_store_map *map, struct mr_hash key)
{
	uint64_t at = key.low & (map->capacity - 1);

	while (map->slots[at].number && (map->slots[at].key.low != key.low || map->slots[at].key.high != key.high))
		at = (at + 1) & (map->capacity - 1);
	return &map->slots[at];
}

uint32_t mr_store_map_find(const struct mr_store_map *map, struct mr_hash key)
{
	return map->capacity ? find_slot(map, key)->number - 1 : MR_NO_NUMBER;
}

static bool grow_map(struct mr_store_map *map)
{
	const struct mr_store_map old = *map;

	map->capacity = old.capacity ? 2 * old.capacity : FIRST_ROOM;
	map->slots = calloc(map->capacity, sizeof(*map->slots));
	if (!map->slots) {
		*map = old;
		return false;
	}
	for (uint64_t i = 0; i < old.capacity; i++)
		if (old.slots[i].number)
			*find_slot(map, old.slots[i].key) = old.slots[i];
	free(old.slots);
	return true;
}

bool mr_store_map_add(struct mr_store_map *map, struct mr_hash key, uint32_t number)
{
	if (4 * (map->count + 1) > 3 * map->capacity && !grow_map(map))
		return false;
	*find_slot(map, key) = (struct mr_store_slot){key, number + 1};
	map->count++;
	return true;
}

/* ---- Strings by number ---- */

void mr_store_clear(struct mr_store *store)
{
	mr_store_map_clear(&store->map);
	free(store->entries);
	free(store->bytes);
	*store = (struct mr_store){0};
}

/* Room for one more string. */
static bool make_room(struct mr_store *store, size_t length)
{
	if (store->count == store->entries_room) {
		const uint32_t room = store->entries_room ? 2 * store->entries_room : FIRST_ROOM;
		struct mr_store_entry *entries = realloc(store->entries, room * sizeof(*entries));

		if (!entries)
			return false;
		store->entries = entries;
		store->entries_room = room;
	}
	if (store->room - store->used < length + ALIGNMENT) {
		const size_t room = 2 * store->room + length + FIRST_ROOM;
		uint8_t *bytes = realloc(store->bytes, room);

		if (!bytes)
			return false;
		store->bytes = bytes;
		store->room = room;
	}
	return true;
}

uint32_t mr_store_add(struct mr_store *store, struct mr_hash hash, const void *bytes, size_t length)
{
	const uint32_t known = mr_store_map_find(&store->map, hash);

	if (known != MR_NO_NUMBER)
		return known;
	if (store->count == MR_NO_NUMBER - 1 || !make_room(store, length) ||
	    !mr_store_map_add(&store->map, hash, store->count))
		return MR_NO_NUMBER;
	store->entries[store->count] = (struct mr_store_entry){store->used, length};
	if (length)
		memcpy(store->bytes + store->used, bytes, length);
	store->used = (store->used + length + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
	return store->count++;
}

uint32_t mr_store_find(const struct mr_store *store, struct mr_hash hash)
{
	return mr_store_map_find(&store->map, hash);
}

const void *mr_store_at(const struct mr_store *store, uint32_t number, size_t *length)
{
	const struct mr_store_entry *entry = &store->entries[number];

	if (length)
		*length = entry->length;
	return store->bytes + entry->at;
}

uint32_t mr_store_count(const struct mr_store *store)
{
	return store->count;
}

size_t mr_store_size(const struct mr_store *store)
{
	return mr_store_map_size(&store->map) + store->entries_room * sizeof(*store->entries) + store->room;
}
