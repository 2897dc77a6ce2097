/* report_clock.h: when a byte of a recording crossed the tap, and a trace's lines on the same clock. */
#ifndef MR_RECORD_REPORT_CLOCK_H
#define MR_RECORD_REPORT_CLOCK_H

#include "sim/record/report.h"

/* The end of a piece of a lane, and when it had crossed. */
struct mr_report_chunk {
	uint32_t lane; /* channel * 2, + 1 backward */
	uint64_t end;  /* bytes of the lane */
	uint64_t t_ns;
};

struct mr_report_clock {
	struct mr_timeline timeline;
	struct mr_report_chunk *chunks; /* by lane and end */
	size_t chunk_count;
	uint64_t begin, end; /* nanoseconds of the timeline */
	/* Microseconds of the traces at the same moment as `begin`, or their first line. */
	bool has_trace;
	uint64_t trace_begin;
	/* Without a timeline: where a channel's bytes stand among all. */
	uint64_t before[MR_RECORDING_CHANNELS_MAX]; /* of earlier main channels */
	uint64_t whole[MR_RECORDING_CHANNELS_MAX];  /* of all that belong together */
};

/* The timeline of the recording, if there is one that can be read. -1 with one line in `error` if there is, but cannot.
 */
int mr_report_clock_init(struct mr_report_clock *clock, const struct mr_recording *recording, char *error,
			 size_t error_size);
void mr_report_clock_clear(struct mr_report_clock *clock);
/* Byte counts of all channels are known now. */
void mr_report_clock_measure(struct mr_report_clock *clock, const struct mr_migration *migration);
/* When byte `offset` of a connection's direction crossed. */
mr_position mr_report_clock_byte(const struct mr_report_clock *clock, unsigned channel, bool backward, uint64_t offset);
/* When a line of a trace was printed. */
mr_position mr_report_clock_trace(const struct mr_report_clock *clock, uint64_t microseconds);

#endif
