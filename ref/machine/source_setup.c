/* source_setup.c: the beginning of a stream: connections, header, configuration, first commands, START sections. */
#include "source.h"

static source_phase connect_preempt, connect_multifd, send_header, send_configuration, send_page_bits,
	send_capabilities, send_uuid, open_return_path, send_ping, send_advise, send_colo, set_up, set_up_done;

static bool has_return_path(const struct mr_outgoing *outgoing)
{
	const uint32_t postcopy = MR_CAPABILITY_POSTCOPY_RAM;

	if (source_has(outgoing, MR_CAPABILITY_BACKGROUND_SNAPSHOT))
		return false;
	return source_has(outgoing, source_does(outgoing, MR_SWITCH_RETURN_PATH_CAPABILITY)
					    ? postcopy | MR_CAPABILITY_RETURN_PATH
					    : postcopy);
}

/* ---- Connections ---- */

static enum outcome connect_main(struct mr_outgoing *outgoing, struct source_actor *actor,
				 struct mr_source_action *action)
{
	return mr_source_connect(outgoing, actor, action, MR_ROLE_MAIN, 0, connect_preempt);
}

enum outcome mr_source_begin(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	outgoing->pace.window_start = outgoing->pace.measure_start = outgoing->time;
	outgoing->has_return_path = has_return_path(outgoing);
	outgoing->acks_wanted += source_has(outgoing, MR_CAPABILITY_SWITCHOVER_ACK) &&
				 source_does(outgoing, MR_SWITCH_SWITCHOVER_ACK_ONCE);
	actor->phase = connect_main;
	return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_SETUP);
}

static bool is_connected(struct mr_outgoing *outgoing, const struct source_actor *actor)
{
	if (actor->completion == 0)
		return true;
	mr_source_blame(outgoing, MR_SRC_030, mr_text("a connection"), mr_text("error %d", actor->completion));
	return false;
}

static enum outcome connect_preempt(struct mr_outgoing *outgoing, struct source_actor *actor,
				    struct mr_source_action *action)
{
	if (!is_connected(outgoing, actor))
		return mr_source_fail(outgoing, actor);
	outgoing->progress.index = 0;
	outgoing->returner.alive = outgoing->has_return_path;
	if (source_has_preempt(outgoing) && source_does(outgoing, MR_SWITCH_PREEMPT_EARLY))
		return mr_source_connect(outgoing, actor, action, MR_ROLE_PREEMPT, 0, connect_multifd);
	return mr_source_go(actor, connect_multifd);
}

static enum outcome connect_multifd(struct mr_outgoing *outgoing, struct source_actor *actor,
				    struct mr_source_action *action)
{
	const bool more = source_has(outgoing, MR_CAPABILITY_MULTIFD) &&
			  outgoing->progress.index < outgoing->config.multifd_channels;

	if (!is_connected(outgoing, actor))
		return mr_source_fail(outgoing, actor);
	if (more)
		return mr_source_connect(outgoing, actor, action, MR_ROLE_MULTIFD, outgoing->progress.index++,
					 connect_multifd);
	return mr_source_go(actor, send_header);
}

/* ---- Header and configuration ---- */

static enum outcome send_header(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	const struct mr_record record = {.kind = MR_FILE_HEADER, .file_header = {.version = 3}};

	actor->phase = source_does(outgoing, MR_SWITCH_SEND_CONFIGURATION) ? send_configuration : open_return_path;
	return mr_source_emit(outgoing, actor, action, &record);
}

static enum outcome send_configuration(struct mr_outgoing *outgoing, struct source_actor *actor,
				       struct mr_source_action *action)
{
	const char *machine = outgoing->config.machine ? outgoing->config.machine : "";
	const struct mr_record record = {
		.kind = MR_CONFIGURATION,
		.configuration = {.machine = {(const uint8_t *)machine, strlen(machine)}},
	};

	actor->phase = send_page_bits;
	return mr_source_emit(outgoing, actor, action, &record);
}

static enum outcome send_subsection(struct mr_outgoing *outgoing, struct source_actor *actor,
				    struct mr_source_action *action, struct mr_configuration_subsection subsection)
{
	struct mr_record record = {.kind = MR_CONFIGURATION_SUBSECTION, .subsection = subsection};

	record.subsection.version = 1;
	return mr_source_emit(outgoing, actor, action, &record);
}

static uint32_t bits_of(uint32_t page_size)
{
	uint32_t bits = 0;

	while (page_size >> (bits + 1))
		bits++;
	return bits;
}

static enum outcome send_page_bits(struct mr_outgoing *outgoing, struct source_actor *actor,
				   struct mr_source_action *action)
{
	const uint32_t bits = bits_of(source_page(outgoing));
	const uint32_t legacy = outgoing->config.minimum_page_bits ? outgoing->config.minimum_page_bits : 12;

	actor->phase = send_capabilities;
	if (bits <= legacy || !source_does(outgoing, MR_SWITCH_SUBSECTION_TARGET_PAGE_BITS))
		return ON;
	return send_subsection(outgoing, actor, action,
			       (struct mr_configuration_subsection){.which = MR_SUBSECTION_TARGET_PAGE_BITS,
								    .target_page_bits = bits});
}

