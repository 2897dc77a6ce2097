/*
 * sim_state.h: the state of a simulated migration, and what its parts ask of each other.
 *
 * Two machines with their actors, each of which is a thread that takes time; memories of both sides as versions of
 * pages; vCPUs; connections; the agenda that all of these enter their next moments into.
 */
#ifndef MR_WORLD_SIM_STATE_H
#define MR_WORLD_SIM_STATE_H

#include "ref/discard.h"
#include "sim/world/agenda.h"
#include "sim/world/ends.h"
#include "sim/world/link.h"
#include "sim/world/page_map.h"
#include "sim/world/receivers.h"
#include "sim/world/sim.h"

enum {
	SOURCE_ACTORS = MR_SOURCE_MULTIFD + MR_OUTGOING_MULTIFD_MAX,
	DESTINATION_ACTORS = MR_ACTOR_COUNT,
	NOBODY = UINT32_MAX,
	THREAD_FIRST = 1000, /* of vCPU 0; the others follow */
	DEVICE_THREAD = 999, /* who loads devices */
	HOST_EIO = 5,
	HOST_ENOMEM = 12,
	HOST_EEXIST = 17,
	HOST_EPIPE = 32,
	HOST_ECONNRESET = 104,
};

/* Kinds of moments. */
enum moment_kind {
	MOMENT_SOURCE,      /* actor `index` goes on; `value`: its turn */
	MOMENT_DESTINATION, /* the same */
	MOMENT_VCPU,        /* the same of a vCPU */
	MOMENT_DEPART,      /* of the link */
	MOMENT_ARRIVE,
	MOMENT_RETRY,
	MOMENT_ACCEPT,    /* the destination sees connection `index` */
	MOMENT_FAULT,     /* fault `index` of the scenario */
	MOMENT_OPERATION, /* operation `index` of the scenario */
	MOMENT_OPERATOR,  /* the operator looks whether there is something to do */
	MOMENT_CLOSED,    /* the source's host learns that the destination has closed connection `index` */
	MOMENT_TOLD,      /* the fault handler learns of a fault */
	MOMENT_HEAL,      /* the time is up: nothing goes wrong any more, and all has to come to an end */
	MOMENT_END,       /* nothing more is to be seen */
};

/* What MOMENT_OPERATOR is about. */
enum { OPERATOR_LOOKS, OPERATOR_CONTINUES, OPERATOR_RECOVERS };

/* A thread of either machine. */
struct sim_actor {
	bool idle;          /* it waits; else a moment for it is in the agenda */
	uint64_t turn;      /* moments of other turns are void */
	uint32_t writing;   /* connection that has no room for what it wrote; NOBODY: none */
	uint32_t reading;   /* connection whose bytes it waits for; NOBODY: none */
	bool waits_anew;    /* it has made an action since it last waited */
	uint32_t waits_for; /* actor that it waits for; NOBODY: none */
	bool completing;    /* its asked action takes until a page has come */
};

struct sim_vcpu {
	struct mr_pattern pattern;
	uint32_t block;
	uint64_t interval; /* ns */
	bool runs;         /* it has a workload and its guest runs */
	bool has_touch;    /* `touch` was drawn and not made */
	struct mr_touch touch;
	uint64_t turn;
	uint64_t due; /* time of the touch */
	bool waits;   /* for the page of `touch` */
	uint64_t waits_since;
	bool moved; /* has made a touch at the destination */
};

struct sim_block {
	uint64_t pages;      /* target pages */
	uint64_t host_pages; /* target pages of a host page */
	uint64_t *touched;   /* bitmap: pages that have an entry in the source's map */
	uint64_t *arrived;   /* bitmap: pages that are at the destination */
	uint64_t *sent;      /* bitmap: pages that went out */
	uint64_t *logged;    /* bitmap: pages that were written since the log was handed over */
	bool registered;     /* faults are caught */
};

struct sim_page {
	uint32_t block;
	uint64_t page;
};

