/*
 * pattern.h: which page a vCPU touches next. The very code that the freestanding guest runs: no library but memcpy and
 * memset, no floating point, no memory but the pattern's own.
 */
#ifndef MR_WORLD_PATTERN_H
#define MR_WORLD_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#include "sim/world/random.h"

enum mr_pattern_kind {
	MR_PATTERN_IDLE,       /* touches nothing */
	MR_PATTERN_SEQUENTIAL, /* one page after the other, round and round */
	MR_PATTERN_RANDOM,     /* any page of the range */
	MR_PATTERN_ZIPF, /* hot spots, anywhere in the range: that of rank r is touched 1/r as often as the hottest */
	MR_PATTERN_STRIDED,  /* every `stride`-th page, then those behind them, until each was touched; and again */
	MR_PATTERN_PHASED,   /* random within a working set that moves on by its size every `phase` touches */
	MR_PATTERN_STACK,    /* a page up or down within a working set, which itself drifts by a page now and then */
	MR_PATTERN_PRODUCER, /* writes one page after the other of a ring */
	MR_PATTERN_CONSUMER, /* reads the ring; touch for touch, `lag` pages behind the producer */
	MR_PATTERN_BURSTS,   /* `burst` random touches, one interval apart, then a pause of `pause` intervals more */
	MR_PATTERN_TRACE,    /* touches that were recorded */
	MR_PATTERN_KIND_COUNT
};

struct mr_touch {
	uint64_t page; /* number in the block */
	bool write;
	uint32_t pauses; /* times the touch interval to wait before this touch, beside the ordinary one */
};

struct mr_pattern_config {
	enum mr_pattern_kind kind;
	uint64_t first, pages;   /* the range, in target pages of one block; `pages` from 1 to 2^53 (IDLE: any) */
	uint32_t write_permille; /* of a thousand touches: writes (but PRODUCER writes and CONSUMER reads always) */
	uint64_t stride;         /* STRIDED, pages, at least 1 */
	uint64_t working_set;  /* PHASED, STACK: pages, 1 to `pages`; behind the range's end it goes on at its start */
	uint64_t phase;        /* PHASED: touches, at least 1 */
	uint64_t lag;          /* CONSUMER: pages, below `pages` */
	uint32_t burst, pause; /* BURSTS, each at least 1 */
	const struct mr_touch
		*trace; /* TRACE: the caller's; over and over; `page` counts from `first`, below `pages` */
	uint64_t trace_length;
};

/* Of one vCPU. Copy it to remember where it was. */
struct mr_pattern {
	/* private */
	struct mr_pattern_config config;
	struct mr_random random;
	uint64_t position; /* in the range: the next page, or TRACE: in the trace; STACK: in the working set */
	uint64_t base;     /* PHASED, STACK: where the working set begins; STRIDED: where the sweep began */
	uint64_t count;    /* touches of the phase or the burst, so far */
	uint64_t salt;     /* ZIPF: of the order of the ranks, the same for all vCPUs */
	uint32_t octaves;  /* ZIPF: bits of the highest rank */
};

/*
 * vCPU `index` of those with this configuration begins; each draws from a stream of its own, and those that go over the
 * range in order start at places of their own, number 0 at the range's start. Hot spots and phases are common to all of
 * one seed.
 */
void mr_pattern_init(struct mr_pattern *pattern, const struct mr_pattern_config *config, uint64_t seed, uint32_t index);
/* The next touch; false if there will be none (IDLE, an empty trace). */
bool mr_pattern_next(struct mr_pattern *pattern, struct mr_touch *touch);

/* "zipf"; NULL if there is no such kind. */
const char *mr_pattern_name(enum mr_pattern_kind kind);
/* MR_PATTERN_KIND_COUNT if none is so called. */
enum mr_pattern_kind mr_pattern_by_name(const char *name);

#endif
