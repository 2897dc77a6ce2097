/* source_return.c: the reader of the return path: what it is told, and what follows at once. */
#include "source.h"

static source_phase read_next, taken, request_taken, urgent_page, urgent_sent, parked;

/* ---- Endings ---- */

/* The message at `offset` is not one to go by. */
static void spoil(struct mr_outgoing *outgoing, uint64_t offset, enum mr_rule rule, struct mr_text expected,
		  struct mr_text found)
{
	struct mr_finding *error = &outgoing->return_error;

	*error = (struct mr_finding){.rule = rule,
				     .verdict = mr_rule_verdict(rule),
				     .channel = outgoing->main_channel,
				     .backward = true,
				     .offset = offset};
	memcpy(error->expected, expected.text, sizeof(error->expected));
	memcpy(error->found, found.text, sizeof(error->found));
	/* Whoever waits for a message waits in vain. */
	outgoing->return_bad = true;
}

/* The reader ends; once it took the whole connection with it. */
static enum outcome stop_reading(struct mr_outgoing *outgoing)
{
	if (source_does(outgoing, MR_SWITCH_RETURN_ERROR_CLOSES))
		mr_source_break(outgoing, outgoing->main_channel, FAULT_IO);
	return ENDED;
}

/* The connection ended: in postcopy it may come again. */
static enum outcome lose(struct mr_outgoing *outgoing, struct source_actor *actor)
{
	const struct mr_decoder *decoder = source_at(outgoing, outgoing->places.decoder);
	const struct connection *main = connection_at(outgoing, outgoing->main_channel);

	if (outgoing->in_postcopy && source_does(outgoing, MR_SWITCH_RETURN_ERROR_PAUSES)) {
		mr_source_break(outgoing, outgoing->main_channel, main->return_error);
		return mr_source_go(actor, parked);
	}
	spoil(outgoing, decoder->offset, MR_SRC_033, mr_text("SHUT before the connection ends"),
	      mr_text("the end, error %d", main->return_error));
	return stop_reading(outgoing);
}

/* Until the connection is made again: mr_source_listen(). */
static enum outcome parked(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)outgoing;
	(void)action;
	return mr_source_wait(actor, MR_SOURCE_WAIT_OPERATOR);
}

/* Nothing is left of what is over, so that sources are equal whatever they were asked last. */
static void forget_request(struct mr_outgoing *outgoing)
{
	outgoing->asked_block = 0;
	outgoing->asked_start = outgoing->asked_length = 0;
	outgoing->asked_at = outgoing->urgent_pages = 0;
	outgoing->returner.host_page = (struct host_page){0};
}

void mr_source_listen(struct mr_outgoing *outgoing)
{
	struct mr_decoder *decoder = source_at(outgoing, outgoing->places.decoder);
	const bool requested = decoder->requested;
	const uint32_t block = decoder->requested_block;

	mr_decoder_init(decoder, source_at(outgoing, outgoing->places.session), MR_ROLE_RETURN, outgoing->main_channel);
	/* The block that was named last is remembered from one connection to the next. */
	decoder->requested = requested;
	decoder->requested_block = block;
	outgoing->returner.depth = 0;
	outgoing->returner.phase = read_next;
	outgoing->returner.alive = true;
	outgoing->returner.ended = false;
	forget_request(outgoing);
	outgoing->return_bad = outgoing->shut_seen = false;
	outgoing->return_error = (struct mr_finding){0};
}

void mr_source_stop_listening(struct mr_outgoing *outgoing)
{
	outgoing->returner.depth = 0;
	outgoing->returner.phase = parked;
	forget_request(outgoing);
}

bool mr_source_is_deaf(const struct mr_outgoing *outgoing)
{
	return outgoing->return_bad || outgoing->shut_seen;
}

enum outcome mr_source_return_begin(struct mr_outgoing *outgoing, struct source_actor *actor,
				    struct mr_source_action *action)
{
	(void)action;
	mr_source_listen(outgoing);
	return mr_source_go(actor, read_next);
}

/* ---- Messages ---- */

/* The block that a message names; NO_BLOCK if this machine has none. */
static uint32_t find_block(const struct mr_outgoing *outgoing, struct mr_bytes name)
{
	for (uint32_t i = 0; i < outgoing->block_count; i++)
		if (mr_bytes_equal(source_name(source_block_at(outgoing, i)), name))
			return i;
	return NO_BLOCK;
}

static const struct mr_answering_block *answering(const struct mr_outgoing *outgoing, uint32_t index,
						  struct mr_answering_block *memory)
{
	const struct source_block *block;

