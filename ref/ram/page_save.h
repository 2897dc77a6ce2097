/*
 * page_save.h: what becomes of a dirty target page at the source: a zero mark, its bytes, an XBZRLE encoding, or
 * nothing.
 *
 * Nothing here is sent or allocated. The caller lays the memory out and makes the record from what it is given.
 */
#ifndef MR_PAGE_SAVE_H
#define MR_PAGE_SAVE_H

#include "outgoing.h"

enum mr_saved {
	MR_SAVED_NOTHING, /* XBZRLE: the destination has it already (SRC-023) */
	MR_SAVED_ZERO,
	MR_SAVED_PAGE,
	MR_SAVED_XBZRLE,
};

/* Statistics, as query-migrate has them (SRC-035). Whoever sends pages otherwise adds them here. */
struct mr_page_counts {
	uint64_t duplicate, normal; /* pages: sent as ZERO, as PAGE */
	uint64_t xbzrle_pages, xbzrle_bytes, xbzrle_cache_miss, xbzrle_overflow;
};

struct mr_page_saver {
	const struct mr_outgoing_memory *guest;
	mr_zero_function *is_zero;            /* NULL at first; the caller's */
	size_t page_size;                     /* target page, bytes */
	bool zero_detection;                  /* of mr_page_save(); the caller may change it at any time (SRC-018) */
	bool xbzrle;                          /* the capability is on */
	bool xbzrle_started;                  /* a pass is over (SRC-020) */
	bool xbzrle_in_postcopy, counts_hits; /* of the profile */
	uint64_t generation;                  /* dirty-sync-count, kept up to date by the caller (SRC-021) */
	struct mr_page_cache cache;
	uint8_t *current;  /* a page as it is encoded */
	uint8_t *encoding; /* a page's size */
	uint8_t *zeros;    /* a page of them */
	struct mr_page_counts counts;
};

/* Which page, and when. */
struct mr_page_place {
	unsigned actor;         /* whom mr_outgoing_memory.page is told */
	uint32_t block;         /* the same */
	uint64_t offset;        /* the same: bytes, of a target page in its block */
	uint64_t cache_address; /* mr_outgoing_block.cache_offset + offset */
	bool last_stage;        /* the END pass of precopy, not of COLO (SRC-024) */
	bool postcopy;
};

/* Bytes of memory for mr_page_saver_init(); cache_size 0: no XBZRLE. False if no cache can have that size. */
bool mr_page_saver_size(size_t page_size, uint64_t cache_size, size_t *bytes);
/* `memory`: aligned for uint64_t, of that many bytes. Zero detection is on. */
void mr_page_saver_init(struct mr_page_saver *saver, const struct mr_profile *profile,
			const struct mr_outgoing_memory *guest, size_t page_size, uint64_t cache_size, void *memory);
/* A pass over all blocks is complete: XBZRLE begins, if it is on. */
void mr_page_saver_pass_over(struct mr_page_saver *saver);
/* The list of blocks changed, or the migration is resumed: XBZRLE waits for the end of a pass again. */
void mr_page_saver_reset(struct mr_page_saver *saver);

/*
 * The whole way of a page. `data`: what follows the record's header, or the header of the encoding; empty for NOTHING
 * and ZERO. It lives until the next call, as long as the guest's page does.
 */
enum mr_saved mr_page_save(struct mr_page_saver *saver, const struct mr_page_place *place, struct mr_bytes *data);
/* Its two halves, for whoever has something between them. True: the page is ZERO, counted and remembered as such. */
bool mr_page_save_zero(struct mr_page_saver *saver, const struct mr_page_place *place);
/* The other half, which never tests for zero: NOTHING, PAGE or XBZRLE. */
enum mr_saved mr_page_save_content(struct mr_page_saver *saver, const struct mr_page_place *place,
				   struct mr_bytes *data);
/* After XBZRLE: the whole record, header and name included, had so many bytes. */
void mr_page_count_xbzrle(struct mr_page_saver *saver, uint64_t record_bytes);

#endif
