/*
 * machine.h: the destination's state, and what its parts ask of each other.
 *
 * An actor is a phase and a few numbers. A step looks up the function of the phase, which either makes an action, or
 * says what it waits for, or goes on to another phase; no function waits, and none runs over more than one commit
 * point. Phases that run one after the other stand below each other in the file that has their functions.
 */
#ifndef MR_MACHINE_H
#define MR_MACHINE_H

#include "incoming.h"
#include "machine/blocktime.h"
#include "machine/step.h"
#include "wire/wire.h"

enum {
	NO_CHANNEL = MR_INCOMING_CHANNELS_MAX,
	NO_BLOCK = UINT32_MAX,
	RAM_CHANNELS = 2,
	COMMAND_PAYLOAD_MAX = UINT16_MAX,
	SEND_BYTES = 8192, /* of one piece; a bitmap goes in several */
	RESULT_QUIT = 1,   /* every loop of this loader ends */
};

/* A block of this machine. Places of bitmaps are offsets from the machine's first byte, so that it can be copied. */
struct block {
	char name[MR_NAME_MAX + 1];
	uint8_t name_length;
	uint64_t used_length, max_length;
	uint64_t postcopy_length; /* what postcopy goes by: the length when ADVISE came */
	uint64_t page_size;       /* host page */
	uint32_t rank;
	bool ignored, zeroable;
	size_t client_requested, unplugged; /* bitmaps as the next ones, where the configuration asks for them */
	size_t received, requested; /* bitmaps, a bit for each target page; requested: at the host page's first */
};

struct channel {
	bool open, at_end, shut;
	enum mr_role role;
	int error; /* how the connection ended, or why it is given up; 0: it is whole */
	const uint8_t *window;
	size_t length;
	size_t decoder; /* offset */
};

/* A host page that comes in target pages. */
struct assembly {
	uint32_t block;
	uint64_t offset;
	uint64_t count; /* target pages so far; 0: none is open */
	bool all_zero;
};

struct loader;
typedef enum outcome phase_function(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action);

/* The command that is being carried out. */
struct command {
	uint16_t number, length;
	uint32_t value;                     /* PING */
	uint32_t block;                     /* RAM_DISCARD, RECV_BITMAP; NO_BLOCK: not one of ours */
	uint32_t range_count;               /* RAM_DISCARD; the ranges lie in the arena */
	uint64_t summary, target_page_size; /* ADVISE */
};

/* Main, listen and preempt loader: one program on different channels. */
struct loader {
	unsigned actor;
	phase_function *phase;
	phase_function *then; /* what follows a detour: a barrier, a cleanup */
	uint32_t channel;     /* NO_CHANNEL: none */
	bool in_package;
	bool in_ram, postcopy; /* inside a `ram` body; one that is read by postcopy's rules */
	bool footer_due;       /* a section's body was read, its footer was not */
	uint32_t index;        /* of the block or range that is next */
	uint64_t cursor;       /* place in a bitmap */
	int result;            /* of the loop: 0, RESULT_QUIT or -errno */
	unsigned ram_channel;  /* 0: main, 1: preempt */
	struct assembly assembly;
	struct mr_action_placed placed;
	uint64_t record_offset;
	struct command command, package; /* the one at hand; PACKAGED around it */
	uint32_t handler;                /* whose section it is; without handlers UINT32_MAX */
	struct mr_sequence sequence;     /* handlers that are being called */
};

/* What a multifd receiver is at. */
struct receiver {
	uint32_t channel;
	uint32_t id;  /* as its initial packet says */
	bool arrived; /* at a SYNC */
	bool lost;    /* its place in the stream */
	bool writing; /* a packet: its pages are in the window until they are written */
	struct mr_multifd_packet packet;
	uint32_t block;
};

struct actor {
	bool alive, ended;
	bool asked;        /* an action waits for its completion */
	int error;         /* of the last completion */
	uint32_t releases; /* semaphore: posts that nobody took yet */
	struct mr_wants wants;
};

