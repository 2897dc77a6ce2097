/* test_trace.c: lines of traces as events, who printed them, and that no damage to a line goes unnoticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "folder.h"
#include "sim/record/trace.h"

#define BASE      UINT64_C(0x7f0000000000)
#define ERROR_MAX 512

enum { TABLES = 1, NAME_COUNT = 7, TEXT_MAX = 8192 };

static const char *const name_texts[NAME_COUNT] = {
	"mem", "/rom@etc/acpi/tables", "pc.ram", "pc.bios", "pc.rom", "/rom@etc/table-loader", "/rom@etc/acpi/rsdp",
};

static struct mr_bytes names[NAME_COUNT];
static struct mr_trace trace;
static char error[ERROR_MAX];

static struct mr_bytes bytes_of(const char *text)
{
	return (struct mr_bytes){(const uint8_t *)text, strlen(text)};
}

static int begin(void **state)
{
	(void)state;
	for (size_t i = 0; i < NAME_COUNT; i++)
		names[i] = bytes_of(name_texts[i]);
	error[0] = '\0';
	return 0;
}

static int end(void **state)
{
	(void)state;
	mr_trace_close(&trace);
	return 0;
}

static int read_bytes(const char *release, const char *text, size_t length)
{
	mr_trace_close(&trace);
	return mr_trace_read(&trace, "T", release, (struct mr_bytes){(const uint8_t *)text, length}, names, NAME_COUNT,
			     error, sizeof(error));
}

static int read_text(const char *release, const char *text)
{
	return read_bytes(release, text, strlen(text));
}

/* ---- One line of each kind ---- */

#define DATE  "2026-11-20T16:48:38.321983Z "
#define CLOCK UINT64_C(1795193318321983)
/* Where two blocks lie: the events before those of a line below. */
#define BLOCKS                                                                                                         \
	DATE "postcopy_init_range mem: 0x7f0000000000 offset=0x0 length=0x1000000\n" DATE                              \
	     "postcopy_init_range /rom@etc/acpi/tables: 0x7f0001000000 offset=0x1080000 length=0x20000\n"
enum { BLOCK_LINES = 2 };

