/* interop.c: one migration between a real QEMU and an end of ours, from the first command to the verdict. */
#include "sim/host/clock.h"
#include "sim/host/interop_state.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	ARGUMENTS_MAX = 40,
	ARGUMENT_MAX = 300,
	TOUCHES_BEFORE = 100, /* that the guest has made when it is migrated */
	REWRITE_MS = 4000,    /* that a guest goes on writing, of which a first pass takes more than half */
	SWITCH_MS = 300,      /* from the beginning to postcopy */
	MILLISECOND = 1000000,
	MIB = 1 << 20,
	/* With a downtime limit of 1 ms not even a page is little enough for precopy to end while the guest runs. */
	REWRITE_BANDWIDTH = 3 * MIB / 2,
	RESUME_NS = 200000000, /* between two attempts to recover */
};

/* ---- Modes ---- */

static const struct mr_interop_mode modes[] = {
	{.name = "precopy",
	 .meaning = "the guest's memory while it stands or runs, then its devices",
	 .capabilities = ""},
	{.name = "precopy-return",
	 .meaning = "the same with a return path: the source waits for the destination's word",
	 .capabilities = "return-path"},
	{.name = "xbzrle",
	 .meaning = "pages that are sent again as what has changed in them",
	 .capabilities = "xbzrle",
	 .rewrites = true},
	{.name = "postcopy",
	 .meaning = "the guest moves first; pages that it misses are asked for",
	 .capabilities = "postcopy-ram",
	 .switches = true},
	{.name = "postcopy-cut",
	 .meaning = "postcopy; the connection breaks on the way out, and is recovered",
	 .capabilities = "postcopy-ram",
	 .switches = true,
	 .cut = "0:fwd:1500000"},
	{.name = "postcopy-cut-return",
	 .meaning = "postcopy; the return path breaks, and is recovered",
	 .capabilities = "postcopy-ram",
	 .switches = true,
	 .cut = "0:ret:100"},
	{.name = "preempt",
	 .meaning = "postcopy with a channel of its own for pages that are asked for",
	 .capabilities = "postcopy-ram,postcopy-preempt",
	 .switches = true},
	{.name = "preempt-cut",
	 .meaning = "the same; all connections break, and are recovered",
	 .capabilities = "postcopy-ram,postcopy-preempt",
	 .switches = true,
	 .cut = "0:fwd:1500000"},
	{.name = "multifd",
	 .meaning = "pages over several connections",
	 .capabilities = "multifd",
	 .compression = "none"},
	{.name = "multifd-zlib",
	 .meaning = "the same, compressed by zlib",
	 .capabilities = "multifd",
	 .compression = "zlib"},
	{.name = "multifd-zstd",
	 .meaning = "the same, compressed by zstd",
	 .capabilities = "multifd",
	 .compression = "zstd"},
};

const struct mr_interop_mode *mr_interop_mode_at(size_t index)
{
	return index < sizeof(modes) / sizeof(modes[0]) ? &modes[index] : NULL;
}

const char *mr_interop_direction_name(enum mr_interop_direction direction)
{
	return direction == MR_INTEROP_RECEIVE ? "receive" : "send";
}

const char *mr_interop_verdict_name(enum mr_interop_verdict verdict)
{
	static const char *const names[MR_INTEROP_VERDICT_COUNT] = {
		[MR_INTEROP_HOLDS] = "holds",      [MR_INTEROP_LOST] = "holds, but for writes that QEMU lost",
		[MR_INTEROP_SKIPPED] = "not here", [MR_INTEROP_DIFFERS] = "differs",
		[MR_INTEROP_UNABLE] = "no QEMU",
	};

	return names[verdict];
}

/* Bytes a second: slow where a switch or a second pass has to find something left. */
uint64_t mr_interop_bandwidth(const struct mr_interop_mode *mode)
{
	if (mode->switches)
		return UINT64_C(2) * MIB;
	return mode->rewrites ? REWRITE_BANDWIDTH : UINT64_MAX >> 24;
}

/* ---- Verdicts ---- */

bool mr_interop_fail(struct mr_interop *interop, const char *format, ...)
{
	va_list arguments;

	if (interop->result->verdict != MR_INTEROP_HOLDS)
		return false;
	interop->result->verdict = MR_INTEROP_DIFFERS;
	va_start(arguments, format);
	vsnprintf(interop->result->line, sizeof(interop->result->line), format, arguments);
	va_end(arguments);
	return false;
}

