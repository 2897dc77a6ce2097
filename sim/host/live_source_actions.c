/* live_source_actions.c: what the machine asks of a real host: memory, the log of writes, connections, the guest. */
#include "sim/host/live_source_state.h"

#include "sim/host/live_destination.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Memory ---- */

static uint64_t page_size(const struct mr_live_source *source)
{
	return source->setup.scenario->guest.target_page_size;
}

/* The guest writes meanwhile: what is looked at twice in a step is copied once. */
const uint8_t *mr_live_source_look(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	struct mr_live_source *source = argument;
	const struct mr_watch *watch = source->setup.watch;
	uint32_t at = source->look_count;
	uint8_t *page;

	(void)actor;
	(void)look;
	if (watch && watch->look)
		watch->look(watch->argument, block, offset);
	while (at > 0 && !(source->looks[at - 1].block == block && source->looks[at - 1].offset == offset))
		at--;
	if (at > 0)
		return source->pages + (size_t)(at - 1) * page_size(source);
	at = source->look_count < MR_PACKET_PAGES_MAX ? source->look_count++ : MR_PACKET_PAGES_MAX;
	source->looks[at] = (struct source_look){block, offset};
	page = source->pages + (size_t)at * page_size(source);
	mr_host_load(page, source->setup.memories[block].data + offset, page_size(source));
	return page;
}

/* ---- The log of writes ---- */

static void start_log(struct mr_live_source *source)
{
	const struct mr_host_memory *blocks[MR_SCENARIO_BLOCKS_MAX];
	struct mr_host_problem problem;

	for (uint32_t i = 0; i < source->setup.scenario->block_count; i++)
		blocks[i] = &source->setup.memories[i];
	source->dirty = mr_dirty_start(blocks, source->setup.scenario->block_count, MR_DIRTY_BEST, &problem);
	if (!source->dirty) {
		mr_live_source_host_failed(source, "source: %s", problem.text);
		return;
	}
	snprintf(source->board->dirty_method, sizeof(source->board->dirty_method), "%s",
		 mr_dirty_method_name(mr_dirty_method(source->dirty)));
}

static void stop_log(struct mr_live_source *source)
{
	mr_dirty_stop(source->dirty);
	source->dirty = NULL;
}

static bool is_dirty(const struct mr_live_source *source, uint64_t page)
{
	return source->dirty_bits[page / 64] >> page % 64 & 1;
}

static void hand_over(struct mr_live_source *source, uint32_t block, uint64_t first, uint64_t end)
{
	const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_DIRTY,
						    .block = block,
						    .start = first * page_size(source),
						    .length = (end - first) * page_size(source)};

	mr_live_source_tell(source, &record, NULL);
	mr_outgoing_dirty(source->outgoing, block, record.start, record.length);
}

static void hand_over_block(struct mr_live_source *source, uint32_t block)
{
	const uint64_t size = source->setup.memories[block].size, pages = size / page_size(source);
	struct mr_host_problem problem;
	uint64_t found = 0;

	memset(source->dirty_bits, 0, (pages / 64 + 1) * sizeof(uint64_t));
	if (mr_dirty_fetch(source->dirty, block, 0, size, source->dirty_bits, &found, &problem) < 0) {
		mr_live_source_host_failed(source, "source: %s", problem.text);
		return;
	}
	for (uint64_t page = 0; found && page < pages;) {
		uint64_t end;

		if (!is_dirty(source, page)) {
			page++;
			continue;
		}
		for (end = page + 1; end < pages && is_dirty(source, end);)
			end++;
		hand_over(source, block, page, end);
		page = end;
	}
}

static void fetch_log(struct mr_live_source *source)
{
	for (uint32_t i = 0; source->dirty && i < source->setup.scenario->block_count; i++)
		hand_over_block(source, i);
}

/* ---- Connections ---- */

