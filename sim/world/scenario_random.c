/*
 * scenario_random.c: a small migration drawn from a seed. Each part draws from a stream of its own, so that what is
 * drawn for one does not shift another.
 *
 * Only what gets on is drawn together: modes by the releases that have them, two releases only where they are known to
 * understand each other, and precopies whose guest writes slowly enough, or may stand long enough, to end.
 */
#include "sim/world/scenario_keys.h"

#include <stdio.h>
#include <string.h>

enum purpose {
	FOR_MODE = 0x5ce0,
	FOR_GUEST,
	FOR_LINK,
	FOR_PARAMETERS,
	FOR_WORKLOADS,
	FOR_CHOICES,
	FOR_FAULTS,
	FOR_OPERATOR
};

enum {
	KIB = 1 << 10,
	MIB = 1 << 20,
	MB = 1000000, /* of bandwidths */
	SMALLEST_BLOCK = 32 * KIB,
	LARGEST_BLOCK = MIB,
	BYTES_OF_FAULT = 2 * MB, /* a fault comes before this byte */
};

static const uint64_t microsecond = 1000, millisecond = 1000000, second = 1000000000;

static uint64_t between(struct mr_random *random, uint64_t least, uint64_t most)
{
	return least + mr_random_below(random, most - least + 1);
}

/* From least to most, each power of two between them as often as the others. */
static uint64_t spread(struct mr_random *random, uint64_t least, uint64_t most)
{
	uint32_t octaves = 0;
	uint64_t low, value;

	while (least << octaves <= most / 2)
		octaves++;
	low = least << mr_random_below(random, octaves + 1u);
	value = low + mr_random_below(random, low);
	return value < most ? value : most;
}

/* A number with no more digits than one likes to read. */
static uint64_t rounded(uint64_t number)
{
	uint64_t unit = 1;

	while (number / unit >= 1000)
		unit *= 10;
	return number / unit * unit;
}

/* A time, or a bandwidth. */
static uint64_t about(struct mr_random *random, uint64_t least, uint64_t most)
{
	return rounded(spread(random, least, most));
}

static uint64_t time_below(struct mr_random *random, uint64_t limit)
{
	return rounded(mr_random_below(random, limit));
}

static bool sometimes(struct mr_random *random, uint32_t permille)
{
	return mr_random_permille(random, permille);
}

#define PICK(random, array) ((array)[mr_random_below(random, sizeof(array) / sizeof((array)[0]))])

/* ---- Mode and releases ---- */

#define MR_RELEASE(name) name,
static const char *const releases[] = {
#include "ref/profile.def"
};
#undef MR_RELEASE
enum { RELEASES = sizeof(releases) / sizeof(releases[0]) };

/* Those whose getting on with each other is known. */
static const char *const paired[] = {"6.2", "7.2", "8.2", "9.2", "10.0", "10.1", "11.1"};

enum { POSTCOPY = MR_CAPABILITY_POSTCOPY_RAM, PREEMPT = POSTCOPY | MR_CAPABILITY_POSTCOPY_PREEMPT };

/* A release has the mode from `since` on; from `pairs` on any two of them get on in it, NULL: not known. */
static const struct mode {
	uint32_t weight, capabilities;
	const char *since, *pairs;
} modes[] = {
	{3, 0, "", "6.2"},
	{2, MR_CAPABILITY_RETURN_PATH, "2.10", "6.2"},
	{3, MR_CAPABILITY_XBZRLE, "", "6.2"},
	{7, POSTCOPY, "", "6.2"},
	{7, PREEMPT, "7.1", "7.2"},
	{4, MR_CAPABILITY_MULTIFD, "4.0", "6.2"},
	{3, MR_CAPABILITY_MULTIFD | POSTCOPY, "10.1", "10.1"},
	{2, MR_CAPABILITY_MULTIFD | PREEMPT, "10.1", NULL},
};

static const struct mode *pick_mode(struct mr_random *random)
{
	uint64_t total = 0, drawn;
	unsigned i = 0;

	for (unsigned k = 0; k < sizeof(modes) / sizeof(modes[0]); k++)
		total += modes[k].weight;
	drawn = mr_random_below(random, total);
	while (drawn >= modes[i].weight)
		drawn -= modes[i++].weight;
	return &modes[i];
}

static bool is_since(const char *release, const char *since)
{
	struct mr_profile profile;

	mr_profile_init(&profile, release);
	return mr_profile_within(&profile, since, "");
}

/* Both ends are of this release or a later one. */
static bool are_since(const struct mr_scenario *scenario, const char *since)
{
	return is_since(scenario->migration.source, since) && is_since(scenario->migration.destination, since);
}

static bool is_one_release(const struct mr_scenario *scenario)
{
	return strcmp(scenario->migration.source, scenario->migration.destination) == 0;
}

