/* live_run.c: the processes of one migration. */
#include "sim/host/live_run.h"

#include "sim/host/clock.h"
#include "sim/host/live_destination.h"
#include "sim/host/probe.h"
#include "sim/host/live_source.h"
#include "sim/record/writer.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	LOOK_AGAIN = 2000000, /* ns between looks at the board */
	ERROR_MAX = 256,
};

/* What both processes begin with. */
struct run {
	const struct mr_live_run_options *options;
	struct mr_scenario scenario;
	struct mr_ends ends;
	struct mr_live_board *board; /* shared */
	int listener;
	struct sockaddr_un address;
	socklen_t address_length;
	struct mr_writer *writer; /* the source's part */
};

/* ---- What cannot be had ---- */

static int check_blocks(const struct mr_live_run_options *options, const struct mr_host_probe *probe, char *error,
			size_t error_size)
{
	static const enum mr_host_want wants[] = {MR_HOST_WANT_MEMORY, MR_HOST_WANT_POSTCOPY};
	const struct mr_scenario *scenario = options->scenario;
	char line[MR_HOST_LINE];

	for (uint32_t i = 0; i < scenario->block_count; i++) {
		const struct mr_scenario_block *block = &scenario->blocks[i];
		const enum mr_host_kind kind = mr_host_kind_of(block->page_size, options->ordinary);

		if (block->page_size != mr_host_kind_page_size(kind)) {
			snprintf(error, error_size,
				 "[block %s]: expected pages of 4 KiB, 2 MiB or 1 GiB on a real host, found %" PRIu64,
				 block->name, block->page_size);
			return -1;
		}
		if (options->shared_client && kind == MR_HOST_ANONYMOUS) {
			snprintf(error, error_size, "[block %s]: expected shared memory for a client, found private",
				 block->name);
			return -1;
		}
		for (size_t j = 0; j < sizeof(wants) / sizeof(wants[0]); j++)
			if (!mr_host_has(probe, wants[j], kind, line)) {
				snprintf(error, error_size, "[block %s]: %s", block->name, line);
				return -1;
			}
	}
	return 0;
}

static int check_faults(const struct mr_scenario *scenario, char *error, size_t error_size)
{
	for (uint32_t i = 0; i < scenario->fault_count; i++) {
		const struct mr_scenario_fault *fault = &scenario->faults[i];

		if (fault->kind == MR_FAULT_CUT && fault->trigger == MR_TRIGGER_BYTES &&
		    (!fault->backward || fault->channel == MR_CHANNEL_MAIN))
			continue;
		snprintf(error, error_size,
			 "[fault %s]: expected a cut at a byte on a real host, backward one of the main channel; found "
			 "another fault",
			 fault->name);
		return -1;
	}
	for (uint32_t i = 0; i < scenario->operation_count; i++) {
		const enum mr_operation_kind kind = scenario->operations[i].kind;

		if (kind != MR_OPERATION_STOP_GUEST && kind != MR_OPERATION_CONTINUE_GUEST)
			continue;
		snprintf(error, error_size,
			 "[operator %s]: expected a command of the migration on a real host, found %s",
			 scenario->operations[i].name, mr_operation_kind_name(kind));
		return -1;
	}
	return 0;
}

int mr_live_run_check(const struct mr_live_run_options *options, char *error, size_t error_size)
{
	const struct mr_scenario *scenario = options->scenario;
	struct mr_host_probe probe;

	if (scenario->guest.target_page_size != 4096 || scenario->guest.host_page_size != 4096) {
		snprintf(error, error_size, "[guest]: expected pages of 4 KiB on a real host, found others");
		return -1;
	}
	for (unsigned i = 0; i < MR_CHOICE_COUNT; i++)
		if (scenario->choices.permille[i] || scenario->choices.spurious_dirty) {
			snprintf(error, error_size, "[choices]: expected none on a real host, which makes its own");
			return -1;
		}
	mr_host_probe(&probe);
	if (check_blocks(options, &probe, error, error_size) < 0)
		return -1;
	return check_faults(scenario, error, error_size);
}

