/* outgoing.c: the source's memory, its inputs, and the steps of its actors. */
#include "source.h"
#include "machine/arena.h"

#include <inttypes.h>

enum {
	DEFAULT_PAGE_SIZE = 4096,
	SPARE_CONNECTIONS = 8,
	HOST_PAGE_MAX = 1 << 30,
	CLEAR_SHIFT_DEFAULT = 18,
	CLEAR_SHIFT_LEAST = 6,
	CLEAR_SHIFT_MOST = 31,
	MULTIFD_CHANNELS_DEFAULT = 2,
	DOWNTIME_LIMIT_DEFAULT = 300, /* ms */
	XBZRLE_CACHE_DEFAULT = 64 << 20,
	BANDWIDTH_DEFAULT = 128 << 20,
	BANDWIDTH_DEFAULT_ONCE = 32 << 20,
	THROTTLE_INITIAL = 20,
	THROTTLE_INCREMENT = 10,
	THROTTLE_MAXIMUM = 99,
	THROTTLE_TRIGGER = 50,
};

static const char *const action_names[MR_SOURCE_ACTION_KIND_COUNT] = {
	[MR_SOURCE_ACTION_SEND] = "send",
	[MR_SOURCE_ACTION_STATUS] = "status",
	[MR_SOURCE_ACTION_ITERATION] = "iteration",
	[MR_SOURCE_ACTION_RETURN] = "return",
	[MR_SOURCE_ACTION_REQUEST] = "request",
	[MR_SOURCE_ACTION_DISCARDED] = "discarded",
	[MR_SOURCE_ACTION_DISPATCHED] = "dispatched",
	[MR_SOURCE_ACTION_BARRIER] = "barrier",
	[MR_SOURCE_ACTION_PAUSED] = "paused",
	[MR_SOURCE_ACTION_FINISHED] = "finished",
	[MR_SOURCE_ACTION_FAILED] = "failed",
	[MR_SOURCE_ACTION_CONNECT] = "connect",
	[MR_SOURCE_ACTION_CLOSE] = "close",
	[MR_SOURCE_ACTION_LOG_START] = "log-start",
	[MR_SOURCE_ACTION_LOG_SYNC] = "log-sync",
	[MR_SOURCE_ACTION_LOG_CLEAR] = "log-clear",
	[MR_SOURCE_ACTION_LOG_STOP] = "log-stop",
	[MR_SOURCE_ACTION_UNPLUG] = "unplug",
	[MR_SOURCE_ACTION_STOP_GUEST] = "stop-guest",
	[MR_SOURCE_ACTION_START_GUEST] = "start-guest",
	[MR_SOURCE_ACTION_PROTECT] = "protect",
	[MR_SOURCE_ACTION_UNPROTECT] = "unprotect",
	[MR_SOURCE_ACTION_THROTTLE] = "throttle",
	[MR_SOURCE_ACTION_SAVE] = "save",
	[MR_SOURCE_ACTION_DESCRIBE] = "describe",
	[MR_SOURCE_ACTION_HOOK] = "hook",
	[MR_SOURCE_ACTION_RELEASE] = "release",
};

const char *mr_source_action_name(enum mr_source_action_kind kind)
{
	return (unsigned)kind < MR_SOURCE_ACTION_KIND_COUNT ? action_names[kind] : "unknown";
}

const char *mr_source_actor_name(unsigned actor)
{
	static const char *const names[] = {"migration", "return", "multifd"};

	if (actor >= MR_SOURCE_COUNT)
		return NULL;
	return names[actor < MR_SOURCE_MULTIFD ? actor : MR_SOURCE_MULTIFD];
}

const char *mr_source_status_name(enum mr_source_status status)
{
	static const char *const names[MR_SOURCE_STATUS_COUNT] = {
		[MR_SOURCE_STATUS_NONE] = "none",
		[MR_SOURCE_STATUS_SETUP] = "setup",
		[MR_SOURCE_STATUS_WAIT_UNPLUG] = "wait-unplug",
		[MR_SOURCE_STATUS_ACTIVE] = "active",
		[MR_SOURCE_STATUS_PRE_SWITCHOVER] = "pre-switchover",
		[MR_SOURCE_STATUS_DEVICE] = "device",
		[MR_SOURCE_STATUS_POSTCOPY_DEVICE] = "postcopy-device",
		[MR_SOURCE_STATUS_POSTCOPY_ACTIVE] = "postcopy-active",
		[MR_SOURCE_STATUS_POSTCOPY_PAUSED] = "postcopy-paused",
		[MR_SOURCE_STATUS_POSTCOPY_RECOVER_SETUP] = "postcopy-recover-setup",
		[MR_SOURCE_STATUS_POSTCOPY_RECOVER] = "postcopy-recover",
		[MR_SOURCE_STATUS_COMPLETED] = "completed",
		[MR_SOURCE_STATUS_FAILING] = "failing",
		[MR_SOURCE_STATUS_FAILED] = "failed",
		[MR_SOURCE_STATUS_CANCELLING] = "cancelling",
		[MR_SOURCE_STATUS_CANCELLED] = "cancelled",
	};

	return (unsigned)status < MR_SOURCE_STATUS_COUNT ? names[status] : "unknown";
}

