/* live_destination_state.h: what the destination's threads share, and what its parts ask of each other. */
#ifndef MR_HOST_LIVE_DESTINATION_STATE_H
#define MR_HOST_LIVE_DESTINATION_STATE_H

#include "sim/host/clock.h"
#include "sim/host/connection.h"
#include "sim/host/caught_memory.h"
#include "sim/host/live_client.h"
#include "sim/host/live_destination.h"
#include "sim/host/live_threads.h"

enum {
	THREAD_FIRST = 1000, /* vCPU 0, as the log names it; the others follow */
	DEVICE_THREAD = 999, /* who loads devices */
};

struct destination_channel {
	struct mr_connection connection;
	bool opened;
	bool returned; /* its return path has ended, and that was told */
};

struct mr_live_destination {
	struct mr_live_destination_setup setup;
	const struct mr_incoming_config *config;
	struct mr_live_board *board;
	uint8_t *temporary[2];
	void *arena;

	struct mr_live_threads threads;

	/* Under their lock: the machine, who looks on, and all that follows. */
	struct mr_incoming *incoming;
	bool finished, failed, host_failed;
	bool refused; /* the host did not do what the machine asked of it */
	char reason[256];
	struct destination_channel channels[MR_SCENARIO_CONNECTIONS_MAX];
	uint32_t channel_count;
	struct mr_channel_census census;
	bool fault_used[MR_SCENARIO_FAULTS_MAX];
	pthread_t acceptor;
	bool acceptor_started;

	/* faults */
	struct mr_caught_memory memory;
	uint32_t placing; /* actors that place pages now, without the lock */
	int kick;         /* eventfd: whoever waits for a fault is to look again */
	bool has_fault;
	struct mr_userfault_event fault;

	struct mr_live_client *client; /* NULL: there is none */
	bool has_client_fault;
	uint32_t client_block;
	uint64_t client_offset;

	/* guest */
	struct mr_live_guest *guest;
	uint64_t touches[MR_SCENARIO_VCPUS_MAX]; /* at the switch */
	bool has_touches, guest_ran;
	uint32_t devices_loaded;
	struct mr_receivers receivers;
};

/* ---- live_destination.c; under the lock ---- */

void mr_live_destination_tell(struct mr_live_destination *destination, const struct mr_log_record *record,
			      const struct mr_action *action);
/* The host failed it: one line, once. */
void mr_live_destination_host_failed(struct mr_live_destination *destination, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- live_destination_actions.c ---- */

/* Carries an asked action out: called under the lock, which is free meanwhile. 0 or an errno. */
int mr_live_destination_carry_out(struct mr_live_destination *destination, struct mr_live_actor *actor,
				  const struct mr_action *action);

/* ---- live_destination_net.c ---- */

/* Reads more of a channel for the actor that wants it; called under the lock, which is free meanwhile. */
void mr_live_destination_read(struct mr_live_destination *destination, struct mr_live_actor *actor, uint32_t channel);
/* Thread: accepts connections. */
void *mr_live_destination_accept(void *argument);
int mr_live_destination_send(struct mr_live_destination *destination, struct mr_live_actor *actor,
			     const struct mr_action_send *send);

#endif