static bool has(const struct mr_scenario *scenario, uint32_t capabilities)
{
	return scenario->migration.capabilities & capabilities;
}

/* One of the list's, from `since` on; the newest, which stands last, more often than the others. */
static const char *pick_release(struct mr_random *random, const char *const *list, unsigned count, const char *since)
{
	unsigned first = 0;

	while (!is_since(list[first], since))
		first++;
	return sometimes(random, 200) ? list[count - 1] : list[between(random, first, count - 1)];
}

static void set_releases(struct mr_scenario *scenario, const char *source, const char *destination)
{
	snprintf(scenario->migration.source, sizeof(scenario->migration.source), "%s", source);
	snprintf(scenario->migration.destination, sizeof(scenario->migration.destination), "%s", destination);
}

/* 9.2 does not look for pages in packets that carry SYNC, and 8.2 and older put them there. */
static bool loses_packets(const struct mr_scenario *scenario)
{
	struct mr_profile source, destination;

	mr_scenario_profiles(scenario, &source, &destination);
	return has(scenario, MR_CAPABILITY_MULTIFD) && mr_profile_does(&source, MR_SWITCH_SYNC_WITH_PAGES) &&
	       mr_profile_does(&destination, MR_SWITCH_SYNC_PAGES_IGNORED);
}

/* From 9.0 to 9.2 a compressed packet of nothing but zero pages is not sent. */
static bool drops_zero_pages(const struct mr_scenario *scenario)
{
	struct mr_profile source, destination;
	bool in_packets;

	mr_scenario_profiles(scenario, &source, &destination);
	in_packets = scenario->migration.zero_detection == MR_ZERO_BY_RELEASE
			     ? mr_profile_does(&source, MR_SWITCH_ZERO_PAGES_ON_MULTIFD)
			     : scenario->migration.zero_detection == MR_ZERO_MULTIFD;
	return in_packets && mr_profile_does(&source, MR_SWITCH_ZERO_PAGES_DROPPED);
}

static void draw_releases(struct mr_scenario *scenario, const struct mode *mode, struct mr_random *random)
{
	const char *release = pick_release(random, releases, RELEASES, mode->since);
	/* Only these interrupt huge pages. */
	const bool breaks =
		has(scenario, MR_CAPABILITY_POSTCOPY_PREEMPT) && is_since("7.1", mode->since) && sometimes(random, 250);
	const bool differ = !breaks && mode->pairs && sometimes(random, 200);
	const unsigned count = sizeof(paired) / sizeof(paired[0]);

	if (differ) {
		/* one after the other: a compiler may draw arguments in any order */
		const char *source = pick_release(random, paired, count, mode->pairs);

		set_releases(scenario, source, pick_release(random, paired, count, mode->pairs));
	}
	if (breaks)
		release = sometimes(random, 500) ? "7.1" : "7.2";
	if (!differ || loses_packets(scenario))
		set_releases(scenario, release, release);
}

/* Capabilities that go together with the mode. */
static void draw_capabilities(struct mr_scenario *scenario, struct mr_random *random)
{
	uint32_t *on = &scenario->migration.capabilities;
	const bool alone = is_one_release(scenario);

	if (are_since(scenario, "2.10") && has(scenario, POSTCOPY | MR_CAPABILITY_MULTIFD) && sometimes(random, 400))
		*on |= MR_CAPABILITY_RETURN_PATH;
	if (are_since(scenario, "2.8") && has(scenario, POSTCOPY) && !has(scenario, MR_CAPABILITY_MULTIFD) &&
	    sometimes(random, 100))
		*on |= MR_CAPABILITY_XBZRLE;
	if (alone && are_since(scenario, "8.1") && has(scenario, MR_CAPABILITY_RETURN_PATH) && sometimes(random, 100))
		*on |= MR_CAPABILITY_SWITCHOVER_ACK;
	if (alone && are_since(scenario, "4.0") && !has(scenario, POSTCOPY) && sometimes(random, 50))
		*on |= MR_CAPABILITY_IGNORE_SHARED;
	if (are_since(scenario, "2.11") && sometimes(random, 150))
		scenario->migration.pause_before_switchover = true;
	if (are_since(scenario, "2.9") && has(scenario, POSTCOPY) && sometimes(random, 200))
		scenario->migration.release_ram = true;
	scenario->migration.blocktime =
		has(scenario, POSTCOPY) && is_since(scenario->migration.destination, "3.0") && sometimes(random, 500);
	scenario->migration.auto_converge = sometimes(random, has(scenario, POSTCOPY) ? 50 : 200);
	scenario->migration.strict = sometimes(random, 150);
	scenario->migration.start_paused = sometimes(random, 20);
}

