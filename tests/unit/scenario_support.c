/* scenario_support.c: scenarios out of text, and whether two are the same. */
#include "scenario_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"

static char folder[] = "/tmp/migref-scenario-XXXXXX";

int scenario_make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

int scenario_remove_folder(void **state)
{
	(void)state;
	return folder_remove(folder);
}

const char *scenario_file(const char *name, const char *text, size_t length)
{
	static char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
	return path;
}

int scenario_read_text(struct mr_scenario *scenario, const char *text, char error[512])
{
	const char *path = scenario_file("text.ini", text, strlen(text));
	const size_t length = strlen(path);
	const int result = mr_scenario_read(scenario, path, error, 512);

	if (result < 0 && strncmp(error, path, length) == 0) {
		memcpy(error, "FILE", 4);
		memmove(error + 4, error + length, strlen(error + length) + 1);
	}
	return result;
}

static void expect_same_elements(const struct mr_scenario *a, const struct mr_scenario *b,
				 enum mr_scenario_section_number number)
{
	const struct mr_scenario_section *section = &mr_scenario_sections[number];
	const uint32_t count = mr_scenario_section_count(a, number);

	assert_int_equal(count, mr_scenario_section_count(b, number));
	for (uint32_t i = 0; i < count; i++) {
		const void *of_a = mr_scenario_element_of(a, number, i), *of_b = mr_scenario_element_of(b, number, i);

		if (section->named)
			assert_string_equal((const char *)of_a, (const char *)of_b);
		for (unsigned k = 0; k < section->key_count; k++)
			if (!mr_key_is_equal(&section->keys[k], of_a, of_b))
				fail_msg("seed %llu: [%s] %u: %s differs", (unsigned long long)a->seed, section->name,
					 (unsigned)i, section->keys[k].name);
	}
}

void expect_same_scenario(const struct mr_scenario *a, const struct mr_scenario *b)
{
	for (unsigned i = 0; i < MR_SECTION_COUNT; i++)
		expect_same_elements(a, b, i);
	for (uint32_t i = 0; i < a->workload_count; i++) {
		const struct mr_pattern_config *of_a = &a->workloads[i].pattern, *of_b = &b->workloads[i].pattern;

		assert_int_equal(of_a->trace_length, of_b->trace_length);
		assert_ptr_equal(of_a->trace, a->traces[i]);
		assert_ptr_equal(of_b->trace, b->traces[i]);
		for (uint64_t k = 0; k < of_a->trace_length; k++) {
			assert_int_equal(of_a->trace[k].page, of_b->trace[k].page);
			assert_int_equal(of_a->trace[k].write, of_b->trace[k].write);
			assert_int_equal(of_a->trace[k].pauses, of_b->trace[k].pauses);
		}
	}
}

void scenario_round_trip(const struct mr_scenario *scenario, struct mr_scenario *again)
{
	char error[512], *text;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	assert_non_null(out);
	assert_int_equal(mr_scenario_write(scenario, out), 0);
	assert_int_equal(fclose(out), 0);
	if (scenario_read_text(again, text, error) < 0)
		fail_msg("seed %llu: %s\n%s", (unsigned long long)scenario->seed, error, text);
	free(text);
}