static const struct line {
	const char *release, *text;
	struct mr_event event; /* without place in the file; a block is counted from 1, 0 is none */
} lines[] = {
	{"7.2", "migration_socket_incoming_accepted ", {.kind = MR_EVENT_ACCEPTED}},
	{"7.2",
	 "migrate_set_state new state postcopy-active",
	 {.kind = MR_EVENT_STATUS, .status = MR_STATUS_POSTCOPY_ACTIVE}},
	{"7.2", "qemu_loadvm_state_section 8", {.kind = MR_EVENT_SECTION, .value = 8}},
	{"7.2",
	 "qemu_loadvm_state_section_startfull 7(0000:00:01.1/a(b)) 1 3",
	 {.kind = MR_EVENT_SECTION_START, .value = 7, .instance = 1, .version = 3}},
	{"7.2", "qemu_loadvm_state_section_partend 2", {.kind = MR_EVENT_SECTION_PART, .value = 2}},
	{"7.2", "vmstate_load ram, (old)", {.kind = MR_EVENT_VMSTATE_LOAD}},
	{"7.2",
	 "loadvm_process_command com=POSTCOPY_RAM_DISCARD len=22",
	 {.kind = MR_EVENT_COMMAND, .value = MR_COMMAND_POSTCOPY_RAM_DISCARD, .length = 22}},
	{"6.2", "loadvm_process_command com=0xa len=22", {.kind = MR_EVENT_COMMAND, .value = 10, .length = 22}},
	{"7.2", "qemu_loadvm_state_section_command -22", {.kind = MR_EVENT_COMMAND_DONE, .result = -22}},
	{"7.2", "loadvm_process_command_ping 0x42", {.kind = MR_EVENT_PING, .value = 0x42}},
	{"7.2", "loadvm_postcopy_handle_advise ", {.kind = MR_EVENT_ADVISE}},
	{"7.2", "loadvm_postcopy_ram_handle_discard ", {.kind = MR_EVENT_DISCARD}},
	{"7.2",
	 "loadvm_postcopy_ram_handle_discard_header mem: 192d",
	 {.kind = MR_EVENT_DISCARD_HEADER, .block = 1, .length = 192}},
	{"11.0",
	 "loadvm_postcopy_ram_handle_discard_header mem: 192d",
	 {.kind = MR_EVENT_DISCARD_HEADER, .block = 1, .length = 192}},
	{"11.0.92",
	 "loadvm_postcopy_ram_handle_discard_header mem: 192",
	 {.kind = MR_EVENT_DISCARD_HEADER, .block = 1, .length = 192}},
	{"7.2", "loadvm_postcopy_ram_handle_discard_end ", {.kind = MR_EVENT_DISCARD_END}},
	{"7.2",
	 "ram_discard_range mem: start: 100000 2000",
	 {.kind = MR_EVENT_DISCARD_RANGE, .block = 1, .offset = 0x100000, .length = 0x2000}},
	{"7.2",
	 "ram_block_discard_range mem@0x7f0000100000 + 0x2000: madvise: 1 fallocate: 0 ret: 0",
	 {.kind = MR_EVENT_DISCARDED,
	  .block = 1,
	  .address = BASE + 0x100000,
	  .offset = 0x100000,
	  .length = 0x2000,
	  .flags = 1}},
	{"11.1",
	 "ram_block_discard_shared_range /rom@etc/acpi/tables@0x7f0001000000 + 0x2000: madvise: 0 fallocate: 1 ret: -1",
	 {.kind = MR_EVENT_DISCARDED,
	  .block = 2,
	  .address = BASE + 0x1000000,
	  .length = 0x2000,
	  .flags = 2,
	  .result = -1}},
	{"7.2",
	 "postcopy_init_range pc.rom: 0x7f0002000000 offset=0x2000000 length=0x20000",
	 {.kind = MR_EVENT_INIT_RANGE, .block = 5, .address = BASE + 0x2000000, .value = 0x2000000, .length = 0x20000}},
	{"7.2",
	 "postcopy_nhp_range mem: 0x7f0000000000 offset=0x0 length=0x1000000",
	 {.kind = MR_EVENT_NO_HUGE_PAGES, .block = 1, .address = BASE, .length = 0x1000000}},
	{"7.2",
	 "postcopy_cleanup_range mem: 0x7f0000000000 offset=0x0 length=0x1000000",
	 {.kind = MR_EVENT_CLEANUP_RANGE, .block = 1, .address = BASE, .length = 0x1000000}},
	{"6.2", "loadvm_postcopy_handle_listen ", {.kind = MR_EVENT_LISTEN_ENTER}},
	{"7.2", "loadvm_postcopy_handle_listen enter", {.kind = MR_EVENT_LISTEN_ENTER}},
	{"7.2", "loadvm_postcopy_handle_listen after discard", {.kind = MR_EVENT_LISTEN_PREPARED}},
	{"7.2", "loadvm_postcopy_handle_listen after uffd", {.kind = MR_EVENT_LISTEN_READY}},
	{"7.2", "loadvm_postcopy_handle_listen return", {.kind = MR_EVENT_LISTEN_RETURN}},
	{"7.2", "postcopy_ram_enable_notify ", {.kind = MR_EVENT_ENABLE_NOTIFY}},
	{"7.2", "loadvm_handle_cmd_packaged 13527", {.kind = MR_EVENT_PACKAGED, .length = 13527}},
	{"7.2", "loadvm_handle_cmd_packaged_received 13527", {.kind = MR_EVENT_PACKAGE_READ, .length = 13527}},
	{"7.2", "loadvm_handle_cmd_packaged_main 1", {.kind = MR_EVENT_PACKAGE_DONE, .result = 1}},
	{"7.2", "loadvm_postcopy_handle_run ", {.kind = MR_EVENT_RUN}},
	{"7.2", "loadvm_postcopy_handle_resume ", {.kind = MR_EVENT_RESUME}},
	{"7.2", "qemu_loadvm_state_post_main -5", {.kind = MR_EVENT_POST_MAIN, .result = -5}},
	{"7.2", "postcopy_ram_listen_thread_start ", {.kind = MR_EVENT_LISTEN_START}},
	{"7.2", "postcopy_ram_listen_thread_exit ", {.kind = MR_EVENT_LISTEN_EXIT}},
	{"7.2", "postcopy_ram_fault_thread_entry ", {.kind = MR_EVENT_FAULT_ENTRY}},
	{"7.2", "postcopy_ram_fault_thread_quit ", {.kind = MR_EVENT_FAULT_QUIT}},
	{"7.2", "postcopy_ram_fault_thread_exit ", {.kind = MR_EVENT_FAULT_EXIT}},
	{"7.2", "postcopy_preempt_new_channel ", {.kind = MR_EVENT_PREEMPT_CHANNEL}},
	{"7.2", "postcopy_preempt_thread_entry ", {.kind = MR_EVENT_PREEMPT_ENTRY}},
	{"7.2", "postcopy_preempt_thread_exit ", {.kind = MR_EVENT_PREEMPT_EXIT}},
	{"9.2", "ram_load_start ", {.kind = MR_EVENT_RAM_START}},
	{"7.2",
	 "ram_load_loop mem: addr: 0x5000 flags: 0x28 host: 0x7f0000005000",
	 {.kind = MR_EVENT_RAM_PAGE, .block = 1, .offset = 0x5000, .value = 0x28, .address = BASE + 0x5000}},
	{"7.2",
	 "ram_load_postcopy_loop chan=1 addr=0x5000 flags=0x28",
	 {.kind = MR_EVENT_RAM_POSTCOPY, .channel = 1, .offset = 0x5000, .value = 0x28}},
	{"6.2", "ram_load_postcopy_loop @5000 28", {.kind = MR_EVENT_RAM_POSTCOPY, .offset = 0x5000, .value = 0x28}},
	{"7.2",
	 "ram_load_complete exit_code -5 seq iteration 12",
	 {.kind = MR_EVENT_RAM_LOADED, .result = -5, .value = 12}},
	{"7.2",
	 "postcopy_place_page host=0x7f0000005000",
	 {.kind = MR_EVENT_PLACED, .block = 1, .offset = 0x5000, .address = BASE + 0x5000}},
	{"7.2",
	 "postcopy_place_page_zero host=0x7f0001001000",
	 {.kind = MR_EVENT_PLACE_ZERO, .block = 2, .offset = 0x1000, .address = BASE + 0x1001000}},
	{"7.2",
	 "postcopy_place_page_zero host=0x7f0005001000",
	 {.kind = MR_EVENT_PLACE_ZERO, .offset = BASE + 0x5001000, .address = BASE + 0x5001000}},
	{"7.2",
	 "postcopy_ram_fault_thread_request Request for HVA=0x7f0000005008 rb=mem offset=0x5000 pid=4711",
	 {.kind = MR_EVENT_FAULT, .block = 1, .offset = 0x5000, .address = BASE + 0x5008, .value = 4711}},
	{"7.2",
	 "postcopy_page_req_add new page req 0x7f0000005000 total 3",
	 {.kind = MR_EVENT_REQUEST_ADDED, .block = 1, .offset = 0x5000, .address = BASE + 0x5000, .value = 3}},
	{"7.2",
	 "postcopy_page_req_del resolved page req 0x7f0000005000 total 0",
	 {.kind = MR_EVENT_REQUEST_DONE, .block = 1, .offset = 0x5000, .address = BASE + 0x5000}},
	{"7.2",
	 "postcopy_page_req_sync sync page req 0x7f0000005000",
	 {.kind = MR_EVENT_REQUEST_AGAIN, .block = 1, .offset = 0x5000, .address = BASE + 0x5000}},
	{"7.2", "migrate_send_rp_message 3: len 16", {.kind = MR_EVENT_MESSAGE, .value = 3, .length = 16}},
	{"7.2",
	 "migrate_send_rp_recv_bitmap block '/rom@etc/acpi/tables' size 0x520",
	 {.kind = MR_EVENT_BITMAP, .block = 2, .length = 520}},
	{"7.2", "loadvm_handle_recv_bitmap mem", {.kind = MR_EVENT_BITMAP_SENT, .block = 1}},
	{"7.2", "postcopy_pause_incoming ", {.kind = MR_EVENT_PAUSE}},
	{"7.2", "postcopy_pause_incoming_continued ", {.kind = MR_EVENT_PAUSE_CONTINUED}},
	{"7.2", "postcopy_pause_fault_thread ", {.kind = MR_EVENT_FAULT_PARKED}},
	{"7.2", "postcopy_pause_fault_thread_continued ", {.kind = MR_EVENT_FAULT_CONTINUED}},
	{"7.2", "postcopy_pause_fast_load ", {.kind = MR_EVENT_PREEMPT_PARKED}},
	{"7.2", "postcopy_pause_fast_load_continued ", {.kind = MR_EVENT_PREEMPT_CONTINUED}},
	{"7.2", "postcopy_ram_incoming_cleanup_entry ", {.kind = MR_EVENT_CLEANUP_ENTRY}},
	{"7.2", "postcopy_ram_incoming_cleanup_join ", {.kind = MR_EVENT_CLEANUP_JOIN}},
	{"7.2", "postcopy_ram_incoming_cleanup_closeuf ", {.kind = MR_EVENT_CLEANUP_CLOSE}},
	{"7.2", "postcopy_ram_incoming_cleanup_exit ", {.kind = MR_EVENT_CLEANUP_EXIT}},
	{"7.2", "loadvm_state_cleanup ", {.kind = MR_EVENT_STATE_CLEANUP}},
	{"7.2", "multifd_recv_thread_start 3", {.kind = MR_EVENT_MULTIFD_START, .channel = 3}},
	{"7.2",
	 "multifd_recv channel 1 packet_num 5 pages 128 flags 0x21 next packet size 524288",
	 {.kind = MR_EVENT_MULTIFD_PACKET, .channel = 1, .value = 5, .pages = 128, .flags = 0x21, .length = 524288}},
	{"9.2",
	 "multifd_recv_unfill channel 1 packet_num 5 flags 0x21 next packet size 524288",
	 {.kind = MR_EVENT_MULTIFD_PACKET, .channel = 1, .value = 5, .flags = 0x21, .length = 524288}},
	{"7.2",
	 "multifd_recv_thread_end channel 1 packets 28 pages 5",
	 {.kind = MR_EVENT_MULTIFD_END, .channel = 1, .value = 28, .pages = 5}},
	{"9.2",
	 "multifd_recv_thread_end channel 1 packets 28",
	 {.kind = MR_EVENT_MULTIFD_END, .channel = 1, .value = 28}},
	{"7.2", "multifd_recv_sync_main packet num 17", {.kind = MR_EVENT_MULTIFD_SYNC, .value = 17}},
	{"7.2", "loadvm_postcopy_handle_run_bh enter", {.kind = MR_EVENT_GUEST_START}},
	{"6.2", "loadvm_postcopy_handle_run_cpu_sync ", {.kind = MR_EVENT_GUEST_START}},
	{"9.2", "vmstate_downtime_checkpoint dst-postcopy-bh-enter", {.kind = MR_EVENT_GUEST_START}},
	{"7.2", "get_mem_fault_cpu_index cpu: -1, pid: 4711", {.kind = MR_EVENT_VCPU, .result = -1, .value = 4711}},
	{"11.1",
	 "postcopy_blocktime_tid_cpu_map cpu: 3, tid: 4711",
	 {.kind = MR_EVENT_VCPU, .result = 3, .value = 4711}},
	{"7.2",
	 "mark_postcopy_blocktime_begin addr: 0x7f0000005000, dd: 0x556a, time: 212, cpu: 1, already_received: 1",
	 {.kind = MR_EVENT_BLOCKTIME_BEGIN,
	  .block = 1,
	  .offset = 0x5000,
	  .address = BASE + 0x5000,
	  .length = 0x556a,
	  .value = 212,
	  .result = 1,
	  .flags = 1}},
	{"7.2",
	 "mark_postcopy_blocktime_end addr: 0x7f0000005000, dd: 0x556a, time: 95, affected_cpu: 2",
	 {.kind = MR_EVENT_BLOCKTIME_END,
	  .block = 1,
	  .offset = 0x5000,
	  .address = BASE + 0x5000,
	  .length = 0x556a,
	  .value = 95,
	  .pages = 2}},
	{"11.1",
	 "postcopy_blocktime_begin addr: 0x7f0000005000, time: 7865181007311, cpu: -1, exist: 1",
	 {.kind = MR_EVENT_BLOCKTIME_BEGIN,
	  .block = 1,
	  .offset = 0x5000,
	  .address = BASE + 0x5000,
	  .value = 7865181007311,
	  .result = -1,
	  .pages = 1}},
	{"11.1",
	 "postcopy_blocktime_end addr: 0x7f0000005000, time: 7865182236362, affected_cpus: 2, affected_non_cpus: 1",
	 {.kind = MR_EVENT_BLOCKTIME_END,
	  .block = 1,
	  .offset = 0x5000,
	  .address = BASE + 0x5000,
	  .value = 7865182236362,
	  .pages = 2,
	  .flags = 1}},
};

