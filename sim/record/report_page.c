/* report_page.c: a report as one HTML page that needs nothing beside it. */
#include "sim/record/report_page.h"
#include "sim/record/report_chart.h"
#include "sim/record/report_style.h"
#include "sim/record/report_tables.h"

#include <inttypes.h>
#include <string.h>

/* ---- Head ---- */

static void begin_fact(FILE *out, const char *name)
{
	fprintf(out, "<li><span class=\"soft\">%s</span> <b>", name);
}

static void put_fact(FILE *out, const char *name, const char *value)
{
	if (!value || !value[0])
		return;
	begin_fact(out, name);
	mr_html_escape(out, value);
	fputs("</b></li>\n", out);
}

static void put_releases(FILE *out, const struct mr_recording *recording)
{
	begin_fact(out, "QEMU");
	mr_html_escape(out, recording->source_qemu);
	if (strcmp(recording->source_qemu, recording->destination_qemu) != 0) {
		fputs(" to ", out);
		mr_html_escape(out, recording->destination_qemu);
	}
	fputs("</b></li>\n", out);
}

static void put_parameter(FILE *out, const char *key, json_t *value)
{
	mr_html_escape(out, key);
	if (json_is_integer(value)) {
		fprintf(out, "=%" JSON_INTEGER_FORMAT, json_integer_value(value));
	} else if (json_is_string(value)) {
		putc('=', out);
		mr_html_escape(out, json_string_value(value));
	} else if (json_is_boolean(value)) {
		fputs(json_is_true(value) ? "=on" : "=off", out);
	}
}

static void put_settings(FILE *out, const struct mr_recording *recording)
{
	enum { SHOWN = 40 };
	const char *key;
	json_t *value;
	unsigned count = 0;

	begin_fact(out, "capabilities");
	for (size_t i = 0; i < recording->capability_count && i < SHOWN; i++) {
		fputs(i ? ", " : "", out);
		mr_html_escape(out, recording->capabilities[i]);
	}
	fputs(recording->capability_count ? "</b></li>\n" : "none</b></li>\n", out);
	if (!recording->parameters || !json_object_size(recording->parameters))
		return;
	begin_fact(out, "parameters");
	json_object_foreach(recording->parameters, key, value)
	{
		if (count++ == SHOWN)
			break;
		fputs(count > 1 ? ", " : "", out);
		put_parameter(out, key, value);
	}
	fputs("</b></li>\n", out);
}

static void put_head(FILE *out, const struct mr_report *report)
{
	const struct mr_recording *recording = report->recording;
	const bool finished = strcmp(recording->status, "completed") == 0;
	char text[MR_UNIT_TEXT];

	fprintf(out, "<header>\n<h1>");
	mr_html_escape(out, report->name);
	fprintf(out, "</h1>\n<p>A recorded migration. <span class=\"verdict %s\">%s ", finished ? "good" : "bad",
		finished ? "&#10003;" : "&#10007;");
	mr_html_escape(out, recording->status);
	fprintf(out, "</span> <span class=\"verdict %s\">%s</span></p>\n", report->well ? "good" : "bad",
		report->well ? "&#10003; replay holds" : "&#10007; see what differs below");
	fputs("<ul class=\"facts\">\n", out);
	put_releases(out, recording);
	put_fact(out, "machine", recording->machine);
	put_fact(out, "accelerator", recording->accel);
	if (recording->memory_mib) {
		begin_fact(out, "memory");
		mr_html_escape(out,
			       mr_unit_bytes(text, recording->memory_mib < 1 << 30 ? recording->memory_mib << 20 : 0));
		if (recording->backend) {
			fputs(", ", out);
			mr_html_escape(out, recording->backend);
		}
		fputs("</b></li>\n", out);
	}
	put_settings(out, recording);
	put_fact(out, "source ended", recording->source_status);
	put_fact(out, "destination ended", recording->destination_status);
	fputs("</ul>\n", out);
	for (size_t i = 0; i < report->error_count; i++) {
		fputs("<p class=\"error\" role=\"alert\"><b class=\"bad\">Error:</b> ", out);
		mr_html_escape(out, report->errors[i]);
		fputs("</p>\n", out);
	}
	for (size_t i = 0; i < report->missing_count; i++) {
		fputs("<p class=\"note\">", out);
		mr_html_escape(out, report->missing[i]);
		fputs("</p>\n", out);
	}
	fputs("</header>\n", out);
}

/* ---- Tiles ---- */

static void put_tile(FILE *out, const char *name, const char *figure, const char *below)
{
	fprintf(out, "<div class=\"tile\"><span>%s</span><strong>%s</strong><span>%s</span></div>\n", name, figure,
		below);
}

static uint64_t pages_of_phase(const struct mr_report *report, enum mr_report_phase phase)
{
	uint64_t count = 0;

	for (unsigned kind = 0; kind < MR_REPORT_KIND_COUNT; kind++)
		count += report->pages[kind][phase];
	return count;
}

