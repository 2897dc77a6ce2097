/* packets.c: what the multifd channels owe each other and the main channel: ids, numbers, pages, payloads, barriers. */
#include "check.h"

#include <inttypes.h>

enum {
	UUID_SIZE = 16,
	PACKET_OFFSETS_AT = 320, /* of the offset array in a packet */
	PRUNE_AT = 1 << 16,      /* slots from which on forgotten intervals are worth a look */
	/* a page in an interval as one key: block + 1, interval, page */
	INTERVAL_BITS = 16,
	PAGE_BITS = 37,
};

/* ---- Initial packet ---- */

void mr_check_uuid(struct mr_checker *checker, struct mr_place place, struct mr_bytes uuid)
{
	const struct mr_context *context = &checker->session->context;

	if (!checker->uuid_known && context->uuid_known)
		memcpy(checker->uuid, context->uuid, UUID_SIZE);
	else if (!checker->uuid_known)
		memcpy(checker->uuid, uuid.data, UUID_SIZE);
	checker->uuid_known = true;
	/* that of the configuration was held against the context by the decoder */
	if (context->uuid_known && mr_check_forward(checker, place.channel))
		return;
	if (memcmp(checker->uuid, uuid.data, UUID_SIZE) != 0)
		mr_report(checker, place, MR_MFD_002, mr_text_bytes((struct mr_bytes){checker->uuid, UUID_SIZE}),
			  mr_text_bytes(uuid));
}

static void check_init(struct mr_checker *checker, struct mr_place place, const struct mr_multifd_init *init)
{
	const uint32_t channels = checker->session->context.multifd_channels;

	mr_check_uuid(checker, place, init->uuid);
	if (channels && init->id >= channels)
		mr_report(checker, place, MR_MFD_003, mr_text("an id below %" PRIu32, channels),
			  mr_text("%u", init->id));
	else if (checker->ids_used[init->id])
		mr_report(checker, place, MR_MFD_003, mr_text("an id for each channel"), mr_text("%u again", init->id));
	checker->ids_used[init->id] = true;
}

/* ---- Numbers ---- */

static void check_number(struct mr_checker *checker, struct mr_check_channel *channel, struct mr_place place,
			 uint64_t number)
{
	struct mr_check_sender *sender = &channel->sender;
	enum mr_table_result result = MR_TABLE_NEW;

	if (!checker->no_packet_numbers && number != UINT64_MAX)
		result = mr_table_put(&checker->packet_numbers, number + 1, NULL);
	if (result == MR_TABLE_FULL)
		mr_report_limit(checker, place, &checker->no_packet_numbers, "whether packet_num is unique is");
	if (sender->numbered && number <= sender->number)
		mr_report(checker, place, MR_MFD_022, mr_text("packet_num above %" PRIu64, sender->number),
			  mr_text("%" PRIu64, number));
	else if (result == MR_TABLE_FOUND)
		mr_report(checker, place, MR_MFD_022, mr_text("packet_num of no other packet"),
			  mr_text("%" PRIu64 " again", number));
	sender->numbered = true;
	sender->number = number;
}

/* ---- Pages between two barriers ---- */

static bool interval_is_open(const void *argument, uint64_t key)
{
	const uint64_t *oldest = argument;

	return (key >> PAGE_BITS & ((1u << INTERVAL_BITS) - 1)) >= *oldest;
}

/* Forgets the intervals that every channel has left behind, if it is known that there is no other channel. */
static void forget_intervals(struct mr_checker *checker)
{
	const struct mr_table *table = &checker->interval_pages;
	uint64_t oldest = UINT64_MAX;

	if (2 * table->count < table->capacity || table->capacity < PRUNE_AT ||
	    checker->multifd_count != checker->session->context.multifd_channels)
		return;
	for (uint32_t i = 0; i < checker->channel_count; i++) {
		const struct mr_check_channel *channel = &checker->channels[i];

		if (channel->role == MR_ROLE_MULTIFD && channel->sender.syncs < oldest)
			oldest = channel->sender.syncs;
	}
	mr_table_prune(&checker->interval_pages, interval_is_open, &oldest);
}

static void report_again(const struct mr_checker *checker, struct mr_place place,
			 const struct mr_multifd_packet *packet, uint32_t index)
{
	place.offset += PACKET_OFFSETS_AT + (uint64_t)index * sizeof(uint64_t);
	mr_report(checker, place, MR_MFD_020, mr_text("a page once between two barriers"),
		  mr_text("0x%" PRIx64 " of %.40s again", mr_multifd_offset(packet, index),
			  checker->session->blocks[packet->block].name));
}

static void check_intervals(struct mr_checker *checker, const struct mr_check_channel *channel, struct mr_place place,
			    const struct mr_multifd_packet *packet)
{
	const uint32_t page_size = checker->session->target_page_size;
	const uint64_t block = (uint64_t)packet->block + 1;
	const uint64_t interval = channel->sender.syncs;

	if (interval >> INTERVAL_BITS || checker->no_intervals)
		return;
	forget_intervals(checker);
	for (uint32_t i = 0; i < packet->normal_pages + packet->zero_pages; i++) {
		const uint64_t offset = mr_multifd_offset(packet, i), page = offset / page_size;
		const uint64_t key = (block << INTERVAL_BITS | interval) << PAGE_BITS | page;
		enum mr_table_result result;

		if (page >> PAGE_BITS)
			continue;
		result = mr_table_put(&checker->interval_pages, key, NULL);
		if (result == MR_TABLE_FULL) {
			mr_report_limit(checker, place, &checker->no_intervals,
					"whether pages stand once in packets is");
			return;
		}
		if (result == MR_TABLE_FOUND)
			report_again(checker, place, packet, i);
	}
}

