/* test_live_guest.c: vCPU threads on real memory, and what that memory holds by the number of their touches. */
#include "host_support.h"

#include <stdlib.h>

#include "scenario_support.h"
#include "sim/host/clock.h"
#include "sim/host/live_guest.h"
#include "sim/host/userfault.h"

enum { HANGS_AFTER = 300 /* seconds */, MILLISECOND = 1000000, VCPUS = 4, STARTS = 5 };

/* Any two versions of such pages differ. */
#define GUEST                                                                                                          \
	"[scenario]\nseed = 3\n[guest]\nvcpus = 4\ncontents = text:500 random:500\n[block mem]\nsize = 2M\n[block "    \
	"rom]\nsize = 64K\n"                                                                                           \
	"[workload load]\nblock = mem\nvcpus = 0-2\npattern = random\nwrites = 500\ninterval = 10us\n"

static enum mr_host_kind kinds[] = {MR_HOST_ANONYMOUS, MR_HOST_SHARED};

static struct mr_scenario scenario;
static struct mr_host_memory memories[2];
static struct mr_live_guest *guest;
static char error[512];

static void begin(void **state)
{
	const enum mr_host_kind kind = (*(const enum mr_host_kind *)*state);

	if (scenario_read_text(&scenario, GUEST, error) < 0)
		fail_msg("%s", error);
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(mr_host_memory_allocate(&memories[i], kind, scenario.blocks[i].size, NULL), 0);
	guest = mr_live_guest_new(&scenario, memories, error, sizeof(error));
	if (!guest)
		fail_msg("%s", error);
}

static void end(void)
{
	mr_live_guest_free(guest);
	for (uint32_t i = 0; i < 2; i++)
		mr_host_memory_free(&memories[i]);
	mr_scenario_clear(&scenario);
}

static void start(const uint64_t *touches)
{
	if (mr_live_guest_start(guest, touches, error, sizeof(error)) < 0)
		fail_msg("%s", error);
}

static bool has_touched(uint64_t times, const uint64_t *from)
{
	uint64_t touches[MR_SCENARIO_VCPUS_MAX];

	mr_live_guest_touches(guest, touches);
	for (uint32_t i = 0; i < VCPUS - 1; i++)
		if (touches[i] < (from ? from[i] : 0) + times)
			return false;
	return true;
}

/* Until each vCPU has made so many touches, at least. */
static void run(uint64_t times, const uint64_t *from, uint64_t *touches)
{
	start(from);
	assert_true(mr_live_guest_runs(guest));
	while (!has_touched(times, from))
		mr_clock_sleep(MILLISECOND);
	mr_live_guest_stop(guest);
	assert_false(mr_live_guest_runs(guest));
	mr_live_guest_touches(guest, touches);
}

static void expect_good(const uint64_t *touches)
{
	if (!mr_live_guest_check(guest, touches, error, sizeof(error)))
		fail_msg("%s", error);
}

static void expect_bad(const uint64_t *touches, const char *part)
{
	error[0] = '\0';
	assert_false(mr_live_guest_check(guest, touches, error, sizeof(error)));
	if (!strstr(error, part) || strchr(error, '\n'))
		fail_msg("expected one line with \"%s\", found \"%s\"", part, error);
}

/* ---- Counting ---- */

/* Each start goes on where the last stop was, and tells of itself alone. */
static void test_touches(void **state)
{
	uint64_t touches[MR_SCENARIO_VCPUS_MAX], before[MR_SCENARIO_VCPUS_MAX] = {0};
	struct mr_live_guest_figures figures;

	begin(state);
	mr_live_guest_fill(guest);
	expect_good(before);
	for (unsigned i = 0; i < STARTS; i++) {
		uint64_t made = 0;

		run(200, i ? before : NULL, touches);
		for (unsigned vcpu = 0; vcpu < VCPUS; vcpu++) {
			made += touches[vcpu] - before[vcpu];
			before[vcpu] = touches[vcpu];
		}
		assert_int_equal(touches[VCPUS - 1], 0); /* it has nothing to do */
		mr_live_guest_figures(guest, &figures);
		assert_int_equal(figures.touches, made);
		assert_in_range(figures.writes, 1, made);
		assert_int_equal(figures.faults, 0);
		assert_int_not_equal(figures.blackout, 0);
		expect_good(touches);
		assert_null(mr_live_guest_complaint(guest));
	}
	end();
}

