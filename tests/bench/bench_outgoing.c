/* bench_outgoing.c: what the source's machine costs beside copying pages and looking for zeros, and its scan. */
#include "tests/bench/stream.h"

#include "ref/outgoing.h"

enum {
	ROUNDS = 9,
	SCAN_ROUNDS = 3,
	PAGES = 262144, /* 1 GiB */
	ONE_IN = 1000,
	LANES = 8,
	CHANNELS = 2,
	RECORD_MAX = BENCH_RECORD_HEAD + BENCH_PAGE_SIZE,
};

static const uint64_t LARGE_GUEST = (uint64_t)1 << 40;
static const size_t contents = (size_t)PAGES * BENCH_PAGE_SIZE;

static uint8_t *memory;  /* of the guest: 1 GiB, random or zero */
static uint8_t *written; /* where the consumer puts what the machine sends */
static size_t room;      /* of it */
static volatile uint64_t sink;

/* ---- The machine and its world ---- */

struct machine {
	struct mr_outgoing *outgoing;
	void *arena;
	size_t size;
	bool copies; /* the consumer copies what it is given */
	size_t used; /* of `written` */
	uint64_t pages;
	struct mr_handlers handlers;
	struct mr_handler_entry entry;
};

static const uint8_t *page_of(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	(void)argument;
	(void)actor;
	(void)block;
	(void)look;
	return memory + offset;
}

/* A guest that is too large to exist: each of its pages is the same. */
static const uint8_t *shared_page(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	(void)argument;
	(void)actor;
	(void)block;
	(void)offset;
	(void)look;
	return memory;
}

static void machine_init(struct machine *machine, uint64_t guest, bool multifd)
{
	const struct mr_outgoing_block block = {.name = "pc.ram", .used_length = guest};
	struct mr_outgoing_config config = {
		.blocks = &block,
		.block_count = 1,
		.handlers = &machine->handlers,
		.machine = "pc-i440fx-11.1",
		.max_bandwidth = UINT64_MAX,
		.capabilities = multifd ? MR_CAPABILITY_MULTIFD : 0,
		.multifd_channels = CHANNELS,
		.method_level = INT32_MIN,
		.memory = {NULL, guest == contents ? page_of : shared_page},
	};
	struct mr_handler ram;
	char error[96];

	*machine = (struct machine){.copies = true};
	mr_profile_init(&config.profile, "11.1");
	mr_handlers_init(&machine->handlers, &config.profile, &machine->entry, 1);
	if (!mr_handler_known("ram", &ram) || mr_handlers_register(&machine->handlers, &ram, NULL, error) != MR_NO_RULE)
		bench_die("ram cannot be registered");
	machine->size = mr_outgoing_size(&config, error);
	if (!machine->size)
		bench_die(error);
	machine->arena = bench_map(machine->size, true);
	machine->outgoing = mr_outgoing_init(machine->arena, machine->size, &config);
	if (!machine->outgoing)
		bench_die("the machine cannot be laid out");
}

static void machine_free(struct machine *machine)
{
	mr_outgoing_clear(machine->outgoing);
	munmap(machine->arena, machine->size);
}

/* As a write to a socket does, into a buffer that is never too small. */
static void take_bytes(struct machine *machine, struct mr_bytes bytes)
{
	memcpy(written + machine->used, bytes.data, bytes.length);
	machine->used += bytes.length;
}

static inline void take_action(struct machine *machine, unsigned actor, const struct mr_source_action *action)
{
	if (action->kind == MR_SOURCE_ACTION_SEND) {
		machine->pages += action->send.kind == MR_RAM_PAGE || action->send.kind == MR_RAM_ZERO;
		if (!machine->copies)
			return;
		take_bytes(machine, action->send.head);
		if (action->send.body.length)
			take_bytes(machine, action->send.body);
		return;
	}
	if (action->kind == MR_SOURCE_ACTION_SAVE || action->kind == MR_SOURCE_ACTION_DESCRIBE)
		mr_outgoing_save(machine->outgoing, (struct mr_bytes){0});
	if (action->asked)
		mr_outgoing_complete(machine->outgoing, actor, 0);
}

/* Steps until `most` pages are out on the main channel, or a pass is over, or the actor waits. */
static bool run_actor(struct machine *machine, unsigned actor, uint64_t most)
{
	struct mr_source_action action;
	bool moved = false;

	while (machine->pages < most && mr_outgoing_step(machine->outgoing, actor, &action) == MR_STEP_ACTION) {
		moved = true;
		take_action(machine, actor, &action);
		if (action.kind == MR_SOURCE_ACTION_ITERATION)
			break;
	}
	return moved;
}