/* What the fault handler is at. */
enum fault_phase {
	FAULT_START,
	FAULT_IDLE,
	FAULT_DECIDE,
	FAULT_SEND,
	FAULT_SENT,
	FAULT_WAKE,
	FAULT_ZERO,
	FAULT_ZEROED,
	FAULT_PARKED
};

struct fault_handler {
	enum fault_phase phase;
	bool pending; /* a fault was told and is not done */
	bool retried;
	bool between; /* parked at its poll, not in the middle of a request */
	bool wakened; /* the event descriptor was written */
	bool quit;
	uint32_t client; /* 0: this process, else number + 1 */
	uint32_t block;
	uint64_t offset, thread;
};

struct client {
	bool registered;
	bool watched; /* the fault handler looks at it */
};

/* Where the parts of the arena lie: offsets from the machine's first byte. */
struct places {
	size_t blocks, channels, decoders, package, package_decoder, payload;
	size_t vcpus, open_faults;      /* of blocktime */
	size_t handler_states;          /* of handlers */
	size_t assembled[RAM_CHANNELS]; /* bitmaps of a host page's target pages */
	uint64_t largest_page;          /* host page of any block, bytes */
};

struct mr_incoming {
	struct mr_incoming_config config;
	struct mr_profile profile;
	size_t size; /* of the arena */

	enum mr_postcopy_state state;
	enum mr_status status;
	bool failed;           /* for good: nobody goes on */
	bool main_loaded;      /* the main loader is through, and the guest was started or left stopped */
	bool listen_signalled; /* the listen loader runs */
	bool preempt_broken;   /* the preempt channel has an error that the listen loader looks for */
	bool preempt_started;  /* the preempt loader runs */
	bool preempt_quit;     /* it is to end */
	struct mr_finding error;
	uint64_t sequence; /* `ram` bodies so far */

	bool configured;          /* a configuration was read */
	bool handlers_ready;      /* their load_setup was called */
	bool state_cleaned;       /* what handlers kept for loading was given back */
	bool description_missing; /* behind the end mark of precopy */
	bool main_failed;         /* the main loader failed and left the end to the listen loader */
	bool multifd_failed;      /* a multifd channel is broken: all receivers end */
	bool multifd_quit;        /* the receivers are to end */
	bool package_begun;       /* a package is being read, or loaded */

	uint32_t main_channel, preempt_channel, return_channel; /* NO_CHANNEL: none */
	uint32_t new_main, new_preempt;                         /* accepted in a pause, not taken yet */
	bool return_up;
	uint32_t last_requested; /* block of the last request */
	uint32_t outstanding;

	uint32_t block_count, connections_max;
	uint32_t own_count;                 /* entries of own_blocks that mean anything */
	uint32_t own_blocks[MR_BLOCKS_MAX]; /* by the session's numbers: own number + 2, 1: none of ours, 0: not looked
					       up */
	uint32_t by_rank[MR_BLOCKS_MAX];    /* blocks by ascending host address */
	struct places places;
	uint64_t package_start; /* offset in the channel of the package's first byte */
	uint32_t package_length, package_read;

	struct mr_load load; /* of handlers; by mr_load_of() */
	struct actor actors[MR_ACTOR_COUNT];
	struct loader main, listen, preempt;
	struct fault_handler fault;
	struct client clients[MR_INCOMING_CLIENTS_MAX];
	uint32_t client_count;
	struct blocktime blocktime;
	struct receiver receivers[MR_INCOMING_MULTIFD_MAX];
	uint32_t multifd_count;     /* receivers that are there */
	uint8_t out[3][SEND_BYTES]; /* of main, listen and fault actor */
	/* Large, and set up by a function of its own: what stands before it is cleared as one. */
	struct mr_session session;
};

/* ---- Places in the arena ---- */

static inline void *at(const struct mr_incoming *incoming, size_t offset)
{
	return (uint8_t *)(uintptr_t)incoming + offset;
}

static inline struct block *block_at(const struct mr_incoming *incoming, uint32_t index)
{
	return (struct block *)at(incoming, incoming->places.blocks) + index;
}

