/*
 * test_machine_blocktime.c: how long vCPUs wait for pages, in both ways in which releases count it: worked examples,
 * limits, and schedules at random against a model that looks at the whole history each time.
 */
#include "machine_support.h"

#include <stdio.h>

enum {
	VCPUS = 3,
	OTHER = VCPUS, /* a thread of the process that is no vCPU */
	NOBODY,        /* a host that tells no threads */
	ROUNDS = 400,
	EVENTS_MAX = 400,
	OPEN_LIMIT = 255,
	FIRST_THREAD = 1000,
};

static const uint64_t MILLISECOND = 1000000;

static uint64_t thread_of(unsigned who)
{
	return who == NOBODY ? 0 : FIRST_THREAD + who;
}

static struct world *running_with(const char *release, uint32_t vcpus, uint32_t open_faults_max)
{
	const struct setup setup = {
		.release = release, .blocktime = true, .vcpu_count = vcpus, .open_faults_max = open_faults_max};
	struct world *world = world_running(&setup);

	for (uint32_t i = 0; i < vcpus; i++)
		assert_true(mr_incoming_vcpu(world->machine, i, thread_of(i)));
	world_hush(world);
	return world;
}

static struct world *running(const char *release)
{
	return running_with(release, VCPUS, 0);
}

static void tell(struct world *world, uint64_t time, unsigned who, unsigned page)
{
	mr_incoming_set_time(world->machine, time);
	assert_true(mr_incoming_fault(world->machine, 0, (uint64_t)page * PAGE, thread_of(who)));
}

static void fault(struct world *world, uint64_t time, unsigned who, unsigned page)
{
	tell(world, time, who, page);
	world_run_actor(world, MR_ACTOR_FAULT);
}

/* The page comes, up to where its mark would be next. */
static void place(struct world *world, unsigned page)
{
	char line[64];

	snprintf(line, sizeof(line), "listen place mem 0x%x", page * PAGE);
	put_page_section(&world->connections[0].bytes, "mem", (uint64_t)page * PAGE, 0x11);
	world_show(world, 0, SIZE_MAX);
	world_run_actor_until(world, MR_ACTOR_LISTEN, line);
}

static void mark(struct world *world, uint64_t time)
{
	mr_incoming_set_time(world->machine, time);
	world_run_actor(world, MR_ACTOR_LISTEN);
}

static void bring(struct world *world, uint64_t time, unsigned page)
{
	place(world, page);
	mark(world, time);
}

static void finish(struct world *world)
{
	put_end(&world->connections[0].bytes);
	world_show(world, 0, SIZE_MAX);
	world_run(world);
	expect_finished(world);
}

static struct mr_blocktime figures_of(const struct world *world)
{
	struct mr_blocktime figures;

	mr_incoming_blocktime(world->machine, &figures);
	return figures;
}

/* What the figures are at one moment: vCPUs that wait, times of three vCPUs, the total. */
static void expect_figures(const struct world *world, uint32_t waiting, uint32_t first, uint32_t second, uint32_t third,
			   uint32_t total)
{
	const struct mr_blocktime figures = figures_of(world);

	assert_int_equal(figures.waiting, waiting);
	assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, 0).blocktime, first);
	assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, 1).blocktime, second);
	assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, 2).blocktime, third);
	assert_int_equal(figures.blocktime, total);
}

static uint64_t ms(unsigned milliseconds)
{
	return milliseconds * MILLISECOND;
}

/* ---- Worked examples ---- */

enum { A, B, C, D, E, PAGES = WORLD_PAGES };

