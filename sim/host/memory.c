/* memory.c: the memory of one block of a real guest, of any kind that QEMU uses. */
#include "sim/host/memory.h"

#include "sim/host/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE_SHIFT_2M = 21, PAGE_SHIFT_1G = 30, HUGE_SHIFT = 26 }; /* the last: where memfd_create() takes the others */
/* Of a page's entry in /proc/self/pagemap. */
enum { PAGEMAP_ENTRY = 8, PAGEMAP_BATCH = 256, PAGEMAP_SWAPPED_BIT = 62, PAGEMAP_PRESENT_BIT = 63 };

static unsigned huge_shift(enum mr_host_kind kind)
{
	switch (kind) {
	case MR_HOST_HUGE_2M:
		return PAGE_SHIFT_2M;
	case MR_HOST_HUGE_1G:
		return PAGE_SHIFT_1G;
	default:
		return 0;
	}
}

const char *mr_host_kind_name(enum mr_host_kind kind)
{
	static const char *const names[MR_HOST_KIND_COUNT] = {
		[MR_HOST_ANONYMOUS] = "anonymous",
		[MR_HOST_SHARED] = "shared",
		[MR_HOST_HUGE_2M] = "huge-2m",
		[MR_HOST_HUGE_1G] = "huge-1g",
	};

	return names[kind];
}

uint64_t mr_host_kind_page_size(enum mr_host_kind kind)
{
	const unsigned shift = huge_shift(kind);

	return shift ? UINT64_C(1) << shift : (uint64_t)sysconf(_SC_PAGESIZE);
}

const char *mr_host_backing_name(enum mr_host_kind ordinary)
{
	return ordinary == MR_HOST_SHARED ? "uffd-shared" : "uffd";
}

bool mr_host_backing_by_name(const char *name, enum mr_host_kind *ordinary)
{
	*ordinary = strcmp(name, mr_host_backing_name(MR_HOST_SHARED)) == 0 ? MR_HOST_SHARED : MR_HOST_ANONYMOUS;
	return strcmp(name, mr_host_backing_name(*ordinary)) == 0;
}

enum mr_host_kind mr_host_kind_of(uint64_t page_size, enum mr_host_kind ordinary)
{
	for (unsigned kind = MR_HOST_HUGE_2M; kind < MR_HOST_KIND_COUNT; kind++)
		if (mr_host_kind_page_size((enum mr_host_kind)kind) == page_size)
			return (enum mr_host_kind)kind;
	return ordinary;
}

/* ---- There and gone ---- */

static int fail_pool(const struct mr_host_memory *memory, int error, struct mr_host_problem *problem)
{
	const uint64_t page = memory->page_size;
	struct mr_host_pool pool;

	if (mr_host_pool_read(page, &pool) != 0)
		return mr_host_fail(problem, error, "the kernel has no huge pages of %" PRIu64 " KiB", page >> 10);
	return mr_host_fail(problem, error,
			    "%" PRIu64 " huge pages of %" PRIu64 " KiB wanted, %" PRIu64 " of %" PRIu64
			    " free: raise /sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages",
			    memory->size / page, page >> 10, pool.free - pool.reserved, pool.total, page >> 10);
}

static int fail_allocate(const struct mr_host_memory *memory, int error, struct mr_host_problem *problem)
{
	if (huge_shift(memory->kind) && (error == ENOMEM || error == ENODEV || error == EINVAL))
		return fail_pool(memory, error, problem);
	return mr_host_fail(problem, error, "%" PRIu64 " bytes of %s memory", memory->size,
			    mr_host_kind_name(memory->kind));
}

static int open_file(struct mr_host_memory *memory)
{
	const unsigned shift = huge_shift(memory->kind);

	memory->file = memfd_create("migref-block", MFD_CLOEXEC | (shift ? MFD_HUGETLB | shift << HUGE_SHIFT : 0));
	if (memory->file < 0)
		return -errno;
	return ftruncate(memory->file, (off_t)memory->size) == 0 ? 0 : -errno;
}