/* ---- Setting up ---- */

/* The vCPUs' state goes with the first device, for which there has to be room. */
static void make_room_for_state(struct mr_scenario *scenario)
{
	const size_t size = mr_live_destination_state_size(scenario);

	if (scenario->guest.devices == 0)
		scenario->guest.devices = 1;
	if (scenario->guest.device_bytes < size)
		scenario->guest.device_bytes = (uint32_t)size;
}

static int listen_somewhere(struct run *run, char *error, size_t error_size)
{
	run->address.sun_family = AF_UNIX;
	run->address_length = sizeof(run->address);
	run->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* A name of the kernel's own, in no directory. */
	if (run->listener >= 0 &&
	    bind(run->listener, (const struct sockaddr *)&run->address, sizeof(sa_family_t)) == 0 &&
	    listen(run->listener, MR_SCENARIO_CONNECTIONS_MAX) == 0 &&
	    getsockname(run->listener, (struct sockaddr *)&run->address, &run->address_length) == 0)
		return 0;
	snprintf(error, error_size, "no socket to listen on: %s", strerror(errno));
	return -1;
}

static int set_up(struct run *run, char *error, size_t error_size)
{
	const char *recording = run->options->recording;

	run->listener = -1;
	if (mr_scenario_copy(&run->scenario, run->options->scenario) < 0) {
		snprintf(error, error_size, "no memory for a migration");
		return -1;
	}
	make_room_for_state(&run->scenario);
	run->board = mmap(NULL, sizeof(*run->board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run->board == MAP_FAILED) {
		run->board = NULL;
		snprintf(error, error_size, "no memory for a migration");
		return -1;
	}
	if (mr_ends_init(&run->ends, &run->scenario, error, error_size) < 0 ||
	    listen_somewhere(run, error, error_size) < 0)
		return -1;
	return recording ? mr_writer_open_part(&run->writer, MR_WRITER_SOURCE, recording, error, error_size) : 0;
}

static void tear_down(struct run *run)
{
	mr_writer_free(run->writer);
	if (run->listener >= 0)
		close(run->listener);
	mr_ends_clear(&run->ends);
	if (run->board)
		munmap(run->board, sizeof(*run->board));
	mr_scenario_clear(&run->scenario);
}

static int allocate(const struct run *run, struct mr_host_memory *memories, char *error, size_t error_size)
{
	for (uint32_t i = 0; i < run->scenario.block_count; i++) {
		const struct mr_scenario_block *block = &run->scenario.blocks[i];
		struct mr_host_problem problem;

		if (mr_host_memory_allocate(&memories[i], mr_host_kind_of(block->page_size, run->options->ordinary),
					    block->size, &problem) == 0)
			continue;
		snprintf(error, error_size, "[block %s]: %s", block->name, problem.text);
		while (i-- > 0)
			mr_host_memory_free(&memories[i]);
		return -1;
	}
	return 0;
}

static void release(const struct run *run, struct mr_host_memory *memories)
{
	for (uint32_t i = 0; i < run->scenario.block_count; i++)
		mr_host_memory_free(&memories[i]);
}

/* ---- The destination's process ---- */

static int finish_destination(struct run *run, struct mr_writer *writer, char *error)
{
	const struct mr_writer_end end = {
		.producer = run->options->producer, .source = &run->ends.source, .destination = &run->ends.destination};

	if (!writer)
		return 0;
	if (mr_writer_finish(writer, &end, error, ERROR_MAX) < 0)
		return -1;
	atomic_store(&run->board->destination_written, 1);
	return 0;
}

static enum mr_end run_destination(struct run *run, struct mr_host_memory *memories, struct mr_writer *writer,
				   char *error)
{
	const struct mr_live_destination_setup setup = {.scenario = &run->scenario,
							.ends = &run->ends,
							.memories = memories,
							.board = run->board,
							.watch = writer ? mr_writer_watch(writer) : NULL,
							.listener = run->listener,
							.shared_client = run->options->shared_client};
	struct mr_live_destination *destination;
	char unwritten[ERROR_MAX];
	enum mr_end end;

	if (mr_live_destination_new(&destination, &setup, error, ERROR_MAX) < 0)
		return MR_END_FAILED;
	end = mr_live_destination_run(destination, error, ERROR_MAX);
	if (finish_destination(run, writer, end == MR_END_GOOD ? error : unwritten) < 0)
		end = MR_END_FAILED;
	mr_live_destination_free(destination);
	return end;
}

static enum mr_end be_destination(struct run *run)
{
	struct mr_host_memory memories[MR_SCENARIO_BLOCKS_MAX];
	char *error = run->board->destination_reason;
	struct mr_writer *writer = NULL;
	enum mr_end end = MR_END_FAILED;

	if (run->options->recording &&
	    mr_writer_open_part(&writer, MR_WRITER_DESTINATION, run->options->recording, error, ERROR_MAX) < 0)
		return MR_END_FAILED;
	if (allocate(run, memories, error, ERROR_MAX) == 0) {
		end = run_destination(run, memories, writer, error);
		release(run, memories);
	}
	mr_writer_free(writer);
	run->board->destination_end = end;
	return end;
}

/* ---- The source's process ---- */

static void source_page(void *argument, uint32_t block, uint64_t page, uint8_t *out)
{
	mr_live_source_page(argument, block, page, out);
}

static bool wait_for_part(const struct run *run)
{
	while (!atomic_load(&run->board->destination_written) && !atomic_load(&run->board->destination_gone))
		mr_clock_sleep(LOOK_AGAIN);
	return atomic_load(&run->board->destination_written);
}

static uint64_t downtime_of(const struct mr_live_board *board)
{
	const uint64_t moved = atomic_load(&board->moved_at), stopped = atomic_load(&board->stopped_at);

	return moved > stopped ? moved - stopped : 0;
}

static uint64_t total_time_of(const struct mr_live_board *board)
{
	const uint64_t finished = atomic_load(&board->finished_at);

	return finished > board->started ? finished - board->started : 0;
}

static int finish_source(struct run *run, struct mr_live_source *source, char *error)
{
	struct mr_writer_end end = {
		.producer = run->options->producer,
		.source = &run->ends.source,
		.destination = &run->ends.destination,
		.statistics = &run->board->statistics,
		.description = {(const uint8_t *)run->ends.description_text, strlen(run->ends.description_text)},
		.vcpus = run->scenario.guest.vcpus,
		.timed = true,
		.setup_time = run->board->setup_time,
		.guest_memory = mr_host_backing_name(run->options->ordinary),
		.dirty_log = run->board->dirty_method[0] ? run->board->dirty_method : NULL,
		.scenario = run->options->scenario_text,
		.seed = run->scenario.seed,
		.argument = source,
		.page = source_page,
	};

	if (!run->writer)
		return 0;
	if (!wait_for_part(run)) {
		snprintf(error, ERROR_MAX, "%s: no recording: the destination's part of it is lost",
			 run->options->recording);
		return -1;
	}
	end.total_time = total_time_of(run->board);
	end.downtime = downtime_of(run->board);
	return mr_writer_finish(run->writer, &end, error, ERROR_MAX);
}

static enum mr_end run_source(struct run *run, struct mr_host_memory *memories, char *error)
{
	const struct mr_live_source_setup setup = {.scenario = &run->scenario,
						   .ends = &run->ends,
						   .memories = memories,
						   .board = run->board,
						   .watch = run->writer ? mr_writer_watch(run->writer) : NULL,
						   .address = run->address,
						   .address_length = run->address_length};
	struct mr_live_source *source;
	char unwritten[ERROR_MAX];
	enum mr_end end;

	if (mr_live_source_new(&source, &setup, error, ERROR_MAX) < 0)
		return MR_END_FAILED;
	end = mr_live_source_run(source, error, ERROR_MAX);
	if (end != MR_END_GOOD)
		atomic_store(&run->board->give_up, 1);
	if (finish_source(run, source, end == MR_END_FAILED ? unwritten : error) < 0)
		end = MR_END_FAILED;
	mr_live_source_free(source);
	return end;
}

static enum mr_end be_source(struct run *run)
{
	struct mr_host_memory memories[MR_SCENARIO_BLOCKS_MAX];
	char *error = run->board->source_reason;
	enum mr_end end = MR_END_FAILED;

	while (!atomic_load(&run->board->destination_ready) && !atomic_load(&run->board->destination_gone))
		mr_clock_sleep(LOOK_AGAIN);
	if (atomic_load(&run->board->destination_gone))
		return MR_END_FAILED;
	if (allocate(run, memories, error, ERROR_MAX) == 0) {
		end = run_source(run, memories, error);
		release(run, memories);
	}
	run->board->source_end = end;
	return end;
}

/* ---- Both ---- */

static pid_t start(struct run *run, enum mr_end (*be)(struct run *))
{
	const pid_t child = fork();

	/* Whoever ends this program ends the migration. */
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(be(run) == MR_END_FAILED ? EXIT_FAILURE : EXIT_SUCCESS);
	}
	return child;
}

