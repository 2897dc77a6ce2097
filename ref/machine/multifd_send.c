/* multifd_send.c: the queue of pages, the senders that make packets of them, and the SYNC that all of them write. */
#include "multifd_send.h"

#include "wire/method.h"
#include "wire/wire.h"

#include <string.h>

enum {
	MULTIFD_VERSION = 1,
	CHANNELS_DEFAULT = 2,
	PAGE_SIZE_DEFAULT = 4096,
	UUID_SIZE = 16,
	INITIAL_SIZE = 64,
	INITIAL_RESERVED = 39,
	PACKET_RESERVED = 28,
	PACKET_NAME_SIZE = 256,
	PACKET_BLOCK_SIZE = 320, /* without offsets */
	OFFSET_SIZE = 8,
	NO_CHANNEL = UINT32_MAX,
	NO_BLOCK = UINT32_MAX,
};

/* Pages of one block, in the order in which they were queued. */
struct batch {
	uint32_t block, count;
	const char *name; /* of the block */
	uint64_t *offsets;
};

struct sender {
	struct batch batch; /* of its job; empty: the job is a packet without pages */
	uint32_t jobs;
	bool sync;       /* SYNC is asked for and not written */
	uint64_t number; /* of its next packet, where the migration thread numbers them: only one fits in */
	uint32_t size;   /* of the payload before */
	void *stream;    /* of the method */
	/* The part of a packet's block that is only written over, and so keeps what it held in packets before. */
	uint8_t name[PACKET_NAME_SIZE];
	uint8_t *offsets;
};

/* The last page of a full packet, which comes again if its sender is too fast. */
struct repeat {
	bool pending;
	uint32_t channel, block;
	const char *name;
	uint64_t offset;
};

struct mr_multifd_send {
	const struct mr_outgoing_config *config;
	const struct mr_profile *profile;
	struct mr_outgoing_statistics *statistics;
	const struct mr_multifd_method *method;
	bool finds_zeros;
	uint32_t page_size, packet_pages;
	size_t head_size;
	uint32_t channels, next_channel;
	uint64_t next_number;
	bool syncing;     /* SYNC was asked for */
	bool packet_over; /* the queue makes a packet, though it is not full */
	struct batch queue;
	struct repeat repeat;
	struct sender *senders;
	uint8_t initial[INITIAL_SIZE];
	uint8_t *head, *payload; /* of the packet made last */
};

static const uint8_t zeros[INITIAL_RESERVED];

static bool does(const struct mr_multifd_send *send, enum mr_switch which)
{
	return send->profile->on[which];
}

/* ---- Configuration ---- */

static uint32_t channels_of(const struct mr_outgoing_config *config)
{
	return config->multifd_channels ? config->multifd_channels : CHANNELS_DEFAULT;
}

static uint32_t page_size_of(const struct mr_outgoing_config *config)
{
	return config->target_page_size ? config->target_page_size : PAGE_SIZE_DEFAULT;
}

static const struct mr_multifd_method *method_of(const struct mr_outgoing_config *config)
{
	return config->method ? config->method : &mr_method_none;
}

/* Raw pages have no level. */
static int level_of(const struct mr_outgoing_config *config)
{
	const struct mr_multifd_method *method = method_of(config);

	return method->flag == 0 || config->method_level == INT32_MIN ? method->level_default : config->method_level;
}

static size_t head_size(uint32_t packet_pages)
{
	return PACKET_BLOCK_SIZE + (size_t)packet_pages * OFFSET_SIZE;
}

bool mr_multifd_send_finds_zeros(const struct mr_outgoing_config *config, const struct mr_profile *profile)
{
	if (!profile->on[MR_SWITCH_PACKET_ZERO_PAGES])
		return false;
	if (config->zero_detection == MR_ZERO_BY_RELEASE)
		return profile->on[MR_SWITCH_ZERO_PAGES_ON_MULTIFD];
	return config->zero_detection == MR_ZERO_MULTIFD;
}

size_t mr_multifd_send_size(const struct mr_outgoing_config *config)
{
	const struct mr_multifd_method *method = method_of(config);
	const size_t channels = channels_of(config), page_size = page_size_of(config);
	size_t batch;

	if (channels > MR_OUTGOING_MULTIFD_MAX || !mr_method_page_size_ok(page_size) ||
	    level_of(config) < method->level_min || level_of(config) > method->level_max)
		return 0;
	batch = MR_PACKET_DATA_SIZE / page_size * sizeof(uint64_t);
	return sizeof(struct mr_multifd_send) + channels * sizeof(struct sender) +
	       batch * (1 + channels) /* of the queue and the senders */ + batch * channels /* in their blocks */ +
	       head_size((uint32_t)(MR_PACKET_DATA_SIZE / page_size)) + mr_multifd_payload_bound();
}

