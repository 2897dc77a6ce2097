/* sim_guest.c: vCPUs: they touch pages by their patterns, and wait for those that are missing. */
#include <inttypes.h>
#include <stdlib.h>

#include "sim/world/sim_state.h"

enum { TOUCHES_AT_ONCE = 512, CALM = 1000 };

#define FOREVER (UINT64_C(1) << 62) /* ns: no run lasts so long */

/* ---- Time ---- */

static void schedule(struct mr_sim *sim, uint32_t index, uint64_t time)
{
	struct sim_vcpu *vcpu = &sim->vcpus[index];

	vcpu->due = time;
	mr_sim_at(sim, time, MOMENT_VCPU, index, ++vcpu->turn);
}

static uint64_t times(uint64_t interval, uint64_t factor)
{
	return interval < FOREVER / factor ? interval * factor : FOREVER;
}

static uint64_t interval_of(const struct mr_sim *sim, const struct sim_vcpu *vcpu)
{
	uint64_t interval = times(vcpu->interval, 1 + (uint64_t)vcpu->touch.pauses);

	/* In the end the guest calms down, so that every precopy converges. */
	if (sim->healed)
		interval = times(interval, CALM);
	return sim->source_runs && sim->throttle ? times(interval, 100) / (100 - sim->throttle) : interval;
}

static bool draw(struct sim_vcpu *vcpu)
{
	if (!vcpu->has_touch)
		vcpu->has_touch = mr_pattern_next(&vcpu->pattern, &vcpu->touch);
	return vcpu->has_touch;
}

void mr_sim_start_vcpus(struct mr_sim *sim)
{
	for (uint32_t i = 0; i < sim->scenario->guest.vcpus; i++) {
		struct sim_vcpu *vcpu = &sim->vcpus[i];

		vcpu->runs = vcpu->interval && draw(vcpu);
		if (!vcpu->runs)
			continue;
		sim->vcpus_to_move += sim->destination_runs && !vcpu->moved;
		schedule(sim, i, sim->now + interval_of(sim, vcpu));
	}
}

void mr_sim_stop_vcpus(struct mr_sim *sim)
{
	for (uint32_t i = 0; i < sim->scenario->guest.vcpus; i++) {
		sim->vcpus[i].runs = false;
		sim->vcpus[i].turn++;
	}
}

/* ---- Touches ---- */

static void touch_there(struct mr_sim *sim, struct sim_vcpu *vcpu)
{
	mr_sim_look_destination(sim, vcpu->block, vcpu->touch.page);
	if (vcpu->touch.write)
		mr_sim_dirty_destination(sim, vcpu->block, vcpu->touch.page);
	if (vcpu->moved)
		return;
	vcpu->moved = true;
	if (--sim->vcpus_to_move == 0)
		sim->result.blackout = sim->now - sim->moved_at;
}

static void touch(struct mr_sim *sim, struct sim_vcpu *vcpu)
{
	sim->result.touches++;
	sim->result.page_events++;
	if (sim->destination_runs)
		touch_there(sim, vcpu);
	else if (vcpu->touch.write)
		mr_sim_dirty_source(sim, vcpu->block, vcpu->touch.page);
	vcpu->has_touch = false;
}

static void begin_waiting(struct mr_sim *sim, struct sim_vcpu *vcpu, uint32_t index)
{
	/* A destination that has failed gives up all that it has, its guest too. */
	if (!sim->blocks[vcpu->block].registered && mr_incoming_status(sim->destination) != MR_STATUS_FAILED)
		mr_sim_violate(sim, MR_PROPERTY_CAUGHT, "a vCPU misses page 0x%" PRIx64 " of %s, and nobody catches it",
			       vcpu->touch.page * sim->scenario->guest.target_page_size,
			       sim->scenario->blocks[vcpu->block].name);
	vcpu->waits = true;
	vcpu->waits_since = sim->now;
	sim->vcpus_waiting++;
	sim->result.faults++;
	sim->result.page_events++;
	mr_sim_saw(sim, MR_SOMETIMES_FAULT);
	mr_sim_miss(sim, vcpu->block, vcpu->touch.page, THREAD_FIRST + index);
}

