/* source_recovery.c: a postcopy whose connections broke: paused, connected again, gone on with what is missing. */
#include "source.h"

static source_phase close_next, paused, wait_for_operator, connect_main, main_connected, connect_early, show_recover,
	resume_handlers, resume_prepared, request_next, wait_for_bitmaps, connect_preempt, send_resume, wait_for_ack,
	show_active;

/* ---- Pausing ---- */

enum outcome mr_source_pause(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	if (mr_source_is_committed(outgoing))
		return mr_source_commit(outgoing, actor, action, mr_source_pause);
	outgoing->pause_asked = outgoing->recover_asked = false;
	outgoing->error = (struct mr_finding){0};
	actor->host_page = outgoing->broken_page = (struct host_page){0};
	mr_request_queue_keep(&outgoing->queue);
	mr_source_stop_listening(outgoing);
	outgoing->progress.index = 0;
	actor->phase = close_next;
	return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_POSTCOPY_PAUSED);
}

static enum outcome close_next(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action)
{
	const bool barriers = source_does(outgoing, MR_SWITCH_EOS_BARRIER_IN_POSTCOPY);

	for (; outgoing->progress.index < outgoing->connection_count; outgoing->progress.index++) {
		const struct connection *connection = connection_at(outgoing, outgoing->progress.index);

		/* Those of multifd stay, unless one that nobody needs any more would break every recovery. */
		if (!connection->open || (connection->role == MR_ROLE_MULTIFD && (!connection->error || barriers)))
			continue;
		mr_source_close(outgoing, outgoing->progress.index);
		action->channel = outgoing->progress.index;
		return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_CLOSE);
	}
	return mr_source_go(actor, paused);
}

static enum outcome paused(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	outgoing->preempt_channel = NO_CONNECTION;
	actor->phase = wait_for_operator;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_PAUSED);
}

static enum outcome wait_for_operator(struct mr_outgoing *outgoing, struct source_actor *actor,
				      struct mr_source_action *action)
{
	if (outgoing->cancel_asked)
		return mr_source_fail(outgoing, actor);
	if (!outgoing->recover_asked)
		return mr_source_wait(actor, MR_SOURCE_WAIT_OPERATOR);
	outgoing->recover_asked = false;
	actor->phase = connect_main;
	if (!source_does(outgoing, MR_SWITCH_SOURCE_RECOVER_SETUP))
		return ON;
	return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_POSTCOPY_RECOVER_SETUP);
}

/* ---- Connecting ---- */

static enum outcome connect_main(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	return mr_source_connect(outgoing, actor, action, MR_ROLE_RECOVERY, 0, main_connected);
}

static enum outcome main_connected(struct mr_outgoing *outgoing, struct source_actor *actor,
				   struct mr_source_action *action)
{
	(void)action;
	if (actor->completion)
		return mr_source_jump(actor, mr_source_pause);
	outgoing->resumed = false;
	mr_source_listen(outgoing);
	return mr_source_go(actor, connect_early);
}

static enum outcome connect_early(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action)
{
	/* As at first: such a destination goes on only when both are there. */
	if (source_has_preempt(outgoing) && source_does(outgoing, MR_SWITCH_PREEMPT_EARLY))
		return mr_source_connect(outgoing, actor, action, MR_ROLE_PREEMPT, 0, show_recover);
	actor->completion = 0;
	return mr_source_go(actor, show_recover);
}

static enum outcome show_recover(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	if (actor->completion)
		return mr_source_jump(actor, mr_source_pause);
	actor->phase = resume_handlers;
	return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_POSTCOPY_RECOVER);
}

/* ---- What the destination has ---- */

static enum outcome resume_handlers(struct mr_outgoing *outgoing, struct source_actor *actor,
				    struct mr_source_action *action)
{
	(void)action;
	outgoing->bitmaps_missing = 0;
	for (uint32_t i = 0; i < outgoing->block_count; i++) {
		struct source_block *block = source_block_at(outgoing, i);

		block->answered = false;
		outgoing->bitmaps_missing += !block->ignored;
	}
	outgoing->progress.index = 0;
	return mr_source_go(actor, request_next);
}

static enum outcome request_next(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	const bool early = source_does(outgoing, MR_SWITCH_COMMAND_RESUME_IS_8);

	for (; outgoing->progress.index < outgoing->block_count; outgoing->progress.index++) {
		const struct source_block *block = source_block_at(outgoing, outgoing->progress.index);
		const struct mr_record record = {
			.kind = MR_COMMAND,
			.command = {.number = MR_COMMAND_RECV_BITMAP,
				    .sent = (uint16_t)(MR_COMMAND_RECV_BITMAP - early),
				    .length = (uint16_t)(1 + block->name_length),
				    .block = source_name(block)},
		};

		if (block->ignored)
			continue;
		outgoing->progress.index++;
		return mr_source_emit(outgoing, actor, action, &record);
	}
	return mr_source_go(actor, wait_for_bitmaps);
}

static bool is_lost(const struct mr_outgoing *outgoing)
{
	return mr_source_is_deaf(outgoing) || mr_source_is_interrupted(outgoing);
}

static enum outcome wait_for_message(struct source_actor *actor)
{
	actor->wants.actor = MR_SOURCE_RETURN;
	return mr_source_wait(actor, MR_SOURCE_WAIT_MESSAGE);
}

static enum outcome wait_for_bitmaps(struct mr_outgoing *outgoing, struct source_actor *actor,
				     struct mr_source_action *action)
{
	(void)action;
	if (is_lost(outgoing))
		return mr_source_jump(actor, mr_source_pause);
	if (outgoing->bitmaps_missing)
		return wait_for_message(actor);
	outgoing->dirty_count = mr_source_count_dirty(outgoing);
	mr_source_scan_reset(outgoing);
	mr_page_saver_reset(&outgoing->saver);
	outgoing->last_block[RAM_MAIN] = outgoing->last_block[RAM_PREEMPT] = NO_BLOCK;
	return mr_source_handlers(outgoing, actor, MR_PHASE_RESUME_PREPARE, resume_prepared);
}

static enum outcome resume_prepared(struct mr_outgoing *outgoing, struct source_actor *actor,
				    struct mr_source_action *action)
{
	(void)action;
	if (actor->answer || is_lost(outgoing))
		return mr_source_jump(actor, mr_source_pause);
	return mr_source_go(actor, connect_preempt);
}

/* ---- Going on ---- */

static enum outcome connect_preempt(struct mr_outgoing *outgoing, struct source_actor *actor,
				    struct mr_source_action *action)
{
	actor->completion = 0;
	if (source_has_preempt(outgoing) && outgoing->preempt_channel == NO_CONNECTION)
		return mr_source_connect(outgoing, actor, action, MR_ROLE_PREEMPT, 0, send_resume);
	return mr_source_go(actor, send_resume);
}

static enum outcome send_resume(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	if (actor->completion)
		return mr_source_jump(actor, mr_source_pause);
	actor->phase = wait_for_ack;
	return mr_source_command(outgoing, actor, action, MR_COMMAND_POSTCOPY_RESUME, 0);
}

static enum outcome wait_for_ack(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	(void)action;
	if (is_lost(outgoing))
		return mr_source_jump(actor, mr_source_pause);
	if (!outgoing->resumed)
		return wait_for_message(actor);
	return mr_source_go(actor, show_active);
}

static enum outcome show_active(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	actor->phase = mr_source_turn;
	return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_POSTCOPY_ACTIVE);
}
