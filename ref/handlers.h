/*
 * handlers.h: SaveVMHandlers: who owns the sections of a migration, and in which order they are called on both sides.
 *
 * A registry holds the handlers of one guest: RAM, dirty bitmaps, devices. A sequence is one of the walks that QEMU
 * makes over them, say all save_setup hooks: it calls nobody itself, but says who is to be called next, and is told
 * what came of it. So a hook may take as long as it likes, touch guest memory, or fail.
 *
 *     mr_handlers_init(&handlers, &profile, memory, capacity);
 *     mr_handlers_register(&handlers, &handler, NULL, error);
 *     mr_sequence_begin(&sequence, &handlers, MR_PHASE_SAVE_SETUP);
 *     while (mr_sequence_next(&sequence, &call)) {
 *             ... write mr_handler_header(), call the hook, write mr_handler_footer() ...
 *             mr_sequence_answer(&sequence, result);
 *     }
 *
 * Contents: hooks - registry - sequences - the source's turns - the destination's sections.
 *
 * Rule ids in the comments (HND-001) are those of SPEC.md.
 */
#ifndef MR_HANDLERS_H
#define MR_HANDLERS_H

#include "migref.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Hooks ------------------------------------------------------------------------------------------------------- */

/* What a handler can be called for. A release calls those that it knows, and passes over the others. */
enum mr_hook {
	/* questions, answered 1 (yes) or 0 */
	MR_HOOK_IS_ACTIVE,             /* has it anything to migrate? Absent: yes */
	MR_HOOK_IS_ACTIVE_ITERATE,     /* and in this round? Absent: yes */
	MR_HOOK_HAS_POSTCOPY,          /* can it go on in postcopy? Absent: no */
	MR_HOOK_NEEDED,                /* has the device any state to send? Absent: yes */
	MR_HOOK_SWITCHOVER_ACK_NEEDED, /* has the switch to wait for it? Absent: no */
	/* source */
	MR_HOOK_SET_PARAMS,
	MR_HOOK_SAVE_PREPARE,
	MR_HOOK_SAVE_SETUP,
	MR_HOOK_SAVE_LIVE_PENDING,
	MR_HOOK_STATE_PENDING_ESTIMATE,
	MR_HOOK_STATE_PENDING_EXACT,
	MR_HOOK_SAVE_QUERY_PENDING,
	MR_HOOK_SAVE_LIVE_ITERATE, /* 0: has more to send; above 0: none for now */
	MR_HOOK_SAVE_POSTCOPY_PREPARE,
	MR_HOOK_SAVE_LIVE_COMPLETE_PRECOPY,
	MR_HOOK_SAVE_LIVE_COMPLETE_POSTCOPY,
	MR_HOOK_SAVE_COMPLETE,
	MR_HOOK_SAVE_COMPLETE_PRECOPY_THREAD,
	MR_HOOK_SAVE_STATE, /* every device that is described has it */
	MR_HOOK_SAVE_CLEANUP,
	MR_HOOK_RESUME_PREPARE,
	/* destination */
	MR_HOOK_LOAD_SETUP,
	MR_HOOK_LOAD_STATE, /* every device that is described has it */
	MR_HOOK_LOAD_STATE_BUFFER,
	MR_HOOK_SWITCHOVER_START,
	MR_HOOK_LOAD_CLEANUP,
	MR_HOOK_COUNT
};

/* "save_live_iterate"; "unknown" if there is no such hook. */
const char *mr_hook_name(enum mr_hook hook);
/* Whether a release has this hook at all. */
bool mr_hook_is_known(const struct mr_profile *profile, enum mr_hook hook);
/* Whether its answer is yes or no. */
bool mr_hook_is_question(enum mr_hook hook);

#define MR_HOOK_BIT(hook) (UINT32_C(1) << MR_HOOK_##hook)

/* ---- Registry ---------------------------------------------------------------------------------------------------- */

/* Classes of devices whose state has to come earlier than that of others, last first (HND-003). */
enum mr_priority {
	MR_PRIORITY_DEFAULT,
	MR_PRIORITY_LOW, /* behind the default */
	MR_PRIORITY_IOMMU,
	MR_PRIORITY_PCI_BUS,
	MR_PRIORITY_VIRTIO_MEM,
	MR_PRIORITY_APIC,
	MR_PRIORITY_GICV3_ITS,
	MR_PRIORITY_GICV3,
	MR_PRIORITY_COUNT
};

#define MR_INSTANCE_NEXT UINT32_MAX /* the next free number of the name */
#define MR_ALIAS_NONE    UINT32_MAX

/* What is told at the registration. */
struct mr_handler {
	const char *path;         /* of the device on its bus; NULL: none. Copied */
	const char *name;         /* without the path. Copied */
	uint32_t instance;        /* MR_INSTANCE_NEXT, or its number (HND-002) */
	uint32_t alias;           /* another number that it goes by, or MR_ALIAS_NONE */
	uint32_t version;         /* that it writes, and the greatest that it reads */
	uint32_t minimum_version; /* the least that it reads */
	enum mr_priority priority;
	uint32_t hooks;    /* MR_HOOK_BIT() of each that it has */
	bool old_style;    /* without a description: its hooks do everything. No alias, default priority */
	bool early;        /* its FULL section stands before the RAM (HND-014) */
	bool unmigratable; /* its presence forbids a migration (HND-012) */
	void *opaque;      /* the registrant's */
};

