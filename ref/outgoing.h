/*
 * outgoing.h: the source of a migration as a machine: memory, events and answers go in, the streams come out.
 *
 * The twin of incoming.h, of the same shape: actors of one struct, each of which goes on only when it is told to, to
 * its next commit point, and gives at most one action. Nothing in it waits, reads, sends, or asks the time.
 *
 *     size = mr_outgoing_size(&config, error);
 *     outgoing = mr_outgoing_init(memory, size, &config);
 *     while ((step = mr_outgoing_step(outgoing, MR_SOURCE_MIGRATION, &action)) == MR_STEP_ACTION) {
 *             ... carry out the action: append action.send.head and .body to channel action.send.channel ...
 *             if (action.asked)
 *                     mr_outgoing_complete(outgoing, MR_SOURCE_MIGRATION, 0);
 *     }
 *
 * What real runs decide by chance (how long a section lasts, which multifd channel is free) is a choice: the machine
 * has a canonical answer for each, and the caller may give another.
 *
 * Contents: actors - configuration - choices - actions - steps and inputs - statistics - looking inside - state.
 *
 * Rule ids in the comments (SRC-001) are those of SPEC.md.
 */
#ifndef MR_OUTGOING_H
#define MR_OUTGOING_H

#include "handlers.h"
#include "incoming.h"
#include "migref.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Actors ------------------------------------------------------------------------------------------------------ */

enum {
	MR_OUTGOING_CHANNELS_MAX = 512,  /* connections of one migration, those after cuts included */
	MR_OUTGOING_MULTIFD_MAX = 255,   /* multifd channels */
	MR_OUTGOING_REQUESTS_MAX = 4096, /* page requests that wait; the return path is not read on while so many do */
};

/* Who acts. Each is a thread of QEMU's. */
enum mr_source_actor {
	MR_SOURCE_MIGRATION, /* the migration thread: the main channel, and the preempt channel in 7.1 and 7.2 */
	MR_SOURCE_RETURN,    /* the reader of the return path; from 8.0 on it sends urgent pages itself */
	MR_SOURCE_MULTIFD,   /* this + i: sender of multifd channel i */
	MR_SOURCE_COUNT = MR_SOURCE_MULTIFD + MR_OUTGOING_MULTIFD_MAX
};

/* "migration", "return", "multifd"; NULL if there is no such actor. */
const char *mr_source_actor_name(unsigned actor);

/* MigrationStatus of a source (SRC-002). */
enum mr_source_status {
	MR_SOURCE_STATUS_NONE,
	MR_SOURCE_STATUS_SETUP,
	MR_SOURCE_STATUS_WAIT_UNPLUG,
	MR_SOURCE_STATUS_ACTIVE,
	MR_SOURCE_STATUS_PRE_SWITCHOVER,
	MR_SOURCE_STATUS_DEVICE,
	MR_SOURCE_STATUS_POSTCOPY_DEVICE,
	MR_SOURCE_STATUS_POSTCOPY_ACTIVE,
	MR_SOURCE_STATUS_POSTCOPY_PAUSED,
	MR_SOURCE_STATUS_POSTCOPY_RECOVER_SETUP,
	MR_SOURCE_STATUS_POSTCOPY_RECOVER,
	MR_SOURCE_STATUS_COMPLETED,
	MR_SOURCE_STATUS_FAILING,
	MR_SOURCE_STATUS_FAILED,
	MR_SOURCE_STATUS_CANCELLING,
	MR_SOURCE_STATUS_CANCELLED,
	MR_SOURCE_STATUS_COUNT
};

/* As in QMP: "postcopy-active" */
const char *mr_source_status_name(enum mr_source_status status);

/* ---- Configuration ----------------------------------------------------------------------------------------------- */

