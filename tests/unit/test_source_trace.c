/* The trace of a source: both formats, lines of no interest, and lines that cannot be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"
#include "random.h"
#include "sim/record/source_trace.h"

enum { PATH_SIZE = 512, ERROR_SIZE = 512, MUTATIONS = 3000 };

#define OLD "27725@1795193275.746786:"
#define NEW "2026-11-20T16:48:21.389493Z "

static char directory[] = "/tmp/migref-source-trace-XXXXXX";

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

static int read_bytes(struct mr_source_trace *trace, const char *bytes, size_t length, char error[ERROR_SIZE])
{
	struct mr_recording recording = {.directory = directory};
	char path[PATH_SIZE];
	FILE *file;

	snprintf(path, sizeof(path), "%s/src.trace", directory);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, length, file), length);
	assert_int_equal(fclose(file), 0);
	error[0] = '\0';
	return mr_source_trace_open(trace, &recording, error, ERROR_SIZE);
}

static void read_text(struct mr_source_trace *trace, const char *text)
{
	char error[ERROR_SIZE];

	if (read_bytes(trace, text, strlen(text), error) < 0)
		fail_msg("%s", error);
}

/* ---- Lines that are read ---- */

struct row {
	const char *text; /* behind the date */
	struct mr_source_line line;
	const char *name;
};

static const struct row rows[] = {
	{"migration_thread_setup_complete ", {.kind = MR_SOURCE_LINE_SETUP_COMPLETE}, NULL},
	{"migration_bitmap_sync_start ", {.kind = MR_SOURCE_LINE_SYNC}, NULL},
	{"migration_bitmap_sync_start", {.kind = MR_SOURCE_LINE_SYNC}, NULL},
	{"migration_completion_vm_stop ret 0", {.kind = MR_SOURCE_LINE_STOPPED}, NULL},
	{"postcopy_start ", {.kind = MR_SOURCE_LINE_STOPPED}, NULL},
	{"migrate_set_state new state postcopy-paused", {.kind = MR_SOURCE_LINE_STATUS}, "postcopy-paused"},
	{"migrate_set_state new state ", {.kind = MR_SOURCE_LINE_STATUS}, ""},
	{"savevm_section_start ram, section_id 2", {.kind = MR_SOURCE_LINE_SECTION, .value = 2}, "ram"},
	{"savevm_section_start a, b: c, section_id 18446744073709551615",
	 {.kind = MR_SOURCE_LINE_SECTION, .value = UINT64_MAX},
	 "a, b: c"},
	{"savevm_section_end ram, section_id 2 -> 1",
	 {.kind = MR_SOURCE_LINE_SECTION_END, .value = 2, .positive = true},
	 "ram"},
	{"savevm_section_end ram, section_id 2 -> 0", {.kind = MR_SOURCE_LINE_SECTION_END, .value = 2}, "ram"},
	{"savevm_section_end ram, section_id 2 -> -5", {.kind = MR_SOURCE_LINE_SECTION_END, .value = 2}, "ram"},
	{"ram_save_page mem: offset: 0x2e4000 host: 0x7f7bff2e3000",
	 {.kind = MR_SOURCE_LINE_PAGE, .offset = 0x2e4000},
	 "mem"},
	{"ram_save_page : offset: 0xffffffffffffffff host: 0x0",
	 {.kind = MR_SOURCE_LINE_PAGE, .offset = UINT64_MAX},
	 ""},
	{"ram_save_page /rom@a: b: offset: 0x0 host: 0x1 and more",
	 {.kind = MR_SOURCE_LINE_PAGE, .offset = 0},
	 "/rom@a: b"},
	{"get_queued_page mem/0x300000 page_abs=0x300", {.kind = MR_SOURCE_LINE_ANSWER, .offset = 0x300000}, "mem"},
	{"get_queued_page_not_dirty /rom@a/b/0x1000 page_abs=0x401",
	 {.kind = MR_SOURCE_LINE_ANSWER, .offset = 0x1000},
	 "/rom@a/b"},
	{"postcopy_preempt_send_host_page ramblock mem offset 0x276",
	 {.kind = MR_SOURCE_LINE_BEGUN, .offset = 0x276},
	 "mem"},
	{"postcopy_preempt_triggered during sending ramblock pc.bios offset 0x8",
	 {.kind = MR_SOURCE_LINE_BROKEN, .offset = 8},
	 "pc.bios"},
	{"migrate_handle_rp_req_pages in mem at 0x2e4000 len 0x1000",
	 {.kind = MR_SOURCE_LINE_REQUEST, .offset = 0x2e4000, .length = 0x1000},
	 "mem"},
	{"migrate_handle_rp_req_pages in (null) at 0x0 len 0x200000",
	 {.kind = MR_SOURCE_LINE_REQUEST, .length = 0x200000},
	 "(null)"},
	{"multifd_send channel 1 packet_num 5 normal pages 128 flags 0x1 next packet size 524288",
	 {.kind = MR_SOURCE_LINE_PACKET, .channel = 1, .value = 5},
	 NULL},
	{"multifd_send_fill channel 4294967295 packet_num 17 flags 0x0",
	 {.kind = MR_SOURCE_LINE_PACKET, .channel = UINT32_MAX, .value = 17},
	 NULL},
	{"save_xbzrle_page_skipping ", {.kind = MR_SOURCE_LINE_SKIPPED}, NULL},
};

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

