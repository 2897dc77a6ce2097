/* generate.h: random valid streams of each role, small enough to be cut at every byte. */
#ifndef TEST_GENERATE_H
#define TEST_GENERATE_H

#include "build.h"
#include "migref.h"
#include "random.h"

/* A stream and what its reader has to know beforehand. */
struct generated {
	enum mr_role role;
	struct mr_context context;
	struct build stream; /* build_free() it */
};

/* Equal states of `random` give equal streams. No stream breaks a rule that a single decoder sees. */
void generate(struct generated *generated, struct random *random, enum mr_role role);

#endif
