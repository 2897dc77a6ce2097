/* machine_support.c: see machine_support.h. */
#include "machine_support.h"

#include <inttypes.h>
#include <stdio.h>

enum { ROUNDS_MAX = 100000, QUIET_ROUNDS = 3, LINE_MAX_BYTES = 256 };

static const struct mr_incoming_block one_block = {.name = "mem", .used_length = WORLD_PAGES * PAGE};

/* ---- Configuration ---- */

static uint8_t *page(void *argument, uint32_t block, uint64_t offset)
{
	struct world *world = argument;

	assert_true(block < WORLD_BLOCKS && offset + PAGE <= sizeof(world->memory[block]));
	return world->memory[block] + offset;
}

static void zero(void *argument, uint32_t block, uint64_t offset)
{
	memset(page(argument, block, offset), 0, PAGE);
}

void world_configure(struct world *world, const struct setup *setup)
{
	struct mr_incoming_config *config = &world->config;

	*config = (struct mr_incoming_config){
		.strict = setup->strict,
		.start_paused = setup->start_paused,
		.memory_locked = setup->memory_locked,
		.shared_clients = setup->shared_clients,
		.unpluggable = setup->unpluggable,
		.host_page_size = setup->host_page_size,
		.blocks = setup->blocks ? setup->blocks : &one_block,
		.block_count = setup->blocks ? setup->block_count : 1,
		.package_max = setup->package_max ? setup->package_max : 1 << 16,
		.connections_max = WORLD_CONNECTIONS,
		.blocktime = setup->blocktime,
		.vcpu_count = setup->vcpu_count,
		.open_faults_max = setup->open_faults_max,
	};
	assert_int_equal(mr_profile_init(&config->profile, setup->release ? setup->release : "7.2"), 0);
	if (setup->flush_each_section)
		config->profile.on[MR_SWITCH_FLUSH_EACH_SECTION] = true;
	config->context = (struct mr_context){
		.profile = config->profile,
		.capabilities_known = true,
		.capabilities = setup->capabilities,
		.multifd_channels = setup->multifd_channels,
		.multifd_method = MR_METHOD_UNKNOWN,
	};
	if (setup->without_memory)
		return;
	config->memory = (struct mr_incoming_memory){world, page, zero};
	config->temporary[0] = world->temporary[0];
	config->temporary[1] = world->temporary[1];
}

struct world *world_new_unconnected(const struct setup *setup)
{
	struct world *world = calloc(1, sizeof(*world));
	char error[96];
	size_t size;

	assert_non_null(world);
	world_configure(world, setup);
	size = mr_incoming_size(&world->config, error);
	assert_int_not_equal(size, 0);
	assert_int_equal(size % sizeof(uint64_t), 0);
	world->arena = guard_new(size);
	world->machine = mr_incoming_init(guard_end(&world->arena, size), size, &world->config);
	assert_non_null(world->machine);
	return world;
}

struct world *world_new(const struct setup *setup)
{
	struct world *world = world_new_unconnected(setup);

	world_open(world, 0, MR_ROLE_MAIN);
	return world;
}

void world_free(struct world *world)
{
	for (uint32_t i = 0; i < WORLD_CONNECTIONS; i++) {
		build_free(&world->connections[i].bytes);
		build_free(&world->connections[i].sent);
		free(world->connections[i].window);
	}
	build_free(&world->text);
	guard_free(&world->arena);
	free(world);
}

/* ---- Inputs ---- */

void world_open(struct world *world, uint32_t channel, enum mr_role role)
{
	assert_int_equal(mr_incoming_open(world->machine, channel, role), 0);
	world->connections[channel].open = true;
	world_show(world, channel, SIZE_MAX);
}

