/* report_tables.c: what a report says of requests, of the replay and of deviations, as sections of its page. */
#include "sim/record/report_tables.h"
#include "sim/record/print.h"
#include "sim/record/report_chart.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS_SHOWN = 200, ROWS_SHOWN = 40 };

static const char *const outcome_names[] = {"added", "repeated", "dropped", "sent"};

/* ---- Requests ---- */

static int compare_numbers(const void *left, const void *right)
{
	const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return a < b ? -1 : a > b;
}

int mr_report_latencies(struct mr_report_latencies *latencies, const struct mr_report_requests *requests)
{
	uint64_t *sorted = calloc(requests->count + 1, sizeof(*sorted));

	memset(latencies, 0, sizeof(*latencies));
	if (!sorted)
		return -1;
	for (size_t i = 0; i < requests->count; i++) {
		const struct mr_report_request *request = &requests->items[i];

		latencies->outcomes[request->outcome]++;
		if (request->latency == MR_REPORT_NEVER) {
			latencies->unanswered++;
			continue;
		}
		sorted[latencies->count++] = request->latency;
		latencies->buckets[mr_chart_bucket(request->latency)]++;
	}
	if (latencies->count) {
		qsort(sorted, (size_t)latencies->count, sizeof(*sorted), compare_numbers);
		latencies->least = sorted[0];
		latencies->median = sorted[(latencies->count - 1) / 2];
		latencies->most = sorted[latencies->count - 1];
	}
	free(sorted);
	return 0;
}

static const char *block_name(const struct mr_report *report, uint32_t block)
{
	return block < report->block_count ? report->blocks[block].name : "no block";
}

/* The slowest of many: no faster than this are told. */
static uint64_t shown_from(const struct mr_report_requests *requests)
{
	uint64_t *sorted, from;
	size_t count = 0;

	if (requests->count <= REQUESTS_SHOWN)
		return 0;
	sorted = calloc(requests->count, sizeof(*sorted));
	if (!sorted)
		return 0;
	for (size_t i = 0; i < requests->count; i++)
		if (requests->items[i].latency != MR_REPORT_NEVER)
			sorted[count++] = requests->items[i].latency;
	qsort(sorted, count, sizeof(*sorted), compare_numbers);
	from = count > REQUESTS_SHOWN ? sorted[count - REQUESTS_SHOWN] : 0;
	free(sorted);
	return from;
}

static void put_request(FILE *out, const struct mr_report *report, const struct mr_report_request *request)
{
	char text[MR_UNIT_TEXT];

	fputs("<tr><td class=\"number\">", out);
	if (report->timed)
		fputs(mr_unit_duration(text, request->at), out);
	fputs("</td><td><code>", out);
	mr_html_escape(out, block_name(report, request->block));
	fprintf(out, " 0x%" PRIx64 "</code></td><td class=\"number\">%s</td><td class=\"number\">", request->offset,
		mr_unit_bytes(text, request->length));
	if (request->thread)
		fprintf(out, "%" PRIu64, request->thread);
	else
		fputs("not told", out);
	fprintf(out, "</td><td>%s</td><td class=\"number\">%s</td></tr>\n", outcome_names[request->outcome],
		request->latency == MR_REPORT_NEVER ? "not known" : mr_unit_duration(text, request->latency));
}

static void put_request_table(FILE *out, const struct mr_report *report, const struct mr_report_requests *requests)
{
	const uint64_t from = shown_from(requests);
	unsigned shown = 0;
	char text[MR_UNIT_TEXT];

	fprintf(out, "<details%s><summary>%s, in the order of time (%s in all)</summary>\n",
		requests->count <= 24 ? " open=\"open\"" : "", from ? "The slowest requests" : "Requests",
		mr_unit_count(text, requests->total));
	fputs("<div class=\"scroll tall\"><table><thead><tr><th class=\"number\">at</th><th>page</th>"
	      "<th class=\"number\">size</th><th class=\"number\">thread</th><th>outcome</th>"
	      "<th class=\"number\">latency</th></tr></thead><tbody>\n",
	      out);
	for (size_t i = 0; i < requests->count && shown < REQUESTS_SHOWN; i++) {
		if (from && (requests->items[i].latency < from || requests->items[i].latency == MR_REPORT_NEVER))
			continue;
		put_request(out, report, &requests->items[i]);
		shown++;
	}
	fputs("</tbody></table></div></details>\n", out);
}

