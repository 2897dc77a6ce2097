/*
 * check.c: the checker's frame: channels and their ends, which part looks at which record, how findings are reported.
 */
#include "check.h"

#include <stdlib.h>

/* ---- Reports ---- */

void mr_report_as(const struct mr_checker *checker, struct mr_place place, enum mr_verdict verdict, enum mr_rule rule,
		  struct mr_text expected, struct mr_text found)
{
	const struct mr_session *session = checker->session;
	struct mr_finding finding = {
		.rule = rule,
		.verdict = verdict,
		.channel = place.channel,
		.backward = place.backward,
		.offset = place.offset,
	};

	memcpy(finding.expected, expected.text, sizeof(finding.expected));
	memcpy(finding.found, found.text, sizeof(finding.found));
	if (session->report)
		session->report(session->report_argument, &finding);
}

void mr_report(const struct mr_checker *checker, struct mr_place place, enum mr_rule rule, struct mr_text expected,
	       struct mr_text found)
{
	mr_report_as(checker, place, mr_rule_verdict(rule), rule, expected, found);
}

void mr_report_limit(const struct mr_checker *checker, struct mr_place place, bool *said, const char *what)
{
	if (!*said)
		mr_report_as(checker, place, MR_ACCEPTABLE, MR_STR_027, mr_text("what a checker has room for"),
			     mr_text("more: %s not judged from here on", what));
	*said = true;
}

uint8_t *mr_check_scratch(struct mr_checker *checker, struct mr_place place)
{
	if (!checker->scratch && !checker->no_scratch)
		checker->scratch = malloc(MR_PACKET_DATA_SIZE);
	if (!checker->scratch)
		mr_report_limit(checker, place, &checker->no_scratch, "compressed pages are");
	return checker->scratch;
}

/* ---- Channels ---- */

struct mr_checker *mr_checker_new(struct mr_session *session)
{
	struct mr_checker *checker = calloc(1, sizeof(*checker));

	if (!checker)
		return NULL;
	checker->session = session;
	checker->handler_ids.with_values = true;
	checker->handler_names.with_values = true;
	return checker;
}

static void free_channel(struct mr_check_channel *channel)
{
	if (channel->sender.method)
		channel->sender.method->recv_cleanup(channel->sender.state);
	free(channel->names.names);
}

void mr_checker_free(struct mr_checker *checker)
{
	if (!checker)
		return;
	for (uint32_t i = 0; i < checker->channel_count; i++)
		free_channel(&checker->channels[i]);
	for (uint32_t i = 0; i < checker->block_limit; i++)
		free(checker->blocks[i].sent);
	mr_table_free(&checker->handler_ids);
	mr_table_free(&checker->handler_names);
	mr_table_free(&checker->packet_numbers);
	mr_table_free(&checker->interval_pages);
	mr_check_devices_free(checker);
	free(checker->handlers);
	free(checker->channels);
	free(checker->scratch);
	free(checker);
}

static bool is_main(enum mr_role role)
{
	return role == MR_ROLE_MAIN || role == MR_ROLE_RECOVERY;
}

const struct mr_check_channel *mr_check_forward(const struct mr_checker *checker, uint32_t channel)
{
	for (uint32_t i = 0; i < checker->channel_count; i++) {
		const struct mr_check_channel *other = &checker->channels[i];

		if (other->channel == channel && is_main(other->role))
			return other;
	}
	return NULL;
}

/* How many channels were before that a main channel or a preempt channel follows on. */
static uint32_t count_earlier(const struct mr_checker *checker, enum mr_role role)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < checker->channel_count; i++) {
		const enum mr_role other = checker->channels[i].role;

		if (other == role || (is_main(role) && is_main(other)))
			count++;
	}
	return count;
}

/* A recovery goes on where postcopy was cut, whether or not that was given. */
static void begin_recovery(struct mr_checker *checker)
{
	struct mr_check_main *main = &checker->main;

	main->return_path = true;
	main->advised = true;
	main->listening = true;
	main->running = true;
	main->named_page_due = false;
	main->package.open = false;
	mr_check_pages_again(checker);
}

static void begin_channel(struct mr_checker *checker, struct mr_check_channel *channel)
{
	channel->generation = count_earlier(checker, channel->role);
	if (channel->role == MR_ROLE_MAIN && channel->generation) {
		mr_report(checker, mr_place_at(channel, 0), MR_CHN_002, mr_text("one main channel"),
			  mr_text("another one"));
		channel->surplus = true;
	} else if (is_main(channel->role)) {
		checker->main.given = true;
	}
	if (channel->role == MR_ROLE_RECOVERY)
		begin_recovery(checker);
	if (channel->role == MR_ROLE_MULTIFD)
		checker->multifd_count++;
}

static bool grow_channels(struct mr_checker *checker)
{
	const uint32_t capacity = checker->channel_capacity ? 2 * checker->channel_capacity : 16;
	struct mr_check_channel *channels;

	if (checker->channel_count < checker->channel_capacity)
		return true;
	if (capacity > MR_CHECK_CHANNELS_MAX)
		return false;
	channels = realloc(checker->channels, capacity * sizeof(*channels));
	if (!channels)
		return false;
	checker->channels = channels;
	checker->channel_capacity = capacity;
	return true;
}

/* NULL if it is one too many. */
static struct mr_check_channel *find_channel(struct mr_checker *checker, const struct mr_decoder *decoder)
{
	const bool backward = decoder->role == MR_ROLE_RETURN;
	struct mr_check_channel channel = {.channel = decoder->channel, .role = decoder->role};

