/*
 * test_qemu_settings.c: the tables of capabilities, parameters and statuses against an installed QEMU, over its
 * monitor. Only releases whose rows were observed so are compared; without one of them the tests are skipped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "capabilities.h"
#include "status.h"

enum { NOT_INSTALLED = 127, ARGUMENTS_MAX = 16, EVENTS_MAX = 16, WAITS_MAX = 400, WAIT_US = 25000 };

static const char observed_release[] = "7.2";

/* A QEMU and its monitor. */
struct monitor {
	pid_t pid;
	FILE *to, *from;
	bool alive;
	unsigned event_count;
	char events[EVENTS_MAX][MR_STATUS_TEXT_MAX]; /* statuses of MIGRATION events */
};

static void keep_event(struct monitor *monitor, const json_t *message)
{
	const char *name = json_string_value(json_object_get(message, "event"));
	const char *status = json_string_value(json_object_get(json_object_get(message, "data"), "status"));

	if (!name || strcmp(name, "MIGRATION") != 0 || !status || monitor->event_count == EVENTS_MAX)
		return;
	snprintf(monitor->events[monitor->event_count++], MR_STATUS_TEXT_MAX, "%s", status);
}

/* The next message that is no event; NULL if QEMU has ended. */
static json_t *receive(struct monitor *monitor)
{
	char line[65536];

	while (fgets(line, sizeof(line), monitor->from)) {
		json_t *message = json_loads(line, 0, NULL);

		assert_non_null(message);
		if (!json_object_get(message, "event"))
			return message;
		keep_event(monitor, message);
		json_decref(message);
	}
	monitor->alive = false;
	return NULL;
}

/* What QEMU returns; NULL if it refuses. Takes the arguments over, which may be NULL. */
static json_t *ask(struct monitor *monitor, const char *command, json_t *arguments)
{
	json_t *message = json_pack("{s:s, s:o*}", "execute", command, "arguments", arguments);
	char *text = json_dumps(message, JSON_COMPACT);
	json_t *reply, *result;

	assert_non_null(text);
	fprintf(monitor->to, "%s\n", text);
	fflush(monitor->to);
	free(text);
	json_decref(message);
	reply = receive(monitor);
	result = json_incref(json_object_get(reply, "return"));
	json_decref(reply);
	return result;
}

/* True if QEMU takes the command. */
static bool order(struct monitor *monitor, const char *command, json_t *arguments)
{
	json_t *result = ask(monitor, command, arguments);
	const bool taken = result;

	json_decref(result);
	return taken;
}

static void run_qemu(const char *const *more, int input, int output)
{
	const char *arguments[ARGUMENTS_MAX] = {
		"qemu-system-x86_64", "-nodefaults", "-display", "none", "-qmp", "stdio"};
	size_t count = 6;

	while (*more && count < ARGUMENTS_MAX - 1)
		arguments[count++] = *more++;
	dup2(input, STDIN_FILENO);
	dup2(output, STDOUT_FILENO);
	if (!freopen("/dev/null", "w", stderr))
		_exit(NOT_INSTALLED);
	execvp(arguments[0], (char *const *)(uintptr_t)arguments);
	_exit(NOT_INSTALLED);
}

static void stop(struct monitor *monitor)
{
	kill(monitor->pid, SIGKILL);
	waitpid(monitor->pid, NULL, 0);
	fclose(monitor->to);
	fclose(monitor->from);
}

