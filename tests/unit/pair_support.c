/* pair_support.c: both machines, what is between them, and chance. */
#include "pair_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	STEPS_MAX = 400000,
	IDLE_MAX = 500, /* rounds in which nobody can do anything: an operator may be that slow */
	WRITES_MAX = 600,
	FORWARD_MAX = 24 << 20, /* bytes of a connection */
	BACKWARD_MAX = 1 << 20,
	HOST_EEXIST = 17,
	HOST_EIO = 5,
	VCPUS = 2, /* where blocktime is counted */
};

static const char description[] =
	"{\"page_size\": 4096, \"devices\": ["
	"{\"name\": \"timer\", \"instance_id\": 0, \"vmsd_name\": \"timer\", \"version\": 2, "
	"\"fields\": [{\"name\": \"a\", \"type\": \"buffer\", \"size\": 10}]}, "
	"{\"name\": \"cpu\", \"instance_id\": 0, \"vmsd_name\": \"cpu\", \"version\": 3, "
	"\"fields\": [{\"name\": \"a\", \"type\": \"buffer\", \"size\": 6}]}, "
	"{\"name\": \"globalstate\", \"instance_id\": 0, \"vmsd_name\": \"globalstate\", \"version\": 4, "
	"\"fields\": [{\"name\": \"a\", \"type\": \"buffer\", \"size\": 22}]}]}";
static const char *const device_names[PAIR_DEVICES] = {"timer", "cpu", "globalstate"};

/* ---- Who looks on ---- */

static void tell_source(const struct pair *pair, const struct mr_source_log_record *record,
			const struct mr_source_action *action)
{
	if (pair->watch && pair->watch->source)
		pair->watch->source(pair->watch->argument, record, action);
}

static void tell_destination(const struct pair *pair, const struct mr_log_record *record,
			     const struct mr_action *action)
{
	if (pair->watch && pair->watch->destination)
		pair->watch->destination(pair->watch->argument, record, pair->destination, action);
}

static void tell_line(const struct pair *pair, const struct mr_line *line)
{
	if (pair->watch && pair->watch->line)
		pair->watch->line(pair->watch->argument, line);
}

/* The clock of both ends. */
static void set_time(struct pair *pair, uint64_t now)
{
	pair->now = now;
	mr_outgoing_set_time(pair->source, now);
	tell_source(pair, &(struct mr_source_log_record){.kind = MR_SOURCE_LOG_TIME, .count = now}, NULL);
	mr_incoming_set_time(pair->destination, now);
	tell_destination(pair, &(struct mr_log_record){.kind = MR_LOG_TIME, .count = now}, NULL);
}

/* ---- Memory of the source's guest ---- */

static void fill_page(struct pair *pair, uint32_t block, uint64_t page)
{
	uint8_t *at = pair->memory[block] + page * PAIR_PAGE;
	const uint8_t byte = (uint8_t)random_below(&pair->random, 256);

	switch (random_below(&pair->random, 4)) {
	case 0:
		memset(at, 0, PAIR_PAGE);
		break;
	case 1:
		memset(at, byte, PAIR_PAGE);
		break;
	case 2:
		random_fill(&pair->random, at, PAIR_PAGE);
		break;
	default:
		at[random_below(&pair->random, PAIR_PAGE)] = byte;
		break;
	}
	pair->dirty[block][page] = true;
}

static const uint8_t *read_page(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	struct pair *pair = argument;

	(void)actor;
	(void)look;
	if (pair->watch && pair->watch->look)
		pair->watch->look(pair->watch->argument, block, offset);
	return pair->memory[block] + offset;
}

/* ---- Memory of the destination's ---- */

static uint8_t *arrived_page(void *argument, uint32_t block, uint64_t offset)
{
	struct pair *pair = argument;

	pair->present[block][offset / PAIR_PAGE] = true;
	return pair->arrived[block] + offset;
}

static void arrived_zero(void *argument, uint32_t block, uint64_t offset)
{
	memset(arrived_page(argument, block, offset), 0, PAIR_PAGE);
}

static int place(struct pair *pair, const struct mr_action_placed *placed)
{
	const uint64_t first = placed->offset / PAIR_PAGE, count = placed->length / PAIR_PAGE;

	for (uint64_t i = 0; i < count; i++) {
		if (pair->present[placed->block][first + i]) {
			pair->placed_twice++;
			return HOST_EEXIST;
		}
		pair->present[placed->block][first + i] = true;
	}
	if (placed->zero || !placed->data)
		memset(pair->arrived[placed->block] + placed->offset, 0, placed->length);
	else
		memcpy(pair->arrived[placed->block] + placed->offset, placed->data, placed->length);
	return 0;
}

static int discard(struct pair *pair, const struct mr_action_range *range)
{
	pair->discards++;
	for (uint64_t at = range->start; at < range->start + range->length; at += PAIR_PAGE)
		pair->present[range->block][at / PAIR_PAGE] = false;
	memset(pair->arrived[range->block] + range->start, 0, range->length);
	return 0;
}

