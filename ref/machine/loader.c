/* loader.c: the loop over the sections and commands of a main channel or a package, and where it begins and ends. */
#include "machine.h"

#include <inttypes.h>

enum mr_step mr_loader_step(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	for (;;) {
		const enum outcome outcome = loader->phase(incoming, loader, action);

		/* not covered here and in other switches without default: a number that is none of the enumeration's */
		switch (outcome) {
		case ON:
			break;
		case ACTED:
			action->in_package = loader->in_package;
			if (action->channel == NO_CHANNEL && loader->channel != NO_CHANNEL) {
				action->channel = loader->channel;
				action->offset = loader->record_offset;
			}
			return MR_STEP_ACTION;
		case BLOCKED:
			return incoming->actors[loader->actor].wants.wait ? MR_STEP_WAITS : MR_STEP_BYTES;
		case ENDED:
			incoming->actors[loader->actor].ended = true;
			return MR_STEP_DONE;
		}
	}
}

enum outcome mr_go(struct loader *loader, phase_function *phase)
{
	loader->phase = phase;
	return ON;
}

/* ---- The beginning ---- */

static bool are_channels_there(const struct mr_incoming *incoming)
{
	if (incoming->main_channel == NO_CHANNEL)
		return false;
	if (has(incoming, MR_CAPABILITY_MULTIFD) && incoming->multifd_count < incoming->config.context.multifd_channels)
		return false;
	return !has(incoming, MR_CAPABILITY_POSTCOPY_PREEMPT) || !does(incoming, MR_SWITCH_PREEMPT_EARLY) ||
	       incoming->new_preempt != NO_CHANNEL;
}

static enum outcome activate(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	if (!are_channels_there(incoming))
		return mr_wait(incoming, loader->actor, MR_WAIT_CHANNEL, 0);
	loader->channel = incoming->main_channel;
	mr_take_preempt_channel(incoming);
	loader->phase = incoming->config.handlers ? mr_handlers_begin : mr_loader_record;
	return mr_set_status(incoming, loader->actor, action, MR_STATUS_ACTIVE);
}

enum outcome mr_loader_begin(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = activate;
	if (does(incoming, MR_SWITCH_STATUS_SETUP))
		return mr_set_status(incoming, loader->actor, action, MR_STATUS_SETUP);
	return ON;
}

static enum outcome listen_reads(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	loader->channel = incoming->main_channel;
	return mr_go(loader, mr_loader_record);
}

static enum outcome listen_started(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	loader->phase = listen_reads;
	return mr_act(incoming, loader->actor, action, MR_ACTION_ACTOR_START);
}

/* What it does before it reads comes by no channel. */
enum outcome mr_listen_begin(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const bool device = does(incoming, MR_SWITCH_STATUS_POSTCOPY_DEVICE) && incoming->return_up;

	loader->phase = listen_started;
	incoming->listen_signalled = true;
	return mr_set_status(incoming, loader->actor, action,
			     device ? MR_STATUS_POSTCOPY_DEVICE : MR_STATUS_POSTCOPY_ACTIVE);
}

/* ---- Failures ---- */

static enum outcome failed(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const bool running = incoming->state == MR_POSTCOPY_RUNNING && has(incoming, MR_CAPABILITY_POSTCOPY_RAM);

	(void)action;
	loader->in_package = false;
	if (loader->actor == MR_ACTOR_PREEMPT)
		return mr_go(loader, mr_preempt_broken);
	/* What fails has a channel: whoever waits for one has nothing to read. */
	if (!channel_at(incoming, loader->channel)->error)
		channel_at(incoming, loader->channel)->error = -loader->result;
	if (loader->actor == MR_ACTOR_LISTEN && running && does(incoming, MR_SWITCH_RECOVERY))
		return mr_go(loader, mr_pause);
	/* Only disk bitmaps were to come, and the guest runs: that much is lost, the migration is not. */
	if (loader->actor == MR_ACTOR_LISTEN && incoming->state == MR_POSTCOPY_RUNNING && !running) {
		incoming->error.rule = MR_NO_RULE;
		loader->result = 0;
		return mr_go(loader, mr_listen_end);
	}
	return mr_go(loader, mr_final_failure);
}

