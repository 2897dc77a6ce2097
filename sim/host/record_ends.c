/* record_ends.c: both QEMU of a recorded migration, and the tap between them, in a thread of its own. */
#include "sim/host/clock.h"
#include "sim/host/record_state.h"

#include <string.h>

#define SECOND 1e9

enum {
	NEEDS = 80,            /* bytes of what releases are needed, as text */
	TAP_END_SECONDS = 5,   /* in which connections end behind both QEMU */
	TAP_BEGIN_SECONDS = 5, /* in which it listens */
};

static const char FILE_NAME[] = "state.mapped";

/* ---- Commands ---- */

/* No command may take much longer than there is time. */
static double seconds_left(const struct mr_recorder *record)
{
	const uint64_t now = mr_clock();
	const double left = now < record->deadline ? (double)(record->deadline - now) / SECOND : 0;

	return left < 1 ? 1 : left < MR_QMP_SECONDS ? left : MR_QMP_SECONDS;
}

bool mr_recorder_command(struct mr_recorder *record, struct mr_qemu *qemu, const char *command, json_t *arguments,
			 json_t **answer)
{
	char error[MR_RECORDER_LINE];

	mr_qmp_limit(mr_qemu_qmp(qemu), seconds_left(record));
	if (mr_qemu_execute(qemu, command, arguments, answer, error, sizeof(error)) == MR_QMP_DONE)
		return true;
	mr_recorder_fail(record, record->begun ? MR_RECORDER_OTHERWISE : MR_RECORDER_FAILED, "%s", error);
	return false;
}

/* ---- What the releases can do ---- */

static void describe_needs(const struct mr_recorder_plan *plan, char text[NEEDS])
{
	const struct mr_recorder_releases releases = mr_recorder_plan_releases(plan);

	if (!releases.any)
		snprintf(text, NEEDS, "no release is known that can");
	else if (!releases.since[0] && !releases.until[0])
		snprintf(text, NEEDS, "by what is known every release can");
	else if (!releases.until[0])
		snprintf(text, NEEDS, "QEMU %s or later is needed", releases.since);
	else if (!releases.since[0])
		snprintf(text, NEEDS, "QEMU %s or earlier is needed", releases.until);
	else
		snprintf(text, NEEDS, "QEMU %s to %s is needed", releases.since, releases.until);
}

static bool is_unsupported(struct mr_recorder *record, struct mr_qemu *qemu, const char *what)
{
	char needs[NEEDS];

	describe_needs(record->plan, needs);
	mr_recorder_fail(record, MR_RECORDER_FAILED, "preset %s: QEMU %s %s: %s", record->plan->preset,
			 mr_qemu_release(qemu), what, needs);
	return false;
}

static const json_t *find_capability(const json_t *list, const char *name)
{
	const json_t *entry;
	size_t index;

	json_array_foreach(list, index, entry)
	{
		const char *found = json_string_value(json_object_get(entry, "capability"));

		if (found && strcmp(found, name) == 0)
			return entry;
	}
	return NULL;
}

static bool has_capabilities(struct mr_recorder *record, struct mr_qemu *qemu)
{
	json_t *list, *value;
	const char *name;
	char what[100];
	bool has = true;

	if (!mr_recorder_command(record, qemu, "query-migrate-capabilities", NULL, &list))
		return false;
	json_object_foreach(record->plan->capabilities, name, value)
	{
		if (!has || !json_is_true(value) || find_capability(list, name))
			continue;
		snprintf(what, sizeof(what), "has no capability %.60s", name);
		has = is_unsupported(record, qemu, what);
	}
	json_decref(list);
	return has;
}

/* Those that are not set may be left out of what QEMU answers, but none of these has a default that is nothing. */
static bool has_parameters(struct mr_recorder *record, struct mr_qemu *qemu)
{
	json_t *all, *value;
	const char *name;
	char what[100];
	bool has = true;

	if (!mr_recorder_command(record, qemu, "query-migrate-parameters", NULL, &all))
		return false;
	json_object_foreach(record->plan->parameters, name, value)
	{
		if (!has || json_object_get(all, name) || strncmp(name, "tls-", 4) == 0)
			continue;
		snprintf(what, sizeof(what), "has no migration parameter %.60s", name);
		has = is_unsupported(record, qemu, what);
	}
	json_decref(all);
	return has;
}

static bool is_new_enough(struct mr_recorder *record, struct mr_qemu *qemu)
{
	struct mr_profile profile;

	if (mr_profile_init(&profile, mr_qemu_release(qemu)) < 0 ||
	    mr_profile_within(&profile, record->plan->since, ""))
		return true;
	return is_unsupported(record, qemu, "is too old");
}

