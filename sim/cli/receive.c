/* receive.c: `migref receive`: the destination of a live migration, from any source. */
#include "sim/cli/cli.h"
#include "sim/cli/live_options.h"
#include "sim/host/probe.h"
#include "sim/host/receive.h"
#include "sim/record/description.h"
#include "sim/record/progress.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum {
	KEY_LISTEN = 256,
	KEY_CAPABILITIES,
	KEY_MULTIFD_CHANNELS,
	KEY_MULTIFD_COMPRESSION,
	KEY_SOURCE,
	KEY_AS,
	KEY_STRICT,
	KEY_DEVICES,
	KEY_MEMORY,
	KEY_MEMORY_MAX,
	KEY_SCENARIO,
	KEY_VCPUS,
	KEY_TOUCHES,
	KEY_RAM,
	KEY_CUT,
	KEY_TIME_LIMIT,
	KEY_IDLE,
	SECONDS_MAX = 10000000,
	KIBIBYTE = 1024,
};

struct receive_command {
	struct mr_receive_options receive;
	struct mr_receive_result *result;
	struct mr_described devices;
	struct mr_scenario scenario;
	struct mr_progress bar;
	const char *listen, *memory, *devices_path, *scenario_path;
	bool json;
};

static const struct argp_option options[] = {
	{"listen", KEY_LISTEN, "ADDRESS", 0, "where the source is to migrate to: unix:PATH or tcp:HOST:PORT", 1},
	{"output", 'o', "DIR", 0, "record it: a directory that is new or empty", 1},
	{"ram", KEY_RAM, "FILE|DIR/", 0,
	 "write the memory: the largest block as a file, or in a directory each block as one", 1},
	{NULL, 0, NULL, 0, "What the stream does not say in time:", 2},
	{"capabilities", KEY_CAPABILITIES, "LIST", 0,
	 "capabilities of the source, by QEMU's names, separated by commas; needed for multifd and postcopy-preempt",
	 2},
	{"multifd-channels", KEY_MULTIFD_CHANNELS, "N", 0, "as at the source, with multifd (2)", 2},
	{"multifd-compression", KEY_MULTIFD_COMPRESSION, "METHOD", 0,
	 "none, zlib or zstd: anything else is an error; by default what comes", 2},
	{"source-qemu", KEY_SOURCE, "RELEASE", 0,
	 "release of the source, such as 7.2; by default whatever any release sends is taken, which does for 7.2 and "
	 "newer",
	 2},
	{"devices", KEY_DEVICES, "RECORDING", 0,
	 "description of the devices, of a recording of the same machine: for streams without one", 2},
	{NULL, 0, NULL, 0, "What the destination is:", 3},
	{"as", KEY_AS, "RELEASE", 0, "behave as this release (that of the source, else 11.1)", 3},
	{"strict", KEY_STRICT, NULL, 0, "do right where QEMU's releases have a defect", 3},
	{"memory", KEY_MEMORY, "KIND", 0,
	 "uffd, uffd-shared or simulated (uffd if this host can catch faults, else simulated)", 3},
	{"memory-max", KEY_MEMORY_MAX, "SIZE", 0, "refuse a source with more memory: bytes, or with K, M, G, T (64G)",
	 3},
	{"scenario", KEY_SCENARIO, "FILE", 0,
	 "let the workloads of a scenario read memory; by default some vCPUs read anywhere in the largest block", 3},
	{"vcpus", KEY_VCPUS, "N", 0, "how many (4)", 3},
	{"touches", KEY_TOUCHES, "N", 0, "each vCPU ends after so many (when all pages have come)", 3},
	{NULL, 0, NULL, 0, "When it ends:", 4},
	{"cut", KEY_CUT, "CHANNEL:DIRECTION:BYTE", 0,
	 "break all connections, once, before this byte of one direction (fwd or ret) of a connection (from 0)", 4},
	{"time-limit", KEY_TIME_LIMIT, "S", 0, "after so many seconds in all (3600)", 4},
	{"idle", KEY_IDLE, "S", 0,
	 "when nothing came for so many seconds behind the first connection, unless postcopy is paused (60)", 4},
	{"json", 'j', NULL, 0, "a JSON object a line: the address, and the summary", 4},
	{NULL, 0, NULL, 0, NULL, 0},
};