static int open_pagemap(struct mr_host_memory *memory)
{
	memory->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	return memory->pagemap < 0 ? -errno : 0;
}

static int map(struct mr_host_memory *memory)
{
	const int flags = memory->file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
	void *data = mmap(NULL, memory->size, PROT_READ | PROT_WRITE, flags, memory->file, 0);

	if (data == MAP_FAILED)
		return -errno;
	memory->data = data;
	if (!huge_shift(memory->kind))
		madvise(memory->data, memory->size, MADV_HUGEPAGE);
	return 0;
}

int mr_host_memory_allocate(struct mr_host_memory *memory, enum mr_host_kind kind, uint64_t size,
			    struct mr_host_problem *problem)
{
	int error;

	*memory = (struct mr_host_memory){
		.kind = kind,
		.size = size,
		.page_size = mr_host_kind_page_size(kind),
		.file = -1,
		.pagemap = -1,
	};
	if (size == 0 || size % memory->page_size != 0 || size > INT64_MAX)
		return mr_host_fail(problem, EINVAL, "%" PRIu64 " bytes: expected a multiple of %" PRIu64, size,
				    memory->page_size);
	error = kind == MR_HOST_ANONYMOUS ? open_pagemap(memory) : open_file(memory);
	if (!error)
		error = map(memory);
	if (!error)
		return 0;
	fail_allocate(memory, -error, problem);
	mr_host_memory_free(memory);
	return error;
}

void mr_host_memory_free(struct mr_host_memory *memory)
{
	if (memory->data)
		munmap(memory->data, memory->size);
	if (memory->file >= 0)
		close(memory->file);
	if (memory->pagemap >= 0)
		close(memory->pagemap);
	memory->data = NULL;
	memory->file = memory->pagemap = -1;
}

/* ---- Discards ---- */

static bool within(const struct mr_host_memory *memory, uint64_t offset, uint64_t length, uint64_t unit)
{
	return offset <= memory->size && length <= memory->size - offset && (offset | length) % unit == 0;
}

static int fail_range(const struct mr_host_memory *memory, uint64_t offset, uint64_t length, uint64_t unit,
		      struct mr_host_problem *problem)
{
	return mr_host_fail(problem, EINVAL,
			    "%" PRIu64 " bytes at %" PRIu64 ": expected multiples of %" PRIu64 " in a block of %" PRIu64
			    " bytes",
			    length, offset, unit, memory->size);
}

/*
 * HST-007: a hole in memory whose huge pages are welcome would soon be filled with zeros, unseen. HST-006: a shared
 * page outlives its mapping, hence the hole in the file.
 */
int mr_host_memory_discard(struct mr_host_memory *memory, uint64_t offset, uint64_t length,
			   struct mr_host_problem *problem)
{
	int result;

	if (!within(memory, offset, length, memory->page_size))
		return fail_range(memory, offset, length, memory->page_size, problem);
	if (length == 0)
		return 0;
	if (!memory->small && !huge_shift(memory->kind))
		madvise(memory->data, memory->size, MADV_NOHUGEPAGE);
	memory->small = true;
	if (memory->file < 0)
		result = madvise(memory->data + offset, length, MADV_DONTNEED);
	else
		result = fallocate(memory->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
				   (off_t)length);
	if (result == 0)
		return 0;
	return mr_host_fail(problem, errno, "discard of %" PRIu64 " bytes at %" PRIu64 " of %s memory", length, offset,
			    mr_host_kind_name(memory->kind));
}

void mr_host_memory_allow_huge(struct mr_host_memory *memory)
{
	if (memory->small && !huge_shift(memory->kind))
		madvise(memory->data, memory->size, MADV_HUGEPAGE);
	memory->small = false;
}

/* ---- Access ---- */