enum { LINE_COUNT = sizeof(lines) / sizeof(lines[0]) };

static bool equal(struct mr_bytes a, struct mr_bytes b)
{
	return a.length == b.length && (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

/* Everything that a line's name and arguments say. */
static bool says_the_same(const struct mr_event *a, const struct mr_event *b)
{
	return a->kind == b->kind && a->status == b->status && a->result == b->result && a->value == b->value &&
	       a->length == b->length && a->address == b->address && a->instance == b->instance &&
	       a->version == b->version && a->flags == b->flags && a->channel == b->channel && a->pages == b->pages &&
	       a->block == b->block && a->offset == b->offset && equal(a->text, b->text) && equal(a->name, b->name);
}

/* The text of a trace that ends with the line; returns where the line's name begins. */
static size_t put_line(char text[TEXT_MAX], const struct line *line)
{
	snprintf(text, TEXT_MAX, BLOCKS DATE "%s\n", line->text);
	return strlen(text) - strlen(line->text) - 1;
}

static void test_lines(void **state)
{
	(void)state;
	for (size_t i = 0; i < LINE_COUNT; i++) {
		struct mr_event expected = lines[i].event;
		const struct mr_event *found;
		char text[TEXT_MAX];

		put_line(text, &lines[i]);
		if (read_text(lines[i].release, text) < 0)
			fail_msg("%s: %s", lines[i].text, error);
		assert_int_equal(trace.count, BLOCK_LINES + 1);
		found = &trace.events[BLOCK_LINES];
		expected.block--;
		expected.text = found->text;
		expected.name = found->name;
		if (!says_the_same(&expected, found))
			fail_msg("%s: another event", lines[i].text);
		assert_int_equal(found->line, BLOCK_LINES + 1);
		assert_int_equal(found->microseconds, CLOCK);
		assert_int_equal(found->thread, 0);
		assert_true(trace.seen[found->kind] > 0);
	}
}

static void test_texts(void **state)
{
	(void)state;
	assert_int_equal(read_text("7.2", DATE "qemu_loadvm_state_section_startfull 7(a(b)) 1 3\n" DATE
					       "vmstate_load 0000:00:01.1/ide, ide\n" BLOCKS),
			 0);
	assert_true(equal(trace.events[0].text, bytes_of("a(b)")));
	assert_true(equal(trace.events[1].text, bytes_of("0000:00:01.1/ide")));
	assert_true(equal(trace.events[1].name, bytes_of("ide")));
	assert_int_equal(trace.block_count, 2);
	assert_true(equal(trace.blocks[1].name, names[TABLES]));
	assert_int_equal(trace.blocks[1].address, BASE + 0x1000000);
	assert_int_equal(trace.blocks[1].length, 0x20000);
	assert_false(trace.has_threads);
	assert_int_equal(trace.seen[MR_EVENT_INIT_RANGE], 2);
}

static void test_every_kind_has_a_line(void **state)
{
	bool seen[MR_EVENT_KIND_COUNT] = {false};

	(void)state;
	for (size_t i = 0; i < LINE_COUNT; i++)
		seen[lines[i].event.kind] = true;
	for (unsigned kind = 0; kind < MR_EVENT_KIND_COUNT; kind++) {
		assert_true(seen[kind]);
		assert_non_null(mr_event_name((enum mr_event_kind)kind));
	}
	assert_null(mr_event_name(MR_EVENT_KIND_COUNT));
	assert_string_equal(mr_event_name(MR_EVENT_DISCARDED), "ram_block_discard_range");
}

/* Every name of the table is found in it, and those that are skipped give no event. */
static void test_skipped_names(void **state)
{
	static const char *const skipped[] = {
#define MR_TRACE_LINE(name, kind, since, until, pattern)
#define MR_TRACE_SKIPPED(name) #name,
#include "sim/record/trace.def"
#undef MR_TRACE_LINE
#undef MR_TRACE_SKIPPED
	};

	(void)state;
	for (size_t i = 0; i < sizeof(skipped) / sizeof(skipped[0]); i++) {
		char text[TEXT_MAX];

		snprintf(text, sizeof(text), DATE "%s any thing: 0x1\n" DATE "%s \n", skipped[i], skipped[i]);
		if (read_text("7.2", text) < 0)
			fail_msg("%s", error);
		assert_int_equal(trace.count, 0);
	}
	assert_int_equal(read_text("7.2", DATE "loadvm_postcopy_handle_run_bh after cpu sync\n"), 0);
	assert_int_equal(trace.count, 0);
	assert_int_equal(read_text("7.2", ""), 0);
	assert_int_equal(trace.count, 0);
}

/* ---- Damage ---- */

static void check_error_line(void)
{
	assert_true(strncmp(error, "T: ", 3) == 0);
	assert_true(strlen(error) < ERROR_MAX - 1);
	for (const char *at = error; *at != '\0'; at++)
		assert_in_range((unsigned char)*at, 0x20, 0x7e);
}

/* The damaged trace is refused, or tells something else. */
static void check_damage(const struct line *line, const char *text, size_t length, const struct mr_event *original)
{
	if (read_bytes(line->release, text, length) < 0)
		check_error_line();
	else if (trace.count == BLOCK_LINES + 1 && says_the_same(&trace.events[BLOCK_LINES], original))
		fail_msg("the same event by '%.*s'", (int)length, text);
}

static const uint8_t substitutes[] = {0, '\n', '\r', ' ', '0', '1', '9', 'a', 'f', 'x', '-', '(', ':', '%', 0x7f, 0xff};

static void put_byte(char *at, unsigned byte)
{
	const uint8_t narrow = (uint8_t)byte;

	memcpy(at, &narrow, 1);
}

static void damage_line(const struct line *line)
{
	char text[TEXT_MAX], damaged[TEXT_MAX];
	const size_t name = put_line(text, line);
	const size_t length = strlen(text);
	struct mr_event original;
	struct mr_trace kept;

	assert_int_equal(read_text(line->release, text), 0);
	kept = trace;
	trace = (struct mr_trace){0};
	original = kept.events[BLOCK_LINES];
	for (size_t at = name; at < length - 1; at++) {
		memcpy(damaged, text, length + 1);
		damaged[at] = '\n';
		check_damage(line, damaged, at + 1, &original);
		check_damage(line, damaged, at, &original);
		for (size_t i = 0; i < sizeof(substitutes) + 8; i++) {
			put_byte(&damaged[at], i < 8 ? (unsigned char)text[at] ^ 1U << i : substitutes[i - 8]);
			if (damaged[at] != text[at])
				check_damage(line, damaged, length, &original);
		}
	}
	mr_trace_close(&kept);
}

static void test_damage(void **state)
{
	(void)state;
	for (size_t i = 0; i < LINE_COUNT; i++)
		damage_line(&lines[i]);
}

static const char threaded[] =
	"100@1795193191.212474:migration_socket_incoming_accepted \n"
	"100@1795193191.212475:migrate_set_state new state active\n"
	"101@1795193191.212480:multifd_recv_thread_start 0\n"
	"102@1795193191.212479:multifd_recv channel 1 packet_num 1 pages 0 flags 0x1 next packet size 0\n"
	"100@1795193191.212481:postcopy_init_range mem: 0x7f0000000000 offset=0x0 length=0x1000000\n"
	"103@1795193191.212482:postcopy_ram_fault_thread_entry \n"
	"104@1795193191.212483:migrate_set_state new state postcopy-active\n"
	"105@1795193191.212483:postcopy_preempt_thread_entry \n"
	"106@1795193191.212483:migrate_fd_cancel \n"
	"104@1795193191.212484:postcopy_ram_listen_thread_start \n"
	"104@1795193191.212484:ram_load_postcopy_loop chan=0 addr=0x5000 flags=0x28\n"
	"104@1795193191.212485:postcopy_place_page host=0x7f0000005000\n"
	"102@1795193191.212490:multifd_recv_thread_end channel 1 packets 28 pages 5\n"
	"101@1795193191.212490:multifd_recv_thread_end channel 0 packets 28 pages 5\n";

static void test_threads(void **state)
{
	static const unsigned actors[] = {
		MR_ACTOR_MAIN,   MR_ACTOR_MAIN,        MR_ACTOR_MULTIFD, MR_ACTOR_MULTIFD + 1, MR_ACTOR_MAIN,
		MR_ACTOR_FAULT,  MR_ACTOR_LISTEN,      MR_ACTOR_PREEMPT, MR_ACTOR_LISTEN,      MR_ACTOR_LISTEN,
		MR_ACTOR_LISTEN, MR_ACTOR_MULTIFD + 1, MR_ACTOR_MULTIFD,
	};

	(void)state;
	assert_int_equal(read_text("7.2", threaded), 0);
	assert_true(trace.has_threads);
	assert_int_equal(trace.count, sizeof(actors) / sizeof(actors[0]));
	for (size_t i = 0; i < trace.count; i++)
		assert_int_equal(trace.events[i].actor, actors[i]);
	assert_int_equal(trace.events[6].thread, 104);
	assert_int_equal(trace.events[6].microseconds, UINT64_C(1795193191212483));
	assert_int_equal(trace.events[8].line, 10);
}

/* A whole trace cut or changed at any byte is read or refused with one line. */
static void test_damaged_threads(void **state)
{
	char damaged[sizeof(threaded)];
	const size_t length = sizeof(threaded) - 1;

	(void)state;
	for (size_t at = 0; at < length; at++) {
		memcpy(damaged, threaded, sizeof(threaded));
		if (read_bytes("7.2", damaged, at) < 0)
			check_error_line();
		else
			assert_true(at == 0 || damaged[at - 1] == '\n');
		for (size_t i = 0; i < sizeof(substitutes); i++) {
			put_byte(&damaged[at], substitutes[i]);
			if (read_bytes("7.2", damaged, length) < 0)
				check_error_line();
		}
	}
}

static const struct {
	const char *release, *text, *error;
} error_cases[] = {
	{"7.2", DATE "migrate_nonsense \n",
	 "line 1: byte 29: expected the name of an event, found 'migrate_nonsense '"},
	{"7.2", DATE "postcopy_ram \n", "line 1: byte 29: expected the name of an event, found 'postcopy_ram '"},
	{"7.2", DATE "ram_load_start\n", "line 1: byte 43: expected a space, found the end of the line"},
	{"7.2", DATE "ram_load_start x\n", "line 1: byte 44: expected the end of the line, found 'x'"},
	{"7.2", DATE "ram_load_start ", "line 1: expected a newline, found the end of the file"},
	{"7.2", DATE "migrate_fd_cancel \n\n", "line 2: byte 1: expected a digit, found the end of the line"},
	{"7.2", DATE "migrate_fd_cancel a\tb\n", "line 1: byte 48: expected a printable byte, found '?b'"},
	{"7.2", DATE "migrate_set_state new state happy\n",
	 "line 1: byte 57: expected a migration status, found 'happy'"},
	{"7.2", DATE "migrate_set_state new state \n",
	 "line 1: byte 57: expected a migration status, found the end of the line"},
	{"7.2", DATE "qemu_loadvm_state_section 08\n", "line 1: byte 55: expected a decimal number, found '08'"},
	{"7.2", DATE "qemu_loadvm_state_section 18446744073709551616\n",
	 "line 1: byte 55: expected a number below 2^64, found '18446744073709551616'"},
	{"7.2", DATE "qemu_loadvm_state_section_command -0\n",
	 "line 1: byte 63: expected a number with a sign, found '-0'"},
	{"7.2", DATE "loadvm_process_command_ping 0x10000000000000000\n",
	 "line 1: byte 59: expected a hexadecimal number below 2^64, found '10000000000000000'"},
	{"7.2", DATE "loadvm_process_command_ping 4\n", "line 1: byte 57: expected '0x', found '4'"},
	{"7.2", DATE "loadvm_process_command com=NOTHING len=4\n",
	 "line 1: byte 56: expected the name of a command, found 'NOTHING len=4'"},
	{"7.2", DATE "multifd_recv_thread_start 4294967296\n",
	 "line 1: byte 55: expected a number below 2^32, found '4294967296'"},
	{"7.2", DATE "multifd_recv_thread_start 256\n", "line 1: expected a multifd channel below 256, found 256"},
	{"7.2", DATE "loadvm_handle_recv_bitmap nothing\n",
	 "line 1: byte 55: expected the name of a block, found 'nothing'"},
	{"7.2", DATE "ram_discard_range mem\n", "line 1: byte 47: expected ': start: ', found 'mem'"},
	{"7.2", DATE "ram_discard_range mem: begin: 0 1000\n",
	 "line 1: byte 47: expected ': start: ', found 'mem: begin: 0 1000'"},
	{"7.2", DATE "ram_block_discard_range mem@0x1000 + 0x1: madvise: 2 fallocate: 0 ret: 0\n",
	 "line 1: byte 80: expected 0 or 1, found '2 fallocate: 0 ret: 0'"},
	{"6.2", DATE "loadvm_postcopy_handle_listen enter\n",
	 "line 1: byte 59: expected the end of the line, found 'enter'"},
	{"7.2", BLOCKS DATE "postcopy_init_range mem: 0x7f0002000000 offset=0x0 length=0x1000\n",
	 "line 3: expected each block once, found mem again"},
	{"7.2", BLOCKS DATE "postcopy_init_range pc.rom: 0x7f0000fff000 offset=0x0 length=0x1000\n",
	 "line 3: expected a block apart from the others, found one at 0x7f0000fff000"},
	{"7.2", BLOCKS DATE "postcopy_init_range pc.rom: 0x7efffffff000 offset=0x0 length=0x1001\n",
	 "line 3: expected a block apart from the others, found one at 0x7efffffff000"},
	{"7.2", BLOCKS DATE "postcopy_init_range pc.rom: 0xfffffffffffff000 offset=0x0 length=0x1001\n",
	 "line 3: expected a length that fits in memory, found 0x1001"},
	{"7.2", BLOCKS DATE "postcopy_init_range pc.rom: 0x1000 offset=0x0 length=0x0\n",
	 "line 3: expected a length that fits in memory, found 0x0"},
	{"7.2", BLOCKS DATE "postcopy_nhp_range mem: 0x7f0000001000 offset=0x0 length=0x1000\n",
	 "line 3: expected the block at 0x7f0000000000, offset 0x0, found 0x7f0000001000 and 0x0"},
	{"7.2", BLOCKS DATE "ram_load_loop mem: addr: 0x1000 flags: 0x8 host: 0x7f0000002000\n",
	 "line 3: expected the page at 0x7f0000001000, found 0x7f0000002000"},
	{"7.2",
	 DATE "ram_load_loop mem: addr: 0x1000 flags: 0x8 host: 0x2000\n" DATE
	      "ram_load_loop mem: addr: 0x2000 flags: 0x8 host: 0x2000\n",
	 "line 2: expected the page at 0x3000, found 0x2000"},
	{"7.2", DATE "ram_load_loop mem: addr: 0x1000 flags: 0x8 host: 0xfff\n",
	 "line 1: expected an address above the offset 0x1000, found 0xfff"},
	{"7.2", BLOCKS DATE "ram_block_discard_range mem@0x7f0001000000 + 0x1: madvise: 1 fallocate: 0 ret: 0\n",
	 "line 3: expected an address in the block at 0x7f0000000000, found 0x7f0001000000"},
	{"7.2",
	 BLOCKS DATE "postcopy_ram_fault_thread_request Request for HVA=0x7f0000004fff rb=mem offset=0x5000 pid=1\n",
	 "line 3: expected an address in the block's page at 0x7f0000005000, found 0x7f0000004fff"},
	{"7.2", "1969-12-31T00:00:00.000000Z migrate_fd_cancel \n",
	 "line 1: byte 1: expected a date since 1970, found '1969-12-31T00:00:00.000000Z migrate_fd_c'"},
	{"7.2", "2026-13-31T00:00:00.000000Z migrate_fd_cancel \n",
	 "line 1: byte 6: expected a smaller number, found '13-31T00:00:00.000000Z migrate_fd_cancel'"},
	{"7.2", "0@1.000000:migrate_fd_cancel \n",
	 "line 1: byte 1: expected a thread, found '0@1.000000:migrate_fd_cancel '"},
	{"7.2", "1@18446744073709551615.000000:migrate_fd_cancel \n",
	 "line 1: byte 3: expected a smaller number, found '18446744073709551615.000000:migrate_fd_c'"},
	{"7.2", "1@1.000002:migrate_fd_cancel \n1@1.000001:migrate_fd_cancel \n",
	 "line 2: expected thread 1 at 1.000002 or later, found 1.000001"},
	{"7.2", "1@1.000002:migrate_fd_cancel \n" DATE "migrate_fd_cancel \n",
	 "line 2: byte 5: expected '@', found '-11-20T16:48:38.321983Z migrate_fd_cance'"},
	{"7.2", "1@1.000002:migrate_fd_cancel \n2@1.000001:loadvm_postcopy_handle_run \n",
	 "line 2: expected a thread that begins as an actor, found thread 2"},
	{"7.2", "1@1.000002:postcopy_ram_fault_thread_entry \n",
	 "line 1: expected a line of thread 1, found one of another actor: postcopy_ram_fault_thread_entry"},
	{"7.2",
	 "1@1.000002:migrate_fd_cancel \n2@1.000001:multifd_recv_thread_start 0\n"
	 "3@1.000001:multifd_recv_thread_start 0\n",
	 "line 3: expected thread 2, found thread 3 as the same actor"},
};

static void test_errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(error_cases) / sizeof(error_cases[0]); i++) {
		char expected[ERROR_MAX];

		snprintf(expected, sizeof(expected), "T: %s", error_cases[i].error);
		assert_int_equal(read_text(error_cases[i].release, error_cases[i].text), -1);
		assert_string_equal(error, expected);
		assert_int_equal(trace.count, 0);
		assert_null(trace.text);
	}
}