/* A RAM block of the source's machine. */
struct mr_outgoing_block {
	const char *name;      /* 1 to MR_NAME_MAX bytes, another for each block */
	uint64_t used_length;  /* bytes, a multiple of the target page size */
	uint64_t page_size;    /* of its host pages, bytes; 0: the host's ordinary one */
	uint64_t address;      /* guest-physical, sent with ignore-shared */
	uint64_t cache_offset; /* of its first byte among all RAM: what the XBZRLE cache goes by (SRC-021) */
	bool ignored;          /* shared, with ignore-shared: listed, never sent */
};

/* When a page is looked at: its guest may write to it in between. */
enum mr_look {
	MR_LOOK_ZERO, /* is it all zero? */
	MR_LOOK_SEND, /* what goes out */
};

/* Guest memory. */
struct mr_outgoing_memory {
	void *argument;
	/* The target page at `offset`, never NULL. All pages of one step, up to MR_PACKET_PAGES_MAX, are read until the
	 * next. */
	const uint8_t *(*page)(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look);
};

/* Whether the target page at `offset` is all zero, told without its bytes by who knows: instead of a look (ZERO). */
typedef bool mr_zero_function(void *argument, unsigned actor, uint32_t block, uint64_t offset);

/* zero-page-detection (SRC-018) */
enum mr_zero_detection {
	MR_ZERO_BY_RELEASE, /* as the profile has it */
	MR_ZERO_NONE,
	MR_ZERO_LEGACY,
	MR_ZERO_MULTIFD,
};

struct mr_choices;

/* What it points to must stay as long as the machine, but for `blocks` and the names in them, which are copied. */
struct mr_outgoing_config {
	struct mr_profile profile;    /* of the source; unknown: the newest release */
	uint32_t capabilities;        /* enum mr_capability */
	bool pause_before_switchover; /* the capability of this name */
	bool release_ram;             /* the same */
	bool auto_converge;           /* the same */
	bool guest_stopped;           /* the guest does not run when the migration begins */
	bool unplug_first;            /* some devices have to be unplugged before: MR_SOURCE_ACTION_UNPLUG */
	const char *machine;          /* machine type in the configuration; NULL: "" */
	bool uuid_known;              /* send the uuid, with validate-uuid; multifd channels send it always */
	uint8_t uuid[16];
	uint32_t target_page_size;              /* bytes; 0: 4096 */
	uint32_t minimum_page_bits;             /* of the target's smallest page; 0: 12. Others are told (STR-007) */
	uint32_t host_page_size;                /* the host's ordinary page, bytes; 0: 4096 */
	const struct mr_outgoing_block *blocks; /* in the order of the machine's list (SRC-006) */
	uint32_t block_count;
	/* Whose sections are sent; "ram" among them, with the hooks of mr_handler_known() (HND-001). They must not
	 * change before the end. */
	const struct mr_handlers *handlers;

	/* parameters, with 0 for the release's default */
	uint64_t max_bandwidth;          /* bytes a second; UINT64_MAX: no limit */
	uint64_t max_postcopy_bandwidth; /* bytes a second; 0: no limit */
	uint64_t switchover_bandwidth;   /* bytes a second; 0: as measured */
	uint64_t downtime_limit;         /* ms */
	uint64_t xbzrle_cache_size;      /* bytes */
	uint32_t clear_bitmap_shift;     /* x-clear-bitmap-shift */
	uint32_t multifd_channels;
	const struct mr_multifd_method *method; /* NULL: none */
	int method_level;                       /* of a method that has levels; INT32_MIN: its default */
	enum mr_zero_detection zero_detection;
	uint32_t throttle_initial, throttle_increment, throttle_maximum, throttle_trigger; /* percent */

	uint32_t connections_max; /* connections in all; 0: as many as needed without cuts, + 8 */
	size_t package_max;       /* bytes of a package; 0: MR_INCOMING_PACKAGE_MAX */
	struct mr_outgoing_memory memory;
	mr_zero_function *is_zero;        /* with the argument of `memory`; NULL: each page's bytes are looked at */
	const struct mr_choices *choices; /* NULL: every choice is canonical */
	uint32_t unusual_choices;         /* those of MR_CHOICES_UNUSUAL that are asked, too */
};

