/* discard.c: from the bitmap of what is still to be sent to the RAM_DISCARD commands of a source (rules DSC). */
#include "discard.h"
#include "wire/wire.h"

enum {
	WORD_BITS = 64,
	COMMAND_HEAD = 5, /* bytes before the payload */
	NAME_FRAME = 3,   /* bytes around the name: version, its length, terminator */
};

/* The bits of word `word` that belong to a map of `pages` pages, of which at least one is in it. */
static uint64_t valid_bits(uint64_t pages, uint64_t word)
{
	const uint64_t left = pages - word * WORD_BITS;

	return left >= WORD_BITS ? UINT64_MAX : UINT64_MAX >> (WORD_BITS - left);
}

/* ---- Batches of one block ---- */

void mr_discard_send_init(struct mr_discard_send *send, struct mr_bytes block)
{
	send->ranges = 0;
	send->commands = 0;
	send->block = block;
	send->waiting = 0;
}

/* The ranges that wait become a command; they stay where they are until the next range comes. */
static void take_command(struct mr_discard_send *send, struct mr_record *record)
{
	const size_t size = (size_t)send->waiting * MR_DISCARD_RANGE_SIZE;

	*record = (struct mr_record){
		.kind = MR_COMMAND,
		.length = COMMAND_HEAD + NAME_FRAME + send->block.length + size,
		.command = {.number = MR_COMMAND_POSTCOPY_RAM_DISCARD,
			    .sent = MR_COMMAND_POSTCOPY_RAM_DISCARD,
			    .length = (uint16_t)(NAME_FRAME + send->block.length + size),
			    .block = send->block,
			    .range_count = send->waiting,
			    .ranges = {send->payload, size}},
	};
	send->waiting = 0;
	send->commands++;
}

bool mr_discard_send_range(struct mr_discard_send *send, uint64_t start, uint64_t length, struct mr_record *record)
{
	uint8_t *range = send->payload + (size_t)send->waiting * MR_DISCARD_RANGE_SIZE;

	mr_put_be64(range, start);
	mr_put_be64(range + sizeof(start), length);
	send->ranges++;
	if (++send->waiting < MR_DISCARD_RANGES)
		return false;
	take_command(send, record);
	return true;
}

bool mr_discard_send_finish(struct mr_discard_send *send, struct mr_record *record)
{
	if (send->waiting == 0)
		return false;
	take_command(send, record);
	return true;
}

/* ---- Uniform host pages ---- */

/* Target pages from `first` on. */
struct run {
	uint64_t first, count;
};

/*
 * The first host page at or behind page `from`, which begins one, of whose target pages some are set and some are not.
 * Only borders between runs are looked at, so that what is uniform is passed word by word.
 */
static bool next_mixed(const uint64_t *map, uint64_t pages, uint64_t host_pages, uint64_t from, struct run *found)
{
	while (host_pages > 1 && from < pages) {
		const bool value = mr_bitmap_test(map, from);
		const uint64_t border =
			value ? mr_bitmap_next_clear(map, pages, from) : mr_bitmap_next_set(map, pages, from);
		const uint64_t inside = border % host_pages;

		if (border < pages && inside != 0) {
			found->first = border - inside;
			found->count = pages - found->first < host_pages ? pages - found->first : host_pages;
			return true;
		}
		from = border;
	}
	return false;
}

/* Sets all pages of a run; returns how many were not. */
static uint64_t set_run(uint64_t *map, struct run run)
{
	const uint64_t end = run.first + run.count;
	uint64_t added = 0;

	for (uint64_t at = mr_bitmap_next_clear(map, end, run.first); at < end;) {
		const uint64_t set = mr_bitmap_next_set(map, end, at);

		added += set - at;
		at = mr_bitmap_next_clear(map, end, set);
	}
	mr_bitmap_set(map, run.first, run.count);
	return added;
}

/* Host pages of whole words. */
static uint64_t make_large_uniform(uint64_t *dirty, uint64_t pages, uint64_t host_pages)
{
	struct run run = {0, 0};
	uint64_t added = 0;

	while (next_mixed(dirty, pages, host_pages, run.first + run.count, &run))
		added += set_run(dirty, run);
	return added;
}

/* The lowest bit of each group of `size` bits of a word; size divides 64 and is not 64. */
static uint64_t lowest_bits(unsigned size)
{
	return UINT64_MAX / ((UINT64_C(1) << size) - 1);
}

