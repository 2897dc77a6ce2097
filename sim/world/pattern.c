/* pattern.c: the kinds of working sets, each a few numbers and a step. */
#include "sim/world/pattern.h"

#include <stddef.h>

/* The streams that are drawn from the seed; those of the vCPUs follow the last. */
enum { PURPOSE_SALT = 0x7a697066, PURPOSE_VCPU = 0x10000000 };

/* Touches of a stack between two pages that its top drifts, on the average. */
enum { STACK_STEADY = 64 };

static const char *const names[MR_PATTERN_KIND_COUNT] = {
	[MR_PATTERN_IDLE] = "idle",     [MR_PATTERN_SEQUENTIAL] = "sequential", [MR_PATTERN_RANDOM] = "random",
	[MR_PATTERN_ZIPF] = "zipf",     [MR_PATTERN_STRIDED] = "strided",       [MR_PATTERN_PHASED] = "phased",
	[MR_PATTERN_STACK] = "stack",   [MR_PATTERN_PRODUCER] = "producer",     [MR_PATTERN_CONSUMER] = "consumer",
	[MR_PATTERN_BURSTS] = "bursts", [MR_PATTERN_TRACE] = "trace",
};

/* `position`, below `pages`, and `more`, at most `pages`, round and round. */
static uint64_t around(uint64_t position, uint64_t more, uint64_t pages)
{
	return pages - position > more ? position + more : more - (pages - position);
}

/* ---- Hot spots ---- */

/* Bits that number everything below `count`. */
static uint32_t bits_below(uint64_t count)
{
	return count > 1 ? 64 - (uint32_t)__builtin_clzll(count - 1) : 0;
}

/*
 * A rank from 1 to `pages`, r with a probability in proportion to 1/r: an octave, all being alike; a number
 * of it, all being alike, which makes 1/2^octave for each; and that is kept with the probability 2^octave/r.
 */
static uint64_t draw_rank(struct mr_pattern *pattern)
{
	for (;;) {
		const uint64_t draw = mr_random_next(&pattern->random);
		const uint32_t octave = (uint32_t)((draw >> 32) * pattern->octaves >> 32);
		const uint64_t first = UINT64_C(1) << octave;
		const uint64_t rank = first | (mr_random_next(&pattern->random) & (first - 1));
		/* rank / first, from 1 to 2, in units of 2^-31 */
		const uint64_t ratio = octave > 31 ? rank >> (octave - 31) : rank << (31 - octave);

		if (rank <= pattern->config.pages && (uint32_t)draw * ratio < UINT64_C(1) << 63)
			return rank;
	}
}

/* A one-to-one map of the numbers below 2^bits: odd factors and shifted exclusive ors lose nothing. */
static uint64_t scatter(uint64_t number, uint64_t salt, uint32_t bits)
{
	const uint64_t mask = (UINT64_C(1) << bits) - 1;
	const uint32_t half = bits / 2 + 1;

	number = (number ^ salt) & mask;
	for (unsigned round = 0; round < 3; round++) {
		number = number * UINT64_C(0xbf58476d1ce4e5b9) & mask;
		number ^= number >> half;
		number = (number + (salt >> 16)) & mask;
	}
	return number;
}

static uint64_t hot_page(struct mr_pattern *pattern)
{
	const uint32_t bits = bits_below(pattern->config.pages);
	uint64_t page = draw_rank(pattern) - 1;

	/* more than half of the numbers are pages; those that are not lead, in the end, to one that nothing else leads
	 * to */
	do {
		page = scatter(page, pattern->salt, bits);
	} while (page >= pattern->config.pages);
	return page;
}

/* ---- The others ---- */

static uint64_t next_in_order(struct mr_pattern *pattern)
{
	const uint64_t page = pattern->position;

	pattern->position = around(page, 1, pattern->config.pages);
	return page;
}

static uint64_t next_strided(struct mr_pattern *pattern)
{
	const struct mr_pattern_config *config = &pattern->config;
	const uint64_t page = pattern->position;

	if (config->pages - page > config->stride) {
		pattern->position += config->stride;
		return page;
	}
	pattern->base++;
	if (pattern->base == config->stride || pattern->base == config->pages)
		pattern->base = 0;
	pattern->position = pattern->base;
	return page;
}

static uint64_t next_phased(struct mr_pattern *pattern)
{
	const struct mr_pattern_config *config = &pattern->config;

	if (pattern->count == config->phase) {
		pattern->count = 0;
		pattern->base = around(pattern->base, config->working_set, config->pages);
	}
	pattern->count++;
	return around(pattern->base, mr_random_below(&pattern->random, config->working_set), config->pages);
}

