/* derive.c: the nondeterminism log of a destination that really ran, from its trace and its return paths. */
#include "sim/record/derive.h"
#include "sim/record/blocktime.h"
#include "sim/record/recovered.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	ERROR_IO = 5,
	ERROR_EXISTS = 17,
	ERROR_INVALID = 22,
	WAIT_DEPTH_MAX = 8,     /* actors that wait for each other, in a chain */
	WAIT_ROUNDS_MAX = 4096, /* steps until one of them is an action of who is to go on */
	LOOK_AHEAD = 64,        /* lines between a page's mark and that its waits were counted */
	NUDGES = 2,             /* loaders that wait for each other's ends need another turn */
	RECORD_HEADER = 8,      /* first word of a page record, bytes: what QEMU's line shows is in it */
	NOBODY = MR_ACTOR_COUNT,
};

/* A message that an actor is about to send: made, but not sent yet. */
struct message {
	bool made;   /* the machine waits for it to be sent */
	bool window; /* its line was printed, the actor's next one was not: it is sent somewhere between */
	uint32_t channel;
	uint8_t *bytes;
	size_t length;
	struct mr_action action; /* `send.bytes` are `bytes` */
};

/* What an actor's actions made it print that the trace has not shown yet, and where it stands. */
struct follower {
	struct mr_event *expected;
	size_t first, count, capacity;
	struct message message;
	bool acted;
	bool resends; /* its last action was RESUME_ACK, or asked once more for a page: others may follow */
	bool busy;    /* it is going on: others who wait for it cannot make it */
	bool waited;  /* since its last action it came to where it waits for `wants`, or ends */
	struct mr_wants wants;
	uint32_t connection; /* of a receiver of multifd, + 1; 0: not known yet */
	bool placed;         /* PLACE was done, its mark was not */
	uint32_t block;
	uint64_t offset;
};

/* A fault that was printed, until the trace has shown what became of it. */
struct told_fault {
	bool waiting;
	bool told; /* the machine knows of it already, and has not decided */
	bool dropped;
	bool kept; /* the handler sleeps with it, undecided: it is dropped when he goes on */
	bool repeated;
	uint32_t block;
	uint64_t offset, thread;
};

struct derive {
	struct mr_log *log;
	struct mr_derivation *result;
	struct mr_world *world;
	struct mr_trace *trace;
	size_t *next; /* of each line: the same actor's next one that some action prints, the trace's count if none */
	size_t line;
	struct follower *followers;
	struct mr_recent *recent;
	struct told_fault fault;
	size_t ahead;                     /* the handler's lines before this one were taken before others */
	struct mr_blocktime_clock *clock; /* NULL: nothing is timed */
	uint32_t next_channel;            /* connection to accept next */
	uint32_t main_channel, preempt_channel;
	uint32_t cut_channel; /* the last one whose end the trace showed inside a record */
	bool loaded;          /* the trace showed that all is loaded: receivers are told to end */
	/* without a trace */
	struct mr_recovered recovered; /* behind `recovered_from`, the main channel then */
	uint32_t recovered_from;
	struct told_fault *asked; /* all faults that were told */
	size_t asked_count, asked_capacity;
	bool pausing; /* the listen loader has seen the end, and not yet taken the preempt loader's channel */
	bool gave_up; /* and has given up the return path */
	bool no_memory;
};

static struct mr_incoming *machine(const struct derive *derive)
{
	return derive->world->incoming;
}

static const struct mr_event *line_at(const struct derive *derive, size_t line)
{
	return derive->trace && line < derive->trace->count ? &derive->trace->events[line] : NULL;
}

static bool is_traced(const struct derive *derive, enum mr_event_kind kind)
{
	return derive->trace && derive->trace->seen[kind];
}

static bool has_failed(const struct derive *derive)
{
	return derive->no_memory || derive->world->failed;
}

/* ---- The log ---- */

static void note(struct derive *derive, const struct mr_log_record *record)
{
	if (mr_log_append(derive->log, record) < 0)
		derive->no_memory = true;
}

static void note_step(struct derive *derive, unsigned actor)
{
	derive->followers[actor].waited = false;
	derive->followers[actor].acted = true;
	note(derive, &(struct mr_log_record){.kind = MR_LOG_STEP, .actor = actor, .count = 1});
}

/* That an actor came to where it waits may be what lets another one begin or end; it is told once for each place. */
static void note_wait(struct derive *derive, unsigned actor, struct mr_wants wants)
{
	struct follower *follower = &derive->followers[actor];

	if (follower->waited && follower->wants.wait == wants.wait && follower->wants.actor == wants.actor)
		return;
	follower->waited = true;
	follower->wants = wants;
	note(derive, &(struct mr_log_record){.kind = MR_LOG_WAIT, .actor = actor});
}

static void connect_next(struct derive *derive)
{
	const uint32_t channel = derive->next_channel;
	enum mr_role role;

	if (channel >= derive->world->connection_count)
		return;
	derive->next_channel++;
	role = derive->world->connections[channel].role;
	if (mr_world_connect(derive->world, channel, role) < 0)
		return;
	if (role == MR_ROLE_PREEMPT)
		derive->preempt_channel = channel;
	else if (role != MR_ROLE_MULTIFD)
		derive->main_channel = channel;
	note(derive, &(struct mr_log_record){.kind = MR_LOG_OPEN, .channel = channel, .role = role});
}

static void end_channel(struct derive *derive, uint32_t channel, uint64_t bytes, int error)
{
	if (mr_world_end(derive->world, channel, bytes, error) == 0)
		note(derive,
		     &(struct mr_log_record){.kind = MR_LOG_END, .channel = channel, .bytes = bytes, .error = error});
}

/* ---- Blocktime ---- */

static void note_time(struct derive *derive, uint64_t nanoseconds)
{
	if (mr_blocktime_clock_set(derive->clock, nanoseconds))
		note(derive, &(struct mr_log_record){.kind = MR_LOG_TIME, .count = nanoseconds});
	mr_incoming_set_time(machine(derive), nanoseconds);
}

/* A vCPU's thread is told once. */
static void note_vcpu(struct derive *derive, int64_t index, uint64_t thread)
{
	if (!derive->clock || index < 0 || index > UINT32_MAX || thread > INT64_MAX ||
	    !mr_blocktime_clock_names(derive->clock, (uint32_t)index, thread))
		return;
	mr_incoming_vcpu(machine(derive), (uint32_t)index, thread);
	note(derive, &(struct mr_log_record){.kind = MR_LOG_VCPU, .count = (uint64_t)index, .thread = thread});
}

/* The line that tells when the fault at hand began: before the next one of its actor that an action prints. */
static const struct mr_event *begin_line(struct derive *derive)
{
	const struct mr_event *line = line_at(derive, derive->line);
	const struct mr_event *begin = mr_blocktime_clock_line(derive->clock, derive->line, MR_ACTOR_FAULT);

	if (!line || line->actor != MR_ACTOR_FAULT || !begin || begin->kind != MR_EVENT_BLOCKTIME_BEGIN)
		return NULL;
	return begin < &derive->trace->events[derive->next[derive->line]] ? begin : NULL;
}