static void draw_multifd(struct mr_scenario *scenario, struct mr_random *random)
{
	static const char *const methods[] = {"zlib", "zstd"};
	struct mr_scenario_migration *migration = &scenario->migration;

	if (is_one_release(scenario) && are_since(scenario, "9.0") && sometimes(random, 300))
		migration->zero_detection = (enum mr_zero_detection)between(random, MR_ZERO_NONE, MR_ZERO_MULTIFD);
	if (!has(scenario, MR_CAPABILITY_MULTIFD))
		return;
	migration->multifd_channels = (uint32_t)between(random, 1, 4);
	if (are_since(scenario, "5.0") && !drops_zero_pages(scenario) && sometimes(random, 500))
		snprintf(migration->method, sizeof(migration->method), "%s", PICK(random, methods));
}

static void draw_mode(struct mr_scenario *scenario, uint64_t seed)
{
	struct mr_random random = mr_random_of(seed, FOR_MODE);
	const struct mode *mode = pick_mode(&random);

	scenario->migration.capabilities = mode->capabilities;
	draw_releases(scenario, mode, &random);
	draw_capabilities(scenario, &random);
	draw_multifd(scenario, &random);
}

/* ---- Guest ---- */

/* Ordinary pages mostly; others where the stream can tell them (STR-007). */
static void draw_page_sizes(struct mr_scenario *scenario, struct mr_random *random)
{
	static const uint32_t sizes[] = {1 * KIB, 1 * KIB, 2 * KIB, 8 * KIB, 16 * KIB, 64 * KIB};
	struct mr_scenario_guest *guest = &scenario->guest;

	if (are_since(scenario, "2.8") && sometimes(random, 100))
		guest->target_page_size = PICK(random, sizes);
	guest->host_page_size = guest->target_page_size > 4 * KIB ? guest->target_page_size : 4 * KIB;
	if (guest->host_page_size < 16 * KIB && sometimes(random, 40))
		guest->host_page_size = 16 * KIB;
}

static void add_block(struct mr_scenario *scenario, const char *name, uint64_t size, uint64_t page_size)
{
	struct mr_scenario_block *block = &scenario->blocks[scenario->block_count++];
	const uint64_t pages = size / page_size;

	*block = (struct mr_scenario_block){.size = (pages ? pages : 1) * page_size, .page_size = page_size};
	snprintf(block->name, sizeof(block->name), "%s", name);
}

static void draw_blocks(struct mr_scenario *scenario, struct mr_random *random)
{
	const uint64_t page = scenario->guest.host_page_size;
	const bool huge = (!has(scenario, POSTCOPY) || are_since(scenario, "2.9")) &&
			  sometimes(random, has(scenario, MR_CAPABILITY_POSTCOPY_PREEMPT) ? 400 : 200);
	const uint64_t size = spread(random, SMALLEST_BLOCK, LARGEST_BLOCK);

	scenario->block_count = 0;
	add_block(scenario, "mem", size, huge ? page * (sometimes(random, 500) ? 4 : 16) : page);
	if (sometimes(random, 700))
		add_block(scenario, "vga.ram", spread(random, SMALLEST_BLOCK, LARGEST_BLOCK / 4), page);
	if (sometimes(random, 600))
		add_block(scenario, "/rom@etc/acpi/tables", page * between(random, 1, 8), page);
}

static void draw_contents(struct mr_scenario_guest *guest, struct mr_random *random)
{
	static const uint16_t presets[][MR_CONTENT_CLASS_COUNT] = {
		{100, 100, 400, 400}, {100, 100, 400, 400}, {200, 100, 100, 600}, {500, 250, 150, 100},
		{0, 600, 200, 200},   {0, 0, 0, 1000},      {0, 0, 1000, 0},      {950, 50, 0, 0},
	};
	const uint64_t preset = mr_random_below(random, sizeof(presets) / sizeof(presets[0]));

	memcpy(guest->shares, presets[preset], sizeof(guest->shares));
	guest->filled = (uint16_t)(sometimes(random, 300) ? 1000 : mr_random_below(random, 1001));
}

static void draw_guest(struct mr_scenario *scenario, uint64_t seed)
{
	struct mr_random random = mr_random_of(seed, FOR_GUEST);
	struct mr_scenario_guest *guest = &scenario->guest;

	draw_page_sizes(scenario, &random);
	draw_blocks(scenario, &random);
	draw_contents(guest, &random);
	guest->vcpus = (uint32_t)between(&random, 1, 4);
	guest->devices = (uint32_t)between(&random, 1, 5);
	guest->device_bytes = (uint32_t)spread(&random, 8, sometimes(&random, 100) ? 64 * KIB : 2 * KIB);
	guest->device_touches = sometimes(&random, 300) ? (uint32_t)between(&random, 1, 4) : 0;
}

static uint64_t all_bytes(const struct mr_scenario *scenario)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < scenario->block_count; i++)
		bytes += scenario->blocks[i].size;
	return bytes;
}

/* ---- Link and costs ---- */

