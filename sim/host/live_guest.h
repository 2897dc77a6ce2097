/*
 * live_guest.h: vCPUs of a real guest: threads that touch its memory by the scenario's patterns, and what that memory
 * must hold by the number of touches that each has made.
 *
 * A write makes a page's next version, as in the simulated world; so who knows how many touches each vCPU made, knows
 * every page, whatever the order was in which they were made.
 */
#ifndef MR_HOST_LIVE_GUEST_H
#define MR_HOST_LIVE_GUEST_H

#include "sim/host/memory.h"
#include "sim/world/sim.h"

#include <stdio.h>

struct mr_live_guest;

/* What the vCPUs met since they were started. */
struct mr_live_guest_figures {
	uint64_t touches, writes, faults;
	uint64_t latency_sum, latency_maximum; /* ns, of touches that faulted */
	uint64_t latency[MR_LATENCY_BUCKETS];  /* faults by microseconds: 2^n to 2^(n+1) - 1; the first also below 1 */
	uint64_t blackout;                     /* ns from the start until every vCPU had made a touch; 0: not yet */
	uint64_t outstanding;                  /* vCPUs that wait for a page now */
};

/*
 * The vCPUs of the scenario, at rest, on these memories, one for each block; both must stay. NULL with one line in
 * `error`: there is no memory, or a workload touches pages outside of its block.
 */
struct mr_live_guest *mr_live_guest_new(const struct mr_scenario *scenario, const struct mr_host_memory *memories,
					char *error, size_t error_size);
/* At rest. NULL is allowed. */
void mr_live_guest_free(struct mr_live_guest *guest);

/* Fills the memory of a guest that has just been switched on. */
void mr_live_guest_fill(struct mr_live_guest *guest);
/*
 * Starts each vCPU behind the touches that it has made before, 0 if `touches` is NULL. -1 with one line in `error`:
 * those that it could start are asked to stop, and mr_live_guest_stop() has to follow, as they may wait for pages.
 */
int mr_live_guest_start(struct mr_live_guest *guest, const uint64_t *touches, char *error, size_t error_size);
/* Each vCPU ends behind its touch; one that waits for a page does so when it has come. */
void mr_live_guest_ask_to_stop(struct mr_live_guest *guest);
/* Asks, and waits until all have ended. */
void mr_live_guest_stop(struct mr_live_guest *guest);
bool mr_live_guest_runs(const struct mr_live_guest *guest);
/* Of every hundred ns that a vCPU could run, it stands for so many. */
void mr_live_guest_throttle(struct mr_live_guest *guest, uint32_t percent);

/* Touches that each vCPU has made, since the guest was switched on. */
void mr_live_guest_touches(const struct mr_live_guest *guest, uint64_t *touches);
/* The vCPU that runs in this thread of the system; -1 if none does, or the thread is 0, not known. */
int mr_live_guest_vcpu_of(const struct mr_live_guest *guest, uint32_t thread);
/* The thread of a vCPU is told to have met a missing page: its touch counts as a fault. */
void mr_live_guest_note_fault(struct mr_live_guest *guest, int vcpu);
void mr_live_guest_figures(const struct mr_live_guest *guest, struct mr_live_guest_figures *sum);
/* A vCPU read what it should not have found: one line; NULL if none did. */
const char *mr_live_guest_complaint(const struct mr_live_guest *guest);

/*
 * Whether all memory of a guest at rest is what so many touches of each vCPU make of it, computed anew: the guest
 * stands behind these touches from then on. Reads without faults. False with one line in `error`.
 */
bool mr_live_guest_check(struct mr_live_guest *guest, const uint64_t *touches, char *error, size_t error_size);

#endif
