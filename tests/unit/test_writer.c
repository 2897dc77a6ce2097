/*
 * test_writer.c: what runs by chance is recorded, and the recording replays: every byte of both ends, every action, the
 * memory; whatever is altered in it is found.
 */
#include "folder.h"
#include "hostile.h"
#include "pair_support.h"
#include "sim/record/migration.h"
#include "sim/record/replay.h"
#include "sim/record/writer.h"

#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char work[] = "/tmp/migref-writer-XXXXXX";
static char recording[sizeof(work) + 16];

static int make_work(void **state)
{
	(void)state;
	if (!mkdtemp(work))
		return -1;
	snprintf(recording, sizeof(recording), "%s/recording", work);
	return 0;
}

/* What a failed test left behind. */
static int remove_recording(void **state)
{
	(void)state;
	return access(recording, F_OK) == 0 ? folder_remove(recording) : 0;
}

static int remove_work(void **state)
{
	(void)state;
	return folder_remove(work);
}

static void expect_one_line(const char *error)
{
	if (error[0] == '\0' || strchr(error, '\n'))
		fail_msg("expected one line, found \"%s\"", error);
}

/* ---- Recording ---- */

static void read_page(void *argument, uint32_t block, uint64_t page, uint8_t *out)
{
	const struct pair *pair = argument;

	memcpy(out, pair->memory[block] + page * PAIR_PAGE, PAIR_PAGE);
}

static int finish(struct mr_writer *writer, struct pair *pair, enum mr_writer_part part, char *error, size_t error_size)
{
	struct mr_outgoing_statistics statistics;
	struct mr_writer_end end = {
		.producer = "test",
		.source = &pair->source_config,
		.destination = &pair->destination_config,
		.statistics = &statistics,
		.description = pair_description(),
		.vcpus = 2,
		.timed = true,
		.total_time = pair->now,
		.scenario = "[a]\nscenario = \xe9\n",
		.seed = UINT64_MAX,
		.argument = pair,
		.page = read_page,
	};

	mr_outgoing_statistics(pair->source, &statistics);
	if (part == MR_WRITER_SOURCE_ALONE)
		end.destination = NULL;
	if (part == MR_WRITER_DESTINATION_ALONE)
		end.statistics = NULL;
	return mr_writer_finish(writer, &end, error, error_size);
}

/* Answers choices by chance, and tells them. */
struct chooser {
	const struct pair *pair;
	struct random random;
	unsigned one_in; /* so many answers is any one */
};

static uint64_t choose(void *argument, enum mr_choice choice, uint64_t canonical)
{
	struct chooser *chooser = argument;
	struct mr_source_log_record record = {
		.kind = MR_SOURCE_LOG_CHOOSE, .choice = choice, .answer = canonical, .count = 1};

	if (random_below(&chooser->random, chooser->one_in) == 0)
		record.answer = random_below(&chooser->random, choice == MR_CHOICE_PAGE ? PAIR_PAGES : 2);
	/* Another turn may end what has not converged, which takes long. */
	if (choice == MR_CHOICE_TURN)
		record.answer = canonical;
	if (chooser->pair->watch)
		chooser->pair->watch->source(chooser->pair->watch->argument, &record, NULL);
	return record.answer;
}

/* Who looks on at one end, and at the connections. */
static const struct mr_watch *half_watch(struct mr_writer *writer, enum mr_writer_part part)
{
	static struct mr_watch half;

	half = *mr_writer_watch(writer);
	if (part == MR_WRITER_SOURCE_ALONE)
		half.destination = NULL;
	else
		half.source = NULL;
	return &half;
}