bool mr_interop_has_time(struct mr_interop *interop, const char *what)
{
	if (mr_clock() < interop->deadline)
		return true;
	return mr_interop_fail(interop, "no end within %" PRIu32 " s: waited %s", interop->options->time_limit, what);
}

bool mr_interop_loses_writes(const struct mr_interop *interop)
{
	return mr_qemu_loses_writes(interop->result->release, interop->options->accel);
}

/* ---- Our end ---- */

struct arguments {
	char texts[ARGUMENTS_MAX][ARGUMENT_MAX];
	char *list[ARGUMENTS_MAX + 1];
	size_t count;
};

__attribute__((format(printf, 2, 3))) static void add(struct arguments *arguments, const char *format, ...)
{
	char *text = arguments->texts[arguments->count];
	va_list values;

	va_start(values, format);
	vsnprintf(text, ARGUMENT_MAX, format, values);
	va_end(values);
	arguments->list[arguments->count++] = text;
	arguments->list[arguments->count] = NULL;
}

static void add_settings(const struct mr_interop *interop, struct arguments *arguments)
{
	const struct mr_interop_mode *mode = interop->options->mode;

	if (mode->capabilities[0])
		add(arguments, "--capabilities=%s", mode->capabilities);
	if (mode->compression) {
		add(arguments, "--multifd-channels=%d", MR_INTEROP_MULTIFD_CHANNELS);
		add(arguments, "--multifd-compression=%s", mode->compression);
	}
	if (mode->cut)
		add(arguments, "--cut=%s", mode->cut);
	add(arguments, "--time-limit=%" PRIu32, interop->options->time_limit);
	add(arguments, "--json");
}

static void add_receiver(const struct mr_interop *interop, struct arguments *arguments)
{
	add(arguments, "receive");
	add(arguments, "--listen=unix:%s", interop->socket);
	add(arguments, "--source-qemu=%s", interop->result->release);
	add(arguments, "--ram=%s", interop->memory);
	if (interop->options->keep)
		add(arguments, "--output=%s", interop->options->keep);
}

static void add_sender(const struct mr_interop *interop, struct arguments *arguments)
{
	const struct mr_interop_mode *mode = interop->options->mode;

	add(arguments, "send");
	add(arguments, "--connect=unix:%s", interop->socket);
	add(arguments, "--devices=%s", interop->options->devices);
	add(arguments, "--max-bandwidth=%" PRIu64, mode->rewrites ? UINT64_C(8) * MIB : mr_interop_bandwidth(mode));
	if (mode->switches) {
		add(arguments, "--switch-after=%d", SWITCH_MS);
		add(arguments, "--max-postcopy-bandwidth=%d", MR_INTEROP_POSTCOPY_BANDWIDTH);
	}
	if (mode->rewrites || mode->switches) {
		add(arguments, "--stale=300");
		add(arguments, "--rewrites=2");
	}
}

static bool start_program(struct mr_interop *interop)
{
	struct arguments *arguments = calloc(1, sizeof(*arguments));
	char error[ARGUMENT_MAX];
	int status;

	if (!arguments)
		return mr_interop_fail(interop, "no memory");
	add(arguments, "%s", interop->options->program);
	(interop->options->direction == MR_INTEROP_RECEIVE ? add_receiver : add_sender)(interop, arguments);
	add_settings(interop, arguments);
	status = mr_program_start(&interop->program, arguments->list, error, sizeof(error));
	free(arguments);
	return status == 0 || mr_interop_fail(interop, "%s", error);
}

/* False once it has ended otherwise than well. */
static bool watch_program(struct mr_interop *interop)
{
	char complaint[ARGUMENT_MAX];
	int status;

	if (!mr_program_has_ended(interop->program, &status) || status == 0)
		return true;
	mr_program_complaint(interop->program, complaint, sizeof(complaint));
	return mr_interop_fail(interop, "%s ended with status %d: %s",
			       mr_interop_direction_name(interop->options->direction), status, complaint);
}

static bool end_program(struct mr_interop *interop)
{
	int status = 0;

	while (!mr_program_has_ended(interop->program, &status)) {
		if (!mr_interop_has_time(interop, "for our end to end"))
			return false;
		mr_clock_sleep(MR_INTEROP_LOOK);
	}
	if (!watch_program(interop))
		return false;
	interop->answer = mr_program_answer(interop->program);
	return interop->answer || mr_interop_fail(interop, "our end told nothing");
}

