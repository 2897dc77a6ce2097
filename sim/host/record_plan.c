/* record_plan.c: what a recording of real QEMU is to be: the presets, and what users set anew in them. */
#include "sim/host/record_plan.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ref/capabilities.h"
#include "sim/record/recording.h"

enum {
	SETTINGS_MAX = 64, /* parameters of a plan */
	SETTING = 160,     /* bytes of one, as text */
};

/* What differs from the defaults; 0 and NULL: nothing. */
struct preset {
	const char *name, *text;
	const char *capabilities, *parameters; /* separated by commas */
	const char *vcpu;                      /* all vCPUs of the guest, as `migref guest --vcpu` has it */
	const char *since, *cut;
	uint64_t pages, memory_mib;
	uint32_t vcpus;
	enum mr_qemu_backend backend;
	int64_t switch_ms, stop_ms;
	bool paused, to_file, by_tcp;
};

/*
 * Of the default region's 2048 pages about 800 hold something; at 3 MB/s these take a second, so that the switch to
 * postcopy comes well before their end. A guest that is to fault writes to what is sent last; one that is to let
 * precopy end keeps to as many pages as the downtime allows.
 */
#define POSTCOPY_LIMITS "downtime-limit=5,max-bandwidth=3000000,max-postcopy-bandwidth=3000000"
#define PRECOPY_LIMITS  "max-bandwidth=6000000"
#define HOT_END         "all:random,first=1536,pages=512"
#define HOT_SMALL       "all:random,first=1792,pages=256"

