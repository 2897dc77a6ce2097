/* replay.c: `migref replay`: a line for each comparison of a recording with the reference. */
#include "sim/cli/cli.h"
#include "sim/host/replay_memory.h"
#include "sim/record/print.h"
#include "sim/record/replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	RANGES_SHOWN = 16,
	KEY_LOG = 256,
	KEY_FROM_LOG,
	KEY_ACTIONS,
	KEY_STRICT,
	KEY_SOURCE_LOG,
	KEY_FROM_SOURCE_LOG,
	KEY_MEMORY
};

struct replay_options {
	char **paths;
	int count;
	bool json, strict;
	bool real; /* on memory of the host */
	enum mr_host_kind ordinary;
	const char *log, *from_log, *actions;     /* files; NULL: none */
	const char *source_log, *from_source_log; /* the same */
};

static const struct argp_option options[] = {
	{"json", 'j', NULL, 0, "one JSON object for each comparison", 0},
	{"log", KEY_LOG, "FILE", 0, "write the nondeterminism log that the destination was run by", 0},
	{"from-log", KEY_FROM_LOG, "FILE", 0, "run the destination by this log instead of one derived from its trace",
	 0},
	{"actions", KEY_ACTIONS, "FILE", 0, "write what the destination did, one action a line", 0},
	{"source-log", KEY_SOURCE_LOG, "FILE", 0, "write the log that the source was run by", 0},
	{"from-source-log", KEY_FROM_SOURCE_LOG, "FILE", 0,
	 "run the source by this log instead of one derived from its bytes and trace", 0},
	{"strict", KEY_STRICT, NULL, 0, "a destination that does right where QEMU has a defect", 0},
	{"memory", KEY_MEMORY, "KIND", 0,
	 "where the destination's memory is: simulated (the default), uffd (private memory of the host) or uffd-shared "
	 "(memfd); in the last two a thread touches the page of each recorded fault, userfaultfd tells of it, and the "
	 "kernel places the pages; blocks of huge pages take them from the host's pool",
	 0},
	{NULL, 0, NULL, 0, NULL, 0},
};

static void parse_memory(struct replay_options *replay, const char *text, const struct argp_state *state)
{
	replay->real = strcmp(text, "simulated") != 0;
	if (replay->real && !mr_host_backing_by_name(text, &replay->ordinary))
		argp_error(state, "--memory: expected simulated, uffd or uffd-shared, found %s", text);
}

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct replay_options *replay = state->input;

	switch (key) {
	case 'j':
		replay->json = true;
		return 0;
	case KEY_LOG:
		replay->log = argument;
		return 0;
	case KEY_FROM_LOG:
		replay->from_log = argument;
		return 0;
	case KEY_ACTIONS:
		replay->actions = argument;
		return 0;
	case KEY_SOURCE_LOG:
		replay->source_log = argument;
		return 0;
	case KEY_FROM_SOURCE_LOG:
		replay->from_source_log = argument;
		return 0;
	case KEY_STRICT:
		replay->strict = true;
		return 0;
	case KEY_MEMORY:
		parse_memory(replay, argument, state);
		return 0;
	case ARGP_KEY_END:
		if (replay->count > 1 && (replay->log || replay->from_log || replay->actions || replay->source_log ||
					  replay->from_source_log))
			argp_error(state, "logs and --actions are for one RECORDING");
		return 0;
	case ARGP_KEY_ARGS:
		replay->paths = state->argv + state->next;
		replay->count = state->argc - state->next;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "expected a RECORDING");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.args_doc = "RECORDING...",
	.doc = "Replays recorded migrations in the reference and compares.\v"
	       "wire: every channel is decoded, each record is written again from what was understood of it, "
	       "compressed payloads are compressed again, and the bytes are compared.\n"
	       "return path: the destination is run again, by the recorded bytes and a log of what they do not "
	       "determine; "
	       "what it sends back is compared byte for byte. The log is derived from the destination's trace, without "
	       "one from the recorded return path.\n"
	       "actions: each thread of the trace did what the machine does, in the same order. Where the recording "
	       "has "
	       "the actions themselves (actions.jsonl), each line of them is the machine's.\n"
	       "blocktime: how long vCPUs waited is compared with what QEMU told, if the recording has that: to the "
	       "last digit, up to 10.0 within 1 ms for each fault.\n"
	       "source: the source is run again, by the pages' contents and a log of what they do not determine, and "
	       "writes the streams of all channels itself; they are compared byte for byte. The log is derived from "
	       "the bytes and the source's trace. How much of the order of pages was its own decision is told.\n"
	       "memory: what the destination wrote is compared with the source's memory (source.ram, source.pmem).\n"
	       "kernel: with --memory uffd, faults and pages are the kernel's: a thread that touches a page waits "
	       "until "
	       "the page is placed, and reads what memory holds; memory is read back from the kernel.\n\n"
	       "Exit status 0 if everything is identical, 1 if something differs, 3 if a recording cannot be read.",
};

