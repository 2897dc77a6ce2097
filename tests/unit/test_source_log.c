/* The log of a source: what is written is read back, and nothing else is read at all. */
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
#include "sim/record/source_log.h"

enum { RANDOM_LOGS = 300, RANDOM_RECORDS = 60, ERROR_SIZE = 512, LINE_LIMIT = 64 << 10, HEADER_LIMIT = 4 << 20 };

#define NUMBER_LIMIT "9223372036854775807"

/* ---- A small log ---- */

static const struct mr_outgoing_block blocks[] = {
	{.name = "mem", .used_length = 16 << 20, .address = (uint64_t)4 << 30},
	{.name = "/rom@etc/\xe9\xc3\x7f \"a\"", .used_length = 4096, .cache_offset = 16 << 20, .ignored = true},
};

static struct mr_outgoing_config config;
static struct mr_handlers handlers;
static struct mr_handler_entry entries[2];

static int set_up(void **state)
{
	const struct mr_handler timer = {.name = "timer", .alias = MR_ALIAS_NONE, .version = 2};
	char error[96];

	config = (struct mr_outgoing_config){
		.capabilities = MR_CAPABILITY_POSTCOPY_RAM | MR_CAPABILITY_MULTIFD,
		.release_ram = true,
		.machine = "pc-i440fx-7.2",
		.uuid = {1, 2},
		.target_page_size = 4096,
		.blocks = blocks,
		.block_count = 2,
		.handlers = &handlers,
		.max_bandwidth = UINT64_MAX,
		.downtime_limit = 5,
		.multifd_channels = 3,
		.method = mr_multifd_method_by_name("zlib"),
		.method_level = INT32_MIN,
		.zero_detection = MR_ZERO_LEGACY,
		.package_max = 1 << 20,
	};
	mr_profile_init(&config.profile, "7.2.22");
	mr_profile_apply_machine(&config.profile, config.machine);
	mr_handlers_init(&handlers, &config.profile, entries, 2);
	if (mr_handlers_register(&handlers, &timer, NULL, error) != MR_NO_RULE)
		return -1;
	return make_file(state);
}

#define HEADER                                                                                                         \
	"{\"source-log\":1,\"numbered\":false,\"source\":\"7.2\",\"machine\":\"pc-i440fx-7.2\","                       \
	"\"capabilities\":[\"postcopy-ram\",\"multifd\"],\"pause_before_switchover\":false,\"release_ram\":true,"      \
	"\"auto_converge\":false,\"guest_stopped\":false,\"unplug_first\":false,\"uuid_known\":false,"                 \
	"\"uuid\":\"01020000000000000000000000000000\",\"target_page_size\":4096,\"minimum_page_bits\":0,"             \
	"\"host_page_size\":0,\"max_bandwidth\":" NUMBER_LIMIT ",\"max_postcopy_bandwidth\":0,"                        \
	"\"switchover_bandwidth\":0,\"downtime_limit\":5,\"xbzrle_cache_size\":0,\"clear_bitmap_shift\":0,"            \
	"\"multifd_channels\":3,\"multifd_method\":\"zlib\",\"method_level\":1,\"zero_detection\":\"legacy\","         \
	"\"throttle_initial\":0,\"throttle_increment\":0,\"throttle_maximum\":0,\"throttle_trigger\":0,"               \
	"\"connections_max\":0,\"package_max\":1048576,\"handlers\":[{\"id\":0,\"path\":\"\",\"name\":\"timer\","      \
	"\"instance\":0,\"alias\":4294967295,\"version\":2,\"minimum_version\":0,\"priority\":0,\"hooks\":4456448,"    \
	"\"old_style\":false,\"early\":false,\"unmigratable\":false}],\"blocks\":["                                    \
	"{\"name\":\"mem\",\"used_length\":16777216,\"page_size\":0,\"address\":4294967296,\"cache_offset\":0,"        \
	"\"ignored\":false},"                                                                                          \
	"{\"name\":\"/rom@etc/\\u00e9\\u00c3\\u007f \\\"a\\\"\",\"used_length\":4096,\"page_size\":0,\"address\":0,"   \
	"\"cache_offset\":16777216,\"ignored\":true}]}\n"

