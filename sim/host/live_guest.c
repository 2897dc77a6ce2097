/* live_guest.c: vCPU threads, and what memory must hold by the number of their touches. */
#include "sim/host/live_guest.h"

#include "sim/host/clock.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	LOCKS = 1024,           /* of pages, shared by those of the same remainder */
	SLEEP_AT_LEAST = 60000, /* ns: less is not worth a system call */
	SLEEP_AT_MOST = 2000000,
	PAGE_MAX = 65536,
};

struct vcpu {
	struct mr_live_guest *guest;
	pthread_t thread;
	bool started;
	uint32_t index, block;
	uint64_t interval;
	struct mr_pattern pattern;
	_Atomic uint32_t thread_number;
	_Atomic uint64_t touches;
	_Atomic bool faulted, moved;

	/* its own, until it ends */
	pthread_mutex_t figures_lock;
	struct mr_live_guest_figures figures;
	uint8_t *page, *expected;
};

struct block {
	uint64_t pages;
	uint32_t *versions;
};

struct mr_live_guest {
	const struct mr_scenario *scenario;
	const struct mr_host_memory *memories;
	struct mr_content content;
	struct block blocks[MR_SCENARIO_BLOCKS_MAX];
	struct vcpu vcpus[MR_SCENARIO_VCPUS_MAX];
	pthread_mutex_t locks[LOCKS];
	_Atomic bool stops;
	_Atomic uint32_t throttle;
	bool runs;
	uint64_t started_at;
	_Atomic uint64_t blackout;
	_Atomic uint32_t still_to_move;
	pthread_mutex_t complaint_lock;
	_Atomic bool complains;
	char complaint[160];
};

/* ---- Pages ---- */

static size_t page_size(const struct mr_live_guest *guest)
{
	return guest->scenario->guest.target_page_size;
}

static uint8_t *page_at(const struct mr_live_guest *guest, uint32_t block, uint64_t page)
{
	return guest->memories[block].data + page * page_size(guest);
}

static pthread_mutex_t *lock_of(struct mr_live_guest *guest, uint32_t block, uint64_t page)
{
	return &guest->locks[(page * 31 + block) % LOCKS];
}

static void complain(const struct vcpu *reader, uint64_t page, uint32_t version)
{
	struct mr_live_guest *guest = reader->guest;

	pthread_mutex_lock(&guest->complaint_lock);
	if (!atomic_load(&guest->complains)) {
		snprintf(guest->complaint, sizeof(guest->complaint),
			 "vCPU %" PRIu32 " reads %s page 0x%" PRIx64 ": expected version %" PRIu32
			 ", found something else",
			 reader->index, guest->scenario->blocks[reader->block].name, page * page_size(guest), version);
		atomic_store(&guest->complains, true);
	}
	pthread_mutex_unlock(&guest->complaint_lock);
}

/* ---- Touches ---- */

static void count_fault(struct vcpu *vcpu, uint64_t latency)
{
	struct mr_live_guest_figures *figures = &vcpu->figures;
	figures->faults++;
	figures->latency[mr_latency_bucket(latency)]++;
	figures->latency_sum += latency;
	if (latency > figures->latency_maximum)
		figures->latency_maximum = latency;
}

/* The access that may fault holds no lock: who waits for a page keeps nobody from another. */
static void fault_in(struct vcpu *vcpu, const uint8_t *at, bool write)
{
	const uint64_t before = mr_clock();
	uint8_t byte[8];

	mr_host_load(byte, at, sizeof(byte));
	pthread_mutex_lock(&vcpu->figures_lock);
	vcpu->figures.touches++;
	vcpu->figures.writes += write;
	if (atomic_exchange(&vcpu->faulted, false))
		count_fault(vcpu, mr_clock() - before);
	pthread_mutex_unlock(&vcpu->figures_lock);
}

static void touch(struct vcpu *vcpu, const struct mr_touch *touch)
{
	struct mr_live_guest *guest = vcpu->guest;
	uint32_t *version = &guest->blocks[vcpu->block].versions[touch->page];
	uint8_t *at = page_at(guest, vcpu->block, touch->page);
	pthread_mutex_t *lock = lock_of(guest, vcpu->block, touch->page);

	fault_in(vcpu, at, touch->write);
	/* Who is asked to end may find zeros where nobody brings pages any more. */
	if (atomic_load(&guest->stops) && !touch->write)
		return;
	pthread_mutex_lock(lock);
	if (touch->write)
		++*version;
	mr_content_fill(&guest->content, vcpu->block, touch->page, *version, vcpu->expected, page_size(guest));
	if (touch->write) {
		mr_host_store(at, vcpu->expected, page_size(guest));
	} else {
		mr_host_load(vcpu->page, at, page_size(guest));
		if (memcmp(vcpu->page, vcpu->expected, page_size(guest)) != 0)
			complain(vcpu, touch->page, *version);
	}
	pthread_mutex_unlock(lock);
}

