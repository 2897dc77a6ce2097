/* actions.c: what the machine did, as text, and as the trace lines that QEMU prints when it does the same. */
#include "sim/record/actions.h"
#include "sim/record/print.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include <openssl/sha.h>

enum { FACTS_MAX = 16, SEND_BYTES_IN_HEX = 64, JSON_SAFE_BITS = 53, NO_BLOCK = UINT32_MAX, COMMAND_SECTION = 8 };

/* ---- Actors ---- */

void mr_actor_format(unsigned actor, char out[MR_ACTOR_TEXT_MAX])
{
	const char *name = mr_actor_name(actor);

	if (actor >= MR_ACTOR_MULTIFD && actor < MR_ACTOR_COUNT)
		snprintf(out, MR_ACTOR_TEXT_MAX, "%s%u", name, actor - MR_ACTOR_MULTIFD);
	else
		snprintf(out, MR_ACTOR_TEXT_MAX, "%s", name ? name : "unknown");
}

/* The number behind "multifd", written as mr_actor_format() does; MR_ACTOR_COUNT if it is none. */
static unsigned multifd_by_text(const char *text)
{
	unsigned number = 0;

	if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
		return MR_ACTOR_COUNT;
	for (; *text >= '0' && *text <= '9' && number < MR_INCOMING_MULTIFD_MAX; text++)
		number = number * 10 + (unsigned)(*text - '0');
	return *text == '\0' && number < MR_INCOMING_MULTIFD_MAX ? MR_ACTOR_MULTIFD + number : MR_ACTOR_COUNT;
}

unsigned mr_actor_by_text(const char *text)
{
	const char *multifd = mr_actor_name(MR_ACTOR_MULTIFD);

	for (unsigned actor = 0; actor < MR_ACTOR_MULTIFD; actor++)
		if (strcmp(mr_actor_name(actor), text) == 0)
			return actor;
	if (strncmp(text, multifd, strlen(multifd)) != 0)
		return MR_ACTOR_COUNT;
	return multifd_by_text(text + strlen(multifd));
}

/* ---- Lines of the trace ---- */

/* The fields of an event that an action determines. */
enum {
	HAS_STATUS = 1 << 0,
	HAS_TEXT = 1 << 1,
	HAS_BLOCK = 1 << 2,
	HAS_OFFSET = 1 << 3,
	HAS_CHANNEL = 1 << 4,
	HAS_VALUE = 1 << 5,
	HAS_INSTANCE = 1 << 6,
	HAS_VERSION = 1 << 7,
	HAS_FLAGS = 1 << 8,
	HAS_LENGTH = 1 << 9,
	HAS_RESULT = 1 << 10,
	HAS_PLACE = HAS_BLOCK | HAS_OFFSET,
};

struct event_row {
	const char *name;
	unsigned fields;
	const char *value; /* what `value` is called */
	bool unexpected;   /* no action gives it: an input, or a line without a meaning of its own */
};

