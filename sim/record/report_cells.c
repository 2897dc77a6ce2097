/* report_cells.c: the page map of a report: cells that differ by shape as well as by hue, now and at each moment. */
#include "sim/record/report_chart.h"

#include <inttypes.h>
#include <string.h>

enum {
	WIDTH = 1120,
	LEFT = 200,   /* names of blocks */
	COLUMNS = 64, /* cells of a row */
	CELL = 7,
	GAP = 4, /* between blocks */
};

static const char *const arrival_names[MR_ARRIVAL_COUNT] = {
	"never came",
	"zero page",
	"precopy page",
	"postcopy page, sent in the background",
	"discarded, has to come again",
	"postcopy page that somebody waited for",
};

/* Cells of a row: few of them, and large ones, for a small guest. */
static unsigned columns_of(const struct mr_report_map *map)
{
	return map->cell_count <= 256 ? 16 : map->cell_count <= 1024 ? 32 : 64;
}

/* How much larger the large map is drawn than its cells are. */
static unsigned scale_of(const struct mr_report_map *map)
{
	return map->cell_count <= 256 ? 4 : map->cell_count <= 1024 ? 3 : 2;
}

static uint32_t rows_of(const struct mr_report_map *map, const struct mr_report_map_block *block)
{
	return (block->cells + columns_of(map) - 1) / columns_of(map);
}

static unsigned map_height(const struct mr_report_map *map)
{
	unsigned height = 0;

	for (uint32_t i = 0; i < map->block_count; i++)
		height += rows_of(map, &map->blocks[i]) * CELL + GAP;
	return height;
}

/* `count` cells that came alike, side by side, the first one's corner at x and y, in sevenths of a cell. */
static void put_run(FILE *out, enum mr_report_arrival arrival, unsigned x, unsigned y, unsigned count)
{
	switch (arrival) {
	case MR_ARRIVAL_NEVER:
		fprintf(out, "M%u %uh%uv1h-%uz", x + 1, y + 4, count * CELL - 1, count * CELL - 1);
		break;
	case MR_ARRIVAL_BACKGROUND:
		fprintf(out, "M%u %uh%uv4h-%uz", x + 1, y + 2, count * CELL - 1, count * CELL - 1);
		break;
	case MR_ARRIVAL_ZERO:
		for (unsigned i = 0; i < count; i++)
			fprintf(out, "M%u %uh4v4h-4z", x + i * CELL + 2, y + 2);
		break;
	case MR_ARRIVAL_DISCARDED:
		for (unsigned i = 0; i < count; i++)
			fprintf(out, "M%u %ul5 5", x + i * CELL + 2, y + 2);
		break;
	case MR_ARRIVAL_REQUESTED:
		for (unsigned i = 0; i < count; i++)
			fprintf(out, "M%u %ul4-4l4 4l-4 4z", x + i * CELL, y + 4);
		break;
	default:
		for (unsigned i = 0; i < count; i++)
			fprintf(out, "M%u %uh6v6h-6z", x + i * CELL + 1, y + 1);
		break;
	}
}

static void put_arrival(FILE *out, const struct mr_report_map *map, const uint8_t *cells,
			enum mr_report_arrival arrival)
{
	const unsigned columns = columns_of(map);
	unsigned top = 0;
	bool any = false;

	for (uint32_t i = 0; i < map->block_count; i++) {
		const struct mr_report_map_block *block = &map->blocks[i];

		for (uint32_t cell = 0; cell < block->cells; cell++) {
			const uint32_t row_end = (cell / columns + 1) * columns;
			const uint32_t end = row_end < block->cells ? row_end : block->cells;
			uint32_t count = 0;

			while (cell + count < end && cells[block->first_cell + cell + count] == arrival)
				count++;
			if (!count)
				continue;
			if (!any)
				fprintf(out, "<path class=\"c%u\" d=\"", arrival);
			any = true;
			put_run(out, arrival, cell % columns * CELL, top + cell / columns * CELL, count);
			cell += count - 1;
		}
		top += rows_of(map, block) * CELL + GAP;
	}
	if (any)
		fputs("\"/>\n", out);
}

static void put_frame(FILE *out, const struct mr_report_map *map, unsigned moment)
{
	fprintf(out, "<g id=\"frame%u\">\n", moment);
	for (unsigned arrival = 0; arrival < MR_ARRIVAL_COUNT; arrival++)
		put_arrival(out, map, map->cells[moment], (enum mr_report_arrival)arrival);
	fputs("</g>\n", out);
}

/* ---- Around the cells ---- */

static void put_legend(FILE *out, const struct mr_report_map *map)
{
	const uint64_t *counts = map->counts[MR_REPORT_FRAMES - 1];
	char text[MR_UNIT_TEXT];

	fputs("<ul class=\"legend\">\n", out);
	for (unsigned arrival = MR_ARRIVAL_COUNT; arrival-- > 0;) {
		bool any = false;

		for (unsigned moment = 0; moment < MR_REPORT_FRAMES; moment++)
			any |= map->counts[moment][arrival] != 0;
		if (!any)
			continue;
		fprintf(out, "<li><svg viewBox=\"0 0 8 8\" aria-hidden=\"true\"><path class=\"c%u\" d=\"", arrival);
		put_run(out, (enum mr_report_arrival)arrival, 0, 0, 1);
		fprintf(out, "\"/></svg>%s: %s %s at the end</li>\n", arrival_names[arrival],
			mr_unit_count(text, counts[arrival]), counts[arrival] == 1 ? "page" : "pages");
	}
	fputs("</ul>\n", out);
}

