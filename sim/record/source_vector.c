/* source_vector.c: runs the vectors of a source against the reference. */
#include "sim/record/source_vector.h"

#include "ref/discard.h"
#include "ref/outgoing.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	BLOCKS_MAX = 8,
	PAGES_MAX = 4096, /* of a block */
	STEPS_MAX = 100000,
	SERVED_MAX = 64,
	COMMANDS_MAX = 64,
	HOST_EIO = 5,
};

/* A vector and what surrounds its source. */
struct run {
	json_t *root;
	char *difference;
	struct mr_profile profile;
	uint32_t capabilities, page_size, host_page_size;
	unsigned block_count;
	struct mr_outgoing_block blocks[BLOCKS_MAX];
	uint64_t dirty[BLOCKS_MAX][PAGES_MAX / 64], unsent[BLOCKS_MAX][PAGES_MAX / 64];
	bool has_unsent;

	/* of the return path */
	struct mr_outgoing *source;
	struct mr_handlers handlers;
	struct mr_handler_entry entries[2];
	struct mr_choices choices;
	bool serving;             /* PARTs last as long as requests wait */
	bool packaged, listening; /* the package is out; so is a section behind it */
	uint8_t *honest;
	size_t honest_length;
	uint32_t main;
	struct {
		uint32_t block;
		uint64_t page;
	} served[SERVED_MAX];
	unsigned served_count;
	uint8_t page[MR_PAGE_SIZE_MAX];
};

