/* test_page_save.c: what becomes of a dirty page at the source, and that a destination that applies it has the page. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "ram/page_save.h"
#include "random.h"
#include "watched.h"

enum {
	PAGE = 1024,
	PAGES = 64, /* of the guest */
	SLOTS = 16, /* of the cache */
	CACHE = SLOTS * PAGE,
	BLOCK_AT = 5 * PAGE, /* where the guest's only block lies among all RAM */
	HEADER = 8,          /* bytes of a record with CONTINUE */
	ENCODING_HEADER = 3, /* bytes between that and an encoding */
};

/* What the guest does between the two looks at its page. */
enum race { RACE_NONE, RACE_WRITE, RACE_FILL, RACE_ZERO };

struct guest {
	uint8_t memory[PAGES][PAGE];
	enum race race;
	unsigned looks[2]; /* of the last page: enum mr_look */
	unsigned actor;    /* who looked */
	struct random random;
};

struct entry {
	uint64_t page, age;
	bool used;
	uint8_t content[PAGE];
};

/* A source, a destination that applies what is sent, and a model of what the source ought to do. */
struct world {
	struct guest guest;
	struct mr_outgoing_memory access;
	struct mr_page_saver saver;
	uint8_t *memory;
	uint8_t destination[PAGES][PAGE];
	/* of the page saved last */
	enum mr_saved saved;
	struct mr_bytes data;
	struct mr_page_place place;
	/* the model */
	struct entry entries[SLOTS];
	struct mr_page_counts counts;
};

static const uint8_t *look(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look what)
{
	struct guest *guest = argument;
	uint8_t *page = guest->memory[offset / PAGE];

	assert_int_equal(block, 3);
	assert_int_equal(offset % PAGE, 0);
	guest->actor = actor;
	if (what == MR_LOOK_SEND && guest->race == RACE_WRITE)
		page[random_below(&guest->random, PAGE)] ^= 0x55;
	if (what == MR_LOOK_SEND && guest->race == RACE_FILL)
		random_fill(&guest->random, page, PAGE);
	if (what == MR_LOOK_SEND && guest->race == RACE_ZERO)
		memset(page, 0, PAGE);
	guest->looks[what]++;
	return page;
}

static struct world *world_new(const char *release, uint64_t cache_size)
{
	struct world *world = calloc(1, sizeof(*world));
	struct mr_profile profile;
	size_t size;

	assert_non_null(world);
	assert_int_equal(mr_profile_init(&profile, release), 0);
	assert_true(mr_page_saver_size(PAGE, cache_size, &size));
	world->memory = malloc(size ? size : 1);
	assert_non_null(world->memory);
	world->guest.random.state = 17;
	world->access = (struct mr_outgoing_memory){&world->guest, look};
	mr_page_saver_init(&world->saver, &profile, &world->access, PAGE, cache_size, world->memory);
	world->saver.generation = 1;
	return world;
}

static void world_free(struct world *world)
{
	free(world->memory);
	free(world);
}

/* ---- The destination ---- */

static void apply(struct world *world, uint64_t page)
{
	uint8_t *there = world->destination[page];

	switch (world->saved) {
	case MR_SAVED_NOTHING:
		break;
	case MR_SAVED_ZERO:
		memset(there, 0, PAGE);
		break;
	case MR_SAVED_PAGE:
		assert_int_equal(world->data.length, PAGE);
		memcpy(there, world->data.data, PAGE);
		break;
	case MR_SAVED_XBZRLE:
		assert_in_range(world->data.length, 1, PAGE);
		assert_int_equal(mr_xbzrle_decode(there, PAGE, world->data, NULL), MR_NO_RULE);
		mr_page_count_xbzrle(&world->saver, HEADER + ENCODING_HEADER + world->data.length);
		break;
	}
	if (world->saved == MR_SAVED_NOTHING || world->saved == MR_SAVED_ZERO)
		assert_int_equal(world->data.length, 0);
}

/* Saves a page; what the destination has then is the page as it was looked at last. */
static enum mr_saved save(struct world *world, uint64_t page)
{
	const struct mr_page_saver *saver = &world->saver;

