/* report_chart.c: time in a report's pictures: states, commands, bytes, and latencies of requests, as SVG. */
#include "sim/record/report_chart.h"

#include <inttypes.h>
#include <string.h>

enum {
	WIDTH = 1120,
	LEFT = 158,
	PLOT = 936,
	BAND_HEIGHT = 26,
	BAND_STEP = 32,
	MARKS_HEIGHT = 34,
	LANE_HEIGHT = 44,
	LANE_STEP = 66,
	AXIS_HEIGHT = 30,
	LETTER = 8,       /* width of one, roughly */
	MARKS_APART = 44, /* numbers of commands nearer than this become one */
	TICKS = 8,        /* of an axis, at most */
	HALF = 540,       /* width of a picture that shares a row */
	HALF_LEFT = 62,
	HALF_PLOT = 466,
	HALF_HEIGHT = 260,
	HALF_TOP = 14,
	DOT = 3,     /* nearer to each other than this, requests are one */
	TROUBLE = 4, /* colour of a state that no migration should come to */
};

const char *mr_chart_position(char out[MR_UNIT_TEXT], bool timed, mr_position at)
{
	if (timed)
		return mr_unit_duration(out, at);
	snprintf(out, MR_UNIT_TEXT, "%.1f %% of the bytes", (double)at / 1e4);
	return out;
}

static double place(const struct mr_report *report, mr_position at)
{
	const double part = report->length ? (double)at / (double)report->length : 0;

	return LEFT + PLOT * (part > 1 ? 1 : part);
}

static void put_text(FILE *out, const char *style, double x, double y, const char *text)
{
	fprintf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">", style, x, y);
	mr_html_escape(out, text);
	fputs("</text>\n", out);
}

/* ---- Axis ---- */

/* 1, 2 or 5 times a power of ten, so that there are at most TICKS of it. */
static double tick_step(double length)
{
	double step = 1;

	while (length / step > TICKS) {
		if (length / (step * 2) <= TICKS)
			return step * 2;
		if (length / (step * 5) <= TICKS)
			return step * 5;
		step *= 10;
	}
	return step;
}

static void put_tick_text(FILE *out, bool timed, double length, double at, double x, double y)
{
	fprintf(out, "<text class=\"small middle\" x=\"%.1f\" y=\"%.1f\">", x, y);
	if (!timed)
		fprintf(out, "%.0f %%", at / 1e4);
	else if (length >= 2e9)
		fprintf(out, "%g s", at / 1e9);
	else if (length >= 2e6)
		fprintf(out, "%g ms", at / 1e6);
	else
		fprintf(out, "%g &#181;s", at / 1e3);
	fputs("</text>\n", out);
}

static void put_axis(FILE *out, const struct mr_report *report, double left, double plot, double top, double bottom)
{
	const double length = (double)report->length, step = tick_step(length);

	for (unsigned i = 0; length > 0 && i * step <= length; i++) {
		const double x = left + plot * (i * step / length);

		fprintf(out, "<path class=\"rule\" d=\"M%.1f %.1fV%.1f\"/>\n", x, top, bottom);
		put_tick_text(out, report->timed, length, i * step, x, bottom + 17);
	}
	fprintf(out, "<path class=\"axis\" d=\"M%.1f %.1fh%.1f\"/>\n", left, bottom, plot);
}

/* ---- States ---- */

static const char *const band_names[MR_BAND_COUNT] = {"source", "destination", "PostcopyState"};

static unsigned band_colour(const char *name)
{
	static const struct {
		const char *name;
		unsigned colour;
	} colours[] = {
		{"active", 1},
		{"ADVISE", 1},
		{"device", 2},
		{"postcopy-device", 2},
		{"pre-switchover", 2},
		{"DISCARD", 2},
		{"LISTENING", 2},
		{"postcopy-active", 3},
		{"RUNNING", 3},
		{"postcopy-paused", TROUBLE},
		{"postcopy-recover", TROUBLE},
		{"postcopy-recover-setup", TROUBLE},
		{"failed", TROUBLE},
		{"failing", TROUBLE},
		{"cancelling", TROUBLE},
		{"cancelled", TROUBLE},
	};

	for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]); i++)
		if (strcmp(colours[i].name, name) == 0)
			return colours[i].colour;
	return 0;
}

bool mr_chart_is_trouble(const char *name)
{
	return band_colour(name) == TROUBLE;
}

/* Where the band's next state begins. */
static mr_position change_end(const struct mr_report *report, size_t index)
{
	for (size_t i = index + 1; i < report->change_count; i++)
		if (report->changes[i].band == report->changes[index].band)
			return report->changes[i].at;
	return report->length;
}

