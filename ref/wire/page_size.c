/* page_size.c: the target page size that a whole stream states only at its end, in its description (STR-022). */
#include "chain.h"
#include "wire.h"

#include <jansson.h>

static bool is_page_size(json_int_t size)
{
	return size >= MR_PAGE_SIZE_MIN && size <= MR_PAGE_SIZE_MAX && (size & (size - 1)) == 0;
}

uint32_t mr_described_page_size(struct mr_bytes stream)
{
	struct mr_bytes json;
	json_int_t size;
	json_t *root;

	if (mr_chain_find_description(stream, &json) == SIZE_MAX)
		return 0;
	root = json_loadb((const char *)json.data, json.length, 0, NULL);
	size = json_integer_value(json_object_get(root, "page_size"));
	json_decref(root);
	return is_page_size(size) ? (uint32_t)size : 0;
}
