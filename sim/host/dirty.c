/* dirty.c: which pages of a real guest were written since they were last asked for. */
#include "sim/host/dirty.h"

#include "sim/host/descriptor.h"
#include "sim/host/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WORD_BITS = 64, REGIONS = 256, BATCH = 64, AGAIN_MAX = 1000 };

struct block {
	const struct mr_host_memory *memory;
	uint64_t *written; /* a bit for each page of the host; NULL where the kernel keeps them */
	bool watched;      /* a block that never was may be another userfaultfd's */
};

struct mr_dirty {
	enum mr_dirty_method method;
	struct mr_host_descriptor descriptor;
	int pagemap; /* for the scan, else -1 */
	int ending;  /* an eventfd, for the thread, else -1 */
	pthread_t thread;
	bool running;
	/* Of the methods with faults: a page is written exactly if it is not protected, whenever the lock is free. */
	pthread_mutex_t lock;
	int broken; /* errno of what ended the thread */
	size_t count;
	struct block blocks[];
};

const char *mr_dirty_method_name(enum mr_dirty_method method)
{
	static const char *const names[MR_DIRTY_METHOD_COUNT] = {
		[MR_DIRTY_BEST] = "best",
		[MR_DIRTY_SCAN] = "pagemap-scan",
		[MR_DIRTY_FAULTS] = "write-faults",
		[MR_DIRTY_FAULTS_POPULATED] = "write-faults-populated",
	};

	return names[method];
}

enum mr_dirty_method mr_dirty_method(const struct mr_dirty *dirty)
{
	return dirty->method;
}

