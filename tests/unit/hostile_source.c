/* hostile_source.c: the table in place of the destination, and the properties of any source. */
#include "hostile_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	STEPS_MAX = 60000,
	ARENA = 4 << 20,
	MILLISECOND = 1000000,
	SECTION_PAGES = 5,
	DIRTYING_SYNCS = 6,
	PAGES_BEFORE_SWITCH = 4,
	LOADED = 0x42,
	COMMAND_PING = 2,
	COMMAND_RECV_BITMAP = 10,
	COMMAND_POSTCOPY_RESUME = 9,
	HOST_EIO = 5,
	HOST_EPIPE = 32,
};

/* ---- Memory ---- */

static uint64_t pages_of(const struct foe *foe, uint32_t block)
{
	return foe->blocks[block].used_length / FOE_PAGE;
}

static const uint8_t *page_at(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	const struct foe *foe = argument;

	(void)actor;
	(void)look;
	assert_true(block < FOE_BLOCKS && !foe->blocks[block].ignored);
	assert_true(offset % FOE_PAGE == 0 && offset < foe->blocks[block].used_length);
	return foe->memory[block] + offset;
}

static void guest_writes(struct foe *foe)
{
	const uint64_t page = foe->log_syncs * 3 % FOE_PAGES;

	if (!foe->guest_runs || foe->log_syncs > DIRTYING_SYNCS)
		return;
	foe->memory[0][page * FOE_PAGE] = (uint8_t)(0x80 + foe->log_syncs);
	assert_true(mr_outgoing_dirty(foe->source, 0, page * FOE_PAGE, FOE_PAGE));
}

static void set_memory(struct foe *foe)
{
	for (uint32_t block = 0; block < FOE_BLOCKS; block++)
		for (uint64_t page = 0; page < pages_of(foe, block); page++)
			if (page % 3)
				memset(foe->memory[block] + page * FOE_PAGE, (int)(block * 32 + page), FOE_PAGE);
}

static bool is_snapshot(const struct foe *foe)
{
	return foe->setup.capabilities & MR_CAPABILITY_BACKGROUND_SNAPSHOT;
}

/* ---- Setting up ---- */

static uint64_t choose(void *argument, enum mr_choice choice, uint64_t canonical)
{
	struct foe *foe = argument;

	if (choice == MR_CHOICE_SECTION_ENDS)
		return foe->section_turns++ % SECTION_PAGES == SECTION_PAGES - 1;
	return canonical;
}

static void set_handlers(struct foe *foe)
{
	const struct mr_handler timer = {.name = "timer", .alias = MR_ALIAS_NONE, .version = 2};
	/* One that has every hook but those that have to consent. */
	const struct mr_handler live = {
		.name = "live",
		.alias = MR_ALIAS_NONE,
		.version = 1,
		.hooks = ~(MR_HOOK_BIT(SAVE_POSTCOPY_PREPARE) | MR_HOOK_BIT(SAVE_COMPLETE_PRECOPY_THREAD))};
	struct mr_handler ram;
	char error[96];

	mr_handlers_init(&foe->handlers, &foe->profile, foe->entries, 4);
	assert_true(mr_handler_known("ram", &ram));
	assert_int_equal(mr_handlers_register(&foe->handlers, &ram, NULL, error), MR_NO_RULE);
	assert_int_equal(mr_handlers_register(&foe->handlers, &live, NULL, error), MR_NO_RULE);
	assert_int_equal(mr_handlers_register(&foe->handlers, &timer, NULL, error), MR_NO_RULE);
}

/* Shared by one source after the other: to give a new one to each costs more than all its steps. */
static _Alignas(64) uint8_t arena[ARENA];

static void fail_unless_room(size_t size)
{
	if (size > sizeof(arena))
		fail_msg("%zu bytes of arena", size);
}

