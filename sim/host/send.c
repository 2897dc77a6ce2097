/* send.c: one thread and one loop that play all actors of a source, by the clock and by what the destination takes. */
#include "sim/host/send_state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	STEPS_MAX = 512,       /* of one actor in a turn */
	CLOCK_GRAIN = 1000000, /* ns: what goes by the clock does so by milliseconds */
	PROGRESS_NS = 100000000,
	RETRY_NS = 100000000,    /* between attempts to recover, at least */
	DIAL_NS = 1000000000,    /* that one of them waits for a host to answer */
	LOOK_AGAIN = 1000000000, /* the longest that is waited without a look at the clock */
	ERROR_MAX = 96,
};

static const char *const end_names[MR_SEND_END_COUNT] = {
	[MR_SEND_COMPLETED] = "completed",   [MR_SEND_FAILED] = "failed",
	[MR_SEND_TIME_LIMIT] = "time limit", [MR_SEND_IDLE] = "idle",
	[MR_SEND_SIGNAL] = "signal",         [MR_SEND_UNREACHABLE] = "unreachable",
	[MR_SEND_HOST] = "refused by host",
};

const char *mr_send_end_name(enum mr_send_end end)
{
	return end < MR_SEND_END_COUNT ? end_names[end] : "unknown";
}

/* ---- Telling ---- */

void mr_send_tell(struct mr_send *send, const struct mr_source_log_record *record,
		  const struct mr_source_action *action)
{
	const struct mr_watch *watch = send->options->watch;

	if (watch && watch->source)
		watch->source(watch->argument, record, action);
}

void mr_send_host_failed(struct mr_send *send, const char *format, ...)
{
	va_list arguments;

	if (send->host_failed)
		return;
	send->host_failed = true;
	va_start(arguments, format);
	vsnprintf(send->result->reason, sizeof(send->result->reason), format, arguments);
	va_end(arguments);
}

static void tell_time(struct mr_send *send)
{
	const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_TIME, .count = mr_clock() - send->started};

	if (record.count - send->clock < CLOCK_GRAIN)
		return;
	send->clock = record.count;
	mr_outgoing_set_time(send->outgoing, record.count);
	mr_send_tell(send, &record, NULL);
}

static void show_progress(struct mr_send *send)
{
	struct mr_send_progress progress = {.passes = send->result->passes};
	const uint64_t now = mr_clock();

	if (!send->options->progress || now - send->shown_at < PROGRESS_NS)
		return;
	send->shown_at = now;
	for (uint32_t i = 0; i < send->connection_count; i++)
		progress.bytes += send->connections[i].written;
	for (uint32_t i = 0; i < send->config.block_count; i++)
		progress.total += send->config.blocks[i].used_length;
	progress.remaining = mr_outgoing_dirty_count(send->outgoing) * send->config.target_page_size;
	progress.status = mr_outgoing_status(send->outgoing);
	send->options->progress(send->options->argument, &progress);
}

/* ---- Steps ---- */

static void run_actor(struct mr_send *send, unsigned actor)
{
	const struct mr_source_log_record stop = {.kind = MR_SOURCE_LOG_WAIT, .actor = actor, .count = 1};

	for (unsigned i = 0; i < STEPS_MAX && !mr_send_is_blocked(send, actor) && !send->host_failed; i++) {
		struct mr_source_action action;

		send->look_count = 0;
		if (mr_outgoing_step(send->outgoing, actor, &action) != MR_STEP_ACTION) {
			mr_send_tell(send, &stop, NULL);
			return;
		}
		mr_send_carry_out(send, &action);
	}
}

static void run_actors(struct mr_send *send)
{
	tell_time(send);
	/* What has come counts before what is to be sent next. */
	run_actor(send, MR_SOURCE_RETURN);
	for (unsigned actor = 0; actor < send->actor_count; actor++) {
		run_actor(send, actor);
		mr_send_flush_of(send, actor);
	}
}

/* ---- The operator ---- */

static bool command(struct mr_send *send, enum mr_source_command command)
{
	static bool (*const functions[])(struct mr_outgoing *) = {
		[MR_SOURCE_COMMAND_START_POSTCOPY] = mr_outgoing_start_postcopy,
		[MR_SOURCE_COMMAND_CONTINUE] = mr_outgoing_continue,
		[MR_SOURCE_COMMAND_RECOVER] = mr_outgoing_recover,
	};
	const struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_COMMAND, .command = command};

	if (!functions[command](send->outgoing))
		return false;
	mr_send_tell(send, &record, NULL);
	send->moved = true;
	return true;
}

static bool switch_is_due(const struct mr_send *send)
{
	const struct mr_send_options *options = send->options;

	return !send->switch_asked && send->config.capabilities & MR_CAPABILITY_POSTCOPY_RAM &&
	       mr_outgoing_status(send->outgoing) == MR_SOURCE_STATUS_ACTIVE &&
	       (mr_clock() - send->started >= options->switch_after || send->result->passes >= options->switch_passes);
}

