/* live_destination.c: threads around one machine: each lets its actor go on, and waits where that waits. */
#include "sim/host/live_destination_state.h"
#include "sim/world/interest.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	LOOK_AGAIN = 5000000, /* ns between looks at the board */
	/* ns behind the time limit, which the source keeps, and tells of, if it can. */
	PATIENCE = 999999999,
};

/* ---- Telling ---- */

void mr_live_destination_tell(struct mr_live_destination *destination, const struct mr_log_record *record,
			      const struct mr_action *action)
{
	const struct mr_watch *watch = destination->setup.watch;

	if (watch && watch->destination)
		watch->destination(watch->argument, record, destination->incoming, action);
}

void mr_live_destination_host_failed(struct mr_live_destination *destination, const char *format, ...)
{
	va_list arguments;

	if (!destination->host_failed) {
		va_start(arguments, format);
		vsnprintf(destination->reason, sizeof(destination->reason), format, arguments);
		va_end(arguments);
	}
	destination->host_failed = true;
	mr_live_wake_all(&destination->threads);
}

/* Blocktime is all that goes by the clock. */
static void tell_time(struct mr_live_destination *destination)
{
	const uint64_t now = mr_clock() - destination->board->started;
	const struct mr_log_record record = {.kind = MR_LOG_TIME, .channel = MR_INCOMING_CHANNELS_MAX, .count = now};

	if (!destination->config->blocktime)
		return;
	mr_incoming_set_time(destination->incoming, now);
	mr_live_destination_tell(destination, &record, NULL);
}

/* ---- What happened ---- */

static void see_end(struct mr_live_destination *destination, const struct mr_action *action)
{
	if (action->kind == MR_ACTION_FINISHED) {
		destination->finished = true;
		atomic_store(&destination->board->finished_at, mr_clock());
		return;
	}
	destination->failed = true;
	snprintf(destination->reason, sizeof(destination->reason), "destination: %s expected %s, found %s",
		 action->finding.rule ? mr_rule_id(action->finding.rule) : "no rule", action->finding.expected,
		 action->finding.found);
	for (uint32_t i = 0; i < destination->channel_count; i++)
		mr_connection_shut(&destination->channels[i].connection);
}

static void see(struct mr_live_destination *destination, const struct mr_action *action)
{
	switch (action->kind) {
	case MR_ACTION_FINISHED:
	case MR_ACTION_FAILED:
		see_end(destination, action);
		break;
	case MR_ACTION_STATUS:
		atomic_store(&destination->board->destination_status, action->status);
		if (action->status == MR_STATUS_POSTCOPY_PAUSED)
			destination->census.cut = true;
		/* Who fails gives up all that it has, its guest too. */
		if (action->status == MR_STATUS_FAILED)
			mr_live_guest_ask_to_stop(destination->guest);
		break;
	case MR_ACTION_REQUEST:
		destination->board->requests += action->request.verdict != MR_REQUEST_DROPPED;
		break;
	case MR_ACTION_RAM_RECORD:
		destination->board->pages_loaded += !action->page.postcopy && !action->page.cut;
		break;
	default:
		break;
	}
}

static void act(struct mr_live_destination *destination, struct mr_live_actor *actor, const struct mr_action *action)
{
	const struct mr_log_record step = {
		.kind = MR_LOG_STEP, .actor = actor->index, .channel = MR_INCOMING_CHANNELS_MAX, .count = 1};
	struct mr_log_record refusal = {
		.kind = MR_LOG_ERROR, .actor = actor->index, .channel = MR_INCOMING_CHANNELS_MAX};

	actor->waits_anew = true;
	mr_live_destination_tell(destination, &step, action);
	if (action->asked) {
		refusal.error = mr_live_destination_carry_out(destination, actor, action);
		/* A return path that has ended says so by itself. */
		if (refusal.error && action->kind != MR_ACTION_SEND) {
			mr_live_destination_tell(destination, &refusal, NULL);
			destination->refused = true;
		}
		mr_incoming_complete(destination->incoming, actor->index, refusal.error);
	} else {
		see(destination, action);
	}
	/* Sockets take what is sent by themselves. */
	if (action->kind != MR_ACTION_SEND && mr_action_is_of_interest(action))
		mr_live_wake_all(&destination->threads);
}

