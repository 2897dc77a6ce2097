/* blocktime.c: how long vCPUs wait for pages, as each release counts it. */
#include "machine.h"

enum {
	NANOSECONDS = 1000000, /* of a millisecond */
	MICROSECOND = 1000,    /* ns */
	OPEN_LIMIT = UINT8_MAX,
};

static struct vcpu *vcpus_of(const struct mr_incoming *incoming)
{
	return at(incoming, incoming->places.vcpus);
}

static struct open_fault *open_of(const struct mr_incoming *incoming)
{
	return at(incoming, incoming->places.open_faults);
}

static bool counts(const struct mr_incoming *incoming, enum mr_switch algorithm, uint64_t thread)
{
	return incoming->config.blocktime && thread && does(incoming, MR_SWITCH_BLOCKTIME) &&
	       does(incoming, MR_SWITCH_BLOCKTIME_BY_ADDRESS) == (algorithm == MR_SWITCH_BLOCKTIME_BY_ADDRESS);
}

/* The vCPU that this thread is; their number if it is none. */
static uint32_t find_vcpu(const struct mr_incoming *incoming, uint64_t thread)
{
	const uint32_t count = incoming->blocktime.vcpu_count;
	uint32_t index = 0;

	while (index < count && vcpus_of(incoming)[index].thread != thread)
		index++;
	return index;
}

/* A clock that goes back stands still. */
static uint64_t since(uint64_t now, uint64_t then)
{
	return now > then ? now - then : 0;
}

/* ---- Up to 10.0: a page for each vCPU, milliseconds ---- */

/* 0 says that nothing was begun, so the first millisecond counts as 1. */
static uint32_t milliseconds(const struct mr_incoming *incoming)
{
	const uint32_t now = (uint32_t)(incoming->blocktime.now / NANOSECONDS);

	return now ? now : 1;
}

void mr_blocktime_told(struct mr_incoming *incoming, uint32_t block, uint64_t offset, uint64_t thread)
{
	struct blocktime *blocktime = &incoming->blocktime;
	const uint32_t index = find_vcpu(incoming, thread);
	struct vcpu *vcpu;

	if (!counts(incoming, MR_SWITCH_BLOCKTIME, thread) || index == blocktime->vcpu_count)
		return;
	vcpu = &vcpus_of(incoming)[index];
	if (!vcpu->waits)
		blocktime->waiting++;
	vcpu->faults++;
	blocktime->last_begin = vcpu->begin = milliseconds(incoming);
	vcpu->waits = true;
	vcpu->block = block;
	vcpu->offset = offset;
	if (!mr_incoming_is_received(incoming, block, offset))
		return;
	vcpu->waits = false;
	blocktime->waiting--;
}

static void end_waits(struct mr_incoming *incoming, uint32_t block, uint64_t offset)
{
	struct blocktime *blocktime = &incoming->blocktime;
	const uint32_t now = milliseconds(incoming);
	uint32_t ended = 0;

	for (uint32_t i = 0; blocktime->waiting && i < blocktime->vcpu_count; i++) {
		struct vcpu *vcpu = &vcpus_of(incoming)[i];

		if (!vcpu->waits || vcpu->block != block || vcpu->offset != offset)
			continue;
		vcpu->waits = false;
		vcpu->sum += since(now, vcpu->begin);
		ended++;
	}
	if (ended && blocktime->waiting == blocktime->vcpu_count)
		blocktime->total += since(now, blocktime->last_begin);
	blocktime->waiting -= ended;
}

/* ---- From 10.1 on: a list for each page, nanoseconds ---- */

/* A vCPU has one more fault open. False if the release counts no further. */
static bool begin_wait(struct mr_incoming *incoming, struct vcpu *vcpu)
{
	struct blocktime *blocktime = &incoming->blocktime;

	if (vcpu->open == OPEN_LIMIT && does(incoming, MR_SWITCH_BLOCKTIME_LIMIT))
		return false;
	vcpu->faults++;
	if (vcpu->open == 0) {
		blocktime->waiting++;
		blocktime->last_begin = blocktime->now;
	}
	vcpu->open++;
	return true;
}

void mr_blocktime_missed(struct mr_incoming *incoming, uint32_t block, uint64_t offset, uint64_t thread)
{
	struct blocktime *blocktime = &incoming->blocktime;
	const uint32_t index = find_vcpu(incoming, thread);

	if (!counts(incoming, MR_SWITCH_BLOCKTIME_BY_ADDRESS, thread))
		return;
	if (blocktime->open_count == blocktime->open_max ||
	    (index < blocktime->vcpu_count && !begin_wait(incoming, &vcpus_of(incoming)[index]))) {
		blocktime->lost++;
		return;
	}
	if (index == blocktime->vcpu_count)
		blocktime->other_faults++;
	open_of(incoming)[blocktime->open_count++] =
		(struct open_fault){.block = block, .vcpu = index, .offset = offset, .begin = blocktime->now};
}

