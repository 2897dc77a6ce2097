/* caught_memory.c: the machine's actions on memory as calls of the host. */
#include "sim/host/caught_memory.h"

#include <string.h>

/* ---- Precopy ---- */

uint8_t *mr_caught_memory_page(void *memory, uint32_t block, uint64_t offset)
{
	const struct mr_caught_memory *own = memory;

	return own->blocks[block].data + offset;
}

void mr_caught_memory_zero(void *memory, uint32_t block, uint64_t offset)
{
	const struct mr_caught_memory *own = memory;
	uint8_t *page = own->blocks[block].data + offset;

	if (!mr_is_zero(page, own->target_page_size))
		memset(page, 0, own->target_page_size);
}

int mr_caught_memory_unpack(struct mr_caught_memory *memory, struct mr_receivers *receivers,
			    const struct mr_action *action)
{
	const struct mr_multifd_packet *packet = &action->packet.record;
	const uint32_t block = action->packet.block;
	uint8_t *pages[MR_PACKET_PAGES_MAX];

	if (block == UINT32_MAX)
		return 0;
	for (uint32_t i = 0; i < packet->normal_pages; i++)
		pages[i] = mr_caught_memory_page(memory, block, mr_multifd_offset(packet, i));
	if (!mr_receivers_unpack(receivers, action->packet.multifd, packet, memory->target_page_size, pages))
		return MR_GUEST_EIO;
	for (uint32_t i = 0; i < packet->zero_pages; i++)
		mr_caught_memory_zero(memory, block, mr_multifd_offset(packet, packet->normal_pages + i));
	return 0;
}

/* ---- Postcopy ---- */

int mr_caught_memory_catch(struct mr_caught_memory *memory, struct mr_host_problem *problem)
{
	memory->userfault = mr_userfault_open(problem);
	return memory->userfault ? 0 : problem->error;
}

int mr_caught_memory_register(struct mr_caught_memory *memory, uint32_t block, struct mr_host_problem *problem)
{
	uint32_t number;
	const int result = mr_userfault_add(memory->userfault, &memory->blocks[block], &number, problem);

	if (result < 0)
		return -result;
	memory->number[block] = number + 1;
	memory->block_of[number] = block;
	return 0;
}

int mr_caught_memory_unregister(struct mr_caught_memory *memory, uint32_t block)
{
	const uint32_t number = memory->number[block];

	memory->number[block] = 0;
	return number ? -mr_userfault_remove(memory->userfault, number - 1, NULL) : 0;
}

void mr_caught_memory_release(struct mr_caught_memory *memory)
{
	mr_userfault_close(memory->userfault);
	memory->userfault = NULL;
}

int mr_caught_memory_place(struct mr_caught_memory *memory, const struct mr_action_placed *placed)
{
	const uint32_t number = memory->number[placed->block] - 1;
	struct mr_userfault_placed done = {0};
	int result;

	if (placed->zero)
		result = mr_userfault_zero(memory->userfault, number, placed->offset, placed->length, &done);
	else
		result = mr_userfault_place(memory->userfault, number, placed->offset, placed->data, placed->length,
					    &done);
	if (result == 0 && done.present)
		return MR_GUEST_EEXIST;
	return -result;
}

int mr_caught_memory_discard(struct mr_caught_memory *memory, const struct mr_action_range *range)
{
	return -mr_host_memory_discard(&memory->blocks[range->block], range->start, range->length, NULL);
}