static void count_latency(struct mr_sim *sim, uint64_t latency)
{
	sim->result.latency[mr_latency_bucket(latency)]++;
	sim->result.resolved++;
	sim->result.latency_sum += latency;
	sim->result.waited += latency;
	if (latency > sim->result.latency_maximum)
		sim->result.latency_maximum = latency;
}

void mr_sim_run_vcpu(struct mr_sim *sim, uint32_t index)
{
	struct sim_vcpu *vcpu = &sim->vcpus[index];
	const uint64_t next = mr_agenda_next(&sim->agenda);

	for (unsigned i = 0; i < TOUCHES_AT_ONCE; i++) {
		if (sim->destination_runs && !mr_sim_is_there(sim, vcpu->block, vcpu->touch.page)) {
			begin_waiting(sim, vcpu, index);
			return;
		}
		touch(sim, vcpu);
		vcpu->runs = draw(vcpu) && !sim->over;
		if (!vcpu->runs)
			return;
		vcpu->due = sim->now + interval_of(sim, vcpu);
		if (vcpu->due >= next)
			break;
		sim->now = vcpu->due;
	}
	schedule(sim, index, vcpu->due);
}

/* ---- Missing pages ---- */

void mr_sim_miss(struct mr_sim *sim, uint32_t block, uint64_t page, uint64_t thread)
{
	if (sim->told_count == sim->told_capacity) {
		const size_t larger = 2 * sim->told_capacity + 16;
		struct sim_told *told = calloc(larger, sizeof(*told));

		if (!told) {
			mr_sim_violate(sim, MR_PROPERTY_ACTION, "no memory for faults");
			return;
		}
		for (size_t i = 0; i < sim->told_count; i++)
			told[i] = sim->told[(sim->told_first + i) % sim->told_capacity];
		free(sim->told);
		sim->told = told;
		sim->told_first = 0;
		sim->told_capacity = larger;
	}
	/* Of the whole host page, as the kernel has it. */
	page -= page % sim->blocks[block].host_pages;
	sim->told[(sim->told_first + sim->told_count++) % sim->told_capacity] = (struct sim_told){
		block, page * sim->scenario->guest.target_page_size, thread, sim->now + sim->scenario->costs.fault};
	mr_sim_at(sim, sim->now + sim->scenario->costs.fault, MOMENT_TOLD, 0, 0);
}

void mr_sim_wake_vcpus(struct mr_sim *sim, uint32_t block, uint64_t first, uint64_t count)
{
	for (uint32_t i = 0; sim->vcpus_waiting && i < sim->scenario->guest.vcpus; i++) {
		struct sim_vcpu *vcpu = &sim->vcpus[i];

		if (!vcpu->waits || vcpu->block != block || vcpu->touch.page < first ||
		    vcpu->touch.page >= first + count)
			continue;
		vcpu->waits = false;
		sim->vcpus_waiting--;
		count_latency(sim, sim->now + sim->scenario->costs.wake - vcpu->waits_since);
		schedule(sim, i, sim->now + sim->scenario->costs.wake);
	}
	if (sim->device_waits && sim->device_page.block == block && sim->device_page.page >= first &&
	    sim->device_page.page < first + count)
		mr_sim_continue_device(sim);
}

void mr_sim_tell_fault(struct mr_sim *sim)
{
	struct mr_log_record record = {.kind = MR_LOG_FAULT, .channel = MR_INCOMING_CHANNELS_MAX};
	const struct sim_told *told;

	if (sim->told_count == 0 || !mr_incoming_takes_fault(sim->destination))
		return;
	told = &sim->told[sim->told_first];
	if (told->due > sim->now)
		return;
	record.block = told->block;
	record.offset = told->offset;
	record.thread = told->thread;
	mr_sim_tell_time(sim);
	if (!mr_incoming_fault(sim->destination, record.block, record.offset, record.thread))
		return;
	if (sim->watch.destination)
		sim->watch.destination(sim->watch.argument, &record, sim->destination, NULL);
	sim->told_first = (sim->told_first + 1) % sim->told_capacity;
	sim->told_count--;
	mr_sim_wake_destination(sim, MR_ACTOR_FAULT);
}
