/* explore_queue.c: bytes under way, as queues of messages that are kept once. */
#include "sim/world/explore_state.h"

#include <stdlib.h>
#include <string.h>

enum { QUEUE_MAX = 4096, MESSAGE_MAX = 1 << 17, APPEND = 1, TAKE, FIRST, HALF };

/* In the store it ends behind its last message. `skip` bytes of the first are gone. */
struct queue {
	uint32_t skip, length; /* bytes; of all that is left */
	uint32_t messages[QUEUE_MAX];
};

/* Where queues and messages are put together. */
struct mr_queues_room {
	struct queue queue;
	uint8_t message[MESSAGE_MAX];
};

static const struct queue *queue_at(const struct explore_queues *queues, uint32_t number, uint32_t *count)
{
	size_t length;
	const struct queue *queue = mr_store_at(&queues->queues, number, &length);

	*count = (uint32_t)((length - offsetof(struct queue, messages)) / sizeof(queue->messages[0]));
	return queue;
}

static uint32_t keep(struct explore_queues *queues, const struct queue *queue, uint32_t count)
{
	const size_t size = offsetof(struct queue, messages) + count * sizeof(queue->messages[0]);
	const uint32_t number =
		mr_store_add(&queues->queues, mr_hash_bytes((struct mr_hash){0, 0}, queue, size), queue, size);

	queues->failed |= number == MR_NO_NUMBER;
	return number == MR_NO_NUMBER ? 0 : number;
}

bool mr_queues_init(struct explore_queues *queues)
{
	*queues = (struct explore_queues){.room = calloc(1, sizeof(*queues->room))};
	if (!queues->room)
		return false;
	keep(queues, &queues->room->queue, 0);
	return !queues->failed;
}

void mr_queues_clear(struct explore_queues *queues)
{
	mr_store_clear(&queues->messages);
	mr_store_clear(&queues->queues);
	mr_store_map_clear(&queues->known);
	free(queues->room);
	queues->room = NULL;
}

/* ---- Messages ---- */

/* What was put together in the room for it. */
static uint32_t keep_message(struct explore_queues *queues, size_t length)
{
	const uint8_t *bytes = queues->room->message;
	const uint32_t number =
		mr_store_add(&queues->messages, mr_hash_bytes((struct mr_hash){0, 0}, bytes, length), bytes, length);

	queues->failed |= number == MR_NO_NUMBER;
	return number == MR_NO_NUMBER ? 0 : number;
}

uint32_t mr_queues_message(struct explore_queues *queues, struct mr_bytes head, struct mr_bytes body)
{
	uint8_t *room = queues->room->message;

	if (head.length + body.length > MESSAGE_MAX) {
		queues->failed = true;
		return 0;
	}
	if (head.length)
		memcpy(room, head.data, head.length);
	if (body.length)
		memcpy(room + head.length, body.data, body.length);
	return keep_message(queues, head.length + body.length);
}

struct mr_bytes mr_queues_message_bytes(const struct explore_queues *queues, uint32_t message)
{
	struct mr_bytes bytes;

	bytes.data = mr_store_at(&queues->messages, message, &bytes.length);
	return bytes;
}

/* ---- What is known already ---- */

static struct mr_hash key_of(unsigned what, uint32_t queue, uint32_t argument)
{
	const struct mr_hash seed = {what, 0};

	return mr_hash_number(mr_hash_number(seed, (uint64_t)queue << 32 | argument), what);
}

static uint32_t remember(struct explore_queues *queues, struct mr_hash key, uint32_t number)
{
	queues->failed |= !mr_store_map_add(&queues->known, key, number);
	return number;
}

/* ---- Making one of another ---- */

static uint32_t append(struct explore_queues *queues, uint32_t queue, uint32_t message)
{
	struct queue *room = &queues->room->queue;
	uint32_t count;
	const struct queue *from = queue_at(queues, queue, &count);

	if (count == QUEUE_MAX) {
		queues->failed = true;
		return 0;
	}
	memcpy(room, from, offsetof(struct queue, messages) + count * sizeof(from->messages[0]));
	room->messages[count] = message;
	room->length += (uint32_t)mr_queues_message_bytes(queues, message).length;
	return keep(queues, room, count + 1);
}

