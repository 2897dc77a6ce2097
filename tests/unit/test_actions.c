/* Actions of the destination as lines of QEMU's trace, as text and as JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "sim/record/actions.h"

enum { LINES_MAX = 1024, MEGABYTE = 1 << 20, ERRNO_IO = 5 };

static const struct mr_incoming_block blocks[] = {
	{.name = "mem", .used_length = 16 * MEGABYTE},
	{.name = "pc.bios", .used_length = MEGABYTE / 4, .rank = 1},
};

static void *memory;
static struct mr_incoming *incoming;

static int make_machine(void **state)
{
	struct mr_incoming_config config = {.blocks = blocks, .block_count = 2};
	char error[96] = "";
	size_t size;

	(void)state;
	mr_profile_init(&config.profile, "7.2");
	mr_profile_init(&config.context.profile, "7.2");
	size = mr_incoming_size(&config, error);
	memory = calloc(1, size ? size : 1);
	incoming = size && memory ? mr_incoming_init(memory, size, &config) : NULL;
	return incoming ? 0 : -1;
}

static int free_machine(void **state)
{
	(void)state;
	free(memory);
	return 0;
}

static struct mr_bytes text_bytes(const char *text)
{
	return (struct mr_bytes){(const uint8_t *)text, strlen(text)};
}

static bool given[MR_EVENT_KIND_COUNT];

/* The lines of an action, joined by "; ". */
static void expect_lines(const struct mr_action *action, const char *lines)
{
	struct mr_event events[MR_EVENTS_PER_ACTION];
	const size_t count = mr_action_events(incoming, action, events);
	char found[LINES_MAX] = "", line[256];
	size_t used = 0;

	assert_in_range(count, 0, MR_EVENTS_PER_ACTION);
	for (size_t i = 0; i < count; i++) {
		mr_event_format(incoming, &events[i], line, sizeof(line));
		used += (size_t)snprintf(found + used, sizeof(found) - used, "%s%s", i ? "; " : "", line);
		assert_true(used < sizeof(found));
		given[events[i].kind] = true;
		assert_int_equal(events[i].actor, action->actor);
		assert_true(mr_event_is_expected(events[i].kind));
		assert_true(mr_event_equal(&events[i], &events[i]));
	}
	assert_string_equal(found, lines);
}

#define EXPECT(lines, ...) expect_lines(&(const struct mr_action){__VA_ARGS__}, lines)

static void test_sections(void **state)
{
	(void)state;
	EXPECT("section type 0", .kind = MR_ACTION_SECTION);
	EXPECT("section type 1; section-start ram id 2 instance 0 version 4; vmstate-load ram; ram-start",
	       .kind = MR_ACTION_SECTION,
	       .section = {.type = 1, .is_ram = true, .id = 2, .version = 4, .idstr = text_bytes("ram")});
	EXPECT("section type 2; section-part id 2; vmstate-load ram; ram-start", .kind = MR_ACTION_SECTION,
	       .section = {.type = 2, .is_ram = true, .id = 2, .idstr = text_bytes("ram")});
	EXPECT("section type 3; section-part id 7; vmstate-load block", .kind = MR_ACTION_SECTION,
	       .section = {.type = 3, .id = 7, .idstr = text_bytes("block")});
	EXPECT("section type 4; section-start dma id 14 instance 1 version 1; vmstate-load dma",
	       .kind = MR_ACTION_SECTION,
	       .section = {.type = 4, .id = 14, .instance = 1, .version = 1, .idstr = text_bytes("dma")});
	EXPECT("post-main result 1", .kind = MR_ACTION_LOADED, .result = 1);
	EXPECT("post-main result -22", .kind = MR_ACTION_LOADED, .result = -22);
	EXPECT("state-cleanup", .kind = MR_ACTION_STATE_CLEANUP);
	EXPECT("status postcopy-active", .kind = MR_ACTION_STATUS, .status = MR_STATUS_POSTCOPY_ACTIVE);
}

static void expect_command(unsigned number, uint16_t length, uint32_t value, const char *lines)
{
	EXPECT(lines, .kind = MR_ACTION_COMMAND,
	       .command = {.number = (uint16_t)number, .length = length, .value = value});
}

