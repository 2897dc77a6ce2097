/* sim_streams.c: the streams of a simulated migration, kept while it runs, then judged by the rules of SPEC.md. */
#include "sim/cli/sim_streams.h"
#include "sim/record/print.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { EVENT_BYTES = 34 };

struct stream {
	bool open, cut;
	enum mr_role role;
	uint8_t *bytes;
	size_t length, capacity;
	uint64_t arrived; /* bytes, of one that was cut */
};

struct sim_streams {
	struct mr_watch watch;
	struct stream forward[MR_OUTGOING_CHANNELS_MAX], backward[MR_OUTGOING_CHANNELS_MAX];
	uint32_t count; /* connections, by number */
	uint64_t held;  /* bytes in all of them */
	bool large, failed;
	uint32_t digest;
};

/* ---- Keeping ---- */

static void drop(struct stream *stream)
{
	free(stream->bytes);
	stream->bytes = NULL;
	stream->length = stream->capacity = 0;
}

static void drop_bytes(struct sim_streams *streams)
{
	for (uint32_t i = 0; i < streams->count; i++) {
		drop(&streams->forward[i]);
		drop(&streams->backward[i]);
	}
}

static struct stream *stream_of(struct sim_streams *streams, uint32_t channel, bool backward)
{
	if (channel >= MR_OUTGOING_CHANNELS_MAX)
		return NULL;
	if (channel >= streams->count)
		streams->count = channel + 1;
	return backward ? &streams->backward[channel] : &streams->forward[channel];
}

static bool make_room(struct stream *stream, size_t more)
{
	size_t capacity = stream->capacity ? stream->capacity : 4096;
	uint8_t *larger;

	while (capacity < stream->length + more)
		capacity *= 2;
	if (capacity == stream->capacity)
		return true;
	larger = realloc(stream->bytes, capacity);
	if (!larger)
		return false;
	stream->bytes = larger;
	stream->capacity = capacity;
	return true;
}

static void append(struct sim_streams *streams, struct stream *stream, struct mr_bytes bytes)
{
	if (bytes.length == 0 || streams->large || streams->failed)
		return;
	streams->held += bytes.length;
	if (streams->held > SIM_STREAMS_MAX)
		streams->large = true;
	else if (!make_room(stream, bytes.length))
		streams->failed = true;
	if (streams->large || streams->failed) {
		drop_bytes(streams);
		return;
	}
	memcpy(stream->bytes + stream->length, bytes.data, bytes.length);
	stream->length += bytes.length;
}

static uint8_t *put_number(uint8_t *at, uint64_t number)
{
	for (unsigned i = 0; i < 8; i++)
		*at++ = (uint8_t)(number >> (8 * i));
	return at;
}

static void digest_bytes(struct sim_streams *streams, const uint8_t *data, size_t length)
{
	if (length)
		streams->digest = (uint32_t)crc32_z(streams->digest, data, length);
}

static void digest_line(struct sim_streams *streams, const struct mr_line *line)
{
	uint8_t event[EVENT_BYTES], *at = event;

	*at++ = (uint8_t)line->event;
	*at++ = line->backward;
	at = put_number(at, line->time);
	at = put_number(at, line->channel);
	at = put_number(at, line->offset);
	put_number(at, line->length);
	digest_bytes(streams, event, sizeof(event));
	if (line->event != MR_LINE_BYTES || streams->large || streams->failed)
		return;
	digest_bytes(streams, line->head.data, line->head.length);
	digest_bytes(streams, line->body.data, line->body.length);
}

static void take_line(void *argument, const struct mr_line *line)
{
	struct sim_streams *streams = argument;
	struct stream *stream = stream_of(streams, line->channel, line->backward);

	digest_line(streams, line);
	if (!stream)
		return;
	if (line->event == MR_LINE_BYTES) {
		append(streams, stream, line->head);
		append(streams, stream, line->body);
	} else if (line->event == MR_LINE_CUT) {
		stream->cut = true;
		stream->arrived = line->length;
	}
}

static void take_source(void *argument, const struct mr_source_log_record *record,
			const struct mr_source_action *action)
{
	struct sim_streams *streams = argument;
	struct stream *stream;

	(void)record;
	if (!action || action->kind != MR_SOURCE_ACTION_CONNECT)
		return;
	stream = stream_of(streams, action->connect.channel, false);
	if (!stream)
		return;
	stream->open = true;
	stream->role = action->connect.role;
	stream_of(streams, action->connect.channel, true)->role = MR_ROLE_RETURN;
}

struct sim_streams *sim_streams_new(void)
{
	struct sim_streams *streams = calloc(1, sizeof(*streams));

	if (streams)
		streams->watch = (struct mr_watch){.argument = streams, .source = take_source, .line = take_line};
	return streams;
}

void sim_streams_free(struct sim_streams *streams)
{
	if (streams)
		drop_bytes(streams);
	free(streams);
}

const struct mr_watch *sim_streams_watch(struct sim_streams *streams)
{
	return &streams->watch;
}

uint32_t sim_streams_digest(const struct sim_streams *streams)
{
	return streams->digest;
}

/* ---- Judging ---- */