/* A registered handler. */
struct mr_handler_entry {
	struct mr_handler handler; /* path and name are NULL here: see idstr */
	uint32_t section_id;
	uint32_t instance;      /* in section headers */
	uint32_t name_instance; /* among the handlers with a path and this bare name: what older releases sent */
	uint8_t idstr_length, name_at;
	char idstr[MR_NAME_MAX + 1]; /* path/name; the bare name stands at name_at */
};

struct mr_handlers {
	struct mr_profile profile;
	struct mr_handler_entry *entries; /* in list order (HND-003) */
	uint32_t count, capacity;
	uint32_t next_section_id;
};

/* An empty registry in the caller's memory, which has to live as long. An unknown profile is the newest release's. */
void mr_handlers_init(struct mr_handlers *handlers, const struct mr_profile *profile, struct mr_handler_entry *memory,
		      uint32_t capacity);
/*
 * Registers a handler; its section id goes to `*section_id`, which may be NULL. MR_NO_RULE, else the rule broken, with
 * one line in `error`, and nothing is changed: HND-001, HND-002, STR-027 (the registry is full).
 */
enum mr_rule mr_handlers_register(struct mr_handlers *handlers, const struct mr_handler *handler, uint32_t *section_id,
				  char error[96]);
/* Takes out the handler with this section id; its id is not given again. False if there is none. */
bool mr_handlers_unregister(struct mr_handlers *handlers, uint32_t section_id);
/*
 * Registers each device that a VMDESCRIPTION lists, as opaque bytes. The first that fails ends it, as
 * mr_handlers_register() does.
 */
enum mr_rule mr_handlers_register_description(struct mr_handlers *handlers, const struct mr_description *description,
					      char error[96]);
/* The iterable handler of this name as QEMU registers it: "ram", "block", "dirty-bitmap"; false if it is none. */
bool mr_handler_known(const char *name, struct mr_handler *handler);

/*
 * The handler that a section header names (HND-004): its place in the list; UINT32_MAX: none. Strict: the numbers that
 * only fit by accident do not fit (STR-025).
 */
uint32_t mr_handlers_find(const struct mr_handlers *handlers, struct mr_bytes idstr, uint32_t instance, bool strict);
/* The first handler that forbids a migration (HND-012); NULL if there is none. */
const struct mr_handler_entry *mr_handlers_unmigratable(const struct mr_handlers *handlers);

/* ---- Sequences --------------------------------------------------------------------------------------------------- */

/* The walks over the list, in the order of a migration. */
enum mr_phase {
	MR_PHASE_SAVE_PREPARE, /* the command `migrate` was given (HND-013) */
	MR_PHASE_SAVE_SETUP,   /* HND-014 */
	MR_PHASE_PENDING_ESTIMATE,
	MR_PHASE_PENDING_EXACT,         /* HND-016 */
	MR_PHASE_ITERATE,               /* one round (HND-015) */
	MR_PHASE_ITERATE_POSTCOPY,      /* the same behind the switch to postcopy */
	MR_PHASE_POSTCOPY_PREPARE,      /* the guest still runs (HND-017) */
	MR_PHASE_COMPLETE_FOR_POSTCOPY, /* the switch to postcopy: who cannot go on ends */
	MR_PHASE_COMPLETE_PRECOPY,      /* HND-018 */
	MR_PHASE_DEVICES,               /* the FULL sections, of precopy or in the package */
	MR_PHASE_COMPLETE_POSTCOPY,
	MR_PHASE_RESUME_PREPARE, /* before the command RESUME (HND-019) */
	MR_PHASE_SAVE_CLEANUP,   /* HND-020 */
	MR_PHASE_LOAD_SETUP,     /* HND-007 */
	MR_PHASE_SWITCHOVER_ACK, /* who wants to be waited for (HND-010) */
	MR_PHASE_SWITCHOVER_START,
	MR_PHASE_LOAD_CLEANUP, /* HND-009 */
	MR_PHASE_COUNT
};

/* What a hook that fails makes of the migration. */
enum mr_failure {
	MR_FAILURE_NONE,
	MR_FAILURE_REFUSED, /* the command `migrate` is refused: nothing has begun */
	MR_FAILURE_STREAM,  /* an error of the stream, which fails the migration where it is looked at next */
	MR_FAILURE_AT_ONCE, /* the migration fails here */
	MR_FAILURE_SWITCH,  /* the switch to postcopy does not take place */
	MR_FAILURE_PAUSED,  /* postcopy-paused again */
	MR_FAILURE_LOAD,    /* the load fails */
};

