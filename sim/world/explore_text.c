/* explore_text.c: moves and ends in words. */
#include "sim/world/explore_lines.h"
#include "sim/world/explore_world.h"

#include <stdio.h>

static const char *const canaries[MR_CANARY_COUNT] = {
	[MR_CANARY_NONE] = "none",
	[MR_CANARY_LOST_WRITE] = "lost-write",
	[MR_CANARY_LOST_WAKE] = "lost-wake",
	[MR_CANARY_LOST_BITMAP] = "lost-bitmap",
	[MR_CANARY_GUEST_RUNS] = "guest-runs",
	[MR_CANARY_WRONG_CONTENT] = "wrong-content",
};

static const struct {
	const char *name, *text;
} ends[MR_EXPLORE_END_COUNT] = {
	[MR_EXPLORE_COMPLETED] = {"completed", "the guest runs at the destination, all of its memory there"},
	[MR_EXPLORE_RETURNED] = {"returned", "the migration failed or was cancelled, and the guest runs at the source"},
	[MR_EXPLORE_PAUSED] = {"paused", "both ends wait for a recovery, and no more is tried"},
	[MR_EXPLORE_UNTHANKED] = {"unthanked",
				  "the guest has all of its memory at the destination; the source never hears of it"},
	[MR_EXPLORE_ASLEEP] = {"asleep",
			       "the same at a destination that waits for its sleeping fault handler (PC-041)"},
	[MR_EXPLORE_STRANDED] = {"stranded",
				 "the destination failed before it ran the guest; the source believes that it runs"},
	[MR_EXPLORE_ABANDONED] = {"abandoned",
				  "the source has failed; the destination's guest waits for a recovery (E-40)"},
	[MR_EXPLORE_CUT_OFF] = {"cut-off",
				"a page was lost with the preempt channel, and no recovery is possible any more"},
	[MR_EXPLORE_UNFETCHED] = {"unfetched",
				  "the destination gave up catching faults while pages are missing (E-25)"},
	[MR_EXPLORE_TWO_GUESTS] = {"two-guests",
				   "in precopy: the source has not heard of the success, and runs its guest (E-01)"},
	[MR_EXPLORE_TWO_GUESTS_SWITCHED] = {"two-guests-switched",
					    "in the switch: the same, since the package's PONG was lost (SRC-030)"},
	[MR_EXPLORE_DOOMED] = {"doomed", "the listen loader failed; the guest runs until the process ends"},
	[MR_EXPLORE_REFUSED] = {"refused", "the destination refused RUN, since nothing was to be discarded (E-03)"},
};

const char *mr_canary_name(enum mr_canary canary)
{
	return (unsigned)canary < MR_CANARY_COUNT ? canaries[canary] : NULL;
}

const char *mr_explore_end_name(enum mr_explore_end end)
{
	return (unsigned)end < MR_EXPLORE_END_COUNT ? ends[end].name : NULL;
}

const char *mr_explore_end_text(enum mr_explore_end end)
{
	return (unsigned)end < MR_EXPLORE_END_COUNT ? ends[end].text : NULL;
}

/* ---- Actions ---- */

enum { DETAIL_MAX = 120 };

static void describe_source(const struct explore_scene *scene, const struct explore_effect *effect,
			    char text[DETAIL_MAX])
{
	char page[PAGE_TEXT_MAX];

	switch (effect->action) {
	case MR_SOURCE_ACTION_SEND:
		snprintf(text, DETAIL_MAX, " %s%s%s on connection %u%s", mr_kind_name((enum mr_kind)effect->detail),
			 effect->pages ? " " : "",
			 effect->pages ? mr_world_page_text(scene->setup, effect->pages, page) : "", effect->channel,
			 effect->requested ? ", requested" : "");
		break;
	case MR_SOURCE_ACTION_STATUS:
		snprintf(text, DETAIL_MAX, " %s", mr_source_status_name((enum mr_source_status)effect->detail));
		break;
	case MR_SOURCE_ACTION_CONNECT:
		snprintf(text, DETAIL_MAX, " %u as %s", effect->channel, mr_role_name((enum mr_role)effect->role));
		break;
	case MR_SOURCE_ACTION_CLOSE:
		snprintf(text, DETAIL_MAX, " connection %u", effect->channel);
		break;
	case MR_SOURCE_ACTION_RETURN:
		snprintf(text, DETAIL_MAX, " %s", mr_return_name(effect->detail) ? mr_return_name(effect->detail) : "");
		break;
	case MR_SOURCE_ACTION_REQUEST:
		snprintf(text, DETAIL_MAX, " for %s: %s", mr_world_page_text(scene->setup, effect->pages, page),
			 effect->detail ? "served" : "nothing left to send");
		break;
	case MR_SOURCE_ACTION_LOG_CLEAR:
		snprintf(text, DETAIL_MAX, " from %s on", mr_world_page_text(scene->setup, effect->pages, page));
		break;
	case MR_SOURCE_ACTION_FAILED:
		snprintf(text, DETAIL_MAX, ": expected %.40s, found %.40s",
			 mr_outgoing_error(mr_machines_source(scene->machines))->expected,
			 mr_outgoing_error(mr_machines_source(scene->machines))->found);
		break;
	default:
		break;
	}
}

