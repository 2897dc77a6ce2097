/* chain.h: finding the ends of device sections, which carry no length. */
#ifndef MR_CHAIN_H
#define MR_CHAIN_H

#include "migref.h"

struct mr_chain {
	struct mr_device_end *devices; /* filled: body and end, relative to the stretch */
	size_t capacity, count;
	uint64_t end; /* of the resolved part of the stretch */
};

enum mr_chain_result {
	MR_CHAIN_FOUND,
	MR_CHAIN_NONE,      /* no chain fits */
	MR_CHAIN_AMBIGUOUS, /* more than one does */
	MR_CHAIN_LIMIT,     /* out of memory, or more sections than `capacity` */
};

/*
 * Looks for the chains of FULL sections and commands that start with the FULL header at the stretch's first byte and
 * fill the stretch to its last byte: the last item is RUN or the end mark 00. Linear in time; takes about nine bytes of
 * memory a byte (STR-023).
 */
enum mr_chain_result mr_chain_resolve(struct mr_bytes stretch, bool footers, struct mr_chain *chain);
/*
 * Follows the sizes of a description from the FULL header at the stretch's first byte to the first item that is no FULL
 * section. Returns false at the first section that is not described or whose footer is not where the size says.
 */
bool mr_chain_follow(struct mr_bytes stretch, bool footers, const struct mr_device_size *sizes, size_t size_count,
		     struct mr_chain *chain);
/*
 * Length of a body with section id `id`, judged by the first footer that is followed by a plausible item; SIZE_MAX if
 * there is none. `at_end`: the stretch reaches the end of the stream.
 */
size_t mr_chain_footer(struct mr_bytes stretch, uint32_t id, bool at_end);
/*
 * The description at the end of a stretch that reaches the end of its stream: offset of its end mark 00, or SIZE_MAX.
 */
size_t mr_chain_find_description(struct mr_bytes stretch, struct mr_bytes *json);
/* The same for one that the stream goes on behind, as COLO does: the next that begins at or behind `from`. */
size_t mr_chain_next_description(struct mr_bytes stretch, size_t from, struct mr_bytes *json);

#endif
