/* probe.c: what this host offers for migrating a real guest, and what to do about what it does not. */
#include "sim/host/probe.h"

#include "sim/host/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* ---- Trying ---- */

static int read_unprivileged(void)
{
	FILE *file = fopen("/proc/sys/vm/unprivileged_userfaultfd", "re");
	int value;

	if (!file)
		return -1;
	if (fscanf(file, "%d", &value) != 1) /* NOLINT(cert-err34-c): the kernel wrote it */
		value = -1;
	fclose(file);
	return value;
}

static bool has_scan(void)
{
	struct mr_scan_argument argument = {0};
	const int file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	bool known;

	if (file < 0)
		return false;
	known = ioctl(file, MR_SCAN_IOCTL, &argument) == 0 || errno != ENOTTY;
	close(file);
	return known;
}

/* Returns errno. */
static int try_register(int file, const struct mr_host_memory *memory, uint64_t mode, uint64_t *ioctls)
{
	struct uffdio_register request = {
		.range = {.start = (uintptr_t)memory->data, .len = memory->size},
		.mode = mode,
	};

	if (ioctl(file, UFFDIO_REGISTER, &request) != 0)
		return errno;
	*ioctls = request.ioctls;
	ioctl(file, UFFDIO_UNREGISTER, &request.range);
	return 0;
}

static void probe_kind(struct mr_host_kind_probe *probe, enum mr_host_kind kind, int file)
{
	struct mr_host_memory memory;

	probe->allocate_error = -mr_host_memory_allocate(&memory, kind, mr_host_kind_page_size(kind), NULL);
	if (probe->allocate_error)
		return;
	if (file >= 0) {
		probe->missing_error =
			try_register(file, &memory, UFFDIO_REGISTER_MODE_MISSING, &probe->missing_ioctls);
		probe->protect_error = try_register(file, &memory, UFFDIO_REGISTER_MODE_WP, &probe->protect_ioctls);
	}
	mr_host_memory_free(&memory);
}

void mr_host_probe(struct mr_host_probe *probe)
{
	struct mr_host_descriptor descriptor;
	struct utsname name;

	*probe = (struct mr_host_probe){.page_size = (uint64_t)sysconf(_SC_PAGESIZE)};
	if (uname(&name) == 0)
		snprintf(probe->kernel, sizeof(probe->kernel), "%s", name.release);
	probe->unprivileged = read_unprivileged();
	probe->scan = has_scan();
	/* Writes to some kinds of memory are caught only where it was asked for. */
	probe->open_error = -mr_host_descriptor_open(
		&descriptor, 0, UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM, NULL);
	probe->opening = descriptor.opening;
	probe->features = descriptor.offered;
	for (unsigned kind = 0; kind < MR_HOST_KIND_COUNT; kind++) {
		const uint64_t page_size = mr_host_kind_page_size((enum mr_host_kind)kind);

		probe_kind(&probe->kinds[kind], (enum mr_host_kind)kind, descriptor.file);
		if (page_size != probe->page_size && mr_host_pool_read(page_size, &probe->pools[kind]) != 0)
			probe->pools[kind].page_size = 0;
	}
	if (!probe->open_error)
		close(descriptor.file);
}

/* ---- Explaining ---- */

