/* source_snapshot.c: a background snapshot: devices as they are now, then RAM as it was, while the guest goes on. */
#include "source.h"

static source_phase devices, devices_saved, describe, described, describe_text, protect, start_guest, turn, rounds,
	round_done, send_devices;

enum outcome mr_source_snapshot(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	actor->phase = devices;
	outgoing->in_package = true;
	outgoing->package_length = 0;
	return mr_source_hold_guest(outgoing, actor, action);
}

static enum outcome devices(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)outgoing;
	(void)action;
	return mr_source_call(actor, mr_source_devices, devices_saved);
}

static enum outcome devices_saved(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action)
{
	const struct mr_record record = {.kind = MR_EOF};

	if (actor->answer || mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	actor->phase = describe;
	return mr_source_emit(outgoing, actor, action, &record);
}

static enum outcome describe(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	outgoing->body = (struct mr_bytes){0};
	actor->phase = described;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_DESCRIBE);
}

static enum outcome described(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	const struct mr_bytes head = mr_source_description_head(outgoing, actor);

	outgoing->progress.index = 0;
	if (head.length == 0)
		return mr_source_go(actor, protect);
	actor->phase = describe_text;
	return mr_source_emit_body(outgoing, actor, action, MR_VMDESCRIPTION, head);
}

static enum outcome describe_text(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action)
{
	actor->phase = protect;
	return mr_source_emit_body(outgoing, actor, action, MR_VMDESCRIPTION, outgoing->body);
}

static enum outcome protect(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	outgoing->in_package = false;
	for (; outgoing->progress.index < outgoing->block_count; outgoing->progress.index++) {
		const struct source_block *block = source_block_at(outgoing, outgoing->progress.index);

		if (block->ignored || block->pages == 0)
			continue;
		action->range.block = outgoing->progress.index++;
		action->range.start = 0;
		action->range.length = block->used_length;
		return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_PROTECT);
	}
	return mr_source_go(actor, start_guest);
}

static enum outcome start_guest(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	actor->phase = turn;
	outgoing->guest_held = false;
	if (!outgoing->guest_ran)
		return ON;
	outgoing->guest_stopped = false;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_START_GUEST);
}

/* Nothing becomes dirty again: the snapshot is through when no page is left. */
static enum outcome turn(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)action;
	if (mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	mr_source_open_window(outgoing);
	if (mr_source_rate_exceeded(outgoing) && outgoing->dirty_count)
		return mr_source_wait_for_window(outgoing, actor);
	return mr_source_go(actor, outgoing->dirty_count ? rounds : send_devices);
}

static enum outcome rounds(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)action;
	return mr_source_handlers(outgoing, actor, MR_PHASE_ITERATE, round_done);
}

static enum outcome round_done(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action)
{
	(void)action;
	if (actor->answer && !mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	return mr_source_go(actor, turn);
}

static enum outcome send_devices(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	const struct mr_bytes package = {source_at(outgoing, outgoing->places.package), outgoing->package_length};

	actor->phase = mr_source_finish;
	return mr_source_emit_body(outgoing, actor, action, MR_OPAQUE, package);
}
