/* source_world.c: memory, devices and connections around a source under replay, and the comparison of its bytes. */
#include "sim/record/source_config.h"
#include "sim/record/source_read.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN_BYTES = 16, ORDINARY_PAGE_SIZE = 4096 };

/* ---- What all parts need ---- */

int mr_source_no_memory(struct mr_source_world *world, const char *what)
{
	world->failed = true;
	snprintf(world->error, sizeof(world->error), "no memory for %s", what);
	return -1;
}

int mr_source_input_failed(struct mr_source_world *world, const struct mr_input *input)
{
	world->failed = true;
	snprintf(world->error, sizeof(world->error), "%s", mr_input_error(input));
	return -1;
}

/* Makes room for one more element. */
void *mr_source_grow(void *array, size_t count, size_t *capacity, size_t element)
{
	const size_t larger = 2 * *capacity + 64;

	if (count < *capacity)
		return array;
	array = realloc(array, larger * element);
	if (array)
		*capacity = larger;
	return array;
}

/* ---- Memory ---- */

/* The next send that was not taken yet; what a connection that is gone has had of records is over. */
static uint32_t skip_old(const struct mr_source_world *world, uint32_t index)
{
	while (index != MR_SOURCE_NONE && (world->sends[index].taken || (world->sends[index].epoch < world->epoch &&
									 world->sends[index].packet == MR_SOURCE_NONE)))
		index = world->sends[index].next;
	return index;
}

const struct mr_source_send *mr_source_world_next_send(const struct mr_source_world *world, uint32_t block,
						       uint64_t page)
{
	const uint32_t index = skip_old(world, world->heads[block][page]);

	return index == MR_SOURCE_NONE || world->sends[index].epoch > world->epoch ? NULL : &world->sends[index];
}

/* The page in the packet that a sender of multifd makes now; MR_SOURCE_NONE: it is not in there. */
static uint32_t send_in_packet(const struct mr_source_world *world, unsigned actor, uint32_t block, uint64_t page)
{
	for (size_t i = 0; actor >= MR_SOURCE_MULTIFD && i < world->channel_count; i++) {
		const struct mr_source_channel *channel = &world->channels[i];
		const struct mr_source_record *record;

		if (channel->role != MR_ROLE_MULTIFD || channel->id != actor - MR_SOURCE_MULTIFD ||
		    channel->at >= channel->count)
			continue;
		record = &channel->records[channel->at];
		for (uint32_t j = 0; record->kind == MR_MULTIFD_PACKET && j < record->send_count; j++) {
			const struct mr_source_send *send = &world->sends[record->first_send + j];

			if (send->block == block && send->page == page && !send->taken)
				return record->first_send + j;
		}
	}
	return MR_SOURCE_NONE;
}

/* A page that its sender looks at and does not send lies in a packet of zeros that is never written. */
static bool is_dropped(const struct mr_source_world *world, unsigned actor)
{
	const struct mr_multifd_method *method = world->config.method;

	return actor >= MR_SOURCE_MULTIFD && method && method->flag &&
	       mr_profile_does(&world->config.profile, MR_SWITCH_ZERO_PAGES_DROPPED);
}

/*
 * What was sent of the page next. A page behind a cut is sent again later: what it holds there stays for then. A page
 * may stand in packets of several channels at a time, which hold what each sender saw of it.
 */
static const uint8_t *page_at(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	struct mr_source_world *world = argument;
	const uint64_t page = offset / world->config.target_page_size;
	uint32_t *head = &world->heads[block][page];
	uint32_t index = send_in_packet(world, actor, block, page);
	struct mr_source_send *send;

	*head = skip_old(world, *head);
	if (index == MR_SOURCE_NONE && is_dropped(world, actor))
		return world->zero;
	if (index == MR_SOURCE_NONE)
		index = *head;
	if (index == MR_SOURCE_NONE)
		return world->zero;
	send = &world->sends[index];
	if (send->epoch > world->epoch)
		return send->content ? send->content : world->zero;
	if (look == MR_LOOK_SEND || send->zero) {
		world->tails[block][page] = index;
		send->taken = true;
	}
	if (!send->content)
		return world->zero;
	/* It became zero only after the look. */
	if (look == MR_LOOK_ZERO && mr_is_zero(send->content, world->config.target_page_size)) {
		world->raced++;
		return world->other;
	}
	return send->content;
}