static void test_commands(void **state)
{
	(void)state;
	expect_command(MR_COMMAND_OPEN_RETURN_PATH, 0, 0,
		       "section type 8; command OPEN_RETURN_PATH number 1 length 0x0");
	expect_command(MR_COMMAND_PING, 4, 0x42, "section type 8; command PING number 2 length 0x4; ping value 66");
	expect_command(MR_COMMAND_POSTCOPY_ADVISE, 16, 0,
		       "section type 8; command POSTCOPY_ADVISE number 3 length 0x10; advise");
	expect_command(MR_COMMAND_POSTCOPY_LISTEN, 0, 0,
		       "section type 8; command POSTCOPY_LISTEN number 4 length 0x0; listen-enter");
	expect_command(MR_COMMAND_POSTCOPY_RUN, 0, 0, "section type 8; command POSTCOPY_RUN number 5 length 0x0; run");
	expect_command(MR_COMMAND_POSTCOPY_RAM_DISCARD, 22, 0,
		       "section type 8; command POSTCOPY_RAM_DISCARD number 6 length 0x16; discard");
	expect_command(MR_COMMAND_PACKAGED, 4, 13483,
		       "section type 8; command PACKAGED number 7 length 0x4; packaged length 0x34ab; "
		       "package-read length 0x34ab");
	expect_command(MR_COMMAND_POSTCOPY_RESUME, 0, 0, "section type 8; command POSTCOPY_RESUME number 9 length 0x0");
	expect_command(MR_COMMAND_RECV_BITMAP, 4, 0, "section type 8; command RECV_BITMAP number 10 length 0x4");
}

static void expect_done(unsigned number, int result, const char *lines)
{
	EXPECT(lines, .kind = MR_ACTION_COMMAND_DONE, .command = {.number = (uint16_t)number, .result = result});
}

static void test_command_ends(void **state)
{
	(void)state;
	expect_done(MR_COMMAND_PING, 0, "command-done result 0");
	expect_done(MR_COMMAND_POSTCOPY_RUN, 1, "command-done result 1");
	expect_done(MR_COMMAND_POSTCOPY_RAM_DISCARD, 0, "discard-end; command-done result 0");
	expect_done(MR_COMMAND_POSTCOPY_RAM_DISCARD, -22, "command-done result -22");
	expect_done(MR_COMMAND_POSTCOPY_LISTEN, 0, "listen-return; command-done result 0");
	expect_done(MR_COMMAND_POSTCOPY_LISTEN, -1, "command-done result -1");
	expect_done(MR_COMMAND_PACKAGED, 1, "package-done result 1; command-done result 1");
}

#define RANGE(block_, start_, length_, when_)                                                                          \
	.range = {.block = (block_), .start = (start_), .length = (length_), .when = (when_)}

static void test_ranges(void **state)
{
	(void)state;
	EXPECT("init-range mem length 0x1000000; discard-range mem 0x0 length 0x1000000; "
	       "discarded mem 0x0 length 0x1000000 result 0",
	       .kind = MR_ACTION_DISCARD, RANGE(0, 0, 16 * MEGABYTE, MR_POSTCOPY_ADVISE));
	EXPECT("discard-range pc.bios 0x3000 length 0x2000; discarded pc.bios 0x3000 length 0x2000 result 0",
	       .kind = MR_ACTION_DISCARD, RANGE(1, 0x3000, 0x2000, MR_POSTCOPY_DISCARD));
	EXPECT("discard-header pc.bios length 0x10", .kind = MR_ACTION_DISCARD_HEADER, RANGE(1, 0, 16, 0));
	EXPECT("no-huge-pages mem length 0x1000000", .kind = MR_ACTION_NO_HUGE_PAGES, RANGE(0, 0, 16 * MEGABYTE, 0));
	EXPECT("cleanup-range mem length 0x1000000", .kind = MR_ACTION_HUGE_PAGES, RANGE(0, 0, 16 * MEGABYTE, 0));
	EXPECT("cleanup-close", .kind = MR_ACTION_RELEASE);
	EXPECT("cleanup-entry", .kind = MR_ACTION_CLEANUP);
	EXPECT("cleanup-exit", .kind = MR_ACTION_CLEANUP_DONE);
	EXPECT("listen-prepared", .kind = MR_ACTION_LISTEN_PREPARED);
	EXPECT("enable-notify; listen-ready", .kind = MR_ACTION_LISTEN_READY);
	EXPECT("", .kind = MR_ACTION_REGISTER, RANGE(0, 0, 16 * MEGABYTE, 0));
	EXPECT("", .kind = MR_ACTION_UNREGISTER, RANGE(0, 0, 16 * MEGABYTE, 0));
}