/* The scenario's cut of what this connection carries forward. */
static uint64_t cut_of(struct mr_live_source *source, enum mr_role role)
{
	const struct mr_scenario *scenario = source->setup.scenario;
	static const enum mr_role roles[] = {MR_ROLE_MAIN, MR_ROLE_PREEMPT, MR_ROLE_MULTIFD};

	for (uint32_t i = 0; i < scenario->fault_count; i++) {
		const struct mr_scenario_fault *fault = &scenario->faults[i];

		if (source->fault_used[i] || fault->kind != MR_FAULT_CUT || fault->trigger != MR_TRIGGER_BYTES ||
		    fault->backward || roles[fault->channel] != role)
			continue;
		source->fault_used[i] = true;
		return fault->at;
	}
	return UINT64_MAX;
}

static void connect_channel(struct mr_live_source *source, uint32_t number, enum mr_role role)
{
	struct mr_connection *connection = &source->connections[number];
	const struct mr_source_log_record record = {
		.kind = MR_SOURCE_LOG_BROKEN, .channel = number, .error = ECONNREFUSED};
	int file;

	if (number >= MR_SCENARIO_CONNECTIONS_MAX) {
		mr_live_source_host_failed(source, "source: expected at most %d connections, found one more",
					   MR_SCENARIO_CONNECTIONS_MAX);
		return;
	}
	file = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (number >= source->connection_count)
		source->connection_count = number + 1;
	if (!mr_connection_init(connection, file) || file < 0) {
		mr_live_source_host_failed(source, "source: no socket: %s", strerror(errno));
		return;
	}
	connection->cut_at = cut_of(source, role);
	/* Does not wait: the listener keeps as many as there may be. */
	if (connect(file, (const struct sockaddr *)&source->setup.address, source->setup.address_length) == 0)
		return;
	mr_outgoing_broken(source->outgoing, number, ECONNREFUSED);
	mr_live_source_tell(source, &record, NULL);
}

static void send_bytes(struct mr_live_source *source, struct mr_live_actor *actor,
		       const struct mr_source_action *action)
{
	const uint32_t channel = action->send.channel;
	struct mr_connection *connection = &source->connections[channel];
	const size_t length = action->send.head.length + action->send.body.length;
	struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_BROKEN, .channel = channel};
	uint64_t turn;
	size_t written;

	if (!mr_live_keep(actor, action->send.head, action->send.body)) {
		mr_live_source_host_failed(source, "source: no memory for what it sends");
		return;
	}
	turn = mr_connection_draw(connection);
	pthread_mutex_unlock(&source->threads.lock);
	record.error = mr_connection_write(connection, turn, actor->message, length, &written);
	mr_connection_pass(connection);
	pthread_mutex_lock(&source->threads.lock);
	if (!record.error)
		return;
	mr_outgoing_broken(source->outgoing, channel, record.error);
	mr_live_source_tell(source, &record, NULL);
	mr_live_wake_all(&source->threads);
}

/* ---- Return paths ---- */

static void feed(struct mr_live_source *source, uint32_t channel)
{
	const struct mr_connection *connection = &source->connections[channel];

	mr_outgoing_feed(source->outgoing, channel, connection->window, connection->length, connection->at_end,
			 connection->error);
}

void mr_live_source_read(struct mr_live_source *source, struct mr_live_actor *actor, uint32_t channel)
{
	struct mr_connection *connection = &source->connections[channel];
	struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_ARRIVE, .channel = channel};
	ssize_t length;
	int error;

	if (connection->is_read || connection->at_end || connection->socket < 0) {
		mr_live_rest(&source->threads, actor);
		return;
	}
	if (actor->woken || source->threads.over)
		return;
	if (!mr_connection_prepare(connection, mr_outgoing_consumed(source->outgoing, channel))) {
		mr_live_source_host_failed(source, "source: no memory for what it reads");
		return;
	}
	feed(source, channel);
	length = mr_live_read(&source->threads, actor, connection, &error);
	if (length < 0)
		return;
	mr_connection_take(connection, (size_t)length, error);
	record.bytes = connection->base + connection->length;
	record.ended = connection->at_end;
	mr_live_source_tell(source, &record, NULL);
	feed(source, channel);
	if (record.ended)
		mr_live_wake_all(&source->threads);
}

/* ---- Guest and devices ---- */

