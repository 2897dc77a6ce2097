/* sim_support.c: small simulated migrations for tests. */
#include "sim_support.h"

#include <stdio.h>

/* ---- Scenarios ---- */

static const uint64_t microsecond = 1000, millisecond = 1000000;

void sim_scenario(struct mr_scenario *scenario, const char *release, uint32_t capabilities, uint64_t seed)
{
	struct mr_scenario_migration *migration = &scenario->migration;

	mr_scenario_default(scenario);
	scenario->seed = seed;
	scenario->guest.vcpus = 2;
	scenario->guest.filled = 900;
	scenario->blocks[0].size = 1 << 20;
	scenario->blocks[1] = (struct mr_scenario_block){.name = "vga.ram", .size = 96 << 10, .page_size = 4096};
	scenario->block_count = 2;
	scenario->workload_count = 1;
	scenario->workloads[0] = (struct mr_scenario_workload){
		.name = "load",
		.vcpu_count = 2,
		.interval = 300 * microsecond,
		.pattern = {.kind = MR_PATTERN_RANDOM,
			    .pages = 256,
			    .write_permille = 500,
			    .stride = 1,
			    .working_set = 256,
			    .phase = 1,
			    .burst = 1,
			    .pause = 1},
	};
	scenario->link.bandwidth = 10000000;
	scenario->link.latency = 100 * microsecond;
	scenario->link.send_buffer = scenario->link.receive_buffer = scenario->link.return_buffer = 64 << 10;
	migration->capabilities = capabilities;
	snprintf(migration->source, sizeof(migration->source), "%s", release);
	snprintf(migration->destination, sizeof(migration->destination), "%s", release);
	migration->run_after = 5 * millisecond;
	migration->time_limit = 10000 * millisecond;
	migration->downtime_limit = capabilities & SIM_POSTCOPY ? 1 : 300;
	if (capabilities & SIM_POSTCOPY)
		migration->switch_after = 20 * millisecond;
}

struct mr_scenario_fault *sim_add_fault(struct mr_scenario *scenario, enum mr_fault_kind kind,
					enum mr_fault_trigger trigger, uint64_t at)
{
	struct mr_scenario_fault *fault = &scenario->faults[scenario->fault_count];

	*fault = (struct mr_scenario_fault){.kind = kind,
					    .trigger = trigger,
					    .at = at,
					    .duration = millisecond,
					    .percent = 50,
					    .count = 1,
					    .error = 5};
	snprintf(fault->name, sizeof(fault->name), "fault-%u", (unsigned)scenario->fault_count++);
	return fault;
}

struct mr_scenario_operation *sim_add_operation(struct mr_scenario *scenario, enum mr_operation_kind kind,
						enum mr_fault_trigger trigger, uint64_t at)
{
	struct mr_scenario_operation *operation = &scenario->operations[scenario->operation_count];

	*operation = (struct mr_scenario_operation){.kind = kind, .trigger = trigger, .at = at};
	snprintf(operation->name, sizeof(operation->name), "operation-%u", (unsigned)scenario->operation_count++);
	return operation;
}

/* ---- Runs ---- */

struct mr_sim *sim_new(const struct mr_scenario *scenario, const struct mr_watch *watch)
{
	char error[512];
	struct mr_sim *sim;