/* Host pages that lie within a word each. */
static uint64_t make_small_uniform(uint64_t *dirty, uint64_t pages, unsigned host_pages)
{
	const uint64_t lowest = lowest_bits(host_pages);
	const uint64_t group = (UINT64_C(1) << host_pages) - 1;
	uint64_t added = 0;

	for (uint64_t at = mr_bitmap_next_set(dirty, pages, 0); at < pages; at = mr_bitmap_next_set(dirty, pages, at)) {
		const uint64_t word = at / WORD_BITS, valid = valid_bits(pages, word);
		const uint64_t old = dirty[word] & valid;
		uint64_t any = old;

		for (unsigned step = 1; step < host_pages; step *= 2)
			any |= any >> step;
		any = (any & lowest) * group & valid & ~old;
		added += (unsigned)__builtin_popcountll(any);
		if (any != 0)
			dirty[word] |= any;
		at = (word + 1) * WORD_BITS;
	}
	return added;
}

uint64_t mr_discard_make_uniform(uint64_t *dirty, uint64_t pages, uint64_t host_pages)
{
	if (host_pages <= 1)
		return 0;
	if (host_pages < WORD_BITS)
		return make_small_uniform(dirty, pages, (unsigned)host_pages);
	return make_large_uniform(dirty, pages, host_pages);
}

/* ---- All blocks of a source ---- */

/* What is done with the block at hand. */
enum step {
	STEP_UNSENT, /* up to 4.1 host pages that were sent in part are discarded */
	STEP_DIRTY,  /* so are those that were sent, and are dirty in part */
	STEP_RANGES, /* all that will be sent is discarded */
	STEP_OVER,
	STEP_NONE, /* nothing is said of the block in this loop */
};

/* Bytes of the host pages that count in this release. */
static uint64_t page_size_of(const struct mr_discard_walk *walk, const struct mr_discard_source_block *block)
{
	return walk->huge_pages ? block->page_size : walk->host_page_size;
}

static enum mr_rule check_block(const struct mr_discard_walk *walk, const struct mr_discard_source_block *block)
{
	const uint64_t size = page_size_of(walk, block);

	if (block->ignored)
		return MR_NO_RULE;
	if (block->name.length == 0 || block->name.length > MR_NAME_MAX)
		return MR_RAM_003;
	if (!mr_is_power_of_two(size) || size < walk->target_page_size)
		return MR_DSC_007;
	return walk->twice && !block->unsent ? MR_DSC_005 : MR_NO_RULE;
}

enum mr_rule mr_discard_walk_init(struct mr_discard_walk *walk, const struct mr_profile *profile,
				  uint32_t target_page_size, uint64_t host_page_size,
				  const struct mr_discard_source_block *blocks, size_t count)
{
	enum mr_rule rule = mr_is_power_of_two(target_page_size) ? MR_NO_RULE : MR_DSC_007;

	*walk = (struct mr_discard_walk){
		.blocks = blocks,
		.count = count,
		.target_page_size = target_page_size,
		.host_page_size = host_page_size,
		/* of an unknown release: what the newest does */
		.huge_pages = mr_profile_may(profile, MR_SWITCH_POSTCOPY_HUGE_PAGES),
		.by_block = mr_profile_may(profile, MR_SWITCH_DISCARD_BY_BLOCK),
		.twice = mr_profile_does(profile, MR_SWITCH_DISCARD_TWICE),
		.empty_ranges = mr_profile_does(profile, MR_SWITCH_DISCARD_EMPTY_RANGES),
	};
	for (size_t i = 0; i < count && rule == MR_NO_RULE; i++)
		rule = check_block(walk, &blocks[i]);
	if (rule != MR_NO_RULE)
		walk->count = 0;
	return rule;
}

/* The next host page that is mixed in `map` becomes dirty as a whole. */
static bool make_next_uniform(struct mr_discard_walk *walk, const struct mr_discard_source_block *block,
			      const uint64_t *map, struct run *run)
{
	if (!next_mixed(map, walk->pages, walk->host_pages, walk->at, run))
		return false;
	walk->at = run->first + run->count;
	walk->added += set_run(block->dirty, *run);
	return true;
}

static bool next_unsent(struct mr_discard_walk *walk, const struct mr_discard_source_block *block, struct run *run)
{
	if (!make_next_uniform(walk, block, block->unsent, run))
		return false;
	mr_bitmap_set(block->unsent, run->first, run->count);
	return true;
}