static void record_part(const char *directory, enum mr_writer_part part, const struct pair_setup *given)
{
	struct chooser chooser = {.random = {given->seed}, .one_in = 8};
	const struct mr_choices choices = {&chooser, choose};
	struct pair_setup with_choices = *given;
	const struct pair_setup *setup = given->unusual_choices ? &with_choices : given;
	struct mr_writer *writer;
	struct pair *pair;
	char error[512];

	with_choices.choices = &choices;
	pair = pair_new(setup);
	chooser.pair = pair;

	if (mr_writer_open_part(&writer, part, directory, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	pair_watch(pair, part == MR_WRITER_WHOLE ? mr_writer_watch(writer) : half_watch(writer, part));
	pair_run(pair);
	if (finish(writer, pair, part, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	mr_writer_free(writer);
	pair_free(pair);
}

static void record_to(const char *directory, const struct pair_setup *given)
{
	record_part(directory, MR_WRITER_WHOLE, given);
}

/* ---- Replaying ---- */

static int replay(struct mr_replay *result, char *error, size_t error_size)
{
	const struct mr_stream_options nothing = {0};
	const struct mr_destination_options destination = {0};
	const struct mr_source_options source = {0};
	struct mr_migration *migration;
	int status;

	if (mr_migration_open(&migration, recording, &nothing, NULL, NULL, error, error_size) < 0)
		return -1;
	status = mr_replay_run(result, migration, &destination, &source, NULL, error, error_size);
	mr_migration_close(migration);
	return status;
}

static void explain(const struct mr_replay *result)
{
	const struct mr_destination *destination = &result->destination;
	const struct mr_source_result *source = &result->source;

	for (size_t i = 0; i < result->wire_count; i++)
		if (!result->wires[i].identical)
			fprintf(stderr, "wire %s: %s\n", result->wires[i].channel, result->wires[i].text);
	for (size_t i = 0; i < result->memory_count; i++)
		if (result->memories[i].compared && !result->memories[i].identical)
			fprintf(stderr, "memory %s differs\n", result->memories[i].block);
	for (size_t i = 0; i < destination->return_count; i++)
		if (!destination->returns[i].identical)
			fprintf(stderr, "return %u: %s\n", destination->returns[i].channel,
				destination->returns[i].text);
	fprintf(stderr, "destination: %s; finished %d, should %d\n", destination->reason, destination->finished,
		destination->should_finish);
	if (!destination->lines_of_actions.identical)
		fprintf(stderr, "actions: line %llu\n  %s\n  %s\n",
			(unsigned long long)destination->lines_of_actions.lines + 1,
			destination->lines_of_actions.recorded, destination->lines_of_actions.made);
	if (destination->blocktime.compared && !destination->blocktime.identical)
		fprintf(stderr, "blocktime: %s\n", destination->blocktime.text);
	fprintf(stderr, "source: %s; finished %d\n", source->reason, source->finished);
	if (source->difference.found)
		fprintf(stderr, "source ch%u at %llu: recorded %s, made %s\n", source->difference.channel,
			(unsigned long long)source->difference.offset, source->difference.recorded,
			source->difference.made);
	for (size_t i = 0; i < source->wire_count; i++)
		if (!source->wires[i].identical)
			fprintf(stderr, "source ch%u: recorded %llu, made %llu\n", source->wires[i].channel,
				(unsigned long long)source->wires[i].recorded,
				(unsigned long long)source->wires[i].made);
	for (size_t i = 0; i < source->figure_count; i++)
		if (source->figures[i].told != source->figures[i].counted)
			fprintf(stderr, "figure %s: %llu, counted %llu\n", source->figures[i].name,
				(unsigned long long)source->figures[i].told,
				(unsigned long long)source->figures[i].counted);
}

static bool figures_agree(const struct mr_replay *result)
{
	for (size_t i = 0; i < result->source.figure_count; i++)
		if (result->source.figures[i].told != result->source.figures[i].counted)
			return false;
	return result->source.figure_count >= 12;
}

static bool within(const char *release, const char *since, const char *until)
{
	struct mr_profile profile;

	mr_profile_init(&profile, release);
	return mr_profile_within(&profile, since, until);
}

/* Releases that never write a compressed packet of nothing but zeros lose what it stands for: zero-pages-dropped. */
static bool holds(const struct mr_replay *result, const struct pair_setup *setup)
{
	bool wires = true;

	for (size_t i = 0; i < result->wire_count; i++)
		wires &= result->wires[i].identical;
	if (!setup->method || !within(setup->source, "9.0", "9.2"))
		return result->holds;
	return wires && mr_destination_holds(&result->destination) && mr_source_holds(&result->source);
}

/* Everything that is compared was there to be compared, and holds. */
static void expect_holds(const struct pair_setup *setup)
{
	struct mr_replay result;
	char error[512] = "";

	if (replay(&result, error, sizeof(error)) < 0)
		fail_msg("%s seed %llu: %s", setup->source, (unsigned long long)setup->seed, error);
	if (!holds(&result, setup) || !figures_agree(&result) || !result.destination.lines_of_actions.identical ||
	    !result.destination.from_log || !result.source.from_log || result.source.exempt) {
		explain(&result);
		fail_msg("%s seed %llu does not hold", setup->source, (unsigned long long)setup->seed);
	}
	mr_replay_clear(&result);
}

#define MR_RELEASE(name) name,
static const char *const releases[] = {
#include "profile.def"
};
#undef MR_RELEASE

enum { RELEASES = sizeof(releases) / sizeof(releases[0]), FIRST_SEED = 1, SEEDS = 24 };

/* In every third release, each time beginning with another. */
static void in_releases(struct pair_setup setup, const char *since, const char *until)
{
	static unsigned turn;
	const unsigned step = RUNNING_ON_VALGRIND ? 11 : 3;

	for (unsigned i = turn++ % step; i < RELEASES; i += step) {
		if (!within(releases[i], since, until))
			continue;
		setup.source = releases[i];
		setup.seed = i + 1;
		record_to(recording, &setup);
		expect_holds(&setup);
		assert_int_equal(folder_remove(recording), 0);
	}
}

/* ---- Modes ---- */

enum {
	POSTCOPY = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_RETURN_PATH,
	PREEMPT = POSTCOPY | MR_CAPABILITY_POSTCOPY_PREEMPT,
};

static void precopy(void **state)
{
	(void)state;
	in_releases((struct pair_setup){0}, "2.5", "");
	in_releases((struct pair_setup){.capabilities = MR_CAPABILITY_RETURN_PATH,
					.pause_before_switchover = true,
					.auto_converge = true},
		    "3.0", "");
}

static void xbzrle(void **state)
{
	(void)state;
	in_releases((struct pair_setup){.capabilities = MR_CAPABILITY_XBZRLE}, "2.5", "");
}

static void zero_detection(void **state)
{
	static const enum mr_zero_detection modes[] = {MR_ZERO_NONE, MR_ZERO_LEGACY, MR_ZERO_MULTIFD};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		in_releases((struct pair_setup){.zero_detection = modes[i]}, "9.0", "");
		in_releases((struct pair_setup){.zero_detection = modes[i],
						.capabilities = MR_CAPABILITY_MULTIFD,
						.multifd_channels = 3},
			    "9.0", "");
	}
}

static void postcopy(void **state)
{
	(void)state;
	in_releases((struct pair_setup){.capabilities = POSTCOPY, .switches = true, .blocktime = true}, "2.5", "");
	in_releases((struct pair_setup){.capabilities = POSTCOPY,
					.switches = true,
					.release_ram = true,
					.pause_before_switchover = true},
		    "2.9", "");
	in_releases((struct pair_setup){.capabilities = POSTCOPY, .switches = true, .huge_page_size = 4 * PAIR_PAGE},
		    "3.0", "");
}

static void recovered(void **state)
{
	(void)state;
	in_releases((struct pair_setup){.capabilities = POSTCOPY, .switches = true, .cuts = 3}, "3.0", "");
	in_releases(
		(struct pair_setup){
			.capabilities = PREEMPT, .switches = true, .huge_page_size = 4 * PAIR_PAGE, .cuts = 2},
		"7.1", "");
}

static void preempt(void **state)
{
	(void)state;
	in_releases((struct pair_setup){.capabilities = PREEMPT, .switches = true, .blocktime = true}, "7.1", "");
}

static void multifd(void **state)
{
	(void)state;
	in_releases((struct pair_setup){.capabilities = MR_CAPABILITY_MULTIFD, .multifd_channels = 2}, "4.0", "");
	in_releases((struct pair_setup){.capabilities = POSTCOPY | MR_CAPABILITY_MULTIFD,
					.switches = true,
					.multifd_channels = 2},
		    "10.1", "");
}

static void compressed(void **state)
{
	static const char *const methods[] = {"zlib", "zstd"};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const struct pair_setup setup = {
			.capabilities = MR_CAPABILITY_MULTIFD, .multifd_channels = 2, .method = methods[i]};

		in_releases(setup, "5.0", "8.2");
		in_releases(setup, "9.0", "");
	}
}

/* Sections that end early, pages out of their order, short packets, pages twice. */
/* An end that stands alone: it replays by its log, whatever can be known of the other end. */
static void alone(void **state)
{
	static const enum mr_writer_part parts[] = {MR_WRITER_SOURCE_ALONE, MR_WRITER_DESTINATION_ALONE};
	static const struct pair_setup setups[] = {
		{.source = "7.2", .seed = 1, .capabilities = MR_CAPABILITY_XBZRLE},
		{.source = "9.2", .seed = 2, .capabilities = POSTCOPY, .switches = true, .blocktime = true},
		{.source = "8.2", .seed = 3, .capabilities = MR_CAPABILITY_MULTIFD, .multifd_channels = 2},
	};

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		const enum mr_writer_part part = parts[i % 2];
		struct mr_replay result;
		char error[512] = "";
		bool held;

		record_part(recording, part, &setups[i / 2]);
		if (replay(&result, error, sizeof(error)) < 0)
			fail_msg("%s", error);
		held = part == MR_WRITER_SOURCE_ALONE ? mr_source_holds(&result.source)
						      : mr_destination_holds(&result.destination) &&
								result.destination.lines_of_actions.identical;
		if (!held)
			explain(&result);
		assert_true(held);
		for (size_t j = 0; j < result.wire_count; j++)
			assert_true(result.wires[j].identical);
		assert_int_equal(result.source.from_log, part == MR_WRITER_SOURCE_ALONE);
		assert_int_equal(result.destination.from_log, part == MR_WRITER_DESTINATION_ALONE);
		assert_int_equal(result.source.figure_count > 0, part == MR_WRITER_SOURCE_ALONE);
		mr_replay_clear(&result);
		assert_int_equal(folder_remove(recording), 0);
	}
}

static void unusual(void **state)
{
	(void)state;
	in_releases((struct pair_setup){.unusual_choices = MR_CHOICES_UNUSUAL}, "2.5", "");
	in_releases((struct pair_setup){.capabilities = MR_CAPABILITY_XBZRLE, .unusual_choices = MR_CHOICES_UNUSUAL},
		    "2.5", "");
	in_releases((struct pair_setup){.capabilities = MR_CAPABILITY_MULTIFD,
					.multifd_channels = 3,
					.unusual_choices = MR_CHOICES_UNUSUAL},
		    "5.0", "");
	in_releases((struct pair_setup){.capabilities = PREEMPT,
					.switches = true,
					.huge_page_size = 4 * PAIR_PAGE,
					.unusual_choices = MR_CHOICES_UNUSUAL},
		    "7.1", "");
}

/* Migrations that end otherwise than well, wherever they stand. */
static void failed(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const bool cancels = i == 1;

		in_releases((struct pair_setup){.breaks = !cancels, .cancels = cancels}, "2.5", "");
		in_releases((struct pair_setup){.capabilities = MR_CAPABILITY_XBZRLE | MR_CAPABILITY_RETURN_PATH,
						.breaks = !cancels,
						.cancels = cancels},
			    "3.0", "");
		in_releases(
			(struct pair_setup){
				.capabilities = POSTCOPY, .switches = true, .breaks = !cancels, .cancels = cancels},
			"2.5", "");
		in_releases(
			(struct pair_setup){
				.capabilities = PREEMPT, .switches = true, .breaks = !cancels, .cancels = cancels},
			"7.1", "");
		in_releases((struct pair_setup){.capabilities = MR_CAPABILITY_MULTIFD,
						.multifd_channels = 2,
						.breaks = !cancels,
						.cancels = cancels},
			    "4.0", "");
	}
}