/* ---- Payload ---- */

/* The decoder holds the method against the context; without one the first packet says what it is. */
static void check_method(struct mr_checker *checker, struct mr_place place, uint32_t method)
{
	if (checker->session->context.multifd_method != MR_METHOD_UNKNOWN || !mr_multifd_method_by_flag(method))
		return;
	if (checker->method_known && method != checker->method)
		mr_report(checker, place, MR_MFD_021, mr_text("method 0x%02" PRIx32 ", as before", checker->method),
			  mr_text("method 0x%02" PRIx32, method));
	checker->method_known = true;
	checker->method = method;
}

/* The channel's state of this method; NULL if its payloads are not to be followed. */
static void *receiver_of(struct mr_checker *checker, struct mr_check_sender *sender, struct mr_place place,
			 const struct mr_multifd_method *method)
{
	if (sender->broken || !method || method->flag == 0 || !method->decodable)
		return NULL;
	if (sender->method == method)
		return sender->state;
	if (sender->method)
		sender->method->recv_cleanup(sender->state);
	sender->state = method->recv_setup(checker->session->target_page_size);
	sender->method = sender->state ? method : NULL;
	if (!sender->state)
		mr_report_limit(checker, place, &sender->broken, "payloads of this channel are");
	return sender->state;
}

static void check_payload(struct mr_checker *checker, struct mr_check_channel *channel, struct mr_place place,
			  const struct mr_multifd_packet *packet)
{
	const uint32_t page_size = checker->session->target_page_size;
	const struct mr_multifd_method *method = mr_multifd_method_by_flag(packet->flags & MR_MULTIFD_METHOD_MASK);
	void *state = receiver_of(checker, &channel->sender, place, method);
	uint8_t *scratch = state ? mr_check_scratch(checker, place) : NULL;
	uint8_t *pages[MR_PACKET_PAGES_MAX];
	char found[96] = "";
	enum mr_rule rule;

	if (!scratch || packet->normal_pages > MR_PACKET_DATA_SIZE / page_size)
		return;
	for (uint32_t i = 0; i < packet->normal_pages; i++)
		pages[i] = scratch + (size_t)i * page_size;
	rule = method->recv(state, packet->payload, pages, packet->normal_pages, found);
	if (rule == MR_NO_RULE)
		return;
	channel->sender.broken = true;
	mr_report(checker, place, rule, mr_text("%" PRIu32 " pages of %s", packet->normal_pages, method->name),
		  mr_text("%.90s", found));
}

/* ---- Packets ---- */

static void check_pages(struct mr_checker *checker, struct mr_check_channel *channel, struct mr_place place,
			const struct mr_multifd_packet *packet)
{
	if (packet->block >= MR_BLOCKS_MAX)
		return;
	check_method(checker, place, packet->flags & MR_MULTIFD_METHOD_MASK);
	if (packet->normal_pages)
		check_payload(checker, channel, place, packet);
	check_intervals(checker, channel, place, packet);
	for (uint32_t i = 0; i < packet->normal_pages + packet->zero_pages; i++)
		mr_check_multifd_page(checker, packet->block, mr_multifd_offset(packet, i), place);
}

void mr_check_multifd(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record)
{
	const struct mr_place place = mr_place_at(channel, record->offset);

	if (record->kind == MR_MULTIFD_INIT)
		check_init(checker, place, &record->init);
	if (record->kind != MR_MULTIFD_PACKET)
		return;
	check_number(checker, channel, place, record->packet.packet_num);
	if (record->packet.normal_pages + record->packet.zero_pages)
		check_pages(checker, channel, place, &record->packet);
	if (record->packet.flags & MR_MULTIFD_FLAG_SYNC)
		channel->sender.syncs++;
}

/* ---- Barriers ---- */

/*
 * The record that is a barrier is FLUSH with the sources that know it and otherwise the end of each ram section.
 * Sources that mix multifd and postcopy either go on with barriers behind LISTEN (5.0 to 8.0) or stop there (10.1 on).
 */
static bool barriers_fit(const struct mr_checker *checker, uint32_t syncs, uint32_t *barriers)
{
	const struct mr_check_main *main = &checker->main;
	const uint32_t all = main->barrier_ends + main->barrier_postcopy_ends;

	*barriers = main->barrier_flushes ? main->barrier_flushes : main->barrier_ends;
	if (syncs == *barriers || (!main->barrier_flushes && syncs == all))
		return true;
	/* the stricter count, so that a SYNC too many is not taken for one that is missing */
	if (!main->barrier_flushes && syncs > all)
		*barriers = all;
	return false;
}

void mr_check_barriers(struct mr_checker *checker)
{
	const struct mr_check_channel *main = NULL;

	for (uint32_t i = 0; i < checker->channel_count && !main; i++)
		if (checker->channels[i].complete)
			main = &checker->channels[i];
	if (!main)
		return;
	for (uint32_t i = 0; i < checker->channel_count; i++) {
		const struct mr_check_channel *channel = &checker->channels[i];
		const uint32_t syncs = channel->sender.syncs;
		uint32_t barriers;

		if (channel->role != MR_ROLE_MULTIFD || !channel->ended || channel->cut ||
		    barriers_fit(checker, syncs, &barriers))
			continue;
		mr_report(checker, mr_place_at(channel, 0), syncs < barriers ? MR_MFD_031 : MR_MFD_032,
			  mr_text("%" PRIu32 " SYNC, as many as barriers on the main channel", barriers),
			  mr_text("%" PRIu32, syncs));
	}
}