	memset(world->guest.looks, 0, sizeof(world->guest.looks));
	world->place.block = 3;
	world->place.offset = page * PAGE;
	world->place.cache_address = BLOCK_AT + page * PAGE;
	world->saved = mr_page_save(&world->saver, &world->place, &world->data);
	apply(world, page);
	/* a page is looked at once to test it, and once to send it */
	assert_int_equal(world->guest.looks[MR_LOOK_ZERO], saver->zero_detection);
	assert_int_equal(world->guest.looks[MR_LOOK_SEND], world->saved != MR_SAVED_ZERO);
	if (world->saved != MR_SAVED_ZERO)
		assert_memory_equal(world->destination[page], world->guest.memory[page], PAGE);
	return world->saved;
}

/* keeps SRC-022: whatever is in the cache is what the destination has. */
static void check_cache(const struct world *world)
{
	const struct mr_page_cache *cache = &world->saver.cache;

	for (size_t slot = 0; slot < SLOTS; slot++) {
		if (cache->addresses[slot] == UINT64_MAX)
			continue;
		assert_memory_equal(cache->pages + slot * PAGE,
				    world->destination[(cache->addresses[slot] - BLOCK_AT) / PAGE], PAGE);
	}
}

/* ---- The model: what the sheet says, written down otherwise ---- */

static bool all_zero(const uint8_t *page)
{
	for (size_t i = 0; i < PAGE; i++)
		if (page[i] != 0)
			return false;
	return true;
}

static size_t run_bytes(size_t run)
{
	return run < 128 ? 1 : 2;
}

/* Bytes of the encoding: 0 if nothing changed, PAGE + 1 if it does not fit. */
static size_t encoded_length(const uint8_t *old, const uint8_t *page)
{
	size_t length = 0, at = 0;

	for (;;) {
		size_t equal = 0, differing = 0;

		while (at + equal < PAGE && old[at + equal] == page[at + equal])
			equal++;
		at += equal;
		if (at == PAGE)
			return length;
		while (at + differing < PAGE && old[at + differing] != page[at + differing])
			differing++;
		at += differing;
		if (PAGE - length < 2)
			return PAGE + 1;
		length += run_bytes(equal);
		if (PAGE - length < 2 || PAGE - length - run_bytes(differing) < differing)
			return PAGE + 1;
		length += run_bytes(differing) + differing;
	}
}

static struct entry *slot_of(struct world *world, uint64_t page)
{
	return &world->entries[(BLOCK_AT / PAGE + page) % SLOTS];
}

static void store(struct world *world, uint64_t page, const uint8_t *content)
{
	struct entry *entry = slot_of(world, page);

	if (entry->used && entry->page != page && entry->age + 2 > world->saver.generation)
		return;
	*entry = (struct entry){.page = page, .age = world->saver.generation, .used = true};
	memcpy(entry->content, content, PAGE);
}

static enum mr_saved expect_hit(struct world *world, struct entry *entry, const uint8_t *page)
{
	size_t length = encoded_length(entry->content, page);
	bool all_hits = world->saver.counts_hits;

	entry->age = world->saver.generation;
	if (!world->place.last_stage && length)
		memcpy(entry->content, page, PAGE);
	world->counts.xbzrle_pages += all_hits || (length && length <= PAGE);
	if (length == 0)
		return MR_SAVED_NOTHING;
	if (length > PAGE) {
		world->counts.xbzrle_overflow++;
		world->counts.xbzrle_bytes += all_hits ? PAGE : 0;
		world->counts.normal++;
		return MR_SAVED_PAGE;
	}
	world->counts.xbzrle_bytes += ENCODING_HEADER + length + (all_hits ? 0 : HEADER);
	return MR_SAVED_XBZRLE;
}

/* `tested` and `sent`: what the page held at each look. */
static enum mr_saved expected(struct world *world, uint64_t page, const uint8_t *tested, const uint8_t *sent)
{
	static const uint8_t zeros[PAGE];
	const struct mr_page_saver *saver = &world->saver;
	struct entry *entry = slot_of(world, page);

	if (saver->zero_detection && all_zero(tested)) {
		world->counts.duplicate++;
		if (saver->xbzrle_started)
			store(world, page, zeros);
		return MR_SAVED_ZERO;
	}
	if (saver->xbzrle_started && (!world->place.postcopy || saver->xbzrle_in_postcopy)) {
		if (entry->used && entry->page == page)
			return expect_hit(world, entry, sent);
		world->counts.xbzrle_cache_miss++;
		if (!world->place.last_stage)
			store(world, page, sent);
	}
	world->counts.normal++;
	return MR_SAVED_PAGE;
}

