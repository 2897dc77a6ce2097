/* request.c: from a fault to a request, and the pages that are waited for. */
#include "machine.h"

#include "machine/bit.h"

/* ---- Pages that are waited for ---- */

static uint64_t first_bit(const struct mr_incoming *incoming, uint64_t offset)
{
	return offset / target_page(incoming);
}

static bool is_requested(const struct mr_incoming *incoming, const struct block *block, uint64_t offset)
{
	return mr_bit_test(requested_of(incoming, block), first_bit(incoming, offset));
}

bool mr_mark(struct mr_incoming *incoming, uint32_t index, uint64_t offset)
{
	const struct block *block = block_at(incoming, index);

	if (block->page_size == target_page(incoming))
		mr_bit_set(received_of(incoming, block), first_bit(incoming, offset));
	else
		mr_bitmap_set(received_of(incoming, block), first_bit(incoming, offset),
			      block->page_size / target_page(incoming));
	mr_blocktime_marked(incoming, index, offset);
	/* Most pages come unasked: where nothing is waited for, a huge map need not be looked at. */
	if (incoming->outstanding == 0 || !is_requested(incoming, block, offset))
		return false;
	mr_bit_clear(requested_of(incoming, block), first_bit(incoming, offset));
	incoming->outstanding--;
	return true;
}

struct mr_return_message mr_request_for(struct mr_incoming *incoming, uint32_t index, uint64_t offset)
{
	enum { PLAIN_LENGTH = 12 };
	const struct block *block = block_at(incoming, index);
	struct mr_return_message message = {
		.type = MR_RETURN_REQ_PAGES,
		.length = PLAIN_LENGTH,
		.start = offset,
		.page_length = (uint32_t)block->page_size,
	};

	if (incoming->last_requested != index) {
		incoming->last_requested = index;
		message.type = MR_RETURN_REQ_PAGES_ID;
		message.length = (uint16_t)(PLAIN_LENGTH + 1 + block->name_length);
		message.block = (struct mr_bytes){(const uint8_t *)block->name, block->name_length};
	}
	return message;
}

/* ---- The fault handler ---- */

bool mr_incoming_takes_fault(const struct mr_incoming *incoming)
{
	const struct fault_handler *fault = &incoming->fault;

	return incoming->actors[MR_ACTOR_FAULT].alive && !incoming->actors[MR_ACTOR_FAULT].ended && !incoming->failed &&
	       !fault->pending && fault->phase != FAULT_START;
}

bool mr_incoming_fault(struct mr_incoming *incoming, uint32_t index, uint64_t offset, uint64_t thread)
{
	struct fault_handler *fault = &incoming->fault;
	const struct block *block;

	if (!mr_incoming_takes_fault(incoming) || index >= incoming->block_count)
		return false;
	block = block_at(incoming, index);
	if (block->ignored || offset >= block->postcopy_length)
		return false;
	fault->pending = true;
	fault->client = 0;
	fault->retried = false;
	fault->block = index;
	fault->offset = offset & ~(block->page_size - 1);
	fault->thread = thread;
	mr_blocktime_told(incoming, index, fault->offset, thread);
	return true;
}

static enum outcome park(struct mr_incoming *incoming, struct mr_action *action, bool between)
{
	incoming->fault.between = between;
	incoming->fault.phase = FAULT_PARKED;
	return mr_act(incoming, MR_ACTOR_FAULT, action, MR_ACTION_PARK);
}

static enum outcome end(struct mr_incoming *incoming, struct mr_action *action)
{
	incoming->fault.pending = false;
	incoming->actors[MR_ACTOR_FAULT].ended = true;
	return mr_act(incoming, MR_ACTOR_FAULT, action, MR_ACTION_ACTOR_END);
}

/*
 * Whether there is somebody to ask. QEMU's handler may come so late that it sees the new connection already, and then
 * asks before RESUME; a strict one does not (REC-011).
 */
static bool may_ask(const struct mr_incoming *incoming)
{
	const bool between =
		incoming->status == MR_STATUS_POSTCOPY_PAUSED || incoming->status == MR_STATUS_POSTCOPY_RECOVER;

	return incoming->return_up && !(incoming->config.strict && between);
}

