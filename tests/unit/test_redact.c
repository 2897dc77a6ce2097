/* test_redact.c: redacted streams keep their lengths and structure, and nothing of their pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/record/redact.h"
#include "sim/world/random.h"

enum { PAGE = 4096, STREAM_MAX = 1 << 17, ROUNDS = 60 };

static const uint8_t key[MR_REDACT_KEY_SIZE] = {1, 2, 3};
static const char SECRET[] = "a secret of the guest";

/* ---- A stream ---- */

struct text {
	uint8_t bytes[STREAM_MAX];
	size_t length;
};

static void put(struct text *text, const void *bytes, size_t length)
{
	assert_true(length <= sizeof(text->bytes) - text->length);
	memcpy(text->bytes + text->length, bytes, length);
	text->length += length;
}

static void put_number(struct text *text, uint64_t number, unsigned size)
{
	while (size-- > 0) {
		const uint8_t byte = (uint8_t)(number >> 8 * size);

		put(text, &byte, 1);
	}
}

static void put_name(struct text *text, const char *name)
{
	put_number(text, strlen(name), 1);
	put(text, name, strlen(name));
}

static void put_page(struct text *text, uint64_t address, char last)
{
	uint8_t page[PAGE];

	for (size_t i = 0; i < PAGE; i++)
		page[i] = (uint8_t)SECRET[i % sizeof(SECRET)];
	page[PAGE - 1] = (uint8_t)last;
	put_number(text, address | MR_RAM_FLAG_PAGE | MR_RAM_FLAG_CONTINUE, 8);
	put(text, page, PAGE);
}

static void put_head(struct text *text)
{
	put_number(text, 0x5145564d, 4);
	put_number(text, 3, 4);
	put_number(text, 7, 1);
	put_number(text, 4, 4);
	put(text, "none", 4);
	put_number(text, 1, 1);
	put_number(text, 2, 4);
	put_name(text, "ram");
	put_number(text, 0, 4);
	put_number(text, 4, 4);
	put_number(text, 16 * PAGE | MR_RAM_FLAG_SIZE, 8);
	put_name(text, "mem");
	put_number(text, 16 * PAGE, 8);
	put_number(text, MR_RAM_FLAG_EOS, 8);
}

static void put_end(struct text *text)
{
	put_number(text, MR_RAM_FLAG_EOS, 8);
	put_number(text, 0x7e, 1);
	put_number(text, 2, 4);
}

/* Two equal pages and another, a zero one, one of a byte, an encoding. */
static void put_pages(struct text *text)
{
	static const uint8_t encoding[] = {3, 5, 's', 'e', 'c', 'r', 'e', 0x81, 1, 2, 't', 's'};

	put_number(text, 0x7e, 1);
	put_number(text, 2, 4);
	put_number(text, 2, 1);
	put_number(text, 2, 4);
	put_number(text, 0x0000 | MR_RAM_FLAG_ZERO, 8);
	put_name(text, "mem");
	put_number(text, 0, 1);
	put_page(text, 0x1000, 'x');
	put_page(text, 0x2000, 'x');
	put_page(text, 0x3000, 'y');
	put_number(text, 0x4000 | MR_RAM_FLAG_ZERO | MR_RAM_FLAG_CONTINUE, 8);
	put_number(text, 's', 1);
	put_number(text, 0x1000 | MR_RAM_FLAG_XBZRLE | MR_RAM_FLAG_CONTINUE, 8);
	put_number(text, 1, 1);
	put_number(text, sizeof(encoding), 2);
	put(text, encoding, sizeof(encoding));
	put_end(text);
}

static void put_stream(struct text *text)
{
	text->length = 0;
	put_head(text);
	put_pages(text);
	put_number(text, 0, 1);
}

/* ---- Redacting ---- */

struct result {
	struct text streams[2];
};

static void take(void *argument, uint32_t channel, struct mr_bytes bytes)
{
	struct result *result = argument;

	put(&result->streams[channel], bytes.data, bytes.length);
}

static struct mr_redactor *start(struct result *result)
{
	struct mr_redactor *redactor = mr_redactor_new(NULL, key, take, result);

	result->streams[0].length = result->streams[1].length = 0;
	assert_non_null(redactor);
	assert_true(mr_redactor_open(redactor, 0));
	return redactor;
}

