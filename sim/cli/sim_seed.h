/* sim_seed.h: what a swarm keeps of one run: small enough for a pipe, and to be kept by the million. */
#ifndef MR_CLI_SIM_SEED_H
#define MR_CLI_SIM_SEED_H

#include <jansson.h>
#include <stdio.h>

#include "sim/cli/sim_run.h"

/* Those of struct mr_sim_result that are told for each seed and added up. */
#define SIM_FIGURES(FIGURE)                                                                                            \
	FIGURE(total_time)                                                                                             \
	FIGURE(downtime)                                                                                               \
	FIGURE(blackout)                                                                                               \
	FIGURE(run_time)                                                                                               \
	FIGURE(forward_bytes)                                                                                          \
	FIGURE(return_bytes)                                                                                           \
	FIGURE(pages_sent)                                                                                             \
	FIGURE(pages_sent_twice)                                                                                       \
	FIGURE(pages_placed)                                                                                           \
	FIGURE(pages_loaded)                                                                                           \
	FIGURE(pages_discarded)                                                                                        \
	FIGURE(touches)                                                                                                \
	FIGURE(faults)                                                                                                 \
	FIGURE(resolved)                                                                                               \
	FIGURE(requests)                                                                                               \
	FIGURE(cuts)                                                                                                   \
	FIGURE(recoveries)                                                                                             \
	FIGURE(page_events)                                                                                            \
	FIGURE(steps)

enum sim_figure {
#define SIM_FIGURE_NUMBER(name) SIM_FIGURE_##name,
	SIM_FIGURES(SIM_FIGURE_NUMBER)
#undef SIM_FIGURE_NUMBER
		SIM_FIGURE_COUNT
};

/* How a run ended: an outcome, or one of these. */
enum {
	SIM_END_DIED = MR_OUTCOME_COUNT, /* its process did */
	SIM_END_REFUSED,                 /* its scenario cannot be run */
	SIM_END_COUNT
};

enum { SIM_MODES = 14 };

struct sim_seed {
	uint64_t seed;
	bool drawn;               /* mode and releases are known */
	char mode[SIM_MODES + 1]; /* a letter for each thing that is so, else '.' */
	char source[16], destination[16];
	unsigned end;
	struct mr_violation violation; /* of bad ends; the text also where no property is named */
	uint64_t seen[MR_SOMETIMES_COUNT];
	uint64_t figures[SIM_FIGURE_COUNT];
	uint32_t digest;
};

/* "completed", "died" */
const char *sim_end_name(unsigned end);
/* True of VIOLATED and what comes behind it. */
bool sim_end_is_bad(unsigned end);
/* "total_time" */
const char *sim_figure_name(enum sim_figure figure);
/* The letter of a mode, and what it stands for. */
char sim_mode_letter(unsigned mode);
const char *sim_mode_text(unsigned mode);
/* The letter of an event: a to z, then A on. */
char sim_event_letter(enum mr_sometimes event);

void sim_seed_draw(struct sim_seed *seed, const struct mr_scenario *scenario);
void sim_seed_take(struct sim_seed *seed, const struct sim_run *run);

/* One line of fixed columns. */
void sim_seed_print(FILE *out, const struct sim_seed *seed, int seed_width);
/* How it ended badly: "content at 12.345 ms: ..." */
void sim_seed_describe(char *text, size_t size, const struct sim_seed *seed);
/* The same as an object, and back: false if it is not one. */
json_t *sim_seed_object(const struct sim_seed *seed);
bool sim_seed_read(struct sim_seed *seed, const json_t *object);

#endif
