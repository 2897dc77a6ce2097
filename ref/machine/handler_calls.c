/* handler_calls.c: how the destination calls its handlers: before the first section, at the switch, in the end. */
#include "machine.h"

struct mr_load *mr_load_of(struct mr_incoming *incoming)
{
	/* The machine may have been copied since. */
	incoming->load.states = at(incoming, incoming->places.handler_states);
	return &incoming->load;
}

/* ---- One call after the other, then loader->then ---- */

static enum outcome calls_over(struct mr_incoming *incoming, struct loader *loader)
{
	const struct mr_sequence *sequence = &loader->sequence;
	const int error = (int)-sequence->error;

	if (sequence->failure == MR_FAILURE_NONE)
		return mr_go(loader, loader->then);
	mr_blame(incoming, loader, sequence->phase == MR_PHASE_LOAD_SETUP ? MR_HND_007 : MR_HND_011,
		 mr_text("a handler that agrees to %s", mr_hook_name(sequence->call.hook)),
		 mr_text("%.40s: error %d", sequence->handlers->entries[sequence->failed].idstr, error));
	if (sequence->phase == MR_PHASE_LOAD_SETUP)
		return mr_fail_load(incoming, loader, error);
	return mr_end_command(incoming, loader, -error);
}

static enum outcome call_next(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action);

static enum outcome call_answered(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const int64_t answer = incoming->actors[loader->actor].error;
	const bool is_question = mr_hook_is_question(loader->sequence.call.hook);

	(void)action;
	mr_sequence_answer(&loader->sequence, is_question || answer < 0 ? answer : -answer);
	return mr_go(loader, call_next);
}

static enum outcome call_next(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	struct mr_hook_call call;

	if (!mr_sequence_next(&loader->sequence, &call))
		return calls_over(incoming, loader);
	action->hook.handler = call.handler;
	action->hook.hook = call.hook;
	loader->phase = call_answered;
	return mr_act(incoming, loader->actor, action, MR_ACTION_HOOK);
}

enum outcome mr_call_handlers(struct mr_incoming *incoming, struct loader *loader, enum mr_phase phase,
			      phase_function *then)
{
	loader->then = then;
	if (!incoming->config.handlers)
		return mr_go(loader, then);
	mr_sequence_begin(&loader->sequence, incoming->config.handlers, phase);
	return mr_go(loader, call_next);
}

/* ---- Before the first section ---- */

enum outcome mr_handlers_begin(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const struct mr_handler_entry *entry = mr_handlers_unmigratable(incoming->config.handlers);

	(void)action;
	if (!entry)
		return mr_go(loader, mr_loader_record);
	mr_blame(incoming, loader, MR_HND_012, mr_text("handlers that can be migrated"),
		 mr_text("%.60s, which cannot", entry->idstr));
	return mr_fail_load(incoming, loader, FAULT_INVALID);
}

static enum outcome count_acks(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	mr_load_want_acks(mr_load_of(incoming), loader->sequence.agreed);
	return mr_go(loader, mr_loader_record);
}

static enum outcome ask_acks(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (!has(incoming, MR_CAPABILITY_SWITCHOVER_ACK))
		return mr_go(loader, mr_loader_record);
	return mr_call_handlers(incoming, loader, MR_PHASE_SWITCHOVER_ACK, count_acks);
}

enum outcome mr_handlers_set_up(struct mr_incoming *incoming, struct loader *loader)
{
	incoming->handlers_ready = true;
	return mr_call_handlers(incoming, loader, MR_PHASE_LOAD_SETUP, ask_acks);
}

bool mr_is_setup_due(const struct mr_incoming *incoming, const struct loader *loader, const struct mr_decoder *decoder,
		     const struct channel *channel)
{
	enum { HEADER_BYTES = 8 };
	const bool begun =
		incoming->config.context.no_configuration ? decoder->offset >= HEADER_BYTES : incoming->configured;

	return loader->actor == MR_ACTOR_MAIN && begun && channel->length && channel->window[0] != TYPE_SUBSECTION;
}

/* ---- Sections ---- */

enum outcome mr_section_refused(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	return mr_fail_load(incoming, loader, FAULT_INVALID);
}

bool mr_take_handler(struct mr_incoming *incoming, struct loader *loader, const struct mr_record *record)
{
	struct mr_text expected, found;
	enum mr_rule rule;

	if (!incoming->config.handlers)
		return true;
	rule = mr_load_section(mr_load_of(incoming), record->kind, &record->section, &loader->handler, expected.text,
			       found.text);
	if (rule == MR_NO_RULE)
		return true;
	mr_blame(incoming, loader, rule, expected, found);
	return false;
}

/* ---- Switchover acks ---- */

bool mr_ack_due(struct mr_incoming *incoming)
{
	if (!incoming->config.handlers || !incoming->return_up || incoming->load.acks == 0)
		return false;
	incoming->load.acks--;
	return true;
}

enum outcome mr_send_acks(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const struct mr_return_message ack = {.type = MR_RETURN_SWITCHOVER_ACK};

	if (!mr_ack_due(incoming))
		return mr_go(loader, mr_loader_record);
	return mr_send(incoming, loader->actor, action, &ack);
}

void mr_incoming_approve_switchover(struct mr_incoming *incoming)
{
	if (incoming->config.handlers && has(incoming, MR_CAPABILITY_SWITCHOVER_ACK))
		mr_load_approve(mr_load_of(incoming));
}

/* ---- The end ---- */

enum outcome mr_clean_state(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action,
			    phase_function *then)
{
	incoming->state_cleaned = true;
	mr_call_handlers(incoming, loader, MR_PHASE_LOAD_CLEANUP, then);
	return mr_act(incoming, loader->actor, action, MR_ACTION_STATE_CLEANUP);
}