/* ---- Following ---- */

/* What is to be done while the migration runs. */
struct course {
	uint64_t began, asked_again;
	bool switched, continued, stopped;
};

static bool has_ended(struct mr_interop *interop, const char *status, const char *reason, bool *ended)
{
	*ended = strcmp(status, "completed") == 0;
	if (strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0)
		return mr_interop_fail(interop, "QEMU: %s: %s", status, reason);
	return true;
}

static bool is_time_to_recover(struct course *course)
{
	if (mr_clock() < course->asked_again)
		return false;
	course->asked_again = mr_clock() + RESUME_NS;
	return true;
}

/* A recovery may come too early for the other end: it is asked for again then. */
static void recover(struct mr_interop *interop, const char *command, bool resume)
{
	char ignored[ARGUMENT_MAX], uri[MR_INTEROP_PATH + 8];
	json_t *arguments;

	snprintf(uri, sizeof(uri), "unix:%s", interop->socket);
	arguments = json_pack("{s:s}", "uri", uri);
	if (resume)
		json_object_set_new(arguments, "resume", json_true());
	if (mr_qemu_execute(interop->qemu, command, arguments, NULL, ignored, sizeof(ignored)) == MR_QMP_DONE)
		interop->result->recoveries++;
}

static bool steer_source(struct mr_interop *interop, struct course *course, const char *status)
{
	if (interop->options->mode->switches && !course->switched && strcmp(status, "active") == 0 &&
	    mr_clock() - course->began > (uint64_t)SWITCH_MS * MILLISECOND) {
		course->switched = true;
		return mr_interop_ask(interop, "migrate-start-postcopy", NULL);
	}
	if (strcmp(status, "postcopy-paused") == 0 && is_time_to_recover(course))
		recover(interop, "migrate", true);
	/* Pass after pass, until many pages have been sent again; only a guest that stands lets it end. */
	if (interop->options->mode->rewrites && !course->stopped &&
	    mr_clock() - course->began > (uint64_t)REWRITE_MS * MILLISECOND) {
		course->stopped = true;
		return mr_interop_ask(interop, "stop", NULL);
	}
	return true;
}

/* A guest that stood at the source stands here, too, until it is told to run. */
static bool steer_destination(struct mr_interop *interop, struct course *course, const char *status)
{
	char error[ARGUMENT_MAX];
	const char *state;
	json_t *answer;

	if (strcmp(status, "postcopy-paused") == 0 && is_time_to_recover(course))
		recover(interop, "migrate-recover", false);
	if (course->continued || (strcmp(status, "completed") != 0 && strcmp(status, "postcopy-active") != 0))
		return true;
	if (mr_qemu_execute(interop->qemu, "query-status", NULL, &answer, error, sizeof(error)) != MR_QMP_DONE)
		return mr_interop_fail(interop, "%s", error);
	state = json_string_value(json_object_get(answer, "status"));
	course->continued = state && (strcmp(state, "paused") == 0 || strcmp(state, "running") == 0);
	json_decref(answer);
	return !course->continued || mr_interop_ask(interop, "cont", NULL);
}

static bool follow(struct mr_interop *interop)
{
	struct course course = {.began = mr_clock()};
	char status[40], reason[200];
	bool ended = false;

	while (!ended) {
		if (!mr_interop_has_time(interop, "for QEMU to complete") || !watch_program(interop) ||
		    !mr_interop_status(interop, status, reason) || !has_ended(interop, status, reason, &ended))
			return false;
		if (!(interop->options->direction == MR_INTEROP_RECEIVE ? steer_source
									: steer_destination)(interop, &course, status))
			return false;
		if (!ended)
			mr_clock_sleep(MR_INTEROP_LOOK);
	}
	interop->result->seconds = (double)(mr_clock() - course.began) / 1e9;
	return end_program(interop);
}

/* ---- Directions ---- */

static json_t *uri_of(const struct mr_interop *interop)
{
	char uri[MR_INTEROP_PATH + 8];

	snprintf(uri, sizeof(uri), "unix:%s", interop->socket);
	return json_pack("{s:s}", "uri", uri);
}