static int write_packet(struct pair *pair, const struct mr_action *action)
{
	const struct mr_multifd_packet *packet = &action->packet.record;
	const uint32_t flag = packet->flags & MR_MULTIFD_METHOD_MASK;
	const struct mr_multifd_method *method = mr_multifd_method_by_flag(flag);
	uint8_t *pages[MR_PACKET_PAGES_MAX];
	void **state = &pair->method_states[action->packet.multifd];
	char found[96];

	pair->packets++;
	if (action->packet.block == UINT32_MAX)
		return 0;
	for (uint32_t i = 0; i < packet->normal_pages; i++)
		pages[i] = arrived_page(pair, action->packet.block, mr_multifd_offset(packet, i));
	for (uint32_t i = 0; i < packet->zero_pages; i++)
		arrived_zero(pair, action->packet.block, mr_multifd_offset(packet, packet->normal_pages + i));
	if (packet->normal_pages == 0)
		return 0;
	if (!*state)
		*state = method->recv_setup(PAIR_PAGE);
	return method->recv(*state, packet->payload, pages, packet->normal_pages, found) == MR_NO_RULE ? 0 : HOST_EIO;
}

/* ---- Setting up ---- */

static uint32_t older(const char *a, const char *b)
{
	struct mr_profile profile;

	mr_profile_init(&profile, a);
	return !mr_profile_within(&profile, b, "");
}

static void set_profiles(struct pair *pair)
{
	const char *source = pair->setup.source ? pair->setup.source : "11.1";
	const char *destination = pair->setup.destination ? pair->setup.destination : source;

	if (pair->setup.machine)
		snprintf(pair->machine, sizeof(pair->machine), "%s", pair->setup.machine);
	else
		snprintf(pair->machine, sizeof(pair->machine), "pc-i440fx-%s",
			 older(source, destination) ? source : destination);
	assert_int_equal(mr_profile_init(&pair->profiles[0], source), 0);
	assert_int_equal(mr_profile_init(&pair->profiles[1], destination), 0);
	for (unsigned i = 0; i < 2; i++) {
		mr_profile_apply_machine(&pair->profiles[i], pair->machine);
		/* A release without the property does what it always did. */
		if (pair->setup.unlike)
			mr_profile_set_property(&pair->profiles[i], pair->setup.unlike,
						pair->setup.unlike_source == (i == 0));
	}
}

static void set_blocks(struct pair *pair)
{
	static const char *const names[PAIR_BLOCKS] = {"mem", "vga.ram", "/rom@etc/acpi/tables"};
	static const uint64_t pages[PAIR_BLOCKS] = {PAIR_PAGES, 20, 1};
	uint64_t offset = 0;

	for (unsigned i = 0; i < PAIR_BLOCKS; i++) {
		pair->blocks[i] = (struct mr_outgoing_block){
			.name = names[i],
			.used_length = pages[i] * PAIR_PAGE,
			.page_size = i == 0 ? pair->setup.huge_page_size : 0,
			.address = offset,
			.cache_offset = offset,
		};
		offset += pages[i] * PAIR_PAGE;
		for (uint64_t page = 0; page < pages[i]; page++)
			fill_page(pair, i, page);
	}
}

static void set_handlers(struct mr_handlers *handlers, const struct mr_profile *profile,
			 struct mr_handler_entry entries[8])
{
	struct mr_handler ram;
	char error[96];

	mr_handlers_init(handlers, profile, entries, 8);
	assert_true(mr_handler_known("ram", &ram));
	assert_int_equal(mr_handlers_register(handlers, &ram, NULL, error), MR_NO_RULE);
	for (unsigned i = 0; i < PAIR_DEVICES; i++) {
		const struct mr_handler device = {
			.name = device_names[i], .instance = 0, .alias = MR_ALIAS_NONE, .version = 2 + i};

		assert_int_equal(mr_handlers_register(handlers, &device, NULL, error), MR_NO_RULE);
	}
}

static void start_source(struct pair *pair)
{
	const struct pair_setup *setup = &pair->setup;
	struct mr_outgoing_config *config = &pair->source_config;
	char error[96];
	size_t size;

	*config = (struct mr_outgoing_config){
		.profile = pair->profiles[0],
		.capabilities = setup->capabilities,
		.pause_before_switchover = setup->pause_before_switchover,
		.release_ram = setup->release_ram,
		.auto_converge = setup->auto_converge,
		.machine = pair->machine,
		.blocks = pair->blocks,
		.block_count = PAIR_BLOCKS,
		.handlers = &pair->handlers,
		.max_bandwidth = 4 << 20,
		.max_postcopy_bandwidth = 64 << 10, /* so slow that the guest runs before its pages have come */
		.clear_bitmap_shift = 6,
		.xbzrle_cache_size = 16 * PAIR_PAGE,
		.multifd_channels = setup->multifd_channels,
		.method = setup->method ? mr_multifd_method_by_name(setup->method) : NULL,
		.method_level = INT32_MIN,
		.zero_detection = setup->zero_detection,
		.downtime_limit = 1,
		.connections_max = PAIR_CONNECTIONS,
		.memory = {pair, read_page},
		.choices = setup->choices,
		.unusual_choices = setup->unusual_choices,
	};
	size = mr_outgoing_size(config, error);
	if (size == 0)
		fail_msg("source: %s", error);
	pair->source_arena = calloc(1, size);
	pair->source = mr_outgoing_init(pair->source_arena, size, config);
	assert_non_null(pair->source);
}

