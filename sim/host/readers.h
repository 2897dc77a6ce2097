/*
 * readers.h: the vCPUs of a guest whose memory has to stay as it came: threads that read pages by patterns, and wait
 * for those that are missing. Or, where nobody catches faults, the same without threads: who asks is told which page is
 * read next.
 */
#ifndef MR_HOST_READERS_H
#define MR_HOST_READERS_H

#include "sim/host/memory.h"
#include "sim/world/pattern.h"
#include "sim/world/scenario.h"

enum { MR_READERS_BUCKETS = 24 };

struct mr_reader {
	uint32_t block;
	struct mr_pattern_config pattern; /* within the block; what it would write is read */
	uint64_t interval;                /* ns from touch to touch */
};

struct mr_readers_setup {
	const struct mr_host_memory *memories;
	uint32_t target_page_size;
	const struct mr_reader *readers; /* copied, but for traces */
	uint32_t count;
	uint64_t seed;
	uint64_t touches; /* after which each ends; 0: no end */
};

struct mr_readers_figures {
	uint64_t touches, faults;             /* faults: those that were told of, and are over */
	uint64_t latency_sum, latency_max;    /* ns of them */
	uint64_t latency[MR_READERS_BUCKETS]; /* by microseconds: 2^n to 2^(n + 1) - 1, the first also below */
};

struct mr_readers;

/* At rest. NULL if memory is short. */
struct mr_readers *mr_readers_new(const struct mr_readers_setup *setup);
/* At rest. NULL is allowed. */
void mr_readers_free(struct mr_readers *readers);
void mr_readers_figures(struct mr_readers *readers, struct mr_readers_figures *sum);

/* ---- As threads ---- */

/* 0, or an errno: the host gives no thread; mr_readers_stop() has to follow either way. */
int mr_readers_start(struct mr_readers *readers);
/* Each ends behind its touch, at the latest when the page has come that it waits for. */
void mr_readers_ask_to_stop(struct mr_readers *readers);
/* Asks, and waits until all have ended. */
void mr_readers_stop(struct mr_readers *readers);
/* Which one runs in this thread of the system; -1 if none does. */
int mr_readers_find(const struct mr_readers *readers, uint32_t thread);
/* It is told to have met a missing page: its touch counts as a fault. */
void mr_readers_note_fault(struct mr_readers *readers, int reader);

/* ---- Without threads; `now` and times by mr_clock() ---- */

/* All begin. */
void mr_readers_begin(struct mr_readers *readers, uint64_t now);
/* When the next touch of any is due; UINT64_MAX: all wait, or have ended. */
uint64_t mr_readers_due(const struct mr_readers *readers);
/* Makes a touch that is due: of which reader, and where. False if none is. */
bool mr_readers_touch(struct mr_readers *readers, uint64_t now, uint32_t *reader, uint32_t *block, uint64_t *offset);
/* The page that this reader touched last is missing: it waits. */
void mr_readers_wait(struct mr_readers *readers, uint32_t reader, uint64_t now);
/* Who waits for a page in this range goes on. */
void mr_readers_wake(struct mr_readers *readers, uint32_t block, uint64_t offset, uint64_t length, uint64_t now);

#endif
