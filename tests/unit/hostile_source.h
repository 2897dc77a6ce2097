/*
 * hostile_source.h: a source, and in place of its destination a table that answers what has to be answered, so that a
 * test may break what it likes, at whatever action, and see what becomes of the guest.
 */
#ifndef HOSTILE_SOURCE_H
#define HOSTILE_SOURCE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "build.h"
#include "outgoing.h"

enum {
	FOE_PAGE = 4096,
	FOE_HUGE = 16384,
	FOE_BLOCKS = 3, /* "mem", "huge", and "shared", which is ignored */
	FOE_PAGES = 16, /* of the largest */
	FOE_CONNECTIONS = 32,
	FOE_STATUSES = 64,
	FOE_NEVER = -1,
};

/* What happens at an action of the source. */
enum foe_event {
	FOE_NOTHING,
	FOE_BREAK_MAIN,
	FOE_BREAK_PREEMPT,
	FOE_BREAK_MULTIFD,
	FOE_CUT,    /* all but multifd, at both ends */
	FOE_REFUSE, /* what is asked fails */
	FOE_CANCEL,
	FOE_PAUSE,
	FOE_EVENTS
};

struct foe_setup {
	const char *release;
	uint32_t capabilities; /* ignore-shared comes by itself */
	uint32_t multifd_channels;
	bool switches; /* to postcopy, when a few pages are out */
	bool asks;     /* the destination requests pages in postcopy */
	bool guest_stopped, release_ram, pause_before_switchover;
	size_t package_max;
	uint32_t connections_max;
	enum foe_event event;
	int at;                /* number of the action, from 0; FOE_NEVER */
	bool in_recovery;      /* actions are counted from the first recovery on */
	unsigned broken_first; /* so many pages into postcopy everything is cut, once; 0: not */
};

struct foe_connection {
	enum mr_role role;
	bool closed, lost; /* CLOSE was asked; what is written goes nowhere */
	bool at_end;
	struct build backward;
	uint64_t forward; /* bytes */
};

struct foe {
	struct foe_setup setup;
	struct mr_outgoing *source;
	struct mr_profile profile;
	struct mr_handlers handlers;
	struct mr_handler_entry entries[4];
	struct mr_choices choices;
	struct mr_outgoing_block blocks[FOE_BLOCKS];
	uint8_t memory[FOE_BLOCKS][FOE_PAGES * FOE_PAGE];
	uint8_t arrived[FOE_BLOCKS][FOE_PAGES * FOE_PAGE];
	bool received[FOE_BLOCKS][FOE_PAGES]; /* by a recovery's bitmaps */
	uint32_t huge_channels[2];            /* by which each huge page comes in postcopy, + 1 */
	struct foe_connection connections[FOE_CONNECTIONS];
	unsigned connection_count;
	uint64_t now;
	int actions; /* since counting began */
	unsigned said[MR_SOURCE_ACTION_KIND_COUNT], asks_made, section_turns, log_syncs, postcopy_pages, recoveries;
	enum mr_source_status statuses[FOE_STATUSES];
	unsigned status_count;
	bool silent;     /* the destination answers nothing */
	bool happened;   /* the event was taken: a command was not refused */
	bool packaged;   /* the package is out, whole */
	bool committed;  /* and the source may know that it is loaded */
	bool guest_runs; /* here */
	bool ended;      /* FAILED or FINISHED was said */
	bool eof_sent;
	bool completing; /* the END of postcopy has begun */
	bool was_cut;
	struct mr_finding error;
};

struct foe *foe_new(const struct foe_setup *setup);
void foe_free(struct foe *foe);
/* One step of an actor; what is asked is carried out, and every property that holds always is looked at. */
enum mr_step foe_step(struct foe *foe, unsigned actor);
/* Until nobody goes on. */
void foe_rest(struct foe *foe);
/* Until this status is shown; false if it never is. */
bool foe_until(struct foe *foe, enum mr_source_status status);
/* The return path of the main channel at hand. */
struct build *foe_backward(struct foe *foe);
void foe_end_return_path(struct foe *foe);
void foe_put_message(struct foe *foe, uint16_t type, const void *payload, uint16_t length);
void foe_put_value(struct foe *foe, uint16_t type, uint32_t value);
void foe_put_request(struct foe *foe, const char *block, uint64_t start, uint32_t length);
/* The answer to RECV_BITMAP, by what was received. */
void foe_put_bitmap(struct foe *foe, uint32_t block);
/* Nobody is stuck, and the guest is where it has to be. */
void expect_rest(const struct foe *foe);
/* The same; and it failed by this rule, with the guest here again if it was not handed over. */
void expect_source_failed(const struct foe *foe, enum mr_rule rule);
/* It waits for an operator. */
void expect_paused(const struct foe *foe);
/* It ended well, and everything has arrived. */
void expect_source_finished(const struct foe *foe);
/* Connects again as often as it pauses. */
void foe_recover(struct foe *foe);

#endif
