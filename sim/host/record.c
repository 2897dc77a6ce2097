/* record.c: the operator of a recorded migration: starts it, switches, cuts, recovers, and sees how it ends. */
#include "sim/host/record.h"
#include "sim/host/clock.h"
#include "sim/host/record_state.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	LOOK_MS = 5,         /* between two looks at all */
	GRACE_MS = 100,      /* from one end's death to the other's */
	ASK_MS = 50,         /* between two questions for the status, which events tell, too */
	LAST_SECONDS = 2,    /* for an answer once all is over */
	SETTLE_SECONDS = 10, /* from the source's end to the destination's */
	MS = 1000 * 1000,
};

#define SECOND UINT64_C(1000000000)

const char *mr_recorder_end_name(enum mr_recorder_end end)
{
	static const char *const names[MR_RECORDER_END_COUNT] = {"as planned", "otherwise", "failed"};

	return names[end];
}

const char *mr_recorder_memory_name(enum mr_recorder_memory memory)
{
	static const char *const names[MR_RECORDER_MEMORY_COUNT] = {"not judged", "equal", "writes lost by QEMU",
								    "differs"};

	return names[memory];
}

/* ---- What all parts use ---- */

void mr_recorder_fail(struct mr_recorder *record, enum mr_recorder_end end, const char *format, ...)
{
	va_list arguments;

	if (mr_recorder_has_failed(record))
		return;
	record->result->end = end;
	va_start(arguments, format);
	vsnprintf(record->result->line, sizeof(record->result->line), format, arguments);
	va_end(arguments);
}

void mr_recorder_spoil(struct mr_recorder *record, const char *line)
{
	if (record->result->end == MR_RECORDER_FAILED)
		return;
	record->result->end = MR_RECORDER_FAILED;
	snprintf(record->result->line, sizeof(record->result->line), "%s", line);
}

bool mr_recorder_has_failed(const struct mr_recorder *record)
{
	return record->result->end != MR_RECORDER_AS_PLANNED;
}

void mr_recorder_path(const struct mr_recorder *record, const char *name, char path[MR_RECORDER_PATH])
{
	snprintf(path, MR_RECORDER_PATH, "%s/%s", record->work, name);
}

void mr_recorder_show(const struct mr_recorder *record, const char *phase, double fraction, uint64_t bytes)
{
	record->options->progress(record->options->argument, phase, fraction, bytes);
}

static bool has_died(struct mr_recorder *record, struct mr_qemu *qemu, const char *name)
{
	if (!qemu || mr_qemu_is_running(qemu))
		return false;
	mr_recorder_fail(record, record->begun ? MR_RECORDER_OTHERWISE : MR_RECORDER_FAILED, "%s: %s", name,
			 mr_qemu_death(qemu));
	return true;
}

/* A source that dies takes its destination along, which may be seen first. */
static bool has_one_died(struct mr_recorder *record)
{
	if (record->destination && !mr_qemu_is_running(record->destination))
		mr_clock_sleep(GRACE_MS * MS);
	return has_died(record, record->source, "source") || has_died(record, record->destination, "destination");
}

bool mr_recorder_wait(struct mr_recorder *record, const char *what)
{
	const struct timespec pause = {.tv_nsec = LOOK_MS * MS};
	const enum mr_recorder_end end = record->begun ? MR_RECORDER_OTHERWISE : MR_RECORDER_FAILED;
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	if (sigtimedwait(&signals, NULL, &pause) > 0) {
		mr_recorder_fail(record, end, "interrupted");
		return false;
	}
	if (mr_clock() >= record->deadline) {
		mr_recorder_fail(record, end, "the time limit of %g s is over: %s", record->plan->time_limit, what);
		return false;
	}
	return !has_one_died(record);
}

/* ---- Status ---- */

static bool is_over(const char *status)
{
	return strcmp(status, "completed") == 0 || strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0;
}

static bool is(const struct mr_recorder *record, const char *status)
{
	return strcmp(record->status, status) == 0;
}

static void begin_postcopy(struct mr_recorder *record)
{
	record->was_postcopy = true;
	record->recovering = false;
	record->paused_at = 0;
}

static void take_status(struct mr_recorder *record, const char *status)
{
	if (!status || is(record, status))
		return;
	snprintf(record->status, sizeof(record->status), "%s", status);
	if (is(record, "postcopy-active")) {
		begin_postcopy(record);
	} else if (is(record, "pre-switchover") && !record->continued) {
		/* its event may come behind an answer that has told of it already */
		record->continued = true;
		mr_recorder_command(record, record->source, "migrate-continue",
				    json_pack("{s:s}", "state", "pre-switchover"), NULL);
	}
}

