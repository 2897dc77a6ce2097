/* explore_steps.c: one operation on a machine as it stands: the real code, and what the world needs to know of it. */
#include "sim/world/explore_machines.h"

#include <string.h>

static uint64_t versions_of(const struct explore_machines *machines, page_set pages, const uint8_t *content)
{
	const size_t size = machines->setup->page_size;
	uint64_t versions = 0;

	for (uint32_t page = 0; page < machines->setup->pages; page++) {
		if (!(pages >> page & 1))
			continue;
		versions = with_version(versions, page, mr_machines_version(machines, page, content));
		content = content ? content + size : NULL;
	}
	return versions;
}

/* ---- Choices of the source ---- */

static uint32_t answers_to(const struct explore_machines *machines, enum mr_choice choice)
{
	enum { TURNS = MR_TURN_COMPLETE + 1 };

	if (choice == MR_CHOICE_TURN)
		return TURNS;
	return choice == MR_CHOICE_PAGE ? machines->setup->pages : 2;
}

/* Variant 0 has every canonical answer; the others count through all answers of all choices, as digits of a number. */
uint64_t mr_machines_choose(void *argument, enum mr_choice choice, uint64_t canonical)
{
	struct explore_machines *machines = argument;
	const uint32_t count = answers_to(machines, choice);
	struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_CHOOSE, .choice = choice, .count = 1};

	if (!(machines->setup->choices >> choice & 1))
		return canonical;
	record.answer = (canonical + machines->answers % count) % count;
	machines->answers /= count;
	machines->variants *= count;
	if (machines->live && machines->watch.source)
		machines->watch.source(machines->watch.argument, &record, NULL);
	return record.answer;
}

/* ---- The source ---- */

static void tell_source(const struct explore_machines *machines, const struct mr_source_log_record *record,
			const struct mr_source_action *action)
{
	if (machines->live && machines->watch.source)
		machines->watch.source(machines->watch.argument, record, action);
}

static bool hand_over_block(struct explore_machines *machines, uint32_t block, page_set dirty)
{
	const struct explore_setup *setup = machines->setup;
	struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_DIRTY, .block = block, .length = setup->page_size};

	for (uint32_t page = 0; page < setup->blocks[block].pages; page++) {
		if (!(dirty >> (setup->blocks[block].first + page) & 1))
			continue;
		record.start = (uint64_t)page * setup->page_size;
		tell_source(machines, &record, NULL);
		if (!mr_outgoing_dirty(machines->source, block, record.start, record.length))
			return false;
	}
	return true;
}

static bool hand_over_log(struct explore_machines *machines)
{
	for (uint32_t block = 0; block < machines->setup->block_count; block++)
		if (!hand_over_block(machines, block, machines->operation->dirty))
			return false;
	return true;
}

static void save_device(struct explore_machines *machines, uint32_t handler)
{
	const size_t length = machines->setup->scenario->guest.device_bytes;

	mr_outgoing_save(machines->source, (struct mr_bytes){machines->device_bodies + handler * length, length});
}

/* What the machine asked for, as far as it is a matter of the machine. False if it does not take the answer. */
static bool answer_source(struct explore_machines *machines, const struct mr_source_action *action)
{
	int result = 0;

	if (action->kind == MR_SOURCE_ACTION_LOG_SYNC && !hand_over_log(machines))
		return false;
	if (action->kind == MR_SOURCE_ACTION_SAVE)
		save_device(machines, action->save.handler);
	if (action->kind == MR_SOURCE_ACTION_DESCRIBE)
		mr_outgoing_save(machines->source, mr_machines_description(machines));
	if (action->kind == MR_SOURCE_ACTION_CONNECT && machines->operation->fails)
		result = HOST_ECONNREFUSED;
	return !action->asked || mr_outgoing_complete(machines->source, action->actor, result);
}