static void start(struct foe *foe)
{
	const struct foe_setup *setup = &foe->setup;
	const struct mr_outgoing_config config = {
		.profile = foe->profile,
		.capabilities = setup->capabilities |
				(setup->capabilities & MR_CAPABILITY_POSTCOPY_RAM ? 0 : MR_CAPABILITY_IGNORE_SHARED),
		.pause_before_switchover = setup->pause_before_switchover,
		.release_ram = setup->release_ram,
		.guest_stopped = setup->guest_stopped,
		.blocks = foe->blocks,
		.block_count = FOE_BLOCKS,
		.handlers = &foe->handlers,
		.max_bandwidth = UINT64_MAX,
		.multifd_channels = setup->multifd_channels,
		.package_max = setup->package_max ? setup->package_max : 4096,
		.connections_max = setup->connections_max,
		.memory = {foe, page_at},
		.choices = &foe->choices,
	};
	char error[96];
	const size_t size = mr_outgoing_size(&config, error);

	if (size == 0)
		fail_msg("%s", error);
	fail_unless_room(size);
	memset(arena, 0, size);
	foe->source = mr_outgoing_init(arena, size, &config);
	assert_non_null(foe->source);
}

struct foe *foe_new(const struct foe_setup *setup)
{
	struct foe *foe = calloc(1, sizeof(*foe));

	assert_non_null(foe);
	foe->setup = *setup;
	foe->guest_runs = !setup->guest_stopped;
	foe->choices = (struct mr_choices){foe, choose};
	assert_int_equal(mr_profile_init(&foe->profile, setup->release), 0);
	foe->blocks[0] = (struct mr_outgoing_block){.name = "mem", .used_length = FOE_PAGES * FOE_PAGE};
	foe->blocks[1] = (struct mr_outgoing_block){.name = "huge",
						    .used_length = 2 * FOE_HUGE,
						    .page_size = FOE_HUGE,
						    .cache_offset = FOE_PAGES * FOE_PAGE};
	foe->blocks[2] = (struct mr_outgoing_block){.name = "shared", .used_length = 4 * FOE_PAGE, .ignored = true};
	set_memory(foe);
	set_handlers(foe);
	start(foe);
	return foe;
}

void foe_free(struct foe *foe)
{
	mr_outgoing_clear(foe->source);
	for (unsigned i = 0; i < foe->connection_count; i++)
		build_free(&foe->connections[i].backward);
	free(foe);
}

/* ---- The return path ---- */

static struct foe_connection *main_of(struct foe *foe)
{
	for (unsigned i = foe->connection_count; i > 0; i--)
		if (foe->connections[i - 1].role == MR_ROLE_MAIN || foe->connections[i - 1].role == MR_ROLE_RECOVERY)
			return &foe->connections[i - 1];
	fail_msg("no main channel");
	return NULL;
}

struct build *foe_backward(struct foe *foe)
{
	return &main_of(foe)->backward;
}

void foe_end_return_path(struct foe *foe)
{
	main_of(foe)->at_end = true;
}

void foe_put_message(struct foe *foe, uint16_t type, const void *payload, uint16_t length)
{
	build_be16(foe_backward(foe), type);
	build_be16(foe_backward(foe), length);
	build_bytes(foe_backward(foe), payload, length);
}

void foe_put_value(struct foe *foe, uint16_t type, uint32_t value)
{
	build_be16(foe_backward(foe), type);
	build_be16(foe_backward(foe), 4);
	build_be32(foe_backward(foe), value);
}

void foe_put_request(struct foe *foe, const char *block, uint64_t at, uint32_t length)
{
	struct build *build = foe_backward(foe);

	build_be16(build, block ? MR_RETURN_REQ_PAGES_ID : MR_RETURN_REQ_PAGES);
	build_be16(build, block ? (uint16_t)(13 + strlen(block)) : 12);
	build_be64(build, at);
	build_be32(build, length);
	if (block)
		build_counted(build, block);
}

void foe_put_bitmap(struct foe *foe, uint32_t block)
{
	struct build *build = foe_backward(foe);
	uint64_t bits = 0;

	for (uint64_t page = 0; page < pages_of(foe, block); page++)
		bits |= (uint64_t)foe->received[block][page] << page;
	build_be16(build, MR_RETURN_RECV_BITMAP);
	build_be16(build, (uint16_t)(1 + strlen(foe->blocks[block].name)));
	build_counted(build, foe->blocks[block].name);
	build_be64(build, 8);
	for (unsigned i = 0; i < 8; i++)
		build_u8(build, (uint8_t)(bits >> 8 * i));
	build_be64(build, UINT64_C(0x0123456789abcdef));
}