static void start_destination(struct pair *pair)
{
	const struct pair_setup *setup = &pair->setup;
	struct mr_incoming_block *blocks = pair->destination_blocks;
	const struct mr_multifd_method *method = setup->method ? mr_multifd_method_by_name(setup->method) : NULL;
	struct mr_incoming_config *config = &pair->destination_config;
	char error[96];
	size_t size;

	*config = (struct mr_incoming_config){
		/* It reads by what its own release knows. */
		.context = {.profile = pair->profiles[1],
			    .capabilities_known = true,
			    .capabilities = setup->capabilities,
			    .multifd_channels = setup->multifd_channels,
			    .multifd_method = method ? method->flag : 0,
			    .description = pair->description},
		.profile = pair->profiles[1],
		.strict = setup->strict,
		.blocks = blocks,
		.block_count = PAIR_BLOCKS,
		.connections_max = PAIR_CONNECTIONS,
		.blocktime = setup->blocktime,
		.vcpu_count = setup->blocktime ? VCPUS : 0,
		.handlers = setup->handlers ? &pair->destination_handlers : NULL,
		.memory = {pair, arrived_page, arrived_zero},
	};
	memcpy(config->context.machine, pair->machine, strlen(pair->machine) + 1);
	for (unsigned i = 0; i < PAIR_BLOCKS; i++)
		blocks[i] = (struct mr_incoming_block){
			.name = pair->blocks[i].name,
			.used_length = pair->blocks[i].used_length,
			.page_size = pair->blocks[i].page_size,
			.rank = i,
		};
	for (unsigned i = 0; i < 2; i++) {
		pair->temporary[i] = calloc(1, setup->huge_page_size ? setup->huge_page_size : PAIR_PAGE);
		config->temporary[i] = setup->unassembled ? NULL : pair->temporary[i];
	}
	size = mr_incoming_size(config, error);
	if (size == 0)
		fail_msg("destination: %s", error);
	pair->destination_arena = calloc(1, size);
	pair->destination = mr_incoming_init(pair->destination_arena, size, config);
	assert_non_null(pair->destination);
}

struct mr_bytes pair_description(void)
{
	return (struct mr_bytes){(const uint8_t *)description, strlen(description)};
}

struct pair *pair_new(const struct pair_setup *setup)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	char error[96];

	assert_non_null(pair);
	pair->setup = *setup;
	pair->random.state = setup->seed * 2654435761u + 1;
	pair->cuts_left = setup->cuts;
	pair->tries_left = setup->cuts + 2; /* some fail by themselves: a request may come too early (REC-011) */
	pair->description = mr_description_new(pair_description(), error);
	if (!pair->description)
		fail_msg("description: %s", error);
	set_profiles(pair);
	set_blocks(pair);
	set_handlers(&pair->handlers, &pair->profiles[0], pair->entries);
	set_handlers(&pair->destination_handlers, &pair->profiles[1], pair->destination_entries);
	start_source(pair);
	start_destination(pair);
	for (uint32_t i = 0; setup->blocktime && i < VCPUS; i++)
		assert_true(mr_incoming_vcpu(pair->destination, i, i + 1));
	return pair;
}

void pair_watch(struct pair *pair, const struct mr_watch *watch)
{
	pair->watch = watch;
	for (uint32_t i = 0; pair->setup.blocktime && i < VCPUS; i++)
		tell_destination(pair, &(struct mr_log_record){.kind = MR_LOG_VCPU, .count = i, .thread = i + 1}, NULL);
}

void pair_free(struct pair *pair)
{
	mr_outgoing_clear(pair->source);
	for (unsigned i = 0; i < 4; i++)
		if (pair->method_states[i])
			mr_multifd_method_by_name(pair->setup.method ? pair->setup.method : "none")
				->recv_cleanup(pair->method_states[i]);
	for (unsigned i = 0; i < PAIR_CONNECTIONS; i++) {
		build_free(&pair->connections[i].forward);
		build_free(&pair->connections[i].backward);
	}
	build_free(&pair->text);
	mr_description_free(pair->description);
	free(pair->temporary[0]);
	free(pair->temporary[1]);
	free(pair->source_arena);
	free(pair->destination_arena);
	free(pair);
}

