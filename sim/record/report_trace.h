/* report_trace.h: what the traces of both ends tell a report: statuses, faults, and how long each waited. */
#ifndef MR_RECORD_REPORT_TRACE_H
#define MR_RECORD_REPORT_TRACE_H

#include "sim/record/report_clock.h"

/* Appends a request; beyond the limit it is counted only. -1 if memory is short. */
int mr_report_request_add(struct mr_report_requests *requests, const struct mr_report_request *request);
/* A status or state that begins; nothing if it is what the band shows already, or there is no place. */
void mr_report_change_add(struct mr_report *report, enum mr_report_band band, mr_position at, const char *name);
/*
 * Reads dst.trace and src.trace where they are, and fits their clock to the timeline's. What cannot be read becomes an
 * error of the report, what is not there a note. -1 if memory is short.
 */
int mr_report_read_traces(struct mr_report *report, struct mr_report_clock *clock,
			  const struct mr_recording *recording);
/* Lines of text about the report. */
__attribute__((format(printf, 2, 3))) void mr_report_add_error(struct mr_report *report, const char *format, ...);
__attribute__((format(printf, 2, 3))) void mr_report_add_missing(struct mr_report *report, const char *format, ...);

#endif
