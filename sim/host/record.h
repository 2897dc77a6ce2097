/*
 * record.h: a migration between two real QEMU of ours, run by a plan and recorded on its way: the guest is ours too, so
 * that its memory can be judged behind it.
 */
#ifndef MR_HOST_RECORD_H
#define MR_HOST_RECORD_H

#include "sim/host/record_plan.h"
#include "sim/record/tapped.h"

enum mr_recorder_end {
	MR_RECORDER_AS_PLANNED,
	MR_RECORDER_OTHERWISE, /* it was recorded, and did not go as planned */
	MR_RECORDER_FAILED,    /* nothing could be recorded, or not all of it written */
	MR_RECORDER_END_COUNT
};

enum mr_recorder_memory {
	MR_RECORDER_UNJUDGED, /* it did not come so far */
	MR_RECORDER_EQUAL,    /* the destination's memory is what its guest's own counts make of it */
	MR_RECORDER_LOST,     /* it is not, as this release loses writes in precopy: QEMU's fault */
	MR_RECORDER_DIFFERS,
	MR_RECORDER_MEMORY_COUNT
};

struct mr_recorder_result {
	enum mr_recorder_end end;
	char line[MR_RECORDER_LINE];                      /* unless as planned: why */
	char note[MR_RECORDER_LINE];                      /* what else is worth telling; empty: nothing */
	char source_release[32], destination_release[32]; /* empty: it did not come so far */
	char status[32];                                  /* of the source at the end, as `query-migrate` names it */
	enum mr_recorder_memory memory;
	uint64_t requests;   /* pages that the destination asked for, by the source's count */
	uint32_t recoveries; /* connections made anew */
	bool stopped_first;  /* the source's guest was, before the migration */
	double seconds;      /* from the command to its end */
	struct {
		enum mr_role role;
		uint64_t forward, backward; /* bytes */
	} channels[MR_RECORDING_CHANNELS_MAX];
	uint32_t channel_count;
};

struct mr_recorder_options {
	const struct mr_recorder_plan *plan;
	const char *directory; /* the recording's: new or empty */
	/* Called now and then; `bytes` of this phase are done, `fraction` of it, below 0 if that is not known. */
	void (*progress)(void *argument, const char *phase, double fraction, uint64_t bytes);
	void *argument;
};

/*
 * Runs to its end, at the latest at the plan's time limit and some seconds, or when SIGINT or SIGTERM comes. Nothing
 * that it started is left running, no file but the recording's. May be called by a process of one thread only.
 */
void mr_recorder_run(const struct mr_recorder_options *options, struct mr_recorder_result *result);

/* "as planned", "otherwise", "failed" */
const char *mr_recorder_end_name(enum mr_recorder_end end);
/* "not judged", "equal", "writes lost by QEMU", "differs" */
const char *mr_recorder_memory_name(enum mr_recorder_memory memory);

#endif