static bool start(struct monitor *monitor, const char *const *arguments)
{
	int to[2], from[2];
	json_t *greeting;

	memset(monitor, 0, sizeof(*monitor));
	fflush(NULL);
	assert_int_equal(pipe(to), 0);
	assert_int_equal(pipe(from), 0);
	monitor->pid = fork();
	assert_true(monitor->pid >= 0);
	if (monitor->pid == 0) {
		close(to[1]);
		close(from[0]);
		run_qemu(arguments, to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	monitor->to = fdopen(to[1], "w");
	monitor->from = fdopen(from[0], "r");
	assert_true(monitor->to && monitor->from);
	monitor->alive = true;
	greeting = receive(monitor);
	json_decref(greeting);
	if (greeting && order(monitor, "qmp_capabilities", NULL))
		return true;
	stop(monitor);
	return false;
}

/* Starts a QEMU of the release that the tables were observed with, or skips the test. */
static struct mr_profile start_or_skip(struct monitor *monitor, const char *const *arguments)
{
	struct mr_profile profile;
	json_t *reply, *version;
	char release[64];
	bool known;

	signal(SIGPIPE, SIG_IGN);
	if (!start(monitor, arguments))
		skip();
	reply = ask(monitor, "query-version", NULL);
	version = json_object_get(reply, "qemu");
	snprintf(release, sizeof(release), "%lld.%lld.%lld", json_integer_value(json_object_get(version, "major")),
		 json_integer_value(json_object_get(version, "minor")),
		 json_integer_value(json_object_get(version, "micro")));
	json_decref(reply);
	known = mr_profile_init(&profile, release) == 0 && strcmp(profile.release, observed_release) == 0;
	if (!known) {
		stop(monitor);
		skip();
	}
	return profile;
}

static const char *const source[] = {"-machine", "none", NULL};
static const char *const destination[] = {"-machine", "none", "-incoming", "defer", NULL};
static const char *const listening[] = {"-machine", "none", "-incoming", "tcp:127.0.0.1:0", NULL};

/* ---- Capabilities ---- */

static bool set_capabilities(struct monitor *monitor, uint64_t set, bool on)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < mr_capability_count(); i++)
		if (set >> i & 1)
			json_array_append_new(
				list, json_pack("{s:s, s:b}", "capability", mr_capability_name(i), "state", on));
	return order(monitor, "migrate-set-capabilities", json_pack("{s:o}", "capabilities", list));
}

/* The capabilities that QEMU has; those it has and the table does not fail the test. */
static uint64_t query_capabilities(struct monitor *monitor)
{
	json_t *list = ask(monitor, "query-migrate-capabilities", NULL), *entry;
	uint64_t set = 0;
	size_t i;

	json_array_foreach(list, i, entry)
	{
		const char *name = json_string_value(json_object_get(entry, "capability"));

		assert_int_not_equal(mr_capability_bit(name), 0);
		set |= mr_capability_bit(name);
	}
	json_decref(list);
	return set;
}

static void check_pairs(const struct mr_profile *profile, struct monitor *monitor)
{
	const uint64_t all = query_capabilities(monitor);

	for (unsigned i = 0; i < mr_capability_count(); i++) {
		const bool exists = all >> i & 1;

		assert_int_equal(
			mr_capabilities_check(profile, &(struct mr_capability_settings){.on = UINT64_C(1) << i}, NULL),
			exists && set_capabilities(monitor, UINT64_C(1) << i, true));
		assert_true(set_capabilities(monitor, all, false));
		for (unsigned other = 0; other < i && exists; other++) {
			const struct mr_capability_settings pair = {.on = UINT64_C(1) << i | UINT64_C(1) << other};
			const bool taken = set_capabilities(monitor, pair.on, true);

			if (taken != mr_capabilities_check(profile, &pair, NULL))
				fail_msg("%s with %s: QEMU %s", mr_capability_name(i), mr_capability_name(other),
					 taken ? "takes them" : "refuses");
			assert_true(set_capabilities(monitor, all, false));
		}
	}
}

/* keeps CAP-001 CAP-002 CAP-003, breaks CAP-001 CAP-002 CAP-003: every pair, on both sides */
static void every_pair(void **state)
{
	const char *const *const sides[] = {source, destination};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct monitor monitor;
		const struct mr_profile profile = start_or_skip(&monitor, sides[i]);

		check_pairs(&profile, &monitor);
		stop(&monitor);
	}
}

static void while_it_listens(void **state)
{
	struct monitor monitor;
	const struct mr_profile profile = start_or_skip(&monitor, listening);

	(void)state;
	for (unsigned i = 0; i < mr_capability_count(); i++) {
		struct mr_capability_settings settings = {.on = 0};
		const struct mr_capability_change change = {MR_CAPABILITY_LISTENING, UINT64_C(1) << i, UINT64_MAX};

		assert_int_equal(mr_capabilities_change(&profile, &settings, &change, NULL),
				 set_capabilities(&monitor, change.named, true));
		set_capabilities(&monitor, change.named, false);
	}
	stop(&monitor);
}

