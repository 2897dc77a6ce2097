/*
 * explore_state.h: what the parts of the explorer ask of each other.
 *
 * A state of the whole is three numbers: of a state of the source's machine, of one of the destination's, and of a
 * state of the world around them. Each kind is kept once in a store. Bytes under way are queues of messages, by number
 * too.
 */
#ifndef MR_WORLD_EXPLORE_STATE_H
#define MR_WORLD_EXPLORE_STATE_H

#include "sim/world/explore.h"
#include "sim/world/explore_store.h"

enum {
	EXPLORE_CONNECTIONS_MAX = 2 * (1 + MR_EXPLORE_RECOVERIES_MAX),
	VERSION_BITS = 4,
	VERSION_WRONG = 15, /* content that the page never had */
	NO_PAGE = 0xff,
	NO_CHANNEL = 0xff,
	HOST_EIO = 5,
	HOST_EPIPE = 32,
	HOST_ECONNREFUSED = 111,
	THREAD_FIRST = 1000, /* of vCPU 0; the others follow */
};

/* A set of target pages, a bit for each, counted over all blocks. */
typedef uint16_t page_set;

/* ---- Queues of messages (explore_queue.c) ------------------------------------------------------------------------ */

struct mr_queues_room;

/* Messages are what was sent at once; a queue begins within its first message or at its beginning. 0: the empty one. */
struct explore_queues {
	struct mr_store messages, queues;
	struct mr_store_map known; /* what appending, taking, ... make of a queue */
	struct mr_queues_room *room;
	bool failed; /* memory was short, or a limit reached: numbers mean nothing any more */
};

bool mr_queues_init(struct explore_queues *queues);
void mr_queues_clear(struct explore_queues *queues);
uint32_t mr_queues_message(struct explore_queues *queues, struct mr_bytes head, struct mr_bytes body);
struct mr_bytes mr_queues_message_bytes(const struct explore_queues *queues, uint32_t message);
uint32_t mr_queues_append(struct explore_queues *queues, uint32_t queue, uint32_t message);
/* Without its first `bytes` bytes. */
uint32_t mr_queues_take(struct explore_queues *queues, uint32_t queue, uint32_t bytes);
/* Its first `count` messages. */
uint32_t mr_queues_first(struct explore_queues *queues, uint32_t queue, uint32_t count);
/* Half of what is left of its first message; 0 if that is a byte. */
uint32_t mr_queues_half(struct explore_queues *queues, uint32_t queue);
uint32_t mr_queues_count(const struct explore_queues *queues, uint32_t queue);
uint32_t mr_queues_length(const struct explore_queues *queues, uint32_t queue);
/* Its bytes; put together at `room`, which has to hold mr_queues_length() bytes, unless they stand together anyway. */
struct mr_bytes mr_queues_bytes(const struct explore_queues *queues, uint32_t queue, uint8_t *room);

/* ---- What is explored (explore_setup.c) -------------------------------------------------------------------------- */

struct explore_block {
	uint32_t first, pages; /* target pages, of all */
	uint32_t host_pages;   /* target pages of a host page */
};

struct explore_setup {
	const struct mr_scenario *scenario;
	struct mr_explore_options options;
	struct mr_profile profiles[2];
	struct explore_block blocks[MR_EXPLORE_BLOCKS_MAX];
	uint32_t block_count, pages, page_size;
	page_set touched, written; /* that a vCPU may touch at the destination, the guest may write at the source */
	uint32_t vcpus, devices;
	uint32_t cuts_main, cuts_preempt, cuts_all; /* how many there are of each */
	bool pauses, cancels;                       /* commands that the operator may give once */
	uint32_t choices;                           /* bits 1 << MR_CHOICE_: answered in every way */
	uint32_t connections_max;
};

/* 0, or -1 with one line in `error`: it is too large, or has what is not explored. */
int mr_explore_set_up(struct explore_setup *setup, const struct mr_scenario *scenario,
		      const struct mr_explore_options *options, char *error, size_t error_size);
uint32_t mr_explore_block_of(const struct explore_setup *setup, uint32_t page);
/* The target pages of a range, bytes; what is not whole target pages of the block is left out. */
page_set mr_explore_range(const struct explore_setup *setup, uint32_t block, uint64_t start, uint64_t length);
/* Those of the host page around a page. */
page_set mr_explore_host_page(const struct explore_setup *setup, uint32_t page);

static inline uint32_t version_of(uint64_t versions, uint32_t page)
{
	return versions >> page * VERSION_BITS & ((1 << VERSION_BITS) - 1);
}

static inline uint64_t with_version(uint64_t versions, uint32_t page, uint32_t version)
{
	const uint64_t mask = (uint64_t)((1 << VERSION_BITS) - 1) << page * VERSION_BITS;

	return (versions & ~mask) | (uint64_t)version << page * VERSION_BITS;
}

/* ---- The machines (explore_machines.c) --------------------------------------------------------------------------- */

enum { SOURCE, DESTINATION, SIDES };