/* ---- Waiting ---- */

/* The kernel's event as the machine's: false if the machine takes none now. */
static bool take_fault(struct mr_live_destination *destination)
{
	const struct mr_userfault_event *event = &destination->fault;
	const int vcpu = mr_live_guest_vcpu_of(destination->guest, event->thread);
	const struct mr_log_record record = {
		.kind = MR_LOG_FAULT,
		.channel = MR_INCOMING_CHANNELS_MAX,
		.block = destination->memory.block_of[event->block],
		.offset = event->offset,
		.thread = vcpu < 0 ? DEVICE_THREAD : THREAD_FIRST + (uint64_t)vcpu,
	};

	if (!destination->has_fault || !mr_incoming_takes_fault(destination->incoming))
		return false;
	tell_time(destination);
	if (!mr_incoming_fault(destination->incoming, record.block, record.offset, record.thread))
		return false;
	mr_live_guest_note_fault(destination->guest, vcpu);
	destination->has_fault = false;
	mr_live_destination_tell(destination, &record, NULL);
	return true;
}

static bool take_client_fault(struct mr_live_destination *destination)
{
	const struct mr_log_record record = {
		.kind = MR_LOG_CLIENT_FAULT,
		.channel = MR_INCOMING_CHANNELS_MAX,
		.block = destination->client_block,
		.offset = destination->client_offset,
	};

	if (!destination->has_client_fault || !mr_incoming_takes_fault(destination->incoming))
		return false;
	tell_time(destination);
	if (!mr_incoming_client_fault(destination->incoming, 0, record.block, record.offset))
		return false;
	destination->has_client_fault = false;
	destination->board->client_faults++;
	mr_live_destination_tell(destination, &record, NULL);
	return true;
}

/* What the kernel has to tell, of the own threads and of the client's. */
static void read_faults(struct mr_live_destination *destination, bool own, bool clients)
{
	if (own && destination->memory.userfault && !destination->has_fault &&
	    mr_userfault_read(destination->memory.userfault, &destination->fault, 1) == 1)
		destination->has_fault = true;
	if (clients && destination->client && !destination->has_client_fault)
		destination->has_client_fault = mr_live_client_fault(destination->client, &destination->client_block,
								     &destination->client_offset);
}

static void wait_for_fault(struct mr_live_destination *destination)
{
	struct pollfd files[] = {{destination->kick, POLLIN, 0}, {-1, POLLIN, 0}, {-1, POLLIN, 0}};
	uint64_t kicks;

	if (take_fault(destination) || take_client_fault(destination))
		return;
	if (destination->client && !destination->has_client_fault)
		files[2].fd = mr_live_client_descriptor(destination->client);
	if (destination->memory.userfault && !destination->has_fault)
		files[1].fd = mr_userfault_descriptor(destination->memory.userfault);
	pthread_mutex_unlock(&destination->threads.lock);
	poll(files, 3, -1);
	pthread_mutex_lock(&destination->threads.lock);
	if ((files[0].revents & POLLIN) && read(destination->kick, &kicks, sizeof(kicks)) < 0)
		kicks = 0;
	read_faults(destination, files[1].revents & POLLIN, files[2].revents & POLLIN);
	if (!take_fault(destination))
		take_client_fault(destination);
}

