/* end.c: how a migration ends at the destination: precopy, listening, failure, and the cleanup that they share. */
#include "machine.h"

/* ---- Steps that several ends share; each goes on with the one behind it ---- */

static enum outcome over(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)incoming;
	(void)loader;
	(void)action;
	return ENDED;
}

static enum outcome finish(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const bool good = incoming->status != MR_STATUS_FAILED && !incoming->main_failed;

	loader->phase = over;
	if (good)
		return mr_act(incoming, loader->actor, action, MR_ACTION_FINISHED);
	action->finding = incoming->error;
	incoming->failed = true;
	return mr_act(incoming, loader->actor, action, MR_ACTION_FAILED);
}

static enum outcome set_end(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = finish;
	if (incoming->state == MR_POSTCOPY_END || incoming->state == MR_POSTCOPY_NONE || loader->actor == MR_ACTOR_MAIN)
		return ON;
	return mr_set_state(incoming, loader->actor, action, MR_POSTCOPY_END);
}

static enum outcome clean_state_late(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = set_end;
	return incoming->state_cleaned ? ON : mr_clean_state(incoming, loader, action, set_end);
}

/* 1: the main channel has an error. */
static uint32_t shut_value(const struct mr_incoming *incoming)
{
	return incoming->status == MR_STATUS_FAILED || incoming->main_failed || incoming->description_missing;
}

static enum outcome shut(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const struct mr_return_message message = {.type = MR_RETURN_SHUT, .length = 4, .value = shut_value(incoming)};
	const bool silent = message.value && !does(incoming, MR_SWITCH_SHUT_ON_FAILURE);

	loader->phase = clean_state_late;
	if (!incoming->return_up || silent)
		return ON;
	incoming->return_up = false;
	return mr_send(incoming, loader->actor, action, &message);
}

static enum outcome clean_state_first(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = shut;
	if (incoming->state_cleaned || !does(incoming, MR_SWITCH_STATE_CLEANUP_FIRST))
		return ON;
	return mr_clean_state(incoming, loader, action, shut);
}

/* Receivers end with the load, whatever their channels still hold (MFR-009). */
static bool have_receivers_ended(struct mr_incoming *incoming, unsigned actor)
{
	incoming->multifd_quit = true;
	for (uint32_t i = 0; i < incoming->multifd_count; i++)
		if (!incoming->actors[MR_ACTOR_MULTIFD + i].ended) {
			mr_wait(incoming, actor, MR_WAIT_ACTOR, MR_ACTOR_MULTIFD + i);
			return false;
		}
	return true;
}

/* ---- Cleanup: what was set up to catch faults is given back; then loader->then ---- */

static enum outcome cleanup_done(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = loader->then;
	return mr_act(incoming, loader->actor, action, MR_ACTION_CLEANUP_DONE);
}

static enum outcome cleanup_state(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = cleanup_done;
	if (does(incoming, MR_SWITCH_END_IN_CLEANUP) && incoming->state >= MR_POSTCOPY_LISTENING)
		return mr_set_state(incoming, loader->actor, action, MR_POSTCOPY_END);
	return ON;
}

static enum outcome cleanup_lock(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = cleanup_state;
	return incoming->config.memory_locked ? mr_act(incoming, loader->actor, action, MR_ACTION_LOCK) : ON;
}

static enum outcome cleanup_release(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = cleanup_lock;
	return mr_act(incoming, loader->actor, action, MR_ACTION_RELEASE);
}

static enum outcome cleanup_block(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action);

/* QEMU leaves out the rest of a cleanup that meets an error; a strict machine goes on with what can be given back. */
static bool is_cleanup_over(const struct mr_incoming *incoming, const struct loader *loader)
{
	return incoming->actors[loader->actor].error && !incoming->config.strict;
}

static enum outcome unregistered(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	return mr_go(loader, is_cleanup_over(incoming, loader) ? loader->then : cleanup_block);
}

