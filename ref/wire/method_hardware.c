/*
 * method_hardware.c: the multifd methods of compression hardware, "qpl", "uadk" and "qatzip": their payloads are framed
 * and named, compressed content is not decoded.
 *
 * qpl and uadk give each page's length first, and a page that does not shrink goes raw. So a sender without the
 * hardware can make a legal payload of raw pages, and a receiver without it can take one; that is what these two do
 * here.
 */
#include "method.h"
#include "wire.h"

#include <stdio.h>
#include <stdlib.h>

enum { LENGTH_SIZE = sizeof(uint32_t) };

struct hardware_state {
	size_t page_size;
};

static void *hardware_setup(size_t page_size)
{
	struct hardware_state *state;

	if (!mr_method_page_size_ok(page_size))
		return NULL;
	state = malloc(sizeof(*state));
	if (state)
		state->page_size = page_size;
	return state;
}

static void *hardware_send_setup(size_t page_size, int level)
{
	return level == 0 ? hardware_setup(page_size) : NULL;
}

static void put_length(uint8_t *at, size_t length)
{
	at[0] = (uint8_t)(length >> 24);
	at[1] = (uint8_t)(length >> 16);
	at[2] = (uint8_t)(length >> 8);
	at[3] = (uint8_t)length;
}

static long hardware_send_prepare(void *opaque, const uint8_t *const *pages, uint32_t count, uint8_t *out,
				  size_t capacity)
{
	const struct hardware_state *state = opaque;
	const size_t page_size = state->page_size;
	uint8_t *body = out + count * LENGTH_SIZE;

	if (!mr_method_count_ok(page_size, count) || count * (LENGTH_SIZE + page_size) > capacity)
		return -1;
	for (uint32_t i = 0; i < count; i++) {
		put_length(out + i * LENGTH_SIZE, page_size);
		memcpy(body + i * page_size, pages[i], page_size);
	}
	return (long)(count * (LENGTH_SIZE + page_size));
}

bool mr_method_lengths_ok(size_t page_size, struct mr_bytes payload, uint32_t count, char found[MR_METHOD_FOUND])
{
	uint64_t sum = (uint64_t)count * LENGTH_SIZE;

	if (payload.length < sum) {
		snprintf(found, MR_METHOD_FOUND, "%zu bytes for %u lengths", payload.length, count);
		return false;
	}
	for (uint32_t i = 0; i < count; i++) {
		const uint32_t length = mr_get_be32(payload.data + i * LENGTH_SIZE);

		if (length > page_size) {
			snprintf(found, MR_METHOD_FOUND, "length[%u] is %u, a page %zu", i, length, page_size);
			return false;
		}
		sum += length;
	}
	if (sum != payload.length) {
		snprintf(found, MR_METHOD_FOUND, "%zu bytes, %llu by the lengths", payload.length,
			 (unsigned long long)sum);
		return false;
	}
	return true;
}

static enum mr_rule hardware_recv(void *opaque, struct mr_bytes payload, uint8_t *const *pages, uint32_t count,
				  char found[MR_METHOD_FOUND])
{
	const struct hardware_state *state = opaque;
	const size_t page_size = state->page_size;
	const enum mr_rule rule = mr_method_check(page_size, payload, count, found);
	const uint8_t *body;

	if (rule != MR_NO_RULE || count == 0)
		return rule;
	if (!mr_method_lengths_ok(page_size, payload, count, found))
		return MR_MFD_028;
	body = payload.data + count * LENGTH_SIZE;
	for (uint32_t i = 0; i < count; i++) {
		const uint32_t length = mr_get_be32(payload.data + i * LENGTH_SIZE);

		if (length != page_size) {
			snprintf(found, MR_METHOD_FOUND, "page %u is compressed, which is not decoded here", i);
			return MR_MFD_021;
		}
		memcpy(pages[i], body, page_size);
		body += page_size;
	}
	return MR_NO_RULE;
}

/* qatzip compresses every packet, so without the hardware's format there is nothing to send. */
static void *qatzip_send_setup(size_t page_size, int level)
{
	(void)page_size;
	(void)level;
	return NULL;
}

static long qatzip_send_prepare(void *opaque, const uint8_t *const *pages, uint32_t count, uint8_t *out,
				size_t capacity)
{
	(void)opaque;
	(void)pages;
	(void)count;
	(void)out;
	(void)capacity;
	return -1;
}

static enum mr_rule qatzip_recv(void *opaque, struct mr_bytes payload, uint8_t *const *pages, uint32_t count,
				char found[MR_METHOD_FOUND])
{
	const struct hardware_state *state = opaque;
	const enum mr_rule rule = mr_method_check(state->page_size, payload, count, found);

	(void)pages;
	if (rule != MR_NO_RULE || count == 0)
		return rule;
	snprintf(found, MR_METHOD_FOUND, "a qatzip payload, which is not decoded here");
	return MR_MFD_021;
}

const struct mr_multifd_method mr_method_qpl = {
	.name = "qpl",
	.flag = MR_MULTIFD_FLAG_QPL,
	.send_setup = hardware_send_setup,
	.send_cleanup = free,
	.send_prepare = hardware_send_prepare,
	.recv_setup = hardware_setup,
	.recv_cleanup = free,
	.recv = hardware_recv,
};

const struct mr_multifd_method mr_method_uadk = {
	.name = "uadk",
	.flag = MR_MULTIFD_FLAG_UADK,
	.send_setup = hardware_send_setup,
	.send_cleanup = free,
	.send_prepare = hardware_send_prepare,
	.recv_setup = hardware_setup,
	.recv_cleanup = free,
	.recv = hardware_recv,
};

const struct mr_multifd_method mr_method_qatzip = {
	.name = "qatzip",
	.flag = MR_MULTIFD_FLAG_QATZIP,
	.level_default = 1,
	.level_min = 1,
	.level_max = 9,
	.send_setup = qatzip_send_setup,
	.send_cleanup = free,
	.send_prepare = qatzip_send_prepare,
	.recv_setup = hardware_setup,
	.recv_cleanup = free,
	.recv = qatzip_recv,
};
