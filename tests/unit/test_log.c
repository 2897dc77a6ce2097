/* The nondeterminism log: what is written is read back, and nothing else is read at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "random.h"
#include "scratch_file.h"
#include "watched.h"
#include "sim/record/actions.h"
#include "sim/record/log.h"

enum { RANDOM_LOGS = 300, RANDOM_BLOCKS = 8, RANDOM_RECORDS = 60, ERROR_SIZE = 512 };

/* The text of a log; NULL if it was not written. The caller frees it. */
static char *log_text(const struct mr_log *log, const struct mr_incoming_config *config, size_t *size)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, size);
	int result;

	assert_non_null(out);
	result = mr_log_write(log, config, out);
	assert_int_equal(fclose(out), 0);
	if (result < 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* ---- A small log ---- */

static const struct mr_incoming_block small_blocks[] = {
	{.name = "mem", .used_length = 16 << 20, .rank = 1},
	{.name = "/rom@etc/\xe9", .used_length = 4096, .max_length = 8192, .page_size = 4096, .not_zeroable = true},
};

static const struct mr_log_record small_records[] = {
	{.kind = MR_LOG_OPEN, .role = MR_ROLE_MAIN},
	{.kind = MR_LOG_STEP, .actor = MR_ACTOR_MAIN, .count = 412},
	{.kind = MR_LOG_STEP, .actor = MR_ACTOR_MULTIFD + 12, .count = 1},
	{.kind = MR_LOG_WAIT, .actor = MR_ACTOR_LISTEN},
	{.kind = MR_LOG_SHORT, .actor = MR_ACTOR_LISTEN, .channel = 3, .bytes = 98304},
	{.kind = MR_LOG_FAULT, .block = 1, .offset = 4096, .thread = 26462},
	{.kind = MR_LOG_ERROR, .actor = MR_ACTOR_LISTEN, .error = 12},
	{.kind = MR_LOG_END, .bytes = 3112669, .error = 5},
	{.kind = MR_LOG_RETURN_END, .channel = 511, .bytes = 1196},
	{.kind = MR_LOG_VCPU, .count = 1, .thread = 26462},
	{.kind = MR_LOG_TIME, .count = 7865181007311},
};

#define SMALL_HEADER                                                                                                   \
	"{\"log\":1,\"source\":\"7.2\",\"destination\":\"9.2\",\"machine\":\"pc-i440fx-7.2\",\"strict\":true,"         \
	"\"capabilities_known\":true,\"capabilities\":[\"postcopy-ram\",\"multifd\"],\"stream_page_size\":0,"          \
	"\"multifd_channels\":2,\"multifd_method\":\"zlib\",\"no_configuration\":false,\"no_footer\":false,"           \
	"\"uuid\":\"\",\"target_page_size\":4096,\"host_page_size\":4096,\"memory_locked\":false,"                     \
	"\"start_paused\":true,\"package_max\":0,\"connections_max\":0,\"vcpus\":2,"                                   \
	"\"open_faults_max\":9,\"blocks\":["                                                                           \
	"{\"name\":\"mem\",\"used_length\":16777216,\"max_length\":0,\"page_size\":0,\"rank\":1,"                      \
	"\"ignored\":false,\"not_zeroable\":false},"                                                                   \
	"{\"name\":\"/rom@etc/\\u00e9\",\"used_length\":4096,\"max_length\":8192,\"page_size\":4096,\"rank\":0,"       \
	"\"ignored\":false,\"not_zeroable\":true}]}\n"

static const char small_text[] = SMALL_HEADER "{\"open\":0,\"role\":\"main\"}\n"
					      "{\"step\":\"main\",\"count\":412}\n"
					      "{\"step\":\"multifd12\",\"count\":1}\n"
					      "{\"wait\":\"listen\"}\n"
					      "{\"short\":\"listen\",\"channel\":3,\"bytes\":98304}\n"
					      "{\"fault\":\"/rom@etc/\\u00e9\",\"offset\":4096,\"thread\":26462}\n"
					      "{\"error\":\"listen\",\"errno\":12}\n"
					      "{\"end\":0,\"bytes\":3112669,\"error\":5}\n"
					      "{\"return-end\":511,\"bytes\":1196}\n"
					      "{\"vcpu\":1,\"thread\":26462}\n"
					      "{\"time\":7865181007311}\n";

static struct mr_incoming_config small_config(void)
{
	struct mr_incoming_config config = {.strict = true,
					    .target_page_size = 4096,
					    .host_page_size = 4096,
					    .start_paused = true,
					    .blocktime = true,
					    .vcpu_count = 2,
					    .open_faults_max = 9,
					    .blocks = small_blocks,
					    .block_count = 2};

	mr_profile_init(&config.context.profile, "7.2.22");
	mr_profile_init(&config.profile, "9.2.4");
	snprintf(config.context.machine, sizeof(config.context.machine), "pc-i440fx-7.2");
	mr_profile_apply_machine(&config.context.profile, config.context.machine);
	mr_profile_apply_machine(&config.profile, config.context.machine);
	config.context.capabilities_known = true;
	config.context.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_MULTIFD;
	config.context.multifd_channels = 2;
	config.context.multifd_method = MR_MULTIFD_FLAG_ZLIB;
	return config;
}

static void append_small(struct mr_log *log)
{
	for (size_t i = 0; i < sizeof(small_records) / sizeof(small_records[0]); i++)
		assert_int_equal(mr_log_append(log, &small_records[i]), 0);
}

static void test_text(void **state)
{
	const struct mr_incoming_config config = small_config();
	struct mr_log log = {0};
	size_t size;
	char *text;

	(void)state;
	append_small(&log);
	text = log_text(&log, &config, &size);
	assert_non_null(text);
	assert_string_equal(text, small_text);
	free(text);
	mr_log_clear(&log);
	assert_null(log.records);
}

/* ---- Round trip ---- */

static void expect_profile(const struct mr_profile *found, const struct mr_profile *expected)
{
	assert_int_equal(found->known, expected->known);
	assert_string_equal(found->release, expected->release);
	assert_memory_equal(found->on, expected->on, sizeof(found->on));
}

static void expect_block(const struct mr_incoming_block *found, const struct mr_incoming_block *expected)
{
	assert_string_equal(found->name, expected->name);
	assert_int_equal(found->used_length, expected->used_length);
	assert_int_equal(found->max_length, expected->max_length);
	assert_int_equal(found->page_size, expected->page_size);
	assert_int_equal(found->rank, expected->rank);
	assert_int_equal(found->ignored, expected->ignored);
	assert_int_equal(found->not_zeroable, expected->not_zeroable);
}

static void expect_config(const struct mr_incoming_config *found, const struct mr_incoming_config *expected)
{
	const struct mr_context *a = &found->context, *b = &expected->context;

	expect_profile(&a->profile, &b->profile);
	expect_profile(&found->profile, &expected->profile);
	assert_string_equal(a->machine, b->machine);
	assert_int_equal(a->capabilities_known, b->capabilities_known);
	assert_int_equal(a->capabilities, b->capabilities);
	assert_int_equal(a->target_page_size, b->target_page_size);
	assert_int_equal(a->multifd_channels, b->multifd_channels);
	assert_int_equal(a->multifd_method, b->multifd_method);
	assert_int_equal(a->no_configuration, b->no_configuration);
	assert_int_equal(a->no_footer, b->no_footer);
	assert_int_equal(a->uuid_known, b->uuid_known);
	assert_memory_equal(a->uuid, b->uuid, sizeof(a->uuid));
	assert_null(a->description);
	assert_int_equal(found->strict, expected->strict);
	assert_int_equal(found->target_page_size, expected->target_page_size);
	assert_int_equal(found->host_page_size, expected->host_page_size);
	assert_int_equal(found->memory_locked, expected->memory_locked);
	assert_int_equal(found->start_paused, expected->start_paused);
	assert_int_equal(found->shared_clients, expected->shared_clients);
	assert_int_equal(found->package_max, expected->package_max);
	assert_int_equal(found->connections_max, expected->connections_max);
	assert_int_equal(found->blocktime, expected->blocktime);
	if (found->blocktime) {
		assert_int_equal(found->vcpu_count, expected->vcpu_count);
		assert_int_equal(found->open_faults_max, expected->open_faults_max);
	}
	assert_int_equal(found->block_count, expected->block_count);
	for (uint32_t i = 0; i < found->block_count; i++)
		expect_block(&found->blocks[i], &expected->blocks[i]);
}

static void expect_log(const struct mr_log *found, const struct mr_log *expected)
{
	assert_int_equal(found->count, expected->count);
	for (size_t i = 0; i < found->count; i++) {
		const struct mr_log_record *a = &found->records[i], *b = &expected->records[i];

		assert_int_equal(a->kind, b->kind);
		assert_int_equal(a->actor, b->actor);
		assert_int_equal(a->channel, b->channel);
		assert_int_equal(a->block, b->block);
		assert_int_equal(a->role, b->role);
		assert_int_equal(a->error, b->error);
		assert_int_equal(a->count, b->count);
		assert_int_equal(a->offset, b->offset);
		assert_int_equal(a->thread, b->thread);
		assert_int_equal(a->bytes, b->bytes);
	}
}

/* Writes, reads, compares, and writes again. */
static void round_trip(const struct mr_log *log, const struct mr_incoming_config *config)
{
	struct mr_log_header header;
	struct mr_log read;
	char error[ERROR_SIZE] = "";
	size_t size, again_size;
	char *text = log_text(log, config, &size), *again;

	assert_non_null(text);
	write_file(text, size);
	if (mr_log_read(&read, &header, path, error, sizeof(error)) < 0)
		fail_msg("%s\n%s", error, text);
	expect_config(&header.config, config);
	expect_log(&read, log);
	again = log_text(&read, &header.config, &again_size);
	assert_non_null(again);
	assert_string_equal(again, text);
	mr_log_clear(&read);
	mr_log_header_clear(&header);
	assert_null(header.blocks);
	free(again);
	free(text);
}

static uint64_t random_number(struct random *random)
{
	return random_next(random) >> (1 + random_below(random, 63));
}

static void random_context(struct random *random, struct mr_incoming_config *config)
{
	static const char *const releases[] = {"", "2.5", "4.1", "7.2.22", "9.2.0", "11.1"};
	static const char *const machines[] = {"", "pc-i440fx-7.2", "q35", "virt-9.2\xff\"\\"};
	struct mr_context *context = &config->context;

	snprintf(context->machine, sizeof(context->machine), "%s", machines[random_below(random, 4)]);
	mr_profile_init(&context->profile, releases[random_below(random, 6)]);
	mr_profile_init(&config->profile, releases[random_below(random, 6)]);
	mr_profile_apply_machine(&context->profile, context->machine);
	mr_profile_apply_machine(&config->profile, context->machine);
	context->capabilities_known = random_below(random, 2);
	context->capabilities = (uint32_t)random_below(random, MR_CAPABILITY_RDMA << 1);
	context->target_page_size = (uint32_t)random_number(random);
	context->multifd_channels = (uint32_t)random_number(random);
	context->multifd_method = MR_METHOD_UNKNOWN;
	if (random_below(random, 2))
		context->multifd_method = mr_multifd_method_at((size_t)random_below(random, 3))->flag;
	context->no_configuration = random_below(random, 2);
	context->no_footer = random_below(random, 2);
	context->uuid_known = random_below(random, 2);
	if (context->uuid_known)
		random_fill(random, context->uuid, sizeof(context->uuid));
}

/* Names differ by their last byte. */
static void random_block(struct random *random, struct mr_incoming_block *block, char name[MR_NAME_MAX + 1],
			 unsigned number)
{
	const size_t length = 1 + (size_t)random_below(random, MR_NAME_MAX);

	for (size_t i = 0; i + 1 < length; i++)
		name[i] = (char)(1 + random_below(random, 255));
	name[length - 1] = (char)('0' + number);
	name[length] = '\0';
	*block = (struct mr_incoming_block){.name = name,
					    .used_length = random_number(random),
					    .max_length = random_number(random),
					    .page_size = random_number(random),
					    .rank = (uint32_t)random_number(random),
					    .ignored = random_below(random, 2),
					    .not_zeroable = random_below(random, 2)};
}

static void random_config(struct random *random, struct mr_incoming_config *config,
			  struct mr_incoming_block list[RANDOM_BLOCKS], char names[RANDOM_BLOCKS][MR_NAME_MAX + 1])
{
	*config = (struct mr_incoming_config){.strict = random_below(random, 2),
					      .target_page_size = (uint32_t)random_number(random),
					      .host_page_size = (uint32_t)random_number(random),
					      .memory_locked = random_below(random, 2),
					      .start_paused = random_below(random, 2),
					      .blocks = list,
					      .block_count = (uint32_t)random_below(random, RANDOM_BLOCKS + 1),
					      .package_max = (size_t)random_number(random),
					      .connections_max = (uint32_t)random_number(random),
					      .blocktime = random_below(random, 2),
					      .vcpu_count = (uint32_t)random_below(random, MR_INCOMING_VCPUS_MAX + 1),
					      .open_faults_max = (uint32_t)random_number(random)};
	random_context(random, config);
	for (unsigned i = 0; i < config->block_count; i++)
		random_block(random, &list[i], names[i], i);
}

static struct mr_log_record random_record(struct random *random, uint32_t block_count, uint32_t vcpu_count)
{
	const uint32_t channel = (uint32_t)random_below(random, MR_INCOMING_CHANNELS_MAX);
	const unsigned actor = (unsigned)random_below(random, random_below(random, 2) ? 4 : MR_ACTOR_COUNT);
	const uint64_t number = random_number(random);

	switch (random_below(random, block_count ? 10 : 9)) {
	case 0:
		return (struct mr_log_record){.kind = MR_LOG_OPEN,
					      .channel = channel,
					      .role = (enum mr_role)random_below(random, MR_ROLE_RETURN)};
	case 1:
		return (struct mr_log_record){.kind = MR_LOG_STEP, .actor = actor, .count = number ? number : 1};
	case 2:
		return (struct mr_log_record){.kind = MR_LOG_END,
					      .channel = channel,
					      .bytes = number,
					      .error = (int)random_below(random, MR_LOG_ERRNO_MAX + 1)};
	case 3:
		return (struct mr_log_record){
			.kind = MR_LOG_ERROR, .actor = actor, .error = 1 + (int)random_below(random, MR_LOG_ERRNO_MAX)};
	case 4:
		return (struct mr_log_record){.kind = MR_LOG_RETURN_END, .channel = channel, .bytes = number};
	case 5:
		return (struct mr_log_record){.kind = MR_LOG_WAIT, .actor = actor};
	case 6:
		return (struct mr_log_record){.kind = MR_LOG_TIME, .count = number};
	case 7:
		return (struct mr_log_record){
			.kind = MR_LOG_SHORT, .actor = actor, .channel = channel, .bytes = number};
	case 8:
		if (vcpu_count == 0)
			return (struct mr_log_record){.kind = MR_LOG_TIME};
		return (struct mr_log_record){
			.kind = MR_LOG_VCPU, .count = random_below(random, vcpu_count), .thread = number};
	default:
		return (struct mr_log_record){.kind = MR_LOG_FAULT,
					      .block = (uint32_t)random_below(random, block_count),
					      .offset = number,
					      .thread = random_number(random)};
	}
}

static void test_round_trip(void **state)
{
	struct random random = {.state = 1};
	struct mr_incoming_block list[RANDOM_BLOCKS];
	char names[RANDOM_BLOCKS][MR_NAME_MAX + 1];
	struct mr_incoming_config config = small_config();
	struct mr_log log = {0};

	(void)state;
	round_trip(&log, &config);
	append_small(&log);
	round_trip(&log, &config);
	mr_log_clear(&log);
	for (unsigned i = 0; i < RANDOM_LOGS / (RUNNING_ON_VALGRIND ? 12 : 1); i++) {
		const uint64_t count = random_below(&random, RANDOM_RECORDS);

		random_config(&random, &config, list, names);
		for (uint64_t n = 0; n < count; n++) {
			const struct mr_log_record record =
				random_record(&random, config.block_count, config.blocktime ? config.vcpu_count : 0);

			assert_int_equal(mr_log_append(&log, &record), 0);
		}
		round_trip(&log, &config);
		mr_log_clear(&log);
	}
}

/* A guest may have as many blocks as the limit says, with the longest names. */
static void test_many_blocks(void **state)
{
	struct mr_incoming_config config = small_config();
	struct mr_incoming_block *list = calloc(MR_BLOCKS_MAX + 1, sizeof(*list));
	char(*names)[MR_NAME_MAX + 1] = calloc(MR_BLOCKS_MAX + 1, sizeof(*names));
	struct mr_log log = {0};
	size_t size;

	(void)state;
	assert_non_null(list);
	assert_non_null(names);
	for (int i = 0; i <= MR_BLOCKS_MAX; i++) {
		memset(names[i], 1, MR_NAME_MAX);
		names[i][MR_NAME_MAX - 2] = (char)(1 + i % 128);
		names[i][MR_NAME_MAX - 1] = (char)(1 + i / 128);
		list[i] = (struct mr_incoming_block){.name = names[i], .used_length = INT64_MAX};
	}
	config.blocks = list;
	config.block_count = MR_BLOCKS_MAX;
	round_trip(&log, &config);
	config.block_count++;
	assert_null(log_text(&log, &config, &size));
	free(names);
	free(list);
}

static void test_steps_are_added(void **state)
{
	struct mr_log_record record = {.kind = MR_LOG_STEP, .actor = MR_ACTOR_LISTEN, .count = 3};
	struct mr_log log = {0};

	(void)state;
	assert_int_equal(mr_log_append(&log, &record), 0);
	assert_int_equal(mr_log_append(&log, &record), 0);
	assert_int_equal(log.count, 1);
	assert_int_equal(log.records[0].count, 6);
	record.actor = MR_ACTOR_MAIN;
	assert_int_equal(mr_log_append(&log, &record), 0);
	record.actor = MR_ACTOR_LISTEN;
	record.count = INT64_MAX;
	assert_int_equal(mr_log_append(&log, &record), 0);
	record.count = 1;
	assert_int_equal(mr_log_append(&log, &record), 0);
	assert_int_equal(log.count, 4);
	mr_log_clear(&log);
}

/* ---- What is not written ---- */

static void expect_unwritten(const struct mr_log_record *record, const struct mr_incoming_config *config)
{
	struct mr_log log = {0};
	size_t size;

	if (record)
		assert_int_equal(mr_log_append(&log, record), 0);
	assert_null(log_text(&log, config, &size));
	mr_log_clear(&log);
}

static void test_unwritten(void **state)
{
	static const struct mr_log_record records[] = {
		{.kind = MR_LOG_OPEN, .channel = MR_INCOMING_CHANNELS_MAX},
		{.kind = MR_LOG_OPEN, .role = MR_ROLE_RETURN},
		{.kind = MR_LOG_STEP, .actor = MR_ACTOR_COUNT, .count = 1},
		{.kind = MR_LOG_STEP},
		{.kind = MR_LOG_WAIT, .actor = MR_ACTOR_COUNT},
		{.kind = MR_LOG_FAULT, .block = 2},
		{.kind = MR_LOG_FAULT, .thread = UINT64_MAX},
		{.kind = MR_LOG_END, .error = -1},
		{.kind = MR_LOG_END, .bytes = UINT64_MAX},
		{.kind = MR_LOG_ERROR},
		{.kind = MR_LOG_RETURN_END, .channel = UINT32_MAX},
		{.kind = MR_LOG_VCPU, .count = 2, .thread = 1},
		{.kind = MR_LOG_VCPU, .thread = UINT64_MAX},
		{.kind = MR_LOG_TIME, .count = UINT64_MAX},
		{.kind = (enum mr_log_kind)99},
	};
	struct mr_incoming_config config = small_config();

	(void)state;
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
		expect_unwritten(&records[i], &config);
	config.profile.on[0] = !config.profile.on[0];
	expect_unwritten(NULL, &config);
	config = small_config();
	config.context.capabilities |= UINT32_C(1) << 31;
	expect_unwritten(NULL, &config);
	config = small_config();
	config.context.multifd_method = 0x3e;
	expect_unwritten(NULL, &config);
	config = small_config();
	config.vcpu_count = MR_INCOMING_VCPUS_MAX + 1;
	expect_unwritten(NULL, &config);
	config = small_config();
	config.blocktime = false;
	expect_unwritten(&(struct mr_log_record){.kind = MR_LOG_VCPU, .thread = 1}, &config);
}

/* ---- Clients that share guest memory ---- */

#define CLIENT_TEXT                                                                                                    \
	"{\"client\":0}\n{\"client\":15}\n"                                                                            \
	"{\"client-fault\":\"/rom@etc/\\u00e9\",\"offset\":4096,\"client\":15}\n"

static void test_clients(void **state)
{
	static const struct mr_log_record records[] = {
		{.kind = MR_LOG_CLIENT},
		{.kind = MR_LOG_CLIENT, .count = MR_INCOMING_CLIENTS_MAX - 1},
		{.kind = MR_LOG_CLIENT_FAULT, .block = 1, .offset = 4096, .count = MR_INCOMING_CLIENTS_MAX - 1},
	};
	struct mr_incoming_config config = small_config();
	struct mr_log log = {0};
	size_t size;
	char *text;

	(void)state;
	config.shared_clients = true;
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
		assert_int_equal(mr_log_append(&log, &records[i]), 0);
	text = log_text(&log, &config, &size);
	assert_non_null(text);
	assert_non_null(strstr(text, "\"shared_clients\":true"));
	assert_string_equal(strchr(text, '\n') + 1, CLIENT_TEXT);
	free(text);
	round_trip(&log, &config);
	mr_log_clear(&log);
}

static void test_unwritten_clients(void **state)
{
	static const struct mr_log_record records[] = {
		{.kind = MR_LOG_CLIENT, .count = MR_INCOMING_CLIENTS_MAX},
		{.kind = MR_LOG_CLIENT_FAULT, .count = MR_INCOMING_CLIENTS_MAX},
		{.kind = MR_LOG_CLIENT_FAULT, .block = 2},
		{.kind = MR_LOG_CLIENT_FAULT, .offset = UINT64_MAX},
	};
	struct mr_incoming_config config = small_config();

	(void)state;
	/* a log whose destination has no such processes tells of none */
	expect_unwritten(&(struct mr_log_record){.kind = MR_LOG_CLIENT}, &config);
	expect_unwritten(&(struct mr_log_record){.kind = MR_LOG_CLIENT_FAULT}, &config);
	config.shared_clients = true;
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++)
		expect_unwritten(&records[i], &config);
}

