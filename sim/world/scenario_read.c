/*
 * scenario_read.c: scenario files, with the place of whatever is wrong in them.
 *
 * inih tells keys from values and both from comments. It gets the lines from here, one by one, so that their numbers
 * are known, and what it would cut or pass over is refused before.
 */
#include "sim/world/scenario_check.h"
#include "sim/world/scenario_lines.h"
#include "sim/world/scenario_trace.h"

#include <ini.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	FILE_MAX = 1 << 20, /* bytes */
	NO_SECTION = -1,
};

struct reader {
	struct mr_scenario *scenario;
	const char *path;
	char *error;
	size_t error_size;
	bool failed;
	struct mr_lines lines;
	int last_line;
	const char *waiting; /* a line that inih has to make a key of */
	int section;         /* enum mr_scenario_section_number that keys belong to; NO_SECTION before the first */
	uint32_t index;
	/* where each section and each key stands; 0: nowhere */
	int section_lines[MR_SECTION_COUNT][MR_SCENARIO_ELEMENTS_MAX];
	int key_lines[MR_SECTION_COUNT][MR_SCENARIO_ELEMENTS_MAX][MR_SCENARIO_KEYS_MAX];
	char blocks[MR_SCENARIO_WORKLOADS_MAX][MR_KEY_TEXT_MAX]; /* of workloads; "": the first */
};

/* ---- Complaints ---- */

