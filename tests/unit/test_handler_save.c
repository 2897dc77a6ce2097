/*
 * test_handler_save.c: the walks over the list of handlers, release by release, with handlers that write down each
 * call; and what the source makes of pending amounts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "handlers.h"

enum { CAPACITY = 16, LOG_MAX = 4096, ANSWERS_MAX = 8, CALLS_MAX = 64 };

/* What a handler says to a call, other than yes, done, and 0. */
struct answer {
	const char *name;
	enum mr_hook hook;
	int64_t answer;
};

struct bench {
	struct mr_profile profile;
	struct mr_handlers handlers;
	struct mr_handler_entry memory[CAPACITY];
	struct answer answers[ANSWERS_MAX];
	struct mr_pending pending; /* of each handler that is asked */
	unsigned fails_at;         /* the n-th call that is no question fails, from 1 on; 0: none */
	unsigned calls;
	enum mr_hook failed; /* the hook that did */
	bool strict, device_state, final, fourth_exceeds;
	struct mr_sequence sequence;
	char log[LOG_MAX];
};

static void bench_init(struct bench *bench, const char *release)
{
	*bench = (struct bench){0};
	assert_int_equal(mr_profile_init(&bench->profile, release), 0);
	mr_handlers_init(&bench->handlers, &bench->profile, bench->memory, CAPACITY);
}

static void add(struct bench *bench, const struct mr_handler *handler)
{
	char error[96];

	assert_int_equal(mr_handlers_register(&bench->handlers, handler, NULL, error), MR_NO_RULE);
}

static void add_device(struct bench *bench, const char *name, bool early)
{
	add(bench, &(struct mr_handler){.name = name, .version = 1, .early = early, .hooks = MR_HOOK_BIT(NEEDED)});
}

static void add_known(struct bench *bench, const char *name, uint32_t more)
{
	struct mr_handler handler;

	assert_true(mr_handler_known(name, &handler));
	handler.hooks |= more;
	add(bench, &handler);
}

/* A guest with one of each: RAM, disk bitmaps, a device that iterates and cannot do postcopy, plain devices. */
static void bench_guest(struct bench *bench, const char *release)
{
	bench_init(bench, release);
	add_device(bench, "timer", false);
	add_known(bench, "ram", MR_HOOK_BIT(SET_PARAMS));
	add_device(bench, "virtio-mem-early", true);
	add_known(bench, "dirty-bitmap", 0);
	add(bench, &(struct mr_handler){
			   .name = "vfio",
			   .version = 1,
			   .old_style = true,
			   .hooks = MR_HOOK_BIT(SAVE_PREPARE) | MR_HOOK_BIT(SAVE_SETUP) |
				    MR_HOOK_BIT(STATE_PENDING_ESTIMATE) | MR_HOOK_BIT(STATE_PENDING_EXACT) |
				    MR_HOOK_BIT(SAVE_QUERY_PENDING) | MR_HOOK_BIT(SAVE_LIVE_PENDING) |
				    MR_HOOK_BIT(SAVE_LIVE_ITERATE) | MR_HOOK_BIT(SAVE_LIVE_COMPLETE_PRECOPY) |
				    MR_HOOK_BIT(SAVE_COMPLETE) | MR_HOOK_BIT(SAVE_COMPLETE_PRECOPY_THREAD) |
				    MR_HOOK_BIT(SAVE_STATE) | MR_HOOK_BIT(SAVE_CLEANUP) | MR_HOOK_BIT(LOAD_STATE),
		   });
	add(bench,
	    &(struct mr_handler){.name = "slirp", .old_style = true, .version = 4, .hooks = MR_HOOK_BIT(SAVE_STATE)});
}

static void say(struct bench *bench, const char *name, enum mr_hook hook, int64_t answer)
{
	unsigned place = 0;

	while (bench->answers[place].name)
		assert_true(++place < ANSWERS_MAX - 1);
	bench->answers[place] = (struct answer){name, hook, answer};
}

