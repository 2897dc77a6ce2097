/*
 * pair_support.h: a source and a destination in one thread, with connections between them that deliver what, when and
 * as much as chance has it, a guest that writes at the source and faults at the destination.
 */
#ifndef PAIR_SUPPORT_H
#define PAIR_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "build.h"
#include "incoming.h"
#include "outgoing.h"
#include "random.h"
#include "sim/world/watch.h"

enum {
	PAIR_PAGE = 4096,
	PAIR_BLOCKS = 3,
	PAIR_PAGES = 48, /* of the largest block */
	PAIR_CONNECTIONS = 24,
	PAIR_DEVICES = 3,
};

/* What a test says of its pair; what is left out is 0. */
struct pair_setup {
	const char *source, *destination; /* releases; NULL: 11.1, and the source's */
	const char *machine;              /* type of both; NULL: that of the older side, which decides on properties */
	uint32_t capabilities;
	uint32_t multifd_channels;
	const char *method; /* of multifd; NULL: none */
	enum mr_zero_detection zero_detection;
	uint32_t huge_page_size; /* of the first block, bytes; 0: an ordinary one */
	bool switches;           /* the operator asks for postcopy at some time */
	bool strict;             /* of the destination */
	bool pause_before_switchover, release_ram, auto_converge, quiet; /* quiet: the guest does not write */
	unsigned cuts;                    /* connections are cut so often in postcopy, at any byte */
	const char *unlike;               /* a compatibility property that only one side has on; NULL: none */
	bool unlike_source;               /* it is the source */
	const struct mr_choices *choices; /* of the source */
	uint32_t unusual_choices;
	bool refuses;     /* a return path that was cut takes nothing any more */
	bool handlers;    /* the destination knows whose sections may come */
	bool unassembled; /* it puts no huge pages together */
	bool breaks;      /* every connection, at any moment: once, for good */
	bool cancels;     /* the operator cancels at some time */
	bool blocktime;   /* of the destination, with two vCPUs: threads 1 and 2 */
	uint32_t room;    /* bytes that a connection holds before its sender has to wait; 0: any number */
	uint64_t seed;
};

struct pair_connection {
	bool open, cut;
	enum mr_role role;
	struct build forward, backward;
	size_t forward_shown, backward_shown; /* bytes that have arrived */
	bool forward_closed;
	bool end_told; /* the destination's log has it */
};

struct pair {
	struct pair_setup setup;
	const struct mr_watch *watch; /* who looks on; NULL: nobody */
	struct random random;
	struct mr_outgoing *source;
	struct mr_incoming *destination;
	struct mr_outgoing_config source_config;
	struct mr_incoming_config destination_config;
	struct mr_incoming_block destination_blocks[PAIR_BLOCKS];
	void *source_arena, *destination_arena;
	struct mr_profile profiles[2];
	char machine[64]; /* its type, of both */
	struct mr_handlers handlers, destination_handlers;
	struct mr_description *description;
	struct mr_handler_entry entries[8], destination_entries[8];
	struct pair_connection connections[PAIR_CONNECTIONS];
	unsigned connection_count;
	struct mr_outgoing_block blocks[PAIR_BLOCKS];
	uint8_t memory[PAIR_BLOCKS][PAIR_PAGES * PAIR_PAGE];  /* the source's */
	uint8_t arrived[PAIR_BLOCKS][PAIR_PAGES * PAIR_PAGE]; /* the destination's */
	bool present[PAIR_BLOCKS][PAIR_PAGES];
	bool dirty[PAIR_BLOCKS][PAIR_PAGES]; /* logged */
	bool logging, guest_stopped, guest_moved, broken;
	uint8_t *temporary[2];
	void *method_states[4];
	uint64_t now;
	unsigned cuts_left, tries_left, writes;
	unsigned devices_loaded, placed_twice, discards, faults, requests, packets;
	bool source_finished, source_failed, source_paused, destination_finished, destination_failed;
	struct mr_finding source_error;
	unsigned said[MR_SOURCE_ACTION_KIND_COUNT];
	struct build text; /* every action of the source, a line each */
};

/* The text of VMDESCRIPTION. */
struct mr_bytes pair_description(void);
struct pair *pair_new(const struct pair_setup *setup);
void pair_free(struct pair *pair);
/* From now on, before the first step, somebody looks on: all functions of the watch are called. */
void pair_watch(struct pair *pair, const struct mr_watch *watch);
/* One step of somebody, or one event, by chance. */
void pair_step(struct pair *pair);
/* One step of the source's actor; what is asked is carried out. */
enum mr_step pair_step_source(struct pair *pair, unsigned actor);
enum mr_step pair_step_destination(struct pair *pair, unsigned actor);
/* Steps until both ends are through; false if nothing happens for long. */
bool pair_run(struct pair *pair);
/* Everybody goes on as long as anybody can, and the guest writes no more; true if both ends are through then. */
bool pair_settle(struct pair *pair);
/* Everything that was sent has arrived. */
void pair_deliver(struct pair *pair);
/* The first page that is not at the destination as it was at the source when that stopped; false: none. */
bool pair_differs(const struct pair *pair, uint32_t *block, uint64_t *page);
/* Both finished, and the destination's memory is the source's at the time it stopped. */
void expect_migrated(const struct pair *pair);
/* The worst verdict of the checker over all forward streams; `findings` gets a line for each. */
enum mr_verdict pair_check(const struct pair *pair, struct build *findings);
/* It has nothing to say but what the source's release is known for. */
void expect_valid(const struct pair *pair);

#endif