/* QEMU's own distribution, which releases from 10.1 on tell in the same buckets. */
static bool latencies_of_qemu(const struct mr_report *report, uint64_t buckets[MR_REPORT_BUCKETS])
{
	json_t *list =
		json_object_get(json_object_get(report->recording->manifest, "destination"), "postcopy-latency-dist");

	memset(buckets, 0, MR_REPORT_BUCKETS * sizeof(*buckets));
	if (!json_is_array(list))
		return false;
	for (size_t i = 0; i < MR_REPORT_BUCKETS && i < json_array_size(list); i++) {
		const json_int_t count = json_integer_value(json_array_get(list, i));

		buckets[i] = count > 0 ? (uint64_t)count : 0;
	}
	return true;
}

static void put_request_charts(FILE *out, const struct mr_report *report, const struct mr_report_requests *requests,
			       const struct mr_report_latencies *latencies)
{
	uint64_t of_qemu[MR_REPORT_BUCKETS];
	const bool told = latencies_of_qemu(report, of_qemu);

	fputs("<div class=\"two\"><div><h3>Latency against time</h3>\n", out);
	mr_chart_requests(out, report, requests);
	fputs("<ul class=\"legend\"><li><svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><circle class=\"dot-0\" "
	      "cx=\"8\" cy=\"8\" r=\"5\"/></svg>asked for</li>",
	      out);
	if (latencies->outcomes[MR_OUTCOME_REPEATED])
		fputs("<li><svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><circle class=\"dot-1\" cx=\"8\" cy=\"8\" "
		      "r=\"5\"/></svg>asked for again</li>",
		      out);
	if (latencies->outcomes[MR_OUTCOME_DROPPED])
		fputs("<li><svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><path class=\"dot-2\" d=\"M3 3l10 "
		      "10m0-10l-10 "
		      "10\"/></svg>dropped: it was arriving</li>",
		      out);
	fputs("</ul></div><div><h3>Requests by latency</h3>\n", out);
	mr_chart_histogram(out, latencies->buckets, told ? of_qemu : NULL);
	fputs("<p class=\"soft\">Buckets double in width; the axis names where one begins.", out);
	if (told)
		fputs(" The lines across are QEMU's own counts (postcopy-latency-dist).", out);
	fputs("</p></div></div>\n", out);
}

void mr_report_put_requests(FILE *out, const struct mr_report *report)
{
	const struct mr_report_requests *requests = mr_report_best(report);
	struct mr_report_latencies latencies;
	char one[MR_UNIT_TEXT], two[MR_UNIT_TEXT], three[MR_UNIT_TEXT];

	if (!requests->count || mr_report_latencies(&latencies, requests) < 0)
		return;
	fprintf(out, "<section id=\"requests\"><h2>Requests</h2>\n<p class=\"soft\">%s</p>\n",
		report->has_faults ? "Each fault of the guest in the destination's trace, and how long it waited until "
				     "its page was placed."
		: report->has_timeline
			? "Each request on the return path, and how long after it the page's bytes came by; "
			  "there is no trace that tells of faults."
			: "Each request on the return path; without a trace or a timeline nobody knows how "
			  "long it waited.");
	if (latencies.count)
		fprintf(out, "<p>Latency: least %s, median %s, most %s.", mr_unit_duration(one, latencies.least),
			mr_unit_duration(two, latencies.median), mr_unit_duration(three, latencies.most));
	else
		fputs("<p>", out);
	if (report->has_faults)
		fprintf(out, " Of %s faults %s became requests, %s were asked for again, %s were dropped.",
			mr_unit_count(one, requests->total), mr_unit_count(two, latencies.outcomes[MR_OUTCOME_ADDED]),
			mr_unit_count(three, latencies.outcomes[MR_OUTCOME_REPEATED]),
			mr_unit_count((char[MR_UNIT_TEXT]){0}, latencies.outcomes[MR_OUTCOME_DROPPED]));
	fputs("</p>\n", out);
	if (latencies.count)
		put_request_charts(out, report, requests, &latencies);
	put_request_table(out, report, requests);
	fputs("</section>\n", out);
}

