/* actions.h: what the machine did, as text, and as the trace lines that QEMU prints when it does the same. */
#ifndef MR_RECORD_ACTIONS_H
#define MR_RECORD_ACTIONS_H

#include "ref/incoming.h"
#include "sim/record/trace.h"

#include <stdio.h>

enum { MR_EVENTS_PER_ACTION = 12, MR_ACTOR_TEXT_MAX = 16 };

/* "main", "multifd3": as mr_actor_name(), with the number of a multifd channel; "unknown" for no actor. */
void mr_actor_format(unsigned actor, char out[MR_ACTOR_TEXT_MAX]);
/* The actor that is so called; MR_ACTOR_COUNT if there is none. */
unsigned mr_actor_by_text(const char *text);

/*
 * The lines that QEMU prints for an action, in its order, with every field that the action determines; returns how
 * many. Whether such a line stands in a trace at all depends on the release and on what was traced. The texts live as
 * long as what the action points to. A discard is expected to succeed.
 */
size_t mr_action_events(const struct mr_incoming *incoming, const struct mr_action *action,
			struct mr_event events[MR_EVENTS_PER_ACTION]);
/* Whether some action gives lines of this kind; others are inputs, or say nothing that could be compared. */
bool mr_event_is_expected(enum mr_event_kind kind);
/*
 * True if the trace's event says what is expected. Fields that no action determines (addresses, clocks, threads) do not
 * count; an actor that the trace could not tell is anybody.
 */
bool mr_event_equal(const struct mr_event *expected, const struct mr_event *found);
/* One line of text for an event, block names instead of addresses: "request-added mem 0x14a000 outstanding 1". */
void mr_event_format(const struct mr_incoming *incoming, const struct mr_event *event, char *out, size_t size);
/*
 * Writes the action as one JSON line: the same text whoever ran it. Page contents are told by their SHA-256, bytes of
 * messages in hexadecimal. `number` counts actions from 0.
 */
void mr_action_print(FILE *out, const struct mr_incoming *incoming, const struct mr_action *action, uint64_t number);
/* The same as one line for people: actor, kind, what it is about. */
void mr_action_format(const struct mr_incoming *incoming, const struct mr_action *action, char *out, size_t size);

#endif