/* ---- Configuration and memory ---- */

static void set_default(uint32_t *value, uint32_t standard)
{
	if (!*value)
		*value = standard;
}

static void set_default_parameters(struct mr_outgoing_config *config, const struct mr_profile *profile)
{
	const bool fast = mr_profile_does(profile, MR_SWITCH_BANDWIDTH_128);

	if (!config->max_bandwidth)
		config->max_bandwidth = fast ? BANDWIDTH_DEFAULT : BANDWIDTH_DEFAULT_ONCE;
	if (!config->downtime_limit)
		config->downtime_limit = DOWNTIME_LIMIT_DEFAULT;
	if (!config->xbzrle_cache_size)
		config->xbzrle_cache_size = XBZRLE_CACHE_DEFAULT;
	if (!(config->capabilities & MR_CAPABILITY_XBZRLE))
		config->xbzrle_cache_size = 0;
	set_default(&config->multifd_channels, MULTIFD_CHANNELS_DEFAULT);
	set_default(&config->clear_bitmap_shift, CLEAR_SHIFT_DEFAULT);
	if (config->clear_bitmap_shift < CLEAR_SHIFT_LEAST)
		config->clear_bitmap_shift = CLEAR_SHIFT_LEAST;
	if (config->clear_bitmap_shift > CLEAR_SHIFT_MOST)
		config->clear_bitmap_shift = CLEAR_SHIFT_MOST;
	set_default(&config->throttle_initial, THROTTLE_INITIAL);
	set_default(&config->throttle_increment, THROTTLE_INCREMENT);
	set_default(&config->throttle_maximum, THROTTLE_MAXIMUM);
	set_default(&config->throttle_trigger, THROTTLE_TRIGGER);
}

static void set_defaults(struct mr_outgoing_config *config)
{
	uint32_t connections = 1;

	if (!config->profile.known)
		mr_profile_init(&config->profile, "11.1");
	set_default(&config->target_page_size, DEFAULT_PAGE_SIZE);
	set_default(&config->host_page_size, DEFAULT_PAGE_SIZE);
	set_default_parameters(config, &config->profile);
	if (!config->package_max || (mr_profile_does(&config->profile, MR_SWITCH_PACKAGE_LIMIT_16M) &&
				     config->package_max > MR_INCOMING_PACKAGE_MAX))
		config->package_max = MR_INCOMING_PACKAGE_MAX;
	if (config->capabilities & MR_CAPABILITY_MULTIFD)
		connections += config->multifd_channels;
	if (config->capabilities & MR_CAPABILITY_POSTCOPY_PREEMPT)
		connections++;
	set_default(&config->connections_max, connections + SPARE_CONNECTIONS);
}

static bool complain(char error[96], struct mr_text text)
{
	memcpy(error, text.text, sizeof(text.text));
	return false;
}

static uint64_t block_page_size(const struct mr_outgoing_config *config, const struct mr_outgoing_block *block)
{
	return block->page_size ? block->page_size : config->host_page_size;
}

static bool is_possible_block(const struct mr_outgoing_config *config, const struct mr_outgoing_block *block,
			      char error[96])
{
	const uint64_t page = block_page_size(config, block);
	const size_t length = block->name ? strlen(block->name) : 0;

	if (length == 0 || length > MR_NAME_MAX)
		return complain(error, mr_text("a block's name: expected 1 to 255 bytes"));
	if (!mr_is_power_of_two(page) || page > HOST_PAGE_MAX)
		return complain(error, mr_text("a block's page size: expected a power of two up to 1 GiB"));
	if (block->used_length % config->target_page_size || block->used_length > (uint64_t)1 << 50)
		return complain(error, mr_text("a block's length: expected whole target pages, at most 1 PiB"));
	if ((config->capabilities & MR_CAPABILITY_POSTCOPY_RAM) && !block->ignored && block->used_length % page)
		return complain(error, mr_text("a block's length: expected whole host pages for postcopy"));
	return true;
}