/* A setting that QEMU refuses, in its own words and with what is known of releases. */
static bool set(struct mr_recorder *record, struct mr_qemu *qemu, const char *command, json_t *arguments)
{
	char error[MR_RECORDER_LINE], needs[NEEDS];
	const enum mr_qmp_status status = mr_qemu_execute(qemu, command, arguments, NULL, error, sizeof(error));

	describe_needs(record->plan, needs);
	if (status == MR_QMP_REFUSED)
		mr_recorder_fail(record, MR_RECORDER_FAILED, "%.400s (QEMU %s; %s)", error, mr_qemu_release(qemu),
				 needs);
	else if (status != MR_QMP_DONE)
		mr_recorder_fail(record, MR_RECORDER_FAILED, "%s", error);
	return status == MR_QMP_DONE;
}

/* Where events tell of each change of the status none is missed. */
static json_t *capability_list(const struct mr_recorder_plan *plan)
{
	json_t *list = json_array(), *value;
	const char *name;

	json_array_append_new(list, json_pack("{s:s, s:b}", "capability", "events", "state", 1));
	json_object_foreach(plan->capabilities, name, value)
	{
		json_array_append_new(list, json_pack("{s:s, s:O}", "capability", name, "state", value));
	}
	return list;
}

static bool set_up(struct mr_recorder *record, struct mr_qemu *qemu)
{
	if (!is_new_enough(record, qemu) || !has_capabilities(record, qemu) || !has_parameters(record, qemu))
		return false;
	return set(record, qemu, "migrate-set-capabilities",
		   json_pack("{s:o}", "capabilities", capability_list(record->plan))) &&
	       set(record, qemu, "migrate-set-parameters", json_incref(record->plan->parameters));
}

/* ---- Both QEMU ---- */

static struct mr_qemu *launch(struct mr_recorder *record, bool is_source, char *release, size_t release_size)
{
	const struct mr_recorder_plan *plan = record->plan;
	const char *other = plan->destination_binary ? plan->destination_binary : plan->source_binary;
	char image[MR_RECORDER_PATH], trace[MR_RECORDER_PATH], error[MR_RECORDER_LINE];
	const struct mr_qemu_options options = {
		.name = is_source ? "source" : "destination",
		.binary = is_source ? plan->source_binary : other,
		.machine = plan->machine,
		.accel = plan->accel,
		.memory_mib = plan->memory_mib,
		.backend = plan->backend,
		.vcpus = plan->vcpus,
		.image = image,
		.incoming = !is_source,
		.stopped = !is_source && plan->destination_paused,
		.arguments = is_source ? plan->source_arguments : plan->destination_arguments,
		.trace = trace,
		.seconds = seconds_left(record),
	};
	struct mr_qemu *qemu;

	mr_recorder_path(record, "guest.img", image);
	mr_recorder_path(record, is_source ? "src.trace" : "dst.trace", trace);
	if (mr_qemu_start(&qemu, &options, error, sizeof(error)) < 0) {
		mr_recorder_fail(record, MR_RECORDER_FAILED, "%s", error);
		return NULL;
	}
	snprintf(release, release_size, "%s", mr_qemu_release(qemu));
	return qemu;
}

static bool launch_both(struct mr_recorder *record)
{
	struct mr_recorder_result *result = record->result;

	record->source = launch(record, true, result->source_release, sizeof(result->source_release));
	if (!record->source || !set_up(record, record->source))
		return false;
	if (record->plan->to_file)
		return true;
	record->destination = launch(record, false, result->destination_release, sizeof(result->destination_release));
	return record->destination && set_up(record, record->destination);
}

/* ---- The tap ---- */

static void take_address(void *argument, const char *address)
{
	struct mr_recorder *record = argument;

	pthread_mutex_lock(&record->lock);
	record->listens = true;
	snprintf(record->address, sizeof(record->address), "%s", address);
	pthread_cond_broadcast(&record->changed);
	pthread_mutex_unlock(&record->lock);
}

static void take_complaint(void *argument, const char *line)
{
	struct mr_recorder *record = argument;

	pthread_mutex_lock(&record->lock);
	if (!record->complaint[0])
		snprintf(record->complaint, sizeof(record->complaint), "%s", line);
	pthread_mutex_unlock(&record->lock);
}

static void *run_tap(void *argument)
{
	struct mr_recorder *record = argument;

	mr_tap_run(&record->tap, &record->tap_result);
	pthread_mutex_lock(&record->lock);
	record->tap_ended = true;
	pthread_cond_broadcast(&record->changed);
	pthread_mutex_unlock(&record->lock);
	return NULL;
}

