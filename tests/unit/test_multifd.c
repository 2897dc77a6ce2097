/* multifd channels: initial packet, packets of pages in every layout, device state; each rule, every prefix, damage. */
#include "wire_support.h"

#include <stdio.h>

enum { MIB = 1 << 20, PAGE = 4096, LARGE_PAGE = 65536, NAME_AT = 64, OFFSETS_AT = 320, INIT_SIZE = 64 };

static void nothing_known(struct mr_session *session)
{
	(void)session;
}

/* Pages of 64 KiB: eight to a packet, whose fixed block is 384 bytes then. */
static void large_pages(struct mr_session *session)
{
	session->target_page_size = LARGE_PAGE;
}

static void one_block(struct mr_session *session)
{
	declare_block(session, "pc.ram", 16 * MIB, 0);
}

static void qemu_7_2(struct mr_session *session)
{
	one_block(session);
	assert_int_equal(mr_profile_init(&session->context.profile, "7.2"), 0);
}

static void zlib_run(struct mr_session *session)
{
	one_block(session);
	session->context.multifd_method = MR_MULTIFD_FLAG_ZLIB;
}

/* The stream that a test builds: only one at a time. */
static struct stream *fresh(void)
{
	static struct stream stream;

	stream.length = 0;
	return &stream;
}

static void put_init(struct stream *stream, uint8_t id)
{
	put_number(stream, 4, 0x11223344);
	put_number(stream, 4, 1);
	put_fill(stream, 0xab, 16);
	put_number(stream, 1, id);
	put_fill(stream, 0, 39);
}

/* A packet as a test describes it; fields that are left out are 0. */
struct sketch {
	uint32_t flags, normal, zero, size;
	const char *name;
	uint32_t page_size; /* 0: 4096 */
};

/* Puts a fixed block whose pages are those from the second one of the block on; the payload is the caller's. */
static size_t put_block(struct stream *stream, struct sketch sketch)
{
	const uint32_t page_size = sketch.page_size ? sketch.page_size : PAGE;
	const uint32_t most = MR_PACKET_DATA_SIZE / page_size;
	const size_t start = stream->length;

	put_number(stream, 4, 0x11223344);
	put_number(stream, 4, 1);
	put_number(stream, 4, sketch.flags);
	put_number(stream, 4, most);
	put_number(stream, 4, sketch.normal);
	put_number(stream, 4, sketch.size);
	put_number(stream, 8, 7);
	put_number(stream, 4, sketch.zero);
	put_fill(stream, 0, 28);
	put_padded(stream, sketch.name ? sketch.name : "", 256);
	for (uint32_t i = 0; i < most; i++)
		put_number(stream, 8, i < sketch.normal + sketch.zero ? (uint64_t)(i + 1) * page_size : 0);
	return start;
}

/* An initial packet and one packet of two raw pages and one zero page. */
static struct stream *plain_channel(void)
{
	struct stream *stream = fresh();

	put_init(stream, 0);
	put_block(stream, (struct sketch){.normal = 2, .zero = 1, .size = 2 * PAGE, .name = "pc.ram"});
	put_fill(stream, 0x55, (size_t)2 * PAGE);
	return stream;
}

/* An initial packet and a compressed packet whose payload is some bytes. */
static struct stream *packed_channel(uint32_t flags, uint32_t size)
{
	struct stream *stream = fresh();

	put_init(stream, 0);
	put_block(stream, (struct sketch){.flags = flags, .normal = 2, .size = size, .name = "pc.ram"});
	put_fill(stream, 0x55, size);
	return stream;
}

static void put_device_state(struct stream *stream, uint32_t flags, const char *idstr, uint32_t size)
{
	put_number(stream, 4, 0x11223344);
	put_number(stream, 4, 1);
	put_number(stream, 4, flags);
	put_padded(stream, idstr, 256);
	put_number(stream, 4, 3);
	put_number(stream, 4, size);
	put_fill(stream, 0x77, size);
}

static void expect_note(prepare_function *prepare, const struct stream *stream, enum mr_rule rule)
{
	expect_only(MR_ROLE_MULTIFD, prepare, stream, rule, false);
}

static void expect_error(prepare_function *prepare, const struct stream *stream, enum mr_rule rule)
{
	expect_only(MR_ROLE_MULTIFD, prepare, stream, rule, true);
}