/* ---- Blocktime ---- */

static void put_number(FILE *out, json_t *value, bool milliseconds)
{
	char text[MR_UNIT_TEXT];

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		fputs("no number", out);
	else if (milliseconds)
		fprintf(out, "%s ms", mr_unit_count(text, (uint64_t)json_integer_value(value)));
	else
		fputs(mr_unit_duration(text, (uint64_t)json_integer_value(value)), out);
}

static void put_figure(FILE *out, json_t *value, bool milliseconds)
{
	if (!json_is_array(value))
		put_number(out, value, milliseconds);
	for (size_t i = 0; i < json_array_size(value) && i < ROWS_SHOWN; i++) {
		fputs(i ? ", " : "", out);
		put_number(out, json_array_get(value, i), milliseconds);
	}
}

void mr_report_put_blocktime(FILE *out, const struct mr_report *report)
{
	static const struct {
		const char *key, *meaning;
		bool milliseconds;
	} figures[] = {
		{"postcopy-blocktime", "all vCPUs stood still at once", true},
		{"postcopy-vcpu-blocktime", "each vCPU stood still", true},
		{"postcopy-latency", "a page was waited for, on average", false},
		{"postcopy-vcpu-latency", "each vCPU waited for a page, on average", false},
		{"postcopy-non-vcpu-latency", "other threads waited for a page, on average", false},
	};
	json_t *destination = json_object_get(report->recording->manifest, "destination");
	bool any = false;

	for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
		json_t *value = json_object_get(destination, figures[i].key);

		if (!value)
			continue;
		if (!any)
			fputs("<section id=\"blocktime\"><h2>Blocktime</h2>\n<p class=\"soft\">What the destination's "
			      "query-migrate said at the end.</p>\n<div "
			      "class=\"scroll\"><table><thead><tr><th>figure</th>"
			      "<th>what it tells</th><th>value</th></tr></thead><tbody>\n",
			      out);
		any = true;
		fprintf(out, "<tr><td><code>%s</code></td><td>%s</td><td class=\"text\">", figures[i].key,
			figures[i].meaning);
		put_figure(out, value, figures[i].milliseconds);
		fputs("</td></tr>\n", out);
	}
	if (any)
		fputs("</tbody></table></div></section>\n", out);
}

/* ---- Replay ---- */

static void begin_line(FILE *out, const char *comparison, const char *what, bool holds)
{
	fprintf(out, "<tr><td>%s</td><td><code>", comparison);
	mr_html_escape(out, what);
	fprintf(out, "</code></td><td class=\"%s\">%s</td><td class=\"text\">", holds ? "good" : "bad",
		holds ? "&#10003; identical" : "&#10007; differs");
}

static void put_wires(FILE *out, const struct mr_replay *replay)
{
	char one[MR_UNIT_TEXT], two[MR_UNIT_TEXT];
	size_t shown = 0;

	for (size_t i = 0; i < replay->wire_count; i++) {
		const struct mr_wire_result *wire = &replay->wires[i];

		if (wire->identical && shown >= ROWS_SHOWN)
			continue;
		shown++;
		begin_line(out, "wire", wire->channel, wire->identical);
		fprintf(out, "%s role, %s bytes, %s records", mr_role_name(wire->role), mr_unit_count(one, wire->bytes),
			mr_unit_count(two, wire->records));
		if (wire->payloads)
			fprintf(out, ", %s payloads compressed again", mr_unit_count(one, wire->payloads));
		if (wire->cut)
			fprintf(out, "; cut: %s bytes of an unfinished record", mr_unit_count(one, wire->rest));
		if (!wire->identical) {
			fputs("; ", out);
			mr_html_escape(out, wire->text);
		}
		fputs("</td></tr>\n", out);
	}
	if (shown < replay->wire_count)
		fprintf(out, "<tr><td>wire</td><td colspan=\"3\">%zu more directions are identical</td></tr>\n",
			replay->wire_count - shown);
}