/* What the actor does next may begin or end a wait: it does so when the trace says. */
static void take_time(struct derive *derive, unsigned actor)
{
	const struct follower *follower = &derive->followers[actor];
	const struct mr_event *line;

	if (!derive->clock)
		return;
	if (follower->placed && mr_blocktime_clock_matters(derive->clock, machine(derive))) {
		line = mr_blocktime_clock_line(derive->clock, derive->line, actor);
		if (line && line->kind == MR_EVENT_BLOCKTIME_END && line->block == follower->block &&
		    line->offset == follower->offset)
			note_time(derive, mr_blocktime_clock_at(derive->clock, line));
	} else if (actor == MR_ACTOR_FAULT && !follower->placed) {
		line = begin_line(derive);
		if (line)
			note_time(derive, mr_blocktime_clock_at(derive->clock, line));
	}
}

/* ---- Differences ---- */

static void differ(struct derive *derive, unsigned actor, const struct mr_event *made, const char *reason)
{
	if (derive->trace && !derive->result->difference.found)
		mr_difference_set(&derive->result->difference, derive->trace, derive->line, machine(derive),
				  derive->recent, actor, made, reason);
}

/* Why an actor made no action, in a few words. */
static const char *describe_wait(const struct derive *derive, unsigned actor)
{
	static const char *const waits[] = {
		[MR_WAIT_NOTHING] = "it has ended, or never began",
		[MR_WAIT_COMPLETION] = "it waits for an action to be carried out",
		[MR_WAIT_CHANNEL] = "it waits for a connection",
		[MR_WAIT_FAULT] = "it waits for a fault",
		[MR_WAIT_RELEASE] = "it sleeps until it is released",
		[MR_WAIT_ACTOR] = "it waits for another actor",
		[MR_WAIT_REQUESTS] = "it waits for the last page that was asked for",
	};
	const enum mr_wait wait = mr_incoming_wants(machine(derive), actor).wait;

	return (size_t)wait < sizeof(waits) / sizeof(waits[0]) ? waits[wait] : "it waits";
}

/* ---- Messages ---- */

static bool is_next_recorded(const struct derive *derive, const struct message *message)
{
	const struct mr_world_connection *connection;

	if (message->channel >= derive->world->connection_count)
		return true;
	connection = &derive->world->connections[message->channel];
	if (!connection->has_return)
		return true;
	return connection->recorded.length >= connection->sent_length &&
	       connection->recorded.length - connection->sent_length >= message->length &&
	       memcmp(connection->recorded.data + connection->sent_length, message->bytes, message->length) == 0;
}

/* Of a message that could not be sent a part may have been: the return path ends behind it. False if there is none. */
static bool end_return(struct derive *derive, const struct message *message)
{
	const struct mr_world_connection *connection;
	size_t part;

	if (message->channel >= derive->world->connection_count)
		return false;
	connection = &derive->world->connections[message->channel];
	part = connection->recorded.length - connection->sent_length;
	if (connection->recorded.length <= connection->sent_length || part >= message->length ||
	    memcmp(connection->recorded.data + connection->sent_length, message->bytes, part) != 0)
		return false;
	mr_world_end_return(derive->world, message->channel, connection->recorded.length);
	note(derive, &(struct mr_log_record){.kind = MR_LOG_RETURN_END,
					     .channel = message->channel,
					     .bytes = connection->recorded.length});
	return true;
}

static void commit(struct derive *derive, unsigned actor, int error)
{
	struct message *message = &derive->followers[actor].message;

	message->made = false;
	if (error && !end_return(derive, message))
		note(derive, &(struct mr_log_record){.kind = MR_LOG_ERROR, .actor = actor, .error = error});
	else
		error = mr_world_carry_out(derive->world, &message->action);
	note_step(derive, actor);
	mr_incoming_complete(machine(derive), actor, error);
}

/* Sends what the recorded bytes say was sent next, as long as they do. */
static void commit_recorded(struct derive *derive)
{
	bool again = true;

	while (again) {
		again = false;
		for (unsigned i = 0; i < MR_ACTOR_MULTIFD; i++) {
			const struct message *message = &derive->followers[i].message;

			if (message->made && message->window && is_next_recorded(derive, message)) {
				commit(derive, i, 0);
				again = true;
			}
		}
	}
}

static bool is_request(const struct mr_event *line)
{
	return line && line->kind == MR_EVENT_MESSAGE &&
	       (line->value == MR_RETURN_REQ_PAGES || line->value == MR_RETURN_REQ_PAGES_ID);
}

static size_t find_kind(const struct derive *derive, size_t at, enum mr_event_kind kind)
{
	while (line_at(derive, at) && line_at(derive, at)->kind != kind)
		at++;
	return at;
}

/*
 * A request that could not be sent: its actor goes to sleep instead of on, though nothing has paused yet, or sends it
 * once more when it wakes. What was sent before it went to sleep only the listen loader sends again.
 */
static bool is_refused(const struct derive *derive, unsigned actor)
{
	bool paused = mr_incoming_status(machine(derive)) == MR_STATUS_POSTCOPY_PAUSED;
	size_t at = derive->line;
	const struct mr_event *line;

	if (actor != MR_ACTOR_FAULT || !derive->trace)
		return false;
	while ((line = line_at(derive, at)) && (line->kind != MR_EVENT_FAULT || at < derive->ahead) &&
	       line->kind != MR_EVENT_FAULT_PARKED) {
		paused |= line->kind == MR_EVENT_PAUSE;
		at++;
	}
	if (!line || line->kind == MR_EVENT_FAULT)
		return false;
	at = find_kind(derive, at, MR_EVENT_FAULT_CONTINUED);
	return !paused || !line_at(derive, at) || is_request(line_at(derive, derive->next[at]));
}

/* The actor goes on, so its message is out by now. */
static void force(struct derive *derive, unsigned actor)
{
	struct message *message = &derive->followers[actor].message;

	commit_recorded(derive);
	if (message->made)
		commit(derive, actor, is_refused(derive, actor) ? ERROR_IO : 0);
	message->window = false;
}

/* The line of a message was printed: from now on it may be sent. */
static void open_window(struct derive *derive, unsigned actor)
{
	struct follower *follower = &derive->followers[actor];

	if (!follower->message.made)
		return;
	for (unsigned i = 0; i < MR_ACTOR_MULTIFD; i++)
		if (i != actor && derive->followers[i].message.window &&
		    derive->followers[i].message.channel == follower->message.channel)
			derive->result->ties++;
	follower->message.window = true;
	commit_recorded(derive);
}

