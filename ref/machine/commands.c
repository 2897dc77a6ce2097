/* commands.c: what each command makes a destination do, one commit point after the other. */
#include "machine.h"

#include <inttypes.h>

/* ---- Common to several ---- */

static enum outcome refuse(struct mr_incoming *incoming, struct loader *loader, int error, enum mr_rule rule,
			   struct mr_text expected, struct mr_text found)
{
	mr_blame(incoming, loader, rule, expected, found);
	return mr_end_command(incoming, loader, -error);
}

static enum outcome succeed(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	return mr_end_command(incoming, loader, 0);
}

static int error_of(const struct mr_incoming *incoming, const struct loader *loader)
{
	return incoming->actors[loader->actor].error;
}

/* The asked action that this loader waited for failed. */
static enum outcome refuse_failed(struct mr_incoming *incoming, struct loader *loader, enum mr_rule rule,
				  const char *what)
{
	const int error = error_of(incoming, loader);

	return refuse(incoming, loader, error, rule, mr_text("%s", what), mr_text("error %d", error));
}

/* Huge pages would fill the holes that discards leave: each block does without, before the first discard. */
static enum outcome forbid_huge_pages(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	uint32_t index;
	const struct block *block = mr_next_block(incoming, loader, &index);

	if (!block)
		return mr_go(loader, loader->then);
	action->range = (struct mr_action_range){.block = index, .length = block->postcopy_length};
	return mr_act(incoming, loader->actor, action, MR_ACTION_NO_HUGE_PAGES);
}

static enum outcome forbid_huge_pages_then(struct loader *loader, phase_function *then)
{
	loader->index = 0;
	loader->then = then;
	return mr_go(loader, forbid_huge_pages);
}

static enum outcome enter_state(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action,
				enum mr_postcopy_state state, phase_function *then)
{
	loader->phase = then;
	return mr_set_state(incoming, loader->actor, action, state);
}

/* ---- OPEN_RETURN_PATH, PING ---- */

/* Where no handler asks for a delay, the ack is due at once. */
static bool takes_ack(struct mr_incoming *incoming)
{
	if (incoming->config.handlers)
		return mr_ack_due(incoming);
	return has(incoming, MR_CAPABILITY_SWITCHOVER_ACK) && does(incoming, MR_SWITCH_SWITCHOVER_ACK_ONCE);
}

static enum outcome open_return_path(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const struct mr_return_message ack = {.type = MR_RETURN_SWITCHOVER_ACK};

	if (incoming->return_up)
		return mr_end_command(incoming, loader, 0);
	incoming->return_up = true;
	incoming->return_channel = loader->channel;
	loader->phase = succeed;
	if (takes_ack(incoming))
		return mr_send(incoming, loader->actor, action, &ack);
	return ON;
}

static enum outcome ping(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const struct mr_return_message pong = {.type = MR_RETURN_PONG, .length = 4, .value = loader->command.value};

	if (!incoming->return_up)
		return refuse(incoming, loader, FAULT_OTHER, MR_CMD_004, mr_text("an open return path"),
			      mr_text("none"));
	/* A pong that is lost is not missed. */
	loader->phase = succeed;
	return mr_send(incoming, loader->actor, action, &pong);
}

/* ---- ADVISE ---- */

static uint64_t page_size_summary(const struct mr_incoming *incoming)
{
	uint64_t summary = 0;

	if (!does(incoming, MR_SWITCH_ADVISE_SUMMARY))
		return incoming->config.host_page_size;
	for (uint32_t i = 0; i < incoming->block_count; i++)
		if (!block_at(incoming, i)->ignored)
			summary |= block_at(incoming, i)->page_size;
	return summary;
}

static enum outcome emptied(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action);

static enum outcome empty_block(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	uint32_t index;
	struct block *block = mr_next_block(incoming, loader, &index);

	if (!block)
		return mr_end_command(incoming, loader, 0);
	block->postcopy_length = block->used_length;
	mr_bitmap_clear(received_of(incoming, block), 0, block->used_length / target_page(incoming));
	action->range =
		(struct mr_action_range){.block = index, .length = block->used_length, .when = MR_POSTCOPY_ADVISE};
	loader->phase = emptied;
	return mr_act(incoming, loader->actor, action, MR_ACTION_DISCARD);
}