/* Whether these pages lie in a block. */
static bool has_pages(const struct mr_source_world *world, uint32_t block, uint64_t first, uint64_t count)
{
	return block < world->config.block_count && first <= world->pages[block] &&
	       count <= world->pages[block] - first;
}

/* The page is looked at once more before it is sent again, and holds what was sent of it last. */
static int keep_unchanged(struct mr_source_world *world, uint32_t block, uint64_t page)
{
	struct mr_source_send *sends =
		mr_source_grow(world->sends, world->send_count, &world->send_capacity, sizeof(*sends));
	const uint32_t last = world->tails[block][page];

	if (!sends)
		return mr_source_no_memory(world, "pages");
	world->sends = sends;
	if (last == MR_SOURCE_NONE)
		return 0;
	sends[world->send_count] = sends[last];
	sends[world->send_count].unchanged = true;
	sends[world->send_count].taken = false;
	sends[world->send_count].next = world->heads[block][page];
	world->heads[block][page] = (uint32_t)world->send_count++;
	return 0;
}

int mr_source_world_unchanged(struct mr_source_world *world, uint32_t block, uint64_t start, uint64_t length)
{
	const uint64_t page_size = world->config.target_page_size;
	const uint64_t first = start / page_size, count = length / page_size;

	if (!has_pages(world, block, first, count))
		return -1;
	for (uint64_t page = first; page < first + count; page++)
		if (keep_unchanged(world, block, page) < 0)
			return -1;
	return 0;
}

/* A send that the machine never makes. */
static int add_unsent(struct mr_source_world *world, uint32_t block, uint64_t page)
{
	struct mr_source_send *sends =
		mr_source_grow(world->sends, world->send_count, &world->send_capacity, sizeof(*sends));
	uint32_t *link = &world->heads[block][page];

	if (!sends)
		return mr_source_no_memory(world, "pages");
	world->sends = sends;
	while (*link != MR_SOURCE_NONE)
		link = &sends[*link].next;
	sends[world->send_count] = (struct mr_source_send){.block = block,
							   .page = page,
							   .next = MR_SOURCE_NONE,
							   .epoch = MR_SOURCE_NONE,
							   .packet = MR_SOURCE_NONE,
							   .content = world->other};
	*link = (uint32_t)world->send_count++;
	return 0;
}

int mr_source_world_unsent(struct mr_source_world *world, uint32_t block, uint64_t start, uint64_t length)
{
	const uint64_t page_size = world->config.target_page_size;
	const uint64_t first = start / page_size, count = length / page_size;

	if (!has_pages(world, block, first, count))
		return -1;
	for (uint64_t page = first; page < first + count; page++)
		if (add_unsent(world, block, page) < 0)
			return -1;
	return 0;
}

int mr_source_world_dirty(struct mr_source_world *world, uint32_t block, uint64_t start, uint64_t length,
			  bool unchanged)
{
	void *larger = mr_source_grow(world->dirty, world->dirty_count, &world->dirty_capacity, sizeof(*world->dirty));

	if (!larger)
		return mr_source_no_memory(world, "a dirty log");
	world->dirty = larger;
	world->dirty[world->dirty_count].block = block;
	world->dirty[world->dirty_count].start = start;
	world->dirty[world->dirty_count].unchanged = unchanged;
	world->dirty[world->dirty_count++].length = length;
	return 0;
}

static void hand_over_dirty(struct mr_source_world *world)
{
	const uint64_t page_size = world->config.target_page_size;

	for (size_t i = 0; i < world->dirty_count; i++) {
		const uint32_t block = world->dirty[i].block;
		const uint64_t first = world->dirty[i].start / page_size;
		const uint64_t count = world->dirty[i].length / page_size;

		if (!mr_outgoing_dirty(world->outgoing, block, world->dirty[i].start, world->dirty[i].length))
			continue;
		for (uint64_t page = first; world->dirty[i].unchanged && page < first + count; page++)
			keep_unchanged(world, block, page);
	}
	world->dirty_count = 0;
}

/* ---- Connections ---- */

struct mr_source_channel *mr_source_world_channel(struct mr_source_world *world, uint32_t machine_channel)
{
	const uint32_t channel =
		machine_channel < MR_OUTGOING_CHANNELS_MAX ? world->machine_channels[machine_channel] : MR_SOURCE_NONE;

	return channel == MR_SOURCE_NONE ? NULL : &world->channels[channel];
}