static const struct event_row rows[MR_EVENT_KIND_COUNT] = {
	[MR_EVENT_ACCEPTED] = {.name = "accepted", .unexpected = true},
	[MR_EVENT_STATUS] = {.name = "status", .fields = HAS_STATUS},
	[MR_EVENT_SECTION] = {.name = "section", .fields = HAS_VALUE, .value = "type"},
	[MR_EVENT_SECTION_START] = {.name = "section-start",
				    .fields = HAS_VALUE | HAS_TEXT | HAS_INSTANCE | HAS_VERSION,
				    .value = "id"},
	[MR_EVENT_SECTION_PART] = {.name = "section-part", .fields = HAS_VALUE, .value = "id"},
	[MR_EVENT_VMSTATE_LOAD] = {.name = "vmstate-load", .fields = HAS_TEXT},
	[MR_EVENT_COMMAND] = {.name = "command", .fields = HAS_VALUE | HAS_LENGTH, .value = "number"},
	[MR_EVENT_COMMAND_DONE] = {.name = "command-done", .fields = HAS_RESULT},
	[MR_EVENT_PING] = {.name = "ping", .fields = HAS_VALUE, .value = "value"},
	[MR_EVENT_ADVISE] = {.name = "advise"},
	[MR_EVENT_DISCARD] = {.name = "discard"},
	[MR_EVENT_DISCARD_HEADER] = {.name = "discard-header", .fields = HAS_BLOCK | HAS_LENGTH},
	[MR_EVENT_DISCARD_END] = {.name = "discard-end"},
	[MR_EVENT_DISCARD_RANGE] = {.name = "discard-range", .fields = HAS_PLACE | HAS_LENGTH},
	[MR_EVENT_DISCARDED] = {.name = "discarded", .fields = HAS_PLACE | HAS_LENGTH | HAS_RESULT},
	[MR_EVENT_INIT_RANGE] = {.name = "init-range", .fields = HAS_BLOCK | HAS_LENGTH},
	[MR_EVENT_NO_HUGE_PAGES] = {.name = "no-huge-pages", .fields = HAS_BLOCK | HAS_LENGTH},
	[MR_EVENT_CLEANUP_RANGE] = {.name = "cleanup-range", .fields = HAS_BLOCK | HAS_LENGTH},
	[MR_EVENT_LISTEN_ENTER] = {.name = "listen-enter"},
	[MR_EVENT_LISTEN_PREPARED] = {.name = "listen-prepared"},
	[MR_EVENT_ENABLE_NOTIFY] = {.name = "enable-notify"},
	[MR_EVENT_LISTEN_READY] = {.name = "listen-ready"},
	[MR_EVENT_LISTEN_RETURN] = {.name = "listen-return"},
	[MR_EVENT_PACKAGED] = {.name = "packaged", .fields = HAS_LENGTH},
	[MR_EVENT_PACKAGE_READ] = {.name = "package-read", .fields = HAS_LENGTH},
	[MR_EVENT_PACKAGE_DONE] = {.name = "package-done", .fields = HAS_RESULT},
	[MR_EVENT_RUN] = {.name = "run"},
	[MR_EVENT_RESUME] = {.name = "resume"},
	[MR_EVENT_POST_MAIN] = {.name = "post-main", .fields = HAS_RESULT},
	[MR_EVENT_LISTEN_START] = {.name = "listen-start"},
	[MR_EVENT_LISTEN_EXIT] = {.name = "listen-exit"},
	[MR_EVENT_FAULT_ENTRY] = {.name = "fault-entry"},
	[MR_EVENT_FAULT_QUIT] = {.name = "fault-quit"},
	[MR_EVENT_FAULT_EXIT] = {.name = "fault-exit"},
	[MR_EVENT_PREEMPT_CHANNEL] = {.name = "preempt-channel", .unexpected = true},
	[MR_EVENT_PREEMPT_ENTRY] = {.name = "preempt-entry"},
	[MR_EVENT_PREEMPT_EXIT] = {.name = "preempt-exit"},
	[MR_EVENT_RAM_START] = {.name = "ram-start"},
	[MR_EVENT_RAM_PAGE] = {.name = "ram-page", .fields = HAS_PLACE | HAS_VALUE, .value = "flags"},
	[MR_EVENT_RAM_POSTCOPY] = {.name = "ram-postcopy",
				   .fields = HAS_CHANNEL | HAS_OFFSET | HAS_VALUE,
				   .value = "flags"},
	[MR_EVENT_RAM_LOADED] = {.name = "ram-loaded", .fields = HAS_RESULT | HAS_VALUE, .value = "sequence"},
	[MR_EVENT_PLACED] = {.name = "placed", .fields = HAS_PLACE},
	[MR_EVENT_PLACE_ZERO] = {.name = "place-zero", .fields = HAS_PLACE},
	[MR_EVENT_FAULT] = {.name = "fault", .fields = HAS_PLACE | HAS_VALUE, .value = "thread", .unexpected = true},
	[MR_EVENT_REQUEST_ADDED] = {.name = "request-added", .fields = HAS_PLACE | HAS_VALUE, .value = "outstanding"},
	[MR_EVENT_REQUEST_DONE] = {.name = "request-done", .fields = HAS_PLACE | HAS_VALUE, .value = "outstanding"},
	[MR_EVENT_REQUEST_AGAIN] = {.name = "request-again", .fields = HAS_PLACE},
	[MR_EVENT_MESSAGE] = {.name = "message", .fields = HAS_VALUE | HAS_LENGTH, .value = "type"},
	[MR_EVENT_BITMAP] = {.name = "bitmap", .fields = HAS_BLOCK | HAS_LENGTH},
	[MR_EVENT_BITMAP_SENT] = {.name = "bitmap-sent", .fields = HAS_BLOCK},
	[MR_EVENT_PAUSE] = {.name = "pause"},
	[MR_EVENT_PAUSE_CONTINUED] = {.name = "pause-continued"},
	[MR_EVENT_FAULT_PARKED] = {.name = "fault-parked"},
	[MR_EVENT_FAULT_CONTINUED] = {.name = "fault-continued"},
	[MR_EVENT_PREEMPT_PARKED] = {.name = "preempt-parked"},
	[MR_EVENT_PREEMPT_CONTINUED] = {.name = "preempt-continued"},
	[MR_EVENT_CLEANUP_ENTRY] = {.name = "cleanup-entry"},
	[MR_EVENT_CLEANUP_JOIN] = {.name = "cleanup-join", .unexpected = true},
	[MR_EVENT_CLEANUP_CLOSE] = {.name = "cleanup-close"},
	[MR_EVENT_CLEANUP_EXIT] = {.name = "cleanup-exit"},
	[MR_EVENT_STATE_CLEANUP] = {.name = "state-cleanup"},
	[MR_EVENT_MULTIFD_START] = {.name = "multifd-start", .fields = HAS_CHANNEL},
	[MR_EVENT_MULTIFD_PACKET] = {.name = "multifd-packet",
				     .fields = HAS_CHANNEL | HAS_VALUE | HAS_FLAGS | HAS_LENGTH,
				     .value = "packet"},
	[MR_EVENT_MULTIFD_END] = {.name = "multifd-end", .fields = HAS_CHANNEL},
	[MR_EVENT_MULTIFD_SYNC] = {.name = "multifd-sync"},
	[MR_EVENT_GUEST_START] = {.name = "guest-start"},
	[MR_EVENT_VCPU] = {.name = "vcpu", .unexpected = true},
	[MR_EVENT_BLOCKTIME_BEGIN] = {.name = "blocktime-begin", .unexpected = true},
	[MR_EVENT_BLOCKTIME_END] = {.name = "blocktime-end", .unexpected = true},
};

bool mr_event_is_expected(enum mr_event_kind kind)
{
	return (unsigned)kind < MR_EVENT_KIND_COUNT && !rows[kind].unexpected;
}

bool mr_event_equal(const struct mr_event *expected, const struct mr_event *found)
{
	unsigned fields;

	if (expected->kind != found->kind || (unsigned)expected->kind >= MR_EVENT_KIND_COUNT)
		return false;
	if (expected->actor != found->actor && found->actor != MR_ACTOR_UNKNOWN)
		return false;
	fields = rows[expected->kind].fields;
	return (!(fields & HAS_STATUS) || expected->status == found->status) &&
	       (!(fields & HAS_TEXT) || mr_bytes_equal(expected->text, found->text)) &&
	       (!(fields & HAS_BLOCK) || expected->block == found->block) &&
	       (!(fields & HAS_OFFSET) || expected->offset == found->offset) &&
	       (!(fields & HAS_CHANNEL) || expected->channel == found->channel) &&
	       (!(fields & HAS_VALUE) || expected->value == found->value) &&
	       (!(fields & HAS_INSTANCE) || expected->instance == found->instance) &&
	       (!(fields & HAS_VERSION) || expected->version == found->version) &&
	       (!(fields & HAS_FLAGS) || expected->flags == found->flags) &&
	       (!(fields & HAS_LENGTH) || expected->length == found->length) &&
	       (!(fields & HAS_RESULT) || expected->result == found->result);
}