static void take_events(struct mr_recorder *record)
{
	json_t *event;

	while ((event = mr_qmp_event(mr_qemu_qmp(record->source), "MIGRATION", 0)) != NULL) {
		take_status(record, json_string_value(json_object_get(json_object_get(event, "data"), "status")));
		json_decref(event);
	}
}

static double fraction_of(const json_t *ram)
{
	const double left = (double)json_integer_value(json_object_get(ram, "remaining"));
	const double total = (double)json_integer_value(json_object_get(ram, "total"));

	return total > 0 ? (total - left) / total : -1;
}

/* An answer is younger than all events before it. */
static bool ask_status(struct mr_recorder *record)
{
	json_t *answer, *ram;

	record->asked_at = mr_clock();
	if (!mr_recorder_command(record, record->source, "query-migrate", NULL, &answer))
		return false;
	take_events(record);
	take_status(record, json_string_value(json_object_get(answer, "status")));
	ram = json_object_get(answer, "ram");
	mr_recorder_show(record, record->was_postcopy ? "postcopy" : "precopy", fraction_of(ram),
			 (uint64_t)json_integer_value(json_object_get(ram, "transferred")));
	json_decref(record->source_migrate);
	record->source_migrate = answer;
	return !mr_recorder_has_failed(record);
}

/* ---- What the operator does ---- */

static bool is_due(int64_t ms, uint64_t since)
{
	return ms >= 0 && mr_clock() >= since + (uint64_t)ms * MS;
}

/* A migration that has ended already refuses it, which is told by how it ended. */
static void switch_over(struct mr_recorder *record)
{
	char error[MR_RECORDER_LINE];
	enum mr_qmp_status status;

	record->switched = true;
	status = mr_qemu_execute(record->source, "migrate-start-postcopy", NULL, NULL, error, sizeof(error));
	if (status == MR_QMP_DONE)
		return;
	ask_status(record);
	if (!is_over(record->status))
		mr_recorder_fail(record, MR_RECORDER_OTHERWISE, "%s", error);
}

static bool is_destination_paused(struct mr_recorder *record)
{
	json_t *answer;
	const char *status;
	bool paused;

	if (!mr_recorder_command(record, record->destination, "query-migrate", NULL, &answer))
		return false;
	status = json_string_value(json_object_get(answer, "status"));
	paused = status && strcmp(status, "postcopy-paused") == 0;
	json_decref(answer);
	return paused;
}

static void recover(struct mr_recorder *record)
{
	struct mr_address again;
	char error[MR_RECORDER_LINE];

	if (!record->paused_at) {
		record->paused_at = is_destination_paused(record) ? mr_clock() : 0;
		return;
	}
	if (!is_due(record->plan->recover_ms, record->paused_at))
		return;
	record->recovering = true;
	record->result->recoveries++;
	if (mr_address_parse(&again, record->again_to, false, error, sizeof(error)) < 0) {
		mr_recorder_fail(record, MR_RECORDER_OTHERWISE, "%s", error);
		return;
	}
	if (!mr_recorder_command(record, record->destination, "migrate-recover",
				 json_pack("{s:s}", "uri", record->again_to), NULL))
		return;
	mr_tap_redirect(record->control, &again);
	mr_recorder_command(record, record->source, "migrate",
			    json_pack("{s:s, s:b}", "uri", record->address, "resume", 1), NULL);
}

/* As long as the destination still loads its devices a connection that breaks cannot be recovered. */
static bool has_taken_over(struct mr_recorder *record)
{
	json_t *answer;
	const char *status;
	bool taken;

	if (!record->was_postcopy || !mr_recorder_command(record, record->destination, "query-status", NULL, &answer))
		return false;
	status = json_string_value(json_object_get(answer, "status"));
	taken = status && strcmp(status, "inmigrate") != 0;
	json_decref(answer);
	return taken;
}

static void arm_cut(struct mr_recorder *record)
{
	const struct mr_recorder_plan *plan = record->plan;

	if (!plan->cuts || !plan->cut_since_switch || record->cut_armed || !has_taken_over(record))
		return;
	record->cut_armed = true;
	mr_tap_cut_later(record->control, plan->cut_channel, plan->cut_backward, plan->cut_byte);
}

static void operate(struct mr_recorder *record)
{
	const struct mr_recorder_plan *plan = record->plan;

	arm_cut(record);
	if (!record->switched && is_due(plan->switch_ms, record->begun))
		switch_over(record);
	if (!record->stopped && !record->was_postcopy && is_due(plan->stop_ms, record->begun)) {
		record->stopped = true;
		mr_recorder_command(record, record->source, "stop", NULL, NULL);
	}
	if (is(record, "postcopy-paused") && !record->recovering)
		recover(record);
}

/* ---- From begin to end ---- */

