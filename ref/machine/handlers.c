/* handlers.c: the registry of SaveVMHandlers: names, numbers, order, and who is meant by a section's header. */
#include "handlers.h"
#include "wire/wire.h"

#include <inttypes.h>

void mr_handlers_init(struct mr_handlers *handlers, const struct mr_profile *profile, struct mr_handler_entry *memory,
		      uint32_t capacity)
{
	*handlers = (struct mr_handlers){.profile = *profile, .entries = memory, .capacity = capacity};
	if (!handlers->profile.known)
		mr_profile_init(&handlers->profile, "11.1");
}

bool mr_handler_known(const char *name, struct mr_handler *handler)
{
	enum {
		SETUP = MR_HOOK_BIT(SAVE_SETUP) | MR_HOOK_BIT(SAVE_LIVE_ITERATE) | MR_HOOK_BIT(SAVE_CLEANUP) |
			MR_HOOK_BIT(LOAD_STATE),
		PENDING = MR_HOOK_BIT(SAVE_LIVE_PENDING) | MR_HOOK_BIT(STATE_PENDING_ESTIMATE) |
			  MR_HOOK_BIT(STATE_PENDING_EXACT) | MR_HOOK_BIT(SAVE_QUERY_PENDING),
		PRECOPY = MR_HOOK_BIT(SAVE_LIVE_COMPLETE_PRECOPY) | MR_HOOK_BIT(SAVE_COMPLETE),
		POSTCOPY = MR_HOOK_BIT(SAVE_LIVE_COMPLETE_POSTCOPY) | MR_HOOK_BIT(HAS_POSTCOPY),
		LOADS = MR_HOOK_BIT(LOAD_SETUP) | MR_HOOK_BIT(LOAD_CLEANUP),
	};
	static const struct {
		const char *name;
		uint32_t version, hooks;
	} known[] = {
		{"ram", 4,
		 SETUP | PENDING | PRECOPY | POSTCOPY | LOADS | MR_HOOK_BIT(SAVE_POSTCOPY_PREPARE) |
			 MR_HOOK_BIT(RESUME_PREPARE)},
		{"block", 1, SETUP | PENDING | PRECOPY | MR_HOOK_BIT(IS_ACTIVE)},
		{"dirty-bitmap", 1,
		 SETUP | PENDING | PRECOPY | POSTCOPY | MR_HOOK_BIT(IS_ACTIVE) | MR_HOOK_BIT(IS_ACTIVE_ITERATE)},
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i].name, name) == 0) {
			*handler = (struct mr_handler){
				.name = known[i].name,
				.alias = MR_ALIAS_NONE,
				.version = known[i].version,
				.hooks = known[i].hooks,
				.old_style = true,
			};
			return true;
		}
	return false;
}

/* ---- Who is meant ---- */

/* Numbers that fit besides the handler's own; those that only fit because nothing was registered are not meant to. */
static bool fits_alias(const struct mr_handler_entry *entry, uint32_t instance, bool strict)
{
	if (entry->handler.old_style)
		return instance == 0 && !strict;
	return entry->handler.alias == instance && (instance != MR_ALIAS_NONE || !strict);
}

static bool is_meant(const struct mr_handler_entry *entry, struct mr_bytes idstr, uint32_t instance, bool strict)
{
	const bool has_path = entry->name_at && !entry->handler.old_style;
	const bool alias = fits_alias(entry, instance, strict);

	if ((entry->instance == instance || alias) && mr_name_is(idstr, entry->idstr))
		return true;
	/* Older releases sent devices by their bare names. */
	return has_path && (entry->name_instance == instance || alias) &&
	       mr_name_is(idstr, entry->idstr + entry->name_at);
}

uint32_t mr_handlers_find(const struct mr_handlers *handlers, struct mr_bytes idstr, uint32_t instance, bool strict)
{
	if (idstr.length == 0)
		return UINT32_MAX;
	for (uint32_t i = 0; i < handlers->count; i++)
		if (is_meant(&handlers->entries[i], idstr, instance, strict))
			return i;
	return UINT32_MAX;
}

