/*
 * source.h: the source's state, and what its parts ask of each other.
 *
 * The migration thread and the reader of the return path are actors that run phases. A phase makes an action, or says
 * what it waits for, or names the next phase; it may call another program of phases and goes on where that returns, so
 * that the body of a `ram` section reads like one. Senders of multifd have no phases: they write packets.
 */
#ifndef MR_SOURCE_H
#define MR_SOURCE_H

#include "discard.h"
#include "machine/multifd_send.h"
#include "machine/step.h"
#include "outgoing.h"
#include "ram/page_request.h"
#include "ram/page_save.h"
#include "wire/wire.h"

enum {
	NO_CONNECTION = MR_OUTGOING_CHANNELS_MAX,
	NO_BLOCK = UINT32_MAX,
	RAM_MAIN = 0, /* RAM channels: whose CONTINUE a record belongs to */
	RAM_PREEMPT = 1,
	RAM_CHANNELS = 2,
	CALLS_MAX = 8,     /* programs within each other */
	HEAD_BYTES = 1024, /* more than any record but its page, name list or body needs */
	PING_FIRST = 1,
	PING_DISCARDED = 2,
	PING_DEVICES = 3,
	PING_LISTENING = 4,
	PING_LOADED = 0x42,
};

struct source_actor;
typedef enum outcome source_phase(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action);

/* A block of this machine. Places of bitmaps are offsets from the machine's first byte. */
struct source_block {
	char name[MR_NAME_MAX + 1];
	uint8_t name_length;
	bool ignored;
	bool lists_page_size;
	bool answered; /* its bitmap came in this recovery */
	uint64_t used_length, page_size, address, cache_offset;
	uint64_t pages;                            /* target pages */
	uint64_t host_pages;                       /* target pages that are sent as one: of a host page */
	size_t dirty, unsent, unlogged, unplugged; /* bitmaps; `unlogged`: a bit for each chunk */
};

/* The host page that an actor is sending. */
struct host_page {
	uint32_t block;
	uint64_t next, end; /* target pages */
	uint64_t first;     /* where sending began */
	uint64_t sent;      /* target pages that went out */
	unsigned channel;   /* RAM_MAIN, RAM_PREEMPT */
	bool open, requested;
	bool aside; /* chosen before its turn: the scan stays where it is */
};

/* Where the scan over all blocks stands. */
struct scan {
	uint32_t block;
	uint64_t page;
	bool searching, wrapped; /* a search began at `start_block`, `start_page` and has not found a page yet */
	uint32_t start_block;
	uint64_t start_page;
	uint64_t passes; /* over all blocks */
	bool hinted;     /* the next search begins behind the page that was sent as urgent */
	uint32_t hint_block;
	uint64_t hint_page;
};

struct connection {
	bool open, at_end;
	enum mr_role role;
	int error;        /* of writing; 0: whole */
	int return_error; /* how the return path ended, at its end */
	uint64_t sent;    /* bytes forward */
	uint64_t taken;   /* bytes of the return path */
	const uint8_t *window;
	size_t length;
};

struct source_actor {
	unsigned number;
	source_phase *phase;
	source_phase *calls[CALLS_MAX];
	unsigned depth;
	int64_t answer; /* of the program that returned last */
	bool alive, asked, ended;
	int completion;
	struct mr_source_wants wants;
	struct host_page host_page;
	uint8_t head[HEAD_BYTES];
};

/* What the migration thread is at, within its programs. */
struct progress {
	uint32_t index;    /* block or connection that is next */
	uint64_t cursor;   /* bit of a bitmap */
	uint64_t passes;   /* host pages in this section so far */
	uint64_t began;    /* this section, ns */
	bool last_stage;   /* no page is looked at again */
	bool nothing_left; /* the scan found no dirty page */
	bool strayed;      /* multifd: a page of this section came before its turn */
	bool flush;        /* FLUSH follows the barrier at hand */
	bool queried;      /* a query of what is pending fetches the dirty log */
};

/* Where the parts of the arena lie: offsets from the machine's first byte. */
struct source_places {
	size_t blocks, connections, decoder, session, package, multifd, cache, discards;
};

/* How fast it goes, and what follows from that. */
struct pace {
	uint64_t window_start, window_bytes; /* of the rate limit: 100 ms */
	uint64_t measure_start, measure_bytes;
	uint64_t threshold;                /* bytes that fit into the downtime */
	uint64_t rate_start, rate_dirtied; /* of dirty-pages-rate */
	uint64_t throttle_start, throttle_dirtied, throttle_sent;
	unsigned throttle_strikes;
};

struct mr_outgoing {
	struct mr_outgoing_config config;
	struct mr_profile profile;