/* ---- Judging ---- */

/* Whether a vCPU's touch behind so many is a write. */
static bool writes_behind(uint32_t vcpu, uint64_t touches)
{
	struct mr_pattern pattern;
	struct mr_touch touch = {0};

	mr_pattern_init(&pattern, &scenario.workloads[0].pattern, scenario.seed, vcpu);
	for (uint64_t i = 0; i < touches; i++)
		assert_true(mr_pattern_next(&pattern, &touch));
	assert_true(mr_pattern_next(&pattern, &touch));
	return touch.write;
}

/* One touch more or less makes a difference where that touch writes, and only there. */
static void try_touches(uint64_t *touches, uint32_t vcpu, uint64_t count, bool differs)
{
	const uint64_t right = touches[vcpu];

	touches[vcpu] = count;
	if (differs)
		expect_bad(touches, "by the touches of the vCPUs");
	else
		expect_good(touches);
	touches[vcpu] = right;
}

static void test_other_touches(void **state)
{
	uint64_t touches[MR_SCENARIO_VCPUS_MAX];

	begin(state);
	mr_live_guest_fill(guest);
	run(200, NULL, touches);
	for (uint32_t vcpu = 0; vcpu < VCPUS - 1; vcpu++) {
		const uint64_t made = touches[vcpu];

		try_touches(touches, vcpu, made + 1, writes_behind(vcpu, made));
		try_touches(touches, vcpu, made - 1, writes_behind(vcpu, made - 1));
		/* so many more are sure to have a write among them */
		try_touches(touches, vcpu, made + 200, true);
	}
	expect_good(touches);
	end();
}

static void test_flipped_byte(void **state)
{
	static const uint64_t offsets[] = {0, 4095, 1234567, (2 << 20) - 1};
	uint64_t touches[MR_SCENARIO_VCPUS_MAX];

	begin(state);
	mr_live_guest_fill(guest);
	run(200, NULL, touches);
	for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		char place[32];

		snprintf(place, sizeof(place), "mem page 0x%llx:", (unsigned long long)offsets[i] & ~4095ULL);
		memories[0].data[offsets[i]] ^= 1;
		expect_bad(touches, place);
		memories[0].data[offsets[i]] ^= 1;
	}
	memories[1].data[65535] ^= 0x80;
	expect_bad(touches, "rom page 0xf000:");
	memories[1].data[65535] ^= 0x80;
	expect_good(touches);
	end();
}

/* A vCPU that finds a page with what nobody wrote says so while it runs. */
static void test_complaint(void **state)
{
	const uint64_t before = mr_clock();

	begin(state);
	mr_live_guest_fill(guest);
	for (uint64_t i = 0; i < memories[0].size; i += 4096)
		memories[0].data[i + 8] ^= 1;
	start(NULL);
	while (!mr_live_guest_complaint(guest) && mr_clock() - before < 10000ULL * MILLISECOND)
		mr_clock_sleep(MILLISECOND);
	mr_live_guest_stop(guest);
	assert_non_null(mr_live_guest_complaint(guest));
	assert_non_null(strstr(mr_live_guest_complaint(guest), "reads mem page 0x"));
	end();
}

/* ---- Running ---- */

/* The host may give vCPUs less than they want, never more. */
static void test_throttle(void **state)
{
	enum { INTERVAL = MILLISECOND, GRAIN = 2, TIMES = 10 };
	uint64_t touches[MR_SCENARIO_VCPUS_MAX] = {0}, before[MR_SCENARIO_VCPUS_MAX];

	begin(state);
	mr_live_guest_fill(guest);
	scenario.workloads[0].interval = INTERVAL;
	for (uint32_t percent = 0; percent < 100; percent += 33) {
		const uint64_t begun = mr_clock();
		uint64_t most;

		memcpy(before, touches, sizeof(before));
		mr_live_guest_throttle(guest, percent);
		run(percent == 99 ? 1 : TIMES, before, touches);
		most = (mr_clock() - begun) / (INTERVAL * 100 / (100 - percent)) + GRAIN;
		for (unsigned i = 0; i < VCPUS - 1; i++)
			assert_in_range(touches[i] - before[i], 1, most);
		expect_good(touches);
	}
	end();
}

