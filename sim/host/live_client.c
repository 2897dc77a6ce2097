/* live_client.c: the process that shares guest memory, and how the destination talks to it. */
#include "sim/host/live_client.h"

#include "sim/host/clock.h"
#include "sim/host/kernel.h"
#include "sim/host/userfault.h"
#include "sim/world/random.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	COMMAND_OPEN = 'o',
	COMMAND_CATCH = 'c',
	COMMAND_GO = 'g',
	COMMAND_RELEASE = 'r',
	COMMAND_END = 'e',
	PAGE = 4096,
	PAUSE = 100000, /* ns between touches */
	SALT = 0x636c69656e74,
};

struct mr_live_client {
	const struct mr_scenario *scenario;
	const struct mr_host_memory *memories;
	pid_t process;
	int line;      /* socket to it */
	int userfault; /* its own; -1: it catches none */
};

/* What an answer carries beside a descriptor. */
struct answer {
	int error;
	struct mr_live_client_figures figures;
};

/* ---- The process ---- */

struct process {
	const struct mr_live_client *client;
	struct mr_userfault *userfault;
	struct mr_content content;
	struct mr_live_client_figures figures; /* the toucher's, until it has ended */
	pthread_t toucher;
	bool touches;
	_Atomic bool ends;
};

/* Whether a vCPU may write to the page, so that nobody can say what it holds. */
static bool is_written(const struct mr_scenario *scenario, uint32_t block, uint64_t page)
{
	for (uint32_t i = 0; i < scenario->workload_count; i++) {
		const struct mr_scenario_workload *workload = &scenario->workloads[i];

		if (workload->block == block && page >= workload->pattern.first &&
		    page - workload->pattern.first < workload->pattern.pages)
			return true;
	}
	return false;
}

static void touch(struct process *process, struct mr_random *chance)
{
	const struct mr_live_client *client = process->client;
	const uint32_t block = (uint32_t)mr_random_below(chance, client->scenario->block_count);
	const struct mr_host_memory *memory = &client->memories[block];
	const uint64_t page = mr_random_below(chance, memory->size / PAGE);
	uint8_t found[PAGE], expected[PAGE];

	mr_host_load(found, memory->data + page * PAGE, PAGE);
	process->figures.touches++;
	/* Who is to end may find zeros where nobody brings pages any more. */
	if (atomic_load(&process->ends))
		return;
	if (is_written(client->scenario, block, page))
		return;
	mr_content_fill(&process->content, block, page, 0, expected, PAGE);
	process->figures.checked++;
	process->figures.wrong += memcmp(found, expected, PAGE) != 0;
}

static void *touch_pages(void *argument)
{
	struct process *process = argument;
	struct mr_random chance = mr_random_of(process->client->scenario->seed, SALT);

	while (!atomic_load(&process->ends)) {
		touch(process, &chance);
		mr_clock_sleep(PAUSE);
	}
	return NULL;
}

static int open_userfault(struct process *process)
{
	struct mr_host_problem problem;

	process->userfault = mr_userfault_open(&problem);
	return process->userfault ? 0 : problem.error;
}

static int catch_faults(struct process *process)
{
	struct mr_host_problem problem;
	uint32_t number;

	for (uint32_t i = 0; i < process->client->scenario->block_count; i++)
		if (mr_userfault_add(process->userfault, &process->client->memories[i], &number, &problem) < 0)
			return problem.error;
	return 0;
}

static void release(struct process *process)
{
	mr_userfault_close(process->userfault);
	process->userfault = NULL;
}

static void end(struct process *process)
{
	atomic_store(&process->ends, true);
	release(process);
	if (process->touches)
		pthread_join(process->toucher, NULL);
	process->touches = false;
}

static void send_answer(int line, const struct answer *answer, int descriptor)
{
	struct iovec bytes = {(void *)(uintptr_t)answer, sizeof(*answer)};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr message = {.msg_iov = &bytes, .msg_iovlen = 1};

	if (descriptor >= 0) {
		struct cmsghdr *header;

		message.msg_control = control.room;
		message.msg_controllen = sizeof(control.room);
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
	}
	if (sendmsg(line, &message, MSG_NOSIGNAL) < 0)
		_exit(EXIT_FAILURE); /* nobody is there to care for */
}

static void obey(struct process *process, char command)
{
	struct answer answer = {0};

	switch (command) {
	case COMMAND_OPEN:
		answer.error = open_userfault(process);
		send_answer(process->client->line, &answer,
			    answer.error ? -1 : mr_userfault_descriptor(process->userfault));
		break;
	case COMMAND_CATCH:
		answer.error = process->userfault ? catch_faults(process) : EBADF;
		send_answer(process->client->line, &answer, -1);
		break;
	case COMMAND_GO:
		process->touches = pthread_create(&process->toucher, NULL, touch_pages, process) == 0;
		break;
	case COMMAND_RELEASE:
		release(process);
		break;
	default:
		end(process);
		answer.figures = process->figures;
		send_answer(process->client->line, &answer, -1);
		break;
	}
}