static inline struct channel *channel_at(const struct mr_incoming *incoming, uint32_t index)
{
	return (struct channel *)at(incoming, incoming->places.channels) + index;
}

static inline struct mr_decoder *decoder_of(const struct mr_incoming *incoming, const struct channel *channel)
{
	return at(incoming, channel->decoder);
}

static inline uint64_t *received_of(const struct mr_incoming *incoming, const struct block *block)
{
	return at(incoming, block->received);
}

static inline uint64_t *requested_of(const struct mr_incoming *incoming, const struct block *block)
{
	return at(incoming, block->requested);
}

/* ---- Questions ---- */

static inline bool does(const struct mr_incoming *incoming, enum mr_switch which)
{
	return incoming->profile.on[which];
}

static inline bool has(const struct mr_incoming *incoming, uint32_t capability)
{
	return incoming->config.context.capabilities & capability;
}

static inline uint32_t target_page(const struct mr_incoming *incoming)
{
	return incoming->config.target_page_size;
}

/* ---- Actions and what stops them (incoming.c) ---- */

static inline enum outcome mr_act(struct mr_incoming *incoming, unsigned actor, struct mr_action *action,
				  enum mr_action_kind kind)
{
	action->kind = kind;
	action->asked = kind >= MR_ACTION_SEND;
	incoming->actors[actor].asked = action->asked;
	incoming->actors[actor].error = 0;
	return ACTED;
}

enum outcome mr_wait(struct mr_incoming *incoming, unsigned actor, enum mr_wait wait, unsigned other);
/* Remembers why the load fails, if nothing was remembered yet. */
void mr_blame(struct mr_incoming *incoming, const struct loader *loader, enum mr_rule rule, struct mr_text expected,
	      struct mr_text found);
enum outcome mr_set_status(struct mr_incoming *incoming, unsigned actor, struct mr_action *action,
			   enum mr_status status);
enum outcome mr_set_state(struct mr_incoming *incoming, unsigned actor, struct mr_action *action,
			  enum mr_postcopy_state state);
/* Writes a message into the actor's place for one and asks to send it. */
enum outcome mr_send(struct mr_incoming *incoming, unsigned actor, struct mr_action *action,
		     const struct mr_return_message *message);
/* The next block from loader->index on that is not ignored; loader->index stands behind it. NULL behind the last. */
struct block *mr_next_block(struct mr_incoming *incoming, struct loader *loader, uint32_t *index);
/* Posts a semaphore. */
void mr_release(struct mr_incoming *incoming, unsigned actor);
/* Takes a post. False if there is none. */
bool mr_take_release(struct mr_incoming *incoming, unsigned actor);
void mr_start_actor(struct mr_incoming *incoming, unsigned actor);
/*
 * The next record of a connection, for this actor. MR_MORE: it is known now what the actor needs. A connection that was
 * shut ends where it is read.
 */
static inline enum mr_result mr_read(struct mr_incoming *incoming, unsigned actor, uint32_t index,
				     struct mr_record *record)
{
	struct channel *channel = channel_at(incoming, index);
	struct mr_decoder *decoder = decoder_of(incoming, channel);
	enum mr_result result;

	decoder->session = &incoming->session;
	result = mr_decode(decoder, channel->window, channel->shut ? 0 : channel->length,
			   channel->at_end || channel->shut, record);
	if (result == MR_RECORD) {
		channel->window += record->length;
		channel->length -= (size_t)record->length;
	} else if (result == MR_MORE) {
		incoming->actors[actor].wants = (struct mr_wants){.channel = index, .wanted = decoder->wanted};
	}
	return result;
}

/* A preempt channel that was accepted becomes the one in use, if there is none. False if there still is none. */
bool mr_take_preempt_channel(struct mr_incoming *incoming);

/* ---- Parts ---- */

/* The block of this machine that the session calls `session_block`; NO_BLOCK if it has none. */
uint32_t mr_own_block(struct mr_incoming *incoming, uint32_t session_block);

