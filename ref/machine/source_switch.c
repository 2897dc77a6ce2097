/* source_switch.c: from precopy to postcopy: what is dirty is discarded, devices go in a package, pages follow. */
#include "source.h"

static source_phase prepared, connect_preempt, preempt_connected, show_postcopy, stop, stopped, completed, fetched,
	release_clean, discard, ping_discarded, package_listen, package_devices, package_ping, package_loaded_ping,
	package_run, packaged, package_blob, ping_listening, show_active;

/* ---- While the guest still runs ---- */

enum outcome mr_source_switch(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)action;
	outgoing->switching = true;
	outgoing->walk = (struct mr_discard_walk){0};
	return mr_source_handlers(outgoing, actor, MR_PHASE_POSTCOPY_PREPARE, prepared);
}

static enum outcome prepared(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)action;
	if (actor->answer || mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	if (!source_has_preempt(outgoing) || outgoing->preempt_channel != NO_CONNECTION)
		return mr_source_go(actor, show_postcopy);
	return mr_source_go(actor, connect_preempt);
}

/* The destination answers a PING only once it accepts another connection (SRC-015). */
static enum outcome connect_preempt(struct mr_outgoing *outgoing, struct source_actor *actor,
				    struct mr_source_action *action)
{
	if (mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	if (outgoing->pongs == 0) {
		if (mr_source_is_deaf(outgoing))
			return mr_source_fail(outgoing, actor);
		actor->wants.actor = MR_SOURCE_RETURN;
		return mr_source_wait(actor, MR_SOURCE_WAIT_MESSAGE);
	}
	return mr_source_connect(outgoing, actor, action, MR_ROLE_PREEMPT, 0, preempt_connected);
}

static enum outcome preempt_connected(struct mr_outgoing *outgoing, struct source_actor *actor,
				      struct mr_source_action *action)
{
	(void)action;
	if (actor->completion == 0)
		return mr_source_go(actor, show_postcopy);
	mr_source_blame(outgoing, MR_SRC_030, mr_text("a preempt channel"), mr_text("error %d", actor->completion));
	return mr_source_fail(outgoing, actor);
}

static enum outcome show_postcopy(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action)
{
	actor->phase = stop;
	/* A source that waits for the operator shows pre-switchover first. */
	if (source_does(outgoing, MR_SWITCH_SOURCE_POSTCOPY_LATE) || mr_source_pauses(outgoing))
		return ON;
	outgoing->urgent_served = true;
	return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_POSTCOPY_ACTIVE);
}

static enum outcome stop(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)outgoing;
	(void)action;
	return mr_source_call(actor, mr_source_stop_guest, stopped);
}

static enum outcome stopped(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)action;
	return mr_source_handlers(outgoing, actor, MR_PHASE_COMPLETE_FOR_POSTCOPY, completed);
}

/* ---- Discards ---- */

static enum outcome completed(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)action;
	if (actor->answer || mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	return mr_source_call(actor, mr_source_sync, fetched);
}

static void describe_blocks(struct mr_outgoing *outgoing)
{
	struct mr_discard_source_block *blocks = source_at(outgoing, outgoing->places.discards);

	for (uint32_t i = 0; i < outgoing->block_count; i++) {
		const struct source_block *block = source_block_at(outgoing, i);

		blocks[i] = (struct mr_discard_source_block){
			.name = source_name(block),
			.used_length = block->used_length,
			.page_size = block->page_size,
			.ignored = block->ignored,
			.dirty = dirty_of(outgoing, block),
			.unsent = block->unsent ? source_at(outgoing, block->unsent) : NULL,
		};
	}
}

static enum outcome fetched(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	enum mr_rule rule;

	(void)action;
	describe_blocks(outgoing);
	rule = mr_discard_walk_init(&outgoing->walk, &outgoing->profile, source_page(outgoing),
				    outgoing->config.host_page_size, source_at(outgoing, outgoing->places.discards),
				    outgoing->block_count);
	if (rule != MR_NO_RULE) {
		mr_source_blame(outgoing, rule, mr_text("blocks that can be discarded"), mr_text("others"));
		return mr_source_fail(outgoing, actor);
	}
	return mr_source_go(actor, discard);
}

static enum outcome discard(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	struct mr_record record;

	if (mr_discard_walk_next(&outgoing->walk, &record))
		return mr_source_emit(outgoing, actor, action, &record);
	outgoing->dirty_count = mr_source_count_dirty(outgoing);
	outgoing->progress.index = 0;
	outgoing->progress.cursor = 0;
	actor->phase = release_clean;
	action->discarded.ranges = outgoing->walk.ranges;
	action->discarded.commands = outgoing->walk.commands;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_DISCARDED);
}

/* release-ram: what is clean is the destination's for good. */
static enum outcome release_clean(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action)
{
	struct progress *progress = &outgoing->progress;