/* ---- The source's actions ---- */

static void put_log(struct pair *pair)
{
	for (uint32_t block = 0; block < PAIR_BLOCKS; block++)
		for (uint64_t page = 0; page < pair->blocks[block].used_length / PAIR_PAGE; page++)
			if (pair->dirty[block][page]) {
				tell_source(pair,
					    &(struct mr_source_log_record){.kind = MR_SOURCE_LOG_DIRTY,
									   .block = block,
									   .start = page * PAIR_PAGE,
									   .length = PAIR_PAGE},
					    NULL);
				assert_true(mr_outgoing_dirty(pair->source, block, page * PAIR_PAGE, PAIR_PAGE));
				pair->dirty[block][page] = false;
			}
}

/* A device's state: its name and as many bytes as its name is long, so that a body is known again. */
static void save_device(struct pair *pair, uint32_t handler)
{
	static uint8_t body[64];
	const struct mr_handler_entry *entry = &pair->handlers.entries[handler];

	memcpy(body, entry->idstr, entry->idstr_length);
	memset(body + entry->idstr_length, 0x40 + (int)handler, entry->idstr_length);
	mr_outgoing_save(pair->source, (struct mr_bytes){body, 2u * entry->idstr_length});
}

/* With multifd, releases up to 7.2 take every connection but the first for a multifd channel. */
static enum mr_role role_there(const struct pair *pair, enum mr_role role)
{
	const bool peeks = pair->profiles[1].on[MR_SWITCH_CHANNEL_PEEK];

	return role == MR_ROLE_PREEMPT && (pair->setup.capabilities & MR_CAPABILITY_MULTIFD) && !peeks ? MR_ROLE_MULTIFD
												       : role;
}

static void connect(struct pair *pair, uint32_t channel, enum mr_role role)
{
	assert_true(channel < PAIR_CONNECTIONS);
	assert_int_equal(channel, pair->connection_count);
	/* Windows point into these: they must not move. */
	build_room(&pair->connections[channel].forward, FORWARD_MAX);
	build_room(&pair->connections[channel].backward, BACKWARD_MAX);
	pair->connections[channel].forward.length = pair->connections[channel].backward.length = 0;
	pair->connections[channel].open = true;
	pair->connections[channel].role = role;
	pair->connection_count++;
	pair->tries_left -= role == MR_ROLE_RECOVERY;
	assert_int_equal(mr_incoming_open(pair->destination, channel, role_there(pair, role)), 0);
	tell_line(pair, &(struct mr_line){.event = MR_LINE_OPEN, .time = pair->now, .channel = channel});
	tell_destination(
		pair, &(struct mr_log_record){.kind = MR_LOG_OPEN, .channel = channel, .role = role_there(pair, role)},
		NULL);
}

static void write_line(struct pair *pair, const struct mr_source_action *action)
{
	char line[160];
	int length;

	if (action->kind == MR_SOURCE_ACTION_SEND)
		length = snprintf(line, sizeof(line), "%s send %u %s %zu\n", mr_source_actor_name(action->actor),
				  action->send.channel, mr_kind_name(action->send.kind),
				  action->send.head.length + action->send.body.length);
	else if (action->kind == MR_SOURCE_ACTION_STATUS)
		length = snprintf(line, sizeof(line), "status %s\n", mr_source_status_name(action->status));
	else
		length = snprintf(line, sizeof(line), "%s %s\n", mr_source_actor_name(action->actor),
				  mr_source_action_name(action->kind));
	build_bytes(&pair->text, line, (size_t)length);
}

static void carry_out_source(struct pair *pair, const struct mr_source_action *action)
{
	struct pair_connection *connection;

	switch (action->kind) {
	case MR_SOURCE_ACTION_SEND:
		connection = &pair->connections[action->send.channel];
		assert_int_equal(connection->forward.length, action->send.offset);
		tell_line(pair, &(struct mr_line){.event = MR_LINE_BYTES,
						  .time = pair->now,
						  .channel = action->send.channel,
						  .offset = action->send.offset,
						  .length = action->send.head.length + action->send.body.length,
						  .head = action->send.head,
						  .body = action->send.body});
		build_bytes(&connection->forward, action->send.head.data, action->send.head.length);
		build_bytes(&connection->forward, action->send.body.data, action->send.body.length);
		break;
	case MR_SOURCE_ACTION_CONNECT:
		connect(pair, action->connect.channel, action->connect.role);
		break;
	case MR_SOURCE_ACTION_CLOSE:
		pair->connections[action->channel].forward_closed = true;
		break;
	case MR_SOURCE_ACTION_LOG_SYNC:
		put_log(pair);
		break;
	case MR_SOURCE_ACTION_STOP_GUEST:
		pair->guest_stopped = true;
		break;
	case MR_SOURCE_ACTION_START_GUEST:
		pair->guest_stopped = false;
		break;
	case MR_SOURCE_ACTION_SAVE:
		save_device(pair, action->save.handler);
		break;
	case MR_SOURCE_ACTION_DESCRIBE:
		mr_outgoing_save(pair->source, pair_description());
		break;
	case MR_SOURCE_ACTION_FINISHED:
		pair->source_finished = true;
		break;
	case MR_SOURCE_ACTION_PAUSED:
		pair->source_paused = true;
		break;
	case MR_SOURCE_ACTION_FAILED:
		pair->source_failed = true;
		pair->source_error = action->finding;
		break;
	default:
		break;
	}
}

