/*
 * multifd_send.h: the multifd channels of a source: a queue that the migration thread fills, and one sender for each
 * channel that makes packets of what it is given.
 *
 * Nobody waits in here. Whoever cannot go on says so, and the caller lets somebody else step first: that order is all
 * that decides which SYNC travels with pages and who gets which number.
 *
 * Rule ids in the comments (MFS-001) are those of SPEC.md.
 */
#ifndef MR_MULTIFD_SEND_H
#define MR_MULTIFD_SEND_H

#include "outgoing.h"

struct mr_multifd_send;

/* Whether an unusual choice is asked at all. */
static inline bool mr_choice_is_asked(const struct mr_outgoing_config *config, enum mr_choice choice)
{
	return config->choices && config->unusual_choices >> choice & 1;
}

/* What became of a call of the migration thread. */
enum mr_multifd_queue {
	MR_QUEUE_DONE,
	MR_QUEUE_ON,    /* call again; senders may step before, and it may matter */
	MR_QUEUE_WAITS, /* call again when a sender has stepped: mr_multifd_send_awaited() */
};

/* What became of a step of a sender. */
enum mr_multifd_step {
	MR_SENDER_IDLE,    /* it has no work */
	MR_SENDER_SENT,    /* a packet is to be written */
	MR_SENDER_DROPPED, /* it made a packet that is never written (MFS-009) */
	MR_SENDER_FAILED,  /* the method could not make a payload; it never will (MFS-013) */
};

/* A packet; its bytes live until the next step of any sender. */
struct mr_multifd_sent {
	struct mr_bytes head, payload; /* both empty if it is dropped */
	bool sync;
	uint32_t normal, zero; /* pages */
	uint32_t block;        /* UINT32_MAX without pages */
	uint64_t page;         /* offset of the packet's first page */
};

/* ---- Life -------------------------------------------------------------------------------------------------------- */

/* True if zero pages are found by the senders, else the migration thread has to look for them (MFS-008). */
bool mr_multifd_send_finds_zeros(const struct mr_outgoing_config *config, const struct mr_profile *profile);
/* Bytes of memory; 0 if number of channels, page size or level of the method are impossible. */
size_t mr_multifd_send_size(const struct mr_outgoing_config *config);
/*
 * Lays the channels out in `memory`, aligned for uint64_t, zeroed, of mr_multifd_send_size() bytes. What the arguments
 * point to must stay where it is. Adds to multifd_bytes, normal, duplicate, pages, choices and chosen of `statistics`
 * (MFS-014). NULL if a compressing method gives no stream.
 */
struct mr_multifd_send *mr_multifd_send_init(void *memory, const struct mr_outgoing_config *config,
					     const struct mr_profile *profile,
					     struct mr_outgoing_statistics *statistics);
/* Gives the streams of compressing methods back. NULL is allowed. */
void mr_multifd_send_clear(struct mr_multifd_send *send);

uint32_t mr_multifd_send_channels(const struct mr_multifd_send *send);
/* The initial packet, with which a channel begins, once (MFS-001). Its bytes live until the next such call. */
struct mr_bytes mr_multifd_send_initial(struct mr_multifd_send *send, uint32_t channel);

/* ---- The migration thread ---------------------------------------------------------------------------------------- */

/*
 * Queues the page at `offset` (MFS-002, MFS-003). WAITS: it is not queued, since a full queue can be given to nobody.
 * `name` is the block's and has to stay.
 */
enum mr_multifd_queue mr_multifd_send_page(struct mr_multifd_send *send, uint32_t block, const char *name,
					   uint64_t offset);
/*
 * Asks every sender for a SYNC and is DONE when all are written (MFS-010). Until then only this is to be called. ON:
 * the queue was given to a sender, who may step before SYNC is asked for, or not (MFS-011).
 */
enum mr_multifd_queue mr_multifd_send_sync(struct mr_multifd_send *send);
/* A channel whose sender has to step after a WAITS; one without work if the last call was not answered so. */
uint32_t mr_multifd_send_awaited(const struct mr_multifd_send *send);

/* ---- The senders ------------------------------------------------------------------------------------------------- */

bool mr_multifd_send_has_work(const struct mr_multifd_send *send, uint32_t channel);
/* Makes the next packet of a channel. `sent` is filled if it is SENT or DROPPED. */
enum mr_multifd_step mr_multifd_send_step(struct mr_multifd_send *send, uint32_t channel, struct mr_multifd_sent *sent);

#endif