/* A page that the machine looked at in this step. */
struct sim_look {
	uint32_t block;
	uint64_t page;
	uint32_t version;
	bool zero;
	bool sent; /* it goes out */
};

struct sim_connection {
	bool opened, accepted, gone; /* gone: neither end can use it any more */
	enum mr_role role;
	uint32_t multifd;
	bool refused; /* the destination has closed it, and the source has not noticed by writing */
	bool told_source, told_destination; /* its end */
	int error;                          /* it broke with; 0: it ended in order */
	uint64_t backward_told;             /* bytes at the source that were told */
};

struct sim_told {
	uint32_t block;
	uint64_t offset, thread;
	uint64_t due; /* time at which the handler can know */
};

/* A place of the main channel behind which the destination has to have written so many packets. */
struct sim_barrier {
	uint32_t connection;
	uint64_t offset; /* of the record that is the barrier */
	uint64_t packets;
};

struct mr_sim {
	const struct mr_scenario *scenario;
	struct mr_watch watch;
	uint64_t now, events_left;
	struct mr_agenda agenda;
	struct mr_link link;
	struct mr_random chance; /* of choices */
	struct mr_sim_result result;
	bool over;  /* nothing more is to happen */
	bool ended; /* both ends are through, the guest may go on for a while */

	/* the machines */
	struct mr_ends ends;
	struct mr_outgoing *source;
	struct mr_incoming *destination;
	void *source_arena, *destination_arena;
	struct mr_choices choices;
	uint8_t *device_body;
	uint8_t *temporary[2];
	struct sim_actor source_actors[SOURCE_ACTORS], destination_actors[DESTINATION_ACTORS];
	uint32_t source_actor_count, destination_actor_count;
	uint64_t source_clock, destination_clock; /* as last told */
	bool source_finished, source_failed, destination_finished, destination_failed;
	bool destination_killed; /* by the operator, since it hung */

	/* connections */
	struct sim_connection connections[MR_SCENARIO_CONNECTIONS_MAX];
	uint32_t connection_count;
	uint32_t last_of_role[MR_ROLE_COUNT];
	uint32_t all_accepted;
	struct mr_receivers receivers;
	uint64_t packets_sent, packets_written; /* of multifd, with pages */
	struct sim_barrier *barriers;           /* that the destination has not come to; a ring */
	size_t barrier_first, barrier_count, barrier_capacity;
	uint64_t barrier_packets; /* of the last one */

	/* memories */
	struct mr_content content;
	struct sim_block blocks[MR_SCENARIO_BLOCKS_MAX];
	struct mr_page_map source_map, destination_map;
	bool logging;
	uint8_t *read_pages; /* for MR_PACKET_PAGES_MAX pages of one step */
	uint8_t *zero_page;
	uint8_t *write_pages; /* the same of the destination */
	uint8_t *check_page;
	struct sim_look looks[MR_PACKET_PAGES_MAX + 1];
	uint32_t look_count, look_at;
	bool writes_page; /* the destination's machine writes write_pages[0] */
	struct sim_page written;
	bool huge_page_open;    /* the main channel is in the middle of a host page */
	uint64_t arrived_pages; /* that are at the destination */

	/* the guest */
	struct sim_vcpu vcpus[MR_SCENARIO_VCPUS_MAX];
	bool source_runs, destination_runs, stopped_by_operator;
	bool was_moved;   /* it ran at the destination */
	bool in_postcopy; /* and pages were missing then */
	uint32_t vcpus_to_move;
	uint32_t vcpus_waiting;
	uint32_t throttle; /* percent */
	uint64_t stopped_at, moved_at;
	struct sim_told *told; /* faults that the handler does not know of yet; a ring */
	size_t told_first, told_count, told_capacity;
	uint32_t device_touches_left;
	bool device_waits;
	struct sim_page device_page;
	uint32_t devices_loaded;
	struct mr_random device_chance;

