/* test_discard.c: a source's discards against a naive model of them, and against those that real QEMU sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "discard.h"
#include "build.h"
#include "guard.h"
#include "hostile.h"
#include "random.h"
#include "sim/record/migration.h"

enum { PAGE = 4096, BLOCKS_MAX = 8, PAGES_MAX = 3000, EVENTS_MAX = 16384, COMMANDS_MAX = 8192, RANGES_MAX = 12 };

/* ---- The model ---- */

/* What the releases do, as the fact sheets tell it; not asked from the profiles. */
static const struct era {
	const char *release;
	bool two_maps, block_pages, empty_ranges;
} eras[] = {
	{"2.5", true, false, true},  {"2.6", true, false, true},   {"2.7", true, false, false},
	{"2.8", true, false, false}, {"2.9", true, true, false},   {"4.1", true, true, false},
	{"4.2", false, true, false}, {"6.2", false, true, false},  {"7.0", false, true, false},
	{"7.2", false, true, false}, {"11.1", false, true, false},
};

enum { ERAS = sizeof(eras) / sizeof(eras[0]) };

/* A block a bool a page. */
struct model_block {
	const char *name;
	uint64_t pages, page_size;
	bool ignored;
	bool dirty[PAGES_MAX], unsent[PAGES_MAX];
};

/* Commands do not reach over these. */
struct batch {
	unsigned loop, block;
};

struct command {
	struct batch batch;
	unsigned count;
	uint64_t range[RANGES_MAX][2]; /* bytes */
};

struct model {
	const struct era *era;
	uint64_t host_page_size;
	size_t block_count;
	struct model_block blocks[BLOCKS_MAX];
	/* results */
	uint64_t added;
	size_t event_count, command_count;
	struct {
		struct batch batch;
		uint64_t first, count;
	} events[EVENTS_MAX];
	struct command commands[COMMANDS_MAX];
};

static void happen(struct model *model, unsigned loop, unsigned block, uint64_t first, uint64_t count)
{
	assert_true(model->event_count < EVENTS_MAX);
	model->events[model->event_count].batch = (struct batch){loop, block};
	model->events[model->event_count].first = first;
	model->events[model->event_count++].count = count;
}

static uint64_t host_pages(const struct model *model, const struct model_block *block)
{
	return (model->era->block_pages ? block->page_size : model->host_page_size) / PAGE;
}

static uint64_t count_bools(const bool *values, uint64_t count)
{
	uint64_t set = 0;

	for (uint64_t i = 0; i < count; i++)
		set += values[i];
	return set;
}

static void fill_bools(bool *values, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		values[i] = true;
}

/* One pass over all host pages: those in which `map` has both values get both maps set. */
static void model_pass(struct model *model, unsigned index, const bool *map, bool only_sent)
{
	struct model_block *block = &model->blocks[index];
	const uint64_t size = host_pages(model, block);

	for (uint64_t first = 0; first < block->pages; first += size) {
		const uint64_t count = block->pages - first < size ? block->pages - first : size;
		const uint64_t set = count_bools(map + first, count);

		if (set == 0 || set == count)
			continue;
		if (!only_sent || !block->unsent[first])
			happen(model, 1, index, first, count);
		model->added += count - count_bools(block->dirty + first, count);
		fill_bools(block->dirty + first, count);
		fill_bools(block->unsent + first, count);
	}
}

static void model_two_maps(struct model *model, unsigned index)
{
	struct model_block *block = &model->blocks[index];

	model_pass(model, index, block->unsent, false);
	model_pass(model, index, block->dirty, true);
	for (uint64_t page = 0; page < block->pages; page++)
		block->unsent[page] = block->unsent[page] || block->dirty[page];
}

static bool any_between(const bool *values, uint64_t first, uint64_t end)
{
	while (first < end && !values[first])
		first++;
	return first < end;
}

/* Each page asks all of its host page. */
static void model_uniform(struct model *model, unsigned index)
{
	static bool before[PAGES_MAX];
	struct model_block *block = &model->blocks[index];
	const uint64_t size = host_pages(model, block);

	memcpy(before, block->dirty, block->pages * sizeof(*before));
	for (uint64_t page = 0; page < block->pages; page++) {
		const uint64_t first = page / size * size;
		const uint64_t end = first + size < block->pages ? first + size : block->pages;

		block->dirty[page] = any_between(before, first, end);
		model->added += block->dirty[page] != before[page];
	}
}

static void model_runs(struct model *model, unsigned index)
{
	const struct model_block *block = &model->blocks[index];
	const bool *map = model->era->two_maps ? block->unsent : block->dirty;
	uint64_t begin = 0;

	for (uint64_t page = 0; page < block->pages; page++) {
		if (map[page] && (page == 0 || !map[page - 1]))
			begin = page;
		if (map[page] && (page + 1 == block->pages || !map[page + 1]))
			happen(model, 2, index, begin, page + 1 - begin);
	}
	if (model->era->empty_ranges && block->pages && !map[block->pages - 1])
		happen(model, 2, index, block->pages, 0);
}

static void model_batches(struct model *model)
{
	struct command *last = NULL;

	for (size_t i = 0; i < model->event_count; i++) {
		const struct batch batch = model->events[i].batch;

		if (!last || last->batch.loop != batch.loop || last->batch.block != batch.block ||
		    last->count == RANGES_MAX) {
			assert_true(model->command_count < COMMANDS_MAX);
			last = &model->commands[model->command_count++];
			*last = (struct command){.batch = batch};
		}
		last->range[last->count][0] = model->events[i].first * PAGE;
		last->range[last->count++][1] = model->events[i].count * PAGE;
	}
}

