/*
 * explore.h: every interleaving of a small world: both machines' real code, a few pages, a vCPU or two, connections
 * that may be cut at any moment.
 *
 * A move lets one actor go on to its next action, which is carried out at once, or is something from outside: a vCPU
 * touches a page, the handler learns of a fault, the guest writes at the source, the operator gives a command, a
 * connection is accepted, or cut. Bytes that were sent are at hand at once: an actor that is not let go on is one that
 * they reach late. Of what is under way when a connection is cut, as much arrives as is read before the loss is seen,
 * and that may be any number of messages, and half of the next one.
 *
 * The clock stands, and no limit of speed holds; what a release decides by the clock is decided canonically, or in
 * every way if the scenario says that it is to be decided otherwise now and then.
 *
 * States are visited in the order of their distance from the beginning, so that the first violation found is one of the
 * shortest. Machines are functions of their state and of what they are given: what a step makes of them is computed
 * once for each pair of these, and looked up where it occurs again beside another state of the other machine.
 */
#ifndef MR_WORLD_EXPLORE_H
#define MR_WORLD_EXPLORE_H

#include "sim/world/properties.h"
#include "sim/world/scenario.h"
#include "sim/world/watch.h"

enum {
	MR_EXPLORE_BLOCKS_MAX = 4,
	MR_EXPLORE_PAGES_MAX = 16, /* target pages, of all blocks */
	MR_EXPLORE_VCPUS_MAX = 4,
	MR_EXPLORE_DEVICES_MAX = 3,
	MR_EXPLORE_CUTS_MAX = 4,
	MR_EXPLORE_WRITES_MAX = 12,
	MR_EXPLORE_RECOVERIES_MAX = 3,
	MR_EXPLORE_TEXT_MAX = 160, /* of a move, with its NUL */
};

/* Bugs that are planted on purpose, to see that they are found. */
enum mr_canary {
	MR_CANARY_NONE,
	MR_CANARY_LOST_WRITE,    /* the dirty log forgets the first page of the first block */
	MR_CANARY_LOST_WAKE,     /* the first vCPU goes on waiting for its page when that is placed */
	MR_CANARY_LOST_BITMAP,   /* the first page of the first block is missing in every received bitmap */
	MR_CANARY_GUEST_RUNS,    /* the source's guest does not stop */
	MR_CANARY_WRONG_CONTENT, /* a page with content arrives as zeros */
	MR_CANARY_COUNT
};

/* "lost-write"; NULL if there is no such bug. */
const char *mr_canary_name(enum mr_canary canary);

struct mr_explore_options {
	uint64_t states_max; /* 0: as many as can be numbered, 2^32 - 2 */
	uint64_t memory_max; /* bytes; 0: no limit */
	uint32_t writes;     /* of the guest at the source while it is migrated */
	uint32_t recoveries; /* that the operator tries */
	uint32_t in_flight;  /* messages under way on a connection before its sender waits; 0: any number */
	bool full;           /* without leaving out interleavings that make no difference */
	bool ends;           /* once all is visited: is there a way to an end from every state? */
	enum mr_canary canary;
};

/* How a path may end: nobody can go on. */
enum mr_explore_end {
	MR_EXPLORE_COMPLETED, /* the guest runs at the destination, all of its memory there */
	MR_EXPLORE_RETURNED,  /* the migration failed or was cancelled, and the guest runs at the source */
	MR_EXPLORE_PAUSED,    /* both ends wait for a recovery, and no more is tried */
	MR_EXPLORE_UNTHANKED, /* the guest runs at the destination, all of its memory there; but the source has not
				 heard of it, and waits for a recovery that nobody can take part in */
	MR_EXPLORE_ASLEEP,   /* the guest runs at the destination, all of its memory there; but the fault handler sleeps
				since a request failed, and the destination waits for it for ever (PC-041); not if it
				is strict */
	MR_EXPLORE_STRANDED, /* the destination failed before it ran the guest, and the source believes that it runs */
	MR_EXPLORE_ABANDONED, /* the source has failed, and the destination's guest waits for a recovery: up to 10.0, if
				 the connection breaks in the END of postcopy (E-40) */
	MR_EXPLORE_CUT_OFF,   /* the preempt channel broke with a page on it when the main channel had been read to its
				 end: the page is waited for, and no recovery is possible any more */
	MR_EXPLORE_UNFETCHED, /* the destination gives up catching faults while pages are missing: 8.0 and 8.1 (E-25) */
	MR_EXPLORE_TWO_GUESTS, /* in the end of precopy: the source has not heard of the destination's success, and lets
				  its guest go on (E-01) */
	MR_EXPLORE_TWO_GUESTS_SWITCHED, /* the same in a switch to postcopy: the PONG that tells of the package is lost,
					   the destination goes on (SRC-030) */
	MR_EXPLORE_DOOMED,  /* the listen loader fails behind LISTEN, while the main loader goes on to run the guest: it
			       runs until the destination's process ends */
	MR_EXPLORE_REFUSED, /* nothing was to be discarded, and the destination refuses RUN for it, which ends it
			       (E-03);    not if it is strict */
	MR_EXPLORE_END_COUNT
};