static void keep_message(struct derive *derive, const struct mr_action *action)
{
	struct message *message = &derive->followers[action->actor].message;
	uint8_t *bytes = realloc(message->bytes, action->send.bytes.length + 1);

	if (!bytes) {
		derive->no_memory = true;
		return;
	}
	memcpy(bytes, action->send.bytes.data, action->send.bytes.length);
	message->bytes = bytes;
	message->length = action->send.bytes.length;
	message->channel = action->send.channel;
	message->made = true;
	message->window = false;
	message->action = *action;
	message->action.send.bytes.data = bytes;
}

/* ---- Actions ---- */

static void expect(struct derive *derive, struct follower *follower, const struct mr_event *event)
{
	if (follower->first == follower->count)
		follower->first = follower->count = 0;
	if (follower->count == follower->capacity) {
		const size_t capacity = 2 * follower->capacity + MR_EVENTS_PER_ACTION;
		struct mr_event *larger = realloc(follower->expected, capacity * sizeof(*larger));

		if (!larger) {
			derive->no_memory = true;
			return;
		}
		follower->expected = larger;
		follower->capacity = capacity;
	}
	follower->expected[follower->count++] = *event;
}

static void remember_placement(struct follower *follower, const struct mr_action *action)
{
	if (action->kind != MR_ACTION_PLACE && action->kind != MR_ACTION_MARKED)
		return;
	follower->placed = action->kind == MR_ACTION_PLACE;
	follower->block = action->placed.block;
	follower->offset = action->placed.offset;
}

/* An action was made: its lines are expected from now on, and it is carried out, unless it is a message with a line. */
static void take_action(struct derive *derive, const struct mr_action *action)
{
	struct follower *follower = &derive->followers[action->actor];
	struct mr_event events[MR_EVENTS_PER_ACTION];
	const size_t count = mr_action_events(machine(derive), action, events);
	bool has_line = false;

	mr_difference_follow(&derive->result->difference, machine(derive), action);
	mr_recent_add(derive->recent, machine(derive), action);
	for (size_t i = 0; i < count; i++) {
		if (!is_traced(derive, events[i].kind))
			continue;
		events[i].actor = action->actor;
		expect(derive, follower, &events[i]);
		has_line = true;
	}
	remember_placement(follower, action);
	if (action->actor >= MR_ACTOR_MULTIFD && action->channel < derive->world->connection_count)
		follower->connection = action->channel + 1;
	if (action->actor == MR_ACTOR_LISTEN && (action->kind == MR_ACTION_PAUSE || action->kind == MR_ACTION_PARK))
		derive->pausing = action->kind == MR_ACTION_PAUSE;
	if (action->actor == MR_ACTOR_LISTEN && (action->kind == MR_ACTION_PAUSE || action->kind == MR_ACTION_CLOSE))
		derive->gave_up = action->kind == MR_ACTION_CLOSE;
	follower->resends = action->kind == MR_ACTION_REQUEST_AGAIN ||
			    (action->kind == MR_ACTION_SEND && action->actor == MR_ACTOR_LISTEN &&
			     (action->send.type == MR_RETURN_RESUME_ACK || action->send.type == MR_RETURN_REQ_PAGES ||
			      action->send.type == MR_RETURN_REQ_PAGES_ID));
	if (action->kind == MR_ACTION_SEND && (has_line || !derive->trace)) {
		keep_message(derive, action);
		return;
	}
	note_step(derive, action->actor);
	if (action->asked)
		mr_incoming_complete(machine(derive), action->actor, mr_world_carry_out(derive->world, action));
}

/* An actor that is to go on, and how many of those that it waits for could not. */
struct waiting {
	unsigned actor, failures;
};

static bool is_among(const struct waiting *chain, size_t length, unsigned actor)
{
	for (size_t i = 0; i < length; i++)
		if (chain[i].actor == actor)
			return true;
	return false;
}

/* Whom the last of a chain waits for. Who could not go on is not asked again, yet may have come to where he is needed.
 */
static unsigned find_helper(struct derive *derive, struct waiting *last)
{
	const struct mr_wants wants = mr_incoming_wants(machine(derive), last->actor);
	const uint32_t before = derive->next_channel;

	switch (wants.wait) {
	case MR_WAIT_ACTOR:
		note_wait(derive, last->actor, wants);
		return last->failures ? NOBODY : wants.actor;
	case MR_WAIT_REQUESTS:
		return last->failures == 0 ? MR_ACTOR_LISTEN : last->failures == 1 ? MR_ACTOR_PREEMPT : NOBODY;
	case MR_WAIT_CHANNEL:
		connect_next(derive);
		/* He himself is whom the connection helps. */
		return derive->next_channel != before ? last->actor : NOBODY;
	case MR_WAIT_FAULT:
		note_wait(derive, last->actor, wants);
		return NOBODY;
	default:
		return NOBODY;
	}
}

/* One action of an actor; those for whom it waits go on before. False if it cannot go on. */
static bool advance(struct derive *derive, unsigned actor)
{
	struct waiting chain[WAIT_DEPTH_MAX] = {{.actor = actor}};
	size_t length = 1;

	for (unsigned round = 0; length && round < WAIT_ROUNDS_MAX && !has_failed(derive); round++) {
		struct waiting *last = &chain[length - 1];
		struct mr_action action;
		unsigned helper = NOBODY;
		enum mr_step step;

		if (derive->followers[last->actor].message.made)
			force(derive, last->actor);
		take_time(derive, last->actor);
		step = mr_world_step(derive->world, last->actor, &action);
		if (step == MR_STEP_ACTION) {
			take_action(derive, &action);
			if (length == 1)
				return !has_failed(derive);
			chain[--length - 1].failures = 0;
			continue;
		}
		if (step == MR_STEP_WAITS)
			helper = find_helper(derive, last);
		else if (derive->followers[last->actor].acted)
			note_wait(derive, last->actor, (struct mr_wants){.wait = MR_WAIT_NOTHING});
		if (helper == NOBODY) {
			if (--length)
				chain[length - 1].failures++;
		} else if (length == WAIT_DEPTH_MAX || is_among(chain, length - 1, helper)) {
			last->failures++;
		} else if (helper != last->actor) {
			chain[length++] = (struct waiting){.actor = helper};
		}
	}
	return false;
}

/* ---- Faults ---- */

static bool announce_fault(struct derive *derive)
{
	struct told_fault *fault = &derive->fault;

	while (!mr_incoming_takes_fault(machine(derive)))
		if (!advance(derive, MR_ACTOR_FAULT) && !mr_incoming_takes_fault(machine(derive))) {
			differ(derive, MR_ACTOR_FAULT, NULL, "the fault handler takes no fault");
			return false;
		}
	if (!mr_incoming_fault(machine(derive), fault->block, fault->offset, fault->thread)) {
		differ(derive, MR_ACTOR_FAULT, NULL, "a fault where none is caught");
		return false;
	}
	note(derive,
	     &(struct mr_log_record){
		     .kind = MR_LOG_FAULT, .block = fault->block, .offset = fault->offset, .thread = fault->thread});
	fault->told = true;
	return true;
}

