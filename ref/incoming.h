/*
 * incoming.h: the destination of a migration as a machine: bytes and events go in, actions come out.
 *
 * What QEMU's destination does in several threads that share one state is done here by actors of one struct, each of
 * which goes on only when it is told to. Nothing in it waits, reads, sends, or asks the time: (state, input) alone
 * decides. Feeding is not stepping: bytes that were fed have no effect until an actor steps over them, so that for
 * equal steps any split of the bytes gives equal actions.
 *
 *     size = mr_incoming_size(&config);
 *     incoming = mr_incoming_init(memory, size, &config);
 *     mr_incoming_open(incoming, 0, MR_ROLE_MAIN);
 *     mr_incoming_feed(incoming, 0, window, length, at_end);
 *     while ((result = mr_incoming_step(incoming, MR_ACTOR_MAIN, &action)) == MR_STEP_ACTION) {
 *             ... carry out the action ...
 *             if (action.asked)
 *                     mr_incoming_complete(incoming, MR_ACTOR_MAIN, 0);
 *     }
 *
 * Contents: actors - configuration - actions - steps and inputs - blocktime - looking inside - state.
 *
 * Rule ids in the comments (PC-001) are those of SPEC.md.
 */
#ifndef MR_INCOMING_H
#define MR_INCOMING_H

#include "handlers.h"
#include "migref.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Actors ------------------------------------------------------------------------------------------------------ */

enum {
	MR_INCOMING_MULTIFD_MAX = 256,     /* multifd channels: their number is a u8 */
	MR_INCOMING_CHANNELS_MAX = 512,    /* connections of one migration, those after cuts included */
	MR_INCOMING_VCPUS_MAX = 4096,      /* vCPUs whose waiting is counted */
	MR_INCOMING_CLIENTS_MAX = 16,      /* processes that share guest memory and catch their own faults */
	MR_INCOMING_PACKAGE_MAX = 1 << 24, /* bytes of a package where the configuration does not say (PC-012) */
};

/* Who acts. Each is a thread of QEMU's; its name there stands behind. */
enum mr_actor {
	MR_ACTOR_MAIN,    /* main loader, and the main loop once it has loaded (T_M) */
	MR_ACTOR_LISTEN,  /* listen loader: the main channel from LISTEN on (T_L) */
	MR_ACTOR_PREEMPT, /* loader of the preempt channel (T_P) */
	MR_ACTOR_FAULT,   /* fault handler (T_F) */
	MR_ACTOR_MULTIFD, /* this + i: receiver of multifd channel i (T_R[i]) */
	MR_ACTOR_COUNT = MR_ACTOR_MULTIFD + MR_INCOMING_MULTIFD_MAX
};

/* "main", "listen", "preempt", "fault", "multifd"; NULL if there is no such actor. */
const char *mr_actor_name(unsigned actor);

/* PostcopyState: which commands are legal, and how pages are loaded (PC-001). */
enum mr_postcopy_state {
	MR_POSTCOPY_NONE,
	MR_POSTCOPY_ADVISE,
	MR_POSTCOPY_DISCARD,
	MR_POSTCOPY_LISTENING,
	MR_POSTCOPY_RUNNING,
	MR_POSTCOPY_END,
	MR_POSTCOPY_COUNT
};

/* "NONE" */
const char *mr_postcopy_state_name(enum mr_postcopy_state state);

/* MigrationStatus: what the monitor shows (PC-020). */
enum mr_status {
	MR_STATUS_NONE,
	MR_STATUS_SETUP,
	MR_STATUS_ACTIVE,
	MR_STATUS_POSTCOPY_DEVICE,
	MR_STATUS_POSTCOPY_ACTIVE,
	MR_STATUS_POSTCOPY_PAUSED,
	MR_STATUS_POSTCOPY_RECOVER,
	MR_STATUS_COMPLETED,
	MR_STATUS_FAILED,
	MR_STATUS_COUNT
};

/* As in QMP: "postcopy-active" */
const char *mr_status_name(enum mr_status status);

