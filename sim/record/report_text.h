/* report_text.h: numbers with their units and strings of any content, as text of an HTML page. */
#ifndef MR_RECORD_REPORT_TEXT_H
#define MR_RECORD_REPORT_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { MR_UNIT_TEXT = 48 };

/*
 * Text from a file or a stream: what HTML would take for its own is escaped, a byte that is no ASCII is \xNN.
 * Of a very long text only the beginning is told, since a page has a limit.
 */
void mr_html_escape(FILE *out, const char *text);
/* "4,226" */
const char *mr_unit_count(char out[MR_UNIT_TEXT], uint64_t count);
/* "4.49 MiB" */
const char *mr_unit_bytes(char out[MR_UNIT_TEXT], uint64_t bytes);
/* "93.3 ms" */
const char *mr_unit_duration(char out[MR_UNIT_TEXT], uint64_t nanoseconds);

#endif
