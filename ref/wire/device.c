/*
 * device.c: the body of a device section, walked by its description.
 *
 * The description is only text that came along: nothing is taken for granted but the bytes. Each step takes bytes from
 * the body or goes on in the description, and the steps are counted, so that empty arrays of a billion elements cost
 * nothing.
 */
#include "wire.h"

#include <inttypes.h>

enum { NULL_MARK = 0x30, OBJECT_MARK = 0x31, STEPS_FOR_A_BYTE = 4 };

/* A device, struct or subsection whose members are being read. */
struct frame {
	const struct mr_layout *owner;
	const struct mr_layout *next; /* member */
	uint64_t start;               /* of this element of the owner */
	uint64_t left;                /* elements of the owner behind this one */
	uint64_t element;             /* that comes next in the array that is open among the members */
	bool array_open;
};

struct walk {
	struct mr_bytes body;
	uint64_t at, steps;
	mr_device_visitor *visit;
	mr_report_function *report;
	void *argument;
	struct frame stack[MR_LAYOUT_DEPTH_MAX + 1];
	size_t depth;    /* frames */
	uint32_t arrays; /* that are open */
	bool stopped;    /* the bytes are not what the description says */
};

/* ---- Reports and items ---- */

static void complain(struct walk *walk, enum mr_rule rule, uint64_t offset, struct mr_text expected,
		     struct mr_text found)
{
	struct mr_finding finding = {.rule = rule, .verdict = mr_rule_verdict(rule), .offset = offset};

	if (!walk->report)
		return;
	memcpy(finding.expected, expected.text, sizeof(finding.expected));
	memcpy(finding.found, found.text, sizeof(finding.found));
	walk->report(walk->argument, &finding);
}

static void stop(struct walk *walk, struct mr_text expected, struct mr_text found)
{
	complain(walk, MR_STR_022, walk->at, expected, found);
	walk->stopped = true;
}

static struct frame *top_of(struct walk *walk)
{
	return &walk->stack[walk->depth - 1];
}

static void show(struct walk *walk, struct mr_device_item *item)
{
	item->depth = (uint32_t)walk->depth + walk->arrays - 1;
	if (walk->visit)
		walk->visit(walk->argument, item);
	walk->at += item->bytes.length;
	if (walk->steps)
		walk->steps--;
	else if (!walk->stopped)
		stop(walk, mr_text("a description of the bytes"), mr_text("one of countless empty members"));
}

static void show_event(struct walk *walk, enum mr_device_event event, const struct mr_layout *layout, uint64_t element)
{
	struct mr_device_item item = {.event = event, .layout = layout, .element = element, .offset = walk->at};

	show(walk, &item);
}

/* ---- Fields ---- */

static uint64_t number_of(enum mr_value value, struct mr_bytes bytes)
{
	uint64_t number = 0;
	const size_t unused = sizeof(number) - bytes.length;

	/* all other values have the size of their type, which is eight at most */
	if (value == MR_VALUE_BYTES)
		return 0;
	for (size_t i = 0; i < bytes.length; i++)
		number = number << 8 | bytes.data[i];
	/* the sign's bit, copied into all bits above it */
	if (value == MR_VALUE_SIGNED && unused && bytes.data[0] & 0x80)
		number |= UINT64_MAX << 8 * bytes.length;
	return number;
}

static void check_mark(struct walk *walk, const struct mr_layout *layout, uint8_t mark)
{
	const bool either = strcmp(layout->type, "ptr-marker") == 0;

	if (mark == NULL_MARK || (either && mark == OBJECT_MARK))
		return;
	if (strcmp(layout->type, "struct") == 0)
		stop(walk, mr_text("30, a NULL pointer"), mr_text("%02x", mark));
	else
		complain(walk, MR_DEV_006, walk->at, mr_text(either ? "30 or 31" : "30"), mr_text("%02x", mark));
}