static int differ(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int differ(struct run *run, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(run->difference, MR_VECTOR_MESSAGE_MAX, format, arguments);
	va_end(arguments);
	return -1;
}

/* ---- What both kinds have ---- */

static uint64_t number_of(json_t *object, const char *key, uint64_t absent)
{
	json_t *value = json_object_get(object, key);

	return json_is_integer(value) && json_integer_value(value) >= 0 ? (uint64_t)json_integer_value(value) : absent;
}

static uint64_t pages_of(const struct run *run, unsigned block)
{
	return run->blocks[block].used_length / run->page_size;
}

/* Pairs of a first page and a number of pages. */
static int read_bits(struct run *run, json_t *ranges, unsigned block, uint64_t *map)
{
	json_t *range;
	size_t index;

	json_array_foreach(ranges, index, range)
	{
		const json_int_t first = json_integer_value(json_array_get(range, 0));
		const json_int_t count = json_integer_value(json_array_get(range, 1));

		if (first < 0 || count < 1 || (uint64_t)first > pages_of(run, block) ||
		    (uint64_t)count > pages_of(run, block) - (uint64_t)first)
			return differ(run, "pages of \"%s\": expected pairs within it", run->blocks[block].name);
		mr_bitmap_set(map, (uint64_t)first, (uint64_t)count);
	}
	return 0;
}

static int read_block(struct run *run, json_t *object, unsigned index)
{
	struct mr_outgoing_block *block = &run->blocks[index];
	json_t *unsent = json_object_get(object, "unsent");

	block->name = json_string_value(json_object_get(object, "name"));
	block->used_length = number_of(object, "used_length", 0);
	block->page_size = number_of(object, "page_size", run->host_page_size);
	block->ignored = json_is_true(json_object_get(object, "ignored"));
	if (!block->name || block->used_length % run->page_size || pages_of(run, index) > PAGES_MAX)
		return differ(run, "block %u: expected a name and whole pages, at most %d", index, PAGES_MAX);
	run->has_unsent |= unsent != NULL;
	return read_bits(run, json_object_get(object, "dirty"), index, run->dirty[index]) ||
	       read_bits(run, unsent, index, run->unsent[index]);
}

static int read_source(struct run *run)
{
	json_t *source = json_object_get(run->root, "source");
	json_t *blocks = json_object_get(source, "blocks"), *value;
	const char *profile = json_string_value(json_object_get(source, "profile"));
	size_t index;

	if (!profile || mr_profile_init(&run->profile, profile))
		return differ(run, "\"profile\": expected a release from 2.5 to 11.1");
	run->page_size = (uint32_t)number_of(source, "target_page_size", 4096);
	run->host_page_size = (uint32_t)number_of(source, "host_page_size", 4096);
	if (run->page_size < MR_PAGE_SIZE_MIN || run->page_size > MR_PAGE_SIZE_MAX)
		return differ(run, "\"target_page_size\": expected 1024 to 65536");
	json_array_foreach(json_object_get(source, "capabilities"), index, value)
	{
		const uint32_t bit = mr_capability_by_name(json_is_string(value) ? json_string_value(value) : "");

		if (!bit)
			return differ(run, "\"capabilities\": expected names of them");
		run->capabilities |= bit;
	}
	run->block_count = (unsigned)json_array_size(blocks);
	if (run->block_count == 0 || run->block_count > BLOCKS_MAX)
		return differ(run, "\"blocks\": expected 1 to %d", BLOCKS_MAX);
	json_array_foreach(blocks, index, value)
	{
		if (read_block(run, value, (unsigned)index))
			return -1;
	}
	return 0;
}

/* Compares bits with what `key` of the vector has for each block. */
static int compare_bits(struct run *run, const char *key, unsigned block, const uint64_t *found)
{
	json_t *ranges = json_object_get(json_object_get(run->root, key), run->blocks[block].name);
	uint64_t expected[PAGES_MAX / 64] = {0};

	if (!ranges)
		return 0;
	if (read_bits(run, ranges, block, expected))
		return -1;
	for (uint64_t page = 0; page < pages_of(run, block); page++)
		if (mr_bitmap_test(expected, page) != mr_bitmap_test(found, page))
			return differ(run, "\"%s\" of \"%s\", page %u: expected %s", key, run->blocks[block].name,
				      (unsigned)page, mr_bitmap_test(expected, page) ? "set" : "clear");
	return 0;
}

/* ---- Discards ---- */

static int compare_command(struct run *run, const struct mr_record *record, unsigned index)
{
	json_t *line = json_array_get(json_object_get(run->root, "commands"), index);
	uint8_t out[MR_DISCARD_COMMAND_MAX], *expected;
	const size_t length = mr_encode(record, out, sizeof(out));
	json_t *lines;
	size_t expected_length;
	bool equal;

	if (!line)
		return differ(run, "command %u: expected none, found one of %zu bytes", index, length);
	lines = json_is_array(line) ? json_incref(line) : json_pack("[O]", line);
	if (mr_vector_bytes(lines, &expected, &expected_length, run->difference)) {
		json_decref(lines);
		return -1;
	}
	json_decref(lines);
	equal = length == expected_length && memcmp(out, expected, length) == 0;
	free(expected);
	return equal ? 0
		     : differ(run, "command %u: expected %zu other bytes, found %zu", index, expected_length, length);
}

static int run_discards(struct run *run)
{
	struct mr_discard_source_block blocks[BLOCKS_MAX];
	struct mr_discard_walk walk;
	struct mr_record record;
	unsigned count = 0;

	for (unsigned i = 0; i < run->block_count; i++)
		blocks[i] = (struct mr_discard_source_block){
			.name = {(const uint8_t *)run->blocks[i].name, strlen(run->blocks[i].name)},
			.used_length = run->blocks[i].used_length,
			.page_size = run->blocks[i].page_size,
			.ignored = run->blocks[i].ignored,
			.dirty = run->dirty[i],
			.unsent = run->has_unsent ? run->unsent[i] : NULL,
		};
	if (mr_discard_walk_init(&walk, &run->profile, run->page_size, run->host_page_size, blocks, run->block_count) !=
	    MR_NO_RULE)
		return differ(run, "expected blocks that can be discarded");
	while (mr_discard_walk_next(&walk, &record))
		if (compare_command(run, &record, count++))
			return -1;
	if (count != json_array_size(json_object_get(run->root, "commands")))
		return differ(run, "expected %zu commands, found %u",
			      json_array_size(json_object_get(run->root, "commands")), count);
	for (unsigned i = 0; i < run->block_count; i++)
		if (compare_bits(run, "dirty", i, run->dirty[i]) || compare_bits(run, "unsent", i, run->unsent[i]))
			return -1;
	return 0;
}

/* ---- The return path ---- */

static const uint8_t *read_page(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	struct run *run = argument;

	(void)actor;
	(void)look;
	run->page[0] = (uint8_t)(1 + block);
	run->page[1] = (uint8_t)(offset >> 12);
	return run->page;
}

/* A PART holds what was asked for, and nothing else. */
static uint64_t choose(void *argument, enum mr_choice choice, uint64_t canonical)
{
	struct run *run = argument;

	if (choice == MR_CHOICE_SECTION_ENDS)
		return !run->serving;
	if (choice == MR_CHOICE_TURN)
		return canonical == MR_TURN_COMPLETE ? MR_TURN_ITERATE : canonical;
	return canonical;
}

static void note_served(struct run *run, const struct mr_source_action *action)
{
	if (action->kind == MR_SOURCE_ACTION_SEND && action->send.requested && run->served_count < SERVED_MAX) {
		run->served[run->served_count].block = action->send.block;
		run->served[run->served_count++].page = action->send.page;
	}
	if (action->kind == MR_SOURCE_ACTION_REQUEST && action->actor == MR_SOURCE_MIGRATION)
		run->serving = false;
}

static void note_place(struct run *run, const struct mr_source_action *action)
{
	if (action->kind != MR_SOURCE_ACTION_SEND)
		return;
	run->packaged |= action->send.kind == MR_OPAQUE;
	run->listening |= run->packaged && action->send.kind == MR_SECTION_FOOTER;
}

static bool step(struct run *run, unsigned actor)
{
	struct mr_source_action action;

	if (mr_outgoing_step(run->source, actor, &action) != MR_STEP_ACTION)
		return false;
	note_served(run, &action);
	note_place(run, &action);
	if (action.kind == MR_SOURCE_ACTION_CONNECT &&
	    (action.connect.role == MR_ROLE_MAIN || action.connect.role == MR_ROLE_RECOVERY))
		run->main = action.connect.channel;
	if (action.asked)
		mr_outgoing_complete(run->source, actor, 0);
	return true;
}

static bool run_to(struct run *run, enum mr_source_status status)
{
	for (unsigned i = 0; i < STEPS_MAX && mr_outgoing_status(run->source) != status; i++)
		if (!step(run, MR_SOURCE_MIGRATION) && !step(run, MR_SOURCE_RETURN))
			return false;
	return mr_outgoing_status(run->source) == status;
}

/* Brings the source to the moment at which the messages come. */
static int reach(struct run *run)
{
	static const uint8_t pongs[] = {0, 2, 0, 4, 0, 0, 0, 1, 0, 2, 0, 4, 0, 0, 0, 0x42};
	const char *moment = json_string_value(json_object_get(json_object_get(run->root, "source"), "moment"));
	const size_t honest = mr_profile_does(&run->profile, MR_SWITCH_PING_PACKAGE_LOADED) ? 16 : 8;
	const bool postcopy = moment && strcmp(moment, "precopy") != 0;

	if (!moment || !run_to(run, MR_SOURCE_STATUS_ACTIVE))
		return differ(run, "\"moment\": expected a source that becomes active");
	mr_outgoing_feed(run->source, run->main, pongs, honest, false, 0);
	run->honest_length = honest;
	while (step(run, MR_SOURCE_RETURN))
		continue;
	if (!postcopy)
		return strcmp(moment, "precopy") ? differ(run, "\"moment\": expected precopy, postcopy or recover") : 0;
	mr_outgoing_start_postcopy(run->source);
	for (unsigned i = 0; i < STEPS_MAX && !run->listening; i++)
		if (!step(run, MR_SOURCE_MIGRATION) && !step(run, MR_SOURCE_RETURN))
			break;
	if (!run->listening)
		return differ(run, "\"capabilities\": expected what postcopy needs");
	if (strcmp(moment, "postcopy") == 0)
		return 0;
	mr_outgoing_broken(run->source, run->main, HOST_EIO);
	if (!run_to(run, MR_SOURCE_STATUS_POSTCOPY_PAUSED))
		return differ(run, "\"moment\": expected a release with recovery");
	while (step(run, MR_SOURCE_MIGRATION))
		continue;
	mr_outgoing_recover(run->source);
	run->honest_length = 0;
	while (step(run, MR_SOURCE_MIGRATION))
		continue;
	return mr_outgoing_status(run->source) == MR_SOURCE_STATUS_POSTCOPY_RECOVER
		       ? 0
		       : differ(run, "\"moment\": expected a source that recovers");
}

static int compare_served(struct run *run)
{
	json_t *served = json_object_get(run->root, "served"), *entry;
	size_t index;

	if (json_array_size(served) != run->served_count)
		return differ(run, "expected %zu pages served, found %u", json_array_size(served), run->served_count);
	json_array_foreach(served, index, entry)
	{
		const char *block = json_string_value(json_object_get(entry, "block"));
		const uint64_t offset = number_of(entry, "offset", UINT64_MAX);

		if (!block || strcmp(block, run->blocks[run->served[index].block].name) ||
		    offset != run->served[index].page)
			return differ(run, "page served %zu: expected another than \"%s\" 0x%llx", index,
				      run->blocks[run->served[index].block].name,
				      (unsigned long long)run->served[index].page);
	}
	return 0;
}

static int compare_refusal(struct run *run)
{
	const struct mr_finding *error = mr_outgoing_return_error(run->source);
	json_t *refused = json_object_get(run->root, "refused");
	const char *rule = json_string_value(json_object_get(refused, "rule"));
	const char *found = error->rule == MR_NO_RULE ? "none" : mr_rule_id(error->rule);

	if (!json_is_object(refused))
		return error->rule == MR_NO_RULE
			       ? 0
			       : differ(run, "expected no refusal, found %s: %s", found, error->found);
	if (!rule || strcmp(rule, found))
		return differ(run, "expected a refusal by %s, found %s", rule ? rule : "a rule", found);
	if (number_of(refused, "offset", UINT64_MAX) != error->offset - run->honest_length)
		return differ(run, "refused at offset %llu, expected another",
			      (unsigned long long)(error->offset - run->honest_length));
	return 0;
}

/* Requests are served at once by who reads them, or by the next PARTs: each of these ends when one is over. */
static void serve(struct run *run)
{
	for (unsigned i = 0; i < 4 * MR_OUTGOING_REQUESTS_MAX; i++) {
		while (step(run, MR_SOURCE_RETURN))
			continue;
		if (mr_outgoing_requests(run->source) == 0)
			break;
		run->serving = true;
		for (unsigned steps = 0; steps < STEPS_MAX && run->serving; steps++)
			if (!step(run, MR_SOURCE_MIGRATION))
				return;
	}
}

static int judge(struct run *run)
{
	json_t *dirty = json_object_get(run->root, "dirty");

	if (compare_refusal(run) || compare_served(run))
		return -1;
	for (unsigned i = 0; dirty && i < run->block_count; i++) {
		uint64_t pages;

		if (!run->blocks[i].ignored &&
		    compare_bits(run, "dirty", i, mr_outgoing_dirty_bits(run->source, i, &pages)))
			return -1;
	}
	return 0;
}

static int run_messages(struct run *run, const uint8_t *bytes, size_t length)
{
	const bool ends = json_is_true(json_object_get(run->root, "ends"));
	struct mr_handler ram;
	struct mr_outgoing_config config = {
		.profile = run->profile,
		.capabilities = run->capabilities,
		.target_page_size = run->page_size,
		.host_page_size = run->host_page_size,
		.blocks = run->blocks,
		.block_count = run->block_count,
		.handlers = &run->handlers,
		.memory = {run, read_page},
		.choices = &run->choices,
		.max_bandwidth = UINT64_MAX,
		.package_max = 4096,
	};
	char error[96] = "";
	size_t size;
	void *arena;
	int result;

	run->choices = (struct mr_choices){run, choose};
	mr_handlers_init(&run->handlers, &run->profile, run->entries, 2);
	mr_handler_known("ram", &ram);
	mr_handlers_register(&run->handlers, &ram, NULL, error);
	size = mr_outgoing_size(&config, error);
	if (size == 0)
		return differ(run, "%s", error);
	arena = calloc(1, size);
	run->source = arena ? mr_outgoing_init(arena, size, &config) : NULL;
	result = run->source ? reach(run) : differ(run, "out of memory");
	if (result == 0) {
		mr_outgoing_feed(run->source, run->main, bytes, length, ends, 0);
		serve(run);
		result = judge(run);
	}
	mr_outgoing_clear(run->source);
	free(arena);
	return result;
}

static int run_return_path(struct run *run)
{
	uint8_t *bytes;
	size_t length;
	int result;

	if (mr_vector_bytes(json_object_get(run->root, "return"), &bytes, &length, run->difference))
		return -1;
	result = run_messages(run, bytes, length);
	free(bytes);
	return result;
}

int mr_source_vector_run(const char *path, char difference[MR_VECTOR_MESSAGE_MAX])
{
	struct run *run = calloc(1, sizeof(*run));
	char line[MR_VECTOR_MESSAGE_MAX] = "";
	int result = -1;

	if (!run) {
		snprintf(difference, MR_VECTOR_MESSAGE_MAX, "%s: out of memory", path);
		return -1;
	}
	run->difference = line;
	run->root = mr_vector_load_json(path, difference);
	if (run->root && read_source(run) == 0)
		result = json_object_get(run->root, "commands") ? run_discards(run) : run_return_path(run);
	if (run->root && result)
		snprintf(difference, MR_VECTOR_MESSAGE_MAX, "%.200s: %.800s", path, line);
	json_decref(run->root);
	free(run);
	return result;
}
