/* test_scenario_read.c: scenario files, good ones and every kind of bad one with its line. */
#include "scenario_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hostile.h"

static struct mr_scenario scenario;
static char error[512];

/* ---- Good ones ---- */

static void read_good(const char *text)
{
	if (scenario_read_text(&scenario, text, error) < 0)
		fail_msg("%s\n%s", error, text);
}

static void empty_file_is_the_default(void **state)
{
	static const char *const texts[] = {"", "\n\n", "# nothing\n; here\n", "\xef\xbb\xbf# a mark before it\n",
					    "[link]\n"};
	static struct mr_scenario standard;

	(void)state;
	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		read_good(texts[i]);
		mr_scenario_default(&standard);
		strcpy(standard.name, "text");
		expect_same_scenario(&scenario, &standard);
	}
}

static void whole_file(void **state)
{
	(void)state;
	read_good("# comment\n"
		  "[scenario]\n"
		  "seed = 77\n"
		  "[guest]           ; comment\n"
		  "  vcpus=8         ; indented, and a comment\n"
		  "\ttarget-page : 4K\n"
		  "[block mem] # comment\r\n"
		  "size = 8M\r\n"
		  "[block  b]\n"
		  "size = 4M\n"
		  "page-size = 2M\n"
		  "[workload w]\n"
		  "vcpus = 2-3\n"
		  "block = b\n"
		  "pattern = phased\n"
		  "start = 1M\n"
		  "[fault f]\n"
		  "kind = device\n"
		  "count = 2\n"
		  "[operator o]\n"
		  "command = cancel\n"
		  "at = 5ms");
	assert_string_equal(scenario.name, "text");
	assert_int_equal(scenario.seed, 77);
	assert_int_equal(scenario.guest.vcpus, 8);
	assert_int_equal(scenario.block_count, 2);
	assert_string_equal(scenario.blocks[1].name, "b");
	assert_int_equal(scenario.blocks[0].page_size, 4096);
	assert_int_equal(scenario.blocks[1].page_size, 2 << 20);
	assert_int_equal(scenario.workloads[0].block, 1);
	assert_int_equal(scenario.workloads[0].first_vcpu, 2);
	assert_int_equal(scenario.workloads[0].pattern.first, 256);
	assert_int_equal(scenario.workloads[0].pattern.pages, 768);
	assert_int_equal(scenario.workloads[0].pattern.working_set, 768);
	assert_int_equal(scenario.faults[0].trigger, MR_TRIGGER_COUNT);
	assert_int_equal(scenario.operations[0].at, 5000000);
	mr_scenario_clear(&scenario);
}

static void huge_guest(void **state)
{
	(void)state;
	read_good("[block low]\nsize = 1T\n[block high]\nsize = 15T\n[migration]\ncapabilities = postcopy-ram\n");
	assert_int_equal(scenario.blocks[1].size, UINT64_C(15) << 40);
}

/* The guest's page size may stand behind the workloads that are reckoned by it. */
static void order_of_sections(void **state)
{
	(void)state;
	read_good("[workload w]\npattern = random\nblock = z\nstart = 64K\n"
		  "[block a]\nsize = 1M\n[block z]\nsize = 1M\n[guest]\ntarget-page = 16K\nhost-page = 64K\n");
	assert_int_equal(scenario.workloads[0].block, 1);
	assert_int_equal(scenario.workloads[0].pattern.first, 4);
	assert_int_equal(scenario.workloads[0].pattern.pages, 60);
	assert_int_equal(scenario.blocks[0].page_size, 65536);
}

static void names(void **state)
{
	static const struct {
		const char *file, *name;
	} files[] = {{"precopy.ini", "precopy"},
		     {"a.b.ini", "a.b"},
		     {".ini", ".ini"},
		     {"plain", "plain"},
		     {"a ;b.ini", "a__b"}};

	(void)state;
	for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		const char *path = scenario_file(files[i].file, "", 0);

		assert_int_equal(mr_scenario_read(&scenario, path, error, sizeof(error)), 0);
		assert_string_equal(scenario.name, files[i].name);
		assert_int_equal(mr_scenario_check(&scenario, error, sizeof(error)), 0);
	}
	read_good("[scenario]\nname = other\n");
	assert_string_equal(scenario.name, "other");
}

static void comments_may_be_long(void **state)
{
	static const char behind[] = "\n[guest]\nvcpus = 3\n";
	char text[3000];

	(void)state;
	memset(text, 'x', sizeof(text));
	text[0] = '#';
	memcpy(text + sizeof(text) - sizeof(behind), behind, sizeof(behind));
	read_good(text);
	assert_int_equal(scenario.guest.vcpus, 3);
}

