/* receive.c: one loop for a live destination: its machine goes on as far as it can, then it waits for the world. */
#include "sim/host/receive_state.h"

#include "sim/world/interest.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	FIXED_FILES = 3,
	FILES_MAX = FIXED_FILES + RECEIVE_WAITING_MAX + MR_RECORDING_CHANNELS_MAX,
	MILLISECOND = 1000000,
	DRAW_EVERY = 100 * MILLISECOND,
	LOOK_AGAIN = 1000 * MILLISECOND, /* every actor looks again, whatever happened */
	FAREWELL = 2000 * MILLISECOND,   /* for the source to take the last bytes, and to hang up */
};

const char *mr_receive_end_name(enum mr_receive_end end)
{
	static const char *const names[] = {
		[MR_RECEIVE_COMPLETED] = "completed",   [MR_RECEIVE_FAILED] = "failed",
		[MR_RECEIVE_TIME_LIMIT] = "time limit", [MR_RECEIVE_IDLE] = "idle",
		[MR_RECEIVE_SIGNAL] = "signal",         [MR_RECEIVE_HOST] = "host",
	};

	return names[end];
}

/* ---- Telling ---- */

void mr_receive_complain(struct receive *receive, const char *format, ...)
{
	char line[MR_RECEIVE_TEXT];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (receive->options->complain)
		receive->options->complain(receive->options->argument, line);
}

void mr_receive_stop(struct receive *receive, enum mr_receive_end end, const char *format, ...)
{
	va_list arguments;

	if (receive->over)
		return;
	receive->over = true;
	receive->result->end = end;
	va_start(arguments, format);
	vsnprintf(receive->result->reason, sizeof(receive->result->reason), format, arguments);
	va_end(arguments);
}

void mr_receive_tell(struct receive *receive, const struct mr_log_record *record, const struct mr_action *action)
{
	if (receive->watch)
		receive->watch->destination(receive->watch->argument, record, receive->incoming, action);
}

void mr_receive_tell_line(struct receive *receive, struct mr_line line)
{
	if (!receive->watch)
		return;
	line.time -= receive->started;
	receive->watch->line(receive->watch->argument, &line);
}

static void draw(struct receive *receive)
{
	struct mr_receive_progress progress = {.status = MR_STATUS_NONE};
	const uint64_t now = mr_clock();

	if (!receive->options->progress || now - receive->drawn_at < DRAW_EVERY)
		return;
	receive->drawn_at = now;
	for (uint32_t i = 0; i < receive->channel_count; i++)
		progress.bytes += receive->channels[i]->base + receive->channels[i]->length;
	for (uint32_t i = 0; receive->incoming && i < receive->config.block_count; i++) {
		uint64_t pages;
		const uint64_t *received = mr_incoming_received(receive->incoming, i, &pages);

		progress.pages += mr_bitmap_count(received, pages);
		progress.total += pages;
	}
	if (receive->incoming)
		progress.status = mr_incoming_status(receive->incoming);
	receive->options->progress(receive->options->argument, &progress);
}

/* ---- The machine ---- */

void mr_receive_wake_all(struct receive *receive)
{
	for (uint32_t i = 0; i < receive->actor_count; i++)
		receive->actors[i].ready = true;
}

static void complete(struct receive *receive, unsigned index, enum mr_action_kind kind, int error)
{
	const struct mr_log_record refusal = {
		.kind = MR_LOG_ERROR, .actor = index, .channel = MR_INCOMING_CHANNELS_MAX, .error = error};

	/* A return path that has ended says so by itself. */
	if (error && kind != MR_ACTION_SEND)
		mr_receive_tell(receive, &refusal, NULL);
	mr_incoming_complete(receive->incoming, index, error);
}

static void act(struct receive *receive, unsigned index, const struct mr_action *action)
{
	const struct mr_log_record step = {
		.kind = MR_LOG_STEP, .actor = index, .channel = MR_INCOMING_CHANNELS_MAX, .count = 1};
	const bool of_interest = mr_action_is_of_interest(action);
	int error;

	receive->actors[index].waits_anew = true;
	mr_receive_tell(receive, &step, action);
	if (action->asked) {
		error = mr_receive_carry_out(receive, action);
		if (error != RECEIVE_PENDING)
			complete(receive, index, action->kind, error);
	} else {
		mr_receive_see(receive, action);
	}
	if (of_interest)
		mr_receive_wake_all(receive);
}

