/* source_end.c: how a migration ends at its source: well, failed, or cancelled; and who has the guest then. */
#include "source.h"

static source_phase wait_for_shut, clean_up, show_end, close_next, tell_end, stop_log, start_guest;

/* ---- Interruptions ---- */

static bool may_pause(const struct mr_outgoing *outgoing)
{
	const bool too_late = outgoing->completing && !source_does(outgoing, MR_SWITCH_POSTCOPY_ENDS_EMPTY);

	return outgoing->in_postcopy && outgoing->handed_over && source_does(outgoing, MR_SWITCH_RECOVERY) &&
	       !too_late && !outgoing->cancel_asked && !outgoing->multifd_failed;
}

/* What broke first, for who asks why. */
static void blame_connection(struct mr_outgoing *outgoing)
{
	if (outgoing->return_error.rule != MR_NO_RULE && outgoing->error.rule == MR_NO_RULE)
		outgoing->error = outgoing->return_error;
	if (outgoing->pause_asked)
		mr_source_blame(outgoing, MR_SRC_003, mr_text("a pause once the destination may run the guest"),
				mr_text("one before"));
	if (outgoing->multifd_failed)
		mr_source_blame(outgoing, MR_MFS_013, mr_text("a payload of every packet"), mr_text("none"));
	for (uint32_t i = 0; i < outgoing->connection_count; i++)
		if (connection_at(outgoing, i)->open && connection_at(outgoing, i)->error)
			mr_source_blame(outgoing, MR_SRC_030, mr_text("connections that stay"),
					mr_text("error %d of %s channel %u", connection_at(outgoing, i)->error,
						mr_role_name(connection_at(outgoing, i)->role), i));
}

static enum outcome fail_for_good(struct mr_outgoing *outgoing, struct source_actor *actor)
{
	outgoing->in_package = false;
	if (outgoing->cancel_asked)
		mr_source_blame(outgoing, MR_SRC_003, mr_text("a migration that nobody cancels"), mr_text("a cancel"));
	blame_connection(outgoing);
	if (outgoing->error.rule == MR_NO_RULE)
		mr_source_blame(outgoing, MR_SRC_030, mr_text("a section that is written"), mr_text("a failure"));
	return mr_source_jump(actor, mr_source_failing);
}

enum outcome mr_source_fail(struct mr_outgoing *outgoing, struct source_actor *actor)
{
	if (may_pause(outgoing))
		return mr_source_jump(actor, mr_source_pause);
	return fail_for_good(outgoing, actor);
}

enum outcome mr_source_failing(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action)
{
	outgoing->failed = true;
	mr_source_stop_listening(outgoing);
	actor->phase = stop_log;
	if (outgoing->cancel_asked)
		return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_CANCELLING);
	if (source_does(outgoing, MR_SWITCH_SOURCE_FAILING))
		return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_FAILING);
	return ON;
}

/* ---- A good end ---- */

/* 7.1 and 7.2 end the preempt channel themselves. */
enum outcome mr_source_finish(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	static const uint8_t eos[8] = {0, 0, 0, 0, 0, 0, 0, MR_RAM_FLAG_EOS};

	actor->phase = wait_for_shut;
	if (!outgoing->in_postcopy || outgoing->preempt_channel == NO_CONNECTION ||
	    !source_does(outgoing, MR_SWITCH_PREEMPT_EARLY))
		return ON;
	return mr_source_emit_bytes(outgoing, actor, action, outgoing->preempt_channel, MR_RAM_EOS,
				    (struct mr_bytes){eos, sizeof(eos)}, (struct mr_bytes){0});
}

static enum outcome wait_for_shut(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action)
{
	if (outgoing->return_bad)
		return fail_for_good(outgoing, actor);
	if (mr_source_is_interrupted(outgoing) && !outgoing->shut_seen)
		return mr_source_fail(outgoing, actor);
	/* SHUT may stand behind more requests than may wait. */
	if (mr_source_drop_request(outgoing, actor, action) == ACTED)
		return ACTED;
	if (outgoing->has_return_path && !outgoing->shut_seen) {
		actor->wants.actor = MR_SOURCE_RETURN;
		return mr_source_wait(actor, MR_SOURCE_WAIT_MESSAGE);
	}
	return mr_source_go(actor, stop_log);
}

/* ---- Both ends ---- */

static enum outcome stop_log(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	actor->phase = clean_up;
	if (!outgoing->logging)
		return ON;
	outgoing->logging = false;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_LOG_STOP);
}

static enum outcome clean_up(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)action;
	outgoing->progress.index = 0;
	return mr_source_handlers(outgoing, actor, MR_PHASE_SAVE_CLEANUP, close_next);
}

static enum outcome close_next(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action)
{
	for (; outgoing->progress.index < outgoing->connection_count; outgoing->progress.index++) {
		if (!connection_at(outgoing, outgoing->progress.index)->open)
			continue;
		mr_source_close(outgoing, outgoing->progress.index);
		action->channel = outgoing->progress.index;
		return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_CLOSE);
	}
	return mr_source_go(actor, start_guest);
}

/* The guest is this side's again, unless the destination may have begun to run it. */
static enum outcome start_guest(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	actor->phase = show_end;
	if (!outgoing->failed || !outgoing->guest_held || !outgoing->guest_ran || outgoing->handed_over)
		return ON;
	outgoing->guest_stopped = outgoing->guest_held = false;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_START_GUEST);
}

static enum outcome show_end(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	actor->phase = tell_end;
	if (!outgoing->failed)
		return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_COMPLETED);
	return mr_source_set_status(outgoing, actor, action,
				    outgoing->cancel_asked ? MR_SOURCE_STATUS_CANCELLED : MR_SOURCE_STATUS_FAILED);
}

static enum outcome end(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)outgoing;
	(void)actor;
	(void)action;
	return ENDED;
}

static enum outcome tell_end(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	outgoing->over = true;
	outgoing->returner.ended = true;
	actor->phase = end;
	if (!outgoing->failed)
		return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_FINISHED);
	action->finding = outgoing->error;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_FAILED);
}
