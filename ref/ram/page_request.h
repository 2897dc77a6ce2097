/*
 * page_request.h: what the return path tells a source: its judgements of each message, and the page requests that wait.
 *
 * A judgement gives MR_NO_RULE, or the rule that the message breaks and in `why` how; the return path is bad then.
 * Messages are those of mr_decode(), or made by hand: nothing that stands in one is trusted.
 */
#ifndef MR_PAGE_REQUEST_H
#define MR_PAGE_REQUEST_H

#include "outgoing.h"
#include "wire/wire.h"

/* Why a message is refused; written only if it is. */
struct mr_refusal {
	struct mr_text expected, found;
};

/* A block of the source's, as its messages see it; where a pointer to one is NULL, no block has the message's name. */
struct mr_answering_block {
	uint64_t used_length; /* bytes, a multiple of the target page size */
	uint64_t page_size;   /* host page, bytes; not 0 */
	bool ignored;
};

/* ---- Page requests ----------------------------------------------------------------------------------------------- */

struct mr_request_judge {
	const struct mr_profile *profile;
	uint32_t host_page_size; /* the host's ordinary page, bytes; not 0 */
	bool preempt;            /* requests are urgent: the capability is on, and postcopy is active */
	uint64_t requests;       /* postcopy-requests: those that passed the first test, whatever came of them */
};

/* Judges REQ_PAGES and REQ_PAGES_ID (SRC-025 to SRC-027). A short one without any block has no name. */
enum mr_rule mr_request_check(struct mr_request_judge *judge, const struct mr_answering_block *block,
			      const struct mr_return_message *message, struct mr_refusal *why);

struct mr_page_request {
	uint32_t block;
	uint64_t start, length; /* bytes, as asked */
	uint64_t page, end;     /* target pages that were not looked at yet */
	bool sent;              /* one of its pages was dirty */
};

/* First come, first served (SRC-028). */
struct mr_request_queue {
	uint32_t target_page_size; /* bytes */
	uint32_t first, count;
	struct mr_page_request ring[MR_OUTGOING_REQUESTS_MAX];
};

enum mr_request_turn {
	MR_REQUEST_NONE, /* no request waits */
	MR_REQUEST_PAGE, /* this page is dirty: send the rest of its host page */
	MR_REQUEST_OVER, /* the first request is used up, and gone; `sent` says whether anything came of it */
};

/* The first dirty target page of a block from `page` on, or `end` if there is none before; `end` if it is ignored. */
typedef uint64_t mr_next_dirty(void *argument, uint32_t block, uint64_t page, uint64_t end);

void mr_request_queue_init(struct mr_request_queue *queue, uint32_t target_page_size);
/* Takes a request that was judged good. False if the queue is full (SRC-029). */
bool mr_request_queue_push(struct mr_request_queue *queue, uint32_t block, uint64_t start, uint64_t length);
/*
 * The connection is lost: what waits goes on waiting (SRC-028), but for a request of which something went out, and for
 * all of them if no other one would find room.
 */
void mr_request_queue_keep(struct mr_request_queue *queue);
/* Whether there is a page among them that was not looked at yet. */
bool mr_request_queue_waits(const struct mr_request_queue *queue);
/*
 * What the first request asks for now. Its clean pages are passed over, never to be looked at again. `request` is a
 * copy; for PAGE, `*page` is the target page. Each request ends by one OVER.
 */
enum mr_request_turn mr_request_queue_next(struct mr_request_queue *queue, mr_next_dirty *next_dirty, void *argument,
					   struct mr_page_request *request, uint64_t *page);

/* ---- Received bitmaps -------------------------------------------------------------------------------------------- */

struct mr_reload {
	const struct mr_profile *profile;
	uint32_t target_page_size; /* bytes */
	bool recovering;           /* the status is postcopy-recover */
};

/*
 * Judges RECV_BITMAP (SRC-031, SRC-032). If it is good, what was not received is dirty, and nothing else: `dirty` has
 * mr_bitmap_words(used_length / target_page_size) words. `*answered` says whether this block was answered before, in
 * this recovery, and becomes true; it may be NULL if block is.
 */
enum mr_rule mr_bitmap_reload(const struct mr_reload *reload, const struct mr_answering_block *block, bool *answered,
			      const struct mr_return_message *message, uint64_t *dirty, struct mr_refusal *why);

/* ---- The other messages ------------------------------------------------------------------------------------------ */

/* What a good message brings about. */
enum mr_answer {
	MR_ANSWER_NONE = 0,           /* nothing: it is taken and forgotten */
	MR_ANSWER_SHUT = 1,           /* the reader ends, and the destination has succeeded */
	MR_ANSWER_PONG = 2,           /* the destination is there: who waits for any PONG goes on */
	MR_ANSWER_PACKAGE_LOADED = 4, /* with PONG: the package is loaded */
	MR_ANSWER_RESUMED = 8,        /* postcopy goes on */
	MR_ANSWER_ACK = 16,           /* one SWITCHOVER_ACK less to wait for */
};

struct mr_answer_judge {
	const struct mr_profile *profile;
	bool recovering;   /* the status is postcopy-recover */
	uint32_t acks_due; /* SWITCHOVER_ACKs that are waited for */
};

/* Judges SHUT, PONG, RESUME_ACK and SWITCHOVER_ACK (SRC-033, SRC-034). `answers`: enum mr_answer, ORed. */
enum mr_rule mr_answer_check(const struct mr_answer_judge *judge, const struct mr_return_message *message,
			     uint32_t *answers, struct mr_refusal *why);

#endif
