/* hooks.c: the walks over the list of handlers, on both sides: who is called for what, who is passed over, what ends.
 */
#include "handlers.h"
#include "wire/wire.h"

/* ---- Hooks ---- */

/* What an answer means. */
enum kind {
	QUESTION, /* yes or no */
	SILENT,   /* nothing */
	STATUS,   /* below 0: a failure */
	CONSENT,  /* no: a failure */
	ROUND,    /* below 0: a failure; 0: there is more */
	AMOUNT,   /* the pending queries */
};

static const struct row {
	const char *name;
	enum kind kind;
	int known_by; /* a switch; -1: every release has it */
	bool without; /* by the releases without the switch */
} rows[MR_HOOK_COUNT] = {
	[MR_HOOK_IS_ACTIVE] = {"is_active", QUESTION, -1, false},
	[MR_HOOK_IS_ACTIVE_ITERATE] = {"is_active_iterate", QUESTION, MR_SWITCH_HOOK_IS_ACTIVE_ITERATE, false},
	[MR_HOOK_HAS_POSTCOPY] = {"has_postcopy", QUESTION, MR_SWITCH_HOOK_HAS_POSTCOPY, false},
	[MR_HOOK_NEEDED] = {"needed", QUESTION, -1, false},
	[MR_HOOK_SWITCHOVER_ACK_NEEDED] = {"switchover_ack_needed", QUESTION, MR_SWITCH_SWITCHOVER_ACK_ONCE, false},
	[MR_HOOK_SET_PARAMS] = {"set_params", SILENT, MR_SWITCH_HOOK_SET_PARAMS, false},
	[MR_HOOK_SAVE_PREPARE] = {"save_prepare", STATUS, MR_SWITCH_HOOK_SAVE_PREPARE, false},
	[MR_HOOK_SAVE_SETUP] = {"save_setup", STATUS, -1, false},
	[MR_HOOK_SAVE_LIVE_PENDING] = {"save_live_pending", AMOUNT, MR_SWITCH_PENDING_ONE, false},
	[MR_HOOK_STATE_PENDING_ESTIMATE] = {"state_pending_estimate", AMOUNT, MR_SWITCH_PENDING_TWO, false},
	[MR_HOOK_STATE_PENDING_EXACT] = {"state_pending_exact", AMOUNT, MR_SWITCH_PENDING_TWO, false},
	[MR_HOOK_SAVE_QUERY_PENDING] = {"save_query_pending", AMOUNT, MR_SWITCH_PENDING_QUERY, false},
	[MR_HOOK_SAVE_LIVE_ITERATE] = {"save_live_iterate", ROUND, -1, false},
	[MR_HOOK_SAVE_POSTCOPY_PREPARE] = {"save_postcopy_prepare", CONSENT, MR_SWITCH_POSTCOPY_EXTRA_PART, false},
	[MR_HOOK_SAVE_LIVE_COMPLETE_PRECOPY] = {"save_live_complete_precopy", STATUS, MR_SWITCH_SAVE_COMPLETE, true},
	[MR_HOOK_SAVE_LIVE_COMPLETE_POSTCOPY] = {"save_live_complete_postcopy", STATUS, MR_SWITCH_SAVE_COMPLETE, true},
	[MR_HOOK_SAVE_COMPLETE] = {"save_complete", STATUS, MR_SWITCH_SAVE_COMPLETE, false},
	[MR_HOOK_SAVE_COMPLETE_PRECOPY_THREAD] = {"save_complete_precopy_thread", CONSENT,
						  MR_SWITCH_DEVICE_STATE_PACKETS, false},
	[MR_HOOK_SAVE_STATE] = {"save_state", STATUS, -1, false},
	[MR_HOOK_SAVE_CLEANUP] = {"save_cleanup", SILENT, -1, false},
	[MR_HOOK_RESUME_PREPARE] = {"resume_prepare", STATUS, MR_SWITCH_RECOVERY, false},
	[MR_HOOK_LOAD_SETUP] = {"load_setup", STATUS, MR_SWITCH_HOOK_LOAD_SETUP, false},
	[MR_HOOK_LOAD_STATE] = {"load_state", STATUS, -1, false},
	[MR_HOOK_LOAD_STATE_BUFFER] = {"load_state_buffer", CONSENT, MR_SWITCH_DEVICE_STATE_PACKETS, false},
	[MR_HOOK_SWITCHOVER_START] = {"switchover_start", STATUS, MR_SWITCH_HOOK_SWITCHOVER_START, false},
	[MR_HOOK_LOAD_CLEANUP] = {"load_cleanup", SILENT, MR_SWITCH_HOOK_LOAD_SETUP, false},
};