static void test_actors(void **state)
{
	(void)state;
	EXPECT("listen-start", .kind = MR_ACTION_ACTOR_START, .actor = MR_ACTOR_LISTEN);
	EXPECT("fault-entry", .kind = MR_ACTION_ACTOR_START, .actor = MR_ACTOR_FAULT);
	EXPECT("preempt-entry", .kind = MR_ACTION_ACTOR_START, .actor = MR_ACTOR_PREEMPT);
	EXPECT("multifd-start channel 1", .kind = MR_ACTION_ACTOR_START, .actor = MR_ACTOR_MULTIFD,
	       .packet.multifd = 1);
	EXPECT("", .kind = MR_ACTION_ACTOR_START, .actor = MR_ACTOR_MAIN);
	EXPECT("listen-exit", .kind = MR_ACTION_ACTOR_END, .actor = MR_ACTOR_LISTEN);
	EXPECT("fault-quit; fault-exit", .kind = MR_ACTION_ACTOR_END, .actor = MR_ACTOR_FAULT);
	EXPECT("preempt-exit", .kind = MR_ACTION_ACTOR_END, .actor = MR_ACTOR_PREEMPT);
	EXPECT("multifd-end channel 255", .kind = MR_ACTION_ACTOR_END, .actor = MR_ACTOR_MULTIFD + 255,
	       .packet.multifd = 255);
	EXPECT("pause", .kind = MR_ACTION_PAUSE, .actor = MR_ACTOR_LISTEN);
	EXPECT("", .kind = MR_ACTION_PARK, .actor = MR_ACTOR_LISTEN);
	EXPECT("fault-parked", .kind = MR_ACTION_PARK, .actor = MR_ACTOR_FAULT);
	EXPECT("preempt-parked", .kind = MR_ACTION_PARK, .actor = MR_ACTOR_PREEMPT);
	EXPECT("pause-continued", .kind = MR_ACTION_CONTINUE, .actor = MR_ACTOR_LISTEN);
	EXPECT("fault-continued", .kind = MR_ACTION_CONTINUE, .actor = MR_ACTOR_FAULT);
	EXPECT("preempt-continued", .kind = MR_ACTION_CONTINUE, .actor = MR_ACTOR_PREEMPT);
	EXPECT("multifd-sync", .kind = MR_ACTION_BARRIER);
	EXPECT("multifd-packet channel 1 packet 5 flags 0x1 length 0x80000", .kind = MR_ACTION_PACKET,
	       .actor = MR_ACTOR_MULTIFD + 1,
	       .packet = {.multifd = 1, .record = {.packet_num = 5, .flags = 1, .next_packet_size = 524288}});
}

static void test_pages(void **state)
{
	struct mr_action placed = {
		.kind = MR_ACTION_PLACE,
		.actor = MR_ACTOR_PREEMPT,
		.placed = {.offset = 0x14a000, .ram_channel = 1, .record_offset = 0x14a000, .record_flags = 0x28}};

	(void)state;
	EXPECT("ram-page pc.bios 0x1000 flags 0x22", .kind = MR_ACTION_RAM_RECORD,
	       .page = {.block = 1, .offset = 0x1000, .flags = 0x22});
	EXPECT("ram-postcopy 0x1000 channel 0 flags 0x28", .kind = MR_ACTION_RAM_RECORD,
	       .page = {.offset = 0x1000, .flags = 0x28, .postcopy = true});
	EXPECT("ram-postcopy 0x1000 channel 1 flags 0x8", .kind = MR_ACTION_RAM_RECORD,
	       .page = {.block = UINT32_MAX,
			.offset = 0x1000,
			.flags = 8,
			.ram_channel = 1,
			.postcopy = true,
			.cut = true});
	EXPECT("", .kind = MR_ACTION_RAM_RECORD, .page = {.block = UINT32_MAX, .cut = true});
	expect_lines(&placed, "ram-postcopy 0x14a000 channel 1 flags 0x28");
	placed.kind = MR_ACTION_MARKED;
	expect_lines(&placed, "placed mem 0x14a000");
	placed.placed.was_requested = true;
	placed.placed.outstanding = 3;
	expect_lines(&placed, "request-done mem 0x14a000 outstanding 3; placed mem 0x14a000");
	placed.placed.zero = true;
	expect_lines(&placed, "request-done mem 0x14a000 outstanding 3");
	placed.placed.by_copy = true;
	expect_lines(&placed, "request-done mem 0x14a000 outstanding 3; placed mem 0x14a000");
	placed.kind = MR_ACTION_PLACE;
	expect_lines(&placed, "ram-postcopy 0x14a000 channel 1 flags 0x28; place-zero mem 0x14a000");
}