/* keeps BLK-001 BLK-003 BLK-005 BLK-006 BLK-007 BLK-008: three vCPUs, five faults, in releases of both kinds */
static void three_vcpus_and_five_faults(void **state)
{
	static const char *const releases[] = {"4.0", "7.2", "10.0", "10.1", "11.1"};

	(void)state;
	for (size_t i = 0; i < sizeof(releases) / sizeof(releases[0]); i++) {
		struct world *world = running(releases[i]);

		bring(world, ms(1), D);
		fault(world, ms(10), 0, A);
		expect_figures(world, 1, 0, 0, 0, 0);
		fault(world, ms(14), 1, B);
		fault(world, ms(20), 2, C);
		expect_figures(world, 3, 0, 0, 0, 0);
		bring(world, ms(26), B);
		expect_figures(world, 2, 0, 12, 0, 6);
		fault(world, ms(31), 1, A);
		expect_figures(world, 3, 0, 12, 0, 6);
		bring(world, ms(38), A);
		expect_figures(world, 1, 28, 19, 0, 13);
		fault(world, ms(40), 0, D);
		expect_figures(world, 1, 28, 19, 0, 13);
		bring(world, ms(45), C);
		expect_figures(world, 0, 28, 19, 25, 13);
		finish(world);
		expect_figures(world, 0, 28, 19, 25, 13);
		world_free(world);
	}
}

/* keeps BLK-009: the same in 11.1, its latencies and buckets */
static void latencies_of_the_example(void **state)
{
	struct world *world = running("11.1");
	struct mr_blocktime figures;

	(void)state;
	fault(world, ms(10), 0, A);
	fault(world, ms(14), 1, B);
	fault(world, ms(20), 2, C);
	bring(world, ms(26), B);
	fault(world, ms(31), 1, A);
	bring(world, ms(38), A);
	bring(world, ms(45), C);
	figures = figures_of(world);
	assert_true(figures.has_latency);
	assert_int_equal(figures.latency, 18 * MILLISECOND);
	assert_int_equal(figures.non_vcpu_latency, 0);
	assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, 0).latency, 28 * MILLISECOND);
	assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, 1).latency, 9500000);
	assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, 2).latency, 25 * MILLISECOND);
	for (uint32_t i = 0; i < VCPUS; i++)
		assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, i).faults, i == 1 ? 2 : 1);
	for (unsigned i = 0; i < MR_BLOCKTIME_BUCKETS; i++)
		assert_int_equal(figures.distribution[i], i == 14 ? 2 : i == 12 || i == 13);
	world_free(world);
}

/* breaks BLK-003: from 10.1 on a fault on a page that has come is none; both ways where a mark comes late */
static void where_the_two_ways_part(void **state)
{
	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		struct world *world = running(newer ? "10.1" : "7.2");

		bring(world, ms(1), D);
		fault(world, ms(10), 0, A);
		fault(world, ms(14), 1, B);
		fault(world, ms(20), 2, C);
		place(world, C);
		fault(world, ms(25), 2, D);
		mark(world, ms(27));
		bring(world, ms(30), A);
		bring(world, ms(33), B);
		expect_figures(world, 0, 20, 19, newer ? 7 : 0, newer ? 7 : 0);
		world_free(world);
	}
}

/* ---- Single rules ---- */

/* breaks BLK-001: threads that are no vCPU's, a host that tells none, more vCPUs than there are, blocktime off */
static void threads_that_are_no_vcpus(void **state)
{
	static const struct setup off = {.release = "11.1", .vcpu_count = VCPUS};
	struct world *world;
	struct mr_blocktime figures;

	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		world = running(newer ? "11.1" : "7.2");
		assert_false(mr_incoming_vcpu(world->machine, VCPUS, thread_of(OTHER)));
		assert_false(mr_incoming_vcpu(world->machine, UINT32_MAX, thread_of(OTHER)));
		fault(world, ms(10), OTHER, A);
		fault(world, ms(20), NOBODY, B);
		bring(world, ms(30), A);
		bring(world, ms(40), B);
		expect_figures(world, 0, 0, 0, 0, 0);
		figures = figures_of(world);
		assert_int_equal(figures.non_vcpu_latency, newer ? 20 * MILLISECOND : 0);
		assert_int_equal(figures.latency, newer ? 20 * MILLISECOND : 0);
		assert_int_equal(figures.distribution[14], newer);
		assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, VCPUS).blocktime, 0);
		world_free(world);
	}
	world = world_running(&off);
	assert_false(mr_incoming_vcpu(world->machine, 0, thread_of(0)));
	fault(world, ms(10), 0, A);
	bring(world, ms(30), A);
	assert_int_equal(figures_of(world).distribution[14], 0);
	finish(world);
	assert_false(mr_incoming_blocktime(world->machine, &figures));
	world_free(world);
}