static void expect_clean(prepare_function *prepare, const struct stream *stream)
{
	assert_int_equal(run_valid(MR_ROLE_MULTIFD, prepare, stream)->seen.total, 0);
}

static void test_init(void **state)
{
	struct stream *stream = fresh();
	const struct mr_multifd_init *init;

	(void)state;
	put_init(stream, 5);
	init = &run_valid(MR_ROLE_MULTIFD, nothing_known, stream)->record.init;
	assert_int_equal(init->version, 1);
	assert_int_equal(init->id, 5);
	assert_int_equal(init->uuid.length, 16);
	assert_int_equal(init->uuid.data[15], 0xab);
	assert_int_equal(init->reserved.length, 39);
	stream->data[INIT_SIZE - 1] = 1;
	expect_note(nothing_known, stream, MR_MFD_004);
	set_number(stream, 4, 4, 2);
	expect_error(nothing_known, stream, MR_MFD_001);
	set_number(stream, 0, 4, 0x5145564d);
	expect_error(nothing_known, stream, MR_MFD_001);
	/* a channel that says nothing is cut */
	stream->length = 0;
	expect_error(nothing_known, stream, MR_STR_026);
}

static void test_packet(void **state)
{
	const struct run *run = run_valid(MR_ROLE_MULTIFD, one_block, plain_channel());
	const struct mr_multifd_packet *packet = &run->record.packet;

	(void)state;
	assert_int_equal(run->seen.total, 0);
	assert_int_equal(run->records, 2);
	assert_int_equal(run->record.kind, MR_MULTIFD_PACKET);
	assert_int_equal(run->record.offset, INIT_SIZE);
	assert_int_equal(run->record.length, 1344 + 2 * PAGE);
	assert_int_equal(packet->flags, 0);
	assert_int_equal(packet->pages_alloc, 128);
	assert_int_equal(packet->normal_pages, 2);
	assert_int_equal(packet->zero_pages, 1);
	assert_int_equal(packet->next_packet_size, 2 * PAGE);
	assert_int_equal(packet->packet_num, 7);
	assert_int_equal(packet->block, 0);
	assert_int_equal(packet->offset_count, 128);
	assert_int_equal(mr_multifd_offset(packet, 2), 3 * PAGE);
	assert_int_equal(packet->payload.length, 2 * PAGE);
	assert_int_equal(packet->payload.data[2 * PAGE - 1], 0x55);
}

static void test_block_sizes(void **state)
{
	static const uint32_t sizes[][2] = {{1024, 4416}, {4096, 1344}, {8192, 832}, {16384, 576}, {65536, 384}};
	static struct mr_session session;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct stream *stream = fresh();

		mr_session_init(&session, NULL, NULL, NULL);
		session.target_page_size = sizes[i][0];
		assert_int_equal(OFFSETS_AT + 8 * mr_session_packet_pages(&session), sizes[i][1]);
		put_block(stream, (struct sketch){.flags = MR_MULTIFD_FLAG_SYNC, .page_size = sizes[i][0]});
		assert_int_equal(stream->length, sizes[i][1]);
	}
}

static void test_sync(void **state)
{
	struct stream *stream = fresh();
	const struct run *run;

	(void)state;
	put_init(stream, 0);
	put_block(stream, (struct sketch){.flags = MR_MULTIFD_FLAG_SYNC});
	run = run_valid(MR_ROLE_MULTIFD, one_block, stream);
	assert_int_equal(run->seen.total, 0);
	assert_int_equal(run->record.packet.block, UINT32_MAX);
	assert_int_equal(run->record.packet.payload.length, 0);
	/* an empty packet may name any method */
	set_number(stream, INIT_SIZE + 8, 4, MR_MULTIFD_FLAG_SYNC | 0x06);
	expect_clean(zlib_run, stream);
	set_number(stream, INIT_SIZE + 8, 4, 0);
	expect_note(one_block, stream, MR_MFD_024);
	stream = plain_channel();
	set_number(stream, INIT_SIZE + 8, 4, MR_MULTIFD_FLAG_SYNC);
	expect_note(one_block, stream, MR_MFD_023);
}

