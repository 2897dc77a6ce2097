/* explore_report.h: what an exploration came to, for people and as JSON. */
#ifndef MR_CLI_EXPLORE_REPORT_H
#define MR_CLI_EXPLORE_REPORT_H

#include "sim/world/explore.h"

/* Lines of the way to a violation. */
struct explore_path {
	char (*lines)[MR_EXPLORE_TEXT_MAX]; /* owned */
	size_t count, capacity;
	bool failed; /* memory was short */
};

/* A mr_explore_teller: the argument is the path. */
void explore_path_add(void *argument, uint32_t index, const char *text);
void explore_path_clear(struct explore_path *path);

struct explore_report {
	const char *scenario; /* the file as it was named */
	const struct mr_scenario *world;
	struct mr_explore_options options;
	struct mr_explore_result result;
	struct explore_path path; /* VIOLATED: the way there */
	uint64_t milliseconds;    /* that it took */
};

/* LIMITED: which limit it was, and what that means; one line. */
void explore_report_limit(const struct explore_report *report, char *text, size_t size);
/* Both write to standard output. */
void explore_report_print(const struct explore_report *report);
void explore_report_dump(const struct explore_report *report);

#endif
