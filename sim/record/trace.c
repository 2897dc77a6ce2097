/* trace.c: reads QEMU's trace log of a destination, every line as an event or as a known name that is skipped. */
#include "sim/record/trace.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/record/trace_actors.h"

#define EVENTS_MAX   ((size_t)10000000)
#define TRACE_FILE   "dst.trace"
#define MICROSECONDS UINT64_C(1000000)

enum { THREADS_MAX = 512, FOUND_MAX = 40, RELEASE_MINOR = 100 };

/* ---- The table ---- */

struct row {
	const char *name;
	size_t name_length;
	enum mr_event_kind kind;
	unsigned since, until; /* 702: 7.2; 0: open */
	const char *pattern;   /* NULL: anything */
};

#define MR_TRACE_LINE(name, kind, since, until, pattern)                                                               \
	{#name, sizeof(#name) - 1, MR_EVENT_##kind, since, until, pattern},
#define MR_TRACE_SKIPPED(name) {#name, sizeof(#name) - 1, MR_EVENT_KIND_COUNT, 0, 0, NULL},
static const struct row rows[] = {
#include "sim/record/trace.def"
};
#undef MR_TRACE_LINE
#undef MR_TRACE_SKIPPED

enum { ROW_COUNT = sizeof(rows) / sizeof(rows[0]) };

const char *mr_event_name(enum mr_event_kind kind)
{
	for (size_t i = 0; i < ROW_COUNT; i++) {
		if (rows[i].kind == kind && kind < MR_EVENT_KIND_COUNT)
			return rows[i].name;
	}
	return NULL;
}

static int compare_name(const struct row *row, const uint8_t *name, size_t length)
{
	int order = memcmp(row->name, name, row->name_length < length ? row->name_length : length);

	return order ? order : (row->name_length > length) - (row->name_length < length);
}

/* The first row of that name; ROW_COUNT if there is none. */
static size_t find_row(const uint8_t *name, size_t length)
{
	size_t low = 0;
	size_t high = ROW_COUNT;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_name(&rows[middle], name, length) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < ROW_COUNT && compare_name(&rows[low], name, length) == 0 ? low : ROW_COUNT;
}

/* ---- What is read, and what is known while it is ---- */

struct thread {
	uint64_t id;
	uint64_t microseconds; /* of its latest line */
	unsigned actor;        /* MR_ACTOR_UNKNOWN until a line tells it */
};

/* Where a block lies in the destination's process, as lines have told so far. */
struct place {
	bool is_known;   /* the address of its first byte */
	bool has_extent; /* its length and offset among all, too */
	uint64_t address, length, offset;
};

struct reader {
	struct mr_trace *trace;
	const char *file;
	unsigned release; /* as in the table; 0: not told */
	const struct mr_bytes *names;
	size_t name_count;
	struct place *places; /* of each name */
	size_t name, placed;  /* found last: by its name, by an address */
	struct thread *threads;
	size_t thread_count, thread; /* the latest */
	size_t capacity;             /* of the events */
	uint64_t line;
	const uint8_t *begin, *at, *end; /* the line */
	/* The longest that any pattern went: there, this was expected. */
	const uint8_t *stopped;
	const char *expected;
	size_t expected_length; /* of a literal; 0: `expected` is words */
	char *error;
	size_t error_size;
};

/* The text quotes the file's own bytes, and has to stay one line whatever they are. */
static void keep_one_line(char *text)
{
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f)
			*text = '?';
	}
}