static void feed(struct world *world, uint32_t channel, bool at_end, int error)
{
	struct connection *connection = &world->connections[channel];
	const size_t consumed = (size_t)mr_incoming_consumed(world->machine, channel);
	const size_t length = connection->shown - consumed;
	uint8_t *old = connection->window;

	assert_true(consumed <= connection->shown);
	connection->window = malloc(length ? length : 1);
	assert_non_null(connection->window);
	if (length)
		memcpy(connection->window, connection->bytes.bytes + consumed, length);
	mr_incoming_feed(world->machine, channel, connection->window, length, at_end, error);
	free(old);
}

void world_show(struct world *world, uint32_t channel, size_t count)
{
	struct connection *connection = &world->connections[channel];
	const size_t left = connection->bytes.length - connection->shown;

	if (!connection->open || connection->ended)
		return;
	connection->shown += count < left ? count : left;
	feed(world, channel, false, 0);
}

void world_end(struct world *world, uint32_t channel, int error)
{
	world->connections[channel].shown = world->connections[channel].bytes.length;
	world->connections[channel].ended = true;
	feed(world, channel, true, error);
}

void world_fail(struct world *world, enum mr_action_kind kind, unsigned nth, int error)
{
	for (unsigned i = 0; i < WORLD_FAILURES; i++)
		if (world->failures[i].left == 0) {
			world->failures[i] = (struct failure){kind, nth + 1, error};
			return;
		}
	fail_msg("too many planned failures");
}

bool world_fault(struct world *world, uint32_t block, uint64_t offset)
{
	return mr_incoming_fault(world->machine, block, offset, 1);
}

/* ---- Actions as text ---- */

static const char *const return_names[MR_RETURN_COUNT] = {
	[MR_RETURN_SHUT] = "SHUT",
	[MR_RETURN_PONG] = "PONG",
	[MR_RETURN_REQ_PAGES_ID] = "REQ_PAGES_ID",
	[MR_RETURN_REQ_PAGES] = "REQ_PAGES",
	[MR_RETURN_RECV_BITMAP] = "RECV_BITMAP",
	[MR_RETURN_RESUME_ACK] = "RESUME_ACK",
	[MR_RETURN_SWITCHOVER_ACK] = "SWITCHOVER_ACK",
};

/* FNV-1a over words where there are many bytes: enough to see that two runs had other ones. */
static uint32_t sum(struct mr_bytes bytes)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	size_t i = 0;

	for (; i + 8 <= bytes.length; i += 8) {
		uint64_t word;

		memcpy(&word, bytes.data + i, sizeof(word));
		hash = (hash ^ word) * UINT64_C(0x100000001b3);
		hash ^= hash >> 29;
	}
	for (; i < bytes.length; i++)
		hash = (hash ^ bytes.data[i]) * UINT64_C(0x100000001b3);
	return (uint32_t)(hash ^ hash >> 32);
}

static const char *block_name(const struct world *world, uint32_t block)
{
	return block == UINT32_MAX ? "?" : mr_incoming_block_name(world->machine, block);
}

static int describe_send(const struct world *world, const struct mr_action_send *send, char *out, size_t size)
{
	if (send->bitmap)
		return snprintf(out, size, "bits %s of %zu bytes sum %08" PRIx32, block_name(world, send->block),
				send->bytes.length, sum(send->bytes));
	switch (send->type) {
	case MR_RETURN_REQ_PAGES_ID:
	case MR_RETURN_REQ_PAGES:
		return snprintf(out, size, "%s %s 0x%" PRIx64, return_names[send->type], block_name(world, send->block),
				send->offset);
	case MR_RETURN_RECV_BITMAP:
		return snprintf(out, size, "RECV_BITMAP %s", block_name(world, send->block));
	default:
		return snprintf(out, size, "%s %" PRIu32, return_names[send->type], send->value);
	}
}

static int describe_page(const struct world *world, const struct mr_action_page *page, char *out, size_t size)
{
	return snprintf(out, size, "%s 0x%" PRIx64 "%s%s flags 0x%03" PRIx32 " fill %u sum %08" PRIx32,
			block_name(world, page->block), page->offset, page->postcopy ? " postcopy" : "",
			page->cut ? " cut" : "", page->flags, page->fill, sum(page->data));
}

