/* action_lines.h: what a destination does, line by line against the actions that a recording has. */
#ifndef MR_RECORD_ACTION_LINES_H
#define MR_RECORD_ACTION_LINES_H

#include "ref/incoming.h"
#include "sim/record/recording.h"

enum { MR_ACTION_LINE_SHOWN = 400 }; /* bytes of a line that is shown, with a final NUL */

struct mr_action_comparison {
	bool there;     /* the recording has actions */
	bool identical; /* and the destination made these and no others */
	uint64_t lines; /* that agree, from the first on */
	/* The first that do not, cut where they are long; empty: there is none. */
	char recorded[MR_ACTION_LINE_SHOWN], made[MR_ACTION_LINE_SHOWN];
};

struct mr_action_lines;

/* NULL in `result` if the recording has no actions. -1 with one line in `error`: they cannot be opened, no memory. */
int mr_action_lines_open(struct mr_action_lines **result, const struct mr_recording *recording, char *error,
			 size_t error_size);
/* The next action of the machine. -1 with one line in `error` if the recording's cannot be read, or memory is short. */
int mr_action_lines_take(struct mr_action_lines *lines, const struct mr_incoming *incoming,
			 const struct mr_action *action, char *error, size_t error_size);
/* There is none any more. */
int mr_action_lines_end(struct mr_action_lines *lines, char *error, size_t error_size);
void mr_action_lines_result(const struct mr_action_lines *lines, struct mr_action_comparison *result);
/* NULL is allowed. */
void mr_action_lines_close(struct mr_action_lines *lines);

#endif