static void wait(struct mr_live_destination *destination, struct mr_live_actor *actor, enum mr_step step)
{
	const struct mr_wants wants = mr_incoming_wants(destination->incoming, actor->index);
	struct mr_log_record record = {
		.kind = MR_LOG_WAIT, .actor = actor->index, .channel = MR_INCOMING_CHANNELS_MAX, .count = 1};

	if (step == MR_STEP_BYTES) {
		const struct mr_connection *connection = &destination->channels[wants.channel].connection;

		record.channel = wants.channel;
		record.bytes = connection->base + connection->length;
	}
	mr_live_destination_tell(destination, &record, NULL);
	mr_live_wake_around(&destination->threads, actor, wants.wait == MR_WAIT_ACTOR ? wants.actor : MR_LIVE_NOBODY);
	if (step == MR_STEP_BYTES)
		mr_live_destination_read(destination, actor, wants.channel);
	else if (step == MR_STEP_WAITS && wants.wait == MR_WAIT_FAULT)
		wait_for_fault(destination);
	else
		mr_live_rest(&destination->threads, actor);
}

static void *run_actor(void *argument)
{
	struct mr_live_actor *actor = argument;
	struct mr_live_destination *destination = actor->end;

	pthread_mutex_lock(&destination->threads.lock);
	while (!destination->threads.over) {
		struct mr_action action;
		enum mr_step step;

		actor->woken = false;
		tell_time(destination);
		step = mr_incoming_step(destination->incoming, actor->index, &action);
		if (step == MR_STEP_ACTION)
			act(destination, actor, &action);
		else
			wait(destination, actor, step);
	}
	pthread_mutex_unlock(&destination->threads.lock);
	return NULL;
}

/* ---- Setting up ---- */

static int start_machine(struct mr_live_destination *destination, char *error, size_t error_size)
{
	struct mr_incoming_config *config = &destination->setup.ends->destination;
	const size_t largest = mr_ends_largest_page(destination->setup.scenario);
	char reason[96] = "";
	size_t size;

	for (unsigned i = 0; i < 2; i++)
		config->temporary[i] = destination->temporary[i] = malloc(largest);
	destination->memory = (struct mr_caught_memory){
		.blocks = destination->setup.memories,
		.count = destination->setup.scenario->block_count,
		.target_page_size = destination->setup.scenario->guest.target_page_size,
	};
	config->memory =
		(struct mr_incoming_memory){&destination->memory, mr_caught_memory_page, mr_caught_memory_zero};
	size = mr_incoming_size(config, reason);
	destination->arena = size ? calloc(1, size) : NULL;
	if (destination->temporary[0] && destination->temporary[1] && destination->arena)
		destination->incoming = mr_incoming_init(destination->arena, size, config);
	destination->config = config;
	if (destination->incoming)
		return 0;
	snprintf(error, error_size, "destination: %s", reason[0] ? reason : "no memory");
	return -1;
}

static void name_vcpus(struct mr_live_destination *destination)
{
	for (uint32_t i = 0; destination->config->blocktime && i < destination->setup.scenario->guest.vcpus; i++) {
		const struct mr_log_record record = {.kind = MR_LOG_VCPU,
						     .channel = MR_INCOMING_CHANNELS_MAX,
						     .count = i,
						     .thread = THREAD_FIRST + i};

		if (mr_incoming_vcpu(destination->incoming, i, THREAD_FIRST + i))
			mr_live_destination_tell(destination, &record, NULL);
	}
}

static void set_actors(struct mr_live_destination *destination)
{
	const struct mr_scenario_migration *migration = &destination->setup.scenario->migration;
	/* Releases that go by the order of connections may take any connection for a multifd channel. */
	uint32_t receivers = migration->capabilities & MR_CAPABILITY_MULTIFD ? migration->multifd_channels + 2 : 0;

	if (receivers > MR_INCOMING_MULTIFD_MAX)
		receivers = MR_INCOMING_MULTIFD_MAX;
	mr_live_threads_init(&destination->threads, destination, MR_ACTOR_MULTIFD + receivers);
	destination->threads.actors[MR_ACTOR_FAULT].kick = destination->kick;
	destination->census.capabilities = migration->capabilities;
	destination->census.capabilities_known = true;
}