/* What is done with a machine. */
enum operation_code {
	OPERATION_STEP,    /* `actor` */
	OPERATION_BROKEN,  /* source: writing to `channel` fails */
	OPERATION_COMMAND, /* source: enum mr_source_command in `actor` */
	OPERATION_OPEN,    /* destination: `channel` is accepted as `role` */
	OPERATION_FAULT,   /* destination: a fault of vCPU `actor` at `page` */
};

/* The bytes of a connection that an actor may read. */
struct explore_window {
	uint32_t queue;
	uint8_t channel;
	bool at_end;
	bool broken; /* the end is an error */
};

/* All that decides what becomes of it, so that it is a key. */
struct explore_operation {
	uint32_t state;
	uint8_t side, code, actor, channel, role, page;
	uint16_t variant;  /* source: of its choices' answers, 0: the canonical ones */
	uint64_t versions; /* source, in a step: of its pages */
	page_set dirty;    /* source, in a step of the migration: what the log hands over */
	bool fails;        /* what it sends, or the connection that it asks for, fails */
	uint8_t window_count;
	struct explore_window windows[EXPLORE_CONNECTIONS_MAX];
};

enum effect_kind {
	EFFECT_NONE,    /* nothing, or it was refused */
	EFFECT_MOVED,   /* no action, yet the machine is another */
	EFFECT_ACTED,   /* an action, carried out as far as that is a matter of the machine */
	EFFECT_ILLEGAL, /* the machine did not take what it asked for */
	EFFECT_FAILED,  /* memory is short */
};

/* What became of it, as the world has to take it. */
struct explore_effect {
	uint32_t next;   /* state */
	uint8_t effect;  /* enum effect_kind */
	uint8_t action;  /* its kind, by the side's enumeration */
	uint8_t channel; /* that it is about */
	uint8_t role;    /* CONNECT; SEND of the source: of the connection */
	uint8_t detail;  /* STATUS: which; REQUEST: verdict or whether it was sent; SEND: kind or type; DISCARD: when */
	uint8_t read;    /* connection of which bytes were taken; NO_CHANNEL: none */
	uint16_t variants; /* how many ways of answering the choices there are */
	uint32_t consumed; /* bytes taken */
	uint32_t message;  /* SEND */
	page_set pages;    /* that it is about */
	bool requested;    /* SEND: a page that was asked for */
	bool refused;      /* COMMAND_DONE: of RUN, by a defect */
	bool done;         /* NONE: the actor has ended, or has not begun */
	bool local;        /* it makes no difference whether anybody else goes on before the next (explore_local.c) */
	uint64_t versions; /* of these pages, as they arrived */
};

/* What is known of a state without asking the machine. */
struct explore_glance {
	uint8_t status;
	bool takes_fault;
	uint8_t done; /* actors that will not do anything any more, or not yet, as bits: those known so far */
};

struct explore_machines;

struct explore_machines *mr_machines_new(const struct explore_setup *setup, struct explore_queues *queues, char *error,
					 size_t error_size);
void mr_machines_free(struct explore_machines *machines);
/* The state that a machine begins in. */
uint32_t mr_machines_beginning(const struct explore_machines *machines, unsigned side);
/* Looked up, or computed. The effect stays until the next is asked for. */
const struct explore_effect *mr_machines_operate(struct explore_machines *machines,
						 const struct explore_operation *operation);
struct explore_glance mr_machines_glance(const struct explore_machines *machines, unsigned side, uint32_t state);
/* Not looked up any more: each operation is done on the machines as they are then, from their beginning on, and
 * `watch`, which may be NULL, is told. */
void mr_machines_go_live(struct explore_machines *machines, const struct mr_watch *watch);
const struct mr_watch *mr_machines_watch(const struct explore_machines *machines);
const struct mr_outgoing *mr_machines_source(const struct explore_machines *machines);
const struct mr_incoming *mr_machines_destination(const struct explore_machines *machines);
const struct mr_outgoing_config *mr_machines_source_config(const struct explore_machines *machines);
const struct mr_incoming_config *mr_machines_destination_config(const struct explore_machines *machines);
struct mr_bytes mr_machines_description(const struct explore_machines *machines);
/* The content of a page in a version. */
const uint8_t *mr_machines_content(const struct explore_machines *machines, uint32_t page, uint32_t version);
void mr_machines_count(const struct explore_machines *machines, struct mr_explore_result *result);

/* ---- The world (explore_world.c) --------------------------------------------------------------------------------- */

enum {
	CONNECTION_ACCEPTED = 1,
	CONNECTION_CUT = 2,      /* broken: what is under way may still arrive, or not */
	CONNECTION_SHUT = 4,     /* the destination has given it up */
	CONNECTION_CLOSED = 8,   /* the source has */
	CONNECTION_WHOLE = 16,   /* nothing more will be sent forward, though it is open */
	CONNECTION_NOTICED = 32, /* the source has noticed by writing */
	FORWARD_ENDED = 64,      /* nothing comes behind what is in the queue */
	BACKWARD_ENDED = 128,
};