static void show_return_paths(struct foe *foe)
{
	for (unsigned i = 0; i < foe->connection_count; i++) {
		const struct foe_connection *connection = &foe->connections[i];
		const uint64_t taken = mr_outgoing_consumed(foe->source, i);

		assert_true(taken <= connection->backward.length);
		mr_outgoing_feed(foe->source, i, connection->backward.bytes + taken,
				 connection->backward.length - taken, connection->at_end || connection->lost,
				 connection->lost ? HOST_EIO : 0);
	}
}

/* ---- What the destination answers ---- */

static bool has_return_path(const struct foe *foe)
{
	return foe->setup.capabilities & (MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_RETURN_PATH);
}

/* The destination wants a page that it does not have. */
static void ask_for_page(struct foe *foe)
{
	const uint32_t block = foe->asks_made % 2;
	const uint64_t unit = block ? FOE_HUGE / FOE_PAGE : 1;
	const uint64_t page = foe->asks_made * 5 % (pages_of(foe, block) / unit) * unit;

	foe->asks_made++;
	if (!foe->received[block][page])
		foe_put_request(foe, foe->blocks[block].name, page * FOE_PAGE, (uint32_t)unit * FOE_PAGE);
}

static void answer_command(struct foe *foe, struct mr_bytes head)
{
	const uint16_t number = (uint16_t)(head.data[1] << 8 | head.data[2]);

	if (number == COMMAND_PING)
		foe_put_value(foe, MR_RETURN_PONG, head.data[8]);
	if (number == COMMAND_POSTCOPY_RESUME)
		foe_put_value(foe, MR_RETURN_RESUME_ACK, 1);
	for (uint32_t i = 0; number == COMMAND_RECV_BITMAP && i < FOE_BLOCKS; i++)
		if (head.data[5] == strlen(foe->blocks[i].name) &&
		    memcmp(head.data + 6, foe->blocks[i].name, head.data[5]) == 0)
			foe_put_bitmap(foe, i);
}

static void load_package(struct foe *foe)
{
	foe->packaged = true;
	memset(foe->received[0], false, sizeof(foe->received[0]));
	memset(foe->received[1], false, sizeof(foe->received[1]));
	if (mr_profile_does(&foe->profile, MR_SWITCH_PING_PACKAGE_LOADED) && !foe->silent)
		foe_put_value(foe, MR_RETURN_PONG, LOADED);
}

/* A host page comes by one channel, whoever sends it. */
static void take_huge_page(struct foe *foe, const struct mr_source_action *action)
{
	uint32_t *channel = &foe->huge_channels[action->send.page / FOE_HUGE];

	if (*channel)
		assert_int_equal(*channel, action->send.channel + 1);
	*channel = action->send.channel + 1;
}

static void take_page(struct foe *foe, const struct mr_source_action *action)
{
	const uint64_t page = action->send.page / FOE_PAGE;
	uint8_t *at = foe->arrived[action->send.block] + action->send.page;

	foe->received[action->send.block][page] = true;
	if (action->send.kind == MR_RAM_PAGE)
		memcpy(at, action->send.body.data, FOE_PAGE);
	else
		memset(at, 0, FOE_PAGE);
	if (foe->packaged)
		foe->postcopy_pages++;
	if (foe->packaged && action->send.block == 1)
		take_huge_page(foe, action);
	if (foe->packaged && foe->setup.asks && !foe->silent)
		ask_for_page(foe);
}