static int describe_placed(const struct world *world, const struct mr_action *action, char *out, size_t size)
{
	const struct mr_action_placed *placed = &action->placed;

	if (action->kind == MR_ACTION_MARKED)
		return snprintf(out, size, "%s 0x%" PRIx64 "%s left %" PRIu32, block_name(world, placed->block),
				placed->offset, placed->was_requested ? " requested" : "", placed->outstanding);
	return snprintf(out, size, "%s 0x%" PRIx64 "%s%s length 0x%" PRIx64 " sum %08" PRIx32,
			block_name(world, placed->block), placed->offset, placed->zero ? " zero" : "",
			placed->by_copy ? " by-copy" : "", placed->length,
			placed->data ? sum((struct mr_bytes){placed->data, (size_t)placed->length}) : 0);
}

static int describe_range(const struct world *world, const struct mr_action_range *range, char *out, size_t size)
{
	return snprintf(out, size, "%s 0x%" PRIx64 "+0x%" PRIx64, block_name(world, range->block), range->start,
			range->length);
}

static int describe_request(const struct world *world, const struct mr_action_request *request, char *out, size_t size)
{
	return snprintf(out, size, "%s %s 0x%" PRIx64 " of %" PRIu32 "%s", mr_request_verdict_name(request->verdict),
			block_name(world, request->block), request->offset, request->outstanding,
			request->retried ? " retried" : "");
}

static int describe_stream(const struct mr_action *action, char *out, size_t size)
{
	switch (action->kind) {
	case MR_ACTION_SECTION:
		return snprintf(out, size, "%u %.*s", action->section.type, (int)action->section.idstr.length,
				action->section.idstr.length ? (const char *)action->section.idstr.data : "");
	case MR_ACTION_COMMAND:
		return snprintf(out, size, "%s", mr_command_name(action->command.number));
	case MR_ACTION_COMMAND_DONE:
		return snprintf(out, size, "%s %d", mr_command_name(action->command.number), action->command.result);
	case MR_ACTION_RAM_LOADED:
		return snprintf(out, size, "%d%s number %" PRIu64, action->loaded.result,
				action->loaded.postcopy ? " postcopy" : "", action->loaded.sequence);
	case MR_ACTION_PACKET:
		return snprintf(out, size, "%" PRIu32 "%s pages %" PRIu32, action->packet.multifd,
				action->packet.sync ? " sync" : "",
				action->packet.record.normal_pages + action->packet.record.zero_pages);
	case MR_ACTION_LOAD_DEVICE:
		return snprintf(out, size, "%" PRIu32 " of %zu bytes", action->device.id, action->device.body.length);
	case MR_ACTION_FAILED:
		return snprintf(out, size, "%s", mr_rule_id(action->finding.rule));
	default:
		return snprintf(out, size, "-");
	}
}

static int describe(const struct world *world, const struct mr_action *action, char *out, size_t size)
{
	switch (action->kind) {
	case MR_ACTION_STATUS:
		return snprintf(out, size, "%s", mr_status_name(action->status));
	case MR_ACTION_POSTCOPY_STATE:
		return snprintf(out, size, "%s", mr_postcopy_state_name(action->state));
	case MR_ACTION_SEND:
		return describe_send(world, &action->send, out, size);
	case MR_ACTION_RAM_RECORD:
		return describe_page(world, &action->page, out, size);
	case MR_ACTION_PLACE:
	case MR_ACTION_MARKED:
		return describe_placed(world, action, out, size);
	case MR_ACTION_REQUEST:
	case MR_ACTION_REQUEST_AGAIN:
		return describe_request(world, &action->request, out, size);
	case MR_ACTION_DISCARD_HEADER:
	case MR_ACTION_BITMAP_SENT:
	case MR_ACTION_DISCARD:
	case MR_ACTION_NO_HUGE_PAGES:
	case MR_ACTION_HUGE_PAGES:
	case MR_ACTION_REGISTER:
	case MR_ACTION_UNREGISTER:
	case MR_ACTION_RESIZE:
		return describe_range(world, &action->range, out, size);
	case MR_ACTION_WAKE:
		return snprintf(out, size, "%" PRIu32 " %s 0x%" PRIx64, action->wake.client,
				block_name(world, action->wake.block), action->wake.offset);
	case MR_ACTION_PROBE:
		return snprintf(out, size, "%d", (int)action->probe);
	case MR_ACTION_NOTIFY:
		return snprintf(out, size, "%d", (int)action->notice);
	case MR_ACTION_LOADED:
	case MR_ACTION_START_GUEST:
		return snprintf(out, size, "%d", action->result);
	default:
		return describe_stream(action, out, size);
	}
}

