/* trace_actors.c: who printed which line of a trace without threads, from what each actor alone can print. */
#include "sim/record/trace_actors.h"

#include <string.h>

enum {
	LOADERS = 2, /* main and listen, who read commands and sections at the same time */
	TYPE_START = 1,
	TYPE_FULL = 4,
	TYPE_COMMAND = 8,
	PING_OF_LISTEN = 4, /* behind the package; the others come before it or in it */
};

/* What the kind of a line alone says about who printed it. */
enum owner {
	OWNER_MAIN,
	OWNER_LISTEN,
	OWNER_FAULT,
	OWNER_PREEMPT,
	OWNER_MULTIFD, /* by its channel */
	OWNER_LOADER,  /* of the main channel: main, from LISTEN on listen */
	OWNER_CLEANER, /* who ends the catching of faults: listen or main, by release */
	OWNER_PLACER,  /* who read the page */
	OWNER_FIELDS,  /* its fields say more */
};

static const enum owner owners[MR_EVENT_KIND_COUNT] = {
	[MR_EVENT_STATUS] = OWNER_FIELDS,
	[MR_EVENT_SECTION] = OWNER_FIELDS,
	[MR_EVENT_SECTION_PART] = OWNER_LOADER,
	[MR_EVENT_VMSTATE_LOAD] = OWNER_FIELDS,
	[MR_EVENT_COMMAND] = OWNER_FIELDS,
	[MR_EVENT_COMMAND_DONE] = OWNER_FIELDS,
	[MR_EVENT_PING] = OWNER_FIELDS,
	[MR_EVENT_CLEANUP_RANGE] = OWNER_CLEANER,
	[MR_EVENT_RESUME] = OWNER_LISTEN,
	[MR_EVENT_LISTEN_START] = OWNER_LISTEN,
	[MR_EVENT_LISTEN_EXIT] = OWNER_LISTEN,
	[MR_EVENT_FAULT_ENTRY] = OWNER_FAULT,
	[MR_EVENT_FAULT_QUIT] = OWNER_FAULT,
	[MR_EVENT_FAULT_EXIT] = OWNER_FAULT,
	[MR_EVENT_PREEMPT_ENTRY] = OWNER_PREEMPT,
	[MR_EVENT_PREEMPT_EXIT] = OWNER_PREEMPT,
	[MR_EVENT_RAM_START] = OWNER_LOADER,
	[MR_EVENT_RAM_PAGE] = OWNER_LOADER,
	[MR_EVENT_RAM_POSTCOPY] = OWNER_FIELDS,
	[MR_EVENT_RAM_LOADED] = OWNER_LOADER,
	[MR_EVENT_PLACED] = OWNER_PLACER,
	[MR_EVENT_PLACE_ZERO] = OWNER_PLACER,
	[MR_EVENT_FAULT] = OWNER_FAULT,
	[MR_EVENT_REQUEST_ADDED] = OWNER_FAULT,
	[MR_EVENT_REQUEST_DONE] = OWNER_PLACER,
	[MR_EVENT_REQUEST_AGAIN] = OWNER_LISTEN,
	[MR_EVENT_MESSAGE] = OWNER_FIELDS,
	[MR_EVENT_BITMAP] = OWNER_LISTEN,
	[MR_EVENT_BITMAP_SENT] = OWNER_LISTEN,
	[MR_EVENT_PAUSE] = OWNER_LISTEN,
	[MR_EVENT_PAUSE_CONTINUED] = OWNER_LISTEN,
	[MR_EVENT_FAULT_PARKED] = OWNER_FAULT,
	[MR_EVENT_FAULT_CONTINUED] = OWNER_FAULT,
	[MR_EVENT_PREEMPT_PARKED] = OWNER_PREEMPT,
	[MR_EVENT_PREEMPT_CONTINUED] = OWNER_PREEMPT,
	[MR_EVENT_CLEANUP_ENTRY] = OWNER_CLEANER,
	[MR_EVENT_CLEANUP_JOIN] = OWNER_CLEANER,
	[MR_EVENT_CLEANUP_CLOSE] = OWNER_CLEANER,
	[MR_EVENT_CLEANUP_EXIT] = OWNER_CLEANER,
	[MR_EVENT_STATE_CLEANUP] = OWNER_CLEANER,
	[MR_EVENT_MULTIFD_START] = OWNER_MULTIFD,
	[MR_EVENT_MULTIFD_PACKET] = OWNER_MULTIFD,
	[MR_EVENT_MULTIFD_END] = OWNER_MULTIFD,
	[MR_EVENT_MULTIFD_SYNC] = OWNER_LOADER,
	[MR_EVENT_BLOCKTIME_BEGIN] = OWNER_FAULT,
	[MR_EVENT_BLOCKTIME_END] = OWNER_PLACER,
};

