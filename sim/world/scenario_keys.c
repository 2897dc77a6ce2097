/* scenario_keys.c: the table of all keys of scenario files. */
#include "sim/world/scenario_keys.h"

#include <string.h>

#define K             ((uint64_t)1 << 10)
#define M             ((uint64_t)1 << 20)
#define G             ((uint64_t)1 << 30)
#define T             ((uint64_t)1 << 40)
#define US            ((uint64_t)1000)
#define SECOND        (1000000 * US)
#define DAY           (24 * 60 * 60 * SECOND)
#define BANDWIDTH_MAX T

#define AT(type, member)         (uint16_t) offsetof(struct type, member)
#define FIELD(type, member)      AT(type, member), (uint16_t)sizeof(((struct type *)NULL)->member), 0
#define TWO(type, member, other) AT(type, member), (uint16_t)sizeof(((struct type *)NULL)->member), AT(type, other)

/* ---- Words ---- */

static const struct mr_key_word never[] = {{"never", UINT64_MAX}, {0}};
static const struct mr_key_word switches[] = {{"no", 0}, {"yes", 1}, {0}};
static const struct mr_key_word unlimited[] = {{"unlimited", 0}, {0}};
static const struct mr_key_word measured[] = {{"measured", 0}, {0}};
static const struct mr_key_word release_or_unlimited[] = {{"release", 0}, {"unlimited", UINT64_MAX}, {0}};
static const struct mr_key_word level[] = {{"method", (uint32_t)INT32_MIN}, {0}};
static const struct mr_key_word host[] = {{"host", 0}, {0}};
static const struct mr_key_word rest[] = {{"rest", 0}, {0}};
static const struct mr_key_word all[] = {{"all", 0}, {0}};
static const struct mr_key_word patterns[] = {
	{"idle", MR_PATTERN_IDLE},     {"sequential", MR_PATTERN_SEQUENTIAL}, {"random", MR_PATTERN_RANDOM},
	{"zipf", MR_PATTERN_ZIPF},     {"strided", MR_PATTERN_STRIDED},       {"phased", MR_PATTERN_PHASED},
	{"stack", MR_PATTERN_STACK},   {"producer", MR_PATTERN_PRODUCER},     {"consumer", MR_PATTERN_CONSUMER},
	{"bursts", MR_PATTERN_BURSTS}, {"trace", MR_PATTERN_TRACE},           {0},
};
static const struct mr_key_word detections[] = {
	{"release", MR_ZERO_BY_RELEASE},
	{"none", MR_ZERO_NONE},
	{"legacy", MR_ZERO_LEGACY},
	{"multifd", MR_ZERO_MULTIFD},
	{0},
};
static const struct mr_key_word fault_kinds[] = {
	{"cut", MR_FAULT_CUT},
	{"cut-all", MR_FAULT_CUT_ALL},
	{"close", MR_FAULT_CLOSE},
	{"slow", MR_FAULT_SLOW},
	{"stall", MR_FAULT_STALL},
	{"delay-open", MR_FAULT_DELAY_OPEN},
	{"place", MR_FAULT_PLACE},
	{"discard", MR_FAULT_DISCARD},
	{"device", MR_FAULT_DEVICE},
	{"memory", MR_FAULT_MEMORY},
	{0},
};
static const struct mr_key_word channels[] = {
	{"main", MR_CHANNEL_MAIN},
	{"preempt", MR_CHANNEL_PREEMPT},
	{"multifd", MR_CHANNEL_MULTIFD},
	{0},
};
static const struct mr_key_word directions[] = {{"forward", 0}, {"backward", 1}, {0}};
/* Linux's numbers: streams and logs have them whatever the host. */
static const struct mr_key_word errors[] = {
	{"ENOENT", 2},  {"ESRCH", 3},   {"EIO", 5},     {"EAGAIN", 11}, {"ENOMEM", 12},
	{"EFAULT", 14}, {"EEXIST", 17}, {"EINVAL", 22}, {"ENOSPC", 28}, {0},
};
static const struct mr_key_word operations[] = {
	{"start-postcopy", MR_OPERATION_START_POSTCOPY},
	{"pause", MR_OPERATION_PAUSE},
	{"recover", MR_OPERATION_RECOVER},
	{"cancel", MR_OPERATION_CANCEL},
	{"stop-guest", MR_OPERATION_STOP_GUEST},
	{"continue-guest", MR_OPERATION_CONTINUE_GUEST},
	{0},
};