/* ---- Text ---- */

static void print_wire_text(const struct mr_wire_result *wire)
{
	printf("  wire    %-9s %-8s ", wire->channel, mr_role_name(wire->role));
	if (!wire->identical) {
		printf("DIFFERS    %s\n", wire->text);
		return;
	}
	printf("identical  %" PRIu64 " bytes, %" PRIu64 " records", wire->bytes, wire->records);
	if (wire->payloads)
		printf(", %" PRIu64 " payloads made again", wire->payloads);
	if (wire->cut)
		printf("; cut: %" PRIu64 " bytes of an unfinished record, missing %s", wire->rest, wire->text);
	putchar('\n');
}

static void print_return_text(const struct mr_return_result *result)
{
	char name[24];

	snprintf(name, sizeof(name), "ch%" PRIu32 ".ret", result->channel);
	printf("  return path  %-13s ", name);
	if (!result->identical)
		printf("DIFFERS    %s\n", result->text);
	else if (result->sent > result->recorded)
		printf("identical  %" PRIu64 " bytes; cut: %" PRIu64 " more were sent\n", result->recorded,
		       result->sent - result->recorded);
	else
		printf("identical  %" PRIu64 " bytes\n", result->recorded);
}

static void print_context(const char *whose, const char text[][MR_CONTEXT_TEXT], size_t count, size_t at)
{
	printf("            %s:\n", whose);
	for (size_t i = 0; i < count; i++)
		printf("            %c %s\n", i == at ? '>' : ' ', text[i]);
	if (at >= count)
		puts("            > the end");
}

static void print_difference_text(const struct mr_difference *difference)
{
	const char *actor = mr_actor_name(difference->actor);

	fputs("  actions  DIFFERS    dst.trace:", stdout);
	if (difference->line)
		printf("%" PRIu64 ": ", difference->line);
	else
		fputs("end: ", stdout);
	fputs(actor ? actor : "no actor", stdout);
	if (difference->channel < MR_INCOMING_CHANNELS_MAX)
		printf(", ch%" PRIu32 ".fwd offset 0x%" PRIx64, difference->channel, difference->offset);
	printf(", %s, %s", mr_postcopy_state_name(difference->state), mr_status_name(difference->status));
	if (difference->rule)
		printf(": %s", mr_rule_id(difference->rule));
	printf("\n            trace:   %s\n            machine: %s\n", difference->traced, difference->made);
	print_context("trace", difference->trace, difference->trace_count, difference->trace_at);
	print_context("machine", difference->machine, difference->machine_count, difference->machine_at);
}

static void print_not_traced(const struct mr_destination *destination)
{
	const char *before = "            not traced: ";

	for (unsigned i = 0; i < MR_EVENT_KIND_COUNT; i++) {
		if (!destination->not_traced[i])
			continue;
		printf("%s%s", before, mr_event_name((enum mr_event_kind)i));
		before = ", ";
	}
	if (*before == ',')
		putchar('\n');
}