/* What a command does in a PostcopyState: one row of the table in SPEC.md. */
enum mr_reception {
	MR_RECEPTION_TAKEN,   /* carried out */
	MR_RECEPTION_IGNORED, /* success without effect */
	MR_RECEPTION_REFUSED, /* the load fails */
	MR_RECEPTION_NEVER,   /* nobody reads in this state */
};

struct mr_transition {
	enum mr_reception reception;
	enum mr_postcopy_state next;         /* the state after it, as it should be */
	enum mr_postcopy_state next_in_qemu; /* as QEMU's releases leave it, where that differs */
};

/* What `command` (enum mr_command_number) does in `state`. */
struct mr_transition mr_postcopy_transition(unsigned command, enum mr_postcopy_state state);

/* ---- Configuration ----------------------------------------------------------------------------------------------- */

/* A RAM block of the destination's machine. */
struct mr_incoming_block {
	const char *name;     /* copied; at most MR_NAME_MAX bytes */
	uint64_t used_length; /* bytes, a multiple of the target page size */
	uint64_t max_length;  /* bytes; 0: the used length, that is, the block cannot be resized */
	uint64_t page_size;   /* of its host pages, bytes; 0: the host's ordinary one */
	uint32_t rank;        /* order of host addresses among the blocks: requests are sent again in it (REC-008) */
	bool ignored;         /* shared, with ignore-shared: neither emptied nor sent */
	bool not_zeroable;    /* the host cannot place a zero page without a copy: huge pages (PC-034) */
};

/*
 * Guest memory for plain precopy writes, which nobody else may see yet. Both may be NULL: nothing is written then.
 */
struct mr_incoming_memory {
	void *argument;
	/* Where the target page at `offset` lies, to be read and written until the next call; NULL: the load fails. */
	uint8_t *(*page)(void *argument, uint32_t block, uint64_t offset);
	/* Makes the target page zero, without touching it if it is. */
	void (*zero)(void *argument, uint32_t block, uint64_t offset);
};

struct mr_incoming_config {
	struct mr_context context; /* of the stream: the source's profile, capabilities of both sides */
	struct mr_profile profile; /* of the destination; unknown: the newest release */
	/* Where QEMU's releases have a defect, do right instead (SPEC.md names each: PC-, REQ-, REC-). */
	bool strict;
	uint32_t target_page_size;              /* bytes; 0: 4096 */
	uint32_t host_page_size;                /* the host's ordinary page, bytes; 0: 4096 */
	bool memory_locked;                     /* -overcommit mem-lock: locked again in the end */
	bool start_paused;                      /* -S: the guest is not started */
	const struct mr_incoming_block *blocks; /* in the order of the machine's list */
	uint32_t block_count;
	bool shared_clients;      /* such processes may register (REQ-009) */
	bool unpluggable;         /* ranges may be unplugged, as virtio-mem does (REQ-012) */
	size_t package_max;       /* bytes of a package; 0: MR_INCOMING_PACKAGE_MAX */
	uint32_t connections_max; /* connections in all, at most MR_INCOMING_CHANNELS_MAX; 0: as many as needed without
				     cuts, + 8 */
	bool blocktime;           /* the capability postcopy-blocktime: how long vCPUs wait is counted (BLK-001) */
	uint32_t vcpu_count;      /* of the machine, at most MR_INCOMING_VCPUS_MAX; counts for blocktime only */
	uint32_t open_faults_max; /* faults that are counted at once from 10.1 on; 0: 64 for each vCPU, + 256 */
	/* Who owns the sections (HND-004); must not change before the end. NULL: every section is taken. */
	const struct mr_handlers *handlers;
	struct mr_incoming_memory memory;
	/*
	 * Where huge pages are put together: for main and preempt channel a buffer of the largest host page each (at
	 * least a target page), the caller's. May be NULL: contents are then not kept, and placements carry none.
	 */
	uint8_t *temporary[2];
	mr_report_function *report; /* acceptable breaches that the decoders see; may be NULL */
	void *report_argument;
};

struct mr_incoming;

