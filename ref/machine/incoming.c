/* incoming.c: the machine's memory, its inputs, and the steps of its actors. */
#include "machine.h"
#include "machine/arena.h"

#include <inttypes.h>

enum {
	DEFAULT_PAGE_SIZE = 4096,
	SPARE_CONNECTIONS = 8,
	OPEN_FAULTS_OF_VCPU = 64,
	SPARE_OPEN_FAULTS = 256,
	OPEN_FAULTS_MAX = 1 << 24,
	HOST_PAGE_MAX = 1 << 30,
};

static const char *const action_names[MR_ACTION_KIND_COUNT] = {
	[MR_ACTION_STATUS] = "status",
	[MR_ACTION_POSTCOPY_STATE] = "postcopy-state",
	[MR_ACTION_SECTION] = "section",
	[MR_ACTION_COMMAND] = "command",
	[MR_ACTION_COMMAND_DONE] = "command-done",
	[MR_ACTION_DISCARD_HEADER] = "discard-header",
	[MR_ACTION_LISTEN_PREPARED] = "listen-prepared",
	[MR_ACTION_LISTEN_READY] = "listen-ready",
	[MR_ACTION_RAM_RECORD] = "ram-record",
	[MR_ACTION_RAM_LOADED] = "ram-loaded",
	[MR_ACTION_BARRIER] = "barrier",
	[MR_ACTION_MARKED] = "marked",
	[MR_ACTION_REQUEST] = "request",
	[MR_ACTION_REQUEST_AGAIN] = "request-again",
	[MR_ACTION_BITMAP_SENT] = "bitmap-sent",
	[MR_ACTION_PAUSE] = "pause",
	[MR_ACTION_PARK] = "park",
	[MR_ACTION_CONTINUE] = "continue",
	[MR_ACTION_ACTOR_START] = "actor-start",
	[MR_ACTION_ACTOR_END] = "actor-end",
	[MR_ACTION_LOADED] = "loaded",
	[MR_ACTION_ANNOUNCE] = "announce",
	[MR_ACTION_CLEANUP] = "cleanup",
	[MR_ACTION_CLEANUP_DONE] = "cleanup-done",
	[MR_ACTION_STATE_CLEANUP] = "state-cleanup",
	[MR_ACTION_FINISHED] = "finished",
	[MR_ACTION_FAILED] = "failed",
	[MR_ACTION_SEND] = "send",
	[MR_ACTION_PROBE] = "probe",
	[MR_ACTION_UNLOCK] = "unlock",
	[MR_ACTION_LOCK] = "lock",
	[MR_ACTION_NOTIFY] = "notify",
	[MR_ACTION_DISCARD] = "discard",
	[MR_ACTION_NO_HUGE_PAGES] = "no-huge-pages",
	[MR_ACTION_HUGE_PAGES] = "huge-pages",
	[MR_ACTION_CATCH] = "catch",
	[MR_ACTION_REGISTER] = "register",
	[MR_ACTION_UNREGISTER] = "unregister",
	[MR_ACTION_RELEASE] = "release",
	[MR_ACTION_PLACE] = "place",
	[MR_ACTION_WAKE] = "wake",
	[MR_ACTION_PACKET] = "packet",
	[MR_ACTION_LOAD_DEVICE] = "load-device",
	[MR_ACTION_RESIZE] = "resize",
	[MR_ACTION_START_GUEST] = "start-guest",
	[MR_ACTION_CLOSE] = "close",
	[MR_ACTION_HOOK] = "hook",
};

const char *mr_action_name(enum mr_action_kind kind)
{
	return (unsigned)kind < MR_ACTION_KIND_COUNT ? action_names[kind] : "unknown";
}

const char *mr_actor_name(unsigned actor)
{
	static const char *const names[] = {"main", "listen", "preempt", "fault", "multifd"};

	if (actor >= MR_ACTOR_COUNT)
		return NULL;
	return names[actor < MR_ACTOR_MULTIFD ? actor : MR_ACTOR_MULTIFD];
}

const char *mr_request_verdict_name(enum mr_request_verdict verdict)
{
	static const char *const names[] = {"added", "repeated", "dropped", "zeroed"};

	return (unsigned)verdict < sizeof(names) / sizeof(names[0]) ? names[verdict] : "unknown";
}