static void draw_link(struct mr_scenario *scenario, uint64_t seed)
{
	struct mr_random random = mr_random_of(seed, FOR_LINK);
	struct mr_scenario_link *link = &scenario->link;
	const struct mr_scenario_section *costs = &mr_scenario_sections[MR_SECTION_COSTS];

	link->bandwidth = about(&random, MB, 100 * MB);
	link->latency = about(&random, 10 * microsecond, 5 * millisecond);
	link->jitter = sometimes(&random, 500) ? time_below(&random, link->latency + 1) : 0;
	/* Small ones mostly: else all of the guest fits in, and nothing happens while it travels. */
	link->send_buffer = spread(&random, 4 * KIB, sometimes(&random, 800) ? 32 * KIB : 256 * KIB);
	link->receive_buffer = spread(&random, 4 * KIB, sometimes(&random, 800) ? 32 * KIB : 256 * KIB);
	link->return_buffer = spread(&random, 4 * KIB, 256 * KIB);
	link->fair = sometimes(&random, 700);
	link->quantum = spread(&random, 1500, 64 * KIB);
	/* A fault handler so slow that pages come before it looks. */
	if (sometimes(&random, 200))
		scenario->costs.fault = about(&random, 50 * microsecond, 2 * millisecond);
	if (sometimes(&random, 600))
		return;
	for (unsigned i = 0; i < costs->key_count; i++) {
		const struct mr_scenario_key *key = &costs->keys[i];

		mr_key_set(key, &scenario->costs, mr_key_get(key, &scenario->costs) * mr_random_below(&random, 9));
	}
}

/* ---- Parameters ---- */

/* What the source may send, bytes a second. */
static uint64_t bandwidth_of(const struct mr_scenario *scenario)
{
	const uint64_t by_release = is_since(scenario->migration.source, "5.2") ? 128 * MIB : 32 * MIB;
	const uint64_t limit = scenario->migration.max_bandwidth ? scenario->migration.max_bandwidth : by_release;

	return limit < scenario->link.bandwidth ? limit : scenario->link.bandwidth;
}

/* ns until the source is through with its first pass, about: the rest is in buffers. */
static uint64_t pass_time(const struct mr_scenario *scenario)
{
	const uint64_t held = scenario->link.send_buffer + scenario->link.receive_buffer;
	const uint64_t written = all_bytes(scenario) * scenario->guest.filled / 1000 *
				 (1000u - scenario->guest.shares[MR_CONTENT_ZERO]) / 1000;

	return written > held ? (written - held) * 1000 / (bandwidth_of(scenario) / MB) : 0;
}

/*
 * Postcopy begins before a page was sent, within the first pass, or behind it; now and then not before the operator is
 * told to, or never.
 */
static void draw_switch(struct mr_scenario *scenario, struct mr_random *random)
{
	struct mr_scenario_migration *migration = &scenario->migration;
	const uint64_t pass = pass_time(scenario), setup = 6 * scenario->link.latency;

	if (!has(scenario, POSTCOPY))
		return;
	if (sometimes(random, 30))
		return;
	migration->switch_after = rounded(setup + 4 * pass);
	if (pass == 0 || sometimes(random, 300))
		migration->switch_passes = 0;
	else if (sometimes(random, 150))
		migration->switch_passes = between(random, 1, 2);
	else if (sometimes(random, 150))
		migration->switch_dirty = spread(random, 1, 64);
	else
		migration->switch_after = rounded(setup + mr_random_below(random, pass));
}

/* However slow the link, a few pages fit into the downtime. If everything did, there would be neither a switch to
 * postcopy nor a pass in which pages come as differences. */
static uint64_t draw_downtime(const struct mr_scenario *scenario, struct mr_random *random)
{
	static const uint64_t limits[] = {1, 3, 10, 30, 100, 300};
	const bool is_short = has(scenario, POSTCOPY | MR_CAPABILITY_XBZRLE) && sometimes(random, 700);
	const uint64_t pages = has(scenario, MR_CAPABILITY_XBZRLE) ? 2 : 8;
	const uint64_t least = pages * scenario->guest.target_page_size * 1000 / bandwidth_of(scenario) + 1;
	const uint64_t limit = is_short ? 1 : PICK(random, limits);

	return limit > least ? limit : least;
}

static void draw_throttle(struct mr_scenario_migration *migration, struct mr_random *random)
{
	migration->throttle_initial = (uint32_t)between(random, 1, 99);
	migration->throttle_increment = (uint32_t)between(random, 1, 99);
	migration->throttle_maximum = (uint32_t)between(random, migration->throttle_initial, 99);
}

