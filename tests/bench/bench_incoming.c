/* bench_incoming.c: what the destination's machine costs beside decoding, and how it grows with the guest. */
#include "tests/bench/stream.h"

#include "ref/incoming.h"

enum { ROUNDS = 9, CONTENT_ROUNDS = 3, PAGES = 131072, TOUCHED = 1 << 20 };

static const uint64_t SMALL_GUEST = (uint64_t)8 << 30;
static const uint64_t LARGE_GUEST = (uint64_t)1 << 40;

static struct mr_session session;
static struct mr_decoder decoder;
static volatile uint64_t sink;

/* ---- Streams ---- */

static uint8_t *put_command(uint8_t *at, unsigned number, unsigned length)
{
	at = bench_put(at, 1, 0x08);
	at = bench_put(at, 2, number);
	return bench_put(at, 2, length);
}

/* Everything up to the body of the listen loader's only PART. */
static uint8_t *put_postcopy_head(uint8_t *at, uint64_t guest)
{
	at = bench_put(at, 8, 0x5145564d00000003);
	at = bench_put(at, 5, 0x0700000000 | strlen("pc-i440fx-7.2"));
	at = bench_put_text(at, "pc-i440fx-7.2");
	at = put_command(at, MR_COMMAND_OPEN_RETURN_PATH, 0);
	at = put_command(at, MR_COMMAND_POSTCOPY_ADVISE, 16);
	at = bench_put(at, 8, BENCH_PAGE_SIZE);
	at = bench_put(at, 8, BENCH_PAGE_SIZE);
	at = bench_put(at, 5, 0x0100000002);
	at = bench_put(at, 1, 3);
	at = bench_put_text(at, "ram");
	at = bench_put(at, 4, 0);
	at = bench_put(at, 4, 4);
	at = bench_put(at, 8, guest | 0x004);
	at = bench_put(at, 1, strlen("pc.ram"));
	at = bench_put_text(at, "pc.ram");
	at = bench_put(at, 8, guest);
	at = bench_put(at, 8, 0x010);
	at = bench_put(at, 5, 0x7e00000002);
	at = put_command(at, MR_COMMAND_POSTCOPY_RAM_DISCARD, 9 + 16);
	at = bench_put(at, 2, strlen("pc.ram"));
	at = bench_put_text(at, "pc.ram");
	at = bench_put(at, 1, 0);
	at = bench_put(at, 8, 0);
	at = bench_put(at, 8, guest);
	at = put_command(at, MR_COMMAND_PACKAGED, 4);
	at = bench_put(at, 4, 10);
	at = put_command(at, MR_COMMAND_POSTCOPY_LISTEN, 0);
	at = put_command(at, MR_COMMAND_POSTCOPY_RUN, 0);
	return bench_put(at, 5, 0x0200000002);
}

static uint8_t *put_page_head(uint8_t *at, uint64_t offset, uint64_t flag, bool named)
{
	at = bench_put(at, 8, offset | flag | (named ? 0 : 0x020));
	if (!named)
		return at;
	at = bench_put(at, 1, strlen("pc.ram"));
	return bench_put_text(at, "pc.ram");
}

/* All pages of a guest of PAGES pages, random, in order. */
static struct bench_stream stream_of_pages(void)
{
	struct bench_stream stream = {.pages = PAGES, .stride = BENCH_RECORD_HEAD + BENCH_PAGE_SIZE};
	uint64_t state = 0x9e3779b97f4a7c15;
	uint8_t *at;

	stream.mapped = 2 * BENCH_HEAD_MAX + stream.pages * stream.stride;
	stream.data = bench_map(stream.mapped, false);
	at = put_postcopy_head(stream.data, stream.pages * BENCH_PAGE_SIZE);
	for (uint64_t i = 0; i < stream.pages; i++) {
		at = put_page_head(at, i * BENCH_PAGE_SIZE, 0x008, i == 0);
		bench_fill_random(at, BENCH_PAGE_SIZE, &state);
		at += BENCH_PAGE_SIZE;
	}
	stream.size = (size_t)(bench_put_tail(at) - stream.data);
	return stream;
}

/* TOUCHED zero pages of a guest, each once, spread over all of it: ascending, or in the order of a full cycle. */
static struct bench_stream stream_of_touches(uint64_t guest, bool scattered)
{
	struct bench_stream stream = {.pages = TOUCHED, .stride = BENCH_RECORD_HEAD + 1};
	const uint64_t step = guest / BENCH_PAGE_SIZE / TOUCHED;
	uint64_t place = 0;
	uint8_t *at;

