/* descriptor.c: a userfaultfd, opened in the best way that the host allows, with its features agreed. */
#include "sim/host/descriptor.h"

#include "sim/host/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/syscall.h>
#include <unistd.h>

const char *mr_host_opening_name(enum mr_host_opening opening)
{
	static const char *const names[] = {
		[MR_HOST_CLOSED] = "none",
		[MR_HOST_DEVICE] = "device",
		[MR_HOST_SYSCALL] = "syscall",
		[MR_HOST_USER_MODE] = "syscall-user-mode",
	};

	return names[opening];
}

static int open_device(int flags)
{
	const int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int file, error;

	if (device < 0)
		return -errno;
	file = ioctl(device, USERFAULTFD_IOC_NEW, flags);
	error = errno;
	close(device);
	return file < 0 ? -error : file;
}

static int open_syscall(int flags)
{
	const long file = syscall(SYS_userfaultfd, flags);

	return file < 0 ? -errno : (int)file;
}

/* HST-001: the device and the plain call catch the kernel's faults, too; the last way does not. */
static int open_any(enum mr_host_opening *opening)
{
	const int flags = O_CLOEXEC | O_NONBLOCK;
	int file;

	*opening = MR_HOST_DEVICE;
	file = open_device(flags);
	if (file >= 0)
		return file;
	*opening = MR_HOST_SYSCALL;
	file = open_syscall(flags);
	if (file != -EPERM)
		return file;
	*opening = MR_HOST_USER_MODE;
	file = open_syscall(flags | UFFD_USER_MODE_ONLY);
	return file == -EINVAL ? -EPERM : file;
}

static int fail_open(int error, struct mr_host_problem *problem)
{
	if (error == ENOSYS)
		return mr_host_fail(problem, error, "userfaultfd: needs a kernel with CONFIG_USERFAULTFD");
	if (error == EPERM || error == EACCES)
		return mr_host_fail(problem, error,
				    "userfaultfd: give the user access to /dev/userfaultfd, or set "
				    "vm.unprivileged_userfaultfd to 1");
	return mr_host_fail(problem, error, "userfaultfd");
}

/* Agrees upon features, and gives all that the kernel offers. Returns 0 or -errno. */
static int agree(int file, uint64_t features, uint64_t *offered)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};

	if (ioctl(file, UFFDIO_API, &api) != 0)
		return -errno;
	*offered = api.features;
	return 0;
}

/* A descriptor agrees once only, so what there is to agree upon is asked on one that is thrown away. */
static int ask(uint64_t *offered)
{
	enum mr_host_opening opening;
	const int file = open_any(&opening);
	int error;

	if (file < 0)
		return file;
	error = agree(file, 0, offered);
	close(file);
	return error;
}

int mr_host_descriptor_open(struct mr_host_descriptor *descriptor, uint64_t needed, uint64_t wanted,
			    struct mr_host_problem *problem)
{
	uint64_t ignored;
	int error;

	*descriptor = (struct mr_host_descriptor){.file = -1};
	error = ask(&descriptor->offered);
	if (error)
		return fail_open(-error, problem);
	if (needed & ~descriptor->offered)
		return mr_host_fail(problem, EOPNOTSUPP,
				    "userfaultfd: needs a newer kernel, without feature bits 0x%" PRIx64,
				    needed & ~descriptor->offered);
	descriptor->features = needed | (wanted & descriptor->offered);
	descriptor->file = open_any(&descriptor->opening);
	if (descriptor->file < 0) {
		error = descriptor->file;
		*descriptor = (struct mr_host_descriptor){.file = -1};
		return fail_open(-error, problem);
	}
	error = agree(descriptor->file, descriptor->features, &ignored);
	if (!error)
		return 0;
	close(descriptor->file);
	*descriptor = (struct mr_host_descriptor){.file = -1};
	return mr_host_fail(problem, -error, "userfaultfd: the kernel refuses features that it offers");
}