static void expect_line(const struct mr_source_line *found, const struct row *row, uint64_t line)
{
	assert_int_equal(found->kind, row->line.kind);
	assert_int_equal(found->line, line);
	assert_int_equal(found->value, row->line.value);
	assert_int_equal(found->offset, row->line.offset);
	assert_int_equal(found->length, row->line.length);
	assert_int_equal(found->channel, row->line.channel);
	assert_int_equal(found->positive, row->line.positive);
	if (row->name)
		assert_true(mr_bytes_equal_string(found->text, row->name));
}

/* All lines in a file, which ends with a newline or without. */
static void all_lines(void **state)
{
	static const char *const dates[] = {OLD, NEW};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		char text[4096] = "";
		struct mr_source_trace trace;

		for (size_t j = 0; j < ROWS; j++) {
			strcat(text, dates[i / 2]);
			strcat(text, rows[j].text);
			if (i % 2 || j + 1 < ROWS)
				strcat(text, "\n");
		}
		read_text(&trace, text);
		assert_int_equal(trace.count, ROWS);
		for (size_t j = 0; j < ROWS; j++)
			expect_line(&trace.lines[j], &rows[j], j + 1);
		mr_source_trace_close(&trace);
		assert_null(trace.lines);
	}
}

/* Other events are skipped, also those whose names only begin like one that is read. */
static void other_lines(void **state)
{
	static const char text[] =
		OLD "savevm_section_skip ram, section_id 2\n" OLD "ram_save_pages x\n" OLD "ram_save_pag\n" OLD
		    "vmstate_n_elems a@b: 7\n" NEW "migration_cleanup \n" NEW "x\n" OLD "postcopy_start_set_run \n" OLD
		    "migration_bitmap_sync_end dirty_pages 0\n" NEW "migration_bitmap_sync_start \n";
	struct mr_source_trace trace;

	(void)state;
	read_text(&trace, text);
	assert_int_equal(trace.count, 1);
	assert_int_equal(trace.lines[0].line, 9);
	mr_source_trace_close(&trace);
	read_text(&trace, "");
	assert_int_equal(trace.count, 0);
	mr_source_trace_close(&trace);
}

/* More lines, and more bytes, than are read at a time. */
static void long_trace(void **state)
{
	static const char line[] = NEW "ram_save_page mem: offset: 0x1000 host: 0x7f7bff2e3000\n";
	const size_t count = 5000;
	char *text = malloc(count * strlen(line) + 1);
	struct mr_source_trace trace;

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < count; i++)
		memcpy(text + i * strlen(line), line, sizeof(line));
	read_text(&trace, text);
	assert_int_equal(trace.count, count);
	assert_int_equal(trace.lines[count - 1].line, count);
	assert_true(mr_bytes_equal_string(trace.lines[count - 1].text, "mem"));
	mr_source_trace_close(&trace);
	free(text);
}

/* ---- Lines that cannot be read ---- */

static void refused(const char *line, const char *reason)
{
	char text[1024], error[ERROR_SIZE], expected[ERROR_SIZE];
	struct mr_source_trace trace;

	snprintf(text, sizeof(text), "%smigration_bitmap_sync_start \n%s\n%sx\n", OLD, line, OLD);
	assert_int_equal(read_bytes(&trace, text, strlen(text), error), -1);
	snprintf(expected, sizeof(expected), "src.trace: line 2: expected %s", reason);
	assert_string_equal(error, expected);
	assert_null(trace.lines);
	assert_null(trace.text);
}