static uint64_t next_on_stack(struct mr_pattern *pattern)
{
	const struct mr_pattern_config *config = &pattern->config;
	const uint64_t draw = mr_random_next(&pattern->random);

	if (draw % STACK_STEADY == 0)
		pattern->base = around(pattern->base, draw & STACK_STEADY ? 1 : config->pages - 1, config->pages);
	if (draw >> 63)
		pattern->position += pattern->position + 1 < config->working_set;
	else
		pattern->position -= pattern->position > 0;
	return around(pattern->base, pattern->position, config->pages);
}

static uint64_t next_of_burst(struct mr_pattern *pattern, struct mr_touch *touch)
{
	const struct mr_pattern_config *config = &pattern->config;

	if (pattern->count == config->burst) {
		pattern->count = 0;
		touch->pauses = config->pause;
	}
	pattern->count++;
	return mr_random_below(&pattern->random, config->pages);
}

static bool next_of_trace(struct mr_pattern *pattern, struct mr_touch *touch)
{
	if (pattern->config.trace_length == 0)
		return false;
	*touch = pattern->config.trace[pattern->position++];
	touch->page += pattern->config.first;
	if (pattern->position == pattern->config.trace_length)
		pattern->position = 0;
	return true;
}

static uint64_t next_page(struct mr_pattern *pattern, struct mr_touch *touch)
{
	switch (pattern->config.kind) {
	case MR_PATTERN_ZIPF:
		return hot_page(pattern);
	case MR_PATTERN_STRIDED:
		return next_strided(pattern);
	case MR_PATTERN_PHASED:
		return next_phased(pattern);
	case MR_PATTERN_STACK:
		return next_on_stack(pattern);
	case MR_PATTERN_BURSTS:
		return next_of_burst(pattern, touch);
	case MR_PATTERN_RANDOM:
		return mr_random_below(&pattern->random, pattern->config.pages);
	default:
		return next_in_order(pattern);
	}
}

/* ---- Outside ---- */

void mr_pattern_init(struct mr_pattern *pattern, const struct mr_pattern_config *config, uint64_t seed, uint32_t index)
{
	/* 0 for number 0 */
	const uint64_t start = config->pages ? mr_mix(index) % config->pages : 0;
	struct mr_random random = mr_random_of(seed, PURPOSE_SALT);

	pattern->config = *config;
	pattern->random = mr_random_of(seed, PURPOSE_VCPU + (uint64_t)index);
	pattern->position = 0;
	pattern->base = 0;
	pattern->count = 0;
	pattern->salt = mr_random_next(&random);
	pattern->octaves = bits_below(config->pages + 1);
	switch (config->kind) {
	case MR_PATTERN_SEQUENTIAL:
	case MR_PATTERN_PRODUCER:
		pattern->position = start;
		break;
	case MR_PATTERN_CONSUMER:
		pattern->position = around(start, config->pages - config->lag, config->pages);
		break;
	case MR_PATTERN_STRIDED:
		pattern->position = start;
		pattern->base = start % config->stride;
		break;
	case MR_PATTERN_STACK:
		pattern->base = start;
		break;
	default:
		break;
	}
}

bool mr_pattern_next(struct mr_pattern *pattern, struct mr_touch *touch)
{
	const enum mr_pattern_kind kind = pattern->config.kind;

	if (kind == MR_PATTERN_IDLE)
		return false;
	if (kind == MR_PATTERN_TRACE)
		return next_of_trace(pattern, touch);
	touch->pauses = 0;
	touch->page = pattern->config.first + next_page(pattern, touch);
	if (kind == MR_PATTERN_PRODUCER || kind == MR_PATTERN_CONSUMER)
		touch->write = kind == MR_PATTERN_PRODUCER;
	else
		touch->write = mr_random_permille(&pattern->random, pattern->config.write_permille);
	return true;
}

const char *mr_pattern_name(enum mr_pattern_kind kind)
{
	return (unsigned)kind < MR_PATTERN_KIND_COUNT ? names[kind] : NULL;
}

static bool is_same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

enum mr_pattern_kind mr_pattern_by_name(const char *name)
{
	unsigned kind = 0;

	while (kind < MR_PATTERN_KIND_COUNT && !is_same(name, names[kind]))
		kind++;
	return (enum mr_pattern_kind)kind;
}
