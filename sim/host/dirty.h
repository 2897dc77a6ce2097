/* dirty.h: which pages of a real guest were written since they were last asked for. */
#ifndef MR_HOST_DIRTY_H
#define MR_HOST_DIRTY_H

#include "sim/host/memory.h"

#include <stddef.h>
#include <stdint.h>

enum { MR_DIRTY_PAGE = 4096, MR_DIRTY_BLOCKS_MAX = 1024 }; /* bytes of a target page */

enum mr_dirty_method {
	MR_DIRTY_BEST, /* the first of those below that this host has */
	MR_DIRTY_SCAN, /* the kernel notes writes by itself and is asked with PAGEMAP_SCAN: since 6.7 */
	/* A thread of the log takes a fault for each page written first, and lets the writer go on: since 6.4. */
	MR_DIRTY_FAULTS,
	/* The same, of a kernel that can only protect pages that are there: each is read beforehand. Since 5.19. */
	MR_DIRTY_FAULTS_POPULATED,
	MR_DIRTY_METHOD_COUNT,
};

/* For a manifest: one word. */
const char *mr_dirty_method_name(enum mr_dirty_method method);

/*
 * A log of writes through the mappings of its blocks, by user code or the kernel, whatever the thread. It goes by pages
 * of the block's page size: one byte written dirties each target page of its huge page. No page of a block may be
 * discarded while the log runs, since that ends its protection. Where faults are taken and the host catches them of
 * user code alone (MR_HOST_USER_MODE), a system call that would write to a page first fails with EFAULT.
 */
struct mr_dirty;

/*
 * Begins with nothing dirty: what was written before it returned may show or not. The blocks must outlive the log, and
 * belong to no other userfaultfd. Returns NULL with the problem if the host does not have the method.
 */
struct mr_dirty *mr_dirty_start(const struct mr_host_memory *const *blocks, size_t count, enum mr_dirty_method method,
				struct mr_host_problem *problem);
/* Ends the log; what was not fetched is lost. Nobody waits any more. NULL is allowed. */
void mr_dirty_stop(struct mr_dirty *dirty);
/* The method in use, never MR_DIRTY_BEST. */
enum mr_dirty_method mr_dirty_method(const struct mr_dirty *dirty);

/*
 * Sets the bit of each target page of the range that was written, in the block's bitmap (page n is bit n % 64 of word
 * n / 64), and forgets them; leaves the other bits alone. Adds their number to `pages`. A write while this runs shows
 * now or in the next fetch, and a page's content read afterwards is not older than the write that showed. The range is
 * in the block's page size. Any thread; two fetches of one range at a time share what they find. Returns 0 or -errno:
 * then what was found so far is in the bitmap.
 */
int mr_dirty_fetch(struct mr_dirty *dirty, size_t block, uint64_t offset, uint64_t length, uint64_t *bitmap,
		   uint64_t *pages, struct mr_host_problem *problem);

#endif