/* Whatever goes together, as a seed has it. */
static struct pair_setup draw_setup(uint64_t seed)
{
	struct random random = {seed * 7919 + 11};
	const char *release = releases[random_below(&random, RELEASES)];
	struct pair_setup setup = {.source = release, .seed = seed};
	const bool postcopy_too = random_below(&random, 2), multifd_too = random_below(&random, 3) == 0;

	setup.destination = random_below(&random, 3) ? NULL : releases[random_below(&random, RELEASES)];
	if (postcopy_too)
		setup.capabilities = POSTCOPY;
	else if (random_below(&random, 2) && within(release, "3.0", ""))
		setup.capabilities = MR_CAPABILITY_RETURN_PATH;
	setup.switches = postcopy_too;
	if (postcopy_too && within(release, "7.1", "") && random_below(&random, 2))
		setup.capabilities |= MR_CAPABILITY_POSTCOPY_PREEMPT;
	if (multifd_too && within(release, postcopy_too ? "10.1" : "4.0", "")) {
		setup.capabilities |= MR_CAPABILITY_MULTIFD;
		setup.multifd_channels = 1 + (uint32_t)random_below(&random, 4);
		setup.destination = NULL; /* another release may lose zero pages */
		if (within(release, "5.0", ""))
			setup.method = ((const char *[]){NULL, "zlib", "zstd"})[random_below(&random, 3)];
	} else if (!postcopy_too && random_below(&random, 3) == 0) {
		setup.capabilities |= MR_CAPABILITY_XBZRLE;
	}
	if (within(release, "9.0", ""))
		setup.zero_detection = (enum mr_zero_detection)random_below(&random, 4);
	setup.huge_page_size = within(release, "3.0", "") && random_below(&random, 3) == 0 ? 4 * PAIR_PAGE : 0;
	setup.release_ram = random_below(&random, 5) == 0;
	setup.auto_converge = random_below(&random, 3) == 0;
	setup.blocktime = random_below(&random, 2);
	setup.cuts = within(release, "3.0", "") ? (unsigned)random_below(&random, 3) : 0;
	/* A fault handler that asks before RESUME may get between a bitmap's message and its bits (REC-011). */
	setup.strict = setup.cuts || random_below(&random, 3) == 0;
	setup.breaks = random_below(&random, 6) == 0;
	setup.refuses = random_below(&random, 2);
	setup.handlers = random_below(&random, 2);
	setup.unassembled = random_below(&random, 4) == 0;
	setup.cancels = random_below(&random, 8) == 0;
	setup.unusual_choices = random_below(&random, 3) ? 0 : MR_CHOICES_UNUSUAL;
	setup.room = random_below(&random, 3) ? 0 : 1 + (uint32_t)random_below(&random, 100000);
	return setup;
}