/* Before it looks at its descriptors, the handler looks whether there is somebody to ask. */
static enum outcome look(struct mr_incoming *incoming, struct mr_action *action)
{
	struct fault_handler *fault = &incoming->fault;

	if (!fault->pending && !fault->wakened)
		return mr_wait(incoming, MR_ACTOR_FAULT, MR_WAIT_FAULT, 0);
	if (!may_ask(incoming) && !fault->quit && does(incoming, MR_SWITCH_RECOVERY))
		return park(incoming, action, true);
	fault->wakened = false;
	if (fault->quit)
		return end(incoming, action);
	if (fault->pending)
		fault->phase = FAULT_DECIDE;
	return ON;
}

/*
 * Where it is remembered that a page is waited for. QEMU remembers a client's request under the client's own address,
 * where no placement finds it: it is waited for to the end. A strict machine remembers the page (REQ-011).
 */
static uint64_t *waiting_map(const struct mr_incoming *incoming, const struct block *block)
{
	return incoming->fault.client && !incoming->config.strict ? at(incoming, block->client_requested)
								  : requested_of(incoming, block);
}

/* The verdict, at one moment: what is received and what is waited for then (REQ-003). */
static enum mr_request_verdict judge(struct mr_incoming *incoming, const struct block *block)
{
	const uint64_t offset = incoming->fault.offset;

	if (!does(incoming, MR_SWITCH_REQUEST_TREE))
		return MR_REQUEST_REPEATED;
	if (mr_bitmap_test(received_of(incoming, block), first_bit(incoming, offset)))
		return MR_REQUEST_DROPPED;
	if (!incoming->fault.client && mr_is_unplugged(incoming, block, offset))
		return MR_REQUEST_ZEROED;
	if (mr_bitmap_test(waiting_map(incoming, block), first_bit(incoming, offset)))
		return MR_REQUEST_REPEATED;
	mr_bitmap_set(waiting_map(incoming, block), first_bit(incoming, offset), 1);
	incoming->outstanding++;
	return MR_REQUEST_ADDED;
}

/* One request on a connection is enough; QEMU repeats it for every message of the kernel's (REQ-004). */
static bool is_enough(const struct mr_incoming *incoming, enum mr_request_verdict verdict)
{
	return verdict == MR_REQUEST_REPEATED && incoming->config.strict && does(incoming, MR_SWITCH_REQUEST_TREE);
}

static enum outcome decide(struct mr_incoming *incoming, struct mr_action *action)
{
	struct fault_handler *fault = &incoming->fault;
	const enum mr_request_verdict verdict = judge(incoming, block_at(incoming, fault->block));

	action->request = (struct mr_action_request){
		.verdict = verdict,
		.block = fault->block,
		.offset = fault->offset,
		.thread = fault->thread,
		.client = fault->client,
		.outstanding = incoming->outstanding,
		.retried = fault->retried,
	};
	if (verdict == MR_REQUEST_ADDED || verdict == MR_REQUEST_REPEATED)
		mr_blocktime_missed(incoming, fault->block, fault->offset, fault->thread);
	fault->phase = verdict == MR_REQUEST_ZEROED ? FAULT_ZERO : FAULT_SEND;
	if (verdict == MR_REQUEST_DROPPED && fault->client) {
		fault->phase = FAULT_WAKE;
	} else if (verdict == MR_REQUEST_DROPPED || is_enough(incoming, verdict)) {
		fault->pending = false;
		fault->phase = FAULT_IDLE;
	}
	return mr_act(incoming, MR_ACTOR_FAULT, action, MR_ACTION_REQUEST);
}

static enum outcome forget_fault(struct mr_incoming *incoming)
{
	incoming->fault.pending = false;
	incoming->fault.phase = FAULT_IDLE;
	return ON;
}

/* A connection that is gone takes no request: the handler sleeps with it in hand. */
static enum outcome request_failed(struct mr_incoming *incoming, struct mr_action *action, int error)
{
	incoming->fault.retried = true;
	if (!does(incoming, MR_SWITCH_RECOVERY))
		return forget_fault(incoming);
	if (error == FAULT_IO || does(incoming, MR_SWITCH_FAULT_PAUSES_ON_ANY_ERROR))
		return park(incoming, action, false);
	return end(incoming, action);
}