static const struct preset presets[] = {
	{
		.name = "precopy",
		.text = "precopy with a return path",
		.capabilities = "return-path",
		.parameters = PRECOPY_LIMITS,
	},
	{
		.name = "precopy-plain",
		.text = "precopy without a return path",
		.parameters = PRECOPY_LIMITS,
	},
	{
		.name = "xbzrle",
		.text = "precopy in which pages that are sent again are sent as differences",
		.capabilities = "xbzrle",
		.parameters = PRECOPY_LIMITS ",downtime-limit=5,xbzrle-cache-size=16777216",
		.stop_ms = 1500,
	},
	{
		.name = "compress",
		.text = "precopy with pages compressed one by one",
		.capabilities = "compress",
		.parameters = PRECOPY_LIMITS ",compress-level=1,compress-threads=2,decompress-threads=2",
	},
	{
		.name = "auto-converge",
		.text = "precopy that slows the guest down, as it writes faster than pages are sent",
		.capabilities = "auto-converge",
		.parameters = PRECOPY_LIMITS ",downtime-limit=50,cpu-throttle-initial=30,cpu-throttle-increment=20",
		.vcpu = HOT_END ",spins=20000",
		.stop_ms = 4000,
	},
	{
		.name = "pause-before-switchover",
		.text = "precopy that waits for the operator before the source ends",
		.capabilities = "return-path,pause-before-switchover",
		.parameters = PRECOPY_LIMITS,
	},
	{
		.name = "switchover-ack",
		.text = "precopy in which the source waits for the destination's leave to end",
		.capabilities = "return-path,switchover-ack",
		.parameters = PRECOPY_LIMITS,
	},
	{
		.name = "multifd",
		.text = "pages by two channels beside the main one",
		.capabilities = "multifd",
		.parameters = PRECOPY_LIMITS ",multifd-channels=2",
	},
	{
		.name = "multifd-zlib",
		.text = "the same, compressed by zlib",
		.capabilities = "multifd",
		.parameters = PRECOPY_LIMITS ",multifd-channels=2,multifd-compression=zlib",
	},
	{
		.name = "multifd-zstd",
		.text = "the same, compressed by zstd",
		.capabilities = "multifd",
		.parameters = PRECOPY_LIMITS ",multifd-channels=2,multifd-compression=zstd",
	},
	{
		.name = "multifd-zero-page",
		.text = "multifd whose channels look for zero pages themselves",
		.capabilities = "multifd",
		.parameters = PRECOPY_LIMITS ",multifd-channels=2,zero-page-detection=multifd",
	},
	{
		.name = "zero-copy",
		.text = "multifd by TCP, packets sent from where the pages lie",
		.capabilities = "multifd,zero-copy-send",
		.parameters = PRECOPY_LIMITS ",multifd-channels=2",
		.by_tcp = true,
	},
	{
		.name = "postcopy",
		.text = "a switch to postcopy after 300 ms, with the times that vCPUs wait",
		.capabilities = "postcopy-ram,return-path,postcopy-blocktime",
		.parameters = POSTCOPY_LIMITS,
		.switch_ms = 300,
	},
	{
		.name = "postcopy-paused",
		.text = "postcopy to a destination whose guest does not run: nothing is requested",
		.capabilities = "postcopy-ram,return-path",
		.parameters = POSTCOPY_LIMITS,
		.switch_ms = 300,
		.paused = true,
	},
	{
		.name = "anon",
		.text = "postcopy with private memory at both ends",
		.capabilities = "postcopy-ram,return-path,postcopy-blocktime",
		.parameters = POSTCOPY_LIMITS,
		.switch_ms = 300,
		.backend = MR_QEMU_ANON,
	},
	{
		.name = "hugetlb",
		.text = "postcopy with huge pages of 2 MiB at both ends",
		.capabilities = "postcopy-ram,return-path,postcopy-blocktime",
		.parameters = POSTCOPY_LIMITS,
		.switch_ms = 300,
		.backend = MR_QEMU_HUGETLB,
		.memory_mib = 32,
	},
	{
		.name = "smp",
		.text = "postcopy with four vCPUs that fault at once",
		.capabilities = "postcopy-ram,return-path,postcopy-blocktime",
		.parameters = POSTCOPY_LIMITS,
		.switch_ms = 300,
		.vcpus = 4,
	},
	{
		.name = "discards",
		.text = "postcopy when many pages that were sent are dirty: many ranges to discard",
		.capabilities = "postcopy-ram,return-path",
		.parameters = "downtime-limit=1,max-bandwidth=3000000,max-postcopy-bandwidth=2000000",
		.vcpu = "all:zipf,pages=1024,spins=20000",
		.switch_ms = 700,
	},
	{
		.name = "fast",
		.text = "postcopy at full speed, two vCPUs that sweep: faults race with background pages",
		.capabilities = "postcopy-ram,return-path,postcopy-blocktime",
		.parameters = "downtime-limit=1,max-bandwidth=20000000",
		.vcpu = "all:sequential",
		.switch_ms = 100,
		.pages = 6144,
		.memory_mib = 32,
		.vcpus = 2,
	},
	{
		.name = "preempt",
		.text = "postcopy with a channel of its own for requested pages",
		.capabilities = "postcopy-ram,return-path,postcopy-preempt,postcopy-blocktime",
		.parameters = POSTCOPY_LIMITS,
		.switch_ms = 300,
	},
	{
		.name = "preempt-hugetlb",
		.text = "preempt with huge pages of 2 MiB, of which 7.1 and 7.2 interrupt one for another",
		.capabilities = "postcopy-ram,return-path,postcopy-preempt,postcopy-blocktime",
		.parameters = POSTCOPY_LIMITS,
		.switch_ms = 300,
		.backend = MR_QEMU_HUGETLB,
		.memory_mib = 32,
	},
	{
		.name = "recover",
		.text = "postcopy that breaks within a record on its way to the destination, and is recovered",
		.capabilities = "postcopy-ram,return-path",
		.parameters = POSTCOPY_LIMITS,
		.switch_ms = 300,
		.cut = "0:fwd:+400000",
	},
	{
		.name = "recover-return",
		.text = "the same, broken within a request",
		.capabilities = "postcopy-ram,return-path",
		.parameters = POSTCOPY_LIMITS,
		.switch_ms = 300,
		.cut = "0:ret:+41",
	},
	{
		.name = "preempt-recover",
		.text = "preempt that breaks, and is recovered with both channels",
		.capabilities = "postcopy-ram,return-path,postcopy-preempt",
		.parameters = POSTCOPY_LIMITS,
		.switch_ms = 300,
		.cut = "0:fwd:+300000",
	},
	{
		.name = "preempt-recover-smp",
		.text = "the same with four vCPUs: several requests are under way when it breaks",
		.capabilities = "postcopy-ram,return-path,postcopy-preempt",
		.parameters = POSTCOPY_LIMITS,
		.switch_ms = 300,
		.vcpus = 4,
		.cut = "0:fwd:+300000",
	},
	{
		.name = "release-ram",
		.text = "postcopy whose source gives back what it has sent",
		.capabilities = "postcopy-ram,return-path,release-ram",
		.parameters = POSTCOPY_LIMITS,
		.switch_ms = 300,
	},
	{
		.name = "multifd-postcopy",
		.text = "multifd in precopy, then postcopy",
		.capabilities = "postcopy-ram,return-path,multifd",
		.parameters = POSTCOPY_LIMITS ",multifd-channels=2",
		.switch_ms = 300,
		.since = "10.1",
	},
	{
		.name = "mapped-ram",
		.text = "a file in which each page has its place",
		.capabilities = "mapped-ram",
		.parameters = PRECOPY_LIMITS,
		.to_file = true,
	},
	{
		.name = "mapped-ram-multifd",
		.text = "the same, written by two channels",
		.capabilities = "mapped-ram,multifd",
		.parameters = PRECOPY_LIMITS ",multifd-channels=2",
		.to_file = true,
	},
};

