/* live_source_state.h: what the source's threads share, and what its parts ask of each other. */
#ifndef MR_HOST_LIVE_SOURCE_STATE_H
#define MR_HOST_LIVE_SOURCE_STATE_H

#include "sim/host/clock.h"
#include "sim/host/connection.h"
#include "sim/host/dirty.h"
#include "sim/host/live_source.h"
#include "sim/host/live_threads.h"

/* A page that the machine looked at in this step: whoever looks again sees the same. */
struct source_look {
	uint32_t block;
	uint64_t offset;
};

struct mr_live_source {
	struct mr_live_source_setup setup;
	struct mr_live_board *board;
	void *arena;

	struct mr_live_threads threads;

	/* Under their lock: the machine, who looks on, and all that follows. */
	struct mr_outgoing *outgoing;
	uint64_t clock; /* ns, as last told */
	bool finished, failed, host_failed;
	char reason[256];
	struct mr_connection connections[MR_SCENARIO_CONNECTIONS_MAX];
	uint32_t connection_count;
	bool switch_asked, paused;
	uint64_t paused_at, gave_up_at, stranded_at;
	bool fault_used[MR_SCENARIO_FAULTS_MAX], operated[MR_SCENARIO_OPERATIONS_MAX];

	/* memory */
	struct mr_dirty *dirty; /* NULL: writes are not logged */
	uint64_t *dirty_bits;   /* of one block */
	struct source_look looks[MR_PACKET_PAGES_MAX + 1];
	uint32_t look_count;
	uint8_t *pages; /* of the looks */

	/* guest */
	struct mr_live_guest *guest;
	uint64_t touches[MR_SCENARIO_VCPUS_MAX]; /* when it stopped */
	uint8_t *device_body;
};

/* ---- live_source.c; under the lock ---- */

void mr_live_source_tell(struct mr_live_source *source, const struct mr_source_log_record *record,
			 const struct mr_source_action *action);
void mr_live_source_host_failed(struct mr_live_source *source, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- live_source_actions.c ---- */

const uint8_t *mr_live_source_look(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look);
/* Carries an action out: called under the lock, which is free while bytes are sent. */
void mr_live_source_carry_out(struct mr_live_source *source, struct mr_live_actor *actor,
			      const struct mr_source_action *action);
/* Reads more of a return path; called under the lock, which is free meanwhile. */
void mr_live_source_read(struct mr_live_source *source, struct mr_live_actor *actor, uint32_t channel);

/* ---- live_source_operator.c ---- */

/* What the scenario's operator does now, if anything; called under the lock again and again. */
void mr_live_source_operate(struct mr_live_source *source);

#endif