struct mr_outgoing;

/* Bytes of memory for a machine so configured; 0 with one line in `error` if the configuration is impossible. */
size_t mr_outgoing_size(const struct mr_outgoing_config *config, char error[96]);
/*
 * Lays the machine out in `memory`, aligned for uint64_t, zeroed, of mr_outgoing_size() bytes. The streams of
 * compressing methods alone stand outside: mr_outgoing_clear() gives them back. NULL if `size` is too small.
 */
struct mr_outgoing *mr_outgoing_init(void *memory, size_t size, const struct mr_outgoing_config *config);
void mr_outgoing_clear(struct mr_outgoing *outgoing);

/* ---- Choices ----------------------------------------------------------------------------------------------------- */

/* What a real source decides by clock or by race. */
enum mr_choice {
	MR_CHOICE_TURN,         /* what the loop does next: enum mr_turn, by pending bytes and bandwidth (SRC-010) */
	MR_CHOICE_SYNC,         /* does an exact query fetch the dirty log? 0 or 1 (SRC-009) */
	MR_CHOICE_SECTION_ENDS, /* before a host page of a PART: is it over? 0 or 1 (SRC-012) */
	MR_CHOICE_CHANNEL,      /* multifd channel of a packet; canonical: the next free one (MFS-004) */
	MR_CHOICE_REPEAT,       /* does the last page of a full packet come again in the next? 0 or 1 (MFS-006) */
	MR_CHOICE_BREAK_HUGE,   /* 7.1, 7.2: is the huge page interrupted here? Canonical: if a request waits */
	MR_CHOICE_PAGE,         /* what goes out next; canonical: what the scan found (SRC-011) */
	MR_CHOICE_PACKET_ENDS,  /* is a multifd packet over that is not full? 0 or 1; canonical: 0 (MFS-003) */
	MR_CHOICE_TWICE,        /* does a page of precopy stay dirty, and come again? 0 or 1; canonical: 0 (SRC-011) */
	MR_CHOICE_COUNT
};

/* Legal choices that no source of QEMU's has, as bits 1 << MR_CHOICE_: asked only where the configuration says so. */
enum { MR_CHOICES_UNUSUAL = 1 << MR_CHOICE_PAGE | 1 << MR_CHOICE_PACKET_ENDS | 1 << MR_CHOICE_TWICE };

struct mr_choices {
	void *argument;
	/*
	 * What is decided; `canonical` is what the machine would do, and a legal answer always. An answer that is
	 * impossible counts as canonical. The machine's step is under way: functions that take it as const may be
	 * called, no other. PAGE is the number of a target page in the block that mr_outgoing_cursor() names, in whose
	 * host page sending goes on; with multifd only one behind the canonical one is possible.
	 */
	uint64_t (*choose)(void *argument, enum mr_choice choice, uint64_t canonical);
};

/* ---- Actions ----------------------------------------------------------------------------------------------------- */