static const struct mr_source_log_record records[] = {
	{.kind = MR_SOURCE_LOG_DIRTY, .block = 0, .start = 1 << 20, .length = 2 << 20},
	{.kind = MR_SOURCE_LOG_DIRTY, .block = 1, .length = 4096, .unchanged = true},
	{.kind = MR_SOURCE_LOG_STEP, .actor = MR_SOURCE_MIGRATION, .count = 412},
	{.kind = MR_SOURCE_LOG_CHOOSE, .choice = MR_CHOICE_SECTION_ENDS, .answer = 0, .count = 311},
	{.kind = MR_SOURCE_LOG_ARRIVE, .channel = 0, .bytes = 1196},
	{.kind = MR_SOURCE_LOG_ARRIVE, .channel = 511, .bytes = INT64_MAX, .ended = true},
	{.kind = MR_SOURCE_LOG_WAIT, .actor = MR_SOURCE_RETURN, .count = MR_SOURCE_WAITS_MAX},
	{.kind = MR_SOURCE_LOG_STEP, .actor = MR_SOURCE_MULTIFD + 254, .count = 1},
	{.kind = MR_SOURCE_LOG_BROKEN, .channel = 3, .error = 4095},
	{.kind = MR_SOURCE_LOG_COMMAND, .command = MR_SOURCE_COMMAND_RECOVER},
	{.kind = MR_SOURCE_LOG_TIME, .count = 100000000},
	{.kind = MR_SOURCE_LOG_GUEST, .runs = false},
	{.kind = MR_SOURCE_LOG_GUEST, .runs = true},
	{.kind = MR_SOURCE_LOG_UNCHANGED, .block = 0, .start = 4096, .length = 8192},
	{.kind = MR_SOURCE_LOG_UNSENT, .block = 1, .start = 0, .length = 4096},
};

enum { RECORDS = sizeof(records) / sizeof(records[0]) };

static const char text[] = HEADER
	"{\"dirty\":\"mem\",\"start\":1048576,\"length\":2097152,\"unchanged\":false}\n"
	"{\"dirty\":\"/rom@etc/\\u00e9\\u00c3\\u007f \\\"a\\\"\",\"start\":0,\"length\":4096,\"unchanged\":true}\n"
	"{\"step\":\"migration\",\"count\":412}\n"
	"{\"choose\":\"section-ends\",\"answer\":0,\"count\":311}\n"
	"{\"arrive\":0,\"bytes\":1196,\"ended\":false}\n"
	"{\"arrive\":511,\"bytes\":" NUMBER_LIMIT ",\"ended\":true}\n"
	"{\"wait\":\"return\",\"count\":1048576}\n"
	"{\"step\":\"multifd254\",\"count\":1}\n"
	"{\"broken\":3,\"error\":4095}\n"
	"{\"command\":\"recover\"}\n"
	"{\"time\":100000000}\n"
	"{\"guest-runs\":false}\n"
	"{\"guest-runs\":true}\n"
	"{\"unchanged\":\"mem\",\"start\":4096,\"length\":8192}\n"
	"{\"unsent\":\"/rom@etc/\\u00e9\\u00c3\\u007f \\\"a\\\"\",\"start\":0,\"length\":4096}\n";

/* ---- Writing and reading ---- */

/* The caller frees it. */
static char *log_text(const struct mr_source_log *log, size_t *size)
{
	char *written = NULL;
	FILE *out = open_memstream(&written, size);

	assert_non_null(out);
	assert_int_equal(mr_source_log_write(log, &config, out), 0);
	assert_int_equal(fclose(out), 0);
	return written;
}

static void append_all(struct mr_source_log *log, const struct mr_source_log_record *all, size_t count)
{
	for (size_t i = 0; i < count; i++)
		assert_int_equal(mr_source_log_append(log, &all[i]), 0);
}