/* ---- Threads ---- */

static uint64_t pause_of(const struct vcpu *vcpu, const struct mr_touch *touch)
{
	const uint64_t interval = vcpu->interval * (1 + (uint64_t)touch->pauses);
	const uint32_t throttle = atomic_load(&vcpu->guest->throttle);

	return throttle < 100 ? interval * 100 / (100 - throttle) : interval;
}

/* In pieces, so that who is asked to end does so soon. */
static void sleep_until(const struct vcpu *vcpu, uint64_t due)
{
	for (;;) {
		const uint64_t now = mr_clock();

		if (atomic_load(&vcpu->guest->stops) || now + SLEEP_AT_LEAST >= due)
			return;
		mr_clock_sleep(due - now < SLEEP_AT_MOST ? due - now : SLEEP_AT_MOST);
	}
}

static void note_move(struct vcpu *vcpu)
{
	struct mr_live_guest *guest = vcpu->guest;

	if (atomic_exchange(&vcpu->moved, true))
		return;
	if (atomic_fetch_sub(&guest->still_to_move, 1) == 1)
		atomic_store(&guest->blackout, mr_clock() - guest->started_at);
}

static void *run(void *argument)
{
	struct vcpu *vcpu = argument;
	uint64_t due = mr_clock();
	struct mr_touch next;

	atomic_store(&vcpu->thread_number, (uint32_t)gettid());
	while (!atomic_load(&vcpu->guest->stops)) {
		const struct mr_pattern before = vcpu->pattern;

		if (!mr_pattern_next(&vcpu->pattern, &next))
			break;
		due += pause_of(vcpu, &next);
		sleep_until(vcpu, due);
		if (atomic_load(&vcpu->guest->stops)) {
			vcpu->pattern = before;
			break;
		}
		touch(vcpu, &next);
		atomic_fetch_add(&vcpu->touches, 1);
		note_move(vcpu);
		/* Time in which it waited for a page is not made up for. */
		if (mr_clock() > due + SLEEP_AT_MOST)
			due = mr_clock();
	}
	return NULL;
}

/* ---- State ---- */

static void place_vcpus(struct mr_live_guest *guest)
{
	for (uint32_t i = 0; i < guest->scenario->workload_count; i++) {
		const struct mr_scenario_workload *workload = &guest->scenario->workloads[i];

		for (uint32_t j = 0; j < workload->vcpu_count; j++) {
			struct vcpu *vcpu = &guest->vcpus[workload->first_vcpu + j];

			mr_pattern_init(&vcpu->pattern, &workload->pattern, guest->scenario->seed,
					workload->first_vcpu + j);
			vcpu->block = workload->block;
			vcpu->interval = workload->interval;
		}
	}
}

/* Patterns and versions as so many touches leave them. */
static void settle(struct mr_live_guest *guest, const uint64_t *touches)
{
	place_vcpus(guest);
	for (uint32_t i = 0; i < guest->scenario->block_count; i++)
		memset(guest->blocks[i].versions, 0, guest->blocks[i].pages * sizeof(uint32_t));
	for (uint32_t i = 0; i < guest->scenario->guest.vcpus; i++) {
		struct vcpu *vcpu = &guest->vcpus[i];
		struct mr_touch touch;

		for (uint64_t j = 0; j < touches[i] && mr_pattern_next(&vcpu->pattern, &touch); j++)
			guest->blocks[vcpu->block].versions[touch.page] += touch.write;
		atomic_store(&vcpu->touches, touches[i]);
	}
}

static bool is_idle(const struct vcpu *vcpu)
{
	return vcpu->pattern.config.kind == MR_PATTERN_IDLE;
}

static void clear_figures(struct mr_live_guest *guest)
{
	uint32_t busy = 0;

	for (uint32_t i = 0; i < guest->scenario->guest.vcpus; i++) {
		struct vcpu *vcpu = &guest->vcpus[i];

		memset(&vcpu->figures, 0, sizeof(vcpu->figures));
		atomic_store(&vcpu->moved, false);
		atomic_store(&vcpu->faulted, false);
		busy += !is_idle(vcpu);
	}
	atomic_store(&guest->still_to_move, busy);
	atomic_store(&guest->blackout, 0);
	guest->started_at = mr_clock();
}