static bool tell_fault(struct derive *derive)
{
	struct told_fault *fault = &derive->fault;

	fault->waiting = false;
	return (fault->told || announce_fault(derive)) && advance(derive, MR_ACTOR_FAULT);
}

/* Whoever has placed the page of the fault marks it, if he has not yet. */
static void mark_faulted(struct derive *derive)
{
	const struct told_fault *fault = &derive->fault;

	for (unsigned i = 0; i < MR_ACTOR_FAULT; i++) {
		const struct follower *follower = &derive->followers[i];

		if (follower->placed && follower->block == fault->block && follower->offset == fault->offset &&
		    !mr_incoming_is_received(machine(derive), fault->block, fault->offset))
			advance(derive, i);
	}
}

/*
 * A fault that led to nothing: the handler looked after the page was marked. Where the next line of the handler comes
 * before any sign of the mark, whoever has placed the page has marked it.
 */
static bool decide_dropped(struct derive *derive, bool at_once)
{
	const struct told_fault *fault = &derive->fault;

	if (at_once)
		mark_faulted(derive);
	if (!derive->fault.waiting)
		return true;
	if (at_once || mr_incoming_is_received(machine(derive), fault->block, fault->offset))
		return tell_fault(derive);
	return true;
}

/* The line tells the place twice: as an address, and as block and offset. */
static bool is_one_place(const struct derive *derive, const struct mr_event *event)
{
	const char *name = mr_incoming_block_name(machine(derive), event->block);

	for (size_t i = 0; name && i < derive->trace->block_count; i++)
		if (mr_bytes_equal_string(derive->trace->blocks[i].name, name))
			return event->address == derive->trace->blocks[i].address + event->offset;
	return false;
}

static void take_fault(struct derive *derive, const struct mr_event *event)
{
	const struct mr_event *then = line_at(derive, derive->next[derive->line]);

	if (!is_one_place(derive, event))
		differ(derive, MR_ACTOR_FAULT, NULL, "address and offset of the fault are of different places");
	derive->fault = (struct told_fault){
		.waiting = true, .block = event->block, .offset = event->offset, .thread = event->value};
	if (then && then->kind == MR_EVENT_REQUEST_ADDED)
		return;
	derive->fault.repeated = is_request(then);
	derive->fault.dropped = !derive->fault.repeated;
	derive->fault.kept = derive->fault.dropped && derive->pausing && then && then->kind == MR_EVENT_FAULT_PARKED;
	/* Where the wait begins with the fault, and not with its verdict, the line that tells its time comes first. */
	if (mr_blocktime_clock_is_early(derive->clock) && begin_line(derive))
		return;
	if (derive->fault.repeated)
		tell_fault(derive);
	else if (!derive->fault.kept)
		decide_dropped(derive, false);
}

/* A fault that was taken while the loader gave up the return path: it had not looked yet whether there is one. */
static void keep_fault(struct derive *derive)
{
	derive->fault.waiting = false;
	while (!derive->gave_up && advance(derive, MR_ACTOR_LISTEN))
		;
	if (!derive->fault.told)
		announce_fault(derive);
}

/* Up to 10.0 a wait begins here, whatever becomes of the fault. */
static void take_begin(struct derive *derive, const struct mr_event *event)
{
	struct told_fault *fault = &derive->fault;

	if (!mr_blocktime_clock_is_early(derive->clock) || !fault->waiting || fault->told ||
	    event->block != fault->block || event->offset != fault->offset)
		return;
	note_vcpu(derive, event->result, fault->thread);
	if (event->flags)
		mark_faulted(derive);
	note_time(derive, mr_blocktime_clock_at(derive->clock, event));
	if (!announce_fault(derive))
		fault->waiting = false;
	else if (fault->repeated)
		tell_fault(derive);
	else if (fault->dropped)
		decide_dropped(derive, false);
}

/* Lines that tell about blocktime: nothing the machine prints, though what it does has happened by then. */
static void take_blocktime(struct derive *derive, struct mr_event *event)
{
	if (event->kind == MR_EVENT_VCPU)
		note_vcpu(derive, event->result, event->value);
	else if (event->kind == MR_EVENT_BLOCKTIME_BEGIN)
		take_begin(derive, event);
	else if (event->actor < MR_ACTOR_FAULT && derive->followers[event->actor].placed &&
		 derive->followers[event->actor].block == event->block &&
		 derive->followers[event->actor].offset == event->offset)
		advance(derive, event->actor);
}

/* ---- Cuts ---- */

/* Whether a page record stands in the window with all its bytes; releases before the multiple methods included. */
static bool is_whole_record(struct derive *derive, uint32_t channel)
{
	const uint32_t page_size = mr_incoming_session(machine(derive))->target_page_size;
	const uint8_t *rest = NULL;
	const size_t length =
		mr_world_rest(derive->world, channel, (size_t)page_size + MR_NAME_MAX + RECORD_HEADER + 1, &rest);
	size_t needed = RECORD_HEADER;
	uint32_t flags;

	if (length < RECORD_HEADER)
		return false;
	flags = ((uint32_t)rest[6] << 8 | rest[7]) & (page_size - 1);
	if (!(flags & MR_RAM_FLAG_CONTINUE))
		needed += 1u + (length > RECORD_HEADER ? rest[RECORD_HEADER] : MR_NAME_MAX);
	needed += flags & MR_RAM_FLAG_PAGE ? page_size : 1;
	return length >= needed;
}

static uint32_t channel_of(const struct derive *derive, unsigned actor)
{
	return actor == MR_ACTOR_PREEMPT ? derive->preempt_channel : derive->main_channel;
}

static bool is_lost(int64_t result)
{
	return result < 0 && result != -ERROR_INVALID && result != -ERROR_EXISTS;
}

static bool is_failure(const struct mr_event *line)
{
	return line && (line->kind == MR_EVENT_PAUSE || line->kind == MR_EVENT_PREEMPT_PARKED ||
			(line->kind == MR_EVENT_RAM_LOADED && is_lost(line->result)));
}

/*
 * The recording may hold more bytes of a connection than the destination read before it broke. It ends where the trace
 * says that reading failed: behind the first word of a record that was begun, or where the last one ended.
 */
static void look_for_cut(struct derive *derive, const struct mr_event *event)
{
	const uint32_t channel = channel_of(derive, event->actor);
	const struct mr_event *then = line_at(derive, derive->next[derive->line]);
	const uint8_t *rest;
	uint64_t consumed;
	int error = 0;

	if (event->actor > MR_ACTOR_PREEMPT || channel >= derive->world->connection_count ||
	    channel == derive->cut_channel || derive->world->connections[channel].limit != UINT64_MAX)
		return;
	if (event->kind == MR_EVENT_RAM_LOADED && event->result != -ERROR_IO)
		error = (int)-event->result;
	if (event->kind == MR_EVENT_RAM_POSTCOPY && is_failure(then)) {
		derive->cut_channel = channel;
		consumed = mr_incoming_consumed(machine(derive), channel);
		if (is_whole_record(derive, channel))
			end_channel(derive, channel, consumed + RECORD_HEADER, error);
	} else if (is_failure(event)) {
		if (derive->followers[event->actor].placed)
			advance(derive, event->actor);
		consumed = mr_incoming_consumed(machine(derive), channel);
		if (error || mr_world_rest(derive->world, channel, RECORD_HEADER, &rest) >= RECORD_HEADER)
			end_channel(derive, channel, consumed, error);
	}
}