bool mr_recorder_loses_writes(const struct mr_recorder *record)
{
	return mr_qemu_loses_writes(record->result->source_release, record->plan->accel);
}

static bool warm_up(struct mr_recorder *record)
{
	const uint64_t begin = mr_clock();
	const enum mr_recorder_stop stop = record->plan->stop;

	mr_recorder_show(record, "warming up", -1, 0);
	while (!is_due(record->plan->warm_up_ms, begin))
		if (!mr_recorder_wait(record, "the guest warms up"))
			return false;
	record->stopped_first = stop == MR_RECORDER_STOP_ALWAYS ||
				(stop == MR_RECORDER_STOP_IF_LOSSY && mr_recorder_loses_writes(record));
	record->stopped = record->result->stopped_first = record->stopped_first;
	return !record->stopped_first || mr_recorder_command(record, record->source, "stop", NULL, NULL);
}

static bool begin(struct mr_recorder *record)
{
	if (!mr_recorder_command(record, record->source, "migrate", json_pack("{s:s}", "uri", record->address), NULL))
		return false;
	record->begun = mr_clock();
	return true;
}

/* What the source says, and if the destination has ended, what that had to say. */
static void tell_failure(struct mr_recorder *record)
{
	const char *reason = json_string_value(json_object_get(record->source_migrate, "error-desc"));
	const uint64_t until = mr_clock() + SECOND;

	while (record->destination && mr_qemu_is_running(record->destination) && mr_clock() < until)
		mr_clock_sleep(LOOK_MS * MS);
	if (!record->destination || mr_qemu_is_running(record->destination))
		mr_recorder_fail(record, MR_RECORDER_OTHERWISE, "the migration ended as %s: %.200s", record->status,
				 reason ? reason : "the source gives no reason");
	else
		mr_recorder_fail(record, MR_RECORDER_OTHERWISE, "the migration ended as %s: destination: %s",
				 record->status, mr_qemu_death(record->destination));
}

static bool run_source(struct mr_recorder *record)
{
	while (!is_over(record->status)) {
		if (!mr_recorder_wait(record, "the migration has not ended"))
			return false;
		take_events(record);
		if (!is_over(record->status))
			operate(record);
		if (mr_recorder_has_failed(record) || (is_due(ASK_MS, record->asked_at) && !ask_status(record)))
			return false;
	}
	if (!ask_status(record))
		return false;
	if (!is(record, "completed"))
		tell_failure(record);
	return is(record, "completed");
}

static bool run_destination(struct mr_recorder *record)
{
	const uint64_t until = mr_clock() + SETTLE_SECONDS * SECOND;
	const char *status = NULL;

	while (record->destination && (!status || !is_over(status))) {
		json_decref(record->destination_migrate);
		record->destination_migrate = NULL;
		if (!mr_recorder_wait(record, "the destination has not ended") ||
		    !mr_recorder_command(record, record->destination, "query-migrate", NULL,
					 &record->destination_migrate))
			return false;
		status = json_string_value(json_object_get(record->destination_migrate, "status"));
		if (mr_clock() < until || (status && is_over(status)))
			continue;
		mr_recorder_fail(record, MR_RECORDER_OTHERWISE, "destination: %s, %d s after the source's end",
				 status ? status : "no status", SETTLE_SECONDS);
		return false;
	}
	if (!status || strcmp(status, "completed") == 0)
		return true;
	mr_recorder_fail(record, MR_RECORDER_OTHERWISE, "destination: the migration ended as %s", status);
	return false;
}

/* It completed; whether the rest was as planned, too. */
static void check_plan(struct mr_recorder *record)
{
	if (record->plan->switch_ms >= 0 && !record->was_postcopy)
		mr_recorder_fail(record, MR_RECORDER_OTHERWISE,
				 "precopy ended before the switch to postcopy: lower --bandwidth or --switch-after");
	if (record->plan->cuts && !record->result->recoveries)
		mr_recorder_fail(record, MR_RECORDER_OTHERWISE, "the byte of the cut never came");
}

static void run(struct mr_recorder *record)
{
	mr_recorder_show(record, "starting", -1, 0);
	if (!mr_recorder_start(record) || !mr_recorder_await_guest(record) || !warm_up(record) || !begin(record) ||
	    !run_source(record) || !run_destination(record))
		return;
	check_plan(record);
	if (record->destination)
		mr_recorder_judge(record);
	mr_recorder_keep_memory(record);
}

/* ---- The whole ---- */

