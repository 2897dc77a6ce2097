/* stream.h: streams that the benchmarks decode, built in memory. */
#ifndef MR_BENCH_STREAM_H
#define MR_BENCH_STREAM_H

#include "bench.h"

enum {
	BENCH_PAGE_SIZE = 4096,
	BENCH_HEAD_MAX = 512,  /* bytes enough for what stands before the first page of a stream */
	BENCH_RECORD_HEAD = 8, /* bytes of a page record with CONTINUE before its payload */
};

/* A main stream with one PART section of pages of one block. */
struct bench_stream {
	uint8_t *data;
	size_t size, mapped; /* bytes */
	uint64_t pages;
	size_t first;  /* offset of the first record with CONTINUE: page 1 */
	size_t stride; /* bytes of such a record */
};

static inline uint8_t *bench_put(uint8_t *at, unsigned width, uint64_t number)
{
	for (unsigned i = 0; i < width; i++)
		at[i] = (uint8_t)(number >> 8 * (width - 1 - i));
	return at + width;
}

static inline uint8_t *bench_put_text(uint8_t *at, const char *text)
{
	while (*text)
		*at++ = (uint8_t)*text++;
	return at;
}

/* File header, configuration, a START with one block of `bytes`, the head of a PART with id 2. */
static inline uint8_t *bench_put_head(uint8_t *at, uint64_t bytes)
{
	const uint8_t ram_start[] = {0x01, 0, 0, 0, 2, 3, 'r', 'a', 'm', 0, 0, 0, 0, 0, 0, 0, 4};
	const uint8_t footer[] = {0x7e, 0, 0, 0, 2};

	at = bench_put(at, 8, 0x5145564d00000003);
	at = bench_put(at, 1, 0x07);
	at = bench_put(at, 4, strlen("pc-i440fx-7.2"));
	at = bench_put_text(at, "pc-i440fx-7.2");
	memcpy(at, ram_start, sizeof(ram_start));
	at = bench_put(at + sizeof(ram_start), 8, bytes | 0x004);
	at = bench_put(at, 1, strlen("pc.ram"));
	at = bench_put_text(at, "pc.ram");
	at = bench_put(at, 8, bytes);
	at = bench_put(at, 8, 0x010);
	memcpy(at, footer, sizeof(footer));
	return bench_put(at + sizeof(footer), 5, 0x0200000002);
}

/* The mark, footer and end behind the last page. */
static inline uint8_t *bench_put_tail(uint8_t *at)
{
	at = bench_put(at, 8, 0x010);
	at = bench_put(at, 5, 0x7e00000002);
	return bench_put(at, 1, 0x00);
}

/* All pages of a guest in order: random ones of PAGE records, else ZERO records of 9 bytes. */
static inline struct bench_stream bench_stream_new(uint64_t pages, bool random)
{
	struct bench_stream stream = {.pages = pages, .stride = random ? 8 + BENCH_PAGE_SIZE : 9};
	const uint64_t flag = random ? 0x008 : 0x002;
	uint64_t state = 0x9e3779b97f4a7c15;
	uint8_t *at;

	stream.mapped = BENCH_HEAD_MAX + pages * stream.stride;
	stream.data = bench_map(stream.mapped, false);
	at = bench_put_head(stream.data, pages * BENCH_PAGE_SIZE);
	for (uint64_t i = 0; i < pages; i++) {
		if (i == 1)
			stream.first = (size_t)(at - stream.data);
		at = bench_put(at, 8, i * BENCH_PAGE_SIZE | flag | (i ? 0x020 : 0));
		if (i == 0) {
			at = bench_put(at, 1, strlen("pc.ram"));
			at = bench_put_text(at, "pc.ram");
		}
		if (random)
			bench_fill_random(at, BENCH_PAGE_SIZE, &state);
		at += random ? BENCH_PAGE_SIZE : 1;
	}
	stream.size = (size_t)(bench_put_tail(at) - stream.data);
	return stream;
}

static inline void bench_stream_free(struct bench_stream *stream)
{
	munmap(stream->data, stream->mapped);
}

#endif