/* A receiver that is told to end may leave unread what came last. */
static void look_for_unread(struct derive *derive, const struct mr_event *event)
{
	const uint32_t connection = derive->followers[event->actor].connection;
	const uint8_t *rest;

	if (!derive->loaded || event->kind != MR_EVENT_MULTIFD_END || connection == 0 ||
	    derive->world->connections[connection - 1].limit != UINT64_MAX)
		return;
	if (mr_world_rest(derive->world, connection - 1, 1, &rest) > 0)
		end_channel(derive, connection - 1, mr_incoming_consumed(machine(derive), connection - 1), 0);
}

/* ---- Lines ---- */

static struct mr_event *head(struct follower *follower)
{
	return follower->first < follower->count ? &follower->expected[follower->first] : NULL;
}

/* Who prints a line of nobody known: whoever expects it, else the first whose next action makes him. */
static unsigned find_actor(struct derive *derive, const struct mr_event *event)
{
	static const unsigned order[] = {MR_ACTOR_LISTEN, MR_ACTOR_MAIN, MR_ACTOR_PREEMPT, MR_ACTOR_FAULT};

	for (unsigned i = 0; i < MR_ACTOR_COUNT; i++) {
		const struct mr_event *expected = head(&derive->followers[i]);

		if (expected && mr_event_equal(expected, event))
			return i;
	}
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		struct follower *follower = &derive->followers[order[i]];

		while (!head(follower) && !follower->message.made && advance(derive, order[i]))
			;
		if (head(follower) && mr_event_equal(head(follower), event))
			return order[i];
	}
	return MR_ACTOR_MAIN;
}

/* One action of a loader that others may wait for, or the way to where it waits itself. False if it made none. */
static bool nudge(struct derive *derive, unsigned actor)
{
	struct follower *follower = &derive->followers[actor];
	struct mr_action action;
	enum mr_step step;

	if (head(follower) || follower->message.made || has_failed(derive))
		return false;
	step = mr_world_step(derive->world, actor, &action);
	if (step == MR_STEP_ACTION)
		take_action(derive, &action);
	else if (follower->acted)
		note_wait(derive, actor, mr_incoming_wants(machine(derive), actor));
	return step == MR_STEP_ACTION;
}

/*
 * The actor goes on until it would print something. It cannot before it is begun, released, or told to end: by a
 * loader, in actions that print nothing.
 */
static struct mr_event *reach_line(struct derive *derive, unsigned actor)
{
	struct follower *follower = &derive->followers[actor];

	while (!head(follower)) {
		bool moved = advance(derive, actor);

		for (unsigned i = 0; !moved && i < NUDGES * MR_ACTOR_FAULT; i++)
			moved = i % MR_ACTOR_FAULT != actor &&
				(nudge(derive, i % MR_ACTOR_FAULT) || advance(derive, actor));
		if (!moved)
			return NULL;
	}
	return head(follower);
}

static void match(struct derive *derive, const struct mr_event *event)
{
	struct follower *follower = &derive->followers[event->actor];
	const struct mr_event *expected = reach_line(derive, event->actor);

	if (!expected) {
		differ(derive, event->actor, NULL, describe_wait(derive, event->actor));
		return;
	}
	if (!mr_event_equal(expected, event))
		differ(derive, event->actor, expected, NULL);
	/* A line of another kind is left out, so that the rest can still be followed. */
	if (expected->kind != event->kind)
		return;
	follower->first++;
	if (event->kind == MR_EVENT_MESSAGE || event->kind == MR_EVENT_BITMAP)
		open_window(derive, event->actor);
}

/* The handler has a fault in hand, and its message is still to be printed. */
static bool owes_request(const struct derive *derive)
{
	const struct mr_event *line;

	for (size_t at = derive->line; (line = line_at(derive, at)); at++) {
		if (line->kind == MR_EVENT_FAULT || line->kind == MR_EVENT_FAULT_PARKED)
			return false;
		if (line->actor == MR_ACTOR_FAULT && is_request(line))
			return true;
	}
	return false;
}

static bool is_place(const struct mr_event *event, uint32_t block, uint64_t offset)
{
	return event->block == block && event->offset == offset;
}

static void take_line(struct derive *derive, struct mr_event *event);

/* The handler's lines behind this one, up to another one that is not taken yet. */
static void take_ahead(struct derive *derive, size_t end)
{
	const size_t line = derive->line;

	while (++derive->line < end)
		if (derive->trace->events[derive->line].actor == MR_ACTOR_FAULT && derive->line >= derive->ahead)
			take_line(derive, &derive->trace->events[derive->line]);
	derive->line = line;
	derive->ahead = end;
}

/*
 * The handler looks for the return path, takes a fault, and prints it. Where a pause came between: behind the lines
 * that tell of the fault. 0 if none came.
 */
static size_t find_late_fault(const struct derive *derive)
{
	const struct mr_event *line;
	size_t end = 0;

	for (size_t at = derive->line + 1; (line = line_at(derive, at)) && line->kind != MR_EVENT_ACCEPTED; at++) {
		if (line->actor != MR_ACTOR_FAULT)
			continue;
		if (is_request(line))
			return end;
		if (line->kind == MR_EVENT_FAULT_PARKED || (line->kind == MR_EVENT_FAULT && end))
			return 0;
		if (line->kind == MR_EVENT_FAULT || (line->kind == MR_EVENT_BLOCKTIME_BEGIN && end))
			end = at + 1;
	}
	return 0;
}

/*
 * The loader closes the connection now. A request that the handler was about to make by then counts as made before, and
 * sent as far as it could be: it makes no other one, where it looks first whether there is somebody to ask.
 */
static void settle_before_pause(struct derive *derive)
{
	struct message *message = &derive->followers[MR_ACTOR_FAULT].message;
	const size_t late = find_late_fault(derive);
	bool owes = owes_request(derive);

	if (!owes && !derive->fault.waiting && late) {
		if (message->made)
			force(derive, MR_ACTOR_FAULT);
		take_ahead(derive, late);
		owes = true;
	}
	if (owes && derive->fault.waiting && !derive->fault.dropped)
		tell_fault(derive);
	if (owes && !message->made)
		advance(derive, MR_ACTOR_FAULT);
	if (message->made)
		force(derive, MR_ACTOR_FAULT);
}