static void test_limits(void **state)
{
	enum { THREADS = 512, LINE = 64 };
	char *text = malloc((THREADS + 1) * LINE);
	size_t length = 0;

	(void)state;
	assert_non_null(text);
	for (int i = 1; i <= THREADS; i++)
		length += (size_t)snprintf(text + length, LINE, "%d@1.000000:migrate_fd_cancel \n", i);
	assert_int_equal(read_text("7.2", text), 0);
	snprintf(text + length, LINE, "%d@1.000000:migrate_fd_cancel \n", THREADS + 1);
	assert_int_equal(read_text("7.2", text), -1);
	assert_string_equal(error, "T: line 513: expected at most 512 threads, found another");
	free(text);

	mr_trace_close(&trace);
	assert_int_equal(
		mr_trace_read(&trace, "T", "7.2", bytes_of(""), names, MR_BLOCKS_MAX + 1, error, sizeof(error)), -1);
	assert_string_equal(error, "T: expected at most 1024 blocks, found 1025");
	/* Of a release that is not told, lines of all are taken. */
	assert_int_equal(read_text(NULL, BLOCKS DATE "loadvm_postcopy_ram_handle_discard_header mem: 16d\n" DATE
						     "loadvm_postcopy_ram_handle_discard_header mem: 16\n"),
			 0);
	assert_int_equal(read_text("no release", DATE "loadvm_postcopy_handle_listen \n"), 0);
	mr_trace_close(&trace);
	/* Without blocks an address stays what it is. */
	assert_int_equal(mr_trace_read(&trace, "T", "7.2", bytes_of(DATE "postcopy_place_page host=0x1000\n"), NULL, 0,
				       error, sizeof(error)),
			 0);
	assert_int_equal(trace.events[0].block, UINT32_MAX);
	assert_int_equal(trace.events[0].offset, 0x1000);
}