struct event_list {
	const struct mr_incoming *incoming;
	const struct mr_action *action;
	struct mr_event *events;
	size_t count;
};

/* No action gives more than four lines, so that the list is never full. */
static struct mr_event *add(struct event_list *list, enum mr_event_kind kind)
{
	struct mr_event *event = &list->events[list->count++];

	*event = (struct mr_event){.kind = kind, .actor = list->action->actor, .block = NO_BLOCK};
	return event;
}

static void add_value(struct event_list *list, enum mr_event_kind kind, uint64_t value)
{
	add(list, kind)->value = value;
}

static void add_result(struct event_list *list, enum mr_event_kind kind, int result)
{
	add(list, kind)->result = result;
}

static void add_length(struct event_list *list, enum mr_event_kind kind, uint64_t length)
{
	add(list, kind)->length = length;
}

static void add_range(struct event_list *list, enum mr_event_kind kind)
{
	struct mr_event *event = add(list, kind);

	event->block = list->action->range.block;
	event->offset = list->action->range.start;
	event->length = list->action->range.length;
}

static struct mr_event *add_place(struct event_list *list, enum mr_event_kind kind, uint32_t block, uint64_t offset)
{
	struct mr_event *event = add(list, kind);

	event->block = block;
	event->offset = offset;
	return event;
}

/* The header of a record, as a loader of postcopy shows it. */
static void add_postcopy_record(struct event_list *list, unsigned ram_channel, uint64_t offset, uint32_t flags)
{
	struct mr_event *event = add(list, MR_EVENT_RAM_POSTCOPY);

	event->channel = ram_channel;
	event->offset = offset;
	event->value = flags;
}

static void section_events(struct event_list *list)
{
	const struct mr_action *action = list->action;
	struct mr_event *event;

	add_value(list, MR_EVENT_SECTION, action->section.type);
	if (action->section.type == 0)
		return;
	if (action->section.type == 1 || action->section.type == 4) {
		event = add(list, MR_EVENT_SECTION_START);
		event->value = action->section.id;
		event->text = action->section.idstr;
		event->instance = action->section.instance;
		event->version = action->section.version;
	} else {
		add_value(list, MR_EVENT_SECTION_PART, action->section.id);
	}
	add(list, MR_EVENT_VMSTATE_LOAD)->text = action->section.idstr;
	if (action->section.is_ram)
		add(list, MR_EVENT_RAM_START);
}

static void command_events(struct event_list *list)
{
	const struct mr_action *action = list->action;
	struct mr_event *event;

	add_value(list, MR_EVENT_SECTION, COMMAND_SECTION);
	event = add(list, MR_EVENT_COMMAND);
	event->value = action->command.number;
	event->length = action->command.length;
	switch (action->command.number) {
	case MR_COMMAND_PING:
		add_value(list, MR_EVENT_PING, action->command.value);
		break;
	case MR_COMMAND_POSTCOPY_ADVISE:
		add(list, MR_EVENT_ADVISE);
		break;
	case MR_COMMAND_POSTCOPY_LISTEN:
		add(list, MR_EVENT_LISTEN_ENTER);
		break;
	case MR_COMMAND_POSTCOPY_RUN:
		add(list, MR_EVENT_RUN);
		break;
	case MR_COMMAND_POSTCOPY_RAM_DISCARD:
		add(list, MR_EVENT_DISCARD);
		break;
	case MR_COMMAND_PACKAGED:
		add_length(list, MR_EVENT_PACKAGED, action->command.value);
		add_length(list, MR_EVENT_PACKAGE_READ, action->command.value);
		break;
	default:
		break;
	}
}

/* What a command prints at its own end comes before the loop's line about it. */
static void command_done_events(struct event_list *list)
{
	const int result = list->action->command.result;

	switch (list->action->command.number) {
	case MR_COMMAND_POSTCOPY_RAM_DISCARD:
		if (result == 0)
			add(list, MR_EVENT_DISCARD_END);
		break;
	case MR_COMMAND_POSTCOPY_LISTEN:
		if (result == 0)
			add(list, MR_EVENT_LISTEN_RETURN);
		break;
	case MR_COMMAND_PACKAGED:
		add_result(list, MR_EVENT_PACKAGE_DONE, result);
		break;
	default:
		break;
	}
	add_result(list, MR_EVENT_COMMAND_DONE, result);
}

static void actor_start_events(struct event_list *list)
{
	const unsigned actor = list->action->actor;

	if (actor == MR_ACTOR_LISTEN)
		add(list, MR_EVENT_LISTEN_START);
	else if (actor == MR_ACTOR_FAULT)
		add(list, MR_EVENT_FAULT_ENTRY);
	else if (actor == MR_ACTOR_PREEMPT)
		add(list, MR_EVENT_PREEMPT_ENTRY);
	else if (actor >= MR_ACTOR_MULTIFD)
		add(list, MR_EVENT_MULTIFD_START)->channel = list->action->packet.multifd;
}