static void print_lines_text(const struct mr_action_comparison *lines)
{
	if (!lines->there)
		return;
	if (lines->identical) {
		printf("  actions  identical  %" PRIu64 " lines of actions.jsonl\n", lines->lines);
		return;
	}
	printf("  actions  DIFFERS    actions.jsonl:%" PRIu64 ":\n            recorded: %s\n            machine:  %s\n",
	       lines->lines + 1, lines->recorded[0] ? lines->recorded : "the end",
	       lines->made[0] ? lines->made : "the end");
}

static void print_actions_text(const struct mr_destination *destination)
{
	print_lines_text(&destination->lines_of_actions);
	if (!destination->has_trace && destination->lines_of_actions.there)
		return;
	if (!destination->has_trace) {
		puts("  actions  not compared: no dst.trace");
		return;
	}
	if (destination->trace_error[0]) {
		printf("  actions  DIFFERS    %s\n", destination->trace_error);
		return;
	}
	if (destination->difference.found) {
		print_difference_text(&destination->difference);
		return;
	}
	printf("  actions  identical  %" PRIu64 " lines of dst.trace, %" PRIu64
	       " of them in one order for all actors\n",
	       destination->lines, destination->locked_lines);
	print_not_traced(destination);
}

static void print_blocktime_text(const struct mr_blocktime_result *result)
{
	if (!result->expected)
		return;
	if (!result->compared)
		printf("  blocktime  not compared: %s\n", result->text);
	else if (!result->identical)
		printf("  blocktime  DIFFERS    %s\n", result->text);
	else if (result->exact)
		printf("  blocktime  identical  %" PRIu32 " ms and all other figures of %" PRIu64 " faults\n",
		       result->blocktime, result->faults);
	else
		printf("  blocktime  holds      %" PRIu32 " ms, QEMU told %" PRIu32
		       "; 1 ms of play for each fault: %" PRIu64 " faults\n",
		       result->blocktime, result->told, result->faults);
}

static void print_backing_text(const struct mr_backing_result *result)
{
	if (!result->used)
		return;
	if (!result->holds) {
		printf("  kernel   DIFFERS    %s\n", result->text);
		return;
	}
	printf("  kernel   %s  %" PRIu64 " faults raised by %" PRIu64 " threads", result->name, result->raised,
	       result->threads);
	if (result->repeated)
		printf(", %" PRIu64 " of threads that waited already", result->repeated);
	printf(", %" PRIu64 " of pages already there, %" PRIu64 " pages placed by the kernel", result->present,
	       result->placed);
	if (result->unserved)
		printf("; %" PRIu64 " waited in vain", result->unserved);
	putchar('\n');
}

static void print_log_text(const struct mr_destination *destination)
{
	printf("  log      %s  %" PRIu64 " records, %" PRIu64 " faults, %" PRIu64 " actions",
	       destination->from_log ? "given    " : "derived  ", destination->log_records, destination->faults,
	       destination->actions);
	if (!destination->from_log)
		printf("; %" PRIu64 " ties settled by the bytes", destination->ties);
	putchar('\n');
	if (destination->log_rule)
		printf("            DOES NOT FIT  %s: %s\n", mr_rule_id(destination->log_rule), destination->reason);
}

static void print_end_text(const struct mr_destination *destination)
{
	char text[400];

	if (destination->finished)
		return;
	printf("            the destination did not finish: %s, %s", mr_postcopy_state_name(destination->state),
	       mr_status_name(destination->status));
	if (destination->blamed.rule) {
		mr_format_finding(text, sizeof(text), &destination->blamed);
		printf(": %s", text);
	}
	putchar('\n');
}