/* The line that tells that this page's waits were counted, which may come late. NULL: none does. */
static const struct mr_event *find_counted(const struct derive *derive, const struct mr_event *done)
{
	const struct mr_event *event;

	for (size_t at = derive->line + 1; at < derive->line + LOOK_AHEAD && (event = line_at(derive, at)); at++)
		if (event->kind == MR_EVENT_BLOCKTIME_END && event->actor == done->actor &&
		    is_place(event, done->block, done->offset))
			return event;
	return NULL;
}

/* Whether the vCPU waits for the page, by the line that told where it began to wait last. */
static bool waits_for(const struct derive *derive, int64_t vcpu, const struct mr_event *done)
{
	for (size_t at = derive->line; at-- > 0;) {
		const struct mr_event *event = line_at(derive, at);

		if (event->kind == MR_EVENT_BLOCKTIME_BEGIN && event->result == vcpu)
			return is_place(event, done->block, done->offset);
	}
	return false;
}

/*
 * Behind the last line by which a vCPU that waits for this page begins to wait for another one, before the waits for
 * this one were counted. 0: there is none. Requests that are added in between count the pages that are waited for, and
 * this one no longer: what follows them cannot be told before.
 */
static size_t find_overtaking(const struct derive *derive, const struct mr_event *done)
{
	const struct mr_event *counted = find_counted(derive, done), *event;
	size_t end = 0;

	for (size_t at = derive->line + 1; at < derive->line + LOOK_AHEAD && (event = line_at(derive, at)); at++) {
		if (event == counted || event->kind == MR_EVENT_REQUEST_ADDED)
			return end;
		if (event->kind == MR_EVENT_BLOCKTIME_BEGIN && !is_place(event, done->block, done->offset) &&
		    !(counted && counted->microseconds < event->microseconds) && waits_for(derive, event->result, done))
			end = at + 1;
	}
	return end;
}

/*
 * A vCPU that goes on may miss its next page before its wait for this one is counted: up to 10.0 that wait is forgotten
 * then. The machine marks and counts at once, so such a fault is told before.
 */
static void tell_overtaking(struct derive *derive, const struct mr_event *done)
{
	const size_t end = mr_blocktime_clock_is_early(derive->clock) ? find_overtaking(derive, done) : 0;

	if (!end)
		return;
	if (derive->followers[MR_ACTOR_FAULT].message.window)
		force(derive, MR_ACTOR_FAULT);
	take_ahead(derive, end);
}

static void take_line(struct derive *derive, struct mr_event *event)
{
	if (derive->line < derive->ahead && event->actor == MR_ACTOR_FAULT)
		return;
	if (event->kind == MR_EVENT_ACCEPTED) {
		connect_next(derive);
		return;
	}
	if (event->kind == MR_EVENT_VCPU || event->kind == MR_EVENT_BLOCKTIME_BEGIN ||
	    event->kind == MR_EVENT_BLOCKTIME_END) {
		if (derive->clock)
			take_blocktime(derive, event);
		return;
	}
	if (event->kind != MR_EVENT_FAULT && !mr_event_is_expected(event->kind))
		return;
	if (event->actor >= MR_ACTOR_COUNT)
		event->actor = find_actor(derive, event);
	if (derive->followers[event->actor].message.window)
		force(derive, event->actor);
	if (event->kind == MR_EVENT_PAUSE)
		settle_before_pause(derive);
	if (derive->fault.waiting && derive->fault.kept && event->kind == MR_EVENT_FAULT_PARKED)
		keep_fault(derive);
	else if (derive->fault.waiting && derive->fault.dropped && !derive->fault.kept)
		decide_dropped(derive, event->actor == MR_ACTOR_FAULT);
	if (event->kind == MR_EVENT_FAULT) {
		take_fault(derive, event);
		return;
	}
	if (event->kind == MR_EVENT_REQUEST_DONE)
		tell_overtaking(derive, event);
	if (event->kind == MR_EVENT_REQUEST_ADDED && derive->fault.waiting)
		tell_fault(derive);
	derive->loaded |= event->kind == MR_EVENT_STATE_CLEANUP;
	if (!head(&derive->followers[event->actor])) {
		look_for_cut(derive, event);
		look_for_unread(derive, event);
	}
	match(derive, event);
	/* What was not sent before the pause is decided again at once, and sent: no line says so but the message's. */
	if (event->kind == MR_EVENT_FAULT_CONTINUED && is_request(line_at(derive, derive->next[derive->line])))
		advance(derive, MR_ACTOR_FAULT);
}

/* ---- Without a trace ---- */

/* One message of the recorded return paths, in the order of the connections. */
struct recorded {
	struct mr_session *session;
	struct mr_decoder *decoder;
	uint32_t channel;
	size_t offset;
	bool there;
	bool told; /* a request: its fault was told */
	struct mr_record record;
};

static void next_recorded(struct derive *derive, struct recorded *recorded)
{
	recorded->there = recorded->told = false;
	while (recorded->channel < derive->world->connection_count) {
		const struct mr_bytes all = derive->world->connections[recorded->channel].recorded;

		if (recorded->offset < all.length &&
		    mr_decode(recorded->decoder, all.data + recorded->offset, all.length - recorded->offset, true,
			      &recorded->record) == MR_RECORD) {
			recorded->offset += (size_t)recorded->record.length;
			recorded->there = true;
			return;
		}
		recorded->channel++;
		recorded->offset = 0;
		mr_decoder_init(recorded->decoder, recorded->session, MR_ROLE_RETURN, recorded->channel);
	}
}

/* Whether everything up to the recorded message is sent. */
static bool is_out(const struct derive *derive, const struct recorded *recorded)
{
	return derive->world->connections[recorded->channel].sent_length >= recorded->offset;
}

static bool remember_asked(struct derive *derive)
{
	if (derive->asked_count == derive->asked_capacity) {
		const size_t capacity = 2 * derive->asked_capacity + 64;
		struct told_fault *larger = realloc(derive->asked, capacity * sizeof(*larger));

		derive->no_memory |= !larger;
		if (!larger)
			return false;
		derive->asked = larger;
		derive->asked_capacity = capacity;
	}
	derive->asked[derive->asked_count++] = derive->fault;
	return true;
}

static bool is_asked(const struct derive *derive, uint32_t block, uint64_t offset)
{
	for (size_t i = derive->asked_count; i-- > 0;)
		if (derive->asked[i].block == block && derive->asked[i].offset == offset)
			return true;
	return false;
}

/* A page is asked for now. False if that cannot be yet; true as well if the handler had to go on first. */
static bool ask(struct derive *derive, uint32_t block, uint64_t offset, bool *told)
{
	if (derive->followers[MR_ACTOR_LISTEN].resends ||
	    mr_incoming_status(machine(derive)) == MR_STATUS_POSTCOPY_PAUSED ||
	    mr_incoming_status(machine(derive)) == MR_STATUS_POSTCOPY_RECOVER)
		return false;
	if (!mr_incoming_takes_fault(machine(derive)) && advance(derive, MR_ACTOR_FAULT))
		return true;
	if (!mr_incoming_takes_fault(machine(derive)) || block == UINT32_MAX ||
	    mr_incoming_is_received(machine(derive), block, offset))
		return false;
	*told = true;
	derive->fault = (struct told_fault){.block = block, .offset = offset};
	return remember_asked(derive) && tell_fault(derive);
}