static void actor_end_events(struct event_list *list)
{
	const unsigned actor = list->action->actor;

	if (actor == MR_ACTOR_LISTEN) {
		add(list, MR_EVENT_LISTEN_EXIT);
	} else if (actor == MR_ACTOR_FAULT) {
		add(list, MR_EVENT_FAULT_QUIT);
		add(list, MR_EVENT_FAULT_EXIT);
	} else if (actor == MR_ACTOR_PREEMPT) {
		add(list, MR_EVENT_PREEMPT_EXIT);
	} else if (actor >= MR_ACTOR_MULTIFD) {
		add(list, MR_EVENT_MULTIFD_END)->channel = list->action->packet.multifd;
	}
}

static void record_events(struct event_list *list)
{
	const struct mr_action_page *page = &list->action->page;

	if (page->postcopy)
		add_postcopy_record(list, page->ram_channel, page->offset, page->flags);
	else if (page->block != NO_BLOCK)
		add_place(list, MR_EVENT_RAM_PAGE, page->block, page->offset)->value = page->flags;
}

/* The end of a body of postcopy shows as a record; the preempt channel has no sections around its records. */
static void loaded_events(struct event_list *list)
{
	const struct mr_action *action = list->action;
	struct mr_event *event;

	if (action->loaded.postcopy && action->loaded.result == 0)
		add_postcopy_record(list, action->actor == MR_ACTOR_PREEMPT, 0, MR_RAM_FLAG_EOS);
	if (action->actor == MR_ACTOR_PREEMPT)
		return;
	event = add(list, MR_EVENT_RAM_LOADED);
	event->result = action->loaded.result;
	event->value = action->loaded.sequence;
}

static void place_events(struct event_list *list)
{
	const struct mr_action_placed *placed = &list->action->placed;

	/* The fault handler answers for pages that are not plugged, without a record. */
	if (list->action->actor != MR_ACTOR_FAULT)
		add_postcopy_record(list, placed->ram_channel, placed->record_offset, placed->record_flags);
	if (placed->zero)
		add_place(list, MR_EVENT_PLACE_ZERO, placed->block, placed->offset);
}

static void marked_events(struct event_list *list)
{
	const struct mr_action_placed *placed = &list->action->placed;

	if (placed->was_requested)
		add_place(list, MR_EVENT_REQUEST_DONE, placed->block, placed->offset)->value = placed->outstanding;
	if (!placed->zero || placed->by_copy)
		add_place(list, MR_EVENT_PLACED, placed->block, placed->offset);
}

static void send_events(struct event_list *list)
{
	const struct mr_action_send *send = &list->action->send;
	struct mr_event *event;
	uint64_t pages = 0;

	if (!send->first)
		return;
	if (send->bitmap) {
		mr_incoming_received(list->incoming, send->block, &pages);
		event = add(list, MR_EVENT_BITMAP);
		event->block = send->block;
		event->length = mr_received_bitmap_size(pages) + sizeof(uint64_t);
		return;
	}
	if (send->type == MR_RETURN_RESUME_ACK)
		add(list, MR_EVENT_RESUME);
	event = add(list, MR_EVENT_MESSAGE);
	event->value = send->type;
	event->length = send->length;
}

static void discard_events(struct event_list *list)
{
	if (list->action->range.when == MR_POSTCOPY_ADVISE)
		add_range(list, MR_EVENT_INIT_RANGE);
	add_range(list, MR_EVENT_DISCARD_RANGE);
	add_range(list, MR_EVENT_DISCARDED);
}

static void packet_events(struct event_list *list)
{
	const struct mr_action *action = list->action;
	struct mr_event *event = add(list, MR_EVENT_MULTIFD_PACKET);

	event->channel = action->packet.multifd;
	event->value = action->packet.record.packet_num;
	event->flags = action->packet.record.flags;
	event->length = action->packet.record.next_packet_size;
}

/* PARK and CONTINUE of the listen loader stand within a pause: only the latter has a line. */
static void park_events(struct event_list *list, bool parked)
{
	if (list->action->actor == MR_ACTOR_FAULT)
		add(list, parked ? MR_EVENT_FAULT_PARKED : MR_EVENT_FAULT_CONTINUED);
	else if (list->action->actor == MR_ACTOR_PREEMPT)
		add(list, parked ? MR_EVENT_PREEMPT_PARKED : MR_EVENT_PREEMPT_CONTINUED);
	else if (list->action->actor == MR_ACTOR_LISTEN && !parked)
		add(list, MR_EVENT_PAUSE_CONTINUED);
}

/* Actions that give one line without fields; MR_EVENT_KIND_COUNT for all others. */
static enum mr_event_kind plain_event(enum mr_action_kind kind)
{
	switch (kind) {
	case MR_ACTION_LISTEN_PREPARED:
		return MR_EVENT_LISTEN_PREPARED;
	case MR_ACTION_PAUSE:
		return MR_EVENT_PAUSE;
	case MR_ACTION_CLEANUP:
		return MR_EVENT_CLEANUP_ENTRY;
	case MR_ACTION_RELEASE:
		return MR_EVENT_CLEANUP_CLOSE;
	case MR_ACTION_CLEANUP_DONE:
		return MR_EVENT_CLEANUP_EXIT;
	case MR_ACTION_STATE_CLEANUP:
		return MR_EVENT_STATE_CLEANUP;
	case MR_ACTION_BARRIER:
		return MR_EVENT_MULTIFD_SYNC;
	default:
		return MR_EVENT_KIND_COUNT;
	}
}

