/* sim_run.c: one simulated migration from its start to its end, with everybody who looks on. */
#include "sim/cli/sim_run.h"
#include "sim/record/progress.h"
#include "sim/record/writer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS_AT_ONCE = 20000, WATCHERS_MAX = 2 };

/* ---- Several who look on ---- */

struct watchers {
	const struct mr_watch *watchers[WATCHERS_MAX];
	unsigned count;
};

static void tell_destination(void *argument, const struct mr_log_record *record, const struct mr_incoming *incoming,
			     const struct mr_action *action)
{
	const struct watchers *watchers = argument;

	for (unsigned i = 0; i < watchers->count; i++)
		if (watchers->watchers[i]->destination)
			watchers->watchers[i]->destination(watchers->watchers[i]->argument, record, incoming, action);
}

static void tell_source(void *argument, const struct mr_source_log_record *record,
			const struct mr_source_action *action)
{
	const struct watchers *watchers = argument;

	for (unsigned i = 0; i < watchers->count; i++)
		if (watchers->watchers[i]->source)
			watchers->watchers[i]->source(watchers->watchers[i]->argument, record, action);
}

static void tell_line(void *argument, const struct mr_line *line)
{
	const struct watchers *watchers = argument;

	for (unsigned i = 0; i < watchers->count; i++)
		if (watchers->watchers[i]->line)
			watchers->watchers[i]->line(watchers->watchers[i]->argument, line);
}

static void tell_look(void *argument, uint32_t block, uint64_t offset)
{
	const struct watchers *watchers = argument;

	for (unsigned i = 0; i < watchers->count; i++)
		if (watchers->watchers[i]->look)
			watchers->watchers[i]->look(watchers->watchers[i]->argument, block, offset);
}

/* ---- The recording ---- */

char *sim_scenario_text(const struct mr_scenario *scenario)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int status;

	if (!out)
		return NULL;
	status = mr_scenario_write(scenario, out);
	if (fclose(out) == 0 && status == 0)
		return text;
	free(text);
	return NULL;
}

static void source_page(void *argument, uint32_t block, uint64_t page, uint8_t *out)
{
	mr_sim_source_page(argument, block, page, out);
}

static int finish_recording(struct mr_writer *writer, struct mr_sim *sim, const struct mr_scenario *scenario,
			    const struct mr_sim_result *result, char *error, size_t error_size)
{
	char *text = sim_scenario_text(scenario);
	const struct mr_writer_end end = {
		.producer = "migref sim " MR_VERSION,
		.source = mr_sim_source_config(sim),
		.destination = mr_sim_destination_config(sim),
		.statistics = &result->source,
		.description = mr_sim_description_text(sim),
		.vcpus = scenario->guest.vcpus,
		.timed = true,
		.total_time = result->total_time,
		.setup_time = result->setup_time,
		.downtime = result->downtime,
		.scenario = text,
		.seed = scenario->seed,
		.argument = sim,
		.page = source_page,
	};
	const int status = mr_writer_finish(writer, &end, error, error_size);

	free(text);
	return status;
}

/* ---- The run ---- */

static void run_to_end(struct mr_sim *sim, const struct mr_writer *writer, struct mr_sim_result *result, bool quiet)
{
	struct mr_progress progress;

	mr_progress_start(&progress, "sim", quiet);
	while (!mr_sim_run(sim, EVENTS_AT_ONCE) && !(writer && mr_writer_failed(writer))) {
		mr_sim_result(sim, result);
		mr_progress_update(&progress, mr_sim_fraction(sim), result->forward_bytes + result->return_bytes);
	}
	mr_progress_end(&progress);
	mr_sim_result(sim, result);
}

static int judge(struct sim_run *run, const struct sim_streams *streams, const struct mr_sim *sim, char *error,
		 size_t error_size)
{
	struct mr_sim_result *result = &run->result;

	run->digest = sim_streams_digest(streams);
	if (result->outcome == MR_OUTCOME_VIOLATED)
		return 0;
	run->streams = sim_streams_judge(streams, sim, result, result->violation.text, sizeof(result->violation.text));
	if (run->streams == SIM_STREAMS_FAILED) {
		snprintf(error, error_size, "no memory to keep and judge the streams");
		return -1;
	}
	if (run->streams == SIM_STREAMS_BREAK) {
		result->outcome = MR_OUTCOME_VIOLATED;
		result->violation.property = MR_PROPERTY_VALID;
		result->violation.time = result->run_time;
	}
	return 0;
}

static int run_watched(struct sim_run *run, const struct mr_scenario *scenario, struct sim_streams *streams,
		       struct mr_writer *writer, bool quiet, char *error, size_t error_size)
{
	struct watchers watchers = {{sim_streams_watch(streams)}, 1};
	struct mr_watch watch = {&watchers, NULL, tell_source, tell_line, NULL};
	struct mr_sim *sim;
	int status = 0;

	if (writer) {
		watchers.watchers[watchers.count++] = mr_writer_watch(writer);
		watch.destination = tell_destination;
		watch.look = tell_look;
	}
	sim = mr_sim_new(scenario, &watch, error, error_size);
	if (!sim)
		return -1;
	run_to_end(sim, writer, &run->result, quiet);
	if (writer)
		status = finish_recording(writer, sim, scenario, &run->result, error, error_size);
	if (status == 0)
		status = judge(run, streams, sim, error, error_size);
	mr_sim_free(sim);
	return status;
}

int sim_run(struct sim_run *run, const struct mr_scenario *scenario, const char *recording, bool quiet, char *error,
	    size_t error_size)
{
	struct sim_streams *streams = sim_streams_new();
	struct mr_writer *writer = NULL;
	int status = -1;

	memset(run, 0, sizeof(*run));
	if (!streams)
		snprintf(error, error_size, "no memory to keep the streams");
	else if (!recording || mr_writer_open(&writer, recording, error, error_size) == 0)
		status = run_watched(run, scenario, streams, writer, quiet, error, error_size);
	mr_writer_free(writer);
	sim_streams_free(streams);
	return status;
}
