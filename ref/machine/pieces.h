/* pieces.h: how a machine lists the memory in which its state lies, on either side. */
#ifndef MR_PIECES_H
#define MR_PIECES_H

#include "incoming.h"

/* The caller's list; counts on where its room ends. */
struct mr_pieces {
	struct mr_piece *list;
	size_t room, count;
};

static inline void mr_piece_add(struct mr_pieces *pieces, const void *at, size_t length, bool scratch)
{
	if (length == 0)
		return;
	if (pieces->count < pieces->room)
		pieces->list[pieces->count] = (struct mr_piece){(void *)(uintptr_t)at, length, scratch};
	pieces->count++;
}

/* The fields of a struct from `first` to `last`: state, or figures that decide nothing. */
#define MR_PIECE_OF(pieces, object, first, last, scratch)                                                              \
	mr_piece_add((pieces), &(object)->first,                                                                       \
		     (size_t)((const uint8_t *)(&(object)->last + 1) - (const uint8_t *)&(object)->first), (scratch))
#define MR_STATE(pieces, object, first, last)   MR_PIECE_OF(pieces, object, first, last, false)
#define MR_SCRATCH(pieces, object, first, last) MR_PIECE_OF(pieces, object, first, last, true)

/* Which rule it is, and, if there is one, where and how it was broken, which is only told. */
void mr_piece_finding(struct mr_pieces *pieces, const struct mr_finding *finding);
void mr_piece_session(struct mr_pieces *pieces, const struct mr_session *session);
void mr_piece_decoder(struct mr_pieces *pieces, const struct mr_decoder *decoder);

#endif