/* Bytes of memory for a machine so configured; 0 with one line in `error` if the configuration is impossible. */
size_t mr_incoming_size(const struct mr_incoming_config *config, char error[96]);
/*
 * Lays the machine out in `memory`, aligned for uint64_t, zeroed, of mr_incoming_size() bytes. What lies in huge
 * untouched bitmaps is never written. All its state is there; only the search for the end of device sections that no
 * description delimits takes memory besides, and gives it back at once (STR-023). NULL if `size` is too small.
 */
struct mr_incoming *mr_incoming_init(void *memory, size_t size, const struct mr_incoming_config *config);
/*
 * Begins anew in the memory of a machine that is done with, without clearing all of it: for who runs many. NULL if the
 * configuration needs more memory, or another place for its bitmaps: blocks have to be as before.
 */
struct mr_incoming *mr_incoming_reset(struct mr_incoming *incoming, const struct mr_incoming_config *config);

/* Makes a machine of the same state in `memory`; both go on by themselves. NULL if `size` is too small. */
struct mr_incoming *mr_incoming_copy(void *memory, size_t size, const struct mr_incoming *from);

/* ---- Actions ----------------------------------------------------------------------------------------------------- */

/*
 * What happened, or what the world has to do. Actions that are asked of the world wait for mr_incoming_complete()
 * before their actor can go on; the others are told.
 */
enum mr_action_kind {
	/* told */
	MR_ACTION_STATUS,          /* the migration status became `status` */
	MR_ACTION_POSTCOPY_STATE,  /* PostcopyState became `state` */
	MR_ACTION_SECTION,         /* a section begins (`section`), or the end mark */
	MR_ACTION_COMMAND,         /* a command begins (`command`) */
	MR_ACTION_COMMAND_DONE,    /* it ended: `result` 0, 1 (the load of this loader is over) or -errno */
	MR_ACTION_DISCARD_HEADER,  /* RAM_DISCARD names a block: `range.block`, range.length bytes of ranges */
	MR_ACTION_LISTEN_PREPARED, /* LISTEN: discards are over */
	MR_ACTION_LISTEN_READY,    /* LISTEN: faults are caught, buffers are there */
	MR_ACTION_RAM_RECORD,      /* a page record was taken (`page`): written, or part of a huge page */
	MR_ACTION_RAM_LOADED,      /* a `ram` body ended (`loaded`) */
	MR_ACTION_BARRIER,         /* all multifd channels have reached their SYNC and go on */
	MR_ACTION_MARKED,          /* a placed page counts as received (`placed`) */
	MR_ACTION_REQUEST,         /* what a fault led to (`request`) */
	MR_ACTION_REQUEST_AGAIN,   /* after recovery: a page still waited for was asked again (`request`) */
	MR_ACTION_BITMAP_SENT,     /* the answer to RECV_BITMAP for `range.block` is out */
	MR_ACTION_PAUSE,           /* a failure in RUNNING: the channels are given up */
	MR_ACTION_PARK,            /* the actor sleeps until it is released */
	MR_ACTION_CONTINUE,        /* it was released */
	MR_ACTION_ACTOR_START,     /* the actor began */
	MR_ACTION_ACTOR_END,       /* it ended, by itself or told to */
	MR_ACTION_LOADED,          /* the main loader is through: `result` as COMMAND_DONE */
	MR_ACTION_ANNOUNCE,        /* the network is to learn where the guest is: self-announcement begins */
	MR_ACTION_CLEANUP,         /* the end of catching faults begins */
	MR_ACTION_CLEANUP_DONE,    /* it is over */
	MR_ACTION_STATE_CLEANUP,   /* what handlers kept for loading is given back */
	MR_ACTION_FINISHED,        /* the migration is over and good */
	MR_ACTION_FAILED,          /* it failed for good: `finding` */
	/* asked */
	MR_ACTION_SEND,          /* bytes on the return path (`send`) */
	MR_ACTION_PROBE,         /* can the host do `probe`? Nonzero: it cannot (PC-005) */
	MR_ACTION_UNLOCK,        /* unlock all memory (munlockall), in the middle of the probes */
	MR_ACTION_LOCK,          /* lock it again */
	MR_ACTION_NOTIFY,        /* tell devices (`notice`) */
	MR_ACTION_DISCARD,       /* throw away `range`; when=ADVISE empties the whole block (PC-006, PC-009) */
	MR_ACTION_NO_HUGE_PAGES, /* no transparent huge pages in range.block from now on */
	MR_ACTION_HUGE_PAGES,    /* allowed again */
	MR_ACTION_CATCH,         /* open the userfault object; close: MR_ACTION_RELEASE */
	MR_ACTION_REGISTER,      /* catch faults in range.block */
	MR_ACTION_UNREGISTER,    /* no longer */
	MR_ACTION_RELEASE,       /* close the userfault object */
	MR_ACTION_PLACE,         /* put `placed` into guest memory at once */
	MR_ACTION_WAKE,          /* wake a client's threads that wait for a page (`wake`) */
	MR_ACTION_PACKET,        /* write the pages of a multifd packet (`packet`) */
	MR_ACTION_LOAD_DEVICE,   /* a device section's body (`device`); may itself fault on guest memory */
	MR_ACTION_RESIZE,        /* the block gets the length range.length */
	MR_ACTION_START_GUEST,   /* run the vCPUs; `result` 0: devices only, the guest stays stopped */
	MR_ACTION_CLOSE,         /* shut a channel down: `channel` */
	MR_ACTION_HOOK,          /* call a handler (`hook`); a question is answered by completing it with 1 for yes */
	MR_ACTION_KIND_COUNT
};