/* An error about the line as a whole, or about the file if no line was read. */
__attribute__((format(printf, 2, 3))) static int fail(const struct reader *reader, const char *format, ...)
{
	char text[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (reader->line > 0)
		snprintf(reader->error, reader->error_size, "%s: line %" PRIu64 ": %s", reader->file, reader->line,
			 text);
	else
		snprintf(reader->error, reader->error_size, "%s: %s", reader->file, text);
	keep_one_line(reader->error);
	return -1;
}

/* An error at a byte of the line. */
static int fail_at(const struct reader *reader, const uint8_t *at, const char *expected)
{
	const int length = (int)(reader->end - at < FOUND_MAX ? reader->end - at : FOUND_MAX);

	if (length == 0)
		return fail(reader, "byte %td: expected %s, found the end of the line", at - reader->begin + 1,
			    expected);
	return fail(reader, "byte %td: expected %s, found '%.*s'", at - reader->begin + 1, expected, length,
		    (const char *)at);
}

static int fail_where_stopped(const struct reader *reader)
{
	char text[64];

	if (reader->expected_length == 0)
		return fail_at(reader, reader->stopped, reader->expected);
	snprintf(text, sizeof(text), "'%.*s'", (int)reader->expected_length, reader->expected);
	return fail_at(reader, reader->stopped, text);
}

static bool stop(struct reader *reader, const uint8_t *at, const char *expected, size_t expected_length)
{
	if (!reader->stopped || at > reader->stopped) {
		reader->stopped = at;
		reader->expected = expected;
		reader->expected_length = expected_length;
	}
	return false;
}

/* ---- Numbers, written as printf writes them: one text for each number ---- */

static bool take_decimal(struct reader *reader, uint64_t *number)
{
	const uint8_t *begin = reader->at;
	uint64_t value = 0;

	while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9') {
		const uint64_t digit = *reader->at - (uint64_t)'0';

		if (value > (UINT64_MAX - digit) / 10)
			return stop(reader, begin, "a number below 2^64", 0);
		value = value * 10 + digit;
		reader->at++;
	}
	if (reader->at == begin || (*begin == '0' && reader->at - begin > 1))
		return stop(reader, begin, "a decimal number", 0);
	*number = value;
	return true;
}

static bool take_signed(struct reader *reader, int64_t *number)
{
	const uint8_t *begin = reader->at;
	const bool is_negative = begin < reader->end && *begin == '-';
	uint64_t value = 0;

	if (is_negative)
		reader->at++;
	if (!take_decimal(reader, &value))
		return false;
	if (value > INT64_MAX || (is_negative && value == 0))
		return stop(reader, begin, "a number with a sign", 0);
	*number = is_negative ? -(int64_t)value : (int64_t)value;
	return true;
}

