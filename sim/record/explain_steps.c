/* explain_steps.c: a recording told as it happened at the destination: each record, then what was done about it. */
#include "sim/record/explain_steps.h"
#include "sim/record/device.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A record of the package that the listen loader has overtaken: explained already, to be shown in its turn. */
struct kept {
	struct kept *next;
	uint64_t offset, end;
	char *text;
	size_t length;
};

/* The record that an actor was last busy with. */
struct place {
	const struct mr_channel *channel; /* NULL: none yet */
	uint64_t offset;
};

struct walk {
	const struct mr_explain_job *job;
	struct mr_explainer explainer;
	struct mr_migration *migration; /* read once more, as far as the machine has come */
	struct mr_devices *devices;     /* of each channel */
	bool *told;                     /* of each channel: that it has ended */
	struct kept *kept, **kept_end;
	struct place busy[MR_ACTOR_COUNT];
	struct place current; /* what the paragraph is about; without a channel: no record */
	bool open;            /* a paragraph waits for its state */
	bool acted;           /* somebody acted in it */
	bool no_memory;
	struct mr_explained_state state;
};

/* ---- Paragraphs ---- */

static void close_paragraph(struct walk *walk)
{
	if (!walk->open)
		return;
	if (walk->acted)
		mr_explain_state(&walk->explainer, &walk->state);
	if (!walk->explainer.json)
		putc('\n', walk->explainer.out);
	walk->open = walk->acted = false;
}

static void explain(struct walk *walk, const struct mr_explainer *explainer, const struct mr_channel *channel,
		    const struct mr_record *record, const uint8_t *wire)
{
	struct mr_explainer own = *explainer;

	own.device = mr_devices_record(&walk->devices[channel - walk->migration->channels], channel->decoder, record);
	mr_explain_record(&own, channel->name, record, wire);
}

static void set_current(struct walk *walk, const struct mr_channel *channel, uint64_t offset)
{
	walk->current = (struct place){.channel = channel, .offset = offset};
}

/* ---- Records ---- */

static void tell_end(struct walk *walk, const struct mr_channel *channel, enum mr_result result)
{
	bool *told = &walk->told[channel - walk->migration->channels];

	if (!*told && result != MR_RECORD)
		walk->job->end(walk->job->argument, walk->migration, channel, result);
	*told = true;
}

static struct mr_channel *find_channel(const struct walk *walk, uint32_t number, bool backward)
{
	for (size_t i = 0; i < walk->migration->channel_count; i++) {
		struct mr_channel *channel = &walk->migration->channels[i];

		if (channel->number == number && (channel->role == MR_ROLE_RETURN) == backward)
			return channel;
	}
	return NULL;
}

static void keep(struct walk *walk, const struct mr_channel *channel, const struct mr_record *record,
		 const uint8_t *wire)
{
	struct mr_explainer own = walk->explainer;
	struct kept *kept = calloc(1, sizeof(*kept));

	own.out = kept ? open_memstream(&kept->text, &kept->length) : NULL;
	if (!own.out) {
		free(kept);
		walk->no_memory = true;
		return;
	}
	kept->offset = record->offset;
	kept->end = record->offset + record->length;
	explain(walk, &own, channel, record, wire);
	if (fclose(own.out) != 0)
		walk->no_memory = true;
	*walk->kept_end = kept;
	walk->kept_end = &kept->next;
}

/* Shows the kept records that begin at or before `offset`; true if the last of them holds it. */
static bool show_kept(struct walk *walk, uint64_t offset)
{
	bool holds = false;

	while (walk->kept && walk->kept->offset <= offset) {
		struct kept *kept = walk->kept;

		close_paragraph(walk);
		fwrite(kept->text ? kept->text : "", 1, kept->length, walk->explainer.out);
		walk->open = true;
		holds = offset < kept->end;
		walk->kept = kept->next;
		if (!walk->kept)
			walk->kept_end = &walk->kept;
		free(kept->text);
		free(kept);
	}
	return holds;
}

/* Reads and shows records up to the one at `offset`. True if that one is shown now. */
static bool read_to(struct walk *walk, struct mr_channel *channel, uint64_t offset, bool in_package)
{
	bool found = false;

	while (!channel->ended && channel->decoder->offset <= offset) {
		struct mr_record record;
		const uint8_t *wire;
		const enum mr_result result = mr_channel_next(channel, &record, &wire);

		if (result != MR_RECORD) {
			tell_end(walk, channel, result);
			break;
		}
		if (record.depth && !in_package) {
			keep(walk, channel, &record, wire);
			continue;
		}
		close_paragraph(walk);
		explain(walk, &walk->explainer, channel, &record, wire);
		walk->open = true;
		found = offset < record.offset + record.length;
	}
	return found;
}

