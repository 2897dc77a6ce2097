/* mr_input against files, pipes and zstd files of known content, whole, cut and corrupt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zstd.h>

#include "folder.h"
#include "sim/record/input.h"

#define CONTENT_SIZE ((size_t)5 * 1000 * 1000 + 17)
#define PATH_SIZE    256

static char directory[] = "/tmp/migref-input-XXXXXX";
static uint8_t *content;

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static const char *path_of(const char *name)
{
	static char path[PATH_SIZE];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static void write_descriptor(int descriptor, const uint8_t *bytes, size_t size)
{
	while (size > 0) {
		ssize_t count = write(descriptor, bytes, size);

		if (count <= 0)
			_exit(1);
		bytes += count;
		size -= (size_t)count;
	}
}

static void write_file(const char *name, const uint8_t *bytes, size_t size)
{
	int descriptor = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(descriptor >= 0);
	write_descriptor(descriptor, bytes, size);
	close(descriptor);
}

/* Half of it random, half of it easy to compress. */
static int make_content(void **state)
{
	uint64_t random = 0x9e3779b97f4a7c15;

	(void)state;
	content = malloc(CONTENT_SIZE);
	if (!content || !mkdtemp(directory))
		return -1;
	for (size_t index = 0; index < CONTENT_SIZE; index++)
		content[index] = (index >> 16) & 1 ? (uint8_t)(index >> 12) : (uint8_t)next_random(&random);
	return 0;
}

static int remove_content(void **state)
{
	(void)state;
	free(content);
	return folder_remove(directory);
}

/* Goes through the input in steps of random sizes and compares all that the window shows. */
static void walk(struct mr_input *input, const uint8_t *expected, size_t size, size_t step, uint64_t seed)
{
	size_t position = 0;

	for (;;) {
		size_t wanted = (size_t)(next_random(&seed) % step);
		size_t consumed;
		const uint8_t *window;
		size_t length;
		bool at_end;

		assert_int_equal(mr_input_fill(input, wanted), 0);
		window = mr_input_window(input, &length, &at_end);
		assert_true(length <= size - position);
		assert_true(length >= wanted || at_end);
		if (at_end)
			assert_int_equal(length, size - position);
		if (at_end && length == 0)
			break;
		consumed = (size_t)(next_random(&seed) % step);
		if (consumed > length)
			consumed = length;
		if (wanted < consumed)
			wanted = consumed;
		if (wanted > length)
			wanted = length;
		assert_memory_equal(window, expected + position, wanted);
		mr_input_consume(input, consumed);
		position += consumed;
		assert_int_equal(mr_input_position(input), position);
	}
	assert_int_equal(position, size);
	assert_string_equal(mr_input_error(input), "");
}

static void walk_path(const char *path, const uint8_t *expected, size_t size)
{
	static const size_t steps[] = {100000, 400000, 3000000};

	for (size_t index = 0; index < sizeof(steps) / sizeof(steps[0]); index++) {
		struct mr_input *input;
		char error[512] = "";

		if (mr_input_open(&input, path, error, sizeof(error)) < 0)
			fail_msg("%s", error);
		walk(input, expected, size, steps[index], 7 + index);
		mr_input_close(input);
	}
}

static void expect_open_error(const char *path, const char *part)
{
	struct mr_input *input;
	char error[512] = "";

	assert_int_equal(mr_input_open(&input, path, error, sizeof(error)), -1);
	assert_null(input);
	if (!strstr(error, part) || strncmp(error, path, strlen(path)) != 0 || strchr(error, '\n'))
		fail_msg("expected \"%s: ...%s...\", found \"%s\"", path, part, error);
}

