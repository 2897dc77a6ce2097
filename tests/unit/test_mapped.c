/* test_mapped.c: mapped-ram files: headers, bitmaps and pages as records, and the memory that they make. */
#include "observe.h"

#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "random.h"
#include "sim/record/memory.h"

enum { PAGE = 4096, HEADER = 28, PLACE = 12, PAGES_PLACE = 20 };

static struct observation seen, other;
static struct build stream;
static const struct mr_context unknown = {.multifd_method = MR_METHOD_UNKNOWN};
static const struct mr_context mapped = {
	.multifd_method = MR_METHOD_UNKNOWN,
	.capabilities_known = true,
	.capabilities = MR_CAPABILITY_MAPPED_RAM,
};

static int begin(void **state)
{
	(void)state;
	stream.length = 0;
	build_header(&stream);
	build_configuration(&stream, "pc");
	build_start(&stream, 2, "ram", 4);
	return 0;
}

static int release(void **state)
{
	(void)state;
	build_free(&stream);
	return 0;
}

/* An entry with its header; the places follow from what the writers do. Returns the header's offset. */
static size_t put_entry(const char *name, uint64_t used_length, uint64_t alignment)
{
	const uint64_t size = mr_mapped_bitmap_size(used_length / PAGE);
	uint64_t bitmap;
	size_t header;

	build_block(&stream, name, used_length);
	header = stream.length;
	bitmap = header + HEADER;
	build_be32(&stream, 1);
	build_be64(&stream, PAGE);
	build_be64(&stream, bitmap);
	build_be64(&stream, (bitmap + size + alignment - 1) / alignment * alignment);
	return header;
}

static void put_hole(uint64_t end)
{
	build_fill(&stream, 0, (size_t)end - stream.length);
}

/* Three pages of which the first and the last stand in the file; the pages' place is `alignment`. */
static size_t put_block(const char *name, uint64_t alignment)
{
	static const uint8_t bits[8] = {0x05};
	const size_t header = put_entry(name, (uint64_t)3 * PAGE, alignment);

	build_bytes(&stream, bits, sizeof(bits));
	put_hole((stream.length + alignment - 1) / alignment * alignment);
	build_fill(&stream, 0x11, PAGE);
	build_fill(&stream, 0x22, PAGE);
	build_fill(&stream, 0x33, PAGE);
	return header;
}

static void read_as(const struct mr_context *context)
{
	const struct mr_bytes bytes = {stream.bytes, stream.length};

	observe(&other, context, MR_ROLE_MAIN, bytes, FEED_WANTED);
	observe(&seen, context, MR_ROLE_MAIN, bytes, FEED_WHOLE);
	observe_equal(&seen, &other);
}

static void finish(const struct mr_context *context)
{
	build_eos(&stream);
	build_footer(&stream, 2);
	build_u8(&stream, 0);
	read_as(context);
}

static void a_file(void **state)
{
	size_t header;

	(void)state;
	build_size(&stream, 6 * PAGE);
	header = put_block("pc.ram", 1 << 20);
	put_block("pc.bios", 1 << 20);
	finish(&mapped);
	observe_valid(&seen);
	OBSERVE_KINDS(&seen, MR_FILE_HEADER, MR_CONFIGURATION, MR_SECTION_START, MR_RAM_SIZE, MR_RAM_BLOCK,
		      MR_RAM_BITMAP, MR_RAM_PAGES, MR_RAM_BLOCK, MR_RAM_BITMAP, MR_RAM_PAGES, MR_RAM_EOS,
		      MR_SECTION_FOOTER, MR_EOF);
	assert_true(seen.records[4].record.ram_block.has_mapped);
	assert_int_equal(seen.records[4].record.ram_block.bitmap_offset, header + HEADER);
	assert_int_equal(seen.records[5].record.bitmap.bits.length, 8);
	assert_int_equal(seen.records[6].record.offset, 1 << 20);
	assert_int_equal(seen.records[6].record.pages.data.length, 3 * PAGE);
	finish(&unknown);
}