/* ---- Keys ---- */

static const struct mr_scenario_key scenario_keys[] = {
	{"name", MR_KEY_NAME, FIELD(mr_scenario, name), 1, 63, NULL, "scenario"},
	{"seed", MR_KEY_NUMBER, FIELD(mr_scenario, seed), 0, UINT64_MAX, NULL, "1"},
};

#define GUEST(member) FIELD(mr_scenario_guest, member)
static const struct mr_scenario_key guest_keys[] = {
	{"vcpus", MR_KEY_NUMBER, GUEST(vcpus), 1, MR_SCENARIO_VCPUS_MAX, NULL, "1"},
	{"target-page", MR_KEY_SIZE, GUEST(target_page_size), MR_PAGE_SIZE_MIN, MR_PAGE_SIZE_MAX, NULL, "4K"},
	{"host-page", MR_KEY_SIZE, GUEST(host_page_size), K, 64 * K, NULL, "4K"},
	{"devices", MR_KEY_NUMBER, GUEST(devices), 0, MR_SCENARIO_DEVICES_MAX, NULL, "3"},
	{"device-bytes", MR_KEY_SIZE, GUEST(device_bytes), 1, 512 * K, NULL, "1K"},
	{"device-touches", MR_KEY_NUMBER, GUEST(device_touches), 0, 65536, NULL, "0"},
	{"contents", MR_KEY_SHARES, GUEST(shares), 0, 1000, NULL, "zero:100 constant:100 text:400 random:400"},
	{"filled", MR_KEY_NUMBER, GUEST(filled), 0, 1000, NULL, "700"},
};

#define BLOCK(member) FIELD(mr_scenario_block, member)
static const struct mr_scenario_key block_keys[] = {
	{"size", MR_KEY_SIZE, BLOCK(size), K, 1024 * T, NULL, NULL},
	{"page-size", MR_KEY_SIZE, BLOCK(page_size), K, G, host, "host"},
};

#define WORKLOAD(member) FIELD(mr_scenario_workload, member)
static const struct mr_scenario_key workload_keys[] = {
	{"vcpus", MR_KEY_VCPUS, TWO(mr_scenario_workload, first_vcpu, vcpu_count), 0, MR_SCENARIO_VCPUS_MAX - 1, NULL,
	 "0"},
	{"pattern", MR_KEY_WORD, WORKLOAD(pattern.kind), 0, 0, patterns, NULL},
	{"block", MR_KEY_BLOCK, WORKLOAD(block), 0, MR_SCENARIO_BLOCKS_MAX - 1, NULL, ""},
	{"start", MR_KEY_PAGES, WORKLOAD(pattern.first), 0, 1024 * T, NULL, "0"},
	{"length", MR_KEY_PAGES, WORKLOAD(pattern.pages), K, 1024 * T, rest, "rest"},
	{"interval", MR_KEY_TIME, WORKLOAD(interval), 1, DAY, NULL, "100us"},
	{"writes", MR_KEY_NUMBER, WORKLOAD(pattern.write_permille), 0, 1000, NULL, "500"},
	{"stride", MR_KEY_NUMBER, WORKLOAD(pattern.stride), 1, T, NULL, "2"},
	{"working-set", MR_KEY_NUMBER, WORKLOAD(pattern.working_set), 1, T, all, "all"},
	{"phase", MR_KEY_NUMBER, WORKLOAD(pattern.phase), 1, T, NULL, "1000"},
	{"lag", MR_KEY_NUMBER, WORKLOAD(pattern.lag), 0, T, NULL, "0"},
	{"burst", MR_KEY_NUMBER, WORKLOAD(pattern.burst), 1, UINT32_MAX, NULL, "100"},
	{"pause", MR_KEY_NUMBER, WORKLOAD(pattern.pause), 1, UINT32_MAX, NULL, "1000"},
	{"trace", MR_KEY_FILE, WORKLOAD(trace_file), 0, 160, NULL, ""},
};