	enum mr_source_status status;
	struct mr_finding error;        /* why it failed */
	struct mr_finding return_error; /* what was wrong on the return path */
	uint64_t time;                  /* ns */

	bool cancel_asked, postcopy_asked, pause_asked, recover_asked, continue_asked;
	bool guest_stopped;  /* it stands, whoever stopped it */
	bool guest_held;     /* this machine has stopped it, and decides whether it goes on */
	bool guest_ran;      /* until then */
	bool in_postcopy;    /* RAM goes by postcopy's rules */
	bool switching;      /* to postcopy */
	bool completing;     /* the END of postcopy has begun */
	bool urgent_served;  /* requests go to the preempt channel at once */
	bool handed_over;    /* the destination may run the guest */
	bool in_package;     /* the main channel's bytes are collected */
	bool package_sent;   /* its last byte is out */
	bool package_loaded; /* PONG 0x42 */
	bool shut_seen;      /* SHUT came */
	bool resumed;        /* RESUME_ACK */
	bool logging;        /* the guest's writes are logged */
	bool connecting;     /* the last connection is being made */
	bool multifd_failed; /* a method could not make a payload */
	bool woken;          /* a request came since that was last looked at */
	bool has_return_path;
	bool return_bad; /* nothing more is read there */
	bool failed;
	bool over;
	uint32_t pongs, acks_wanted, acks;
	uint32_t bitmaps_missing; /* in a recovery */

	/* the request that the reader of the return path is at */
	uint32_t asked_block;
	uint64_t asked_start, asked_length; /* bytes */
	uint64_t asked_at;                  /* target page */
	uint64_t urgent_pages;              /* sent of it */

	uint32_t block_count, connections_max, connection_count;
	uint32_t broken;                        /* open connections with an error */
	uint32_t main_channel, preempt_channel; /* NO_CONNECTION: none */
	uint32_t multifd_channels[MR_OUTGOING_MULTIFD_MAX];
	struct source_places places;
	size_t package_length;
	struct mr_bytes body; /* what mr_outgoing_save() gave */
	struct mr_pending pending;

	uint32_t last_block[RAM_CHANNELS]; /* for CONTINUE */
	unsigned last_ram_channel;
	int64_t section_answer; /* what the section at hand has come to */
	uint64_t dirty_count;
	struct scan scan;
	struct host_page broken_page; /* interrupted for an urgent one */
	struct mr_page_saver saver;
	struct mr_request_queue queue;
	struct mr_discard_walk walk;
	struct mr_sequence sequence;
	struct mr_turn_input turn;
	struct progress progress;
	struct pace pace;
	struct mr_outgoing_statistics statistics;
	struct source_actor migration, returner;
};

/* ---- Places in the arena ---- */

static inline void *source_at(const struct mr_outgoing *outgoing, size_t offset)
{
	return (uint8_t *)(uintptr_t)outgoing + offset;
}

static inline struct source_block *source_block_at(const struct mr_outgoing *outgoing, uint32_t index)
{
	return (struct source_block *)source_at(outgoing, outgoing->places.blocks) + index;
}

static inline struct connection *connection_at(const struct mr_outgoing *outgoing, uint32_t index)
{
	return (struct connection *)source_at(outgoing, outgoing->places.connections) + index;
}

static inline struct mr_multifd_send *multifd_of(const struct mr_outgoing *outgoing)
{
	return source_at(outgoing, outgoing->places.multifd);
}

static inline uint64_t *dirty_of(const struct mr_outgoing *outgoing, const struct source_block *block)
{
	return source_at(outgoing, block->dirty);
}

/* ---- Questions ---- */

static inline bool source_does(const struct mr_outgoing *outgoing, enum mr_switch which)
{
	return outgoing->profile.on[which];
}

static inline bool source_has(const struct mr_outgoing *outgoing, uint32_t capability)
{
	return outgoing->config.capabilities & capability;
}

static inline bool source_has_preempt(const struct mr_outgoing *outgoing)
{
	return source_has(outgoing, MR_CAPABILITY_POSTCOPY_PREEMPT) && source_does(outgoing, MR_SWITCH_PREEMPT);
}

static inline uint32_t source_page(const struct mr_outgoing *outgoing)
{
	return outgoing->config.target_page_size;
}

static inline struct mr_bytes source_name(const struct source_block *block)
{
	return (struct mr_bytes){(const uint8_t *)block->name, block->name_length};
}

/* Whether a connection that is needed is broken. */
static inline bool mr_source_is_broken(const struct mr_outgoing *outgoing)
{
	return outgoing->broken || outgoing->multifd_failed;
}

/* That, or the operator wants something else: where the migration thread looks for it. */
static inline bool mr_source_is_interrupted(const struct mr_outgoing *outgoing)
{
	return outgoing->cancel_asked || outgoing->pause_asked || mr_source_is_broken(outgoing);
}

