/* Every record kind, command, message, action and input has a meaning with a rule. */
#include "sim/record/meaning.h"

#include "ref/incoming.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void expect_meaning(struct mr_meaning meaning)
{
	assert_non_null(meaning.text);
	assert_non_null(mr_rule_id(meaning.rule));
}

static void test_records(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < MR_KIND_COUNT; kind++) {
		struct mr_record record = {.kind = (enum mr_kind)kind};

		if (kind != MR_COMMAND && kind != MR_RETURN_MESSAGE)
			expect_meaning(mr_record_meaning(&record));
	}
	for (unsigned number = 1; number < MR_COMMAND_COUNT; number++)
		expect_meaning(
			mr_record_meaning(&(struct mr_record){.kind = MR_COMMAND, .command.number = (uint16_t)number}));
	for (unsigned type = 1; type < MR_RETURN_COUNT; type++)
		expect_meaning(mr_record_meaning(
			&(struct mr_record){.kind = MR_RETURN_MESSAGE, .message.type = (uint16_t)type}));
}

static void test_fields(void **state)
{
	(void)state;
	expect_meaning(mr_field_meaning(MR_FILE_HEADER, "magic"));
	assert_null(mr_field_meaning(MR_FILE_HEADER, "word").text);
	assert_null(mr_field_meaning(MR_RAM_EOS, "magic").text);
	assert_null(mr_field_meaning(MR_KIND_COUNT, "magic").text);
}

static void test_values(void **state)
{
	const struct mr_record page = {.kind = MR_RAM_ZERO};
	const struct mr_record packet = {.kind = MR_MULTIFD_PACKET};
	const struct mr_record shut = {.kind = MR_RETURN_MESSAGE, .message.type = MR_RETURN_SHUT};
	struct mr_field field = {.name = "flags", .type = MR_FIELD_HEX, .number = 0x22};
	char words[MR_VALUE_MEANING_MAX];

	(void)state;
	mr_value_meaning(&page, &field, words);
	assert_string_equal(words, "ZERO, CONTINUE: the same block as before");
	field.number = 0x03;
	mr_value_meaning(&packet, &field, words);
	assert_string_equal(words, "SYNC, zlib");
	field.number = UINT64_MAX;
	mr_value_meaning(&page, &field, words);
	assert_true(strlen(words) < sizeof(words));
	field = (struct mr_field){.name = "value", .type = MR_FIELD_HEX, .number = 1};
	mr_value_meaning(&shut, &field, words);
	assert_string_equal(words, "it failed");
	mr_value_meaning(&page, &field, words);
	assert_string_equal(words, "");
}

static void test_actions(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < MR_ACTION_KIND_COUNT; kind++)
		expect_meaning(mr_action_meaning(&(struct mr_action){.kind = (enum mr_action_kind)kind}));
	for (unsigned verdict = 0; verdict <= MR_REQUEST_ZEROED; verdict++)
		expect_meaning(mr_action_meaning(&(struct mr_action){
			.kind = MR_ACTION_REQUEST,
			.request.verdict = (enum mr_request_verdict)verdict,
		}));
	for (unsigned type = 1; type < MR_RETURN_COUNT; type++)
		expect_meaning(
			mr_action_meaning(&(struct mr_action){.kind = MR_ACTION_SEND, .send.type = (uint16_t)type}));
	assert_null(mr_action_meaning(&(struct mr_action){.kind = MR_ACTION_KIND_COUNT}).text);
}

static void test_inputs(void **state)
{
	static const enum mr_log_kind kinds[] = {MR_LOG_OPEN, MR_LOG_FAULT, MR_LOG_END, MR_LOG_ERROR,
						 MR_LOG_RETURN_END};

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		expect_meaning(mr_input_meaning(kinds[i]));
	assert_null(mr_input_meaning(MR_LOG_STEP).text);
	assert_null(mr_input_meaning(MR_LOG_WAIT).text);
	for (unsigned wait = MR_WAIT_CHANNEL; wait <= MR_WAIT_REQUESTS; wait++)
		assert_non_null(mr_wait_meaning((enum mr_wait)wait));
	assert_null(mr_wait_meaning(MR_WAIT_NOTHING));
	assert_null(mr_wait_meaning(MR_WAIT_COMPLETION));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records), cmocka_unit_test(test_fields), cmocka_unit_test(test_values),
		cmocka_unit_test(test_actions), cmocka_unit_test(test_inputs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
