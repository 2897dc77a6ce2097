/* mr_recording against every recording at hand, and against manifests and timelines that are bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"
#include "sim/record/recording.h"

#define PATH_SIZE 512
#define REQUIRED  "\"format\":1,\"source_qemu\":\"a\",\"destination_qemu\":\"b\",\"status\":\"completed\""

static char directory[] = "/tmp/migref-recording-XXXXXX";

static const char *path_of(const char *name)
{
	static char path[PATH_SIZE];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void write_text(const char *name, const char *text)
{
	FILE *file = fopen(path_of(name), "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
	assert_int_equal(fclose(file), 0);
}

static int make_directory(void **state)
{
	(void)state;
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	(void)state;
	return folder_remove(directory);
}

static void start_afresh(void)
{
	assert_int_equal(folder_remove(directory), 0);
	assert_int_equal(mkdir(directory, 0700), 0);
}

static void expect_line(const char *error, const char *part)
{
	if (!strstr(error, part) || strncmp(error, directory, strlen(directory)) != 0 || strchr(error, '\n'))
		fail_msg("expected \"%s...%s...\", found \"%s\"", directory, part, error);
}

static void expect_error(const char *path, const char *part)
{
	struct mr_recording *recording;
	char error[512] = "";

	assert_int_equal(mr_recording_open(&recording, path, error, sizeof(error)), -1);
	assert_null(recording);
	expect_line(error, part);
}

static void expect_manifest_error(const char *manifest, const char *part)
{
	write_text("manifest.json", manifest);
	expect_error(directory, part);
}

static struct mr_recording *open_recording(const char *path)
{
	struct mr_recording *recording;
	char error[512] = "";

	if (mr_recording_open(&recording, path, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	return recording;
}

static void test_bad_directories(void **state)
{
	(void)state;
	start_afresh();
	expect_error(directory, "no manifest.json");
	expect_error(path_of("missing"), "No such file");
	write_text("file", "x");
	expect_error(path_of("file"), "Not a directory");
	assert_int_equal(mkdir(path_of("manifest.json"), 0700), 0);
	expect_error(directory, "found a directory");
}

static void test_bad_manifests(void **state)
{
	(void)state;
	start_afresh();
	expect_manifest_error("", "not JSON");
	expect_manifest_error("{\"format\": 1", "not JSON");
	expect_manifest_error("{\"format\": 1}\nx", "not JSON");
	expect_manifest_error("{\"format\": \"a\nb\"}", "not JSON");
	expect_manifest_error("{\"format\": 1, \"format\": 1}", "not JSON: duplicate");
	expect_manifest_error("[1]", "expected a JSON object, found an array");
	expect_manifest_error("{}", "format: expected a whole number, found nothing");
	expect_manifest_error("{\"format\":1.5}", "format: expected a whole number, found a fraction");
	expect_manifest_error("{\"format\":2}", "format: expected 1, found 2");
	expect_manifest_error("{\"format\":-1}", "format: expected 0 to");
	expect_manifest_error("{\"format\":1}", "source_qemu: expected a string, found nothing");
	expect_manifest_error("{\"format\":1,\"source_qemu\":6}", "source_qemu: expected a string, found a number");
	expect_manifest_error("{" REQUIRED ",\"machine\":[]}", "machine: expected a string, found an array");
	expect_manifest_error("{" REQUIRED ",\"memory_mib\":\"16\"}",
			      "memory_mib: expected a whole number, found a string");
	expect_manifest_error("{" REQUIRED ",\"memory_mib\":9223372036854775807}", "memory_mib: expected 0 to");
	expect_manifest_error("{" REQUIRED ",\"memory_mib\":9223372036854775808}", "not JSON");
	expect_manifest_error("{" REQUIRED ",\"source\":true}", "source: expected an object, found true");
	expect_manifest_error("{" REQUIRED ",\"destination\":{\"status\":1}}", "destination.status: expected a string");
	expect_manifest_error("{" REQUIRED ",\"capabilities\":{}}", "capabilities: expected an array, found an object");
	expect_manifest_error("{" REQUIRED ",\"capabilities\":[\"x\",1]}", "capabilities[1]: expected a string");
	expect_manifest_error("{" REQUIRED ",\"parameters\":[]}", "parameters: expected an object, found an array");
	expect_manifest_error("{" REQUIRED ",\"parameters\":{\"multifd-channels\":\"2\"}}",
			      "parameters.multifd-channels: expected a whole number, found a string");
	expect_manifest_error("{" REQUIRED ",\"parameters\":{\"multifd-compression\":2}}",
			      "parameters.multifd-compression: expected a string, found a number");
}

static void test_manifest_limits(void **state)
{
	const size_t size = MR_RECORDING_MANIFEST_MAX + 1;
	char *text = malloc(size + 1);
	size_t used;

	(void)state;
	start_afresh();
	assert_non_null(text);
	memset(text, ' ', size);
	text[size] = '\0';
	expect_manifest_error(text, "at most 16777216 bytes");

	used = (size_t)snprintf(text, size, "{" REQUIRED ",\"capabilities\":[\"x\"");
	for (int index = 0; index < MR_RECORDING_CAPABILITIES_MAX; index++)
		used += (size_t)snprintf(text + used, size - used, ",\"x\"");
	snprintf(text + used, size - used, "]}");
	expect_manifest_error(text, "capabilities: expected at most 256, found 257");

	memset(text, '[', size);
	text[size - 1] = '\0';
	expect_manifest_error(text, "not JSON");
	free(text);
}

static void test_small_manifest(void **state)
{
	struct mr_recording *recording;
	struct mr_timeline timeline;
	struct mr_input *input;
	char error[512];

	(void)state;
	start_afresh();
	write_text("manifest.json", "{" REQUIRED ",\"new\":{},\"destination\":null,"
				    "\"parameters\":{\"level\":3,\"name\":\"x\",\"list\":[1]}}");
	recording = open_recording(directory);
	assert_string_equal(recording->source_qemu, "a");
	assert_string_equal(recording->destination_qemu, "b");
	assert_string_equal(recording->status, "completed");
	assert_null(recording->machine);
	assert_null(recording->source_status);
	assert_null(recording->destination_status);
	assert_int_equal(recording->memory_mib, 0);
	assert_int_equal(recording->channel_count, 0);
	assert_false(mr_recording_has_capability(recording, "multifd"));
	assert_int_equal(mr_recording_parameter_integer(recording, "level", 9), 3);
	assert_int_equal(mr_recording_parameter_integer(recording, "name", 9), 9);
	assert_int_equal(mr_recording_parameter_integer(recording, "none", -9), -9);
	assert_string_equal(mr_recording_parameter_string(recording, "name", "y"), "x");
	assert_string_equal(mr_recording_parameter_string(recording, "list", "y"), "y");
	assert_int_equal(mr_recording_read_timeline(recording, &timeline, error, sizeof(error)), 0);
	assert_int_equal(timeline.count, 0);
	assert_int_equal(mr_recording_open_file(recording, "ch0.fwd", &input, error, sizeof(error)), -1);
	expect_line(error, "ch0.fwd: no such file");
	mr_recording_close(recording);
	mr_recording_close(NULL);
}

static void test_channels(void **state)
{
	struct mr_recording *recording;

	(void)state;
	start_afresh();
	write_text("manifest.json", "{" REQUIRED "}");
	write_text("ch0.fwd", "");
	write_text("ch0.ret.zst", "");
	write_text("ch01.fwd", "");
	write_text("ch2.fwdx", "");
	write_text("chx.fwd", "");
	write_text("ch1.ret", "");
	recording = open_recording(directory);
	assert_int_equal(recording->channel_count, 2);
	assert_true(recording->channels[0].has_forward);
	assert_true(recording->channels[0].has_return);
	assert_false(recording->channels[1].has_forward);
	assert_true(recording->channels[1].has_return);
	mr_recording_close(recording);

	write_text("ch3.fwd", "");
	expect_error(directory, "expected the channels 0 to 3, found no ch2");
	write_text("ch300.fwd", "");
	expect_error(directory, "expected at most 300 channels, found ch300.fwd");
	assert_int_equal(unlink(path_of("ch300.fwd")), 0);
	write_text("ch99999999999999999999.fwd", "");
	expect_error(directory, "expected at most 300 channels");
}

static void expect_timeline_error(const char *text, const char *part)
{
	struct mr_recording *recording;
	struct mr_timeline timeline;
	char error[512] = "";

	write_text("timeline.jsonl", text);
	recording = open_recording(directory);
	assert_int_equal(mr_recording_read_timeline(recording, &timeline, error, sizeof(error)), -1);
	assert_null(timeline.events);
	expect_line(error, part);
	mr_recording_close(recording);
}

static void test_bad_timelines(void **state)
{
	char *text = calloc(1, MR_RECORDING_TIMELINE_LINE_MAX + 2);

	(void)state;
	start_afresh();
	write_text("manifest.json", "{" REQUIRED "}");
	expect_timeline_error("{\"t_ns\":1,\"ev\":\"cut\"}\n{\"t_ns\":1,", "line 2: not JSON");
	expect_timeline_error("\n", "line 1: not JSON");
	expect_timeline_error("1\n", "line 1: not JSON");
	expect_timeline_error("[]\n", "line 1: expected a JSON object");
	expect_timeline_error("{}\n", "t_ns: expected a whole number, found nothing");
	expect_timeline_error("{\"t_ns\":1,\"ev\":\"stop\"}", "ev: expected open, eof or cut");
	expect_timeline_error("{\"t_ns\":1,\"ev\":\"open\"}", "ch: expected a whole number");
	expect_timeline_error("{\"t_ns\":1,\"ev\":\"open\",\"ch\":300}", "ch: expected 0 to 299");
	expect_timeline_error("{\"t_ns\":1,\"ch\":1,\"dir\":\"x\"}", "dir: expected fwd or ret");
	expect_timeline_error("{\"t_ns\":1,\"ch\":1,\"dir\":\"fwd\",\"off\":-1}", "off: expected 0");
	expect_timeline_error("{\"t_ns\":1,\"ch\":1,\"dir\":\"fwd\",\"off\":1}", "len: expected");
	assert_non_null(text);
	memset(text, ' ', MR_RECORDING_TIMELINE_LINE_MAX + 1);
	expect_timeline_error(text, "line 1: expected at most 65536 bytes");
	free(text);
}

static void test_timeline(void **state)
{
	struct mr_recording *recording;
	struct mr_timeline timeline;
	char error[512] = "";

	(void)state;
	start_afresh();
	write_text("manifest.json", "{" REQUIRED "}");
	write_text("timeline.jsonl", "{\"t_ns\": 5, \"ch\": 1, \"ev\": \"open\"}\n"
				     "{\"t_ns\": 6, \"ch\": 1, \"dir\": \"ret\", \"off\": 7, \"len\": 8, \"more\": 1}\n"
				     "{\"t_ns\": 9, \"ch\": 1, \"dir\": \"fwd\", \"ev\": \"eof\"}\n"
				     "{\"t_ns\": 9, \"ev\": \"cut\"}");
	recording = open_recording(directory);
	assert_true(recording->has_timeline);
	if (mr_recording_read_timeline(recording, &timeline, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_int_equal(timeline.count, 4);
	assert_int_equal(timeline.events[0].kind, MR_TIMELINE_OPEN);
	assert_int_equal(timeline.events[0].channel, 1);
	assert_int_equal(timeline.events[0].t_ns, 5);
	assert_int_equal(timeline.events[1].kind, MR_TIMELINE_CHUNK);
	assert_int_equal(timeline.events[1].direction, MR_TIMELINE_RETURN);
	assert_int_equal(timeline.events[1].offset, 7);
	assert_int_equal(timeline.events[1].length, 8);
	assert_int_equal(timeline.events[2].kind, MR_TIMELINE_EOF);
	assert_int_equal(timeline.events[2].direction, MR_TIMELINE_FORWARD);
	assert_int_equal(timeline.events[3].kind, MR_TIMELINE_CUT);
	assert_int_equal(timeline.events[3].channel, -1);
	mr_timeline_clear(&timeline);
	assert_int_equal(timeline.count, 0);
	mr_recording_close(recording);
}

/* The number of bytes in a file of the recording. */
static uint64_t count_bytes(const struct mr_recording *recording, const char *name)
{
	struct mr_input *input;
	char error[512] = "";
	uint64_t count;
	size_t length;
	bool at_end;

	if (mr_recording_open_file(recording, name, &input, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	do {
		if (mr_input_fill(input, 1) < 0)
			fail_msg("%s", mr_input_error(input));
		mr_input_window(input, &length, &at_end);
		mr_input_consume(input, length);
	} while (!at_end);
	count = mr_input_position(input);
	mr_input_close(input);
	return count;
}

/* The chunks of each direction must follow each other and make up its file. */
static void check_direction(const struct mr_recording *recording, const struct mr_timeline *timeline,
			    unsigned int channel, enum mr_timeline_direction direction)
{
	const bool forward = direction == MR_TIMELINE_FORWARD;
	const bool present =
		forward ? recording->channels[channel].has_forward : recording->channels[channel].has_return;
	char name[32];
	uint64_t length = 0;

	for (size_t index = 0; index < timeline->count; index++) {
		const struct mr_timeline_event *event = &timeline->events[index];

		if (event->kind != MR_TIMELINE_CHUNK || event->channel != (int)channel || event->direction != direction)
			continue;
		assert_int_equal(event->offset, length);
		length += event->length;
	}
	snprintf(name, sizeof(name), "ch%u.%s", channel, forward ? "fwd" : "ret");
	assert_int_equal(length, present ? count_bytes(recording, name) : 0);
}

static void check_recording(const char *path)
{
	struct mr_recording *recording = open_recording(path);
	struct mr_timeline timeline;
	char error[512] = "";

	assert_non_null(recording->machine);
	assert_non_null(recording->accel);
	assert_non_null(recording->backend);
	assert_non_null(recording->source_status);
	assert_true(recording->memory_mib >= 4);
	assert_true(recording->has_source_ram || recording->has_source_pmem);
	assert_true(recording->has_source_trace);
	assert_true((recording->channel_count == 0) == recording->has_mapped);
	assert_true(recording->has_mapped == mr_recording_has_capability(recording, "mapped-ram"));
	if (mr_recording_has_capability(recording, "multifd") && !recording->has_mapped)
		assert_int_equal(recording->channel_count,
				 1 + mr_recording_parameter_integer(recording, "multifd-channels", 0));
	if (recording->has_source_ram)
		assert_int_equal(count_bytes(recording, "source.ram"), recording->memory_mib << 20);

	if (mr_recording_read_timeline(recording, &timeline, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_true((timeline.count > 0) == recording->has_timeline);
	for (unsigned int channel = 0; channel < recording->channel_count; channel++) {
		check_direction(recording, &timeline, channel, MR_TIMELINE_FORWARD);
		check_direction(recording, &timeline, channel, MR_TIMELINE_RETURN);
	}
	mr_timeline_clear(&timeline);
	mr_recording_close(recording);
}

static void test_real_recordings(void **state)
{
	static const char *const places[] = {"../shared/recordings", "vectors/recordings"};
	const char *place = NULL;
	DIR *listing = NULL;
	struct dirent *entry;
	unsigned int count = 0;

	(void)state;
	for (size_t index = 0; index < sizeof(places) / sizeof(places[0]) && !listing; index++) {
		place = places[index];
		listing = opendir(place);
	}
	if (!listing) {
		print_message("skipped: neither %s nor %s is there\n", places[0], places[1]);
		skip();
		return;
	}
	while ((entry = readdir(listing)) != NULL) {
		char path[PATH_SIZE];
		struct stat status;

		snprintf(path, sizeof(path), "%s/%s", place, entry->d_name);
		if (entry->d_name[0] == '.' || stat(path, &status) < 0 || !S_ISDIR(status.st_mode))
			continue;
		check_recording(path);
		count++;
	}
	closedir(listing);
	print_message("%u recordings in %s\n", count, place);
	assert_true(count > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_directories), cmocka_unit_test(test_bad_manifests),
		cmocka_unit_test(test_manifest_limits), cmocka_unit_test(test_small_manifest),
		cmocka_unit_test(test_channels),        cmocka_unit_test(test_bad_timelines),
		cmocka_unit_test(test_timeline),        cmocka_unit_test(test_real_recordings),
	};

	return cmocka_run_group_tests_name("recording", tests, make_directory, remove_directory);
}
