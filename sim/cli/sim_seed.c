/* sim_seed.c: what a swarm keeps of one run, as columns and as JSON. */
#include "sim/cli/sim_seed.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(MR_SOMETIMES_COUNT <= 52, "an event has no letter");

/* ---- Names ---- */

const char *sim_end_name(unsigned end)
{
	if (end == SIM_END_DIED)
		return "died";
	return end == SIM_END_REFUSED ? "refused" : mr_outcome_name((enum mr_outcome)end);
}

bool sim_end_is_bad(unsigned end)
{
	return end >= MR_OUTCOME_VIOLATED;
}

const char *sim_figure_name(enum sim_figure figure)
{
	static const char *const names[] = {
#define SIM_FIGURE_NAME(name) #name,
		SIM_FIGURES(SIM_FIGURE_NAME)
#undef SIM_FIGURE_NAME
	};

	return names[figure];
}

char sim_event_letter(enum mr_sometimes event)
{
	return (char)(event < 26 ? 'a' + (int)event : 'A' + (int)event - 26);
}

static const struct {
	char letter;
	uint32_t capability; /* 0: see has_mode() */
	const char *text;
} modes[SIM_MODES] = {
	{'P', MR_CAPABILITY_POSTCOPY_RAM, "postcopy"},
	{'U', MR_CAPABILITY_POSTCOPY_PREEMPT, "a preempt channel"},
	{'M', MR_CAPABILITY_MULTIFD, "multifd"},
	{'Z', 0, "compressed packets"},
	{'X', MR_CAPABILITY_XBZRLE, "xbzrle"},
	{'R', MR_CAPABILITY_RETURN_PATH, "a return path"},
	{'H', 0, "huge pages"},
	{'B', 0, "pause before switchover"},
	{'L', 0, "release-ram"},
	{'T', 0, "auto-converge"},
	{'S', 0, "strict destination"},
	{'C', 0, "unusual choices"},
	{'F', 0, "faults"},
	{'O', 0, "operator"},
};

char sim_mode_letter(unsigned mode)
{
	return modes[mode].letter;
}

const char *sim_mode_text(unsigned mode)
{
	return modes[mode].text;
}

static char letter_or_dot(char letter, bool is_so)
{
	if (!is_so)
		return '.';
	return letter;
}

/* ---- Taking ---- */

static bool has_huge_pages(const struct mr_scenario *scenario)
{
	for (uint32_t i = 0; i < scenario->block_count; i++)
		if (scenario->blocks[i].page_size > scenario->guest.host_page_size)
			return true;
	return false;
}

static bool has_choices(const struct mr_scenario *scenario)
{
	uint32_t sum = scenario->choices.spurious_dirty;

	for (unsigned i = 0; i < MR_CHOICE_COUNT; i++)
		sum += scenario->choices.permille[i];
	return sum > 0;
}

static bool has_mode(const struct mr_scenario *scenario, unsigned mode)
{
	const struct mr_scenario_migration *migration = &scenario->migration;
	const bool multifd = migration->capabilities & MR_CAPABILITY_MULTIFD;

	switch (modes[mode].letter) {
	case 'Z':
		return multifd && migration->method[0] && strcmp(migration->method, "none") != 0;
	case 'H':
		return has_huge_pages(scenario);
	case 'B':
		return migration->pause_before_switchover;
	case 'L':
		return migration->release_ram;
	case 'T':
		return migration->auto_converge;
	case 'S':
		return migration->strict;
	case 'C':
		return has_choices(scenario);
	case 'F':
		return scenario->fault_count > 0;
	case 'O':
		return scenario->operation_count > 0;
	default:
		return migration->capabilities & modes[mode].capability;
	}
}

void sim_seed_draw(struct sim_seed *seed, const struct mr_scenario *scenario)
{
	seed->drawn = true;
	for (unsigned i = 0; i < SIM_MODES; i++)
		seed->mode[i] = letter_or_dot(modes[i].letter, has_mode(scenario, i));
	seed->mode[SIM_MODES] = '\0';
	snprintf(seed->source, sizeof(seed->source), "%s", scenario->migration.source);
	snprintf(seed->destination, sizeof(seed->destination), "%s", scenario->migration.destination);
}

/* Names in it may hold what neither a terminal nor JSON takes. */
static void clean(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || (unsigned char)*text > 0x7e)
			*text = '?';
}

void sim_seed_take(struct sim_seed *seed, const struct sim_run *run)
{
	const struct mr_sim_result *result = &run->result;

	seed->end = result->outcome;
	seed->violation = result->violation;
	clean(seed->violation.text);
	seed->digest = run->digest;
	memcpy(seed->seen, result->seen, sizeof(seed->seen));
#define SIM_FIGURE_TAKE(name) seed->figures[SIM_FIGURE_##name] = result->name;
	SIM_FIGURES(SIM_FIGURE_TAKE)
#undef SIM_FIGURE_TAKE
}

/* ---- Columns ---- */

static void print_milliseconds(FILE *out, uint64_t nanoseconds)
{
	const uint64_t microseconds = nanoseconds / 1000;

	fprintf(out, " %8" PRIu64 ".%03" PRIu64, microseconds / 1000, microseconds % 1000);
}

