/* kernel.h: numbers of the kernel's interface that the headers of an older distribution do not have yet. */
#ifndef MR_HOST_KERNEL_H
#define MR_HOST_KERNEL_H

#include <linux/userfaultfd.h>
#include <stdint.h>
#include <sys/ioctl.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM (1 << 12)
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

/* PAGEMAP_SCAN, since 6.7, under names of our own: one answer is a run of pages with equal categories. */
struct mr_scan_region {
	uint64_t start, end, categories;
};

struct mr_scan_argument {
	uint64_t size; /* of this */
	uint64_t flags;
	uint64_t start, end, walk_end; /* addresses; the last is where the kernel stopped */
	uint64_t regions, region_count, pages_max;
	uint64_t inverted, all_of, any_of, told; /* masks of categories */
};

#define MR_SCAN_IOCTL _IOWR('f', 16, struct mr_scan_argument)

enum {
	MR_SCAN_PROTECT = 1 << 0,     /* flag: protect what matches again, in the same step */
	MR_SCAN_CHECK_ASYNC = 1 << 1, /* flag: fail with EPERM where writes are not watched */
	MR_SCAN_WRITTEN = 1 << 1,     /* category */
};

#endif
