/* descriptor.h: a userfaultfd, opened in the best way that the host allows, with its features agreed. */
#ifndef MR_HOST_DESCRIPTOR_H
#define MR_HOST_DESCRIPTOR_H

#include "sim/host/problem.h"

#include <stdint.h>

enum mr_host_opening {
	MR_HOST_CLOSED,    /* not at all */
	MR_HOST_DEVICE,    /* /dev/userfaultfd */
	MR_HOST_SYSCALL,   /* userfaultfd() */
	MR_HOST_USER_MODE, /* userfaultfd() for faults of user code alone: a system call that meets one gets EFAULT */
};

struct mr_host_descriptor {
	int file; /* non-blocking, close-on-exec; the caller closes it */
	enum mr_host_opening opening;
	uint64_t offered;  /* features (UFFD_FEATURE_*) of this kernel */
	uint64_t features; /* those agreed upon */
};

const char *mr_host_opening_name(enum mr_host_opening opening);
/*
 * Features in `needed` must be there, those in `wanted` are taken if they are. Returns 0 or -errno: -EPERM or -EACCES
 * if the user may not, -ENOSYS if the kernel has none, -EOPNOTSUPP if a feature is missing.
 */
int mr_host_descriptor_open(struct mr_host_descriptor *descriptor, uint64_t needed, uint64_t wanted,
			    struct mr_host_problem *problem);

#endif