/* "FILE:LINE: expected ..., found ...": what was found is made printable. Always false. */
__attribute__((format(printf, 4, 5))) static bool fail(struct reader *reader, int line, const char *found,
						       const char *expected, ...)
{
	char text[MR_KEY_TEXT_MAX + 64], what[96];
	va_list arguments;

	va_start(arguments, expected);
	vsnprintf(text, sizeof(text), expected, arguments);
	va_end(arguments);
	snprintf(what, sizeof(what), "%s", found);
	for (char *at = what; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			*at = '?';
	snprintf(reader->error, reader->error_size, "%s:%d: expected %s, found %s", reader->path, line, text, what);
	reader->failed = true;
	return false;
}

static int *key_line(struct reader *reader, enum mr_scenario_section_number section, uint32_t index,
		     const struct mr_scenario_key *key)
{
	return &reader->key_lines[section][index][key - mr_scenario_sections[section].keys];
}

/* Of what is not in the file the place is its section, and of that the end of the file. */
static int place_of(struct reader *reader, enum mr_scenario_section_number section, uint32_t index,
		    const struct mr_scenario_key *key)
{
	if (key && *key_line(reader, section, index, key))
		return *key_line(reader, section, index, key);
	if (reader->section_lines[section][index])
		return reader->section_lines[section][index];
	return reader->last_line;
}

/* ---- Sections ---- */

static bool begin_element(struct reader *reader, enum mr_scenario_section_number section, const char *name)
{
	const struct mr_scenario_section *row = &mr_scenario_sections[section];
	uint32_t *count = (uint32_t *)((char *)reader->scenario + row->count);
	char *element;

	if (!mr_scenario_is_name(name, MR_SCENARIO_NAME_MAX))
		return fail(reader, reader->lines.number, *name ? name : "none",
			    "[%s NAME], a name of 1 to %d characters without blank, ] and ;", row->name,
			    MR_SCENARIO_NAME_MAX);
	for (uint32_t i = 0; i < *count; i++)
		if (reader->section_lines[section][i] &&
		    strcmp(mr_scenario_element(reader->scenario, section, i), name) == 0)
			return fail(reader, reader->lines.number, "it again", "[%s %s] once", row->name, name);
	/* The first one takes the place of what is there without any. */
	if (reader->section_lines[section][0] == 0)
		*count = 0;
	if (*count == row->most)
		return fail(reader, reader->lines.number, "one more", "at most %" PRIu32 " sections [%s NAME]",
			    row->most, row->name);
	reader->index = (*count)++;
	element = mr_scenario_element(reader->scenario, section, reader->index);
	memset(element, 0, row->size);
	mr_scenario_set_defaults(section, element);
	snprintf(element, MR_SCENARIO_NAME_MAX + 1, "%s", name);
	return true;
}

static bool begin_single(struct reader *reader, enum mr_scenario_section_number section, const char *name)
{
	const struct mr_scenario_section *row = &mr_scenario_sections[section];

	if (*name)
		return fail(reader, reader->lines.number, name, "[%s] without a name", row->name);
	if (reader->section_lines[section][0])
		return fail(reader, reader->lines.number, "it again", "[%s] once", row->name);
	reader->index = 0;
	return true;
}

/* `inside` is what stands between the brackets. */
static bool begin_section(struct reader *reader, char *inside)
{
	const size_t length = strcspn(inside, " \t");
	char *name = inside + length;

	if (*name)
		*name++ = '\0';
	name += strspn(name, " \t");
	for (unsigned i = 0; i < MR_SECTION_COUNT; i++) {
		const struct mr_scenario_section *row = &mr_scenario_sections[i];

		if (strcmp(row->name, inside) != 0)
			continue;
		if (row->named ? !begin_element(reader, i, name) : !begin_single(reader, i, name))
			return false;
		reader->section = (int)i;
		reader->section_lines[i][reader->index] = reader->lines.number;
		return true;
	}
	return fail(
		reader, reader->lines.number, inside,
		"scenario, guest, block, workload, link, costs, migration, choices, fault or operator as a section");
}

static bool take_header(struct reader *reader, const char *line)
{
	char inside[MR_KEY_TEXT_MAX];
	const size_t length = strcspn(line + 1, "]");
	const char *behind = line + 1 + length;

	if (*behind != ']' || length >= sizeof(inside))
		return fail(reader, reader->lines.number, line, "] at the end of a section's name");
	behind += 1 + strspn(behind + 1, " \t");
	if (*behind && *behind != ';' && *behind != '#')
		return fail(reader, reader->lines.number, behind, "nothing behind a section's ]");
	memcpy(inside, line + 1, length);
	inside[length] = '\0';
	return begin_section(reader, inside);
}

/* ---- Lines ---- */

/* The next line that is no comment; NULL: there is none, or something is wrong. */
static const char *find_line(struct reader *reader)
{
	static const char mark[] = "\xef\xbb\xbf";
	const char *line;

	do {
		line = mr_lines_next(&reader->lines);
		if (!line)
			return NULL;
		reader->last_line = reader->lines.number;
		if (reader->lines.number == 1 && strncmp(line, mark, sizeof(mark) - 1) == 0)
			line += sizeof(mark) - 1;
	} while (*line == '\0' || *line == '#' || *line == ';');
	return line;
}

/* inih's source of lines, each with its newline. */
static char *give_line(char *out, int size, void *stream)
{
	struct reader *reader = stream;
	const char *line;

	if (reader->waiting && !reader->failed)
		fail(reader, reader->lines.number, reader->waiting, "KEY = VALUE");
	line = reader->failed ? NULL : find_line(reader);
	if (!line)
		return NULL;
	if (strlen(line) + 2 > (size_t)size) {
		fail(reader, reader->lines.number, "more", "at most %d characters in a line", size - 2);
		return NULL;
	}
	reader->waiting = *line == '[' ? NULL : line;
	if (*line == '[' && !take_header(reader, line))
		return NULL;
	snprintf(out, (size_t)size, "%s\n", line);
	return out;
}

static bool take_value(struct reader *reader, const struct mr_scenario_key *key, const char *value)
{
	char expected[MR_KEY_TEXT_MAX], culprit[MR_KEY_TEXT_MAX];
	void *element =
		mr_scenario_element(reader->scenario, (enum mr_scenario_section_number)reader->section, reader->index);

	if (key->kind == MR_KEY_BLOCK) {
		snprintf(reader->blocks[reader->index], sizeof(reader->blocks[0]), "%s", value);
		return true;
	}
	if (mr_key_read(key, element, value))
		return true;
	mr_key_describe(key, expected);
	mr_key_find_culprit(key, value, culprit);
	return fail(reader, reader->lines.number, culprit, "%s: %s", key->name, expected);
}

static bool take_key(struct reader *reader, const char *name, const char *value)
{
	const struct mr_scenario_key *key;
	enum mr_scenario_section_number section;
	const char *section_name;

	if (reader->section == NO_SECTION)
		return fail(reader, reader->lines.number, name, "a section before the first key");
	section = (enum mr_scenario_section_number)reader->section;
	section_name = mr_scenario_sections[section].name;
	key = mr_scenario_key_find(section, name);
	if (!key)
		return fail(reader, reader->lines.number, name, "a key of [%s]", section_name);
	if (*key_line(reader, section, reader->index, key))
		return fail(reader, reader->lines.number, "it again", "%s once in [%s]", name, section_name);
	*key_line(reader, section, reader->index, key) = reader->lines.number;
	if (*value == '\0')
		return fail(reader, reader->lines.number, "none", "a value for %s", name);
	return take_value(reader, key, value);
}

static int take_pair(void *user, const char *section, const char *name, const char *value)
{
	struct reader *reader = user;

	(void)section;
	reader->waiting = NULL;
	if (!reader->failed)
		take_key(reader, name, value ? value : "");
	return 1;
}

/* ---- When all has been read ---- */

static bool has_required_keys(struct reader *reader)
{
	for (unsigned section = 0; section < MR_SECTION_COUNT; section++) {
		const struct mr_scenario_section *row = &mr_scenario_sections[section];
		const uint32_t count = mr_scenario_section_count(reader->scenario, section);

		for (uint32_t i = 0; i < count && reader->section_lines[section][i]; i++)
			for (unsigned k = 0; k < row->key_count; k++)
				if (!row->keys[k].otherwise && !reader->key_lines[section][i][k])
					return fail(reader, reader->section_lines[section][i], "none", "%s in [%s]",
						    row->keys[k].name, row->name);
	}
	return true;
}

static bool find_block(struct reader *reader, uint32_t index)
{
	const char *name = reader->blocks[index];
	struct mr_scenario *scenario = reader->scenario;

	if (*name == '\0')
		return true;
	for (uint32_t i = 0; i < scenario->block_count; i++)
		if (strcmp(scenario->blocks[i].name, name) == 0) {
			scenario->workloads[index].block = i;
			return true;
		}
	return fail(reader,
		    place_of(reader, MR_SECTION_WORKLOAD, index, mr_scenario_key_find(MR_SECTION_WORKLOAD, "block")),
		    name, "block: the name of a block");
}

/* Sizes become pages once the size of a page is known. */
static bool take_pages(struct reader *reader, uint32_t index)
{
	static const char *const keys[] = {"start", "length"};
	const uint32_t page = reader->scenario->guest.target_page_size;
	struct mr_scenario_workload *workload = &reader->scenario->workloads[index];

	for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const struct mr_scenario_key *key = mr_scenario_key_find(MR_SECTION_WORKLOAD, keys[i]);
		const uint64_t bytes = mr_key_get(key, workload);
		char found[32];

		snprintf(found, sizeof(found), "%" PRIu64, bytes);
		if (bytes % page)
			return fail(reader, place_of(reader, MR_SECTION_WORKLOAD, index, key), found,
				    "%s: a multiple of target-page = %" PRIu32, key->name, page);
		mr_key_set(key, workload, bytes / page);
	}
	return true;
}

