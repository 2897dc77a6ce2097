/* page_cache.c: the source's memory of what it last sent, against which XBZRLE encodes. */
#include "migref.h"

#include <string.h>

#define EMPTY UINT64_MAX

/* A page may be displaced when it is at least this many generations old. */
enum { GENERATIONS_KEPT = 2 };

/* Slots in `size` bytes of pages; 0 if that is no power of two. */
static uint64_t slot_count(uint64_t size, size_t page_size)
{
	uint64_t slots = page_size == 0 ? 0 : size / page_size;

	return (slots & (slots - 1)) == 0 ? slots : 0;
}

size_t mr_page_cache_memory(uint64_t size, size_t page_size)
{
	uint64_t slots = slot_count(size, page_size);

	if (slots == 0 || page_size > SIZE_MAX - 2 * sizeof(uint64_t) ||
	    slots > SIZE_MAX / (page_size + 2 * sizeof(uint64_t)))
		return 0;
	return (size_t)slots * (page_size + 2 * sizeof(uint64_t));
}

void mr_page_cache_init(struct mr_page_cache *cache, uint64_t size, size_t page_size, void *memory)
{
	uint64_t *words = memory;
	uint64_t slots = slot_count(size, page_size);

	cache->slots = slots;
	cache->page_size = page_size;
	cache->addresses = words;
	cache->ages = words + slots;
	cache->pages = (uint8_t *)(words + 2 * slots);
	for (uint64_t slot = 0; slot < slots; slot++) {
		cache->addresses[slot] = EMPTY;
		cache->ages[slot] = 0;
	}
}

static uint64_t slot_of(const struct mr_page_cache *cache, uint64_t address)
{
	return address / cache->page_size & (cache->slots - 1);
}

uint8_t *mr_page_cache_find(struct mr_page_cache *cache, uint64_t address, uint64_t generation)
{
	uint64_t slot = slot_of(cache, address);

	if (cache->addresses[slot] != address)
		return NULL;
	cache->ages[slot] = generation;
	return cache->pages + slot * cache->page_size;
}

bool mr_page_cache_insert(struct mr_page_cache *cache, uint64_t address, const uint8_t *page, uint64_t generation)
{
	uint64_t slot = slot_of(cache, address);
	uint64_t holder = cache->addresses[slot];

	if (holder != EMPTY && holder != address && cache->ages[slot] + GENERATIONS_KEPT > generation)
		return false;
	/* The page may be the cached copy itself, which its owner has just patched. */
	memmove(cache->pages + slot * cache->page_size, page, cache->page_size);
	cache->addresses[slot] = address;
	cache->ages[slot] = generation;
	return true;
}
