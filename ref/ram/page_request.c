/* page_request.c: page requests that wait, and the judgements of what the return path says (rules SRC-025 to SRC-034).
 */
#include "ram/page_request.h"

#include <inttypes.h>

enum {
	SHUT_GOOD = 0,
	RESUME_GOOD = 1,
	PONG_PACKAGE_LOADED = 0x42,
};

static const uint64_t bitmap_end_mark = UINT64_C(0x0123456789abcdef);

static enum mr_rule refuse(struct mr_refusal *why, enum mr_rule rule, struct mr_text expected, struct mr_text found)
{
	*why = (struct mr_refusal){expected, found};
	return rule;
}

/* The block's name, or that there is none. */
static struct mr_text text_of_block(const struct mr_return_message *message)
{
	return message->block.length ? mr_text_name(message->block) : mr_text("no name");
}

/* ---- Judging requests ---- */

static struct mr_text text_of_range(const struct mr_return_message *message)
{
	return mr_text("0x%" PRIx32 " bytes at 0x%" PRIx64, message->page_length, message->start);
}

/* An empty request gives one page, so that page has to be there. */
static bool is_within(const struct mr_request_judge *judge, const struct mr_answering_block *block,
		      const struct mr_return_message *message)
{
	const uint64_t start = message->start, used = block->used_length;

	if (message->page_length == 0)
		return start < used && (start > 0 || judge->profile->on[MR_SWITCH_REQUEST_EMPTY_AT_START]);
	return start < used && message->page_length <= used - start;
}

enum mr_rule mr_request_check(struct mr_request_judge *judge, const struct mr_answering_block *block,
			      const struct mr_return_message *message, struct mr_refusal *why)
{
	const uint32_t host_page = judge->host_page_size;
	const bool urgent = judge->preempt && judge->profile->on[MR_SWITCH_URGENT_BY_RETURN];

	if (message->start % host_page != 0 || message->page_length % host_page != 0)
		return refuse(why, MR_SRC_025, mr_text("multiples of 0x%" PRIx32 " bytes", host_page),
			      text_of_range(message));
	judge->requests++;
	if (!block)
		return refuse(why, MR_SRC_026, mr_text("a block of this machine"), text_of_block(message));
	if (!is_within(judge, block, message))
		return refuse(why, MR_SRC_027, mr_text("a page within 0x%" PRIx64 " bytes", block->used_length),
			      text_of_range(message));
	if (urgent && message->page_length % block->page_size != 0)
		return refuse(why, MR_SRC_025, mr_text("a multiple of 0x%" PRIx64 " bytes", block->page_size),
			      text_of_range(message));
	return MR_NO_RULE;
}

/* ---- Requests that wait ---- */

void mr_request_queue_init(struct mr_request_queue *queue, uint32_t target_page_size)
{
	queue->target_page_size = target_page_size;
	queue->first = queue->count = 0;
}

bool mr_request_queue_push(struct mr_request_queue *queue, uint32_t block, uint64_t start, uint64_t length)
{
	const uint64_t page_size = queue->target_page_size;
	const uint64_t last = start + (length ? length - 1 : 0);

	if (queue->count == MR_OUTGOING_REQUESTS_MAX)
		return false;
	queue->ring[(queue->first + queue->count) % MR_OUTGOING_REQUESTS_MAX] = (struct mr_page_request){
		.block = block,
		.start = start,
		.length = length,
		.page = start / page_size,
		.end = last / page_size + 1,
	};
	queue->count++;
	return true;
}

void mr_request_queue_keep(struct mr_request_queue *queue)
{
	if (queue->count == MR_OUTGOING_REQUESTS_MAX) {
		queue->count = 0;
	} else if (queue->count && queue->ring[queue->first].sent) {
		queue->first = (queue->first + 1) % MR_OUTGOING_REQUESTS_MAX;
		queue->count--;
	}
}

bool mr_request_queue_waits(const struct mr_request_queue *queue)
{
	const struct mr_page_request *first = &queue->ring[queue->first];

	return queue->count > 1 || (queue->count == 1 && first->page < first->end);
}

enum mr_request_turn mr_request_queue_next(struct mr_request_queue *queue, mr_next_dirty *next_dirty, void *argument,
					   struct mr_page_request *request, uint64_t *page)
{
	struct mr_page_request *first = &queue->ring[queue->first];

	if (queue->count == 0)
		return MR_REQUEST_NONE;
	*page = next_dirty(argument, first->block, first->page, first->end);
	if (*page >= first->end) {
		*request = *first;
		queue->first = (queue->first + 1) % MR_OUTGOING_REQUESTS_MAX;
		queue->count--;
		return MR_REQUEST_OVER;
	}
	first->page = *page + 1;
	first->sent = true;
	*request = *first;
	return MR_REQUEST_PAGE;
}