/* keeps BLK-002 and breaks BLK-002: shown behind the end, and not before; where counting was never prepared not at all
 */
static void when_figures_are_shown(void **state)
{
	static const struct {
		const char *release;
		uint32_t capabilities;
		bool postcopy, shown;
	} cases[] = {
		{"2.12", MR_CAPABILITY_POSTCOPY_RAM, true, false},  {"3.0", MR_CAPABILITY_POSTCOPY_RAM, true, true},
		{"10.0", MR_CAPABILITY_POSTCOPY_RAM, false, true},  {"10.0", 0, false, false},
		{"10.1", MR_CAPABILITY_POSTCOPY_RAM, false, false}, {"10.1", MR_CAPABILITY_POSTCOPY_RAM, true, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct setup setup = {.release = cases[i].release,
					    .capabilities = cases[i].capabilities,
					    .blocktime = true,
					    .vcpu_count = VCPUS};
		struct world *world = cases[i].postcopy ? running(cases[i].release) : world_new(&setup);
		struct mr_blocktime figures;

		if (!cases[i].postcopy) {
			put_begin(&world->connections[0].bytes);
			put_block_list(world, &world->connections[0].bytes);
		}
		assert_false(mr_incoming_blocktime(world->machine, &figures));
		put_end(&world->connections[0].bytes);
		if (!cases[i].postcopy)
			build_description(&world->connections[0].bytes, "{}");
		world_show(world, 0, SIZE_MAX);
		world_run(world);
		expect_finished(world);
		assert_int_equal(mr_incoming_blocktime(world->machine, &figures), cases[i].shown);
		assert_int_equal(figures.vcpu_count, VCPUS);
		world_free(world);
	}
}

/* keeps BLK-003: from when the fault is told, though its page is marked before the verdict; breaks BLK-007 in 11.1 */
static void a_fault_that_is_told_before_the_mark(void **state)
{
	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		struct world *world = running(newer ? "11.1" : "7.2");

		tell(world, ms(10), 0, A);
		bring(world, ms(25), A);
		world_run_actor(world, MR_ACTOR_FAULT);
		expect_said(world, "fault request dropped mem 0x0 of 0");
		expect_figures(world, 0, newer ? 0 : 15, 0, 0, 0);
		world_free(world);
	}
}

/* keeps BLK-004: the first wait is lost with its time; breaks BLK-004: from 10.1 on both faults are open */
static void a_second_fault_before_the_mark(void **state)
{
	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		struct world *world = running(newer ? "10.1" : "10.0");

		fault(world, ms(10), 0, A);
		place(world, A);
		fault(world, ms(20), 0, B);
		mark(world, ms(30));
		/* breaks BLK-008: the end of A leaves B open, and counts for nothing. */
		expect_figures(world, 1, 0, 0, 0, 0);
		bring(world, ms(50), B);
		expect_figures(world, 0, 30, 0, 0, 0);
		assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, 0).faults, 2);
		assert_int_equal(figures_of(world).latency, newer ? 15 * MILLISECOND : 0);
		world_free(world);
	}
}

/* breaks BLK-005: another page's mark ends nothing, nor does a second mark of the same kind */
static void marks_of_other_pages(void **state)
{
	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		struct world *world = running(newer ? "11.1" : "7.2");

		fault(world, ms(10), 0, A);
		bring(world, ms(20), B);
		expect_figures(world, 1, 0, 0, 0, 0);
		bring(world, ms(30), A);
		bring(world, ms(40), C);
		expect_figures(world, 0, 20, 0, 0, 0);
		world_free(world);
	}
}

