/* bench_instructions.c: one kind of record in a loop, for callgrind to count the instructions of each record. */
#include "tests/bench/stream.h"

#include "ref/migref.h"

enum { RECORDS = 1000, STREAM_BYTES = 8 << 20, PACKET_PAGES = 128 };

static struct mr_session session;
static struct mr_decoder decoder;
static uint8_t page[BENCH_PAGE_SIZE];
static uint8_t stream[STREAM_BYTES];

/*
 * The names of these two stand in bench_instructions.sh: callgrind counts in them alone. Returns how many records were
 * decoded.
 */
unsigned count_decode(enum mr_role role, size_t size, unsigned most);
unsigned count_encode(const struct mr_record *record, unsigned most);

__attribute__((noinline)) unsigned count_decode(enum mr_role role, size_t size, unsigned most)
{
	const bool at_end = role == MR_ROLE_RETURN || role == MR_ROLE_MULTIFD;
	struct mr_record record;
	unsigned count = 0;
	size_t at = (size_t)decoder.offset;

	while (count < most && mr_decode(&decoder, stream + at, size - at, at_end, &record) == MR_RECORD) {
		at += record.length;
		count++;
	}
	return count;
}

__attribute__((noinline)) unsigned count_encode(const struct mr_record *record, unsigned most)
{
	unsigned count = 0;

	while (count < most && mr_encode(record, stream, sizeof(stream)) > 0)
		count++;
	return count;
}

/* Decodes what stands before the records to count, in a function that callgrind does not look at. */
static void skip(size_t size, unsigned count)
{
	struct mr_record record;

	while (count-- &&
	       mr_decode(&decoder, stream + decoder.offset, size - decoder.offset, false, &record) != MR_RECORD)
		bench_die("the head of a stream does not decode");
}

static unsigned count_pages(uint64_t flag, size_t payload)
{
	enum { HEAD_RECORDS = 8 };
	uint8_t *at = bench_put_head(stream, (RECORDS + 1) * BENCH_PAGE_SIZE);

	at = bench_put(at, 8, flag);
	at = bench_put(at, 1, strlen("pc.ram"));
	at = bench_put_text(at, "pc.ram") + payload;
	for (uint64_t i = 1; i <= RECORDS; i++)
		at = bench_put(at, 8, i * BENCH_PAGE_SIZE | flag | 0x020) + payload;
	mr_decoder_init(&decoder, &session, MR_ROLE_MAIN, 0);
	skip((size_t)(at - stream), HEAD_RECORDS + 1);
	return count_decode(MR_ROLE_MAIN, (size_t)(at - stream), RECORDS);
}

/* Packets of zero pages alone: the payload is the library's work and not the decoder's. */
static unsigned count_packets(void)
{
	uint8_t *at = stream;

	at = bench_put(at, 8, 0x1122334400000001) + 56;
	for (uint32_t i = 0; i < RECORDS; i++) {
		at = bench_put(at, 8, 0x1122334400000001);
		at = bench_put(at, 4, 0);
		at = bench_put(at, 4, PACKET_PAGES);
		at = bench_put(at, 8, 0);
		at = bench_put(at, 8, i);
		at = bench_put(at, 4, PACKET_PAGES) + 28;
		bench_put_text(at, "pc.ram");
		at += 256;
		for (uint64_t j = 0; j < PACKET_PAGES; j++)
			at = bench_put(at, 8, j * BENCH_PAGE_SIZE);
	}
	mr_decoder_init(&decoder, &session, MR_ROLE_MULTIFD, 0);
	skip((size_t)(at - stream), 1);
	return count_decode(MR_ROLE_MULTIFD, (size_t)(at - stream), RECORDS);
}

/* REQ_PAGES_ID, the message that a postcopy migration sends for each page fault. */
static unsigned count_messages(void)
{
	uint8_t *at = stream;

	for (uint64_t i = 0; i < RECORDS; i++) {
		at = bench_put(at, 4, 0x00030000 | (8 + 4 + 1 + strlen("pc.ram")));
		at = bench_put(at, 8, i * BENCH_PAGE_SIZE);
		at = bench_put(at, 4, BENCH_PAGE_SIZE);
		at = bench_put(at, 1, strlen("pc.ram"));
		at = bench_put_text(at, "pc.ram");
	}
	mr_decoder_init(&decoder, &session, MR_ROLE_RETURN, 0);
	return count_decode(MR_ROLE_RETURN, (size_t)(at - stream), RECORDS);
}

static unsigned count_encoded_pages(void)
{
	const struct mr_record record = {
		.kind = MR_RAM_PAGE,
		.page = {.flags = 0x028, .address = BENCH_PAGE_SIZE, .data = {page, sizeof(page)}},
	};

	return count_encode(&record, RECORDS);
}

int main(int argc, char **argv)
{
	const char *kind = argc == 2 ? argv[1] : "";
	unsigned count = 0;

	/* `make bench` runs every program of this folder; the counting is done by the script of the same name */
	if (argc == 1)
		return 0;
	mr_session_init(&session, NULL, NULL, NULL);
	if (strcmp(kind, "decode-page") == 0)
		count = count_pages(0x008, BENCH_PAGE_SIZE);
	else if (strcmp(kind, "decode-zero") == 0)
		count = count_pages(0x002, 1);
	else if (strcmp(kind, "decode-packet") == 0)
		count = count_packets();
	else if (strcmp(kind, "decode-message") == 0)
		count = count_messages();
	else if (strcmp(kind, "encode-page") == 0)
		count = count_encoded_pages();
	if (count != RECORDS)
		bench_die("expected decode-page, -zero, -packet, -message or encode-page, and all records to be right");
	printf("%u\n", count);
	return 0;
}