enum { PRESETS = sizeof(presets) / sizeof(presets[0]) };

__attribute__((format(printf, 2, 3))) static bool fail(char error[MR_RECORDER_LINE], const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(error, MR_RECORDER_LINE, format, arguments);
	va_end(arguments);
	return false;
}

bool mr_recorder_preset(size_t index, const char **name, const char **text)
{
	if (index >= PRESETS)
		return false;
	*name = presets[index].name;
	*text = presets[index].text;
	return true;
}

/* ---- Settings ---- */

bool mr_recorder_plan_capability(struct mr_recorder_plan *plan, const char *text, char error[MR_RECORDER_LINE])
{
	const size_t length = strcspn(text, "=");
	const char *value = text[length] ? text + length + 1 : "on";
	const bool on = strcmp(value, "on") == 0;
	char name[64];

	snprintf(name, sizeof(name), "%.*s", (int)length, text);
	if (!on && strcmp(value, "off") != 0)
		return fail(error, "%.60s: expected on or off, found %.60s", name, value);
	if (!mr_capability_bit(name))
		return fail(error, "QEMU has no capability %.60s", name);
	json_object_set_new(plan->capabilities, name, json_boolean(on));
	return true;
}

static bool parse_number(const char *text, uint64_t *number)
{
	char *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && *number <= INT64_MAX;
}

/* NULL: not of this kind. */
static json_t *parse_value(enum mr_parameter_kind kind, const char *text)
{
	const bool yes = strcmp(text, "true") == 0 || strcmp(text, "on") == 0;
	uint64_t number;

	switch (kind) {
	case MR_PARAMETER_NUMBER:
	case MR_PARAMETER_SIZE:
		return parse_number(text, &number) ? json_integer((json_int_t)number) : NULL;
	case MR_PARAMETER_SWITCH:
		return yes || strcmp(text, "false") == 0 || strcmp(text, "off") == 0 ? json_boolean(yes) : NULL;
	default:
		return json_string(text);
	}
}

bool mr_recorder_plan_parameter(struct mr_recorder_plan *plan, const char *text, char error[MR_RECORDER_LINE])
{
	const struct mr_profile any = {.known = false};
	const char *equals = strchr(text, '=');
	const struct mr_parameter_row *row;
	json_t *value;
	char name[64];

	if (!equals)
		return fail(error, "expected NAME=VALUE, found %.100s", text);
	snprintf(name, sizeof(name), "%.*s", (int)(equals - text), text);
	row = mr_parameter_find(&any, name);
	if (!row)
		return fail(error, "QEMU has no migration parameter %.60s", name);
	value = parse_value(row->kind, equals + 1);
	if (!value)
		return fail(error, "%s: expected %s, found %.100s", name,
			    row->kind == MR_PARAMETER_SWITCH ? "on or off" : "a number", equals + 1);
	json_object_set_new(plan->parameters, name, value);
	return true;
}

bool mr_recorder_plan_cut(struct mr_recorder_plan *plan, const char *text, char error[MR_RECORDER_LINE])
{
	char *end;
	const unsigned long channel = strtoul(text, &end, 10);
	const char *byte = end + 5;
	const bool good = *text >= '0' && *text <= '9' && channel < MR_RECORDING_CHANNELS_MAX &&
			  (strncmp(end, ":fwd:", 5) == 0 || strncmp(end, ":ret:", 5) == 0);

	if (good) {
		plan->cut_since_switch = *byte == '+';
		plan->cuts = parse_number(byte + plan->cut_since_switch, &plan->cut_byte) &&
			     (plan->cut_byte || !plan->cut_since_switch);
	}
	if (!good || !plan->cuts)
		return fail(error,
			    "expected CHANNEL:DIRECTION:BYTE, such as 0:fwd:1000000 or, from the switch on, "
			    "0:ret:+100, found %.100s",
			    text);
	plan->cut_channel = (uint32_t)channel;
	plan->cut_backward = end[1] == 'r';
	return true;
}

/* ---- Plans ---- */

/* Those of a list, each by `set`. */
static bool set_all(struct mr_recorder_plan *plan, const char *list, char error[MR_RECORDER_LINE],
		    bool (*set)(struct mr_recorder_plan *plan, const char *text, char error[MR_RECORDER_LINE]))
{
	char text[SETTING];

	while (list && *list) {
		const size_t length = strcspn(list, ",");

		snprintf(text, sizeof(text), "%.*s", (int)length, list);
		if (!set(plan, text, error))
			return false;
		list += length + (list[length] == ',');
	}
	return true;
}

