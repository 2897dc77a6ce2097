/* report_text.c: numbers with their units and strings of any content, as text of an HTML page. */
#include "sim/record/report_text.h"

#include <inttypes.h>

enum { ESCAPED_MAX = 600 };

void mr_html_escape(FILE *out, const char *text)
{
	for (unsigned i = 0; *text; text++, i++) {
		const unsigned char byte = (unsigned char)*text;

		if (i == ESCAPED_MAX) {
			fputs("...", out);
			return;
		}

		if (byte == '&')
			fputs("&amp;", out);
		else if (byte == '<')
			fputs("&lt;", out);
		else if (byte == '>')
			fputs("&gt;", out);
		else if (byte == '"')
			fputs("&quot;", out);
		else if (byte < 0x20 || byte > 0x7e)
			fprintf(out, "\\x%02x", byte);
		else
			putc(byte, out);
	}
}

const char *mr_unit_count(char out[MR_UNIT_TEXT], uint64_t count)
{
	char digits[24];
	const int length = snprintf(digits, sizeof(digits), "%" PRIu64, count);
	size_t at = 0;

	for (int i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			out[at++] = ',';
		out[at++] = digits[i];
	}
	out[at] = '\0';
	return out;
}

/* Three digits that count. */
static void print_scaled(char out[MR_UNIT_TEXT], double value, const char *unit)
{
	snprintf(out, MR_UNIT_TEXT, "%.*f %s", value < 10 ? 2 : value < 100 ? 1 : 0, value, unit);
}

const char *mr_unit_bytes(char out[MR_UNIT_TEXT], uint64_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		snprintf(out, MR_UNIT_TEXT, "%" PRIu64 " %s", bytes, bytes == 1 ? "byte" : "bytes");
		return out;
	}
	while (value >= 1024) {
		value /= 1024;
		unit++;
	}
	print_scaled(out, value, units[unit]);
	return out;
}

const char *mr_unit_duration(char out[MR_UNIT_TEXT], uint64_t nanoseconds)
{
	if (nanoseconds == 0)
		snprintf(out, MR_UNIT_TEXT, "0 ms");
	else if (nanoseconds < 1000)
		snprintf(out, MR_UNIT_TEXT, "%" PRIu64 " ns", nanoseconds);
	else if (nanoseconds < 1000000)
		print_scaled(out, (double)nanoseconds / 1e3, "\xc2\xb5s");
	else if (nanoseconds < 1000000000)
		print_scaled(out, (double)nanoseconds / 1e6, "ms");
	else
		print_scaled(out, (double)nanoseconds / 1e9, "s");
	return out;
}
