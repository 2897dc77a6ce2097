/* blocktime.h: what the machine keeps about vCPUs that wait for pages (BLK-001). */
#ifndef MR_BLOCKTIME_H
#define MR_BLOCKTIME_H

#include "incoming.h"

/* A vCPU: up to 10.0 the one page that it waits for, from 10.1 on how many of its faults are open. */
struct vcpu {
	uint64_t thread; /* 0: not told */
	bool waits;
	uint32_t block;
	uint64_t offset;
	uint32_t begin; /* ms */
	uint8_t open;   /* as wide as QEMU's counter */
	uint64_t faults;
	uint64_t sum; /* ms up to 10.0, ns from 10.1 on */
};

/* A fault that is open, from 10.1 on; kept in the order of the faults. */
struct open_fault {
	uint32_t block;
	uint32_t vcpu; /* the number of vCPUs: of another thread */
	uint64_t offset;
	uint64_t begin; /* ns */
};

struct blocktime {
	uint64_t now; /* ns */
	uint32_t vcpu_count, open_max, open_count;
	uint32_t waiting;           /* vCPUs that wait */
	uint64_t last_begin, total; /* ms up to 10.0, ns from 10.1 on */
	uint64_t other_faults, other_sum;
	uint64_t lost;
	uint64_t buckets[MR_BLOCKTIME_BUCKETS];
};

/* A fault was told: `thread` begins to wait for the host page at `offset`, up to 10.0. */
void mr_blocktime_told(struct mr_incoming *incoming, uint32_t block, uint64_t offset, uint64_t thread);
/* A fault was judged, and the page is not received: the same from 10.1 on. */
void mr_blocktime_missed(struct mr_incoming *incoming, uint32_t block, uint64_t offset, uint64_t thread);
/* The host page at `offset` was marked. */
void mr_blocktime_marked(struct mr_incoming *incoming, uint32_t block, uint64_t offset);

#endif