static void model_run(struct model *model)
{
	model->added = 0;
	model->event_count = model->command_count = 0;
	for (unsigned i = 0; i < model->block_count; i++)
		if (!model->blocks[i].ignored)
			(model->era->two_maps ? model_two_maps : model_uniform)(model, i);
	for (unsigned i = 0; i < model->block_count; i++)
		if (!model->blocks[i].ignored)
			model_runs(model, i);
	model_batches(model);
}

/* ---- The walk over the same blocks ---- */

struct subject {
	struct mr_discard_source_block blocks[BLOCKS_MAX];
	uint64_t dirty[BLOCKS_MAX][PAGES_MAX / 64 + 2], unsent[BLOCKS_MAX][PAGES_MAX / 64 + 2];
	struct mr_discard_walk walk;
};

static struct mr_bytes text(const char *name)
{
	return (struct mr_bytes){(const uint8_t *)name, strlen(name)};
}

static void to_bits(uint64_t *bits, const bool *values, uint64_t count)
{
	/* what lies behind the last page must not matter, and must stay */
	memset(bits, 0xff, (count / 64 + 2) * sizeof(*bits));
	for (uint64_t i = 0; i < count; i++)
		if (!values[i])
			mr_bitmap_clear(bits, i, 1);
}

static void subject_init(struct subject *subject, const struct model *model)
{
	for (size_t i = 0; i < model->block_count; i++) {
		const struct model_block *block = &model->blocks[i];

		to_bits(subject->dirty[i], block->dirty, block->pages);
		to_bits(subject->unsent[i], block->unsent, block->pages);
		subject->blocks[i] = (struct mr_discard_source_block){
			.name = text(block->name),
			.used_length = block->pages * PAGE,
			.page_size = block->page_size,
			.ignored = block->ignored,
			.dirty = block->ignored ? NULL : subject->dirty[i],
			.unsent = block->ignored || !model->era->two_maps ? NULL : subject->unsent[i],
		};
	}
}

/* Made once: that takes longer than a small walk. */
static const struct mr_profile *profile_of(const struct era *era)
{
	static struct mr_profile profiles[ERAS];
	struct mr_profile *profile = &profiles[era - eras];

	if (!profile->known)
		assert_int_equal(mr_profile_init(profile, era->release), 0);
	return profile;
}

static void begin(struct subject *subject, const struct model *model)
{
	subject_init(subject, model);
	assert_int_equal(mr_discard_walk_init(&subject->walk, profile_of(model->era), PAGE, model->host_page_size,
					      subject->blocks, model->block_count),
			 MR_NO_RULE);
}

/* Cheap, since it is asked millions of times. */
static bool same_command(const struct mr_record *record, const struct command *command, struct mr_bytes name)
{
	const struct mr_command *found = &record->command;
	uint64_t start, length;

	if (record->kind != MR_COMMAND || found->number != 6 || found->sent != 6 ||
	    found->range_count != command->count || !mr_bytes_equal(found->block, name) ||
	    found->length != 3 + name.length + 16 * command->count || record->length != 5U + found->length ||
	    found->ranges.length != 16 * command->count)
		return false;
	for (unsigned i = 0; i < command->count; i++) {
		mr_discard_range(found, i, &start, &length);
		if (start != command->range[i][0] || length != command->range[i][1])
			return false;
	}
	return true;
}

static bool same_bits(const uint64_t *bits, const bool *values, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		if (mr_bitmap_test(bits, i) != values[i])
			return false;
	/* nothing behind the last page was touched */
	return mr_bitmap_next_clear(bits, count + 64, count) == count + 64;
}

static bool same_results(const struct subject *subject, const struct model *model)
{
	const struct mr_discard_walk *walk = &subject->walk;

	for (size_t i = 0; i < model->block_count; i++) {
		const struct model_block *block = &model->blocks[i];

		if (block->ignored)
			continue;
		if (!same_bits(subject->dirty[i], block->dirty, block->pages))
			return false;
		if (model->era->two_maps && !same_bits(subject->unsent[i], block->unsent, block->pages))
			return false;
	}
	return walk->added == model->added && walk->ranges == model->event_count &&
	       walk->commands == model->command_count;
}

/* Runs both, and compares commands, bits and counters. */
static bool agree(struct subject *subject, struct model *model)
{
	struct mr_record record;

	begin(subject, model);
	model_run(model);
	for (size_t i = 0; i < model->command_count; i++) {
		const struct command *command = &model->commands[i];

		if (!mr_discard_walk_next(&subject->walk, &record) ||
		    !same_command(&record, command, text(model->blocks[command->batch.block].name)))
			return false;
	}
	for (unsigned again = 0; again < 2; again++)
		if (mr_discard_walk_next(&subject->walk, &record))
			return false;
	return same_results(subject, model);
}

static struct model model;
static struct subject subject;

static void set_block(unsigned index, const char *name, uint64_t pages, uint64_t host)
{
	struct model_block *block = &model.blocks[index];

	*block = (struct model_block){.name = name, .pages = pages, .page_size = host * PAGE};
	if (model.block_count <= index)
		model.block_count = index + 1;
}

static void set_pages(bool *values, uint32_t bits, uint64_t pages)
{
	for (uint64_t i = 0; i < pages; i++)
		values[i] = bits >> i & 1;
}

/* One block of the size at hand; `host` is both the block's and the machine's. */
static void one_block(const struct era *era, uint64_t pages, uint64_t host)
{
	model.era = era;
	model.block_count = 0;
	model.host_page_size = host * PAGE;
	set_block(0, "mem", pages, host);
}

/* ---- All small bitmaps ---- */

/* A checker that watches takes fifty times as long: it sees every so manieth bitmap. */
static uint32_t stride(uint32_t watched)
{
	return SANITIZED || RUNNING_ON_VALGRIND ? watched : 1;
}