enum mr_source_action_kind {
	/* told */
	MR_SOURCE_ACTION_SEND,       /* bytes on a channel (`send`) */
	MR_SOURCE_ACTION_STATUS,     /* the migration status became `status` */
	MR_SOURCE_ACTION_ITERATION,  /* the scan has gone over all blocks: `count` passes so far */
	MR_SOURCE_ACTION_RETURN,     /* a return path message was taken (`message`) */
	MR_SOURCE_ACTION_REQUEST,    /* a page request was served or dropped (`request`) */
	MR_SOURCE_ACTION_DISCARDED,  /* the discards of all blocks are out: `discarded` */
	MR_SOURCE_ACTION_DISPATCHED, /* a packet's pages were given to a sender of multifd: `count` so far */
	MR_SOURCE_ACTION_BARRIER,    /* every multifd channel has written its SYNC */
	MR_SOURCE_ACTION_PAUSED,     /* connections are given up; mr_outgoing_recover() goes on */
	MR_SOURCE_ACTION_FINISHED,   /* the migration is over and good */
	MR_SOURCE_ACTION_FAILED,     /* it failed or was cancelled: the guest is the source's again; `finding` */
	/* asked */
	MR_SOURCE_ACTION_CONNECT,   /* open a connection (`connect`), its number is told here */
	MR_SOURCE_ACTION_CLOSE,     /* close connection `channel` */
	MR_SOURCE_ACTION_LOG_START, /* begin to log what the guest dirties */
	MR_SOURCE_ACTION_LOG_SYNC,  /* hand over what was dirtied, by mr_outgoing_dirty(), and forget it */
	MR_SOURCE_ACTION_LOG_CLEAR, /* from now on writes to `range` are logged again (SRC-008) */
	MR_SOURCE_ACTION_LOG_STOP,
	MR_SOURCE_ACTION_UNPLUG,      /* wait until devices that cannot be migrated are gone */
	MR_SOURCE_ACTION_STOP_GUEST,  /* the guest stands from now on */
	MR_SOURCE_ACTION_START_GUEST, /* it goes on here: after a failure, or once a snapshot has its devices */
	MR_SOURCE_ACTION_PROTECT,     /* background snapshot: write-protect `range`; what was written faults */
	MR_SOURCE_ACTION_UNPROTECT,   /* `range` is out */
	MR_SOURCE_ACTION_THROTTLE,    /* let vCPUs run only 100 - `count` percent of the time */
	MR_SOURCE_ACTION_SAVE,        /* hand over the body of a section by mr_outgoing_save() (`save`) */
	MR_SOURCE_ACTION_DESCRIBE,    /* hand over the VMDESCRIPTION's text the same way; none: it is not sent */
	MR_SOURCE_ACTION_HOOK,    /* call a handler that writes nothing (`save`); a question is answered by 1 for yes */
	MR_SOURCE_ACTION_RELEASE, /* release-ram: `range` is not needed here any more */
	MR_SOURCE_ACTION_KIND_COUNT
};

/* "send" */
const char *mr_source_action_name(enum mr_source_action_kind kind);

struct mr_source_action {
	enum mr_source_action_kind kind;
	unsigned actor; /* enum mr_source_actor */
	bool asked;     /* to be completed */
	union {
		struct {
			uint32_t channel;           /* number of the connection */
			enum mr_kind kind;          /* of the record that these bytes are, or begin */
			uint64_t offset;            /* of the first byte in the channel */
			struct mr_bytes head, body; /* the bytes, one behind the other; `body` may be empty */
			uint32_t block;             /* of a page record or packet, else UINT32_MAX */
			uint64_t page;              /* its offset in the block */
			bool requested;             /* a page that was asked for */
		} send;
		enum mr_source_status status;
		uint64_t count;
		struct {
			uint32_t channel;
			struct mr_return_message record;
		} message;
		struct {
			uint32_t block;
			uint64_t start, length; /* bytes, as asked */
			bool sent;              /* false: nothing was left to send of it */
		} request;
		struct {
			uint64_t ranges, commands;
		} discarded;
		struct {
			uint32_t channel; /* number that the connection gets */
			enum mr_role role;
			uint32_t multifd; /* number of the multifd channel */
		} connect;
		uint32_t channel;
		struct {
			uint32_t block;
			uint64_t start, length; /* bytes */
		} range;
		struct {
			uint32_t handler; /* place in the list */
			enum mr_hook hook;
			uint8_t section; /* type byte of the section, 0: none */
		} save;
		struct mr_finding finding;
	};
};

/* ---- Steps and inputs -------------------------------------------------------------------------------------------- */

