/* observe.h: runs a decoder over a stream, keeps what came out, and checks what must hold for any stream. */
#ifndef TEST_OBSERVE_H
#define TEST_OBSERVE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "migref.h"

enum { OBSERVED_MAX = 16384, OBSERVED_STREAM_MAX = 4 << 20 };

/* How the stream comes into the decoder's window. */
enum feeding {
	FEED_WHOLE,    /* everything that is left */
	FEED_BYTEWISE, /* one byte more after each MR_MORE */
	FEED_WANTED,   /* exactly what the decoder asks for */
};

struct observed_record {
	struct mr_record record; /* fields point into the stream's copy; after FEED_WHOLE only, up to the next run */
	uint64_t digest;         /* of all fields */
};

/* One run of one decoder. About 5 MiB: static memory. */
struct observation {
	struct mr_session session;
	struct mr_decoder decoder;
	enum mr_result result; /* MR_DONE, MR_FAILED, or MR_MORE if the end was not told */
	size_t record_count, finding_count;
	struct observed_record records[OBSERVED_MAX];
	struct mr_finding findings[OBSERVED_MAX];
};

/*
 * Decodes `stream`, which lies before a guard page all the time. Demands for any bytes: records tile the stream, encode
 * to the same bytes, findings lie within the stream, the decoder makes progress and stays failed. Adjacent opaque
 * records are joined. `context` may be NULL.
 */
void observe(struct observation *seen, const struct mr_context *context, enum mr_role role, struct mr_bytes stream,
	     enum feeding feeding);
/* The same with the decoder and session as the run before left them: a further channel. */
void observe_more(struct observation *seen, enum mr_role role, struct mr_bytes stream, enum feeding feeding);

/* Demands equal records, findings and ends. */
void observe_equal(const struct observation *a, const struct observation *b);
/* Demands that the stream decodes to its end without a finding. */
void observe_valid(const struct observation *seen);
/* Demands exactly one finding: `rule` with this verdict at this offset, and a failure only if it is malformed or so. */
void observe_one_finding(const struct observation *seen, enum mr_rule rule, enum mr_verdict verdict, uint64_t offset,
			 enum mr_result result);
/* Demands these kinds in this order. */
void observe_kinds(const struct observation *seen, const enum mr_kind *kinds, size_t count);
/* How many findings are of this rule. */
size_t observe_count(const struct observation *seen, enum mr_rule rule);

#define OBSERVE_KINDS(seen, ...)                                                                                       \
	observe_kinds(seen, (const enum mr_kind[]){__VA_ARGS__},                                                       \
		      sizeof((const enum mr_kind[]){__VA_ARGS__}) / sizeof(enum mr_kind))

#endif