static void test_bad_workload(void **state)
{
	begin(state);
	mr_live_guest_free(guest);
	scenario.workloads[0].pattern.first = 500;
	scenario.workloads[0].pattern.pages = 13;
	guest = mr_live_guest_new(&scenario, memories, error, sizeof(error));
	assert_null(guest);
	assert_non_null(strstr(error, "[workload load]: expected pages within block mem"));
	end();
}

/* ---- Faults ---- */

/* Places so many pages of `mem` as they must be, one fault after the other, and tells the guest of each. */
static void serve(struct mr_userfault *userfault, uint32_t block, unsigned count)
{
	struct mr_content content = {.filled = scenario.guest.filled};
	uint8_t page[4096];

	memcpy(content.shares, scenario.guest.shares, sizeof(content.shares));
	mr_content_init(&content, scenario.seed);
	while (count > 0) {
		struct mr_userfault_placed placed = {0};
		struct mr_userfault_event event;

		mr_userfault_wait(userfault, 1);
		if (mr_userfault_read(userfault, &event, 1) != 1)
			continue;
		assert_in_range(mr_live_guest_vcpu_of(guest, event.thread), 0, VCPUS - 2);
		mr_live_guest_note_fault(guest, mr_live_guest_vcpu_of(guest, event.thread));
		count--;
		mr_content_fill(&content, 0, event.offset / 4096, 0, page, sizeof(page));
		assert_int_equal(mr_userfault_place(userfault, block, event.offset, page, sizeof(page), &placed), 0);
	}
}

static void test_faults(void **state)
{
	uint64_t touches[MR_SCENARIO_VCPUS_MAX], buckets = 0;
	struct mr_live_guest_figures figures;
	struct mr_host_problem problem;
	struct mr_userfault *userfault;
	uint32_t block;

	host_need(MR_HOST_WANT_POSTCOPY, (*(const enum mr_host_kind *)*state));
	host_need(MR_HOST_WANT_THREADS, (*(const enum mr_host_kind *)*state));
	begin(state);
	assert_int_equal(mr_host_memory_discard(&memories[0], 0, memories[0].size, &problem), 0);
	userfault = mr_userfault_open(&problem);
	assert_non_null(userfault);
	assert_int_equal(mr_userfault_add(userfault, &memories[0], &block, &problem), 0);
	start(NULL);
	serve(userfault, block, 20);
	/* Who waits now waits on, and is counted as one who does. */
	mr_live_guest_figures(guest, &figures);
	assert_in_range(figures.outstanding, 0, VCPUS - 1);
	mr_live_guest_ask_to_stop(guest);
	mr_userfault_close(userfault);
	mr_live_guest_stop(guest);
	mr_live_guest_figures(guest, &figures);
	mr_live_guest_touches(guest, touches);
	assert_int_equal(figures.touches, touches[0] + touches[1] + touches[2]);
	/* of those noted the last may have been on its way still when the guest was asked to stop */
	assert_in_range(figures.faults, 17, 20);
	for (unsigned i = 0; i < 24; i++)
		buckets += figures.latency[i];
	assert_int_equal(buckets, figures.faults);
	assert_in_range(figures.latency_sum, figures.latency_maximum, figures.faults * figures.latency_maximum);
	assert_null(mr_live_guest_complaint(guest));
	end();
}

static void test_threads(void **state)
{
	uint64_t touches[MR_SCENARIO_VCPUS_MAX];

	begin(state);
	mr_live_guest_fill(guest);
	assert_int_equal(mr_live_guest_vcpu_of(guest, 0), -1);
	run(1, NULL, touches);
	assert_int_equal(mr_live_guest_vcpu_of(guest, 0), -1);
	assert_int_equal(mr_live_guest_vcpu_of(guest, (uint32_t)getpid()), -1);
	mr_live_guest_note_fault(guest, -1);
	end();
}

#define EACH_KIND(test)                                                                                                \
	cmocka_unit_test_prestate(test, &kinds[MR_HOST_ANONYMOUS]),                                                    \
		cmocka_unit_test_prestate(test, &kinds[MR_HOST_SHARED])

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH_KIND(test_touches),   EACH_KIND(test_other_touches), EACH_KIND(test_flipped_byte),
		EACH_KIND(test_complaint), EACH_KIND(test_throttle),      EACH_KIND(test_bad_workload),
		EACH_KIND(test_faults),    EACH_KIND(test_threads),
	};

	/* a fault that nobody answers would wait for ever */
	alarm(HANGS_AFTER);
	return cmocka_run_group_tests(tests, scenario_make_folder, scenario_remove_folder);
}