static void test_full_disk(void **state)
{
	const struct mr_incoming_config config = small_config();
	const struct mr_log log = {0};
	FILE *full = fopen("/dev/full", "w");

	(void)state;
	assert_non_null(full);
	setbuf(full, NULL);
	assert_int_equal(mr_log_write(&log, &config, full), -1);
	fclose(full);
}

/* ---- What is not read ---- */

static void expect_one_line(const char *error)
{
	if (strncmp(error, path, strlen(path)) != 0 || strchr(error, '\n'))
		fail_msg("expected one line about %s, found \"%s\"", path, error);
}

static void expect_error(const char *text, const char *part)
{
	struct mr_log_header header;
	struct mr_log log;
	char error[ERROR_SIZE] = "";

	write_file(text, strlen(text));
	assert_int_equal(mr_log_read(&log, &header, path, error, sizeof(error)), -1);
	assert_null(log.records);
	assert_null(header.blocks);
	expect_one_line(error);
	if (!strstr(error, part))
		fail_msg("expected \"%s\", found \"%s\"", part, error);
}

static void expect_record_error(const char *record, const char *part)
{
	char text[sizeof(small_text) + 512];

	snprintf(text, sizeof(text), "%s%s\n", SMALL_HEADER, record);
	expect_error(text, part);
}

