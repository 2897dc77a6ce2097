/* sim_host.c: a scenario on real memory: what was measured, next to what the simulation says. */
#include "sim/cli/sim_host.h"
#include "sim/cli/cli.h"
#include "sim/cli/sim_run.h"
#include "sim/host/live_run.h"
#include "sim/record/report_text.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* The figures that both tell. */
struct figures {
	uint64_t total_time, downtime, blackout; /* ns */
	uint64_t forward_bytes, return_bytes, passes, pages_placed, recoveries, touches, writes, faults, requests;
	uint64_t latency, latency_maximum; /* ns; the first on average */
	uint64_t buckets[MR_LATENCY_BUCKETS];
	uint64_t blocktime; /* ms */
	bool has_blocktime;
};

static struct figures measured(const struct mr_live_run_result *result)
{
	const struct mr_live_board *board = &result->board;
	const struct mr_live_guest_figures *guest = &board->figures;
	struct figures figures = {
		.total_time = result->total_time,
		.downtime = result->downtime,
		.blackout = guest->blackout,
		.forward_bytes = board->forward_bytes,
		.return_bytes = board->return_bytes,
		.passes = board->passes,
		.pages_placed = board->pages_placed,
		.recoveries = board->recoveries,
		.touches = guest->touches,
		.writes = guest->writes,
		.faults = guest->faults,
		.requests = board->requests,
		.latency = guest->faults ? guest->latency_sum / guest->faults : 0,
		.latency_maximum = guest->latency_maximum,
		.blocktime = board->blocktime.blocktime,
		.has_blocktime = board->has_blocktime,
	};

	memcpy(figures.buckets, guest->latency, sizeof(figures.buckets));
	return figures;
}

static struct figures simulated(const struct mr_sim_result *result)
{
	struct figures figures = {
		.total_time = result->total_time,
		.downtime = result->downtime,
		.blackout = result->blackout,
		.forward_bytes = result->forward_bytes,
		.return_bytes = result->return_bytes,
		.passes = result->passes,
		.pages_placed = result->pages_placed,
		.recoveries = result->recoveries,
		.touches = result->touches,
		.writes = result->writes,
		.faults = result->faults,
		.requests = result->requests,
		.latency = result->resolved ? result->latency_sum / result->resolved : 0,
		.latency_maximum = result->latency_maximum,
		.blocktime = result->blocktime.blocktime,
		.has_blocktime = result->has_blocktime,
	};

	memcpy(figures.buckets, result->latency, sizeof(figures.buckets));
	return figures;
}

static const char *outcome_of(const struct mr_live_run_result *result)
{
	if (result->stranded)
		return result->board.source_guest_runs && atomic_load(&result->board.moved_at) ? "doubled" : "stranded";
	return result->returned ? "returned" : "completed";
}

/* ---- For people ---- */

static void print_count(const char *name, uint64_t here, uint64_t there)
{
	printf("  %-22s %16" PRIu64 " %16" PRIu64 "\n", name, here, there);
}

static void print_time(const char *name, uint64_t here, uint64_t there)
{
	char one[MR_UNIT_TEXT], other[MR_UNIT_TEXT];

	printf("  %-22s %16s %16s\n", name, mr_unit_duration(one, here), mr_unit_duration(other, there));
}

static void print_bytes(const char *name, uint64_t here, uint64_t there)
{
	char one[MR_UNIT_TEXT], other[MR_UNIT_TEXT];

	printf("  %-22s %16s %16s\n", name, mr_unit_bytes(one, here), mr_unit_bytes(other, there));
}

static void print_buckets(const struct figures *here, const struct figures *there)
{
	for (unsigned i = 0; i < MR_LATENCY_BUCKETS; i++) {
		char name[40];

		if (here->buckets[i] == 0 && there->buckets[i] == 0)
			continue;
		snprintf(name, sizeof(name), "  from %" PRIu64 " us", i ? UINT64_C(1) << i : 0);
		print_count(name, here->buckets[i], there->buckets[i]);
	}
}

