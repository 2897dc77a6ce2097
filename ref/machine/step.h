/* step.h: how a phase of an actor ends, on either side. */
#ifndef MR_STEP_H
#define MR_STEP_H

/* Errors as the wire's and the host's numbers, since the language has no names for most of them. */
enum { FAULT_OTHER = 1, FAULT_IO = 5, FAULT_AGAIN = 11, FAULT_INVALID = 22 };

/* A function that stays out of line, so that the way that each page takes is a short one. */
#define MR_APART __attribute__((noinline))

/* How a phase ends. */
enum outcome {
	ON,      /* another phase follows at once */
	ACTED,   /* an action was made */
	BLOCKED, /* `wants` says for what */
	ENDED,   /* the actor is through */
};

#endif