/* ---- Configuration and memory ---- */

static void set_defaults(struct mr_incoming_config *config)
{
	uint32_t connections = 1;

	if (!config->target_page_size)
		config->target_page_size = DEFAULT_PAGE_SIZE;
	if (!config->host_page_size)
		config->host_page_size = DEFAULT_PAGE_SIZE;
	if (!config->package_max)
		config->package_max = MR_INCOMING_PACKAGE_MAX;
	if (config->context.capabilities & MR_CAPABILITY_MULTIFD)
		connections += config->context.multifd_channels;
	if (config->context.capabilities & MR_CAPABILITY_POSTCOPY_PREEMPT)
		connections++;
	if (!config->open_faults_max)
		config->open_faults_max = config->vcpu_count * OPEN_FAULTS_OF_VCPU + SPARE_OPEN_FAULTS;
	if (!config->connections_max)
		config->connections_max = connections + SPARE_CONNECTIONS;
	config->context.target_page_size = config->target_page_size;
}

static uint64_t block_maximum(const struct mr_incoming_block *block)
{
	return block->max_length > block->used_length ? block->max_length : block->used_length;
}

static uint64_t block_page_size(const struct mr_incoming_config *config, const struct mr_incoming_block *block)
{
	return block->page_size ? block->page_size : config->host_page_size;
}

static bool complain(char error[96], const char *text)
{
	size_t length = strlen(text);

	length = length < 95 ? length : 95;
	memcpy(error, text, length);
	error[length] = '\0';
	return false;
}

static bool is_possible_block(const struct mr_incoming_config *config, const struct mr_incoming_block *block,
			      char error[96])
{
	const uint64_t page = block_page_size(config, block);

	if (!block->name || strlen(block->name) > MR_NAME_MAX)
		return complain(error, "a block's name: expected at most 255 bytes");
	if (!mr_is_power_of_two(page) || page > HOST_PAGE_MAX)
		return complain(error, "a block's page size: expected a power of two up to 1 GiB");
	if (block_maximum(block) % config->target_page_size || block->used_length % config->target_page_size)
		return complain(error, "a block's length: expected whole target pages");
	if (block_maximum(block) > (uint64_t)1 << 50)
		return complain(error, "a block's length: expected at most 1 PiB");
	return true;
}

static bool is_possible(const struct mr_incoming_config *config, char error[96])
{
	if (!mr_is_power_of_two(config->target_page_size) || config->target_page_size < MR_PAGE_SIZE_MIN ||
	    config->target_page_size > MR_PAGE_SIZE_MAX)
		return complain(error, "target page size: expected a power of two from 1024 to 65536");
	if (!mr_is_power_of_two(config->host_page_size) || config->host_page_size > HOST_PAGE_MAX)
		return complain(error, "host page size: expected a power of two up to 1 GiB");
	if (config->block_count > MR_BLOCKS_MAX)
		return complain(error, "RAM blocks: expected at most 1024");
	if (config->context.multifd_channels > MR_INCOMING_MULTIFD_MAX)
		return complain(error, "multifd channels: expected at most 256");
	if (config->connections_max > MR_INCOMING_CHANNELS_MAX)
		return complain(error, "connections: expected at most 512");
	if (config->package_max > UINT32_MAX)
		return complain(error, "the limit of a package: expected at most 2^32 - 1 bytes");
	if (config->vcpu_count > MR_INCOMING_VCPUS_MAX)
		return complain(error, "vCPUs: expected at most 4096");
	if (config->open_faults_max > OPEN_FAULTS_MAX)
		return complain(error, "open faults: expected at most 2^24");
	for (uint32_t i = 0; i < config->block_count; i++)
		if (!is_possible_block(config, &config->blocks[i], error))
			return false;
	return true;
}

static uint64_t largest_page(const struct mr_incoming_config *config)
{
	uint64_t largest = config->target_page_size;

	for (uint32_t i = 0; i < config->block_count; i++)
		if (block_page_size(config, &config->blocks[i]) > largest)
			largest = block_page_size(config, &config->blocks[i]);
	return largest;
}

