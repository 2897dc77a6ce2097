/* replay.c: `migref replay`: a line for each comparison of a recording with the reference. */
#include "sim/cli/cli.h"
#include "sim/record/print.h"
#include "sim/record/replay.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { RANGES_SHOWN = 16 };

struct replay_options {
	char **paths;
	int count;
	bool json;
};

static const struct argp_option options[] = {
	{"json", 'j', NULL, 0, "one JSON object for each comparison", 0},
	{NULL, 0, NULL, 0, NULL, 0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
	struct replay_options *replay = state->input;

	(void)argument;
	switch (key) {
	case 'j':
		replay->json = true;
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
	       "compressed payloads are "
	       "compressed again, and the bytes are compared.\n"
	       "memory: guest memory is rebuilt from the channels and compared with the source's (source.ram, "
	       "source.pmem).\n\n"
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

static int replay_one(const char *path, bool json)
{
	const struct mr_stream_options nothing = {0};
	struct mr_migration *migration;
	struct mr_progress progress;
	struct mr_replay replay;
	char error[512];
	int status;

	if (mr_migration_open(&migration, path, &nothing, NULL, NULL, error, sizeof(error)) < 0) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	if (migration->lone) {
		error_line("%s: expected a recording directory, found a file", path);
		mr_migration_close(migration);
		return STATUS_FAILED;
	}
	mr_progress_start(&progress, "replay", json);
	status = mr_replay_run(&replay, migration, &progress, error, sizeof(error));
	mr_progress_end(&progress);
	mr_migration_close(migration);
	if (status < 0) {
		error_line("%s", error);
		return STATUS_FAILED;
	}
	(json ? print_json : print_text)(path, &replay);
	status = replay.holds ? STATUS_HOLDS : STATUS_DIFFERS;
	mr_replay_clear(&replay);
	return status;
}

int command_replay(int argc, char **argv)
{
	struct replay_options replay = {0};
	int worst = STATUS_HOLDS;

	parse_command(&argp, argc, argv, &replay);
	for (int i = 0; i < replay.count; i++) {
		const int status = replay_one(replay.paths[i], replay.json);

		worst = status > worst ? status : worst;
		fflush(stdout);
	}
	return worst;
}