	if (mr_scenario_check(scenario, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	sim = mr_sim_new(scenario, watch, error, sizeof(error));
	if (!sim)
		fail_msg("%s", error);
	return sim;
}

static uint64_t sum_of(const uint64_t *numbers, size_t count)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += numbers[i];
	return sum;
}

/* The highest bucket that holds a fault is that of the longest wait. */
static void check_buckets(const struct mr_sim_result *result)
{
	unsigned bucket = 0;

	while (bucket < MR_LATENCY_BUCKETS - 1 && result->latency_maximum / 1000 >> (bucket + 1))
		bucket++;
	assert_int_equal(result->latency[bucket] > 0, result->resolved > 0);
	assert_int_equal(sum_of(result->latency + bucket + 1, MR_LATENCY_BUCKETS - bucket - 1), 0);
}

static void check_figures(const struct mr_sim_result *result)
{
	check_buckets(result);
	assert_int_equal(sum_of(result->latency, MR_LATENCY_BUCKETS), result->resolved);
	assert_true(result->resolved <= result->faults);
	assert_true(result->latency_maximum <= result->latency_sum);
	assert_true(result->latency_sum <= result->resolved * result->latency_maximum);
	assert_int_equal(result->waited, result->latency_sum);
	assert_true(result->pages_sent_twice <= result->pages_sent);
	assert_true(result->setup_time <= result->run_time);
	assert_true(result->total_time <= result->run_time);
	assert_true(result->writes <= result->touches);
	assert_int_equal(result->forward_bytes, result->header_bytes + result->page_bytes + result->zero_bytes +
							result->xbzrle_bytes + result->packet_bytes +
							result->device_bytes + result->discard_bytes);
}

void sim_end(struct mr_sim *sim, struct mr_sim_result *result)
{
	assert_true(mr_sim_run(sim, UINT64_MAX));
	mr_sim_result(sim, result);
	check_figures(result);
	mr_sim_free(sim);
}

static void show(const struct mr_scenario *scenario, const struct mr_sim_result *result)
{
	mr_scenario_write(scenario, stdout);
	printf("%s: %s\n", mr_outcome_name(result->outcome), result->reason);
}

void sim_run(const struct mr_scenario *scenario, struct mr_sim_result *result)
{
	sim_end(sim_new(scenario, NULL), result);
	if (result->violation.property == MR_PROPERTY_NONE)
		return;
	show(scenario, result);
	fail_msg("%s: %s", mr_property_name(result->violation.property), result->violation.text);
}

void sim_complete(const struct mr_scenario *scenario, struct mr_sim_result *result)
{
	sim_run(scenario, result);
	if (result->outcome != MR_OUTCOME_COMPLETED) {
		show(scenario, result);
		fail_msg("expected a migration that completes, found %s", mr_outcome_name(result->outcome));
	}
	assert_int_equal(result->resolved, result->faults);
}

/* ---- What is told ---- */

static void add_number(struct sim_telling *telling, uint64_t number)
{
	telling->hash = mr_mix(telling->hash ^ number) + number;
}

static void add_bytes(struct sim_telling *telling, struct mr_bytes bytes)
{
	add_number(telling, bytes.length);
	for (size_t i = 0; i < bytes.length; i++)
		telling->hash = (telling->hash ^ bytes.data[i]) * UINT64_C(0x100000001b3);
}

static void hear_destination(void *argument, const struct mr_log_record *record, const struct mr_incoming *incoming,
			     const struct mr_action *action)
{
	struct sim_telling *telling = argument;
	const uint64_t numbers[] = {record->kind,
				    record->actor,
				    record->channel,
				    record->block,
				    record->role,
				    record->count,
				    record->offset,
				    record->thread,
				    (uint64_t)record->error,
				    record->bytes,
				    mr_incoming_status(incoming)};

	telling->told++;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		add_number(telling, numbers[i]);
	if (!action)
		return;
	add_number(telling, action->kind);
	add_number(telling, action->channel);
	add_number(telling, action->offset);
	if (action->kind == MR_ACTION_PLACE || action->kind == MR_ACTION_MARKED)
		add_number(telling, action->placed.offset);
	if (action->kind == MR_ACTION_SEND)
		add_bytes(telling, action->send.bytes);
}

static void hear_source(void *argument, const struct mr_source_log_record *record,
			const struct mr_source_action *action)
{
	struct sim_telling *telling = argument;
	const uint64_t numbers[] = {record->kind,  record->actor,   record->choice,   record->command,
				    record->block, record->channel, record->count,    record->answer,
				    record->start, record->length,  record->bytes,    (uint64_t)record->error,
				    record->ended, record->runs,    record->unchanged};

	telling->told++;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		add_number(telling, numbers[i]);
	if (!action)
		return;
	add_number(telling, action->kind);
	if (action->kind == MR_SOURCE_ACTION_SEND)
		add_number(telling, action->send.offset);
}

static void hear_line(void *argument, const struct mr_line *line)
{
	struct sim_telling *telling = argument;

	telling->told++;
	add_number(telling, line->event);
	add_number(telling, line->time);
	add_number(telling, line->channel);
	add_number(telling, line->backward);
	add_number(telling, line->offset);
	add_number(telling, line->length);
	add_bytes(telling, line->head);
	add_bytes(telling, line->body);
}

static void hear_look(void *argument, uint32_t block, uint64_t offset)
{
	struct sim_telling *telling = argument;

	telling->told++;
	add_number(telling, block);
	add_number(telling, offset);
}

void sim_telling_watch(struct sim_telling *telling, struct mr_watch *watch)
{
	*telling = (struct sim_telling){0};
	*watch = (struct mr_watch){telling, hear_destination, hear_source, hear_line, hear_look};
}