static void put_change(FILE *out, const struct mr_report *report, size_t index, double y)
{
	const struct mr_report_change *change = &report->changes[index];
	const mr_position end = change_end(report, index);
	const double x = place(report, change->at), width = place(report, end) - x;
	char from[MR_UNIT_TEXT], length[MR_UNIT_TEXT];

	fprintf(out, "<rect class=\"band band-%u\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%d\" rx=\"4\"><title>",
		band_colour(change->name), x, y, width < 3 ? 3 : width, BAND_HEIGHT);
	mr_html_escape(out, change->name);
	fprintf(out, ", from %s", mr_chart_position(from, report->timed, change->at));
	if (report->timed)
		fprintf(out, ", for %s", mr_unit_duration(length, end - change->at));
	fputs("</title></rect>\n", out);
	if (width > LETTER * (double)strlen(change->name) + 12)
		put_text(out, "on-band", x + 8, y + BAND_HEIGHT - 8, change->name);
}

static double put_bands(FILE *out, const struct mr_report *report, double y)
{
	for (unsigned band = 0; band < MR_BAND_COUNT; band++) {
		bool any = false;

		for (size_t i = 0; i < report->change_count; i++)
			any |= report->changes[i].band == band;
		if (!any)
			continue;
		put_text(out, "end", LEFT - 12, y + BAND_HEIGHT - 8, band_names[band]);
		for (size_t i = 0; i < report->change_count; i++)
			if (report->changes[i].band == band)
				put_change(out, report, i, y);
		y += BAND_STEP;
	}
	return y;
}

/* ---- Commands, connections, cuts ---- */

static double put_marks(FILE *out, const struct mr_report *report, double y, double bottom)
{
	if (!report->mark_count)
		return y;
	put_text(out, "end", LEFT - 12, y + 15, "commands");
	for (size_t first = 0; first < report->mark_count;) {
		const double x = place(report, report->marks[first].at);
		size_t last = first;
		char text[48];

		while (last + 1 < report->mark_count && place(report, report->marks[last + 1].at) - x < MARKS_APART)
			last++;
		for (size_t i = first; i <= last; i++)
			fprintf(out, "<path class=\"tick\" d=\"M%.1f %.1fv9\"/>\n", place(report, report->marks[i].at),
				y + 19);
		snprintf(text, sizeof(text), first == last ? "%zu" : "%zu-%zu", first + 1, last + 1);
		put_text(out, "small", report->marks[first].kind == MR_MARK_CUT ? x + 5 : x - 1, y + 14, text);
		first = last + 1;
	}
	for (size_t i = 0; i < report->mark_count; i++)
		if (report->marks[i].kind == MR_MARK_CUT)
			fprintf(out, "<path class=\"cut\" d=\"M%.1f 0V%.1f\"/>\n", place(report, report->marks[i].at),
				bottom);
	return y + MARKS_HEIGHT;
}

/* ---- Bytes ---- */

static void put_lane(FILE *out, const struct mr_report *report, const struct mr_report_lane *lane, double y)
{
	const double width = (double)PLOT / MR_REPORT_BINS;
	char text[MR_UNIT_TEXT], line[3 * MR_UNIT_TEXT], length[MR_UNIT_TEXT];
	uint64_t peak = 0;

	for (unsigned i = 0; i < MR_REPORT_BINS; i++)
		peak = lane->bins[i] > peak ? lane->bins[i] : peak;
	put_text(out, "end", LEFT - 12, y + 18, lane->name);
	snprintf(line, sizeof(line), "%s, %s", mr_role_name(lane->role), mr_unit_bytes(text, lane->bytes));
	put_text(out, "small end", LEFT - 12, y + 36, line);
	fprintf(out, "<path class=\"area-%s\" d=\"", lane->role == MR_ROLE_RETURN ? "return" : "forward");
	for (unsigned i = 0; peak && i < MR_REPORT_BINS; i++) {
		const double height = LANE_HEIGHT * ((double)lane->bins[i] / (double)peak);

		if (lane->bins[i])
			fprintf(out, "M%.1f %.1fv-%.1fh%.1fv%.1fz", LEFT + i * width, y + LANE_HEIGHT,
				height < 2 ? 2 : height, width - 0.8, height < 2 ? 2 : height);
	}
	fputs("\"/>\n", out);
	fprintf(out, "<path class=\"axis\" d=\"M%d %.1fh%d\"/>\n", LEFT, y + LANE_HEIGHT, PLOT);
	if (!peak)
		return;
	snprintf(line, sizeof(line), "peak %s%s%s", mr_unit_bytes(text, peak), report->timed ? " in " : "",
		 report->timed ? mr_unit_duration(length, report->length / MR_REPORT_BINS) : "");
	fprintf(out, "<text class=\"small end\" x=\"%d\" y=\"%.1f\">%s</text>\n", LEFT + PLOT, y - 4, line);
}

