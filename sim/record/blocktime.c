/* blocktime.c: times of faults and marks from a trace, and a machine's figures against QEMU's. */
#include "sim/record/blocktime.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NANOSECONDS = 1000, MILLISECOND = 1000000, MICROSECONDS = 1000 };

struct mr_blocktime_clock {
	const struct mr_trace *trace;
	bool is_early;
	uint64_t origin; /* of the trace's clock, us */
	uint64_t now;
	bool is_set;
	size_t cursors[MR_ACTOR_COUNT];
	uint32_t vcpu_count;
	uint64_t *threads;
};

/* ---- Times of a trace ---- */

/*
 * The moment of the trace's clock at which the milliseconds begin. Each line of a fault leaves one millisecond for it,
 * up to the moment at which it could have been printed at the earliest; the middle of what all leave is taken.
 */
static uint64_t find_origin(const struct mr_trace *trace)
{
	uint64_t highest = UINT64_MAX, lowest = 0;

	for (size_t i = 0; i < trace->count; i++) {
		const struct mr_event *event = &trace->events[i];

		if (event->kind != MR_EVENT_BLOCKTIME_BEGIN || event->flags ||
		    event->value >= event->microseconds / MICROSECONDS)
			continue;
		if (event->microseconds - event->value * MICROSECONDS < highest)
			highest = event->microseconds - event->value * MICROSECONDS;
		if (event->microseconds - (event->value + 1) * MICROSECONDS > lowest)
			lowest = event->microseconds - (event->value + 1) * MICROSECONDS;
	}
	if (highest == UINT64_MAX)
		return 0;
	return lowest < highest ? lowest + (highest - lowest) / 2 : highest;
}

int mr_blocktime_clock_new(struct mr_blocktime_clock **result, const struct mr_incoming *incoming,
			   const struct mr_trace *trace)
{
	struct mr_blocktime_clock *clock;
	struct mr_blocktime figures;

	*result = NULL;
	mr_incoming_blocktime(incoming, &figures);
	if (!trace || figures.vcpu_count == 0 ||
	    !(trace->seen[MR_EVENT_BLOCKTIME_BEGIN] || trace->seen[MR_EVENT_BLOCKTIME_END] ||
	      trace->seen[MR_EVENT_VCPU]))
		return 0;
	clock = calloc(1, sizeof(*clock));
	if (!clock)
		return -1;
	clock->trace = trace;
	clock->is_early = !figures.has_latency;
	clock->origin = find_origin(trace);
	clock->vcpu_count = figures.vcpu_count;
	clock->threads = calloc(figures.vcpu_count, sizeof(*clock->threads));
	if (!clock->threads) {
		free(clock);
		return -1;
	}
	*result = clock;
	return 0;
}

void mr_blocktime_clock_free(struct mr_blocktime_clock *clock)
{
	if (clock)
		free(clock->threads);
	free(clock);
}

bool mr_blocktime_clock_is_early(const struct mr_blocktime_clock *clock)
{
	return clock && clock->is_early;
}

const struct mr_event *mr_blocktime_clock_line(struct mr_blocktime_clock *clock, size_t line, unsigned actor)
{
	size_t *cursor;

	if (!clock || actor >= MR_ACTOR_COUNT)
		return NULL;
	cursor = &clock->cursors[actor];
	if (*cursor < line)
		*cursor = line;
	for (; *cursor < clock->trace->count; ++*cursor) {
		const struct mr_event *event = &clock->trace->events[*cursor];

		if (event->actor == actor &&
		    (event->kind == MR_EVENT_BLOCKTIME_BEGIN || event->kind == MR_EVENT_BLOCKTIME_END))
			return event;
	}
	return NULL;
}

uint64_t mr_blocktime_clock_at(const struct mr_blocktime_clock *clock, const struct mr_event *event)
{
	uint64_t begin, at;

	if (!clock->is_early)
		return event->value < INT64_MAX ? event->value : INT64_MAX;
	at = event->microseconds > clock->origin ? event->microseconds - clock->origin : 0;
	if (at > INT64_MAX / NANOSECONDS)
		at = INT64_MAX / NANOSECONDS;
	at *= NANOSECONDS;
	if (event->kind != MR_EVENT_BLOCKTIME_BEGIN || event->flags || event->value > UINT32_MAX)
		return at;
	/* Within the millisecond that the line tells. */
	begin = event->value * MILLISECOND;
	if (at < begin)
		return begin;
	return at < begin + MILLISECOND ? at : begin + MILLISECOND - 1;
}

bool mr_blocktime_clock_matters(const struct mr_blocktime_clock *clock, const struct mr_incoming *incoming)
{
	struct mr_blocktime figures;

	mr_incoming_blocktime(incoming, &figures);
	return !clock->is_early || figures.waiting;
}

bool mr_blocktime_clock_set(struct mr_blocktime_clock *clock, uint64_t nanoseconds)
{
	const bool is_news = !clock->is_set || clock->now != nanoseconds;

	clock->is_set = true;
	clock->now = nanoseconds;
	return is_news;
}

bool mr_blocktime_clock_names(struct mr_blocktime_clock *clock, uint32_t vcpu, uint64_t thread)
{
	if (vcpu >= clock->vcpu_count || clock->threads[vcpu] == thread)
		return false;
	clock->threads[vcpu] = thread;
	return true;
}

