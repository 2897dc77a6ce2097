/* difference.c: the first place where trace and machine part, with what stands around it on both sides. */
#include "sim/record/difference.h"

#include <inttypes.h>
#include <string.h>

/* The rule that says why a line is printed, for lines that one rule stands behind. */
static enum mr_rule rule_of(enum mr_event_kind kind)
{
	static const enum mr_rule rules[MR_EVENT_KIND_COUNT] = {
		[MR_EVENT_STATUS] = MR_PC_020,          [MR_EVENT_COMMAND] = MR_PC_001,
		[MR_EVENT_COMMAND_DONE] = MR_PC_001,    [MR_EVENT_PING] = MR_PC_019,
		[MR_EVENT_ADVISE] = MR_PC_003,          [MR_EVENT_DISCARD] = MR_PC_009,
		[MR_EVENT_DISCARD_HEADER] = MR_PC_009,  [MR_EVENT_DISCARD_END] = MR_PC_009,
		[MR_EVENT_DISCARD_RANGE] = MR_PC_009,   [MR_EVENT_DISCARDED] = MR_PC_009,
		[MR_EVENT_INIT_RANGE] = MR_PC_006,      [MR_EVENT_NO_HUGE_PAGES] = MR_PC_007,
		[MR_EVENT_CLEANUP_RANGE] = MR_PC_041,   [MR_EVENT_LISTEN_ENTER] = MR_PC_010,
		[MR_EVENT_LISTEN_PREPARED] = MR_PC_010, [MR_EVENT_ENABLE_NOTIFY] = MR_PC_010,
		[MR_EVENT_LISTEN_READY] = MR_PC_010,    [MR_EVENT_LISTEN_RETURN] = MR_PC_010,
		[MR_EVENT_LISTEN_START] = MR_PC_011,    [MR_EVENT_LISTEN_EXIT] = MR_PC_040,
		[MR_EVENT_PACKAGED] = MR_PC_012,        [MR_EVENT_PACKAGE_READ] = MR_PC_012,
		[MR_EVENT_PACKAGE_DONE] = MR_PC_015,    [MR_EVENT_RUN] = MR_PC_014,
		[MR_EVENT_GUEST_START] = MR_PC_014,     [MR_EVENT_RESUME] = MR_REC_007,
		[MR_EVENT_PREEMPT_ENTRY] = MR_PRE_002,  [MR_EVENT_PREEMPT_EXIT] = MR_PRE_003,
		[MR_EVENT_PREEMPT_PARKED] = MR_PRE_004, [MR_EVENT_RAM_PAGE] = MR_PC_017,
		[MR_EVENT_RAM_POSTCOPY] = MR_PC_017,    [MR_EVENT_RAM_LOADED] = MR_PC_016,
		[MR_EVENT_PLACED] = MR_PC_036,          [MR_EVENT_PLACE_ZERO] = MR_PC_034,
		[MR_EVENT_FAULT] = MR_REQ_001,          [MR_EVENT_REQUEST_ADDED] = MR_REQ_003,
		[MR_EVENT_REQUEST_DONE] = MR_REQ_006,   [MR_EVENT_REQUEST_AGAIN] = MR_REC_008,
		[MR_EVENT_BITMAP] = MR_REC_006,         [MR_EVENT_BITMAP_SENT] = MR_REC_006,
		[MR_EVENT_PAUSE] = MR_REC_001,          [MR_EVENT_FAULT_PARKED] = MR_REC_003,
		[MR_EVENT_CLEANUP_ENTRY] = MR_PC_041,   [MR_EVENT_CLEANUP_CLOSE] = MR_PC_041,
		[MR_EVENT_CLEANUP_EXIT] = MR_PC_041,    [MR_EVENT_MULTIFD_PACKET] = MR_MFR_003,
		[MR_EVENT_MULTIFD_SYNC] = MR_MFR_002,   [MR_EVENT_MULTIFD_END] = MR_MFR_009,
	};