/* Where no time is known, only bytes that make up the order themselves have a place in it. */
static bool is_drawn(const struct mr_report *report, const struct mr_report_lane *lane)
{
	return report->timed ? report->has_timeline : lane->role != MR_ROLE_RETURN;
}

static double height_of_all(const struct mr_report *report, size_t *lanes)
{
	unsigned bands = 0;

	for (unsigned band = 0; band < MR_BAND_COUNT; band++) {
		for (size_t i = 0; i < report->change_count; i++) {
			if (report->changes[i].band == band) {
				bands++;
				break;
			}
		}
	}
	*lanes = 0;
	for (size_t i = 0; i < report->lane_count; i++)
		*lanes += is_drawn(report, &report->lanes[i]);
	return bands * BAND_STEP + (report->mark_count ? MARKS_HEIGHT : 0) +
	       (double)(*lanes < MR_CHART_LANES_MAX ? *lanes : MR_CHART_LANES_MAX) * LANE_STEP + 10;
}

void mr_chart_timeline(FILE *out, const struct mr_report *report)
{
	size_t lanes, shown = 0;
	const double bottom = height_of_all(report, &lanes);
	double y;

	fprintf(out,
		"<div class=\"scroll\"><svg viewBox=\"0 0 %d %.0f\" role=\"img\" style=\"min-width:760px\" "
		"aria-label=\"states of both ends, commands and bytes of each channel over time\">\n",
		WIDTH, bottom + AXIS_HEIGHT);
	put_axis(out, report, LEFT, PLOT, 0, bottom);
	y = put_bands(out, report, 2);
	y = put_marks(out, report, y, bottom) + 16;
	for (size_t i = 0; i < report->lane_count && shown < MR_CHART_LANES_MAX; i++)
		if (is_drawn(report, &report->lanes[i]))
			put_lane(out, report, &report->lanes[i], y + (double)shown++ * LANE_STEP);
	fputs("</svg></div>\n", out);
	if (lanes > shown)
		fprintf(out, "<p class=\"soft\">%zu more directions of channels are not drawn.</p>\n", lanes - shown);
}

/* ---- Requests ---- */

unsigned mr_chart_bucket(uint64_t nanoseconds)
{
	uint64_t microseconds = nanoseconds / 1000;
	unsigned bucket = 0;

	for (; microseconds > 1 && bucket + 1 < MR_REPORT_BUCKETS; microseconds /= 2)
		bucket++;
	return bucket;
}

/* Beginning of a bucket, which is a power of two microseconds. */
static const char *bucket_text(char out[MR_UNIT_TEXT], unsigned bucket)
{
	const uint64_t microseconds = bucket ? (uint64_t)1 << bucket : 0;

	if (microseconds < 1000)
		snprintf(out, MR_UNIT_TEXT, "%" PRIu64 " &#181;s", microseconds);
	else if (microseconds < 1000000)
		snprintf(out, MR_UNIT_TEXT, "%.0f ms", (double)microseconds / 1e3);
	else
		snprintf(out, MR_UNIT_TEXT, "%.1f s", (double)microseconds / 1e6);
	return out;
}

/* A dot, a ring or a cross, by what became of the request. */
static void put_dot(FILE *out, enum mr_report_outcome outcome, double x, double y)
{
	if (outcome == MR_OUTCOME_REPEATED)
		fprintf(out, "<circle class=\"dot-1\" cx=\"%.0f\" cy=\"%.0f\" r=\"5\"/>\n", x, y);
	else if (outcome == MR_OUTCOME_DROPPED)
		fprintf(out, "<path class=\"dot-2\" d=\"M%.0f %.0fl8 8m0-8l-8 8\"/>\n", x - 4, y - 4);
	else
		fprintf(out, "<circle class=\"dot-0\" cx=\"%.0f\" cy=\"%.0f\" r=\"4\"/>\n", x, y);
}

/* Buckets are equally high; inside of one the scale is even. */
static double latency_place(uint64_t latency, unsigned low, unsigned high)
{
	const unsigned bucket = mr_chart_bucket(latency);
	const double begin = (double)((uint64_t)1 << bucket), part = (double)latency / 1000 / begin - 1;
	const double value = bucket + (part < 0 ? 0 : part > 1 ? 1 : part);

	return HALF_TOP + HALF_HEIGHT * (1 - (value - low) / (high - low));
}

static void put_latency_axis(FILE *out, unsigned low, unsigned high)
{
	const unsigned step = (high - low + 5) / 6;
	char text[MR_UNIT_TEXT];

	for (unsigned i = low; i <= high; i += step) {
		const double y = HALF_TOP + HALF_HEIGHT * (1 - (double)(i - low) / (high - low));

		fprintf(out, "<path class=\"rule\" d=\"M%d %.1fh%d\"/>\n", HALF_LEFT, y, HALF_PLOT);
		fprintf(out, "<text class=\"small end\" x=\"%d\" y=\"%.1f\">%s</text>\n", HALF_LEFT - 8, y + 4,
			bucket_text(text, i));
	}
}

