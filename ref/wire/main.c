/* main.c: the main channel: header, configuration, sections, footers, end mark, description. */
#include "chain.h"
#include "ram/mapped.h"
#include "wire.h"

#include <inttypes.h>
#include <stdlib.h>

enum state {
	AT_HEADER,
	AT_CONFIGURATION,
	AT_SUBSECTION,
	AT_SECTION,
	AT_RAM,       /* in the body of a `ram` section */
	AT_RAM_BLOCK, /* in its block list */
	AT_DATA,      /* in a body that is not read here */
	AT_FOOTER,
	AT_PACKAGE_REST, /* behind RUN or the end mark of a package */
	AT_END,          /* behind the end mark of the stream */
	AT_COLO,
	AT_REST, /* undelimited: nothing more can be told apart */
};

enum {
	MAGIC = 0x5145564d,
	STREAM_VERSION = 3,
	RAM_VERSION = 4,
	FOOTER_SIZE = 5,
	GROW_STEP = 1 << 20,
	RESOLVES_MAX = 64, /* stretches with a few device sections each, as many as no release has */
};

static const char *const subsection_names[] = {
	[MR_SUBSECTION_TARGET_PAGE_BITS] = "configuration/target-page-bits",
	[MR_SUBSECTION_CAPABILITIES] = "configuration/capabilities",
	[MR_SUBSECTION_UUID] = "configuration/uuid",
};

/* ---- Header and configuration ---- */

static enum mr_result decode_header(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	const struct mr_bytes magic = mr_read_bytes(cursor, 4);
	uint32_t version;

	if (cursor->is_short)
		return MR_MORE;
	if (mr_get_be32(magic.data) != MAGIC)
		return mr_fail(decoder, MR_STR_001, decoder->offset, mr_text("51 45 56 4d"), mr_text_bytes(magic));
	version = mr_read_be32(cursor);
	if (cursor->is_short)
		return MR_MORE;
	if (version != STREAM_VERSION)
		return mr_fail(decoder, MR_STR_002, decoder->offset + 4, mr_text("3"), mr_text("%" PRIu32, version));
	record->kind = MR_FILE_HEADER;
	record->file_header.version = version;
	decoder->state = decoder->session->context.no_configuration ? AT_SECTION : AT_CONFIGURATION;
	return MR_RECORD;
}

static void check_machine(struct mr_decoder *decoder, struct mr_bytes machine, uint64_t offset)
{
	const char *expected = decoder->session->context.machine;

	if (machine.length == 0 || memchr(machine.data, 0, machine.length))
		mr_note_as(decoder, MR_ACCEPTABLE, MR_STR_004, offset, mr_text("a machine type name without NUL"),
			   mr_text_name(machine));
	else if (expected[0] && strlen(expected) > machine.length && !memcmp(expected, machine.data, machine.length))
		mr_note_as(decoder, MR_ACCEPTABLE, MR_STR_004, offset, mr_text("\"%.80s\"", expected),
			   mr_text_name(machine));
	else if (expected[0] && !mr_bytes_equal_string(machine, expected))
		mr_note(decoder, MR_STR_004, offset, mr_text("\"%.80s\"", expected), mr_text_name(machine));
}

static enum mr_result decode_configuration(struct mr_decoder *decoder, struct mr_cursor *cursor,
					   struct mr_record *record)
{
	const uint8_t type = mr_read_u8(cursor);
	struct mr_bytes machine;
	uint32_t length;

	if (type != TYPE_CONFIGURATION)
		return mr_fail(decoder, MR_STR_003, decoder->offset, mr_text("07"), mr_text("%02x", type));
	length = mr_read_be32(cursor);
	if (length > MR_MACHINE_NAME_MAX)
		return mr_fail(decoder, MR_STR_027, decoder->offset + 1,
			       mr_text("a machine type name of at most %d bytes", MR_MACHINE_NAME_MAX),
			       mr_text("%" PRIu32 " bytes", length));
	machine = mr_read_bytes(cursor, length);
	if (cursor->is_short)
		return MR_MORE;
	check_machine(decoder, machine, decoder->offset + 5);
	record->kind = MR_CONFIGURATION;
	record->configuration.machine = machine;
	decoder->state = AT_SUBSECTION;
	return MR_RECORD;
}

static enum mr_result read_target_page_bits(struct mr_decoder *decoder, struct mr_cursor *cursor,
					    struct mr_configuration_subsection *subsection)
{
	const uint32_t given = decoder->session->context.target_page_size;
	const uint64_t offset = mr_here(decoder, cursor);
	const uint32_t bits = mr_read_be32(cursor);

	if (cursor->is_short)
		return MR_MORE;
	if (bits < 10 || bits > 16)
		return mr_fail(decoder, MR_STR_007, offset, mr_text("10 to 16 bits"), mr_text("%" PRIu32, bits));
	if (given && given != 1u << bits)
		mr_note(decoder, MR_STR_007, offset, mr_text("target pages of %" PRIu32 " bytes", given),
			mr_text("%" PRIu32 " bits", bits));
	subsection->target_page_bits = bits;
	decoder->session->target_page_size = 1u << bits;
	return MR_RECORD;
}

