/* signals.c: SIGINT and SIGTERM as something that a loop can poll for. */
#include "sim/host/signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

void mr_signals_catch(struct mr_signals *signals)
{
	sigset_t caught;

	sigemptyset(&caught);
	sigaddset(&caught, SIGINT);
	sigaddset(&caught, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &caught, &signals->before);
	signals->descriptor = signalfd(-1, &caught, SFD_NONBLOCK | SFD_CLOEXEC);
}

void mr_signals_release(struct mr_signals *signals)
{
	struct signalfd_siginfo signal;

	if (signals->descriptor >= 0) {
		while (read(signals->descriptor, &signal, sizeof(signal)) == (ssize_t)sizeof(signal))
			;
		close(signals->descriptor);
	}
	pthread_sigmask(SIG_SETMASK, &signals->before, NULL);
}