static bool await_tap(struct mr_recorder *record)
{
	struct timespec until;
	bool listens;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += TAP_BEGIN_SECONDS;
	pthread_mutex_lock(&record->lock);
	while (!record->listens && !record->tap_ended &&
	       pthread_cond_timedwait(&record->changed, &record->lock, &until) == 0)
		;
	listens = record->listens;
	pthread_mutex_unlock(&record->lock);
	if (!listens)
		mr_recorder_fail(record, MR_RECORDER_FAILED, "%s",
				 record->complaint[0] ? record->complaint : "the tap did not begin to listen");
	return listens;
}

static void name_socket(const struct mr_recorder *record, const char *name, char text[MR_RECORDER_PATH + 8])
{
	char path[MR_RECORDER_PATH];

	mr_recorder_path(record, name, path);
	snprintf(text, MR_RECORDER_PATH + 8, "unix:%s", path);
}

static bool make_addresses(struct mr_recorder *record)
{
	char error[MR_RECORDER_LINE];

	name_socket(record, "tap", record->listen_at);
	name_socket(record, "in", record->connect_to);
	name_socket(record, "again", record->again_to);
	if (record->plan->by_tcp)
		snprintf(record->listen_at, sizeof(record->listen_at), "tcp:127.0.0.1:0");
	if (mr_address_parse(&record->tap.listen, record->listen_at, true, error, sizeof(error)) == 0 &&
	    mr_address_parse(&record->tap.connect, record->connect_to, false, error, sizeof(error)) == 0)
		return true;
	mr_recorder_fail(record, MR_RECORDER_FAILED, "%s", error);
	return false;
}

static void set_cut(struct mr_recorder *record)
{
	const struct mr_recorder_plan *plan = record->plan;

	record->tap.cuts = plan->cuts && !plan->cut_since_switch;
	record->tap.cut_channel = plan->cut_channel;
	record->tap.cut_backward = plan->cut_backward;
	record->tap.cut_byte = plan->cut_byte;
}

static bool start_tap(struct mr_recorder *record)
{
	if (!make_addresses(record) || !mr_recorder_command(record, record->destination, "migrate-incoming",
							    json_pack("{s:s}", "uri", record->connect_to), NULL))
		return false;
	set_cut(record);
	record->tap.time_limit = record->tap.idle = 10 * record->plan->time_limit;
	record->tap.recording = record->tapped;
	record->tap.listening = take_address;
	record->tap.complain = take_complaint;
	record->tap.argument = record;
	record->tap.control = record->control = mr_tap_control_new();
	if (!record->control || pthread_create(&record->thread, NULL, run_tap, record) != 0) {
		mr_tap_control_free(record->control);
		record->control = NULL;
		mr_recorder_fail(record, MR_RECORDER_FAILED, "the tap gets no thread");
		return false;
	}
	return await_tap(record);
}

/* ---- All ---- */

static bool list_capabilities(struct mr_recorder *record)
{
	size_t size;
	FILE *out = open_memstream(&record->capabilities, &size);
	json_t *value;
	const char *name, *comma = "";

	if (out) {
		json_object_foreach(record->plan->capabilities, name, value)
		{
			if (!json_is_true(value))
				continue;
			fprintf(out, "%s%s", comma, name);
			comma = ",";
		}
	}
	if (out && fclose(out) == 0)
		return true;
	mr_recorder_fail(record, MR_RECORDER_FAILED, "no memory");
	return false;
}

static bool open_recording(struct mr_recorder *record)
{
	const struct mr_tapped_options options = {.directory = record->options->directory,
						  .capabilities = record->capabilities};
	char error[MR_RECORDER_LINE];

	if (mr_tapped_open(&record->tapped, &options, error, sizeof(error)) == 0)
		return true;
	mr_recorder_fail(record, MR_RECORDER_FAILED, "%s", error);
	return false;
}

bool mr_recorder_start(struct mr_recorder *record)
{
	char path[MR_RECORDER_PATH];

	if (!list_capabilities(record) || !open_recording(record) || !mr_recorder_make_image(record) ||
	    !launch_both(record))
		return false;
	if (!record->plan->to_file)
		return start_tap(record);
	mr_recorder_path(record, FILE_NAME, path);
	snprintf(record->address, sizeof(record->address), "file:%s", path);
	return true;
}

void mr_recorder_stop(struct mr_recorder *record)
{
	mr_qemu_stop(record->source);
	mr_qemu_stop(record->destination);
	record->source = record->destination = NULL;
	if (!record->control)
		return;
	mr_tap_end(record->control, TAP_END_SECONDS);
	pthread_join(record->thread, NULL);
	mr_tap_control_free(record->control);
	record->control = NULL;
}