static void describe_source(struct explore_machines *machines, const struct mr_source_action *action,
			    struct explore_effect *effect)
{
	switch (action->kind) {
	case MR_SOURCE_ACTION_SEND:
		effect->channel = (uint8_t)action->send.channel;
		effect->detail = (uint8_t)action->send.kind;
		effect->requested = action->send.requested;
		effect->message = mr_queues_message(machines->queues, action->send.head, action->send.body);
		if (action->send.block < machines->setup->block_count)
			effect->pages = mr_explore_range(machines->setup, action->send.block, action->send.page,
							 machines->setup->page_size);
		break;
	case MR_SOURCE_ACTION_CONNECT:
		effect->channel = (uint8_t)action->connect.channel;
		effect->role = (uint8_t)action->connect.role;
		break;
	case MR_SOURCE_ACTION_CLOSE:
		effect->channel = (uint8_t)action->channel;
		break;
	case MR_SOURCE_ACTION_STATUS:
		effect->detail = (uint8_t)action->status;
		break;
	case MR_SOURCE_ACTION_REQUEST:
		effect->detail = action->request.sent;
		effect->pages = mr_explore_range(machines->setup, action->request.block, action->request.start,
						 action->request.length);
		break;
	case MR_SOURCE_ACTION_RETURN:
		effect->detail = (uint8_t)action->message.record.type;
		break;
	case MR_SOURCE_ACTION_LOG_CLEAR:
		effect->pages = mr_explore_range(machines->setup, action->range.block, action->range.start,
						 action->range.length);
		break;
	default:
		break;
	}
}

/* What has arrived for it is what it is shown. */
static void tell_arrived(struct explore_machines *machines)
{
	const struct explore_operation *operation = machines->operation;

	for (unsigned i = 0; i < operation->window_count; i++) {
		const uint32_t channel = operation->windows[i].channel;
		const struct mr_source_log_record record = {
			.kind = MR_SOURCE_LOG_ARRIVE,
			.channel = channel,
			.bytes = machines->shown[channel],
			.ended = operation->windows[i].at_end,
		};

		if (record.bytes == machines->told[channel] && record.ended == machines->told_end[channel])
			continue;
		machines->told[channel] = record.bytes;
		machines->told_end[channel] = record.ended;
		tell_source(machines, &record, NULL);
	}
}

void mr_machines_step_source(struct explore_machines *machines, struct explore_effect *effect)
{
	const struct explore_operation *operation = machines->operation;
	struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_WAIT, .actor = operation->actor, .count = 1};
	struct mr_source_action action = {0};
	enum mr_step step;

	machines->answers = operation->variant;
	machines->variants = 1;
	if (machines->live)
		tell_arrived(machines);
	step = mr_outgoing_step(machines->source, operation->actor, &action);
	effect->done = step == MR_STEP_DONE;
	if (step == MR_STEP_ACTION) {
		record.kind = MR_SOURCE_LOG_STEP;
		effect->effect = EFFECT_ACTED;
		effect->action = (uint8_t)action.kind;
		describe_source(machines, &action, effect);
		effect->local = mr_local_source(machines, &action);
		if (!answer_source(machines, &action))
			effect->effect = EFFECT_ILLEGAL;
	}
	effect->variants = machines->variants < UINT16_MAX ? (uint16_t)machines->variants : UINT16_MAX;
	tell_source(machines, &record, effect->effect == EFFECT_NONE ? NULL : &action);
}

/* ---- The destination ---- */

static void tell_destination(const struct explore_machines *machines, const struct mr_log_record *record,
			     const struct mr_action *action)
{
	if (machines->live && machines->watch.destination)
		machines->watch.destination(machines->watch.argument, record, machines->destination, action);
}

/* A received bitmap follows its size. */
static void send_back(struct explore_machines *machines, const struct mr_action_send *send,
		      struct explore_effect *effect)
{
	enum { SIZE_BYTES = 8 };
	uint8_t copy[256];
	struct mr_bytes bytes = send->bytes;