static void expect_loaded(unsigned actor, bool postcopy, int result, const char *lines)
{
	EXPECT(lines, .kind = MR_ACTION_RAM_LOADED, .actor = actor,
	       .loaded = {.result = result, .postcopy = postcopy, .sequence = 12});
}

static void test_bodies(void **state)
{
	(void)state;
	expect_loaded(MR_ACTOR_MAIN, false, 0, "ram-loaded sequence 12 result 0");
	expect_loaded(MR_ACTOR_LISTEN, true, 0,
		      "ram-postcopy 0x0 channel 0 flags 0x10; ram-loaded sequence 12 result 0");
	expect_loaded(MR_ACTOR_LISTEN, true, -ERRNO_IO, "ram-loaded sequence 12 result -5");
	expect_loaded(MR_ACTOR_PREEMPT, true, 0, "ram-postcopy 0x0 channel 1 flags 0x10");
	expect_loaded(MR_ACTOR_PREEMPT, true, -ERRNO_IO, "");
}

static void test_requests(void **state)
{
	struct mr_action request = {.kind = MR_ACTION_REQUEST,
				    .actor = MR_ACTOR_FAULT,
				    .request = {.offset = 0x14a000, .thread = 26462, .outstanding = 1}};

	(void)state;
	expect_lines(&request, "request-added mem 0x14a000 outstanding 1");
	request.request.verdict = MR_REQUEST_REPEATED;
	expect_lines(&request, "");
	request.request.verdict = MR_REQUEST_DROPPED;
	expect_lines(&request, "");
	request.kind = MR_ACTION_REQUEST_AGAIN;
	expect_lines(&request, "request-again mem 0x14a000");
}

static void test_messages(void **state)
{
	(void)state;
	EXPECT("message PONG type 2 length 0x4", .kind = MR_ACTION_SEND,
	       .send = {.type = MR_RETURN_PONG, .length = 4, .first = true});
	EXPECT("", .kind = MR_ACTION_SEND, .send = {.type = MR_RETURN_PONG, .length = 4});
	EXPECT("resume; message RESUME_ACK type 6 length 0x4", .kind = MR_ACTION_SEND,
	       .send = {.type = MR_RETURN_RESUME_ACK, .length = 4, .first = true});
	EXPECT("message RECV_BITMAP type 5 length 0x4", .kind = MR_ACTION_SEND,
	       .send = {.type = MR_RETURN_RECV_BITMAP, .length = 4, .first = true});
	/* 4096 pages are 512 bytes, 64 are 8; the size before them counts too. */
	EXPECT("bitmap mem length 0x208", .kind = MR_ACTION_SEND,
	       .send = {.type = MR_RETURN_RECV_BITMAP, .bitmap = true, .first = true});
	EXPECT("bitmap pc.bios length 0x10", .kind = MR_ACTION_SEND,
	       .send = {.type = MR_RETURN_RECV_BITMAP, .block = 1, .bitmap = true, .first = true});
	EXPECT("", .kind = MR_ACTION_SEND, .send = {.type = MR_RETURN_RECV_BITMAP, .bitmap = true});
	EXPECT("bitmap-sent pc.bios", .kind = MR_ACTION_BITMAP_SENT, .range = {.block = 1});
}

/* In precopy the guest starts without a line of this kind. */
static void test_guest_start(void **state)
{
	struct mr_session *session = (struct mr_session *)mr_incoming_session(incoming);

	(void)state;
	EXPECT("", .kind = MR_ACTION_START_GUEST);
	session->listening = true;
	EXPECT("guest-start", .kind = MR_ACTION_START_GUEST);
	session->listening = false;
}

/* Runs behind all tests of lines: each kind that is said to be expected was given by some action. */
static void test_expected_kinds(void **state)
{
	(void)state;
	for (int kind = 0; kind < MR_EVENT_KIND_COUNT; kind++)
		if (given[kind] != mr_event_is_expected((enum mr_event_kind)kind))
			fail_msg("event kind %d: given %d", kind, given[kind]);
	assert_false(mr_event_is_expected(MR_EVENT_KIND_COUNT));
}