/* The first `length` bytes of a stream, in pieces by chance. */
static void redact(struct result *result, const struct text *text, size_t length, struct mr_random *random)
{
	struct mr_redactor *redactor = start(result);

	assert_true(mr_redactor_role(redactor, 0, MR_ROLE_MAIN));
	for (size_t at = 0; at < length;) {
		size_t piece = 1 + (size_t)mr_random_below(random, 9000);

		if (piece > length - at)
			piece = length - at;
		assert_true(mr_redactor_feed(redactor, 0, (struct mr_bytes){text->bytes + at, piece}));
		at += piece;
	}
	assert_true(mr_redactor_end(redactor, 0));
	assert_string_equal(mr_redactor_error(redactor), "");
	mr_redactor_free(redactor);
}

static bool holds(const struct text *text, const char *word)
{
	return memmem(text->bytes, text->length, word, strlen(word)) != NULL;
}

/* The records of both are the same but for contents; returns how many there are. */
static size_t compare_records(const struct text *one, const struct text *other)
{
	struct mr_session *sessions[2] = {malloc(sizeof(**sessions)), malloc(sizeof(**sessions))};
	struct mr_decoder *decoders[2] = {malloc(sizeof(**decoders)), malloc(sizeof(**decoders))};
	const struct text *texts[2] = {one, other};
	struct mr_record records[2];
	enum mr_result results[2] = {MR_RECORD, MR_RECORD};
	size_t count = 0, at = 0;

	for (unsigned i = 0; i < 2; i++) {
		mr_session_init(sessions[i], NULL, NULL, NULL);
		mr_decoder_init(decoders[i], sessions[i], MR_ROLE_MAIN, 0);
	}
	while (results[0] == MR_RECORD) {
		for (unsigned i = 0; i < 2; i++)
			results[i] =
				mr_decode(decoders[i], texts[i]->bytes + at, texts[i]->length - at, true, &records[i]);
		assert_int_equal(results[0], results[1]);
		if (results[0] != MR_RECORD)
			break;
		assert_int_equal(records[0].kind, records[1].kind);
		assert_int_equal(records[0].length, records[1].length);
		if (records[0].kind >= MR_RAM_ZERO && records[0].kind <= MR_RAM_EOS)
			assert_int_equal(records[0].page.address, records[1].page.address);
		at += records[0].length;
		count++;
	}
	for (unsigned i = 0; i < 2; i++) {
		free(decoders[i]);
		free(sessions[i]);
	}
	return count;
}

static void test_pages(void **state)
{
	static struct result result;
	static struct text text;
	struct mr_random random = mr_random_of(1, 0);
	const uint8_t *pages[3];
	const size_t first = 8 + PAGE;

	(void)state;
	put_stream(&text);
	redact(&result, &text, text.length, &random);
	assert_int_equal(result.streams[0].length, text.length);
	assert_true(holds(&text, SECRET) && holds(&text, "secre"));
	assert_false(holds(&result.streams[0], SECRET) || holds(&result.streams[0], "secre"));
	assert_true(compare_records(&text, &result.streams[0]) > 15);
	for (size_t i = 0, at = 0; i < 3; i++) {
		const uint8_t *page = memmem(text.bytes + at, text.length - at, SECRET, sizeof(SECRET));

		assert_non_null(page);
		pages[i] = result.streams[0].bytes + (page - text.bytes);
		at = (size_t)(page - text.bytes) + first - 8;
	}
	assert_memory_equal(pages[0], pages[1], PAGE);
	assert_memory_not_equal(pages[0], pages[2], PAGE);
	assert_memory_not_equal(pages[0], pages[0] + PAGE / 2, PAGE / 2);
}

/* However the stream comes in pieces, and wherever it is cut: the same bytes, as many as came, none of them secret. */
static void test_pieces(void **state)
{
	static struct result whole, result;
	static struct text text;
	struct mr_random random = mr_random_of(2, 0);

	(void)state;
	put_stream(&text);
	redact(&whole, &text, text.length, &random);
	for (unsigned round = 0; round < ROUNDS; round++) {
		const size_t length = (size_t)mr_random_below(&random, text.length + 1);

		redact(&result, &text, length, &random);
		assert_int_equal(result.streams[0].length, length);
		assert_false(holds(&result.streams[0], SECRET));
		redact(&result, &text, text.length, &random);
		assert_memory_equal(result.streams[0].bytes, whole.streams[0].bytes, text.length);
	}
}