static void test_bad_records(void **state)
{
	(void)state;
	/* breaks LOG-002 */
	expect_record_error("", "line 2: LOG-002: expected JSON");
	expect_record_error("[]", "LOG-002: expected a JSON object, found an array");
	expect_record_error("{}", "LOG-002: expected open, step, wait, short, fault, end, error, return-end, vcpu, "
				  "time, client-fault or client, found none of them");
	expect_record_error("{\"short\":\"main\",\"channel\":0}", "bytes: expected a whole number, found nothing");
	expect_record_error("{\"short\":\"main\",\"channel\":512,\"bytes\":0}",
			    "channel: expected 0 to 511, found 512");
	expect_record_error("{\"short\":\"nobody\",\"channel\":0,\"bytes\":0}",
			    "short: expected an actor, found nobody");
	expect_record_error("{\"open\":0,\"open\":0,\"role\":\"main\"}", "LOG-002: expected JSON");
	expect_record_error("{\"open\":0,\"role\":\"main\",\"x\":1}", "expected a known key, found x");
	expect_record_error("{\"open\":0}", "role: expected a string, found nothing");
	expect_record_error("{\"open\":512,\"role\":\"main\"}", "open: expected 0 to 511, found 512");
	expect_record_error("{\"open\":0,\"role\":\"return\"}", "role: expected a role of a connection, found return");
	expect_record_error("{\"step\":\"main\",\"count\":0}", "count: expected 1 to 9223372036854775807, found 0");
	expect_record_error("{\"step\":\"main\",\"count\":1.0}", "count: expected a whole number, found a fraction");
	expect_record_error("{\"step\":\"multifd256\",\"count\":1}", "step: expected an actor, found multifd256");
	expect_record_error("{\"step\":\"a very long name of an actor\",\"count\":1}",
			    "step: expected at most 15 bytes");
	expect_record_error("{\"wait\":\"main\",\"count\":1}", "expected a known key, found count");
	expect_record_error("{\"wait\":\"nobody\"}", "wait: expected an actor, found nobody");
	expect_record_error("{\"step\":7,\"count\":1}", "step: expected a string, found a number");
	expect_record_error("{\"fault\":\"me\",\"offset\":0,\"thread\":1}", "fault: expected a block of the header");
	expect_record_error("{\"fault\":\"\\u0100\",\"offset\":0,\"thread\":1}", "characters up to U+00FF");
	expect_record_error("{\"fault\":\"mem\",\"offset\":-1,\"thread\":1}", "offset: expected 0 to");
	expect_record_error("{\"end\":0,\"bytes\":0,\"error\":4096}", "error: expected 0 to 4095, found 4096");
	expect_record_error("{\"error\":\"listen\",\"errno\":0}", "errno: expected 1 to 4095, found 0");
	expect_record_error("{\"return-end\":0}", "bytes: expected a whole number, found nothing");
	expect_record_error("{\"vcpu\":2,\"thread\":1}", "vcpu: expected 0 to 1, found 2");
	expect_record_error("{\"vcpu\":0}", "thread: expected a whole number, found nothing");
	expect_record_error("{\"time\":-1}", "time: expected 0 to 9223372036854775807, found -1");
	expect_record_error("{\"time\":1,\"thread\":1}", "expected a known key, found thread");
	expect_record_error("{\"step\":\"main\",\"count\":1}{}", "LOG-002: expected JSON");
}