const struct mr_handler_entry *mr_handlers_unmigratable(const struct mr_handlers *handlers)
{
	for (uint32_t i = 0; i < handlers->count; i++)
		if (handlers->entries[i].handler.unmigratable)
			return &handlers->entries[i];
	return NULL;
}

/* ---- Registration ---- */

static enum mr_rule refuse(char error[96], enum mr_rule rule, struct mr_text text)
{
	memcpy(error, text.text, sizeof(text.text));
	return rule;
}

static bool takes_names(struct mr_handler_entry *entry, const struct mr_handler *handler)
{
	const size_t path = handler->path ? strlen(handler->path) : 0;
	const size_t name = handler->name ? strlen(handler->name) : 0;
	const size_t before = path ? path + 1 : 0;

	if (name == 0 || path > MR_NAME_MAX || name > MR_NAME_MAX || before + name > MR_NAME_MAX)
		return false;
	if (path) {
		memcpy(entry->idstr, handler->path, path);
		entry->idstr[path] = '/';
	}
	memcpy(entry->idstr + before, handler->name, name);
	entry->name_at = (uint8_t)before;
	entry->idstr_length = (uint8_t)(before + name);
	return true;
}

/* One above the greatest number that goes by this name so far. */
static uint64_t next_instance(const struct mr_handlers *handlers, const char *idstr)
{
	uint64_t next = 0;

	for (uint32_t i = 0; i < handlers->count; i++)
		if (strcmp(handlers->entries[i].idstr, idstr) == 0 && handlers->entries[i].instance >= next)
			next = (uint64_t)handlers->entries[i].instance + 1;
	return next;
}

static uint64_t next_name_instance(const struct mr_handlers *handlers, const char *name)
{
	uint64_t next = 0;

	for (uint32_t i = 0; i < handlers->count; i++) {
		const struct mr_handler_entry *entry = &handlers->entries[i];

		if (entry->name_at && strcmp(entry->idstr + entry->name_at, name) == 0 && entry->name_instance >= next)
			next = (uint64_t)entry->name_instance + 1;
	}
	return next;
}

/* False if the numbers of this name are used up. */
static bool takes_numbers(const struct mr_handlers *handlers, struct mr_handler_entry *entry)
{
	const bool is_next = entry->handler.instance == MR_INSTANCE_NEXT;
	uint64_t number = entry->handler.instance;

	if (is_next)
		number = entry->name_at ? next_name_instance(handlers, entry->idstr + entry->name_at)
					: next_instance(handlers, entry->idstr);
	if (number >= MR_INSTANCE_NEXT)
		return false;
	entry->name_instance = (uint32_t)number;
	entry->instance = entry->name_at ? 0 : (uint32_t)number;
	return true;
}

/* A release that does not know a class yet takes its devices as any others. */
static int rank_of(const struct mr_handlers *handlers, const struct mr_handler *handler)
{
	static const enum mr_switch since[MR_PRIORITY_COUNT] = {
		[MR_PRIORITY_DEFAULT] = MR_SWITCH_DEVICE_PRIORITIES,
		[MR_PRIORITY_LOW] = MR_SWITCH_PRIORITY_LOW,
		[MR_PRIORITY_IOMMU] = MR_SWITCH_DEVICE_PRIORITIES,
		[MR_PRIORITY_PCI_BUS] = MR_SWITCH_DEVICE_PRIORITIES,
		[MR_PRIORITY_VIRTIO_MEM] = MR_SWITCH_PRIORITY_VIRTIO_MEM,
		[MR_PRIORITY_APIC] = MR_SWITCH_PRIORITY_APIC,
		[MR_PRIORITY_GICV3_ITS] = MR_SWITCH_DEVICE_PRIORITIES,
		[MR_PRIORITY_GICV3] = MR_SWITCH_DEVICE_PRIORITIES,
	};
	const unsigned class = (unsigned)handler->priority;

	if (handler->old_style || class == MR_PRIORITY_DEFAULT || class >= MR_PRIORITY_COUNT ||
	    !mr_profile_does(&handlers->profile, since[class]))
		return 0;
	return class == MR_PRIORITY_LOW ? -1 : (int)class;
}

/* Behind all of the same rank and those above. */
static uint32_t place_of(const struct mr_handlers *handlers, const struct mr_handler *handler)
{
	uint32_t place = handlers->count;

	while (place && rank_of(handlers, &handlers->entries[place - 1].handler) < rank_of(handlers, handler))
		place--;
	return place;
}

