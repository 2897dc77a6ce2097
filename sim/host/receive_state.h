/* receive_state.h: what the parts of a live destination share, and ask of each other. */
#ifndef MR_HOST_RECEIVE_STATE_H
#define MR_HOST_RECEIVE_STATE_H

#include "sim/host/clock.h"
#include "sim/host/caught_memory.h"
#include "sim/host/receive.h"
#include "sim/host/signals.h"
#include "sim/record/writer.h"

enum {
	RECEIVE_NOBODY = UINT32_MAX,
	RECEIVE_WAITING_MAX = 64, /* connections that wait to be let in */
	RECEIVE_READ = 1 << 20,   /* bytes that are read at once */
	RECEIVE_AHEAD = 1 << 16,  /* bytes that are read although nobody asks for them */
	RECEIVE_QUEUE = 1 << 16,  /* bytes of a return path that may wait while its actor goes on */
	RECEIVE_MAGIC = 4,
	RECEIVE_PENDING = -1,        /* what an action leads to that is not over */
	RECEIVE_THREAD_FIRST = 1000, /* vCPU 0, as the log names it; the others follow */
	RECEIVE_DEVICE_THREAD = 999,
	RECEIVE_SECOND = 1000000000,
};

struct receive_connection {
	int socket; /* -1: closed */
	uint32_t number;
	enum mr_role role;
	uint64_t opened_at;

	/* forward */
	uint8_t *window; /* from byte `base` on */
	size_t length, capacity;
	uint64_t base;
	uint64_t told; /* bytes that who looks on has been told of */
	bool at_end;   /* nothing more is for the machine */
	int error;
	bool end_told; /* the machine was shown the end */
	bool drained;  /* nothing more comes at all */

	/* backward */
	uint8_t *queue;
	size_t queued, queue_capacity;
	uint64_t written;
	uint64_t accepted; /* bytes of messages that the machine takes for sent */
	bool broken, limit_told;
};

/* What an actor waits for. */
struct receive_actor {
	bool ready;         /* it is to look whether it can go on */
	bool waits_anew;    /* it has made an action since it last waited */
	uint32_t waits_for; /* actor; RECEIVE_NOBODY: none */
	uint32_t reads;     /* channel; RECEIVE_NOBODY: none */
	size_t wanted;      /* bytes of it */
	size_t sends;       /* bytes of its message, which waits for room in the queue of `send_channel`; 0: none */
	uint32_t send_channel;
};

struct receive {
	const struct mr_receive_options *options;
	struct mr_receive_result *result;
	const struct mr_watch *watch; /* NULL: nobody looks on */
	struct mr_writer *writer;
	int listener;
	struct mr_signals signals;
	uint64_t started, first_at, heard_at; /* mr_clock(): of the first connection, of the last bytes */
	uint64_t drawn_at;
	bool over;

	struct receive_connection *waiting[RECEIVE_WAITING_MAX];
	uint32_t waiting_count;
	struct receive_connection *channels[MR_RECORDING_CHANNELS_MAX];
	uint32_t channel_count;
	struct mr_channel_census census;
	bool preempt_due; /* a preempt channel is to come, or to come again */
	bool told_full, cut_done;

	/* reading ahead, until the blocks are known */
	struct mr_session *ahead_session;
	struct mr_decoder *ahead;
	uint64_t blocks_due; /* bytes of the list's that were not listed yet */
	size_t ahead_wanted; /* bytes that the window must hold */

	/* the machine; NULL: not yet */
	struct mr_incoming *incoming;
	struct mr_incoming_config config;
	struct mr_incoming_block *blocks;
	uint8_t *temporary[2];
	void *arena;
	uint32_t actor_count;
	struct receive_actor actors[MR_ACTOR_COUNT];
	bool finished, failed;
	bool loaded;     /* the main loader has come to its end mark */
	uint32_t method; /* of the packets that came; MR_METHOD_UNKNOWN: none */

	/* memory and vCPUs */
	bool simulated;
	struct mr_host_memory *memories;
	struct mr_caught_memory memory;
	struct mr_receivers receivers;
	struct mr_readers *readers;
	bool guest_runs;
	bool has_fault;
	struct mr_userfault_event fault;
	uint32_t fault_reader; /* simulated: who met it */
};

/* ---- receive.c ---- */

/* The end: told once, the first time. */
void mr_receive_stop(struct receive *receive, enum mr_receive_end end, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void mr_receive_complain(struct receive *receive, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mr_receive_tell(struct receive *receive, const struct mr_log_record *record, const struct mr_action *action);
void mr_receive_tell_line(struct receive *receive, struct mr_line line);
void mr_receive_wake_all(struct receive *receive);

/* ---- receive_net.c ---- */

struct receive_connection *mr_receive_connection_new(int socket);
void mr_receive_connection_free(struct receive_connection *connection);
/* Reads what has come; at the cut's byte it breaks everything. */
void mr_receive_read(struct receive *receive, struct receive_connection *connection);
/* Shows the machine what is there. */
void mr_receive_feed(struct receive *receive, struct receive_connection *connection);
/* Lets those in whose role can be told, in their order. */
void mr_receive_identify(struct receive *receive);
/* What is known of a channel before there was a machine to tell of it. */
void mr_receive_open_channel(struct receive *receive, struct receive_connection *connection);
/* The machine is to see the end of the connection, `error` an errno or 0; bytes behind it are not for it. */
void mr_receive_end_channel(struct receive *receive, struct receive_connection *connection, int error);
/* MR_ACTION_SEND: 0, an errno, or RECEIVE_PENDING: mr_receive_sent() will tell. */
int mr_receive_send(struct receive *receive, const struct mr_action_send *send);
int mr_receive_sent(struct receive *receive, uint32_t channel, size_t length);
/* Writes what waits. */
void mr_receive_flush(struct receive *receive, struct receive_connection *connection);
void mr_receive_cut_all(struct receive *receive);
/* How much of a connection is to be read now; 0: nothing. */
size_t mr_receive_appetite(const struct receive *receive, const struct receive_connection *connection);

/* ---- receive_setup.c ---- */

/* Reads ahead on the main channel, and makes the machine as soon as its blocks are known. */
void mr_receive_learn(struct receive *receive);
/* A machine without blocks, or with those that are known: for what cannot be read. */
void mr_receive_make_machine(struct receive *receive);
void mr_receive_free_machine(struct receive *receive);
/* The main channel of precopy stands before its devices, and is whole: nothing follows. */
bool mr_receive_is_described(const struct receive *receive, const struct receive_connection *connection);

/* ---- receive_actions.c ---- */

int mr_receive_carry_out(struct receive *receive, const struct mr_action *action);
void mr_receive_see(struct receive *receive, const struct mr_action *action);
/* Faults that can be told, and touches that are due; true if there were any. */
bool mr_receive_take_faults(struct receive *receive);

/* ---- receive_save.c ---- */

/* Writes the recording's end, and the memory; what fails is told. */
void mr_receive_save(struct receive *receive);

#endif