/* Lays everything out; `incoming` NULL: only counts. */
static size_t lay_out(const struct mr_incoming_config *config, struct mr_incoming *incoming)
{
	struct places places = {.largest_page = largest_page(config)};
	size_t used = sizeof(struct mr_incoming);

	places.blocks = mr_arena_reserve(&used, config->block_count, sizeof(struct block));
	places.channels = mr_arena_reserve(&used, config->connections_max, sizeof(struct channel));
	places.decoders = mr_arena_reserve(&used, config->connections_max + 1u, sizeof(struct mr_decoder));
	places.package_decoder = places.decoders + config->connections_max * sizeof(struct mr_decoder);
	places.package = mr_arena_reserve(&used, config->package_max, 1);
	places.payload = mr_arena_reserve(&used, COMMAND_PAYLOAD_MAX, 1);
	places.handler_states = mr_arena_reserve(&used, config->handlers ? config->handlers->count : 0,
						 sizeof(struct mr_handler_state));
	for (unsigned i = 0; i < RAM_CHANNELS; i++)
		places.assembled[i] =
			mr_arena_reserve(&used, mr_arena_bitmap(places.largest_page / config->target_page_size), 1);
	for (uint32_t i = 0; i < config->block_count; i++) {
		const uint64_t pages = block_maximum(&config->blocks[i]) / config->target_page_size;
		struct block unplaced;
		struct block *block = incoming ? (struct block *)at(incoming, places.blocks) + i : &unplaced;

		block->received = mr_arena_reserve(&used, mr_arena_bitmap(pages), 1);
		block->requested = mr_arena_reserve(&used, mr_arena_bitmap(pages), 1);
		block->client_requested =
			mr_arena_reserve(&used, config->shared_clients ? mr_arena_bitmap(pages) : 0, 1);
		block->unplugged = mr_arena_reserve(&used, config->unpluggable ? mr_arena_bitmap(pages) : 0, 1);
	}
	if (config->blocktime) {
		places.vcpus = mr_arena_reserve(&used, config->vcpu_count + 1u, sizeof(struct vcpu));
		places.open_faults = mr_arena_reserve(&used, config->open_faults_max, sizeof(struct open_fault));
	}
	if (incoming)
		incoming->places = places;
	return used;
}

size_t mr_incoming_size(const struct mr_incoming_config *config, char error[96])
{
	struct mr_incoming_config full = *config;

	set_defaults(&full);
	return is_possible(&full, error) ? lay_out(&full, NULL) : 0;
}

static void take_block(struct mr_incoming *incoming, uint32_t index, const struct mr_incoming_block *from)
{
	struct block *block = block_at(incoming, index);

	block->name_length = (uint8_t)strlen(from->name);
	memcpy(block->name, from->name, block->name_length + 1u);
	block->used_length = block->postcopy_length = from->used_length;
	block->max_length = block_maximum(from);
	block->page_size = block_page_size(&incoming->config, from);
	block->rank = from->rank;
	block->ignored = from->ignored;
	block->zeroable = !from->not_zeroable;
}

/* Few blocks, once: by insertion. */
static void sort_by_rank(struct mr_incoming *incoming)
{
	for (uint32_t i = 0; i < incoming->block_count; i++) {
		uint32_t place = i;

		while (place && block_at(incoming, incoming->by_rank[place - 1])->rank > block_at(incoming, i)->rank) {
			incoming->by_rank[place] = incoming->by_rank[place - 1];
			place--;
		}
		incoming->by_rank[place] = i;
	}
}

static void start_loader(struct loader *loader, unsigned actor, phase_function *phase)
{
	*loader = (struct loader){.actor = actor,
				  .phase = phase,
				  .channel = NO_CHANNEL,
				  .ram_channel = actor == MR_ACTOR_PREEMPT,
				  .handler = UINT32_MAX};
}

static void start_blocktime(struct mr_incoming *incoming)
{
	struct blocktime *blocktime = &incoming->blocktime;

	blocktime->vcpu_count = incoming->config.vcpu_count;
	blocktime->open_max = incoming->config.open_faults_max;
	memset(at(incoming, incoming->places.vcpus), 0, (blocktime->vcpu_count + 1u) * sizeof(struct vcpu));
}