	if (index == NO_BLOCK)
		return NULL;
	block = source_block_at(outgoing, index);
	*memory = (struct mr_answering_block){
		.used_length = block->used_length, .page_size = block->page_size, .ignored = block->ignored};
	return memory;
}

static bool is_urgent(const struct mr_outgoing *outgoing)
{
	return outgoing->urgent_served && outgoing->preempt_channel != NO_CONNECTION &&
	       connection_at(outgoing, outgoing->preempt_channel)->open &&
	       source_does(outgoing, MR_SWITCH_URGENT_BY_RETURN);
}

static enum mr_rule judge_request(struct mr_outgoing *outgoing, const struct mr_return_message *message, uint32_t block,
				  struct mr_refusal *why)
{
	struct mr_request_judge judge = {
		.profile = &outgoing->profile,
		.host_page_size = outgoing->config.host_page_size,
		.preempt = is_urgent(outgoing),
		.requests = outgoing->statistics.postcopy_requests,
	};
	struct mr_answering_block memory;
	const enum mr_rule rule = mr_request_check(&judge, answering(outgoing, block, &memory), message, why);

	outgoing->statistics.postcopy_requests = judge.requests;
	return rule;
}

static enum mr_rule judge_bitmap(struct mr_outgoing *outgoing, const struct mr_return_message *message, uint32_t index,
				 struct mr_refusal *why)
{
	const struct mr_reload reload = {
		.profile = &outgoing->profile,
		.target_page_size = source_page(outgoing),
		.recovering = outgoing->status == MR_SOURCE_STATUS_POSTCOPY_RECOVER,
	};
	struct mr_answering_block memory;
	struct source_block *block;
	enum mr_rule rule;

	if (index == NO_BLOCK)
		return mr_bitmap_reload(&reload, NULL, NULL, message, NULL, why);
	block = source_block_at(outgoing, index);
	rule = mr_bitmap_reload(&reload, answering(outgoing, index, &memory), &block->answered, message,
				dirty_of(outgoing, block), why);
	if (rule != MR_NO_RULE)
		return rule;
	mr_source_leave_out(outgoing, block, source_at(outgoing, block->unplugged));
	outgoing->bitmaps_missing -= outgoing->bitmaps_missing > 0;
	return MR_NO_RULE;
}

static void follow(struct mr_outgoing *outgoing, uint32_t answers, const struct mr_return_message *message)
{
	outgoing->pongs += (answers & MR_ANSWER_PONG) != 0;
	/* Of a package that is not out yet it says nothing. */
	if ((answers & MR_ANSWER_PACKAGE_LOADED) && outgoing->package_sent)
		outgoing->package_loaded = outgoing->handed_over = true;
	if (answers & MR_ANSWER_RESUMED)
		outgoing->resumed = true;
	outgoing->acks += (answers & MR_ANSWER_ACK) != 0;
	/* Whatever it says; what is not good is judged beside this. */
	if (message->type == MR_RETURN_SHUT)
		outgoing->shut_seen = true;
}

static enum mr_rule judge_other(struct mr_outgoing *outgoing, const struct mr_return_message *message,
				struct mr_refusal *why)
{
	const struct mr_answer_judge judge = {
		.profile = &outgoing->profile,
		.recovering = outgoing->status == MR_SOURCE_STATUS_POSTCOPY_RECOVER,
		.acks_due = outgoing->acks < outgoing->acks_wanted ? outgoing->acks_wanted - outgoing->acks : 0,
	};
	uint32_t answers = 0;
	const enum mr_rule rule = mr_answer_check(&judge, message, &answers, why);

	follow(outgoing, answers, message);
	return rule;
}

static enum mr_rule judge(struct mr_outgoing *outgoing, const struct mr_return_message *message, uint32_t block,
			  struct mr_refusal *why)
{
	switch (message->type) {
	case MR_RETURN_REQ_PAGES:
	case MR_RETURN_REQ_PAGES_ID:
		return judge_request(outgoing, message, block, why);
	case MR_RETURN_RECV_BITMAP:
		return judge_bitmap(outgoing, message, block, why);
	default:
		return judge_other(outgoing, message, why);
	}
}

static enum outcome take(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action,
			 const struct mr_record *record)
{
	const struct mr_return_message *message = &record->message;
	const uint32_t block = find_block(outgoing, message->block);
	const bool request = message->type == MR_RETURN_REQ_PAGES || message->type == MR_RETURN_REQ_PAGES_ID;
	struct mr_refusal why;
	const enum mr_rule rule = judge(outgoing, message, block, &why);

	actor->phase = taken;
	if (rule != MR_NO_RULE)
		spoil(outgoing, record->offset, rule, why.expected, why.found);
	else if (request) {
		outgoing->asked_block = block;
		outgoing->asked_start = message->start;
		outgoing->asked_length = message->page_length;
		actor->phase = request_taken;
	}
	action->message.channel = outgoing->main_channel;
	action->message.record = *message;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_RETURN);
}

