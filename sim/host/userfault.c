/* userfault.c: the faults of a guest whose pages are still to come, and the placing of the pages. */
#include "sim/host/userfault.h"

#include "sim/host/kernel.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BATCH = 64, AGAIN_MAX = 1000 };

struct block {
	const struct mr_host_memory *memory;
	uint64_t ioctls; /* bit n: the kernel allows ioctl n here */
};

struct mr_userfault {
	struct mr_host_descriptor descriptor;
	int ending; /* an eventfd that is never read */
	uint32_t count;
	uint32_t last;       /* the block of the last event: the reader's own */
	uint8_t *zeros;      /* as long as the longest page; takes up one page, since nobody writes */
	uint64_t zeros_size; /* 0 if no block needs them */
	struct block blocks[MR_USERFAULT_BLOCKS_MAX];
};

/* ---- There and gone ---- */

struct mr_userfault *mr_userfault_open(struct mr_host_problem *problem)
{
	struct mr_userfault *userfault = calloc(1, sizeof(*userfault));

	if (!userfault) {
		mr_host_fail(problem, ENOMEM, "userfaultfd");
		return NULL;
	}
	if (mr_host_descriptor_open(&userfault->descriptor, 0, UFFD_FEATURE_THREAD_ID, problem) != 0) {
		free(userfault);
		return NULL;
	}
	userfault->ending = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (userfault->ending < 0) {
		mr_host_fail(problem, errno, "eventfd");
		mr_userfault_close(userfault);
		return NULL;
	}
	return userfault;
}

void mr_userfault_close(struct mr_userfault *userfault)
{
	if (!userfault)
		return;
	close(userfault->descriptor.file);
	if (userfault->ending >= 0)
		close(userfault->ending);
	if (userfault->zeros)
		munmap(userfault->zeros, userfault->zeros_size);
	free(userfault);
}

enum mr_host_opening mr_userfault_opening(const struct mr_userfault *userfault)
{
	return userfault->descriptor.opening;
}

int mr_userfault_descriptor(const struct mr_userfault *userfault)
{
	return userfault->descriptor.file;
}

/* ---- Blocks ---- */

static bool allows(const struct block *block, unsigned ioctl_number)
{
	return block->ioctls >> ioctl_number & 1;
}

static struct uffdio_range range_of(const struct block *block, uint64_t offset, uint64_t length)
{
	return (struct uffdio_range){.start = (uintptr_t)block->memory->data + offset, .len = length};
}

/* HST-010: a block whose pages the kernel cannot zero is given copies of zeros. */
static int make_zeros(struct mr_userfault *userfault, uint64_t size)
{
	void *zeros;

	if (size <= userfault->zeros_size)
		return 0;
	zeros = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (zeros == MAP_FAILED)
		return -errno;
	madvise(zeros, size, MADV_NOHUGEPAGE);
	if (userfault->zeros)
		munmap(userfault->zeros, userfault->zeros_size);
	userfault->zeros = zeros;
	userfault->zeros_size = size;
	return 0;
}

static int unregister(const struct mr_userfault *userfault, const struct block *block)
{
	struct uffdio_range range = range_of(block, 0, block->memory->size);

	return ioctl(userfault->descriptor.file, UFFDIO_UNREGISTER, &range) == 0 ? 0 : -errno;
}

static int fail_register(const struct mr_host_memory *memory, int error, struct mr_host_problem *problem)
{
	const char *kind = mr_host_kind_name(memory->kind);

	if (error == EBUSY)
		return mr_host_fail(problem, error, "%s memory belongs to another userfaultfd", kind);
	if (error == EINVAL)
		return mr_host_fail(problem, error, "this kernel catches no faults in %s memory", kind);
	return mr_host_fail(problem, error, "catching faults in %s memory", kind);
}

