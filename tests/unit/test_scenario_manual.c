/* test_scenario_manual.c: migref-scenario(5) says of each key what the table says, and its examples and the ready
 * scenarios can be read. */
#include "scenario_support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char manual_path[] = "docs/migref-scenario.5";
static char *manual;

static int read_manual(void **state)
{
	FILE *file = fopen(manual_path, "r");
	size_t size = 0;

	(void)state;
	if (!file || getdelim(&manual, &size, '\0', file) < 0)
		return -1;
	fclose(file);
	return scenario_make_folder(state);
}

static int free_manual(void **state)
{
	free(manual);
	return scenario_remove_folder(state);
}

/* As roff has it: minus signs that stay such. */
static void escape(const char *text, char *out, size_t size)
{
	size_t length = 0;

	for (; *text && length + 3 < size; text++) {
		if (*text == '-')
			out[length++] = '\\';
		out[length++] = *text;
	}
	out[length] = '\0';
}

/* What the manual holds of a section: from its heading to the next. */
static char *section_of(const struct mr_scenario_section *section)
{
	char heading[64], *begin, *end;

	snprintf(heading, sizeof(heading), "\n.SS [%s%s]\n", section->name, section->named ? " \\fINAME\\fP" : "");
	begin = strstr(manual, heading);
	if (!begin) {
		fail_msg("%s: expected the section %s", manual_path, section->name);
		return NULL;
	}
	begin += 1;
	end = strstr(begin, "\n.S");
	assert_non_null(end);
	return strndup(begin, (size_t)(end + 1 - begin));
}

static void key_line(const struct mr_scenario_key *key, char out[700])
{
	char value[MR_KEY_TEXT_MAX], plain[400], escaped[500], name[64];

	mr_key_describe(key, value);
	if (!key->otherwise)
		snprintf(plain, sizeof(plain), "%s; required", value);
	else if (!*key->otherwise)
		snprintf(plain, sizeof(plain), "%s; optional", value);
	else
		snprintf(plain, sizeof(plain), "%s; default %s", value, key->otherwise);
	escape(plain, escaped, sizeof(escaped));
	escape(key->name, name, sizeof(name));
	snprintf(out, 700, "\n.TP\n.BR %s \": %s\"\n", name, escaped);
}

static unsigned count_of(const char *text, const char *what)
{
	unsigned count = 0;

	while ((text = strstr(text, what))) {
		count++;
		text++;
	}
	return count;
}

static void each_key_is_there(void **state)
{
	char line[700];

	(void)state;
	for (unsigned i = 0; i < MR_SECTION_COUNT; i++) {
		const struct mr_scenario_section *section = &mr_scenario_sections[i];
		char *text = section_of(section);

		for (unsigned k = 0; k < section->key_count; k++) {
			key_line(&section->keys[k], line);
			if (!strstr(text, line))
				fail_msg("%s: expected in [%s]:%s", manual_path, section->name, line);
		}
		/* and no other */
		assert_int_equal(count_of(text, "\n.TP\n"), section->key_count);
		free(text);
	}
}

/* The examples of all sections, one behind the other. */
static char *examples(void)
{
	char *text, *at = manual;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	assert_non_null(out);
	while ((at = strstr(at, "\n.nf\n"))) {
		for (at += 5; strncmp(at, ".fi\n", 4) != 0; at++) {
			assert_true(*at != '\0');
			if (*at != '\\')
				fputc(*at, out);
		}
		fputc('\n', out);
	}
	assert_int_equal(fclose(out), 0);
	return text;
}

static bool has_key(const char *text, const char *name)
{
	char start[80];

	snprintf(start, sizeof(start), "\n%s = ", name);
	return strstr(text, start);
}

static void each_key_has_an_example(void **state)
{
	static struct mr_scenario scenario;
	char error[512], *text = examples();

	(void)state;
	scenario_file("touches.txt", "0 w\n", 4);
	if (scenario_read_text(&scenario, text, error) < 0)
		fail_msg("%s: %s", manual_path, error);
	for (unsigned i = 0; i < MR_SECTION_COUNT; i++) {
		assert_true(mr_scenario_section_count(&scenario, i) >= 1);
		for (unsigned k = 0; k < mr_scenario_sections[i].key_count; k++)
			if (!has_key(text, mr_scenario_sections[i].keys[k].name))
				fail_msg("%s: expected an example of %s", manual_path,
					 mr_scenario_sections[i].keys[k].name);
	}
	mr_scenario_clear(&scenario);
	free(text);
}

/* ---- Ready scenarios ---- */

static void expect_ready(const char *name)
{
	static struct mr_scenario scenario, again;
	char path[300], error[512];

	snprintf(path, sizeof(path), "sim/scenarios/%s", name);
	if (mr_scenario_read(&scenario, path, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_int_equal(strncmp(scenario.name, name, strlen(scenario.name)), 0);
	assert_int_equal(mr_scenario_check(&scenario, error, sizeof(error)), 0);
	scenario_round_trip(&scenario, &again);
	expect_same_scenario(&scenario, &again);
	mr_scenario_clear(&scenario);
	mr_scenario_clear(&again);
}

static void ready_scenarios(void **state)
{
	DIR *folder = opendir("sim/scenarios");
	const struct dirent *entry;
	unsigned count = 0;

	(void)state;
	assert_non_null(folder);
	while ((entry = readdir(folder))) {
		const size_t length = strlen(entry->d_name);

		if (length < 4 || strcmp(entry->d_name + length - 4, ".ini") != 0)
			continue;
		expect_ready(entry->d_name);
		count++;
	}
	closedir(folder);
	assert_true(count >= 21);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_key_is_there),
		cmocka_unit_test(each_key_has_an_example),
		cmocka_unit_test(ready_scenarios),
	};

	return cmocka_run_group_tests(tests, read_manual, free_manual);
}