/*
 * A recorded request is a fault told now. False if it cannot be one yet, was told, or is asked once more by the listen
 * loader, as long as that may be.
 */
static bool request(struct derive *derive, struct recorded *recorded)
{
	const struct mr_return_message *message = &recorded->record.message;

	if (!recorded->there || recorded->told ||
	    (message->type != MR_RETURN_REQ_PAGES && message->type != MR_RETURN_REQ_PAGES_ID))
		return false;
	return ask(derive, mr_incoming_find_block(machine(derive), message->block), message->start, &recorded->told);
}

/* What the recovery behind the main channel tells; NULL if there is none, or it tells nothing. */
static const struct mr_recovered *recovered_next(struct derive *derive)
{
	if (derive->recovered_from != derive->main_channel) {
		derive->recovered_from = derive->main_channel;
		if (mr_recovered_read(&derive->recovered, derive->world, derive->main_channel) < 0)
			derive->no_memory = true;
	}
	return derive->recovered.there ? &derive->recovered : NULL;
}

/* What was recorded of the message that comes next on the main connection, if that message is not whole. */
static struct mr_bytes unfinished_message(const struct derive *derive, const struct recorded *recorded)
{
	const struct mr_world_connection *connection;

	if (derive->main_channel >= derive->world->connection_count || recorded->channel <= derive->main_channel)
		return (struct mr_bytes){NULL, 0};
	connection = &derive->world->connections[derive->main_channel];
	if (connection->recorded.length <= connection->sent_length)
		return (struct mr_bytes){NULL, 0};
	return (struct mr_bytes){connection->recorded.data + connection->sent_length,
				 connection->recorded.length - connection->sent_length};
}

/* All whole messages that were recorded of this connection's return path are out; others were sent, and lost. */
static bool is_beyond_recorded(struct derive *derive, const struct recorded *recorded, uint32_t channel)
{
	return channel == derive->main_channel && recorded->channel > channel &&
	       (recovered_next(derive) || unfinished_message(derive, recorded).length);
}

/* Whether a request for this page may begin with these bytes: type and length, then the place in the block. */
static bool begins_with(struct mr_bytes bytes, uint64_t offset)
{
	enum { TYPE = 1, START = 4, END = START + 8 };

	if (bytes.length > TYPE && bytes.data[TYPE] != MR_RETURN_REQ_PAGES &&
	    bytes.data[TYPE] != MR_RETURN_REQ_PAGES_ID)
		return false;
	for (size_t i = START; i < bytes.length && i < END; i++)
		if (bytes.data[i] != (uint8_t)(offset >> 8 * (END - 1 - i)))
			return false;
	return true;
}

/*
 * A page that the unfinished message may ask for and that came all the same: nothing else tells of it, so it is the
 * first one of those that are still missing.
 */
static bool request_any(struct derive *derive, struct mr_bytes unfinished)
{
	const uint32_t page_size = mr_incoming_session(machine(derive))->target_page_size;
	const struct mr_recovered *recovered = recovered_next(derive);
	const uint32_t block = derive->asked_count ? derive->asked[derive->asked_count - 1].block : 0;
	uint64_t pages = 0;
	const uint64_t *received = mr_incoming_received(machine(derive), block, &pages);
	bool told;

	if (!mr_incoming_takes_fault(machine(derive)))
		return false;
	for (uint64_t page = 0; received && page < pages; page++) {
		const uint64_t offset = page * page_size;

		if (!mr_bitmap_test(received, page) && begins_with(unfinished, offset) &&
		    (!recovered || mr_recovered_is_received(recovered, block, offset, page_size)) &&
		    !is_asked(derive, block, offset))
			return ask(derive, block, offset, &told);
	}
	return false;
}

/*
 * Requests that were sent when the connections broke are asked once more behind the recovery, as are all others that
 * wait; what is asked first there and never was before is one of them.
 */
static bool request_lost(struct derive *derive, const struct recorded *recorded)
{
	const struct mr_bytes unfinished = unfinished_message(derive, recorded);
	const struct mr_recovered *recovered;
	bool told;

	if (!is_beyond_recorded(derive, recorded, derive->main_channel) ||
	    mr_incoming_postcopy_state(machine(derive)) < MR_POSTCOPY_LISTENING)
		return false;
	recovered = recovered_next(derive);
	for (size_t i = 0; recovered && i < recovered->count && recovered->requests[i].again; i++) {
		const struct mr_recovered_request *next = &recovered->requests[i];

		if (begins_with(unfinished, next->offset) && !is_asked(derive, next->block, next->offset))
			return ask(derive, next->block, next->offset, &told);
	}
	return unfinished.length > 0 && request_any(derive, unfinished);
}

/* The page of the record that a loader comes to next. False if that is none. */
static bool next_page(struct derive *derive, unsigned actor, uint32_t *block, uint64_t *offset)
{
	const uint32_t page_size = mr_incoming_session(machine(derive))->target_page_size;
	const uint8_t *rest = NULL;
	const size_t length =
		mr_world_rest(derive->world, channel_of(derive, actor), RECORD_HEADER + 1 + MR_NAME_MAX, &rest);
	uint64_t word = 0, flags;

	if (length <= RECORD_HEADER)
		return false;
	for (size_t i = 0; i < RECORD_HEADER; i++)
		word = word << 8 | rest[i];
	flags = word & (page_size - 1);
	*offset = word - flags;
	*block = derive->followers[actor].block;
	if (!(flags & MR_RAM_FLAG_CONTINUE) && length > RECORD_HEADER + (size_t)rest[RECORD_HEADER])
		*block = mr_incoming_find_block(machine(derive),
						(struct mr_bytes){rest + RECORD_HEADER + 1, rest[RECORD_HEADER]});
	return *block != UINT32_MAX && flags & (MR_RAM_FLAG_PAGE | MR_RAM_FLAG_ZERO) &&
	       !(flags & ~(uint64_t)(MR_RAM_FLAG_PAGE | MR_RAM_FLAG_ZERO | MR_RAM_FLAG_CONTINUE));
}

/*
 * The recording may hold more of a connection than the destination read before it broke: it ends where the first page
 * is that had not come, by what the destination told behind the recovery.
 */
