/* sections.c: the order of the main channel's sections, whose they are, and what must stand before the end mark. */
#include "check.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- Handlers ---- */

static struct mr_bytes name_of(const struct mr_check_handler *handler)
{
	return (struct mr_bytes){handler->idstr, handler->length};
}

static bool is_same(const struct mr_check_handler *handler, const struct mr_section *section)
{
	return handler->instance == section->instance && mr_bytes_equal(name_of(handler), section->idstr);
}

static struct mr_check_handler *find_handler(struct mr_checker *checker, uint32_t id)
{
	uint32_t index;

	if (!mr_table_find(&checker->handler_ids, id + UINT64_C(1), &index) || index >= checker->handler_count)
		return NULL;
	return &checker->handlers[index];
}

/* NULL without memory or beyond the limit. */
static struct mr_check_handler *new_handler(struct mr_checker *checker)
{
	const uint32_t capacity = checker->handler_capacity ? 2 * checker->handler_capacity : 64;

	if (checker->handler_count == checker->handler_capacity) {
		struct mr_check_handler *handlers = NULL;

		if (capacity <= MR_CHECK_HANDLERS_MAX)
			handlers = realloc(checker->handlers, capacity * sizeof(*handlers));
		if (!handlers)
			return NULL;
		checker->handlers = handlers;
		checker->handler_capacity = capacity;
	}
	return &checker->handlers[checker->handler_count];
}

static uint64_t key_of_name(const struct mr_section *section)
{
	uint8_t instance[4];
	uint64_t hash;

	for (unsigned i = 0; i < sizeof(instance); i++)
		instance[i] = (uint8_t)(section->instance >> 8 * i);
	hash = mr_hash_name(mr_hash_name(MR_HASH_START, section->idstr), (struct mr_bytes){instance, sizeof(instance)});
	return hash ? hash : 1;
}

static void report_owner(const struct mr_checker *checker, struct mr_place place, const struct mr_section *section,
			 const struct mr_check_handler *owner)
{
	if (is_same(owner, section))
		mr_report(checker, place, MR_STR_013, mr_text("id %" PRIu32 ", as before", owner->id),
			  mr_text("id %" PRIu32 " for %.40s", section->id, mr_text_name(section->idstr).text));
	else
		mr_report(checker, place, MR_STR_013,
			  mr_text("id %" PRIu32 " for %.40s alone", owner->id, mr_text_name(name_of(owner)).text),
			  mr_text("%.40s, instance %" PRIu32, mr_text_name(section->idstr).text, section->instance));
}

/* Makes the id this handler's own, whoever had it before, as receivers do. NULL if there is no room. */
static struct mr_check_handler *take_handler(struct mr_checker *checker, struct mr_place place,
					     const struct mr_section *section)
{
	struct mr_check_handler *handler = new_handler(checker);
	uint32_t by_id = checker->handler_count, by_name;
	enum mr_table_result id_result, name_result;

	if (!handler)
		return NULL;
	id_result = mr_table_put(&checker->handler_ids, section->id + UINT64_C(1), &by_id);
	by_name = by_id;
	name_result = mr_table_put(&checker->handler_names, key_of_name(section), &by_name);
	if (id_result == MR_TABLE_FULL || name_result == MR_TABLE_FULL)
		return NULL;
	if (id_result == MR_TABLE_FOUND && !is_same(&checker->handlers[by_id], section))
		report_owner(checker, place, section, &checker->handlers[by_id]);
	else if (name_result == MR_TABLE_FOUND && by_name != by_id && is_same(&checker->handlers[by_name], section))
		report_owner(checker, place, section, &checker->handlers[by_name]);
	if (id_result == MR_TABLE_NEW) {
		*handler = (struct mr_check_handler){.id = section->id};
		checker->handler_count++;
	}
	handler = &checker->handlers[by_id];
	handler->instance = section->instance;
	handler->length = (uint8_t)section->idstr.length;
	memcpy(handler->idstr, section->idstr.data, section->idstr.length);
	return handler;
}

