/*
 * sim.h: a whole migration in one thread: source and destination machine, a guest that runs at one and then at the
 * other, the link between them, operator and faults, all in virtual time and from a seed.
 *
 * Nothing here asks a clock, waits, or opens a file. One scenario gives one run.
 */
#ifndef MR_WORLD_SIM_H
#define MR_WORLD_SIM_H

#include "sim/world/properties.h"
#include "sim/world/scenario.h"
#include "sim/world/watch.h"

enum mr_outcome {
	MR_OUTCOME_COMPLETED, /* the guest runs at the destination, all of its memory there */
	MR_OUTCOME_RETURNED,  /* the migration failed or was cancelled: the guest runs at the source */
	MR_OUTCOME_STRANDED, /* the source paused for a destination that is gone, or the other way round, as the release
				does when a connection breaks at that moment; or the destination waits for a page that
				it could not place, and nobody sends it again: the guest is lost */
	MR_OUTCOME_PAUSED,   /* both ends wait for a recovery that nobody asks for */
	MR_OUTCOME_DOUBLED,  /* something went wrong between the guest's start at the destination and the source's
				learning  of it: both run the guest, as with real releases */
	MR_OUTCOME_HOLED, /* the destination shut the preempt channel before the last requested pages had come, as 8.0
			     and 8.1 do: the guest runs there, and finds zeros in their place */
	MR_OUTCOME_VIOLATED, /* a property does not hold: a bug */
	MR_OUTCOME_COUNT
};

/* "completed" */
const char *mr_outcome_name(enum mr_outcome outcome);

enum { MR_LATENCY_BUCKETS = 24 };

/* Of faults by microseconds: bucket n is of 2^n to 2^(n+1) - 1, the first also of those below 1. */
static inline unsigned mr_latency_bucket(uint64_t nanoseconds)
{
	unsigned bucket = 0;

	for (uint64_t rest = nanoseconds / 1000; rest > 1 && bucket < MR_LATENCY_BUCKETS - 1; rest /= 2)
		bucket++;
	return bucket;
}

struct mr_sim_result {
	enum mr_outcome outcome;
	struct mr_violation violation;     /* VIOLATED: what, when, where */
	uint64_t seen[MR_SOMETIMES_COUNT]; /* how often each interesting event occurred */
	char reason[256];                  /* RETURNED, STRANDED: the error of either end */

	uint64_t total_time, setup_time; /* ns, of the source */
	uint64_t downtime;               /* ns from the guest's stop to its start at the destination */
	uint64_t blackout;               /* ns from there until every vCPU has made its next touch */
	uint64_t run_time;               /* ns, of the whole simulation */
	struct mr_outgoing_statistics source;
	bool has_blocktime;
	struct mr_blocktime blocktime;
	uint64_t forward_bytes, return_bytes;
	uint64_t header_bytes, page_bytes, zero_bytes, xbzrle_bytes, packet_bytes, device_bytes,
		discard_bytes;                 /* by kind */
	uint64_t pages_sent, pages_sent_twice; /* the latter: more than once */
	uint64_t pages_placed, pages_loaded, pages_discarded;
	uint64_t passes, cuts, recoveries;
	uint64_t touches, writes; /* of the guest, at either side */
	uint64_t faults, requests;
	uint64_t resolved;                     /* faults whose vCPU went on */
	uint64_t latency_sum, latency_maximum; /* ns, of resolved faults */
	uint64_t latency[MR_LATENCY_BUCKETS];  /* faults by microseconds: 2^n to 2^(n+1) - 1; the first also below 1 */
	uint64_t waited;                       /* ns that vCPUs waited, all together */
	uint64_t page_events;                  /* touches, pages sent, taken, discarded, faults, requests */
	uint64_t steps;                        /* of both machines */
};

struct mr_sim;

/* A run of the scenario, which must stay and pass mr_scenario_check(). NULL with one line in `error`. */
struct mr_sim *mr_sim_new(const struct mr_scenario *scenario, const struct mr_watch *watch, char *error,
			  size_t error_size);
/* Runs to the end, or for so many events more; true if it is over. */
bool mr_sim_run(struct mr_sim *sim, uint64_t events);
/* The result so far. */
void mr_sim_result(const struct mr_sim *sim, struct mr_sim_result *result);
void mr_sim_free(struct mr_sim *sim);

/* ---- For who writes a recording ---- */

/* What the machines were set up with. */
const struct mr_outgoing_config *mr_sim_source_config(const struct mr_sim *sim);
const struct mr_incoming_config *mr_sim_destination_config(const struct mr_sim *sim);
const struct mr_description *mr_sim_description(const struct mr_sim *sim);
/* The text that it was read from, which the source sends. */
struct mr_bytes mr_sim_description_text(const struct mr_sim *sim);
/* The source's page when its guest stopped (or, if it goes on there, now). */
void mr_sim_source_page(const struct mr_sim *sim, uint32_t block, uint64_t page, uint8_t *out);
/* Virtual time, ns; where the migration stands, 0 to 1, as far as can be told. */
uint64_t mr_sim_now(const struct mr_sim *sim);
double mr_sim_fraction(const struct mr_sim *sim);

#endif