#define LINK(member) FIELD(mr_scenario_link, member)
static const struct mr_scenario_key link_keys[] = {
	{"bandwidth", MR_KEY_BANDWIDTH, LINK(bandwidth), 1, BANDWIDTH_MAX, NULL, "10Gbit"},
	{"latency", MR_KEY_TIME, LINK(latency), 0, 10 * SECOND, NULL, "50us"},
	{"jitter", MR_KEY_TIME, LINK(jitter), 0, 10 * SECOND, NULL, "0ns"},
	{"send-buffer", MR_KEY_SIZE, LINK(send_buffer), K, G, NULL, "4M"},
	{"receive-buffer", MR_KEY_SIZE, LINK(receive_buffer), K, G, NULL, "6M"},
	{"return-buffer", MR_KEY_SIZE, LINK(return_buffer), K, G, NULL, "4M"},
	{"fair", MR_KEY_WORD, LINK(fair), 0, 0, switches, "yes"},
	{"quantum", MR_KEY_SIZE, LINK(quantum), 1500, M, NULL, "64K"},
};

#define COST(name, member, otherwise)                                                                                  \
	{                                                                                                              \
		name, MR_KEY_TIME, FIELD(mr_scenario_costs, member), 0, 10 * SECOND, NULL, otherwise                   \
	}
static const struct mr_scenario_key costs_keys[] = {
	COST("zero-test", zero_test, "200ns"), COST("send", send, "300ns"),
	COST("record", record, "100ns"),       COST("copy", copy, "50ns"),
	COST("load", load, "300ns"),           COST("place", place, "2us"),
	COST("discard", discard, "1us"),       COST("fault", fault, "5us"),
	COST("request", request, "2us"),       COST("wake", wake, "5us"),
	COST("sync", sync, "400us"),           COST("device", device, "50us"),
};

#define MIGRATION(member) FIELD(mr_scenario_migration, member)
static const struct mr_scenario_key migration_keys[] = {
	{"source", MR_KEY_NAME, MIGRATION(source), 1, 15, NULL, "11.1"},
	{"destination", MR_KEY_NAME, MIGRATION(destination), 1, 15, NULL, "11.1"},
	{"machine", MR_KEY_NAME, MIGRATION(machine), 0, 63, NULL, ""},
	{"capabilities", MR_KEY_CAPABILITIES, MIGRATION(capabilities), 0, UINT32_MAX, NULL, "none"},
	{"strict", MR_KEY_WORD, MIGRATION(strict), 0, 0, switches, "no"},
	{"start-paused", MR_KEY_WORD, MIGRATION(start_paused), 0, 0, switches, "no"},
	{"multifd-channels", MR_KEY_NUMBER, MIGRATION(multifd_channels), 1, MR_OUTGOING_MULTIFD_MAX, NULL, "2"},
	{"multifd-compression", MR_KEY_NAME, MIGRATION(method), 1, 15, NULL, "none"},
	{"multifd-level", MR_KEY_NUMBER, MIGRATION(method_level), 0, 255, level, "method"},
	{"zero-page-detection", MR_KEY_WORD, MIGRATION(zero_detection), 0, 0, detections, "release"},
	{"max-bandwidth", MR_KEY_BANDWIDTH, MIGRATION(max_bandwidth), 1, BANDWIDTH_MAX, release_or_unlimited,
	 "release"},
	{"max-postcopy-bandwidth", MR_KEY_BANDWIDTH, MIGRATION(max_postcopy_bandwidth), 1, BANDWIDTH_MAX, unlimited,
	 "unlimited"},
	{"avail-switchover-bandwidth", MR_KEY_BANDWIDTH, MIGRATION(switchover_bandwidth), 1, BANDWIDTH_MAX, measured,
	 "measured"},
	{"downtime-limit", MR_KEY_MILLISECONDS, MIGRATION(downtime_limit), 1, 2000000, NULL, "300ms"},
	{"xbzrle-cache-size", MR_KEY_SIZE, MIGRATION(xbzrle_cache_size), K, T, NULL, "64M"},
	{"cpu-throttle-initial", MR_KEY_NUMBER, MIGRATION(throttle_initial), 1, 99, NULL, "20"},
	{"cpu-throttle-increment", MR_KEY_NUMBER, MIGRATION(throttle_increment), 1, 99, NULL, "10"},
	{"max-cpu-throttle", MR_KEY_NUMBER, MIGRATION(throttle_maximum), 1, 99, NULL, "99"},
	{"switch-after", MR_KEY_TIME, MIGRATION(switch_after), 0, DAY, never, "never"},
	{"switch-passes", MR_KEY_NUMBER, MIGRATION(switch_passes), 0, 1000000, never, "never"},
	{"switch-dirty", MR_KEY_NUMBER, MIGRATION(switch_dirty), 0, T, never, "never"},
	{"recover-after", MR_KEY_TIME, MIGRATION(recover_after), 0, DAY, never, "10ms"},
	{"continue-after", MR_KEY_TIME, MIGRATION(continue_after), 0, DAY, NULL, "1ms"},
	{"run-after", MR_KEY_TIME, MIGRATION(run_after), 0, DAY, NULL, "10ms"},
	{"time-limit", MR_KEY_TIME, MIGRATION(time_limit), 1, 10 * DAY, NULL, "3600s"},
};