int mr_live_guest_start(struct mr_live_guest *guest, const uint64_t *touches, char *error, size_t error_size)
{
	static const uint64_t none[MR_SCENARIO_VCPUS_MAX];

	settle(guest, touches ? touches : none);
	clear_figures(guest);
	atomic_store(&guest->stops, false);
	guest->runs = true;
	for (uint32_t i = 0; i < guest->scenario->guest.vcpus; i++) {
		struct vcpu *vcpu = &guest->vcpus[i];

		if (is_idle(vcpu))
			continue;
		if (pthread_create(&vcpu->thread, NULL, run, vcpu) != 0) {
			snprintf(error, error_size, "vCPU %" PRIu32 ": the host gives no thread", i);
			mr_live_guest_ask_to_stop(guest);
			return -1;
		}
		vcpu->started = true;
	}
	return 0;
}

void mr_live_guest_ask_to_stop(struct mr_live_guest *guest)
{
	atomic_store(&guest->stops, true);
}

void mr_live_guest_stop(struct mr_live_guest *guest)
{
	mr_live_guest_ask_to_stop(guest);
	for (uint32_t i = 0; i < guest->scenario->guest.vcpus; i++) {
		if (guest->vcpus[i].started)
			pthread_join(guest->vcpus[i].thread, NULL);
		guest->vcpus[i].started = false;
	}
	guest->runs = false;
}

bool mr_live_guest_runs(const struct mr_live_guest *guest)
{
	return guest->runs;
}

void mr_live_guest_throttle(struct mr_live_guest *guest, uint32_t percent)
{
	atomic_store(&guest->throttle, percent);
}

/* ---- Looking ---- */

void mr_live_guest_touches(const struct mr_live_guest *guest, uint64_t *touches)
{
	for (uint32_t i = 0; i < guest->scenario->guest.vcpus; i++)
		touches[i] = atomic_load(&guest->vcpus[i].touches);
}

int mr_live_guest_vcpu_of(const struct mr_live_guest *guest, uint32_t thread)
{
	for (uint32_t i = 0; thread && i < guest->scenario->guest.vcpus; i++)
		if (atomic_load(&guest->vcpus[i].thread_number) == thread)
			return (int)i;
	return -1;
}

void mr_live_guest_note_fault(struct mr_live_guest *guest, int vcpu)
{
	if (vcpu >= 0)
		atomic_store(&guest->vcpus[vcpu].faulted, true);
}

void mr_live_guest_figures(const struct mr_live_guest *guest, struct mr_live_guest_figures *sum)
{
	memset(sum, 0, sizeof(*sum));
	for (uint32_t i = 0; i < guest->scenario->guest.vcpus; i++) {
		struct vcpu *vcpu = (struct vcpu *)&guest->vcpus[i];

		pthread_mutex_lock(&vcpu->figures_lock);
		sum->touches += vcpu->figures.touches;
		sum->writes += vcpu->figures.writes;
		sum->faults += vcpu->figures.faults;
		sum->latency_sum += vcpu->figures.latency_sum;
		if (vcpu->figures.latency_maximum > sum->latency_maximum)
			sum->latency_maximum = vcpu->figures.latency_maximum;
		for (unsigned j = 0; j < MR_LATENCY_BUCKETS; j++)
			sum->latency[j] += vcpu->figures.latency[j];
		sum->outstanding += atomic_load(&vcpu->faulted);
		pthread_mutex_unlock(&vcpu->figures_lock);
	}
	sum->blackout = atomic_load(&guest->blackout);
}

const char *mr_live_guest_complaint(const struct mr_live_guest *guest)
{
	return atomic_load(&guest->complains) ? guest->complaint : NULL;
}

static bool check_page(struct mr_live_guest *guest, uint32_t block, uint64_t page, char *error, size_t error_size)
{
	struct vcpu *reader = &guest->vcpus[0];
	const uint32_t version = guest->blocks[block].versions[page];
	struct mr_host_problem problem;

	mr_content_fill(&guest->content, block, page, version, reader->expected, page_size(guest));
	if (mr_host_memory_read(&guest->memories[block], page * page_size(guest), reader->page, page_size(guest),
				&problem) < 0) {
		snprintf(error, error_size, "%s", problem.text);
		return false;
	}
	if (memcmp(reader->page, reader->expected, page_size(guest)) == 0)
		return true;
	snprintf(error, error_size,
		 "%s page 0x%" PRIx64 ": expected version %" PRIu32
		 " by the touches of the vCPUs, found version %" PRIu32,
		 guest->scenario->blocks[block].name, page * page_size(guest), version,
		 mr_content_version(&guest->content, block, page, reader->page, page_size(guest)));
	return false;
}

