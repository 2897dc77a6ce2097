/* sim_barrier.c: what a barrier of the main channel promises: all packets that were sent before it have been written.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "sim/world/sim_state.h"

static struct sim_barrier *barrier_at(struct mr_sim *sim, size_t number)
{
	return &sim->barriers[(sim->barrier_first + number) % sim->barrier_capacity];
}

static bool make_room(struct mr_sim *sim)
{
	const size_t larger = 2 * sim->barrier_capacity + 16;
	struct sim_barrier *barriers;

	if (sim->barrier_count < sim->barrier_capacity)
		return true;
	barriers = calloc(larger, sizeof(*barriers));
	if (!barriers) {
		mr_sim_violate(sim, MR_PROPERTY_ACTION, "no memory for barriers");
		return false;
	}
	for (size_t i = 0; i < sim->barrier_count; i++)
		barriers[i] = *barrier_at(sim, i);
	free(sim->barriers);
	sim->barriers = barriers;
	sim->barrier_first = 0;
	sim->barrier_capacity = larger;
	return true;
}

/* FLUSH, or the end of a section where each end is one. */
static bool is_barrier(const struct mr_sim *sim, const struct mr_source_action *action)
{
	if (sim->connections[action->send.channel].role == MR_ROLE_PREEMPT)
		return false;
	return action->send.kind == MR_RAM_FLUSH ||
	       (action->send.kind == MR_RAM_EOS &&
		mr_profile_does(&sim->ends.source.profile, MR_SWITCH_FLUSH_EACH_SECTION));
}

void mr_sim_note_barrier(struct mr_sim *sim, const struct mr_source_action *action)
{
	if (!(sim->scenario->migration.capabilities & MR_CAPABILITY_MULTIFD))
		return;
	if (action->send.kind == MR_MULTIFD_PACKET && sim->look_count)
		sim->packets_sent++;
	/* One behind which no more has to be there than behind the last promises nothing new. */
	if (!is_barrier(sim, action) || sim->packets_sent == sim->barrier_packets || !make_room(sim))
		return;
	sim->barrier_packets = sim->packets_sent;
	*barrier_at(sim, sim->barrier_count++) =
		(struct sim_barrier){action->send.channel, action->send.offset, sim->packets_sent};
}

/* What the action came by stands behind the barrier, or is the barrier and has let all go on. */
static bool is_passed(const struct sim_barrier *barrier, const struct mr_action *action)
{
	return action->channel == barrier->connection && !action->in_package &&
	       (action->offset > barrier->offset ||
		(action->kind == MR_ACTION_BARRIER && action->offset == barrier->offset));
}

void mr_sim_check_barriers(struct mr_sim *sim, const struct mr_action *action)
{
	while (sim->barrier_count && is_passed(barrier_at(sim, 0), action)) {
		const struct sim_barrier *barrier = barrier_at(sim, 0);

		if (sim->packets_written < barrier->packets)
			mr_sim_violate(sim, MR_PROPERTY_BARRIER,
				       "byte 0x%" PRIx64 " of the main channel: %" PRIu64
				       " packets were sent before it, found %" PRIu64 " of them written",
				       barrier->offset, barrier->packets, sim->packets_written);
		sim->barrier_first = (sim->barrier_first + 1) % sim->barrier_capacity;
		sim->barrier_count--;
	}
}