/* As in the simulation: who went on without an action may have let on whom it waits for, and who waits for it. */
static void wake_around(struct receive *receive, unsigned index, uint32_t other)
{
	struct receive_actor *actor = &receive->actors[index];
	const bool again = !actor->waits_anew && actor->waits_for == other;

	actor->waits_anew = false;
	actor->waits_for = other;
	if (again)
		return;
	for (uint32_t i = 0; i < receive->actor_count; i++)
		receive->actors[i].ready |= i == other || (i != index && receive->actors[i].waits_for == index);
}

/*
 * Where devices begin, what has come of them counts only as a whole: a replay knows their ends from the stream's own
 * description, and would go on sooner.
 */
static uint64_t bytes_that_count(const struct receive *receive, uint32_t channel)
{
	enum { FULL_SECTION = 0x04 };
	const struct receive_connection *connection = receive->channels[channel];
	const uint64_t consumed = mr_incoming_consumed(receive->incoming, channel);
	const uint64_t end = connection->base + connection->length;

	if (connection->role == MR_ROLE_MAIN && consumed < end &&
	    connection->window[consumed - connection->base] == FULL_SECTION)
		return consumed;
	return end;
}

static void wait(struct receive *receive, unsigned index, enum mr_step step)
{
	const struct mr_wants wants = mr_incoming_wants(receive->incoming, index);
	struct receive_actor *actor = &receive->actors[index];
	struct mr_log_record record = {
		.kind = MR_LOG_WAIT, .actor = index, .channel = MR_INCOMING_CHANNELS_MAX, .count = 1};

	actor->ready = false;
	actor->reads = step == MR_STEP_BYTES ? wants.channel : RECEIVE_NOBODY;
	actor->wanted = wants.wanted;
	if (step == MR_STEP_BYTES) {
		record.channel = wants.channel;
		record.bytes = bytes_that_count(receive, wants.channel);
	}
	mr_receive_tell(receive, &record, NULL);
	wake_around(receive, index, wants.wait == MR_WAIT_ACTOR ? wants.actor : RECEIVE_NOBODY);
	if (index == MR_ACTOR_MAIN && step == MR_STEP_BYTES &&
	    mr_receive_is_described(receive, receive->channels[wants.channel]))
		mr_receive_end_channel(receive, receive->channels[wants.channel], 0);
}

static bool is_over(const struct receive *receive)
{
	return receive->over || receive->finished || receive->failed;
}

static void run_actor(struct receive *receive, unsigned index)
{
	while (!is_over(receive) && !receive->actors[index].sends) {
		struct mr_action action;
		const enum mr_step step = mr_incoming_step(receive->incoming, index, &action);

		if (step != MR_STEP_ACTION) {
			wait(receive, index, step);
			return;
		}
		act(receive, index, &action);
	}
}

/* Messages that waited for room, or for the end of their connection. */
static void complete_sends(struct receive *receive)
{
	for (uint32_t i = 0; i < receive->actor_count; i++) {
		struct receive_actor *actor = &receive->actors[i];
		const int error =
			actor->sends ? mr_receive_sent(receive, actor->send_channel, actor->sends) : RECEIVE_PENDING;

		if (error == RECEIVE_PENDING)
			continue;
		actor->sends = 0;
		actor->ready = true;
		complete(receive, i, MR_ACTION_SEND, error);
	}
}

static void run_machine(struct receive *receive)
{
	bool again = receive->incoming != NULL;

	while (again && !is_over(receive)) {
		again = false;
		complete_sends(receive);
		for (unsigned i = 0; i < receive->actor_count; i++) {
			if (!receive->actors[i].ready || receive->actors[i].sends)
				continue;
			again = true;
			run_actor(receive, i);
		}
		/* a connection may be one of a recovery, now that it has paused */
		mr_receive_identify(receive);
		again |= mr_receive_take_faults(receive);
	}
}

/* ---- How it ends ---- */