static enum outcome unregister(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const struct block *block = block_at(incoming, loader->index - 1);

	action->range = (struct mr_action_range){.block = loader->index - 1, .length = block->postcopy_length};
	loader->phase = unregistered;
	return mr_act(incoming, loader->actor, action, MR_ACTION_UNREGISTER);
}

static enum outcome cleanup_block(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	uint32_t index;
	const struct block *block = mr_next_block(incoming, loader, &index);

	if (!block)
		return mr_go(loader, cleanup_release);
	action->range = (struct mr_action_range){.block = index, .length = block->postcopy_length};
	loader->phase = unregister;
	return mr_act(incoming, loader->actor, action, MR_ACTION_HUGE_PAGES);
}

static enum outcome cleanup_notified(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	loader->index = 0;
	return mr_go(loader, is_cleanup_over(incoming, loader) ? loader->then : cleanup_block);
}

static enum outcome cleanup_fault(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	if (!incoming->actors[MR_ACTOR_FAULT].alive)
		return mr_go(loader, cleanup_lock);
	incoming->fault.quit = incoming->fault.wakened = true;
	if (!incoming->actors[MR_ACTOR_FAULT].ended)
		return mr_wait(incoming, loader->actor, MR_WAIT_ACTOR, MR_ACTOR_FAULT);
	action->notice = MR_NOTICE_END;
	loader->phase = cleanup_notified;
	return mr_act(incoming, loader->actor, action, MR_ACTION_NOTIFY);
}

static enum outcome cleanup_join_preempt(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (!incoming->actors[MR_ACTOR_PREEMPT].ended)
		return mr_wait(incoming, loader->actor, MR_WAIT_ACTOR, MR_ACTOR_PREEMPT);
	return mr_go(loader, cleanup_fault);
}

/* Pages that are waited for may still come by the preempt channel: it is shut when there are none. */
static enum outcome cleanup_preempt(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const struct actor *preempt = &incoming->actors[MR_ACTOR_PREEMPT];
	const bool waits = does(incoming, MR_SWITCH_CLEANUP_WAITS_FOR_REQUESTS) && incoming->status != MR_STATUS_FAILED;

	if (!preempt->alive || preempt->ended)
		return mr_go(loader, cleanup_fault);
	loader->phase = cleanup_join_preempt;
	if (!does(incoming, MR_SWITCH_PREEMPT_SHUT) && incoming->status != MR_STATUS_FAILED)
		return ON;
	loader->phase = cleanup_preempt;
	if (waits && incoming->outstanding)
		return mr_wait(incoming, loader->actor, MR_WAIT_REQUESTS, 0);
	loader->phase = cleanup_join_preempt;
	incoming->preempt_quit = true;
	if (incoming->preempt_channel == NO_CHANNEL)
		return ON;
	channel_at(incoming, incoming->preempt_channel)->shut = true;
	action->channel = incoming->preempt_channel;
	return mr_act(incoming, loader->actor, action, MR_ACTION_CLOSE);
}

static enum outcome cleanup(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = cleanup_preempt;
	return mr_act(incoming, loader->actor, action, MR_ACTION_CLEANUP);
}

enum outcome mr_cleanup_then(struct loader *loader, phase_function *then)
{
	loader->then = then;
	return mr_go(loader, cleanup);
}

/* ---- Precopy: by the main loader ---- */

/* Postcopy was advised, and not needed in the end: what was prepared is given back, once, by its release's place. */
static enum outcome give_back(struct mr_incoming *incoming, struct loader *loader, bool last, phase_function *then)
{
	const bool advised = incoming->state == MR_POSTCOPY_ADVISE && has(incoming, MR_CAPABILITY_POSTCOPY_RAM);

	if (advised && last == does(incoming, MR_SWITCH_CLEANUP_IN_MAIN))
		return mr_cleanup_then(loader, then);
	return mr_go(loader, then);
}

static enum outcome precopy_last(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	return give_back(incoming, loader, true, clean_state_first);
}