static void expect_client_error(const char *record, const char *message)
{
	const char *at = strstr(SMALL_HEADER, "\"blocks\"");
	char text[sizeof(small_text) + 512];

	snprintf(text, sizeof(text), "%.*s\"shared_clients\":true,%s%s\n", (int)(at - SMALL_HEADER), SMALL_HEADER, at,
		 record);
	expect_error(text, message);
}

static void test_bad_clients(void **state)
{
	(void)state;
	expect_record_error("{\"client\":0}", "client: expected a header with shared_clients");
	expect_record_error("{\"client-fault\":\"mem\",\"offset\":0,\"client\":0}",
			    "client: expected a header with shared_clients");
	expect_client_error("{\"client\":16}", "client: expected 0 to 15, found 16");
	expect_client_error("{\"client\":\"mem\"}", "client: expected a whole number, found a string");
	expect_client_error("{\"client\":0,\"offset\":0}", "expected a known key, found offset");
	expect_client_error("{\"client-fault\":\"me\",\"offset\":0,\"client\":0}", "expected a block of the header");
	expect_client_error("{\"client-fault\":\"mem\",\"client\":0}",
			    "offset: expected a whole number, found nothing");
	expect_client_error("{\"client-fault\":\"mem\",\"offset\":0}",
			    "client: expected a whole number, found nothing");
	expect_client_error("{\"client-fault\":\"mem\",\"offset\":0,\"client\":16}",
			    "client: expected 0 to 15, found 16");
	expect_client_error("{\"client-fault\":\"mem\",\"offset\":0,\"client\":0,\"thread\":1}",
			    "expected a known key, found thread");
}

