/* link.c: queues of bytes, and the time that it takes them to get through. */
#include "sim/world/link.h"

#include <stdlib.h>
#include <string.h>

enum { NO_CONNECTION = UINT32_MAX, NANOSECONDS = 1000000000 };

static uint64_t receive_limit(const struct mr_link *link, unsigned direction)
{
	return direction == MR_LINK_FORWARD ? link->config->receive_buffer : link->config->return_buffer;
}

int mr_link_init(struct mr_link *link, const struct mr_scenario_link *config, uint64_t seed, uint32_t connections,
		 struct mr_agenda *agenda, uint32_t depart_kind, uint32_t arrive_kind, uint32_t retry_kind)
{
	memset(link, 0, sizeof(*link));
	link->config = config;
	link->agenda = agenda;
	link->depart_kind = depart_kind;
	link->arrive_kind = arrive_kind;
	link->retry_kind = retry_kind;
	link->connections = connections;
	link->random = mr_random_of(seed, 0x6c696e6b);
	for (unsigned i = 0; i < MR_LINK_DIRECTIONS; i++) {
		link->pipes[i] = calloc(connections, sizeof(*link->pipes[i]));
		link->queues[i].waiting = calloc(connections, sizeof(*link->queues[i].waiting));
		link->queues[i].current = NO_CONNECTION;
		if (!link->pipes[i] || !link->queues[i].waiting)
			return -1;
		for (uint32_t j = 0; j < connections; j++) {
			link->pipes[i][j].percent = 100;
			link->pipes[i][j].window = receive_limit(link, i);
		}
	}
	return 0;
}

void mr_link_clear(struct mr_link *link)
{
	for (unsigned i = 0; i < MR_LINK_DIRECTIONS; i++) {
		for (uint32_t j = 0; link->pipes[i] && j < link->connections; j++)
			free(link->pipes[i][j].bytes);
		free(link->pipes[i]);
		free(link->queues[i].waiting);
		free(link->queues[i].pieces);
	}
	memset(link, 0, sizeof(*link));
}

/* ---- The sender's buffer ---- */

static uint64_t unsent_limit(const struct mr_link *link, unsigned direction)
{
	return direction == MR_LINK_FORWARD ? link->config->send_buffer : link->config->return_buffer;
}

/* Who had to wait is not woken for every packet that leaves: Linux does so once a third of the buffer is free. */
static void see_room(const struct mr_link *link, unsigned direction, struct mr_pipe *pipe)
{
	const uint64_t unsent = pipe->written - pipe->departed, limit = unsent_limit(link, direction);

	pipe->full = pipe->full ? unsent > limit - limit / 3 : unsent > limit;
}

/* ---- The link's turn ---- */

static void enter(struct mr_link *link, uint32_t kind, uint64_t time, uint32_t index, uint64_t value)
{
	const struct mr_moment moment = {.time = time, .kind = kind, .index = index, .value = value};

	/* Without memory for the agenda nothing more arrives, which the caller sees as a run that does not end. */
	(void)mr_agenda_add(link->agenda, &moment);
}

static void enqueue(struct mr_link *link, unsigned direction, uint32_t connection)
{
	struct mr_link_queue *queue = &link->queues[direction];
	struct mr_pipe *pipe = &link->pipes[direction][connection];

	if (pipe->queued || !link->config->fair)
		return;
	pipe->queued = true;
	queue->waiting[(queue->first + queue->count++) % link->connections] = connection;
}

static uint64_t sendable(const struct mr_pipe *pipe)
{
	const uint64_t unread = pipe->departed - pipe->consumed;
	const uint64_t room = pipe->window > unread ? pipe->window - unread : 0;
	const uint64_t left = pipe->written - pipe->departed;

	return pipe->broken ? 0 : left < room ? left : room;
}