static void explain_failure(struct receive *receive, const struct mr_finding *finding)
{
	receive->result->finding = *finding;
	if (finding->rule == MR_NO_RULE)
		mr_receive_stop(receive, MR_RECEIVE_FAILED, "the migration failed");
	else
		mr_receive_stop(receive, MR_RECEIVE_FAILED,
				"connection %" PRIu32 " offset 0x%" PRIx64 ": %s: expected %s, found %s",
				finding->channel, finding->offset, mr_rule_id(finding->rule), finding->expected,
				finding->found);
}

/* Connections that may still bring something. */
static uint32_t open_count(const struct receive *receive)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < receive->channel_count; i++)
		count += !receive->channels[i]->at_end;
	return count;
}

static bool is_paused(const struct receive *receive)
{
	return receive->incoming && mr_incoming_status(receive->incoming) == MR_STATUS_POSTCOPY_PAUSED;
}

/* All that was to come has come, and the machine waits for what cannot come any more. */
static void judge_silence(struct receive *receive)
{
	if (is_over(receive) || !receive->incoming || open_count(receive) || receive->waiting_count ||
	    is_paused(receive))
		return;
	explain_failure(receive, mr_incoming_error(receive->incoming));
	if (receive->result->finding.rule == MR_NO_RULE)
		snprintf(receive->result->reason, sizeof(receive->result->reason),
			 "the source hung up in status %s, postcopy state %s",
			 mr_status_name(mr_incoming_status(receive->incoming)),
			 mr_postcopy_state_name(mr_incoming_postcopy_state(receive->incoming)));
}

static void judge_machine(struct receive *receive)
{
	/* what such a connection brought, pages perhaps, went nowhere */
	if (receive->finished && receive->waiting_count)
		mr_receive_stop(receive, MR_RECEIVE_FAILED,
				"%" PRIu32 " connections were never let in: say --capabilities multifd or "
				"postcopy-preempt, as at the source",
				receive->waiting_count);
	if (receive->finished && !receive->over) {
		receive->over = true;
		receive->result->end = MR_RECEIVE_COMPLETED;
	}
	if (receive->failed)
		explain_failure(receive, mr_incoming_error(receive->incoming));
}

static const char *status_name(const struct receive *receive)
{
	return mr_status_name(receive->incoming ? mr_incoming_status(receive->incoming) : MR_STATUS_NONE);
}

/* The main loader stands before devices whose ends it cannot tell. */
static bool waits_for_devices(const struct receive *receive)
{
	for (uint32_t i = 0; i < receive->channel_count; i++) {
		const struct receive_connection *connection = receive->channels[i];

		if (receive->actors[MR_ACTOR_MAIN].reads == i && !connection->at_end &&
		    bytes_that_count(receive, i) < connection->base + connection->length)
			return true;
	}
	return false;
}

static void explain_idle(struct receive *receive)
{
	const double idle = receive->options->idle;

	if (!receive->incoming)
		mr_receive_stop(receive, MR_RECEIVE_IDLE, "nothing came for %g s before the list of RAM blocks", idle);
	else if (mr_incoming_wants(receive->incoming, MR_ACTOR_MAIN).wait == MR_WAIT_CHANNEL)
		mr_receive_stop(receive, MR_RECEIVE_IDLE,
				"nothing came for %g s: %" PRIu32 " of %" PRIu32 " multifd channels are there%s", idle,
				receive->census.multifd, receive->config.context.multifd_channels,
				receive->preempt_due ? ", no preempt channel" : "");
	else if (waits_for_devices(receive))
		mr_receive_stop(receive, MR_RECEIVE_IDLE,
				"nothing came for %g s, and the end of the device sections cannot be told: give the "
				"description of such a machine by --devices RECORDING",
				idle);
	else if (receive->loaded && mr_incoming_postcopy_state(receive->incoming) < MR_POSTCOPY_LISTENING)
		mr_receive_stop(receive, MR_RECEIVE_IDLE,
				"nothing came for %g s behind the end mark, where a description is due: a source that "
				"suppresses it has to migrate without a return path",
				idle);
	else
		mr_receive_stop(receive, MR_RECEIVE_IDLE, "nothing came for %g s in status %s", idle,
				status_name(receive));
}