/* ---- Actions ---- */

static bool is_same(const struct place *place, const struct mr_channel *channel, uint64_t offset)
{
	return place->channel == channel && place->offset == offset;
}

/* Beginning, sleeping and waking are about no record: such an action belongs to whatever has led to it. */
static bool has_record(const struct mr_action *action)
{
	switch (action->kind) {
	case MR_ACTION_PARK:
	case MR_ACTION_CONTINUE:
	case MR_ACTION_ACTOR_START:
	case MR_ACTION_CLOSE:
		return false;
	default:
		return action->channel < MR_INCOMING_CHANNELS_MAX;
	}
}

/* Begins the paragraph that an action belongs to, unless it is the one at hand. */
static void find_paragraph(struct walk *walk, const struct mr_action *action)
{
	struct mr_channel *channel = has_record(action) ? find_channel(walk, action->channel, false) : NULL;
	struct place *busy = &walk->busy[action->actor];

	if (!channel)
		return;
	if ((action->in_package && show_kept(walk, action->offset)) ||
	    read_to(walk, channel, action->offset, action->in_package)) {
		set_current(walk, channel, action->offset);
	} else if (is_same(busy, channel, action->offset) && !is_same(&walk->current, channel, action->offset)) {
		close_paragraph(walk);
		if (!walk->explainer.json)
			fprintf(walk->explainer.out, "%s %08" PRIx64 " again\n", channel->name, action->offset);
		walk->open = true;
		set_current(walk, channel, action->offset);
	}
	if (is_same(&walk->current, channel, action->offset))
		*busy = walk->current;
}

/* The message that the action begins, as it was recorded. */
static void show_message(struct walk *walk, const struct mr_action_send *send)
{
	struct mr_channel *channel = find_channel(walk, send->channel, true);
	struct mr_explainer own = walk->explainer;
	struct mr_record record;
	const uint8_t *wire;
	enum mr_result result;

	if (!channel || channel->ended || !send->first || send->bitmap)
		return;
	result = mr_channel_next(channel, &record, &wire);
	if (result != MR_RECORD) {
		tell_end(walk, channel, result);
		return;
	}
	own.indent = "        ";
	explain(walk, &own, channel, &record, wire);
}

/* ---- State ---- */

static void take_off(struct mr_explained_state *state, uint32_t block, uint64_t offset)
{
	size_t left = 0;

	for (size_t i = 0; i < state->page_count; i++)
		if (state->pages[i].block != block || state->pages[i].offset != offset)
			state->pages[left++] = state->pages[i];
	state->page_count = left;
}

static void put_on(struct mr_explained_state *state, const struct mr_incoming *incoming,
		   const struct mr_action_request *request)
{
	const char *name = mr_incoming_block_name(incoming, request->block);
	struct mr_explained_page *page;

	if (state->page_count == MR_EXPLAINED_PAGES_MAX)
		return;
	page = &state->pages[state->page_count++];
	*page = (struct mr_explained_page){
		.block = request->block,
		.offset = request->offset,
		.thread = request->thread,
	};
	snprintf(page->name, sizeof(page->name), "%s", name ? name : "");
}

static void follow_pages(struct mr_explained_state *state, const struct mr_incoming *incoming,
			 const struct mr_action *action)
{
	if (action->kind == MR_ACTION_MARKED)
		take_off(state, action->placed.block, action->placed.offset);
	if (action->kind == MR_ACTION_REQUEST && action->request.verdict == MR_REQUEST_ADDED)
		put_on(state, incoming, &action->request);
}

static void look_at(struct mr_explained_state *state, const struct mr_incoming *incoming)
{
	state->state = mr_incoming_postcopy_state(incoming);
	state->status = mr_incoming_status(incoming);
	state->outstanding = mr_incoming_outstanding(incoming);
	state->wait_count = 0;
	/* In END nobody goes on any more, whatever he waited for last. */
	for (unsigned i = 0;
	     state->state != MR_POSTCOPY_END && i < MR_ACTOR_COUNT && state->wait_count < MR_EXPLAINED_WAITS_MAX; i++) {
		const struct mr_wants wants = mr_incoming_wants(incoming, i);

		if (!mr_wait_meaning(wants.wait))
			continue;
		state->waits[state->wait_count].actor = i;
		state->waits[state->wait_count++].wants = wants;
	}
}