/* ---- Parameters ---- */

/* The value as JSON; takes nothing over. */
static json_t *json_of(const struct mr_parameter *parameter)
{
	switch (parameter->kind) {
	case MR_PARAMETER_NUMBER:
		return json_integer(parameter->negative ? -(json_int_t)parameter->number
							: (json_int_t)parameter->number);
	case MR_PARAMETER_SWITCH:
		return json_boolean(parameter->number);
	default:
		return json_string(parameter->text);
	}
}

static void compare_parameter(const struct mr_profile *profile, struct monitor *monitor,
			      const struct mr_parameter *parameter)
{
	const bool expected = mr_parameters_check(profile, parameter, 1, 0, NULL);

	if (order(monitor, "migrate-set-parameters", json_pack("{s:o}", parameter->name, json_of(parameter))) !=
	    expected)
		fail_msg("%s %s%llu %s: QEMU %s", parameter->name, parameter->negative ? "-" : "",
			 (unsigned long long)parameter->number, parameter->text ? parameter->text : "",
			 expected ? "refuses" : "takes it");
}

static void compare_numbers(const struct mr_profile *profile, struct monitor *monitor, const char *name,
			    const struct mr_parameter_row *row)
{
	const uint64_t numbers[] = {
		0, 1, 2, 4095, 4096, 5000, 8192, row->least - 1, row->least, row->most, row->most + 1};
	struct mr_parameter parameter = {.name = name, .kind = MR_PARAMETER_NUMBER};

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		parameter.number = numbers[i];
		if (parameter.number <= INT64_MAX)
			compare_parameter(profile, monitor, &parameter);
		/* what others are compared with is the default */
		parameter.number = strtoull(row->value, NULL, 10);
		compare_parameter(profile, monitor, &parameter);
	}
	parameter.negative = true;
	parameter.number = 1;
	compare_parameter(profile, monitor, &parameter);
	parameter.negative = false;
	parameter.number = strtoull(row->value, NULL, 10);
	compare_parameter(profile, monitor, &parameter);
}

static void compare_texts(const struct mr_profile *profile, struct monitor *monitor, const char *name,
			  const struct mr_parameter_row *row)
{
	static const char *const texts[] = {"none", "zlib", "zstd", "qpl", "legacy", "no-such-thing", "7", ""};
	struct mr_parameter parameter = {.name = name, .kind = MR_PARAMETER_TEXT};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		parameter.text = texts[i];
		compare_parameter(profile, monitor, &parameter);
	}
	parameter.text = row->value;
	if (row->kind != MR_PARAMETER_SWITCH)
		compare_parameter(profile, monitor, &parameter);
}

static void check_default(const struct mr_parameter_row *row, const json_t *value)
{
	char text[64];

	if (json_is_string(value))
		snprintf(text, sizeof(text), "%.60s", json_string_value(value));
	else if (json_is_boolean(value))
		snprintf(text, sizeof(text), "%s", json_is_true(value) ? "true" : "false");
	else
		snprintf(text, sizeof(text), "%lld", json_integer_value(value));
	assert_string_equal(text, row->value);
}

/* keeps CAP-006 CAP-007, breaks CAP-006 CAP-007: every parameter with its default, at the borders and beyond */
static void every_parameter(void **state)
{
	struct monitor monitor;
	const struct mr_profile profile = start_or_skip(&monitor, source);
	json_t *all = ask(&monitor, "query-migrate-parameters", NULL), *value;
	const char *name;

	(void)state;
	assert_non_null(all);
	json_object_foreach(all, name, value)
	{
		const struct mr_parameter_row *row = mr_parameter_find(&profile, name);

		if (!row)
			fail_msg("%s is no row of the table", name);
		check_default(row, value);
		if (row->kind == MR_PARAMETER_NUMBER || row->kind == MR_PARAMETER_SIZE)
			compare_numbers(&profile, &monitor, name, row);
		else
			compare_texts(&profile, &monitor, name, row);
	}
	json_decref(all);
	stop(&monitor);
}