static void *take(uint8_t **memory, size_t size)
{
	uint8_t *taken = *memory;

	*memory += size;
	return taken;
}

/* Whatever holds numbers comes first. */
static void lay_out(struct mr_multifd_send *send, uint8_t *memory)
{
	const size_t batch = send->packet_pages * sizeof(uint64_t);

	send->senders = take(&memory, send->channels * sizeof(struct sender));
	send->queue.offsets = take(&memory, batch);
	for (uint32_t i = 0; i < send->channels; i++)
		send->senders[i].batch.offsets = take(&memory, batch);
	for (uint32_t i = 0; i < send->channels; i++)
		send->senders[i].offsets = take(&memory, batch);
	send->head = take(&memory, send->head_size);
	send->payload = memory;
}

struct mr_multifd_send *mr_multifd_send_init(void *memory, const struct mr_outgoing_config *config,
					     const struct mr_profile *profile,
					     struct mr_outgoing_statistics *statistics)
{
	struct mr_multifd_send *send = memory;

	send->config = config;
	send->profile = profile;
	send->statistics = statistics;
	send->method = method_of(config);
	send->finds_zeros = mr_multifd_send_finds_zeros(config, profile);
	send->page_size = page_size_of(config);
	send->packet_pages = MR_PACKET_DATA_SIZE / send->page_size;
	send->head_size = head_size(send->packet_pages);
	send->channels = channels_of(config);
	lay_out(send, (uint8_t *)(send + 1));
	for (uint32_t i = 0; i < send->channels; i++) {
		send->senders[i].stream = send->method->send_setup(send->page_size, level_of(config));
		if (!send->senders[i].stream) {
			mr_multifd_send_clear(send);
			return NULL;
		}
	}
	return send;
}

void mr_multifd_send_clear(struct mr_multifd_send *send)
{
	for (uint32_t i = 0; send && i < send->channels; i++) {
		send->method->send_cleanup(send->senders[i].stream);
		send->senders[i].stream = NULL;
	}
}

uint32_t mr_multifd_send_channels(const struct mr_multifd_send *send)
{
	return send->channels;
}

/* ---- Initial packet ---- */

struct mr_bytes mr_multifd_send_initial(struct mr_multifd_send *send, uint32_t channel)
{
	const struct mr_record record = {
		.kind = MR_MULTIFD_INIT,
		.init = {.version = MULTIFD_VERSION,
			 .uuid = {send->config->uuid, UUID_SIZE},
			 .id = (uint8_t)channel,
			 .reserved = {zeros, INITIAL_RESERVED}},
	};
	const size_t length = mr_encode(&record, send->initial, INITIAL_SIZE);

	if (does(send, MR_SWITCH_MULTIFD_BYTES_WRITTEN))
		send->statistics->multifd_bytes += length;
	return (struct mr_bytes){send->initial, length};
}

/* ---- Choices ---- */

static uint64_t ask(const struct mr_multifd_send *send, enum mr_choice choice, uint64_t canonical)
{
	const struct mr_choices *choices = send->config->choices;

	return choices ? choices->choose(choices->argument, choice, canonical) : canonical;
}

/* What holds in the end; an answer that is not possible counts as canonical. */
static uint64_t settle(struct mr_multifd_send *send, enum mr_choice choice, uint64_t canonical, uint64_t answer,
		       bool possible)
{
	const uint64_t settled = possible ? answer : canonical;

	send->statistics->choices[choice]++;
	send->statistics->chosen[choice] += settled != canonical;
	return settled;
}

/* The next sender without a job, behind the one that got the last; NO_CHANNEL if there is none. */
static uint32_t free_channel(const struct mr_multifd_send *send)
{
	for (uint32_t i = 0; i < send->channels; i++) {
		const uint32_t channel = (send->next_channel + i) % send->channels;

		if (send->senders[channel].jobs == 0)
			return channel;
	}
	return NO_CHANNEL;
}

