/* bench_multifd.c: how fast compressed multifd channels are decoded into memory, against the bare libraries. */
#include "tests/bench/stream.h"

#include "ref/migref.h"
#include "sim/record/memory.h"

#include <zlib.h>
#include <zstd.h>

enum {
	ROUNDS = 5,
	PACKET_PAGES = 128,
	PACKETS_MAX = 2048,
	RANDOM_PACKETS = 2048,      /* 1 GiB */
	COMPRESSIBLE_PACKETS = 512, /* they take longer on both sides */
	PACKET_HEAD = 320 + 8 * PACKET_PAGES,
	LEVEL = 1,
};

enum { PACKET_BYTES = PACKET_PAGES * BENCH_PAGE_SIZE, INIT_BYTES = 64 };

static struct mr_session session;
static struct mr_decoder decoder;
static struct mr_memory memory;

/* A channel and where the payloads of its packets lie. */
struct channel {
	uint8_t *data;
	size_t size, capacity;
	uint32_t packets;
	struct mr_bytes payloads[PACKETS_MAX];
};

/* ---- Making a channel ---- */

/* Random bytes; in compressible pages half of them are repetitions. */
static void fill_packet(uint8_t *pages, bool random, uint64_t *state)
{
	bench_fill_random(pages, PACKET_BYTES, state);
	for (size_t i = 0; !random && i < PACKET_BYTES; i += 32)
		memset(pages + i, pages[i] & 0x0f, 16);
}

static uint8_t *put_packet_head(uint8_t *at, uint32_t number, uint32_t flag, uint32_t payload)
{
	at = bench_put(at, 8, 0x1122334400000001);
	at = bench_put(at, 4, flag);
	at = bench_put(at, 4, PACKET_PAGES);
	at = bench_put(at, 4, PACKET_PAGES);
	at = bench_put(at, 4, payload);
	at = bench_put(at, 8, number);
	memset(at, 0, 4 + 28 + 256);
	bench_put_text(at + 4 + 28, "pc.ram");
	at += 4 + 28 + 256;
	for (uint32_t i = 0; i < PACKET_PAGES; i++)
		at = bench_put(at, 8, ((uint64_t)number * PACKET_PAGES + i) * BENCH_PAGE_SIZE);
	return at;
}

static void channel_make(struct channel *channel, const struct mr_multifd_method *method, bool random)
{
	uint8_t *pages = bench_map(PACKET_BYTES, false), *at;
	const uint8_t *pointers[PACKET_PAGES];
	void *state = method->send_setup(BENCH_PAGE_SIZE, LEVEL);
	uint64_t seed = 0x9e3779b97f4a7c15;

	channel->packets = random ? RANDOM_PACKETS : COMPRESSIBLE_PACKETS;
	channel->capacity = INIT_BYTES + (size_t)channel->packets * (PACKET_HEAD + mr_multifd_payload_bound());
	channel->data = at = bench_map(channel->capacity, false);
	at = bench_put(at, 8, 0x1122334400000001) + INIT_BYTES - 8;
	for (uint32_t i = 0; i < PACKET_PAGES; i++)
		pointers[i] = pages + (size_t)i * BENCH_PAGE_SIZE;
	for (uint32_t i = 0; i < channel->packets; i++) {
		uint8_t *payload = at + PACKET_HEAD;
		long length;

		fill_packet(pages, random, &seed);
		length = method->send_prepare(state, pointers, PACKET_PAGES, payload, mr_multifd_payload_bound());
		if (length < 0)
			bench_die("a packet does not compress");
		put_packet_head(at, i, method->flag, (uint32_t)length);
		channel->payloads[i] = (struct mr_bytes){payload, (size_t)length};
		at = payload + length;
	}
	channel->size = (size_t)(at - channel->data);
	method->send_cleanup(state);
	munmap(pages, PACKET_BYTES);
}

/* ---- The two sides ---- */

static void expect_packets(enum mr_result result, uint32_t packets, uint32_t expected)
{
	if (result == MR_DONE && packets == expected)
		return;
	fprintf(stderr, "bench: expected %u packets, found %u and %s\n", (unsigned)expected, (unsigned)packets,
		result == MR_FAILED ? decoder.error.found : "the end");
	exit(3);
}