/* Of commands, sections and records: what the loaders read. */
static bool loader_events(struct event_list *list)
{
	const struct mr_action *action = list->action;

	switch (action->kind) {
	case MR_ACTION_SECTION:
		section_events(list);
		return true;
	case MR_ACTION_COMMAND:
		command_events(list);
		return true;
	case MR_ACTION_COMMAND_DONE:
		command_done_events(list);
		return true;
	case MR_ACTION_DISCARD_HEADER:
		add_range(list, MR_EVENT_DISCARD_HEADER);
		return true;
	case MR_ACTION_RAM_RECORD:
		record_events(list);
		return true;
	case MR_ACTION_RAM_LOADED:
		loaded_events(list);
		return true;
	case MR_ACTION_PLACE:
		place_events(list);
		return true;
	case MR_ACTION_MARKED:
		marked_events(list);
		return true;
	case MR_ACTION_PACKET:
		packet_events(list);
		return true;
	case MR_ACTION_LOADED:
		add_result(list, MR_EVENT_POST_MAIN, action->result);
		return true;
	default:
		return false;
	}
}

/* Of everything else that has a line with fields, or several. */
static void other_events(struct event_list *list)
{
	const struct mr_action *action = list->action;

	switch (action->kind) {
	case MR_ACTION_STATUS:
		add(list, MR_EVENT_STATUS)->status = action->status;
		break;
	case MR_ACTION_LISTEN_READY:
		add(list, MR_EVENT_ENABLE_NOTIFY);
		add(list, MR_EVENT_LISTEN_READY);
		break;
	case MR_ACTION_REQUEST:
		if (action->request.verdict == MR_REQUEST_ADDED)
			add_place(list, MR_EVENT_REQUEST_ADDED, action->request.block, action->request.offset)->value =
				action->request.outstanding;
		break;
	case MR_ACTION_REQUEST_AGAIN:
		add_place(list, MR_EVENT_REQUEST_AGAIN, action->request.block, action->request.offset);
		break;
	case MR_ACTION_BITMAP_SENT:
		add(list, MR_EVENT_BITMAP_SENT)->block = action->range.block;
		break;
	case MR_ACTION_PARK:
	case MR_ACTION_CONTINUE:
		park_events(list, action->kind == MR_ACTION_PARK);
		break;
	case MR_ACTION_ACTOR_START:
		actor_start_events(list);
		break;
	case MR_ACTION_ACTOR_END:
		actor_end_events(list);
		break;
	case MR_ACTION_SEND:
		send_events(list);
		break;
	case MR_ACTION_DISCARD:
		discard_events(list);
		break;
	case MR_ACTION_NO_HUGE_PAGES:
		add_range(list, MR_EVENT_NO_HUGE_PAGES);
		break;
	case MR_ACTION_HUGE_PAGES:
		add_range(list, MR_EVENT_CLEANUP_RANGE);
		break;
	case MR_ACTION_START_GUEST:
		if (mr_incoming_session(list->incoming)->listening)
			add(list, MR_EVENT_GUEST_START);
		break;
	default:
		break;
	}
}

size_t mr_action_events(const struct mr_incoming *incoming, const struct mr_action *action,
			struct mr_event events[MR_EVENTS_PER_ACTION])
{
	struct event_list list = {.incoming = incoming, .action = action, .events = events};
	const enum mr_event_kind plain = plain_event(action->kind);

	if (plain != MR_EVENT_KIND_COUNT)
		add(&list, plain);
	else if (!loader_events(&list))
		other_events(&list);
	return list.count;
}

/* ---- Facts: what an action or an event says, for all texts alike ---- */

enum fact_type {
	FACT_NUMBER,
	FACT_HEX, /* as hexadecimal in texts for people */
	FACT_SIGNED,
	FACT_FLAG,
	FACT_TEXT,
	FACT_BLOCK,
	FACT_DIGEST, /* SHA-256 of the bytes; not for people */
	FACT_DATA,   /* the bytes in hexadecimal if they are few, else as FACT_DIGEST */
};

struct fact {
	const char *name;
	enum fact_type type;
	uint64_t number;
	struct mr_bytes bytes;
};

struct facts {
	const struct mr_incoming *incoming;
	struct fact list[FACTS_MAX];
	size_t count;
};

static struct fact *add_fact(struct facts *facts, const char *name, enum fact_type type)
{
	struct fact *fact = &facts->list[facts->count++];

	*fact = (struct fact){.name = name, .type = type};
	return fact;
}

static void fact_number(struct facts *facts, const char *name, uint64_t number)
{
	add_fact(facts, name, FACT_NUMBER)->number = number;
}

static void fact_hex(struct facts *facts, const char *name, uint64_t number)
{
	add_fact(facts, name, FACT_HEX)->number = number;
}

static void fact_signed(struct facts *facts, const char *name, int64_t number)
{
	add_fact(facts, name, FACT_SIGNED)->number = (uint64_t)number;
}

static void fact_flag(struct facts *facts, const char *name, bool flag)
{
	add_fact(facts, name, FACT_FLAG)->number = flag;
}

static void fact_bytes(struct facts *facts, const char *name, enum fact_type type, struct mr_bytes bytes)
{
	add_fact(facts, name, type)->bytes = bytes;
}

static void fact_text(struct facts *facts, const char *name, const char *text)
{
	const char *shown = text ? text : "unknown";

	fact_bytes(facts, name, FACT_TEXT, (struct mr_bytes){(const uint8_t *)shown, strlen(shown)});
}

static void fact_block(struct facts *facts, uint32_t block)
{
	const char *name = block == NO_BLOCK ? NULL : mr_incoming_block_name(facts->incoming, block);

	fact_bytes(facts, "block", FACT_BLOCK,
		   (struct mr_bytes){(const uint8_t *)name, name != NULL ? strlen(name) : 0});
}

static void fact_place(struct facts *facts, uint32_t block, uint64_t offset)
{
	fact_block(facts, block);
	fact_hex(facts, "offset", offset);
}

static void fact_range(struct facts *facts, const struct mr_action_range *range)
{
	fact_block(facts, range->block);
	fact_hex(facts, "start", range->start);
	fact_hex(facts, "length", range->length);
}

