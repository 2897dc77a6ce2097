/*
 * blocktime.h: what a trace says about the times of faults and marks, and what a manifest says came of them.
 *
 * From 10.1 on the lines tell the time in ns. Up to 10.0 those of faults tell ms since the counting was prepared, those
 * of marks none: it is taken from the trace's own clock, moved so that it fits all the faults' lines.
 */
#ifndef MR_RECORD_BLOCKTIME_H
#define MR_RECORD_BLOCKTIME_H

#include "sim/record/recording.h"
#include "sim/record/trace.h"

/* ---- Times of a trace ---- */

struct mr_blocktime_clock;

/* NULL in `result` if the machine counts nothing, or the trace (which may be NULL) tells no times. -1: no memory. */
int mr_blocktime_clock_new(struct mr_blocktime_clock **result, const struct mr_incoming *incoming,
			   const struct mr_trace *trace);
void mr_blocktime_clock_free(struct mr_blocktime_clock *clock);
/* A wait begins when its fault is told, and not at the verdict. False without a clock. */
bool mr_blocktime_clock_is_early(const struct mr_blocktime_clock *clock);
/* The actor's first line about blocktime from `line` on, which never goes back; NULL if there is none. */
const struct mr_event *mr_blocktime_clock_line(struct mr_blocktime_clock *clock, size_t line, unsigned actor);
/* When it was, ns. */
uint64_t mr_blocktime_clock_at(const struct mr_blocktime_clock *clock, const struct mr_event *event);
/* Somebody waits, so that the time of a mark means something. */
bool mr_blocktime_clock_matters(const struct mr_blocktime_clock *clock, const struct mr_incoming *incoming);
/* Sets the clock. False if it shows this time already. */
bool mr_blocktime_clock_set(struct mr_blocktime_clock *clock, uint64_t nanoseconds);
/* True if it is news that this vCPU, one that there is, is that thread. */
bool mr_blocktime_clock_names(struct mr_blocktime_clock *clock, uint32_t vcpu, uint64_t thread);

/* ---- Figures ---- */

struct mr_blocktime_result {
	bool expected; /* the manifest has figures */
	bool compared; /* and the log has what they come of */
	bool exact;    /* each to the last digit; else within 1 ms for each fault */
	bool identical;
	uint64_t faults;    /* that were counted */
	uint32_t blocktime; /* ms: as the machine has it */
	uint32_t told;      /* as QEMU said */
	char text[160];     /* the first figure that differs, or why nothing was compared */
};

/* The machine's figures against those of the destination's query-migrate; `timed`: its log told threads or times. */
void mr_blocktime_compare(struct mr_blocktime_result *result, const struct mr_recording *recording,
			  const struct mr_incoming *incoming, bool timed);
/* vCPUs of the destination: the manifest's `smp`, 1 if it does not say. */
uint32_t mr_blocktime_vcpus(const struct mr_recording *recording);

#endif