/* It has something to send, and may send it now; if only later, a moment is entered to try again. */
static bool may_send(struct mr_link *link, unsigned direction, uint32_t connection, uint64_t now)
{
	struct mr_pipe *pipe = &link->pipes[direction][connection];

	if (sendable(pipe) == 0)
		return false;
	if (pipe->not_before <= now)
		return true;
	if (pipe->retry_at != pipe->not_before)
		enter(link, link->retry_kind, pipe->not_before, direction + 2 * connection, 0);
	pipe->retry_at = pipe->not_before;
	return false;
}

/* The next connection that can send; those that cannot leave the queue, and come back when they can. */
static uint32_t next_in_turn(struct mr_link *link, unsigned direction, uint64_t now)
{
	struct mr_link_queue *queue = &link->queues[direction];

	while (queue->count) {
		const uint32_t connection = queue->waiting[queue->first];

		queue->first = (queue->first + 1) % link->connections;
		queue->count--;
		link->pipes[direction][connection].queued = false;
		if (may_send(link, direction, connection, now))
			return connection;
	}
	return NO_CONNECTION;
}

static struct mr_link_piece *piece_at(struct mr_link_queue *queue, size_t number)
{
	return &queue->pieces[(queue->piece_first + number) % queue->piece_capacity];
}

/* Remembers in which order connections wrote. */
static int add_piece(struct mr_link_queue *queue, uint32_t connection, uint64_t bytes)
{
	const size_t larger = 2 * queue->piece_capacity + 16;
	struct mr_link_piece *pieces;

	if (queue->piece_count && piece_at(queue, queue->piece_count - 1)->connection == connection) {
		piece_at(queue, queue->piece_count - 1)->bytes += bytes;
		return 0;
	}
	if (queue->piece_count == queue->piece_capacity) {
		pieces = malloc(larger * sizeof(*pieces));
		if (!pieces)
			return -1;
		for (size_t i = 0; i < queue->piece_count; i++)
			pieces[i] = *piece_at(queue, i);
		free(queue->pieces);
		queue->pieces = pieces;
		queue->piece_first = 0;
		queue->piece_capacity = larger;
	}
	*piece_at(queue, queue->piece_count++) = (struct mr_link_piece){connection, bytes};
	return 0;
}

/* What was written first of what can be sent; NULL if nothing can. */
static struct mr_link_piece *next_in_order(struct mr_link *link, unsigned direction, uint64_t now)
{
	struct mr_link_queue *queue = &link->queues[direction];

	while (queue->piece_count &&
	       (piece_at(queue, 0)->bytes == 0 || link->pipes[direction][piece_at(queue, 0)->connection].broken)) {
		queue->piece_first = (queue->piece_first + 1) % queue->piece_capacity;
		queue->piece_count--;
	}
	for (size_t i = 0; i < queue->piece_count; i++)
		if (piece_at(queue, i)->bytes && may_send(link, direction, piece_at(queue, i)->connection, now))
			return piece_at(queue, i);
	return NULL;
}

static uint64_t time_of(uint64_t bytes, uint64_t bandwidth)
{
	/* No overflow: a chunk has at most 2^20 bytes. */
	return (bytes * NANOSECONDS + bandwidth - 1) / bandwidth;
}

static uint64_t lesser(uint64_t one, uint64_t other)
{
	return one < other ? one : other;
}

/* Chooses who sends next, and how much. */
static bool choose(struct mr_link *link, unsigned direction, uint64_t now)
{
	struct mr_link_queue *queue = &link->queues[direction];
	struct mr_link_piece *piece = NULL;

	if (link->config->fair) {
		queue->current = next_in_turn(link, direction, now);
	} else {
		piece = next_in_order(link, direction, now);
		queue->current = piece ? piece->connection : NO_CONNECTION;
	}
	if (queue->current == NO_CONNECTION)
		return false;
	queue->current_bytes = lesser(sendable(&link->pipes[direction][queue->current]), link->config->quantum);
	if (piece) {
		queue->current_bytes = lesser(queue->current_bytes, piece->bytes);
		piece->bytes -= queue->current_bytes;
	}
	return true;
}

