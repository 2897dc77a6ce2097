/* probe.h: what this host offers for migrating a real guest, and what to do about what it does not. */
#ifndef MR_HOST_PROBE_H
#define MR_HOST_PROBE_H

#include "sim/host/descriptor.h"
#include "sim/host/memory.h"
#include "sim/host/pool.h"

#include <stdbool.h>
#include <stdint.h>

enum { MR_HOST_LINE = 240 };

/* What one kind of memory can do here, as one page of it showed. */
struct mr_host_kind_probe {
	int allocate_error;      /* errno; 0 if a page could be had. Else what follows is unknown, and 0 */
	int missing_error;       /* errno of catching faults of pages that are not there; 0 if it works */
	int protect_error;       /* errno of catching writes; 0 if it works */
	uint64_t missing_ioctls; /* bit n: ioctl n (_UFFDIO_*) is allowed where missing pages fault */
	uint64_t protect_ioctls; /* the same where writes fault */
};

struct mr_host_probe {
	char kernel[65];    /* release, as uname -r */
	uint64_t page_size; /* bytes */
	enum mr_host_opening opening;
	int open_error;    /* errno, if no userfaultfd could be opened; then all that needs one is 0 */
	int unprivileged;  /* vm.unprivileged_userfaultfd; -1 if the kernel has no such setting */
	uint64_t features; /* UFFD_FEATURE_* that the kernel offers */
	bool scan;         /* ioctl PAGEMAP_SCAN */
	struct mr_host_kind_probe kinds[MR_HOST_KIND_COUNT];
	struct mr_host_pool pools[MR_HOST_KIND_COUNT]; /* by kind; page_size 0 for none */
};

/* Tries everything on memory of its own, and leaves nothing behind. */
void mr_host_probe(struct mr_host_probe *probe);

/* What somebody may want of a host, for memory of one kind where it matters. */
enum mr_host_want {
	MR_HOST_WANT_MEMORY,        /* at least one page of the kind */
	MR_HOST_WANT_POSTCOPY,      /* to catch missing pages, and to place and wake */
	MR_HOST_WANT_ZERO_PAGE,     /* to place zero pages without a copy */
	MR_HOST_WANT_KERNEL_FAULTS, /* to catch faults in system calls, e.g. of virtual processors */
	MR_HOST_WANT_THREADS,       /* to learn which thread faults */
	MR_HOST_WANT_DIRTY_SCAN,    /* to log writes by PAGEMAP_SCAN */
	MR_HOST_WANT_DIRTY_FAULTS,  /* to log writes by faults */
	MR_HOST_WANT_COUNT,
};

/* Whether the host has it; else `line` (NULL if not wanted) says what is missing and what the user can do. */
bool mr_host_has(const struct mr_host_probe *probe, enum mr_host_want want, enum mr_host_kind kind,
		 char line[MR_HOST_LINE]);

#endif
