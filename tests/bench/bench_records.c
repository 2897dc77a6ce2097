/* bench_records.c: one kind of record at a time, for callgrind to count the instructions that decoding it takes. */
#include "tests/bench/stream.h"

#include "ref/migref.h"

enum {
	RECORDS = 500,
	PACKETS = 100,
	PACKET_PAGES = 128,
	RANGES = 12, /* as many as QEMU puts into a command */
	STREAM_BYTES = 2 * PACKETS * MR_PACKET_DATA_SIZE,
};

static struct mr_session session;
static struct mr_decoder decoder;
static uint8_t *stream;
static size_t length;
static size_t marks[RECORDS]; /* where the records to count begin */
static unsigned mark_count;

/* Names that instructions.sh knows: callgrind counts in these alone. */
enum mr_result count_decode(struct mr_record *record);
bool count_walk(const struct mr_layout *device, struct mr_bytes body);

__attribute__((noinline)) enum mr_result count_decode(struct mr_record *record)
{
	return mr_decode(&decoder, stream + decoder.offset, length - (size_t)decoder.offset, false, record);
}

static void ignore_item(void *argument, const struct mr_device_item *item)
{
	(void)argument;
	(void)item;
}

__attribute__((noinline)) bool count_walk(const struct mr_layout *device, struct mr_bytes body)
{
	return mr_device_visit(device, body, ignore_item, NULL, NULL);
}

/* ---- Streams ---- */

static void put(const struct mr_record *record)
{
	const size_t written = mr_encode(record, stream + length, STREAM_BYTES - length);

	if (written == 0)
		bench_die("a record does not encode");
	length += written;
}

static void put_counted(const struct mr_record *record)
{
	marks[mark_count++] = length;
	put(record);
}

static void put_plain(enum mr_kind kind)
{
	const struct mr_record record = {
		.kind = kind,
		.page.flags = kind == MR_RAM_EOS ? MR_RAM_FLAG_EOS : 0,
	};

	put(&record);
}

static void close_section(void)
{
	const struct mr_record footer = {.kind = MR_SECTION_FOOTER, .footer.id = 2};

	put_plain(MR_RAM_EOS);
	put(&footer);
}

static const struct mr_record part = {.kind = MR_SECTION_PART,
				      .section = {.id = 2, .idstr = {(const uint8_t *)"ram", 3}}};

/* Sections without content, of which one kind of record counts. */
static void build_sections(enum mr_kind counted)
{
	const struct mr_record footer = {.kind = MR_SECTION_FOOTER, .footer.id = 2};
	const struct mr_record eos = {.kind = MR_RAM_EOS, .page.flags = MR_RAM_FLAG_EOS};
	const struct mr_record *const records[] = {&eos, &footer, &part};

	length = (size_t)(bench_put_head(stream, RECORDS * BENCH_PAGE_SIZE) - stream);
	for (unsigned i = 0; i < RECORDS; i++)
		for (size_t j = 0; j < sizeof(records) / sizeof(records[0]); j++)
			(records[j]->kind == counted ? put_counted : put)(records[j]);
}

static void build_commands(const struct mr_command *command)
{
	const struct mr_record advise = {
		.kind = MR_COMMAND,
		.command = {.number = MR_COMMAND_POSTCOPY_ADVISE,
			    .sent = MR_COMMAND_POSTCOPY_ADVISE,
			    .length = 16,
			    .page_size_summary = BENCH_PAGE_SIZE,
			    .target_page_size = BENCH_PAGE_SIZE},
	};
	const struct mr_record counted = {.kind = MR_COMMAND, .command = *command};

	length = (size_t)(bench_put_head(stream, RECORDS * BENCH_PAGE_SIZE) - stream);
	close_section();
	put(&advise);
	for (unsigned i = 0; i < RECORDS; i++)
		put_counted(&counted);
}

static void build_pings(void)
{
	const struct mr_command ping = {.number = MR_COMMAND_PING, .sent = MR_COMMAND_PING, .length = 4, .value = 1};

	build_commands(&ping);
}