static void run_to_end(struct machine *machine)
{
	bool moved = true;

	while (moved) {
		moved = false;
		for (unsigned actor = MR_SOURCE_MIGRATION; actor < MR_SOURCE_MULTIFD + CHANNELS; actor++)
			moved |= run_actor(machine, actor, UINT64_MAX);
	}
	if (mr_outgoing_status(machine->outgoing) != MR_SOURCE_STATUS_COMPLETED)
		bench_die("the migration did not complete");
}

/* ---- 1 GiB ---- */

static struct bench_time send_pages(bool multifd, bool copies)
{
	struct machine machine;
	struct bench_time start, taken;

	machine_init(&machine, contents, multifd);
	machine.copies = copies;
	start = bench_now();
	run_to_end(&machine);
	taken = bench_since(start);
	if (!multifd && machine.pages != PAGES)
		bench_die("not every page was sent once");
	machine_free(&machine);
	return taken;
}

/* The bare counterpart: each page to where it lies in the stream. */
static struct bench_time copy_pages(void)
{
	const struct bench_time start = bench_now();

	for (size_t i = 0; i < PAGES; i++)
		memcpy(written + i * RECORD_MAX + BENCH_RECORD_HEAD, memory + i * BENCH_PAGE_SIZE, BENCH_PAGE_SIZE);
	return bench_since(start);
}

static struct bench_time test_pages(void)
{
	const struct bench_time start = bench_now();
	uint64_t zeros = 0;

	for (size_t at = 0; at < contents; at += BENCH_PAGE_SIZE)
		zeros += mr_is_zero(memory + at, BENCH_PAGE_SIZE);
	sink = zeros;
	if (zeros != PAGES)
		bench_die("the memory is not zero");
	return bench_since(start);
}

/* What no test can do without: every byte read once. */
static __attribute__((noinline)) uint64_t read_words(const uint64_t *words, size_t count)
{
	uint64_t any[LANES] = {0};

	for (size_t i = 0; i < count; i += LANES)
		for (size_t lane = 0; lane < LANES; lane++)
			any[lane] |= words[i + lane];
	for (size_t lane = 1; lane < LANES; lane++)
		any[0] |= any[lane];
	return any[0];
}

static struct bench_time read_pages(void)
{
	const struct bench_time start = bench_now();

	sink = read_words((const uint64_t *)(const void *)memory, contents / sizeof(uint64_t));
	return bench_since(start);
}

static void bench_pages(void)
{
	struct bench_samples sent = {0}, packed = {0}, packed_copied = {0}, copied = {0};
	uint64_t state = 0x9e3779b97f4a7c15;

	bench_fill_random(memory, contents, &state);
	memset(written, 1, room);
	for (unsigned i = 0; i < ROUNDS; i++) {
		bench_add(&sent, send_pages(false, true));
		bench_add(&copied, copy_pages());
		bench_add(&packed_copied, send_pages(true, true));
		bench_add(&packed, send_pages(true, false));
	}
	bench_table_head("memcpy");
	bench_table_row("random pages", &sent, &copied, 0.9);
	bench_table_row("multifd, method none", &packed_copied, &copied, 0);
	bench_table_row("the same, packets not copied", &packed, &copied, 0);
}

static void bench_zeros(void)
{
	struct bench_samples sent = {0}, tested = {0}, read = {0};

	memset(memory, 0, contents);
	for (unsigned i = 0; i < ROUNDS; i++) {
		bench_add(&sent, send_pages(false, true));
		bench_add(&tested, test_pages());
		bench_add(&read, read_pages());
	}
	printf("\n");
	bench_table_head("bare zero test");
	bench_table_row("zero pages", &sent, &tested, 1 / 1.2);
	printf("\n");
	bench_table_head("reading");
	bench_table_row("bare zero test", &tested, &read, 0.9);
}

/* ---- The scan over 1 TiB ---- */

/* Nothing is dirty but what this makes so. */
static void machine_begin_clean(struct machine *machine, uint64_t guest)
{
	machine_init(machine, guest, false);
	machine->copies = false;
	while (mr_outgoing_status(machine->outgoing) != MR_SOURCE_STATUS_ACTIVE) {
		struct mr_source_action action;

		if (mr_outgoing_step(machine->outgoing, MR_SOURCE_MIGRATION, &action) == MR_STEP_ACTION)
			take_action(machine, MR_SOURCE_MIGRATION, &action);
	}
	if (!mr_outgoing_free_hint(machine->outgoing, 0, 0, guest) || mr_outgoing_dirty_count(machine->outgoing))
		bench_die("some page is dirty");
}

