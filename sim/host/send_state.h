/* send_state.h: what the parts of a sending source share, and what they ask of each other. */
#ifndef MR_HOST_SEND_STATE_H
#define MR_HOST_SEND_STATE_H

#include "sim/host/clock.h"
#include "sim/host/send.h"
#include "sim/host/signals.h"

enum {
	MR_SEND_CONNECTIONS_MAX = MR_RECORDING_CHANNELS_MAX,
};

/* One connection; what is sent waits in its queue. */
struct mr_send_connection {
	int socket; /* -1: closed, or cut */
	enum mr_role role;
	uint8_t *queue;
	size_t start, length, capacity; /* of what is in it */
	uint64_t written;
	bool closing;       /* to be closed once its queue is empty */
	bool broken;        /* nobody takes what is sent */
	uint64_t doomed_at; /* turn in which that was noticed first; 0: not yet */

	/* the return path */
	uint8_t *window;
	size_t window_length, window_size;
	uint64_t base, received; /* bytes before the window; in all */
	bool at_end;
};

/* A page that is shown altered in this step. */
struct mr_send_look {
	uint32_t block;
	uint64_t offset;
};

struct mr_send {
	const struct mr_send_options *options;
	struct mr_send_result *result;
	struct mr_outgoing_config config;
	struct mr_outgoing *outgoing;
	void *arena;
	uint64_t started, clock; /* ns: when it began; since then, as last told */
	uint64_t progress_at;    /* ns: when something crossed last */
	uint64_t shown_at;
	bool finished, failed, host_failed, interrupted;
	uint64_t turn; /* from 1 */
	bool moved;    /* something happened in this turn */
	struct mr_signals signals;

	struct mr_send_connection connections[MR_SEND_CONNECTIONS_MAX];
	uint32_t connection_count;
	int spare; /* a socket that is connected for the next main channel; -1: none */
	bool cut_wanted;
	uint32_t blocked[MR_SOURCE_COUNT]; /* connection that an actor waits for, + 1; 0: none */
	bool drains[MR_SOURCE_COUNT];      /* and until when: its queue is empty */
	uint32_t actor_count;

	struct mr_pretend_guest *guest;
	bool logs;                  /* writes are logged */
	bool stopped, written_last; /* the guest; its last writes were handed over */
	uint64_t stopped_at;
	struct mr_send_look looks[MR_PACKET_PAGES_MAX + 1];
	uint32_t look_count;
	uint8_t *pages; /* of the looks */

	bool switch_asked, refused;
	uint64_t paused_at; /* 0: it is not paused */
	uint64_t retry_at;
	char broke[MR_SEND_TEXT]; /* how the first connection broke; empty: none did */
};

/* Whether the destination tells by a return path that it has taken all. */
static inline bool mr_send_is_answered(const struct mr_send *send)
{
	return send->config.capabilities & (MR_CAPABILITY_RETURN_PATH | MR_CAPABILITY_POSTCOPY_RAM);
}

/* ---- send.c ---- */

void mr_send_tell(struct mr_send *send, const struct mr_source_log_record *record,
		  const struct mr_source_action *action);
/* The first failure of this host is kept, and ends the run. */
void mr_send_host_failed(struct mr_send *send, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- send_actions.c ---- */

const uint8_t *mr_send_look(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look);
/* Carries an action out, tells of it, and completes it. */
void mr_send_carry_out(struct mr_send *send, const struct mr_source_action *action);

/* ---- send_net.c ---- */

/* A socket that is connected there, or -1 with errno set; waits a moment for a host to answer. */
int mr_send_dial(const struct mr_address *address, uint64_t patience);
void mr_send_open(struct mr_send *send, uint32_t number, enum mr_role role);
/* Puts bytes in a queue, and sends what it can of a long one. */
void mr_send_bytes(struct mr_send *send, const struct mr_source_action *action);
/* Whether the actor has to wait until its connection has taken more. */
bool mr_send_is_blocked(struct mr_send *send, unsigned actor);
void mr_send_close(struct mr_send *send, uint32_t number);
/* Sends what can be sent of the queue that the actor wrote to last. */
void mr_send_flush_of(struct mr_send *send, unsigned actor);
/* Sends what can be sent of all queues, and closes what is through. */
void mr_send_flush_all(struct mr_send *send);
/* Waits until something can be sent or has come, and does it; at the latest until `until`, by mr_clock(). */
void mr_send_poll(struct mr_send *send, uint64_t until);
/* All are closed, in order. */
bool mr_send_is_drained(const struct mr_send *send);
/* Bytes that nobody has taken, and on which connection the first of them wait. */
uint64_t mr_send_waiting(const struct mr_send *send, uint32_t *number);
void mr_send_clear_net(struct mr_send *send);

#endif
