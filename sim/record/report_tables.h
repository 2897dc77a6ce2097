/* report_tables.h: what a report says of requests, of the replay and of deviations, as sections of its page. */
#ifndef MR_RECORD_REPORT_TABLES_H
#define MR_RECORD_REPORT_TABLES_H

#include "sim/record/report.h"

#include <stdio.h>

struct mr_report_latencies {
	uint64_t count, least, median, most; /* nanoseconds; of those that were answered */
	uint64_t unanswered;
	uint64_t outcomes[MR_OUTCOME_SENT + 1];
	uint64_t buckets[MR_REPORT_BUCKETS];
};

/* -1 if memory is short. */
int mr_report_latencies(struct mr_report_latencies *latencies, const struct mr_report_requests *requests);
void mr_report_put_requests(FILE *out, const struct mr_report *report);
void mr_report_put_blocktime(FILE *out, const struct mr_report *report);
void mr_report_put_replay(FILE *out, const struct mr_report *report);
void mr_report_put_findings(FILE *out, const struct mr_report *report);

#endif