static void save_as_expected(struct world *world, uint64_t page)
{
	uint8_t tested[PAGE];
	enum mr_saved saved;

	memcpy(tested, world->guest.memory[page], PAGE);
	saved = save(world, page);
	assert_int_equal(saved, expected(world, page, tested, world->guest.memory[page]));
	if (saved == MR_SAVED_ZERO)
		assert_true(all_zero(world->destination[page]));
	assert_memory_equal(&world->saver.counts, &world->counts, sizeof(world->counts));
}

static void dirty(struct world *world, struct random *random, uint64_t page)
{
	uint8_t *bytes = world->guest.memory[page];

	switch (random_below(random, 6)) {
	case 0:
		memset(bytes, 0, PAGE);
		break;
	case 1:
		random_fill(random, bytes, PAGE);
		break;
	case 2:
		bytes[0] ^= 1;
		bytes[PAGE - 1] ^= 1;
		break;
	case 3:
		for (size_t i = 0; i < PAGE; i += 2)
			bytes[i] ^= 0xff;
		break;
	case 4:
		memset(bytes + random_below(random, PAGE / 2), (int)random_below(random, 3), PAGE / 2);
		break;
	default: /* written with what it held */
		break;
	}
}

/* Rounds of a migration; what was raced with is dirty again, and the last pass has no races. */
static void migrate(const char *release, uint64_t seed, bool zero_detection, bool postcopy)
{
	struct world *world = world_new(release, CACHE);
	struct random random = {seed};

	world->guest.random.state = seed + 1;
	world->saver.zero_detection = zero_detection;
	for (unsigned round = 0; round < 60; round++) {
		for (uint64_t page = 0; page < PAGES; page++) {
			world->guest.race = RACE_NONE;
			if (round > 0 && random_below(&random, 3) == 0)
				continue;
			dirty(world, &random, page);
			if (random_below(&random, 4) == 0)
				world->guest.race = (enum race)random_below(&random, 4);
			save_as_expected(world, page);
			check_cache(world);
		}
		mr_page_saver_pass_over(&world->saver);
		world->saver.generation += random_below(&random, 3);
	}
	world->guest.race = RACE_NONE;
	world->place.last_stage = !postcopy;
	world->place.postcopy = postcopy;
	for (uint64_t page = 0; page < PAGES; page++) {
		dirty(world, &random, page);
		save_as_expected(world, page);
	}
	assert_memory_equal(world->destination, world->guest.memory, sizeof(world->destination));
	world_free(world);
}

static void memory_arrives(void **state)
{
	static const char *const releases[] = {"2.7", "5.0", "7.2", "11.1"};

	(void)state;
	for (uint64_t seed = 1; seed <= (RUNNING_ON_VALGRIND ? 8 : 64); seed++)
		migrate(releases[seed % 4], seed, seed % 5 != 0, seed % 3 == 0);
}

/* ---- One rule each ---- */

static void sizes(void **state)
{
	size_t size = 1;

	(void)state;
	assert_true(mr_page_saver_size(4096, 0, &size));
	assert_int_equal(size, 0);
	assert_true(mr_page_saver_size(4096, 65536, &size));
	assert_int_equal(size, mr_page_cache_memory(65536, 4096) + (size_t)3 * 4096);
	assert_false(mr_page_saver_size(4096, 3 * 4096, &size));
	assert_false(mr_page_saver_size(4096, 4095, &size));
	assert_false(mr_page_saver_size((size_t)1 << 62, (uint64_t)1 << 62, &size));
}

/* keeps SRC-018; a page that is not tested breaks SRC-018. */
static void zero_pages(void **state)
{
	struct world *world = world_new("7.2", 0);

	(void)state;
	assert_int_equal(save(world, 0), MR_SAVED_ZERO);
	world->guest.memory[1][PAGE - 1] = 1;
	assert_int_equal(save(world, 1), MR_SAVED_PAGE);
	/* what the first look shows decides */
	world->guest.race = RACE_FILL;
	assert_int_equal(save(world, 0), MR_SAVED_ZERO);
	world->guest.memory[2][0] = 1;
	world->guest.race = RACE_ZERO;
	assert_int_equal(save(world, 2), MR_SAVED_PAGE);
	assert_true(all_zero(world->destination[2]));
	world->guest.race = RACE_NONE;
	world->saver.zero_detection = false;
	assert_int_equal(save(world, 3), MR_SAVED_PAGE);
	assert_int_equal(world->saver.counts.duplicate, 2);
	assert_int_equal(world->saver.counts.normal, 3);
	world->place.actor = MR_SOURCE_RETURN;
	save(world, 4);
	assert_int_equal(world->guest.actor, MR_SOURCE_RETURN);
	world_free(world);
}

