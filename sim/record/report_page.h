/* report_page.h: a report as one HTML page that needs nothing beside it. */
#ifndef MR_RECORD_REPORT_PAGE_H
#define MR_RECORD_REPORT_PAGE_H

#include "sim/record/report.h"

#include <stdio.h>

/* Writes the page: the same bytes for the same report. Errors show in ferror(). */
void mr_report_page(FILE *out, const struct mr_report *report);

#endif