/* ---- Phases, actions, choices (outgoing.c) ---- */

static inline enum outcome mr_source_act(struct mr_outgoing *outgoing, struct source_actor *actor,
					 struct mr_source_action *action, enum mr_source_action_kind kind)
{
	(void)outgoing;
	action->kind = kind;
	action->actor = actor->number;
	action->asked = kind >= MR_SOURCE_ACTION_CONNECT;
	actor->asked = action->asked;
	return ACTED;
}

static inline enum outcome mr_source_wait(struct source_actor *actor, enum mr_source_wait wait)
{
	actor->wants.wait = wait;
	return BLOCKED;
}

/* Goes on with `phase`. */
static inline enum outcome mr_source_go(struct source_actor *actor, source_phase *phase)
{
	actor->phase = phase;
	return ON;
}

/* Runs the program that begins with `phase`, and goes on with `then` when that returns. */
static inline enum outcome mr_source_call(struct source_actor *actor, source_phase *phase, source_phase *then)
{
	/* not covered: programs call others only along a fixed way, which is shorter than this */
	if (actor->depth < CALLS_MAX)
		actor->calls[actor->depth++] = then;
	return mr_source_go(actor, phase);
}

/* The program at hand is over; `answer` is for who called it. */
static inline enum outcome mr_source_return(struct source_actor *actor, int64_t answer)
{
	actor->answer = answer;
	if (actor->depth == 0)
		return ENDED;
	return mr_source_go(actor, actor->calls[--actor->depth]);
}

/* Ends whatever programs are at hand. */
static inline enum outcome mr_source_jump(struct source_actor *actor, source_phase *phase)
{
	actor->depth = 0;
	return mr_source_go(actor, phase);
}

enum outcome mr_source_set_status(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action, enum mr_source_status status);
/* What the caller decides, and what holds in the end: the canonical answer if that one is impossible. */
uint64_t mr_source_ask(const struct mr_outgoing *outgoing, enum mr_choice choice, uint64_t canonical);
uint64_t mr_source_settle(struct mr_outgoing *outgoing, enum mr_choice choice, uint64_t canonical, uint64_t answer,
			  bool possible);
/* The same in one, where there may be no caller to decide; answers above `limit` are impossible. */
static inline uint64_t mr_source_choose(struct mr_outgoing *outgoing, enum mr_choice choice, uint64_t canonical,
					uint64_t limit)
{
	uint64_t answer;

	if (!outgoing->config.choices) {
		outgoing->statistics.choices[choice]++;
		return canonical;
	}
	answer = mr_source_ask(outgoing, choice, canonical);
	return mr_source_settle(outgoing, choice, canonical, answer, answer <= limit);
}

/* Remembers why the migration fails, if nothing was remembered yet. */
void mr_source_blame(struct mr_outgoing *outgoing, enum mr_rule rule, struct mr_text expected, struct mr_text found);

/* ---- Bytes (source_send.c) ---- */

/* Sends a record on a connection; in the package, if one is being made and it is the main channel. */
enum outcome mr_source_emit(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action,
			    const struct mr_record *record);
/* Bytes as they are: the head of `kind` and what follows it. */
enum outcome mr_source_emit_bytes(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action, uint32_t channel, enum mr_kind kind,
				  struct mr_bytes head, struct mr_bytes body);
/* The same, but for the action's kind and actor: senders of multifd have no phases. */
void mr_source_write(struct mr_outgoing *outgoing, struct mr_source_action *action, uint32_t channel, enum mr_kind kind,
		     struct mr_bytes head, struct mr_bytes body);
/* The same for the body of a section, however long. */
enum outcome mr_source_emit_body(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action, enum mr_kind kind, struct mr_bytes body);
/* Type byte and length of the description that was handed over; empty if there is none to send. */
struct mr_bytes mr_source_description_head(const struct mr_outgoing *outgoing, struct source_actor *actor);
enum outcome mr_source_command(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action, enum mr_command_number number, uint32_t value);
/* Opens the connection of a role, then goes on with `then`; actor->completion says whether it was made. */
enum outcome mr_source_connect(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action, enum mr_role role, uint32_t multifd,
			       source_phase *then);
/* It was made, or it was not. */
void mr_source_connected(struct mr_outgoing *outgoing, int error);
/* A connection is of no use any more; 0: for no reason that is known. The first error counts. */
void mr_source_break(struct mr_outgoing *outgoing, uint32_t channel, int error);
/* It is given up. */
void mr_source_close(struct mr_outgoing *outgoing, uint32_t channel);
/* Counts bytes of RAM as the statistics have them. */
void mr_source_count_ram(struct mr_outgoing *outgoing, uint64_t bytes);
/* The statistic of this name. */
uint64_t mr_source_transferred(const struct mr_outgoing *outgoing);