/* Writing would block: each thread but the reader of the return path writes on channels of its own. */
static bool has_no_room(const struct pair *pair, unsigned actor)
{
	for (unsigned i = 0, multifd = MR_SOURCE_MULTIFD; i < pair->connection_count; i++) {
		const struct pair_connection *connection = &pair->connections[i];
		const uint64_t held = connection->forward.length - mr_incoming_consumed(pair->destination, i);
		const unsigned writer = connection->role == MR_ROLE_MULTIFD ? multifd++ : MR_SOURCE_MIGRATION;

		if (pair->setup.room && writer == actor && !connection->cut && held >= pair->setup.room)
			return true;
	}
	return false;
}

enum mr_step pair_step_source(struct pair *pair, unsigned actor)
{
	struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_WAIT, .actor = actor, .count = 1};
	struct mr_source_action action = {0};
	enum mr_step step;

	if (has_no_room(pair, actor))
		return MR_STEP_WAITS;
	step = mr_outgoing_step(pair->source, actor, &action);
	if (step != MR_STEP_ACTION) {
		tell_source(pair, &record, NULL);
		return step;
	}
	assert_int_equal(action.actor, actor);
	pair->said[action.kind]++;
	write_line(pair, &action);
	carry_out_source(pair, &action);
	if (action.asked)
		assert_true(mr_outgoing_complete(pair->source, actor, 0));
	record.kind = MR_SOURCE_LOG_STEP;
	tell_source(pair, &record, &action);
	return step;
}

/* ---- The destination's actions ---- */

static int carry_out_destination(struct pair *pair, const struct mr_action *action)
{
	switch (action->kind) {
	case MR_ACTION_SEND:
		if (pair->setup.refuses && pair->connections[action->send.channel].cut)
			return HOST_EIO;
		tell_line(pair, &(struct mr_line){.event = MR_LINE_BYTES,
						  .time = pair->now,
						  .channel = action->send.channel,
						  .backward = true,
						  .offset = pair->connections[action->send.channel].backward.length,
						  .length = action->send.bytes.length,
						  .head = action->send.bytes});
		build_bytes(&pair->connections[action->send.channel].backward, action->send.bytes.data,
			    action->send.bytes.length);
		return 0;
	case MR_ACTION_DISCARD:
		return discard(pair, &action->range);
	case MR_ACTION_PLACE:
		return place(pair, &action->placed);
	case MR_ACTION_PACKET:
		return write_packet(pair, action);
	case MR_ACTION_LOAD_DEVICE:
		pair->devices_loaded++;
		return 0;
	case MR_ACTION_START_GUEST:
		pair->guest_moved = true;
		return 0;
	case MR_ACTION_FINISHED:
		pair->destination_finished = true;
		return 0;
	case MR_ACTION_FAILED:
		pair->destination_failed = true;
		return 0;
	case MR_ACTION_REQUEST:
		pair->requests++;
		return 0;
	default:
		return 0;
	}
}

enum mr_step pair_step_destination(struct pair *pair, unsigned actor)
{
	struct mr_action action = {0};
	const enum mr_step step = mr_incoming_step(pair->destination, actor, &action);
	struct mr_log_record record = {
		.kind = MR_LOG_WAIT, .actor = actor, .channel = MR_INCOMING_CHANNELS_MAX, .count = 1};

	if (step == MR_STEP_BYTES) {
		record.channel = mr_incoming_wants(pair->destination, actor).channel;
		record.bytes = pair->connections[record.channel].forward_shown;
	}
	if (step != MR_STEP_ACTION) {
		tell_destination(pair, &record, NULL);
		return step;
	}
	record.error = carry_out_destination(pair, &action);
	record.kind = MR_LOG_ERROR;
	/* A return path that takes no more was told. */
	if (record.error && action.kind != MR_ACTION_SEND)
		tell_destination(pair, &record, NULL);
	if (action.asked)
		assert_true(mr_incoming_complete(pair->destination, actor, record.error));
	record.kind = MR_LOG_STEP;
	tell_destination(pair, &record, &action);
	return step;
}

/* ---- What is between them ---- */