const char *mr_hook_name(enum mr_hook hook)
{
	return (unsigned)hook < MR_HOOK_COUNT ? rows[hook].name : "unknown";
}

bool mr_hook_is_known(const struct mr_profile *profile, enum mr_hook hook)
{
	const struct row *row;

	if ((unsigned)hook >= MR_HOOK_COUNT)
		return false;
	row = &rows[hook];
	return row->known_by < 0 || mr_profile_does(profile, (enum mr_switch)row->known_by) != row->without;
}

bool mr_hook_is_question(enum mr_hook hook)
{
	return (unsigned)hook < MR_HOOK_COUNT && rows[hook].kind == QUESTION;
}

/* ---- Phases ---- */

/* What lets a handler pass, asked in this order. */
enum gate {
	IS_EARLY,
	IS_LATE,
	MAY_SEND_STATE,
	IS_ACTIVE,
	HAS_POSTCOPY,
	HAS_NO_POSTCOPY,
	IS_ITERATING,
	IS_NEEDED,
	GATES
};

#define GATE(gate) (1u << (gate))

/* One walk over the list. */
struct pass {
	enum mr_hook hook;
	uint8_t section;
	bool joined; /* the next pass is made with this one, handler by handler */
	unsigned gates;
};

enum { PASSES_MAX = 3, ACTIVE = GATE(IS_ACTIVE), NEEDED = GATE(IS_NEEDED) };

