/* bitmap.c: bits for target pages, their form on the return path, and the search for pages that hold nothing. */
#include "migref.h"

#include <string.h>

enum { WORD_BITS = 64 };

size_t mr_bitmap_words(uint64_t bits)
{
	return (size_t)(bits / WORD_BITS + (bits % WORD_BITS != 0));
}

/* Bits `first` to `last` of a word, both included. */
static uint64_t mask_between(unsigned first, unsigned last)
{
	return (UINT64_MAX << first) & (UINT64_MAX >> (WORD_BITS - 1 - last));
}

/* The bits of word `word` that belong to a map of `bits` bits. */
static uint64_t valid_bits(uint64_t bits, uint64_t word)
{
	uint64_t left = bits - word * WORD_BITS;

	return left >= WORD_BITS ? UINT64_MAX : mask_between(0, (unsigned)left - 1);
}

static void fill(uint64_t *map, uint64_t first, uint64_t count, bool value)
{
	uint64_t end = first + count;

	while (first < end) {
		uint64_t word = first / WORD_BITS;
		uint64_t word_end = (word + 1) * WORD_BITS;
		uint64_t stop = word_end < end ? word_end : end;
		uint64_t mask = mask_between((unsigned)(first % WORD_BITS), (unsigned)((stop - 1) % WORD_BITS));

		/* What is as it should be is not written: memory of huge maps that nobody touched stays untouched. */
		const uint64_t filled = value ? map[word] | mask : map[word] & ~mask;

		if (filled != map[word])
			map[word] = filled;
		first = stop;
	}
}

void mr_bitmap_set(uint64_t *map, uint64_t first, uint64_t count)
{
	fill(map, first, count, true);
}

void mr_bitmap_clear(uint64_t *map, uint64_t first, uint64_t count)
{
	fill(map, first, count, false);
}

bool mr_bitmap_test(const uint64_t *map, uint64_t bit)
{
	return map[bit / WORD_BITS] >> bit % WORD_BITS & 1;
}

/* First bit from `from` on whose value is not that of `flip`'s bits, or `bits`. */
static uint64_t next_bit(const uint64_t *map, uint64_t bits, uint64_t from, uint64_t flip)
{
	uint64_t words = bits / WORD_BITS + (bits % WORD_BITS != 0);
	uint64_t word = from / WORD_BITS;
	uint64_t value;

	if (from >= bits)
		return bits;
	value = (map[word] ^ flip) & UINT64_MAX << from % WORD_BITS;
	while (value == 0) {
		if (++word == words)
			return bits;
		value = map[word] ^ flip;
	}
	from = word * WORD_BITS + (unsigned)__builtin_ctzll(value);
	return from < bits ? from : bits;
}

uint64_t mr_bitmap_next_set(const uint64_t *map, uint64_t bits, uint64_t from)
{
	return next_bit(map, bits, from, 0);
}

uint64_t mr_bitmap_next_clear(const uint64_t *map, uint64_t bits, uint64_t from)
{
	return next_bit(map, bits, from, UINT64_MAX);
}

uint64_t mr_bitmap_count(const uint64_t *map, uint64_t bits)
{
	uint64_t words = bits / WORD_BITS + (bits % WORD_BITS != 0);
	uint64_t count = 0;

	for (uint64_t word = 0; word < words; word++)
		count += (unsigned)__builtin_popcountll(map[word] & valid_bits(bits, word));
	return count;
}

uint64_t mr_received_bitmap_size(uint64_t pages)
{
	return (pages / WORD_BITS + (pages % WORD_BITS != 0)) * sizeof(uint64_t);
}

void mr_received_bitmap_encode(const uint64_t *map, uint64_t pages, uint8_t *out)
{
	uint64_t words = mr_received_bitmap_size(pages) / sizeof(uint64_t);

	for (uint64_t word = 0; word < words; word++) {
		uint64_t value = map[word] & valid_bits(pages, word);

		for (unsigned byte = 0; byte < sizeof(uint64_t); byte++)
			*out++ = (uint8_t)(value >> 8 * byte);
	}
}

bool mr_received_bitmap_decode(uint64_t *map, uint64_t pages, struct mr_bytes bytes)
{
	const uint8_t *in = bytes.data;
	uint64_t words = mr_received_bitmap_size(pages) / sizeof(uint64_t);

	if (bytes.length != mr_received_bitmap_size(pages))
		return false;
	for (uint64_t word = 0; word < words; word++) {
		uint64_t value = 0;

		for (unsigned byte = 0; byte < sizeof(uint64_t); byte++)
			value |= (uint64_t)*in++ << 8 * byte;
		map[word] = value & valid_bits(pages, word);
	}
	return true;
}

/* Sixteen bytes side by side, which gcc and clang turn into the machine's vectors even where they would not on their
 * own. */
typedef uint64_t lanes __attribute__((vector_size(16)));

enum { ZERO_STRIDE = 256 }; /* bytes looked at between two decisions */

static lanes load_lanes(const uint8_t *bytes)
{
	lanes loaded;

	memcpy(&loaded, bytes, sizeof(loaded));
	return loaded;
}

/* What is set in any of 64 bytes. As a tree and without a loop, since each OR would wait for the one before it. */
static lanes any_of_64(const uint8_t *bytes)
{
	return (load_lanes(bytes) | load_lanes(bytes + 16)) | (load_lanes(bytes + 32) | load_lanes(bytes + 48));
}

bool mr_is_zero(const uint8_t *data, size_t length)
{
	uint8_t rest = 0;

	/* Most pages that are not empty say so in their first byte. */
	if (length != 0 && data[0] != 0)
		return false;
	while (length >= ZERO_STRIDE) {
		const lanes any =
			(any_of_64(data) | any_of_64(data + 64)) | (any_of_64(data + 128) | any_of_64(data + 192));

		if ((any[0] | any[1]) != 0)
			return false;
		data += ZERO_STRIDE;
		length -= ZERO_STRIDE;
	}
	for (size_t i = 0; i < length; i++)
		rest |= data[i];
	return rest == 0;
}
