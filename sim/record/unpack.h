/* unpack.h: the bytes of another input, decompressed by gzip, bzip2, xz or zstd. */
#ifndef MR_RECORD_UNPACK_H
#define MR_RECORD_UNPACK_H

#include "ref/migref.h"
#include "sim/record/input.h"

enum mr_packing {
	MR_PACKING_NONE,
	MR_PACKING_GZIP,
	MR_PACKING_BZIP2,
	MR_PACKING_XZ, /* or lzma, its predecessor */
	MR_PACKING_LZOP,
	MR_PACKING_ZSTD,
	MR_PACKING_COUNT
};

enum { MR_UNPACK_MEMORY_MAX = 256 << 20 }; /* bytes that a decompressor may take */

/* "gzip"; "none". */
const char *mr_packing_name(enum mr_packing packing);
/* What the first bytes say; MR_PACKING_NONE if they are of none of these. Eight bytes are enough. */
enum mr_packing mr_packing_of(struct mr_bytes first);
/*
 * An input of what is packed in the rest of `source`, several packed files in a row as one. Takes over `source`, also
 * when it fails. Returns 0, or -1 with one line in `error`.
 */
int mr_unpack_open(struct mr_input **result, struct mr_input *source, enum mr_packing packing, char *error,
		   size_t error_size);

#endif
