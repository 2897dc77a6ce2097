/* lone_source.c: a source without a destination, and what it does in words. */
#include "lone_source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	STEPS_MAX = 200000,
	BACKWARD_MAX = 1 << 16,
	MILLISECOND = 1000000,
	PACKET_HEAD = 64,
	PACKET_NAME = 256,
	MULTIFD_MAGIC = 0x11223344,
};

/* ---- The guest ---- */

static const uint8_t *page_at(void *argument, unsigned actor, uint32_t block, uint64_t offset, enum mr_look look)
{
	struct lone *lone = argument;
	uint8_t *page = lone->memory[block] + offset;

	(void)actor;
	assert_true(offset % lone->config.target_page_size == 0 && offset < lone->blocks[block].used_length);
	if (lone->write_on_look && look == MR_LOOK_SEND)
		memset(page, (int)lone->write_on_look, lone->config.target_page_size);
	return page;
}

static uint64_t page_size(const struct lone *lone)
{
	return lone->config.target_page_size;
}

void lone_write(struct lone *lone, unsigned block, uint64_t page, uint8_t byte)
{
	memset(lone->memory[block] + page * page_size(lone), byte, page_size(lone));
	lone->dirty[block][page] = true;
}

static void put_log(struct lone *lone)
{
	for (uint32_t block = 0; block < lone->config.block_count; block++)
		for (uint64_t page = 0; page < lone->blocks[block].used_length / page_size(lone); page++) {
			if (lone->dirty[block][page])
				assert_true(mr_outgoing_dirty(lone->source, block, page * page_size(lone),
							      page_size(lone)));
			lone->dirty[block][page] = false;
		}
}

/* ---- Words ---- */