static bool is_main(enum mr_role role)
{
	return role == MR_ROLE_MAIN || role == MR_ROLE_RECOVERY;
}

/* A multifd channel tells its number. Others are taken in their order, where no log tells which is which. */
static bool is_connection(const struct mr_source_world *world, size_t index, const struct mr_source_action *action)
{
	const struct mr_source_channel *channel = &world->channels[index];
	const enum mr_role role = action->connect.role;

	if (world->numbered)
		return index == action->connect.channel;
	if (is_main(channel->role) != is_main(role) || (!is_main(role) && channel->role != role))
		return false;
	return role != MR_ROLE_MULTIFD || channel->id == action->connect.multifd;
}

static void connect_channel(struct mr_source_world *world, const struct mr_source_action *action)
{
	const enum mr_role role = action->connect.role;

	for (size_t i = 0; i < world->channel_count; i++) {
		struct mr_source_channel *channel = &world->channels[i];

		if (channel->taken || !is_connection(world, i, action))
			continue;
		channel->taken = true;
		channel->machine = action->connect.channel;
		if (action->connect.channel < MR_OUTGOING_CHANNELS_MAX)
			world->machine_channels[action->connect.channel] = (uint32_t)i;
		if (is_main(role)) {
			world->main = (uint32_t)i;
			world->epoch = channel->epoch;
		}
		return;
	}
}

void mr_source_world_arrive(struct mr_source_world *world, uint32_t channel, uint64_t bytes, bool ended)
{
	if (channel >= world->channel_count)
		return;
	if (bytes > world->channels[channel].arrived.length)
		bytes = world->channels[channel].arrived.length;
	world->channels[channel].fed = bytes;
	world->channels[channel].fed_end = ended;
}

void mr_source_world_break(struct mr_source_world *world, uint32_t channel, int error)
{
	if (channel >= world->channel_count || !world->channels[channel].taken)
		return;
	world->channels[channel].broken = true;
	mr_outgoing_broken(world->outgoing, world->channels[channel].machine, error);
}

bool mr_source_world_command(struct mr_source_world *world, enum mr_source_command command)
{
	switch (command) {
	case MR_SOURCE_COMMAND_START_POSTCOPY:
		return mr_outgoing_start_postcopy(world->outgoing);
	case MR_SOURCE_COMMAND_CONTINUE:
		return mr_outgoing_continue(world->outgoing);
	case MR_SOURCE_COMMAND_CANCEL:
		return mr_outgoing_cancel(world->outgoing);
	case MR_SOURCE_COMMAND_PAUSE:
		return mr_outgoing_pause(world->outgoing);
	case MR_SOURCE_COMMAND_RECOVER:
		return mr_outgoing_recover(world->outgoing);
	default:
		return false;
	}
}

bool mr_source_world_guest(struct mr_source_world *world, bool runs)
{
	return mr_outgoing_guest(world->outgoing, runs);
}

static void feed(struct mr_source_world *world)
{
	const struct mr_source_channel *channel;
	uint64_t consumed;

	if (world->main == MR_SOURCE_NONE)
		return;
	channel = &world->channels[world->main];
	consumed = mr_outgoing_consumed(world->outgoing, channel->machine);
	if (consumed <= channel->fed)
		mr_outgoing_feed(world->outgoing, channel->machine,
				 channel->arrived.data ? channel->arrived.data + consumed : NULL,
				 (size_t)(channel->fed - consumed), channel->fed_end, 0);
}

/* ---- Comparing ---- */

static void show(char *out, size_t size, const uint8_t *bytes, size_t length)
{
	size_t at = 0;

	if (length == 0)
		snprintf(out, size, "nothing");
	for (size_t i = 0; i < length && i < SHOWN_BYTES && at + 4 < size; i++)
		at += (size_t)snprintf(out + at, size - at, "%02x ", bytes[i]);
}

static const struct mr_source_record *record_at(const struct mr_source_channel *channel, uint64_t offset)
{
	for (size_t i = 0; i < channel->count; i++)
		if (offset < channel->records[i].offset + channel->records[i].length)
			return &channel->records[i];
	return NULL;
}

static void describe(const struct mr_source_world *world, char *out, size_t size, const char *bytes, enum mr_kind kind,
		     uint64_t offset, uint32_t block, uint64_t page)
{
	if (block < world->config.block_count)
		snprintf(out, size, "%sin %s at 0x%" PRIx64 ", %s 0x%" PRIx64, bytes, mr_kind_name(kind), offset,
			 world->config.blocks[block].name, page);
	else
		snprintf(out, size, "%sin %s at 0x%" PRIx64, bytes, mr_kind_name(kind), offset);
}