static void section_facts(struct facts *facts, const struct mr_action *action)
{
	fact_number(facts, "type", action->section.type);
	if (action->section.type == 0)
		return;
	fact_number(facts, "id", action->section.id);
	fact_bytes(facts, "idstr", FACT_TEXT, action->section.idstr);
	if (action->section.type == 1 || action->section.type == 4) {
		fact_number(facts, "instance", action->section.instance);
		fact_number(facts, "version", action->section.version);
	}
}

static void command_facts(struct facts *facts, const struct mr_action *action)
{
	fact_number(facts, "number", action->command.number);
	fact_text(facts, "command", mr_command_name(action->command.number));
	if (action->kind == MR_ACTION_COMMAND_DONE) {
		fact_signed(facts, "result", action->command.result);
		return;
	}
	fact_number(facts, "length", action->command.length);
	if (action->command.number == MR_COMMAND_PING)
		fact_number(facts, "value", action->command.value);
	else if (action->command.number == MR_COMMAND_PACKAGED)
		fact_number(facts, "package", action->command.value);
	else if (action->command.number == MR_COMMAND_RECV_BITMAP)
		fact_block(facts, action->command.block);
}

static void page_facts(struct facts *facts, const struct mr_action_page *page)
{
	fact_place(facts, page->block, page->offset);
	fact_hex(facts, "flags", page->flags);
	fact_number(facts, "ram-channel", page->ram_channel);
	fact_flag(facts, "postcopy", page->postcopy);
	fact_flag(facts, "cut", page->cut);
	if (!page->cut && (page->flags & MR_RAM_FLAG_ZERO))
		fact_number(facts, "fill", page->fill);
	if (!page->cut)
		fact_number(facts, "size", page->data.length);
}

static void placed_facts(struct facts *facts, const struct mr_action *action)
{
	const struct mr_action_placed *placed = &action->placed;

	fact_place(facts, placed->block, placed->offset);
	fact_hex(facts, "length", placed->length);
	fact_flag(facts, "zero", placed->zero);
	fact_flag(facts, "by-copy", placed->by_copy);
	fact_number(facts, "ram-channel", placed->ram_channel);
	if (action->kind == MR_ACTION_MARKED) {
		fact_flag(facts, "was-requested", placed->was_requested);
		fact_number(facts, "outstanding", placed->outstanding);
		return;
	}
	fact_hex(facts, "record-offset", placed->record_offset);
	fact_hex(facts, "record-flags", placed->record_flags);
	if (placed->data && !placed->zero)
		fact_bytes(facts, "sha256", FACT_DIGEST, (struct mr_bytes){placed->data, (size_t)placed->length});
}

static void request_facts(struct facts *facts, const struct mr_action *action)
{
	const struct mr_action_request *request = &action->request;

	if (action->kind == MR_ACTION_REQUEST)
		fact_text(facts, "verdict", mr_request_verdict_name(request->verdict));
	fact_place(facts, request->block, request->offset);
	if (action->kind == MR_ACTION_REQUEST_AGAIN)
		return;
	fact_number(facts, "thread", request->thread);
	fact_number(facts, "outstanding", request->outstanding);
	fact_flag(facts, "retried", request->retried);
}

static void send_facts(struct facts *facts, const struct mr_action_send *send)
{
	fact_number(facts, "return", send->channel);
	fact_number(facts, "type", send->type);
	fact_text(facts, "message", mr_return_name(send->type));
	fact_number(facts, "length", send->length);
	fact_flag(facts, "bitmap", send->bitmap);
	fact_flag(facts, "first", send->first);
	switch (send->type) {
	case MR_RETURN_PONG:
	case MR_RETURN_SHUT:
	case MR_RETURN_RESUME_ACK:
		fact_number(facts, "value", send->value);
		break;
	case MR_RETURN_REQ_PAGES:
	case MR_RETURN_REQ_PAGES_ID:
		fact_place(facts, send->block, send->offset);
		break;
	case MR_RETURN_RECV_BITMAP:
		fact_block(facts, send->block);
		break;
	default:
		break;
	}
	fact_number(facts, "size", send->bytes.length);
	fact_bytes(facts, "bytes", FACT_DATA, send->bytes);
}

static void packet_facts(struct facts *facts, const struct mr_action *action)
{
	const struct mr_multifd_packet *packet = &action->packet.record;

	fact_number(facts, "multifd", action->packet.multifd);
	fact_number(facts, "packet", packet->packet_num);
	fact_hex(facts, "flags", packet->flags);
	fact_flag(facts, "sync", action->packet.sync);
	fact_block(facts, action->packet.block);
	fact_number(facts, "normal", packet->normal_pages);
	fact_number(facts, "zero", packet->zero_pages);
	fact_number(facts, "next-packet-size", packet->next_packet_size);
	fact_number(facts, "size", packet->payload.length);
	if (packet->payload.length > 0)
		fact_bytes(facts, "sha256", FACT_DIGEST, packet->payload);
}

static void device_facts(struct facts *facts, const struct mr_action *action)
{
	fact_number(facts, "id", action->device.id);
	fact_number(facts, "size", action->device.body.length);
	if (action->device.body.length > 0)
		fact_bytes(facts, "sha256", FACT_DIGEST, action->device.body);
}

static void finding_facts(struct facts *facts, const struct mr_finding *finding)
{
	fact_text(facts, "rule", mr_rule_id(finding->rule));
	fact_text(facts, "verdict", mr_verdict_name(finding->verdict));
	fact_number(facts, "where", finding->channel);
	fact_flag(facts, "backward", finding->backward);
	fact_number(facts, "at", finding->offset);
	fact_text(facts, "expected", finding->expected);
	fact_text(facts, "found", finding->found);
}