/* keeps DSC-001, DSC-002, DSC-003: every bitmap of so many pages, in every release that has one map */
static void every_dirty_map(void **state)
{
	static const uint64_t sizes[] = {16, 13};

	(void)state;
	for (size_t e = 0; e < ERAS; e++) {
		for (unsigned host = 1; host <= 8 && !eras[e].two_maps; host *= 2) {
			for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
				one_block(&eras[e], sizes[s], host);
				for (uint32_t map = 0; map < 1U << sizes[s]; map += stride(29)) {
					set_pages(model.blocks[0].dirty, map, sizes[s]);
					if (!agree(&subject, &model))
						fail_msg("%s, %u pages a host page, bitmap %x", eras[e].release, host,
							 map);
				}
			}
		}
	}
}

/* keeps DSC-005, DSC-006: every pair of bitmaps of eight pages, in every release that has two */
static void every_pair_of_maps(void **state)
{
	static const uint64_t sizes[] = {8, 7};

	(void)state;
	for (size_t e = 0; e < ERAS; e++) {
		for (unsigned host = 1; host <= 8 && eras[e].two_maps; host *= 2) {
			for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
				one_block(&eras[e], sizes[s], host);
				for (uint32_t maps = 0; maps < 1U << 2 * sizes[s]; maps += stride(31)) {
					set_pages(model.blocks[0].dirty, maps, sizes[s]);
					set_pages(model.blocks[0].unsent, maps >> sizes[s], sizes[s]);
					if (!agree(&subject, &model))
						fail_msg("%s, %u pages a host page, bitmaps %x", eras[e].release, host,
							 maps);
				}
			}
		}
	}
}

/* The same for a map of 16 pages of which none is unsent, or all that are dirty. */
static void every_dirty_map_of_old(void **state)
{
	(void)state;
	for (size_t e = 0; e < ERAS; e++) {
		for (unsigned host = 1; host <= 8 && eras[e].two_maps; host *= 2) {
			one_block(&eras[e], 16, host);
			for (uint32_t map = 0; map < 1 << 16; map += stride(37)) {
				set_pages(model.blocks[0].dirty, map, 16);
				set_pages(model.blocks[0].unsent, map & 1 ? map : 0, 16);
				if (!agree(&subject, &model))
					fail_msg("%s, %u pages a host page, bitmap %x", eras[e].release, host, map);
			}
		}
	}
}

/* ---- Large maps, several blocks ---- */

/* Long runs or short ones, few or many. */
static void random_pages(struct random *random, bool *values, uint64_t pages)
{
	const uint64_t longest = UINT64_C(1) << random_below(random, 12);
	bool value = random_below(random, 2) != 0;

	for (uint64_t page = 0; page < pages; value = !value) {
		uint64_t run = random_below(random, longest) + 1;

		while (run-- && page < pages)
			values[page++] = value;
	}
}

static void random_block(struct random *random, unsigned index)
{
	static const char *const names[BLOCKS_MAX] = {"mem", "pc.bios", "a", "pc.rom", "b", "vga.vram", "c", "d"};
	static const uint64_t hosts[] = {1, 1, 2, 8, 16, 32, 64, 128, 512};
	const uint64_t host = hosts[random_below(random, sizeof(hosts) / sizeof(hosts[0]))];
	uint64_t pages = random_below(random, PAGES_MAX);

	if (random_below(random, 2))
		pages -= pages % host;
	set_block(index, names[index], pages, host);
	model.blocks[index].ignored = random_below(random, 6) == 0;
	random_pages(random, model.blocks[index].dirty, pages);
	random_pages(random, model.blocks[index].unsent, pages);
}

/* keeps DSC-003, DSC-007: ignored, empty and huge blocks, and blocks whose last host page is cut */
static void random_guests(void **state)
{
	struct random random = {77};

	(void)state;
	for (uint32_t round = 0; round < 6000; round += stride(20)) {
		model.era = &eras[random_below(&random, ERAS)];
		model.block_count = 0;
		model.host_page_size = (uint64_t)PAGE << random_below(&random, 5);
		for (unsigned i = (unsigned)random_below(&random, BLOCKS_MAX + 1); i > 0; i--)
			random_block(&random, i - 1);
		if (!agree(&subject, &model))
			fail_msg("round %u, %s", round, model.era->release);
	}
}

/* Against the model's way of it, and with a guard page right behind the last word. */
static void uniform_alone(void **state)
{
	struct random random = {78};
	const size_t room = (PAGES_MAX / 64 + 2) * sizeof(uint64_t);
	struct guard guard = guard_new(room);

	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		const uint64_t pages = random_below(&random, PAGES_MAX);
		const uint64_t host = UINT64_C(1) << random_below(&random, 12);
		const size_t size = mr_bitmap_words(pages) * sizeof(uint64_t);
		uint64_t *bits = (uint64_t *)(void *)guard_end(&guard, size);

		one_block(&eras[ERAS - 1], pages, host);
		random_pages(&random, model.blocks[0].dirty, pages);
		to_bits(subject.dirty[0], model.blocks[0].dirty, pages);
		memcpy(bits, subject.dirty[0], size);
		model_run(&model);
		/* keeps DSC-002 */
		assert_int_equal(mr_discard_make_uniform(bits, pages, host), model.added);
		memcpy(subject.dirty[0], bits, size);
		assert_true(same_bits(subject.dirty[0], model.blocks[0].dirty, pages));
		/* what is uniform stays as it is */
		assert_int_equal(mr_discard_make_uniform(bits, pages, host), 0);
	}
	guard_free(&guard);
	assert_int_equal(mr_discard_make_uniform(NULL, 0, 1), 0);
	assert_int_equal(mr_discard_make_uniform(NULL, 0, 2), 0);
	assert_int_equal(mr_discard_make_uniform(NULL, 0, 512), 0);
}

