/* test_agenda.c: moments come in the order of their times, those of one time as they were entered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "random.h"
#include "sim/world/agenda.h"

enum { MANY = 5000 };

static void add(struct mr_agenda *agenda, uint64_t time, uint32_t kind, uint32_t index)
{
	const struct mr_moment moment = {.time = time, .kind = kind, .index = index, .value = ~(uint64_t)index};

	assert_int_equal(mr_agenda_add(agenda, &moment), 0);
}

static void expect(struct mr_agenda *agenda, uint64_t time, uint32_t kind, uint32_t index)
{
	struct mr_moment moment;

	assert_int_equal(mr_agenda_next(agenda), time);
	assert_true(mr_agenda_take(agenda, &moment));
	assert_int_equal(moment.time, time);
	assert_int_equal(moment.kind, kind);
	assert_int_equal(moment.index, index);
	assert_int_equal(moment.value, ~(uint64_t)index);
}

static void expect_empty(struct mr_agenda *agenda)
{
	struct mr_moment moment;

	assert_int_equal(mr_agenda_next(agenda), UINT64_MAX);
	assert_int_equal(mr_agenda_all(agenda), 0);
	assert_false(mr_agenda_take(agenda, &moment));
}

static void an_empty_one_gives_nothing(void **state)
{
	struct mr_agenda agenda = {0};

	(void)state;
	expect_empty(&agenda);
	mr_agenda_clear(&agenda);
	expect_empty(&agenda);
}

static void the_earliest_comes_first(void **state)
{
	struct mr_agenda agenda = {0};

	(void)state;
	add(&agenda, 30, 1, 1);
	add(&agenda, UINT64_MAX, 1, 2);
	add(&agenda, 0, 1, 3);
	add(&agenda, 20, 1, 4);
	expect(&agenda, 0, 1, 3);
	add(&agenda, 10, 1, 5);
	expect(&agenda, 10, 1, 5);
	expect(&agenda, 20, 1, 4);
	expect(&agenda, 30, 1, 1);
	expect(&agenda, UINT64_MAX, 1, 2);
	expect_empty(&agenda);
	mr_agenda_clear(&agenda);
}

/* Also where some were taken in between, which moves the others about. */
static void those_of_one_time_come_as_they_were_entered(void **state)
{
	struct mr_agenda agenda = {0};
	uint32_t taken = 0;

	(void)state;
	for (uint32_t i = 0; i < MANY; i++) {
		add(&agenda, 7, i % MR_AGENDA_KINDS, i);
		if (i % 3 == 0) {
			expect(&agenda, 7, taken % MR_AGENDA_KINDS, taken);
			taken++;
		}
	}
	for (; taken < MANY; taken++)
		expect(&agenda, 7, taken % MR_AGENDA_KINDS, taken);
	expect_empty(&agenda);
	mr_agenda_clear(&agenda);
}

static void kinds_are_counted(void **state)
{
	struct mr_agenda agenda = {0};

	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		add(&agenda, i, i % 3 ? 5 : MR_AGENDA_KINDS - 1, i);
	assert_int_equal(mr_agenda_all(&agenda), 100);
	assert_int_equal(mr_agenda_count(&agenda, 5), 66);
	assert_int_equal(mr_agenda_count(&agenda, MR_AGENDA_KINDS - 1), 34);
	assert_int_equal(mr_agenda_count(&agenda, 0), 0);
	for (uint32_t i = 0; i < 50; i++)
		expect(&agenda, i, i % 3 ? 5 : MR_AGENDA_KINDS - 1, i);
	assert_int_equal(mr_agenda_all(&agenda), 50);
	assert_int_equal(mr_agenda_count(&agenda, 5), 33);
	mr_agenda_clear(&agenda);
	assert_int_equal(mr_agenda_count(&agenda, 5), 0);
	expect_empty(&agenda);
}

/* ---- Against a sorted list ---- */

struct entry {
	uint64_t time;
	uint32_t index;
};

struct list {
	struct entry entries[MANY];
	size_t count;
};

/* Behind all that are not later. */
static void insert(struct list *list, uint64_t time, uint32_t index)
{
	size_t at = list->count++;

	for (; at > 0 && list->entries[at - 1].time > time; at--)
		list->entries[at] = list->entries[at - 1];
	list->entries[at] = (struct entry){time, index};
}

static void take_first(struct mr_agenda *agenda, struct list *list)
{
	expect(agenda, list->entries[0].time, 2, list->entries[0].index);
	list->count--;
	for (size_t i = 0; i < list->count; i++)
		list->entries[i] = list->entries[i + 1];
}

static void agrees_with_a_sorted_list(void **state)
{
	/* few times, so that many are the same; or hardly any twice */
	static const uint64_t ranges[] = {1, 4, 50, UINT64_C(1) << 60};
	static struct list list;

	(void)state;
	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		struct mr_agenda agenda = {0};
		struct random random = {i + 1};

		for (uint32_t index = 0; index < MANY; index++) {
			const uint64_t time = random_below(&random, ranges[i]);

			add(&agenda, time, 2, index);
			insert(&list, time, index);
			if (random_below(&random, 3) == 0)
				take_first(&agenda, &list);
			assert_int_equal(mr_agenda_all(&agenda), list.count);
		}
		while (list.count)
			take_first(&agenda, &list);
		expect_empty(&agenda);
		mr_agenda_clear(&agenda);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_one_gives_nothing),
		cmocka_unit_test(the_earliest_comes_first),
		cmocka_unit_test(those_of_one_time_come_as_they_were_entered),
		cmocka_unit_test(kinds_are_counted),
		cmocka_unit_test(agrees_with_a_sorted_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