	for (uint32_t i = 0; i < checker->channel_count; i++) {
		const uint32_t at = (checker->channel_last + i) % checker->channel_count;
		struct mr_check_channel *other = &checker->channels[at];

		if (other->channel == decoder->channel && (other->role == MR_ROLE_RETURN) == backward) {
			checker->channel_last = at;
			return other;
		}
	}
	if (checker->no_channels || !grow_channels(checker)) {
		mr_report_limit(checker, mr_place_at(&channel, 0), &checker->no_channels, "further channels are");
		return NULL;
	}
	begin_channel(checker, &channel);
	checker->channels[checker->channel_count] = channel;
	checker->channel_last = checker->channel_count++;
	return &checker->channels[checker->channel_last];
}

/* ---- Records ---- */

static void check_recovery_start(struct mr_checker *checker, struct mr_check_channel *channel,
				 const struct mr_record *record)
{
	const uint16_t number = record->kind == MR_COMMAND ? record->command.number : 0;

	mr_check_forget_ends(checker);
	if (number != MR_COMMAND_RECV_BITMAP && number != MR_COMMAND_POSTCOPY_RESUME)
		mr_report(checker, mr_place_at(channel, record->offset), MR_STR_028,
			  mr_text("RECV_BITMAP or RESUME first"),
			  mr_text("%s",
				  record->kind == MR_COMMAND ? mr_command_name(number) : mr_kind_name(record->kind)));
}

static void check_main_record(struct mr_checker *checker, struct mr_check_channel *channel,
			      const struct mr_decoder *decoder, const struct mr_record *record)
{
	if (channel->role == MR_ROLE_RECOVERY && record->offset == 0)
		check_recovery_start(checker, channel, record);
	if (record->kind == MR_COLO_MESSAGE) {
		checker->main.colo = true;
		mr_check_colo(checker, channel, record);
	}
	/* COLO's checkpoints repeat sections and pages at will */
	if (checker->main.colo)
		return;
	mr_check_package(checker, channel, record);
	mr_check_device(checker, channel, decoder, record);
	switch (record->kind) {
	case MR_CONFIGURATION_SUBSECTION:
		if (record->subsection.which == MR_SUBSECTION_UUID)
			mr_check_uuid(checker, mr_place_at(channel, record->offset), record->subsection.uuid);
		break;
	case MR_SECTION_START:
	case MR_SECTION_PART:
	case MR_SECTION_END:
	case MR_SECTION_FULL:
		mr_check_section(checker, channel, record);
		break;
	case MR_COMMAND:
		mr_check_command(checker, channel, record);
		break;
	case MR_EOF:
		mr_check_eof(checker, channel, record);
		break;
	case MR_VMDESCRIPTION:
		checker->main.described = true;
		break;
	default:
		mr_check_ram(checker, channel, record);
		break;
	}
}

void mr_checker_record(struct mr_checker *checker, const struct mr_decoder *decoder, const struct mr_record *record)
{
	struct mr_check_channel *channel = find_channel(checker, decoder);

	if (!channel || channel->surplus)
		return;
	switch (channel->role) {
	case MR_ROLE_MAIN:
	case MR_ROLE_RECOVERY:
		check_main_record(checker, channel, decoder, record);
		break;
	case MR_ROLE_PREEMPT:
		mr_check_ram(checker, channel, record);
		break;
	case MR_ROLE_MULTIFD:
		mr_check_multifd(checker, channel, record);
		break;
	case MR_ROLE_RETURN:
		if (record->kind == MR_COLO_MESSAGE)
			mr_check_colo(checker, channel, record);
		else
			mr_check_message(checker, channel, record);
		break;
	case MR_ROLE_COUNT:
		break;
	}
}

/* ---- Ends ---- */

/* A main channel that ended by itself. */
static void end_main(struct mr_checker *checker, struct mr_check_channel *channel, uint64_t offset)
{
	const struct mr_check_main *main = &checker->main;

	mr_check_package_end(checker, channel);
	if (channel->complete && !main->listening && !main->described && !main->colo)
		mr_report(checker, mr_place_at(channel, offset), MR_STR_020,
			  mr_text("a description behind the end mark"), mr_text("the end of the stream"));
}

void mr_checker_channel_end(struct mr_checker *checker, const struct mr_decoder *decoder, bool cut)
{
	struct mr_check_channel *channel = find_channel(checker, decoder);

	if (!channel || channel->surplus || channel->ended)
		return;
	channel->ended = true;
	/* what a decoder gave up on owes nothing more either */
	channel->cut = cut || decoder->failed;
	if (channel->cut)
		return;
	if (is_main(channel->role))
		end_main(checker, channel, decoder->offset);
	if (is_main(channel->role) || channel->role == MR_ROLE_PREEMPT)
		mr_check_host_page_end(checker, channel);
}

/* A main channel that came to its end cannot be recovered. */
static void check_recoveries(const struct mr_checker *checker)
{
	const struct mr_check_channel *previous = NULL;

	for (uint32_t i = 0; i < checker->channel_count; i++) {
		const struct mr_check_channel *channel = &checker->channels[i];

		if (!is_main(channel->role) || channel->surplus)
			continue;
		if (previous && previous->complete && previous->ended && !previous->cut)
			mr_report(checker, mr_place_at(channel, 0), MR_CHN_002,
				  mr_text("a main channel that was cut before"),
				  mr_text("channel %u came to its end", (unsigned)previous->channel));
		previous = channel;
	}
}

void mr_checker_finish(struct mr_checker *checker)
{
	check_recoveries(checker);
	mr_check_pages_finish(checker);
	mr_check_barriers(checker);
	mr_check_answers_finish(checker);
}