static void set_text(bool *values, const char *text_of_pages, char what)
{
	for (size_t i = 0; text_of_pages[i]; i++)
		values[i] = text_of_pages[i] == what;
}

/* The examples of SPEC.md: a release with two maps, and one with one. */
static void examples(void **state)
{
	struct mr_record record;
	uint64_t start, length;

	(void)state;
	one_block(&eras[5], 16, 4);
	set_text(model.blocks[0].unsent, "ssssssuussssuuuu", 'u');
	set_text(model.blocks[0].dirty, "......###...#..#", '#');
	begin(&subject, &model);
	/* keeps DSC-005 */
	assert_true(mr_discard_walk_next(&subject.walk, &record));
	assert_int_equal(record.command.range_count, 2);
	mr_discard_range(&record.command, 0, &start, &length);
	assert_true(start == 4 * PAGE && length == 4 * PAGE);
	mr_discard_range(&record.command, 1, &start, &length);
	assert_true(start == 8 * PAGE && length == 4 * PAGE);
	assert_true(mr_discard_walk_next(&subject.walk, &record));
	assert_int_equal(record.command.range_count, 1);
	mr_discard_range(&record.command, 0, &start, &length);
	assert_true(start == 4 * PAGE && length == 12 * PAGE);
	assert_false(mr_discard_walk_next(&subject.walk, &record));
	one_block(&eras[ERAS - 1], 18, 4);
	set_text(model.blocks[0].dirty, "....#......#####..", '#');
	assert_true(agree(&subject, &model));
	/* keeps DSC-002 */
	assert_int_equal(subject.walk.added, 6);
	assert_int_equal(model.commands[0].range[0][0], 4 * PAGE);
	assert_int_equal(model.commands[0].range[0][1], 12 * PAGE);
}

/* One dirty page in two huge pages of 2 MiB: since 2.9 it drags 511 others along, before it stands alone. */
static void huge_pages(void **state)
{
	(void)state;
	for (size_t e = 0; e < ERAS; e++) {
		model.era = &eras[e];
		model.block_count = 0;
		model.host_page_size = PAGE;
		set_block(0, "mem", 1024, 512);
		model.blocks[0].dirty[700] = true;
		assert_true(agree(&subject, &model));
		/* keeps DSC-007 */
		assert_int_equal(subject.walk.added, eras[e].block_pages ? 511 : 0);
		assert_int_equal(model.commands[0].range[0][0], (eras[e].block_pages ? 512 : 700) * PAGE);
		/* keeps DSC-005: the same range twice, in two commands */
		assert_int_equal(subject.walk.commands, eras[e].two_maps && eras[e].block_pages ? 2 : 1);
		/* breaks DSC-006 in a release that has no empty ranges: the last page is clean in the old ones alone */
		assert_int_equal(subject.walk.ranges, eras[e].two_maps && eras[e].block_pages ? 2
						      : eras[e].empty_ranges                  ? 2
											      : 1);
	}
}

/* Up to 6.2 all blocks are made uniform before the first command, since 7.0 each in its turn. */
static void when_blocks_become_uniform(void **state)
{
	struct mr_record record;

	(void)state;
	for (size_t e = 0; e < ERAS; e++) {
		const bool in_turn = strcmp(eras[e].release, "7.0") == 0 || strcmp(eras[e].release, "7.2") == 0 ||
				     strcmp(eras[e].release, "11.1") == 0;

		if (eras[e].two_maps)
			continue;
		one_block(&eras[e], 16, 8);
		set_block(1, "second", 16, 8);
		model.blocks[0].dirty[3] = model.blocks[1].dirty[12] = true;
		begin(&subject, &model);
		assert_true(mr_discard_walk_next(&subject.walk, &record));
		assert_int_equal(mr_bitmap_count(subject.dirty[0], 16), 8);
		assert_int_equal(mr_bitmap_count(subject.dirty[1], 16), in_turn ? 1 : 8);
		assert_int_equal(subject.walk.added, in_turn ? 7 : 14);
		assert_true(mr_discard_walk_next(&subject.walk, &record));
		assert_true(mr_bytes_equal_string(record.command.block, "second"));
		assert_false(mr_discard_walk_next(&subject.walk, &record));
		assert_int_equal(subject.walk.added, 14);
	}
}

/* Ranges and commands of a block in one of the loops, as the model counts them. */
static void expect_block(const struct batch *batch)
{
	uint64_t ranges = 0, commands = 0;

	for (size_t i = 0; i < model.command_count; i++) {
		const struct command *command = &model.commands[i];
		const bool same = command->batch.loop == batch->loop && command->batch.block == batch->block;

		ranges += same ? command->count : 0;
		commands += same;
	}
	assert_int_equal(subject.walk.finished, batch->block);
	assert_int_equal(subject.walk.send.ranges, ranges);
	assert_int_equal(subject.walk.send.commands, commands);
}

/* Each block is told to be through behind its last command, with its counts, in each loop that sends any. */
static void ends_of_blocks(void **state)
{
	struct mr_record record;

	(void)state;
	for (size_t e = 0; e < ERAS; e++) {
		one_block(&eras[e], 64, 2);
		set_block(1, "ignored", 64, 2);
		set_block(2, "clean", 64, 2);
		set_block(3, "third", 64, 2);
		model.blocks[1].ignored = true;
		for (uint64_t page = 0; page < 52; page += 4)
			model.blocks[0].dirty[page] = model.blocks[3].dirty[page + 1] = true;
		begin(&subject, &model);
		model_run(&model);
		for (unsigned loop = eras[e].two_maps ? 1 : 2; loop <= 2; loop++) {
			for (unsigned block = 0; block < 4; block++) {
				if (model.blocks[block].ignored)
					continue;
				while (mr_discard_walk_step(&subject.walk, &record) == MR_DISCARD_COMMAND)
					;
				expect_block(&(struct batch){loop, block});
			}
		}
		assert_int_equal(mr_discard_walk_step(&subject.walk, &record), MR_DISCARD_END);
		assert_true(same_results(&subject, &model));
	}
}