static uint32_t choose_channel(struct mr_multifd_send *send, uint32_t canonical)
{
	const uint64_t answer = ask(send, MR_CHOICE_CHANNEL, canonical);
	const bool possible = answer < send->channels && send->senders[answer].jobs == 0;

	return (uint32_t)settle(send, MR_CHOICE_CHANNEL, canonical, answer, possible);
}

static bool choose_repeat(struct mr_multifd_send *send)
{
	const uint64_t answer = ask(send, MR_CHOICE_REPEAT, 0);

	return settle(send, MR_CHOICE_REPEAT, 0, answer, answer <= 1) == 1;
}

static bool choose_packet_end(struct mr_multifd_send *send)
{
	uint64_t answer;

	if (!mr_choice_is_asked(send->config, MR_CHOICE_PACKET_ENDS) || send->queue.count == send->packet_pages)
		return false;
	answer = ask(send, MR_CHOICE_PACKET_ENDS, 0);
	return settle(send, MR_CHOICE_PACKET_ENDS, 0, answer, answer <= 1) == 1;
}

/* ---- Queue ---- */

/* A sender gets one more job: a packet that has its number already, where the migration thread gives them. */
static void add_job(struct mr_multifd_send *send, struct sender *sender)
{
	sender->jobs++;
	if (does(send, MR_SWITCH_PACKET_NUM_REPEATS))
		sender->number = send->next_number++;
	if (!does(send, MR_SWITCH_MULTIFD_BYTES_WRITTEN))
		send->statistics->multifd_bytes += send->head_size;
}

/* Gives the queue to a sender, which leaves its empty one behind. False if no sender is free. */
static bool dispatch(struct mr_multifd_send *send)
{
	const struct batch batch = send->queue;
	uint32_t channel = free_channel(send);
	struct sender *sender;

	if (channel == NO_CHANNEL)
		return false;
	channel = choose_channel(send, channel);
	sender = &send->senders[channel];
	send->queue = sender->batch;
	sender->batch = batch;
	send->packet_over = false;
	send->next_channel = (channel + 1) % send->channels;
	add_job(send, sender);
	if (!does(send, MR_SWITCH_MULTIFD_BYTES_WRITTEN))
		send->statistics->multifd_bytes += (uint64_t)batch.count * send->page_size;
	if (does(send, MR_SWITCH_PACKET_DUPLICATE_PAGES) && batch.count == send->packet_pages)
		send->repeat = (struct repeat){true, channel, batch.block, batch.name, batch.offsets[batch.count - 1]};
	return true;
}

static void add_page(struct mr_multifd_send *send, uint32_t block, const char *name, uint64_t offset)
{
	struct batch *queue = &send->queue;

	queue->block = block;
	queue->name = name;
	queue->offsets[queue->count++] = offset;
}

/*
 * Queues the last page of a full packet once more, if the race is lost. It can only be lost to a sender that has taken
 * the packet by now. What a real migration thread looks at right behind the dispatch is looked at here with its next
 * call: nothing that it does in between tells the two apart.
 */
static void take_repeat(struct mr_multifd_send *send)
{
	const struct repeat repeat = send->repeat;

	send->repeat.pending = false;
	if (repeat.pending && send->senders[repeat.channel].batch.count == 0 && choose_repeat(send))
		add_page(send, repeat.block, repeat.name, repeat.offset);
}

/* A page of this block does not go into the packet that is queued. */
static bool is_queue_over(const struct mr_multifd_send *send, uint32_t block)
{
	return send->packet_over || send->queue.block != block || send->queue.count == send->packet_pages;
}

enum mr_multifd_queue mr_multifd_send_page(struct mr_multifd_send *send, uint32_t block, const char *name,
					   uint64_t offset)
{
	const bool eager = does(send, MR_SWITCH_PACKET_FILL_EAGER);
	const struct batch *queue = &send->queue;

	take_repeat(send);
	if (queue->count && is_queue_over(send, block) && !dispatch(send))
		return MR_QUEUE_WAITS;
	if (eager && queue->count + 1 == send->packet_pages && free_channel(send) == NO_CHANNEL)
		return MR_QUEUE_WAITS;
	add_page(send, block, name, offset);
	send->packet_over = choose_packet_end(send);
	if (eager && queue->count == send->packet_pages)
		dispatch(send);
	/* later it is known only when the sender has looked at them */
	if (!does(send, MR_SWITCH_PACKET_ZERO_PAGES))
		send->statistics->normal++;
	return MR_QUEUE_DONE;
}

