/* bench_decode.c: how fast the main channel is decoded: alone, and into guest memory. */
#include "tests/bench/stream.h"

#include "ref/migref.h"
#include "sim/record/memory.h"

enum { ROUNDS = 9, PAGES = 262144, ZERO_PAGES = 4194304 };

/* Large, hence not on the stack. */
static struct mr_session session;
static struct mr_decoder decoder;
static struct mr_memory memory;

/* What the loops read ends up here, so that no compiler leaves them out. */
static volatile uint64_t sink;

static void start_decoding(void)
{
	mr_session_init(&session, NULL, NULL, NULL);
	mr_decoder_init(&decoder, &session, MR_ROLE_MAIN, 0);
}

static void expect_all(enum mr_result result, uint64_t pages, uint64_t expected)
{
	if (result == MR_DONE && pages == expected)
		return;
	fprintf(stderr, "bench: expected %llu pages and the end of the stream, found %llu and %s\n",
		(unsigned long long)expected, (unsigned long long)pages,
		result == MR_FAILED ? decoder.error.found : "no end");
	exit(3);
}

static struct bench_time decode_alone(const struct bench_stream *stream)
{
	const struct bench_time start = bench_now();
	const uint8_t *at = stream->data;
	size_t left = stream->size;
	uint64_t pages = 0, sum = 0;
	struct bench_time taken;
	struct mr_record record;
	enum mr_result result;

	start_decoding();
	while ((result = mr_decode(&decoder, at, left, true, &record)) == MR_RECORD) {
		if (record.kind == MR_RAM_PAGE || record.kind == MR_RAM_ZERO) {
			sum += record.page.address;
			pages++;
		}
		at += record.length;
		left -= record.length;
	}
	sink = sum;
	taken = bench_since(start);
	expect_all(result, pages, stream->pages);
	return taken;
}

static struct bench_time touch_headers(const struct bench_stream *stream)
{
	const struct bench_time start = bench_now();
	const uint8_t *at = stream->data + stream->first;
	uint64_t sum = 0;

	for (uint64_t i = 1; i < stream->pages; i++, at += stream->stride) {
		uint64_t word;

		memcpy(&word, at, sizeof(word));
		sum += word;
	}
	sink = sum;
	return bench_since(start);
}

static struct bench_time decode_into_memory(const struct bench_stream *stream, bool huge)
{
	const struct bench_time start = bench_now();
	const uint8_t *at = stream->data;
	size_t left = stream->size;
	uint64_t pages = 0;
	struct bench_time taken;
	struct mr_record record;
	struct mr_fault fault;
	enum mr_result result;

	start_decoding();
	mr_memory_init(&memory, &session, huge);
	while ((result = mr_decode(&decoder, at, left, true, &record)) == MR_RECORD) {
		if (mr_memory_apply(&memory, &record, &fault) < 0)
			bench_die(fault.text);
		pages += record.kind == MR_RAM_PAGE || record.kind == MR_RAM_ZERO;
		at += record.length;
		left -= record.length;
	}
	taken = bench_since(start);
	expect_all(result, pages, stream->pages);
	mr_memory_clear(&memory);
	return taken;
}

static struct bench_time copy_into_memory(const struct bench_stream *stream, bool huge)
{
	const struct bench_time start = bench_now();
	const uint8_t *from = stream->data + stream->first - BENCH_PAGE_SIZE;
	uint8_t *to = bench_map(stream->pages * BENCH_PAGE_SIZE, huge);
	struct bench_time taken;

	for (uint64_t i = 0; i < stream->pages; i++, from += stream->stride)
		memcpy(to + i * BENCH_PAGE_SIZE, from, BENCH_PAGE_SIZE);
	taken = bench_since(start);
	munmap(to, stream->pages * BENCH_PAGE_SIZE);
	return taken;
}

static void bench_alone(const struct bench_stream *stream)
{
	struct bench_samples ours = {0}, touch = {0};

	for (unsigned i = 0; i < ROUNDS; i++) {
		bench_add(&ours, decode_alone(stream));
		bench_add(&touch, touch_headers(stream));
	}
	bench_table_head("touch headers");
	bench_table_row("decode alone", &ours, &touch, 0);
}

/*
 * The first round is not counted: whoever comes first after a change of the page size waits for the kernel to put huge
 * pages together. Who comes first alternates.
 */
static void bench_memory(const struct bench_stream *stream, bool huge)
{
	struct bench_samples ours = {0}, copy = {0};

	copy_into_memory(stream, huge);
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (i % 2)
			bench_add(&copy, copy_into_memory(stream, huge));
		bench_add(&ours, decode_into_memory(stream, huge));
		if (i % 2 == 0)
			bench_add(&copy, copy_into_memory(stream, huge));
	}
	bench_table_row(huge ? "decode into huge pages" : "decode into 4 KiB pages", &ours, &copy, 0.85);
}

static void print_rate(const char *name, const struct bench_samples *samples, uint64_t records)
{
	const struct bench_time median = bench_medians(samples);

	printf("%-34s %8.1f %8.1f   %6.1f million records a second (cpu)\n", name, median.wall * 1e3, median.cpu * 1e3,
	       (double)records / median.cpu / 1e6);
}

static void bench_zero(void)
{
	struct bench_stream stream = bench_stream_new(ZERO_PAGES, false);
	struct bench_samples alone = {0}, applied = {0};

	for (unsigned i = 0; i < ROUNDS; i++) {
		bench_add(&alone, decode_alone(&stream));
		bench_add(&applied, decode_into_memory(&stream, true));
	}
	printf("%-34s %8s %8s\n", "milliseconds, medians", "wall", "cpu");
	print_rate("zero pages, decode alone", &alone, stream.pages);
	print_rate("zero pages, decode and apply", &applied, stream.pages);
	bench_stream_free(&stream);
}

int main(void)
{
	struct bench_stream stream = bench_stream_new(PAGES, true);

	printf("%u random pages of %u bytes, %u rounds\n\n", (unsigned)PAGES, (unsigned)BENCH_PAGE_SIZE,
	       (unsigned)ROUNDS);
	bench_alone(&stream);
	printf("\n");
	bench_table_head("memcpy");
	bench_memory(&stream, false);
	bench_memory(&stream, true);
	bench_stream_free(&stream);
	printf("\n%u zero pages, records of 9 bytes, %u rounds\n\n", (unsigned)ZERO_PAGES, (unsigned)ROUNDS);
	bench_zero();
	return 0;
}