static void anything(void **state)
{
	const unsigned seeds = RUNNING_ON_VALGRIND ? 2 : SEEDS;

	(void)state;
	for (uint64_t seed = FIRST_SEED; seed < FIRST_SEED + seeds; seed++) {
		const struct pair_setup setup = draw_setup(seed);

		record_to(recording, &setup);
		expect_holds(&setup);
		assert_int_equal(folder_remove(recording), 0);
	}
}

/* ---- Altered ---- */

/* A recording of this setup with plain files. */
static void record_plain(const struct pair_setup *setup)
{
	char command[256];

	record_to(recording, setup);
	snprintf(command, sizeof(command), "zstd -dq --rm %s/*.zst", recording);
	assert_int_equal(system(command), 0);
}

static void path_of(const char *name, char path[256])
{
	snprintf(path, 256, "%s/%s", recording, name);
}

static char *read_whole(const char *name, size_t *length)
{
	char path[256], *bytes;
	FILE *file;

	path_of(name, path);
	file = fopen(path, "rb");
	if (!file)
		return NULL;
	fseek(file, 0, SEEK_END);
	*length = (size_t)ftell(file);
	rewind(file);
	bytes = malloc(*length + 1);
	assert_non_null(bytes);
	assert_int_equal(fread(bytes, 1, *length, file), *length);
	bytes[*length] = '\0';
	fclose(file);
	return bytes;
}

static void write_whole(const char *name, const char *bytes, size_t length)
{
	char path[256];
	FILE *file;

	path_of(name, path);
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
}

/* The replay as it is does not hold, or says in one line what it cannot read. */
static void expect_found(const char *what, uint64_t where)
{
	struct mr_replay result;
	char error[512] = "";

	if (replay(&result, error, sizeof(error)) < 0) {
		expect_one_line(error);
		return;
	}
	if (result.holds)
		fail_msg("%s %llu was altered, and the replay holds", what, (unsigned long long)where);
	mr_replay_clear(&result);
}

static void flip_bytes(const char *name, struct random *random, unsigned times)
{
	size_t length = 0;
	char *bytes = read_whole(name, &length);

	for (unsigned i = 0; bytes && length && i < times; i++) {
		const size_t at = (size_t)random_below(random, length);
		const char mask = (char)(1 << random_below(random, 8));

		bytes[at] ^= mask;
		write_whole(name, bytes, length);
		expect_found(name, at);
		bytes[at] ^= mask;
		write_whole(name, bytes, length);
	}
	free(bytes);
}

/* A byte more or less is another length than the manifest's. */
static void change_length(const char *name)
{
	size_t length = 0;
	char *bytes = read_whole(name, &length);

	if (bytes && length) {
		write_whole(name, bytes, length - 1);
		expect_found(name, length - 1);
		write_whole(name, bytes, length + 1);
		expect_found(name, length + 1);
		write_whole(name, bytes, length);
	}
	free(bytes);
}

static void altered_streams(void **state)
{
	static const struct pair_setup setups[] = {
		{.source = "11.1", .capabilities = MR_CAPABILITY_RETURN_PATH, .seed = 1},
		{.source = "7.2", .capabilities = PREEMPT, .switches = true, .cuts = 1, .seed = 3},
		{.source = "8.2",
		 .capabilities = MR_CAPABILITY_MULTIFD,
		 .multifd_channels = 2,
		 .method = "zlib",
		 .seed = 5},
		{.source = "10.0", .capabilities = POSTCOPY, .switches = true, .breaks = true, .seed = 9},
	};
	const unsigned times = RUNNING_ON_VALGRIND ? 1 : 6;
	const size_t count = RUNNING_ON_VALGRIND ? 2 : sizeof(setups) / sizeof(setups[0]);
	struct random random = {77};
	char name[16];

	(void)state;
	for (size_t i = 0; i < count; i++) {
		record_plain(&setups[i]);
		expect_holds(&setups[i]);
		for (unsigned channel = 0; channel < 4; channel++) {
			snprintf(name, sizeof(name), "ch%u.fwd", channel);
			flip_bytes(name, &random, times);
			change_length(name);
			snprintf(name, sizeof(name), "ch%u.ret", channel);
			flip_bytes(name, &random, times);
			change_length(name);
		}
		if (!setups[i].breaks)
			flip_bytes("source.ram", &random, times);
		expect_holds(&setups[i]);
		assert_int_equal(folder_remove(recording), 0);
	}
}

/* The `number`-th line that begins so, counted from 0: where it is, and its length with its end. NULL: there is none.
 */
static char *find_line(char *bytes, const char *begin, size_t number, size_t *length)
{
	for (char *at = bytes; *at; at += *length) {
		*length = strcspn(at, "\n") + 1;
		if (strncmp(at, begin, strlen(begin)) == 0 && number-- == 0)
			return at;
	}
	return NULL;
}

