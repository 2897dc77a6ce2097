/* source_loop.c: turn after turn: what is pending, another round, the end of precopy. */
#include "source.h"

enum {
	WINDOW = 100000000, /* ns: the bandwidth is given out in such pieces, and measured over them */
	WINDOWS_A_SECOND = 10,
};

/* ---- Bandwidth (SRC-013) ---- */

static uint64_t window_budget(const struct mr_outgoing *outgoing)
{
	const uint64_t postcopy = outgoing->config.max_postcopy_bandwidth;

	if (outgoing->in_postcopy)
		return postcopy ? postcopy / WINDOWS_A_SECOND : UINT64_MAX;
	return outgoing->config.max_bandwidth == UINT64_MAX ? UINT64_MAX
							    : outgoing->config.max_bandwidth / WINDOWS_A_SECOND;
}

bool mr_source_rate_exceeded(const struct mr_outgoing *outgoing)
{
	return outgoing->pace.window_bytes > window_budget(outgoing);
}

void mr_source_open_window(struct mr_outgoing *outgoing)
{
	if (outgoing->time < outgoing->pace.window_start + WINDOW)
		return;
	outgoing->pace.window_start = outgoing->time;
	outgoing->pace.window_bytes = 0;
}

enum outcome mr_source_wait_for_window(struct mr_outgoing *outgoing, struct source_actor *actor)
{
	actor->wants.time = outgoing->pace.window_start + WINDOW;
	return mr_source_wait(actor, MR_SOURCE_WAIT_TIME);
}

/* How much fits into the downtime, by what went out lately. Before anything was measured: nothing. */
static void measure(struct mr_outgoing *outgoing)
{
	struct pace *pace = &outgoing->pace;
	const uint64_t elapsed = outgoing->time - pace->measure_start;
	const uint64_t limit = outgoing->config.downtime_limit;
	uint64_t bytes = pace->measure_bytes, milliseconds = elapsed / 1000000;

	if (elapsed < WINDOW)
		return;
	if (outgoing->config.switchover_bandwidth && source_does(outgoing, MR_SWITCH_SWITCHOVER_BANDWIDTH)) {
		bytes = outgoing->config.switchover_bandwidth;
		milliseconds = 1000;
	}
	pace->threshold = bytes > UINT64_MAX / limit ? UINT64_MAX : bytes * limit / milliseconds;
	pace->measure_start = outgoing->time;
	pace->measure_bytes = 0;
}

/* ---- Turns (SRC-010) ---- */

static source_phase ask_pending, pending_known, rounds, round_done;

/* A request wakes the thread. It looks around, but begins no section before the window is over. */
static bool is_woken(struct mr_outgoing *outgoing)
{
	const bool woken = outgoing->woken;

	outgoing->woken = false;
	return woken && source_does(outgoing, MR_SWITCH_REQUEST_OVERRIDES_RATE);
}

bool mr_source_is_committed(const struct mr_outgoing *outgoing)
{
	return outgoing->status == MR_SOURCE_STATUS_POSTCOPY_DEVICE && outgoing->package_loaded;
}

enum outcome mr_source_commit(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action,
			      source_phase *then)
{
	actor->phase = then;
	return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_POSTCOPY_ACTIVE);
}