static int64_t answer_of(struct bench *bench, const char *name, enum mr_hook hook)
{
	for (unsigned i = 0; bench->answers[i].name; i++)
		if (strcmp(bench->answers[i].name, name) == 0 && bench->answers[i].hook == hook)
			return bench->answers[i].answer;
	if (mr_hook_is_question(hook))
		return 1;
	bench->calls++;
	if (bench->calls == bench->fails_at) {
		bench->failed = hook;
		return hook == MR_HOOK_SAVE_POSTCOPY_PREPARE || hook == MR_HOOK_SAVE_COMPLETE_PRECOPY_THREAD ? 0 : -5;
	}
	return hook == MR_HOOK_SAVE_LIVE_ITERATE || hook == MR_HOOK_SAVE_POSTCOPY_PREPARE ||
	       hook == MR_HOOK_SAVE_COMPLETE_PRECOPY_THREAD;
}

/* A handler is called: "ram.save_setup/1 "; questions are written in brackets. */
static void carry_out(struct bench *bench, const struct mr_hook_call *call)
{
	const char *name = bench->memory[call->handler].idstr;
	const size_t length = strlen(bench->log);
	const int64_t answer = answer_of(bench, name, call->hook);
	char section[8] = "";

	if (call->section)
		snprintf(section, sizeof(section), "/%u", call->section);
	snprintf(bench->log + length, sizeof(bench->log) - length,
		 mr_hook_is_question(call->hook) ? "(%s.%s) " : "%s.%s%s%s%s ", name, mr_hook_name(call->hook), section,
		 call->exact ? "!" : "", call->final ? "." : "");
	if (strstr(mr_hook_name(call->hook), "pending") && answer == 0)
		mr_sequence_answer_pending(&bench->sequence, &bench->pending);
	else
		mr_sequence_answer(&bench->sequence, answer);
}

static const char *run(struct bench *bench, enum mr_phase phase)
{
	struct mr_hook_call call, again;
	unsigned calls = 0;

	bench->log[0] = '\0';
	bench->calls = 0;
	mr_sequence_begin(&bench->sequence, &bench->handlers, phase);
	bench->sequence.strict = bench->strict;
	bench->sequence.device_state = bench->device_state;
	bench->sequence.final = bench->final;
	while (mr_sequence_next(&bench->sequence, &call)) {
		/* until it is answered, it is the same call */
		assert_true(mr_sequence_next(&bench->sequence, &again));
		assert_int_equal(again.handler, call.handler);
		assert_int_equal(again.hook, call.hook);
		carry_out(bench, &call);
		assert_true(++calls < CALLS_MAX);
		bench->sequence.rate_exceeded = bench->fourth_exceeds && calls >= 4;
	}
	/* over is over, and nobody was asked */
	mr_sequence_answer(&bench->sequence, -5);
	assert_false(mr_sequence_next(&bench->sequence, &call));
	return bench->log;
}

/* A guest of this release goes through one phase. */
static const char *run_guest(struct bench *bench, const char *release, enum mr_phase phase)
{
	bench_guest(bench, release);
	return run(bench, phase);
}

/* ---- Beginning ---- */

static void prepare_may_refuse(void **state)
{
	static struct bench bench;

	(void)state;
	/* keeps HND-013 */
	assert_string_equal(run_guest(&bench, "8.1", MR_PHASE_SAVE_PREPARE), "");
	assert_string_equal(run_guest(&bench, "8.2", MR_PHASE_SAVE_PREPARE), "vfio.save_prepare ");
	assert_int_equal(bench.sequence.failure, MR_FAILURE_NONE);
	/* breaks HND-013 */
	bench.fails_at = 1;
	run(&bench, MR_PHASE_SAVE_PREPARE);
	assert_int_equal(bench.sequence.failure, MR_FAILURE_REFUSED);
	assert_int_equal(bench.sequence.error, -5);
	assert_string_equal(bench.memory[bench.sequence.failed].idstr, "vfio");
}

