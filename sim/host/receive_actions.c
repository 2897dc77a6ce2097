/* receive_actions.c: what the machine asks of a live destination's memory, connections and vCPUs. */
#include "sim/host/receive_state.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>

/* ---- Memory ---- */

/* What the kernel does where it catches faults (PC-035). */
static int place_simulated(struct receive *receive, const struct mr_action_placed *placed)
{
	uint8_t *at = mr_caught_memory_page(&receive->memory, placed->block, placed->offset);

	if (mr_incoming_is_received(receive->incoming, placed->block, placed->offset))
		return MR_GUEST_EEXIST;
	if (!placed->zero)
		memcpy(at, placed->data, placed->length);
	else if (!mr_is_zero(at, placed->length))
		memset(at, 0, placed->length);
	mr_readers_wake(receive->readers, placed->block, placed->offset, placed->length, mr_clock());
	return 0;
}

static int place(struct receive *receive, const struct mr_action_placed *placed)
{
	receive->result->pages_placed += placed->length / receive->config.target_page_size;
	return receive->simulated ? place_simulated(receive, placed) : mr_caught_memory_place(&receive->memory, placed);
}

static int discard(struct receive *receive, const struct mr_action_range *range)
{
	if (range->when == MR_POSTCOPY_DISCARD)
		receive->result->pages_discarded += range->length / receive->config.target_page_size;
	return mr_caught_memory_discard(&receive->memory, range);
}

static int unpack(struct receive *receive, const struct mr_action *action)
{
	const struct mr_multifd_packet *packet = &action->packet.record;

	receive->result->pages_precopy += packet->normal_pages + packet->zero_pages;
	if (packet->normal_pages && receive->method == MR_METHOD_UNKNOWN)
		receive->method = packet->flags & MR_MULTIFD_METHOD_MASK;
	return mr_caught_memory_unpack(&receive->memory, &receive->receivers, action);
}

static int catch_or_register(struct receive *receive, const struct mr_action *action)
{
	struct mr_host_problem problem;
	int error;

	if (receive->simulated) {
		receive->memory.number[action->range.block] = action->kind == MR_ACTION_REGISTER;
		return 0;
	}
	error = action->kind == MR_ACTION_CATCH
			? mr_caught_memory_catch(&receive->memory, &problem)
			: mr_caught_memory_register(&receive->memory, action->range.block, &problem);
	if (error)
		mr_receive_complain(receive, "%s", problem.text);
	return error;
}

static int unregister(struct receive *receive, uint32_t block)
{
	if (!receive->simulated)
		return mr_caught_memory_unregister(&receive->memory, block);
	receive->memory.number[block] = 0;
	return 0;
}

static void release(struct receive *receive)
{
	mr_caught_memory_release(&receive->memory);
	receive->has_fault = false;
}

/* ---- vCPUs ---- */

static int start_guest(struct receive *receive)
{
	int error;

	if (receive->guest_runs)
		return 0;
	receive->guest_runs = true;
	if (receive->simulated) {
		mr_readers_begin(receive->readers, mr_clock());
		return 0;
	}
	error = mr_readers_start(receive->readers);
	if (error)
		mr_receive_complain(receive, "the host gives no thread for a vCPU: %s", strerror(error));
	return error;
}

static void read_fault(struct receive *receive)
{
	receive->has_fault =
		receive->memory.userfault && mr_userfault_read(receive->memory.userfault, &receive->fault, 1) == 1;
	if (!receive->has_fault)
		return;
	receive->fault.block = receive->memory.block_of[receive->fault.block];
	receive->fault_reader = (uint32_t)mr_readers_find(receive->readers, receive->fault.thread);
}

/* Touches of pages that are there are made at once; the first of one that is not is a fault. */
static void simulate_fault(struct receive *receive)
{
	uint64_t offset;
	uint32_t block, reader;

	while (receive->guest_runs && mr_readers_touch(receive->readers, mr_clock(), &reader, &block, &offset)) {
		if (!receive->memory.number[block] || mr_incoming_is_received(receive->incoming, block, offset))
			continue;
		mr_readers_wait(receive->readers, reader, mr_clock());
		receive->fault = (struct mr_userfault_event){.block = block, .offset = offset};
		receive->fault_reader = reader;
		receive->has_fault = true;
		return;
	}
}