static void serve(struct mr_link *link, unsigned direction, uint64_t now)
{
	struct mr_link_queue *queue = &link->queues[direction];
	struct mr_pipe *pipe;
	uint64_t took;

	if (queue->busy || !choose(link, direction, now))
		return;
	pipe = &link->pipes[direction][queue->current];
	took = time_of(queue->current_bytes, link->config->bandwidth);
	if (now < pipe->slow_until)
		pipe->not_before = lesser(now + took * 100 / pipe->percent, pipe->slow_until);
	queue->busy = true;
	enter(link, link->depart_kind, now + took, direction, 0);
}

uint32_t mr_link_departed(struct mr_link *link, unsigned direction, uint64_t now)
{
	struct mr_link_queue *queue = &link->queues[direction];
	const uint32_t connection = queue->current;
	struct mr_pipe *pipe = &link->pipes[direction][connection];
	uint64_t arrival = now + link->config->latency + mr_random_below(&link->random, link->config->jitter + 1);

	queue->busy = false;
	if (!pipe->broken) {
		pipe->departed += queue->current_bytes;
		see_room(link, direction, pipe);
		if (arrival < pipe->last_arrival)
			arrival = pipe->last_arrival;
		pipe->last_arrival = arrival;
		enter(link, link->arrive_kind, arrival, direction + 2 * connection, pipe->departed);
		if (sendable(pipe))
			enqueue(link, direction, connection);
	}
	serve(link, direction, now);
	return connection;
}

bool mr_link_arrived(struct mr_link *link, unsigned direction, uint32_t connection, uint64_t now, uint64_t value)
{
	struct mr_pipe *pipe = &link->pipes[direction][connection];

	if (pipe->broken)
		return false;
	if (now < pipe->stalled_until) {
		if (pipe->held < value)
			pipe->held = value;
		enter(link, link->arrive_kind, pipe->stalled_until, direction + 2 * connection, value);
		return false;
	}
	/* What a stall held back comes behind what comes at its very end. */
	if (pipe->arrived < value)
		pipe->arrived = value;
	return true;
}

void mr_link_retry(struct mr_link *link, unsigned direction, uint64_t now)
{
	for (uint32_t i = 0; i < link->connections; i++)
		if (sendable(&link->pipes[direction][i]))
			enqueue(link, direction, i);
	serve(link, direction, now);
}

/* ---- Writing and reading ---- */

static int make_room(struct mr_pipe *pipe, size_t length)
{
	const size_t held = (size_t)(pipe->written - pipe->base), read = (size_t)(pipe->consumed - pipe->base);
	size_t larger = 2 * (held - read + length) + 4096;
	uint8_t *bytes;

	if (held + length <= pipe->capacity)
		return 0;
	/* Moved only if at least as much has been read as is left: each byte moves once on average. */
	if (held - read + length <= pipe->capacity && read >= held - read) {
		memmove(pipe->bytes, pipe->bytes + read, held - read);
		pipe->base = pipe->consumed;
		return 0;
	}
	bytes = malloc(larger);
	if (!bytes)
		return -1;
	if (held > read)
		memcpy(bytes, pipe->bytes + read, held - read);
	free(pipe->bytes);
	pipe->bytes = bytes;
	pipe->capacity = larger;
	pipe->base = pipe->consumed;
	return 0;
}

int mr_link_write(struct mr_link *link, unsigned direction, uint32_t connection, uint64_t now, struct mr_bytes bytes)
{
	struct mr_pipe *pipe = &link->pipes[direction][connection];

	if (bytes.length == 0 || pipe->closed)
		return 0;
	if (pipe->broken) {
		pipe->written += bytes.length;
		return 0;
	}
	if (make_room(pipe, bytes.length) < 0 ||
	    (!link->config->fair && add_piece(&link->queues[direction], connection, bytes.length) < 0))
		return -1;
	memcpy(pipe->bytes + (pipe->written - pipe->base), bytes.data, bytes.length);
	pipe->written += bytes.length;
	see_room(link, direction, pipe);
	if (sendable(pipe)) {
		enqueue(link, direction, connection);
		serve(link, direction, now);
	}
	return 0;
}

