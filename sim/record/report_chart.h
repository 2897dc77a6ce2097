/* report_chart.h: the pictures of a report, as SVG inside of its page. */
#ifndef MR_RECORD_REPORT_CHART_H
#define MR_RECORD_REPORT_CHART_H

#include "sim/record/report.h"
#include "sim/record/report_text.h"

#include <stdio.h>

enum { MR_CHART_LANES_MAX = 12 };

/* "0.42 s", or without a clock "42.0 % of the bytes". */
const char *mr_chart_position(char out[MR_UNIT_TEXT], bool timed, mr_position at);
/* States of both ends, commands, cuts and bytes over time. */
void mr_chart_timeline(FILE *out, const struct mr_report *report);
/* Whether a state of either end is one that no migration should come to. */
bool mr_chart_is_trouble(const char *name);
/* The latest map with its slider, and all moments as small ones. */
void mr_chart_map(FILE *out, const struct mr_report *report);
/* When requests were made against how long they waited. */
void mr_chart_requests(FILE *out, const struct mr_report *report, const struct mr_report_requests *requests);
/* How many requests waited how long, beside QEMU's own counts if there are any. */
void mr_chart_histogram(FILE *out, const uint64_t buckets[MR_REPORT_BUCKETS], const uint64_t *of_qemu);
/* The bucket of a latency. */
unsigned mr_chart_bucket(uint64_t nanoseconds);

#endif