static void put_time_tile(FILE *out, const struct mr_report *report)
{
	json_t *source = json_object_get(report->recording->manifest, "source");
	json_t *downtime = json_object_get(source, "downtime");
	char figure[MR_UNIT_TEXT], below[2 * MR_UNIT_TEXT + 32] = "first to last event";

	if (json_is_integer(downtime))
		snprintf(below, sizeof(below), "downtime by the source %" JSON_INTEGER_FORMAT " ms",
			 json_integer_value(downtime));
	put_tile(out, "Total time", report->timed ? mr_unit_duration(figure, report->length) : "not known", below);
}

static void put_byte_tiles(FILE *out, const struct mr_report *report)
{
	uint64_t forward = 0, backward = 0;
	char figure[MR_UNIT_TEXT], below[MR_UNIT_TEXT + 32];

	for (size_t i = 0; i < report->lane_count; i++)
		*(report->lanes[i].role == MR_ROLE_RETURN ? &backward : &forward) += report->lanes[i].bytes;
	if (report->mapped) {
		put_tile(out, "File", mr_unit_bytes(figure, forward), "state.mapped");
		return;
	}
	snprintf(below, sizeof(below), "on %" PRIu64 " %s", report->connections,
		 report->connections == 1 ? "channel" : "channels");
	put_tile(out, "Source to destination", mr_unit_bytes(figure, forward), below);
	put_tile(out, "Return path", mr_unit_bytes(figure, backward), "destination to source");
}

static void put_request_tiles(FILE *out, const struct mr_report *report)
{
	const struct mr_report_requests *requests = mr_report_best(report);
	struct mr_report_latencies latencies;
	char figure[MR_UNIT_TEXT], text[MR_UNIT_TEXT], below[MR_UNIT_TEXT + 32];

	if (mr_report_latencies(&latencies, requests) < 0)
		return;
	snprintf(below, sizeof(below), "%s faults traced", mr_unit_count(text, report->traced.total));
	put_tile(out, "Requests sent", mr_unit_count(figure, report->sent.total),
		 report->has_faults ? below : "by the return paths");
	if (!latencies.count)
		return;
	snprintf(below, sizeof(below), "most %s", mr_unit_duration(text, latencies.most));
	put_tile(out, report->has_faults ? "Median wait for a page" : "Median answer at the tap",
		 mr_unit_duration(figure, latencies.median), below);
}

static void put_tiles(FILE *out, const struct mr_report *report)
{
	const uint64_t precopy = pages_of_phase(report, MR_REPORT_PRECOPY);
	const uint64_t background = pages_of_phase(report, MR_REPORT_BACKGROUND);
	const uint64_t requested = pages_of_phase(report, MR_REPORT_REQUESTED);
	char one[MR_UNIT_TEXT], two[MR_UNIT_TEXT], below[2 * MR_UNIT_TEXT + 32];

	fputs("<div class=\"tiles\">\n", out);
	put_time_tile(out, report);
	put_byte_tiles(out, report);
	put_tile(out, report->mapped ? "Pages in the file" : "Pages in precopy", mr_unit_count(one, precopy),
		 report->mapped ? "zero ones in a bitmap" : "each as often as it was sent");
	if (background || requested) {
		snprintf(below, sizeof(below), "%s of them waited for", mr_unit_count(two, requested));
		put_tile(out, "Pages in postcopy", mr_unit_count(one, background + requested), below);
		put_request_tiles(out, report);
	}
	if (report->discards)
		put_tile(out, "Pages discarded", mr_unit_count(one, report->discards), "to come again");
	if (report->cuts)
		put_tile(out, "Cuts", mr_unit_count(one, report->cuts), "of the network");
	fputs("</div>\n", out);
}

/* ---- Timeline ---- */

static void put_mark_list(FILE *out, const struct mr_report *report)
{
	char text[MR_UNIT_TEXT];

	fputs("<ol class=\"commands\">\n", out);
	for (size_t i = 0; i < report->mark_count; i++) {
		const struct mr_report_mark *mark = &report->marks[i];

		fprintf(out, "<li><b>%zu</b>%s", i + 1, mark->kind == MR_MARK_CUT ? "<strong class=\"bad\">" : "");
		mr_html_escape(out, mark->text);
		fputs(mark->kind == MR_MARK_CUT ? "</strong>" : "", out);
		if (mark->count > 1)
			fprintf(out, " &#215;%" PRIu64, mark->count);
		fprintf(out, " <span class=\"soft\">%s</span></li>\n",
			mr_chart_position(text, report->timed, mark->at));
	}
	fputs("</ol>\n", out);
	if (report->hidden_marks)
		fprintf(out, "<p class=\"soft\">%s more are not listed.</p>\n",
			mr_unit_count(text, report->hidden_marks));
}

