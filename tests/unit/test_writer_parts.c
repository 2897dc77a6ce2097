/* test_writer_parts.c: what a destination tells behind its step stands where a replay needs it in the log. */
#include "folder.h"
#include "machine_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim/record/log.h"
#include "sim/record/writer.h"

static char work[] = "/tmp/migref-parts-XXXXXX";
static char recording[sizeof(work) + 16];

static int make_work(void **state)
{
	(void)state;
	if (!mkdtemp(work))
		return -1;
	snprintf(recording, sizeof(recording), "%s/recording", work);
	return 0;
}

static int remove_work(void **state)
{
	(void)state;
	return folder_remove(work);
}

/* ---- A destination that tells of itself ---- */

static const struct mr_incoming_block blocks[] = {{.name = "mem", .used_length = 1 << 20}};

static struct {
	struct mr_incoming_config config;
	void *arena;
	struct mr_incoming *incoming;
	struct mr_writer *source, *writer;
} here;

static void open_writer(struct mr_writer **writer, enum mr_writer_part part)
{
	char error[512];

	if (mr_writer_open_part(writer, part, recording, error, sizeof(error)) < 0)
		fail_msg("%s", error);
}

static void begin(void)
{
	char reason[96] = "";
	size_t size;

	here.config = (struct mr_incoming_config){
		.target_page_size = 4096, .host_page_size = 4096, .blocks = blocks, .block_count = 1};
	mr_profile_init(&here.config.context.profile, "9.2");
	mr_profile_init(&here.config.profile, "9.2");
	here.config.context.capabilities_known = true;
	size = mr_incoming_size(&here.config, reason);
	if (!size)
		fail_msg("%s", reason);
	here.arena = calloc(1, size + 1);
	here.incoming = mr_incoming_init(here.arena, size, &here.config);
	assert_non_null(here.incoming);
	open_writer(&here.source, MR_WRITER_SOURCE);
	open_writer(&here.writer, MR_WRITER_DESTINATION);
}

static void tell(const struct mr_log_record *record, const struct mr_action *action)
{
	const struct mr_watch *watch = mr_writer_watch(here.writer);

	watch->destination(watch->argument, record, here.incoming, action);
}

static void tell_step(unsigned actor, bool asked)
{
	const struct mr_log_record record = {
		.kind = MR_LOG_STEP, .actor = actor, .channel = MR_INCOMING_CHANNELS_MAX, .count = 1};
	const struct mr_action action = {.kind = MR_ACTION_STATUS, .actor = actor, .asked = asked};

	tell(&record, &action);
}

static void tell_refusal(unsigned actor, int error)
{
	tell(
		&(struct mr_log_record){
			.kind = MR_LOG_ERROR, .actor = actor, .channel = MR_INCOMING_CHANNELS_MAX, .error = error},
		NULL);
}

static void tell_open(uint32_t channel)
{
	tell(&(struct mr_log_record){.kind = MR_LOG_OPEN, .channel = channel, .role = MR_ROLE_MAIN}, NULL);
}

static void tell_return(uint32_t channel, uint64_t offset, const char *bytes)
{
	const struct mr_watch *watch = mr_writer_watch(here.writer);

	watch->line(watch->argument, &(struct mr_line){.event = MR_LINE_BYTES,
						       .channel = channel,
						       .backward = true,
						       .offset = offset,
						       .length = strlen(bytes),
						       .head = {(const uint8_t *)bytes, strlen(bytes)}});
}

static void unpack(void)
{
	char command[sizeof(recording) + 40];

	snprintf(command, sizeof(command), "zstd -dq --rm %s/*.zst", recording);
	assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
}