bool mr_link_has_room(const struct mr_link *link, unsigned direction, uint32_t connection)
{
	const struct mr_pipe *pipe = &link->pipes[direction][connection];

	return pipe->broken || !pipe->full;
}

struct mr_bytes mr_link_window(const struct mr_link *link, unsigned direction, uint32_t connection)
{
	const struct mr_pipe *pipe = &link->pipes[direction][connection];

	if (!pipe->bytes)
		return (struct mr_bytes){NULL, 0};
	return (struct mr_bytes){pipe->bytes + (pipe->consumed - pipe->base), (size_t)(pipe->arrived - pipe->consumed)};
}

static void let_go_on(struct mr_link *link, unsigned direction, uint32_t connection, uint64_t now)
{
	const struct mr_pipe *pipe = &link->pipes[direction][connection];

	if (pipe->queued || sendable(pipe) == 0)
		return;
	enqueue(link, direction, connection);
	serve(link, direction, now);
}

void mr_link_consume(struct mr_link *link, unsigned direction, uint32_t connection, uint64_t now, uint64_t offset)
{
	link->pipes[direction][connection].consumed = offset;
	let_go_on(link, direction, connection, now);
}

bool mr_link_awaits_room(const struct mr_link *link, unsigned direction, uint32_t connection, uint64_t offset)
{
	const struct mr_pipe *pipe = &link->pipes[direction][connection];

	return pipe->written > pipe->departed && !pipe->broken && sendable(pipe) == 0 &&
	       offset >= pipe->consumed + lesser(link->config->quantum, receive_limit(link, direction) / 2);
}

void mr_link_want(struct mr_link *link, unsigned direction, uint32_t connection, uint64_t now, uint64_t wanted)
{
	link->pipes[direction][connection].window = receive_limit(link, direction) + wanted;
	let_go_on(link, direction, connection, now);
}

/* ---- The end, and trouble ---- */

bool mr_link_is_at_end(const struct mr_link *link, unsigned direction, uint32_t connection)
{
	const struct mr_pipe *pipe = &link->pipes[direction][connection];

	return pipe->broken || (pipe->closed && pipe->arrived == pipe->written);
}

void mr_link_break(struct mr_link *link, uint32_t connection)
{
	for (unsigned i = 0; i < MR_LINK_DIRECTIONS; i++)
		link->pipes[i][connection].broken = true;
}

void mr_link_hinder(struct mr_link *link, uint32_t connection, uint64_t now, uint64_t until, uint32_t percent)
{
	for (unsigned i = 0; i < MR_LINK_DIRECTIONS; i++) {
		struct mr_pipe *pipe = &link->pipes[i][connection];

		if (percent < 100) {
			pipe->percent = percent ? percent : 1;
			pipe->slow_until = until;
		} else if (now < until && pipe->stalled_until < until) {
			pipe->stalled_until = until;
			if (pipe->not_before < until)
				pipe->not_before = until;
		}
	}
}

void mr_link_heal(struct mr_link *link, uint64_t now)
{
	for (unsigned i = 0; i < MR_LINK_DIRECTIONS; i++) {
		for (uint32_t j = 0; j < link->connections; j++) {
			struct mr_pipe *pipe = &link->pipes[i][j];

			pipe->stalled_until = pipe->slow_until = pipe->not_before = 0;
			if (pipe->held > pipe->arrived)
				enter(link, link->arrive_kind, now, i + 2 * j, pipe->held);
		}
		mr_link_retry(link, i, now);
	}
}