static bool is_possible_page(const struct mr_outgoing_config *config, char error[96])
{
	if (!mr_is_power_of_two(config->target_page_size) || config->target_page_size < MR_PAGE_SIZE_MIN ||
	    config->target_page_size > MR_PAGE_SIZE_MAX)
		return complain(error, mr_text("target page size: expected a power of two from 1024 to 65536"));
	if (!mr_is_power_of_two(config->host_page_size) || config->host_page_size > HOST_PAGE_MAX)
		return complain(error, mr_text("host page size: expected a power of two up to 1 GiB"));
	if ((config->capabilities & MR_CAPABILITY_POSTCOPY_RAM) && config->target_page_size > config->host_page_size)
		return complain(error, mr_text("target page size: expected at most the host page for postcopy"));
	return true;
}

/* Without one of its hooks pages would wait that no turn ever comes to. */
static bool has_ram(const struct mr_handlers *handlers)
{
	struct mr_handler ram;

	mr_handler_known("ram", &ram);
	for (uint32_t i = 0; i < handlers->count; i++)
		if (strcmp(handlers->entries[i].idstr, "ram") == 0)
			return (handlers->entries[i].handler.hooks & ram.hooks) == ram.hooks;
	return false;
}

static bool is_possible(const struct mr_outgoing_config *config, char error[96])
{
	size_t cache;

	if (!is_possible_page(config, error))
		return false;
	if (config->capabilities & (MR_CAPABILITY_MAPPED_RAM | MR_CAPABILITY_COMPRESS))
		return complain(error, mr_text("capabilities: expected neither mapped-ram nor compress of a source"));
	if ((config->capabilities & MR_CAPABILITY_IGNORE_SHARED) && (config->capabilities & MR_CAPABILITY_POSTCOPY_RAM))
		return complain(error, mr_text("capabilities: expected x-ignore-shared or postcopy-ram, not both"));
	if (config->block_count > MR_BLOCKS_MAX)
		return complain(error, mr_text("RAM blocks: expected at most 1024"));
	if (config->multifd_channels > MR_OUTGOING_MULTIFD_MAX)
		return complain(error, mr_text("multifd channels: expected at most 255"));
	if ((config->capabilities & MR_CAPABILITY_MULTIFD) && !mr_multifd_send_size(config))
		return complain(error, mr_text("multifd: expected a level that the method has"));
	if (config->connections_max > MR_OUTGOING_CHANNELS_MAX)
		return complain(error, mr_text("connections: expected at most 512"));
	if (config->package_max > UINT32_MAX)
		return complain(error, mr_text("the limit of a package: expected at most 2^32 - 1 bytes"));
	if (!config->handlers || !has_ram(config->handlers))
		return complain(error, mr_text("handlers: expected a list with ram and all of its hooks"));
	if (!config->memory.page)
		return complain(error, mr_text("guest memory: expected a way to read it"));
	if (config->throttle_initial > THROTTLE_MAXIMUM || config->throttle_increment > THROTTLE_MAXIMUM ||
	    config->throttle_maximum > THROTTLE_MAXIMUM)
		return complain(error, mr_text("throttle of the vCPUs: expected at most 99 percent"));
	if (config->machine && strlen(config->machine) > MR_MACHINE_NAME_MAX)
		return complain(error, mr_text("machine type: expected at most 255 bytes"));
	if (!mr_page_saver_size(config->target_page_size, config->xbzrle_cache_size, &cache))
		return complain(error, mr_text("xbzrle-cache-size: expected a power of two of target pages"));
	for (uint32_t i = 0; i < config->block_count; i++)
		if (!is_possible_block(config, &config->blocks[i], error))
			return false;
	return true;
}

static uint64_t chunks_of(const struct mr_outgoing_config *config, uint64_t pages)
{
	return (pages >> config->clear_bitmap_shift) + 1;
}

static void lay_out_block(const struct mr_outgoing_config *config, size_t *used, uint64_t pages,
			  struct source_block *block)
{
	const bool unsent = mr_profile_does(&config->profile, MR_SWITCH_DISCARD_TWICE);
	const bool postcopy = config->capabilities & MR_CAPABILITY_POSTCOPY_RAM;