/* Another channel waits until the size of pages is known. */
static void test_waiting(void **state)
{
	static struct result result;
	static struct text text, preempt;
	struct mr_redactor *redactor = start(&result);

	(void)state;
	put_stream(&text);
	preempt.length = 0;
	put_number(&preempt, 0x1000 | MR_RAM_FLAG_PAGE, 8);
	put_name(&preempt, "mem");
	put(&preempt, text.bytes, PAGE);
	assert_true(mr_redactor_open(redactor, 1));
	assert_true(mr_redactor_role(redactor, 1, MR_ROLE_PREEMPT));
	assert_true(mr_redactor_feed(redactor, 1, (struct mr_bytes){preempt.bytes, preempt.length}));
	assert_int_equal(result.streams[1].length, 0);
	assert_true(mr_redactor_feed(redactor, 0, (struct mr_bytes){text.bytes, text.length}));
	assert_int_equal(result.streams[0].length, 0);
	assert_true(mr_redactor_role(redactor, 0, MR_ROLE_MAIN));
	assert_int_equal(result.streams[0].length, text.length);
	assert_int_equal(result.streams[1].length, preempt.length);
	assert_true(mr_redactor_end(redactor, 0) && mr_redactor_end(redactor, 1));
	assert_memory_equal(result.streams[1].bytes, preempt.bytes, 12);
	assert_memory_not_equal(result.streams[1].bytes + 12, preempt.bytes + 12, PAGE);
	mr_redactor_free(redactor);
}

/* What cannot be redacted, or read, ends the stream there. */
static void test_refusals(void **state)
{
	static struct result result;
	static struct text text;
	size_t before;

	(void)state;
	for (unsigned compressed = 0; compressed < 2; compressed++) {
		struct mr_redactor *redactor = start(&result);

		text.length = 0;
		put_head(&text);
		put_number(&text, 0x7e, 1);
		put_number(&text, 2, 4);
		before = text.length + compressed * 5;
		if (compressed) {
			put_number(&text, 2, 1);
			put_number(&text, 2, 4);
			put_number(&text, 0x1000 | MR_RAM_FLAG_COMPRESSED, 8);
			put_name(&text, "mem");
			put_number(&text, 5, 4);
		}
		put(&text, SECRET, sizeof(SECRET));
		assert_true(mr_redactor_role(redactor, 0, MR_ROLE_MAIN));
		assert_false(mr_redactor_feed(redactor, 0, (struct mr_bytes){text.bytes, text.length}));
		assert_non_null(strstr(mr_redactor_error(redactor), compressed ? "a compressed page" : "STR-011"));
		assert_false(mr_redactor_feed(redactor, 0, (struct mr_bytes){text.bytes, 1}));
		assert_false(mr_redactor_end(redactor, 0));
		assert_int_equal(result.streams[0].length, before);
		mr_redactor_free(redactor);
	}
}

/* Two recordings have two keys. */
static void test_keys(void **state)
{
	static struct result results[2];
	static struct text text;

	(void)state;
	put_stream(&text);
	for (unsigned i = 0; i < 2; i++) {
		struct mr_redactor *redactor = mr_redactor_new(NULL, NULL, take, &results[i]);

		assert_non_null(redactor);
		assert_true(mr_redactor_open(redactor, 0) && mr_redactor_role(redactor, 0, MR_ROLE_MAIN));
		assert_true(mr_redactor_feed(redactor, 0, (struct mr_bytes){text.bytes, text.length}));
		assert_true(mr_redactor_end(redactor, 0));
		mr_redactor_free(redactor);
	}
	assert_int_equal(results[0].streams[0].length, results[1].streams[0].length);
	assert_memory_not_equal(results[0].streams[0].bytes, results[1].streams[0].bytes, text.length);
}

/* ---- XBZRLE ---- */

/* A guest of four pages: what they hold, and what they do for a reader of the redacted stream. */
struct pages {
	uint8_t real[4][PAGE], redacted[4][PAGE];
};