/* Why an actor gave no action. */
enum mr_source_wait {
	MR_SOURCE_WAIT_NOTHING,
	MR_SOURCE_WAIT_COMPLETION, /* mr_outgoing_complete() */
	MR_SOURCE_WAIT_RETURN,     /* bytes of the return path */
	MR_SOURCE_WAIT_MESSAGE,  /* `actor` has to take a message that is still to come: PONG, SHUT, a bitmap, an ack */
	MR_SOURCE_WAIT_TIME,     /* mr_outgoing_set_time(), at least `time`: the bandwidth of this window is used up */
	MR_SOURCE_WAIT_OPERATOR, /* mr_outgoing_continue() or mr_outgoing_recover() */
	MR_SOURCE_WAIT_ACTOR,    /* `actor` has to go on first */
	MR_SOURCE_WAIT_WORK,     /* a multifd sender: for a packet or a SYNC */
	MR_SOURCE_WAIT_ROOM,     /* MR_OUTGOING_REQUESTS_MAX requests wait */
};

struct mr_source_wants {
	enum mr_source_wait wait;
	unsigned actor;
	uint32_t channel; /* RETURN */
	size_t wanted;    /* RETURN: the window must hold so many bytes */
	uint64_t time;    /* TIME: ns */
};

struct mr_source_wants mr_outgoing_wants(const struct mr_outgoing *outgoing, unsigned actor);

/* As mr_incoming_step(): MR_STEP_BYTES is for the return path alone. What an action points to lives until the next. */
enum mr_step mr_outgoing_step(struct mr_outgoing *outgoing, unsigned actor, struct mr_source_action *action);
/*
 * The asked action of `actor` was carried out: 0, or the errno; of a question 1 for yes; of a round (save_live_iterate)
 * also -1: nothing more for now. False if none was asked.
 */
bool mr_outgoing_complete(struct mr_outgoing *outgoing, unsigned actor, int result);

/* Bytes of a return path, as mr_incoming_feed(). */
void mr_outgoing_feed(struct mr_outgoing *outgoing, uint32_t channel, const uint8_t *window, size_t length, bool at_end,
		      int error);
uint64_t mr_outgoing_consumed(const struct mr_outgoing *outgoing, uint32_t channel);
/* Writing to a connection failed with this errno: noticed where a source looks (SRC-030). */
void mr_outgoing_broken(struct mr_outgoing *outgoing, uint32_t channel, int error);

/* The pages from `start` on were dirtied: the answer to LOG_SYNC, and to nothing else. `start` and `length`, here and
 * below: bytes, whole target pages. False if they are not in a block that is sent. */
bool mr_outgoing_dirty(struct mr_outgoing *outgoing, uint32_t block, uint64_t start, uint64_t length);
/* The answer to SAVE and DESCRIBE; the bytes must stay until the action is completed and the next is taken. */
void mr_outgoing_save(struct mr_outgoing *outgoing, struct mr_bytes body);
/* The answer to HOOK where a handler is asked what it still has to send. */
void mr_outgoing_pending(struct mr_outgoing *outgoing, const struct mr_pending *pending);
/*
 * Background snapshot: the guest wants to write to this target page. Its host page becomes a request for the first page
 * in it (SRC-028). False if the queue is full, there is no snapshot, or the page is not in a block that is sent.
 */
bool mr_outgoing_write_fault(struct mr_outgoing *outgoing, uint32_t block, uint64_t offset);
/* Whole host pages are unplugged, and never sent, or plugged again (SRC-007). False as mr_outgoing_dirty(). */
bool mr_outgoing_plug(struct mr_outgoing *outgoing, uint32_t block, uint64_t start, uint64_t length, bool plugged);
/* Pages that the guest does not need, say in its balloon: they are not sent until dirtied again (SRC-007). False as
 * mr_outgoing_dirty(), and with postcopy-ram. */
bool mr_outgoing_free_hint(struct mr_outgoing *outgoing, uint32_t block, uint64_t start, uint64_t length);

/* 11.1: a device asks that the switch waits for its approval (HND-010). False if acks are not counted, but one stands
 * for all (`switchover-ack-once`), and if the guest stands already. */
bool mr_outgoing_want_ack(struct mr_outgoing *outgoing);