/* breaks BLK-006: one vCPU that never waits is enough for no total at all */
static void a_vcpu_that_never_waits(void **state)
{
	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		struct world *world = running(newer ? "11.1" : "7.2");

		fault(world, ms(10), 0, A);
		fault(world, ms(10), 1, B);
		bring(world, ms(20), A);
		bring(world, ms(30), B);
		expect_figures(world, 0, 10, 20, 0, 0);
		world_free(world);
	}
}

/* keeps BLK-007: a repeated fault opens another one; the latest on the page ends first, and the first one counts */
static void a_repeated_fault(void **state)
{
	struct world *world = running("11.1");

	(void)state;
	fault(world, ms(10), 0, A);
	fault(world, ms(12), 0, A);
	fault(world, ms(14), 0, A);
	expect_figures(world, 1, 0, 0, 0, 0);
	bring(world, ms(30), A);
	expect_figures(world, 0, 20, 0, 0, 0);
	assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, 0).faults, 3);
	assert_int_equal(figures_of(world).distribution[14], 2);
	assert_int_equal(figures_of(world).distribution[13], 1);
	world_free(world);
}

/* keeps BLK-007: what is decided again after a pause is open twice; up to 10.0 (BLK-003) it goes on as it began */
static void a_fault_that_is_decided_again(void **state)
{
	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		struct world *world = running(newer ? "11.1" : "7.2");
		struct build *build = &world->connections[1].bytes;

		world_fail(world, MR_ACTION_SEND, 0, HOST_EIO);
		fault(world, ms(10), 0, A);
		expect_said(world, "fault park -");
		world_end(world, 0, HOST_EIO);
		world_run(world);
		mr_incoming_set_time(world->machine, ms(100));
		build_recv_bitmap(build, "mem");
		build_command(build, MR_COMMAND_POSTCOPY_RESUME, 0);
		world_open(world, 1, MR_ROLE_RECOVERY);
		world_run(world);
		expect_said(world, "fault request repeated mem 0x0 of 1 retried");
		put_page_section(build, "mem", 0, 0x11);
		mr_incoming_set_time(world->machine, ms(110));
		world_show(world, 1, SIZE_MAX);
		world_run(world);
		expect_figures(world, 0, 100, 0, 0, 0);
		assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, 0).faults, newer ? 2 : 1);
		world_free(world);
	}
}

/* breaks BLK-009: borders of the buckets: below 1 us is the first, above all the last; a fault that stays is in none */
static void borders_of_buckets(void **state)
{
	static const struct {
		uint64_t nanoseconds;
		unsigned bucket;
	} cases[] = {
		{0, 0},
		{999, 0},
		{1999, 0},
		{2000, 1},
		{3999, 1},
		{4000, 2},
		{((UINT64_C(1) << 23) - 1) * 1000, 22},
		{(UINT64_C(1) << 23) * 1000, 23},
		{UINT64_C(1) << 62, 23},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct world *world = running("11.1");

		fault(world, 5, 0, A);
		fault(world, 5, 1, B);
		bring(world, 5 + cases[i].nanoseconds, A);
		for (unsigned bucket = 0; bucket < MR_BLOCKTIME_BUCKETS; bucket++)
			assert_int_equal(figures_of(world).distribution[bucket], bucket == cases[i].bucket);
		assert_true(figures_of(world).latency == cases[i].nanoseconds / 2);
		world_free(world);
	}
}

/* keeps BLK-010 with 255 faults open, breaks BLK-010 with one more: 11.1 does not count it, 10.1 begins again at 0 */
static void faults_up_to_the_limit(void **state)
{
	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		struct world *world = running_with(newer ? "11.1" : "11.0", 1, 2 * OPEN_LIMIT);

		for (unsigned i = 0; i < OPEN_LIMIT; i++)
			fault(world, ms(1), 0, A);
		assert_int_equal(figures_of(world).lost, 0);
		assert_int_equal(figures_of(world).waiting, 1);
		fault(world, ms(2), 0, A);
		assert_int_equal(figures_of(world).lost, newer);
		fault(world, ms(3), 0, A);
		assert_int_equal(figures_of(world).lost, newer ? 2 : 0);
		assert_int_equal(figures_of(world).waiting, newer ? 1 : 2);
		bring(world, ms(11), A);
		assert_int_equal(figures_of(world).waiting, 0);
		assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, 0).faults, OPEN_LIMIT + (newer ? 0 : 2));
		world_free(world);
	}
}