/* The small log's header with `part` replaced. */
static void expect_header_error(const char *part, const char *replacement, const char *message)
{
	const char *at = strstr(SMALL_HEADER, part);
	char text[sizeof(small_text) + 512];

	assert_non_null(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - SMALL_HEADER), SMALL_HEADER, replacement,
		 at + strlen(part));
	expect_error(text, message);
}

static void test_bad_headers(void **state)
{
	(void)state;
	expect_error("", "line 1: LOG-001: expected a newline behind 0 bytes, found the end");
	expect_error("\n", "LOG-001: expected JSON");
	expect_error("{\"open\":0,\"role\":\"main\"}\n", "LOG-001: log: expected a whole number, found nothing");
	expect_header_error("\"log\":1", "\"log\":2", "log: expected 1 to 1, found 2");
	expect_header_error("\"strict\":true,", "", "strict: expected true or false, found nothing");
	expect_header_error("\"strict\":true,", "\"strict\":true,\"st\\nrict\":1,",
			    "expected a known key, found st?rict");
	expect_header_error("\"7.2\"", "\"1.2\"", "source: expected a QEMU release from 2.5 to 11.1, found 1.2");
	expect_header_error("\"9.2\"", "\"\\u00079\"", "destination: expected a QEMU release");
	expect_header_error("\"9.2\"", "\"9999999999999999\"", "destination: expected at most 15 bytes, found more");
	expect_header_error("\"multifd\"]", "\"x\"]", "capabilities[1]: expected a capability, found x");
	expect_header_error("\"multifd\"]", "1]", "capabilities[1]: expected a string, found a number");
	expect_header_error("\"multifd\"]", "\"postcopy-ram\"]", "found postcopy-ram again");
	expect_header_error("[\"postcopy-ram\",\"multifd\"]", "{}", "capabilities: expected an array, found an object");
	expect_header_error("\"zlib\"", "\"lz4\"", "multifd_method: expected a method or nothing, found lz4");
	expect_header_error("\"uuid\":\"\"", "\"uuid\":\"00\"", "uuid: expected 32 digits or none, found 2");
	expect_header_error("\"uuid\":\"\"", "\"uuid\":\"0123456789abcdef0123456789abcdeF\"", "uuid: expected digits");
	expect_header_error("\"host_page_size\":4096", "\"host_page_size\":4294967296",
			    "host_page_size: expected 0 to");
	expect_header_error("\"name\":\"mem\"", "\"name\":\"\"", "name: expected 1 to 255 bytes, found none");
	expect_header_error("\"name\":\"mem\"", "\"name\":\"/rom@etc/\\u00e9\"", "expected each name once");
	expect_header_error("\"ignored\":false,", "\"ignored\":false,\"size\":1,", "expected a known key, found size");
	expect_header_error("\"rank\":1", "\"rank\":null", "rank: expected a whole number, found null");
	expect_header_error("\"blocks\":[", "\"blocks\":[7,", "blocks: expected objects, found a number");
	expect_header_error("\"vcpus\":2", "\"vcpus\":4097", "vcpus: expected 0 to 4096, found 4097");
	expect_header_error("\"vcpus\":2,", "", "vcpus: expected a whole number, found nothing");
	expect_header_error("\"open_faults_max\":9,", "", "open_faults_max: expected a whole number, found nothing");
}