	while (outgoing->config.release_ram && progress->index < outgoing->block_count) {
		const struct source_block *block = source_block_at(outgoing, progress->index);
		const uint64_t *dirty = dirty_of(outgoing, block);
		const uint64_t first =
			block->ignored ? block->pages : mr_bitmap_next_clear(dirty, block->pages, progress->cursor);

		if (first >= block->pages) {
			progress->index++;
			progress->cursor = 0;
			continue;
		}
		progress->cursor = mr_bitmap_next_set(dirty, block->pages, first);
		action->range.block = progress->index;
		action->range.start = first * source_page(outgoing);
		action->range.length = (progress->cursor - first) * source_page(outgoing);
		return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_RELEASE);
	}
	return mr_source_go(actor, ping_discarded);
}

static enum outcome ping_discarded(struct mr_outgoing *outgoing, struct source_actor *actor,
				   struct mr_source_action *action)
{
	outgoing->in_postcopy = true;
	if (source_does(outgoing, MR_SWITCH_SCAN_RESTARTS_AT_SWITCH) ||
	    outgoing->config.host_page_size != source_page(outgoing))
		mr_source_scan_reset(outgoing);
	outgoing->last_block[RAM_MAIN] = outgoing->last_block[RAM_PREEMPT] = NO_BLOCK;
	actor->phase = package_listen;
	return mr_source_command(outgoing, actor, action, MR_COMMAND_PING, PING_DISCARDED);
}

/* ---- The package ---- */

static enum outcome package_listen(struct mr_outgoing *outgoing, struct source_actor *actor,
				   struct mr_source_action *action)
{
	outgoing->in_package = true;
	outgoing->package_length = 0;
	actor->phase = package_devices;
	return mr_source_command(outgoing, actor, action, MR_COMMAND_POSTCOPY_LISTEN, 0);
}

static enum outcome package_devices(struct mr_outgoing *outgoing, struct source_actor *actor,
				    struct mr_source_action *action)
{
	(void)outgoing;
	(void)action;
	return mr_source_call(actor, mr_source_devices, package_ping);
}

static enum outcome package_ping(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	if (actor->answer || mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	actor->phase = package_loaded_ping;
	return mr_source_command(outgoing, actor, action, MR_COMMAND_PING, PING_DEVICES);
}

static enum outcome package_loaded_ping(struct mr_outgoing *outgoing, struct source_actor *actor,
					struct mr_source_action *action)
{
	actor->phase = package_run;
	if (!source_does(outgoing, MR_SWITCH_PING_PACKAGE_LOADED))
		return ON;
	return mr_source_command(outgoing, actor, action, MR_COMMAND_PING, PING_LOADED);
}

static enum outcome package_run(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	actor->phase = packaged;
	return mr_source_command(outgoing, actor, action, MR_COMMAND_POSTCOPY_RUN, 0);
}

static enum outcome packaged(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	const struct mr_record record = {
		.kind = MR_COMMAND,
		.command = {.number = MR_COMMAND_PACKAGED,
			    .sent = MR_COMMAND_PACKAGED,
			    .length = 4,
			    .package_length = (uint32_t)outgoing->package_length},
	};

	outgoing->in_package = false;
	actor->phase = package_blob;
	return mr_source_emit(outgoing, actor, action, &record);
}

static enum outcome package_blob(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	const struct mr_bytes package = {source_at(outgoing, outgoing->places.package), outgoing->package_length};

	/* The last chance to keep the guest. */
	if (mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	outgoing->package_sent = true;
	outgoing->handed_over = !source_does(outgoing, MR_SWITCH_STATUS_POSTCOPY_DEVICE);
	actor->phase = ping_listening;
	return mr_source_emit_body(outgoing, actor, action, MR_OPAQUE, package);
}

static enum outcome ping_listening(struct mr_outgoing *outgoing, struct source_actor *actor,
				   struct mr_source_action *action)
{
	actor->phase = show_active;
	return mr_source_command(outgoing, actor, action, MR_COMMAND_PING, PING_LISTENING);
}

static enum outcome show_active(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	actor->phase = mr_source_turn;
	outgoing->switching = false;
	outgoing->urgent_served = true;
	/* Bandwidth is given out anew: another limit holds. */
	outgoing->pace.window_start = outgoing->time;
	outgoing->pace.window_bytes = 0;
	if (!source_does(outgoing, MR_SWITCH_SOURCE_POSTCOPY_LATE))
		return ON;
	return mr_source_set_status(outgoing, actor, action,
				    source_does(outgoing, MR_SWITCH_STATUS_POSTCOPY_DEVICE)
					    ? MR_SOURCE_STATUS_POSTCOPY_DEVICE
					    : MR_SOURCE_STATUS_POSTCOPY_ACTIVE);
}