/* Validated capabilities stand for themselves; another known one is ignored by receivers, an unknown one refused. */
static bool capability_is_validated(struct mr_bytes name)
{
	return mr_bytes_equal_string(name, "x-ignore-shared") || mr_bytes_equal_string(name, "mapped-ram");
}

static uint32_t check_capability(struct mr_decoder *decoder, struct mr_bytes name, uint64_t offset)
{
	char text[MR_NAME_MAX + 1];

	memcpy(text, name.data, name.length);
	text[name.length] = '\0';
	if (strlen(text) != name.length || !mr_capability_is_known(text))
		mr_note(decoder, MR_STR_008, offset, mr_text("a known capability"), mr_text_name(name));
	else if (!capability_is_validated(name))
		mr_note_as(decoder, MR_ACCEPTABLE, MR_STR_008, offset, mr_text("x-ignore-shared or mapped-ram"),
			   mr_text_name(name));
	return mr_capability_by_name(text);
}

static enum mr_result read_capabilities(struct mr_decoder *decoder, struct mr_cursor *cursor,
					struct mr_configuration_subsection *subsection)
{
	const uint64_t offset = mr_here(decoder, cursor);
	const uint32_t count = mr_read_be32(cursor);
	const uint8_t *first = cursor->at;
	uint32_t listed = 0;

	if (cursor->is_short)
		return MR_MORE;
	if (count > MR_CAPABILITIES_MAX)
		return mr_fail(decoder, MR_STR_027, offset, mr_text("at most %d capabilities", MR_CAPABILITIES_MAX),
			       mr_text("%" PRIu32, count));
	for (uint32_t i = 0; i < count; i++) {
		const uint64_t here = mr_here(decoder, cursor);
		const struct mr_bytes name = mr_read_counted(cursor);

		if (cursor->is_short)
			return MR_MORE;
		listed |= check_capability(decoder, name, here);
	}
	subsection->capability_count = count;
	subsection->capabilities = (struct mr_bytes){first, (size_t)(cursor->at - first)};
	decoder->session->context.capabilities |= listed;
	return MR_RECORD;
}

static enum mr_result read_uuid(struct mr_decoder *decoder, struct mr_cursor *cursor,
				struct mr_configuration_subsection *subsection)
{
	const struct mr_context *context = &decoder->session->context;
	const uint64_t offset = mr_here(decoder, cursor);

	subsection->uuid = mr_read_bytes(cursor, sizeof(context->uuid));
	if (cursor->is_short)
		return MR_MORE;
	if (context->uuid_known && memcmp(context->uuid, subsection->uuid.data, sizeof(context->uuid)) != 0)
		mr_note(decoder, MR_STR_009, offset,
			mr_text_bytes((struct mr_bytes){context->uuid, sizeof(context->uuid)}),
			mr_text_bytes(subsection->uuid));
	return MR_RECORD;
}

static enum mr_result check_subsection_version(struct mr_decoder *decoder, uint64_t offset, uint32_t version)
{
	if ((version & 0xff) != 1)
		return mr_fail(decoder, MR_STR_006, offset, mr_text("1"), mr_text("%" PRIu32, version));
	if (version != 1)
		mr_note_as(decoder, MR_ACCEPTABLE, MR_STR_006, offset, mr_text("1"), mr_text("%" PRIu32, version));
	return MR_RECORD;
}

static enum mr_result decode_subsection(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	typedef enum mr_result reader(struct mr_decoder *, struct mr_cursor *, struct mr_configuration_subsection *);
	static reader *const readers[] = {
		[MR_SUBSECTION_TARGET_PAGE_BITS] = read_target_page_bits,
		[MR_SUBSECTION_CAPABILITIES] = read_capabilities,
		[MR_SUBSECTION_UUID] = read_uuid,
	};
	struct mr_configuration_subsection *subsection = &record->subsection;
	struct mr_bytes name;
	enum mr_result result;
	unsigned which = 0;
	uint64_t offset;

	mr_take(cursor, 1);
	name = mr_read_counted(cursor);
	if (cursor->is_short)
		return MR_MORE;
	while (which < 3 && !mr_bytes_equal_string(name, subsection_names[which]))
		which++;
	if (which == 3)
		return mr_fail(decoder, MR_STR_005, decoder->offset + 2, mr_text("a known subsection of configuration"),
			       mr_text_name(name));
	offset = mr_here(decoder, cursor);
	*subsection = (struct mr_configuration_subsection){.which = (enum mr_subsection)which};
	subsection->version = mr_read_be32(cursor);
	if (cursor->is_short)
		return MR_MORE;
	result = check_subsection_version(decoder, offset, subsection->version);
	if (result == MR_RECORD)
		result = readers[which](decoder, cursor, subsection);
	if (result != MR_RECORD)
		return result;
	/* The last subsection's number is kept where a section id will be kept later. */
	if (which < decoder->section_id)
		mr_note(decoder, MR_STR_010, decoder->offset, mr_text("subsections in order, each once"),
			mr_text_name(name));
	decoder->section_id = which + 1;
	record->kind = MR_CONFIGURATION_SUBSECTION;
	return MR_RECORD;
}