static void end_unread(struct derive *derive, unsigned actor)
{
	const uint32_t page_size = mr_incoming_session(machine(derive))->target_page_size;
	const uint32_t channel = channel_of(derive, actor);
	const struct mr_recovered *recovered;
	uint64_t offset;
	uint32_t block;

	if (channel >= derive->world->connection_count || derive->world->connections[channel].limit != UINT64_MAX ||
	    mr_incoming_postcopy_state(machine(derive)) != MR_POSTCOPY_RUNNING)
		return;
	recovered = recovered_next(derive);
	if (recovered && next_page(derive, actor, &block, &offset) &&
	    !mr_recovered_is_received(recovered, block, offset, page_size))
		end_channel(derive, channel, mr_incoming_consumed(machine(derive), channel), 0);
}

static bool nudge_loader(struct derive *derive, unsigned actor)
{
	end_unread(derive, actor);
	return nudge(derive, actor);
}

/* One action of whoever can make one, loaders of pages last. */
static bool nudge_somebody(struct derive *derive)
{
	if (nudge(derive, MR_ACTOR_FAULT) || nudge(derive, MR_ACTOR_MAIN))
		return true;
	for (unsigned i = MR_ACTOR_MULTIFD; i < MR_ACTOR_COUNT; i++)
		if (nudge(derive, i))
			return true;
	/* What came by the preempt channel is read before it is taken from its loader. */
	if (derive->pausing && nudge_loader(derive, MR_ACTOR_PREEMPT))
		return true;
	return nudge_loader(derive, MR_ACTOR_LISTEN) || nudge_loader(derive, MR_ACTOR_PREEMPT);
}

/* Goes on by one action towards the next message. False if nobody can go on. */
static bool go_on(struct derive *derive, struct recorded *recorded)
{
	const uint32_t before = derive->next_channel;

	for (unsigned i = 0; i < MR_ACTOR_MULTIFD; i++) {
		struct message *message = &derive->followers[i].message;

		if (message->made &&
		    (is_next_recorded(derive, message) || is_beyond_recorded(derive, recorded, message->channel))) {
			commit(derive, i, 0);
			return true;
		}
	}
	for (unsigned turn = 0; turn < NUDGES; turn++)
		if (request(derive, recorded) || request_lost(derive, recorded) || nudge_somebody(derive))
			return true;
	connect_next(derive);
	return derive->next_channel != before;
}

static void follow_return_paths(struct derive *derive)
{
	struct recorded recorded = {
		.session = malloc(sizeof(*recorded.session)),
		.decoder = malloc(sizeof(*recorded.decoder)),
	};

	if (!recorded.session || !recorded.decoder) {
		derive->no_memory = true;
	} else {
		mr_session_init(recorded.session, NULL, NULL, NULL);
		mr_decoder_init(recorded.decoder, recorded.session, MR_ROLE_RETURN, 0);
		for (next_recorded(derive, &recorded); recorded.there; next_recorded(derive, &recorded))
			while (!is_out(derive, &recorded) && go_on(derive, &recorded))
				;
		while (unfinished_message(derive, &recorded).length && go_on(derive, &recorded))
			;
	}
	free(recorded.session);
	free(recorded.decoder);
}

/* ---- The whole ---- */

static bool go_as_far(struct derive *derive, unsigned actor)
{
	bool moved = false;

	while (advance(derive, actor))
		moved = true;
	return moved;
}

/* Everybody goes on as far as he can: main loader, receivers, listen loader, preempt loader, fault handler. */
static void run_out(struct derive *derive)
{
	uint32_t before;
	bool moved = true;

	while (moved && !has_failed(derive)) {
		moved = go_as_far(derive, MR_ACTOR_MAIN);
		for (unsigned i = MR_ACTOR_MULTIFD; i < MR_ACTOR_COUNT; i++)
			moved |= go_as_far(derive, i);
		for (unsigned i = MR_ACTOR_LISTEN; i < MR_ACTOR_MULTIFD; i++)
			moved |= go_as_far(derive, i);
		before = derive->next_channel;
		if (!moved)
			connect_next(derive);
		moved |= derive->next_channel != before;
	}
	for (unsigned i = 0; i < MR_ACTOR_MULTIFD; i++)
		force(derive, i);
	/* Nothing comes of how it went on behind the last action. */
	while (derive->log->count && derive->log->records[derive->log->count - 1].kind == MR_LOG_WAIT)
		derive->log->count--;
}

static int link_lines(struct derive *derive)
{
	const size_t count = derive->trace->count;
	size_t *last = malloc((MR_ACTOR_COUNT + 1) * sizeof(*last));

	derive->next = malloc((count + 1) * sizeof(*derive->next));
	for (size_t i = 0; last && i <= MR_ACTOR_COUNT; i++)
		last[i] = count;
	for (size_t i = count; last && derive->next && i-- > 0;) {
		const struct mr_event *event = &derive->trace->events[i];
		const unsigned actor = event->actor < MR_ACTOR_COUNT ? event->actor : NOBODY;

		derive->next[i] = last[actor];
		if (event->kind == MR_EVENT_FAULT || mr_event_is_expected(event->kind))
			last[actor] = i;
	}
	free(last);
	return last && derive->next ? 0 : -1;
}

static void follow_trace(struct derive *derive)
{
	for (derive->line = 0; derive->line < derive->trace->count && !has_failed(derive); derive->line++)
		take_line(derive, &derive->trace->events[derive->line]);
	for (unsigned i = 0; i < MR_ACTOR_MULTIFD; i++)
		force(derive, i);
	if (derive->fault.waiting)
		decide_dropped(derive, true);
}

int mr_derive(struct mr_log *log, struct mr_derivation *derivation, struct mr_world *world, struct mr_trace *trace)
{
	struct derive derive = {
		.log = log,
		.result = derivation,
		.world = world,
		.trace = trace,
		.followers = calloc(MR_ACTOR_COUNT, sizeof(*derive.followers)),
		.recent = calloc(1, sizeof(*derive.recent)),
		.main_channel = MR_INCOMING_CHANNELS_MAX,
		.preempt_channel = MR_INCOMING_CHANNELS_MAX,
		.cut_channel = MR_INCOMING_CHANNELS_MAX,
		.recovered_from = MR_INCOMING_CHANNELS_MAX,
	};

	memset(derivation, 0, sizeof(*derivation));
	derive.no_memory = !derive.followers || !derive.recent || (trace && link_lines(&derive) < 0) ||
			   mr_blocktime_clock_new(&derive.clock, world->incoming, trace) < 0;
	if (!derive.no_memory) {
		if (trace)
			follow_trace(&derive);
		else
			follow_return_paths(&derive);
		run_out(&derive);
	}
	for (unsigned i = 0; derive.followers && i < MR_ACTOR_COUNT; i++) {
		free(derive.followers[i].expected);
		free(derive.followers[i].message.bytes);
	}
	free(derive.followers);
	free(derive.recent);
	free(derive.next);
	free(derive.asked);
	mr_recovered_clear(&derive.recovered);
	mr_blocktime_clock_free(derive.clock);
	if (derive.no_memory)
		snprintf(world->error, sizeof(world->error), "no memory for a nondeterminism log");
	return has_failed(&derive) ? -1 : 0;
}