/* Everything but bitmaps, whose words are 0. */
static void set_up(struct mr_incoming *incoming, const struct mr_incoming_config *config)
{
	memset(incoming, 0, offsetof(struct mr_incoming, session));
	incoming->config = *config;
	set_defaults(&incoming->config);
	incoming->profile = config->profile;
	if (!incoming->profile.known)
		mr_profile_init(&incoming->profile, "11.1");
	incoming->block_count = config->block_count;
	incoming->connections_max = incoming->config.connections_max;
	incoming->size = lay_out(&incoming->config, incoming);
	memset(at(incoming, incoming->places.channels), 0, incoming->connections_max * sizeof(struct channel));
	for (uint32_t i = 0; i < config->block_count; i++)
		take_block(incoming, i, &config->blocks[i]);
	if (config->blocktime)
		start_blocktime(incoming);
	incoming->config.blocks = NULL;
	sort_by_rank(incoming);
	if (config->handlers)
		mr_load_init(&incoming->load, config->handlers, at(incoming, incoming->places.handler_states),
			     config->strict);
	mr_session_init(&incoming->session, &incoming->config.context, config->report, config->report_argument);
	incoming->main_channel = incoming->preempt_channel = incoming->return_channel = NO_CHANNEL;
	incoming->new_main = incoming->new_preempt = NO_CHANNEL;
	incoming->last_requested = NO_BLOCK;
	start_loader(&incoming->main, MR_ACTOR_MAIN, mr_loader_begin);
	start_loader(&incoming->listen, MR_ACTOR_LISTEN, mr_listen_begin);
	start_loader(&incoming->preempt, MR_ACTOR_PREEMPT, mr_preempt_begin);
	mr_start_actor(incoming, MR_ACTOR_MAIN);
}

struct mr_incoming *mr_incoming_init(void *memory, size_t size, const struct mr_incoming_config *config)
{
	char error[96];
	const size_t needed = mr_incoming_size(config, error);

	if (needed == 0 || size < needed)
		return NULL;
	set_up(memory, config);
	return memory;
}

struct mr_incoming *mr_incoming_reset(struct mr_incoming *incoming, const struct mr_incoming_config *config)
{
	const size_t size = incoming->size;
	char error[96];
	const size_t needed = mr_incoming_size(config, error);

	if (needed == 0 || size < needed)
		return NULL;
	for (uint32_t i = 0; i < incoming->block_count; i++) {
		const struct block *block = block_at(incoming, i);
		const uint64_t pages = block->max_length / target_page(incoming);

		mr_bitmap_clear(received_of(incoming, block), 0, pages);
		mr_bitmap_clear(requested_of(incoming, block), 0, pages);
		if (incoming->config.shared_clients)
			mr_bitmap_clear(at(incoming, block->client_requested), 0, pages);
		if (incoming->config.unpluggable)
			mr_bitmap_clear(at(incoming, block->unplugged), 0, pages);
	}
	for (unsigned i = 0; i < RAM_CHANNELS; i++)
		mr_bitmap_clear(at(incoming, incoming->places.assembled[i]), 0,
				incoming->places.largest_page / target_page(incoming));
	set_up(incoming, config);
	incoming->size = size;
	return incoming;
}

struct mr_incoming *mr_incoming_copy(void *memory, size_t size, const struct mr_incoming *from)
{
	if (size < from->size)
		return NULL;
	memcpy(memory, from, from->size);
	return memory;
}

/* ---- Connections ---- */

static void admit(struct mr_incoming *incoming, uint32_t index, enum mr_role role)
{
	const bool again = incoming->status == MR_STATUS_POSTCOPY_PAUSED;

	if (role == MR_ROLE_PREEMPT) {
		incoming->new_preempt = index;
	} else if (role == MR_ROLE_MULTIFD) {
		incoming->receivers[incoming->multifd_count].channel = index;
		mr_start_actor(incoming, MR_ACTOR_MULTIFD + incoming->multifd_count++);
	} else if (!again && incoming->main_channel == NO_CHANNEL) {
		incoming->main_channel = index;
	} else if (again && incoming->new_main == NO_CHANNEL) {
		incoming->new_main = index;
	}
}