/* Rules that the streams of some releases break, and are taken all the same. */
static const struct {
	enum mr_rule rule;
	enum mr_switch by;
} known[] = {
	{MR_CMD_012, MR_SWITCH_DISCARD_EMPTY_RANGES},
	{MR_CMD_014, MR_SWITCH_DISCARD_TWICE},
	{MR_CMD_016, MR_SWITCH_POSTCOPY_TESTED_FIRST},
	{MR_RAM_020, MR_SWITCH_FLUSH_WITHOUT_MULTIFD},
	{MR_MFD_015, MR_SWITCH_PACKET_SIZE_STALE},
	{MR_MFD_020, MR_SWITCH_PACKET_DUPLICATE_PAGES},
	{MR_MFD_022, MR_SWITCH_SYNC_WITH_PAGES},
	{MR_MFD_023, MR_SWITCH_SYNC_WITH_PAGES},
	{MR_MFD_024, MR_SWITCH_SYNC_WITH_PAGES},
	{MR_MFD_025, MR_SWITCH_PACKET_LEFTOVERS},
	{MR_MFD_032, MR_SWITCH_FLUSH_AT_COMPLETION_MISSING},
};

struct judge {
	const struct mr_outgoing_config *source;
	bool completed;
	struct mr_finding first; /* that nothing excuses */
};

static void take_finding(void *argument, const struct mr_finding *finding)
{
	struct judge *judge = argument;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (finding->rule == known[i].rule && mr_profile_does(&judge->source->profile, known[i].by))
			return;
	if (!judge->first.rule)
		judge->first = *finding;
}

static bool is_main(const struct stream *stream)
{
	return stream->role == MR_ROLE_MAIN || stream->role == MR_ROLE_RECOVERY;
}

static bool is_recovered(const struct sim_streams *streams, uint32_t channel)
{
	for (uint32_t i = channel + 1; i < streams->count; i++)
		if (streams->forward[i].open && streams->forward[i].role == MR_ROLE_RECOVERY)
			return true;
	return false;
}

/* Broken, given up for the connection after it, or left where the migration ended. */
static bool is_cut(const struct stream *stream, const struct judge *judge, bool recovered)
{
	return stream->cut || !judge->completed || (recovered && stream->role != MR_ROLE_MULTIFD);
}

static bool judge_stream(const struct sim_streams *streams, struct judge *judge, struct mr_checker *checker,
			 struct mr_session *session, uint32_t channel, const struct stream *stream)
{
	const bool recovered = is_recovered(streams, channel), cut = is_cut(stream, judge, recovered);
	struct mr_decoder *decoder = calloc(1, sizeof(*decoder));
	const uint8_t *window = stream->bytes;
	size_t length = stream->length;
	struct mr_record record;
	enum mr_result result;

	if (!decoder)
		return false;
	/* what did not arrive is sent again; without a recovery it shows what the source had in mind */
	if (stream->cut && recovered && stream->arrived < length)
		length = (size_t)stream->arrived;
	mr_decoder_init(decoder, session, stream->role, channel);
	while ((result = mr_decode(decoder, window, length, !cut, &record)) == MR_RECORD) {
		mr_checker_record(checker, decoder, &record);
		window += record.length;
		length -= record.length;
	}
	if (result == MR_FAILED)
		take_finding(judge, &decoder->error);
	mr_checker_channel_end(checker, decoder, cut);
	free(decoder);
	return true;
}

static struct mr_session *open_session(const struct mr_sim *sim, struct judge *judge)
{
	const struct mr_outgoing_config *source = judge->source;
	const struct mr_context context = {
		.profile = source->profile,
		.capabilities_known = true,
		.capabilities = source->capabilities,
		.target_page_size = source->target_page_size,
		.multifd_channels = source->multifd_channels,
		.multifd_method = source->method ? source->method->flag : 0,
		.description = mr_sim_description(sim),
	};
	struct mr_session *session = calloc(1, sizeof(*session));

	if (session)
		mr_session_init(session, &context, take_finding, judge);
	return session;
}

/* The main channels name the blocks that the others refer to. */
static bool judge_all(const struct sim_streams *streams, struct judge *judge, struct mr_checker *checker,
		      struct mr_session *session)
{
	for (unsigned pass = 0; pass < 2; pass++)
		for (uint32_t i = 0; i < streams->count; i++)
			if (streams->forward[i].open && is_main(&streams->forward[i]) == (pass == 0) &&
			    !judge_stream(streams, judge, checker, session, i, &streams->forward[i]))
				return false;
	for (uint32_t i = 0; i < streams->count; i++)
		if (streams->backward[i].length &&
		    !judge_stream(streams, judge, checker, session, i, &streams->backward[i]))
			return false;
	mr_checker_finish(checker);
	return true;
}

static bool judge_session(const struct sim_streams *streams, struct judge *judge, const struct mr_sim *sim)
{
	struct mr_session *session = open_session(sim, judge);
	struct mr_checker *checker = session ? mr_checker_new(session) : NULL;
	const bool enough = checker && judge_all(streams, judge, checker, session);

	if (checker)
		mr_checker_free(checker);
	free(session);
	return enough;
}

enum sim_verdict sim_streams_judge(const struct sim_streams *streams, const struct mr_sim *sim,
				   const struct mr_sim_result *result, char *text, size_t text_size)
{
	struct judge judge = {
		.source = mr_sim_source_config(sim),
		.completed = result->outcome == MR_OUTCOME_COMPLETED,
	};
	char finding[512];

	if (streams->large)
		return SIM_STREAMS_LARGE;
	if (streams->failed || !judge_session(streams, &judge, sim))
		return SIM_STREAMS_FAILED;
	if (!judge.first.rule)
		return SIM_STREAMS_HOLD;
	mr_format_finding(finding, sizeof(finding), &judge.first);
	snprintf(text, text_size, "ch%u.%s %s", (unsigned)judge.first.channel, judge.first.backward ? "ret" : "fwd",
		 finding);
	return SIM_STREAMS_BREAK;
}