/* ---- Handlers ---- */

static struct mr_handler_entry entries[4];

static struct mr_handlers some_handlers(const struct mr_profile *profile)
{
	const struct mr_handler timer = {
		.name = "timer", .instance = MR_INSTANCE_NEXT, .alias = MR_ALIAS_NONE, .version = 2, .early = true};
	const struct mr_handler apic = {.path = "0000:00:02.0",
					.name = "a\xe9pic",
					.instance = MR_INSTANCE_NEXT,
					.alias = 7,
					.version = 3,
					.minimum_version = 1,
					.priority = MR_PRIORITY_APIC};
	struct mr_handlers handlers;
	struct mr_handler ram;
	uint32_t gone;
	char error[96];

	mr_handlers_init(&handlers, profile, entries, 4);
	assert_true(mr_handler_known("ram", &ram));
	assert_int_equal(mr_handlers_register(&handlers, &ram, NULL, error), MR_NO_RULE);
	assert_int_equal(mr_handlers_register(&handlers, &timer, &gone, error), MR_NO_RULE);
	assert_int_equal(mr_handlers_register(&handlers, &timer, NULL, error), MR_NO_RULE);
	assert_int_equal(mr_handlers_register(&handlers, &apic, NULL, error), MR_NO_RULE);
	/* Neither its section id nor its instance is given again. */
	assert_true(mr_handlers_unregister(&handlers, gone));
	return handlers;
}