/* Changes one field of an event. */
static void change(struct mr_event *event, unsigned field)
{
	switch (field) {
	case 0:
		event->address++;
		event->line++;
		event->microseconds++;
		event->thread++;
		event->actor = MR_ACTOR_UNKNOWN;
		break;
	case 1:
		event->actor = MR_ACTOR_FAULT;
		break;
	case 2:
		event->offset++;
		break;
	case 3:
		event->block = 1;
		break;
	case 4:
		event->value++;
		break;
	case 5:
		event->kind = MR_EVENT_REQUEST_DONE;
		break;
	default:
		break;
	}
}

static void test_equal(void **state)
{
	const struct mr_event added = {.kind = MR_EVENT_REQUEST_ADDED, .offset = 0x1000, .value = 2};
	struct mr_event loaded = {.kind = MR_EVENT_VMSTATE_LOAD, .text = text_bytes("timer")}, other = loaded;

	(void)state;
	for (unsigned field = 0; field < 6; field++) {
		struct mr_event found = added;

		change(&found, field);
		assert_int_equal(mr_event_equal(&added, &found), field == 0);
	}
	other.text = text_bytes("time");
	assert_false(mr_event_equal(&loaded, &other));
	other = loaded;
	other.value = 7;
	assert_true(mr_event_equal(&loaded, &other));
	loaded.kind = other.kind = MR_EVENT_KIND_COUNT;
	assert_false(mr_event_equal(&loaded, &other));
}

static void test_actor_names(void **state)
{
	static const char *const wrong[] = {"",           "Main",      "main ",     "multifd", "multifd00",
					    "multifd256", "multifd-1", "multifd1x", "unknown", "multifd4294967296"};
	char name[MR_ACTOR_TEXT_MAX];

	(void)state;
	for (unsigned actor = 0; actor < MR_ACTOR_COUNT; actor++) {
		mr_actor_format(actor, name);
		assert_int_equal(mr_actor_by_text(name), actor);
	}
	assert_string_equal(name, "multifd255");
	mr_actor_format(MR_ACTOR_UNKNOWN, name);
	assert_string_equal(name, "unknown");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(mr_actor_by_text(wrong[i]), MR_ACTOR_COUNT);
}

/* The JSON line of an action, without its newline. The caller frees it. */
static char *print_action(const struct mr_action *action)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(out);
	mr_action_print(out, incoming, action, 7);
	assert_int_equal(fclose(out), 0);
	assert_true(size > 0 && text[size - 1] == '\n');
	text[size - 1] = '\0';
	assert_null(strchr(text, '\n'));
	return text;
}

static void expect_json(const struct mr_action *action, const char *json, const char *people)
{
	char *text = print_action(action);
	char line[512];

	assert_string_equal(text, json);
	mr_action_format(incoming, action, line, sizeof(line));
	assert_string_equal(line, people);
	free(text);
}

static void test_texts(void **state)
{
	static const uint8_t page[4096];
	struct mr_action action = {.kind = MR_ACTION_PLACE,
				   .actor = MR_ACTOR_LISTEN,
				   .asked = true,
				   .offset = 100,
				   .placed = {.offset = 0x1000, .length = 4096, .data = page, .record_flags = 8}};

	(void)state;
	expect_json(
		&action,
		"{\"n\":7,\"actor\":\"listen\",\"action\":\"place\",\"block\":\"mem\",\"offset\":4096,\"length\":4096,"
		"\"zero\":false,\"by-copy\":false,\"ram-channel\":0,\"record-offset\":0,\"record-flags\":8,\"sha256\":"
		"\"ad7facb2586fc6e966c004d7d1d16b024f5805ff7cb47c7a85dabd8b48892ca7\",\"channel\":0,"
		"\"stream-offset\":100}",
		"listen: place mem 0x1000 length 0x1000 ram-channel 0 record-offset 0x0 record-flags 0x8 channel 0 "
		"stream-offset 100");
	action = (struct mr_action){.kind = MR_ACTION_SEND,
				    .actor = MR_ACTOR_FAULT,
				    .channel = MR_INCOMING_CHANNELS_MAX,
				    .send = {.type = MR_RETURN_REQ_PAGES,
					     .length = 12,
					     .offset = 0x2000,
					     .first = true,
					     .bytes = {(const uint8_t *)"\x00\x04\xff", 3}}};
	expect_json(
		&action,
		"{\"n\":7,\"actor\":\"fault\",\"action\":\"send\",\"return\":0,\"type\":4,\"message\":\"REQ_PAGES\","
		"\"length\":12,\"bitmap\":false,\"first\":true,\"block\":\"mem\",\"offset\":8192,\"size\":3,"
		"\"bytes\":\"0004ff\"}",
		"fault: send return 0 type 4 REQ_PAGES length 12 first mem 0x2000 size 3");
}