static void setup_starts_sections(void **state)
{
	static struct bench bench;

	(void)state;
	/* keeps HND-014 */
	assert_string_equal(run_guest(&bench, "2.9", MR_PHASE_SAVE_SETUP),
			    "ram.set_params ram.save_setup/1 (dirty-bitmap.is_active) dirty-bitmap.save_setup/1 "
			    "vfio.save_setup/1 ");
	assert_string_equal(run_guest(&bench, "7.2", MR_PHASE_SAVE_SETUP),
			    "ram.save_setup/1 (dirty-bitmap.is_active) dirty-bitmap.save_setup/1 vfio.save_setup/1 ");
	/* early devices: in their place of the list, then before all others */
	assert_string_equal(run_guest(&bench, "8.2", MR_PHASE_SAVE_SETUP),
			    "ram.save_setup/1 (virtio-mem-early.needed) virtio-mem-early.save_state/4 "
			    "(dirty-bitmap.is_active) dirty-bitmap.save_setup/1 vfio.save_setup/1 ");
	assert_string_equal(run_guest(&bench, "11.0", MR_PHASE_SAVE_SETUP),
			    "(virtio-mem-early.needed) virtio-mem-early.save_state/4 ram.save_setup/1 "
			    "(dirty-bitmap.is_active) dirty-bitmap.save_setup/1 vfio.save_setup/1 ");
	/* who is not active, or not needed, sends nothing */
	say(&bench, "dirty-bitmap", MR_HOOK_IS_ACTIVE, 0);
	say(&bench, "virtio-mem-early", MR_HOOK_NEEDED, 0);
	assert_string_equal(run(&bench, MR_PHASE_SAVE_SETUP),
			    "(virtio-mem-early.needed) ram.save_setup/1 (dirty-bitmap.is_active) vfio.save_setup/1 ");
}

static void setup_fails(void **state)
{
	static struct bench bench;

	(void)state;
	/* breaks HND-014: an error of the stream, then the end at once */
	bench_guest(&bench, "9.0");
	bench.fails_at = 3;
	assert_string_equal(run(&bench, MR_PHASE_SAVE_SETUP),
			    "ram.save_setup/1 (virtio-mem-early.needed) virtio-mem-early.save_state/4 "
			    "(dirty-bitmap.is_active) dirty-bitmap.save_setup/1 ");
	assert_int_equal(bench.sequence.failure, MR_FAILURE_STREAM);
	bench_guest(&bench, "9.1");
	bench.fails_at = 1;
	assert_string_equal(run(&bench, MR_PHASE_SAVE_SETUP), "ram.save_setup/1 ");
	assert_int_equal(bench.sequence.failure, MR_FAILURE_AT_ONCE);
}

/* ---- Rounds ---- */

static void rounds_in_precopy(void **state)
{
	static struct bench bench;

	(void)state;
	/* keeps HND-015 */
	assert_string_equal(run_guest(&bench, "8.2", MR_PHASE_ITERATE),
			    "ram.save_live_iterate/2 (dirty-bitmap.is_active) (dirty-bitmap.is_active_iterate) "
			    "dirty-bitmap.save_live_iterate/2 vfio.save_live_iterate/2 ");
	assert_true(bench.sequence.all_done);
	/* nobody has a turn while the first has more, up to 8.2 */
	say(&bench, "ram", MR_HOOK_SAVE_LIVE_ITERATE, 0);
	assert_string_equal(run(&bench, MR_PHASE_ITERATE), "ram.save_live_iterate/2 ");
	assert_false(bench.sequence.all_done);
	bench_guest(&bench, "9.0");
	say(&bench, "ram", MR_HOOK_SAVE_LIVE_ITERATE, 0);
	say(&bench, "dirty-bitmap", MR_HOOK_IS_ACTIVE_ITERATE, 0);
	assert_string_equal(run(&bench, MR_PHASE_ITERATE),
			    "ram.save_live_iterate/2 (dirty-bitmap.is_active) (dirty-bitmap.is_active_iterate) "
			    "vfio.save_live_iterate/2 ");
	assert_false(bench.sequence.all_done);
	/* is_active_iterate came with 2.12 */
	assert_string_equal(run_guest(&bench, "2.11", MR_PHASE_ITERATE),
			    "ram.save_live_iterate/2 (dirty-bitmap.is_active) dirty-bitmap.save_live_iterate/2 "
			    "vfio.save_live_iterate/2 ");
}