/* "place" */
const char *mr_action_name(enum mr_action_kind kind);

/* What became of a fault (REQ-003). */
enum mr_request_verdict {
	MR_REQUEST_ADDED,    /* not waited for yet: asked for */
	MR_REQUEST_REPEATED, /* waited for already, asked for again */
	MR_REQUEST_DROPPED,  /* received meanwhile */
	MR_REQUEST_ZEROED,   /* not plugged: a zero page is placed instead */
};

/* "added", "repeated", "dropped", "zeroed" */
const char *mr_request_verdict_name(enum mr_request_verdict verdict);

/* What MR_ACTION_PROBE asks of the host, in this order; SPEC.md says what each means (PC-005). */
enum mr_probe {
	MR_PROBE_OPEN,         /* open a userfault object */
	MR_PROBE_FEATURES,     /* its handshake; with huge pages their feature, too */
	MR_PROBE_FILE_SYSTEMS, /* memory of files lies on tmpfs or hugetlbfs */
	MR_PROBE_REGISTER,     /* register a page: WAKE, COPY and ZEROPAGE are there */
};

/* Reasons of MR_ACTION_NOTIFY. */
enum mr_notice { MR_NOTICE_PROBE, MR_NOTICE_ADVISE, MR_NOTICE_LISTEN, MR_NOTICE_END };

struct mr_action_range {
	uint32_t block;
	uint64_t start, length; /* bytes */
	enum mr_postcopy_state
		when; /* DISCARD: ADVISE, the whole block; DISCARD, a range of a command; NONE, a grown tail */
};

struct mr_action_page {
	uint32_t block;       /* UINT32_MAX: not known, the record was cut in postcopy */
	uint64_t offset;      /* bytes, of the target page */
	uint32_t flags;       /* of the record, enum mr_ram_flag */
	unsigned ram_channel; /* 0: main, 1: preempt */
	bool postcopy;        /* part of a host page; else written already */
	bool cut;             /* only the record's beginning came */
	uint8_t fill;         /* ZERO: the byte */
	struct mr_bytes data; /* as on the wire */
};

struct mr_action_placed {
	uint32_t block;
	uint64_t offset;        /* bytes, of the host page */
	uint64_t length;        /* bytes: the host page */
	bool zero;              /* all of it is zero */
	bool by_copy;           /* zero, but the host has to copy zeros */
	const uint8_t *data;    /* `length` bytes; NULL: zero, or contents are not kept */
	unsigned ram_channel;   /* 0: main, 1: preempt */
	uint64_t record_offset; /* of the record that completed it */
	uint32_t record_flags;
	bool was_requested;   /* MARKED: it was waited for */
	uint32_t outstanding; /* MARKED: pages still waited for */
};