static void expect_record(const struct mr_source_log_record *found, const struct mr_source_log_record *expected)
{
	assert_int_equal(found->kind, expected->kind);
	assert_int_equal(found->actor, expected->actor);
	assert_int_equal(found->choice, expected->choice);
	assert_int_equal(found->command, expected->command);
	assert_int_equal(found->channel, expected->channel);
	assert_int_equal(found->block, expected->block);
	assert_int_equal(found->error, expected->error);
	assert_int_equal(found->ended, expected->ended);
	assert_int_equal(found->unchanged, expected->unchanged);
	assert_int_equal(found->runs, expected->runs);
	assert_int_equal(found->count, expected->count);
	assert_int_equal(found->answer, expected->answer);
	assert_int_equal(found->start, expected->start);
	assert_int_equal(found->length, expected->length);
	assert_int_equal(found->bytes, expected->bytes);
}

static void expect_log(const struct mr_source_log *found, const struct mr_source_log *expected)
{
	assert_int_equal(found->count, expected->count);
	for (size_t i = 0; i < found->count; i++)
		expect_record(&found->records[i], &expected->records[i]);
}

static void expect_config(const struct mr_outgoing_config *found)
{
	assert_string_equal(found->profile.release, config.profile.release);
	assert_memory_equal(found->profile.on, config.profile.on, sizeof(config.profile.on));
	assert_int_equal(found->capabilities, config.capabilities);
	assert_string_equal(found->machine, config.machine);
	assert_true(found->release_ram);
	assert_memory_equal(found->uuid, config.uuid, sizeof(config.uuid));
	assert_int_equal(found->max_bandwidth, config.max_bandwidth);
	assert_int_equal(found->downtime_limit, config.downtime_limit);
	assert_int_equal(found->multifd_channels, config.multifd_channels);
	assert_ptr_equal(found->method, config.method);
	assert_int_equal(found->method_level, config.method->level_default);
	assert_int_equal(found->zero_detection, config.zero_detection);
	assert_int_equal(found->package_max, config.package_max);
	assert_int_equal(found->handlers->count, 1);
	assert_string_equal(found->handlers->entries[0].idstr, "timer");
	assert_int_equal(found->block_count, config.block_count);
	for (uint32_t i = 0; i < found->block_count; i++) {
		assert_string_equal(found->blocks[i].name, blocks[i].name);
		assert_int_equal(found->blocks[i].used_length, blocks[i].used_length);
		assert_int_equal(found->blocks[i].address, blocks[i].address);
		assert_int_equal(found->blocks[i].cache_offset, blocks[i].cache_offset);
		assert_int_equal(found->blocks[i].ignored, blocks[i].ignored);
	}
}