static void rounds_end_early(void **state)
{
	static struct bench bench;

	(void)state;
	/* the rate is exceeded behind the fourth call: vfio has no turn; keeps HND-015 */
	bench_guest(&bench, "9.0");
	bench.fourth_exceeds = true;
	assert_string_equal(run(&bench, MR_PHASE_ITERATE),
			    "ram.save_live_iterate/2 (dirty-bitmap.is_active) (dirty-bitmap.is_active_iterate) "
			    "dirty-bitmap.save_live_iterate/2 ");
	assert_int_equal(bench.sequence.failure, MR_FAILURE_NONE);
	assert_false(bench.sequence.all_done);
	/* breaks HND-015: a failure ends the round in every release */
	bench_guest(&bench, "9.0");
	say(&bench, "ram", MR_HOOK_SAVE_LIVE_ITERATE, -28);
	assert_string_equal(run(&bench, MR_PHASE_ITERATE), "ram.save_live_iterate/2 ");
	assert_int_equal(bench.sequence.failure, MR_FAILURE_STREAM);
	assert_int_equal(bench.sequence.error, -28);
	assert_false(bench.sequence.all_done);
}

static void rounds_in_postcopy(void **state)
{
	static struct bench bench;

	(void)state;
	/* keeps HND-015 */
	assert_string_equal(run_guest(&bench, "7.2", MR_PHASE_ITERATE_POSTCOPY),
			    "(ram.has_postcopy) ram.save_live_iterate/2 (dirty-bitmap.is_active) "
			    "(dirty-bitmap.has_postcopy) (dirty-bitmap.is_active_iterate) "
			    "dirty-bitmap.save_live_iterate/2 ");
	/* before 2.11 who completes in postcopy can go on in it */
	assert_string_equal(run_guest(&bench, "2.10", MR_PHASE_ITERATE_POSTCOPY),
			    "ram.save_live_iterate/2 (dirty-bitmap.is_active) dirty-bitmap.save_live_iterate/2 ");
	bench_guest(&bench, "7.2");
	say(&bench, "ram", MR_HOOK_HAS_POSTCOPY, 0);
	say(&bench, "dirty-bitmap", MR_HOOK_IS_ACTIVE, 0);
	assert_string_equal(run(&bench, MR_PHASE_ITERATE_POSTCOPY), "(ram.has_postcopy) (dirty-bitmap.is_active) ");
}

/* ---- Pending amounts ---- */

static void pending_is_asked(void **state)
{
	static struct bench bench;

	(void)state;
	/* keeps HND-016 */
	assert_string_equal(run_guest(&bench, "7.2", MR_PHASE_PENDING_ESTIMATE),
			    "ram.save_live_pending (dirty-bitmap.is_active) dirty-bitmap.save_live_pending "
			    "vfio.save_live_pending ");
	assert_string_equal(run(&bench, MR_PHASE_PENDING_EXACT), bench.log);
	assert_string_equal(run_guest(&bench, "8.0", MR_PHASE_PENDING_ESTIMATE),
			    "ram.state_pending_estimate (dirty-bitmap.is_active) dirty-bitmap.state_pending_estimate "
			    "vfio.state_pending_estimate ");
	assert_string_equal(run(&bench, MR_PHASE_PENDING_EXACT),
			    "ram.state_pending_exact (dirty-bitmap.is_active) dirty-bitmap.state_pending_exact "
			    "vfio.state_pending_exact ");
	assert_string_equal(run_guest(&bench, "11.1", MR_PHASE_PENDING_ESTIMATE),
			    "ram.save_query_pending (dirty-bitmap.is_active) dirty-bitmap.save_query_pending "
			    "vfio.save_query_pending ");
	bench.final = true;
	assert_string_equal(run(&bench, MR_PHASE_PENDING_EXACT),
			    "ram.save_query_pending!. (dirty-bitmap.is_active) dirty-bitmap.save_query_pending!. "
			    "vfio.save_query_pending!. ");
}