static void expect_handlers(const struct mr_handlers *found, const struct mr_handlers *expected)
{
	assert_int_equal(found->count, expected->count);
	for (uint32_t i = 0; i < found->count; i++) {
		const struct mr_handler_entry *a = &found->entries[i], *b = &expected->entries[i];

		assert_string_equal(a->idstr, b->idstr);
		assert_int_equal(a->name_at, b->name_at);
		assert_int_equal(a->section_id, b->section_id);
		assert_int_equal(a->instance, b->instance);
		assert_int_equal(a->name_instance, b->name_instance);
		assert_int_equal(a->handler.alias, b->handler.alias);
		assert_int_equal(a->handler.version, b->handler.version);
		assert_int_equal(a->handler.minimum_version, b->handler.minimum_version);
		assert_int_equal(a->handler.priority, b->handler.priority);
		assert_int_equal(a->handler.hooks, b->handler.hooks);
		assert_int_equal(a->handler.old_style, b->handler.old_style);
		assert_int_equal(a->handler.early, b->handler.early);
	}
}

static void test_handlers(void **state)
{
	struct mr_incoming_config config = small_config();
	const struct mr_handlers handlers = some_handlers(&config.profile);
	struct mr_log log = {.unassembled = true}, read;
	struct mr_log_header header;
	char error[ERROR_SIZE] = "";
	size_t size;
	char *text;

	(void)state;
	config.handlers = &handlers;
	append_small(&log);
	round_trip(&log, &config);
	text = log_text(&log, &config, &size);
	write_file(text, size);
	assert_int_equal(mr_log_read(&read, &header, path, error, sizeof(error)), 0);
	assert_true(read.unassembled);
	assert_ptr_equal(header.config.handlers, &header.handlers);
	expect_handlers(header.config.handlers, &handlers);
	mr_log_clear(&read);
	mr_log_header_clear(&header);
	free(text);
	/* A list of another release would come out as another one. */
	mr_profile_init(&config.profile, "3.0");
	mr_profile_apply_machine(&config.profile, config.context.machine);
	assert_null(log_text(&log, &config, &size));
	mr_log_clear(&log);
}

#define ONE_HANDLER                                                                                                    \
	"\"id\":1,\"path\":\"\",\"name\":\"timer\",\"instance\":0,\"alias\":0,\"version\":2,\"minimum_version\":0,"    \
	"\"priority\":0,\"hooks\":0,\"old_style\":false,\"early\":false,\"unmigratable\":false"

static void test_bad_handlers(void **state)
{
	static const struct {
		const char *list, *message;
	} rows[] = {
		{"7", "handlers: expected an array, found a number"},
		{"[7]", "handlers: expected objects, found a number"},
		{"[{}]", "id: expected a whole number, found nothing"},
		{"[{" ONE_HANDLER ",\"size\":1}]", "expected a known key, found size"},
		{"[{" ONE_HANDLER "},{" ONE_HANDLER "}]", "handlers: expected each id once, found 1 again"},
		{"[{\"id\":0,\"path\":\"\",\"name\":\"\",\"instance\":0,\"alias\":0,\"version\":2,\"minimum_version\":"
		 "0,"
		 "\"priority\":0,\"hooks\":0,\"old_style\":false,\"early\":false,\"unmigratable\":false}]",
		 "handlers: a handler's name: expected 1 to 255 bytes with its path"},
		{"[{\"id\":0,\"path\":\"\",\"name\":\"a\",\"instance\":0,\"alias\":0,\"version\":2,\"minimum_version\":"
		 "0,"
		 "\"priority\":8,\"hooks\":0,\"old_style\":false,\"early\":false,\"unmigratable\":false}]",
		 "priority: expected 0 to 7, found 8"},
	};
	char replacement[1024];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(replacement, sizeof(replacement), "\"handlers\":%s,\"blocks\":[", rows[i].list);
		expect_header_error("\"blocks\":[", replacement, rows[i].message);
	}
	expect_header_error("\"blocks\":[", "\"unassembled\":1,\"blocks\":[",
			    "unassembled: expected true or false, found a number");
}

/* ---- What an actor goes on from at once ---- */