static bool set_guest(struct mr_recorder_plan *plan, const struct preset *preset, char error[MR_RECORDER_LINE])
{
	const char *vcpu = preset->vcpu ? preset->vcpu : preset->switch_ms ? HOT_END : HOT_SMALL;
	char line[MR_GUEST_LINE];

	mr_guest_parameters_default(&plan->guest);
	plan->guest.vcpus = plan->vcpus;
	if (preset->pages)
		plan->guest.region_pages = preset->pages;
	if (mr_guest_set(&plan->guest, "vcpu", vcpu, line))
		return true;
	return fail(error, "%s", line);
}

static const struct preset *find(const char *name)
{
	for (size_t i = 0; i < PRESETS; i++)
		if (strcmp(presets[i].name, name) == 0)
			return &presets[i];
	return NULL;
}

bool mr_recorder_plan_init(struct mr_recorder_plan *plan, const char *name, char error[MR_RECORDER_LINE])
{
	const struct preset *preset = find(name);

	if (!preset)
		return fail(error, "no preset is called %.100s; --list-presets shows what there is", name);
	*plan = (struct mr_recorder_plan){
		.preset = preset->name,
		.since = preset->since ? preset->since : "",
		.source_binary = "qemu-system-x86_64",
		.memory_mib = preset->memory_mib ? preset->memory_mib : 16,
		.backend = preset->backend,
		.vcpus = preset->vcpus ? preset->vcpus : 1,
		.capabilities = json_object(),
		.parameters = json_object(),
		.switch_ms = preset->switch_ms ? preset->switch_ms : MR_RECORDER_NEVER,
		.stop_ms = preset->stop_ms ? preset->stop_ms : MR_RECORDER_NEVER,
		.warm_up_ms = 200,
		.recover_ms = 100,
		.run_on_ms = 200,
		.time_limit = 120,
		/* what precopy brought is compared before the guest goes on */
		.destination_paused = preset->paused || !preset->switch_ms,
		.to_file = preset->to_file,
		.by_tcp = preset->by_tcp,
	};
	if (set_all(plan, preset->capabilities, error, mr_recorder_plan_capability) &&
	    set_all(plan, preset->parameters, error, mr_recorder_plan_parameter) &&
	    (!preset->cut || mr_recorder_plan_cut(plan, preset->cut, error)) && set_guest(plan, preset, error))
		return true;
	mr_recorder_plan_clear(plan);
	return false;
}

void mr_recorder_plan_clear(struct mr_recorder_plan *plan)
{
	json_decref(plan->capabilities);
	json_decref(plan->parameters);
	plan->capabilities = plan->parameters = NULL;
}

/* ---- Releases ---- */

static const char *const releases[] = {
#define MR_RELEASE(name) name,
#include "ref/profile.def"
#undef MR_RELEASE
};

enum { RELEASES = sizeof(releases) / sizeof(releases[0]) };

static struct mr_parameter parameter_of(const char *name, json_t *value)
{
	struct mr_parameter parameter = {.name = name};

	if (json_is_integer(value)) {
		parameter.kind = MR_PARAMETER_NUMBER;
		parameter.number = (uint64_t)json_integer_value(value);
	} else if (json_is_boolean(value)) {
		parameter.kind = MR_PARAMETER_SWITCH;
		parameter.number = json_is_true(value);
	} else {
		parameter.kind = MR_PARAMETER_TEXT;
		parameter.text = json_string_value(value);
	}
	return parameter;
}

static bool can(const struct mr_recorder_plan *plan, const char *release)
{
	struct mr_capability_settings settings = {
		.multifd_compression = json_string_value(json_object_get(plan->parameters, "multifd-compression")),
	};
	struct mr_parameter parameters[SETTINGS_MAX];
	struct mr_profile profile;
	struct mr_finding ignored;
	size_t count = 0;
	const char *name;
	json_t *value;

	if (mr_profile_init(&profile, release) < 0 || !mr_profile_within(&profile, plan->since, ""))
		return false;
	json_object_foreach(plan->capabilities, name, value)
	{
		settings.on |= json_is_true(value) ? mr_capability_bit(name) : 0;
	}
	json_object_foreach(plan->parameters, name, value)
	{
		if (count < SETTINGS_MAX)
			parameters[count++] = parameter_of(name, value);
	}
	return mr_capabilities_check(&profile, &settings, &ignored) &&
	       mr_parameters_check(&profile, parameters, count, 0, &ignored);
}

struct mr_recorder_releases mr_recorder_plan_releases(const struct mr_recorder_plan *plan)
{
	struct mr_recorder_releases found = {false, "", ""};

	for (size_t i = 0; i < RELEASES; i++) {
		if (!can(plan, releases[i]))
			continue;
		if (!found.any && i > 0)
			found.since = releases[i];
		found.any = true;
		found.until = i + 1 < RELEASES ? releases[i] : "";
	}
	return found;
}