/* ---- Lines without threads ---- */

/* Each line begins with the letter of its actor: M L F P, a digit for multifd, or ? if nobody can tell. */
static void check_actors(const char *text)
{
	static const char letters[] = "MLPF0123";
	char plain[TEXT_MAX] = "";
	char actors[TEXT_MAX / 8] = "";
	size_t length = 0;
	size_t count = 0;

	for (const char *at = text; *at != '\0'; at = strchr(at, '\n') + 1) {
		actors[count++] = *at;
		length += (size_t)snprintf(plain + length, sizeof(plain) - length, DATE "%.*s",
					   (int)(strchr(at, '\n') + 1 - (at + 2)), at + 2);
	}
	if (read_text("11.1", plain) < 0)
		fail_msg("%s", error);
	assert_int_equal(trace.count, count);
	for (size_t i = 0; i < count; i++) {
		const unsigned actor = trace.events[i].actor;

		if (actors[i] != *(actor == MR_ACTOR_UNKNOWN ? "?" : &letters[actor]))
			fail_msg("line %zu: expected %c, found actor %u", i + 1, actors[i], actor);
	}
}

#define LISTEN_BEGIN                                                                                                   \
	"M loadvm_process_command com=POSTCOPY_LISTEN len=0\n"                                                         \
	"M loadvm_postcopy_handle_listen enter\n"                                                                      \
	"M postcopy_ram_enable_notify \n"