/* The loop at hand ends; that of a package is the result of its command. */
enum outcome mr_end_loop(struct mr_incoming *incoming, struct loader *loader, int result)
{
	loader->in_ram = false;
	loader->result = result;
	if (loader->in_package) {
		loader->in_package = false;
		loader->command = loader->package;
		return mr_end_command(incoming, loader, result);
	}
	if (result < 0)
		return mr_go(loader, failed);
	if (loader->actor == MR_ACTOR_PREEMPT)
		return mr_go(loader, mr_preempt_end);
	if (loader->actor == MR_ACTOR_LISTEN)
		return mr_go(loader, mr_listen_end);
	return mr_go(loader, incoming->actors[MR_ACTOR_LISTEN].alive ? mr_main_end : mr_precopy_end);
}

enum outcome mr_fail_load(struct mr_incoming *incoming, struct loader *loader, int error)
{
	loader->result = -error;
	return loader->in_ram ? mr_go(loader, mr_ram_failed) : mr_end_loop(incoming, loader, -error);
}

/* ---- Commands around the loop ---- */

/* Nothing is left of a command that is over, so that machines are equal whichever came last. */
static void forget_command(struct mr_incoming *incoming, struct loader *loader)
{
	incoming->package_begun &= loader->command.number != MR_COMMAND_PACKAGED;
	loader->then = NULL;
	loader->index = 0;
	loader->cursor = 0;
	loader->command = (struct command){0};
	loader->sequence = (struct mr_sequence){0};
}

static enum outcome after_command(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	forget_command(incoming, loader);
	if (loader->result != 0)
		return mr_end_loop(incoming, loader, loader->result);
	return mr_go(loader, mr_loader_record);
}

static enum outcome command_done(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	action->command.number = loader->command.number;
	action->command.length = loader->command.length;
	action->command.value = loader->command.value;
	action->command.block = loader->command.block;
	action->command.result = loader->result;
	loader->phase = after_command;
	return mr_act(incoming, loader->actor, action, MR_ACTION_COMMAND_DONE);
}

enum outcome mr_end_command(struct mr_incoming *incoming, struct loader *loader, int result)
{
	(void)incoming;
	loader->result = result;
	return mr_go(loader, command_done);
}

/* ---- Records ---- */

static enum outcome tell_section(struct mr_incoming *incoming, struct loader *loader, const struct mr_record *record,
				 struct mr_action *action)
{
	static const uint8_t types[] = {
		[MR_SECTION_START] = TYPE_START,
		[MR_SECTION_PART] = TYPE_PART,
		[MR_SECTION_END] = TYPE_END,
		[MR_SECTION_FULL] = TYPE_FULL,
	};
	const bool postcopy = incoming->state == MR_POSTCOPY_LISTENING || incoming->state == MR_POSTCOPY_RUNNING;

	action->section.type = types[record->kind];
	action->section.id = record->section.id;
	action->section.instance = record->section.instance;
	action->section.version = record->section.version;
	action->section.idstr = record->section.idstr;
	action->section.is_ram = mr_name_is(record->section.idstr, "ram");
	if (!mr_take_handler(incoming, loader, record)) {
		loader->phase = mr_section_refused;
		return mr_act(incoming, loader->actor, action, MR_ACTION_SECTION);
	}
	loader->in_ram = action->section.is_ram;
	loader->footer_due = !incoming->config.context.no_footer;
	loader->postcopy = postcopy && loader->in_ram;
	if (loader->in_ram) {
		incoming->sequence++;
		mr_begin_body(incoming, loader);
	}
	return mr_act(incoming, loader->actor, action, MR_ACTION_SECTION);
}