static void show(struct pair *pair, unsigned index)
{
	struct pair_connection *connection = &pair->connections[index];
	const uint64_t consumed = mr_incoming_consumed(pair->destination, index);
	const uint64_t taken = mr_outgoing_consumed(pair->source, index);
	const bool over = connection->forward_closed && connection->forward_shown == connection->forward.length;
	const bool reads = connection->role == MR_ROLE_MAIN || connection->role == MR_ROLE_RECOVERY;

	if ((over || connection->cut) && !connection->end_told) {
		connection->end_told = true;
		tell_destination(pair,
				 &(struct mr_log_record){.kind = MR_LOG_END,
							 .channel = index,
							 .bytes = connection->forward_shown,
							 .error = connection->cut ? HOST_EIO : 0},
				 NULL);
	}
	if (reads)
		tell_source(pair,
			    &(struct mr_source_log_record){.kind = MR_SOURCE_LOG_ARRIVE,
							   .channel = index,
							   .bytes = connection->backward_shown,
							   .ended = connection->cut},
			    NULL);
	mr_incoming_feed(pair->destination, index, connection->forward.bytes + consumed,
			 connection->forward_shown - consumed, over || connection->cut, connection->cut ? HOST_EIO : 0);
	if (reads)
		mr_outgoing_feed(pair->source, index, connection->backward.bytes + taken,
				 connection->backward_shown - taken, connection->cut, connection->cut ? HOST_EIO : 0);
}

static bool deliver_some(struct pair *pair, unsigned index, bool all)
{
	struct pair_connection *connection = &pair->connections[index];
	const size_t forward = connection->forward.length - connection->forward_shown;
	const size_t backward = connection->backward.length - connection->backward_shown;

	if (connection->cut)
		return false;
	connection->forward_shown += all ? forward : random_below(&pair->random, forward + 1);
	connection->backward_shown += all ? backward : random_below(&pair->random, backward + 1);
	show(pair, index);
	return forward || backward;
}

static void deliver_somewhere(struct pair *pair)
{
	const bool all = random_below(&pair->random, 4) == 0;

	if (pair->connection_count)
		deliver_some(pair, (unsigned)random_below(&pair->random, pair->connection_count), all);
}

void pair_deliver(struct pair *pair)
{
	for (unsigned i = 0; i < pair->connection_count; i++)
		deliver_some(pair, i, true);
}

/* What is on its way is lost, at both ends. */
static void cut(struct pair *pair, bool all)
{
	for (unsigned i = 0; i < pair->connection_count; i++) {
		struct pair_connection *connection = &pair->connections[i];

		if (!connection->open || connection->cut || (connection->role == MR_ROLE_MULTIFD && !all))
			continue;
		connection->cut = true;
		for (unsigned backward = 0; backward < 2; backward++)
			tell_line(pair, &(struct mr_line){.event = MR_LINE_CUT,
							  .time = pair->now,
							  .channel = i,
							  .backward = backward,
							  .length = backward ? connection->backward_shown
									     : connection->forward_shown});
		if (pair->setup.refuses)
			tell_destination(pair,
					 &(struct mr_log_record){.kind = MR_LOG_RETURN_END,
								 .channel = i,
								 .bytes = connection->backward.length},
					 NULL);
		show(pair, i);
		mr_outgoing_broken(pair->source, i, HOST_EIO);
		tell_source(
			pair,
			&(struct mr_source_log_record){.kind = MR_SOURCE_LOG_BROKEN, .channel = i, .error = HOST_EIO},
			NULL);
	}
}

/* ---- Chance ---- */

static void guest_writes(struct pair *pair)
{
	const uint32_t block = (uint32_t)random_below(&pair->random, PAIR_BLOCKS);
	const uint64_t pages = pair->blocks[block].used_length / PAIR_PAGE;

	/* In the end it grows tired, so that every precopy converges. */
	if (!pair->guest_stopped && !pair->setup.quiet && pair->writes++ < WRITES_MAX)
		fill_page(pair, block, random_below(&pair->random, pages));
}

static void guest_faults(struct pair *pair)
{
	const uint32_t block = (uint32_t)random_below(&pair->random, PAIR_BLOCKS);
	const uint64_t page = random_below(&pair->random, pair->blocks[block].used_length / PAIR_PAGE);

	struct mr_log_record record = {.kind = MR_LOG_FAULT, .block = block, .offset = page * PAIR_PAGE, .thread = 1};

	if (!pair->guest_moved || pair->present[block][page])
		return;
	/* One thread more than there are vCPUs. */
	if (pair->setup.blocktime)
		record.thread += random_below(&pair->random, VCPUS + 1);
	if (!mr_incoming_fault(pair->destination, block, record.offset, record.thread))
		return;
	pair->faults++;
	tell_destination(pair, &record, NULL);
}

static bool command(struct pair *pair, enum mr_source_command which, bool (*function)(struct mr_outgoing *))
{
	if (!function(pair->source))
		return false;
	tell_source(pair, &(struct mr_source_log_record){.kind = MR_SOURCE_LOG_COMMAND, .command = which}, NULL);
	return true;
}