static void build_discards(void)
{
	static uint8_t ranges[RANGES * 16];
	const struct mr_command discard = {
		.number = MR_COMMAND_POSTCOPY_RAM_DISCARD,
		.sent = MR_COMMAND_POSTCOPY_RAM_DISCARD,
		.length = (uint16_t)(1 + 1 + 6 + 1 + sizeof(ranges)),
		.block = {(const uint8_t *)"pc.ram", 6},
		.range_count = RANGES,
		.ranges = {ranges, sizeof(ranges)},
	};
	uint8_t *at = ranges;

	for (uint64_t i = 0; i < RANGES; i++) {
		at = bench_put(at, 8, 2 * i * BENCH_PAGE_SIZE);
		at = bench_put(at, 8, BENCH_PAGE_SIZE);
	}
	build_commands(&discard);
}

/* Pages that are encoded: their decoding is framing alone. */
static void build_encoded(enum mr_kind kind)
{
	/* As XBZRLE: 16 bytes that are as before, 32 that are not. */
	static const uint8_t encoding[2 + 32] = {16, 32};
	struct mr_record record = {
		.kind = kind,
		.page = {.flags = kind == MR_RAM_XBZRLE ? MR_RAM_FLAG_XBZRLE : MR_RAM_FLAG_COMPRESSED,
			 .name = {(const uint8_t *)"pc.ram", 6},
			 .encoding = kind == MR_RAM_XBZRLE,
			 .data = {encoding, sizeof(encoding)}},
	};

	length = (size_t)(bench_put_head(stream, (RECORDS + 1) * BENCH_PAGE_SIZE) - stream);
	put(&record);
	record.page.flags |= MR_RAM_FLAG_CONTINUE;
	record.page.name = (struct mr_bytes){NULL, 0};
	for (uint64_t i = 1; i <= RECORDS; i++) {
		record.page.address = i * BENCH_PAGE_SIZE;
		put_counted(&record);
	}
}

static void build_blocks(void)
{
	const struct mr_record start = {
		.kind = MR_SECTION_START,
		.section = {.id = 3, .idstr = {(const uint8_t *)"ram", 3}, .version = 4},
	};
	const struct mr_record size = {.kind = MR_RAM_SIZE, .ram_size.total = RECORDS * BENCH_PAGE_SIZE};

	length = (size_t)(bench_put_head(stream, BENCH_PAGE_SIZE) - stream);
	close_section();
	put(&start);
	put(&size);
	for (unsigned i = 0; i < RECORDS; i++) {
		char name[16];
		struct mr_record block = {.kind = MR_RAM_BLOCK, .ram_block.used_length = BENCH_PAGE_SIZE};

		snprintf(name, sizeof(name), "block%03u", i);
		block.ram_block.name = (struct mr_bytes){(const uint8_t *)name, strlen(name)};
		put_counted(&block);
	}
	put_plain(MR_RAM_EOS);
}

static void put_init(void)
{
	static const uint8_t nothing[39] = {0};
	const struct mr_record init = {
		.kind = MR_MULTIFD_INIT,
		.init = {.version = 1, .uuid = {nothing, 16}, .reserved = {nothing, 39}},
	};

	put_counted(&init);
}

static enum mr_role build_packets(void)
{
	static uint8_t name[256] = "pc.ram", offsets[8 * PACKET_PAGES], payload[PACKET_PAGES * BENCH_PAGE_SIZE];
	struct mr_record packet = {
		.kind = MR_MULTIFD_PACKET,
		.packet = {.version = 1,
			   .pages_alloc = PACKET_PAGES,
			   .normal_pages = PACKET_PAGES,
			   .next_packet_size = sizeof(payload),
			   .reserved = {payload, 28},
			   .ramblock = {name, sizeof(name)},
			   .offset_count = PACKET_PAGES,
			   .offsets = {offsets, sizeof(offsets)},
			   .payload = {payload, sizeof(payload)}},
	};
	uint8_t *at = offsets;

