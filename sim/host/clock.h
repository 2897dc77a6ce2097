/* clock.h: the host's monotonic clock, the same for all processes of the host. */
#ifndef MR_HOST_CLOCK_H
#define MR_HOST_CLOCK_H

#include <stdint.h>
#include <time.h>

/* ns */
static inline uint64_t mr_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* About so many ns, below a second. */
static inline void mr_clock_sleep(uint64_t nanoseconds)
{
	const struct timespec pause = {.tv_nsec = (long)(nanoseconds < 999999999 ? nanoseconds : 999999999)};

	clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

#endif
