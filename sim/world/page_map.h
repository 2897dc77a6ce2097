/* page_map.h: what is known of pages that were ever touched: a sparse table, whose size goes by these alone. */
#ifndef MR_WORLD_PAGE_MAP_H
#define MR_WORLD_PAGE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MR_PAGE_MAP_BLOCKS_MAX = 1024 }; /* blocks are numbered below; pages below 2^53 */

/* One page, by block and number; zeroed but for these when it is first asked for. 16 bytes. */
struct mr_page_entry {
	uint64_t key; /* private: block and page, + 1 */
	uint32_t version;
	uint16_t later; /* the caller's: writes since some moment, counted up to UINT16_MAX */
	uint16_t flags; /* the caller's */
};

/* Takes 16 bytes for each slot, of which a third to two thirds hold a page. */
struct mr_page_map {
	/* private */
	struct mr_page_entry *entries;
	size_t count, capacity; /* a power of two, or 0 */
};

/* Gives the memory back. Zero a map to begin; a cleared one may be used again. */
void mr_page_map_clear(struct mr_page_map *map);
/* The page's entry, or NULL if it was never made. Valid until the next mr_page_map_get() or mr_page_map_clear(). */
struct mr_page_entry *mr_page_map_find(const struct mr_page_map *map, uint32_t block, uint64_t page);
/* The page's entry, made if there was none; NULL if memory is short: then the map is as it was. */
struct mr_page_entry *mr_page_map_get(struct mr_page_map *map, uint32_t block, uint64_t page);
size_t mr_page_map_count(const struct mr_page_map *map);
/* Slots to ask mr_page_map_at() for; an empty one gives NULL. */
size_t mr_page_map_slots(const struct mr_page_map *map);
/* Entry by number from 0, in no order that means anything: for sums and minima only, which no order changes. */
const struct mr_page_entry *mr_page_map_at(const struct mr_page_map *map, size_t slot);
uint32_t mr_page_entry_block(const struct mr_page_entry *entry);
uint64_t mr_page_entry_page(const struct mr_page_entry *entry);

#endif