static const char *notice_name(enum mr_notice notice)
{
	static const char *const names[] = {[MR_NOTICE_PROBE] = "probe",
					    [MR_NOTICE_ADVISE] = "advise",
					    [MR_NOTICE_LISTEN] = "listen",
					    [MR_NOTICE_END] = "end"};

	return (size_t)notice < sizeof(names) / sizeof(names[0]) ? names[notice] : NULL;
}

static const char *probe_name(enum mr_probe probe)
{
	static const char *const names[] = {[MR_PROBE_OPEN] = "open",
					    [MR_PROBE_FEATURES] = "features",
					    [MR_PROBE_FILE_SYSTEMS] = "file-systems",
					    [MR_PROBE_REGISTER] = "register"};

	return (size_t)probe < sizeof(names) / sizeof(names[0]) ? names[probe] : NULL;
}

/* Kinds whose facts are one, two or three. */
static void short_facts(struct facts *facts, const struct mr_action *action)
{
	switch (action->kind) {
	case MR_ACTION_STATUS:
		fact_text(facts, "status", mr_status_name(action->status));
		break;
	case MR_ACTION_POSTCOPY_STATE:
		fact_text(facts, "state", mr_postcopy_state_name(action->state));
		break;
	case MR_ACTION_LOADED:
		fact_signed(facts, "result", action->result);
		break;
	case MR_ACTION_START_GUEST:
		fact_flag(facts, "run", action->result != 0);
		break;
	case MR_ACTION_PROBE:
		fact_text(facts, "probe", probe_name(action->probe));
		break;
	case MR_ACTION_RAM_LOADED:
		fact_signed(facts, "result", action->loaded.result);
		fact_flag(facts, "postcopy", action->loaded.postcopy);
		fact_number(facts, "sequence", action->loaded.sequence);
		break;
	case MR_ACTION_NOTIFY:
		fact_text(facts, "notice", notice_name(action->notice));
		break;
	case MR_ACTION_BITMAP_SENT:
		fact_block(facts, action->range.block);
		break;
	case MR_ACTION_DISCARD:
		fact_range(facts, &action->range);
		fact_text(facts, "when", mr_postcopy_state_name(action->range.when));
		break;
	case MR_ACTION_DISCARD_HEADER:
	case MR_ACTION_RESIZE:
		fact_block(facts, action->range.block);
		fact_hex(facts, "length", action->range.length);
		break;
	case MR_ACTION_NO_HUGE_PAGES:
	case MR_ACTION_HUGE_PAGES:
	case MR_ACTION_REGISTER:
	case MR_ACTION_UNREGISTER:
		fact_range(facts, &action->range);
		break;
	default:
		break;
	}
}

static void action_facts(struct facts *facts, const struct mr_action *action)
{
	switch (action->kind) {
	case MR_ACTION_SECTION:
		section_facts(facts, action);
		break;
	case MR_ACTION_COMMAND:
	case MR_ACTION_COMMAND_DONE:
		command_facts(facts, action);
		break;
	case MR_ACTION_RAM_RECORD:
		page_facts(facts, &action->page);
		break;
	case MR_ACTION_PLACE:
	case MR_ACTION_MARKED:
		placed_facts(facts, action);
		break;
	case MR_ACTION_REQUEST:
	case MR_ACTION_REQUEST_AGAIN:
		request_facts(facts, action);
		break;
	case MR_ACTION_SEND:
		send_facts(facts, &action->send);
		break;
	case MR_ACTION_WAKE:
		fact_number(facts, "client", action->wake.client);
		fact_place(facts, action->wake.block, action->wake.offset);
		break;
	case MR_ACTION_PACKET:
		packet_facts(facts, action);
		break;
	case MR_ACTION_LOAD_DEVICE:
		device_facts(facts, action);
		break;
	case MR_ACTION_HOOK:
		fact_number(facts, "handler", action->hook.handler);
		fact_text(facts, "hook", mr_hook_name(action->hook.hook));
		break;
	case MR_ACTION_FAILED:
		finding_facts(facts, &action->finding);
		break;
	default:
		short_facts(facts, action);
		break;
	}
}

/* Where in the streams the action comes from, behind what it is about. */
static void origin_facts(struct facts *facts, const struct mr_action *action)
{
	if (action->channel >= MR_INCOMING_CHANNELS_MAX)
		return;
	fact_number(facts, "channel", action->channel);
	if (action->kind != MR_ACTION_CLOSE)
		fact_number(facts, "stream-offset", action->offset);
	if (action->in_package)
		fact_flag(facts, "in-package", true);
}

static void event_facts(struct facts *facts, const struct mr_event *event)
{
	const struct event_row *row = &rows[event->kind];

	if (row->fields & HAS_STATUS)
		fact_text(facts, "status", mr_status_name(event->status));
	if (row->fields & HAS_TEXT)
		fact_bytes(facts, "idstr", FACT_TEXT, event->text);
	if (row->fields & HAS_BLOCK)
		fact_block(facts, event->block);
	if (row->fields & HAS_OFFSET)
		fact_hex(facts, "offset", event->offset);
	if (row->fields & HAS_CHANNEL)
		fact_number(facts, "channel", event->channel);
	if (event->kind == MR_EVENT_COMMAND && event->value < MR_COMMAND_COUNT)
		fact_text(facts, "command", mr_command_name((unsigned)event->value));
	else if (event->kind == MR_EVENT_MESSAGE && event->value < MR_RETURN_COUNT)
		fact_text(facts, "message", mr_return_name((unsigned)event->value));
	if (row->fields & HAS_VALUE)
		add_fact(facts, row->value, strcmp(row->value, "flags") == 0 ? FACT_HEX : FACT_NUMBER)->number =
			event->value;
	if (row->fields & HAS_INSTANCE)
		fact_number(facts, "instance", event->instance);
	if (row->fields & HAS_VERSION)
		fact_number(facts, "version", event->version);
	if (row->fields & HAS_FLAGS)
		fact_hex(facts, "flags", event->flags);
	if (row->fields & HAS_LENGTH)
		fact_hex(facts, "length", event->length);
	if (row->fields & HAS_RESULT)
		fact_signed(facts, "result", event->result);
}