/* "completed"; NULL if there is no such end. */
const char *mr_explore_end_name(enum mr_explore_end end);
/* In a few words, for lists; NULL like the name. */
const char *mr_explore_end_text(enum mr_explore_end end);

enum mr_explore_progress {
	MR_EXPLORE_GOES_ON,   /* there is more to visit */
	MR_EXPLORE_EXHAUSTED, /* every state was visited, and no property is broken */
	MR_EXPLORE_VIOLATED,  /* a property is broken: see the result */
	MR_EXPLORE_LIMITED,   /* a limit was reached before: nothing is proved */
	MR_EXPLORE_FAILED,    /* memory is short */
};

struct mr_explore_result {
	enum mr_explore_progress progress;
	uint64_t states, transitions;
	uint64_t visited; /* states whose moves were tried */
	uint64_t looked;  /* `ends`: states from which a way to an end was looked for, each time that counts */
	uint32_t depth;   /* moves on the longest of all shortest ways to a state */
	uint64_t ends[MR_EXPLORE_END_COUNT];
	uint64_t seen[MR_SOMETIMES_COUNT];                  /* transitions on which each interesting event occurred */
	uint64_t source_states, destination_states, worlds; /* of which the states are combinations */
	uint64_t runs;                                      /* of the machines' code */
	uint64_t memory;                                    /* bytes */
	struct mr_violation violation;                      /* VIOLATED: what, and how */
	uint32_t path;                                      /* VIOLATED: moves that lead there */
};

struct mr_explorer;

/*
 * A world as the scenario has it, which must stay and pass mr_scenario_check(): releases, capabilities, blocks, vCPUs,
 * devices, the number of cuts and the operator's commands; when these come is not taken from it. NULL with one line in
 * `error`, "expected ..., found ...", if it is too large or has what is not explored.
 */
struct mr_explorer *mr_explorer_new(const struct mr_scenario *scenario, const struct mr_explore_options *options,
				    char *error, size_t error_size);
/* Visits so many states more, or until it is over. */
enum mr_explore_progress mr_explorer_run(struct mr_explorer *explorer, uint64_t states);
void mr_explorer_result(const struct mr_explorer *explorer, struct mr_explore_result *result);
/* NULL is allowed. */
void mr_explorer_free(struct mr_explorer *explorer);

/* ---- The way to a violation -------------------------------------------------------------------------------------- */

/* Called for each move: what it was, one line of text; what was seen of it is there already. */
typedef void mr_explore_teller(void *argument, uint32_t index, const char *text);

/*
 * Goes the way to the violation once more, step by step on machines of its own making; both arguments may be NULL.
 * False if it does not lead where it led: then the explorer is wrong, not the machines. Once for an explorer; its
 * result stays.
 */
bool mr_explorer_replay(struct mr_explorer *explorer, const struct mr_watch *watch, mr_explore_teller *teller,
			void *argument);

/* What the machines were set up with. */
const struct mr_outgoing_config *mr_explorer_source_config(const struct mr_explorer *explorer);
const struct mr_incoming_config *mr_explorer_destination_config(const struct mr_explorer *explorer);
struct mr_bytes mr_explorer_description(const struct mr_explorer *explorer);
void mr_explorer_statistics(const struct mr_explorer *explorer, struct mr_outgoing_statistics *statistics);
/* The source's page where the way ends. */
void mr_explorer_source_page(const struct mr_explorer *explorer, uint32_t block, uint64_t page, uint8_t *out);

#endif