/* Finishes the part; its log is to be these records. */
static void end(const struct mr_log_record *expected, size_t count)
{
	const struct mr_outgoing_config source = {.machine = ""};
	const struct mr_writer_end told = {.producer = "test", .source = &source, .destination = &here.config};
	char error[512], path[sizeof(recording) + 40];
	struct mr_log_header header;
	struct mr_log log;

	if (mr_writer_finish(here.writer, &told, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	unpack();
	snprintf(path, sizeof(path), "%s/nondeterminism.jsonl", recording);
	if (mr_log_read(&log, &header, path, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_int_equal(log.count, count);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(log.records[i].kind, expected[i].kind);
		assert_int_equal(log.records[i].actor, expected[i].actor);
		assert_int_equal(log.records[i].channel, expected[i].channel);
		assert_int_equal(log.records[i].count, expected[i].count);
		assert_int_equal(log.records[i].bytes, expected[i].bytes);
		assert_int_equal(log.records[i].error, expected[i].error);
	}
	mr_log_clear(&log);
	mr_log_header_clear(&header);
	mr_writer_free(here.writer);
	mr_writer_free(here.source);
	free(here.arena);
}

static void expect_file(const char *name, const char *content)
{
	char path[sizeof(recording) + 40], bytes[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", recording, name);
	file = fopen(path, "rb");
	assert_non_null(file);
	assert_int_equal(fread(bytes, 1, sizeof(bytes) - 1, file), strlen(content));
	assert_string_equal(bytes, content);
	fclose(file);
}

static int remove_recording(void **state)
{
	(void)state;
	return access(recording, F_OK) == 0 ? folder_remove(recording) : 0;
}

/* ---- Tests ---- */

#define STEPS(who, times)                                                                                              \
	{                                                                                                              \
		.kind = MR_LOG_STEP, .actor = (who), .count = (times)                                                  \
	}
#define REFUSAL(who, number)                                                                                           \
	{                                                                                                              \
		.kind = MR_LOG_ERROR, .actor = (who), .error = (number)                                                \
	}
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Others go on between a step and its refusal, which stands before it nevertheless. */
static void test_refusals(void **state)
{
	static const struct mr_log_record expected[] = {
		{.kind = MR_LOG_OPEN},     STEPS(MR_ACTOR_MAIN, 2),   REFUSAL(MR_ACTOR_LISTEN, 17),
		STEPS(MR_ACTOR_LISTEN, 1), STEPS(MR_ACTOR_MAIN, 3),   REFUSAL(MR_ACTOR_MAIN, 12),
		STEPS(MR_ACTOR_MAIN, 1),   STEPS(MR_ACTOR_LISTEN, 1),
	};

	(void)state;
	begin();
	tell_open(0);
	tell_step(MR_ACTOR_MAIN, false);
	tell_step(MR_ACTOR_MAIN, false);
	tell_step(MR_ACTOR_LISTEN, true);
	tell_step(MR_ACTOR_MAIN, false);
	tell_step(MR_ACTOR_MAIN, false);
	tell_refusal(MR_ACTOR_LISTEN, 17);
	tell_step(MR_ACTOR_MAIN, true);
	tell_step(MR_ACTOR_MAIN, true);
	tell_refusal(MR_ACTOR_MAIN, 12);
	tell_step(MR_ACTOR_LISTEN, true);
	end(expected, LENGTH(expected));
}

/* Several in one run of steps: each stands before its own, the first and the last step among them. */
static void test_many_refusals(void **state)
{
	static const struct mr_log_record expected[] = {
		{.kind = MR_LOG_OPEN},      REFUSAL(MR_ACTOR_FAULT, 5), STEPS(MR_ACTOR_FAULT, 3),
		REFUSAL(MR_ACTOR_FAULT, 6), STEPS(MR_ACTOR_FAULT, 1),   REFUSAL(MR_ACTOR_FAULT, 7),
		STEPS(MR_ACTOR_FAULT, 1),
	};

	(void)state;
	begin();
	tell_open(0);
	for (int i = 0; i < 5; i++) {
		tell_step(MR_ACTOR_FAULT, true);
		if (i == 0 || i >= 3)
			tell_refusal(MR_ACTOR_FAULT, i ? 3 + i : 5);
	}
	end(expected, LENGTH(expected));
}

/* How much a return path takes is known behind its opening, and its file has what went out. */
static void test_return_paths(void **state)
{
	static const struct mr_log_record expected[] = {
		{.kind = MR_LOG_OPEN},    {.kind = MR_LOG_RETURN_END, .bytes = 5},
		STEPS(MR_ACTOR_MAIN, 1),  {.kind = MR_LOG_OPEN, .channel = 1},
		STEPS(MR_ACTOR_FAULT, 1),
	};

	(void)state;
	begin();
	tell_open(0);
	tell_step(MR_ACTOR_MAIN, false);
	tell_return(0, 0, "one");
	tell_return(0, 3, "tw");
	tell(&(struct mr_log_record){.kind = MR_LOG_RETURN_END, .channel = 0, .bytes = 5}, NULL);
	tell_open(1);
	tell_return(1, 0, "three");
	tell_step(MR_ACTOR_FAULT, true);
	end(expected, LENGTH(expected));
	expect_file("ch0.ret", "onetw");
	expect_file("ch1.ret", "three");
}

/* The source's part alone is no recording, and says what is missing. */
static void test_missing_part(void **state)
{
	const struct mr_incoming_config destination = {0};
	const struct mr_outgoing_config source = {.machine = ""};
	const struct mr_writer_end told = {.producer = "test", .source = &source, .destination = &destination};
	struct mr_writer *writer;
	char error[512] = "", path[sizeof(recording) + 40];

	(void)state;
	open_writer(&writer, MR_WRITER_SOURCE);
	assert_int_equal(mr_writer_finish(writer, &told, error, sizeof(error)), -1);
	assert_non_null(strstr(error, "destination.json.part: No such file"));
	mr_writer_free(writer);
	snprintf(path, sizeof(path), "%s/manifest.json", recording);
	assert_int_equal(access(path, F_OK), -1);
	/* nor does the destination's go where no source has begun */
	assert_int_equal(folder_remove(recording), 0);
	assert_int_equal(mr_writer_open_part(&writer, MR_WRITER_DESTINATION, recording, error, sizeof(error)), -1);
	assert_non_null(strstr(error, "No such file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_refusals, remove_recording),
		cmocka_unit_test_teardown(test_many_refusals, remove_recording),
		cmocka_unit_test_teardown(test_return_paths, remove_recording),
		cmocka_unit_test_teardown(test_missing_part, remove_recording),
	};

	return cmocka_run_group_tests(tests, make_work, remove_work);
}