struct mr_action_request {
	enum mr_request_verdict verdict;
	uint32_t block;
	uint64_t offset;      /* bytes, of the host page */
	uint64_t thread;      /* who faulted, as told */
	uint32_t client;      /* 0: this process, else number of the client + 1 */
	uint32_t outstanding; /* pages waited for, this one included */
	bool retried;         /* the same fault again, after a pause (REC-009) */
};

struct mr_action_send {
	uint32_t channel; /* whose return path */
	uint16_t type;    /* enum mr_return_type */
	uint16_t length;  /* of the counted payload */
	uint32_t value;   /* PONG, SHUT, RESUME_ACK */
	uint32_t block;   /* requests and bitmaps */
	uint64_t offset;  /* requests */
	bool bitmap;      /* a piece of what follows RECV_BITMAP: size, bits, end mark */
	bool first;       /* of the message, or of what follows it: its critical section begins */
	struct mr_bytes bytes;
};

struct mr_action {
	enum mr_action_kind kind;
	unsigned actor; /* enum mr_actor */
	bool asked;     /* to be completed */
	bool in_package;
	uint32_t channel; /* connection that it came by; MR_INCOMING_CHANNELS_MAX: none */
	uint64_t offset;  /* in that connection, of the record behind it */
	union {
		enum mr_status status;
		enum mr_postcopy_state state;
		enum mr_notice notice;
		enum mr_probe probe;
		int result;
		struct {
			uint8_t type; /* byte on the wire: 0 end mark, 1 START, 2 PART, 3 END, 4 FULL */
			bool is_ram;
			uint32_t id, instance, version; /* the last two: START and FULL */
			struct mr_bytes idstr;
		} section;
		struct {
			uint16_t number, length;
			uint32_t value; /* PING: its value; PACKAGED: bytes of the package */
			int result;     /* COMMAND_DONE */
			uint32_t block; /* RECV_BITMAP */
		} command;
		struct {
			int result;        /* 0 or -errno */
			bool postcopy;     /* by the postcopy loader */
			uint64_t sequence; /* how many bodies this was, from 1 */
		} loaded;
		struct mr_action_range range;
		struct mr_action_page page;
		struct mr_action_placed placed;
		struct mr_action_request request;
		struct mr_action_send send;
		struct {
			uint32_t client, block;
			uint64_t offset; /* bytes, of the host page */
		} wake;
		struct {
			uint32_t multifd; /* number of the multifd channel, as its initial packet says; also in
					     ACTOR_START and ACTOR_END of its receiver */
			uint32_t block;   /* UINT32_MAX: the packet has no pages */
			struct mr_multifd_packet record;
			bool sync;
		} packet;
		struct {
			uint32_t id;      /* of its section */
			uint32_t handler; /* place in the list of handlers; UINT32_MAX: there is no list */
			struct mr_bytes body;
		} device;
		struct {
			uint32_t handler; /* place in the list */
			enum mr_hook hook;
		} hook;
		struct mr_finding finding;
	};
};

/* ---- Steps and inputs -------------------------------------------------------------------------------------------- */

enum mr_step {
	MR_STEP_ACTION, /* went on to its next commit point: an action */
	MR_STEP_BYTES,  /* needs at least `wanted` bytes of `channel`, or its end */
	MR_STEP_WAITS,  /* for what mr_incoming_waits_for() says */
	MR_STEP_DONE,   /* it has ended, or never began */
};

enum mr_wait {
	MR_WAIT_NOTHING,
	MR_WAIT_COMPLETION, /* mr_incoming_complete() */
	MR_WAIT_CHANNEL,    /* mr_incoming_open() */
	MR_WAIT_FAULT,      /* mr_incoming_fault() */
	MR_WAIT_RELEASE,    /* parked until RESUME, or until a new connection */
	MR_WAIT_ACTOR,      /* `actor` must go on first */
	MR_WAIT_REQUESTS,   /* the last page waited for */
};