static void operate(struct pair *pair)
{
	const enum mr_source_status status = mr_outgoing_status(pair->source);

	if (pair->setup.switches && status == MR_SOURCE_STATUS_ACTIVE && random_below(&pair->random, 40) == 0)
		command(pair, MR_SOURCE_COMMAND_START_POSTCOPY, mr_outgoing_start_postcopy);
	if (status == MR_SOURCE_STATUS_PRE_SWITCHOVER)
		command(pair, MR_SOURCE_COMMAND_CONTINUE, mr_outgoing_continue);
	/* Where only SHUT is missing, a cut leaves a source that nobody can help. */
	if (pair->cuts_left && mr_outgoing_dirty_count(pair->source) && status == MR_SOURCE_STATUS_POSTCOPY_ACTIVE &&
	    pair->guest_moved && mr_incoming_status(pair->destination) == MR_STATUS_POSTCOPY_ACTIVE &&
	    random_below(&pair->random, 30) == 0) {
		pair->cuts_left--;
		cut(pair, false);
	}
	if (pair->setup.breaks && !pair->broken && random_below(&pair->random, 40) == 0) {
		pair->broken = true;
		cut(pair, true);
	}
	if (pair->setup.cancels && random_below(&pair->random, 60) == 0)
		command(pair, MR_SOURCE_COMMAND_CANCEL, mr_outgoing_cancel);
	if (status == MR_SOURCE_STATUS_POSTCOPY_PAUSED && pair->tries_left &&
	    mr_incoming_status(pair->destination) == MR_STATUS_POSTCOPY_PAUSED)
		command(pair, MR_SOURCE_COMMAND_RECOVER, mr_outgoing_recover);
}

static bool step_somebody(struct pair *pair)
{
	const unsigned senders = pair->setup.multifd_channels;
	const unsigned of_source = MR_SOURCE_MULTIFD + senders, of_destination = MR_ACTOR_MULTIFD + senders;
	const unsigned choice = (unsigned)random_below(&pair->random, of_source + of_destination);

	if (choice < of_source)
		return pair_step_source(pair, choice) == MR_STEP_ACTION;
	return pair_step_destination(pair, choice - of_source) == MR_STEP_ACTION;
}

void pair_step(struct pair *pair)
{
	switch (random_below(&pair->random, 16)) {
	case 0:
		guest_writes(pair);
		break;
	case 1:
		guest_faults(pair);
		break;
	case 2:
		set_time(pair, pair->now + random_below(&pair->random, 20000000));
		break;
	case 3:
		operate(pair);
		break;
	case 4:
	case 5:
		deliver_somewhere(pair);
		break;
	default:
		step_somebody(pair);
		break;
	}
}

static bool is_over(const struct pair *pair)
{
	return (pair->source_finished || pair->source_failed) &&
	       (pair->destination_finished || pair->destination_failed);
}

bool pair_run(struct pair *pair)
{
	for (unsigned i = 0; i < STEPS_MAX && !is_over(pair); i++)
		pair_step(pair);
	return is_over(pair);
}

bool pair_settle(struct pair *pair)
{
	const unsigned senders = pair->setup.multifd_channels;

	for (unsigned idle = 0; idle < IDLE_MAX && !is_over(pair); idle++) {
		pair_deliver(pair);
		set_time(pair, pair->now + 1000000000);
		operate(pair);
		for (unsigned actor = 0; actor < MR_SOURCE_MULTIFD + senders; actor++)
			if (pair_step_source(pair, actor) == MR_STEP_ACTION)
				idle = 0;
		pair_deliver(pair);
		for (unsigned actor = 0; actor < MR_ACTOR_MULTIFD + senders; actor++)
			if (pair_step_destination(pair, actor) == MR_STEP_ACTION)
				idle = 0;
	}
	return is_over(pair);
}

/* ---- Judgement ---- */

bool pair_differs(const struct pair *pair, uint32_t *block, uint64_t *page)
{
	for (*block = 0; *block < PAIR_BLOCKS; ++*block)
		for (*page = 0; *page < pair->blocks[*block].used_length / PAIR_PAGE; ++*page)
			if (memcmp(pair->memory[*block] + *page * PAIR_PAGE, pair->arrived[*block] + *page * PAIR_PAGE,
				   PAIR_PAGE))
				return true;
	return false;
}

void expect_migrated(const struct pair *pair)
{
	uint32_t block;
	uint64_t page;

	if (pair->source_failed)
		fail_msg("source failed: %s expected %s, found %s", mr_rule_id(pair->source_error.rule),
			 pair->source_error.expected, pair->source_error.found);
	if (pair->destination_failed)
		fail_msg("destination failed: %s expected %s, found %s",
			 mr_rule_id(mr_incoming_error(pair->destination)->rule),
			 mr_incoming_error(pair->destination)->expected, mr_incoming_error(pair->destination)->found);
	assert_true(pair->source_finished);
	assert_true(pair->destination_finished);
	if (pair_differs(pair, &block, &page))
		fail_msg("%s page %u differs", pair->blocks[block].name, (unsigned)page);
	assert_int_equal(pair->placed_twice, 0);
	assert_int_equal(pair->devices_loaded, PAIR_DEVICES);
}