static void test_pings_of_both(void **state)
{
	(void)state;
	check_actors("M qemu_loadvm_state_section 8\n" LISTEN_BEGIN "L migrate_set_state new state postcopy-device\n"
		     "L postcopy_ram_listen_thread_start \n"
		     "L qemu_loadvm_state_section 8\n"
		     "M loadvm_postcopy_handle_listen return\n"
		     "M qemu_loadvm_state_section_command 0\n"
		     "M qemu_loadvm_state_section 8\n"
		     "L loadvm_process_command com=PING len=4\n"
		     "L loadvm_process_command_ping 0x4\n"
		     "M loadvm_process_command com=PING len=4\n"
		     "M loadvm_process_command_ping 0x3\n"
		     "L migrate_send_rp_message 2: len 4\n"
		     "M migrate_send_rp_message 2: len 4\n"
		     "L qemu_loadvm_state_section_command 0\n"
		     "L qemu_loadvm_state_section 2\n"
		     "M qemu_loadvm_state_section_command 0\n"
		     "M qemu_loadvm_state_section 8\n"
		     "M loadvm_process_command com=POSTCOPY_RUN len=0\n"
		     "M loadvm_postcopy_handle_run \n"
		     "M migrate_set_state new state postcopy-active\n"
		     "M qemu_loadvm_state_section_command 1\n"
		     "M loadvm_handle_cmd_packaged_main 1\n");
	/* The main loader's next line stands before the listen loader's. */
	check_actors(LISTEN_BEGIN "L postcopy_ram_listen_thread_start \n"
				  "L qemu_loadvm_state_section 8\n"
				  "L loadvm_process_command com=PING len=4\n"
				  "L loadvm_process_command_ping 0x4\n"
				  "L migrate_send_rp_message 2: len 4\n"
				  "M loadvm_postcopy_handle_listen return\n"
				  "M qemu_loadvm_state_section_command 0\n"
				  "M qemu_loadvm_state_section 4\n"
				  "L qemu_loadvm_state_section_command 0\n"
				  "L qemu_loadvm_state_section 2\n");
	/* Cut before it shows whose it was. */
	check_actors(LISTEN_BEGIN "M loadvm_postcopy_handle_listen return\n"
				  "M qemu_loadvm_state_section_command 0\n"
				  "? qemu_loadvm_state_section 8\n"
				  "? loadvm_process_command com=PING len=4\n"
				  "? migrate_send_rp_message 2: len 4\n"
				  "? qemu_loadvm_state_section_command 0\n");
	/* A package that fails ends the command around it. */
	check_actors("M loadvm_process_command com=PACKAGED len=4\n" LISTEN_BEGIN
		     "M loadvm_postcopy_handle_listen return\n"
		     "M qemu_loadvm_state_section_command 0\n"
		     "M loadvm_handle_cmd_packaged_main -22\n"
		     "M qemu_loadvm_state_section_command -22\n"
		     "? migrate_set_state new state failed\n");
}