	block->dirty = mr_arena_reserve(used, mr_arena_bitmap(pages), 1);
	block->unsent = unsent && postcopy ? mr_arena_reserve(used, mr_arena_bitmap(pages), 1) : 0;
	block->unlogged = mr_arena_reserve(used, mr_arena_bitmap(chunks_of(config, pages)), 1);
	block->unplugged = mr_arena_reserve(used, mr_arena_bitmap(pages), 1);
}

/* Lays everything out; `outgoing` NULL: only counts. */
static size_t lay_out(const struct mr_outgoing_config *config, struct mr_outgoing *outgoing)
{
	struct source_places places = {0};
	size_t used = sizeof(struct mr_outgoing), saver = 0;

	places.blocks = mr_arena_reserve(&used, config->block_count, sizeof(struct source_block));
	places.connections = mr_arena_reserve(&used, config->connections_max, sizeof(struct connection));
	places.session = mr_arena_reserve(&used, 1, sizeof(struct mr_session));
	places.decoder = mr_arena_reserve(&used, 1, sizeof(struct mr_decoder));
	places.discards = mr_arena_reserve(&used, config->block_count, sizeof(struct mr_discard_source_block));
	mr_page_saver_size(config->target_page_size, config->xbzrle_cache_size, &saver);
	places.cache = mr_arena_reserve(&used, saver, 1);
	places.package = mr_arena_reserve(&used, config->package_max, 1);
	if (config->capabilities & MR_CAPABILITY_MULTIFD)
		places.multifd = mr_arena_reserve(&used, mr_multifd_send_size(config), 1);
	for (uint32_t i = 0; i < config->block_count; i++) {
		struct source_block unplaced;
		struct source_block *block =
			outgoing ? (struct source_block *)source_at(outgoing, places.blocks) + i : &unplaced;

		lay_out_block(config, &used, config->blocks[i].used_length / config->target_page_size, block);
	}
	if (outgoing)
		outgoing->places = places;
	return used;
}

size_t mr_outgoing_size(const struct mr_outgoing_config *config, char error[96])
{
	struct mr_outgoing_config full = *config;

	set_defaults(&full);
	return is_possible(&full, error) ? lay_out(&full, NULL) : 0;
}

/* Target pages that are sent as one: those of the block's host page, or once of the host's ordinary one. */
static uint64_t host_pages_of(const struct mr_outgoing *outgoing, uint64_t page_size)
{
	const struct mr_outgoing_config *config = &outgoing->config;
	const uint64_t unit = source_does(outgoing, MR_SWITCH_POSTCOPY_HUGE_PAGES) ? page_size : config->host_page_size;

	return unit > config->target_page_size ? unit / config->target_page_size : 1;
}

static void take_block(struct mr_outgoing *outgoing, uint32_t index, const struct mr_outgoing_block *from)
{
	struct source_block *block = source_block_at(outgoing, index);
	const struct mr_outgoing_config *config = &outgoing->config;
	const uint64_t ordinary =
		config->host_page_size > config->target_page_size ? config->host_page_size : config->target_page_size;

	block->name_length = (uint8_t)strlen(from->name);
	memcpy(block->name, from->name, block->name_length + 1u);
	block->used_length = from->used_length;
	block->page_size = block_page_size(config, from);
	block->address = from->address;
	block->cache_offset = from->cache_offset;
	block->ignored = from->ignored;
	block->pages = from->used_length / config->target_page_size;
	block->host_pages = host_pages_of(outgoing, block->page_size);
	block->lists_page_size = source_does(outgoing, MR_SWITCH_BLOCK_PAGE_SIZE) &&
				 source_has(outgoing, MR_CAPABILITY_POSTCOPY_RAM) && block->page_size != ordinary;
}

/* The reader of the return path knows the blocks of this machine, and no others. */
static void set_up_session(struct mr_outgoing *outgoing)
{
	struct mr_session *session = source_at(outgoing, outgoing->places.session);
	const struct mr_context context = {.target_page_size = source_page(outgoing)};

	mr_session_init(session, &context, NULL, NULL);
	for (uint32_t i = 0; i < outgoing->block_count; i++) {
		const struct source_block *block = source_block_at(outgoing, i);
		const uint32_t index = mr_session_name_block(session, source_name(block));

		session->blocks[index].declared = true;
		session->blocks[index].used_length = block->used_length;
		session->blocks[index].page_size = block->page_size;
	}
}

static void start_actor(struct source_actor *actor, unsigned number, source_phase *phase)
{
	actor->number = number;
	actor->phase = phase;
	actor->alive = true;
}