static void pending_adds_up(void **state)
{
	static struct bench bench;

	(void)state;
	bench_guest(&bench, "8.2");
	bench.pending = (struct mr_pending){1, 20, 300, 4000};
	run(&bench, MR_PHASE_PENDING_ESTIMATE);
	assert_true(bench.sequence.pending.precopy == 3 && bench.sequence.pending.stopped == 60);
	assert_true(mr_pending_must(&bench.sequence.pending) == 63);
	assert_true(mr_pending_can(&bench.sequence.pending) == 12900);
	assert_true(mr_pending_total(&bench.sequence.pending) == 12963);
	/* sums stay where they are at their end */
	bench.pending = (struct mr_pending){UINT64_MAX - 1, 2, UINT64_MAX, 1};
	run(&bench, MR_PHASE_PENDING_ESTIMATE);
	assert_true(bench.sequence.pending.precopy == UINT64_MAX && bench.sequence.pending.stopped == 6);
	assert_true(mr_pending_must(&bench.sequence.pending) == UINT64_MAX);
	assert_true(mr_pending_total(&bench.sequence.pending) == UINT64_MAX);
	/* a query that fails */
	say(&bench, "ram", MR_HOOK_STATE_PENDING_ESTIMATE, -5);
	run(&bench, MR_PHASE_PENDING_ESTIMATE);
	assert_int_equal(bench.sequence.failure, MR_FAILURE_STREAM);
	/* amounts that nobody asked for change nothing */
	mr_sequence_begin(&bench.sequence, &bench.handlers, MR_PHASE_SAVE_CLEANUP);
	mr_sequence_answer_pending(&bench.sequence, &bench.pending);
	assert_true(bench.sequence.pending.precopy == 0);
}

static enum mr_turn turn(const char *release, uint64_t must, uint64_t can, const char *flags)
{
	struct mr_turn_input input = {
		.pending = {.precopy = must, .postcopy = can},
		.threshold = 100,
		.exact = strchr(flags, 'e') != NULL,
		.in_postcopy = strchr(flags, 'p') != NULL,
		.postcopy_asked = strchr(flags, 'u') != NULL,
		.switchover_allowed = strchr(flags, 'a') != NULL,
	};
	struct mr_profile profile;

	assert_int_equal(mr_profile_init(&profile, release), 0);
	return mr_turn(&profile, &input);
}