static void take_bytes(struct foe *foe, const struct mr_source_action *action)
{
	struct foe_connection *connection = &foe->connections[action->send.channel];

	assert_false(connection->closed);
	/* Who has given up says no more. */
	assert_int_equal(foe->said[MR_SOURCE_ACTION_LOG_STOP], 0);
	assert_true(is_snapshot(foe) || foe->said[MR_SOURCE_ACTION_START_GUEST] == 0);
	assert_true(mr_outgoing_status(foe->source) < MR_SOURCE_STATUS_COMPLETED);
	assert_int_equal(connection->forward, action->send.offset);
	foe->completing |= foe->packaged && action->send.kind == MR_SECTION_END;
	connection->forward += action->send.head.length + action->send.body.length;
	if (connection->lost)
		return;
	switch (action->send.kind) {
	case MR_RAM_PAGE:
	case MR_RAM_ZERO:
		take_page(foe, action);
		break;
	case MR_COMMAND:
		if (!foe->silent)
			answer_command(foe, action->send.head);
		break;
	case MR_OPAQUE:
		if (!is_snapshot(foe))
			load_package(foe);
		break;
	case MR_EOF:
		foe->eof_sent = true;
		break;
	default:
		break;
	}
	/* Precopy is over with the description, postcopy with the end of file. */
	if (has_return_path(foe) && !foe->silent && action->send.kind == (foe->packaged ? MR_EOF : MR_VMDESCRIPTION))
		foe_put_value(foe, MR_RETURN_SHUT, 0);
}

/* ---- Events ---- */

static void lose(struct foe *foe, enum mr_role role, bool all)
{
	for (unsigned i = 0; i < foe->connection_count; i++) {
		struct foe_connection *connection = &foe->connections[i];
		const bool main = connection->role == MR_ROLE_MAIN || connection->role == MR_ROLE_RECOVERY;
		const bool chosen = all ? connection->role != MR_ROLE_MULTIFD
					: connection->role == role || (main && role == MR_ROLE_MAIN);

		if (connection->closed || !chosen)
			continue;
		connection->lost = true;
		mr_outgoing_broken(foe->source, i, i % 2 ? HOST_EPIPE : 0);
		foe->happened = true;
	}
}

static void happen(struct foe *foe)
{
	switch (foe->setup.event) {
	case FOE_BREAK_MAIN:
		lose(foe, MR_ROLE_MAIN, false);
		break;
	case FOE_BREAK_PREEMPT:
		lose(foe, MR_ROLE_PREEMPT, false);
		break;
	case FOE_BREAK_MULTIFD:
		lose(foe, MR_ROLE_MULTIFD, false);
		break;
	case FOE_CUT:
		lose(foe, MR_ROLE_MAIN, true);
		break;
	case FOE_CANCEL:
		foe->happened = mr_outgoing_cancel(foe->source);
		break;
	case FOE_PAUSE:
		foe->happened = mr_outgoing_pause(foe->source);
		break;
	default:
		break;
	}
}

/* Whether this action is the one at which something happens. */
static bool is_time(struct foe *foe)
{
	if (foe->setup.event == FOE_NOTHING || (foe->setup.in_recovery && foe->recoveries == 0))
		return false;
	return foe->actions++ == foe->setup.at;
}

/* ---- Actions ---- */

#define BIT(status) (UINT32_C(1) << MR_SOURCE_STATUS_##status)

static void connect(struct foe *foe, const struct mr_source_action *action, int result)
{
	struct foe_connection *connection = &foe->connections[action->connect.channel];

	assert_true(action->connect.channel < FOE_CONNECTIONS);
	assert_int_equal(action->connect.channel, foe->connection_count++);
	connection->role = action->connect.role;
	/* One that could not be made is neither written to nor closed. */
	connection->closed = result != 0;
	build_room(&connection->backward, 1);
	connection->backward.length = 0;
}