/* ---- SYNC ---- */

static void ask_for_sync(struct mr_multifd_send *send)
{
	for (uint32_t i = 0; i < send->channels; i++) {
		/* a job of its own, even where a job before it takes the SYNC along */
		send->senders[i].sync = true;
		add_job(send, &send->senders[i]);
	}
	send->syncing = true;
}

enum mr_multifd_queue mr_multifd_send_sync(struct mr_multifd_send *send)
{
	take_repeat(send);
	if (!send->syncing && send->queue.count)
		return dispatch(send) ? MR_QUEUE_ON : MR_QUEUE_WAITS;
	if (!send->syncing)
		ask_for_sync(send);
	for (uint32_t i = 0; i < send->channels; i++)
		if (send->senders[i].sync)
			return MR_QUEUE_WAITS;
	send->syncing = false;
	return MR_QUEUE_DONE;
}

uint32_t mr_multifd_send_awaited(const struct mr_multifd_send *send)
{
	uint32_t channel = 0;

	/* a SYNC is waited for where it is not written, a free sender anywhere */
	while (send->syncing && channel + 1 < send->channels && !send->senders[channel].sync)
		channel++;
	return channel;
}

/* ---- Packets ---- */

static const uint8_t *look(const struct mr_multifd_send *send, uint32_t channel, uint32_t index, enum mr_look what)
{
	const struct mr_outgoing_memory *memory = &send->config->memory;
	const struct batch *batch = &send->senders[channel].batch;

	return memory->page(memory->argument, MR_SOURCE_MULTIFD + channel, batch->block, batch->offsets[index], what);
}

static bool is_zero(const struct mr_multifd_send *send, uint32_t channel, uint32_t index)
{
	const struct batch *batch = &send->senders[channel].batch;

	if (send->config->is_zero)
		return send->config->is_zero(send->config->memory.argument, MR_SOURCE_MULTIFD + channel, batch->block,
					     batch->offsets[index]);
	return mr_is_zero(look(send, channel, index, MR_LOOK_ZERO), send->page_size);
}

/* Swaps zero pages to the end, the first of them to the very last place. Returns how many others there are. */
static uint32_t part_zeros(struct mr_multifd_send *send, uint32_t channel)
{
	const struct batch *batch = &send->senders[channel].batch;
	uint32_t normal = 0, end = batch->count;

	while (normal < end) {
		const uint64_t offset = batch->offsets[normal];

		if (!is_zero(send, channel, normal)) {
			normal++;
			continue;
		}
		end--;
		batch->offsets[normal] = batch->offsets[end];
		batch->offsets[end] = offset;
	}
	return normal;
}

/* Makes the payload. False if the method cannot. */
static bool fill_payload(struct mr_multifd_send *send, uint32_t channel, struct mr_multifd_packet *packet)
{
	struct sender *sender = &send->senders[channel];
	const uint8_t *pages[MR_PACKET_PAGES_MAX];
	long length = 0;

	packet->flags = send->method->flag;
	packet->normal_pages = send->finds_zeros ? part_zeros(send, channel) : sender->batch.count;
	packet->zero_pages = sender->batch.count - packet->normal_pages;
	for (uint32_t i = 0; i < packet->normal_pages; i++)
		pages[i] = look(send, channel, i, MR_LOOK_SEND);
	if (packet->normal_pages)
		length = send->method->send_prepare(sender->stream, pages, packet->normal_pages, send->payload,
						    mr_multifd_payload_bound());
	if (length < 0)
		return false;
	packet->payload = (struct mr_bytes){send->payload, (size_t)length};
	sender->size = (uint32_t)length;
	return true;
}

/* Writes the pages' places into the block that the channel keeps. */
static void fill_places(struct sender *sender)
{
	const struct batch *batch = &sender->batch;

	memset(sender->name, 0, PACKET_NAME_SIZE);
	for (size_t i = 0; i < MR_NAME_MAX && batch->name[i]; i++)
		sender->name[i] = (uint8_t)batch->name[i];
	for (uint32_t i = 0; i < batch->count; i++)
		mr_put_be64(sender->offsets + (size_t)i * OFFSET_SIZE, batch->offsets[i]);
}

/* What a release that makes each packet anew does not leave there. */
static void clear_places(const struct mr_multifd_send *send, struct sender *sender)
{
	memset(sender->name, 0, PACKET_NAME_SIZE);
	memset(sender->offsets, 0, (size_t)send->packet_pages * OFFSET_SIZE);
}