/* Who is to be called. */
struct mr_hook_call {
	uint32_t handler; /* place in the list */
	enum mr_hook hook;
	uint8_t section; /* type byte of the section that the hook writes the body of: 1 to 4; 0: none */
	bool exact;      /* SAVE_QUERY_PENDING: may take its time */
	bool final;      /* SAVE_QUERY_PENDING: the last one, the guest stands */
};

/* What handlers still have to send, in their own units: bytes, but granules of a dirty bitmap (HND-016). */
struct mr_pending {
	uint64_t precopy;  /* before the destination runs */
	uint64_t stopped;  /* the same, and only once the guest stands */
	uint64_t any;      /* before or behind the switch to postcopy */
	uint64_t postcopy; /* only behind it, or once the guest stands */
};

struct mr_sequence {
	/* may be set before the first call */
	bool strict;       /* right where releases have a defect */
	bool device_state; /* devices may send on multifd channels */
	bool final;        /* of the pending queries */
	/* may be set at any time */
	bool rate_exceeded; /* a round of ITERATE ends before its next section */
	/* results */
	enum mr_failure failure;
	int64_t error;             /* what the hook that failed said; -1 for no */
	uint32_t failed;           /* its handler */
	uint32_t called;           /* hooks that were called, but for the questions around them */
	uint32_t agreed;           /* SWITCHOVER_ACK: how many said yes */
	bool all_done;             /* ITERATE: every handler had a turn, and has no more for now */
	struct mr_pending pending; /* sums */
	/* private */
	const struct mr_handlers *handlers;
	enum mr_phase phase;
	uint32_t handler;
	unsigned pass, gate;
	bool asked, over;
	struct mr_hook_call call;
};

/* The registry must not change before the sequence is over. */
void mr_sequence_begin(struct mr_sequence *sequence, const struct mr_handlers *handlers, enum mr_phase phase);
/* The next call; the same again until it is answered. False: the sequence is over, or has failed. */
bool mr_sequence_next(struct mr_sequence *sequence, struct mr_hook_call *call);
/* What the hook said: yes or no; or below 0 a failure; 0 for a hook that says nothing. */
void mr_sequence_answer(struct mr_sequence *sequence, int64_t answer);
/* The same for the pending queries. */
void mr_sequence_answer_pending(struct mr_sequence *sequence, const struct mr_pending *pending);

/* The header and the footer of the section around a call. The footer is due even if the hook has failed. */
void mr_handler_header(const struct mr_handlers *handlers, const struct mr_hook_call *call, struct mr_record *record);
void mr_handler_footer(const struct mr_handlers *handlers, const struct mr_hook_call *call, struct mr_record *record);

/* ---- The source's turns ------------------------------------------------------------------------------------------ */

/* What has to go before the destination runs, what may go behind the switch, and both (HND-016); never overflows. */
uint64_t mr_pending_must(const struct mr_pending *pending);
uint64_t mr_pending_can(const struct mr_pending *pending);
uint64_t mr_pending_total(const struct mr_pending *pending);

enum mr_turn {
	MR_TURN_ITERATE,  /* another round */
	MR_TURN_EXACT,    /* ask again, exactly */
	MR_TURN_POSTCOPY, /* switch to postcopy */
	MR_TURN_COMPLETE, /* this phase is through */
};

/* What one turn of the source's loop goes by. */
struct mr_turn_input {
	struct mr_pending pending;
	bool exact;              /* they are of PENDING_EXACT */
	uint64_t threshold;      /* what fits into the downtime */
	bool in_postcopy;        /* behind the switch */
	bool postcopy_asked;     /* by the user */
	bool switchover_allowed; /* no ack is missing, or the guest stands (HND-010) */
};

enum mr_turn mr_turn(const struct mr_profile *profile, const struct mr_turn_input *input);

/* ---- The destination's sections ---------------------------------------------------------------------------------- */

/* What a destination remembers of one handler. Zeroed: it was not loaded yet. */
struct mr_handler_state {
	uint32_t id, version; /* as received */
	bool loaded;          /* START or FULL came */
};

struct mr_load {
	const struct mr_handlers *handlers;
	struct mr_handler_state *states; /* one for each handler, the caller's */
	bool strict;
	uint32_t wanted, approved; /* switchover acks */
	uint32_t acks;             /* to be sent */
};

/* Clears the states. */
void mr_load_init(struct mr_load *load, const struct mr_handlers *handlers, struct mr_handler_state *states,
		  bool strict);
/*
 * A section begins: START, PART, END or FULL (`kind`). MR_NO_RULE, and whose it is in `*handler`; else the rule broken,
 * with both sides of the finding, and nothing of the body may be read: HND-004, HND-005, HND-006, HND-008.
 */
enum mr_rule mr_load_section(struct mr_load *load, enum mr_kind kind, const struct mr_section *section,
			     uint32_t *handler, char expected[96], char found[96]);
/* So many handlers want to be waited for: what the sequence SWITCHOVER_ACK agreed on. */
void mr_load_want_acks(struct mr_load *load, uint32_t wanted);
/* A handler no longer wants to be waited for. */
void mr_load_approve(struct mr_load *load);

#ifdef __cplusplus
}
#endif

#endif