/* A release that nobody knows does as the newest. */
static void unknown_release(void **state)
{
	const struct mr_profile nothing = {.known = false};
	struct mr_record record;

	(void)state;
	one_block(&eras[ERAS - 1], 16, 8);
	model.blocks[0].dirty[3] = true;
	subject_init(&subject, &model);
	assert_int_equal(mr_discard_walk_init(&subject.walk, &nothing, PAGE, PAGE, subject.blocks, 1), MR_NO_RULE);
	model_run(&model);
	assert_true(mr_discard_walk_next(&subject.walk, &record));
	assert_true(same_command(&record, &model.commands[0], text("mem")));
	assert_false(mr_discard_walk_next(&subject.walk, &record));
	assert_true(same_results(&subject, &model));
}

/* ---- Batches ---- */

/* A RAM_DISCARD byte by byte, with `count` ranges from number `first` on. */
static void expect_bytes(const struct mr_record *record, const char *name, uint64_t first, unsigned count)
{
	uint8_t out[MR_DISCARD_COMMAND_MAX];
	struct build build = {0};

	build_number(&build, 1, 8);
	build_number(&build, 2, 6);
	build_number(&build, 2, 3 + strlen(name) + 16 * count);
	build_number(&build, 1, 0);
	build_number(&build, 1, strlen(name));
	build_bytes(&build, name, strlen(name));
	build_number(&build, 1, 0);
	for (uint64_t i = first; i < first + count; i++) {
		build_number(&build, 8, 3 * i * PAGE);
		build_number(&build, 8, (i + 1) * PAGE);
	}
	assert_int_equal(record->length, build.length);
	assert_int_equal(mr_encoded_length(record), build.length);
	assert_int_equal(mr_encode(record, out, sizeof(out)), build.length);
	assert_memory_equal(out, build.bytes, build.length);
	build_free(&build);
}

static void send_ranges(const char *name, uint64_t ranges)
{
	struct mr_discard_send send;
	struct mr_record record;
	uint64_t sent = 0;

	memset(&send, 0xee, sizeof(send));
	mr_discard_send_init(&send, text(name));
	for (uint64_t i = 0; i < ranges; i++) {
		/* keeps DSC-004: at once with the twelfth, and not before */
		const bool due = mr_discard_send_range(&send, 3 * i * PAGE, (i + 1) * PAGE, &record);

		assert_int_equal(due, (i + 1) % RANGES_MAX == 0);
		if (due)
			expect_bytes(&record, name, sent, RANGES_MAX);
		sent += due ? RANGES_MAX : 0;
		assert_int_equal(send.ranges, i + 1);
		assert_int_equal(send.commands, (i + 1) / RANGES_MAX);
	}
	assert_int_equal(mr_discard_send_finish(&send, &record), sent < ranges);
	if (sent < ranges)
		expect_bytes(&record, name, sent, (unsigned)(ranges - sent));
	assert_int_equal(send.ranges, ranges);
	assert_int_equal(send.commands, (ranges + RANGES_MAX - 1) / RANGES_MAX);
	assert_false(mr_discard_send_finish(&send, &record));
}

static void batches(void **state)
{
	static const uint64_t counts[] = {0, 1, 11, 12, 13, 23, 24, 25, 100};
	char longest[MR_NAME_MAX + 1];

	(void)state;
	memset(longest, 'n', MR_NAME_MAX);
	longest[MR_NAME_MAX] = 0;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		send_ranges("m", counts[i]);
		send_ranges("pc.ram", counts[i]);
		send_ranges(longest, counts[i]);
	}
}

/* The example of the fact sheet. */
static void worked_example(void **state)
{
	static const uint8_t wire[] = {
		0x08, 0x00, 0x06, 0x00, 0x29, 0x00, 0x06, 'p',  'c',  '.',  'r',  'a',  'm',  0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00,
	};
	struct mr_discard_send send;
	struct mr_record record;
	uint8_t out[sizeof(wire)];

	(void)state;
	mr_discard_send_init(&send, text("pc.ram"));
	assert_false(mr_discard_send_range(&send, 0x2000, 0x1000, &record));
	assert_false(mr_discard_send_range(&send, 0x200000, 0x400000, &record));
	assert_true(mr_discard_send_finish(&send, &record));
	assert_int_equal(mr_encode(&record, out, sizeof(out)), sizeof(wire));
	assert_memory_equal(out, wire, sizeof(wire));
}

/* The next block begins a command of its own, however few ranges wait. */
static void commands_never_mix_blocks(void **state)
{
	(void)state;
	for (size_t e = 0; e < ERAS; e++) {
		one_block(&eras[e], 64, 1);
		set_block(1, "clean", 64, 1);
		set_block(2, "left", 64, 1);
		set_block(3, "third", 64, 1);
		model.blocks[2].ignored = true;
		for (uint64_t page = 0; page < 26; page += 2)
			model.blocks[0].dirty[page] = model.blocks[2].dirty[page] = model.blocks[3].dirty[page] = true;
		assert_true(agree(&subject, &model));
		/* keeps DSC-003, DSC-004: 12 and 1 of each; keeps DSC-006: an empty one in the second command */
		assert_int_equal(subject.walk.commands, eras[e].empty_ranges ? 5 : 4);
		assert_int_equal(subject.walk.ranges, eras[e].empty_ranges ? 29 : 26);
	}
}