/* Both halves of a page's way, with something else between them. */
static void halves(void **state)
{
	struct world *world = world_new("7.2", 0);
	struct mr_page_place place = {.block = 3, .offset = PAGE, .cache_address = BLOCK_AT + PAGE};
	struct mr_bytes data;

	(void)state;
	assert_true(mr_page_save_zero(&world->saver, &place));
	world->guest.memory[1][5] = 5;
	assert_false(mr_page_save_zero(&world->saver, &place));
	assert_int_equal(mr_page_save_content(&world->saver, &place, &data), MR_SAVED_PAGE);
	assert_memory_equal(data.data, world->guest.memory[1], PAGE);
	assert_int_equal(world->saver.counts.duplicate, 1);
	assert_int_equal(world->saver.counts.normal, 1);
	world_free(world);
}

/* Makes a page that the cache has, unless its slot is taken. */
static void send_once(struct world *world, uint64_t page)
{
	world->guest.memory[page][7] = 7;
	assert_int_equal(save(world, page), MR_SAVED_PAGE);
}

static void when_it_begins(void **state)
{
	struct world *world = world_new("7.2", CACHE);

	(void)state;
	/* keeps SRC-020: in the first pass pages are neither looked up nor stored */
	send_once(world, 0);
	assert_int_equal(save(world, 0), MR_SAVED_PAGE);
	assert_int_equal(world->saver.counts.xbzrle_cache_miss, 0);
	mr_page_saver_pass_over(&world->saver);
	assert_int_equal(save(world, 0), MR_SAVED_PAGE);
	assert_int_equal(world->saver.counts.xbzrle_cache_miss, 1);
	assert_int_equal(save(world, 0), MR_SAVED_NOTHING);
	/* in postcopy, anything else breaks SRC-020 */
	world->place.postcopy = true;
	assert_int_equal(save(world, 0), MR_SAVED_PAGE);
	/* what the cache held before a reset says nothing any more */
	world->place.postcopy = false;
	mr_page_saver_reset(&world->saver);
	world->guest.memory[0][1] = 1;
	assert_int_equal(save(world, 0), MR_SAVED_PAGE);
	mr_page_saver_pass_over(&world->saver);
	assert_int_equal(save(world, 0), MR_SAVED_PAGE);
	assert_int_equal(save(world, 0), MR_SAVED_NOTHING);
	world_free(world);

	/* up to 2.7 it goes on in postcopy, where no destination takes it */
	world = world_new("2.7", CACHE);
	mr_page_saver_pass_over(&world->saver);
	world->place.postcopy = true;
	send_once(world, 0);
	world->guest.memory[0][1] = 1;
	assert_int_equal(save(world, 0), MR_SAVED_XBZRLE);
	world_free(world);

	/* without the capability it never begins */
	world = world_new("7.2", 0);
	mr_page_saver_pass_over(&world->saver);
	send_once(world, 0);
	assert_int_equal(save(world, 0), MR_SAVED_PAGE);
	mr_page_saver_reset(&world->saver);
	assert_int_equal(save(world, 0), MR_SAVED_PAGE);
	assert_int_equal(world->saver.counts.xbzrle_cache_miss, 0);
	world_free(world);
}

