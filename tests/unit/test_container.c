/* test_container.c: save images of libvirt: the wrapper, the packed payload, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bzlib.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "build.h"
#include "random.h"
#include "sim/record/container.h"

enum { PAYLOAD = 300000, PACKED_MAX = 2 * PAYLOAD };

static const char xml[] = "<domain type='qemu'><name>guest</name></domain>";
static uint8_t payload[PAYLOAD], packed[PACKED_MAX];
static struct build image;
static struct mr_container *container;
static struct mr_input *input;
static char error[512];

static int begin(void **state)
{
	static const uint8_t magic[] = {'Q', 'E', 'V', 'M'};
	struct random random = {0x73617665};

	(void)state;
	image.length = 0;
	memset(payload, 0, PAYLOAD);
	memcpy(payload, magic, sizeof(magic));
	for (size_t at = sizeof(magic); at < PAYLOAD; at += 7)
		payload[at] = (uint8_t)random_next(&random);
	return 0;
}

static int end(void **state)
{
	(void)state;
	mr_container_close(container);
	mr_input_close(input);
	build_free(&image);
	container = NULL;
	input = NULL;
	return 0;
}

static void put_u32(bool big_endian, uint32_t number)
{
	for (unsigned i = 0; i < 4; i++)
		build_u8(&image, (uint8_t)(number >> 8 * (big_endian ? 3 - i : i)));
}

/* The header and the XML, which fill `data_length` bytes. */
static void put_wrapper(const char *magic, bool big_endian, uint32_t format, uint32_t data_length)
{
	build_text(&image, magic);
	put_u32(big_endian, 2);
	put_u32(big_endian, data_length);
	put_u32(big_endian, 1);
	put_u32(big_endian, format);
	put_u32(big_endian, 0);
	build_fill(&image, 0, 14 * 4);
	build_bytes(&image, xml, sizeof(xml));
	if (data_length > sizeof(xml))
		build_fill(&image, 0, data_length - sizeof(xml));
}

static int open_image(void)
{
	mr_container_close(container);
	mr_input_close(input);
	container = NULL;
	error[0] = '\0';
	assert_int_equal(mr_input_open_memory(&input, "guest.save", image.bytes, image.length), 0);
	return mr_container_open(&container, &input, error, sizeof(error));
}

static void expect_payload(void)
{
	size_t at = 0;

	for (;;) {
		const uint8_t *window;
		size_t length;
		bool at_end;

		assert_int_equal(mr_input_fill(input, 1), 0);
		window = mr_input_window(input, &length, &at_end);
		if (length == 0)
			break;
		assert_true(length <= PAYLOAD - at);
		assert_memory_equal(window, payload + at, length);
		at += length;
		mr_input_consume(input, length);
	}
	assert_int_equal(at, PAYLOAD);
}

static void expect_format(uint32_t format, const char *name, size_t length)
{
	char *line = NULL;
	size_t size;
	FILE *out;

	put_wrapper("LibvirtQemudSave", false, format, 420);
	build_bytes(&image, packed, length);
	if (open_image() < 0)
		fail_msg("%s", error);
	assert_int_equal(container->format, format);
	assert_string_equal((const char *)container->data, xml);
	assert_int_equal(container->length, 512);
	expect_payload();
	out = open_memstream(&line, &size);
	mr_container_print(&(struct mr_printer){.out = out, .all = true}, "stream", container);
	fclose(out);
	assert_non_null(strstr(line, name));
	assert_non_null(strstr(line, "<name>guest</name>"));
	free(line);
}

static void raw(void **state)
{
	(void)state;
	memcpy(packed, payload, PAYLOAD);
	expect_format(0, "\"raw\"", PAYLOAD);
	assert_int_equal(mr_container_stream_offset(container), 512);
}

static size_t gzip(const uint8_t *bytes, size_t length, uint8_t *out)
{
	z_stream stream = {.next_in = (Bytef *)(uintptr_t)bytes,
			   .avail_in = (uInt)length,
			   .next_out = out,
			   .avail_out = PACKED_MAX / 2};

	assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
	deflateEnd(&stream);
	return stream.total_out;
}

/* As `cat a.gz b.gz` would leave it. */
static void gzip_twice(void **state)
{
	size_t length;

	(void)state;
	length = gzip(payload, 1000, packed);
	length += gzip(payload + 1000, PAYLOAD - 1000, packed + length);
	expect_format(1, "\"gzip\"", length);
	assert_int_equal(mr_container_stream_offset(container), 0);
}

static void bzip2(void **state)
{
	unsigned length = PACKED_MAX;

	(void)state;
	assert_int_equal(BZ2_bzBuffToBuffCompress((char *)packed, &length, (char *)payload, PAYLOAD, 1, 0, 0), BZ_OK);
	expect_format(2, "\"bzip2\"", length);
}

