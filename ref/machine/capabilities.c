/* capabilities.c: what ref/capability.def says of capabilities and parameters, applied to what somebody set. */
#include "capabilities.h"
#include "wire/wire.h"

#include <string.h>

enum {
#define MR_CAPABILITY_ROW(symbol, name, since, until, text, grounds) NUMBER_##symbol,
#include "capability.def"
#undef MR_CAPABILITY_ROW
	CAPABILITIES
};

struct capability {
	const char *name, *since, *until;
};

static const struct capability capabilities[CAPABILITIES] = {
#define MR_CAPABILITY_ROW(symbol, name, since, until, text, grounds) {name, since, until},
#include "capability.def"
#undef MR_CAPABILITY_ROW
};

/* A capability and what it needs or excludes; itself where there is no other. */
struct relation {
	unsigned capability, other;
	const char *since, *until;
};

static const struct relation needs[] = {
#define MR_CAPABILITY_NEEDS(symbol, other, since, until, grounds) {NUMBER_##symbol, NUMBER_##other, since, until},
#include "capability.def"
#undef MR_CAPABILITY_NEEDS
};

static const struct relation excludes[] = {
#define MR_CAPABILITY_EXCLUDES(symbol, other, since, until, grounds) {NUMBER_##symbol, NUMBER_##other, since, until},
#include "capability.def"
#undef MR_CAPABILITY_EXCLUDES
};

static const struct relation plain[] = {
#define MR_CAPABILITY_PLAIN(symbol, since, until, grounds) {NUMBER_##symbol, NUMBER_##symbol, since, until},
#include "capability.def"
#undef MR_CAPABILITY_PLAIN
};