static void differ(struct mr_source_world *world, const struct mr_source_channel *channel,
		   const struct mr_source_action *action, uint64_t offset, struct mr_bytes made,
		   struct mr_bytes recorded)
{
	struct mr_source_difference *difference = &world->difference;
	const struct mr_source_record *record = record_at(channel, offset);
	char bytes[3 * SHOWN_BYTES + 8];

	if (difference->found)
		return;
	difference->found = true;
	difference->channel = channel->number;
	difference->offset = offset;
	show(bytes, sizeof(bytes), made.data, made.length);
	describe(world, difference->made, sizeof(difference->made), bytes, action->send.kind, action->send.offset,
		 action->send.block, action->send.page);
	show(bytes, sizeof(bytes), recorded.data, recorded.length);
	if (record)
		describe(world, difference->recorded, sizeof(difference->recorded), bytes, record->kind, record->offset,
			 record->block, record->address);
	else
		snprintf(difference->recorded, sizeof(difference->recorded), "%sbehind the last record", bytes);
}

static int compare_part(struct mr_source_world *world, struct mr_source_channel *channel,
			const struct mr_source_action *action, struct mr_bytes made)
{
	struct mr_bytes recorded;
	size_t at = 0, common;
	bool at_end;

	if (channel->made != channel->identical)
		return 0;
	if (mr_input_fill(channel->input, made.length) < 0)
		return mr_source_input_failed(world, channel->input);
	recorded.data = mr_input_window(channel->input, &recorded.length, &at_end);
	common = made.length < recorded.length ? made.length : recorded.length;
	if (common && memcmp(made.data, recorded.data, common) != 0)
		while (made.data[at] == recorded.data[at])
			at++;
	else
		at = common;
	channel->identical += at;
	if (at < common || (at < made.length && !channel->cut))
		differ(world, channel, action, channel->identical, (struct mr_bytes){made.data + at, made.length - at},
		       (struct mr_bytes){recorded.data + at, recorded.length - at});
	mr_input_consume(channel->input, at);
	return 0;
}

static int take_bytes(struct mr_source_world *world, const struct mr_source_action *action)
{
	const struct mr_bytes parts[] = {action->send.head, action->send.body};
	struct mr_source_channel *channel = mr_source_world_channel(world, action->send.channel);

	if (!channel)
		return 0;
	for (size_t i = 0; i < 2; i++) {
		if (parts[i].length && compare_part(world, channel, action, parts[i]) < 0)
			return -1;
		channel->made += parts[i].length;
	}
	while (channel->at < channel->count &&
	       channel->made >= channel->records[channel->at].offset + channel->records[channel->at].length)
		channel->at++;
	return 0;
}

bool mr_source_world_is_complete(const struct mr_source_world *world)
{
	for (size_t i = 0; i < world->channel_count; i++)
		if (world->channels[i].identical < world->channels[i].recorded)
			return false;
	return true;
}

/* ---- Steps ---- */

/*
 * A body that no stream has was collected for a package that never went out. Its length did, and is what the
 * description says.
 */
static struct mr_bytes unsent_body(struct mr_source_world *world, const struct mr_handler_entry *entry)
{
	const struct mr_description *description = world->session->context.description;
	size_t index = SIZE_MAX;
	uint64_t size;

	if (description)
		index = mr_description_find(description,
					    (struct mr_bytes){(const uint8_t *)entry->idstr, entry->idstr_length},
					    entry->instance, 0);
	if (index == SIZE_MAX)
		return (struct mr_bytes){NULL, 0};
	size = mr_description_device(description, index)->size;
	if (size > world->blank_size) {
		uint8_t *blank = size <= MR_RESOLVE_MAX ? realloc(world->blank, (size_t)size) : NULL;

		if (!blank)
			return (struct mr_bytes){NULL, 0};
		memset(blank, 0, (size_t)size);
		world->blank = blank;
		world->blank_size = size;
	}
	return (struct mr_bytes){world->blank, (size_t)size};
}

static struct mr_bytes body_of(struct mr_source_world *world, uint32_t handler)
{
	const struct mr_handlers *handlers = world->config.handlers;
	const uint32_t id = handler < handlers->count ? handlers->entries[handler].section_id : 0;