int mr_live_destination_new(struct mr_live_destination **result, const struct mr_live_destination_setup *setup,
			    char *error, size_t error_size)
{
	struct mr_live_destination *destination = calloc(1, sizeof(*destination));

	*result = NULL;
	if (!destination) {
		snprintf(error, error_size, "no memory for a destination");
		return -1;
	}
	destination->setup = *setup;
	destination->board = setup->board;
	destination->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (destination->kick < 0) {
		snprintf(error, error_size, "destination: %s", strerror(errno));
		mr_live_destination_free(destination);
		return -1;
	}
	set_actors(destination);
	destination->guest = mr_live_guest_new(setup->scenario, setup->memories, error, error_size);
	if (destination->guest && setup->shared_client) {
		destination->client = mr_live_client_start(setup->scenario, setup->memories, error, error_size);
		setup->ends->destination.shared_clients = true;
	}
	if (!destination->guest || (setup->shared_client && !destination->client) ||
	    start_machine(destination, error, error_size) < 0) {
		mr_live_destination_free(destination);
		return -1;
	}
	name_vcpus(destination);
	*result = destination;
	return 0;
}

const struct mr_incoming *mr_live_destination_machine(const struct mr_live_destination *destination)
{
	return destination->incoming;
}

static void end_client(struct mr_live_destination *destination)
{
	struct mr_live_client_figures figures = {0};
	char error[160];

	if (!mr_live_client_end(destination->client, &figures, error, sizeof(error)))
		mr_live_destination_host_failed(destination, "%s", error);
	destination->client = NULL;
	destination->board->client_touches = figures.touches;
	destination->board->client_checked = figures.checked;
}

void mr_live_destination_free(struct mr_live_destination *destination)
{
	if (!destination)
		return;
	if (destination->client)
		end_client(destination);
	mr_receivers_clear(&destination->receivers);
	for (uint32_t i = 0; i < destination->channel_count; i++)
		mr_connection_close(&destination->channels[i].connection);
	mr_live_threads_clear(&destination->threads);
	mr_caught_memory_release(&destination->memory);
	mr_live_guest_free(destination->guest);
	if (destination->kick >= 0)
		close(destination->kick);
	free(destination->temporary[0]);
	free(destination->temporary[1]);
	free(destination->arena);
	free(destination);
}

/* ---- Running ---- */

static bool start_threads(struct mr_live_destination *destination)
{
	destination->acceptor_started =
		pthread_create(&destination->acceptor, NULL, mr_live_destination_accept, destination) == 0;
	if (!destination->acceptor_started)
		return false;
	return mr_live_threads_start(&destination->threads, run_actor);
}

/*
 * The guest is told first: who waits for a page that never comes goes on when faults are no longer caught, which is
 * when nobody places pages any more.
 */
static void end_threads(struct mr_live_destination *destination)
{
	pthread_mutex_lock(&destination->threads.lock);
	destination->threads.over = true;
	mr_live_guest_ask_to_stop(destination->guest);
	for (uint32_t i = 0; i < destination->channel_count; i++)
		mr_connection_shut(&destination->channels[i].connection);
	mr_live_wake_all(&destination->threads);
	while (destination->placing)
		pthread_cond_wait(&destination->threads.changed, &destination->threads.lock);
	pthread_mutex_unlock(&destination->threads.lock);
	if (destination->acceptor_started)
		pthread_join(destination->acceptor, NULL);
	mr_live_threads_join(&destination->threads, MR_ACTOR_FAULT);
	mr_caught_memory_release(&destination->memory);
	mr_live_threads_join_all(&destination->threads);
	mr_live_guest_stop(destination->guest);
}

static bool is_through(struct mr_live_destination *destination)
{
	const struct mr_live_board *board = destination->board;

	return destination->finished || destination->failed || destination->host_failed ||
	       atomic_load(&board->give_up) || atomic_load(&board->source_gone) ||
	       mr_live_guest_complaint(destination->guest) ||
	       mr_clock() - board->started > destination->setup.scenario->migration.time_limit + PATIENCE;
}