static enum outcome taken(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)action;
	if (mr_source_is_deaf(outgoing))
		return stop_reading(outgoing);
	return mr_source_go(actor, read_next);
}

static enum outcome read_next(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	struct mr_decoder *decoder = source_at(outgoing, outgoing->places.decoder);
	struct connection *main = connection_at(outgoing, outgoing->main_channel);
	struct mr_record record;

	if (outgoing->queue.count == MR_OUTGOING_REQUESTS_MAX)
		return mr_source_wait(actor, MR_SOURCE_WAIT_ROOM);
	switch (mr_decode(decoder, main->window, main->length, main->at_end, &record)) {
	case MR_RECORD:
		main->window += record.length;
		main->length -= record.length;
		main->taken += record.length;
		return take(outgoing, actor, action, &record);
	case MR_MORE:
		actor->wants.channel = outgoing->main_channel;
		actor->wants.wanted = decoder->wanted;
		return mr_source_wait(actor, MR_SOURCE_WAIT_RETURN);
	case MR_FAILED:
		if (main->at_end && decoder->error.rule == MR_STR_026)
			return lose(outgoing, actor);
		spoil(outgoing, decoder->error.offset, decoder->error.rule, mr_text("%s", decoder->error.expected),
		      mr_text("%s", decoder->error.found));
		return stop_reading(outgoing);
	default:
		return lose(outgoing, actor);
	}
}

/* ---- Requests ---- */

static enum outcome tell_request(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action, bool sent)
{
	actor->phase = read_next;
	action->request.block = outgoing->asked_block;
	action->request.start = outgoing->asked_start;
	action->request.length = outgoing->asked_length;
	action->request.sent = sent;
	forget_request(outgoing);
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_REQUEST);
}

static enum outcome request_taken(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action)
{
	(void)action;
	outgoing->asked_at = outgoing->asked_start / source_page(outgoing);
	outgoing->urgent_pages = 0;
	if (is_urgent(outgoing))
		return mr_source_go(actor, urgent_page);
	/* There is room: nothing else fills the queue since it was looked at. */
	mr_request_queue_push(&outgoing->queue, outgoing->asked_block, outgoing->asked_start, outgoing->asked_length);
	forget_request(outgoing);
	outgoing->woken = true;
	return mr_source_go(actor, read_next);
}

/* The main channel is in the middle of this host page, and will finish it. Releases compare the place alone. */
static bool is_on_main(const struct mr_outgoing *outgoing, uint64_t page)
{
	const struct host_page *main = &outgoing->migration.host_page;
	const struct source_block *block = source_block_at(outgoing, outgoing->asked_block);
	const uint64_t first = page / block->host_pages * block->host_pages;

	return main->open && main->sent && first < main->end &&
	       main->end <= first + source_block_at(outgoing, main->block)->host_pages;
}

/* From 8.0 on the reader sends what was asked for by itself, on the preempt channel. */
static enum outcome urgent_page(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	const struct source_block *block = source_block_at(outgoing, outgoing->asked_block);
	const uint64_t end = (outgoing->asked_start + outgoing->asked_length) / source_page(outgoing);

	if (block->ignored || outgoing->asked_at >= end)
		return tell_request(outgoing, actor, action, outgoing->urgent_pages != 0);
	if (is_on_main(outgoing, outgoing->asked_at)) {
		outgoing->asked_at += block->host_pages;
		return ON;
	}
	mr_source_open_host_page(outgoing, actor, outgoing->asked_block, outgoing->asked_at);
	actor->host_page.channel = RAM_PREEMPT;
	actor->host_page.requested = true;
	return mr_source_call(actor, mr_source_send_host_page, urgent_sent);
}

static enum outcome urgent_sent(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	struct scan *scan = &outgoing->scan;
	const struct host_page *page = &actor->host_page;

	(void)action;
	outgoing->asked_at = page->end;
	outgoing->urgent_pages += page->sent;
	if (page->sent && !scan->hinted && source_does(outgoing, MR_SWITCH_PREEMPT_HINT)) {
		scan->hinted = true;
		scan->hint_block = page->block;
		scan->hint_page = page->end;
	}
	actor->host_page = (struct host_page){0};
	return mr_source_go(actor, urgent_page);
}
