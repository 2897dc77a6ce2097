/* memory.h: the memory of one block of a real guest, of any kind that QEMU uses. */
#ifndef MR_HOST_MEMORY_H
#define MR_HOST_MEMORY_H

#include "sim/host/problem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mr_host_kind {
	MR_HOST_ANONYMOUS, /* private, in the page size of the host, transparent huge pages welcome */
	MR_HOST_SHARED,    /* a memfd, in the page size of the host */
	MR_HOST_HUGE_2M,   /* a memfd in huge pages of 2 MiB */
	MR_HOST_HUGE_1G,   /* a memfd in huge pages of 1 GiB */
	MR_HOST_KIND_COUNT,
};

const char *mr_host_kind_name(enum mr_host_kind kind);
/* How a user calls real memory whose ordinary pages are of this kind: "uffd", "uffd-shared". */
const char *mr_host_backing_name(enum mr_host_kind ordinary);
/* ANONYMOUS or SHARED; false if no memory is so called. */
bool mr_host_backing_by_name(const char *name, enum mr_host_kind *ordinary);
/* The kind of a block by its pages: huge ones, or the ordinary ones. */
enum mr_host_kind mr_host_kind_of(uint64_t page_size, enum mr_host_kind ordinary);
/* Bytes: the unit of faults, discards and placing. */
uint64_t mr_host_kind_page_size(enum mr_host_kind kind);

struct mr_host_memory {
	enum mr_host_kind kind;
	uint8_t *data; /* what the guest touches; `size` bytes, on a border of `page_size` */
	uint64_t size, page_size;
	/* private */
	int file;    /* of the shared kinds, else -1 */
	int pagemap; /* of the private kind, else -1 */
	bool small;  /* transparent huge pages are forbidden */
};

/*
 * `size` bytes that read as zero and take up nothing yet, but for huge pages, which are reserved in their pool. Returns
 * 0 or -errno: -EINVAL if the size is 0 or no multiple of the page size, -ENOMEM if the host has too little. What
 * failed needs no mr_host_memory_free().
 */
int mr_host_memory_allocate(struct mr_host_memory *memory, enum mr_host_kind kind, uint64_t size,
			    struct mr_host_problem *problem);
/* No thread may touch the memory any more. */
void mr_host_memory_free(struct mr_host_memory *memory);

/*
 * Takes the pages of a range away: they read as zero, and fault where a userfaultfd catches that. The first discard
 * forbids transparent huge pages in the whole block until mr_host_memory_allow_huge(). A discarded huge page goes back
 * to its pool, and nothing is reserved for it any more. Returns 0, -EINVAL unless the range is whole pages within the
 * block, or another -errno.
 */
int mr_host_memory_discard(struct mr_host_memory *memory, uint64_t offset, uint64_t length,
			   struct mr_host_problem *problem);
/* The kernel may join small pages to huge ones again: when the migration has ended. Advice: it cannot fail. */
void mr_host_memory_allow_huge(struct mr_host_memory *memory);

/*
 * Reads without a fault, whatever a userfaultfd catches: a page that is not there reads as zero and stays away. Vcpus
 * may write meanwhile. Returns 0, -EINVAL unless the range is within the block, or another -errno.
 */
int mr_host_memory_read(const struct mr_host_memory *memory, uint64_t offset, void *bytes, uint64_t length,
			struct mr_host_problem *problem);

/*
 * Copies from and to memory that other threads use at the same time: no aligned 8 bytes are torn, and nothing else is
 * promised. May fault. Writes count as the guest's where they are logged.
 */
void mr_host_load(void *to, const void *guest, size_t length);
void mr_host_store(void *guest, const void *from, size_t length);

#endif