/* ---- Order ---- */

static void report_late(const struct mr_checker *checker, struct mr_place place, const struct mr_section *section,
			enum mr_kind kind)
{
	mr_report(checker, place, MR_STR_015, mr_text("nothing but FULL behind END of id %" PRIu32, section->id),
		  mr_text("%s", mr_kind_name(kind)));
}

static void check_named(struct mr_checker *checker, struct mr_place place, const struct mr_record *record)
{
	struct mr_check_main *main = &checker->main;
	const bool start = record->kind == MR_SECTION_START;
	struct mr_check_handler *handler = NULL;

	if (start && main->part)
		mr_report(checker, place, MR_STR_029, mr_text("START before the first PART"),
			  mr_text("START behind it"));
	if (!checker->no_handlers)
		handler = take_handler(checker, place, &record->section);
	if (!handler)
		mr_report_limit(checker, place, &checker->no_handlers, "section ids are");
	else if (start && handler->ended)
		report_late(checker, place, &record->section, record->kind);
	if (handler && start)
		handler->started = true;
	if (start)
		return;
	main->device = true;
	/* a device section before any PART is an early one */
	main->device_behind = main->device_behind || main->part || main->end;
}

static void check_numbered(struct mr_checker *checker, struct mr_place place, const struct mr_record *record)
{
	struct mr_check_main *main = &checker->main;
	struct mr_check_handler *handler = find_handler(checker, record->section.id);
	const bool postcopy = main->listening && record->depth == 0;

	if (handler && handler->ended)
		report_late(checker, place, &record->section, record->kind);
	if (record->kind == MR_SECTION_PART) {
		main->part = true;
		return;
	}
	if (main->device_behind && !postcopy)
		mr_report(checker, place, MR_STR_029, mr_text("END before the device sections"),
			  mr_text("END of id %" PRIu32 " behind them", record->section.id));
	main->end = true;
	if (handler)
		handler->ended = true;
}

void mr_check_section(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record)
{
	const struct mr_place place = mr_place_at(channel, record->offset);
	struct mr_check_main *main = &checker->main;

	main->section = true;
	if (record->kind == MR_SECTION_START || record->kind == MR_SECTION_FULL)
		check_named(checker, place, record);
	else
		check_numbered(checker, place, record);
	main->in_ram_start = record->kind == MR_SECTION_START && mr_name_is(record->section.idstr, "ram");
}

void mr_check_forget_ends(struct mr_checker *checker)
{
	for (uint32_t i = 0; i < checker->handler_count; i++) {
		struct mr_check_handler *handler = &checker->handlers[i];

		handler->ended_before |= handler->ended;
		handler->ended = false;
	}
}

/* ---- End mark ---- */

void mr_check_eof(struct mr_checker *checker, struct mr_check_channel *channel, const struct mr_record *record)
{
	const bool snapshot = (checker->session->context.capabilities & MR_CAPABILITY_BACKGROUND_SNAPSHOT) != 0;
	const struct mr_place place = mr_place_at(channel, record->offset);
	struct mr_check_main *main = &checker->main;

	if (record->depth || main->ended)
		return;
	main->ended = true;
	channel->complete = true;
	for (uint32_t i = 0; i < checker->handler_count && !snapshot; i++) {
		const struct mr_check_handler *handler = &checker->handlers[i];

		if (handler->started && !handler->ended && !handler->ended_before)
			mr_report(checker, place, MR_STR_018,
				  mr_text("END of id %" PRIu32 ", %.60s", handler->id,
					  mr_text_name(name_of(handler)).text),
				  mr_text("the end mark"));
	}
	if (!main->listening && !main->device)
		mr_report(checker, place, MR_STR_019, mr_text("device sections"), mr_text("none"));
}
