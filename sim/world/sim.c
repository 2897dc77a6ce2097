/* sim.c: the run: from moment to moment, each handed to whom it is about. */
#include "sim/world/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/world/sim_state.h"

enum { QUIET = 1000000000 /* ns in which vCPUs alone go on */ };

static const char *const outcome_names[MR_OUTCOME_COUNT] = {
	[MR_OUTCOME_COMPLETED] = "completed", [MR_OUTCOME_RETURNED] = "returned", [MR_OUTCOME_STRANDED] = "stranded",
	[MR_OUTCOME_PAUSED] = "paused",       [MR_OUTCOME_DOUBLED] = "doubled",   [MR_OUTCOME_HOLED] = "holed",
	[MR_OUTCOME_VIOLATED] = "violated",
};

const char *mr_outcome_name(enum mr_outcome outcome)
{
	return outcome < MR_OUTCOME_COUNT ? outcome_names[outcome] : "unknown";
}

void mr_sim_violate(struct mr_sim *sim, enum mr_property property, const char *format, ...)
{
	struct mr_violation *violation = &sim->result.violation;
	va_list arguments;

	if (violation->property != MR_PROPERTY_NONE)
		return;
	va_start(arguments, format);
	vsnprintf(violation->text, sizeof(violation->text), format, arguments);
	va_end(arguments);
	violation->property = property;
	violation->time = sim->now;
	sim->over = sim->ended = true;
}

void mr_sim_at(struct mr_sim *sim, uint64_t time, enum moment_kind kind, uint32_t index, uint64_t value)
{
	const struct mr_moment moment = {.time = time, .kind = kind, .index = index, .value = value};

	if (mr_agenda_add(&sim->agenda, &moment) < 0)
		mr_sim_violate(sim, MR_PROPERTY_ACTION, "no memory for the agenda");
}

/* ---- Moments ---- */

static void bytes_arrive(struct mr_sim *sim, const struct mr_moment *moment)
{
	const unsigned direction = moment->index % 2;
	const uint32_t connection = moment->index / 2;
	uint64_t value = moment->value;
	const uint32_t fault = mr_sim_fault_before(sim, direction, connection, &value);

	if (sim->connections[connection].gone)
		return;
	if (mr_link_arrived(&sim->link, direction, connection, sim->now, value))
		mr_sim_show(sim, direction, connection);
	if (fault != NOBODY) {
		mr_sim_fire(sim, fault);
		/* What only hinders does not keep from coming what is here. */
		if (mr_link_arrived(&sim->link, direction, connection, sim->now, moment->value))
			mr_sim_show(sim, direction, connection);
	}
}

static void actor_goes_on(struct mr_sim *sim, const struct mr_moment *moment)
{
	if (moment->kind == MOMENT_SOURCE && sim->source_actors[moment->index].turn == moment->value)
		mr_sim_run_source(sim, moment->index);
	if (moment->kind == MOMENT_DESTINATION && sim->destination_actors[moment->index].turn == moment->value)
		mr_sim_run_destination(sim, moment->index);
	if (moment->kind == MOMENT_VCPU && sim->vcpus[moment->index].turn == moment->value &&
	    sim->vcpus[moment->index].runs)
		mr_sim_run_vcpu(sim, moment->index);
}

static void happen(struct mr_sim *sim, const struct mr_moment *moment)
{
	switch ((enum moment_kind)moment->kind) {
	case MOMENT_SOURCE:
	case MOMENT_DESTINATION:
	case MOMENT_VCPU:
		actor_goes_on(sim, moment);
		break;
	case MOMENT_DEPART:
		mr_sim_departed(sim, moment->index);
		break;
	case MOMENT_ARRIVE:
		bytes_arrive(sim, moment);
		break;
	case MOMENT_RETRY:
		mr_link_retry(&sim->link, moment->index % 2, sim->now);
		break;
	case MOMENT_ACCEPT:
		mr_sim_accept(sim, moment->index);
		break;
	case MOMENT_CLOSED:
		mr_sim_closed(sim, moment->index);
		break;
	case MOMENT_TOLD:
		mr_sim_tell_fault(sim);
		break;
	case MOMENT_FAULT:
		mr_sim_fire(sim, moment->index);
		break;
	case MOMENT_OPERATION:
		mr_sim_operate(sim, moment->index);
		break;
	case MOMENT_OPERATOR:
		mr_sim_operator(sim, moment->index);
		break;
	case MOMENT_HEAL:
		mr_sim_heal(sim);
		break;
	case MOMENT_END:
		mr_sim_finish(sim);
		break;
	}
}