/* Where there is room for two open faults, a third one is lost, and nothing else. */
static void no_room_for_faults(void **state)
{
	struct world *world = running_with("11.1", VCPUS, 2);

	(void)state;
	fault(world, ms(10), 0, A);
	fault(world, ms(10), 1, B);
	fault(world, ms(10), 2, C);
	assert_int_equal(figures_of(world).lost, 1);
	bring(world, ms(20), C);
	expect_figures(world, 2, 0, 0, 0, 0);
	bring(world, ms(20), A);
	expect_figures(world, 1, 10, 0, 0, 0);
	fault(world, ms(20), 2, D);
	bring(world, ms(25), D);
	bring(world, ms(30), B);
	expect_figures(world, 0, 10, 20, 5, 0);
	world_free(world);
}

/* A clock that goes back makes no time negative; the first millisecond of the old ways counts as 1. */
static void clocks(void **state)
{
	(void)state;
	for (unsigned newer = 0; newer < 2; newer++) {
		struct world *world = running_with(newer ? "11.1" : "7.2", 1, 0);

		fault(world, ms(50), 0, A);
		bring(world, ms(40), A);
		assert_int_equal(figures_of(world).blocktime, 0);
		fault(world, 0, 0, B);
		bring(world, ms(4), B);
		assert_int_equal(figures_of(world).blocktime, newer ? 4 : 3);
		fault(world, 0, 0, C);
		bring(world, ms(0) + 999999, C);
		assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, 0).blocktime, newer ? 4 : 3);
		world_free(world);
	}
}

/* Sizes that cannot be; a machine set up anew in the same memory, and a copy, count for themselves. */
static void memory_of_figures(void **state)
{
	struct setup setup = {.release = "7.2", .blocktime = true, .vcpu_count = MR_INCOMING_VCPUS_MAX + 1};
	struct world *world = running("7.2");
	struct mr_incoming_config config = world->config;
	struct world *other = calloc(1, sizeof(*other));
	struct mr_incoming *copy;
	char error[96];
	size_t size;
	void *memory;

	(void)state;
	assert_non_null(other);
	world_configure(other, &setup);
	assert_int_equal(mr_incoming_size(&other->config, error), 0);
	setup.vcpu_count = 1;
	setup.open_faults_max = UINT32_MAX;
	world_configure(other, &setup);
	assert_int_equal(mr_incoming_size(&other->config, error), 0);
	free(other);

	fault(world, ms(10), 0, A);
	size = mr_incoming_size(&config, error);
	memory = calloc(1, size);
	assert_non_null(memory);
	copy = mr_incoming_copy(memory, size, world->machine);
	assert_non_null(copy);
	bring(world, ms(30), A);
	assert_int_equal(mr_incoming_vcpu_blocktime(world->machine, 0).blocktime, 20);
	assert_int_equal(mr_incoming_vcpu_blocktime(copy, 0).blocktime, 0);
	free(memory);
	assert_non_null(mr_incoming_reset(world->machine, &config));
	expect_figures(world, 0, 0, 0, 0, 0);
	world_free(world);
}

/* ---- Schedules at random ---- */

struct event {
	bool is_mark;
	uint64_t time;
	unsigned who, page;
};

struct history {
	struct event events[EVENTS_MAX];
	unsigned count;
};

struct sums {
	uint64_t vcpus[VCPUS], faults[VCPUS];
	uint64_t total, other, other_faults;
	uint64_t buckets[MR_BLOCKTIME_BUCKETS];
};