static void put_returns(FILE *out, const struct mr_destination *destination)
{
	char text[MR_UNIT_TEXT], name[24];

	for (size_t i = 0; i < destination->return_count && i < ROWS_SHOWN; i++) {
		const struct mr_return_result *result = &destination->returns[i];

		snprintf(name, sizeof(name), "ch%" PRIu32 ".ret", result->channel);
		begin_line(out, "return path", name, result->identical);
		fprintf(out, "%s bytes", mr_unit_count(text, result->recorded));
		if (!result->identical) {
			fputs("; ", out);
			mr_html_escape(out, result->text);
		} else if (result->sent > result->recorded) {
			fprintf(out, "; cut: %s more were sent", mr_unit_count(text, result->sent - result->recorded));
		}
		fputs("</td></tr>\n", out);
	}
}

static void put_actions(FILE *out, const struct mr_destination *destination)
{
	const struct mr_difference *difference = &destination->difference;
	char one[MR_UNIT_TEXT], two[MR_UNIT_TEXT];

	if (!destination->ran) {
		begin_line(out, "actions", "destination", false);
		fputs("the destination cannot be run: ", out);
		mr_html_escape(out, destination->reason);
	} else if (!destination->has_trace) {
		fputs("<tr><td>actions</td><td><code>dst.trace</code></td><td>not compared</td><td>there is no trace",
		      out);
	} else if (destination->trace_error[0]) {
		begin_line(out, "actions", "dst.trace", false);
		mr_html_escape(out, destination->trace_error);
	} else if (difference->found) {
		begin_line(out, "actions", "dst.trace", false);
		if (difference->line)
			fprintf(out, "line %s", mr_unit_count(one, difference->line));
		else
			fputs("its end", out);
		fputs(": trace: ", out);
		mr_html_escape(out, difference->traced);
		fputs("; machine: ", out);
		mr_html_escape(out, difference->made);
	} else {
		begin_line(out, "actions", "dst.trace", destination->actions_identical);
		fprintf(out, "%s lines, %s of them in one order for all threads",
			mr_unit_count(one, destination->lines), mr_unit_count(two, destination->locked_lines));
	}
	fputs("</td></tr>\n", out);
	if (!destination->ran)
		return;
	fprintf(out, "<tr><td>log</td><td></td><td>%s</td><td class=\"text\">%s records, ",
		destination->from_log ? "given" : "derived", mr_unit_count(one, destination->log_records));
	fprintf(out, "%s faults, %s actions", mr_unit_count(one, destination->faults),
		mr_unit_count(two, destination->actions));
	if (destination->log_rule || destination->reason[0]) {
		fputs("; ", out);
		mr_html_escape(out, destination->reason);
	}
	if (!destination->finished)
		fprintf(out, "; the destination did not finish: %s, %s", mr_postcopy_state_name(destination->state),
			mr_status_name(destination->status));
	fputs("</td></tr>\n", out);
}

static void put_blocktime_line(FILE *out, const struct mr_blocktime_result *result)
{
	char one[MR_UNIT_TEXT], two[MR_UNIT_TEXT];

	if (!result->expected)
		return;
	if (!result->compared)
		fputs("<tr><td>blocktime</td><td></td><td>not compared</td><td class=\"text\">", out);
	else
		begin_line(out, "blocktime", "", result->identical);
	if (!result->compared || !result->identical)
		mr_html_escape(out, result->text);
	else if (result->exact)
		fprintf(out, "%s ms and all other figures of %s faults", mr_unit_count(one, result->blocktime),
			mr_unit_count(two, result->faults));
	else
		fprintf(out, "%s ms within 1 ms for each of %s faults", mr_unit_count(one, result->blocktime),
			mr_unit_count(two, result->faults));
	fputs("</td></tr>\n", out);
}

static void put_memories(FILE *out, const struct mr_replay *replay)
{
	char one[MR_UNIT_TEXT], two[MR_UNIT_TEXT], three[MR_UNIT_TEXT];

	for (size_t i = 0; i < replay->memory_count; i++) {
		const struct mr_memory_result *memory = &replay->memories[i];

		if (!memory->compared)
			continue;
		begin_line(out, "memory", memory->block, memory->identical);
		fprintf(out, "%s of %s pages compared with %s", mr_unit_count(one, memory->compared_pages),
			mr_unit_count(two, memory->pages), memory->truth);
		if (!memory->identical)
			fprintf(out, "; %s are not the source's, %s never came",
				mr_unit_count(three, memory->differ.pages), mr_unit_count(one, memory->missing.pages));
		fputs("</td></tr>\n", out);
	}
	if (!replay->has_truth)
		fputs("<tr><td>memory</td><td></td><td>not compared</td><td>there is no source.ram or "
		      "source.pmem</td></tr>\n",
		      out);
}