struct mr_outgoing *mr_outgoing_init(void *memory, size_t size, const struct mr_outgoing_config *config)
{
	char error[96];
	const size_t needed = mr_outgoing_size(config, error);
	struct mr_outgoing *outgoing = memory;

	if (needed == 0 || size < needed)
		return NULL;
	outgoing->config = *config;
	set_defaults(&outgoing->config);
	outgoing->profile = outgoing->config.profile;
	outgoing->block_count = config->block_count;
	outgoing->connections_max = outgoing->config.connections_max;
	lay_out(&outgoing->config, outgoing);
	for (uint32_t i = 0; i < config->block_count; i++)
		take_block(outgoing, i, &config->blocks[i]);
	outgoing->config.blocks = NULL;
	set_up_session(outgoing);
	mr_page_saver_init(&outgoing->saver, &outgoing->profile, &outgoing->config.memory, source_page(outgoing),
			   outgoing->config.xbzrle_cache_size, source_at(outgoing, outgoing->places.cache));
	/* Where senders of multifd look for zero pages nobody else does, not even in postcopy (SRC-018). */
	outgoing->saver.zero_detection = config->zero_detection != MR_ZERO_NONE &&
					 !(source_has(outgoing, MR_CAPABILITY_MULTIFD) &&
					   mr_multifd_send_finds_zeros(&outgoing->config, &outgoing->profile));
	outgoing->saver.is_zero = config->is_zero;
	mr_request_queue_init(&outgoing->queue, source_page(outgoing));
	memset(outgoing->multifd_channels, 0xff, sizeof(outgoing->multifd_channels));
	if (source_has(outgoing, MR_CAPABILITY_MULTIFD) &&
	    !mr_multifd_send_init(multifd_of(outgoing), &outgoing->config, &outgoing->profile, &outgoing->statistics))
		return NULL;
	outgoing->main_channel = outgoing->preempt_channel = NO_CONNECTION;
	outgoing->last_block[RAM_MAIN] = outgoing->last_block[RAM_PREEMPT] = NO_BLOCK;
	outgoing->guest_stopped = config->guest_stopped;
	start_actor(&outgoing->migration, MR_SOURCE_MIGRATION, mr_source_begin);
	outgoing->returner.number = MR_SOURCE_RETURN;
	outgoing->returner.phase = mr_source_return_begin;
	return outgoing;
}

void mr_outgoing_clear(struct mr_outgoing *outgoing)
{
	if (outgoing && source_has(outgoing, MR_CAPABILITY_MULTIFD))
		mr_multifd_send_clear(multifd_of(outgoing));
}

/* ---- Phases ---- */

enum outcome mr_source_set_status(struct mr_outgoing *outgoing, struct source_actor *actor,
				  struct mr_source_action *action, enum mr_source_status status)
{
	outgoing->status = status;
	action->status = status;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_STATUS);
}

uint64_t mr_source_ask(const struct mr_outgoing *outgoing, enum mr_choice choice, uint64_t canonical)
{
	const struct mr_choices *choices = outgoing->config.choices;

	return choices->choose(choices->argument, choice, canonical);
}

uint64_t mr_source_settle(struct mr_outgoing *outgoing, enum mr_choice choice, uint64_t canonical, uint64_t answer,
			  bool possible)
{
	const uint64_t settled = possible ? answer : canonical;

	outgoing->statistics.choices[choice]++;
	outgoing->statistics.chosen[choice] += settled != canonical;
	return settled;
}

void mr_source_blame(struct mr_outgoing *outgoing, enum mr_rule rule, struct mr_text expected, struct mr_text found)
{
	struct mr_finding *error = &outgoing->error;

	if (error->rule != MR_NO_RULE)
		return;
	error->rule = rule;
	error->verdict = mr_rule_verdict(rule);
	error->channel = outgoing->main_channel;
	memcpy(error->expected, expected.text, sizeof(error->expected));
	memcpy(error->found, found.text, sizeof(error->found));
}

/* ---- Steps ---- */

static enum mr_step run(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	enum outcome outcome = ON;

	if (!actor->alive || actor->ended)
		return MR_STEP_DONE;
	actor->wants = (struct mr_source_wants){.channel = NO_CONNECTION};
	if (actor->asked) {
		mr_source_wait(actor, MR_SOURCE_WAIT_COMPLETION);
		return MR_STEP_WAITS;
	}
	while (outcome == ON)
		outcome = actor->phase(outgoing, actor, action);
	if (outcome == ACTED)
		return MR_STEP_ACTION;
	if (outcome == ENDED) {
		actor->ended = true;
		return MR_STEP_DONE;
	}
	return actor->wants.wait == MR_SOURCE_WAIT_RETURN ? MR_STEP_BYTES : MR_STEP_WAITS;
}