static void make_dirty(struct machine *machine)
{
	const uint64_t pages = LARGE_GUEST / BENCH_PAGE_SIZE;
	uint64_t state = 0x9e3779b97f4a7c15;

	for (uint64_t i = 0; i < pages / ONE_IN; i++) {
		uint64_t random;

		bench_fill_random((uint8_t *)&random, sizeof(random), &state);
		mr_outgoing_dirty(machine->outgoing, 0, random % pages * BENCH_PAGE_SIZE, BENCH_PAGE_SIZE);
	}
}

/* The bare counterpart: the same bits looked for, and nothing done with them. */
static struct bench_time walk_bits(const struct machine *machine, uint64_t expected)
{
	const struct bench_time start = bench_now();
	struct bench_time taken;
	uint64_t pages, count = 0;
	const uint64_t *bits = mr_outgoing_dirty_bits(machine->outgoing, 0, &pages);

	for (uint64_t at = mr_bitmap_next_set(bits, pages, 0); at < pages; at = mr_bitmap_next_set(bits, pages, at + 1))
		count++;
	taken = bench_since(start);
	if (count != expected)
		bench_die("the bits are not as they should be");
	return taken;
}

static void bench_scan(void)
{
	struct bench_samples ours = {0}, bare = {0};
	uint64_t dirty = 0;

	memory[0] = 1;
	for (unsigned i = 0; i < SCAN_ROUNDS; i++) {
		struct machine machine;
		struct bench_time start;

		machine_begin_clean(&machine, LARGE_GUEST);
		make_dirty(&machine);
		dirty = mr_outgoing_dirty_count(machine.outgoing);
		walk_bits(&machine, dirty);
		bench_add(&bare, walk_bits(&machine, dirty));
		start = bench_now();
		run_actor(&machine, MR_SOURCE_MIGRATION, UINT64_MAX);
		bench_add(&ours, bench_since(start));
		if (machine.pages != dirty)
			bench_die("not every dirty page was sent once");
		machine_free(&machine);
	}
	printf("\n1 TiB of guest, one page in %u dirty, %u rounds\n\n", (unsigned)ONE_IN, (unsigned)SCAN_ROUNDS);
	bench_table_head("bare scan");
	bench_table_row("one pass", &ours, &bare, 0);
	printf("%36.1f ns for each page that is sent (cpu)\n", bench_medians(&ours).cpu * 1e9 / (double)dirty);
}

/* ---- Instructions ---- */

/* A name that instructions.sh knows: callgrind counts in it alone. */
void count_step(struct machine *machine, uint64_t most);

__attribute__((noinline)) void count_step(struct machine *machine, uint64_t most)
{
	run_actor(machine, MR_SOURCE_MIGRATION, most);
}

/* Instructions for each record of a page; the zero test of a zero page is among them. */
static int count_pages(bool zero)
{
	enum { BEFORE = 16, COUNTED = 4096 };
	struct machine machine;

	memory[0] = !zero;
	machine_init(&machine, LARGE_GUEST, false);
	machine.copies = false;
	run_actor(&machine, MR_SOURCE_MIGRATION, BEFORE);
	count_step(&machine, BEFORE + COUNTED);
	printf("%u\n", (unsigned)COUNTED);
	return 0;
}

/* For each 64 words of a clean map, up to a dirty page at its end: a word takes too few to be compared. */
static int count_words(void)
{
	enum { COUNTED_WORDS = 1 << 18, WORDS = 64 };
	const uint64_t guest = (uint64_t)COUNTED_WORDS * WORDS * BENCH_PAGE_SIZE;
	struct machine machine;

	memory[0] = 1;
	machine_begin_clean(&machine, guest);
	mr_outgoing_dirty(machine.outgoing, 0, guest - BENCH_PAGE_SIZE, BENCH_PAGE_SIZE);
	count_step(&machine, 1);
	printf("%u\n", (unsigned)(COUNTED_WORDS / WORDS));
	return 0;
}

static int count_instructions(const char *kind)
{
	if (strcmp(kind, "source-64-words") == 0)
		return count_words();
	if (strcmp(kind, "source-page") != 0 && strcmp(kind, "source-zero") != 0)
		bench_die("expected source-page, source-zero or source-64-words");
	return count_pages(strcmp(kind, "source-zero") == 0);
}

int main(int argc, char **argv)
{
	room = (size_t)PAGES * RECORD_MAX + (16 << 20);
	memory = bench_map(contents, true);
	written = bench_map(room, true);
	if (argc > 1)
		return count_instructions(argv[1]);
	printf("1 GiB of guest, %u rounds\n\n", (unsigned)ROUNDS);
	bench_pages();
	bench_zeros();
	bench_scan();
	return 0;
}
