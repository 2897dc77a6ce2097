/*
 * test_coverage_payload.c: the corners of compressed payloads that only a look at the branches finds: pages that do not
 * lie side by side, frames without content, too little room, no memory.
 */
#include "hostile.h"
#include "wire_support.h"

#include <zlib.h>
#include <zstd.h>

enum { PAGE = 4096 };

static uint8_t memory[8 * MR_PAGE_SIZE_MAX];
static uint8_t packed[MR_PACKET_PAYLOAD_MAX + 1];

/* ---- Memory ---- */

/* The allocation that fails, counted down to 1; 0: none does. */
static size_t failing;

#if !SANITIZED

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);

static bool refuses(void)
{
	return failing && --failing == 0;
}

void *malloc(size_t size)
{
	return refuses() ? NULL : __libc_malloc(size);
}

void *calloc(size_t nmemb, size_t size)
{
	return refuses() ? NULL : __libc_calloc(nmemb, size);
}

#endif

/* Sends and receives one page. Returns false if anything failed on the way. */
static bool send_and_receive(const struct mr_multifd_method *method, const uint8_t *page, uint8_t *copy)
{
	const uint8_t *const source[] = {page};
	uint8_t *const target[] = {copy};
	void *sender = method->send_setup(PAGE, method->level_default);
	void *receiver = method->recv_setup(PAGE);
	long length = -1;
	bool good = false;
	char found[96];

	if (sender)
		length = method->send_prepare(sender, source, 1, packed, sizeof(packed));
	if (receiver && length > 0)
		good = method->recv(receiver, (struct mr_bytes){packed, (size_t)length}, target, 1, found) ==
		       MR_NO_RULE;
	method->send_cleanup(sender);
	method->recv_cleanup(receiver);
	return good;
}

static void every_allocation_may_fail(void **state)
{
	static const char *const names[] = {"none", "zlib", "zstd"};

	(void)state;
	memset(memory, 'm', PAGE);
	for (size_t i = 0; i < 3; i++) {
		const struct mr_multifd_method *method = mr_multifd_method_by_name(names[i]);

		for (size_t nth = 1; nth <= 32; nth++) {
			bool good;

			failing = nth;
			good = send_and_receive(method, memory, memory + PAGE);
			failing = 0;
			if (good)
				assert_memory_equal(memory, memory + PAGE, PAGE);
		}
	}
}

static void a_method_of_hardware_without_memory(void **state)
{
	const struct mr_multifd_method *method = mr_multifd_method_by_name("qpl");
	void *states[2];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		failing = 1;
		states[i] = i ? method->recv_setup(PAGE) : method->send_setup(PAGE, method->level_default);
		failing = 0;
		(i ? method->recv_cleanup : method->send_cleanup)(states[i]);
	}
}

/* ---- Payloads ---- */

static enum mr_rule receive(const char *name, struct mr_bytes payload, uint32_t count, char found[96])
{
	const struct mr_multifd_method *method = mr_multifd_method_by_name(name);
	void *state = method->recv_setup(PAGE);
	uint8_t *pages[8];
	enum mr_rule rule;

	assert_non_null(state);
	/* turned round, so that each page is a run of its own */
	for (uint32_t i = 0; i < count; i++)
		pages[i] = memory + (count - 1 - i) * (size_t)PAGE;
	rule = method->recv(state, payload, pages, count, found);
	method->recv_cleanup(state);
	return rule;
}

static void the_first_of_several_runs_is_corrupt(void **state)
{
	static const uint8_t garbage[] = "neither of them";
	const struct mr_bytes payload = {garbage, sizeof(garbage)};
	char found[96];

	(void)state;
	assert_int_equal(receive("zlib", payload, 3, found), MR_MFD_026);
	assert_int_equal(receive("zstd", payload, 3, found), MR_MFD_027);
}

static void a_zlib_stream_that_needs_a_dictionary(void **state)
{
	static const uint8_t start[] = {0x78, 0xbb, 0, 0, 0, 1, 0, 0};
	char found[96];

	(void)state;
	assert_int_equal(receive("zlib", (struct mr_bytes){start, sizeof(start)}, 1, found), MR_MFD_026);
	assert_string_equal(found, "corrupt data");
}