/* Packets that are never written leave no trace. */
static bool next_packet(struct mr_outgoing *outgoing, uint32_t index, struct mr_multifd_sent *sent)
{
	struct mr_multifd_send *multifd = multifd_of(outgoing);
	const struct connection *connection = connection_at(outgoing, outgoing->multifd_channels[index]);
	enum mr_multifd_step step = MR_SENDER_DROPPED;

	if (connection->sent == 0) {
		*sent = (struct mr_multifd_sent){.head = mr_multifd_send_initial(multifd, index), .block = NO_BLOCK};
		return true;
	}
	while (step == MR_SENDER_DROPPED)
		step = mr_multifd_send_step(multifd, index, sent);
	if (step == MR_SENDER_FAILED)
		outgoing->multifd_failed = true;
	return step == MR_SENDER_SENT;
}

/* A sender of multifd writes its initial packet, then whatever it is given. */
static MR_APART enum mr_step run_sender(struct mr_outgoing *outgoing, unsigned number, struct mr_source_action *action)
{
	const uint32_t index = number - MR_SOURCE_MULTIFD;
	struct mr_multifd_sent sent;
	uint32_t channel;

	if (!source_has(outgoing, MR_CAPABILITY_MULTIFD) || index >= outgoing->config.multifd_channels ||
	    outgoing->failed || outgoing->over)
		return MR_STEP_DONE;
	channel = outgoing->multifd_channels[index];
	if (channel >= outgoing->connection_count || !connection_at(outgoing, channel)->open ||
	    connection_at(outgoing, channel)->error || !next_packet(outgoing, index, &sent))
		return MR_STEP_WAITS;
	mr_source_write(outgoing, action, channel,
			connection_at(outgoing, channel)->sent ? MR_MULTIFD_PACKET : MR_MULTIFD_INIT, sent.head,
			sent.payload);
	action->kind = MR_SOURCE_ACTION_SEND;
	action->actor = number;
	action->asked = false;
	action->send.block = sent.block;
	action->send.page = sent.page;
	return MR_STEP_ACTION;
}

enum mr_step mr_outgoing_step(struct mr_outgoing *outgoing, unsigned actor, struct mr_source_action *action)
{
	if (actor == MR_SOURCE_MIGRATION)
		return run(outgoing, &outgoing->migration, action);
	if (actor == MR_SOURCE_RETURN)
		return run(outgoing, &outgoing->returner, action);
	return actor < MR_SOURCE_COUNT ? run_sender(outgoing, actor, action) : MR_STEP_DONE;
}

static struct source_actor *actor_of(struct mr_outgoing *outgoing, unsigned actor)
{
	if (actor == MR_SOURCE_MIGRATION)
		return &outgoing->migration;
	return actor == MR_SOURCE_RETURN ? &outgoing->returner : NULL;
}

bool mr_outgoing_complete(struct mr_outgoing *outgoing, unsigned actor, int result)
{
	struct source_actor *which = actor_of(outgoing, actor);

	if (!which || !which->asked)
		return false;
	which->asked = false;
	which->completion = result;
	if (actor == MR_SOURCE_MIGRATION && outgoing->connecting)
		mr_source_connected(outgoing, result);
	return true;
}

struct mr_source_wants mr_outgoing_wants(const struct mr_outgoing *outgoing, unsigned actor)
{
	if (actor == MR_SOURCE_MIGRATION)
		return outgoing->migration.wants;
	if (actor == MR_SOURCE_RETURN)
		return outgoing->returner.wants;
	return (struct mr_source_wants){.wait = MR_SOURCE_WAIT_WORK, .channel = NO_CONNECTION};
}

/* ---- Inputs ---- */

void mr_outgoing_feed(struct mr_outgoing *outgoing, uint32_t channel, const uint8_t *window, size_t length, bool at_end,
		      int error)
{
	struct connection *connection;

	if (channel >= outgoing->connections_max)
		return;
	connection = connection_at(outgoing, channel);
	connection->window = window;
	connection->length = length;
	connection->at_end = at_end;
	connection->return_error = error;
}