static void test_start_rules(void **state)
{
	struct stream *stream = plain_channel();

	(void)state;
	set_number(stream, INIT_SIZE + 8, 4, 0x80);
	expect_note(one_block, stream, MR_MFD_011);
	set_number(stream, INIT_SIZE + 4, 4, 2);
	expect_error(one_block, stream, MR_MFD_010);
	set_number(stream, INIT_SIZE, 4, 0x11223345);
	expect_error(one_block, stream, MR_MFD_010);
}

static void test_count_rules(void **state)
{
	struct stream *stream = plain_channel();

	(void)state;
	set_number(stream, INIT_SIZE + 12, 4, 129);
	expect_error(one_block, stream, MR_MFD_012);
	set_number(stream, INIT_SIZE + 12, 4, 3);
	expect_clean(one_block, stream);
	set_number(stream, INIT_SIZE + 12, 4, 2);
	expect_error(one_block, stream, MR_MFD_014);
	set_number(stream, INIT_SIZE + 12, 4, 1);
	expect_error(one_block, stream, MR_MFD_013);
	stream = plain_channel();
	expect_note(qemu_7_2, stream, MR_MFD_029);
	set_number(stream, INIT_SIZE + 32, 4, UINT32_MAX);
	expect_error(one_block, stream, MR_MFD_014);
}

static void test_size_rules(void **state)
{
	struct stream *stream = plain_channel();

	(void)state;
	/* raw pages are counted, so this size does not matter */
	set_number(stream, INIT_SIZE + 20, 4, 0);
	expect_note(one_block, stream, MR_MFD_015);
	/* no payload follows an empty packet, whatever is left over there */
	stream = fresh();
	put_init(stream, 0);
	put_block(stream, (struct sketch){.flags = MR_MULTIFD_FLAG_SYNC, .size = 2679});
	expect_note(one_block, stream, MR_MFD_015);

	expect_clean(one_block, packed_channel(MR_MULTIFD_FLAG_ZLIB, 100));
	expect_clean(one_block, packed_channel(MR_MULTIFD_FLAG_ZLIB, MR_PACKET_PAYLOAD_MAX));
	expect_error(one_block, packed_channel(MR_MULTIFD_FLAG_ZLIB, MR_PACKET_PAYLOAD_MAX + 1), MR_MFD_016);
	expect_error(one_block, packed_channel(MR_MULTIFD_FLAG_ZSTD, 0), MR_MFD_016);
	/* zero pages only: no payload with any method */
	stream = fresh();
	put_init(stream, 0);
	put_block(stream, (struct sketch){.flags = MR_MULTIFD_FLAG_ZSTD, .zero = 128, .name = "pc.ram"});
	expect_clean(one_block, stream);
}

static void test_name_rules(void **state)
{
	struct stream *stream = plain_channel();
	const struct run *run;

	(void)state;
	stream->data[INIT_SIZE + NAME_AT] = 'q';
	expect_note(one_block, stream, MR_MFD_017);
	/* without a block list the name is as good as any */
	run = run_valid(MR_ROLE_MULTIFD, nothing_known, stream);
	assert_int_equal(run->seen.total, 0);
	assert_int_equal(run->session.block_count, 1);
	assert_string_equal(run->session.blocks[run->record.packet.block].name, "qc.ram");
	memset(stream->data + INIT_SIZE + NAME_AT, 'x', 255);
	expect_clean(nothing_known, stream);
	stream->data[INIT_SIZE + NAME_AT + 255] = 'x';
	expect_error(nothing_known, stream, MR_MFD_017);
}

static void test_offset_rules(void **state)
{
	const uint64_t wrong[] = {16 * MIB, UINT64_MAX & ~(uint64_t)(PAGE - 1), (uint64_t)1 << 63};
	struct stream *stream = plain_channel();

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		/* among the normal and among the zero pages */
		set_number(stream, INIT_SIZE + OFFSETS_AT + 8 * i, 8, wrong[i]);
		expect_note(one_block, stream, MR_MFD_018);
	}
	assert_non_null(strstr(run_valid(MR_ROLE_MULTIFD, one_block, stream)->seen.last.found, "2 more"));
	stream = plain_channel();
	set_number(stream, INIT_SIZE + OFFSETS_AT, 8, 16 * MIB - PAGE);
	expect_clean(one_block, stream);
	set_number(stream, INIT_SIZE + OFFSETS_AT, 8, 100);
	expect_note(one_block, stream, MR_MFD_019);
}

