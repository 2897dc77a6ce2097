/* test_source_vectors.c: the reference as a source does what each vector of a source says: one test case for each file.
 */
#include "sim/record/source_vector.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { VECTORS_MAX = 512, PATH_SIZE = 512 };

static void test_vector(void **state)
{
	char difference[MR_VECTOR_MESSAGE_MAX];

	if (mr_source_vector_run(*state, difference))
		fail_msg("%s", difference);
}

static void expect_difference(const char *text, const char *reason)
{
	char path[] = "/tmp/vector-XXXXXX";
	char difference[MR_VECTOR_MESSAGE_MAX] = "";
	FILE *file = fdopen(mkstemp(path), "w");
	int result;

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	result = mr_source_vector_run(path, difference);
	unlink(path);
	if (result != (reason ? -1 : 0) || (reason && !strstr(difference, reason)))
		fail_msg("expected %s, found: %s", reason ? reason : "agreement", difference);
}

#define VECTOR(profile, blocks, rest)                                                                                  \
	"{\"id\":\"x\",\"text\":\"x\",\"source\":{\"profile\":\"" profile "\",\"blocks\":[" blocks                     \
	"],\"capabilities\":[\"postcopy-ram\"],\"moment\":\"postcopy\"}," rest "}"
#define MEM     "{\"name\":\"mem\",\"used_length\":16384,\"dirty\":[[1,2]]}"
#define COMMAND "\"commands\":[[\"08 0006 0016 00 03 'mem' 00 0000000000001000 0000000000002000\"]]"
#define REQUEST "\"return\":[\"0003 0010 0000000000001000 00001000 03 'mem'\"]"
#define SERVED  ",\"served\":[{\"block\":\"mem\",\"offset\":4096}]"

/* A vector that says something else than the reference does is found out. */
static void test_differences(void **state)
{
	(void)state;
	expect_difference("[", "expected JSON");
	expect_difference(VECTOR("1.0", MEM, COMMAND), "\"profile\"");
	expect_difference(VECTOR("7.2", "", COMMAND), "\"blocks\"");
	expect_difference(VECTOR("7.2", "{\"name\":\"mem\",\"used_length\":7}", COMMAND), "whole pages");
	expect_difference(VECTOR("7.2", "{\"name\":\"mem\",\"used_length\":4096,\"dirty\":[[1,1]]}", COMMAND), "pairs");
	expect_difference(VECTOR("7.2", MEM, COMMAND), NULL);
	expect_difference(VECTOR("7.2", MEM, "\"commands\":[]"), "expected none");
	expect_difference(VECTOR("7.2", MEM, "\"commands\":[[\"08\"]]"), "other bytes");
	expect_difference(VECTOR("7.2", MEM, COMMAND ",\"dirty\":{\"mem\":[[0,1]]}"), "page 0: expected set");
	expect_difference(VECTOR("7.2", MEM, REQUEST SERVED), NULL);
	expect_difference(VECTOR("7.2", MEM, REQUEST), "expected 0 pages served, found 1");
	expect_difference(VECTOR("7.2", MEM, REQUEST ",\"served\":[{\"block\":\"mem\",\"offset\":0}]"),
			  "page served 0");
	expect_difference(VECTOR("7.2", MEM, REQUEST SERVED ",\"refused\":{\"rule\":\"SRC-025\",\"offset\":0}"),
			  "expected a refusal by SRC-025");
	expect_difference(VECTOR("7.2", MEM, "\"return\":[\"0008 0000\"]"), "expected no refusal, found RP-001");
	expect_difference(
		VECTOR("7.2", MEM, "\"return\":[\"0008 0000\"],\"refused\":{\"rule\":\"RP-001\",\"offset\":1}"),
		"at offset 0");
}

static char *paths[VECTORS_MAX];

static size_t add_area(const char *area, size_t count)
{
	struct dirent *entry;
	char path[PATH_SIZE];
	DIR *directory;

	snprintf(path, sizeof(path), "vectors/source/%s", area);
	directory = opendir(path);
	while (directory && (entry = readdir(directory)) != NULL && count < VECTORS_MAX) {
		const size_t length = strlen(entry->d_name);

		if (length < 5 || strcmp(entry->d_name + length - 5, ".json") != 0)
			continue;
		snprintf(path, sizeof(path), "vectors/source/%s/%.255s", area, entry->d_name);
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

static struct CMUnitTest tests[VECTORS_MAX + 1] = {cmocka_unit_test(test_differences)};

int main(void)
{
	const size_t count = add_area("discard", add_area("return", 0));
	int failures;

	if (count == 0) {
		fprintf(stderr, "test_source_vectors: no vectors in vectors/source: run it in the top directory\n");
		return 1;
	}
	qsort(paths, count, sizeof(paths[0]), path_order);
	for (size_t i = 0; i < count; i++)
		tests[i + 1] = (struct CMUnitTest){paths[i], test_vector, NULL, NULL, paths[i]};
	failures = _cmocka_run_group_tests("source vectors", tests, count + 1, NULL, NULL);
	for (size_t i = 0; i < count; i++)
		free(paths[i]);
	return failures != 0;
}