static enum outcome precopy_status(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	if (!have_receivers_ended(incoming, loader->actor))
		return BLOCKED;
	loader->phase = precopy_last;
	return mr_set_status(incoming, loader->actor, action, MR_STATUS_COMPLETED);
}

static enum outcome start_guest(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action,
				phase_function *then)
{
	loader->phase = then;
	action->result = !incoming->config.start_paused;
	return mr_act(incoming, loader->actor, action, MR_ACTION_START_GUEST);
}

static enum outcome precopy_start(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	return start_guest(incoming, loader, action, precopy_status);
}

/* The network learns where the guest is before it runs (PC-014). */
static enum outcome announce(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action,
			     phase_function *then)
{
	loader->phase = then;
	return mr_act(incoming, loader->actor, action, MR_ACTION_ANNOUNCE);
}

static enum outcome precopy_announce(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	return announce(incoming, loader, action, precopy_start);
}

static enum outcome precopy_give_back(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	return give_back(incoming, loader, false,
			 does(incoming, MR_SWITCH_STATE_CLEANUP_FIRST) ? precopy_announce : precopy_start);
}

static enum outcome precopy_clean_state(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = precopy_give_back;
	if (incoming->multifd_failed) {
		mr_blame(incoming, loader, MR_MFR_007, mr_text("whole multifd channels"), mr_text("a broken one"));
		loader->result = -FAULT_IO;
		return mr_go(loader, mr_final_failure);
	}
	if (does(incoming, MR_SWITCH_STATE_CLEANUP_FIRST))
		return ON;
	return mr_clean_state(incoming, loader, action, precopy_give_back);
}

/* What stands behind the end mark: at most a description, which changes nothing. */
static enum outcome read_description(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	struct mr_record record;
	const enum mr_result result = mr_read(incoming, loader->actor, loader->channel, &record);

	(void)action;
	if (result == MR_MORE)
		return BLOCKED;
	/* The migration is good all the same; only QEMU counts it as an error of the channel (PC-043). */
	if (result != MR_RECORD)
		incoming->description_missing = !incoming->config.strict;
	return mr_go(loader, precopy_clean_state);
}

enum outcome mr_precopy_end(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	incoming->main_loaded = true;
	action->result = 0;
	loader->phase = read_description;
	return mr_act(incoming, loader->actor, action, MR_ACTION_LOADED);
}

/* ---- Postcopy: the main loader after RUN ---- */

enum outcome mr_main_idle(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const bool paused = incoming->status == MR_STATUS_POSTCOPY_PAUSED;
	const bool early = has(incoming, MR_CAPABILITY_POSTCOPY_PREEMPT) && does(incoming, MR_SWITCH_PREEMPT_EARLY);
	/* The preempt loader may have taken its channel already: one that never had the old one does not sleep. */
	const bool preempt = incoming->new_preempt != NO_CHANNEL || incoming->preempt_channel != NO_CHANNEL;
	const bool there = incoming->new_main != NO_CHANNEL && (!early || preempt);

	if (incoming->actors[MR_ACTOR_LISTEN].ended) {
		if (!does(incoming, MR_SWITCH_CLEANUP_IN_MAIN))
			return ENDED;
		return have_receivers_ended(incoming, loader->actor) ? mr_cleanup_then(loader, clean_state_first)
								     : BLOCKED;
	}
	if (paused && there)
		return mr_reconnect(incoming, loader, action);
	loader->channel = NO_CHANNEL;
	return paused ? mr_wait(incoming, loader->actor, MR_WAIT_CHANNEL, 0)
		      : mr_wait(incoming, loader->actor, MR_WAIT_ACTOR, MR_ACTOR_LISTEN);
}

static enum outcome main_start(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	return start_guest(incoming, loader, action, mr_main_idle);
}

static enum outcome main_announce(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	return announce(incoming, loader, action, main_start);
}

enum outcome mr_main_end(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	incoming->main_loaded = true;
	action->result = loader->result;
	loader->phase = incoming->state == MR_POSTCOPY_RUNNING ? main_announce : mr_main_idle;
	return mr_act(incoming, loader->actor, action, MR_ACTION_LOADED);
}