/* A whole frame, and behind it frames of nothing: the page is full before the first of them begins. */
static void empty_zstd_frames_behind_the_pages(void **state)
{
	char found[96];
	size_t length;

	(void)state;
	memset(memory, 'z', PAGE);
	length = ZSTD_compress(packed, sizeof(packed), memory, PAGE, 1);
	for (unsigned i = 0; i < 3; i++)
		length += ZSTD_compress(packed + length, sizeof(packed) - length, memory, 0, 1);
	assert_int_equal(receive("zstd", (struct mr_bytes){packed, length}, 1, found), MR_NO_RULE);
	assert_int_equal(memory[PAGE - 1], 'z');
}

static void too_little_room_within_a_page(void **state)
{
	static const char *const names[] = {"zlib", "zstd"};
	struct random random = {1};
	const uint8_t *pages[8];

	(void)state;
	random_fill(&random, memory, sizeof(memory));
	for (size_t i = 0; i < 8; i++)
		pages[i] = memory + i * MR_PAGE_SIZE_MAX;
	for (size_t i = 0; i < 2; i++) {
		const struct mr_multifd_method *method = mr_multifd_method_by_name(names[i]);
		void *sender = method->send_setup(MR_PAGE_SIZE_MAX, method->level_default);

		assert_non_null(sender);
		assert_int_equal(method->send_prepare(sender, pages, 8, packed, 1000), -1);
		/* what was lost is lost for all later packets */
		assert_int_equal(method->send_prepare(sender, pages, 1, packed, sizeof(packed)), -1);
		method->send_cleanup(sender);
	}
}

static void more_room_than_a_payload_may_take(void **state)
{
	const struct mr_multifd_method *method = mr_multifd_method_by_name("zstd");
	void *sender = method->send_setup(PAGE, method->level_default);
	const uint8_t *pages[] = {memory};

	(void)state;
	assert_non_null(sender);
	assert_true(method->send_prepare(sender, pages, 1, packed, sizeof(packed)) > 0);
	method->send_cleanup(sender);
}

static void a_page_deflated_into_any_room(void **state)
{
	size_t length, produced;

	(void)state;
	memset(memory, 7, PAGE);
	length = mr_page_deflate(memory, PAGE, 1, packed, SIZE_MAX);
	assert_true(length > 0);
	assert_int_equal(mr_page_inflate((struct mr_bytes){packed, length}, memory, PAGE, &produced), MR_NO_RULE);
}

/* ---- Packets ---- */

static void list_one_block(struct mr_session *session)
{
	declare_block(session, "mem", 1 << 20, 0);
}

/* A packet that names a block outside of the list makes the name known, but the block no more listed than before. */
static void a_block_that_no_list_names_in_two_packets(void **state)
{
	static struct stream stream;
	const struct run *run;

	(void)state;
	put_number(&stream, 4, 0x11223344);
	put_number(&stream, 4, 1);
	put_fill(&stream, 0, 16 + 1 + 39);
	for (unsigned i = 0; i < 2; i++) {
		put_number(&stream, 4, 0x11223344);
		put_number(&stream, 4, 1);
		put_number(&stream, 4, 0);
		put_number(&stream, 4, 128);
		put_number(&stream, 4, 1);
		put_number(&stream, 4, PAGE);
		put_number(&stream, 8, i);
		put_fill(&stream, 0, 4 + 28);
		put_padded(&stream, "other", 256);
		put_fill(&stream, 0, 128 * 8 + PAGE);
	}
	run = run_stream(MR_ROLE_MULTIFD, list_one_block, &stream, stream.length, true);
	assert_int_equal(run->result, MR_DONE);
	assert_int_equal(run->seen.count[MR_MFD_017], 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_of_several_runs_is_corrupt),
		cmocka_unit_test(a_zlib_stream_that_needs_a_dictionary),
		cmocka_unit_test(empty_zstd_frames_behind_the_pages),
		cmocka_unit_test(too_little_room_within_a_page),
		cmocka_unit_test(more_room_than_a_payload_may_take),
		cmocka_unit_test(a_page_deflated_into_any_room),
		cmocka_unit_test(every_allocation_may_fail),
		cmocka_unit_test(a_method_of_hardware_without_memory),
		cmocka_unit_test(a_block_that_no_list_names_in_two_packets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