/* ---- Received bitmaps ---- */

static bool is_known(const struct mr_profile *profile, unsigned type)
{
	switch (type) {
	case MR_RETURN_RECV_BITMAP:
	case MR_RETURN_RESUME_ACK:
		return profile->on[MR_SWITCH_RETURN_RECOVERY];
	case MR_RETURN_SWITCHOVER_ACK:
		return profile->on[MR_SWITCH_RETURN_SWITCHOVER_ACK];
	default:
		return true;
	}
}

static enum mr_rule refuse_unknown(const struct mr_return_message *message, struct mr_refusal *why)
{
	return refuse(why, MR_SRC_033, mr_text("a message that the release knows"),
		      mr_text("%s", mr_return_name(message->type)));
}

static enum mr_rule check_bitmap(const struct mr_reload *reload, const struct mr_answering_block *block,
				 const bool *answered, const struct mr_return_message *message, struct mr_refusal *why)
{
	uint64_t size;

	if (!is_known(reload->profile, message->type))
		return refuse_unknown(message, why);
	if (!reload->recovering)
		return refuse(why, MR_SRC_031, mr_text("RECV_BITMAP in a recovery"), mr_text("one in another status"));
	if (!block || block->ignored)
		return refuse(why, MR_SRC_031, mr_text("a block that was asked for"), text_of_block(message));
	if (*answered)
		return refuse(why, MR_SRC_031, mr_text("one answer for each block"), text_of_block(message));
	size = mr_received_bitmap_size(block->used_length / reload->target_page_size);
	if (message->bitmap_size != size || message->bitmap.length != size)
		return refuse(why, MR_SRC_032, mr_text("a bitmap of %" PRIu64 " bytes", size),
			      mr_text("%" PRIu64, message->bitmap_size));
	if (message->end_mark != bitmap_end_mark)
		return refuse(why, MR_SRC_032, mr_text("0x%016" PRIx64, bitmap_end_mark),
			      mr_text("0x%016" PRIx64, message->end_mark));
	return MR_NO_RULE;
}

enum mr_rule mr_bitmap_reload(const struct mr_reload *reload, const struct mr_answering_block *block, bool *answered,
			      const struct mr_return_message *message, uint64_t *dirty, struct mr_refusal *why)
{
	const enum mr_rule rule = check_bitmap(reload, block, answered, message, why);
	uint64_t pages, words;

	if (rule != MR_NO_RULE)
		return rule;
	pages = block->used_length / reload->target_page_size;
	words = mr_bitmap_words(pages);
	mr_received_bitmap_decode(dirty, pages, message->bitmap);
	for (uint64_t word = 0; word < words; word++)
		dirty[word] = ~dirty[word];
	mr_bitmap_clear(dirty, pages, words * 64 - pages);
	*answered = true;
	return MR_NO_RULE;
}

/* ---- The other messages ---- */

/* What a good message brings about. */
static uint32_t answers_of(const struct mr_answer_judge *judge, const struct mr_return_message *message)
{
	const bool loaded = message->value == PONG_PACKAGE_LOADED && judge->profile->on[MR_SWITCH_PING_PACKAGE_LOADED];

	switch (message->type) {
	case MR_RETURN_SHUT:
		return MR_ANSWER_SHUT;
	case MR_RETURN_PONG:
		return loaded ? MR_ANSWER_PONG | MR_ANSWER_PACKAGE_LOADED : MR_ANSWER_PONG;
	case MR_RETURN_RESUME_ACK:
		return judge->recovering ? MR_ANSWER_RESUMED : MR_ANSWER_NONE;
	default:
		return judge->acks_due ? MR_ANSWER_ACK : MR_ANSWER_NONE;
	}
}

enum mr_rule mr_answer_check(const struct mr_answer_judge *judge, const struct mr_return_message *message,
			     uint32_t *answers, struct mr_refusal *why)
{
	const uint32_t good = message->type == MR_RETURN_RESUME_ACK ? RESUME_GOOD : SHUT_GOOD;

	*answers = MR_ANSWER_NONE;
	if (!is_known(judge->profile, message->type))
		return refuse_unknown(message, why);
	if (message->type == MR_RETURN_SWITCHOVER_ACK && judge->acks_due == 0 &&
	    judge->profile->on[MR_SWITCH_SWITCHOVER_ACK_COUNTED])
		return refuse(why, MR_SRC_034, mr_text("a SWITCHOVER_ACK that is waited for"), mr_text("one more"));
	if ((message->type == MR_RETURN_SHUT || message->type == MR_RETURN_RESUME_ACK) && message->value != good)
		return refuse(why, MR_SRC_033, mr_text("%s %" PRIu32, mr_return_name(message->type), good),
			      mr_text("%" PRIu32, message->value));
	*answers = answers_of(judge, message);
	return MR_NO_RULE;
}
