/* profile.c: the table of release families, and what machine types and properties change in it. */
#include "capabilities.h"

#include <string.h>

/* A release or machine type version; the order of releases is the order of these. */
struct version {
	uint32_t major, minor, patch;
};

struct machine_property {
	const char *property, *since, *until, *machine;
	enum mr_switch which;
	bool value;
};

static const char *const releases[] = {
#define MR_RELEASE(name) name,
#include "profile.def"
#undef MR_RELEASE
};

static const struct mr_switch_row switches[MR_SWITCH_COUNT] = {
#define MR_SWITCH(symbol, name, since, until, property, text) {name, since, until, property, text},
#include "profile.def"
#undef MR_SWITCH
};

static const struct machine_property properties[] = {
#define MR_MACHINE_PROPERTY(symbol, property, since, until, machine, value)                                            \
	{property, since, until, machine, MR_SWITCH_##symbol, value},
#include "profile.def"
#undef MR_MACHINE_PROPERTY
};

enum {
	RELEASES = sizeof(releases) / sizeof(releases[0]),
	PROPERTIES = sizeof(properties) / sizeof(properties[0]),
	PATCH_CANDIDATE = 90, /* x.y.90 and above are candidates for the family after x.y */
	NUMBER_MAX = 999,
};

/* Takes a decimal number off `*text`. */
static bool take_number(const char **text, uint32_t *number)
{
	const char *at = *text;

	*number = 0;
	while (*at >= '0' && *at <= '9' && *number <= NUMBER_MAX)
		*number = *number * 10 + (uint32_t)(*at++ - '0');
	if (at == *text || *number > NUMBER_MAX)
		return false;
	*text = at;
	return true;
}

/* Reads "X.Y" or "X.Y.Z" and leaves `*text` behind it. */
static bool take_version(const char **text, struct version *version)
{
	version->patch = 0;
	if (!take_number(text, &version->major) || *(*text)++ != '.' || !take_number(text, &version->minor))
		return false;
	if (**text != '.')
		return true;
	*text += 1;
	return take_number(text, &version->patch);
}

/* The rank of a version: families compare like these, patch levels do not count. */
static uint32_t rank(const struct version *version)
{
	return version->major * (NUMBER_MAX + 1) + version->minor;
}

/* The rank of a version in the table; `otherwise` for "". */
static uint32_t rank_of(const char *text, uint32_t otherwise)
{
	struct version version;

	return take_version(&text, &version) ? rank(&version) : otherwise;
}

static bool within(const char *since, const char *until, uint32_t release)
{
	return rank_of(since, 0) <= release && release <= rank_of(until, UINT32_MAX);
}

/* Index of the release family, or -1. */
static int find_release(const char *text)
{
	struct version version;

	if (!take_version(&text, &version) || (*text != '\0' && strncmp(text, "-rc", 3) != 0))
		return -1;
	for (int i = 0; i < (int)RELEASES; i++) {
		if (rank_of(releases[i], 0) != rank(&version))
			continue;
		if (version.patch < PATCH_CANDIDATE)
			return i;
		return i + 1 < (int)RELEASES ? i + 1 : -1;
	}
	return -1;
}

int mr_profile_init(struct mr_profile *profile, const char *release)
{
	int family = find_release(release);

	memset(profile, 0, sizeof(*profile));
	if (family < 0)
		return -1;
	profile->known = true;
	memcpy(profile->release, releases[family], strlen(releases[family]) + 1);
	for (size_t i = 0; i < MR_SWITCH_COUNT; i++)
		profile->on[i] = within(switches[i].since, switches[i].until, rank_of(releases[family], 0));
	return 0;
}

/* True if the profile's release has the property; of an unknown release it is not known, so every property is taken. */
static bool has_property(const struct mr_profile *profile, const struct machine_property *property)
{
	return !profile->known || within(property->since, property->until, rank_of(profile->release, 0));
}

void mr_profile_apply_machine(struct mr_profile *profile, const char *machine)
{
	const char *dash = strrchr(machine, '-');
	const char *at = dash == NULL ? machine : dash + 1;
	struct version version;

	if (!take_version(&at, &version) || *at != '\0')
		return;
	for (size_t i = 0; i < PROPERTIES; i++) {
		if (has_property(profile, &properties[i]) && rank(&version) <= rank_of(properties[i].machine, 0))
			profile->on[properties[i].which] = properties[i].value;
	}
}

int mr_profile_set_property(struct mr_profile *profile, const char *property, bool on)
{
	for (size_t i = 0; i < PROPERTIES; i++) {
		if (strcmp(properties[i].property, property) == 0 && has_property(profile, &properties[i])) {
			profile->on[properties[i].which] = on;
			return 0;
		}
	}
	return -1;
}

bool mr_profile_within(const struct mr_profile *profile, const char *since, const char *until)
{
	return !profile->known || within(since, until, rank_of(profile->release, 0));
}

bool mr_profile_may(const struct mr_profile *profile, enum mr_switch which)
{
	return !profile->known || profile->on[which];
}

bool mr_profile_does(const struct mr_profile *profile, enum mr_switch which)
{
	return profile->known && profile->on[which];
}

const struct mr_switch_row *mr_profile_row(enum mr_switch which)
{
	return (size_t)which < MR_SWITCH_COUNT ? &switches[which] : NULL;
}

/* Capabilities that change what stands in a stream. */
static const struct {
	const char *name;
	uint32_t bit;
} stream_capabilities[] = {
	{"postcopy-ram", MR_CAPABILITY_POSTCOPY_RAM},
	{"return-path", MR_CAPABILITY_RETURN_PATH},
	{"x-ignore-shared", MR_CAPABILITY_IGNORE_SHARED},
	{"mapped-ram", MR_CAPABILITY_MAPPED_RAM},
	{"multifd", MR_CAPABILITY_MULTIFD},
	{"xbzrle", MR_CAPABILITY_XBZRLE},
	{"compress", MR_CAPABILITY_COMPRESS},
	{"postcopy-preempt", MR_CAPABILITY_POSTCOPY_PREEMPT},
	{"x-colo", MR_CAPABILITY_COLO},
	{"dirty-bitmaps", MR_CAPABILITY_DIRTY_BITMAPS},
	{"switchover-ack", MR_CAPABILITY_SWITCHOVER_ACK},
	{"background-snapshot", MR_CAPABILITY_BACKGROUND_SNAPSHOT},
	{"validate-uuid", MR_CAPABILITY_VALIDATE_UUID},
	{"rdma", MR_CAPABILITY_RDMA},
};

const char *mr_capability_at(size_t index, uint32_t *bit)
{
	if (index >= sizeof(stream_capabilities) / sizeof(stream_capabilities[0]))
		return NULL;
	*bit = stream_capabilities[index].bit;
	return stream_capabilities[index].name;
}

uint32_t mr_capability_by_name(const char *name)
{
	const char *here;
	uint32_t bit;

	for (size_t i = 0; (here = mr_capability_at(i, &bit)) != NULL; i++)
		if (strcmp(here, name) == 0)
			return bit;
	return 0;
}

bool mr_capability_is_known(const char *name)
{
	return mr_capability_by_name(name) || mr_capability_bit(name);
}
