/* content.c: pages of the simulated guest, made from a few numbers and two pools of bytes. */
#include "sim/world/content.h"

#include "sim/world/random.h"

/* The streams that are drawn from the seed. */
enum { PURPOSE_SALT = 0x636f6e, PURPOSE_POOL, PURPOSE_WORDS };

/* How the 64 bits that belong to a page are shared out. */
enum { CLASS_BITS = 20, FILLED_BITS = 20, GENERATION_SHIFT = CLASS_BITS + FILLED_BITS };

/* Odd, and its inverse modulo 2^32. */
static const uint32_t constant_factor = UINT32_C(0x9e3779b1), constant_inverse = UINT32_C(0x0e8b2f51);

/* A few frequent words; each page of text has its own cut of a long chain of them. */
static const char vocabulary[][12] = {
	"the ",   "a ",      "page ",   "of ",    "memory ", "and ",    "guest ",  "is ",
	"block ", "to ",     "host ",   "in ",    "dirty ",  "bit ",    "copy ",   "wait ",
	"sent ",  "before ", "after ",  "table ", "lock ",   "thread ", "queue ",  "\n",
	"0 ",     "1 ",      "error: ", "value=", "name: ",  "user ",   "kernel ", "return\n",
};

/* ---- Bytes ---- */

/* Eight bytes of a page as a number, and back: the low byte comes first, whatever the machine has it. */
static uint64_t low_first(uint64_t word)
{
	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? word : __builtin_bswap64(word);
}

static void store_word(uint8_t *at, uint64_t value)
{
	value = low_first(value);
	__builtin_memcpy(at, &value, sizeof(value));
}

static uint64_t load_word(const uint8_t *at)
{
	uint64_t value;

	__builtin_memcpy(&value, at, sizeof(value));
	return low_first(value);
}

static void fill_constant(uint8_t *out, uint64_t word, size_t size)
{
	for (size_t at = 0; at < size; at += 32) {
		store_word(out + at, word);
		store_word(out + at + 8, word);
		store_word(out + at + 16, word);
		store_word(out + at + 24, word);
	}
}

/*
 * Copies, with each word changed in the same way: pages that are cut from one pool at overlapping places have no bytes
 * in common then, or a method that looks far back would compress them. Four words at a time, read before they are
 * written, make it as fast as memcpy.
 */
static void copy_changed(uint8_t *out, const uint8_t *from, uint64_t change, size_t size)
{
	for (size_t at = 0; at < size; at += 32) {
		const uint64_t a = load_word(from + at) ^ change;
		const uint64_t b = load_word(from + at + 8) ^ change;
		const uint64_t c = load_word(from + at + 16) ^ change;
		const uint64_t d = load_word(from + at + 24) ^ change;

		store_word(out + at, a);
		store_word(out + at + 8, b);
		store_word(out + at + 16, c);
		store_word(out + at + 24, d);
	}
}

/* ---- What belongs to a page ---- */

static uint64_t bits_of(const struct mr_content *content, uint32_t block, uint64_t page)
{
	return mr_mix(content->salt + page + block * UINT64_C(0x9e3779b97f4a7c15));
}

static enum mr_content_class class_by(const struct mr_content *content, uint64_t bits)
{
	uint64_t draw = (bits & ((1U << CLASS_BITS) - 1)) * 1000 >> CLASS_BITS;

	for (unsigned class = 0; class < MR_CONTENT_CLASS_COUNT - 1; class ++) {
		if (draw < content->shares[class])
			return (enum mr_content_class) class;
		draw -= content->shares[class];
	}
	return (enum mr_content_class)(MR_CONTENT_CLASS_COUNT - 1);
}

static int is_filled(const struct mr_content *content, uint64_t bits)
{
	return ((bits >> CLASS_BITS & ((1U << FILLED_BITS) - 1)) * 1000 >> FILLED_BITS) < content->filled;
}

static int is_zero(const struct mr_content *content, enum mr_content_class class, uint64_t bits, uint32_t version)
{
	if (class == MR_CONTENT_ZERO)
		return 1;
	if (version == 0)
		return !is_filled(content, bits);
	return class == MR_CONTENT_CONSTANT && mr_mix(bits ^ version) >> 61 == 0;
}

/* Never 0, and another one for each version, since an odd factor and an exclusive or lose nothing. */
static uint64_t constant_word(uint64_t bits, uint32_t version)
{
	const uint32_t low = version * constant_factor ^ (uint32_t)bits;

	return (bits >> 32 | UINT64_C(0x80000000)) << 32 | low;
}

/*
 * What a text or random page is made from: one of two, in turn, so that what was sent long ago comes back. Pages go
 * over at different versions.
 */
