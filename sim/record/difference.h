/* difference.h: the first place where trace and machine part, with what stands around it on both sides. */
#ifndef MR_RECORD_DIFFERENCE_H
#define MR_RECORD_DIFFERENCE_H

#include "sim/record/actions.h"

enum {
	MR_CONTEXT = 3, /* lines before and behind */
	MR_CONTEXT_LINES = 2 * MR_CONTEXT + 1,
	MR_CONTEXT_TEXT = 240,
};

/* The last actions of the machine, as text. */
struct mr_recent {
	char text[MR_CONTEXT + 1][MR_CONTEXT_TEXT];
	uint64_t count; /* of all actions so far; the last one stands at (count - 1) % (MR_CONTEXT + 1) */
	/* Where each actor stood last. */
	struct {
		bool acted;
		uint32_t channel;
		uint64_t offset;
	} places[MR_ACTOR_COUNT];
};

struct mr_difference {
	bool found;
	bool closed;   /* nothing more becomes part of its context */
	size_t event;  /* of the trace; its count: behind the last line */
	uint64_t line; /* in the trace's file; 0: behind the last line */
	unsigned actor;
	uint32_t channel; /* where the machine stands; MR_INCOMING_CHANNELS_MAX: nowhere */
	uint64_t offset;
	enum mr_postcopy_state state;
	enum mr_status status;
	enum mr_rule rule; /* what the machine blames, else the rule that the line is about; may be MR_NO_RULE */
	char made[MR_CONTEXT_TEXT];   /* what the machine does */
	char traced[MR_CONTEXT_TEXT]; /* what the trace says */
	/* The trace's lines around it; the one at `trace_at` is it, behind the last one if the trace has ended. */
	char trace[MR_CONTEXT_LINES][MR_CONTEXT_TEXT];
	size_t trace_count, trace_at;
	/* The machine's actions around it; the one at `machine_at` is it. */
	char machine[MR_CONTEXT_LINES][MR_CONTEXT_TEXT];
	size_t machine_count, machine_at;
};

void mr_recent_add(struct mr_recent *recent, const struct mr_incoming *incoming, const struct mr_action *action);
/*
 * Fills in a difference at `event` of the trace. `made` is the line that the machine would print, NULL if it would
 * print none, for which `reason` says why.
 */
void mr_difference_set(struct mr_difference *difference, const struct mr_trace *trace, size_t event,
		       const struct mr_incoming *incoming, const struct mr_recent *recent, unsigned actor,
		       const struct mr_event *made, const char *reason);
/* The next action behind a difference becomes part of its context, as long as there is room. */
void mr_difference_follow(struct mr_difference *difference, const struct mr_incoming *incoming,
			  const struct mr_action *action);

#endif