/* ---- What cannot be walked ---- */

static enum mr_rule init_with(const char *release, uint32_t target_page_size, uint64_t host_page_size)
{
	struct mr_profile profile;
	enum mr_rule rule;
	struct mr_record record;

	assert_int_equal(mr_profile_init(&profile, release), 0);
	rule = mr_discard_walk_init(&subject.walk, &profile, target_page_size, host_page_size, subject.blocks, 1);
	if (rule != MR_NO_RULE)
		assert_false(mr_discard_walk_next(&subject.walk, &record));
	return rule;
}

static void refused(void **state)
{
	static const uint8_t name[MR_NAME_MAX + 1] = "mem";

	(void)state;
	one_block(&eras[ERAS - 1], 16, 1);
	subject_init(&subject, &model);
	assert_int_equal(init_with("7.2", PAGE, PAGE), MR_NO_RULE);
	/* up to 2.8 the machine's pages count, later those of the block */
	assert_int_equal(init_with("7.2", PAGE, 0), MR_NO_RULE);
	subject.blocks[0].unsent = subject.unsent[0];
	assert_int_equal(init_with("2.8", PAGE, PAGE), MR_NO_RULE);
	/* breaks DSC-007 */
	assert_int_equal(init_with("2.8", PAGE, 0), MR_DSC_007);
	assert_int_equal(init_with("2.8", PAGE, 3 * PAGE), MR_DSC_007);
	assert_int_equal(init_with("7.2", 2 * PAGE, 2 * PAGE), MR_DSC_007);
	assert_int_equal(init_with("7.2", 0, PAGE), MR_DSC_007);
	assert_int_equal(init_with("7.2", 3000, PAGE), MR_DSC_007);
	subject.blocks[0].page_size = 3 * PAGE;
	assert_int_equal(init_with("7.2", PAGE, PAGE), MR_DSC_007);
	assert_int_equal(init_with("2.8", PAGE, PAGE), MR_NO_RULE);
	subject.blocks[0].page_size = 0;
	assert_int_equal(init_with("2.9", PAGE, PAGE), MR_DSC_007);
	subject.blocks[0].page_size = PAGE;
	/* breaks DSC-005: a source up to 4.1 that does not know what it never sent */
	subject.blocks[0].unsent = NULL;
	assert_int_equal(init_with("4.1", PAGE, PAGE), MR_DSC_005);
	assert_int_equal(init_with("4.2", PAGE, PAGE), MR_NO_RULE);
	subject.blocks[0].name.length = 0;
	assert_int_equal(init_with("7.2", PAGE, PAGE), MR_RAM_003);
	subject.blocks[0].name = (struct mr_bytes){name, sizeof(name)};
	assert_int_equal(init_with("7.2", PAGE, PAGE), MR_RAM_003);
	/* of what is not migrated nothing is asked */
	subject.blocks[0] = (struct mr_discard_source_block){.ignored = true};
	assert_int_equal(init_with("7.2", PAGE, PAGE), MR_NO_RULE);
	assert_int_equal(mr_discard_walk_init(&subject.walk, &(struct mr_profile){0}, PAGE, PAGE, NULL, 0), MR_NO_RULE);
}

/* ---- What is noticed ---- */

/* The rule that a list of commands breaks, for the guest of judged_guest() and a release from 4.2 on. */
static enum mr_rule judge(const struct command *commands, size_t count)
{
	static bool covered[BLOCKS_MAX][PAGES_MAX];
	unsigned block = 0;
	uint64_t end = 0;

	memset(covered, 0, sizeof(covered));
	for (size_t i = 0; i < count; i++) {
		const struct command *command = &commands[i];
		const bool last = i + 1 == count || commands[i + 1].batch.block != command->batch.block;

		if (command->batch.block < block)
			return MR_DSC_003;
		if (command->count < RANGES_MAX && !last)
			return MR_DSC_004;
		end = command->batch.block == block ? end : 0;
		block = command->batch.block;
		for (unsigned r = 0; r < command->count; r++) {
			const uint64_t start = command->range[r][0], length = command->range[r][1];

			if (start % model.blocks[block].page_size || length % model.blocks[block].page_size)
				return MR_DSC_002;
			if (length == 0)
				return MR_DSC_006;
			if (start < end || (start == end && end != 0))
				return MR_DSC_003;
			end = start + length;
			fill_bools(&covered[block][start / PAGE], length / PAGE);
		}
	}
	for (unsigned i = 0; i < model.block_count; i++)
		if (memcmp(covered[i], model.blocks[i].dirty, sizeof(covered[i])) != 0)
			return MR_DSC_001;
	return MR_NO_RULE;
}

/* The walk's commands for two blocks of host pages of two pages, 13 ranges in each. */
static size_t judged_guest(struct command *commands)
{
	struct mr_record record;
	size_t count = 0;

	one_block(&eras[ERAS - 1], 64, 2);
	set_block(1, "second", 64, 2);
	for (unsigned i = 0; i < 52; i += 4)
		model.blocks[0].dirty[i] = model.blocks[1].dirty[i + 1] = true;
	begin(&subject, &model);
	while (mr_discard_walk_next(&subject.walk, &record)) {
		struct command *command = &commands[count++];

		command->batch = (struct batch){2, mr_bytes_equal_string(record.command.block, "second")};
		command->count = record.command.range_count;
		for (unsigned i = 0; i < command->count; i++)
			mr_discard_range(&record.command, i, &command->range[i][0], &command->range[i][1]);
	}
	model_run(&model);
	return count;
}

static void swap(struct command *a, struct command *b)
{
	const struct command kept = *a;

	*a = *b;
	*b = kept;
}