/* What is set before a destination listens, and the release from which on it may be set to what it is. */
static const struct {
	struct relation relation;
	const char *again;
} before_listening[] = {
#define MR_CAPABILITY_BEFORE_LISTENING(symbol, since, again, grounds)                                                  \
	{{NUMBER_##symbol, NUMBER_##symbol, since, ""}, again},
#include "capability.def"
#undef MR_CAPABILITY_BEFORE_LISTENING
};

enum {
#define MR_PARAMETER_ROW(symbol, name, kind, least, most, value, since, until, unit, grounds) PARAMETER_##symbol,
#include "capability.def"
#undef MR_PARAMETER_ROW
	PARAMETERS
};

struct parameter {
	struct mr_parameter_row row;
	const char *since, *until;
};

static const struct parameter parameters_known[PARAMETERS] = {
#define MR_PARAMETER_ROW(symbol, name, kind, least, most, value, since, until, unit, grounds)                          \
	{{name, MR_PARAMETER_##kind, UINT64_C(least), UINT64_C(most), value, unit}, since, until},
#include "capability.def"
#undef MR_PARAMETER_ROW
};

struct choice {
	unsigned parameter;
	const char *text, *since, *until;
};

static const struct choice choices[] = {
#define MR_PARAMETER_CHOICE(symbol, text, since, until, grounds) {PARAMETER_##symbol, text, since, until},
#include "capability.def"
#undef MR_PARAMETER_CHOICE
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Fills in a finding that has no place in a stream. Always false, for the caller to return. */
static bool refuse(struct mr_finding *error, enum mr_rule rule, struct mr_text expected, struct mr_text found)
{
	if (!error)
		return false;
	memset(error, 0, sizeof(*error));
	error->rule = rule;
	error->verdict = mr_rule_verdict(rule);
	memcpy(error->expected, expected.text, sizeof(error->expected));
	memcpy(error->found, found.text, sizeof(error->found));
	return false;
}

/* ---- Capabilities ---- */

static uint64_t bit_of(unsigned number)
{
	return UINT64_C(1) << number;
}

unsigned mr_capability_count(void)
{
	return CAPABILITIES;
}

const char *mr_capability_name(unsigned number)
{
	return number < CAPABILITIES ? capabilities[number].name : NULL;
}

uint64_t mr_capability_bit(const char *name)
{
	for (unsigned i = 0; i < CAPABILITIES; i++)
		if (strcmp(capabilities[i].name, name) == 0)
			return bit_of(i);
	return 0;
}

/* Whether the relation holds in the release and its first capability is on. */
static bool applies(const struct mr_profile *profile, const struct relation *relation, uint64_t on)
{
	return on & bit_of(relation->capability) && profile->known &&
	       mr_profile_within(profile, relation->since, relation->until);
}

static bool check_existence(const struct mr_profile *profile, uint64_t on, struct mr_finding *error)
{
	for (unsigned i = 0; i < CAPABILITIES; i++) {
		const struct capability *capability = &capabilities[i];

		if (on & bit_of(i) && !mr_profile_within(profile, capability->since, capability->until))
			return refuse(error, MR_CAP_001, mr_text("a capability of release %s", profile->release),
				      mr_text("%s", capability->name));
	}
	if (on >> CAPABILITIES)
		return refuse(error, MR_CAP_001, mr_text("capabilities 0 to %d", CAPABILITIES - 1), mr_text("others"));
	return true;
}

static bool check_plain(const struct mr_profile *profile, const struct mr_capability_settings *settings,
			struct mr_finding *error)
{
	const char *compression = settings->multifd_compression;
	const bool compresses =
		settings->on & bit_of(NUMBER_MULTIFD) && compression && strcmp(compression, "none") != 0;

	for (size_t i = 0; i < COUNT(plain); i++) {
		const char *name = capabilities[plain[i].capability].name;

		if (!applies(profile, &plain[i], settings->on))
			continue;
		if (compresses)
			return refuse(error, MR_CAP_004, mr_text("multifd-compression=none with %s", name),
				      mr_text("multifd-compression=%s", compression));
		if (settings->tls)
			return refuse(error, MR_CAP_004, mr_text("no tls-creds with %s", name), mr_text("tls-creds"));
	}
	return true;
}

bool mr_capabilities_check(const struct mr_profile *profile, const struct mr_capability_settings *settings,
			   struct mr_finding *error)
{
	const uint64_t on = settings->on;

	if (!check_existence(profile, on, error))
		return false;
	for (size_t i = 0; i < COUNT(needs); i++)
		if (applies(profile, &needs[i], on) && !(on & bit_of(needs[i].other)))
			return refuse(error, MR_CAP_002,
				      mr_text("%s with %s", capabilities[needs[i].other].name,
					      capabilities[needs[i].capability].name),
				      mr_text("%s alone", capabilities[needs[i].capability].name));
	for (size_t i = 0; i < COUNT(excludes); i++)
		if (applies(profile, &excludes[i], on) && on & bit_of(excludes[i].other))
			return refuse(error, MR_CAP_003,
				      mr_text("no %s with %s in release %s", capabilities[excludes[i].other].name,
					      capabilities[excludes[i].capability].name, profile->release),
				      mr_text("both"));
	return check_plain(profile, settings, error);
}

static bool check_moment(const struct mr_profile *profile, uint64_t old, const struct mr_capability_change *change,
			 struct mr_finding *error)
{
	const uint64_t on = change->named & change->state;

	if (change->moment == MR_CAPABILITY_MIGRATING)
		return refuse(error, MR_CAP_005, mr_text("capabilities set before the migration"),
			      mr_text("a migration under way"));
	if (change->moment != MR_CAPABILITY_LISTENING)
		return true;
	for (size_t i = 0; i < COUNT(before_listening); i++) {
		const struct relation *relation = &before_listening[i].relation;
		const bool stays =
			old & bit_of(relation->capability) && mr_profile_within(profile, before_listening[i].again, "");

		if (applies(profile, relation, on) && !stays)
			return refuse(error, MR_CAP_005,
				      mr_text("%s before listening", capabilities[relation->capability].name),
				      mr_text("a destination that listens"));
	}
	return true;
}

bool mr_capabilities_change(const struct mr_profile *profile, struct mr_capability_settings *settings,
			    const struct mr_capability_change *change, struct mr_finding *error)
{
	struct mr_capability_settings next = *settings;

	if (!check_moment(profile, settings->on, change, error))
		return false;
	next.on = (settings->on & ~change->named) | (change->named & change->state);
	if (!mr_capabilities_check(profile, &next, error))
		return false;
	*settings = next;
	return true;
}

/* ---- Parameters ---- */

static const struct parameter *find_parameter(const struct mr_profile *profile, const char *name)
{
	const struct parameter *found = NULL;

	for (size_t i = 0; i < PARAMETERS; i++) {
		const struct parameter *parameter = &parameters_known[i];

		if (strcmp(parameter->row.name, name) == 0 &&
		    mr_profile_within(profile, parameter->since, parameter->until))
			found = parameter;
	}
	return found;
}

const struct mr_parameter_row *mr_parameter_find(const struct mr_profile *profile, const char *name)
{
	const struct parameter *parameter = find_parameter(profile, name);

	return parameter ? &parameter->row : NULL;
}

/* QEMU's fields have no sign: a negative number counts from 2^64 downwards. */
static uint64_t field_of(const struct mr_parameter *set)
{
	return set->negative ? -set->number : set->number;
}

static bool check_number(const struct mr_profile *profile, const struct mr_parameter *set,
			 const struct mr_parameter_row *row, uint32_t page_size, struct mr_finding *error)
{
	const struct mr_text found =
		mr_text("%s=%s%llu", set->name, set->negative ? "-" : "", (unsigned long long)set->number);
	const uint64_t number = field_of(set);

	if (set->kind != MR_PARAMETER_NUMBER)
		return refuse(error, MR_CAP_006, mr_text("a number"), mr_text("%s with something else", set->name));
	if (row->kind == MR_PARAMETER_SIZE && (!mr_is_power_of_two(number) || number < page_size))
		return refuse(error, MR_CAP_006, mr_text("a power of two from %u on", page_size), found);
	/* What no release takes cannot be told without one. */
	if (profile->known && (number < row->least || number > row->most))
		return refuse(error, MR_CAP_006,
			      mr_text("%llu to %llu", (unsigned long long)row->least, (unsigned long long)row->most),
			      found);
	return true;
}

static bool check_choice(const struct mr_profile *profile, const struct mr_parameter *set,
			 const struct parameter *parameter, struct mr_finding *error)
{
	const unsigned number = (unsigned)(parameter - parameters_known);

	if (set->kind != MR_PARAMETER_TEXT)
		return refuse(error, MR_CAP_006, mr_text("a word"), mr_text("%s with something else", set->name));
	for (size_t i = 0; i < COUNT(choices); i++)
		if (choices[i].parameter == number && strcmp(choices[i].text, set->text) == 0 &&
		    mr_profile_within(profile, choices[i].since, choices[i].until))
			return true;
	return refuse(error, MR_CAP_006, mr_text("a value of release %s", profile->release),
		      mr_text("%s=%s", set->name, set->text));
}

static bool check_one(const struct mr_profile *profile, const struct mr_parameter *set, uint32_t page_size,
		      struct mr_finding *error)
{
	const struct parameter *parameter = find_parameter(profile, set->name);

	if (!parameter)
		return refuse(error, MR_CAP_006, mr_text("a parameter of release %s", profile->release),
			      mr_text("%s", set->name));
	switch (parameter->row.kind) {
	case MR_PARAMETER_CHOICE:
		return check_choice(profile, set, parameter, error);
	case MR_PARAMETER_NUMBER:
	case MR_PARAMETER_SIZE:
		return check_number(profile, set, &parameter->row, page_size, error);
	default:
		if (set->kind == parameter->row.kind)
			return true;
		return refuse(error, MR_CAP_006,
			      mr_text(parameter->row.kind == MR_PARAMETER_SWITCH ? "true or false" : "a text"),
			      mr_text("%s with something else", set->name));
	}
}

/* The number that counts: the last one that was set, else the default. */
static uint64_t number_of(const struct mr_parameter *parameters, size_t count, const char *name, uint64_t otherwise)
{
	for (size_t i = count; i > 0; i--)
		if (strcmp(parameters[i - 1].name, name) == 0)
			return field_of(&parameters[i - 1]);
	return otherwise;
}

bool mr_parameters_check(const struct mr_profile *profile, const struct mr_parameter *parameters, size_t count,
			 uint32_t page_size, struct mr_finding *error)
{
	enum { THROTTLE_INITIAL = 20, THROTTLE_MAX = 99 };
	uint64_t initial, most;

	for (size_t i = 0; i < count; i++)
		if (!check_one(profile, &parameters[i], page_size ? page_size : 4096, error))
			return false;
	initial = number_of(parameters, count, "cpu-throttle-initial", THROTTLE_INITIAL);
	most = number_of(parameters, count, "max-cpu-throttle", THROTTLE_MAX);
	if (most < initial)
		return refuse(error, MR_CAP_007, mr_text("max-cpu-throttle from %llu on", (unsigned long long)initial),
			      mr_text("%llu", (unsigned long long)most));
	return true;
}
