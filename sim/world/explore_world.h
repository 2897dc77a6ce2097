/* explore_world.h: what the files about the explorer's world ask of each other. */
#ifndef MR_WORLD_EXPLORE_WORLD_H
#define MR_WORLD_EXPLORE_WORLD_H

#include "sim/world/explore_state.h"

enum { PAGE_TEXT_MAX = 96 };

/* ---- explore_world.c ---- */

void mr_world_see(struct explore_outcome *outcome, enum mr_sometimes event);
/* The first breach counts. */
__attribute__((format(printf, 3, 4))) void mr_world_violate(struct explore_outcome *outcome, enum mr_property property,
							    const char *format, ...);
/* "mem 0x400", of the first of the pages. */
const char *mr_world_page_text(const struct explore_setup *setup, page_set pages, char text[PAGE_TEXT_MAX]);
/* To be called for each connection that was changed. */
void mr_world_settle(struct explore_connection *connection);
bool mr_world_is_main(enum mr_role role);
/* The connection that the source opened last, main or preempt; NULL: none. */
struct explore_connection *mr_world_last(struct explore_world *world, bool main);
/* Gives a machine an input, for its state at hand. False if it refuses, or memory is short. */
bool mr_world_tell(const struct explore_scene *scene, struct explore_whole *whole, struct explore_operation operation,
		   struct explore_outcome *outcome);

/* ---- explore_local.c ---- */

/* Whether the actor that made this step goes on at once. */
bool mr_local_goes_on(const struct explore_scene *scene, const struct explore_whole *whole, unsigned side,
		      const struct explore_effect *effect);

/* Both ends go on by themselves, and the source has still something to do. */
bool mr_local_are_apart(const struct explore_scene *scene, const struct explore_whole *whole);

/* ---- explore_text.c: tells who listens to a replay ---- */

void mr_text_step(const struct explore_scene *scene, unsigned side, unsigned actor, unsigned variant,
		  const struct explore_effect *effect);
void mr_text_move(const struct explore_scene *scene, struct explore_move move);

/* ---- explore_actions.c: outcome->effect is an action; what it makes of the world ---- */

void mr_world_take_source(const struct explore_scene *scene, struct explore_whole *whole,
			  struct explore_outcome *outcome);
void mr_world_take_destination(const struct explore_scene *scene, struct explore_whole *whole,
			       struct explore_outcome *outcome);

/* Connections that the destination has not accepted, and never will. */
void mr_world_refuse_waiting(const struct explore_scene *scene, struct explore_world *world, bool main_only);

/* ---- explore_lines.c: tells who looks on at a replay what happens between the machines ------------------------- */

void mr_told_open(const struct explore_scene *scene, uint32_t channel);
void mr_told_accepted(const struct explore_scene *scene, uint32_t channel);
void mr_told_sent(const struct explore_scene *scene, uint32_t channel, bool backward, uint32_t message);
void mr_told_cut(const struct explore_scene *scene, uint32_t channel);
/* Of what was under way, `left` still arrives. */
void mr_told_lost(const struct explore_scene *scene, uint32_t channel, bool backward, uint32_t left);
/* One end closes it in order. */
void mr_told_closed(const struct explore_scene *scene, uint32_t channel, bool by_source);

#endif