struct mr_wants {
	enum mr_wait wait;
	unsigned actor;   /* ACTOR */
	uint32_t channel; /* BYTES: whose, by mr_incoming_step() */
	size_t wanted;    /* BYTES: the window must hold so many */
};

/* Why the last step of `actor` gave no action. */
struct mr_wants mr_incoming_wants(const struct mr_incoming *incoming, unsigned actor);

/* A connection was accepted; its role is told by mr_channel_identify(). -1 if there is no place for another. */
int mr_incoming_open(struct mr_incoming *incoming, uint32_t channel, enum mr_role role);
/*
 * The bytes of a connection at hand, beginning with byte mr_incoming_consumed(); they must stay until the next feed of
 * this channel. `at_end`: nothing follows them; `error` says how it ended: 0, or the errno of a broken connection.
 */
void mr_incoming_feed(struct mr_incoming *incoming, uint32_t channel, const uint8_t *window, size_t length, bool at_end,
		      int error);
/* Bytes of a connection that actors have gone over. */
uint64_t mr_incoming_consumed(const struct mr_incoming *incoming, uint32_t channel);

/* Lets one actor go on to its next commit point. What the action points to lives until the next step or feed. */
enum mr_step mr_incoming_step(struct mr_incoming *incoming, unsigned actor, struct mr_action *action);
/* The asked action of `actor` was carried out: 0, or the errno. False if none was asked. */
bool mr_incoming_complete(struct mr_incoming *incoming, unsigned actor, int error);

/*
 * A thread of the guest touched the missing page at `offset` of block `index` and waits. The fault handler takes one
 * fault at a time: false if it has one already, or catches none.
 */
bool mr_incoming_fault(struct mr_incoming *incoming, uint32_t index, uint64_t offset, uint64_t thread);
/*
 * A process that shares guest memory begins to catch its own faults, before LISTEN is over: returns its number, or -1
 * if there is no place, or none may register. Whoever unregisters is not woken any more.
 */
int mr_incoming_register_client(struct mr_incoming *incoming);
void mr_incoming_unregister_client(struct mr_incoming *incoming, unsigned client);
/* As mr_incoming_fault(), by a thread of a client. */
bool mr_incoming_client_fault(struct mr_incoming *incoming, unsigned client, uint32_t index, uint64_t offset);
/* Whole host pages of a block are unplugged, or plugged again. False if they are none, or nothing may be unplugged. */
bool mr_incoming_plug(struct mr_incoming *incoming, uint32_t index, uint64_t start, uint64_t length, bool plugged);
/* A handler no longer asks for a delay of the switch: its load_state has seen enough (HND-010). */
void mr_incoming_approve_switchover(struct mr_incoming *incoming);
/* Whether a balloon, or memory that is being unplugged, has to leave pages where they are for now (PC-045). */
bool mr_incoming_forbids_discards(const struct mr_incoming *incoming);

/* What becomes of a resize that nobody in the stream asked for, by firmware say (PC-046). */
enum mr_resized {
	MR_RESIZED_NOTED,
	MR_RESIZED_DISCARD, /* the world has to throw away the tail */
	MR_RESIZED_REFUSED, /* impossible now, or at all: the destination cannot go on if it happened */
};

/* A block has another length, bytes; `*tail` is what DISCARD is about. */
enum mr_resized mr_incoming_resized(struct mr_incoming *incoming, uint32_t index, uint64_t length,
				    struct mr_action_range *tail);
/* Whether the fault handler could take a fault now. */
bool mr_incoming_takes_fault(const struct mr_incoming *incoming);

/* ---- Blocktime --------------------------------------------------------------------------------------------------- */

enum { MR_BLOCKTIME_BUCKETS = 24 };

/*
 * The world's clock for the steps and faults that follow, in ns; it decides nothing but the figures. Releases up to
 * 10.0 count milliseconds from 0, the others only differences. A clock that goes back makes no time negative.
 */