static int hexadecimal_digit(uint8_t byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static bool take_hexadecimal(struct reader *reader, uint64_t *number)
{
	const uint8_t *begin = reader->at;
	uint64_t value = 0;

	while (reader->at < reader->end && hexadecimal_digit(*reader->at) >= 0) {
		if (value >> 60)
			return stop(reader, begin, "a hexadecimal number below 2^64", 0);
		value = value << 4 | (uint64_t)hexadecimal_digit(*reader->at);
		reader->at++;
	}
	if (reader->at == begin || (*begin == '0' && reader->at - begin > 1))
		return stop(reader, begin, "a hexadecimal number", 0);
	*number = value;
	return true;
}

/* Exactly so many digits, as in a date. */
static bool take_digits(struct reader *reader, int count, uint64_t maximum, uint64_t *number)
{
	const uint8_t *begin = reader->at;

	*number = 0;
	for (int i = 0; i < count; i++, reader->at++) {
		if (reader->at == reader->end || *reader->at < '0' || *reader->at > '9')
			return stop(reader, reader->at, "a digit", 0);
		*number = *number * 10 + (uint64_t)(*reader->at - '0');
	}
	return *number <= maximum || stop(reader, begin, "a smaller number", 0);
}

static bool take_literal(struct reader *reader, const char *literal, size_t length)
{
	if ((size_t)(reader->end - reader->at) < length || memcmp(reader->at, literal, length) != 0)
		return stop(reader, reader->at, literal, length);
	reader->at += length;
	return true;
}

/* ---- Blocks and addresses ---- */

static bool equal(struct mr_bytes a, struct mr_bytes b)
{
	return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

static bool find_name(struct reader *reader, struct mr_bytes name, uint32_t *block)
{
	for (size_t i = 0; i < reader->name_count; i++) {
		const size_t index = (reader->name + i) % reader->name_count;

		if (equal(reader->names[index], name)) {
			reader->name = index;
			*block = (uint32_t)index;
			return true;
		}
	}
	return stop(reader, name.data, "the name of a block", 0);
}

static bool contains(const struct place *place, uint64_t address)
{
	return place->has_extent && address >= place->address && address - place->address < place->length;
}

/* An address in no block stays an offset without one. */
static void resolve(struct reader *reader, struct mr_event *event)
{
	event->offset = event->address;
	for (size_t i = 0; i < reader->name_count; i++) {
		const size_t index = (reader->placed + i) % reader->name_count;

		if (contains(&reader->places[index], event->address)) {
			reader->placed = index;
			event->block = (uint32_t)index;
			event->offset = event->address - reader->places[index].address;
			return;
		}
	}
}

static int add_block(struct reader *reader, const struct mr_event *event)
{
	struct mr_trace *trace = reader->trace;
	struct place *place = &reader->places[event->block];
	struct mr_bytes name = reader->names[event->block];

	if (place->has_extent)
		return fail(reader, "expected each block once, found %.*s again", (int)name.length,
			    (const char *)name.data);
	if (event->length == 0 || event->length - 1 > UINT64_MAX - event->address)
		return fail(reader, "expected a length that fits in memory, found 0x%" PRIx64, event->length);
	for (size_t i = 0; i < reader->name_count; i++) {
		const struct place *other = &reader->places[i];

		if (other->has_extent &&
		    (contains(other, event->address) ||
		     (event->address < other->address && other->address - event->address < event->length)))
			return fail(reader, "expected a block apart from the others, found one at 0x%" PRIx64,
				    event->address);
	}
	*place = (struct place){.is_known = true,
				.has_extent = true,
				.address = event->address,
				.length = event->length,
				.offset = event->value};
	trace->blocks[trace->block_count++] =
		(struct mr_trace_block){.name = event->text, .address = event->address, .length = event->length};
	return 0;
}

/* Later lines of a block repeat what postcopy_init_range said. */
static int check_block(struct reader *reader, const struct mr_event *event)
{
	const struct place *place = &reader->places[event->block];

	if (place->has_extent && (event->address != place->address || event->value != place->offset))
		return fail(reader,
			    "expected the block at 0x%" PRIx64 ", offset 0x%" PRIx64 ", found 0x%" PRIx64
			    " and 0x%" PRIx64,
			    place->address, place->offset, event->address, event->value);
	return 0;
}

/* A page's own line tells block, offset and address: the first of a block shows where the block lies. */
static int check_page(struct reader *reader, const struct mr_event *event)
{
	struct place *place = &reader->places[event->block];

	if (event->address < event->offset)
		return fail(reader, "expected an address above the offset 0x%" PRIx64 ", found 0x%" PRIx64,
			    event->offset, event->address);
	if (!place->is_known) {
		place->is_known = true;
		place->address = event->address - event->offset;
	}
	if (event->address - event->offset != place->address)
		return fail(reader, "expected the page at 0x%" PRIx64 ", found 0x%" PRIx64,
			    place->address + event->offset, event->address);
	return 0;
}

static int check_discarded(struct reader *reader, struct mr_event *event)
{
	const struct place *place = &reader->places[event->block];

	event->offset = event->address;
	if (!place->is_known)
		return 0;
	event->offset = event->address - place->address;
	if (event->address < place->address || (place->has_extent && event->offset >= place->length))
		return fail(reader, "expected an address in the block at 0x%" PRIx64 ", found 0x%" PRIx64,
			    place->address, event->address);
	return 0;
}

static int check_fault(struct reader *reader, const struct mr_event *event)
{
	const struct place *place = &reader->places[event->block];

	if (place->has_extent && (!contains(place, event->address) || event->address - place->address < event->offset))
		return fail(reader, "expected an address in the block's page at 0x%" PRIx64 ", found 0x%" PRIx64,
			    place->address + event->offset, event->address);
	return 0;
}

/* What the fields of a line say together. */
static int check_event(struct reader *reader, struct mr_event *event)
{
	switch (event->kind) {
	case MR_EVENT_INIT_RANGE:
		return add_block(reader, event);
	case MR_EVENT_NO_HUGE_PAGES:
	case MR_EVENT_CLEANUP_RANGE:
		return check_block(reader, event);
	case MR_EVENT_RAM_PAGE:
		return check_page(reader, event);
	case MR_EVENT_DISCARDED:
		return check_discarded(reader, event);
	case MR_EVENT_FAULT:
		return check_fault(reader, event);
	case MR_EVENT_PLACED:
	case MR_EVENT_PLACE_ZERO:
	case MR_EVENT_REQUEST_ADDED:
	case MR_EVENT_REQUEST_DONE:
	case MR_EVENT_REQUEST_AGAIN:
	case MR_EVENT_BLOCKTIME_BEGIN:
	case MR_EVENT_BLOCKTIME_END:
		resolve(reader, event);
		return 0;
	case MR_EVENT_MULTIFD_START:
	case MR_EVENT_MULTIFD_PACKET:
	case MR_EVENT_MULTIFD_END:
		if (event->channel >= MR_INCOMING_MULTIFD_MAX)
			return fail(reader, "expected a multifd channel below %d, found %" PRIu32,
				    MR_INCOMING_MULTIFD_MAX, event->channel);
		return 0;
	default:
		return 0;
	}
}

/* ---- Patterns ---- */

/* The fields that are no wider than 32 bits. */
static uint32_t *narrow_field(struct mr_event *event, char what)
{
	switch (what) {
	case 'c':
		return &event->channel;
	case 'f':
		return &event->flags;
	case 'p':
		return &event->pages;
	case 'n':
		return &event->instance;
	case 'e':
		return &event->version;
	default:
		return NULL;
	}
}

static uint64_t *wide_field(struct mr_event *event, char what)
{
	switch (what) {
	case 'v':
		return &event->value;
	case 'l':
		return &event->length;
	case 'o':
		return &event->offset;
	default: /* a, h, s */
		return &event->address;
	}
}

static bool take_number(struct reader *reader, struct mr_event *event, char how, char what)
{
	const uint8_t *begin = reader->at;
	uint32_t *narrow = narrow_field(event, what);
	uint64_t number;

	if (how == 'i')
		return take_signed(reader, &event->result);
	if (!(how == 'x' ? take_hexadecimal(reader, &number) : take_decimal(reader, &number)))
		return false;
	if (what == 'm' || what == 'g') {
		if (number > 1)
			return stop(reader, begin, "0 or 1", 0);
		event->flags |= (uint32_t)number << (what == 'g');
	} else if (narrow) {
		if (number > UINT32_MAX)
			return stop(reader, begin, "a number below 2^32", 0);
		*narrow = (uint32_t)number;
	} else {
		*wide_field(event, what) = number;
	}
	return true;
}

static bool find_status(struct reader *reader, struct mr_bytes text, enum mr_status *status)
{
	for (unsigned i = 0; i < MR_STATUS_COUNT; i++) {
		const char *name = mr_status_name((enum mr_status)i);

		if (strlen(name) == text.length && memcmp(name, text.data, text.length) == 0) {
			*status = (enum mr_status)i;
			return true;
		}
	}
	return stop(reader, text.data, "a migration status", 0);
}

static bool find_command(struct reader *reader, struct mr_bytes text, uint64_t *number)
{
	for (unsigned i = 0; i < MR_COMMAND_COUNT; i++) {
		const char *name = mr_command_name(i);

		if (name && strlen(name) == text.length && memcmp(name, text.data, text.length) == 0) {
			*number = i;
			return true;
		}
	}
	return stop(reader, text.data, "the name of a command", 0);
}

static bool is_printable(struct reader *reader, struct mr_bytes text)
{
	for (size_t i = 0; i < text.length; i++) {
		if (text.data[i] < 0x20 || text.data[i] == 0x7f)
			return stop(reader, text.data + i, "a printable byte", 0);
	}
	return true;
}

/* Text goes up to the last place where the literal behind it stands, since the rest of the pattern is numbers. */
static bool take_text(struct reader *reader, struct mr_event *event, char what, const char *literal)
{
	const size_t length = strcspn(literal, "%");
	const uint8_t *end = reader->end - length;
	struct mr_bytes text = {.data = reader->at};

	if ((size_t)(reader->end - reader->at) < length)
		return stop(reader, reader->at, literal, length);
	while (length > 0 && (*end != (uint8_t)*literal || memcmp(end, literal, length) != 0)) {
		if (end == reader->at)
			return stop(reader, reader->at, literal, length);
		end--;
	}
	text.length = (size_t)(end - reader->at);
	reader->at = end;
	switch (what) {
	case 'b':
		event->text = text;
		return find_name(reader, text, &event->block);
	case 's':
		return find_status(reader, text, &event->status);
	case 'k':
		return find_command(reader, text, &event->value);
	case 'n':
		event->name = text;
		return is_printable(reader, text);
	default:
		event->text = text;
		return is_printable(reader, text);
	}
}

static bool match(struct reader *reader, const char *pattern, struct mr_event *event)
{
	while (*pattern != '\0') {
		const size_t length = strcspn(pattern, "%");

		if (length > 0) {
			if (!take_literal(reader, pattern, length))
				return false;
			pattern += length;
			continue;
		}
		if (!(pattern[1] == 's' ? take_text(reader, event, pattern[2], pattern + 3)
					: take_number(reader, event, pattern[1], pattern[2])))
			return false;
		pattern += 3;
	}
	return reader->at == reader->end || stop(reader, reader->at, "the end of the line", 0);
}

/* ---- Threads ---- */

static struct thread *find_thread(struct reader *reader, uint64_t id)
{
	for (size_t i = 0; i < reader->thread_count; i++) {
		const size_t index = (reader->thread + i) % reader->thread_count;

		if (reader->threads[index].id == id) {
			reader->thread = index;
			return &reader->threads[index];
		}
	}
	return NULL;
}

/* The thread of a line: its first line of all makes it known. The first thread is the main one. */
static int note_thread(struct reader *reader, const struct mr_event *event)
{
	struct thread *thread = find_thread(reader, event->thread);

	if (!thread) {
		if (reader->thread_count == THREADS_MAX)
			return fail(reader, "expected at most %d threads, found another", THREADS_MAX);
		reader->thread = reader->thread_count++;
		thread = &reader->threads[reader->thread];
		*thread = (struct thread){.id = event->thread,
					  .actor = reader->thread == 0 ? MR_ACTOR_MAIN : MR_ACTOR_UNKNOWN};
	} else if (event->microseconds < thread->microseconds) {
		return fail(reader,
			    "expected thread %" PRIu64 " at %" PRIu64 ".%06" PRIu64 " or later, found %" PRIu64
			    ".%06" PRIu64,
			    thread->id, thread->microseconds / MICROSECONDS, thread->microseconds % MICROSECONDS,
			    event->microseconds / MICROSECONDS, event->microseconds % MICROSECONDS);
	}
	thread->microseconds = event->microseconds;
	return 0;
}

/* The actor that alone prints lines of this kind; MR_ACTOR_UNKNOWN if others do, too. */
static unsigned actor_of_line(const struct mr_event *event)
{
	switch (event->kind) {
	case MR_EVENT_LISTEN_START:
		return MR_ACTOR_LISTEN;
	case MR_EVENT_FAULT_ENTRY:
		return MR_ACTOR_FAULT;
	case MR_EVENT_PREEMPT_ENTRY:
		return MR_ACTOR_PREEMPT;
	case MR_EVENT_MULTIFD_START:
	case MR_EVENT_MULTIFD_PACKET:
	case MR_EVENT_MULTIFD_END:
		return MR_ACTOR_MULTIFD + event->channel;
	default:
		return MR_ACTOR_UNKNOWN;
	}
}

/* The thread of the line turns out to be an actor. */
static int claim(struct reader *reader, const struct mr_event *event)
{
	const unsigned actor = actor_of_line(event);
	struct thread *thread = &reader->threads[reader->thread];

	if (actor == MR_ACTOR_UNKNOWN || actor == thread->actor)
		return 0;
	if (thread->actor != MR_ACTOR_UNKNOWN)
		return fail(reader, "expected a line of thread %" PRIu64 ", found one of another actor: %s", thread->id,
			    mr_event_name(event->kind));
	for (size_t i = 0; i < reader->thread_count; i++) {
		if (reader->threads[i].actor == actor)
			return fail(reader, "expected thread %" PRIu64 ", found thread %" PRIu64 " as the same actor",
				    reader->threads[i].id, thread->id);
	}
	thread->actor = actor;
	return 0;
}

/* Lines from before a thread told what it is belong to the actor, too. */
static int assign_actors(struct reader *reader)
{
	struct mr_trace *trace = reader->trace;

	for (size_t i = 0; i < trace->count; i++) {
		struct mr_event *event = &trace->events[i];
		const struct thread *thread = find_thread(reader, event->thread);

		reader->line = event->line;
		if (!thread || thread->actor == MR_ACTOR_UNKNOWN)
			return fail(reader, "expected a thread that begins as an actor, found thread %" PRIu64,
				    event->thread);
		event->actor = thread->actor;
	}
	return 0;
}

/* ---- Lines ---- */

/* TID@SECONDS.MICROSECONDS: */
static bool take_thread_clock(struct reader *reader, struct mr_event *event)
{
	const uint8_t *begin = reader->at;
	uint64_t seconds, fraction;

	if (!take_decimal(reader, &event->thread))
		return false;
	if (event->thread == 0)
		return stop(reader, begin, "a thread", 0);
	if (!take_literal(reader, "@", 1))
		return false;
	begin = reader->at;
	if (!take_decimal(reader, &seconds))
		return false;
	if (seconds >= UINT64_MAX / MICROSECONDS)
		return stop(reader, begin, "a smaller number", 0);
	if (!take_literal(reader, ".", 1) || !take_digits(reader, 6, MICROSECONDS - 1, &fraction) ||
	    !take_literal(reader, ":", 1))
		return false;
	event->microseconds = seconds * MICROSECONDS + fraction;
	return true;
}

/* Days from 1970-01-01; years are counted from March, so that the leap day is the last. */
static uint64_t days_of_date(uint64_t year, uint64_t month, uint64_t day)
{
	enum { DAYS_BEFORE_1970 = 719468 };
	const uint64_t shifted = month > 2 ? month - 3 : month + 9;
	const uint64_t whole = month > 2 ? year : year - 1;

	return whole * 365 + whole / 4 - whole / 100 + whole / 400 + (153 * shifted + 2) / 5 + day - 1 -
	       DAYS_BEFORE_1970;
}

/* YYYY-MM-DDTHH:MM:SS.UUUUUUZ and a space */
static bool take_date(struct reader *reader, struct mr_event *event)
{
	static const struct {
		int digits;
		uint64_t maximum;
		const char *behind;
	} parts[] = {{4, 9999, "-"}, {2, 12, "-"}, {2, 31, "T"},    {2, 23, ":"},
		     {2, 59, ":"},   {2, 60, "."}, {6, 999999, "Z"}};
	uint64_t part[7];

	for (size_t i = 0; i < 7; i++) {
		const uint8_t *begin = reader->at;

		if (!take_digits(reader, parts[i].digits, parts[i].maximum, &part[i]))
			return false;
		if ((i == 0 && part[i] < 1970) || ((i == 1 || i == 2) && part[i] == 0))
			return stop(reader, begin, "a date since 1970", 0);
		if (!take_literal(reader, parts[i].behind, 1))
			return false;
	}
	event->microseconds =
		(((days_of_date(part[0], part[1], part[2]) * 24 + part[3]) * 60 + part[4]) * 60 + part[5]) *
			MICROSECONDS +
		part[6];
	return take_literal(reader, " ", 1);
}

static bool is_of_release(const struct row *row, unsigned release)
{
	return release == 0 ||
	       ((row->since == 0 || release >= row->since) && (row->until == 0 || release <= row->until));
}

/* The line's event by the rows of its name: 0, or -1; `event->kind` says whether it is to be kept. */
static int match_rows(struct reader *reader, size_t index, struct mr_event *event)
{
	const uint8_t *arguments = reader->at;
	const size_t first = index;

	reader->stopped = NULL;
	for (; index < ROW_COUNT && strcmp(rows[index].name, rows[first].name) == 0; index++) {
		const struct row *row = &rows[index];
		struct mr_event attempt = *event;

		if (!is_of_release(row, reader->release))
			continue;
		attempt.kind = row->kind;
		attempt.block = UINT32_MAX;
		reader->at = arguments;
		if (row->pattern
			    ? match(reader, row->pattern, &attempt)
			    : is_printable(reader, (struct mr_bytes){arguments, (size_t)(reader->end - arguments)})) {
			*event = attempt;
			return 0;
		}
	}
	if (!reader->stopped)
		return fail(reader, "expected a line of the destination's release, found %s", rows[first].name);
	return fail_where_stopped(reader);
}

/* The line between `begin` and `end`. */
static int read_line(struct reader *reader, struct mr_event *event)
{
	const bool has_threads = reader->trace->has_threads;
	const uint8_t *name;
	size_t index;

	reader->stopped = NULL;
	reader->at = reader->begin;
	*event = (struct mr_event){.line = reader->line, .actor = MR_ACTOR_UNKNOWN};
	if (!(has_threads ? take_thread_clock(reader, event) : take_date(reader, event)))
		return fail_where_stopped(reader);
	name = reader->at;
	while (reader->at < reader->end && *reader->at != ' ')
		reader->at++;
	index = find_row(name, (size_t)(reader->at - name));
	if (index == ROW_COUNT)
		return fail_at(reader, name, "the name of an event");
	if (reader->at == reader->end)
		return fail_at(reader, reader->at, "a space");
	reader->at++;
	if (match_rows(reader, index, event) < 0)
		return -1;
	if (has_threads && note_thread(reader, event) < 0)
		return -1;
	if (event->kind == MR_EVENT_KIND_COUNT)
		return 0;
	if (check_event(reader, event) < 0)
		return -1;
	return has_threads ? claim(reader, event) : 0;
}

static int keep_event(struct reader *reader, const struct mr_event *event)
{
	struct mr_trace *trace = reader->trace;

	if (trace->count == EVENTS_MAX)
		return fail(reader, "expected at most %zu events, found another", EVENTS_MAX);
	if (trace->count == reader->capacity) {
		const size_t capacity = reader->capacity ? 2 * reader->capacity : 1024;
		struct mr_event *events = realloc(trace->events, capacity * sizeof(*events));

		if (!events)
			return fail(reader, "out of memory");
		trace->events = events;
		reader->capacity = capacity;
	}
	trace->events[trace->count++] = *event;
	trace->seen[event->kind]++;
	return 0;
}

static int read_lines(struct reader *reader)
{
	const uint8_t *text = reader->trace->text;
	const uint8_t *end = text + reader->trace->text_length;

	for (const uint8_t *at = text; at < end; at = reader->end + 1) {
		struct mr_event event;

		reader->line++;
		reader->begin = at;
		reader->end = memchr(at, '\n', (size_t)(end - at));
		if (!reader->end)
			return fail(reader, "expected a newline, found the end of the file");
		if (reader->line == 1) {
			const uint8_t *digit = at;

			/* Only a thread's number is followed by an at sign. */
			while (*digit >= '0' && *digit <= '9')
				digit++;
			reader->trace->has_threads = *digit == '@';
		}
		if (read_line(reader, &event) < 0)
			return -1;
		if (event.kind != MR_EVENT_KIND_COUNT && keep_event(reader, &event) < 0)
			return -1;
	}
	return 0;
}

/* "7.2" of a profile as the table writes it; 0 if the release is not told. */
static unsigned release_number(const char *release)
{
	struct mr_profile profile;
	char *end;
	unsigned long major;

	if (!release || mr_profile_init(&profile, release) < 0)
		return 0;
	major = strtoul(profile.release, &end, 10);
	return (unsigned)(major * RELEASE_MINOR + (*end == '.' ? strtoul(end + 1, NULL, 10) : 0));
}

static int read_trace(struct reader *reader)
{
	if (reader->name_count > MR_BLOCKS_MAX)
		return fail(reader, "expected at most %d blocks, found %zu", MR_BLOCKS_MAX, reader->name_count);
	reader->threads = calloc(THREADS_MAX, sizeof(*reader->threads));
	reader->places = calloc(reader->name_count + 1, sizeof(*reader->places));
	reader->trace->blocks = calloc(reader->name_count + 1, sizeof(*reader->trace->blocks));
	if (!reader->threads || !reader->places || !reader->trace->blocks)
		return fail(reader, "out of memory");
	if (read_lines(reader) < 0)
		return -1;
	if (reader->trace->has_threads)
		return assign_actors(reader);
	mr_trace_infer_actors(reader->trace->events, reader->trace->count);
	return 0;
}

int mr_trace_read(struct mr_trace *trace, const char *file, const char *release, struct mr_bytes bytes,
		  const struct mr_bytes *names, size_t name_count, char *error, size_t error_size)
{
	struct reader reader = {.trace = trace,
				.file = file,
				.release = release_number(release),
				.names = names,
				.name_count = name_count,
				.error = error,
				.error_size = error_size};
	int result;

	*trace = (struct mr_trace){.text = malloc(bytes.length + 1), .text_length = bytes.length};
	if (!trace->text)
		return fail(&reader, "out of memory");
	if (bytes.length > 0)
		memcpy(trace->text, bytes.data, bytes.length);
	result = read_trace(&reader);
	free(reader.threads);
	free(reader.places);
	if (result < 0)
		mr_trace_close(trace);
	return result;
}

int mr_trace_open(struct mr_trace *trace, const struct mr_recording *recording, const struct mr_bytes *names,
		  size_t name_count, char *error, size_t error_size)
{
	struct mr_input *input;
	struct mr_bytes bytes = {0};
	bool at_end = false;
	int result = 0;

	*trace = (struct mr_trace){0};
	if (mr_recording_open_file(recording, TRACE_FILE, &input, error, error_size) < 0)
		return -1;
	bytes.data = mr_input_window(input, &bytes.length, &at_end);
	while (!at_end && result == 0) {
		/* Twice as much each time; behind the largest window there is an error. */
		result = mr_input_fill(input, bytes.length < 4096 ? 8192 : 2 * bytes.length);
		bytes.data = mr_input_window(input, &bytes.length, &at_end);
	}
	if (result < 0)
		snprintf(error, error_size, "%s", mr_input_error(input));
	else
		result = mr_trace_read(trace, mr_input_name(input), recording->destination_qemu, bytes, names,
				       name_count, error, error_size);
	mr_input_close(input);
	return result;
}

void mr_trace_close(struct mr_trace *trace)
{
	free(trace->events);
	free(trace->blocks);
	free(trace->text);
	*trace = (struct mr_trace){0};
}