static uint64_t base_of(uint64_t bits, uint32_t version)
{
	const uint64_t generation = ((uint64_t)version + (bits >> GENERATION_SHIFT)) / MR_CONTENT_GENERATION;

	return mr_mix(bits + (generation & 1));
}

static void put_stamp(uint8_t *out, uint32_t block, uint64_t page, uint32_t version)
{
	store_word(out, (uint64_t)block << 32 | version);
	/* a page that holds a stamp is not zero */
	store_word(out + 8, page | UINT64_C(1) << 63);
}

static void put_runs(uint8_t *out, uint64_t bits, uint32_t version, size_t size)
{
	struct mr_random random = {bits ^ (uint64_t)version << 32};
	const uint64_t places = size - MR_CONTENT_STAMP - MR_CONTENT_RUN_BYTES_MAX + 1;

	for (uint64_t left = mr_random_next(&random) % MR_CONTENT_RUNS_MAX + 1; left > 0; left--) {
		const uint64_t draw = mr_random_next(&random);
		uint8_t *at = out + MR_CONTENT_STAMP + ((draw >> 48) * places >> 16);
		const unsigned length = (unsigned)(draw >> 45 & (MR_CONTENT_RUN_BYTES_MAX - 1)) + 1;
		/* no byte of the change is 0 */
		const uint64_t change = draw * UINT64_C(0xff51afd7ed558ccd) | UINT64_C(0x0101010101010101);

		store_word(at, load_word(at) ^ (change & UINT64_MAX >> (64 - 8 * length)));
	}
}

/* ---- Outside ---- */

void mr_content_init(struct mr_content *content, uint64_t seed)
{
	struct mr_random random = mr_random_of(seed, PURPOSE_SALT);
	size_t length = 0;

	content->salt = mr_random_next(&random);
	random = mr_random_of(seed, PURPOSE_POOL);
	for (size_t at = 0; at < MR_CONTENT_POOL; at += 8)
		store_word(content->pool + at, mr_random_next(&random));
	random = mr_random_of(seed, PURPOSE_WORDS);
	while (length < MR_CONTENT_POOL) {
		const char *word = vocabulary[mr_random_below(&random, sizeof(vocabulary) / sizeof(vocabulary[0]))];

		while (*word && length < MR_CONTENT_POOL)
			content->words[length++] = (uint8_t)*word++;
	}
}

enum mr_content_class mr_content_class_of(const struct mr_content *content, uint32_t block, uint64_t page)
{
	return class_by(content, bits_of(content, block, page));
}

int mr_content_is_zero(const struct mr_content *content, uint32_t block, uint64_t page, uint32_t version)
{
	const uint64_t bits = bits_of(content, block, page);

	return is_zero(content, class_by(content, bits), bits, version);
}

void mr_content_fill(const struct mr_content *content, uint32_t block, uint64_t page, uint32_t version, uint8_t *out,
		     size_t size)
{
	const uint64_t bits = bits_of(content, block, page);
	const enum mr_content_class class = class_by(content, bits);
	uint64_t base, from;

	if (is_zero(content, class, bits, version)) {
		__builtin_memset(out, 0, size);
		return;
	}
	if (class == MR_CONTENT_CONSTANT) {
		fill_constant(out, constant_word(bits, version), size);
		return;
	}
	base = base_of(bits, version);
	from = ((base >> 32) * ((MR_CONTENT_POOL - size) / 8 + 1) >> 32) * 8;
	if (class == MR_CONTENT_TEXT)
		__builtin_memcpy(out, content->words + from, size);
	else
		copy_changed(out, content->pool + from, base, size);
	put_stamp(out, block, page, version);
	put_runs(out, bits, version, size);
}

uint32_t mr_content_version(const struct mr_content *content, uint32_t block, uint64_t page, const uint8_t *bytes,
			    size_t size)
{
	const uint64_t bits = bits_of(content, block, page);
	uint64_t any = load_word(bytes);

	if (class_by(content, bits) == MR_CONTENT_CONSTANT && any)
		return ((uint32_t)any ^ (uint32_t)bits) * constant_inverse;
	/* a stamp is not zero: few pages are looked through */
	for (size_t at = 8; at < size && any == 0; at += 8)
		any |= load_word(bytes + at);
	return any ? (uint32_t)load_word(bytes) : UINT32_MAX;
}

const char *mr_content_class_name(enum mr_content_class class)
{
	static const char *const names[MR_CONTENT_CLASS_COUNT] = {"zero", "constant", "text", "random"};

	return (unsigned)class < MR_CONTENT_CLASS_COUNT ? names[class] : NULL;
}