/* ---- Options ---- */

static uint64_t parse_count(const char *name, const char *text, uint64_t most, const struct argp_state *state)
{
	uint64_t number;
	const char *end = read_number(text, &number);

	if (!end || *end || number > most)
		argp_error(state, "%s: expected a number up to %" PRIu64 ", found %s", name, most, text);
	return number;
}

static uint64_t parse_size(const char *name, const char *text, const struct argp_state *state)
{
	static const char units[] = "KMGT";
	uint64_t number;
	const char *end = read_number(text, &number), *unit = end && *end ? strchr(units, *end) : NULL;

	for (const char *at = units; unit && at <= unit; at++)
		if (__builtin_mul_overflow(number, (uint64_t)KIBIBYTE, &number))
			end = NULL;
	if (!end || number == 0 || (*end && (!unit || end[1])))
		argp_error(state, "%s: expected bytes, or a number with K, M, G or T, found %s", name, text);
	return number;
}

static uint32_t parse_method(const char *text, const struct argp_state *state)
{
	const struct mr_multifd_method *method = mr_multifd_method_by_name(text);

	if (!method || !method->decodable)
		argp_error(state, "--multifd-compression: expected none, zlib or zstd, found %s", text);
	return method ? method->flag : MR_METHOD_UNKNOWN;
}