/* ---- Bad ones ---- */

static void expect_line(const char *text, const char *line)
{
	if (scenario_read_text(&scenario, text, error) == 0)
		fail_msg("taken, instead of \"%s\":\n%s", line, text);
	assert_string_equal(error, line);
	for (unsigned i = 0; i < MR_SCENARIO_WORKLOADS_MAX; i++)
		assert_null(scenario.traces[i]);
}

#define WORKLOAD "[workload w]\npattern = random\n"
#define POSTCOPY "[migration]\ncapabilities = postcopy-ram\n"

static void bad_lines(void **state)
{
	(void)state;
	expect_line("[link]\nbandwith = 1Gbit\n", "FILE:2: expected a key of [link], found bandwith");
	expect_line("\n\n[lnik]\n",
		    "FILE:3: expected scenario, guest, block, workload, link, costs, migration, choices, "
		    "fault or operator as a section, found lnik");
	expect_line("vcpus = 3\n", "FILE:1: expected a section before the first key, found vcpus");
	expect_line("[guest]\nvcpus\n", "FILE:2: expected KEY = VALUE, found vcpus");
	expect_line("[guest]\n# comment\nvcpus 3\n\n[link]\n", "FILE:3: expected KEY = VALUE, found vcpus 3");
	expect_line("[guest]\nvcpus =\n", "FILE:2: expected a value for vcpus, found none");
	expect_line("[guest]\nvcpus = ; 3\n", "FILE:2: expected a value for vcpus, found none");
	expect_line("[guest]\nvcpus = 3\ndevices = 1\nvcpus = 3\n",
		    "FILE:4: expected vcpus once in [guest], found it again");
	expect_line("[guest]\n= 3\n", "FILE:2: expected a key of [guest], found ");
	expect_line("[guest]\nvcp\x01us = 3\n", "FILE:2: expected a key of [guest], found vcp?us");
	expect_line("[guest]\nvcpus = 3\n  4\n", "FILE:3: expected KEY = VALUE, found 4");
}

static void bad_sections(void **state)
{
	(void)state;
	expect_line("[guest]\n[link]\n[guest]\n", "FILE:3: expected [guest] once, found it again");
	expect_line("[block a]\nsize = 4K\n[block a]\n", "FILE:3: expected [block a] once, found it again");
	expect_line("[guest small]\n", "FILE:1: expected [guest] without a name, found small");
	expect_line("[block]\n",
		    "FILE:1: expected [block NAME], a name of 1 to 40 characters without blank, ] and ;, found none");
	expect_line("[block a b]\n",
		    "FILE:1: expected [block NAME], a name of 1 to 40 characters without blank, ] and ;, found a b");
	expect_line("[block a234567890123456789012345678901234567890b]\n",
		    "FILE:1: expected [block NAME], a name of 1 to 40 characters without blank, ] and ;, found "
		    "a234567890123456789012345678901234567890b");
	expect_line("[guest\n", "FILE:1: expected ] at the end of a section's name, found [guest");
	expect_line("[guest] vcpus = 3\n", "FILE:1: expected nothing behind a section's ], found vcpus = 3");
	expect_line("[block a]\n", "FILE:1: expected size in [block], found none");
	expect_line("[link]\n[fault f]\nat = 3ms\n", "FILE:2: expected kind in [fault], found none");
}

static void bad_values(void **state)
{
	(void)state;
	expect_line("[guest]\nvcpus = 0\n", "FILE:2: expected vcpus: a number from 1 to 256, found 0");
	expect_line("[guest]\nvcpus = many\n", "FILE:2: expected vcpus: a number from 1 to 256, found many");
	expect_line("[link]\nlatency = 20\n", "FILE:2: expected latency: a time from 0ns to 10s, found 20");
	expect_line("[link]\nfair = maybe\n", "FILE:2: expected fair: no or yes, found maybe");
	expect_line("[migration]\nswitch-after = 3\n",
		    "FILE:2: expected switch-after: a time from 0ns to 86400s, or never, found 3");
	expect_line("[migration]\ncapabilities = xbzrle, mapped-ram\n",
		    "FILE:2: expected capabilities: capabilities that can be simulated, each once, or none, found "
		    "mapped-ram");
	expect_line("[guest]\ncontents = zero:300\n",
		    "FILE:2: expected contents: shares as zero:300 random:700, 1000 in all, found zero:300");
	expect_line("[fault f]\nkind = cut\nat = 70000\n",
		    "FILE:3: expected at: a moment as 20ms, switch + 3ms or byte 70000, found 70000");
	expect_line("[operator o]\ncommand = shout\n",
		    "FILE:2: expected command: start-postcopy, pause, recover, cancel, "
		    "stop-guest or continue-guest, found shout");
	expect_line("[scenario]\nname = a b\n", "FILE:2: expected name: a name of at most 63 characters, found a b");
}