struct judgement {
	enum mr_verdict worst;
	struct build *findings;
};

static void take_finding(void *argument, const struct mr_finding *finding)
{
	struct judgement *judgement = argument;
	char line[320];
	const int length = snprintf(line, sizeof(line), "channel %u offset %llu: %s expected %s, found %s\n",
				    finding->channel, (unsigned long long)finding->offset, mr_rule_id(finding->rule),
				    finding->expected, finding->found);

	build_bytes(judgement->findings, line, (size_t)length);
	if (finding->verdict > judgement->worst)
		judgement->worst = finding->verdict;
}

/* Broken by chance, or given up for the connection after it. */
static bool is_cut(const struct pair *pair, unsigned index)
{
	bool again = false;

	for (unsigned i = index + 1; i < pair->connection_count; i++)
		again |= pair->connections[i].role == MR_ROLE_RECOVERY;
	return pair->connections[index].cut || (again && pair->connections[index].role != MR_ROLE_MULTIFD);
}

static void check_channel(struct mr_checker *checker, struct mr_session *session, const struct pair *pair,
			  unsigned index, struct judgement *judgement)
{
	const struct pair_connection *connection = &pair->connections[index];
	const uint8_t *window = connection->forward.bytes;
	size_t length = connection->cut ? connection->forward_shown : connection->forward.length;
	struct mr_decoder *decoder = calloc(1, sizeof(*decoder));
	enum mr_result result;
	struct mr_record record;

	mr_decoder_init(decoder, session, connection->role, index);
	while ((result = mr_decode(decoder, window, length, !is_cut(pair, index), &record)) == MR_RECORD) {
		mr_checker_record(checker, decoder, &record);
		window += record.length;
		length -= record.length;
	}
	if (result == MR_FAILED)
		take_finding(judgement, &decoder->error);
	mr_checker_channel_end(checker, decoder, is_cut(pair, index));
	free(decoder);
}

enum mr_verdict pair_check(const struct pair *pair, struct build *findings)
{
	const struct mr_multifd_method *method =
		pair->setup.method ? mr_multifd_method_by_name(pair->setup.method) : NULL;
	const struct mr_context context = {
		.profile = pair->profiles[0],
		.capabilities_known = true,
		.capabilities = pair->setup.capabilities,
		.multifd_channels = pair->setup.multifd_channels,
		.multifd_method = method ? method->flag : 0,
		.description = pair->description,
	};
	struct judgement judgement = {MR_VALID, findings};
	struct mr_session *session = calloc(1, sizeof(*session));
	struct mr_checker *checker;

	mr_session_init(session, &context, take_finding, &judgement);
	checker = mr_checker_new(session);
	for (unsigned pass = 0; pass < 2; pass++)
		for (unsigned i = 0; i < pair->connection_count; i++) {
			const enum mr_role role = pair->connections[i].role;

			if ((role == MR_ROLE_MAIN || role == MR_ROLE_RECOVERY) == (pass == 0))
				check_channel(checker, session, pair, i, &judgement);
		}
	mr_checker_finish(checker);
	mr_checker_free(checker);
	free(session);
	return judgement.worst;
}

/* Rules that streams of some releases break, and are taken all the same. */
static const struct {
	const char *rule;
	enum mr_switch by;
} known[] = {
	{"CMD-012", MR_SWITCH_DISCARD_EMPTY_RANGES},
	{"CMD-014", MR_SWITCH_DISCARD_TWICE},
	{"RAM-020", MR_SWITCH_FLUSH_WITHOUT_MULTIFD},
	{"MFD-015", MR_SWITCH_PACKET_SIZE_STALE},
	{"MFD-022", MR_SWITCH_SYNC_WITH_PAGES},
	{"MFD-023", MR_SWITCH_SYNC_WITH_PAGES},
	{"MFD-024", MR_SWITCH_SYNC_WITH_PAGES},
	{"MFD-025", MR_SWITCH_PACKET_LEFTOVERS},
	{"MFD-032", MR_SWITCH_FLUSH_AT_COMPLETION_MISSING},
};

static bool is_known(const struct pair *pair, const char *line)
{
	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strstr(line, known[i].rule) && mr_profile_does(&pair->profiles[0], known[i].by))
			return true;
	return false;
}

void expect_valid(const struct pair *pair)
{
	struct build findings = {0};
	char *line, *rest;

	pair_check(pair, &findings);
	build_u8(&findings, 0);
	for (line = strtok_r((char *)findings.bytes, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (!is_known(pair, line))
			fail_msg("%s seed %llu: %s", pair->profiles[0].release, (unsigned long long)pair->setup.seed,
				 line);
	build_free(&findings);
}