enum mr_rule mr_handlers_register(struct mr_handlers *handlers, const struct mr_handler *handler, uint32_t *section_id,
				  char error[96])
{
	struct mr_handler_entry entry = {.handler = *handler, .section_id = handlers->next_section_id};
	uint32_t place;

	if (!takes_names(&entry, handler))
		return refuse(error, MR_HND_001, mr_text("a handler's name: expected 1 to 255 bytes with its path"));
	if (handlers->count == handlers->capacity || handlers->next_section_id == UINT32_MAX)
		return refuse(error, MR_STR_027,
			      mr_text("handlers: expected at most %" PRIu32 ", found another", handlers->capacity));
	if (!takes_numbers(handlers, &entry))
		return refuse(error, MR_HND_002, mr_text("%.40s: expected a free instance, found none", entry.idstr));
	if (mr_profile_does(&handlers->profile, MR_SWITCH_HANDLER_TWICE_REFUSED) &&
	    mr_handlers_find(handlers, (struct mr_bytes){(const uint8_t *)entry.idstr, entry.idstr_length},
			     entry.instance, true) != UINT32_MAX)
		return refuse(error, MR_HND_001,
			      mr_text("%.40s: expected an instance of its own, found %" PRIu32 " registered",
				      entry.idstr, entry.instance));
	entry.handler.path = entry.handler.name = NULL;
	if (!handler->old_style)
		entry.handler.hooks |= MR_HOOK_BIT(SAVE_STATE) | MR_HOOK_BIT(LOAD_STATE);
	place = place_of(handlers, handler);
	memmove(handlers->entries + place + 1, handlers->entries + place,
		(handlers->count - place) * sizeof(handlers->entries[0]));
	handlers->entries[place] = entry;
	handlers->count++;
	if (section_id)
		*section_id = entry.section_id;
	handlers->next_section_id++;
	return MR_NO_RULE;
}

bool mr_handlers_unregister(struct mr_handlers *handlers, uint32_t section_id)
{
	for (uint32_t i = 0; i < handlers->count; i++)
		if (handlers->entries[i].section_id == section_id) {
			handlers->count--;
			memmove(handlers->entries + i, handlers->entries + i + 1,
				(handlers->count - i) * sizeof(handlers->entries[0]));
			return true;
		}
	return false;
}

enum mr_rule mr_handlers_register_description(struct mr_handlers *handlers, const struct mr_description *description,
					      char error[96])
{
	for (size_t i = 0; i < mr_description_count(description); i++) {
		const struct mr_layout *device = mr_description_device(description, i);
		const struct mr_handler handler = {
			.name = device->name,
			.instance = device->instance,
			.alias = MR_ALIAS_NONE,
			.version = device->version,
		};
		const enum mr_rule rule = mr_handlers_register(handlers, &handler, NULL, error);

		if (rule != MR_NO_RULE)
			return rule;
	}
	return MR_NO_RULE;
}

/* ---- Sections around hooks ---- */

void mr_handler_header(const struct mr_handlers *handlers, const struct mr_hook_call *call, struct mr_record *record)
{
	static const enum mr_kind kinds[] = {
		[TYPE_START] = MR_SECTION_START,
		[TYPE_PART] = MR_SECTION_PART,
		[TYPE_END] = MR_SECTION_END,
		[TYPE_FULL] = MR_SECTION_FULL,
	};
	const struct mr_handler_entry *entry = &handlers->entries[call->handler];

	*record = (struct mr_record){
		.kind = kinds[call->section],
		.section = {.id = entry->section_id,
			    .idstr = {(const uint8_t *)entry->idstr, entry->idstr_length},
			    .instance = entry->instance,
			    .version = entry->handler.version},
	};
	record->length = mr_encoded_length(record);
}

void mr_handler_footer(const struct mr_handlers *handlers, const struct mr_hook_call *call, struct mr_record *record)
{
	*record = (struct mr_record){
		.kind = MR_SECTION_FOOTER,
		.footer = {.id = handlers->entries[call->handler].section_id},
	};
	record->length = mr_encoded_length(record);
}