static void parse_memory(struct receive_command *command, const char *text, const struct argp_state *state)
{
	command->memory = text;
	command->receive.simulated = strcmp(text, "simulated") == 0;
	if (!command->receive.simulated && !mr_host_backing_by_name(text, &command->receive.ordinary))
		argp_error(state, "--memory: expected uffd, uffd-shared or simulated, found %s", text);
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct receive_command *command = state->input;
	struct mr_receive_options *receive = &command->receive;

	switch (key) {
	case KEY_LISTEN:
		command->listen = argument;
		return 0;
	case 'o':
		receive->directory = argument;
		return 0;
	case KEY_RAM:
		receive->ram = argument;
		return 0;
	case KEY_CAPABILITIES:
		receive->capabilities = live_capabilities(argument, state);
		return 0;
	case KEY_MULTIFD_CHANNELS:
		receive->multifd_channels =
			(uint32_t)parse_count("--multifd-channels", argument, MR_INCOMING_MULTIFD_MAX - 1, state);
		return 0;
	case KEY_MULTIFD_COMPRESSION:
		receive->multifd_method = parse_method(argument, state);
		return 0;
	case KEY_SOURCE:
		receive->source_qemu = live_release("--source-qemu", argument, state);
		return 0;
	case KEY_AS:
		receive->as = live_release("--as", argument, state);
		return 0;
	case KEY_STRICT:
		receive->strict = true;
		return 0;
	case KEY_DEVICES:
		command->devices_path = argument;
		return 0;
	case KEY_MEMORY:
		parse_memory(command, argument, state);
		return 0;
	case KEY_MEMORY_MAX:
		receive->memory_max = parse_size("--memory-max", argument, state);
		return 0;
	case KEY_SCENARIO:
		command->scenario_path = argument;
		return 0;
	case KEY_VCPUS:
		receive->vcpus = (uint32_t)parse_count("--vcpus", argument, MR_SCENARIO_VCPUS_MAX, state);
		return 0;
	case KEY_TOUCHES:
		receive->touches = parse_count("--touches", argument, INT64_MAX, state);
		return 0;
	case KEY_CUT:
		live_cut(argument, &receive->cut_channel, &receive->cut_backward, &receive->cut_byte, state);
		receive->cuts = true;
		return 0;
	case KEY_TIME_LIMIT:
		receive->time_limit = live_seconds("--time-limit", argument, SECONDS_MAX, state);
		return 0;
	case KEY_IDLE:
		receive->idle = live_seconds("--idle", argument, SECONDS_MAX, state);
		return 0;
	case 'j':
		command->json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "expected no argument, found %s", argument);
		return 0;
	case ARGP_KEY_END:
		live_address(&command->receive.listen, "--listen", command->listen, true, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "The destination of a live migration: the source is any QEMU that migrates to the address of --listen.\v"
	       "Takes precopy, with and without XBZRLE, postcopy, with and without a preempt channel, recovery after "
	       "a broken connection, and multifd without compression, with zlib or zstd. RAM blocks, page sizes and "
	       "machine type are learned from the stream. There is no machine: device sections are read and thrown "
	       "away, and the vCPUs only read memory, which is the source's to the end. In postcopy they really wait "
	       "for the pages that they miss, and each is really requested.\n\n"
	       "When the connection breaks in postcopy, it goes on listening: `migrate` with `resume` at the source "
	       "goes on. When nothing more can come, or nothing has come for --idle seconds, it ends.\n\n"
	       "A default destination behaves as 11.1 with the properties of the source's machine type, as a newer "
	       "QEMU does for an older one. Where that is not enough, as for a source of 7.2 with multifd whose "
	       "machine type has no version, say --source-qemu.\n\n"
	       "Exit status 0 if the migration completed, 1 if it failed or broke rules, 3 if this host, or a limit, "
	       "ended it.",
};

/* ---- Telling ---- */

static void print_json(json_t *object)
{
	json_dumpf(object, stdout, JSON_SORT_KEYS);
	putchar('\n');
	json_decref(object);
	fflush(stdout);
}

static void tell_address(void *argument, const char *address)
{
	struct receive_command *command = argument;

	if (command->json) {
		print_json(json_pack("{s:s}", "listening", address));
	} else {
		printf("listening at %s\n", address);
		fflush(stdout);
	}
	mr_progress_start(&command->bar, "receive", command->json);
}

static void tell_line(void *argument, const char *line)
{
	struct receive_command *command = argument;

	mr_progress_end(&command->bar);
	error_line("%s", line);
}

static void tell_progress(void *argument, const struct mr_receive_progress *progress)
{
	struct receive_command *command = argument;

	mr_progress_update(&command->bar, progress->total ? (double)progress->pages / (double)progress->total : -1,
			   progress->bytes);
}

/* ---- The summary ---- */

static const char *mode_of(const struct mr_receive_result *result)
{
	return result->state >= MR_POSTCOPY_LISTENING ? "postcopy" : "precopy";
}

static uint64_t mean(uint64_t sum, uint64_t count)
{
	return count ? sum / count : 0;
}

static uint64_t bytes_of(const struct mr_receive_result *result)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < result->channel_count; i++)
		bytes += result->channels[i].forward;
	return bytes;
}

static void print_summary(const struct mr_receive_result *result)
{
	const struct mr_readers_figures *readers = &result->readers;

	printf("%s: %s, %s memory, %" PRIu64 " bytes in %" PRIu64 ".%03" PRIu64 " s%s%s\n",
	       mr_receive_end_name(result->end), mode_of(result), result->memory, bytes_of(result),
	       result->time / 1000000000, result->time / 1000000 % 1000, result->machine[0] ? ", " : "",
	       result->machine);
	for (uint32_t i = 0; i < result->channel_count; i++)
		printf("  ch%-3" PRIu32 " %-8s %12" PRIu64 " bytes forward, %10" PRIu64 " back\n", i,
		       mr_role_name(result->channels[i].role), result->channels[i].forward,
		       result->channels[i].backward);
	for (uint32_t i = 0; i < result->block_count; i++)
		printf("  block %-24s %12" PRIu64 " bytes, pages of %" PRIu64 "\n", result->blocks[i].name,
		       result->blocks[i].size, result->blocks[i].page_size);
	printf("  pages: %" PRIu64 " in precopy, %" PRIu64 " discarded, %" PRIu64 " placed\n", result->pages_precopy,
	       result->pages_discarded, result->pages_placed);
	printf("  faults: %" PRIu64 ", requests: %" PRIu64 " sent for %" PRIu64 " pages, %" PRIu64
	       " of them came, %" PRIu64 " not needed; recoveries: %" PRIu64 "\n",
	       result->faults, result->requests_sent, result->pages_requested, result->pages_answered,
	       result->requests_dropped, result->recoveries);
	printf("  vCPUs: %" PRIu32 ", touches: %" PRIu64 ", waited %" PRIu64 " times, %" PRIu64
	       " us on average, %" PRIu64 " us at most\n",
	       result->vcpus, readers->touches, readers->faults, mean(readers->latency_sum, readers->faults) / 1000,
	       readers->latency_max / 1000);
}

