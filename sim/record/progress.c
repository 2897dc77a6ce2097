/* Draws a progress bar on standard error, seldom enough to cost nothing. */
#include "sim/record/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BAR_WIDTH        30
#define DRAW_INTERVAL_NS UINT64_C(100000000)
/* Between two looks at the clock: a fraction of a millisecond even where memory is the limit. */
#define LOOK_BYTES ((uint64_t)64 << 10)

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void draw(const struct mr_progress *progress, double fraction, uint64_t bytes)
{
	const double mebibytes = (double)bytes / (double)(1 << 20);
	char bar[BAR_WIDTH + 1];
	int filled;

	if (fraction < 0) {
		fprintf(stderr, "\r%s  %.1f MiB\033[K", progress->label, mebibytes);
		return;
	}
	if (fraction > 1)
		fraction = 1;
	filled = (int)(fraction * BAR_WIDTH);
	for (int column = 0; column < BAR_WIDTH; column++)
		bar[column] = column < filled ? '#' : '.';
	bar[BAR_WIDTH] = '\0';
	fprintf(stderr, "\r%s  [%s] %3d %%  %.1f MiB\033[K", progress->label, bar, (int)(fraction * 100), mebibytes);
}

void mr_progress_start(struct mr_progress *progress, const char *label, bool quiet)
{
	memset(progress, 0, sizeof(*progress));
	progress->active = !quiet && isatty(STDERR_FILENO);
	if (!progress->active)
		return;
	progress->label = label;
	progress->drawn_ns = now_ns();
}

void mr_progress_update(struct mr_progress *progress, double fraction, uint64_t bytes)
{
	uint64_t now;

	if (!progress->active || bytes < progress->next_bytes)
		return;
	progress->next_bytes = bytes + LOOK_BYTES;
	now = now_ns();
	if (now - progress->drawn_ns < DRAW_INTERVAL_NS)
		return;
	progress->drawn_ns = now;
	draw(progress, fraction, bytes);
}

void mr_progress_end(struct mr_progress *progress)
{
	if (progress->active)
		fputs("\r\033[K", stderr);
	progress->active = false;
}
