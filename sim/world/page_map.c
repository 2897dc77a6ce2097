/* page_map.c: a table of pages with open addressing. */
#include "sim/world/page_map.h"

#include <stdlib.h>

#include "sim/world/random.h"

enum { PAGE_BITS = 53, FIRST_CAPACITY = 64, NEIGHBOUR_BITS = 3 };

_Static_assert(sizeof(struct mr_page_entry) == 16, "an entry is 16 bytes");

static uint64_t key_of(uint32_t block, uint64_t page)
{
	return ((uint64_t)block << PAGE_BITS | page) + 1;
}

/* Neighbouring pages lie beside each other, in two cache lines, since who asks for one asks for the next. */
static size_t slot_of(uint64_t key, size_t capacity)
{
	const uint64_t neighbour = key & ((UINT64_C(1) << NEIGHBOUR_BITS) - 1);

	return (size_t)(mr_mix(key >> NEIGHBOUR_BITS) << NEIGHBOUR_BITS | neighbour) & (capacity - 1);
}

/* The slot that holds the key, or the empty one where it belongs. The table has an empty slot always. */
static struct mr_page_entry *seek(struct mr_page_entry *entries, size_t capacity, uint64_t key)
{
	size_t slot = slot_of(key, capacity);

	while (entries[slot].key != 0 && entries[slot].key != key)
		slot = (slot + 1) & (capacity - 1);
	return &entries[slot];
}

static bool is_full(const struct mr_page_map *map)
{
	return map->count >= map->capacity / 8 * 5;
}

static bool grow(struct mr_page_map *map)
{
	const size_t capacity = map->capacity ? 2 * map->capacity : FIRST_CAPACITY;
	struct mr_page_entry *entries = capacity > map->capacity ? calloc(capacity, sizeof(*entries)) : NULL;

	if (!entries)
		return false;
	for (size_t slot = 0; slot < map->capacity; slot++)
		if (map->entries[slot].key != 0)
			*seek(entries, capacity, map->entries[slot].key) = map->entries[slot];
	free(map->entries);
	map->entries = entries;
	map->capacity = capacity;
	return true;
}

void mr_page_map_clear(struct mr_page_map *map)
{
	free(map->entries);
	*map = (struct mr_page_map){0};
}

struct mr_page_entry *mr_page_map_find(const struct mr_page_map *map, uint32_t block, uint64_t page)
{
	struct mr_page_entry *entry;

	if (map->capacity == 0)
		return NULL;
	entry = seek(map->entries, map->capacity, key_of(block, page));
	return entry->key ? entry : NULL;
}

struct mr_page_entry *mr_page_map_get(struct mr_page_map *map, uint32_t block, uint64_t page)
{
	const uint64_t key = key_of(block, page);
	struct mr_page_entry *entry = NULL;

	if (map->capacity > 0) {
		entry = seek(map->entries, map->capacity, key);
		if (entry->key)
			return entry;
	}
	if (!entry || is_full(map)) {
		if (!grow(map))
			return NULL;
		entry = seek(map->entries, map->capacity, key);
	}
	entry->key = key;
	map->count++;
	return entry;
}

size_t mr_page_map_count(const struct mr_page_map *map)
{
	return map->count;
}

size_t mr_page_map_slots(const struct mr_page_map *map)
{
	return map->capacity;
}

const struct mr_page_entry *mr_page_map_at(const struct mr_page_map *map, size_t slot)
{
	return map->entries[slot].key ? &map->entries[slot] : NULL;
}

uint32_t mr_page_entry_block(const struct mr_page_entry *entry)
{
	return (uint32_t)((entry->key - 1) >> PAGE_BITS);
}

uint64_t mr_page_entry_page(const struct mr_page_entry *entry)
{
	return (entry->key - 1) & ((UINT64_C(1) << PAGE_BITS) - 1);
}
