/*
 * content.h: what a page of the simulated guest holds: a function of (seed, block, page, version) and of nothing else,
 * so that memory need not be kept to be known. Also for the freestanding guest: no library but memcpy and memset, no
 * floating point, the same bytes on every machine.
 */
#ifndef MR_WORLD_CONTENT_H
#define MR_WORLD_CONTENT_H

#include <stddef.h>
#include <stdint.h>

enum mr_content_class {
	MR_CONTENT_ZERO,     /* all zero in every version */
	MR_CONTENT_CONSTANT, /* 8 bytes over and over, others in each version, in every eighth or so 0 */
	MR_CONTENT_TEXT,     /* words that compress well */
	MR_CONTENT_RANDOM,   /* what no method compresses, not even many pages together */
	MR_CONTENT_CLASS_COUNT
};

enum {
	MR_CONTENT_POOL = 64 << 10, /* bytes that text and random pages are cut from */
	MR_CONTENT_STAMP = 16,      /* bytes at the start of such a page that name its version, block and number */
	MR_CONTENT_RUNS_MAX = 8,    /* places of such a page that a version changes beside the stamp, at least 1, ... */
	MR_CONTENT_RUN_BYTES_MAX = 8, /* ... of 1 to so many bytes each */
	MR_CONTENT_GENERATION = 8,    /* after so many versions such a page goes over to the other of its two bases */
};

/* Of one guest. */
struct mr_content {
	/* Of a thousand pages; together 1000. */
	uint16_t shares[MR_CONTENT_CLASS_COUNT];
	uint16_t filled; /* of a thousand pages: hold something other than zero before anybody wrote to them */
	/* private */
	uint64_t salt;
	uint8_t pool[MR_CONTENT_POOL], words[MR_CONTENT_POOL];
};

/* Set the shares before or after; they may not change any more once a page was asked for. */
void mr_content_init(struct mr_content *content, uint64_t seed);
enum mr_content_class mr_content_class_of(const struct mr_content *content, uint32_t block, uint64_t page);
/*
 * True if the page is all zero in this version, as mr_content_fill() has it. Version 0 is that of a page that nobody
 * wrote to: zero, or (`filled`) what its class says.
 */
int mr_content_is_zero(const struct mr_content *content, uint32_t block, uint64_t page, uint32_t version);
/*
 * Fills `out` with the page, `size` bytes, a power of two from 1024 to 65536. Any two of the 2^32 versions of a page
 * differ, unless both are zero. Pages that are not zero differ from each other too: text and random ones always (pages
 * are below 2^63), constant ones by a word of which 31 bits go by the page. A version of a text or random page differs
 * from the one before it by the stamp and at most 2 * MR_CONTENT_RUNS_MAX runs; but each MR_CONTENT_GENERATION-th is
 * made anew, from the base that the page had before the last time. About as fast as memcpy.
 */
void mr_content_fill(const struct mr_content *content, uint32_t block, uint64_t page, uint32_t version, uint8_t *out,
		     size_t size);

/*
 * The version that the bytes of such a page are of, by the page's stamp or word; UINT32_MAX if they are all zero. Other
 * bytes give any number: who has to be sure compares with mr_content_fill() of it.
 */
uint32_t mr_content_version(const struct mr_content *content, uint32_t block, uint64_t page, const uint8_t *bytes,
			    size_t size);

/* "zero", "constant", "text", "random" */
const char *mr_content_class_name(enum mr_content_class class);

#endif