static void draw_times(struct mr_scenario_migration *migration, struct mr_random *random)
{
	migration->recover_after = about(random, millisecond / 2, 8 * millisecond);
	if (sometimes(random, 100))
		migration->recover_after = 50 * millisecond;
	else if (sometimes(random, 60))
		migration->recover_after = UINT64_MAX;
	migration->continue_after = time_below(random, 20 * millisecond);
	migration->run_after = time_below(random, 20 * millisecond);
	migration->time_limit = 60 * second;
}

static void draw_parameters(struct mr_scenario *scenario, uint64_t seed)
{
	struct mr_random random = mr_random_of(seed, FOR_PARAMETERS);
	struct mr_scenario_migration *migration = &scenario->migration;

	if (sometimes(&random, 600))
		migration->max_bandwidth = UINT64_MAX;
	else if (sometimes(&random, 600))
		migration->max_bandwidth = about(&random, 2 * MB, 64 * MB);
	if (has(scenario, POSTCOPY) && sometimes(&random, 400))
		migration->max_postcopy_bandwidth = spread(&random, 256 * KIB, 8 * MIB);
	if (are_since(scenario, "8.2") && sometimes(&random, 100))
		migration->switchover_bandwidth = about(&random, MB, 100 * MB);
	migration->xbzrle_cache_size = (uint64_t)64 * KIB << mr_random_below(&random, 6);
	migration->downtime_limit = draw_downtime(scenario, &random);
	if (migration->auto_converge && sometimes(&random, 500))
		draw_throttle(migration, &random);
	draw_switch(scenario, &random);
	draw_times(migration, &random);
}

/* ---- Workloads ---- */

static void draw_pattern(struct mr_pattern_config *pattern, struct mr_random *random)
{
	static const enum mr_pattern_kind kinds[] = {
		MR_PATTERN_IDLE,   MR_PATTERN_SEQUENTIAL, MR_PATTERN_SEQUENTIAL, MR_PATTERN_RANDOM,
		MR_PATTERN_RANDOM, MR_PATTERN_RANDOM,     MR_PATTERN_RANDOM,     MR_PATTERN_ZIPF,
		MR_PATTERN_ZIPF,   MR_PATTERN_ZIPF,       MR_PATTERN_PHASED,     MR_PATTERN_STRIDED,
		MR_PATTERN_STACK,  MR_PATTERN_PRODUCER,   MR_PATTERN_CONSUMER,   MR_PATTERN_BURSTS,
	};

	pattern->kind = PICK(random, kinds);
	pattern->write_permille = (uint32_t)(sometimes(random, 200) ? 1000 : mr_random_below(random, 1001));
	pattern->stride = spread(random, 1, 32);
	pattern->working_set = between(random, 1, pattern->pages);
	pattern->phase = spread(random, 4, 500);
	pattern->lag = mr_random_below(random, pattern->pages);
	pattern->burst = (uint32_t)spread(random, 1, 64);
	pattern->pause = (uint32_t)spread(random, 1, 200);
}

static void draw_workload(struct mr_scenario *scenario, struct mr_random *random, uint32_t first, uint32_t count)
{
	struct mr_scenario_workload *workload = &scenario->workloads[scenario->workload_count++];
	uint64_t pages;

	mr_scenario_set_defaults(MR_SECTION_WORKLOAD, workload);
	snprintf(workload->name, sizeof(workload->name), "load-%u", (unsigned)scenario->workload_count);
	workload->first_vcpu = first;
	workload->vcpu_count = count;
	workload->block = (uint32_t)mr_random_below(random, scenario->block_count);
	workload->interval = about(random, 2 * microsecond, 2 * millisecond);
	pages = scenario->blocks[workload->block].size / scenario->guest.target_page_size;
	workload->pattern.pages = sometimes(random, 500) ? pages : between(random, 1, pages);
	/* Pages that are written again and again: hot ones are what differences are about. */
	if (sometimes(random, has(scenario, MR_CAPABILITY_XBZRLE) ? 600 : 100))
		workload->pattern.pages = between(random, 1, pages < 16 ? pages : 16);
	workload->pattern.first = mr_random_below(random, pages - workload->pattern.pages + 1);
	draw_pattern(&workload->pattern, random);
}

/* Bytes of pages that the guest dirties in a second, at most. */
static uint64_t dirty_rate(const struct mr_scenario *scenario)
{
	uint64_t pages = 0;

	for (uint32_t i = 0; i < scenario->workload_count; i++) {
		const struct mr_scenario_workload *workload = &scenario->workloads[i];
		const enum mr_pattern_kind kind = workload->pattern.kind;
		const uint64_t share = kind == MR_PATTERN_PRODUCER ? 1000 : workload->pattern.write_permille;

		if (kind != MR_PATTERN_IDLE && kind != MR_PATTERN_CONSUMER)
			pages += workload->vcpu_count * share * (second / 1000) / workload->interval;
	}
	return pages * scenario->guest.target_page_size;
}