static json_t *json_channels(const struct mr_receive_result *result)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < result->channel_count; i++)
		json_array_append_new(array,
				      json_pack("{s:s, s:I, s:I}", "role", mr_role_name(result->channels[i].role),
						"forward", (json_int_t)result->channels[i].forward, "return",
						(json_int_t)result->channels[i].backward));
	return array;
}

static json_t *json_blocks(const struct mr_receive_result *result)
{
	json_t *array = json_array();

	for (uint32_t i = 0; i < result->block_count; i++)
		json_array_append_new(array, json_pack("{s:s*, s:I, s:I}", "name", result->blocks[i].name, "bytes",
						       (json_int_t)result->blocks[i].size, "page_size",
						       (json_int_t)result->blocks[i].page_size));
	return array;
}

static json_t *json_finding(const struct mr_finding *finding)
{
	if (finding->rule == MR_NO_RULE)
		return json_null();
	return json_pack("{s:s, s:i, s:I, s:s*, s:s*}", "rule", mr_rule_id(finding->rule), "channel",
			 (int)finding->channel, "offset", (json_int_t)finding->offset, "expected", finding->expected,
			 "found", finding->found);
}

static json_t *json_vcpus(const struct mr_receive_result *result)
{
	const struct mr_readers_figures *readers = &result->readers;
	json_t *latency = json_array();

	for (size_t i = 0; i < MR_READERS_BUCKETS; i++)
		json_array_append_new(latency, json_integer((json_int_t)readers->latency[i]));
	return json_pack("{s:i, s:I, s:I, s:I, s:I, s:o}", "count", (int)result->vcpus, "touches",
			 (json_int_t)readers->touches, "waits", (json_int_t)readers->faults, "latency_mean_ns",
			 (json_int_t)mean(readers->latency_sum, readers->faults), "latency_max_ns",
			 (json_int_t)readers->latency_max, "latency_us_log2", latency);
}

static json_t *json_capabilities(uint32_t capabilities)
{
	json_t *array = json_array();
	const char *name;
	uint32_t bit;

	for (size_t i = 0; (name = mr_capability_at(i, &bit)) != NULL; i++)
		if (capabilities & bit)
			json_array_append_new(array, json_string(name));
	return array;
}

static void dump_summary(const struct mr_receive_result *result)
{
	json_t *summary =
		json_pack("{s:s, s:s*, s:s, s:s, s:s, s:b, s:s, s:I, s:i}", "ended", mr_receive_end_name(result->end),
			  "reason", result->reason, "mode", mode_of(result), "status", mr_status_name(result->status),
			  "memory", result->memory, "cut", result->cut, "machine", result->machine, "time_ns",
			  (json_int_t)result->time, "recoveries", (int)result->recoveries);

	json_object_set_new(summary, "pages",
			    json_pack("{s:I, s:I, s:I}", "precopy", (json_int_t)result->pages_precopy, "discarded",
				      (json_int_t)result->pages_discarded, "placed", (json_int_t)result->pages_placed));
	json_object_set_new(summary, "requests",
			    json_pack("{s:I, s:I, s:I, s:I, s:I}", "faults", (json_int_t)result->faults, "sent",
				      (json_int_t)result->requests_sent, "pages", (json_int_t)result->pages_requested,
				      "answered", (json_int_t)result->pages_answered, "dropped",
				      (json_int_t)result->requests_dropped));
	json_object_set_new(summary, "capabilities", json_capabilities(result->capabilities));
	json_object_set_new(summary, "channels", json_channels(result));
	json_object_set_new(summary, "blocks", json_blocks(result));
	json_object_set_new(summary, "vcpus", json_vcpus(result));
	json_object_set_new(summary, "finding", json_finding(&result->finding));
	print_json(summary);
}