/* ---- Figures ---- */

static const json_t *figures_of(const struct mr_recording *recording)
{
	return json_object_get(recording->manifest, "destination");
}

uint32_t mr_blocktime_vcpus(const struct mr_recording *recording)
{
	const json_t *count = json_object_get(recording->manifest, "smp");

	if (!json_is_integer(count))
		return 1;
	return json_integer_value(count) > 0 && json_integer_value(count) <= UINT32_MAX
		       ? (uint32_t)json_integer_value(count)
		       : 0;
}

/* A figure of the manifest against the machine's. */
static void compare_figure(struct mr_blocktime_result *result, const char *name, size_t index, const json_t *told,
			   uint64_t counted, uint64_t tolerance)
{
	const json_int_t found = json_integer_value(told);
	char which[24] = "";

	if (!result->identical)
		return;
	if (json_is_integer(told) && found >= 0 &&
	    ((uint64_t)found > counted ? (uint64_t)found - counted : counted - (uint64_t)found) <= tolerance)
		return;
	result->identical = false;
	if (index != SIZE_MAX)
		snprintf(which, sizeof(which), "[%zu]", index);
	if (json_is_integer(told))
		snprintf(result->text, sizeof(result->text),
			 "%s%s: QEMU told %" JSON_INTEGER_FORMAT ", counted %" PRIu64 ", expected within %" PRIu64,
			 name, which, found, counted, tolerance);
	else
		snprintf(result->text, sizeof(result->text), "%s%s: expected a number, found none", name, which);
}

static void compare_count(struct mr_blocktime_result *result, const char *name, const json_t *told, size_t count)
{
	if (!result->identical || (json_is_array(told) && json_array_size(told) == count))
		return;
	result->identical = false;
	snprintf(result->text, sizeof(result->text), "%s: expected %zu figures, found %zu", name, count,
		 json_array_size(told));
}

static void compare_vcpus(struct mr_blocktime_result *result, const json_t *told, const struct mr_incoming *incoming,
			  uint32_t count)
{
	const json_t *times = json_object_get(told, "postcopy-vcpu-blocktime");
	const json_t *latencies = json_object_get(told, "postcopy-vcpu-latency");

	compare_count(result, "postcopy-vcpu-blocktime", times, count);
	if (result->exact)
		compare_count(result, "postcopy-vcpu-latency", latencies, count);
	for (uint32_t i = 0; i < count && result->identical; i++) {
		const struct mr_vcpu_blocktime vcpu = mr_incoming_vcpu_blocktime(incoming, i);

		compare_figure(result, "postcopy-vcpu-blocktime", i, json_array_get(times, i), vcpu.blocktime,
			       result->exact ? 0 : vcpu.faults);
		if (result->exact)
			compare_figure(result, "postcopy-vcpu-latency", i, json_array_get(latencies, i), vcpu.latency,
				       0);
	}
}

static void compare_latencies(struct mr_blocktime_result *result, const json_t *told,
			      const struct mr_blocktime *figures)
{
	const json_t *buckets = json_object_get(told, "postcopy-latency-dist");

	compare_figure(result, "postcopy-latency", SIZE_MAX, json_object_get(told, "postcopy-latency"),
		       figures->latency, 0);
	compare_figure(result, "postcopy-non-vcpu-latency", SIZE_MAX,
		       json_object_get(told, "postcopy-non-vcpu-latency"), figures->non_vcpu_latency, 0);
	compare_count(result, "postcopy-latency-dist", buckets, MR_BLOCKTIME_BUCKETS);
	for (size_t i = 0; i < MR_BLOCKTIME_BUCKETS; i++)
		compare_figure(result, "postcopy-latency-dist", i, json_array_get(buckets, i), figures->distribution[i],
			       0);
}

void mr_blocktime_compare(struct mr_blocktime_result *result, const struct mr_recording *recording,
			  const struct mr_incoming *incoming, bool timed)
{
	const json_t *told = figures_of(recording);
	const json_t *blocktime = json_object_get(told, "postcopy-blocktime");
	struct mr_blocktime figures;
	const bool shown = mr_incoming_blocktime(incoming, &figures);

	*result = (struct mr_blocktime_result){.expected = blocktime != NULL};
	if (!blocktime)
		return;
	if (!timed) {
		snprintf(result->text, sizeof(result->text), "the log tells no times");
		return;
	}
	result->compared = true;
	result->identical = shown;
	result->exact = figures.has_latency;
	result->blocktime = figures.blocktime;
	result->told = (uint32_t)json_integer_value(blocktime);
	for (uint32_t i = 0; i < figures.vcpu_count; i++)
		result->faults += mr_incoming_vcpu_blocktime(incoming, i).faults;
	if (!shown)
		snprintf(result->text, sizeof(result->text), "expected figures at the end, found none");
	compare_figure(result, "postcopy-blocktime", SIZE_MAX, blocktime, figures.blocktime,
		       result->exact ? 0 : result->faults);
	compare_vcpus(result, told, incoming, figures.vcpu_count);
	if (result->exact)
		compare_latencies(result, told, &figures);
}