static void say(struct lone *lone, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void say(struct lone *lone, const char *format, ...)
{
	char word[640];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(word, sizeof(word), format, arguments);
	va_end(arguments);
	assert_in_range(length, 1, sizeof(word) - 1);
	build_bytes(&lone->words, word, (size_t)length);
	build_bytes(&lone->words, " ", 1);
}

struct reader {
	const uint8_t *at, *end;
};

static uint64_t take(struct reader *reader, unsigned width)
{
	uint64_t number = 0;

	assert_true((size_t)(reader->end - reader->at) >= width);
	while (width--)
		number = number << 8 | *reader->at++;
	return number;
}

static const char *take_text(struct reader *reader, size_t length, char text[256])
{
	assert_true(length < 256 && (size_t)(reader->end - reader->at) >= length);
	memcpy(text, reader->at, length);
	text[length] = 0;
	reader->at += length;
	return text;
}

static const char *take_name(struct reader *reader, char text[256])
{
	return take_text(reader, take(reader, 1), text);
}

/* The rest as hexadecimal digits. */
static const char *take_digits(struct reader *reader, size_t length, char text[256])
{
	assert_true(2 * length < 256 && (size_t)(reader->end - reader->at) >= length);
	text[0] = 0;
	for (size_t i = 0; i < length; i++)
		snprintf(text + 2 * i, 3, "%02x", *reader->at++);
	return text;
}

static void say_block(struct lone *lone, struct lone_connection *connection, struct reader *reader)
{
	char name[256], rest[256];
	const char *plus;
	uint64_t length;

	take_name(reader, name);
	length = take(reader, 8);
	plus = reader->at < reader->end ? "+" : "";
	say(lone, "block:%s/%" PRIx64 "%s%s", name, length, plus,
	    take_digits(reader, (size_t)(reader->end - reader->at), rest));
	assert_true(connection->blocks_left >= length);
	connection->blocks_left -= length;
}

static void say_page(struct lone *lone, struct reader *reader, const char *channel, uint64_t word)
{
	const uint64_t page = word / page_size(lone), flags = word % page_size(lone);
	char name[256] = "", text[8];
	const char *colon = "";

	if (!(flags & 0x20)) {
		take_name(reader, name);
		colon = ":";
	}
	switch (flags & ~UINT64_C(0x20)) {
	case 0x02:
		assert_int_equal(take(reader, 1), 0);
		say(lone, "%szero:%s%s%" PRIu64, channel, name, colon, page);
		break;
	case 0x08:
		assert_true((size_t)(reader->end - reader->at) >= page_size(lone));
		reader->at += page_size(lone);
		say(lone, "%spage:%s%s%" PRIu64, channel, name, colon, page);
		break;
	default:
		assert_int_equal(flags & ~UINT64_C(0x20), 0x40);
		assert_int_equal(take(reader, 1), 1);
		snprintf(text, sizeof(text), "%u", (unsigned)take(reader, 2));
		reader->at += strtoul(text, NULL, 10);
		say(lone, "%sxbzrle:%s%s%" PRIu64 "=%s", channel, name, colon, page, text);
		break;
	}
}

static void say_ram(struct lone *lone, struct lone_connection *connection, struct reader *reader, const char *channel)
{
	uint64_t word;

	/* Where a section ends in an error, its end mark may be missing. */
	if (reader->end - reader->at == 5 && *reader->at == 0x7e) {
		connection->in_ram = false;
		return;
	}
	if (connection->blocks_left) {
		say_block(lone, connection, reader);
		return;
	}
	word = take(reader, 8);
	if (word == 0x10) {
		say(lone, "%seos", channel);
		connection->in_ram = connection->role == MR_ROLE_PREEMPT;
	} else if (word == 0x80) {
		say(lone, "hook");
	} else if (word == 0x200) {
		say(lone, "flush");
	} else if (word % page_size(lone) == 0x04) {
		connection->blocks_left = word - 4;
		say(lone, "size:%" PRIx64, word - 4);
	} else {
		say_page(lone, reader, channel, word);
	}
}

static void say_discard(struct lone *lone, struct reader *reader, size_t length)
{
	const uint8_t *end = reader->at + length;
	char name[256], ranges[256] = "";
	size_t at = 0;

	assert_int_equal(take(reader, 1), 0);
	take_name(reader, name);
	assert_int_equal(take(reader, 1), 0);
	while (reader->at < end) {
		const uint64_t start = take(reader, 8) / page_size(lone);
		const uint64_t count = take(reader, 8) / page_size(lone);

		at += (size_t)snprintf(ranges + at, sizeof(ranges) - at, "%s%" PRIu64 "+%" PRIu64, at ? "," : "", start,
				       count);
	}
	say(lone, "discard:%s:%s", name, ranges);
}

static bool is_early_numbered(const struct lone *lone)
{
	return strcmp(lone->release, "3.0") == 0;
}

static void say_command(struct lone *lone, struct reader *reader)
{
	static const char *const names[] = {"", "open", "",     "advise", "listen", "run",
					    "", "",     "colo", "",       "",       "switchover"};
	const unsigned number = (unsigned)take(reader, 2), length = (unsigned)take(reader, 2);
	const unsigned early = is_early_numbered(lone);
	char name[256];

	if (number == 2)
		say(lone, "ping:%" PRIx64, take(reader, length));
	else if (number == 3 && length == 16) {
		const uint64_t summary = take(reader, 8);

		say(lone, "advise:%" PRIx64 "/%" PRIx64, summary, take(reader, 8));
	} else if (number == 6)
		say_discard(lone, reader, length);
	else if (number == 7)
		say(lone, "package:%" PRIu64, take(reader, length));
	else if (number == 10 - early) {
		say(lone, "bitmap/%u:%s", number, take_name(reader, name));
		assert_int_equal(length, 1 + strlen(name));
	} else {
		assert_int_equal(length, 0);
		if (number == 9 - early)
			say(lone, "resume/%u", number);
		else
			say(lone, "%s", names[number]);
	}
}

static void say_section(struct lone *lone, struct lone_connection *connection, struct reader *reader, unsigned type)
{
	static const char *const names[] = {"", "start", "part", "end", "full"};
	char name[256];

	connection->section = (uint32_t)take(reader, 4);
	if (type == 1 || type == 4) {
		take_name(reader, name);
		take(reader, 8);
		say(lone, "%s:%s#%u", names[type], name, connection->section);
	} else {
		say(lone, "%s#%u", names[type], connection->section);
		memcpy(name, "", 1);
		for (unsigned i = 0; i < lone->handlers.count; i++)
			if (lone->entries[i].section_id == connection->section)
				memcpy(name, lone->entries[i].idstr, sizeof(lone->entries[i].idstr));
	}
	connection->in_ram = strcmp(name, "ram") == 0;
	connection->in_device = !connection->in_ram;
}

static void say_configuration(struct lone *lone, struct reader *reader, unsigned type)
{
	char name[256], digits[256];
	uint64_t version;

	if (type == 7) {
		say(lone, "config:%s", take_text(reader, take(reader, 4), name));
		return;
	}
	take_name(reader, name);
	version = take(reader, 4);
	say(lone, "sub:%s/%" PRIu64 "=%s", name + strlen("configuration/"), version,
	    take_digits(reader, (size_t)(reader->end - reader->at), digits));
}

static void say_device(struct lone *lone, struct lone_connection *connection, struct reader *reader)
{
	char name[256];

	connection->in_device = false;
	if (*reader->at == 0x7e)
		return;
	say(lone, "{%s}", take_name(reader, name));
}

static void say_record(struct lone *lone, struct lone_connection *connection, struct reader *reader)
{
	const unsigned type = (unsigned)take(reader, 1);
	uint64_t length;

	switch (type) {
	case 0:
		say(lone, "eof");
		break;
	case 1:
	case 2:
	case 3:
	case 4:
		say_section(lone, connection, reader, type);
		break;
	case 5:
	case 7:
		say_configuration(lone, reader, type);
		break;
	case 6:
		length = take(reader, 4);
		reader->at += length;
		say(lone, "describe:%" PRIu64, length);
		break;
	case 8:
		say_command(lone, reader);
		break;
	case 0x51:
		assert_int_equal(take(reader, 7), 0x45564d00000003);
		say(lone, "header");
		break;
	default:
		assert_int_equal(type, 0x7e);
		assert_int_equal(take(reader, 4), connection->section);
		say(lone, ".");
	}
	assert_true(reader->at <= reader->end);
}

static void say_packet(struct lone *lone, const struct lone_connection *connection, struct reader *reader)
{
	char offsets[512] = "", name[256], what[300] = "empty";
	uint64_t flags, normal, zero;
	size_t at = 0;

	if (take(reader, 4) == MULTIFD_MAGIC && reader->end - reader->at == PACKET_HEAD - 4) {
		say(lone, "m%u:init", connection->multifd);
		return;
	}
	take(reader, 4);
	flags = take(reader, 4);
	take(reader, 4);
	normal = take(reader, 4);
	take(reader, 12);
	zero = take(reader, 4);
	reader->at += 28;
	memcpy(name, reader->at, sizeof(name) - 1);
	name[255] = 0;
	reader->at += PACKET_NAME;
	for (uint64_t i = 0; i < normal + zero; i++)
		at += (size_t)snprintf(offsets + at, sizeof(offsets) - at, "%s%" PRIu64,
				       i == normal ? "/"
				       : i         ? ","
						   : "",
				       take(reader, 8) / page_size(lone));
	if (normal + zero)
		snprintf(what, sizeof(what), "%.40s:%.200s", name, offsets);
	else if (flags & 1)
		strcpy(what, "sync");
	say(lone, "m%u:%s%s", connection->multifd, what, flags & 1 && normal + zero ? "+sync" : "");
}

static void say_sent(struct lone *lone, const struct mr_source_action *action)
{
	struct lone_connection *connection = &lone->connections[action->send.channel];
	struct reader reader;
	const bool package = action->send.kind == MR_OPAQUE;

	lone->word.length = 0;
	build_bytes(&lone->word, action->send.head.data, action->send.head.length);
	build_bytes(&lone->word, action->send.body.data, action->send.body.length);
	reader = (struct reader){lone->word.bytes, lone->word.bytes + lone->word.length};
	assert_int_equal(action->send.offset, connection->forward.length);
	build_bytes(&connection->forward, lone->word.bytes, lone->word.length);
	if (!(lone->shown & LONE_SHOW(SEND)))
		return;
	if (connection->role == MR_ROLE_MULTIFD) {
		say_packet(lone, connection, &reader);
		return;
	}
	if (package)
		say(lone, "(");
	while (reader.at < reader.end)
		if (connection->role == MR_ROLE_PREEMPT)
			say_ram(lone, connection, &reader, "p:");
		else if (connection->in_ram)
			say_ram(lone, connection, &reader, "");
		else if (connection->in_device)
			say_device(lone, connection, &reader);
		else
			say_record(lone, connection, &reader);
	if (package)
		say(lone, ")");
}

static void say_status(struct lone *lone, enum mr_source_status status)
{
	const char *name = mr_source_status_name(status);
	/* The sheet has no row for the end of a background snapshot. */
	const bool snapshot = lone->config.capabilities & MR_CAPABILITY_BACKGROUND_SNAPSHOT;

	if (!snapshot && !mr_status_may_change(&lone->profile, MR_SIDE_SOURCE, lone->status, name))
		fail_msg("%s: status %s after %s", lone->release, name, lone->status);
	assert_int_equal(mr_outgoing_status(lone->source), status);
	snprintf(lone->status, sizeof(lone->status), "%s", name);
	say(lone, "[%s]", name);
}

static void say_message(struct lone *lone, const struct mr_return_message *message)
{
	static const char *const names[] = {"", "shut", "pong", "", "", "bitmap", "resume-ack", "ack"};
	char name[256] = "";

	memcpy(name, message->block.data ? message->block.data : (const uint8_t *)"", message->block.length);
	if (message->type == MR_RETURN_REQ_PAGES || message->type == MR_RETURN_REQ_PAGES_ID)
		say(lone, "asked:%s:%" PRIu64, name, message->start / page_size(lone));
	else if (message->type == MR_RETURN_RECV_BITMAP)
		say(lone, "got:bitmap:%s", name);
	else
		say(lone, "got:%s:%x", names[message->type], message->value);
}

static void say_range(struct lone *lone, const char *what, uint32_t block, uint64_t start, uint64_t length)
{
	say(lone, "%s:%s:%" PRIu64 "+%" PRIu64, what, lone->blocks[block].name, start / page_size(lone),
	    length / page_size(lone));
}

static void say_other(struct lone *lone, const struct mr_source_action *action)
{
	const char *name = mr_source_action_name(action->kind);

	switch (action->kind) {
	case MR_SOURCE_ACTION_ITERATION:
	case MR_SOURCE_ACTION_DISPATCHED:
	case MR_SOURCE_ACTION_THROTTLE:
		say(lone, "%s:%" PRIu64, name, action->count);
		break;
	case MR_SOURCE_ACTION_RETURN:
		say_message(lone, &action->message.record);
		break;
	case MR_SOURCE_ACTION_REQUEST:
		say_range(lone, action->request.sent ? "served" : "dropped", action->request.block,
			  action->request.start, action->request.length);
		break;
	case MR_SOURCE_ACTION_DISCARDED:
		say(lone, "discarded:%" PRIu64 "/%" PRIu64, action->discarded.ranges, action->discarded.commands);
		break;
	case MR_SOURCE_ACTION_FAILED:
		say(lone, "failed:%s", mr_rule_id(action->finding.rule));
		break;
	case MR_SOURCE_ACTION_CONNECT:
		say(lone, "connect:%s", mr_role_name(action->connect.role));
		break;
	case MR_SOURCE_ACTION_CLOSE:
		say(lone, "close:%u", action->channel);
		break;
	case MR_SOURCE_ACTION_LOG_CLEAR:
	case MR_SOURCE_ACTION_PROTECT:
	case MR_SOURCE_ACTION_UNPROTECT:
	case MR_SOURCE_ACTION_RELEASE:
		say_range(lone, name, action->range.block, action->range.start, action->range.length);
		break;
	case MR_SOURCE_ACTION_SAVE:
	case MR_SOURCE_ACTION_HOOK:
		say(lone, "%s:%s.%s", name, lone->entries[action->save.handler].idstr, mr_hook_name(action->save.hook));
		break;
	default:
		say(lone, "%s", name);
	}
}

/* ---- What is asked ---- */

static const struct lone_answer *find_answer(const struct lone *lone, uint32_t handler, enum mr_hook hook)
{
	for (unsigned i = lone->answer_count; i-- > 0;)
		if (lone->answers[i].hook == hook &&
		    (!lone->answers[i].handler || strcmp(lone->answers[i].handler, lone->entries[handler].idstr) == 0))
			return &lone->answers[i];
	return NULL;
}

/* A body: the handler's name, behind its length. */
static void save(struct lone *lone, uint32_t handler)
{
	static uint8_t body[300];
	const struct mr_handler_entry *entry = &lone->entries[handler];

	if (lone->no_bodies)
		return;
	body[0] = entry->idstr_length;
	memcpy(body + 1, entry->idstr, entry->idstr_length);
	mr_outgoing_save(lone->source, (struct mr_bytes){body, 1u + entry->idstr_length});
}

static int connect(struct lone *lone, const struct mr_source_action *action)
{
	struct lone_connection *connection = &lone->connections[lone->connection_count];

	assert_true(lone->connection_count < LONE_CONNECTIONS);
	assert_int_equal(action->connect.channel, lone->connection_count);
	lone->connection_count++;
	/* Windows point into it: it must not move. */
	build_room(&connection->backward, BACKWARD_MAX);
	connection->backward.length = 0;
	connection->role = action->connect.role;
	connection->multifd = action->connect.multifd;
	connection->open = true;
	if (lone->failure_count && lone->failures[0].role == action->connect.role) {
		const int error = lone->failures[0].error;

		memmove(lone->failures, lone->failures + 1, sizeof(lone->failures) - sizeof(lone->failures[0]));
		lone->failure_count--;
		return error;
	}
	return 0;
}

static int answer_hook(struct lone *lone, const struct mr_source_action *action)
{
	const struct lone_answer *answer = find_answer(lone, action->save.handler, action->save.hook);

	if (action->kind == MR_SOURCE_ACTION_SAVE)
		save(lone, action->save.handler);
	if (!answer)
		return mr_hook_is_question(action->save.hook);
	mr_outgoing_pending(lone->source, &answer->pending);
	return answer->result;
}

static int carry_out(struct lone *lone, const struct mr_source_action *action)
{
	switch (action->kind) {
	case MR_SOURCE_ACTION_FAILED:
		lone->error = action->finding;
		return 0;
	case MR_SOURCE_ACTION_CONNECT:
		return connect(lone, action);
	case MR_SOURCE_ACTION_CLOSE:
		assert_true(lone->connections[action->channel].open);
		lone->connections[action->channel].open = false;
		return 0;
	case MR_SOURCE_ACTION_LOG_SYNC:
		put_log(lone);
		return 0;
	case MR_SOURCE_ACTION_DESCRIBE:
		if (lone->description)
			mr_outgoing_save(lone->source, (struct mr_bytes){(const uint8_t *)lone->description,
									 strlen(lone->description)});
		return 0;
	case MR_SOURCE_ACTION_SAVE:
	case MR_SOURCE_ACTION_HOOK:
		return answer_hook(lone, action);
	default:
		return 0;
	}
}

static void show_return_path(struct lone *lone)
{
	for (unsigned i = 0; i < lone->connection_count; i++) {
		const struct build *backward = &lone->connections[i].backward;
		const uint64_t taken = mr_outgoing_consumed(lone->source, i);

		if (lone->connections[i].role == MR_ROLE_MAIN || lone->connections[i].role == MR_ROLE_RECOVERY)
			mr_outgoing_feed(lone->source, i, backward->bytes + taken, backward->length - taken,
					 lone->connections[i].at_end, 0);
	}
}

enum mr_step lone_step(struct lone *lone, unsigned actor)
{
	struct mr_source_action action = {0};
	enum mr_step step;
	int result;

	show_return_path(lone);
	step = mr_outgoing_step(lone->source, actor, &action);
	if (step != MR_STEP_ACTION)
		return step;
	assert_int_equal(action.actor, actor);
	assert_int_equal(action.asked, action.kind >= MR_SOURCE_ACTION_CONNECT);
	lone->said[action.kind]++;
	lone->last = action;
	if (action.kind == MR_SOURCE_ACTION_SEND)
		say_sent(lone, &action);
	else if (action.kind == MR_SOURCE_ACTION_STATUS)
		say_status(lone, action.status);
	else if (lone->shown >> action.kind & 1)
		say_other(lone, &action);
	result = carry_out(lone, &action);
	if (action.asked) {
		assert_int_equal(mr_outgoing_step(lone->source, actor, &action), MR_STEP_WAITS);
		assert_int_equal(mr_outgoing_wants(lone->source, actor).wait, MR_SOURCE_WAIT_COMPLETION);
		assert_true(mr_outgoing_complete(lone->source, actor, result));
	}
	return step;
}

/* ---- Running ---- */

static bool step_anybody(struct lone *lone)
{
	if (lone_step(lone, MR_SOURCE_MIGRATION) == MR_STEP_ACTION ||
	    lone_step(lone, MR_SOURCE_RETURN) == MR_STEP_ACTION)
		return true;
	for (uint32_t i = 0; i < lone->config.multifd_channels; i++)
		if (lone_step(lone, MR_SOURCE_MULTIFD + i) == MR_STEP_ACTION)
			return true;
	return false;
}

/* Whoever had nothing to do may have something now: a request was put into the queue, say. */
static bool step_somebody(struct lone *lone)
{
	return step_anybody(lone) || step_anybody(lone);
}

void lone_run(struct lone *lone)
{
	for (unsigned i = 0; i < STEPS_MAX; i++)
		if (!step_somebody(lone))
			return;
	fail_msg("it goes on for ever: %.200s", (char *)lone->words.bytes);
}

static bool begins_with(const struct lone *lone, size_t from, const char *word)
{
	const size_t length = strlen(word);

	while (from < lone->words.length) {
		const uint8_t *at = lone->words.bytes + from;

		if (lone->words.length - from >= length && memcmp(at, word, length) == 0)
			return true;
		from += (size_t)((uint8_t *)memchr(at, ' ', lone->words.length - from) - at) + 1;
	}
	return false;
}

void lone_until(struct lone *lone, const char *word)
{
	for (unsigned i = 0; i < STEPS_MAX; i++) {
		const size_t before = lone->words.length;

		if (!step_somebody(lone))
			fail_msg("expected %s, found %.*s", word, (int)lone->words.length, (char *)lone->words.bytes);
		if (begins_with(lone, before, word))
			return;
	}
	fail_msg("it goes on for ever");
}

void lone_start_postcopy(struct lone *lone, const char *word)
{
	lone_start(lone);
	lone_until(lone, "[active]");
	mr_outgoing_start_postcopy(lone->source);
	lone_until(lone, word);
}

void lone_later(struct lone *lone, uint64_t milliseconds)
{
	lone->now += milliseconds * MILLISECOND;
	mr_outgoing_set_time(lone->source, lone->now);
}

bool lone_has_said(const struct lone *lone, const char *word)
{
	return begins_with(lone, 0, word);
}

void forget_words(struct lone *lone)
{
	lone->words.length = 0;
}

void expect_words(struct lone *lone, const char *expected)
{
	const size_t length = lone->words.length ? lone->words.length - 1 : 0;

	if (length != strlen(expected) ||
	    memcmp(lone->words.bytes ? lone->words.bytes : (const uint8_t *)"", expected, length))
		fail_msg("%s:\nexpected %s\nfound    %.*s", lone->release, expected, (int)length,
			 (char *)lone->words.bytes);
	forget_words(lone);
}

/* ---- Choices ---- */

static uint64_t choose(void *argument, enum mr_choice choice, uint64_t canonical)
{
	struct lone *lone = argument;
	const unsigned count = lone->choice_count[choice];
	unsigned next = lone->choice_next[choice];

	if (lone->choose_always && count && next == count)
		next = count - 1;
	if (next == count || lone->choices[choice][next] == LONE_CANONICAL) {
		lone->choice_next[choice] += next < count;
		return canonical;
	}
	lone->choice_next[choice] = next + 1;
	return lone->choices[choice][next];
}

void lone_choose(struct lone *lone, enum mr_choice choice, uint64_t answer)
{
	assert_true(lone->choice_count[choice] < LONE_CHOICES);
	lone->choices[choice][lone->choice_count[choice]++] = answer;
}

void lone_pending(struct lone *lone, const char *handler, enum mr_hook hook, struct mr_pending pending)
{
	assert_true(lone->answer_count < LONE_ANSWERS);
	lone->answers[lone->answer_count++] = (struct lone_answer){handler, hook, 0, pending};
}

void lone_answer(struct lone *lone, const char *handler, enum mr_hook hook, int result)
{
	assert_true(lone->answer_count < LONE_ANSWERS);
	lone->answers[lone->answer_count++] = (struct lone_answer){handler, hook, result, {0}};
}

/* ---- The return path ---- */

static struct build *backward(struct lone *lone)
{
	for (unsigned i = lone->connection_count; i-- > 0;)
		if (lone->connections[i].role == MR_ROLE_MAIN || lone->connections[i].role == MR_ROLE_RECOVERY)
			return &lone->connections[i].backward;
	fail_msg("no main channel");
	return NULL;
}

static void put_message(struct lone *lone, uint16_t type, uint32_t value)
{
	build_be16(backward(lone), type);
	build_be16(backward(lone), 4);
	build_be32(backward(lone), value);
}

void lone_shut(struct lone *lone)
{
	put_message(lone, 1, 0);
}

void lone_pong(struct lone *lone, uint32_t value)
{
	put_message(lone, 2, value);
}

void lone_resume_ack(struct lone *lone)
{
	put_message(lone, 6, 1);
}

void lone_ack(struct lone *lone)
{
	build_be16(backward(lone), 7);
	build_be16(backward(lone), 0);
}

void lone_request(struct lone *lone, const char *block, uint64_t page, uint64_t count)
{
	build_be16(backward(lone), 3);
	build_be16(backward(lone), (uint16_t)(13 + strlen(block)));
	build_be64(backward(lone), page * page_size(lone));
	build_be32(backward(lone), (uint32_t)(count * page_size(lone)));
	build_counted(backward(lone), block);
}

void lone_bitmap(struct lone *lone, const char *block, const char *pages)
{
	const size_t size = (strlen(pages) + 63) / 64 * 8;
	uint8_t *bits;

	build_be16(backward(lone), 5);
	build_be16(backward(lone), (uint16_t)(1 + strlen(block)));
	build_counted(backward(lone), block);
	build_be64(backward(lone), size);
	bits = build_room(backward(lone), size);
	memset(bits, 0, size);
	for (size_t i = 0; pages[i]; i++)
		bits[i / 8] = (uint8_t)(bits[i / 8] | (pages[i] == '1') << i % 8);
	build_be64(backward(lone), UINT64_C(0x0123456789abcdef));
}

/* ---- Setting up ---- */

void lone_forget_handlers(struct lone *lone)
{
	mr_handlers_init(&lone->handlers, &lone->profile, lone->entries, LONE_HANDLERS);
}

void lone_handler(struct lone *lone, const struct mr_handler *handler)
{
	struct mr_handler whole = *handler;
	char error[96];

	whole.alias = MR_ALIAS_NONE;
	whole.version = 1;
	assert_int_equal(mr_handlers_register(&lone->handlers, &whole, NULL, error), MR_NO_RULE);
}

void lone_ram(struct lone *lone)
{
	struct mr_handler ram;
	char error[96];

	assert_true(mr_handler_known("ram", &ram));
	assert_int_equal(mr_handlers_register(&lone->handlers, &ram, NULL, error), MR_NO_RULE);
}

void lone_block(struct lone *lone, unsigned index, const char *name, uint64_t pages, uint64_t block_page_size)
{
	if (lone->config.block_count <= index)
		lone->config.block_count = index + 1;
	lone->blocks[index] = (struct mr_outgoing_block){
		.name = name,
		.used_length = pages * page_size(lone),
		.page_size = block_page_size,
		.address = (uint64_t)(index + 1) << 32,
	};
}

struct lone *lone_new_machine(const char *release, const char *machine)
{
	struct lone *lone = calloc(1, sizeof(*lone));

	assert_non_null(lone);
	lone->release = release;
	assert_int_equal(mr_profile_init(&lone->profile, release), 0);
	mr_profile_apply_machine(&lone->profile, machine);
	lone->config = (struct mr_outgoing_config){
		.profile = lone->profile,
		.machine = "pc",
		.target_page_size = LONE_PAGE,
		.blocks = lone->blocks,
		.handlers = &lone->handlers,
		.max_bandwidth = UINT64_MAX,
		.method_level = INT32_MIN,
		.memory = {lone, page_at},
		.choices = &lone->chooser,
	};
	lone->chooser = (struct mr_choices){lone, choose};
	lone->shown = LONE_SHOW(SEND) | LONE_SHOW(CONNECT) | LONE_SHOW(STOP_GUEST) | LONE_SHOW(START_GUEST) |
		      LONE_SHOW(FINISHED) | LONE_SHOW(FAILED) | LONE_SHOW(PAUSED) | LONE_SHOW(UNPLUG);
	snprintf(lone->status, sizeof(lone->status), "none");
	lone_block(lone, 0, "mem", 4, 0);
	lone_block(lone, 1, "vga", 2, 0);
	lone_forget_handlers(lone);
	lone_handler(lone, &(struct mr_handler){.name = "timer"});
	lone_ram(lone);
	return lone;
}

struct lone *lone_new(const char *release)
{
	return lone_new_machine(release, "pc");
}

void lone_start(struct lone *lone)
{
	char error[96];
	size_t size;

	for (unsigned i = 0; i < lone->config.block_count; i++) {
		const uint64_t pages = lone->blocks[i].used_length / page_size(lone);

		lone->memory[i] = calloc(pages + 1, page_size(lone));
		lone->dirty[i] = calloc(pages + 1, sizeof(bool));
		for (uint64_t page = 0; page < pages; page++)
			lone->memory[i][page * page_size(lone)] = (uint8_t)(page % 255 + 1);
	}
	if (!lone->config.choices)
		lone->chooser.choose = NULL;
	size = mr_outgoing_size(&lone->config, error);
	if (size == 0)
		fail_msg("%s: %s", lone->release, error);
	lone->arena = calloc(1, size);
	lone->source = mr_outgoing_init(lone->arena, size, &lone->config);
	assert_non_null(lone->source);
	if (!(lone->config.capabilities & MR_CAPABILITY_MULTIFD))
		lone->config.multifd_channels = 0;
}

void lone_free(struct lone *lone)
{
	mr_outgoing_clear(lone->source);
	for (unsigned i = 0; i < LONE_BLOCKS; i++) {
		free(lone->memory[i]);
		free(lone->dirty[i]);
	}
	for (unsigned i = 0; i < LONE_CONNECTIONS; i++) {
		build_free(&lone->connections[i].forward);
		build_free(&lone->connections[i].backward);
	}
	build_free(&lone->words);
	build_free(&lone->word);
	free(lone->arena);
	free(lone);
}

/* ---- Judgement ---- */

const char *const lone_releases[LONE_RELEASES] = {"2.6", "2.11", "3.0", "4.0",  "4.1",  "5.2",  "6.2",  "7.2", "8.1",
						  "8.2", "9.0",  "9.2", "10.0", "10.1", "10.2", "11.0", "11.1"};

const char *lone_row(const char *release, const struct lone_row *rows)
{
	struct mr_profile profile;

	mr_profile_init(&profile, release);
	for (; rows->words; rows++)
		if (mr_profile_within(&profile, rows->since, rows->until))
			return rows->words;
	fail_msg("no row for %s", release);
	return NULL;
}

void expect_bytes(const struct lone *lone, unsigned connection, const struct build *expected)
{
	const struct build *found = &lone->connections[connection].forward;
	const size_t shorter = found->length < expected->length ? found->length : expected->length;

	for (size_t i = 0; i < shorter; i++)
		if (found->bytes[i] != expected->bytes[i])
			fail_msg("%s: byte 0x%zx: expected 0x%02x, found 0x%02x", lone->release, i, expected->bytes[i],
				 found->bytes[i]);
	assert_int_equal(found->length, expected->length);
}

struct mr_outgoing_statistics lone_statistics(const struct lone *lone)
{
	struct mr_outgoing_statistics statistics;

	mr_outgoing_statistics(lone->source, &statistics);
	return statistics;
}