static void read_back(struct mr_source_log *log)
{
	struct mr_source_log_header header;
	char error[ERROR_SIZE] = "";

	if (mr_source_log_read(log, &header, path, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	expect_config(&header.config);
	mr_source_log_header_clear(&header);
	assert_null(header.blocks);
}

static void small_log(void **state)
{
	struct mr_source_log log = {0}, again;
	size_t size;
	char *written;

	(void)state;
	append_all(&log, records, RECORDS);
	assert_int_equal(log.count, RECORDS);
	written = log_text(&log, &size);
	assert_string_equal(written, text);
	write_file(written, size);
	read_back(&again);
	expect_log(&again, &log);
	mr_source_log_clear(&again);
	assert_int_equal(again.count, 0);
	mr_source_log_clear(&log);
	free(written);
}

static void no_records(void **state)
{
	struct mr_source_log log;

	(void)state;
	write_file(HEADER, strlen(HEADER));
	read_back(&log);
	assert_int_equal(log.count, 0);
	mr_source_log_clear(&log);
}

static void random_record(struct random *random, struct mr_source_log_record *record)
{
	const unsigned kind = (unsigned)random_below(random, MR_SOURCE_LOG_KIND_COUNT);
	const uint64_t number = random_next(random) >> (1 + random_below(random, 63));

	*record = (struct mr_source_log_record){.kind = (enum mr_source_log_kind)kind};
	switch (record->kind) {
	case MR_SOURCE_LOG_STEP:
	case MR_SOURCE_LOG_WAIT:
		record->actor = (unsigned)random_below(random, MR_SOURCE_COUNT);
		record->count = number % MR_SOURCE_WAITS_MAX;
		return;
	case MR_SOURCE_LOG_CHOOSE:
		record->choice = (enum mr_choice)random_below(random, MR_CHOICE_COUNT);
		record->answer = number % 3;
		record->count = number;
		return;
	case MR_SOURCE_LOG_DIRTY:
		record->block = (uint32_t)random_below(random, 2);
		record->start = number;
		record->length = random_next(random) >> 1;
		record->unchanged = number & 1;
		return;
	case MR_SOURCE_LOG_ARRIVE:
		record->channel = (uint32_t)random_below(random, MR_OUTGOING_CHANNELS_MAX);
		record->bytes = number;
		record->ended = number & 1;
		return;
	case MR_SOURCE_LOG_BROKEN:
		record->channel = (uint32_t)random_below(random, MR_OUTGOING_CHANNELS_MAX);
		record->error = (int)(number % 4096);
		return;
	case MR_SOURCE_LOG_COMMAND:
		record->command = (enum mr_source_command)random_below(random, MR_SOURCE_COMMAND_COUNT);
		return;
	case MR_SOURCE_LOG_GUEST:
		record->runs = number & 1;
		return;
	case MR_SOURCE_LOG_UNCHANGED:
	case MR_SOURCE_LOG_UNSENT:
		record->block = (uint32_t)random_below(random, 2);
		record->start = number;
		record->length = random_next(random) >> 2;
		return;
	default:
		record->count = number;
	}
}

static void random_logs(void **state)
{
	struct random random = {20260801};

	(void)state;
	for (unsigned i = 0; i < RANDOM_LOGS; i++) {
		struct mr_source_log log = {0}, again;
		size_t size;
		char *written;

		for (uint64_t left = random_below(&random, RANDOM_RECORDS); left; left--) {
			struct mr_source_log_record record;

			random_record(&random, &record);
			assert_int_equal(mr_source_log_append(&log, &record), 0);
		}
		written = log_text(&log, &size);
		write_file(written, size);
		read_back(&again);
		expect_log(&again, &log);
		mr_source_log_clear(&again);
		mr_source_log_clear(&log);
		free(written);
	}
}

/* ---- Repetition ---- */

/* Steps and waits in a row are one record, and answers of a choice wherever they stand; all else stays apart. */
static void repeated(void **state)
{
	static const struct mr_source_log_record given[] = {
		{.kind = MR_SOURCE_LOG_STEP, .actor = 0, .count = 2},
		{.kind = MR_SOURCE_LOG_CHOOSE, .choice = MR_CHOICE_TURN, .answer = 1, .count = 1},
		{.kind = MR_SOURCE_LOG_STEP, .actor = 0, .count = 3},
		{.kind = MR_SOURCE_LOG_STEP, .actor = 0, .count = 1},
		{.kind = MR_SOURCE_LOG_STEP, .actor = 1, .count = 1},
		{.kind = MR_SOURCE_LOG_WAIT, .actor = 1, .count = 1},
		{.kind = MR_SOURCE_LOG_WAIT, .actor = 1, .count = 1},
		{.kind = MR_SOURCE_LOG_CHOOSE, .choice = MR_CHOICE_TURN, .answer = 1, .count = 4},
		{.kind = MR_SOURCE_LOG_CHOOSE, .choice = MR_CHOICE_SYNC, .answer = 1, .count = 1},
		{.kind = MR_SOURCE_LOG_CHOOSE, .choice = MR_CHOICE_TURN, .answer = 2, .count = 1},
		{.kind = MR_SOURCE_LOG_CHOOSE, .choice = MR_CHOICE_TURN, .answer = 1, .count = 1},
		{.kind = MR_SOURCE_LOG_TIME, .count = 7},
		{.kind = MR_SOURCE_LOG_TIME, .count = 7},
	};
	static const uint64_t counts[] = {2, 5, 4, 1, 2, 1, 1, 1, 7, 7};
	struct mr_source_log log = {0};

	(void)state;
	append_all(&log, given, sizeof(given) / sizeof(given[0]));
	assert_int_equal(log.count, sizeof(counts) / sizeof(counts[0]));
	for (size_t i = 0; i < log.count; i++)
		assert_int_equal(log.records[i].count, counts[i]);
	mr_source_log_clear(&log);
}

/* A count that would not fit any more begins another record. */
static void counts_at_the_limit(void **state)
{
	struct mr_source_log log = {0};
	struct mr_source_log_record record = {.kind = MR_SOURCE_LOG_STEP, .count = INT64_MAX};

	(void)state;
	append_all(&log, &record, 1);
	record.count = 1;
	append_all(&log, &record, 1);
	assert_int_equal(log.count, 2);
	record = (struct mr_source_log_record){.kind = MR_SOURCE_LOG_WAIT, .count = MR_SOURCE_WAITS_MAX};
	append_all(&log, &record, 1);
	record.count = 1;
	append_all(&log, &record, 1);
	assert_int_equal(log.count, 4);
	mr_source_log_clear(&log);
}

/* ---- What is refused ---- */

static void refused(const char *bytes, size_t length, uint64_t line, const char *reason)
{
	struct mr_source_log log = {.count = 77};
	struct mr_source_log_header header;
	char error[ERROR_SIZE] = "", expected[ERROR_SIZE];

	write_file(bytes, length);
	assert_int_equal(mr_source_log_read(&log, &header, path, error, sizeof(error)), -1);
	snprintf(expected, sizeof(expected), "%s: line %" PRIu64 ": %s", path, line, reason);
	assert_string_equal(error, expected);
	assert_int_equal(log.count, 0);
	assert_null(log.records);
}

static void refused_record(const char *record, const char *reason)
{
	char bytes[4096];

	/* Behind a good one, so that this has to be given back. */
	snprintf(bytes, sizeof(bytes), "%s{\"time\":1}\n%s\n{\"time\":2}\n", HEADER, record);
	refused(bytes, strlen(bytes), 3, reason);
}

static void bad_lines(void **state)
{
	static const char *const objects[] = {"", "[]", "1", "{", "{}x", "{\"time\":1,\"time\":1}", "\xff"};

	(void)state;
	for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++)
		refused_record(objects[i], "expected a JSON object, found another text");
	refused_record("{}", "expected step, wait, choose, dirty, arrive, broken, command, time, guest-runs, unsent or "
			     "unchanged, found none");
	refused_record("{\"steps\":\"migration\",\"count\":1}",
		       "expected step, wait, choose, dirty, arrive, broken, command, time, guest-runs, unsent or "
		       "unchanged, found none");
}

/* A key that is missing, and one too many, in each kind. */
static void bad_keys(void **state)
{
	static const struct {
		const char *record, *reason;
	} rows[] = {
		{"{\"step\":\"migration\"}", "step: expected 2 keys, found 1"},
		{"{\"wait\":\"migration\",\"count\":1,\"x\":1}", "wait: expected 2 keys, found 3"},
		{"{\"choose\":\"turn\",\"count\":1}", "choose: expected 3 keys, found 2"},
		{"{\"dirty\":\"mem\",\"start\":0,\"length\":1}", "dirty: expected 4 keys, found 3"},
		{"{\"arrive\":0,\"bytes\":1}", "arrive: expected 3 keys, found 2"},
		{"{\"broken\":0}", "broken: expected 2 keys, found 1"},
		{"{\"command\":\"cancel\",\"x\":1}", "command: expected 1 keys, found 2"},
		{"{\"time\":0,\"x\":1}", "time: expected 1 keys, found 2"},
		{"{\"guest-runs\":true,\"x\":1}", "guest-runs: expected 1 keys, found 2"},
		{"{\"unchanged\":\"mem\",\"start\":0}", "unchanged: expected 3 keys, found 2"},
		{"{\"unsent\":\"mem\",\"start\":0,\"length\":1,\"x\":1}", "unsent: expected 3 keys, found 4"},
		{"{\"step\":\"migration\",\"time\":1}",
		 "count: expected a number up to " NUMBER_LIMIT ", found something else"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		refused_record(rows[i].record, rows[i].reason);
}

static void bad_values(void **state)
{
	static const char number[] = "expected a number up to " NUMBER_LIMIT ", found something else";
	static const char flag[] = "expected true or false, found something else";
	static const struct {
		const char *record, *key, *reason;
	} rows[] = {
		{"{\"step\":\"nobody\",\"count\":1}", "step", "expected an actor, found nobody"},
		{"{\"step\":\"multifd255\",\"count\":1}", "step", "expected an actor, found multifd255"},
		{"{\"step\":\"multifd01\",\"count\":1}", "step", "expected an actor, found multifd01"},
		{"{\"step\":7,\"count\":1}", "step", "expected an actor, found "},
		{"{\"step\":\"return\",\"count\":-1}", "count", number},
		{"{\"step\":\"return\",\"count\":\"1\"}", "count", number},
		{"{\"step\":\"return\",\"count\":1.0}", "count", number},
		{"{\"wait\":\"return\",\"count\":1048577}", "count",
		 "expected a number up to 1048576, found something else"},
		{"{\"choose\":\"chance\",\"answer\":1,\"count\":1}", "choose", "expected a choice, found chance"},
		{"{\"choose\":\"turn\",\"answer\":-1,\"count\":1}", "answer", number},
		{"{\"choose\":\"turn\",\"answer\":1,\"count\":null}", "count", number},
		{"{\"dirty\":\"men\",\"start\":0,\"length\":1,\"unchanged\":true}", "dirty",
		 "expected a block, found men"},
		{"{\"dirty\":\"mem\",\"start\":-1,\"length\":1,\"unchanged\":true}", "start", number},
		{"{\"dirty\":\"mem\",\"start\":0,\"length\":true,\"unchanged\":true}", "length", number},
		{"{\"dirty\":\"mem\",\"start\":0,\"length\":1,\"unchanged\":1}", "unchanged", flag},
		{"{\"arrive\":512,\"bytes\":1,\"ended\":false}", "arrive",
		 "expected a number up to 511, found something else"},
		{"{\"arrive\":0,\"bytes\":-1,\"ended\":false}", "bytes", number},
		{"{\"arrive\":0,\"bytes\":1,\"ended\":0}", "ended", flag},
		{"{\"broken\":512,\"error\":1}", "broken", "expected a number up to 511, found something else"},
		{"{\"broken\":0,\"error\":4096}", "error", "expected a number up to 4095, found something else"},
		{"{\"command\":\"start\"}", "command", "expected a command, found start"},
		{"{\"command\":0}", "command", "expected a command, found "},
		{"{\"time\":-1}", "time", number},
		{"{\"guest-runs\":0}", "guest-runs", flag},
		{"{\"unchanged\":true,\"start\":0,\"length\":1}", "unchanged", "expected a block, found "},
		{"{\"unsent\":\"men\",\"start\":0,\"length\":1}", "unsent", "expected a block, found men"},
		{"{\"unsent\":\"mem\",\"start\":0,\"length\":-1}", "length", number},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char reason[256];

		snprintf(reason, sizeof(reason), "%s: %s", rows[i].key, rows[i].reason);
		refused_record(rows[i].record, reason);
	}
}

static void refused_header(const char *from, const char *to, const char *reason)
{
	const char *at = strstr(HEADER, from);
	char bytes[sizeof(HEADER) + 256];

	assert_non_null(at);
	snprintf(bytes, sizeof(bytes), "%.*s%s%s", (int)(at - HEADER), HEADER, to, at + strlen(from));
	refused(bytes, strlen(bytes), 1, reason);
}

static void bad_headers(void **state)
{
	(void)state;
	refused_header("\"source-log\":1", "\"source-log\":0", "source-log: expected 1 to 1, found 0");
	refused_header("\"source-log\":1,", "", "source-log: expected a whole number, found nothing");
	refused_header("\"numbered\":false,", "", "numbered: expected true or false, found nothing");
	refused_header("\"source\":\"7.2\"", "\"source\":7", "source: expected a string, found a number");
	refused_header("\"source\":\"7.2\"", "\"source\":\"1.2\"",
		       "source: expected a QEMU release from 2.5 to 11.1, found 1.2");
	refused_header("\"multifd\"]", "\"x\"]", "capabilities[1]: expected a capability, found x");
	refused_header("\"release_ram\":true", "\"release_ram\":1",
		       "release_ram: expected true or false, found a number");
	refused_header("\"uuid\":\"01", "\"uuid\":\"0", "uuid: expected 32 digits or none, found 31");
	refused_header("\"max_bandwidth\":", "\"max_bandwidth\":-",
		       "max_bandwidth: expected 0 to " NUMBER_LIMIT ", found -" NUMBER_LIMIT);
	refused_header("\"multifd_method\":\"zlib\"", "\"multifd_method\":\"lz4\"",
		       "multifd_method: expected a method or nothing, found lz4");
	refused_header("\"zero_detection\":\"legacy\"", "\"zero_detection\":\"all\"",
		       "zero_detection: expected none, legacy, multifd or nothing, found all");
	refused_header("\"package_max\":1048576", "\"package_max\":\"\"",
		       "package_max: expected a whole number, found a string");
	refused_header("\"priority\":0", "\"priority\":99", "priority: expected 0 to 7, found 99");
	refused_header("\"blocks\":[", "\"blocks\":[7,", "blocks: expected objects, found a number");
	refused_header("\"blocks\":[", "\"x\":1,\"blocks\":[", "expected a known key, found x");
	refused_header("\"name\":\"mem\"", "\"name\":\"\"", "name: expected 1 to 255 bytes, found none");
	refused_header("\"cache_offset\":16777216", "\"cache_offset\":null",
		       "cache_offset: expected a whole number, found null");
	refused_header("\"ignored\":true}]",
		       "\"ignored\":true},{\"name\":\"mem\",\"used_length\":0,\"page_size\":0,"
		       "\"address\":0,\"cache_offset\":0,\"ignored\":false}]",
		       "blocks: expected each name once, found one again at index 2");
	refused("{\"source-log\":1,\"blocks\":[]}\n", strlen("{\"source-log\":1,\"blocks\":[]}\n"), 1,
		"numbered: expected true or false, found nothing");
}

/* What a log could not say is not written. */
static void not_told(void **state)
{
	const struct mr_outgoing_config whole = config;
	const struct mr_outgoing_block far = {.name = "mem", .used_length = 4096, .address = UINT64_MAX};
	struct mr_source_log log = {0};
	char *text_of = NULL;
	size_t size;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		FILE *out = open_memstream(&text_of, &size);

		assert_non_null(out);
		config = whole;
		if (i == 0)
			config.profile.on[0] = !config.profile.on[0];
		if (i == 1)
			config.handlers = NULL;
		if (i == 2)
			config.capabilities |= UINT32_C(1) << 31;
		if (i == 3) {
			config.blocks = &far;
			config.block_count = 1;
		}
		if (i == 4)
			mr_profile_init(&config.profile, "3.0");
		assert_int_equal(mr_source_log_write(&log, &config, out), -1);
		fclose(out);
		free(text_of);
	}
	config = whole;
}

/* ---- Lines that do not end ---- */

static void no_newline(void **state)
{
	char *bytes = malloc(HEADER_LIMIT + 1);

	(void)state;
	assert_non_null(bytes);
	refused("", 0, 1, "expected a newline within 4194304 bytes, found none");
	refused(HEADER, strlen(HEADER) - 1, 1, "expected a newline within 4194304 bytes, found none");
	refused(HEADER "{\"time\":1}", strlen(HEADER "{\"time\":1}"), 2,
		"expected a newline within 65536 bytes, found none");
	memset(bytes, ' ', HEADER_LIMIT + 1);
	bytes[HEADER_LIMIT] = '\n';
	refused(bytes, HEADER_LIMIT + 1, 1, "expected a newline within 4194304 bytes, found none");
	free(bytes);
}

/* A line of just the limit, with its newline, is read; one byte more is too long. */
static void long_lines(void **state)
{
	static const char record[] = "{\"time\":1}";
	char *bytes = malloc(sizeof(HEADER) + LINE_LIMIT + 1);
	const size_t header = strlen(HEADER);

	(void)state;
	assert_non_null(bytes);
	for (size_t more = 0; more < 2; more++) {
		struct mr_source_log log;
		const size_t length = LINE_LIMIT - 1 + more;

		memcpy(bytes, HEADER, header);
		memset(bytes + header, ' ', length);
		memcpy(bytes + header, record, strlen(record));
		bytes[header + length] = '\n';
		if (more) {
			refused(bytes, header + length + 1, 2, "expected a newline within 65536 bytes, found none");
			continue;
		}
		write_file(bytes, header + length + 1);
		read_back(&log);
		assert_int_equal(log.count, 1);
		mr_source_log_clear(&log);
	}
	free(bytes);
}

/* Each prefix that ends with a line is a log; every other one is refused, in its last line. */
static void prefixes(void **state)
{
	uint64_t line = 1;

	(void)state;
	for (size_t length = 0; length < sizeof(text); length++) {
		struct mr_source_log_header header;
		struct mr_source_log log;
		char error[ERROR_SIZE] = "", expected[ERROR_SIZE];

		write_file(text, length);
		if (length && text[length - 1] == '\n') {
			read_back(&log);
			mr_source_log_clear(&log);
			line++;
			continue;
		}
		assert_int_equal(mr_source_log_read(&log, &header, path, error, sizeof(error)), -1);
		snprintf(expected, sizeof(expected), "%s: line %" PRIu64 ": expected a newline", path, line);
		assert_memory_equal(error, expected, strlen(expected));
	}
}

static void no_file(void **state)
{
	struct mr_source_log log = {.count = 1};
	struct mr_source_log_header header;
	char error[ERROR_SIZE] = "";

	(void)state;
	assert_int_equal(mr_source_log_read(&log, &header, "/nowhere/log", error, sizeof(error)), -1);
	assert_non_null(strstr(error, "/nowhere/log"));
	assert_int_equal(log.count, 0);
}

static void cannot_be_written(void **state)
{
	struct mr_source_log log = {0};
	FILE *full = fopen("/dev/full", "w");

	(void)state;
	if (!full)
		skip();
	setbuf(full, NULL);
	append_all(&log, records, RECORDS);
	assert_int_equal(mr_source_log_write(&log, &config, full), -1);
	fclose(full);
	mr_source_log_clear(&log);
}

/* ---- Names ---- */

static void names(void **state)
{
	char actor[MR_SOURCE_ACTOR_TEXT_MAX];

	(void)state;
	for (unsigned i = 0; i < MR_CHOICE_COUNT; i++)
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(mr_choice_name((enum mr_choice)i), mr_choice_name((enum mr_choice)j));
	assert_null(mr_choice_name(MR_CHOICE_COUNT));
	for (unsigned i = 0; i < MR_SOURCE_COMMAND_COUNT; i++)
		assert_non_null(mr_source_command_name((enum mr_source_command)i));
	assert_null(mr_source_command_name(MR_SOURCE_COMMAND_COUNT));
	mr_source_actor_format(MR_SOURCE_MIGRATION, actor);
	assert_string_equal(actor, "migration");
	mr_source_actor_format(MR_SOURCE_MULTIFD + 3, actor);
	assert_string_equal(actor, "multifd3");
	mr_source_actor_format(MR_SOURCE_COUNT, actor);
	assert_string_equal(actor, "nobody");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_log),  cmocka_unit_test(no_records),          cmocka_unit_test(random_logs),
		cmocka_unit_test(repeated),   cmocka_unit_test(counts_at_the_limit), cmocka_unit_test(bad_lines),
		cmocka_unit_test(bad_keys),   cmocka_unit_test(bad_values),          cmocka_unit_test(bad_headers),
		cmocka_unit_test(no_newline), cmocka_unit_test(long_lines),          cmocka_unit_test(prefixes),
		cmocka_unit_test(no_file),    cmocka_unit_test(cannot_be_written),   cmocka_unit_test(names),
		cmocka_unit_test(not_told),
	};

	return cmocka_run_group_tests(tests, set_up, remove_file);
}