/* ---- Sections ---- */

static const struct mr_section_entry *find_section(const struct mr_session *session, uint32_t id)
{
	for (uint32_t i = 0; i < session->section_count; i++)
		if (session->sections[i].id == id)
			return &session->sections[i];
	return NULL;
}

/* A recovery connection may be read without the one before it; then only `ram` can be what goes on. */
static const struct mr_section_entry *assume_ram(struct mr_decoder *decoder, uint32_t id)
{
	struct mr_session *session = decoder->session;
	struct mr_section_entry *entry = &session->sections[0];

	if (decoder->role != MR_ROLE_RECOVERY || session->section_count)
		return NULL;
	*entry = (struct mr_section_entry){.id = id, .version = RAM_VERSION, .is_ram = true, .idstr_length = 3};
	memcpy(entry->idstr, "ram", 3);
	session->section_count = 1;
	mr_note_as(decoder, MR_ACCEPTABLE, MR_STR_014, decoder->offset, mr_text("the id of a START"),
		   mr_text("id %" PRIu32 ", taken for ram", id));
	return entry;
}

static enum mr_result enter_section(struct mr_decoder *decoder, uint32_t id, bool is_ram)
{
	decoder->section_id = id;
	decoder->state = is_ram ? AT_RAM : AT_DATA;
	return MR_RECORD;
}

static enum mr_result decode_part(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	const struct mr_section_entry *entry;
	const uint8_t type = mr_read_u8(cursor);
	const uint32_t id = mr_read_be32(cursor);

	if (cursor->is_short)
		return MR_MORE;
	entry = find_section(decoder->session, id);
	if (!entry)
		entry = assume_ram(decoder, id);
	if (!entry)
		return mr_fail(decoder, MR_STR_014, decoder->offset + 1, mr_text("the id of a START"),
			       mr_text("id %" PRIu32, id));
	record->kind = type == TYPE_PART ? MR_SECTION_PART : MR_SECTION_END;
	record->section = (struct mr_section){
		.id = id,
		.idstr = {(const uint8_t *)entry->idstr, entry->idstr_length},
		.instance = entry->instance,
		.version = entry->version,
	};
	return enter_section(decoder, id, entry->is_ram);
}

static enum mr_result remember_section(struct mr_decoder *decoder, const struct mr_section *section, bool is_ram)
{
	struct mr_session *session = decoder->session;
	struct mr_section_entry *entry = NULL;

	for (uint32_t i = 0; i < session->section_count && !entry; i++)
		if (session->sections[i].id == section->id)
			entry = &session->sections[i];
	if (!entry && session->section_count == MR_SECTIONS_MAX)
		return mr_fail(decoder, MR_STR_027, decoder->offset,
			       mr_text("at most %d handlers with START", MR_SECTIONS_MAX), mr_text("one more"));
	if (!entry)
		entry = &session->sections[session->section_count++];
	entry->id = section->id;
	entry->instance = section->instance;
	entry->version = section->version;
	entry->is_ram = is_ram;
	entry->idstr_length = (uint8_t)section->idstr.length;
	memcpy(entry->idstr, section->idstr.data, section->idstr.length);
	return MR_RECORD;
}

static void check_header(struct mr_decoder *decoder, const struct mr_section *section, bool is_ram)
{
	if (memchr(section->idstr.data, 0, section->idstr.length))
		mr_note(decoder, MR_STR_024, decoder->offset + 6, mr_text("a name without NUL"),
			mr_text_name(section->idstr));
	if (section->instance == UINT32_MAX)
		mr_note(decoder, MR_STR_025, decoder->offset + 6 + section->idstr.length, mr_text("an instance number"),
			mr_text("0xffffffff, which fits any"));
	if (is_ram && section->version != RAM_VERSION)
		mr_note(decoder, MR_STR_017, decoder->offset + 10 + section->idstr.length, mr_text("4"),
			mr_text("%" PRIu32, section->version));
}

static enum mr_result decode_start(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	const uint8_t type = mr_read_u8(cursor);
	struct mr_section section;
	bool is_ram;

	section.id = mr_read_be32(cursor);
	section.idstr = mr_read_counted(cursor);
	section.instance = mr_read_be32(cursor);
	section.version = mr_read_be32(cursor);
	if (cursor->is_short)
		return MR_MORE;
	if (section.idstr.length == 0)
		return mr_fail(decoder, MR_STR_012, decoder->offset + 5, mr_text("the name of a handler"),
			       mr_text("an empty name"));
	is_ram = mr_name_is(section.idstr, "ram");
	check_header(decoder, &section, is_ram);
	if (type == TYPE_START && remember_section(decoder, &section, is_ram) != MR_RECORD)
		return MR_FAILED;
	record->kind = type == TYPE_START ? MR_SECTION_START : MR_SECTION_FULL;
	record->section = section;
	return enter_section(decoder, section.id, is_ram);
}