/* The guest dirties so many bytes a second. */
static void pace(struct mr_scenario *scenario, uint64_t wanted)
{
	const uint64_t rate = dirty_rate(scenario);

	if (rate == 0 || wanted == 0)
		return;
	for (uint32_t i = 0; i < scenario->workload_count; i++) {
		uint64_t *interval = &scenario->workloads[i].interval;

		*interval = *interval * rate / wanted + 1;
		*interval = rounded(*interval < 60 * second ? *interval : 60 * second);
	}
}

/* One workload that writes to so many pages of a full first block. */
static struct mr_scenario_workload *write_only(struct mr_scenario *scenario, uint64_t pages)
{
	struct mr_scenario_workload *workload = &scenario->workloads[0];

	scenario->guest.filled = 1000;
	scenario->guest.shares[MR_CONTENT_TEXT] += scenario->guest.shares[MR_CONTENT_ZERO];
	scenario->guest.shares[MR_CONTENT_ZERO] = 0;
	scenario->workload_count = 1;
	workload->block = 0;
	workload->pattern.kind = MR_PATTERN_RANDOM;
	workload->pattern.write_permille = 1000;
	workload->pattern.first = 0;
	workload->pattern.pages = pages;
	workload->pattern.working_set = 1;
	workload->pattern.lag = 0;
	return workload;
}

/* Too fast for the link until it is throttled: some seconds, since the source looks at the rate once a second. */
static void outrun(struct mr_scenario *scenario, struct mr_random *random)
{
	struct mr_scenario_migration *migration = &scenario->migration;
	const uint64_t page = scenario->guest.target_page_size;
	struct mr_scenario_workload *workload;

	scenario->blocks[0].size = LARGEST_BLOCK;
	workload = write_only(scenario, LARGEST_BLOCK / page);
	scenario->link.bandwidth = MB;
	migration->max_bandwidth = UINT64_MAX;
	migration->throttle_initial = (uint32_t)between(random, 50, 99);
	migration->throttle_increment = (uint32_t)between(random, 20, 99);
	migration->throttle_maximum = 99;
	migration->downtime_limit = 300;
	/* two to eight times as fast: ns for a byte at one to four parts of eight MB/s */
	workload->interval = rounded(between(random, 1, 4) * page * workload->vcpu_count * (second / (8 * MB)));
}

/* A few pages are written all the time: the differences that xbzrle is for. */
static void heat(struct mr_scenario *scenario, struct mr_random *random)
{
	const uint64_t pages = scenario->blocks[0].size / scenario->guest.target_page_size;
	struct mr_scenario_workload *workload = write_only(scenario, between(random, 1, pages < 16 ? pages : 16));

	workload->interval = about(random, 20 * microsecond, 200 * microsecond) * workload->vcpu_count;
	if (scenario->migration.xbzrle_cache_size < 512 * KIB)
		scenario->migration.xbzrle_cache_size = 512 * KIB;
}

/*
 * A precopy has to end: its guest may stand for as long as all of it takes, or is throttled, or dirties at most a part
 * of what the link carries.
 */
static void let_converge(struct mr_scenario *scenario, struct mr_random *random)
{
	const uint64_t bandwidth = bandwidth_of(scenario);

	if (has(scenario, POSTCOPY) && scenario->migration.switch_after != UINT64_MAX)
		return;
	if (scenario->migration.auto_converge && sometimes(random, 500))
		outrun(scenario, random);
	else if (has(scenario, MR_CAPABILITY_XBZRLE) && sometimes(random, 600))
		heat(scenario, random);
	else if (!has(scenario, MR_CAPABILITY_XBZRLE) && sometimes(random, 200))
		scenario->migration.downtime_limit = 4 * all_bytes(scenario) * 1000 / bandwidth + 100;
	else if (has(scenario, MR_CAPABILITY_XBZRLE) || dirty_rate(scenario) > bandwidth / 2 || sometimes(random, 500))
		pace(scenario, bandwidth / between(random, 2, 8));
}

static void draw_workloads(struct mr_scenario *scenario, uint64_t seed)
{
	struct mr_random random = mr_random_of(seed, FOR_WORKLOADS);
	uint32_t first = 0;

	while (first < scenario->guest.vcpus) {
		const uint32_t count = (uint32_t)between(&random, 1, scenario->guest.vcpus - first);

		draw_workload(scenario, &random, first, count);
		first += count;
	}
	let_converge(scenario, &random);
}

/* ---- Choices ---- */

static void draw_choices(struct mr_scenario *scenario, uint64_t seed)
{
	struct mr_random random = mr_random_of(seed, FOR_CHOICES);
	uint32_t *permille = scenario->choices.permille;

	if (sometimes(&random, 500))
		return;
	for (unsigned i = 0; i < MR_CHOICE_COUNT; i++)
		permille[i] = sometimes(&random, 500) ? (uint32_t)spread(&random, 1, 400) : 0;
	/* Of these a few are enough: the loop has to come to an end, and so has the dirtying. */
	if (permille[MR_CHOICE_TURN] > 100)
		permille[MR_CHOICE_TURN] /= 4;
	if (sometimes(&random, 500))
		scenario->choices.spurious_dirty = (uint32_t)spread(&random, 1, 300);
}