	stream.mapped = 2 * BENCH_HEAD_MAX + stream.pages * stream.stride;
	stream.data = bench_map(stream.mapped, false);
	at = put_postcopy_head(stream.data, guest);
	for (uint64_t i = 0; i < stream.pages; i++) {
		at = put_page_head(at, place * step * BENCH_PAGE_SIZE, 0x002, i == 0);
		*at++ = 0;
		if (i == 0)
			stream.first = (size_t)(at - stream.data);
		/* an odd factor and an odd summand of a power of two: every place comes once */
		place = scattered ? (place * 1664525 + 1013904223) % TOUCHED : place + 1;
	}
	stream.size = (size_t)(bench_put_tail(at) - stream.data);
	return stream;
}

/* ---- Sparse memory: touched pages one after the other, found by their numbers ---- */

enum { SPARSE_SLOTS = 2 * TOUCHED };

struct sparse {
	uint64_t *keys; /* page + 1; 0: free */
	uint32_t *places;
	uint8_t *pages;
	uint32_t count;
};

static struct sparse sparse_new(void)
{
	struct sparse sparse = {
		.keys = (uint64_t *)(void *)bench_map(SPARSE_SLOTS * sizeof(uint64_t), false),
		.places = (uint32_t *)(void *)bench_map(SPARSE_SLOTS * sizeof(uint32_t), false),
		.pages = bench_map((size_t)TOUCHED * BENCH_PAGE_SIZE, false),
	};

	return sparse;
}

static void sparse_free(struct sparse *sparse)
{
	munmap(sparse->keys, SPARSE_SLOTS * sizeof(uint64_t));
	munmap(sparse->places, SPARSE_SLOTS * sizeof(uint32_t));
	munmap(sparse->pages, (size_t)TOUCHED * BENCH_PAGE_SIZE);
}

static uint8_t *sparse_page(struct sparse *sparse, uint64_t page)
{
	uint64_t slot = (page * 0x9e3779b97f4a7c15) >> 43;

	while (sparse->keys[slot % SPARSE_SLOTS] && sparse->keys[slot % SPARSE_SLOTS] != page + 1)
		slot++;
	slot %= SPARSE_SLOTS;
	if (!sparse->keys[slot]) {
		sparse->keys[slot] = page + 1;
		sparse->places[slot] = sparse->count++;
	}
	return sparse->pages + (size_t)sparse->places[slot] * BENCH_PAGE_SIZE;
}

/* ---- The machine ---- */

struct machine {
	struct mr_incoming *incoming;
	void *arena;
	size_t size;
	uint8_t *guest;        /* contents as a whole, */
	struct sparse *sparse; /* or of what was touched; both NULL: they are not kept */
	uint8_t *temporary;
};

static struct machine machine_new(uint64_t guest, bool contents)
{
	struct machine machine = {0};
	const struct mr_incoming_block block = {.name = "pc.ram", .used_length = guest};
	struct mr_incoming_config config = {.blocks = &block, .block_count = 1, .connections_max = 1};
	char error[96];

	mr_profile_init(&config.profile, "7.2");
	config.context.profile = config.profile;
	config.context.capabilities = MR_CAPABILITY_POSTCOPY_RAM;
	config.context.capabilities_known = true;
	config.context.multifd_method = MR_METHOD_UNKNOWN;
	machine.temporary = bench_map(BENCH_PAGE_SIZE, false);
	config.temporary[0] = machine.temporary;
	machine.size = mr_incoming_size(&config, error);
	if (!machine.size)
		bench_die(error);
	machine.arena = bench_map(machine.size, true);
	machine.incoming = mr_incoming_init(machine.arena, machine.size, &config);
	if (contents)
		machine.guest = bench_map(guest, false);
	return machine;
}

static void machine_free(struct machine *machine, uint64_t guest)
{
	munmap(machine->arena, machine->size);
	munmap(machine->temporary, BENCH_PAGE_SIZE);
	if (machine->guest)
		munmap(machine->guest, guest);
}

static bool drain(struct machine *machine, unsigned actor, uint64_t *placed)
{
	struct mr_action action;
	bool moved = false;

	while (mr_incoming_step(machine->incoming, actor, &action) == MR_STEP_ACTION) {
		moved = true;
		if (action.kind == MR_ACTION_PLACE) {
			(*placed)++;
			if (machine->guest && action.placed.data)
				memcpy(machine->guest + action.placed.offset, action.placed.data, BENCH_PAGE_SIZE);
			if (machine->sparse && action.placed.data)
				memcpy(sparse_page(machine->sparse, action.placed.offset / BENCH_PAGE_SIZE),
				       action.placed.data, BENCH_PAGE_SIZE);
		}
		if (action.asked)
			mr_incoming_complete(machine->incoming, actor, 0);
	}
	return moved;
}

