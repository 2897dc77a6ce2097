/* xbzrle.c: the encoding of a page as runs of bytes that are equal to its old content and runs of new ones. */
#include "migref.h"

#include <string.h>

enum {
	RUN_MAX = 16383,     /* two groups of seven bits */
	RUN_SHORT_MAX = 127, /* one group */
};

static uint64_t load_word(const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return word;
}

static bool has_zero_byte(uint64_t word)
{
	return ((word - UINT64_C(0x0101010101010101)) & ~word & UINT64_C(0x8080808080808080)) != 0;
}

/* Index of the first byte from `at` on in which the pages differ, or `end`. */
static size_t skip_equal(const uint8_t *old, const uint8_t *page, size_t at, size_t end)
{
	while (end - at >= 32) {
		uint64_t differing = 0;

		for (size_t i = 0; i < 32; i += 8)
			differing |= load_word(old + at + i) ^ load_word(page + at + i);
		if (differing != 0)
			break;
		at += 32;
	}
	while (end - at >= 8 && load_word(old + at) == load_word(page + at))
		at += 8;
	while (at < end && old[at] == page[at])
		at++;
	return at;
}

/* Index of the first byte from `at` on in which the pages agree, or `end`. */
static size_t skip_different(const uint8_t *old, const uint8_t *page, size_t at, size_t end)
{
	while (end - at >= 8 && !has_zero_byte(load_word(old + at) ^ load_word(page + at)))
		at += 8;
	while (at < end && old[at] != page[at])
		at++;
	return at;
}

/* Writes a run's length, which takes up to two bytes. Returns the bytes written. */
static size_t put_run(uint8_t *out, size_t run)
{
	if (run <= RUN_SHORT_MAX) {
		out[0] = (uint8_t)run;
		return 1;
	}
	out[0] = (uint8_t)(0x80 | (run & 0x7f));
	out[1] = (uint8_t)(run >> 7);
	return 2;
}

long mr_xbzrle_encode(const uint8_t *old, const uint8_t *page, size_t page_size, uint8_t *out, size_t capacity)
{
	size_t length = 0;
	size_t at = 0;

	for (;;) {
		size_t changed = skip_equal(old, page, at, page_size);
		size_t end;

		/* Equal bytes at the end of a page are never written. */
		if (changed == page_size)
			return (long)length;
		/* Two bytes must be free even for a length that takes one: QEMU gives up by that rule. */
		if (changed - at > RUN_MAX || capacity - length < 2)
			return MR_XBZRLE_OVERFLOW;
		length += put_run(out + length, changed - at);

		end = skip_different(old, page, changed, page_size);
		if (end - changed > RUN_MAX || capacity - length < 2)
			return MR_XBZRLE_OVERFLOW;
		length += put_run(out + length, end - changed);
		if (capacity - length < end - changed)
			return MR_XBZRLE_OVERFLOW;
		memcpy(out + length, page + changed, end - changed);
		length += end - changed;
		at = end;
	}
}

/* Takes a run's length off `*at`. Wherever one begins two bytes must be left: at least one new byte follows it. */
static enum mr_rule take_run(struct mr_bytes encoding, size_t *at, size_t *run)
{
	uint8_t low, high;

	if (encoding.length - *at < 2)
		return MR_XBZ_005;
	low = encoding.data[*at];
	if (low <= RUN_SHORT_MAX) {
		*run = low;
		*at += 1;
		return MR_NO_RULE;
	}
	high = encoding.data[*at + 1];
	if (high > RUN_SHORT_MAX)
		return MR_XBZ_001;
	*run = (size_t)(low & 0x7f) | (size_t)high << 7;
	*at += 2;
	return MR_NO_RULE;
}

/* Takes one pair of runs off `*at` and patches `page`, unless it is NULL, from `*filled` on. */
static enum mr_rule take_pair(uint8_t *page, size_t page_size, struct mr_bytes encoding, size_t *at, size_t *filled)
{
	bool first = *at == 0;
	size_t next = *at;
	size_t run = 0;
	enum mr_rule rule;

	rule = take_run(encoding, &next, &run);
	if (rule != MR_NO_RULE)
		return rule;
	if (run == 0 && !first)
		return MR_XBZ_002;
	if (run > page_size - *filled)
		return MR_XBZ_004;
	*filled += run;

	/* The place of a fault is the run that has it. */
	*at = next;
	rule = take_run(encoding, &next, &run);
	if (rule != MR_NO_RULE)
		return rule;
	if (run == 0)
		return MR_XBZ_003;
	if (run > page_size - *filled)
		return MR_XBZ_004;
	if (run > encoding.length - next)
		return MR_XBZ_005;
	if (page != NULL)
		memcpy(page + *filled, encoding.data + next, run);
	*filled += run;
	*at = next + run;
	return MR_NO_RULE;
}

static enum mr_rule take_all(uint8_t *page, size_t page_size, struct mr_bytes encoding, size_t *at)
{
	enum mr_rule rule = MR_NO_RULE;
	size_t filled = 0;
	size_t next = 0;

	while (rule == MR_NO_RULE && next < encoding.length)
		rule = take_pair(page, page_size, encoding, &next, &filled);
	if (at != NULL)
		*at = next;
	return rule;
}

enum mr_rule mr_xbzrle_decode(uint8_t *page, size_t page_size, struct mr_bytes encoding, size_t *at)
{
	return take_all(page, page_size, encoding, at);
}

enum mr_rule mr_xbzrle_check(size_t page_size, struct mr_bytes encoding, size_t *at)
{
	return take_all(NULL, page_size, encoding, at);
}