enum outcome mr_source_turn(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	if (mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	mr_source_open_window(outgoing);
	measure(outgoing);
	if (mr_source_rate_exceeded(outgoing) && !is_woken(outgoing))
		return mr_source_wait_for_window(outgoing, actor);
	if (mr_source_is_committed(outgoing))
		return mr_source_commit(outgoing, actor, action, mr_source_turn);
	outgoing->turn = (struct mr_turn_input){
		.in_postcopy = outgoing->in_postcopy,
		.postcopy_asked = outgoing->postcopy_asked,
		.switchover_allowed = outgoing->guest_stopped || outgoing->acks >= outgoing->acks_wanted,
	};
	return mr_source_go(actor, ask_pending);
}

static enum outcome ask_pending(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	(void)action;
	return mr_source_handlers(outgoing, actor,
				  outgoing->turn.exact ? MR_PHASE_PENDING_EXACT : MR_PHASE_PENDING_ESTIMATE,
				  pending_known);
}

static enum outcome take_turn(struct mr_outgoing *outgoing, struct source_actor *actor, enum mr_turn turn)
{
	switch (turn) {
	case MR_TURN_EXACT:
		outgoing->turn.exact = true;
		return mr_source_go(actor, ask_pending);
	case MR_TURN_POSTCOPY:
		return mr_source_go(actor, mr_source_switch);
	case MR_TURN_COMPLETE:
		return mr_source_go(actor, mr_source_complete);
	default:
		return mr_source_go(actor, rounds);
	}
}

/* Not the same query again, nor postcopy where there is none, nor any switch that a device has to allow yet. */
static bool is_possible_turn(const struct mr_outgoing *outgoing, enum mr_turn turn)
{
	if (turn == MR_TURN_EXACT)
		return !outgoing->turn.exact && !outgoing->in_postcopy && !source_does(outgoing, MR_SWITCH_PENDING_ONE);
	if (turn == MR_TURN_POSTCOPY && (!outgoing->postcopy_asked || outgoing->in_postcopy))
		return false;
	return turn == MR_TURN_ITERATE || outgoing->turn.switchover_allowed;
}

static enum outcome pending_known(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action)
{
	enum mr_turn canonical, turn;

	(void)action;
	if (mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	outgoing->turn.pending = outgoing->sequence.pending;
	outgoing->turn.threshold = outgoing->pace.threshold;
	canonical = mr_turn(&outgoing->profile, &outgoing->turn);
	turn = (enum mr_turn)mr_source_choose(outgoing, MR_CHOICE_TURN, canonical, MR_TURN_COMPLETE);
	if (!is_possible_turn(outgoing, turn))
		turn = canonical;
	if (turn != MR_TURN_EXACT)
		outgoing->turn = (struct mr_turn_input){0};
	return take_turn(outgoing, actor, turn);
}

static enum outcome rounds(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)action;
	return mr_source_handlers(outgoing, actor, outgoing->in_postcopy ? MR_PHASE_ITERATE_POSTCOPY : MR_PHASE_ITERATE,
				  round_done);
}

static enum outcome round_done(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action)
{
	(void)action;
	if (actor->answer && !mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	return mr_source_go(actor, mr_source_turn);
}

/* ---- The guest stops ---- */

static source_phase pause_before_switch, wait_for_continue, show_device, start_switchover, switchover_started;

bool mr_source_pauses(const struct mr_outgoing *outgoing)
{
	return outgoing->config.pause_before_switchover && source_does(outgoing, MR_SWITCH_SOURCE_PRE_SWITCHOVER);
}

enum outcome mr_source_hold_guest(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action)
{
	outgoing->guest_held = true;
	outgoing->guest_ran = !outgoing->guest_stopped;
	if (outgoing->guest_stopped)
		return ON;
	outgoing->guest_stopped = true;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_STOP_GUEST);
}

enum outcome mr_source_stop_guest(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action)
{
	actor->phase = pause_before_switch;
	return mr_source_hold_guest(outgoing, actor, action);
}

static enum outcome pause_before_switch(struct mr_outgoing *outgoing, struct source_actor *actor,
					struct mr_source_action *action)
{
	if (!mr_source_pauses(outgoing))
		return mr_source_go(actor, show_device);
	outgoing->continue_asked = false;
	actor->phase = wait_for_continue;
	return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_PRE_SWITCHOVER);
}

static enum outcome wait_for_continue(struct mr_outgoing *outgoing, struct source_actor *actor,
				      struct mr_source_action *action)
{
	if (mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	if (!outgoing->continue_asked)
		return mr_source_wait(actor, MR_SOURCE_WAIT_OPERATOR);
	actor->phase = start_switchover;
	if (outgoing->switching && !source_does(outgoing, MR_SWITCH_SOURCE_DEVICE_ALWAYS)) {
		outgoing->urgent_served = true;
		return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_POSTCOPY_ACTIVE);
	}
	return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_DEVICE);
}

static enum outcome show_device(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	actor->phase = start_switchover;
	if (!source_does(outgoing, MR_SWITCH_SOURCE_DEVICE_ALWAYS))
		return ON;
	return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_DEVICE);
}

