/* test_streams.c: each stream of vectors/streams, from other machines and guests, is read and written again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "folder.h"
#include "sim/record/migration.h"

enum { STREAMS_MAX = 64, PATH_SIZE = 512, STREAM_SIZE_MAX = 64 << 20, CUTS = 12 };

static char *paths[STREAMS_MAX];

/* ---- Read and write ---- */

/* What QEMU itself leaves uncertain: sections of unknown handlers, and a description that is wrong (s390_css). */
static void only_known(void *argument, const struct mr_finding *finding)
{
	size_t *count = argument;

	if (finding->rule != MR_STR_022 && finding->rule != MR_STR_023)
		fail_msg("%s: expected %s, found %s", mr_rule_id(finding->rule), finding->expected, finding->found);
	assert_int_equal(finding->verdict, MR_ACCEPTABLE);
	++*count;
}

static void assert_written_again(const struct mr_record *record, const uint8_t *wire)
{
	const size_t length = (size_t)record->length;
	uint8_t *out = malloc(length + 1);

	assert_non_null(out);
	assert_int_equal(mr_encoded_length(record), record->length);
	assert_int_equal(mr_encode(record, out, length), length);
	assert_memory_equal(out, wire, length);
	free(out);
}

static void test_written_again(void **state)
{
	const struct mr_stream_options nothing_said = {0};
	struct mr_migration *migration;
	struct mr_channel *channel;
	struct mr_record record;
	enum mr_result result;
	const uint8_t *wire;
	size_t findings = 0;
	uint64_t at = 0;
	char error[512];

	if (mr_migration_open(&migration, *state, &nothing_said, only_known, &findings, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	while ((result = mr_migration_next(migration, &channel, &record, &wire)) == MR_RECORD) {
		assert_int_equal(record.offset, at);
		assert_int_not_equal(record.kind, MR_OPAQUE);
		assert_written_again(&record, wire);
		at += record.length;
	}
	if (result == MR_FAILED)
		fail_msg("offset %llu: %s", (unsigned long long)at, channel->decoder->error.found);
	assert_int_equal(result, MR_DONE);
	assert_int_equal(record.kind, MR_VMDESCRIPTION);
	assert_true(findings == 0 || strstr(*state, "s390x") || strstr(*state, "ppc64"));
	mr_migration_close(migration);
}

/* ---- Page size and cuts ---- */

static struct mr_input *open_whole(const char *path, struct mr_bytes *stream)
{
	struct mr_input *input;
	char error[512];
	bool at_end;

	if (mr_input_open(&input, path, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_int_equal(mr_input_fill(input, STREAM_SIZE_MAX), 0);
	stream->data = mr_input_window(input, &stream->length, &at_end);
	assert_true(at_end);
	return input;
}

/* Decodes to the end; the caller's session has the page size. */
static enum mr_result run(struct mr_session *session, struct mr_decoder *decoder, struct mr_bytes stream)
{
	struct mr_record record;
	enum mr_result result;

	mr_decoder_init(decoder, session, MR_ROLE_MAIN, 0);
	while ((result = mr_decode(decoder, stream.data, stream.length, true, &record)) == MR_RECORD) {
		stream.data += record.length;
		stream.length -= (size_t)record.length;
	}
	return result;
}

static void test_page_size(void **state)
{
	struct mr_bytes stream;
	struct mr_input *input = open_whole(*state, &stream);

	assert_int_equal(mr_described_page_size(stream), strstr(*state, "virt-2.6") ? 1024 : 4096);
	stream.length--;
	assert_int_equal(mr_described_page_size(stream), 0);
	stream.length = 0;
	assert_int_equal(mr_described_page_size(stream), 0);
	mr_input_close(input);
}

/* What the only channel of a file is called, which takes its name and number from a recording's. */
static void expect_name(const char *file, const char *name, unsigned number)
{
	const struct mr_stream_options nothing_said = {0};
	struct mr_migration *migration;
	char folder[] = "/tmp/migref-names-XXXXXX";
	char path[PATH_SIZE], error[512];

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/%s", folder, file);
	assert_int_equal(symlink("/dev/null", path), 0);
	if (mr_migration_open(&migration, path, &nothing_said, NULL, NULL, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_string_equal(migration->channels[0].name, name);
	assert_int_equal(migration->channels[0].number, number);
	mr_migration_close(migration);
	assert_int_equal(folder_remove(folder), 0);
}

static void test_names(void **state)
{
	(void)state;
	expect_name("ch0.fwd", "ch0.fwd", 0);
	expect_name("ch12.ret.zst", "ch12.ret", 12);
	expect_name("ch299.fwd.cut", "ch299.fwd", 299);
	expect_name("ch300.fwd", "stream", 0);
	expect_name("ch99999999999999999999.fwd", "stream", 0);
	expect_name("ch3", "stream", 0);
	expect_name("ch.fwd", "stream", 0);
	expect_name("ch-1.fwd", "stream", 0);
	expect_name("guest.fwd", "stream", 0);
	/* the first dot where a short name ends */
	expect_name("ch0-of-guest-1.save", "stream", 0);
	expect_name("ch0-of-a-guest.", "stream", 0);
}

/* A stream that is nothing but an end mark and this description. */
static uint32_t described(const char *json)
{
	uint8_t bytes[256] = {0x00, 0x06, 0, 0, 0, (uint8_t)strlen(json)};

	snprintf((char *)bytes + 6, sizeof(bytes) - 6, "%s", json);
	return mr_described_page_size((struct mr_bytes){bytes, 6 + strlen(json)});
}

static void test_page_size_that_is_none(void **state)
{
	(void)state;
	assert_int_equal(described("{\"page_size\": 1024}"), 1024);
	assert_int_equal(described("{\"page_size\": 65536, \"devices\": []}"), 65536);
	assert_int_equal(described("{\"page_size\": 512}"), 0);
	assert_int_equal(described("{\"page_size\": 131072}"), 0);
	assert_int_equal(described("{\"page_size\": 3072}"), 0);
	assert_int_equal(described("{\"page_size\": -4096}"), 0);
	assert_int_equal(described("{\"page_size\": \"4096\"}"), 0);
	assert_int_equal(described("{\"devices\": []}"), 0);
	assert_int_equal(described("{\"page_size\": 4096"), 0);
	assert_int_equal(described("[4096]"), 0);
}

static void test_cut(void **state)
{
	struct mr_session *session = malloc(sizeof(*session));
	struct mr_decoder *decoder = malloc(sizeof(*decoder));
	struct mr_context context = {.multifd_method = MR_METHOD_UNKNOWN};
	struct mr_bytes stream;
	struct mr_input *input = open_whole(*state, &stream);

	assert_non_null(session);
	assert_non_null(decoder);
	context.target_page_size = mr_described_page_size(stream);
	for (size_t i = 0; i < CUTS; i++) {
		const size_t length = i * stream.length / CUTS;

		mr_session_init(session, &context, NULL, NULL);
		assert_int_equal(run(session, decoder, (struct mr_bytes){stream.data, length}), MR_FAILED);
		assert_int_equal(decoder->error.rule, MR_STR_026);
	}
	mr_session_init(session, &context, NULL, NULL);
	assert_int_equal(run(session, decoder, stream), MR_DONE);
	mr_input_close(input);
	free(decoder);
	free(session);
}

/* ---- Which streams there are ---- */

static size_t find_streams(void)
{
	DIR *directory = opendir("vectors/streams");
	struct dirent *entry;
	size_t count = 0;
	char path[PATH_SIZE];

	while (directory && (entry = readdir(directory)) != NULL && count < STREAMS_MAX) {
		if (!strstr(entry->d_name, ".zst"))
			continue;
		snprintf(path, sizeof(path), "vectors/streams/%.255s", entry->d_name);
		paths[count++] = strdup(path);
	}
	if (directory)
		closedir(directory);
	return count;
}

static int path_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

enum { SINGLE_TESTS = 2 };

static struct CMUnitTest tests[3 * STREAMS_MAX + SINGLE_TESTS] = {
	cmocka_unit_test(test_page_size_that_is_none),
	cmocka_unit_test(test_names),
};
static size_t test_count = SINGLE_TESTS;

static void add_test(const char *what, CMUnitTestFunction function, char *path)
{
	char name[PATH_SIZE + 32];

	snprintf(name, sizeof(name), "%s: %s", path, what);
	tests[test_count++] = (struct CMUnitTest){strdup(name), function, NULL, NULL, path};
}

int main(void)
{
	const size_t count = find_streams();
	int failures;

	if (count == 0) {
		fprintf(stderr, "test_streams: no streams in vectors/streams: run it in the top directory\n");
		return 1;
	}
	qsort(paths, count, sizeof(paths[0]), path_order);
	for (size_t i = 0; i < count; i++) {
		add_test("written again", test_written_again, paths[i]);
		add_test("page size", test_page_size, paths[i]);
		add_test("cut", test_cut, paths[i]);
	}
	failures = _cmocka_run_group_tests("streams", tests, test_count, NULL, NULL);
	while (test_count > SINGLE_TESTS)
		free((char *)(uintptr_t)tests[--test_count].name);
	for (size_t i = 0; i < count; i++)
		free(paths[i]);
	return failures != 0;
}
