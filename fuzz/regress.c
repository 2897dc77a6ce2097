/*
 * regress.c: runs a fuzz target on the files of the given directories, without a fuzzer: what was found stays mended.
 */
#include "common.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

/* Runs the target on one file. Returns false with a line on standard error if it cannot be read. */
static bool run_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *input;
	size_t length;

	if (!file) {
		fprintf(stderr, "%s: expected a readable file, found: %s\n", path, strerror(errno));
		return false;
	}
	input = malloc(FUZZ_INPUT_MAX);
	length = input ? fread(input, 1, FUZZ_INPUT_MAX, file) : 0;
	if (input && !ferror(file)) {
		/* Of exactly this length, so that reading one byte too far is seen. */
		uint8_t *exact = realloc(input, length ? length : 1);

		if (exact)
			input = exact;
		LLVMFuzzerTestOneInput(input, length);
	}
	free(input);
	fclose(file);
	return true;
}

/* Returns how many files were run, or -1. */
static long run_directory(const char *directory)
{
	DIR *entries = opendir(directory);
	const struct dirent *entry;
	long count = 0;

	if (!entries) {
		fprintf(stderr, "%s: expected a directory, found: %s\n", directory, strerror(errno));
		return -1;
	}
	while (count >= 0 && (entry = readdir(entries)) != NULL) {
		char path[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		count = run_file(path) ? count + 1 : -1;
	}
	closedir(entries);
	return count;
}

int main(int count, char **arguments)
{
	long files = 0;

	if (count < 2) {
		fprintf(stderr, "usage: %s DIRECTORY...\n", arguments[0]);
		return 2;
	}
	for (int i = 1; i < count; i++) {
		const long here = run_directory(arguments[i]);

		if (here < 0)
			return 1;
		files += here;
	}
	printf("%ld inputs\n", files);
	return files ? 0 : 1;
}