static void test_pages_of_both(void **state)
{
	(void)state;
	check_actors("M postcopy_init_range mem: 0x10000000 offset=0x0 length=0x10000000\n" LISTEN_BEGIN
		     "F postcopy_ram_fault_thread_entry \n"
		     "P postcopy_preempt_thread_entry \n"
		     "L qemu_loadvm_state_section 2\n"
		     "L qemu_loadvm_state_section_partend 2\n"
		     "M qemu_loadvm_state_section_startfull 7(ram) 0 3\n"
		     "M vmstate_load ram, ram\n"
		     "L vmstate_load dirty-bitmap, (old)\n"
		     "M vmstate_load apic, apic\n"
		     "L vmstate_load ram, (old)\n"
		     "L ram_load_start \n"
		     "L ram_load_postcopy_loop chan=0 addr=0x5000 flags=0x28\n"
		     "P ram_load_postcopy_loop chan=1 addr=0x7000 flags=0x8\n"
		     "P postcopy_page_req_del resolved page req 0x10007000 total 0\n"
		     "L postcopy_place_page host=0x10005000\n"
		     "P postcopy_place_page host=0x10007000\n"
		     "L ram_load_postcopy_loop chan=0 addr=0x9000 flags=0x2a\n"
		     "P ram_load_postcopy_loop chan=1 addr=0x9000 flags=0xa\n"
		     "? postcopy_place_page_zero host=0x10009000\n"
		     "L ram_load_postcopy_loop chan=0 addr=0x0 flags=0x10\n"
		     "P postcopy_place_page host=0x10009000\n"
		     "? postcopy_place_page host=0x1000a000\n"
		     "P postcopy_preempt_thread_exit \n"
		     "L multifd_recv_sync_main packet num 1\n"
		     "3 multifd_recv_thread_end channel 3 packets 1\n"
		     "L ram_load_complete exit_code -5 seq iteration 3\n"
		     "L migrate_set_state new state failed\n");
}

static void test_recovery(void **state)
{
	(void)state;
	check_actors("M migrate_send_rp_message 2: len 4\n"
		     "M migrate_send_rp_message 7: len 0\n" LISTEN_BEGIN "M loadvm_postcopy_handle_run \n"
		     "M migrate_set_state new state postcopy-active\n"
		     "F postcopy_ram_fault_thread_request Request for HVA=0x1 rb=mem offset=0x0 pid=1\n"
		     "F postcopy_page_req_add new page req 0x1 total 1\n"
		     "F migrate_send_rp_message 3: len 16\n"
		     "L postcopy_pause_incoming \n"
		     "L migrate_set_state new state postcopy-paused\n"
		     "F postcopy_pause_fault_thread \n"
		     "P postcopy_pause_fast_load \n"
		     "M migration_socket_incoming_accepted \n"
		     "M postcopy_preempt_new_channel \n"
		     "M migrate_set_state new state postcopy-recover\n"
		     "L postcopy_pause_incoming_continued \n"
		     "P postcopy_pause_fast_load_continued \n"
		     "L qemu_loadvm_state_section 8\n"
		     "L loadvm_process_command com=RECV_BITMAP len=4\n"
		     "L migrate_send_rp_message 5: len 4\n"
		     "L migrate_send_rp_recv_bitmap block 'mem' size 0x520\n"
		     "L loadvm_handle_recv_bitmap mem\n"
		     "L qemu_loadvm_state_section_command 0\n"
		     "L loadvm_process_command com=POSTCOPY_RESUME len=0\n"
		     "L migrate_set_state new state postcopy-active\n"
		     "L loadvm_postcopy_handle_resume \n"
		     "L migrate_send_rp_message 6: len 4\n"
		     "L migrate_send_rp_message 3: len 16\n"
		     "L postcopy_page_req_sync sync page req 0x1\n"
		     "F postcopy_pause_fault_thread_continued \n"
		     "F migrate_send_rp_message 4: len 12\n"
		     "L postcopy_ram_listen_thread_exit \n"
		     "L migrate_set_state new state completed\n"
		     "M postcopy_ram_incoming_cleanup_entry \n"
		     "M postcopy_ram_incoming_cleanup_exit \n"
		     "M loadvm_state_cleanup \n"
		     "M migrate_send_rp_message 1: len 4\n");
}