/* What was never sent is not at the destination: nothing has to be thrown away there. */
static bool next_dirty(struct mr_discard_walk *walk, const struct mr_discard_source_block *block, struct run *run)
{
	bool sent = false;

	while (!sent && make_next_uniform(walk, block, block->dirty, run)) {
		sent = !mr_bitmap_test(block->unsent, run->first);
		mr_bitmap_set(block->unsent, run->first, run->count);
	}
	return sent;
}

/* The next run of what will be sent. Behind a clean last page some releases have an empty one. */
static bool next_run(struct mr_discard_walk *walk, const struct mr_discard_source_block *block, struct run *run)
{
	const uint64_t *map = walk->twice ? block->unsent : block->dirty;

	if (walk->at == walk->pages)
		return false;
	run->first = mr_bitmap_next_set(map, walk->pages, walk->at);
	walk->at = mr_bitmap_next_clear(map, walk->pages, run->first);
	run->count = walk->at - run->first;
	return run->count != 0 || walk->empty_ranges;
}

/* unsent |= dirty */
static void merge(uint64_t *unsent, const uint64_t *dirty, uint64_t pages)
{
	const uint64_t words = pages / WORD_BITS;

	for (uint64_t word = 0; word < words; word++) {
		/* What is there already is not written: memory of maps that nobody touched stays untouched. */
		if ((dirty[word] & ~unsent[word]) != 0)
			unsent[word] |= dirty[word];
	}
	if (pages % WORD_BITS != 0)
		unsent[words] |= dirty[words] & valid_bits(pages, words);
}

/* The next range of the block at hand; false if there is none in this loop over the blocks. */
static bool next_range(struct mr_discard_walk *walk, const struct mr_discard_source_block *block, struct run *run)
{
	if (walk->step == STEP_UNSENT) {
		if (next_unsent(walk, block, run))
			return true;
		walk->step = STEP_DIRTY;
		walk->at = 0;
	}
	if (walk->step == STEP_DIRTY) {
		if (next_dirty(walk, block, run))
			return true;
		merge(block->unsent, block->dirty, walk->pages);
		walk->step = STEP_OVER;
	}
	return walk->step == STEP_RANGES && next_run(walk, block, run);
}

static enum step first_step(struct mr_discard_walk *walk, const struct mr_discard_source_block *block)
{
	if (block->ignored)
		return STEP_NONE;
	if (walk->second_loop)
		return STEP_RANGES;
	if (walk->twice)
		return STEP_UNSENT;
	walk->added += mr_discard_make_uniform(block->dirty, walk->pages, walk->host_pages);
	return walk->by_block ? STEP_RANGES : STEP_NONE;
}

static void open_block(struct mr_discard_walk *walk, const struct mr_discard_source_block *block)
{
	walk->open = true;
	walk->pages = block->used_length / walk->target_page_size;
	walk->host_pages = page_size_of(walk, block) / walk->target_page_size;
	walk->at = 0;
	walk->step = first_step(walk, block);
	mr_discard_send_init(&walk->send, block->name);
}

/* Goes to the next block; true if there is something to say of this one. */
static bool leave_block(struct mr_discard_walk *walk)
{
	walk->open = false;
	walk->finished = walk->block++;
	if (walk->block == walk->count && !walk->by_block && !walk->second_loop) {
		walk->second_loop = true;
		walk->block = 0;
	}
	return walk->step != STEP_NONE;
}

/* The next command of the block at hand. */
static bool next_command(struct mr_discard_walk *walk, const struct mr_discard_source_block *block,
			 struct mr_record *record)
{
	const uint64_t size = walk->target_page_size;
	struct run run;

	while (next_range(walk, block, &run)) {
		if (mr_discard_send_range(&walk->send, run.first * size, run.count * size, record))
			return true;
	}
	return mr_discard_send_finish(&walk->send, record);
}

enum mr_discard_event mr_discard_walk_step(struct mr_discard_walk *walk, struct mr_record *record)
{
	while (walk->block < walk->count) {
		const struct mr_discard_source_block *block = &walk->blocks[walk->block];

		if (!walk->open)
			open_block(walk, block);
		if (next_command(walk, block, record)) {
			walk->ranges += record->command.range_count;
			walk->commands++;
			return MR_DISCARD_COMMAND;
		}
		if (leave_block(walk))
			return MR_DISCARD_BLOCK;
	}
	return MR_DISCARD_END;
}

bool mr_discard_walk_next(struct mr_discard_walk *walk, struct mr_record *record)
{
	enum mr_discard_event event;

	do {
		event = mr_discard_walk_step(walk, record);
	} while (event == MR_DISCARD_BLOCK);
	return event == MR_DISCARD_COMMAND;
}