/*
 * The guest's operator stops it, or lets it go on. While it stands no switch waits for acks (SRC-034), what is sent
 * counts as downtime-bytes (SRC-035), and a failure leaves it standing. False once the machine itself has stopped it.
 */
bool mr_outgoing_guest(struct mr_outgoing *outgoing, bool runs);

/* The world's clock for the steps that follow, ns; canonical choices go by it. */
void mr_outgoing_set_time(struct mr_outgoing *outgoing, uint64_t nanoseconds);

/* The operator's commands. Each false if it is refused now (SRC-003). */
bool mr_outgoing_start_postcopy(struct mr_outgoing *outgoing);
bool mr_outgoing_continue(struct mr_outgoing *outgoing); /* migrate-continue, of pre-switchover */
bool mr_outgoing_cancel(struct mr_outgoing *outgoing);
bool mr_outgoing_pause(struct mr_outgoing *outgoing); /* migrate-pause, of a postcopy */
/* migrate with resume, of a paused postcopy; refused, too, if config.connections_max leaves no connection for it. */
bool mr_outgoing_recover(struct mr_outgoing *outgoing);

/* ---- Statistics -------------------------------------------------------------------------------------------------- */

/* What query-migrate shows, by QEMU's definitions (SRC-035). */
struct mr_outgoing_statistics {
	uint64_t total, remaining, transferred;   /* bytes */
	uint64_t duplicate, normal, normal_bytes; /* pages, pages, bytes */
	uint64_t dirty_sync_count, postcopy_requests;
	uint64_t precopy_bytes, downtime_bytes, postcopy_bytes, multifd_bytes;
	uint64_t dirty_pages_rate; /* pages a second */
	uint64_t xbzrle_pages, xbzrle_bytes, xbzrle_cache_miss, xbzrle_overflow;
	uint64_t pages;                    /* page records and pages in packets */
	uint64_t choices[MR_CHOICE_COUNT]; /* that were to be made; of unusual ones: that were asked */
	uint64_t chosen[MR_CHOICE_COUNT];  /* of them: answered otherwise than canonically */
	uint32_t throttle;                 /* percent */
};

void mr_outgoing_statistics(const struct mr_outgoing *outgoing, struct mr_outgoing_statistics *statistics);

/* ---- Looking inside ---------------------------------------------------------------------------------------------- */

enum mr_source_status mr_outgoing_status(const struct mr_outgoing *outgoing);
/* Dirty bits of a block and how many there are. */
const uint64_t *mr_outgoing_dirty_bits(const struct mr_outgoing *outgoing, uint32_t block, uint64_t *pages);
uint64_t mr_outgoing_dirty_count(const struct mr_outgoing *outgoing);
/* Page requests that wait to be served. */
uint32_t mr_outgoing_requests(const struct mr_outgoing *outgoing);
/* What was wrong on the return path, whether or not the migration has failed for it; MR_NO_RULE: nothing. */
const struct mr_finding *mr_outgoing_return_error(const struct mr_outgoing *outgoing);
/* Where the scan of the main channel stands: the page that is looked at next, bytes. */
void mr_outgoing_cursor(const struct mr_outgoing *outgoing, uint32_t *block, uint64_t *offset);
/* Why it failed; the rule is MR_NO_RULE if it did not. */
const struct mr_finding *mr_outgoing_error(const struct mr_outgoing *outgoing);

/* ---- State ------------------------------------------------------------------------------------------------------- */

/*
 * As mr_incoming_pieces(). `timeless`: the clock has stood since the machine began, and will: what is only counted
 * against it is scratch then. 0 for a machine of which a part lies elsewhere, in the streams of a compressing method. A
 * body that was handed over by mr_outgoing_save() counts by its address.
 */
size_t mr_outgoing_pieces(const struct mr_outgoing *outgoing, bool timeless, struct mr_piece pieces[], size_t room);

#ifdef __cplusplus
}
#endif

#endif