static void bad_guests(void **state)
{
	(void)state;
	expect_line("[block mem]\n\nsize = 5000\n",
		    "FILE:3: expected size: a multiple of the block's page-size = 4096, found 5000");
	expect_line("[block mem]\npage-size = 2M\nsize = 3M\n",
		    "FILE:3: expected size: a multiple of the block's page-size = 2097152, found 3M");
	expect_line("[block mem]\npage-size = 12K\nsize = 24K\n",
		    "FILE:2: expected page-size: a power of two from host-page = 4096 on, found 12K");
	expect_line("[block mem]\npage-size = 2K\nsize = 24K\n",
		    "FILE:2: expected page-size: a power of two from host-page = 4096 on, found 2K");
	expect_line("[guest]\ntarget-page = 5000\n", "FILE:2: expected target-page: a power of two, found 5000");
	expect_line("[guest]\ntarget-page = 8K\n",
		    "FILE:1: expected host-page: a power of two from target-page = 8192 on, found 4K");
	expect_line("[guest]\nhost-page = 12K\n",
		    "FILE:2: expected host-page: a power of two from target-page = 4096 on, found 12K");
}

static void bad_workloads(void **state)
{
	(void)state;
	expect_line(WORKLOAD "block = disk\n", "FILE:3: expected block: the name of a block, found disk");
	expect_line(WORKLOAD "start = 5000\n", "FILE:3: expected start: a multiple of target-page = 4096, found 5000");
	expect_line(WORKLOAD "start = 16M\n", "FILE:3: expected start: within the block's 16777216 bytes, found 16M");
	expect_line(WORKLOAD "start = 8M\nlength = 9M\n",
		    "FILE:4: expected length: from a page to the block's end, 8388608, found 9M");
	expect_line(WORKLOAD "vcpus = 1\n", "FILE:3: expected vcpus: below the guest's 1, found 1");
	expect_line("[guest]\nvcpus = 4\n" WORKLOAD "vcpus = 0-2\n[workload x]\npattern = zipf\nvcpus = 2-3\n",
		    "FILE:8: expected vcpus: none of those that run [workload w], found 2-3");
	expect_line("[workload w]\npattern = phased\nlength = 8K\nworking-set = 3\n",
		    "FILE:4: expected working-set: at most the 2 pages of the workload, found 3");
	expect_line("[workload w]\npattern = consumer\nlength = 8K\nlag = 2\n",
		    "FILE:4: expected lag: below the 2 pages of the workload, found 2");
	expect_line("[workload w]\npattern = trace\n",
		    "FILE:1: expected trace: a file with touches for pattern = trace, found ");
}

static void bad_migrations(void **state)
{
	(void)state;
	expect_line("[migration]\nsource = 12.0\n", "FILE:2: expected source: a release from 2.5 to 11.1, found 12.0");
	expect_line("[migration]\ndestination = old\n",
		    "FILE:2: expected destination: a release from 2.5 to 11.1, found old");
	expect_line("[migration]\nsource = 9.2\ncapabilities = multifd, postcopy-ram\ndestination = 9.2\n",
		    "FILE:3: expected no multifd with postcopy-ram in release 9.2 at the source, found both");
	expect_line("[migration]\nsource = 7.2\ncapabilities = postcopy-preempt\n",
		    "FILE:3: expected postcopy-ram with postcopy-preempt at the source, found postcopy-preempt alone");
	expect_line("[migration]\nsource = 11.1\ndestination = 6.2\ncapabilities = postcopy-ram, postcopy-preempt\n",
		    "FILE:4: expected a capability of release 6.2 at the destination, found postcopy-preempt");
	expect_line("[migration]\nsource = 8.2\nzero-page-detection = multifd\n",
		    "FILE:3: expected a parameter of release 8.2 at the source, found zero-page-detection");
	expect_line("[migration]\ncapabilities = xbzrle\nxbzrle-cache-size = 3M\n",
		    "FILE:3: expected a power of two from 4096 on at the source, found xbzrle-cache-size=3145728");
	expect_line("[migration]\ncpu-throttle-initial = 50\nmax-cpu-throttle = 40\n",
		    "FILE:3: expected max-cpu-throttle from 50 on at the source, found 40");
	expect_line("[migration]\ncapabilities = multifd\nmultifd-compression = gzip\n",
		    "FILE:3: expected multifd-compression: none, zlib, zstd, qpl, uadk or qatzip, found gzip");
	expect_line("[migration]\nsource = 9.0\ndestination = 9.0\ncapabilities = multifd\nmultifd-compression = qpl\n",
		    "FILE:5: expected a value of release 9.0 at the source, found multifd-compression=qpl");
	expect_line("[migration]\ncapabilities = multifd\nmultifd-compression = zlib\nmultifd-level = 10\n",
		    "FILE:4: expected multifd-level: 0 to 9 with multifd-compression = zlib, found 10");
	expect_line("[migration]\nswitch-passes = 1\n",
		    "FILE:2: expected switch-passes: never, without postcopy-ram, found 1");
	expect_line("[block mem]\nsize = 2M\npage-size = 2M\n[migration]\nsource = 2.8\ncapabilities = postcopy-ram\n",
		    "FILE:3: expected page-size: 4096 for postcopy in release 2.8, found 2M");
}