/* Relative names are relative to the scenario's folder. */
static bool read_trace(struct reader *reader, uint32_t index)
{
	struct mr_scenario_workload *workload = &reader->scenario->workloads[index];
	struct mr_pattern_config *pattern = &workload->pattern;
	const char *slash = strrchr(reader->path, '/');
	const int folder = slash && workload->trace_file[0] != '/' ? (int)(slash + 1 - reader->path) : 0;
	char *path;
	int result;

	if (pattern->kind != MR_PATTERN_TRACE || !*workload->trace_file || pattern->pages == 0)
		return true;
	if (asprintf(&path, "%.*s%s", folder, reader->path, workload->trace_file) < 0) {
		reader->failed = true;
		snprintf(reader->error, reader->error_size, "%s: not enough memory", reader->path);
		return false;
	}
	result = mr_scenario_trace_read(path, pattern->pages, &reader->scenario->traces[index], &pattern->trace_length,
					reader->error, reader->error_size);
	free(path);
	pattern->trace = reader->scenario->traces[index];
	reader->failed = result < 0;
	return result == 0;
}

static bool complete_workloads(struct reader *reader)
{
	for (uint32_t i = 0; i < reader->scenario->workload_count; i++) {
		if (!find_block(reader, i) || !take_pages(reader, i))
			return false;
		mr_scenario_imply(reader->scenario, MR_SECTION_WORKLOAD, &reader->scenario->workloads[i]);
		if (!read_trace(reader, i))
			return false;
	}
	return true;
}

