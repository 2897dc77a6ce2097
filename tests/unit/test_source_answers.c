/* test_source_answers.c: which requests a trace shows answered, and behind how many pages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "sim/record/source_answers.h"

static struct mr_outgoing_block blocks[] = {
	{.name = "mem", .used_length = 1 << 22, .page_size = 1 << 21},
	{.name = "rom", .used_length = 1 << 20},
};
static struct mr_outgoing_config config = {.blocks = blocks, .block_count = 2};

static struct mr_bytes text(const char *string)
{
	return (struct mr_bytes){(const uint8_t *)string, strlen(string)};
}

static struct mr_source_line line(enum mr_source_line_kind kind, const char *what, uint64_t offset)
{
	return (struct mr_source_line){.kind = kind, .text = text(what), .offset = offset};
}

static void answers_are(struct mr_source_answers *answers, struct mr_source_line *lines, size_t count)
{
	const struct mr_source_trace trace = {.lines = lines, .count = count};

	assert_int_equal(mr_source_answers_read(answers, &trace, &config), 0);
}

static void test_counts(void **state)
{
	struct mr_source_line lines[] = {
		line(MR_SOURCE_LINE_PAGE, "rom", 0), /* precopy */
		line(MR_SOURCE_LINE_STOPPED, "", 0),
		line(MR_SOURCE_LINE_SECTION, "timer", 0),
		line(MR_SOURCE_LINE_SECTION, "ram", 0),
		line(MR_SOURCE_LINE_ANSWER, "rom", 0x1000),
		line(MR_SOURCE_LINE_BEGUN, "rom", 1),
		line(MR_SOURCE_LINE_PAGE, "rom", 0x1000),
		line(MR_SOURCE_LINE_BEGUN, "rom", 2),
		line(MR_SOURCE_LINE_ANSWER, "rom", 0x1000),
		line(MR_SOURCE_LINE_STATUS, "postcopy-paused", 0),
		line(MR_SOURCE_LINE_ANSWER, "nobody's", 0x1000),
		line(MR_SOURCE_LINE_ANSWER, "rom", 0x3000),
	};
	struct mr_source_answers answers;
	const struct mr_source_answer *answer;

	(void)state;
	answers_are(&answers, lines, sizeof(lines) / sizeof(lines[0]));
	assert_int_equal(answers.count, 4);
	answer = mr_source_answers_find(&answers, 0, 0, 1, 0x1000);
	assert_ptr_equal(answer, &answers.list[0]);
	assert_int_equal(answer->pages, 0);
	assert_int_equal(answer->begun, 0);
	assert_true(answer->opens);
	answer = mr_source_answers_find(&answers, 1, 0, 1, 0x1000);
	assert_ptr_equal(answer, &answers.list[1]);
	assert_int_equal(answer->pages, 1);
	assert_int_equal(answer->begun, 2);
	assert_false(answer->opens);
	assert_null(mr_source_answers_find(&answers, 2, 0, 1, 0x1000));
	assert_null(mr_source_answers_find(&answers, 0, 1, 1, 0x1000));
	assert_null(mr_source_answers_find(&answers, 0, 0, 0, 0x1000));
	assert_ptr_equal(mr_source_answers_find(&answers, 0, 1, 1, 0x3000), &answers.list[3]);
	assert_int_equal(answers.list[3].pages + answers.list[3].begun, 0);
	assert_int_equal(mr_source_answers_epoch(&answers, 0).pages, 1);
	assert_int_equal(mr_source_answers_epoch(&answers, 0).begun, 2);
	assert_int_equal(mr_source_answers_epoch(&answers, 2).begun, 0);
	mr_source_answers_clear(&answers);
}

/* SRC-015: a huge page is interrupted for another one, goes on, and is interrupted for itself. */
static void test_broken(void **state)
{
	struct mr_source_line lines[] = {
		line(MR_SOURCE_LINE_STOPPED, "", 0),         line(MR_SOURCE_LINE_SECTION, "ram", 0),
		line(MR_SOURCE_LINE_BEGUN, "mem", 0),        line(MR_SOURCE_LINE_BROKEN, "mem", 3),
		line(MR_SOURCE_LINE_ANSWER, "mem", 2097152), line(MR_SOURCE_LINE_BEGUN, "mem", 512),
		line(MR_SOURCE_LINE_BEGUN, "mem", 3),        line(MR_SOURCE_LINE_BROKEN, "mem", 4),
		line(MR_SOURCE_LINE_ANSWER, "mem", 0),       line(MR_SOURCE_LINE_BEGUN, "mem", 4),
		line(MR_SOURCE_LINE_ANSWER, "rom", 0),
	};
	struct mr_source_answers answers;

	(void)state;
	answers_are(&answers, lines, sizeof(lines) / sizeof(lines[0]));
	assert_int_equal(answers.count, 3);
	assert_true(answers.list[0].breaks);
	assert_int_equal(answers.list[0].broken, 3);
	assert_int_equal(answers.list[0].begun, 1);
	assert_true(answers.list[1].breaks);
	assert_int_equal(answers.list[1].broken, 4);
	assert_int_equal(answers.list[1].begun, 3);
	assert_false(answers.list[2].breaks);
	assert_int_equal(answers.list[2].begun, 3);
	mr_source_answers_clear(&answers);
}

static void test_none(void **state)
{
	struct mr_source_answers answers;

	(void)state;
	assert_int_equal(mr_source_answers_read(&answers, NULL, &config), 0);
	assert_null(mr_source_answers_find(&answers, 0, 0, 0, 0));
	assert_int_equal(mr_source_answers_epoch(&answers, 0).pages, 0);
	mr_source_answers_clear(&answers);
	answers_are(&answers, NULL, 0);
	assert_int_equal(answers.count, 0);
	mr_source_answers_clear(&answers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