/* ---- Status ---- */

static json_t *uri_of(const char *uri)
{
	return json_pack("{s:s}", "uri", uri);
}

static bool has_status(struct monitor *monitor, const char *wanted)
{
	json_t *reply = ask(monitor, "query-migrate", NULL);
	const char *status = json_string_value(json_object_get(reply, "status"));
	const bool has = status && strcmp(status, wanted) == 0;

	json_decref(reply);
	return has;
}

static void wait_for(struct monitor *monitor, const char *status)
{
	for (unsigned i = 0; i < WAITS_MAX && monitor->alive && !has_status(monitor, status); i++)
		usleep(WAIT_US);
	assert_true(has_status(monitor, status));
}

static void check_events(const struct monitor *monitor, const struct mr_profile *profile, enum mr_side side,
			 const char *first)
{
	const char *from = first;

	for (unsigned i = 0; i < monitor->event_count; from = monitor->events[i++])
		if (!mr_status_may_change(profile, side, from, monitor->events[i]))
			fail_msg("%s to %s is no row of the table", from, monitor->events[i]);
}

/* keeps STA-003: events of a source that has the capability; and one of a destination that listens, without it */
static void events_of_a_migration(void **state)
{
	char folder[] = "/tmp/migref-XXXXXX", uri[64];
	struct monitor from, to;
	const struct mr_profile profile = start_or_skip(&from, source);

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(uri, sizeof(uri), "unix:%s/socket", folder);
	assert_true(start(&to, destination));
	assert_true(set_capabilities(&from, mr_capability_bit("events"), true));
	assert_true(order(&to, "migrate-incoming", uri_of(uri)));
	assert_true(order(&from, "migrate", uri_of(uri)));
	wait_for(&from, "completed");
	wait_for(&to, "completed");
	check_events(&from, &profile, MR_SIDE_SOURCE, "none");
	assert_int_equal(from.event_count, 3);
	assert_int_equal(to.event_count, mr_status_shows_listening(&profile));
	if (to.event_count)
		assert_string_equal(to.events[0], "setup");
	stop(&from);
	stop(&to);
	unlink(uri + strlen("unix:"));
	rmdir(folder);
}

/* A connection that cannot be made fails the migration, and another one may follow. */
static void a_failure_and_another(void **state)
{
	struct monitor monitor;
	const struct mr_profile profile = start_or_skip(&monitor, source);

	(void)state;
	assert_true(set_capabilities(&monitor, mr_capability_bit("events"), true));
	for (unsigned i = 0; i < 2; i++) {
		assert_true(order(&monitor, "migrate", uri_of("unix:/no/such/socket")));
		wait_for(&monitor, "failed");
	}
	check_events(&monitor, &profile, MR_SIDE_SOURCE, "none");
	assert_int_equal(monitor.event_count, 4);
	stop(&monitor);
}

/* keeps CAP-008: a blocked migration is refused at its start, without a status or an event */
static void a_blocked_migration(void **state)
{
	static const char *const blocked[] = {
		"-S", "-object", "memory-backend-ram,id=m,size=1M,share=on", "-device", "ivshmem-plain,memdev=m", NULL};
	struct monitor monitor;
	json_t *reply;

	(void)state;
	(void)start_or_skip(&monitor, blocked);
	assert_true(set_capabilities(&monitor, mr_capability_bit("events"), true));
	assert_false(order(&monitor, "migrate", uri_of("unix:/no/such/socket")));
	reply = ask(&monitor, "query-migrate", NULL);
	assert_null(json_object_get(reply, "status"));
	assert_int_equal(json_array_size(json_object_get(reply, "blocked-reasons")), 1);
	assert_int_equal(monitor.event_count, 0);
	json_decref(reply);
	stop(&monitor);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_pair),
		cmocka_unit_test(while_it_listens),
		cmocka_unit_test(every_parameter),
		cmocka_unit_test(events_of_a_migration),
		cmocka_unit_test(a_failure_and_another),
		cmocka_unit_test(a_blocked_migration),
	};

	return cmocka_run_group_tests_name("settings of QEMU", tests, NULL, NULL);
}
