/* multifd methods: round trips through persistent streams, the bare libraries' bytes, every fault that a payload can
 * have. */
#include "wire_support.h"

#include <zlib.h>
#include <zstd.h>

#include "guard.h"

enum { PAGE = 4096, PAGES = MR_PACKET_DATA_SIZE / PAGE };

/* What one test packs and unpacks. */
static uint8_t source[MR_PACKET_DATA_SIZE];
static uint8_t packed[MR_PACKET_PAYLOAD_MAX];
static uint8_t again[MR_PACKET_PAYLOAD_MAX];
/* Ends at a guard page, so that a page too many traps. */
static struct guard target;

static const uint8_t *const *source_pages(size_t page_size, uint32_t count)
{
	static const uint8_t *pages[MR_PACKET_PAGES_MAX];

	for (uint32_t i = 0; i < count; i++)
		pages[i] = source + i * page_size;
	return pages;
}

/* In order and back to back before the guard page, or turned round so that no page follows the one before. */
static uint8_t *const *target_pages(size_t page_size, uint32_t count, bool scattered)
{
	static uint8_t *pages[MR_PACKET_PAGES_MAX];
	uint8_t *start = guard_end(&target, count * page_size);

	memset(start, 0xee, count * page_size);
	for (uint32_t i = 0; i < count; i++)
		pages[i] = start + (scattered ? count - 1 - i : i) * page_size;
	return pages;
}

/* Pages of all kinds: zero, constant, text-like, random. */
static void fill_source(struct random *random, size_t page_size, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *page = source + i * page_size;
		const uint64_t kind = random_below(random, 4);

		memset(page, kind == 0 ? 0 : (uint8_t)random_next(random), page_size);
		if (kind == 2)
			for (size_t k = 0; k < page_size; k++)
				page[k] = (uint8_t)('a' + random_below(random, 5));
		else if (kind == 3)
			random_fill(random, page, page_size);
	}
}

static enum mr_rule receive(const struct mr_multifd_method *method, void *state, const uint8_t *payload, size_t length,
			    uint32_t count)
{
	char found[96] = "";
	const enum mr_rule rule =
		method->recv(state, (struct mr_bytes){payload, length}, target_pages(PAGE, count, false), count, found);

	assert_int_equal(rule != MR_NO_RULE, strlen(found) > 0);
	return rule;
}

/* What a receiver that has seen nothing yet says to one payload. */
static enum mr_rule receive_first(const struct mr_multifd_method *method, const uint8_t *payload, size_t length,
				  uint32_t count)
{
	void *state = method->recv_setup(PAGE);
	enum mr_rule rule;

	assert_non_null(state);
	rule = receive(method, state, payload, length, count);
	method->recv_cleanup(state);
	return rule;
}

/* One packet of `count` pages from a new sender, in `packed`. */
static size_t pack_first(const struct mr_multifd_method *method, uint32_t count)
{
	struct random random = {7};
	void *state = method->send_setup(PAGE, method->level_default);
	long length;

	assert_non_null(state);
	fill_source(&random, PAGE, count);
	length = method->send_prepare(state, source_pages(PAGE, count), count, packed, sizeof(packed));
	method->send_cleanup(state);
	assert_true(length > 0);
	return (size_t)length;
}

static const struct mr_multifd_method *by_name(const char *name)
{
	const struct mr_multifd_method *method = mr_multifd_method_by_name(name);

	assert_non_null(method);
	return method;
}