	for (uint64_t i = 0; i < PACKET_PAGES; i++)
		at = bench_put(at, 8, i * BENCH_PAGE_SIZE);
	put_init();
	mark_count = 0; /* the initial packet is not one of those */
	for (unsigned i = 0; i < PACKETS; i++) {
		packet.packet.packet_num = i;
		put_counted(&packet);
	}
	return MR_ROLE_MULTIFD;
}

/* ---- Counting ---- */

static unsigned count_marked(enum mr_role role)
{
	struct mr_record record;
	unsigned count = 0;

	mr_decoder_init(&decoder, &session, role, 0);
	while (decoder.offset < length && count < mark_count) {
		const size_t at = (size_t)decoder.offset;

		if (at != marks[count]) {
			if (mr_decode(&decoder, stream + at, length - at, false, &record) != MR_RECORD)
				bench_die(decoder.error.found);
			continue;
		}
		if (count_decode(&record) != MR_RECORD)
			bench_die(decoder.error.found);
		count++;
	}
	return count;
}

/* A channel has one initial packet, so each comes through a decoder of its own. */
static unsigned count_inits(void)
{
	unsigned count = 0;

	put_init();
	for (unsigned i = 0; i < RECORDS; i++)
		count += count_marked(MR_ROLE_MULTIFD);
	return count;
}

/* A device of numbers, an array, a struct and a subsection. */
static unsigned count_devices(void)
{
	static const char json[] =
		"{\"devices\":[{\"name\":\"d\",\"instance_id\":0,\"vmsd_name\":\"d\",\"version\":1,\"fields\":["
		"{\"name\":\"a\",\"type\":\"uint32\",\"size\":4},{\"name\":\"b\",\"type\":\"uint64\",\"size\":8},"
		"{\"name\":\"c\",\"type\":\"uint16\",\"array_len\":16,\"size\":2},"
		"{\"name\":\"e\",\"type\":\"struct\",\"size\":6,\"struct\":{\"vmsd_name\":\"e\",\"version\":1,"
		"\"fields\":["
		"{\"name\":\"f\",\"type\":\"uint32\",\"size\":4},{\"name\":\"g\",\"type\":\"bool\",\"size\":2}]}}]}]}";
	struct mr_description *description;
	char error[96];
	unsigned count = 0;

	description = mr_description_new((struct mr_bytes){(const uint8_t *)json, sizeof(json) - 1}, error);
	if (!description)
		bench_die(error);
	for (unsigned i = 0; i < RECORDS; i++)
		count += count_walk(mr_description_device(description, 0), (struct mr_bytes){stream, 4 + 8 + 32 + 6});
	mr_description_free(description);
	return count;
}

static unsigned count_kind(const char *kind)
{
	enum mr_role role = MR_ROLE_MAIN;

	if (strcmp(kind, "section-header") == 0)
		build_sections(MR_SECTION_PART);
	else if (strcmp(kind, "section-footer") == 0)
		build_sections(MR_SECTION_FOOTER);
	else if (strcmp(kind, "end-of-section") == 0)
		build_sections(MR_RAM_EOS);
	else if (strcmp(kind, "command") == 0)
		build_pings();
	else if (strcmp(kind, "discard") == 0)
		build_discards();
	else if (strcmp(kind, "xbzrle") == 0)
		build_encoded(MR_RAM_XBZRLE);
	else if (strcmp(kind, "compressed") == 0)
		build_encoded(MR_RAM_COMPRESSED);
	else if (strcmp(kind, "block") == 0)
		build_blocks();
	else if (strcmp(kind, "init") == 0)
		return count_inits();
	else if (strcmp(kind, "device") == 0)
		return count_devices();
	else if (strcmp(kind, "packet-none") == 0)
		role = build_packets();
	return count_marked(role);
}

int main(int argc, char **argv)
{
	unsigned count;

	/* `make bench` runs every program of this folder; instructions.sh asks for one kind at a time */
	if (argc == 1)
		return 0;
	stream = bench_map(STREAM_BYTES, false);
	mr_session_init(&session, NULL, NULL, NULL);
	count = count_kind(argv[1]);
	if (count == 0)
		bench_die("expected a kind of record that is in tests/bench/instructions.txt");
	printf("%u\n", count);
	return 0;
}
