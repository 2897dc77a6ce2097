/*
 * pretend_guest.h: a guest that seems to run: some of its pages are first shown altered and written later, one pass
 * after the other, until each is what it really is. So a migration of memory that stands still has dirty pages.
 *
 * What is shown and written, and when, follows from the seed alone.
 */
#ifndef MR_HOST_PRETEND_GUEST_H
#define MR_HOST_PRETEND_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MR_PRETEND_REWRITES_MAX = 255 };

struct mr_pretend_config {
	uint64_t seed;
	uint32_t stale;    /* of a thousand pages, so many are first shown altered */
	uint32_t rewrites; /* how often each of those is written until it is what it is: 1 to MR_PRETEND_REWRITES_MAX */
	size_t page_size;  /* bytes, a multiple of 64 */
};

struct mr_pretend_guest;

/* Of blocks with so many pages each. NULL if memory is short. */
struct mr_pretend_guest *mr_pretend_guest_new(const struct mr_pretend_config *config, const uint64_t *pages,
					      uint32_t block_count);
/* NULL is allowed. */
void mr_pretend_guest_free(struct mr_pretend_guest *guest);

/* Pages `first` to `first + count - 1` of a block were written. */
typedef void mr_pretend_dirty(void *argument, uint32_t block, uint64_t first, uint64_t count);

/* The guest runs for a while, and writes to about half of the pages that are still altered. */
void mr_pretend_guest_run(struct mr_pretend_guest *guest, mr_pretend_dirty *dirty, void *argument);
/* It stops: every page is what it really is from now on. */
void mr_pretend_guest_stop(struct mr_pretend_guest *guest, mr_pretend_dirty *dirty, void *argument);
/* Pages that are still shown altered. */
uint64_t mr_pretend_guest_stale(const struct mr_pretend_guest *guest);
/* Whether the page is shown altered now. */
bool mr_pretend_guest_alters(const struct mr_pretend_guest *guest, uint32_t block, uint64_t page);
/* What is shown then, of a page that really is `truth`. */
void mr_pretend_guest_show(const struct mr_pretend_guest *guest, uint32_t block, uint64_t page, const uint8_t *truth,
			   uint8_t *out);

#endif