void sim_seed_print(FILE *out, const struct sim_seed *seed, int seed_width)
{
	char events[MR_SOMETIMES_COUNT + 1] = "";

	for (unsigned i = 0; i < MR_SOMETIMES_COUNT; i++)
		events[i] = letter_or_dot(sim_event_letter(i), seed->seen[i] > 0);
	fprintf(out, "%*" PRIu64 "  %-*s %-4s %-4s  %-9s  %s", seed_width, seed->seed, (int)SIM_MODES,
		seed->drawn ? seed->mode : "?", seed->source, seed->destination, sim_end_name(seed->end), events);
	print_milliseconds(out, seed->figures[SIM_FIGURE_total_time]);
	print_milliseconds(out, seed->figures[SIM_FIGURE_downtime]);
	print_milliseconds(out, seed->figures[SIM_FIGURE_blackout]);
	fprintf(out, "  %08" PRIx32 "\n", seed->digest);
}

void sim_seed_describe(char *text, size_t size, const struct sim_seed *seed)
{
	const struct mr_violation *violation = &seed->violation;
	const uint64_t microseconds = violation->time / 1000;

	if (violation->property == MR_PROPERTY_NONE)
		snprintf(text, size, "%s", violation->text);
	else
		snprintf(text, size, "%s at %" PRIu64 ".%03" PRIu64 " ms: %s", mr_property_name(violation->property),
			 microseconds / 1000, microseconds % 1000, violation->text);
}

/* ---- JSON ---- */

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *violation_object(const struct mr_violation *violation)
{
	json_t *object = json_object();

	json_object_set_new(object, "property", text_or_null(mr_property_name(violation->property)));
	json_object_set_new(object, "time", json_integer((json_int_t)violation->time));
	json_object_set_new(object, "text", text_or_null(violation->text));
	return object;
}

json_t *sim_seed_object(const struct sim_seed *seed)
{
	json_t *object = json_object(), *events = json_object();
	char digest[9];

	snprintf(digest, sizeof(digest), "%08" PRIx32, seed->digest);
	json_object_set_new(object, "seed", json_integer((json_int_t)seed->seed));
	json_object_set_new(object, "mode", seed->drawn ? json_string(seed->mode) : json_null());
	json_object_set_new(object, "source", json_string(seed->source));
	json_object_set_new(object, "destination", json_string(seed->destination));
	json_object_set_new(object, "outcome", json_string(sim_end_name(seed->end)));
	json_object_set_new(object, "digest", json_string(digest));
	for (unsigned i = 0; i < SIM_FIGURE_COUNT; i++)
		json_object_set_new(object, sim_figure_name(i), json_integer((json_int_t)seed->figures[i]));
	for (unsigned i = 0; i < MR_SOMETIMES_COUNT; i++)
		if (seed->seen[i])
			json_object_set_new(events, mr_sometimes_name(i), json_integer((json_int_t)seed->seen[i]));
	json_object_set_new(object, "events", events);
	if (sim_end_is_bad(seed->end))
		json_object_set_new(object, "violation", violation_object(&seed->violation));
	return object;
}

static bool read_text(char *text, size_t size, const json_t *value)
{
	const char *found = json_string_value(value);

	if (!found || strlen(found) >= size)
		return false;
	memcpy(text, found, strlen(found) + 1);
	return true;
}

static bool read_number(uint64_t *number, const json_t *value)
{
	*number = (uint64_t)json_integer_value(value);
	return json_is_integer(value);
}

static bool read_end(struct sim_seed *seed, const json_t *value)
{
	const char *name = json_string_value(value);

	for (seed->end = 0; name && seed->end < SIM_END_COUNT; seed->end++)
		if (strcmp(name, sim_end_name(seed->end)) == 0)
			return true;
	return false;
}

static bool read_violation(struct mr_violation *violation, const json_t *object)
{
	const char *name = json_string_value(json_object_get(object, "property"));

	for (unsigned i = MR_PROPERTY_NONE + 1; name && i < MR_PROPERTY_COUNT; i++)
		if (strcmp(name, mr_property_name(i)) == 0)
			violation->property = i;
	return read_number(&violation->time, json_object_get(object, "time")) &&
	       read_text(violation->text, sizeof(violation->text), json_object_get(object, "text"));
}

static bool read_digest(uint32_t *digest, const json_t *value)
{
	const char *text = json_string_value(value);
	char *end = NULL;

	*digest = text ? (uint32_t)strtoul(text, &end, 16) : 0;
	return text && end == text + 8 && *end == '\0';
}

bool sim_seed_read(struct sim_seed *seed, const json_t *object)
{
	const json_t *mode = json_object_get(object, "mode"), *events = json_object_get(object, "events");
	bool good = true;

	*seed = (struct sim_seed){.drawn = json_is_string(mode)};
	good &= read_number(&seed->seed, json_object_get(object, "seed"));
	good &= json_is_null(mode) || read_text(seed->mode, sizeof(seed->mode), mode);
	good &= read_text(seed->source, sizeof(seed->source), json_object_get(object, "source"));
	good &= read_text(seed->destination, sizeof(seed->destination), json_object_get(object, "destination"));
	good &= read_end(seed, json_object_get(object, "outcome"));
	good &= read_digest(&seed->digest, json_object_get(object, "digest"));
	for (unsigned i = 0; i < SIM_FIGURE_COUNT; i++)
		good &= read_number(&seed->figures[i], json_object_get(object, sim_figure_name(i)));
	for (unsigned i = 0; i < MR_SOMETIMES_COUNT; i++)
		seed->seen[i] = (uint64_t)json_integer_value(json_object_get(events, mr_sometimes_name(i)));
	if (good && sim_end_is_bad(seed->end))
		good = read_violation(&seed->violation, json_object_get(object, "violation"));
	return good;
}