static void print_destination_text(const struct mr_destination *destination)
{
	if (destination->exempt) {
		printf("  actions  not compared: %s\n", destination->reason);
		return;
	}
	if (!destination->ran) {
		printf("  actions  DIFFERS    the destination cannot be run: %s\n", destination->reason);
		return;
	}
	for (size_t i = 0; i < destination->return_count; i++)
		print_return_text(&destination->returns[i]);
	if (destination->return_count == 0)
		puts("  return path  none");
	print_actions_text(destination);
	print_blocktime_text(&destination->blocktime);
	print_backing_text(&destination->backing);
	print_log_text(destination);
	print_end_text(destination);
}

static void print_source_difference(const struct mr_source_result *source)
{
	const struct mr_source_difference *difference = &source->difference;

	if (!difference->found)
		return;
	printf("            ch%u.fwd offset 0x%" PRIx64 "\n            recorded: %s\n            machine:  %s\n",
	       difference->channel, difference->offset, difference->recorded, difference->made);
}

static void print_decisions(const struct mr_source_result *source)
{
	const struct mr_source_given *given = &source->given;

	printf("            made:  %" PRIu64 " pages in order, %" PRIu64 " records, %" PRIu64 " commands (%" PRIu64
	       " of discards), %" PRIu64 " packets\n",
	       source->pages, source->records, source->commands, source->discards, source->packets);
	if (source->from_log)
		return;
	printf("            given: %" PRIu64 " moments of requests, %" PRIu64 " ends of sections, %" PRIu64
	       " turns, %" PRIu64 " fetches asked for, %" PRIu64 " dirty pages, %" PRIu64 " channels, %" PRIu64
	       " repeats, %" PRIu64 " raced zero pages\n",
	       given->requests, given->sections, given->turns, given->syncs, given->dirty, given->channels,
	       given->repeats, source->raced);
	printf("            %.2f %% of the decisions on the order of pages are the machine's\n",
	       mr_source_share(source));
}

/* Figures are told, not judged: some count what was on its way when a connection broke. */
static void print_figures(const struct mr_source_result *source)
{
	size_t equal = 0;

	if (source->figure_count == 0)
		return;
	for (size_t i = 0; i < source->figure_count; i++)
		equal += source->figures[i].told == source->figures[i].counted;
	printf("            figures of query-migrate: %zu of %zu the same", equal, source->figure_count);
	for (size_t i = 0; i < source->figure_count; i++)
		if (source->figures[i].told != source->figures[i].counted)
			printf("; %s %" PRIu64 ", QEMU %" PRIu64, source->figures[i].name, source->figures[i].counted,
			       source->figures[i].told);
	putchar('\n');
}

static void print_unfinished_source(const struct mr_source_result *source)
{
	char text[512];

	if (source->finished)
		return;
	printf("            the source did not finish: %s", mr_source_status_name(source->status));
	if (source->blamed.rule) {
		mr_format_finding(text, sizeof(text), &source->blamed);
		printf(": %s", text);
	}
	putchar('\n');
}

static void print_source_text(const struct mr_source_result *source)
{
	if (source->exempt) {
		printf("  source  not compared: %s\n", source->reason);
		return;
	}
	if (source->trace_error[0])
		printf("  source  DIFFERS    %s\n", source->trace_error);
	if (!source->ran) {
		printf("  source  DIFFERS    the source cannot be run: %s\n", source->reason);
		return;
	}
	for (size_t i = 0; i < source->wire_count; i++) {
		const struct mr_source_wire *wire = &source->wires[i];

		printf("  source  ch%u.fwd   %-8s %s  %" PRIu64 " bytes, the machine wrote %" PRIu64 "%s\n",
		       wire->channel, mr_role_name(wire->role), wire->identical ? "identical" : "DIFFERS  ",
		       wire->recorded, wire->made, wire->made > wire->recorded ? "; cut" : "");
	}
	print_source_difference(source);
	if (source->reason[0])
		printf("            DOES NOT FIT  %s\n", source->reason);
	print_unfinished_source(source);
	printf("            log: %s, %" PRIu64 " records, %" PRIu64 " steps\n",
	       source->from_log    ? "given"
	       : source->has_trace ? "derived"
				   : "derived from the bytes alone, for lack of src.trace",
	       source->log_records, source->steps);
	print_decisions(source);
	if (mr_source_holds(source))
		print_figures(source);
}