static bool complete(struct reader *reader)
{
	struct mr_scenario *scenario = reader->scenario;
	struct mr_scenario_breach breach;

	if (!has_required_keys(reader))
		return false;
	for (uint32_t i = 0; i < scenario->block_count; i++)
		mr_scenario_imply(scenario, MR_SECTION_BLOCK, &scenario->blocks[i]);
	for (uint32_t i = 0; i < scenario->fault_count; i++)
		mr_scenario_imply(scenario, MR_SECTION_FAULT, &scenario->faults[i]);
	if (!complete_workloads(reader))
		return false;
	if (!mr_scenario_find_breach(scenario, &breach))
		return true;
	return fail(reader, place_of(reader, breach.section, breach.index, breach.key), breach.found, "%s",
		    breach.expected);
}

/* What of a file's name cannot stand in a file is replaced. */
static void take_name(struct mr_scenario *scenario, const char *path)
{
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *dot = strrchr(base, '.');
	size_t length = dot && dot > base ? (size_t)(dot - base) : strlen(base);

	if (length > sizeof(scenario->name) - 1)
		length = sizeof(scenario->name) - 1;
	if (length == 0)
		return;
	memset(scenario->name, 0, sizeof(scenario->name));
	for (size_t i = 0; i < length; i++) {
		const bool plain = base[i] > ' ' && base[i] <= '~' && base[i] != ';' && base[i] != ']';

		scenario->name[i] = (char)(plain ? base[i] : '_');
	}
}

static void read_lines(struct reader *reader)
{
	const int result = ini_parse_stream(give_line, reader, take_pair, reader);

	if (reader->last_line == 0)
		reader->last_line = 1;
	if (result != 0 && !reader->failed)
		fail(reader, reader->last_line, "something else", "what an INI file holds");
	if (!reader->failed)
		complete(reader);
}

int mr_scenario_read(struct mr_scenario *scenario, const char *path, char *error, size_t error_size)
{
	struct reader *reader = calloc(1, sizeof(*reader));
	bool failed = true;

	mr_scenario_default(scenario);
	take_name(scenario, path);
	if (!reader) {
		snprintf(error, error_size, "%s: not enough memory", path);
		return -1;
	}
	*reader = (struct reader){
		.scenario = scenario, .path = path, .error = error, .error_size = error_size, .section = NO_SECTION};
	if (mr_lines_open(&reader->lines, path, FILE_MAX, error, error_size) == 0) {
		read_lines(reader);
		mr_lines_close(&reader->lines);
		failed = reader->failed;
	}
	free(reader);
	if (failed)
		mr_scenario_clear(scenario);
	return failed ? -1 : 0;
}