/* "listen place mem 0x3000 length 0x1000 sum 01234567 @0:123" */
static void write_line(struct world *world, const struct mr_action *action)
{
	char line[LINE_MAX_BYTES];
	int length = snprintf(line, sizeof(line), "%s", mr_actor_name(action->actor));

	if (action->actor >= MR_ACTOR_MULTIFD)
		length +=
			snprintf(line + length, sizeof(line) - (size_t)length, "%u", action->actor - MR_ACTOR_MULTIFD);
	length += snprintf(line + length, sizeof(line) - (size_t)length, " %s ", mr_action_name(action->kind));
	length += describe(world, action, line + length, sizeof(line) - (size_t)length);
	assert_true(length < (int)sizeof(line));
	build_text(&world->text, line);
	snprintf(line, sizeof(line), " @%" PRIu32 ":%" PRIu64 "%s\n", action->channel, action->offset,
		 action->in_package ? " in package" : "");
	build_text(&world->text, line);
}

/* ---- Carrying out ---- */

static int planned_error(struct world *world, enum mr_action_kind kind)
{
	for (unsigned i = 0; i < WORLD_FAILURES; i++) {
		struct failure *failure = &world->failures[i];

		if (failure->left && failure->kind == kind && --failure->left == 0)
			return failure->error;
	}
	return 0;
}

static void set_present(struct world *world, uint32_t block, uint64_t offset, uint64_t length, bool present)
{
	for (uint64_t at = offset; at < offset + length; at += PAGE) {
		assert_true(block < WORLD_BLOCKS && at / PAGE < WORLD_PAGES);
		world->present[block][at / PAGE] = present;
		if (!present)
			world->marked[block][at / PAGE] = false;
	}
}

static void discard(struct world *world, const struct mr_action_range *range)
{
	for (uint64_t at = range->start; at < range->start + range->length; at += PAGE) {
		assert_true(range->block < WORLD_BLOCKS && at / PAGE < WORLD_PAGES);
		if (world->present[range->block][at / PAGE])
			memset(world->memory[range->block] + at, 0, PAGE);
	}
	set_present(world, range->block, range->start, range->length, false);
}

/* A page that is there is not placed again: the host says so. */
static int place(struct world *world, const struct mr_action_placed *placed)
{
	uint8_t *to = world->memory[placed->block] + placed->offset;

	assert_true(placed->zero == (placed->data == NULL));
	for (uint64_t i = 0; i < placed->length; i += PAGE)
		if (world->present[placed->block][(placed->offset + i) / PAGE])
			return HOST_EEXIST;
	if (placed->data)
		memcpy(to, placed->data, (size_t)placed->length);
	else
		memset(to, 0, (size_t)placed->length);
	set_present(world, placed->block, placed->offset, placed->length, true);
	return 0;
}

