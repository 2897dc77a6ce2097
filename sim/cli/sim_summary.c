/* sim_summary.c: what one simulated migration came to, for people and as JSON. */
#include "sim/cli/sim_summary.h"
#include "sim/cli/sim_report.h"
#include "sim/record/report_text.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

enum { BAR_WIDTH = 50 };

/* ---- For people ---- */

static void print_time(const char *before, uint64_t nanoseconds)
{
	char text[MR_UNIT_TEXT];

	printf("%s%s", before, mr_unit_duration(text, nanoseconds));
}

static void print_bytes(const char *before, uint64_t bytes, const char *behind)
{
	char text[MR_UNIT_TEXT];

	printf("%s%s%s", before, mr_unit_bytes(text, bytes), behind);
}

/* Kinds that did not occur are left out. */
static void print_kind(uint64_t bytes, const char *kind, const char **before)
{
	if (bytes == 0)
		return;
	fputs(*before, stdout);
	print_bytes("", bytes, kind);
	*before = ", ";
}

static void print_migration(const struct mr_scenario *scenario)
{
	const struct mr_scenario_migration *migration = &scenario->migration;
	uint64_t memory = 0;
	const char *name;
	uint32_t bit;

	for (uint32_t i = 0; i < scenario->block_count; i++)
		memory += scenario->blocks[i].size;
	printf("  migration   %s to %s", migration->source, migration->destination);
	for (size_t i = 0; (name = mr_capability_at(i, &bit)) != NULL; i++)
		if (migration->capabilities & bit)
			printf(", %s", name);
	print_bytes("; ", memory, "");
	printf(" in %" PRIu32 " blocks, %" PRIu32 " vCPUs\n", scenario->block_count, scenario->guest.vcpus);
}

static void print_times(const struct mr_sim_result *result)
{
	print_time("  time        ", result->total_time);
	print_time(" in all, set-up ", result->setup_time);
	print_time(", downtime ", result->downtime);
	print_time(", blackout ", result->blackout);
	print_time("; the run ", result->run_time);
	putchar('\n');
}

static void print_traffic(const struct mr_sim_result *result)
{
	const char *before = ": ";

	print_bytes("  bytes       ", result->forward_bytes, " forward");
	print_kind(result->page_bytes, " pages", &before);
	print_kind(result->zero_bytes, " zero pages", &before);
	print_kind(result->xbzrle_bytes, " differences", &before);
	print_kind(result->packet_bytes, " packets", &before);
	print_kind(result->header_bytes, " headers", &before);
	print_kind(result->discard_bytes, " discards", &before);
	print_kind(result->device_bytes, " devices", &before);
	print_bytes("; ", result->return_bytes, " back\n");
	printf("  pages       %" PRIu64 " sent, %" PRIu64 " of them more than once, in %" PRIu64 " passes; %" PRIu64
	       " placed, %" PRIu64 " loaded, %" PRIu64 " discarded\n",
	       result->pages_sent, result->pages_sent_twice, result->passes, result->pages_placed, result->pages_loaded,
	       result->pages_discarded);
	if (result->cuts)
		printf("  cuts        %" PRIu64 ", recovered from %" PRIu64 "\n", result->cuts, result->recoveries);
	printf("  guest       %" PRIu64 " touches, %" PRIu64 " of them writes\n", result->touches, result->writes);
}

static void print_histogram(const uint64_t latency[MR_LATENCY_BUCKETS])
{
	unsigned first = MR_LATENCY_BUCKETS, last = 0;
	uint64_t most = 0;

	for (unsigned i = 0; i < MR_LATENCY_BUCKETS; i++) {
		if (latency[i] == 0)
			continue;
		first = first < i ? first : i;
		last = i;
		most = most > latency[i] ? most : latency[i];
	}
	for (unsigned i = first; i <= last; i++) {
		/* whatever occurred is to be seen */
		const uint64_t width = (latency[i] * BAR_WIDTH + most - 1) / most;

		printf("%14" PRIu64 " \xc2\xb5s %8" PRIu64, UINT64_C(1) << i, latency[i]);
		fputs(width ? "  " : "", stdout);
		for (uint64_t column = 0; column < width; column++)
			putchar('#');
		putchar('\n');
	}
}