static void print_ranges(const struct mr_page_list *list, uint64_t page_size, const char *what)
{
	if (!list->pages)
		return;
	printf("            %" PRIu64 " pages %s:", list->pages, what);
	for (size_t i = 0; i < list->count && i < RANGES_SHOWN; i++)
		printf(" 0x%" PRIx64 "-0x%" PRIx64, list->ranges[i].first * page_size,
		       (list->ranges[i].first + list->ranges[i].count) * page_size - 1);
	if (list->count > RANGES_SHOWN)
		printf(" and %zu more ranges (--json lists them)", list->count - RANGES_SHOWN);
	putchar('\n');
}

static void print_memory_text(const struct mr_memory_result *memory)
{
	const uint64_t page_size = memory->pages ? memory->size / memory->pages : 0;

	if (!memory->compared)
		return;
	printf("  memory  %-18s %s  %" PRIu64 " of %" PRIu64 " pages compared with %s, %" PRIu64 " came\n",
	       memory->block, memory->identical ? "identical" : "DIFFERS  ", memory->compared_pages, memory->pages,
	       memory->truth, memory->received);
	if (memory->identical)
		return;
	print_ranges(&memory->differ, page_size, "are not the source's");
	print_ranges(&memory->missing, page_size, "never came and are not zero at the source");
	print_ranges(&memory->absent, page_size, "never came");
	if (memory->compared_pages == 0)
		printf("            %s is too short to compare\n", memory->truth);
}

static void print_absent_blocks(const struct mr_replay *replay)
{
	for (size_t i = 0; i < replay->memory_count; i++) {
		const struct mr_memory_result *memory = &replay->memories[i];

		if (!replay->holds && !memory->compared && memory->absent.pages)
			printf("  memory  %-18s %" PRIu64 " of %" PRIu64 " pages never came\n", memory->block,
			       memory->absent.pages, memory->pages);
	}
}

static void print_text(const char *path, const struct mr_replay *replay)
{
	printf("%s: %s\n", path, replay->holds ? "holds" : "DOES NOT HOLD");
	for (size_t i = 0; i < replay->wire_count; i++)
		print_wire_text(&replay->wires[i]);
	if (replay->has_destination)
		print_destination_text(&replay->destination);
	if (replay->has_source)
		print_source_text(&replay->source);
	else
		puts("  source  not compared: the recording is a file, no channels");
	for (size_t i = 0; i < replay->memory_count; i++)
		print_memory_text(&replay->memories[i]);
	print_absent_blocks(replay);
	if (!replay->has_truth)
		puts("  memory  not compared: the recording has no source.ram or source.pmem");
}

/* ---- JSON ---- */

static void put_string(const char *name, const char *text, const char *behind)
{
	printf("\"%s\":", name);
	mr_print_json_string(stdout, (struct mr_bytes){(const uint8_t *)text, strlen(text)});
	fputs(behind, stdout);
}

static void put_ranges(const char *name, const struct mr_page_list *list)
{
	printf(",\"%s\":{\"pages\":%" PRIu64 ",\"ranges\":[", name, list->pages);
	for (size_t i = 0; i < list->count; i++)
		printf("%s[%" PRIu64 ",%" PRIu64 "]", i ? "," : "", list->ranges[i].first, list->ranges[i].count);
	fputs("]}", stdout);
}

static void print_return_json(const char *path, const struct mr_return_result *result)
{
	putchar('{');
	put_string("recording", path, ",\"comparison\":\"return path\",");
	printf("\"channel\":\"ch%" PRIu32 ".ret\",\"identical\":%s,\"recorded\":%" PRIu64 ",\"sent\":%" PRIu64
	       ",\"cut\":%s,\"difference\":%" PRIu64 ",",
	       result->channel, result->identical ? "true" : "false", result->recorded, result->sent,
	       result->cut ? "true" : "false", result->difference);
	put_string("text", result->text, "}\n");
}