static void write_packet(struct world *world, const struct mr_action *action)
{
	const struct mr_multifd_packet *packet = &action->packet.record;
	const uint32_t block = action->packet.block;

	if (block == UINT32_MAX)
		return;
	for (uint32_t i = 0; i < packet->normal_pages + packet->zero_pages; i++) {
		const uint64_t offset = mr_multifd_offset(packet, i);

		assert_true(offset + PAGE <= sizeof(world->memory[block]));
		if (i < packet->normal_pages)
			memcpy(world->memory[block] + offset, packet->payload.data + (size_t)i * PAGE, PAGE);
		else
			memset(world->memory[block] + offset, 0, PAGE);
		set_present(world, block, offset, PAGE, true);
	}
}

static int carry_out(struct world *world, const struct mr_action *action)
{
	const int error = planned_error(world, action->kind);

	if (error)
		return error;
	switch (action->kind) {
	case MR_ACTION_SEND:
		build_bytes(&world->connections[action->send.channel].sent, action->send.bytes.data,
			    action->send.bytes.length);
		return 0;
	case MR_ACTION_CLOSE:
		world->connections[action->channel].closed = true;
		return 0;
	case MR_ACTION_DISCARD:
		if (world->config.memory.page)
			discard(world, &action->range);
		return 0;
	case MR_ACTION_PLACE:
		return world->config.memory.page ? place(world, &action->placed) : 0;
	case MR_ACTION_PACKET:
		if (world->config.memory.page)
			write_packet(world, action);
		return 0;
	default:
		return 0;
	}
}

static void note(struct world *world, const struct mr_action *action)
{
	write_line(world, action);
	world->count[action->kind]++;
	world->last = *action;
	world->finished |= action->kind == MR_ACTION_FINISHED;
	world->failed |= action->kind == MR_ACTION_FAILED;
	if (!world->config.memory.page)
		return;
	if (action->kind == MR_ACTION_RAM_RECORD && !action->page.postcopy && !action->page.cut) {
		set_present(world, action->page.block, action->page.offset, PAGE, true);
		world->marked[action->page.block][action->page.offset / PAGE] = true;
	}
	if (action->kind == MR_ACTION_MARKED)
		for (uint64_t i = 0; i < action->placed.length; i += PAGE)
			world->marked[action->placed.block][(action->placed.offset + i) / PAGE] = true;
}

/* The last lines, as many as a message of the test's library holds. */
static struct mr_bytes said_last(const struct world *world)
{
	enum { MESSAGE_BYTES = 700 };
	const size_t length = world->text.length < MESSAGE_BYTES ? world->text.length : MESSAGE_BYTES;

	return (struct mr_bytes){world->text.bytes + world->text.length - length, length};
}

/* Fails the test with `what`, and shows what was said last. */
_Noreturn static void complain(const struct world *world, const char *what, const char *line)
{
	const struct mr_bytes said = said_last(world);

	fail_msg("%s: %s\n%.*s", what, line, (int)said.length, (const char *)said.data);
	abort();
}

/* ---- Steps ---- */

enum mr_step world_step_only(struct world *world, unsigned actor)
{
	struct mr_action action;
	const enum mr_step step = mr_incoming_step(world->machine, actor, &action);

	if (step != MR_STEP_ACTION)
		return step;
	note(world, &action);
	world->asked[actor] = action.asked;
	if (action.asked)
		world->errors[actor] = carry_out(world, &action);
	return step;
}

void world_complete(struct world *world, unsigned actor)
{
	world->asked[actor] = false;
	assert_true(mr_incoming_complete(world->machine, actor, world->errors[actor]));
}

enum mr_step world_step(struct world *world, unsigned actor)
{
	const enum mr_step step = world_step_only(world, actor);

	if (step == MR_STEP_ACTION && world->last.asked)
		world_complete(world, actor);
	return step;
}

enum mr_step world_run_actor(struct world *world, unsigned actor)
{
	enum mr_step step;
	unsigned rounds = 0;

	while ((step = world_step(world, actor)) == MR_STEP_ACTION)
		assert_true(++rounds < ROUNDS_MAX);
	return step;
}