static uint64_t next_element(struct walk *walk, const struct mr_layout *layout)
{
	struct frame *frame = top_of(walk);

	if (!frame->array_open)
		return UINT64_MAX;
	if (layout->index != UINT32_MAX)
		frame->element = layout->index;
	return frame->element++;
}

static bool take(struct walk *walk, const struct mr_layout *layout, uint64_t size, struct mr_bytes *bytes)
{
	const uint64_t left = walk->body.length - walk->at;

	if (size > left) {
		stop(walk, mr_text("%" PRIu64 " bytes of %.60s", size, layout->name),
		     mr_text("%" PRIu64 " to the end of the body", left));
		return false;
	}
	*bytes = (struct mr_bytes){walk->body.data + walk->at, (size_t)size};
	return true;
}

static void show_field(struct walk *walk, const struct mr_layout *layout)
{
	struct mr_device_item item = {.event = MR_DEVICE_FIELD, .layout = layout, .offset = walk->at};

	if (!take(walk, layout, layout->size, &item.bytes))
		return;
	if (layout->value == MR_VALUE_MARK)
		check_mark(walk, layout, item.bytes.data[0]);
	if (walk->stopped)
		return;
	item.element = next_element(walk, layout);
	item.value = layout->value;
	item.number = number_of(layout->value, item.bytes);
	show(walk, &item);
}

static void read_field(struct walk *walk, const struct mr_layout *layout)
{
	/* Elements without bytes are all alike. */
	const uint64_t count = layout->size || layout->count == 0 ? layout->count : 1;

	if (layout->type_size)
		complain(walk, MR_DEV_005, walk->at,
			 mr_text("%s of %" PRIu64 " bytes", layout->type, layout->type_size),
			 mr_text("%" PRIu64 " bytes for %.50s", layout->size, layout->name));
	for (uint64_t i = 0; i < count && !walk->stopped; i++)
		show_field(walk, layout);
}

/* ---- Structs and subsections ---- */

static void push(struct walk *walk, const struct mr_layout *owner, uint64_t left)
{
	walk->stack[walk->depth++] = (struct frame){.owner = owner, .next = owner + 1, .start = walk->at, .left = left};
}

static const struct mr_layout *behind(const struct mr_layout *layout)
{
	return layout + 1 + layout->inside;
}

static void read_struct(struct walk *walk, const struct mr_layout *layout)
{
	const bool plain = strcmp(layout->type, "struct") == 0;

	if (!layout->opened && plain)
		complain(walk, MR_DEV_003, walk->at, mr_text("members of %" PRIu64 " bytes in all", layout->size),
			 mr_text("members of another size in %.50s", layout->name));
	if (!layout->opened || layout->count == 0) {
		read_field(walk, layout);
		return;
	}
	show_event(walk, MR_DEVICE_STRUCT, layout, next_element(walk, layout));
	push(walk, layout, layout->size ? layout->count - 1 : 0);
}

/* True if the header of the described subsection stands here, with whatever version. */
static bool is_subsection(struct mr_bytes here, struct mr_bytes name)
{
	return here.length >= name.length + 6 && here.data[0] == TYPE_SUBSECTION && here.data[1] == name.length &&
	       memcmp(here.data + 2, name.data, name.length) == 0;
}

static void read_subsection(struct walk *walk, const struct mr_layout *layout)
{
	const struct mr_bytes here = {walk->body.data + walk->at, walk->body.length - (size_t)walk->at};
	const struct mr_bytes name = {(const uint8_t *)layout->name, strlen(layout->name)};
	struct mr_device_item item = {MR_DEVICE_SUBSECTION, layout, 0, UINT64_MAX, walk->at, here, MR_VALUE_BYTES, 0};
	uint32_t version;

	if (!is_subsection(here, name)) {
		complain(walk, MR_DEV_004, walk->at, mr_text("subsection %.80s", layout->name),
			 mr_text(here.length ? "something else" : "the end of the body"));
		return;
	}
	version = mr_get_be32(here.data + 2 + name.length);
	if (layout->has_version && version != layout->version)
		complain(walk, MR_DEV_004, walk->at + 2 + name.length,
			 mr_text("version %" PRIu32 " of %.60s", layout->version, layout->name),
			 mr_text("%" PRIu32, version));
	item.bytes.length = name.length + 6;
	show(walk, &item);
	push(walk, layout, 0);
}