static void no_name(void **state)
{
	(void)state;
	refused("", "a longer line, found \"\"");
	refused("abc", "a longer line, found \"abc\"");
	refused("1@2", "a longer line, found \"1@2\"");
	refused("1@2:", "the name of an event, found \"\"");
	refused("1@2: x", "the name of an event, found \"x\"");
	refused("2026 ", "the name of an event, found \"\"");
	refused("2026  x", "the name of an event, found \"x\"");
}

static void broken_lines(void **state)
{
	(void)state;
	refused(OLD "migrate_set_state active", "new state %t, found \"active\"");
	refused(OLD "savevm_section_start ram: section_id 2",
		"a name and what follows it, found \"ram: section_id 2\"");
	refused(NEW "savevm_section_start ram, section_id x", "a decimal number, found \"x\"");
	refused(NEW "savevm_section_start ram, section_id -2", "a decimal number, found \"-2\"");
	refused(NEW "savevm_section_start ram, section_id ", "a decimal number, found \"\"");
	refused(OLD "savevm_section_end ram, section_id 2", " -> %r, found \"\"");
	refused(OLD "savevm_section_end ram, section_id 2 -> --1", "a decimal number, found \"-1\"");
	refused(OLD "get_queued_page mem", "a name and what follows it, found \"mem\"");
	refused(OLD "ram_save_page mem", "a name and what follows it, found \"mem\"");
	refused(OLD "ram_save_page mem: offset: 0x host: 0x1", "a hexadecimal number, found \" host: 0x1\"");
	refused(OLD "ram_save_page mem: offset: 0xG host: 0x1", "a hexadecimal number, found \"G host: 0x1\"");
	refused(OLD "ram_save_page mem: offset: 0x1 hosT: 0x1", "t: 0x%f, found \"T: 0x1\"");
	refused(OLD "ram_save_page", "a name and what follows it, found \"\"");
	refused(OLD "migrate_handle_rp_req_pages in mem at 0x1000", " len 0x%l, found \"\"");
	refused(OLD "multifd_send channel 4294967296 packet_num 1 x", "a decimal number, found \" packet_num 1 x\"");
	refused(OLD "multifd_send channel 1 packet_num 5", " , found \"\"");
	/* one digit more than fits */
	refused(OLD "multifd_send channel 1 packet_num 18446744073709551616 ", " , found \"6 \"");
	refused(OLD "ram_save_page mem: offset: 0x10000000000000000 host: 0x1", " host: 0x%f, found \"0 host: 0x1\"");
}

/* No more of a line is shown than fits. */
static void shown_at_most(void **state)
{
	char line[300], reason[300];

	(void)state;
	memset(line, 'y', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	snprintf(reason, sizeof(reason), "a longer line, found \"%.60s\"", line);
	refused(line, reason);
}

static void no_file(void **state)
{
	struct mr_recording recording = {.directory = (char[]){"/nowhere"}};
	struct mr_source_trace trace;
	char error[ERROR_SIZE] = "";

	(void)state;
	assert_int_equal(mr_source_trace_open(&trace, &recording, error, sizeof(error)), -1);
	assert_non_null(strstr(error, "src.trace"));
	assert_null(trace.lines);
}

/* ---- Whatever the bytes are ---- */

/* Altered, shortened and torn lines are read or refused, and names stay within the text. */
static void mutations(void **state)
{
	struct random random = {20261121};

	(void)state;
	for (unsigned i = 0; i < MUTATIONS; i++) {
		char text[1024] = "", error[ERROR_SIZE];
		struct mr_source_trace trace;
		size_t length;

		for (unsigned j = 0; j < 3; j++) {
			strcat(text, random_below(&random, 2) ? OLD : NEW);
			strcat(text, rows[random_below(&random, ROWS)].text);
			strcat(text, "\n");
		}
		length = strlen(text) - (size_t)random_below(&random, 40);
		for (uint64_t j = random_below(&random, 4); j > 0; j--)
			text[random_below(&random, length)] = (char)random_below(&random, 256);
		if (read_bytes(&trace, text, length, error) < 0) {
			assert_memory_equal(error, "src.trace: line ", 16);
			continue;
		}
		for (size_t j = 0; j < trace.count; j++)
			if (trace.lines[j].text.length)
				assert_true(trace.lines[j].text.data >= trace.text &&
					    trace.lines[j].text.data + trace.lines[j].text.length <=
						    trace.text + trace.text_length);
		mr_source_trace_close(&trace);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_lines), cmocka_unit_test(other_lines),  cmocka_unit_test(long_trace),
		cmocka_unit_test(no_name),   cmocka_unit_test(broken_lines), cmocka_unit_test(shown_at_most),
		cmocka_unit_test(no_file),   cmocka_unit_test(mutations),
	};

	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
