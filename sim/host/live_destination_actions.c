/* live_destination_actions.c: what the machine asks of a real host: memory, faults, devices, the guest. */
#include "sim/host/live_destination_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- Precopy ---- */

uint8_t *mr_live_destination_page(void *argument, uint32_t block, uint64_t offset)
{
	const struct mr_live_destination *destination = argument;

	return destination->setup.memories[block].data + offset;
}

void mr_live_destination_zero(void *argument, uint32_t block, uint64_t offset)
{
	const struct mr_live_destination *destination = argument;
	const size_t size = destination->setup.scenario->guest.target_page_size;
	uint8_t *page = destination->setup.memories[block].data + offset;

	if (!mr_is_zero(page, size))
		memset(page, 0, size);
}

static int write_packet(struct mr_live_destination *destination, const struct mr_action *action)
{
	const struct mr_multifd_packet *packet = &action->packet.record;
	const uint32_t block = action->packet.block;
	uint8_t *pages[MR_PACKET_PAGES_MAX];

	if (block == UINT32_MAX)
		return 0;
	for (uint32_t i = 0; i < packet->normal_pages; i++)
		pages[i] = mr_live_destination_page(destination, block, mr_multifd_offset(packet, i));
	if (!mr_receivers_unpack(&destination->receivers, action->packet.multifd, packet,
				 destination->setup.scenario->guest.target_page_size, pages))
		return HOST_EIO;
	for (uint32_t i = 0; i < packet->zero_pages; i++)
		mr_live_destination_zero(destination, block, mr_multifd_offset(packet, packet->normal_pages + i));
	return 0;
}

/* ---- Postcopy ---- */

static int place(struct mr_live_destination *destination, const struct mr_action_placed *placed)
{
	const uint32_t number = destination->registered[placed->block];
	struct mr_userfault_placed done = {0};
	int result;

	if (placed->zero)
		result = mr_userfault_zero(destination->userfault, number, placed->offset, placed->length, &done);
	else
		result = mr_userfault_place(destination->userfault, number, placed->offset, placed->data,
					    placed->length, &done);
	if (result == 0 && done.present)
		return HOST_EEXIST;
	return -result;
}

static int discard(struct mr_live_destination *destination, const struct mr_action_range *range)
{
	return -mr_host_memory_discard(&destination->setup.memories[range->block], range->start, range->length, NULL);
}

static int catch_faults(struct mr_live_destination *destination)
{
	struct mr_host_problem problem;

	destination->userfault = mr_userfault_open(&problem);
	if (destination->userfault)
		return 0;
	mr_live_destination_host_failed(destination, "destination: %s", problem.text);
	return problem.error;
}

static int begin_catching(struct mr_live_destination *destination, uint32_t block)
{
	struct mr_host_problem problem;
	uint32_t number;
	const int result =
		mr_userfault_add(destination->userfault, &destination->setup.memories[block], &number, &problem);

	if (result < 0) {
		mr_live_destination_host_failed(destination, "destination: %s", problem.text);
		return -result;
	}
	destination->registered[block] = number;
	destination->userfault_blocks[number] = block;
	return 0;
}

/* As a back end that is asked to: what it hands over at ADVISE is there when FAULT begins (REQ-009). */
static int open_client(struct mr_live_destination *destination)
{
	const struct mr_log_record record = {.kind = MR_LOG_CLIENT, .channel = MR_INCOMING_CHANNELS_MAX};
	const int error = mr_live_client_open(destination->client);

	if (!error && mr_incoming_register_client(destination->incoming) == 0)
		mr_live_destination_tell(destination, &record, NULL);
	return error;
}

static int notify(struct mr_live_destination *destination, enum mr_notice notice)
{
	int error = 0;

	if (!destination->client)
		return 0;
	if (notice == MR_NOTICE_ADVISE)
		error = open_client(destination);
	if (notice == MR_NOTICE_LISTEN)
		error = mr_live_client_catch(destination->client);
	if (notice == MR_NOTICE_END)
		mr_live_client_release(destination->client);
	if (error)
		mr_live_destination_host_failed(destination, "client: cannot catch its faults: %s", strerror(error));
	return error;
}

static int end_catching(struct mr_live_destination *destination, uint32_t block)
{
	const uint32_t number = destination->registered[block];

	destination->registered[block] = MR_LIVE_NOBODY;
	return number == MR_LIVE_NOBODY ? 0 : -mr_userfault_remove(destination->userfault, number, NULL);
}

static void release(struct mr_live_destination *destination)
{
	mr_userfault_close(destination->userfault);
	destination->userfault = NULL;
	destination->has_fault = false;
}

/* ---- Devices and guest ---- */

size_t mr_live_destination_state_size(const struct mr_scenario *scenario)
{
	return scenario->guest.vcpus * sizeof(uint64_t);
}

void mr_live_destination_put_state(const struct mr_scenario *scenario, const uint64_t *touches, uint8_t *body)
{
	for (uint32_t i = 0; i < scenario->guest.vcpus; i++)
		for (unsigned j = 0; j < 8; j++)
			body[i * 8 + j] = (uint8_t)(touches[i] >> (56 - 8 * j));
}