static bool is_marked(const struct history *history, unsigned until, unsigned page)
{
	for (unsigned i = 0; i < until; i++)
		if (history->events[i].is_mark && history->events[i].page == page)
			return true;
	return false;
}

/* Milliseconds of the old ways. */
static uint64_t old_clock(uint64_t time)
{
	return time < MILLISECOND ? 1 : time / MILLISECOND;
}

/* Old ways: the vCPU's latest fault before `until`, if its page is not marked by then; else `until`. */
static unsigned old_wait(const struct history *history, unsigned until, unsigned who)
{
	for (unsigned i = until; i-- > 0;)
		if (!history->events[i].is_mark && history->events[i].who == who)
			return is_marked(history, until, history->events[i].page) ? until : i;
	return until;
}

static void old_mark(const struct history *history, unsigned at, struct sums *sums)
{
	const struct event *mark = &history->events[at];
	unsigned waiting = 0, last = at;
	bool ended = false;

	for (unsigned who = 0; who < VCPUS; who++) {
		const unsigned wait = old_wait(history, at, who);

		waiting += wait < at;
		if (wait == at || history->events[wait].page != mark->page)
			continue;
		ended = true;
		sums->vcpus[who] += old_clock(mark->time) - old_clock(history->events[wait].time);
	}
	while (last > 0 && (history->events[last].is_mark || history->events[last].who >= VCPUS))
		last--;
	if (ended && waiting == VCPUS)
		sums->total += old_clock(mark->time) - old_clock(history->events[last].time);
}

/* New ways: how many of the vCPU's faults are open before `until`, on `page` or (PAGES) on any. */
static unsigned open_faults(const struct history *history, unsigned until, unsigned who, unsigned page)
{
	unsigned open = 0;

	for (unsigned i = 0; i < until; i++) {
		const struct event *event = &history->events[i];

		open += !event->is_mark && event->who == who && (page == PAGES || event->page == page) &&
			!is_marked(history, until, event->page);
	}
	return open;
}

static unsigned logarithm(uint64_t nanoseconds)
{
	unsigned bucket = 0;

	while (bucket < MR_BLOCKTIME_BUCKETS - 1 && nanoseconds >= UINT64_C(2000) << bucket)
		bucket++;
	return bucket;
}

/* The first fault that is still open on the page, and all of them in buckets. */
static uint64_t new_ends(const struct history *history, unsigned at, unsigned who, struct sums *sums)
{
	const struct event *mark = &history->events[at];
	uint64_t longest = 0;

	for (unsigned i = at; i-- > 0;) {
		const struct event *event = &history->events[i];

		if (event->is_mark || event->who != who || event->page != mark->page)
			continue;
		longest = mark->time - event->time;
		sums->buckets[logarithm(longest)]++;
		if (who == OTHER)
			sums->other += longest;
	}
	return longest;
}

static void new_mark(const struct history *history, unsigned at, struct sums *sums)
{
	const struct event *mark = &history->events[at];
	unsigned waiting = 0, last = 0;
	bool ended = false;

	for (unsigned who = 0; who <= OTHER; who++) {
		const unsigned open = open_faults(history, at, who, PAGES);
		const uint64_t longest = new_ends(history, at, who, sums);

		if (who == OTHER)
			break;
		waiting += open > 0;
		if (open == 0 || open_faults(history, at, who, mark->page) < open)
			continue;
		ended = true;
		sums->vcpus[who] += longest;
	}
	for (unsigned i = 0; i < at; i++) {
		const struct event *event = &history->events[i];

		if (!event->is_mark && event->who < VCPUS && open_faults(history, i, event->who, PAGES) == 0)
			last = i;
	}
	if (ended && waiting == VCPUS)
		sums->total += mark->time - history->events[last].time;
}