static size_t count_lines(char *bytes, const char *begin)
{
	size_t count = 0, length;

	while (find_line(bytes, begin, count, &length))
		count++;
	return count;
}

/* Leaves some of these lines out: what is left is found not to be the whole. */
static void expect_missed(const char *name, const char *begin, size_t first, size_t count)
{
	size_t length, rest, line_length;
	char *bytes = read_whole(name, &length);
	char *whole = malloc(length);

	assert_non_null(whole);
	memcpy(whole, bytes, length);
	rest = length;
	for (size_t i = 0; i < count; i++) {
		char *line = find_line(bytes, begin, first, &line_length);

		if (!line)
			fail_msg("%s has no line %s", name, begin);
		rest -= line_length;
		memmove(line, line + line_length, rest + 1 - (size_t)(line - bytes));
	}
	write_whole(name, bytes, rest);
	expect_found(name, first);
	write_whole(name, whole, length);
	free(whole);
	free(bytes);
}

/* One line left out, so often as told. */
static void expect_one_missed(const char *name, const char *begin, struct random *random, unsigned times)
{
	size_t length;
	char *bytes = read_whole(name, &length);
	const size_t count = count_lines(bytes, begin);

	free(bytes);
	for (unsigned i = 0; i < times; i++)
		expect_missed(name, begin, (size_t)random_below(random, count + (count == 0)), 1);
}

/* Where no other line could stand for the one that is missing. */
static void altered_logs(void **state)
{
	static const char destination[] = "nondeterminism.jsonl", source[] = "source-nondeterminism.jsonl";
	const struct pair_setup setup = {.source = "11.1",
					 .capabilities = PREEMPT,
					 .switches = true,
					 .cuts = 1,
					 .unusual_choices = MR_CHOICES_UNUSUAL,
					 .blocktime = true,
					 .seed = 3};
	const unsigned times = RUNNING_ON_VALGRIND ? 1 : 5;
	struct random random = {13};
	char *bytes;
	size_t length, dirty;

	(void)state;
	record_plain(&setup);
	expect_holds(&setup);
	expect_missed(destination, "{\"log\"", 0, 1);
	expect_one_missed(destination, "{\"open\"", &random, times);
	expect_one_missed(destination, "{\"step\"", &random, times);
	expect_one_missed(destination, "{\"fault\"", &random, times);
	expect_missed(source, "{\"source-log\"", 0, 1);
	expect_one_missed(source, "{\"step\"", &random, times);
	expect_missed(source, "{\"command\":\"start-postcopy\"", 0, 1);
	bytes = read_whole(source, &length);
	dirty = count_lines(bytes, "{\"dirty\"");
	free(bytes);
	expect_missed(source, "{\"dirty\"", 0, dirty);
	expect_holds(&setup);
	assert_int_equal(folder_remove(recording), 0);
}

static struct mr_action_comparison compare_actions(void)
{
	struct mr_action_comparison comparison;
	struct mr_replay result;
	char error[512] = "";