static void get_state(struct mr_live_destination *destination, struct mr_bytes body)
{
	const struct mr_scenario *scenario = destination->setup.scenario;

	if (body.length < mr_live_destination_state_size(scenario))
		return;
	destination->has_touches = true;
	for (uint32_t i = 0; i < scenario->guest.vcpus; i++) {
		destination->touches[i] = 0;
		for (unsigned j = 0; j < 8; j++)
			destination->touches[i] = destination->touches[i] << 8 | body.data[i * 8 + j];
	}
}

/* A device's loading touches guest memory, and waits for what is missing as a vCPU does: others must go on meanwhile.
 */
static void touch_pages(struct mr_live_destination *destination)
{
	const struct mr_scenario *scenario = destination->setup.scenario;
	struct mr_random chance = mr_random_of(scenario->seed, 0x646576696365);

	for (uint32_t i = 0; i < scenario->guest.device_touches; i++) {
		const uint32_t block = (uint32_t)mr_random_below(&chance, scenario->block_count);
		const struct mr_host_memory *memory = &destination->setup.memories[block];
		const uint64_t page = mr_random_below(&chance, memory->size / scenario->guest.target_page_size);
		uint8_t bytes[8];

		mr_host_load(bytes, memory->data + page * scenario->guest.target_page_size, sizeof(bytes));
	}
}

static int load_device(struct mr_live_destination *destination, uint32_t number, struct mr_bytes body)
{
	if (number != 0)
		return 0;
	get_state(destination, body);
	touch_pages(destination);
	return 0;
}

static int start_guest(struct mr_live_destination *destination)
{
	char error[160];

	if (destination->setup.scenario->migration.start_paused || !destination->has_touches ||
	    mr_incoming_status(destination->incoming) == MR_STATUS_FAILED)
		return 0;
	atomic_store(&destination->board->moved_at, mr_clock());
	destination->guest_ran = true;
	if (destination->client)
		mr_live_client_go(destination->client);
	if (mr_live_guest_start(destination->guest, destination->touches, error, sizeof(error)) == 0)
		return 0;
	mr_live_destination_host_failed(destination, "destination: %s", error);
	return HOST_ENOMEM;
}

/* ---- All of them ---- */

/* Outside of the lock: what may wait for a page, for room in a socket, or for the kernel. */
static int do_outside(struct mr_live_destination *destination, const struct mr_action *action, uint32_t device)
{
	switch (action->kind) {
	case MR_ACTION_PLACE:
		return place(destination, &action->placed);
	case MR_ACTION_DISCARD:
		return discard(destination, &action->range);
	case MR_ACTION_PACKET:
		return write_packet(destination, action);
	case MR_ACTION_LOAD_DEVICE:
		return load_device(destination, device, action->device.body);
	default:
		return 0;
	}
}

static int do_inside(struct mr_live_destination *destination, const struct mr_action *action)
{
	switch (action->kind) {
	case MR_ACTION_CATCH:
		return catch_faults(destination);
	case MR_ACTION_REGISTER:
		return begin_catching(destination, action->range.block);
	case MR_ACTION_UNREGISTER:
		return end_catching(destination, action->range.block);
	case MR_ACTION_RELEASE:
		release(destination);
		return 0;
	case MR_ACTION_HUGE_PAGES:
		mr_host_memory_allow_huge(&destination->setup.memories[action->range.block]);
		return 0;
	case MR_ACTION_START_GUEST:
		return start_guest(destination);
	case MR_ACTION_NOTIFY:
		return notify(destination, action->notice);
	case MR_ACTION_WAKE:
		return mr_live_client_wake(destination->client, action->wake.block, action->wake.offset);
	case MR_ACTION_CLOSE:
		mr_connection_shut(&destination->channels[action->channel].connection);
		return 0;
	default:
		return 0;
	}
}

static void count(struct mr_live_destination *destination, const struct mr_action *action)
{
	struct mr_live_board *board = destination->board;
	const uint64_t size = destination->setup.scenario->guest.target_page_size;

	if (action->kind == MR_ACTION_PLACE) {
		board->pages_placed += action->placed.length / size;
	}
	if (action->kind == MR_ACTION_DISCARD && action->range.when == MR_POSTCOPY_DISCARD)
		board->pages_discarded += action->range.length / size;
	if (action->kind == MR_ACTION_PACKET)
		board->pages_loaded += action->packet.record.normal_pages + action->packet.record.zero_pages;
}

int mr_live_destination_carry_out(struct mr_live_destination *destination, struct mr_live_actor *actor,
				  const struct mr_action *action)
{
	uint32_t device = 0;
	int error;

	if (action->kind == MR_ACTION_SEND)
		return mr_live_destination_send(destination, actor, &action->send);
	count(destination, action);
	if (action->kind == MR_ACTION_LOAD_DEVICE)
		device = destination->devices_loaded++;
	if (action->kind != MR_ACTION_PLACE && action->kind != MR_ACTION_DISCARD && action->kind != MR_ACTION_PACKET &&
	    action->kind != MR_ACTION_LOAD_DEVICE)
		return do_inside(destination, action);
	destination->placing += action->kind == MR_ACTION_PLACE;
	pthread_mutex_unlock(&destination->threads.lock);
	error = do_outside(destination, action, device);
	pthread_mutex_lock(&destination->threads.lock);
	destination->placing -= action->kind == MR_ACTION_PLACE;
	if (destination->threads.over)
		pthread_cond_broadcast(&destination->threads.changed);
	return error;
}