static void print(const char *path, const struct mr_live_run_result *result, const struct figures *here,
		  const struct figures *there)
{
	printf("%s: %s on real memory; writes at the source logged by %s\n", path[0] ? path : "random",
	       outcome_of(result), result->board.dirty_method[0] ? result->board.dirty_method : "nobody");
	printf("  %-22s %16s %16s\n", "", "measured", "simulated");
	print_time("time", here->total_time, there->total_time);
	print_time("downtime", here->downtime, there->downtime);
	print_time("blackout", here->blackout, there->blackout);
	if (here->has_blocktime)
		print_time("blocktime", here->blocktime * 1000000, there->blocktime * 1000000);
	print_bytes("bytes forward", here->forward_bytes, there->forward_bytes);
	print_bytes("bytes back", here->return_bytes, there->return_bytes);
	print_count("passes", here->passes, there->passes);
	print_count("pages placed", here->pages_placed, there->pages_placed);
	print_count("recoveries", here->recoveries, there->recoveries);
	print_count("touches at destination", here->touches, there->touches);
	print_count("faults", here->faults, there->faults);
	print_count("requests", here->requests, there->requests);
	if (result->board.client_touches)
		printf("  %-22s %16" PRIu64 " of %" PRIu64 " touches; %" PRIu64 " pages checked\n", "client's faults",
		       result->board.client_faults, result->board.client_touches, result->board.client_checked);
	print_time("latency on average", here->latency, there->latency);
	print_time("latency at most", here->latency_maximum, there->latency_maximum);
	print_buckets(here, there);
}

/* ---- JSON ---- */

static json_t *figures_json(const struct figures *figures)
{
	json_t *buckets = json_array();
	json_t *object = json_pack(
		"{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "total_time_ns",
		(json_int_t)figures->total_time, "downtime_ns", (json_int_t)figures->downtime, "blackout_ns",
		(json_int_t)figures->blackout, "forward_bytes", (json_int_t)figures->forward_bytes, "return_bytes",
		(json_int_t)figures->return_bytes, "passes", (json_int_t)figures->passes, "pages_placed",
		(json_int_t)figures->pages_placed, "recoveries", (json_int_t)figures->recoveries, "touches",
		(json_int_t)figures->touches, "faults", (json_int_t)figures->faults, "requests",
		(json_int_t)figures->requests, "latency_ns", (json_int_t)figures->latency, "latency_maximum_ns",
		(json_int_t)figures->latency_maximum, "latency_buckets", buckets);

	for (unsigned i = 0; i < MR_LATENCY_BUCKETS; i++)
		json_array_append_new(buckets, json_integer((json_int_t)figures->buckets[i]));
	if (figures->has_blocktime)
		json_object_set_new(object, "blocktime_ms", json_integer((json_int_t)figures->blocktime));
	return object;
}

static void dump(const char *path, const struct mr_live_run_result *result, const struct figures *here,
		 const struct figures *there)
{
	json_t *object =
		json_pack("{s:s, s:s, s:s, s:o, s:o}", "scenario", path, "outcome", outcome_of(result), "dirty_log",
			  result->board.dirty_method, "measured", figures_json(here), "simulated", figures_json(there));

	json_dumpf(object, stdout, JSON_SORT_KEYS);
	putchar('\n');
	json_decref(object);
}

/* ---- Running ---- */

static void complain(const char *lines)
{
	while (*lines) {
		const size_t length = strcspn(lines, "\n");

		error_line("%.*s", (int)length, lines);
		lines += length + (lines[length] == '\n');
	}
}

int sim_host_run(const char *path, const struct mr_scenario *scenario, const struct sim_host_options *options)
{
	char *text = sim_scenario_text(scenario);
	const struct mr_live_run_options run_options = {.scenario = scenario,
							.ordinary = options->ordinary,
							.shared_client = options->shared_client,
							.recording = options->recording,
							.producer = "migref sim " MR_VERSION,
							.scenario_text = text};
	struct mr_live_run_result result;
	struct figures here, there;
	struct sim_run simulation;
	char error[1024];
	int status = STATUS_FAILED;

	if (!text)
		error_line("no memory for a scenario");
	else if (mr_live_run_check(&run_options, error, sizeof(error)) < 0 ||
		 mr_live_run(&run_options, &result, error, sizeof(error)) < 0 ||
		 sim_run(&simulation, scenario, NULL, true, error, sizeof(error)) < 0)
		complain(error);
	else
		status = STATUS_HOLDS;
	if (status == STATUS_HOLDS) {
		if (result.returned || result.stranded)
			complain(error);
		here = measured(&result);
		there = simulated(&simulation.result);
		(options->json ? dump : print)(path, &result, &here, &there);
	}
	free(text);
	return status;
}