void mr_chart_requests(FILE *out, const struct mr_report *report, const struct mr_report_requests *requests)
{
	/* Dots that fall together are drawn once, so that there are never more than these. */
	static uint8_t drawn[HALF_PLOT / DOT + 1][(HALF_TOP + HALF_HEIGHT) / DOT + 1];
	unsigned low = MR_REPORT_BUCKETS, high = 0;

	memset(drawn, 0, sizeof(drawn));
	for (size_t i = 0; i < requests->count; i++) {
		const unsigned bucket = mr_chart_bucket(requests->items[i].latency);

		if (requests->items[i].latency == MR_REPORT_NEVER)
			continue;
		low = bucket < low ? bucket : low;
		high = bucket + 1 > high ? bucket + 1 : high;
	}
	/* A bucket of air below and above. */
	low -= low > 0;
	high++;
	fprintf(out,
		"<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"latency of each request against its time\">\n",
		HALF, HALF_HEIGHT + HALF_TOP + AXIS_HEIGHT);
	put_axis(out, report, HALF_LEFT, HALF_PLOT, HALF_TOP, HALF_TOP + HALF_HEIGHT);
	put_latency_axis(out, low, high);
	for (size_t i = 0; i < requests->count; i++) {
		const struct mr_report_request *request = &requests->items[i];
		const double part = report->length ? (double)request->at / (double)report->length : 0;
		const double x = HALF_PLOT * (part > 1 ? 1 : part);
		double y;
		uint8_t *seen;

		if (request->latency == MR_REPORT_NEVER)
			continue;
		y = latency_place(request->latency, low, high);
		y = y < HALF_TOP ? HALF_TOP : y;
		seen = &drawn[(unsigned)(x / DOT)][(unsigned)(y / DOT)];
		if (!(*seen >> request->outcome & 1))
			put_dot(out, request->outcome, HALF_LEFT + x, y);
		*seen = (uint8_t)(*seen | 1 << request->outcome);
	}
	fputs("</svg>\n", out);
}

void mr_chart_histogram(FILE *out, const uint64_t buckets[MR_REPORT_BUCKETS], const uint64_t *of_qemu)
{
	unsigned first = MR_REPORT_BUCKETS, last = 0;
	uint64_t peak = 1;
	double step;
	char text[MR_UNIT_TEXT];

	for (unsigned i = 0; i < MR_REPORT_BUCKETS; i++) {
		const uint64_t theirs = of_qemu ? of_qemu[i] : 0;
		const uint64_t count = buckets[i] > theirs ? buckets[i] : theirs;

		if (!count)
			continue;
		first = i < first ? i : first;
		last = i;
		peak = count > peak ? count : peak;
	}
	/* A few empty ones around, so that one or two do not look like all. */
	first = first > 2 ? first - 2 : 0;
	last = last + 2 < MR_REPORT_BUCKETS ? last + 2 : MR_REPORT_BUCKETS - 1;
	step = (double)HALF_PLOT / (last - first + 1);
	fprintf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"requests by latency\">\n", HALF,
		HALF_HEIGHT + HALF_TOP + AXIS_HEIGHT);
	for (unsigned i = first; i <= last; i++) {
		const double x = HALF_LEFT + step * (i - first);
		const double height = (HALF_HEIGHT - 18) * ((double)buckets[i] / (double)peak);
		const double theirs = of_qemu ? (HALF_HEIGHT - 18) * ((double)of_qemu[i] / (double)peak) : 0;

		if (buckets[i])
			fprintf(out, "<rect class=\"bar\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n",
				x + step * 0.12, HALF_TOP + HALF_HEIGHT - height, step * 0.76, height);
		if (of_qemu && of_qemu[i])
			fprintf(out, "<path class=\"qemu\" d=\"M%.1f %.1fh%.1f\"/>\n", x + step * 0.04,
				HALF_TOP + HALF_HEIGHT - theirs, step * 0.92);
		if (buckets[i])
			fprintf(out, "<text class=\"small middle\" x=\"%.1f\" y=\"%.1f\">%" PRIu64 "</text>\n",
				x + step / 2, HALF_TOP + HALF_HEIGHT - height - 6, buckets[i]);
		if ((i - first) % ((last - first) / 7 + 1) == 0)
			fprintf(out, "<text class=\"small middle\" x=\"%.1f\" y=\"%d\">%s</text>\n", x,
				HALF_TOP + HALF_HEIGHT + 17, bucket_text(text, i));
	}
	fprintf(out, "<path class=\"axis\" d=\"M%d %dh%d\"/>\n</svg>\n", HALF_LEFT, HALF_TOP + HALF_HEIGHT, HALF_PLOT);
}