/* The vCPUs' state goes with the first device; what else devices hold is a function of the device alone. */
static void save_device(struct mr_live_source *source, uint32_t handler)
{
	const struct mr_scenario *scenario = source->setup.scenario;

	mr_ends_device(scenario, handler, source->device_body);
	if (handler == 1)
		mr_live_destination_put_state(scenario, source->touches, source->device_body);
	mr_outgoing_save(source->outgoing, (struct mr_bytes){source->device_body, scenario->guest.device_bytes});
}

static void stop_guest(struct mr_live_source *source)
{
	mr_live_guest_stop(source->guest);
	mr_live_guest_touches(source->guest, source->touches);
	atomic_store(&source->board->stopped_at, mr_clock());
}

static void start_guest(struct mr_live_source *source)
{
	char error[160];

	if (!mr_live_guest_runs(source->guest) &&
	    mr_live_guest_start(source->guest, source->touches, error, sizeof(error)) < 0)
		mr_live_source_host_failed(source, "source: %s", error);
}

/* ---- What is told ---- */

static void see_end(struct mr_live_source *source, const struct mr_source_action *action)
{
	if (action->kind == MR_SOURCE_ACTION_FINISHED) {
		source->finished = true;
		return;
	}
	source->failed = true;
	snprintf(source->reason, sizeof(source->reason), "source: %s expected %s, found %s",
		 action->finding.rule ? mr_rule_id(action->finding.rule) : "cancelled", action->finding.expected,
		 action->finding.found);
}

static void see(struct mr_live_source *source, const struct mr_source_action *action)
{
	struct mr_live_board *board = source->board;

	switch (action->kind) {
	case MR_SOURCE_ACTION_STATUS:
		atomic_store(&board->source_status, action->status);
		if (action->status == MR_SOURCE_STATUS_ACTIVE && board->setup_time == 0)
			board->setup_time = mr_clock() - board->started;
		break;
	case MR_SOURCE_ACTION_ITERATION:
		board->passes = action->count;
		break;
	case MR_SOURCE_ACTION_FINISHED:
	case MR_SOURCE_ACTION_FAILED:
		see_end(source, action);
		break;
	default:
		break;
	}
}

/* ---- All of them ---- */

static void do_inside(struct mr_live_source *source, const struct mr_source_action *action)
{
	const char *description = source->setup.ends->description_text;

	switch (action->kind) {
	case MR_SOURCE_ACTION_CLOSE:
		mr_connection_shut(&source->connections[action->channel]);
		break;
	case MR_SOURCE_ACTION_LOG_START:
		start_log(source);
		break;
	case MR_SOURCE_ACTION_LOG_STOP:
		stop_log(source);
		break;
	case MR_SOURCE_ACTION_LOG_SYNC:
		fetch_log(source);
		break;
	case MR_SOURCE_ACTION_STOP_GUEST:
		stop_guest(source);
		break;
	case MR_SOURCE_ACTION_START_GUEST:
		start_guest(source);
		break;
	case MR_SOURCE_ACTION_THROTTLE:
		mr_live_guest_throttle(source->guest, (uint32_t)action->count);
		break;
	case MR_SOURCE_ACTION_SAVE:
		save_device(source, action->save.handler);
		break;
	case MR_SOURCE_ACTION_DESCRIBE:
		mr_outgoing_save(source->outgoing,
				 (struct mr_bytes){(const uint8_t *)description, strlen(description)});
		break;
	default:
		see(source, action);
		break;
	}
}

void mr_live_source_carry_out(struct mr_live_source *source, struct mr_live_actor *actor,
			      const struct mr_source_action *action)
{
	const struct mr_source_log_record step = {.kind = MR_SOURCE_LOG_STEP, .actor = actor->index, .count = 1};

	/* What is handed over comes before the step that asks for it; a connection may only fail behind it. */
	if (action->kind != MR_SOURCE_ACTION_SEND && action->kind != MR_SOURCE_ACTION_CONNECT)
		do_inside(source, action);
	mr_live_source_tell(source, &step, action);
	if (action->kind == MR_SOURCE_ACTION_CONNECT)
		connect_channel(source, action->connect.channel, action->connect.role);
	if (action->kind == MR_SOURCE_ACTION_SEND)
		send_bytes(source, actor, action);
}