static void test_overtaken(void **state)
{
	static const struct mr_log_record given[] = {
		{.kind = MR_LOG_STEP, .actor = MR_ACTOR_MAIN, .count = 2},
		{.kind = MR_LOG_SHORT, .actor = MR_ACTOR_MAIN, .bytes = 10},
		{.kind = MR_LOG_SHORT, .actor = MR_ACTOR_MAIN, .bytes = 20},
		{.kind = MR_LOG_STEP, .actor = MR_ACTOR_MAIN, .count = 3},
		{.kind = MR_LOG_SHORT, .actor = MR_ACTOR_MAIN, .bytes = 30},
		{.kind = MR_LOG_STEP, .actor = MR_ACTOR_LISTEN, .count = 1},
		{.kind = MR_LOG_STEP, .actor = MR_ACTOR_MAIN, .count = 1},
		{.kind = MR_LOG_SHORT, .actor = MR_ACTOR_MAIN, .bytes = 40},
		{.kind = MR_LOG_WAIT, .actor = MR_ACTOR_MAIN},
		{.kind = MR_LOG_SHORT, .actor = MR_ACTOR_MAIN, .bytes = 50},
		{.kind = MR_LOG_TIME, .count = 1},
		{.kind = MR_LOG_STEP, .actor = MR_ACTOR_MAIN, .count = 1},
	};
	static const enum mr_log_kind kinds[] = {MR_LOG_STEP, MR_LOG_SHORT, MR_LOG_STEP, MR_LOG_STEP,
						 MR_LOG_WAIT, MR_LOG_SHORT, MR_LOG_TIME, MR_LOG_STEP};
	struct mr_log log = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++)
		assert_int_equal(mr_log_append(&log, &given[i]), 0);
	assert_int_equal(log.count, sizeof(kinds) / sizeof(kinds[0]));
	for (size_t i = 0; i < log.count; i++)
		assert_int_equal(log.records[i].kind, kinds[i]);
	assert_int_equal(log.records[0].count, 5);
	mr_log_clear(&log);
}

/* A machine that counts nothing has no vCPUs to tell of. */
static void test_vcpu_without_vcpus(void **state)
{
	const char *at = strstr(SMALL_HEADER, "\"vcpus\"");
	const char *blocks = strstr(SMALL_HEADER, "\"blocks\"");
	char text[sizeof(small_text)];

	(void)state;
	snprintf(text, sizeof(text), "%.*s%s{\"vcpu\":0,\"thread\":1}\n", (int)(at - SMALL_HEADER), SMALL_HEADER,
		 blocks);
	expect_error(text, "line 2: LOG-002: vcpu: expected a header with vcpus, found none");
}

static void test_long_lines(void **state)
{
	const size_t size = MR_LOG_HEADER_MAX + 16;
	char *text = malloc(size);

	(void)state;
	assert_non_null(text);
	memset(text, ' ', size);
	text[size - 1] = '\0';
	expect_error(text, "line 1: LOG-001: expected at most 4194304 bytes in a line, found more");
	memcpy(text, SMALL_HEADER, strlen(SMALL_HEADER));
	text[strlen(SMALL_HEADER) + MR_LOG_LINE_MAX + 1] = '\0';
	expect_error(text, "line 2: LOG-002: expected at most 65536 bytes in a line, found more");
	text[strlen(SMALL_HEADER) + MR_LOG_LINE_MAX] = '\0';
	expect_error(text, "line 2: LOG-002: expected a newline behind 65536 bytes, found the end");
	free(text);
}

/* Reads bytes that may be a log or not; true if they are. What is read can be written. */
static bool is_log(const char *bytes, size_t length)
{
	struct mr_log_header header;
	struct mr_log log;
	char error[ERROR_SIZE] = "";
	size_t size;
	char *text;

	write_file(bytes, length);
	if (mr_log_read(&log, &header, path, error, sizeof(error)) < 0) {
		expect_one_line(error);
		return false;
	}
	text = log_text(&log, &header.config, &size);
	assert_non_null(text);
	free(text);
	mr_log_clear(&log);
	mr_log_header_clear(&header);
	return true;
}

/* Only a log that was cut between lines is a log. */
static void test_truncations(void **state)
{
	const size_t length = strlen(small_text);

	(void)state;
	for (size_t cut = 0; cut < length; cut++)
		assert_int_equal(is_log(small_text, cut), cut > 0 && small_text[cut - 1] == '\n');
	assert_true(is_log(small_text, length));
}

static void test_changed_bytes(void **state)
{
	static const char changes[] = {0, '\n', '"', '0', '9', '-', '{', ',', 'a', (char)0x80, (char)0xc3, (char)0xff};
	char text[sizeof(small_text)];
	struct random random = {.state = 7};

	(void)state;
	memcpy(text, small_text, sizeof(text));
	for (size_t at = 0; at < strlen(small_text); at++) {
		for (size_t i = 0; i < sizeof(changes); i++) {
			text[at] = changes[i];
			is_log(text, strlen(small_text));
		}
		text[at] = (char)random_next(&random);
		is_log(text, strlen(small_text));
		text[at] = small_text[at];
	}
}

static void test_no_file(void **state)
{
	struct mr_log_header header;
	struct mr_log log;
	char error[ERROR_SIZE] = "";

	(void)state;
	assert_int_equal(mr_log_read(&log, &header, "/nonexistent/log", error, sizeof(error)), -1);
	assert_non_null(strstr(error, "/nonexistent/log"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_many_blocks),
		cmocka_unit_test(test_steps_are_added),
		cmocka_unit_test(test_unwritten),
		cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_bad_records),
		cmocka_unit_test(test_clients),
		cmocka_unit_test(test_unwritten_clients),
		cmocka_unit_test(test_bad_clients),
		cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_truncations),
		cmocka_unit_test(test_changed_bytes),
		cmocka_unit_test(test_no_file),
		cmocka_unit_test(test_vcpu_without_vcpus),
		cmocka_unit_test(test_handlers),
		cmocka_unit_test(test_bad_handlers),
		cmocka_unit_test(test_overtaken),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