void mr_report_put_replay(FILE *out, const struct mr_report *report)
{
	fputs("<section id=\"replay\"><h2>Replay</h2>\n", out);
	if (!report->replayed) {
		fputs("<p class=\"error\"><b class=\"bad\">It could not be replayed:</b> ", out);
		mr_html_escape(out, report->replay_error);
		fputs("</p></section>\n", out);
		return;
	}
	fputs("<p class=\"soft\">Every channel was written again from what was understood of it, the destination was "
	      "run "
	      "again, and both were compared with what was recorded.</p>\n"
	      "<div "
	      "class=\"scroll\"><table><thead><tr><th>comparison</th><th>of</th><th>result</th><th>figures</th></tr>"
	      "</thead><tbody>\n",
	      out);
	put_wires(out, &report->replay);
	if (report->replay.has_destination) {
		put_returns(out, &report->replay.destination);
		put_actions(out, &report->replay.destination);
		put_blocktime_line(out, &report->replay.destination.blocktime);
	}
	put_memories(out, &report->replay);
	fputs("</tbody></table></div></section>\n", out);
}

/* ---- Findings ---- */

static void put_rule(FILE *out, const struct mr_judgement *judgement, enum mr_rule rule)
{
	const struct mr_finding *first = NULL;
	char text[MR_UNIT_TEXT], line[400];
	uint64_t count = 0;

	for (size_t i = 0; i < judgement->kept; i++) {
		if (judgement->findings[i].rule != rule)
			continue;
		first = first ? first : &judgement->findings[i];
		count++;
	}
	if (!first)
		return;
	fprintf(out, "<tr><td><code>%s</code></td><td>%s</td><td class=\"number\">%s</td><td class=\"text\">",
		mr_rule_id(rule), mr_verdict_name(first->verdict), mr_unit_count(text, count));
	mr_html_escape(out, mr_rule_title(rule));
	fputs("<br/><span class=\"soft\">first: ", out);
	mr_html_escape(out, mr_judgement_channel(judgement, first));
	fputs(": ", out);
	mr_format_finding(line, sizeof(line), first);
	mr_html_escape(out, line);
	fputs("</span></td></tr>\n", out);
}

void mr_report_put_findings(FILE *out, const struct mr_report *report)
{
	const struct mr_judgement *judgement = &report->judgement;
	char one[MR_UNIT_TEXT], two[MR_UNIT_TEXT];

	fputs("<section id=\"findings\"><h2>Check</h2>\n", out);
	if (!report->judged) {
		fputs("<p class=\"error\">The streams could not be judged.</p></section>\n", out);
		return;
	}
	fprintf(out, "<p>By the rules of SPEC.md the streams are <b class=\"%s\">%s%s</b>",
		judgement->verdict <= MR_ACCEPTABLE ? "good" : "bad",
		judgement->verdict <= MR_ACCEPTABLE ? "" : "invalid: ", mr_verdict_name(judgement->verdict));
	if (judgement->count == 0) {
		fputs(": no rule is broken.</p></section>\n", out);
		return;
	}
	fprintf(out, ": %s %s, of %s %s.</p>\n", mr_unit_count(one, judgement->count),
		judgement->count == 1 ? "deviation" : "deviations", mr_unit_count(two, judgement->rule_count),
		judgement->rule_count == 1 ? "rule" : "rules");
	fputs("<div class=\"scroll\"><table><thead><tr><th>rule</th><th>verdict</th><th class=\"number\">times</th>"
	      "<th>what it says</th></tr></thead><tbody>\n",
	      out);
	for (enum mr_rule rule = MR_NO_RULE + 1; rule < MR_RULE_COUNT; rule++)
		put_rule(out, judgement, rule);
	fputs("</tbody></table></div></section>\n", out);
}