uint32_t mr_queues_append(struct explore_queues *queues, uint32_t queue, uint32_t message)
{
	const struct mr_hash key = key_of(APPEND, queue, message);
	const uint32_t known = mr_store_map_find(&queues->known, key);

	return known != MR_NO_NUMBER ? known : remember(queues, key, append(queues, queue, message));
}

static uint32_t take(struct explore_queues *queues, uint32_t queue, uint32_t bytes)
{
	struct queue *room = &queues->room->queue;
	uint32_t count, gone = 0;
	const struct queue *from = queue_at(queues, queue, &count);
	uint32_t skip = from->skip + bytes;

	while (gone < count && skip >= mr_queues_message_bytes(queues, from->messages[gone]).length)
		skip -= (uint32_t)mr_queues_message_bytes(queues, from->messages[gone++]).length;
	if (gone == count)
		return 0;
	room->skip = skip;
	room->length = from->length - bytes;
	memcpy(room->messages, from->messages + gone, (count - gone) * sizeof(from->messages[0]));
	return keep(queues, room, count - gone);
}

uint32_t mr_queues_take(struct explore_queues *queues, uint32_t queue, uint32_t bytes)
{
	const struct mr_hash key = key_of(TAKE, queue, bytes);
	const uint32_t known = mr_store_map_find(&queues->known, key);

	return known != MR_NO_NUMBER ? known : remember(queues, key, take(queues, queue, bytes));
}

static uint32_t first(struct explore_queues *queues, uint32_t queue, uint32_t wanted)
{
	struct queue *room = &queues->room->queue;
	uint32_t count;
	const struct queue *from = queue_at(queues, queue, &count);
	uint64_t length = 0;

	if (wanted >= count)
		return queue;
	for (uint32_t i = 0; i < wanted; i++)
		length += mr_queues_message_bytes(queues, from->messages[i]).length;
	room->skip = from->skip;
	room->length = (uint32_t)length - from->skip;
	memcpy(room->messages, from->messages, wanted * sizeof(from->messages[0]));
	return keep(queues, room, wanted);
}

uint32_t mr_queues_first(struct explore_queues *queues, uint32_t queue, uint32_t count)
{
	const struct mr_hash key = key_of(FIRST, queue, count);
	uint32_t known;

	if (count == 0 || queue == 0)
		return 0;
	known = mr_store_map_find(&queues->known, key);
	return known != MR_NO_NUMBER ? known : remember(queues, key, first(queues, queue, count));
}

/* The bytes are in the store, which may move while the half is added to it. */
static uint32_t half(struct explore_queues *queues, uint32_t queue)
{
	uint32_t count;
	const struct queue *from = queue_at(queues, queue, &count);
	const struct mr_bytes bytes = mr_queues_message_bytes(queues, from->messages[0]);
	const size_t left = (bytes.length - from->skip) / 2;
	uint8_t *copy = queues->room->message;

	if (left == 0)
		return 0;
	memcpy(copy, bytes.data + from->skip, left);
	return append(queues, 0, keep_message(queues, left));
}

uint32_t mr_queues_half(struct explore_queues *queues, uint32_t queue)
{
	const struct mr_hash key = key_of(HALF, queue, 0);
	uint32_t known;

	if (queue == 0)
		return 0;
	known = mr_store_map_find(&queues->known, key);
	return known != MR_NO_NUMBER ? known : remember(queues, key, half(queues, queue));
}

/* ---- Looking at one ---- */

uint32_t mr_queues_count(const struct explore_queues *queues, uint32_t queue)
{
	uint32_t count;

	queue_at(queues, queue, &count);
	return count;
}

uint32_t mr_queues_length(const struct explore_queues *queues, uint32_t queue)
{
	uint32_t count;

	return queue_at(queues, queue, &count)->length;
}

struct mr_bytes mr_queues_bytes(const struct explore_queues *queues, uint32_t queue, uint8_t *room)
{
	uint32_t count;
	const struct queue *from = queue_at(queues, queue, &count);
	struct mr_bytes bytes = {room, 0};
	uint32_t skip = from->skip;

	if (count == 1) {
		bytes = mr_queues_message_bytes(queues, from->messages[0]);
		return (struct mr_bytes){bytes.data + skip, bytes.length - skip};
	}
	for (uint32_t i = 0; i < count; i++, skip = 0) {
		const struct mr_bytes message = mr_queues_message_bytes(queues, from->messages[i]);

		memcpy(room + bytes.length, message.data + skip, message.length - skip);
		bytes.length += message.length - skip;
	}
	return bytes;
}
