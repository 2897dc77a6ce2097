/* messages.c: whether the return path answers what the main channel asked, and asks when it may. */
#include "check.h"

#include <inttypes.h>

/* ---- PING and PONG ---- */

static struct mr_check_value *find_value(struct mr_checker *checker, uint32_t value)
{
	for (uint32_t i = 0; i < checker->value_count; i++)
		if (checker->values[i].value == value)
			return &checker->values[i];
	if (checker->value_count == MR_CHECK_VALUES_MAX)
		return NULL;
	checker->values[checker->value_count] = (struct mr_check_value){.value = value};
	return &checker->values[checker->value_count++];
}

void mr_check_ping(struct mr_checker *checker, struct mr_place place, uint32_t value, bool pong)
{
	struct mr_check_value *entry = checker->no_values ? NULL : find_value(checker, value);

	if (!entry) {
		mr_report_limit(checker, place, &checker->no_values, "answers to PING are");
		return;
	}
	if (pong) {
		entry->pongs++;
		entry->pong = place;
	} else {
		entry->pings++;
		entry->ping = place;
	}
}

/* Whether a return path ended well and no connection was lost, so that every answer must have come. */
static bool answers_are_whole(const struct mr_checker *checker)
{
	bool shut = false;

	for (uint32_t i = 0; i < checker->channel_count; i++) {
		const struct mr_check_channel *channel = &checker->channels[i];

		if (channel->role == MR_ROLE_RECOVERY)
			return false;
		if (channel->role == MR_ROLE_RETURN && channel->answers.shut_good)
			shut = true;
	}
	return shut;
}

static void check_pongs(struct mr_checker *checker)
{
	const bool whole = answers_are_whole(checker);

	if (checker->no_values || !checker->main.given)
		return;
	for (uint32_t i = 0; i < checker->value_count; i++) {
		const struct mr_check_value *value = &checker->values[i];

		if (value->pongs > value->pings)
			mr_report(checker, value->pong, MR_RP_005,
				  mr_text("%" PRIu64 " PONG 0x%" PRIx32, value->pings, value->value),
				  mr_text("%" PRIu64, value->pongs));
		else if (whole && value->pongs < value->pings)
			mr_report_as(checker, value->ping, MR_ACCEPTABLE, MR_RP_005,
				     mr_text("%" PRIu64 " PONG 0x%" PRIx32, value->pings, value->value),
				     mr_text("%" PRIu64, value->pongs));
	}
}

/* ---- Messages ---- */

static void note_request(struct mr_check_answers *answers, uint64_t offset)
{
	if (!answers->requested)
		answers->request = offset;
	answers->requested = true;
	if (!answers->acknowledged && !answers->requested_early) {
		answers->early = offset;
		answers->requested_early = true;
	}
}

void mr_check_message(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record)
{
	const struct mr_place place = mr_place_at(channel, record->offset);
	const struct mr_return_message *message = &record->message;
	struct mr_check_answers *answers = &channel->answers;

	if (record->kind != MR_RETURN_MESSAGE)
		return;
	if (answers->shut)
		mr_report(checker, place, MR_RP_004, mr_text("nothing behind SHUT"),
			  mr_text("%s", mr_return_name(message->type)));
	switch (message->type) {
	case MR_RETURN_SHUT:
		answers->shut = true;
		answers->shut_good = message->value == 0;
		break;
	case MR_RETURN_PONG:
		mr_check_ping(checker, place, message->value, true);
		break;
	case MR_RETURN_REQ_PAGES:
	case MR_RETURN_REQ_PAGES_ID:
		note_request(answers, record->offset);
		break;
	case MR_RETURN_RECV_BITMAP:
		mr_check_name(channel, message->block, record->offset);
		break;
	case MR_RETURN_RESUME_ACK:
		answers->acknowledged++;
		answers->acknowledgement = record->offset;
		break;
	default:
		break;
	}
}

/* ---- What belongs together ---- */

