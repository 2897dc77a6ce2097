/*
 * explore_local.c: which interleavings make no difference, and are left out.
 *
 * An actor that has made a local step goes on at once. What is left out then is that somebody else moves between this
 * step and the actor's next one; and that comes to the same as if he had moved before both of them, since the step
 * reads nothing that he may change, and changes nothing that he reads. Only bytes on a connection that is cut are
 * another matter: once they are lost they cannot be read any more. But then the step might have been made before the
 * bytes behind it were sent, with the same result; and that order is not left out.
 *
 * For the same reason the guest's writes at the source, and the operator's commands, which the migration thread alone
 * goes by, come right before it goes on, and a vCPU touches a missing page right when the fault handler learns of it.
 *
 * Where every connection is broken, neither end can do anything that the other one notices: so the source goes on to
 * its pause, or its end, before the destination does anything.
 *
 * With the option `full` nothing of this is done; both find the same ends, events and violations.
 */
#include "sim/world/explore_machines.h"
#include "sim/world/explore_world.h"

/* ---- The source ---- */

/* From there on it goes on alone. */
static bool is_last_status(enum mr_source_status status)
{
	return status == MR_SOURCE_STATUS_FAILING || status == MR_SOURCE_STATUS_FAILED ||
	       status == MR_SOURCE_STATUS_CANCELLING || status == MR_SOURCE_STATUS_CANCELLED ||
	       status == MR_SOURCE_STATUS_COMPLETED || status == MR_SOURCE_STATUS_POSTCOPY_PAUSED;
}

/* What was asked for is for the reader alone until it is queued; but a message that is refused ends the reading. */
static bool is_own_request(const struct explore_machines *machines, const struct mr_source_action *action)
{
	const unsigned type = action->message.record.type;

	return (type == MR_RETURN_REQ_PAGES || type == MR_RETURN_REQ_PAGES_ID) &&
	       mr_outgoing_return_error(machines->source)->rule == MR_NO_RULE;
}

bool mr_local_source(const struct explore_machines *machines, const struct mr_source_action *action)
{
	switch (action->kind) {
	case MR_SOURCE_ACTION_STATUS:
		return is_last_status(action->status);
	case MR_SOURCE_ACTION_RETURN:
		return is_own_request(machines, action);
	case MR_SOURCE_ACTION_REQUEST:
		return action->actor == MR_SOURCE_RETURN;
	case MR_SOURCE_ACTION_ITERATION:
	case MR_SOURCE_ACTION_DISCARDED:
	case MR_SOURCE_ACTION_CLOSE:
	case MR_SOURCE_ACTION_LOG_START:
	case MR_SOURCE_ACTION_LOG_SYNC:
	case MR_SOURCE_ACTION_LOG_CLEAR:
	case MR_SOURCE_ACTION_LOG_STOP:
	case MR_SOURCE_ACTION_STOP_GUEST:
	case MR_SOURCE_ACTION_START_GUEST:
	case MR_SOURCE_ACTION_SAVE:
	case MR_SOURCE_ACTION_DESCRIBE:
	case MR_SOURCE_ACTION_HOOK:
		return true;
	default:
		return false;
	}
}

/* ---- The destination ---- */

/* Up to LISTEN the main loader is alone. */
static bool is_before_listen(const struct explore_machines *machines)
{
	return mr_incoming_postcopy_state(machines->destination) < MR_POSTCOPY_LISTENING;
}

bool mr_local_destination(const struct explore_machines *machines, const struct mr_action *action)
{
	switch (action->kind) {
	case MR_ACTION_STATUS:
		return action->status == MR_STATUS_SETUP || action->status == MR_STATUS_ACTIVE;
	case MR_ACTION_POSTCOPY_STATE:
	case MR_ACTION_DISCARD:
		return is_before_listen(machines);
	case MR_ACTION_RAM_RECORD:
	case MR_ACTION_SECTION:
	case MR_ACTION_COMMAND:
	case MR_ACTION_COMMAND_DONE:
	case MR_ACTION_DISCARD_HEADER:
	case MR_ACTION_LISTEN_PREPARED:
	case MR_ACTION_LISTEN_READY:
	case MR_ACTION_RAM_LOADED:
	case MR_ACTION_REQUEST_AGAIN:
	case MR_ACTION_BITMAP_SENT:
	case MR_ACTION_PAUSE:
	case MR_ACTION_ANNOUNCE:
	case MR_ACTION_CLEANUP:
	case MR_ACTION_CLEANUP_DONE:
	case MR_ACTION_STATE_CLEANUP:
	case MR_ACTION_PROBE:
	case MR_ACTION_NOTIFY:
	case MR_ACTION_NO_HUGE_PAGES:
	case MR_ACTION_HUGE_PAGES:
	case MR_ACTION_UNLOCK:
	case MR_ACTION_LOCK:
	case MR_ACTION_CATCH:
	case MR_ACTION_REGISTER:
	case MR_ACTION_UNREGISTER:
	case MR_ACTION_RELEASE:
	case MR_ACTION_LOAD_DEVICE:
		return true;
	default:
		return false;
	}
}

/* ---- Beside the world ---- */

bool mr_local_goes_on(const struct explore_scene *scene, const struct explore_whole *whole, unsigned side,
		      const struct explore_effect *effect)
{
	const struct explore_setup *setup = scene->setup;
	const bool writes = whole->world.writes < setup->options.writes && (whole->world.guest & GUEST_AT_SOURCE);

	if (setup->options.full)
		return false;
	if (effect->effect == EFFECT_MOVED)
		return true;
	if (!effect->local)
		return false;
	if (side == DESTINATION)
		return true;
	/* Answers to choices belong to one step. */
	if (setup->choices)
		return false;
	/* What is logged decides what the next step of the source is. */
	if (effect->action == MR_SOURCE_ACTION_LOG_START || effect->action == MR_SOURCE_ACTION_LOG_SYNC ||
	    effect->action == MR_SOURCE_ACTION_LOG_CLEAR)
		return !writes;
	return true;
}

/* A connection that is still to be made is made or refused as the destination lives or not. */
static bool may_connect(const struct explore_scene *scene, const struct explore_world *world)
{
	const bool preempt = scene->setup->scenario->migration.capabilities & MR_CAPABILITY_POSTCOPY_PREEMPT;
	const uint32_t last = world->connection_count - 1;

	return preempt && world->connections[last].role != MR_ROLE_PREEMPT;
}

bool mr_local_are_apart(const struct explore_scene *scene, const struct explore_whole *whole)
{
	const struct explore_world *world = &whole->world;
	const uint8_t over = CONNECTION_CUT | CONNECTION_SHUT | CONNECTION_CLOSED;

	if (scene->setup->options.full || world->connection_count == 0 || world->ends[SOURCE] != END_NONE ||
	    (world->asked & SOURCE_PAUSED) || may_connect(scene, world))
		return false;
	for (uint32_t i = 0; i < world->connection_count; i++)
		if (!(world->connections[i].flags & over))
			return false;
	return true;
}