	/* operator and faults */
	bool switch_asked, recover_due, healed;
	uint64_t last_pending; /* time of the last moment but those of vCPUs */
	uint64_t placements, discards, device_loads;
	bool fault_fired[MR_SCENARIO_FAULTS_MAX];
	uint32_t faults_fired;
	bool refuses_memory; /* MR_FAULT_MEMORY is in force */
	uint64_t memory_limit;
	bool cancelled;
	bool cleans_up; /* the destination gives back what it caught faults by */
};

/* ---- sim.c ---- */

/* The first property that does not hold ends the run. */
__attribute__((format(printf, 3, 4))) void mr_sim_violate(struct mr_sim *sim, enum mr_property property,
							  const char *format, ...);
void mr_sim_at(struct mr_sim *sim, uint64_t time, enum moment_kind kind, uint32_t index, uint64_t value);

static inline void mr_sim_saw(struct mr_sim *sim, enum mr_sometimes event)
{
	sim->result.seen[event]++;
}

/* ---- sim_setup.c ---- */

int mr_sim_set_up(struct mr_sim *sim, char *error, size_t error_size);
void mr_sim_tear_down(struct mr_sim *sim);

/* ---- sim_memory.c ---- */

/* Functions that the machines look at and write guest memory by. */
const uint8_t *mr_sim_read_page(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look);
bool mr_sim_is_zero(void *argument, unsigned actor, uint32_t block, uint64_t offset);
uint8_t *mr_sim_write_page(void *argument, uint32_t block, uint64_t offset);
void mr_sim_write_zero(void *argument, uint32_t block, uint64_t offset);
/* What the step at hand wrote is looked at and remembered. */
void mr_sim_commit(struct mr_sim *sim);
/* The guest writes at the source; at the destination. */
void mr_sim_dirty_source(struct mr_sim *sim, uint32_t block, uint64_t page);
void mr_sim_dirty_destination(struct mr_sim *sim, uint32_t block, uint64_t page);
/* The guest looks at a page at the destination that is there. */
void mr_sim_look_destination(struct mr_sim *sim, uint32_t block, uint64_t page);
bool mr_sim_is_there(const struct mr_sim *sim, uint32_t block, uint64_t page);
/* Hands what was logged to the source's machine. */
void mr_sim_hand_over_log(struct mr_sim *sim);
/* Carry out what the destination's machine asks; 0 or an errno. */
int mr_sim_place(struct mr_sim *sim, const struct mr_action_placed *placed);
int mr_sim_discard(struct mr_sim *sim, const struct mr_action_range *range);
int mr_sim_write_packet(struct mr_sim *sim, const struct mr_action *action);
/* No page that is there is older than what went out of it last; than the source's. */
void mr_sim_check_not_older(struct mr_sim *sim);
void mr_sim_check_stale(struct mr_sim *sim);
/* All is there, as it was at the source. */
void mr_sim_check_memory(struct mr_sim *sim);

/* ---- sim_barrier.c: multifd channels against the main channel ---- */

/* The source sends something: a packet, or a record that is a barrier. */
void mr_sim_note_barrier(struct mr_sim *sim, const struct mr_source_action *action);
/* The destination has gone on by the main channel. */
void mr_sim_check_barriers(struct mr_sim *sim, const struct mr_action *action);

/* ---- sim_guest.c ---- */

void mr_sim_start_vcpus(struct mr_sim *sim);
void mr_sim_stop_vcpus(struct mr_sim *sim);
void mr_sim_run_vcpu(struct mr_sim *sim, uint32_t index);
/* A page came: who waits for it goes on. */
void mr_sim_wake_vcpus(struct mr_sim *sim, uint32_t block, uint64_t first, uint64_t count);
/* A thread misses a page: the fault handler will be told. */
void mr_sim_miss(struct mr_sim *sim, uint32_t block, uint64_t page, uint64_t thread);
/* The fault handler is told, if it takes a fault. */
void mr_sim_tell_fault(struct mr_sim *sim);