static void put_context(const char *name, const char text[][MR_CONTEXT_TEXT], size_t count, size_t at)
{
	printf(",\"%s\":[", name);
	for (size_t i = 0; i < count; i++) {
		if (i)
			putchar(',');
		mr_print_json_string(stdout, (struct mr_bytes){(const uint8_t *)text[i], strlen(text[i])});
	}
	printf("],\"%s_at\":%zu", name, at);
}

static void put_difference(const struct mr_difference *difference)
{
	const char *actor = mr_actor_name(difference->actor);

	printf(",\"line\":%" PRIu64 ",\"offset\":%" PRIu64 ",", difference->line, difference->offset);
	put_string("actor", actor ? actor : "", ",");
	put_string("state", mr_postcopy_state_name(difference->state), ",");
	put_string("status", mr_status_name(difference->status), ",");
	put_string("rule", difference->rule ? mr_rule_id(difference->rule) : "", ",");
	put_string("traced", difference->traced, ",");
	put_string("made", difference->made, "");
	put_context("trace", difference->trace, difference->trace_count, difference->trace_at);
	put_context("machine", difference->machine, difference->machine_count, difference->machine_at);
}

static void print_blocktime_json(const char *path, const struct mr_blocktime_result *result)
{
	if (!result->expected)
		return;
	putchar('{');
	put_string("recording", path, ",\"comparison\":\"blocktime\",");
	printf("\"identical\":%s,\"exact\":%s,\"faults\":%" PRIu64 ",\"counted\":%" PRIu32 ",\"told\":%" PRIu32 ",",
	       !result->compared   ? "null"
	       : result->identical ? "true"
				   : "false",
	       result->exact ? "true" : "false", result->faults, result->blocktime, result->told);
	put_string("text", result->text, "}\n");
}

static void print_backing_json(const char *path, const struct mr_backing_result *result)
{
	if (!result->used)
		return;
	putchar('{');
	put_string("recording", path, ",\"comparison\":\"kernel\",");
	printf("\"identical\":%s,\"memory\":\"%s\",\"raised\":%" PRIu64 ",\"threads\":%" PRIu64 ",\"repeated\":%" PRIu64
	       ",\"present\":%" PRIu64 ",\"placed\":%" PRIu64 ",\"unserved\":%" PRIu64 ",",
	       result->holds ? "true" : "false", result->name, result->raised, result->threads, result->repeated,
	       result->present, result->placed, result->unserved);
	put_string("text", result->text, "}\n");
}

static void print_lines_json(const char *path, const struct mr_action_comparison *lines)
{
	if (!lines->there)
		return;
	putchar('{');
	put_string("recording", path, ",\"comparison\":\"lines of actions\",");
	printf("\"identical\":%s,\"lines\":%" PRIu64 ",", lines->identical ? "true" : "false", lines->lines);
	put_string("found", lines->made, ",");
	put_string("expected", lines->recorded, "}\n");
}

static void print_destination_json(const char *path, const struct mr_destination *destination)
{
	for (size_t i = 0; i < destination->return_count; i++)
		print_return_json(path, &destination->returns[i]);
	print_blocktime_json(path, &destination->blocktime);
	print_backing_json(path, &destination->backing);
	print_lines_json(path, &destination->lines_of_actions);
	putchar('{');
	put_string("recording", path, ",\"comparison\":\"actions\",");
	printf("\"identical\":%s,\"lines\":%" PRIu64 ",\"ordered\":%" PRIu64 ",\"ties\":%" PRIu64
	       ",\"records\":%" PRIu64 ",\"faults\":%" PRIu64 ",\"actions\":%" PRIu64 ",",
	       !destination->has_trace || !destination->ran ? "null"
	       : destination->actions_identical             ? "true"
							    : "false",
	       destination->lines, destination->locked_lines, destination->ties, destination->log_records,
	       destination->faults, destination->actions);
	put_string("status", mr_status_name(destination->status), ",");
	put_string("text", destination->trace_error[0] ? destination->trace_error : destination->reason, "");
	if (destination->difference.found)
		put_difference(&destination->difference);
	fputs("}\n", stdout);
}