static enum outcome device_loaded(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	const int error = incoming->actors[loader->actor].error;

	(void)action;
	if (error == 0)
		return mr_go(loader, mr_send_acks);
	mr_blame(incoming, loader, incoming->config.handlers ? MR_HND_008 : MR_PC_044,
		 mr_text("a device that loads its section"), mr_text("error %d", error));
	return mr_fail_load(incoming, loader, error);
}

static enum outcome load_device(struct mr_incoming *incoming, struct loader *loader, const struct mr_record *record,
				struct mr_action *action)
{
	action->device.body = record->data.bytes;
	action->device.id = record->data.id;
	action->device.handler = loader->handler;
	loader->phase = device_loaded;
	return mr_act(incoming, loader->actor, action, MR_ACTION_LOAD_DEVICE);
}

static enum outcome loop_ended(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	(void)action;
	return mr_end_loop(incoming, loader, 0);
}

static enum outcome check_machine(struct mr_incoming *incoming, struct loader *loader, const struct mr_record *record)
{
	const char *machine = incoming->config.context.machine;

	if (!machine[0] || mr_bytes_equal_string(record->configuration.machine, machine))
		return ON;
	mr_blame(incoming, loader, MR_STR_004, mr_text("machine type %s", machine),
		 mr_text("%.*s", (int)record->configuration.machine.length, record->configuration.machine.data));
	return mr_fail_load(incoming, loader, FAULT_INVALID);
}

static enum outcome check_subsection(struct mr_incoming *incoming, struct loader *loader,
				     const struct mr_configuration_subsection *subsection)
{
	const struct mr_context *context = &incoming->config.context;

	/* The decoder lets 10 to 16 bits pass. */
	if (subsection->which == MR_SUBSECTION_TARGET_PAGE_BITS &&
	    1u << subsection->target_page_bits != target_page(incoming)) {
		mr_blame(incoming, loader, MR_STR_007,
			 mr_text("target pages of %" PRIu32 " bytes", target_page(incoming)),
			 mr_text("%" PRIu32 " bits", subsection->target_page_bits));
		return mr_fail_load(incoming, loader, FAULT_INVALID);
	}
	if (subsection->which == MR_SUBSECTION_UUID && context->uuid_known &&
	    memcmp(subsection->uuid.data, context->uuid, sizeof(context->uuid)) != 0) {
		mr_blame(incoming, loader, MR_STR_009, mr_text("the receiver's uuid"), mr_text("another"));
		return mr_fail_load(incoming, loader, FAULT_INVALID);
	}
	return ON;
}

static enum outcome refuse_record(struct mr_incoming *incoming, struct loader *loader, const struct mr_record *record)
{
	mr_blame(incoming, loader, MR_STR_011, mr_text("a record that this machine can carry out"),
		 mr_text("%s", mr_kind_name(record->kind)));
	return mr_fail_load(incoming, loader, FAULT_INVALID);
}

static enum outcome take_record(struct mr_incoming *incoming, struct loader *loader, const struct mr_record *record,
				struct mr_action *action)
{
	loader->record_offset = record->offset;
	loader->footer_due &= record->kind != MR_SECTION_FOOTER;
	/* Where two loaders read one channel, the end of the body may have gone to the other one. */
	if (loader->in_ram && record->kind >= MR_RAM_SIZE)
		return mr_take_ram(incoming, loader, record, action);
	switch (record->kind) {
	case MR_FILE_HEADER:
	case MR_SECTION_FOOTER:
		return ON;
	case MR_CONFIGURATION:
		incoming->configured = true;
		return check_machine(incoming, loader, record);
	case MR_CONFIGURATION_SUBSECTION:
		return check_subsection(incoming, loader, &record->subsection);
	case MR_SECTION_START:
	case MR_SECTION_PART:
	case MR_SECTION_END:
	case MR_SECTION_FULL:
		return tell_section(incoming, loader, record, action);
	case MR_SECTION_DATA:
		return load_device(incoming, loader, record, action);
	case MR_COMMAND:
		return mr_take_command(incoming, loader, &record->command, action);
	case MR_EOF:
		loader->phase = loop_ended;
		return mr_act(incoming, loader->actor, action, MR_ACTION_SECTION);
	default:
		return refuse_record(incoming, loader, record);
	}
}