static void test_registry(void **state)
{
	static const struct {
		const char *name;
		uint32_t flag;
		bool decodable;
	} expected[] = {
		{"none", 0, true},    {"zlib", 0x02, true},  {"zstd", 0x04, true},
		{"qpl", 0x08, false}, {"uadk", 0x10, false}, {"qatzip", 0x20, false},
	};
	const size_t count = sizeof(expected) / sizeof(expected[0]);

	(void)state;
	for (size_t i = 0; i < count; i++) {
		const struct mr_multifd_method *method = mr_multifd_method_at(i);

		assert_string_equal(method->name, expected[i].name);
		assert_int_equal(method->flag, expected[i].flag);
		assert_int_equal(method->decodable, expected[i].decodable);
		assert_ptr_equal(mr_multifd_method_by_name(expected[i].name), method);
		assert_ptr_equal(mr_multifd_method_by_flag(expected[i].flag), method);
		assert_true(method->level_min <= method->level_default && method->level_default <= method->level_max);
	}
	assert_null(mr_multifd_method_at(count));
	assert_null(mr_multifd_method_by_flag(0x06));
	assert_null(mr_multifd_method_by_name("lzo"));
	assert_true(mr_multifd_payload_bound() >= compressBound(MR_PACKET_DATA_SIZE));
	assert_true(mr_multifd_payload_bound() >= ZSTD_compressBound(MR_PACKET_DATA_SIZE));
}

static void test_setup_refuses(void **state)
{
	static const size_t sizes[] = {0, 512, 3000, 5000, 131072};

	(void)state;
	for (size_t i = 0; mr_multifd_method_at(i); i++) {
		const struct mr_multifd_method *method = mr_multifd_method_at(i);

		for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
			assert_null(method->recv_setup(sizes[k]));
			assert_null(method->send_setup(sizes[k], method->level_default));
		}
		assert_null(method->send_setup(PAGE, method->level_min - 1));
		assert_null(method->send_setup(PAGE, method->level_max + 1));
		method->send_cleanup(NULL);
		method->recv_cleanup(NULL);
	}
}

/* Several packets through one sender and one receiver: nothing but the content may come out. */
static void check_round_trip(const struct mr_multifd_method *method, size_t page_size, int level, uint64_t seed)
{
	struct random random = {seed};
	void *sender = method->send_setup(page_size, level);
	void *receiver = method->recv_setup(page_size);
	char found[96];

	assert_non_null(sender);
	assert_non_null(receiver);
	for (unsigned packet = 0; packet < 6; packet++) {
		const uint32_t most = (uint32_t)(MR_PACKET_DATA_SIZE / page_size);
		const uint32_t count = packet == 0 ? most : 1 + (uint32_t)random_below(&random, most);
		uint8_t *const *pages = target_pages(page_size, count, packet % 2);
		long length;

		fill_source(&random, page_size, count);
		length = method->send_prepare(sender, source_pages(page_size, count), count, packed,
					      mr_multifd_payload_bound());
		assert_true(length > 0);
		assert_int_equal(method->recv(receiver, (struct mr_bytes){packed, (size_t)length}, pages, count, found),
				 MR_NO_RULE);
		for (uint32_t i = 0; i < count; i++)
			assert_memory_equal(pages[i], source + i * page_size, page_size);
	}
	method->send_cleanup(sender);
	method->recv_cleanup(receiver);
}

static void test_round_trips(void **state)
{
	static const int zlib_levels[] = {0, 1, 6, 9}, zstd_levels[] = {0, 1, 5, 12};

	(void)state;
	for (size_t page_size = MR_PAGE_SIZE_MIN; page_size <= MR_PAGE_SIZE_MAX; page_size *= 8) {
		check_round_trip(by_name("none"), page_size, 0, page_size);
		check_round_trip(by_name("qpl"), page_size, 0, page_size);
		check_round_trip(by_name("uadk"), page_size, 0, page_size);
		check_round_trip(by_name("zlib"), page_size, 1, page_size);
		check_round_trip(by_name("zstd"), page_size, 1, page_size);
	}
	for (unsigned i = 0; i < 4; i++) {
		check_round_trip(by_name("zlib"), PAGE, zlib_levels[i], i + 1);
		check_round_trip(by_name("zstd"), PAGE, zstd_levels[i], i + 1);
	}
}