static void bad_faults(void **state)
{
	(void)state;
	expect_line("[fault f]\nkind = place\nat = 3ms\n",
		    "FILE:3: expected at: none, but count, with kind = place, found 3ms");
	expect_line("[fault f]\nkind = device\ncount = 0\n",
		    "FILE:3: expected count: from 1 on with kind = device, found 0");
	expect_line("[fault f]\nkind = memory\nat = byte 5\n",
		    "FILE:3: expected at: a time with kind = memory, found byte 5");
	expect_line("[fault f]\nkind = delay-open\nat = 5ms\n",
		    "FILE:3: expected at: none with kind = delay-open, found 5ms");
	expect_line("[fault f]\nkind = cut\nchannel = preempt\n",
		    "FILE:3: expected channel: one that is there: preempt needs postcopy-preempt, found preempt");
	expect_line("[fault f]\nkind = stall\nchannel = multifd\n",
		    "FILE:3: expected channel: one that is there: multifd needs the capability, found multifd");
	expect_line("[migration]\ncapabilities = multifd\n[fault f]\nkind = stall\nchannel = multifd\nmultifd = 2\n",
		    "FILE:6: expected multifd: below the 2 multifd-channels, found 2");
	expect_line("[operator o]\ncommand = pause\n",
		    "FILE:2: expected command: one that makes sense without postcopy-ram, found pause");
	read_good(POSTCOPY "[operator o]\ncommand = pause\n");
}

static void lines_that_are_too_long(void **state)
{
	char text[600], name[301] = "";

	(void)state;
	memset(name, 'x', sizeof(name) - 1);
	snprintf(text, sizeof(text), "[workload w]\npattern = trace\ntrace = %s\n", name);
	assert_int_equal(scenario_read_text(&scenario, text, error), -1);
	assert_non_null(strstr(error, "FILE:3: expected at most "));
	assert_non_null(strstr(error, " characters in a line, found more"));
}

static void too_many(void **state)
{
	char text[2000] = "";
	size_t length = 0;

	(void)state;
	for (unsigned i = 0; i < 17; i++)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "[block b%u]\nsize = 4K\n", i);
	expect_line(text, "FILE:33: expected at most 16 sections [block NAME], found one more");
}

static void files_that_cannot_be_read(void **state)
{
	char *big = calloc(1, (1 << 20) + 2);
	const char *path;

	(void)state;
	assert_non_null(big);
	assert_int_equal(mr_scenario_read(&scenario, "/nowhere/at/all.ini", error, sizeof(error)), -1);
	assert_string_equal(error, "/nowhere/at/all.ini: No such file or directory");
	assert_int_equal(mr_scenario_read(&scenario, "/", error, sizeof(error)), -1);
	assert_string_equal(error, "/: Is a directory");
	memset(big, '\n', (1 << 20) + 1);
	path = scenario_file("big.ini", big, (1 << 20) + 1);
	assert_int_equal(mr_scenario_read(&scenario, path, error, sizeof(error)), -1);
	assert_non_null(strstr(error, "big.ini: File too large"));
	path = scenario_file("nul.ini", "[guest]\nvcpus = 3\0 4\n", 21);
	assert_int_equal(mr_scenario_read(&scenario, path, error, sizeof(error)), -1);
	assert_non_null(strstr(error, "nul.ini:2: expected text, found a NUL byte"));
	free(big);
}

/* ---- Traces ---- */

static const char traced[] = "[workload w]\npattern = trace\nlength = 16K\nstart = 4K\ntrace = touches\n";