/* Up to 9.2 the listen loader cleans up before it is completed. */
static void test_older_end(void **state)
{
	(void)state;
	check_actors(LISTEN_BEGIN "L postcopy_ram_listen_thread_exit \n"
				  "L postcopy_ram_incoming_cleanup_entry \n"
				  "L postcopy_ram_incoming_cleanup_join \n"
				  "L postcopy_ram_incoming_cleanup_exit \n"
				  "L migrate_set_state new state completed\n"
				  "L migrate_send_rp_message 1: len 4\n"
				  "L loadvm_state_cleanup \n");
	check_actors("M migrate_set_state new state failed\n"
		     "M migrate_set_state new state completed\n"
		     "M ram_load_complete exit_code -5 seq iteration 3\n"
		     "M loadvm_state_cleanup \n"
		     "M migrate_send_rp_message 1: len 4\n");
}

/* ---- Recordings ---- */

/* The trace as if it had not told its threads: who printed a line must follow from the lines alone. */
static void check_inference(const struct mr_recording *recording, const char *place)
{
	const char *at = (const char *)trace.text;
	const char *text_end = at + trace.text_length;
	char *plain = malloc(2 * trace.text_length + 1);
	struct mr_trace inferred;
	size_t length = 0;

	assert_non_null(plain);
	while (at < text_end) {
		const char *line_end = memchr(at, '\n', (size_t)(text_end - at));
		const char *name = (const char *)memchr(at, ':', (size_t)(line_end - at)) + 1;

		length += (size_t)snprintf(plain + length, 2 * trace.text_length - length, DATE "%.*s\n",
					   (int)(line_end - name), name);
		at = line_end + 1;
	}
	assert_int_equal(mr_trace_read(&inferred, place, recording->destination_qemu,
				       (struct mr_bytes){(const uint8_t *)plain, length}, names, NAME_COUNT, error,
				       sizeof(error)),
			 0);
	free(plain);
	assert_int_equal(inferred.count, trace.count);
	for (size_t i = 0; i < trace.count; i++) {
		if (inferred.events[i].actor != trace.events[i].actor)
			fail_msg("%s: line %" PRIu64 ": expected actor %u, found %u", place, trace.events[i].line,
				 trace.events[i].actor, inferred.events[i].actor);
	}
	mr_trace_close(&inferred);
}

static void check_recording(const char *place)
{
	struct mr_recording *recording;

	if (mr_recording_open(&recording, place, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	mr_trace_close(&trace);
	if (recording->has_destination_trace) {
		if (mr_trace_open(&trace, recording, names, NAME_COUNT, error, sizeof(error)) < 0)
			fail_msg("%s", error);
		assert_true(trace.count > 0);
		for (size_t i = 0; i < trace.count; i++) {
			const struct mr_event *event = &trace.events[i];

			assert_int_not_equal(event->actor, MR_ACTOR_UNKNOWN);
			if (event->kind == MR_EVENT_PLACED || event->kind == MR_EVENT_PLACE_ZERO)
				assert_in_range(event->block, 0, NAME_COUNT - 1);
		}
		if (trace.has_threads)
			check_inference(recording, place);
	}
	mr_recording_close(recording);
}

static void test_recordings(void **state)
{
	static const char place[] = "vectors/recordings";
	DIR *listing = opendir(place);
	struct dirent *entry;
	unsigned count = 0;

	(void)state;
	if (!listing) {
		print_message("skipped: %s is not there\n", place);
		skip();
		return;
	}
	while ((entry = readdir(listing)) != NULL) {
		char path[512];
		struct stat status;

		snprintf(path, sizeof(path), "%s/%s", place, entry->d_name);
		if (entry->d_name[0] == '.' || stat(path, &status) < 0 || !S_ISDIR(status.st_mode))
			continue;
		check_recording(path);
		count++;
	}
	closedir(listing);
	assert_true(count > 0);
}

static void test_files(void **state)
{
	static const uint8_t broken[] = {0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	char directory[] = "/tmp/migref-trace-XXXXXX";
	char path[64];
	struct mr_recording recording = {.directory = directory, .destination_qemu = "7.2.22"};
	FILE *file;

	(void)state;
	assert_non_null(mkdtemp(directory));
	assert_int_equal(mr_trace_open(&trace, &recording, names, NAME_COUNT, error, sizeof(error)), -1);
	assert_non_null(strstr(error, "dst.trace"));
	snprintf(path, sizeof(path), "%s/dst.trace", directory);
	file = fopen(path, "w");
	assert_non_null(file);
	fwrite(broken, sizeof(broken), 1, file);
	fclose(file);
	assert_int_equal(mr_trace_open(&trace, &recording, names, NAME_COUNT, error, sizeof(error)), -1);
	assert_non_null(strstr(error, "dst.trace"));
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(threaded, file);
	fclose(file);
	assert_int_equal(mr_trace_open(&trace, &recording, names, NAME_COUNT, error, sizeof(error)), 0);
	assert_int_equal(trace.count, 13);
	assert_int_equal(folder_remove(directory), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lines, begin, end),
		cmocka_unit_test_setup_teardown(test_texts, begin, end),
		cmocka_unit_test_setup_teardown(test_every_kind_has_a_line, begin, end),
		cmocka_unit_test_setup_teardown(test_skipped_names, begin, end),
		cmocka_unit_test_setup_teardown(test_damage, begin, end),
		cmocka_unit_test_setup_teardown(test_threads, begin, end),
		cmocka_unit_test_setup_teardown(test_damaged_threads, begin, end),
		cmocka_unit_test_setup_teardown(test_errors, begin, end),
		cmocka_unit_test_setup_teardown(test_limits, begin, end),
		cmocka_unit_test_setup_teardown(test_pings_of_both, begin, end),
		cmocka_unit_test_setup_teardown(test_pages_of_both, begin, end),
		cmocka_unit_test_setup_teardown(test_recovery, begin, end),
		cmocka_unit_test_setup_teardown(test_older_end, begin, end),
		cmocka_unit_test_setup_teardown(test_recordings, begin, end),
		cmocka_unit_test_setup_teardown(test_files, begin, end),
	};

	return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