/* Whether the migration has come to its end. */
static bool wait_for_end(struct mr_live_destination *destination)
{
	bool through, finished;

	do {
		mr_clock_sleep(LOOK_AGAIN);
		pthread_mutex_lock(&destination->threads.lock);
		through = is_through(destination);
		finished = destination->finished;
		pthread_mutex_unlock(&destination->threads.lock);
	} while (!through);
	return finished;
}

static void let_guest_run(const struct mr_live_destination *destination)
{
	const uint64_t end = mr_clock() + destination->setup.scenario->migration.run_after;

	for (uint64_t now = mr_clock(); now < end && !mr_live_guest_complaint(destination->guest); now = mr_clock())
		mr_clock_sleep(end - now < LOOK_AGAIN ? end - now : LOOK_AGAIN);
}

static void tell_board(struct mr_live_destination *destination)
{
	struct mr_live_board *board = destination->board;

	mr_live_guest_figures(destination->guest, &board->figures);
	mr_live_guest_touches(destination->guest, board->destination_touches);
	board->has_blocktime =
		destination->config->blocktime && mr_incoming_blocktime(destination->incoming, &board->blocktime);
}

static uint64_t missing_pages(const struct mr_live_destination *destination)
{
	uint64_t missing = 0;

	for (uint32_t i = 0; i < destination->config->block_count; i++) {
		uint64_t pages;
		const uint64_t *received = mr_incoming_received(destination->incoming, i, &pages);

		missing += pages - mr_bitmap_count(received, pages);
	}
	return missing;
}

/* What went wrong, in one line. */
static void explain(struct mr_live_destination *destination, char *error, size_t error_size)
{
	const char *complaint = mr_live_guest_complaint(destination->guest);
	const char *status = mr_status_name(mr_incoming_status(destination->incoming));

	if (complaint)
		snprintf(error, error_size, "destination: %s", complaint);
	else if (destination->host_failed || destination->failed)
		snprintf(error, error_size, "%s", destination->reason);
	else if (atomic_load(&destination->board->source_gone))
		snprintf(error, error_size,
			 "destination: the source's process is gone in status %s: %" PRIu64 " pages had not come; %s",
			 status, missing_pages(destination),
			 destination->guest_ran ? "the guest is lost" : "the guest never ran here");
	else
		snprintf(error, error_size, "destination: given up in status %s, with %" PRIu64 " pages missing",
			 status, missing_pages(destination));
}

static enum mr_end end_of_failure(const struct mr_live_destination *destination)
{
	/* A release's own end, with nobody's help, is one to be told; what the host refused is not. */
	if (destination->host_failed || mr_live_guest_complaint(destination->guest) ||
	    atomic_load(&destination->board->source_gone))
		return MR_END_FAILED;
	if (!destination->guest_ran)
		return MR_END_RETURNED;
	return destination->refused ? MR_END_FAILED : MR_END_STRANDED;
}

static enum mr_end judge(struct mr_live_destination *destination, char *error, size_t error_size)
{
	if (!destination->finished || destination->host_failed || mr_live_guest_complaint(destination->guest)) {
		explain(destination, error, error_size);
		return end_of_failure(destination);
	}
	if (destination->guest_ran)
		return mr_live_guest_check(destination->guest, destination->board->destination_touches, error,
					   error_size)
			       ? MR_END_GOOD
			       : MR_END_FAILED;
	if (destination->setup.scenario->migration.start_paused)
		return MR_END_GOOD;
	snprintf(error, error_size, "destination: expected the vCPUs' state in the first device, found none");
	return MR_END_FAILED;
}

enum mr_end mr_live_destination_run(struct mr_live_destination *destination, char *error, size_t error_size)
{
	if (start_threads(destination)) {
		atomic_store(&destination->board->destination_ready, 1);
		if (wait_for_end(destination))
			let_guest_run(destination);
	} else {
		pthread_mutex_lock(&destination->threads.lock);
		mr_live_destination_host_failed(destination, "destination: the host gives no more threads");
		pthread_mutex_unlock(&destination->threads.lock);
	}
	end_threads(destination);
	if (destination->client)
		end_client(destination);
	tell_board(destination);
	return judge(destination, error, error_size);
}