/* ---- sim_source.c, sim_destination.c ---- */

void mr_sim_run_source(struct mr_sim *sim, uint32_t actor);
void mr_sim_wake_source(struct mr_sim *sim, uint32_t actor);
void mr_sim_wake_all_source(struct mr_sim *sim);
void mr_sim_run_destination(struct mr_sim *sim, uint32_t actor);
void mr_sim_wake_destination(struct mr_sim *sim, uint32_t actor);
void mr_sim_wake_all_destination(struct mr_sim *sim);
/* Blocktime: the destination is told the time, if it counts that. */
void mr_sim_tell_time(struct mr_sim *sim);
/* A page that a device's loading waits for has come. */
void mr_sim_continue_device(struct mr_sim *sim);
uint64_t mr_sim_choose(void *argument, enum mr_choice choice, uint64_t canonical);
bool mr_sim_command(struct mr_sim *sim, enum mr_source_command command);

/* ---- sim_net.c: connections ---- */

void mr_sim_connect(struct mr_sim *sim, const struct mr_source_action *action);
void mr_sim_accept(struct mr_sim *sim, uint32_t connection);
/* Bytes of a connection's direction arrived, or its end: the reader is fed. */
void mr_sim_show(struct mr_sim *sim, unsigned direction, uint32_t connection);
/* The reader's machine has gone over bytes. */
void mr_sim_took(struct mr_sim *sim, unsigned direction, uint32_t connection, uint64_t wanted);
void mr_sim_send(struct mr_sim *sim, const struct mr_source_action *action);
int mr_sim_send_back(struct mr_sim *sim, const struct mr_action *action);
/* The link's moment: bytes have left a host. */
void mr_sim_departed(struct mr_sim *sim, unsigned direction);
/* The source has written to a connection that the destination may have closed. */
void mr_sim_notice(struct mr_sim *sim, uint32_t connection);
void mr_sim_closed(struct mr_sim *sim, uint32_t connection);
/* A connection breaks, or ends in order: by the network. */
void mr_sim_break(struct mr_sim *sim, uint32_t connection, int error);
/* One end closes it. */
void mr_sim_close(struct mr_sim *sim, uint32_t connection, bool by_source);
void mr_sim_line(struct mr_sim *sim, const struct mr_line *line);

/* ---- sim_faults.c ---- */

void mr_sim_plan_faults(struct mr_sim *sim);
void mr_sim_plan_after_switch(struct mr_sim *sim);
void mr_sim_fire(struct mr_sim *sim, uint32_t index);
void mr_sim_operate(struct mr_sim *sim, uint32_t index);
void mr_sim_operator(struct mr_sim *sim, uint32_t what);
/* The operator looks at both ends. */
void mr_sim_look_after(struct mr_sim *sim);
/* The fault that comes before byte `*value` of a connection's direction, which becomes its place; NOBODY: none. */
uint32_t mr_sim_fault_before(const struct mr_sim *sim, unsigned direction, uint32_t connection, uint64_t *value);
/* The time is up. */
void mr_sim_heal(struct mr_sim *sim);
/* Errno of the next placement, discard, load of a device; 0: it is carried out. */
int mr_sim_refusal(struct mr_sim *sim, enum mr_fault_kind kind);

/* ---- sim_end.c ---- */

/* Whether both ends are through; judges the run then. */
void mr_sim_look_for_end(struct mr_sim *sim);
/* One end starts the guest, which runs at the other. */
void mr_sim_double(struct mr_sim *sim, const char *text);
/* The destination closes a connection: whether pages that its guest waits for were to come there still. */
void mr_sim_look_for_holes(struct mr_sim *sim, uint32_t connection);
/* Nothing happens any more. True if the operator has found something to do. */
bool mr_sim_stand_still(struct mr_sim *sim);
void mr_sim_finish(struct mr_sim *sim);

#endif