	if (replay(&result, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	comparison = result.destination.lines_of_actions;
	assert_int_equal(result.holds, comparison.identical);
	mr_replay_clear(&result);
	return comparison;
}

static void altered_actions(void **state)
{
	const struct pair_setup setup = {.source = "11.1", .capabilities = POSTCOPY, .switches = true, .seed = 4};
	struct mr_action_comparison comparison;
	size_t length, line_length;
	char *bytes, *line;

	(void)state;
	record_plain(&setup);
	bytes = read_whole("actions.jsonl", &length);
	comparison = compare_actions();
	assert_true(comparison.there && comparison.identical);
	assert_int_equal(comparison.lines, count_lines(bytes, "{"));

	line = find_line(bytes, "{", 17, &line_length);
	line[line_length - 3] ^= 1;
	write_whole("actions.jsonl", bytes, length);
	comparison = compare_actions();
	assert_false(comparison.identical);
	assert_int_equal(comparison.lines, 17);
	assert_memory_equal(comparison.recorded, line, line_length - 1 < 50 ? line_length - 1 : 50);
	assert_int_equal(strlen(comparison.made), line_length - 1);
	line[line_length - 3] ^= 1;
	assert_memory_equal(comparison.made, line, line_length - 1);

	/* One less, one more, one cut short, one that is too long to be shown. */
	line = find_line(bytes, "{", comparison.lines, &line_length);
	write_whole("actions.jsonl", bytes, (size_t)(line - bytes));
	comparison = compare_actions();
	assert_false(comparison.identical);
	assert_string_equal(comparison.recorded, "");
	assert_string_not_equal(comparison.made, "");
	write_whole("actions.jsonl", bytes, (size_t)(line - bytes) + 5);
	assert_string_equal(compare_actions().recorded, "{\"n\":");
	bytes = realloc(bytes, length + 1000);
	assert_non_null(bytes);
	memset(bytes + length, '7', 1000);
	write_whole("actions.jsonl", bytes, length + 1000);
	comparison = compare_actions();
	assert_false(comparison.identical);
	assert_string_equal(comparison.made, "");
	assert_int_equal(strlen(comparison.recorded), MR_ACTION_LINE_SHOWN - 1);
	assert_string_equal(comparison.recorded + MR_ACTION_LINE_SHOWN - 4, "...");
	write_whole("actions.jsonl", "", 0);
	assert_int_equal(compare_actions().lines, 0);
	free(bytes);
	assert_int_equal(folder_remove(recording), 0);
}

/* ---- What the manifest says ---- */

static json_t *read_manifest(void)
{
	char path[256];
	json_t *manifest;

	path_of("manifest.json", path);
	manifest = json_load_file(path, 0, NULL);
	assert_non_null(manifest);
	return manifest;
}

static void write_manifest(const json_t *manifest)
{
	char path[256];

	path_of("manifest.json", path);
	assert_int_equal(json_dump_file(manifest, path, JSON_INDENT(1)), 0);
}

static void expect_text(const json_t *object, const char *key, const char *value)
{
	assert_non_null(json_object_get(object, key));
	assert_string_equal(json_string_value(json_object_get(object, key)), value);
}

static bool lists(const json_t *array, const char *name)
{
	for (size_t i = 0; i < json_array_size(array); i++)
		if (strcmp(json_string_value(json_array_get(array, i)), name) == 0)
			return true;
	return false;
}

static void manifest_says(void **state)
{
	const struct pair_setup setup = {.source = "9.2",
					 .destination = "11.1",
					 .capabilities = PREEMPT,
					 .switches = true,
					 .release_ram = true,
					 .pause_before_switchover = true,
					 .auto_converge = true,
					 .blocktime = true,
					 .huge_page_size = 4 * PAIR_PAGE,
					 .seed = 1};
	static const char *const capabilities[] = {"postcopy-ram",      "return-path",   "postcopy-preempt",
						   "release-ram",       "auto-converge", "pause-before-switchover",
						   "postcopy-blocktime"};
	const json_t *channels, *source, *destination;
	json_t *manifest;

	(void)state;
	record_to(recording, &setup);
	manifest = read_manifest();
	assert_int_equal(json_integer_value(json_object_get(manifest, "format")), 1);
	expect_text(manifest, "producer", "test");
	expect_text(manifest, "source_qemu", "9.2");
	expect_text(manifest, "destination_qemu", "11.1");
	expect_text(manifest, "machine", "pc-i440fx-9.2");
	expect_text(manifest, "status", "completed");
	expect_text(manifest, "scenario", "[a]\nscenario = \xc3\xa9\n");
	expect_text(manifest, "seed", "18446744073709551615");
	expect_text(manifest, "backend", "hugetlb");
	assert_int_equal(json_integer_value(json_object_get(manifest, "host_page_size")), 4 * PAIR_PAGE);
	for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++)
		assert_true(lists(json_object_get(manifest, "capabilities"), capabilities[i]));
	channels = json_object_get(manifest, "channels");
	assert_int_equal(json_array_size(channels), 2);
	expect_text(json_array_get(channels, 0), "role", "main");
	expect_text(json_array_get(channels, 1), "role", "preempt");
	source = json_object_get(manifest, "source");
	expect_text(source, "status", "completed");
	assert_true(json_integer_value(json_object_get(json_object_get(source, "ram"), "transferred")) > 0);
	destination = json_object_get(manifest, "destination");
	expect_text(destination, "status", "completed");
	assert_int_equal(json_array_size(json_object_get(destination, "postcopy-vcpu-blocktime")), 2);
	assert_int_equal(json_array_size(json_object_get(destination, "postcopy-latency-dist")), MR_BLOCKTIME_BUCKETS);
	json_decref(manifest);
	assert_int_equal(folder_remove(recording), 0);
}

static void expect_refused(const json_t *manifest, const char *message)
{
	struct mr_replay result;
	char error[512] = "";

	write_manifest(manifest);
	assert_int_equal(replay(&result, error, sizeof(error)), -1);
	expect_one_line(error);
	if (!strstr(error, message))
		fail_msg("expected %s, found %s", message, error);
}

static void bad_manifests(void **state)
{
	static const struct {
		const char *channels, *message;
	} rows[] = {
		{"{}", "channels: expected an array, found an object"},
		{"[]", "channels: expected 1, as there are files, found 0"},
		{"[7]", "channels: expected objects, found a number"},
		{"[{}]", "role: expected a string, found nothing"},
		{"[{\"role\":\"return\"}]", "role: expected main, recovery, preempt or multifd, found return"},
		{"[{\"role\":\"main\",\"forward\":7}]", "forward: expected an object, found a number"},
		{"[{\"role\":\"main\",\"forward\":{}}]", "bytes: expected a whole number, found nothing"},
		{"[{\"role\":\"main\",\"return\":{\"bytes\":1}}]", "sha256: expected a string, found nothing"},
		{"[{\"role\":\"main\",\"return\":{\"bytes\":1,\"sha256\":\"0\"}}]", "sha256: expected 64 digits"},
	};
	const struct pair_setup setup = {.source = "11.1", .capabilities = MR_CAPABILITY_RETURN_PATH, .seed = 1};
	json_t *manifest;

	(void)state;
	record_to(recording, &setup);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		manifest = read_manifest();
		json_object_set_new(manifest, "channels", json_loads(rows[i].channels, 0, NULL));
		expect_refused(manifest, rows[i].message);
		json_decref(manifest);
	}
	manifest = read_manifest();
	json_object_del(manifest, "channels");
	json_object_set_new(manifest, "target_page_size", json_integer(5000));
	expect_refused(manifest, "target_page_size: expected a power of two from 1024 to 65536, found 5000");
	json_object_set_new(manifest, "target_page_size", json_integer(8192));
	expect_refused(manifest, "LOG-001");
	/* Nothing has to be there but what a log says. */
	json_object_del(manifest, "target_page_size");
	write_manifest(manifest);
	expect_holds(&setup);
	json_object_set_new(manifest, "source_qemu", json_string("11.0"));
	expect_refused(manifest, "line 1: header: expected the recording's source");
	json_object_set_new(manifest, "source_qemu", json_string("11.1"));
	json_object_set_new(manifest, "destination_qemu", json_string("11.0"));
	expect_refused(manifest, "LOG-001");
	json_decref(manifest);
	assert_int_equal(folder_remove(recording), 0);
}

static void bad_description(void **state)
{
	const struct pair_setup setup = {.source = "11.1", .capabilities = MR_CAPABILITY_RETURN_PATH, .seed = 1};
	struct mr_replay result;
	char error[512] = "";

	(void)state;
	record_plain(&setup);
	write_whole("description.json", "{\"devices\":7}", 13);
	assert_int_equal(replay(&result, error, sizeof(error)), -1);
	expect_one_line(error);
	assert_non_null(strstr(error, "description.json: no array \"devices\""));
	assert_int_equal(folder_remove(recording), 0);
}

/* ---- The timeline ---- */