/* A connection first: an attempt without one would use up a number of the few that there are. */
static void recover(struct mr_send *send)
{
	const struct mr_address *address = send->options->recover ? send->options->recover : send->options->connect;

	if (mr_clock() < send->retry_at)
		return;
	if (send->spare < 0)
		send->spare = mr_send_dial(address, DIAL_NS);
	send->retry_at =
		mr_clock() + (send->options->recover_after > RETRY_NS ? send->options->recover_after : RETRY_NS);
	if (send->spare < 0)
		return;
	if (!command(send, MR_SOURCE_COMMAND_RECOVER)) {
		mr_send_host_failed(send, "the last of %d connections broke, too: %s", MR_SEND_CONNECTIONS_MAX,
				    send->broke);
		return;
	}
	send->result->recoveries++;
	send->broke[0] = '\0';
}

static void operate(struct mr_send *send)
{
	const enum mr_source_status status = mr_outgoing_status(send->outgoing);

	if (switch_is_due(send))
		send->switch_asked = command(send, MR_SOURCE_COMMAND_START_POSTCOPY);
	if (status == MR_SOURCE_STATUS_PRE_SWITCHOVER)
		command(send, MR_SOURCE_COMMAND_CONTINUE);
	if (status != MR_SOURCE_STATUS_POSTCOPY_PAUSED) {
		send->paused_at = 0;
		return;
	}
	if (send->paused_at == 0) {
		send->paused_at = mr_clock();
		send->retry_at = send->paused_at + send->options->recover_after;
	}
	recover(send);
}

/* ---- Waiting ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t nanoseconds(double seconds)
{
	return (uint64_t)(seconds * 1e9);
}

static uint64_t deadline(const struct mr_send *send)
{
	return send->started + nanoseconds(send->options->time_limit);
}

/* Whether the destination has something to take or to say; else this end waits for its clock, or for its operator. */
static bool waits_for_destination(const struct mr_send *send)
{
	const struct mr_source_wants wants = mr_outgoing_wants(send->outgoing, MR_SOURCE_MIGRATION);

	return !mr_send_is_drained(send) ||
	       (wants.wait != MR_SOURCE_WAIT_TIME && wants.wait != MR_SOURCE_WAIT_OPERATOR);
}

static uint64_t idle_end(const struct mr_send *send)
{
	return waits_for_destination(send) ? send->progress_at + nanoseconds(send->options->idle) : UINT64_MAX;
}

static uint64_t next_look(const struct mr_send *send)
{
	const struct mr_source_wants wants = mr_outgoing_wants(send->outgoing, MR_SOURCE_MIGRATION);
	const uint64_t now = mr_clock(), grain = send->clock + CLOCK_GRAIN;
	uint64_t until = earlier(earlier(deadline(send), idle_end(send)), now + LOOK_AGAIN);

	if (send->moved)
		return now;
	if (wants.wait == MR_SOURCE_WAIT_TIME)
		until = earlier(until, (wants.time > grain ? wants.time : grain) + send->started);
	if (!send->switch_asked && send->options->switch_after < UINT64_MAX - send->started)
		until = earlier(until, send->options->switch_after + send->started);
	if (send->paused_at)
		until = earlier(until, send->retry_at);
	return until;
}

/* ---- Ends ---- */

static void explain_idle(struct mr_send *send)
{
	const char *status = mr_source_status_name(mr_outgoing_status(send->outgoing));
	uint32_t number = 0;
	const uint64_t waiting = mr_send_waiting(send, &number);

	if (waiting)
		snprintf(send->result->reason, MR_SEND_TEXT,
			 "the destination took nothing for %g s: %" PRIu64 " bytes wait to be sent, from ch%" PRIu32
			 " (%s) at 0x%" PRIx64 " on, in status %s",
			 send->options->idle, waiting, number, mr_role_name(send->connections[number].role),
			 send->connections[number].written, status);
	else
		snprintf(send->result->reason, MR_SEND_TEXT,
			 "the destination sent nothing for %g s, while a message of the return path was due in status "
			 "%s",
			 send->options->idle, status);
}

static void explain_stop(struct mr_send *send, const char *what)
{
	snprintf(send->result->reason, MR_SEND_TEXT, "%s in status %s, with %" PRIu64 " pages not yet sent%s%.300s",
		 what, mr_source_status_name(mr_outgoing_status(send->outgoing)),
		 mr_outgoing_dirty_count(send->outgoing), send->broke[0] ? "; " : "", send->broke);
}

/* Without a return path nobody tells that all was taken but the connections. */
static bool is_lost(const struct mr_send *send)
{
	for (uint32_t i = 0; i < send->connection_count && !mr_send_is_answered(send); i++)
		if (send->connections[i].broken)
			return true;
	return false;
}