static unsigned bucket_of(uint64_t nanoseconds)
{
	uint64_t rest = nanoseconds / MICROSECOND;
	unsigned bucket = 0;

	while (rest > 1 && bucket < MR_BLOCKTIME_BUCKETS - 1) {
		rest >>= 1;
		bucket++;
	}
	return bucket;
}

/* Only the fault that leaves its vCPU without another one counts for its time. */
static bool end_fault(struct mr_incoming *incoming, const struct open_fault *fault)
{
	struct blocktime *blocktime = &incoming->blocktime;
	const uint64_t waited = since(blocktime->now, fault->begin);
	struct vcpu *vcpu = &vcpus_of(incoming)[fault->vcpu];

	blocktime->buckets[bucket_of(waited)]++;
	if (fault->vcpu == blocktime->vcpu_count) {
		blocktime->other_sum += waited;
		return false;
	}
	if (--vcpu->open)
		return false;
	vcpu->sum += waited;
	return true;
}

static void end_faults(struct mr_incoming *incoming, uint32_t block, uint64_t offset)
{
	struct blocktime *blocktime = &incoming->blocktime;
	struct open_fault *open = open_of(incoming);
	uint32_t ended = 0, left = 0;

	/* The latest first, as QEMU's lists are. */
	for (uint32_t i = blocktime->open_count; i-- > 0;)
		if (open[i].block == block && open[i].offset == offset)
			ended += end_fault(incoming, &open[i]);
	for (uint32_t i = 0; i < blocktime->open_count; i++)
		if (open[i].block != block || open[i].offset != offset)
			open[left++] = open[i];
	blocktime->open_count = left;
	if (ended && blocktime->waiting == blocktime->vcpu_count)
		blocktime->total += since(blocktime->now, blocktime->last_begin);
	blocktime->waiting -= ended;
}

void mr_blocktime_marked(struct mr_incoming *incoming, uint32_t block, uint64_t offset)
{
	if (does(incoming, MR_SWITCH_BLOCKTIME_BY_ADDRESS))
		end_faults(incoming, block, offset);
	else
		end_waits(incoming, block, offset);
}

/* ---- Inputs and figures ---- */

void mr_incoming_set_time(struct mr_incoming *incoming, uint64_t nanoseconds)
{
	incoming->blocktime.now = nanoseconds;
}

bool mr_incoming_vcpu(struct mr_incoming *incoming, uint32_t index, uint64_t thread)
{
	if (index >= incoming->blocktime.vcpu_count)
		return false;
	vcpus_of(incoming)[index].thread = thread;
	return true;
}

static uint64_t average(uint64_t sum, uint64_t count)
{
	return count ? sum / count : 0;
}

/* Up to 10.0 QEMU prepares to count as soon as it looks whether the host can do postcopy, later when faults are caught.
 */
static bool is_shown(const struct mr_incoming *incoming)
{
	if (!incoming->config.blocktime || !does(incoming, MR_SWITCH_BLOCKTIME) ||
	    incoming->status != MR_STATUS_COMPLETED)
		return false;
	return does(incoming, MR_SWITCH_BLOCKTIME_BY_ADDRESS) ? incoming->actors[MR_ACTOR_FAULT].alive
							      : has(incoming, MR_CAPABILITY_POSTCOPY_RAM);
}

bool mr_incoming_blocktime(const struct mr_incoming *incoming, struct mr_blocktime *figures)
{
	const struct blocktime *blocktime = &incoming->blocktime;
	const bool exact = does(incoming, MR_SWITCH_BLOCKTIME_BY_ADDRESS);
	uint64_t sum = blocktime->other_sum, faults = blocktime->other_faults;

	for (uint32_t i = 0; i < blocktime->vcpu_count; i++) {
		sum += vcpus_of(incoming)[i].sum;
		faults += vcpus_of(incoming)[i].faults;
	}
	*figures = (struct mr_blocktime){
		.blocktime = (uint32_t)(exact ? blocktime->total / NANOSECONDS : blocktime->total),
		.vcpu_count = blocktime->vcpu_count,
		.waiting = blocktime->waiting,
		.lost = blocktime->lost,
		.has_latency = exact,
	};
	if (exact) {
		figures->latency = average(sum, faults);
		figures->non_vcpu_latency = average(blocktime->other_sum, blocktime->other_faults);
		memcpy(figures->distribution, blocktime->buckets, sizeof(figures->distribution));
	}
	return is_shown(incoming);
}

struct mr_vcpu_blocktime mr_incoming_vcpu_blocktime(const struct mr_incoming *incoming, uint32_t index)
{
	const bool exact = does(incoming, MR_SWITCH_BLOCKTIME_BY_ADDRESS);
	const struct vcpu *vcpu;

	if (index >= incoming->blocktime.vcpu_count)
		return (struct mr_vcpu_blocktime){0};
	vcpu = &vcpus_of(incoming)[index];
	return (struct mr_vcpu_blocktime){
		.blocktime = (uint32_t)(exact ? vcpu->sum / NANOSECONDS : vcpu->sum),
		.latency = exact ? average(vcpu->sum, vcpu->faults) : 0,
		.faults = vcpu->faults,
	};
}