int mr_incoming_open(struct mr_incoming *incoming, uint32_t channel, enum mr_role role)
{
	struct channel *here;

	if (channel >= incoming->connections_max || channel_at(incoming, channel)->open || role >= MR_ROLE_RETURN)
		return -1;
	if (role == MR_ROLE_MULTIFD && incoming->multifd_count == MR_INCOMING_MULTIFD_MAX)
		return -1;
	here = channel_at(incoming, channel);
	*here = (struct channel){
		.open = true, .role = role, .decoder = incoming->places.decoders + channel * sizeof(struct mr_decoder)};
	mr_decoder_init(decoder_of(incoming, here), &incoming->session, role, channel);
	admit(incoming, channel, role);
	return 0;
}

void mr_incoming_feed(struct mr_incoming *incoming, uint32_t channel, const uint8_t *window, size_t length, bool at_end,
		      int error)
{
	struct channel *here;

	if (channel >= incoming->connections_max || !channel_at(incoming, channel)->open)
		return;
	here = channel_at(incoming, channel);
	here->window = window;
	here->length = length;
	here->at_end = at_end;
	if (at_end)
		here->error = error;
}

uint64_t mr_incoming_consumed(const struct mr_incoming *incoming, uint32_t channel)
{
	return channel < incoming->connections_max && channel_at(incoming, channel)->open
		       ? decoder_of(incoming, channel_at(incoming, channel))->offset
		       : 0;
}

bool mr_take_preempt_channel(struct mr_incoming *incoming)
{
	if (incoming->preempt_channel == NO_CHANNEL) {
		incoming->preempt_channel = incoming->new_preempt;
		incoming->new_preempt = NO_CHANNEL;
	}
	return incoming->preempt_channel != NO_CHANNEL;
}

/* ---- Actions ---- */

void mr_start_actor(struct mr_incoming *incoming, unsigned actor)
{
	incoming->actors[actor].alive = true;
}

enum outcome mr_wait(struct mr_incoming *incoming, unsigned actor, enum mr_wait wait, unsigned other)
{
	incoming->actors[actor].wants = (struct mr_wants){.wait = wait, .actor = other, .channel = NO_CHANNEL};
	return BLOCKED;
}

void mr_blame(struct mr_incoming *incoming, const struct loader *loader, enum mr_rule rule, struct mr_text expected,
	      struct mr_text found)
{
	if (incoming->error.rule != MR_NO_RULE)
		return;
	incoming->error = (struct mr_finding){.rule = rule,
					      .verdict = mr_rule_verdict(rule),
					      .channel = loader->channel,
					      .offset = loader->record_offset};
	memcpy(incoming->error.expected, expected.text, sizeof(incoming->error.expected));
	memcpy(incoming->error.found, found.text, sizeof(incoming->error.found));
}

enum outcome mr_set_status(struct mr_incoming *incoming, unsigned actor, struct mr_action *action,
			   enum mr_status status)
{
	incoming->status = status;
	action->status = status;
	return mr_act(incoming, actor, action, MR_ACTION_STATUS);
}

enum outcome mr_set_state(struct mr_incoming *incoming, unsigned actor, struct mr_action *action,
			  enum mr_postcopy_state state)
{
	incoming->state = state;
	action->state = state;
	return mr_act(incoming, actor, action, MR_ACTION_POSTCOPY_STATE);
}

enum outcome mr_send(struct mr_incoming *incoming, unsigned actor, struct mr_action *action,
		     const struct mr_return_message *message)
{
	const struct mr_record record = {.kind = MR_RETURN_MESSAGE, .message = *message};
	uint8_t *out = incoming->out[actor == MR_ACTOR_FAULT ? 2 : actor];

	action->send.channel = incoming->return_channel;
	action->send.type = message->type;
	action->send.length = message->length;
	action->send.value = message->value;
	action->send.first = true;
	action->send.bytes = (struct mr_bytes){out, mr_encode(&record, out, SEND_BYTES)};
	return mr_act(incoming, actor, action, MR_ACTION_SEND);
}

struct block *mr_next_block(struct mr_incoming *incoming, struct loader *loader, uint32_t *index)
{
	while (loader->index < incoming->block_count && block_at(incoming, loader->index)->ignored)
		loader->index++;
	if (loader->index == incoming->block_count)
		return NULL;
	*index = loader->index++;
	return block_at(incoming, *index);
}

void mr_release(struct mr_incoming *incoming, unsigned actor)
{
	incoming->actors[actor].releases++;
}