static bool wait_for_listener(struct mr_interop *interop)
{
	while (access(interop->socket, F_OK) < 0) {
		if (!mr_interop_has_time(interop, "for our end to listen") || !watch_program(interop))
			return false;
		mr_clock_sleep(MR_INTEROP_LOOK);
	}
	return true;
}

/* A QEMU that loses writes is to migrate a guest that stands, unless pages have to be written to. */
static bool settle_guest(struct mr_interop *interop)
{
	if (!mr_interop_wait_for_guest(interop, TOUCHES_BEFORE, NULL))
		return false;
	interop->guest_ran = !mr_interop_loses_writes(interop) || interop->options->mode->rewrites;
	return interop->guest_ran || mr_interop_ask(interop, "stop", NULL);
}

/* Of what our end told in the end: `receive` tells requests apart, `send` those that it served. */
static uint64_t requests(const struct mr_interop *interop, const char *what)
{
	const json_t *told = json_object_get(interop->answer, "requests");

	return (uint64_t)json_integer_value(json_is_object(told) ? json_object_get(told, what) : told);
}

/* Pages that went out as what had changed in them, as the source tells. */
static bool count_encoded(struct mr_interop *interop, uint64_t *count)
{
	char error[ARGUMENT_MAX];
	json_t *answer;

	if (interop->options->direction == MR_INTEROP_SEND) {
		*count = (uint64_t)json_integer_value(json_object_get(interop->answer, "xbzrle-pages"));
		return true;
	}
	if (mr_qemu_execute(interop->qemu, "query-migrate", NULL, &answer, error, sizeof(error)) != MR_QMP_DONE)
		return mr_interop_fail(interop, "%s", error);
	*count = (uint64_t)json_integer_value(json_object_get(json_object_get(answer, "xbzrle-cache"), "pages"));
	json_decref(answer);
	return true;
}

static bool check_figures(struct mr_interop *interop)
{
	const struct mr_interop_mode *mode = interop->options->mode;
	struct mr_interop_result *result = interop->result;

	result->requests = requests(interop, "sent");
	result->answered = requests(interop, "answered");
	if (mode->switches && result->requests == 0)
		return mr_interop_fail(interop, "expected pages to be asked for, found no request");
	if (mode->switches && result->answered == 0)
		return mr_interop_fail(interop, "expected answers to %" PRIu64 " requests, found none",
				       result->requests);
	if (mode->rewrites && !count_encoded(interop, &result->encoded))
		return false;
	/* What is lost are the very writes to pages that are written to all the time. */
	if (mode->rewrites && result->encoded == 0 && !(interop->guest_ran && mr_interop_loses_writes(interop)))
		return mr_interop_fail(interop, "expected pages that were sent as changes, found none");
	if (mode->cut && result->recoveries == 0)
		return mr_interop_fail(interop, "expected a recovery, found none");
	return true;
}

static bool receive(struct mr_interop *interop)
{
	return settle_guest(interop) && start_program(interop) && wait_for_listener(interop) &&
	       mr_interop_ask(interop, "migrate", uri_of(interop)) && follow(interop) && check_figures(interop) &&
	       mr_interop_judge_received(interop);
}

static bool send(struct mr_interop *interop)
{
	return mr_interop_ask(interop, "migrate-incoming", uri_of(interop)) && start_program(interop) &&
	       follow(interop) && check_figures(interop) && mr_interop_judge_sent(interop);
}

static void tear_down(struct mr_interop *interop)
{
	mr_program_stop(interop->program);
	mr_qemu_stop(interop->qemu);
	json_decref(interop->answer);
	unlink(interop->image);
	unlink(interop->socket);
	unlink(interop->memory);
}

void mr_interop_run(const struct mr_interop_options *options, struct mr_interop_result *result)
{
	struct mr_interop interop = {.options = options,
				     .result = result,
				     .deadline = mr_clock() + (uint64_t)options->time_limit * 1000000000};

	*result = (struct mr_interop_result){.verdict = MR_INTEROP_HOLDS};
	snprintf(interop.image, sizeof(interop.image), "%.90s/guest.img", options->directory);
	snprintf(interop.socket, sizeof(interop.socket), "%.90s/socket", options->directory);
	snprintf(interop.memory, sizeof(interop.memory), "%.90s/memory", options->directory);
	if (mr_interop_start_qemu(&interop))
		(options->direction == MR_INTEROP_RECEIVE ? receive : send)(&interop);
	tear_down(&interop);
}
