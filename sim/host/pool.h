/* pool.h: what the kernel's pools of huge pages hold. */
#ifndef MR_HOST_POOL_H
#define MR_HOST_POOL_H

#include <stdint.h>

struct mr_host_pool {
	uint64_t page_size;
	uint64_t total, free; /* pages */
	uint64_t reserved;    /* of the free ones: promised to a mapping, though not yet in it */
};

/* Returns 0, or -errno: -ENOENT if the kernel has no pages of this size (a power of two, bytes). */
int mr_host_pool_read(uint64_t page_size, struct mr_host_pool *pool);

#endif