static void print_source_json(const char *path, const struct mr_source_result *source)
{
	const struct mr_source_given *given = &source->given;

	for (size_t i = 0; i < source->wire_count; i++) {
		const struct mr_source_wire *wire = &source->wires[i];
		const bool here = source->difference.found && source->difference.channel == wire->channel;

		putchar('{');
		put_string("recording", path, ",\"comparison\":\"source\",");
		printf("\"channel\":\"ch%u.fwd\",\"role\":\"%s\",\"identical\":%s,\"recorded\":%" PRIu64
		       ",\"made\":%" PRIu64 ",\"cut\":%s,\"difference\":%" PRIu64 ",",
		       wire->channel, mr_role_name(wire->role), wire->identical ? "true" : "false", wire->recorded,
		       wire->made, wire->cut ? "true" : "false", here ? source->difference.offset : 0);
		put_string("found", here ? source->difference.made : "", ",");
		put_string("expected", here ? source->difference.recorded : "", "}\n");
	}
	putchar('{');
	put_string("recording", path, ",\"comparison\":\"source decisions\",");
	printf("\"identical\":%s,\"records\":%" PRIu64 ",\"pages\":%" PRIu64 ",\"sent\":%" PRIu64
	       ",\"commands\":%" PRIu64 ",\"discards\":%" PRIu64 ",\"packets\":%" PRIu64 ",\"requests\":%" PRIu64
	       ",\"sections\":%" PRIu64 ",\"turns\":%" PRIu64 ",\"dirty\":%" PRIu64 ",\"channels\":%" PRIu64
	       ",\"repeats\":%" PRIu64 ",\"raced\":%" PRIu64 ",\"percent\":%.2f,",
	       source->exempt            ? "null"
	       : mr_source_holds(source) ? "true"
					 : "false",
	       source->log_records, source->pages, source->records, source->commands, source->discards, source->packets,
	       given->requests, given->sections, given->turns, given->dirty, given->channels, given->repeats,
	       source->raced, mr_source_share(source));
	put_string("status", mr_source_status_name(source->status), ",");
	put_string("text", source->trace_error[0] ? source->trace_error : source->reason, "}\n");
}

static void print_json(const char *path, const struct mr_replay *replay)
{
	for (size_t i = 0; i < replay->wire_count; i++) {
		const struct mr_wire_result *wire = &replay->wires[i];

		putchar('{');
		put_string("recording", path, ",\"comparison\":\"wire\",");
		printf("\"channel\":\"%s\",\"role\":\"%s\",\"identical\":%s,\"bytes\":%" PRIu64 ",\"records\":%" PRIu64
		       ",\"payloads\":%" PRIu64 ",\"cut\":%s,\"rest\":%" PRIu64 ",\"difference\":%" PRIu64 ",",
		       wire->channel, mr_role_name(wire->role), wire->identical ? "true" : "false", wire->bytes,
		       wire->records, wire->payloads, wire->cut ? "true" : "false", wire->rest, wire->difference);
		put_string("text", wire->text, "}\n");
	}
	if (replay->has_destination)
		print_destination_json(path, &replay->destination);
	if (replay->has_source)
		print_source_json(path, &replay->source);
	for (size_t i = 0; i < replay->memory_count; i++) {
		const struct mr_memory_result *memory = &replay->memories[i];

		putchar('{');
		put_string("recording", path, ",\"comparison\":\"memory\",");
		put_string("block", memory->block, ",");
		printf("\"truth\":\"%s\",\"identical\":%s,\"pages\":%" PRIu64 ",\"compared\":%" PRIu64
		       ",\"received\":%" PRIu64,
		       memory->compared ? memory->truth : "",
		       !memory->compared   ? "null"
		       : memory->identical ? "true"
					   : "false",
		       memory->pages, memory->compared_pages, memory->received);
		put_ranges("differ", &memory->differ);
		put_ranges("missing", &memory->missing);
		put_ranges("absent", &memory->absent);
		fputs("}\n", stdout);
	}
	putchar('{');
	put_string("recording", path, ",\"comparison\":\"all\",");
	printf("\"identical\":%s}\n", replay->holds ? "true" : "false");
}