static void put_change_table(FILE *out, const struct mr_report *report)
{
	static const char *const bands[MR_BAND_COUNT] = {"source", "destination", "PostcopyState"};
	char text[MR_UNIT_TEXT];
	bool broken = false;

	if (!report->change_count)
		return;
	/* What goes wrong lasts too short for a label in the picture. */
	for (size_t i = 0; i < report->change_count; i++)
		broken |= mr_chart_is_trouble(report->changes[i].name);
	fprintf(out, "<details%s>", broken ? " open=\"open\"" : "");
	fputs("<summary>All states</summary><div class=\"scroll\"><table><thead><tr><th>of</th><th>state</th>"
	      "<th class=\"number\">from</th></tr></thead><tbody>\n",
	      out);
	for (unsigned band = 0; band < MR_BAND_COUNT; band++) {
		for (size_t i = 0; i < report->change_count; i++) {
			if (report->changes[i].band != band)
				continue;
			fprintf(out, "<tr><td>%s</td><td>", bands[band]);
			mr_html_escape(out, report->changes[i].name);
			fprintf(out, "</td><td class=\"number\">%s</td></tr>\n",
				mr_chart_position(text, report->timed, report->changes[i].at));
		}
	}
	fputs("</tbody></table></div></details>\n", out);
}

static void put_timeline(FILE *out, const struct mr_report *report)
{
	fputs("<section id=\"timeline\"><h2>Timeline</h2>\n<p class=\"soft\">", out);
	if (!report->timed)
		fputs("In the order of bytes: no file of the recording tells the time.", out);
	else if (report->mapped)
		fputs("By the clock of the source's trace; what stands in the file has no time.", out);
	else if (!report->has_timeline)
		fputs("By the clock of the traces; when bytes crossed is not known.", out);
	else
		fputs("Statuses of both ends, commands by their numbers below, and the bytes of each channel, each "
		      "scaled "
		      "to its own peak. The clocks of traces and tap are fitted at the first connection.",
		      out);
	fputs("</p>\n", out);
	mr_chart_timeline(out, report);
	put_mark_list(out, report);
	put_change_table(out, report);
	fputs("</section>\n", out);
}

/* ---- Pages ---- */

static void put_page_table(FILE *out, const struct mr_report *report)
{
	static const char *const kinds[MR_REPORT_KIND_COUNT] = {"normal",
								"zero",
								"xbzrle",
								"compressed",
								"multifd normal",
								"multifd zero",
								"in the mapped-ram file",
								"zero, in its bitmap alone"};
	char text[MR_UNIT_TEXT];

	fputs("<div class=\"scroll\"><table><caption>Page records as they were sent, a page as often as it "
	      "was</caption>"
	      "<thead><tr><th>kind</th><th class=\"number\">precopy</th><th class=\"number\">postcopy, background</th>"
	      "<th class=\"number\">postcopy, waited for</th></tr></thead><tbody>\n",
	      out);
	for (unsigned kind = 0; kind < MR_REPORT_KIND_COUNT; kind++) {
		const uint64_t *pages = report->pages[kind];

		if (pages[0] + pages[1] + pages[2] == 0)
			continue;
		fprintf(out, "<tr><td>%s</td>", kinds[kind]);
		for (unsigned phase = 0; phase < MR_REPORT_PHASE_COUNT; phase++)
			fprintf(out, "<td class=\"number\">%s</td>", mr_unit_count(text, pages[phase]));
		fputs("</tr>\n", out);
	}
	fputs("</tbody></table></div>\n", out);
}

static void put_map(FILE *out, const struct mr_report *report)
{
	fputs("<section id=\"pages\"><h2>Pages</h2>\n<p class=\"soft\">Guest memory at the destination: which pages "
	      "had "
	      "come by when, and how each came last.</p>\n",
	      out);
	if (report->map->pages_per_cell)
		mr_chart_map(out, report);
	else
		fputs("<p class=\"note\">There is no map: the recording lists no RAM blocks, or too large ones.</p>\n",
		      out);
	fputs("<h3>Page records</h3>\n", out);
	put_page_table(out, report);
	fputs("</section>\n", out);
}

void mr_report_page(FILE *out, const struct mr_report *report)
{
	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
	      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"/>\n"
	      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
	      "script-src 'unsafe-inline'\"/>\n<title>",
	      out);
	mr_html_escape(out, report->name);
	fputs(" - migref report</title>\n<style>\n", out);
	fputs(mr_report_style, out);
	fputs("</style>\n</head>\n<body>\n<main>\n", out);
	put_head(out, report);
	put_tiles(out, report);
	put_timeline(out, report);
	put_map(out, report);
	mr_report_put_requests(out, report);
	mr_report_put_blocktime(out, report);
	mr_report_put_replay(out, report);
	mr_report_put_findings(out, report);
	fputs("<footer>Made by migref report " MR_VERSION
	      " from the recording alone.</footer>\n</main>\n<script>\n//<![CDATA[\n",
	      out);
	fputs(mr_report_script, out);
	fputs("//]]>\n</script>\n</body>\n</html>\n", out);
}