void mr_incoming_set_time(struct mr_incoming *incoming, uint64_t nanoseconds);
/*
 * vCPU `index` is this thread of those that mr_incoming_fault() tells; 0: of none. False if there are fewer vCPUs, or
 * blocktime is not counted.
 */
bool mr_incoming_vcpu(struct mr_incoming *incoming, uint32_t index, uint64_t thread);

/* What QMP calls postcopy-blocktime and so on. */
struct mr_blocktime {
	uint32_t blocktime; /* ms in which every vCPU waited */
	uint32_t vcpu_count;
	bool has_latency;                            /* the release tells the next three (BLK-009) */
	uint64_t latency, non_vcpu_latency;          /* ns, on average */
	uint64_t distribution[MR_BLOCKTIME_BUCKETS]; /* faults by microseconds: 2^n to 2^(n + 1) - 1 */
	uint32_t waiting;                            /* vCPUs that wait now */
	uint64_t lost; /* faults that were not counted, for want of room or since the release cannot (BLK-010) */
};

struct mr_vcpu_blocktime {
	uint32_t blocktime; /* ms */
	uint64_t latency;   /* ns, on average; 0 where the release tells none */
	uint64_t faults;    /* that were counted */
};

/* The figures so far. True if QMP would show them now (BLK-002). */
bool mr_incoming_blocktime(const struct mr_incoming *incoming, struct mr_blocktime *figures);
struct mr_vcpu_blocktime mr_incoming_vcpu_blocktime(const struct mr_incoming *incoming, uint32_t index);

/* ---- Looking inside ---------------------------------------------------------------------------------------------- */

enum mr_postcopy_state mr_incoming_postcopy_state(const struct mr_incoming *incoming);
enum mr_status mr_incoming_status(const struct mr_incoming *incoming);
/* Pages waited for. */
uint32_t mr_incoming_outstanding(const struct mr_incoming *incoming);
/* Whether the target page at `offset` of `block` counts as received. */
bool mr_incoming_is_received(const struct mr_incoming *incoming, uint32_t block, uint64_t offset);
/* Received bits of a block and how many there are. */
const uint64_t *mr_incoming_received(const struct mr_incoming *incoming, uint32_t block, uint64_t *pages);
/* The block with this name in the configuration's order; UINT32_MAX if there is none. */
uint32_t mr_incoming_find_block(const struct mr_incoming *incoming, struct mr_bytes name);
const char *mr_incoming_block_name(const struct mr_incoming *incoming, uint32_t block);
/* What the channels' records have told so far. */
const struct mr_session *mr_incoming_session(const struct mr_incoming *incoming);
/* Why it failed; the rule is MR_NO_RULE if it did not. */
const struct mr_finding *mr_incoming_error(const struct mr_incoming *incoming);

/* ---- State ------------------------------------------------------------------------------------------------------- */

/* A piece of the memory in which a machine's state lies. */
struct mr_piece {
	void *at;
	size_t length; /* bytes, not 0 */
	bool scratch;  /* figures that are told and decide nothing, windows: machines that differ in them alone will
			  do the same from here on */
};

enum { MR_PIECES_MAX = 512 }; /* enough for two RAM blocks and four connections; others need more */

/*
 * Where the state lies at this moment, beside what the configuration settled for good. Whoever keeps a copy of all
 * pieces can write them back later, to the same places, whatever the machine did meanwhile, and has the machine as it
 * is now; places that are not listed hold nothing that will be looked at. To be called between two steps. Returns how
 * many pieces there are; of more than `room` the rest is left out.
 *
 * Two machines of one configuration whose pieces agree, but for scratch, will do the same from here on if they are
 * given the same. Pieces hold addresses of functions, and of the machine itself: such copies mean nothing to another
 * process. The caller's `temporary` is among them while a huge page is put together there.
 */
size_t mr_incoming_pieces(const struct mr_incoming *incoming, struct mr_piece pieces[], size_t room);

#ifdef __cplusplus
}
#endif

#endif