uint64_t mr_outgoing_consumed(const struct mr_outgoing *outgoing, uint32_t channel)
{
	return channel < outgoing->connection_count ? connection_at(outgoing, channel)->taken : 0;
}

void mr_outgoing_broken(struct mr_outgoing *outgoing, uint32_t channel, int error)
{
	if (channel < outgoing->connection_count)
		mr_source_break(outgoing, channel, error);
}

/* The whole target pages of a range, if it lies in a block that is sent. */
static bool take_range(struct mr_outgoing *outgoing, uint32_t block, uint64_t start, uint64_t length, uint64_t *first,
		       uint64_t *count)
{
	const struct source_block *at;

	if (block >= outgoing->block_count)
		return false;
	at = source_block_at(outgoing, block);
	if (at->ignored || start > at->used_length || length > at->used_length - start ||
	    start % source_page(outgoing) || length % source_page(outgoing))
		return false;
	*first = start / source_page(outgoing);
	*count = length / source_page(outgoing);
	return true;
}

bool mr_outgoing_dirty(struct mr_outgoing *outgoing, uint32_t block, uint64_t start, uint64_t length)
{
	uint64_t first, count, added;

	if (!take_range(outgoing, block, start, length, &first, &count))
		return false;
	added = mr_source_mark_dirty(outgoing, source_block_at(outgoing, block), first, count);
	outgoing->pace.rate_dirtied += added;
	outgoing->pace.throttle_dirtied += added;
	return true;
}

void mr_outgoing_save(struct mr_outgoing *outgoing, struct mr_bytes body)
{
	outgoing->body = body;
}

void mr_outgoing_pending(struct mr_outgoing *outgoing, const struct mr_pending *pending)
{
	outgoing->pending = *pending;
}

bool mr_outgoing_write_fault(struct mr_outgoing *outgoing, uint32_t block, uint64_t offset)
{
	uint64_t first, count, host_pages;

	if (!source_has(outgoing, MR_CAPABILITY_BACKGROUND_SNAPSHOT) ||
	    !take_range(outgoing, block, offset, source_page(outgoing), &first, &count))
		return false;
	/* Protection goes by host pages, so all of this one has to be out before the guest may write. */
	host_pages = source_block_at(outgoing, block)->host_pages;
	return mr_request_queue_push(&outgoing->queue, block, first / host_pages * host_pages * source_page(outgoing),
				     source_page(outgoing));
}

bool mr_outgoing_plug(struct mr_outgoing *outgoing, uint32_t block, uint64_t start, uint64_t length, bool plugged)
{
	uint64_t first, count;
	uint64_t *unplugged;

	if (!take_range(outgoing, block, start, length, &first, &count))
		return false;
	unplugged = source_at(outgoing, source_block_at(outgoing, block)->unplugged);
	if (plugged)
		mr_bitmap_clear(unplugged, first, count);
	else
		mr_bitmap_set(unplugged, first, count);
	return true;
}

bool mr_outgoing_free_hint(struct mr_outgoing *outgoing, uint32_t block, uint64_t start, uint64_t length)
{
	uint64_t first, count;

	if (source_has(outgoing, MR_CAPABILITY_POSTCOPY_RAM) ||
	    !take_range(outgoing, block, start, length, &first, &count))
		return false;
	mr_source_clear_dirty(outgoing, source_block_at(outgoing, block), first, count);
	return true;
}

bool mr_outgoing_want_ack(struct mr_outgoing *outgoing)
{
	if (!source_has(outgoing, MR_CAPABILITY_SWITCHOVER_ACK) ||
	    !source_does(outgoing, MR_SWITCH_SWITCHOVER_ACK_COUNTED) ||
	    source_does(outgoing, MR_SWITCH_SWITCHOVER_ACK_ONCE) || outgoing->guest_stopped)
		return false;
	outgoing->acks_wanted++;
	return true;
}

bool mr_outgoing_guest(struct mr_outgoing *outgoing, bool runs)
{
	if (outgoing->guest_held || outgoing->over)
		return false;
	outgoing->guest_stopped = !runs;
	return true;
}

void mr_outgoing_set_time(struct mr_outgoing *outgoing, uint64_t nanoseconds)
{
	if (nanoseconds > outgoing->time)
		outgoing->time = nanoseconds;
}

bool mr_outgoing_start_postcopy(struct mr_outgoing *outgoing)
{
	if (!source_has(outgoing, MR_CAPABILITY_POSTCOPY_RAM) || outgoing->over ||
	    outgoing->status == MR_SOURCE_STATUS_NONE)
		return false;
	outgoing->postcopy_asked = true;
	return true;
}