/* The migration as the source sees it last, also of one that did not end. */
static void take_last_answers(struct mr_recorder *record)
{
	char ignored[MR_RECORDER_LINE];
	json_t *answer;

	/* They may be silent for the very reason for which it ends. */
	if (record->source)
		mr_qmp_limit(mr_qemu_qmp(record->source), LAST_SECONDS);
	if (record->destination)
		mr_qmp_limit(mr_qemu_qmp(record->destination), LAST_SECONDS);
	if (record->source &&
	    mr_qemu_execute(record->source, "query-migrate", NULL, &answer, ignored, sizeof(ignored)) == MR_QMP_DONE) {
		json_decref(record->source_migrate);
		record->source_migrate = answer;
	}
	if (record->destination && !record->destination_migrate)
		mr_qemu_execute(record->destination, "query-migrate", NULL, &record->destination_migrate, ignored,
				sizeof(ignored));
}

const char *mr_recorder_status(const struct mr_recorder *record)
{
	const char *status = json_string_value(json_object_get(record->source_migrate, "status"));

	return status ? status : record->status[0] ? record->status : "unknown";
}

static bool make_work(struct mr_recorder *record)
{
	const char *temporary = getenv("TMPDIR");

	if (!temporary || strlen(temporary) > sizeof(record->work) - 20)
		temporary = "/tmp";
	snprintf(record->work, sizeof(record->work), "%s/migref-XXXXXX", temporary);
	if (mkdtemp(record->work))
		return true;
	mr_recorder_fail(record, MR_RECORDER_FAILED, "%s: %s", record->work, strerror(errno));
	record->work[0] = '\0';
	return false;
}

static void remove_work(const struct mr_recorder *record)
{
	static const char *const names[] = {"guest.img", "src.trace", "dst.trace",    "tap", "in",
					    "again",     "page",      "state.mapped", "pmem"};
	char path[MR_RECORDER_PATH];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		mr_recorder_path(record, names[i], path);
		unlink(path);
	}
	rmdir(record->work);
}

static void take_figures(struct mr_recorder *record)
{
	struct mr_recorder_result *result = record->result;
	const json_t *ram = json_object_get(record->source_migrate, "ram");
	const struct mr_tapped_figures *channel;

	snprintf(result->status, sizeof(result->status), "%s", mr_recorder_status(record));
	result->requests = (uint64_t)json_integer_value(json_object_get(ram, "postcopy-requests"));
	while ((channel = mr_tapped_figures(record->tapped, result->channel_count)) != NULL) {
		result->channels[result->channel_count].role = channel->role;
		result->channels[result->channel_count].forward = channel->bytes[0];
		result->channels[result->channel_count++].backward = channel->bytes[1];
	}
}

static void finish_recording(struct mr_recorder *record)
{
	const bool any = mr_tapped_figures(record->tapped, 0) || (record->plan->to_file && is(record, "completed"));
	bool written;

	if (any) {
		mr_recorder_keep_traces(record);
		mr_recorder_describe(record);
	}
	written = mr_tapped_finish(record->tapped);
	take_figures(record);
	if (any && (!written || mr_tapped_problem(record->tapped)[0]))
		mr_recorder_spoil(record, mr_tapped_problem(record->tapped));
}

static void block_signals(struct mr_recorder *record)
{
	sigset_t blocked;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGTERM);
	sigprocmask(SIG_BLOCK, &blocked, &record->before);
}

static void clear(struct mr_recorder *record)
{
	mr_tapped_free(record->tapped);
	json_decref(record->source_migrate);
	json_decref(record->destination_migrate);
	json_decref(record->destination_run_state);
	for (unsigned i = 0; i < 2; i++)
		if (record->errors[i] >= 0)
			close(record->errors[i]);
	free(record->capabilities);
	pthread_mutex_destroy(&record->lock);
	pthread_cond_destroy(&record->changed);
	sigprocmask(SIG_SETMASK, &record->before, NULL);
}

void mr_recorder_run(const struct mr_recorder_options *options, struct mr_recorder_result *result)
{
	struct mr_recorder record = {
		.options = options,
		.plan = options->plan,
		.result = result,
		.deadline = mr_clock() + (uint64_t)(options->plan->time_limit * (double)SECOND),
		.equal = -1,
		.errors = {-1, -1},
	};

	*result = (struct mr_recorder_result){.end = MR_RECORDER_AS_PLANNED};
	pthread_mutex_init(&record.lock, NULL);
	pthread_cond_init(&record.changed, NULL);
	block_signals(&record);
	if (make_work(&record)) {
		run(&record);
		take_last_answers(&record);
		mr_recorder_hold_errors(&record);
		result->seconds = record.begun ? (double)(mr_clock() - record.begun) / (double)SECOND : 0;
		mr_recorder_stop(&record);
		if (record.tapped)
			finish_recording(&record);
		if (record.complaint[0] && !result->note[0])
			snprintf(result->note, sizeof(result->note), "tap: %.500s", record.complaint);
		remove_work(&record);
	}
	clear(&record);
}
