/*
 * interest.h: whether other actors of a machine may go on by what one of them did. Pages come too often for all to be
 * asked about each.
 */
#ifndef MR_WORLD_INTEREST_H
#define MR_WORLD_INTEREST_H

#include "ref/incoming.h"
#include "ref/outgoing.h"

static inline bool mr_action_is_of_interest(const struct mr_action *action)
{
	switch (action->kind) {
	case MR_ACTION_RAM_RECORD:
	case MR_ACTION_PLACE:
	case MR_ACTION_SECTION:
	case MR_ACTION_RAM_LOADED:
	case MR_ACTION_REQUEST:
		return false;
	case MR_ACTION_MARKED:
		return action->placed.outstanding == 0 && action->placed.was_requested;
	case MR_ACTION_PACKET:
		return action->packet.sync;
	default:
		return true;
	}
}

/* Pages are of interest to nobody else, unless somebody waits for room or work. */
static inline bool mr_source_action_is_of_interest(const struct mr_source_action *action)
{
	if (action->kind == MR_SOURCE_ACTION_LOG_CLEAR || action->kind == MR_SOURCE_ACTION_RELEASE)
		return false;
	return action->kind != MR_SOURCE_ACTION_SEND || action->actor >= MR_SOURCE_MULTIFD;
}

#endif