/* What stands in every packet, with pages or without. */
static void finish_packet(struct mr_multifd_send *send, struct sender *sender, struct mr_multifd_packet *packet)
{
	const bool leftovers = does(send, MR_SWITCH_PACKET_LEFTOVERS);

	if (!sender->batch.count && !does(send, MR_SWITCH_PACKET_SIZE_STALE))
		sender->size = 0;
	if (!leftovers)
		clear_places(send, sender);
	if (sender->batch.count)
		fill_places(sender);
	packet->version = MULTIFD_VERSION;
	packet->pages_alloc = leftovers || sender->batch.count ? send->packet_pages : 0;
	packet->next_packet_size = sender->size;
	packet->packet_num = does(send, MR_SWITCH_PACKET_NUM_REPEATS) ? sender->number : send->next_number++;
	packet->reserved = (struct mr_bytes){zeros, PACKET_RESERVED};
	packet->ramblock = (struct mr_bytes){sender->name, PACKET_NAME_SIZE};
	packet->offset_count = send->packet_pages;
	packet->offsets = (struct mr_bytes){sender->offsets, (size_t)send->packet_pages * OFFSET_SIZE};
}

/* The packet's block as bytes, and what a caller wants to know of it. */
static void describe(struct mr_multifd_send *send, const struct sender *sender, const struct mr_multifd_packet *packet,
		     struct mr_multifd_sent *sent)
{
	struct mr_record record = {.kind = MR_MULTIFD_PACKET, .packet = *packet};

	/* The offsets are as they go out already. */
	record.packet.offset_count = 0;
	record.packet.payload = (struct mr_bytes){NULL, 0};
	mr_encode(&record, send->head, PACKET_BLOCK_SIZE);
	memcpy(send->head + PACKET_BLOCK_SIZE, packet->offsets.data, packet->offsets.length);
	*sent = (struct mr_multifd_sent){
		.head = {send->head, send->head_size},
		.payload = packet->payload,
		.sync = (packet->flags & MR_MULTIFD_FLAG_SYNC) != 0,
		.normal = packet->normal_pages,
		.zero = packet->zero_pages,
		.block = sender->batch.count ? sender->batch.block : NO_BLOCK,
		.page = sender->batch.count ? sender->batch.offsets[0] : 0,
	};
}

/* Counts the packet and, if nobody will read it, takes its bytes away. */
static enum mr_multifd_step hand_out(struct mr_multifd_send *send, struct mr_multifd_sent *sent)
{
	struct mr_outgoing_statistics *statistics = send->statistics;

	if (does(send, MR_SWITCH_MULTIFD_BYTES_WRITTEN))
		statistics->multifd_bytes += sent->head.length + sent->payload.length;
	if (does(send, MR_SWITCH_PACKET_ZERO_PAGES)) {
		statistics->normal += sent->normal;
		statistics->duplicate += sent->zero;
	}
	if (sent->zero && !sent->normal && send->method->flag && does(send, MR_SWITCH_ZERO_PAGES_DROPPED)) {
		sent->head = sent->payload = (struct mr_bytes){NULL, 0};
		return MR_SENDER_DROPPED;
	}
	statistics->pages += sent->normal + sent->zero;
	return MR_SENDER_SENT;
}

bool mr_multifd_send_has_work(const struct mr_multifd_send *send, uint32_t channel)
{
	return send->senders[channel].jobs > 0;
}

enum mr_multifd_step mr_multifd_send_step(struct mr_multifd_send *send, uint32_t channel, struct mr_multifd_sent *sent)
{
	struct sender *sender = &send->senders[channel];
	struct mr_multifd_packet packet = {.block = NO_BLOCK};

	if (!mr_multifd_send_has_work(send, channel))
		return MR_SENDER_IDLE;
	if (sender->batch.count && !fill_payload(send, channel, &packet))
		return MR_SENDER_FAILED;
	if (sender->sync && (!sender->batch.count || does(send, MR_SWITCH_SYNC_WITH_PAGES))) {
		packet.flags |= MR_MULTIFD_FLAG_SYNC;
		sender->sync = false;
	}
	finish_packet(send, sender, &packet);
	describe(send, sender, &packet, sent);
	sender->batch.count = 0;
	sender->jobs--;
	return hand_out(send, sent);
}
