/*
 * link.h: what is between the hosts: connections whose bytes queue at the sender, share a link, travel, and wait at the
 * receiver. This queueing is what makes the latency of postcopy.
 *
 *     writer -> send buffer -> link (bandwidth, shared) -> latency, jitter -> receive buffer -> reader
 *
 * The bytes in flight and in the receive buffer are together at most the receive buffer and what the reader wants at
 * once, as TCP's window does it.
 */
#ifndef MR_WORLD_LINK_H
#define MR_WORLD_LINK_H

#include "ref/migref.h"
#include "sim/world/agenda.h"
#include "sim/world/random.h"
#include "sim/world/scenario.h"

enum { MR_LINK_FORWARD, MR_LINK_BACKWARD, MR_LINK_DIRECTIONS };

/* One direction of one connection. Offsets are in its stream, bytes. */
struct mr_pipe {
	uint64_t written;  /* by the sender */
	uint64_t departed; /* left the sender's host */
	uint64_t arrived;
	uint64_t consumed; /* by the reader */
	bool closed;       /* nothing more will be written */
	bool broken;       /* nothing more arrives */
	bool read_end;     /* the reader has been told the end */

	/* private */
	uint8_t *bytes; /* from `consumed` on */
	size_t capacity;
	uint64_t base;         /* offset of bytes[0] */
	uint64_t window;       /* what may be in flight or unread */
	uint64_t last_arrival; /* time */
	uint64_t not_before;   /* time, of the next departure */
	uint64_t retry_at;     /* time for which a moment was entered to try again */
	uint64_t stalled_until;
	uint64_t held; /* offset up to which bytes would have arrived, but for the stall */
	uint64_t slow_until;
	uint32_t percent;
	bool queued;
	bool full; /* the sender has to wait until a third of its buffer is free */
};

/* What one connection wrote before another did. */
struct mr_link_piece {
	uint32_t connection;
	uint64_t bytes;
};

/* Of all connections in one direction. */
struct mr_link_queue {
	/* private */
	uint32_t *waiting; /* a fair link: connections in turn; a ring */
	uint32_t first, count;
	struct mr_link_piece *pieces; /* an unfair one: what is to be sent in its order; a ring */
	size_t piece_first, piece_count, piece_capacity;
	uint32_t current;
	uint64_t current_bytes;
	bool busy;
};

struct mr_link {
	struct mr_pipe *pipes[MR_LINK_DIRECTIONS]; /* by connection */

	/* private */
	const struct mr_scenario_link *config;
	struct mr_agenda *agenda;
	uint32_t depart_kind, arrive_kind, retry_kind;
	uint32_t connections;
	struct mr_random random;
	struct mr_link_queue queues[MR_LINK_DIRECTIONS];
};

/*
 * A link for so many connections. It enters moments of three kinds into the agenda, in which `index` is direction +
 * 2 * connection (depart: the direction alone), for the caller to hand to mr_link_departed(), mr_link_arrived() and
 * mr_link_retry(). -1 if memory is short.
 */
int mr_link_init(struct mr_link *link, const struct mr_scenario_link *config, uint64_t seed, uint32_t connections,
		 struct mr_agenda *agenda, uint32_t depart_kind, uint32_t arrive_kind, uint32_t retry_kind);
void mr_link_clear(struct mr_link *link);

/*
 * The sender writes; whoever comes later than mr_link_has_room() is taken all the same. What is written to a pipe that
 * is closed goes nowhere. -1 if memory is short.
 */
int mr_link_write(struct mr_link *link, unsigned direction, uint32_t connection, uint64_t now, struct mr_bytes bytes);
/* The sender's buffer was not filled up, or a third of it is free since. */
bool mr_link_has_room(const struct mr_link *link, unsigned direction, uint32_t connection);
/* The bytes that arrived and were not consumed; they stay until the next write or consume. */
struct mr_bytes mr_link_window(const struct mr_link *link, unsigned direction, uint32_t connection);
/* The reader is done with all before `offset`. */
void mr_link_consume(struct mr_link *link, unsigned direction, uint32_t connection, uint64_t now, uint64_t offset);
/*
 * Bytes wait at the sender for the window alone, and a reader that is done with all before `offset` has made so much
 * room since the last mr_link_consume() that its host would say so: for a turn of the link, or half of the buffer.
 */
bool mr_link_awaits_room(const struct mr_link *link, unsigned direction, uint32_t connection, uint64_t offset);
/* The reader takes so many bytes at once from now on: they do not count as waiting in the buffer. */
void mr_link_want(struct mr_link *link, unsigned direction, uint32_t connection, uint64_t now, uint64_t wanted);

/* A moment of the link: bytes of the returned connection have left its sender's host. */
uint32_t mr_link_departed(struct mr_link *link, unsigned direction, uint64_t now);
/* Bytes up to offset `value` are there; false if not yet, since the connection stalls. */
bool mr_link_arrived(struct mr_link *link, unsigned direction, uint32_t connection, uint64_t now, uint64_t value);
void mr_link_retry(struct mr_link *link, unsigned direction, uint64_t now);

/* All of what was written has arrived, and the sender has closed. */
bool mr_link_is_at_end(const struct mr_link *link, unsigned direction, uint32_t connection);
/* What has not arrived never will. */
void mr_link_break(struct mr_link *link, uint32_t connection);
/*
 * Nothing arrives until then; or with `percent` below 100, only so much of the bandwidth is there. The caller hands the
 * moment `until` to mr_link_retry().
 */
void mr_link_hinder(struct mr_link *link, uint32_t connection, uint64_t now, uint64_t until, uint32_t percent);
/* No connection is hindered any more. */
void mr_link_heal(struct mr_link *link, uint64_t now);

#endif