static void run_machine(struct machine *machine, const struct bench_stream *stream)
{
	uint64_t placed = 0;
	bool moved = true;

	mr_incoming_open(machine->incoming, 0, MR_ROLE_MAIN);
	mr_incoming_feed(machine->incoming, 0, stream->data, stream->size, true, 0);
	while (moved) {
		moved = false;
		for (unsigned actor = MR_ACTOR_MAIN; actor <= MR_ACTOR_FAULT; actor++)
			moved |= drain(machine, actor, &placed);
	}
	if (placed != stream->pages || mr_incoming_status(machine->incoming) != MR_STATUS_COMPLETED)
		bench_die("the migration did not complete");
}

static struct bench_time replay(const struct bench_stream *stream)
{
	struct machine machine = machine_new(stream->pages * BENCH_PAGE_SIZE, true);
	const struct bench_time start = bench_now();
	struct bench_time taken;

	run_machine(&machine, stream);
	taken = bench_since(start);
	machine_free(&machine, stream->pages * BENCH_PAGE_SIZE);
	return taken;
}

/* The bare counterpart: the same decoder, and one memcpy of each page into the same kind of memory. */
static struct bench_time decode_and_copy(const struct bench_stream *stream)
{
	uint8_t *guest = bench_map(stream->pages * BENCH_PAGE_SIZE, false);
	const struct bench_time start = bench_now();
	const uint8_t *at = stream->data;
	size_t left = stream->size;
	struct bench_time taken;
	struct mr_record record;

	mr_session_init(&session, NULL, NULL, NULL);
	mr_decoder_init(&decoder, &session, MR_ROLE_MAIN, 0);
	while (mr_decode(&decoder, at, left, true, &record) == MR_RECORD) {
		if (record.kind == MR_RAM_PAGE)
			memcpy(guest + record.page.address, record.page.data.data, BENCH_PAGE_SIZE);
		at += record.length;
		left -= record.length;
	}
	sink = decoder.offset;
	taken = bench_since(start);
	munmap(guest, stream->pages * BENCH_PAGE_SIZE);
	return taken;
}

static void bench_replay(void)
{
	struct bench_stream stream = stream_of_pages();
	struct bench_samples ours = {0}, bare = {0};

	decode_and_copy(&stream);
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (i % 2)
			bench_add(&bare, decode_and_copy(&stream));
		bench_add(&ours, replay(&stream));
		if (i % 2 == 0)
			bench_add(&bare, decode_and_copy(&stream));
	}
	printf("%u random pages in postcopy, %u rounds\n\n", (unsigned)PAGES, (unsigned)ROUNDS);
	bench_table_head("decode, memcpy");
	bench_table_row("decode, machine, place", &ours, &bare, 1 / 1.3);
	bench_stream_free(&stream);
}

/* ---- Large guests ---- */

/* Bytes of the machine's memory that anybody touched. */
static size_t resident(const struct machine *machine)
{
	const size_t pages = (machine->size + BENCH_PAGE_SIZE - 1) / BENCH_PAGE_SIZE;
	unsigned char *map = malloc(pages);
	size_t count = 0;

	if (!map || mincore(machine->arena, machine->size, map) != 0)
		bench_die("mincore");
	for (size_t i = 0; i < pages; i++)
		count += map[i] & 1;
	free(map);
	return count * BENCH_PAGE_SIZE;
}

static struct bench_time touch_guest(const struct bench_stream *stream, uint64_t guest, size_t *memory)
{
	struct machine machine = machine_new(guest, false);
	const struct bench_time start = bench_now();
	struct bench_time taken;

	run_machine(&machine, stream);
	taken = bench_since(start);
	*memory = resident(&machine);
	machine_free(&machine, guest);
	return taken;
}

static void print_memory(size_t large, size_t small)
{
	const double contents = (double)TOUCHED * BENCH_PAGE_SIZE;

	printf("%-34s %.1f MiB against %.1f MiB; with the pages' contents %.3f times as much\n",
	       "  memory of the machine", (double)large / (1 << 20), (double)small / (1 << 20),
	       ((double)large + contents) / ((double)small + contents));
}

/* Records of nine bytes, so that nothing hides what the machine itself does. */
static void bench_large(bool scattered)
{
	struct bench_stream small = stream_of_touches(SMALL_GUEST, scattered);
	struct bench_stream large = stream_of_touches(LARGE_GUEST, scattered);
	struct bench_samples small_samples = {0}, large_samples = {0};
	size_t small_memory = 0, large_memory = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		bench_add(&large_samples, touch_guest(&large, LARGE_GUEST, &large_memory));
		bench_add(&small_samples, touch_guest(&small, SMALL_GUEST, &small_memory));
	}
	bench_table_row(scattered ? "zero pages, scattered" : "zero pages, ascending", &large_samples, &small_samples,
			scattered ? 0 : 1 / 1.5);
	print_memory(large_memory, small_memory);
	bench_stream_free(&small);
	bench_stream_free(&large);
}