	effect->channel = (uint8_t)send->channel;
	effect->detail = (uint8_t)send->type;
	if (machines->setup->options.canary == MR_CANARY_LOST_BITMAP && send->bitmap && send->block == 0 &&
	    bytes.length > SIZE_BYTES && bytes.length <= sizeof(copy)) {
		memcpy(copy, bytes.data, bytes.length);
		copy[SIZE_BYTES] &= 0xfe;
		bytes.data = copy;
	}
	effect->message = mr_queues_message(machines->queues, bytes, (struct mr_bytes){0});
}

static void place(struct explore_machines *machines, const struct mr_action_placed *placed,
		  struct explore_effect *effect)
{
	const bool zeros = machines->setup->options.canary == MR_CANARY_WRONG_CONTENT || placed->zero;

	effect->pages = mr_explore_range(machines->setup, placed->block, placed->offset, placed->length);
	effect->versions = versions_of(machines, effect->pages, zeros ? NULL : placed->data);
}

/* As QEMU's releases do where no discard came before LISTEN (E-03). */
static bool is_run_refused(const struct explore_machines *machines, const struct mr_action *action)
{
	return action->command.number == MR_COMMAND_POSTCOPY_RUN && action->command.result < 0 &&
	       !machines->destination_config.strict &&
	       mr_incoming_postcopy_state(machines->destination) == MR_POSTCOPY_DISCARD;
}

static void describe_destination(struct explore_machines *machines, const struct mr_action *action,
				 struct explore_effect *effect)
{
	switch (action->kind) {
	case MR_ACTION_SEND:
		send_back(machines, &action->send, effect);
		break;
	case MR_ACTION_PLACE:
		place(machines, &action->placed, effect);
		break;
	case MR_ACTION_RAM_RECORD:
		effect->pages = machines->written;
		effect->versions = versions_of(machines, machines->written, machines->written_page);
		break;
	case MR_ACTION_DISCARD:
		effect->detail = (uint8_t)action->range.when;
		effect->pages = mr_explore_range(machines->setup, action->range.block, action->range.start,
						 action->range.length);
		break;
	case MR_ACTION_REGISTER:
	case MR_ACTION_UNREGISTER:
		effect->pages = mr_explore_range(machines->setup, action->range.block, action->range.start,
						 action->range.length);
		break;
	case MR_ACTION_REQUEST:
		effect->detail = (uint8_t)action->request.verdict;
		effect->pages = mr_explore_range(machines->setup, action->request.block, action->request.offset,
						 machines->setup->page_size);
		break;
	case MR_ACTION_STATUS:
		effect->detail = (uint8_t)action->status;
		break;
	case MR_ACTION_START_GUEST:
		effect->detail = (uint8_t)mr_incoming_postcopy_state(machines->destination);
		break;
	case MR_ACTION_COMMAND:
		effect->detail = (uint8_t)action->command.number;
		break;
	case MR_ACTION_COMMAND_DONE:
		effect->detail = (uint8_t)action->command.number;
		effect->refused = is_run_refused(machines, action);
		break;
	case MR_ACTION_CLOSE:
		effect->channel = (uint8_t)action->channel;
		break;
	default:
		break;
	}
}

static void describe_wait(const struct explore_machines *machines, struct mr_log_record *record)
{
	const struct mr_wants wants = mr_incoming_wants(machines->destination, record->actor);

	record->channel = MR_INCOMING_CHANNELS_MAX;
	if (wants.wait != MR_WAIT_NOTHING || wants.wanted == 0)
		return;
	record->channel = wants.channel;
	record->bytes = wants.channel < EXPLORE_CONNECTIONS_MAX ? machines->shown[wants.channel] : 0;
}