static void check_requests(const struct mr_checker *checker, const struct mr_check_channel *channel,
			   const struct mr_check_channel *forward)
{
	const struct mr_check_answers *answers = &channel->answers;

	if (forward->role == MR_ROLE_RECOVERY && answers->requested_early)
		mr_report(checker, mr_place_at(channel, answers->early), MR_RP_009,
			  mr_text("RESUME_ACK before pages are requested"), mr_text("none"));
	else if (answers->requested && !checker->main.listening)
		mr_report(checker, mr_place_at(channel, answers->request), MR_RP_009,
			  mr_text("LISTEN before pages are requested"), mr_text("none"));
}

/* The bitmaps come in the order in which they were asked for; the last ones may be missing. */
static void check_bitmaps(const struct mr_checker *checker, const struct mr_check_channel *channel,
			  const struct mr_check_channel *forward)
{
	const struct mr_check_names *asked = &forward->names, *given = &channel->names;

	if (asked->incomplete || given->incomplete) {
		bool said = false;

		mr_report_limit(checker, mr_place_at(channel, 0), &said, "received bitmaps are");
		return;
	}
	for (uint32_t i = 0; i < given->count; i++) {
		if (i < asked->count && asked->names[i].hash == given->names[i].hash)
			continue;
		mr_report(checker, mr_place_at(channel, given->names[i].offset), MR_RP_015,
			  mr_text("the bitmap that RECV_BITMAP number %" PRIu32 " asks for", i + 1),
			  mr_text("%s", i < asked->count ? "that of another block" : "one that nobody asked for"));
		return;
	}
}

static void check_answers(const struct mr_checker *checker, const struct mr_check_channel *channel,
			  const struct mr_check_channel *forward)
{
	const struct mr_check_answers *answers = &channel->answers;
	const bool recovery = forward->role == MR_ROLE_RECOVERY;
	bool said = false;

	if (channel->names.incomplete || forward->names.incomplete)
		mr_report_limit(checker, mr_place_at(channel, 0), &said, "received bitmaps are");
	else if (!recovery && channel->names.count)
		mr_report(checker, mr_place_at(channel, channel->names.names[0].offset), MR_RP_015,
			  mr_text("RECV_BITMAP on a recovery connection"), mr_text("on the first one"));
	else if (recovery)
		check_bitmaps(checker, channel, forward);
	if (!recovery && answers->acknowledged)
		mr_report(checker, mr_place_at(channel, answers->acknowledgement), MR_RP_015,
			  mr_text("RESUME_ACK on a recovery connection"), mr_text("on the first one"));
	else if (answers->acknowledged > forward->resumes)
		mr_report(checker, mr_place_at(channel, answers->acknowledgement), MR_RP_015,
			  mr_text("%" PRIu32 " RESUME_ACK, one for each RESUME", forward->resumes),
			  mr_text("%" PRIu32, answers->acknowledged));
}

void mr_check_answers_finish(struct mr_checker *checker)
{
	check_pongs(checker);
	for (uint32_t i = 0; i < checker->channel_count; i++) {
		const struct mr_check_channel *channel = &checker->channels[i];
		const struct mr_check_channel *forward = NULL;

		if (channel->role == MR_ROLE_RETURN)
			forward = mr_check_forward(checker, channel->channel);
		if (!forward || forward->surplus)
			continue;
		check_requests(checker, channel, forward);
		check_answers(checker, channel, forward);
	}
}

/* ---- COLO ---- */

void mr_check_colo(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record)
{
	/* requests and states go to the destination; ready, reply, received and loaded come back */
	static const bool is_backward[] = {true, false, true, false, false, true, true};
	const bool backward = channel->role == MR_ROLE_RETURN;
	const uint32_t message = record->colo.message;

	if (message < sizeof(is_backward) && is_backward[message] != backward)
		mr_report(checker, mr_place_at(channel, record->offset), MR_COL_002,
			  mr_text("a message of the %s", backward ? "destination" : "source"),
			  mr_text("%" PRIu32, message));
}