/* ---- The command ---- */

static int replay_opened(const char *path, struct mr_migration *migration, const struct replay_options *replay,
			 const struct mr_destination_options *destination, const struct mr_source_options *source)
{
	struct mr_progress progress;
	struct mr_replay result;
	char error[512];
	int status;

	if (migration->lone) {
		error_line("%s: expected a recording directory, found a file", path);
		return STATUS_FAILED;
	}
	mr_progress_start(&progress, "replay", replay->json);
	status = mr_replay_run(&result, migration, destination, source, &progress, error, sizeof(error));
	mr_progress_end(&progress);
	if (status < 0) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	(replay->json ? print_json : print_text)(path, &result);
	status = result.holds ? STATUS_HOLDS : STATUS_DIFFERS;
	mr_replay_clear(&result);
	return status;
}

/* With memory of the host, that of one replay is another one than that of the next. */
static int replay_in_memory(const char *path, struct mr_migration *migration, const struct replay_options *replay,
			    const struct mr_destination_options *destination, const struct mr_source_options *source)
{
	struct mr_destination_options own = *destination;
	struct mr_replay_memory *memory;
	int status;

	if (!replay->real)
		return replay_opened(path, migration, replay, destination, source);
	memory = mr_replay_memory_new(replay->ordinary);
	if (!memory) {
		error_line("no memory for a replay");
		return STATUS_FAILED;
	}
	own.backing = mr_replay_memory_backing(memory);
	status = replay_opened(path, migration, replay, &own, source);
	mr_replay_memory_free(memory);
	return status;
}

static int replay_one(const char *path, const struct replay_options *replay,
		      const struct mr_destination_options *destination, const struct mr_source_options *source)
{
	const struct mr_stream_options nothing = {0};
	struct mr_migration *migration;
	char error[512];
	int status;

	if (mr_migration_open(&migration, path, &nothing, NULL, NULL, error, sizeof(error)) < 0) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	status = replay_in_memory(path, migration, replay, destination, source);
	mr_migration_close(migration);
	return status;
}

/* A file to write, if one is named. False if it cannot be. */
static bool create_file(const char *path, FILE **file)
{
	*file = path ? fopen(path, "w") : NULL;
	if (!path || *file)
		return true;
	error_line("%s: %s", path, strerror(errno));
	return false;
}

static int close_file(const char *path, FILE *file, int status)
{
	bool failed;

	if (!file)
		return status;
	failed = ferror(file);
	if (fclose(file) == 0 && !failed)
		return status;
	error_line("%s: not everything could be written", path);
	return STATUS_FAILED;
}

int command_replay(int argc, char **argv)
{
	struct replay_options replay = {0};
	struct mr_destination_options destination = {0};
	struct mr_source_options source = {0};
	int worst = STATUS_HOLDS;

	parse_command(&argp, argc, argv, &replay);
	destination.strict = replay.strict;
	destination.from_log = replay.from_log;
	source.from_log = replay.from_source_log;
	if (!create_file(replay.log, &destination.log) || !create_file(replay.actions, &destination.actions) ||
	    !create_file(replay.source_log, &source.log))
		return STATUS_FAILED;
	for (int i = 0; i < replay.count; i++) {
		const int status = replay_one(replay.paths[i], &replay, &destination, &source);

		worst = status > worst ? status : worst;
		fflush(stdout);
	}
	worst = close_file(replay.log, destination.log, worst);
	worst = close_file(replay.source_log, source.log, worst);
	return close_file(replay.actions, destination.actions, worst);
}