/* ---- Waiting ---- */

static uint64_t seconds(double count)
{
	return (uint64_t)(count * RECEIVE_SECOND);
}

static uint64_t idle_end(const struct receive *receive)
{
	if (!receive->heard_at || is_paused(receive))
		return UINT64_MAX;
	return receive->heard_at + seconds(receive->options->idle);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void look_at_clock(struct receive *receive)
{
	const uint64_t now = mr_clock();

	if (now >= receive->started + seconds(receive->options->time_limit))
		mr_receive_stop(receive, MR_RECEIVE_TIME_LIMIT, "the time limit of %g s, in status %s",
				receive->options->time_limit, status_name(receive));
	else if (now >= idle_end(receive))
		explain_idle(receive);
}

static int patience(const struct receive *receive)
{
	const uint64_t now = mr_clock();
	uint64_t until = earlier(idle_end(receive), receive->started + seconds(receive->options->time_limit));

	until = earlier(until, now + LOOK_AGAIN);
	if (receive->simulated && receive->guest_runs && !receive->has_fault)
		until = earlier(until, mr_readers_due(receive->readers));
	return until > now ? (int)((until - now) / MILLISECOND + 1) : 0;
}

static nfds_t watch_files(const struct receive *receive, struct pollfd files[FILES_MAX])
{
	const bool room = receive->waiting_count < RECEIVE_WAITING_MAX && receive->listener >= 0;
	const struct mr_userfault *userfault = receive->has_fault ? NULL : receive->memory.userfault;
	nfds_t count = FIXED_FILES;

	files[0] = (struct pollfd){receive->signals.descriptor, POLLIN, 0};
	files[1] = (struct pollfd){room ? receive->listener : -1, POLLIN, 0};
	files[2] = (struct pollfd){userfault ? mr_userfault_descriptor(userfault) : -1, POLLIN, 0};
	for (uint32_t i = 0; i < receive->waiting_count + receive->channel_count; i++) {
		const struct receive_connection *connection = i < receive->waiting_count
								      ? receive->waiting[i]
								      : receive->channels[i - receive->waiting_count];
		const bool in = mr_receive_appetite(receive, connection) > 0;
		const bool out = connection->queued && !connection->broken && connection->socket >= 0;

		files[count++] = (struct pollfd){in || out ? connection->socket : -1,
						 (short)((in ? POLLIN : 0) | (out ? POLLOUT : 0)), 0};
	}
	return count;
}

static void tend(struct receive *receive, struct receive_connection *connection, short events)
{
	if (events & (POLLOUT | POLLERR | POLLHUP))
		mr_receive_flush(receive, connection);
	if (events & (POLLIN | POLLERR | POLLHUP) && mr_receive_appetite(receive, connection))
		mr_receive_read(receive, connection);
}

static void add_connection(struct receive *receive, int socket)
{
	struct receive_connection *connection = mr_receive_connection_new(socket);

	if (!connection) {
		close(socket);
		mr_receive_stop(receive, MR_RECEIVE_HOST, "no memory for a connection");
		return;
	}
	receive->heard_at = mr_clock();
	if (!receive->first_at)
		receive->first_at = receive->heard_at;
	receive->waiting[receive->waiting_count++] = connection;
	mr_receive_identify(receive);
}

static void accept_one(struct receive *receive)
{
	const int socket = accept4(receive->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (socket >= 0) {
		add_connection(receive, socket);
		return;
	}
	if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
		return;
	if (!receive->told_full)
		mr_receive_complain(receive, "%.200s: cannot accept: %s", receive->options->listen.text,
				    strerror(errno));
	receive->told_full = true;
	mr_clock_sleep(MILLISECOND);
}

/* Those that are here already are read before others are let in: what they bring may be older. */
static void tend_all(struct receive *receive, const struct pollfd *files)
{
	const uint32_t waiting = receive->waiting_count, channels = receive->channel_count;

	for (uint32_t i = 0; i < channels; i++)
		tend(receive, receive->channels[i], files[FIXED_FILES + waiting + i].revents);
	for (uint32_t i = 0; i < waiting; i++)
		tend(receive, receive->waiting[i], files[FIXED_FILES + i].revents);
	if (files[1].revents)
		accept_one(receive);
	mr_receive_identify(receive);
	if (!receive->incoming)
		mr_receive_learn(receive);
}

static void turn(struct receive *receive)
{
	struct pollfd files[FILES_MAX];
	nfds_t count;
	int ready;

	look_at_clock(receive);
	if (is_over(receive))
		return;
	count = watch_files(receive, files);
	ready = poll(files, count, patience(receive));
	if (ready == 0)
		mr_receive_wake_all(receive);
	if (ready > 0 && files[0].revents)
		mr_receive_stop(receive, MR_RECEIVE_SIGNAL, "ended by a signal, in status %s", status_name(receive));
	if (ready > 0 && !is_over(receive))
		tend_all(receive, files);
	draw(receive);
}

/* ---- Farewell ---- */

/* What a channel brings now is for nobody but the recording. */
static void drain(struct receive *receive, struct receive_connection *connection)
{
	uint8_t bytes[4096];
	const ssize_t count = recv(connection->socket, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (count > 0)
		mr_receive_tell_line(receive, (struct mr_line){.event = MR_LINE_BYTES,
							       .time = mr_clock(),
							       .channel = connection->number,
							       .offset = connection->told,
							       .length = (uint64_t)count,
							       .head = {bytes, (size_t)count}});
	if (count > 0)
		connection->told += (uint64_t)count;
	else if (count == 0 || (errno != EAGAIN && errno != EINTR))
		connection->drained = true;
	if (connection->drained)
		mr_receive_tell_line(
			receive,
			(struct mr_line){.event = MR_LINE_EOF, .time = mr_clock(), .channel = connection->number});
}

static bool say_goodbye(struct receive *receive, struct receive_connection *connection, struct pollfd *file)
{
	*file = (struct pollfd){-1, 0, 0};
	if (connection->socket < 0)
		return false;
	mr_receive_flush(receive, connection);
	if (connection->queued && !connection->broken)
		*file = (struct pollfd){connection->socket, POLLOUT, 0};
	else if (!connection->drained && receive->result->end == MR_RECEIVE_COMPLETED)
		*file = (struct pollfd){connection->socket, POLLIN, 0};
	if (file->events == POLLIN)
		shutdown(connection->socket, SHUT_WR);
	return file->fd >= 0;
}

/* The source takes the last message before it hangs up; whoever does not is left after a while. */
static void part(struct receive *receive)
{
	const uint64_t until = mr_clock() + FAREWELL;
	struct pollfd files[MR_RECORDING_CHANNELS_MAX];

	for (;;) {
		const uint64_t now = mr_clock();
		uint32_t count = 0;

		for (uint32_t i = 0; i < receive->channel_count; i++)
			count += say_goodbye(receive, receive->channels[i], &files[i]);
		if (!count || now >= until ||
		    poll(files, receive->channel_count, (int)((until - now) / MILLISECOND + 1)) < 0)
			return;
		for (uint32_t i = 0; i < receive->channel_count; i++)
			if (files[i].revents & ~POLLOUT && files[i].events == POLLIN)
				drain(receive, receive->channels[i]);
	}
}

/* ---- The whole ---- */

/* Two files for each connection may be more than a process has at first. */
static void allow_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void tell_end(struct receive *receive)
{
	struct mr_receive_result *result = receive->result;

	result->time = receive->first_at ? mr_clock() - receive->first_at : 0;
	if (receive->readers)
		mr_readers_figures(receive->readers, &result->readers);
	if (!receive->incoming)
		return;
	result->status = mr_incoming_status(receive->incoming);
	result->state = mr_incoming_postcopy_state(receive->incoming);
}

static void tell_channels(struct receive *receive)
{
	struct mr_receive_result *result = receive->result;

	for (uint32_t i = 0; i < receive->channel_count; i++) {
		const struct receive_connection *connection = receive->channels[i];
		const uint64_t end = connection->base + connection->length;

		result->channels[result->channel_count++] = (struct mr_receive_channel){
			connection->role, connection->told > end ? connection->told : end, connection->written};
	}
}

static void end(struct receive *receive)
{
	if (receive->readers && receive->guest_runs) {
		mr_readers_ask_to_stop(receive->readers);
		mr_caught_memory_release(&receive->memory);
		mr_readers_stop(receive->readers);
	}
	tell_end(receive);
	/* the machine is the recording's */
	if (!receive->incoming && receive->channel_count)
		mr_receive_make_machine(receive);
	part(receive);
	tell_channels(receive);
	mr_receive_save(receive);
}

static void loop(struct receive *receive)
{
	while (!is_over(receive)) {
		run_machine(receive);
		judge_silence(receive);
		if (!is_over(receive))
			turn(receive);
	}
	judge_machine(receive);
}

static bool open_recording(struct receive *receive)
{
	char error[MR_RECEIVE_TEXT];

	if (!receive->options->directory)
		return true;
	if (mr_writer_open_part(&receive->writer, MR_WRITER_DESTINATION_ALONE, receive->options->directory, error,
				sizeof(error)) < 0) {
		mr_receive_stop(receive, MR_RECEIVE_HOST, "%s", error);
		return false;
	}
	receive->watch = mr_writer_watch(receive->writer);
	return true;
}

static bool begin_listening(struct receive *receive, char shown[MR_ADDRESS_TEXT])
{
	char error[MR_RECEIVE_TEXT];

	receive->listener = mr_address_listen(&receive->options->listen, shown, error, sizeof(error));
	if (receive->listener >= 0)
		return true;
	mr_receive_stop(receive, MR_RECEIVE_HOST, "%s", error);
	return false;
}

static void clear(struct receive *receive)
{
	mr_receive_free_machine(receive);
	for (uint32_t i = 0; i < receive->channel_count; i++)
		mr_receive_connection_free(receive->channels[i]);
	for (uint32_t i = 0; i < receive->waiting_count; i++)
		mr_receive_connection_free(receive->waiting[i]);
	mr_writer_free(receive->writer);
	if (receive->listener >= 0) {
		close(receive->listener);
		if (mr_address_path(&receive->options->listen))
			unlink(mr_address_path(&receive->options->listen));
	}
	mr_signals_release(&receive->signals);
	free(receive);
}

static struct receive *new_receive(const struct mr_receive_options *options, struct mr_receive_result *result)
{
	struct receive *receive = calloc(1, sizeof(*receive));

	memset(result, 0, sizeof(*result));
	result->capabilities = options->capabilities;
	result->memory = options->simulated ? "simulated" : mr_host_backing_name(options->ordinary);
	if (!receive) {
		result->end = MR_RECEIVE_HOST;
		snprintf(result->reason, sizeof(result->reason), "no memory for a destination");
		return NULL;
	}
	receive->options = options;
	receive->result = result;
	receive->simulated = options->simulated;
	receive->method = MR_METHOD_UNKNOWN;
	receive->listener = -1;
	receive->started = mr_clock();
	receive->census.capabilities = options->capabilities;
	receive->census.capabilities_known = true;
	receive->preempt_due = options->capabilities & MR_CAPABILITY_POSTCOPY_PREEMPT;
	return receive;
}

static void run(struct receive *receive, const int *sockets, size_t count)
{
	char shown[MR_ADDRESS_TEXT];

	allow_files();
	if (count == 0 && !begin_listening(receive, shown))
		return;
	for (size_t i = 0; i < count; i++)
		add_connection(receive, sockets[i]);
	if (!open_recording(receive))
		return;
	if (count == 0 && receive->options->listening)
		receive->options->listening(receive->options->argument, shown);
	loop(receive);
	end(receive);
}

void mr_receive_run_with(const struct mr_receive_options *options, const int *sockets, size_t count,
			 struct mr_receive_result *result)
{
	struct receive *receive = new_receive(options, result);

	if (!receive)
		return;
	mr_signals_catch(&receive->signals);
	run(receive, sockets, count);
	clear(receive);
}

void mr_receive_run(const struct mr_receive_options *options, struct mr_receive_result *result)
{
	mr_receive_run_with(options, NULL, 0, result);
}

void mr_receive_clear(struct mr_receive_result *result)
{
	free(result->blocks);
	result->blocks = NULL;
	result->block_count = 0;
}