/* ---- Faults ---- */

static void draw_channel(const struct mr_scenario *scenario, struct mr_scenario_fault *fault, struct mr_random *random)
{
	if (has(scenario, MR_CAPABILITY_POSTCOPY_PREEMPT) && sometimes(random, 350))
		fault->channel = MR_CHANNEL_PREEMPT;
	else if (has(scenario, MR_CAPABILITY_MULTIFD) && sometimes(random, 400))
		fault->channel = MR_CHANNEL_MULTIFD;
	if (fault->channel == MR_CHANNEL_MULTIFD)
		fault->multifd = (uint32_t)mr_random_below(random, scenario->migration.multifd_channels);
}

static uint64_t draw_time(const struct mr_scenario *scenario, struct mr_random *random)
{
	const uint64_t most = 2 * pass_time(scenario) + 20 * scenario->link.latency + millisecond;

	return time_below(random, most < 100 * millisecond ? most : 100 * millisecond);
}

/* A moment that a connection may meet. */
static void draw_moment(const struct mr_scenario *scenario, struct mr_scenario_fault *fault, struct mr_random *random)
{
	const uint64_t all = all_bytes(scenario);

	if (sometimes(random, 350)) {
		fault->trigger = MR_TRIGGER_BYTES;
		fault->backward = fault->channel == MR_CHANNEL_MAIN &&
				  has(scenario, POSTCOPY | MR_CAPABILITY_RETURN_PATH) && sometimes(random, 300);
		fault->at = spread(random, 1, fault->backward ? 4 * KIB : all < BYTES_OF_FAULT ? all : BYTES_OF_FAULT);
	} else if (has(scenario, POSTCOPY) && sometimes(random, 600)) {
		fault->trigger = MR_TRIGGER_SWITCH;
		fault->at = about(random, microsecond, 50 * millisecond);
	} else {
		fault->at = draw_time(scenario, random);
	}
}

/* What is refused at the destination: the how manyth, and why. */
static void draw_refusal(const struct mr_scenario *scenario, struct mr_scenario_fault *fault, struct mr_random *random)
{
	static const int errors[] = {5, 12, 14, 17};
	const uint64_t pages = all_bytes(scenario) / scenario->guest.target_page_size;

	fault->error = PICK(random, errors);
	fault->trigger = MR_TRIGGER_COUNT;
	fault->count = spread(random, 1, fault->kind == MR_FAULT_PLACE ? pages : 8);
	if (fault->kind != MR_FAULT_MEMORY)
		return;
	fault->error = 12;
	fault->trigger = MR_TRIGGER_SWITCH;
	fault->at = time_below(random, 20 * millisecond);
	fault->count = between(random, 1, pages);
}

/* What only a postcopy has is drawn for a postcopy only. */
static enum mr_fault_kind draw_kind(const struct mr_scenario *scenario, struct mr_random *random)
{
	static const enum mr_fault_kind kinds[] = {
		MR_FAULT_CUT,     MR_FAULT_CUT,     MR_FAULT_CUT,        MR_FAULT_CUT,
		MR_FAULT_CUT_ALL, MR_FAULT_CUT_ALL, MR_FAULT_CLOSE,      MR_FAULT_SLOW,
		MR_FAULT_STALL,   MR_FAULT_STALL,   MR_FAULT_DELAY_OPEN, MR_FAULT_DEVICE,
		MR_FAULT_PLACE,   MR_FAULT_PLACE,   MR_FAULT_DISCARD,    MR_FAULT_MEMORY,
	};
	const enum mr_fault_kind kind = PICK(random, kinds);
	const bool is_of_postcopy = kind == MR_FAULT_PLACE || kind == MR_FAULT_DISCARD || kind == MR_FAULT_MEMORY;

	return is_of_postcopy && !has(scenario, POSTCOPY) ? MR_FAULT_CUT : kind;
}

static void draw_fault(struct mr_scenario *scenario, struct mr_random *random)
{
	struct mr_scenario_fault *fault = &scenario->faults[scenario->fault_count++];

	mr_scenario_set_defaults(MR_SECTION_FAULT, fault);
	fault->kind = draw_kind(scenario, random);
	snprintf(fault->name, sizeof(fault->name), "%s-%u", mr_fault_kind_name(fault->kind),
		 (unsigned)scenario->fault_count);
	if (mr_fault_counts(fault->kind) || fault->kind == MR_FAULT_MEMORY) {
		draw_refusal(scenario, fault, random);
		return;
	}
	if (fault->kind != MR_FAULT_CUT_ALL)
		draw_channel(scenario, fault, random);
	/* A set-up that takes longer does so from the beginning. */
	if (fault->kind != MR_FAULT_DELAY_OPEN)
		draw_moment(scenario, fault, random);
	fault->duration = about(random, 100 * microsecond, 100 * millisecond);
	fault->percent = (uint32_t)between(random, 1, 99);
}