/* ---- First pass: what a line and those before it say ---- */

/* The latest page record that a RAM channel's loader has told and not placed yet. */
struct record {
	bool is_open;
	uint64_t offset;
};

struct phase {
	bool listening, running, exited, resumed, cleaning;
	bool loader_failed; /* the latest body of the listen loader */
	unsigned cleaner;
	struct record records[LOADERS]; /* of main and preempt channel */
	bool part_is_open;              /* a section of the listen loader waits for its VMSTATE_LOAD */
	bool start_is_open;             /* a section of the main loader: `started` */
	struct mr_bytes started;
};

static bool equal(struct mr_bytes a, struct mr_bytes b)
{
	return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

static bool is_text(struct mr_bytes bytes, const char *text)
{
	return equal(bytes, (struct mr_bytes){(const uint8_t *)text, strlen(text)});
}

static unsigned loader(const struct phase *phase)
{
	return phase->listening ? MR_ACTOR_LISTEN : MR_ACTOR_MAIN;
}

static unsigned status_actor(struct phase *phase, enum mr_status status)
{
	switch (status) {
	case MR_STATUS_POSTCOPY_DEVICE:
	case MR_STATUS_POSTCOPY_PAUSED:
		return MR_ACTOR_LISTEN;
	case MR_STATUS_POSTCOPY_ACTIVE:
		return phase->running && !phase->resumed ? MR_ACTOR_MAIN : MR_ACTOR_LISTEN;
	case MR_STATUS_COMPLETED:
		if (!phase->exited)
			return MR_ACTOR_MAIN;
		/* Releases that are completed before the cleanup leave that to the main loop. */
		if (!phase->cleaning)
			phase->cleaner = MR_ACTOR_MAIN;
		return MR_ACTOR_LISTEN;
	case MR_STATUS_FAILED:
		if (phase->exited || phase->loader_failed)
			return MR_ACTOR_LISTEN;
		return phase->listening ? MR_ACTOR_UNKNOWN : MR_ACTOR_MAIN;
	default:
		return MR_ACTOR_MAIN;
	}
}

static unsigned section_actor(const struct phase *phase, uint64_t type)
{
	if (!phase->listening || type == TYPE_START || type == TYPE_FULL)
		return MR_ACTOR_MAIN;
	return type == TYPE_COMMAND ? MR_ACTOR_UNKNOWN : MR_ACTOR_LISTEN;
}

static unsigned load_actor(struct phase *phase, struct mr_bytes text)
{
	if (phase->start_is_open && equal(text, phase->started)) {
		phase->start_is_open = false;
		return MR_ACTOR_MAIN;
	}
	if (phase->listening && (phase->part_is_open || is_text(text, "ram"))) {
		phase->part_is_open = false;
		return MR_ACTOR_LISTEN;
	}
	return MR_ACTOR_MAIN;
}

static unsigned command_actor(const struct phase *phase, uint64_t number)
{
	if (!phase->listening)
		return MR_ACTOR_MAIN;
	switch (number) {
	case MR_COMMAND_PING:
		return MR_ACTOR_UNKNOWN;
	case MR_COMMAND_RECV_BITMAP:
	case MR_COMMAND_POSTCOPY_RESUME:
		return MR_ACTOR_LISTEN;
	default:
		return MR_ACTOR_MAIN;
	}
}

static unsigned message_actor(const struct phase *phase, uint64_t type)
{
	switch (type) {
	case MR_RETURN_SHUT:
		return phase->cleaner;
	case MR_RETURN_PONG:
		return phase->listening ? MR_ACTOR_UNKNOWN : MR_ACTOR_MAIN;
	case MR_RETURN_REQ_PAGES_ID:
	case MR_RETURN_REQ_PAGES:
		return MR_ACTOR_FAULT;
	case MR_RETURN_RECV_BITMAP:
	case MR_RETURN_RESUME_ACK:
		return MR_ACTOR_LISTEN;
	default:
		return MR_ACTOR_MAIN;
	}
}

/* The loader whose open record is the last of the page, which begins there. */
static unsigned placer(struct phase *phase, const struct mr_event *event)
{
	static const unsigned actors[LOADERS] = {MR_ACTOR_LISTEN, MR_ACTOR_PREEMPT};
	uint64_t nearest = UINT64_MAX;
	unsigned found = LOADERS;
	bool is_tied = false;

	for (unsigned i = 0; i < LOADERS; i++) {
		const struct record *record = &phase->records[i];

		if (!record->is_open || record->offset < event->offset)
			continue;
		if (record->offset - event->offset < nearest) {
			nearest = record->offset - event->offset;
			found = i;
			is_tied = false;
		} else {
			is_tied = record->offset - event->offset == nearest;
		}
	}
	if (found == LOADERS || is_tied)
		return MR_ACTOR_UNKNOWN;
	if (event->kind == MR_EVENT_PLACED)
		phase->records[found].is_open = false;
	return actors[found];
}

static unsigned fields_actor(struct phase *phase, const struct mr_event *event)
{
	switch (event->kind) {
	case MR_EVENT_STATUS:
		return status_actor(phase, event->status);
	case MR_EVENT_SECTION:
		return section_actor(phase, event->value);
	case MR_EVENT_VMSTATE_LOAD:
		return load_actor(phase, event->text);
	case MR_EVENT_COMMAND:
		return command_actor(phase, event->value);
	case MR_EVENT_COMMAND_DONE:
		return !phase->listening || event->result == 1 ? MR_ACTOR_MAIN : MR_ACTOR_UNKNOWN;
	case MR_EVENT_PING:
		return phase->listening && event->value == PING_OF_LISTEN ? MR_ACTOR_LISTEN : MR_ACTOR_MAIN;
	case MR_EVENT_MESSAGE:
		return message_actor(phase, event->value);
	default: /* RAM_POSTCOPY */
		return event->channel == 1 ? MR_ACTOR_PREEMPT : MR_ACTOR_LISTEN;
	}
}

/* What the line changes for those behind it. */
static void advance(struct phase *phase, const struct mr_event *event)
{
	switch (event->kind) {
	case MR_EVENT_ENABLE_NOTIFY:
	case MR_EVENT_LISTEN_READY:
	case MR_EVENT_LISTEN_START:
		phase->listening = true;
		break;
	case MR_EVENT_LISTEN_EXIT:
		phase->exited = true;
		phase->cleaner = MR_ACTOR_LISTEN;
		break;
	case MR_EVENT_CLEANUP_ENTRY:
		phase->cleaning = true;
		break;
	case MR_EVENT_RUN:
		phase->running = true;
		break;
	case MR_EVENT_COMMAND:
		if (event->value == MR_COMMAND_POSTCOPY_RESUME)
			phase->resumed = true;
		break;
	case MR_EVENT_SECTION_START:
		phase->start_is_open = true;
		phase->started = event->text;
		break;
	case MR_EVENT_SECTION_PART:
		phase->part_is_open = true;
		break;
	case MR_EVENT_RAM_POSTCOPY:
		phase->records[event->channel == 1] = (struct record){
			.is_open = !(event->value & MR_RAM_FLAG_EOS),
			.offset = event->offset,
		};
		break;
	case MR_EVENT_RAM_LOADED:
		phase->loader_failed = phase->listening && event->result < 0;
		break;
	default:
		break;
	}
}

static unsigned line_actor(struct phase *phase, const struct mr_event *event)
{
	switch (owners[event->kind]) {
	case OWNER_LISTEN:
		return MR_ACTOR_LISTEN;
	case OWNER_FAULT:
		return MR_ACTOR_FAULT;
	case OWNER_PREEMPT:
		return MR_ACTOR_PREEMPT;
	case OWNER_MULTIFD:
		return MR_ACTOR_MULTIFD + event->channel;
	case OWNER_LOADER:
		return loader(phase);
	case OWNER_CLEANER:
		return phase->cleaner;
	case OWNER_PLACER:
		return placer(phase, event);
	case OWNER_FIELDS:
		return fields_actor(phase, event);
	default:
		return MR_ACTOR_MAIN;
	}
}

/* ---- Commands and pings, which both loaders print alike while a package is loaded ---- */

/* A loader that may have printed a line. */
struct waiting {
	bool may;
	uint64_t since; /* lines of the way: the lower, the longer it has waited */
};

/*
 * Who of the two printed events[at], if both may have. Lines of equal text can be exchanged, as long as each stands
 * between the other lines of its actor: with the next of them on the way the choice is made. If another such line comes
 * before that, the choice is free, and who has waited longer goes first.
 */
static unsigned choose(const struct waiting loaders[LOADERS], const struct mr_event *events, size_t at, size_t count,
		       bool is_forward)
{
	const struct waiting *main = &loaders[MR_ACTOR_MAIN];
	const struct waiting *listen = &loaders[MR_ACTOR_LISTEN];
	const unsigned longer = listen->since < main->since ? MR_ACTOR_LISTEN : MR_ACTOR_MAIN;

	if (!main->may || !listen->may)
		return main->may ? MR_ACTOR_MAIN : listen->may ? MR_ACTOR_LISTEN : MR_ACTOR_UNKNOWN;
	for (size_t i = at; is_forward ? i + 1 < count : i > 0;) {
		i = is_forward ? i + 1 : i - 1;
		if (events[i].actor <= MR_ACTOR_LISTEN)
			return events[i].actor;
		if (events[i].actor == MR_ACTOR_UNKNOWN && events[i].kind == events[at].kind)
			return longer;
	}
	return longer;
}

static void want(struct waiting *waiting, uint64_t since)
{
	if (!waiting->may)
		*waiting = (struct waiting){.may = true, .since = since};
}

/* Second pass, backwards: lines that belong to whoever prints the line that must follow. */
static void resolve_beginnings(struct mr_event *events, size_t count)
{
	struct waiting commands[LOADERS] = {0};
	struct waiting sections[LOADERS] = {0};
	uint64_t messages = 0; /* of the listen loader: requests that are sent again */

	for (size_t i = count; i-- > 0;) {
		struct mr_event *event = &events[i];

		if (event->kind == MR_EVENT_REQUEST_AGAIN) {
			messages++;
		} else if (event->kind == MR_EVENT_MESSAGE && event->actor == MR_ACTOR_FAULT && messages > 0) {
			event->actor = MR_ACTOR_LISTEN;
			messages--;
		} else if (event->kind == MR_EVENT_PING && event->actor < LOADERS) {
			want(&commands[event->actor], count - i);
		} else if (event->kind == MR_EVENT_COMMAND) {
			if (event->actor == MR_ACTOR_UNKNOWN)
				event->actor = choose(commands, events, i, count, false);
			if (event->actor < LOADERS) {
				commands[event->actor].may = false;
				want(&sections[event->actor], count - i);
			}
		} else if (event->kind == MR_EVENT_SECTION) {
			if (event->actor == MR_ACTOR_UNKNOWN)
				event->actor = choose(sections, events, i, count, false);
			if (event->actor < LOADERS)
				sections[event->actor].may = false;
		}
	}
}

/* How far a loader is with its command. */
struct command {
	uint64_t number;       /* 0: none */
	bool has_pinged;       /* the answer is to follow */
	bool is_ready;         /* its end is to follow */
	uint64_t since;        /* line that made it so */
	bool package_is_ready; /* the end of the package around it, too */
};

static void follow(struct command *command, const struct mr_event *event, bool has_return)
{
	command->since = event->line;
	switch (event->kind) {
	case MR_EVENT_COMMAND:
		command->number = event->value;
		command->has_pinged = false;
		command->is_ready = event->value != MR_COMMAND_PING && event->value != MR_COMMAND_PACKAGED &&
				    (event->value != MR_COMMAND_POSTCOPY_LISTEN || !has_return);
		break;
	case MR_EVENT_PING:
		command->has_pinged = true;
		break;
	case MR_EVENT_MESSAGE:
		if (event->value == MR_RETURN_PONG && command->has_pinged)
			command->is_ready = true;
		break;
	case MR_EVENT_LISTEN_RETURN:
		command->is_ready = true;
		break;
	case MR_EVENT_PACKAGE_DONE:
		command->package_is_ready = true;
		break;
	case MR_EVENT_COMMAND_DONE:
		if (!command->is_ready)
			command->package_is_ready = false;
		command->number = 0;
		command->has_pinged = false;
		command->is_ready = false;
		break;
	default:
		break;
	}
}

/* Third pass, forwards: lines that belong to whoever has printed the line that comes before. */
static void resolve_ends(struct mr_event *events, size_t count, bool has_return)
{
	struct command commands[LOADERS] = {0};

	for (size_t i = 0; i < count; i++) {
		struct mr_event *event = &events[i];
		struct waiting loaders[LOADERS];

		if (event->actor == MR_ACTOR_UNKNOWN &&
		    (event->kind == MR_EVENT_MESSAGE || event->kind == MR_EVENT_COMMAND_DONE)) {
			for (unsigned actor = 0; actor < LOADERS; actor++) {
				const struct command *command = &commands[actor];

				loaders[actor].since = command->since;
				loaders[actor].may = event->kind == MR_EVENT_MESSAGE
							     ? command->has_pinged && !command->is_ready
							     : command->is_ready || command->package_is_ready;
			}
			event->actor = choose(loaders, events, i, count, true);
		}
		if (event->actor < LOADERS)
			follow(&commands[event->actor], event, has_return);
	}
}

void mr_trace_infer_actors(struct mr_event *events, size_t count)
{
	struct phase phase = {.cleaner = MR_ACTOR_MAIN};
	bool has_return = false;

	for (size_t i = 0; i < count; i++) {
		events[i].actor = line_actor(&phase, &events[i]);
		advance(&phase, &events[i]);
		has_return |= events[i].kind == MR_EVENT_LISTEN_RETURN;
	}
	resolve_beginnings(events, count);
	resolve_ends(events, count, has_return);
}