static int register_block(struct mr_userfault *userfault, struct block *block, struct mr_host_problem *problem)
{
	const struct mr_host_memory *memory = block->memory;
	struct uffdio_register request = {
		.range = range_of(block, 0, memory->size),
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int error;

	if (ioctl(userfault->descriptor.file, UFFDIO_REGISTER, &request) != 0)
		return fail_register(memory, errno, problem);
	block->ioctls = request.ioctls;
	error = allows(block, _UFFDIO_COPY) && allows(block, _UFFDIO_WAKE) ? 0 : -EINVAL;
	if (!error && !allows(block, _UFFDIO_ZEROPAGE))
		error = make_zeros(userfault, memory->page_size);
	if (!error)
		return 0;
	unregister(userfault, block);
	return fail_register(memory, -error, problem);
}

int mr_userfault_add(struct mr_userfault *userfault, const struct mr_host_memory *memory, uint32_t *block,
		     struct mr_host_problem *problem)
{
	struct block *added = &userfault->blocks[userfault->count];
	int error;

	if (userfault->count == MR_USERFAULT_BLOCKS_MAX)
		return mr_host_fail(problem, E2BIG, "at most %d blocks", MR_USERFAULT_BLOCKS_MAX);
	*added = (struct block){.memory = memory};
	error = register_block(userfault, added, problem);
	if (!error)
		*block = userfault->count++;
	return error;
}

int mr_userfault_remove(struct mr_userfault *userfault, uint32_t block, struct mr_host_problem *problem)
{
	int error;

	if (block >= userfault->count)
		return mr_host_fail(problem, EINVAL, "block %" PRIu32 " of %" PRIu32, block, userfault->count);
	error = unregister(userfault, &userfault->blocks[block]);
	return error ? mr_host_fail(problem, -error, "giving block %" PRIu32 " back", block) : 0;
}

/* ---- Events ---- */

int mr_userfault_wait(const struct mr_userfault *userfault, int milliseconds)
{
	struct pollfd files[] = {
		{.fd = userfault->descriptor.file, .events = POLLIN},
		{.fd = userfault->ending, .events = POLLIN},
	};
	const int ready = poll(files, 2, milliseconds);

	if (ready < 0)
		return errno == EINTR ? 0 : -errno;
	if (files[0].revents & (POLLERR | POLLNVAL))
		return -EIO;
	return (files[0].revents & POLLIN ? MR_USERFAULT_READABLE : 0) |
	       (files[1].revents & POLLIN ? MR_USERFAULT_ENDED : 0);
}

void mr_userfault_end(const struct mr_userfault *userfault)
{
	const int before = errno;

	eventfd_write(userfault->ending, 1);
	errno = before;
}

static bool holds(const struct block *block, uint64_t address)
{
	return address - (uintptr_t)block->memory->data < block->memory->size;
}

/* The block of an address; faults tend to stay in one. */
static const struct block *find(struct mr_userfault *userfault, uint64_t address)
{
	if (userfault->count && holds(&userfault->blocks[userfault->last], address))
		return &userfault->blocks[userfault->last];
	for (uint32_t i = 0; i < userfault->count; i++) {
		if (!holds(&userfault->blocks[i], address))
			continue;
		userfault->last = i;
		return &userfault->blocks[i];
	}
	return NULL;
}

static int translate(struct mr_userfault *userfault, const struct uffd_msg *message, struct mr_userfault_event *event)
{
	const uint64_t address = message->arg.pagefault.address;
	const struct block *block = find(userfault, address);

	if (!block)
		return -EFAULT;
	event->block = userfault->last;
	event->thread = message->arg.pagefault.feat.ptid;
	event->offset = (address - (uintptr_t)block->memory->data) & ~(block->memory->page_size - 1);
	event->write = message->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE;
	return 0;
}

int mr_userfault_read(struct mr_userfault *userfault, struct mr_userfault_event *events, size_t max)
{
	struct uffd_msg messages[BATCH];
	const size_t room = max < BATCH ? max : BATCH;
	const ssize_t length = read(userfault->descriptor.file, messages, room * sizeof(*messages));
	int count = 0;

	if (length < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	for (size_t i = 0; i < (size_t)length / sizeof(*messages); i++) {
		int error;

		if (messages[i].event != UFFD_EVENT_PAGEFAULT)
			continue;
		error = translate(userfault, &messages[i], &events[count]);
		if (error)
			return error;
		count++;
	}
	return count;
}

/* ---- Placing ---- */

/* Pages to fill: from `bytes` on, or with zeros if it is NULL. */
struct job {
	const struct mr_userfault *userfault;
	const struct block *block;
	const uint8_t *bytes;
	unsigned again; /* refusals one after the other that pass by themselves */
};

/* One system call. Returns the bytes done, or -errno. */
static int64_t copy(const struct job *job, uint64_t offset, const uint8_t *from, uint64_t length)
{
	struct uffdio_copy request = {
		.dst = (uintptr_t)job->block->memory->data + offset,
		.src = (uintptr_t)from,
		.len = length,
	};

	if (ioctl(job->userfault->descriptor.file, UFFDIO_COPY, &request) == 0)
		return (int64_t)length;
	return errno == EAGAIN && request.copy > 0 ? request.copy : -errno;
}

static int64_t zero(const struct job *job, uint64_t offset, uint64_t length)
{
	struct uffdio_zeropage request = {.range = range_of(job->block, offset, length)};

	if (!allows(job->block, _UFFDIO_ZEROPAGE))
		return copy(job, offset, job->userfault->zeros, job->block->memory->page_size);
	if (ioctl(job->userfault->descriptor.file, UFFDIO_ZEROPAGE, &request) == 0)
		return (int64_t)length;
	return errno == EAGAIN && request.zeropage > 0 ? request.zeropage : -errno;
}

static int wake(const struct mr_userfault *userfault, const struct block *block, uint64_t offset, uint64_t length)
{
	struct uffdio_range range = range_of(block, offset, length);

	return ioctl(userfault->descriptor.file, UFFDIO_WAKE, &range) == 0 ? 0 : -errno;
}

/*
 * What a refusal leads to: 0 to go on, else -errno. HST-009: a page that is there wakes nobody when it is refused, and
 * who waits for it may do so since before it came.
 */
static int refused(struct job *job, int error, uint64_t offset, struct mr_userfault_placed *placed)
{
	const uint64_t page_size = job->block->memory->page_size;

	if (error == EEXIST) {
		placed->present += page_size;
		return wake(job->userfault, job->block, offset, page_size);
	}
	if (error != EAGAIN && error != EINTR)
		return -error;
	if (++job->again > AGAIN_MAX)
		return -error;
	sched_yield();
	return 0;
}

/* HST-008: a call that stops on the way has filled and woken what it told, and no more. */
static int fill(struct job *job, uint64_t offset, uint64_t length, struct mr_userfault_placed *placed)
{
	for (;;) {
		const uint64_t at = placed->placed + placed->present;
		int64_t done;
		int error;

		if (at >= length)
			return 0;
		done = job->bytes ? copy(job, offset + at, job->bytes + at, length - at)
				  : zero(job, offset + at, length - at);
		if (done >= 0) {
			placed->placed += (uint64_t)done;
			job->again = 0;
			continue;
		}
		error = refused(job, (int)-done, offset + at, placed);
		if (error)
			return error;
	}
}

static const struct block *checked(const struct mr_userfault *userfault, uint32_t block, uint64_t offset,
				   uint64_t length)
{
	const struct mr_host_memory *memory;

	if (block >= userfault->count)
		return NULL;
	memory = userfault->blocks[block].memory;
	if (length == 0 || (offset | length) % memory->page_size != 0)
		return NULL;
	return offset < memory->size && length <= memory->size - offset ? &userfault->blocks[block] : NULL;
}

static int begin(const struct mr_userfault *userfault, uint32_t block, uint64_t offset, const uint8_t *bytes,
		 uint64_t length, struct mr_userfault_placed *placed)
{
	struct job job = {userfault, checked(userfault, block, offset, length), bytes, 0};

	*placed = (struct mr_userfault_placed){0};
	return job.block ? fill(&job, offset, length, placed) : -EINVAL;
}

int mr_userfault_place(const struct mr_userfault *userfault, uint32_t block, uint64_t offset, const void *bytes,
		       uint64_t length, struct mr_userfault_placed *placed)
{
	return begin(userfault, block, offset, bytes, length, placed);
}

int mr_userfault_zero(const struct mr_userfault *userfault, uint32_t block, uint64_t offset, uint64_t length,
		      struct mr_userfault_placed *placed)
{
	return begin(userfault, block, offset, NULL, length, placed);
}

int mr_userfault_wake(const struct mr_userfault *userfault, uint32_t block, uint64_t offset, uint64_t length)
{
	const struct block *found = checked(userfault, block, offset, length);

	return found ? wake(userfault, found, offset, length) : -EINVAL;
}

const char *mr_userfault_explain(int error)
{
	switch (error) {
	case -EINVAL:
		return "the range is not whole pages of the block";
	case -ENOMEM:
		return "the host has no page left: free memory, or raise nr_hugepages for a block of huge pages";
	case -ENOENT:
		return "the memory was unmapped or is no longer watched";
	case -EFAULT:
		return "the bytes to place, or the page of a fault, lie in no memory that is known";
	case -ESRCH:
	case -ENOSPC:
		return "the process that owns the memory has ended";
	case -EAGAIN:
		return "the process's mappings keep changing";
	default:
		return "the kernel refuses the call";
	}
}
