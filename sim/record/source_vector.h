/*
 * source_vector.h: test vectors of a source: what it discards at the switch to postcopy, and what it makes of messages
 * on the return path. vectors/README.md has the form of their files.
 */
#ifndef MR_RECORD_SOURCE_VECTOR_H
#define MR_RECORD_SOURCE_VECTOR_H

#include "sim/record/vector.h"

/*
 * Reads the vector in the file at `path`, has the reference do what it describes, and compares. Returns 0 if everything
 * agrees, else -1 with one line in `difference`: what cannot be read, or the first difference.
 */
int mr_source_vector_run(const char *path, char difference[MR_VECTOR_MESSAGE_MAX]);

#endif