#define CHOICE(name, choice)                                                                                           \
	{                                                                                                              \
		name, MR_KEY_NUMBER, FIELD(mr_scenario_choices, permille[choice]), 0, 1000, NULL, "0"                  \
	}
static const struct mr_scenario_key choices_keys[] = {
	CHOICE("turn", MR_CHOICE_TURN),
	CHOICE("sync", MR_CHOICE_SYNC),
	CHOICE("section-ends", MR_CHOICE_SECTION_ENDS),
	CHOICE("channel", MR_CHOICE_CHANNEL),
	CHOICE("repeat", MR_CHOICE_REPEAT),
	CHOICE("break-huge", MR_CHOICE_BREAK_HUGE),
	CHOICE("page", MR_CHOICE_PAGE),
	CHOICE("packet-ends", MR_CHOICE_PACKET_ENDS),
	CHOICE("twice", MR_CHOICE_TWICE),
	{"spurious-dirty", MR_KEY_NUMBER, FIELD(mr_scenario_choices, spurious_dirty), 0, 1000, NULL, "0"},
};
_Static_assert(sizeof(choices_keys) / sizeof(choices_keys[0]) == MR_CHOICE_COUNT + 1, "a key for each choice");

#define FAULT(member) FIELD(mr_scenario_fault, member)
static const struct mr_scenario_key fault_keys[] = {
	{"kind", MR_KEY_WORD, FAULT(kind), 0, 0, fault_kinds, NULL},
	{"at", MR_KEY_MOMENT_BYTE, TWO(mr_scenario_fault, at, trigger), 0, DAY, NULL, "0ns"},
	{"channel", MR_KEY_WORD, FAULT(channel), 0, 0, channels, "main"},
	{"multifd", MR_KEY_NUMBER, FAULT(multifd), 0, MR_OUTGOING_MULTIFD_MAX - 1, NULL, "0"},
	{"direction", MR_KEY_WORD, FAULT(backward), 0, 0, directions, "forward"},
	{"duration", MR_KEY_TIME, FAULT(duration), 1, DAY, NULL, "10ms"},
	{"percent", MR_KEY_NUMBER, FAULT(percent), 1, 99, NULL, "50"},
	{"count", MR_KEY_NUMBER, FAULT(count), 0, T, NULL, "1"},
	{"error", MR_KEY_WORD, FAULT(error), 0, 0, errors, "EIO"},
};

#define OPERATION(member) FIELD(mr_scenario_operation, member)
static const struct mr_scenario_key operator_keys[] = {
	{"command", MR_KEY_WORD, OPERATION(kind), 0, 0, operations, NULL},
	{"at", MR_KEY_MOMENT, TWO(mr_scenario_operation, at, trigger), 0, DAY, NULL, "0ns"},
};

/* ---- Sections ---- */

#define ONE(name, member, keys)                                                                                        \
	{                                                                                                              \
		name, false, offsetof(struct mr_scenario, member), sizeof(((struct mr_scenario *)NULL)->member), 0, 1, \
			keys, sizeof(keys) / sizeof((keys)[0])                                                         \
	}
#define MANY(name, member, number, most, keys)                                                                         \
	{                                                                                                              \
		name, true, offsetof(struct mr_scenario, member), sizeof(((struct mr_scenario *)NULL)->member[0]),     \
			offsetof(struct mr_scenario, number), most, keys, sizeof(keys) / sizeof((keys)[0])             \
	}