static void watch(void *argument, const struct mr_world *world, const struct mr_log_record *record,
		  const struct mr_action *action)
{
	struct walk *walk = argument;

	if (action) {
		find_paragraph(walk, action);
		walk->open = walk->acted = true;
		mr_explain_action(&walk->explainer, world->incoming, action);
		if (action->kind == MR_ACTION_SEND)
			show_message(walk, &action->send);
		follow_pages(&walk->state, world->incoming, action);
	} else if (mr_input_meaning(record->kind).text) {
		close_paragraph(walk);
		mr_explain_input(&walk->explainer, world->incoming, record);
		walk->open = true;
		set_current(walk, NULL, 0);
	}
	look_at(&walk->state, world->incoming);
}

/* ---- The whole ---- */

/* The machine wants its blocks beforehand: they are known when all has been read once. */
static void read_all(struct mr_migration *migration)
{
	struct mr_channel *channel;

	do {
		struct mr_record record;
		const uint8_t *wire;

		mr_migration_next(migration, &channel, &record, &wire);
	} while (channel);
}

static void show_rest(struct walk *walk)
{
	struct mr_channel *channel;

	close_paragraph(walk);
	show_kept(walk, UINT64_MAX);
	close_paragraph(walk);
	do {
		struct mr_record record;
		const uint8_t *wire;
		const enum mr_result result = mr_migration_next(walk->migration, &channel, &record, &wire);

		if (channel && result == MR_RECORD) {
			explain(walk, &walk->explainer, channel, &record, wire);
			walk->open = true;
			close_paragraph(walk);
		} else if (channel) {
			tell_end(walk, channel, result);
		}
	} while (channel);
}

static int open_walk(struct walk *walk, const struct mr_explain_job *job, char *error, size_t error_size)
{
	size_t count;

	walk->job = job;
	walk->explainer = job->explainer;
	walk->kept_end = &walk->kept;
	if (mr_migration_open(&walk->migration, job->path, job->options, NULL, NULL, error, error_size) < 0)
		return -1;
	count = walk->migration->channel_count + 1;
	walk->devices = calloc(count, sizeof(*walk->devices));
	walk->told = calloc(count, sizeof(*walk->told));
	if (!walk->devices || !walk->told) {
		snprintf(error, error_size, "%s: no memory", job->path);
		return -1;
	}
	for (size_t i = 0; i < walk->migration->channel_count; i++)
		mr_devices_init(&walk->devices[i], job->options->description);
	return 0;
}

static void close_walk(struct walk *walk)
{
	for (size_t i = 0; walk->devices && i < walk->migration->channel_count; i++)
		mr_devices_clear(&walk->devices[i]);
	while (walk->kept) {
		struct kept *kept = walk->kept;

		walk->kept = kept->next;
		free(kept->text);
		free(kept);
	}
	free(walk->devices);
	free(walk->told);
	mr_migration_close(walk->migration);
	free(walk);
}

static int run(struct walk *walk, struct mr_destination *destination, char *error, size_t error_size)
{
	const struct mr_destination_options options = {.watch = watch, .watch_argument = walk};
	struct mr_migration *migration;
	int status;

	if (mr_migration_open(&migration, walk->job->path, walk->job->options, NULL, NULL, error, error_size) < 0)
		return -1;
	read_all(migration);
	status = mr_destination_run(destination, migration, &options, NULL, error, error_size);
	mr_migration_close(migration);
	if (status < 0)
		return -1;
	show_rest(walk);
	if (!walk->no_memory)
		return 0;
	snprintf(error, error_size, "%s: no memory", walk->job->path);
	mr_destination_clear(destination);
	return -1;
}

int mr_explain_steps(const struct mr_explain_job *job, struct mr_destination *destination, char *error,
		     size_t error_size)
{
	struct walk *walk = calloc(1, sizeof(*walk));
	int status = -1;

	if (!walk) {
		snprintf(error, error_size, "%s: no memory", job->path);
		return -1;
	}
	if (open_walk(walk, job, error, error_size) == 0) {
		if (walk->migration->lone || !walk->migration->recording->channel_count)
			snprintf(error, error_size, "%s: expected a recording with connections, found none", job->path);
		else
			status = run(walk, destination, error, error_size);
	}
	close_walk(walk);
	return status;
}