void mr_host_load(void *to, const void *guest, size_t length)
{
	const uint8_t *from = guest;
	uint8_t *bytes = to;

	for (; length > 0 && (uintptr_t)from % sizeof(uint64_t) != 0; length--)
		*bytes++ = __atomic_load_n(from++, __ATOMIC_RELAXED);
	for (; length >= sizeof(uint64_t); length -= sizeof(uint64_t)) {
		const uint64_t word = __atomic_load_n((const uint64_t *)(const void *)from, __ATOMIC_RELAXED);

		memcpy(bytes, &word, sizeof(word));
		from += sizeof(word);
		bytes += sizeof(word);
	}
	for (; length > 0; length--)
		*bytes++ = __atomic_load_n(from++, __ATOMIC_RELAXED);
}

void mr_host_store(void *guest, const void *from, size_t length)
{
	const uint8_t *bytes = from;
	uint8_t *to = guest;

	for (; length > 0 && (uintptr_t)to % sizeof(uint64_t) != 0; length--)
		__atomic_store_n(to++, *bytes++, __ATOMIC_RELAXED);
	for (; length >= sizeof(uint64_t); length -= sizeof(uint64_t)) {
		uint64_t word;

		memcpy(&word, bytes, sizeof(word));
		__atomic_store_n((uint64_t *)(void *)to, word, __ATOMIC_RELAXED);
		to += sizeof(word);
		bytes += sizeof(word);
	}
	for (; length > 0; length--)
		__atomic_store_n(to++, *bytes++, __ATOMIC_RELAXED);
}

/* The file knows of holes, and reading it makes none of them a page. */
static int read_file(const struct mr_host_memory *memory, uint64_t offset, uint8_t *bytes, uint64_t length)
{
	while (length > 0) {
		const ssize_t got = pread(memory->file, bytes, length, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		bytes += got;
		offset += (uint64_t)got;
		length -= (uint64_t)got;
	}
	return 0;
}

/* Reads what lies in one page: a page that is there can only go by a discard, which is the caller's own. */
static void read_page(const struct mr_host_memory *memory, uint64_t entry, uint64_t offset, uint8_t *bytes,
		      uint64_t length)
{
	if (entry >> PAGEMAP_PRESENT_BIT & 1 || entry >> PAGEMAP_SWAPPED_BIT & 1)
		mr_host_load(bytes, memory->data + offset, length);
	else
		memset(bytes, 0, length);
}

static int read_private(const struct mr_host_memory *memory, uint64_t offset, uint8_t *bytes, uint64_t length)
{
	const uint64_t page_size = memory->page_size;
	uint64_t entries[PAGEMAP_BATCH];

	while (length > 0) {
		const uint64_t first = ((uintptr_t)memory->data + offset) / page_size;
		const uint64_t pages = (offset % page_size + length + page_size - 1) / page_size;
		const size_t count = pages < PAGEMAP_BATCH ? (size_t)pages : PAGEMAP_BATCH;
		const size_t size = count * PAGEMAP_ENTRY;

		if (pread(memory->pagemap, entries, size, (off_t)(first * PAGEMAP_ENTRY)) != (ssize_t)size)
			return errno ? -errno : -EIO;
		for (size_t i = 0; i < count && length > 0; i++) {
			const uint64_t left = page_size - offset % page_size, part = left < length ? left : length;

			read_page(memory, entries[i], offset, bytes, part);
			bytes += part;
			offset += part;
			length -= part;
		}
	}
	return 0;
}

int mr_host_memory_read(const struct mr_host_memory *memory, uint64_t offset, void *bytes, uint64_t length,
			struct mr_host_problem *problem)
{
	int error;

	if (!within(memory, offset, length, 1))
		return fail_range(memory, offset, length, 1, problem);
	error = memory->file < 0 ? read_private(memory, offset, bytes, length)
				 : read_file(memory, offset, bytes, length);
	if (!error)
		return 0;
	return mr_host_fail(problem, -error, "reading %" PRIu64 " bytes at %" PRIu64 " of %s memory", length, offset,
			    mr_host_kind_name(memory->kind));
}