static enum outcome start_switchover(struct mr_outgoing *outgoing, struct source_actor *actor,
				     struct mr_source_action *action)
{
	actor->phase = switchover_started;
	if (mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	if (!source_does(outgoing, MR_SWITCH_COMMAND_SWITCHOVER_START) || source_has(outgoing, MR_CAPABILITY_COLO))
		return ON;
	return mr_source_command(outgoing, actor, action, MR_COMMAND_SWITCHOVER_START, 0);
}

static enum outcome switchover_started(struct mr_outgoing *outgoing, struct source_actor *actor,
				       struct mr_source_action *action)
{
	(void)outgoing;
	(void)action;
	return mr_source_return(actor, 0);
}

/* ---- Completion ---- */

static source_phase complete_sections, complete_devices, complete_eof, complete_description, description_saved,
	wait_for_package, devices_done;

static enum outcome wait_for_package(struct mr_outgoing *outgoing, struct source_actor *actor,
				     struct mr_source_action *action)
{
	if (mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	if (mr_source_is_committed(outgoing))
		return mr_source_commit(outgoing, actor, action, complete_sections);
	if (outgoing->status != MR_SOURCE_STATUS_POSTCOPY_DEVICE)
		return mr_source_go(actor, complete_sections);
	/* The PONG may stand behind more requests than may wait. */
	if (outgoing->queue.count)
		return mr_source_go(actor, rounds);
	if (mr_source_is_deaf(outgoing))
		return mr_source_fail(outgoing, actor);
	actor->wants.actor = MR_SOURCE_RETURN;
	return mr_source_wait(actor, MR_SOURCE_WAIT_MESSAGE);
}

enum outcome mr_source_complete(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	(void)action;
	if (outgoing->in_postcopy)
		return mr_source_go(actor, wait_for_package);
	return mr_source_call(actor, mr_source_stop_guest, complete_sections);
}

static enum outcome complete_sections(struct mr_outgoing *outgoing, struct source_actor *actor,
				      struct mr_source_action *action)
{
	(void)action;
	outgoing->completing = outgoing->in_postcopy;
	return mr_source_handlers(outgoing, actor,
				  outgoing->in_postcopy ? MR_PHASE_COMPLETE_POSTCOPY : MR_PHASE_COMPLETE_PRECOPY,
				  complete_devices);
}

enum outcome mr_source_devices(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action)
{
	(void)action;
	return mr_source_handlers(outgoing, actor, MR_PHASE_DEVICES, devices_done);
}

/* What the walk over the devices answered is the answer of this program, too. */
static enum outcome devices_done(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	(void)outgoing;
	(void)action;
	return mr_source_return(actor, actor->answer);
}

static enum outcome complete_devices(struct mr_outgoing *outgoing, struct source_actor *actor,
				     struct mr_source_action *action)
{
	(void)action;
	if (actor->answer || mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	if (outgoing->in_postcopy)
		return mr_source_go(actor, complete_eof);
	return mr_source_call(actor, mr_source_devices, complete_eof);
}

static enum outcome complete_eof(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	const struct mr_record record = {.kind = MR_EOF};

	if (actor->answer || mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	actor->phase = outgoing->in_postcopy ? mr_source_finish : complete_description;
	return mr_source_emit(outgoing, actor, action, &record);
}

static enum outcome complete_description(struct mr_outgoing *outgoing, struct source_actor *actor,
					 struct mr_source_action *action)
{
	outgoing->body = (struct mr_bytes){0};
	actor->phase = description_saved;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_DESCRIBE);
}

/* Type byte and length, then the text itself, which may be long. */
static enum outcome description_saved(struct mr_outgoing *outgoing, struct source_actor *actor,
				      struct mr_source_action *action)
{
	const struct mr_bytes head = mr_source_description_head(outgoing, actor), body = outgoing->body;

	outgoing->body = (struct mr_bytes){0};
	actor->phase = mr_source_finish;
	if (head.length == 0)
		return ON;
	return mr_source_emit_bytes(outgoing, actor, action, outgoing->main_channel, MR_VMDESCRIPTION, head, body);
}