bool mr_outgoing_continue(struct mr_outgoing *outgoing)
{
	if (outgoing->status != MR_SOURCE_STATUS_PRE_SWITCHOVER)
		return false;
	outgoing->continue_asked = true;
	return true;
}

bool mr_outgoing_cancel(struct mr_outgoing *outgoing)
{
	if (outgoing->over || outgoing->failed || outgoing->status == MR_SOURCE_STATUS_NONE ||
	    (outgoing->in_postcopy && source_does(outgoing, MR_SWITCH_CANCEL_REFUSED_IN_POSTCOPY)))
		return false;
	outgoing->cancel_asked = true;
	return true;
}

bool mr_outgoing_pause(struct mr_outgoing *outgoing)
{
	if (outgoing->over || !source_does(outgoing, MR_SWITCH_RECOVERY) ||
	    (outgoing->status != MR_SOURCE_STATUS_POSTCOPY_ACTIVE &&
	     outgoing->status != MR_SOURCE_STATUS_POSTCOPY_RECOVER))
		return false;
	outgoing->pause_asked = true;
	return true;
}

bool mr_outgoing_recover(struct mr_outgoing *outgoing)
{
	const uint32_t needed = source_has_preempt(outgoing) ? 2 : 1;

	if (outgoing->status != MR_SOURCE_STATUS_POSTCOPY_PAUSED || outgoing->config.release_ram ||
	    outgoing->connections_max - outgoing->connection_count < needed)
		return false;
	outgoing->recover_asked = true;
	return true;
}

/* ---- Looking inside ---- */

void mr_outgoing_statistics(const struct mr_outgoing *outgoing, struct mr_outgoing_statistics *statistics)
{
	const struct mr_page_counts *counts = &outgoing->saver.counts;

	*statistics = outgoing->statistics;
	statistics->transferred = mr_source_transferred(outgoing);
	statistics->duplicate += counts->duplicate;
	statistics->normal += counts->normal;
	statistics->normal_bytes = statistics->normal * source_page(outgoing);
	statistics->xbzrle_pages = counts->xbzrle_pages;
	statistics->xbzrle_bytes = counts->xbzrle_bytes;
	statistics->xbzrle_cache_miss = counts->xbzrle_cache_miss;
	statistics->xbzrle_overflow = counts->xbzrle_overflow;
	statistics->remaining =
		outgoing->status == MR_SOURCE_STATUS_COMPLETED ? 0 : outgoing->dirty_count * source_page(outgoing);
	statistics->total = 0;
	for (uint32_t i = 0; i < outgoing->block_count; i++)
		if (!source_block_at(outgoing, i)->ignored)
			statistics->total += source_block_at(outgoing, i)->used_length;
}

enum mr_source_status mr_outgoing_status(const struct mr_outgoing *outgoing)
{
	return outgoing->status;
}

const uint64_t *mr_outgoing_dirty_bits(const struct mr_outgoing *outgoing, uint32_t block, uint64_t *pages)
{
	if (block >= outgoing->block_count)
		return NULL;
	*pages = source_block_at(outgoing, block)->pages;
	return dirty_of(outgoing, source_block_at(outgoing, block));
}

uint64_t mr_outgoing_dirty_count(const struct mr_outgoing *outgoing)
{
	return outgoing->dirty_count;
}

void mr_outgoing_cursor(const struct mr_outgoing *outgoing, uint32_t *block, uint64_t *offset)
{
	const struct host_page *page = &outgoing->migration.host_page;
	const struct scan *scan = &outgoing->scan;
	uint64_t at = scan->page;

	*block = scan->block;
	/* The rest of a host page comes first, then what lies behind the last urgent page. */
	if (page->open) {
		*block = page->block;
		at = page->next;
	} else if (page->end && !page->aside) {
		/* it is over, and only has to be released */
		*block = page->block;
		at = page->end;
	} else if (scan->hinted && !scan->searching) {
		*block = scan->hint_block;
		at = scan->hint_page;
	}
	*offset = at * source_page(outgoing);
}

const struct mr_finding *mr_outgoing_error(const struct mr_outgoing *outgoing)
{
	return &outgoing->error;
}

uint32_t mr_outgoing_requests(const struct mr_outgoing *outgoing)
{
	return outgoing->queue.count;
}

const struct mr_finding *mr_outgoing_return_error(const struct mr_outgoing *outgoing)
{
	return &outgoing->return_error;
}
