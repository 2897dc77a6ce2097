/* handler_load.c: the destination's sections: whose they are, and which handlers the switch has to wait for. */
#include "handlers.h"
#include "wire/wire.h"

#include <inttypes.h>

void mr_load_init(struct mr_load *load, const struct mr_handlers *handlers, struct mr_handler_state *states,
		  bool strict)
{
	*load = (struct mr_load){.handlers = handlers, .states = states, .strict = strict};
	for (uint32_t i = 0; i < handlers->count; i++)
		states[i] = (struct mr_handler_state){0};
}

static enum mr_rule refuse(char expected[96], char found[96], enum mr_rule rule, struct mr_text wanted,
			   struct mr_text seen)
{
	memcpy(expected, wanted.text, sizeof(wanted.text));
	memcpy(found, seen.text, sizeof(seen.text));
	return rule;
}

/* ---- START and FULL: by name ---- */

static struct mr_text section_text(const struct mr_section *section)
{
	const struct mr_text name = mr_text_name(section->idstr);

	return mr_text("%.60s instance %" PRIu32, name.text, section->instance);
}

static enum mr_rule take_named(struct mr_load *load, const struct mr_section *section, uint32_t *handler,
			       char expected[96], char found[96])
{
	const uint32_t which = mr_handlers_find(load->handlers, section->idstr, section->instance, load->strict);
	const struct mr_handler *here;

	if (which == UINT32_MAX)
		return refuse(expected, found, MR_HND_004, mr_text("a registered handler"), section_text(section));
	here = &load->handlers->entries[which].handler;
	if (section->version > here->version || section->version < here->minimum_version)
		return refuse(expected, found, MR_HND_005,
			      mr_text("version %" PRIu32 " to %" PRIu32, here->minimum_version, here->version),
			      mr_text("%" PRIu32, section->version));
	load->states[which] = (struct mr_handler_state){.id = section->id, .version = section->version, .loaded = true};
	*handler = which;
	return MR_NO_RULE;
}

/* ---- PART and END: by id ---- */

/* Releases compare ids that nobody has sent yet, too: those are 0. */
static bool has_id(const struct mr_load *load, uint32_t handler, uint32_t id)
{
	const bool unset = !load->strict && mr_profile_does(&load->handlers->profile, MR_SWITCH_SECTION_ID_ZERO);

	return load->states[handler].id == id && (load->states[handler].loaded || unset);
}

static enum mr_rule take_numbered(const struct mr_load *load, uint32_t id, uint32_t *handler, char expected[96],
				  char found[96])
{
	for (uint32_t i = 0; i < load->handlers->count; i++)
		if (has_id(load, i, id)) {
			*handler = i;
			return MR_NO_RULE;
		}
	return refuse(expected, found, MR_HND_006, mr_text("the id of a handler"), mr_text("id %" PRIu32, id));
}

enum mr_rule mr_load_section(struct mr_load *load, enum mr_kind kind, const struct mr_section *section,
			     uint32_t *handler, char expected[96], char found[96])
{
	const bool named = kind == MR_SECTION_START || kind == MR_SECTION_FULL;
	const enum mr_rule rule = named ? take_named(load, section, handler, expected, found)
					: take_numbered(load, section->id, handler, expected, found);

	if (rule == MR_NO_RULE && !(load->handlers->entries[*handler].handler.hooks & MR_HOOK_BIT(LOAD_STATE)))
		return refuse(expected, found, MR_HND_008, mr_text("a handler with load_state"),
			      mr_text("%.60s without", load->handlers->entries[*handler].idstr));
	return rule;
}

/* ---- Switchover acks ---- */

void mr_load_want_acks(struct mr_load *load, uint32_t wanted)
{
	load->wanted = wanted;
	load->approved = 0;
	if (wanted == 0 && mr_profile_does(&load->handlers->profile, MR_SWITCH_SWITCHOVER_ACK_ONCE))
		load->acks = 1;
}

void mr_load_approve(struct mr_load *load)
{
	const bool once = mr_profile_does(&load->handlers->profile, MR_SWITCH_SWITCHOVER_ACK_ONCE);

	/* One ack for all, at the last approval; or one for each, where the source counts. */
	if (once && load->approved == load->wanted)
		return;
	load->approved++;
	load->acks += !once || load->approved == load->wanted;
}