static void test_method_rules(void **state)
{
	(void)state;
	expect_note(one_block, packed_channel(0x06, 100), MR_MFD_021);
	expect_note(zlib_run, packed_channel(MR_MULTIFD_FLAG_ZSTD, 100), MR_MFD_021);
	expect_clean(zlib_run, packed_channel(MR_MULTIFD_FLAG_ZLIB, 100));
	expect_note(qemu_7_2, packed_channel(MR_MULTIFD_FLAG_QATZIP, 100), MR_MFD_021);
	expect_clean(qemu_7_2, packed_channel(MR_MULTIFD_FLAG_ZSTD, 100));
	expect_clean(one_block, packed_channel(MR_MULTIFD_FLAG_QATZIP, 100));
}

static void test_lengths_of_pages(void **state)
{
	const size_t payload = INIT_SIZE + 1344;
	struct stream *stream = packed_channel(MR_MULTIFD_FLAG_QPL, 8 + 100 + PAGE);

	(void)state;
	set_number(stream, payload, 4, 100);
	set_number(stream, payload + 4, 4, PAGE);
	expect_clean(one_block, stream);
	set_number(stream, payload, 4, 101);
	expect_error(one_block, stream, MR_MFD_028);
	set_number(stream, payload, 4, PAGE + 1);
	expect_error(one_block, stream, MR_MFD_028);
	stream = packed_channel(MR_MULTIFD_FLAG_UADK, 7);
	expect_error(one_block, stream, MR_MFD_028);
}

static void test_leftovers(void **state)
{
	struct stream *stream = fresh();
	const struct run *run;

	(void)state;
	put_init(stream, 0);
	put_block(stream, (struct sketch){.flags = MR_MULTIFD_FLAG_SYNC, .name = "pc.ram"});
	expect_note(one_block, stream, MR_MFD_025);
	set_number(stream, INIT_SIZE + 60, 4, 1);
	set_number(stream, INIT_SIZE + OFFSETS_AT + 8 * 127, 8, PAGE);
	run = run_valid(MR_ROLE_MULTIFD, one_block, stream);
	assert_int_equal(run->seen.total, 1);
	assert_string_equal(run->seen.last.found, "leftovers in reserved ramblock offset");
	/* behind the entries that are used */
	stream = plain_channel();
	set_number(stream, INIT_SIZE + OFFSETS_AT + 8 * 3, 8, PAGE);
	expect_note(one_block, stream, MR_MFD_025);
}

static void test_device_state(void **state)
{
	struct stream *stream = fresh();
	const struct mr_multifd_device_state *device;

	(void)state;
	put_init(stream, 0);
	put_device_state(stream, MR_MULTIFD_FLAG_DEVICE_STATE, "0000:00:03.0/vfio", 100);
	expect_note(qemu_7_2, stream, MR_MFD_011);
	device = &run_valid(MR_ROLE_MULTIFD, one_block, stream)->record.device_state;
	assert_int_equal(device->flags, MR_MULTIFD_FLAG_DEVICE_STATE);
	assert_string_equal((const char *)device->idstr.data, "0000:00:03.0/vfio");
	assert_int_equal(device->instance, 3);
	assert_int_equal(device->payload.length, 100);
	stream->data[INIT_SIZE + 12 + 255] = 'x';
	expect_error(one_block, stream, MR_MFD_030);

	stream = fresh();
	put_init(stream, 0);
	put_device_state(stream, MR_MULTIFD_FLAG_DEVICE_STATE | MR_MULTIFD_FLAG_SYNC, "x", 1);
	expect_error(one_block, stream, MR_MFD_030);
	set_number(stream, INIT_SIZE + 8, 4, MR_MULTIFD_FLAG_DEVICE_STATE);
	expect_clean(one_block, stream);
	set_number(stream, INIT_SIZE + 272, 4, 0);
	expect_error(one_block, stream, MR_MFD_030);
	set_number(stream, INIT_SIZE + 272, 4, MR_DEVICE_STATE_MAX + 1);
	expect_error(one_block, stream, MR_MFD_030);
	/* within the limit: it is only cut */
	set_number(stream, INIT_SIZE + 272, 4, MR_DEVICE_STATE_MAX);
	expect_error(one_block, stream, MR_STR_026);
}