static enum outcome emptied(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (error_of(incoming, loader))
		return refuse_failed(incoming, loader, MR_PC_006, "a block that can be emptied");
	return mr_go(loader, empty_block);
}

static enum outcome advise_notified(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (error_of(incoming, loader))
		return refuse_failed(incoming, loader, MR_PC_005, "devices that agree to ADVISE");
	loader->index = 0;
	return mr_go(loader, empty_block);
}

static enum outcome advise_compare(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const uint64_t summary = page_size_summary(incoming);

	if (loader->command.summary != summary)
		return refuse(incoming, loader, FAULT_OTHER, MR_PC_004,
			      mr_text("page size summary 0x%" PRIx64, summary),
			      mr_text("0x%" PRIx64, loader->command.summary));
	if (loader->command.target_page_size != target_page(incoming))
		return refuse(incoming, loader, FAULT_OTHER, MR_PC_004,
			      mr_text("target page size 0x%" PRIx32, target_page(incoming)),
			      mr_text("0x%" PRIx64, loader->command.target_page_size));
	action->notice = MR_NOTICE_ADVISE;
	loader->phase = advise_notified;
	return mr_act(incoming, loader->actor, action, MR_ACTION_NOTIFY);
}

static enum outcome unsupported_told(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	return mr_end_command(incoming, loader, -FAULT_OTHER);
}

static enum outcome unsupported(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action,
				struct mr_text expected, struct mr_text found)
{
	mr_blame(incoming, loader, MR_PC_005, expected, found);
	return enter_state(incoming, loader, action, MR_POSTCOPY_NONE, unsupported_told);
}

/* What the host is asked, in order; each entry may be left out. */
static bool is_probed(const struct mr_incoming *incoming, uint32_t step)
{
	enum { FILE_SYSTEMS_STEP = 3 };

	return step != FILE_SYSTEMS_STEP || does(incoming, MR_SWITCH_PROBE_FILE_SYSTEMS);
}

static enum outcome probe(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action);

static enum outcome probed(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	static const char *const wanted[] = {
		"userfault objects",           "devices that can do postcopy",
		"userfault features",          "memory that can catch faults",
		"memory that can be unlocked", "userfaults on a page",
	};

	if (error_of(incoming, loader))
		return unsupported(incoming, loader, action, mr_text("a host with %s", wanted[loader->index]),
				   mr_text("error %d", error_of(incoming, loader)));
	loader->index++;
	return mr_go(loader, probe);
}

static enum outcome probe(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	static const struct {
		enum mr_action_kind kind;
		unsigned what;
	} steps[] = {
		{MR_ACTION_PROBE, MR_PROBE_OPEN},
		{MR_ACTION_NOTIFY, MR_NOTICE_PROBE},
		{MR_ACTION_PROBE, MR_PROBE_FEATURES},
		{MR_ACTION_PROBE, MR_PROBE_FILE_SYSTEMS},
		{MR_ACTION_UNLOCK, 0},
		{MR_ACTION_PROBE, MR_PROBE_REGISTER},
	};
	const uint32_t count = sizeof(steps) / sizeof(steps[0]);

	while (loader->index < count && !is_probed(incoming, loader->index))
		loader->index++;
	if (loader->index == count)
		return mr_go(loader, advise_compare);
	if (steps[loader->index].kind == MR_ACTION_NOTIFY)
		action->notice = (enum mr_notice)steps[loader->index].what;
	else
		action->probe = (enum mr_probe)steps[loader->index].what;
	loader->phase = probed;
	return mr_act(incoming, loader->actor, action, steps[loader->index].kind);
}

