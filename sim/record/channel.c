/* channel.c: one direction of one connection, read from a file or pipe and decoded record by record. */
#include "sim/record/channel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int mr_channel_init(struct mr_channel *channel, struct mr_session *session, const char *name, struct mr_input *input,
		    enum mr_role role, unsigned number)
{
	memset(channel, 0, sizeof(*channel));
	channel->decoder = malloc(sizeof(*channel->decoder));
	if (!channel->decoder) {
		mr_input_close(input);
		return -1;
	}
	snprintf(channel->name, sizeof(channel->name), "%s", name);
	channel->input = input;
	channel->role = role;
	channel->number = number;
	mr_decoder_init(channel->decoder, session, role, number);
	return 0;
}

void mr_channel_clear(struct mr_channel *channel)
{
	mr_input_close(channel->input);
	free(channel->decoder);
	memset(channel, 0, sizeof(*channel));
}

enum mr_result mr_channel_next(struct mr_channel *channel, struct mr_record *record, const uint8_t **wire)
{
	mr_input_consume(channel->input, (size_t)channel->pending);
	channel->pending = 0;
	for (;;) {
		size_t length;
		bool at_end;
		const uint8_t *window = mr_input_window(channel->input, &length, &at_end);
		const enum mr_result result = mr_decode(channel->decoder, window, length, at_end, record);

		if (result == MR_RECORD) {
			channel->pending = record->length;
			channel->records++;
			*wire = window;
			return MR_RECORD;
		}
		if (result != MR_MORE) {
			channel->ended = true;
			return result;
		}
		if (mr_input_fill(channel->input, channel->decoder->wanted) < 0) {
			channel->ended = true;
			return MR_MORE;
		}
	}
}

uint64_t mr_channel_rest(const struct mr_channel *channel, const uint8_t **rest)
{
	size_t length;
	bool at_end;

	*rest = mr_input_window(channel->input, &length, &at_end);
	return length;
}

bool mr_channel_is_cut(const struct mr_channel *channel)
{
	return channel->ended && channel->decoder->failed && channel->decoder->error.rule == MR_STR_026;
}