static const struct phase {
	unsigned count;
	enum mr_failure failure;
	struct pass passes[PASSES_MAX];
} phases[MR_PHASE_COUNT] = {
	[MR_PHASE_SAVE_PREPARE] = {1, MR_FAILURE_REFUSED, {{MR_HOOK_SAVE_PREPARE, 0, false, ACTIVE}}},
	[MR_PHASE_SAVE_SETUP] = {3,
				 MR_FAILURE_STREAM,
				 {{MR_HOOK_SET_PARAMS, 0, false, 0},
				  {MR_HOOK_SAVE_STATE, TYPE_FULL, true, GATE(IS_EARLY) | NEEDED},
				  {MR_HOOK_SAVE_SETUP, TYPE_START, false, ACTIVE}}},
	[MR_PHASE_PENDING_ESTIMATE] = {3,
				       MR_FAILURE_STREAM,
				       {{MR_HOOK_SAVE_LIVE_PENDING, 0, false, ACTIVE},
					{MR_HOOK_STATE_PENDING_ESTIMATE, 0, false, ACTIVE},
					{MR_HOOK_SAVE_QUERY_PENDING, 0, false, ACTIVE}}},
	[MR_PHASE_PENDING_EXACT] = {3,
				    MR_FAILURE_STREAM,
				    {{MR_HOOK_SAVE_LIVE_PENDING, 0, false, ACTIVE},
				     {MR_HOOK_STATE_PENDING_EXACT, 0, false, ACTIVE},
				     {MR_HOOK_SAVE_QUERY_PENDING, 0, false, ACTIVE}}},
	[MR_PHASE_ITERATE] = {1,
			      MR_FAILURE_STREAM,
			      {{MR_HOOK_SAVE_LIVE_ITERATE, TYPE_PART, false, ACTIVE | GATE(IS_ITERATING)}}},
	[MR_PHASE_ITERATE_POSTCOPY] = {1,
				       MR_FAILURE_STREAM,
				       {{MR_HOOK_SAVE_LIVE_ITERATE, TYPE_PART, false,
					 ACTIVE | GATE(HAS_POSTCOPY) | GATE(IS_ITERATING)}}},
	[MR_PHASE_POSTCOPY_PREPARE] = {1,
				       MR_FAILURE_SWITCH,
				       {{MR_HOOK_SAVE_POSTCOPY_PREPARE, TYPE_PART, false, ACTIVE}}},
	[MR_PHASE_COMPLETE_FOR_POSTCOPY] = {2,
					    MR_FAILURE_STREAM,
					    {{MR_HOOK_SAVE_LIVE_COMPLETE_PRECOPY, TYPE_END, false,
					      ACTIVE | GATE(HAS_NO_POSTCOPY)},
					     {MR_HOOK_SAVE_COMPLETE, TYPE_END, false, ACTIVE | GATE(HAS_NO_POSTCOPY)}}},
	[MR_PHASE_COMPLETE_PRECOPY] = {3,
				       MR_FAILURE_STREAM,
				       {{MR_HOOK_SAVE_COMPLETE_PRECOPY_THREAD, 0, false, GATE(MAY_SEND_STATE)},
					{MR_HOOK_SAVE_LIVE_COMPLETE_PRECOPY, TYPE_END, false, ACTIVE},
					{MR_HOOK_SAVE_COMPLETE, TYPE_END, false, ACTIVE}}},
	[MR_PHASE_DEVICES] = {1, MR_FAILURE_STREAM, {{MR_HOOK_SAVE_STATE, TYPE_FULL, false, GATE(IS_LATE) | NEEDED}}},
	[MR_PHASE_COMPLETE_POSTCOPY] = {2,
					MR_FAILURE_STREAM,
					{{MR_HOOK_SAVE_LIVE_COMPLETE_POSTCOPY, TYPE_END, false, ACTIVE},
					 {MR_HOOK_SAVE_COMPLETE, TYPE_END, false, ACTIVE}}},
	[MR_PHASE_RESUME_PREPARE] = {1, MR_FAILURE_PAUSED, {{MR_HOOK_RESUME_PREPARE, 0, false, ACTIVE}}},
	[MR_PHASE_SAVE_CLEANUP] = {1, MR_FAILURE_NONE, {{MR_HOOK_SAVE_CLEANUP, 0, false, 0}}},
	[MR_PHASE_LOAD_SETUP] = {1, MR_FAILURE_LOAD, {{MR_HOOK_LOAD_SETUP, 0, false, ACTIVE}}},
	[MR_PHASE_SWITCHOVER_ACK] = {1, MR_FAILURE_NONE, {{MR_HOOK_SWITCHOVER_ACK_NEEDED, 0, false, 0}}},
	[MR_PHASE_SWITCHOVER_START] = {1, MR_FAILURE_LOAD, {{MR_HOOK_SWITCHOVER_START, 0, false, 0}}},
	[MR_PHASE_LOAD_CLEANUP] = {1, MR_FAILURE_NONE, {{MR_HOOK_LOAD_CLEANUP, 0, false, 0}}},
};

static bool does(const struct mr_sequence *sequence, enum mr_switch which)
{
	return mr_profile_does(&sequence->handlers->profile, which);
}

static const struct pass *pass_at(const struct mr_sequence *sequence, unsigned pass)
{
	return &phases[sequence->phase].passes[pass];
}

/* ---- The next handler ---- */

/* Early devices once stood among the START sections, where the list has them. */
static bool is_joined(const struct mr_sequence *sequence, unsigned pass)
{
	return pass_at(sequence, pass)->joined && !does(sequence, MR_SWITCH_EARLY_DEVICES_FIRST);
}