static void traces_are_read(void **state)
{
	const char touches[] = "# recorded\n0 r\n3 w 7\n\n  2\tw\n";
	const struct mr_pattern_config *pattern = &scenario.workloads[0].pattern;
	char *path;

	(void)state;
	path = strdup(scenario_file("touches", touches, strlen(touches)));
	read_good(traced);
	assert_int_equal(pattern->trace_length, 3);
	assert_ptr_equal(pattern->trace, scenario.traces[0]);
	assert_int_equal(pattern->trace[1].page, 3);
	assert_int_equal(pattern->trace[1].pauses, 7);
	assert_true(pattern->trace[1].write && pattern->trace[2].write && !pattern->trace[0].write);
	mr_scenario_clear(&scenario);
	free(path);
}

static void expect_trace_error(const char *touches, const char *end)
{
	const size_t length = strlen(end);

	scenario_file("touches", touches, strlen(touches));
	if (scenario_read_text(&scenario, traced, error) == 0)
		fail_msg("taken: %s", touches);
	assert_true(strlen(error) > length);
	assert_string_equal(error + strlen(error) - length, end);
	assert_null(scenario.traces[0]);
}

static void bad_traces(void **state)
{
	(void)state;
	expect_trace_error("0 r\n4 w\n", "/touches:2: expected PAGE r|w [PAUSES] with a page below 4, found 4 w");
	expect_trace_error("0 x\n", "/touches:1: expected PAGE r|w [PAUSES] with a page below 4, found 0 x");
	expect_trace_error("0 read\n", "/touches:1: expected PAGE r|w [PAUSES] with a page below 4, found 0 read");
	expect_trace_error("0\n", "/touches:1: expected PAGE r|w [PAUSES] with a page below 4, found 0");
	expect_trace_error("0 w 5 6\n", "/touches:1: expected PAGE r|w [PAUSES] with a page below 4, found 0 w 5 6");
	expect_trace_error("0 w 4294967296\n",
			   "/touches:1: expected PAGE r|w [PAUSES] with a page below 4, found 0 w 4294967296");
	expect_trace_error(
		"99999999999999999999999 w\n",
		"/touches:1: expected PAGE r|w [PAUSES] with a page below 4, found 99999999999999999999999 w");
	expect_trace_error("# nothing\n", "/touches: expected a touch at least, found none");
	assert_int_equal(scenario_read_text(&scenario, "[workload w]\npattern = trace\ntrace = /nowhere/t\n", error),
			 -1);
	assert_string_equal(error, "/nowhere/t: No such file or directory");
}

/* ---- Whatever bytes ---- */

/* Each prefix of a file, and each file with a byte changed, is read or refused with one line; nothing else happens. */
static void any_bytes(void **state)
{
	static const char bytes[] = "[]=\n; 9\xff"; /* and, last, the end */
	const char text[] = "[guest]\nvcpus = 2\n[block mem]\nsize = 1M\n[workload w]\npattern = zipf\nvcpus = 0-1\n"
			    "block = mem\nlength = 64K\n[migration]\ncapabilities = postcopy-ram\nswitch-after = 3ms\n"
			    "[fault f]\nkind = cut\nat = switch + 1ms\n";
	char changed[sizeof(text)];

	(void)state;
	for (size_t i = 0; i < strlen(text); i += RUNNING_ON_VALGRIND ? 10 : 1)
		for (unsigned k = 0; k < sizeof(bytes); k++) {
			memcpy(changed, text, sizeof(text));
			changed[i] = bytes[k];
			error[0] = '\0';
			if (scenario_read_text(&scenario, changed, error) == 0)
				assert_int_equal(mr_scenario_check(&scenario, error, sizeof(error)), 0);
			else
				assert_true(strncmp(error, "FILE:", 5) == 0 && !strchr(error, '\n'));
			mr_scenario_clear(&scenario);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_file_is_the_default),
		cmocka_unit_test(whole_file),
		cmocka_unit_test(huge_guest),
		cmocka_unit_test(order_of_sections),
		cmocka_unit_test(names),
		cmocka_unit_test(comments_may_be_long),
		cmocka_unit_test(bad_lines),
		cmocka_unit_test(bad_sections),
		cmocka_unit_test(bad_values),
		cmocka_unit_test(bad_guests),
		cmocka_unit_test(bad_workloads),
		cmocka_unit_test(bad_migrations),
		cmocka_unit_test(bad_faults),
		cmocka_unit_test(lines_that_are_too_long),
		cmocka_unit_test(too_many),
		cmocka_unit_test(files_that_cannot_be_read),
		cmocka_unit_test(traces_are_read),
		cmocka_unit_test(bad_traces),
		cmocka_unit_test(any_bytes),
	};

	return cmocka_run_group_tests(tests, scenario_make_folder, scenario_remove_folder);
}