/* Nothing but vCPUs and plans for the end is still to come. */
static bool is_quiet(const struct mr_sim *sim)
{
	return mr_agenda_all(&sim->agenda) == mr_agenda_count(&sim->agenda, MOMENT_VCPU) +
						      mr_agenda_count(&sim->agenda, MOMENT_HEAL) +
						      mr_agenda_count(&sim->agenda, MOMENT_END);
}

bool mr_sim_run(struct mr_sim *sim, uint64_t events)
{
	struct mr_moment moment;

	sim->events_left = events;
	while (!sim->over && sim->events_left) {
		const bool quiet = is_quiet(sim);

		if (!mr_agenda_take(&sim->agenda, &moment)) {
			mr_sim_finish(sim);
			break;
		}
		sim->events_left--;
		sim->now = moment.time;
		happen(sim, &moment);
		/* As long as something is to come nothing stands still, however long it takes. */
		if (!quiet)
			sim->last_pending = sim->now;
		mr_sim_look_for_end(sim);
		if (!sim->ended && sim->now > sim->last_pending + QUIET)
			mr_sim_stand_still(sim);
	}
	sim->result.run_time = sim->now;
	return sim->over;
}

/* ---- From outside ---- */

struct mr_sim *mr_sim_new(const struct mr_scenario *scenario, const struct mr_watch *watch, char *error,
			  size_t error_size)
{
	struct mr_sim *sim = calloc(1, sizeof(*sim));

	if (!sim) {
		snprintf(error, error_size, "no memory for a simulation");
		return NULL;
	}
	sim->scenario = scenario;
	if (watch)
		sim->watch = *watch;
	if (mr_sim_set_up(sim, error, error_size) < 0) {
		mr_sim_free(sim);
		return NULL;
	}
	mr_sim_plan_faults(sim);
	for (uint32_t i = 0; i < sim->source_actor_count; i++)
		mr_sim_wake_source(sim, i);
	for (uint32_t i = 0; i < sim->destination_actor_count; i++)
		mr_sim_wake_destination(sim, i);
	sim->source_runs = true;
	mr_sim_start_vcpus(sim);
	return sim;
}

void mr_sim_free(struct mr_sim *sim)
{
	if (sim)
		mr_sim_tear_down(sim);
	free(sim);
}

void mr_sim_result(const struct mr_sim *sim, struct mr_sim_result *result)
{
	*result = sim->result;
	if (result->violation.property != MR_PROPERTY_NONE)
		result->outcome = MR_OUTCOME_VIOLATED;
	mr_outgoing_statistics(sim->source, &result->source);
	result->has_blocktime =
		sim->ends.destination.blocktime && mr_incoming_blocktime(sim->destination, &result->blocktime);
}

const struct mr_outgoing_config *mr_sim_source_config(const struct mr_sim *sim)
{
	return &sim->ends.source;
}

const struct mr_incoming_config *mr_sim_destination_config(const struct mr_sim *sim)
{
	return &sim->ends.destination;
}

const struct mr_description *mr_sim_description(const struct mr_sim *sim)
{
	return sim->ends.description;
}

struct mr_bytes mr_sim_description_text(const struct mr_sim *sim)
{
	return (struct mr_bytes){(const uint8_t *)sim->ends.description_text, strlen(sim->ends.description_text)};
}

uint64_t mr_sim_now(const struct mr_sim *sim)
{
	return sim->now;
}

double mr_sim_fraction(const struct mr_sim *sim)
{
	struct mr_outgoing_statistics statistics;

	if (sim->ended)
		return 1;
	mr_outgoing_statistics(sim->source, &statistics);
	return statistics.total ? 1 - (double)statistics.remaining / (double)statistics.total : 0;
}