static void advance(struct mr_sequence *sequence)
{
	sequence->gate = 0;
	if (is_joined(sequence, sequence->pass)) {
		sequence->pass++;
		return;
	}
	if (++sequence->handler < sequence->handlers->count) {
		while (sequence->pass && is_joined(sequence, sequence->pass - 1))
			sequence->pass--;
		return;
	}
	sequence->handler = 0;
	sequence->over = ++sequence->pass == phases[sequence->phase].count;
}

void mr_sequence_begin(struct mr_sequence *sequence, const struct mr_handlers *handlers, enum mr_phase phase)
{
	*sequence = (struct mr_sequence){
		.handlers = handlers,
		.phase = phase,
		.over = handlers->count == 0,
		.all_done = true,
	};
}

/* ---- Gates ---- */

enum verdict { PASSES, IS_SKIPPED, IS_ASKED };

static bool has_hook(const struct mr_sequence *sequence, enum mr_hook hook)
{
	const struct mr_handler *handler = &sequence->handlers->entries[sequence->handler].handler;

	return handler->hooks >> hook & 1 && mr_hook_is_known(&sequence->handlers->profile, hook);
}

static enum verdict ask(const struct mr_sequence *sequence, enum mr_hook hook, bool absent, enum mr_hook *asked)
{
	*asked = hook;
	if (has_hook(sequence, hook))
		return IS_ASKED;
	return absent ? PASSES : IS_SKIPPED;
}

/* Before the question was asked, whoever had something to complete in postcopy could go on in it. */
static enum verdict look_at_postcopy(const struct mr_sequence *sequence, bool wanted, enum mr_hook *asked)
{
	if (mr_hook_is_known(&sequence->handlers->profile, MR_HOOK_HAS_POSTCOPY))
		return ask(sequence, MR_HOOK_HAS_POSTCOPY, !wanted, asked);
	return has_hook(sequence, MR_HOOK_SAVE_LIVE_COMPLETE_POSTCOPY) == wanted ? PASSES : IS_SKIPPED;
}

static enum verdict look(const struct mr_sequence *sequence, enum gate gate, enum mr_hook *asked)
{
	const bool early =
		sequence->handlers->entries[sequence->handler].handler.early && does(sequence, MR_SWITCH_EARLY_DEVICES);

	switch (gate) {
	case IS_EARLY:
		return early ? PASSES : IS_SKIPPED;
	case IS_LATE:
		return early ? IS_SKIPPED : PASSES;
	case MAY_SEND_STATE:
		return sequence->device_state ? PASSES : IS_SKIPPED;
	case IS_ACTIVE:
		return ask(sequence, MR_HOOK_IS_ACTIVE, true, asked);
	case HAS_POSTCOPY:
		return look_at_postcopy(sequence, true, asked);
	case HAS_NO_POSTCOPY:
		return look_at_postcopy(sequence, false, asked);
	case IS_ITERATING:
		return ask(sequence, MR_HOOK_IS_ACTIVE_ITERATE, true, asked);
	default:
		return ask(sequence, MR_HOOK_NEEDED, true, asked);
	}
}

static unsigned gates_of(const struct mr_sequence *sequence)
{
	const unsigned gates = pass_at(sequence, sequence->pass)->gates;

	/* Releases end everybody once more (HND-018). */
	return sequence->strict && sequence->phase == MR_PHASE_COMPLETE_POSTCOPY ? gates | GATE(HAS_POSTCOPY) : gates;
}

/* ---- Calls ---- */

static bool call_hook(struct mr_sequence *sequence, struct mr_hook_call *call, enum mr_hook hook, uint8_t section)
{
	const bool query = hook == MR_HOOK_SAVE_QUERY_PENDING;

	sequence->asked = true;
	sequence->call = (struct mr_hook_call){
		.handler = sequence->handler,
		.hook = hook,
		.section = section,
		.exact = query && sequence->phase == MR_PHASE_PENDING_EXACT,
		.final = query && sequence->final,
	};
	*call = sequence->call;
	return true;
}

