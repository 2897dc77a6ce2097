/* sim_end.c: how a run ended, and whether it may end so. */
#include "sim/world/sim_state.h"

static bool is_source_over(const struct mr_sim *sim)
{
	return sim->source_finished || sim->source_failed;
}

static bool is_destination_over(const struct mr_sim *sim)
{
	return sim->destination_finished || sim->destination_failed;
}

static void end(struct mr_sim *sim, enum mr_outcome outcome)
{
	sim->result.outcome = outcome;
	sim->ended = true;
	mr_sim_at(sim, sim->now + sim->scenario->migration.run_after, MOMENT_END, 0, 0);
}

/* Something that a migration may fail by has happened. */
static bool may_fail(const struct mr_sim *sim)
{
	return sim->faults_fired || sim->cancelled;
}

void mr_sim_double(struct mr_sim *sim, const char *text)
{
	if (!may_fail(sim))
		mr_sim_violate(sim, MR_PROPERTY_ONE_GUEST, "%s", text);
	sim->result.outcome = MR_OUTCOME_DOUBLED;
	/* Memories part from here on: there is nothing more to be judged. */
	sim->ended = sim->over = true;
}

/* Releases that shut the preempt channel in the end, and do not wait for what is to come there (PRE-003). */
static bool gives_pages_up(const struct mr_sim *sim)
{
	const struct mr_profile *release = &sim->ends.destination.profile;

	return !sim->scenario->migration.strict && mr_profile_does(release, MR_SWITCH_PREEMPT_SHUT) &&
	       !mr_profile_does(release, MR_SWITCH_CLEANUP_WAITS_FOR_REQUESTS);
}

void mr_sim_look_for_holes(struct mr_sim *sim, uint32_t connection)
{
	if (!sim->cleans_up || sim->connections[connection].role != MR_ROLE_PREEMPT || sim->vcpus_waiting == 0 ||
	    mr_incoming_status(sim->destination) == MR_STATUS_FAILED || !gives_pages_up(sim))
		return;
	snprintf(sim->result.reason, sizeof(sim->result.reason),
		 "destination: %s expected the pages that %u vCPUs wait for, found the preempt channel shut",
		 mr_rule_id(MR_PRE_003), sim->vcpus_waiting);
	sim->result.outcome = MR_OUTCOME_HOLED;
	/* From here on the guest has other memory than it had. */
	sim->ended = sim->over = true;
}

/*
 * Where nothing was dirty at the switch, no page is discarded, and releases refuse RUN: the state is DISCARD only since
 * LISTEN has made up for that. A strict destination does right.
 */
static bool is_known_failure(const struct mr_sim *sim)
{
	const struct mr_finding *error = mr_incoming_error(sim->destination);

	return !sim->scenario->migration.strict && error->rule == MR_PC_001 && sim->result.discard_bytes == 0;
}

static void end_badly(struct mr_sim *sim)
{
	const bool returned = sim->source_runs || (sim->stopped_by_operator && !sim->was_moved);

	if (!may_fail(sim) && !is_known_failure(sim))
		mr_sim_violate(sim, MR_PROPERTY_LEGAL_END, "nothing has gone wrong, and yet: %s", sim->result.reason);
	if (returned)
		mr_sim_saw(sim, MR_SOMETIMES_RETURNED);
	end(sim, returned ? MR_OUTCOME_RETURNED : MR_OUTCOME_STRANDED);
}

static void end_well(struct mr_sim *sim)
{
	mr_sim_check_memory(sim);
	mr_sim_saw(sim, MR_SOMETIMES_COMPLETED);
	if (!sim->in_postcopy && sim->result.passes > 1)
		mr_sim_saw(sim, MR_SOMETIMES_PRECOPY_CONVERGED);
	if (sim->result.recoveries && sim->result.cuts)
		mr_sim_saw(sim, MR_SOMETIMES_RECOVERED);
	if (sim->result.recoveries > 1 && sim->result.cuts > 1)
		mr_sim_saw(sim, MR_SOMETIMES_RECOVERED_TWICE);
	end(sim, MR_OUTCOME_COMPLETED);
}

void mr_sim_look_for_end(struct mr_sim *sim)
{
	if (sim->ended || !is_source_over(sim) || !is_destination_over(sim))
		return;
	if (sim->source_finished && sim->destination_finished)
		end_well(sim);
	else
		end_badly(sim);
}

/* A destination that hangs, as releases do when a connection ends at a bad moment: its process is killed. */
static void kill_destination(struct mr_sim *sim)
{
	sim->destination_killed = sim->destination_failed = true;
	sim->last_pending = sim->now;
	for (uint32_t i = 0; i < sim->connection_count; i++)
		mr_sim_close(sim, i, false);
}

