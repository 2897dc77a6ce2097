/*
 * method_none.c: the multifd method "none": a payload is the pages themselves, one behind the other.
 */
#include "method.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct none_state {
	size_t page_size;
};

static void *none_setup(size_t page_size)
{
	struct none_state *state;

	if (!mr_method_page_size_ok(page_size))
		return NULL;
	state = malloc(sizeof(*state));
	if (state)
		state->page_size = page_size;
	return state;
}

static void *none_send_setup(size_t page_size, int level)
{
	return level == 0 ? none_setup(page_size) : NULL;
}

static long none_send_prepare(void *opaque, const uint8_t *const *pages, uint32_t count, uint8_t *out, size_t capacity)
{
	const struct none_state *state = opaque;

	if (!mr_method_count_ok(state->page_size, count) || count * state->page_size > capacity)
		return -1;
	for (uint32_t i = 0; i < count; i++)
		memcpy(out + i * state->page_size, pages[i], state->page_size);
	return (long)(count * state->page_size);
}

static enum mr_rule none_recv(void *opaque, struct mr_bytes payload, uint8_t *const *pages, uint32_t count,
			      char found[MR_METHOD_FOUND])
{
	const struct none_state *state = opaque;
	const size_t page_size = state->page_size;

	if (!mr_method_count_ok(page_size, count)) {
		snprintf(found, MR_METHOD_FOUND, "%u pages of %zu bytes", count, page_size);
		return MR_MFD_012;
	}
	if (payload.length != count * page_size) {
		snprintf(found, MR_METHOD_FOUND, "%zu bytes for %u pages", payload.length, count);
		return MR_MFD_015;
	}
	for (uint32_t i = 0; i < count; i++)
		memcpy(pages[i], payload.data + i * page_size, page_size);
	return MR_NO_RULE;
}

const struct mr_multifd_method mr_method_none = {
	.name = "none",
	.flag = 0,
	.decodable = true,
	.send_setup = none_send_setup,
	.send_cleanup = free,
	.send_prepare = none_send_prepare,
	.recv_setup = none_setup,
	.recv_cleanup = free,
	.recv = none_recv,
};