/* ---- Postcopy: the listen loader after the end mark ---- */

static enum outcome listen_hands_over(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = over;
	return mr_set_state(incoming, loader->actor, action, MR_POSTCOPY_END);
}

static enum outcome listen_status(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = does(incoming, MR_SWITCH_CLEANUP_IN_MAIN) ? listen_hands_over : clean_state_first;
	return mr_set_status(incoming, loader->actor, action, MR_STATUS_COMPLETED);
}

static enum outcome listen_waits(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	if (!incoming->main_loaded)
		return mr_wait(incoming, loader->actor, MR_WAIT_ACTOR, MR_ACTOR_MAIN);
	if (does(incoming, MR_SWITCH_CLEANUP_IN_MAIN))
		return mr_go(loader, listen_status);
	if (!have_receivers_ended(incoming, loader->actor))
		return BLOCKED;
	return has(incoming, MR_CAPABILITY_POSTCOPY_RAM) ? mr_cleanup_then(loader, listen_status)
							 : mr_go(loader, listen_status);
}

/* Once the end mark is read, what is waited for can only come by the preempt channel. */
static bool is_urgent_page_missing(const struct mr_incoming *incoming)
{
	const struct actor *preempt = &incoming->actors[MR_ACTOR_PREEMPT];

	return incoming->outstanding && preempt->alive && !preempt->ended;
}

/* A strict machine goes on loading until then, so that it can pause if that channel breaks; QEMU only cleans up. */
enum outcome mr_listen_end(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	if (incoming->config.strict && is_urgent_page_missing(incoming)) {
		if (!incoming->preempt_broken)
			return mr_wait(incoming, loader->actor, MR_WAIT_REQUESTS, 0);
		mr_blame(incoming, loader, MR_PRE_004, mr_text("a whole preempt channel"), mr_text("a broken one"));
		return mr_fail_load(incoming, loader, FAULT_IO);
	}
	loader->phase = listen_waits;
	return mr_act(incoming, loader->actor, action, MR_ACTION_ACTOR_END);
}

/* ---- Failure for good ---- */

static enum outcome failure_shown(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const bool listens = loader->actor == MR_ACTOR_LISTEN;

	(void)action;
	if (listens && does(incoming, MR_SWITCH_CLEANUP_IN_MAIN))
		return mr_go(loader, over);
	if (listens && has(incoming, MR_CAPABILITY_POSTCOPY_RAM))
		return mr_cleanup_then(loader, clean_state_first);
	if (!does(incoming, MR_SWITCH_EXIT_ON_ERROR))
		return mr_go(loader, finish);
	return have_receivers_ended(incoming, loader->actor) ? mr_go(loader, clean_state_first) : BLOCKED;
}

static enum outcome show_failure(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = failure_shown;
	return mr_set_status(incoming, loader->actor, action, MR_STATUS_FAILED);
}

static enum outcome failure_loaded(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = show_failure;
	if (does(incoming, MR_SWITCH_STATE_CLEANUP_FIRST) || incoming->state_cleaned)
		return ON;
	return mr_clean_state(incoming, loader, action, show_failure);
}

/* The main loader's failure shows by the end of its load, the listen loader's by the end of its loop. */
enum outcome mr_final_failure(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	if (loader->actor == MR_ACTOR_LISTEN) {
		loader->phase = show_failure;
		return mr_act(incoming, loader->actor, action, MR_ACTION_ACTOR_END);
	}
	loader->phase = failure_loaded;
	if (incoming->actors[MR_ACTOR_LISTEN].alive) {
		incoming->main_failed = incoming->main_loaded = true;
		loader->phase = does(incoming, MR_SWITCH_CLEANUP_IN_MAIN) ? mr_main_idle : finish;
	}
	action->result = loader->result;
	return mr_act(incoming, loader->actor, action, MR_ACTION_LOADED);
}
