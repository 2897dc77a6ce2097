/* Which connection is which: every kind of first bytes in every order that matters. */
#include "wire_support.h"

#define BYTES(...) ((struct mr_bytes){(const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__})})
#define MAIN       BYTES(0x51, 0x45, 0x56, 0x4d)
#define MULTIFD    BYTES(0x11, 0x22, 0x33, 0x44)
#define COMMAND    BYTES(0x08, 0x00, 0x0a, 0x00)
#define PAGE       BYTES(0x00, 0x00, 0x00, 0x00)
#define NOTHING    ((struct mr_bytes){NULL, 0})

static void expect_role(struct mr_channel_census *census, struct mr_bytes first, enum mr_role role, bool agrees)
{
	enum mr_role found = MR_ROLE_COUNT;

	assert_int_equal(mr_channel_identify(census, first, &found), agrees);
	assert_string_equal(mr_role_name(found), mr_role_name(role));
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(mr_role_name(MR_ROLE_MAIN), "main");
	assert_string_equal(mr_role_name(MR_ROLE_RECOVERY), "recovery");
	assert_string_equal(mr_role_name(MR_ROLE_PREEMPT), "preempt");
	assert_string_equal(mr_role_name(MR_ROLE_MULTIFD), "multifd");
	assert_string_equal(mr_role_name(MR_ROLE_RETURN), "return");
	assert_string_equal(mr_role_name(MR_ROLE_COUNT), "unknown");
}

static void test_usual_orders(void **state)
{
	struct mr_channel_census census = {0};

	(void)state;
	expect_role(&census, MAIN, MR_ROLE_MAIN, true);
	expect_role(&census, MULTIFD, MR_ROLE_MULTIFD, true);
	expect_role(&census, MULTIFD, MR_ROLE_MULTIFD, true);
	expect_role(&census, PAGE, MR_ROLE_PREEMPT, true);
	assert_int_equal(census.main, 1);
	assert_int_equal(census.multifd, 2);
	assert_int_equal(census.preempt, 1);

	/* multifd channels may overtake the main channel */
	census = (struct mr_channel_census){0};
	expect_role(&census, MULTIFD, MR_ROLE_MULTIFD, true);
	expect_role(&census, MAIN, MR_ROLE_MAIN, true);
}

static void test_recovery(void **state)
{
	struct mr_channel_census census = {0};

	(void)state;
	expect_role(&census, MAIN, MR_ROLE_MAIN, true);
	expect_role(&census, COMMAND, MR_ROLE_RECOVERY, false);
	census.cut = true;
	expect_role(&census, COMMAND, MR_ROLE_RECOVERY, true);
	/* the new main channel is not cut */
	assert_false(census.cut);
	expect_role(&census, PAGE, MR_ROLE_PREEMPT, true);
	census.cut = true;
	expect_role(&census, NOTHING, MR_ROLE_RECOVERY, true);
	census.cut = true;
	expect_role(&census, PAGE, MR_ROLE_PREEMPT, true);
	expect_role(&census, MAIN, MR_ROLE_MAIN, true);
}

static void test_contradictions(void **state)
{
	struct mr_channel_census census = {.capabilities_known = true};

	(void)state;
	expect_role(&census, MAIN, MR_ROLE_MAIN, true);
	expect_role(&census, MAIN, MR_ROLE_MAIN, false);
	expect_role(&census, MULTIFD, MR_ROLE_MULTIFD, false);
	expect_role(&census, PAGE, MR_ROLE_PREEMPT, false);
	census.capabilities = MR_CAPABILITY_MULTIFD | MR_CAPABILITY_POSTCOPY_PREEMPT;
	expect_role(&census, MULTIFD, MR_ROLE_MULTIFD, true);
	expect_role(&census, PAGE, MR_ROLE_PREEMPT, true);
}

/* Whatever comes first has to be the main channel, whose decoder then says what is wrong with it. */
static void test_unknown_first_bytes(void **state)
{
	struct mr_channel_census census = {0};

	(void)state;
	expect_role(&census, BYTES(0xde, 0xad, 0xbe, 0xef), MR_ROLE_MAIN, true);
	census = (struct mr_channel_census){0};
	expect_role(&census, COMMAND, MR_ROLE_MAIN, true);
}

static void test_few_bytes(void **state)
{
	struct mr_channel_census census = {0};

	(void)state;
	expect_role(&census, BYTES(0x11), MR_ROLE_MULTIFD, true);
	expect_role(&census, BYTES(0x51, 0x45), MR_ROLE_MAIN, true);
	expect_role(&census, BYTES(0x11, 0x22, 0x33), MR_ROLE_MULTIFD, true);
	expect_role(&census, BYTES(0x00), MR_ROLE_PREEMPT, true);
	/* more than four are as good */
	expect_role(&census, BYTES(0x11, 0x22, 0x33, 0x44, 0x00), MR_ROLE_MULTIFD, true);
	census.cut = true;
	expect_role(&census, BYTES(0x08), MR_ROLE_RECOVERY, true);
}

static void test_silence(void **state)
{
	struct mr_channel_census census = {0};

	(void)state;
	expect_role(&census, NOTHING, MR_ROLE_MAIN, true);
	expect_role(&census, NOTHING, MR_ROLE_PREEMPT, true);

	census = (struct mr_channel_census){.capabilities_known = true, .main = 1};
	expect_role(&census, NOTHING, MR_ROLE_PREEMPT, false);

	census = (struct mr_channel_census){.capabilities = MR_CAPABILITY_MULTIFD, .main = 1};
	expect_role(&census, NOTHING, MR_ROLE_MULTIFD, true);
	expect_role(&census, NOTHING, MR_ROLE_MULTIFD, true);

	census.capabilities |= MR_CAPABILITY_POSTCOPY_PREEMPT;
	expect_role(&census, NOTHING, MR_ROLE_PREEMPT, true);
	expect_role(&census, NOTHING, MR_ROLE_MULTIFD, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_usual_orders),
		cmocka_unit_test(test_recovery),
		cmocka_unit_test(test_contradictions),
		cmocka_unit_test(test_unknown_first_bytes),
		cmocka_unit_test(test_few_bytes),
		cmocka_unit_test(test_silence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