static void check_sums(const struct world *world, const struct history *history, bool newer)
{
	const struct mr_blocktime figures = figures_of(world);
	struct sums sums = {0};
	uint64_t all = 0, faults = 0;

	for (unsigned i = 0; i < history->count; i++) {
		const struct event *event = &history->events[i];

		if (event->is_mark && !is_marked(history, i, event->page))
			(newer ? new_mark : old_mark)(history, i, &sums);
		else if (!event->is_mark)
			++*(event->who == OTHER ? &sums.other_faults : &sums.faults[event->who]);
	}
	all = sums.other;
	faults = sums.other_faults;
	for (unsigned who = 0; who < VCPUS; who++) {
		const struct mr_vcpu_blocktime vcpu = mr_incoming_vcpu_blocktime(world->machine, who);

		all += sums.vcpus[who];
		faults += sums.faults[who];
		assert_int_equal(vcpu.blocktime, newer ? sums.vcpus[who] / MILLISECOND : sums.vcpus[who]);
		assert_int_equal(vcpu.faults, sums.faults[who]);
		assert_int_equal(vcpu.latency, newer && sums.faults[who] ? sums.vcpus[who] / sums.faults[who] : 0);
	}
	assert_int_equal(figures.blocktime, newer ? sums.total / MILLISECOND : sums.total);
	assert_int_equal(figures.latency, newer && faults ? all / faults : 0);
	assert_int_equal(figures.non_vcpu_latency, sums.other_faults ? sums.other / sums.other_faults : 0);
	assert_memory_equal(figures.distribution, sums.buckets, sizeof(sums.buckets));
}

static void note(struct history *history, struct event event)
{
	assert_true(history->count < EVENTS_MAX);
	history->events[history->count++] = event;
}

/* Faults and pages as they come; each page is placed some events before it is marked. */
static void run_at_random(struct random *random, bool newer)
{
	struct world *world = running(newer ? "11.1" : "7.2");
	struct history history = {0};
	unsigned placed = PAGES, came = 0;
	uint64_t time = 0;

	while (came < PAGES) {
		const unsigned who = (unsigned)random_below(random, VCPUS + 1);
		const unsigned page = (unsigned)random_below(random, PAGES);

		time += random_below(random, 2) ? random_below(random, 3 * MILLISECOND) : random_below(random, 5000);
		if (random_below(random, 3)) {
			const bool counts = newer ? !is_marked(&history, history.count, page) : who != OTHER;

			fault(world, time, who, page);
			if (counts && history.count < EVENTS_MAX - PAGES)
				note(&history, (struct event){.time = time, .who = who, .page = page});
			else if (counts)
				break;
		} else if (placed < PAGES) {
			mark(world, time);
			note(&history, (struct event){.is_mark = true, .time = time, .page = placed});
			placed = PAGES;
			came++;
			check_sums(world, &history, newer);
		} else if (!is_marked(&history, history.count, page)) {
			place(world, page);
			placed = page;
		}
	}
	world_free(world);
}

static void any_schedule(void **state)
{
	struct random random = {.state = 20261};

	(void)state;
	for (unsigned i = 0; i < ROUNDS; i++)
		run_at_random(&random, i % 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(three_vcpus_and_five_faults),
		cmocka_unit_test(latencies_of_the_example),
		cmocka_unit_test(where_the_two_ways_part),
		cmocka_unit_test(threads_that_are_no_vcpus),
		cmocka_unit_test(when_figures_are_shown),
		cmocka_unit_test(a_fault_that_is_told_before_the_mark),
		cmocka_unit_test(a_second_fault_before_the_mark),
		cmocka_unit_test(marks_of_other_pages),
		cmocka_unit_test(a_vcpu_that_never_waits),
		cmocka_unit_test(a_repeated_fault),
		cmocka_unit_test(a_fault_that_is_decided_again),
		cmocka_unit_test(borders_of_buckets),
		cmocka_unit_test(faults_up_to_the_limit),
		cmocka_unit_test(no_room_for_faults),
		cmocka_unit_test(clocks),
		cmocka_unit_test(memory_of_figures),
		cmocka_unit_test(any_schedule),
	};

	return cmocka_run_group_tests_name("machine: blocktime", tests, NULL, NULL);
}