static void deviations_are_told_apart(void **state)
{
	struct command commands[8], altered[8];
	size_t count;

	(void)state;
	count = judged_guest(commands);
	assert_int_equal(count, 4);
	/* keeps DSC-001, DSC-002, DSC-003, DSC-004 */
	assert_int_equal(judge(commands, count), MR_NO_RULE);
	/* breaks DSC-001: the last range is missing; a page too many */
	assert_int_equal(judge(commands, count - 1), MR_DSC_001);
	memcpy(altered, commands, sizeof(commands));
	altered[3].range[0][1] += 2 * (uint64_t)PAGE;
	assert_int_equal(judge(altered, count), MR_DSC_001);
	/* breaks DSC-002: half a host page */
	altered[3].range[0][1] = PAGE;
	assert_int_equal(judge(altered, count), MR_DSC_002);
	/* breaks DSC-006: an empty range in a release that has none */
	altered[3].range[0][1] = 0;
	assert_int_equal(judge(altered, count), MR_DSC_006);
	/* breaks DSC-003: the second block first; two ranges for one run */
	memcpy(altered, commands, sizeof(commands));
	swap(&altered[0], &altered[2]);
	swap(&altered[1], &altered[3]);
	assert_int_equal(judge(altered, count), MR_DSC_003);
	memcpy(altered, commands, sizeof(commands));
	altered[0].range[0][1] = 4 * (uint64_t)PAGE;
	assert_int_equal(judge(altered, count), MR_DSC_003);
	/* breaks DSC-004: eleven and two */
	memcpy(altered, commands, sizeof(commands));
	altered[1].count = 2;
	memcpy(altered[1].range[1], altered[1].range[0], sizeof(altered[1].range[0]));
	memcpy(altered[1].range[0], altered[0].range[11], sizeof(altered[1].range[0]));
	altered[0].count = 11;
	assert_int_equal(judge(altered, count), MR_DSC_004);
}

/* ---- Recordings ---- */

/* What a recording tells: the commands as they crossed the wire, and the pages that came behind LISTEN. */
struct recorded {
	struct mr_migration *migration;
	struct build discards;
	uint32_t commands;
	uint64_t *sent[MR_BLOCKS_MAX]; /* NULL: none */
};

static uint64_t block_pages(const struct mr_session *session, uint32_t block)
{
	return session->blocks[block].used_length / session->target_page_size;
}

static void note_page(struct recorded *recorded, const struct mr_ram_page *page)
{
	const struct mr_session *session = recorded->migration->session;
	const uint64_t pages = block_pages(session, page->block);
	uint64_t **map = &recorded->sent[page->block];

	if (!*map)
		*map = calloc(mr_bitmap_words(pages), sizeof(**map));
	assert_non_null(*map);
	assert_true(page->address / session->target_page_size < pages);
	mr_bitmap_set(*map, page->address / session->target_page_size, 1);
}