/* Flags: exact, in postcopy, asked by the user, switchover allowed. */
static void turns(void **state)
{
	static const struct {
		const char *release;
		uint64_t must, can;
		const char *flags;
		enum mr_turn turn;
	} rows[] = {
		/* up to 7.2: below the threshold, or nothing at all; keeps HND-016 */
		{"7.2", 0, 0, "a", MR_TURN_COMPLETE},
		{"7.2", 99, 0, "a", MR_TURN_COMPLETE},
		{"7.2", 100, 0, "a", MR_TURN_ITERATE},
		{"7.2", 0, 99, "ua", MR_TURN_COMPLETE},
		{"7.2", 0, 100, "ua", MR_TURN_POSTCOPY},
		{"7.2", 100, 1, "ua", MR_TURN_POSTCOPY},
		{"7.2", 101, 0, "ua", MR_TURN_ITERATE},
		{"7.2", 0, 100, "a", MR_TURN_ITERATE},
		{"7.2", 0, 99, "p", MR_TURN_COMPLETE},
		{"7.2", 0, 100, "p", MR_TURN_ITERATE},
		/* 8.0 to 10.0: an exact look first, and the gate */
		{"8.0", 100, 900, "a", MR_TURN_EXACT},
		{"8.0", 101, 0, "a", MR_TURN_ITERATE},
		{"8.0", 99, 0, "ea", MR_TURN_COMPLETE},
		{"8.1", 99, 0, "e", MR_TURN_ITERATE},
		{"8.1", 0, 900, "ue", MR_TURN_ITERATE},
		{"8.1", 0, 900, "uea", MR_TURN_POSTCOPY},
		{"9.2", 0, 900, "ua", MR_TURN_POSTCOPY},
		{"9.2", 0, 100, "a", MR_TURN_ITERATE},
		{"9.2", 0, 99, "a", MR_TURN_EXACT},
		{"10.0", 0, 0, "uea", MR_TURN_COMPLETE},
		{"10.0", 100, 0, "ea", MR_TURN_ITERATE},
		{"10.0", 0, 50, "p", MR_TURN_COMPLETE},
		/* from 10.1 on: postcopy is asked first, and ends empty */
		{"10.1", 0, 0, "uea", MR_TURN_POSTCOPY},
		{"10.1", 0, 0, "ea", MR_TURN_COMPLETE},
		{"10.1", 100, 0, "ea", MR_TURN_COMPLETE},
		{"10.1", 100, 1, "ea", MR_TURN_ITERATE},
		{"10.1", 101, 0, "uea", MR_TURN_ITERATE},
		{"10.1", 0, 1, "p", MR_TURN_ITERATE},
		{"10.1", 0, 0, "p", MR_TURN_COMPLETE},
		{"11.1", 0, 900, "ua", MR_TURN_EXACT},
		{"11.1", 1, 99, "a", MR_TURN_EXACT},
		{"11.1", 1, 100, "ua", MR_TURN_POSTCOPY},
		{"11.1", 0, 0, "ue", MR_TURN_ITERATE},
		/* more than a number holds is not little; breaks HND-016 if sums wrapped */
		{"11.1", UINT64_MAX, UINT64_MAX, "uea", MR_TURN_ITERATE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (turn(rows[i].release, rows[i].must, rows[i].can, rows[i].flags) != rows[i].turn)
			fail_msg("row %zu: %s %" PRIu64 " %" PRIu64 " \"%s\"", i, rows[i].release, rows[i].must,
				 rows[i].can, rows[i].flags);
}

/* ---- Switch and completion ---- */

static void switch_to_postcopy(void **state)
{
	static struct bench bench;

	(void)state;
	/* keeps HND-017 */
	assert_string_equal(run_guest(&bench, "7.2", MR_PHASE_COMPLETE_FOR_POSTCOPY),
			    "(ram.has_postcopy) (dirty-bitmap.is_active) (dirty-bitmap.has_postcopy) "
			    "vfio.save_live_complete_precopy/3 ");
	assert_string_equal(run_guest(&bench, "10.1", MR_PHASE_COMPLETE_FOR_POSTCOPY),
			    "(ram.has_postcopy) (dirty-bitmap.is_active) (dirty-bitmap.has_postcopy) "
			    "vfio.save_complete/3 ");
	assert_string_equal(run_guest(&bench, "2.10", MR_PHASE_COMPLETE_FOR_POSTCOPY),
			    "(dirty-bitmap.is_active) vfio.save_live_complete_precopy/3 ");
	say(&bench, "dirty-bitmap", MR_HOOK_IS_ACTIVE, 0);
	assert_string_equal(run(&bench, MR_PHASE_COMPLETE_FOR_POSTCOPY),
			    "(dirty-bitmap.is_active) vfio.save_live_complete_precopy/3 ");
	bench_guest(&bench, "7.2");
	say(&bench, "ram", MR_HOOK_HAS_POSTCOPY, 0);
	assert_string_equal(run(&bench, MR_PHASE_COMPLETE_FOR_POSTCOPY),
			    "(ram.has_postcopy) ram.save_live_complete_precopy/3 (dirty-bitmap.is_active) "
			    "(dirty-bitmap.has_postcopy) vfio.save_live_complete_precopy/3 ");
	/* the PART before it, and its refusal: breaks HND-017 */
	assert_string_equal(run_guest(&bench, "10.0", MR_PHASE_POSTCOPY_PREPARE), "");
	assert_string_equal(run_guest(&bench, "10.1", MR_PHASE_POSTCOPY_PREPARE), "ram.save_postcopy_prepare/2 ");
	bench.fails_at = 1;
	run(&bench, MR_PHASE_POSTCOPY_PREPARE);
	assert_int_equal(bench.sequence.failure, MR_FAILURE_SWITCH);
	assert_int_equal(bench.sequence.error, -1);
}

static void completion(void **state)
{
	static struct bench bench;

	(void)state;
	/* keeps HND-018 */
	assert_string_equal(run_guest(&bench, "7.2", MR_PHASE_COMPLETE_PRECOPY),
			    "ram.save_live_complete_precopy/3 (dirty-bitmap.is_active) "
			    "dirty-bitmap.save_live_complete_precopy/3 vfio.save_live_complete_precopy/3 ");
	bench_guest(&bench, "10.1");
	bench.device_state = true;
	assert_string_equal(run(&bench, MR_PHASE_COMPLETE_PRECOPY),
			    "vfio.save_complete_precopy_thread ram.save_complete/3 (dirty-bitmap.is_active) "
			    "dirty-bitmap.save_complete/3 vfio.save_complete/3 ");
	assert_string_equal(run_guest(&bench, "10.0", MR_PHASE_COMPLETE_POSTCOPY),
			    "ram.save_live_complete_postcopy/3 (dirty-bitmap.is_active) "
			    "dirty-bitmap.save_live_complete_postcopy/3 ");
	/* from 10.1 on who ended at the switch ends again, unless one is strict; breaks HND-018 */
	assert_string_equal(run_guest(&bench, "10.1", MR_PHASE_COMPLETE_POSTCOPY),
			    "ram.save_complete/3 (dirty-bitmap.is_active) dirty-bitmap.save_complete/3 "
			    "vfio.save_complete/3 ");
	bench.strict = true;
	assert_string_equal(run(&bench, MR_PHASE_COMPLETE_POSTCOPY),
			    "(ram.has_postcopy) ram.save_complete/3 (dirty-bitmap.is_active) "
			    "(dirty-bitmap.has_postcopy) dirty-bitmap.save_complete/3 ");
	run(&bench, MR_PHASE_COMPLETE_PRECOPY);
	assert_int_equal(bench.sequence.called, 3);
	/* devices, in list order, in FULL sections */
	assert_string_equal(run_guest(&bench, "7.2", MR_PHASE_DEVICES),
			    "(timer.needed) timer.save_state/4 (virtio-mem-early.needed) virtio-mem-early.save_state/4 "
			    "vfio.save_state/4 slirp.save_state/4 ");
	bench_guest(&bench, "8.2");
	say(&bench, "timer", MR_HOOK_NEEDED, 0);
	assert_string_equal(run(&bench, MR_PHASE_DEVICES), "(timer.needed) vfio.save_state/4 slirp.save_state/4 ");
}

/* What an old-style save_state says is not heard; a described device fails. */
static void devices_fail(void **state)
{
	static struct bench bench;

	(void)state;
	bench_guest(&bench, "8.2");
	say(&bench, "vfio", MR_HOOK_SAVE_STATE, -5);
	run(&bench, MR_PHASE_DEVICES);
	assert_int_equal(bench.sequence.failure, MR_FAILURE_NONE);
	say(&bench, "timer", MR_HOOK_SAVE_STATE, -5);
	assert_string_equal(run(&bench, MR_PHASE_DEVICES), "(timer.needed) timer.save_state/4 ");
	assert_int_equal(bench.sequence.failure, MR_FAILURE_STREAM);
}

/* ---- Recovery and end ---- */

static void resume_and_cleanup(void **state)
{
	static struct bench bench;

	(void)state;
	/* keeps HND-019 */
	assert_string_equal(run_guest(&bench, "2.12", MR_PHASE_RESUME_PREPARE), "");
	assert_string_equal(run_guest(&bench, "7.2", MR_PHASE_RESUME_PREPARE), "ram.resume_prepare ");
	/* breaks HND-019 */
	bench.fails_at = 1;
	run(&bench, MR_PHASE_RESUME_PREPARE);
	assert_int_equal(bench.sequence.failure, MR_FAILURE_PAUSED);
	/* everybody, active or not, whatever they say; keeps HND-020, breaks HND-020 */
	say(&bench, "dirty-bitmap", MR_HOOK_IS_ACTIVE, 0);
	say(&bench, "ram", MR_HOOK_SAVE_CLEANUP, -5);
	assert_string_equal(run(&bench, MR_PHASE_SAVE_CLEANUP),
			    "ram.save_cleanup dirty-bitmap.save_cleanup vfio.save_cleanup ");
	assert_int_equal(bench.sequence.failure, MR_FAILURE_NONE);
	assert_int_equal(bench.sequence.called, 3);
}

/* ---- Every phase, every release, every call that fails ---- */

static const char *const releases[] = {"2.5", "2.9", "2.10", "2.12", "7.2",  "8.0",  "8.2",
				       "9.0", "9.1", "10.0", "10.1", "10.2", "11.0", "11.1"};

static bool can_fail(enum mr_hook hook)
{
	return hook != MR_HOOK_SET_PARAMS && hook != MR_HOOK_SAVE_CLEANUP;
}

static void each_call_fails(const char *release, enum mr_phase phase)
{
	static struct bench bench;
	unsigned count;
	char whole[LOG_MAX];

	bench_guest(&bench, release);
	bench.device_state = true;
	memcpy(whole, run(&bench, phase), LOG_MAX);
	count = bench.calls;
	assert_int_equal(bench.sequence.failure, MR_FAILURE_NONE);
	assert_int_equal(bench.sequence.called, count);
	for (unsigned nth = 1; nth <= count; nth++) {
		bench.fails_at = nth;
		run(&bench, phase);
		/* up to there it is the same, and there it ends */
		assert_memory_equal(bench.log, whole, strlen(bench.log));
		if (can_fail(bench.failed)) {
			assert_int_not_equal(bench.sequence.failure, MR_FAILURE_NONE);
			assert_true(bench.sequence.error < 0);
			assert_int_equal(bench.calls, nth);
		} else {
			assert_string_equal(bench.log, whole);
		}
	}
}

static void every_call_fails_in_turn(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(releases) / sizeof(releases[0]); i++)
		for (int phase = 0; phase < MR_PHASE_SWITCHOVER_ACK; phase++)
			if (phase != MR_PHASE_DEVICES)
				each_call_fails(releases[i], (enum mr_phase)phase);
}

static void an_empty_registry_calls_nobody(void **state)
{
	static struct bench bench;

	(void)state;
	for (int phase = 0; phase < MR_PHASE_COUNT; phase++) {
		bench_init(&bench, "11.1");
		assert_string_equal(run(&bench, (enum mr_phase)phase), "");
		assert_int_equal(bench.sequence.failure, MR_FAILURE_NONE);
	}
}

static void hooks_have_names(void **state)
{
	struct mr_profile profile;

	(void)state;
	assert_int_equal(mr_profile_init(&profile, "7.2"), 0);
	for (int hook = 0; hook < MR_HOOK_COUNT; hook++)
		assert_string_not_equal(mr_hook_name((enum mr_hook)hook), "unknown");
	assert_string_equal(mr_hook_name(MR_HOOK_COUNT), "unknown");
	assert_false(mr_hook_is_known(&profile, MR_HOOK_COUNT));
	assert_false(mr_hook_is_question(MR_HOOK_COUNT));
	assert_true(mr_hook_is_known(&profile, MR_HOOK_SAVE_LIVE_COMPLETE_POSTCOPY));
	assert_false(mr_hook_is_known(&profile, MR_HOOK_SAVE_COMPLETE));
	assert_false(mr_hook_is_known(&profile, MR_HOOK_LOAD_STATE_BUFFER));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prepare_may_refuse),
		cmocka_unit_test(setup_starts_sections),
		cmocka_unit_test(setup_fails),
		cmocka_unit_test(rounds_in_precopy),
		cmocka_unit_test(rounds_end_early),
		cmocka_unit_test(rounds_in_postcopy),
		cmocka_unit_test(pending_is_asked),
		cmocka_unit_test(pending_adds_up),
		cmocka_unit_test(turns),
		cmocka_unit_test(switch_to_postcopy),
		cmocka_unit_test(completion),
		cmocka_unit_test(devices_fail),
		cmocka_unit_test(resume_and_cleanup),
		cmocka_unit_test(every_call_fails_in_turn),
		cmocka_unit_test(an_empty_registry_calls_nobody),
		cmocka_unit_test(hooks_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