const struct mr_scenario_section mr_scenario_sections[MR_SECTION_COUNT] = {
	[MR_SECTION_SCENARIO] = {"scenario", false, 0, sizeof(struct mr_scenario), 0, 1, scenario_keys,
				 sizeof(scenario_keys) / sizeof(scenario_keys[0])},
	[MR_SECTION_GUEST] = ONE("guest", guest, guest_keys),
	[MR_SECTION_BLOCK] = MANY("block", blocks, block_count, MR_SCENARIO_BLOCKS_MAX, block_keys),
	[MR_SECTION_WORKLOAD] = MANY("workload", workloads, workload_count, MR_SCENARIO_WORKLOADS_MAX, workload_keys),
	[MR_SECTION_LINK] = ONE("link", link, link_keys),
	[MR_SECTION_COSTS] = ONE("costs", costs, costs_keys),
	[MR_SECTION_MIGRATION] = ONE("migration", migration, migration_keys),
	[MR_SECTION_CHOICES] = ONE("choices", choices, choices_keys),
	[MR_SECTION_FAULT] = MANY("fault", faults, fault_count, MR_SCENARIO_FAULTS_MAX, fault_keys),
	[MR_SECTION_OPERATOR] =
		MANY("operator", operations, operation_count, MR_SCENARIO_OPERATIONS_MAX, operator_keys),
};

const struct mr_scenario_key *mr_scenario_key_find(enum mr_scenario_section_number section, const char *name)
{
	const struct mr_scenario_section *row = &mr_scenario_sections[section];

	for (unsigned i = 0; i < row->key_count; i++)
		if (strcmp(row->keys[i].name, name) == 0)
			return &row->keys[i];
	return NULL;
}

uint32_t mr_scenario_section_count(const struct mr_scenario *scenario, enum mr_scenario_section_number section)
{
	const struct mr_scenario_section *row = &mr_scenario_sections[section];

	return row->named ? *(const uint32_t *)((const char *)scenario + row->count) : 1;
}

const void *mr_scenario_element_of(const struct mr_scenario *scenario, enum mr_scenario_section_number section,
				   uint32_t index)
{
	const struct mr_scenario_section *row = &mr_scenario_sections[section];

	return (const char *)scenario + row->offset + row->size * index;
}

void *mr_scenario_element(struct mr_scenario *scenario, enum mr_scenario_section_number section, uint32_t index)
{
	const struct mr_scenario_section *row = &mr_scenario_sections[section];

	return (char *)scenario + row->offset + row->size * index;
}

void mr_scenario_set_defaults(enum mr_scenario_section_number section, void *element)
{
	const struct mr_scenario_section *row = &mr_scenario_sections[section];

	for (unsigned i = 0; i < row->key_count; i++)
		if (row->keys[i].kind == MR_KEY_BLOCK)
			mr_key_set(&row->keys[i], element, 0);
		else if (row->keys[i].otherwise)
			mr_key_read(&row->keys[i], element, row->keys[i].otherwise);
}

/* A workload goes on to the end of its block. */
static void imply_range(const struct mr_scenario *scenario, struct mr_scenario_workload *workload)
{
	const uint64_t page = scenario->guest.target_page_size;
	struct mr_pattern_config *pattern = &workload->pattern;
	uint64_t pages = 0;

	if (workload->block < scenario->block_count && page)
		pages = scenario->blocks[workload->block].size / page;
	if (pattern->pages == 0 && pages > pattern->first)
		pattern->pages = pages - pattern->first;
	if (pattern->working_set == 0)
		pattern->working_set = pattern->pages;
}

bool mr_fault_counts(enum mr_fault_kind kind)
{
	return kind == MR_FAULT_PLACE || kind == MR_FAULT_DISCARD || kind == MR_FAULT_DEVICE;
}

void mr_scenario_imply(const struct mr_scenario *scenario, enum mr_scenario_section_number section, void *element)
{
	struct mr_scenario_block *block = element;
	struct mr_scenario_fault *fault = element;

	switch (section) {
	case MR_SECTION_BLOCK:
		if (block->page_size == 0)
			block->page_size = scenario->guest.host_page_size;
		break;
	case MR_SECTION_WORKLOAD:
		imply_range(scenario, element);
		break;
	case MR_SECTION_FAULT:
		if (mr_fault_counts(fault->kind) && fault->trigger == MR_TRIGGER_TIME && fault->at == 0)
			fault->trigger = MR_TRIGGER_COUNT;
		break;
	default:
		break;
	}
}

const char *mr_fault_kind_name(enum mr_fault_kind kind)
{
	return (unsigned)kind < MR_FAULT_KIND_COUNT ? fault_kinds[kind].text : NULL;
}

const char *mr_operation_kind_name(enum mr_operation_kind kind)
{
	return (unsigned)kind < MR_OPERATION_KIND_COUNT ? operations[kind].text : NULL;
}