static void be_client(const struct mr_live_client *client)
{
	struct process *process = calloc(1, sizeof(*process));
	char command;

	if (!process)
		_exit(EXIT_FAILURE);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	process->client = client;
	memcpy(process->content.shares, client->scenario->guest.shares, sizeof(process->content.shares));
	process->content.filled = client->scenario->guest.filled;
	mr_content_init(&process->content, client->scenario->seed);
	while (read(client->line, &command, 1) == 1) {
		obey(process, command);
		if (command == COMMAND_END)
			break;
	}
	_exit(EXIT_SUCCESS);
}

/* ---- The destination's side ---- */

struct mr_live_client *mr_live_client_start(const struct mr_scenario *scenario, const struct mr_host_memory *memories,
					    char *error, size_t error_size)
{
	struct mr_live_client *client = calloc(1, sizeof(*client));
	int lines[2];

	if (!client || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, lines) < 0) {
		snprintf(error, error_size, "client: %s", strerror(errno));
		free(client);
		return NULL;
	}
	*client = (struct mr_live_client){.scenario = scenario, .memories = memories, .userfault = -1};
	client->process = fork();
	client->line = lines[client->process == 0];
	close(lines[client->process != 0]);
	if (client->process == 0)
		be_client(client);
	if (client->process > 0)
		return client;
	snprintf(error, error_size, "client: no process: %s", strerror(errno));
	close(client->line);
	free(client);
	return NULL;
}

static bool command(const struct mr_live_client *client, char letter)
{
	return send(client->line, &letter, 1, MSG_NOSIGNAL) == 1;
}

static bool receive_answer(const struct mr_live_client *client, struct answer *answer, int *descriptor)
{
	struct iovec bytes = {answer, sizeof(*answer)};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr message = {.msg_iov = &bytes,
				 .msg_iovlen = 1,
				 .msg_control = control.room,
				 .msg_controllen = sizeof(control.room)};
	const struct cmsghdr *header;

	*descriptor = -1;
	if (recvmsg(client->line, &message, MSG_WAITALL | MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(*answer))
		return false;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
		memcpy(descriptor, CMSG_DATA(header), sizeof(int));
	return true;
}

int mr_live_client_open(struct mr_live_client *client)
{
	struct answer answer;

	if (!command(client, COMMAND_OPEN) || !receive_answer(client, &answer, &client->userfault))
		return EPIPE;
	/* A descriptor that finds no place here is not handed over, and nothing else is said of it. */
	return !answer.error && client->userfault < 0 ? EMFILE : answer.error;
}

int mr_live_client_catch(struct mr_live_client *client)
{
	struct answer answer;
	int none;

	if (!command(client, COMMAND_CATCH) || !receive_answer(client, &answer, &none))
		return EPIPE;
	return answer.error;
}

int mr_live_client_descriptor(const struct mr_live_client *client)
{
	return client->userfault;
}

/* The process was made by fork(): its memories lie where the destination's do. */
static bool find(const struct mr_live_client *client, uint64_t address, uint32_t *block, uint64_t *offset)
{
	for (uint32_t i = 0; i < client->scenario->block_count; i++) {
		const struct mr_host_memory *memory = &client->memories[i];
		const uint64_t start = (uint64_t)(uintptr_t)memory->data;

		if (address < start || address - start >= memory->size)
			continue;
		*block = i;
		*offset = (address - start) / memory->page_size * memory->page_size;
		return true;
	}
	return false;
}

bool mr_live_client_fault(struct mr_live_client *client, uint32_t *block, uint64_t *offset)
{
	struct uffd_msg event;

	return read(client->userfault, &event, sizeof(event)) == (ssize_t)sizeof(event) &&
	       event.event == UFFD_EVENT_PAGEFAULT && find(client, event.arg.pagefault.address, block, offset);
}

int mr_live_client_wake(struct mr_live_client *client, uint32_t block, uint64_t offset)
{
	const struct mr_host_memory *memory = &client->memories[block];
	struct uffdio_range range = {.start = (uint64_t)(uintptr_t)memory->data + offset, .len = memory->page_size};

	return ioctl(client->userfault, UFFDIO_WAKE, &range) < 0 ? errno : 0;
}

void mr_live_client_go(struct mr_live_client *client)
{
	command(client, COMMAND_GO);
}

/* The object lives as long as anybody has it open. */
static void close_userfault(struct mr_live_client *client)
{
	if (client->userfault >= 0)
		close(client->userfault);
	client->userfault = -1;
}

void mr_live_client_release(struct mr_live_client *client)
{
	command(client, COMMAND_RELEASE);
	close_userfault(client);
}

bool mr_live_client_end(struct mr_live_client *client, struct mr_live_client_figures *figures, char *error,
			size_t error_size)
{
	struct answer answer = {0};
	int none;
	bool good;

	if (!client)
		return true;
	close_userfault(client);
	good = command(client, COMMAND_END) && receive_answer(client, &answer, &none);
	*figures = answer.figures;
	if (!good)
		snprintf(error, error_size, "client: the process that shares memory is gone");
	else if (answer.figures.wrong)
		snprintf(error, error_size,
			 "client: %" PRIu64 " of %" PRIu64 " pages that no vCPU writes held something else",
			 answer.figures.wrong, answer.figures.checked);
	close(client->line);
	waitpid(client->process, NULL, 0);
	free(client);
	return good && answer.figures.wrong == 0;
}