static enum mr_result decode_footer(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	const uint8_t type = mr_read_u8(cursor);
	uint32_t id;

	if (type != TYPE_FOOTER)
		return mr_fail(decoder, MR_STR_016, decoder->offset, mr_text("7e"), mr_text("%02x", type));
	id = mr_read_be32(cursor);
	if (cursor->is_short)
		return MR_MORE;
	if (id != decoder->section_id)
		return mr_fail(decoder, MR_STR_016, decoder->offset + 1, mr_text("id %" PRIu32, decoder->section_id),
			       mr_text("id %" PRIu32, id));
	record->kind = MR_SECTION_FOOTER;
	record->footer.id = id;
	decoder->state = AT_SECTION;
	return MR_RECORD;
}

static void end_section(struct mr_decoder *decoder)
{
	decoder->state = decoder->session->context.no_footer ? AT_SECTION : AT_FOOTER;
}

/* Nothing more can be told apart, up to the end of the package or of the stream. */
static enum mr_result enter_rest(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record,
				 enum mr_rule why)
{
	decoder->state = AT_REST;
	decoder->rest_rule = why;
	return mr_opaque_decode(cursor, record, why);
}

/* ---- Bodies that are not read here ---- */

/* Follows the sizes of a description; false if they do not fit, with the number of sections that did in the chain. */
static bool follow_description(const struct mr_description *description, struct mr_bytes stretch, bool footers,
			       struct mr_chain *chain)
{
	const size_t count = mr_description_count(description);
	struct mr_device_size *sizes = calloc(count + 1, sizeof(*sizes));
	bool found = false;

	chain->count = 0;
	if (sizes) {
		mr_description_list(description, sizes, count);
		found = count && mr_chain_follow(stretch, footers, sizes, count, chain);
	}
	free(sizes);
	return found;
}

/* The same by the description at the stream's end. */
static bool follow_own_description(struct mr_decoder *decoder, struct mr_bytes stretch, struct mr_bytes json,
				   struct mr_chain *chain)
{
	const bool footers = !decoder->session->context.no_footer;
	char error[96] = "";
	struct mr_description *description = mr_description_new(json, error);
	bool found = false;

	if (!description) {
		mr_note(decoder, MR_STR_022, decoder->offset, mr_text("a description with sizes"),
			mr_text("%.90s", error));
		return false;
	}
	decoder->description = json;
	found = follow_description(description, stretch, footers, chain);
	if (!found && mr_description_count(description))
		mr_note(decoder, MR_STR_022, decoder->offset, mr_text("a footer where the description says"),
			mr_text("none behind section %zu", chain->count));
	mr_description_free(description);
	return found;
}

/* COLO goes on behind the description: the first one whose sizes lead exactly to the end mark before it. */
static bool follow_inner_description(struct mr_decoder *decoder, struct mr_bytes stretch, struct mr_chain *chain)
{
	enum { CANDIDATES_MAX = 16 };
	const bool footers = !decoder->session->context.no_footer;
	struct mr_bytes json;
	size_t mark = 0;
	bool found = false;

	for (unsigned i = 0; i < CANDIDATES_MAX && !found; i++, mark++) {
		struct mr_description *description;
		char error[96];

		mark = mr_chain_next_description(stretch, mark, &json);
		if (mark == SIZE_MAX)
			return false;
		description = mr_description_new(json, error);
		found = description && follow_description(description, stretch, footers, chain) && chain->end == mark;
		mr_description_free(description);
	}
	if (found)
		decoder->description = json;
	return found;
}

/*
 * Finds the ends of the FULL sections from the window's first byte on. In a package the window reaches its end, in the
 * main stream the stream's.
 */
static void resolve_devices(struct mr_decoder *decoder, struct mr_bytes stretch)
{
	const struct mr_context *context = &decoder->session->context;
	struct mr_chain chain = {decoder->devices, MR_DEVICES_MAX, 0, 0};
	const bool footers = !context->no_footer;
	size_t mark = SIZE_MAX;
	struct mr_bytes json;
	bool found = false;

	if (!decoder->in_package)
		mark = mr_chain_find_description(stretch, &json);
	if (mark != SIZE_MAX) {
		stretch.length = mark + 1;
		found = follow_own_description(decoder, stretch, json, &chain);
	}
	if (!found && mark == SIZE_MAX && !decoder->in_package)
		found = follow_inner_description(decoder, stretch, &chain);
	/* One that was taken from another stream need not fit, so nothing is wrong if it does not. */
	if (!found && context->description)
		found = follow_description(context->description, stretch, footers, &chain);
	if (!found && stretch.length <= MR_RESOLVE_MAX)
		found = mr_chain_resolve(stretch, footers, &chain) == MR_CHAIN_FOUND;
	decoder->device_count = found ? (uint32_t)chain.count : 0;
	decoder->device_next = 0;
	/*
	 * What failed is tried again only where half of the stretch is behind, so that all attempts stay linear. So is
	 * what succeeded too often: each attempt reads a description again, and a hostile stream asks for many.
	 */
	decoder->device_limit = decoder->offset + stretch.length / 2 + 1;
	if (found && (++decoder->resolve_count <= RESOLVES_MAX || chain.end > stretch.length / 2))
		decoder->device_limit = decoder->offset + chain.end;
	for (uint32_t i = 0; i < decoder->device_count; i++) {
		decoder->devices[i].body += decoder->offset;
		decoder->devices[i].end += decoder->offset;
	}
}

