/*
 * methods.c: the registry of multifd methods, and the few checks that all of them share.
 */
#include "method.h"

#include <stdio.h>
#include <string.h>

static const struct mr_multifd_method *const methods[] = {
	&mr_method_none, &mr_method_zlib, &mr_method_zstd, &mr_method_qpl, &mr_method_uadk, &mr_method_qatzip,
};

enum { METHOD_COUNT = sizeof(methods) / sizeof(methods[0]) };

size_t mr_multifd_payload_bound(void)
{
	/* The largest payload that a receiver takes; raw pages with their lengths and both compressors' bounds are
	 * less. */
	return MR_PACKET_PAYLOAD_MAX;
}

const struct mr_multifd_method *mr_multifd_method_at(size_t index)
{
	return index < METHOD_COUNT ? methods[index] : NULL;
}

const struct mr_multifd_method *mr_multifd_method_by_flag(uint32_t flag)
{
	for (size_t i = 0; i < METHOD_COUNT; i++) {
		if (methods[i]->flag == flag)
			return methods[i];
	}
	return NULL;
}

const struct mr_multifd_method *mr_multifd_method_by_name(const char *name)
{
	for (size_t i = 0; i < METHOD_COUNT; i++) {
		if (strcmp(methods[i]->name, name) == 0)
			return methods[i];
	}
	return NULL;
}

bool mr_method_page_size_ok(size_t page_size)
{
	return page_size >= MR_PAGE_SIZE_MIN && page_size <= MR_PAGE_SIZE_MAX && (page_size & (page_size - 1)) == 0;
}

bool mr_method_count_ok(size_t page_size, uint32_t count)
{
	return count <= MR_PACKET_DATA_SIZE / page_size;
}

enum mr_rule mr_method_check(size_t page_size, struct mr_bytes payload, uint32_t count, char found[MR_METHOD_FOUND])
{
	if (!mr_method_count_ok(page_size, count)) {
		snprintf(found, MR_METHOD_FOUND, "%u pages of %zu bytes", count, page_size);
		return MR_MFD_012;
	}
	if (payload.length > MR_PACKET_PAYLOAD_MAX || (payload.length == 0) != (count == 0)) {
		snprintf(found, MR_METHOD_FOUND, "%zu bytes for %u pages", payload.length, count);
		return MR_MFD_016;
	}
	return MR_NO_RULE;
}

uint32_t mr_method_run(uint8_t *const *pages, uint32_t count, size_t page_size)
{
	uint32_t run = 1;

	while (run < count && pages[run] == pages[run - 1] + page_size)
		run++;
	return run;
}