/* ---- Text for people ---- */

struct text {
	char *out;
	size_t size, used; /* used < size; size is not 0 */
};

__attribute__((format(printf, 2, 3))) static void put(struct text *text, const char *format, ...)
{
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(text->out + text->used, text->size - text->used, format, arguments);
	va_end(arguments);
	if (length > 0)
		text->used += (size_t)length < text->size - text->used ? (size_t)length : text->size - text->used - 1;
}

/* Names come from outside, yet the text has to stay one line. */
static void put_name(struct text *text, struct mr_bytes name)
{
	for (size_t i = 0; i < name.length; i++) {
		const uint8_t byte = name.data[i];

		put(text, byte < 0x20 || byte > 0x7e ? "\\x%02x" : "%c", byte);
	}
}

static void put_fact(struct text *text, const struct fact *fact)
{
	switch (fact->type) {
	case FACT_NUMBER:
		put(text, " %s %" PRIu64, fact->name, fact->number);
		break;
	case FACT_HEX:
		put(text, strcmp(fact->name, "offset") == 0 ? " " : " %s ", fact->name);
		put(text, "0x%" PRIx64, fact->number);
		break;
	case FACT_SIGNED:
		put(text, " %s %" PRId64, fact->name, (int64_t)fact->number);
		break;
	case FACT_FLAG:
		if (fact->number)
			put(text, " %s", fact->name);
		break;
	case FACT_TEXT:
	case FACT_BLOCK:
		put(text, " ");
		if (fact->type == FACT_BLOCK && !fact->bytes.data)
			put(text, "no block");
		put_name(text, fact->bytes);
		break;
	case FACT_DIGEST:
	case FACT_DATA:
		break;
	}
}

void mr_event_format(const struct mr_incoming *incoming, const struct mr_event *event, char *out, size_t size)
{
	struct text text = {.out = out, .size = size};
	struct facts facts = {.incoming = incoming};

	if (size == 0)
		return;
	out[0] = '\0';
	if ((unsigned)event->kind >= MR_EVENT_KIND_COUNT) {
		put(&text, "unknown event");
		return;
	}
	put(&text, "%s", rows[event->kind].name);
	event_facts(&facts, event);
	for (size_t i = 0; i < facts.count; i++)
		put_fact(&text, &facts.list[i]);
}

void mr_action_format(const struct mr_incoming *incoming, const struct mr_action *action, char *out, size_t size)
{
	struct text text = {.out = out, .size = size};
	struct facts facts = {.incoming = incoming};
	char actor[MR_ACTOR_TEXT_MAX];
	const char *name = mr_action_name(action->kind);

	if (size == 0)
		return;
	out[0] = '\0';
	mr_actor_format(action->actor, actor);
	put(&text, "%s: %s", actor, name ? name : "unknown action");
	action_facts(&facts, action);
	origin_facts(&facts, action);
	for (size_t i = 0; i < facts.count; i++)
		put_fact(&text, &facts.list[i]);
}

/* ---- JSON ---- */

/* What a double cannot hold goes as text, so that no reader rounds it silently. */
static void print_number(FILE *out, uint64_t number)
{
	fprintf(out, number >> JSON_SAFE_BITS ? "\"0x%" PRIx64 "\"" : "%" PRIu64, number);
}

static void print_bytes(FILE *out, struct mr_bytes bytes)
{
	putc('"', out);
	for (size_t i = 0; i < bytes.length; i++)
		fprintf(out, "%02x", bytes.data[i]);
	putc('"', out);
}

static void print_digest(FILE *out, struct mr_bytes bytes)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	SHA256(bytes.data, bytes.length, digest);
	print_bytes(out, (struct mr_bytes){digest, sizeof(digest)});
}

static void print_fact(FILE *out, const struct fact *fact)
{
	const bool hashed = fact->type == FACT_DATA && fact->bytes.length > SEND_BYTES_IN_HEX;

	fprintf(out, ",\"%s\":", hashed ? "sha256" : fact->name);
	switch (fact->type) {
	case FACT_NUMBER:
	case FACT_HEX:
		print_number(out, fact->number);
		break;
	case FACT_SIGNED:
		fprintf(out, "%" PRId64, (int64_t)fact->number);
		break;
	case FACT_FLAG:
		fputs(fact->number ? "true" : "false", out);
		break;
	case FACT_TEXT:
	case FACT_BLOCK:
		if (fact->type == FACT_BLOCK && !fact->bytes.data)
			fputs("null", out);
		else
			mr_print_json_string(out, fact->bytes);
		break;
	case FACT_DIGEST:
	case FACT_DATA:
		if (fact->type == FACT_DIGEST || hashed)
			print_digest(out, fact->bytes);
		else
			print_bytes(out, fact->bytes);
		break;
	}
}

void mr_action_print(FILE *out, const struct mr_incoming *incoming, const struct mr_action *action, uint64_t number)
{
	struct facts facts = {.incoming = incoming};
	char actor[MR_ACTOR_TEXT_MAX];
	const char *name = mr_action_name(action->kind);

	mr_actor_format(action->actor, actor);
	fprintf(out, "{\"n\":%" PRIu64 ",\"actor\":\"%s\",\"action\":\"%s\"", number, actor, name ? name : "unknown");
	action_facts(&facts, action);
	origin_facts(&facts, action);
	for (size_t i = 0; i < facts.count; i++)
		print_fact(out, &facts.list[i]);
	fputs("}\n", out);
}