/* A payload with no pages is empty and leaves the stream alone. */
static void test_no_pages(void **state)
{
	static const char *const names[] = {"none", "zlib", "zstd", "qpl", "uadk", "qatzip"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const enum mr_rule rule = strcmp(names[i], "none") == 0 ? MR_MFD_015 : MR_MFD_016;

		assert_int_equal(receive_first(by_name(names[i]), packed, 0, 0), MR_NO_RULE);
		assert_int_equal(receive_first(by_name(names[i]), packed, 1, 0), rule);
		assert_int_equal(receive_first(by_name(names[i]), packed, 0, 1), rule);
	}
}

static void test_limits(void **state)
{
	(void)state;
	for (size_t i = 0; mr_multifd_method_at(i); i++) {
		const struct mr_multifd_method *method = mr_multifd_method_at(i);
		void *receiver = method->recv_setup(PAGE), *sender = method->send_setup(PAGE, method->level_default);
		char found[96];

		assert_int_equal(method->recv(receiver, (struct mr_bytes){packed, 100}, NULL, PAGES + 1, found),
				 MR_MFD_012);
		if (sender)
			assert_int_equal(method->send_prepare(sender, NULL, PAGES + 1, packed, sizeof(packed)), -1);
		if (method->flag)
			assert_int_equal(method->recv(receiver, (struct mr_bytes){packed, MR_PACKET_PAYLOAD_MAX + 1},
						      target_pages(PAGE, 1, false), 1, found),
					 MR_MFD_016);
		method->recv_cleanup(receiver);
		if (sender)
			method->send_cleanup(sender);
	}
}

/* The sheet's recipe, written with the bare library: one stream, page by page, a flush behind the last. */
static size_t bare_zlib(z_stream *stream, uint32_t count)
{
	const size_t room = compressBound(MR_PACKET_DATA_SIZE);

	stream->next_out = again;
	stream->avail_out = (uInt)room;
	for (uint32_t i = 0; i < count; i++) {
		stream->next_in = source + (size_t)i * PAGE;
		stream->avail_in = PAGE;
		assert_int_equal(deflate(stream, i + 1 == count ? Z_SYNC_FLUSH : Z_NO_FLUSH), Z_OK);
		assert_int_equal(stream->avail_in, 0);
	}
	return room - stream->avail_out;
}

static void test_zlib_bytes(void **state)
{
	const struct mr_multifd_method *method = by_name("zlib");

	(void)state;
	for (int level = 0; level <= 9; level += 3) {
		struct random random = {5};
		z_stream stream = {0};
		void *sender = method->send_setup(PAGE, level);

		assert_int_equal(deflateInit(&stream, level), Z_OK);
		for (unsigned packet = 0; packet < 4; packet++) {
			const uint32_t count = packet % 2 ? 1 + (uint32_t)random_below(&random, PAGES) : PAGES;
			long length;

			fill_source(&random, PAGE, count);
			length = method->send_prepare(sender, source_pages(PAGE, count), count, packed, sizeof(packed));
			assert_int_equal(length, bare_zlib(&stream, count));
			assert_memory_equal(packed, again, (size_t)length);
			assert_memory_equal(packed + length - 4, "\x00\x00\xff\xff", 4);
		}
		deflateEnd(&stream);
		method->send_cleanup(sender);
	}
}

static size_t bare_zstd(ZSTD_CStream *stream, uint32_t count)
{
	ZSTD_outBuffer out = {again, sizeof(again), 0};
	ZSTD_inBuffer in = {source, (size_t)count * PAGE, 0};

	assert_int_equal(ZSTD_compressStream2(stream, &out, &in, ZSTD_e_flush), 0);
	return out.pos;
}