/* Retried while the kernel asks for it, which passes by itself. */
static int protect(const struct mr_dirty *dirty, uint64_t address, uint64_t length, bool on)
{
	struct uffdio_writeprotect request = {
		.range = {.start = address, .len = length},
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	for (unsigned i = 0; ioctl(dirty->descriptor.file, UFFDIO_WRITEPROTECT, &request) != 0; i++) {
		if ((errno != EAGAIN && errno != EINTR) || i == AGAIN_MAX)
			return -errno;
		sched_yield();
	}
	return 0;
}

/* ---- The kernel's own notes ---- */

static int scan(const struct mr_dirty *dirty, struct mr_scan_argument *argument)
{
	int count;

	do
		count = ioctl(dirty->pagemap, MR_SCAN_IOCTL, argument);
	while (count < 0 && errno == EINTR);
	return count < 0 ? -errno : count;
}

/* Sets the bits of whole target pages [first, end); returns their number. */
static uint64_t set_bits(uint64_t *bitmap, uint64_t first, uint64_t end)
{
	const uint64_t count = end - first;

	for (; first < end && first % WORD_BITS != 0; first++)
		bitmap[first / WORD_BITS] |= UINT64_C(1) << first % WORD_BITS;
	for (; end - first >= WORD_BITS; first += WORD_BITS)
		bitmap[first / WORD_BITS] = UINT64_MAX;
	for (; first < end; first++)
		bitmap[first / WORD_BITS] |= UINT64_C(1) << first % WORD_BITS;
	return count;
}

/* HST-014: the kernel tells of each page and protects it in one step, so that no write falls between the two. */
static int fetch_scan(const struct mr_dirty *dirty, const struct block *block, uint64_t offset, uint64_t length,
		      uint64_t *bitmap, uint64_t *pages)
{
	const uint64_t base = (uintptr_t)block->memory->data;
	struct mr_scan_region regions[REGIONS];
	struct mr_scan_argument argument = {
		.size = sizeof(argument),
		.flags = MR_SCAN_PROTECT | MR_SCAN_CHECK_ASYNC,
		.start = base + offset,
		.end = base + offset + length,
		.regions = (uintptr_t)regions,
		.region_count = REGIONS,
		.all_of = MR_SCAN_WRITTEN,
		.told = MR_SCAN_WRITTEN,
	};

	while (argument.start < argument.end) {
		const int count = scan(dirty, &argument);

		if (count < 0)
			return count;
		for (int i = 0; i < count; i++)
			*pages += set_bits(bitmap, (regions[i].start - base) / MR_DIRTY_PAGE,
					   (regions[i].end - base) / MR_DIRTY_PAGE);
		argument.start = argument.walk_end;
	}
	return 0;
}

/* ---- Faults ---- */

static bool is_written(const struct block *block, uint64_t page)
{
	return block->written[page / WORD_BITS] >> page % WORD_BITS & 1;
}

static struct block *find(struct mr_dirty *dirty, uint64_t address)
{
	for (size_t i = 0; i < dirty->count; i++)
		if (address - (uintptr_t)dirty->blocks[i].memory->data < dirty->blocks[i].memory->size)
			return &dirty->blocks[i];
	return NULL;
}

/* Under the lock. A second fault of the same page may come when the page is protected again: once more is no harm. */
static int let_write(struct mr_dirty *dirty, uint64_t address)
{
	struct block *block = find(dirty, address);
	uint64_t page_size, page;

	if (!block)
		return -EFAULT;
	page_size = block->memory->page_size;
	page = (address - (uintptr_t)block->memory->data) / page_size;
	block->written[page / WORD_BITS] |= UINT64_C(1) << page % WORD_BITS;
	return protect(dirty, (uintptr_t)block->memory->data + page * page_size, page_size, false);
}

static int take_faults(struct mr_dirty *dirty)
{
	struct uffd_msg messages[BATCH];
	const ssize_t length = read(dirty->descriptor.file, messages, sizeof(messages));
	int error = 0;

	if (length < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	pthread_mutex_lock(&dirty->lock);
	for (size_t i = 0; i < (size_t)length / sizeof(*messages) && !error; i++)
		if (messages[i].event == UFFD_EVENT_PAGEFAULT)
			error = let_write(dirty, messages[i].arg.pagefault.address);
	pthread_mutex_unlock(&dirty->lock);
	return error;
}

/* Returns whether to go on. */
static bool serve(struct mr_dirty *dirty, int *error)
{
	struct pollfd files[] = {
		{.fd = dirty->descriptor.file, .events = POLLIN},
		{.fd = dirty->ending, .events = POLLIN},
	};

	if (poll(files, 2, -1) < 0) {
		*error = errno == EINTR ? 0 : -errno;
		return *error == 0;
	}
	if (files[1].revents)
		return false;
	*error = files[0].revents & (POLLERR | POLLNVAL) ? -EIO : take_faults(dirty);
	return *error == 0;
}

static void unregister(const struct mr_dirty *dirty, const struct block *block)
{
	struct uffdio_range range = {.start = (uintptr_t)block->memory->data, .len = block->memory->size};

	if (block->watched)
		ioctl(dirty->descriptor.file, UFFDIO_UNREGISTER, &range);
}

/* If it cannot go on, nobody may wait for it, and the next fetch says so. */
static void *run(void *argument)
{
	struct mr_dirty *dirty = argument;
	int error = 0;

	while (serve(dirty, &error))
		;
	if (!error)
		return NULL;
	pthread_mutex_lock(&dirty->lock);
	dirty->broken = -error;
	pthread_mutex_unlock(&dirty->lock);
	for (size_t i = 0; i < dirty->count; i++)
		unregister(dirty, &dirty->blocks[i]);
	return NULL;
}

/* Pages [first, end) were written: protects them before they are forgotten, as the lock keeps their writers waiting. */
static int take_run(struct mr_dirty *dirty, struct block *block, uint64_t first, uint64_t end, uint64_t *bitmap,
		    uint64_t *pages)
{
	const uint64_t page_size = block->memory->page_size, targets = page_size / MR_DIRTY_PAGE;
	const int error =
		protect(dirty, (uintptr_t)block->memory->data + first * page_size, (end - first) * page_size, true);

	if (error)
		return error;
	for (uint64_t page = first; page < end; page++)
		block->written[page / WORD_BITS] &= ~(UINT64_C(1) << page % WORD_BITS);
	*pages += set_bits(bitmap, first * targets, end * targets);
	return 0;
}

static int fetch_runs(struct mr_dirty *dirty, struct block *block, uint64_t first, uint64_t end, uint64_t *bitmap,
		      uint64_t *pages)
{
	uint64_t page = first;

	while (page < end) {
		uint64_t behind;
		int error;

		if (page % WORD_BITS == 0 && block->written[page / WORD_BITS] == 0) {
			page += WORD_BITS;
			continue;
		}
		if (!is_written(block, page)) {
			page++;
			continue;
		}
		for (behind = page + 1; behind < end && is_written(block, behind);)
			behind++;
		error = take_run(dirty, block, page, behind, bitmap, pages);
		if (error)
			return error;
		page = behind;
	}
	return 0;
}

static int fetch_faults(struct mr_dirty *dirty, struct block *block, uint64_t offset, uint64_t length, uint64_t *bitmap,
			uint64_t *pages)
{
	const uint64_t page_size = block->memory->page_size;
	int error;

	pthread_mutex_lock(&dirty->lock);
	error = dirty->broken
			? -dirty->broken
			: fetch_runs(dirty, block, offset / page_size, (offset + length) / page_size, bitmap, pages);
	pthread_mutex_unlock(&dirty->lock);
	return error;
}

int mr_dirty_fetch(struct mr_dirty *dirty, size_t block, uint64_t offset, uint64_t length, uint64_t *bitmap,
		   uint64_t *pages, struct mr_host_problem *problem)
{
	const struct mr_host_memory *memory;
	int error;

	if (block >= dirty->count)
		return mr_host_fail(problem, EINVAL, "block %zu of %zu", block, dirty->count);
	memory = dirty->blocks[block].memory;
	if ((offset | length) % memory->page_size != 0 || offset > memory->size || length > memory->size - offset)
		return mr_host_fail(problem, EINVAL,
				    "%" PRIu64 " bytes at %" PRIu64 ": expected multiples of %" PRIu64
				    " in a block of %" PRIu64 " bytes",
				    length, offset, memory->page_size, memory->size);
	if (dirty->method == MR_DIRTY_SCAN)
		error = fetch_scan(dirty, &dirty->blocks[block], offset, length, bitmap, pages);
	else
		error = fetch_faults(dirty, &dirty->blocks[block], offset, length, bitmap, pages);
	return error ? mr_host_fail(problem, -error, "log of dirty pages, block %zu", block) : 0;
}

/* ---- There and gone ---- */

/* What the method cannot do without. */
static uint64_t features_of(enum mr_dirty_method method)
{
	const uint64_t any = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM;

	switch (method) {
	case MR_DIRTY_SCAN:
		return any | UFFD_FEATURE_WP_ASYNC;
	case MR_DIRTY_FAULTS:
		return any | UFFD_FEATURE_WP_UNPOPULATED;
	default:
		return any;
	}
}

/* A kernel without the scan answers with ENOTTY; with it, an argument of size 0 is EINVAL. */
static int open_scan(struct mr_dirty *dirty, struct mr_host_problem *problem)
{
	struct mr_scan_argument argument = {0};

	dirty->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (dirty->pagemap < 0)
		return mr_host_fail(problem, errno, "/proc/self/pagemap");
	if (scan(dirty, &argument) == -ENOTTY)
		return mr_host_fail(problem, ENOTTY, "PAGEMAP_SCAN: needs a kernel from 6.7 on");
	return 0;
}

static int start_thread(struct mr_dirty *dirty, struct mr_host_problem *problem)
{
	sigset_t all, before;
	int error;

	dirty->ending = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (dirty->ending < 0)
		return mr_host_fail(problem, errno, "eventfd");
	/* Signals are for the program's own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&dirty->thread, NULL, run, dirty);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		return mr_host_fail(problem, error, "thread for the log of dirty pages");
	dirty->running = true;
	return 0;
}

/* Reading makes a page of private memory one of zeros, which can be protected; that of a file can be in any case. */
static void populate(const struct mr_host_memory *memory)
{
	for (uint64_t offset = 0; offset < memory->size && memory->kind == MR_HOST_ANONYMOUS;
	     offset += memory->page_size)
		(void)__atomic_load_n(memory->data + offset, __ATOMIC_RELAXED);
}

static int watch(struct mr_dirty *dirty, struct block *block, struct mr_host_problem *problem)
{
	const struct mr_host_memory *memory = block->memory;
	struct uffdio_register request = {
		.range = {.start = (uintptr_t)memory->data, .len = memory->size},
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int error;

	if (dirty->method == MR_DIRTY_FAULTS_POPULATED)
		populate(memory);
	error = ioctl(dirty->descriptor.file, UFFDIO_REGISTER, &request) == 0 ? 0 : -errno;
	block->watched = !error;
	if (!error)
		error = protect(dirty, request.range.start, request.range.len, true);
	if (!error)
		return 0;
	return mr_host_fail(problem, -error, "watching writes to %s memory", mr_host_kind_name(memory->kind));
}

static int take_blocks(struct mr_dirty *dirty, const struct mr_host_memory *const *blocks, size_t count,
		       struct mr_host_problem *problem)
{
	for (size_t i = 0; i < count; i++) {
		const uint64_t pages = blocks[i]->size / blocks[i]->page_size;

		dirty->blocks[i].memory = blocks[i];
		dirty->count++;
		if (dirty->method == MR_DIRTY_SCAN)
			continue;
		dirty->blocks[i].written = calloc((size_t)((pages + WORD_BITS - 1) / WORD_BITS), sizeof(uint64_t));
		if (!dirty->blocks[i].written)
			return mr_host_fail(problem, ENOMEM, "log of dirty pages");
	}
	return 0;
}

/* The thread is there before the first page is protected. */
static int begin(struct mr_dirty *dirty, const struct mr_host_memory *const *blocks, size_t count,
		 struct mr_host_problem *problem)
{
	int error = mr_host_descriptor_open(&dirty->descriptor, features_of(dirty->method), 0, problem);

	if (!error)
		error = take_blocks(dirty, blocks, count, problem);
	if (!error)
		error = dirty->method == MR_DIRTY_SCAN ? open_scan(dirty, problem) : start_thread(dirty, problem);
	for (size_t i = 0; i < count && !error; i++)
		error = watch(dirty, &dirty->blocks[i], problem);
	return error;
}

static struct mr_dirty *start(const struct mr_host_memory *const *blocks, size_t count, enum mr_dirty_method method,
			      struct mr_host_problem *problem)
{
	struct mr_dirty *dirty = calloc(1, sizeof(*dirty) + count * sizeof(*dirty->blocks));

	if (!dirty) {
		mr_host_fail(problem, ENOMEM, "log of dirty pages");
		return NULL;
	}
	dirty->method = method;
	dirty->descriptor.file = dirty->pagemap = dirty->ending = -1;
	pthread_mutex_init(&dirty->lock, NULL);
	if (begin(dirty, blocks, count, problem) == 0)
		return dirty;
	mr_dirty_stop(dirty);
	return NULL;
}

struct mr_dirty *mr_dirty_start(const struct mr_host_memory *const *blocks, size_t count, enum mr_dirty_method method,
				struct mr_host_problem *problem)
{
	if (count > MR_DIRTY_BLOCKS_MAX) {
		mr_host_fail(problem, E2BIG, "at most %d blocks", MR_DIRTY_BLOCKS_MAX);
		return NULL;
	}
	if (method != MR_DIRTY_BEST)
		return start(blocks, count, method, problem);
	for (unsigned i = MR_DIRTY_SCAN; i < MR_DIRTY_METHOD_COUNT; i++) {
		struct mr_dirty *dirty = start(blocks, count, (enum mr_dirty_method)i, problem);

		if (dirty)
			return dirty;
	}
	return NULL;
}

/* The blocks first: who waits goes on by that, when the thread might not answer any more. */
void mr_dirty_stop(struct mr_dirty *dirty)
{
	if (!dirty)
		return;
	for (size_t i = 0; i < dirty->count; i++)
		unregister(dirty, &dirty->blocks[i]);
	if (dirty->running) {
		eventfd_write(dirty->ending, 1);
		pthread_join(dirty->thread, NULL);
	}
	if (dirty->descriptor.file >= 0)
		close(dirty->descriptor.file);
	if (dirty->ending >= 0)
		close(dirty->ending);
	if (dirty->pagemap >= 0)
		close(dirty->pagemap);
	for (size_t i = 0; i < dirty->count; i++)
		free(dirty->blocks[i].written);
	pthread_mutex_destroy(&dirty->lock);
	free(dirty);
}