/* keeps SRC-021: the slot is that of the page among all RAM, and a page ages by dirty-sync-count. */
static void what_the_cache_goes_by(void **state)
{
	struct world *world = world_new("7.2", CACHE);

	(void)state;
	mr_page_saver_pass_over(&world->saver);
	send_once(world, 0);
	assert_int_equal(world->saver.cache.addresses[BLOCK_AT / PAGE % SLOTS], BLOCK_AT);
	/* the same slot: refused, so the page goes out uncached */
	send_once(world, SLOTS);
	assert_int_equal(save(world, SLOTS), MR_SAVED_PAGE);
	assert_int_equal(save(world, 0), MR_SAVED_NOTHING);
	world->saver.generation = 2;
	assert_int_equal(save(world, SLOTS), MR_SAVED_PAGE);
	assert_int_equal(save(world, SLOTS), MR_SAVED_PAGE);
	/* found at 2, hence young until 4: taking its place at 3 breaks SRC-021 */
	assert_int_equal(save(world, 0), MR_SAVED_NOTHING);
	world->saver.generation = 3;
	assert_int_equal(save(world, SLOTS), MR_SAVED_PAGE);
	assert_int_equal(save(world, SLOTS), MR_SAVED_PAGE);
	world->saver.generation = 4;
	assert_int_equal(save(world, SLOTS), MR_SAVED_PAGE);
	assert_int_equal(save(world, SLOTS), MR_SAVED_NOTHING);
	assert_int_equal(save(world, 0), MR_SAVED_PAGE);
	assert_int_equal(world->saver.counts.xbzrle_cache_miss, 9);
	world_free(world);
}

static void zeros_are_stored(void **state)
{
	struct world *world = world_new("7.2", CACHE);

	(void)state;
	mr_page_saver_pass_over(&world->saver);
	/* a zero page that was unknown: what changes is encoded against zeros */
	assert_int_equal(save(world, 0), MR_SAVED_ZERO);
	world->guest.memory[0][3] = 3;
	assert_int_equal(save(world, 0), MR_SAVED_XBZRLE);
	assert_memory_equal(world->data.data, "\x03\x01\x03", 3);
	/* a page that becomes zero, and is written to between the looks: leaving the old page there breaks SRC-022 */
	memset(world->guest.memory[0], 0, PAGE);
	world->guest.race = RACE_WRITE;
	assert_int_equal(save(world, 0), MR_SAVED_ZERO);
	world->guest.race = RACE_NONE;
	check_cache(world);
	world->guest.memory[0][0] = 1;
	assert_int_equal(save(world, 0), MR_SAVED_XBZRLE);
	assert_memory_equal(world->data.data, "\x00\x01\x01", 3);
	/* not where another page is young */
	assert_int_equal(save(world, SLOTS), MR_SAVED_ZERO);
	assert_int_equal(save(world, 0), MR_SAVED_NOTHING);
	world_free(world);
}

/* What is stored is what is sent, although the guest writes on; of a miss it is the stored copy itself. */
static void stored_copy_is_sent(void **state)
{
	struct world *world = world_new("7.2", CACHE);
	const struct mr_page_cache *cache = &world->saver.cache;

	(void)state;
	mr_page_saver_pass_over(&world->saver);
	send_once(world, 2);
	assert_ptr_equal(world->data.data, cache->pages + (BLOCK_AT / PAGE + 2) % SLOTS * PAGE);
	world->guest.race = RACE_FILL;
	assert_int_equal(save(world, 2), MR_SAVED_PAGE);
	assert_ptr_not_equal(world->data.data, world->guest.memory[2]);
	check_cache(world);
	/* refused, or in the last pass: the page itself */
	world->guest.race = RACE_NONE;
	send_once(world, 2 + SLOTS);
	assert_ptr_equal(world->data.data, world->guest.memory[2 + SLOTS]);
	world->place.last_stage = true;
	send_once(world, 3);
	assert_ptr_equal(world->data.data, world->guest.memory[3]);
	world_free(world);
}

/* keeps SRC-023: nothing, an encoding, or the page, by what changed. */
static void by_what_changed(void **state)
{
	struct world *world = world_new("7.2", CACHE);

	(void)state;
	mr_page_saver_pass_over(&world->saver);
	send_once(world, 0);
	assert_int_equal(save(world, 0), MR_SAVED_NOTHING);
	world->guest.memory[0][PAGE - 1] ^= 1;
	assert_int_equal(save(world, 0), MR_SAVED_XBZRLE);
	assert_int_equal(world->data.length, 4);
	/* every second byte: two bytes for each, and what changes; XBZRLE of more than a page breaks SRC-023 */
	for (size_t i = 0; i < PAGE; i += 2)
		world->guest.memory[0][i] ^= 0xff;
	assert_int_equal(save(world, 0), MR_SAVED_PAGE);
	assert_int_equal(world->saver.counts.xbzrle_overflow, 1);
	/* stored all the same */
	assert_int_equal(save(world, 0), MR_SAVED_NOTHING);
	world_free(world);
}

