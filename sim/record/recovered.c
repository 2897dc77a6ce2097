/* recovered.c: what a recorded return path behind a recovery says of the pause before it. */
#include "sim/record/recovered.h"

#include <stdlib.h>
#include <string.h>

static bool is_request(const struct mr_return_message *message)
{
	return message->type == MR_RETURN_REQ_PAGES || message->type == MR_RETURN_REQ_PAGES_ID;
}

/* Those that are asked for once more come first, in the order of the tree that keeps them. */
static bool is_again(const struct mr_recovered *recovered, uint32_t block, uint64_t offset)
{
	const struct mr_recovered_request *last = recovered->count ? &recovered->requests[recovered->count - 1] : NULL;

	if (!last)
		return true;
	return last->again && (block > last->block || (block == last->block && offset > last->offset));
}

static int add_request(struct mr_recovered *recovered, uint32_t block, uint64_t offset)
{
	const bool again = is_again(recovered, block, offset);

	if (recovered->count == recovered->capacity) {
		const size_t capacity = 2 * recovered->capacity + 16;
		struct mr_recovered_request *larger =
			realloc(recovered->requests, capacity * sizeof(*recovered->requests));

		if (!larger)
			return -1;
		recovered->requests = larger;
		recovered->capacity = capacity;
	}
	recovered->requests[recovered->count++] =
		(struct mr_recovered_request){.block = block, .offset = offset, .again = again};
	return 0;
}

static int take(struct mr_recovered *recovered, const struct mr_world *world, const struct mr_return_message *message)
{
	uint32_t block = UINT32_MAX;

	if (is_request(message) || message->type == MR_RETURN_RECV_BITMAP)
		block = mr_incoming_find_block(world->incoming, message->block);
	if (block == UINT32_MAX || block >= recovered->block_count)
		return 0;
	if (is_request(message))
		return add_request(recovered, block, message->start);
	recovered->bitmaps[block] = message->bitmap;
	recovered->there = true;
	return 0;
}

static int read_messages(struct mr_recovered *recovered, const struct mr_world *world, struct mr_bytes bytes)
{
	struct mr_session *session = malloc(sizeof(*session));
	struct mr_decoder *decoder = malloc(sizeof(*decoder));
	struct mr_record record;
	size_t at = 0;
	int status = session && decoder ? 0 : -1;

	if (status == 0) {
		mr_session_init(session, NULL, NULL, NULL);
		mr_decoder_init(decoder, session, MR_ROLE_RETURN, recovered->channel);
	}
	while (status == 0 && at < bytes.length &&
	       mr_decode(decoder, bytes.data + at, bytes.length - at, true, &record) == MR_RECORD) {
		at += (size_t)record.length;
		status = take(recovered, world, &record.message);
	}
	free(session);
	free(decoder);
	return status;
}

int mr_recovered_read(struct mr_recovered *recovered, const struct mr_world *world, uint32_t channel)
{
	mr_recovered_clear(recovered);
	do
		channel++;
	while (channel < world->connection_count && world->connections[channel].role != MR_ROLE_RECOVERY);
	recovered->channel = channel;
	if (channel >= world->connection_count || !world->connections[channel].has_return)
		return 0;
	while (mr_incoming_block_name(world->incoming, recovered->block_count)[0])
		recovered->block_count++;
	recovered->bitmaps = calloc((size_t)recovered->block_count + 1, sizeof(*recovered->bitmaps));
	if (!recovered->bitmaps)
		return -1;
	return read_messages(recovered, world, world->connections[channel].recorded);
}

void mr_recovered_clear(struct mr_recovered *recovered)
{
	free(recovered->bitmaps);
	free(recovered->requests);
	memset(recovered, 0, sizeof(*recovered));
}

bool mr_recovered_is_received(const struct mr_recovered *recovered, uint32_t block, uint64_t offset, uint32_t page_size)
{
	const uint64_t page = offset / page_size;
	struct mr_bytes bits;

	if (block >= recovered->block_count)
		return true;
	bits = recovered->bitmaps[block];
	return page / 8 >= bits.length || (bits.data[page / 8] & 1u << page % 8);
}