/* Up to 64 bytes of a message are shown, more are told by their digest. */
static void test_long_messages(void **state)
{
	static const uint8_t bytes[65];
	struct mr_action action = {.kind = MR_ACTION_SEND, .send = {.type = MR_RETURN_PONG, .bytes = {bytes, 64}}};
	char *text = print_action(&action);

	(void)state;
	assert_non_null(strstr(text, "\"bytes\":\"00"));
	assert_null(strstr(text, "sha256"));
	free(text);
	action.send.bytes.length = 65;
	text = print_action(&action);
	assert_non_null(
		strstr(text, "\"sha256\":\"98ce42deef51d40269d542f5314bef2c7468d401ad5d85168bfab4c0108f75f7\""));
	assert_null(strstr(text, "\"bytes\""));
	free(text);
}

/* Every kind of action, its fields all zero, is one line of JSON and one for people. */
static void test_all_kinds(void **state)
{
	(void)state;
	for (int kind = 0; kind < MR_ACTION_KIND_COUNT; kind++) {
		struct mr_action action = {.kind = (enum mr_action_kind)kind, .channel = 3, .in_package = true};
		char *text = print_action(&action);
		json_error_t error;
		json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
		char line[512];

		if (!object)
			fail_msg("%s: %s", text, error.text);
		assert_string_equal(json_string_value(json_object_get(object, "action")),
				    mr_action_name((enum mr_action_kind)kind));
		json_decref(object);
		free(text);
		mr_action_format(incoming, &action, line, sizeof(line));
		assert_null(strchr(line, '\n'));
		for (size_t size = 0; size < 100; size++) {
			char part[100];

			memset(part, 'x', sizeof(part));
			mr_action_format(incoming, &action, part, size);
			assert_true(size == 0 || strlen(part) == (strlen(line) < size ? strlen(line) : size - 1));
			assert_memory_equal(part, line, size ? strlen(part) : 0);
			for (size_t i = size; i < sizeof(part); i++)
				assert_int_equal(part[i], 'x');
		}
	}
}

/* Names from outside stay within their line. */
static void test_hostile_names(void **state)
{
	struct mr_event event = {.kind = MR_EVENT_VMSTATE_LOAD, .text = text_bytes("a\nb\x80\"")};
	struct mr_action action = {.kind = MR_ACTION_SECTION,
				   .channel = MR_INCOMING_CHANNELS_MAX,
				   .section = {.type = 4, .idstr = text_bytes("a\nb\x80\"")}};
	char line[64];
	char *text = print_action(&action);

	(void)state;
	assert_non_null(strstr(text, "\"idstr\":\"a\\u000ab\\u0080\\\"\""));
	free(text);
	mr_event_format(incoming, &event, line, sizeof(line));
	assert_string_equal(line, "vmstate-load a\\x0ab\\x80\"");
	event.kind = MR_EVENT_KIND_COUNT;
	mr_event_format(incoming, &event, line, sizeof(line));
	assert_string_equal(line, "unknown event");
	mr_event_format(incoming, &event, line, 0);
	event = (struct mr_event){.kind = MR_EVENT_PLACED, .block = UINT32_MAX, .offset = 0x1000};
	mr_event_format(incoming, &event, line, sizeof(line));
	assert_string_equal(line, "placed no block 0x1000");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sections),       cmocka_unit_test(test_commands),
		cmocka_unit_test(test_command_ends),   cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_actors),         cmocka_unit_test(test_pages),
		cmocka_unit_test(test_bodies),         cmocka_unit_test(test_requests),
		cmocka_unit_test(test_messages),       cmocka_unit_test(test_guest_start),
		cmocka_unit_test(test_expected_kinds), cmocka_unit_test(test_equal),
		cmocka_unit_test(test_actor_names),    cmocka_unit_test(test_texts),
		cmocka_unit_test(test_long_messages),  cmocka_unit_test(test_all_kinds),
		cmocka_unit_test(test_hostile_names),
	};

	return cmocka_run_group_tests(tests, make_machine, free_machine);
}