static void xz(void **state)
{
	size_t length = 0;

	(void)state;
	assert_int_equal(
		lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, NULL, payload, PAYLOAD, packed, &length, PACKED_MAX),
		LZMA_OK);
	expect_format(3, "\"xz\"", length);
}

static void zstd(void **state)
{
	(void)state;
	expect_format(5, "\"zstd\"", ZSTD_compress(packed, PACKED_MAX, payload, PAYLOAD, 1));
}

static void big_endian_and_partial(void **state)
{
	(void)state;
	put_wrapper("LibvirtQemudPart", true, 0, sizeof(xml));
	build_bytes(&image, payload, PAYLOAD);
	assert_int_equal(open_image(), 0);
	assert_true(container->partial);
	assert_true(container->big_endian);
	assert_int_equal(container->version, 2);
	expect_payload();
}

/* A mapped-ram file as the payload stands at the border of a block; what is before it is zero. */
static void padding(void **state)
{
	(void)state;
	put_wrapper("LibvirtQemudSave", false, MR_SAVE_FORMAT_SPARSE, 420);
	build_fill(&image, 0, 8192 - image.length);
	build_bytes(&image, payload, PAYLOAD);
	assert_int_equal(open_image(), 0);
	assert_int_equal(container->padding, 8192 - 512);
	assert_int_equal(mr_container_stream_offset(container), 8192);
	expect_payload();
}

static void no_image(void **state)
{
	(void)state;
	build_bytes(&image, payload, PAYLOAD);
	assert_int_equal(open_image(), 0);
	assert_null(container);
	expect_payload();
}

static void expect_refusal(const char *words)
{
	assert_int_equal(open_image(), -1);
	assert_null(container);
	assert_null(input);
	if (!strstr(error, words))
		fail_msg("expected a line with \"%s\", found: %s", words, error);
	assert_null(strchr(error, '\n'));
	image.length = 0;
}

static void refusals(void **state)
{
	(void)state;
	put_wrapper("LibvirtQemudSave", false, 4, 100);
	build_text(&image, "\x89LZO");
	build_fill(&image, 0, 100);
	expect_refusal("found lzop");
	put_wrapper("LibvirtQemudSave", false, 1, 100);
	build_bytes(&image, payload, PAYLOAD);
	expect_refusal("expected a payload of format 1 (gzip), found one packed by none");
	put_wrapper("LibvirtQemudSave", false, 77, 100);
	build_bytes(&image, payload, PAYLOAD);
	expect_refusal("an unknown format");
	put_wrapper("LibvirtQemudSave", false, 0, 0);
	image.bytes[19] = 1;
	image.bytes[16] = 0;
	image.bytes[17] = 1;
	expect_refusal("expected version 1 or 2");
	put_wrapper("LibvirtQemudSave", false, 0, 0);
	image.bytes[23] = 0x7f;
	expect_refusal("bytes of XML, found");
	put_wrapper("LibvirtQemudSave", false, 0, 420);
	image.length -= 1;
	expect_refusal("found the end of the file after 419");
}

/* A header that is cut at any byte of it. */
static void cut_headers(void **state)
{
	(void)state;
	for (size_t length = 16; length < MR_SAVE_HEADER_LENGTH; length++) {
		put_wrapper("LibvirtQemudSave", false, 0, 100);
		image.length = length;
		expect_refusal("bytes of header");
	}
}

/* A packed payload that is cut or damaged says where. */
static void cut_payloads(void **state)
{
	const size_t length = gzip(payload, PAYLOAD, packed);

	(void)state;
	put_wrapper("LibvirtQemudSave", false, 1, 420);
	build_bytes(&image, packed, length / 2);
	assert_int_equal(open_image(), 0);
	assert_int_equal(mr_input_fill(input, PAYLOAD), -1);
	assert_non_null(strstr(mr_input_error(input), "cut at byte"));
	image.length = 512;
	packed[length / 2] ^= 0xff;
	build_bytes(&image, packed, length);
	/* So small a payload is looked at as a whole when it is opened. */
	assert_int_equal(open_image(), -1);
	assert_non_null(strstr(error, "not readable at byte"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(raw, begin, end),
		cmocka_unit_test_setup_teardown(gzip_twice, begin, end),
		cmocka_unit_test_setup_teardown(bzip2, begin, end),
		cmocka_unit_test_setup_teardown(xz, begin, end),
		cmocka_unit_test_setup_teardown(zstd, begin, end),
		cmocka_unit_test_setup_teardown(big_endian_and_partial, begin, end),
		cmocka_unit_test_setup_teardown(padding, begin, end),
		cmocka_unit_test_setup_teardown(no_image, begin, end),
		cmocka_unit_test_setup_teardown(refusals, begin, end),
		cmocka_unit_test_setup_teardown(cut_headers, begin, end),
		cmocka_unit_test_setup_teardown(cut_payloads, begin, end),
	};

	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("container", tests, NULL, NULL);
}