	for (size_t i = 0; i < world->body_count; i++) {
		struct mr_source_body *body = &world->bodies[i];

		if (body->used || body->id != id)
			continue;
		body->used = true;
		return (struct mr_bytes){body->data, body->length};
	}
	return handler < handlers->count ? unsent_body(world, &handlers->entries[handler]) : (struct mr_bytes){NULL, 0};
}

/* Everything but the postcopy of handlers other than `ram` is as if the handler had not been asked. */
static int answer_hook(const struct mr_source_action *action)
{
	return mr_hook_is_question(action->save.hook) && action->save.hook != MR_HOOK_HAS_POSTCOPY &&
	       action->save.hook != MR_HOOK_SWITCHOVER_ACK_NEEDED;
}

static int carry_out(struct mr_source_world *world, const struct mr_source_action *action)
{
	switch (action->kind) {
	case MR_SOURCE_ACTION_CONNECT:
		connect_channel(world, action);
		return 0;
	case MR_SOURCE_ACTION_LOG_SYNC:
		hand_over_dirty(world);
		return 0;
	case MR_SOURCE_ACTION_SAVE:
		mr_outgoing_save(world->outgoing, body_of(world, action->save.handler));
		return 0;
	case MR_SOURCE_ACTION_DESCRIBE:
		mr_outgoing_save(world->outgoing, world->description);
		return 0;
	case MR_SOURCE_ACTION_HOOK:
		return answer_hook(action);
	default:
		return 0;
	}
}

enum mr_step mr_source_world_step(struct mr_source_world *world, unsigned actor, struct mr_source_action *action)
{
	enum mr_step step;

	memset(action, 0, sizeof(*action));
	if (actor == MR_SOURCE_RETURN)
		feed(world);
	step = mr_outgoing_step(world->outgoing, actor, action);
	if (step != MR_STEP_ACTION)
		return step;
	if (action->kind == MR_SOURCE_ACTION_SEND && take_bytes(world, action) < 0)
		return MR_STEP_DONE;
	if (action->asked)
		mr_outgoing_complete(world->outgoing, actor, carry_out(world, action));
	return step;
}

/* ---- The whole ---- */

static int open_inputs(struct mr_source_world *world)
{
	char name[24];

	for (size_t i = 0; i < world->channel_count; i++) {
		struct mr_source_channel *channel = &world->channels[i];

		mr_input_close(channel->input);
		channel->input = NULL;
		snprintf(name, sizeof(name), "ch%u.fwd", (unsigned)i);
		if (world->recording->channels[i].has_forward &&
		    mr_recording_open_file(world->recording, name, &channel->input, world->error,
					   sizeof(world->error)) < 0)
			return -1;
	}
	return 0;
}

/* How long each stream is, its unfinished record included. */
static int measure(struct mr_source_world *world)
{
	for (size_t i = 0; i < world->channel_count; i++) {
		struct mr_source_channel *channel = &world->channels[i];
		size_t length = 1;
		bool at_end;

		while (channel->input && length) {
			if (mr_input_fill(channel->input, 1 << 16) < 0)
				return mr_source_input_failed(world, channel->input);
			mr_input_window(channel->input, &length, &at_end);
			mr_input_consume(channel->input, length);
		}
		channel->recorded = channel->input ? mr_input_position(channel->input) : 0;
	}
	return 0;
}

int mr_source_world_open(struct mr_source_world *world, const struct mr_migration *migration)
{
	memset(world, 0, sizeof(*world));
	world->recording = migration->recording;
	world->finished = migration->finished;
	world->channel_count = migration->recording->channel_count;
	world->channels = calloc(world->channel_count + 1, sizeof(*world->channels));
	if (!world->channels)
		return mr_source_no_memory(world, "channels");
	if (mr_source_read(world) < 0 || open_inputs(world) < 0 || measure(world) < 0)
		return -1;
	/* The caller's session lives as long as this world, and knows the same blocks. */
	world->session = migration->session;
	world->recorded_sends = world->send_count;
	return 0;
}

