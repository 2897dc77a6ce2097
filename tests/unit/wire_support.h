/* wire_support.h: what the tests of the record families share: streams built by hand, and the properties of any
 * decoder. */
#ifndef WIRE_SUPPORT_H
#define WIRE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "migref.h"
#include "random.h"

enum { STREAM_MAX = 2 << 20 };

/* A stream under construction. */
struct stream {
	size_t length;
	uint8_t data[STREAM_MAX];
};

void put_number(struct stream *stream, unsigned width, uint64_t number);
void put_bytes(struct stream *stream, const void *bytes, size_t length);
void put_fill(struct stream *stream, uint8_t byte, size_t length);
/* Text in a field of `length` bytes, padded with zeros. */
void put_padded(struct stream *stream, const char *text, size_t length);
/* Overwrites a big-endian number. */
void set_number(struct stream *stream, size_t offset, unsigned width, uint64_t number);

/* The findings of one decoding. */
struct seen {
	unsigned total;
	unsigned count[MR_RULE_COUNT];
	struct mr_finding last;
};

/* Makes the session that the streams of a test need. */
typedef void prepare_function(struct mr_session *session);

/* One decoding: `record` holds the last record, `result` is what ended it. */
struct run {
	struct mr_session session;
	struct mr_decoder decoder;
	struct seen seen;
	struct mr_record record;
	unsigned records;
	enum mr_result result;
	struct stream encoded;
};

/* Lists a block in the session. */
void declare_block(struct mr_session *session, const char *name, uint64_t used_length, uint64_t page_size);

/*
 * Decodes the first `length` bytes of a stream, placed before a guard page, and encodes every record again. The run and
 * what it points to are static: one at a time.
 */
struct run *run_stream(enum mr_role role, prepare_function *prepare, const struct stream *stream, size_t length,
		       bool at_end);
/* Decodes all of it to its end, and demands that the encoder gives the same bytes. */
struct run *run_valid(enum mr_role role, prepare_function *prepare, const struct stream *stream);
/* Decodes all of it, and demands exactly this finding: as an error if it is `fatal`, else as a note. */
void expect_only(enum mr_role role, prepare_function *prepare, const struct stream *stream, enum mr_rule rule,
		 bool fatal);

/* Every prefix of a valid stream asks for more, or ends well between records, or names the cut. */
void check_every_prefix(enum mr_role role, prepare_function *prepare, const struct stream *stream);
/* Damaged streams never crash the decoder, and whatever it reads is written again. */
void check_damaged(enum mr_role role, prepare_function *prepare, const struct stream *stream, unsigned rounds);

#endif