/* The pages of `stream`, a piece at a time, as records with contents: the whole would not fit into memory. */
static void run_contents(struct machine *machine, const struct bench_stream *stream)
{
	enum { PIECE = 64, RECORD = BENCH_RECORD_HEAD + BENCH_PAGE_SIZE };
	static uint8_t piece[PIECE * RECORD];
	const uint8_t *at = stream->data + stream->first;
	uint64_t placed = 0;

	mr_incoming_open(machine->incoming, 0, MR_ROLE_MAIN);
	mr_incoming_feed(machine->incoming, 0, stream->data, stream->first, false, 0);
	for (unsigned i = 0; i < 4; i++)
		for (unsigned actor = MR_ACTOR_MAIN; actor <= MR_ACTOR_FAULT; actor++)
			drain(machine, actor, &placed);
	for (uint64_t i = 1; i + PIECE <= stream->pages; i += PIECE) {
		for (unsigned k = 0; k < PIECE; k++, at += stream->stride) {
			memcpy(piece + k * RECORD, at, BENCH_RECORD_HEAD);
			piece[k * RECORD + 7] = 0x28;
		}
		mr_incoming_feed(machine->incoming, 0, piece, sizeof(piece), false, 0);
		drain(machine, MR_ACTOR_LISTEN, &placed);
	}
	if (placed + PIECE < stream->pages)
		bench_die(mr_incoming_error(machine->incoming)->found);
}

static struct bench_time fill_guest(const struct bench_stream *stream, uint64_t guest)
{
	struct machine machine = machine_new(guest, false);
	struct sparse sparse = sparse_new();
	const struct bench_time start = bench_now();
	struct bench_time taken;

	machine.sparse = &sparse;
	run_contents(&machine, stream);
	taken = bench_since(start);
	sparse_free(&sparse);
	machine_free(&machine, guest);
	return taken;
}

static void bench_contents(void)
{
	struct bench_stream small = stream_of_touches(SMALL_GUEST, true);
	struct bench_stream large = stream_of_touches(LARGE_GUEST, true);
	struct bench_samples small_samples = {0}, large_samples = {0};

	for (unsigned i = 0; i < CONTENT_ROUNDS; i++) {
		bench_add(&large_samples, fill_guest(&large, LARGE_GUEST));
		bench_add(&small_samples, fill_guest(&small, SMALL_GUEST));
	}
	bench_table_row("pages with contents, scattered", &large_samples, &small_samples, 1 / 1.5);
	bench_stream_free(&small);
	bench_stream_free(&large);
}

/* ---- Instructions ---- */

/* A name that instructions.sh knows: callgrind counts in it alone. */
void count_step(struct machine *machine, unsigned actor, uint64_t *placed);

__attribute__((noinline)) void count_step(struct machine *machine, unsigned actor, uint64_t *placed)
{
	drain(machine, actor, placed);
}

/* What the listen loader takes for a zero page: decoding, two steps, a completion; nothing is written. */
static int count_pages(void)
{
	enum { COUNTED = 4096 };
	struct bench_stream stream = stream_of_touches(SMALL_GUEST, false);
	struct machine machine = machine_new(SMALL_GUEST, false);
	uint64_t placed = 0, before;

	mr_incoming_open(machine.incoming, 0, MR_ROLE_MAIN);
	mr_incoming_feed(machine.incoming, 0, stream.data, stream.first, false, 0);
	for (unsigned i = 0; i < 4; i++)
		for (unsigned actor = MR_ACTOR_MAIN; actor <= MR_ACTOR_FAULT; actor++)
			drain(&machine, actor, &placed);
	before = placed;
	mr_incoming_feed(machine.incoming, 0, stream.data + stream.first, COUNTED * stream.stride, false, 0);
	count_step(&machine, MR_ACTOR_LISTEN, &placed);
	printf("%llu\n", (unsigned long long)(placed - before));
	machine_free(&machine, SMALL_GUEST);
	bench_stream_free(&stream);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "postcopy-page") == 0)
		return count_pages();
	bench_replay();
	printf("\n%u pages of a guest of 1 TiB, each once, against as many of 8 GiB, %u rounds\n\n", (unsigned)TOUCHED,
	       (unsigned)ROUNDS);
	bench_table_head("8 GiB");
	bench_large(false);
	bench_large(true);
	bench_contents();
	return 0;
}