static enum outcome send_capabilities(struct mr_outgoing *outgoing, struct source_actor *actor,
				      struct mr_source_action *action)
{
	static const uint8_t ignore_shared[] = "\x0fx-ignore-shared";

	actor->phase = send_uuid;
	if (!source_has(outgoing, MR_CAPABILITY_IGNORE_SHARED) ||
	    !source_does(outgoing, MR_SWITCH_SUBSECTION_CAPABILITIES))
		return ON;
	return send_subsection(outgoing, actor, action,
			       (struct mr_configuration_subsection){
				       .which = MR_SUBSECTION_CAPABILITIES,
				       .capability_count = 1,
				       .capabilities = {ignore_shared, sizeof(ignore_shared) - 1},
			       });
}

static enum outcome send_uuid(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	const struct mr_outgoing_config *config = &outgoing->config;

	actor->phase = open_return_path;
	if (!config->uuid_known || !source_has(outgoing, MR_CAPABILITY_VALIDATE_UUID) ||
	    !source_does(outgoing, MR_SWITCH_SUBSECTION_UUID))
		return ON;
	return send_subsection(outgoing, actor, action,
			       (struct mr_configuration_subsection){.which = MR_SUBSECTION_UUID,
								    .uuid = {config->uuid, sizeof(config->uuid)}});
}

/* ---- First commands ---- */

static enum outcome open_return_path(struct mr_outgoing *outgoing, struct source_actor *actor,
				     struct mr_source_action *action)
{
	if (!outgoing->has_return_path)
		return mr_source_go(actor, send_advise);
	actor->phase = send_ping;
	return mr_source_command(outgoing, actor, action, MR_COMMAND_OPEN_RETURN_PATH, 0);
}

static enum outcome send_ping(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	actor->phase = send_advise;
	return mr_source_command(outgoing, actor, action, MR_COMMAND_PING, PING_FIRST);
}

/* The OR of the page sizes of all blocks that are sent; once the host's ordinary one. */
static uint64_t page_size_summary(const struct mr_outgoing *outgoing)
{
	uint64_t summary = 0;

	if (!source_does(outgoing, MR_SWITCH_ADVISE_SUMMARY))
		return outgoing->config.host_page_size;
	for (uint32_t i = 0; i < outgoing->block_count; i++)
		if (!source_block_at(outgoing, i)->ignored)
			summary |= source_block_at(outgoing, i)->page_size;
	return summary;
}

static enum outcome send_advise(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	const bool postcopy = source_has(outgoing, MR_CAPABILITY_POSTCOPY_RAM);
	const struct mr_record record = {
		.kind = MR_COMMAND,
		.command = {.number = MR_COMMAND_POSTCOPY_ADVISE,
			    .sent = MR_COMMAND_POSTCOPY_ADVISE,
			    .length = postcopy ? 16 : 0,
			    .page_size_summary = page_size_summary(outgoing),
			    .target_page_size = source_page(outgoing)},
	};

	actor->phase = send_colo;
	if (!postcopy &&
	    (!source_has(outgoing, MR_CAPABILITY_DIRTY_BITMAPS) || !source_does(outgoing, MR_SWITCH_ADVISE_EMPTY)))
		return ON;
	return mr_source_emit(outgoing, actor, action, &record);
}

static enum outcome send_colo(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	actor->phase = set_up;
	if (!source_has(outgoing, MR_CAPABILITY_COLO) || !source_does(outgoing, MR_SWITCH_COMMAND_ENABLE_COLO))
		return ON;
	return mr_source_command(outgoing, actor, action, MR_COMMAND_ENABLE_COLO, 0);
}

/* ---- START sections ---- */

static enum outcome set_up(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	(void)action;
	return mr_source_handlers(outgoing, actor, MR_PHASE_SAVE_SETUP, set_up_done);
}

static enum outcome begin_loop(struct mr_outgoing *outgoing, struct source_actor *actor,
			       struct mr_source_action *action)
{
	actor->phase = source_has(outgoing, MR_CAPABILITY_BACKGROUND_SNAPSHOT) ? mr_source_snapshot : mr_source_turn;
	return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_ACTIVE);
}

static enum outcome unplug(struct mr_outgoing *outgoing, struct source_actor *actor, struct mr_source_action *action)
{
	actor->phase = begin_loop;
	return mr_source_act(outgoing, actor, action, MR_SOURCE_ACTION_UNPLUG);
}

static enum outcome set_up_done(struct mr_outgoing *outgoing, struct source_actor *actor,
				struct mr_source_action *action)
{
	if (actor->answer || mr_source_is_interrupted(outgoing))
		return mr_source_fail(outgoing, actor);
	if (!outgoing->config.unplug_first || !source_does(outgoing, MR_SWITCH_SOURCE_WAIT_UNPLUG))
		return mr_source_go(actor, begin_loop);
	actor->phase = unplug;
	return mr_source_set_status(outgoing, actor, action, MR_SOURCE_STATUS_WAIT_UNPLUG);
}
