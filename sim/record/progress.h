/* A progress bar on a terminal, for work that takes more than a moment. */
#ifndef MR_RECORD_PROGRESS_H
#define MR_RECORD_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* The caller's; its content is the functions' below. */
struct mr_progress {
	bool active;
	const char *label;
	uint64_t next_bytes; /* the clock is not looked at before so many bytes */
	uint64_t drawn_ns;   /* monotonic clock at the last drawing */
};

/*
 * Begins a bar with a label, which must outlive it. Nothing is ever shown if quiet, or if standard
 * error is not a terminal.
 */
void mr_progress_start(struct mr_progress *progress, const char *label, bool quiet);

/*
 * Tells how far the work is: fraction 0 to 1, or below 0 if unknown; bytes done so far, which never
 * decrease. Cheap enough to be called for each record: draws at most ten times a second.
 */
void mr_progress_update(struct mr_progress *progress, double fraction, uint64_t bytes);

/* Erases the bar. */
void mr_progress_end(struct mr_progress *progress);

#endif
