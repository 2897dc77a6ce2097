/* live_destination_actions.c: what the machine asks of a real host: memory, faults, devices, the guest. */
#include "sim/host/live_destination_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- Faults ---- */

static int told(struct mr_live_destination *destination, int error, const struct mr_host_problem *problem)
{
	if (error)
		mr_live_destination_host_failed(destination, "destination: %s", problem->text);
	return error;
}

static int catch_faults(struct mr_live_destination *destination)
{
	struct mr_host_problem problem;
	const int error = mr_caught_memory_catch(&destination->memory, &problem);

	return told(destination, error, &problem);
}

static int begin_catching(struct mr_live_destination *destination, uint32_t block)
{
	struct mr_host_problem problem;
	const int error = mr_caught_memory_register(&destination->memory, block, &problem);

	return told(destination, error, &problem);
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

static void release(struct mr_live_destination *destination)
{
	mr_caught_memory_release(&destination->memory);
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
	return MR_GUEST_ENOMEM;
}

/* ---- All of them ---- */

/* Outside of the lock: what may wait for a page, for room in a socket, or for the kernel. */
static int do_outside(struct mr_live_destination *destination, const struct mr_action *action, uint32_t device)
{
	switch (action->kind) {
	case MR_ACTION_PLACE:
		return mr_caught_memory_place(&destination->memory, &action->placed);
	case MR_ACTION_DISCARD:
		return mr_caught_memory_discard(&destination->memory, &action->range);
	case MR_ACTION_PACKET:
		return mr_caught_memory_unpack(&destination->memory, &destination->receivers, action);
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
		return mr_caught_memory_unregister(&destination->memory, action->range.block);
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