/* ---- Reading ---- */

/* The bytes behind the last whole record say how far a page record came. */
static enum outcome read_failed(struct mr_incoming *incoming, struct loader *loader, const struct mr_decoder *decoder,
				struct mr_bytes left, bool cut, struct mr_action *action)
{
	if (incoming->error.rule == MR_NO_RULE)
		incoming->error = decoder->error;
	loader->record_offset = decoder->offset;
	/* A footer that did not come is a wrong one. */
	loader->result = cut && (loader->in_ram || !loader->footer_due) ? -FAULT_IO : -FAULT_INVALID;
	if (loader->in_ram && cut)
		return mr_take_cut_record(incoming, loader, decoder, left, action);
	return mr_fail_load(incoming, loader, -loader->result);
}

static enum outcome read_channel(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	struct channel *channel = channel_at(incoming, loader->channel);
	struct mr_decoder *decoder = decoder_of(incoming, channel);
	const struct mr_bytes left = {channel->window, channel->length};
	struct mr_record record;

	if (incoming->config.handlers && !incoming->handlers_ready &&
	    mr_is_setup_due(incoming, loader, decoder, channel))
		return mr_handlers_set_up(incoming, loader);
	switch (mr_read(incoming, loader->actor, loader->channel, &record)) {
	case MR_RECORD:
		return take_record(incoming, loader, &record, action);
	case MR_MORE:
		return BLOCKED;
	case MR_DONE:
		loader->record_offset = decoder->offset;
		mr_blame(incoming, loader, MR_STR_026, mr_text("another record"), mr_text("end of stream"));
		return mr_fail_load(incoming, loader, FAULT_IO);
	case MR_FAILED:
		break;
	}
	return read_failed(incoming, loader, decoder, left, decoder->error.rule == MR_STR_026, action);
}

/* A package is read from the copy that was made of it. */
static enum outcome read_package(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	struct mr_decoder *decoder = at(incoming, incoming->places.package_decoder);
	const uint64_t done = decoder->offset - incoming->package_start;
	const uint8_t *window = (const uint8_t *)at(incoming, incoming->places.package) + done;
	struct mr_record record;

	if (done == incoming->package_length) {
		mr_blame(incoming, loader, MR_PC_015, mr_text("RUN or an end mark"), mr_text("the end of the package"));
		return mr_fail_load(incoming, loader, FAULT_IO);
	}
	decoder->session = &incoming->session;
	if (mr_decode(decoder, window, (size_t)(incoming->package_length - done), true, &record) == MR_RECORD)
		return take_record(incoming, loader, &record, action);
	return read_failed(incoming, loader, decoder, (struct mr_bytes){NULL, 0}, false, action);
}

/* Between two sections the listen loader looks whether the preempt channel is whole, too. */
static bool is_preempt_broken(const struct mr_incoming *incoming, const struct loader *loader)
{
	return loader->actor == MR_ACTOR_LISTEN && !loader->in_ram && incoming->preempt_broken &&
	       incoming->state == MR_POSTCOPY_RUNNING;
}

enum outcome mr_loader_record(struct mr_incoming *incoming, struct loader *loader, struct mr_action *action)
{
	enum outcome outcome = ON;

	/* The main loader failed, and left it to this one to say so. */
	if (loader->actor == MR_ACTOR_LISTEN && incoming->main_failed && !loader->in_ram)
		return mr_fail_load(incoming, loader, FAULT_IO);
	while (outcome == ON && loader->phase == mr_loader_record) {
		if (is_preempt_broken(incoming, loader)) {
			mr_blame(incoming, loader, MR_PRE_004, mr_text("a whole preempt channel"),
				 mr_text("a broken one"));
			return mr_fail_load(incoming, loader, FAULT_IO);
		}
		outcome = loader->in_package ? read_package(incoming, loader, action)
					     : read_channel(incoming, loader, action);
	}
	return outcome;
}
