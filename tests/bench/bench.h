/* bench.h: what the benchmarks share: two clocks, rounds that alternate, medians, a table of ratios. */
#ifndef MR_BENCH_H
#define MR_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { BENCH_ROUNDS_MAX = 32 };

/* Seconds by the wall and of processor time. */
struct bench_time {
	double wall, cpu;
};

/* What each round took. */
struct bench_samples {
	unsigned count;
	struct bench_time round[BENCH_ROUNDS_MAX];
};

static inline double bench_clock(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static inline struct bench_time bench_now(void)
{
	return (struct bench_time){bench_clock(CLOCK_MONOTONIC), bench_clock(CLOCK_PROCESS_CPUTIME_ID)};
}

static inline struct bench_time bench_since(struct bench_time start)
{
	const struct bench_time now = bench_now();

	return (struct bench_time){now.wall - start.wall, now.cpu - start.cpu};
}

static inline void bench_add(struct bench_samples *samples, struct bench_time taken)
{
	if (samples->count < BENCH_ROUNDS_MAX)
		samples->round[samples->count++] = taken;
}

static inline int bench_compare_doubles(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static inline double bench_median(double *values, unsigned count)
{
	if (count == 0)
		return 0;
	qsort(values, count, sizeof(*values), bench_compare_doubles);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* Medians of both clocks, each for itself. */
static inline struct bench_time bench_medians(const struct bench_samples *samples)
{
	double wall[BENCH_ROUNDS_MAX], cpu[BENCH_ROUNDS_MAX];

	for (unsigned i = 0; i < samples->count; i++) {
		wall[i] = samples->round[i].wall;
		cpu[i] = samples->round[i].cpu;
	}
	return (struct bench_time){bench_median(wall, samples->count), bench_median(cpu, samples->count)};
}

/* Speed of ours relative to the reference, above 1 if ours is faster: the median over the rounds, whose two sides ran
 * one right after the other. */
static inline struct bench_time bench_ratios(const struct bench_samples *ours, const struct bench_samples *reference)
{
	struct bench_samples ratios = {.count = ours->count};

	for (unsigned i = 0; i < ours->count; i++) {
		ratios.round[i].wall = reference->round[i].wall / ours->round[i].wall;
		ratios.round[i].cpu = reference->round[i].cpu / ours->round[i].cpu;
	}
	return bench_medians(&ratios);
}

static inline void bench_table_head(const char *reference)
{
	printf("%-34s %17s %17s %13s %7s\n", "", "migref", reference, "ratio", "target");
	printf("%-34s %8s %8s %8s %8s %6s %6s\n", "milliseconds, medians", "wall", "cpu", "wall", "cpu", "wall", "cpu");
}

/* One comparison; target 0 means that none is set. */
static inline void bench_table_row(const char *name, const struct bench_samples *ours,
				   const struct bench_samples *reference, double target)
{
	const struct bench_time a = bench_medians(ours), b = bench_medians(reference);
	const struct bench_time ratio = bench_ratios(ours, reference);

	printf("%-34s %8.1f %8.1f %8.1f %8.1f %6.2f %6.2f", name, a.wall * 1e3, a.cpu * 1e3, b.wall * 1e3, b.cpu * 1e3,
	       ratio.wall, ratio.cpu);
	if (target > 0)
		printf(" %7.2f", target);
	printf("\n");
	fflush(stdout);
}

/* Ends the program: a benchmark that cannot do its work has no figure to show. */
static inline void bench_die(const char *what)
{
	fprintf(stderr, "bench: %s\n", what);
	exit(3);
}

/* Fresh zeroed memory of `size` bytes in pages of 4 KiB or, if `huge`, in transparent huge pages. */
static inline uint8_t *bench_map(size_t size, bool huge)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		bench_die("no memory");
	madvise(memory, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return memory;
}

/* Pseudo-random bytes, eight at a time; `size` is a multiple of 8. */
static inline void bench_fill_random(uint8_t *bytes, size_t size, uint64_t *state)
{
	for (size_t i = 0; i < size; i += 8) {
		uint64_t word;

		*state ^= *state << 13;
		*state ^= *state >> 7;
		*state ^= *state << 17;
		word = *state;
		memcpy(bytes + i, &word, sizeof(word));
	}
}

#endif