/* Either end learns that the other's process is gone. */
static void take_exit(struct run *run, bool is_source, int status)
{
	struct mr_live_board *board = run->board;
	const enum mr_end end = is_source ? board->source_end : board->destination_end;

	if (WIFSIGNALED(status))
		snprintf(is_source ? board->source_reason : board->destination_reason, ERROR_MAX,
			 "%s: its process was ended by signal %d%s", is_source ? "source" : "destination",
			 WTERMSIG(status), WTERMSIG(status) == SIGKILL ? ", by somebody or for want of memory" : "");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS)
		atomic_store(is_source ? &board->source_gone : &board->destination_gone, 1);
	if (end != MR_END_GOOD)
		atomic_store(&board->give_up, 1);
}

static void wait_for_both(struct run *run, pid_t source, pid_t destination)
{
	int left = (source > 0) + (destination > 0);

	while (left) {
		int status;
		const pid_t child = waitpid(-1, &status, 0);

		if (child < 0 && errno != EINTR)
			return;
		if (child != source && child != destination)
			continue;
		take_exit(run, child == source, status);
		left--;
	}
}

static void judge_failure(const struct mr_live_board *board, struct mr_live_run_result *result)
{
	const bool told = (board->source_end == MR_END_RETURNED || board->source_end == MR_END_STRANDED) &&
			  (board->destination_end == MR_END_RETURNED || board->destination_end == MR_END_STRANDED);

	result->returned = told && board->source_end == MR_END_RETURNED && board->destination_end == MR_END_RETURNED;
	result->stranded = told && !result->returned;
}

