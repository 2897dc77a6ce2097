/* bench_world.c: what every event of a simulated guest costs: a page filled, a touch drawn, a page looked up. */
#include "tests/bench/bench.h"

#include "sim/world/content.h"
#include "sim/world/page_map.h"
#include "sim/world/pattern.h"

enum { ROUNDS = 9, PAGE_SIZE = 4096, FILLS = 200000, TOUCHES = 1000000, ENTRIES = 1000000 };

static struct mr_content content;
static uint8_t page[PAGE_SIZE];
static volatile uint64_t sink;

static void row(const char *name, const struct bench_samples *samples, double count)
{
	const struct bench_time median = bench_medians(samples);

	printf("%-34s %8.1f %8.1f\n", name, median.wall * 1e9 / count, median.cpu * 1e9 / count);
	fflush(stdout);
}

/* ---- Pages ---- */

/* What filling a random page cannot do without. */
static void copy_pages(void)
{
	for (uint64_t i = 0; i < FILLS; i++) {
		memcpy(page, content.pool + mr_mix(i) % (MR_CONTENT_POOL - PAGE_SIZE) / 8 * 8, PAGE_SIZE);
		/* or the compiler would leave out all but the last */
		__asm__ volatile("" : : "r"(page) : "memory");
	}
}

static void fill_pages(void)
{
	for (uint64_t i = 0; i < FILLS; i++)
		mr_content_fill(&content, 0, i % 5000, (uint32_t)(i / 5000) + 1, page, PAGE_SIZE);
}

static void measure_pages(enum mr_content_class class)
{
	struct bench_samples ours = {0}, reference = {0};

	memset(content.shares, 0, sizeof(content.shares));
	content.shares[class] = 1000;
	mr_content_init(&content, 1);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct bench_time start = bench_now();

		fill_pages();
		bench_add(&ours, bench_since(start));
		start = bench_now();
		copy_pages();
		bench_add(&reference, bench_since(start));
	}
	bench_table_row(mr_content_class_name(class), &ours, &reference, 0);
}

/* ---- Touches ---- */

static void measure_touches(enum mr_pattern_kind kind)
{
	static const struct mr_touch trace[] = {{1, true, 0}, {0, false, 0}};
	const struct mr_pattern_config config = {
		.kind = kind,
		.pages = 1000003,
		.write_permille = 500,
		.stride = 7,
		.working_set = 1000,
		.phase = 100,
		.lag = 5,
		.burst = 10,
		.pause = 3,
		.trace = trace,
		.trace_length = 2,
	};
	struct bench_samples samples = {0};
	struct mr_pattern pattern;
	struct mr_touch touch = {0};
	uint64_t sum = 0;

	mr_pattern_init(&pattern, &config, 1, 0);
	for (unsigned i = 0; i < ROUNDS; i++) {
		const struct bench_time start = bench_now();

		for (unsigned j = 0; j < TOUCHES; j++) {
			mr_pattern_next(&pattern, &touch);
			sum += touch.page;
		}
		bench_add(&samples, bench_since(start));
	}
	sink = sum;
	row(mr_pattern_name(kind), &samples, TOUCHES);
}

/* ---- Entries ---- */

/* The i-th page of those that are looked up: anywhere in 256 GiB, or one after the other. */
static uint64_t page_of(uint64_t i, bool in_order)
{
	return in_order ? i : mr_mix(i) >> 38;
}

static void look_up(struct mr_page_map *map, bool in_order)
{
	for (uint64_t i = 0; i < ENTRIES; i++) {
		struct mr_page_entry *entry = mr_page_map_get(map, 0, page_of(i, in_order));

		if (!entry)
			bench_die("no memory");
		entry->version++;
	}
}

static void measure_entries(bool in_order)
{
	struct bench_samples made = {0}, found = {0};

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct mr_page_map map = {0};
		struct bench_time start = bench_now();

		look_up(&map, in_order);
		bench_add(&made, bench_since(start));
		start = bench_now();
		look_up(&map, in_order);
		bench_add(&found, bench_since(start));
		mr_page_map_clear(&map);
	}
	row(in_order ? "made, in order" : "made, anywhere", &made, ENTRIES);
	row(in_order ? "found, in order" : "found, anywhere", &found, ENTRIES);
}

int main(void)
{
	printf("%d pages of 4 KiB filled, against memcpy\n", FILLS);
	bench_table_head("memcpy");
	for (unsigned class = 0; class < MR_CONTENT_CLASS_COUNT; class ++)
		measure_pages((enum mr_content_class) class);
	printf("\n%-34s %8s %8s\n", "nanoseconds for a touch, medians", "wall", "cpu");
	for (unsigned kind = MR_PATTERN_SEQUENTIAL; kind < MR_PATTERN_KIND_COUNT; kind++)
		measure_touches((enum mr_pattern_kind)kind);
	printf("\n%-34s %8s %8s\n", "nanoseconds for one of 1000000", "wall", "cpu");
	measure_entries(false);
	measure_entries(true);
	return 0;
}
