/* live_source_state.h: what the source's threads share, and what its parts ask of each other. */
#ifndef MR_HOST_LIVE_SOURCE_STATE_H
#define MR_HOST_LIVE_SOURCE_STATE_H

#include "sim/host/clock.h"
#include "sim/host/connection.h"
#include "sim/host/dirty.h"
#include "sim/host/live_source.h"

enum { NOBODY = UINT32_MAX };

/* A page that the machine looked at in this step: whoever looks again sees the same. */
struct source_look {
	uint32_t block;
	uint64_t offset;
};

/* A thread that runs one actor of the machine. */
struct source_actor {
	struct mr_live_source *source;
	pthread_t thread;
	unsigned index;
	bool started;
	bool woken;         /* it is to look again whether it can go on */
	uint32_t reading;   /* connection whose bytes it waits for; NOBODY: none */
	bool waits_anew;    /* it has made an action since it last waited */
	uint32_t waits_for; /* actor that it waits for; NOBODY: none */
	uint8_t *message;   /* what it sends, while it does */
	size_t message_capacity;
};

struct mr_live_source {
	struct mr_live_source_setup setup;
	struct mr_live_board *board;
	void *arena;

	/* Under the lock: the machine, who looks on, and all that follows. */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* by the monotonic clock */
	struct mr_outgoing *outgoing;
	uint64_t clock; /* ns, as last told */
	bool over;
	bool finished, failed, host_failed;
	char reason[256];
	struct source_actor actors[MR_SOURCE_MULTIFD + MR_OUTGOING_MULTIFD_MAX];
	uint32_t actor_count;
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

/* Waits until it is woken. */
void mr_live_source_rest(struct mr_live_source *source, struct source_actor *actor);
/* Every thread looks again whether it can go on. */
void mr_live_source_wake_all(struct mr_live_source *source);

/* ---- live_source_actions.c ---- */

const uint8_t *mr_live_source_look(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look);
/* Carries an action out: called under the lock, which is free while bytes are sent. */
void mr_live_source_carry_out(struct mr_live_source *source, struct source_actor *actor,
			      const struct mr_source_action *action);
/* Reads more of a return path; called under the lock, which is free meanwhile. */
void mr_live_source_read(struct mr_live_source *source, struct source_actor *actor, uint32_t channel);

/* ---- live_source_operator.c ---- */

/* What the scenario's operator does now, if anything; called under the lock again and again. */
void mr_live_source_operate(struct mr_live_source *source);

#endif