static void finish(struct mr_send *send)
{
	send->result->end = send->failed || is_lost(send) ? MR_SEND_FAILED : MR_SEND_COMPLETED;
	if (send->result->end == MR_SEND_FAILED && !send->result->reason[0])
		snprintf(send->result->reason, MR_SEND_TEXT, "%s", send->broke);
}

/* True at the end. */
static bool is_through(struct mr_send *send)
{
	const uint64_t now = mr_clock();
	char limit[64];

	if (send->host_failed) {
		send->result->end = MR_SEND_HOST;
	} else if (send->failed || (send->finished && mr_send_is_drained(send))) {
		finish(send);
	} else if (send->interrupted) {
		send->result->end = MR_SEND_SIGNAL;
		explain_stop(send, "interrupted");
	} else if (now >= deadline(send)) {
		snprintf(limit, sizeof(limit), "no end within the time limit of %g s,", send->options->time_limit);
		send->result->end = MR_SEND_TIME_LIMIT;
		explain_stop(send, limit);
	} else if (now >= idle_end(send) && !send->moved) {
		send->result->end = MR_SEND_IDLE;
		explain_idle(send);
	} else {
		return false;
	}
	return true;
}

static void run_loop(struct mr_send *send)
{
	do {
		send->turn++;
		send->moved = false;
		run_actors(send);
		operate(send);
		mr_send_flush_all(send);
		show_progress(send);
		mr_send_poll(send, next_look(send));
	} while (!is_through(send));
}

/* ---- The whole ---- */

static bool make_guest(struct mr_send *send)
{
	const struct mr_pretend_config config = {
		.seed = send->options->seed,
		.stale = send->options->stale,
		.rewrites = send->options->rewrites,
		.page_size = send->config.target_page_size,
	};
	uint64_t *pages = calloc(send->config.block_count + 1u, sizeof(*pages));

	for (uint32_t i = 0; pages && i < send->config.block_count; i++)
		pages[i] = send->config.blocks[i].used_length / send->config.target_page_size;
	send->guest = pages ? mr_pretend_guest_new(&config, pages, send->config.block_count) : NULL;
	send->pages = malloc((MR_PACKET_PAGES_MAX + 1) * (size_t)send->config.target_page_size);
	free(pages);
	return send->guest && send->pages;
}

static bool make_machine(struct mr_send *send)
{
	char error[ERROR_MAX] = "no memory for a source";
	size_t size;

	send->config = *send->options->config;
	send->config.memory = (struct mr_outgoing_memory){send, mr_send_look};
	size = mr_outgoing_size(&send->config, error);
	send->arena = size ? calloc(1, size) : NULL;
	send->outgoing = send->arena ? mr_outgoing_init(send->arena, size, &send->config) : NULL;
	send->actor_count = MR_SOURCE_MULTIFD +
			    (send->config.capabilities & MR_CAPABILITY_MULTIFD ? send->config.multifd_channels : 0);
	if (send->outgoing && make_guest(send))
		return true;
	mr_send_host_failed(send, "%s", error);
	send->result->end = MR_SEND_HOST;
	return false;
}

static bool reach(struct mr_send *send)
{
	const double seconds = send->options->time_limit < 10 ? send->options->time_limit : 10;

	send->spare = mr_send_dial(send->options->connect, nanoseconds(seconds));
	if (send->spare >= 0)
		return true;
	send->result->end = MR_SEND_UNREACHABLE;
	snprintf(send->result->reason, MR_SEND_TEXT, "%.200s: cannot connect: %s", send->options->connect->text,
		 strerror(errno));
	return false;
}

static void take_figures(struct mr_send *send)
{
	struct mr_send_result *result = send->result;

	result->total_time = mr_clock() - send->started;
	result->status = mr_outgoing_status(send->outgoing);
	mr_outgoing_statistics(send->outgoing, &result->statistics);
	result->channel_count = send->connection_count;
	for (uint32_t i = 0; i < send->connection_count; i++) {
		const struct mr_send_connection *connection = &send->connections[i];

		result->channels[i] =
			(struct mr_send_channel){connection->role, connection->written, connection->received};
		result->bytes += connection->written;
	}
}

void mr_send_run(const struct mr_send_options *options, struct mr_send_result *result)
{
	struct mr_send *send = calloc(1, sizeof(*send));

	*result = (struct mr_send_result){.end = MR_SEND_HOST};
	if (!send) {
		snprintf(result->reason, sizeof(result->reason), "no memory for a source");
		return;
	}
	send->options = options;
	send->result = result;
	send->spare = -1;
	send->cut_wanted = options->cuts;
	mr_signals_catch(&send->signals);
	if (make_machine(send) && reach(send)) {
		send->started = send->progress_at = mr_clock();
		run_loop(send);
		take_figures(send);
	}
	mr_send_clear_net(send);
	if (send->outgoing)
		mr_outgoing_clear(send->outgoing);
	mr_signals_release(&send->signals);
	mr_pretend_guest_free(send->guest);
	free(send->pages);
	free(send->arena);
	free(send);
}