/* What needs no host to be asked. */
static enum outcome probe_begin(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	if (target_page(incoming) > incoming->config.host_page_size)
		return unsupported(incoming, loader, action, mr_text("target pages no larger than the host's"),
				   mr_text("%" PRIu32 " bytes", target_page(incoming)));
	for (uint32_t i = 0; i < incoming->block_count; i++) {
		const struct block *block = block_at(incoming, i);

		if (!block->ignored && block->used_length % block->page_size)
			return unsupported(incoming, loader, action, mr_text("%s of whole host pages", block->name),
					   mr_text("0x%" PRIx64 " bytes", block->used_length));
	}
	loader->index = 0;
	return mr_go(loader, probe);
}

static enum outcome advise_length(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const unsigned expected = has(incoming, MR_CAPABILITY_POSTCOPY_RAM) ? 16 : 0;

	(void)action;
	if (loader->command.length != expected)
		return refuse(incoming, loader, FAULT_INVALID, MR_PC_003, mr_text("%u bytes", expected),
			      mr_text("%u", loader->command.length));
	return expected ? mr_go(loader, probe_begin) : mr_end_command(incoming, loader, 0);
}

static enum outcome advise(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	return enter_state(incoming, loader, action, MR_POSTCOPY_ADVISE, advise_length);
}

/* ---- RAM_DISCARD ---- */

static enum outcome discarded(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action);

static bool is_discardable(const struct mr_incoming *incoming, const struct block *block, uint64_t start,
			   uint64_t length)
{
	const uint64_t limit = does(incoming, MR_SWITCH_DISCARD_LIMIT_MAXIMUM) ? block->max_length : block->used_length;

	return start % block->page_size == 0 && length % block->page_size == 0 && start <= limit &&
	       length <= limit - start;
}

static enum outcome discard_range(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const uint8_t *range = (const uint8_t *)at(incoming, incoming->places.payload) + (size_t)loader->index * 16;
	const struct block *block;
	uint64_t start, length;

	if (loader->index == loader->command.range_count)
		return mr_end_command(incoming, loader, 0);
	start = mr_get_be64(range);
	length = mr_get_be64(range + 8);
	if (loader->command.block == NO_BLOCK)
		return refuse(incoming, loader, FAULT_OTHER, MR_PC_009, mr_text("a block of this machine"),
			      mr_text("another name"));
	block = block_at(incoming, loader->command.block);
	if (!is_discardable(incoming, block, start, length))
		return refuse(incoming, loader, FAULT_OTHER, MR_PC_009,
			      mr_text("whole host pages within %s", block->name),
			      mr_text("0x%" PRIx64 " bytes at 0x%" PRIx64, length, start));
	mr_bitmap_clear(received_of(incoming, block), start / target_page(incoming), length / target_page(incoming));
	action->range = (struct mr_action_range){loader->command.block, start, length, MR_POSTCOPY_DISCARD};
	loader->phase = discarded;
	return mr_act(incoming, loader->actor, action, MR_ACTION_DISCARD);
}

static enum outcome discarded(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (error_of(incoming, loader))
		return refuse_failed(incoming, loader, MR_PC_009, "a range that can be discarded");
	loader->index++;
	return mr_go(loader, discard_range);
}

static enum outcome discard_header(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	action->range = (struct mr_action_range){.block = loader->command.block,
						 .length = (uint64_t)loader->command.range_count * 16};
	loader->index = 0;
	loader->phase = discard_range;
	return mr_act(incoming, loader->actor, action, MR_ACTION_DISCARD_HEADER);
}

static enum outcome discard_prepared(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	return enter_state(incoming, loader, action, MR_POSTCOPY_DISCARD, discard_header);
}

static enum outcome discard(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	return incoming->state == MR_POSTCOPY_ADVISE ? forbid_huge_pages_then(loader, discard_prepared)
						     : mr_go(loader, discard_header);
}

/* ---- LISTEN ---- */

static enum outcome listen_failed(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	return mr_end_command(incoming, loader, loader->result);
}

/* What was set up so far is given back, from 4.0 on. */
static enum outcome give_up_listening(struct mr_incoming *incoming, struct loader *loader, const char *what)
{
	const int error = error_of(incoming, loader);