static void last_stage(void **state)
{
	struct world *world = world_new("7.2", CACHE);

	(void)state;
	mr_page_saver_pass_over(&world->saver);
	send_once(world, 0);
	world->place.last_stage = true;
	/* keeps SRC-024: encoded, but not stored */
	world->guest.memory[0][1] = 1;
	assert_int_equal(save(world, 0), MR_SAVED_XBZRLE);
	assert_int_equal(world->saver.cache.pages[BLOCK_AT / PAGE % SLOTS * PAGE + 1], 0);
	/* an encoding that does not fit: sending the old copy breaks SRC-024 */
	random_fill(&world->guest.random, world->guest.memory[0], PAGE);
	assert_int_equal(save(world, 0), MR_SAVED_PAGE);
	assert_int_equal(world->saver.cache.pages[BLOCK_AT / PAGE % SLOTS * PAGE + 7], 7);
	/* a miss stays one */
	send_once(world, 1);
	assert_int_equal(save(world, 1), MR_SAVED_PAGE);
	assert_int_equal(world->saver.counts.xbzrle_cache_miss, 3);
	/* zeros alone are stored */
	assert_int_equal(save(world, 2), MR_SAVED_ZERO);
	assert_int_equal(save(world, 2), MR_SAVED_ZERO);
	world->guest.memory[2][0] = 1;
	assert_int_equal(save(world, 2), MR_SAVED_XBZRLE);
	world_free(world);
}

static void statistics_of(const char *release, const struct mr_page_counts *counts)
{
	struct world *world = world_new(release, CACHE);

	save(world, 0);
	mr_page_saver_pass_over(&world->saver);
	send_once(world, 1);
	save(world, 1);
	world->guest.memory[1][0] = 1;
	save(world, 1); /* an encoding of three bytes */
	random_fill(&world->guest.random, world->guest.memory[1], PAGE);
	save(world, 1);
	assert_memory_equal(&world->saver.counts, counts, sizeof(*counts));
	world_free(world);
}

static void statistics(void **state)
{
	const struct mr_page_counts old = {1, 2, 1, HEADER + ENCODING_HEADER + 3, 1, 1};
	const struct mr_page_counts new = {1, 2, 3, ENCODING_HEADER + 3 + PAGE, 1, 1};

	(void)state;
	statistics_of("2.7", &old);
	statistics_of("5.0", &old);
	statistics_of("5.1", &new);
	statistics_of("7.2", &new);
	statistics_of("11.1", &new);
}

/* Runs of more than 16383 bytes have no encoding: a page of 64 KiB that changed as a whole goes out as it is. */
static void large_pages(void **state)
{
	enum { LARGE = 65536 };
	struct world *world = world_new("11.1", 0);
	struct mr_profile profile;
	struct mr_page_place place = {.block = 3};
	struct mr_bytes data;
	size_t size;
	void *memory;

	(void)state;
	assert_int_equal(mr_profile_init(&profile, "11.1"), 0);
	assert_true(mr_page_saver_size(LARGE, LARGE, &size));
	memory = malloc(size);
	assert_non_null(memory);
	/* the guest's first 64 pages are this one */
	mr_page_saver_init(&world->saver, &profile, &world->access, LARGE, LARGE, memory);
	mr_page_saver_pass_over(&world->saver);
	memset(world->guest.memory, 1, sizeof(world->guest.memory));
	assert_int_equal(mr_page_save(&world->saver, &place, &data), MR_SAVED_PAGE);
	memset(world->guest.memory, 2, sizeof(world->guest.memory));
	assert_int_equal(mr_page_save(&world->saver, &place, &data), MR_SAVED_PAGE);
	assert_int_equal(data.length, LARGE);
	assert_memory_equal(data.data, world->guest.memory, LARGE);
	assert_int_equal(world->saver.counts.xbzrle_overflow, 1);
	free(memory);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_arrives),   cmocka_unit_test(sizes),
		cmocka_unit_test(zero_pages),       cmocka_unit_test(halves),
		cmocka_unit_test(when_it_begins),   cmocka_unit_test(what_the_cache_goes_by),
		cmocka_unit_test(zeros_are_stored), cmocka_unit_test(stored_copy_is_sent),
		cmocka_unit_test(by_what_changed),  cmocka_unit_test(last_stage),
		cmocka_unit_test(statistics),       cmocka_unit_test(large_pages),
	};

	return cmocka_run_group_tests_name("page save", tests, NULL, NULL);
}