/* Whether the window already holds the whole stretch to resolve; else what to wait for. */
static bool stretch_is_here(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_bytes *stretch)
{
	const size_t here = (size_t)(cursor->end - cursor->start);

	*stretch = (struct mr_bytes){cursor->start, here};
	if (decoder->in_package) {
		const uint64_t wanted = decoder->package_end - decoder->offset;

		if (wanted <= here) {
			stretch->length = (size_t)wanted;
			return true;
		}
		cursor->wanted = (size_t)(wanted < MR_RESOLVE_MAX ? wanted : MR_RESOLVE_MAX);
		return cursor->at_end || here >= MR_RESOLVE_MAX;
	}
	cursor->wanted = here < GROW_STEP ? GROW_STEP : 2 * here;
	return cursor->at_end || here >= MR_RESOLVE_MAX;
}

/* Whether what stands behind a body of this section agrees with its end being there. */
static bool ends_section(const uint8_t *behind, bool footers, uint32_t id)
{
	if (footers)
		return behind[0] == TYPE_FOOTER && mr_get_be32(behind + 1) == id;
	return behind[0] <= TYPE_FULL || behind[0] == TYPE_COMMAND;
}

/*
 * The end of this section by the sender's own description, without what follows the section: the only way while a
 * stream is still being sent. MR_MORE: too little has come to tell; MR_DONE: it cannot be told so.
 */
static enum mr_result delimit_at_once(struct mr_decoder *decoder, struct mr_cursor *cursor)
{
	const struct mr_context *context = &decoder->session->context;
	const bool footers = !context->no_footer;
	struct mr_cursor ahead = *cursor;
	const uint8_t *behind;
	struct mr_bytes idstr;
	uint32_t id, instance;
	uint64_t body, size = 0;
	size_t index;

	if (decoder->in_package || !context->description || context->description_foreign)
		return MR_DONE;
	mr_take(&ahead, 1);
	id = mr_read_be32(&ahead);
	idstr = mr_read_counted(&ahead);
	instance = mr_read_be32(&ahead);
	mr_take(&ahead, sizeof(uint32_t));
	body = mr_here(decoder, &ahead);
	if (!ahead.is_short) {
		index = mr_description_find(context->description, idstr, instance, 0);
		if (index == SIZE_MAX)
			return MR_DONE;
		size = mr_description_device(context->description, index)->size;
		if (size > MR_RESOLVE_MAX)
			return MR_DONE;
		mr_take(&ahead, (size_t)size);
	}
	behind = mr_take(&ahead, footers ? FOOTER_SIZE : 1);
	if (!behind) {
		cursor->wanted = ahead.wanted;
		return cursor->at_end ? MR_DONE : MR_MORE;
	}
	if (!ends_section(behind, footers, id))
		return MR_DONE;
	decoder->devices[0] = (struct mr_device_end){body, body + size, MR_DELIMITED_BY_DESCRIPTION};
	decoder->device_count = 1;
	decoder->device_next = 0;
	decoder->device_limit = body + size;
	return MR_RECORD;
}

static enum mr_result decode_full(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	struct mr_bytes stretch;

	if (decoder->offset >= decoder->device_limit) {
		const enum mr_result result = delimit_at_once(decoder, cursor);

		if (result != MR_DONE)
			return result == MR_RECORD ? decode_start(decoder, cursor, record) : result;
		if (!stretch_is_here(decoder, cursor, &stretch))
			return MR_MORE;
		resolve_devices(decoder, stretch);
	}
	return decode_start(decoder, cursor, record);
}

static enum mr_result decode_known_data(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record,
					const struct mr_device_end *device)
{
	record->kind = MR_SECTION_DATA;
	record->data = (struct mr_section_data){
		.id = decoder->section_id,
		.bytes = mr_read_bytes(cursor, (size_t)(device->end - device->body)),
		.delimiter = device->delimiter,
	};
	if (cursor->is_short)
		return MR_MORE;
	decoder->device_next++;
	end_section(decoder);
	return MR_RECORD;
}