	mr_blame(incoming, loader, MR_PC_010, mr_text("%s", what), mr_text("error %d", error));
	loader->result = -error;
	return does(incoming, MR_SWITCH_LISTEN_FAILURE_CLEANS) ? mr_cleanup_then(loader, listen_failed)
							       : mr_go(loader, listen_failed);
}

/* The listen loader counts as started when it has shown its status. */
static enum outcome listen_wait(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (!incoming->listen_signalled)
		return mr_wait(incoming, loader->actor, MR_WAIT_ACTOR, MR_ACTOR_LISTEN);
	return mr_end_command(incoming, loader, 0);
}

static enum outcome listen_notified(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (error_of(incoming, loader))
		return give_up_listening(incoming, loader, "devices that agree to LISTEN");
	mr_start_actor(incoming, MR_ACTOR_LISTEN);
	return mr_go(loader, listen_wait);
}

static enum outcome listen_notify(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	action->notice = MR_NOTICE_LISTEN;
	loader->phase = listen_notified;
	return mr_act(incoming, loader->actor, action, MR_ACTION_NOTIFY);
}

static enum outcome listen_ready(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = listen_notify;
	return mr_act(incoming, loader->actor, action, MR_ACTION_LISTEN_READY);
}

static enum outcome listen_preempt(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (!has(incoming, MR_CAPABILITY_POSTCOPY_PREEMPT))
		return mr_go(loader, listen_ready);
	mr_start_actor(incoming, MR_ACTOR_PREEMPT);
	if (!incoming->preempt_started)
		return mr_wait(incoming, loader->actor, MR_WAIT_ACTOR, MR_ACTOR_PREEMPT);
	return mr_go(loader, listen_ready);
}

static enum outcome registered(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action);

static enum outcome listen_register(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	uint32_t index;
	const struct block *block = mr_next_block(incoming, loader, &index);

	if (!block)
		return mr_go(loader, listen_preempt);
	action->range = (struct mr_action_range){.block = index, .length = block->postcopy_length};
	loader->phase = registered;
	return mr_act(incoming, loader->actor, action, MR_ACTION_REGISTER);
}

static enum outcome registered(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (error_of(incoming, loader))
		return give_up_listening(incoming, loader, "a block whose faults can be caught");
	return mr_go(loader, listen_register);
}

static enum outcome listen_fault_actor(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (error_of(incoming, loader))
		return give_up_listening(incoming, loader, "a userfault object");
	mr_start_actor(incoming, MR_ACTOR_FAULT);
	if (incoming->fault.phase == FAULT_START)
		return mr_wait(incoming, loader->actor, MR_WAIT_ACTOR, MR_ACTOR_FAULT);
	loader->index = 0;
	return mr_go(loader, listen_register);
}

static enum outcome listen_catch(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	if (!has(incoming, MR_CAPABILITY_POSTCOPY_RAM))
		return mr_go(loader, listen_notify);
	loader->phase = listen_fault_actor;
	return mr_act(incoming, loader->actor, action, MR_ACTION_CATCH);
}

static enum outcome listen_prepared(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = listen_catch;
	return mr_act(incoming, loader->actor, action, MR_ACTION_LISTEN_PREPARED);
}

static enum outcome listen_state_set(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	return enter_state(incoming, loader, action, MR_POSTCOPY_LISTENING, listen_prepared);
}

/* Here QEMU forgets that the state was LISTENING already (PC-008). */
static enum outcome listen_state_lost(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	return enter_state(incoming, loader, action, MR_POSTCOPY_DISCARD, listen_prepared);
}

static enum outcome listen_huge_pages_late(struct mr_incoming *incoming, struct loader *loader,
					   struct mr_action *action)
{
	(void)incoming;
	(void)action;
	return forbid_huge_pages_then(loader, listen_state_lost);
}

static enum outcome listen(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const bool unprepared = incoming->state == MR_POSTCOPY_ADVISE && has(incoming, MR_CAPABILITY_POSTCOPY_RAM);

	if (!unprepared)
		return enter_state(incoming, loader, action, MR_POSTCOPY_LISTENING, listen_prepared);
	if (incoming->config.strict)
		return forbid_huge_pages_then(loader, listen_state_set);
	return enter_state(incoming, loader, action, MR_POSTCOPY_LISTENING, listen_huge_pages_late);
}