static enum outcome send(struct mr_incoming *incoming, struct mr_action *action)
{
	struct fault_handler *fault = &incoming->fault;
	/* The block counts as named even if the message is lost; RESUME forgets it anyway. */
	const struct mr_return_message message = mr_request_for(incoming, fault->block, fault->offset);

	if (!may_ask(incoming))
		return request_failed(incoming, action, FAULT_IO);
	action->send.block = fault->block;
	action->send.offset = fault->offset;
	fault->phase = FAULT_SENT;
	return mr_send(incoming, MR_ACTOR_FAULT, action, &message);
}

/* ---- What is answered here ---- */

/* Its own threads were woken by the placement; a client's wait on another object. */
static enum outcome wake(struct mr_incoming *incoming, struct mr_action *action)
{
	struct fault_handler *fault = &incoming->fault;

	action->wake.client = fault->client - 1;
	action->wake.block = fault->block;
	action->wake.offset = fault->offset;
	forget_fault(incoming);
	return mr_act(incoming, MR_ACTOR_FAULT, action, MR_ACTION_WAKE);
}

static void describe_zero(const struct mr_incoming *incoming, struct mr_action *action)
{
	const struct block *block = block_at(incoming, incoming->fault.block);

	action->placed = (struct mr_action_placed){
		.block = incoming->fault.block,
		.offset = incoming->fault.offset,
		.length = block->page_size,
		.zero = true,
		.by_copy = !block->zeroable,
	};
}

static enum outcome place_zero(struct mr_incoming *incoming, struct mr_action *action)
{
	describe_zero(incoming, action);
	incoming->fault.phase = FAULT_ZEROED;
	return mr_act(incoming, MR_ACTOR_FAULT, action, MR_ACTION_PLACE);
}

/* Any error puts the handler to sleep, as one of the return path does. */
static enum outcome zeroed(struct mr_incoming *incoming, struct mr_action *action)
{
	const int error = incoming->actors[MR_ACTOR_FAULT].error;

	if (error)
		return request_failed(incoming, action, error);
	describe_zero(incoming, action);
	action->placed.was_requested = mr_mark(incoming, incoming->fault.block, incoming->fault.offset);
	action->placed.outstanding = incoming->outstanding;
	forget_fault(incoming);
	return mr_act(incoming, MR_ACTOR_FAULT, action, MR_ACTION_MARKED);
}

static enum outcome sent(struct mr_incoming *incoming, struct mr_action *action)
{
	const int error = incoming->actors[MR_ACTOR_FAULT].error;

	return error ? request_failed(incoming, action, error) : forget_fault(incoming);
}

/* Asleep when the migration ends: QEMU's handler never wakes then; where the load failed, or strictly, it ends. */
static enum outcome parked(struct mr_incoming *incoming, struct mr_action *action)
{
	struct fault_handler *fault = &incoming->fault;

	if (fault->quit && (incoming->config.strict || incoming->status == MR_STATUS_FAILED))
		return end(incoming, action);
	if (!mr_take_release(incoming, MR_ACTOR_FAULT))
		return mr_wait(incoming, MR_ACTOR_FAULT, MR_WAIT_RELEASE, 0);
	fault->phase = fault->between ? FAULT_IDLE : FAULT_DECIDE;
	return mr_act(incoming, MR_ACTOR_FAULT, action, MR_ACTION_CONTINUE);
}

static enum outcome start(struct mr_incoming *incoming, struct mr_action *action)
{
	incoming->fault.phase = FAULT_IDLE;
	return mr_act(incoming, MR_ACTOR_FAULT, action, MR_ACTION_ACTOR_START);
}

enum mr_step mr_fault_step(struct mr_incoming *incoming, struct mr_action *action)
{
	static enum outcome (*const functions[])(struct mr_incoming *, struct mr_action *) = {
		[FAULT_START] = start,     [FAULT_IDLE] = look,     [FAULT_DECIDE] = decide,
		[FAULT_SEND] = send,       [FAULT_SENT] = sent,     [FAULT_WAKE] = wake,
		[FAULT_ZERO] = place_zero, [FAULT_ZEROED] = zeroed, [FAULT_PARKED] = parked,
	};
	enum outcome outcome;

	do
		outcome = functions[incoming->fault.phase](incoming, action);
	while (outcome == ON);
	return outcome == ACTED ? MR_STEP_ACTION : MR_STEP_WAITS;
}