	return rules[kind];
}

void mr_recent_add(struct mr_recent *recent, const struct mr_incoming *incoming, const struct mr_action *action)
{
	mr_action_format(incoming, action, recent->text[recent->count % (MR_CONTEXT + 1)], MR_CONTEXT_TEXT);
	recent->count++;
	recent->places[action->actor].acted = true;
	recent->places[action->actor].channel = action->channel;
	recent->places[action->actor].offset = action->offset;
}

static void format_line(char *out, const struct mr_incoming *incoming, const struct mr_event *event)
{
	const char *actor = mr_actor_name(event->actor);
	const int length = snprintf(out, MR_CONTEXT_TEXT, "%" PRIu64 ": %s: ", event->line, actor ? actor : "somebody");

	mr_event_format(incoming, event, out + length, MR_CONTEXT_TEXT - (size_t)length);
}

static void copy_trace(struct mr_difference *difference, const struct mr_trace *trace,
		       const struct mr_incoming *incoming)
{
	const size_t event = difference->event;
	const size_t first = event > MR_CONTEXT ? event - MR_CONTEXT : 0;

	difference->trace_at = event - first;
	for (size_t i = first; i < trace->count && i <= event + MR_CONTEXT; i++)
		format_line(difference->trace[difference->trace_count++], incoming, &trace->events[i]);
}

static void copy_machine(struct mr_difference *difference, const struct mr_recent *recent)
{
	const uint64_t first = recent->count > MR_CONTEXT + 1 ? recent->count - MR_CONTEXT - 1 : 0;

	for (uint64_t i = first; i < recent->count; i++)
		memcpy(difference->machine[difference->machine_count++], recent->text[i % (MR_CONTEXT + 1)],
		       MR_CONTEXT_TEXT);
	difference->machine_at = difference->machine_count ? difference->machine_count - 1 : 0;
}

void mr_difference_set(struct mr_difference *difference, const struct mr_trace *trace, size_t event,
		       const struct mr_incoming *incoming, const struct mr_recent *recent, unsigned actor,
		       const struct mr_event *made, const char *reason)
{
	const struct mr_event *traced = event < trace->count ? &trace->events[event] : NULL;
	const struct mr_finding *blamed = mr_incoming_error(incoming);

	memset(difference, 0, sizeof(*difference));
	difference->found = true;
	difference->event = event;
	difference->line = traced ? traced->line : 0;
	difference->actor = actor;
	difference->channel = MR_INCOMING_CHANNELS_MAX;
	if (actor < MR_ACTOR_COUNT && recent->places[actor].acted) {
		difference->channel = recent->places[actor].channel;
		difference->offset = recent->places[actor].offset;
	}
	difference->state = mr_incoming_postcopy_state(incoming);
	difference->status = mr_incoming_status(incoming);
	difference->rule = blamed->rule ? blamed->rule : rule_of(made ? made->kind : traced ? traced->kind : 0);
	if (made)
		mr_event_format(incoming, made, difference->made, sizeof(difference->made));
	else if (blamed->rule)
		snprintf(difference->made, sizeof(difference->made), "nothing: %.40s; expected %.70s, found %.70s",
			 reason, blamed->expected, blamed->found);
	else
		snprintf(difference->made, sizeof(difference->made), "nothing: %.150s", reason);
	if (traced)
		mr_event_format(incoming, traced, difference->traced, sizeof(difference->traced));
	else
		snprintf(difference->traced, sizeof(difference->traced), "no more lines of this actor");
	copy_trace(difference, trace, incoming);
	copy_machine(difference, recent);
}

void mr_difference_follow(struct mr_difference *difference, const struct mr_incoming *incoming,
			  const struct mr_action *action)
{
	if (!difference->found || difference->closed || difference->machine_count > difference->machine_at + MR_CONTEXT)
		return;
	mr_action_format(incoming, action, difference->machine[difference->machine_count++], MR_CONTEXT_TEXT);
}