/* Opens and reads to the end: the error must come, and only after the good_bytes before it. */
static void expect_read_error(const char *path, size_t good_bytes, const char *part)
{
	struct mr_input *input;
	char error[512] = "";
	const uint8_t *window;
	size_t length;
	bool at_end;

	if (mr_input_open(&input, path, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_int_equal(mr_input_fill(input, CONTENT_SIZE + 1), -1);
	if (!strstr(mr_input_error(input), part) || strncmp(mr_input_error(input), path, strlen(path)) != 0)
		fail_msg("expected \"%s: ...%s...\", found \"%s\"", path, part, mr_input_error(input));
	window = mr_input_window(input, &length, &at_end);
	assert_false(at_end);
	assert_true(length >= good_bytes);
	assert_memory_equal(window, content, length);
	assert_int_equal(mr_input_fill(input, length + 1), -1);
	assert_int_equal(mr_input_fill(input, length), 0);
	mr_input_close(input);
}

/* The content as zstd frames of frame_size bytes each; the caller frees it. */
static uint8_t *compress(size_t frame_size, size_t *compressed_size)
{
	const size_t frames = (CONTENT_SIZE + frame_size - 1) / frame_size;
	const size_t bound = frames * ZSTD_compressBound(frame_size);
	uint8_t *compressed = malloc(bound);

	assert_non_null(compressed);
	*compressed_size = 0;
	for (size_t offset = 0; offset < CONTENT_SIZE; offset += frame_size) {
		size_t rest = CONTENT_SIZE - offset < frame_size ? CONTENT_SIZE - offset : frame_size;
		size_t size = ZSTD_compress(compressed + *compressed_size, bound - *compressed_size, content + offset,
					    rest, 1);

		assert_false(ZSTD_isError(size));
		*compressed_size += size;
	}
	return compressed;
}

static void test_plain_file(void **state)
{
	struct mr_input *input;
	char error[512];
	size_t length;
	bool at_end;

	(void)state;
	write_file("plain", content, CONTENT_SIZE);
	walk_path(path_of("plain"), content, CONTENT_SIZE);

	assert_int_equal(mr_input_open(&input, path_of("plain"), error, sizeof(error)), 0);
	mr_input_window(input, &length, &at_end);
	assert_true(at_end);
	assert_int_equal(length, CONTENT_SIZE);
	assert_int_equal(mr_input_total(input), CONTENT_SIZE);
	assert_true(mr_input_fraction(input) <= 0);
	mr_input_consume(input, CONTENT_SIZE / 2);
	assert_true(mr_input_fraction(input) > 0.49 && mr_input_fraction(input) < 0.51);
	assert_int_equal(mr_input_fill(input, MR_INPUT_WINDOW_MAX + 1), 0);
	assert_string_equal(mr_input_name(input), path_of("plain"));
	mr_input_close(input);
	mr_input_close(NULL);
}

static void test_empty_file(void **state)
{
	(void)state;
	write_file("empty", content, 0);
	walk_path(path_of("empty"), content, 0);
	write_file("three", content, 3);
	walk_path(path_of("three"), content, 3);
	write_file("empty.zst", content, 0);
	expect_read_error(path_of("empty.zst"), 0, "cut: ends at byte 0");
}

static void test_missing_file(void **state)
{
	(void)state;
	expect_open_error(path_of("missing"), "no such file");
	expect_open_error(directory, "found a directory");
	write_file("file", content, 1);
	expect_open_error(path_of("file/below"), "Not a directory");
}

/* Writes to a pipe in pieces of many sizes from a child; returns the end to read. */
static int start_writer(const uint8_t *bytes, size_t size, pid_t *child)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	*child = fork();
	assert_true(*child >= 0);
	if (*child == 0) {
		uint64_t random = 99;

		close(ends[0]);
		for (size_t offset = 0; offset < size;) {
			size_t piece = 1 + (size_t)(next_random(&random) % 100000);

			if (offset < 3 || piece > size - offset)
				piece = offset < 3 ? 1 : size - offset;
			write_descriptor(ends[1], bytes + offset, piece);
			offset += piece;
		}
		_exit(0);
	}
	close(ends[1]);
	return ends[0];
}

/* Runs one walk over standard input coming from a pipe. */
static void walk_pipe(const uint8_t *bytes, size_t size, const uint8_t *expected, size_t expected_size, size_t step,
		      int flags)
{
	struct mr_input *input;
	char error[512] = "";
	pid_t child;
	int status;
	int descriptor = start_writer(bytes, size, &child);
	int saved = dup(STDIN_FILENO);

	assert_int_equal(fcntl(descriptor, F_SETFL, flags), 0);
	assert_int_equal(dup2(descriptor, STDIN_FILENO), STDIN_FILENO);
	close(descriptor);
	if (mr_input_open(&input, "-", error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_int_equal(mr_input_total(input), 0);
	assert_true(mr_input_fraction(input) < 0);
	walk(input, expected, expected_size, step, step);
	mr_input_close(input);
	if (saved >= 0) {
		dup2(saved, STDIN_FILENO);
		close(saved);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_pipe(void **state)
{
	size_t size;
	uint8_t *compressed = compress(CONTENT_SIZE / 2 + 1, &size);

	(void)state;
	walk_pipe(content, CONTENT_SIZE, content, CONTENT_SIZE, 50000, 0);
	walk_pipe(content, CONTENT_SIZE, content, CONTENT_SIZE, 3000000, 0);
	walk_pipe(content, CONTENT_SIZE, content, CONTENT_SIZE, 500000, O_NONBLOCK);
	walk_pipe(compressed, size, content, CONTENT_SIZE, 500000, 0);
	walk_pipe(content, 0, content, 0, 1000, 0);
	free(compressed);
}

static void test_fifo_by_name(void **state)
{
	struct mr_input *input;
	char error[512];
	pid_t child;
	int status;

	(void)state;
	assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
	child = fork();
	if (child == 0) {
		write_descriptor(open(path_of("fifo"), O_WRONLY), content, 200000);
		_exit(0);
	}
	assert_int_equal(mr_input_open(&input, path_of("fifo"), error, sizeof(error)), 0);
	walk(input, content, 200000, 5000, 3);
	mr_input_close(input);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_window_limit(void **state)
{
	struct mr_input *input;
	char error[512];
	int ends[2];
	int saved = dup(STDIN_FILENO);

	(void)state;
	assert_int_equal(pipe(ends), 0);
	write_descriptor(ends[1], content, 1000);
	close(ends[1]);
	dup2(ends[0], STDIN_FILENO);
	close(ends[0]);
	assert_int_equal(mr_input_open(&input, "-", error, sizeof(error)), 0);
	assert_int_equal(mr_input_fill(input, MR_INPUT_WINDOW_MAX + 1), -1);
	assert_non_null(strstr(mr_input_error(input), "limit"));
	assert_int_equal(mr_input_fill(input, MR_INPUT_WINDOW_MAX), 0);
	mr_input_close(input);
	if (saved >= 0) {
		dup2(saved, STDIN_FILENO);
		close(saved);
	}
}

static void test_zstd_frames(void **state)
{
	static const size_t frame_sizes[] = {CONTENT_SIZE, CONTENT_SIZE / 2 + 1, 70000};

	(void)state;
	for (size_t index = 0; index < sizeof(frame_sizes) / sizeof(frame_sizes[0]); index++) {
		struct mr_input *input;
		char error[512];
		size_t size;
		uint8_t *compressed = compress(frame_sizes[index], &size);

		write_file("frames.zst", compressed, size);
		walk_path(path_of("frames.zst"), content, CONTENT_SIZE);
		walk_path(path_of("frames"), content, CONTENT_SIZE); /* stands for frames.zst */
		write_file("by-magic", compressed, size);
		walk_path(path_of("by-magic"), content, CONTENT_SIZE);

		assert_int_equal(mr_input_open(&input, path_of("frames"), error, sizeof(error)), 0);
		assert_string_equal(mr_input_name(input), path_of("frames.zst"));
		assert_int_equal(mr_input_total(input), size);
		assert_int_equal(mr_input_fill(input, CONTENT_SIZE + 1), 0);
		assert_true(mr_input_fraction(input) >= 1);
		mr_input_close(input);
		free(compressed);
	}
}

static void test_zstd_cut_and_corrupt(void **state)
{
	size_t size;
	uint8_t *compressed = compress(CONTENT_SIZE / 2 + 1, &size);

	(void)state;
	write_file("cut.zst", compressed, size - 1);
	expect_read_error(path_of("cut.zst"), CONTENT_SIZE / 2, "cut: ends at byte");
	write_file("cut.zst", compressed, 3);
	expect_read_error(path_of("cut.zst"), 0, "cut: ends at byte 3");
	write_file("cut.zst", compressed, size / 3);
	expect_read_error(path_of("cut.zst"), 1, "cut: ends at byte");

	memset(compressed + ZSTD_findFrameCompressedSize(compressed, size), 0xff, 4);
	write_file("corrupt.zst", compressed, size);
	expect_read_error(path_of("corrupt.zst"), CONTENT_SIZE / 2 + 1, "not readable as zstd");
	free(compressed);

	write_file("plain.zst", content, 1000);
	expect_read_error(path_of("plain.zst"), 0, "not readable as zstd");
}

static void test_zstd_window_too_large(void **state)
{
	/* A frame header without a content size whose window is 2^27 bytes, and one raw last block. */
	uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, (27 - 10) << 3, 0x09, 0x00, 0x00, 'x'};

	(void)state;
	write_file("window", frame, sizeof(frame));
	walk_path(path_of("window"), (const uint8_t *)"x", 1);
	frame[5] = (28 - 10) << 3;
	write_file("window", frame, sizeof(frame));
	expect_read_error(path_of("window"), 0, "not readable as zstd");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_file),
		cmocka_unit_test(test_empty_file),
		cmocka_unit_test(test_missing_file),
		cmocka_unit_test(test_pipe),
		cmocka_unit_test(test_fifo_by_name),
		cmocka_unit_test(test_window_limit),
		cmocka_unit_test(test_zstd_frames),
		cmocka_unit_test(test_zstd_cut_and_corrupt),
		cmocka_unit_test(test_zstd_window_too_large),
	};

	return cmocka_run_group_tests_name("input", tests, make_content, remove_content);
}