/* ---- The walk ---- */

static void close_array(struct walk *walk, struct frame *frame, const struct mr_layout *layout)
{
	frame->array_open = false;
	walk->arrays--;
	show_event(walk, MR_DEVICE_ARRAY_END, layout, UINT64_MAX);
}

static void finish_member(struct walk *walk, const struct mr_layout *layout)
{
	struct frame *frame = top_of(walk);

	frame->next = behind(layout);
	if (frame->array_open && (layout->array_last || walk->stopped))
		close_array(walk, frame, layout);
}

static void enter_member(struct walk *walk)
{
	struct frame *frame = top_of(walk);
	const struct mr_layout *layout = frame->next;
	const size_t depth = walk->depth;

	if (layout->array_first) {
		show_event(walk, MR_DEVICE_ARRAY, layout, UINT64_MAX);
		walk->arrays++;
		frame->array_open = true;
		frame->element = 0;
	}
	if (layout->kind == MR_LAYOUT_SUBSECTION)
		read_subsection(walk, layout);
	else if (layout->kind == MR_LAYOUT_STRUCT)
		read_struct(walk, layout);
	else
		read_field(walk, layout);
	if (walk->depth == depth)
		finish_member(walk, layout);
}

/* The members of a struct or subsection are read: the next element of a struct, or what is behind it. */
static void leave(struct walk *walk)
{
	const struct frame frame = *top_of(walk);
	const struct mr_layout *owner = frame.owner;
	const bool is_struct = owner->kind == MR_LAYOUT_STRUCT;

	walk->depth--;
	show_event(walk, is_struct ? MR_DEVICE_STRUCT_END : MR_DEVICE_SUBSECTION_END, owner, UINT64_MAX);
	if (is_struct && !walk->stopped && walk->at - frame.start != owner->size)
		stop(walk, mr_text("%" PRIu64 " bytes of %.60s", owner->size, owner->name),
		     mr_text("%" PRIu64, walk->at - frame.start));
	if (frame.left && !walk->stopped) {
		show_event(walk, MR_DEVICE_STRUCT, owner, next_element(walk, owner));
		push(walk, owner, frame.left - 1);
	} else {
		finish_member(walk, owner);
	}
}

bool mr_device_visit(const struct mr_layout *device, struct mr_bytes body, mr_device_visitor *visit,
		     mr_report_function *report, void *argument)
{
	struct walk walk = {.body = body, .visit = visit, .report = report, .argument = argument};
	struct mr_device_item rest = {.event = MR_DEVICE_REST, .element = UINT64_MAX};

	if (!body.length)
		walk.body.data = (const uint8_t *)"";
	walk.steps = STEPS_FOR_A_BYTE * ((uint64_t)body.length + device->inside) + STEPS_FOR_A_BYTE;
	push(&walk, device, 0);
	for (;;) {
		if (!walk.stopped && top_of(&walk)->next != behind(top_of(&walk)->owner))
			enter_member(&walk);
		else if (walk.depth > 1)
			leave(&walk);
		else
			break;
	}
	rest.offset = walk.at;
	rest.bytes = (struct mr_bytes){walk.body.data + walk.at, body.length - (size_t)walk.at};
	if (!walk.stopped && rest.bytes.length)
		stop(&walk, mr_text("the end of the body"), mr_text("%zu more bytes", rest.bytes.length));
	if (rest.bytes.length)
		show(&walk, &rest);
	return !walk.stopped;
}