static void test_zstd_bytes(void **state)
{
	const struct mr_multifd_method *method = by_name("zstd");

	(void)state;
	for (int level = 0; level <= 12; level += 4) {
		struct random random = {6};
		ZSTD_CStream *stream = ZSTD_createCStream();
		void *sender = method->send_setup(PAGE, level);

		assert_false(ZSTD_isError(ZSTD_initCStream(stream, level)));
		for (unsigned packet = 0; packet < 4; packet++) {
			const uint32_t count = packet % 2 ? 1 + (uint32_t)random_below(&random, PAGES) : PAGES;
			long length;

			fill_source(&random, PAGE, count);
			length = method->send_prepare(sender, source_pages(PAGE, count), count, packed, sizeof(packed));
			assert_int_equal(length, bare_zstd(stream, count));
			assert_memory_equal(packed, again, (size_t)length);
		}
		ZSTD_freeCStream(stream);
		method->send_cleanup(sender);
	}
}

/* Too little room fails, and a compressor that was stopped in the middle is of no use afterwards. */
static void test_little_room(void **state)
{
	(void)state;
	for (size_t i = 0; mr_multifd_method_at(i); i++) {
		const struct mr_multifd_method *method = mr_multifd_method_at(i);
		const size_t rooms[] = {0, 1, 100, 3 * PAGE};
		struct random random = {8};

		random_fill(&random, source, 4 * PAGE);
		for (size_t k = 0; k < sizeof(rooms) / sizeof(rooms[0]); k++) {
			void *sender = method->send_setup(PAGE, method->level_default);

			if (!sender)
				continue;
			assert_int_equal(method->send_prepare(sender, source_pages(PAGE, 4), 4, packed, rooms[k]), -1);
			if (method->decodable && method->flag)
				assert_int_equal(
					method->send_prepare(sender, source_pages(PAGE, 4), 4, packed, sizeof(packed)),
					-1);
			method->send_cleanup(sender);
		}
	}
}

/* Faults that both compressing methods have in common. */
static void check_faults(const struct mr_multifd_method *method, enum mr_rule rule)
{
	const size_t length = pack_first(method, 5);
	void *state = method->recv_setup(PAGE);

	assert_int_equal(receive_first(method, packed, length, 5), MR_NO_RULE);
	/* more pages declared than there are, and fewer */
	assert_int_equal(receive_first(method, packed, length, 6), rule);
	assert_int_equal(receive_first(method, packed, length, 4), rule);
	assert_int_equal(receive_first(method, packed, length / 2, 5), rule);
	/* the same payload again is a new stream inside the old one */
	assert_int_equal(receive(method, state, packed, length, 5), MR_NO_RULE);
	assert_int_equal(receive(method, state, packed, length, 5), rule);
	/* and after that nothing is accepted any more */
	assert_int_equal(receive(method, state, packed, length, 5), rule);
	method->recv_cleanup(state);
	memset(packed, 0xa5, sizeof(packed));
	assert_int_equal(receive_first(method, packed, length, 5), rule);
}

static void test_faults(void **state)
{
	(void)state;
	check_faults(by_name("zlib"), MR_MFD_026);
	check_faults(by_name("zstd"), MR_MFD_027);
	assert_int_equal(receive_first(by_name("none"), packed, 2 * PAGE - 1, 2), MR_MFD_015);
	assert_int_equal(receive_first(by_name("none"), packed, 2 * PAGE + 1, 2), MR_MFD_015);
}

/* A finished zlib stream is refused; zstd frames may end with each packet, and go on behind skippable ones. */
static void test_finished_streams(void **state)
{
	static const uint8_t skipped[] = {0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 'x', 'y'};
	const struct mr_multifd_method *zstd = by_name("zstd");
	uLongf length = sizeof(packed);
	void *receiver = zstd->recv_setup(PAGE);
	size_t size;

	(void)state;
	assert_int_equal(compress(packed, &length, source, (uLong)3 * PAGE), Z_OK);
	assert_int_equal(receive_first(by_name("zlib"), packed, length, 3), MR_MFD_026);

	size = ZSTD_compress(packed, sizeof(packed), source, (size_t)3 * PAGE, 1);
	assert_int_equal(receive(zstd, receiver, packed, size, 3), MR_NO_RULE);
	assert_int_equal(receive(zstd, receiver, packed, size, 3), MR_NO_RULE);
	memcpy(packed + size, packed, size);
	assert_int_equal(receive(zstd, receiver, packed, 2 * size, 6), MR_NO_RULE);
	memcpy(packed + size, skipped, sizeof(skipped));
	assert_int_equal(receive(zstd, receiver, packed, size + sizeof(skipped), 3), MR_NO_RULE);
	memset(packed + size, 0xa5, sizeof(skipped));
	assert_int_equal(receive(zstd, receiver, packed, size + sizeof(skipped), 3), MR_MFD_027);
	zstd->recv_cleanup(receiver);
}