/* Without the capability a header is known by its form; where all capabilities are known to be others, it is none. */
static void by_form(void **state)
{
	struct mr_context other_capabilities = unknown;

	(void)state;
	build_size(&stream, 3 * PAGE);
	put_block("pc.ram", 1 << 20);
	finish(&unknown);
	observe_valid(&seen);
	other_capabilities.capabilities_known = true;
	read_as(&other_capabilities);
	assert_int_equal(seen.result, MR_FAILED);
	assert_int_equal(observe_count(&seen, MR_MAP_001), 0);
}

/* Places count from the file's first byte, so a stream behind something else begins at the decoder's offset. */
static void behind_something(void **state)
{
	static struct mr_session session;
	static struct mr_decoder decoder;
	struct mr_record record;
	size_t at = 4096;

	(void)state;
	build_fill(&stream, 0xaa, 4096 - stream.length);
	build_header(&stream);
	build_configuration(&stream, "pc");
	build_start(&stream, 2, "ram", 4);
	build_size(&stream, 3 * PAGE);
	put_block("pc.ram", 1 << 20);
	mr_session_init(&session, &unknown, NULL, NULL);
	mr_decoder_init(&decoder, &session, MR_ROLE_MAIN, 0);
	decoder.offset = at;
	do {
		assert_int_equal(mr_decode(&decoder, stream.bytes + at, stream.length - at, false, &record), MR_RECORD);
		assert_int_equal(record.offset, at);
		at += (size_t)record.length;
	} while (record.kind != MR_RAM_PAGES);
	assert_int_equal(record.offset, 1 << 20);
	assert_int_equal(at, stream.length);
}

/* A bitmap of more than one piece: each says which page it begins with. */
static void a_large_bitmap(void **state)
{
	const uint64_t pages = (uint64_t)20 << 20, used_length = pages * PAGE;
	const size_t size = (size_t)mr_mapped_bitmap_size(pages);

	(void)state;
	assert_int_equal(size, 2621440);
	build_size(&stream, used_length);
	put_entry("pc.ram", used_length, 1 << 20);
	build_fill(&stream, 0, size);
	put_hole((stream.length + (1 << 20) - 1) >> 20 << 20);
	read_as(&mapped);
	assert_int_equal(seen.result, MR_FAILED);
	observe_one_finding(&seen, MR_MAP_006, MR_MALFORMED, stream.length, MR_FAILED);
	assert_int_equal(seen.record_count, 8);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(seen.records[5 + i].record.kind, MR_RAM_BITMAP);
		assert_int_equal(seen.records[5 + i].record.bitmap.first_page, (uint64_t)i << 23);
	}
	assert_int_equal(seen.records[6].record.bitmap.padding.length, 0);
	assert_int_equal(seen.records[7].record.bitmap.bits.length, 1 << 19);
}

static void pages_in_pieces(void **state)
{
	const uint64_t used_length = (uint64_t)3 << 19;

	(void)state;
	build_size(&stream, used_length);
	put_entry("pc.ram", used_length, 1 << 20);
	build_fill(&stream, 0xff, 48);
	put_hole(1 << 20);
	build_fill(&stream, 0x44, (size_t)used_length);
	finish(&mapped);
	observe_valid(&seen);
	assert_int_equal(seen.records[6].record.pages.data.length, 1 << 20);
	assert_int_equal(seen.records[7].record.pages.address, 1 << 20);
	assert_int_equal(seen.records[7].record.pages.data.length, 1 << 19);
}

/* Every prefix names what is missing, at the place where it is missing. */
static void prefixes(void **state)
{
	size_t length, hole;

	(void)state;
	build_size(&stream, 3 * PAGE);
	hole = put_block("pc.ram", 1 << 10) + HEADER;
	build_eos(&stream);
	build_footer(&stream, 2);
	build_u8(&stream, 0);
	length = stream.length;
	for (size_t end = 0; end < length; end += end < hole + 100 || end + 100 > length ? 1 : 13) {
		const bool inside = end >= hole && end < length - 14;

		observe(&seen, &mapped, MR_ROLE_MAIN, (struct mr_bytes){stream.bytes, end}, FEED_WHOLE);
		assert_int_equal(seen.result, MR_FAILED);
		assert_int_equal(seen.decoder.error.rule, inside ? MR_MAP_006 : MR_STR_026);
		assert_int_equal(seen.decoder.error.offset, end);
	}
}