/* Of a stream that broke early a log may know more blocks. */
static bool is_about(const struct mr_source_world *world, const struct mr_outgoing_config *config)
{
	const struct mr_session *session = world->session;
	const uint32_t page_size = config->target_page_size ? config->target_page_size : ORDINARY_PAGE_SIZE;

	if (strcmp(config->profile.release, session->context.profile.release) != 0 ||
	    strcmp(config->machine ? config->machine : "", session->context.machine) != 0 ||
	    page_size != session->target_page_size)
		return false;
	for (uint32_t i = 0; i < session->block_count && session->blocks[i].declared; i++)
		if (i >= config->block_count || strcmp(config->blocks[i].name, session->blocks[i].name) != 0 ||
		    config->blocks[i].used_length != session->blocks[i].used_length)
			return false;
	return true;
}

int mr_source_world_adopt(struct mr_source_world *world, const struct mr_outgoing_config *config, bool numbered)
{
	const struct mr_session *session = world->session;

	if (!is_about(world, config)) {
		world->failed = true;
		snprintf(world->error, sizeof(world->error),
			 "header: expected the recording's source, page size and blocks, found others");
		return -1;
	}
	world->config = *config;
	world->config.target_page_size = session->target_page_size;
	world->numbered = numbered;
	for (uint32_t i = 0; i < config->block_count; i++)
		if (mr_source_map_block(world, i, config->blocks[i].used_length / session->target_page_size) < 0)
			return -1;
	return 0;
}

/* Heads are put back to the first send of each page. */
static void rewind_memory(struct mr_source_world *world)
{
	world->send_count = world->recorded_sends;
	for (size_t i = world->send_count; i-- > 0;) {
		world->heads[world->sends[i].block][world->sends[i].page] = (uint32_t)i;
		world->sends[i].taken = false;
	}
	world->raced = 0;
	world->epoch = 0;
	world->dirty_count = 0;
	for (size_t i = 0; i < world->body_count; i++)
		world->bodies[i].used = false;
}

static void rewind_channels(struct mr_source_world *world)
{
	for (size_t i = 0; i < world->channel_count; i++) {
		struct mr_source_channel *channel = &world->channels[i];

		channel->taken = channel->broken = channel->fed_end = false;
		channel->made = channel->identical = channel->fed = 0;
		channel->at = 0;
		channel->cut |= !world->finished;
	}
	memset(world->machine_channels, 0xff, sizeof(world->machine_channels));
	world->main = MR_SOURCE_NONE;
	memset(&world->difference, 0, sizeof(world->difference));
}

int mr_source_world_start(struct mr_source_world *world)
{
	char reason[96];
	size_t size;

	if (world->outgoing)
		mr_outgoing_clear(world->outgoing);
	world->outgoing = NULL;
	free(world->arena);
	world->arena = NULL;
	rewind_memory(world);
	rewind_channels(world);
	world->config.memory = (struct mr_outgoing_memory){world, page_at};
	world->config.choices = &world->choices;
	size = mr_outgoing_size(&world->config, reason);
	if (size == 0) {
		snprintf(world->error, sizeof(world->error), "%s", reason);
		return -1;
	}
	world->arena = calloc(1, size);
	if (world->arena)
		world->outgoing = mr_outgoing_init(world->arena, size, &world->config);
	if (!world->outgoing)
		return mr_source_no_memory(world, "a machine");
	return open_inputs(world);
}

void mr_source_world_close(struct mr_source_world *world)
{
	for (size_t i = 0; world->channels && i < world->channel_count; i++) {
		struct mr_source_channel *channel = &world->channels[i];

		free(channel->records);
		mr_input_close(channel->input);
		mr_input_close(channel->return_input);
		mr_packet_codec_clear(&channel->codec);
	}
	for (uint32_t i = 0; i < MR_BLOCKS_MAX; i++) {
		free(world->heads[i]);
		free(world->tails[i]);
	}
	for (size_t i = 0; i < world->chunk_count; i++)
		free(world->chunks[i]);
	for (size_t i = 0; i < world->body_count; i++)
		free(world->bodies[i].data);
	if (world->outgoing)
		mr_outgoing_clear(world->outgoing);
	free((void *)(uintptr_t)world->description.data);
	free(world->channels);
	free(world->chunks);
	free(world->bodies);
	free(world->headers);
	free(world->sends);
	free(world->entries);
	free(world->blocks);
	free(world->dirty);
	free(world->zero);
	free(world->other);
	free(world->blank);
	free(world->arena);
}

uint32_t mr_source_find_block(const struct mr_outgoing_config *config, struct mr_bytes name)
{
	for (uint32_t i = 0; i < config->block_count; i++)
		if (mr_bytes_equal_string(name, config->blocks[i].name))
			return i;
	return MR_SOURCE_NONE;
}