/* Some runs of the page change; then it goes as an encoding, else as a whole. */
static void put_change(struct text *text, struct pages *pages, struct mr_random *random)
{
	const uint64_t which = mr_random_below(random, 4);
	uint8_t *page = pages->real[which], old[PAGE], encoding[PAGE];
	long length;

	memcpy(old, page, PAGE);
	for (unsigned run = 0; run < 5; run++) {
		const size_t from = (size_t)mr_random_below(random, PAGE), most = (size_t)mr_random_below(random, 300);

		for (size_t i = from; i < PAGE && i < from + most; i++)
			page[i] = (uint8_t)mr_random_below(random, 256);
	}
	length = mr_xbzrle_encode(old, page, PAGE, encoding, sizeof(encoding));
	if (length > 0 && mr_random_below(random, 5)) {
		put_number(text, which * PAGE | MR_RAM_FLAG_XBZRLE | MR_RAM_FLAG_CONTINUE, 8);
		put_number(text, 1, 1);
		put_number(text, (uint64_t)length, 2);
		put(text, encoding, (size_t)length);
	} else if (mr_random_below(random, 3)) {
		put_number(text, which * PAGE | MR_RAM_FLAG_PAGE | MR_RAM_FLAG_CONTINUE, 8);
		put(text, page, PAGE);
	} else {
		memset(page, 0, PAGE);
		put_number(text, which * PAGE | MR_RAM_FLAG_ZERO | MR_RAM_FLAG_CONTINUE, 8);
		put_number(text, 0, 1);
	}
}

/* Each encoding of the redacted stream is the one that a source would write of what the pages hold there. */
static size_t read_changes(struct pages *pages, const struct text *text)
{
	struct mr_session *session = malloc(sizeof(*session));
	struct mr_decoder *decoder = malloc(sizeof(*decoder));
	struct mr_record record;
	size_t at = 0, encodings = 0;

	mr_session_init(session, NULL, NULL, NULL);
	mr_decoder_init(decoder, session, MR_ROLE_MAIN, 0);
	while (mr_decode(decoder, text->bytes + at, text->length - at, true, &record) == MR_RECORD) {
		uint8_t *page = pages->redacted[record.page.address / PAGE % 4], old[PAGE], encoding[PAGE];

		at += (size_t)record.length;
		if (record.kind == MR_RAM_PAGE)
			memcpy(page, record.page.data.data, PAGE);
		if (record.kind == MR_RAM_ZERO)
			memset(page, record.page.fill, PAGE);
		if (record.kind != MR_RAM_XBZRLE)
			continue;
		memcpy(old, page, PAGE);
		assert_int_equal(mr_xbzrle_decode(page, PAGE, record.page.data, NULL), MR_NO_RULE);
		assert_int_equal(mr_xbzrle_encode(old, page, PAGE, encoding, sizeof(encoding)),
				 (long)record.page.data.length);
		assert_memory_equal(encoding, record.page.data.data, record.page.data.length);
		encodings++;
	}
	assert_int_equal(at, text->length);
	free(session);
	free(decoder);
	return encodings;
}

static void test_xbzrle(void **state)
{
	static const struct mr_context context = {
		.capabilities_known = true, .capabilities = MR_CAPABILITY_XBZRLE, .multifd_method = MR_METHOD_UNKNOWN};
	static struct result result;
	static struct text text;
	struct mr_random random = mr_random_of(5, 0);
	size_t encodings = 0;

	(void)state;
	for (unsigned round = 0; round < ROUNDS / 3; round++) {
		struct mr_redactor *redactor = mr_redactor_new(&context, key, take, &result);
		static struct pages pages;

		memset(&pages, 0, sizeof(pages));
		text.length = result.streams[0].length = 0;
		put_head(&text);
		put_number(&text, 0x7e, 1);
		put_number(&text, 2, 4);
		put_number(&text, 2, 1);
		put_number(&text, 2, 4);
		put_number(&text, 0x5000 | MR_RAM_FLAG_ZERO, 8);
		put_name(&text, "mem");
		put_number(&text, 0, 1);
		for (unsigned i = 0; i < 40; i++)
			put_change(&text, &pages, &random);
		put_end(&text);
		put_number(&text, 0, 1);
		assert_true(redactor && mr_redactor_open(redactor, 0) && mr_redactor_role(redactor, 0, MR_ROLE_MAIN));
		assert_true(mr_redactor_feed(redactor, 0, (struct mr_bytes){text.bytes, text.length}));
		assert_true(mr_redactor_end(redactor, 0));
		mr_redactor_free(redactor);
		assert_int_equal(result.streams[0].length, text.length);
		encodings += read_changes(&pages, &result.streams[0]);
	}
	assert_true(encodings > 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pages),    cmocka_unit_test(test_pieces), cmocka_unit_test(test_waiting),
		cmocka_unit_test(test_refusals), cmocka_unit_test(test_keys),   cmocka_unit_test(test_xbzrle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
