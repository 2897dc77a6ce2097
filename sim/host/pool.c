/* pool.c: what the kernel's pools of huge pages hold. */
#include "sim/host/pool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static int read_count(uint64_t page_size, const char *name, uint64_t *count)
{
	char path[128];
	FILE *file;
	int fields;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s", page_size >> 10, name);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	fields = fscanf(file, "%" SCNu64, count); /* NOLINT(cert-err34-c): the kernel wrote it */
	fclose(file);
	return fields == 1 ? 0 : -EIO;
}

int mr_host_pool_read(uint64_t page_size, struct mr_host_pool *pool)
{
	int error;

	*pool = (struct mr_host_pool){.page_size = page_size};
	error = read_count(page_size, "nr_hugepages", &pool->total);
	if (!error)
		error = read_count(page_size, "free_hugepages", &pool->free);
	return error ? error : read_count(page_size, "resv_hugepages", &pool->reserved);
}
