/* test_vectors.c: the reference reads each test vector as the vector expects: one test case for each file. */
#include "sim/record/vector.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "watched.h"

enum { VECTORS_MAX = 4096, PATH_SIZE = 512 };

/* Not vectors: whole streams and migrations, which have formats of their own. */
static const char *const others[] = {"recordings", "streams"};

struct paths {
	char *path[VECTORS_MAX];
	size_t count;
};

static void test_vector(void **state)
{
	const char *path = *state;
	char difference[MR_VECTOR_MESSAGE_MAX];
	struct mr_vector vector;

	if (mr_vector_load(&vector, path, difference))
		fail_msg("%s", difference);
	if (mr_vector_run(&vector, difference)) {
		mr_vector_free(&vector);
		fail_msg("%s: %s", path, difference);
	}
	mr_vector_free(&vector);
}

/* A file that is no vector is refused with a line that says why. */
static void expect_refusal(const char *text, const char *reason)
{
	char path[] = "/tmp/vector-XXXXXX";
	char error[MR_VECTOR_MESSAGE_MAX] = "";
	struct mr_vector vector;
	FILE *file = fdopen(mkstemp(path), "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(mr_vector_load(&vector, path, error), -1);
	unlink(path);
	if (!strstr(error, reason))
		fail_msg("expected a line with \"%s\", found: %s", reason, error);
}

#define FRAME(members) "{\"id\":\"x\",\"text\":\"x\",\"verdict\":\"valid\",\"findings\":[]," members "}"
#define INPUT(line)    FRAME("\"input\":[\"" line "\"]")

static void test_refusals(void **state)
{
	char error[MR_VECTOR_MESSAGE_MAX];
	struct mr_vector vector;

	(void)state;
	assert_int_equal(mr_vector_load(&vector, "/nonexistent/vector.json", error), -1);
	assert_string_equal(error, "/nonexistent/vector.json: cannot be opened");
	expect_refusal("[", "expected JSON");
	expect_refusal("[]", "expected an \"id\"");
	expect_refusal("{}", "expected an \"id\"");
	expect_refusal(FRAME("\"since\":\"\""), "either \"input\" or \"channels\"");
	expect_refusal(FRAME("\"input\":[],\"channels\":[]"), "either \"input\" or \"channels\"");
	expect_refusal(FRAME("\"input\":7"), "expected an array of lines");
	expect_refusal(FRAME("\"input\":[7]"), "no string");
	expect_refusal(INPUT("0"), "expected hex");
	expect_refusal(INPUT("0g"), "expected hex");
	expect_refusal(INPUT("zero"), "expected hex");
	expect_refusal(INPUT("zero*"), "expected hex");
	expect_refusal(INPUT("zero*0"), "expected hex");
	expect_refusal(INPUT("zero*4194305"), "4194304 bytes at most");
	expect_refusal(INPUT("zero*99999999999999999999999999"), "4194304 bytes at most");
	expect_refusal(INPUT("byte:1*2"), "expected hex");
	expect_refusal(INPUT("byte:11"), "expected hex");
	expect_refusal(INPUT("'open"), "expected hex");
	expect_refusal(INPUT("00'x'"), "expected hex");
	expect_refusal(FRAME("\"input\":[],\"context\":{\"role\":\"guest\"}"), "\"role\"");
	expect_refusal(FRAME("\"input\":[],\"context\":{\"profile\":\"1.0\"}"), "\"profile\"");
	expect_refusal(FRAME("\"input\":[],\"context\":{\"capabilities\":[\"colour\"]}"), "\"capabilities\"");
	expect_refusal(FRAME("\"input\":[],\"context\":{\"method\":\"lzma\"}"), "\"method\"");
	expect_refusal(FRAME("\"input\":[],\"context\":{\"uuid\":\"00\"}"), "\"uuid\"");
	expect_refusal(FRAME("\"input\":[],\"context\":{\"target_page_size\":5000}"), "\"target_page_size\"");
	expect_refusal(FRAME("\"input\":[],\"context\":{\"blocks\":{}}"), "\"blocks\"");
	expect_refusal(FRAME("\"input\":[],\"class\":\"state\""), "\"class\"");
	expect_refusal("{\"id\":\"x\",\"text\":\"x\",\"verdict\":\"invalid\",\"findings\":[],\"input\":[]}",
		       "\"verdict\"");
	expect_refusal("{\"id\":\"x\",\"text\":\"x\",\"verdict\":\"state\",\"findings\":[],\"input\":[]}",
		       "\"verdict\"");
}

static void run_text(const char *text, char difference[MR_VECTOR_MESSAGE_MAX], int expected)
{
	char path[] = "/tmp/vector-XXXXXX";
	struct mr_vector vector;
	FILE *file = fdopen(mkstemp(path), "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	if (mr_vector_load(&vector, path, difference))
		fail_msg("%s", difference);
	unlink(path);
	assert_int_equal(mr_vector_run(&vector, difference), expected);
	mr_vector_free(&vector);
}

static void expect_difference(const char *members, const char *found)
{
	char text[2048], difference[MR_VECTOR_MESSAGE_MAX] = "";

	snprintf(text, sizeof(text), "{\"id\":\"x\",\"text\":\"x\",\"context\":{\"cut\":true},%s}", members);
	run_text(text, difference, found ? -1 : 0);
	if (found && !strstr(difference, found))
		fail_msg("expected a line with \"%s\", found: %s", found, difference);
}

#define HEADER  "\"input\":[\"5145564d 00000003  # header\"],"
#define NOTHING "\"verdict\":\"valid\",\"findings\":[]"
#define RECORD  "{\"channel\":0,\"kind\":\"file-header\",\"offset\":0,\"length\":8"
#define OTHER   "\"input\":[\"5145564d 00000002\"],"

static void test_differences(void **state)
{
	(void)state;
	expect_difference(HEADER NOTHING, NULL);
	expect_difference(HEADER NOTHING ",\"records\":[" RECORD "}]", NULL);
	expect_difference(HEADER NOTHING ",\"records\":[" RECORD ",\"fields\":{\"version\":3}}]", NULL);
	expect_difference(HEADER NOTHING ",\"records\":[" RECORD ",\"fields\":{\"version\":4}}]", "record 0");
	expect_difference(HEADER NOTHING ",\"records\":[" RECORD ",\"fields\":{\"colour\":4}}]", "record 0");
	expect_difference(HEADER NOTHING ",\"records\":[" RECORD "}," RECORD "}]", "record 1");
	expect_difference(HEADER NOTHING ",\"records\":[]", "record 0: expected none");
	expect_difference(HEADER "\"verdict\":\"valid\",\"findings\":[{\"rule\":\"STR-001\"}]", "found none");
	expect_difference(HEADER "\"verdict\":\"acceptable\",\"findings\":[]", "expected a stream that is acceptable");
	expect_difference(OTHER NOTHING, "finding 0: expected none");
	expect_difference(OTHER "\"verdict\":\"invalid\",\"class\":\"malformed\",\"findings\":"
				"[{\"rule\":\"STR-002\",\"channel\":0,\"offset\":4}]",
			  NULL);
	expect_difference(OTHER "\"verdict\":\"invalid\",\"class\":\"malformed\",\"findings\":"
				"[{\"rule\":\"STR-002\",\"channel\":0,\"offset\":5}]",
			  "finding 0");
}

/* ---- Which vectors there are ---- */

static void add_area(struct paths *paths, const char *area)
{
	char path[PATH_SIZE];
	struct dirent *entry;
	DIR *directory;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strcmp(area, others[i]) == 0)
			return;
	snprintf(path, sizeof(path), "vectors/%.200s", area);
	directory = opendir(path);
	while (directory && (entry = readdir(directory)) != NULL) {
		const size_t length = strlen(entry->d_name);

		if (length < 5 || strcmp(entry->d_name + length - 5, ".json") != 0 || paths->count == VECTORS_MAX)
			continue;
		snprintf(path, sizeof(path), "vectors/%.200s/%.255s", area, entry->d_name);
		paths->path[paths->count++] = strdup(path);
	}
	if (directory)
		closedir(directory);
}

static void add_areas(struct paths *paths)
{
	DIR *directory = opendir("vectors");
	struct dirent *entry;

	while (directory && (entry = readdir(directory)) != NULL)
		if (entry->d_name[0] != '.')
			add_area(paths, entry->d_name);
	if (directory)
		closedir(directory);
}

static int path_order(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct paths paths;
static struct CMUnitTest tests[VECTORS_MAX + 2] = {
	cmocka_unit_test(test_refusals),
	cmocka_unit_test(test_differences),
};

int main(void)
{
	size_t count = 2;
	int failures;

	add_areas(&paths);
	qsort(paths.path, paths.count, sizeof(paths.path[0]), path_order);
	if (paths.count == 0) {
		fprintf(stderr, "test_vectors: no vectors in vectors/*/: run it in the top directory\n");
		return 1;
	}
	/* Under valgrind, which takes minutes for all, each fourth. */
	for (size_t i = 0; i < paths.count; i += RUNNING_ON_VALGRIND ? 4 : 1)
		tests[count++] = (struct CMUnitTest){paths.path[i], test_vector, NULL, NULL, paths.path[i]};
	failures = _cmocka_run_group_tests("vectors", tests, count, NULL, NULL);
	for (size_t i = 0; i < paths.count; i++)
		free(paths.path[i]);
	return failures != 0;
}