static bool tell_fault(struct receive *receive)
{
	const uint32_t reader = receive->fault_reader;
	const struct mr_log_record record = {
		.kind = MR_LOG_FAULT,
		.channel = MR_INCOMING_CHANNELS_MAX,
		.block = receive->fault.block,
		.offset = receive->fault.offset,
		.thread = reader == RECEIVE_NOBODY ? RECEIVE_DEVICE_THREAD : RECEIVE_THREAD_FIRST + (uint64_t)reader,
	};

	if (!mr_incoming_fault(receive->incoming, record.block, record.offset, record.thread))
		return false;
	if (!receive->simulated)
		mr_readers_note_fault(receive->readers, (int)reader);
	receive->has_fault = false;
	receive->result->faults++;
	receive->actors[MR_ACTOR_FAULT].ready = true;
	mr_receive_tell(receive, &record, NULL);
	return true;
}

bool mr_receive_take_faults(struct receive *receive)
{
	if (!receive->has_fault)
		(receive->simulated ? simulate_fault : read_fault)(receive);
	return receive->has_fault && mr_incoming_takes_fault(receive->incoming) && tell_fault(receive);
}

/* ---- Connections ---- */

static int send_message(struct receive *receive, const struct mr_action *action)
{
	const int error = mr_receive_send(receive, &action->send);
	struct receive_actor *actor = &receive->actors[action->actor];

	actor->sends = error == RECEIVE_PENDING ? action->send.bytes.length : 0;
	actor->send_channel = action->send.channel;
	if (error <= 0 && (action->send.type == MR_RETURN_REQ_PAGES || action->send.type == MR_RETURN_REQ_PAGES_ID))
		receive->result->requests_sent++;
	return error;
}

static int close_channel(struct receive *receive, uint32_t channel)
{
	if (channel < receive->channel_count && receive->channels[channel]->socket >= 0)
		shutdown(receive->channels[channel]->socket, SHUT_RDWR);
	return 0;
}

/* ---- All of them ---- */

int mr_receive_carry_out(struct receive *receive, const struct mr_action *action)
{
	switch (action->kind) {
	case MR_ACTION_SEND:
		return send_message(receive, action);
	case MR_ACTION_PLACE:
		return place(receive, &action->placed);
	case MR_ACTION_DISCARD:
		return discard(receive, &action->range);
	case MR_ACTION_PACKET:
		return unpack(receive, action);
	case MR_ACTION_CATCH:
	case MR_ACTION_REGISTER:
		return catch_or_register(receive, action);
	case MR_ACTION_UNREGISTER:
		return unregister(receive, action->range.block);
	case MR_ACTION_RELEASE:
		release(receive);
		return 0;
	case MR_ACTION_HUGE_PAGES:
		mr_host_memory_allow_huge(&receive->memories[action->range.block]);
		return 0;
	case MR_ACTION_START_GUEST:
		return start_guest(receive);
	case MR_ACTION_CLOSE:
		return close_channel(receive, action->channel);
	default:
		return 0;
	}
}

static void see_status(struct receive *receive, enum mr_status status)
{
	if (status == MR_STATUS_POSTCOPY_PAUSED) {
		receive->census.cut = true;
		receive->preempt_due = receive->result->capabilities & MR_CAPABILITY_POSTCOPY_PREEMPT;
	}
	receive->result->recoveries += status == MR_STATUS_POSTCOPY_RECOVER;
	/* who fails gives up all that it has, its guest too */
	if (status == MR_STATUS_FAILED)
		mr_readers_ask_to_stop(receive->readers);
}

void mr_receive_see(struct receive *receive, const struct mr_action *action)
{
	switch (action->kind) {
	case MR_ACTION_STATUS:
		see_status(receive, action->status);
		break;
	case MR_ACTION_RAM_RECORD:
		receive->result->pages_precopy += !action->page.postcopy && !action->page.cut;
		if (action->page.flags & MR_RAM_FLAG_XBZRLE)
			receive->result->capabilities |= MR_CAPABILITY_XBZRLE;
		break;
	case MR_ACTION_REQUEST:
		receive->result->requests_dropped += action->request.verdict == MR_REQUEST_DROPPED;
		receive->result->pages_requested += action->request.verdict == MR_REQUEST_ADDED;
		break;
	case MR_ACTION_MARKED:
		receive->result->pages_answered += action->placed.was_requested;
		break;
	case MR_ACTION_LOADED:
		receive->loaded = true;
		break;
	case MR_ACTION_FINISHED:
		receive->finished = true;
		break;
	case MR_ACTION_FAILED:
		receive->failed = true;
		break;
	default:
		break;
	}
}