/* A frame header is enough to ask for memory: 2^28 bytes here. */
static void test_zstd_window(void **state)
{
	static const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, (28 - 10) << 3, 0x01, 0x00, 0x00};

	(void)state;
	assert_int_equal(receive_first(by_name("zstd"), frame, sizeof(frame), 1), MR_MFD_027);
}

/* No cut and no damage of a payload does more than break a rule. */
static void check_damage(const struct mr_multifd_method *method, enum mr_rule rule)
{
	const size_t length = pack_first(method, 3);
	struct random random = {11};

	for (size_t cut = 1; cut < length; cut++) {
		const enum mr_rule found = receive_first(method, packed, cut, 3);

		/* the flush behind the last page holds no content */
		assert_true(found == rule || (found == MR_NO_RULE && length - cut < 8));
	}
	memcpy(again, packed, length);
	for (unsigned round = 0; round < 2000; round++) {
		enum mr_rule found;

		memcpy(packed, again, length);
		for (unsigned i = 0; i <= round % 4; i++)
			packed[random_below(&random, length)] = (uint8_t)random_next(&random);
		found = receive_first(method, packed, length, 3);
		assert_true(found == MR_NO_RULE || found == rule);
	}
}

static void test_damage(void **state)
{
	(void)state;
	check_damage(by_name("zlib"), MR_MFD_026);
	check_damage(by_name("zstd"), MR_MFD_027);
	/* raw pages: any content is right, yet not any length of a page */
	check_damage(by_name("none"), MR_MFD_015);
}

static void test_hardware(void **state)
{
	static const char *const names[] = {"qpl", "uadk"};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const struct mr_multifd_method *method = by_name(names[i]);
		const size_t length = pack_first(method, 2);

		assert_int_equal(length, 2 * (4 + PAGE));
		assert_int_equal(receive_first(method, packed, length, 2), MR_NO_RULE);
		assert_int_equal(receive_first(method, packed, length - 1, 2), MR_MFD_028);
		assert_int_equal(receive_first(method, packed, 7, 2), MR_MFD_028);
		/* 100 bytes of a page that the hardware shrank */
		packed[6] = 0;
		packed[7] = 100;
		assert_int_equal(receive_first(method, packed, 8 + PAGE + 100, 2), MR_MFD_021);
		packed[6] = 0xff;
		assert_int_equal(receive_first(method, packed, length, 2), MR_MFD_028);
	}
	assert_int_equal(receive_first(by_name("qatzip"), packed, 100, 2), MR_MFD_021);
	assert_null(by_name("qatzip")->send_setup(PAGE, 1));
	assert_int_equal(by_name("qatzip")->send_prepare(NULL, NULL, 1, packed, sizeof(packed)), -1);
}

static int set_up(void **state)
{
	(void)state;
	target = guard_new(MR_PACKET_DATA_SIZE);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	guard_free(&target);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registry),    cmocka_unit_test(test_setup_refuses),
		cmocka_unit_test(test_round_trips), cmocka_unit_test(test_no_pages),
		cmocka_unit_test(test_limits),      cmocka_unit_test(test_zlib_bytes),
		cmocka_unit_test(test_zstd_bytes),  cmocka_unit_test(test_little_room),
		cmocka_unit_test(test_faults),      cmocka_unit_test(test_finished_streams),
		cmocka_unit_test(test_zstd_window), cmocka_unit_test(test_damage),
		cmocka_unit_test(test_hardware),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