/* ---- PACKAGED ---- */

static enum outcome package_open(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (has(incoming, MR_CAPABILITY_POSTCOPY_PREEMPT) && does(incoming, MR_SWITCH_PACKAGE_WAITS_FOR_PREEMPT) &&
	    !mr_take_preempt_channel(incoming))
		return mr_wait(incoming, loader->actor, MR_WAIT_CHANNEL, 0);
	loader->package = loader->command;
	loader->in_package = true;
	return mr_go(loader, mr_loader_record);
}

/* Copies what is at hand; the reader of the channel goes on behind the package. */
static enum outcome package_read(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	struct channel *channel = channel_at(incoming, loader->channel);
	struct mr_decoder *decoder = decoder_of(incoming, channel);
	const uint32_t left = incoming->package_length - incoming->package_read;
	const size_t count = left < channel->length ? left : channel->length;

	(void)action;
	if (count)
		memcpy((uint8_t *)at(incoming, incoming->places.package) + incoming->package_read, channel->window,
		       count);
	channel->window += count;
	channel->length -= count;
	decoder->offset += count;
	incoming->package_read += (uint32_t)count;
	if (incoming->package_read == incoming->package_length)
		return mr_go(loader, package_open);
	if (channel->at_end)
		return refuse(incoming, loader, channel->error ? channel->error : FAULT_AGAIN, MR_PC_012,
			      mr_text("%" PRIu32 " bytes of a package", incoming->package_length),
			      mr_text("%" PRIu32, incoming->package_read));
	incoming->actors[loader->actor].wants =
		(struct mr_wants){.wait = MR_WAIT_NOTHING, .channel = loader->channel, .wanted = channel->length + 1};
	return BLOCKED;
}

/* The configuration's limit, or that of early releases, if it is lower. */
static size_t package_limit(const struct mr_incoming *incoming)
{
	enum { EARLY_LIMIT = 1 << 24 };
	const size_t limit = incoming->config.package_max;

	return does(incoming, MR_SWITCH_PACKAGE_LIMIT_16M) && limit > EARLY_LIMIT ? EARLY_LIMIT : limit;
}

static enum outcome packaged(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const struct mr_decoder *decoder = decoder_of(incoming, channel_at(incoming, loader->channel));
	struct mr_decoder *inner = at(incoming, incoming->places.package_decoder);
	const size_t limit = package_limit(incoming);

	(void)action;
	if (loader->command.value > limit)
		return refuse(incoming, loader, FAULT_INVALID, MR_PC_012,
			      mr_text("a package of at most %zu bytes", limit),
			      mr_text("%" PRIu32, loader->command.value));
	incoming->package_length = loader->command.value;
	incoming->package_read = 0;
	incoming->package_start = decoder->offset;
	incoming->package_begun = true;
	memcpy(inner, decoder, offsetof(struct mr_decoder, devices));
	return mr_go(loader, package_read);
}

/* ---- RUN ---- */

static enum outcome run_done(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	return mr_end_command(incoming, loader, RESULT_QUIT);
}

static enum outcome run_status(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = run_done;
	if (incoming->status == MR_STATUS_POSTCOPY_DEVICE)
		return mr_set_status(incoming, loader->actor, action, MR_STATUS_POSTCOPY_ACTIVE);
	return ON;
}

static enum outcome run(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	return enter_state(incoming, loader, action, MR_POSTCOPY_RUNNING, run_status);
}

/* ---- SWITCHOVER_START ---- */

static enum outcome switchover_start(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	return mr_call_handlers(incoming, loader, MR_PHASE_SWITCHOVER_START, succeed);
}

/* ---- Dispatch ---- */

static enum outcome spoiled(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	return mr_end_command(incoming, loader, -FAULT_OTHER);
}

