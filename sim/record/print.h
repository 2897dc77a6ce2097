/* print.h: records and findings as lines, for people and for machines. */
#ifndef MR_RECORD_PRINT_H
#define MR_RECORD_PRINT_H

#include <stdio.h>

#include "ref/migref.h"

struct mr_printer {
	FILE *out;
	bool json;     /* one JSON object a line */
	bool all;      /* derived fields too: magics, type bytes, counts and lengths */
	bool data;     /* page contents and other long runs of bytes in full */
	bool hex;      /* text only: the record's bytes before it */
	bool channels; /* text only: the channel's name at the beginning of each line */
	/* The device whose body the next record is: its fields are shown too. NULL: none, or not to be shown. */
	const struct mr_layout *device;
};

/* Longest run of bytes that is printed without `data`. */
enum { MR_PRINT_BYTES_MAX = 32 };

/* Prints one record of `channel` ("ch0.fwd"); `wire` are its bytes, needed for `hex` alone. Errors show in ferror(). */
void mr_print_record(const struct mr_printer *printer, const char *channel, const struct mr_record *record,
		     const uint8_t *wire);
/* Prints one finding: file, channel, offset, rule, expected, found. `file` is what the user named. */
void mr_print_finding(const struct mr_printer *printer, const char *file, const char *channel,
		      const struct mr_finding *finding);
/* The text of a finding without file and channel, for an error line. */
void mr_format_finding(char *text, size_t size, const struct mr_finding *finding);
/* Writes the value of a field alone, as in mr_print_record(). */
void mr_print_value(const struct mr_printer *printer, const struct mr_field *field);
/* Writes a JSON string with quotes; bytes beyond ASCII become \u00xx. */
void mr_print_json_string(FILE *out, struct mr_bytes text);

#endif