static void describe_destination(const struct explore_scene *scene, const struct explore_effect *effect,
				 char text[DETAIL_MAX])
{
	char page[PAGE_TEXT_MAX];

	switch (effect->action) {
	case MR_ACTION_SEND:
		snprintf(text, DETAIL_MAX, " %s", mr_return_name(effect->detail) ? mr_return_name(effect->detail) : "");
		break;
	case MR_ACTION_STATUS:
		snprintf(text, DETAIL_MAX, " %s", mr_status_name((enum mr_status)effect->detail));
		break;
	case MR_ACTION_COMMAND:
	case MR_ACTION_COMMAND_DONE:
		snprintf(text, DETAIL_MAX, " %s",
			 mr_command_name(effect->detail) ? mr_command_name(effect->detail) : "");
		break;
	case MR_ACTION_REQUEST:
		snprintf(text, DETAIL_MAX, " for %s: %s", mr_world_page_text(scene->setup, effect->pages, page),
			 mr_request_verdict_name((enum mr_request_verdict)effect->detail));
		break;
	case MR_ACTION_RAM_RECORD:
	case MR_ACTION_PLACE:
	case MR_ACTION_DISCARD:
	case MR_ACTION_REGISTER:
	case MR_ACTION_UNREGISTER:
		if (effect->pages)
			snprintf(text, DETAIL_MAX, " %s", mr_world_page_text(scene->setup, effect->pages, page));
		break;
	case MR_ACTION_CLOSE:
		snprintf(text, DETAIL_MAX, " connection %u", effect->channel);
		break;
	case MR_ACTION_FAILED:
		snprintf(text, DETAIL_MAX, ": expected %.40s, found %.40s",
			 mr_incoming_error(mr_machines_destination(scene->machines))->expected,
			 mr_incoming_error(mr_machines_destination(scene->machines))->found);
		break;
	default:
		break;
	}
}

/* ---- Moves ---- */

static void tell(const struct explore_scene *scene, const char *text)
{
	struct explore_lines *lines = scene->lines;

	lines->teller(lines->argument, lines->told++, text);
}

static bool is_heard(const struct explore_scene *scene)
{
	return scene->lines && scene->lines->teller;
}

void mr_text_step(const struct explore_scene *scene, unsigned side, unsigned actor, unsigned variant,
		  const struct explore_effect *effect)
{
	const char *name = side == SOURCE ? mr_source_actor_name(actor) : mr_actor_name(actor);
	char detail[DETAIL_MAX] = "", text[MR_EXPLORE_TEXT_MAX];

	if (!is_heard(scene))
		return;
	if (side == SOURCE && effect->effect == EFFECT_ACTED)
		describe_source(scene, effect, detail);
	else if (effect->effect == EFFECT_ACTED)
		describe_destination(scene, effect, detail);
	snprintf(text, sizeof(text), "%s %s: %s%s%s", side == SOURCE ? "source" : "destination", name,
		 effect->effect == EFFECT_MOVED ? "goes on"
		 : side == SOURCE               ? mr_source_action_name((enum mr_source_action_kind)effect->action)
						: mr_action_name((enum mr_action_kind)effect->action),
		 detail, variant ? ", by another choice" : "");
	tell(scene, text);
}

static void describe_move(const struct explore_scene *scene, struct explore_move move, char text[MR_EXPLORE_TEXT_MAX])
{
	static const char *const commands[] = {
		[MR_SOURCE_COMMAND_START_POSTCOPY] = "migrate-start-postcopy",
		[MR_SOURCE_COMMAND_CONTINUE] = "migrate-continue",
		[MR_SOURCE_COMMAND_CANCEL] = "migrate-cancel",
		[MR_SOURCE_COMMAND_PAUSE] = "migrate-pause",
		[MR_SOURCE_COMMAND_RECOVER] = "migrate with resume",
	};
	static const char *const cuts[] = {"the main connection breaks", "the preempt connection breaks",
					   "every connection breaks"};
	static const char *const losses[] = {
		[LOSE_FORWARD] = "nothing more arrives at the destination",
		[LOSE_FORWARD_HALF] = "half a message more arrives at the destination",
		[LOSE_BACKWARD] = "nothing more arrives at the source",
		[LOSE_BACKWARD_HALF] = "half a message more arrives at the source",
	};
	const unsigned page = move.kind == MOVE_TOUCH ? move.second : move.first;
	char place[PAGE_TEXT_MAX] = "";

	if (move.kind == MOVE_TOUCH || move.kind == MOVE_WRITE)
		mr_world_page_text(scene->setup, (page_set)(1u << page), place);
	if (move.kind == MOVE_ACCEPT)
		snprintf(text, MR_EXPLORE_TEXT_MAX, "destination accepts connection %u", move.first);
	else if (move.kind == MOVE_TOUCH)
		snprintf(text, MR_EXPLORE_TEXT_MAX, "vCPU %u touches %s, which is missing", move.first, place);
	else if (move.kind == MOVE_TELL)
		snprintf(text, MR_EXPLORE_TEXT_MAX, "the fault handler learns that vCPU %u waits", move.first);
	else if (move.kind == MOVE_WRITE)
		snprintf(text, MR_EXPLORE_TEXT_MAX, "the guest writes to %s at the source", place);
	else if (move.kind == MOVE_COMMAND)
		snprintf(text, MR_EXPLORE_TEXT_MAX, "operator: %s", commands[move.first]);
	else if (move.kind == MOVE_CUT)
		snprintf(text, MR_EXPLORE_TEXT_MAX, "%s", cuts[move.first]);
	else
		snprintf(text, MR_EXPLORE_TEXT_MAX, "connection %u: %s", move.first, losses[move.second]);
}

void mr_text_move(const struct explore_scene *scene, struct explore_move move)
{
	char text[MR_EXPLORE_TEXT_MAX];

	if (!is_heard(scene))
		return;
	describe_move(scene, move, text);
	tell(scene, text);
}