static enum mr_result decode_data(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	const struct mr_device_end *device = &decoder->devices[decoder->device_next];
	const uint64_t border = decoder->in_package ? decoder->package_end : UINT64_MAX;
	struct mr_bytes rest = {cursor->at, mr_cursor_left(cursor)};
	bool at_end = cursor->at_end;
	size_t length;

	if (decoder->device_next < decoder->device_count && device->body == decoder->offset)
		return decode_known_data(decoder, cursor, record, device);
	if (rest.length >= border - decoder->offset) {
		rest.length = (size_t)(border - decoder->offset);
		at_end = true;
	}
	length = mr_chain_footer(rest, decoder->section_id, at_end);
	if (length == SIZE_MAX || decoder->session->context.no_footer) {
		if (!at_end && rest.length < MR_RESOLVE_MAX) {
			cursor->wanted = rest.length < GROW_STEP ? GROW_STEP : 2 * rest.length;
			return MR_MORE;
		}
		mr_note(decoder, MR_STR_023, decoder->offset, mr_text("a body whose end can be found"),
			mr_text("no footer of id %" PRIu32 "; the rest is kept opaque", decoder->section_id));
		/* Without footers nobody can tell an end mark in the rest from a body's byte. */
		if (!decoder->in_package && decoder->session->context.no_footer)
			decoder->ended = true;
		return enter_rest(decoder, cursor, record, MR_STR_023);
	}
	mr_note(decoder, MR_STR_023, decoder->offset, mr_text("a body whose end is certain"),
		mr_text("the first plausible footer after %zu bytes", length));
	record->kind = MR_SECTION_DATA;
	record->data =
		(struct mr_section_data){decoder->section_id, mr_read_bytes(cursor, length), MR_DELIMITED_BY_FOOTER};
	end_section(decoder);
	return MR_RECORD;
}

/* ---- End of the stream, packages ---- */

static enum mr_result decode_eof(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	mr_take(cursor, 1);
	record->kind = MR_EOF;
	decoder->ended = !decoder->in_package || decoder->resume_state == AT_COLO;
	decoder->state = decoder->in_package ? AT_PACKAGE_REST : AT_END;
	return MR_RECORD;
}

static enum mr_result decode_description(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	uint32_t length;

	mr_take(cursor, 1);
	length = mr_read_be32(cursor);
	if (length > MR_DESCRIPTION_MAX)
		return mr_fail(decoder, MR_STR_027, decoder->offset + 1,
			       mr_text("a description of at most %d bytes", MR_DESCRIPTION_MAX),
			       mr_text("%" PRIu32 " bytes", length));
	record->kind = MR_VMDESCRIPTION;
	record->description.json = mr_read_bytes(cursor, length);
	if (cursor->is_short)
		return MR_MORE;
	decoder->state = decoder->session->colo ? AT_COLO : AT_REST;
	return MR_RECORD;
}

static void enter_package(struct mr_decoder *decoder, uint64_t end, enum state resume)
{
	decoder->in_package = true;
	decoder->package_end = end;
	decoder->resume_state = resume;
	decoder->resume_device_limit = decoder->device_limit;
	decoder->state = AT_SECTION;
	decoder->device_limit = 0;
}

static void leave_package(struct mr_decoder *decoder)
{
	decoder->in_package = false;
	decoder->state = decoder->resume_state;
	decoder->device_limit = decoder->resume_device_limit;
	decoder->device_count = 0;
	decoder->rest_rule = MR_NO_RULE;
}

static enum mr_result decode_command(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	const enum mr_result result = mr_command_decode(decoder, cursor, record);

	if (result != MR_RECORD)
		return result;
	if (record->command.number == MR_COMMAND_PACKAGED)
		enter_package(decoder, mr_here(decoder, cursor) + record->command.package_length, AT_SECTION);
	else if (record->command.number == MR_COMMAND_POSTCOPY_RUN && decoder->in_package)
		decoder->state = AT_PACKAGE_REST;
	return result;
}

/* COLO's checkpoints: sections behind VMSTATE_SEND, a package of known size behind VMSTATE_SIZE. */
static enum mr_result decode_colo(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	enum { VMSTATE_SEND = 3, VMSTATE_SIZE = 4 };
	const enum mr_result result = mr_colo_decode(decoder, cursor, record);

	if (result != MR_RECORD)
		return result;
	if (record->colo.message == VMSTATE_SIZE && record->colo.size > INT32_MAX)
		return mr_fail(decoder, MR_STR_027, decoder->offset + 4, mr_text("at most 0x7fffffff bytes"),
			       mr_text("0x%" PRIx64, record->colo.size));
	decoder->state = record->colo.message == VMSTATE_SEND ? AT_SECTION : AT_COLO;
	decoder->ended = record->colo.message != VMSTATE_SEND && record->colo.message != VMSTATE_SIZE;
	if (record->colo.message == VMSTATE_SIZE)
		enter_package(decoder, mr_here(decoder, cursor) + record->colo.size, AT_COLO);
	return result;
}

static enum mr_result decode_after_end(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	const uint8_t type = *cursor->at;

	if (type == TYPE_DESCRIPTION && !decoder->session->listening)
		return decode_description(decoder, cursor, record);
	if (decoder->session->colo)
		return decode_colo(decoder, cursor, record);
	mr_note(decoder, MR_STR_021, decoder->offset, mr_text("the end of the stream"), mr_text("byte %02x", type));
	return enter_rest(decoder, cursor, record, MR_STR_021);
}

