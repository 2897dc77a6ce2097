/* report_map.c: which page of guest memory had come by when, and by what, as cells. */
#include "sim/record/report_map.h"

#include <stdlib.h>
#include <string.h>

/* More pages than this are not mapped, and discards of more than this in all are not followed. */
#define PAGES_MAX   ((uint64_t)1 << 26)
#define CHANGES_MAX ((uint64_t)1 << 30)

enum { MOMENTS_BEFORE_SWITCHOVER = 4 };

/* ---- Layout ---- */

static uint64_t pages_of(const struct mr_report *report, uint32_t block)
{
	return report->blocks[block].used_length / report->page_size;
}

/* The largest blocks, those of the list's beginning first where they are equal; told in the order of the list. */
static void choose_blocks(const struct mr_report *report, struct mr_report_pages *pages)
{
	struct mr_report_map *map = pages->map;

	for (uint32_t n = 0; n < MR_REPORT_MAP_BLOCKS_MAX; n++) {
		uint32_t largest = MR_BLOCKS_MAX;

		for (uint32_t i = 0; i < report->block_count; i++)
			if (!pages->shown[i] && pages_of(report, i) &&
			    (largest == MR_BLOCKS_MAX || pages_of(report, i) > pages_of(report, largest)))
				largest = i;
		if (largest == MR_BLOCKS_MAX)
			break;
		pages->shown[largest] = 1;
	}
	for (uint32_t i = 0; i < report->block_count; i++) {
		if (pages->shown[i]) {
			map->blocks[map->block_count++] =
				(struct mr_report_map_block){.block = i, .pages = pages_of(report, i)};
			pages->shown[i] = map->block_count;
		} else if (pages_of(report, i)) {
			map->hidden_blocks++;
			map->hidden_bytes += report->blocks[i].used_length;
		}
	}
}

static uint32_t count_cells(const struct mr_report_map *map, uint64_t pages_per_cell)
{
	uint64_t cells = 0;

	for (uint32_t i = 0; i < map->block_count; i++)
		cells += (map->blocks[i].pages + pages_per_cell - 1) / pages_per_cell;
	return cells > UINT32_MAX ? UINT32_MAX : (uint32_t)cells;
}

static void lay_cells(struct mr_report_map *map)
{
	map->pages_per_cell = 1;
	while (count_cells(map, map->pages_per_cell) > MR_REPORT_CELLS_MAX)
		map->pages_per_cell *= 2;
	for (uint32_t i = 0; i < map->block_count; i++) {
		struct mr_report_map_block *block = &map->blocks[i];

		block->first_cell = map->cell_count;
		block->cells = (uint32_t)((block->pages + map->pages_per_cell - 1) / map->pages_per_cell);
		map->cell_count += block->cells;
	}
}

/* Equally far from each other, but that the switchover, where all turns, is one of them. */
static void choose_moments(struct mr_report_map *map, mr_position length, mr_position switchover)
{
	const bool has_switchover = switchover < length;
	const unsigned before = has_switchover ? MOMENTS_BEFORE_SWITCHOVER : 0;
	const mr_position middle = has_switchover ? switchover : 0;

	for (unsigned i = 0; i < MR_REPORT_FRAMES; i++) {
		if (i < before)
			map->moments[i] = middle / before * (i + 1) + middle % before * (i + 1) / before;
		else
			map->moments[i] = middle + (length - middle) / (MR_REPORT_FRAMES - before) * (i + 1 - before);
	}
	map->moments[MR_REPORT_FRAMES - 1] = length;
}

int mr_report_pages_init(struct mr_report_pages *pages, struct mr_report *report, mr_position length,
			 mr_position switchover)
{
	memset(pages, 0, sizeof(*pages));
	pages->page_size = report->page_size;
	pages->map = calloc(1, sizeof(*pages->map));
	if (!pages->map)
		return -1;
	report->map = pages->map;
	choose_blocks(report, pages);
	for (uint32_t i = 0; i < pages->map->block_count; i++) {
		if (pages->map->blocks[i].pages > PAGES_MAX - pages->count)
			pages->count = PAGES_MAX;
		else
			pages->first[i] = pages->count;
		pages->count += pages->count == PAGES_MAX ? 0 : pages->map->blocks[i].pages;
	}
	if (pages->count == 0 || pages->count == PAGES_MAX) {
		pages->map = NULL;
		return 0;
	}
	lay_cells(pages->map);
	choose_moments(pages->map, length, switchover);
	pages->latest = calloc((size_t)pages->count, MR_REPORT_FRAMES);
	return pages->latest ? 0 : -1;
}

/* ---- Pages ---- */

static unsigned moment_of(const struct mr_report_map *map, mr_position at)
{
	unsigned moment = 0;

	while (moment + 1 < MR_REPORT_FRAMES && map->moments[moment] < at)
		moment++;
	return moment;
}

bool mr_report_pages_set(struct mr_report_pages *pages, uint32_t block, uint64_t address, mr_position at,
			 enum mr_report_arrival arrival)
{
	const uint32_t shown = pages->map && block < MR_BLOCKS_MAX ? pages->shown[block] : 0;
	const uint64_t page = address / pages->page_size;

	if (!shown || page >= pages->map->blocks[shown - 1].pages)
		return false;
	pages->latest[moment_of(pages->map, at) * pages->count + pages->first[shown - 1] + page] = (uint8_t)arrival;
	return true;
}

void mr_report_pages_discard(struct mr_report_pages *pages, uint32_t block, uint64_t start, uint64_t length,
			     mr_position at)
{
	for (uint64_t done = 0; done < length && pages->changed < CHANGES_MAX; done += pages->page_size) {
		if (start > UINT64_MAX - done ||
		    !mr_report_pages_set(pages, block, start + done, at, MR_ARRIVAL_DISCARDED))
			return;
		pages->changed++;
	}
}

static void finish_block(const struct mr_report_pages *pages, uint32_t index)
{
	struct mr_report_map *map = pages->map;
	const struct mr_report_map_block *block = &map->blocks[index];

	for (uint64_t page = 0; page < block->pages; page++) {
		const uint64_t cell = block->first_cell + page / map->pages_per_cell;
		uint8_t arrival = MR_ARRIVAL_NEVER;

		for (unsigned moment = 0; moment < MR_REPORT_FRAMES; moment++) {
			const uint8_t change = pages->latest[moment * pages->count + pages->first[index] + page];

			arrival = change ? change : arrival;
			map->counts[moment][arrival]++;
			if (arrival > map->cells[moment][cell])
				map->cells[moment][cell] = arrival;
		}
	}
}

void mr_report_pages_finish(struct mr_report_pages *pages)
{
	for (uint32_t i = 0; pages->latest && i < pages->map->block_count; i++)
		finish_block(pages, i);
	free(pages->latest);
	memset(pages, 0, sizeof(*pages));
}