/* Where a status leads to (SRC-002), the ends left out. */
static uint32_t successors(const struct foe *foe, enum mr_source_status status)
{
	const bool late = mr_profile_does(&foe->profile, MR_SWITCH_SOURCE_DEVICE_ALWAYS);
	const bool device = mr_profile_does(&foe->profile, MR_SWITCH_STATUS_POSTCOPY_DEVICE);
	const bool setup = mr_profile_does(&foe->profile, MR_SWITCH_SOURCE_RECOVER_SETUP);

	switch (status) {
	case MR_SOURCE_STATUS_NONE:
		return BIT(SETUP);
	case MR_SOURCE_STATUS_SETUP:
		return BIT(ACTIVE);
	case MR_SOURCE_STATUS_ACTIVE:
		if (is_snapshot(foe))
			return BIT(COMPLETED);
		return BIT(PRE_SWITCHOVER) | (late ? BIT(DEVICE) : BIT(POSTCOPY_ACTIVE) | BIT(COMPLETED));
	case MR_SOURCE_STATUS_PRE_SWITCHOVER:
		return BIT(DEVICE) | (late ? 0 : BIT(POSTCOPY_ACTIVE));
	case MR_SOURCE_STATUS_DEVICE:
		return BIT(COMPLETED) | (late && !device ? BIT(POSTCOPY_ACTIVE) : 0) |
		       (device ? BIT(POSTCOPY_DEVICE) : 0);
	case MR_SOURCE_STATUS_POSTCOPY_DEVICE:
		return BIT(POSTCOPY_ACTIVE);
	case MR_SOURCE_STATUS_POSTCOPY_ACTIVE:
		/* up to 9.2 it is shown before pre-switchover */
		return BIT(POSTCOPY_PAUSED) | BIT(COMPLETED) | (late ? 0 : BIT(PRE_SWITCHOVER));
	case MR_SOURCE_STATUS_POSTCOPY_PAUSED:
		return setup ? BIT(POSTCOPY_RECOVER_SETUP) : BIT(POSTCOPY_RECOVER) | BIT(POSTCOPY_PAUSED);
	case MR_SOURCE_STATUS_POSTCOPY_RECOVER_SETUP:
		return BIT(POSTCOPY_RECOVER) | BIT(POSTCOPY_PAUSED);
	case MR_SOURCE_STATUS_POSTCOPY_RECOVER:
		return BIT(POSTCOPY_ACTIVE) | BIT(POSTCOPY_PAUSED);
	case MR_SOURCE_STATUS_FAILING:
		return BIT(FAILED);
	case MR_SOURCE_STATUS_CANCELLING:
		return BIT(CANCELLED);
	default:
		return 0;
	}
}

static void show_status(struct foe *foe, enum mr_source_status status)
{
	const enum mr_source_status last =
		foe->status_count ? foe->statuses[foe->status_count - 1] : MR_SOURCE_STATUS_NONE;
	const bool failing = mr_profile_does(&foe->profile, MR_SWITCH_SOURCE_FAILING);
	const uint32_t ends = BIT(CANCELLING) | (failing ? BIT(FAILING) : BIT(FAILED));
	const bool ending = last >= MR_SOURCE_STATUS_COMPLETED;

	assert_true(foe->status_count < FOE_STATUSES);
	if (!((successors(foe, last) | (ending ? 0 : ends)) >> status & 1))
		fail_msg("%s: %s after %s", foe->setup.release, mr_source_status_name(status),
			 mr_source_status_name(last));
	foe->statuses[foe->status_count++] = status;
}

static void end(struct foe *foe, const struct mr_source_action *action)
{
	assert_false(foe->ended);
	foe->ended = true;
	foe->error = *mr_outgoing_error(foe->source);
	if (action->kind == MR_SOURCE_ACTION_FAILED)
		assert_int_equal(action->finding.rule, foe->error.rule);
}

static void carry_out(struct foe *foe, const struct mr_source_action *action, int result)
{
	static const uint8_t body[] = "state";

	switch (action->kind) {
	case MR_SOURCE_ACTION_SEND:
		take_bytes(foe, action);
		break;
	case MR_SOURCE_ACTION_STATUS:
		show_status(foe, action->status);
		break;
	case MR_SOURCE_ACTION_CONNECT:
		connect(foe, action, result);
		break;
	case MR_SOURCE_ACTION_CLOSE:
		assert_false(foe->connections[action->channel].closed);
		foe->connections[action->channel].closed = true;
		break;
	case MR_SOURCE_ACTION_LOG_SYNC:
		foe->log_syncs++;
		guest_writes(foe);
		break;
	case MR_SOURCE_ACTION_STOP_GUEST:
	case MR_SOURCE_ACTION_START_GUEST:
		assert_int_equal(foe->guest_runs, action->kind == MR_SOURCE_ACTION_STOP_GUEST);
		foe->guest_runs = !foe->guest_runs;
		break;
	case MR_SOURCE_ACTION_RELEASE:
		assert_true(foe->setup.release_ram);
		break;
	case MR_SOURCE_ACTION_SAVE:
	case MR_SOURCE_ACTION_DESCRIBE:
		mr_outgoing_save(foe->source, (struct mr_bytes){body, sizeof(body)});
		break;
	case MR_SOURCE_ACTION_RETURN:
		foe->committed |= foe->packaged && action->message.record.type == MR_RETURN_PONG &&
				  action->message.record.value == LOADED;
		break;
	case MR_SOURCE_ACTION_FINISHED:
	case MR_SOURCE_ACTION_FAILED:
		end(foe, action);
		break;
	default:
		break;
	}
}

