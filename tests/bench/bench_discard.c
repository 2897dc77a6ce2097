/* bench_discard.c: the discards of a guest of 1 TiB, against a bare scan over the words of its bitmap. */
#include "tests/bench/bench.h"

#include "ref/discard.h"

enum { ROUNDS = 9, PAGE_SIZE = 4096, HUGE_PAGE_SIZE = 2 << 20, ONE_IN = 1000, LANES = 4 };

static const uint64_t guest_size = UINT64_C(1) << 40;
static const uint64_t pages = (UINT64_C(1) << 40) / PAGE_SIZE;
static const size_t words = (size_t)((UINT64_C(1) << 40) / PAGE_SIZE / 64);

static uint64_t *pattern; /* as the maps are before each round */
static uint64_t *dirty, *unsent;
static volatile uint64_t sink;

static uint64_t *map_new(void)
{
	return (uint64_t *)(void *)bench_map(words * sizeof(uint64_t), true);
}

/* ---- What is measured ---- */

/* What no search through the map can do without: each word read once. */
static __attribute__((noinline)) uint64_t scan(const uint64_t *map)
{
	uint64_t any[LANES] = {0};

	for (size_t i = 0; i < words; i += LANES)
		for (size_t lane = 0; lane < LANES; lane++)
			any[lane] |= map[i + lane];
	return any[0] | any[1] | any[2] | any[3];
}

struct job {
	const char *title, *release;
	uint64_t host_page;
	bool empty, encode;
	double target;
};

static void begin(const struct job *job, struct mr_discard_walk *walk, struct mr_discard_source_block *block)
{
	struct mr_profile profile;

	*block = (struct mr_discard_source_block){
		.name = {(const uint8_t *)"pc.ram", 6},
		.used_length = guest_size,
		.page_size = job->host_page,
		.dirty = dirty,
		.unsent = unsent,
	};
	memset(unsent, 0, words * sizeof(*unsent));
	if (job->empty)
		memset(dirty, 0, words * sizeof(*dirty));
	else
		memcpy(dirty, pattern, words * sizeof(*dirty));
	mr_profile_init(&profile, job->release);
	if (mr_discard_walk_init(walk, &profile, PAGE_SIZE, PAGE_SIZE, block, 1) != MR_NO_RULE)
		bench_die("the block cannot be walked");
}

static struct bench_time measure_walk(const struct job *job, struct mr_discard_walk *walk)
{
	struct mr_discard_source_block block;
	uint8_t out[MR_DISCARD_COMMAND_MAX];
	struct mr_record record;
	struct bench_time start;
	uint64_t bytes = 0;

	begin(job, walk, &block);
	start = bench_now();
	while (mr_discard_walk_next(walk, &record))
		bytes += job->encode ? mr_encode(&record, out, sizeof(out)) : record.length;
	sink = bytes;
	return bench_since(start);
}

/* Releases up to 4.1 have two maps to look at. */
static struct bench_time measure_scan(const struct job *job)
{
	const struct bench_time start = bench_now();

	sink = scan(dirty);
	if (strcmp(job->release, "4.1") == 0)
		sink = scan(unsent);
	return bench_since(start);
}

static void bench_job(const struct job *job)
{
	struct bench_samples ours = {0}, bare = {0};
	struct mr_discard_walk walk;

	measure_walk(job, &walk);
	for (unsigned i = 0; i < ROUNDS; i++) {
		bench_add(&ours, measure_walk(job, &walk));
		bench_add(&bare, measure_scan(job));
	}
	bench_table_row(job->title, &ours, &bare, job->target);
	printf("%36llu ranges, %llu commands, %llu pages became dirty\n", (unsigned long long)walk.ranges,
	       (unsigned long long)walk.commands, (unsigned long long)walk.added);
}

/* ---- Instructions ---- */

/* A name that instructions.sh knows: callgrind counts in it alone. */
uint64_t count_walk(struct mr_discard_walk *walk, uint64_t most);

/* Walks until so many ranges are out, or to the end. */
__attribute__((noinline)) uint64_t count_walk(struct mr_discard_walk *walk, uint64_t most)
{
	struct mr_record record;

	while (walk->ranges < most && mr_discard_walk_next(walk, &record))
		;
	return walk->ranges;
}

/*
 * Instructions for each range of one page, with about a thousand clean ones before it; or for each 64 words of a clean
 * map: a word takes too few to be compared.
 */
static int count_instructions(const char *kind)
{
	enum { COUNTED_RANGES = 1200, COUNTED_WORDS = 1 << 18, WORDS = 64 };
	const bool clean = strcmp(kind, "discard-64-words") == 0;
	const struct job job = {.release = "11.1", .host_page = PAGE_SIZE, .empty = clean};
	struct mr_discard_source_block block;
	struct mr_discard_walk walk;
	uint64_t count;

	if (!clean && strcmp(kind, "discard-range") != 0)
		bench_die("expected discard-64-words or discard-range");
	begin(&job, &walk, &block);
	if (clean)
		block.used_length = (uint64_t)COUNTED_WORDS * WORDS * PAGE_SIZE;
	count = count_walk(&walk, COUNTED_RANGES);
	printf("%llu\n", (unsigned long long)(clean ? COUNTED_WORDS / WORDS : count));
	return 0;
}

int main(int argc, char **argv)
{
	static const struct job jobs[] = {
		{"nothing dirty", "11.1", PAGE_SIZE, true, false, 0.5},
		{"nothing dirty, huge pages", "11.1", HUGE_PAGE_SIZE, true, false, 0},
		{"nothing dirty, 4.1: two maps", "4.1", PAGE_SIZE, true, false, 0},
		{"one page in a thousand", "11.1", PAGE_SIZE, false, false, 0},
		{"the same, encoded", "11.1", PAGE_SIZE, false, true, 0},
		{"the same, huge pages", "11.1", HUGE_PAGE_SIZE, false, false, 0},
		{"the same, host pages of 64 KiB", "11.1", 64 << 10, false, false, 0},
		{"the same, 4.1: two maps", "4.1", PAGE_SIZE, false, false, 0},
	};
	uint64_t state = 0x9e3779b97f4a7c15;

	pattern = map_new();
	dirty = map_new();
	unsent = map_new();
	for (uint64_t i = 0; i < pages / ONE_IN; i++) {
		uint64_t random;

		bench_fill_random((uint8_t *)&random, sizeof(random), &state);
		mr_bitmap_set(pattern, random % pages, 1);
	}
	if (argc > 1)
		return count_instructions(argv[1]);
	printf("discards of a guest of 1 TiB, 32 MiB of bitmap, %u rounds\n\n", (unsigned)ROUNDS);
	bench_table_head("bare scan");
	for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++)
		bench_job(&jobs[i]);
	return 0;
}