/* The block is declared before, as the main channel does. */
static struct bench_time decode_channel(const struct channel *channel)
{
	const struct mr_record block = {
		.kind = MR_RAM_BLOCK,
		.ram_block = {.used_length = (uint64_t)channel->packets * PACKET_BYTES},
	};
	const struct bench_time start = bench_now();
	const uint8_t *at = channel->data;
	struct mr_packet_codec codec = {NULL, NULL};
	size_t left = channel->size;
	struct bench_time taken;
	struct mr_record record;
	struct mr_fault fault;
	enum mr_result result;
	uint32_t packets = 0;

	mr_session_init(&session, NULL, NULL, NULL);
	mr_decoder_init(&decoder, &session, MR_ROLE_MULTIFD, 0);
	mr_memory_init(&memory, &session, true);
	if (mr_memory_apply(&memory, &block, &fault) < 0)
		bench_die(fault.text);
	while ((result = mr_decode(&decoder, at, left, true, &record)) == MR_RECORD) {
		if (record.kind == MR_MULTIFD_PACKET) {
			if (mr_memory_apply_packet(&memory, &codec, &record.packet, &fault) < 0)
				bench_die(fault.text);
			packets++;
		}
		at += record.length;
		left -= record.length;
	}
	mr_packet_codec_clear(&codec);
	taken = bench_since(start);
	expect_packets(result, packets, channel->packets);
	mr_memory_clear(&memory);
	return taken;
}

static void inflate_all(const struct channel *channel, uint8_t *to)
{
	z_stream stream = {0};

	inflateInit(&stream);
	for (uint32_t i = 0; i < channel->packets; i++, to += PACKET_BYTES) {
		stream.next_in = (Bytef *)(uintptr_t)channel->payloads[i].data;
		stream.avail_in = (uInt)channel->payloads[i].length;
		stream.next_out = to;
		stream.avail_out = PACKET_BYTES;
		while (stream.avail_out)
			if (inflate(&stream, Z_SYNC_FLUSH) != Z_OK)
				bench_die("inflate failed");
		if (stream.avail_in)
			bench_die("inflate left bytes over");
	}
	inflateEnd(&stream);
}

static void decompress_all(const struct channel *channel, uint8_t *to)
{
	ZSTD_DStream *stream = ZSTD_createDStream();

	for (uint32_t i = 0; i < channel->packets; i++, to += PACKET_BYTES) {
		ZSTD_inBuffer in = {channel->payloads[i].data, channel->payloads[i].length, 0};
		ZSTD_outBuffer out = {to, PACKET_BYTES, 0};

		while (out.pos < out.size)
			if (ZSTD_isError(ZSTD_decompressStream(stream, &out, &in)))
				bench_die("ZSTD_decompressStream failed");
		if (in.pos < in.size)
			bench_die("ZSTD_decompressStream left bytes over");
	}
	ZSTD_freeDStream(stream);
}

/* The library alone: a packet is one call, which is more than a receiver can count on. */
static struct bench_time decode_bare(const struct channel *channel, bool zlib)
{
	const struct bench_time start = bench_now();
	uint8_t *to = bench_map((size_t)channel->packets * PACKET_BYTES, true);
	struct bench_time taken;

	if (zlib)
		inflate_all(channel, to);
	else
		decompress_all(channel, to);
	taken = bench_since(start);
	munmap(to, (size_t)channel->packets * PACKET_BYTES);
	return taken;
}

static void bench_method(const char *name, bool random)
{
	static struct channel channel;
	const struct mr_multifd_method *method = mr_multifd_method_by_name(name);
	const bool zlib = method->flag == MR_MULTIFD_FLAG_ZLIB;
	struct bench_samples ours = {0}, bare = {0};
	char title[64];

	channel_make(&channel, method, random);
	decode_bare(&channel, zlib);
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (i % 2)
			bench_add(&bare, decode_bare(&channel, zlib));
		bench_add(&ours, decode_channel(&channel));
		if (i % 2 == 0)
			bench_add(&bare, decode_bare(&channel, zlib));
	}
	snprintf(title, sizeof(title), "%s, %s pages", name, random ? "random" : "compressible");
	bench_table_row(title, &ours, &bare, 0.95);
	munmap(channel.data, channel.capacity);
}

int main(void)
{
	printf("multifd channels of %u random and %u compressible packets of %u pages, level %d, huge pages, %u "
	       "rounds\n\n",
	       (unsigned)RANDOM_PACKETS, (unsigned)COMPRESSIBLE_PACKETS, (unsigned)PACKET_PAGES, LEVEL,
	       (unsigned)ROUNDS);
	bench_table_head("bare library");
	bench_method("zlib", true);
	bench_method("zlib", false);
	bench_method("zstd", true);
	bench_method("zstd", false);
	return 0;
}