/* What holds between any two steps. */
static void check_always(const struct foe *foe)
{
	const enum mr_source_status status = mr_outgoing_status(foe->source);
	uint64_t count = 0;

	assert_int_equal(status, foe->status_count ? foe->statuses[foe->status_count - 1] : MR_SOURCE_STATUS_NONE);
	assert_true(mr_outgoing_requests(foe->source) <= MR_OUTGOING_REQUESTS_MAX);
	/* Bitmaps of a recovery are counted when all are there. */
	if (status == MR_SOURCE_STATUS_POSTCOPY_RECOVER || foe->recoveries)
		return;
	for (uint32_t block = 0; block < FOE_BLOCKS; block++) {
		uint64_t pages;
		const uint64_t *bits = mr_outgoing_dirty_bits(foe->source, block, &pages);

		count += mr_bitmap_count(bits, pages);
	}
	assert_int_equal(count, mr_outgoing_dirty_count(foe->source));
}

static void operate(struct foe *foe)
{
	const enum mr_source_status status = mr_outgoing_status(foe->source);

	if (foe->setup.switches && status == MR_SOURCE_STATUS_ACTIVE &&
	    mr_outgoing_dirty_count(foe->source) <= FOE_PAGES + 8 - PAGES_BEFORE_SWITCH)
		mr_outgoing_start_postcopy(foe->source);
	if (status == MR_SOURCE_STATUS_PRE_SWITCHOVER)
		mr_outgoing_continue(foe->source);
	if (foe->setup.broken_first && foe->postcopy_pages >= foe->setup.broken_first && !foe->was_cut &&
	    status == MR_SOURCE_STATUS_POSTCOPY_ACTIVE) {
		foe->was_cut = true;
		lose(foe, MR_ROLE_MAIN, true);
	}
}

static bool is_question(const struct mr_source_action *action)
{
	return action->kind == MR_SOURCE_ACTION_HOOK && mr_hook_is_question(action->save.hook);
}

enum mr_step foe_step(struct foe *foe, unsigned actor)
{
	struct mr_source_action action = {0};
	enum mr_step step;
	bool now, refused;
	int result;

	operate(foe);
	show_return_paths(foe);
	step = mr_outgoing_step(foe->source, actor, &action);
	if (step != MR_STEP_ACTION)
		return step;
	assert_false(foe->ended);
	assert_int_equal(action.actor, actor);
	foe->said[action.kind]++;
	now = is_time(foe);
	refused = now && action.asked && foe->setup.event == FOE_REFUSE;
	foe->happened |= refused;
	result = refused ? HOST_EIO : is_question(&action) && !now;
	carry_out(foe, &action, result);
	if (now)
		happen(foe);
	if (action.asked)
		assert_true(mr_outgoing_complete(foe->source, actor, result));
	check_always(foe);
	return step;
}

/* ---- Schedules ---- */

static bool step_everybody(struct foe *foe)
{
	const unsigned actors = MR_SOURCE_MULTIFD + foe->setup.multifd_channels;
	bool moved = false;

	for (unsigned actor = 0; actor < actors; actor++)
		moved |= foe_step(foe, actor) == MR_STEP_ACTION;
	foe->now += MILLISECOND;
	mr_outgoing_set_time(foe->source, foe->now);
	return moved;
}

void foe_rest(struct foe *foe)
{
	unsigned quiet = 0;

	for (unsigned i = 0; quiet < 3; i++) {
		if (i == STEPS_MAX)
			fail_msg("%s goes on for ever, status %s", foe->setup.release,
				 mr_source_status_name(mr_outgoing_status(foe->source)));
		quiet = step_everybody(foe) ? 0 : quiet + 1;
	}
}

