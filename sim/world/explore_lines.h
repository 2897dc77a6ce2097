/* explore_lines.h: the bytes of a replay, counted, so that who looks on can be told where each connection ends. */
#ifndef MR_WORLD_EXPLORE_LINES_H
#define MR_WORLD_EXPLORE_LINES_H

#include "sim/world/explore_state.h"

enum { FORWARD, BACKWARD, DIRECTIONS };

/*
 * What is lost is decided when somebody finds it missing, and known when the way was gone once: so it is gone once to
 * learn that, and once more to tell it.
 */
struct explore_lines {
	mr_explore_teller *teller; /* NULL: nobody wants to know in words */
	void *argument;
	uint32_t told;                                         /* lines in words so far */
	const struct mr_watch *watch;                          /* NULL: what arrives is being learnt */
	uint64_t sent[EXPLORE_CONNECTIONS_MAX][DIRECTIONS];    /* bytes so far */
	uint64_t arrives[EXPLORE_CONNECTIONS_MAX][DIRECTIONS]; /* bytes in all; UINT64_MAX: whatever is sent */
	bool is_cut[EXPLORE_CONNECTIONS_MAX];                  /* at some time of the way */
	bool cut[EXPLORE_CONNECTIONS_MAX], closed[EXPLORE_CONNECTIONS_MAX];     /* so far; `closed`: by the source */
	bool accepted[EXPLORE_CONNECTIONS_MAX], ended[EXPLORE_CONNECTIONS_MAX]; /* `ended`: the destination was told */
};

void mr_told_begin(struct explore_lines *lines);
/* What was learnt is kept. */
void mr_told_begin_again(struct explore_lines *lines, const struct mr_watch *watch);

#endif
