/* pretend_guest.c: a guest that seems to run, since some of its pages are first shown altered. */
#include "sim/host/pretend_guest.h"
#include "sim/world/random.h"

#include <stdlib.h>
#include <string.h>

enum {
	ZERO_ONCE_IN = 8,  /* of altered pages, so many are shown as zeros */
	ALTERATIONS = 6,   /* places of a page that are altered, at most */
	PLACE_BYTES = 16,  /* bytes of such a place, at most */
	LINE = 64,         /* bytes that a place lies within */
	PURPOSE_STALE = 1, /* what is drawn for */
	PURPOSE_WRITE = 2,
	PURPOSE_CONTENT = 3,
};

struct mr_pretend_guest {
	struct mr_pretend_config config;
	uint32_t block_count;
	uint64_t *pages; /* of each block */
	uint8_t **left;  /* of each page: how often it will still be written */
	uint64_t stale, runs;
};

static struct mr_random draw(const struct mr_pretend_guest *guest, uint64_t purpose, uint32_t block, uint64_t page,
			     uint64_t moment)
{
	return mr_random_of(guest->config.seed, mr_mix(mr_mix(mr_mix(purpose) + block) + page) + moment);
}

/* ---- Which pages ---- */

static void choose_pages(struct mr_pretend_guest *guest)
{
	for (uint32_t block = 0; block < guest->block_count; block++)
		for (uint64_t page = 0; page < guest->pages[block]; page++) {
			struct mr_random random = draw(guest, PURPOSE_STALE, block, page, 0);

			if (!mr_random_permille(&random, guest->config.stale))
				continue;
			guest->left[block][page] = (uint8_t)guest->config.rewrites;
			guest->stale += guest->config.rewrites > 0;
		}
}

struct mr_pretend_guest *mr_pretend_guest_new(const struct mr_pretend_config *config, const uint64_t *pages,
					      uint32_t block_count)
{
	struct mr_pretend_guest *guest = calloc(1, sizeof(*guest));
	bool complete = guest != NULL;

	if (!guest)
		return NULL;
	guest->config = *config;
	guest->pages = calloc(block_count + 1u, sizeof(*guest->pages));
	guest->left = calloc(block_count + 1u, sizeof(*guest->left));
	guest->block_count = guest->pages && guest->left ? block_count : 0;
	complete = guest->block_count == block_count;
	for (uint32_t block = 0; complete && block < block_count; block++) {
		guest->pages[block] = pages[block];
		guest->left[block] = calloc((size_t)pages[block] + 1, 1);
		complete = guest->left[block] != NULL;
	}
	if (!complete) {
		mr_pretend_guest_free(guest);
		return NULL;
	}
	if (config->stale)
		choose_pages(guest);
	return guest;
}

void mr_pretend_guest_free(struct mr_pretend_guest *guest)
{
	if (!guest)
		return;
	for (uint32_t block = 0; block < guest->block_count; block++)
		free(guest->left[block]);
	free(guest->left);
	free(guest->pages);
	free(guest);
}

/* ---- Writing ---- */

static bool is_written(struct mr_pretend_guest *guest, uint32_t block, uint64_t page, bool stops)
{
	uint8_t *left = &guest->left[block][page];
	struct mr_random random;

	if (*left == 0)
		return false;
	random = draw(guest, PURPOSE_WRITE, block, page, guest->runs);
	if (!stops && mr_random_next(&random) % 2)
		return false;
	*left = stops ? 0 : (uint8_t)(*left - 1);
	guest->stale -= *left == 0;
	return true;
}

static void write_block(struct mr_pretend_guest *guest, uint32_t block, bool stops, mr_pretend_dirty *dirty,
			void *argument)
{
	uint64_t first = 0, count = 0;

	for (uint64_t page = 0; page < guest->pages[block]; page++) {
		if (is_written(guest, block, page, stops)) {
			first = count ? first : page;
			count++;
			continue;
		}
		if (count)
			dirty(argument, block, first, count);
		count = 0;
	}
	if (count)
		dirty(argument, block, first, count);
}

static void write_all(struct mr_pretend_guest *guest, bool stops, mr_pretend_dirty *dirty, void *argument)
{
	guest->runs++;
	for (uint32_t block = 0; guest->stale && block < guest->block_count; block++)
		write_block(guest, block, stops, dirty, argument);
}

void mr_pretend_guest_run(struct mr_pretend_guest *guest, mr_pretend_dirty *dirty, void *argument)
{
	write_all(guest, false, dirty, argument);
}

void mr_pretend_guest_stop(struct mr_pretend_guest *guest, mr_pretend_dirty *dirty, void *argument)
{
	write_all(guest, true, dirty, argument);
}

uint64_t mr_pretend_guest_stale(const struct mr_pretend_guest *guest)
{
	return guest->stale;
}

/* ---- Showing ---- */

bool mr_pretend_guest_alters(const struct mr_pretend_guest *guest, uint32_t block, uint64_t page)
{
	return guest->left[block][page] != 0;
}

void mr_pretend_guest_show(const struct mr_pretend_guest *guest, uint32_t block, uint64_t page, const uint8_t *truth,
			   uint8_t *out)
{
	const size_t page_size = guest->config.page_size;
	struct mr_random random = draw(guest, PURPOSE_CONTENT, block, page, guest->left[block][page]);
	const uint64_t places = 1 + mr_random_below(&random, ALTERATIONS);

	if (mr_random_below(&random, ZERO_ONCE_IN) == 0) {
		memset(out, 0, page_size);
		return;
	}
	memcpy(out, truth, page_size);
	for (uint64_t i = 0; i < places; i++) {
		uint8_t *place = out + mr_random_below(&random, page_size / LINE) * LINE;
		const uint64_t length = 1 + mr_random_below(&random, PLACE_BYTES);

		for (uint64_t at = 0; at < length; at++)
			place[at] = (uint8_t)(place[at] ^ (1 + mr_random_below(&random, UINT8_MAX)));
	}
}