/* A step without an action may let another actor go on, so that one quiet round is not the end. */
void world_run(struct world *world)
{
	unsigned rounds = 0, quiet = 0;

	while (quiet < QUIET_ROUNDS) {
		bool moved = false;

		for (unsigned actor = 0; actor < WORLD_ACTORS; actor++)
			moved |= world_step(world, actor) == MR_STEP_ACTION;
		quiet = moved ? 0 : quiet + 1;
		assert_true(++rounds < ROUNDS_MAX);
	}
}

void world_run_actor_until(struct world *world, unsigned actor, const char *line)
{
	const unsigned before = world_said(world, line);

	while (world_said(world, line) == before)
		if (world_step(world, actor) != MR_STEP_ACTION)
			complain(world, "never said by its actor", line);
}

void world_run_until(struct world *world, const char *line)
{
	const unsigned before = world_said(world, line);
	unsigned quiet = 0;

	while (quiet < QUIET_ROUNDS) {
		bool moved = false;

		for (unsigned actor = 0; actor < WORLD_ACTORS; actor++) {
			moved |= world_step(world, actor) == MR_STEP_ACTION;
			if (world_said(world, line) != before)
				return;
		}
		quiet = moved ? 0 : quiet + 1;
	}
	complain(world, "never said", line);
}

/* ---- Random schedules ---- */

/* What a request asks for is not there by the marks of that moment. */
static void check_request(const struct world *world)
{
	const struct mr_action_request *request = &world->last.request;

	if (world->last.kind != MR_ACTION_REQUEST)
		return;
	if (request->verdict == MR_REQUEST_ADDED)
		assert_false(world->marked[request->block][request->offset / PAGE]);
	if (request->verdict == MR_REQUEST_DROPPED)
		assert_true(world->marked[request->block][request->offset / PAGE]);
}

static void tell_random_fault(struct world *world, struct random *random)
{
	enum { FAULTS_MAX = 12, FAULT_PAGES = 8 };

	if (world->faults < FAULTS_MAX)
		world->faults += world_fault(world, (uint32_t)random_below(random, world->config.block_count),
					     random_below(random, FAULT_PAGES) * PAGE);
}

void world_run_at_random(struct world *world, struct random *random, size_t limit, bool checked)
{
	enum { IDLE_STEPS = 400, PIECE_BYTES = 3000, DICE = 16 };
	unsigned idle = 0;

	for (size_t steps = 0; idle < IDLE_STEPS && steps < limit; steps++) {
		const unsigned actor = (unsigned)random_below(random, WORLD_ACTORS);
		const uint64_t dice = random_below(random, DICE);

		assert_true(steps < ROUNDS_MAX);
		if (dice == 0)
			tell_random_fault(world, random);
		if (dice == 1)
			world_show(world, (uint32_t)random_below(random, WORLD_CONNECTIONS / 2),
				   (size_t)random_below(random, PIECE_BYTES));
		idle++;
		if (world->asked[actor]) {
			world_complete(world, actor);
			idle = 0;
		} else if (world_step_only(world, actor) == MR_STEP_ACTION) {
			if (checked)
				check_request(world);
			idle = 0;
		}
	}
	for (unsigned actor = 0; actor < WORLD_ACTORS; actor++)
		if (world->asked[actor])
			world_complete(world, actor);
	for (uint32_t i = 0; limit == SIZE_MAX && i < WORLD_CONNECTIONS / 2; i++)
		world_show(world, i, SIZE_MAX);
	if (limit == SIZE_MAX)
		world_run(world);
}

/* ---- What was said ---- */

/* The next line from `at` on that begins with `line`; NULL if there is none. */
static const char *find_line(const char *at, const char *end, const char *line)
{
	const size_t length = strlen(line);

	while (at < end) {
		const char *stop = memchr(at, '\n', (size_t)(end - at));

		if ((size_t)(stop - at) > length && memcmp(at, line, length) == 0 && at[length] == ' ')
			return at;
		at = stop + 1;
	}
	return NULL;
}