void mr_machines_step_destination(struct explore_machines *machines, struct explore_effect *effect)
{
	const struct explore_operation *operation = machines->operation;
	struct mr_log_record record = {
		.kind = MR_LOG_STEP, .actor = operation->actor, .channel = MR_INCOMING_CHANNELS_MAX, .count = 1};
	struct mr_action action;
	enum mr_step step;
	int error = 0;

	machines->written = 0;
	step = mr_incoming_step(machines->destination, operation->actor, &action);
	effect->done = step == MR_STEP_DONE;
	if (step != MR_STEP_ACTION) {
		record.kind = MR_LOG_WAIT;
		describe_wait(machines, &record);
		tell_destination(machines, &record, NULL);
		return;
	}
	effect->effect = EFFECT_ACTED;
	effect->action = (uint8_t)action.kind;
	describe_destination(machines, &action, effect);
	effect->local = mr_local_destination(machines, &action);
	if (action.kind == MR_ACTION_SEND && operation->fails)
		error = HOST_EIO;
	if (action.asked && !mr_incoming_complete(machines->destination, operation->actor, error))
		effect->effect = EFFECT_ILLEGAL;
	tell_destination(machines, &record, &action);
}

/* ---- What they are told ---- */

static bool command(struct explore_machines *machines, unsigned number)
{
	static bool (*const functions[])(struct mr_outgoing *) = {
		[MR_SOURCE_COMMAND_START_POSTCOPY] = mr_outgoing_start_postcopy,
		[MR_SOURCE_COMMAND_CONTINUE] = mr_outgoing_continue,
		[MR_SOURCE_COMMAND_CANCEL] = mr_outgoing_cancel,
		[MR_SOURCE_COMMAND_PAUSE] = mr_outgoing_pause,
		[MR_SOURCE_COMMAND_RECOVER] = mr_outgoing_recover,
	};
	const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_COMMAND,
						    .command = (enum mr_source_command)number};

	if (!functions[number](machines->source))
		return false;
	tell_source(machines, &record, NULL);
	return true;
}

static bool break_connection(struct explore_machines *machines, uint32_t channel)
{
	const struct mr_source_log_record record = {
		.kind = MR_SOURCE_LOG_BROKEN, .channel = channel, .error = HOST_EPIPE};

	mr_outgoing_broken(machines->source, channel, HOST_EPIPE);
	tell_source(machines, &record, NULL);
	return true;
}

static bool open_connection(struct explore_machines *machines, uint32_t channel, enum mr_role role)
{
	const struct mr_log_record record = {.kind = MR_LOG_OPEN, .channel = channel, .role = role};

	if (mr_incoming_open(machines->destination, channel, role) < 0)
		return false;
	tell_destination(machines, &record, NULL);
	return true;
}

static bool tell_fault(struct explore_machines *machines, uint32_t vcpu, uint32_t page)
{
	const struct explore_setup *setup = machines->setup;
	const uint32_t block = mr_explore_block_of(setup, page);
	const struct mr_log_record record = {
		.kind = MR_LOG_FAULT,
		.channel = MR_INCOMING_CHANNELS_MAX,
		.block = block,
		.offset = (uint64_t)(page - setup->blocks[block].first) * setup->page_size,
		.thread = THREAD_FIRST + vcpu,
	};

	if (!mr_incoming_fault(machines->destination, block, record.offset, record.thread))
		return false;
	tell_destination(machines, &record, NULL);
	return true;
}

void mr_machines_input(struct explore_machines *machines, struct explore_effect *effect)
{
	const struct explore_operation *operation = machines->operation;
	bool taken = false;

	if (operation->code == OPERATION_COMMAND)
		taken = command(machines, operation->actor);
	else if (operation->code == OPERATION_BROKEN)
		taken = break_connection(machines, operation->channel);
	else if (operation->code == OPERATION_OPEN)
		taken = open_connection(machines, operation->channel, (enum mr_role)operation->role);
	else if (operation->code == OPERATION_FAULT)
		taken = tell_fault(machines, operation->actor, operation->page);
	effect->effect = taken ? EFFECT_ACTED : EFFECT_NONE;
}