static void expect_timeline(const struct pair_setup *setup)
{
	const uint64_t millisecond = 1000000;
	uint64_t end[PAIR_CONNECTIONS][3] = {{0}}, before = 0;
	struct mr_recording *opened;
	struct mr_timeline timeline;
	unsigned opens = 0, cuts = 0;
	char error[512] = "";

	assert_int_equal(mr_recording_open(&opened, recording, error, sizeof(error)), 0);
	assert_int_equal(mr_recording_read_timeline(opened, &timeline, error, sizeof(error)), 0);
	for (size_t i = 0; i < timeline.count; i++) {
		const struct mr_timeline_event *event = &timeline.events[i];

		assert_true(event->t_ns >= before);
		before = event->t_ns;
		opens += event->kind == MR_TIMELINE_OPEN;
		cuts += event->kind == MR_TIMELINE_CUT;
		if (event->kind != MR_TIMELINE_CHUNK)
			continue;
		assert_int_equal(event->offset, end[event->channel][event->direction]);
		assert_true(event->length > 0);
		end[event->channel][event->direction] += event->length;
	}
	assert_int_equal(opens, opened->channel_count);
	assert_int_equal(cuts > 0, setup->cuts > 0);
	assert_true(cuts <= setup->cuts);
	/* Lines are put together, not left as single records. */
	assert_true(timeline.count < before / millisecond * 4 + 200);
	for (unsigned i = 0; i < opened->channel_count; i++) {
		assert_true(end[i][MR_TIMELINE_FORWARD] <= opened->channels[i].forward.bytes);
		assert_true(end[i][MR_TIMELINE_RETURN] <= opened->channels[i].backward.bytes);
		if (cuts == 0)
			assert_int_equal(end[i][MR_TIMELINE_FORWARD], opened->channels[i].forward.bytes);
	}
	mr_timeline_clear(&timeline);
	mr_recording_close(opened);
}

static void timelines(void **state)
{
	const struct pair_setup setups[] = {
		{.source = "11.1", .capabilities = POSTCOPY, .switches = true, .seed = 1},
		{.source = "8.2", .capabilities = PREEMPT, .switches = true, .cuts = 2, .strict = true, .seed = 2},
		{.source = "7.2", .capabilities = MR_CAPABILITY_MULTIFD, .multifd_channels = 3, .seed = 3},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(setups) / sizeof(setups[0]); i++) {
		record_to(recording, &setups[i]);
		expect_timeline(&setups[i]);
		assert_int_equal(folder_remove(recording), 0);
	}
}

/* ---- The same run, the same bytes ---- */

static void expect_same_files(const char *one, const char *other)
{
	char command[256];

	snprintf(command, sizeof(command), "diff -r %s %s", one, other);
	assert_int_equal(system(command), 0);
}

static void determinism(void **state)
{
	char other[sizeof(recording) + 8];

	(void)state;
	snprintf(other, sizeof(other), "%s-again", recording);
	for (uint64_t seed = 1; seed <= (RUNNING_ON_VALGRIND ? 1 : 8); seed++) {
		const struct pair_setup setup = draw_setup(seed);

		record_to(recording, &setup);
		record_to(other, &setup);
		expect_same_files(recording, other);
		assert_int_equal(folder_remove(recording), 0);
		assert_int_equal(folder_remove(other), 0);
	}
}

/* ---- What cannot be written ---- */

static bool is_there(const char *name)
{
	char path[256];

	path_of(name, path);
	return access(path, F_OK) == 0;
}

static void expect_not_opened(const char *directory, const char *message)
{
	struct mr_writer *writer;
	char error[512] = "";

	assert_int_equal(mr_writer_open(&writer, directory, error, sizeof(error)), -1);
	assert_null(writer);
	expect_one_line(error);
	if (!strstr(error, directory) || !strstr(error, message))
		fail_msg("%s: expected %s, found %s", directory, message, error);
}

static void directories(void **state)
{
	const struct pair_setup setup = {.source = "11.1", .seed = 1};
	char path[256], below[300];

	(void)state;
	snprintf(below, sizeof(below), "%s/parent/recording", work);
	expect_not_opened(below, "No such file or directory");
	/* An empty one is as good as none. */
	assert_int_equal(mkdir(recording, 0700), 0);
	record_to(recording, &setup);
	expect_holds(&setup);
	expect_not_opened(recording, "expected a directory that is new or empty, found files in it");
	path_of("manifest.json", path);
	expect_not_opened(path, "Not a directory");
	snprintf(below, sizeof(below), "%s/recording", path);
	expect_not_opened(below, "Not a directory");
	assert_int_equal(folder_remove(recording), 0);
}

/* Files may get no larger than this: what is written is not whole, says so, and does not look whole. */
static bool record_within(rlim_t limit, const struct pair_setup *setup)
{
	struct pair *pair = pair_new(setup);
	struct mr_writer *writer;
	struct rlimit before, less;
	char error[512] = "";
	int status;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	less = (struct rlimit){limit, before.rlim_max};
	assert_int_equal(mr_writer_open(&writer, recording, error, sizeof(error)), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
	pair_watch(pair, mr_writer_watch(writer));
	pair_run(pair);
	if (mr_writer_failed(writer))
		assert_int_not_equal(limit, RLIM_INFINITY);
	status = finish(writer, pair, MR_WRITER_WHOLE, error, sizeof(error));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	mr_writer_free(writer);
	pair_free(pair);
	if (status < 0) {
		expect_one_line(error);
		if (strncmp(error, recording, strlen(recording)) != 0 || !strstr(error, ": File too large"))
			fail_msg("%s", error);
	}
	return status == 0;
}

static void full_disk(void **state)
{
	static const rlim_t limits[] = {0, 1, 100, 500, 1000, 1500, 3000, 10000, 70000, 150000, RLIM_INFINITY};
	const struct pair_setup setup = {.source = "11.1", .capabilities = POSTCOPY, .switches = true, .seed = 2};
	unsigned failures = 0;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i += RUNNING_ON_VALGRIND ? 5 : 1) {
		const bool whole = record_within(limits[i], &setup);

		assert_int_equal(is_there("manifest.json"), whole);
		assert_false(is_there("manifest.json.part"));
		if (whole)
			expect_holds(&setup);
		failures += !whole;
		assert_int_equal(folder_remove(recording), 0);
	}
	assert_true(failures > (RUNNING_ON_VALGRIND ? 1 : 5) && failures < sizeof(limits) / sizeof(limits[0]));
	signal(SIGXFSZ, SIG_DFL);
}