/* The hook of the pass itself, once the gates are behind. True if it is to be called. */
static bool call_main(struct mr_sequence *sequence, struct mr_hook_call *call)
{
	const struct pass *pass = pass_at(sequence, sequence->pass);

	if (pass->hook == MR_HOOK_SAVE_LIVE_ITERATE && sequence->rate_exceeded) {
		sequence->all_done = false;
		sequence->over = true;
		return false;
	}
	sequence->called++;
	return call_hook(sequence, call, pass->hook, pass->section);
}

bool mr_sequence_next(struct mr_sequence *sequence, struct mr_hook_call *call)
{
	if (sequence->asked) {
		*call = sequence->call;
		return true;
	}
	while (!sequence->over) {
		const unsigned gates = gates_of(sequence);
		enum verdict verdict = PASSES;
		enum mr_hook asked = MR_HOOK_COUNT;

		if (!has_hook(sequence, pass_at(sequence, sequence->pass)->hook)) {
			advance(sequence);
			continue;
		}
		while (sequence->gate < GATES && verdict == PASSES) {
			if (gates & GATE(sequence->gate))
				verdict = look(sequence, (enum gate)sequence->gate, &asked);
			sequence->gate += verdict == PASSES;
		}
		if (verdict == IS_ASKED)
			return call_hook(sequence, call, asked, 0);
		if (verdict == PASSES)
			return call_main(sequence, call);
		advance(sequence);
	}
	return false;
}

/* ---- Answers ---- */

static void fail(struct mr_sequence *sequence, int64_t error)
{
	const bool at_once = sequence->phase == MR_PHASE_SAVE_SETUP && does(sequence, MR_SWITCH_SETUP_FAILS_AT_ONCE);

	sequence->failure = at_once ? MR_FAILURE_AT_ONCE : phases[sequence->phase].failure;
	sequence->error = error;
	sequence->failed = sequence->handler;
	sequence->all_done = false;
	sequence->over = true;
}

/* A round serves the next handler once this one has no more; later releases serve them all. */
static void answer_round(struct mr_sequence *sequence, int64_t answer)
{
	if (answer > 0) {
		advance(sequence);
		return;
	}
	sequence->all_done = false;
	if (does(sequence, MR_SWITCH_PART_OF_EVERY_HANDLER))
		advance(sequence);
	else
		sequence->over = true;
}

static void answer_main(struct mr_sequence *sequence, int64_t answer)
{
	const bool old_state = sequence->call.hook == MR_HOOK_SAVE_STATE &&
			       sequence->handlers->entries[sequence->handler].handler.old_style;
	const enum kind kind = old_state ? SILENT : rows[sequence->call.hook].kind;

	if ((kind == STATUS || kind == ROUND || kind == AMOUNT) && answer < 0) {
		fail(sequence, answer);
		return;
	}
	if (kind == CONSENT && answer == 0) {
		fail(sequence, -1);
		return;
	}
	if (kind == QUESTION)
		sequence->agreed += answer != 0;
	if (kind == ROUND)
		answer_round(sequence, answer);
	else
		advance(sequence);
}

void mr_sequence_answer(struct mr_sequence *sequence, int64_t answer)
{
	if (!sequence->asked)
		return;
	sequence->asked = false;
	if (sequence->gate == GATES)
		answer_main(sequence, answer);
	else if ((answer != 0) != (sequence->gate == HAS_NO_POSTCOPY))
		sequence->gate++;
	else
		advance(sequence);
}

static void add(uint64_t *sum, uint64_t amount)
{
	*sum = *sum > UINT64_MAX - amount ? UINT64_MAX : *sum + amount;
}

void mr_sequence_answer_pending(struct mr_sequence *sequence, const struct mr_pending *pending)
{
	if (!sequence->asked)
		return;
	if (rows[sequence->call.hook].kind == AMOUNT) {
		add(&sequence->pending.precopy, pending->precopy);
		add(&sequence->pending.stopped, pending->stopped);
		add(&sequence->pending.any, pending->any);
		add(&sequence->pending.postcopy, pending->postcopy);
	}
	mr_sequence_answer(sequence, 0);
}