static void put_blocks(FILE *out, const struct mr_report *report)
{
	const struct mr_report_map *map = report->map;
	const unsigned scale = scale_of(map);
	unsigned top = 0;

	for (uint32_t i = 0; i < map->block_count; i++) {
		const struct mr_report_map_block *block = &map->blocks[i];
		const struct mr_report_block *ram = &report->blocks[block->block];
		char name[32];

		fprintf(out,
			"<text class=\"small end\" x=\"%d\" y=\"%u\" data-cells=\"%" PRIu32 "\" data-top=\"%u\" "
			"data-bytes=\"%" PRIu64 "\">",
			LEFT - 12, top * scale + CELL * scale - 2, block->cells, top * scale, ram->used_length);
		snprintf(name, sizeof(name), "%.26s%s", ram->name, strlen(ram->name) > 26 ? "..." : "");
		mr_html_escape(out, name);
		fputs("</text>\n", out);
		top += rows_of(map, block) * CELL + GAP;
	}
}

static void put_slide(FILE *out)
{
	fprintf(out,
		"<div class=\"slide\" id=\"slide\" hidden=\"hidden\"><label for=\"moment\">Moment</label><input "
		"id=\"moment\" "
		"type=\"range\" min=\"0\" max=\"%d\" value=\"%d\"/><output for=\"moment\">the end</output></div>\n",
		MR_REPORT_FRAMES - 1, MR_REPORT_FRAMES - 1);
}

static void put_large(FILE *out, const struct mr_report *report)
{
	const struct mr_report_map *map = report->map;
	char text[MR_UNIT_TEXT];

	fprintf(out,
		"<div class=\"scroll\"><svg id=\"map\" viewBox=\"0 0 %d %u\" style=\"min-width:760px\" role=\"img\" "
		"aria-label=\"page map\" data-size=\"%u\" data-columns=\"%u\" data-left=\"%d\" data-step=\"%" PRIu64
		"\">\n",
		WIDTH, map_height(map) * scale_of(map), CELL * scale_of(map), columns_of(map), LEFT,
		map->pages_per_cell * report->page_size);
	put_blocks(out, report);
	fprintf(out, "<use id=\"large\" href=\"#frame%d\" transform=\"translate(%d 0) scale(%u)\"/>\n</svg></div>\n",
		MR_REPORT_FRAMES - 1, LEFT, scale_of(map));
	fprintf(out,
		"<p class=\"soft\" id=\"cell\">Each cell is %" PRIu64 " %s (%s), a row %s; of several pages the cell "
		"shows what the legend names first.</p>\n",
		map->pages_per_cell, map->pages_per_cell == 1 ? "page" : "pages",
		mr_unit_bytes(text, map->pages_per_cell * report->page_size),
		mr_unit_bytes((char[MR_UNIT_TEXT]){0}, map->pages_per_cell * report->page_size * columns_of(map)));
}

static void put_caption(FILE *out, const struct mr_report *report, unsigned moment)
{
	const uint64_t *counts = report->map->counts[moment];
	char text[MR_UNIT_TEXT];
	uint64_t all = 0, here;

	for (unsigned arrival = 0; arrival < MR_ARRIVAL_COUNT; arrival++)
		all += counts[arrival];
	here = all - counts[MR_ARRIVAL_NEVER] - counts[MR_ARRIVAL_DISCARDED];
	fprintf(out, "<figcaption>%s: %.1f %% here",
		mr_chart_position(text, report->has_timeline, report->map->moments[moment]),
		all ? (double)here / (double)all * 100 : 0);
	if (counts[MR_ARRIVAL_DISCARDED])
		fprintf(out, ", %s discarded", mr_unit_count(text, counts[MR_ARRIVAL_DISCARDED]));
	fputs("</figcaption>\n", out);
}

void mr_chart_map(FILE *out, const struct mr_report *report)
{
	const struct mr_report_map *map = report->map;
	char text[MR_UNIT_TEXT];

	put_legend(out, map);
	if (!report->mapped)
		put_slide(out);
	put_large(out, report);
	if (map->hidden_blocks)
		fprintf(out, "<p class=\"soft\">%" PRIu64 " smaller blocks, %s in all, are not drawn.</p>\n",
			map->hidden_blocks, mr_unit_bytes(text, map->hidden_bytes));
	fputs("<div class=\"multiples\">\n", out);
	for (unsigned moment = report->mapped ? MR_REPORT_FRAMES - 1 : 0; moment < MR_REPORT_FRAMES; moment++) {
		fprintf(out, "<figure id=\"moment%u\">", moment);
		put_caption(out, report, moment);
		fprintf(out, "<svg viewBox=\"0 0 %u %u\" role=\"img\" aria-label=\"page map at moment %u\">\n",
			columns_of(map) * CELL + 1, map_height(map), moment + 1);
		put_frame(out, map, moment);
		fputs("</svg></figure>\n", out);
	}
	fputs("</div>\n", out);
}
