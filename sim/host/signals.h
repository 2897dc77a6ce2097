/* signals.h: SIGINT and SIGTERM as something that a loop can poll for, so that it ends by itself. */
#ifndef MR_HOST_SIGNALS_H
#define MR_HOST_SIGNALS_H

#include <signal.h>

struct mr_signals {
	int descriptor;  /* readable once one has come; -1: none could be had */
	sigset_t before; /* what the thread had blocked */
};

/* They no longer end the process, from this thread's view, until they are let in again. */
void mr_signals_catch(struct mr_signals *signals);
/* Those that came meanwhile are taken, lest they end the process as soon as they are let in. */
void mr_signals_release(struct mr_signals *signals);

#endif