bool foe_until(struct foe *foe, enum mr_source_status status)
{
	unsigned quiet = 0;

	for (unsigned i = 0; i < STEPS_MAX && quiet < 3; i++) {
		if (mr_outgoing_status(foe->source) == status)
			return true;
		quiet = step_everybody(foe) ? 0 : quiet + 1;
	}
	return false;
}

void foe_recover(struct foe *foe)
{
	foe_rest(foe);
	while (mr_outgoing_status(foe->source) == MR_SOURCE_STATUS_POSTCOPY_PAUSED) {
		expect_paused(foe);
		if (!mr_outgoing_recover(foe->source))
			return;
		foe->recoveries++;
		memset(foe->huge_channels, 0, sizeof(foe->huge_channels));
		foe_rest(foe);
	}
}

/* ---- Expectations ---- */

void expect_paused(const struct foe *foe)
{
	assert_false(foe->ended);
	assert_int_equal(mr_outgoing_status(foe->source), MR_SOURCE_STATUS_POSTCOPY_PAUSED);
	assert_int_equal(mr_outgoing_wants(foe->source, MR_SOURCE_MIGRATION).wait, MR_SOURCE_WAIT_OPERATOR);
	/* Nothing but a package that is out takes the guest away. */
	assert_true(foe->packaged);
	assert_false(foe->guest_runs);
	for (unsigned i = 0; i < foe->connection_count; i++)
		assert_true(foe->connections[i].closed || foe->connections[i].role == MR_ROLE_MULTIFD);
}

void expect_rest(const struct foe *foe)
{
	const enum mr_source_status status = mr_outgoing_status(foe->source);

	if (!foe->ended) {
		expect_paused(foe);
		return;
	}
	for (unsigned i = 0; i < foe->connection_count; i++)
		assert_true(foe->connections[i].closed);
	if (foe->said[MR_SOURCE_ACTION_FINISHED]) {
		assert_int_equal(status, MR_SOURCE_STATUS_COMPLETED);
		assert_int_equal(foe->guest_runs, is_snapshot(foe));
		return;
	}
	assert_true(status == MR_SOURCE_STATUS_FAILED || status == MR_SOURCE_STATUS_CANCELLED);
	assert_true(foe->error.rule != MR_NO_RULE);
	assert_true(foe->said[MR_SOURCE_ACTION_START_GUEST] <= 1);
	assert_int_equal(foe->said[MR_SOURCE_ACTION_LOG_START], foe->said[MR_SOURCE_ACTION_LOG_STOP]);
	/* It runs here, or it is the destination's; never nowhere, and never twice. */
	if (!foe->packaged)
		assert_int_equal(foe->guest_runs, !foe->setup.guest_stopped);
	else if (foe->committed || !mr_profile_does(&foe->profile, MR_SWITCH_STATUS_POSTCOPY_DEVICE))
		assert_false(foe->guest_runs);
}

void expect_source_failed(const struct foe *foe, enum mr_rule rule)
{
	assert_true(foe->ended);
	assert_int_equal(foe->said[MR_SOURCE_ACTION_FAILED], 1);
	if (foe->error.rule != rule)
		fail_msg("%s: expected %s, found %s: expected %s, found %s", foe->setup.release, mr_rule_id(rule),
			 mr_rule_id(foe->error.rule), foe->error.expected, foe->error.found);
	expect_rest(foe);
}

void expect_source_finished(const struct foe *foe)
{
	if (!foe->said[MR_SOURCE_ACTION_FINISHED])
		fail_msg("%s: %s by %s: expected %s, found %s; waits %d", foe->setup.release,
			 mr_source_status_name(mr_outgoing_status(foe->source)), mr_rule_id(foe->error.rule),
			 foe->error.expected, foe->error.found,
			 mr_outgoing_wants(foe->source, MR_SOURCE_MIGRATION).wait);
	expect_rest(foe);
	assert_int_equal(mr_outgoing_error(foe->source)->rule, MR_NO_RULE);
	for (uint32_t block = 0; block < FOE_BLOCKS; block++)
		if (!foe->blocks[block].ignored && foe->setup.multifd_channels == 0)
			assert_memory_equal(foe->memory[block], foe->arrived[block], foe->blocks[block].used_length);
}