static void damaged_headers(void **state)
{
	struct random random = {0x6d617070};
	size_t header;

	(void)state;
	build_size(&stream, 3 * PAGE);
	header = put_block("pc.ram", 1 << 10);
	build_eos(&stream);
	for (unsigned round = 0; round < 2000; round++) {
		const size_t at = header - 8 + (size_t)random_below(&random, HEADER + 16);
		const uint8_t before = stream.bytes[at];

		stream.bytes[at] = (uint8_t)random_next(&random);
		read_as(round % 2 ? &mapped : &unknown);
		stream.bytes[at] = before;
	}
}

/* ---- Memory ---- */

static struct mr_memory memory;

static void apply_all(void)
{
	struct mr_fault fault;

	for (size_t i = 0; i < seen.record_count; i++)
		assert_int_equal(mr_memory_apply(&memory, &seen.records[i].record, &fault), 0);
}

static void makes_memory(void **state)
{
	const struct mr_memory_block *block = &memory.blocks[0];
	uint8_t zero[PAGE] = {0};

	(void)state;
	build_size(&stream, 3 * PAGE);
	put_block("pc.ram", 1 << 20);
	finish(&mapped);
	mr_memory_init(&memory, &seen.session, false);
	apply_all();
	assert_int_equal(block->data[0], 0x11);
	assert_int_equal(block->data[PAGE - 1], 0x11);
	assert_memory_equal(block->data + PAGE, zero, PAGE);
	assert_int_equal(block->data[2 * PAGE], 0x33);
	assert_int_equal(mr_bitmap_count(block->received, block->pages), 3);
	assert_int_equal(mr_bitmap_count(block->touched, block->pages), 2);

	/* The same again over other content: what has no bit is zero afterwards. */
	memset(block->data + PAGE, 0x77, PAGE);
	mr_memory_mark(&memory, 0, PAGE);
	apply_all();
	assert_memory_equal(block->data + PAGE, zero, PAGE);
	assert_int_equal(block->data[2 * PAGE], 0x33);
	mr_memory_clear(&memory);
}

/* A page that the bitmap announces and the file does not hold has not come. */
static void a_cut_file(void **state)
{
	(void)state;
	build_size(&stream, 3 * PAGE);
	put_block("pc.ram", 1 << 20);
	stream.length -= 3 * PAGE;
	read_as(&mapped);
	mr_memory_init(&memory, &seen.session, false);
	apply_all();
	assert_int_equal(mr_bitmap_count(memory.blocks[0].received, 3), 1);
	assert_true(mr_bitmap_test(memory.blocks[0].received, 1));
	mr_memory_clear(&memory);
}

static void not_a_block(void **state)
{
	struct mr_record record = {.kind = MR_RAM_PAGES, .pages = {.block = 3}};
	struct mr_fault fault;

	(void)state;
	memset(&seen.session, 0, sizeof(seen.session));
	seen.session.target_page_size = PAGE;
	mr_memory_init(&memory, &seen.session, false);
	assert_int_equal(mr_memory_apply(&memory, &record, &fault), -1);
	record = (struct mr_record){.kind = MR_RAM_BITMAP,
				    .bitmap = {.block = 3, .bits = {(const uint8_t *)"12345678", 8}}};
	assert_int_equal(mr_memory_apply(&memory, &record, &fault), -1);
	assert_int_equal(fault.rule, MR_RAM_009);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_file, begin),           cmocka_unit_test_setup(by_form, begin),
		cmocka_unit_test_setup(behind_something, begin), cmocka_unit_test_setup(a_large_bitmap, begin),
		cmocka_unit_test_setup(pages_in_pieces, begin),  cmocka_unit_test_setup(prefixes, begin),
		cmocka_unit_test_setup(damaged_headers, begin),  cmocka_unit_test_setup(makes_memory, begin),
		cmocka_unit_test_setup(a_cut_file, begin),       cmocka_unit_test(not_a_block),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("mapped", tests, NULL, release);
}
