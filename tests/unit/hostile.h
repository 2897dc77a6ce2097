/* hostile.h: reads a test vector whose bytes were changed, and counts what comes out. */
#ifndef TEST_HOSTILE_H
#define TEST_HOSTILE_H

#include "sim/record/vector.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "watched.h"

enum {
	HOSTILE_SEEN_MAX = 4096, /* findings that are remembered */
	HOSTILE_TARGETS_MAX = 65536,
	/*
	 * The stated bounds: a record has at least a byte, and a stream of n bytes breaks rules at most n times, but
	 * for a few at its ends.
	 */
	HOSTILE_FINDINGS_EXTRA = 64,
};

struct hostile_place {
	enum mr_rule rule;
	uint32_t channel;
	bool backward;
	uint64_t offset;
};

/* The last reading of a vector. */
struct hostile_reading {
	const struct mr_vector *vector;
	size_t records, findings, bytes;
	struct hostile_place seen[HOSTILE_SEEN_MAX]; /* the first findings */
	bool refused;                                /* no checker, or no description */
	bool broken; /* records do not tile their channel, or a text is more than a line */
};

extern struct hostile_reading hostile;

typedef void hostile_visitor(unsigned channel, const struct mr_record *record);

/* Reads the vector's channels as they are now, with a checker; `visit` may be NULL. */
void hostile_read(const struct mr_vector *vector, hostile_visitor *visit);
/* Whether the last reading kept to what is demanded of any. */
bool hostile_is_bounded(void);
/* Calls the function with every vector of vectors/, in the order of their paths. */
void hostile_each_vector(void (*function)(struct mr_vector *vector));

/* A field of a record: one number, or a run of bytes. */
struct hostile_target {
	unsigned channel; /* index in the vector */
	bool number;
	size_t offset, length; /* bytes, in the channel */
};

extern struct hostile_target hostile_targets[HOSTILE_TARGETS_MAX];
extern size_t hostile_target_count;

/* Fills the list above from the records of the vector. */
void hostile_find_targets(const struct mr_vector *vector);
/* Writes a big-endian number of `width` bytes. */
void hostile_set_number(uint8_t *at, size_t width, uint64_t number);

#endif