bool mr_take_release(struct mr_incoming *incoming, unsigned actor)
{
	if (incoming->actors[actor].releases == 0)
		return false;
	incoming->actors[actor].releases--;
	return true;
}

/* ---- Steps ---- */

static enum mr_step step_actor(struct mr_incoming *incoming, unsigned actor, struct mr_action *action)
{
	switch (actor) {
	case MR_ACTOR_MAIN:
		return mr_loader_step(incoming, &incoming->main, action);
	case MR_ACTOR_LISTEN:
		return mr_loader_step(incoming, &incoming->listen, action);
	case MR_ACTOR_PREEMPT:
		return mr_loader_step(incoming, &incoming->preempt, action);
	case MR_ACTOR_FAULT:
		return mr_fault_step(incoming, action);
	default:
		return mr_receiver_step(incoming, actor - MR_ACTOR_MULTIFD, action);
	}
}

enum mr_step mr_incoming_step(struct mr_incoming *incoming, unsigned actor, struct mr_action *action)
{
	struct actor *self;

	if (actor >= MR_ACTOR_COUNT)
		return MR_STEP_DONE;
	self = &incoming->actors[actor];
	self->wants = (struct mr_wants){.wait = MR_WAIT_NOTHING};
	if (!self->alive || self->ended || (incoming->failed && !self->asked))
		return MR_STEP_DONE;
	if (self->asked) {
		mr_wait(incoming, actor, MR_WAIT_COMPLETION, actor);
		return MR_STEP_WAITS;
	}
	action->actor = actor;
	action->in_package = false;
	action->channel = NO_CHANNEL;
	action->offset = 0;
	/* What is larger is set as a whole: placements, packets, findings. */
	memset(&action->send, 0, sizeof(action->send));
	return step_actor(incoming, actor, action);
}

bool mr_incoming_complete(struct mr_incoming *incoming, unsigned actor, int error)
{
	if (actor >= MR_ACTOR_COUNT || !incoming->actors[actor].asked)
		return false;
	incoming->actors[actor].asked = false;
	incoming->actors[actor].error = error;
	return true;
}

struct mr_wants mr_incoming_wants(const struct mr_incoming *incoming, unsigned actor)
{
	return actor < MR_ACTOR_COUNT ? incoming->actors[actor].wants : (struct mr_wants){.wait = MR_WAIT_NOTHING};
}

/* ---- Looking inside ---- */

enum mr_postcopy_state mr_incoming_postcopy_state(const struct mr_incoming *incoming)
{
	return incoming->state;
}

enum mr_status mr_incoming_status(const struct mr_incoming *incoming)
{
	return incoming->status;
}

uint32_t mr_incoming_outstanding(const struct mr_incoming *incoming)
{
	return incoming->outstanding;
}

bool mr_incoming_is_received(const struct mr_incoming *incoming, uint32_t block, uint64_t offset)
{
	const struct block *here;

	if (block >= incoming->block_count)
		return false;
	here = block_at(incoming, block);
	return offset < here->max_length && mr_bitmap_test(received_of(incoming, here), offset / target_page(incoming));
}

const uint64_t *mr_incoming_received(const struct mr_incoming *incoming, uint32_t block, uint64_t *pages)
{
	const struct block *here;

	if (block >= incoming->block_count)
		return NULL;
	here = block_at(incoming, block);
	*pages = here->used_length / target_page(incoming);
	return received_of(incoming, here);
}

uint32_t mr_incoming_find_block(const struct mr_incoming *incoming, struct mr_bytes name)
{
	for (uint32_t i = 0; i < incoming->block_count; i++) {
		const struct block *block = block_at(incoming, i);

		if (mr_bytes_equal((struct mr_bytes){(const uint8_t *)block->name, block->name_length}, name))
			return i;
	}
	return NO_BLOCK;
}

const char *mr_incoming_block_name(const struct mr_incoming *incoming, uint32_t block)
{
	return block < incoming->block_count ? block_at(incoming, block)->name : "";
}

const struct mr_session *mr_incoming_session(const struct mr_incoming *incoming)
{
	return &incoming->session;
}

const struct mr_finding *mr_incoming_error(const struct mr_incoming *incoming)
{
	return &incoming->error;
}
