/* source_handlers.c: how the source calls its handlers: sections around what they write, and `ram` among them. */
#include "source.h"

static source_phase call_next, section_body, section_saved, section_done, hook_answered, ram_pending, ram_answered;

bool mr_source_is_ram(const struct mr_outgoing *outgoing, uint32_t handler)
{
	return strcmp(outgoing->config.handlers->entries[handler].idstr, "ram") == 0;
}

static bool is_pending_query(enum mr_hook hook)
{
	return hook == MR_HOOK_SAVE_LIVE_PENDING || hook == MR_HOOK_STATE_PENDING_ESTIMATE ||
	       hook == MR_HOOK_STATE_PENDING_EXACT || hook == MR_HOOK_SAVE_QUERY_PENDING;
}

enum outcome mr_source_handlers(struct mr_outgoing *outgoing, struct source_actor *actor, enum mr_phase phase,
				source_phase *then)
{
	mr_sequence_begin(&outgoing->sequence, outgoing->config.handlers, phase);
	return mr_source_call(actor, call_next, then);
}

/* ---- What `ram` answers without a section ---- */

/* Up to 8.2 a query looks at the log when little is left; later an exact one always does. */
static bool looks_at_log(const struct mr_outgoing *outgoing)
{
	const bool small = outgoing->dirty_count * source_page(outgoing) < outgoing->pace.threshold;

	return small || !source_does(outgoing, MR_SWITCH_SYNC_WHEN_SMALL);
}

static enum outcome ram_pending(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	const uint64_t bytes = outgoing->dirty_count * source_page(outgoing);
	const bool any = source_has(outgoing, MR_CAPABILITY_POSTCOPY_RAM);
	const struct mr_pending pending = {.precopy = any ? 0 : bytes, .any = any ? bytes : 0};

	(void)action;
	mr_sequence_answer_pending(&outgoing->sequence, &pending);
	return mr_source_go(actor, call_next);
}

static enum outcome ask_ram(struct mr_outgoing *outgoing, struct source_actor *actor, const struct mr_hook_call *call)
{
	const bool exact = outgoing->sequence.phase == MR_PHASE_PENDING_EXACT;

	if (is_pending_query(call->hook)) {
		const bool may = !outgoing->in_postcopy && (exact || source_does(outgoing, MR_SWITCH_PENDING_ONE));

		if (may && mr_source_choose(outgoing, MR_CHOICE_SYNC, looks_at_log(outgoing), 1)) {
			outgoing->progress.queried = true;
			return mr_source_call(actor, mr_source_sync, ram_pending);
		}
		return mr_source_go(actor, ram_pending);
	}
	/* RAM is always there, and nobody asks whether it goes on in postcopy unless there is one. */
	mr_sequence_answer(&outgoing->sequence, mr_hook_is_question(call->hook));
	return mr_source_go(actor, call_next);
}

/* ---- Sections ---- */

static enum outcome section_footer(struct mr_outgoing *outgoing, struct source_actor *actor,
				   struct mr_source_action *action)
{
	struct mr_record record;

	actor->phase = section_done;
	if (!source_does(outgoing, MR_SWITCH_SEND_SECTION_FOOTER))
		return ON;
	mr_handler_footer(outgoing->config.handlers, &outgoing->sequence.call, &record);
	return mr_source_emit(outgoing, actor, action, &record);
}

static enum outcome section_done(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	(void)action;
	mr_sequence_answer(&outgoing->sequence, outgoing->section_answer);
	return mr_source_go(actor, call_next);
}

static enum outcome ram_answered(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	(void)action;
	outgoing->section_answer = actor->answer;
	return mr_source_go(actor, section_footer);
}

static enum outcome ram_body(struct source_actor *actor, const struct mr_hook_call *call)
{
	switch (call->hook) {
	case MR_HOOK_SAVE_SETUP:
		return mr_source_call(actor, mr_source_ram_setup, ram_answered);
	case MR_HOOK_SAVE_POSTCOPY_PREPARE:
		return mr_source_call(actor, mr_source_ram_prepare, ram_answered);
	case MR_HOOK_SAVE_LIVE_ITERATE:
		return mr_source_call(actor, mr_source_ram_part, ram_answered);
	default:
		return mr_source_call(actor, mr_source_ram_end, ram_answered);
	}
}

/* An errno is a failure; who is asked for consent has given it if there was none, and -1 of a round is "no more". */
static int64_t answer_of(enum mr_hook hook, int completion)
{
	return hook == MR_HOOK_SAVE_POSTCOPY_PREPARE ? completion == 0 : -(int64_t)completion;
}

/* The handler has written its section, or has failed to: an empty one stands there then. */
static enum outcome section_saved(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action)
{
	const struct mr_bytes body = outgoing->body;

	outgoing->section_answer = answer_of(outgoing->sequence.call.hook, actor->completion);
	outgoing->body = (struct mr_bytes){0};
	actor->phase = section_footer;
	if (body.length == 0)
		return ON;
	return mr_source_emit_body(outgoing, actor, action, MR_SECTION_DATA, body);
}

static enum outcome section_body(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	const struct mr_hook_call *call = &outgoing->sequence.call;

	if (mr_source_is_ram(outgoing, call->handler))
		return ram_body(actor, call);
	outgoing->body = (struct mr_bytes){0};
	action->save.handler = call->handler;
	action->save.hook = call->hook;
	action->save.section = call->section;
	actor->phase = section_saved;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_SAVE);
}

/* ---- One call after the other ---- */

static enum outcome hook_answered(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action)
{
	const enum mr_hook hook = outgoing->sequence.call.hook;
	const int answer = actor->completion;

	(void)action;
	if (is_pending_query(hook))
		mr_sequence_answer_pending(&outgoing->sequence, &outgoing->pending);
	else
		mr_sequence_answer(&outgoing->sequence, mr_hook_is_question(hook) ? answer : answer_of(hook, answer));
	return mr_source_go(actor, call_next);
}

static enum outcome call_over(struct mr_outgoing *outgoing, struct source_actor *actor)
{
	const struct mr_sequence *sequence = &outgoing->sequence;

	if (sequence->failure == MR_FAILURE_NONE)
		return mr_source_return(actor, 0);
	/* RAM fails with a connection alone, which is seen before this. */
	mr_source_blame(
		outgoing, MR_HND_013, mr_text("a handler that agrees to %s", mr_hook_name(sequence->call.hook)),
		mr_text("%.40s: error %d", sequence->handlers->entries[sequence->failed].idstr, (int)-sequence->error));
	return mr_source_return(actor, 1);
}

static enum outcome call_next(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	struct mr_hook_call call;
	struct mr_record record;

	if (mr_source_is_broken(outgoing) && outgoing->sequence.phase != MR_PHASE_SAVE_CLEANUP)
		return mr_source_return(actor, 1);
	outgoing->sequence.rate_exceeded = mr_source_rate_exceeded(outgoing);
	if (!mr_sequence_next(&outgoing->sequence, &call))
		return call_over(outgoing, actor);
	if (call.section) {
		mr_handler_header(outgoing->config.handlers, &call, &record);
		actor->phase = section_body;
		return mr_source_emit(outgoing, actor, action, &record);
	}
	if (mr_source_is_ram(outgoing, call.handler))
		return ask_ram(outgoing, actor, &call);
	outgoing->pending = (struct mr_pending){0};
	action->save.handler = call.handler;
	action->save.hook = call.hook;
	action->save.section = 0;
	actor->phase = hook_answered;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_HOOK);
}