/* QEMU's releases overwrite the state before they look at it: so does a machine that is not strict (PC-002). */
static enum outcome spoil_state(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const struct mr_transition transition = mr_postcopy_transition(loader->command.number, incoming->state);

	return enter_state(incoming, loader, action, transition.next_in_qemu, spoiled);
}

static enum outcome refuse_state(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const struct mr_transition transition = mr_postcopy_transition(loader->command.number, incoming->state);

	(void)action;
	mr_blame(incoming, loader, MR_PC_001, mr_text("a command that is legal in this state"),
		 mr_text("%s in %s", mr_command_name(loader->command.number), mr_postcopy_state_name(incoming->state)));
	if (!incoming->config.strict && transition.next_in_qemu != incoming->state)
		return mr_go(loader, spoil_state);
	if (!incoming->config.strict && loader->command.number == MR_COMMAND_POSTCOPY_RUN &&
	    !does(incoming, MR_SWITCH_RUN_TESTED_FIRST) && incoming->state != MR_POSTCOPY_RUNNING)
		return enter_state(incoming, loader, action, MR_POSTCOPY_RUNNING, spoiled);
	return mr_end_command(incoming, loader, -FAULT_OTHER);
}

/* Even where nobody waits for an answer, the block has to be ours (REC-006). */
static enum outcome ignore(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (loader->command.number == MR_COMMAND_RECV_BITMAP && loader->command.block == NO_BLOCK)
		return refuse(incoming, loader, FAULT_INVALID, MR_REC_006, mr_text("a block of this machine"),
			      mr_text("another name"));
	return mr_end_command(incoming, loader, 0);
}

static phase_function *const handlers[MR_COMMAND_COUNT] = {
	[MR_COMMAND_OPEN_RETURN_PATH] = open_return_path,
	[MR_COMMAND_PING] = ping,
	[MR_COMMAND_POSTCOPY_ADVISE] = advise,
	[MR_COMMAND_POSTCOPY_LISTEN] = listen,
	[MR_COMMAND_POSTCOPY_RUN] = run,
	[MR_COMMAND_POSTCOPY_RAM_DISCARD] = discard,
	[MR_COMMAND_PACKAGED] = packaged,
	[MR_COMMAND_ENABLE_COLO] = succeed,
	[MR_COMMAND_POSTCOPY_RESUME] = mr_resume,
	[MR_COMMAND_RECV_BITMAP] = mr_answer_bitmap,
	[MR_COMMAND_SWITCHOVER_START] = switchover_start,
};

/* What a handler needs of the record, which lies in a window that may move on before the command is done. */
static void keep_command(struct mr_incoming *incoming, struct loader *loader, const struct mr_command *command)
{
	const bool ranges = command->number == MR_COMMAND_POSTCOPY_RAM_DISCARD;
	const bool packaged = command->number == MR_COMMAND_PACKAGED;

	loader->command = (struct command){
		.number = command->number,
		.length = command->length,
		.value = packaged ? command->package_length : command->value,
		.block = mr_incoming_find_block(incoming, command->block),
		.range_count = ranges ? command->range_count : 0,
		.summary = command->page_size_summary,
		.target_page_size = command->target_page_size,
	};
	if (ranges && command->ranges.length)
		memcpy(at(incoming, incoming->places.payload), command->ranges.data, command->ranges.length);
}

enum outcome mr_take_command(struct mr_incoming *incoming, struct loader *loader, const struct mr_command *command,
			     struct mr_action *action)
{
	const struct mr_transition transition = mr_postcopy_transition(command->number, incoming->state);

	keep_command(incoming, loader, command);
	action->command.number = command->number;
	action->command.length = command->length;
	action->command.value = loader->command.value;
	action->command.block = loader->command.block;
	switch (transition.reception) {
	case MR_RECEPTION_TAKEN:
		loader->phase = handlers[command->number];
		break;
	case MR_RECEPTION_IGNORED:
		loader->phase = ignore;
		break;
	case MR_RECEPTION_REFUSED:
	case MR_RECEPTION_NEVER:
		loader->phase = refuse_state;
		break;
	}
	return mr_act(incoming, loader->actor, action, MR_ACTION_COMMAND);
}