static int run_both(struct run *run, struct mr_live_run_result *result, char *error, size_t error_size)
{
	pid_t source, destination;

	fflush(NULL);
	run->board->started = mr_clock();
	destination = start(run, be_destination);
	source = destination > 0 ? start(run, be_source) : -1;
	if (source < 0) {
		snprintf(error, error_size, "no process for a migration: %s", strerror(errno));
		atomic_store(&run->board->give_up, 1);
	}
	wait_for_both(run, source, destination);
	if (source < 0)
		return -1;
	if (run->board->source_end == MR_END_GOOD && run->board->destination_end == MR_END_GOOD)
		return 0;
	judge_failure(run->board, result);
	snprintf(error, error_size, "%s%s%s", run->board->source_reason,
		 run->board->source_reason[0] && run->board->destination_reason[0] ? "\n" : "",
		 run->board->destination_reason);
	return result->returned || result->stranded ? 0 : -1;
}

int mr_live_run(const struct mr_live_run_options *options, struct mr_live_run_result *result, char *error,
		size_t error_size)
{
	struct run run = {.options = options};
	int status = -1;

	memset(result, 0, sizeof(*result));
	if (set_up(&run, error, error_size) == 0) {
		status = run_both(&run, result, error, error_size);
		result->board = *run.board;
		result->total_time = total_time_of(run.board);
		result->downtime = downtime_of(run.board);
	}
	tear_down(&run);
	return status;
}