static void print_faults(const struct mr_sim_result *result)
{
	if (result->faults == 0)
		return;
	printf("  faults      %" PRIu64 ", %" PRIu64 " resolved, %" PRIu64 " requests", result->faults,
	       result->resolved, result->requests);
	print_time("; ", result->resolved ? result->latency_sum / result->resolved : 0);
	print_time(" on average, ", result->latency_maximum);
	print_time(" at most; vCPUs waited ", result->waited);
	putchar('\n');
	print_histogram(result->latency);
	if (result->has_blocktime)
		printf("  blocktime   %" PRIu32 " ms in which all %" PRIu32 " vCPUs waited\n",
		       result->blocktime.blocktime, result->blocktime.vcpu_count);
}

static void print_events(const struct mr_sim_result *result)
{
	const char *before = "  events      ";

	for (unsigned i = 0; i < MR_SOMETIMES_COUNT; i++) {
		if (result->seen[i] == 0)
			continue;
		printf("%s%s %" PRIu64, before, mr_sometimes_name(i), result->seen[i]);
		before = ", ";
	}
	if (*before == ',')
		putchar('\n');
}

static void print_end(const char *path, const struct mr_scenario *scenario, const struct sim_run *run)
{
	const struct mr_sim_result *result = &run->result;
	const struct mr_violation *violation = &result->violation;

	printf("%s, seed %" PRIu64 ": ", path[0] ? path : "a scenario that the seed draws", scenario->seed);
	if (result->outcome != MR_OUTCOME_VIOLATED) {
		printf("%s%s%s\n", mr_outcome_name(result->outcome), result->reason[0] ? ": " : "", result->reason);
		return;
	}
	printf("VIOLATED %s at %" PRIu64 ".%03" PRIu64 " ms: %s\n", mr_property_name(violation->property),
	       violation->time / 1000000, violation->time / 1000 % 1000, violation->text);
	printf("  property    %s\n  again       ", mr_property_text(violation->property));
	sim_put_command(stdout, path, scenario->seed);
	putchar('\n');
}

void sim_summary_print(const char *path, const struct mr_scenario *scenario, const struct sim_run *run)
{
	print_end(path, scenario, run);
	print_migration(scenario);
	print_times(&run->result);
	print_traffic(&run->result);
	print_faults(&run->result);
	print_events(&run->result);
	if (run->result.outcome != MR_OUTCOME_VIOLATED)
		printf("  streams     %s\n", run->streams == SIM_STREAMS_LARGE
						     ? "not judged: too large"
						     : "break no rule but those that the release is known to break");
	printf("  digest      %08" PRIx32 "\n", run->digest);
}

/* ---- As JSON ---- */

static void put(json_t *object, const char *key, uint64_t number)
{
	json_object_set_new(object, key, json_integer((json_int_t)number));
}

static void put_text(json_t *object, const char *key, const char *text)
{
	json_t *value = text[0] ? json_string(text) : NULL;

	json_object_set_new(object, key, value ? value : json_null());
}

/* A number where JSON's integers hold it. */
static void put_seed(json_t *object, uint64_t seed)
{
	char text[24];

	if (seed <= INT64_MAX) {
		put(object, "seed", seed);
		return;
	}
	snprintf(text, sizeof(text), "%" PRIu64, seed);
	put_text(object, "seed", text);
}

static json_t *times_object(const struct mr_sim_result *result)
{
	json_t *object = json_object();

	put(object, "total", result->total_time);
	put(object, "setup", result->setup_time);
	put(object, "downtime", result->downtime);
	put(object, "blackout", result->blackout);
	put(object, "run", result->run_time);
	return object;
}