bool mr_live_guest_check(struct mr_live_guest *guest, const uint64_t *touches, char *error, size_t error_size)
{
	settle(guest, touches);
	for (uint32_t i = 0; i < guest->scenario->block_count; i++)
		for (uint64_t j = 0; j < guest->blocks[i].pages; j++)
			if (!check_page(guest, i, j, error, error_size))
				return false;
	return true;
}

void mr_live_guest_fill(struct mr_live_guest *guest)
{
	uint8_t *page = guest->vcpus[0].page;

	for (uint32_t i = 0; i < guest->scenario->block_count; i++)
		for (uint64_t j = 0; j < guest->blocks[i].pages; j++) {
			if (mr_content_is_zero(&guest->content, i, j, 0))
				continue;
			mr_content_fill(&guest->content, i, j, 0, page, page_size(guest));
			mr_host_store(page_at(guest, i, j), page, page_size(guest));
		}
}

/* ---- Making ---- */

static bool make_room(struct mr_live_guest *guest)
{
	bool complete = true;

	for (uint32_t i = 0; i < guest->scenario->block_count; i++) {
		guest->blocks[i].pages = guest->scenario->blocks[i].size / page_size(guest);
		guest->blocks[i].versions = calloc(guest->blocks[i].pages, sizeof(uint32_t));
		complete &= guest->blocks[i].versions != NULL;
	}
	for (uint32_t i = 0; i < guest->scenario->guest.vcpus; i++) {
		guest->vcpus[i].page = malloc(PAGE_MAX);
		guest->vcpus[i].expected = malloc(PAGE_MAX);
		complete &= guest->vcpus[i].page && guest->vcpus[i].expected;
	}
	return complete;
}

static bool is_inside(const struct mr_live_guest *guest, char *error, size_t error_size)
{
	for (uint32_t i = 0; i < guest->scenario->workload_count; i++) {
		const struct mr_scenario_workload *workload = &guest->scenario->workloads[i];
		const uint64_t pages = guest->blocks[workload->block].pages;

		if (workload->pattern.kind == MR_PATTERN_IDLE ||
		    (workload->pattern.first <= pages && workload->pattern.pages <= pages - workload->pattern.first))
			continue;
		snprintf(error, error_size, "[workload %s]: expected pages within block %s, found some behind its end",
			 workload->name, guest->scenario->blocks[workload->block].name);
		return false;
	}
	return true;
}

struct mr_live_guest *mr_live_guest_new(const struct mr_scenario *scenario, const struct mr_host_memory *memories,
					char *error, size_t error_size)
{
	struct mr_live_guest *guest = calloc(1, sizeof(*guest));

	if (!guest) {
		snprintf(error, error_size, "no memory for a guest");
		return NULL;
	}
	guest->scenario = scenario;
	guest->memories = memories;
	memcpy(guest->content.shares, scenario->guest.shares, sizeof(guest->content.shares));
	guest->content.filled = scenario->guest.filled;
	mr_content_init(&guest->content, scenario->seed);
	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_init(&guest->locks[i], NULL);
	pthread_mutex_init(&guest->complaint_lock, NULL);
	for (uint32_t i = 0; i < scenario->guest.vcpus; i++) {
		guest->vcpus[i].guest = guest;
		guest->vcpus[i].index = i;
		pthread_mutex_init(&guest->vcpus[i].figures_lock, NULL);
	}
	if (!make_room(guest))
		snprintf(error, error_size, "no memory for a guest");
	else if (is_inside(guest, error, error_size))
		return guest;
	mr_live_guest_free(guest);
	return NULL;
}

void mr_live_guest_free(struct mr_live_guest *guest)
{
	if (!guest)
		return;
	for (uint32_t i = 0; i < guest->scenario->block_count; i++)
		free(guest->blocks[i].versions);
	for (uint32_t i = 0; i < guest->scenario->guest.vcpus; i++) {
		free(guest->vcpus[i].page);
		free(guest->vcpus[i].expected);
	}
	free(guest);
}