static void read_recording(struct recorded *recorded, const char *path)
{
	const struct mr_stream_options nothing_said = {0};
	struct mr_channel *channel;
	struct mr_record record;
	const uint8_t *wire;
	char error[512];

	if (mr_migration_open(&recorded->migration, path, &nothing_said, NULL, NULL, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	do {
		while (mr_migration_next(recorded->migration, &channel, &record, &wire) == MR_RECORD) {
			if (record.kind == MR_COMMAND && record.command.number == MR_COMMAND_POSTCOPY_RAM_DISCARD) {
				build_bytes(&recorded->discards, wire, (size_t)record.length);
				recorded->commands++;
			}
			if (recorded->migration->session->listening &&
			    (record.kind == MR_RAM_PAGE || record.kind == MR_RAM_ZERO))
				note_page(recorded, &record.page);
		}
	} while (channel);
}

static void close_recording(struct recorded *recorded)
{
	for (size_t i = 0; i < MR_BLOCKS_MAX; i++)
		free(recorded->sent[i]);
	build_free(&recorded->discards);
	mr_migration_close(recorded->migration);
}

/* Of each huge page only the first target page: what was dirty before the source made them whole. */
static void thin_out(uint64_t *map, uint64_t pages, uint64_t host)
{
	for (uint64_t first = 0; first < pages && host > 1; first += host)
		mr_bitmap_clear(map, first + 1, host - 1);
}

static size_t source_blocks(const struct recorded *recorded, struct mr_discard_source_block *blocks, bool thin)
{
	const struct mr_session *session = recorded->migration->session;
	static uint64_t none[1024];

	for (uint32_t i = 0; i < session->block_count; i++) {
		const struct mr_block *block = &session->blocks[i];
		const uint64_t pages = block_pages(session, i);

		assert_true(recorded->sent[i] || mr_bitmap_words(pages) <= sizeof(none) / sizeof(none[0]));
		blocks[i] = (struct mr_discard_source_block){
			.name = {(const uint8_t *)block->name, block->name_length},
			.used_length = block->used_length,
			.page_size = block->page_size ? block->page_size : PAGE,
			.dirty = recorded->sent[i] ? recorded->sent[i] : none,
		};
		if (thin)
			thin_out(blocks[i].dirty, pages, blocks[i].page_size / session->target_page_size);
	}
	return session->block_count;
}

/* Our commands for the pages that were sent, byte for byte. */
static bool same_as_recorded(const struct recorded *recorded, bool thin)
{
	static struct mr_discard_source_block blocks[MR_BLOCKS_MAX];
	const struct mr_session *session = recorded->migration->session;
	const size_t count = source_blocks(recorded, blocks, thin);
	uint8_t out[MR_DISCARD_COMMAND_MAX];
	struct mr_discard_walk walk;
	struct build build = {0};
	struct mr_record record;
	bool same;

	assert_int_equal(
		mr_discard_walk_init(&walk, &session->context.profile, session->target_page_size, PAGE, blocks, count),
		MR_NO_RULE);
	while (mr_discard_walk_next(&walk, &record))
		build_bytes(&build, out, mr_encode(&record, out, sizeof(out)));
	same = build.bytes && build.length == recorded->discards.length && walk.commands == recorded->commands &&
	       memcmp(build.bytes, recorded->discards.bytes, build.length) == 0;
	build_free(&build);
	return same;
}

/* The next line of the trace that has this text; what stands before it is passed. */
static bool pass_line(struct mr_bytes *trace, const char *line)
{
	const size_t length = strlen(line);
	const uint8_t *at = memmem(trace->data, trace->length, line, length);

	if (!at)
		return false;
	trace->length -= (size_t)(at + length - trace->data);
	trace->data = at + length;
	return true;
}

/* The source's own counts for each block, in its order, as its trace has them. */
static void expect_trace_agrees(const struct recorded *recorded)
{
	static struct mr_discard_source_block blocks[MR_BLOCKS_MAX];
	const struct mr_session *session = recorded->migration->session;
	const size_t count = source_blocks(recorded, blocks, false);
	struct mr_discard_walk walk;
	enum mr_discard_event event;
	struct mr_record record;
	struct mr_bytes trace;
	struct mr_input *input;
	char line[512];
	size_t ends = 0;
	bool at_end;

	assert_int_equal(
		mr_recording_open_file(recorded->migration->recording, "src.trace", &input, line, sizeof(line)), 0);
	assert_int_equal(mr_input_fill(input, 64 << 20), 0);
	trace.data = mr_input_window(input, &trace.length, &at_end);
	assert_int_equal(
		mr_discard_walk_init(&walk, &session->context.profile, session->target_page_size, PAGE, blocks, count),
		MR_NO_RULE);
	while ((event = mr_discard_walk_step(&walk, &record)) != MR_DISCARD_END) {
		if (event == MR_DISCARD_COMMAND)
			continue;
		snprintf(line, sizeof(line), "postcopy_discard_send_finish %s mask words sent=%u in %u commands\n",
			 session->blocks[walk.finished].name, (unsigned)walk.send.ranges, (unsigned)walk.send.commands);
		assert_true(pass_line(&trace, line));
		ends++;
	}
	assert_int_equal(ends, count);
	mr_input_close(input);
}

/* Forgets the first page that was sent, with what may be in the same huge page. */
static void forget_first(struct recorded *recorded)
{
	const struct mr_session *session = recorded->migration->session;
	uint32_t block = 0;
	uint64_t pages, first;

	while (!recorded->sent[block])
		block++;
	pages = block_pages(session, block);
	first = mr_bitmap_next_set(recorded->sent[block], pages, 0);
	mr_bitmap_clear(recorded->sent[block], first, pages - first < 512 ? pages - first : 512);
}

static void check_recording(const char *path)
{
	struct recorded recorded = {0};

	read_recording(&recorded, path);
	assert_true(recorded.commands > 0);
	/* keeps DSC-001, DSC-003, DSC-004 */
	if (!same_as_recorded(&recorded, false))
		fail_msg("%s: the discards are others", path);
	expect_trace_agrees(&recorded);
	/* keeps DSC-002 */
	if (!same_as_recorded(&recorded, true))
		fail_msg("%s: the discards are others once host pages are dirty in part", path);
	/* breaks DSC-001: what is sent is not discarded */
	forget_first(&recorded);
	assert_false(same_as_recorded(&recorded, false));
	close_recording(&recorded);
}

static bool is_postcopy(const char *path)
{
	struct mr_recording *recording;
	bool postcopy;
	char error[512];

	/* some recordings, made by our own source, have no trace to compare with */
	if (mr_recording_open(&recording, path, error, sizeof(error)) < 0)
		return false;
	postcopy = mr_recording_has_capability(recording, "postcopy-ram") && recording->has_source_trace;
	mr_recording_close(recording);
	return postcopy;
}

static unsigned check_folder(const char *place)
{
	DIR *listing = opendir(place);
	struct dirent *entry;
	unsigned count = 0;

	if (!listing)
		return 0;
	while ((entry = readdir(listing)) != NULL) {
		char path[512];

		snprintf(path, sizeof(path), "%s/%s", place, entry->d_name);
		if (entry->d_name[0] == '.' || !is_postcopy(path))
			continue;
		check_recording(path);
		count++;
	}
	closedir(listing);
	print_message("%s: the discards of %u recordings\n", place, count);
	return count;
}

static void recordings_of_the_project(void **state)
{
	(void)state;
	assert_true(check_folder("vectors/recordings") > 0);
}

/* Among them the three *-postcopy-discards, each with 128 ranges of one block in eleven commands. */
static void whole_collection(void **state)
{
	(void)state;
	if (check_folder("../shared/recordings") == 0) {
		print_message("skipped: ../shared/recordings is not there\n");
		skip();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_dirty_map),
		cmocka_unit_test(every_pair_of_maps),
		cmocka_unit_test(every_dirty_map_of_old),
		cmocka_unit_test(random_guests),
		cmocka_unit_test(uniform_alone),
		cmocka_unit_test(examples),
		cmocka_unit_test(huge_pages),
		cmocka_unit_test(when_blocks_become_uniform),
		cmocka_unit_test(ends_of_blocks),
		cmocka_unit_test(unknown_release),
		cmocka_unit_test(batches),
		cmocka_unit_test(worked_example),
		cmocka_unit_test(commands_never_mix_blocks),
		cmocka_unit_test(refused),
		cmocka_unit_test(deviations_are_told_apart),
		cmocka_unit_test(recordings_of_the_project),
		cmocka_unit_test(whole_collection),
	};

	return cmocka_run_group_tests_name("discard", tests, NULL, NULL);
}