struct explore_connection {
	uint32_t forward, backward; /* queues */
	uint8_t flags;
	uint8_t role;  /* that the source opened it for */
	uint8_t taken; /* that the destination took it for, if it was accepted */
	uint8_t unused;
};

enum { END_NONE, END_FINISHED, END_FAILED };
enum { GUEST_AT_SOURCE = 1, GUEST_AT_DESTINATION = 2, GUEST_HAS_MOVED = 4 };
enum { ASKED_POSTCOPY = 1, ASKED_PAUSE = 2, ASKED_CANCEL = 4, ASKED_CONTINUE = 8, SOURCE_PAUSED = 16, LOGGING = 32 };
enum { VCPU_TOLD = 0x80 };

/* What was done matters to nobody but the one who goes on next (explore_local.c). */
enum explore_hurry { HURRY_NOBODY, HURRY_MIGRATION };

/* Without gaps, and with zeros where nothing is, so that equal ones are equal as bytes. */
struct explore_world {
	uint64_t versions; /* of each page at the source */
	uint64_t arrived;  /* at the destination, of those that are there */
	page_set present, dirty, unlogged, caught;
	uint8_t ends[SIDES];
	uint8_t guest, asked; /* flags */
	uint8_t devices;      /* that were loaded */
	uint8_t writes, recoveries;
	uint8_t cuts_main, cuts_preempt, cuts_all; /* that were made */
	uint8_t recovered;
	uint8_t hurry;                       /* enum explore_hurry */
	uint8_t accepted;                    /* connections that were accepted */
	uint8_t vcpus[MR_EXPLORE_VCPUS_MAX]; /* page + 1 that it waits for, | VCPU_TOLD; 0: it runs */
	uint32_t connection_count;
	struct explore_connection connections[EXPLORE_CONNECTIONS_MAX];
};

/* All that may happen next. */
enum explore_move_kind {
	MOVE_SOURCE,      /* actor of `first`, its choices by variant `second` */
	MOVE_DESTINATION, /* actor `first` */
	MOVE_ACCEPT,      /* connection `first` */
	MOVE_TOUCH,       /* vCPU `first` touches page `second` */
	MOVE_TELL,        /* the fault handler learns of the fault of vCPU `first` */
	MOVE_WRITE,       /* the guest writes to page `first` at the source */
	MOVE_COMMAND,     /* the operator's command `first` */
	MOVE_CUT,         /* enum explore_cut `first` */
	MOVE_LOSE,        /* of connection `first`, what is under way: `second`, enum explore_loss */
	MOVE_KIND_COUNT
};

enum explore_cut { CUT_MAIN, CUT_PREEMPT, CUT_ALL, CUT_COUNT };
enum explore_loss { LOSE_FORWARD, LOSE_FORWARD_HALF, LOSE_BACKWARD, LOSE_BACKWARD_HALF, LOSS_COUNT };

struct explore_move {
	uint8_t kind, first;
	uint8_t second, third; /* variants take both: second + 256 * third */
};

enum { EXPLORE_MOVES_MAX = 256 };

/* A state of the whole, while it is being looked at. */
struct explore_whole {
	uint32_t machines[SIDES];
	struct explore_world world;
};

/* What a move led to, beside another state. */
struct explore_outcome {
	uint64_t seen;                /* bits 1 << MR_SOMETIMES_ */
	enum mr_property violation;   /* MR_PROPERTY_NONE: none */
	enum mr_explore_end end;      /* MR_EXPLORE_END_COUNT: it goes on */
	bool failed;                  /* memory is short */
	char text[256];               /* of the violation */
	uint16_t variants;            /* MOVE_SOURCE: how many there are */
	struct explore_effect effect; /* of the last step of a machine */
};

struct explore_lines;

struct explore_scene {
	const struct explore_setup *setup;
	struct explore_queues *queues;
	struct explore_machines *machines;
	/* of a replay */
	struct explore_lines *lines; /* NULL: it is none */
	mr_explore_teller *teller;   /* NULL: nobody wants to know */
	void *argument;
	uint32_t told; /* lines so far */
};

void mr_world_begin(const struct explore_scene *scene, struct explore_whole *whole);
/* Makes the move, if it can be made: false, and nothing is changed, if not. */
bool mr_world_move(const struct explore_scene *scene, struct explore_whole *whole, struct explore_move move,
		   struct explore_outcome *outcome);
/*
 * Moves that might be made; not all of them can. Those of part 1 are to be tried only if none of part 0 can be made.
 * Returns how many.
 */
unsigned mr_world_moves(const struct explore_scene *scene, const struct explore_whole *whole, unsigned part,
			struct explore_move moves[EXPLORE_MOVES_MAX]);
/* Nobody can move: how it ended, or which property does not hold. */
void mr_world_judge_end(const struct explore_scene *scene, const struct explore_whole *whole,
			struct explore_outcome *outcome);
#endif