/* ---- Parts ---- */

/* source_setup.c */
source_phase mr_source_begin;

/* source_handlers.c: calls the handlers of a phase one after the other; answers 0, or 1 if it failed */
enum outcome mr_source_handlers(struct mr_outgoing *outgoing, struct source_actor *actor, enum mr_phase phase,
				source_phase *then);
bool mr_source_is_ram(const struct mr_outgoing *outgoing, uint32_t handler);

/* source_loop.c */
source_phase mr_source_turn, mr_source_complete;
bool mr_source_rate_exceeded(const struct mr_outgoing *outgoing);
/* Bandwidth is given out anew, if it is time. */
void mr_source_open_window(struct mr_outgoing *outgoing);
/* Waits for that time. */
enum outcome mr_source_wait_for_window(struct mr_outgoing *outgoing, struct source_actor *actor);
/* The destination has the package, but the status does not say so yet; it is shown, then the actor goes on with `then`.
 */
bool mr_source_is_committed(const struct mr_outgoing *outgoing);
enum outcome mr_source_commit(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action,
			      source_phase *then);
/* Whether it waits for the operator once the guest stands. */
bool mr_source_pauses(const struct mr_outgoing *outgoing);
/* The guest stops, if it runs; whether it goes on is this machine's decision from now on. */
source_phase mr_source_hold_guest;
/* Programs: the guest stops, with all that comes before and behind; the FULL sections. They answer 0, or 1 for a
 * failure.
 */
source_phase mr_source_stop_guest, mr_source_devices;

/* source_log.c: fetches the dirty log; then returns */
source_phase mr_source_sync;

/* source_ram.c: bodies of `ram` sections; each answers as its hook does */
source_phase mr_source_ram_setup, mr_source_ram_part, mr_source_ram_end, mr_source_ram_prepare;
/* What is not plugged is not sent. */
void mr_source_leave_out(struct mr_outgoing *outgoing, struct source_block *block, const uint64_t *unplugged);
/* Sends what is dirty of actor->host_page; then returns. */
source_phase mr_source_send_host_page;
/* A barrier of the multifd channels, and FLUSH if progress.flush says so; then returns. */
source_phase mr_source_barrier;

/* source_scan.c: which page is next */
enum scan_result { SCAN_FOUND, SCAN_ROUND, SCAN_NOTHING };
/* FOUND: outgoing->scan stands at a dirty page. ROUND: it has gone over the end of the list; search again. */
enum scan_result mr_source_scan(struct mr_outgoing *outgoing);
void mr_source_scan_reset(struct mr_outgoing *outgoing);
/* What the request that waits longest asks for: its first dirty page, or that it is over. */
enum mr_request_turn mr_source_take_request(struct mr_outgoing *outgoing, struct mr_page_request *request,
					    uint64_t *page);
/* The host page around a target page becomes what `actor` sends. */
void mr_source_open_host_page(struct mr_outgoing *outgoing, struct source_actor *actor, uint32_t block, uint64_t page);
/* Clears the dirty bit of a page that has one, since it goes out; or those of pages that are not needed. */
void mr_source_take_page(struct mr_outgoing *outgoing, struct source_block *block, uint64_t page);
void mr_source_clear_dirty(struct mr_outgoing *outgoing, struct source_block *block, uint64_t first, uint64_t count);
uint64_t mr_source_mark_dirty(struct mr_outgoing *outgoing, struct source_block *block, uint64_t first, uint64_t count);
uint64_t mr_source_count_dirty(const struct mr_outgoing *outgoing);

/* source_return.c */
source_phase mr_source_return_begin;
/* Reads the return path of the main channel from its first byte. */
void mr_source_listen(struct mr_outgoing *outgoing);
/* Reads nothing until then, and leaves what it was sending for a request. */
void mr_source_stop_listening(struct mr_outgoing *outgoing);
/* No message will be taken any more: who waits for one waits in vain. */
bool mr_source_is_deaf(const struct mr_outgoing *outgoing);
/* Tells that the request that waits longest is over, where nothing is dirty any more. ON if none waits. */
enum outcome mr_source_drop_request(struct mr_outgoing *outgoing, struct source_actor *actor,
				    struct mr_source_action *action);

/* source_switch.c */
source_phase mr_source_switch;

/* source_recovery.c */
source_phase mr_source_pause;

/* source_snapshot.c */
source_phase mr_source_snapshot;

/* source_end.c */
source_phase mr_source_finish, mr_source_failing;
/* The migration fails, for the reason remembered; who may have given the guest away pauses, if the release can. */
enum outcome mr_source_fail(struct mr_outgoing *outgoing, struct source_actor *actor);

#endif