static enum mr_result decode_section(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	const uint8_t type = *cursor->at;

	switch (type) {
	case TYPE_START:
		return decode_start(decoder, cursor, record);
	case TYPE_FULL:
		return decode_full(decoder, cursor, record);
	case TYPE_PART:
	case TYPE_END:
		return decode_part(decoder, cursor, record);
	case TYPE_COMMAND:
		return decode_command(decoder, cursor, record);
	case TYPE_EOF:
		return decode_eof(decoder, cursor, record);
	default:
		return mr_fail(decoder, MR_STR_011, decoder->offset, mr_text("00 to 04 or 08"), mr_text("%02x", type));
	}
}

static enum mr_result decode_ram(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	enum mr_result result;

	if (mr_mapped_is_inside(decoder))
		return mr_mapped_decode(decoder, cursor, record);
	if (decoder->state == AT_RAM_BLOCK)
		result = mr_ram_block_decode(decoder, cursor, record);
	else
		result = mr_ram_decode(decoder, cursor, record);
	if (result != MR_RECORD)
		return result;
	if (decoder->state == AT_RAM)
		mr_mapped_check(decoder, record);
	if (record->kind == MR_RAM_EOS)
		end_section(decoder);
	else
		decoder->state = decoder->ram_left ? AT_RAM_BLOCK : AT_RAM;
	return result;
}

static enum mr_result decode_state(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	/* not covered here and in other switches without default: a number that is none of the enumeration's */
	switch ((enum state)decoder->state) {
	case AT_HEADER:
		return decode_header(decoder, cursor, record);
	case AT_CONFIGURATION:
		return decode_configuration(decoder, cursor, record);
	case AT_SUBSECTION:
		if (*cursor->at == TYPE_SUBSECTION)
			return decode_subsection(decoder, cursor, record);
		decoder->state = AT_SECTION;
		return decode_section(decoder, cursor, record);
	case AT_SECTION:
		return decode_section(decoder, cursor, record);
	case AT_RAM:
	case AT_RAM_BLOCK:
		return decode_ram(decoder, cursor, record);
	case AT_DATA:
		return decode_data(decoder, cursor, record);
	case AT_FOOTER:
		return decode_footer(decoder, cursor, record);
	case AT_PACKAGE_REST:
		mr_note(decoder, MR_CMD_019, decoder->offset, mr_text("the end of the package"),
			mr_text("%" PRIu64 " more bytes", decoder->package_end - decoder->offset));
		return enter_rest(decoder, cursor, record, MR_CMD_019);
	case AT_END:
		return decode_after_end(decoder, cursor, record);
	case AT_COLO:
		return decode_colo(decoder, cursor, record);
	case AT_REST:
		break;
	}
	if (decoder->rest_rule == MR_NO_RULE)
		mr_note(decoder, MR_STR_021, decoder->offset, mr_text("the end of the stream"),
			mr_text("byte %02x behind the description", *cursor->at));
	return enter_rest(decoder, cursor, record, decoder->rest_rule ? decoder->rest_rule : MR_STR_021);
}

/* A package is a stream of its own: no record in it reaches behind its end, and none is cut by it. */
static enum mr_result decode_in_package(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	const uint64_t left = decoder->package_end - decoder->offset;
	enum mr_result result;

	if (left > mr_cursor_left(cursor))
		return decode_state(decoder, cursor, record);
	cursor->end = cursor->at + left;
	cursor->at_end = true;
	result = decode_state(decoder, cursor, record);
	/* not covered: MR_MORE without a short cursor, which no decoder says at the end */
	if (!cursor->is_short && result != MR_MORE)
		return result;
	cursor->is_short = false;
	decoder->pending_count = 0;
	return mr_fail(decoder, MR_STR_026, decoder->package_end,
		       mr_text("more bytes of the record at 0x%" PRIx64, decoder->offset),
		       mr_text("the end of the package"));
}

enum mr_result mr_main_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	decoder->description = (struct mr_bytes){NULL, 0};
	if (decoder->state == AT_HEADER && decoder->role == MR_ROLE_RECOVERY)
		decoder->state = AT_SECTION;
	if (decoder->in_package && decoder->offset == decoder->package_end) {
		const bool between =
			decoder->state == AT_SECTION || decoder->state == AT_PACKAGE_REST || decoder->state == AT_REST;

		if (!between)
			return mr_fail(decoder, MR_STR_026, decoder->offset, mr_text("the rest of a section"),
				       mr_text("the end of the package"));
		leave_package(decoder);
		record->depth = 0;
	}
	return decoder->in_package ? decode_in_package(decoder, cursor, record) : decode_state(decoder, cursor, record);
}

/* ---- COLO ---- */

enum mr_result mr_colo_decode(struct mr_decoder *decoder, struct mr_cursor *cursor, struct mr_record *record)
{
	enum { MESSAGE_MAX = 6, VMSTATE_SIZE = 4 };
	struct mr_colo_message *colo = &record->colo;