unsigned world_said(const struct world *world, const char *line)
{
	const char *at = (const char *)world->text.bytes;
	const char *end = at ? at + world->text.length : NULL;
	unsigned count = 0;

	while (at && (at = find_line(at, end, line)) != NULL) {
		count++;
		at++;
	}
	return count;
}

void world_hush(struct world *world)
{
	world->text.length = 0;
}

void expect_order(const struct world *world, ...)
{
	const char *at = (const char *)world->text.bytes;
	const char *end = at + world->text.length;
	const char *line;
	va_list lines;

	va_start(lines, world);
	while ((line = va_arg(lines, const char *)) != NULL) {
		at = find_line(at, end, line);
		if (!at)
			complain(world, "not said in this order", line);
		at++;
		at = (const char *)memchr(at, '\n', (size_t)(end - at)) + 1;
	}
	va_end(lines);
}

void expect_said(const struct world *world, const char *line)
{
	if (world_said(world, line) == 0)
		complain(world, "not said", line);
}

void expect_silent(const struct world *world, const char *line)
{
	if (world_said(world, line) != 0)
		complain(world, "said", line);
}

void expect_error(const struct world *world, enum mr_rule rule)
{
	const struct mr_finding *error = mr_incoming_error(world->machine);

	if (error->rule != rule)
		complain(world, error->rule == MR_NO_RULE ? "no rule" : mr_rule_id(error->rule), mr_rule_id(rule));
}

void expect_failed(const struct world *world, enum mr_rule rule)
{
	expect_error(world, rule);
	if (!world->failed || world->finished)
		complain(world, "it did not fail", mr_rule_id(rule));
}

void expect_finished(const struct world *world)
{
	if (!world->finished || world->failed)
		complain(world, world->failed ? "it failed" : "it did not finish",
			 mr_incoming_error(world->machine)->expected);
}

void world_messages(const struct world *world, uint32_t channel, struct messages *messages)
{
	static struct mr_session session;
	static struct mr_decoder decoder;
	const struct build *sent = &world->connections[channel].sent;
	size_t at = 0;
	struct mr_record record;
	enum mr_result result;

	mr_session_init(&session, &world->config.context, NULL, NULL);
	mr_decoder_init(&decoder, &session, MR_ROLE_RETURN, 0);
	messages->count = 0;
	while ((result = mr_decode(&decoder, sent->bytes + at, sent->length - at, true, &record)) == MR_RECORD) {
		assert_int_equal(record.kind, MR_RETURN_MESSAGE);
		assert_true(messages->count < MESSAGES_MAX);
		messages->at[messages->count++] = record.message;
		at += (size_t)record.length;
	}
	assert_int_equal(result, MR_DONE);
}

/* ---- Streams ---- */

void put_begin(struct build *build)
{
	build_header(build);
	build_configuration(build, "pc");
}

void put_open_return_path(struct build *build)
{
	build_command(build, MR_COMMAND_OPEN_RETURN_PATH, 0);
}

void put_advise(const struct world *world, struct build *build)
{
	const uint64_t host = world->config.host_page_size ? world->config.host_page_size : PAGE;
	uint64_t summary = 0;

	if (!(world->config.context.capabilities & MR_CAPABILITY_POSTCOPY_RAM)) {
		build_command(build, MR_COMMAND_POSTCOPY_ADVISE, 0);
		return;
	}
	for (uint32_t i = 0; i < world->config.block_count; i++) {
		const struct mr_incoming_block *block = &world->config.blocks[i];

		if (!block->ignored)
			summary |= block->page_size ? block->page_size : host;
	}
	build_advise(build, world->config.profile.on[MR_SWITCH_ADVISE_SUMMARY] ? summary : host, PAGE);
}