/* Somebody else's files in the directory are not written over, the manifest's either. */
static void names_taken(void **state)
{
	static const char *const names[] = {"ch0.fwd.zst",
					    "ch0.ret.zst",
					    "timeline.jsonl.zst",
					    "nondeterminism.jsonl.zst",
					    "source-nondeterminism.jsonl.zst",
					    "source.ram.zst",
					    "description.json.zst",
					    "manifest.json.part"};
	const struct pair_setup setup = {.source = "11.1", .capabilities = POSTCOPY, .switches = true, .seed = 2};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct pair *pair = pair_new(&setup);
		struct mr_writer *writer;
		char error[512] = "";

		assert_int_equal(mr_writer_open(&writer, recording, error, sizeof(error)), 0);
		write_whole(names[i], "x", 1);
		pair_watch(pair, mr_writer_watch(writer));
		pair_run(pair);
		assert_int_equal(finish(writer, pair, MR_WRITER_WHOLE, error, sizeof(error)), -1);
		expect_one_line(error);
		assert_non_null(strstr(error, ": File exists"));
		assert_false(is_there("manifest.json"));
		assert_true(is_there(names[i]));
		mr_writer_free(writer);
		pair_free(pair);
		assert_int_equal(folder_remove(recording), 0);
	}
}

/* A machine that no log can describe, and connections that no recording has. */
static void not_told(void **state)
{
	static const char *const messages[] = {"nondeterminism.jsonl: a log cannot tell what the destination",
					       "source-nondeterminism.jsonl: a log cannot tell what the source",
					       "expected connections 0 to 299 in their order, found 7"};

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		const struct pair_setup setup = {.source = "11.1", .seed = 1};
		const struct mr_source_log_record step = {.kind = MR_SOURCE_LOG_STEP, .count = 1};
		const struct mr_source_action action = {.kind = MR_SOURCE_ACTION_CONNECT, .connect = {.channel = 7}};
		struct pair *pair = pair_new(&setup);
		struct mr_writer *writer;
		char error[512] = "";

		if (i == 0)
			pair->destination_config.profile.on[0] = !pair->destination_config.profile.on[0];
		if (i == 1)
			pair->source_config.profile.on[0] = !pair->source_config.profile.on[0];
		assert_int_equal(mr_writer_open(&writer, recording, error, sizeof(error)), 0);
		pair_watch(pair, mr_writer_watch(writer));
		pair_run(pair);
		if (i == 2)
			mr_writer_watch(writer)->source(writer, &step, &action);
		assert_int_equal(mr_writer_failed(writer), i == 2);
		assert_int_equal(finish(writer, pair, MR_WRITER_WHOLE, error, sizeof(error)), -1);
		expect_one_line(error);
		if (!strstr(error, messages[i]))
			fail_msg("%s", error);
		assert_false(is_there("manifest.json"));
		mr_writer_free(writer);
		pair_free(pair);
		assert_int_equal(folder_remove(recording), 0);
	}
}

/* A run that nobody finishes leaves no recording. */
static void abandoned(void **state)
{
	const struct pair_setup setup = {.source = "11.1", .seed = 1};
	struct pair *pair = pair_new(&setup);
	struct mr_writer *writer;
	char error[512] = "";

	(void)state;
	assert_int_equal(mr_writer_open(&writer, recording, error, sizeof(error)), 0);
	pair_watch(pair, mr_writer_watch(writer));
	for (unsigned i = 0; i < 3000; i++)
		pair_step(pair);
	mr_writer_free(writer);
	mr_writer_free(NULL);
	pair_free(pair);
	assert_true(is_there("ch0.fwd.zst"));
	assert_false(is_there("manifest.json"));
	assert_int_equal(folder_remove(recording), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(precopy, remove_recording),
		cmocka_unit_test_teardown(xbzrle, remove_recording),
		cmocka_unit_test_teardown(zero_detection, remove_recording),
		cmocka_unit_test_teardown(postcopy, remove_recording),
		cmocka_unit_test_teardown(preempt, remove_recording),
		cmocka_unit_test_teardown(recovered, remove_recording),
		cmocka_unit_test_teardown(multifd, remove_recording),
		cmocka_unit_test_teardown(compressed, remove_recording),
		cmocka_unit_test_teardown(alone, remove_recording),
		cmocka_unit_test_teardown(unusual, remove_recording),
		cmocka_unit_test_teardown(failed, remove_recording),
		cmocka_unit_test_teardown(anything, remove_recording),
		cmocka_unit_test_teardown(altered_streams, remove_recording),
		cmocka_unit_test_teardown(altered_logs, remove_recording),
		cmocka_unit_test_teardown(altered_actions, remove_recording),
		cmocka_unit_test_teardown(manifest_says, remove_recording),
		cmocka_unit_test_teardown(bad_manifests, remove_recording),
		cmocka_unit_test_teardown(bad_description, remove_recording),
		cmocka_unit_test_teardown(timelines, remove_recording),
		cmocka_unit_test_teardown(determinism, remove_recording),
		cmocka_unit_test_teardown(directories, remove_recording),
		cmocka_unit_test_teardown(full_disk, remove_recording),
		cmocka_unit_test_teardown(names_taken, remove_recording),
		cmocka_unit_test_teardown(not_told, remove_recording),
		cmocka_unit_test_teardown(abandoned, remove_recording),
	};

	return cmocka_run_group_tests(tests, make_work, remove_work);
}