	*colo = (struct mr_colo_message){.message = mr_read_be32(cursor)};
	if (colo->message > MESSAGE_MAX)
		return mr_fail(decoder, MR_COL_001, decoder->offset, mr_text("0 to 6"),
			       mr_text("%" PRIu32, colo->message));
	if (colo->message == VMSTATE_SIZE)
		colo->size = mr_read_be64(cursor);
	if (cursor->is_short)
		return MR_MORE;
	record->kind = MR_COLO_MESSAGE;
	return MR_RECORD;
}

/* ---- Fields ---- */

static void section_fields(const struct mr_record *record, struct mr_emitter *emitter, unsigned type)
{
	mr_emit_derived(emitter, "type", 1, type);
	mr_emit_number(emitter, "id", 4, record->section.id);
	if (type == TYPE_PART || type == TYPE_END) {
		char name[MR_NAME_MAX + 1] = "";

		memcpy(name, record->section.idstr.data, record->section.idstr.length);
		mr_emit_note(emitter, "name", name);
		return;
	}
	mr_emit_counted(emitter, "name", record->section.idstr);
	mr_emit_number(emitter, "instance", 4, record->section.instance);
	mr_emit_number(emitter, "version", 4, record->section.version);
}

static void subsection_fields(const struct mr_configuration_subsection *subsection, struct mr_emitter *emitter)
{
	const char *name = subsection_names[subsection->which];
	struct mr_bytes list = subsection->capabilities;
	struct mr_bytes capability;

	mr_emit_derived(emitter, "type", 1, TYPE_SUBSECTION);
	mr_emit_counted(emitter, "name", (struct mr_bytes){(const uint8_t *)name, strlen(name)});
	mr_emit_number(emitter, "version", 4, subsection->version);
	switch (subsection->which) {
	case MR_SUBSECTION_TARGET_PAGE_BITS:
		mr_emit_number(emitter, "target_page_bits", 4, subsection->target_page_bits);
		break;
	case MR_SUBSECTION_CAPABILITIES:
		mr_emit_number(emitter, "count", 4, subsection->capability_count);
		for (uint32_t i = 0; mr_counted_string(&list, &capability); i++)
			mr_emit_counted_element(emitter, "capability", i, capability);
		break;
	case MR_SUBSECTION_UUID:
		mr_emit_bytes(emitter, "uuid", subsection->uuid);
		break;
	}
}

static void data_fields(const struct mr_section_data *data, struct mr_emitter *emitter)
{
	static const char *const delimiters[] = {
		[MR_DELIMITED_BY_DESCRIPTION] = "description",
		[MR_DELIMITED_BY_CHAIN] = "chain",
		[MR_DELIMITED_BY_FOOTER] = "footer",
	};

	mr_emit_bytes(emitter, "data", data->bytes);
	mr_emit_note(emitter, "delimited_by", delimiters[data->delimiter]);
}

void mr_main_fields(const struct mr_record *record, struct mr_emitter *emitter)
{
	switch (record->kind) {
	case MR_FILE_HEADER:
		mr_emit_derived(emitter, "magic", 4, MAGIC);
		mr_emit_number(emitter, "version", 4, record->file_header.version);
		break;
	case MR_CONFIGURATION:
		mr_emit_derived(emitter, "type", 1, TYPE_CONFIGURATION);
		mr_emit_derived(emitter, "machine_length", 4, record->configuration.machine.length);
		mr_emit_text(emitter, "machine", record->configuration.machine);
		break;
	case MR_CONFIGURATION_SUBSECTION:
		subsection_fields(&record->subsection, emitter);
		break;
	case MR_SECTION_START:
		section_fields(record, emitter, TYPE_START);
		break;
	case MR_SECTION_PART:
		section_fields(record, emitter, TYPE_PART);
		break;
	case MR_SECTION_END:
		section_fields(record, emitter, TYPE_END);
		break;
	case MR_SECTION_FULL:
		section_fields(record, emitter, TYPE_FULL);
		break;
	case MR_SECTION_DATA:
		data_fields(&record->data, emitter);
		break;
	case MR_SECTION_FOOTER:
		mr_emit_derived(emitter, "type", 1, TYPE_FOOTER);
		mr_emit_number(emitter, "id", 4, record->footer.id);
		break;
	case MR_EOF:
		mr_emit_derived(emitter, "type", 1, TYPE_EOF);
		break;
	case MR_VMDESCRIPTION:
		mr_emit_derived(emitter, "type", 1, TYPE_DESCRIPTION);
		mr_emit_derived(emitter, "json_length", 4, record->description.json.length);
		mr_emit_text(emitter, "json", record->description.json);
		break;
	case MR_COLO_MESSAGE:
		mr_emit_number(emitter, "message", 4, record->colo.message);
		if (record->colo.message == 4)
			mr_emit_number(emitter, "size", 8, record->colo.size);
		break;
	case MR_OPAQUE:
		mr_emit_bytes(emitter, "data", record->opaque.bytes);
		mr_emit_note(emitter, "why", mr_rule_id(record->opaque.rule));
		break;
	default:
		break;
	}
}
