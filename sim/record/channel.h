/* channel.h: one direction of one connection, read from a file or pipe and decoded record by record. */
#ifndef MR_RECORD_CHANNEL_H
#define MR_RECORD_CHANNEL_H

#include "ref/migref.h"
#include "sim/record/input.h"

struct mr_channel {
	char name[16]; /* "ch0.fwd", or "stream" for a lone file */
	struct mr_input *input;
	struct mr_decoder *decoder;
	enum mr_role role;
	unsigned number;  /* of the connection */
	bool ended;       /* MR_DONE or MR_FAILED was given */
	uint64_t pending; /* bytes of the last record, still in the window */
	uint64_t records; /* so far */
};

/*
 * Takes over `input`. Returns 0, or -1 if memory is short; the input is closed then. `name` is copied.
 */
int mr_channel_init(struct mr_channel *channel, struct mr_session *session, const char *name, struct mr_input *input,
		    enum mr_role role, unsigned number);
void mr_channel_clear(struct mr_channel *channel);
/*
 * The next record and its bytes on the wire; both live until the next call for this channel. MR_RECORD, MR_DONE or
 * MR_FAILED as mr_decode(); MR_MORE if the input failed, with the line in mr_input_error().
 */
enum mr_result mr_channel_next(struct mr_channel *channel, struct mr_record *record, const uint8_t **wire);
/* Bytes behind the last whole record, for a channel that was cut: how many there are. */
uint64_t mr_channel_rest(const struct mr_channel *channel, const uint8_t **rest);
/* True if the channel ended in the middle of a record or before its end mark. */
bool mr_channel_is_cut(const struct mr_channel *channel);

#endif
