/*
 * redact.h: the streams of a migration with the contents of pages made unreadable, while they come.
 *
 * A page becomes a keyed digest of itself, expanded to a page; a zero page stays one. Equal pages become equal ones, as
 * the key is drawn at random once for all streams, and kept nowhere. Names, addresses, lengths and device sections
 * stay.
 */
#ifndef MR_RECORD_REDACT_H
#define MR_RECORD_REDACT_H

#include "ref/migref.h"

enum {
	MR_REDACT_WINDOW_MAX = MR_RESOLVE_MAX + (1 << 20), /* bytes of a direction that may wait to be told apart */
	MR_REDACT_KEY_SIZE = 32,
};

struct mr_redactor;

/* Gets what a stream has become: in its order, of the same length in all. */
typedef void mr_redact_function(void *argument, uint32_t channel, struct mr_bytes bytes);

/*
 * `key` has MR_REDACT_KEY_SIZE bytes, and is copied; NULL draws one. `context` may be NULL. NULL if memory or
 * randomness is short.
 */
struct mr_redactor *mr_redactor_new(const struct mr_context *context, const uint8_t *key, mr_redact_function *take,
				    void *argument);
/* The key is wiped. */
void mr_redactor_free(struct mr_redactor *redactor);
/* A forward direction; channels are numbered from 0 without a gap. False if memory is short. */
bool mr_redactor_open(struct mr_redactor *redactor, uint32_t channel);
/* What the channel is for; its bytes wait until this is told. */
bool mr_redactor_role(struct mr_redactor *redactor, uint32_t channel, enum mr_role role);
/*
 * The next bytes of a channel. False if they cannot be redacted, with one line in mr_redactor_error(): the channel is
 * given up to there, and no channel can be fed any more.
 */
bool mr_redactor_feed(struct mr_redactor *redactor, uint32_t channel, struct mr_bytes bytes);
/*
 * Nothing follows: what still waits is given, a record without its end as far as it came. What cannot be told apart
 * then becomes zeros.
 */
bool mr_redactor_end(struct mr_redactor *redactor, uint32_t channel);
/* Empty if nothing went wrong. */
const char *mr_redactor_error(const struct mr_redactor *redactor);

#endif