/* ---- The command ---- */

static bool load_inputs(struct receive_command *command)
{
	char error[512];

	if (command->devices_path) {
		if (mr_described_load(&command->devices, command->devices_path, error, sizeof(error)) < 0) {
			error_line("%s", error);
			return false;
		}
		command->receive.description = command->devices.layout;
	}
	if (command->scenario_path) {
		if (mr_scenario_read(&command->scenario, command->scenario_path, error, sizeof(error)) < 0) {
			error_line("%s", error);
			return false;
		}
		command->receive.scenario = &command->scenario;
	}
	return true;
}

/* What nobody chose is what this host can. */
static bool choose_memory(struct receive_command *command)
{
	struct mr_host_probe probe;
	char line[MR_HOST_LINE];

	if (command->receive.simulated)
		return true;
	mr_host_probe(&probe);
	if (mr_host_has(&probe, MR_HOST_WANT_POSTCOPY, command->receive.ordinary, line))
		return true;
	if (command->memory) {
		error_line("--memory %s: %s", command->memory, line);
		return false;
	}
	error_line("memory is simulated: %s", line);
	command->receive.simulated = true;
	return true;
}

static int judge(const struct receive_command *command)
{
	const struct mr_receive_result *result = command->result;

	if (result->end != MR_RECEIVE_COMPLETED && !result->channel_count && result->end != MR_RECEIVE_HOST)
		error_line("no connection came: %s", result->reason);
	else if (result->end != MR_RECEIVE_COMPLETED)
		error_line("%s", result->reason);
	if (result->end == MR_RECEIVE_FAILED)
		return STATUS_DIFFERS;
	if (result->end != MR_RECEIVE_COMPLETED || (command->receive.directory && !result->written))
		return STATUS_FAILED;
	if (!command->receive.cuts || result->cut)
		return STATUS_HOLDS;
	error_line("--cut: the byte never came");
	return STATUS_DIFFERS;
}

int command_receive(int argc, char **argv)
{
	struct receive_command *command = calloc(1, sizeof(*command));
	int status = STATUS_FAILED;

	if (command)
		command->result = calloc(1, sizeof(*command->result));
	if (!command || !command->result) {
		free(command);
		error_line("no memory for a destination");
		return STATUS_FAILED;
	}
	command->receive = (struct mr_receive_options){
		.multifd_channels = 2,
		.multifd_method = MR_METHOD_UNKNOWN,
		.ordinary = MR_HOST_ANONYMOUS,
		.memory_max = (uint64_t)64 << 30,
		.vcpus = 4,
		.time_limit = 3600,
		.idle = 60,
		.argument = command,
		.listening = tell_address,
		.complain = tell_line,
		.progress = tell_progress,
	};
	parse_command(&argp, argc, argv, command);
	if (load_inputs(command) && choose_memory(command)) {
		mr_receive_run(&command->receive, command->result);
		mr_progress_end(&command->bar);
		if (command->result->channel_count)
			(command->json ? dump_summary : print_summary)(command->result);
		status = judge(command);
	}
	mr_receive_clear(command->result);
	mr_described_clear(&command->devices);
	if (command->receive.scenario)
		mr_scenario_clear(&command->scenario);
	free(command->result);
	free(command);
	return status;
}