static void add_cut(struct mr_scenario *scenario, uint64_t at)
{
	struct mr_scenario_fault *fault = &scenario->faults[scenario->fault_count++];

	mr_scenario_set_defaults(MR_SECTION_FAULT, fault);
	fault->kind = MR_FAULT_CUT;
	snprintf(fault->name, sizeof(fault->name), "cut-%u", (unsigned)scenario->fault_count);
	fault->trigger = MR_TRIGGER_SWITCH;
	fault->at = at;
}

/* A cut in postcopy, and one in the recovery from it, which takes some turns on the link. */
static void cut_twice(struct mr_scenario *scenario, struct mr_random *random)
{
	const uint64_t at = about(random, 100 * microsecond, 5 * millisecond), latency = scenario->link.latency;

	add_cut(scenario, at);
	add_cut(scenario, rounded(at + scenario->migration.recover_after + between(random, latency / 2, 7 * latency)));
}

static void draw_faults(struct mr_scenario *scenario, uint64_t seed)
{
	struct mr_random random = mr_random_of(seed, FOR_FAULTS);
	const bool recovers = has(scenario, POSTCOPY) && scenario->migration.recover_after != UINT64_MAX;
	uint64_t count = sometimes(&random, 600) ? 0 : between(&random, 1, 3);

	if (count && recovers && sometimes(&random, 250))
		cut_twice(scenario, &random);
	while (scenario->fault_count < count)
		draw_fault(scenario, &random);
}

/* ---- Operator ---- */

static struct mr_scenario_operation *add_operation(struct mr_scenario *scenario, enum mr_operation_kind kind)
{
	struct mr_scenario_operation *operation = &scenario->operations[scenario->operation_count++];

	*operation = (struct mr_scenario_operation){.kind = kind};
	snprintf(operation->name, sizeof(operation->name), "%s-%u", mr_operation_kind_name(kind),
		 (unsigned)scenario->operation_count);
	return operation;
}

/* The guest stands for a while. */
static void draw_stop(struct mr_scenario *scenario, struct mr_random *random)
{
	const uint64_t at = draw_time(scenario, random);

	add_operation(scenario, MR_OPERATION_STOP_GUEST)->at = at;
	add_operation(scenario, MR_OPERATION_CONTINUE_GUEST)->at = at + about(random, microsecond, 20 * millisecond);
}

static void draw_operations(struct mr_scenario *scenario, uint64_t seed)
{
	static const enum mr_operation_kind in_postcopy[] = {
		MR_OPERATION_PAUSE,  MR_OPERATION_PAUSE,   MR_OPERATION_PAUSE,          MR_OPERATION_PAUSE,
		MR_OPERATION_CANCEL, MR_OPERATION_RECOVER, MR_OPERATION_START_POSTCOPY, MR_OPERATION_STOP_GUEST,
	};
	static const enum mr_operation_kind in_precopy[] = {MR_OPERATION_CANCEL, MR_OPERATION_STOP_GUEST};
	struct mr_random random = mr_random_of(seed, FOR_OPERATOR);
	const bool postcopy = has(scenario, POSTCOPY);
	const enum mr_operation_kind kind = postcopy ? PICK(&random, in_postcopy) : PICK(&random, in_precopy);
	struct mr_scenario_operation *operation;

	if (!sometimes(&random, postcopy ? 250 : 100))
		return;
	if (kind == MR_OPERATION_STOP_GUEST) {
		draw_stop(scenario, &random);
		return;
	}
	operation = add_operation(scenario, kind);
	operation->at = draw_time(scenario, &random);
	if (kind == MR_OPERATION_PAUSE || kind == MR_OPERATION_RECOVER || (postcopy && sometimes(&random, 300))) {
		operation->trigger = MR_TRIGGER_SWITCH;
		operation->at = about(&random, microsecond, 30 * millisecond);
	}
}

void mr_scenario_random(struct mr_scenario *scenario, uint64_t seed)
{
	mr_scenario_default(scenario);
	memset(scenario->name, 0, sizeof(scenario->name));
	memcpy(scenario->name, "random", sizeof("random"));
	scenario->seed = seed;
	draw_mode(scenario, seed);
	draw_guest(scenario, seed);
	draw_link(scenario, seed);
	draw_parameters(scenario, seed);
	draw_workloads(scenario, seed);
	draw_choices(scenario, seed);
	draw_faults(scenario, seed);
	draw_operations(scenario, seed);
}