/* A record changed by hand is written at the same length, whatever it counts. */
static void test_changed_record(void **state)
{
	struct run *run = run_valid(MR_ROLE_MULTIFD, one_block, plain_channel());
	struct mr_multifd_packet *packet = &run->record.packet;
	static uint8_t out[1344 + 2 * PAGE];

	(void)state;
	packet->packet_num = 8;
	packet->normal_pages = UINT32_MAX;
	packet->zero_pages = UINT32_MAX;
	assert_int_equal(mr_encoded_length(&run->record), sizeof(out));
	assert_int_equal(mr_encode(&run->record, out, sizeof(out)), sizeof(out));
	assert_int_equal(out[31], 8);
	assert_memory_equal(out + NAME_AT, run->encoded.data + INIT_SIZE + NAME_AT, sizeof(out) - NAME_AT);
}

static void test_too_many_blocks(void **state)
{
	struct stream *stream = fresh();
	char name[16];

	(void)state;
	put_init(stream, 0);
	for (unsigned i = 0; i <= MR_BLOCKS_MAX; i++) {
		snprintf(name, sizeof(name), "block%u", i);
		put_block(stream, (struct sketch){.zero = 1, .name = name, .page_size = LARGE_PAGE});
	}
	expect_error(large_pages, stream, MR_STR_027);
}

/* Every kind of packet, small enough to be cut at each byte. */
static struct stream *mixed_channel(void)
{
	struct stream *stream = fresh();

	put_init(stream, 1);
	put_block(stream, (struct sketch){.flags = 2, .normal = 8, .size = 70, .name = "a", .page_size = LARGE_PAGE});
	put_fill(stream, 0x33, 70);
	put_device_state(stream, MR_MULTIFD_FLAG_DEVICE_STATE, "device", 50);
	put_block(stream, (struct sketch){.flags = 1, .page_size = LARGE_PAGE});
	put_block(stream, (struct sketch){.zero = 8, .name = "b", .page_size = LARGE_PAGE});
	return stream;
}

static void test_prefixes(void **state)
{
	(void)state;
	check_every_prefix(MR_ROLE_MULTIFD, large_pages, mixed_channel());
}

static void test_damaged(void **state)
{
	(void)state;
	check_damaged(MR_ROLE_MULTIFD, large_pages, mixed_channel(), 3000);
	check_damaged(MR_ROLE_MULTIFD, one_block, packed_channel(MR_MULTIFD_FLAG_QPL, 200), 1000);
}

/* Random packets that keep every rule are read without a finding and written as they were. */
static void test_random_packets(void **state)
{
	static const uint32_t flags[] = {0, MR_MULTIFD_FLAG_ZLIB, MR_MULTIFD_FLAG_ZSTD, MR_MULTIFD_FLAG_QATZIP};
	struct random random = {99};

	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		struct stream *stream = fresh();

		put_init(stream, (uint8_t)random_next(&random));
		for (unsigned i = 0; i < 5; i++) {
			const uint32_t normal = (uint32_t)random_below(&random, 9);
			const uint32_t zero = 1 + (uint32_t)random_below(&random, 120);
			const uint32_t flag = flags[random_below(&random, 4)];
			const uint32_t packed = 1 + (uint32_t)random_below(&random, 3000);
			const uint32_t size = normal == 0 ? 0 : flag ? packed : normal * PAGE;

			put_block(stream, (struct sketch){flag, normal, zero, size, "pc.ram", PAGE});
			put_fill(stream, (uint8_t)random_next(&random), size);
		}
		expect_clean(one_block, stream);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_init),
		cmocka_unit_test(test_packet),
		cmocka_unit_test(test_block_sizes),
		cmocka_unit_test(test_sync),
		cmocka_unit_test(test_start_rules),
		cmocka_unit_test(test_count_rules),
		cmocka_unit_test(test_size_rules),
		cmocka_unit_test(test_name_rules),
		cmocka_unit_test(test_offset_rules),
		cmocka_unit_test(test_method_rules),
		cmocka_unit_test(test_lengths_of_pages),
		cmocka_unit_test(test_leftovers),
		cmocka_unit_test(test_device_state),
		cmocka_unit_test(test_changed_record),
		cmocka_unit_test(test_too_many_blocks),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_random_packets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