void put_block_list(const struct world *world, struct build *build)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < world->config.block_count; i++)
		total += world->config.blocks[i].used_length;
	build_start(build, RAM_SECTION, "ram", 4);
	build_size(build, total);
	for (uint32_t i = 0; i < world->config.block_count; i++) {
		const struct mr_incoming_block *block = &world->config.blocks[i];

		build_block(build, block->name, block->used_length);
		if (block->page_size > PAGE)
			build_be64(build, block->page_size);
	}
	build_eos(build);
	build_footer(build, RAM_SECTION);
}

void put_section(struct build *build)
{
	build_part(build, RAM_SECTION);
}

void put_section_end(struct build *build)
{
	build_eos(build);
	build_footer(build, RAM_SECTION);
}

void put_end(struct build *build)
{
	build_end(build, RAM_SECTION);
	put_section_end(build);
	build_u8(build, 0);
}

void put_listen(struct build *build)
{
	build_command(build, MR_COMMAND_POSTCOPY_LISTEN, 0);
}

void put_run(struct build *build)
{
	build_command(build, MR_COMMAND_POSTCOPY_RUN, 0);
}

void put_package(struct build *build)
{
	const size_t start = build_package(build);

	put_listen(build);
	build_ping(build, 3);
	put_run(build);
	build_package_end(build, start);
}

void put_advised(const struct world *world, struct build *build)
{
	put_begin(build);
	put_open_return_path(build);
	build_ping(build, 1);
	put_advise(world, build);
	put_block_list(world, build);
}

void put_discarded(const struct world *world, struct build *build)
{
	put_advised(world, build);
	for (uint32_t i = 0; i < world->config.block_count; i++)
		if (!world->config.blocks[i].ignored)
			build_discard(build, world->config.blocks[i].name, 0, world->config.blocks[i].used_length);
	build_ping(build, 2);
}

void put_running(const struct world *world, struct build *build)
{
	put_discarded(world, build);
	put_package(build);
	build_ping(build, 4);
}

void put_page_section(struct build *build, const char *block, uint64_t offset, uint8_t byte)
{
	put_section(build);
	if (byte)
		build_page(build, offset, block, byte, PAGE);
	else
		build_zero(build, offset, block);
	put_section_end(build);
}

void put_multifd_init(struct build *build, uint8_t id)
{
	build_be32(build, 0x11223344);
	build_be32(build, 1);
	build_fill(build, 0xab, 16);
	build_u8(build, id);
	build_fill(build, 0, 39);
}

void put_multifd_packet(struct build *build, uint32_t flags, uint64_t first, uint32_t count)
{
	enum { PACKET_PAGES = 128, NAME_BYTES = 256 };

	build_be32(build, 0x11223344);
	build_be32(build, 1);
	build_be32(build, flags);
	build_be32(build, PACKET_PAGES);
	build_be32(build, count);
	build_be32(build, count * PAGE);
	build_be64(build, 1);
	build_be32(build, 0);
	build_fill(build, 0, 28);
	build_text(build, count ? "mem" : "");
	build_fill(build, 0, NAME_BYTES - (count ? 3 : 0));
	for (uint64_t i = 0; i < PACKET_PAGES; i++)
		build_be64(build, i < count ? (first + i) * PAGE : 0);
	for (uint64_t i = 0; i < count; i++)
		build_fill(build, (uint8_t)(first + i + 1), PAGE);
}

struct world *world_running(const struct setup *setup)
{
	struct setup full = *setup;
	struct world *world;

	full.capabilities |= MR_CAPABILITY_POSTCOPY_RAM;
	world = world_new(&full);
	put_running(world, &world->connections[0].bytes);
	world_show(world, 0, SIZE_MAX);
	if (full.capabilities & MR_CAPABILITY_POSTCOPY_PREEMPT)
		world_open(world, 1, MR_ROLE_PREEMPT);
	world_run(world);
	assert_int_equal(mr_incoming_postcopy_state(world->machine), MR_POSTCOPY_RUNNING);
	return world;
}