/*
 * Releases tell nobody of a page that cannot be placed from the preempt channel: its reader sleeps until RESUME, and
 * what comes by that channel piles up (PRE-004).
 */
static bool does_reader_sleep(const struct mr_sim *sim)
{
	return !sim->scenario->migration.strict && may_fail(sim) &&
	       mr_incoming_wants(sim->destination, MR_ACTOR_PREEMPT).wait == MR_WAIT_RELEASE;
}

/* The load is over: the cleanup waits for the sleeping reader, or for pages by its channel, for ever. */
static bool does_cleanup_hang(struct mr_sim *sim)
{
	static const unsigned loaders[] = {MR_ACTOR_MAIN, MR_ACTOR_LISTEN};
	bool hangs = false;

	for (unsigned i = 0; i < 2; i++) {
		const struct mr_wants wants = mr_incoming_wants(sim->destination, loaders[i]);

		hangs |= wants.wait == MR_WAIT_REQUESTS ||
			 (wants.wait == MR_WAIT_ACTOR && wants.actor == MR_ACTOR_PREEMPT);
	}
	if (!sim->cleans_up || !hangs || !does_reader_sleep(sim))
		return false;
	if (!sim->result.reason[0])
		snprintf(sim->result.reason, sizeof(sim->result.reason),
			 "destination: %s expected pages by the preempt channel, found its reader asleep",
			 mr_rule_id(MR_PRE_004));
	return true;
}

/* migrate-pause at the destination shuts its main channel down; the recovery behind it wakes who sleeps. */
static void pause_destination(struct mr_sim *sim)
{
	mr_sim_saw(sim, MR_SOMETIMES_OPERATOR_PAUSED);
	sim->last_pending = sim->now;
	mr_sim_break(sim, sim->last_of_role[MR_ROLE_MAIN], HOST_ECONNRESET);
}

/* Neither has ended: what a real operator would do about it. False: nothing. */
static bool help(struct mr_sim *sim)
{
	const enum mr_status destination = mr_incoming_status(sim->destination);

	if (!sim->healed) {
		mr_sim_heal(sim);
		return true;
	}
	if (may_fail(sim) && !sim->destination_killed && !is_destination_over(sim) &&
	    (destination == MR_STATUS_FAILED || !sim->was_moved || does_cleanup_hang(sim))) {
		kill_destination(sim);
		return true;
	}
	if (destination == MR_STATUS_POSTCOPY_ACTIVE && does_reader_sleep(sim) &&
	    !sim->connections[sim->last_of_role[MR_ROLE_MAIN]].gone) {
		pause_destination(sim);
		return true;
	}
	return false;
}

bool mr_sim_stand_still(struct mr_sim *sim)
{
	const enum mr_source_status source = mr_outgoing_status(sim->source);
	const enum mr_status destination = mr_incoming_status(sim->destination);
	const bool paused = source == MR_SOURCE_STATUS_POSTCOPY_PAUSED || destination == MR_STATUS_POSTCOPY_PAUSED;

	if (help(sim))
		return true;
	if (sim->source_failed || sim->destination_failed || (may_fail(sim) && paused)) {
		end_badly(sim);
		if (source == MR_SOURCE_STATUS_POSTCOPY_PAUSED && destination == MR_STATUS_POSTCOPY_PAUSED)
			sim->result.outcome = MR_OUTCOME_PAUSED;
		return false;
	}
	mr_sim_violate(sim, MR_PROPERTY_OVER, "nothing happens any more: source %s, destination %s, %s",
		       mr_source_status_name(source), mr_status_name(destination),
		       mr_postcopy_state_name(mr_incoming_postcopy_state(sim->destination)));
	return false;
}

/* False if the operator has found something to do, so that it goes on. */
static bool is_stuck(struct mr_sim *sim)
{
	if (!mr_sim_stand_still(sim))
		return true;
	mr_sim_at(sim, sim->now + sim->scenario->migration.time_limit, MOMENT_END, 0, 0);
	return false;
}

void mr_sim_finish(struct mr_sim *sim)
{
	if (!sim->ended && !is_stuck(sim))
		return;
	if (!sim->ended)
		mr_sim_violate(sim, MR_PROPERTY_OVER,
			       "the migration does not come to an end: source %s, destination %s",
			       mr_source_status_name(mr_outgoing_status(sim->source)),
			       mr_status_name(mr_incoming_status(sim->destination)));
	if (sim->result.outcome == MR_OUTCOME_COMPLETED && sim->vcpus_waiting)
		mr_sim_violate(sim, MR_PROPERTY_RESOLVED, "%u vCPUs still wait for a page", sim->vcpus_waiting);
	if (sim->result.outcome == MR_OUTCOME_COMPLETED)
		mr_sim_check_memory(sim);
	sim->over = true;
}