/* loader.c: the loop over sections and commands */
phase_function mr_loader_begin, mr_loader_record, mr_listen_begin, mr_main_idle;
enum mr_step mr_loader_step(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action);
/* Goes on with `phase`. */
enum outcome mr_go(struct loader *loader, phase_function *phase);
/* The load of this loader fails with -error, for the reason remembered by mr_blame(). */
enum outcome mr_fail_load(struct mr_incoming *incoming, struct loader *loader, int error);
/* The loop of this loader ends with `result`. */
enum outcome mr_end_loop(struct mr_incoming *incoming, struct loader *loader, int result);
/* A command is carried out, with `result`. */
enum outcome mr_end_command(struct mr_incoming *incoming, struct loader *loader, int result);

/* commands.c */
enum outcome mr_take_command(struct mr_incoming *incoming, struct loader *loader, const struct mr_command *command,
			     struct mr_action *action);

/* load.c: RAM records; returns ON where nothing is to be told */
enum outcome mr_take_ram(struct mr_incoming *incoming, struct loader *loader, const struct mr_record *record,
			 struct mr_action *action);
/* A `ram` body begins. */
void mr_begin_body(struct mr_incoming *incoming, struct loader *loader);
/* The body failed where no whole record has come: `left` are the bytes that have. */
enum outcome mr_take_cut_record(struct mr_incoming *incoming, struct loader *loader, const struct mr_decoder *decoder,
				struct mr_bytes left, struct mr_action *action);
phase_function mr_ram_failed;

/* request.c */
enum mr_step mr_fault_step(struct mr_incoming *incoming, struct mr_action *action);
/* The host page at `offset` counts as received from now on. True if it was waited for. */
bool mr_mark(struct mr_incoming *incoming, uint32_t index, uint64_t offset);
/* The request for a page; it names its block as REQ-005 says. */
struct mr_return_message mr_request_for(struct mr_incoming *incoming, uint32_t index, uint64_t offset);

/* client.c */
/* Wakes each client about the page that was placed, then reads on. */
phase_function mr_wake_clients;
/* True if the host page at `offset` is not plugged, and answered here. */
bool mr_is_unplugged(const struct mr_incoming *incoming, const struct block *block, uint64_t offset);

/* recovery.c */
phase_function mr_pause, mr_answer_bitmap, mr_resume, mr_reconnect;

/* preempt.c */
phase_function mr_preempt_begin, mr_preempt_broken, mr_preempt_end;

/* receive.c: multifd */
enum mr_step mr_receiver_step(struct mr_incoming *incoming, uint32_t index, struct mr_action *action);
/* Waits for a SYNC on every multifd channel, then goes on with loader->then. */
phase_function mr_barrier;

/* handler_calls.c: SaveVMHandlers, where the machine has any */
struct mr_load *mr_load_of(struct mr_incoming *incoming);
/* Calls them one after the other, then goes on with `then`; a failure fails the load or the command at hand. */
enum outcome mr_call_handlers(struct mr_incoming *incoming, struct loader *loader, enum mr_phase phase,
			      phase_function *then);
phase_function mr_handlers_begin, mr_section_refused, mr_send_acks;
/* Whether the next byte is the first behind the configuration: then load_setup is due, if it was not called yet. */
bool mr_is_setup_due(const struct mr_incoming *incoming, const struct loader *loader, const struct mr_decoder *decoder,
		     const struct channel *channel);
enum outcome mr_handlers_set_up(struct mr_incoming *incoming, struct loader *loader);
/* Whose section begins; false: it is refused, and why is remembered. */
bool mr_take_handler(struct mr_incoming *incoming, struct loader *loader, const struct mr_record *record);
/* Takes a SWITCHOVER_ACK that is to be sent. */
bool mr_ack_due(struct mr_incoming *incoming);
/* What handlers kept for loading is given back, then goes on with `then`. */
enum outcome mr_clean_state(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action,
			    phase_function *then);

/* end.c */
/* Gives back what catches faults, then goes on with `then`. */
enum outcome mr_cleanup_then(struct loader *loader, phase_function *then);
phase_function mr_precopy_end, mr_listen_end, mr_main_end, mr_final_failure;

#endif