static json_t *bytes_object(const struct mr_sim_result *result)
{
	json_t *object = json_object();

	put(object, "forward", result->forward_bytes);
	put(object, "back", result->return_bytes);
	put(object, "pages", result->page_bytes);
	put(object, "zero_pages", result->zero_bytes);
	put(object, "differences", result->xbzrle_bytes);
	put(object, "packets", result->packet_bytes);
	put(object, "headers", result->header_bytes);
	put(object, "discards", result->discard_bytes);
	put(object, "devices", result->device_bytes);
	return object;
}

static json_t *pages_object(const struct mr_sim_result *result)
{
	json_t *object = json_object();

	put(object, "sent", result->pages_sent);
	put(object, "sent_twice", result->pages_sent_twice);
	put(object, "placed", result->pages_placed);
	put(object, "loaded", result->pages_loaded);
	put(object, "discarded", result->pages_discarded);
	put(object, "passes", result->passes);
	return object;
}

static json_t *faults_object(const struct mr_sim_result *result)
{
	json_t *object = json_object(), *buckets = json_array();

	put(object, "faults", result->faults);
	put(object, "resolved", result->resolved);
	put(object, "requests", result->requests);
	put(object, "latency_sum", result->latency_sum);
	put(object, "latency_maximum", result->latency_maximum);
	put(object, "waited", result->waited);
	for (unsigned i = 0; i < MR_LATENCY_BUCKETS; i++)
		json_array_append_new(buckets, json_integer((json_int_t)result->latency[i]));
	json_object_set_new(object, "latency", buckets);
	if (result->has_blocktime)
		put(object, "blocktime", result->blocktime.blocktime);
	return object;
}

static json_t *events_object(const struct mr_sim_result *result)
{
	json_t *object = json_object();

	for (unsigned i = 0; i < MR_SOMETIMES_COUNT; i++)
		put(object, mr_sometimes_name(i), result->seen[i]);
	return object;
}

static json_t *violation_object(const struct mr_violation *violation)
{
	json_t *object = json_object();

	put_text(object, "property", mr_property_name(violation->property));
	put(object, "time", violation->time);
	put_text(object, "text", violation->text);
	return object;
}

static json_t *counts_object(const struct mr_sim_result *result)
{
	json_t *object = json_object();

	put(object, "touches", result->touches);
	put(object, "writes", result->writes);
	put(object, "cuts", result->cuts);
	put(object, "recoveries", result->recoveries);
	put(object, "page_events", result->page_events);
	put(object, "steps", result->steps);
	return object;
}

void sim_summary_dump(const char *path, const struct mr_scenario *scenario, const struct sim_run *run)
{
	const struct mr_sim_result *result = &run->result;
	const bool violated = result->outcome == MR_OUTCOME_VIOLATED;
	json_t *object = json_object();
	char digest[9];

	snprintf(digest, sizeof(digest), "%08" PRIx32, run->digest);
	put_text(object, "scenario", path);
	put_seed(object, scenario->seed);
	put_text(object, "source", scenario->migration.source);
	put_text(object, "destination", scenario->migration.destination);
	put_text(object, "outcome", mr_outcome_name(result->outcome));
	put_text(object, "reason", result->reason);
	json_object_set_new(object, "violation", violated ? violation_object(&result->violation) : json_null());
	json_object_set_new(object, "streams_judged", json_boolean(!violated && run->streams == SIM_STREAMS_HOLD));
	json_object_set_new(object, "nanoseconds", times_object(result));
	json_object_set_new(object, "bytes", bytes_object(result));
	json_object_set_new(object, "pages", pages_object(result));
	json_object_set_new(object, "faults", faults_object(result));
	json_object_set_new(object, "counts", counts_object(result));
	json_object_set_new(object, "events", events_object(result));
	put_text(object, "digest", digest);
	json_dumpf(object, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(object);
}
