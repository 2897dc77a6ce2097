/* live_destination_state.h: what the destination's threads share, and what its parts ask of each other. */
#ifndef MR_HOST_LIVE_DESTINATION_STATE_H
#define MR_HOST_LIVE_DESTINATION_STATE_H

#include "sim/host/clock.h"
#include "sim/host/connection.h"
#include "sim/host/live_client.h"
#include "sim/host/live_destination.h"
#include "sim/host/userfault.h"

enum {
	NOBODY = UINT32_MAX,
	THREAD_FIRST = 1000, /* vCPU 0, as the log names it; the others follow */
	DEVICE_THREAD = 999, /* who loads devices */
	HOST_EIO = 5,
	HOST_ENOMEM = 12,
	HOST_EEXIST = 17,
};

/* A thread that runs one actor of the machine. */
struct destination_actor {
	struct mr_live_destination *destination;
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

	/* Under the lock: the machine, who looks on, and all that follows. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct mr_incoming *incoming;
	uint64_t clock; /* as last told */
	bool over;      /* threads are to end */
	bool finished, failed, host_failed;
	bool refused; /* the host did not do what the machine asked of it */
	char reason[256];
	struct destination_actor actors[MR_ACTOR_COUNT];
	uint32_t actor_count;
	struct destination_channel channels[MR_SCENARIO_CONNECTIONS_MAX];
	uint32_t channel_count;
	struct mr_channel_census census;
	bool fault_used[MR_SCENARIO_FAULTS_MAX];
	pthread_t acceptor;
	bool acceptor_started;

	/* faults */
	struct mr_userfault *userfault;                     /* NULL: none are caught */
	uint32_t placing;                                   /* actors that place pages now, without the lock */
	uint32_t userfault_blocks[MR_USERFAULT_BLOCKS_MAX]; /* block of the machine by number of the userfault */
	uint32_t registered[MR_SCENARIO_BLOCKS_MAX];        /* and the other way; NOBODY: not caught */
	int kick;                                           /* eventfd: whoever waits for a fault is to look again */
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
	void *method_states[MR_INCOMING_MULTIFD_MAX];
};

/* ---- destination.c; under the lock ---- */

void mr_live_destination_tell(struct mr_live_destination *destination, const struct mr_log_record *record,
			      const struct mr_action *action);
/* Waits until it is woken. */
void mr_live_destination_rest(struct mr_live_destination *destination, struct destination_actor *actor);
/* Every thread looks again whether it can go on. */
void mr_live_destination_wake_all(struct mr_live_destination *destination);
/* The host failed it: one line, once. */
void mr_live_destination_host_failed(struct mr_live_destination *destination, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- destination_actions.c ---- */

/* Carries an asked action out: called under the lock, which is free meanwhile. 0 or an errno. */
int mr_live_destination_carry_out(struct mr_live_destination *destination, struct destination_actor *actor,
				  const struct mr_action *action);
uint8_t *mr_live_destination_page(void *argument, uint32_t block, uint64_t offset);
void mr_live_destination_zero(void *argument, uint32_t block, uint64_t offset);

/* ---- destination_net.c ---- */

/* Reads more of a channel for the actor that wants it; called under the lock, which is free meanwhile. */
void mr_live_destination_read(struct mr_live_destination *destination, struct destination_actor *actor,
			      uint32_t channel);
/* Thread: accepts connections. */
void *mr_live_destination_accept(void *argument);
int mr_live_destination_send(struct mr_live_destination *destination, struct destination_actor *actor,
			     const struct mr_action_send *send);

#endif