static bool lacks(char line[MR_HOST_LINE], const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool lacks(char line[MR_HOST_LINE], const char *format, ...)
{
	va_list arguments;

	if (!line)
		return false;
	va_start(arguments, format);
	vsnprintf(line, MR_HOST_LINE, format, arguments);
	va_end(arguments);
	return false;
}

static bool has_userfaultfd(const struct mr_host_probe *probe, char line[MR_HOST_LINE])
{
	if (!probe->open_error)
		return true;
	if (probe->open_error == ENOSYS)
		return lacks(line, "no userfaultfd: needs a kernel with CONFIG_USERFAULTFD");
	if (probe->open_error == EPERM || probe->open_error == EACCES)
		return lacks(line, "no userfaultfd: give the user access to /dev/userfaultfd, or run "
				   "`sysctl vm.unprivileged_userfaultfd=1`; a sandbox may forbid the system call, too");
	return lacks(line, "no userfaultfd: %s", strerrordesc_np(probe->open_error));
}

static bool has_memory(const struct mr_host_probe *probe, enum mr_host_kind kind, char line[MR_HOST_LINE])
{
	const struct mr_host_pool *pool = &probe->pools[kind];
	const int error = probe->kinds[kind].allocate_error;
	const uint64_t size = mr_host_kind_page_size(kind);

	if (!error)
		return true;
	if (size == probe->page_size)
		return lacks(line, "no %s memory: %s", mr_host_kind_name(kind), strerrordesc_np(error));
	if (pool->page_size == 0)
		return lacks(line, "no %s memory: the kernel has no huge pages of %" PRIu64 " KiB",
			     mr_host_kind_name(kind), size >> 10);
	return lacks(line,
		     "no %s memory, %" PRIu64 " of %" PRIu64 " huge pages free: run `echo N "
		     ">/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages`",
		     mr_host_kind_name(kind), pool->free - pool->reserved, pool->total, size >> 10);
}

static bool has_kind(const struct mr_host_probe *probe, enum mr_host_kind kind, char line[MR_HOST_LINE])
{
	return has_userfaultfd(probe, line) && has_memory(probe, kind, line);
}

static bool has_postcopy(const struct mr_host_probe *probe, enum mr_host_kind kind, char line[MR_HOST_LINE])
{
	const uint64_t needed = UINT64_C(1) << _UFFDIO_WAKE | UINT64_C(1) << _UFFDIO_COPY;
	const struct mr_host_kind_probe *tried = &probe->kinds[kind];

	if (!has_kind(probe, kind, line))
		return false;
	if (!tried->missing_error && (tried->missing_ioctls & needed) == needed)
		return true;
	return lacks(line, "missing pages of %s memory cannot be caught: needs a kernel from 4.11 on",
		     mr_host_kind_name(kind));
}

static bool has_zero_page(const struct mr_host_probe *probe, enum mr_host_kind kind, char line[MR_HOST_LINE])
{
	if (!has_postcopy(probe, kind, line))
		return false;
	if (probe->kinds[kind].missing_ioctls >> _UFFDIO_ZEROPAGE & 1)
		return true;
	return lacks(line, "zero pages of %s memory are placed as copies of zeros: the kernel has no other way",
		     mr_host_kind_name(kind));
}

static bool has_kernel_faults(const struct mr_host_probe *probe, char line[MR_HOST_LINE])
{
	if (!has_userfaultfd(probe, line))
		return false;
	if (probe->opening != MR_HOST_USER_MODE)
		return true;
	return lacks(line, "faults in system calls are not caught: give the user access to /dev/userfaultfd, or run "
			   "`sysctl vm.unprivileged_userfaultfd=1`");
}

static bool has_feature(const struct mr_host_probe *probe, uint64_t feature, const char *what, const char *since,
			char line[MR_HOST_LINE])
{
	if ((probe->features & feature) == feature)
		return true;
	return lacks(line, "%s: needs a kernel from %s on, this is %s", what, since, probe->kernel);
}

static bool has_dirty(const struct mr_host_probe *probe, enum mr_host_kind kind, char line[MR_HOST_LINE])
{
	const uint64_t features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;

	if (!has_kind(probe, kind, line))
		return false;
	if (!has_feature(probe, features, "writes cannot be caught", "5.19", line))
		return false;
	if (!probe->kinds[kind].protect_error && probe->kinds[kind].protect_ioctls >> _UFFDIO_WRITEPROTECT & 1)
		return true;
	return lacks(line, "writes to %s memory cannot be caught on this kernel and processor",
		     mr_host_kind_name(kind));
}

static bool has_dirty_scan(const struct mr_host_probe *probe, enum mr_host_kind kind, char line[MR_HOST_LINE])
{
	if (!has_dirty(probe, kind, line))
		return false;
	if (!probe->scan)
		return lacks(line, "no PAGEMAP_SCAN: needs a kernel from 6.7 on, this is %s", probe->kernel);
	return has_feature(probe, UFFD_FEATURE_WP_ASYNC, "the kernel keeps no notes of writes", "6.7", line);
}

bool mr_host_has(const struct mr_host_probe *probe, enum mr_host_want want, enum mr_host_kind kind,
		 char line[MR_HOST_LINE])
{
	switch (want) {
	case MR_HOST_WANT_MEMORY:
		return has_memory(probe, kind, line);
	case MR_HOST_WANT_POSTCOPY:
		return has_postcopy(probe, kind, line);
	case MR_HOST_WANT_ZERO_PAGE:
		return has_zero_page(probe, kind, line);
	case MR_HOST_WANT_KERNEL_FAULTS:
		return has_kernel_faults(probe, line);
	case MR_HOST_WANT_THREADS:
		return has_userfaultfd(probe, line) &&
		       has_feature(probe, UFFD_FEATURE_THREAD_ID, "no thread ids", "4.14", line);
	case MR_HOST_WANT_DIRTY_SCAN:
		return has_dirty_scan(probe, kind, line);
	case MR_HOST_WANT_DIRTY_FAULTS:
		return has_dirty(probe, kind, line);
	default:
		return lacks(line, "nothing of the number %d is known", (int)want);
	}
}
